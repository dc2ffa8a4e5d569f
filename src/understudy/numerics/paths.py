"""Measures of paths: how closely one follows another, and how long it is.

Paths are [T, D]: T points, one a control step, in a space of D dimensions and one unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Tracking", "path_length", "tracking"]


@dataclass(frozen=True)
class Tracking:
    """How far one path strays from another, in the unit of the paths.

    Args:
        rmse: square root of the mean squared distance, over time.
        max_deviation: the largest distance at any time.
        common: the share of the longer path, in (0, 1], in which both were still under way.

    Raises:
        ValueError: when a number is not finite or out of range.
    """

    rmse: float
    max_deviation: float
    common: float

    def __post_init__(self) -> None:
        # The maximum bounds the root mean square; rounding may break that in the last digits.
        if not (isfinite(self.max_deviation) and 0 <= self.rmse <= self.max_deviation * (1 + 1e-9)):
            raise ValueError(
                f"rmse {self.rmse} and max_deviation {self.max_deviation}; they need 0 <= rmse <= max"
            )
        if not 0 < self.common <= 1:
            raise ValueError(f"common is {self.common}; it must lie in (0, 1]")


def _path(name: str, path: ArrayLike) -> NDArray[np.float64]:
    x = np.asarray(path, np.float64)
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"{name} has shape {x.shape}; it must be [T, D] with T >= 1 and D >= 1")
    if not np.isfinite(x).all():
        raise ValueError(
            f"{name} has a value that is not finite at step {int(np.argwhere(~np.isfinite(x))[0][0])}"
        )
    return x


def tracking(path: ArrayLike, reference: ArrayLike) -> Tracking:
    """Compares a path [T, D] with a reference [S, D], point i with point i: time counts, not shape alone.

    Where one is shorter it stays at its last point. Judging the common part only would reward ending early: a
    policy that fails at the third step would have followed the reference almost perfectly. Time is not
    warped either, since a policy that is late is wrong by the distance it lags.

    >>> tracking([[0.0], [1.0]], [[0.0], [1.0], [4.0], [4.0]])
    Tracking(rmse=2.1213203435596424, max_deviation=3.0, common=0.5)
    """
    x, y = _path("path", path), _path("reference", reference)
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"the path has {x.shape[1]} dimensions and the reference {y.shape[1]}; they must agree"
        )
    step = np.arange(max(len(x), len(y)))
    gap = x[np.minimum(step, len(x) - 1)] - y[np.minimum(step, len(y) - 1)]
    far = np.sqrt((gap**2).sum(1))
    rmse = min(float(np.sqrt((far**2).mean())), float(far.max()))
    return Tracking(rmse, float(far.max()), min(len(x), len(y)) / len(step))


def path_length(path: ArrayLike) -> float:
    """The sum of the distances between neighbouring points of a path [T, D], in its unit.

    >>> path_length([[0.0, 0.0], [3.0, 4.0], [3.0, 5.0]])
    6.0
    """
    return float(np.sqrt((np.diff(_path("path", path), axis=0) ** 2).sum(1)).sum())
