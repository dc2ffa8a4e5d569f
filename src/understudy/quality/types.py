"""What an inspection of a dataset says: findings, columns, episodes. Plain values for JSON and tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from understudy.numerics import Estimate

__all__ = ["SEVERITIES", "Column", "EpisodeQuality", "Finding", "Inspection", "Severity", "Worst"]

Severity: TypeAlias = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")  # worst first


@dataclass(frozen=True)
class Finding:
    """Something to know about the data: `kind` names it for programs, `episodes` are those it is about."""

    severity: Severity
    kind: str
    evidence: str
    advice: str
    episodes: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.severity}: {self.evidence}. {self.advice}."


@dataclass(frozen=True)
class Column:
    """One dimension of an observation or action over all episodes; an image is one column, over its pixels.

    `remark` says in words what is noteworthy about it, and is empty otherwise.
    """

    name: str
    low: float
    high: float
    mean: float
    std: float
    remark: str = ""


@dataclass(frozen=True)
class EpisodeQuality:
    """One episode: its outcome and what was measured on it.

    `measures` are those of `quality.MEASURES` that apply: none of time where nobody measured it, none of
    states where there is nothing but images, none of a comparison with others where there are too few.
    """

    index: int
    steps: int
    success: bool | None
    measures: Mapping[str, float]


@dataclass(frozen=True)
class Worst:
    """An episode to look at first: how far it is from the others, and in what, the gravest reason first."""

    index: int
    score: float
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return f"episode {self.index}: {'; '.join(self.reasons)}"


@dataclass(frozen=True)
class Inspection:
    """What `inspect` found; `findings` come worst first.

    `facts` counts the values of each fact that episodes carry about where they come from: "task", "operator"
    and "source". `worst` ranks the episodes that stand out, the one to look at first coming first.
    `operators` has, for each of two or more who recorded five episodes and more, "success", "length" and
    "jerk" with their intervals, as far as they are known.
    """

    episodes: tuple[EpisodeQuality, ...]
    steps: int
    labelled: float
    facts: Mapping[str, Mapping[str, int]]
    columns: tuple[Column, ...]
    findings: tuple[Finding, ...]
    worst: tuple[Worst, ...] = ()
    operators: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)

    def lines(self, *, worst: bool = True) -> list[str]:
        """The summary in words, a line each; with `worst`, the last one says what to look at first."""
        lengths = [e.steps for e in self.episodes]
        known = [e.success for e in self.episodes if e.success is not None]
        few, middle, many = min(lengths), float(np.median(lengths)), max(lengths)
        lines = [
            f"{len(lengths)} episodes, {self.steps} steps: {few} to {many} steps each, median {middle:g}",
            f"success: {sum(known)} of the {len(known)} episodes that say"
            if known
            else "success: not recorded",
            f"labelled: {self.labelled:.1%} of the steps",
        ]
        for fact, counts in self.facts.items():
            shown = [f"{value} ({n})" for value, n in list(counts.items())[:6]]
            lines.append(f"{fact}: {', '.join(shown)}{', …' if len(counts) > 6 else ''}")
        for name, measured in self.operators.items():
            shown = [f"{what} {value}" for what, value in measured.items()]
            lines.append(f"operator {name}: {', '.join(shown)}")
        if worst and self.worst:
            lines.append(f"to look at first: {'; '.join(map(str, self.worst[:3]))}")
        return lines

    def rows(self) -> list[tuple[str, str, str, str, str, str]]:
        """A table of the columns: name, min, mean, max, std, remark."""
        numbers = ((c, [f"{x:.4g}" for x in (c.low, c.mean, c.high, c.std)]) for c in self.columns)
        return [(c.name, a, b, d, e, c.remark) for c, (a, b, d, e) in numbers]

    def summary(self) -> dict[str, Any]:
        """All of it as plain values, for JSON."""
        lengths = [e.steps for e in self.episodes]
        known = [e.success for e in self.episodes if e.success is not None]
        return {
            "episodes": len(lengths),
            "steps": self.steps,
            "lengths": {"min": min(lengths), "median": float(np.median(lengths)), "max": max(lengths)},
            "success": {"known": len(known), "share": sum(known) / len(known) if known else None},
            "labelled": self.labelled,
            "facts": {k: dict(v) for k, v in self.facts.items()},
            "columns": [asdict(c) for c in self.columns],
            "findings": [asdict(f) for f in self.findings],
            "worst": [asdict(w) for w in self.worst],
            "operators": {
                k: {what: value.summary() for what, value in m.items()} for k, m in self.operators.items()
            },
            "per_episode": [asdict(e) for e in self.episodes],
        }

    def to_json(self) -> str:
        """`summary` as JSON."""
        return json.dumps(self.summary(), allow_nan=False)
