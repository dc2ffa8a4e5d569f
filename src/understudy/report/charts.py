"""The report's charts, each a small function from numbers to inline SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from understudy.report.svg import Axis, figure, number, percent, polyline, stretched, tag

__all__ = ["Mark", "Point", "axis_row", "curve", "histogram", "interval_row", "lines", "plan", "traces"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """An estimate with its interval, somewhere along x."""

    x: float
    value: float
    low: float
    high: float
    label: str


@dataclass(frozen=True)
class Mark:
    """A place on a plan: where, which class draws it, and what it says when pointed at."""

    x: float
    y: float
    kind: str  # "success", "failure" or "demo"
    label: str


def _grid(axis: Axis, marks: Sequence[float]) -> list[Markup]:
    where = [f"{axis.at(v):.2f}%" for v in marks]
    return [tag("line", x1=at, x2=at, y1=0, y2="100%", class_="grid") for at in where]


def interval_row(
    value: float,
    low: float,
    high: float,
    axis: Axis,
    marks: Sequence[float],
    *,
    kind: str,
    bar: bool,
    label: str,
) -> Markup:
    """One row of a table of estimates: a bar from the axis' start (for shares), the interval, the estimate."""
    at, a, b = axis.at(value), axis.at(low), axis.at(high)
    zero = axis.at(min(max(0.0, axis.low), axis.high))
    parts = _grid(axis, marks)
    if bar:
        x, w = min(zero, at), abs(at - zero)
        parts.append(tag("rect", x=f"{x:.2f}%", width=f"{w:.2f}%", y="26%", height="48%", rx=2, class_="bar"))
    parts.append(tag("line", x1=f"{a:.2f}%", x2=f"{b:.2f}%", y1="50%", y2="50%", class_="whisker"))
    parts += [
        tag("line", x1=f"{x:.2f}%", x2=f"{x:.2f}%", y1="36%", y2="64%", class_="whisker") for x in (a, b)
    ]
    parts.append(tag("circle", cx=f"{at:.2f}%", cy="50%", r=4, class_="dot"))
    return tag("svg", tag("title", label), *parts, class_=f"row {kind}", role="img", aria_label=label)


def axis_row(axis: Axis, marks: Sequence[float], text: Callable[[float], str]) -> Markup:
    """The scale under a table of estimates."""
    labels = []
    for i, value in enumerate(marks):
        at = axis.at(value)
        side = "start" if i == 0 and at < 4 else "end" if i == len(marks) - 1 and at > 96 else "middle"
        labels.append(tag("text", text(value), x=f"{at:.2f}%", y=13, class_=f"tick {side}"))
    return tag("svg", *labels, class_="scale", aria_hidden="true")


def curve(points: Sequence[Point], title: str, x_name: str, y_name: str, *, share: bool = False) -> Markup:
    """Estimates against a count, joined by a line, each with its interval; shares on an axis from 0 to 1."""
    xs = [p.x for p in points]
    log = min(xs) > 0 and max(xs) >= 8 * min(xs)
    x = Axis.over(xs, pad=0.06, log=log)
    y = Axis(0.0, 1.0) if share else Axis.over([v for p in points for v in (p.low, p.high)], pad=0.08)
    upper = [(x.at(p.x), y.at(p.high)) for p in points]
    lower = [(x.at(p.x), y.at(p.low)) for p in reversed(points)]
    band = " ".join(f"{a:.2f},{100 - b:.2f}" for a, b in upper + lower)
    marks: list[Markup] = [
        stretched(
            tag("polygon", points=band, class_="band"),
            polyline([(x.at(p.x), y.at(p.value)) for p in points], "line policy"),
        )
    ]
    for i, p in enumerate(points):
        at = f"{x.at(p.x):.2f}%"
        top, low, mid = (f"{100 - y.at(v):.2f}%" for v in (p.high, p.low, p.value))
        last = i == len(points) - 1  # the others are labelled below and to the right, clear of a rising line
        text = percent(p.value) if share else number(p.value)
        marks.append(
            tag(
                "g",
                tag("title", p.label),
                tag("line", x1=at, x2=at, y1=top, y2=low, class_="whisker"),
                tag("circle", cx=at, cy=mid, r=4.5, class_="dot"),
                tag("text", text, x=at, y=mid, dx=-9 if last else 9, dy=19, class_=f"value halo{' end' * last}"),
                class_="policy",
            )
        )
    return figure(
        title,
        "; ".join(p.label for p in points),
        *marks,
        x=x,
        y=y,
        x_name=x_name,
        y_name=y_name,
        x_marks=sorted(set(xs)),
        y_marks=[0, 0.25, 0.5, 0.75, 1] if share else None,
        y_text=percent if share else number,
        class_="tall",
    )


def lines(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    title: str,
    x_name: str,
    y_name: str,
    marker: tuple[float, str] | None = None,
) -> Markup:
    """Curves over training steps, thinned to means of equal stretches with the range behind them.

    `marker` is a step to mark with a vertical line, and what to write there.
    """
    shown = {k: (np.asarray(a, float), np.asarray(b, float)) for k, (a, b) in series.items() if len(a)}
    values = np.concatenate([b for _, b in shown.values()])
    log = bool((values > 0).all() and values.max() > 30 * values.min())
    x = Axis.over(np.concatenate([a for a, _ in shown.values()]).tolist(), pad=0.0)
    y = Axis.over(_robust(values, log), pad=0.06, log=log)
    layer, words = [], []
    for i, (name, (steps, ys)) in enumerate(shown.items()):
        at, mean, low, high = _thin(steps, ys)
        if len(ys) > len(at):
            edge = [*zip(at, high, strict=True), *zip(at[::-1], low[::-1], strict=True)]
            area = " ".join(f"{x.at(a):.2f},{100 - y.at(b):.2f}" for a, b in edge)
            layer.append(tag("polygon", points=area, class_=f"band s{i}"))
        route = [(x.at(a), y.at(b)) for a, b in zip(at, mean, strict=True)]
        layer.append(polyline(route, f"line s{i}"))
        words.append(f"{name or y_name}: from {number(ys[0])} at step {number(steps[0])} to {number(ys[-1])}")
    marks: list[Markup] = [stretched(*layer)]
    if marker is not None:
        place = x.at(marker[0])
        at = f"{place:.2f}%"
        side = "end" if place > 55 else "start"
        marks.append(tag("line", x1=at, x2=at, y1=0, y2="100%", class_="marker"))
        marks.append(
            tag("text", marker[1], x=at, y=0, dx=-6 if place > 55 else 6, dy=10, class_=f"note halo {side}")
        )
        words.append(f"{marker[1]} at step {number(marker[0])}")
    label = y_name + (" (logarithmic)" if log else "")
    return figure(title, "; ".join(words), *marks, x=x, y=y, x_name=x_name, y_name=label)


def _robust(values: Floats, log: bool) -> list[float]:
    """The ends of an axis that a few wild values at the start of training do not flatten."""
    kept = values[values > 0] if log else values
    low, high = np.quantile(kept, [0.0, 0.995])
    return [float(low), float(high)]


def _thin(x: Floats, y: Floats, most: int = 240) -> tuple[Floats, Floats, Floats, Floats]:
    """At most `most` stretches of equal length: where, mean, lowest, highest. Each [most]."""
    if len(x) <= most:
        return x, y, y, y
    cut = np.linspace(0, len(x), most + 1).astype(int)[:-1]
    count = np.diff(np.append(cut, len(x)))
    mean_x, mean_y = np.add.reduceat(x, cut) / count, np.add.reduceat(y, cut) / count
    return mean_x, mean_y, np.minimum.reduceat(y, cut), np.maximum.reduceat(y, cut)


def histogram(
    groups: Mapping[str, Sequence[float] | Floats],
    title: str,
    x_name: str,
    *,
    bins: int = 24,
    limits: tuple[float, float] | None = None,
    class_: str = "",
) -> Markup:
    """Counts, stacked by group; the group's name is the class that colours it."""
    values = {k: np.asarray(v, float) for k, v in groups.items() if len(v)}
    every = np.concatenate(list(values.values()))
    low, high = (float(every.min()), float(every.max())) if limits is None else limits
    whole = bool(np.all(every == np.round(every)))
    if whole and high - low < 2000:  # integers: bins that hold equally many of them
        width = max(1, math.ceil((high - low + 1) / bins))
        edges = np.arange(low - 0.5, high + width, width)
    else:
        span = (high - low) or abs(low) or 1.0
        edges = np.linspace(low, low + span, bins + 1)
    counts = {k: np.histogram(v, edges)[0] for k, v in values.items()}
    top = int(sum(counts.values(), np.zeros(len(edges) - 1, int)).max())
    x, y = Axis(float(edges[0]), float(edges[-1])), Axis(0.0, float(top) * 1.05)
    bars, base = [], np.zeros(len(edges) - 1)
    for kind, count in counts.items():
        for i in np.flatnonzero(count):
            left, right = x.at(float(edges[i])), x.at(float(edges[i + 1]))
            low_, high_ = y.at(base[i]), y.at(base[i] + count[i])
            bars.append(
                tag("rect", x=f"{left:.2f}", width=f"{right - left:.2f}", y=f"{100 - high_:.2f}",
                    height=f"{high_ - low_:.2f}", class_=f"fill {kind}")
            )  # fmt: skip
        base += count
    marks = sorted({v for v in (round(t) for t in y.ticks(3)) if v <= y.high})
    words = "; ".join(
        f"{len(v)} {k}: median {number(float(np.median(v)))}, range {number(v.min())} to {number(v.max())}"
        for k, v in values.items()
    )
    return figure(
        title, words, stretched(*bars), x=x, y=y, x_name=x_name, y_name="count", y_marks=marks, class_=class_
    )


_SIDE = 300.0  # a plan's own units; it is drawn at about this many pixels


def plan(marks: Sequence[Mark], title: str, names: tuple[str, str], box: tuple[Axis, Axis]) -> Markup:
    """A map with equal scales on both axes: discs for successes, crosses for failures, dots for the rest."""
    x, y = box
    wide, tall = x.high - x.low, y.high - y.low
    scale = _SIDE / max(wide, tall)
    w, h = max(wide * scale, 60.0), max(tall * scale, 60.0)
    parts: list[Markup] = [tag("rect", x=0, y=0, width=w, height=h, class_="frame")]
    for value in x.ticks(4):
        at = x.at(value) * w / 100
        parts.append(tag("line", x1=at, x2=at, y1=0, y2=h, class_="grid"))
        parts.append(tag("text", number(value), x=at, y=h + 16, class_="tick middle"))
    for value in y.ticks(max(2, round(4 * h / _SIDE))):
        at = h - y.at(value) * h / 100
        parts.append(tag("line", x1=0, x2=w, y1=at, y2=at, class_="grid"))
        parts.append(tag("text", number(value), x=-6, y=at + 4, class_="tick end"))
    for m in sorted(marks, key=lambda m: m.kind == "failure"):  # failures on top
        px, py = x.at(m.x) * w / 100, h - y.at(m.y) * h / 100
        parts.append(tag("g", tag("title", m.label), _glyph(px, py, m.kind), class_=m.kind))
    parts.append(tag("text", names[0], x=w, y=h + 32, class_="name end"))
    parts.append(tag("text", names[1], x=-6, y=-8, class_="name start"))
    counts = ", ".join(f"{sum(m.kind == k for m in marks)} {k}" for k in ("success", "failure", "demo"))
    return tag(
        "svg", tag("title", title), tag("desc", counts), *parts,
        viewBox=f"-48 -24 {w + 60:.0f} {h + 62:.0f}", class_="plan", role="img", aria_label=f"{title}. {counts}",
    )  # fmt: skip


def _glyph(x: float, y: float, kind: str) -> Markup:
    if kind == "failure":
        d = f"M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8"
        return tag("path", d=d, class_="cross")
    return tag("circle", cx=x, cy=y, r=3.4 if kind == "success" else 2, class_="disc")


def traces(
    groups: Mapping[str, Sequence[Floats]], title: str, y_name: str, *, most: int = 60, points: int = 80
) -> Markup:
    """One coordinate over time, a line an episode: groups in drawing order, each a class. Each line is [T + 1]."""
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
