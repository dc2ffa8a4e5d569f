"""When an episode counts as success, for environments that do not say so themselves.

A rule that depends on the whole episode speaks at its last step, in `info["success"]`, and nowhere else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from understudy.envs.door import DoorEnv
from understudy.envs.spaces import ActionSpec
from understudy.episode import Array, Obs

__all__ = ["FinallyNear", "Judged", "ReturnAtLeast", "Rule", "StaysUpright"]


class Rule(Protocol):
    """Watches an episode and says at its end whether it was a success."""

    def reset(self) -> None:
        """Forgets the last episode."""
        ...

    def watch(self, obs: Obs, reward: float) -> None:
        """Sees one step."""
        ...

    def verdict(self) -> bool:
        """Whether the episode, now over, was a success."""
        ...


class ReturnAtLeast:
    """The rewards of the episode add up to `least` or more."""

    def __init__(self, least: float) -> None:
        self.least, self.total = least, 0.0

    def reset(self) -> None:
        self.total = 0.0

    def watch(self, obs: Obs, reward: float) -> None:
        self.total += reward

    def verdict(self) -> bool:
        return self.total >= self.least


class StaysUpright:
    """The pendulum is within `angle` rad of upright at each of the last `steps` steps (state[0] = cos θ)."""

    def __init__(self, angle: float, steps: int) -> None:
        self.least, self.steps = float(np.cos(angle)), steps
        self.heights: deque[float] = deque(maxlen=steps)

    def reset(self) -> None:
        self.heights.clear()

    def watch(self, obs: Obs, reward: float) -> None:
        self.heights.append(float(obs["state"][0]))

    def verdict(self) -> bool:
        return len(self.heights) == self.steps and min(self.heights) > self.least


class FinallyNear:
    """In the last state the vector obs["state"][dims] is shorter than `distance`."""

    def __init__(self, dims: tuple[int, ...], distance: float) -> None:
        self.dims, self.distance = list(dims), distance
        self.last = np.inf

    def reset(self) -> None:
        self.last = np.inf

    def watch(self, obs: Obs, reward: float) -> None:
        self.last = float(np.linalg.norm(obs["state"][self.dims]))

    def verdict(self) -> bool:
        return self.last < self.distance


class Judged:
    """An environment whose episodes are judged by a rule, at their last step."""

    def __init__(self, env: DoorEnv, rule: Rule) -> None:
        self.env, self.rule = env, rule
        self.raw: Any = getattr(env, "raw", env)
        self.name: str = env.name
        self.action: ActionSpec = env.action
        self.horizon: int | None = env.horizon

    @property
    def obs(self) -> Mapping[str, tuple[int, ...]]:
        """Observation name -> shape of one step."""
        return self.env.obs

    def reset(self, *, seed: int) -> tuple[Obs, Mapping[str, Any]]:
        """Starts an episode."""
        self.rule.reset()
        return self.env.reset(seed=seed)

    def step(self, action: Array) -> tuple[Obs, float, bool, bool, Mapping[str, Any]]:
        """One control step."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        self.rule.watch(obs, reward)
        if terminated or truncated:
            info = {**info, "success": self.rule.verdict()}
        return obs, reward, terminated, truncated, info

    def close(self) -> None:
        """Frees what the environment holds."""
        self.env.close()
