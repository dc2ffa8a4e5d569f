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
    return "{} × ({} to {})".format(*(_two(r[k]) for k in ("median", "low", "high")))


def _two(x: float) -> str:
    """Two digits, and never a power of ten."""
    return f"{x:.2g}" if x < 99.5 else f"{float(f'{x:.2g}'):.0f}"
