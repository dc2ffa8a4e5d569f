"""What `understudy actions` does and shows."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from understudy import formats
from understudy.actions.convert import Conversion
from understudy.actions.space import ActionSpace, Delta, Effector, Field, size_of
from understudy.episode import Episode

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Words", "convert_actions"]

_NOTHING = "-"  # stands for an effector without a position, rotation or pose


@dataclass(frozen=True)
class Words:
    """What the actions mean now, in the words of a command line; empty where the data says it itself.

    Args:
        kind: "absolute" or "delta".
        position: columns of the action, START:STOP, one word for each hand or arm, "-" for none.
        rotation: START:STOP=FORM, likewise; may be left out altogether.
        pose: where observations hold the measured pose: NAME or NAME[START:STOP] for the position and, after
            a comma, NAME=FORM or NAME[START:STOP]=FORM for the rotation; likewise.
    """

    kind: Literal["absolute", "delta"] | None = None
    position: tuple[str, ...] = ()
    rotation: tuple[str, ...] = ()
    pose: tuple[str, ...] = ()

    def space(self, e: Episode, delta: Delta | None) -> ActionSpace | None:
        """The space of an episode's actions, widths of whole observations read off it.

        Raises:
            ValueError: for words that say nothing, too little, or what is not there.
        """
        if not (self.position or self.rotation):
            if self.kind or self.pose:
                raise ValueError("to say what the actions mean, name their position or rotation")
            return None
        if self.kind is None:
            raise ValueError("position and rotation are named, but not whether they are absolute or a delta")
        count = max(len(self.position), len(self.rotation))
        for name, words in (("position", self.position), ("rotation", self.rotation), ("pose", self.pose)):
            if len(words) not in (0, count):
                raise ValueError(
                    f"{name} has {len(words)} entries, others {count}; {_NOTHING!r} stands for none"
                )
        widths = {k: v.shape[1] for k, v in e.obs.items() if v.ndim == 2}
        none = (_NOTHING,) * count
        every = zip(self.position or none, self.rotation or none, self.pose or none, strict=True)
        effectors = [self._effector(place, turn, pose, widths) for place, turn, pose in every]
        if self.kind == "delta" and delta is None:
            raise ValueError("the actions are said to be deltas; say of which reference and in which frame")
        return ActionSpace(e.action.shape[1], tuple(effectors), delta if self.kind == "delta" else None)

    @staticmethod
    def _effector(position: str, rotation: str, pose: str, widths: Mapping[str, int]) -> Effector:
        seen: dict[str, Field] = {}
        for part in pose.split(",") if pose != _NOTHING else ():
            field = _seen(part, widths)
            name = "seen_rotation" if field.form else "seen_position"
            if name in seen:
                raise ValueError(f"pose {pose!r} names two {name[5:]}s; a rotation's word ends in =FORM")
            seen[name] = field
        return Effector(_acted(position, "position"), _acted(rotation, "rotation"), **seen)


def _acted(word: str, what: str) -> Field | None:
    """Columns of the action from START:STOP or START:STOP=FORM."""
    if word == _NOTHING:
        return None
    found = re.fullmatch(r"(\d{1,6}):(\d{1,6})(?:=(\w+))?", word)
    if found is None or (found[3] is None) != (what == "position"):
        form = "" if what == "position" else "=FORM"
        raise ValueError(f"{what} is {word!r}; it must be START:STOP{form}, the action's columns")
    return Field(int(found[1]), int(found[2]), found[3])


def _seen(word: str, widths: Mapping[str, int]) -> Field:
    """Columns of an observation from NAME, NAME[START:STOP], and either with =FORM."""
    found = re.fullmatch(r"([^\[\]=]+)(?:\[(\d{1,6}):(\d{1,6})\])?(?:=(\w+))?", word)
    if found is None:
        raise ValueError(f"pose is {word!r}; it must be NAME or NAME[START:STOP], with =FORM for a rotation")
    key = found[1]
    if key not in widths:
        raise ValueError(f"there is no vector observation {key!r} with a pose; there are {sorted(widths)}")
    start, stop = (0, widths[key]) if found[2] is None else (int(found[2]), int(found[3]))
    if stop > widths[key]:
        raise ValueError(f"pose {word!r} lies outside of {key!r}, which is {widths[key]} wide")
    if found[4] is not None and found[2] is None and widths[key] != size_of(found[4]):
        raise ValueError(f"{key!r} is {widths[key]} wide, no rotation as {found[4]}; name its columns")
    return Field(start, stop, found[4], key)


def convert_actions(
    src: Path,
    dst: Path,
    to: Literal["absolute", "delta"],
    words: Words,
    delta: Delta | None,
    form: str | None,
    console: Console,
) -> dict[str, Any]:
    """Reads a dataset of any format, writes a native one with converted actions, and says what was done.

    Raises:
        ValueError: when the words do not fit the data, or a delta is asked for and not described.
        DataError: as `formats.stream` and `formats.write`.
    """
    if to == "delta" and delta is None:
        raise ValueError("a delta needs a reference (measured or previous) and a frame (world or body)")
    if to == "absolute" and words.kind != "delta" and delta is not None:
        raise ValueError("reference and frame describe a delta, and none is named: neither --from nor --to")
    episodes = formats.stream(src)
    first = next(episodes)
    source = words.space(first, delta)
    conversion = Conversion(delta if to == "delta" else None, form=form, source=source)
    far = _Largest()
    made = (far(conversion(e)) for e in chain([first], episodes))
    formats.write(dst, made, "lerobot")
    return _told(src, dst, conversion, far, console)


class _Largest:
    """Remembers the largest value of each column, and the space, of the episodes that pass."""

    def __init__(self) -> None:
        self.most: np.ndarray = np.zeros(0)
        self.space: ActionSpace | None = None
        self.episodes = 0

    def __call__(self, e: Episode) -> Episode:
        most = np.abs(e.action).max(0)
        self.most = most if not self.episodes else np.maximum(self.most, most)
        self.space = ActionSpace.of(e.meta)
        self.episodes += 1
        return e


def _told(src: Path, dst: Path, done: Conversion, far: _Largest, console: Console) -> dict[str, Any]:
    space = far.space
    assert space is not None
    lines = [f"wrote {dst}: {far.episodes} episodes, {done.steps} steps, {space.width} wide: {_kind(space)}"]
    for field in space.fields:
        largest = float(far.most[field.columns].max())
        beyond = int(done.beyond[field.columns].max())
        clipped = space.delta is not None and space.delta.clip
        line = f"  {field}: largest value {largest:.4g}"
        if space.delta is not None:
            line += (
                f"; beyond ±1 in {beyond} of {done.steps} steps{', clipped' if clipped and beyond else ''}"
            )
        lines.append(line)
    for line in lines:
        console.print(line, markup=False)
    return {
        "data": str(src),
        "out": str(dst),
        "episodes": far.episodes,
        "steps": done.steps,
        "action_space": json.loads(space.text()),
        "largest": [round(float(x), 9) for x in far.most],
        "beyond": done.beyond.tolist(),
        "clipped": bool(space.delta is not None and space.delta.clip and done.beyond.any()),
    }


def _kind(space: ActionSpace) -> str:
    d = space.delta
    if d is None:
        return "absolute"
    return (
        f"deltas from the {d.reference} {'pose' if d.reference == 'measured' else 'target'}, {d.frame} frame"
    )
