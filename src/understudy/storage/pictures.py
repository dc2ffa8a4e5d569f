"""Reading PNG images one at a time out of the data files, decoded when they are asked for."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, Any, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from understudy.episode import Array
from understudy.frames import CACHE, Cache, Frames, token
from understudy.storage.columns import decode_png, png_column
from understudy.storage.files import DataError, Root, guarded
from understudy.storage.layout import Feature, data_file

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

__all__ = ["Pngs"]

_PAGE_HEAD = 4096  # bytes, with room to spare


@final
class _Handle:
    """An open file, closed when nobody uses it any more."""

    def __init__(self, path: str) -> None:
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


_HANDLES = Cache(64)


@final
class Pngs(Frames):
    """The pictures [N, H, W, C] of one camera in data files: each episode's, one after another, the state
    after its last action behind them.

    A file's row group (an episode) is read as a whole when the first of its pictures is asked for, against
    its checksums. Where its PNGs lie as they are in the file, as in those that we write, each is read by
    itself from then on; where they are packed, the row group is kept in the cache.
    Decoding raises DataError, which names the file and the row, when a file has changed since it was opened,
    is damaged, or holds a picture of another size.

    Args:
        file: [E], the number of each episode's data file; row: [E], its first row there; length: [E], T.
        final: [E], the PNG of each last state; null where the last picture stands in for it.
    """

    def __init__(
        self,
        root: Root,
        feature: Feature,
        file: NDArray[np.int64],
        row: NDArray[np.int64],
        length: NDArray[np.int64],
        final: pa.Array,
    ) -> None:
        super().__init__((int((length + 1).sum()), *feature.shape))
        self.root, self.feature, self.file, self.row, self.length = root, feature, file, row, length
        self.final = final
        self._first = np.concatenate([[0], np.cumsum(length + 1)])
        self._groups: dict[int, NDArray[np.int64]] = {}  # of a file: the first row of each of its row groups
        self._places: dict[tuple[int, int], NDArray[np.int64]] = {}  # of a row group: where its PNGs lie
        self._seen = {int(n): _identity(os.stat(root.path(data_file(int(n))))) for n in np.unique(file)}
        self._token = token()

    def __reduce__(self) -> tuple[Any, ...]:
        parts = (self.root, self.feature, self.file, self.row, self.length, self.final)
        return Pngs, parts, {"_seen": self._seen}

    def fill(self, rows: NDArray[np.int64], out: Array) -> None:
        episode = np.searchsorted(self._first, rows, side="right") - 1
        step = rows - self._first[episode]
        for k, (e, i) in enumerate(zip(episode.tolist(), step.tolist(), strict=True)):
            last = i == self.length[e]
            if last and self.final[e].is_valid:
                with guarded(f"{self.root.folder}/meta/episodes, the end of episode {e}"):
                    decode_png(self.final[e].as_py(), self.feature, out[k])
                continue
            number, row = int(self.file[e]), int(self.row[e]) + i - last
            with guarded(f"{self.root.folder / data_file(number)}, row {row}"):
                decode_png(self._blob(number, row), self.feature, out[k])

    def _blob(self, number: int, row: int) -> bytes | None:
        """The PNG in this row of a data file."""
        if (starts := self._groups.get(number)) is None:
            file = self._open(number)
            sizes = [file.metadata.row_group(g).num_rows for g in range(file.metadata.num_row_groups)]
            starts = self._groups[number] = np.cumsum([0, *sizes])[:-1]
        group = int(np.searchsorted(starts, row, side="right")) - 1
        at, key = row - int(starts[group]), (self._token, number, group)
        if (places := self._places.get((number, group))) is not None:
            offset, size = places[at].tolist()
            return os.pread(self._raw(number).number, size, offset)
        if (blobs := CACHE.get(key)) is None:
            table = self._open(number).read_row_group(group, columns=[self.feature.name], use_threads=False)
            blobs = png_column(self.feature, table[self.feature.name].combine_chunks())
            found = _locate(self.root.path(data_file(number)), blobs)
            if found is not None:
                self._places[number, group] = found
            else:
                CACHE.put(key, blobs, blobs.nbytes)
        data: bytes | None = blobs[at].as_py()
        return data

    def _raw(self, number: int) -> _Handle:
        if (kept := _HANDLES.get((self._token, number))) is None:
            kept = _Handle(self.root.path(data_file(number)))
            self._unchanged(number, os.fstat(kept.number))
            _HANDLES.put((self._token, number), kept, 1)
        handle: _Handle = kept
        return handle

    def _open(self, number: int) -> ParquetFile:
        self._unchanged(number, os.stat(self.root.path(data_file(number))))
        return self.root.parquet(data_file(number))

    def _unchanged(self, number: int, now: os.stat_result) -> None:
        if _identity(now) != self._seen[number]:
            raise DataError(
                f"{self.root.folder / data_file(number)} has changed since it was opened; read it again"
            )


def _identity(file: os.stat_result) -> tuple[int, int]:
    """What tells a file from one that has taken its place: its bytes, and when they were written."""
    return file.st_size, file.st_mtime_ns


def _locate(path: str, blobs: pa.Array) -> NDArray[np.int64] | None:
    """Where in a file each of these lies, byte for byte: [n, 2], offset and size; None where one does not.

    Parquet's plain encoding puts 4 bytes of length before each, so the next is found where the last one ends,
    but for the head of a page between them.
    """
    if blobs.null_count or not len(blobs):
        return None
    places = np.empty((len(blobs), 2), np.int64)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        end = 0
        for i, blob in enumerate(blobs):
            data = blob.as_py()
            head = len(data).to_bytes(4, "little") + data[:64]
            # The first may lie anywhere; any other no further on than a page's head takes.
            at = content.find(head, end, len(content) if i == 0 else end + _PAGE_HEAD + len(head)) + 4
            if at < 4 or content[at : at + len(data)] != data:
                return None
            places[i] = at, len(data)
            end = at + len(data)
    return places
