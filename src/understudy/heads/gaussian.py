"""A normal distribution over actions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from understudy.heads.base import (
    LOG_2PI,
    Array,
    Density,
    LogStd,
    Mask,
    batch_last,
    check_bounds,
    masked_mean,
    read,
    readout,
    silenced,
)

__all__ = ["Gaussian", "GaussianHead"]

_EDGE = 1 - 1e-6  # a squashed action at ±1 would need an infinite pre-image


@dataclass(frozen=True)
class Gaussian:
    """How a Gaussian head is built.

    Args:
        std: "state" predicts the spread from the observation, "global" learns one for each action dimension.
        squash: passes the action through tanh, for actions that end at ±1.
        log_std: bounds of the log standard deviation, in normalised units.
    """

    std: Literal["state", "global"] = "state"
    squash: bool = False
    log_std: tuple[float, float] = (-5.0, 2.0)
    kind: ClassVar[str] = "gaussian"

    def __post_init__(self) -> None:
        if self.std not in ("state", "global"):
            raise ValueError(f"std is {self.std!r}; it must be 'state' or 'global'")
        check_bounds(self.log_std)

    @property
    def bounded(self) -> bool:
        """Whether only actions in (-1, 1) can be expressed."""
        return self.squash

    def build(self, width: int, horizon: int, actions: int) -> GaussianHead:
        """A head with fresh weights."""
        return GaussianHead(width, horizon, actions, self)


class GaussianHead(Density):
    """-log N(a; μ, diag σ²) = Σ_d log σ_d + (a_d - μ_d)² / 2σ_d² + ½ log 2π; steps are independent.

    Squashed, a = tanh(u) with u normal, and the density gains -Σ log(1 - tanh² u), computed in the stable
    form 2 (log 2 - u - softplus(-2u)). The mode is then tanh(μ), the median of each dimension.
    """

    def __init__(self, width: int, horizon: int, actions: int, config: Gaussian) -> None:
        super().__init__()
        self.config, self.shape, self.bounded = config, (horizon, actions), config.squash
        self.log_std = LogStd(*config.log_std)
        start = self.log_std.inverse(0.0)  # training starts with a spread of one
        size = horizon * actions
        if config.std == "state":
            self.out = readout(width, 2 * size)
            nn.init.constant_(self.out.bias[size:], start)
            self.raw = None
        else:
            self.out = readout(width, size)
            self.raw = nn.Parameter(torch.full((actions,), start))

    def _parts(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """Mean [B, H, A] and raw spread [B, H, A] or [A]."""
        if self.raw is not None:
            return params.view(-1, *self.shape), self.raw
        both = params.view(-1, 2, *self.shape)
        return both[:, 0], both[:, 1]

    def _nll(self, params: Tensor, action: Tensor) -> Tensor:
        """[B, H], the negative log density of each step."""
        mean, raw = self._parts(params)
        u, edge = action, torch.zeros(())
        if self.bounded:
            u = action.clamp(-_EDGE, _EDGE).atanh()
            edge = 2 * (math.log(2) - u - F.softplus(-2 * u))
        log_std = self.log_std(raw)
        z = (u - mean) / log_std.exp()
        return (0.5 * z.square() + log_std + edge + 0.5 * LOG_2PI).sum(-1)

    def parts(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the log standard deviation (of the unsquashed variable), each [B, H, A]."""
        mean, raw = self._parts(read(self.out, tokens))
        return mean, self.log_std(raw).expand_as(mean)

    def answer(self, params: Array) -> Array:
        """The mode [H, A] for one observation."""
        mean: Array = params.reshape(-1, *self.shape)[0]
        return np.tanh(mean) if self.bounded else mean

    def gradient(self, params: Array, action: Array, mask: Mask) -> tuple[float, Array]:
        """Loss and gradient: ∂/∂μ = -z/σ, ∂/∂ log σ = 1 - z², and the chain through the bounds."""
        u, weight = batch_last(action, mask)
        parts = params.reshape(-1, *u.shape)
        edge: Array | float = 0.0
        if self.bounded:
            u = np.arctanh(u.clip(-_EDGE, _EDGE))
            edge = 2 * (math.log(2) - u - np.logaddexp(0, -2 * u))
        raw = parts[1] if self.raw is None else self.raw.detach().numpy()[:, None]
        log_std, slope = self.log_std.with_slope(raw)
        std = np.exp(log_std)
        z = (u - parts[0]) / std
        square = z * z
        loss = ((log_std + 0.5 * square + (edge + 0.5 * LOG_2PI)) * weight).sum()
        grad = np.empty_like(parts)
        np.multiply(z / std, -weight, out=grad[0])
        spread = (1 - square) * slope * weight
        if self.raw is None:
            grad[1] = spread
        elif self.raw.grad is not None:
            self.raw.grad.numpy()[:] = spread.sum((0, 2))
        return float(loss), grad.reshape(params.shape)

    def loss(self, tokens: Tensor, action: Tensor, mask: Tensor) -> Tensor:
        return masked_mean(self._nll(read(self.out, tokens), silenced(action, mask)), mask)

    def log_prob(self, tokens: Tensor, action: Tensor) -> Tensor:
        return -self._nll(read(self.out, tokens), action).sum(1)

    def mode(self, tokens: Tensor) -> Tensor:
        mean, _ = self._parts(read(self.out, tokens))
        return mean.tanh() if self.bounded else mean

    def sample(self, tokens: Tensor, generator: torch.Generator | None, noise: float = 1.0) -> Tensor:
        mean, raw = self._parts(read(self.out, tokens))
        draw = torch.randn(mean.shape, generator=generator, device=mean.device)
        u = mean + noise * self.log_std(raw).exp() * draw
        return u.tanh() if self.bounded else u
