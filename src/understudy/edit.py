"""The verb `edit`: what is asked as text and plain values, as a command line gives it."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from tyro.conf import Positional

from understudy import editing
from understudy.editing import Edited, Success

__all__ = ["EDITS", "Edit", "numbers", "windows"]


def numbers(words: Sequence[str]) -> list[int]:
    """Episode numbers from words such as "3" and "7-9", which is 7, 8 and 9.

    >>> numbers(["3", "7-9"])
    [3, 7, 8, 9]
    """
    out: list[int] = []
    for word in words:
        if (found := re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", word)) is None:
            raise ValueError(f"{word!r} names no episodes; say a number such as 3, or a range such as 7-9")
        first, last = int(found[1]), int(found[2] or found[1])
        if last < first or last - first > 10**6:
            raise ValueError(f"{word!r} is no range of episodes; it must run upwards")
        out += range(first, last + 1)
    return out


def windows(words: Sequence[str]) -> tuple[int, int | None] | dict[int, tuple[int, int | None]]:
    """The steps to keep: "10:120" of all episodes, or "3=10:120" of one or more.

    >>> windows(["10:-5"]), windows(["3=:120", "4=10:"])
    ((10, -5), {3: (0, 120), 4: (10, None)})
    """
    found = [re.fullmatch(r"(?:(\d{1,9})=)?(-?\d{1,9})?:(-?\d{1,9})?", word) for word in words]
    named: dict[int, tuple[int, int | None]] = {}
    for word, m in zip(words, found, strict=True):
        if m is None:
            raise ValueError(f"{word!r} is no window of steps; say START:STOP, or EPISODE=START:STOP")
        window = int(m[2] or 0), None if m[3] is None else int(m[3])
        if m[1] is None:
            if len(words) > 1:
                raise ValueError(f"{word!r} is for all episodes, so there can be no other window")
            return window
        if int(m[1]) in named:
            raise ValueError(f"episode {int(m[1])} has two windows")
        named[int(m[1])] = window
    return named


@dataclass(frozen=True)
class Edit(ABC):
    """A change of one dataset, and where it goes."""

    data: Positional[Path]
    """The dataset's folder; it is never written to, unless --in-place."""
    out: Path | None = None
    """The new folder."""
    in_place: bool = False
    """Replace the dataset; the one before is kept beside it as NAME.before."""
    discard: bool = False
    """With --in-place: do not keep the one before."""

    @abstractmethod
    def run(self) -> dict[str, Any]: ...

    def _target(self) -> dict[str, Any]:
        if self.discard and not self.in_place:
            raise ValueError("--discard goes with --in-place: without it the dataset stays as it is")
        if (self.out is None) != self.in_place:
            raise ValueError("say where the edited dataset goes: --out NEW or --in-place")
        return {"out": self.out, "in_place": self.in_place, "keep": not self.discard}


@dataclass(frozen=True)
class Select(Edit):
    """Keeps some episodes.

    Example: understudy edit select pushes --episodes 0-49 --out first
    """

    episodes: tuple[str, ...] = ()
    """Numbers and ranges: 3 5 7-9."""

    def run(self) -> dict[str, Any]:
        return said(editing.select(self.data, numbers(self.episodes), **self._target()))


@dataclass(frozen=True)
class Delete(Edit):
    """Leaves some episodes out.

    Example: understudy edit delete pushes --episodes 3 5 7-9 --out good
    """

    episodes: tuple[str, ...] = ()
    """Numbers and ranges: 3 5 7-9."""

    def run(self) -> dict[str, Any]:
        if not self.episodes:
            raise ValueError("say which --episodes to delete")
        return said(editing.delete(self.data, numbers(self.episodes), **self._target()))


@dataclass(frozen=True)
class Trim(Edit):
    """Keeps some steps of episodes. Negative numbers count from the end.

    Example: understudy edit trim pushes --steps 3=10:120 5=:-20 --out trimmed
    """

    steps: tuple[str, ...] = ()
    """START:STOP for all episodes, or EPISODE=START:STOP for some."""
    success: Literal["keep", "yes", "no", "unknown"] = "keep"
    """Whether the trimmed episodes succeeded; what was noted is kept by default."""

    def run(self) -> dict[str, Any]:
        if not self.steps:
            raise ValueError("say which --steps to keep")
        known: dict[str, bool | None] = {"yes": True, "no": False, "unknown": None}
        success: Success = "keep" if self.success == "keep" else known[self.success]
        return said(editing.trim(self.data, windows(self.steps), success=success, **self._target()))


@dataclass(frozen=True)
class Rename(Edit):
    """Gives observations other names.

    Example: understudy edit rename pushes --names state=robot goal=target --out renamed
    """

    names: tuple[str, ...] = ()
    """OLD=NEW."""

    def run(self) -> dict[str, Any]:
        pairs = [name.partition("=") for name in self.names]
        if not pairs or not all(old and new for old, _, new in pairs):
            raise ValueError("say which observations to rename: --names OLD=NEW")
        return said(editing.rename(self.data, {old: new for old, _, new in pairs}, **self._target()))


@dataclass(frozen=True)
class Drop(Edit):
    """Leaves observations out.

    Example: understudy edit drop pushes --names goal --out without
    """

    names: tuple[str, ...] = ()
    """Names of observations."""

    def run(self) -> dict[str, Any]:
        if not self.names:
            raise ValueError("say which observations to drop: --names NAME")
        return said(editing.drop(self.data, self.names, **self._target()))


@dataclass(frozen=True)
class Fact(Edit):
    """Sets a fact, in all episodes or some."""

    fact: ClassVar[str]
    to: str = ""
    """The text."""
    episodes: tuple[str, ...] = ()
    """Numbers and ranges such as 3 5 7-9; all where none are named."""

    def run(self) -> dict[str, Any]:
        if not self.to:
            raise ValueError("say the text: --to TEXT")
        some = numbers(self.episodes) or None
        return said(editing.set_fact(self.data, self.fact, self.to, episodes=some, **self._target()))


@dataclass(frozen=True)
class Task(Fact):
    """Sets the instruction's text.

    Example: understudy edit task pushes --to "push the cube to the line" --in-place
    """

    fact = "task"


@dataclass(frozen=True)
class Operator(Fact):
    """Sets who demonstrated.

    Example: understudy edit operator pushes --episodes 0-24 --to ann --in-place
    """

    fact = "operator"


@dataclass(frozen=True)
class Statistics(Edit):
    """Computes the statistics anew.

    Example: understudy edit statistics pushes --in-place
    """

    def run(self) -> dict[str, Any]:
        return said(editing.recompute_statistics(self.data, **self._target()))


@dataclass(frozen=True)
class Merge(Edit):
    """Joins datasets that are alike; in place, the first becomes all of them.

    Example: understudy edit merge pushes more-pushes --out all
    """

    more: Positional[tuple[Path, ...]] = ()
    """The folders of the others."""

    def run(self) -> dict[str, Any]:
        return said(editing.merge((self.data, *self.more), **self._target()))


@dataclass(frozen=True)
class Split:
    """Makes several datasets of one: by a fraction, by a fact, or by numbers.

    Example: understudy edit split pushes --fraction 0.9 --seed 0 --out parts
    """

    data: Positional[Path]
    """The dataset's folder."""
    out: Path
    """The new folder, with a dataset for each part in it."""
    fraction: float | None = None
    """Two parts, train with this share of the episodes and validation, drawn by --seed."""
    seed: int | None = None
    """Of the draw."""
    by: str | None = None
    """A part for each value of this fact, such as operator."""
    parts: tuple[str, ...] = ()
    """NAME=EPISODES, such as early=0-49 late=50-99,120."""

    def run(self) -> dict[str, Any]:
        if (self.fraction is not None) + (self.by is not None) + bool(self.parts) != 1:
            raise ValueError("say how to split: one of --fraction, --by and --parts")
        if (self.fraction is None) != (self.seed is None):
            raise ValueError("--fraction and --seed go together")
        made = editing.split(self.data, self._parts(), self.out)
        parts = {name: said(edited) for name, edited in made.items()}
        return {"dataset": str(self.out), "parts": parts}

    def _parts(self) -> Mapping[str, Sequence[int]]:
        if self.fraction is not None and self.seed is not None:
            return editing.parts_by_fraction(self.data, self.fraction, self.seed)
        if self.by is not None:
            return editing.parts_by_fact(self.data, self.by)
        parts: dict[str, Sequence[int]] = {}
        for word in self.parts:
            name, _, those = word.partition("=")
            if not name or not those or name in parts:
                raise ValueError(f"{word!r} is no part of its own; say NAME=EPISODES")
            parts[name] = numbers(those.split(","))
        return parts


def said(edited: Edited) -> dict[str, Any]:
    """What an edit made, for the command line's record."""
    record: dict[str, Any] = {
        "dataset": str(edited.folder),
        "episodes": edited.episodes,
        "steps": edited.steps,
        "kept": None if edited.kept is None else str(edited.kept),
        "left_out": list(edited.left_out),
    }
    return record


EDITS: Mapping[str, type[Edit] | type[Split]] = {
    "select": Select,
    "delete": Delete,
    "trim": Trim,
    "split": Split,
    "merge": Merge,
    "rename": Rename,
    "drop": Drop,
    "task": Task,
    "operator": Operator,
    "statistics": Statistics,
}
