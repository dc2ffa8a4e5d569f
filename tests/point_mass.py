"""A point on a plane that must come to the origin, and a demonstrator who goes straight there at 60 % speed.

Dense, each step pays ten times the way that it won: nobody can get more than 10 in ten steps, and the
demonstrator gets 6. Sparse, each step costs 1 until the point is there, which ends the task.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from understudy.dataset import Dataset
from understudy.envs import ActionSpec, Task, adapt
from understudy.envs.door import DoorEnv
from understudy.episode import Array, Obs
from understudy.evaluate import evaluate
from understudy.experts.advice import ENDORSE
from understudy.learn import Learner
from understudy.numerics import Estimate
from understudy.online.base import Collecting, Practising, Setting
from understudy.rewards import RewardConfig
from understudy.roles import Policy
from understudy.rollout import rollout
from understudy.serial import read_tree, write_tree

STEP, NEAR = 0.1, 0.2  # the longest step; how near is there
BEST, DEMONSTRATOR = 10.0, 6.0  # returns of the dense world


class PointMass:
    """x' = x + 0.1 a, with a shortened to length 1 where it is longer."""

    def __init__(self, sparse: bool) -> None:
        self.action, self.sparse = ActionSpec.box([-1.0, -1.0], [1.0, 1.0]), sparse

    def reset(self, *, seed: int) -> tuple[Obs, dict[str, Any]]:
        rng = np.random.default_rng(seed)
        angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(1.0, 1.2) if self.sparse else rng.uniform(2, 3)
        self.x = far * np.array([np.cos(angle), np.sin(angle)])
        return self._seen(), {}

    def step(self, action: Array) -> tuple[Obs, float, bool, bool, dict[str, Any]]:
        before, a = np.linalg.norm(self.x), np.asarray(action, float)
        self.x = self.x + STEP * a / max(1.0, float(np.linalg.norm(a)))
        after = np.linalg.norm(self.x)
        there = bool(after < NEAR) and self.sparse
        reward = -float(not there) if self.sparse else float(before - after) / STEP
        return self._seen(), reward, there, False, {"success": there} if self.sparse else {}

    def _seen(self) -> Obs:
        return {"state": self.x.astype(np.float32)}


class Slow:
    """Straight to the origin at 60 % speed, with a little noise across and along."""

    def __init__(self, speed: float = 0.6, noise: float = 0.05) -> None:
        self.speed, self.noise = speed, noise

    def reset(self, seed: int) -> None:
        self.rng = np.random.default_rng((seed, 1))

    def act(self, obs: Obs) -> Array:
        x = obs["state"]
        move = -self.speed * x / np.linalg.norm(x) + self.noise * self.rng.standard_normal(2)
        return move.clip(-1, 1).astype(np.float32)


def _make(sparse: bool) -> DoorEnv:
    env = adapt(PointMass(sparse), horizon=30 if sparse else 10)
    env.name = f"point-mass-{'sparse' if sparse else 'dense'}"
    return env


def point_mass(sparse: bool = False) -> Task:
    """The task, as the registry would have it."""
    return Task(
        f"point-mass-{'sparse' if sparse else 'dense'}", "come to the origin", partial(_make, sparse),
        30 if sparse else 10, {"state": (2,)}, ActionSpec.box([-1.0, -1.0], [1.0, 1.0]), expert=Slow,
    )  # fmt: skip


def demonstrations(episodes: int = 20, sparse: bool = False, first: int = 0) -> Dataset:
    """What the slow one does, with the rewards that he got."""
    env = _make(sparse)
    return Dataset([rollout(env, Slow(), first + s, ENDORSE) for s in range(episodes)])


def setting(
    learner: Any, plan: Practising | Collecting, *, sparse: bool = False, data: Dataset | None = None
) -> Setting:
    """The world, its demonstrations and how it is lived in."""
    shown = demonstrations(sparse=sparse) if data is None else data
    return Setting(point_mass(sparse), shown, plan, learner, RewardConfig())


def returns(policy: Policy, sparse: bool = False, episodes: int = 30) -> Estimate:
    """The mean return on seeds that nothing else uses, with its 95 % interval."""
    return evaluate(policy, point_mass(sparse).make, range(50_000, 50_000 + episodes)).mean_return


def resumed(build: Callable[[], Learner], before: int, after: int, file: Path) -> None:
    """An interrupted run ends in the same bits as one that was not: what it tells, and its weights."""
    whole, first = build(), build()
    for _ in range(before):
        whole.step()
        first.step()
    write_tree(file, first.state_dict())
    second = build()
    second.load_state_dict(read_tree(file))
    for _ in range(after):
        told, again = whole.step(), second.step()
        assert told == again
    mine, its = whole.agent.state_dict(), second.agent.state_dict()
    assert all(torch.equal(mine[k], its[k]) for k in mine)
    fresh = build().agent.state_dict()
    assert any(not torch.equal(mine[k], fresh[k]) for k in mine)
