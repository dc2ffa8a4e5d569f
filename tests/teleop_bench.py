"""A small world, a clock that goes only when told to, and a session on both: what tests of teleop share."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from understudy.envs import ActionSpec, Task
from understudy.episode import Array, Obs
from understudy.teleop import Frame, Input, Session, controls_for

FPS = 20
SPEC = ActionSpec.box([-1.0], [1.0])


class Line:
    """A point on a line: x' = x + 0.1 a. Done where x > 1.01, which does not end the episode."""

    name, action = "line", SPEC
    horizon: int | None = None

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.breaks_at: int | None = None

    @property
    def obs(self) -> Mapping[str, tuple[int, ...]]:
        return {"state": (2,)}

    def reset(self, *, seed: int) -> tuple[Obs, Mapping[str, Any]]:
        self.x, self.t = 0.0, 0
        self.seed = seed
        return self._see(), {}

    def step(self, action: Array) -> tuple[Obs, float, bool, bool, Mapping[str, Any]]:
        if self.t == self.breaks_at:
            raise RuntimeError("the belt broke")
        self.asked.append(float(action[0]))
        self.x, self.t = self.x + 0.1 * float(action[0]), self.t + 1
        return self._see(), 0.0, False, False, {"success": self.x > 1.01}

    def close(self) -> None: ...

    def _see(self) -> Obs:
        return {"state": np.array([self.x, self.t], np.float32)}


LINE = Task("line", "go to the right", Line, 40, {"state": (2,)}, SPEC, fps=FPS)


class Script:
    """A pilot that plays chunks of four actions, each a function of where it was when it was asked."""

    threshold: float | None = 0.5

    def __init__(self, name: str = "script", doubts: Iterable[float] = ()) -> None:
        self.name, self.calls = name, list[tuple[str, float]]()
        self._doubts = list(doubts)
        self.resets: list[int] = []

    def reset(self, seed: int) -> None:
        self.resets.append(seed)
        self._chunk: list[float] = []

    def act(self, obs: Obs) -> Array:
        self.calls.append(("act", float(obs["state"][1])))
        self._chunk = self._chunk or [0.2, 0.2, 0.2, -0.4]
        return np.array([self._chunk.pop(0)])

    def watch(self, obs: Obs) -> None:
        self.calls.append(("watch", float(obs["state"][1])))
        self._chunk = []

    def doubt(self, obs: Obs) -> float | None:
        t = int(obs["state"][1])
        return self._doubts[t] if t < len(self._doubts) else None


class Bench:
    """A session and the person before it."""

    def __init__(self, folder: Path | None, task: Task = LINE, env: Any = None, **more: Any) -> None:
        self.now, self._seq = 100.0, 0
        self.env: Any = Line() if env is None else env
        more = {"operator": "Ann", "countdown": 0.0, "clock": lambda: self.now, **more}
        self.session = Session(self.env, task, controls_for(task), folder, **more)

    def tick(self, n: int = 1, keys: str = "", **held: Any) -> Frame:
        """So many ticks, with these keys (space between) held down all the time."""
        for _ in range(n):
            self.now += 1.0 / self.session.rate
            self._seq += 1
            down = frozenset(keys.split())
            self.session.put(Input(self._seq, down, received=self.now, **held))
            frame = self.session.tick(self.now)
        return frame

    def silent(self, n: int = 1) -> Frame:
        """So many ticks in which the page says nothing."""
        for _ in range(n):
            self.now += 1.0 / self.session.rate
            frame = self.session.tick(self.now)
        return frame

    def do(self, *words: str, **args: Any) -> dict[str, Any]:
        """Commands, each with a tick; the state after them."""
        for word in words:
            self.session.do(word, **args)
            self.tick()
        return self.state

    def settle(self) -> dict[str, Any]:
        """Ticks until the episode is saved, or is not."""
        end = time.monotonic() + 20
        while self.state["phase"] == "saving" and time.monotonic() < end:
            time.sleep(0.002)
            self.tick()
        return self.state

    @property
    def state(self) -> dict[str, Any]:
        return self.session.state()

    @property
    def phase(self) -> str:
        return str(self.state["phase"])
