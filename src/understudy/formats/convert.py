"""From any format to any other, one episode in memory at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.episode import Episode
from understudy.formats.notes import collected
from understudy.storage.files import DataError

__all__ = ["Conversion", "convert"]


@dataclass(frozen=True)
class Conversion:
    """What a conversion did: formats from and to, how much was written, and what there is to say about it.

    `dropped` counts frames that recorders or the reader had to drop; `notes` are sentences with how often
    each was said.
    """

    source: str
    target: str
    episodes: int
    steps: int
    dropped: int
    notes: dict[str, int]


def convert(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str],
    to: str = "lerobot",
    *,
    source: str | None = None,
    reading: Any = None,
    writing: Any = None,
    guard: bool = True,
    progress: Callable[[Episode], None] | None = None,
) -> Conversion:
    """Reads one file or folder and writes another; `dst` is whole when this returns, else absent.

    Args:
        to: the format to write; the native one, unless another is named.
        source: the format to read; None recognises it.
        reading: the source format's `Reading`, writing: the target's `Writing`; None means defaults.
        guard: as for `stream`.
        progress: is told of every episode read.

    Raises:
        DataError: as `stream` and `write`.
    """
    from understudy import formats

    if os.path.lexists(dst):
        raise DataError(f"{dst} is there already; nothing is overwritten")
    if Path(os.path.realpath(dst)).is_relative_to(os.path.realpath(src)):
        raise DataError(f"{dst} lies inside {src}, which is being read")
    formats.layout(to)
    name = formats.recognise(src) if source is None else source
    counts = [0, 0, 0]

    def counted(episodes: Iterable[Episode]) -> Iterator[Episode]:
        for e in episodes:
            counts[0] += 1
            counts[1] += len(e)
            counts[2] += int(e.meta.get("dropped_frames", 0))
            if progress is not None:
                progress(e)
            yield e

    source_episodes = formats.stream(src, name, reading, guard=guard)
    # Closed here and now, whatever happens, so that an interrupt leaves no child process reading on.
    with collected() as notes, closing(source_episodes):
        formats.write(dst, counted(source_episodes), to, writing)
    return Conversion(name, to, counts[0], counts[1], counts[2], notes)
