"""Marks by which a discriminator could tell demonstrations from a policy without asking who is skilled.

Each `about_...` compares what stands in the demonstrations with what the environment itself gives, and yields
one finding, which names the columns and the number.

Shapes: E episodes, T steps of one of them, O values of all observations side by side, A of the action.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from understudy.episode import Array, Episode
from understudy.quality.types import Finding

__all__ = ["JUDGED", "LEAKS", "Side", "Sides", "clipped", "side_of"]

# What only a discriminator goes by; everything else is wrong with demonstrations for any method.
JUDGED = frozenset({"clipped", "float-width", "time-like"})
_CLIPPED = 0.02  # of a column's actions, from which standing exactly at a bound is named
_TIMES = 5  # that the largest of a column's actions is met at least, for it to be a bound
_HELD = 20  # different values of a column at least, for their width to mean anything
_COARSE, _FINE = 0.95, 0.5  # shares of coarse values on the one side and on the other
_DECIMALS = 4  # a value with no more of them is coarse
_STILL = 1e-6  # of the size of a column: what varies less does not vary
_SIGMAS = 6.0  # of the mean of the first observations: one false alarm in 10^8 columns
_WIDER = 5.0  # times, that first observations spread more or less; asked of 8 episodes and more
_CLOCK = 1e-3  # of its mean: the spread of a clock's increments


@dataclass(frozen=True)
class Side:
    """What one side did: of each episode the observations [T + 1, O] and the actions [T, A], raw."""

    obs: tuple[Array, ...]
    action: tuple[Array, ...]

    @property
    def states(self) -> Array:
        """[N, O] of all episodes."""
        return np.concatenate(self.obs)

    @property
    def actions(self) -> Array:
        """[N, A] of all episodes."""
        return np.concatenate(self.action)


@dataclass(frozen=True)
class Sides:
    """Demonstrations beside the environment.

    Args:
        expert: the demonstrations.
        beginner: uniformly random actions in the environment, in whole episodes or parts of them.
        resets: first observations of the environment, [R, O].
        names: of the columns of observations. actions: of the columns of actions.
        low, high: bounds of actions, [A]; infinite where there is none.
    """

    expert: Side
    beginner: Side
    resets: Array
    names: Sequence[str]
    actions: Sequence[str]
    low: Array
    high: Array


def side_of(episodes: Sequence[Episode], widths: Mapping[str, int]) -> Side:
    """One side from episodes: observations of these names and widths side by side, as float32."""
    obs = [
        np.concatenate(
            [np.asarray(e.obs[k], np.float32).reshape(len(e) + 1, w) for k, w in widths.items()], 1
        )
        for e in episodes
    ]
    return Side(tuple(obs), tuple(np.asarray(e.action, np.float32) for e in episodes))


def clipped(action: Array, low: Array, high: Array) -> Array:
    """[A], the share of actions [N, A] that stand exactly at one of their bounds [A]."""
    share: Array = ((action <= low) | (action >= high)).mean(0)
    return share


def about_clipping(sides: Sides) -> Iterator[Finding]:
    """Actions exactly at a bound, which tanh never reaches; and bounds within those of the task."""
    action = sides.expert.actions
    share = clipped(action, sides.low, sides.high)
    if found := np.flatnonzero(share >= _CLIPPED).tolist():
        most = max(found, key=lambda i: share[i])
        yield Finding(
            "warning",
            "clipped",
            f"up to {share[most]:.1%} of the demonstrations' steps have {_listed(sides.actions, found)} "
            "exactly at a bound, which a squashed policy (of dac, sqil, airl-sac, ...) never reaches",
            "Learn a reward of states alone (--reads state), or put noise on the discriminator's actions",
        )
    size = np.abs(action)
    top = size.max(0)
    inside = (top < 0.999 * np.minimum(-sides.low, sides.high)) & (top > 0)
    held = (size >= top * (1 - 1e-6)).mean(0)
    often = held >= np.maximum(_CLIPPED, _TIMES / len(action))  # the largest of anything stands there once
    if found := np.flatnonzero(inside & often).tolist():
        i = found[0]
        yield Finding(
            "warning",
            "other-bounds",
            f"{held[i]:.1%} of the demonstrations' steps have {_listed(sides.actions, found)} at "
            f"±{top[i]:.4g} and none goes further, but the task takes up to {sides.high[i]:.4g}",
            "The actions look scaled or clipped for other bounds: bring them into the task's units",
        )


def about_width(sides: Sides) -> Iterator[Finding]:
    """Values with few decimals, or of half precision, on one side only."""
    pairs = [(n, a, b) for n, a, b in _columns(sides.names, sides.expert.states, sides.beginner.states)]
    inside = np.where(_at_bounds(sides), np.nan, sides.expert.actions)
    pairs += list(_columns(sides.actions, inside, sides.beginner.actions))
    found = {}
    for name, expert, beginner in pairs:
        if (a := _coarse(expert)) is None or (b := _coarse(beginner)) is None:
            continue
        if max(a, b) >= _COARSE and min(a, b) < _FINE:
            found[name] = (a, b)
    if found:
        a, b = next(iter(found.values()))
        yield Finding(
            "warning",
            "float-width",
            f"{a:.0%} of the demonstrations' values of {_listed(list(found), range(len(found)))} have at "
            f"most {_DECIMALS} decimals or half precision, and {b:.0%} of the environment's",
            "Record in full precision, or put noise on the discriminator's inputs",
        )


def about_clocks(sides: Sides) -> Iterator[Finding]:
    """Columns that tell the time of the episode: how far a rollout has come says who made it."""
    expert = [np.diff(x.astype(np.float64), axis=0) for x in sides.expert.obs if len(x) > 3]
    beginner = [np.diff(x.astype(np.float64), axis=0) for x in sides.beginner.obs if len(x) > 3]
    if not expert or not beginner:
        return
    clock = np.all([_even(d) for d in expert], axis=0)
    rising = np.all([_monotone(d) for d in expert + beginner], axis=0)
    if found := np.flatnonzero(clock | rising).tolist():
        i = found[0]
        rate = np.mean([d[:, i].mean() for d in expert])
        yield Finding(
            "warning",
            "time-like",
            f"the time is told by {_listed(sides.names, found)}: one way only within each of "
            f"{len(expert)} demonstrations, by {rate:.3g} a step on average",
            "Leave such a column out of what the reward reads: it pays for when, not for what",
        )


def about_constants(sides: Sides) -> Iterator[Finding]:
    """Columns that stand still in the demonstrations and move in the environment."""
    expert, beginner = sides.expert.states.astype(np.float64), sides.beginner.states.astype(np.float64)
    size = np.maximum(np.abs(beginner).max(0), 1.0)
    if found := np.flatnonzero(
        (np.ptp(expert, 0) <= _STILL * size) & (np.ptp(beginner, 0) > 1e-3 * size)
    ).tolist():
        i = found[0]
        yield Finding(
            "warning",
            "constant",
            f"nothing in the demonstrations changes {_listed(sides.names, found)} ({expert[0, i]:.4g}), "
            f"which varies by {np.ptp(beginner[:, i]):.3g} in the environment",
            "Any other value there gives the policy away: record more varied demonstrations, or leave it out",
        )


def about_beginnings(sides: Sides) -> Iterator[Finding]:
    """First observations unlike the environment's own: another version, or another normalisation."""
    expert = np.stack([x[0] for x in sides.expert.obs]).astype(np.float64)
    resets = sides.resets.astype(np.float64)
    size = np.maximum(sides.beginner.states.std(0).astype(np.float64), _STILL)
    spread, gap = resets.std(0), expert.mean(0) - resets.mean(0)
    still = spread <= _STILL * np.maximum(np.abs(resets).max(0), 1.0)
    noise = np.maximum(spread, _STILL * size) * np.sqrt(1 / len(expert) + 1 / len(resets))
    moved = np.where(still, np.abs(gap) > 1e-2 * size, np.abs(gap) > _SIGMAS * noise)
    if len(expert) >= 8:
        ratio = expert.std(0) / np.where(still, 1.0, spread)
        moved |= ~still & ((ratio > _WIDER) | (ratio < 1 / _WIDER))
    if found := np.flatnonzero(moved).tolist():
        i = max(found, key=lambda j: abs(gap[j]) / size[j])
        yield Finding(
            "warning",
            "other-beginnings",
            f"the first observations of {len(expert)} demonstrations are not those of {len(resets)} resets "
            f"of the task in {_listed(sides.names, found)}: {sides.names[i]} has mean "
            f"{expert[:, i].mean():.4g} and std {expert[:, i].std():.3g} there, {resets[:, i].mean():.4g} "
            f"and {spread[i]:.3g} here",
            "Another version of the task or another normalisation: bring the demonstrations into its units",
        )


LEAKS = (about_clipping, about_width, about_clocks, about_constants, about_beginnings)


def _listed(names: Sequence[str], which: Sequence[int]) -> str:
    shown = ", ".join(names[i] for i in which[:4])
    return f"{shown}{f' and {len(which) - 4} more' if len(which) > 4 else ''}"


def _columns(names: Sequence[str], a: Array, b: Array) -> Iterator[tuple[str, Array, Array]]:
    return ((name, a[:, i], b[:, i]) for i, name in enumerate(names))


def _at_bounds(sides: Sides) -> Array:
    action = sides.expert.actions
    at: Array = (action <= sides.low) | (action >= sides.high)
    return at


def _coarse(x: Array) -> float | None:
    """The share of coarse numbers among the different ones that are no integers; None where these are few."""
    x = np.unique(x[np.isfinite(x)].astype(np.float32))
    x = x[x != np.round(x)]
    if len(x) < _HELD:
        return None
    with np.errstate(over="ignore"):
        half = x.astype(np.float16).astype(np.float32) == x
    return float((half | (np.round(x, _DECIMALS).astype(np.float32) == x)).mean())


def _monotone(steps: Array) -> Array:
    """[O], whether a column of increments [T, O] goes one way only, and goes anywhere."""
    one: Array = ((steps >= 0).all(0) | (steps <= 0).all(0)) & (steps != 0).any(0)
    return one


def _even(steps: Array) -> Array:
    """[O], whether all increments [T, O] of a column are the same, and not zero."""
    mean = np.abs(steps.mean(0))
    even: Array = (mean > 1e-9) & (steps.std(0) <= _CLOCK * mean)
    return even
