"""A point that glides over a plane, as a task and as somebody's robot, so that all can be told by hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from understudy.envs import ActionSpec, Task
from understudy.episode import Array, Obs
from understudy.robots import Reading, Refused

ACTION = ActionSpec.box([-1.0, -1.0], [1.0, 1.0])


class Glide:
    """x' = x + 0.1 a in the plane; done at x > 1, fallen at y < -1, broken at y > 1."""

    name, action, horizon = "glide", ACTION, 5
    obs: Any = {"state": (2,)}  # noqa: RUF012

    def reset(self, *, seed: int) -> tuple[Obs, dict[str, Any]]:
        self.x = np.array([0.01 * seed, 0.0])
        return self._seen(), {}

    def step(self, action: Array) -> tuple[Obs, float, bool, bool, dict[str, Any]]:
        self.x = self.x + 0.1 * np.asarray(action, float)
        if self.x[1] > 1:
            raise RuntimeError("a joint\nbroke")
        done = bool(self.x[0] > 1)
        return self._seen(), 0.0, done or self.x[1] < -1, False, {"success": done}

    def close(self) -> None: ...

    def _seen(self) -> Obs:
        return {"state": self.x.astype(np.float32)}


def glide(rate: int = 50) -> Task:
    """The task of it."""
    return Task("glide", "glide to the right", Glide, 5, {"state": (2,)}, ACTION, fps=rate)


class Arm:
    """Somebody's robot, which notes what it is told. Its clock is `clock`."""

    name, action, rate = "arm", ACTION, 10.0
    obs: Any = {"state": (2,)}  # noqa: RUF012

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock, self.told, self.stops = clock, [], 0
        self.at, self.stopped, self.fails = np.zeros(2, np.float32), "", set[str]()

    def observe(self) -> Reading:
        self._try("observe")
        return Reading({"state": self.at.copy()}, self.clock(), None, self.stopped)

    def command(self, action: Array) -> None:
        self._try("command")
        if action[1] == 0.5:
            raise Refused("the arm: dimension 1 is 0.5, which it never takes")
        self.told.append(action.tolist())

    def stop(self) -> None:
        self._try("stop")
        self.stops += 1

    def close(self) -> None:
        self.told.append("closed")

    def _try(self, what: str) -> None:
        if what in self.fails:
            raise OSError(f"no {what}:\nthe bus is down")
