"""New files and folders that are whole or absent: made beside their place, synced, and renamed."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from understudy.storage.files import DataError, sync_folder

__all__ = ["new_file", "new_folder"]


def _vacant(path: Path) -> Path:
    """The temporary neighbour of a place where nothing is yet."""
    if os.path.lexists(path):
        raise DataError(f"{path} is there already; nothing is overwritten")
    if not path.name:
        raise DataError(f"{path} is no name for a new file or folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.parent / f".{path.name}.{os.getpid()}.tmp"


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Gives the path of a temporary file to write; it takes its place when the block ends well.

    Raises:
        DataError: when the place is taken, or writing fails (a full disk); then nothing is left.
    """
    temporary = None
    try:
        temporary = _vacant(path)
        yield temporary
        _sync(temporary)
        os.link(temporary, path)  # unlike a rename it fails where somebody else was quicker
        sync_folder(path.parent)
    except OSError as e:
        raise DataError(f"cannot write {path}: {e.strerror or e}") from e
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Gives a temporary folder, made already, to write into; it takes its place when the block ends well.

    Raises:
        DataError: as `new_file`.
    """
    temporary = None
    try:
        temporary = _vacant(path)
        temporary.mkdir()
        yield temporary
        for folder, _, names in os.walk(temporary):
            for name in names:
                _sync(Path(folder, name))
            sync_folder(Path(folder))
        os.rename(temporary, path)
        sync_folder(path.parent)
    except OSError as e:
        raise DataError(f"cannot write {path}: {e.strerror or e}") from e
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
