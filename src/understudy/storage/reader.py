"""Reading episodes: columns are allocated once, at their final size, and filled data file by data file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Literal, TypeAlias, cast

import numpy as np
import pyarrow as pa

from understudy.dataset import Dataset
from understudy.episode import Array, Episode, Mask, Meta
from understudy.frames import Frames
from understudy.storage.clips import clips
from understudy.storage.columns import fill, png_column
from understudy.storage.decoding import need_av
from understudy.storage.files import DataError, guarded, may_unfold
from understudy.storage.filling import Columns, fill_all
from understudy.storage.folder import Folder, Info
from understudy.storage.layout import Feature, data_file
from understudy.storage.pictures import Pngs
from understudy.storage.plain import fill_plain
from understudy.storage.tables import checksum

__all__ = ["Video", "info", "load", "read", "stream"]

Video: TypeAlias = Literal["read", "skip"]
Images: TypeAlias = Literal["auto", "disk", "memory"]

_IN_MEMORY = 256 << 20  # bytes of decoded PNG images up to which "auto" holds them in memory


def info(folder: str | os.PathLike[str]) -> Info:
    """What a dataset folder holds, without opening a data file.

    Raises:
        DataError: when the folder is no dataset, is damaged, or contradicts itself.
    """
    return Folder(folder).info()


def read(
    folder: str | os.PathLike[str], *, images: Images = "auto", video: Video = "read", verify: bool = True
) -> Dataset:
    """A dataset folder as a Dataset, every value bit for bit as it was recorded (video as its codec left it).

    Numbers are in memory, once. Pictures may stay on disk as `Frames`, decoded when a batch asks for them;
    the dataset behaves the same either way.

    A folder that another tool wrote has no labels, no state after the last action and no record of
    termination: then the action is the label, the last state stands in, and `terminated` is False.

    Args:
        images: where pictures are: "disk", "memory", or "auto": in memory if they are PNG and take at most
            256 MiB decoded, else on disk.
        video: whether video features are read; "skip" leaves them out, and does without PyAV.
        verify: whether each episode is held against the checksum it was recorded with. Say False where
            another tool has changed the data on purpose. Pictures on disk are held against the checksums of
            their files when they are first decoded.

    Raises:
        DataError: when the folder is no dataset, is damaged, contradicts itself or holds no episode.
        ImportError: when there is video to read, and PyAV is not installed.
    """
    opened = _readable(folder, images, video)
    return load(opened, 0, len(opened.length), images=images, verify=verify)


def stream(
    folder: str | os.PathLike[str], *, images: Images = "auto", video: Video = "read", verify: bool = True
) -> Iterator[Episode]:
    """The episodes of a folder one after another, with one data file in memory at a time; else as `read`."""
    opened = _readable(folder, images, video)
    for a, b in opened.runs():
        yield from load(opened, a, b, images=images, verify=verify)


def _readable(folder: str | os.PathLike[str], images: Images, video: Video) -> Folder:
    if video not in ("read", "skip"):
        raise ValueError(f"video is {video!r}; it must be 'read' or 'skip'")
    if images not in ("auto", "disk", "memory"):
        raise ValueError(f"images is {images!r}; it must be 'auto', 'disk' or 'memory'")
    opened = Folder(folder)
    if opened.layout.videos:
        if video == "skip":
            opened.layout = opened.layout.without_videos()
        else:
            need_av()
    if not opened.layout.obs:
        raise DataError(
            f"{opened.where} has no observation that can be read; their names begin with 'observation.'"
        )
    if not len(opened.length):
        raise DataError(f"{opened.where} holds no episodes yet")
    return opened


def load(
    opened: Folder, a: int, b: int, *, images: Images = "auto", verify: bool = True, noted: bool = True
) -> Dataset:
    """The episodes [a, b), which must begin and end with a data file.

    `noted` says whether numbers may be read by the notes of where they lie, if they are verified.
    """
    layout, length = opened.layout, opened.length[a:b]
    unloaded = _on_disk(opened, a, b, images)
    loaded = {k: f for k, f in layout.stored.items() if k not in unloaded}
    steps = int(length.sum())
    runs = [(i, j) for i, j in opened.runs() if a <= i < b]
    into = _allocate(opened, a, b, loaded, runs)
    left = fill_plain(opened, runs, into) if noted and verify else runs
    fill_all(opened, left, into)
    with guarded(f"{opened.where}/meta/episodes"):
        _fill_finals(opened, a, b, into)
        label, labelled = _labels(opened, a, b, into)
        terminated, success = _outcomes(opened, a, b, into)
        facts = opened.facts(a, b)
        times, controls = _noted(opened, "time", a, b), _noted(opened, "control", a, b)
    if verify:
        spoke = np.ones(steps, np.bool_) if labelled is None else labelled
        said = into.action if label is None else label
        wrong = _changed(opened, a, b, into, said, spoke, terminated, success, facts, times, controls)
        if wrong is not None and len(left) < len(runs):
            del into, label, said  # before as much is allocated again
            return load(opened, a, b, images=images, noted=False)
        if wrong is not None:
            raise DataError(
                f"episode {wrong} of {opened.where} is not what was recorded: its checksum differs; "
                "where another tool changed it on purpose, read with verify=False"
            )
    with guarded(opened.where):
        return Dataset.from_columns(
            {k: _held(unloaded, into, k, images) for k in layout.obs},
            into.action,
            length,
            label=label,
            labelled=labelled,
            reward=into.reward,
            terminated=terminated,
            success=success,
            meta=facts,
            time=times,
            control=controls,
        )


def _allocate(
    opened: Folder, a: int, b: int, loaded: Mapping[str, Feature], runs: list[tuple[int, int]]
) -> Columns:
    """Room for the columns of the episodes [a, b), refused where their files cannot hold as much."""
    length = opened.length[a:b]
    layout, steps, count = opened.layout, int(length.sum()), b - a
    unfolded = sum(f.width * np.dtype(f.kind).itemsize for f in (*loaded.values(), layout.action))
    unfolded *= steps + count
    if unfolded > may_unfold(0) and unfolded > may_unfold(
        on_disk := sum(opened.root.size(data_file(int(opened.file[i]))) for i, _ in runs)
    ):
        raise DataError(f"{opened.where} declares {unfolded} bytes of data in {on_disk} bytes of files")
    return Columns(
        a,
        np.cumsum(length) - length,
        {k: np.empty((steps + count, *f.shape), f.kind) for k, f in loaded.items()},
        np.empty((steps, layout.action.width), opened.action_kind),
        np.zeros(steps, np.float32),
        np.zeros(count, np.bool_),
    )


def _held(unloaded: Mapping[str, Frames], into: Columns, key: str, images: Images) -> Array:
    """A column as the dataset has it."""
    if key not in unloaded:
        return into.obs[key]
    pictures = unloaded[key]
    return np.asarray(pictures) if images == "memory" else cast(Array, pictures)


def _on_disk(opened: Folder, a: int, b: int, images: Images) -> dict[str, Frames]:
    """The pictures of the episodes [a, b) that are not loaded with the rest."""
    layout, length = opened.layout, opened.length[a:b]
    found: dict[str, Frames] = {k: clips(opened, f, a, b) for k, f in layout.obs.items() if f.video}
    pngs = {k: f for k, f in layout.obs.items() if f.image}
    size = int((length + 1).sum()) * sum(f.width for f in pngs.values())
    if images == "memory" or (images == "auto" and size <= _IN_MEMORY):
        return found
    file, first = opened.file[a:b], np.cumsum(length) - length
    row = first - first[np.searchsorted(file, file)]  # numbers of files only grow
    for key, feature in pngs.items():
        column = opened.column(f"final/{feature.name}", a, b)
        with guarded(f"{opened.where}/meta/episodes"):
            blobs = pa.nulls(b - a, pa.binary()) if column is None else _blobs(feature, column)
        found[key] = Pngs(opened.root, feature, file, row, length, blobs)
    return found


def _blobs(feature: Feature, column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    return png_column(feature, whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole)


def _fill_finals(opened: Folder, a: int, b: int, into: Columns) -> None:
    """Fills in the state after each last action; where none was recorded the last state stands in for it."""
    count = b - a
    last = into.first + opened.length[a:b] + np.arange(count)
    for key, feature in ((k, opened.layout.obs[k]) for k in into.obs):
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


def _noted(opened: Folder, name: str, a: int, b: int) -> list[Array | None]:
    """One list an episode, such as the measured times of its observations; None where nobody noted it."""
    noted = opened.column(name, a, b)
    if noted is None:
        return [None] * (b - a)
    return [row.values.to_numpy() if row.is_valid else None for row in noted]


def _changed(
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
    controls: list[Array | None],
) -> int | None:
    """The first episode that our writer recorded and that is not as its checksum says."""
    whole = into.obs.keys() == opened.layout.stored.keys()
    if (noted := opened.column("crc32" if whole else "crc32_numbers", a, b)) is None:
        return None
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
            controls[i],
        )
        if want is not None and want != have:
            return a + i
    return None
