"""Statistics of columns in one pass: exact moments, quantiles with a bound on their error. NumPy only.

Shapes: n rows, D values a row; columns are held transposed, [D, n], so that each value's rows lie together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from understudy.episode import Array

__all__ = ["QUANTILES", "Histogram", "Numbers", "Sketch"]

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
_ROWS = 1 << 16  # rows handled at once; bounds the float64 copy
_MANY = 4096  # rows that are sorted on their own
_BUDGET = 1 << 20  # values in one level of a sketch over all dimensions


def interpolated(sorted_rows: Array, q: float) -> NDArray[np.float64]:
    """[D], the quantile q of sorted columns [D, n], linear between neighbours as numpy.quantile's default."""
    at = q * (sorted_rows.shape[1] - 1)
    low = int(at)
    a = sorted_rows[:, low].astype(np.float64)
    b = sorted_rows[:, min(low + 1, sorted_rows.shape[1] - 1)].astype(np.float64)
    between: NDArray[np.float64] = a + (b - a) * (at - low)
    return between


class Sketch:
    """Quantiles of D streams of equal length, exact below 2 × capacity rows, then from a bounded sample.

    Level l holds items that stand for 2^l rows each. A full level is sorted, every second item moves up and
    the rest is dropped, from the even and the odd places in turn so that the errors cancel; many rows at once
    go straight to the level they would reach (Karnin, Lang and Liberty 2016, with equal capacities and
    without chance). `error` bounds how far the rank of any answer can be off; it is about n·log2(n /
    capacity) / (2 · capacity) at worst, 0.2 % of n at 10 million rows, and about ten times less in practice.
    """

    def __init__(self, width: int, dtype: np.dtype[Any]) -> None:
        room = max(16, _BUDGET // (2 * width))
        self.capacity = min(2048, 1 << (room.bit_length() - 1))
        self._room = max(2 * self.capacity, min(_ROWS, _BUDGET // width))  # rows to be sorted together
        self.count = 0
        self.error = 0.0
        self._pending: list[Array] = []  # level 0, not yet joined, in no order
        self._waiting = 0  # rows of it
        self._levels: list[Array] = [np.empty((width, 0), dtype)]  # [D, m_l]; level 0 stays empty
        self._odd = 0

    def add(self, columns: Array, *, ordered: bool = False) -> None:
        """Takes in rows [D, n]; `ordered` says that each column is sorted already."""
        self.count += columns.shape[1]
        self._waiting += columns.shape[1]
        self._pending.append(columns)
        if self._waiting >= self._room:
            self._settle(ordered=ordered)

    def _settle(self, *, ordered: bool = False) -> None:
        """Sorts what waits, if it is too much to keep as it is, and leaves a sample of it in the levels."""
        if self._waiting < 2 * self.capacity:
            return
        rows = self._pending[0]
        if len(self._pending) > 1:
            rows = np.concatenate(self._pending, axis=1)
            rows.sort(axis=1)
        elif not ordered:
            rows = np.sort(rows, axis=1)
        level = (self._waiting // self.capacity).bit_length() - 1
        step = 1 << level
        whole = self._waiting // step * step
        self._waiting -= whole
        self._pending = [np.array(rows[:, whole:])] if self._waiting else []
        self.error += step / 2
        self._put(level, rows[:, step // 2 : whole : step])

    def _put(self, level: int, items: Array) -> None:
        while len(self._levels) <= level:
            self._levels.append(self._levels[0][:, :0])
        here = np.concatenate([self._levels[level], items], axis=1)
        self._levels[level] = here
        if here.shape[1] >= 2 * self.capacity:
            even = here.shape[1] // 2 * 2
            self._levels[level] = np.array(here[:, even:])
            self._odd ^= 1
            self.error += 2**level
            self._put(level + 1, np.sort(here[:, :even], axis=1)[:, self._odd :: 2])

    def quantiles(self, qs: ArrayLike) -> NDArray[np.float64]:
        """[len(qs), D]."""
        self._settle()
        wanted = np.asarray(qs, np.float64)
        parts = [*self._pending, *self._levels[1:]]
        weights = [1] * len(self._pending) + [2**i for i in range(1, len(self._levels))]
        items = np.concatenate(parts, axis=1)
        if all(p.shape[1] == 0 for p in self._levels[1:]):
            ordered = np.sort(items, axis=1)
            return np.stack([interpolated(ordered, q) for q in wanted])
        weight = np.concatenate([np.full(p.shape[1], w) for p, w in zip(parts, weights, strict=True)])
        out = np.empty((len(wanted), len(items)))
        for d, row in enumerate(items):
            order = np.argsort(row, kind="stable")
            w = weight[order]
            middle = np.cumsum(w) - w / 2 - 0.5  # an item of weight 1 stands at its own rank
            out[:, d] = np.interp(wanted * (self.count - 1), middle, row[order].astype(np.float64))
        return out

    def state(self) -> dict[str, Array]:
        """All of it as arrays, for `load`."""
        self._settle()
        width, dtype = len(self._levels[0]), self._levels[0].dtype
        pending = np.concatenate([np.empty((width, 0), dtype), *self._pending], axis=1)
        arrays = {f"level{i}": np.ascontiguousarray(x) for i, x in enumerate([pending, *self._levels[1:]])}
        return arrays | {"sketch": np.array([self.count, self.error, self._odd], np.float64)}

    def load(self, state: Mapping[str, Array]) -> None:
        """Continues from a saved state.

        Raises:
            ValueError: when the state is of another width or dtype, or its items do not add up to its count.
        """
        count, error, odd = (float(x) for x in state["sketch"])
        levels = [state[f"level{i}"] for i in range(len([k for k in state if k.startswith("level")]))]
        width, dtype = len(self._levels[0]), self._levels[0].dtype
        if not levels or any(x.ndim != 2 or len(x) != width or x.dtype != dtype for x in levels):
            raise ValueError("the saved sketch has another shape")
        if len(levels) > 60 or sum(x.shape[1] << i for i, x in enumerate(levels)) != count:
            raise ValueError("the saved sketch does not add up")
        self.count, self.error, self._odd = int(count), error, int(odd) & 1
        self._waiting = levels[0].shape[1]
        self._pending = [levels[0]] if self._waiting else []
        self._levels = [self._levels[0][:, :0], *levels[1:]]


class _Moments:
    """Count, range, mean and spread of D values, in float64."""

    def __init__(self, width: int) -> None:
        self.count = 0
        self.low = np.full(width, np.inf)
        self.high = np.full(width, -np.inf)
        self.mean = np.zeros(width)
        self.spread = np.zeros(width)  # sum of squared deviations from the mean

    def add(self, columns: Array, *, ordered: bool) -> None:
        """Takes in rows [D, n]; `ordered` says that each column is sorted."""
        wide = columns.astype(np.float64)
        mean = wide.mean(axis=1)
        wide -= mean[:, None]
        edges = (columns[:, 0], columns[:, -1]) if ordered else (columns.min(axis=1), columns.max(axis=1))
        self.merge(columns.shape[1], mean, np.einsum("dn,dn->d", wide, wide), *edges)

    def merge(self, n: int, mean: Array, spread: Array, low: Array, high: Array) -> None:
        """Adds the moments of n other rows (Chan, Golub and LeVeque 1983, equation 2.1)."""
        total, step = self.count + n, mean - self.mean
        self.spread += spread + step * step * (self.count * n / total)
        self.mean += step * (n / total)
        self.count = total
        np.minimum(self.low, low, out=self.low)
        np.maximum(self.high, high, out=self.high)

    def values(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """min, max, mean and std as lists of `shape`."""
        mean = np.clip(self.mean, self.low, self.high)
        found = {"min": self.low, "max": self.high, "mean": mean, "std": np.sqrt(self.spread / self.count)}
        return {k: v.reshape(shape).tolist() for k, v in found.items()}


class Numbers:
    """Statistics of a column of numbers, value by value: min, max, mean, std (population), quantiles."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape, self._width = shape, int(np.prod(shape))
        self.all = _Moments(self._width)
        self.sketch = Sketch(self._width, dtype)

    @property
    def count(self) -> int:
        """Rows taken in."""
        return self.all.count

    def add(self, rows: Array) -> dict[str, Any]:
        """Takes in rows [n, *shape], n >= 1; gives back their own moments."""
        flat = rows.reshape(len(rows), -1)
        here = _Moments(self._width)
        for at in range(0, len(flat), _ROWS):
            columns = np.array(flat[at : at + _ROWS].T, order="C")
            if ordered := columns.shape[1] >= _MANY:  # fewer are sorted once with others
                columns.sort(axis=1)
            here.add(columns, ordered=ordered)
            self.sketch.add(columns, ordered=ordered)
        self.all.merge(here.count, here.mean, here.spread, here.low, here.high)
        return here.values(self.shape) | {"count": [here.count]}

    def summary(self) -> dict[str, Any]:
        """The statistics as lists of `shape`; count is [rows]."""
        found = np.clip(self.sketch.quantiles(list(QUANTILES.values())), self.all.low, self.all.high)
        quantiles = {k: v.reshape(self.shape).tolist() for k, v in zip(QUANTILES, found, strict=True)}
        return self.all.values(self.shape) | {"count": [self.count]} | quantiles

    def state(self) -> dict[str, Array]:
        """All of it as arrays, for `load`."""
        mine = self.all
        moments = np.stack([mine.low, mine.high, mine.mean, mine.spread])
        return self.sketch.state() | {"moments": moments}

    def load(self, state: Mapping[str, Array]) -> None:
        """Continues from a saved state.

        Raises:
            ValueError: when it does not fit.
        """
        if state["moments"].shape != (4, self._width):
            raise ValueError("the saved moments have another shape")
        self.sketch.load(state)
        mine = self.all
        mine.low, mine.high, mine.mean, mine.spread = (x.astype(np.float64) for x in state["moments"])
        mine.count = self.sketch.count


class Histogram:
    """Statistics of uint8 columns over all pixels, exact from counts: a channel each for images, else one.

    Values of images are given in [0, 1], as LeRobot has them; `count` is the number of rows (frames).
    """

    def __init__(self, shape: tuple[int, ...], *, channels: int, image: bool) -> None:
        self.shape = shape  # of a statistic
        self.scale = 255.0 if image else 1.0
        self.frames = 0
        self.counts = np.zeros((channels, 256), np.int64)

    def add(self, rows: Array) -> dict[str, Any]:
        """Takes in rows [n, ...]; gives back their own moments."""
        here = Histogram(self.shape, channels=len(self.counts), image=self.scale != 1.0)
        for row in rows:  # one picture at a time: bincount makes 8 bytes of each
            for c, pixels in enumerate(row.reshape(-1, len(self.counts)).T):
                here.counts[c] += np.bincount(pixels, minlength=256)
        here.frames = len(rows)
        return self.merge(here)

    def merge(self, here: Histogram) -> dict[str, Any]:
        """Takes in those of other rows; gives back their moments."""
        self.frames += here.frames
        self.counts += here.counts
        return {k: v for k, v in here.summary().items() if k not in QUANTILES}

    def summary(self) -> dict[str, Any]:
        """The statistics as lists of `shape`; count is [rows]."""
        value = np.arange(256.0) / self.scale
        total = self.counts.sum(axis=1, keepdims=True)
        mean = (self.counts @ value) / total[:, 0]
        there = self.counts > 0
        out = {
            "min": value[there.argmax(axis=1)],
            "max": value[255 - there[:, ::-1].argmax(axis=1)],
            "mean": mean,
            "std": np.sqrt((self.counts * (value - mean[:, None]) ** 2).sum(axis=1) / total[:, 0]),
        }
        upto = np.cumsum(self.counts, axis=1)
        for name, q in QUANTILES.items():
            rank = q * (total[:, 0] - 1)
            low = np.floor(rank)
            a = value[(upto <= low[:, None]).sum(axis=1)]
            b = value[np.minimum((upto <= np.minimum(low + 1, total[:, 0] - 1)[:, None]).sum(axis=1), 255)]
            out[name] = a + (b - a) * (rank - low)
        return {k: v.reshape(self.shape).tolist() for k, v in out.items()} | {"count": [self.frames]}

    def state(self) -> dict[str, Array]:
        """All of it as arrays, for `load`."""
        return {"counts": self.counts, "frames": np.array([self.frames])}

    def load(self, state: Mapping[str, Array]) -> None:
        """Continues from a saved state.

        Raises:
            ValueError: when it does not fit.
        """
        if state["counts"].shape != self.counts.shape or state["counts"].dtype != np.int64:
            raise ValueError("the saved histogram has another shape")
        self.frames, self.counts = int(state["frames"][0]), np.array(state["counts"])
