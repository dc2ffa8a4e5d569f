"""A bag of somebody else's as episodes: two passes, of which the second decodes only the pictures needed."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.episode import Array, Episode
from understudy.formats import _ros
from understudy.formats._bags import Bag, Message
from understudy.formats._facts import located
from understudy.formats._ros import Source
from understudy.formats._ticks import Grid, Times, report, ticks
from understudy.formats.notes import note
from understudy.storage.files import DataError, may_unfold

__all__ = ["Mapped", "resampled"]

_2000 = 946_684_800 * 10**9  # nanoseconds; a clock that says less was never set


@dataclass(frozen=True)
class Mapped:
    """What is taken from which topic, and how: role -> sources; an observation's role is "obs <name>"."""

    sources: Mapping[str, tuple[Source, ...]]
    rate: float
    clock: str
    gap: float

    @classmethod
    def parse(
        cls,
        observations: Sequence[str],
        action: str,
        rest: Mapping[str, str],
        *,
        rate: float,
        clock: str,
        gap: float,
    ) -> Mapped:
        """From the words of the options.

        Raises:
            DataError: when one is not of the form it must have.
        """
        sources: dict[str, tuple[Source, ...]] = {}
        for text in observations:
            name, equals, where = text.partition("=")
            if not (equals and name.strip()):
                raise DataError(f"observation {text!r} must be written name=/topic.field"[:200])
            role = f"obs {name.strip()}"
            sources[role] = (*sources.get(role, ()), Source.parse(where))
        sources["action"] = tuple(Source.parse(t) for t in action.split("+"))
        sources |= {role: (Source.parse(text),) for role, text in rest.items() if text}
        return cls(sources, rate, clock, gap)

    @property
    def observations(self) -> dict[str, tuple[Source, ...]]:
        """Name -> sources."""
        return {k.removeprefix("obs "): v for k, v in self.sources.items() if k.startswith("obs ")}


class _Track:
    """What one source says over a bag: times and values, or times alone where it shows pictures."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.picture = False
        self._times, self._values = array("q"), array("d")
        self._width = 0
        self._joints: tuple[str, ...] | None = None

    def add(self, m: Message, time: int, decode: Callable[[], Any]) -> None:
        """Takes in a message."""
        if not self._times:
            self.picture = _ros.is_image(m.channel, self.source)
        self._times.append(time)
        if self.picture:
            return
        message = decode()
        row = _ros.numbers(message, self.source)
        if (names := _ros.joints(message, self.source)) is not None:
            self._joints = self._joints or names
            if (order := _ros.aligned(names, self._joints, self.source.topic)) is not None:
                row = [row[i] for i in order]
        if self._width and len(row) != self._width:
            raise DataError(f"{self.source.text!r} has {len(row)} numbers, before that {self._width}")
        self._width = len(row)
        self._values.extend(row)

    def finish(self) -> bool:
        """Sorts by time, where there is anything; `order` says which message of the file each is."""
        times = np.array(self._times, np.int64)
        if not len(times):
            return False
        self.order = np.argsort(times, kind="stable")
        if (np.diff(times) < 0).any():
            note(f"{self.source.topic} has messages that are older than those before them; they were sorted")
        self.times: Times = times[self.order]
        self.values: Array = np.array(self._values).reshape(len(times), -1)[self.order]
        return True


def resampled(bag: Bag, mapping: Mapped) -> Iterator[Episode]:
    """The episodes of a bag.

    Raises:
        DataError: when a topic is missing, cannot be decoded, or says nothing while an episode lasts.
    """
    with located(bag):
        tracks = _scan(bag, mapping)
        grids = [_grid(bag, mapping, tracks, *s) for s in _stretches(mapping, tracks)]
        films = _films(bag, mapping, tracks, grids)
    for grid in grids:
        with located(bag):
            episode = _episode(bag, mapping, tracks, grid, next(films))
        yield episode


def _scan(bag: Bag, mapping: Mapped) -> dict[Source, _Track]:
    """Everything but the pictures."""
    tracks = {s: _Track(s) for sources in mapping.sources.values() for s in sources}
    by_topic: dict[str, list[_Track]] = {}
    for track in tracks.values():
        by_topic.setdefault(track.source.topic, []).append(track)
    decoders = _Decoders()
    for m in bag.messages(by_topic.__contains__):
        stamped = _ros.stamp(m.channel, m.data) if mapping.clock == "header" else None
        decoded: list[Any] = []

        def decode(m: Message = m, decoded: list[Any] = decoded) -> Any:
            if not decoded:
                decoded.append(decoders(m))
            return decoded[0]

        for track in by_topic[m.channel.topic]:
            track.add(m, m.time if stamped is None else stamped, decode)
    _finish(bag, mapping, tracks)
    return tracks


def _finish(bag: Bag, mapping: Mapped, tracks: Mapping[Source, _Track]) -> None:
    """Sorts every track, and checks that each is there and can be what it is mapped to."""
    for track in tracks.values():
        if not track.finish():
            there = ", ".join(t.name for t in bag.topics())
            raise DataError(
                f"{track.source.topic} has no messages; there are {there or 'none at all'}"[:2000]
            )
    for role, sources in mapping.sources.items():
        alone = role.startswith("obs ") and len(sources) == 1
        if not alone and (shown := [s for s in sources if tracks[s].picture]):
            raise DataError(f"{shown[0].text!r} shows pictures; they can only be an observation of their own")


class _Decoders:
    """Decodes messages, each by the definition that its channel has."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, bytes], Callable[[bytes], Any]] = {}

    def __call__(self, m: Message) -> Any:
        which = (m.channel.topic, m.channel.type, m.channel.definition)
        if which not in self._known:
            self._known[which] = _ros.decoder(m.channel)
        return self._known[which](m.data)


def _single(mapping: Mapped, tracks: Mapping[Source, _Track], role: str) -> tuple[Times, Array] | None:
    """Times and values of a role that has one number."""
    if role not in mapping.sources:
        return None
    track = tracks[mapping.sources[role][0]]
    if track.picture or track.values.shape[1] != 1:
        raise DataError(f"{track.source.text!r} is not one number, which {role} must be")
    return track.times, track.values[:, 0]


def _stretches(mapping: Mapped, tracks: Mapping[Source, _Track]) -> list[tuple[int, int]]:
    """The first and last nanosecond of each episode."""
    last = max(int(t.times[-1]) for t in tracks.values())
    if (told := _single(mapping, tracks, "episode")) is None:
        return [(min(int(t.times[0]) for t in tracks.values()), last)]
    times, values = told
    starts = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
    ends = [*(int(times[i]) - 1 for i in starts[1:]), last]
    found = [(int(times[i]), end) for i, end in zip(starts, ends, strict=True) if values[i]]
    if not found:
        raise DataError(f"{mapping.sources['episode'][0].text!r} is 0 all the time; there is no episode")
    return found


def _grid(bag: Bag, mapping: Mapped, tracks: Mapping[Source, _Track], begin: int, end: int) -> Grid:
    states = {s.topic: tracks[s].times for sources in mapping.observations.values() for s in sources}
    actions = {s.topic: tracks[s].times for s in mapping.sources["action"]}
    grid = ticks(states, actions, mapping.rate, begin, end)
    width = sum(t.values.shape[1] for t in tracks.values())
    if len(grid.ticks) * width * 8 > may_unfold(bag.size):
        raise DataError(
            f"it would take {len(grid.ticks)} steps at {mapping.rate:g} Hz, more than it can hold"
        )
    return grid


def _films(
    bag: Bag, mapping: Mapped, tracks: Mapping[Source, _Track], grids: Sequence[Grid]
) -> Iterator[dict[str, Array]]:
    """The pictures of each episode in turn, name -> [T + 1, H, W, C]; the bag is read once for all."""
    shown = {name: s[0] for name, s in mapping.observations.items() if tracks[s[0]].picture}
    wanted: dict[str, dict[int, list[tuple[int, str, slice]]]] = {s.topic: {} for s in shown.values()}
    left = [0] * len(grids)
    for i, grid in enumerate(grids):
        for name, source in shown.items():
            used, first = np.unique(grid.states[source.topic], return_index=True)
            stops = np.append(first[1:], len(grid.ticks))
            for n, a, b in zip(tracks[source].order[used], first, stops, strict=True):
                wanted[source.topic].setdefault(int(n), []).append((i, name, slice(int(a), int(b))))
            left[i] += len(used)
    decoders, films, done = _Decoders(), [_Film(bag, len(g.ticks)) for g in grids], 0
    counted = dict.fromkeys(wanted, 0)
    for m in bag.messages(wanted.__contains__) if wanted else ():
        number = counted[m.channel.topic]
        counted[m.channel.topic] += 1
        if uses := wanted[m.channel.topic].pop(number, None):
            picture = _ros.image(decoders(m), m.channel.topic)
            for i, name, rows in uses:
                films[i].put(name, rows, picture)
                left[i] -= 1
        while done < len(grids) and not left[done]:
            yield films[done].take()
            done += 1
    for film in films[done:]:
        yield film.take()


class _Film:
    """The pictures of one episode, while they come in."""

    def __init__(self, bag: Bag, rows: int) -> None:
        self._left, self._rows = may_unfold(bag.size), rows
        self._columns: dict[str, Array] = {}

    def put(self, name: str, rows: slice, picture: Array) -> None:
        """A picture that shows what is seen at these ticks."""
        if name not in self._columns:
            self._left -= self._rows * picture.nbytes
            if self._left < 0:
                raise DataError(
                    f"{self._rows} pictures of {list(picture.shape)} are more than the bag can hold"
                )
            self._columns[name] = np.empty((self._rows, *picture.shape), picture.dtype)
        column = self._columns[name]
        if column.shape[1:] != picture.shape or column.dtype != picture.dtype:
            raise DataError(f"{name!r} changes from {list(column.shape[1:])} to {list(picture.shape)}")
        column[rows] = picture

    def take(self) -> dict[str, Array]:
        """Hands the pictures over."""
        columns, self._columns = self._columns, {}
        return columns


def _episode(
    bag: Bag, mapping: Mapped, tracks: Mapping[Source, _Track], grid: Grid, film: Mapping[str, Array]
) -> Episode:
    obs: dict[str, Array] = {}
    for name, sources in mapping.observations.items():
        if name in film:
            obs[name] = film[name]
        else:
            obs[name] = np.concatenate([tracks[s].values[grid.states[s.topic]] for s in sources], 1)
    topics = {s.topic: tracks[s].times for role, sources in mapping.sources.items() for s in sources}
    action = np.concatenate([tracks[s].values[grid.actions[s.topic]] for s in mapping.sources["action"]], 1)
    mapped = {t: times for t, times in topics.items() if t in grid.states or t in grid.actions}
    missing, account, gaps = report(grid, mapped, mapping.rate, mapping.clock, mapping.gap)
    start = int(grid.ticks[0])
    fps = int(mapping.rate) if mapping.rate.is_integer() else mapping.rate
    meta: dict[str, str | int | float] = {"bag": bag.paths[0].name, "fps": fps, "dropped_frames": missing}
    meta["resampled"] = account
    if gaps:
        meta["gaps"] = gaps
        note("topics were silent for long; meta['gaps'] says which and when")
    if start > _2000:
        meta["started"] = datetime.fromtimestamp(start / 1e9, UTC).isoformat()
    return Episode.demonstration(
        obs,
        action,
        _reward(mapping, tracks, grid),
        success=_success(mapping, tracks, grid),
        meta=meta,
        time=np.max([topics[t][i] for t, i in grid.states.items()], axis=0) / 1e9,
    )


def _reward(mapping: Mapped, tracks: Mapping[Source, _Track], grid: Grid) -> Array | None:
    """[T], the sum of what came after each tick, up to and with the next."""
    if (told := _single(mapping, tracks, "reward")) is None:
        return None
    steps = len(grid.ticks) - 1
    step: NDArray[np.int64] = np.searchsorted(grid.ticks, told[0], "left") - 1
    inside = (step >= 0) & (step < steps)
    return np.bincount(step[inside], told[1][inside], steps)


def _success(mapping: Mapped, tracks: Mapping[Source, _Track], grid: Grid) -> bool | None:
    """The last that was said while the episode lasted; None where nothing was."""
    if (told := _single(mapping, tracks, "success")) is None:
        return None
    inside = told[1][(told[0] >= grid.ticks[0]) & (told[0] <= grid.ticks[-1])]
    return bool(inside[-1]) if len(inside) else None
