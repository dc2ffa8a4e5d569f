"""Signals that have clocks of their own, brought to one rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from understudy.formats.notes import note
from understudy.storage.files import DataError

__all__ = ["Grid", "Times", "lost", "report", "ticks", "usual"]

Times = NDArray[np.int64]  # [n] nanoseconds, not decreasing

_SECOND = 10**9
_MOST = 2**26  # ticks
_LATE = 1.5  # times the usual distance between messages: beyond, some are missing
_GAPS = 5  # silences of a topic that are told
_REGULAR = 0.5  # share of distances near the usual one that makes a topic a regular one


@dataclass(frozen=True)
class Grid:
    """An episode's instants, and which message of each topic belongs to each.

    Attributes:
        ticks: [T + 1] nanoseconds.
        states: topic -> [T + 1], the latest message at or before the tick.
        actions: topic -> [T], the first message from the tick on and before the next, or else the one still
            in force.
    """

    ticks: Times
    states: Mapping[str, NDArray[np.int64]]
    actions: Mapping[str, NDArray[np.int64]]


def ticks(
    states: Mapping[str, Times], actions: Mapping[str, Times], rate: float, begin: int, end: int
) -> Grid:
    """The instants in [begin, end] at which everything has spoken, `rate` a second.

    They start with the first message of the topic that speaks last; a command that comes within the first
    step is early enough. They end with the last message of any topic.

    Raises:
        DataError: when there is not one whole step.
    """
    period = _SECOND / rate
    commands = {k: t[(t >= begin) & (t <= end)] for k, t in actions.items()}
    heard = {**{k: t[t <= end] for k, t in states.items()}, **commands}
    if silent := [k for k, t in heard.items() if not len(t)]:
        raise DataError(
            f"{silent[0]} has no messages in the {max(0, end - begin) / _SECOND:.3f} s of an episode"
        )
    start = max(begin, *(int(heard[k][0]) for k in states))
    late = max(int(t[0]) for t in commands.values())
    start = late if late >= start + period else start
    last = max(int(t[-1]) for t in heard.values())
    count = (last - start) / period
    if count + 1e-6 < 1 or count > _MOST:
        raise DataError(
            f"an episode has {max(0, last - start) / _SECOND:.3f} s: no step at {rate:g} Hz, or too many"
        )
    # The tolerance: times that were rounded to nanoseconds must not cost the last step.
    at = start + np.rint(np.arange(int(count + 1e-6) + 1) * period).astype(np.int64)
    seen = {k: np.searchsorted(t, at, "right") - 1 for k, t in states.items()}
    done = {
        k: _commands(t, at) + int(np.searchsorted(actions[k], begin, "left")) for k, t in commands.items()
    }
    return Grid(at, seen, done)


def _commands(times: Times, at: Times) -> NDArray[np.int64]:
    """For each step the first command within it, or else the last one before."""
    first = np.searchsorted(times, at[:-1], "left")
    fresh = np.append(times, np.iinfo(np.int64).max)[first] < at[1:]
    return np.where(fresh, first, np.maximum(first - 1, 0))


def usual(times: Times) -> float:
    """The nanoseconds that most messages keep from the next; 0 for a topic that speaks when it has something
    to say, or once."""
    between = np.diff(times)
    middle = float(np.median(between)) if len(between) else 0.0
    if middle <= 0 or np.mean(np.abs(between / middle - 1) < _LATE - 1) < _REGULAR:
        return 0.0
    return middle


def lost(times: Times) -> int:
    """How many messages are missing between those that are there, of a topic that keeps a distance."""
    if (middle := usual(times)) == 0:
        return 0
    between = np.diff(times)
    return int((np.rint(between[between > _LATE * middle] / middle) - 1).sum())


def report(
    grid: Grid, topics: Mapping[str, Times], rate: float, clock: str, gap: float
) -> tuple[int, str, str]:
    """What resampling did: observations missing in all, the account in words, and the silences in words."""
    missing, said, gaps = 0, [f"{rate:g} Hz on {clock} time"], []
    begin, end = int(grid.ticks[0]), int(grid.ticks[-1])
    for topic, times in topics.items():
        used = np.unique(np.concatenate([g[topic] for g in (grid.states, grid.actions) if topic in g]))
        inside = times[int(used[0]) : int(np.searchsorted(times, end, "right"))]
        asked = len(grid.ticks) - (topic not in grid.states)
        counts = {"unused": len(inside) - len(used), "repeated": asked - len(used), "missing": lost(inside)}
        missing += counts["missing"] if topic in grid.states else 0
        counts = {k: max(0, n) for k, n in counts.items()}
        said.append(f"{topic}: {len(inside)} messages, " + ", ".join(f"{n} {k}" for k, n in counts.items()))
        for k in (k for k, n in counts.items() if n):
            note(f"{topic} has messages that are {k}; meta['resampled'] says how many")
        edges = np.append(inside, end) if usual(inside) else inside[:0]
        for i in np.flatnonzero(np.diff(edges) > gap * _SECOND)[:_GAPS]:
            length, at = (edges[i + 1] - edges[i]) / _SECOND, (edges[i] - begin) / _SECOND
            gaps.append(f"{topic}: {length:.3f} s from {at:.3f} s")
    return missing, "; ".join(said), "; ".join(gaps)
