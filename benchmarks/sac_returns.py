"""What soft actor-critic reaches in few steps: ours with each kind of critic, and Stable-Baselines3's.

    python benchmarks/sac_returns.py --json-out benchmarks/results/sac_returns.json

Every contender gets the same number of steps of the same environment, the uniform ones at the start among
them, one update after each later step, [256, 256], batch 256, a tuned temperature. Every so many steps the
present policy acts by its mode on the same fresh seeds: nothing is selected, the last line is the result.
The record grows run by run, and a run that is in the file is not repeated. The interval of a contender is
the bootstrap's over its seeds' mean returns; with few seeds it says little, and every seed's figure stands
beside it.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from common import Contender, launch, significant
from returns import EPISODES, curve, grown, options, peers_packages
from understudy.evaluate import FIRST_SEED

TASKS = {  # name -> Gymnasium's id, steps in all, and how many lie between two measurements
    "pendulum": ("Pendulum-v1", 5_000, 1_000),
    "reacher": ("Reacher-v5", 10_000, 2_500),
    "HalfCheetah-v5": ("HalfCheetah-v5", 10_000, 2_500),
}
CONTENDERS = ("layernorm", "stable-baselines3", "crossq", "plain")
UNIFORM = 1_000


def contender(name: str, task: str, seed: int) -> Contender:
    """A process that practises `task`."""
    spec = {"task": task, "seed": seed, "uniform": UNIFORM, "first_seed": FIRST_SEED}
    if name != "stable-baselines3":
        return launch(name, "understudy_practice.py", spec | {"critic": name})
    return launch(name, "sb3_practice.py", spec | {"id": TASKS[task][0], "packages": peers_packages()})


def run(name: str, task: str, seed: int) -> dict[str, Any]:
    """One run: the mean return after so many steps, and the CPU milliseconds of a step."""
    _, total, every = TASKS[task]
    marks = [UNIFORM, *range((UNIFORM // every + 1) * every, total, every), total]
    with contender(name, task, seed) as worker:
        found, cpu = curve(worker, [b - a for a, b in pairwise(marks)], UNIFORM)
        facts = worker.facts
    ms = significant(1e3 * cpu / (total - UNIFORM))
    return {"task": task, "contender": name, "seed": seed, "curve": found, "cpu_ms_a_step": ms} | facts


def main() -> None:
    """Runs what is missing, and prints the record."""
    args = options(__doc__, TASKS, list(TASKS), CONTENDERS)
    out: Path | None = args.json_out
    found = json.loads(out.read_text())["runs"] if out is not None and out.is_file() else []
    runs = [r for r in found if list(r["curve"])[-1] == str(TASKS[r["task"]][1])]  # of other budgets: anew
    setting: dict[str, Any] = {"uniform": UNIFORM, "episodes": EPISODES, "first_seed": FIRST_SEED}
    setting |= {"steps": {t: TASKS[t][1] for t in TASKS}, "unit": "mean undiscounted return"}
    grown(args, runs, run, setting)


if __name__ == "__main__":
    main()
