"""Adversarial inverse reinforcement learning (AIRL): a reward that can be kept, and its policy, by PPO.

Fu et al. (2018): the discriminator's logit is f(s, a, s') - log π(a|s), f = g(s[, a]) + γ h(s') - h(s); see
`learn.airl`. The policy is paid that logit: E Σ γ^t (f - log π) is the entropy-regularised return of f, and
shaping by h changes no policy's return but by a constant, so the fixed point is the soft-optimal policy of g.
`--reads state` gives a reward of states alone, which outlives a change of body or world. What is kept is g;
`understudy train sac --reward RUN` or `train ppo --reward RUN` learns from it anew.

Deviations from the paper, with their reasons:

- log π is that of the executed action: a density inside the bounds and a probability at them (see
  `learn.airl.executed_log_prob`), on both sides by the policy as it is now.
- A small gradient penalty on g and h, since a nearly certain expert has a density without bound.
- Where a task ends, h is 0 behind it and the absorbing state is paid what g has learned of it; a time limit
  is no end.
- The learner's entropy bonus stays 0: the reward's -log π is the entropy term, and would be counted twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, final

from torch import Tensor

from understudy.learn import airl, ppo
from understudy.learn.airl import Shaped, executed_log_prob
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

Density: TypeAlias = Callable[[Transitions], Tensor]
"""Rows to log π(a|s) [B], by the policy as it is."""


@dataclass(frozen=True)
class Config:
    """How f learns; the policy's settings are its learner's."""

    lessons: Lessons = field(default_factory=Lessons)
    shaped: airl.Config = field(default_factory=airl.Config)


@final
class Judge:
    """f and the policy's density as what pays the policy.

    Args:
        shaped: trained in place.
        density: of the policy that is paid.
    """

    def __init__(self, shaped: Shaped, density: Density) -> None:
        self._shaped, self._density = shaped, density

    @property
    def reward(self) -> RewardNet:
        """g."""
        return self._shaped.reward

    def step(self, expert: Transitions, policy: Transitions) -> dict[str, float]:
        """One gradient step, both sides' densities by the policy as it is."""
        his, its = self._density(expert), self._density(policy)
        return self._shaped.step(expert, policy, expert_density=his, policy_density=its)

    def pay(self, steps: Transitions) -> Tensor:
        """[B], f - log π; a step that ends the task is also paid for all that follows."""
        return self._shaped.relabel(steps).reward - self._density(steps)

    def called_expert(self, steps: Transitions) -> float:
        """The share of rows that are taken for an expert's."""
        logit = self._shaped.f(steps) - self._density(steps)
        return float((logit > 0).float().mean())

    def state_dict(self) -> dict[str, Any]:
        """That of g and h."""
        return self._shaped.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there."""
        self._shaped.load_state_dict(state)


def with_learner(setting: Setting, config: Config, method: str, learner: type[OnPolicy]) -> Adversarial:
    """AIRL with this kind of learner; the setting holds its settings.

    Raises:
        ValueError: when there are no demonstrations, the learner has an entropy bonus, or g reads what it may
            not.
    """
    own, seed = setting.learner, setting.learner.seed
    if bonus := getattr(own, "entropy_bonus", 0.0):
        raise ValueError(f"entropy_bonus is {bonus}; AIRL's reward has the entropy in it, so it must be 0")
    agent, demos = policy_and_demonstrations(setting, config.lessons, method)
    reward = RewardNet.of(agent, setting.reading, seed)
    shaped = Shaped(reward, config.shaped, discount=own.discount, seed=seed)
    judge = Judge(shaped, lambda steps: executed_log_prob(agent, steps.obs, steps.action))
    policy = learner(agent, own)
    plan = setting.collecting
    return Adversarial(setting.task.make, demos, policy, judge, plan, config.lessons, seed=seed)


def build(setting: Setting, config: Config) -> Adversarial:
    """The learner for a task and its demonstrations.

    Raises:
        ValueError: as `with_learner`.
    """
    return with_learner(setting, config, "airl", ppo.PPO)
