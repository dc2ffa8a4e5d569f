"""Demonstrations against one another: at like states, do they act alike, and where do they stop?

All of it rests on one sample of states: evenly spaced in every episode, 8192 in all at most (two of every
episode at least), drawn by a seed; distances are in stds, over the first 8 principal components.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from understudy.dataset import Dataset
from understudy.episode import Episode, Mask
from understudy.quality.measures import Floats
from understudy.quality.values import Dims, Values, scales_of

__all__ = ["Sample", "coverage", "distance", "neighbours", "principal", "sample"]

_STATES = 8192
_COMPONENTS = 8
_NEAREST = 8  # neighbours, all of other episodes
_CELLS, _CELL_DIMS = 6, 3
_ROWS = 512  # of the distance matrix at a time


@dataclass(frozen=True)
class Sample:
    """States of all episodes: `state` [N, D], `action` [N, A] from there, `acted` [N] where there is one,
    `episode` [N], `done` [N] the share of its episode's way that lies behind it. Each episode's last state is
    among them; no action follows it, so the one before stands in its place."""

    state: Floats
    action: Floats
    acted: Mask
    episode: NDArray[np.int64]
    done: Floats


def sample(episodes: Sequence[Episode], values: Values, *, chunk: int = 1, seed: int = 0) -> Sample:
    """Draws the sample; with `chunk` > 1 an action is so many of them from there on, the last repeated."""
    rng = np.random.default_rng(seed)
    most = max(2, _STATES // len(episodes)) - 1
    states, actions, acted, done = [], [], [], []
    for e in episodes:
        n = len(e)
        at = np.arange(n)
        if n > most:  # one in each of `most` equal parts, at the same place in each
            at = np.minimum(((np.arange(most) + rng.random()) * n / most).astype(np.int64), n - 1)
        rows = np.append(at, n)
        ahead = np.minimum(rows[:, None] + np.arange(chunk), n - 1)
        seen = values.states(e)
        states.append(values.scaled(seen[rows]))
        actions.append(values.scaled_actions(values.actions(e))[ahead].reshape(len(rows), -1))
        acted.append(rows < n)
        done.append(_way(values.moved(seen) if values.motion.any() else values.scaled(seen))[rows])
    which = np.repeat(np.arange(len(episodes)), [len(d) for d in done])
    return Sample(
        np.concatenate(states), np.concatenate(actions), np.concatenate(acted), which, np.concatenate(done)
    )


def _way(path: Floats) -> Floats:
    """[T + 1], the share of a path [T + 1, M] that lies behind each of its points; in steps if none moves."""
    gone = np.concatenate([[0.0], np.cumsum(np.sqrt((np.diff(path, axis=0) ** 2).sum(1)))])
    return gone / gone[-1] if gone[-1] > 0 else np.linspace(0, 1, len(gone))


def principal(x: Floats, most: int) -> tuple[Floats, Floats]:
    """Mean [D] and the directions [D, up to `most`] of the largest variance of rows [N, D]."""
    mean = x.mean(0)
    centred = x - mean
    _, directions = np.linalg.eigh(centred.T @ centred)
    return mean, directions[:, ::-1][:, :most]


def _nearest(
    x: Floats, x_of: NDArray[np.int64], y: Floats, y_of: NDArray[np.int64]
) -> tuple[NDArray[np.intp], Floats]:
    """[N, k] rows of y that are nearest to each row of x and of other episodes, and their distances.

    Brute force: one matrix product costs the same for any data, where trees degenerate.
    """
    k = min(_NEAREST, len(y) - 1)
    index, far = np.zeros((len(x), k), np.intp), np.full((len(x), k), np.inf)
    squares = (y**2).sum(1)
    for at in range(0, len(x), _ROWS):
        rows = slice(at, at + _ROWS)
        d = (x[rows] ** 2).sum(1)[:, None] + squares - 2 * x[rows] @ y.T
        d[x_of[rows, None] == y_of] = np.inf
        near = np.argpartition(d, k - 1, axis=1)[:, :k]
        index[rows], far[rows] = near, np.sqrt(np.maximum(np.take_along_axis(d, near, 1), 0))
    return index, far


def _per_episode(count: int, which: NDArray[np.int64], x: Floats, use: NDArray[np.bool_]) -> Floats:
    """[E], the mean of x [N] over an episode's rows in `use`; NaN where it has none."""
    total = np.bincount(which[use], x[use], minlength=count)
    rows = np.bincount(which[use], minlength=count)
    return np.where(rows > 0, total / np.maximum(rows, 1), np.nan)


def neighbours(drawn: Sample, count: int) -> dict[str, Floats]:
    """Disagreement, novelty and what was left unfinished, each [E]; empty for fewer than three episodes.

    Disagreement is the root mean square distance, over action dimensions, of an action to the mean action of
    the 8 nearest states of other episodes (kNN-conditional variance; Belkhale et al. 2023), averaged over
    the episode. Novelty is the mean distance to those states. Unfinished is the median share of the way
    that lay ahead of the neighbours of the state where an episode stops.
    """
    if count < 3 or not drawn.state.shape[1]:
        return {}
    mean, directions = principal(drawn.state, _COMPONENTS)
    x = (drawn.state - mean) @ directions
    index, far = _nearest(x, drawn.episode, x, drawn.episode)
    valid = np.isfinite(far)
    counted = valid & drawn.acted[index]
    weight = counted / np.maximum(counted.sum(1, keepdims=True), 1)
    usual = (drawn.action[index] * weight[..., None]).sum(1)
    gap = np.sqrt(((drawn.action - usual) ** 2).mean(1)) if drawn.action.shape[1] else np.zeros(len(x))
    judged: Mask = np.logical_and(drawn.acted, counted.any(axis=1))
    ahead = 1 - np.where(valid, drawn.done[index], np.nan)
    last = np.flatnonzero(~drawn.acted)
    return {
        "disagreement": _per_episode(count, drawn.episode, gap, judged),
        "novelty": _per_episode(count, drawn.episode, _mean_finite(far), np.ones(len(x), np.bool_)),
        "unfinished": np.nanmedian(ahead[last], axis=1),
    }


def coverage(drawn: Sample, count: int) -> Floats:
    """[E], the share of the occupied cells of the state space that an episode visits.

    Cells are 6 equal parts, from the 1 % to the 99 % quantile, of each of the first 3 principal components.
    """
    mean, directions = principal(drawn.state, _CELL_DIMS)
    x = (drawn.state - mean) @ directions
    low, high = np.quantile(x, [0.01, 0.99], axis=0)
    part = np.clip((x - low) / np.maximum(high - low, 1e-12) * _CELLS, 0, _CELLS - 1).astype(np.int64)
    cell = part @ (_CELLS ** np.arange(x.shape[1]))
    visited = np.unique(np.stack([drawn.episode, cell], 1), axis=0)
    return np.bincount(visited[:, 0], minlength=count) / len(np.unique(cell))


def distance(data: Dataset, held_out: Dataset, *, angles: Dims | None = None, seed: int = 0) -> Floats:
    """[E of held_out], how far each held-out demonstration is from the others: about 1 where it is like them.

    The mean distance of its states to the 8 nearest of `data`, in units of the median that an episode of
    `data` has to the others. Far above 1, a policy trained on `data` is asked for what it has not seen.
    Time grows with the product of both samples, 8192 states each at most.

    Raises:
        ValueError: when the datasets are not alike, or `data` has fewer than three episodes.

    >>> t = np.linspace(0, 1, 20)[:, None]
    >>> made = lambda at: [Episode.demonstration(t + x, np.ones((19, 1))) for x in at]
    >>> far = distance(Dataset(made([0.0, 0.1, 0.2, 0.3])), Dataset(made([0.15, 5.0])))
    >>> bool(far[0] < 2), bool(far[1] > 10)
    (True, True)
    """
    if len(data) < 3 or not len(held_out):
        raise ValueError(f"{len(data)} and {len(held_out)} episodes; at least 3 and 1 are needed")
    if data.schema != held_out.schema:
        raise ValueError("the held-out episodes differ from the others in observations or actions")
    episodes, values = scales_of(data, angles)
    ours, theirs = sample(episodes, values, seed=seed), sample(list(held_out), values, seed=seed)
    mean, directions = principal(ours.state, _COMPONENTS)
    x, y = (ours.state - mean) @ directions, (theirs.state - mean) @ directions
    _, within = _nearest(x, ours.episode, x, ours.episode)
    _, across = _nearest(y, np.full(len(y), -1), x, ours.episode)
    everywhere = np.ones(len(x), np.bool_)
    usual = float(np.median(_per_episode(len(data), ours.episode, _mean_finite(within), everywhere)))
    far = _per_episode(len(held_out), theirs.episode, _mean_finite(across), np.ones(len(y), np.bool_))
    return far / usual if usual > 0 else np.where(far > 0, np.inf, 1.0)


def _mean_finite(far: Floats) -> Floats:
    """[N], over the neighbours that there are."""
    some = np.isfinite(far)
    mean: Floats = np.where(some, far, 0).sum(1) / np.maximum(some.sum(1), 1)
    return mean
