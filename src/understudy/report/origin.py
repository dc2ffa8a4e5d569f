"""What it was learned from, and where every number comes from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from understudy.dataset import Dataset
from understudy.report import words
from understudy.report.facts import get, number_in, printable, text_in
from understudy.report.folder import Run
from understudy.report.motion import outcome
from understudy.report.spreads import histogram
from understudy.report.svg import number, percent

__all__ = ["Data", "data", "provenance_rows", "settings"]

_DIMENSIONS = 12  # of the action that are drawn
_SAMPLES = 200_000  # actions that a histogram is made of
_LABELS = {
    "cpu": "processor",
    "cores": "cores",
    "memory": "memory",
    "python": "Python",
    "revision": "revision",
}


@dataclass(frozen=True)
class Data:
    """What the section on the demonstrations shows of one run."""

    rows: tuple[tuple[str, str], ...]
    lengths: Markup | None
    actions: tuple[Markup, ...]
    width: int


def data(run: Run) -> Data:
    """What run.json says of the demonstrations, and their distributions where they are at hand."""
    about = [
        ("episodes", _count(run, "data.episodes")),
        ("steps", _count(run, "data.steps")),
        ("successes", "" if (s := number_in(run.facts, "data.success")) is None else percent(s)),
        ("fingerprint (SHA-256)", text_in(run.facts, "data.fingerprint") or ""),
    ]
    if held := number_in(run.facts, "validation"):
        about.append(("held out for validation", f"{percent(held)} of the episodes"))
    demos = run.demos
    if demos is None:
        return Data(tuple((k, v) for k, v in about if v), None, (), 0)
    about += _meta(demos)
    labelled, differ = _labels(demos)
    if labelled < 1:
        about.append(("steps with an expert’s label", percent(labelled)))
    if differ > 0:
        about.append(("steps in which something else was executed than the label says", percent(differ)))
    groups: dict[str, list[float]] = {}
    for length, won in zip(demos.lengths, demos.successes, strict=True):
        groups.setdefault({"rollout": "demo"}.get(outcome(won), outcome(won)), []).append(float(length))
    kinds: tuple[str, ...] = ("success", "demo", "failure")
    ordered = {k: groups[k] for k in kinds if k in groups}
    lengths = histogram(ordered, "Lengths of the demonstrations", "steps of an episode", whole=True)
    return Data(tuple((k, v) for k, v in about if v), lengths, _actions(demos), demos[0].action.shape[1])


def _count(run: Run, path: str) -> str:
    found = number_in(run.facts, path)
    return "" if found is None else number(found)


def _meta(demos: Dataset) -> list[tuple[str, str]]:
    """Who and what was recorded, where the episodes say so."""
    out = []
    metas = demos.facts
    for key in ("task", "operator", "source", "noise"):
        found = Counter(str(m[key]) for m in metas if m.get(key) not in (None, ""))
        if found:
            top = [
                f"{printable(k)} ({n})" if len(found) > 1 else printable(k) for k, n in found.most_common(6)
            ]
            out.append((key, ", ".join(top) + (", …" if len(found) > 6 else "")))
    seeds = [m["seed"] for m in metas if isinstance(m.get("seed"), int)]
    if seeds:
        out.append(("seeds", words.seeds_text([int(s) for s in seeds])))
    return out


def _labels(demos: Dataset) -> tuple[float, float]:
    """The share of steps that are labelled, and of those the share whose executed action differs."""
    labelled = differ = 0
    for e in demos:
        labelled += int(e.labelled.sum())
        if e.label is not e.action:
            differ += int((e.labelled & (e.label != e.action).any(1)).sum())
    return labelled / max(demos.steps, 1), differ / max(labelled, 1)


def _actions(demos: Dataset) -> tuple[Markup, ...]:
    """One small histogram a dimension of what the expert says."""
    width = demos[0].action.shape[1]
    stride = max(1, demos.steps // _SAMPLES)
    rows = np.concatenate([chunk[::stride] for chunk in demos.chunks("label")])
    discrete = rows.dtype == np.int64
    name = "choice" if discrete else "action"
    labels = [f"{name} {d}" if width > 1 else name for d in range(min(width, _DIMENSIONS))]
    return tuple(
        histogram({"demo": rows[:, d]}, label, label, bins=28, whole=discrete)
        for d, label in enumerate(labels)
    )


def provenance_rows(run: Run) -> list[tuple[str, str]]:
    """Where the run and its evaluation come from, line by line."""
    made = get(run.facts, "provenance", dict) or {}
    measured: Mapping[str, Any] = run.policy.provenance if run.policy else {}
    rows = [("trained with", _text(made.get("command"))), ("trained on", _text(made.get("date")))]
    if seconds := number_in(run.facts, "seconds"):
        cpu = number_in(run.facts, "cpu_seconds")
        rows.append(
            (
                "training took",
                words.duration(seconds) + (f" ({words.duration(cpu)} of processor time)" if cpu else ""),
            )
        )
    if run.policy is not None:
        rows.append(("measured with", _text(measured.get("command"))))
        rows.append(("measured on", _text(measured.get("date"))))
        rows.append(
            ("seeds measured", f"{words.seeds_text(run.policy.seeds)} ({len(run.policy.seeds)} episodes)")
        )
        total = sum(r.seconds for r in run.evaluations.values())
        rows.append(
            (
                "measuring took",
                f"{words.duration(total)}, {words.counted(len(run.evaluations), 'policy', 'policies')}",
            )
        )
    for key in ("revision", "system", "cpu", "cores", "memory", "python"):
        text = _text(made.get(key, measured.get(key)))
        rows.append((_LABELS.get(key, key), f"{text} GiB" if key == "memory" and text else text))
    versions = made.get("versions", measured.get("versions"))
    if isinstance(versions, dict):
        rows.append(("versions", ", ".join(f"{_text(k)} {_text(v)}" for k, v in versions.items())))
    rows.append(("data fingerprint", text_in(run.facts, "data.fingerprint") or ""))
    return [(k, v) for k, v in rows if v]


def _text(value: object) -> str:
    if value is None or isinstance(value, dict | list):
        return ""
    return printable(number(value)) if isinstance(value, float) else printable(str(value))


def settings(run: Run) -> str:
    """Everything that was chosen, as JSON to copy."""
    chosen = {
        k: run.facts[k]
        for k in ("algorithm", "config", "network", "augment", "budget", "validation", "agent")
        if k in run.facts
    }
    try:
        text = json.dumps(chosen, indent=2, ensure_ascii=False)
    except RecursionError:
        return ""
    return "".join(c if c.isprintable() or c == "\n" else "�" for c in text[:20_000])
