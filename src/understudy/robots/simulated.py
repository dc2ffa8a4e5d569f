"""A task of the registry as a robot: it moves by a clock, not by calls."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, final

from understudy.envs.door import says_success
from understudy.envs.judge import Judged
from understudy.envs.registry import Task
from understudy.episode import Array
from understudy.robots.base import TIMEOUT, Reading, RobotLost
from understudy.robots.limits import Limits
from understudy.robots.safety import ManualClock, Safety
from understudy.robots.twin import pose_of

__all__ = ["SimulatedRobot"]


@final
class SimulatedRobot:
    """A task's simulation behind a robot's interface, with its limits and its watchdog.

    A thread takes one control step every 1 / rate seconds and carries out the last command in it; where the
    robot is stopped or was refused it carries out 0. No step begins later than `timeout` after the last
    command. After a reset the world stands still until the first command, so an episode begins in exactly
    the state that its seed gives. A time limit of the task does not apply: a robot has none. Where the task
    fails for good (a walker fell) the robot stops, and only a reset helps.

    Args:
        task: one with continuous actions.
        limits: held before every command.
        timeout: seconds without a command, after which it stops.
        rate: control steps in a second, where the task does not say; it must be left out where it does.
        clock: a `ManualClock` makes it stepped: there is no thread, `wait` lets one control period pass.

    Raises:
        ValueError: when the task has no rate or choices for actions, or the limits do not fit it.
    """

    resets = True

    def __init__(
        self,
        task: Task,
        *,
        limits: Limits | None = None,
        timeout: float = TIMEOUT,
        rate: float | None = None,
        clock: ManualClock | None = None,
    ) -> None:
        self.name, self.action = task.name, task.action
        self.rate = _rate(task, rate)
        self._clock = time.monotonic if clock is None else clock
        self._manual = clock
        self._safety = Safety(task.action, task.obs, limits or Limits(), timeout, self._clock)
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self.env = task.make()
        self._reading = self.reset(seed=0)
        self._thread: threading.Thread | None = None
        if clock is None:
            self._thread = threading.Thread(target=self._run, name=f"robot {self.name}", daemon=True)
            self._thread.start()

    @property
    def obs(self) -> Mapping[str, tuple[int, ...]]:
        """Observation name -> shape of one step."""
        return self.env.obs

    @property
    def raw(self) -> Any:
        """The simulator, to look at and not to touch."""
        return getattr(self.env, "raw", self.env)

    @property
    def why_stopped(self) -> str:
        """Why it does not move, "" where it does as it is told."""
        with self._changed:
            return self._safety.check()

    def observe(self) -> Reading:
        """The reading of the last control step; `stopped` is of now."""
        with self._changed:
            return replace(self._reading, stopped=self._safety.check())

    def command(self, action: Array) -> None:
        """Carries out `action` [A] from the next control step on.

        Raises:
            Refused: by a limit, or because the robot is stopped.
            RobotLost: when it is closed.
        """
        with self._changed:
            if self._closed.is_set():
                raise RobotLost(f"{self.name} is closed")
            self._safety.admit(action, self._reading.obs)

    def stop(self, why: str = "stopped by hand") -> None:
        """To rest, until `resume` or `reset`."""
        with self._changed:
            self._safety.stop(why)

    def resume(self) -> None:
        """Takes commands again.

        Raises:
            Refused: when only a reset helps.
        """
        with self._changed:
            self._safety.resume()

    def reset(self, seed: int) -> Reading:
        """The task's start of that seed, at rest."""
        with self._changed:
            self._safety.reset()
            obs, info = self.env.reset(seed=seed)
            self._reading = Reading(obs, self._clock(), says_success(info), "", pose_of(self.env))
            self._due = time.monotonic() + 1.0 / self.rate
            self._changed.notify_all()
            return self._reading

    def wait(self, after: float, timeout: float) -> Reading | None:
        """The first reading later than `after`, None where there is none within `timeout` seconds."""
        if self._manual is not None:
            self._manual.sleep(1.0 / self.rate)
            self.tick()
        with self._changed:
            if self._changed.wait_for(lambda: self._reading.time > after, timeout):
                return replace(self._reading, stopped=self._safety.check())
        return None

    def tick(self) -> None:
        """One control step. A stepped robot's owner calls it; else the thread does."""
        with self._changed:
            why, now = self._safety.check(), self._clock()
            if not self._safety.begun or self._closed.is_set():
                self._reading = replace(self._reading, time=now, stopped=why)
            else:
                self._step(now)
            self._changed.notify_all()

    def close(self) -> None:
        """Stops, and frees the simulator. Doing so twice is harmless."""
        self._closed.set()
        self.stop("closed")
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            self.env.close()
        elif self._manual is not None:
            self._manual = None
            self.env.close()

    def _step(self, now: float) -> None:
        self._safety.hold(self._reading.obs)
        try:
            obs, _, terminated, _, info = self.env.step(self._safety.command)
        except Exception as e:  # whatever a simulator raises, its robot must say so and not just vanish
            self._safety.stop(f"the simulation failed: {' '.join(str(e).split())}", final=True)
            self._reading = replace(self._reading, time=now, stopped=self._safety.check())
            return
        success = says_success(info)
        if isinstance(self.env, Judged):  # it judges at the end of an episode, and here there is none
            success = self.env.rule.verdict()
        if terminated and not success:
            self._safety.stop("the task has failed for good", final=True)
        self._reading = Reading(obs, now, success, self._safety.check(), pose_of(self.env))

    def _run(self) -> None:
        while not self._closed.wait(max(0.0, self._due - time.monotonic())):
            if time.monotonic() < self._due:  # a reset has begun a new period meanwhile
                continue
            self.tick()
            self._due += 1.0 / self.rate
            if self._due < (now := time.monotonic()):
                self._due = now + 1.0 / self.rate  # late steps are not made up for: two at once are a jump


def _rate(task: Task, rate: float | None) -> float:
    if rate is not None and task.fps is not None and rate != task.fps:
        raise ValueError(f"{task.name} runs at {task.fps} control steps a second, not {rate:g}")
    found = rate if task.fps is None else float(task.fps)
    if found is None:
        raise ValueError(f"{task.name} does not say how many control steps a second has; say its rate")
    if not 0 < found <= 1000:
        raise ValueError(f"rate is {found:g}; it must be above 0 and at most 1000 control steps a second")
    return float(found)
