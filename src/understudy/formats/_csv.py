"""Episodes as a table of text: a header, a row a step, one more row for the state after the last action."""

from __future__ import annotations

import csv
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import IO, Any

import numpy as np

from understudy.episode import Array, Episode
from understudy.formats._facts import Facts, extras_of, facts_of, located
from understudy.formats.notes import note
from understudy.storage.files import DataError, guarded

__all__ = ["STATE", "Names", "Table", "read"]

STATE = ("obs", "observation", "observations")  # what others call the one observation there is

_ROW = ("episode", "step", "time", "labelled", "control", "reward", "terminated", "success", "understudy")
_INDEXED = re.compile(r"(?P<key>.*?)(?P<index>(?:\.[0-9]{1,6})*)", re.DOTALL)
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}")
_WIDEST, _LONGEST = 100_000, 1000  # columns, and characters of a column's name
_CELL = 128 << 20  # characters; facts of an episode may hold a simulator's whole model
_FLAGS = {"": None, "0": False, "1": True, "false": False, "true": True}


@dataclass(frozen=True)
class Names:
    """Names of the action, the reward, who held the controls and the observations wanted; "" and () mean the
    usual ones, and all."""

    action: str
    reward: str
    control: str
    observations: tuple[str, ...]

    def role(self, name: str) -> tuple[str, str]:
        """What a column is: its role, and the name of the observation where the role is "obs"."""
        if name == self.reward or (not self.reward and name in ("reward", "rewards")):
            return "reward", ""
        if self.control and name == self.control:
            return "control", ""
        name = "terminated" if name == "terminals" else name
        if name in _ROW and name not in ("reward", "control"):
            return name, ""
        if name == self.action or (not self.action and name in ("action", "actions")):
            return "action", ""
        if name == "label":
            return "label", ""
        return "obs", "state" if name in STATE else name.removeprefix("obs.")


class Table:
    """A table that is being written.

    Raises:
        DataError: when the first episode has images, or names that a header cannot hold.
    """

    def __init__(self, file: IO[str], first: Episode) -> None:
        self._out = csv.writer(file, lineterminator="\n")
        self._discrete = first.action.dtype == np.int64
        names = ["action"] if self._discrete else [f"action.{i}" for i in range(first.action.shape[1])]
        seen = [n for k, v in first.obs.items() for n in _columns(k, v)]
        said = [n.replace("action", "label", 1) for n in names]
        self._out.writerow([*_ROW[:3], *seen, *names, *said, *_ROW[3:]])
        self._count = 0

    def add(self, e: Episode) -> None:
        """Writes the rows of one episode."""
        facts, own_label = facts_of(e).text, "label" in extras_of(e)
        seen = np.concatenate([np.asarray(v).reshape(len(e) + 1, -1) for v in e.obs.values()], 1).tolist()
        blank, last = [""] * e.action.shape[1], len(e) - 1
        for i, row in enumerate(seen):
            when = "" if e.time is None else repr(float(e.time[i]))
            state = [self._count, i, when, *(f"{x:.9g}" for x in row)]
            if i > last:
                self._out.writerow([*state, *blank, *blank, *[""] * len(_ROW[3:])])
                continue
            said = self._numbers(e.label[i]) if own_label else blank
            end = [_flag(e.terminated), _flag(e.success)] if i == last else ["", ""]
            held = "" if e.control is None else int(e.control[i])
            rest = [int(e.labelled[i]), held, f"{e.reward[i]:.9g}", *end, "" if i else facts]
            self._out.writerow([*state, *self._numbers(e.action[i]), *said, *rest])
        self._count += 1

    def _numbers(self, row: Array) -> list[str]:
        """Nine digits are what a float32 needs to come back as it was."""
        return [str(x) if self._discrete else f"{x:.9g}" for x in row.tolist()]


def _flag(value: bool | None) -> str:
    return "" if value is None else str(int(value))


def _columns(key: str, column: Any) -> list[str]:
    """The names of an observation's columns: its own, and the index of each number in a step."""
    if column.dtype == np.uint8:
        raise DataError(f"obs[{key!r}] holds images, which a table of text has no place for; write npz")
    shape = column.shape[1:]
    if not 1 <= prod(shape) <= _WIDEST or len(key) > _LONGEST // 2 or re.search(r"[\r\n\0]|\.[0-9]+$", key):
        raise DataError(
            f"obs[{key!r}] with shape {shape} a step cannot be named in a header; rename it"[:300]
        )
    plain = Names("", "", "control", ()).role(key) == ("obs", key)
    return [".".join([key if plain else f"obs.{key}", *map(str, at)]) for at in np.ndindex(*shape)]


@dataclass(frozen=True)
class _Signal:
    """One array of a step: its columns in the order of its values, and its shape."""

    columns: tuple[int, ...]
    shape: tuple[int, ...]


class _Header:
    """What each column is. Which names mean what is said in `arrays`."""

    def __init__(self, names: Sequence[str], wanted: Names) -> None:
        if len(names) > _WIDEST or len(set(names)) != len(names) or max(map(len, names)) > _LONGEST:
            raise DataError("the header names a column twice, or has too many or too long names")
        self.width, self.names = len(names), names
        # In our own tables alone: in others' a column of this name may be what goes to the motors.
        ours = replace(wanted, control=wanted.control or "control") if "understudy" in names else wanted
        found: dict[tuple[str, str], dict[tuple[int, ...], int]] = {}
        self.single: dict[str, int] = {}
        for at, name in enumerate(names):
            match = _INDEXED.fullmatch(name)
            plain, index = (match["key"], match["index"]) if match else (name, "")
            role, key = ours.role(plain)
            if role in _ROW and index:
                role, key = "obs", plain  # a single number has no index
            if role in _ROW:
                if role in self.single:
                    raise DataError(f"two columns are {role!r}")
                self.single[role] = at
                continue
            if role == "obs" and wanted.observations and not {plain, key} & {*wanted.observations}:
                continue
            places = found.setdefault((role, key), {})
            if (place := tuple(int(i) for i in index.split(".")[1:])) in places:
                raise DataError(f"two columns are {name!r}"[:200])
            places[place] = at
        signals = {which: _signal(which[1] or which[0], places) for which, places in found.items()}
        self.obs = {key: s for (role, key), s in signals.items() if role == "obs"}
        missing = [k for k in wanted.observations if not {k, wanted.role(k)[1]} & self.obs.keys()]
        missing += [] if self.obs else ["an observation"]
        missing += [] if ("action", "") in signals else [wanted.action or "action"]
        for role, name in (("reward", wanted.reward), ("control", wanted.control)):
            missing += [name] if name and role not in self.single else []
        if missing:
            raise DataError(f"no column is {missing[0]!r}; the header has {', '.join(names)}"[:1000])
        self.action, self.label = signals[("action", "")], signals.get(("label", ""))
        self.may_be_discrete = list(found[("action", "")]) == [()]


def _signal(name: str, places: dict[tuple[int, ...], int]) -> _Signal:
    """One array from its columns, which must be all there."""
    axes = {len(p) for p in places}
    shape = tuple(max(p[i] for p in places) + 1 for i in range(min(axes)))
    if len(axes) != 1 or prod(shape) != len(places):
        raise DataError(f"the columns of {name!r} are not all there; they must be numbered from 0"[:200])
    return _Signal(tuple(places[p] for p in sorted(places)), shape or (1,))


def read(file: IO[str], where: object, wanted: Names) -> Iterator[Episode]:
    """The episodes of a table in turn.

    Raises:
        DataError: when the header names no action or no observation, or a cell is not what it must be.
    """
    rows = _lines(file, where)
    names = next(rows, None)
    if not names:
        raise DataError(f"{where} is empty; a header is needed")
    with located(where):
        header = _Header([n.strip() for n in names], wanted)
    done: set[str | None] = set()
    gathered, last = _Gathered(header), None
    at = header.single.get("episode")
    discrete: bool | None = None
    for number, row in enumerate(rows, 2):
        if not row:
            continue  # an empty line
        with located(where, f"line {number}"):
            if len(row) != header.width:
                raise ValueError(f"it has {len(row)} cells; the header has {header.width}")
            which = row[at] if at is not None else ""
            if gathered.rows and which != last:
                done.add(last)
                if which in done:
                    raise ValueError(
                        f"episode {which!r} goes on after another one; its rows must be together"
                    )
                episode, discrete = gathered.episode(discrete)
                gathered = _Gathered(header)
                yield episode
            gathered.add(row)
            last = which
    if gathered.rows:
        with located(where, "the last episode"):
            episode, _ = gathered.episode(discrete)
        yield episode


def _lines(file: IO[str], where: object) -> Iterator[list[str]]:
    reader = csv.reader(file, strict=True)
    while True:
        limit = csv.field_size_limit(_CELL)  # one number for the whole process: put back at once
        try:
            with guarded(where):
                row = next(reader, None)
        finally:
            csv.field_size_limit(limit)
        if row is None:
            return
        yield row


class _Gathered:
    """The rows of one episode so far."""

    def __init__(self, header: _Header) -> None:
        self._header = header
        self._obs = {k: array("d") for k in header.obs}
        self._action: list[str] = []
        self._label: list[str] = []
        self._filled: list[bool] = []
        self._single: dict[str, list[str]] = {k: [] for k in header.single}
        self.rows = self._steps = 0

    def add(self, row: Sequence[str]) -> None:
        """One more row."""
        header = self._header
        if self._steps < self.rows:
            raise ValueError("a row without an action must be an episode's last")
        for key, signal in header.obs.items():
            self._obs[key].extend(self._floats(row, signal))
        for key, at in header.single.items():
            self._single[key].append(row[at].strip())
        self.rows += 1
        cells = [row[i].strip() for i in header.action.columns]
        if not any(cells):
            return
        self._steps += 1
        self._floats(row, header.action)
        self._action.extend(cells)
        if header.label is not None:
            if filled := any(row[i] for i in header.label.columns):
                self._floats(row, header.label)
            self._filled.append(filled)
            self._label.extend([row[i] for i in header.label.columns] if filled else cells)

    def _floats(self, row: Sequence[str], signal: _Signal) -> list[float]:
        try:
            return [float(row[i]) for i in signal.columns]
        except ValueError:
            for i in signal.columns:
                try:
                    float(row[i])
                except ValueError:
                    raise ValueError(
                        f"column {self._header.names[i]!r} is {row[i][:50]!r}; a number is needed"
                    ) from None
            raise

    def episode(self, discrete: bool | None) -> tuple[Episode, bool]:
        """The episode, and whether its actions are discrete; None: this one, the first, says so."""
        steps, header = self._steps, self._header
        if not steps:
            raise ValueError("an episode has no actions")
        whole = header.may_be_discrete and all(map(_WHOLE.fullmatch, self._action))
        if discrete is not None and discrete != whole:
            raise ValueError("column 'action' holds whole numbers in one episode and fractions in another")
        obs = {k: _array(self._obs[k], s.shape) for k, s in header.obs.items()}
        final = self.rows > steps
        if not final:
            note("the state after the last action is not stored; the last state stands in for it")
            obs = {k: np.concatenate([v, v[-1:]]) for k, v in obs.items()}
        action, label = _choices(self._action, steps, whole=whole), None
        if any(self._filled):
            label = _choices(self._label, steps, whole=whole)
        facts = self._facts()
        spoke = self._flags("labelled", steps)
        if spoke is None:
            spoke = np.array(self._filled if label is not None else [True] * steps)
        said = (facts.terminated, facts.success, facts.meta)
        reward, time = self._numbers("reward", steps), self._time(final)
        paid = np.zeros(steps) if reward is None else reward
        label, held = action if label is None else label, self._control(steps)
        return Episode(obs, action, label, spoke, paid, *said, time, held), whole

    def _numbers(self, name: str, rows: int) -> Array | None:
        """A column of single numbers; None where it is blank or missing."""
        cells = self._single.get(name, [])[:rows]
        return np.array([float(c) for c in cells]) if any(cells) else None

    def _time(self, final: bool) -> Array | None:
        times = self._numbers("time", self.rows)
        return times if times is None or final else np.concatenate([times, times[-1:]])

    def _control(self, steps: int) -> Array | None:
        """[T], who held the controls; None where nobody noted it."""
        cells = self._single.get("control", [])[:steps]
        if not any(cells):
            return None
        if strange := [c for c in cells if not _WHOLE.fullmatch(c)]:
            raise ValueError(
                f"column 'control' is {strange[0][:50]!r}; each step needs 0, 1 or 2, or none does"
            )
        return np.array([int(c) for c in cells])

    def _flags(self, name: str, rows: int) -> Array | None:
        cells = [_FLAGS[c.lower()] for c in self._single.get(name, [])[:rows]]
        if all(c is None for c in cells):
            return None
        return np.array([bool(c) for c in cells])

    def _facts(self) -> Facts:
        if any(texts := [c for c in self._single.get("understudy", []) if c]):
            return Facts.parse(texts[0])
        last: dict[str, bool | None] = {}
        for name in ("terminated", "success"):
            said = [_FLAGS[c.lower()] for c in self._single.get(name, []) if c]
            last[name] = said[-1] if said else None
        return Facts(bool(last["terminated"]), last["success"], {})


def _choices(cells: Sequence[str], steps: int, *, whole: bool) -> Array:
    """[T, A] from its cells; whole numbers stay what they are, however large."""
    numbers = np.array([int(c) for c in cells], np.int64) if whole else np.array([float(c) for c in cells])
    return numbers.reshape(steps, -1)


def _array(values: Sequence[float], shape: tuple[int, ...]) -> Array:
    return np.array(values).reshape(-1, *shape)
