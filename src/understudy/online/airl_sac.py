"""AIRL with a soft actor-critic: fewer steps of the environment, a reward that transfers less.

As `online.airl`, but the policy is a soft actor-critic, which is paid f alone. It maximises the reward plus
α times its entropy already, which is E Σ γ^t (f - log π) at α = 1: paid f - log π, the entropy would count
twice, and at another temperature the policy that f = log π* belongs to would be no fixed point. So the
temperature is 1, the unit of f being the nat.

What is exact here and what is not:

- Rewards in the replay are never stored: each batch is paid by f as it is then.
- The policy's rows for f are its last `recent_steps`, since the logit's log π is that of the policy as it is.
  Rows of the whole replay would be told from it by their age.
- The density is the squashed one, correction included. It has no limit at ±1, so on both sides actions beyond
  ±0.99 count as ±0.99 to f and to log π; to the critics they stay what they are.
- The authors of a comparison (arXiv 2403.14593) find that soft actor-critics imitate better here and leave
  worse rewards: to keep g, prefer `airl`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, final

import torch
from torch import Tensor

from understudy.agent import Agent
from understudy.envs.door import DoorEnv
from understudy.learn import airl
from understudy.learn.airl import Shaped
from understudy.learn.replay import Transitions
from understudy.learn.sac import SAC, stream
from understudy.learn.sac import Config as SACConfig
from understudy.online.base import Practising, Setting
from understudy.online.demonstrated import Demonstrated
from understudy.online.practice import Practice
from understudy.rewards import RewardConfig, RewardNet
from understudy.serial import check_kept

__all__ = ["AIRLSAC", "LEARNER", "PLAN", "READING", "STEPS", "Config", "build"]

EXAMPLE = "--task pendulum --data demos"
LEARNER = SACConfig(discount=0.95, temperature=1.0, hidden=(64, 64), learning_rate=1e-3)
PLAN = Practising()
READING = RewardConfig("state-action", reward_hidden=(64, 64), reward_activation="relu")
STEPS = 20_000  # of the environment
_EDGE = 0.99


@dataclass(frozen=True)
class Config:
    """How f learns; the policy's settings are `learn.sac.Config`."""

    f_every: int = 2
    """Steps of the environment from one gradient step of f to the next."""
    f_batch: int = 256
    """Rows of experts, and as many of the policy, in each of them."""
    recent_steps: int = 1000
    """The policy's last steps that stand for it."""
    keep_every: int = 1
    """n: of n steps of a demonstration one is known, to test how few it takes."""
    held_out: float = 0.1
    """In [0, 1): the share of demonstrations that nobody learns from, to ask the discriminator about."""
    shaped: airl.Config = field(default_factory=airl.Config)

    def __post_init__(self) -> None:
        rules = {
            "f_every": self.f_every >= 1,
            "f_batch": self.f_batch >= 1,
            "recent_steps": self.recent_steps >= 1,
            "keep_every": self.keep_every >= 1,
            "held_out": 0 <= self.held_out < 1,
        }
        if broken := [name for name, kept in rules.items() if not kept]:
            raise ValueError(f"{broken[0]} is {getattr(self, broken[0])!r}, which is out of its range")


@final
class AIRLSAC:
    """A soft actor-critic that is paid f; the caller owns time.

    A `step` is one step of the environment, the updates behind it and, when it is its turn, a step of f.

    Args:
        make_env: makes the environment.
        demos: demonstrations in the agent's units.
        sac: the soft policy, at temperature 1.
        reward: g, trained in place.
        config: how f learns.
        plan: how the environment is lived in.
        seed: of the episodes and of what is drawn.
        start: transitions to begin the replay with, such as uniformly random ones.

    Raises:
        ValueError: when the temperature is another, or reward and agent differ in units.
    """

    def __init__(
        self,
        make_env: Callable[[], DoorEnv],
        demos: Demonstrated,
        sac: SAC,
        reward: RewardNet,
        config: Config,
        plan: Practising,
        *,
        seed: int,
        start: Transitions,
    ) -> None:
        if sac.config.temperature != 1:
            raise ValueError(f"temperature is {sac.config.temperature}; f is in nats, so it must be 1")
        reward.check_units(sac.agent)
        self.config, self._demos, self._sac = config, demos, sac
        self._shaped = Shaped(reward, config.shaped, discount=sac.config.discount, seed=seed)
        self.practice = Practice(
            make_env, sac, seed=seed, start=start, batch=plan.batch, updates=plan.updates, every=plan.every,
            reward=lambda batch: self._shaped.relabel(_inside(batch)).reward,
        )  # fmt: skip
        self._draws = stream(seed, 7)

    @property
    def agent(self) -> Agent:
        """The policy; it acts by its mode."""
        return self.practice.agent

    @property
    def reward(self) -> RewardNet:
        """g as it is."""
        return self._shaped.reward

    def step(self) -> dict[str, float]:
        """One step of the environment, and what is learned from it.

        What is told is that of `Practice.step`; that of `Shaped.step`; reward_expert and reward_policy, the
        mean f of both sides; and d_held, the share of held-out demonstrations that are taken for an expert's.
        """
        told = self.practice.step()
        if self.practice.steps % self.config.f_every == 0:
            told |= self._learn()
        return told

    def _learn(self) -> dict[str, float]:
        """One gradient step of f."""
        n, replay = self.config.f_batch, self.practice.replay
        experts = _inside(self._demos.draw(n, self._draws))
        known = min(self.config.recent_steps, len(replay))
        lived = _inside(replay.take(-1 - torch.randint(known, (n,), generator=self._draws)))
        his, its = self._density(experts), self._density(lived)
        told = self._shaped.step(experts, lived, expert_density=his, policy_density=its)
        told["reward_expert"] = float(self._shaped.f(experts).mean())
        told["reward_policy"] = float(self._shaped.f(lived).mean())
        if len(self._demos.held.reward):
            held = _inside(self._demos.held)
            told["d_held"] = float((self._shaped.f(held) > self._density(held)).float().mean())
        return told

    def _density(self, steps: Transitions) -> Tensor:
        return self._sac.log_prob(steps.obs, steps.action)

    def close(self) -> None:
        """Frees what the environment holds."""
        self.practice.close()

    def state_dict(self) -> dict[str, Any]:
        """All that a later run needs to continue to the same bits: a tree for `serial.write_tree`."""
        return {
            **self._settings(),
            "practice": self.practice.state_dict(),
            "shaped": self._shaped.state_dict(),
            "draws": self._draws.get_state(),
        }

    def _settings(self) -> dict[str, Any]:
        config = asdict(self.config)
        del config["shaped"]  # its own state says it
        return {"config": config, "demonstrations": self._demos.fingerprint()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there to the same bits as if there had been no interruption.

        Raises:
            ValueError: when the state belongs to other settings, demonstrations or environments.
        """
        check_kept(state, self._settings(), ("practice", "shaped", "draws"))
        self._shaped.load_state_dict(state["shaped"])
        self.practice.load_state_dict(state["practice"])
        self._draws.set_state(state["draws"])


def _inside(steps: Transitions) -> Transitions:
    return steps._replace(action=steps.action.clamp(-_EDGE, _EDGE))


def build(setting: Setting, config: Config) -> AIRLSAC:
    """The learner for a task and its demonstrations.

    Raises:
        ValueError: when there are no demonstrations, the temperature is not 1, or g reads what it may not.
    """
    data, seed = setting.demonstrations("airl-sac"), setting.sac.seed
    sac, start = setting.soft()
    demos = Demonstrated(sac.agent, data, keep_every=config.keep_every, held_out=config.held_out, seed=seed)
    reward = RewardNet.of(sac.agent, setting.reading, seed)
    return AIRLSAC(setting.task.make, demos, sac, reward, config, setting.practising, seed=seed, start=start)
