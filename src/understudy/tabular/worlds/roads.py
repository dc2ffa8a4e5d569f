"""Road maps: junctions, directed roads, the turns between them, and a street grid with a highway."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from understudy.tabular.worlds.grid import count, share

__all__ = ["TURNS", "RoadMap", "street_grid"]

TURNS = ("straight on", "left turn", "right turn", "hard turn", "U-turn")
_STRAIGHT, _HARD = np.pi / 6, np.pi * 2 / 3  # radians; up to 30 degrees is straight on, over 120 is hard


@dataclass(frozen=True, eq=False)
class RoadMap:
    """Junctions and the directed roads between them; a two-way road is two.

    Args:
        places: [N, 2], of the junctions, kilometres to the east and to the north.
        tail, head: int [E], the junctions that roads lead from and to.
        kilometres: [E], lengths. speed: [E], kilometres an hour. toll: [E], in any currency.
        kinds: one a road ("street", "avenue", "highway").

    Raises:
        ValueError: when shapes differ, a road leads off the map or to its own tail, two lead from and to the
            same junctions, or one has a length or speed that is not positive or a negative toll.
    """

    places: NDArray[np.float64]
    tail: NDArray[np.int64]
    head: NDArray[np.int64]
    kilometres: NDArray[np.float64]
    speed: NDArray[np.float64]
    toll: NDArray[np.float64]
    kinds: tuple[str, ...]

    def __post_init__(self) -> None:
        n, e = len(self.places), len(self.tail)
        if self.places.shape != (n, 2):
            raise ValueError(f"places have the shape {self.places.shape}; it must be [N, 2]")
        lengths = [len(self.head), len(self.kilometres), len(self.speed), len(self.toll), len(self.kinds)]
        if e == 0 or lengths != [e] * len(lengths):
            raise ValueError(f"there are {e} tails and {lengths} of the rest; there must be one each a road")
        ends = np.concatenate([self.tail, self.head])
        if ends.min() < 0 or ends.max() >= n:
            raise ValueError(f"a road ends at a junction outside the {n} of the map")
        if np.any(self.tail == self.head):
            raise ValueError(f"road {np.argmax(self.tail == self.head)} leads back to its own tail")
        if len(np.unique(self.tail * n + self.head)) < e:
            raise ValueError("two roads lead from and to the same junctions; a road is named by its ends")
        good = (self.kilometres > 0) & (self.speed > 0) & (self.toll >= 0)
        good &= np.isfinite(self.kilometres + self.speed + self.toll)
        if not good.all():
            raise ValueError(
                f"road {np.argmin(good)} needs a positive length and speed, and no negative toll"
            )

    @property
    def roads(self) -> int:
        """E: the number of directed roads."""
        return len(self.tail)

    @property
    def junctions(self) -> int:
        """N: the number of junctions."""
        return len(self.places)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """[E]: what kind of road it is, and between which junctions."""
        return tuple(f"{k} {t} to {h}" for k, t, h in zip(self.kinds, self.tail, self.head, strict=True))

    @cached_property
    def following(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """What may be driven, each [M]: the road before, the number of the exit taken, the road after it.

        The exits of a junction are numbered in the order of the map.
        """
        order = np.argsort(self.tail, kind="stable")
        first = np.searchsorted(self.tail[order], np.arange(self.junctions + 1))
        sizes = np.diff(first)[self.head]
        before = np.repeat(np.arange(self.roads), sizes)
        exit_ = np.arange(len(before)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return before, exit_, order[first[self.head[before]] + exit_]

    def turns(self, before: NDArray[np.int64], after: NDArray[np.int64]) -> NDArray[np.int64]:
        """[M]: which of `TURNS` it takes to drive from one road into the next.

        Up to 30 degrees is straight on, over 120 hard, to the road's own tail a U-turn.
        """
        away = self.places[self.head] - self.places[self.tail]
        heading = np.arctan2(away[:, 1], away[:, 0])
        angle = (heading[after] - heading[before] + np.pi) % (2 * np.pi) - np.pi  # positive is to the left
        turn = np.where(angle > 0, TURNS.index("left turn"), TURNS.index("right turn"))
        turn = np.where(np.abs(angle) <= _STRAIGHT, TURNS.index("straight on"), turn)
        turn = np.where(np.abs(angle) > _HARD, TURNS.index("hard turn"), turn)
        return np.where(self.tail[before] == self.head[after], TURNS.index("U-turn"), turn)


def street_grid(
    rows: int, cols: int, *, seed: int, spacing: float = 1.0, closed: float = 0.1, toll: float = 0.5
) -> RoadMap:
    """A town: streets on an uneven grid, an avenue across it, and a highway along the middle row.

    Junction r * cols + c lies near (c, r) * spacing kilometres. Streets join neighbours, both ways, at 30 or
    50 kilometres an hour; the avenue joins diagonal neighbours from the first junction on, at 50 or 70; the
    highway joins every second junction of the middle row, at 90 or 110. Some streets are closed, but from
    everywhere one can get everywhere.

    Args:
        rows, cols: junctions, at least 2 x 2.
        spacing: kilometres between neighbours; they are moved by up to 15 % of it each way.
        closed: the share of the streets that are closed, as far as the town stays in one piece.
        toll: of each piece of highway.

    Raises:
        ValueError: when an argument breaks its rule.
    """
    rows, cols = count("rows", rows, 2), count("cols", cols, 2)
    if not spacing > 0:
        raise ValueError(f"spacing is {spacing}; it must be positive")
    generator = np.random.default_rng(seed)
    grid = np.stack([np.tile(np.arange(cols), rows), np.repeat(np.arange(rows), cols)], axis=1)
    places = spacing * (grid + generator.uniform(-0.15, 0.15, grid.shape))
    node = np.arange(rows * cols).reshape(rows, cols)
    streets = np.concatenate(
        [
            np.stack([node[:, :-1].ravel(), node[:, 1:].ravel()], axis=1),
            np.stack([node[:-1].ravel(), node[1:].ravel()], axis=1),
        ]
    )
    streets = _closed(streets, rows * cols, share("closed", closed), generator)
    diagonal = node[np.arange(min(rows, cols)), np.arange(min(rows, cols))]
    ramps = node[rows // 2, ::2]
    pieces = (
        ("street", streets, 30, 0.0),
        ("avenue", _chain(diagonal), 50, 0.0),
        ("highway", _chain(ramps), 90, toll),
    )
    ends = np.concatenate([p for _, p, _, _ in pieces])
    sizes = [len(p) for _, p, _, _ in pieces]
    slow = np.repeat([s for *_, s, _ in pieces], sizes) + 20.0 * generator.integers(0, 2, len(ends))
    length = np.linalg.norm(places[ends[:, 0]] - places[ends[:, 1]], axis=1)
    kinds = tuple(k for k, p, _, _ in pieces for _ in range(len(p)))
    return RoadMap(
        places=places,
        tail=np.concatenate([ends[:, 0], ends[:, 1]]),
        head=np.concatenate([ends[:, 1], ends[:, 0]]),
        kilometres=np.tile(length, 2),
        speed=np.tile(slow, 2),
        toll=np.tile(np.repeat([t for *_, t in pieces], sizes), 2),
        kinds=kinds * 2,
    )


def _chain(nodes: NDArray[np.int64]) -> NDArray[np.int64]:
    """[n - 1, 2]: from each to the next."""
    return np.stack([nodes[:-1], nodes[1:]], axis=1)


def _closed(
    streets: NDArray[np.int64], junctions: int, share_closed: float, generator: np.random.Generator
) -> NDArray[np.int64]:
    """The streets without a random share of them, leaving those that alone join two parts of the town."""
    left = np.ones(len(streets), bool)
    for street in generator.permutation(len(streets))[: round(share_closed * len(streets))]:
        left[street] = False
        kept = streets[left]
        graph = csr_array((np.ones(len(kept)), (kept[:, 0], kept[:, 1])), shape=(junctions, junctions))
        left[street] = connected_components(graph, directed=False)[0] > 1
    return streets[left]
