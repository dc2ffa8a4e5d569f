"""Gradient steps of a reward, and the moving average of its weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from understudy.learn.optim import Adam, flatten
from understudy.rewards import RewardNet

__all__ = ["RewardSteps", "half_cosine"]


def half_cosine(progress: float) -> float:
    """From 1 at 0 to 0 at 1 and beyond."""
    return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


class RewardSteps:
    """Adam on a reward's weights, in place.

    A reward that chases samples never rests where its gradient is zero in the mean; the average of its
    weights does (Polyak and Juditsky 1992).

    Args:
        reward: what is trained.
        rate: the learning rate.
        prior: λ of λ/2 |θ|², a Gaussian prior on all weights, added to every loss. Where a feature tells
            experts and policies apart by chance alone, it is what keeps its weight small; decoupled decay,
            behind a step that Adam has normalised, would shrink all weights alike.
        memory: None, or in (0, 1), of the moving average of the weights.
    """

    def __init__(self, reward: RewardNet, rate: float, prior: float, memory: float | None) -> None:
        self.trained, self._rate, self._prior, self._memory = reward, rate, prior, memory
        self._flat, self._grad, _ = flatten(reward.parameters())
        self._adam = Adam(self._flat, self._grad, 0, 0.0)
        self._taken = 0
        self._average: tuple[RewardNet, Tensor] | None = None
        if memory is not None:
            smooth = deepcopy(reward)
            self._average = smooth, flatten(smooth.parameters())[0]

    @property
    def reward(self) -> RewardNet:
        """The moving average of the weights where there is one, else the weights themselves."""
        return self.trained if self._average is None else self._average[0]

    def descend(self, loss: Tensor, share: float = 1.0) -> float:
        """One step down `loss` and the prior, with a share of the learning rate; the gradient's norm."""
        self._grad.zero_()
        loss.backward()  # type: ignore[no-untyped-call]
        self._grad.add_(self._flat, alpha=self._prior)
        norm = float(self._grad.norm())
        self._adam.step(self._rate * share)
        self._taken += 1
        if self._average is not None and self._memory is not None:
            # Young averages forget faster, so that the first weights do not stay.
            memory = min(self._memory, self._taken / (self._taken + 9))
            self._average[1].lerp_(self._flat, 1 - memory)
        return norm

    def shift(self, by: float) -> None:
        """Adds a constant to the reward of every step, the absorbing state's included.

        Over an endless time, which the absorbing state stands for, no policy gains or loses by it.
        """
        with torch.no_grad():
            self.trained.out.bias.add_(by)
            self.trained.end.add_(by)

    def state_dict(self) -> dict[str, Any]:
        """Weights, moments, average and number of steps."""
        state = {"taken": self._taken, "weights": self.trained.state_dict(), "adam": self._adam.state_dict()}
        return state if self._average is None else {**state, "average": self._average[0].state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there.

        Raises:
            ValueError: when the state belongs to another reward or other settings.
        """
        if state.keys() != (mine := self.state_dict()).keys():
            raise ValueError(f"the reward's state has {sorted(state)}; it must have {sorted(mine)}")
        self.trained.restore(state["weights"])
        self._adam.load_state_dict(state["adam"])
        if self._average is not None:
            self._average[0].restore(state["average"])
        self._taken = state["taken"]
