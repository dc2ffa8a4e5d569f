"""Edits of dataset folders: each makes a new folder (`out`), or takes the dataset's place (`in_place`).

All of them stream: one episode, and at most a commit's 64 MB, are in memory at a time. Where a dataset is
replaced, the one before is kept beside it as ``NAME.before`` unless `keep` is False. All raise

    ValueError, KeyError: when what is asked does not fit the dataset;
    DataError: when a folder is damaged, is being written, is there already, or cannot be written.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from understudy import storage
from understudy.editing.episodes import Success, renamed, selected, trimmed, with_fact, without
from understudy.editing.folders import Edited, PathLike, create, one_target, replace_with
from understudy.episode import Episode
from understudy.storage import DataError, Info
from understudy.storage.folder import Folder
from understudy.storage.layout import SKETCH

__all__ = [
    "delete",
    "drop",
    "merge",
    "parts_by_fact",
    "parts_by_fraction",
    "recompute_statistics",
    "rename",
    "select",
    "set_fact",
    "split",
    "trim",
]

Steps = tuple[int, int | None]


def select(
    source: PathLike,
    episodes: Iterable[int],
    out: PathLike | None = None,
    *,
    in_place: bool = False,
    keep: bool = True,
) -> Edited:
    """A dataset of these episodes, in the order they have in the source and numbered anew."""
    wanted = _checked(episodes, storage.info(source))
    return _stream(source, lambda them: selected(them, wanted), out, in_place, keep)


def delete(
    source: PathLike,
    episodes: Iterable[int],
    out: PathLike | None = None,
    *,
    in_place: bool = False,
    keep: bool = True,
) -> Edited:
    """A dataset without these episodes; the others are numbered anew."""
    there = storage.info(source)
    gone = set(_checked(episodes, there))
    left = [i for i in range(there.episodes) if i not in gone]
    if not left:
        raise ValueError(f"all {there.episodes} episodes would be deleted; a dataset needs at least one")
    return _stream(source, lambda them: selected(them, left), out, in_place, keep)


def trim(
    source: PathLike,
    steps: Steps | Mapping[int, Steps],
    out: PathLike | None = None,
    *,
    success: Success = "keep",
    in_place: bool = False,
    keep: bool = True,
) -> Edited:
    """A dataset with only the steps [start, stop) of all episodes, or of some: episode -> (start, stop).

    What becomes of the state after the last step, of termination and of success, `episodes.trimmed` says.
    """
    if isinstance(steps, Mapping):
        _checked(steps, storage.info(source))

    def cut(number: int, episode: Episode) -> Episode:
        window = steps.get(number) if isinstance(steps, Mapping) else steps
        if window is None:
            return episode
        try:
            return trimmed(episode, *window, success=success)
        except ValueError as e:
            raise ValueError(f"episode {number}: {e}") from None

    return _each(source, cut, out, in_place, keep)


def rename(
    source: PathLike,
    names: Mapping[str, str],
    out: PathLike | None = None,
    *,
    in_place: bool = False,
    keep: bool = True,
) -> Edited:
    """A dataset with observations under new names: old -> new."""
    return _each(source, lambda _, e: renamed(e, names), out, in_place, keep)


def drop(
    source: PathLike,
    names: Iterable[str],
    out: PathLike | None = None,
    *,
    in_place: bool = False,
    keep: bool = True,
) -> Edited:
    """A dataset without the observations of these names."""
    gone = tuple(names)
    return _each(source, lambda _, e: without(e, gone), out, in_place, keep)


def set_fact(
    source: PathLike,
    name: str,
    value: str | int | float,
    out: PathLike | None = None,
    *,
    episodes: Iterable[int] | None = None,
    in_place: bool = False,
    keep: bool = True,
) -> Edited:
    """A dataset with one fact set in the meta of these episodes, or of all: "task" is the instruction's text,
    "operator" who demonstrated."""
    there = storage.info(source)
    chosen = set(range(there.episodes) if episodes is None else _checked(episodes, there))
    return _each(source, lambda i, e: with_fact(e, name, value) if i in chosen else e, out, in_place, keep)


def recompute_statistics(
    source: PathLike, out: PathLike | None = None, *, in_place: bool = False, keep: bool = True
) -> Edited:
    """A dataset whose statistics are computed anew from every step.

    In place nothing but the statistics of the whole is written where the dataset is one we recorded.
    """
    one_target(source, out, in_place)
    opened = Folder(source)
    if not in_place or not opened.native:
        return _each(source, lambda _, e: e, out, in_place, keep)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(opened.where / SKETCH)  # a cache; opening for writing makes it anew
    storage.repair(source)
    return Edited(Path(source), len(opened.length), int(opened.length.sum()))


def merge(
    sources: Sequence[PathLike],
    out: PathLike | None = None,
    *,
    in_place: bool = False,
    keep: bool = True,
) -> Edited:
    """One dataset of the episodes of several, one source after another; in place it is the first of them.

    Raises:
        DataError: when they differ in an observation, in the action, in fps, or in robot type where both say
            one; the message names the feature and both shapes.
    """
    if len(sources) < 2:
        raise ValueError("merging takes two datasets or more")
    for source in sources[0:1] if in_place else sources:
        one_target(source, out, in_place)
    infos = [storage.info(s) for s in sources]
    for source, info in zip(sources[1:], infos[1:], strict=True):
        _alike(sources[0], infos[0], source, info)

    def episodes() -> Iterator[Episode]:
        for source in sources:
            yield from storage.stream(source)

    robot = next((i.robot_type for i in infos if i.robot_type is not None), None)
    left_out = tuple(dict.fromkeys(name for i in infos for name in i.skipped))
    like = replace(infos[0], robot_type=robot, skipped=left_out)
    if in_place:
        return replace_with(sources[0], episodes, like, keep=keep)
    assert out is not None
    return create(out, {"": episodes}, like)[0]


def split(source: PathLike, parts: Mapping[str, Iterable[int]], out: PathLike) -> dict[str, Edited]:
    """Several datasets out/NAME, each of the episodes named for it; all appear in one step.

    An episode may be in several parts or in none: see `parts_by_fraction` and `parts_by_fact`.
    """
    one_target(source, out, in_place=False)
    there = storage.info(source)
    chosen = {name: _checked(them, there) for name, them in parts.items()}
    for name, them in chosen.items():
        if not them:
            raise ValueError(f"part {name!r} would be empty; a dataset needs at least one episode")
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise ValueError(f"{name!r} cannot be the name of a folder")

    def one(them: list[int]) -> Iterator[Episode]:
        return selected(storage.stream(source), them)

    made = create(out, {name: partial(one, them) for name, them in chosen.items()}, there)
    return dict(zip(chosen, made, strict=True))


def parts_by_fraction(source: PathLike, fraction: float, seed: int) -> dict[str, list[int]]:
    """The parts "train", with round(fraction × episodes) of them drawn by `seed`, and "validation"."""
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"fraction is {fraction}; it must lie between 0 and 1")
    count = storage.info(source).episodes
    order = np.random.default_rng(seed).permutation(count)
    cut = round(fraction * count)
    return {"train": sorted(order[:cut].tolist()), "validation": sorted(order[cut:].tolist())}


def parts_by_fact(source: PathLike, name: str) -> dict[str, list[int]]:
    """A part for each value of a fact, such as "operator", under that value as text (a slash as %2F).

    Raises:
        ValueError: when an episode does not have the fact.
    """
    opened = Folder(source)
    parts: dict[str, list[int]] = {}
    for i, facts in enumerate(opened.facts(0, len(opened.length))):
        if name not in facts:
            raise ValueError(f"episode {i} says no {name!r}; it says {', '.join(facts) or 'nothing'}")
        value = str(facts[name]).replace("%", "%25").replace("/", "%2F")  # as in an address
        parts.setdefault(value, []).append(i)
    return parts


def _stream(
    source: PathLike,
    change: Callable[[Iterable[Episode]], Iterable[Episode]],
    out: PathLike | None,
    in_place: bool,
    keep: bool,
) -> Edited:
    one_target(source, out, in_place)
    there = storage.info(source)

    def episodes() -> Iterable[Episode]:
        return change(storage.stream(source))

    if in_place:
        return replace_with(source, episodes, there, keep=keep)
    assert out is not None
    return create(out, {"": episodes}, there)[0]


def _each(
    source: PathLike,
    change: Callable[[int, Episode], Episode],
    out: PathLike | None,
    in_place: bool,
    keep: bool,
) -> Edited:
    return _stream(source, lambda them: (change(i, e) for i, e in enumerate(them)), out, in_place, keep)


def _checked(episodes: Iterable[int], there: Info) -> list[int]:
    """Episode numbers, once each and in order; refused where there is no such episode."""
    numbers = sorted(set(episodes))
    for i in (*numbers[:1], *numbers[-1:]):
        if not 0 <= i < there.episodes:
            raise ValueError(
                f"there is no episode {i}; there are {there.episodes}, 0 to {there.episodes - 1}"
            )
    return numbers


def _alike(first: PathLike, a: Info, second: PathLike, b: Info) -> None:
    """Refuses two datasets that cannot be one."""
    for name in sorted(a.schema.keys() | b.schema.keys()):
        if (x := a.schema.get(name)) != (y := b.schema.get(name)):
            said = ["absent" if s is None else f"{s[0]}{list(s[1])}" for s in (x, y)]
            raise DataError(
                f"{name!r} is {said[0]} in {first} and {said[1]} in {second}; datasets that are merged must "
                "be alike (rename or drop observations first)"
            )
    if a.fps != b.fps:
        raise DataError(f"{first} has {a.fps} steps a second, {second} has {b.fps}; a dataset has one fps")
    if None not in (a.robot_type, b.robot_type) and a.robot_type != b.robot_type:
        raise DataError(
            f"{first} is of robot {a.robot_type!r}, {second} of {b.robot_type!r}; a dataset has one robot"
        )
