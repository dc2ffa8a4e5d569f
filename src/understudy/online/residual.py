"""Residual learning (Johannink et al. 2019): a frozen base policy plus a small correction learned by acting.

The base is the policy of any run, chunks and history included (`--base RUN`), or a clone of the
demonstrations (`--data`). The correction is a soft actor-critic in an environment with the base inside: it
sees the observation and what the base would do (as ResiP does, Ankile et al. 2024), it adds at most `reach`
times half the range of each action, and it starts as zero. So the first policy is the base, and no later one
is further from it than that. The base is never trained: what it does well it goes on doing.

The run's agent is the correction; the base lies beside it, and whatever loads the run acts by both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
import torch

from understudy.agent import Agent, Chunked
from understudy.agent.corrected import BASE_ACTION
from understudy.envs import ActionSpec, Task
from understudy.envs.door import DoorEnv
from understudy.episode import Array, Obs
from understudy.heads.gaussian import GaussianHead
from understudy.learn.sac import SAC
from understudy.learn.sac import Config as LearnerConfig
from understudy.online.base import Setting
from understudy.online.cloned import Cloning, gaussian
from understudy.online.paid import own_reward
from understudy.online.practice import Practice
from understudy.online.start import transitions
from understudy.runs import open_run, policy_of

__all__ = ["LEARNER", "STEPS", "Assisted", "Config", "Residual", "assisted", "build"]

EXAMPLE = "--task fetch-push --data demos"
LEARNER = LearnerConfig(discount=0.98, first_temperature=0.1)
STEPS = 60_000
_FIRST_LOG_STD = -1.0  # of the correction before its tanh: it begins by trying little


@dataclass(frozen=True)
class Config:
    """What is corrected, and how far; the learner's settings are `learn.sac.Config`."""

    base: str | None = None
    """A run's folder, whose policy is the base; None clones the demonstrations."""
    base_steps: int = 3000
    """Gradient steps of that cloning."""
    reach: float = 0.3
    """In (0, 2]: the largest correction, in halves of each action's range."""
    capacity: int = 1_000_000
    """Transitions in the replay; then the oldest leave."""

    def __post_init__(self) -> None:
        rules = {
            "base_steps": self.base_steps >= 1,
            "reach": 0 < self.reach <= 2,
            "capacity": self.capacity >= 1,
        }
        if broken := [name for name, kept in rules.items() if not kept]:
            raise ValueError(f"{broken[0]} is {getattr(self, broken[0])!r}, which is out of its range")


@final
class Assisted:
    """A task with a base policy inside: its actions are corrections of what the base would do.

    Observations gain "base_action" [A]. Everything else is the task's: rewards, ends, seeds.

    Args:
        make_env: makes the task's environment, with bounded continuous actions.
        base: drives with the correction; every environment has its own copy.
        reach: the largest correction, in halves of each action's range.
    """

    def __init__(self, make_env: Callable[[], DoorEnv], base: Chunked, reach: float) -> None:
        self.raw = make_env()
        self._base = Chunked(base.agent, base.execute, base.noise, base.ensemble)
        self.name, self.horizon = self.raw.name, self.raw.horizon
        self._spec = self.raw.action
        self.action = corrections(self._spec, reach)
        self._proposed: Array = np.zeros(self._spec.width, np.float32)

    @property
    def obs(self) -> Mapping[str, tuple[int, ...]]:
        """Observation name -> shape of one step."""
        return {**self.raw.obs, BASE_ACTION: (self._spec.width,)}

    def reset(self, *, seed: int) -> tuple[Obs, Mapping[str, Any]]:
        """Starts an episode of the task and of the base."""
        obs, info = self.raw.reset(seed=seed)
        self._base.reset(seed)
        return self._with_base(obs), info

    def step(self, action: Array) -> tuple[Obs, float, bool, bool, Mapping[str, Any]]:
        """One step of the task with the base's action and this correction [A] of it."""
        whole = self._spec.settle(self._proposed + self.action.settle(action))
        obs, reward, terminated, truncated, info = self.raw.step(whole)
        return self._with_base(obs), reward, terminated, truncated, info

    def close(self) -> None:
        """Frees what the task's environment holds."""
        self.raw.close()

    def _with_base(self, obs: Obs) -> Obs:
        self._proposed = np.asarray(self._base.act(obs), np.float32)
        return {**obs, BASE_ACTION: self._proposed.copy()}


def corrections(spec: ActionSpec, reach: float) -> ActionSpec:
    """The actions that correct those of `spec`.

    Raises:
        ValueError: when these are choices, or have no bounds.
    """
    if spec.n is not None or not spec.bounded:
        raise ValueError("only continuous actions with finite bounds can be corrected by a share of them")
    half = reach * (spec.high - spec.low) / 2
    return ActionSpec.box(-half, half)


def assisted(task: Task, base: Chunked, reach: float) -> Task:
    """The task whose actions are corrections of the base's.

    Raises:
        ValueError: when actions have no bounds, or the base sees or gives something else.
    """
    agent = base.agent
    seen = {k: n.columns.shape for k, n in agent.obs_normalizers.items()}
    if seen != dict(task.obs) or agent.actions != task.action.width:
        raise ValueError(
            f"the base sees {seen} and gives {agent.actions} actions; {task.name} has {dict(task.obs)} and "
            f"{task.action.width}"
        )
    return replace(
        task,
        make=partial(Assisted, task.make, base, reach),
        obs={**task.obs, BASE_ACTION: (task.action.width,)},
        action=corrections(task.action, reach),
        expert=None, film=None, symmetries=(),
    )  # fmt: skip


class Residual:
    """Practice of a correction, and the base that it corrects.

    Args:
        practice: in a task that is `assisted` by the base.
        base: as in that task.
        task: that task.
    """

    def __init__(self, practice: Practice, base: Chunked, task: Task) -> None:
        self.practice, self.base, self.task = practice, base, task

    @property
    def agent(self) -> Agent:
        """The correction; `agent.Corrected(base, agent)` is the whole policy."""
        return self.practice.agent

    def step(self) -> dict[str, float]:
        """One step of the environment, and the updates that follow it."""
        return self.practice.step()

    def close(self) -> None:
        """Frees what the environment holds."""
        self.practice.close()

    def state_dict(self) -> dict[str, Any]:
        """The practice, and the base's weights: a tree for `serial.write_tree`."""
        return {"base": self.base.agent.state_dict(), "practice": self.practice.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there to the same bits.

        Raises:
            ValueError: when the state belongs to another base or learner.
        """
        self.base.agent.restore(state["base"])
        self.practice.load_state_dict(state["practice"])


def build(setting: Setting, config: Config) -> Residual:
    """The learner for a task, and a base's run or demonstrations.

    Raises:
        ValueError: when a reward is given, there is neither a run nor a demonstration, or the base is not
            for this task.
    """
    own_reward(setting, "residual")
    base = _base(setting, config)
    task = assisted(setting.task, base, config.reach)
    # The units are those of the base's surroundings: the demonstrations do not say what it would have done.
    agent, first = replace(setting, task=task, data=None).actor()
    start_at_zero(agent)
    plan = setting.practising
    practice = Practice(
        task.make, SAC(agent, setting.sac), seed=setting.learner.seed, start=transitions(agent, first),
        capacity=config.capacity, batch=plan.batch, updates=plan.updates, every=plan.every,
    )  # fmt: skip
    return Residual(practice, base, task)


def start_at_zero(agent: Agent) -> None:
    """Its mode is zero everywhere, and its spread the same everywhere."""
    head = agent.head
    assert isinstance(head, GaussianHead)
    with torch.no_grad():
        head.out.weight.zero_()
        head.out.bias[: agent.actions] = 0.0
        head.out.bias[agent.actions :] = head.log_std.inverse(_FIRST_LOG_STD)


def _base(setting: Setting, config: Config) -> Chunked:
    if config.base is None:
        data = setting.demonstrations("residual without --base")
        agent, _ = gaussian(setting, floor=-5.0)
        return Chunked(Cloning(agent, data, config.base_steps, setting.learner.seed).whole())
    folder = Path(config.base)
    base = policy_of(folder, open_run(folder))
    if not isinstance(base, Chunked):
        raise ValueError(f"{folder} is a corrected policy itself; give a base that is a single agent")
    return base
