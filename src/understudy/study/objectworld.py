"""The study `objectworld`: what learned rewards are worth beside cloned policies, here and in changed worlds.

DIR/objectworld.json    every number, with what it rests on
DIR/objectworld.html    the same as a page that opens offline
DIR/pieces/             what has been found so far
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import inf, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from understudy.numerics import Estimate
from understudy.provenance import provenance
from understudy.report.template import save
from understudy.serial import write_json
from understudy.study import objectworld_page
from understudy.study.pieces import Pieces
from understudy.study.recovery import METHODS, WORLDS, Plan, measure, pictured

__all__ = ["FULL", "QUICK", "Objectworld", "study", "summarised", "t_mean"]


FULL = Plan()
QUICK = Plan(size=16, objects=14, demonstrations=(16, 64), seeds=4, decays=(1e-2, 1e-3), steps=12)


@dataclass(frozen=True)
class Objectworld:
    """Deep MaxEnt, linear MaxEnt and cloning on objectworld: value lost, also in new worlds and in wind.

    Example: understudy study objectworld --out objectworld
    """

    out: Path
    """The folder to write. One that holds the pieces of an earlier run is gone on from."""
    full: bool = False
    """32 x 32 cells, 8 worlds and up to 256 demonstrations, half an hour; in place of 16 x 16, 4 and 64."""
    seeds: int | None = None
    """How many worlds; 4, or 8 in full."""
    size: int | None = None
    """Cells a side; 16, or 32 in full."""

    def run(self, console: Console) -> dict[str, Any]:
        """Runs the study and says where the page is."""
        plan = FULL if self.full else QUICK
        changes = {"seeds": self.seeds, "size": self.size}
        given = {k: v for k, v in changes.items() if v is not None}
        return study(self.out, Plan(**{**asdict(plan), **given}), console=console)


def study(out: Path, plan: Plan, *, console: Console | None = None) -> dict[str, Any]:
    """Runs what is missing of the study, and writes the numbers and the page.

    Raises:
        ValueError: when `out` is a file.
    """
    console = console or Console(quiet=True)
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; the study writes a folder")
    began, pieces = time.monotonic(), Pieces(out / "pieces", console)
    same = plan.shared()  # a piece is one seed and one number
    runs = [
        pieces.found(
            f"seed-{seed}-of-{n}", same | {"seed": seed, "n": n}, partial(measure, plan, seed, n)
        )
        for seed in range(plan.seeds)
        for n in plan.demonstrations
    ]  # fmt: skip
    most = max(plan.demonstrations)
    pictures = pieces.found("pictures", same, partial(pictured, plan, 0, most))
    made = provenance()
    result = {
        "study": "objectworld",
        "version": 1,
        "command": made["command"],
        "date": made["date"],
        "plan": asdict(plan),
        "runs": runs,
        **summarised(runs),
        "pictures": pictures,
        "provenance": made,
    }
    write_json(out / "objectworld.json", result)
    save(out / "objectworld.html", objectworld_page.render(result))
    console.print(table(result))
    console.print(f"wrote {out / 'objectworld.html'} in {time.monotonic() - began:.0f} s")
    return {
        "page": str(out / "objectworld.html"),
        "numbers": str(out / "objectworld.json"),
        "differences": {k: v[-1] for k, v in result["differences"].items()},
    }


# ── all runs together ──────────────────────────────────────────────────────────────────────────────────────


def summarised(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over seeds with their intervals, and differences of the same seeds.

    values: method -> world -> one estimate for each number of demonstrations; also what the expert's own
    policy loses in the wind, to which nothing was said, and what a policy of chance loses.
    differences: "WORLD: METHOD" -> deep MaxEnt's loss less the method's, for each number, and in how many
    worlds it is below zero.
    falls: world -> deep MaxEnt's loss with the most demonstrations less that with the fewest.
    """
    numbers = sorted({run["n"] for run in runs})
    by_n = [sorted((r for r in runs if r["n"] == n), key=lambda r: r["seed"]) for n in numbers]

    def lost(method: str, world: str, rows: Sequence[Mapping[str, Any]]) -> list[float]:
        return [row["methods"][method]["lost"][world] for row in rows]

    def less(world: str, method: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        pairs = zip(lost("deep", world, rows), lost(method, world, rows), strict=True)
        apart = [a - b for a, b in pairs]
        return t_mean(apart).summary() | {"wins": sum(d < 0 for d in apart)}

    ends = {w: zip(lost("deep", w, by_n[-1]), lost("deep", w, by_n[0]), strict=False) for w in WORLDS}
    last = by_n[-1]
    return {
        "demonstrations": numbers,
        "values": {
            m: {w: [t_mean(lost(m, w, rows)).summary() for rows in by_n] for w in WORLDS} for m in METHODS
        },
        "unaware": t_mean([row["expert_unaware"] for row in last]).summary(),
        "chance": {w: t_mean([row["chance"][w] for row in last]).summary() for w in WORLDS},
        "differences": {
            f"{w}: {m}": [less(w, m, rows) for rows in by_n] for w in WORLDS for m in METHODS if m != "deep"
        },
        "falls": {w: t_mean([a - b for a, b in pairs]).summary() for w, pairs in ends.items()},
    }


def t_mean(values: Sequence[float], level: float = 0.95) -> Estimate:
    """The mean of independent values with Student's interval, which few seeds need."""
    from scipy.special import stdtrit

    x = np.asarray(values, np.float64)
    n, middle, method = len(x), float(x.mean()), f"t {100 * level:g} %"
    if n < 2:
        return Estimate(middle, -inf, inf, n, method)
    half = float(stdtrit(n - 1, 0.5 + level / 2)) * float(x.std(ddof=1)) / sqrt(n)
    return Estimate(middle, middle - half, middle + half, n, method)


def table(result: Mapping[str, Any]) -> Table:
    """What each method loses with the most demonstrations."""
    made = Table(f"value lost, {result['demonstrations'][-1]} demonstrations", *WORLDS.values(), box=SIMPLE)
    for method, name in METHODS.items():
        cells = [result["values"][method][world][-1] for world in WORLDS]
        made.add_row(name, *(f"{c['value']:.3f} \\[{c['low']:.3f}, {c['high']:.3f}]" for c in cells))
    return made
