"""Curves with intervals over one another: runs or methods against one cost, in a page or in a file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from understudy.report.charts import Point
from understudy.report.svg import Axis, figure, number, percent, polyline, stretched, tag
from understudy.report.template import save, text_of

__all__ = ["Level", "Series", "curve_figure", "keys", "save_figure"]

_HUES = 6  # see report.css; further ones differ in their dashes


@dataclass(frozen=True)
class Series:
    """One curve: a name and estimates along x, in the order of x. An infinite end draws no interval.

    Raises:
        ValueError: without a point, or when a point is not finite.
    """

    name: str
    points: tuple[Point, ...]

    def __post_init__(self) -> None:
        if not self.points:
            raise ValueError(f"the curve {self.name!r} has no point")
        if bad := [p for p in self.points if not (math.isfinite(p.x) and math.isfinite(p.value))]:
            raise ValueError(f"the curve {self.name!r} has a point at ({bad[0].x}, {bad[0].value})")
        object.__setattr__(self, "points", tuple(sorted(self.points, key=lambda p: p.x)))


@dataclass(frozen=True)
class Level:
    """A value that does not depend on x, such as the expert's; its interval where the ends are finite."""

    name: str
    value: float
    low: float
    high: float


def curve_figure(
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    *,
    title: str,
    levels: Sequence[Level] = (),
    share: bool = False,
    from_zero: bool = False,
    log_x: bool = False,
    log_y: bool = False,
    marker: tuple[float, str] | None = None,
    x_marks: Sequence[float] | None = None,
    shape: str = "tall",
) -> Markup:
    """The curves as inline SVG, with the page's colours and in its light or dark; `keys` says which is which.

    Args:
        share: y runs from 0 to 1, in percent. from_zero: y begins at 0.
        log_x: x is logarithmic, as y is with `log_y`; then all of it must be positive.
        marker: a place on x and what to write there.
        x_marks: where x is labelled; round numbers of its scale by default.
        shape: "tall", "low" or "".

    Raises:
        ValueError: without a curve.
    """
    if not series:
        raise ValueError("there is no curve to draw")
    x = Axis.over([p.x for s in series for p in s.points], pad=0.04, log=log_x)
    y = Axis(0.0, 1.0) if share else _tall(series, levels, from_zero, log_y)
    bands = [tag("g", _level(v, y), class_="level") for v in levels]
    bands += [tag("g", *_line(s, x, y), class_=_class(i)) for i, s in enumerate(series)]
    marks: list[Markup] = [stretched(*bands)]
    alone = len(series) == 1
    for i, s in enumerate(series):
        marks.append(tag("g", *(_dot(p, x, y, whisker=alone) for p in s.points), class_=_class(i)))
    if marker is not None:
        marks += _marker(marker, x)
    described = "; ".join(f"{s.name}: {s.points[-1].label}" if s.name else s.points[-1].label for s in series)
    text: Callable[[float], str] = percent if share else number
    kind = " ".join(["overlay", *["many"] * (len(series) > 3), *[shape] * bool(shape)])
    return figure(
        title, described, *marks, x=x, y=y, x_name=x_label, y_name=y_label, x_marks=x_marks, y_text=text,
        y_marks=[0, 0.25, 0.5, 0.75, 1] if share else None, class_=kind,
    )  # fmt: skip


def keys(series: Sequence[Series], levels: Sequence[Level] = ()) -> list[tuple[str, str]]:
    """(class, name) of every curve and level that has a name, for the list above or below a figure."""
    curves = [(_class(i), s.name) for i, s in enumerate(series) if s.name]
    return curves + [("level", v.name) for v in levels if v.name]


def _class(i: int) -> str:
    return f"r{i % _HUES} d{(i // _HUES) % 3}"


def _tall(series: Sequence[Series], levels: Sequence[Level], from_zero: bool, log: bool) -> Axis:
    values = [v for s in series for p in s.points for v in (p.value, p.low, p.high)]
    values += [v for level in levels for v in (level.value, level.low, level.high)]
    axis = Axis.over(values, pad=0.08, log=log)
    return Axis(0.0, max(axis.high, 1e-9)) if from_zero and not log and axis.high > 0 else axis


def _area(edge: Iterable[tuple[float, float]], class_: str) -> Markup:
    return tag("polygon", points=" ".join(f"{a:.2f},{100 - b:.2f}" for a, b in edge), class_=class_)


def _line(s: Series, x: Axis, y: Axis) -> list[Markup]:
    """The band of the intervals and the line over it."""
    known = [p for p in s.points if math.isfinite(p.low) and math.isfinite(p.high)]
    upper = [(x.at(p.x), y.at(p.high)) for p in known]
    lower = [(x.at(p.x), y.at(p.low)) for p in reversed(known)]
    route = [(x.at(p.x), y.at(p.value)) for p in s.points]
    band = [_area(upper + lower, "band")] if any(p.high > p.low for p in known) else []
    return [*band, polyline(route, "line")]


def _level(v: Level, y: Axis) -> Markup:
    known = math.isfinite(v.low) and math.isfinite(v.high) and v.high > v.low
    edge = [(0.0, y.at(v.high)), (100.0, y.at(v.high)), (100.0, y.at(v.low)), (0.0, y.at(v.low))]
    line = polyline([(0.0, y.at(v.value)), (100.0, y.at(v.value))], "line")
    return tag("g", tag("title", v.name), _area(edge, "band") if known else None, line)


def _dot(p: Point, x: Axis, y: Axis, *, whisker: bool) -> Markup:
    at, mid = f"{x.at(p.x):.2f}%", f"{100 - y.at(p.value):.2f}%"
    known = whisker and math.isfinite(p.low) and math.isfinite(p.high) and p.high > p.low
    ends = [f"{100 - y.at(v):.2f}%" for v in (p.high, p.low)] if known else []
    return tag(
        "g",
        tag("title", p.label),
        tag("line", x1=at, x2=at, y1=ends[0], y2=ends[1], class_="whisker") if ends else None,
        tag("circle", cx=at, cy=mid, r=3.5, class_="dot"),
    )


def _marker(marker: tuple[float, str], x: Axis) -> list[Markup]:
    place, text = x.at(marker[0]), marker[1]
    at, right = f"{place:.2f}%", place > 55
    side = "end" if right else "start"
    return [
        tag("line", x1=at, x2=at, y1=0, y2="100%", class_="marker"),
        tag("text", text, x=at, y="100%", dx=-6 if right else 6, dy=-8, class_=f"note halo {side}"),
    ]


def save_figure(
    target: Path,
    drawn: Markup,
    legend: Sequence[tuple[str, str]] = (),
    *,
    width: int = 760,
    height: int = 440,
) -> Path:
    """Writes a figure as a file of its own, with its colours for light and dark, to stand in a document.

    Args:
        drawn: what `curve_figure` (or any other chart of the report) gave. legend: what `keys` gave.
        width, height: in pixels; it scales.

    Returns:
        The path of the file, which appears whole or not at all.
    """
    rows = _rows(legend, width - 90)
    top = 34 + 20 * len(rows)
    entries = [
        tag("g", tag("line", x1=at, x2=at + 18, y1=20 + 20 * i, y2=20 + 20 * i, class_="line"),
            tag("text", name, x=at + 24, y=24 + 20 * i, class_="name"), class_=hue)
        for i, row in enumerate(rows) for at, hue, name in row
    ]  # fmt: skip
    place = tag("svg", drawn, x=62, y=top, width=width - 90, height=height - top - 48)
    paper = tag("rect", width="100%", height="100%", class_="paper")
    style = tag("style", Markup(_style()))
    whole = tag(
        "svg", style, paper, tag("g", *entries, class_="overlay"), place, xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height}", width=width, height=height,
    )  # fmt: skip
    save(target, str(whole) + "\n")
    return target


def _rows(legend: Sequence[tuple[str, str]], width: float) -> list[list[tuple[float, str, str]]]:
    """Entries side by side, (x, class, name), in as many rows as it takes."""
    rows: list[list[tuple[float, str, str]]] = []
    at = math.inf
    for hue, name in legend:
        room = 24 + 6.6 * len(name) + 26  # pixels, as no one measures text here
        if at + room > 62 + width and at > 62:
            rows.append([])
            at = 62.0
        rows[-1].append((at, hue, name))
        at += room
    return rows


def _style() -> str:
    """The page's own rules that a figure needs: the names of colours, and what charts are made of."""
    sheet = text_of("report.css")
    colours = sheet[sheet.index(":root {") : sheet.index("@media print")]
    charts = sheet[sheet.index("/* Charts */") : sheet.index("/* The viewer")]
    wanted = ("svg ", ".grid", ".line", ".band", ".marker", ".base", ".overlay", ".level", ".dot", ".whisker")
    lines = [line for line in charts.splitlines() if line.startswith(wanted)]
    hues = "".join(f".r{i} {{ color: var(--r{i}); }}" for i in range(_HUES))
    own = "svg { overflow: visible; } .paper { fill: var(--paper); } .whisker { stroke-width: 1.8; }"
    return f"{colours}{own}{hues}" + "\n".join(lines)
