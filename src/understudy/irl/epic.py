"""EPIC: how far apart two rewards are, whatever their scale, their shift and their potential shaping.

Gleave, Dennis, Legg, Russell and Leike 2021, "Quantifying differences in reward functions". Exact for rewards
in tables; by samples for rewards that are functions, see `understudy.irl.sampled_epic`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import sqrt
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Coverage", "TrivialReward", "canonical", "epic_distance", "half_gap"]

Floats: TypeAlias = NDArray[np.float64]
Block: TypeAlias = tuple[Floats, Floats, Floats]  # two rewards and the weights of the transitions, [n] each

_SUM = 1e-9  # how far a distribution's sum may lie from 1
_FLAT = 1e-12  # a spread this small against the reward's own size is rounding
_ENTRIES = 1 << 20  # transitions that are looked at together, so that memory stays bounded


class TrivialReward(ValueError):
    """A reward that is the same as no reward at all, from which nothing has a distance by correlation."""


@dataclass(frozen=True, eq=False)
class Coverage:
    """Which transitions count, and how much: what a distance of rewards is a distance on.

    Two rewards can agree where one distribution looks and not where another does, so it has no default.

    Args:
        state: [S], the distribution of S and of S' in the canonical form.
        action: [S, A], the distribution of A in each state; every row sums to 1, also where nothing is done
            (of a terminal state any row will do: its rewards are part of the tables that are compared).
        joint: [S*A, S], sparse, weights of the transitions (s, a, s') that are compared, which sum to 1;
            None: s from `state`, a from `action`, s' from `state`, each for itself, as in the paper.

    Raises:
        ValueError: when a shape does not fit, a weight is negative or not finite, or a sum is not 1.
    """

    state: Floats
    action: Floats
    joint: Any = None

    def __post_init__(self) -> None:
        state, action = np.asarray(self.state, np.float64), np.asarray(self.action, np.float64)
        if state.ndim != 1 or action.ndim != 2 or len(action) != len(state) or not action.size:
            raise ValueError(
                f"state has shape {state.shape}, action {action.shape}; [S] and [S, A] are needed"
            )
        _distribution("state", state, state.sum())
        _distribution("action", action, action.sum(1))
        object.__setattr__(self, "state", state)
        object.__setattr__(self, "action", action)
        if self.joint is not None:
            from scipy.sparse import coo_array

            joint = coo_array(self.joint, dtype=np.float64)
            if joint.shape != (action.size, len(state)):
                raise ValueError(f"joint has shape {joint.shape}; {(action.size, len(state))} is needed")
            _distribution("joint", joint.data, joint.data.sum())
            object.__setattr__(self, "joint", joint)

    @classmethod
    def uniform(cls, states: int, actions: int) -> Coverage:
        """Every state, action and next state alike."""
        if states < 1 or actions < 1:
            raise ValueError(
                f"there are {states} states and {actions} actions; at least one of each is needed"
            )
        return cls(np.full(states, 1 / states), np.full((states, actions), 1 / actions))

    @classmethod
    def along(cls, transition: Any, visits: ArrayLike) -> Coverage:
        """What happens: steps as often as they are visited, and next states as the world brings them about.

        Args:
            transition: [S*A, S], sparse; row s*A + a is P(. | s, a), empty where nothing is done.
            visits: [S, A], how often each step is visited, on any scale, such as an occupancy.

        Raises:
            ValueError: when no visited step leads anywhere, or a count is negative.
        """
        from scipy.sparse import csr_array

        counts, rows = np.asarray(visits, np.float64), csr_array(transition)
        if counts.ndim != 2 or rows.shape != (counts.size, len(counts)):
            raise ValueError(f"visits have shape {counts.shape}, transitions {rows.shape}; they do not fit")
        led = np.where(rows.sum(1).reshape(counts.shape) > 0, counts, 0.0)
        if not np.isfinite(led).all() or (led < 0).any() or not led.any():
            raise ValueError(
                "visits must be counts of steps, not negative, with at least one that leads anywhere"
            )
        led = led / led.sum()
        state = led.sum(1)
        with np.errstate(invalid="ignore"):
            action = np.where(state[:, None] > 0, led / state[:, None], 1 / led.shape[1])
        scaled = rows.multiply(led.reshape(-1, 1)).tocoo()
        return cls(state, action, scaled)


def _distribution(name: str, weights: Floats, sums: Any) -> None:
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(f"{name} has a weight that is negative or not finite")
    if (off := float(np.abs(np.asarray(sums) - 1).max())) > _SUM:
        raise ValueError(f"{name} sums to 1 only within {off:.2g}; it must be a distribution")


@dataclass(frozen=True, eq=False)
class _Canonical:
    """C(r)(s, a, s') = base[s, a] + full[s, a, s'] + after[s']; full is None for rewards of steps."""

    base: Floats
    full: Floats | None
    after: Floats
    size: float  # the largest reward, against which a spread is seen to be none


def _parts(reward: ArrayLike, discount: float, coverage: Coverage) -> _Canonical:
    r = np.asarray(reward, np.float64)
    states, actions = coverage.action.shape
    shapes = ((states,), (states, actions), (states, actions, states))
    if r.shape not in shapes:
        raise ValueError(f"a reward has shape {r.shape}; one of {', '.join(map(str, shapes))} is needed")
    if not np.isfinite(r).all():
        raise ValueError("a reward has a value that is not finite")
    if r.ndim == 1:
        r = np.broadcast_to(r[:, None], (states, actions))
    steps = r @ coverage.state if r.ndim == 3 else r  # E r(s, a, S')
    mean = (coverage.action * steps).sum(1)  # [S], E r(s, A, S')
    constant = mean + discount * (coverage.state @ mean)
    base = np.broadcast_to(-constant[:, None], (states, actions)) + (0 if r.ndim == 3 else r)
    return _Canonical(base, r if r.ndim == 3 else None, discount * mean, float(np.abs(r).max()))


def canonical(reward: ArrayLike, discount: float, coverage: Coverage) -> Floats:
    """[S, A, S']: C(r)(s, a, s') = r(s, a, s') + E[g r(s', A, S') - r(s, A, S') - g r(S, A, S')].

    Gleave et al. 2021, definition 4.1. The same for r and for r + g p(s') - p(s), whatever p is.

    Args:
        reward: [S], of being in a state; [S, A], of a step; or [S, A, S'], of a transition.
        discount: g, in [0, 1].

    Raises:
        ValueError: for another shape, a value that is not finite, or another discount.
    """
    _check_discount(discount)
    c = _parts(reward, discount, coverage)
    steps = c.base[:, :, None] + c.after
    return steps if c.full is None else steps + c.full


def epic_distance(first: ArrayLike, second: ArrayLike, discount: float, coverage: Coverage) -> float:
    """The EPIC distance of two rewards: sqrt((1 - rho) / 2), rho the correlation of their canonical forms.

    0 for rewards that differ by a positive factor, a constant and potential shaping; 1 for a reward and its
    negative; a pseudometric. Rewards [S, A] are compared as they stand, r(s, a, s') = r(s, a): an EXPECTED
    shaping g E p(s') - p(s) of such a reward is no shaping in this sense when chance decides s', and
    `starc_distance` is the distance that sees through it.

    Time and memory grow with S A for rewards of states and steps, with the nonzeros of a joint coverage, and
    with S A S' (in blocks) only where a reward is itself of that size.

    Args:
        first, second: [S], [S, A] or [S, A, S']; not necessarily the same.
        discount: g, in [0, 1].

    Raises:
        ValueError: for another shape, a value that is not finite, or another discount.
        TrivialReward: when a canonical form is constant, as of a reward that is constant.
    """
    _check_discount(discount)
    a, b = (_parts(r, discount, coverage) for r in (first, second))
    if coverage.joint is None and a.full is None and b.full is None:
        return _apart_by_parts(a, b, coverage)

    def blocks() -> Iterator[Block]:
        return _listed(a, b, coverage.joint) if coverage.joint is not None else _dense(a, b, coverage)

    return half_gap(blocks, (a.size, b.size))


def _check_discount(discount: float) -> None:
    if not 0.0 <= discount <= 1.0:
        raise ValueError(f"discount is {discount}; it must lie in [0, 1]")


def _apart_by_parts(a: _Canonical, b: _Canonical, coverage: Coverage) -> float:
    """Where s' is independent of (s, a), a canonical form is a sum of two independent variables."""
    weights = coverage.state[:, None] * coverage.action
    spread, centred = [], []
    for i, c in enumerate((a, b)):
        u, v = c.base - (weights * c.base).sum(), c.after - coverage.state @ c.after
        spread.append(sqrt(float((weights * u**2).sum() + coverage.state @ v**2)))
        _refuse_flat(i, spread[-1], c.size)
        centred.append((u / spread[-1], v / spread[-1]))
    (u, v), (x, y) = centred
    return min(1.0, 0.5 * sqrt(float((weights * (u - x) ** 2).sum() + coverage.state @ (v - y) ** 2)))


def _listed(a: _Canonical, b: _Canonical, joint: Any) -> Iterator[Block]:
    """The transitions of a sparse coverage."""
    for start in range(0, joint.nnz, _ENTRIES):
        part = slice(start, start + _ENTRIES)
        rows, cols = joint.row[part], joint.col[part]
        x, y = (
            c.base.reshape(-1)[rows]
            + c.after[cols]
            + (0 if c.full is None else c.full.reshape(-1, len(c.after))[rows, cols])
            for c in (a, b)
        )
        yield x, y, joint.data[part]


def _dense(a: _Canonical, b: _Canonical, coverage: Coverage) -> Iterator[Block]:
    """All transitions, some states at a time."""
    states, actions = coverage.action.shape
    step = max(1, _ENTRIES // (states * actions))
    for start in range(0, states, step):
        part = slice(start, start + step)
        weights = (coverage.state[part, None] * coverage.action[part])[:, :, None] * coverage.state
        x, y = (c.base[part][:, :, None] + c.after + (0 if c.full is None else c.full[part]) for c in (a, b))
        yield x.ravel(), y.ravel(), weights.ravel()


def half_gap(blocks: Callable[[], Iterator[Block]], sizes: tuple[float, float] = (0.0, 0.0)) -> float:
    """sqrt((1 - rho) / 2) of two weighted variables, as half the distance of the standardised ones.

    The two are the same, but 1 - rho loses half of all digits where rho is near 1: equal variables would be
    1e-8 apart.

    Args:
        blocks: gives the values of both and their weights, which sum to 1, in parts; asked three times.
        sizes: the scale of each, against which a spread is seen to be none.

    Raises:
        TrivialReward: when a variable is constant.
    """
    mean = np.sum([[w @ x, w @ y] for x, y, w in blocks()], 0)
    spread = np.sqrt(np.sum([[w @ (x - mean[0]) ** 2, w @ (y - mean[1]) ** 2] for x, y, w in blocks()], 0))
    for i in range(2):
        _refuse_flat(i, float(spread[i]), sizes[i])
    square = sum(
        float(w @ ((x - mean[0]) / spread[0] - (y - mean[1]) / spread[1]) ** 2) for x, y, w in blocks()
    )
    return min(1.0, 0.5 * sqrt(square))


def _refuse_flat(index: int, spread: float, size: float) -> None:
    if spread <= _FLAT * size or spread == 0.0:
        which = ("first", "second")[index]
        raise TrivialReward(
            f"the {which} reward is constant up to shaping: it has no distance by correlation"
        )
