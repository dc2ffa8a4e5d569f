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

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from common import ROOT, Contender, arguments, emit, launch, missing, significant
from understudy.evaluate import FIRST_SEED
from understudy.numerics import bootstrap

PEER = ROOT / ".peers" / "imitation"
TASKS = {  # name -> Gymnasium's id, steps in all, and how many lie between two measurements
    "pendulum": ("Pendulum-v1", 5_000, 1_000),
    "reacher": ("Reacher-v5", 10_000, 2_500),
    "HalfCheetah-v5": ("HalfCheetah-v5", 10_000, 2_500),
}
CONTENDERS = ("layernorm", "stable-baselines3", "crossq", "plain")
UNIFORM, EPISODES = 1_000, 20


def contender(name: str, task: str, seed: int) -> Contender:
    """A process that practises `task`."""
    spec = {"task": task, "seed": seed, "uniform": UNIFORM, "first_seed": FIRST_SEED}
    if name != "stable-baselines3":
        return launch(name, "understudy_practice.py", spec | {"critic": name})
    packages = next(PEER.glob("lib/python3*/site-packages"))
    return launch(name, "sb3_practice.py", spec | {"id": TASKS[task][0], "packages": str(packages)})


def run(name: str, task: str, seed: int) -> dict[str, Any]:
    """One run: the mean return after so many steps, and the CPU milliseconds of a step."""
    _, total, every = TASKS[task]
    cpu, done, curve = 0.0, UNIFORM, dict[str, float]()
    with contender(name, task, seed) as worker:
        while done < total:
            part = min(every - done % every, total - done)
            cpu, done = cpu + worker.run("practise", part)["cpu"], done + part
            returns = worker.run("measure", EPISODES)["result"]
            curve[str(done)] = significant(float(np.mean(returns)), 5)
        facts = worker.facts
    ms = significant(1e3 * cpu / (total - UNIFORM))
    return {"task": task, "contender": name, "seed": seed, "curve": curve, "cpu_ms_a_step": ms} | facts


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Task -> contender -> the mean return after all steps, with its interval over seeds."""
    out: dict[str, Any] = {}
    for r in runs:
        mine = [x for x in runs if (x["task"], x["contender"]) == (r["task"], r["contender"])]
        last = [float(list(x["curve"].values())[-1]) for x in mine]
        found: dict[str, Any] = {"value": significant(float(np.mean(last)))}
        if len(last) > 1:
            e = bootstrap(np.array(last))
            found |= {"low": significant(e.low), "high": significant(e.high)}
        each = {str(x["seed"]): value for x, value in zip(mine, last, strict=True)}
        out.setdefault(r["task"], {})[r["contender"]] = found | {"n": len(last), "seeds": each}
    return out


def asked(args: argparse.Namespace) -> list[tuple[str, str, int]]:
    """(contender, task, seed), the first seed of all before the second of any."""
    return [(c, t, s) for t in args.tasks for s in range(args.seeds) for c in args.contenders]


def main() -> None:
    """Runs what is missing, and prints the record."""
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="0, 1, ...")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    args = parser.parse_args()
    out: Path | None = args.json_out
    found = json.loads(out.read_text())["runs"] if out is not None and out.is_file() else []
    runs = [r for r in found if list(r["curve"])[-1] == str(TASKS[r["task"]][1])]  # of other budgets: anew
    known = {(r["contender"], r["task"], r["seed"]) for r in runs}
    setting: dict[str, Any] = {"uniform": UNIFORM, "episodes": EPISODES, "first_seed": FIRST_SEED}
    setting |= {"steps": {t: TASKS[t][1] for t in TASKS}, "unit": "mean undiscounted return"}
    if not (PEER / ".complete").is_file():
        setting["stable-baselines3"] = missing("imitation", None)
        args.contenders = [c for c in args.contenders if c != "stable-baselines3"]
    for job in asked(args):
        if job not in known:
            runs.append(run(*job))
            print(f"{job}: {runs[-1]['curve']}, {runs[-1]['cpu_ms_a_step']} ms a step", file=sys.stderr)
            if out is not None:
                emit({"setting": setting, "summary": summary(runs), "runs": runs}, out)
    emit({"setting": setting, "summary": summary(runs), "runs": runs}, out)


if __name__ == "__main__":
    main()
