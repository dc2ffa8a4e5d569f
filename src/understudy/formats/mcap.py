"""ROS 2 bags in MCAP files: topics with clocks of their own become observations and actions at one rate.

A bag is an episode: a file, or a folder that `ros2 bag record` made (with its metadata.yaml, in one or more
pieces). A folder of bags is a dataset. `topics` says what is in them; a mapping says what it means:

    options = mcap.Reading(
        observations=("state=/joint_states.position", "state=/gripper.data", "front=/camera/image_raw"),
        action="/command.data",
        rate=20.0,
    )
    formats.read("bags", options=options)

or ``understudy convert bags demos --to lerobot --reading observations=state=/joint_states.position,...
action=/command.data rate=20``.

A field is named by its path, with `[3]` or `[0:7]` behind it where a part is wanted; without a path all
numbers of a message are taken in the order of its definition, but for its header. Images are taken whole.
Several sources of one name, or of the action joined with "+", stand side by side.

The observation at a tick is the latest message at or before it. The action after it is the first command that
comes before the next tick, or else the one still in force. What that left out and repeated is told in
meta["resampled"], what was lost in recording is counted in meta["dropped_frames"], and long silences stand in
meta["gaps"].

Bags that understudy wrote need no mapping, and come back as they were.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from understudy.episode import Episode
from understudy.formats import _recorded
from understudy.formats._bags import MAGIC, Bag, Topic, natural
from understudy.formats._facts import nonempty
from understudy.formats._resampled import Mapped, resampled
from understudy.formats.placing import new_file, new_folder
from understudy.storage.files import DataError, guarded

__all__ = ["Reading", "Topic", "Writing", "episodes", "recognises", "topics", "write"]

ABOUT = "ROS 2 bags, an MCAP file or a folder of them"
NEEDS = ("mcap", "mcap_ros2", "zstandard", "lz4")

_YAML = "metadata.yaml"
_FASTEST = 10_000.0  # Hz


@dataclass(frozen=True)
class Reading:
    """How topics become episodes.

    Attributes:
        observations: "name=/topic.field", each.
        action: "/topic.field"; several joined with "+".
        rate: steps a second.
        clock: what a message's time is: when it was logged, or its header's stamp where its type has one.
        episode: "/topic.field" of a number that tells episodes of one bag apart: each stretch in which it
            stays the same and is not 0 is one. None named means that a bag is an episode.
        reward: "/topic.field" of numbers that are summed over each step.
        success: "/topic.field" of a number whose last value says whether the task was done.
        gap: seconds of silence that are worth reporting, of a topic that otherwise speaks regularly.
        cut_short: read a file that ends in the middle of a record, as a recorder that was killed leaves it.
    """

    observations: tuple[str, ...] = ()
    action: str = ""
    rate: float = 0.0
    clock: Literal["log", "header"] = "log"
    episode: str = ""
    reward: str = ""
    success: str = ""
    gap: float = 1.0
    cut_short: bool = False


@dataclass(frozen=True)
class Writing:
    """How bags are written.

    Attributes:
        fps: what spaces the log times of episodes without measured ones; 0 means meta["fps"], or else 1.
        compression: of the chunks.
    """

    fps: float = 0.0
    compression: Literal["zstd", "lz4", "none"] = "zstd"


def recognises(path: Path) -> bool:
    """Whether it is an MCAP file, or a folder that holds bags."""
    with contextlib.suppress(OSError, ValueError):
        if path.is_file():
            return _is_mcap(path)
        return any(_is_mcap(p) for p in _inside(path)) or any(
            _is_mcap(p) for folder in path.iterdir() if folder.is_dir() for p in _inside(folder)
        )
    return False


def _is_mcap(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def _inside(folder: Path) -> list[Path]:
    """The MCAP files of a folder in the order of the numbers in their names; links are not followed."""
    found = [p for p in folder.iterdir() if p.suffix == ".mcap" and p.is_file() and not p.is_symlink()]
    return sorted(found, key=natural)


def _bags(path: Path, *, cut_short: bool = False) -> list[Bag]:
    """The bags of a file or folder, in order."""
    with guarded(path):
        if not path.is_dir():
            return [Bag([path], cut_short=cut_short)]
        files = _inside(path)
        if (path / _YAML).is_file():  # the pieces of one bag
            return [Bag(files, cut_short=cut_short)] if files else []
        bags = [Bag([p], cut_short=cut_short) for p in files]
        folders = sorted((p for p in path.iterdir() if p.is_dir() and not p.is_symlink()), key=natural)
        return bags + [Bag(f, cut_short=cut_short) for folder in folders if (f := _inside(folder))]


def topics(path: str | os.PathLike[str]) -> list[Topic]:
    """What the first bag of a file or folder holds: topics with type, count, first and last time and rate.

    Raises:
        DataError: when there is no bag, or it is damaged.
    """
    return _first(_bags(Path(path)), Path(path)).topics()


def _first(bags: list[Bag], path: Path) -> Bag:
    if not bags:
        raise DataError(f"{path} holds no bags")
    return bags[0]


def episodes(path: Path, options: Reading) -> Iterator[Episode]:
    """The episodes of a bag or of a folder of bags in turn.

    Raises:
        DataError: when a bag is damaged or hostile, the mapping does not fit it, or a bag of others is read
            without one; then the message lists its topics.
    """
    bags = _bags(path, cut_short=options.cut_short)
    first = _first(bags, path)
    mapped = replace(options, cut_short=False) != Reading()
    if mapped or first.metadata(_recorded.NAME) is None:
        mapping = _mapping(first, options)
        for bag in bags:
            yield from resampled(bag, mapping)
        return
    for bag in bags:
        if (said := bag.metadata(_recorded.NAME)) is None:
            raise DataError(f"{bag} was not written by understudy, unlike the bags before it")
        yield _recorded.read(bag, said)


def _mapping(bag: Bag, options: Reading) -> Mapped:
    """The options, checked.

    Raises:
        DataError: when one is missing or wrong, with the bag's topics.
    """
    if not (options.observations and options.action and options.rate):
        there = ", ".join(f"{t.name} ({t.type}, {t.count} messages, {t.rate:.1f} Hz)" for t in bag.topics())
        raise DataError(
            f"{bag} needs a mapping: observations=name=/topic.field, action=/topic.field and rate=steps a "
            f"second; it has {there or 'no messages'}"[:4000]
        )
    for name, value, most in (("rate", options.rate, _FASTEST), ("gap", options.gap, math.inf)):
        if not 0 < value <= most:
            raise DataError(
                f"{name} is {value}; it must be positive" + (f", {most:g} at most" * (most < math.inf))
            )
    return Mapped.parse(
        options.observations,
        options.action,
        {"reward": options.reward, "success": options.success, "episode": options.episode},
        rate=float(options.rate),
        clock=options.clock,
        gap=options.gap,
    )


def write(path: Path, episodes: Iterable[Episode], options: Writing) -> None:
    """A new folder with a bag an episode, or one bag of one episode where the path ends in ".mcap".

    Raises:
        DataError: when the place is taken, there are no episodes, or more than one for one bag, they are not
            alike, or writing fails.
    """
    if options.fps < 0:
        raise DataError(f"fps is {options.fps}; it must be positive, or 0")
    if path.suffix == ".mcap":
        with new_file(path) as place:
            for i, e in enumerate(nonempty(episodes)):
                if i:
                    raise DataError(f"{path} is one bag, which holds one episode; name a folder for several")
                _recorded.save(place, e, _fps(e, options), options.compression)
        return
    with new_folder(path) as folder:
        for i, e in enumerate(nonempty(episodes)):
            _recorded.save(folder / f"episode_{i:06d}.mcap", e, _fps(e, options), options.compression)


def _fps(e: Episode, options: Writing) -> float:
    said = e.meta.get("fps", 1)
    return options.fps or (float(said) if isinstance(said, int | float) and 0 < said < _FASTEST else 1.0)
