"""Our own layout, LeRobotDataset v3.0, as one format among the others."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Literal

from understudy import storage
from understudy.dataset import Dataset
from understudy.episode import Episode
from understudy.formats.notes import note
from understudy.formats.placing import new_folder
from understudy.storage.files import DataError
from understudy.storage.layout import INFO

__all__ = ["Reading", "Writing", "episodes", "read", "recognises", "write"]

ABOUT = "LeRobotDataset v3.0, a folder with meta/info.json (the native layout)"
_FPS, _ROBOT = "dataset.fps", "dataset.robot_type"
GUARD = False  # `storage` checks and bounds what it reads by itself


@dataclass(frozen=True)
class Reading:
    """How a folder is read; as in `storage.read`.

    Attributes:
        images: where pictures are kept: "disk", "memory", or "auto".
        video: "skip" leaves videos out.
        verify: hold each episode that we recorded against its checksum.
    """

    images: Literal["auto", "disk", "memory"] = "auto"
    video: Literal["read", "skip"] = "read"
    verify: bool = True


@dataclass(frozen=True)
class Writing:
    """How a folder is written; as in `storage.Writer`.

    Attributes:
        fps: steps a second; 0 means what the first episode's facts say, else 1.
        robot_type: what was driven; "" means what the first episode's facts say, else nothing.
        video: store cameras as H.264, with its loss; else as PNG, bit for bit.
        crf: x264's constant rate factor for video, 0 (best) to 51.
    """

    fps: int = 0
    robot_type: str = ""
    video: bool = False
    crf: int = 23


def recognises(path: Path) -> bool:
    """Whether it is a folder with an info.json where ours is."""
    return os.path.isfile(path / INFO)


def episodes(path: Path, options: Reading) -> Iterator[Episode]:
    """The episodes of a folder; see `storage.stream`.

    What the layout says of the dataset as a whole, fps and robot_type, travels in each episode's facts, as
    `dataset.fps` and `dataset.robot_type`, from which `write` makes it what it was.
    """
    said = storage.info(path)
    whole: dict[str, str | int | float] = {_FPS: said.fps} if said.fps != 1 else {}
    whole |= {_ROBOT: said.robot_type} if said.robot_type else {}
    for name in said.skipped:
        note(f"left out feature {name!r}, for which an episode has no place")
    for e in storage.stream(path, images=options.images, video=options.video, verify=options.verify):
        yield replace(e, meta={**whole, **e.meta}) if whole else e


def read(path: Path, options: Reading) -> Dataset:
    """The whole folder; see `storage.read`."""
    return storage.read(path, images=options.images, video=options.video, verify=options.verify)


def write(path: Path, episodes: Iterable[Episode], options: Writing) -> None:
    """A new folder; see `storage.Writer`.

    Raises:
        DataError: when the place is taken, there are no episodes, or writing fails.
    """
    with new_folder(path) as folder:
        video = storage.VideoOptions(crf=options.crf) if options.video else False
        source = iter(episodes)
        if (first := next(source, None)) is None:
            raise DataError(f"there are no episodes to write into {path}")
        fps, robot = options.fps or first.meta.get(_FPS), options.robot_type or first.meta.get(_ROBOT)
        storage.write(
            folder,
            map(_without, chain([first], source)),
            fps=int(fps) if isinstance(fps, int | float) and fps >= 1 else None,
            robot_type=robot if isinstance(robot, str) else None,
            video=video,
        )
        (folder / ".understudy.lock").unlink(missing_ok=True)


def _without(e: Episode) -> Episode:
    """An episode without the facts about the dataset as a whole."""
    if _FPS not in e.meta and _ROBOT not in e.meta:
        return e
    return replace(e, meta={k: v for k, v in e.meta.items() if k not in (_FPS, _ROBOT)})
