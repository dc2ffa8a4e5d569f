"""What every method that learns by acting is given, and what it gives back.

A method is a module of this package with a frozen `Config` and `build(setting, config) -> Learner`; the
command line finds it. One step of its learner is one of the environment, unless the method says otherwise.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from understudy.agent import Agent
from understudy.dataset import Dataset
from understudy.envs import Task
from understudy.learn.replay import Transitions
from understudy.learn.sac import SAC
from understudy.learn.sac import Config as SACConfig
from understudy.online.start import actor, tanh_gaussian, transitions, uniform
from understudy.rewards import RewardConfig, RewardNet

__all__ = ["Practising", "Rewarding", "Setting"]


@dataclass(frozen=True)
class Practising:
    """How an environment is lived in, whatever is learned there."""

    uniform: int = 1000
    """Steps of uniformly random actions before the first update."""
    batch: int = 256
    """Transitions in one update."""
    updates: int = 1
    """After each step of the environment."""
    validation_episodes: int = 10
    """Episodes for each validation, on seeds that nothing else uses; "validation" is minus their mean
    return by the environment's own reward."""

    def __post_init__(self) -> None:
        if self.uniform < 1 or self.batch < 1 or self.updates < 1 or self.validation_episodes < 1:
            raise ValueError(
                f"uniform {self.uniform}, batch {self.batch}, updates {self.updates} and validation_episodes "
                f"{self.validation_episodes} must be at least 1"
            )


@runtime_checkable
class Rewarding(Protocol):
    """A learner that leaves a reward behind, besides a policy."""

    @property
    def reward(self) -> RewardNet:
        """The reward to keep."""
        ...


@dataclass(frozen=True)
class Setting:
    """Where and from what is learned.

    Args:
        task: where.
        data: demonstrations; None where there are none.
        plan: how the environment is lived in.
        sac: of the maximum-entropy learner; its seed is the seed of everything.
        reading: how a reward that is learned is built.
        given: a reward in place of the environment's own.
    """

    task: Task
    data: Dataset | None
    plan: Practising
    sac: SACConfig
    reading: RewardConfig
    given: RewardNet | None = None

    def demonstrations(self, method: str) -> Dataset:
        """The demonstrations.

        Raises:
            ValueError: when there are none.
        """
        if self.data is None:
            raise ValueError(f"{method} learns from demonstrations; name them with --data")
        return self.data

    def learner(self) -> tuple[SAC, Transitions]:
        """A fresh maximum-entropy learner, and the uniformly random steps that it starts from.

        It sees in the units of the given reward, else of the demonstrations and the random steps together:
        beside an expert's few speeds and distances, a beginner's would be tens of units long.
        """
        first = uniform(self.task, self.plan.uniform, self.sac.seed)
        if self.given is not None:
            agent = in_units_of(self.given, self.task, self.sac.hidden, self.sac.seed)
        else:
            seen = first if self.data is None else self.data + first
            agent = actor(
                self.task.action, seen, hidden=self.sac.hidden, angles=self.task.angles, seed=self.sac.seed
            )
        return SAC(agent, self.sac), transitions(agent, first)


def in_units_of(reward: RewardNet, task: Task, hidden: tuple[int, ...], seed: int) -> Agent:
    """A tanh-Gaussian agent with fresh weights that sees and acts in the units of a reward.

    Raises:
        ValueError: when the task has other observations or actions than the reward was learned on.
    """
    known = {k: n.columns.shape for k, n in reward.obs_normalizers.items()}
    if known != dict(task.obs) or reward.actions != task.action.width:
        raise ValueError(
            f"the reward reads {known} and {reward.actions} actions; {task.name} has {dict(task.obs)} and "
            f"{task.action.width}"
        )
    obs, action = deepcopy(reward.obs_normalizers), deepcopy(reward.action_normalizer)
    return tanh_gaussian(obs, action, task.action, hidden, seed)
