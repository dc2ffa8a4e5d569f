"""GAIL and AIRL by PPO on the pendulum, beside `imitation`: what policies are worth, steps a CPU second.

    python benchmarks/adversarial.py --out benchmarks/results/adversarial.json

Alike on both sides: the demonstrations (ten episodes of the scripted expert, 2,000 steps, made anew for each
seed), eight environments, rollouts of 256 steps in each, and the number of steps in all. Everything else is
each side's own. Ours are the methods' settings as they are without a flag; of the ten episodes one is held
out. `imitation` runs as its documentation has it, with PPO of 10 epochs of batches of 64 at learning rate
1e-3, 64 × 64 networks, and four discriminator steps of 2 × 1024 rows a rollout. Neither starts from a cloned
policy.

All that a run costs is in its time: environments, rollouts, discriminator, policy. Measuring is not. Runs of
both sides follow each other in turn; a ratio is that of their steps a CPU second. After the last step the
policy acts by its mode on the same fresh episodes, and nothing is selected. Scores are
(return - random's) / (expert's - random's). The file is rewritten after each run, and runs that it holds are
not repeated: a table that is partly filled says how many seeds it has. `--peer-seeds` says how many of the
seeds `imitation` runs too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student

from common import Contender, launch, launch_peer, machine, missing, significant
from understudy.baselines import RandomPolicy
from understudy.envs import task
from understudy.evaluate import evaluate, fresh_seeds
from understudy.online import airl, gail
from understudy.provenance import provenance
from understudy.record import demonstrate
from understudy.roles import Policy

METHODS: Mapping[str, Any] = {"gail": gail, "airl": airl}
EPISODES, TEST = 10, 100  # demonstrations of a run; episodes of a measurement
ENVS, ROLLOUT = 8, 256
STEPS = 49 * ENVS * ROLLOUT  # 100,352
SCORE, RATIO = 0.9, 2.5  # what we want: of every seed, and over `imitation`'s steps a CPU second


def made(folder: Path, seed: int) -> None:
    """Writes the demonstrations of a seed, obs [E, T + 1, 3] and action [E, T, 1]."""
    data = demonstrate(task("pendulum"), range(10_000 * (seed + 1), 10_000 * (seed + 1) + EPISODES))
    obs = np.stack([np.asarray(e.obs["state"]) for e in data])
    np.savez(folder / f"{seed}.npz", obs=obs, action=np.stack([e.action for e in data]))


def measured(policy: Policy) -> float:
    """The mean return on the seeds that everybody is measured on."""
    found = evaluate(policy, task("pendulum").make, fresh_seeds(TEST))
    return float(np.mean([o.total_reward for o in found.outcomes]))


def ends() -> dict[str, float]:
    """The two ends of the scale."""
    which = task("pendulum")
    assert which.expert is not None
    return {"expert": measured(which.expert()), "random": measured(RandomPolicy(which.action))}


def run(contender: Contender, method: str, seed: int, steps: int) -> dict[str, Any]:
    """One run: its time, and the returns of its policy."""
    answer = contender.run(method, seed)
    took = answer["result"]["steps"] if isinstance(answer["result"], Mapping) else answer["result"]
    if took != steps:
        raise RuntimeError(f"{contender.name} took {took} steps, not {steps}")
    returns = contender.run("returns", 0)["result"]
    return {
        "return": significant(float(np.mean(returns)), 5),
        "cpu_seconds": significant(answer["cpu"]),
        "steps_a_cpu_second": significant(steps / answer["cpu"]),
    } | ({"told": answer["result"]["told"]} if isinstance(answer["result"], Mapping) else {})


def summary(scores: Mapping[str, float]) -> dict[str, Any]:
    """Mean over seeds with Student's 95 % interval: the seeds of training are the sample."""
    values, n = list(scores.values()), len(scores)
    mean = float(np.mean(values))
    half = float(student.ppf(0.975, n - 1) * np.std(values, ddof=1) / n**0.5) if n > 1 else None
    bounds = {} if half is None else {"low": significant(mean - half), "high": significant(mean + half)}
    each = {k: significant(v) for k, v in scores.items()}
    return {"mean": significant(mean), **bounds, "least": significant(min(values)), "by_seed": each}


def table(runs: Mapping[str, Any], scale: Mapping[str, float], seeds: int) -> dict[str, Any]:
    """For each method the scores of both sides and the ratio of their speeds."""
    low, width = scale["random"], scale["expert"] - scale["random"]
    out: dict[str, Any] = {}
    for method in METHODS:
        mine = {k.split(" | ")[1]: r for k, r in runs.items() if k.startswith(f"{method} | ")}
        if not mine:
            continue
        sides = {s: {k: r[s] for k, r in mine.items() if s in r} for s in ("ours", "imitation")}
        row: dict[str, Any] = {
            side: summary({k: (r["return"] - low) / width for k, r in found.items()})
            | {
                "steps_a_cpu_second": significant(
                    np.median([r["steps_a_cpu_second"] for r in found.values()])
                )
            }
            for side, found in sides.items()
            if found
        }
        row["ours"]["target"] = f"every seed >= {SCORE}"
        # One seed below is enough to say no; only all of them say yes.
        low_enough, done = row["ours"]["least"] < SCORE, len(sides["ours"]) == seeds
        row["ours"]["met"] = False if low_enough else True if done else "so far"
        both = [
            mine[k]["imitation"]["cpu_seconds"] / mine[k]["ours"]["cpu_seconds"] for k in sides["imitation"]
        ]
        if both:
            ratio = float(np.median(both))
            row["times_as_fast"] = {
                "median": significant(ratio), "low": significant(min(both)), "high": significant(max(both)),
                "target": f">= {RATIO}", "met": ratio >= RATIO,
            }  # fmt: skip
        out[method] = row | {"seeds": f"{len(mine)} of {seeds}"}
    return out


def settings() -> dict[str, Any]:
    """Our methods' own settings, as they are where nothing is said."""
    return {
        m: {"method": asdict(v.Config()), "learner": asdict(v.LEARNER), "reading": asdict(v.READING)}
        for m, v in METHODS.items()
    }


def main() -> None:
    """Runs what the file lacks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=5, help="runs of each method, seeds 0 on")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--peer-seeds", type=int, default=5, help="of these, how many `imitation` runs too")
    parser.add_argument("--rollouts", type=int, default=STEPS // (ENVS * ROLLOUT), help="to try it out")
    given = parser.parse_args()
    steps = given.rollouts * ENVS * ROLLOUT
    kept = json.loads(given.out.read_text()) if given.out.exists() else {}
    if kept and kept["steps"] != steps:
        raise SystemExit(f"{given.out} holds runs of {kept['steps']} steps, not {steps}")
    runs, scale = kept.get("runs", {}), kept.get("returns") or ends()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        spec = {
            "demonstrations": str(folder / "{seed}.npz"), "envs": ENVS, "rollout": ROLLOUT, "steps": steps,
            "seeds": list(fresh_seeds(TEST)), "folder": str(folder / "log"),
        }  # fmt: skip
        ours = stack.enter_context(launch("ours", "understudy_adversarial.py", spec))
        peer = launch_peer("imitation", "imitation_adversarial.py", spec, "imitation")
        there = {"ours": ours} | ({} if peer is None else {"imitation": stack.enter_context(peer)})
        for seed in range(given.first_seed, given.first_seed + given.seeds):
            for method in given.methods:
                found = runs.setdefault(f"{method} | {seed}", {})
                for name, c in there.items():
                    beyond = name == "imitation" and seed >= given.first_seed + given.peer_seeds
                    if name in found or beyond:
                        continue
                    if not (folder / f"{seed}.npz").exists():
                        made(folder, seed)
                    found[name] = run(c, method, seed, steps)
                    print(f"{method}, seed {seed}, {name}: {found[name]}", file=sys.stderr, flush=True)
                    write(given, steps, scale, runs, {n: c.facts for n, c in there.items()})


def write(
    given: argparse.Namespace, steps: int, scale: Mapping[str, float], runs: Mapping[str, Any], facts: Any
) -> None:
    """The record so far, in one step."""
    record = {
        "benchmark": "adversarial",
        "command": "python benchmarks/adversarial.py --out benchmarks/results/adversarial.json",
        "task": "Pendulum-v1",
        "steps": steps,
        "demonstrations": EPISODES,
        "test_seeds": [fresh_seeds(TEST)[0], TEST],
        "returns": scale,
        "methods": table(runs, scale, given.seeds),
        "settings": settings(),
        "contenders": facts if "imitation" in facts else facts | {"imitation": missing("imitation", None)},
        "machine": machine(),
        "provenance": provenance(),
        "runs": runs,
    }
    temporary = given.out.with_suffix(".tmp")
    temporary.write_text(json.dumps(record, indent=1) + "\n")
    temporary.replace(given.out)


if __name__ == "__main__":
    main()
