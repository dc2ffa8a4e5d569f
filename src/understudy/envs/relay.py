"""Relays: several goals in a row without a new start, so that errors have time to add up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, final

import numpy as np

from understudy.envs.fetch import Fetch
from understudy.envs.registry import Task
from understudy.episode import Array, Episode, Obs

__all__ = ["Relay", "legs_of", "relay"]


@final
class Relay:
    """A Fetch task whose goal moves on as soon as it is reached; robot and block stay as they are.

    Every leg has the task's own number of steps. The episode ends (terminated) when all legs are done, and is
    truncated where one is not done in time; success is to have done all. Goals come from the environment's
    own sampler, which follows the episode's seed. The reward is 0 in the step that ends a leg, else -1.

    Args:
        task: a Fetch task.
        legs: how many goals, at least 1.

    Raises:
        ValueError: when there is no leg.
        TypeError: when the task is not a Fetch task.
    """

    def __init__(self, task: Task, legs: int) -> None:
        if legs < 1:
            raise ValueError(f"legs is {legs}; a relay has at least one")
        env = task.make()
        if not isinstance(env, Fetch):
            env.close()
            raise TypeError(f"{task.name} is not a Fetch task; only those can move their goal on")
        self.env, self.legs, self.name = env, legs, _name(task, legs)
        self.raw: Any = env.raw
        self.action = env.action
        self._time = task.horizon
        self.horizon: int | None = legs * task.horizon
        self._done = self._steps = 0

    @property
    def obs(self) -> Mapping[str, tuple[int, ...]]:
        """Observation name -> shape of one step."""
        return self.env.obs

    def reset(self, *, seed: int) -> tuple[Obs, Mapping[str, Any]]:
        """Starts an episode, with the first leg's goal."""
        self._done = self._steps = 0
        return self.env.reset(seed=seed)

    def step(self, action: Array) -> tuple[Obs, float, bool, bool, Mapping[str, Any]]:
        """One control step; `info["legs"]` says how many are done."""
        obs, reward, there, _, info = self.env.step(action)
        self._steps += 1
        if there:
            self._done, self._steps = self._done + 1, 0
        over = self._done == self.legs
        if there and not over:
            self.raw.goal = self.raw._sample_goal()
            obs = {**obs, "desired_goal": self.raw.goal.astype(np.float32)}
        late = self._steps >= self._time and not over
        return obs, reward, over, late, {**info, "success": over, "legs": self._done}

    def close(self) -> None:
        """Frees the simulator."""
        self.env.close()


def relay(task: Task, legs: int) -> Task:
    """The relay as a task of its own, with the same expert.

    Raises:
        ValueError: when there is no leg.
    """
    if legs < 1:
        raise ValueError(f"legs is {legs}; a relay has at least one")
    return replace(
        task,
        name=_name(task, legs),
        summary=f"{task.summary}; {legs} goals in a row",
        make=partial(Relay, task, legs),
        horizon=legs * task.horizon,
        success=f"{legs} goals are reached in a row, each in {task.horizon} steps",
        film=None,
    )


def legs_of(episode: Episode) -> int:
    """How many legs of a relay were done: the steps with the reward of an end."""
    return int((episode.reward == 0).sum())


def _name(task: Task, legs: int) -> str:
    return f"{task.name}-relay-{legs}"
