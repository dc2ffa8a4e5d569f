"""Whether augmentation helps cloning where demonstrations are few: success with and without, paired by seed.

    python benchmarks/augmentation.py --out benchmarks/results/augmentation.json

Every seed has its own demonstrations and its own first weights, the same for each variant; all are measured
on the same 100 validation seeds, neither recording seeds nor the seeds that results are reported on. The file
is rewritten after every run, and runs that it holds already are not repeated.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from understudy.agent import Chunked
from understudy.augment import Wish
from understudy.envs import task
from understudy.evaluate import evaluate
from understudy.learn import bc
from understudy.numerics import tango, wilson
from understudy.provenance import provenance
from understudy.record import demonstrate
from understudy.rollout import Workers
from understudy.runs import Network, fit
from understudy.train import Budget

BUDGET = Budget(steps=5000)
CONFIG = bc.Config(decay=BUDGET.steps, weight_decay=1e-3)
VARIANTS: dict[str, tuple[str, ...]] = {
    "none": (),
    "mirror": ("mirror",),
    "noise 0.02": ("noise:0.02",),
    "mirror, noise 0.02": ("mirror", "noise:0.02"),
}
VALIDATION_SEEDS = range(2_000_000, 2_000_100)


def one(name: str, words: tuple[str, ...], demonstrations: int, seed: int, pool: Workers) -> dict[str, Any]:
    """One run: demonstrations, training, evaluation of the last weights."""
    which = task(name)
    first = 10_000 * (seed + 1)
    data = demonstrate(which, range(first, first + demonstrations), noise=0.0, workers=pool)
    agent, outcome = fit(
        data,
        config=replace(CONFIG, seed=seed),
        network=Network(),
        budget=BUDGET,
        validation=0.1,
        which=which,
        augment=tuple(map(Wish.parse, words)),
    )
    report = evaluate(Chunked(agent), which.make, VALIDATION_SEEDS, workers=pool)
    return {
        "steps": data.steps,
        "won": "".join("1" if bool(o.success) else "0" for o in report.outcomes),
        "cpu_seconds": round(outcome.cpu_seconds, 2),
        "loss": outcome.metrics[-1]["loss"],
        "validation": outcome.metrics[-1]["validation"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", default=["fetch-push", "fetch-pick-place"])
    parser.add_argument("--demonstrations", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    console = Console(stderr=True)
    found: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {"runs": {}}
    with Workers(given.workers) as pool:
        for seed in range(given.seeds):
            for name in given.tasks:
                for label, words in VARIANTS.items():
                    key = f"{name} | {label} | {given.demonstrations} | seed {seed}"
                    if key not in found["runs"]:
                        found["runs"][key] = one(name, words, given.demonstrations, seed, pool)
                        console.print(key, found["runs"][key]["won"].count("1"))
                        write(given.out, found, given)


def write(out: Path, found: dict[str, Any], given: argparse.Namespace) -> None:
    """The runs, and for each variant its share of successes and the paired difference to no augmentation.

    The intervals are over episodes: with so few training seeds, look at `by_seed` for how much those matter.
    """
    table: dict[str, Any] = {}
    for name in given.tasks:
        won: dict[str, list[str]] = {}
        for label in VARIANTS:
            keys = [f"{name} | {label} | {given.demonstrations} | seed {s}" for s in range(given.seeds)]
            won[label] = [found["runs"][k]["won"] for k in keys if k in found["runs"]]
        for label, each in won.items():
            if not each:
                continue
            words = "".join(each)
            rate = wilson(words.count("1"), len(words)).summary()
            row = rate | {"by_seed": [w.count("1") / len(w) for w in each]}
            plain = "".join(won["none"][: len(each)])
            if label != "none" and len(plain) == len(words):
                pairs = list(zip(words, plain, strict=True))
                row["against_none"] = tango(
                    pairs.count(("1", "0")), pairs.count(("0", "1")), len(pairs)
                ).summary()
            table.setdefault(name, {})[label] = row
    head = {"benchmark": "augmentation", "demonstrations": given.demonstrations, "provenance": provenance()}
    temporary = out.with_suffix(".tmp")
    temporary.write_text(json.dumps(head | {"success": table, "runs": found["runs"]}, indent=1) + "\n")
    temporary.replace(out)


if __name__ == "__main__":
    main()
