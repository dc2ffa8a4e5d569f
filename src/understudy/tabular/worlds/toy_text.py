"""Gymnasium's tabular environments (FrozenLake, CliffWalking, Taxi) as MDPs, from their own tables."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array

from understudy.tabular.mdp import TabularMDP

__all__ = ["from_gymnasium"]

_ACTIONS = {
    "FrozenLake": ("left", "down", "right", "up"),
    "CliffWalking": ("up", "right", "down", "left"),
    "Taxi": ("south", "north", "east", "west", "pick up", "drop off"),
}


class _Table(NamedTuple):
    """All outcomes, one after another, each [M]: what may happen after an action in a state."""

    state: NDArray[np.int64]
    action: NDArray[np.int64]
    probability: NDArray[np.float64]
    after: NDArray[np.int64]
    reward: NDArray[np.float64]
    terminated: NDArray[np.bool_]


def from_gymnasium(
    id: str,
    *,
    discount: float,
    horizon: int | Literal["limit"] | None = None,
    features: ArrayLike | None = None,
    **make_kwargs: Any,
) -> TabularMDP:
    """The MDP of a Gymnasium environment that has a transition table `P`: FrozenLake, CliffWalking, Taxi.

    A state is terminal where an outcome that ends the episode leads to it. Where such a state can also be
    entered without the end, the end gets a state of its own, which is the last. The reward [S, A] is the
    expected one.

    Args:
        id: "FrozenLake-v1", "CliffWalking-v1", "Taxi-v4", or any other with P and initial_state_distrib.
        horizon: decisions, None for no end, or "limit": the step limit that the id is registered with. A
            limit cuts an episode off; it is no end of the task, so it is not taken unless asked for.
        features: [S, K]; one indicator a state unless given.
        make_kwargs: for `gymnasium.make` ("map_name", "is_slippery", "desc", "is_rainy").

    Raises:
        ValueError: when Gymnasium does not know or accept the id or its arguments, the environment has no
            table or a broken one, or has no limit and "limit" was asked for.
    """
    env = _made(id, make_kwargs)
    try:
        raw = env.unwrapped
        if not isinstance(getattr(raw, "P", None), dict) or not hasattr(raw, "initial_state_distrib"):
            raise ValueError(f"{id} has no transition table P with initial_state_distrib; it is not tabular")
        initial = np.asarray(raw.initial_state_distrib, np.float64)
        table, actions = _table(raw.P, len(initial), id)
        limit = env.spec.max_episode_steps if env.spec is not None else None
        shape = _shape(raw, len(initial))
    finally:
        env.close()
    if horizon == "limit" and limit is None:
        raise ValueError(f"{id} is registered without a step limit; give a horizon, or none with a discount")
    terminal, table, extra = _ends(table, initial)
    states = len(initial) + extra
    rows = table.state * actions + table.action
    return TabularMDP.make(
        coo_array((table.probability, (rows, table.after)), shape=(states * actions, states)),
        initial=np.pad(initial, (0, extra)),
        discount=discount,
        horizon=limit if horizon == "limit" else horizon,
        features=None if features is None else _of_steps(features, len(initial), extra, actions),
        reward=np.bincount(rows, table.probability * table.reward, states * actions).reshape(states, actions),
        terminal=terminal,
        name=id,
        state_names=(*(f"state {s}" for s in range(len(initial))), *["end"] * extra),
        action_names=_action_names(id, actions),
        shape=None if extra else shape,
    )


def _made(id: str, make_kwargs: dict[str, Any]) -> Any:
    """The environment, or a ValueError of one line."""
    import gymnasium

    try:
        return gymnasium.make(id, **make_kwargs)
    except (gymnasium.error.Error, TypeError, ValueError, KeyError, ImportError) as error:
        raise ValueError(f"Gymnasium makes no {id!r}: {' '.join(str(error).split())}") from error


def _table(outcomes: dict[int, Any], states: int, id: str) -> tuple[_Table, int]:
    """P[s][a] = [(probability, next state, reward, terminated), ...] as columns, and A."""
    try:
        rows = [
            (s, a, *outcome)
            for s, actions in outcomes.items()
            for a, possible in actions.items()
            for outcome in possible
        ]
        s, a, p, after, reward, terminated = zip(*rows, strict=True)
        table = _Table(
            np.array(s, np.int64),
            np.array(a, np.int64),
            np.array(p, np.float64),
            np.array(after, np.int64),
            np.array(reward, np.float64),
            np.array(terminated, np.bool_),
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"the table P of {id} is not made of (probability, next, reward, terminated)"
        ) from error
    if (
        min(table.state.min(), table.after.min(), table.action.min()) < 0
        or not np.isfinite(table.reward).all()
    ):
        raise ValueError(
            f"the table P of {id} holds a negative state or action, or a reward that is not finite"
        )
    if max(table.state.max(), table.after.max()) >= states:
        raise ValueError(f"the table P of {id} holds states beyond the {states} of initial_state_distrib")
    possible = table.probability != 0.0
    return _Table(*(column[possible] for column in table)), int(table.action.max()) + 1


def _ends(table: _Table, initial: NDArray[np.float64]) -> tuple[NDArray[np.bool_], _Table, int]:
    """The terminal states, the table with its ends leading to them, and how many states are new (0 or 1)."""
    happens = _reached(table, initial)[table.state]
    ending, entered = np.zeros(len(initial), bool), initial > 0
    ending[table.after[table.terminated]] = True
    entered[table.after[happens & ~table.terminated]] = True
    terminal = ending & ~entered
    astray = table.terminated & ~terminal[table.after] & ~terminal[table.state]
    if not astray.any():
        return terminal, table, 0
    after = np.where(astray, len(initial), table.after)
    return np.append(terminal, True), table._replace(after=after), 1


def _reached(table: _Table, initial: NDArray[np.float64]) -> NDArray[np.bool_]:
    """[S]: where one can come from the beginning without an end on the way."""
    reached = initial > 0
    while True:
        known = int(reached.sum())
        reached[table.after[reached[table.state] & ~table.terminated]] = True
        if reached.sum() == known:
            return reached


def _of_steps(features: ArrayLike, states: int, extra: int, actions: int) -> NDArray[np.float64]:
    """[S*A, K] from [S, K]; a state that was added has none."""
    phi = np.asarray(features, np.float64)
    if phi.ndim != 2 or len(phi) != states:
        raise ValueError(f"features have the shape {phi.shape}; it must be [{states}, K]")
    return np.repeat(np.pad(phi, ((0, extra), (0, 0))), actions, axis=0)


def _shape(raw: Any, states: int) -> tuple[int, int] | None:
    """(rows, columns) where the environment is a grid."""
    shape = getattr(raw, "shape", None) or (getattr(raw, "nrow", 0), getattr(raw, "ncol", 0))
    if isinstance(shape, tuple) and len(shape) == 2 and shape[0] * shape[1] == states:
        return int(shape[0]), int(shape[1])
    return None


def _action_names(id: str, actions: int) -> tuple[str, ...]:
    name = id.rpartition("/")[2]
    known = next((names for start, names in _ACTIONS.items() if name.startswith(start)), ())
    return known if len(known) == actions else tuple(f"action {a}" for a in range(actions))
