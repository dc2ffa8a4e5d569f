"""Charts of estimates and of training, each a small function from numbers to inline SVG."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from understudy.report.svg import Axis, figure, number, percent, polyline, stretched, tag

__all__ = ["Point", "axis_row", "curve", "interval_row", "lines"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """An estimate with its interval, somewhere along x."""

    x: float
    value: float
    low: float
    high: float
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
    """One row of a table of estimates: a bar (for shares), the interval, the estimate."""
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
        last = i == len(points) - 1  # labels keep clear of a rising line, and of one another
        text = percent(p.value) if share else number(p.value)
        marks.append(
            tag(
                "g",
                tag("title", p.label),
                tag("line", x1=at, x2=at, y1=top, y2=low, class_="whisker"),
                tag("circle", cx=at, cy=mid, r=4.5, class_="dot"),
                tag(
                    "text",
                    text,
                    x=at,
                    y=mid,
                    dx=-9 if last else 9,
                    dy=-13 if last else 19,
                    class_=f"value halo{' end' * last}",
                ),
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
    marker: tuple[float, str] | None = None,
    *,
    spread: bool = False,
) -> Markup:
    """Curves over training steps, thinned to means of equal stretches with the range behind them.

    `marker` is a step to mark with a vertical line, and what to write there. `spread`: a logarithmic scale
    where positive values differ by more than a factor of 30.
    """
    shown = {k: (np.asarray(a, float), np.asarray(b, float)) for k, (a, b) in series.items() if len(a)}
    values = np.concatenate([b for _, b in shown.values()])
    log = spread and bool((values > 0).all() and values.max() > 30 * values.min())
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
        words.append(f"{name or title}: from {number(ys[0])} at step {number(steps[0])} to {number(ys[-1])}")
    marks: list[Markup] = [stretched(*layer)]
    if marker is not None:
        place = x.at(marker[0])
        stands = f"{place:.2f}%"
        side = "end" if place > 55 else "start"
        marks.append(tag("line", x1=stands, x2=stands, y1=0, y2="100%", class_="marker"))
        marks.append(
            tag(
                "text",
                marker[1],
                x=stands,
                y=0,
                dx=-6 if place > 55 else 6,
                dy=10,
                class_=f"note halo {side}",
            )
        )
        words.append(f"{marker[1]} at step {number(marker[0])}")
    label = "logarithmic" if log else ""
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
