"""Opening a folder for writing: what a crash left is finished or dropped, and said."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from understudy.storage.files import Commit, DataError, Root, is_temporary, sync_folder
from understudy.storage.folder import Folder, read_rows, row_files
from understudy.storage.layout import CHUNK, INFO, SKETCH, STATS, Layout, data_file, video_file
from understudy.storage.reader import load
from understudy.storage.summary import Statistics
from understudy.storage.tables import write_table

__all__ = ["State", "previous", "put", "recover", "refuse"]

_MAX_SKETCH = 1 << 28


@dataclass
class State:
    """Where a dataset stands on disk: what the next commit continues from."""

    layout: Layout | None = None  # None before the first episode
    statistics: Statistics | None = None
    measured: int = 0  # frames that stats.json covers
    episodes: int = 0
    frames: int = 0
    tasks: list[str] = field(default_factory=list)
    data: int = 0  # the number of the next data file
    rows: int = 0  # the number of the newest file of episode rows
    tail: pa.Table | None = None  # its contents


def put(content: bytes) -> Callable[[IO[bytes]], Any]:
    """A function that writes these bytes into an open file, for `Commit.stage`."""
    return lambda file: file.write(content)


def previous(name: str) -> str:
    """Where the generation of a file of episode rows before the newest is kept."""
    folder, base = os.path.split(name)
    return f"{folder}/.{base}.previous"


def recover(folder: Path) -> tuple[State, list[str]]:
    """The state of a folder that is locked for writing, and what had to be done to reach it, in words.

    Raises:
        DataError: when the folder is damaged beyond what a crash leaves, or is another tool's.
    """
    said = _sweep(folder)
    if not os.path.lexists(folder / INFO):
        return State(), said
    root = Root(folder)
    restored = _restore_rows(root, said)
    opened = Folder(folder, counted=not restored)
    if not opened.native:
        raise DataError(
            f"{folder} was written by another tool, whose files cannot hold all of an episode; "
            "write a copy of it (storage.write of storage.read) and add to that"
        )
    if len(opened.length) and _drop_cut_short(opened, said):
        opened = Folder(folder)
    _drop_surplus(opened, said, keep=restored)
    count, frames = len(opened.length), int(opened.length.sum())
    tasks = opened.tasks()
    if (opened.said["total_episodes"], opened.said["total_frames"]) != (count, frames):
        with Commit(folder) as commit:
            commit.stage(INFO, put(opened.layout.info(count, frames, len(tasks))))
            commit.finish()
        said.append(f"counted the {count} episodes that are there")
    if not count:
        return State(), said
    names = row_files(root)
    statistics, measured = _statistics(opened, said)
    return State(
        opened.layout,
        statistics,
        measured,
        count,
        frames,
        list(tasks),
        int(opened.file[-1]) + 1,
        _number(names[-1]),
        read_rows(root, names[-1], stats=True),
    ), said


def refuse(folder: Path, *, append: bool) -> None:
    """Refuses a folder that holds anything but a dataset, or episodes where none are expected."""
    if os.path.lexists(folder / INFO):
        if not append and (count := len(Folder(folder).length)):
            raise DataError(
                f"{folder} already holds {count} episodes; append to it, or choose another folder"
            )
    elif folder.is_dir():
        inside = [p for p in folder.rglob("*") if not p.name.startswith(".") and not p.is_dir()]
        if inside:
            raise DataError(
                f"{folder} is not empty and holds no dataset ({inside[0].name}); choose another folder"
            )
    elif folder.exists():
        raise DataError(f"{folder} is not a folder")


def _number(name: str) -> int:
    """The number of a file from its place."""
    found = re.fullmatch(r".*/chunk-(\d{3,})/file-(\d{3})\.(?:parquet|mp4)", name)
    if found is None:
        raise DataError(f"{name} is not a file of the layout")
    return int(found[1]) * CHUNK + int(found[2])


def _sweep(folder: Path) -> list[str]:
    """Removes files that were never finished."""
    root = Root(folder)
    inner = [f"{p}/{c}" for p in ("data", "meta/episodes") for c in root.names(p) if c.startswith("chunk-")]
    inner += [folder for _, folder in _video_folders(root)]
    left = [f"{p}/{n}" for p in ("meta", *inner) for n in root.names(p) if is_temporary(n)]
    for name in left:
        os.unlink(folder / name)
    return [f"removed {len(left)} unfinished file{'s' * (len(left) > 1)}"] if left else []


def _video_folders(root: Root) -> list[tuple[str, str]]:
    """The folders of video files, each with the feature it is of."""
    return [
        (name, f"videos/{name}/{chunk}")
        for name in root.names("videos")
        for chunk in root.names(f"videos/{name}")
        if chunk.startswith("chunk-")
    ]


def _videos(opened: Folder, a: int, b: int) -> list[tuple[str, int]]:
    """The video files of the episodes [a, b) with the bytes that were noted of each."""
    found = []
    for name in opened.layout.videos:
        sizes = opened.column(f"video/{name}/size", a, b)
        noted = [None] * (b - a) if sizes is None else sizes.to_pylist()
        found += [(video_file(name, a + i), -1 if n is None else n) for i, n in enumerate(noted)]
    return found


def _restore_rows(root: Root, said: list[str]) -> bool:
    """Goes back to the generation before, where the newest file of episode rows lacks its end."""
    names = row_files(root)
    if not names or not root.cut_short(names[-1]):
        return False
    old = root.folder / previous(names[-1])
    if not os.path.lexists(old):
        raise DataError(f"{root.folder / names[-1]} is cut short, and no generation before it was kept")
    _set_aside(root.folder / names[-1])
    os.replace(old, root.folder / names[-1])
    sync_folder(old.parent)
    said.append(f"{names[-1]} was cut short and kept beside as .damaged; the generation before was restored")
    return True


def _set_aside(path: Path) -> None:
    os.replace(path, path.parent / f".{path.name}.damaged")
    sync_folder(path.parent)


def _drop_cut_short(opened: Folder, said: list[str]) -> bool:
    """Drops the episodes of the last data file where it lacks its end; the file is kept beside.

    Any other damage, and a file that is gone, is no crash's doing: reading says so, and nothing is dropped.
    """
    a, b = opened.runs()[-1]
    name, rows = data_file(int(opened.file[a])), row_files(opened.root)[-1]
    # A folder that was only ever appended to has the video of episode i in file i.
    short = [v for v, size in _videos(opened, a, b) if 0 <= opened.root.size(v) < size]
    if not opened.root.cut_short(name) and not short:
        return False
    tail = read_rows(opened.root, rows, stats=True)
    if b - a > len(tail):
        raise DataError(f"{opened.where / name} is cut short, and so is the record of what it held")
    # info.json counts less before the rows are fewer: what is counted is there at every instant.
    with Commit(opened.where) as commit:
        frames = int(opened.length[:a].sum())
        commit.stage(INFO, put(opened.layout.info(a, frames, len(opened.tasks()))))
        commit.finish()
    if b - a < len(tail):
        with Commit(opened.where) as commit:
            commit.stage(rows, lambda file: write_table(file, [tail.slice(0, len(tail) - (b - a))]))
            commit.finish()
    else:
        os.unlink(opened.where / rows)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(opened.where / previous(rows))
    for each in (name, *(video for video, _ in _videos(opened, a, b))):
        _set_aside(opened.where / each)
    some = f"episode {a}" if b - a == 1 else f"episodes {a} to {b - 1}"
    said.append(f"dropped {some}: {short[0] if short else name} was cut short; it is kept beside as .damaged")
    return True


def _drop_surplus(opened: Folder, said: list[str], *, keep: bool) -> None:
    """Removes data files and videos behind the last committed episode."""
    last = int(opened.file[-1]) if len(opened.file) else -1
    chunks = [
        (f"data/{c}", r"data/chunk-\d{3,}/file-\d{3}\.parquet", last) for c in opened.root.names("data")
    ]
    chunks += [
        (folder, r"videos/.*/chunk-\d{3,}/file-\d{3}\.mp4", len(opened.length) - 1)
        for _, folder in _video_folders(opened.root)
    ]
    for folder, form, newest in chunks:
        for base in opened.root.names(folder):
            name = f"{folder}/{base}"
            if re.fullmatch(form, name) and _number(name) > newest:
                if keep:
                    _set_aside(opened.where / name)
                else:
                    os.unlink(opened.where / name)
                kept = ", kept beside as .damaged" if keep else ""
                said.append(f"dropped {name}, which no committed episode is in{kept}")


def _statistics(opened: Folder, said: list[str]) -> tuple[Statistics, int]:
    """Those saved beside the data, brought up to date, and how many frames were saved; else made anew."""
    runs = opened.runs()
    statistics = Statistics(opened.layout)
    try:
        statistics.restore(opened.root.bytes(SKETCH, _MAX_SKETCH))
        covered, saved = statistics.episodes, statistics.frames
        if covered not in (0, *(b for _, b in runs)) or opened.length[:covered].sum() != saved:
            raise ValueError("they are of other episodes")
    except Exception:  # it is a cache: whatever is wrong with it, the data are there
        statistics, covered, saved = Statistics(opened.layout), 0, 0
        said.append("computed the statistics anew")
    for a, b in runs:
        if a >= covered:
            for episode in load(opened, a, b):
                statistics.add(episode)
    return statistics, saved if os.path.lexists(opened.where / STATS) else 0
