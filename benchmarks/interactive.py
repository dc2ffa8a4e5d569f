"""Success against labelled states: DAgger and its family, and cloning, on fetch-pick-place.

    python benchmarks/interactive.py --out benchmarks/results/interactive.json

Every run begins with the same kind of start, 10 demonstrations of its own seed, and has its own first
weights. After every round the policy of that round, as it is, drives alone on the same 100 fresh seeds that
the expert is measured on; nothing is selected. Cloning has the same training, on more and more
demonstrations. The file is rewritten after every run, and runs that it holds already are not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console

from understudy.agent import Chunked
from understudy.envs import Task, task
from understudy.evaluate import evaluate, fresh_seeds
from understudy.experts import PolicyExpert
from understudy.interactive import Rounds, teach
from understudy.learn import bc
from understudy.numerics import tango, wilson
from understudy.provenance import provenance
from understudy.record import demonstrate
from understudy.roles import Policy
from understudy.runs import Network, fit
from understudy.train import Budget

METHODS = (
    "dagger", "hg_dagger", "ensemble_dagger", "safe_dagger", "lazy_dagger", "thrifty_dagger", "sirius", "rac",
)  # fmt: skip
DEMONSTRATIONS = (10, 20, 30, 50, 75, 100)  # of cloning; the first is what the others start from
# What actions mean, nobody can guess: the first three are displacements of the hand, 1 opens the fingers.
GIVEN: Mapping[str, Mapping[str, Any]] = {"rac": {"displacements": (0, 1, 2), "others": (1.0,)}}
ROUNDS, EPISODES = 5, 8
# A round of HG-DAgger costs a fifth of the labels of DAgger's: it goes on for longer.
MORE_ROUNDS: Mapping[str, int] = {"hg_dagger": 10}
BUDGET, NETWORK = Budget(steps=2000), Network(hidden=(128, 128))
CONFIG = bc.Config(batch=128, weight_decay=1e-3, decay=BUDGET.steps)
TEST = 100


def first(seed: int) -> int:
    """Of a run's demonstrations."""
    return 10_000 * (seed + 1)


def outcomes(policy: Policy, which: Task) -> list[int]:
    """1 for every test seed on which the policy succeeds alone."""
    return [int(bool(o.success)) for o in evaluate(policy, which.make, fresh_seeds(TEST)).outcomes]


def cloned(which: Task, seed: int) -> list[dict[str, Any]]:
    """Cloning, from more and more demonstrations."""
    data = demonstrate(which, range(first(seed), first(seed) + DEMONSTRATIONS[-1]))
    points = []
    for n in DEMONSTRATIONS:
        config = bc.Config(**{**vars(CONFIG), "seed": seed})
        agent, _ = fit(data[:n], config=config, network=NETWORK, budget=BUDGET, validation=0, which=which)
        points.append({"labelled": data[:n].steps, "won": outcomes(Chunked(agent), which)})
    return points


def taught(which: Task, method: str, seed: int) -> list[dict[str, Any]]:
    """A method's rounds; point 0 is cloning of the start."""
    assert which.expert is not None
    start = demonstrate(which, range(first(seed), first(seed) + DEMONSTRATIONS[0]))
    module = import_module(f"understudy.interactive.{method}")
    rounds = MORE_ROUNDS.get(method, ROUNDS)
    made = module.Method(PolicyExpert(which.expert()), module.Config(**GIVEN.get(method, {})), rounds)
    plan = Rounds(
        rounds, EPISODES, validation_episodes=0, select="last", first_seed=20_000_000 + 1_000 * seed
    )
    config = bc.Config(**{**vars(CONFIG), "seed": seed})
    lesson = teach(made, which, start=start, plan=plan, network=NETWORK, config=config, budget=BUDGET)
    points = []
    for line, agent in zip(lesson.log, lesson.agents, strict=True):
        assert agent is not None
        kept = {k: line[k] for k in ("labelled", "labelled_new", "method", "supervision") if k in line}
        points.append(kept | {"won": outcomes(Chunked(agent), which)})
    return points


def one(name: str, method: str, seed: int) -> list[dict[str, Any]]:
    """One run: a point for every policy along the way."""
    import torch

    torch.set_num_threads(1)
    which = task(name)
    if method == "expert":
        assert which.expert is not None
        return [{"labelled": 0, "won": outcomes(which.expert(), which)}]
    return cloned(which, seed) if method == "bc" else taught(which, method, seed)


def runs_of(runs: Mapping[str, Any], method: str) -> list[list[dict[str, Any]]]:
    """The runs of one method, a list of points each."""
    return [points for key, points in runs.items() if key.split(" | ")[0] == method]


def curve(runs: list[list[dict[str, Any]]], expert: list[int]) -> list[dict[str, Any]]:
    """Point by point over all seeds: labelled states, success, and the difference to the expert's."""
    found = []
    for points in zip(*runs, strict=True):
        won = [w for p in points for w in p["won"]]
        pairs = [(w, e) for p in points for w, e in zip(p["won"], expert, strict=True)]
        better, worse = (sum(pair == wanted for pair in pairs) for wanted in ((1, 0), (0, 1)))
        rates = [sum(p["won"]) / len(p["won"]) for p in points]
        found.append(
            {
                "labelled": sum(p["labelled"] for p in points) / len(points),
                "success": wilson(sum(won), len(won)).summary() | {"by_seed": rates},
                "against_expert": tango(better, worse, len(pairs)).summary(),
            }
        )
    return found


def table(runs: Mapping[str, Any]) -> dict[str, Any]:
    """For each method its curve, and what it cost to come within a twentieth of the expert."""
    if "expert | 0" not in runs:
        return {}
    expert = runs["expert | 0"][0]["won"]
    level = 0.95 * sum(expert) / len(expert)
    found: dict[str, Any] = {"expert": wilson(sum(expert), len(expert)).summary()}
    for method in ("bc", *METHODS):
        mine = runs_of(runs, method)
        if not mine:
            continue
        points = curve(mine, expert)
        near = [p["labelled"] for p in points if p["success"]["value"] >= level]
        equal = [p["labelled"] for p in points if p["against_expert"]["high"] >= 0]
        found[method] = {
            "seeds": len(mine),
            "labelled_to_95_percent_of_expert": near[0] if near else None,
            "labelled_to_no_difference_from_expert": equal[0] if equal else None,
            "curve": points,
            "supervision": supervision(mine),
        }
    return found


def supervision(runs: Iterable[list[dict[str, Any]]]) -> dict[str, Any]:
    """Means over seeds of what all rounds together cost."""
    totals: list[dict[str, float]] = []
    for points in runs:
        rounds = [p["supervision"] for p in points if "supervision" in p]
        if not rounds:
            return {}
        names = [k for k in rounds[0] if all(isinstance(r[k], int) for r in rounds)]  # what was counted
        totals.append({k: sum(r[k] for r in rounds) for k in names})
    return {k: sum(t[k] for t in totals) / len(totals) for k in totals[0]}


def main() -> None:
    """Runs what the file lacks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--task", default="fetch-pick-place")
    parser.add_argument("--methods", nargs="+", default=["bc", *METHODS])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    console = Console(stderr=True)
    runs: dict[str, Any] = json.loads(given.out.read_text())["runs"] if given.out.exists() else {}
    wanted = [("expert", 0), *((m, s) for s in range(given.seeds) for m in given.methods)]
    with ProcessPoolExecutor(given.processes) as pool:
        jobs = {
            pool.submit(one, given.task, m, s): f"{m} | {s}" for m, s in wanted if f"{m} | {s}" not in runs
        }
        for job in as_completed(jobs):
            runs[jobs[job]] = job.result()
            points = runs[jobs[job]]
            rates = [f"{p['labelled']}: {sum(p['won']) / len(p['won']):.2f}" for p in points]
            console.print(jobs[job], ", ".join(rates))
            head = {
                "benchmark": "interactive",
                "command": "python benchmarks/interactive.py --out benchmarks/results/interactive.json",
                "task": given.task, "rounds": ROUNDS, "more_rounds": dict(MORE_ROUNDS),
                "episodes": EPISODES, "steps": BUDGET.steps,
                "test_seeds": [fresh_seeds(TEST)[0], TEST], "provenance": provenance(),
            }  # fmt: skip
            temporary = given.out.with_suffix(".tmp")
            temporary.write_text(json.dumps(head | {"methods": table(runs), "runs": runs}, indent=1) + "\n")
            temporary.replace(given.out)


if __name__ == "__main__":
    main()
