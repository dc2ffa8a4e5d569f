"""One action for one observation: regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from understudy.heads.base import Array, Head, Mask, batch_last, masked_mean, read, readout, silenced

__all__ = ["Deterministic", "DeterministicHead", "errors", "slopes"]


@dataclass(frozen=True)
class Deterministic:
    """How a regression head is built.

    Args:
        error: "mse" learns the mean of the expert's actions, "l1" the median of each dimension, "huber" is
            quadratic below one normalised unit and linear above, so that outliers pull less.
    """

    error: Literal["mse", "l1", "huber"] = "mse"
    kind: ClassVar[str] = "deterministic"
    bounded: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.error not in ("mse", "l1", "huber"):
            raise ValueError(f"error is {self.error!r}; it must be 'mse', 'l1' or 'huber'")

    def build(self, width: int, horizon: int, actions: int) -> DeterministicHead:
        """A head with fresh weights."""
        return DeterministicHead(width, horizon, actions, self)


def errors(error: str, miss: Tensor) -> Tensor:
    """What each entry of a miss â - a costs."""
    if error == "mse":
        return miss.square()
    if error == "l1":
        return miss.abs()
    return torch.where(miss.abs() < 1, 0.5 * miss.square(), miss.abs() - 0.5)


def slopes(error: str, miss: Array) -> tuple[Array, Array]:
    """What each entry of a miss costs, and the derivative: 2 (â - a), its sign, or itself held to ±1."""
    if error == "mse":
        return miss * miss, 2 * miss
    if error == "l1":
        return np.abs(miss), np.sign(miss)
    slope = miss.clip(-1, 1)
    return slope * (miss - 0.5 * slope), slope


class DeterministicHead(Head):
    """Predicts the chunk itself. The error of a step is summed over action dimensions, not averaged.

    Where experts do two different things in one situation, the answer lies between them: see Mixture.
    """

    def __init__(self, width: int, horizon: int, actions: int, config: Deterministic) -> None:
        super().__init__()
        self.config, self.shape = config, (horizon, actions)
        self.out = readout(width, horizon * actions)

    def answer(self, params: Array) -> Array:
        """The mode [H, A] for one observation."""
        return params.reshape(self.shape)

    def loss(self, tokens: Tensor, action: Tensor, mask: Tensor) -> Tensor:
        miss = self.mode(tokens) - silenced(action, mask)
        return masked_mean(errors(self.config.error, miss).sum(-1), mask)

    def gradient(self, params: Array, action: Array, mask: Mask) -> tuple[float, Array]:
        """Loss and gradient, as in `slopes`."""
        turned, weight = batch_last(action, mask)
        error, slope = slopes(self.config.error, params.reshape(turned.shape) - turned)
        return float((error * weight).sum()), (slope * weight).reshape(params.shape)

    def mode(self, tokens: Tensor) -> Tensor:
        return read(self.out, tokens).view(-1, *self.shape)

    def sample(self, tokens: Tensor, generator: torch.Generator | None, noise: float = 1.0) -> Tensor:
        """The prediction: there is nothing to draw."""
        return self.mode(tokens)
