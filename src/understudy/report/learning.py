"""Learning by acting: return, discriminator, paid reward and entropy against environment steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from understudy.report import words
from understudy.report.charts import Point
from understudy.report.facts import get, number_in, printable, text_in
from understudy.report.folder import Run
from understudy.report.overlay import Level, Series, curve_figure, keys
from understudy.report.rounds import Chart
from understudy.report.svg import number, percent

__all__ = ["Acting", "Said", "acting"]

_MOST = 40  # points of a curve; more are means of stretches
_MOST_FINDINGS = 24
_SEVERITIES = ("error", "warning", "info")


@dataclass(frozen=True)
class Said:
    """A finding in words: how bad, what was seen, and what to try."""

    severity: str
    evidence: str
    advice: str


@dataclass(frozen=True)
class Acting:
    """What the page shows of a run that learned by acting.

    Args:
        summary: how far it came, in a sentence.
        curve: the return; None where nothing was validated.
        charts: what else was told.
        audit: what was seen in the demonstrations, in a sentence.
        findings: what is wrong with the run. marks: what a discriminator could win by in its demonstrations.
        judged: whether anything was diagnosed.
    """

    summary: str
    curve: Chart | None
    charts: Sequence[Chart]
    audit: str
    findings: Sequence[Said]
    marks: Sequence[Said]
    judged: bool


def acting(run: Run) -> Acting | None:
    """What the page shows of a run that learned by acting; None for any other run."""
    if get(run.facts, "online", dict) is None or not run.metrics:
        return None
    told = run.diagnosis
    curve = _return(run, number_in(told, "facts.expert_return", _FILE))
    charts = [c for made in _CHARTS for c in [made(run.metrics)] if c is not None]
    found = _findings(get(told, "findings", list, _FILE) or [])
    marks = _findings(get(told, "audit.findings", list, _FILE) or [])
    mine = {f.evidence for f in found}
    marks = [m for m in marks if not any(m.evidence in e for e in mine)]
    return Acting(_summary(run, told), curve, charts, _audit(told), found, marks, bool(told))


_FILE = "diagnosis.json"


def _findings(listed: Sequence[Any]) -> list[Said]:
    """Findings from a file that nobody vouches for."""
    if len(listed) > _MOST_FINDINGS:
        raise ValueError(f"{_FILE} holds {len(listed)} findings; at most {_MOST_FINDINGS} are shown")
    found = []
    for i, said in enumerate(listed):
        where = f"{_FILE} finding {i}"
        if not isinstance(said, dict):
            raise ValueError(f"{where} is {type(said).__name__}; an object is needed")
        severity, evidence, advice = (
            printable(text_in(said, k, where) or "") for k in ("severity", "evidence", "advice")
        )
        if severity not in _SEVERITIES or not evidence:
            raise ValueError(f"{where} has severity {severity!r} and evidence {evidence!r}")
        found.append(Said(severity, evidence[:1].upper() + evidence[1:], advice))
    return found


def _summary(run: Run, told: Mapping[str, Any]) -> str:
    steps = words.counted(run.metrics[-1]["step"], "environment step")
    share = number_in(told, "standing.share", _FILE)
    if share is None:
        return f"It acted for {steps}."
    way = percent(share) if 0 <= share <= 1 else f"{number(100 * share)}\u202f%"
    return (
        f"In {steps} the mean return came {way} of the way from uniformly random actions to the "
        "demonstrations, averaged over the last third."
    )


def _audit(told: Mapping[str, Any]) -> str:
    halves = get(told, "audit.halves", dict, _FILE)
    if halves is None:
        return ""
    value, low, high = (number_in(halves, k, _FILE) for k in ("value", "low", "high"))
    n = get(halves, "n", int, _FILE)
    if value is None or n is None:
        raise ValueError(f"{_FILE}: audit.halves needs a value and an n")
    ends = "" if low is None or high is None else f" [{_held(low)}, {_held(high)}]"
    return (
        f"A classifier told the first from the second half of the demonstrations in {percent(value)}{ends} "
        f"of the steps of {words.counted(n, 'unseen episode')}, where 50\u202f% is fair."
    )


def _held(share: float) -> str:
    return percent(min(max(share, 0.0), 1.0)).removesuffix("\u202f%")


def _points(metrics: Sequence[Mapping[str, float]], key: str, sign: float = 1.0) -> tuple[Point, ...]:
    """A column against environment steps, thinned to means of equal stretches."""
    told = [(line["step"], sign * line[key]) for line in metrics if key in line]
    stretches = np.array_split(np.array(told), min(len(told), _MOST)) if told else []
    means = [s.mean(0) for s in stretches]
    return tuple(
        Point(float(x), float(y), -math.inf, math.inf, f"step {number(float(x))}: {number(float(y))}")
        for x, y in means
    )


def _chart(
    title: str,
    columns: Mapping[str, str],
    metrics: Sequence[Mapping[str, float]],
    levels: Sequence[Level] = (),
    *,
    share: bool = False,
    log: bool = False,
    shape: str = "",
) -> Chart | None:
    """Columns (key -> name) in one chart; None where none was told."""
    found = {name: _points(metrics, key) for key, name in columns.items()}
    series = [Series(name, points) for name, points in found.items() if points]
    if not series:
        return None
    values = [p.value for s in series for p in s.points]
    wide = 0 < 10 * min(values) <= max(values)  # within a decade a logarithmic axis would have no marks
    drawn = curve_figure(
        series, "environment steps", "", title=title, levels=levels, share=share, log_y=log and wide,
        shape=shape,
    )  # fmt: skip
    return Chart(title, drawn, keys(series, levels) if len(series) > 1 or levels else ())


def _return(run: Run, theirs: float | None) -> Chart | None:
    """The return on validation seeds, with the demonstrators' as a line."""
    points = _points(run.metrics, "validation", -1.0)
    if not points:
        return None
    series = [Series("the policy’s mode", points)]
    levels = (
        [] if theirs is None else [Level(f"the demonstrations: {number(theirs)}", theirs, theirs, theirs)]
    )
    title = "Mean return on the validation seeds"
    drawn = curve_figure(
        series, "environment steps", "", title=title, levels=levels, marker=words.selected(run)
    )
    return Chart(title, drawn, keys(series, levels))


_SIDES = {
    "d_expert": "demonstrations taken for the expert’s",
    "d_held": "held-out ones likewise",
    "d_policy": "the policy’s taken for its own",
}
_PAID = {"reward_expert": "the demonstrations", "reward_policy": "the policy"}

Metrics = Sequence[Mapping[str, float]]
_CHARTS: tuple[Callable[[Metrics], Chart | None], ...] = (
    lambda m: _chart("What the discriminator gets right", _SIDES, m, share=True),
    lambda m: _chart("What a step is paid, on either side", _PAID, m),
    lambda m: _chart("Logits: demonstrations less policy", {"d_gap": ""}, m),
    lambda m: _chart("Entropy of the policy, nats", {"entropy": ""}, m),
    lambda m: _chart("Temperature", {"temperature": ""}, m, log=True),
    lambda m: _chart("The critics’ mean value", {"q": ""}, m),
)
