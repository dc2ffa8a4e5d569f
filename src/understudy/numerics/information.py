"""Mutual information from samples, and how far a number is from the bulk of its kind."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["auroc", "ksg", "robust_z"]

_ROWS = 256  # of the distance matrix at a time, so that memory grows with N and not with its square


def ksg(x: ArrayLike, y: ArrayLike, k: int = 5) -> NDArray[np.float64]:
    """[N], what each sample contributes to the mutual information of X [N, D] and Y [N, A], in nats.

    Their mean is the first estimator of Kraskov, Stögbauer and Grassberger (2004, Phys. Rev. E 69, 066138,
    equation 8): psi(k) + psi(N) - psi(n_x + 1) - psi(n_y + 1), with n_x and n_y the samples closer in X and
    in Y than the k-th neighbour in the joint space, under the maximum norm. It takes O(N^2 (D + A)) time.
    Samples must not repeat exactly; add a little noise where they do.

    Raises:
        ValueError: when the numbers of samples differ, or there are no more than k.

    >>> t = np.random.default_rng(0).normal(size=(500, 1))
    >>> bool(ksg(t, t).mean() > 3), bool(abs(ksg(t, t[::-1]).mean()) < 0.15)
    (True, True)
    """
    a, b = (np.asarray(v, np.float64) for v in (x, y))
    if a.ndim != 2 or b.ndim != 2 or len(a) != len(b) or not 1 <= k < len(a):
        raise ValueError(f"x {a.shape} and y {b.shape} must be [N, D] and [N, A] with N > k = {k} >= 1")
    from scipy.special import digamma

    n = len(a)
    near = np.empty((2, n), np.int64)
    for at in range(0, n, _ROWS):
        rows = np.arange(at, min(at + _ROWS, n))
        far_x, far_y = _chebyshev(a, rows), _chebyshev(b, rows)
        reach = np.partition(np.maximum(far_x, far_y), k - 1, axis=1)[:, k - 1 : k]
        near[:, rows] = (far_x < reach).sum(1), (far_y < reach).sum(1)
    out: NDArray[np.float64] = digamma(k) + digamma(n) - digamma(near[0] + 1) - digamma(near[1] + 1)
    return out


def _chebyshev(x: NDArray[np.float64], rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """[rows, N], the largest difference in any dimension; infinite from a sample to itself."""
    far = np.abs(x[rows, :1] - x[:, 0])
    for d in range(1, x.shape[1]):
        np.maximum(far, np.abs(x[rows, d : d + 1] - x[:, d]), out=far)
    far[np.arange(len(rows)), rows] = np.inf
    return far


def robust_z(
    values: ArrayLike, worse: Literal["high", "low", "both"] = "both", floor: float = 0.0
) -> NDArray[np.float64]:
    """[N], how many robust standard deviations a value is on the worse side of the median; 0 on the other.

    The spread is 1.4826 times the median distance from the median, of the values on the better side alone:
    up to half of all may be bad, in one direction, without hiding themselves (the "double MAD"). A spread
    below `floor` counts as `floor`; where both are zero, any distance is infinite.

    >>> robust_z([1.0, 2.0, 3.0, 100.0, 101.0], "high", floor=1.0).tolist()[:3]
    [0.0, 0.0, 0.0]
    """
    x = np.asarray(values, np.float64)
    if not len(x):
        return np.zeros(0)
    away = x - np.median(x)
    if worse == "both":
        spread, bad = np.abs(away), np.abs(away)
    else:
        away = away if worse == "high" else -away
        spread, bad = -away[away <= 0], np.maximum(away, 0.0)
    scale = max(1.4826 * float(np.median(spread)), floor)
    return np.where(bad > 0, bad / scale if scale > 0 else np.inf, 0.0)


def auroc(score: ArrayLike, positive: ArrayLike) -> float:
    """The probability that a positive scores higher than a negative, ties counting half (Mann-Whitney).

    Raises:
        ValueError: when either kind is missing, or a score is not a number.

    >>> auroc([0.1, 0.4, 0.4, 0.9], [False, False, True, True])
    0.875
    """
    s, bad = np.asarray(score, np.float64), np.asarray(positive, np.bool_)
    if s.ndim != 1 or s.shape != bad.shape or bad.all() or not bad.any():
        raise ValueError(f"scores {s.shape} and positives {bad.shape} must be [N], with some of either kind")
    if np.isnan(s).any():
        raise ValueError(f"score[{int(np.argmax(np.isnan(s)))}] is not a number")
    above = s[bad][:, None] - s[~bad]
    return float((above > 0).mean() + (above == 0).mean() / 2)
