"""What every method that learns by acting is given, and what it gives back.

A method is a module of this package with a frozen `Config` and `build(setting, config) -> Learner`; the
command line finds it. One step of its learner is one of the environment, unless the method says otherwise.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar, final, runtime_checkable

from understudy.agent import Agent, Chunked
from understudy.agent.normalize import Kind
from understudy.dataset import Dataset
from understudy.envs import Task
from understudy.learn.replay import Transitions
from understudy.learn.sac import SAC
from understudy.learn.sac import Config as SACConfig
from understudy.online.start import actor, tanh_gaussian, transitions, uniform
from understudy.rewards import RewardConfig, RewardNet

__all__ = ["Collecting", "Correcting", "Practising", "Rewarding", "Setting"]

_T = TypeVar("_T")


@dataclass(frozen=True)
class _Plan:
    """What every way of living in environments has."""

    validation_episodes: int = 10
    """Episodes for each validation, on seeds that nothing else uses; "validation" is minus their mean
    return by the environment's own reward."""
    observations: Literal["standard", "raw"] = "standard"
    """What the networks see: observations in standard deviations of the demonstrations and the random steps
    together, or as the task gives them. Without demonstrations, on robots that soon leave what random steps
    show (a hopper's first steps end in a fall), raw ones are often the better units."""
    ema: float | None = None
    """None, or in (0, 1): the agent that is validated and kept is a moving average of the policy's weights,
    of which this share stays in each step. A policy that practises swings; its average is steadier."""

    def __post_init__(self) -> None:
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"ema is {self.ema}; it must be in (0, 1), or None")
        if low := [name for name, value in vars(self).items() if isinstance(value, int) and value < 1]:
            raise ValueError(f"{low[0]} is {getattr(self, low[0])}; it must be at least 1")
        if self.observations not in ("standard", "raw"):
            raise ValueError(f"observations is {self.observations!r}; it must be standard or raw")


@final
@dataclass(frozen=True)
class Practising(_Plan):
    """How an environment is lived in, whatever is learned there."""

    uniform: int = 1000
    """Steps of uniformly random actions before the first update."""
    batch: int = 256
    """Transitions in one update."""
    updates: int = 1
    """After each step of the environment, or each n-th one."""
    every: int = 1
    """n, steps of the environment from updates to updates. Where simulation is cheap beside an update, 2 and
    more reach a goal in less time, with more steps."""


@final
@dataclass(frozen=True)
class Collecting(_Plan):
    """How environments are lived in by an on-policy method: steps in several, then a lesson from them."""

    uniform: int = 1000
    """Steps of uniformly random actions that, beside the demonstrations, give the units of observations."""
    envs: int = 8
    """Environments side by side, so that one pass of the policy serves them all."""
    rollout: int = 256
    """Steps in each of them from lesson to lesson."""


@runtime_checkable
class Rewarding(Protocol):
    """A learner that leaves a reward behind, besides a policy."""

    @property
    def reward(self) -> RewardNet:
        """The reward to keep."""
        ...


@runtime_checkable
class Correcting(Protocol):
    """A learner whose agent corrects another one, that stays as it is and is kept beside it."""

    @property
    def base(self) -> Chunked:
        """What is corrected."""
        ...

    @property
    def task(self) -> Task:
        """The task as the agent meets it: its actions are corrections of what the base would do."""
        ...


@dataclass(frozen=True)
class Setting:
    """Where and from what is learned.

    Args:
        task: where.
        data: demonstrations; None where there are none.
        plan: how the environment is lived in.
        learner: the settings of what learns; its `seed` is the seed of everything, `hidden` the widths of
            every layer and `discount` γ.
        reading: how a reward that is learned is built.
        given: a reward in place of the environment's own.
    """

    task: Task
    data: Dataset | None
    plan: Practising | Collecting
    learner: Any
    reading: RewardConfig
    given: RewardNet | None = None

    @property
    def sac(self) -> SACConfig:
        """The learner's settings, where it is a soft actor-critic."""
        return _is(SACConfig, self.learner)

    @property
    def practising(self) -> Practising:
        """The plan, where one environment is lived in step by step."""
        return _is(Practising, self.plan)

    @property
    def collecting(self) -> Collecting:
        """The plan, where several environments are lived in side by side."""
        return _is(Collecting, self.plan)

    def demonstrations(self, method: str) -> Dataset:
        """The demonstrations.

        Raises:
            ValueError: when there are none.
        """
        if self.data is None:
            raise ValueError(f"{method} learns from demonstrations; name them with --data")
        return self.data

    def actor(self) -> tuple[Agent, Dataset]:
        """A tanh-Gaussian agent with fresh weights, and the uniformly random steps that it was fitted to.

        It sees in the units of the given reward, else as the plan has it. Standard deviations are of the
        demonstrations and the random steps together: beside an expert's few speeds and distances, a
        beginner's would be tens of units long.
        """
        hidden, seed = self.learner.hidden, self.learner.seed
        first = uniform(self.task, self.plan.uniform, seed)
        if self.given is not None:
            if self.plan.observations == "raw":
                raise ValueError(
                    "observations is raw, but a given reward has units of its own, which are used"
                )
            return in_units_of(self.given, self.task, hidden, seed), first
        seen = first if self.data is None else self.data + first
        kind: Kind = "standard" if self.plan.observations == "standard" else "identity"
        angles = self.task.angles
        return actor(self.task.action, seen, hidden=hidden, angles=angles, kind=kind, seed=seed), first

    def soft(self) -> tuple[SAC, Transitions]:
        """A fresh maximum-entropy learner, and the uniformly random steps that it starts from."""
        agent, first = self.actor()
        return SAC(agent, self.sac), transitions(agent, first)


def _is(kind: type[_T], given: object) -> _T:
    if not isinstance(given, kind):
        raise TypeError(f"the setting has a {type(given).__name__}; this method wants a {kind.__qualname__}")
    return given


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
