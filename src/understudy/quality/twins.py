"""Demonstrations that repeat one another, bit for bit or nearly."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from understudy.episode import Episode
from understudy.quality.measures import Floats
from understudy.quality.neighbours import principal
from understudy.quality.values import Values

__all__ = ["nearest_twin", "twins"]

_POINTS = 16  # at which two trajectories are compared, evenly spaced in their own time
_COMPONENTS = 8  # of the trajectories, in which the nearest one is looked for
_FRAMES = 256  # rows that are hashed at once


def twins(episodes: Sequence[Episode]) -> list[list[int]]:
    """Groups of episodes whose observations and actions are equal bit for bit.

    Images are looked at only where everything else is equal already.
    """
    groups: dict[bytes, list[int]] = {}
    for i, e in enumerate(episodes):
        groups.setdefault(_digest(e, images=False), []).append(i)
    same = [g for g in groups.values() if len(g) > 1]
    if not any(len(column.shape) > 2 for column in episodes[0].obs.values()):
        return same
    out: list[list[int]] = []
    for group in same:
        parts: dict[bytes, list[int]] = {}
        for i in group:
            parts.setdefault(_digest(episodes[i], images=True), []).append(i)
        out += [g for g in parts.values() if len(g) > 1]
    return sorted(out)


def _digest(e: Episode, *, images: bool) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for key in sorted(e.obs):
        column = e.obs[key]
        if (len(column.shape) > 2) is images:
            for at in range(0, len(column), _FRAMES):
                digest.update(np.ascontiguousarray(column[at : at + _FRAMES]).data)
    digest.update(e.action.data)
    return digest.digest()


def nearest_twin(episodes: Sequence[Episode], values: Values) -> tuple[Floats, NDArray[np.intp]]:
    """[E] the distance in stds of each episode to the one most like it, and [E] which one that is.

    Trajectories are compared at 16 points evenly spaced in their own time, by the root mean square over
    points and values. The nearest is looked for in their first 8 principal components, with a tree: time
    grows as E log E.
    """
    from scipy.spatial import cKDTree

    rows = []
    for e in episodes:
        x = values.scaled(values.states(e))
        at = np.linspace(0, len(x) - 1, _POINTS)
        low = at.astype(np.int64)
        high = np.minimum(low + 1, len(x) - 1)
        rows.append((x[low] + (at - low)[:, None] * (x[high] - x[low])).ravel())
    paths = np.stack(rows)
    mean, directions = principal(paths, _COMPONENTS)
    reduced = (paths - mean) @ directions
    near = cKDTree(reduced).query(reduced, k=2)[1]
    other = np.where(near[:, 0] == np.arange(len(paths)), near[:, 1], near[:, 0])
    return np.sqrt(((paths - paths[other]) ** 2).mean(1)), other
