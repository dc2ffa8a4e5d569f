"""A changed copy of a dataset folder, beside it or in its place. The source is never written to.

A copy is written under a hidden name, and takes its own in one step when it is whole. Where it replaces its
source it is read back and compared first, and the two folders change places in one step of the file system:
at every instant a whole dataset is under the name.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from understudy import storage
from understudy.episode import Array, Episode
from understudy.frames import lazy
from understudy.storage import DataError, Info
from understudy.storage.compaction import refuse_others
from understudy.storage.files import Lock, exchange, sync_folder
from understudy.storage.layout import filmed

__all__ = ["Edited", "PathLike", "create", "one_target", "replace_with"]

PathLike = str | os.PathLike[str]
Episodes = Callable[[], Iterable[Episode]]


@dataclass(frozen=True)
class Edited:
    """What an edit made.

    Attributes:
        folder: the dataset it made.
        episodes: how many it holds; steps: with how many steps together.
        kept: where the dataset that it replaced is now; None where nothing was replaced or kept.
        left_out: features of the source that no episode holds, and that the copy lacks.
    """

    folder: Path
    episodes: int
    steps: int
    kept: Path | None = None
    left_out: tuple[str, ...] = ()


def one_target(source: PathLike, out: PathLike | None, in_place: bool) -> None:
    """Refuses both or neither of a new folder and replacement, and a new folder that is the source's own."""
    if (out is None) != in_place:
        raise ValueError("say where the edited dataset goes: either a new folder (out) or in_place, not both")
    if out is not None and os.path.realpath(out) == os.path.realpath(source):
        raise ValueError(f"{out} is the dataset itself; to replace it, edit in place")
    if out is not None and Path(os.path.realpath(source)) in Path(os.path.realpath(out)).parents:
        raise ValueError(f"{out} lies inside the dataset {source}; choose a folder beside it")


def create(out: PathLike, parts: Mapping[str, Episodes], like: Info) -> list[Edited]:
    """Writes new datasets out/NAME, which appear in one step when all are whole; the name "" is `out` itself.

    Args:
        parts: name -> a function that gives the episodes.
        like: of whom to take fps, robot type and the form of pictures.

    Raises:
        DataError: when `out` holds something already, a dataset would be empty, or writing fails.
    """
    place = Path(out)
    if os.path.lexists(place) and not (place.is_dir() and not any(place.iterdir())):
        raise DataError(f"{place} is there already; choose a new folder")
    try:
        with _hidden(place) as copy:
            made = [_write(copy / name, episodes(), like) for name, episodes in parts.items()]
            os.rename(copy, place)
            sync_folder(place.parent)
    except OSError as e:
        raise DataError(f"cannot write {place}: {e.strerror or e}") from e
    return [Edited(place / n, *counts, None, like.skipped) for n, counts in zip(parts, made, strict=True)]


def replace_with(place: PathLike, episodes: Episodes, like: Info, *, keep: bool = True) -> Edited:
    """Puts a changed copy in the place of a dataset, compared with what it should be.

    Args:
        episodes: gives the episodes of the copy, read from the folder; it is called twice.
        like: the dataset as it was when the edit was asked for.
        keep: whether the dataset that was there is kept beside, as ``NAME.before``.

    Raises:
        DataError: when the folder is being written or holds what a copy would lose, the copy is not what it
            should be, or the system cannot exchange folders; the dataset is then as it was.
    """
    folder = Path(os.path.realpath(place))
    if like.skipped and not keep:
        raise DataError(
            f"{place} has features that a copy would lose ({', '.join(like.skipped)}); keep the original"
        )
    if not keep:
        refuse_others(folder, "editing in place without keeping the original")
    lock = Lock(folder)
    try:
        if storage.info(folder).episodes != like.episodes:
            raise DataError(f"{place} has changed since the edit was asked for; ask again")
        with _hidden(folder) as copy:
            counts = _write(copy, episodes(), like)
            _compare(copy, episodes())
            second = Lock(copy)
            try:
                kept = _beside(folder) if keep else copy
                _change_places(copy, folder, kept)
            finally:
                second.release()
    except OSError as e:
        raise DataError(f"cannot replace {place}: {e.strerror or e}; it is as it was") from e
    finally:
        lock.release()
    return Edited(Path(place), *counts, kept if keep else None, like.skipped)


def _change_places(copy: Path, folder: Path, kept: Path) -> None:
    """Exchanges copy and folder, so that the exchange itself gives the old dataset its name."""
    os.rename(copy, kept)
    try:
        exchange(kept, folder)
    except BaseException:
        os.rename(kept, copy)
        raise


def _beside(folder: Path) -> Path:
    """A free name for the dataset that is replaced."""
    name = folder.with_name(f"{folder.name}.before")
    count = 1
    while os.path.lexists(name):
        count += 1
        name = folder.with_name(f"{folder.name}.before-{count}")
    return name


@contextmanager
def _hidden(place: Path) -> Iterator[Path]:
    """A hidden folder beside this one to write in; what is left of it at the end is removed."""
    copy = place.absolute().with_name(f".{place.absolute().name}.edit")
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(copy, ignore_errors=True)  # an earlier attempt's
        yield copy
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def _write(copy: Path, episodes: Iterable[Episode], like: Info) -> tuple[int, int]:
    cameras = sum(filmed(dtype, shape) for dtype, shape in like.schema.values())
    if like.videos and cameras > len(like.videos):
        raise DataError(
            f"the dataset has {len(like.videos)} cameras as video and {cameras - len(like.videos)} as PNG; "
            "a copy of ours has one form, so drop some of them with LeRobot's tools first"
        )
    video = bool(like.videos)
    with storage.Writer(copy, fps=like.fps, robot_type=like.robot_type, video=video) as writer:
        writer.extend(episodes)
        if not writer.episodes:
            raise DataError("no episode would be left; a dataset needs at least one")
        return writer.episodes, writer.steps


def _compare(copy: Path, episodes: Iterable[Episode]) -> None:
    """Refuses a copy that is not these episodes; of pictures that stay on disk it looks at some."""
    there = storage.stream(copy)
    for i, want in enumerate(episodes):
        have = next(there, None)
        if have is None or not _same(have, want):
            raise DataError(f"episode {i} of the edited copy is not what it should be; nothing was replaced")
    if next(there, None) is not None:
        raise DataError("the edited copy has too many episodes; nothing was replaced")


def _same(a: Episode, b: Episode) -> bool:
    if a.obs.keys() != b.obs.keys() or dict(a.meta) != dict(b.meta):
        return False
    if (a.terminated, a.success) != (b.terminated, b.success):
        return False
    columns = [(a.obs[k], b.obs[k]) for k in a.obs]
    columns += [(a.action, b.action), (a.label, b.label), (a.labelled, b.labelled), (a.reward, b.reward)]
    for x, y in ((a.time, b.time), (a.control, b.control)):
        if (x is None) != (y is None):
            return False
        if x is not None and y is not None:
            columns.append((x, y))
    return all(_alike(x, y) for x, y in columns)


def _alike(x: Array, y: Array) -> bool:
    if x.shape != y.shape or x.dtype != y.dtype:
        return False
    if lazy(x) or lazy(y):  # video is compressed anew where it was cut, so that values may differ
        some = [0, len(x) // 2, len(x) - 1]
        return x[some].shape == y[some].shape
    return np.array_equal(x, y)
