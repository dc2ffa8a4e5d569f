"""The study `compounding`: how costs grow with the horizon, for cloning and for DAgger.

DIR/compounding.json    every number, with what it rests on
DIR/compounding.html    the same as a page that opens offline
DIR/pieces/             what has been found so far
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from understudy.provenance import provenance
from understudy.report.template import save
from understudy.rollout import Workers
from understudy.serial import write_json
from understudy.study import costs, page, relays
from understudy.study.costs import Control, Networks, Tables
from understudy.study.pieces import Pieces
from understudy.study.relays import Relays

__all__ = ["FULL", "QUICK", "Compounding", "Plan", "compounding"]


@dataclass(frozen=True)
class Plan:
    """What the study does."""

    tables: Tables = field(default_factory=Tables)
    networks: Networks = field(default_factory=Networks)
    control: Control = field(default_factory=Control)
    relays: tuple[Relays, ...] = (Relays(), Relays("fetch-pick-place", demonstrations=10))


FULL = Plan()
QUICK = Plan(
    Tables(learners=100, measured=100),
    Networks(horizons=(16, 64), seeds=1, rounds=3, states=1280, measured=1000, steps=400),
    Control(shared=1000, per_step=40),
    (Relays(demonstrations=10, rounds=2, validation=5, measured=20, seeds=1, steps=1500),),
)


@dataclass(frozen=True)
class Compounding:
    """Cloning pays T² for its errors and DAgger T: measured, beside the exact curves, and on a real task.

    Example: understudy study compounding --out compounding
    """

    out: Path
    """The folder to write. One that holds the pieces of an earlier run is gone on from."""
    quick: bool = False
    """Fewer learners, seeds and episodes: a minute and a half on two cores in place of some ten minutes."""
    workers: int = 2
    """Processes for simulation; the numbers do not depend on it."""

    def run(self, console: Console) -> dict[str, Any]:
        """Runs the study and says where the page is."""
        return compounding(self.out, QUICK if self.quick else FULL, workers=self.workers, console=console)


def compounding(
    out: Path, plan: Plan = FULL, *, workers: int = 2, console: Console | None = None
) -> dict[str, Any]:
    """Runs what is missing of the study, and writes the numbers and the page.

    Raises:
        ValueError: when `out` is a file.
    """
    console = console or Console(quiet=True)
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; the study writes a folder")
    began = time.monotonic()
    pieces = Pieces(out / "pieces", console)
    with Workers(workers) as pool:
        found = _measure(plan, pieces, pool)
    made = provenance()
    result = {
        "study": "compounding",
        "version": 1,
        "command": made["command"],
        "date": made["date"],
        "quick": plan == QUICK,
        "plan": asdict(plan),
        **found,
        "provenance": made,
    }
    write_json(out / "compounding.json", result)
    save(out / "compounding.html", page.render(result))
    console.print(summary(result))
    console.print(f"wrote {out / 'compounding.html'} in {time.monotonic() - began:.0f} s")
    return {
        "page": str(out / "compounding.html"),
        "numbers": str(out / "compounding.json"),
        "slopes": {k: found[k]["slopes"] for k in ("tables", "networks", "control")},
    }


def _measure(plan: Plan, pieces: Pieces, pool: Workers) -> dict[str, Any]:
    """All four parts, piece by piece."""
    tables = pieces.found("tables", asdict(plan.tables), lambda: costs.tables(plan.tables))
    control = pieces.found("control", asdict(plan.control), lambda: costs.control(plan.control))
    networks: dict[int, Mapping[str, Any]] = {}
    same = asdict(plan.networks) | {"horizons": None}  # a piece is one horizon, whatever the others are
    for t in plan.networks.horizons:
        networks[t] = pieces.found(
            f"networks-{t}",
            same | {"horizon": t},
            lambda t=t: costs.networks(plan.networks, t, pool),  # type: ignore[misc]
        )
    return {
        "tables": tables,
        "networks": costs.networks_report(plan.networks, networks),
        "control": control,
        "relays": [_relays(one, pieces, pool) for one in plan.relays],
    }


def _relays(plan: Relays, pieces: Pieces, pool: Workers) -> dict[str, Any]:
    """One task's relays, a piece each training run."""
    label = "-".join(map(str, ("relay", plan.task, *plan.hidden)))
    runs = [
        pieces.found(
            f"{label}-seed-{seed}",
            asdict(plan) | {"seeds": None, "seed": seed},
            lambda seed=seed: relays.run_relay(plan, seed, pool),  # type: ignore[misc]
        )
        for seed in range(plan.seeds)
    ]
    return relays.relays_report(plan, runs)


def summary(result: Mapping[str, Any]) -> Table:
    """The slopes, and how the relays went."""
    table = Table("what", "slope of log cost on log T", "theory", box=SIMPLE)
    names = {
        "tables": {"bc": "cloning, tables", "dagger": "DAgger, tables"},
        "networks": {"bc": "cloning, networks", "dagger": "DAgger, networks"},
        "control": {"shared": "no blanks, one table", "per_step": "no blanks, a table a step"},
    }
    for part, methods in names.items():
        for key, name in methods.items():
            s = result[part]["slopes"][key]
            table.add_row(name, f"{s['value']:.3f} \\[{s['low']:.3f}, {s['high']:.3f}]", f"{s['theory']:.3f}")
    for one, asked in zip(result["relays"], result["plan"]["relays"], strict=True):
        for key, found in one["methods"].items():
            rates = ", ".join(f"{row['value']:.2f}" for row in found["in_a_row"])
            units = "×".join(map(str, asked["hidden"]))
            table.add_row(f"{asked['task']}, {units} units, {key}", f"goals in a row: {rates}", "")
    return table
