"""A world for the tests of gates: an unstable point whose rudder works the other way far from home."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import numpy as np

from understudy.dataset import Dataset
from understudy.envs import ActionSpec
from understudy.episode import Array, Obs
from understudy.experts import ENDORSE
from understudy.rollout import rollouts

STEPS, EDGE, LOST = 25, 1.0, 3.0


@final
class Reversal:
    """x' = 1.1 x + 0.5 a where |x| < 1, and 1.1 x - 0.5 a beyond; it is lost where |x| > 3.

    It starts with |x| < 0.5, so demonstrations never show the other side of the edge. An episode is a success
    when the point is at home, |x| < 0.5, after its last step.
    """

    name = "reversal"
    action = ActionSpec.box([-1.0], [1.0])

    def reset(self, *, seed: int) -> tuple[Obs, Mapping[str, Any]]:
        self.x = np.random.default_rng([seed, 0x2E5]).uniform(-0.5, 0.5)
        self.step_ = 0
        return self._seen(), {}

    def step(self, action: Array) -> tuple[Obs, float, bool, bool, Mapping[str, Any]]:
        push = 0.5 * float(action[0])
        self.x = 1.1 * self.x + (push if abs(self.x) < EDGE else -push)
        self.step_ += 1
        lost = abs(self.x) > LOST
        info = {"success": bool(abs(self.x) < 0.5)}
        return self._seen(), -abs(self.x), lost, self.step_ >= STEPS, info

    def _seen(self) -> Obs:
        return {"state": np.array([self.x], np.float32)}


@final
class Steering:
    """The expert: it knows of the edge."""

    name = "steering"

    def reset(self, seed: int) -> None: ...

    def act(self, obs: Obs) -> Array:
        x = float(obs["state"][0])
        return np.clip([-x if abs(x) < EDGE else 2.0 * x], -1.0, 1.0).astype(np.float32)


def steer() -> Steering:
    """The expert."""
    return Steering()


def demonstrations(count: int) -> Dataset:
    """Episodes of the expert, from seed 0 up."""
    return Dataset(rollouts(Reversal, Steering(), range(count), ENDORSE))
