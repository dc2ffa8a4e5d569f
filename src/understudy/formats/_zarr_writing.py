"""Zarr stores of format 2, written piece by piece into a folder or a zip archive."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from understudy.episode import Array
from understudy.formats._zips import put

__all__ = ["Column", "FolderSink", "Sink", "ZipSink", "group"]

_CHUNK = 1 << 20  # bytes of a chunk, before packing


class Sink(Protocol):
    """Where a store is written to."""

    def put(self, name: str, content: bytes) -> None:
        """Adds a file."""


class FolderSink:
    """A store that is a folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def put(self, name: str, content: bytes) -> None:
        place = self._path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


class ZipSink:
    """A store that is a zip archive, its chunks not packed a second time."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def put(self, name: str, content: bytes) -> None:
        put(self._archive, name, content)


class Column:
    """An array of a store that grows along its first axis; each chunk is written once, when it is full."""

    def __init__(self, sink: Sink, name: str, like: Array, *, packed: bool) -> None:
        self._sink, self._name, self._packed = sink, name, packed
        self._row, self._dtype = like.shape[1:], like.dtype.newbyteorder("<")
        bytes_a_row = math.prod(self._row) * like.dtype.itemsize
        self._high = max(1, _CHUNK // max(1, bytes_a_row))
        self._chunk = np.zeros((self._high, *self._row), self._dtype)
        self._used = self._written = 0

    def append(self, rows: Array) -> None:
        """Adds rows of the shape and dtype that the array began with."""
        done = 0
        while done < len(rows):
            take = min(self._high - self._used, len(rows) - done)
            self._chunk[self._used : self._used + take] = rows[done : done + take]
            self._used, done = self._used + take, done + take
            if self._used == self._high:
                self._flush()

    def _flush(self) -> None:
        self._chunk[self._used :] = 0
        name = ".".join([str(self._written // self._high)] + ["0"] * len(self._row))
        self._sink.put(f"{self._name}/{name}", _pack(self._chunk) if self._packed else self._chunk.tobytes())
        self._written, self._used = self._written + self._used, 0

    def close(self) -> None:
        """Writes what is left, and the description."""
        if self._used:
            self._flush()
        packing = {"id": "blosc", "cname": "zstd", "clevel": 5, "shuffle": 2, "blocksize": 0}
        said = {
            "zarr_format": 2,
            "shape": [self._written, *self._row],
            "chunks": [self._high, *self._row],
            "dtype": self._dtype.str,
            "compressor": packing if self._packed else None,
            "fill_value": False if self._dtype.kind == "b" else 0.0 if self._dtype.kind == "f" else 0,
            "order": "C",
            "filters": None,
        }
        self._sink.put(f"{self._name}/.zarray", json.dumps(said, indent=4).encode())


def _pack(chunk: Array) -> bytes:
    from numcodecs import blosc

    return bytes(blosc.compress(chunk, b"zstd", 5, blosc.BITSHUFFLE))


def group(sink: Sink, name: str, attributes: Mapping[str, Any] | None = None) -> None:
    """Makes a group of a store, `name` being "" for its root."""
    inside = f"{name}/" if name else ""
    sink.put(f"{inside}.zgroup", b'{\n    "zarr_format": 2\n}')
    if attributes is not None:
        sink.put(f"{inside}.zattrs", json.dumps(attributes).encode())
