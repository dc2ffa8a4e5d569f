"""How well the measures of demonstrations see the faults they claim to see, and what that costs.

    python benchmarks/quality.py --json-out benchmarks/results/quality.json

100 demonstrations of two tasks' experts; a fault is put into 30 of them (`quality.inject`), for each of five
seeds. For every measure that claims to see that fault (`quality.MEASURES`) stands the area under the ROC
curve, mean and least of the seeds, and for the list of the worst how many of its first 30 were spoilt.
"in_simulation" spoils the demonstrator instead of the recording: the expert's hand shakes by 0.2 half ranges,
and the states follow. The findings on sound data are those that are more than information. Times are of CPU
on one thread.
"""

from __future__ import annotations

import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

import statistics
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import arguments, emit
from understudy.dataset import Dataset
from understudy.envs import Task, task, tasks
from understudy.episode import Array, Obs
from understudy.experts import ENDORSE
from understudy.numerics import auroc
from understudy.quality import FAULTS, MEASURES, Inspection, distance, inject, inspect, rank
from understudy.roles import Policy
from understudy.rollout import rollouts

TASKS = ("pendulum", "fetch-pick-place")
EPISODES, SHARE, SEEDS = 100, 0.3, range(5)
SHAKE = 0.2  # half action ranges
TARGET = 0.9


class Shaking:
    """A demonstrator with an unsteady hand."""

    name = "shaking expert"

    def __init__(self, expert: Policy, which: Task) -> None:
        self._expert, self._spec = expert, which.action

    def reset(self, seed: int) -> None:
        """Starts the episode's own stream of numbers."""
        self._expert.reset(seed)
        self._rng = np.random.default_rng((seed, 1))

    def act(self, obs: Obs) -> Array:
        """[A], what the expert does, and white noise."""
        half = (self._spec.high - self._spec.low) / 2
        meant = self._expert.act(obs) + SHAKE * half * self._rng.normal(size=half.shape)
        return np.clip(meant, self._spec.low, self._spec.high)


def demonstrations(t: Task, seeds: range, *, shaking: bool = False) -> Dataset:
    """Of the task's expert, one a seed."""
    assert t.expert is not None
    policy = Shaking(t.expert(), t) if shaking else t.expert()
    return Dataset(rollouts(t.make, policy, seeds, ENDORSE))


def areas(found: Inspection, fault: str, bad: NDArray[np.bool_]) -> dict[str, float]:
    """Measure -> area under the ROC curve, for those that claim to see the fault.

    An episode that is too short for a measure counts as the median one: nothing is claimed of it.
    """
    out = {}
    for name, m in MEASURES.items():
        if fault in m.sees:
            x = np.array([e.measures.get(name, np.nan) for e in found.episodes])
            x = np.where(np.isnan(x), np.nanmedian(x), x)
            out[name] = auroc(x if m.worse == "high" else -x, bad)
    return out


def named(found: Inspection, bad: NDArray[np.bool_]) -> float:
    """How many of the first of the worst are spoilt: of as many as there are spoilt ones."""
    return float(bad[[w.index for w in found.worst[: bad.sum()]]].sum() / bad.sum())


def summed(runs: Sequence[tuple[dict[str, float], float]]) -> dict[str, Any]:
    """Areas by measure, and the share named, over seeds."""
    out: dict[str, Any] = {}
    for name in runs[0][0]:
        x = [r[0][name] for r in runs]
        least = round(min(x), 3)
        out[name] = {"auroc": round(statistics.mean(x), 3)} | {
            "least": least, "target": f">= {TARGET}", "met": min(x) > TARGET
        }  # fmt: skip
    return {"measures": out, "spoilt_among_the_worst": round(statistics.mean(r[1] for r in runs), 3)}


def faults(data: Dataset) -> dict[str, Any]:
    """Every fault, put into the recording."""
    out: dict[str, Any] = {}
    for fault in FAULTS:
        runs = []
        for seed in SEEDS:
            worse, bad = inject(data, fault, share=SHARE, seed=seed)
            found = inspect(worse)
            runs.append((areas(found, fault, bad), named(found, bad)))
        out[fault] = summed(runs)
    return out


def in_simulation(data: Dataset, shaken: Dataset) -> dict[str, Any]:
    """Noise in the demonstrator's hand, with everything that follows from it."""
    runs, ranked = [], []
    for seed in SEEDS:
        bad = np.zeros(len(data), np.bool_)
        bad[np.random.default_rng(seed).choice(len(data), round(SHARE * len(data)), replace=False)] = True
        mixed = Dataset(shaken[i] if b else data[i] for i, b in enumerate(bad))
        found = inspect(mixed)
        runs.append((areas(found, "noise", bad), named(found, bad)))
        ranked.append(auroc(-rank(mixed), bad))
    return {"noise": summed(runs) | {"rank_auroc": round(statistics.mean(ranked), 3)}}


def sound(names: Sequence[str], episodes: int = 40) -> dict[str, Any]:
    """The warnings that sound demonstrations of each task raise, by kind, and the episodes they name."""
    out = {}
    for name in names:
        found = inspect(demonstrations(task(name), range(episodes)), angles=task(name).angles)
        told = Counter({f.kind: len(f.episodes) for f in found.findings if f.severity != "info"})
        out[name] = {"episodes": episodes, "warnings": dict(told)}
    return out


def cost(episodes: int = 1000, length: int = 200, width: int = 14, action: int = 7) -> dict[str, Any]:
    """CPU seconds of inspecting, ranking and comparing random walks with a tanh controller."""
    rng = np.random.default_rng(0)
    states = rng.normal(size=(episodes, length + 1, width)).cumsum(1) / length**0.5
    acts = np.tanh(states[:, :-1, :action] + 0.1 * rng.normal(size=(episodes, length, action)))
    flat = states.reshape(-1, width).astype(np.float32)
    data = Dataset.from_columns(
        {"state": flat}, acts.reshape(-1, action).astype(np.float32), np.full(episodes, length)
    )
    seconds = {}
    inspect(data[:20])  # imports are not what is measured
    for name, run in (
        ("inspect", lambda: inspect(data)),
        ("rank", lambda: rank(data)),
        ("distance", lambda: distance(data[: episodes // 2], data[episodes // 2 :])),
    ):
        begun = time.process_time()
        run()
        seconds[name] = round(time.process_time() - begun, 2)
    size = {"episodes": episodes, "steps": episodes * length, "state": width, "action": action}
    met = seconds["inspect"] <= 10
    return size | {
        "cpu_seconds": seconds,
        "inspect": {"value": seconds["inspect"], "target": "<= 10", "met": met},
    }


def main() -> None:
    """Measures, and prints the record."""
    out = arguments(__doc__ or "").parse_args().json_out
    record: dict[str, Any] = {
        "episodes": EPISODES,
        "share": SHARE,
        "seeds": [SEEDS.start, SEEDS.stop - 1],
        "tasks": {},
    }
    for name in TASKS:
        t = task(name)
        data = demonstrations(t, range(EPISODES))
        shaken = demonstrations(t, range(EPISODES), shaking=True)
        record["tasks"][name] = {
            "in_recording": faults(data),
            "in_simulation": in_simulation(data, shaken),
        }
    record["sound"] = sound([name for name in tasks() if task(name).expert is not None])
    record["cost"] = cost()
    emit(record, out)


if __name__ == "__main__":
    main()
