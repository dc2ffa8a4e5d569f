"""What makes anybody's robot safe: limits, a watchdog and an eye on its readings, around three methods."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import cast, final

import numpy as np

from understudy.episode import Array
from understudy.robots.base import TIMEOUT, Reading, Refused, Robot, RobotLost, SafeRobot
from understudy.robots.limits import Limits
from understudy.robots.safety import ManualClock, Safety

__all__ = ["Guarded", "guarded"]

_LOOKS = 5  # times in a timeout that the watchdog looks, besides the very moment when it may bite
_SOON = 1e-3  # seconds between two looks at least
_OLD = 2.0  # periods after which a reading says nothing any more


def guarded(robot: Robot) -> SafeRobot:
    """The robot itself where it is safe already, else `Guarded` with no limits but its action's bounds."""
    # By its methods alone: asking for `why_stopped` reads it, and a robot that is lost raises then.
    safe = all(callable(getattr(robot, k, None)) for k in ("reset", "resume", "wait"))
    return cast(SafeRobot, robot) if safe else Guarded(robot)


@final
class Guarded:
    """Somebody's robot with limits and a watchdog.

    One thread observes it `rate` times a second, another watches the clock, so a camera that hangs cannot
    keep the robot from being stopped. A command is refused where a limit says so, where the robot is stopped,
    and where the last reading is too old to judge it by: older than the timeout and than two periods. A
    reading that says `stopped` by itself (an emergency stop was pressed) stops it here too, and so does an
    error in `observe` or `command`. On a refusal the robot gets the command 0, "hold still"; on a stop, and
    wherever 0 cannot be given, `robot.stop()`. Every reading is held against the boxes: where the last
    command would carry the robot out of one by going on, it is shortened or becomes 0.

    Where the robot has a method `reset(seed)`, a reset calls it; else people put the world back, and a reset
    only resumes.

    Args:
        robot: three methods and four attributes, as `Robot` says.
        limits: held before every command.
        timeout: seconds without a command, after which it is stopped.
        clock: a `ManualClock` makes it stepped: there are no threads, and `wait` lets one period pass.

    Raises:
        ValueError: when the limits do not fit the robot, or its commands know no rest.
    """

    def __init__(
        self,
        robot: Robot,
        limits: Limits | None = None,
        *,
        timeout: float = TIMEOUT,
        clock: ManualClock | None = None,
    ) -> None:
        if not 0 < robot.rate <= 1000:
            raise ValueError(f"rate is {robot.rate:g}; it must be above 0 and at most 1000 steps a second")
        self._robot, self.name, self.action, self.rate = robot, robot.name, robot.action, robot.rate
        self.obs: Mapping[str, tuple[int, ...]] = dict(robot.obs)
        self.resets = callable(getattr(robot, "reset", None))
        self._clock = time.monotonic if clock is None else clock
        self._manual = clock
        self._safety = Safety(robot.action, self.obs, limits or Limits(), timeout, self._clock)
        self._timeout = timeout
        # One lock for calls to the robot, which may be slow, and one for what is known, which never is.
        self._calls, self._known = threading.Lock(), threading.Condition()
        self._closed = threading.Event()
        self._halted, self._unstopped, self._stopped = False, "", 0
        self._reading, self._seen = self._read(), self._clock()
        self._threads = (
            [] if clock else [threading.Thread(target=t, daemon=True) for t in (self._eye, self._dog)]
        )
        for thread in self._threads:
            thread.start()

    @property
    def why_stopped(self) -> str:
        """Why it does not move, "" where it does as it is told."""
        with self._known:
            return self._why()

    def observe(self) -> Reading:
        """The newest reading; `stopped` is of now."""
        with self._known:
            return replace(self._reading, stopped=self._why())

    def command(self, action: Array) -> None:
        """Hands `action` [A] to the robot.

        Raises:
            Refused: by a limit, by the robot, or because it is stopped.
            RobotLost: when it is closed.
        """
        if self._closed.is_set():
            raise RobotLost(f"{self.name} is closed")
        try:
            with self._known:
                age = self._clock() - self._seen
                admitted = self._safety.admit(action, self._reading.obs)
                if age > max(self._timeout, _OLD / self.rate):
                    self._safety.stop(f"the last reading is {age:.2f} s old")
                    raise Refused(f"stopped: the last reading is {age:.2f} s old; resume or reset it")
            self._hand(admitted)
        except Refused:
            self._rest()
            raise

    def stop(self, why: str = "stopped by hand") -> None:
        """Stops the robot, until `resume` or `reset`."""
        with self._known:
            self._safety.stop(why)
            self._stopped += 1
        self._halt()

    def resume(self) -> None:
        """Takes commands again; nothing moves before the first one.

        Raises:
            Refused: when only a reset helps.
        """
        with self._known:
            self._safety.resume()
            self._halted, self._unstopped = False, ""

    def reset(self, seed: int) -> Reading:
        """The robot's own reset where it has one; then at rest, with a new reading.

        Raises:
            Refused: when it was stopped meanwhile; it stays stopped.
        """
        self.stop("being reset")
        with self._known:
            mine, self._halted = self._stopped, False  # whoever stops it now reaches the robot again
        if self.resets:
            with self._calls:
                self._robot.reset(seed)  # type: ignore[attr-defined]
        with self._known:
            if self._stopped != mine:
                raise Refused("stopped: while being reset; resume or reset it before the next command")
            self._safety.reset()
            self._halted, self._unstopped = False, ""
        self.look()
        return self.observe()

    def wait(self, after: float, timeout: float) -> Reading | None:
        """The first reading later than `after`, None where there is none within `timeout` seconds."""
        if self._manual is not None:
            self._manual.sleep(1.0 / self.rate)
            self.watch()
            self.look()
        with self._known:
            if self._known.wait_for(lambda: self._reading.time > after, timeout):
                return replace(self._reading, stopped=self._why())
        return None

    def look(self) -> None:
        """Observes once. A stepped robot's owner calls it; else a thread does."""
        try:
            reading = self._read()
        except Exception as e:  # whatever a driver raises, the robot is stopped and says why
            self.stop(f"observing failed: {' '.join(str(e).split())}")
            return
        with self._known:
            if reading.time < self._reading.time:  # overtaken, by a reset for one
                return
            self._reading, self._seen = reading, self._clock()
            changed = self._safety.hold(reading.obs)
            goes_on = self._safety.command
            self._known.notify_all()
        if reading.stopped:
            self.stop(reading.stopped)
        elif changed:
            with contextlib.suppress(Refused):  # then it is stopped already
                self._hand(goes_on)

    def watch(self) -> None:
        """Asks the watchdog once, and stops the robot where it says so."""
        with self._known:
            why = self._safety.check()
        if why:
            self._halt()

    def close(self) -> None:
        """Stops the robot and lets go of it. Doing so twice is harmless."""
        if self._closed.is_set():
            return
        self._closed.set()
        self.stop("closed")
        for thread in self._threads:
            thread.join(timeout=1.0)  # a driver that hangs must not keep anybody from leaving
        self._robot.close()

    def _why(self) -> str:
        why = self._safety.check()
        return why and why + self._unstopped

    def _hand(self, action: Array) -> None:
        with self._calls:
            with self._known:
                if why := self._safety.check():  # it may have been stopped while another call was under way
                    raise Refused(f"stopped: {why}; resume or reset it before the next command")
            try:
                self._robot.command(action)
            except Refused:
                raise
            except Exception as e:
                said = f"the command failed: {' '.join(str(e).split())}"
                self.stop(said)
                raise Refused(f"stopped: {said}") from e

    def _rest(self) -> None:
        """After a refusal: 0, or a stop where it is stopped or does not take 0."""
        with self._known:
            self._safety.command[:] = 0.0
            stopped = bool(self._safety.check())
        if not stopped:
            try:
                with self._calls:
                    self._robot.command(np.zeros(self.action.width, np.float32))
            except Exception as e:
                self.stop(f"it did not take the command 0: {' '.join(str(e).split())}")
        else:
            self._halt()

    def _halt(self) -> None:
        """Calls `robot.stop()` once for each stop; without the lock of calls, since one of them may hang."""
        with self._known:
            first, self._halted = not self._halted, True
        if not first:
            return
        try:
            self._robot.stop()
        except Exception as e:
            with self._known:  # the watchdog's next look tries again
                self._halted, self._unstopped = False, f"; but stop() failed: {' '.join(str(e).split())}"

    def _read(self) -> Reading:
        with self._calls:
            reading = self._robot.observe()
        obs = {k: np.array(v) for k, v in reading.obs.items()}
        shapes = {k: v.shape for k, v in obs.items()}
        if shapes != dict(self.obs):
            raise ValueError(f"a reading holds {shapes}; the robot announced {dict(self.obs)}")
        return replace(reading, obs=obs, time=float(reading.time))

    def _eye(self) -> None:
        period = 1.0 / self.rate
        due = time.monotonic() + period
        while not self._closed.wait(max(0.0, due - time.monotonic())):
            self.look()
            due = max(due + period, time.monotonic())

    def _dog(self) -> None:
        left = 0.0
        while not self._closed.wait(min(left, self._timeout / _LOOKS)):
            self.watch()
            with self._known:
                left = max(_SOON, self._safety.watchdog.left())
