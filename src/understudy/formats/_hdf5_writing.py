"""HDF5 files of our own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from understudy.storage.files import DataError

__all__ = ["created", "put", "stored_names"]

_PIECE = 16 << 20  # bytes written at once


class _Steady:
    """A file that HDF5 never finds full: its library crashes the process where a write fails. The first
    failure is kept for us, and what comes after it goes nowhere."""

    def __init__(self, handle: int) -> None:
        self._handle, self._at, self._size = handle, 0, 0
        self.failed: OSError | None = None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int) -> bytes:
        data = bytearray(size)
        self.readinto(memoryview(data))
        return bytes(data)

    def readinto(self, buffer: memoryview) -> int:
        data = os.pread(self._handle, len(buffer), self._at)
        buffer[: len(data)] = data
        buffer[len(data) :] = bytes(len(buffer) - len(data))
        self._at += len(buffer)
        return len(buffer)

    def write(self, data: memoryview) -> int:
        with self._noting():
            done = 0
            while self.failed is None and done < len(data):
                done += os.pwrite(self._handle, data[done:], self._at + done)
        self._at += len(data)
        self._size = max(self._size, self._at)
        return len(data)

    def truncate(self, size: int) -> int:
        with self._noting():
            if self.failed is None:
                os.ftruncate(self._handle, size)
        self._size = size
        return size

    def flush(self) -> None:
        pass

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except OSError as e:
            self.failed = e


@contextlib.contextmanager
def created(path: Path) -> Iterator[Any]:
    """A new h5py.File to write into.

    Raises:
        OSError: when a write failed, such as on a full disk: at the end, or as soon as HDF5 stumbles over it.
    """
    import h5py

    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    steady = _Steady(handle)
    try:
        with h5py.File(steady, "w") as file:
            yield file
    finally:
        os.close(handle)
        if steady.failed is not None:
            raise steady.failed


def stored_names(keys: Iterable[str]) -> dict[str, str]:
    """Observation -> its name in the file, in which a slash would part groups.

    Raises:
        DataError: when two observations would get the same name.
    """
    names = {key: key.replace("/", ".").replace("\0", "") for key in keys}
    names = {key: f"obs{name}" if not name.strip(".") else name for key, name in names.items()}
    for name in names.values():
        if len(same := [k for k, n in names.items() if n == name]) > 1:
            raise DataError(f"observations {same[0]!r} and {same[1]!r} would both be stored as {name!r}")
    return names


def put(group: Any, name: str, column: Any, dtype: str, rows: slice, *, pack: bool = False) -> None:
    """Writes some rows of a column [T, ...] piece by piece, converted; `pack` compresses each row."""
    first, last, _ = rows.indices(len(column))
    shape = (last - first, *column.shape[1:])
    packing: dict[str, Any] = {"compression": "gzip", "chunks": (1, *shape[1:])} if pack else {}
    made = group.create_dataset(name, shape, dtype, **packing)
    step = max(1, _PIECE * len(column) // max(1, column.nbytes))
    for i in range(first, last, step):
        end = min(i + step, last)
        made[i - first : end - first] = np.asarray(column[i:end])
