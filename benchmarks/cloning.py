"""What behavioural cloning should be set to: success of variants on two tasks, several seeds each.

    python benchmarks/cloning.py --out benchmarks/results/cloning.json

Every seed has its own demonstrations and its own first weights; all are measured on the same 100 validation
seeds, neither recording seeds nor the seeds that results are reported on. The file is rewritten after
every run, and runs that it holds already are not repeated.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from understudy.agent import Chunked
from understudy.envs import task
from understudy.evaluate import evaluate
from understudy.learn import bc
from understudy.numerics import wilson
from understudy.provenance import provenance
from understudy.record import demonstrate
from understudy.rollout import Workers
from understudy.runs import Network, fit
from understudy.train import Budget

BUDGET = Budget(steps=5000)
CONFIG = bc.Config(decay=BUDGET.steps, weight_decay=1e-3)
VARIANTS: dict[str, dict[str, Any]] = {
    "relu": {"activation": "relu"},
    "gelu": {"activation": "gelu"},
    "silu": {"activation": "silu"},
    "gelu, gaussian": {"activation": "gelu", "head": "gaussian"},
    "gelu, gaussian, spread from the state": {"activation": "gelu", "head": "gaussian", "std": "state"},
    "gelu, mixture": {"activation": "gelu", "head": "mixture"},
    "gelu, noise 0.2 in what is executed": {"activation": "gelu", "noise": 0.2},
}
VALIDATION_SEEDS = range(2_000_000, 2_000_100)


def one(name: str, variant: dict[str, Any], demonstrations: int, seed: int, pool: Workers) -> dict[str, Any]:
    """One run: demonstrations, training, evaluation of the last weights."""
    which, options = task(name), dict(variant)
    first = 10_000 * (seed + 1)
    noise = options.pop("noise", 0.0)
    data = demonstrate(which, range(first, first + demonstrations), noise=noise, workers=pool)
    network = replace(Network(), **options)
    config = replace(CONFIG, seed=seed)
    agent, outcome = fit(data, config=config, network=network, budget=BUDGET, validation=0.1, which=which)
    report = evaluate(Chunked(agent), which.make, VALIDATION_SEEDS, workers=pool)
    won = sum(bool(o.success) for o in report.outcomes)
    return {
        "steps": data.steps,
        "successes": won,
        "return": report.mean_return.value,
        "cpu_seconds": round(outcome.cpu_seconds, 2),
        "loss": outcome.metrics[-1]["loss"],
        "validation": outcome.metrics[-1]["validation"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", default=["fetch-pick-place", "fetch-push"])
    parser.add_argument("--demonstrations", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    console = Console(stderr=True)
    found: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {"runs": {}}
    with Workers(given.workers) as pool:
        for seed in range(given.seeds):
            for name in given.tasks:
                for label, variant in VARIANTS.items():
                    key = f"{name} | {label} | {given.demonstrations} | seed {seed}"
                    if key not in found["runs"]:
                        found["runs"][key] = one(name, variant, given.demonstrations, seed, pool)
                        console.print(key, found["runs"][key]["successes"])
                        write(given.out, found, given)


def write(out: Path, found: dict[str, Any], given: argparse.Namespace) -> None:
    """The runs, and for each variant the share of successes over all its seeds with Wilson's interval."""
    n = len(VALIDATION_SEEDS)
    table: dict[str, Any] = {}
    for name in given.tasks:
        for label in VARIANTS:
            runs = [r for k, r in found["runs"].items() if k.startswith(f"{name} | {label} | ")]
            if runs:
                rate = wilson(sum(r["successes"] for r in runs), n * len(runs)).summary()
                table.setdefault(name, {})[label] = rate | {"by_seed": [r["successes"] / n for r in runs]}
    head = {"benchmark": "cloning", "demonstrations": given.demonstrations, "provenance": provenance()}
    temporary = out.with_suffix(".tmp")
    temporary.write_text(json.dumps(head | {"success": table, "runs": found["runs"]}, indent=1) + "\n")
    temporary.replace(out)


if __name__ == "__main__":
    main()
