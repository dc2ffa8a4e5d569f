"""How good it is: tables of estimates with their intervals, paired comparisons, the curve, the training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

from markupsafe import Markup

from understudy.evaluate import Report
from understudy.numerics import Estimate
from understudy.report import words
from understudy.report.charts import Point, axis_row, curve, interval_row, lines
from understudy.report.folder import POLICY, Run
from understudy.report.svg import Axis, number, percent

__all__ = ["Comparison", "Row", "Table", "comparisons", "curves", "learning", "tables"]

_LABELS = {"nearest-neighbour": "nearest neighbour"}
_COLOURS = 6  # of runs; see report.css
_PAIRWISE = 4  # so many runs are compared each with each, more with the first


@dataclass(frozen=True)
class Row:
    """One estimate: who, its picture, its words, and how many episodes it rests on."""

    who: str
    kind: str
    mark: Markup
    says: str
    n: str


@dataclass(frozen=True)
class Table:
    """Estimates of one quantity on one scale."""

    title: str
    note: str
    rows: tuple[Row, ...]
    scale: Markup


@dataclass(frozen=True)
class _Entry:
    who: str
    kind: str
    report: Report


def tables(runs: Sequence[Run]) -> list[tuple[str, list[Table]]]:
    """(task, its tables): success, return, distance to the goal, distance off the expert's path."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        if run.evaluations:
            groups.setdefault(run.task, []).append(run)
    colours = {run.name: f"r{i % _COLOURS}" for i, run in enumerate(runs)}
    out = []
    for task, members in groups.items():
        found = _entries(members, colours if len(runs) > 1 else {})
        unit = next((e.report.unit for e in found if e.report.unit), "")
        made = [
            _table("Success", "share of episodes in which the task was done", found, _rate_of, "", bar=True),
            _table("Return", "mean over episodes, undiscounted", found, lambda r: r.mean_return, ""),
            _table("Distance to the goal at the end", "mean over episodes", found, lambda r: r.goal_distance, unit),
            _table("Off the expert’s path", "root mean square over an episode, mean over episodes", found,
                   lambda r: r.tracking_rmse, unit),
            _table("Length", "steps of an episode, mean", found, lambda r: r.mean_steps, "steps"),
        ]  # fmt: skip
        out.append((task, [t for t in made if t is not None]))
    return out


def _rate_of(report: Report) -> Estimate | None:
    return report.success_rate


def _entries(runs: Sequence[Run], colours: dict[str, str]) -> list[_Entry]:
    """Policies first, then the baselines of the first run that has them."""
    found = [
        _Entry(r.name if colours else "the policy", colours.get(r.name, "policy"), r.policy)
        for r in runs
        if r.policy is not None
    ]
    seen: set[str] = {POLICY}
    for run in runs:
        for name, report in run.evaluations.items():
            if name not in seen:
                seen.add(name)
                kind = "expert" if name == "expert" else "baseline"
                found.append(_Entry(_LABELS.get(name, name), kind, report))
    return found


def _table(
    title: str,
    note: str,
    entries: Sequence[_Entry],
    of: Callable[[Report], Estimate | None],
    unit: str,
    *,
    bar: bool = False,
) -> Table | None:
    found = [(e, estimate) for e in entries if (estimate := of(e.report)) is not None]
    if not found or (title == "Off the expert’s path" and all(e.kind == "expert" for e, _ in found)):
        return None
    axis, text = _scale([x for _, x in found], share=bar)
    marks = [0.0, 0.25, 0.5, 0.75, 1.0] if bar else axis.ticks(4)
    rows = []
    for e, x in found:
        says = words.rate(x) if bar else words.amount(x, "" if unit == "steps" else unit)
        label = f"{e.who}: {says}, {x.n} episodes, {x.method}"
        low, high = (v if math.isfinite(v) else x.value for v in (x.low, x.high))
        mark = interval_row(x.value, low, high, axis, marks, kind=e.kind, bar=bar, label=label)
        hits = f"{number(round(x.value * x.n))} of {number(x.n)}" if bar else f"n = {number(x.n)}"
        rows.append(Row(e.who, e.kind, mark, says, hits))
    return Table(title, note, tuple(rows), axis_row(axis, marks, text))


def _scale(estimates: Sequence[Estimate], *, share: bool) -> tuple[Axis, Callable[[float], str]]:
    if share:
        return Axis(0.0, 1.0), percent
    ends = [v for x in estimates for v in (x.value, x.low, x.high) if math.isfinite(v)]
    axis = Axis.over(ends, pad=0.06)
    if min(ends) >= 0 and min(ends) < 0.5 * max(ends):  # close enough to zero to show it
        axis = Axis(0.0, axis.high)
    return axis, number


@dataclass(frozen=True)
class Comparison:
    """Two policies on the same seeds."""

    a: str
    b: str
    difference: str
    only: str
    p: str
    returns: str
    verdict: str


def comparisons(runs: Sequence[Run]) -> list[Comparison]:
    """Of one run: the policy against every baseline. Of several: run against run, the first ones pairwise."""
    pairs: list[tuple[str, Report, str, Report]] = []
    if len(runs) == 1:
        ours = runs[0].policy
        named = [(_LABELS.get(n, n), r) for n, r in runs[0].evaluations.items() if n != POLICY]
        pairs = [("the policy", ours, n, r) for n, r in named] if ours is not None else []
    else:
        measured = [(r.name, r.policy) for r in runs if r.policy is not None]
        each = combinations(measured, 2) if len(measured) <= _PAIRWISE else ((m, measured[0]) for m in measured[1:])
        pairs = [(a, x, b, y) for (a, x), (b, y) in each]
    return [_comparison(*pair) for pair in pairs]


def _comparison(a: str, x: Report, b: str, y: Report) -> Comparison:
    d = words.paired(x, y)
    if isinstance(d, str):
        return Comparison(a, b, "–", "–", "–", "–", d)
    said = d.success is not None
    return Comparison(
        a,
        b,
        words.points(d.success) if d.success is not None else "–",
        f"{d.only_a} : {d.only_b}" if said else "–",
        words.p_text(d.p) if d.p is not None else "–",
        words.plain(d.mean_return.text(signed=True)),
        words.said_of(d, a, b),
    )


def curves(run: Run) -> Markup | None:
    """Success (else return) against the number of demonstrations."""
    found = [(p.episodes, p.success) for p in run.curve if p.success is not None]
    if found:
        shown = [
            Point(n, e.value, e.low, e.high, f"{number(n)} demonstrations: {words.rate(e)} of {e.n} episodes")
            for n, e in found
        ]
        return curve(shown, "Success against number of demonstrations", "demonstrations", "success", share=True)
    paid = [(p.episodes, p.returned) for p in run.curve if p.returned is not None]
    shown = [
        Point(n, e.value, e.low, e.high, f"{number(n)} demonstrations: {words.amount(e)}, {e.n} episodes")
        for n, e in paid
        if math.isfinite(e.low) and math.isfinite(e.high)
    ]
    return curve(shown, "Return against number of demonstrations", "demonstrations", "return") if shown else None


def learning(run: Run) -> list[tuple[str, Markup]]:
    """(title, chart): loss with validation, then the learning rate and whatever else was logged."""
    keys = [k for line in run.metrics for k in line]
    order = dict.fromkeys(k for k in keys if k not in ("step", "seconds"))
    series = {
        k: (
            [line["step"] for line in run.metrics if k in line],
            [line[k] for line in run.metrics if k in line],
        )
        for k in order
    }
    marker = words.selected(run)
    losses = {k: series.pop(k) for k in ("loss", "validation") if k in series}
    out = []
    if losses:
        out.append(("Loss", lines(losses, "Loss while training", "step", "loss", marker)))
    for key in sorted(series, key=lambda k: k != "learning_rate")[:5]:
        name = key.replace("_", " ")
        out.append((name.capitalize(), lines({"": series[key]}, name.capitalize(), "step", name)))
    return out
