"""The measures over all episodes, operator by operator: one stroke an episode, outliers by their number."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from understudy.numerics import Estimate, wilson
from understudy.quality import MEASURES
from understudy.report import words
from understudy.report.charts import axis_row, interval_row
from understudy.report.data.gauges import Gauge
from understudy.report.data.survey import Survey, short
from understudy.report.results import Row, Table
from understudy.report.svg import Axis, figure, number, percent, stretched, tag

__all__ = ["Operators", "Spread", "operators", "spreads"]

Floats = NDArray[np.float64]
_STROKES = 80  # of one row of a chart, up to which each episode has its own
_BINS = 60  # of a row beyond that
_RINGS, _NAMED = 60, 4  # outliers of one chart that are ringed, and whose number is written
_APART = 9.0  # percent of the width between two numbers
_HANDS = 12  # operators in the tables


@dataclass(frozen=True)
class Spread:
    """One measure: its name, what it means, its chart."""

    title: str
    about: str
    chart: Markup


@dataclass(frozen=True)
class Operators:
    """Operators compared: success with its interval, and medians by measure: (name, class, cells) a row."""

    success: Table | None
    means: tuple[Table, ...]
    heads: tuple[str, ...]
    rows: tuple[tuple[str, str, tuple[str, ...]], ...]
    left_out: int


def spreads(survey: Survey, linked: frozenset[int]) -> Iterator[Spread]:
    """A chart of each measure that differs between episodes."""
    for g in survey.gauges:
        if not g.alike:
            about = "; ".join(part for part in (g.measure.about, g.bad) if part)
            yield Spread(g.measure.title, about, _strip(survey, g, linked))


def _strip(survey: Survey, g: Gauge, linked: frozenset[int]) -> Markup:
    kept = np.isfinite(g.values)
    x = (
        Axis(0.0, 1.0)
        if g.share and g.values[kept].max() > 0.5
        else Axis.over(g.values[kept].tolist(), pad=0.04)
    )
    rows: dict[str, list[int]] = {}
    for i in np.flatnonzero(kept).tolist():
        rows.setdefault(survey.hands[survey.operators[i]], []).append(i)
    marks: list[Markup] = []
    for at, hue in enumerate(sorted(rows)):
        top, tall = 100 * (at + 0.22) / len(rows), 56 / len(rows)
        marks.append(tag("g", *_row(g.values[rows[hue]], x, top, tall), class_=hue))
    named: list[float] = []
    out = sorted(np.flatnonzero(g.level).tolist(), key=lambda i: (-int(g.level[i]), i))
    for i in out[:_RINGS]:
        at = sorted(rows).index(survey.hands[survey.operators[i]])
        where = x.at(float(g.values[i]))
        name = len(named) < _NAMED and all(abs(where - other) > _APART for other in named)
        named += [where] * name
        marks.append(_outlier(survey, g, i, x, 100 * (at + 0.5) / len(rows), name, i in linked))
    ticks = x.ticks(4)
    return figure(
        g.measure.title, _described(survey, g, rows), *marks, x=x, y=Axis(0, 1), x_name=g.measure.unit,
        y_name="", x_marks=ticks, x_text=_told_apart(ticks, share=g.share), y_marks=(),
        class_=f"strips gauge rows-{min(len(rows), 6)}",
    )  # fmt: skip


def _told_apart(ticks: Sequence[float], *, share: bool) -> Callable[[float], str]:
    """Numbers for an axis, with as many digits as it takes to tell its ticks apart."""
    scale, unit = (100, "\u202f%") if share else (1, "")
    enough = [d for d in range(3, 9) if len({number(scale * t, d) for t in ticks}) == len(ticks)]
    return lambda value: number(scale * value, min(enough, default=9)) + unit


def _row(values: Floats, x: Axis, top: float, tall: float) -> Iterator[Markup]:
    """A stroke a value where they are few, else the outline of how many there are; and the median."""
    if len(values) > _STROKES:
        yield stretched(_outline(values, x, top + tall / 2, tall / 2))
    else:
        for v in np.sort(values).tolist():
            at = f"{x.at(v):.1f}%"
            yield tag("line", x1=at, x2=at, y1=f"{top:.1f}%", y2=f"{top + tall:.1f}%", class_="stroke")
    middle = f"{x.at(float(np.median(values))):.1f}%"
    yield tag("circle", cx=middle, cy=f"{top + tall / 2:.1f}%", r=4.5, class_="median")


def _outline(values: Floats, x: Axis, middle: float, half: float) -> Markup:
    """How many values there are where, as a shape around the middle; what occurs is never too thin to see."""
    counts, edges = np.histogram(values, _BINS, (x.low, x.high))
    thick = np.where(counts > 0, np.maximum(half * counts / counts.max(), 0.08 * half), 0.0)
    at = [x.at(float(v)) for v in edges]
    upper = "".join(f"V{middle - t:.1f}H{right:.1f}" for t, right in zip(thick, at[1:], strict=True))
    lower = "".join(f"V{middle + t:.1f}H{left:.1f}" for t, left in zip(thick[::-1], at[-2::-1], strict=True))
    return tag("path", d=f"M{at[0]:.1f} {middle:.1f}{upper}{lower}Z", class_="outline")


def _outlier(survey: Survey, g: Gauge, i: int, x: Axis, y: float, named: bool, link: bool) -> Markup:
    at = x.at(float(g.values[i]))
    parts = [
        tag(
            "title",
            f"{survey.says(i)}; {g.measure.title} {g.says(float(g.values[i]))} {g.measure.unit}".strip(),
        ),
        tag("circle", cx=f"{at:.1f}%", cy=f"{y:.1f}%", r=4, class_="outlier"),
    ]
    if named:
        side = "end" if at > 90 else "start" if at < 10 else "middle"
        parts.append(tag("text", str(i), x=f"{at:.1f}%", y=f"{y:.1f}%", dy=-8, class_=f"value halo {side}"))
    return tag("a", *parts, href=f"#e{i}") if link else tag("g", *parts)


def _described(survey: Survey, g: Gauge, rows: dict[str, list[int]]) -> str:
    return "; ".join(
        f"{survey.legend[hue]}: median {g.says(float(np.median(g.values[own])))} of {len(own)} episodes"
        for hue, own in sorted(rows.items())
    )


def operators(survey: Survey) -> Operators | None:
    """None where all episodes are of one operator, or nobody says who recorded them."""
    if len(survey.hands) < 2:
        return None
    shown = list(survey.hands)[:_HANDS]
    own = {who: np.array([i for i, w in enumerate(survey.operators) if w == who]) for who in shown}
    differ = [g for g in survey.gauges if not g.alike]
    rows = []
    for who in shown:
        middles = [g.values[own[who]] for g in differ]
        cells = [number(len(own[who]))] + [
            g.says(float(np.median(v[np.isfinite(v)]))) if np.isfinite(v).any() else "–"
            for g, v in zip(differ, middles, strict=True)
        ]
        rows.append((who or "not said", survey.hands[who], tuple(cells)))
    heads = ("episodes", *(g.measure.title for g in differ))
    return Operators(
        _success(survey, own), tuple(_means(survey)), heads, tuple(rows), len(survey.hands) - len(shown)
    )


def _success(survey: Survey, own: dict[str, NDArray[np.int64]]) -> Table | None:
    axis = Axis(0.0, 1.0)
    marks = [0, 0.25, 0.5, 0.75, 1]
    rows = []
    for who, indices in own.items():
        said = [s for i in indices if (s := survey.data.successes[int(i)]) is not None]
        if said:
            e = wilson(sum(said), len(said))
            n = f"{sum(said)} of {len(said)}"
            rows.append(_estimate(who, survey.hands[who], e, axis, marks, words.rate(e), n, bar=True))
    note = "share of episodes that succeeded, and Wilson’s 95 % interval"
    return Table("Success", note, tuple(rows), axis_row(axis, marks, percent)) if rows else None


def _means(survey: Survey) -> Iterator[Table]:
    """The other estimates of the inspection: means with their intervals, of those with enough episodes."""
    found = {short(who): m for who, m in survey.found.operators.items()}
    for what in dict.fromkeys(k for m in found.values() for k in m if k != "success"):
        own = {who: m[what] for who, m in found.items() if what in m and who in survey.hands}
        ends = [v for e in own.values() for v in (e.low, e.high) if math.isfinite(v)]
        if len(own) < 2 or not ends:
            continue
        axis = Axis.over(ends, pad=0.08)
        marks = axis.ticks(3)
        rows = [
            _estimate(who, survey.hands[who], e, axis, marks, words.amount(e), f"n = {e.n}", bar=False)
            for who, e in own.items()
        ]
        title = MEASURES[what].title if what in MEASURES else what
        note = "mean over episodes, and its 95 % bootstrap interval"
        yield Table(f"{title[:1].upper()}{title[1:]}", note, tuple(rows), axis_row(axis, marks, number))


def _estimate(
    who: str, hue: str, e: Estimate, axis: Axis, marks: Sequence[float], says: str, n: str, *, bar: bool
) -> Row:
    name = who or "not said"
    low, high = max(e.low, axis.low), min(e.high, axis.high)
    label = f"{name}: {says}"
    return Row(
        name, hue, interval_row(e.value, low, high, axis, marks, kind=hue, bar=bar, label=label), says, n
    )
