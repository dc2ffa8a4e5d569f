"""Generative adversarial imitation (GAIL): a policy that cannot be told from the demonstrator, by PPO.

Ho and Ermon (2016): at the saddle point of

    min_π max_D  E_expert[log D(s, a)] + E_π[log(1 - D(s, a))]

policy and expert have the same occupancy of states and actions. Each rollout, the discriminator takes some
gradient steps on the policy's rows and the demonstrations', then pays the rollout, and the policy takes its
step. `--reads state` or `next-state` imitates from observations alone.

Deviations from the paper, with their reasons:

- D is the probability of an expert (the paper's is of the policy), and the reward is its logit,
  log D - log(1 - D), which favours neither long nor short lives; `--form` has the others.
- A gradient penalty centred at zero: without it the discriminator of a nearly deterministic expert is a
  cliff, on whose flat sides nothing is learned.
- Where a task ends, the absorbing state behind it has a learned logit and is paid (Kostrikov et al. 2019); a
  time limit is no end.
- No entropy bonus; the policy's spread has a floor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from torch import Tensor

from understudy.learn import discriminator, ppo
from understudy.learn.discriminator import Discriminator
from understudy.learn.on_policy import OnPolicy
from understudy.learn.replay import Transitions
from understudy.online.adversarial import Adversarial, Lessons, policy_and_demonstrations
from understudy.online.base import Collecting, Setting
from understudy.online.cloned import NETWORK
from understudy.rewards import RewardConfig, RewardNet

__all__ = ["LEARNER", "NETWORK", "PLAN", "READING", "STEPS", "Config", "Judge", "build", "with_learner"]

EXAMPLE = "--task pendulum --data demos"
LEARNER = ppo.Config(discount=0.95, learning_rate=1e-3, minibatch=128, target_kl=0.03)
PLAN = Collecting()
READING = RewardConfig("state-action", reward_hidden=(64, 64), reward_activation="relu")
STEPS = 100_000  # of the environment
_DISCRIMINATOR = discriminator.Config(d_rate=1e-3, penalty=0.1, penalty_kind="zero", noise=0.0)


@dataclass(frozen=True)
class Config:
    """How the discriminator learns; the policy's settings are its learner's."""

    lessons: Lessons = field(default_factory=Lessons)
    discriminator: discriminator.Config = field(default_factory=lambda: _DISCRIMINATOR)


@final
class Judge:
    """A discriminator as what pays a policy.

    Args:
        discriminator: trained in place.
        discount: γ, by which the absorbing state is valued.
    """

    def __init__(self, discriminator: Discriminator, discount: float) -> None:
        self._discriminator, self._discount = discriminator, discount

    @property
    def reward(self) -> RewardNet:
        """The discriminator's network; it pays in its form."""
        return self._discriminator.reward

    def step(self, expert: Transitions, policy: Transitions) -> dict[str, float]:
        """One gradient step."""
        return self._discriminator.step(expert, policy)

    def pay(self, steps: Transitions) -> Tensor:
        """[B]; a step that ends the task is also paid for all that follows."""
        return self.reward.relabel(steps, self._discount).reward

    def called_expert(self, steps: Transitions) -> float:
        """The share of rows that are taken for an expert's."""
        return self._discriminator.accuracy(steps, expert=True)

    def state_dict(self) -> dict[str, Any]:
        """The discriminator's."""
        return self._discriminator.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there."""
        self._discriminator.load_state_dict(state)


def with_learner(setting: Setting, config: Config, method: str, learner: type[OnPolicy]) -> Adversarial:
    """GAIL with this kind of learner; the setting holds its settings.

    Raises:
        ValueError: when there are no demonstrations.
    """
    agent, demos = policy_and_demonstrations(setting, config.lessons, method)
    own, seed = setting.learner, setting.learner.seed
    reward = RewardNet.of(agent, setting.reading, seed)
    judge = Judge(Discriminator(reward, config.discriminator, discount=own.discount, seed=seed), own.discount)
    policy = learner(agent, own)
    plan = setting.collecting
    return Adversarial(setting.task.make, demos, policy, judge, plan, config.lessons, seed=seed)


def build(setting: Setting, config: Config) -> Adversarial:
    """The learner for a task and its demonstrations.

    Raises:
        ValueError: when there are no demonstrations.
    """
    return with_learner(setting, config, "gail", ppo.PPO)
