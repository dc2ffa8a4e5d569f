"""Learning in rounds with an expert at hand: what it came to for what it cost, round by round."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from understudy.numerics import Estimate
from understudy.report import words
from understudy.report.charts import Point
from understudy.report.facts import get
from understudy.report.folder import Run
from understudy.report.overlay import Level, Series, curve_figure, keys
from understudy.report.roundlog import Round, read
from understudy.report.svg import number, percent, ticks

__all__ = ["Chart", "Teaching", "against_labels", "teaching"]

Key = tuple[str, str]


@dataclass(frozen=True)
class Chart:
    """A small chart, and what is what in it."""

    title: str
    drawn: Markup
    keys: Sequence[Key]


@dataclass(frozen=True)
class Teaching:
    """What the page shows of the rounds of one run.

    Args:
        curve: success, or return, against labelled states; None where nothing was measured.
        table: (its heads, its rows) of everything.
    """

    summary: str
    curve: Chart | None
    charts: Sequence[Chart]
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


def teaching(run: Run) -> Teaching | None:
    """What the page shows of a run's rounds; None where it was not taught in rounds."""
    rounds = read(run.rounds)
    if not rounds:
        return None
    kept = get(run.facts, "interactive.selected_round", int)
    heads, rows = _table(rounds)
    curve = against_labels([("", rounds)], expert=_expert(run), kept=kept)
    return Teaching(_summary(rounds, kept), curve, _charts(rounds), heads, rows)


def _expert(run: Run) -> tuple[Estimate | None, Estimate | None]:
    """(success, return) of the expert alone, where he was measured."""
    report = run.evaluations.get("expert")
    return (None, None) if report is None else (report.success_rate, report.mean_return)


def _summary(rounds: Sequence[Round], kept: int | None) -> str:
    last, first = rounds[-1], rounds[0]
    said = f"In {words.counted(last.number, 'round')} the expert labelled "
    said += words.counted(last.labelled - first.labelled, "state")
    said += f", after {words.counted(first.labelled, 'state')} of demonstrations." if first.labelled else "."
    if kept is None or not 0 <= kept < len(rounds):
        return said
    chosen = rounds[kept]
    done = _measured(chosen)
    what = f": {done}" if done else ""
    cost = words.counted(chosen.labelled, "labelled state")
    return f"{said} The policy after round {kept} was kept{what}, from {cost}."


def _measured(r: Round) -> str:
    if r.success is not None:
        return f"success {words.rate(r.success)}"
    return "" if r.returned is None else f"mean return {words.amount(r.returned)}"


def against_labels(
    runs: Sequence[tuple[str, Sequence[Round]]],
    *,
    expert: tuple[Estimate | None, Estimate | None] = (None, None),
    kept: int | None = None,
) -> Chart | None:
    """Success against labelled states, which is the cost that counts; return where no success is known.

    Args:
        runs: (name, rounds); the name may be empty where there is one only.
        expert: (success, return) of the expert.
        kept: the round whose policy was kept, of the first run.

    Returns:
        None where no round was measured.
    """
    share = any(r.success is not None for _, rounds in runs for r in rounds)
    series = [Series(name, found) for name, rounds in runs if (found := _points(rounds, share))]
    if not series:
        return None
    level = expert[0] if share else expert[1]
    levels = (
        []
        if level is None
        else [Level(f"the expert: {_said(level, share)}", level.value, level.low, level.high)]
    )
    marker = None
    if kept is not None and 0 <= kept < len(runs[0][1]):
        marker = (float(runs[0][1][kept].labelled), f"kept: round {kept}")
    name = "Success" if share else "Return"
    title = f"{name} against labelled states"
    drawn = curve_figure(
        series, "labelled states", "", title=title, levels=levels, share=share, marker=marker
    )
    return Chart(title, drawn, keys(series, levels))


def _said(e: Estimate, share: bool) -> str:
    return words.rate(e) if share else words.amount(e)


def _points(rounds: Sequence[Round], share: bool) -> tuple[Point, ...]:
    measured = [(r, r.success if share else r.returned) for r in rounds]
    return tuple(
        Point(
            r.labelled, e.value, e.low, e.high,
            f"round {r.number}, {words.counted(r.labelled, 'labelled state')}: {_said(e, share)}, "
            f"{words.counted(e.n, 'episode')}",
        )
        for r, e in measured if e is not None
    )  # fmt: skip


# What is drawn under the curve: its title, the names of its values, whether it is a share.
_DRAWN: tuple[tuple[str, Mapping[str, str], bool], ...] = (
    (
        "Interventions and switches",
        {"interventions": "interventions", "context_switches": "context switches"},
        False,
    ),
    ("Share of states supervised", {"share": ""}, True),
    ("Mean length of an intervention, steps", {"mean_length": ""}, False),
    ("Supervisor effort, steps", {"effort": ""}, False),
)
_NOTES: tuple[tuple[str, Mapping[str, str], bool], ...] = (
    ("Doubt and its threshold", {"doubt": "mean doubt", "tau": "threshold τ", "chi": "threshold χ"}, False),
    ("Threshold of discrepancy", {"threshold": ""}, False),
    ("Share of states judged unsafe", {"unsafe": ""}, True),
    ("β: the expert’s probability of driving", {"beta": ""}, True),
)


def _charts(rounds: Sequence[Round]) -> list[Chart]:
    """How it was supervised, and what the method noted, each over the rounds."""
    out = [_over("Labelled in the round", {"": [(r.number, float(r.new)) for r in rounds[1:]]})]
    out += [_named(rounds, lambda r: r.supervision, *each) for each in _DRAWN]
    failures = [(r.number, r.failures) for r in rounds if r.failures is not None]
    out.append(_failures(failures))
    out += [_named(rounds, lambda r: r.noted, *each) for each in _NOTES]
    known = {name for _, names, _ in _NOTES for name in names}
    for name in dict.fromkeys(k for r in rounds for k in r.noted if k not in known):
        title = name.replace("_", " ")
        out.append(_named(rounds, lambda r: r.noted, title[:1].upper() + title[1:], {name: ""}, False))
    return [chart for chart in out if chart is not None]


def _named(
    rounds: Sequence[Round],
    part: Callable[[Round], Mapping[str, float]],
    title: str,
    names: Mapping[str, str],
    share: bool,
) -> Chart | None:
    each = {says: [(r.number, part(r)[k]) for r in rounds if k in part(r)] for k, says in names.items()}
    return _over(title, each, share=share)


def _over(
    title: str, values: Mapping[str, Sequence[tuple[int, float]]], *, share: bool = False
) -> Chart | None:
    """Values over rounds; None where there are none, or all of them are zero."""
    text = percent if share else number
    series = [
        Series(name, tuple(Point(i, v, v, v, f"round {i}: {text(v)}") for i, v in found))
        for name, found in values.items()
        if found
    ]
    flat = [p.value for s in series for p in s.points]
    if not any(flat):
        return None
    places = [p.x for s in series for p in s.points]
    drawn = curve_figure(
        series, "round", "", title=title, shape="low", x_marks=_whole(places),
        share=share and 0 <= min(flat) <= max(flat) <= 1, from_zero=min(flat) >= 0,
    )  # fmt: skip
    return Chart(title, drawn, keys(series))


def _failures(found: Sequence[tuple[int, Estimate]]) -> Chart | None:
    """Failures in a hundred episodes while the expert stood by."""
    if not any(e.value for _, e in found):
        return None
    points = tuple(
        Point(i, e.value, e.low, e.high, f"round {i}: {words.amount(e)} of {e.n} episodes") for i, e in found
    )
    title = "Failures in a hundred episodes, supervised"
    drawn = curve_figure(
        [Series("", points)], "round", "", title=title, from_zero=True, shape="low",
        x_marks=_whole([p.x for p in points]),
    )  # fmt: skip
    return Chart(title, drawn, ())


def _whole(rounds: Sequence[float]) -> list[float]:
    """Where to label an axis of rounds: there is nothing between two of them."""
    return [mark for mark in ticks(min(rounds), max(rounds)) if mark == round(mark)]


_COLUMNS: tuple[tuple[str, str], ...] = (
    ("episodes", "episodes"),
    ("steps", "steps"),
    ("interventions", "interven\u00adtions"),
    ("mean_length", "mean length"),
    ("context_switches", "context switches"),
    ("share", "share held"),
    ("recovery", "on the way back"),
    ("effort", "effort"),
)


def _table(rounds: Sequence[Round]) -> tuple[list[str], list[list[str]]]:
    """Everything the log says; a column in which nothing stands is left out."""
    columns: list[tuple[str, Callable[[Round], str]]] = [
        ("round", lambda r: str(r.number)),
        ("labelled so far", lambda r: number(r.labelled, 9)),
        ("in this round", lambda r: number(r.new, 9) if r.number or r.new else ""),
        ("success", lambda r: "" if r.success is None else words.rate(r.success)),
        ("return", lambda r: "" if r.returned is None else words.amount(r.returned)),
    ]
    columns += [(head, _cell(name)) for name, head in _COLUMNS]
    columns += [
        ("failures in 100", lambda r: "" if r.failures is None else words.amount(r.failures)),
        ("loss", lambda r: "" if r.loss is None else number(r.loss)),
        ("training, CPU s", lambda r: "" if r.cpu_seconds is None else number(r.cpu_seconds)),
    ]
    notes = dict.fromkeys(k for r in rounds for k in r.noted)
    columns += [(name.replace("_", " "), _note(name)) for name in notes]
    kept = [(head, cells) for head, of in columns if any(cells := [of(r) for r in rounds])]
    return [head for head, _ in kept], [[cells[i] or "–" for _, cells in kept] for i in range(len(rounds))]


def _cell(name: str) -> Callable[[Round], str]:
    def text(r: Round) -> str:
        value = r.supervision.get(name, math.nan)
        if math.isnan(value) or (name == "recovery" and not value):
            return ""
        return percent(value) if name == "share" and 0 <= value <= 1 else number(value)

    return text


def _note(name: str) -> Callable[[Round], str]:
    return lambda r: number(r.noted[name]) if name in r.noted else ""
