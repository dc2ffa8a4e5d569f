"""What an inspection of a dataset says: findings, columns, episodes. Plain values for JSON and tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

__all__ = ["SEVERITIES", "Column", "EpisodeQuality", "Finding", "Inspection", "Severity"]

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

    `measures` holds: "return"; "labelled", "paused" and "saturated", shares of its steps in [0, 1].
    "saturated" is missing where actions are discrete, "paused" where there is nothing but images.
    """

    index: int
    steps: int
    success: bool | None
    measures: Mapping[str, float]


@dataclass(frozen=True)
class Inspection:
    """What `inspect` found; `findings` come worst first.

    `facts` counts the values of each fact that episodes carry about where they come from: "task", "operator"
    and "source".
    """

    episodes: tuple[EpisodeQuality, ...]
    steps: int
    labelled: float
    facts: Mapping[str, Mapping[str, int]]
    columns: tuple[Column, ...]
    findings: tuple[Finding, ...]

    def lines(self) -> list[str]:
        """The summary in words, a line each."""
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
            "per_episode": [asdict(e) for e in self.episodes],
        }

    def to_json(self) -> str:
        """`summary` as JSON."""
        return json.dumps(self.summary(), allow_nan=False)
