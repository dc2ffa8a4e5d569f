"""Markov decision processes with finitely many states and actions: what exact inverse RL stands on.

Shapes: S states, A actions, K features. Row s·A + a of a matrix belongs to action a in state s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array, issparse

__all__ = ["Features", "TabularMDP", "arrivals"]

Floats: TypeAlias = NDArray[np.float64]
Features: TypeAlias = "Floats | csr_array"

_DENSE = 50_000  # entries; below, a full matrix is faster than a sparse one, whatever it holds
_SUM = 1e-9  # how far from 1 probabilities may sum


@dataclass(frozen=True, eq=False)
class TabularMDP:
    """A finite MDP; `TabularMDP.make` builds one from arrays of any of the usual shapes.

    Args:
        transition: [S·A, S], row s·A + a holds P(· | s, a). Rows of terminal states and of actions that a
            state does not have are empty.
        initial: [S], where episodes begin.
        discount: γ in (0, 1]. horizon: decisions in an episode; None is without end, and needs γ < 1.
        features: [S·A, K], what a step in (s, a) is expected to count for each weight of a linear reward.
        terminal: [S], where an episode ends: nothing is done there, and it is worth 0.
        available: [S, A], which actions a state has.
        reward: [S, A], the true expected reward of a step, None where nobody knows it.
        shape: (rows, columns) where states are cells, row by row.
    """

    transition: csr_array
    initial: Floats
    discount: float
    horizon: int | None
    features: Features
    terminal: NDArray[np.bool_]
    available: NDArray[np.bool_]
    reward: Floats | None = None
    name: str = "mdp"
    feature_names: tuple[str, ...] = ()
    state_names: tuple[str, ...] = ()
    action_names: tuple[str, ...] = ()
    shape: tuple[int, int] | None = None

    @staticmethod
    def make(
        transition: Any,
        *,
        initial: ArrayLike,
        discount: float,
        horizon: int | None,
        features: Any = None,
        reward: Any = None,
        terminal: ArrayLike | None = None,
        available: ArrayLike | None = None,
        name: str = "mdp",
        feature_names: Sequence[str] = (),
        state_names: Sequence[str] = (),
        action_names: Sequence[str] = (),
        shape: tuple[int, int] | None = None,
    ) -> TabularMDP:
        """An MDP from arrays, checked.

        Args:
            transition: [S, A, S], or [S·A, S] (an array or any sparse matrix).
            features: [S, K], [S, A, K] or [S·A, K]; one indicator a state unless given.
            reward: [S], [S, A] or [S, A, S].
            available: all actions that have somewhere to lead, unless given.

        Raises:
            ValueError: when shapes do not fit or probabilities do not sum to 1, naming the first place.
        """
        matrix, actions = _matrix(transition, np.size(initial))
        states = matrix.shape[1]
        ends = np.zeros(states, np.bool_) if terminal is None else _flags(terminal, (states,), "terminal")
        leads = np.diff(matrix.indptr).reshape(states, actions) > 0
        has = leads if available is None else _flags(available, (states, actions), "available")
        has = has & ~ends[:, None]
        keep = np.repeat(has.ravel(), np.diff(matrix.indptr))
        if not keep.all():
            rows = np.repeat(np.arange(states * actions), np.diff(matrix.indptr))[keep]
            matrix = csr_array((matrix.data[keep], (rows, matrix.indices[keep])), shape=matrix.shape)
        made = TabularMDP(
            transition=matrix,
            initial=np.asarray(initial, np.float64).ravel(),
            discount=float(discount),
            horizon=None if horizon is None else int(horizon),
            features=_features(features, states, actions),
            terminal=ends,
            available=has,
            name=name,
            feature_names=tuple(feature_names) or tuple(state_names if features is None else ()),
            state_names=tuple(state_names),
            action_names=tuple(action_names),
            shape=shape,
        )
        return made if reward is None else replace(made, reward=made.expected(reward))

    def __post_init__(self) -> None:
        states, actions = self.available.shape
        if not 0 < self.discount <= 1:
            raise ValueError(f"discount is {self.discount}; it must lie in (0, 1]")
        if self.horizon is None and self.discount == 1:
            raise ValueError("discount is 1 without a horizon; one of them must bound the sum of rewards")
        if self.horizon is not None and self.horizon < 1:
            raise ValueError(f"horizon is {self.horizon}; an episode has at least one decision")
        if self.initial.shape != (states,):
            raise ValueError(f"initial is {list(self.initial.shape)}; with {states} states it is [{states}]")
        if not (self.initial >= 0).all() or abs(self.initial.sum() - 1) > _SUM:
            raise ValueError(f"initial sums to {self.initial.sum():.6g}; it must be a distribution")
        _check_rows(self.transition, self.available)
        stuck = np.flatnonzero(~self.available.any(1) & ~self.terminal)
        if len(stuck):
            raise ValueError(f"state {stuck[0]} has no action and is not terminal")
        if self.features.shape[0] != states * actions:
            raise ValueError(
                f"features has {self.features.shape[0]} rows; {states} states × {actions} actions need "
                f"{states * actions}"
            )
        for label, names, count in (
            ("feature_names", self.feature_names, self.width),
            ("state_names", self.state_names, states),
            ("action_names", self.action_names, actions),
        ):
            if names and len(names) != count:
                raise ValueError(f"{label} has {len(names)} names for {count}")
        if self.shape is not None and self.shape[0] * self.shape[1] != states:
            raise ValueError(f"shape is {self.shape} for {states} states")

    @property
    def states(self) -> int:
        """S."""
        return int(self.available.shape[0])

    @property
    def actions(self) -> int:
        """A."""
        return int(self.available.shape[1])

    @property
    def width(self) -> int:
        """K."""
        return int(self.features.shape[1])

    def with_(self, **changes: Any) -> TabularMDP:
        """The same with some fields of `make` changed, checked again."""
        fields = {f: getattr(self, f) for f in self.__dataclass_fields__}
        return TabularMDP.make(**{**fields, **changes})

    def linear(self, weights: ArrayLike) -> Floats:
        """The reward [S, A] that is linear in the features: φ(s, a)·θ, θ [K]."""
        theta = np.asarray(weights, np.float64)
        if theta.shape != (self.width,):
            raise ValueError(f"weights is {list(theta.shape)}; {self.name} has {self.width} features")
        return np.asarray(self.features @ theta).reshape(self.states, self.actions)

    def counts(self, visits: Floats) -> Floats:
        """[K], what visits [S, A] count in features: Σ visits(s, a) φ(s, a)."""
        return np.asarray(self.features.T @ np.ascontiguousarray(visits).ravel())

    def expected(self, reward: Any) -> Floats:
        """[S, A] of a reward [S], [S, A] or [S, A, S]: what a step is expected to earn; 0 where none is."""
        value = np.asarray(reward, np.float64)
        s, a = self.available.shape
        if not np.isfinite(value).all():
            raise ValueError("a reward holds values that are not finite")
        if value.shape == (s,):
            value = np.repeat(value[:, None], a, 1)
        elif value.shape == (s, a, s):
            value = np.asarray(self.transition.multiply(value.reshape(s * a, s)).sum(1)).reshape(s, a)
        elif value.shape != (s, a):
            raise ValueError(f"a reward is [{s}], [{s}, {a}] or [{s}, {a}, {s}], not {list(value.shape)}")
        return np.where(self.available, value, 0.0)

    # ── what planning multiplies with ──────────────────────────────────────────────────────────────────────

    @cached_property
    def forward(self) -> Any:
        """[A·S, S], rows by action and then by state: P @ V, reshaped to [A, S], lies in long rows."""
        order = np.arange(self.states * self.actions).reshape(self.states, self.actions).T.ravel()
        matrix = self.transition[order]
        size = matrix.shape[0] * matrix.shape[1]
        return matrix.toarray() if size <= _DENSE or matrix.nnz > size // 4 else csr_array(matrix)

    @cached_property
    def backward(self) -> Any:
        """[S, A·S], the transpose of `forward`, stored by rows: mass [A·S] to where it arrives."""
        matrix = self.forward
        return csr_array(matrix.T) if issparse(matrix) else np.ascontiguousarray(matrix.T)

    @cached_property
    def pattern(self) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.intp]]:
        """Where Σ_a π(a|s) P(s'|s, a) and the diagonal can be nonzero, stored by columns s'.

        indptr [S + 1], rows [n], and for each entry of `transition` and then of the diagonal its place in n.
        """
        s, counts = self.states, np.diff(self.transition.indptr)
        rows = np.concatenate([np.repeat(np.arange(s * self.actions), counts) // self.actions, np.arange(s)])
        columns = np.concatenate([self.transition.indices, np.arange(s)]).astype(np.int64)
        keys, place = np.unique(columns * s + rows, return_inverse=True)
        starts = np.concatenate([[0], np.cumsum(np.bincount(keys // s, minlength=s))])
        return starts.astype(np.int32), (keys % s).astype(np.int32), place


def arrivals(features: Any, transition: Any) -> Features:
    """[S·A, K], the expected features of the next state, E[φ(s') | s, a], for rewards on arriving.

    Args:
        features: [S, K], an array or sparse; the result is likewise.
        transition: as `TabularMDP.make` takes it.
    """
    phi = csr_array(features) if issparse(features) else np.asarray(features, np.float64)
    matrix, _ = _matrix(transition, phi.shape[0])
    found: Features = matrix @ phi
    return found


def _matrix(transition: Any, states: int) -> tuple[csr_array, int]:
    """[S·A, S] by rows without duplicates or zeros, and A."""
    if not issparse(transition):
        transition = np.asarray(transition, np.float64)
        if transition.ndim == 3:
            transition = transition.reshape(-1, transition.shape[2])
    if transition.ndim != 2 or transition.shape[1] != states or transition.shape[0] % states:
        raise ValueError(
            f"transition is {list(transition.shape)}; with {states} states it is [S, A, S] or [S·A, S]"
        )
    matrix = csr_array(transition, dtype=np.float64, copy=True)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    if matrix.nnz < 2**31:  # half as many bytes to read in every product
        small = matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32)
        matrix = csr_array((matrix.data, *small), shape=matrix.shape)
    return matrix, transition.shape[0] // states


def _features(features: Any, states: int, actions: int) -> Features:
    rows = states * actions
    if features is None:
        column = np.repeat(np.arange(states), actions)
        return csr_array((np.ones(rows), (np.arange(rows), column)), shape=(rows, states))
    if issparse(features):
        return csr_array(features, dtype=np.float64)
    phi = np.asarray(features, np.float64)
    if not np.isfinite(phi).all():
        raise ValueError("features holds values that are not finite")
    if phi.ndim == 3 and phi.shape[:2] == (states, actions):
        return phi.reshape(rows, -1)
    if phi.ndim == 2 and len(phi) == states and states != rows:
        return np.repeat(phi, actions, 0)
    if phi.ndim == 2 and len(phi) == rows:
        return phi
    raise ValueError(
        f"features is {list(phi.shape)}; it is [{states}, K], [{states}, {actions}, K] or [{rows}, K]"
    )


def _flags(given: ArrayLike, shape: tuple[int, ...], name: str) -> NDArray[np.bool_]:
    flags = np.asarray(given)
    if flags.shape != shape or flags.dtype != np.bool_:
        raise ValueError(f"{name} is {flags.dtype}{list(flags.shape)}; it must be bool{list(shape)}")
    return flags


def _check_rows(matrix: csr_array, available: NDArray[np.bool_]) -> None:
    """Every available action leads somewhere, with probabilities; no other does."""
    if len(matrix.data) and not (matrix.data >= 0).all():  # also what is not a number
        raise ValueError(f"transition holds {matrix.data.min():.6g}; probabilities are not negative")
    wrong = np.flatnonzero(np.abs(np.asarray(matrix.sum(1)).ravel() - available.ravel()) > _SUM)
    if len(wrong):
        s, a = divmod(int(wrong[0]), available.shape[1])
        total = float(np.asarray(matrix[[int(wrong[0])]].sum()))
        raise ValueError(f"the probabilities of state {s}, action {a} sum to {total:.6g}; they must sum to 1")
