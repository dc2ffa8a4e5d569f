"""What the tables of the pages share: committed results, and how figures are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["REPO", "interval", "load", "ratio"]

REPO = Path(__file__).parents[1]
RESULTS = REPO / "benchmarks" / "results"


def load(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return value


def interval(e: dict[str, Any], places: int) -> str:
    return f"{e['value']:.{places}f} [{e['low']:.{places}f}, {e['high']:.{places}f}]"


def ratio(r: dict[str, Any]) -> str:
    return f"{r['median']:.2g} × ({r['low']:.2g} to {r['high']:.2g})"
