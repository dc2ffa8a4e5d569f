"""Files that are whole or absent, and files from strangers. No knowledge of datasets.

A file is written under a temporary name beside its place, synced, and renamed; several files that belong
together are all written before the first of them is renamed, so that a full disk is met while nothing has
changed yet.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from understudy.storage.footer import unfolds_to

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

__all__ = [
    "Commit",
    "DataError",
    "Lock",
    "Root",
    "exchange",
    "guarded",
    "is_temporary",
    "make_folder",
    "may_unfold",
    "sync_folder",
]

_SUFFIX = ".tmp"  # never .parquet: LeRobot's loader takes in every *.parquet it finds
_LOCK = ".understudy.lock"
_OPEN = 16  # files that wait for their sync at most
_Prefix: TypeAlias = "bytes | None"
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


def make_folder(folder: Path) -> None:
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def exchange(a: Path, b: Path) -> None:
    """Swaps two folders in one step of the file system.

    Raises:
        DataError: when the system has no such step; OSError when it fails.
    """
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):
        raise DataError(
            "this system cannot exchange two folders in one step; write a copy of the dataset instead"
        )
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    if library.renameat2(here, os.fsencode(a), here, os.fsencode(b), exchange) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    sync_folder(b.parent)


class Commit:
    """Files that take their places together: all are written and synced first, then renamed in order.

    What was renamed in one folder is on disk before a rename in the next folder happens. As a context manager
    it removes what was staged and not finished.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._staged: list[tuple[Path, Path]] = []
        self._unsynced: list[IO[bytes]] = []

    def stage(self, name: str, write: Callable[[IO[bytes]], Any]) -> int:
        """Writes one file beside its place by a function that gets it open. Gives its size."""
        place = self._root / name
        make_folder(place.parent)
        temporary = place.parent / f".{place.name}{_SUFFIX}"
        self._staged.append((temporary, place))
        file = open(temporary, "wb")  # noqa: SIM115 - stays open until it is synced
        self._unsynced.append(file)
        write(file)
        file.flush()
        size = file.tell()
        if len(self._unsynced) >= _OPEN:
            self._sync()
        return size

    def stage_at(self, name: str, write: Callable[[Path], Any]) -> Any:
        """The same by a function that gets the temporary path and makes a file there. Gives what it gives."""
        place = self._root / name
        make_folder(place.parent)
        temporary = place.parent / f".{place.name}{_SUFFIX}"
        self._staged.append((temporary, place))
        said = write(temporary)
        self._unsynced.append(open(temporary, "rb"))  # noqa: SIM115 - stays open until it is synced
        if len(self._unsynced) >= _OPEN:
            self._sync()
        return said

    def _sync(self) -> None:
        """Syncs what was written. All at once: the first sync then carries most of the others with it."""
        while self._unsynced:
            with self._unsynced.pop() as file:
                os.fsync(file.fileno())

    def finish(self) -> None:
        """Syncs all staged files, and then renames them into their places."""
        self._sync()
        for i, (temporary, place) in enumerate(self._staged):
            os.replace(temporary, place)
            if i + 1 == len(self._staged) or self._staged[i + 1][1].parent != place.parent:
                sync_folder(place.parent)
        self._staged.clear()

    def __enter__(self) -> Commit:
        return self

    def _close(self) -> None:
        while self._unsynced:
            with contextlib.suppress(OSError):
                self._unsynced.pop().close()

    def __exit__(self, *_: object) -> None:
        self._close()
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
            make_folder(folder)
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


def _reader(content: bytes | None, handle: int) -> Callable[[int, int], bytes]:
    """Reads so many bytes from an offset on, of what was read already or else of the file."""
    if content is not None:
        return lambda at, count: content[at : at + count]
    return lambda at, count: os.pread(handle, count, at)


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
        # Files whose claims were held against their bytes.
        self._checked: set[tuple[str, int, int, int, _Prefix]] = set()

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
        with guarded(f"{self.folder}/{name}"), open(path, "rb", buffering=0) as file:
            large = os.fstat(file.fileno()).st_size > limit  # a file of holes costs its author nothing
            content = b"" if large else file.read(limit + 1)
        if large or len(content) > limit:
            raise DataError(f"{self.folder / name} has more than {limit} bytes")
        return content

    def names(self, folder: str) -> list[str]:
        """Sorted names in a folder of the dataset; none where it is missing.

        Raises:
            DataError: when a link leads out of the dataset's folder, or it cannot be opened.
        """
        path = os.path.realpath(os.path.join(self._real, folder))
        if os.path.commonpath((self._real, path)) != self._real:
            raise DataError(f"{self.folder / folder} is a link that leads out of the dataset's folder")
        try:
            return sorted(os.listdir(path))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as e:
            raise DataError(f"{self.folder / folder} cannot be opened: {e.strerror}") from e

    def cut_short(self, name: str) -> bool:
        """Whether a Parquet file lacks its end, as one does whose bytes never reached the disk."""
        with open(self.path(name), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4))
            return file.read(4) != b"PAR1"

    def parquet(self, name: str, *, unread: _Prefix = None) -> ParquetFile:
        """A Parquet file of the dataset, its size and checksums held against what it claims.

        `unread` is how the names of columns begin that will not be read.

        Raises:
            DataError: when it is damaged, or claims more than its bytes can hold.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        with guarded(f"{self.folder}/{name}"), open(self.path(name), "rb", buffering=0) as opened:
            stat = os.fstat(opened.fileno())
            content = opened.read(_AT_ONCE + 1) if stat.st_size <= _AT_ONCE else None
            size = stat.st_size if content is None else len(content)
            seen = (name, stat.st_ino, stat.st_mtime_ns, size, unread)
            if seen not in self._checked:
                read = _reader(content, opened.fileno())
                if unfolds_to(read, size, may_unfold(size), unread) > may_unfold(size):
                    raise ValueError(f"{size} bytes claim to hold over {may_unfold(size)} bytes of values")
            source = pa.OSFile(self.path(name)) if content is None else pa.BufferReader(content)
            file = pq.ParquetFile(source, page_checksum_verification=True)
            meta = file.metadata
            unfolded = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
            if not 0 <= meta.num_rows <= size or unfolded > may_unfold(size):  # a row takes a byte at least
                raise ValueError(f"{size} bytes claim to hold {meta.num_rows} rows in {unfolded} bytes")
            self._checked.add(seen)
        return file
