"""Priors of the weights of a reward, as functions of a standard normal.

θ = F^{-1}(Φ(u)), F the prior's distribution and Φ the normal one: whatever the prior, u is standard normal
under it, without bounds or corners, and a sampler needs to know no more than the slope dθ/du.

Shapes: K weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["GaussianPrior", "LaplacePrior", "Prior", "UniformPrior"]

Floats: TypeAlias = NDArray[np.float64]


class Prior(Protocol):
    """Independent priors of the weights, as functions of a standard normal u [..., K]."""

    def weights(self, u: Floats) -> Floats:
        """θ [..., K], increasing in u."""
        ...

    def slope(self, u: Floats) -> Floats:
        """dθ/du [..., K]."""
        ...


@dataclass(frozen=True)
class GaussianPrior:
    """θ_k ~ N(mean, scale²); both are numbers or [K]."""

    scale: Any
    mean: Any = 0.0

    def __post_init__(self) -> None:
        _check_positive("scale", self.scale)

    def weights(self, u: Floats) -> Floats:
        return np.asarray(self.mean + np.asarray(self.scale) * u)

    def slope(self, u: Floats) -> Floats:
        return np.broadcast_to(np.asarray(self.scale, np.float64), u.shape)


@dataclass(frozen=True)
class UniformPrior:
    """θ_k anywhere between `low` and `high` alike; both are numbers or [K]."""

    low: Any
    high: Any

    def __post_init__(self) -> None:
        _check_positive("high - low", np.subtract(self.high, self.low))

    def weights(self, u: Floats) -> Floats:
        from scipy.special import ndtr

        return np.asarray(self.low + np.subtract(self.high, self.low) * ndtr(u))

    def slope(self, u: Floats) -> Floats:
        return np.asarray(np.subtract(self.high, self.low) * np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi))


@dataclass(frozen=True)
class LaplacePrior:
    """θ_k with density exp(-|θ|/scale) / (2 scale): most weights are small, some are large."""

    scale: Any

    def __post_init__(self) -> None:
        _check_positive("scale", self.scale)

    def weights(self, u: Floats) -> Floats:
        from scipy.special import log_ndtr

        size = np.asarray(self.scale) * (np.log(2.0) + log_ndtr(-np.abs(u)))
        return np.asarray(-np.sign(u) * size)

    def slope(self, u: Floats) -> Floats:
        from scipy.special import log_ndtr

        return np.asarray(
            np.asarray(self.scale) * np.exp(-(u**2) / 2 - log_ndtr(-np.abs(u))) / np.sqrt(2 * np.pi)
        )


def _check_positive(name: str, value: Any) -> None:
    size = np.asarray(value, np.float64)
    if not (np.isfinite(size) & (size > 0)).all():
        raise ValueError(f"{name} is {value}; it must be positive and finite")
