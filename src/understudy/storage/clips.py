"""The pictures of one camera in video files, as Frames, and where meta/episodes says that they lie."""

from __future__ import annotations

import itertools
import os
import zlib
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from understudy.episode import Array
from understudy.frames import CACHE, Frames, token
from understudy.storage.decoding import POOL, Reader
from understudy.storage.files import DataError, Root, guarded
from understudy.storage.folder import Folder
from understudy.storage.layout import CHUNK, Feature, video_file
from understudy.storage.mp4 import check_mp4

__all__ = ["Clips", "Places", "clips", "crc_of"]


@dataclass(frozen=True)
class Places:
    """Where the frames of E episodes of one camera lie.

    Args:
        file: [E], the number of each one's file; start: [E], seconds of its first frame in that file.
        count: [E], how many frames of it are there; rows: [E], how many the column has, the last one
            repeated where that is more.
        size: [E], bytes of its file, and crc: [E], their CRC-32, where our writer noted them; else -1.
    """

    file: NDArray[np.int64]
    start: NDArray[np.float64]
    count: NDArray[np.int64]
    rows: NDArray[np.int64]
    size: NDArray[np.int64]
    crc: NDArray[np.int64]


@final
class Clips(Frames):
    """The pictures [N, H, W, 3] of one camera in MP4 files: each episode's, one after another.

    Decoding raises DataError, which names the file and the frame, when a file is missing, is damaged, is not
    what our writer noted, lacks the frame, or leads out of the dataset's folder.
    """

    def __init__(
        self, root: Root, name: str, picture: tuple[int, ...], fps: float, places: Places, base: int = 0
    ) -> None:
        """`name` is the feature's; `base` is the number of the first episode, for messages."""
        super().__init__((int(places.rows.sum()), *picture))
        self.root, self.name, self.fps, self.places, self.base = root, name, fps, places, base
        self._first = np.concatenate([[0], np.cumsum(places.rows)])
        self._checked: set[int] = set()
        self._token = token()

    def __reduce__(self) -> tuple[Any, ...]:
        return Clips, (self.root, self.name, self.shape[1:], self.fps, self.places, self.base)

    def fill(self, rows: NDArray[np.int64], out: Array) -> None:
        p = self.places
        episode = np.searchsorted(self._first, rows, side="right") - 1
        frame = np.minimum(rows - self._first[episode], p.count[episode] - 1)
        edges = [0, *(np.flatnonzero(np.diff(p.file[episode])) + 1).tolist(), len(rows)]
        for a, b in itertools.pairwise(edges):
            if a < b:
                self._fill_file(episode[a:b], frame[a:b], out[a:b])

    def _fill_file(self, episode: NDArray[np.int64], frame: NDArray[np.int64], out: Array) -> None:
        """Frames out of one file, in the order of their times."""
        reader, number = None, int(self.places.file[episode[0]])
        keep = out.nbytes <= CACHE.limit // 4  # a pass through everything would only push out what is of use
        key = (self._token, number)
        try:
            for k, (e, i) in enumerate(zip(episode.tolist(), frame.tolist(), strict=True)):
                if (kept := CACHE.get((self._token, e, i))) is not None:
                    out[k] = kept
                    continue
                with guarded(f"{self.root.folder / video_file(self.name, number)}, frame {i}"):
                    reader = reader or POOL.take(key) or self._open(number, e)
                    out[k] = picture = reader.at(float(self.places.start[e]) + i / self.fps)
                if keep:
                    CACHE.put((self._token, e, i), picture, picture.nbytes)
        except BaseException:
            if reader is not None:
                reader.close()  # whatever went wrong, it may not be where it thinks it is
            raise
        if reader is not None:
            POOL.give(key, reader)

    def _open(self, number: int, episode: int) -> Reader:
        path = self.root.path(video_file(self.name, number))
        if number not in self._checked:
            self._check(path, episode)
            self._checked.add(number)
        return Reader(path, self.shape[1:3], self.fps)  # type: ignore[arg-type]

    def _check(self, path: str, episode: int) -> None:
        """Holds a file against what our writer noted of it, or else against what it claims."""
        size, crc = int(self.places.size[episode]), int(self.places.crc[episode])
        with open(path, "rb") as file:
            have = os.fstat(file.fileno()).st_size
            if size >= 0 and have != size:
                raise ValueError(f"it has {have} bytes, {size} were recorded")
            if crc >= 0 and crc_of(path) != crc:
                raise ValueError("it is not what was recorded: its checksum differs")
            check_mp4(file, have)

    def clip(self, a: int, b: int) -> tuple[str, float] | None:
        """The file of the pictures [a, b) and the time of the first, if they lie there as they are.

        Raises:
            DataError: when the file is not what it should be.
        """
        e = int(np.searchsorted(self._first, a, side="right")) - 1
        if b > self._first[e] + self.places.count[e]:
            return None
        number = int(self.places.file[e])
        with guarded(self.root.folder / video_file(self.name, number)):
            self._open(number, e).close()
            path = self.root.path(video_file(self.name, number))
        return path, float(self.places.start[e] + (a - self._first[e]) / self.fps)


def clips(opened: Folder, feature: Feature, a: int, b: int) -> Clips:
    """The pictures of a video feature in the episodes [a, b).

    Raises:
        DataError: when meta/episodes does not say where they lie, or says what cannot be.
    """
    length, name = opened.length[a:b], feature.name
    where = f"videos/{name}/"
    chunk, file = (_noted(opened, where + c, np.int64)[a:b] for c in ("chunk_index", "file_index"))
    start = _noted(opened, where + "from_timestamp", np.float64)[a:b]
    if (chunk < 0).any() or (file < 0).any() or (file >= CHUNK).any() or (chunk > 10**6).any():
        raise DataError(f"{opened.where}/meta/episodes points to video files that cannot be")
    if not ((start >= 0) & (start < 1e9)).all():  # neither is true of a nan
        raise DataError(
            f"{opened.where}/meta/episodes says that a video of {name!r} begins at {start.min()} s"
        )

    def ours(fact: str, otherwise: NDArray[np.int64]) -> NDArray[np.int64]:
        column = opened.column(f"video/{name}/{fact}", a, b)
        if column is None:
            return otherwise
        there = np.asarray(column.is_valid())
        return np.where(there, column.fill_null(0).to_numpy(), otherwise)

    count = ours("frames", length)
    if ((count != length) & (count != length + 1)).any():
        raise DataError(
            f"{opened.where}/meta/episodes counts other frames of {name!r} than the episodes have"
        )
    none = np.full(b - a, -1)
    places = Places(chunk * CHUNK + file, start, count, length + 1, ours("size", none), ours("crc", none))
    return Clips(opened.root, name, feature.shape, opened.layout.fps, places, a)


def _noted(opened: Folder, name: str, kind: type[Any]) -> NDArray[Any]:
    """A column of meta/episodes without gaps."""
    if opened.rows is None or name not in opened.rows.column_names or opened.rows[name].null_count:
        raise DataError(f"{opened.where}/meta/episodes does not say where the videos lie ({name})")
    values: NDArray[Any] = opened.rows[name].to_numpy()
    if values.dtype != kind:
        raise DataError(f"{opened.where}/meta/episodes has {name} as {values.dtype}")
    return values


def crc_of(path: str) -> int:
    """CRC-32 of a file's bytes."""
    crc = 0
    with open(path, "rb", buffering=0) as file:
        while block := file.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return crc
