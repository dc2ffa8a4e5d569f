"""A mixture of normal distributions: experts who do one of several things."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from understudy.heads.base import (
    LOG_2PI,
    Array,
    Density,
    LogStd,
    Mask,
    batch_last,
    check_bounds,
    read,
    readout,
    silenced,
)

__all__ = ["Mixture", "MixtureHead"]


@dataclass(frozen=True)
class Mixture:
    """How a mixture head is built.

    Args:
        components: M, how many normal distributions.
        log_std: bounds of the log standard deviations, in normalised units.
    """

    components: int = 5
    log_std: tuple[float, float] = (-5.0, 2.0)
    kind: ClassVar[str] = "mixture"
    bounded: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 1 <= self.components <= 1000:
            raise ValueError(f"components is {self.components}; it must lie in [1, 1000]")
        check_bounds(self.log_std)

    def build(self, width: int, horizon: int, actions: int) -> MixtureHead:
        """A head with fresh weights."""
        return MixtureHead(width, horizon, actions, self)


class MixtureHead(Density):
    """-log Σ_m w_m Π_h N(a_h; μ_mh, diag σ²_mh), by logsumexp. M components over whole chunks.

    The component belongs to the chunk and not to the step (as in a recurrent head that draws one each
    step): a chunk that has begun to pass the obstacle on the left stays on the left. Masked steps drop out
    of the product, which is the exact marginal of the valid ones; the loss is divided by their number.
    """

    def __init__(self, width: int, horizon: int, actions: int, config: Mixture) -> None:
        super().__init__()
        self.config = config
        self.shape = (config.components, horizon, actions)
        self.log_std = LogStd(*config.log_std)
        m, size = config.components, config.components * horizon * actions
        self.out = readout(width, m + 2 * size)
        # Components that begin alike would stay alike: their means start apart, with a spread of one.
        if self.out.bias.device.type != "meta":  # a description has shapes and no numbers
            nn.init.normal_(self.out.bias[m : m + size])
        nn.init.constant_(self.out.bias[m + size :], self.log_std.inverse(0.0))

    def _parts(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits [B, M], means [B, M, H, A], raw spreads [B, M, H, A]."""
        m = self.config.components
        both = params[:, m:].reshape(len(params), 2, *self.shape)
        return params[:, :m], both[:, 0], both[:, 1]

    def _joint(self, params: Tensor, action: Tensor, mask: Tensor) -> Tensor:
        """[B, M], log w_m + log N_m of the valid steps."""
        logits, mean, raw = self._parts(params)
        log_std = self.log_std(raw)
        z = (action[:, None] - mean) / log_std.exp()
        steps = (0.5 * z.square() + log_std + 0.5 * LOG_2PI).sum(-1) * mask[:, None]
        return logits.log_softmax(1) - steps.sum(-1)

    def parts(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weights [B, M], means and log standard deviations, each [B, M, H, A]."""
        logits, mean, raw = self._parts(read(self.out, tokens))
        return logits.softmax(1), mean, self.log_std(raw)

    def answer(self, params: Array) -> Array:
        """The mean [H, A] of the heaviest component for one observation."""
        m = self.config.components
        mean: Array = params[m:].reshape(2, *self.shape)[0, params[:m].argmax()]
        return mean

    def gradient(self, params: Array, action: Array, mask: Mask) -> tuple[float, Array]:
        """Loss and gradient through the responsibilities r = softmax(log w + log N).

        ∂/∂ logits = w - r, ∂/∂μ = -r z/σ, ∂/∂ log σ = r (1 - z²) (Bishop 1994, equations 33 to 38).
        """
        u, _ = batch_last(action, mask)
        valid = mask.T[:, None].astype(np.float32)
        share = 1 / (valid.sum(0) * np.float32(len(mask)))  # of a chunk in the mean loss, [1, B]
        m = self.config.components
        logits, (mean, raw) = params[:m], params[m:].reshape(2, m, *u.shape)
        log_std, slope = self.log_std.with_slope(raw)
        std = np.exp(log_std)
        z = (u - mean) / std
        square = z * z
        steps = (log_std + 0.5 * square + 0.5 * LOG_2PI) * valid
        log_weight = logits - _logsumexp(logits)
        joint = log_weight - steps.sum((1, 2))
        total = _logsumexp(joint)
        r = np.exp(joint - total) * share
        grad = np.empty_like(params)
        np.subtract(np.exp(log_weight) * share, r, out=grad[:m])
        by_mean, by_raw = grad[m:].reshape(2, m, *u.shape)
        r = r[:, None, None] * valid
        np.multiply(z / std, -r, out=by_mean)
        np.multiply((1 - square) * slope, r, out=by_raw)
        return float(-(total * share).sum()), grad

    def loss(self, tokens: Tensor, action: Tensor, mask: Tensor) -> Tensor:
        joint = self._joint(read(self.out, tokens), silenced(action, mask), mask)
        return -joint.logsumexp(1) / mask.sum(1)

    def log_prob(self, tokens: Tensor, action: Tensor) -> Tensor:
        full = torch.ones(action.shape[:2], device=action.device)
        return self._joint(read(self.out, tokens), action, full).logsumexp(1)

    def mode(self, tokens: Tensor) -> Tensor:
        """The mean of the heaviest component."""
        logits, mean, _ = self._parts(read(self.out, tokens))
        return mean[torch.arange(len(mean)), logits.argmax(1)]

    def sample(self, tokens: Tensor, generator: torch.Generator | None, noise: float = 1.0) -> Tensor:
        """A component drawn by its weight, then `noise` times its spread: 0 gives its mean."""
        logits, mean, raw = self._parts(read(self.out, tokens))
        chosen = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
        rows = torch.arange(len(mean))
        mean, std = mean[rows, chosen], self.log_std(raw[rows, chosen]).exp()
        return mean + noise * std * torch.randn(mean.shape, generator=generator, device=mean.device)


def _logsumexp(x: Array) -> Array:
    """log Σ exp over the first axis of [M, B], to [1, B]."""
    top: Array = x.max(0, keepdims=True)
    out: Array = np.log(np.exp(x - top).sum(0, keepdims=True)) + top
    return out
