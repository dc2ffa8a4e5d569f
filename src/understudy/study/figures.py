"""The figures of the page: measured points with their intervals over the curves that theory draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from understudy.report.charts import Point
from understudy.report.svg import Axis, figure, number, percent, polyline, stretched, tag

__all__ = ["Series", "against_demonstrations", "against_horizon", "in_a_row", "series_of"]


@dataclass(frozen=True)
class Series:
    """One method: its measured points, and the curve through which they should go.

    Args:
        hue: its colour, r0 to r5 of the pages' style sheet.
    """

    name: str
    hue: str
    points: Sequence[Point]
    curve: Sequence[tuple[float, float]]


def series_of(name: str, hue: str, costs: Mapping[str, Mapping[str, Any]]) -> Series:
    """From the costs of one method at each T, as the JSON holds them."""
    points = [_point(float(t), row, f"{name}, T = {t}") for t, row in costs.items()]
    return Series(name, hue, points, [(float(t), row["theory"]) for t, row in costs.items()])


def _point(x: float, row: Mapping[str, Any], label: str, *, share: bool = False) -> Point:
    text = percent if share else number
    words = f"{label}: {text(row['value'])} [{text(row['low'])}, {text(row['high'])}]"
    return Point(x, row["value"], row["low"], row["high"], words)


def against_horizon(series: Sequence[Series], title: str, y_name: str) -> Markup:
    """Costs against T, both on logarithmic scales, on which a power of T is a straight line."""
    xs = sorted({p.x for s in series for p in s.points})
    ys = [v for s in series for p in s.points for v in (p.value, p.high)]
    ys += [y for s in series for _, y in s.curve]
    return _chart(
        series, title, Axis.over(xs, pad=0.06, log=True), Axis.over(ys, pad=0.06, log=True),
        x_name="T, steps", y_name=y_name, x_marks=xs,
    )  # fmt: skip


def against_demonstrations(
    series: Sequence[Series], title: str, numbers: Sequence[int], y_name: str
) -> Markup:
    """Values against the number of demonstrations, both on logarithmic scales."""
    ys = [v for s in series for p in s.points for v in (p.value, p.high)]
    return _chart(
        series, title, Axis.over([p.x for s in series for p in s.points], pad=0.06, log=True),
        Axis.over(ys, pad=0.06, log=True), x_name="demonstrations", y_name=y_name, x_marks=numbers,
    )  # fmt: skip


def in_a_row(methods: Mapping[str, tuple[str, str]], found: Mapping[str, Any], title: str) -> Markup:
    """The share of relays in which the first k goals were reached, over the curve q^k of each.

    Args:
        methods: key in `found` -> (name, hue).
    """
    series = []
    for i, (key, (name, hue)) in enumerate(methods.items()):
        aside = 0.14 * (i - (len(methods) - 1) / 2)  # beside one another, so that intervals can be seen
        rows, q = found[key]["in_a_row"], found[key]["geometric"]["per_leg"]["value"]
        points = [
            _point(k + aside, row, f"{name}, {k} in a row", share=True) for k, row in enumerate(rows, start=1)
        ]
        fine = [0.5 + 0.1 * i for i in range(10 * len(rows) + 1)]
        series.append(Series(name, hue, points, [(k, q**k) for k in fine]))
    legs = len(series[0].points)
    return _chart(
        series, title, Axis(0.5, legs + 0.5), Axis(0.0, 1.0), x_name="k, goals in a row",
        y_name="all of them reached", x_marks=list(range(1, legs + 1)), share=True,
    )  # fmt: skip


def _chart(
    series: Sequence[Series],
    title: str,
    x: Axis,
    y: Axis,
    *,
    x_name: str,
    y_name: str,
    x_marks: Sequence[float],
    share: bool = False,
) -> Markup:
    lines = [
        polyline([(x.at(a), y.at(b)) for a, b in s.curve], f"line theory {s.hue}") for s in series if s.curve
    ]
    dots = [_dot(p, x, y, s.hue) for s in series for p in s.points]
    return figure(
        title,
        "; ".join(p.label for s in series for p in s.points),
        stretched(*lines),
        *dots,
        x=x,
        y=y,
        x_name=x_name,
        y_name=y_name,
        x_marks=x_marks,
        y_marks=[0, 0.25, 0.5, 0.75, 1] if share else None,
        y_text=percent if share else number,
        class_="tall",
    )


def _dot(p: Point, x: Axis, y: Axis, hue: str) -> Markup:
    at = f"{x.at(p.x):.2f}%"
    # The lower end of an interval may lie below a logarithmic axis, or below zero.
    low = y.low if y.log and p.low <= y.low else p.low
    top, bottom, middle = (f"{100 - y.at(v):.2f}%" for v in (p.high, low, p.value))
    return tag(
        "g",
        tag("title", p.label),
        tag("line", x1=at, x2=at, y1=top, y2=bottom, class_="whisker"),
        tag("circle", cx=at, cy=middle, r=4, class_="dot"),
        class_=f"measured {hue}",
    )
