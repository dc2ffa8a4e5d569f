"""Means of episodes: bootstrap intervals, the interquartile mean, differences on the same seeds."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, sqrt
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from understudy.numerics.estimate import Estimate, percent

__all__ = ["bootstrap", "iqm", "mean", "paired_bootstrap"]

Floats: TypeAlias = NDArray[np.float64]
Statistic: TypeAlias = Callable[[Floats], Any]  # [..., n] -> [...]

_RESAMPLES = 10_000  # from one seed to another the ends move by less than 1 % of the width
_DRAWS = 1 << 20  # numbers drawn at once, so that memory does not grow with n


def mean(x: Floats) -> Any:
    """[..., n] -> [...], the average."""
    return x.mean(-1)


def iqm(x: ArrayLike) -> Any:
    """[..., n] -> [...], the interquartile mean: the lowest and the highest floor(n / 4) are left out.

    As robust as the median against a few wild episodes, and more precise (Agarwal et al. 2021).

    >>> float(iqm([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 1000.0]))
    3.5
    """
    ordered = np.sort(np.asarray(x, np.float64), -1)
    n = ordered.shape[-1]
    return ordered[..., n // 4 : n - n // 4].mean(-1)


def _values(name: str, values: ArrayLike) -> Floats:
    x = np.asarray(values, np.float64)
    if x.ndim != 1 or not x.size:
        raise ValueError(f"{name} has shape {x.shape}; one dimension with at least one value is needed")
    if not np.isfinite(x).all():
        at = int(np.argmin(np.isfinite(x)))
        raise ValueError(f"{name}[{at}] is {x[at]}; every value must be finite")
    return x


def bootstrap(
    values: ArrayLike, statistic: Statistic = mean, *, seed: int = 0, level: float = 0.95
) -> Estimate:
    """A statistic of `values` [n] with its bootstrap interval: the expanded percentiles of 10 000 resamples.

    The plain percentile interval is too narrow by about sqrt((n - 1) / n) and the ratio of normal to t
    quantiles; taking its ends at Phi(sqrt(n / (n - 1)) t) instead mends that (Hesterberg 2015, The American
    Statistician 69(4), "expanded percentile interval"). BCa corrects skewness but not this, and
    covers less for the 10 to 50 episodes that are usual here.

    The result depends on the values and the seed, not on the order of the values. Fewer than about ten
    values cannot show their own tails: no bootstrap reaches its level there.

    Args:
        statistic: [..., n] -> [...], such as `mean` or `iqm`.

    >>> print(bootstrap([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]))
    4.5 [2.5, 6.5]
    """
    x = np.sort(_values("values", values))
    if not 0.0 < level < 1.0:
        raise ValueError(f"level is {level}; it must lie strictly between 0 and 1")
    method, n = f"bootstrap {percent(level)}", len(x)
    same = x[0] == x[-1]
    value = float(statistic(x[:1] if same else x))  # of equal values, a sum would only add rounding
    if same:
        return Estimate(value, *((-inf, inf) if n == 1 else (value, value)), n, method)
    from scipy.special import ndtr, stdtrit

    rng, step = np.random.default_rng(seed), max(1, _DRAWS // n)
    drawn = np.concatenate(
        [
            np.asarray(statistic(x[rng.integers(n, size=(min(step, _RESAMPLES - at), n))]), np.float64)
            for at in range(0, _RESAMPLES, step)
        ]
    )
    tail = float(ndtr(sqrt(n / (n - 1)) * stdtrit(n - 1, (1 - level) / 2)))
    low, high = (float(q) for q in np.quantile(drawn, [tail, 1 - tail]))
    return Estimate(value, low, high, n, method)


def paired_bootstrap(a: ArrayLike, b: ArrayLike, *, seed: int = 0, level: float = 0.95) -> Estimate:
    """The mean of a - b, both [n] and paired by position, with the bootstrap interval of the differences.

    What the pairs share (an easy or a hard seed) cancels, so the interval is narrower than from two samples.

    >>> print(paired_bootstrap([1.0, 12.0, 103.0, 54.0], [0.0, 10.0, 101.0, 53.0]))
    1.5 [1.0, 2.0]
    """
    x, y = _values("a", a), _values("b", b)
    if x.shape != y.shape:
        raise ValueError(f"there are {len(x)} values against {len(y)}; pairs need as many of both")
    return bootstrap(x - y, seed=seed, level=level)
