"""Cloning and DAgger with tables of counts, thousands of episodes of the slip road at once. NumPy only.

Nothing here knows the exact costs: worlds are simulated, states labelled, labels counted, policies read off
the counts, and costs measured.

Shapes: R learners that know nothing of each other, E episodes of each, S symbols, 3 actions, T steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.episode import Array
from understudy.experts.slip_road import RETURN, Road
from understudy.numerics import Estimate
from understudy.numerics.estimate import normal_quantile

__all__ = ["clone", "cost", "dagger", "drive", "fitted", "loglog_slope", "mean", "standard_error"]

Floats = NDArray[np.float64]


def drive(
    road: Road, table: Array | None, learners: int, episodes: int, random: np.random.Generator
) -> tuple[Floats, Array]:
    """Costs [R, E] of driving, and how often each symbol was visited with each label, [R, S, 3].

    Args:
        table: [R, S], what each learner does at each symbol; None: the expert drives.
    """
    symbols = road.contexts + 2
    who = np.broadcast_to(np.arange(learners)[:, None], (learners, episodes))
    off = np.zeros((learners, episodes), np.bool_)
    paid = np.zeros((learners, episodes))
    counts = np.zeros(learners * symbols * 3, np.int64)
    for _ in range(road.horizon):
        z = random.integers(road.contexts, size=off.shape)
        blank = random.random(off.shape) < 2 * road.epsilon
        symbol = np.where(off, road.off, np.where(blank, road.blank, z))
        label = np.where(off, RETURN, z % 2)
        counts += np.bincount(((who * symbols + symbol) * 3 + label).ravel(), minlength=counts.size)
        paid += off
        off = (label if table is None else table[who, symbol]) != label
    return paid, counts.reshape(learners, symbols, 3)


def fitted(counts: Array) -> Array:
    """[R, S]: the likeliest action at each symbol, from counts of labels [R, S, 3].

    At a symbol that was never labelled it is the action that was labelled most often anywhere: a table of
    counts does not invent an action that nobody has shown.
    """
    usual = counts.sum(1).argmax(-1)
    likeliest: Array = np.where(counts.any(-1), counts.argmax(-1), usual[:, None])
    return likeliest


def clone(road: Road, learners: int, episodes: int, random: np.random.Generator) -> Array:
    """[R, S], policies by behavioural cloning from so many demonstrations each."""
    return fitted(drive(road, None, learners, episodes, random)[1])


def dagger(road: Road, learners: int, episodes: int, rounds: int, random: np.random.Generator) -> Array:
    """[R, S], the last policies of DAgger with β_i = I(i = 0) (Ross et al. 2011, algorithm 3.1).

    In every round each learner drives so many episodes (the expert does in the first), the expert labels
    every state visited, and the policy is fitted anew to all labels so far.
    """
    _, counts = drive(road, None, learners, episodes, random)
    for _ in range(rounds - 1):
        counts = counts + drive(road, fitted(counts), learners, episodes, random)[1]
    return fitted(counts)


def cost(road: Road, table: Array, episodes: int, random: np.random.Generator) -> Floats:
    """[R], the mean cost of each learner over so many fresh episodes."""
    measured: Floats = drive(road, table, len(table), episodes, random)[0].mean(1)
    return measured


def mean(values: Floats, level: float = 0.95) -> Estimate:
    """The mean of independent values [n], with the normal interval from their standard error."""
    n = len(values)
    half = normal_quantile(level) * float(values.std(ddof=1)) / sqrt(n)
    middle = float(values.mean())
    return Estimate(middle, middle - half, middle + half, n, f"normal {100 * level:g} %")


def standard_error(e: Estimate) -> float:
    """Of an estimate made by `mean`."""
    return (e.high - e.low) / (2 * normal_quantile(0.95))


def loglog_slope(costs: Mapping[int, Estimate] | Sequence[tuple[int, Estimate]]) -> Estimate:
    """The least-squares slope of log cost on log T, with the interval that the costs' own errors give it.

    The costs are independent and their errors small beside them, so to first order the slope is a sum of
    them with known weights (the delta method). The interval says nothing about curvature: where the law is
    not a power of T exactly, the slope is that of the straight line that fits best over this grid.

    Raises:
        ValueError: when there are fewer than two horizons, or a cost is not positive.
    """
    pairs: list[tuple[int, Estimate]] = list(costs.items() if isinstance(costs, Mapping) else costs)
    if len({t for t, _ in pairs}) < 2 or min(e.value for _, e in pairs) <= 0:
        raise ValueError(
            "a slope needs at least two horizons with positive costs; measure more episodes: there are "
            + ", ".join(f"{e.value:g} at T = {t}" for t, e in pairs)
        )
    x = np.log([float(t) for t, _ in pairs])
    weight: Any = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    slope = float(sum(w * log(e.value) for w, (_, e) in zip(weight, pairs, strict=True)))
    spread = sqrt(
        sum((w * standard_error(e) / e.value) ** 2 for w, (_, e) in zip(weight, pairs, strict=True))
    )
    half = normal_quantile(0.95) * spread
    return Estimate(slope, slope - half, slope + half, len(pairs), "delta method 95 %")
