"""What a robot may be told to do. Held on the robot's side, against its own reading of where it is.

A limit refuses: the robot holds still and says which limit, which value and which bound. It shortens a
command without a word only where it was made with `beyond="clip"`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

import numpy as np

from understudy.envs.spaces import ActionSpec
from understudy.episode import Array, Obs
from understudy.robots.base import Refused

__all__ = ["Box", "Limits", "Speed", "Step"]

Beyond: TypeAlias = Literal["refuse", "clip"]
_SLACK = 1e-6  # of rounding, relative to a bound
_FLOAT32 = float(np.finfo(np.float32).max)


def _numbers(name: str, values: object, kind: type) -> tuple[Any, ...]:
    listed = tuple(values) if isinstance(values, tuple | list) else ()
    right = all(isinstance(v, int | float if kind is float else int) and np.isfinite(v) for v in listed)
    if not listed or not right or any(isinstance(v, bool) for v in listed):
        what = "finite numbers" if kind is float else "whole numbers"
        raise ValueError(f"{name} is {values!r}; it must list {what}")
    return tuple(map(kind, listed))


def _dims(name: str, values: object) -> tuple[int, ...]:
    dims = _numbers(name, values, int)
    if min(dims) < 0 or len(set(dims)) < len(dims):
        raise ValueError(f"{name} is {values!r}; dimensions are different numbers from 0")
    return dims


def _beyond(name: str, value: object) -> None:
    if value not in ("refuse", "clip"):
        raise ValueError(f"beyond of {name} is {value!r}; it must be 'refuse' or 'clip'")


def _positive(name: str, value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < np.inf:
        raise ValueError(f"{name} is {value!r}; it must be a finite number above 0")


@final
@dataclass(frozen=True)
class Box:
    """Where something may be: obs[key][dims] between low and high.

    It is held against the last reading, one control step ahead, so leave a margin for what the robot
    overshoots. Whoever is outside may go on holding still, and come back.

    Args:
        name: what it is, as a refusal calls it ("hand").
        key, dims: which part of the observation says where it is.
        low, high: the bounds, in the observation's units, one for each of dims.
        moves: the action's dimensions that move it, one for each of dims; () where nobody can say. Then the
            measured place alone counts, and outside the box every command is refused.
        reach: how far a command of 1 moves it in a control step, in the observation's units; 0 without moves.
        beyond: refuse, or clip the command to the bound.
    """

    name: str
    key: str
    dims: tuple[int, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    moves: tuple[int, ...] = ()
    reach: float = 0.0
    beyond: Beyond = "refuse"

    def __post_init__(self) -> None:
        put, of = object.__setattr__, f"of box {self.name!r}"
        put(self, "dims", _dims(f"dims {of}", self.dims))
        put(self, "low", _numbers(f"low {of}", self.low, float))
        put(self, "high", _numbers(f"high {of}", self.high, float))
        put(self, "moves", _dims(f"moves {of}", self.moves) if self.moves else ())
        _beyond(f"box {self.name!r}", self.beyond)
        widths = {len(self.dims), len(self.low), len(self.high), len(self.moves) or len(self.dims)}
        if len(widths) > 1 or not all(a <= b for a, b in zip(self.low, self.high, strict=True)):
            raise ValueError(
                f"box {self.name!r}: dims, low, high and moves must be of one length, low <= high"
            )
        if self.moves:
            _positive(f"reach {of}", self.reach)
        elif self.reach != 0.0 or self.beyond == "clip":
            raise ValueError(f"box {self.name!r} says no moves, so it can neither reach nor clip")

    def place(self, obs: Obs) -> Array:
        """Where it is now, float64 [D]."""
        at = np.asarray(obs[self.key], np.float64)[list(self.dims)]
        if not np.isfinite(at).all():
            raise Refused(f"place: where the {self.name} is, {self.key} does not say ({at.tolist()})")
        return at

    def clip(self, action: Array, obs: Obs) -> Array:
        """The command that stops at the bounds, or comes no further out where it is outside."""
        at, out, moves = self.place(obs), action.copy(), list(self.moves)
        to = at + self.reach * action[moves]
        inside = np.clip(to, np.minimum(self.low, at), np.maximum(self.high, at))
        out[moves] = np.where(inside == to, action[moves], (inside - at) / self.reach)
        return out

    def check(self, action: Array, obs: Obs) -> None:
        """Refuses what leads further out."""
        at, low, high = self.place(obs), np.array(self.low), np.array(self.high)
        to = at + self.reach * action[list(self.moves)] if self.moves else at
        out = np.maximum(np.maximum(low - to, to - high), 0.0)
        before = np.maximum(np.maximum(low - at, at - high), 0.0) if self.moves else np.zeros_like(out)
        worse = out > before + _SLACK * (1.0 + np.abs(at))
        if worse.any():
            i = int(np.argmax(worse))
            where, bound = ("above", high[i]) if to[i] > high[i] else ("below", low[i])
            verb = "would go to" if self.moves else "is at"
            raise Refused(
                f"place: the {self.name} {verb} {to[i]:.4g} in {self.key}[{self.dims[i]}], {where} its bound "
                f"{bound:.4g}"
            )


@final
@dataclass(frozen=True)
class Speed:
    """How fast something may be told to move: per_unit · |action[moves]| at most `most`.

    Args:
        name: what it is, as a refusal calls it. moves: the action's dimensions that move it.
        per_unit: its speed at a command of length 1, in units of length a second.
        most: the highest speed, in the same units.
        beyond: refuse, or clip: the command is shortened and keeps its direction.
    """

    name: str
    moves: tuple[int, ...]
    per_unit: float
    most: float
    beyond: Beyond = "refuse"

    def __post_init__(self) -> None:
        object.__setattr__(self, "moves", _dims(f"moves of speed {self.name!r}", self.moves))
        _positive(f"per_unit of speed {self.name!r}", self.per_unit)
        _positive(f"most of speed {self.name!r}", self.most)
        _beyond(f"speed {self.name!r}", self.beyond)

    def of(self, action: Array) -> float:
        """How fast a command is."""
        return self.per_unit * float(np.linalg.norm(action[list(self.moves)]))

    def clip(self, action: Array) -> Array:
        """The command in the same direction, no faster than allowed."""
        out, speed = action.copy(), self.of(action)
        if speed > self.most:
            out[list(self.moves)] *= self.most / speed
        return out

    def check(self, action: Array) -> None:
        """Refuses what is faster."""
        if (speed := self.of(action)) > self.most * (1.0 + _SLACK):
            raise Refused(
                f"speed: the {self.name} would move at {speed:.4g}, above its bound {self.most:.4g}"
            )


@final
@dataclass(frozen=True)
class Step:
    """How much a command may differ from the one that is carried out now, which is 0 at rest.

    Args:
        most: [A], the largest change of each dimension.
        beyond: refuse, or clip.
    """

    most: tuple[float, ...]
    beyond: Beyond = "refuse"

    def __post_init__(self) -> None:
        object.__setattr__(self, "most", _numbers("most of step", self.most, float))
        for value in self.most:
            _positive("most of step", value)
        _beyond("step", self.beyond)

    def clip(self, action: Array, before: Array) -> Array:
        """The nearest command that changes no more than allowed."""
        return np.clip(action, before - np.array(self.most), before + np.array(self.most))

    def check(self, action: Array, before: Array) -> None:
        """Refuses what changes more."""
        change = np.abs(action - before)
        if (worse := change > np.array(self.most) * (1.0 + _SLACK)).any():
            i = int(np.argmax(worse))
            raise Refused(
                f"step: dimension {i} would change by {change[i]:.4g} from one command to the next, "
                f"above its bound {self.most[i]:.4g}"
            )


@final
@dataclass(frozen=True)
class Limits:
    """All limits of a robot. Finite values and the action's own width and bounds are always among them.

    Args:
        boxes: where parts of it may be. speeds: how fast they may be told to move.
        step: how much a command may differ from the one before; None where it may jump.
        bounds: refuse, or clip, what is outside the action's own bounds.
    """

    boxes: tuple[Box, ...] = ()
    speeds: tuple[Speed, ...] = ()
    step: Step | None = None
    bounds: Beyond = "refuse"

    def __post_init__(self) -> None:
        _beyond("bounds", self.bounds)

    def fit(self, spec: ActionSpec, obs: Mapping[str, tuple[int, ...]]) -> None:
        """Checks that the limits speak of this robot.

        Raises:
            ValueError: when they name an observation or a dimension that it does not have.
        """
        moved = [(f"box {b.name!r}", b.moves) for b in self.boxes]
        moved += [(f"speed {s.name!r}", s.moves) for s in self.speeds]
        for name, moves in moved:
            if moves and max(moves) >= spec.width:
                raise ValueError(f"{name} moves dimension {max(moves)}; the action has {spec.width}")
        for box in self.boxes:
            if len(shape := obs.get(box.key, ())) != 1:
                raise ValueError(f"box {box.name!r} reads {box.key!r}; vectors are {_vectors(obs)}")
            if max(box.dims) >= shape[0]:
                raise ValueError(
                    f"box {box.name!r} reads dimension {max(box.dims)} of {box.key}, which has {shape[0]}"
                )
        if self.step is not None and len(self.step.most) != spec.width:
            raise ValueError(f"step has {len(self.step.most)} bounds; the action has {spec.width} dimensions")

    def admit(self, action: object, spec: ActionSpec, obs: Obs, before: Array) -> Array:
        """The command [A] float32 that is carried out.

        Args:
            obs: the last reading's. before: [A], what is carried out now.

        Raises:
            Refused: naming the limit, the value and the bound.
        """
        a = self._sound(action, spec)
        if self.bounds == "clip":
            a = np.clip(a, spec.low, spec.high)
        if self.step is not None and self.step.beyond == "clip":
            a = self.step.clip(a, before)
        for speed in self.speeds:
            a = speed.clip(a) if speed.beyond == "clip" else a
        for box in self.boxes:
            a = box.clip(a, obs) if box.beyond == "clip" else a
        # What was clipped for one limit may break another one, so all are asked at the end.
        self._bounded(a, spec)
        if self.step is not None:
            self.step.check(a, before)
        for speed in self.speeds:
            speed.check(a)
        for box in self.boxes:
            box.check(a, obs)
        return a.astype(np.float32)

    def going_on(self, action: Array, obs: Obs) -> Array:
        """What may go on of the command [A] that is carried out, where `obs` has been read meanwhile.

        Raises:
            Refused: by a box, where the robot would come further out by going on.
        """
        for box in self.boxes:
            action = box.clip(action, obs) if box.beyond == "clip" else action
        for box in self.boxes:
            box.check(action, obs)
        return action

    @staticmethod
    def _sound(action: object, spec: ActionSpec) -> Array:
        a = np.asarray(action)
        if a.dtype.kind not in "fiu" or a.size != spec.width:
            raise Refused(f"shape: a command is {a.dtype}{list(a.shape)}; {spec.width} numbers are needed")
        a = a.reshape(-1).astype(np.float64)
        if not (finite := np.abs(a) <= _FLOAT32).all():
            i = int(np.argmin(finite))
            raise Refused(f"finite: dimension {i} is {a[i]}; every value must be finite in float32")
        return a

    @staticmethod
    def _bounded(a: Array, spec: ActionSpec) -> None:
        low, high = (b.astype(np.float64) for b in (spec.low, spec.high))
        if (worse := (a < low) | (a > high)).any():
            i = int(np.argmax(worse))
            where, bound = ("above", high[i]) if a[i] > high[i] else ("below", low[i])
            raise Refused(f"bounds: dimension {i} is {a[i]:.7g}, {where} its bound {bound:.7g}")


def _vectors(obs: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(k for k, shape in obs.items() if len(shape) == 1) or "none"
