"""HDF5 files from strangers: what is refused before a value is read.

HDF5 can point out of its file (external links, external storage, virtual datasets), load code (filter
plugins), and declare shapes it does not hold. All of that is refused before a value is read.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from understudy.episode import Array
from understudy.storage.files import DataError, may_unfold

__all__ = ["Opened", "is_hdf5", "opened"]

_MAGIC = b"\x89HDF\r\n\x1a\n"
_FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset", 32000: "lzf"}
_TEXT = 64 << 20  # bytes of one text
_MEMBERS = 1_000_000  # of one group
_SIDE = 16_384  # pixels


def is_hdf5(path: str | os.PathLike[str]) -> bool:
    """Whether a regular file begins as HDF5 does; never raises."""
    try:
        if not os.path.isfile(path):
            return False
        with open(path, "rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Opened]:
    """A file opened for reading.

    Raises:
        DataError: when it is not HDF5.
    """
    import h5py

    if not is_hdf5(path):
        raise DataError(f"{path} is not an HDF5 file")
    with h5py.File(path, "r", locking=False) as file:
        yield Opened(file, path, os.path.getsize(path))


class Opened:
    """A group of an HDF5 file, whose members are looked at before they are read."""

    def __init__(self, group: Any, path: Path, size: int) -> None:
        self._group, self._path, self._size = group, path, size

    def _place(self, name: str) -> str:
        return f"{self._path}:{str(self._group.name).rstrip('/')}/{name}"

    def names(self) -> list[str]:
        """The members' names, sorted."""
        if len(self._group) > _MEMBERS:
            raise DataError(f"{self._path}: a group has more than {_MEMBERS} members")
        return sorted(self._group)

    def __contains__(self, name: str) -> bool:
        return name.encode() in self._group.id

    def _member(self, name: str) -> Any:
        """A member that lies in this file, by one step: no path, no link elsewhere."""
        import h5py

        if "/" in name or name in ("", ".", ".."):
            raise DataError(f"{self._path}: {name!r} is no name of a member")
        if name not in self:
            raise DataError(f"{self._place(name)} is missing")
        if self._group.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
            raise DataError(f"{self._place(name)} is a link to somewhere else; those are not followed")
        return self._group[name]

    def group(self, name: str) -> Opened | None:
        """A member that is a group; None where there is none of that name, or it is a dataset."""
        import h5py

        if name not in self or not isinstance(member := self._member(name), h5py.Group):
            return None
        return Opened(member, self._path, self._size)

    def need(self, name: str) -> Opened:
        """A member that must be a group."""
        if (found := self.group(name)) is None:
            raise DataError(f"{self._place(name)} is missing or no group")
        return found

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of a member that is a dataset of numbers; None for anything else."""
        import h5py

        member = self._member(name)
        if not isinstance(member, h5py.Dataset) or member.shape is None or not _numeric(member.id.get_type()):
            return None
        return tuple(int(n) for n in member.shape)

    def array(self, name: str) -> Array:
        """The values of a dataset of numbers.

        Raises:
            DataError: when it is none, lies outside the file, needs a plugin, or claims more than the file
                can hold.
        """
        return np.asarray(self._numbers(name)[()])

    def states(self, name: str, last: Array | None) -> Array:
        """A column [T, ...] and behind it one state [1, ...], else its own last one again: [T + 1, ...].

        It is read into its place, floats as float32, so that images and float64 take no second copy. Raises
        as `array`.
        """
        dataset = self._numbers(name)
        if not dataset.shape or not len(dataset):
            raise DataError(f"{self._place(name)} has no rows")
        kind = np.dtype(np.float32) if dataset.dtype.kind == "f" else dataset.dtype.newbyteorder("=")
        column = np.empty((len(dataset) + 1, *dataset.shape[1:]), kind)
        if dataset.size:
            dataset.read_direct(column, dest_sel=np.s_[: len(dataset)])
        column[-1:] = column[-2:-1] if last is None else last.reshape(1, *column.shape[1:])
        column.flags.writeable = False  # so that the episode takes no copy either
        return column[:, None] if column.ndim == 1 else column

    def row(self, name: str) -> Array:
        """The last row [1, ...] of a column; raises as `array`."""
        dataset = self._numbers(name)
        if not dataset.shape or not len(dataset):
            raise DataError(f"{self._place(name)} has no rows")
        return np.asarray(dataset[-1:])

    def double(self, name: str) -> bool:
        """Whether a dataset of numbers holds float64."""
        return bool(self._numbers(name).dtype.kind == "f" and self._numbers(name).dtype.itemsize > 4)

    def _numbers(self, name: str) -> Any:
        dataset = self._dataset(name)
        if not _numeric(dataset.id.get_type()):
            raise DataError(f"{self._place(name)} holds {str(dataset.dtype)[:60]}; numbers are needed")
        return dataset

    def pictures(self, name: str) -> Array:
        """Pictures [T, H, W, 3] from a dataset whose rows are JPEG or PNG files, padded or of any length."""
        found: list[Array] = []
        size = 0
        for data in self._packed(name):
            found.append(_picture(data))
            size += len(data)
            if found[-1].shape != found[0].shape:
                raise DataError(f"{self._place(name)} has pictures of several sizes")
            if len(found) * found[0].size > may_unfold(size):
                raise DataError(f"{self._place(name)} has pictures that unfold without measure")
        if not found:
            raise DataError(f"{self._place(name)} has no rows")
        return np.stack(found)

    def _packed(self, name: str) -> Iterator[bytes]:
        import h5py

        dataset = self._dataset(name, ragged=True)
        kind = dataset.id.get_type()
        ragged = kind.get_class() == h5py.h5t.VLEN
        if str(kind.get_super().dtype if ragged else dataset.dtype) != "uint8" or dataset.ndim != 2 - ragged:
            raise DataError(f"{self._place(name)} holds {str(dataset.dtype)[:60]}; packed pictures are bytes")
        for i in range(len(dataset)):
            yield bytes(dataset[i])

    def _dataset(self, name: str, *, ragged: bool = False) -> Any:
        import h5py

        dataset = self._member(name)
        if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
            raise DataError(f"{self._place(name)} is no dataset")
        made = dataset.id.get_create_plist()
        if made.get_external_count() or made.get_layout() == h5py.h5d.VIRTUAL:
            raise DataError(f"{self._place(name)} keeps its values in another file, which is not followed")
        for i in range(made.get_nfilters()):
            if (code := made.get_filter(i)[0]) not in _FILTERS:
                raise DataError(f"{self._place(name)} is packed with filter {code}, a plugin; none is loaded")
        if not ragged and dataset.size * dataset.id.get_type().get_size() > may_unfold(self._size):
            raise DataError(
                f"{self._place(name)} claims {dataset.size} values in a file of {self._size} bytes"
            )
        return dataset

    def attribute(self, name: str) -> str | int | float | None:
        """A text or number beside a group; None where there is none of that name, or it is something else."""
        import h5py

        if not h5py.h5a.exists(self._group.id, name.encode()):
            return None
        at = self._group.attrs.get_id(name)
        kind = at.get_type()
        if at.shape not in ((), (1,)) or at.get_storage_size() > _TEXT:
            return None
        if kind.get_class() != h5py.h5t.STRING and not _numeric(kind):
            return None
        value = np.asarray(self._group.attrs[name]).reshape(-1)[0]
        if isinstance(value, bytes | str):
            return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        plain = value.item()
        return plain if isinstance(plain, int | float) else None

    def texts(self, name: str) -> list[str]:
        """The values [n] of a dataset of texts."""
        import h5py

        dataset = self._dataset(name)
        if dataset.id.get_type().get_class() != h5py.h5t.STRING or dataset.ndim != 1:
            raise DataError(f"{self._place(name)} holds no list of texts")
        return [bytes(t).decode("utf-8", "replace") for t in dataset[()]]


def _numeric(kind: Any) -> bool:
    """Whether an HDF5 type is a number of at most 8 bytes, or h5py's bool."""
    import h5py

    family = kind.get_class()
    plain = family in (h5py.h5t.INTEGER, h5py.h5t.FLOAT)
    boolean = family == h5py.h5t.ENUM and kind.get_size() == 1 and kind.get_nmembers() == 2
    return bool((plain or boolean) and kind.get_size() <= 8)


def _picture(data: bytes) -> Array:
    """A JPEG or PNG picture as uint8 [H, W, 3], refused where it claims to be huge."""
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=["JPEG", "PNG"]) as image:
        if max(image.size) > _SIDE or image.size[0] * image.size[1] * 3 > may_unfold(len(data)):
            raise DataError(f"a packed picture claims to be {image.size[0]}x{image.size[1]}")
        return np.asarray(image.convert("RGB"))
