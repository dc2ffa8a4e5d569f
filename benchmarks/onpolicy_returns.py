"""What on-policy learners reach, and at what speed: our PPO and TRPO, and Stable-Baselines3's PPO.

    python benchmarks/onpolicy_returns.py --json-out benchmarks/results/onpolicy_returns.json

Every contender gets the same number of steps of the same environments, 8 side by side, the same rollouts
and γ, λ, clip, epochs, minibatches, learning rate and widths. The rest is each one's own: ours draws
tanh-Gaussian actions behind ReLU nets and has its observations normalised by 1,000 uniformly random steps,
which come on top; theirs draws unsquashed Gaussian ones behind tanh nets. A part ends where a lesson does.
The present policy then acts by its mode on the same fresh seeds: nothing is selected, the last figure is the
result. CPU time is that of acting and learning, not of measuring. The record grows run by run, and a run that
is in the file is not repeated. A seed's figure stands beside each mean; an interval is the bootstrap's.
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
ENVS, ROLLOUT, UNIFORM, EPISODES = 8, 256, 1_000, 20
LESSON = ENVS * ROLLOUT
TASKS = {  # name -> Gymnasium's id, lessons in all, and how many lie between two measurements
    "pendulum": ("Pendulum-v1", 49, 7),
    "half-cheetah": ("HalfCheetah-v5", 49, 7),
}
SHARED = {"discount": 0.95, "trace": 0.95, "epochs": 10, "minibatch": 512, "hidden": [64, 64]}
LEARNERS = {
    "ppo": SHARED | {"learning_rate": 1e-3, "clip": 0.2, "gradient_norm": 0.5},
    "trpo": SHARED | {"kl_limit": 0.02},
}
CONTENDERS = ("ppo", "stable-baselines3 ppo", "trpo")


def contender(name: str, task: str, seed: int) -> Contender:
    """A process that practises `task`."""
    method = name.split()[-1]
    spec = {"task": task, "seed": seed, "envs": ENVS, "rollout": ROLLOUT, "first_seed": FIRST_SEED}
    spec |= {"method": method, "learner": LEARNERS[method]}
    if name == method:
        return launch(name, "understudy_onpolicy.py", spec | {"uniform": UNIFORM})
    packages = next(PEER.glob("lib/python3*/site-packages"))
    return launch(name, "sb3_onpolicy.py", spec | {"id": TASKS[task][0], "packages": str(packages)})


def run(name: str, task: str, seed: int) -> dict[str, Any]:
    """One run: the mean return after so many steps, and the steps of a CPU second."""
    _, lessons, every = TASKS[task]
    cpu, done, curve = 0.0, 0, dict[str, float]()
    with contender(name, task, seed) as worker:
        while done < lessons:
            part = min(every, lessons - done)
            cpu, done = cpu + worker.run("practise", part * LESSON)["cpu"], done + part
            returns = worker.run("measure", EPISODES)["result"]
            curve[str(done * LESSON)] = significant(float(np.mean(returns)), 5)
        facts = worker.facts
    rate = significant(lessons * LESSON / cpu)
    return {"task": task, "contender": name, "seed": seed, "curve": curve, "steps_a_cpu_second": rate} | facts


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Task -> contender -> the mean return after all steps, with its interval over seeds, and the speed."""
    out: dict[str, Any] = {}
    for r in runs:
        mine = [x for x in runs if (x["task"], x["contender"]) == (r["task"], r["contender"])]
        last = [float(list(x["curve"].values())[-1]) for x in mine]
        found: dict[str, Any] = {"value": significant(float(np.mean(last)))}
        if len(last) > 1:
            e = bootstrap(np.array(last))
            found |= {"low": significant(e.low), "high": significant(e.high)}
        speed = significant(float(np.median([x["steps_a_cpu_second"] for x in mine])))
        each = {str(x["seed"]): value for x, value in zip(mine, last, strict=True)}
        found |= {"n": len(last), "seeds": each, "steps_a_cpu_second": speed}
        out.setdefault(r["task"], {})[r["contender"]] = found
    return out


def asked(args: argparse.Namespace) -> list[tuple[str, str, int]]:
    """(contender, task, seed), the first seed of all before the second of any."""
    return [(c, t, s) for t in args.tasks for s in range(args.seeds) for c in args.contenders]


def main() -> None:
    """Runs what is missing, and prints the record."""
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="0, 1, ...")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=["pendulum"])
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    args = parser.parse_args()
    out: Path | None = args.json_out
    setting: dict[str, Any] = {
        "envs": ENVS, "rollout": ROLLOUT, "uniform": UNIFORM, "episodes": EPISODES, "first_seed": FIRST_SEED,
        "learners": LEARNERS, "steps": {t: TASKS[t][1] * LESSON for t in TASKS},
        "unit": "mean undiscounted return",
        "stable-baselines3 trpo": "not compared: sb3-contrib is in no environment here",
    }  # fmt: skip
    found = json.loads(out.read_text()) if out is not None and out.is_file() else {}
    # Runs with other settings are done anew.
    runs = list(found["runs"]) if found and found["setting"]["learners"] == LEARNERS else []
    known = {(r["contender"], r["task"], r["seed"]) for r in runs}
    if not (PEER / ".complete").is_file():
        setting["stable-baselines3"] = missing("imitation", None)
        args.contenders = [c for c in args.contenders if not c.startswith("stable")]
    for job in asked(args):
        if job not in known:
            runs.append(run(*job))
            print(f"{job}: {runs[-1]['curve']}, {runs[-1]['steps_a_cpu_second']} a second", file=sys.stderr)
            if out is not None:
                emit({"setting": setting, "summary": summary(runs), "runs": runs}, out)
    emit({"setting": setting, "summary": summary(runs), "runs": runs}, out)


if __name__ == "__main__":
    main()
