"""Imitation off policy on running robots: returns along the way, from one demonstration whole or thinned.

    python benchmarks/locomotion.py --out benchmarks/results/locomotion.json --work locomotion-runs
    python benchmarks/locomotion.py --out ALL --work RUNS --beside ONE OTHER --seeds    # records into one

Each run has a demonstration, first weights and practice of its own seed, and never sees the task's reward.
Its return is measured by the mode of the policy every 5,000 steps on five validation seeds, and at the end,
last weights, on 20 fresh seeds. Scores are (return - random's) / (expert's - random's). Nothing is selected.
Runs are ordinary run folders under --work and go on where they were interrupted; the file is rewritten after
each of them, and says how many seeds it holds.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from scipy.stats import t as student

from understudy import storage
from understudy.baselines import RandomPolicy
from understudy.envs import Task, task
from understudy.evaluate import evaluate, fresh_seeds
from understudy.online.command import defaults, practise_run
from understudy.provenance import provenance
from understudy.record import demonstrate
from understudy.roles import Policy
from understudy.runs import policy_of
from understudy.serial import read_json, write_json
from understudy.train import Budget

TEST, EVERY, EPISODES = 20, 5000, 5
STEPS: Mapping[str, int] = {"half-cheetah": 100_000, "hopper": 100_000, "walker2d": 100_000, "ant": 200_000}
# Where a score must be reached, and what it must not fall under from there on.
TARGETS: Mapping[tuple[str, int], tuple[float, int]] = {
    ("half-cheetah", 1): (0.95, 25_000),
    ("hopper", 1): (0.95, 50_000),
    ("walker2d", 1): (0.9, 100_000),
    ("ant", 1): (0.9, 100_000),
    ("half-cheetah", 20): (0.95, 50_000),
    ("hopper", 20): (0.95, 100_000),
    ("walker2d", 20): (0.95, 100_000),
    ("ant", 20): (0.9, 200_000),
}
STABLE = 0.9


def measured(policy: Policy, which: Task) -> list[float]:
    """Returns on the seeds that everybody is measured on."""
    return [float(o.total_reward) for o in evaluate(policy, which.make, fresh_seeds(TEST)).outcomes]


def references(name: str) -> dict[str, Any]:
    """The two ends of the scale."""
    which = task(name)
    if which.expert is None:
        raise SystemExit(f"{name} has no expert in this installation")
    ends = {"expert": which.expert(), "random": RandomPolicy(which.action)}
    return {who: measured(policy, which) for who, policy in ends.items()}


def demonstration(name: str, seed: int, work: Path) -> Path:
    """One episode of the expert's, of the run's own seed, on disk."""
    folder = work / f"{name}-demo-{seed}"
    if not folder.exists():
        storage.write(folder, demonstrate(task(name), [10_000 * (seed + 1)]))
    return folder


def one(
    method: str, name: str, keep: int, seed: int, steps: int, work: Path, console: Console
) -> dict[str, Any]:
    """One run, gone on with where it was interrupted."""
    from dataclasses import replace

    from understudy.runtime import tuned

    out = work / f"{method}-{name}-{keep}-{seed}"
    config, plan, learner, reading, _ = defaults(method)
    resume = (out / "checkpoint").exists()
    began = time.process_time()
    with tuned():
        done = practise_run(
            algorithm=method, out=out, task=None, data=demonstration(name, seed, work), reward=None,
            method=replace(config, keep_every=keep), plan=replace(plan, validation_episodes=EPISODES),
            learner=replace(learner, seed=seed), reading=reading,
            budget=Budget(steps=steps, validate_every=EVERY), resume=resume, console=console,
        )  # fmt: skip
        if done["stopped"] == "interrupted":
            raise SystemExit(130)
        rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        curve = {str(r["step"]): -r["validation"] for r in rows if "validation" in r}
        returns = measured(policy_of(out), task(name))
    return {
        "curve": curve,
        "returns": returns,
        "cpu_seconds": None if resume else time.process_time() - began,
    }


def summary(
    runs: Mapping[str, Any], ends: Mapping[str, list[float]], target: tuple[float, int]
) -> dict[str, Any]:
    """Scores of one row of the table."""
    low, high = (float(np.mean(ends[who])) for who in ("random", "expert"))
    score = lambda value: (value - low) / (high - low)  # noqa: E731
    last = [score(float(np.mean(r["returns"]))) for r in runs.values()]
    n, mean = len(last), float(np.mean(last))
    half = float(student.ppf(0.975, n - 1) * np.std(last, ddof=1) / n**0.5) if n > 1 else None
    need, by = target
    curves = {s: {int(k): score(v) for k, v in r["curve"].items()} for s, r in runs.items()}
    reached = {s: min((k for k, v in c.items() if v >= need), default=None) for s, c in curves.items()}
    after = {s: min((v for k, v in c.items() if k >= by), default=None) for s, c in curves.items()}
    return {
        "seeds": n,
        "last": {"mean": mean, "low": None if half is None else mean - half,
                 "high": None if half is None else mean + half, "by_seed": last},
        "target": f">= {need} by {by} steps, never under {STABLE} from there on",
        "first_reached": reached,
        "least_after": after,
        "met": [r is not None and r <= by and (after[s] or 0) >= STABLE for s, r in reached.items()],
        "curves": {s: {k: round(v, 3) for k, v in c.items()} for s, c in curves.items()},
    }  # fmt: skip


def main() -> None:
    """Runs what the file lacks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="where the run folders lie")
    parser.add_argument("--methods", nargs="+", default=["dac"])
    parser.add_argument("--tasks", nargs="+", default=list(STEPS), choices=list(STEPS))
    parser.add_argument("--keep", nargs="+", type=int, default=[1, 20], help="one pair in so many is known")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--beside", type=Path, nargs="+", default=[], help="other records, taken in")
    parser.add_argument("--steps", type=int, help="of each run, to see that everything works")
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    console = Console(stderr=True)
    given.work.mkdir(parents=True, exist_ok=True)
    told = read_json(given.out) if given.out.exists() else {}
    ends, runs = told.get("references", {}), told.get("runs", {})
    quick = given.steps is not None or bool(told.get("quick"))
    for other in map(read_json, given.beside):
        ends, quick = ends | other["references"], quick or other["quick"]
        for key, group in other["runs"].items():
            runs[key] = runs.get(key, {}) | group
    if given.beside:
        write(given.out, ends, runs, quick)
    wanted = [
        (method, name, keep, seed)
        for seed in given.seeds for method in given.methods for name in given.tasks for keep in given.keep
    ]  # fmt: skip
    for method, name, keep, seed in wanted:
        if name not in ends:
            ends[name] = references(name)
        group = runs.setdefault(f"{method} | {name} | 1 in {keep}", {})
        if str(seed) in group:
            continue
        steps = given.steps or STEPS[name]
        group[str(seed)] = one(method, name, keep, seed, steps, given.work, console)
        write(given.out, ends, runs, quick)
        console.print(method, name, keep, seed, float(np.mean(group[str(seed)]["returns"])))


def write(out: Path, ends: Mapping[str, Any], runs: Mapping[str, Mapping[str, Any]], quick: bool) -> None:
    """The record of all that has run, in place of the one before."""
    rows = {
        key: summary(g, ends[(of := key.split(" | ")[1])], TARGETS[of, int(key.rsplit(" ", 1)[1])])
        for key, g in runs.items() if g
    }  # fmt: skip
    record = {
        "benchmark": "locomotion",
        "command": "python benchmarks/locomotion.py --out benchmarks/results/locomotion.json --work RUNS",
        "quick": quick,
        "test_seeds": [fresh_seeds(TEST)[0], TEST],
        "demonstrations": 1,
        "provenance": provenance(),
        "table": rows,
        "references": ends,
        "runs": runs,
    }
    write_json(out, record)


if __name__ == "__main__":
    main()
