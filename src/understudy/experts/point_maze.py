"""A maze of one wall with one opening, and the expert who walks through it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from understudy.episode import Array, Obs

__all__ = ["MAZE", "MOVED", "Maze", "PointMazeExpert"]

_PULL, _BRAKE = 5.0, 0.5  # of what lies ahead, and of speed
_AHEAD = 0.15  # units before and behind the wall, between which the expert goes straight


@dataclass(frozen=True)
class Maze:
    """A wall from side to side of the square [-1, 1]², along y = 0, and where it is open.

    Args:
        opening: x of its middle.
        half: half of its width.
        goal: x and y of where to go.

    Raises:
        ValueError: when the opening does not lie in the square, or the goal does not lie behind the wall.
    """

    opening: float = 0.75
    half: float = 0.25
    goal: tuple[float, float] = (0.0, 0.8)

    def __post_init__(self) -> None:
        if not (self.half > 0 and abs(self.opening) + self.half <= 1):
            raise ValueError(
                f"the opening at {self.opening} ± {self.half} must lie in [-1, 1] and have a width"
            )
        if not (abs(self.goal[0]) <= 1 and 0 < self.goal[1] <= 1):
            raise ValueError(f"the goal is {self.goal}; it must lie in [-1, 1] × (0, 1]")

    def blocks(self, x: float) -> bool:
        """Whether there is wall at x."""
        return abs(x - self.opening) > self.half


MAZE, MOVED = Maze(), Maze(opening=-0.75)


@final
class PointMazeExpert:
    """Walks to the opening, through it, and to the goal; he knows where the opening is."""

    name = "point-maze expert"

    def __init__(self, maze: Maze = MAZE) -> None:
        self.maze = maze

    def reset(self, seed: int) -> None: ...

    def act(self, obs: Obs) -> Array:
        """The acceleration [2], within ±1."""
        x, y, *speed = (float(v) for v in obs["state"])
        way = self._target(x, y) - (x, y)
        return np.clip(_PULL * way - _BRAKE * np.array(speed), -1.0, 1.0).astype(np.float32)

    def _target(self, x: float, y: float) -> Array:
        maze = self.maze
        if y > _AHEAD / 2:
            return np.array(maze.goal)
        before = abs(x - maze.opening) > 0.8 * maze.half
        return np.array([maze.opening, -_AHEAD if before else 2 * _AHEAD])
