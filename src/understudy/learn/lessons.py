"""What critics learn: a lesson is a functional of their values, with its gradient by these written out.

`learn.sac.SAC` asks its critics for values, gives them to a lesson, and takes the gradient back through the
networks. The lesson knows nothing of networks: a test can hand it a table.

Shapes: M critics, B batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor

__all__ = ["EVALUATION", "Facts", "Lesson", "Slopes", "SoftBellman"]


class Facts(NamedTuple):
    """What critics say of B transitions (s, a, r, s'). V counts entropy where the learner's target does."""

    q: Tensor  # [M, B], Q_m(s, a)
    here: Tensor | None  # [M, B], V_m(s) = Q_m(s, b) - α log π(b|s), b ~ π(.|s); None unless asked for
    after: Tensor  # [M, B], V(s'), a draw from π(.|s') likewise; whose it is, `Lesson.through` says
    reward: Tensor  # [B]
    scale: Tensor  # [B], γ; 0 where the task ended

    @property
    def implied(self) -> Tensor:
        """[M, B], the reward that the values imply, Q(s, a) - γ V(s') (Garg et al. 2021)."""
        return self.q - self.scale * self.after


class Slopes(NamedTuple):
    """A lesson's loss and the gradient of its sum over critics."""

    loss: float  # mean over critics
    q: Tensor  # [M, B], ∂/∂Q_m(s, a)
    here: Tensor | None  # [M, B], ∂/∂V_m(s); None where it was not asked for
    after: Tensor | None  # [M, B], ∂/∂V_m(s'); None but for lessons through it
    toward: Tensor  # what Q(s, a) is led to: its magnitude gives the critics their unit
    told: Mapping[str, float]  # for the log


class Lesson(Protocol):
    """A functional of Q(s, a), V(s) and V(s')."""

    @property
    def asks_here(self) -> bool:
        """Whether it wants V(s)."""
        ...

    @property
    def through(self) -> bool:
        """Whether V(s') is each critic's own, with a gradient.

        Otherwise it is the least value of the slow copies, which has none.
        """
        ...

    def __call__(self, facts: Facts) -> Slopes:
        """The loss and its gradient."""
        ...


@dataclass(frozen=True)
class SoftBellman:
    """mean (Q_m(s, a) - y)², y = r + γ (1 - terminated) V(s'): soft policy evaluation."""

    asks_here = False
    through = False

    def __call__(self, facts: Facts) -> Slopes:
        """The mean squared Bellman error, and its gradient by Q alone."""
        target = facts.reward + facts.scale * facts.after
        error = facts.q - target
        loss = float(error.square().mean())
        return Slopes(loss, error * (2 / error.shape[1]), None, None, target, {})


EVALUATION = SoftBellman()
