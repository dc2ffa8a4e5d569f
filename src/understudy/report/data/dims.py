"""How every observed and commanded value is distributed: a histogram over a strip of quantiles."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from understudy.dataset import Dataset
from understudy.episode import Array
from understudy.quality import Column
from understudy.report import words
from understudy.report.data.survey import Survey
from understudy.report.facts import printable
from understudy.report.svg import Axis, number, tag

__all__ = ["Group", "Row", "groups"]

Floats = NDArray[np.float64]
_ROWS, _TOTAL = 64, 160  # dimensions drawn of one observation, and of all together
_VALUES = 4_000_000  # values of one observation that its distributions are made of
_FRAMES = 24  # pictures that the distribution of a camera's pixels is made of
_BINS = 48
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Row:
    """One dimension: what it is called, its picture, its numbers as text, and what is noteworthy about it."""

    name: str
    alias: str
    mark: Markup
    low: str
    median: str
    high: str
    std: str
    remark: str


@dataclass(frozen=True)
class Group:
    """The dimensions of one observation or of the action; `note` says what the picture rests on."""

    key: str
    note: str
    rows: tuple[Row, ...]
    left_out: int


def groups(survey: Survey) -> tuple[Group, ...]:
    """The action first, then each observation, at most 64 dimensions of each and 160 in all."""
    out, room = [], _TOTAL
    for key in ("action", *(k for k in survey.schema if k != "action")):
        dims = survey.columns[key]
        shown = min(len(dims), _ROWS, room)
        room -= shown
        values, note = _sample(survey.data, key, survey.schema[key], shown)
        limits = survey.source.bounds if key == "action" else None
        names = survey.source.names.get(key, ("",) * len(dims))
        rows = tuple(_row(c, names[d], values[:, d], d, limits) for d, c in enumerate(dims[:shown]))
        out.append(Group(printable(key), note, rows, len(dims) - shown))
    return tuple(out)


def _sample(data: Dataset, key: str, entry: tuple[str, tuple[int, ...]], shown: int) -> tuple[Array, str]:
    """Rows [n, >= shown] of a column, evenly thinned, and what they are in words."""
    if entry[0] == "uint8":  # pictures may have to be decoded: a few stand for all
        chosen = np.unique(np.linspace(0, len(data) - 1, min(len(data), _FRAMES)).round().astype(int))
        frames = [np.asarray(data[int(i)].obs[key][len(data[int(i)]) // 2]) for i in chosen]
        text = f"{'×'.join(map(str, entry[1]))}; pixels of {len(frames)} pictures, one an episode"
        return np.concatenate([f.reshape(-1, 1) for f in frames]), text
    width = int(np.prod(entry[1]))
    stride = -(-data.steps * width // _VALUES)
    rows = np.concatenate([c.reshape(len(c), -1)[::stride, :shown] for c in data.chunks(key)])
    part = f"every {number(stride)}th" if stride > 1 else "all"
    note = f"{words.counted(width, 'dimension')}; {part} of {words.counted(data.steps, 'step')}"
    return rows.astype(np.float64), note


def _row(column: Column, alias: str, values: Array, dim: int, limits: tuple[Array, Array] | None) -> Row:
    edge = None if limits is None else (float(limits[0][dim]), float(limits[1][dim]))
    low, *middle, high = np.quantile(values, (0.0, *_QUANTILES, 1.0)).tolist()
    says = _rounded(column.high - column.low)
    label = (
        f"{printable(column.name)}: {says(column.low)} to {says(column.high)}, median {says(middle[2])}, "
        f"middle half {says(middle[1])} to {says(middle[3])}"
    )
    label += "" if edge is None else f", limits {number(edge[0])} and {number(edge[1])}"
    ends = [column.low, column.high, low, high, *(edge or ())]
    axis = Axis(min(ends), max(ends))
    shapes = () if column.low == column.high else (_bars(values, axis),)
    marks = [
        tag("line", x1=_at(axis, a), x2=_at(axis, b), y1="88%", y2="88%", class_=name)
        for a, b, name in ((middle[0], middle[4], "most"), (middle[1], middle[3], "half"))
    ]
    marks.append(tag("circle", cx=_at(axis, middle[2]), cy="88%", r=3, class_="mid"))
    for value in edge or ():
        marks.append(tag("line", x1=_at(axis, value), x2=_at(axis, value), y1=0, y2="100%", class_="bound"))
    picture = tag("svg", tag("title", label), *shapes, *marks, class_="dim", role="img", aria_label=label)
    return Row(
        printable(column.name),
        printable(alias),
        picture,
        says(column.low),
        says(middle[2]),
        says(column.high),
        number(column.std),
        printable(column.remark),
    )


def _rounded(span: float) -> Callable[[float], str]:
    """Numbers with no more digits than matter in a range: about a thousandth of it."""
    if not span > 0:
        return number
    places = 2 - math.floor(math.log10(span))
    return lambda value: number(round(value, places) + 0.0)  # no minus zero


def _at(axis: Axis, value: float) -> str:
    return f"{axis.at(value):.2f}%"


def _bars(values: Array, axis: Axis) -> Markup:
    """The histogram as one outline, from 0 to 100 both ways; what occurs is never too small to see."""
    counts, _ = np.histogram(values, _BINS, (axis.low, axis.high))
    tall = np.where(counts > 0, np.maximum(100 * counts / max(counts.max(), 1), 3), 0).round().astype(int)
    route, last = [], -1
    for i, height in enumerate(tall.tolist()):
        if height != last:
            route.append(f"{f'H{100 * i / _BINS:.1f}' if i else ''}V{100 - height}")
            last = height
    path = tag("path", d=f"M0 100{''.join(route)}H100V100Z", class_="hist")
    return tag(
        "svg", path, viewBox="0 0 100 100", preserveAspectRatio="none", width="100%", height="76%"
    )  # fmt: skip
