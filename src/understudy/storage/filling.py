"""Filling columns from data files: small files many at a time, large ones some row groups at a time."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow.parquet import ParquetFile

from understudy.episode import Array, Mask
from understudy.storage.columns import fill
from understudy.storage.files import DataError, guarded
from understudy.storage.folder import Folder
from understudy.storage.layout import REWARD, SUCCESS, data_file

__all__ = ["Columns", "fill_all", "open_data"]

_BATCH = 8 << 20  # bytes of data files that are unfolded at once


@dataclass(frozen=True)
class Columns:
    """The columns being filled with the episodes from `base` on; `obs` are those that go into memory."""

    base: int
    first: NDArray[np.int64]  # [E], the first step of each
    obs: dict[str, Array]
    action: Array
    reward: Array
    succeeded: Mask  # [E], by next.success, for rows that are not our writer's


def fill_all(opened: Folder, runs: list[tuple[int, int]], into: Columns) -> None:
    """Fills in data files, small ones many at a time, several batches at once where there is enough to do."""
    batches: list[list[tuple[int, int]]] = []
    size = total = 0
    for run in runs:
        more = opened.root.size(data_file(int(opened.file[run[0]])))
        if not batches or size + more > _BATCH:
            batches.append([])
            size = 0
        batches[-1].append(run)
        size, total = size + more, total + more
    if len(batches) < 2 or total < 2 * _BATCH:
        for batch in batches:
            _fill_batch(opened, batch, into)
        return
    pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1))
    try:
        for _ in pool.map(lambda batch: _fill_batch(opened, batch, into), batches):
            pass
    finally:
        pool.shutdown(cancel_futures=True)


def _fill_batch(opened: Folder, runs: list[tuple[int, int]], into: Columns) -> None:
    """Fills in consecutive data files: joined, if they are small and alike, which saves most of the time."""
    if len(runs) > 1:
        wanted = _wanted(opened, into)
        try:
            tables = [open_data(opened, a, b).read(columns=wanted, use_threads=False) for a, b in runs]
            _fill_rows(opened, runs[0][0], 0, pa.concat_tables(tables), into)
            return
        except Exception:  # whatever it is, reading one by one says in which file it is
            pass
    for a, b in runs:
        _fill_file(opened, a, b, into)


def _wanted(opened: Folder, into: Columns) -> list[str]:
    layout = opened.layout
    wanted = ["episode_index", *(layout.obs[key].name for key in into.obs), "action"]
    return wanted + [f.name for f, there in ((REWARD, layout.reward), (SUCCESS, layout.success)) if there]


def open_data(opened: Folder, a: int, b: int) -> ParquetFile:
    """The data file that holds the episodes [a, b) and nothing else."""
    name = data_file(int(opened.file[a]))
    file = opened.root.parquet(name)
    rows = int(opened.length[a:b].sum())
    if file.metadata.num_rows != rows:
        raise DataError(
            f"{opened.where / name} has {file.metadata.num_rows} rows, meta/episodes counts {rows}"
        )
    return file


def _fill_file(opened: Folder, a: int, b: int, into: Columns) -> None:
    """Fills in the episodes [a, b) of one data file, some row groups at a time."""
    where = opened.where / data_file(int(opened.file[a]))
    file, wanted = open_data(opened, a, b), _wanted(opened, into)
    meta, rows = file.metadata, file.metadata.num_rows
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


def _fill_rows(opened: Folder, a: int, done: int, table: pa.Table, into: Columns) -> None:
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
        raise ValueError(
            f"its rows are not marked as those of episodes {into.base + i - 1} to {into.base + j - 1}"
        )

    def place(row: int) -> str:
        k = int(np.searchsorted(first, start + row, side="right")) - 1
        return f"episode {into.base + k}, step {start + row - first[k]}"

    for key, out in into.obs.items():
        fill(layout.obs[key], table[layout.obs[key].name], out, at, place)
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
