"""Discounted occupancies as weighted rows: what is expected of a reward, the same for experts and policies.

Shapes: E episodes; M steps of all of them together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from understudy.learn.replay import Transitions
from understudy.rewards import RewardNet

__all__ = ["Occupancy", "expected"]


class Occupancy(NamedTuple):
    """Weights of the steps of some episodes, (1 - γ) γ^t / E: they sum to one if the episodes never end.

    An episode that ended by terminating goes on in the absorbing state, whose weight γ^T / E is in `after`.
    One that was cut by a time limit has nothing behind it, on either side: what was not seen is not counted.
    """

    weight: Tensor  # [M]
    after: float

    @classmethod
    def of(cls, lengths: Sequence[int], terminated: Sequence[bool], discount: float) -> Occupancy:
        """Of episodes that lie end to end."""
        weight = torch.cat([(1 - discount) * discount ** torch.arange(n).double() for n in lengths])
        after = sum(discount**n for n, ended in zip(lengths, terminated, strict=True) if ended)
        return cls((weight / len(lengths)).float(), after / len(lengths))

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Rows and their weights: all M where n is enough, else n drawn in proportion to the weights."""
        if n >= len(self.weight):
            return torch.arange(len(self.weight)), self.weight
        rows = torch.multinomial(self.weight, n, replacement=True, generator=generator)
        return rows, self.weight.sum().expand(n) / n


def expected(reward: RewardNet, steps: Transitions, weight: Tensor, after: float) -> Tensor:
    """[], (1 - γ) E Σ_t γ^t r, the absorbing state included; differentiable."""
    return torch.dot(weight, reward.forward(steps)) + after * reward.absorbing
