"""What behavioural cloning should be set to: success of variants on two tasks, several seeds each.

    python benchmarks/cloning.py --out benchmarks/results/cloning.json

Every seed has its own demonstrations and its own first weights; all are measured on the same 100 validation
seeds, neither recording seeds nor the seeds that results are reported on. The file is rewritten after
every run, and runs that it holds already are not repeated.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from grid import VALIDATION_SEEDS, clone, study
from understudy.numerics import wilson
from understudy.rollout import Workers
from understudy.runs import Network

VARIANTS: dict[str, dict[str, Any]] = {
    "relu": {"activation": "relu"},
    "gelu": {"activation": "gelu"},
    "silu": {"activation": "silu"},
    "gelu, gaussian": {"activation": "gelu", "head": "gaussian"},
    "gelu, gaussian, spread from the state": {"activation": "gelu", "head": "gaussian", "std": "state"},
    "gelu, mixture": {"activation": "gelu", "head": "mixture"},
    "gelu, noise 0.2 in what is executed": {"activation": "gelu", "noise": 0.2},
}


def one(name: str, variant: dict[str, Any], demonstrations: int, seed: int, pool: Workers) -> dict[str, Any]:
    """One run: demonstrations, training, evaluation of the last weights."""
    options = dict(variant)
    noise = options.pop("noise", 0.0)
    network = replace(Network(), **options)
    noted, report = clone(name, demonstrations, seed, pool, network=network, noise=noise)
    won = sum(bool(o.success) for o in report.outcomes)
    return noted | {"successes": won, "return": report.mean_return.value}


def table(runs: Mapping[str, Any], given: argparse.Namespace) -> dict[str, Any]:
    """For each variant the share of successes over all its seeds with Wilson's interval."""
    n = len(VALIDATION_SEEDS)
    found: dict[str, Any] = {}
    for name in given.tasks:
        for label in VARIANTS:
            mine = [r for k, r in runs.items() if k.startswith(f"{name} | {label} | ")]
            if mine:
                rate = wilson(sum(r["successes"] for r in mine), n * len(mine)).summary()
                found.setdefault(name, {})[label] = rate | {"by_seed": [r["successes"] / n for r in mine]}
    return found


if __name__ == "__main__":
    tasks = ("fetch-pick-place", "fetch-push")
    study("cloning", __doc__, VARIANTS, one, table, tasks=tasks, demonstrations=40)
