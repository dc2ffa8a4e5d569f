"""What a command goes through before anything moves, and what happens where no command comes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import final

import numpy as np

from understudy.envs.spaces import ActionSpec
from understudy.episode import Array, Obs
from understudy.robots.base import TIMEOUT, Refused
from understudy.robots.limits import Limits

__all__ = ["ManualClock", "Safety", "Watchdog"]


@final
class ManualClock:
    """A clock that goes only when told to: seconds, from 0. A robot with one is stepped, without threads."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Lets so many seconds pass."""
        self.now += seconds


@final
class Watchdog:
    """Stops what gets no command for `timeout` seconds of the robot's own clock.

    It has three states. *At rest*, after the start, a `reset` or a `resume`, it waits as long as it takes.
    The first `feed` makes it *watch*. From then on, `timeout` seconds without one, or `trip`, make it
    *stopped*: it is fed in vain until `resume` or `reset`, and even then nothing moves before the next
    command. So a robot never sets off by itself when a lost link comes back.

    Args:
        timeout: seconds. clock: seconds that never go back.
    """

    def __init__(self, timeout: float = TIMEOUT, clock: Callable[[], float] = time.monotonic) -> None:
        if not 0 < timeout < math.inf:
            raise ValueError(f"timeout is {timeout}; it must be a finite number of seconds above 0")
        self.timeout, self._clock = timeout, clock
        self._fed: float | None = None
        self._why = ""
        self._final = False

    def check(self) -> str:
        """Why the robot is stopped, "" where it is not. Whoever moves it asks before every motion."""
        if not self._why and self._fed is not None and self._clock() - self._fed >= self.timeout:
            self.trip(f"no command for {self.timeout:g} s")
        return self._why

    def left(self) -> float:
        """Seconds until it bites, if nobody feeds it; the whole timeout where it does not watch."""
        return self.timeout if self._fed is None else max(0.0, self._fed + self.timeout - self._clock())

    def feed(self) -> None:
        """Somebody commands.

        Raises:
            Refused: when the robot is stopped.
        """
        if why := self.check():
            way = "reset it" if self._final else "resume or reset it"
            raise Refused(f"stopped: {why}; {way} before the next command")
        self._fed = self._clock()

    def trip(self, why: str, *, final: bool = False) -> None:
        """Stops, and says why; the first reason stays. After a `final` one only a reset helps."""
        self._why = self._why or why
        self._final = self._final or final
        self._fed = None

    def resume(self) -> None:
        """Back to rest.

        Raises:
            Refused: when only a reset helps.
        """
        if self._final:
            raise Refused(f"stopped: {self._why}; only a reset helps")
        self.reset()

    def reset(self) -> None:
        """Back to rest, whatever happened."""
        self._fed, self._why, self._final = None, "", False


@final
class Safety:
    """Limits and watchdog of one robot. Not thread-safe: its robot holds a lock around it.

    Attributes:
        command: [A] float32, what is to be carried out now; 0 at rest.
        begun: whether there was a command since the last reset.

    Raises:
        ValueError: when the limits do not fit the robot, or its commands know no rest.
    """

    def __init__(
        self,
        action: ActionSpec,
        obs: Mapping[str, tuple[int, ...]],
        limits: Limits,
        timeout: float,
        clock: Callable[[], float],
    ) -> None:
        if action.n is not None:
            raise ValueError(
                f"a robot's commands are continuous; one of {action.n} choices is no way to hold still"
            )
        if (action.low > 0).any() or (action.high < 0).any():
            raise ValueError(f"0 must mean 'hold still', but bounds are {action.low} and {action.high}")
        limits.fit(action, obs)
        self._spec, self._limits = action, limits
        self.watchdog = Watchdog(timeout, clock)
        self.command, self.begun = self._rest(), False

    def admit(self, action: object, obs: Obs) -> Array:
        """The command [A] to be carried out. A refused one is a sign of life all the same.

        Raises:
            Refused: when a limit is broken or the robot is stopped; `command` is 0 then.
        """
        before, self.command = self.command, self._rest()
        self.watchdog.feed()
        self.command = self._limits.admit(action, self._spec, obs, before)
        self.begun = True
        return self.command

    def hold(self, obs: Obs) -> bool:
        """Asks the boxes again before what is carried out goes on; whether it was changed.

        A command is good for the step after it. While none follows, it must not carry the robot any further
        than it could have been told to go.
        """
        before = self.command
        try:
            self.command = self._limits.going_on(before, obs)
        except Refused:
            self.command = self._rest()
        return not np.array_equal(before, self.command)

    def check(self) -> str:
        """Why the robot is stopped, "" where it is not; `command` is 0 from then on."""
        if why := self.watchdog.check():
            self.command = self._rest()
        return why

    def stop(self, why: str, *, final: bool = False) -> None:
        """To rest, until `resume` or `reset`."""
        self.watchdog.trip(why, final=final)
        self.command = self._rest()

    def resume(self) -> None:
        """Takes commands again.

        Raises:
            Refused: when only a reset helps.
        """
        self.watchdog.resume()
        self.command = self._rest()

    def reset(self) -> None:
        """As new."""
        self.watchdog.reset()
        self.command, self.begun = self._rest(), False

    def _rest(self) -> Array:
        return np.zeros(self._spec.width, np.float32)
