"""Where it fails: where failed episodes began and how they ended, and every episode in a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from understudy.evaluate import Outcome
from understudy.numerics import wilson
from understudy.report import words
from understudy.report.charts import axis_row, interval_row
from understudy.report.folder import Run
from understudy.report.motion import Look, outcome
from understudy.report.results import Row, Table
from understudy.report.spreads import Mark, plan, strip
from understudy.report.svg import Axis, number, percent

__all__ = ["Cell", "Failures", "failures"]

Floats = NDArray[np.float64]
_ENOUGH = 5  # failures, and successes, below which a pattern is not looked for
_ROWS = 1000  # episodes of the table
_MARKS = 600  # places of one plan


@dataclass(frozen=True)
class Cell:
    """One entry of the table of episodes: what it says and what it sorts by ("" sorts last)."""

    says: str
    value: str


@dataclass(frozen=True)
class Failures:
    """What the section shows of one run. Where nobody says whether episodes succeeded, `said` is 0."""

    said: int
    failed: tuple[int, ...]
    summary: str
    plans: tuple[tuple[str, Markup], ...]
    endings: tuple[tuple[str, Markup], ...]
    thirds: Table | None
    looked_at: int
    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    left_out: int


def failures(run: Run, view: Look | None) -> Failures | None:
    """None where the policy was not measured."""
    report = run.policy
    if report is None:
        return None
    failed = tuple(o.seed for o in report.outcomes if o.success is False)
    said = sum(o.success is not None for o in report.outcomes)
    places = _Places.of(run, view) if view is not None and run.rollouts is not None else None
    features = {} if places is None else places.features()
    heads, rows = _ledger(report.outcomes, report.unit)
    return Failures(
        said,
        failed,
        _summary(report.outcomes, failed, said, report.unit),
        () if places is None else tuple(places.plans()),
        tuple(_endings(report.outcomes, report.unit)),
        _thirds(features, [o.success for o in report.outcomes]),
        len(features),
        heads,
        rows[:_ROWS],
        max(0, len(rows) - _ROWS),
    )


def _summary(outcomes: Sequence[Outcome], failed: Sequence[int], said: int, unit: str) -> str:
    if not said:
        worst = sorted(outcomes, key=lambda o: o.total_reward)[:5]
        listed = ", ".join(f"{o.seed} ({number(o.total_reward)})" for o in worst)
        return f"Nobody says whether an episode of this task succeeded. The lowest returns: seeds {listed}."
    if not failed:
        return f"None of the {words.counted(said, 'episode')} failed."
    start = (
        f"{number(len(failed))} of {words.counted(said, 'episode')} failed: seeds {words.seeds_text(failed)}."
    )
    lost = [o for o in outcomes if o.success is False]
    late = sum(not o.terminated for o in lost)
    ends = f" {number(late)} of them ran into the time limit, {number(len(lost) - late)} ended before it."
    if late == len(lost):
        ends = " It ran into the time limit." if late == 1 else " All of them ran into the time limit."
    far = [o.goal_distance for o in lost if o.goal_distance is not None]
    if far:
        spread = " to ".join(number(float(q)) for q in np.quantile(far, [0.25, 0.75]))
        ends += (
            f" They ended {number(float(np.median(far)))} {unit}".rstrip() + " from the goal in the median"
        )
        ends += f" (middle half: {spread})." if len(far) > 3 else "."
    return start + ends


@dataclass(frozen=True)
class _Places:
    """Where each episode started and where its goal was, [E, D] each."""

    view: Look
    kinds: list[str]
    labels: list[str]
    start: Floats
    goal: Floats | None

    @classmethod
    def of(cls, run: Run, view: Look) -> _Places:
        tried = run.tried()
        goals = [view.target(e) for _, e in tried]
        found = [g for g in goals if g is not None]
        return cls(
            view,
            [outcome(e.success) for _, e in tried],
            [f"seed {s}" for s, _ in tried],
            np.stack([view.path(e)[0] for _, e in tried]),
            np.stack(found) if len(found) == len(tried) else None,
        )

    def features(self) -> dict[str, tuple[Floats, str]]:
        """Name -> (value of each episode [E], unit), of what differs between episodes at their start."""
        unit, names = self.view.unit, self.view.labels
        found = {f"start, {n}": self.start[:, d] for d, n in enumerate(names)}
        if self.goal is not None:
            found |= {f"goal, {n}": self.goal[:, d] for d, n in enumerate(names)}
            found["from start to goal"] = np.linalg.norm(self.goal - self.start, axis=1)
        widest = max((float(np.ptp(v)) for v in found.values()), default=0.0)
        return {k: (v, unit) for k, v in found.items() if np.ptp(v) > 0.03 * widest}

    def plans(self) -> Iterable[tuple[str, Markup]]:
        """(title, plan) seen from above, and from the side where there is a third dimension."""
        dims = len(self.view.dims)
        if dims < 2:
            return
        both = [("Where it started", self.start)]
        both += [("Where the goal was", self.goal)] if self.goal is not None else []
        every = np.vstack([points for _, points in both])
        boxes = [Axis.over(every[:, d].tolist(), pad=0.06) for d in range(dims)]
        sides = [(0, 1, "" if dims == 2 else ", from above")] + (
            [(0, 2, ", from the side")] if dims == 3 else []
        )
        for title, points in both:
            for a, b, word in sides:
                flat = 0.03 * max(axis.high - axis.low for axis in boxes)
                if np.ptp(points[:, b]) < flat and (b == 2 or np.ptp(points[:, a]) < flat):
                    continue  # everywhere the same: there is nothing to see
                yield title + word, plan(self._marks(points[:, [a, b]]), title + word, self._names(a, b),
                                         (boxes[a], boxes[b]))  # fmt: skip

    def _marks(self, points: Floats) -> list[Mark]:
        order = sorted(range(len(points)), key=lambda i: self.kinds[i] != "failure")[:_MARKS]
        return [
            Mark(
                float(points[i, 0]), float(points[i, 1]), self.kinds[i], f"{self.labels[i]}: {self.kinds[i]}"
            )
            for i in order
        ]

    def _names(self, a: int, b: int) -> tuple[str, str]:
        unit = f" ({self.view.unit})" if self.view.unit else ""
        return self.view.labels[a] + unit, self.view.labels[b] + unit


def _endings(outcomes: Sequence[Outcome], unit: str) -> Iterable[tuple[str, Markup]]:
    for title, name, of in (
        (
            "Distance to the goal at the end",
            f"distance ({unit})" if unit else "distance",
            lambda o: o.goal_distance,
        ),
        ("Length", "steps", lambda o: float(o.steps)),
        ("Return", "return", lambda o: o.total_reward),
    ):
        groups: dict[str, list[float]] = {}
        for kind in ("success", "rollout", "failure"):
            values = [v for o in outcomes if outcome(o.success) == kind and (v := of(o)) is not None]
            if values:
                groups[kind] = values
        if groups and len({v for g in groups.values() for v in g}) > 1:
            yield title, strip(groups, title, name)


def _thirds(features: dict[str, tuple[Floats, str]], success: Sequence[bool | None]) -> Table | None:
    """The share of failures in the lower, middle and upper third of what differs most between the two."""
    known = np.array([s is not None for s in success])
    lost = np.array([s is False for s in success])
    if lost.sum() < _ENOUGH or (known & ~lost).sum() < _ENOUGH:
        return None
    ranked = []
    for name, (values, unit) in features.items():
        cuts = np.quantile(values[known], [1 / 3, 2 / 3])
        which = np.digitize(values, cuts)
        parts = []
        for third in range(3):
            inside = known & (which == third)
            if inside.any():
                ends = f"{number(values[inside].min())} to {number(values[inside].max())} {unit}".rstrip()
                parts.append((f"{name}: {ends}", int((inside & lost).sum()), int(inside.sum())))
        rates = [k / n for _, k, n in parts]
        if len(parts) == 3:
            ranked.append((max(rates) - min(rates), parts))
    if not ranked:
        return None
    ranked.sort(key=lambda r: -r[0])
    shown = [(name, wilson(k, n), k, n) for _, parts in ranked[:3] for name, k, n in parts]
    axis = Axis(0.0, min(1.0, 1.08 * max(e.high for _, e, _, _ in shown)))
    marks, rows = axis.ticks(5), []
    for name, e, k, n in shown:
        says = words.rate(e)
        label = f"{name}: {says}"
        mark = interval_row(e.value, e.low, e.high, axis, marks, kind="failure", bar=True, label=label)
        rows.append(Row(name, "failure", mark, says, f"{k} of {n}"))
    note = "share of failures in the lower, middle and upper third of the episodes"
    return Table("What the failures have in common", note, tuple(rows), axis_row(axis, marks, percent))


def _ledger(
    outcomes: Sequence[Outcome], unit: str
) -> tuple[tuple[str, ...], tuple[tuple[str, tuple[Cell, ...]], ...]]:
    """Column heads, and (class, cells) of each episode; columns that nobody filled are left out."""
    said = {"rollout": ("not said", "1"), "success": ("success", "2"), "failure": ("failure", "0")}
    of = f" ({unit})" if unit else ""
    columns = {
        "seed": [Cell(str(o.seed), str(o.seed)) for o in outcomes],
        "outcome": [Cell(*said[outcome(o.success)]) for o in outcomes],
        "return": [_cell(o.total_reward) for o in outcomes],
        "steps": [_cell(float(o.steps)) for o in outcomes],
        "ended by": [
            Cell("task" if o.terminated else "time limit", str(int(o.terminated))) for o in outcomes
        ],
        f"off path, RMS{of}": [_cell(o.tracking.rmse if o.tracking else None) for o in outcomes],
        f"off path, max{of}": [_cell(o.tracking.max_deviation if o.tracking else None) for o in outcomes],
        f"final distance{of}": [_cell(o.goal_distance) for o in outcomes],
    }
    filled = {k: v for k, v in columns.items() if any(c.value for c in v)}
    classes = ["failed" if o.success is False else "unknown" if o.success is None else "" for o in outcomes]
    rows = tuple((kind, tuple(cells)) for kind, *cells in zip(classes, *filled.values(), strict=True))
    return tuple(filled), rows


def _cell(value: float | None) -> Cell:
    missing = value is None or not math.isfinite(value)
    return Cell("–", "") if value is None or missing else Cell(number(value), f"{value:.9g}")
