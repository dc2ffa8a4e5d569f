"""Discriminator-actor-critic (Kostrikov et al. 2019): adversarial imitation that learns from all it ever did.

A discriminator tells the demonstrations' state-action pairs from those in the replay, and its logit is the
reward of a soft actor-critic. Nothing that was paid is stored: every batch is paid by the discriminator as it
is then. The replay is a mixture of all policies that ever were; no importance weights correct for that, as in
the paper. Where a task ends, what follows is an absorbing state whose logit is learned too, so that neither a
long nor a short life is rewarded as such; a time limit is no end.

Deviations from the paper, with their reasons:

- The reward is the logit, log D - log(1 - D), as in the paper; `--form` has the others.
- The generator is a soft actor-critic with a tuned temperature in place of TD3.
- Half of each batch of critic and actor are demonstrations (`expert_share`): the critic then knows what
  experts do is worth something before the policy has found it. 0 is the paper.
- The absorbing state's self-loop is not stored but summed, γ/(1 - γ) times its reward, to the same values.
- The policy starts from behaviour cloning and is held to it: its loss has the squared distance to
  demonstrated actions (`bc_weight`), in units of the values as in TD3+BC (Fujimoto and Gu 2021).
- Between the random start and the first step of the policy come updates (`pretraining`), so that the first
  actions already follow the demonstrations.
- Noise on the actions of both sides keeps the discriminator from reading their last digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from understudy.agent import Agent
from understudy.envs.door import DoorEnv
from understudy.learn import discriminator
from understudy.learn.discriminator import Discriminator
from understudy.learn.replay import Transitions
from understudy.learn.sac import SAC, stream
from understudy.learn.sac import Config as SACConfig
from understudy.online.base import Practising, Setting
from understudy.online.cloned import Cloning
from understudy.online.demonstrated import Demonstrated, beside
from understudy.online.practice import Practice
from understudy.rewards import RewardConfig, RewardNet
from understudy.serial import check_kept

__all__ = ["DAC", "LEARNER", "PLAN", "READING", "STEPS", "Config", "build"]

EXAMPLE = "--task pendulum --data demos"
LEARNER = SACConfig(first_temperature=0.02, entropy_in_target=False, actor_every=2, learning_rate=5e-4)
PLAN = Practising(ema=0.9995)
READING = RewardConfig("state-action", reward_hidden=(128, 128), reward_activation="relu")
STEPS = 20_000  # of the environment
JUDGE = discriminator.Config()
_BC_STEPS, _BC_WEIGHT = 5000, 2.0
_ASKS_HELD = 100  # updates from one look at the held-out demonstrations to the next


@dataclass(frozen=True)
class Config:
    """How the two learn together."""

    d_every: int = 1
    """Updates of actor and critic from one step of the discriminator to the next."""
    expert_share: float = 0.5
    """In [0, 1): the share of demonstrations in each batch of actor and critic."""
    pretraining: int = 1000
    """Updates before the first step that the policy takes."""
    keep_every: int = 1
    """n: of n steps of a demonstration one is known, to test how few it takes."""
    held_out: float = 0.1
    """In [0, 1): the share of demonstrations that nobody learns from, to ask the discriminator about."""
    bc_steps: int | None = None
    """Gradient steps of behaviour cloning that the policy starts from. None is 5,000 where the discriminator
    reads actions and the demonstrations are labelled, else 0. Alone it does not last: a critic that knows
    nothing yet sends the policy away from what it began with, and `bc_weight` holds it there."""
    bc_weight: float | None = None
    """What a squared distance of the policy's mode to a demonstrated action costs the policy, in units of the
    critics' mean |Q|: cloning goes on beside the discriminator. None is 2 where `bc_steps` would be 5,000,
    else 0."""
    discriminator: discriminator.Config = JUDGE

    def __post_init__(self) -> None:
        rules = {
            "d_every": self.d_every >= 1,
            "expert_share": 0 <= self.expert_share < 1,
            "pretraining": self.pretraining >= 0,
            "keep_every": self.keep_every >= 1,
            "held_out": 0 <= self.held_out < 1,
            "bc_steps": self.bc_steps is None or self.bc_steps >= 0,
            "bc_weight": self.bc_weight is None or 0 <= self.bc_weight < math.inf,
        }
        if broken := [name for name, kept in rules.items() if not kept]:
            raise ValueError(f"{broken[0]} is {getattr(self, broken[0])!r}, which is out of its range")


class DAC:
    """A soft actor-critic that is paid by a discriminator; the caller owns time.

    A `step` is one step of the environment and the updates behind it; the first one is preceded by cloning
    and `pretraining`, where the config asks for these.

    Args:
        make_env: makes the environment.
        demos: demonstrations in the agent's units.
        sac: the policy and its critics.
        reward: the discriminator's network, trained in place.
        config: how they learn together.
        seed: of the episodes, of what is drawn and of the discriminator's noise.
        start: transitions to begin the replay with, such as uniformly random ones (`uniform`): before the
            first update the discriminator needs something that experts do not do.
        batch: rows of each update; the discriminator has half of them from each side.
        updates: after each step of the environment, or each n-th one.
        every: n, for `updates`.

    Raises:
        ValueError: when a number is out of its range, or reward and agent differ in units.
    """

    def __init__(
        self,
        make_env: Callable[[], DoorEnv],
        demos: Demonstrated,
        sac: SAC,
        reward: RewardNet,
        config: Config = Config(),
        *,
        seed: int,
        start: Transitions,
        batch: int = 256,
        updates: int = 1,
        every: int = 1,
    ) -> None:
        if batch < 2 or batch % 2:
            raise ValueError(
                f"batch is {batch}; half of it are demonstrations, so it must be even and positive"
            )
        reward.check_units(sac.agent)
        self.config, self._demos, self._sac = config, demos, sac
        discount = sac.config.discount
        self.discriminator = Discriminator(reward, config.discriminator, discount=discount, seed=seed)
        self.practice = Practice(
            make_env, sac, seed=seed, start=start, batch=batch, updates=updates, every=every,
            lesson=self.update,
        )  # fmt: skip
        shown = reward.reads_action and demos.labelled
        self._bc_steps = config.bc_steps if config.bc_steps is not None else _BC_STEPS * shown
        self._bc_weight = config.bc_weight if config.bc_weight is not None else _BC_WEIGHT * shown
        self._half, self._experts = batch // 2, round(batch * config.expert_share)
        self._others = batch - self._experts
        self._seed, self._discount = seed, discount
        self._draws = stream(seed, 6)
        self._taken, self._told = 0, dict[str, float]()

    @property
    def agent(self) -> Agent:
        """The policy; it acts by its mode."""
        return self.practice.agent

    @property
    def reward(self) -> RewardNet:
        """The discriminator's network as it is."""
        return self.discriminator.reward

    def step(self) -> dict[str, float]:
        """One step of the environment, and the updates that follow it.

        What is told is that of `Practice.step`, of `Discriminator.step` (of its last one), reward_expert and
        reward_policy, the mean reward of the demonstrations and of the others in the last batch, and now and
        then d_held, the share of held-out demonstrations that are taken for an expert's.
        """
        if not self.practice.steps:
            self._prepare()
        return self.practice.step()

    def _prepare(self) -> None:
        """What comes before the first step."""
        if self._bc_steps:
            clone = Cloning(self.agent, self._demos.dataset(), self._bc_steps, self._seed)
            clone.whole()
            clone.into(self.agent)
        for _ in range(self.config.pretraining):
            self.update()

    def update(self) -> dict[str, float]:
        """One update of critic and actor and, when it is its turn, before it of the discriminator.

        Both see the same rows: a batch is gathered once.
        """
        experts = self._demos.draw(max(self._half, self._experts), self._draws)
        lived = self.practice.replay.sample(max(self._half, self._others), self._draws)
        if self._taken % self.config.d_every == 0:
            first = slice(self._half)
            self._told = self.discriminator.step(
                Transitions(*(x[first] for x in experts)), Transitions(*(x[first] for x in lived))
            )
        mixed = beside(
            Transitions(*(x[: self._experts] for x in experts)),
            Transitions(*(x[: self._others] for x in lived)),
        )
        paid = self.reward.relabel(mixed, self._discount)
        told = self._sac.update(paid, self._experts, self._bc_weight) | self._told
        told["reward_policy"] = float(paid.reward[self._experts :].mean())
        if self._experts:
            told["reward_expert"] = float(paid.reward[: self._experts].mean())
        self._taken += 1
        if self._taken % _ASKS_HELD == 0 and len(self._demos.held.reward):
            told["d_held"] = self.discriminator.accuracy(self._demos.held, expert=True)
        return told

    def close(self) -> None:
        """Frees what the environment holds."""
        self.practice.close()

    def state_dict(self) -> dict[str, Any]:
        """All that a later run needs to continue to the same bits: a tree for `serial.write_tree`."""
        return {
            **self._settings(),
            "practice": self.practice.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "draws": self._draws.get_state(),
            "taken": self._taken,
            "told": dict(self._told),
        }

    def _settings(self) -> dict[str, Any]:
        return {
            "config": asdict(self.config),
            "demonstrations": self._demos.fingerprint(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there to the same bits as if there had been no interruption.

        Raises:
            ValueError: when the state belongs to other settings, demonstrations or environments.
        """
        check_kept(state, self._settings(), ("practice", "discriminator", "draws", "taken", "told"))
        self.practice.load_state_dict(state["practice"])
        self.discriminator.load_state_dict(state["discriminator"])
        self._draws.set_state(state["draws"])
        self._taken, self._told = int(state["taken"]), dict(state["told"])


def build(setting: Setting, config: Config) -> DAC:
    """The learner for a task and its demonstrations.

    Raises:
        ValueError: when there are no demonstrations, or a number is out of its range.
    """
    data, seed = setting.demonstrations("dac"), setting.sac.seed
    sac, start = setting.soft()
    demos = Demonstrated(sac.agent, data, keep_every=config.keep_every, held_out=config.held_out, seed=seed)
    reward = RewardNet.of(sac.agent, setting.reading, seed)
    plan = setting.practising
    return DAC(
        setting.task.make, demos, sac, reward, config,
        seed=seed, start=start, batch=plan.batch, updates=plan.updates, every=plan.every,
    )  # fmt: skip
