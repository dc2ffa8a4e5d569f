"""A few episodes step by step: commands, observations and rewards over time, and marks of what happened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from understudy.episode import Array, Episode
from understudy.numerics import runs
from understudy.report.data.moments import DRIVERS, KINDS
from understudy.report.data.pictures import Film, films
from understudy.report.data.space import Scene
from understudy.report.data.survey import Survey, short
from understudy.report.facts import printable
from understudy.report.motion import Look
from understudy.report.svg import Axis, figure, number, polyline, stretched, tag

__all__ = ["Closeup", "Lane", "closeups"]

Floats = NDArray[np.float64]
_LINES = 6  # drawn in one lane: as many as there are colours
_SPARSE = 2  # different rewards, up to which they only tell the end
_STRETCHES = 150  # pieces of a long line, each drawn from its lowest to its highest


@dataclass(frozen=True)
class Lane:
    """Lines over time: what they are, the chart, and (class, name) of each line."""

    title: str
    chart: Markup
    keys: tuple[tuple[str, str], ...]
    note: str


@dataclass(frozen=True)
class Closeup:
    """One episode: what it is, why it is shown, its lanes and its pictures."""

    index: int
    title: str
    reasons: tuple[str, ...]
    lanes: tuple[Lane, ...]
    films: tuple[Film, ...]


def closeups(
    survey: Survey, chosen: Sequence[tuple[int, Sequence[str]]], place: Scene | None
) -> Iterator[Closeup]:
    """The chosen episodes, (index, why) each."""
    pictures = films(survey, [i for i, _ in chosen])
    for index, why in chosen:
        title = survey.says(index)
        yield Closeup(
            index,
            f"{title[:1].upper()}{title[1:]}",
            tuple(printable(w) for w in why),
            tuple(_lanes(survey, index, place)),
            pictures[index],
        )


def _lanes(survey: Survey, index: int, place: Scene | None) -> Iterator[Lane]:
    e = survey.episodes[index]
    if e.action.dtype == np.int64:
        yield _lane(survey, index, "Choices", e.action, ["choice"], "")
    else:
        dims = _liveliest(survey, "action", e.action.shape[1])
        yield _lane(
            survey, index, "Commands", e.action[:, dims], [survey.label("action", d) for d in dims],
            _left_out(len(dims), e.action.shape[1]),
        )  # fmt: skip
    yield from _observed(survey, index, place)
    if len(np.unique(e.reward)) > _SPARSE:
        yield _lane(survey, index, "Rewards", e.reward[:, None], ["reward"], "")


def _observed(survey: Survey, index: int, place: Scene | None) -> Iterator[Lane]:
    """What the task or a name says to look at, and what moves most in the widest other observation."""
    e = survey.episodes[index]
    told = place.view if place is not None and isinstance(place.view, Look) else None
    if told is not None:
        names = [short(label) for label in told.labels]
        unit = f" ({told.unit})" if told.unit else ""
        yield _lane(survey, index, f"{short(told.key)}{unit}", told.path(e), names, "")
    cold = survey.moments[index].frozen
    others = [k for k in survey.vectors if told is None or k not in (told.key, told.goal)]
    if others:
        key = max(others, key=lambda k: (k in cold, int(np.prod(survey.schema[k][1]))))
        rows = e.obs[key].reshape(len(e) + 1, -1)
        dims = _liveliest(survey, key, rows.shape[1], cold.get(key, ()))
        low, wide = _ranges(survey, key)
        shares = (rows[:, dims] - low[dims]) / wide[dims]  # units differ: each value in its own range
        note = "Each in units of its range over the dataset."
        if frozen := cold.get(key, ()):
            note += f" Frozen: {', '.join(survey.label(key, d) for d in frozen[:_LINES])}."
        yield _lane(
            survey, index, short(key), shares, [survey.label(key, d) for d in dims],
            f"{note} {_left_out(len(dims), rows.shape[1])}".strip(),
        )  # fmt: skip


def _ranges(survey: Survey, key: str) -> tuple[Floats, Floats]:
    """The smallest of each value, and how wide its range is, [D] each."""
    own = survey.columns[key]
    low = np.array([c.low for c in own])
    wide = np.array([c.high - c.low for c in own])
    return low, np.where(wide > 0, wide, 1.0)


def _left_out(shown: int, width: int) -> str:
    return f"{shown} of {width} dimensions are drawn, those that move most." if shown < width else ""


def _liveliest(survey: Survey, key: str, width: int, first: Sequence[int] = ()) -> list[int]:
    """Those named first, and the dimensions with the largest std in units of their range, by number."""
    if width <= _LINES:
        return list(range(width))
    own = survey.columns[key]
    lively = [c.std / (c.high - c.low) if c.high > c.low else -1.0 for c in own]
    return sorted(sorted(range(len(own)), key=lambda d: (d not in first, -lively[d]))[:_LINES])


def _lane(survey: Survey, index: int, title: str, rows: Array, names: Sequence[str], note: str) -> Lane:
    e = survey.episodes[index]
    fps = survey.source.fps
    clock, name = _clock(e, fps)
    x = Axis(float(clock[0]), float(clock[-1]))
    y = Axis.over([float(rows.min()), float(rows.max())], pad=0.08)
    shapes: list[Markup] = [*_bands(survey, index, clock, x)]
    for d in range(rows.shape[1]):
        at = _thin(rows[:, d])
        shapes.append(polyline([(x.at(float(clock[i])), y.at(float(rows[i, d]))) for i in at], f"line r{d}"))
    spans = [
        f"{n}: {number(float(c.min()))} to {number(float(c.max()))}"
        for n, c in zip(names, rows.T, strict=True)
    ]
    chart = figure(
        f"{title} of episode {index}", "; ".join(spans), stretched(*shapes), x=x, y=y, x_name=name, y_name="",
        x_marks=x.ticks(6), y_marks=y.ticks(3), class_="low lane",
    )  # fmt: skip
    return Lane(title, chart, tuple((f"r{d}", n) for d, n in enumerate(names)), note)


def _clock(e: Episode, fps: float | None) -> tuple[Floats, str]:
    """[T + 1], when each state was seen: measured where it was, nominal where fps is known, else the step."""
    if e.time is not None and e.time[-1] > e.time[0]:
        return e.time - e.time[0], "seconds, measured"
    steps = np.arange(len(e) + 1.0)
    return (steps / fps, "seconds") if fps and fps != 1 else (steps, "step")


def _bands(survey: Survey, index: int, clock: Floats, x: Axis) -> Iterator[Markup]:
    """What happened when, behind the lines, and along the bottom who drove."""
    found = survey.moments[index]
    strips = [("moment", k, found.masks[k], 0, 100) for k in KINDS]
    strips += [("driver", k, found.drivers[k], 96, 4) for k in DRIVERS]
    for what, kind, mask, top, height in strips:
        for a, b in runs(mask).tolist():
            left, right = x.at(float(clock[a])), x.at(float(clock[b]))
            yield tag(
                "rect", x=f"{left:.2f}", width=f"{right - left:.2f}", y=top, height=height,
                class_=f"{what} {kind}",
            )  # fmt: skip


def _thin(line: Array) -> list[int]:
    """Which points to draw: all, or of each stretch of a long line the lowest and the highest."""
    if len(line) <= 2 * _STRETCHES:
        return list(range(len(line)))
    cut = np.linspace(0, len(line), _STRETCHES + 1).astype(int)
    kept = {0, len(line) - 1}
    for a, b in pairwise(cut.tolist()):
        kept |= {a + int(line[a:b].argmin()), a + int(line[a:b].argmax())}
    return sorted(kept)
