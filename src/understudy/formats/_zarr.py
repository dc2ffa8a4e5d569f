"""Zarr stores of format 2, in a folder or a zip archive, read with NumPy, the codecs and nothing else.

The `zarr` package would run whatever codec a file names and allocate whatever shape it declares. Source: the
zarr v2 storage specification.
"""

from __future__ import annotations

import bz2
import json
import lzma
import math
import re
import zlib
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from understudy.episode import Array
from understudy.formats._zips import Zip
from understudy.storage.files import DataError, Root, guarded, may_unfold

__all__ = ["FolderSource", "Source", "Stored", "ZipSource"]

_DTYPE = re.compile(r"[<>|][fiub][1248]")
_JSON = 64 << 20  # bytes
_AXES = 8
_ABSENT = 10_000  # chunks
_LZMA = 256 << 20  # bytes of memory for unpacking


class Source(Protocol):
    """Where a store is read from; `where` names it in messages."""

    where: str

    def names(self, folder: str) -> list[str]:
        """Sorted names of what lies in a folder of the store."""

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""

    def bytes(self, name: str, limit: int) -> bytes:
        """The contents of a file, refused beyond `limit` bytes."""

    def size(self, name: str) -> int:
        """Bytes of a file."""


class FolderSource:
    """A store that is a folder; links that lead out of it are refused."""

    def __init__(self, path: Path) -> None:
        self._root, self.where = Root(path), str(path)

    def names(self, folder: str) -> list[str]:
        names = self._root.names(folder)
        for name in names:
            place = self._root.folder / folder / name
            if place.is_symlink() and place.is_dir():  # one that leads back up would never end
                raise DataError(f"{place} is a link to a folder, which a store has no use for")
        return names

    def has(self, name: str) -> bool:
        return (self._root.folder / name).is_file()

    def bytes(self, name: str, limit: int) -> bytes:
        return self._root.bytes(name, limit)

    def size(self, name: str) -> int:
        return self._root.size(name)


class ZipSource:
    """A store that is a zip archive, or lies in one folder of it."""

    def __init__(self, archive: Zip, prefix: str = "") -> None:
        self._zip, self._prefix, self.where = archive, prefix, str(archive.path)
        self._folders: dict[str, set[str]] = {}
        self._files: set[str] = set()
        for name in archive.names():
            if name.startswith(prefix) and not name.endswith("/"):
                inside = name.removeprefix(prefix)
                self._files.add(inside)
                parts = inside.split("/")[:_AXES]
                for i, part in enumerate(parts):
                    self._folders.setdefault("/".join(parts[:i]), set()).add(part)

    def names(self, folder: str) -> list[str]:
        return sorted(self._folders.get(folder, ()))

    def has(self, name: str) -> bool:
        return name in self._files

    def bytes(self, name: str, limit: int) -> bytes:
        return self._zip.bytes(self._prefix + name, limit)

    def size(self, name: str) -> int:
        return self._zip.size(self._prefix + name)


def _blosc(raw: bytes, size: int) -> bytes:
    from numcodecs import blosc

    if len(raw) < 16 or int.from_bytes(raw[4:8], "little") != size:
        raise ValueError("a chunk does not unpack to its declared size")
    if int.from_bytes(raw[12:16], "little") != len(raw):
        raise ValueError("a chunk is cut short")
    return bytes(blosc.decompress(raw))


def _lz4(raw: bytes, size: int) -> bytes:
    from numcodecs import lz4

    if int.from_bytes(raw[:4], "little") != size:
        raise ValueError("a chunk does not unpack to its declared size")
    return bytes(lz4.decompress(raw))


def _zstd(raw: bytes, size: int) -> bytes:
    import pyarrow as pa

    unpacked: bytes = pa.decompress(raw, decompressed_size=size, codec="zstd", asbytes=True)
    return unpacked


def _deflated(raw: bytes, size: int) -> bytes:
    return zlib.decompressobj(wbits=47).decompress(raw, size + 1)  # zlib's and gzip's heads both


# What unpacks a chunk, never to more than a byte beyond the size it must have. There are no filters: the
# layout needs none, and one of them runs pickles.
_CODECS: dict[str, Callable[[bytes, int], bytes]] = {
    "blosc": _blosc,
    "lz4": _lz4,
    "zstd": _zstd,
    "zlib": _deflated,
    "gzip": _deflated,
    "bz2": lambda raw, size: bz2.BZ2Decompressor().decompress(raw, size + 1),
    "lzma": lambda raw, size: lzma.LZMADecompressor(memlimit=_LZMA).decompress(raw, size + 1),
}


class Stored:
    """One array of a store; rows are read on demand, and the last row of chunks is kept.

    Raises:
        DataError: when its description is not one we can read, or claims more than its chunks can hold.
    """

    def __init__(self, source: Source, name: str) -> None:
        self._source, self._name, self._label = source, name, f"{source.where}: {name}"
        with guarded(self._label):
            said = json.loads(source.bytes(f"{name}/.zarray", _JSON))
            self.shape, self._chunks = _axes(said["shape"]), _axes(said["chunks"])
            self.dtype = _dtype(said["dtype"])
            self._codec = _codec(said)
            self._order, self._between = said.get("order", "C"), said.get("dimension_separator", ".")
            fill = said.get("fill_value") or 0
            self._fill = np.array(float(fill) if self.dtype.kind == "f" else int(fill)).astype(self.dtype)
        if len(self.shape) != len(self._chunks) or not 1 <= len(self.shape) <= _AXES:
            raise DataError(f"{self._label} has shape {self.shape} but chunks {self._chunks}"[:200])
        if min(self._chunks) < 1 or 0 in self.shape[1:]:
            raise DataError(f"{self._label}: {self.shape} in chunks {self._chunks} holds no values"[:200])
        if self._order not in ("C", "F") or self._between not in (".", "/"):
            raise DataError(f"{self._label}: order {self._order!r} or separator {self._between!r}"[:200])
        self._bound()
        self._at, self._block = -1, np.empty(0, self.dtype)

    def _bound(self) -> None:
        files, self.stored = _below(self._source, self._name)
        self.nbytes = math.prod(self.shape) * self.dtype.itemsize
        claimed = max(self.nbytes, math.prod(self._chunks) * self.dtype.itemsize)
        if claimed > may_unfold(self.stored):
            raise DataError(f"{self._label} claims {claimed} bytes in {self.stored} bytes")
        counts = math.prod(-(-n // c) for n, c in zip(self.shape, self._chunks, strict=True))
        if (
            counts > _ABSENT + 100 * files
        ):  # absent chunks hold the fill value; a file of nothing else is a trap
            raise DataError(f"{self._label} has {counts} chunks, of which {files} are there")

    def __len__(self) -> int:
        return self.shape[0]

    def rows(self, start: int, stop: int) -> Array:
        """Rows [start, stop), a new array in this machine's byte order.

        Raises:
            DataError: when a chunk is damaged, or the array has fewer rows.
        """
        if not 0 <= start <= stop <= len(self):
            raise DataError(f"{self._label} has {len(self)} rows; rows {start} to {stop} were asked for")
        out = np.empty((stop - start, *self.shape[1:]), self.dtype.newbyteorder("="))
        high = self._chunks[0]
        for i in range(start // high, -(-stop // high)):
            if i != self._at:
                self._block, self._at = self._load(i), i
            a, b = max(start, i * high), min(stop, (i + 1) * high)
            out[a - start : b - start] = self._block[a - i * high : b - i * high]
        return out

    def all(self) -> Array:
        """Every row."""
        return self.rows(0, len(self))

    def _load(self, i: int) -> Array:
        """The i-th row of chunks, put together."""
        inner, chunk = self.shape[1:], self._chunks[1:]
        counts = [range(-(-n // c)) for n, c in zip(inner, chunk, strict=True)]
        if not inner:
            return self._chunk((i,))
        block = np.empty((self._chunks[0], *inner), self.dtype)
        for at in product(*counts):
            piece = self._chunk((i, *at))
            places = tuple(slice(k * c, (k + 1) * c) for k, c in zip(at, chunk, strict=True))
            room = block[(slice(None), *places)]
            room[...] = piece[tuple(slice(n) for n in room.shape)]
        return block

    def _chunk(self, at: tuple[int, ...]) -> Array:
        name = f"{self._name}/{self._between.join(map(str, at))}"
        if not self._source.has(name):  # a chunk of nothing but the fill value need not be there
            return np.full(self._chunks, self._fill)
        size = math.prod(self._chunks) * self.dtype.itemsize
        with guarded(f"{self._source.where}: {name}"):
            raw = self._source.bytes(name, size + size // 4 + (1 << 16))
            raw = raw if self._codec is None else self._codec(raw, size)
            if len(raw) != size:
                raise ValueError(f"a chunk holds {len(raw)} bytes; its shape needs {size}")
            flat = np.frombuffer(raw, np.uint8 if self.dtype.kind == "b" else self.dtype)
            return (flat != 0 if self.dtype.kind == "b" else flat).reshape(self._chunks, order=self._order)


def _axes(said: object) -> tuple[int, ...]:
    if isinstance(said, list) and all(type(n) is int and 0 <= n < 2**48 for n in said):
        return tuple(said)
    raise ValueError(f"{said!r} is no shape"[:200])


def _dtype(said: object) -> np.dtype[Any]:
    if isinstance(said, str) and _DTYPE.fullmatch(said):
        return np.dtype(said)
    raise ValueError(f"dtype {said!r} holds no plain numbers"[:200])


def _codec(said: Mapping[str, Any]) -> Callable[[bytes, int], bytes] | None:
    """The one codec an array may have."""
    if said.get("zarr_format") != 2:
        raise ValueError(f"zarr format {said.get('zarr_format')!r}; format 2 is what this layout has"[:200])
    if said.get("filters"):
        raise ValueError(f"filters {said['filters']!r}; arrays with filters are not read"[:200])
    if said.get("compressor") is None:
        return None
    name = said["compressor"]["id"]
    if name not in _CODECS:
        raise ValueError(f"compressor {name!r}; known are {', '.join(sorted(_CODECS))}"[:200])
    return _CODECS[name]


def _below(source: Source, folder: str, depth: int = 0) -> tuple[int, int]:
    """How many files an array has, and their bytes; where the separator is a slash, chunks lie in folders."""
    files = size = 0
    for name in source.names(folder):
        path = f"{folder}/{name}"
        if source.has(path):
            files, size = files + 1, size + source.size(path)
        elif depth < _AXES:
            more = _below(source, path, depth + 1)
            files, size = files + more[0], size + more[1]
    return files, size
