"""Arrays of an npz archive from a stranger, read row after row. Objects are refused, nothing is unpickled."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from understudy.episode import Array
from understudy.formats._zips import Zip
from understudy.storage.files import DataError, guarded

__all__ = ["Spool", "StoredRows"]

_HEADER = 10_000  # bytes of a header's text
_AXES = 8


class StoredRows:
    """One array of an archive. Rows come in order, as many as asked for.

    Raises:
        DataError: when it holds no plain numbers, or not as many bytes as its header declares.
    """

    def __init__(self, archive: Zip, name: str) -> None:
        self._label = f"{archive.path}: {name!r}"
        self._file = archive.open(f"{name}.npy")
        with guarded(self._label):
            version = np.lib.format.read_magic(self._file)
            if version == (1, 0):
                header = np.lib.format.read_array_header_1_0(self._file, _HEADER)
            elif version == (2, 0):
                header = np.lib.format.read_array_header_2_0(self._file, _HEADER)
            else:
                raise ValueError(f"npy version {version} is unknown")
            self.shape, self._fortran, self.dtype = header
        if self.dtype.kind not in "fiub" or self.dtype.fields is not None or len(self.shape) > _AXES:
            raise DataError(
                f"{self._label} is {self.dtype}{list(self.shape)}; plain numbers are needed"[:300]
            )
        size = math.prod(self.shape) * self.dtype.itemsize
        if size != archive.size(f"{name}.npy") - self._file.tell():
            raise DataError(f"{self._label} declares {size} bytes, which is not what it has")
        if 0 in self.shape[1:]:
            raise DataError(f"{self._label} has shape {self.shape}; there are no values in it")
        self._whole: Array | None = None
        self.taken = 0

    def __len__(self) -> int:
        return self.shape[0] if self.shape else 1

    def take(self, rows: int) -> Array:
        """The next rows.

        Raises:
            DataError: when there are fewer, or the archive is damaged.
        """
        if rows > len(self) - self.taken:
            raise DataError(f"{self._label} has {len(self)} rows; rows up to {self.taken + rows} are needed")
        if self._fortran and len(self.shape) > 1:  # its rows are not together, so all are read at once
            if self._whole is None:
                flat = self._read(self.shape)
                self._whole = flat.reshape(self.shape[::-1]).transpose()
            out: Array = self._whole[self.taken : self.taken + rows]
        else:
            out = self._read((rows, *self.shape[1:]))
        self.taken += rows
        if self.taken == len(self):
            with guarded(self._label):
                if self._file.read(1):  # the archive holds the checksum against the data only here
                    raise ValueError("there is more than it declares")
        return out

    def all(self) -> Array:
        """Every row, or the one number."""
        return self.take(len(self)).reshape(self.shape)

    def _read(self, shape: tuple[int, ...]) -> Array:
        size = math.prod(shape) * self.dtype.itemsize
        with guarded(self._label):
            raw = self._file.read(size)
            if len(raw) != size:
                raise ValueError("it is cut short")
            if self.dtype.kind == "b":
                flags: Array = np.frombuffer(raw, np.uint8) != 0  # other bytes than 0 and 1 harm NumPy
                return flags.reshape(shape)
            flat: Array = np.frombuffer(raw, self.dtype)
            return flat.reshape(shape).astype(self.dtype.newbyteorder("="), copy=False)


class Spool:
    """An array on its way into an archive: rows are kept in a file until their number is known."""

    def __init__(self, path: Path, like: Array) -> None:
        self._path, self._row, self._dtype = path, like.shape[1:], like.dtype.newbyteorder("<")
        self._rows = 0

    def append(self, rows: Array) -> None:
        """Adds rows of the shape and dtype that the array began with."""
        with open(self._path, "ab") as file:
            file.write(np.ascontiguousarray(rows, self._dtype).data)
        self._rows += len(rows)

    def move(self, archive: zipfile.ZipFile, name: str, packing: int) -> None:
        """Writes the array into the archive as `name`, and removes its file."""
        with open(self._path, "rb") as file:
            add(
                archive,
                name,
                (self._rows, *self._row),
                self._dtype,
                iter(lambda: file.read(1 << 20), b""),
                packing,
            )
        self._path.unlink()


def add(
    archive: zipfile.ZipFile,
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype[np.generic],
    content: Iterable[bytes | memoryview],
    packing: int,
) -> None:
    """Writes an array into an archive as `name`, from pieces of its bytes."""
    info = zipfile.ZipInfo(f"{name}.npy")  # without the hour of writing, so that equal data make equal files
    info.compress_type, info.external_attr = packing, 0o644 << 16
    descr = np.lib.format.dtype_to_descr(dtype)
    with archive.open(info, "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(
            member, {"descr": descr, "fortran_order": False, "shape": tuple(int(n) for n in shape)}
        )
        for piece in content:
            member.write(piece)
