"""Gridworlds: the oldest worlds of inverse reinforcement learning, slippery and windy."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from understudy.tabular.mdp import TabularMDP
from understudy.tabular.worlds.grid import STAY, STRAIGHT, Cell, Ground, Wind, blocks, count, drift

__all__ = ["gridworld", "macro_rewards"]


def gridworld(
    rows: int,
    cols: int,
    *,
    slip: float,
    discount: float,
    horizon: int | None = None,
    rewards: Mapping[Cell, float] | ArrayLike | None = None,
    walls: Collection[Cell] = (),
    terminal: Collection[Cell] = (),
    arrival: bool = False,
    stay: bool = False,
    wind: Wind | None = None,
    features: str | ArrayLike = "cells",
    block: int = 1,
    initial: Cell | ArrayLike | None = None,
) -> TabularMDP:
    """A grid of cells with the actions up, right, down, left (up is towards row 0); state = row * cols + col.

    A move into a wall or over the border leaves one where one is. 300 x 300 cells take under a second.

    Args:
        slip: the probability of making another action's move instead, each as likely. Where a failed action
            moves in any of 4 directions with probability .3 (Abbeel and Ng 2004), it is .3 * 3 / 4.
        rewards: of cells, {cell: reward} and 0 elsewhere, or [rows, cols]; None: 1 in the last cell.
        walls: cells that cannot be entered. They are terminal states that nothing reaches.
        terminal: cells that end the episode.
        arrival: a step is given the features and the reward of the cell it leads to, not of the one it is
            done in. Only this pays the reward of a terminal cell, as nothing is done in one.
        stay: a fifth action, which stays.
        wind: blows after every move.
        features: "cells" is one indicator a block of cells; "coordinates" is row and column in [0, 1];
            "splits" are indicators of row < i and of column < j (Levine et al. 2011); or [S, K].
        block: the side of a block in cells; 1 is one-hot, 16 of 128 are the 64 macro-cells of Abbeel and Ng.
        initial: the first cell, probabilities [S], or None: every cell but walls and terminal ones alike.

    Raises:
        ValueError: when an argument breaks its rule, or the reward of a cell would never be paid.
    """
    ground = Ground.of(rows, cols, walls, terminal)
    moves = {**STRAIGHT, **STAY} if stay else STRAIGHT
    reward = _rewards(ground, rewards)
    _check_paid(ground, reward, arrival)
    matrix, names = _features(ground, features, block)
    return ground.world(
        drift(ground, moves, slip, wind),
        tuple(moves),
        matrix,
        reward,
        arrival=arrival,
        initial=initial,
        discount=discount,
        horizon=horizon,
        name=f"gridworld {rows} x {cols}",
        feature_names=names,
    )


def _rewards(ground: Ground, rewards: Mapping[Cell, float] | ArrayLike | None) -> NDArray[np.float64]:
    if rewards is None:
        rewards = {(ground.rows - 1, ground.cols - 1): 1.0}
    if not isinstance(rewards, Mapping):
        given = np.asarray(rewards, np.float64)
        if given.shape != (ground.rows, ground.cols):
            raise ValueError(
                f"rewards have the shape {given.shape}; it must be ({ground.rows}, {ground.cols})"
            )
        return given.reshape(-1)
    out = np.zeros(ground.states)
    for cell, value in rewards.items():
        out[ground.state(cell)] = value
    return out


def _check_paid(ground: Ground, reward: NDArray[np.float64], arrival: bool) -> None:
    for kind, cells in (("wall", ground.walls), ("terminal cell", ground.ends & (not arrival))):
        for state in np.flatnonzero(cells & (reward != 0)):
            say = "; it is with arrival=True" if kind == "terminal cell" else ""
            raise ValueError(
                f"the reward of {kind} {divmod(int(state), ground.cols)} would never be paid{say}"
            )


def _features(
    ground: Ground, features: str | ArrayLike, block: int
) -> tuple[csr_array | NDArray[np.float64], tuple[str, ...]]:
    if not isinstance(features, str):
        matrix = np.asarray(features, np.float64)
        if matrix.ndim != 2 or len(matrix) != ground.states:
            raise ValueError(f"features have the shape {matrix.shape}; it must be [{ground.states}, K]")
        return matrix, tuple(f"feature {k}" for k in range(matrix.shape[1]))
    if features != "cells" and block != 1:
        raise ValueError(f"block is {block}; only the features 'cells' have blocks, not {features!r}")
    row, col = np.divmod(np.arange(ground.states), ground.cols)
    if features == "cells":
        return blocks(ground, block)
    if features == "coordinates":
        scale = np.maximum([ground.rows - 1, ground.cols - 1], 1)
        return np.stack([row, col], axis=1) / scale, ("row", "column")
    if features == "splits":
        down, across = np.arange(1, ground.rows), np.arange(1, ground.cols)
        names = [f"row < {i}" for i in down] + [f"column < {j}" for j in across]
        splits = np.concatenate([row[:, None] < down, col[:, None] < across], axis=1)
        return splits.astype(np.float64), tuple(names)
    raise ValueError(f"features are {features!r}; they must be cells, coordinates, splits or an array [S, K]")


def macro_rewards(rows: int, cols: int, block: int, *, seed: int) -> NDArray[np.float64]:
    """[rows, cols]: the sparse random reward of Abbeel and Ng (2004, section 5.1), equal within a block.

    A block's reward is 0 with probability .9, else uniform in [0, 1]; all are scaled to sum to 1 over blocks.
    Where all came out 0, they are drawn again.
    """
    ground = Ground.of(rows, cols)
    matrix, _ = blocks(ground, count("block", block, 1))
    generator = np.random.default_rng(seed)
    weights = np.zeros(matrix.shape[1])
    while not weights.any():
        weights = np.where(generator.random(len(weights)) < 0.1, generator.random(len(weights)), 0.0)
    return np.asarray(matrix @ (weights / weights.sum())).reshape(rows, cols)
