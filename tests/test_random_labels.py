"""With demonstrations of random behaviour a method finds no skill, where with an expert's it finds it all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from holding import imitated_agent
from understudy.agent import Chunked
from understudy.baselines import RandomPolicy
from understudy.dataset import Dataset
from understudy.envs import ActionSpec, Task, adapt
from understudy.episode import Array
from understudy.evaluate import evaluate, fresh_seeds
from understudy.numerics import Estimate, bootstrap
from understudy.online import uniform
from understudy.rollout import rollout

LIMIT, EPISODES = 20, 100


class Ring:
    """A point on a ring, seen from its goal. Without looking, no movement is better than another."""

    action = ActionSpec.box([-1.0], [1.0])

    def reset(self, *, seed: int) -> Array:
        self.rng = np.random.default_rng(seed)
        self.off = self.rng.uniform(-np.pi, np.pi)
        return self._seen()

    def step(self, action: Any) -> Any:
        self.off += 0.6 * float(action[0]) + self.rng.normal(0, 0.05)
        return self._seen(), -float(np.arccos(np.cos(self.off))), False, False, {}

    def _seen(self) -> Array:
        return np.array([np.cos(self.off), np.sin(self.off)], np.float32)


class Expert:
    name = "expert"

    def reset(self, seed: int) -> None:
        pass

    def act(self, obs: Any) -> Array:
        cos, sin = obs["state"]
        return np.array([-0.95 * np.tanh(2.5 * np.arctan2(sin, cos))], np.float32)


def make_ring() -> Any:
    return adapt(Ring(), horizon=LIMIT)


RING = Task("ring", "go to the goal", make_ring, LIMIT, {"state": (2,)}, Ring.action)


def returns(policy: Any) -> Array:
    return np.array([o.total_reward for o in evaluate(policy, make_ring, fresh_seeds(EPISODES)).outcomes])


def score(data: Dataset) -> Estimate:
    """The share of the way from random actions to the expert, over 100 episodes paired by seed."""
    beginner, expert = returns(RandomPolicy(Ring.action)), returns(Expert())
    mine = returns(Chunked(imitated_agent(RING, data, 4000)))
    return bootstrap((mine - beginner) / (expert.mean() - beginner.mean()))


@pytest.mark.parametrize("skilled", [True, False])
def test_skill_comes_from_the_demonstrations_alone(skilled: bool) -> None:
    """The control passes where the interval does not lie above a tenth of the expert; the same budget with an
    expert's demonstrations lies wholly above 0.7, so a leak of the task's reward would be seen. There are
    many random episodes: ten would by luck be nearer to the goal than others, or further, and teach that."""
    experts = Dataset([rollout(make_ring(), Expert(), seed) for seed in range(10)])
    found = score(experts if skilled else uniform(RING, 200 * LIMIT, 7))
    assert found.low > 0.7 if skilled else found.low < 0.1
