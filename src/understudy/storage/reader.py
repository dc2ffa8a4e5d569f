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
        raise DataError(f"{opened.where} has no observation that can be read; their names begin with 'observation.'")
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
    if len(runs) == 1:
        _fill_file(opened, *runs[0], into)
    else:
        _together(opened, runs, into)
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


def _together(opened: Folder, runs: list[tuple[int, int]], into: _Columns) -> None:
    """Several files at once: opening and decoding leave the interpreter free."""
    pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1))
    try:
        for _ in pool.map(lambda run: _fill_file(opened, *run, into), runs):
            pass
    finally:
        pool.shutdown(cancel_futures=True)


def _fill_file(opened: Folder, a: int, b: int, into: _Columns) -> None:
    """Fills in the episodes [a, b) of one data file, row group by row group."""
    layout, name = opened.layout, data_file(int(opened.file[a]))
    where = opened.where / name
    file, rows = opened.root.parquet(name), int(opened.length[a:b].sum())
    if file.metadata.num_rows != rows:
        raise DataError(f"{where} has {file.metadata.num_rows} rows, meta/episodes counts {rows}")
    wanted = ["episode_index", *(f.name for f in layout.obs.values()), "action"]
    wanted += [f.name for f, there in ((REWARD, layout.reward), (SUCCESS, layout.success)) if there]
    if missing := sorted(set(wanted) - set(file.schema_arrow.names)):
        raise DataError(f"{where} lacks the declared feature {missing[0]!r}")
    episode, step = a, 0
    for group in range(file.num_row_groups):
        with guarded(where):
            table = file.read_row_group(group, columns=wanted, use_threads=False)
        at = 0
        while at < len(table) and episode < b:
            n = min(int(opened.length[episode]) - step, len(table) - at)
            piece = table if n == len(table) else table.slice(at, n)
            with guarded(f"{where}, episode {episode},"):
                _fill_piece(opened, episode, step, piece, into)
            at, step = at + n, step + n
            if step == opened.length[episode]:
                episode, step = episode + 1, 0
        if at < len(table):
            raise DataError(f"{where} has more rows than it says")
    if episode < b:
        raise DataError(f"{where} has fewer rows than it says")


def _fill_piece(opened: Folder, episode: int, step: int, table: pa.Table, into: _Columns) -> None:
    """Fills in consecutive steps of one episode, from `step` on."""
    if (table["episode_index"].to_numpy() != episode).any():
        raise ValueError("its rows are marked as another episode's")
    layout, i, n = opened.layout, episode - into.base, len(table)
    first = int(into.first[i]) + step
    for key, feature in layout.obs.items():
        part = into.obs[key][first + i : first + i + n]  # one state more for each episode before
        fill(feature, table[feature.name], part)
        _finite(f"observation {key!r}", part, step)
    part = into.action[first : first + n]
    fill(layout.action, table["action"], part)
    _finite("action", part, step)
    if layout.reward:
        part = into.reward[first : first + n]
        fill(REWARD, table[REWARD.name], part)
        _finite("reward", part[:, None], step)
    if layout.success:
        fill(SUCCESS, table[SUCCESS.name].slice(n - 1), into.succeeded[i : i + 1])


def _finite(what: str, part: Array, step: int) -> None:
    if part.dtype.kind == "f" and not (good := np.isfinite(part)).all():
        at = tuple(int(k) for k in np.argwhere(~good)[0])
        dims = at[1] if len(at) == 2 else at[1:]
        raise ValueError(f"{what} is {part[at]} at step {step + at[0]}, dimension {dims}; every value must be finite")


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
            states = np.empty((int(there.sum()), *feature.shape), seen.dtype)
            fill(feature, column.drop_null(), states)
            _finite(f"observation {key!r} after the last action", states, a)
            seen[last[there]] = states


def _labels(opened: Folder, a: int, b: int, into: _Columns) -> tuple[Array | None, Mask | None]:
    """The labels and where they are; None where every action is its own label."""
    said, spoken = opened.column("label", a, b), opened.column("labelled", a, b)
    label = labelled = None
    if said is not None and said.null_count < b - a:
        label = into.action.copy()
        for i in np.flatnonzero(np.asarray(said.is_valid())):
            rows = label[into.first[i] : into.first[i] + opened.length[a + i]]
            rows[...] = said[int(i)].values.to_numpy().reshape(rows.shape)
        _finite("label", label, 0)
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
