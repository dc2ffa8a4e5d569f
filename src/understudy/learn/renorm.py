"""Batch renormalisation (Ioffe 2017), as critics without target networks use it (CrossQ, Bhatt et al. 2024).

Shapes: M networks (absent for what all see alike), N rows, H units.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Renorm"]

_EPSILON = 1e-5
_MOMENTUM = 0.99
_WARM = 100_000  # passes before the running averages are trusted, as in CrossQ's own settings
_MOST_SCALE, _MOST_SHIFT = 3.0, 5.0


class Renorm(nn.Module):
    """n = (z - μ)/σ · r + d over the rows, with running averages that take the batch's place in use.

    r = σ/σ_run in [1/3, 3] and d = (μ - μ_run)/σ_run in [-5, 5] have no gradient. They are 1 and 0 for the
    first 100,000 passes: plain batch normalisation (Ioffe and Szegedy 2015).

    Args:
        units: the shape without the rows: [M, H] or [H].
    """

    mean: Tensor
    var: Tensor
    passes: Tensor

    def __init__(self, *units: int) -> None:
        super().__init__()
        shape = (*units[:-1], 1, units[-1])
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("var", torch.ones(shape))
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))

    @property
    def slope(self) -> Tensor:
        """[..., 1, H], what a gradient is multiplied by on its way back through a pass not in training."""
        return (self.var + _EPSILON).rsqrt()

    def forward(self, z: Tensor, training: bool) -> tuple[Tensor, tuple[Tensor, ...]]:
        """[..., N, H] normalised over N, and what `backward` needs."""
        if not training:
            slope = self.slope
            return (z - self.mean) * slope, (slope,)
        mean = z.mean(-2, keepdim=True)
        n = z - mean
        var = n.square().mean(-2, keepdim=True)  # `var_mean` over rows takes ten times as long
        rstd = (var + _EPSILON).rsqrt()
        n.mul_(rstd)
        kept = (n, rstd)
        if int(self.passes) >= _WARM:
            own = self.slope
            scale = (own / rstd).clamp(1 / _MOST_SCALE, _MOST_SCALE)
            shift = ((mean - self.mean) * own).clamp(-_MOST_SHIFT, _MOST_SHIFT)
            n, kept = n * scale + shift, (n, rstd * scale)
        self.passes += 1
        self.mean.lerp_(mean, 1 - _MOMENTUM)
        self.var.lerp_(var, 1 - _MOMENTUM)
        return n, kept

    @staticmethod
    def backward(grad: Tensor, kept: tuple[Tensor, ...]) -> Tensor:
        """The gradient of z from that of the result, both [..., N, H]."""
        if len(kept) == 1:
            return grad * kept[0]
        n, slope = kept
        return slope * (grad - grad.mean(-2, keepdim=True) - n * (grad * n).mean(-2, keepdim=True))
