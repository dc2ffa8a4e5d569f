"""LS-IQ (Al-Hafez et al. 2023): IQ-Learn as least squares, with bounded rewards and values held to bounds.

With the regulariser c/2 (E_expert[r²] + E_policy[r²]) on r = Q(s, a) - γ V(s'), IQ-Learn's objective is, but
for a constant,

    c/2 E_expert[(r - 1/c)²] + c/2 E_policy[(r + 1/c)²] + E_policy[V(s) - Q(s, a)]:

demonstrations are worth 1/c a step and own steps -1/c, and the last term makes up for own actions that the
policy would not take any more. The best reward is (ρ_E - ρ) / (c (ρ_E + ρ)), zero on both sides where the
policy is the demonstrator. So values lie in ±1 / (c (1 - γ)), and the method holds them there:

- V(s') is clipped to these bounds in every target.
- Q on demonstrations is led to the upper bound itself: what a demonstrator does for ever is worth that. It
  takes the place of a bootstrap that a falling V(s') would pull down.
- Where the task ends, the step is paid for ever in closed form: ±1/c / (1 - γ), by whose step it was. Neither
  a short nor a long life is an advantage in itself.

Deviations from the paper, with their reasons: the critics do not count entropy as reward, because the bounds
hold for rewards alone (the paper's second variant learns the entropy's value in a critic of its own); and
there are two critics, whose least value makes a target, where the published code has one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from understudy.learn.lessons import Facts, Slopes
from understudy.learn.sac import Config as SACConfig
from understudy.online.base import Practising, Setting
from understudy.online.labelled import Labelled, built, shares, told_sides

__all__ = ["LEARNER", "PLAN", "STEPS", "Config", "LeastSquares", "build"]

EXAMPLE = "--task pendulum --data demos"
LEARNER = SACConfig(first_temperature=0.1, entropy_in_target=False, actor_every=2)
PLAN = Practising()
STEPS = 20_000  # of the environment


@dataclass(frozen=True)
class Config:
    """The objective; the rest is `learn.sac.Config`."""

    weight: float = 10.0
    """c of the regulariser: rewards lie in ±1/c, and values in ±1/c / (1 - γ). Demonstrations are led to that
    bound from the first update on: at the published 0.5, values of ±200 meet a temperature that starts far
    lower, and the policy is driven to the edge of its actions before it has tried any others."""
    fresh: bool = True
    """Whether V(s) - Q(s, a) on own rows counts, which asks for a draw of the present policy. Without it own
    actions of long ago stand for the policy's: plain least squares between 1/c and -1/c."""
    keep_every: int = 1
    """n: of n steps of a demonstration one is known, to test how few it takes."""
    pretraining: int = 1000
    """Updates before the first step that the policy takes."""

    def __post_init__(self) -> None:
        rules = {
            "weight": 0 < self.weight < float("inf"),
            "keep_every": self.keep_every >= 1,
            "pretraining": self.pretraining >= 0,
        }
        if broken := [name for name, kept in rules.items() if not kept]:
            raise ValueError(f"{broken[0]} is {getattr(self, broken[0])!r}, which is out of its range")


@dataclass(frozen=True)
class LeastSquares:
    """The objective above as a lesson.

    Args:
        discount: γ.
        weight: c.
        asks_here: whether V(s) - Q(s, a) on own rows counts.
    """

    discount: float
    weight: float
    asks_here: bool
    through = False

    @property
    def bound(self) -> float:
        """1 / (c (1 - γ)), the most that a value can be."""
        return 1 / (self.weight * (1 - self.discount))

    def __call__(self, facts: Facts) -> Slopes:
        """The loss and its gradient; told are reward_expert and reward_policy, as the values imply them."""
        most, (expert, own) = self.bound, shares(facts)
        held = facts._replace(after=facts.after.clamp(-most, most))
        lived = torch.where(facts.scale == 0, -most, held.scale * held.after - 1 / self.weight)
        target = torch.where(facts.reward == 1, most, lived)
        error, of_rows = facts.q - target, self.weight * (expert + own)
        loss, by_q, by_here = (of_rows / 2 * error.square()).sum(1), of_rows * error, None
        if facts.here is not None:
            loss = loss + ((facts.here - facts.q) * own).sum(1)
            by_q, by_here = by_q - own, own.expand_as(facts.here)
        told = told_sides(held, self.discount)
        return Slopes(float(loss.mean()), by_q, by_here, None, target, told)


def build(setting: Setting, config: Config) -> Labelled:
    """The learner for a task and its demonstrations.

    Raises:
        ValueError: when there are no demonstrations, critics count entropy, or a number is out of its range.
    """
    if setting.sac.entropy_in_target:
        raise ValueError(
            "entropy_in_target is True; the bounds that lsiq holds values to are those of rewards alone"
        )
    lesson = LeastSquares(setting.sac.discount, config.weight, config.fresh)
    return built("lsiq", setting, lesson, config.keep_every, config.pretraining)
