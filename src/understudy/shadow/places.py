"""When and where a policy disagrees: by step, by share of the episode, and on maps of the states.

Shapes: E episodes; T steps of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from understudy.episode import Episode
from understudy.numerics import Estimate, bootstrap
from understudy.quality.neighbours import principal
from understudy.shadow.measure import Floats, Shadow

if TYPE_CHECKING:
    from understudy.envs import View

__all__ = ["Map", "Stretch", "by_share", "by_step", "maps"]

_ROWS = 20_000  # states that principal components are computed from


@dataclass(frozen=True)
class Stretch:
    """A part of the way: [start, stop) in steps or in shares of the episode, and the mean disagreement there.

    The interval is the bootstrap's over episodes, which are independent of one another as steps are not.
    """

    start: float
    stop: float
    mean: Estimate


@dataclass(frozen=True, eq=False)
class Map:
    """Mean disagreement in the cells of a grid over two coordinates of the states.

    Args:
        title: what the coordinates are, in words. labels: one a coordinate, units included.
        x, y: [n + 1], the edges of the cells.
        mean: [n, n], by (x, y); not a number where nobody was.
        steps: [n, n], how many were there.
    """

    title: str
    labels: tuple[str, str]
    x: Floats
    y: Floats
    mean: Floats
    steps: NDArray[np.int64]


def by_step(shadow: Shadow, most: int = 24) -> list[Stretch]:
    """Disagreement by the number of the step, in at most `most` stretches of equal length."""
    longest = max(len(e) for e in shadow.data)
    edges = np.unique(np.linspace(0, longest, min(most, longest) + 1).round().astype(int))
    return _stretches(shadow, [np.arange(len(e)) for e in shadow.data], edges.astype(np.float64))


def by_share(shadow: Shadow, parts: int = 20) -> list[Stretch]:
    """Disagreement by the share of the episode that has passed, in equal parts."""
    shares = [(np.arange(len(e)) + 0.5) / len(e) for e in shadow.data]
    return _stretches(shadow, shares, np.linspace(0.0, 1.0, parts + 1))


def _stretches(shadow: Shadow, where: Sequence[NDArray[np.generic]], edges: Floats) -> list[Stretch]:
    """One for each pair of edges with anything in it; each episode counts once, with its mean there."""
    found = []
    for low, high in pairwise(edges):
        means = []
        for d, at in zip(shadow.disagreement, where, strict=True):
            inside = d[(at >= low) & (at < high) & np.isfinite(d)]
            if len(inside):
                means.append(float(inside.mean()))
        if means:
            found.append(Stretch(float(low), float(high), bootstrap(means)))
    return found


def maps(shadow: Shadow, view: View | None = None, cells: int = 12) -> list[Map]:
    """Where it disagrees: in the coordinates that the task names, and among all observed numbers.

    The first map has the two named coordinates that vary most, and is left out without a view or where fewer
    than two vary. The second has the two largest principal components of everything observed but pictures,
    each number in units of its standard deviation, and is left out where fewer than two numbers vary.
    """
    found = []
    schema = {k: shape for k, (_, shape) in shadow.data.schema.items()}
    if view is not None and len(view.dims) > 1 and max(view.dims) < (*schema.get(view.key, ()), 0)[0]:
        states = [np.asarray(e.obs[view.key][:-1, list(view.dims)], np.float64) for e in shadow.data]
        chosen = np.sort(np.argsort(-np.concatenate(states).std(0), kind="stable")[:2])
        unit = f" ({view.unit})" if view.unit else ""
        labels = (view.labels[chosen[0]] + unit, view.labels[chosen[1]] + unit)
        found.append((f"{labels[0]} and {labels[1]} of {view.key}", labels, [s[:, chosen] for s in states]))
    if (plane := _components(shadow.data)) is not None:
        found.append(("the two largest principal components", ("component 1", "component 2"), plane))
    made = [_map(title, labels, points, shadow, cells) for title, labels, points in found]
    return [m for m in made if m is not None]


def _components(data: Iterable[Episode]) -> list[Floats] | None:
    """E of [T, 2]; None where fewer than two numbers vary."""
    states = []
    for e in data:
        plain = [v[:-1] for k, v in sorted(e.obs.items()) if v.dtype != np.uint8]
        if not plain:
            return None
        states.append(np.concatenate([np.asarray(v, np.float64).reshape(len(v), -1) for v in plain], 1))
    rows = np.concatenate(states)
    spread = rows.std(0)
    moves = spread > 1e-6 * np.maximum(1.0, np.abs(rows.mean(0)))
    if moves.sum() < 2:
        return None
    scaled = [s[:, moves] / spread[moves] for s in states]
    some = np.concatenate(scaled)[:: max(1, -(-len(rows) // _ROWS))]
    mean, axes = principal(some, 2)
    axes = axes * np.where(axes[np.abs(axes).argmax(0), [0, 1]] < 0, -1.0, 1.0)  # one sign on every machine
    return [(s - mean) @ axes for s in scaled]


def _map(title: str, labels: tuple[str, str], points: list[Floats], shadow: Shadow, cells: int) -> Map | None:
    at, d = np.concatenate(points), np.concatenate(shadow.disagreement)
    at, d = at[np.isfinite(d)], d[np.isfinite(d)]
    low, high = at.min(0), at.max(0)
    if not (high > low).all():
        return None
    x, y = (np.linspace(a, b, cells + 1) for a, b in zip(low, high, strict=True))
    i, j = (np.minimum((cells * (at - low) / (high - low)).astype(int), cells - 1)).T
    steps, total = np.zeros((cells, cells), np.int64), np.zeros((cells, cells))
    np.add.at(steps, (i, j), 1)
    np.add.at(total, (i, j), d)
    mean = np.divide(total, steps, out=np.full((cells, cells), np.nan), where=steps > 0)
    return Map(title, labels, x, y, mean, steps)
