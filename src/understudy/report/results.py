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
from understudy.report.strips import known_task
from understudy.report.svg import Axis, number, percent

__all__ = ["Comparison", "Group", "Row", "Table", "comparisons", "curves", "groups", "learning"]

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


@dataclass(frozen=True)
class Group:
    """What was measured on one task: its tables, and on which episodes they rest."""

    task: str
    done: str
    basis: str
    tables: tuple[Table, ...]


def groups(runs: Sequence[Run]) -> list[Group]:
    """Task by task: success, return, distance to the goal, distance off the expert's path, length."""
    members: dict[str, list[Run]] = {}
    for run in runs:
        if run.evaluations:
            members.setdefault(run.task, []).append(run)
    colours = {run.name: f"r{i % _COLOURS}" for i, run in enumerate(runs)} if len(runs) > 1 else {}
    out = []
    for task, those in members.items():
        found = _entries(those, colours)
        which = known_task(task)
        made = [_table(*kind, found) for kind in _QUANTITIES]
        done = "" if which is None else which.success
        out.append(Group(task, done, _basis(found, those), tuple(t for t in made if t is not None)))
    return out


def _basis(entries: Sequence[_Entry], runs: Sequence[Run]) -> str:
    """How many episodes, on which seeds, and whose baselines."""
    lists = {e.report.seeds for e in entries}
    if len(lists) == 1:
        seeds = next(iter(lists))
        fresh = words.counted(len(seeds), "fresh episode")
        text = f"{fresh} each, on the same seeds ({words.seeds_text(seeds)})."
    else:
        text = "Not all were measured on the same seeds: their differences may be those of the seeds."
    if len(runs) > 1 and any(len(r.evaluations) > 1 for r in runs):
        text += " Expert and baselines are those measured with the first run that has them."
    return text + " Whiskers are 95\u202f% intervals."


_QUANTITIES: tuple[tuple[str, str, Callable[[Report], Estimate | None], str], ...] = (
    ("Success", "share of episodes in which the task was done", lambda r: r.success_rate, "share"),
    ("Return", "mean over episodes, undiscounted", lambda r: r.mean_return, ""),
    ("Distance to the goal at the end", "mean over episodes", lambda r: r.goal_distance, "unit"),
    ("Off the expert’s path", "root mean square over an episode; mean", lambda r: r.tracking_rmse, "unit"),
    ("Length", "steps of an episode; mean", lambda r: r.mean_steps, ""),
)


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
    title: str, note: str, of: Callable[[Report], Estimate | None], kind: str, entries: Sequence[_Entry]
) -> Table | None:
    found = [(e, estimate) for e in entries if (estimate := of(e.report)) is not None]
    if not found:
        return None
    share = kind == "share"
    axis, text = _scale([x for _, x in found], share=share)
    marks = [0.0, 0.25, 0.5, 0.75, 1.0] if share else axis.ticks(3)
    rows = []
    for e, x in found:
        says = words.rate(x) if share else words.amount(x)
        label = f"{e.who}: {says}, {x.n} episodes, {x.method}"
        low, high = (v if math.isfinite(v) else x.value for v in (x.low, x.high))
        mark = interval_row(x.value, low, high, axis, marks, kind=e.kind, bar=share, label=label)
        hits = f"{number(round(x.value * x.n))} of {number(x.n)}" if share else f"n = {number(x.n)}"
        rows.append(Row(e.who, e.kind, mark, says, hits))
    unit = next((e.report.unit for e, _ in found if e.report.unit), "") if kind == "unit" else ""
    return Table(title, f"{note}, in {unit}" if unit else note, tuple(rows), axis_row(axis, marks, text))


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
        each = (
            combinations(measured, 2)
            if len(measured) <= _PAIRWISE
            else ((m, measured[0]) for m in measured[1:])
        )
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
        words.p_text(d.p).removeprefix("=\u00a0") if d.p is not None else "–",
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
        return curve(
            shown, "Success against number of demonstrations", "demonstrations", "success", share=True
        )
    paid = [(p.episodes, p.returned) for p in run.curve if p.returned is not None]
    shown = [
        Point(n, e.value, e.low, e.high, f"{number(n)} demonstrations: {words.amount(e)}, {e.n} episodes")
        for n, e in paid
        if math.isfinite(e.low) and math.isfinite(e.high)
    ]
    return (
        curve(shown, "Return against number of demonstrations", "demonstrations", "return") if shown else None
    )


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
    names: tuple[str, ...] = ("loss", "validation")
    losses = {k: series.pop(k) for k in names if k in series}
    out = []
    if losses:
        out.append(("Loss", lines(losses, "Loss while training", "step", marker, spread=True)))
    for key in sorted(series, key=lambda k: k != "learning_rate")[:5]:
        name = key.replace("_", " ")
        out.append((name.capitalize(), lines({"": series[key]}, name.capitalize(), "step")))
    return out
