"""Objectworld and binaryworld: rewards that no linear function of their features can say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from understudy.tabular.mdp import TabularMDP
from understudy.tabular.worlds.grid import STAY, STRAIGHT, Ground, Wind, count, drift, share

__all__ = ["Thing", "binaryworld", "objectworld"]

_NEAR_FIRST, _NEAR_SECOND = 3.0, 2.0  # cells; the rule's two distances
_GOOD, _BAD = 4, 5  # blue cells of the nine that are rewarded, and that are punished


class Thing(NamedTuple):
    """An object on a grid: where it lies, and its two colours, counted from 0."""

    row: int
    col: int
    inner: int
    outer: int


def objectworld(
    size: int = 32,
    *,
    seed: int,
    objects: int | Sequence[Thing] = 50,
    inner_colours: int = 2,
    outer_colours: int = 2,
    features: str = "continuous",
    slip: float = 0.3,
    wind: Wind | None = None,
    discount: float = 0.9,
    horizon: int | None = None,
) -> TabularMDP:
    """Coloured objects dropped on a size x size grid (Levine, Popovic and Koltun 2011, section 6).

    A step is done in a cell, with the actions up, right, down, left and stay. It earns +1 within 3 cells of
    an object of outer colour 0 and within 2 of one of outer colour 1, -1 within 3 of outer colour 0 only, and
    else 0; inner and further outer colours distract. Distances are Euclidean, and within d is at most d.

    A transfer world is the same call with another seed: another placement under the same rule. The placement
    depends on the seed, the size, the objects and the numbers of colours alone, so slip and wind change only
    the dynamics.

    Args:
        objects: how many (in cells of their own, colours drawn evenly), or the objects themselves.
        features: "continuous" are the distances in cells to the nearest object of each inner and each outer
            colour (size * sqrt(2) where there is none); "discrete" are indicators that each is at most d, for
            d = 1, ..., size. The paper writes "less than d", of which its reward is no function.
        slip: the probability of making another action's move instead. wind: blows after every move.

    Raises:
        ValueError: when an argument breaks its rule, or an object lies outside or on another.
    """
    ground = Ground.of(count("size", size, 1), size)
    inner, outer = count("inner_colours", inner_colours, 1), count("outer_colours", outer_colours, 2)
    things = objects if isinstance(objects, Sequence) else _dropped(ground, objects, inner, outer, seed)
    _check(ground, things, inner, outer)
    distances = _distances(ground, things, inner, outer)
    first, second = distances[:, inner] <= _NEAR_FIRST, distances[:, inner + 1] <= _NEAR_SECOND
    names = [f"inner colour {k}" for k in range(inner)] + [f"outer colour {k}" for k in range(outer)]
    matrix, labels = _coloured(distances, names, features, size)
    moves = {**STRAIGHT, **STAY}
    return ground.world(
        drift(ground, moves, slip, wind),
        tuple(moves),
        matrix,
        np.where(first, np.where(second, 1.0, -1.0), 0.0),
        initial=None,
        discount=discount,
        horizon=horizon,
        name=f"objectworld {size} x {size}",
        feature_names=labels,
    )


def _dropped(ground: Ground, objects: int, inner: int, outer: int, seed: int) -> tuple[Thing, ...]:
    n = count("objects", objects, 1)
    if n > ground.states:
        raise ValueError(f"there are {n} objects for {ground.states} cells; each needs a cell of its own")
    generator = np.random.default_rng(seed)
    cells = generator.permutation(ground.states)[:n]
    colours = generator.integers([inner, outer], size=(n, 2))
    return tuple(
        Thing(*divmod(int(cell), ground.cols), int(i), int(o))
        for cell, (i, o) in zip(cells, colours, strict=True)
    )


def _check(ground: Ground, things: Sequence[Thing], inner: int, outer: int) -> None:
    if not things:
        raise ValueError("there are no objects; there must be at least one")
    for thing in things:
        ground.state((thing.row, thing.col))
        if not (0 <= thing.inner < inner and 0 <= thing.outer < outer):
            raise ValueError(f"{thing} has a colour outside the {inner} inner and {outer} outer colours")
    if len({(t.row, t.col) for t in things}) < len(things):
        raise ValueError("two objects lie in one cell; each needs a cell of its own")


def _distances(ground: Ground, things: Sequence[Thing], inner: int, outer: int) -> NDArray[np.float64]:
    """[S, inner + outer]: to the nearest object of each colour, in cells."""
    row, col = np.divmod(np.arange(ground.states), ground.cols)
    away = np.hypot(
        row[:, None] - np.array([t.row for t in things]), col[:, None] - np.array([t.col for t in things])
    )
    out = np.full((ground.states, inner + outer), np.hypot(ground.rows, ground.cols))
    for k, thing in enumerate(things):
        for colour in (thing.inner, inner + thing.outer):
            out[:, colour] = np.minimum(out[:, colour], away[:, k])
    return out


def _coloured(
    distances: NDArray[np.float64], names: Sequence[str], features: str, size: int
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    if features == "continuous":
        return distances, tuple(f"distance to {name}" for name in names)
    if features == "discrete":
        within = distances[:, :, None] <= np.arange(1, size + 1)
        labels = tuple(f"within {d} of {name}" for name in names for d in range(1, size + 1))
        return within.reshape(len(distances), -1).astype(np.float64), labels
    raise ValueError(f"features are {features!r}; they must be continuous or discrete")


def binaryworld(
    size: int = 32,
    *,
    seed: int,
    blue: float | NDArray[np.bool_] = 0.5,
    slip: float = 0.3,
    wind: Wind | None = None,
    discount: float = 0.9,
    horizon: int | None = None,
) -> TabularMDP:
    """Every cell of a size x size grid is blue or red at random (Wulfmeier, Ondruska and Posner 2015).

    The 9 features of a step are the colours (1 is blue) of the 3 x 3 cells around the one it is done in, row
    by row; outside the grid nothing is blue. It earns +1 where exactly 4 of the 9 are blue, -1 where exactly
    5 are, else 0. Actions, slipping, wind and transfer are as in `objectworld`.

    Args:
        blue: the probability that a cell is blue, or which are, bool [size, size].

    Raises:
        ValueError: when an argument breaks its rule.
    """
    ground = Ground.of(count("size", size, 1), size)
    if isinstance(blue, np.ndarray):
        if blue.shape != (size, size) or blue.dtype != np.bool_:
            raise ValueError(f"blue is {blue.dtype} {blue.shape}; it must be bool ({size}, {size})")
        colours = blue
    else:
        colours = np.random.default_rng(seed).random((size, size)) < share("blue", blue)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(colours, 1), (3, 3))
    matrix = around.reshape(ground.states, 9).astype(np.float64)
    total = matrix.sum(axis=1)
    moves = {**STRAIGHT, **STAY}
    return ground.world(
        drift(ground, moves, slip, wind),
        tuple(moves),
        matrix,
        np.where(total == _GOOD, 1.0, np.where(total == _BAD, -1.0, 0.0)),
        initial=None,
        discount=discount,
        horizon=horizon,
        name=f"binaryworld {size} x {size}",
        feature_names=tuple(f"blue at ({r:+d}, {c:+d})" for r in (-1, 0, 1) for c in (-1, 0, 1)),
    )
