"""Writing a whole dataset, adding to one and repairing one, each in one call."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from understudy.episode import Episode
from understudy.storage.files import DataError
from understudy.storage.layout import INFO
from understudy.storage.video import VideoOptions
from understudy.storage.writer import Writer

__all__ = ["append", "repair", "write"]


def write(
    folder: str | os.PathLike[str],
    data: Iterable[Episode],
    *,
    fps: int | None = None,
    robot_type: str | None = None,
    video: VideoOptions | bool | None = None,
) -> None:
    """Writes a Dataset, or any episodes, into a new folder. The options are as for Writer.

    Raises:
        DataError: when the folder holds something, there are no episodes, or writing fails.
    """
    with Writer(folder, fps=fps, robot_type=robot_type, video=video) as writer:
        writer.extend(data)
        if not writer.episodes:
            raise DataError(f"there are no episodes to write into {folder}")


def append(folder: str | os.PathLike[str], episodes: Iterable[Episode]) -> tuple[str, ...]:
    """Adds episodes to a dataset, or begins one; gives back what had to be repaired first, in words.

    Raises:
        DataError: as Writer and its `add`.
    """
    with Writer(folder, append=True) as writer:
        writer.extend(episodes)
        return writer.repaired


def repair(folder: str | os.PathLike[str]) -> tuple[str, ...]:
    """Finishes or drops what a crash left in a dataset, and says what it did, if anything.

    Raises:
        DataError: when the folder is no dataset, is being written, or is damaged beyond what a crash leaves.
    """
    if not os.path.lexists(Path(folder) / INFO):
        raise DataError(f"{folder} is not a dataset: it has no {INFO}")
    with Writer(folder, append=True) as writer:
        return writer.repaired
