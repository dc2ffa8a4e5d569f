"""Reading episodes: columns are allocated once, at their final size, and filled data file by data file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Literal, TypeAlias

import numpy as np

from understudy.dataset import Dataset
from understudy.episode import Array, Episode, Mask, Meta
from understudy.storage.columns import fill
from understudy.storage.files import DataError, guarded, may_unfold
from understudy.storage.filling import Columns, fill_all
from understudy.storage.folder import Folder, Info
from understudy.storage.layout import data_file
from understudy.storage.tables import checksum

__all__ = ["Video", "info", "load", "read", "stream"]

Video: TypeAlias = Literal["refuse", "skip"]


def info(folder: str | os.PathLike[str]) -> Info:
    """What a dataset folder holds, without opening a data file.

    Raises:
        DataError: when the folder is no dataset, is damaged, or contradicts itself.
    """
    return Folder(folder).info()


def read(folder: str | os.PathLike[str], *, video: Video = "refuse", verify: bool = True) -> Dataset:
    """A dataset folder as a Dataset in memory, every value bit for bit as it was recorded.

    A folder that another tool wrote has no labels, no state after the last action and no record of
    termination: then the action is the label, the last state stands in, and `terminated` is False.

    Args:
        video: what to do where there are video features, which are not read yet: "refuse" or "skip" them.
        verify: whether each episode is held against the checksum it was recorded with. Say False where
            another tool has changed the data on purpose.

    Raises:
        DataError: when the folder is no dataset, is damaged, contradicts itself or holds no episode.
    """
    opened = _readable(folder, video)
    return load(opened, 0, len(opened.length), verify=verify)


def stream(
    folder: str | os.PathLike[str], *, video: Video = "refuse", verify: bool = True
) -> Iterator[Episode]:
    """The episodes of a folder one after another, with one data file in memory at a time; else as `read`."""
    opened = _readable(folder, video)
    for a, b in opened.runs():
        yield from load(opened, a, b, verify=verify)


def _readable(folder: str | os.PathLike[str], video: Video) -> Folder:
    if video not in ("refuse", "skip"):
        raise ValueError(f"video is {video!r}; it must be 'refuse' or 'skip'")
    opened = Folder(folder)
    if (names := opened.layout.videos) and video == "refuse":
        raise DataError(
            f"{opened.where} has video, which is not read yet ({', '.join(names)}); "
            "read the rest with video='skip'"
        )
    if not opened.layout.obs:
        raise DataError(
            f"{opened.where} has no observation that can be read; their names begin with 'observation.'"
        )
    if not len(opened.length):
        raise DataError(f"{opened.where} holds no episodes yet")
    return opened


def load(opened: Folder, a: int, b: int, *, verify: bool = True) -> Dataset:
    """The episodes [a, b), which must begin and end with a data file."""
    layout, length = opened.layout, opened.length[a:b]
    steps, count = int(length.sum()), b - a
    runs = [(i, j) for i, j in opened.runs() if a <= i < b]
    unfolded = sum(f.width * np.dtype(f.kind).itemsize for f in (*layout.obs.values(), layout.action))
    unfolded *= steps + count
    on_disk = sum(opened.root.size(data_file(int(opened.file[i]))) for i, _ in runs)
    if unfolded > may_unfold(on_disk):
        raise DataError(f"{opened.where} declares {unfolded} bytes of data in {on_disk} bytes of files")
    into = Columns(
        a,
        np.cumsum(length) - length,
        {k: np.empty((steps + count, *f.shape), f.kind) for k, f in layout.obs.items()},
        np.empty((steps, layout.action.width), opened.action_kind),
        np.zeros(steps, np.float32),
        np.zeros(count, np.bool_),
    )
    fill_all(opened, runs, into)
    with guarded(f"{opened.where}/meta/episodes"):
        _fill_finals(opened, a, b, into)
        label, labelled = _labels(opened, a, b, into)
        terminated, success = _outcomes(opened, a, b, into)
        facts = opened.facts(a, b)
        times = _times(opened, a, b)
    if verify:
        spoke = np.ones(steps, np.bool_) if labelled is None else labelled
        said = into.action if label is None else label
        _verify(opened, a, b, into, said, spoke, terminated, success, facts, times)
    with guarded(opened.where):
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
            time=times,
        )


def _fill_finals(opened: Folder, a: int, b: int, into: Columns) -> None:
    """Fills in the state after each last action; where none was recorded the last state stands in for it."""
    count = b - a
    last = into.first + opened.length[a:b] + np.arange(count)
    for key, feature in opened.layout.obs.items():
        column = opened.column(f"final/{feature.name}", a, b)
        there = np.zeros(count, np.bool_) if column is None else np.asarray(column.is_valid())
        seen = into.obs[key]
        seen[last[~there]] = seen[last[~there] - 1]
        if column is not None and there.any():
            ends = [f"the end of episode {a + i}" for i in np.flatnonzero(there)]
            fill(feature, column.drop_null(), seen, last[there], ends.__getitem__)


def _labels(opened: Folder, a: int, b: int, into: Columns) -> tuple[Array | None, Mask | None]:
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


def _outcomes(opened: Folder, a: int, b: int, into: Columns) -> tuple[Mask, list[bool | None]]:
    """Whether each episode was terminated, and whether it succeeded."""
    ended, done = opened.column("terminated", a, b), opened.column("success", a, b)
    ours = np.zeros(b - a, np.bool_) if ended is None else np.asarray(ended.is_valid())
    terminated = ours if ended is None else np.asarray(ended.fill_null(False))
    known = [None] * (b - a) if done is None else done.to_pylist()
    if opened.layout.success:
        known = [k if mine else bool(s) for k, mine, s in zip(known, ours, into.succeeded, strict=True)]
    return terminated, known


def _times(opened: Folder, a: int, b: int) -> list[Array | None]:
    """The measured times of each episode's observations; None where nobody measured."""
    noted = opened.column("time", a, b)
    if noted is None:
        return [None] * (b - a)
    return [row.values.to_numpy() if row.is_valid else None for row in noted]


def _verify(
    opened: Folder,
    a: int,
    b: int,
    into: Columns,
    label: Array,
    labelled: Mask,
    terminated: Mask,
    success: list[bool | None],
    facts: list[Meta],
    times: list[Array | None],
) -> None:
    """Holds each episode that our writer recorded against its checksum."""
    if (noted := opened.column("crc32", a, b)) is None:
        return
    for i, want in enumerate(noted.to_pylist()):
        start = int(into.first[i])
        steps = slice(start, start + int(opened.length[a + i]))
        states = slice(start + i, steps.stop + i + 1)
        have = checksum(
            {k: v[states] for k, v in into.obs.items()},
            into.action[steps],
            label[steps],
            labelled[steps],
            into.reward[steps],
            bool(terminated[i]),
            success[i],
            facts[i],
            times[i],
        )
        if want is not None and want != have:
            raise DataError(
                f"episode {a + i} of {opened.where} is not what was recorded: its checksum differs; "
                "where another tool changed it on purpose, read with verify=False"
            )
