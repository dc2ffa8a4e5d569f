"""Zip archives from strangers: read in memory, held against what they declare, never extracted."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import BinaryIO, cast

from understudy.storage.files import DataError, guarded, may_unfold

__all__ = ["Zip", "put"]

_MOST = 1_000_000  # members
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1


class Zip:
    """The members of a zip archive, by name.

    Raises:
        DataError: when it is damaged, names a member twice, or claims more than its bytes can hold.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open: list[BinaryIO] = []
        with guarded(path):
            self._file = zipfile.ZipFile(path)
            size = path.stat().st_size
        infos = self._file.infolist()
        self._infos = {i.filename: i for i in infos}
        if len(self._infos) != len(infos):
            raise DataError(f"{path} names a member twice")
        if len(infos) > _MOST:
            raise DataError(f"{path} has {len(infos)} members; {_MOST} are the most")
        for i in infos:
            if i.compress_type not in _PACKINGS or i.flag_bits & _ENCRYPTED:
                raise DataError(
                    f"{path}: {i.filename[:100]!r} is neither stored nor deflated, or is encrypted"
                )
        if sum(i.compress_size for i in infos) > size:
            raise DataError(f"{path}: its members overlap")
        if (unfolded := sum(i.file_size for i in infos)) > may_unfold(size):
            raise DataError(f"{path} claims {unfolded} bytes in {size} bytes")

    def names(self) -> list[str]:
        """The names of all members, as they stand in the archive."""
        return list(self._infos)

    def size(self, name: str) -> int:
        """Bytes of a member, unpacked."""
        return self._infos[name].file_size

    def bytes(self, name: str, limit: int) -> bytes:
        """The contents of a member, refused beyond `limit` bytes; its checksum is checked."""
        if name not in self._infos:
            raise DataError(f"{self.path} has no {name!r}")
        if (size := self.size(name)) > limit:
            raise DataError(f"{self.path}: {name!r} has {size} bytes, more than {limit}")
        with guarded(f"{self.path}: {name!r}"), self._file.open(name) as member:
            content = member.read(size + 1)
            if len(content) != size or member.read(1):
                raise DataError(f"{self.path}: {name!r} has not the {size} bytes it declares")
            return content

    def open(self, name: str) -> BinaryIO:
        """A member, to be read from its start; its checksum is checked where it ends."""
        with guarded(f"{self.path}: {name!r}"):
            self._open.append(cast(BinaryIO, self._file.open(name)))
        return self._open[-1]

    def close(self) -> None:
        """Closes the archive, and members that are still open."""
        for member in self._open:
            member.close()
        self._file.close()

    def __enter__(self) -> Zip:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def put(archive: zipfile.ZipFile, name: str, content: bytes, packing: int = zipfile.ZIP_STORED) -> None:
    """Adds a member without the hour of writing, so that equal data make equal files."""
    info = zipfile.ZipInfo(name)
    info.compress_type = packing
    info.external_attr = 0o644 << 16
    archive.writestr(info, content)
