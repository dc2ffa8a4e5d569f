"""Inline SVG that stays legible at any width: positions in percent of it, text and strokes in pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

__all__ = ["Axis", "figure", "number", "percent", "polyline", "stretched", "tag", "ticks"]

Child = Markup | str | None
Attribute = str | float | None
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_FLAT = 1e-12  # a range this small against its own size is one value


def tag(name: str, *children: Child, **attributes: Attribute) -> Markup:
    """One element. Text and attribute values are escaped; `class_` writes class, `_` in a name writes `-`.

    >>> tag("text", "a < b", x="50%", class_="tick")
    Markup('<text x="50%" class="tick">a &lt; b</text>')
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_plain(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = "".join(str(escape(child)) for child in children if child is not None)
    return Markup(f"<{name}{written}>{inside}</{name}>")


def _plain(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"


def number(x: float, digits: int = 3) -> str:
    """A number for people: at least `digits` significant, thin spaces between thousands, a true minus sign.

    >>> number(-1234567.0), number(0.012345), number(3.0), number(float("nan"))
    ('−1\\u202f234\\u202f567', '0.0123', '3', '–')
    """
    if not math.isfinite(x):
        return "–"
    size = math.floor(math.log10(abs(x))) if x else 0
    if size >= 9 or size < -4:
        mantissa, power = f"{x:.{digits - 1}e}".split("e")
        mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        head = {"1": "", "-1": "−"}.get(mantissa, f"{mantissa.replace('-', '−')}·")
        return f"{head}10{str(int(power)).translate(_SUPERSCRIPT)}"
    text = f"{x:,.{max(digits - 1 - size, 0)}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace(",", "\u202f").replace("-", "−")


def percent(x: float) -> str:
    """A share in [0, 1] as a whole percentage; one digit more where rounding would hide a miss or a hit.

    >>> percent(0.97), percent(0.9985), percent(1.0), percent(0.004)
    ('97\\u202f%', '99.9\\u202f%', '100\\u202f%', '0.4\\u202f%')
    """
    if not math.isfinite(x):
        return "–"
    text = f"{100 * x:.0f}"
    if (text == "100" and x < 1) or (text == "0" and x > 0):
        text = f"{min(99.9, 100 * x):.1f}" if x > 0.5 else f"{max(0.1, 100 * x):.1f}"
    return f"{text}\u202f%"


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers within [low, high], in steps of 1, 2 or 5 times a power of ten.

    >>> ticks(0.0, 1.0), ticks(-7.0, 12.0)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [-5.0, 0.0, 5.0, 10.0])
    """
    if not (math.isfinite(low) and math.isfinite(high)) or high - low <= _FLAT * max(
        abs(low), abs(high), 1e-300
    ):
        return [low] if math.isfinite(low) else []
    rough = (high - low) / max(count, 1)
    unit = 10.0 ** math.floor(math.log10(rough))
    step = min((m * unit for m in (1, 2, 5, 10)), key=lambda s: abs(math.log(s / rough)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) if abs(step) > 1e-9 else i * step for i in range(first, last + 1)]


@dataclass(frozen=True)
class Axis:
    """A scale from values to percent of the plot; never flat, so that one value still has a place.

    Raises:
        ValueError: when an end is not finite, or a logarithmic axis would start at or below zero.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise ValueError(f"an axis from {self.low} to {self.high} has no finite ends")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic axis cannot start at {self.low}")
        if self.high - self.low <= _FLAT * max(abs(self.low), abs(self.high)):
            pad = abs(self.low) / 2 or 0.5
            object.__setattr__(self, "low", self.low - pad)
            object.__setattr__(self, "high", self.high + pad)

    @classmethod
    def over(cls, values: Iterable[float], *, pad: float = 0.04, log: bool = False) -> Axis:
        """An axis that holds all finite values, with a margin of `pad` of its length at each end."""
        kept = [v for v in values if math.isfinite(v) and not (log and v <= 0)]
        if not kept:
            return cls(0.0, 1.0)
        low, high = min(kept), max(kept)
        if log:
            grow = (high / low) ** pad
            return cls(low / grow, high * grow, True) if high > low else cls(low / 2, high * 2, True)
        return cls(low - pad * (high - low), high + pad * (high - low))

    def at(self, value: float) -> float:
        """Percent of the way from low to high, clipped to [0, 100]."""
        if self.log:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return 100.0 * min(max(share, 0.0), 1.0)

    def ticks(self, count: int = 5) -> list[float]:
        """Round values on the axis: powers of ten, with numbers in between if few, when logarithmic."""
        if not self.log:
            return ticks(self.low, self.high, count)
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        for steps in ((1,), (1, 3), (1, 2, 5)):
            marks = [m * 10.0**p for p in range(first, last + 1) for m in steps]
            marks = [v for v in marks if self.low <= v * 1.0000001 and v <= self.high * 1.0000001]
            if len(marks) >= 3:
                break
        return marks[:: math.ceil(len(marks) / (count + 2))] if marks else []


def polyline(points: Sequence[tuple[float, float]], class_: str) -> Markup:
    """A line through points given in percent; for use within `stretched`."""
    path = " ".join(f"{x:.2f},{100 - y:.2f}" for x, y in points)
    return tag("polyline", points=path, class_=class_, vector_effect="non-scaling-stroke")


def stretched(*children: Child) -> Markup:
    """A layer whose coordinates run from 0 to 100 both ways, whatever the shape of the plot."""
    return tag(
        "svg", *children, viewBox="0 0 100 100", preserveAspectRatio="none", width="100%", height="100%"
    )


def figure(
    title: str,
    description: str,
    *marks: Child,
    x: Axis,
    y: Axis,
    x_name: str,
    y_name: str,
    x_marks: Sequence[float] | None = None,
    y_marks: Sequence[float] | None = None,
    x_text: Callable[[float], str] = number,
    y_text: Callable[[float], str] = number,
    class_: str = "",
) -> Markup:
    """A plot with axes around `marks`, which are in percent. Screen readers get `title` and `description`."""
    grid: list[Markup] = []
    for value in x.ticks(5) if x_marks is None else x_marks:
        at = f"{x.at(value):.2f}%"
        grid.append(tag("line", x1=at, x2=at, y1="100%", y2="100%", class_="nub"))
        grid.append(tag("text", x_text(value), x=at, y="100%", dy=18, class_="tick middle"))
    for value in y.ticks(4) if y_marks is None else y_marks:
        at = f"{100 - y.at(value):.2f}%"
        grid.append(tag("line", x1=0, x2="100%", y1=at, y2=at, class_="grid"))
        grid.append(tag("text", y_text(value), x=-8, y=at, dy=4, class_="tick end"))
    grid.append(tag("line", x1=0, x2="100%", y1="100%", y2="100%", class_="base"))
    grid.append(tag("text", x_name, x="100%", y="100%", dy=36, class_="name end"))
    grid.append(tag("text", y_name, x=-8, y=0, dy=-14, class_="name below"))
    return tag(
        "svg",
        tag("title", title),
        tag("desc", description),
        *grid,
        *marks,
        class_=f"plot {class_}".strip(),
        role="img",
        aria_label=f"{title}. {description}",
    )
