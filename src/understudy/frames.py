"""Pictures that are decoded when they are asked for, in place of an array of all of them. NumPy only.

Shapes: N pictures of height H, width W and C channels.
"""

from __future__ import annotations

import itertools
import os
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, TypeAlias, TypeGuard, cast, final

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

__all__ = [
    "CACHE",
    "Cache",
    "Frames",
    "Spans",
    "equal",
    "join",
    "lazy",
    "pieces",
    "row_bytes",
    "token",
    "view",
]

Array: TypeAlias = NDArray[Any]
Rows: TypeAlias = NDArray[np.int64]

_PIECE = 64 << 20  # bytes decoded at once where a whole column passes through


@final
class Cache:
    """Values by key, at most `limit` bytes of them together: the least recently used go first.

    One larger than the limit is not kept. Threads may share it; a forked process begins with an empty one.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)  # another thread may have held the lock

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._bytes = 0

    @property
    def limit(self) -> int:
        """The most bytes that are kept; lowering it lets go of what is too much."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        if limit < 0:
            raise ValueError(f"the cache's limit is {limit} bytes; it must be 0 or more")
        with self._lock:
            self._limit = limit
            self._shrink()

    @property
    def nbytes(self) -> int:
        """The bytes that are kept now."""
        return self._bytes

    def get(self, key: Hashable) -> Any | None:
        """What was kept under this key, or None."""
        with self._lock:
            if (found := self._kept.get(key)) is None:
                return None
            self._kept.move_to_end(key)
            return found[0]

    def put(self, key: Hashable, value: Any, nbytes: int) -> None:
        """Keeps a value that takes so many bytes; it must not be changed afterwards."""
        with self._lock:
            if (old := self._kept.pop(key, None)) is not None:
                self._bytes -= old[1]
            self._kept[key] = (value, nbytes)
            self._bytes += nbytes
            self._shrink()

    def _shrink(self) -> None:
        while self._bytes > self._limit:
            _, (_, nbytes) = self._kept.popitem(last=False)
            self._bytes -= nbytes


CACHE = Cache(256 << 20)
"""What this process keeps of decoded pictures and of what they are decoded from; its `limit` may be set."""


_tokens = itertools.count()


def token() -> int:
    """A number that nobody else in this process has: what keys of the cache begin with."""
    return next(_tokens)


class Frames(ABC):
    """Pictures [N, H, W, C] of uint8, decoded when they are asked for, bit for bit the same each time.

    It stands where an array of them would: ``frames[3]`` is one picture, ``frames[2:5]`` and
    ``frames[[7, 1]]`` are arrays of some, ``frames.take(rows)`` gathers, ``np.asarray(frames)`` decodes all.
    What must stay on disk is cut with `view` and put end to end with `join`.

    Whatever is wrong with the file behind them is met when they are decoded; see the kind of frames.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    @abstractmethod
    def fill(self, rows: Rows, out: Array) -> None:
        """Decodes the pictures with these numbers, strictly increasing in [0, N), into out [n, H, W, C]."""

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """The bytes that all of them would take in memory."""
        return int(np.prod(self.shape, dtype=np.int64))

    def take(self, rows: ArrayLike, axis: int = 0) -> Array:
        """The pictures with these numbers, an array [*rows.shape, H, W, C]; each is decoded once."""
        if axis != 0:
            raise ValueError(f"axis is {axis}; pictures can be taken along axis 0 only")
        wanted = np.asarray(rows)
        if wanted.dtype.kind not in "iu" and wanted.size:
            raise TypeError(f"rows have dtype {wanted.dtype}; whole numbers are needed")
        flat = wanted.reshape(-1).astype(np.int64)
        if flat.size and (flat.min() < -len(self) or flat.max() >= len(self)):
            bad = flat[(flat < -len(self)) | (flat >= len(self))][0]
            raise IndexError(f"there is no picture {bad}; there are {len(self)}")
        flat[flat < 0] += len(self)
        out = np.empty((len(flat), *self.shape[1:]), np.uint8)
        if (np.diff(flat) > 0).all():
            self.fill(flat, out)
        else:
            once, where = np.unique(flat, return_inverse=True)
            some = np.empty((len(once), *self.shape[1:]), np.uint8)
            self.fill(once, some)
            np.take(some, where.reshape(-1), axis=0, out=out)
        return out.reshape(*wanted.shape, *self.shape[1:])

    def __getitem__(self, index: Any) -> Array:
        if isinstance(index, slice):
            return self.take(np.arange(*index.indices(len(self))))
        if isinstance(index, tuple):
            raise TypeError("pictures are indexed by number; cut the array that comes back")
        rows = np.asarray(index)
        if rows.dtype == np.bool_:
            if rows.shape != (len(self),):
                raise IndexError(f"a mask of shape {rows.shape} does not fit {len(self)} pictures")
            rows = np.flatnonzero(rows)
        return self.take(rows)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("decoding pictures makes a copy of them")
        return self[:] if dtype is None else self[:].astype(dtype, copy=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({' × '.join(map(str, self.shape))})"


@final
class Spans(Frames):
    """Runs of pictures out of other frames or arrays, end to end. Made by `join` and `view`.

    Args:
        sources: what the runs are of.
        source: [S], the number of each run's source; start: [S], its first picture there.
        first: [S + 1], where each run begins here, and the end.
    """

    def __init__(self, sources: Sequence[Frames | Array], source: Rows, start: Rows, first: Rows) -> None:
        super().__init__((int(first[-1]), *sources[0].shape[1:]))
        self.sources, self.source, self.start, self.first = tuple(sources), source, start, first

    def fill(self, rows: Rows, out: Array) -> None:
        run = np.searchsorted(self.first, rows, side="right") - 1
        there = rows - self.first[run] + self.start[run]
        edges = [0, *(np.flatnonzero(np.diff(run)) + 1).tolist(), len(rows)]
        for a, b in itertools.pairwise(edges):
            if a == b:
                continue
            source = self.sources[self.source[run[a]]]
            if isinstance(source, Frames):
                source.fill(there[a:b], out[a:b])
            else:
                np.take(source, there[a:b], axis=0, out=out[a:b])

    def between(self, a: int, b: int) -> Spans:
        """The pictures [a, b), with only the sources they come from."""
        i = int(np.searchsorted(self.first, a, side="right")) - 1
        j = int(np.searchsorted(self.first, b, side="left"))
        start, first = self.start[i:j].copy(), np.clip(self.first[i : j + 1], a, b) - a
        start[0] += a - self.first[i]
        used, source = np.unique(self.source[i:j], return_inverse=True)
        return Spans([self.sources[k] for k in used], source.reshape(-1), start, first)


def lazy(column: object) -> TypeGuard[Frames]:
    """Whether a column is frames. Columns are annotated as arrays, which frames stand in for."""
    return isinstance(column, Frames)


def view(column: Array, a: int, b: int) -> Array:
    """The rows [a, b) of an array or of frames, a < b, without copying or decoding any."""
    if not lazy(column):
        return column[a:b]
    if not 0 <= a < b <= len(column):
        raise IndexError(f"[{a}, {b}) is no part of {len(column)} pictures")
    if (a, b) == (0, len(column)):
        return cast(Array, column)
    if isinstance(column, Spans):
        return cast(Array, column.between(a, b))
    return cast(Array, Spans([column], np.zeros(1, np.int64), np.array([a]), np.array([0, b - a])))


def join(parts: Sequence[Frames | Array]) -> Frames:
    """Frames and arrays of like pictures end to end, without decoding any; neighbours of one source merge.

    Raises:
        ValueError: when they differ in the shape of a picture, or there are none.
    """
    if not parts or len({p.shape[1:] for p in parts}) != 1 or any(p.dtype != np.uint8 for p in parts):
        raise ValueError(
            f"cannot join {[(str(p.dtype), p.shape) for p in parts][:4]}; pictures must be alike"
        )
    sources: dict[int, Frames | Array] = {}
    runs: list[tuple[int, int, int]] = []  # key of the source, first, end
    for part in parts:
        for source, a, b in _runs(part):
            key = id(source)
            sources[key] = source
            if runs and runs[-1][0] == key and runs[-1][2] == a:
                runs[-1] = (key, runs[-1][1], b)
            elif b > a:
                runs.append((key, a, b))
    order = {key: i for i, key in enumerate(sources)}
    only = sources[runs[0][0]] if len(runs) == 1 else None
    if isinstance(only, Frames) and runs[0][1:] == (0, len(only)):
        return only
    starts, ends = (np.array([r[i] for r in runs], np.int64) for i in (1, 2))
    first = np.concatenate([[0], np.cumsum(ends - starts)])
    return Spans(list(sources.values()), np.array([order[r[0]] for r in runs], np.int64), starts, first)


def _runs(part: Frames | Array) -> list[tuple[Frames | Array, int, int]]:
    if not isinstance(part, Spans):
        return [(part, 0, len(part))]
    sizes = np.diff(part.first)
    return [
        (part.sources[k], int(a), int(a + n)) for k, a, n in zip(part.source, part.start, sizes, strict=True)
    ]


def row_bytes(column: Array | Frames) -> int:
    """The bytes of one row."""
    return int(np.prod(column.shape[1:], dtype=np.int64)) * column.dtype.itemsize


def pieces(column: Array | Frames, rows: int | None = None) -> Iterator[Array]:
    """The rows of a column in order: an array in one piece, frames as arrays of bounded size."""
    if not isinstance(column, Frames):
        yield column
        return
    most = rows or max(1, _PIECE // row_bytes(column))
    for at in range(0, len(column), most):
        yield column[at : at + most]


def equal(a: Array | Frames, b: Array | Frames) -> bool:
    """Whether two columns hold the same values in the same dtype; frames are decoded piece by piece."""
    if a is b:
        return True
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if not isinstance(a, Frames) and not isinstance(b, Frames):
        return np.array_equal(a, b)
    most = max(1, _PIECE // row_bytes(a))
    return all(np.array_equal(a[at : at + most], b[at : at + most]) for at in range(0, len(a), most))
