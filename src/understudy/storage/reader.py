"""Reading episodes: columns are allocated once, at their final size, and filled data file by data file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from understudy.dataset import Dataset
from understudy.episode import Array, Episode, Mask
from understudy.storage.columns import fill
from understudy.storage.files import DataError, guarded
from understudy.storage.folder import Folder, Info
from understudy.storage.layout import SUCCESS, REWARD, data_file

__all__ = ["Video", "info", "load", "read", "stream"]

Video: TypeAlias = Literal["refuse", "skip"]

_SLACK = 256 << 20  # bytes that any folder may unfold to
_BATCH = 32 << 20  # bytes of a data file that are unfolded at once
_WORTH = 1 << 20  # bytes in a file from which several are read at once
_RATIO = 1100  # and this many for each byte on disk: Deflate, the strongest packing in use, reaches 1032


def info(folder: str | os.PathLike[str]) -> Info:
    """What a dataset folder holds, without opening a data file.

    Raises:
        DataError: when the folder is no dataset, is damaged, or contradicts itself.
    """
    return Folder(folder).info()


def read(folder: str | os.PathLike[str], *, video: Video = "refuse") -> Dataset:
    """A dataset folder as a Dataset in memory, every value bit for bit as it was recorded.

    A folder that another tool wrote has no labels, no state after the last action and no record of termination:
    then the action is the label, the last state stands in, and `terminated` is False.

    Args:
        video: what to do where there are video features, which are not read yet: "refuse" or "skip" them.

    Raises:
        DataError: when the folder is no dataset, is damaged, contradicts itself or holds no episode.
    """
    opened = _readable(folder, video)
    return load(opened, 0, len(opened.length))


def stream(folder: str | os.PathLike[str], *, video: Video = "refuse") -> Iterator[Episode]:
    """The episodes of a folder one after another, with one data file in memory at a time; else as `read`."""
    opened = _readable(folder, video)
    for a, b in opened.runs():
        yield from load(opened, a, b)


def _readable(folder: str | os.PathLike[str], video: Video) -> Folder:
    if video not in ("refuse", "skip"):
        raise ValueError(f"video is {video!r}; it must be 'refuse' or 'skip'")
    opened = Folder(folder)
    if (names := opened.layout.videos) and video == "refuse":
        raise DataError(
            f"{opened.where} has video, which is not read yet ({', '.join(names)}); read the rest with video='skip'"
        )
    if not opened.layout.obs:
        raise DataError(
            f"{opened.where} has no observation that can be read; their names begin with 'observation.'"
        )
    if not len(opened.length):
        raise DataError(f"{opened.where} holds no episodes yet")
    return opened


@dataclass(frozen=True)
class _Columns:
    """The columns being filled with the episodes from `base` on."""

    base: int
    first: NDArray[np.int64]  # [E], the first step of each
    obs: dict[str, Array]
    action: Array
    reward: Array
    succeeded: Mask  # [E], by next.success, for rows that are not our writer's


def load(opened: Folder, a: int, b: int) -> Dataset:
    """The episodes [a, b), which must begin and end with a data file."""
    layout, length = opened.layout, opened.length[a:b]
    steps, count = int(length.sum()), b - a
    runs = [(i, j) for i, j in opened.runs() if a <= i < b]
    unfolded = sum(f.width * np.dtype(f.kind).itemsize for f in (*layout.obs.values(), layout.action))
    unfolded *= steps + count
    on_disk = sum(opened.root.size(data_file(int(opened.file[i]))) for i, _ in runs)
    if unfolded > _SLACK + _RATIO * on_disk:
        raise DataError(f"{opened.where} declares {unfolded} bytes of data in {on_disk} bytes of files")
    into = _Columns(
        a,
        np.cumsum(length) - length,
        {k: np.empty((steps + count, *f.shape), f.kind) for k, f in layout.obs.items()},
        np.empty((steps, layout.action.width), opened.action_kind),
        np.zeros(steps, np.float32),
        np.zeros(count, np.bool_),
    )
    _fill_all(opened, runs, into)
    with guarded(f"{opened.where}/meta/episodes"):
        _fill_finals(opened, a, b, into)
        label, labelled = _labels(opened, a, b, into)
        terminated, success = _outcomes(opened, a, b, into)
        facts = opened.facts(a, b)
    return Dataset.from_columns(
        into.obs,
        into.action,
        length,
        label=label,
        labelled=labelled,
        reward=into.reward,
        terminated=terminated,
        success=success,
        meta=facts,
    )


def _fill_all(opened: Folder, runs: list[tuple[int, int]], into: _Columns) -> None:
    """Fills in data files, several at once where decoding them outweighs the coordination."""
    size = sum(opened.root.size(data_file(int(opened.file[a]))) for a, _ in runs)
    if len(runs) < 2 or size < len(runs) * _WORTH:
        for a, b in runs:
            _fill_file(opened, a, b, into)
        return
    pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1))
    try:
        for _ in pool.map(lambda run: _fill_file(opened, run[0], run[1], into), runs):
            pass
    finally:
        pool.shutdown(cancel_futures=True)


def _fill_file(opened: Folder, a: int, b: int, into: _Columns) -> None:
    """Fills in the episodes [a, b) of one data file, some row groups at a time."""
    layout, name = opened.layout, data_file(int(opened.file[a]))
    where = opened.where / name
    file = opened.root.parquet(name)
    meta, rows = file.metadata, int(opened.length[a:b].sum())
    if meta.num_rows != rows:
        raise DataError(f"{where} has {meta.num_rows} rows, meta/episodes counts {rows}")
    wanted = ["episode_index", *(f.name for f in layout.obs.values()), "action"]
    wanted += [f.name for f, there in ((REWARD, layout.reward), (SUCCESS, layout.success)) if there]
    done, group = 0, 0
    while group < meta.num_row_groups:
        first, size = group, 0
        while group < meta.num_row_groups and (size == 0 or size < _BATCH):
            size += meta.row_group(group).total_byte_size
            group += 1
        with guarded(where):
            table = file.read_row_groups(range(first, group), columns=wanted, use_threads=False)
            if missing := sorted(set(wanted) - set(table.column_names)):
                raise ValueError(f"the declared feature {missing[0]!r} is not in it")
            if done + len(table) > rows:
                raise ValueError("it has more rows than it says")
            _fill_rows(opened, a, done, table, into)
        done += len(table)
    if done < rows:
        raise DataError(f"{where} has fewer rows than it says")


def _fill_rows(opened: Folder, a: int, done: int, table: pa.Table, into: _Columns) -> None:
    """Fills in the rows of a data file from row `done` on; its first episode is a."""
    layout, first = opened.layout, into.first
    start = int(first[a - into.base]) + done
    stop = start + len(table)
    i, j = (int(np.searchsorted(first, at, side="right")) for at in (start, stop - 1))
    episode: NDArray[np.int64]
    at: slice | NDArray[np.int64]
    if i == j:
        episode, at = np.array([i - 1]), slice(start + i - 1, stop + i - 1)
    else:
        edges = np.clip(np.append(first[i - 1 : j], stop), start, stop)
        episode = np.repeat(np.arange(i - 1, j), np.diff(edges))
        at = np.arange(start, stop) + episode  # each episode before has one state more than steps
    if (table["episode_index"].to_numpy() != episode + into.base).any():
        raise ValueError(f"its rows are not marked as those of episodes {into.base + i - 1} to {into.base + j - 1}")

    def place(row: int) -> str:
        k = int(np.searchsorted(first, start + row, side="right")) - 1
        return f"episode {into.base + k}, step {start + row - first[k]}"

    for key, feature in layout.obs.items():
        fill(feature, table[feature.name], into.obs[key], at, place)
    steps = slice(start, stop)
    fill(layout.action, table["action"], into.action, steps, place)
    if layout.reward:
        fill(REWARD, table[REWARD.name], into.reward, steps, place)
    if layout.success:
        flags = np.empty(len(table), np.bool_)
        fill(SUCCESS, table[SUCCESS.name], flags, slice(None), place)
        ends = first + opened.length[into.base : into.base + len(first)] - 1 - start
        here = np.flatnonzero((ends >= 0) & (ends < len(table)))
        into.succeeded[here] = flags[ends[here]]


def _fill_finals(opened: Folder, a: int, b: int, into: _Columns) -> None:
    """Fills in the state after each last action; where none was recorded the last state stands in for it."""
    count = b - a
    last = into.first + opened.length[a:b] + np.arange(count)
    for key, feature in opened.layout.obs.items():
        column = opened.column(f"final/{feature.name}", a, b)
        there = np.zeros(count, np.bool_) if column is None else np.asarray(column.is_valid())
        seen = into.obs[key]
        seen[last[~there]] = seen[last[~there] - 1]
        if column is not None and there.any():
            these = np.flatnonzero(there)
            fill(feature, column.drop_null(), seen, last[there], lambda row: f"the end of episode {a + these[row]}")


def _labels(opened: Folder, a: int, b: int, into: _Columns) -> tuple[Array | None, Mask | None]:
    """The labels and where they are; None where every action is its own label."""
    said, spoken = opened.column("label", a, b), opened.column("labelled", a, b)
    label = labelled = None
    if said is not None and said.null_count < b - a:
        label = into.action.copy()
        for i in np.flatnonzero(np.asarray(said.is_valid())):
            rows = label[into.first[i] : into.first[i] + opened.length[a + i]]
            rows[...] = said[int(i)].values.to_numpy().reshape(rows.shape)
        if not np.isfinite(label).all():
            raise ValueError("a label is not finite")
    if spoken is not None and spoken.null_count < b - a:
        labelled = np.ones(len(into.action), np.bool_)
        for i in np.flatnonzero(np.asarray(spoken.is_valid())):
            steps = labelled[into.first[i] : into.first[i] + opened.length[a + i]]
            steps[...] = spoken[int(i)].values.to_numpy(zero_copy_only=False)
    return label, labelled


def _outcomes(opened: Folder, a: int, b: int, into: _Columns) -> tuple[Mask, list[bool | None]]:
    """Whether each episode was terminated, and whether it succeeded."""
    ended, done = opened.column("terminated", a, b), opened.column("success", a, b)
    ours = np.zeros(b - a, np.bool_) if ended is None else np.asarray(ended.is_valid())
    terminated = ours if ended is None else np.asarray(ended.fill_null(False))
    known = [None] * (b - a) if done is None else done.to_pylist()
    if opened.layout.success:
        known = [k if mine else bool(s) for k, mine, s in zip(known, ours, into.succeeded, strict=True)]
    return terminated, known
