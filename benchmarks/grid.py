"""Studies of variants: tasks × variants × seeds, run by run, kept in a file that can be gone on from."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from understudy.agent import Chunked
from understudy.augment import Wish
from understudy.envs import task
from understudy.evaluate import Report, evaluate
from understudy.learn import bc
from understudy.provenance import provenance
from understudy.record import demonstrate
from understudy.rollout import Workers
from understudy.runs import Network, fit
from understudy.train import Budget

__all__ = ["VALIDATION_SEEDS", "clone", "study"]

BUDGET = Budget(steps=5000)
CONFIG = bc.Config(decay=BUDGET.steps, weight_decay=1e-3)
NETWORK = Network()
VALIDATION_SEEDS = range(2_000_000, 2_000_100)


def clone(
    name: str,
    demonstrations: int,
    seed: int,
    pool: Workers,
    *,
    network: Network = NETWORK,
    noise: float = 0.0,
    augment: Iterable[str] = (),
) -> tuple[dict[str, Any], Report]:
    """One run: demonstrations of this seed, training, evaluation of the last weights; what is noted."""
    which = task(name)
    first = 10_000 * (seed + 1)
    data = demonstrate(which, range(first, first + demonstrations), noise=noise, workers=pool)
    agent, outcome = fit(
        data,
        config=replace(CONFIG, seed=seed),
        network=network,
        budget=BUDGET,
        validation=0.1,
        which=which,
        augment=tuple(map(Wish.parse, augment)),
    )
    noted = {
        "steps": data.steps,
        "cpu_seconds": round(outcome.cpu_seconds, 2),
        "loss": outcome.metrics[-1]["loss"],
        "validation": outcome.metrics[-1]["validation"],
    }
    return noted, evaluate(Chunked(agent), which.make, VALIDATION_SEEDS, workers=pool)


def study(
    name: str,
    doc: str,
    variants: Mapping[str, Any],
    one: Callable[[str, Any, int, int, Workers], dict[str, Any]],
    table: Callable[[Mapping[str, Any], argparse.Namespace], dict[str, Any]],
    *,
    tasks: tuple[str, ...],
    demonstrations: int,
) -> None:
    """Runs what the file named on the command line lacks, and rewrites it after every run.

    Args:
        one: task, variant, demonstrations, seed, processes -> what one run found.
        table: runs, arguments -> task -> variant -> what all its runs found together.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", default=list(tasks))
    parser.add_argument("--demonstrations", type=int, default=demonstrations)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    console = Console(stderr=True)
    runs: dict[str, Any] = json.loads(given.out.read_text())["runs"] if given.out.exists() else {}
    with Workers(given.workers) as pool:
        for seed in range(given.seeds):
            for which in given.tasks:
                for label, variant in variants.items():
                    key = f"{which} | {label} | {given.demonstrations} | seed {seed}"
                    if key not in runs:
                        runs[key] = one(which, variant, given.demonstrations, seed, pool)
                        console.print(key, runs[key])
                        head = {"benchmark": name, "demonstrations": given.demonstrations}
                        head |= {"provenance": provenance(), "success": table(runs, given), "runs": runs}
                        temporary = given.out.with_suffix(".tmp")
                        temporary.write_text(json.dumps(head, indent=1) + "\n")
                        temporary.replace(given.out)
