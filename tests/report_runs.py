"""Run folders that look like real ones: a block carried to a goal, sometimes dropped on the way."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from understudy import storage
from understudy.dataset import Dataset
from understudy.episode import Episode
from understudy.evaluate import Outcome, Report
from understudy.numerics import tracking, wilson
from understudy.provenance import provenance

HORIZON = 50


def carry(seed: int, skill: float, dims: int = 3) -> Episode:
    """One episode: start and goal follow from the seed alone, so that policies meet the same situations."""
    place = np.random.default_rng(seed)
    start = np.array([1.34, 0.75, 0.425])[:dims] + place.uniform(-0.15, 0.15, 3)[:dims] * [1, 1, 0][:dims]
    high = place.random() < 0.5
    goal = np.array([1.34, 0.75, 0.425])[:dims] + place.uniform(-0.15, 0.15, 3)[:dims] * [1, 1, 0][:dims]
    if dims == 3 and high:
        goal[2] += place.uniform(0.05, 0.45)
    luck = np.random.default_rng([seed, int(1000 * skill)])
    hard = 0.5 if start[0] > 1.42 else 1.0
    won = bool(luck.random() < skill * hard ** (1 - skill))
    steps = int(luck.integers(15, 26)) if won else HORIZON
    reach = 1.0 if won else luck.uniform(0.2, 0.8)
    share = np.minimum(np.linspace(0, 1.15, steps + 1), 1.0)[:, None] ** 1.5 * reach
    path = start + share * (goal - start)
    if dims == 3:
        path[:, 2] += 0.12 * np.sin(np.pi * np.minimum(share[:, 0], 1.0)) * (1.0 if won else 0.5)
    path[1:] += np.cumsum(luck.normal(0, 0.0012, path[1:].shape), axis=0)
    if not won and dims == 3:
        drop = steps // 2
        path[drop:, 2] = np.maximum(0.425, path[drop, 2] - 0.03 * np.arange(steps + 1 - drop))
    action = np.clip(np.diff(path, axis=0, append=path[-1:])[:steps] * 30, -1, 1)
    action = np.concatenate([action, np.sign(luck.normal(size=(steps, 1)))], axis=1)
    obs = {
        "achieved_goal": path,
        "desired_goal": np.repeat(goal[None], steps + 1, 0),
        "state": np.concatenate([path, luck.normal(0, 0.1, (steps + 1, 2))], axis=1),
    }
    reward = np.full(steps, -1.0)
    facts: dict[str, str | int | float] = {"seed": seed, "task": "fetch-pick-place", "operator": "expert"}
    return Episode.demonstration(obs, action, reward, terminated=won, success=won, meta=facts)


def report_of(
    name: str,
    episodes: Sequence[Episode],
    reference: Sequence[Episode] | None,
    task: str = "fetch-pick-place",
) -> Report:
    outcomes = []
    for i, e in enumerate(episodes):
        path, goal = e.obs["achieved_goal"], e.obs["desired_goal"]
        off = None if reference is None else tracking(path, reference[i].obs["achieved_goal"])
        outcomes.append(
            Outcome(
                seed=int(e.meta["seed"]),
                success=e.success,
                total_reward=e.total_reward,
                steps=len(e),
                terminated=e.terminated,
                start=float(path[0].sum()),
                tracking=off,
                goal_distance=float(np.linalg.norm(path[-1] - goal[-1])),
            )
        )
    return Report(name, task, tuple(outcomes), "m", 12.5, 12.0, provenance(["understudy", "evaluate", "run"]))


def write_evaluation(run: Path, report: Report, episodes: Sequence[Episode] | None) -> None:
    folder = run / "evaluations" / report.policy
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(report.to_json())
    if episodes is not None:
        storage.write(folder / "episodes", Dataset(episodes))


def metrics(count: int = 60, every: int = 100) -> list[dict[str, float]]:
    rng = np.random.default_rng(0)
    lines = []
    for i in range(1, count + 1):
        loss = 0.4 * np.exp(-i / 9) + 0.012
        line = {
            "step": i * every,
            "loss": float(loss * rng.lognormal(0, 0.06)),
            "seconds": round(0.21 * i, 3),
        }
        line["learning_rate"] = float(5e-4 * (1 + np.cos(np.pi * i / count)))
        if i % 2 == 0:
            line["validation"] = float(loss * 1.1 + 0.004 + 0.0001 * i)
        lines.append(line)
    return lines


def make_run(
    folder: Path,
    *,
    demos: int = 100,
    fresh: int = 200,
    skill: float = 0.9,
    dims: int = 3,
    task: str = "fetch-pick-place",
    curve: bool = True,
    baselines: bool = True,
    rollouts: bool = True,
) -> dict[str, Any]:
    """Writes a whole run folder, and its demonstrations beside it; returns what run.json says."""
    data_folder = folder.parent / f"{folder.name}-demonstrations"
    data = Dataset(carry(seed, 0.97, dims) for seed in range(demos))
    folder.mkdir(parents=True)
    storage.write(data_folder, data)
    seeds = range(1_000_000, 1_000_000 + fresh)
    expert = [carry(s, 0.97, dims) for s in seeds]
    ours = [carry(s, skill, dims) for s in seeds]
    write_evaluation(folder, report_of("policy", ours, expert, task), ours if rollouts else None)
    if baselines:
        write_evaluation(folder, report_of("expert", expert, None, task), None)
        for name, level in (("nearest-neighbour", 0.45), ("replay", 0.06), ("random", 0.01), ("zero", 0.0)):
            write_evaluation(
                folder, report_of(name, [carry(s, level, dims) for s in seeds], expert, task), None
            )
    (folder / "metrics.jsonl").write_text("".join(json.dumps(m) + "\n" for m in metrics()))
    if curve:
        points = [(10, 0.07), (25, 0.66), (50, 0.9), (demos, skill)]
        listed = [
            {"episodes": n, "steps": 20 * n, "success": wilson(round(r * fresh), fresh).summary()}
            for n, r in points
        ]
        (folder / "curve.json").write_text(json.dumps(listed))
    run = {
        "format": "understudy-run",
        "version": 1,
        "algorithm": "bc",
        "task": task,
        "config": {"batch": 256, "learning_rate": 1e-3, "weight_decay": 1e-3, "clip": 10.0},
        "network": {"head": "auto", "hidden": [256, 256]},
        "data": {
            "path": os.path.relpath(data_folder, folder),
            "fingerprint": data.fingerprint(),
            "episodes": len(data),
            "steps": data.steps,
            "success": sum(map(bool, data.successes)) / len(data),
        },
        "agent": {
            "parameters": 74_244,
            "trunk": {"name": "mlp", "hidden": [256, 256]},
            "head": {"name": "deterministic"},
            "history": 1,
            "horizon": 1,
            "selected": "best",
            "selected_step": 4200,
        },
        "seconds": 12.61,
        "cpu_seconds": 12.34,
        "provenance": provenance(["understudy", "train", "bc", "--data", "demonstrations", "--out", "run"]),
    }
    (folder / "run.json").write_text(json.dumps(run))
    return run
