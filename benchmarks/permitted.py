"""Does HG-DAgger's permitted set hold? Failures from starts inside and outside of it, and what doubt knows.

    python benchmarks/permitted.py --out benchmarks/results/permitted.json

On fetch-pick-place, for each training seed: HG-DAgger from 10 demonstrations, then its last policy and the
threshold from its own intervention log. The policy is pushed for 5 steps, as hard as each seed says, and left
alone where that ends (`interactive.permitted.validate`). Doubt is held against the distance to the nearest
state that was learned from, on states met after pushes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree
from scipy.stats import spearmanr

from understudy.agent import Chunked
from understudy.dataset import Dataset
from understudy.envs import Task, task
from understudy.episode import Array
from understudy.experts import PolicyExpert
from understudy.interactive import Rounds, hg_dagger, teach
from understudy.interactive.doubtgate import doubts
from understudy.interactive.permitted import PermittedSet, Pushed, Validation, validate
from understudy.learn import bc
from understudy.provenance import provenance
from understudy.record import demonstrate
from understudy.rollout import Workers, rollouts
from understudy.train import Budget

SEEDS, STARTS, STEPS = 3, range(3_000_000, 3_000_200), 5
ROUNDS, EPISODES, BUDGET = 4, 10, Budget(steps=2000)


def taught(which: Task, seed: int, pool: Workers) -> tuple[PermittedSet, Dataset, dict[str, Any]]:
    """The last policy of HG-DAgger with its threshold, what it learned from, and what that cost."""
    assert which.expert is not None
    first = 10_000 * (seed + 1)
    start = demonstrate(which, range(first, first + 10), workers=pool)
    method = hg_dagger.Method(PolicyExpert(which.expert()), hg_dagger.Config(), ROUNDS)
    plan = Rounds(ROUNDS, EPISODES, validation_episodes=0, select="last", first_seed=20_000_000 + 1000 * seed)
    config = bc.Config(batch=128, weight_decay=1e-3, seed=seed)
    lesson = teach(method, which, start=start, plan=plan, config=config, budget=BUDGET, workers=pool)
    noted = {"labelled": lesson.log[-1]["labelled"], "tau": method.tau}
    return PermittedSet(lesson.agent, method.tau), lesson.data, noted


def rank(permitted: PermittedSet, data: Dataset, which: Task, pool: Workers) -> float:
    """Spearman's correlation of doubt and distance to the nearest state that was learned from."""
    pushed = rollouts(
        which.make, Chunked(permitted.agent), list(STARTS)[:50], arbiter=Pushed(1.0, 50, which.action),
        workers=pool,
    )  # fmt: skip
    learned = np.concatenate([_flat(e.obs)[:-1][e.labelled] for e in data])
    spread = learned.std(0) + 1e-6
    met = np.concatenate([_flat(e.obs)[:-1] for e in pushed])
    unsure = np.concatenate([doubts(permitted.agent, e)[:-1] for e in pushed])
    far = cKDTree(learned / spread).query(met / spread)[0]
    return float(spearmanr(far, unsure).statistic)


def _flat(obs: Any) -> Array:
    return np.concatenate([obs[k] for k in sorted(obs)], 1)


def main() -> None:
    """All seeds, each on its own and together."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--task", default="fetch-pick-place")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(1)
    which = task(given.task)
    runs, found = [], list[Validation]()
    with Workers(given.workers) as pool:
        for seed in range(SEEDS):
            permitted, data, noted = taught(which, seed, pool)
            found.append(validate(permitted, which.make, STARTS, steps=STEPS, workers=pool))
            noted |= {"spearman_distance": rank(permitted, data, which, pool)}
            runs.append({"seed": seed} | noted | found[-1].summary())
            print(json.dumps(runs[-1]), flush=True)
    # Each start is inside or outside by the threshold of its own policy: doubts over it are comparable.
    doubt = np.concatenate([v.doubt / v.tau for v in found])
    together = Validation(1.0, doubt, np.concatenate([v.failed for v in found]), sum(v.over for v in found))
    head = {
        "benchmark": "permitted",
        "command": "python benchmarks/permitted.py --out benchmarks/results/permitted.json",
        "task": given.task, "seeds": SEEDS, "starts": len(STARTS), "pushed_steps": STEPS,
        "rounds": ROUNDS, "episodes": EPISODES, "provenance": provenance(),
    }  # fmt: skip
    found_all = head | {"together": together.summary(), "runs": runs}
    given.out.write_text(json.dumps(found_all, indent=1) + "\n")


if __name__ == "__main__":
    main()
