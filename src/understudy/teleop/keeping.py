"""Where a session's episodes go, and which seeds they begin with."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, final

from understudy.dataset import Dataset
from understudy.episode import Episode
from understudy.evaluate import FIRST_SEED as EVALUATION
from understudy.storage import DataError, Writer, info, read
from understudy.storage.layout import INFO

__all__ = ["FIRST_SEED", "Keeper", "entry", "fresh", "recorded", "used"]

FIRST_SEED = 3_000_000  # of what is driven by hand; scripts record from 0 upwards
_MEASURED = range(EVALUATION, 3_000_000)  # seeds of evaluation and validation


def fresh(start: int, avoid: Iterable[int] = ()) -> Iterator[int]:
    """The seeds from `start` on that nobody recorded, and that no evaluation or validation uses.

    Raises:
        ValueError: when `start` is negative, or one of those seeds.

    >>> seeds = fresh(0, avoid=[1])
    >>> next(seeds), next(seeds)
    (0, 2)
    """
    if start < 0 or start in _MEASURED:
        raise ValueError(
            f"seed is {start}; it must not be negative, and {_MEASURED.start}..{_MEASURED.stop - 1} are kept "
            "for evaluation"
        )
    taken, seed = set(avoid), start
    while True:
        if seed in _MEASURED:
            seed = _MEASURED.stop
        if seed not in taken:
            yield seed
        seed += 1


def recorded(folder: Path | None) -> Dataset:
    """What a folder holds already; nothing where there is no dataset yet."""
    there = folder is not None and (folder / INFO).exists() and info(folder).episodes > 0
    return read(folder) if folder is not None and there else Dataset()


def used(folder: Path | None) -> set[int]:
    """The seeds of the episodes that a folder holds already."""
    return {s for m in recorded(folder).facts if isinstance(s := m.get("seed"), int)}


@final
class Keeper:
    """Saves episodes one at a time, in a thread of its own: a slow disk never holds the controls up.

    The folder is opened for each episode and closed again, so that others may edit the dataset in between.
    An episode that could not be saved stays here until it is, or until it is dropped.

    Args:
        folder: of the dataset, new or not. fps: its steps a second, None where nobody says.
    """

    def __init__(self, folder: Path, fps: int | None) -> None:
        self.folder, self._fps = folder, fps
        self._thread: threading.Thread | None = None
        self._index: int | None = None
        self._error = ""
        self.repaired: tuple[str, ...] = ()

    def begin(self, episode: Episode) -> None:
        """Starts to save; `finished` says when it is over."""
        assert self._thread is None, "one episode is saved at a time"
        self._index, self._error = None, ""
        self._thread = threading.Thread(target=self._save, args=(episode,), name="saving", daemon=False)
        self._thread.start()

    def finished(self) -> bool:
        """Whether nothing is being saved."""
        return self._thread is None or not self._thread.is_alive()

    def outcome(self) -> tuple[int | None, str]:
        """Waits for the end: the episode's number in the dataset, or None and why it is not there."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        return self._index, self._error

    def _save(self, episode: Episode) -> None:
        try:
            writer = Writer(self.folder, append=True, fps=self._fps)
        except (ValueError, OSError) as e:
            self._error = str(e)
            return
        self.repaired = writer.repaired
        try:
            writer.add(episode)
            self._index = writer.episodes - 1
        except (ValueError, TypeError, OSError) as e:
            self._error = str(e)
        finally:
            try:
                writer.close()
            except (
                DataError
            ) as e:  # the episode is safe; what is stale is a summary, which the next one renews
                self._error = self._error or ("" if self._index is not None else str(e))


def entry(index: int, episode: Episode, mark: bool | None, seconds: float) -> dict[str, Any]:
    """One line of the newest episodes, for the page."""
    task = episode.meta.get("task_success")
    return {
        "index": index,
        "steps": len(episode),
        "success": None if task is None else bool(task),
        "mark": mark,
        "operator": str(episode.meta.get("operator", "")),
        "seconds": round(seconds, 2),
    }
