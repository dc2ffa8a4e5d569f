"""Discrete actions: one of n choices a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from understudy.heads.base import Array, Density, Mask, batch_last, masked_mean, read, readout, silenced

__all__ = ["Categorical", "CategoricalHead"]


@dataclass(frozen=True)
class Categorical:
    """How a categorical head is built.

    Args:
        choices: n, the number of actions that the environment knows; they are 0 to n - 1.
    """

    choices: int
    kind: ClassVar[str] = "categorical"
    bounded: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 2 <= self.choices <= 1 << 20:
            raise ValueError(f"choices is {self.choices}; it must lie in [2, 2^20]")

    def build(self, width: int, horizon: int, actions: int) -> CategoricalHead:
        """A head with fresh weights.

        Raises:
            ValueError: when an action has more than one number.
        """
        if actions != 1:
            raise ValueError(f"actions have width {actions}; a categorical head chooses one number a step")
        return CategoricalHead(width, horizon, self)


class CategoricalHead(Density):
    """-log softmax(logits)[a]; steps are independent. Actions are int64 [B, H, 1]."""

    discrete = True

    def __init__(self, width: int, horizon: int, config: Categorical) -> None:
        super().__init__()
        self.config, self.shape = config, (horizon, config.choices)
        self.out = readout(width, horizon * config.choices)

    def _log(self, params: Tensor) -> Tensor:
        """[B, H, n], log probabilities."""
        return params.view(-1, *self.shape).log_softmax(-1)

    def answer(self, params: Array) -> Array:
        """The likeliest choices [H, 1] for one observation."""
        likeliest: Array = params.reshape(self.shape).argmax(-1)
        return likeliest[:, None]

    def gradient(self, params: Array, action: Array, mask: Mask) -> tuple[float, Array]:
        """Loss and gradient: softmax - one-hot."""
        chosen, weight = batch_last(action, mask)
        logits = params.reshape(*self.shape, -1)
        logits = logits - logits.max(1, keepdims=True)
        p = np.exp(logits)
        total = p.sum(1, keepdims=True)
        loss = ((np.log(total) - np.take_along_axis(logits, chosen, 1)) * weight).sum()
        p /= total
        np.put_along_axis(p, chosen, np.take_along_axis(p, chosen, 1) - 1, 1)
        return float(loss), (p * weight).reshape(params.shape)

    def loss(self, tokens: Tensor, action: Tensor, mask: Tensor) -> Tensor:
        log = self._log(read(self.out, tokens))
        return masked_mean(-log.gather(2, silenced(action, mask))[..., 0], mask)

    def log_prob(self, tokens: Tensor, action: Tensor) -> Tensor:
        return self._log(read(self.out, tokens)).gather(2, action)[..., 0].sum(1)

    def mode(self, tokens: Tensor) -> Tensor:
        return read(self.out, tokens).view(-1, *self.shape).argmax(-1, keepdim=True)

    def sample(self, tokens: Tensor, generator: torch.Generator | None, noise: float = 1.0) -> Tensor:
        """`noise` is the temperature of the softmax; at 0 the likeliest choice."""
        if noise == 0:
            return self.mode(tokens)
        p = (self._log(read(self.out, tokens)) / noise).softmax(-1)
        return torch.multinomial(p.flatten(0, 1), 1, generator=generator).view(*p.shape[:2], 1)
