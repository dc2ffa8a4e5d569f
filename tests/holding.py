"""A point on a line that an expert brings to a goal: small worlds to imitate in, on policy, in seconds.

"hold" goes on for 20 steps whatever is done, and pays minus the distance. "arrive" is over when the point is
at the goal, and pays -1 a step: it is right to end soon. A random policy gets about -8 and -13 there, the
expert about -1 and -2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from understudy.agent import Agent
from understudy.dataset import Dataset
from understudy.envs import ActionSpec, Task, adapt
from understudy.episode import Array
from understudy.learn import discriminator, ppo
from understudy.learn.replay import Transitions
from understudy.online import gail
from understudy.online.adversarial import Adversarial, Lessons
from understudy.online.audit import audit
from understudy.online.base import Collecting, Setting
from understudy.online.diagnosis import Facts, facts_of
from understudy.online.practice import shortfall
from understudy.rewards import RewardConfig
from understudy.rollout import rollout
from understudy.train import Budget, Outcome, train

JUDGE = discriminator.Config(d_rate=5e-3, penalty=1.0, penalty_kind="zero", noise=0.0)
UNHELD = discriminator.Config(d_rate=2e-2, penalty_kind="none", noise=0.0)
LESSONS = Lessons(d_steps=16)
LEARNER = ppo.Config(discount=0.95, learning_rate=1e-3, minibatch=64, hidden=(16, 16))


class Line:
    """The point and its goal; `arriving` ends where they meet."""

    action = ActionSpec.box([-1.0], [1.0])

    def __init__(self, arriving: bool) -> None:
        self.arriving = arriving

    def reset(self, *, seed: int) -> Array:
        self.rng = np.random.default_rng(seed)
        self.at, self.goal = self.rng.uniform(-1, 1), self.rng.uniform(-0.5, 0.5)
        return self._seen()

    def step(self, action: Any) -> Any:
        self.at = float(np.clip(self.at + 0.3 * float(action[0]) + self.rng.normal(0, 0.02), -1.5, 1.5))
        off = abs(self.at - self.goal)
        return self._seen(), -1.0 if self.arriving else -off, self.arriving and off < 0.15, False, {}

    def _seen(self) -> Array:
        return np.array([self.at, self.goal], np.float32)


def make_hold() -> Any:
    return adapt(Line(False), horizon=20)


def make_arrive() -> Any:
    return adapt(Line(True), horizon=40)


HOLD = Task("hold", "stay at the goal", make_hold, 20, {"state": (2,)}, Line.action)
ARRIVE = Task("arrive", "reach the goal", make_arrive, 40, {"state": (2,)}, Line.action)


class Expert:
    """Towards the goal: as far as it takes, or always at full speed, which is clipped at the bounds."""

    name = "expert"

    def __init__(self, clipped: bool = False) -> None:
        self.clipped = clipped

    def reset(self, seed: int) -> None:
        pass

    def act(self, obs: Any) -> Array:
        at, goal = obs["state"]
        said = np.sign(goal - at) if self.clipped else 0.95 * np.tanh(2.5 * (goal - at))
        return np.array([said], np.float32)


def demonstrations(task: Task, n: int = 10, *, clipped: bool = False) -> Dataset:
    return Dataset([rollout(task.make(), Expert(clipped), seed) for seed in range(n)])


class Endless:
    """A judge that pays nothing for what follows the end of the task."""

    def __init__(self, judge: Any) -> None:
        self._judge = judge

    def pay(self, steps: Transitions) -> Tensor:
        with torch.no_grad():
            paid: Tensor = self._judge.reward.forward(steps)
        return paid

    def __getattr__(self, name: str) -> Any:
        return getattr(self._judge, name)


def begun(
    task: Task,
    data: Dataset,
    *,
    form: Any = "logit",
    judge: discriminator.Config = JUDGE,
    lessons: Lessons = LESSONS,
    learner: ppo.Config = LEARNER,
) -> tuple[Adversarial, Setting]:
    """GAIL before its first step."""
    reading = RewardConfig("state-action", reward_hidden=(32,), reward_activation="relu", form=form)
    plan = Collecting(uniform=200, envs=4, rollout=64, validation_episodes=10)
    setting = Setting(task, data, plan, learner, reading)
    return gail.build(setting, gail.Config(lessons, judge)), setting


def imitated(
    task: Task,
    data: Dataset,
    steps: int,
    *,
    change: Callable[[Adversarial], None] = lambda made: None,
    **how: Any,
) -> tuple[Outcome, Facts]:
    """GAIL for so many steps, and the facts to hold it against; `change` may break it before it begins."""
    made, setting = begun(task, data, **how)
    change(made)
    validate = shortfall(task.make, range(2_000_000, 2_000_010))
    outcome = train(made, Budget(steps=steps, validate_every=steps // 8), validate=validate)
    made.close()
    facts = facts_of(setting, audit(data, task).findings)
    assert facts is not None
    return outcome, facts


def imitated_agent(task: Task, data: Dataset, steps: int) -> Agent:
    """The policy after so many steps of GAIL."""
    made, _ = begun(task, data)
    train(made, Budget(steps=steps, validate_every=steps))
    made.close()
    return made.agent


def slow(learning_rate: float) -> ppo.Config:
    """A policy that hardly moves."""
    return replace(LEARNER, learning_rate=learning_rate, epochs=2)
