"""Every episode in a table, the worst first, each value coloured by how far out it stands."""

from __future__ import annotations

import math
from dataclasses import dataclass

from understudy.report.data.survey import Survey
from understudy.report.failures import Cell
from understudy.report.svg import number

__all__ = ["Head", "Ledger", "Line", "ledger"]

_ROWS, _CELLS = 500, 9000


@dataclass(frozen=True)
class Head:
    """One column: its name, what it means, and whether it holds numbers."""

    name: str
    about: str
    numeric: bool


@dataclass(frozen=True)
class Line:
    """One episode: (class, cell) of each column, in the order of the heads."""

    index: int
    kind: str
    cells: tuple[tuple[str, Cell], ...]


@dataclass(frozen=True)
class Ledger:
    """The table; `constant` says what all episodes have in common and is therefore left out."""

    heads: tuple[Head, ...]
    lines: tuple[Line, ...]
    left_out: int
    constant: str


def ledger(survey: Survey) -> Ledger:
    """At most 500 rows, fewer where there are many columns: the worst, in the order of their rank."""
    shown = [g for g in survey.gauges if not g.alike and g.name != "length"]
    shown.sort(key=lambda g: -int(g.level.max()))  # what tells episodes apart comes first
    alike = [g for g in survey.gauges if g.alike and g.name != "length"]
    heads = [Head("episode", "its number in recorded order", True), Head("outcome", "", False)]
    if any(survey.operators):
        heads.append(Head("operator", "who recorded it", False))
    heads.append(Head("steps", "how many actions it has", True))
    heads += [Head(g.measure.title, _about(g.measure.about, g.measure.unit, g.bad), True) for g in shown]
    most = min(_ROWS, max(50, _CELLS // len(heads)))
    lines = []
    for index in survey.order[:most]:
        kind, word, sort = _OUTCOME[survey.outcomes[index]]
        cells = [("", Cell(str(index), str(index))), ("outcome", Cell(word, sort))]
        if any(survey.operators):
            who = survey.operators[index]
            cells.append(("", Cell(who or "–", str(list(survey.hands).index(who)))))
        cells.append(("num", Cell(number(len(survey.episodes[index])), str(len(survey.episodes[index])))))
        for g in shown:
            value = float(g.values[index])
            level = int(g.level[index])
            said = Cell(g.says(value), f"{value:.7g}") if math.isfinite(value) else Cell("–", "")
            cells.append((f"num z{level}" if level else "num", said))
        lines.append(Line(index, kind, tuple(cells)))
    same = ", ".join(f"{g.measure.title} {g.says(g.common)}" for g in alike)
    return Ledger(tuple(heads), tuple(lines), len(survey.episodes) - len(lines), same)


_OUTCOME = {
    "success": ("", "success", "2"),
    "rollout": ("unknown", "not said", "1"),
    "failure": ("failed", "failure", "0"),
}


def _about(about: str, unit: str, bad: str) -> str:
    return "; ".join(part for part in (about, unit, bad) if part)
