"""Which windows each step of a run sees, and how much each counts for each member of an ensemble.

All of it follows from the seed and the number of a step or an epoch, so a checkpoint need not hold it.
Shapes: N windows, B batch, M members.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Order", "resamples", "shares"]


class Order:
    """The order in which windows are drawn, epoch after epoch of N windows.

    Without weights an epoch is a permutation: every window once before any comes again. With them it is N
    independent draws, each window in proportion to its weight.

    Args:
        windows: N.
        batch: B, of every step.
        seed: the order of an epoch follows from (seed, epoch).
        weights: [N], finite and not negative, some positive; None for all alike.

    Raises:
        ValueError: when the weights are not that.
    """

    def __init__(self, windows: int, batch: int, seed: int, weights: ArrayLike | None = None) -> None:
        self.windows, self.batch, self.seed = windows, batch, seed
        self.chance = None if weights is None else _chances(weights, windows)
        self._reach = None if self.chance is None else self.chance.cumsum()
        if self._reach is not None:
            self._reach /= self._reach[-1]  # ends at one exactly, which no draw reaches
        self._epoch, self._order = -1, np.empty(0, np.int64)

    @property
    def digest(self) -> str | None:
        """What tells one set of weights from another; None without weights."""
        return None if self.chance is None else hashlib.sha256(self.chance.tobytes()).hexdigest()

    def index(self, step: int) -> NDArray[np.int64]:
        """[B], the windows of the step with this number."""
        at, end = step * self.batch, (step + 1) * self.batch
        parts: list[NDArray[np.int64]] = []
        while at < end:
            epoch, first = divmod(at, self.windows)
            if epoch != self._epoch:
                self._epoch, self._order = epoch, self._drawn(epoch)
            parts.append(self._order[first : first + end - at])
            at += len(parts[-1])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _drawn(self, epoch: int) -> NDArray[np.int64]:
        rng = np.random.default_rng((self.seed, epoch))
        if self._reach is None:
            return rng.permutation(self.windows)
        return self._reach.searchsorted(rng.random(self.windows), side="right")


def _chances(weights: ArrayLike, windows: int) -> NDArray[np.float64]:
    """Weights as probabilities."""
    w = np.array(weights, np.float64)
    if w.shape != (windows,):
        raise ValueError(f"weights have shape {list(w.shape)}; there are {windows} labelled windows")
    if not np.isfinite(w).all() or (w < 0).any():
        wrong = w[~(np.isfinite(w) & (w >= 0))][0]
        raise ValueError(f"weights hold {wrong}; each must be finite and not negative")
    top = w.max()
    if top == 0:
        raise ValueError("weights are all zero; at least one window must have a positive one")
    w /= top  # so that the sum of huge ones is finite
    w /= w.sum()
    return w


def resamples(
    members: int, windows: int, seed: int, chance: NDArray[np.float64] | None = None
) -> NDArray[np.float32]:
    """[M, N], how often each window is in each member's bootstrap resample (Efron 1979).

    A resample is as many draws with replacement as there are windows that can be drawn at all, so each row
    sums to that number. Member m's follows from (seed, m).
    """
    able = np.arange(windows) if chance is None else np.flatnonzero(chance)
    counts = np.empty((members, windows), np.float32)
    for m, row in enumerate(counts):
        rng = np.random.default_rng((seed, m, 1))  # the 1 keeps it apart from the order of epoch m
        row[:] = np.bincount(able[rng.integers(len(able), size=len(able))], minlength=windows)
    return counts


def shares(counts: NDArray[np.float32], chance: NDArray[np.float64] | None = None) -> NDArray[np.float32]:
    """[M, N], by what a drawn window's loss is multiplied, so that its expectation is that of the resample.

    Window i is drawn with probability p_i. Multiplied by c_i / Σ_j p_j c_j, its expected gradient is that of
    the resample's windows, each weighted by its p.
    """
    if chance is None:  # p = 1 / N, and a row of counts sums to N
        return counts
    return (counts / (counts @ chance)[:, None]).astype(np.float32)
