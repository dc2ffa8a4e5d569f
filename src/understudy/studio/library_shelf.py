"""One dataset folder as the library reads it: again when it has changed, one data file at a time.

A reader never takes the writer's lock. It may read while episodes are recorded: what is committed is whole,
and a reading during which the folder changed is made again.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import pyarrow as pa

from understudy.dataset import Dataset
from understudy.envs import MissingExtra, Task, UnknownTask, task, tasks, worlds
from understudy.episode import POLICY, Episode
from understudy.storage.decoding import need_av
from understudy.storage.files import DataError, Root
from understudy.storage.folder import Folder, row_files
from understudy.storage.layout import INFO
from understudy.storage.reader import load

__all__ = [
    "INSTRUCTION",
    "OPERATOR",
    "Contents",
    "Row",
    "Shelf",
    "cut",
    "known",
    "known_name",
    "version_of",
]

OPERATOR, INSTRUCTION = 100, 500  # characters that are shown, and that can be set
_TRIES = 5  # readings of a folder that changes all the while
_HELD = 2  # data files whose episodes stay in memory; a file of ours holds at most 64 MiB


@dataclass(frozen=True)
class Row:
    """An episode as the list shows it.

    `seconds` is None where neither clock nor rate is known; `labelled` is a share of the steps; `takeovers`
    counts the stretches that the operator drove, None where nobody noted who did.
    """

    index: int
    steps: int
    seconds: float | None
    success: bool | None
    operator: str
    task: str
    instruction: str
    origin: str
    seed: int | None
    labelled: float
    takeovers: int | None


@dataclass(frozen=True)
class Contents:
    """A dataset folder at one version. `opened` is None where there is no dataset yet."""

    version: str
    opened: Folder | None
    rows: tuple[Row, ...]


def known(name: str) -> Task | None:
    """The task of that name; None for a name that is not built in, or whose packages are missing.

    A name from a file is never handed to Gymnasium: "module:id" would import what a stranger chose.
    """
    if name not in (*tasks(), *worlds()):
        return None
    try:
        return task(name)
    except (UnknownTask, MissingExtra):
        return None


def version_of(folder: Path) -> str:
    """Names what a folder holds: another one after each commit and each edit; "" where there is no dataset.

    Made of the identities of the files that a commit replaces, so that it costs no reading.
    """
    if not os.path.lexists(folder / INFO):
        return ""
    names = [INFO, *row_files(Root(folder))]
    own = os.stat(folder)
    parts = [os.stat(folder / n) for n in names]
    facts = [(own.st_dev, own.st_ino, 0), *((s.st_ino, s.st_size, s.st_mtime_ns) for s in parts)]
    return hashlib.sha256(repr((facts, names)).encode()).hexdigest()[:16]


@final
class Shelf:
    """A dataset folder that may grow, be edited, or not be there yet. Threads may share it.

    Raises, on reading:
        DataError: when the folder is damaged.
        IndexError: when there is no such episode.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._contents = Contents("", None, ())
        self._held: OrderedDict[tuple[str, int], Dataset] = OrderedDict()

    def contents(self) -> Contents:
        """What the folder holds now."""
        with self._lock:
            return self._now()

    def episode(self, index: int) -> tuple[Contents, Episode]:
        """What the folder holds, and an episode of it with its pictures left on disk."""
        with self._lock:
            for left in reversed(range(_TRIES)):
                now = self._now()
                if now.opened is None or not 0 <= index < len(now.rows):
                    raise IndexError(f"there is no episode {index}; there are {len(now.rows)}")
                try:
                    return now, self._read(now, index)
                except DataError:
                    if not left or version_of(self.folder) == now.version:
                        raise
        raise AssertionError

    def _now(self) -> Contents:
        for _ in range(_TRIES):
            try:
                version = version_of(self.folder)
                if version == self._contents.version:
                    return self._contents
                opened = _opened(self.folder) if version else None
                rows = _rows(opened) if opened is not None else ()
                same = version == version_of(self.folder)
            except (FileNotFoundError, DataError):
                if _settled(self.folder, version):
                    raise
                continue
            if same:
                self._held.clear()
                self._contents = Contents(version, opened, rows)
                return self._contents
        raise DataError(f"{self.folder} changes faster than it can be read; try again")

    def _read(self, now: Contents, index: int) -> Episode:
        assert now.opened is not None
        a, b = next((a, b) for a, b in now.opened.runs() if a <= index < b)
        key = now.version, a
        if key not in self._held:
            self._held[key] = load(now.opened, a, b, images="disk")
            while len(self._held) > _HELD:
                self._held.popitem(last=False)
        self._held.move_to_end(key)
        return self._held[key][index - a]


def _settled(folder: Path, version: str) -> bool:
    """Whether the folder stayed as it was while reading it failed, so that trying again is of no use."""
    try:
        return version_of(folder) == version
    except OSError:
        return False


def _opened(folder: Path) -> Folder:
    """The folder, without its videos where there is nothing to decode them with."""
    opened = Folder(folder)
    if opened.layout.videos:
        try:
            need_av()
        except ImportError:
            opened.layout = opened.layout.without_videos()
    return opened


def _rows(opened: Folder) -> tuple[Row, ...]:
    """One row an episode, from metadata alone."""
    count = len(opened.length)
    if not count:
        return ()
    facts = opened.facts(0, count)
    success = _column(opened, "success", count)
    labelled, control, time = (_lists(opened, n, count) for n in ("labelled", "control", "time"))
    rate = opened.layout.fps if opened.layout.fps > 1 else None  # 1 says that timestamps count steps
    out = []
    for i, steps in enumerate(opened.length.tolist()):
        said, spoke, held, clock = facts[i], labelled[i], control[i], time[i]
        seed = said.get("seed")
        seconds = None if rate is None else steps / rate
        out.append(
            Row(
                i,
                steps,
                seconds if clock is None else float(clock[-1] - clock[0]),
                success[i],
                cut(said.get("operator", ""), OPERATOR),
                cut(name := str(said.get("task", "")), OPERATOR),
                cut(said.get("instruction", "" if known_name(name) else name), INSTRUCTION),
                cut(said.get("source", ""), OPERATOR),
                seed if isinstance(seed, int) and not isinstance(seed, bool) else None,
                1.0 if spoke is None else float(spoke.mean()),
                None if held is None else _stretches(held),
            )
        )
    return tuple(out)


def cut(value: object, most: int) -> str:
    """A fact as text of at most so many characters: a folder may hold any."""
    text = str(value)
    return text if len(text) <= most else text[: most - 1] + "…"


def known_name(name: str) -> bool:
    """Whether this is the name of a task rather than an instruction in words."""
    return name in tasks() or name in worlds()


def _column(opened: Folder, name: str, count: int) -> list[Any]:
    found = opened.column(name, 0, count)
    return [None] * count if found is None else found.to_pylist()


def _lists(opened: Folder, name: str, count: int) -> list[Any]:
    found = opened.column(name, 0, count)
    if found is None:
        return [None] * count
    return [_values(row) if row.is_valid else None for row in found]


def _values(row: pa.Scalar) -> Any:
    return row.values.to_numpy(zero_copy_only=False)


def _stretches(control: Any) -> int:
    """How often the operator took over: unbroken stretches in which the policy did not drive."""
    held = np.asarray(control) != POLICY
    return int(held[0]) + int(np.count_nonzero(held[1:] & ~held[:-1]))
