"""What a session drives: an environment, its scene, and what the two say of the episode under way."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import final

import numpy as np
from numpy.typing import NDArray

from understudy.envs.door import DoorEnv, says_success
from understudy.envs.registry import Task
from understudy.episode import Array, Obs
from understudy.robots import RobotEnv, RobotLost
from understudy.scene import Scene, scene_of

__all__ = ["FASTEST", "UNPACED", "World", "paced", "patient"]

FASTEST = 60  # control steps a second that a session is shown at; pacing by sleep does not promise more
UNPACED = 10  # control steps a second, where the task does not say
_HELD = 0.5  # seconds for which the task must stay done, where it does not end by itself


def paced(fps: float | None) -> tuple[float, int]:
    """How often a session ticks in a second, and how many control steps it takes each time.

    Up to 60 steps a second each has a tick of its own. Faster tasks take the fewest steps a tick, a whole
    number, that keep ticks at 60 a second or less, so that the world still runs in real time.

    >>> paced(25), paced(125), paced(None)
    ((25.0, 1), (41.666666666666664, 3), (10.0, 1))
    """
    steps = float(UNPACED if fps is None else fps)
    each = max(1, ceil(steps / FASTEST))
    return steps / each, each


def patient(task: Task, seconds: float) -> DoorEnv:
    """The environment of a task with time for a person, where the task allows that; else as it is."""
    steps = ceil(seconds * (UNPACED if task.fps is None else task.fps)) + 1  # the session ends it, not this
    return task.make() if task.lasting is None else task.lasting(max(steps, task.horizon))


@final
class World:
    """An environment between a reset and the end of an episode.

    Args:
        env: what is driven, or what makes it; a `RobotEnv` is stopped where a simulation just stands still.
        task: for its control rate.

    Attributes:
        obs: the newest observation. steps: since the reset. success: the task's last word, None before it.
        terminated, truncated: as the environment said in the last step.
        fresh: whether it was reset since this was last set to False.
    """

    def __init__(self, env: DoorEnv | Callable[[], DoorEnv], task: Task) -> None:
        self.env: DoorEnv = env() if callable(env) else env
        self.robot = self.env if isinstance(self.env, RobotEnv) else None
        self.fps = float(task.fps or UNPACED) if self.robot is None else self.robot.rate
        self._known = task.fps is not None
        self._stays = max(1, round(_HELD * self.fps))
        self._scene: Scene | None = None
        self._drawn = False
        self.episode = 0

    @property
    def scene(self) -> Scene | None:
        """What can be drawn of it; known after the first reset."""
        return self._scene

    def reset(self, seed: int, now: float) -> float:
        """Starts an episode; gives when its first observation was measured."""
        self.obs, info = self.env.reset(seed=seed)
        self.steps, self._done = 0, 0
        self.success = says_success(info)
        self.terminated = self.truncated = False
        self.fresh, self.episode = True, self.episode + 1
        self._draw()
        return float(info.get("time", now))

    def show(self, seed: int, now: float) -> None:
        """Something to look at before the first episode: a start, or a robot just as it stands."""
        if self.robot is None:
            self.reset(seed, now)
            return
        self.steps = self._done = 0
        self.success = None
        self.terminated = self.truncated = False
        self.fresh, self.episode = True, 0
        self.look()
        self._draw()

    def look(self) -> float:
        """What a robot sees now, without moving it; gives when that was measured, on its clock.

        Raises:
            RobotLost: when it cannot be reached.
        """
        assert self.robot is not None
        reading = self.robot.robot.observe()
        self.obs = reading.obs
        return reading.time

    def _draw(self) -> None:
        if not self._drawn:
            self._scene, self._drawn = scene_of(self.env), True

    def step(self, action: Array, now: float) -> tuple[Obs, float, float]:
        """One control step: observation, reward, and when it was measured (`now`, or as the robot says)."""
        self.obs, reward, terminated, truncated, info = self.env.step(action)
        said = says_success(info)
        self.success = self.success if said is None else said
        self._done = self._done + 1 if said else 0
        self.terminated, self.truncated = bool(terminated), bool(truncated)
        self.steps += 1
        return self.obs, float(reward), float(info.get("time", now))

    @property
    def over(self) -> bool:
        """Whether the episode ended by itself: the task says so, or has been done for half a second."""
        return self.terminated or self.truncated or self._done >= self._stays

    @property
    def whole_fps(self) -> int | None:
        """Steps a second as a dataset has them: a whole number, None where the task does not say."""
        whole = self.fps.is_integer() and (self.robot is not None or self._known)
        return int(self.fps) if whole else None

    @property
    def sim(self) -> float:
        """Seconds since the reset, as the task counts them."""
        return self.steps / self.fps

    def stop(self) -> None:
        """Brings a robot to rest at once, from any thread; a simulation rests where nobody steps it."""
        if self.robot is not None:
            self.robot.stop()

    def resume(self) -> None:
        """Lets a stopped robot take commands again.

        Raises:
            RobotStopped: when only a reset helps.
        """
        if self.robot is not None:
            self.robot.resume()

    def why_stopped(self) -> str:
        """Why a robot does not move; "" where it does, or where there is none."""
        if self.robot is None:
            return ""
        try:
            return self.robot.robot.why_stopped
        except RobotLost as e:
            return str(e)

    def poses(self) -> NDArray[np.float32]:
        """[n, 7], of now."""
        return np.zeros((0, 7), np.float32) if self._scene is None else self._scene.poses()
