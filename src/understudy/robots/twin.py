"""How a simulated robot's bodies lie, and a copy of its world elsewhere that takes on the same pose.

A robot in another process sends its pose with each reading, so that whoever drives it can draw it: joints
(`qpos`), mocap bodies and the place to get to (`goal`). A real robot that measures its joints can do so too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import numpy as np

from understudy.envs.door import DoorEnv
from understudy.envs.registry import Task
from understudy.episode import Array

__all__ = ["Twin", "pose_of"]

_PARTS = ("qpos", "mocap_pos", "mocap_quat")


def _inner(env: DoorEnv) -> Any:
    raw = getattr(env, "raw", env)
    return getattr(raw, "unwrapped", raw)


def pose_of(env: DoorEnv) -> dict[str, Array]:
    """Name -> float64 array, copied: `qpos`, `mocap_pos`, `mocap_quat`, `goal`; {} where it has none."""
    inner = _inner(env)
    data, goal = getattr(inner, "data", None), getattr(inner, "goal", None)
    found = {} if data is None else {k: np.array(getattr(data, k), np.float64) for k in _PARTS}
    if found and isinstance(goal, np.ndarray) and goal.shape == (3,):
        found["goal"] = np.array(goal, np.float64)
    return {k: v for k, v in found.items() if v.size}


@final
class Twin:
    """A task's simulation that is never stepped, but shown as a robot elsewhere says it lies.

    Args:
        task: the robot's.

    Raises:
        ValueError: when the task's world has no pose that could be taken on.
    """

    def __init__(self, task: Task) -> None:
        self._env = task.make()
        self._env.reset(seed=0)
        self._shapes = {k: v.shape for k, v in pose_of(self._env).items()}
        if not self._shapes:
            self._env.close()
            raise ValueError(f"the world of {task.name} has no joints; a twin takes those on")
        self.raw = _inner(self._env)

    def show(self, pose: Mapping[str, Array]) -> None:
        """Takes a pose on; an empty one leaves it as it is.

        Raises:
            ValueError: when it is the pose of another world.
        """
        shapes = {k: v.shape for k, v in pose.items()}
        if pose and shapes != self._shapes:
            raise ValueError(f"the robot's pose is {shapes}; its task's world has {self._shapes}")
        for name, value in pose.items():
            if name == "goal":
                self.raw.goal = np.array(value)
            else:
                getattr(self.raw.data, name)[:] = value

    def close(self) -> None:
        """Frees the simulator."""
        self._env.close()
