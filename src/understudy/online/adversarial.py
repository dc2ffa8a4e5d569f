"""Adversarial imitation on policy: a rollout, a discriminator that learns from it and pays it, a lesson.

What GAIL and AIRL share. What tells experts from the policy, and what it pays, is a `Judge`.

Shapes: B rows, T steps, N environments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol, final

import torch
from torch import Tensor

from understudy.agent import Agent
from understudy.envs.door import DoorEnv
from understudy.learn.on_policy import OnPolicy
from understudy.learn.replay import Transitions
from understudy.learn.rollouts import Rollout
from understudy.learn.sac import stream
from understudy.online.base import Collecting, Setting
from understudy.online.cloned import Cloning, gaussian
from understudy.online.collect import Collect
from understudy.online.demonstrated import Demonstrated, beside
from understudy.rewards import RewardNet
from understudy.serial import check_kept

__all__ = ["Adversarial", "Judge", "Lessons", "policy_and_demonstrations"]


@dataclass(frozen=True)
class Lessons:
    """How often the discriminator learns, and from what; where the policy begins."""

    d_steps: int = 16
    """Gradient steps of the discriminator for each rollout, before the rollout is paid."""
    d_batch: int = 512
    """Rows of experts, and as many of the policy, in each of them."""
    d_past: int = 1
    """The last rollouts that the policy's rows come from. More than one remembers what was given up, and is
    no longer quite the policy's own distribution."""
    keep_every: int = 1
    """n: of n steps of a demonstration one is known, to test how few it takes."""
    held_out: float = 0.1
    """In [0, 1): the share of demonstrations that nobody learns from, to ask the discriminator about."""
    bc_steps: int = 0
    """Gradient steps of behaviour cloning that the policy starts from; 0 is none."""
    spread_floor: float = -2.0
    """The lowest log standard deviation of the policy's actions, whose bounds are -1 and 1."""

    def __post_init__(self) -> None:
        rules = {
            "d_steps": self.d_steps >= 1,
            "d_batch": self.d_batch >= 1,
            "d_past": self.d_past >= 1,
            "keep_every": self.keep_every >= 1,
            "held_out": 0 <= self.held_out < 1,
            "bc_steps": self.bc_steps >= 0,
            "spread_floor": -20 <= self.spread_floor < 0,
        }
        if broken := [name for name, kept in rules.items() if not kept]:
            raise ValueError(f"{broken[0]} is {getattr(self, broken[0])!r}, which is out of its range")


class Judge(Protocol):
    """What tells experts from the policy."""

    @property
    def reward(self) -> RewardNet:
        """The reward to keep."""
        ...

    def step(self, expert: Transitions, policy: Transitions) -> dict[str, float]:
        """One gradient step; told as by `Discriminator.step`."""
        ...

    def pay(self, steps: Transitions) -> Tensor:
        """[B], what each step earns; one that ends the task also what follows in the absorbing state."""
        ...

    def called_expert(self, steps: Transitions) -> float:
        """The share of rows that are taken for an expert's."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that continues to the same bits."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there."""
        ...


@final
class Adversarial:
    """Several environments, an on-policy learner, and a judge in place of their reward; the caller owns time.

    A `step` is one step of one environment. Behind the last one of a rollout the judge learns from it and
    from the demonstrations, then pays it, then the policy learns. The judge sees the actions that were
    executed: inside the bounds, as the demonstrations' are.

    Args:
        make_env: makes an environment.
        demos: demonstrations in the agent's units.
        learner: the policy. Its agent must see the judge's units.
        judge: of the same discount as the learner.
        plan: how the environments are lived in.
        lessons: how the judge learns.
        seed: of the episodes and of what is drawn.

    Raises:
        ValueError: when reward and agent differ in units.
    """

    def __init__(
        self,
        make_env: Callable[[], DoorEnv],
        demos: Demonstrated,
        learner: OnPolicy,
        judge: Judge,
        plan: Collecting,
        lessons: Lessons,
        *,
        seed: int,
    ) -> None:
        judge.reward.check_units(learner.agent)
        self.judge, self.lessons, self._demos = judge, lessons, demos
        self._draws, self._past = stream(seed, 7), list[Transitions]()
        self.collect = Collect(make_env, learner, plan, seed=seed, reward=self._pay)

    @property
    def agent(self) -> Agent:
        """The policy; it acts by its mode."""
        return self.collect.agent

    @property
    def reward(self) -> RewardNet:
        """The judge's network as it is."""
        return self.judge.reward

    def step(self) -> dict[str, float]:
        """One step of one environment, and the lessons where it was the last one of a rollout.

        What is told is that of `Collect.step`; of the judge's steps, their mean; d_held, the share of
        held-out demonstrations that are taken for an expert's; reward_expert and reward_policy, the mean that
        is paid to both sides.
        """
        return self.collect.step()

    def _pay(self, rollout: Rollout) -> tuple[Tensor, Mapping[str, float]]:
        lived = rollout.flat()
        lived = lived._replace(action=lived.action.clamp(-1, 1))
        self._past = [*self._past, lived][-self.lessons.d_past :]
        policy, told = self._past[0], dict[str, float]()
        for more in self._past[1:]:
            policy = beside(policy, more)
        for _ in range(self.lessons.d_steps):
            experts = self._demos.draw(self.lessons.d_batch, self._draws)
            rows = torch.randint(len(policy.reward), (self.lessons.d_batch,), generator=self._draws)
            said = self.judge.step(experts, Transitions(*(x.index_select(0, rows) for x in policy)))
            told = {k: told.get(k, 0.0) + v / self.lessons.d_steps for k, v in said.items()}
        if len(self._demos.held.reward):
            told["d_held"] = self.judge.called_expert(self._demos.held)
        paid = self.judge.pay(lived)
        told["reward_expert"] = float(self.judge.pay(experts).mean())
        told["reward_policy"] = float(paid.mean())
        return paid.view_as(rollout.reward), told

    def close(self) -> None:
        """Frees what the environments hold."""
        self.collect.close()

    def state_dict(self) -> dict[str, Any]:
        """All that a later run needs to continue to the same bits: a tree for `serial.write_tree`."""
        return {
            **self._settings(),
            "collect": self.collect.state_dict(),
            "judge": self.judge.state_dict(),
            "past": [list(p) for p in self._past[1:] if self.lessons.d_past > 1],
            "draws": self._draws.get_state(),
        }

    def _settings(self) -> dict[str, Any]:
        return {"lessons": asdict(self.lessons), "demonstrations": self._demos.fingerprint()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there to the same bits as if there had been no interruption.

        Raises:
            ValueError: when the state belongs to other settings, demonstrations or environments.
        """
        check_kept(state, self._settings(), ("collect", "judge", "past", "draws"))
        self.judge.load_state_dict(state["judge"])
        self.collect.load_state_dict(state["collect"])
        self._past = [Transitions(*p) for p in state["past"]]
        self._draws.set_state(state["draws"])


def policy_and_demonstrations(setting: Setting, lessons: Lessons, method: str) -> tuple[Agent, Demonstrated]:
    """A Gaussian policy, cloned where the lessons say so, and the demonstrations in its units.

    Raises:
        ValueError: when there are no demonstrations.
    """
    data, seed = setting.demonstrations(method), setting.learner.seed
    agent, _ = gaussian(setting, lessons.spread_floor)
    demos = Demonstrated(agent, data, keep_every=lessons.keep_every, held_out=lessons.held_out, seed=seed)
    if lessons.bc_steps:
        cloning = Cloning(agent, demos.dataset(), lessons.bc_steps, seed)
        cloning.whole()
        cloning.into(agent)
    return agent, demos
