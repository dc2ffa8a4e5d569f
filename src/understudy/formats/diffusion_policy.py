"""The replay buffers of diffusion_policy: a zarr store of format 2 with all episodes end to end.

    data/<key>          [N, ...] all steps of all episodes
    meta/episode_ends   [E] where each ends, cumulative

What the layout has no place for (rewards, the state after the last action, labels, times, who held the
controls, success and other facts) lies in a group of its own, `understudy`, which its project passes over.
"""

from __future__ import annotations

import contextlib
import json
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote

import numpy as np

from understudy.episode import Array, Episode
from understudy.formats._facts import (
    EXTRAS,
    MOST_FACTS,
    Facts,
    as_rows,
    extras_of,
    facts_of,
    located,
    nonempty,
    pieces,
    rebuilt,
)
from understudy.formats._zarr import FolderSource, Source, Stored, ZipSource
from understudy.formats._zarr_writing import Column, FolderSink, Sink, ZipSink, group
from understudy.formats._zips import Zip
from understudy.formats.notes import note
from understudy.formats.placing import new_file, new_folder
from understudy.frames import view
from understudy.storage.files import DataError, guarded, may_unfold

__all__ = ["Reading", "Writing", "episodes", "recognises", "write"]

ABOUT = "diffusion_policy's replay buffer, zarr 2 in a folder or a .zarr.zip"
NEEDS = ("numcodecs",)

_ENDS = "meta/episode_ends"
_OURS = "understudy"
_MOST = 1000  # arrays
_DEPTH = 4


@dataclass(frozen=True)
class Reading:
    """How a buffer becomes episodes.

    Attributes:
        action: the key under `data` that is the action.
        observations: the keys that are observations; none named means all but action and reward.
        reward: the key that is the reward; none named means the one that understudy wrote, else zeros.
        float_images: what becomes of float [N, H, W, 3 or 4] arrays. "uint8" turns them into images, exactly
            or not at all; "keep" leaves them; "auto" turns them if the first episode's values are whole and
            in 0..255, as in Push-T, and refuses the file if a later episode's are not.
    """

    action: str = "action"
    observations: tuple[str, ...] = ()
    reward: str = ""
    float_images: Literal["auto", "uint8", "keep"] = "auto"


@dataclass(frozen=True)
class Writing:
    """compression: how chunks are packed; "blosc" is zstd with bit shuffling, as its project does."""

    compression: Literal["blosc", "none"] = "blosc"


def recognises(path: Path) -> bool:
    """Whether it is a folder or a zip archive with meta/episode_ends."""
    with contextlib.suppress(Exception):
        if path.is_dir():
            return (path / _ENDS / ".zarray").is_file()
        if path.is_file() and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return any(_is_ends(n) for n in archive.namelist())
    return False


def _is_ends(name: str) -> bool:
    return name == f"{_ENDS}/.zarray" or name.endswith(f"/{_ENDS}/.zarray")


def episodes(path: Path, options: Reading) -> Iterator[Episode]:
    """The episodes of a buffer in turn.

    The layout keeps as many states as actions, so that in files of others the last state is repeated as the
    one after the last action. Numbers of no width get width 1; integer actions of width 1 are discrete.

    Raises:
        DataError: when the store is damaged, hostile or not of this layout, or a key is not there.
    """
    if path.is_dir():
        yield from _opened(FolderSource(path), path, options)
        return
    with Zip(path) as archive:
        ends = [n for n in archive.names() if _is_ends(n)]
        if len(ends) != 1:
            raise DataError(f"{path} holds {len(ends)} buffers; it must hold one")
        prefix = ends[0].removesuffix(f"{_ENDS}/.zarray")
        yield from _opened(ZipSource(archive, prefix), path, options)


def _opened(source: Source, path: Path, options: Reading) -> Iterator[Episode]:
    with located(path):
        buffer = _Buffer(source, path, options)
    yield from buffer.episodes()


class _Buffer:
    """An open store: its arrays by key, and where its episodes end."""

    def __init__(self, source: Source, path: Path, options: Reading) -> None:
        self._source, self._path = source, path
        self._ends = self._read_ends()
        self._facts = self._read_facts()
        there = sorted(_keys(source, "data"))
        if len(there) > _MOST:
            raise DataError(f"{path} has {len(there)} arrays; {_MOST} are the most")
        rest = [k for k in there if k not in (options.action, options.reward)]
        rest.sort(key=lambda k: self._order.index(k) if k in self._order else len(self._order))
        want = options.observations or tuple(rest)
        for key in (*want, options.action, *filter(None, (options.reward,))):
            if key not in there:
                raise DataError(f"{path} has no data/{key}; there are {', '.join(there)}"[:1000])
        self._obs = {k: self._data(f"data/{k}") for k in want}
        if not self._obs:
            raise DataError(f"{path} has no observations; there are {', '.join(there)}"[:1000])
        self._action = self._data(f"data/{options.action}")
        self._reward = self._data(f"data/{options.reward}") if options.reward else self._ours("reward")
        self._extras = {k: s for k in EXTRAS if (s := self._ours(k)) is not None}
        self._final = {k: s for k in want if (s := self._ours(f"final/{k}")) is not None}
        self._bound()
        self._images = "keep" if self._facts else options.float_images
        self._turned: dict[str, bool] = {}

    def _bound(self) -> None:
        arrays = [*self._obs.values(), self._action, *self._extras.values(), *self._final.values()]
        claimed, stored = sum(a.nbytes for a in arrays), sum(a.stored for a in arrays)
        if claimed > may_unfold(stored):
            raise DataError(f"{self._path} claims {claimed} bytes in {stored} bytes")

    def _data(self, name: str) -> Stored:
        stored = Stored(self._source, name)
        if len(stored) != self._ends[-1]:
            raise DataError(f"{name} has {len(stored)} rows, but the last episode ends at {self._ends[-1]}")
        return stored

    def _ours(self, name: str) -> Stored | None:
        full = f"{_OURS}/{name}"
        return Stored(self._source, full) if self._facts and self._source.has(f"{full}/.zarray") else None

    def _read_ends(self) -> Array:
        stored = Stored(self._source, _ENDS)
        if stored.dtype.kind not in "iu" or len(stored.shape) != 1 or not len(stored):
            raise DataError(f"{_ENDS} is {stored.dtype}{list(stored.shape)}; it must be [E] integers")
        ends = stored.all()
        if ends[0] < 1 or (ends[1:] <= ends[:-1]).any() or ends[-1] >= 2**48:
            raise DataError(f"{_ENDS} must grow from episode to episode")
        return ends.astype(np.int64)

    def _read_facts(self) -> list[Facts]:
        """What we wrote of each episode; none in files of others."""
        self._order: list[str] = []
        if not self._source.has(f"{_OURS}/.zattrs"):
            return []
        with guarded(f"{_OURS}/.zattrs"):
            said = json.loads(self._source.bytes(f"{_OURS}/.zattrs", MOST_FACTS))
            facts = [Facts.parse(f) for f in said["episodes"]]
            self._order = [str(k) for k in said["observations"]]
        if len(facts) != len(self._ends):
            raise DataError(f"{_OURS} tells of {len(facts)} episodes; there are {len(self._ends)}")
        return facts

    def episodes(self) -> Iterator[Episode]:
        """Each in turn."""
        begin, done = 0, dict.fromkeys(self._extras, 0)
        for i, end in enumerate(int(n) for n in self._ends):
            with located(self._path, f"episode {i}"):
                obs = {k: self._observed(k, s, begin, end) for k, s in self._obs.items()}
                action = as_rows(self._action.rows(begin, end))
                if action.dtype.kind in "iu" and action.shape[1:] != (1,):
                    action = action.astype(np.float64)
                paid = (
                    np.zeros(end - begin)
                    if self._reward is None
                    else self._reward.rows(begin, end).reshape(-1)
                )
                if not self._facts:
                    note("the state after the last action is not stored; the last state stands in for it")
                    episode = Episode.demonstration(obs, action, paid)
                else:
                    whole = {k: self._with_final(k, v, i) for k, v in obs.items()}
                    extras = self._taken(self._facts[i], end - begin, done)
                    episode = rebuilt(
                        {unquote(k): v for k, v in whole.items()}, action, paid, self._facts[i], extras
                    )
            yield episode
            begin = end

    def _with_final(self, key: str, column: Array, i: int) -> Array:
        last = self._final[key].rows(i, i + 1) if key in self._final else column[-1:]
        return np.concatenate([column, as_rows(last)])

    def _taken(self, facts: Facts, steps: int, done: dict[str, int]) -> dict[str, Array]:
        """The further arrays of the next episode; `done` says how many rows earlier ones took."""
        taken: dict[str, Array] = {}
        for name in facts.extras:
            if name not in self._extras:
                raise DataError(f"{_OURS}/{name} is missing")
            rows = steps + (name == "time")
            taken[name] = self._extras[name].rows(done[name], done[name] + rows)
            done[name] += rows
        return taken

    def _observed(self, key: str, stored: Stored, begin: int, end: int) -> Array:
        x = as_rows(stored.rows(begin, end))
        if self._images == "keep" or x.dtype.kind != "f" or x.ndim != 4 or x.shape[-1] not in (3, 4):
            return x
        whole = bool(((x >= 0) & (x <= 255) & (np.rint(x) == x)).all())
        if self._turned.setdefault(key, whole or self._images == "uint8") and not whole:
            raise DataError(
                f"data/{key} is {x.dtype} with values that are not whole numbers in 0..255; "
                "read it with float_images='keep'"
            )
        return x.astype(np.uint8) if self._turned[key] else x


def _keys(source: Source, folder: str, depth: int = 0) -> Iterator[str]:
    """The names of all arrays below a folder, relative to it."""
    for name in source.names(folder):
        path = f"{folder}/{name}"
        if source.has(f"{path}/.zarray"):
            yield name
        elif source.has(f"{path}/.zgroup") and depth < _DEPTH:
            yield from (f"{name}/{k}" for k in _keys(source, path, depth + 1))


def write(path: Path, episodes: Iterable[Episode], options: Writing) -> None:
    """A new store: a zip archive where the path ends in ".zip", else a folder.

    Raises:
        DataError: when the place is taken, there are no episodes, they are not alike, or writing fails.
    """
    if path.suffix == ".zip":
        with new_file(path) as place, zipfile.ZipFile(place, "w") as archive:
            _store(ZipSink(archive), episodes, packed=options.compression == "blosc")
    else:
        with new_folder(path) as folder:
            _store(FolderSink(folder), episodes, packed=options.compression == "blosc")


def _store(sink: Sink, episodes: Iterable[Episode], *, packed: bool) -> None:
    columns: dict[str, Column] = {}

    def append(name: str, rows: Array) -> None:
        if name not in columns:
            columns[name] = Column(sink, name, rows, packed=packed)
        columns[name].append(rows)

    ends: list[int] = []
    facts: list[Any] = []
    for e in nonempty(episodes):
        if "action" in e.obs:
            raise DataError(
                "an observation is named 'action', which this layout keeps for actions; rename it"
            )
        for key, column in e.obs.items():
            place = _place(key)
            for piece in pieces(view(column, 0, len(e))):
                append(f"data/{place}", piece)
            append(f"{_OURS}/final/{place}", np.asarray(column[-1:]))
        append("data/action", e.action)
        append(f"{_OURS}/reward", e.reward)
        for name, rows in extras_of(e).items():
            append(f"{_OURS}/{name}", rows)
        ends.append(len(e) + (ends[-1] if ends else 0))
        facts.append(json.loads(facts_of(e).text))
    append(_ENDS, np.array(ends, np.int64))
    for column_ in columns.values():
        column_.close()
    for name in ("", "data", "meta", f"{_OURS}/final"):
        group(sink, name)
    order = [
        name.removeprefix("data/") for name in columns if name.startswith("data/") and name != "data/action"
    ]
    group(sink, _OURS, {"version": 1, "observations": order, "episodes": facts})


def _place(key: str) -> str:
    """An observation's name as the name of one folder."""
    return re.sub(r"^\.", "%2E", quote(key, safe=" +=@,-"))
