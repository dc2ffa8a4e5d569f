"""Merging many small files into few, in a copy that takes the dataset's place in one step."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow.parquet import ParquetFile

from understudy.storage.files import Commit, DataError, Lock, exchange, is_temporary
from understudy.storage.folder import Folder, read_rows, row_files
from understudy.storage.layout import (
    CHUNK,
    EXTRA,
    INFO,
    SKETCH,
    STATS,
    TASKS,
    data_file,
    meta_file,
    video_file,
)
from understudy.storage.plain import PlainFile
from understudy.storage.recovery import put, recover
from understudy.storage.tables import write_table

__all__ = ["compact", "refuse_others"]

_FILE_BYTES = 100 << 20  # as data_files_size_in_mb says
_FILE_EPISODES = 1000
_OURS = re.compile(
    r"(data|meta/episodes)/chunk-\d{3,}/file-\d{3}\.parquet|videos/[^/]+/chunk-\d{3,}/file-\d{3}\.mp4"
)


def compact(folder: str | os.PathLike[str]) -> tuple[int, int]:
    """Merges the small files that recording leaves, so that the folder opens faster; no value changes.

    The merged copy is written beside the folder, compared with it, and exchanged for it in one step of the
    file system: at every instant the whole dataset is there. It takes as much free space as the dataset,
    videos aside, which stay the files they are.

    Returns:
        The numbers of data files before and after.

    Raises:
        DataError: when the folder is being written, is damaged, holds files of others, or the system cannot
            exchange folders.
    """
    place = Path(os.path.realpath(folder))
    if not os.path.lexists(place / INFO):
        raise DataError(f"{folder} is not a dataset: it has no {INFO}")
    copy = place.parent / f".{place.name}.compact"
    lock = Lock(place)
    try:
        recover(place)
        opened = Folder(place)
        refuse_others(place, "compacting")
        groups = list(_groups(opened))
        before = len(opened.runs())
        if len(groups) == before:
            return before, before
        shutil.rmtree(copy, ignore_errors=True)  # an earlier attempt's
        second = Lock(copy)
        try:
            _merge(opened, groups, copy)
            exchange(copy, place)
        finally:
            second.release()
            shutil.rmtree(copy, ignore_errors=True)  # the copy where something failed, else what it replaced
        return before, len(groups)
    except OSError as e:
        raise DataError(f"cannot compact {folder}: {e.strerror or e}; it is as it was") from e
    finally:
        lock.release()


def _groups(opened: Folder) -> Iterator[list[tuple[int, int]]]:
    """Runs of episodes that go into one file together."""
    group: list[tuple[int, int]] = []
    size = 0
    for a, b in opened.runs():
        more = opened.root.size(data_file(int(opened.file[a])))
        if group and (size + more > _FILE_BYTES or b - group[0][0] > _FILE_EPISODES):
            yield group
            group, size = [], 0
        group.append((a, b))
        size += more
    if group:
        yield group


def refuse_others(folder: Path, doing: str) -> None:
    """Refuses a folder with files in it that a copy of the dataset would not have.

    Raises:
        DataError: naming the first of them, and what would lose it.
    """
    known = {INFO, STATS, TASKS, SKETCH}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        hidden = path.name == ".understudy.lock" or is_temporary(path.name) or path.name.endswith(".previous")
        if not (path.is_dir() or name in known or _OURS.fullmatch(name) or hidden):
            raise DataError(f"{folder} also holds {name}, which {doing} would lose; move it away first")


def _merge(opened: Folder, groups: list[list[tuple[int, int]]], copy: Path) -> None:
    tables = [read_rows(opened.root, n, stats=True) for n in row_files(opened.root)]
    rows = pa.concat_tables(tables, promote_options="default")  # an older writer's may lack a column
    number, size = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
    notes: list[str | None] = []
    with Commit(copy) as commit:
        for i, group in enumerate(groups):
            those = slice(group[0][0], group[-1][1])
            steps = (
                t for a, _ in group for t in _tables(opened.root.parquet(data_file(int(opened.file[a]))))
            )
            number[those] = i
            plain = PlainFile(opened.layout)
            size[those] = commit.stage(data_file(i), partial(plain.write, tables=steps))
            alike = len(plain.notes) == those.stop - those.start  # a row group is an episode
            notes += plain.notes if alike else [None] * (those.stop - those.start)
        for name in opened.layout.videos:
            for i in range(len(rows)):
                commit.stage_at(video_file(name, i), partial(_link, opened.root.path(video_file(name, i))))
        _stage_rows(commit, rows, number, size, notes)
        for name in (TASKS, STATS, SKETCH, INFO):
            if os.path.lexists(opened.where / name):
                commit.stage(name, put(opened.root.bytes(name, 1 << 28)))
        commit.finish()
    _compare(opened, Folder(copy), groups)


def _stage_rows(
    commit: Commit,
    rows: pa.Table,
    number: NDArray[np.int64],
    size: NDArray[np.int64],
    notes: list[str | None],
) -> None:
    """Writes the rows of the episodes, which lie in files of these numbers and sizes now, at these places."""
    for i in range(0, len(rows), _FILE_EPISODES):
        part = rows.slice(i, _FILE_EPISODES)
        here, those = np.full(len(part), i // _FILE_EPISODES), slice(i, i + len(part))
        for name, value in (
            ("data/chunk_index", pa.array(number[those] // CHUNK, pa.int64())),
            ("data/file_index", pa.array(number[those] % CHUNK, pa.int64())),
            (EXTRA + "bytes", pa.array(size[those], pa.int64())),
            (EXTRA + "plain", pa.array(notes[those], pa.string())),
            ("meta/episodes/chunk_index", pa.array(here // CHUNK, pa.int64())),
            ("meta/episodes/file_index", pa.array(here % CHUNK, pa.int64())),
        ):
            at = part.schema.get_field_index(name)
            part = part.set_column(at, name, value) if at >= 0 else part.append_column(name, value)
        commit.stage(meta_file(i // _FILE_EPISODES), partial(write_table, tables=[part]))


def _link(old: str, new: Path) -> None:
    """A second name for a file that is never written again, or a copy where the file system has no such."""
    try:
        os.link(old, new)
    except OSError:
        shutil.copyfile(old, new)


def _tables(file: ParquetFile) -> Iterator[pa.Table]:
    for group in range(file.num_row_groups):
        yield file.read_row_group(group, use_threads=False)


def _compare(old: Folder, new: Folder, groups: list[list[tuple[int, int]]]) -> None:
    """Refuses a copy that differs from what it was copied from."""
    same = (old.length == new.length).all()
    for i, group in enumerate(groups):
        merged = _tables(new.root.parquet(data_file(i)))
        for a, _ in group:
            for table in _tables(old.root.parquet(data_file(int(old.file[a])))):
                twin = next(merged, None)
                same = same and twin is not None and table.equals(twin)
    if not same:
        raise DataError(f"the compacted copy of {old.where} differs from it; the folder is as it was")
