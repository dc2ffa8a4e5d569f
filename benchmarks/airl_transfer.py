"""Whether a reward that was learned in one maze leads a new policy through another one.

    python benchmarks/airl_transfer.py --out benchmarks/results/airl_transfer.json

A point must go around a wall (`point-maze`); then the opening of the wall is on the other side
(`point-maze-moved`). On the first maze a reward is learned from demonstrations; it is frozen and pays a fresh
policy on the second one (PPO), which is measured by the second maze's own reward, 0 being the random
policy's return and 1 the scripted expert's there. Beside it: a clone of the same demonstrations, walked into
the second maze as it is, and PPO on the second maze's own reward, which is what can be had. Every run has
demonstrations, first weights and practice of its own seed; the last weights count, by their mode, on 100
fresh seeds. Nothing is selected. The file is rewritten after every run, and runs that it holds are not
repeated.

Fu et al. (2018, table 1) print mean returns of -8.82 for AIRL with rewards of states and -31.2 with rewards
of states and actions in their own shifting maze, whose scale is another one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student

from understudy.agent import Chunked
from understudy.baselines import RandomPolicy
from understudy.dataset import Dataset
from understudy.envs import Task, task
from understudy.evaluate import evaluate, fresh_seeds
from understudy.online import airl, gail, ppo
from understudy.online.base import Setting
from understudy.online.cloned import Cloning, gaussian
from understudy.provenance import provenance
from understudy.record import demonstrate
from understudy.rewards import RewardConfig, RewardNet
from understudy.roles import Policy
from understudy.runtime import tuned

HERE, THERE = "point-maze", "point-maze-moved"
DEMOS, TEST, CLONING = 20, 100, 3000
FRESH = 1000  # added to a run's seed for the policy that learns from the frozen reward
DISCOUNT = 0.95
STATES, BOTH = "state", "state-action"


def measured(policy: Policy, which: Task) -> float:
    """Mean return by the task's own reward, on the seeds that everybody is measured on."""
    return float(np.mean([o.total_reward for o in evaluate(policy, which.make, fresh_seeds(TEST)).outcomes]))


def practised(learner: Any, steps: int) -> Any:
    """The learner after so many steps."""
    for _ in range(steps):
        learner.step()
    learner.close()
    return learner


def demonstrations(seed: int) -> Dataset:
    """A run's own."""
    return demonstrate(task(HERE), range(10_000 * (seed + 1), 10_000 * (seed + 1) + DEMOS))


def learned(method: Any, reads: str, seed: int, steps: int) -> tuple[float, RewardNet]:
    """A reward from the first maze, and what its own policy is worth there."""
    reading = replace(method.READING, reads=reads)
    own = replace(method.LEARNER, seed=seed, discount=DISCOUNT)
    setting = Setting(task(HERE), demonstrations(seed), method.PLAN, own, reading)
    made = practised(method.build(setting, method.Config()), steps)
    return measured(Chunked(made.agent), task(HERE)), made.reward


def taught(reward: RewardNet | None, seed: int, steps: int) -> float:
    """A fresh policy on the second maze, paid by that reward, or by the maze's own."""
    own = replace(ppo.LEARNER, seed=FRESH + seed, discount=DISCOUNT)
    setting = Setting(task(THERE), None, ppo.PLAN, own, RewardConfig(), reward)
    return measured(Chunked(practised(ppo.build(setting, ppo.Config()), steps).agent), task(THERE))


def cloned(seed: int, steps: int) -> dict[str, float]:
    """A clone of the demonstrations in both mazes."""
    data = demonstrations(seed)
    own = replace(ppo.LEARNER, seed=seed)
    agent, _ = gaussian(Setting(task(HERE), data, ppo.PLAN, own, RewardConfig()), -2.0)
    clone = Cloning(agent, data, CLONING, seed)
    clone.whole()
    clone.into(agent)
    return {"here": measured(Chunked(agent), task(HERE)), "there": measured(Chunked(agent), task(THERE))}


def transferred(method: Any, reads: str) -> Callable[[int, int], dict[str, float]]:
    """A run of a method: its reward, and the fresh policy behind it."""

    def run(seed: int, steps: int) -> dict[str, float]:
        here, reward = learned(method, reads, seed, steps)
        return {"here": here, "there": taught(reward.requires_grad_(False), seed, steps)}

    return run


RUNS: Mapping[str, Callable[[int, int], dict[str, float]]] = {
    "AIRL, reward of states": transferred(airl, STATES),
    "AIRL, reward of states and actions": transferred(airl, BOTH),
    "GAIL, reward of states": transferred(gail, STATES),
    "GAIL, reward of states and actions": transferred(gail, BOTH),
    "cloning": cloned,
    "the second maze's own reward": lambda seed, steps: {"there": taught(None, seed, steps)},
}


def references() -> dict[str, dict[str, float]]:
    """Both ends of both scales."""
    found = {}
    for side, name in (("here", HERE), ("there", THERE)):
        which = task(name)
        assert which.expert is not None
        ends = {"expert": which.expert(), "random": RandomPolicy(which.action)}
        found[side] = {who: measured(policy, which) for who, policy in ends.items()}
    return found


def summary(
    runs: Mapping[str, Mapping[str, float]], ends: Mapping[str, Mapping[str, float]]
) -> dict[str, Any]:
    """Scores of one method, with Student's 95 % interval over training seeds."""
    out: dict[str, Any] = {}
    for side, scale in ends.items():
        low, high = scale["random"], scale["expert"]
        by_seed = {s: (r[side] - low) / (high - low) for s, r in sorted(runs.items()) if side in r}
        if not by_seed:
            continue
        values, n = list(by_seed.values()), len(by_seed)
        half = float(student.ppf(0.975, n - 1) * np.std(values, ddof=1) / n**0.5) if n > 1 else None
        mean = float(np.mean(values))
        span = (None, None) if half is None else (mean - half, mean + half)
        out[side] = {"mean": mean, "low": span[0], "high": span[1], "by_seed": by_seed}
    return out


def main() -> None:
    """Runs what the file lacks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, default=100_000, help="of the environment, in each maze")
    given = parser.parse_args()
    kept = json.loads(given.out.read_text()) if given.out.exists() else {}
    if kept and kept["steps"] != given.steps:
        raise SystemExit(f"{given.out} holds runs of {kept['steps']} steps, not {given.steps}")
    runs: dict[str, dict[str, Any]] = kept.get("runs", {})
    ends = kept.get("references") or references()
    for seed in given.seeds:
        for name, run in RUNS.items():
            group = runs.setdefault(name, {})
            if str(seed) in group:
                continue
            with tuned():
                group[str(seed)] = run(seed, given.steps)
            print(name, seed, group[str(seed)], file=sys.stderr, flush=True)
            record = {
                "benchmark": "airl_transfer",
                "command": "python benchmarks/airl_transfer.py --out benchmarks/results/airl_transfer.json",
                "steps": given.steps,
                "demonstrations": DEMOS,
                "discount": DISCOUNT,
                "test_seeds": [fresh_seeds(TEST)[0], TEST],
                "references": ends,
                "methods": {k: summary(g, ends) for k, g in runs.items() if g},
                "provenance": provenance(),
                "runs": runs,
            }
            temporary = given.out.with_suffix(".tmp")
            temporary.write_text(json.dumps(record, indent=1) + "\n")
            temporary.replace(given.out)


if __name__ == "__main__":
    main()
