"""All episodes side by side in recorded order: how long they are, how they ended, what happened when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from understudy.episode import Mask
from understudy.numerics import runs
from understudy.report.data.moments import DRIVERS, KINDS
from understudy.report.data.survey import Survey
from understudy.report.motion import spread
from understudy.report.svg import Axis, figure, tag

__all__ = ["Calendar", "calendar", "drivers", "used"]

_COLUMNS = 1000  # episodes that are drawn
_TITLED = 250  # episodes up to which each says what it is when pointed at, and links to its row
_CELLS = 24_000  # marks of one kind that the chart may hold, all episodes together
_HEADROOM = 1.14  # above the longest column
_FINEST = 120  # marks of one kind that an episode may hold


@dataclass(frozen=True)
class Calendar:
    """The chart, (kind, words) of the marks in it, and what the reader must know of it."""

    chart: Markup
    moments: tuple[tuple[str, str], ...]
    note: str


def calendar(survey: Survey, linked: frozenset[int]) -> Calendar:
    """A column an episode; `linked` have a row to lead to."""
    count = len(survey.episodes)
    shown = sorted({*spread(count, _COLUMNS), *(i for i, _ in survey.first)})
    lengths = survey.data.lengths[shown]
    x, y = Axis(0.0, float(len(shown))), Axis(0.0, _HEADROOM * float(lengths.max()))
    layers: list[Markup | None] = [*_hands(survey, shown), _columns(survey, shown, lengths.tolist(), y)]
    crowded = len(shown) > _TITLED
    drawn = tuple((k, words) for k, words in used(survey) if k != "limit" or not crowded)
    layers += [_marks(survey, shown, kind, y) for kind, _ in drawn]
    layers += [_driven(survey, shown, who, y) for who in DRIVERS]
    if not crowded:
        layers += [_pointed(survey, i, at, linked) for at, i in enumerate(shown)]
    box = tag(
        "svg", *layers, viewBox=f"0 0 {len(shown)} 100", preserveAspectRatio="none", width="100%",
        height="100%",
    )  # fmt: skip
    ticks = range(len(shown)) if len(shown) <= 12 else map(int, x.ticks(8))
    marks = [t + 0.5 for t in ticks if t < len(shown)]
    title = "Every episode in recorded order"
    words = f"{len(shown)} episodes of {lengths.min()} to {lengths.max()} steps"
    chart = figure(
        title, words, box, *_flags(survey, shown, x, y), x=x, y=y, x_name="episode", y_name="steps",
        x_marks=marks, x_text=lambda v: str(shown[int(v)]), class_="calendar",
    )  # fmt: skip
    note = f"{len(shown)} of {count} episodes are drawn, spread evenly. " if len(shown) < count else ""
    note += "With so many episodes, commands at their limits are not marked." * (
        crowded and len(drawn) < len(used(survey))
    )
    return Calendar(chart, drawn, note)


def _columns(survey: Survey, shown: Sequence[int], lengths: Sequence[int], y: Axis) -> Markup:
    """One path for each kind of outcome."""
    paths = []
    for kind in dict.fromkeys(survey.outcomes[i] for i in shown):
        d = "".join(
            _bar(at, 0.0, y.at(n))
            for at, (i, n) in enumerate(zip(shown, lengths, strict=True))
            if survey.outcomes[i] == kind
        )
        paths.append(tag("path", d=d, class_=f"column {kind}"))
    return Markup("").join(paths)


def _hands(survey: Survey, shown: Sequence[int]) -> Iterator[Markup]:
    """Who recorded what: a band above the columns, where there are several."""
    if len(survey.hands) < 2:
        return
    hues = [survey.hands[survey.operators[i]] for i in shown]
    for hue in dict.fromkeys(hues):
        own = np.array([h == hue for h in hues])
        yield tag(
            "path",
            d="".join(f"M{a} 0h{b - a}v3h{a - b}z" for a, b in runs(own).tolist()),
            class_=f"band {hue}",
        )


def _marks(survey: Survey, shown: Sequence[int], kind: str, y: Axis) -> Markup | None:
    """One path for everything of one kind that happened."""
    most = int(np.clip(_CELLS // len(shown), 10, _FINEST))
    parts = []
    for at, i in enumerate(shown):
        mask = _coarse(survey.moments[i].masks[kind], most, 0.0 if kind == "gap" else 0.5)
        unit = len(survey.episodes[i]) / len(mask)
        parts += [_bar(at, y.at(a * unit), y.at(b * unit)) for a, b in runs(mask).tolist()]
    return tag("path", d="".join(parts), class_=f"moment {kind}") if parts else None


def _driven(survey: Survey, shown: Sequence[int], who: str, y: Axis) -> Markup | None:
    """One path along the right edges of the columns, where this one held the controls."""
    parts = []
    for at, i in enumerate(shown):
        mask = _coarse(survey.moments[i].drivers[who], int(np.clip(_CELLS // len(shown), 10, _FINEST)), 0.5)
        unit = len(survey.episodes[i]) / len(mask)
        parts += [_bar(at, y.at(a * unit), y.at(b * unit), edge=True) for a, b in runs(mask).tolist()]
    return tag("path", d="".join(parts), class_=f"driver {who}") if parts else None


def _coarse(mask: Mask, most: int, share: float) -> Mask:
    """At most `most` cells of equal length, marked where more than a share of their steps is."""
    if len(mask) <= most:
        return mask
    cut = np.linspace(0, len(mask), most + 1).astype(int)
    coarse: Mask = np.add.reduceat(mask, cut[:-1], dtype=np.float64) / np.diff(cut) > share
    return coarse


def _bar(at: int, low: float, high: float, *, edge: bool = False) -> str:
    """A column, or only its right edge."""
    left, wide = (0.73, ".18") if edge else (0.09, ".82")
    return f"M{at + left:.2f} {100 - low:.1f}h{wide}V{100 - high:.1f}h-{wide}z"


def _flags(survey: Survey, shown: Sequence[int], x: Axis, y: Axis) -> Iterator[Markup]:
    """The numbers of the episodes to look at first, above their columns."""
    for i, _ in survey.first:
        top = f"{100 - y.at(float(len(survey.episodes[i]))):.2f}%"
        side = f"{x.at(shown.index(i) + 0.5):.2f}%"
        yield tag("text", str(i), x=side, y=top, dy=-3, class_="flag halo middle")


def _pointed(survey: Survey, index: int, at: int, linked: frozenset[int]) -> Markup:
    """An invisible column to point at, that leads to the episode's row."""
    masks, words = survey.moments[index].masks | survey.moments[index].drivers, KINDS | DRIVERS
    happened = [f"{words[k]} in {int(m.sum())} steps" for k, m in masks.items() if m.any()]
    spot = tag("rect", x=at, width=1, y=0, height=100, class_="spot")
    title = tag("title", "; ".join([survey.says(index), *happened]))
    return tag("a", title, spot, href=f"#e{index}") if index in linked else tag("g", title, spot)


def used(survey: Survey) -> list[tuple[str, str]]:
    """The kinds of marks that occur, with their words: for the key of the chart."""
    return [(k, words) for k, words in KINDS.items() if any(m.masks[k].any() for m in survey.moments)]


def drivers(survey: Survey) -> list[tuple[str, str]]:
    """Who but the policy drives anywhere, with words: for the key of the chart."""
    return [(k, words) for k, words in DRIVERS.items() if any(m.drivers[k].any() for m in survey.moments)]
