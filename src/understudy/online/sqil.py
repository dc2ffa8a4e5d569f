"""SQIL (Reddy et al. 2020): soft Q-learning that is paid 1 for demonstrations and 0 for its own steps.

Half of each batch are demonstrations with reward 1, half own steps with reward 0. No reward is learned and
no discriminator: what the labels average to is one. Where demonstrators and the replay go with densities
ρ_E and ρ, the reward of a step is ρ_E / (ρ_E + ρ).

**It is unstable late, by its nature.** The better the policy, the more of its own steps look like
demonstrations, and these are labelled 0: in the limit both halves hold the same rows and every reward is a
half, so that nothing holds the policy where it is. A trial on half-cheetah with one demonstration had .95 to
1.0 of the expert's return from 5,000 to 25,000 steps, then falls to .6 between returns of 1.0. Stop early, or
take a method whose reward goes to zero on both sides (`dac`, `lsiq`).

Deviations from the paper, with their reasons:

- The critics do not count entropy as reward. Counted, it outweighs labels of 0 and 1: the same trial went
  from .92 of the expert to .14 with it.
- Where the task ends, the label is paid for ever, label / (1 - γ): a demonstrator that has arrived goes on
  being right, and one that never falls is never matched by falling. The paper has no ends; a plain 0 behind
  each would reward long life wherever it leads, with rewards that are never negative.
- The replay begins with uniformly random steps, and `pretraining` updates precede the first own step.
- The policy is a soft actor-critic's; the paper samples from exp(Q) itself where actions are few.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from understudy.learn.lessons import EVALUATION, Facts, Slopes
from understudy.learn.sac import Config as SACConfig
from understudy.online.base import Practising, Setting
from understudy.online.labelled import Labelled, built, told_sides

__all__ = ["LEARNER", "PLAN", "STEPS", "Config", "Labels", "build"]

EXAMPLE = "--task pendulum --data demos"
LEARNER = SACConfig(first_temperature=0.02, entropy_in_target=False, actor_every=2)
PLAN = Practising()
STEPS = 20_000  # of the environment


@dataclass(frozen=True)
class Config:
    """What is known of the demonstrations, and when learning begins; the rest is `learn.sac.Config`."""

    keep_every: int = 1
    """n: of n steps of a demonstration one is known, to test how few it takes."""
    pretraining: int = 1000
    """Updates before the first step that the policy takes."""

    def __post_init__(self) -> None:
        if self.keep_every < 1 or self.pretraining < 0:
            raise ValueError(
                f"keep_every is {self.keep_every} and pretraining {self.pretraining}; they must be at least "
                "1 and 0"
            )


@dataclass(frozen=True)
class Labels:
    """The soft Bellman error of the labels, each paid for ever where the task ended.

    Args:
        discount: γ.
    """

    discount: float
    asks_here = False
    through = False

    def __call__(self, facts: Facts) -> Slopes:
        """The loss and its gradient; told are reward_expert and reward_policy, as the values imply them."""
        ended = facts.scale == 0
        paid = facts.reward / torch.where(ended, 1 - self.discount, 1.0)
        found = EVALUATION(facts._replace(reward=paid))
        return found._replace(told=told_sides(facts, self.discount))


def build(setting: Setting, config: Config) -> Labelled:
    """The learner for a task and its demonstrations.

    Raises:
        ValueError: when there are no demonstrations, or a number is out of its range.
    """
    lesson = Labels(setting.sac.discount)
    return built("sqil", setting, lesson, config.keep_every, config.pretraining)
