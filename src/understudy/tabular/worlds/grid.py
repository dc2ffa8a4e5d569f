"""Grids: where a move leads, slipping and wind as sparse transitions, and features of cells."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import index

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array, csr_array

from understudy.tabular.mdp import TabularMDP

__all__ = ["DIAGONAL", "STAY", "STRAIGHT", "Cell", "Ground", "Wind", "blocks", "count", "drift", "share"]

Cell = tuple[int, int]
STRAIGHT: Mapping[str, Cell] = {"up": (-1, 0), "right": (0, 1), "down": (1, 0), "left": (0, -1)}
STAY: Mapping[str, Cell] = {"stay": (0, 0)}
DIAGONAL: Mapping[str, Cell] = {
    "up-left": (-1, -1),
    "up-right": (-1, 1),
    "down-left": (1, -1),
    "down-right": (1, 1),
}


@dataclass(frozen=True)
class Wind:
    """A wind that blows one cell further in its direction, with this probability at every step.

    It blows after the move, so that a wall or the border stops the move, the push, or both.

    Args:
        direction: "up", "right", "down" or "left": where it blows to. Up is towards row 0.
        probability: in [0, 1].
    """

    direction: str
    probability: float

    def __post_init__(self) -> None:
        if self.direction not in STRAIGHT:
            raise ValueError(
                f"the wind's direction is {self.direction!r}; it must be one of {', '.join(STRAIGHT)}"
            )
        share("the wind's probability", self.probability)


def count(name: str, value: int, least: int) -> int:
    """The value as a whole number.

    Raises:
        ValueError: when it is no whole number, or below `least`.
    """
    try:
        n = index(value)
    except TypeError:
        raise ValueError(f"{name} is {value!r}; it must be a whole number") from None
    if n < least:
        raise ValueError(f"{name} is {n}; it must be at least {least}")
    return n


def share(name: str, value: float) -> float:
    """The value as a probability.

    Raises:
        ValueError: when it is no number in [0, 1].
    """
    if not isinstance(value, (int, float, np.number)) or not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} is {value!r}; it must lie in [0, 1]")
    return float(value)


@dataclass(frozen=True, eq=False)
class Ground:
    """The cells of a grid: state = row * cols + col, some cells walls, some terminal.

    A wall is a state that nothing reaches. It is terminal, so that nothing is planned there.

    Args:
        rows, cols: the size. walls, ends: bool [S], S = rows * cols.
    """

    rows: int
    cols: int
    walls: NDArray[np.bool_]
    ends: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: int, cols: int, walls: Collection[Cell] = (), ends: Collection[Cell] = ()) -> Ground:
        """A grid from lists of its walls and of its terminal cells.

        Raises:
            ValueError: when the size is below 1, a cell lies outside or is both a wall and terminal, or
                none is open.
        """
        rows, cols = count("rows", rows, 1), count("cols", cols, 1)
        bare = cls(rows, cols, np.zeros(rows * cols, bool), np.zeros(rows * cols, bool))
        for mask, cells in ((bare.walls, walls), (bare.ends, ends)):
            mask[[bare.state(cell) for cell in cells]] = True
        if both := np.flatnonzero(bare.walls & bare.ends).tolist():
            raise ValueError(f"cell {divmod(both[0], cols)} is both a wall and terminal; it can only be one")
        if not bare.open.any():
            raise ValueError(
                f"the {rows} x {cols} grid has no open cell; one must be neither wall nor terminal"
            )
        return bare

    @property
    def states(self) -> int:
        """S: the number of cells, walls included."""
        return self.rows * self.cols

    @property
    def open(self) -> NDArray[np.bool_]:
        """[S]: where something is done."""
        return ~(self.walls | self.ends)

    def state(self, cell: Cell) -> int:
        """The state of a cell (row, col).

        Raises:
            ValueError: when the cell lies outside.
        """
        try:
            row, col = (index(x) for x in cell)
        except (TypeError, ValueError):
            raise ValueError(f"{cell!r} is no cell; a cell is (row, col)") from None
        if not (0 <= row < self.rows and 0 <= col < self.cols):
            raise ValueError(f"cell ({row}, {col}) lies outside the {self.rows} x {self.cols} grid")
        return row * self.cols + col

    def moved(self, step: Cell) -> NDArray[np.int64]:
        """[S]: where a step (rows down, cols right) leads from every cell.

        Each coordinate stops at the border by itself; into a wall one does not move at all.
        """
        row, col = np.divmod(np.arange(self.states), self.cols)
        row = np.clip(row + step[0], 0, self.rows - 1)
        col = np.clip(col + step[1], 0, self.cols - 1)
        target = row * self.cols + col
        return np.where(self.walls[target], np.arange(self.states), target)

    def transition(self, targets: Sequence[NDArray[np.int64]], chances: NDArray[np.float64]) -> csr_array:
        """[S*A, S]: outcome m leads from s to targets[m][s], and has the probability chances[m, a] under a.

        Rows of walls and terminal cells are empty.
        """
        states, actions = np.flatnonzero(self.open), chances.shape[1]
        rows, cols, data = [], [], []
        for target, chance in zip(targets, chances, strict=True):
            for action in np.flatnonzero(chance):
                rows.append(states * actions + action)
                cols.append(target[states])
                data.append(np.full(len(states), chance[action]))
        entries = (np.concatenate(data), (np.concatenate(rows), np.concatenate(cols)))
        return coo_array(entries, shape=(self.states * actions, self.states)).tocsr()

    def world(
        self,
        transition: csr_array,
        actions: Sequence[str],
        features: csr_array | NDArray[np.float64],
        reward: NDArray[np.float64],
        *,
        arrival: bool = False,
        initial: Cell | ArrayLike | None,
        discount: float,
        horizon: int | None,
        name: str,
        feature_names: Sequence[str],
    ) -> TabularMDP:
        """The MDP whose features [S, K] and reward [S] are those of the cell that a step is done in.

        Args:
            arrival: they are those of the cell that the step leads to.
            initial: a cell, probabilities [S], or None: every open cell is as likely.
        """
        lead = transition if arrival else _stays(self.states, len(actions))
        return TabularMDP.make(
            transition,
            initial=self.initial(initial),
            discount=discount,
            horizon=horizon,
            features=lead @ features,
            reward=np.asarray(lead @ reward).reshape(self.states, len(actions)),
            terminal=~self.open,
            name=name,
            feature_names=tuple(feature_names),
            state_names=tuple(f"({r}, {c})" for r in range(self.rows) for c in range(self.cols)),
            action_names=tuple(actions),
            shape=(self.rows, self.cols),
        )

    def initial(self, where: Cell | ArrayLike | None) -> NDArray[np.float64]:
        """[S]: all on a cell, as given, or spread evenly over the open cells."""
        if where is None:
            return np.asarray(self.open / self.open.sum())
        if isinstance(where, tuple) and len(where) == 2:
            chances = np.eye(1, self.states, self.state(where)).ravel()
        else:
            chances = np.asarray(where, np.float64).reshape(-1)
        if chances.size != self.states:
            raise ValueError(f"initial has {chances.size} probabilities for {self.states} cells")
        closed = np.flatnonzero((chances != 0) & ~self.open)
        if closed.size:
            cell = divmod(int(closed[0]), self.cols)
            raise ValueError(f"an episode begins in cell {cell}, a wall or terminal; it must be an open cell")
        return chances


def _stays(states: int, actions: int) -> csr_array:
    """[S*A, S]: row s*A + a picks s."""
    n = states * actions
    return csr_array((np.ones(n), np.arange(n) // actions, np.arange(n + 1)), shape=(n, states))


def drift(ground: Ground, moves: Mapping[str, Cell], slip: float, wind: Wind | None) -> csr_array:
    """[S*A, S]: every action is a move; with probability `slip` another one is made instead.

    Each of the A - 1 others is as likely (Levine, Popovic and Koltun 2011, section 6). A world where a failed
    move goes in any of the A directions with probability f, the right one included, has slip = f (A - 1) / A.
    The wind blows after the move.

    Raises:
        ValueError: when slip is no probability, or the wind no `Wind`.
    """
    slip, actions = share("slip", slip), len(moves)
    if wind is not None and not isinstance(wind, Wind):
        raise ValueError(
            f"wind is {wind!r}; it must be a Wind or None, and slip is the chance of another move"
        )
    targets = [ground.moved(step) for step in moves.values()]
    chances = np.full((actions, actions), slip / max(actions - 1, 1))
    np.fill_diagonal(chances, 1.0 - slip)
    if wind is not None:
        push = ground.moved(STRAIGHT[wind.direction])
        targets += [push[target] for target in targets]
        chances = np.concatenate([(1.0 - wind.probability) * chances, wind.probability * chances])
    return ground.transition(targets, chances)


def blocks(ground: Ground, side: int) -> tuple[csr_array, tuple[str, ...]]:
    """One indicator a block of side x side cells, [S, K] and names; a side of 1 is one-hot.

    Where the side does not divide the grid, the last blocks are smaller.
    """
    side = count("block", side, 1)
    row, col = np.divmod(np.arange(ground.states), ground.cols)
    across, down = -(-ground.cols // side), -(-ground.rows // side)
    block = row // side * across + col // side
    matrix = csr_array(
        (np.ones(ground.states), block, np.arange(ground.states + 1)), shape=(ground.states, down * across)
    )
    word = "cell" if side == 1 else "block"
    return matrix, tuple(f"{word} ({r}, {c})" for r in range(down) for c in range(across))
