"""The control with random labels: where the demonstrations show no skill, no method may find any.

    python benchmarks/random_labels.py --out benchmarks/results/random_labels.json

The expert's episodes are replaced by episodes of uniformly random actions, on a task whose episodes all last
equally long; everything else is as ever. There are many of them, since a few would be good or bad by luck,
and a method may well learn that; their own mean return stands beside the scores. A pipeline in which the
task's reward, its ends or a bias of the reward's form leaks into the learner would still come to something.

Scores are (return - beginner's) / (expert's - beginner's) by the policy's mode on fresh seeds, paired by
seed; the beginner is the better of uniformly random actions and of none, since neither takes skill. A method
passes where its interval does not lie above 0.1, or where it refuses such demonstrations. The last weights
are measured, nothing is selected. The file is rewritten after every run, and runs that it holds already are
not repeated.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from understudy.agent import Chunked
from understudy.baselines import RandomPolicy, ZeroPolicy
from understudy.dataset import Dataset
from understudy.envs import Task, task
from understudy.evaluate import Report, evaluate, fresh_seeds
from understudy.numerics import bootstrap
from understudy.online import uniform
from understudy.online.base import Setting
from understudy.online.command import defaults
from understudy.provenance import provenance
from understudy.serial import write_json
from understudy.train import Budget, train

METHODS = ("gail", "gail_trpo", "airl", "airl_trpo", "dac", "sqil", "iq", "lsiq", "csil")
ON_POLICY = ("gail", "gail_trpo", "airl", "airl_trpo")
LIMIT = 0.1  # of the way from a beginner to the expert


def returns(report: Report) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([o.total_reward for o in report.outcomes])


def references(which: Task, test: tuple[int, ...]) -> dict[str, list[float]]:
    """Returns of the expert and of the better beginner, seed by seed."""
    if which.expert is None:
        raise ValueError(f"{which.name} has no expert to hold a method against")
    expert = returns(evaluate(which.expert(), which.make, test))
    beginners = [RandomPolicy(which.action), ZeroPolicy(which.action)]
    both = [returns(evaluate(p, which.make, test)) for p in beginners]
    return {"expert": expert.tolist(), "beginner": max(both, key=lambda x: x.mean()).tolist()}


def one(which: Task, method: str, seed: int, steps: int, episodes: int, test: tuple[int, ...]) -> Any:
    """One method on demonstrations without skill: its returns, seed by seed."""
    own, plan, learner, reading, _ = defaults(method)
    random = uniform(which, episodes * which.horizon, seed + 500)  # other seeds than the run's start
    data = Dataset([replace(e, labelled=np.ones(len(e), np.bool_)) for e in random])
    setting = Setting(which, data, plan, type(learner)(**{**vars(learner), "seed": seed}), reading)
    try:
        made = import_module(f"understudy.online.{method}").build(setting, own)
    except ValueError as e:  # a method may see that there is nothing to learn, and say so
        return {"steps": steps, "refused": str(e), "passes": True}
    began = time.process_time()
    train(made, Budget(steps=steps, validate_every=steps))
    made.close()
    report = evaluate(Chunked(made.agent), which.make, test)
    seconds = round(time.process_time() - began, 1)
    shown = float(np.mean([e.reward.sum() for e in data]))
    return {
        "steps": steps,
        "cpu_seconds": seconds,
        "demonstrated_return": shown,
        "returns": returns(report).tolist(),
    }


def scored(run: dict[str, Any], beside: dict[str, list[float]]) -> dict[str, Any]:
    beginner, expert = (np.array(beside[k]) for k in ("beginner", "expert"))
    share = bootstrap((np.array(run["returns"]) - beginner) / (expert.mean() - beginner.mean()))
    return {"score": share.summary(), "passes": bool(share.low <= LIMIT)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--task", default="pendulum")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--episodes", type=int, default=50, help="in place of demonstrations")
    parser.add_argument("--test", type=int, default=50, help="fresh episodes of each measurement")
    parser.add_argument("--off-policy-steps", type=int, default=5000)
    parser.add_argument("--on-policy-steps", type=int, default=50_000)
    given = parser.parse_args()
    which, test = task(given.task), fresh_seeds(given.test)
    kept = json.loads(given.out.read_text()) if given.out.exists() else {}
    asked = {"task": which.name, "episodes": given.episodes, "test": [test[0], test[-1] + 1]}
    if kept and kept["settings"] != asked:
        raise SystemExit(f"{given.out} was made with {kept['settings']}, not with {asked}; name another file")
    beside, runs = kept.get("references") or references(which, test), kept.get("runs", {})
    for method in given.methods:
        for seed in given.seeds:
            steps = given.on_policy_steps if method in ON_POLICY else given.off_policy_steps
            name = f"{method}-{seed}-{steps}"
            if name in runs:
                continue
            run = one(which, method, seed, steps, given.episodes, test)
            runs[name] = run if "refused" in run else run | scored(run, beside)
            write_json(
                given.out,
                {"settings": asked, "references": beside, "runs": runs, "provenance": provenance()},
            )
            if (score := runs[name].get("score")) is None:
                print(f"{name}: refused: {run['refused']}", flush=True)
            else:
                print(f"{name}: {score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]", flush=True)


if __name__ == "__main__":
    main()
