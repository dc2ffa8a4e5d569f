"""Which demonstrations teach most: their shares in the mutual information of state and action."""

from __future__ import annotations

import numpy as np

from understudy.dataset import Dataset
from understudy.numerics import ksg
from understudy.quality.measures import Floats
from understudy.quality.neighbours import Sample, principal, sample
from understudy.quality.values import Dims, scales_of

__all__ = ["information", "rank"]

_BATCH = 1024  # samples that are compared with one another
_STATE_DIMS, _ACTION_DIMS = 3, 2
_NEIGHBOURS = 5
_TRIM = 0.01  # of the contributions at either end, which single samples decide
_TIES = 1e-6  # stds of noise, so that no two samples are the same


def information(drawn: Sample, count: int, seed: int = 0) -> Floats:
    """[E], the mean contribution of each episode's samples to I(state; action), in nats; NaN without samples.

    As in DemInf (Hejna et al. 2025): the KSG estimator in random batches, so that time grows with the number
    of samples and not its square, its contributions clipped to the 1 % and 99 % quantiles. States are their
    first 3 principal components and actions their first 2, in place of learned embeddings.
    """
    rng = np.random.default_rng(seed)
    use = np.flatnonzero(drawn.acted)
    if len(use) <= _NEIGHBOURS or not (drawn.state.shape[1] and drawn.action.shape[1]):
        return np.full(count, np.nan)
    state, action = _reduced(drawn.state[use], _STATE_DIMS), _reduced(drawn.action[use], _ACTION_DIMS)
    state, action = (x + _TIES * rng.normal(size=x.shape) for x in (state, action))
    given = np.empty(len(use))
    for part in np.array_split(rng.permutation(len(use)), max(1, round(len(use) / _BATCH))):
        given[part] = ksg(state[part], action[part], _NEIGHBOURS)
    given = np.clip(given, *np.quantile(given, [_TRIM, 1 - _TRIM]))
    total, rows = (np.bincount(drawn.episode[use], w, count) for w in (given, None))
    return np.where(rows > 0, total / np.maximum(rows, 1), np.nan)


def _reduced(x: Floats, most: int) -> Floats:
    mean, directions = principal(x, most)
    return (x - mean) @ directions


def rank(data: Dataset, *, chunk: int = 1, angles: Dims | None = None, seed: int = 0) -> Floats:
    """[E], how much each demonstration tells about which action a state asks for, in nats; more is better.

    Each one's mean contribution to an estimate of the mutual information of state and action (`information`).
    What is predictable and varied adds to it; noise, hesitation and solutions that contradict the others do
    not. It is a signal to rank by, for looking or for leaving out the last few, and no verdict: it favours
    the usual way of doing a task over a rare one, and knows nothing of success.

    Args:
        chunk: actions from each state on that are taken together.
        angles: observation name -> the dims that are angles in radians.

    Raises:
        ValueError: when the dataset is empty, or has nothing but images, or nothing varies in it.

    >>> from understudy.episode import Episode
    >>> rng = np.random.default_rng(0)
    >>> def told(noise):
    ...     s = rng.normal(size=(41, 2)).cumsum(0)
    ...     return Episode.demonstration(s, s[:-1] + noise * rng.normal(size=(40, 2)))
    >>> scores = rank(Dataset([told(0.0) for _ in range(16)] + [told(2.0) for _ in range(4)]))
    >>> bool(scores[:16].min() > scores[16:].max())
    True
    """
    if not len(data):
        raise ValueError("the dataset is empty; there is nothing to rank")
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}; it must be at least 1")
    episodes, values = scales_of(data, angles)
    scores = information(sample(episodes, values, chunk=chunk, seed=seed), len(data), seed)
    if np.isnan(scores).any():
        raise ValueError("states or actions never change, or there are too few; nothing can be ranked")
    return scores
