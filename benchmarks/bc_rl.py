"""Past the teacher: demonstrations of an expert at 60 % success, then reinforcement on the sparse reward.

    python benchmarks/bc_rl.py --json-out benchmarks/results/bc_rl.json
    python benchmarks/bc_rl.py --methods residual awac rlpd --seeds 0 --json-out benchmarks/results/bc_rl.json

The expert is the task's scripted one, slowed down: the hand moves by a share of what it asks for, with a
little noise, so that in 60 % of the episodes the block is there before time runs out. Cloning cannot mend
that: slowness is not an error that averages out. From its demonstrations, failures among them, a policy is
cloned and practises where each step costs 1 until the block is there.

The methods: `bc-rl` clones and goes on with PPO; `residual` clones and corrects the clone; `awac` begins off
line on the demonstrations' rewards; `rlpd` clones nothing, and draws half of each batch from them. Each has
its own settings and its own number of steps of the environment.

Sixteen times in the practice, and before it, the present policy acts by its mode on the same fresh seeds, and
the expert too: nothing is selected, the last line is the result. The dip is the deepest fall of the
success rate below that before the practice, as a share of it. The record grows run by run, and a run that is
in the file is not repeated.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from common import arguments, emit, significant
from understudy.agent import Chunked
from understudy.agent.corrected import Corrected
from understudy.dataset import Dataset
from understudy.envs import Task
from understudy.envs import task as find_task
from understudy.episode import Array, Obs
from understudy.evaluate import FIRST_SEED, evaluate
from understudy.experts import ENDORSE
from understudy.numerics import Estimate, wilson
from understudy.online import awac, bc_rl, residual, rlpd
from understudy.online.base import Practising, Setting
from understudy.rewards import RewardConfig
from understudy.roles import Policy
from understudy.rollout import rollout
from understudy.runtime import tuned

# The share of the hand's motion; chosen on seeds that nothing else uses, for 60 %.
GAIN = {"fetch-push": 0.27, "fetch-pick-place": 0.38}
NOISE = 0.1  # standard deviation, of the hand's motion
DEMONSTRATIONS, EPISODES, MEASURED = 100, 200, 16
# Method -> its module, steps of the run before the first of the environment, and those of the environment.
METHODS: dict[str, tuple[Any, int, int]] = {
    "bc-rl": (bc_rl, bc_rl.Config().cloning, 262_144),
    "residual": (residual, 0, residual.STEPS),
    "awac": (awac, awac.Config().offline, awac.STEPS - awac.Config().offline),
    "rlpd": (rlpd, 0, rlpd.STEPS),
}


class Slowed:
    """The scripted expert with a weaker arm: its motion times a gain, plus noise; its fingers are its own."""

    def __init__(self, task: Task, gain: float) -> None:
        if task.expert is None:
            raise ValueError(f"{task.name} has no scripted expert")
        self.name, self._expert, self._gain = f"slowed to {gain}", task.expert(), gain

    def reset(self, seed: int) -> None:
        """Starts an episode; the noise follows from `seed`."""
        self._expert.reset(seed)
        self._noise = np.random.default_rng((seed, 0))

    def act(self, obs: Obs) -> Array:
        """The action [4]."""
        action = np.array(self._expert.act(obs), np.float32)
        action[:3] = self._gain * action[:3] + NOISE * self._noise.standard_normal(3)
        return action.clip(-1, 1)


def demonstrations(task: Task, seed: int) -> Dataset:
    """Episodes of the slowed expert with the task's own rewards, successes or not."""
    env, expert = task.make(), Slowed(task, GAIN[task.name])
    try:
        first = 1000 * seed
        return Dataset([rollout(env, expert, first + i, ENDORSE) for i in range(DEMONSTRATIONS)])
    finally:
        env.close()


def measured(policy: Policy, task: Task) -> tuple[Estimate, float]:
    """Success with Wilson's interval, and the mean return, on the seeds that all are measured on."""
    report = evaluate(policy, task.make, range(FIRST_SEED, FIRST_SEED + EPISODES))
    assert report.success_rate is not None
    return report.success_rate, report.mean_return.value


def said(success: Estimate, paid: float) -> dict[str, float]:
    """A measurement as the record has it."""
    found = {"success": success.value, "low": success.low, "high": success.high, "return": paid}
    return {k: significant(v) for k, v in found.items()}


def plan_of(module: Any) -> Any:
    """How the method's runs live in the environment."""
    return getattr(module, "PLAN", Practising())


def whole(learner: Any) -> Policy:
    """What acts: the agent, on its base where it is a correction."""
    return (
        Corrected(learner.base, learner.agent)
        if isinstance(learner, residual.Residual)
        else Chunked(learner.agent)
    )


def run(method: str, name: str, seed: int, steps: int) -> dict[str, Any]:
    """One run: the expert, and what practice makes of its demonstrations, `steps` steps of it."""
    task, (module, before, _) = find_task(name), METHODS[method]
    data = demonstrations(task, seed)
    expert = said(*measured(Slowed(task, GAIN[name]), task))
    setting = Setting(task, data, plan_of(module), replace(module.LEARNER, seed=seed), RewardConfig())
    curve, cpu = dict[str, dict[str, float]](), 0.0
    with tuned(1):
        learner = module.build(setting, module.Config())
        for _ in range(before):
            learner.step()
        curve["0"] = said(*measured(whole(learner), task))
        start = f"{method}, {name}, seed {seed}: expert {expert}, before practice {curve['0']}"
        print(start, file=sys.stderr, flush=True)
        for step in range(1, steps + 1):
            began = time.process_time()
            learner.step()
            cpu += time.process_time() - began
            if step % (steps // MEASURED) == 0 or step == steps:
                curve[str(step)] = said(*measured(whole(learner), task))
                print(f"{step}: {curve[str(step)]}", file=sys.stderr, flush=True)
    learner.close()
    won = [e.success for e in data]
    first, later = curve["0"]["success"], [c["success"] for s, c in curve.items() if s != "0"]
    return {
        "method": method, "task": name, "seed": seed, "steps": steps,
        "demonstrations_won": sum(map(bool, won)),
        "expert": expert, "before": curve["0"], "last": curve[str(steps)],
        "dip": significant(max(0.0, 1 - min(later) / first)) if first else None,
        "curve": curve, "cpu_ms_a_step": significant(1e3 * cpu / steps),
    }  # fmt: skip


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Task -> method -> pooled success of expert and last policy with Wilson's intervals, and the dips."""
    out: dict[str, Any] = {}
    for name, method in sorted({(r["task"], r["method"]) for r in runs}):
        mine = [r for r in runs if (r["task"], r["method"]) == (name, method)]
        # The expert acts on the same seeds in every run: once is all there is to know of it.
        found: dict[str, Any] = {"seeds": [r["seed"] for r in mine], "expert": mine[0]["expert"]}
        for who in ("before", "last"):
            wins = round(sum(r[who]["success"] * EPISODES for r in mine))
            found[who] = said(
                wilson(wins, EPISODES * len(mine)), float(np.mean([r[who]["return"] for r in mine]))
            )
        found["dips"] = [r["dip"] for r in mine]
        found["above_expert_on_every_seed"] = all(r["last"]["low"] > r["expert"]["high"] for r in mine)
        found["dip_under_20_percent_on_every_seed"] = all(
            r["dip"] is not None and r["dip"] < 0.2 for r in mine
        )
        out.setdefault(name, {})[method] = found
    return out


def asked(args: argparse.Namespace) -> list[tuple[str, str, int]]:
    """(method, task, seed), the first seed of all before the second of any."""
    return [(m, t, s) for s in args.seeds for m in args.methods for t in args.tasks]


def main() -> None:
    """Runs what is missing, and prints the record."""
    parser = arguments(__doc__)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["bc-rl"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--tasks", nargs="+", choices=GAIN, default=list(GAIN))
    parser.add_argument("--steps", type=int, help="of practice, where not the method's own number")
    args = parser.parse_args()
    out: Path | None = args.json_out
    found = json.loads(out.read_text())["runs"] if out is not None and out.is_file() else []
    budget = {m: args.steps or steps for m, (_, _, steps) in METHODS.items()}
    runs = [r for r in found if r["steps"] == budget[r["method"]]]  # of other budgets: anew
    known = {(r["method"], r["task"], r["seed"]) for r in runs}
    setting: dict[str, Any] = {
        "gain": GAIN, "noise": NOISE, "demonstrations": DEMONSTRATIONS, "episodes": EPISODES,
        "first_seed": FIRST_SEED, "measured": MEASURED,
        "methods": {
            m: {"method": vars(o.Config()), "learner": vars(o.LEARNER), "plan": vars(plan_of(o))}
            for m, (o, _, _) in METHODS.items()
        },
    }  # fmt: skip
    for job in asked(args):
        if job not in known:
            runs.append(run(*job, budget[job[0]]))
            if out is not None:
                emit({"setting": setting, "summary": summary(runs), "runs": runs}, out)
    emit({"setting": setting, "summary": summary(runs), "runs": runs}, out)


if __name__ == "__main__":
    main()
