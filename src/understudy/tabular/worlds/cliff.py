"""The cliff world: a short way along an edge, a wind that blows over it, and a longer way that is safe."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from understudy.tabular.mdp import TabularMDP
from understudy.tabular.worlds.grid import DIAGONAL, STRAIGHT, Ground, blocks, count, share

__all__ = ["cliff"]

_TERRAIN = ("ground", "cliff", "goal")


def cliff(
    rows: int = 4,
    cols: int = 7,
    *,
    discount: float,
    horizon: int | None,
    wind: float = 0.3,
    moves: str = "straight",
    features: str = "terrain",
    rewards: Sequence[float] = (-1.0, -10.0, 10.0),
) -> TabularMDP:
    """A grid whose row 0 holds the start, the cliff and, in the last column, the goal.

    With probability `wind` a move carries one cell further up, towards the cliff; where it leads over the
    border, each coordinate stops there by itself. Nothing ends an episode but its horizon, so that one earns
    in the goal as long as one holds out there. With diagonal moves, these are the dynamics and the reward of
    the cliff world of `seals` (4 x 7 cells, horizon 40, discount 1).

    Args:
        wind: the probability of being carried further.
        moves: "straight": up, right, down, left; "diagonal": up-left, up-right, down-left, down-right.
        features: of the cell a step is done in: "terrain" is an indicator each of ground, cliff and goal;
            "cells" one each of all cells; "coordinates" column and row in [0, 1].
        rewards: of a step on the ground (the start is ground), on the cliff, and in the goal.

    Raises:
        ValueError: when the grid is smaller than 2 x 3 or another argument breaks its rule.
    """
    ground = Ground.of(count("rows", rows, 2), count("cols", cols, 3))
    steps = {"straight": STRAIGHT, "diagonal": DIAGONAL}.get(moves)
    if steps is None:
        raise ValueError(f"moves are {moves!r}; they must be straight or diagonal")
    if len(rewards) != len(_TERRAIN):
        raise ValueError(f"there are {len(rewards)} rewards; there must be one each of {', '.join(_TERRAIN)}")
    terrain = np.zeros((ground.states, 3))
    terrain[np.arange(ground.states), _kinds(ground)] = 1.0
    blown, calm = np.eye(len(steps)) * share("wind", wind), np.eye(len(steps)) * (1.0 - wind)
    targets = [ground.moved(s) for s in steps.values()] + [
        ground.moved((r - 1, c)) for r, c in steps.values()
    ]
    matrix, names = _features(ground, features, terrain)
    return ground.world(
        ground.transition(targets, np.concatenate([calm, blown])),
        tuple(steps),
        matrix,
        terrain @ np.asarray(rewards, np.float64),
        initial=(0, 0),
        discount=discount,
        horizon=horizon,
        name=f"cliff {rows} x {cols}",
        feature_names=names,
    )


def _kinds(ground: Ground) -> NDArray[np.int64]:
    """[S]: 0 ground, 1 cliff, 2 goal."""
    row, col = np.divmod(np.arange(ground.states), ground.cols)
    edge = np.where(col == 0, 0, np.where(col == ground.cols - 1, 2, 1))
    return np.where(row == 0, edge, 0)


def _features(
    ground: Ground, features: str, terrain: NDArray[np.float64]
) -> tuple[csr_array | NDArray[np.float64], tuple[str, ...]]:
    if features == "terrain":
        return terrain, _TERRAIN
    if features == "cells":
        return blocks(ground, 1)
    if features == "coordinates":
        row, col = np.divmod(np.arange(ground.states), ground.cols)
        return np.stack([col / (ground.cols - 1), row / (ground.rows - 1)], axis=1), ("column", "row")
    raise ValueError(f"features are {features!r}; they must be terrain, cells or coordinates")
