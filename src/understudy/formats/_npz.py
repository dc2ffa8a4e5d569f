"""Episodes as the arrays of one npz archive; `arrays` says which name means what."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from understudy.episode import Array, Episode
from understudy.formats._csv import STATE
from understudy.formats._facts import (
    EXTRAS,
    MOST_FACTS,
    Facts,
    as_rows,
    extras_of,
    facts_of,
    located,
    pieces,
    rebuilt,
)
from understudy.formats._npy import Spool, StoredRows, add
from understudy.formats._zips import Zip
from understudy.formats.notes import note
from understudy.storage.files import DataError, guarded

__all__ = ["Archive", "archive"]

_ALIASES = {"actions": "action", "rewards": "reward", "terminals": "terminated"}
_ROLES = ("action", "reward", "episode_ends", "lengths", "terminated", "success", "time", "label", "labelled")
_OURS = "understudy"


class Archive:
    """An archive that is being written: every array is gathered in a file of its own until all are there."""

    def __init__(self, spare: Path) -> None:
        self._spare = spare
        self._spools: dict[str, Spool] = {}
        self._ends: list[int] = []
        self._facts: list[Any] = []

    def add(self, e: Episode) -> None:
        """Takes in one episode."""
        for key, column in e.obs.items():
            for piece in pieces(column):
                self._append(f"obs.{quote(key, safe=' +=@,')}", piece)
        self._append("action", e.action)
        self._append("reward", e.reward)
        for name, rows in extras_of(e).items():
            self._append(name, rows)
        self._ends.append(len(e) + (self._ends[-1] if self._ends else 0))
        self._facts.append(json.loads(facts_of(e).text))

    def _append(self, name: str, rows: Array) -> None:
        if name not in self._spools:
            self._spools[name] = Spool(self._spare / str(len(self._spools)), rows)
        self._spools[name].append(rows)

    def save(self, place: Path, packing: int) -> None:
        """Writes the archive."""
        said = np.frombuffer(json.dumps({"version": 1, "episodes": self._facts}).encode(), np.uint8)
        with zipfile.ZipFile(place, "w") as file:
            for name, spool in self._spools.items():
                spool.move(file, name, packing)
            for name, x in (("episode_ends", np.array(self._ends, "<i8")), (_OURS, said)):
                add(file, name, x.shape, x.dtype, [x.tobytes()], packing)


@contextmanager
def archive(
    path: Path, action: str, reward: str, control: str, observations: tuple[str, ...]
) -> Iterator[_Opened]:
    """An archive to read from; "" and () mean the usual names."""
    with Zip(path) as file:
        yield _Opened(file, {"action": action, "reward": reward, "control": control}, observations)


class _Opened:
    """The arrays of an archive by what they mean."""

    def __init__(self, file: Zip, asked: Mapping[str, str], observations: tuple[str, ...]) -> None:
        self._zip, self._path = file, file.path
        self._there = [n.removesuffix(".npy") for n in file.names() if n.endswith(".npy")]
        self._facts = self._read_facts()
        roles = self._roles(asked)
        if "action" not in roles:
            raise DataError(f"{self._path} has no 'action'; it has {', '.join(self._there)}"[:1000])
        # Of the usual names in a file of ours: these have rows only where the facts say so.
        self._sparse = {k for k in EXTRAS if self._facts and roles.get(k) == k}
        self._columns = {role: StoredRows(file, name) for role, name in roles.items()}
        self._total = len(self._columns["action"])
        self._lengths = self._read_lengths()
        if absent := {x for f in self._facts for x in f.extras} - self._columns.keys():
            raise DataError(f"{self._path} has no {min(absent)!r}, of which {_OURS!r} tells")
        self._obs = self._observations(observations, set(roles.values()))

    def _roles(self, asked: Mapping[str, str]) -> dict[str, str]:
        """What each array of a known name is. `control` is one in our own files alone: in others' it may be
        anything, such as what goes to the motors."""
        known = (*_ROLES, "control") if self._facts else _ROLES
        roles: dict[str, str] = {k: v for k, v in asked.items() if v}
        for role, name in roles.items():
            if name not in self._there:
                raise DataError(
                    f"{self._path} has no {name!r} for {role}; it has {', '.join(self._there)}"[:1000]
                )
        for name in self._there:
            role = _ALIASES.get(name, name)
            if role in known and not asked.get(role) and name not in roles.values():
                if role in roles:
                    raise DataError(
                        f"{self._path} has both {roles[role]!r} and {name!r}; say which is the {role}"
                    )
                roles[role] = name
        return roles

    def _read_facts(self) -> list[Facts]:
        if _OURS not in self._there:
            return []
        stored = StoredRows(self._zip, _OURS)
        if stored.dtype != np.uint8 or len(stored) > MOST_FACTS:
            raise DataError(f"{self._path}: {_OURS!r} is not what understudy writes")
        with guarded(f"{self._path}: {_OURS!r}"):
            return [Facts.parse(f) for f in json.loads(stored.all().tobytes())["episodes"]]

    def _read_lengths(self) -> list[int]:
        """[E], the steps of each episode."""
        ends, lengths = self._columns.pop("episode_ends", None), self._columns.pop("lengths", None)
        if ends is not None and lengths is not None:
            raise DataError(f"{self._path} has both 'episode_ends' and 'lengths'")
        one = lengths if ends is None else ends
        if one is None:
            found = np.array([self._total])
        else:
            if one.dtype.kind not in "iu" or len(one.shape) != 1 or not len(one):
                raise DataError(
                    f"{self._path}: episodes end at {one.dtype}{list(one.shape)}; integers are needed"
                )
            found = one.all() if ends is None else np.diff(one.all().astype(object), prepend=0)
        listed = [int(n) for n in found]
        if min(listed) < 1 or sum(listed) != self._total:
            raise DataError(f"{self._path}: the episodes do not end where its {self._total} actions do")
        if self._facts and len(self._facts) != len(listed):
            raise DataError(
                f"{self._path}: {_OURS!r} tells of {len(self._facts)} episodes, not {len(listed)}"
            )
        return listed

    def _observations(self, asked: tuple[str, ...], taken: set[str]) -> dict[str, StoredRows]:
        found: dict[str, StoredRows] = {}
        for name in asked or [n for n in self._there if n not in taken and n != _OURS]:
            if name not in self._there:
                raise DataError(f"{self._path} has no {name!r}; it has {', '.join(self._there)}"[:1000])
            column, key = StoredRows(self._zip, name), _key(name)
            if len(column) not in (self._total, self._total + len(self._lengths)):
                if asked:
                    raise DataError(
                        f"{self._path}: {name!r} has {len(column)} rows for {self._total} actions"
                    )
                note(f"{name} was left out: it has not a row a step")
                continue
            if key in found:
                raise DataError(f"{self._path}: two observations would be named {key!r}; name those you want")
            found[key] = column
        if not found:
            raise DataError(f"{self._path} has no observations; it has {', '.join(self._there)}"[:1000])
        return found

    def episodes(self) -> Iterator[Episode]:
        """Each in turn."""
        per_episode: dict[str, Array] = {
            k: self._columns.pop(k).all().reshape(-1)
            for k in ("terminated", "success")
            if k in self._columns and len(self._columns[k]) == len(self._lengths)
        }
        for i, steps in enumerate(self._lengths):
            with located(self._path, f"episode {i}"):
                rest = {k: c.take(self._rows(k, c, i, steps)) for k, c in self._columns.items()}
                facts = self._facts[i] if self._facts else _said(per_episode, rest, i)
                obs = {k: self._observed(c, steps) for k, c in self._obs.items()}
                extras = {k: _extra(k, v, steps) for k, v in rest.items() if k in EXTRAS and len(v)}
                action, paid = _action(rest["action"]), rest.get("reward")
                paid = np.zeros(steps) if paid is None else paid.reshape(-1)
                if "label" in extras:
                    extras["label"] = _action(extras["label"])
                episode = rebuilt(obs, action, paid, facts, extras)
            yield episode

    def _rows(self, name: str, column: StoredRows, i: int, steps: int) -> int:
        """How many rows of a column are the i-th episode's; ours hold only what differs from the default."""
        if name in self._sparse:
            return (steps + (name == "time")) if name in self._facts[i].extras else 0
        return steps + (name == "time" and len(column) != self._total)

    def _observed(self, column: StoredRows, steps: int) -> Array:
        if len(column) != self._total:
            return as_rows(column.take(steps + 1))
        note("the state after the last action is not stored; the last state stands in for it")
        rows = as_rows(column.take(steps))
        return np.concatenate([rows, rows[-1:]])


def _key(name: str) -> str:
    """The observation's name: without its prefix, and "state" where there is no other."""
    return "state" if name in STATE else unquote(name.removeprefix("obs."))


def _said(per_episode: Mapping[str, Array], rest: Mapping[str, Array], i: int) -> Facts:
    """How an episode of somebody else's file ended."""
    ends: dict[str, bool | None] = {"terminated": None, "success": None}
    for name in ends:
        if name in per_episode:
            ends[name] = bool(per_episode[name][i])
        elif name in rest:
            ends[name] = bool(rest[name].reshape(-1)[-1])
    return Facts(bool(ends["terminated"]), ends["success"], {})


def _extra(name: str, rows: Array, steps: int) -> Array:
    if name == "time" and len(rows) == steps:
        return np.concatenate([rows, rows[-1:]])
    return rows


def _action(x: Array) -> Array:
    """[T] or [T, 1] whole numbers are one discrete choice, everything else is continuous."""
    x = as_rows(x)
    return x if x.dtype.kind in "iu" and x.shape[1:] == (1,) else x.reshape(len(x), -1).astype(np.float64)
