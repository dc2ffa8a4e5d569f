"""Whether augmentation helps cloning where demonstrations are few: success with and without, paired by seed.

    python benchmarks/augmentation.py --out benchmarks/results/augmentation.json

Every seed has its own demonstrations and its own first weights, the same for each variant; all are measured
on the same 100 validation seeds, neither recording seeds nor the seeds that results are reported on. The file
is rewritten after every run, and runs that it holds already are not repeated.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from grid import clone, study
from understudy.numerics import tango, wilson
from understudy.rollout import Workers

VARIANTS: dict[str, tuple[str, ...]] = {
    "none": (),
    "mirror": ("mirror",),
    "noise 0.02": ("noise:0.02",),
    "mirror, noise 0.02": ("mirror", "noise:0.02"),
}


def one(name: str, words: tuple[str, ...], demonstrations: int, seed: int, pool: Workers) -> dict[str, Any]:
    """One run: demonstrations, training, evaluation of the last weights."""
    noted, report = clone(name, demonstrations, seed, pool, augment=words)
    return noted | {"won": "".join("1" if bool(o.success) else "0" for o in report.outcomes)}


def table(runs: Mapping[str, Any], given: argparse.Namespace) -> dict[str, Any]:
    """For each variant its share of successes and the paired difference to no augmentation.

    The intervals are over episodes: with so few training seeds, look at `by_seed` for how much those matter.
    """
    found: dict[str, Any] = {}
    for name in given.tasks:
        won: dict[str, list[str]] = {}
        for label in VARIANTS:
            keys = [f"{name} | {label} | {given.demonstrations} | seed {s}" for s in range(given.seeds)]
            won[label] = [runs[k]["won"] for k in keys if k in runs]
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
            found.setdefault(name, {})[label] = row
    return found


if __name__ == "__main__":
    tasks = ("fetch-push", "fetch-pick-place")
    study("augmentation", __doc__, VARIANTS, one, table, tasks=tasks, demonstrations=15)
