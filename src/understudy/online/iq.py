"""IQ-Learn (Garg et al. 2021): one soft Q-function is policy and reward at once, learned from demonstrations.

Any Q is the soft value of some reward, r = Q(s, a) - γ V(s'). So the search for the reward under which the
demonstrator beats the soft policy by most is a search over Q alone. With the χ² regulariser it minimises

    -E_expert[r] + E[V(s) - γ V(s')] + 1/(4 α) E_both[r²],

where the middle term, over the rows of both halves ("value"), telescopes to (1 - γ) E[V(s_0)] whoever acted,
and "v0" writes that down at once. The last term is over demonstrated and own rows alike: it bounds the reward
where only the policy goes, and without it values there have no reason to stay finite. The reward that is
left, r, is told as reward_expert and reward_policy.

V(s') is taken from the slow critics without a gradient, unless `through_next` says otherwise. Then each row
is least squares by itself, and with "v0" r is led to 4 α on demonstrations and to 0 on own rows, which is
SQIL, but for a pull of (1 - γ) that keeps V low where demonstrations are. This is the default, because on the
pendulum it learned within 2,500 steps with both seeds that were tried, and no other combination did in as
many steps with the one seed that it was given.

What the published code does, and we do not or do differently:

- It has settings for each environment: the loss ("value" or "v0"), the temperature from 1 to .001, the
  actor's rate, whether the regulariser sees own rows. Here one recipe is the default.
- "v0" is named after initial states, but takes all states of the demonstrations. So it is here: few
  demonstrations have few first states, and any states that the policy should value do.
- Its regulariser on own rows pairs a fresh draw of the policy with the next state of another action. Here a
  row is what happened: Q(s, a), and V of the state that a led to.
- It lets the gradient go through V(s') unless asked otherwise; here it is the other way round.
- A termination has V(s') = 0. This favours life where rewards are positive; `lsiq` treats ends properly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from understudy.learn.lessons import Facts, Slopes
from understudy.learn.sac import Config as SACConfig
from understudy.online.base import Practising, Setting
from understudy.online.labelled import Labelled, built, shares, told_sides

__all__ = ["LEARNER", "PLAN", "STEPS", "Config", "Inverse", "build"]

EXAMPLE = "--task pendulum --data demos"
LEARNER = SACConfig(temperature=0.01, actor_every=2)
PLAN = Practising()
STEPS = 20_000  # of the environment


@dataclass(frozen=True)
class Config:
    """The objective; the rest is `learn.sac.Config`."""

    objective: Literal["value", "v0"] = "v0"
    """What stands for the policy's side: V(s) - γ V(s') on all rows, or (1 - γ) V(s) on demonstrated ones."""
    chi: float = 0.1
    """α of the regulariser 1/(4 α) E r²: the larger, the further rewards may lie from zero, and the less a
    nat of entropy at the given temperature is worth beside them."""
    through_next: bool = False
    """Whether V(s') is the critics' own and has a gradient."""
    keep_every: int = 1
    """n: of n steps of a demonstration one is known, to test how few it takes."""
    pretraining: int = 1000
    """Updates before the first step that the policy takes."""

    def __post_init__(self) -> None:
        rules = {
            "objective": self.objective in ("value", "v0"),
            "chi": 0 < self.chi < float("inf"),
            "keep_every": self.keep_every >= 1,
            "pretraining": self.pretraining >= 0,
        }
        if broken := [name for name, kept in rules.items() if not kept]:
            raise ValueError(f"{broken[0]} is {getattr(self, broken[0])!r}, which is out of its range")


@dataclass(frozen=True)
class Inverse:
    """The objective above as a lesson.

    Args:
        discount: γ.
        objective: "value" or "v0".
        chi: α.
        through: whether the gradient goes through V(s').
    """

    discount: float
    objective: Literal["value", "v0"]
    chi: float
    through: bool
    asks_here = True

    def __call__(self, facts: Facts) -> Slopes:
        """The loss and its gradient; told are reward_expert and reward_policy, as the values imply them."""
        assert facts.here is not None
        r, (expert, _), each = facts.implied, shares(facts), 1 / len(facts.reward)
        by_reward = r * (each / (2 * self.chi)) - expert
        loss = (r.square() * (each / (4 * self.chi)) - expert * r).sum(1)
        if self.objective == "value":
            by_here = facts.here.new_full(facts.here.shape, each)
            loss = loss + (facts.here - facts.scale * facts.after).mean(1)
            by_after = -facts.scale * (by_reward + each)
        else:
            by_here = ((1 - self.discount) * expert).expand_as(facts.here)
            loss = loss + (by_here * facts.here).sum(1)
            by_after = -facts.scale * by_reward
        return Slopes(
            float(loss.mean()),
            by_reward,
            by_here,
            by_after if self.through else None,
            facts.scale * facts.after,
            told_sides(facts, self.discount),
        )


def build(setting: Setting, config: Config) -> Labelled:
    """The learner for a task and its demonstrations.

    Raises:
        ValueError: when there are no demonstrations, or a number is out of its range.
    """
    lesson = Inverse(setting.sac.discount, config.objective, config.chi, config.through_next)
    return built("iq", setting, lesson, config.keep_every, config.pretraining)
