"""Files that are whole or absent, and files from strangers. No knowledge of datasets.

A file is written under a temporary name beside its place, synced, and renamed; several files that belong
together are all written before the first of them is renamed, so that a full disk is met while nothing has
changed yet.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from understudy.storage.footer import claimed_values

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

__all__ = [
    "Commit",
    "DataError",
    "Lock",
    "Root",
    "guarded",
    "is_temporary",
    "may_unfold",
    "sync_folder",
]

_SUFFIX = ".tmp"  # never .parquet: LeRobot's loader takes in every *.parquet it finds
_LOCK = ".understudy.lock"
_AT_ONCE = 8 << 20  # bytes up to which a file is read in one go rather than piece by piece


def may_unfold(size: int) -> int:
    """Bytes of memory that so many bytes on disk may turn into before we take them for a bomb.

    Deflate, the strongest packing in use, reaches 1032 to 1; small files are let off.
    """
    return (256 << 20) + 1100 * size


class DataError(ValueError):
    """A dataset folder that cannot be read or written as asked; the message is one line."""


def is_temporary(name: str) -> bool:
    """Whether a file of this name is what an unfinished `Commit` leaves."""
    return name.startswith(".") and name.endswith(_SUFFIX)


def sync_folder(folder: Path) -> None:
    """Returns when the folder's entries (renames, new files) are on disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


class Commit:
    """Files that take their places together: all are written and synced first, then renamed in order.

    What was renamed in one folder is on disk before a rename in the next folder happens. As a context manager
    it removes what was staged and not finished.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._staged: list[tuple[Path, Path]] = []

    def stage(self, name: str, write: Callable[[IO[bytes]], Any]) -> int:
        """Writes one file beside its place by a function that gets it open, and syncs it. Gives its size."""
        place = self._root / name
        _make_folder(place.parent)
        temporary = place.parent / f".{place.name}{_SUFFIX}"
        self._staged.append((temporary, place))
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
            return file.tell()

    def finish(self) -> None:
        """Renames all staged files into their places."""
        for i, (temporary, place) in enumerate(self._staged):
            os.replace(temporary, place)
            if i + 1 == len(self._staged) or self._staged[i + 1][1].parent != place.parent:
                sync_folder(place.parent)
        self._staged.clear()

    def __enter__(self) -> Commit:
        return self

    def __exit__(self, *_: object) -> None:
        for temporary, _place in self._staged:
            with contextlib.suppress(OSError):
                temporary.unlink()


class Lock:
    """The right to write into a folder, held by one process at a time; the kernel gives it back at its death.

    Raises:
        DataError: when another writer holds it, naming that process.
    """

    def __init__(self, folder: Path) -> None:
        import fcntl  # here, so that a system without it can still read

        try:
            _make_folder(folder)
            self._handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except OSError as e:
            raise DataError(f"cannot write into {folder}: {e.strerror}") from e
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            held_by = os.pread(self._handle, 32, 0).decode("ascii", "replace").strip()
            os.close(self._handle)
            if e.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise DataError(f"cannot lock {folder}: {e.strerror}") from e
            raise DataError(
                f"{folder} is being written by process {held_by or 'unknown'}; one writer at a time, "
                "so close that one first"
            ) from None
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Gives the right back; doing so twice is harmless."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


@contextlib.contextmanager
def guarded(what: object) -> Iterator[None]:
    """Turns whatever reading a broken file raises into one DataError that names the file."""
    try:
        yield
    except DataError:
        raise
    # Decoders of hostile bytes raise nearly everything; only exits and interrupts are let through.
    except Exception as e:
        said = (str(e) or type(e).__name__).splitlines()[0][:200]
        raise DataError(f"{what} cannot be read ({said})") from e


class Root:
    """A dataset's folder, from which files are opened only if they are regular and lie inside it."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise DataError(
                f"{self.folder} is not a folder" if self.folder.exists() else f"no folder {folder}"
            )
        self._real = os.path.realpath(self.folder)
        self._inside: set[str] = set()

    def path(self, name: str) -> str:
        """The real path of a file of the dataset.

        Raises:
            DataError: when it is missing, is no regular file, or a link leads out of the folder.
        """
        parent = os.path.dirname(name)
        path = os.path.join(self._real, name)
        try:
            kind = os.lstat(path).st_mode
            if parent not in self._inside or stat.S_ISLNK(kind):
                real = os.path.realpath(path)
                if os.path.commonpath((self._real, real)) != self._real:
                    raise DataError(f"{self.folder / name} is a link that leads out of the dataset's folder")
                if not stat.S_ISLNK(kind):
                    self._inside.add(parent)
                path, kind = real, os.stat(real).st_mode
        except OSError as e:
            raise DataError(f"{self.folder / name} cannot be opened: {e.strerror}") from e
        if not stat.S_ISREG(kind):
            raise DataError(f"{self.folder / name} is not a regular file")
        return path

    def size(self, name: str) -> int:
        """Bytes of a file of the dataset."""
        return os.stat(self.path(name)).st_size

    def bytes(self, name: str, limit: int) -> bytes:
        """The contents of a file of the dataset, refused beyond `limit` bytes."""
        path = self.path(name)
        with guarded(self.folder / name), open(path, "rb", buffering=0) as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise DataError(f"{self.folder / name} has more than {limit} bytes")
        return content

    def names(self, folder: str) -> list[str]:
        """Sorted names in a folder of the dataset; none where it is missing.

        Raises:
            DataError: when a link leads out of the dataset's folder.
        """
        path = os.path.realpath(os.path.join(self._real, folder))
        if os.path.commonpath((self._real, path)) != self._real:
            raise DataError(f"{self.folder / folder} is a link that leads out of the dataset's folder")
        try:
            return sorted(os.listdir(path))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def cut_short(self, name: str) -> bool:
        """Whether a Parquet file lacks its end, as one does whose bytes never reached the disk."""
        with open(self.path(name), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4))
            return file.read(4) != b"PAR1"

    def parquet(self, name: str, *, noted: int = -1) -> ParquetFile:
        """A Parquet file of the dataset, its size and checksums held against what it claims.

        `noted` is the size it had when we wrote it, where we did: a file of that size is spared the closer
        look at its footer, which takes as long as reading it.

        Raises:
            DataError: when it is damaged, or claims more than its bytes can hold.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        size = self.size(name)
        with guarded(self.folder / name):
            small = size <= _AT_ONCE
            source = pa.BufferReader(self.bytes(name, _AT_ONCE)) if small else pa.OSFile(self.path(name))
            file = pq.ParquetFile(source, page_checksum_verification=True)
        meta = file.metadata
        if not 0 <= meta.num_rows <= size:  # every row has a number of its own, which takes a byte
            raise DataError(f"{self.folder / name} claims {meta.num_rows} rows in {size} bytes")
        unfolded = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
        if size != noted:
            unfolded = max(unfolded, 4 * self._values(name, size))
        if unfolded > may_unfold(size):
            raise DataError(f"{self.folder / name} claims {unfolded} bytes of values in {size} bytes")
        return file

    def _values(self, name: str, size: int) -> int:
        with guarded(self.folder / name), open(self.path(name), "rb") as file:
            file.seek(max(0, size - 8))
            footer = int.from_bytes(file.read(4), "little") + 8
            file.seek(max(0, size - footer))
            return claimed_values(file.read(footer))
