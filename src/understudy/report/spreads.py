"""Charts of many values, places and paths, each a small function from numbers to inline SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from understudy.report.svg import Axis, figure, number, polyline, stretched, tag, ticks

__all__ = ["Mark", "histogram", "plan", "strip", "traces"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Mark:
    """A place on a plan: where, which class draws it, and what it says when pointed at."""

    x: float
    y: float
    kind: str  # "success", "failure" or "rollout"
    label: str


def histogram(
    groups: Mapping[str, Sequence[float] | Floats], title: str, x_name: str, *, bins: int = 24, whole: bool
) -> Markup:
    """Counts, stacked by group, whose name is the class that colours it. No bin splits a `whole` number."""
    values = {k: np.asarray(v, float) for k, v in groups.items() if len(v)}
    every = np.concatenate(list(values.values()))
    low, high = float(every.min()), float(every.max())
    if whole:  # bins that hold equally many integers
        width = max(1, math.ceil((high - low + 1) / bins))
        edges = np.arange(low - 0.5, high + width, width)
    else:
        span = (high - low) or abs(low) or 1.0
        edges = np.linspace(low, low + span, bins + 1)
    counts = {k: np.histogram(v, edges)[0] for k, v in values.items()}
    base = np.zeros(len(edges) - 1)
    top = float(sum(counts.values(), base).max())
    x, y = Axis(float(edges[0]), float(edges[-1])), Axis(0.0, top * 1.05)
    bars = []
    for kind, count in counts.items():
        for i in np.flatnonzero(count):
            left, right = x.at(float(edges[i])), x.at(float(edges[i + 1]))
            lower, upper = y.at(base[i]), y.at(base[i] + count[i])
            shape = (f"{v:.2f}" for v in (left, 100 - upper, right - left, upper - lower))
            keys = ("x", "y", "width", "height")
            bars.append(tag("rect", **dict(zip(keys, shape, strict=True)), class_=f"fill {kind}"))
        base = base + count
    return figure(
        title,
        _spreads(values),
        stretched(*bars),
        x=x,
        y=y,
        x_name=x_name,
        y_name="count",
        x_marks=ticks(low, high, 3),
        y_marks=sorted({v for v in (round(t) for t in y.ticks(3)) if v <= y.high}),
        class_="low",
    )


def _spreads(values: Mapping[str, Floats]) -> str:
    return "; ".join(
        f"{len(v)} {k}: median {number(float(np.median(v)))}, range {number(v.min())} to {number(v.max())}"
        for k, v in values.items()
    )


def strip(groups: Mapping[str, Sequence[float]], title: str, x_name: str) -> Markup:
    """One row a group, one stroke a value, and the median: however few values a group has, each is seen."""
    values = {k: np.asarray(v, float) for k, v in groups.items() if len(v)}
    every = np.concatenate(list(values.values()))
    log = bool((every > 0).all() and every.max() > 50 * every.min())
    x = Axis.over(every.tolist(), pad=0.03, log=log)
    marks: list[Markup] = []
    for i, (kind, row) in enumerate(values.items()):
        top, tall = 100 * (i + 0.24) / len(values), 52 / len(values)
        strokes = [(f"{x.at(float(v)):.2f}%", f"{top:.1f}%", f"{top + tall:.1f}%") for v in row[:_STROKES]]
        lines_ = [tag("line", x1=at, x2=at, y1=a, y2=b, class_="stroke") for at, a, b in strokes]
        middle = f"{x.at(float(np.median(row))):.2f}%"
        spot = tag("circle", cx=middle, cy=f"{top + tall / 2:.1f}%", r=4.5, class_="median")
        name = tag("text", kind, x=0, y=f"{top:.1f}%", dy=-5, class_="value halo")
        marks.append(tag("g", *lines_, spot, name, class_=kind))
    label = x_name + (", logarithmic" if log else "")
    return figure(
        title, _spreads(values), *marks, x=x, y=Axis(0, 1), x_name=label, y_name="", x_marks=x.ticks(4),
        y_marks=(), class_=f"strips rows-{len(values)}",
    )  # fmt: skip


_STROKES = 2000  # values of one row of a strip
_WIDE, _TALL = 250.0, 400.0  # a plan's own units, which are pixels where there is room


def plan(marks: Sequence[Mark], title: str, names: tuple[str, str], box: tuple[Axis, Axis]) -> Markup:
    """A map with equal scales on both axes: crosses for failures, discs for the rest.

    Plans with the same first axis are drawn to the same scale, as long as that leaves them a sensible height.
    """
    x, y = box
    wide, tall = x.high - x.low, y.high - y.low
    scale = min(_WIDE / wide, _TALL / tall)
    w, h = max(wide * scale, 60.0), max(tall * scale, 60.0)
    parts: list[Markup] = [tag("rect", x=0, y=0, width=w, height=h, class_="frame")]
    for value in x.ticks(max(2, round(w / 70))):
        at = x.at(value) * w / 100
        parts.append(tag("line", x1=at, x2=at, y1=0, y2=h, class_="grid"))
        parts.append(tag("text", number(value), x=at, y=h + 16, class_="tick middle"))
    for value in y.ticks(max(2, round(h / 70))):
        at = h - y.at(value) * h / 100
        parts.append(tag("line", x1=0, x2=w, y1=at, y2=at, class_="grid"))
        parts.append(tag("text", number(value), x=-6, y=at + 4, class_="tick end"))
    for m in sorted(marks, key=lambda m: m.kind == "failure"):  # failures on top
        px, py = x.at(m.x) * w / 100, h - y.at(m.y) * h / 100
        parts.append(tag("g", tag("title", m.label), _glyph(px, py, m.kind), class_=m.kind))
    parts.append(tag("text", names[0], x=w, y=h + 32, class_="name end"))
    parts.append(tag("text", names[1], x=-6, y=-8, class_="name start"))
    counts = ", ".join(f"{sum(m.kind == k for m in marks)} {k}" for k in dict.fromkeys(m.kind for m in marks))
    return tag(
        "svg", tag("title", title), tag("desc", counts), *parts,
        viewBox=f"-48 -24 {w + 60:.0f} {h + 62:.0f}", width=f"{w + 60:.0f}", class_="plan", role="img",
        aria_label=f"{title}. {counts}",
    )  # fmt: skip


def _glyph(x: float, y: float, kind: str) -> Markup:
    if kind == "failure":
        d = f"M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8"
        return tag("path", d=d, class_="cross")
    return tag("circle", cx=x, cy=y, r=3.4, class_="disc")


def traces(
    groups: Mapping[str, Sequence[Floats]], title: str, y_name: str, *, most: int = 60, points: int = 80
) -> Markup:
    """One coordinate over time, a line [T + 1] an episode: groups in drawing order, each a class."""
    shown = {k: list(v[:most]) for k, v in groups.items() if len(v)}
    ends = [f(line) for v in shown.values() for line in v for f in (np.min, np.max)]
    x = Axis(0.0, float(max(len(line) - 1 for v in shown.values() for line in v)))
    y = Axis.over([float(e) for e in ends], pad=0.05)
    layer = []
    for kind, group in shown.items():
        for line in group:
            at = np.unique(np.linspace(0, len(line) - 1, min(points, len(line))).round().astype(int))
            layer.append(polyline([(x.at(float(i)), y.at(float(line[i]))) for i in at], f"trace {kind}"))
    words = ", ".join(f"{len(v)} {k}" for k, v in shown.items())
    return figure(title, words, stretched(*layer), x=x, y=y, x_name="step", y_name=y_name)
