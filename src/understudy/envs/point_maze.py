"""PointMaze: a point that must go around a wall, and the same point where the wall's opening has moved.

Who knows what was wanted finds the new way; who knows what was done walks into the wall. So rewards are
tried that should mean something where they were not learned (after the shifting maze of Fu et al. 2018).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import numpy as np

from understudy.envs.spaces import ActionSpec
from understudy.episode import Array, Obs
from understudy.experts.point_maze import MAZE, Maze

__all__ = ["ACTION", "HORIZON", "NEAR", "PointMaze"]

ACTION = ActionSpec.box([-1.0, -1.0], [1.0, 1.0])
HORIZON = 100
NEAR = 0.1  # from the goal, at the end, is success
_KEPT, _PACE = 0.8, 0.06  # the share of speed that a step keeps, and units of length in a step at full speed
_START = ((-0.5, -0.9), (0.5, -0.7))
_COST = 0.001  # of a unit of squared acceleration
_GAP = 1e-3  # between a wall and who leans on it
_SALT = 0x3A2E


@final
class PointMaze:
    """A mass in the square [-1, 1]² with a wall along y = 0, open in one place (`Maze`).

    `state` [4] is x, y and the speed along both, 1 being the most that actions can hold: v' = 0.8 v + 0.2 a
    and p' = p + 0.06 v'. Walls stop the speed towards them and leave that along them. Episodes begin at rest
    below the wall and last 100 steps, which is a time limit. The reward is minus the distance to the goal
    after the step, minus 0.001 |a|². It knows nothing of the wall.
    """

    def __init__(self, maze: Maze = MAZE, name: str = "point-maze") -> None:
        self.maze, self.name = maze, name
        self.action = ACTION
        self.horizon: int | None = HORIZON
        self._place, self._speed, self._step = np.array(_START[0]), np.zeros(2), HORIZON

    @property
    def obs(self) -> Mapping[str, tuple[int, ...]]:
        """Observation name -> shape of one step."""
        return {"state": (4,)}

    def reset(self, *, seed: int) -> tuple[Obs, Mapping[str, Any]]:
        """Starts an episode, at a place that follows from the seed."""
        self._place = np.random.default_rng([seed, _SALT]).uniform(*_START)
        self._speed, self._step = np.zeros(2), 0
        return self._observe(), {}

    def step(self, action: Array) -> tuple[Obs, float, bool, bool, Mapping[str, Any]]:
        """One step.

        Raises:
            ValueError: when the episode is over.
        """
        if self._step >= HORIZON:
            raise ValueError(f"the episode ended after {HORIZON} steps; reset starts another")
        push = self.action.settle(action).astype(np.float64)
        self._speed = _KEPT * self._speed + (1 - _KEPT) * push
        self._move(self._place + _PACE * self._speed)
        self._step += 1
        distance = float(np.linalg.norm(self._place - self.maze.goal))
        reward, over = -distance - _COST * float(push @ push), self._step == HORIZON
        return self._observe(), reward, False, over, {"success": distance < NEAR} if over else {}

    def close(self) -> None:
        """Nothing is held."""

    def _move(self, to: Array) -> None:
        """Goes there, or as far as walls allow."""
        before, above = self._place, self._place[1] > 0
        if (to[1] > 0) != above:
            share = before[1] / (before[1] - to[1])
            if self.maze.blocks(before[0] + share * (to[0] - before[0])):
                to[1], self._speed[1] = _GAP if above else -_GAP, 0.0
        self._speed[np.abs(to) > 1] = 0.0
        self._place = np.clip(to, -1.0, 1.0)

    def _observe(self) -> Obs:
        return {"state": np.concatenate([self._place, self._speed]).astype(np.float32)}
