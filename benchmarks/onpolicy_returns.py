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

import json
from pathlib import Path
from typing import Any

from common import Contender, launch, significant
from returns import EPISODES, curve, grown, options, peers_packages
from understudy.evaluate import FIRST_SEED

ENVS, ROLLOUT, UNIFORM = 8, 256, 1_000
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
    return launch(name, "sb3_onpolicy.py", spec | {"id": TASKS[task][0], "packages": peers_packages()})


def run(name: str, task: str, seed: int) -> dict[str, Any]:
    """One run: the mean return after so many steps, and the steps of a CPU second."""
    _, lessons, every = TASKS[task]
    parts = [LESSON * min(every, lessons - done) for done in range(0, lessons, every)]
    with contender(name, task, seed) as worker:
        found, cpu = curve(worker, parts)
        facts = worker.facts
    rate = significant(lessons * LESSON / cpu)
    return {"task": task, "contender": name, "seed": seed, "curve": found, "steps_a_cpu_second": rate} | facts


def main() -> None:
    """Runs what is missing, and prints the record."""
    args = options(__doc__, TASKS, ["pendulum"], CONTENDERS)
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
    grown(args, runs, run, setting, "steps_a_cpu_second")


if __name__ == "__main__":
    main()
