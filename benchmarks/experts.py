"""What the scripted experts reach, and how fast the environments are, over seeds 0 to 99.

    python benchmarks/experts.py --json-out benchmarks/results/experts.json

Success with its Wilson interval, the return with its bootstrap interval, the steps an episode takes, and what
becomes of it when what is executed is disturbed by 0.2 half action ranges (DART). Steps a second are of CPU
time on one thread, environment, expert and record included. The Fetch tasks are also timed in turns against
Gymnasium-Robotics' own environments, whose states they equal; and 200 episodes of fetch-pick-place are timed
with one process and with two, in wall time, started and already running: the least of the rounds, because
other work on the machine only ever adds.
"""

from __future__ import annotations

import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from common import arguments, emit
from understudy.envs import DoorEnv, Task, adapt, task, tasks
from understudy.experts import ENDORSE, NoisyExecution, TrainedExpert
from understudy.numerics import bootstrap, wilson
from understudy.rollout import Workers, rollout, rollouts

SEEDS = range(100)
NOISE = 0.2
ORIGINALS = {
    "fetch-reach": "FetchReach-v4",
    "fetch-push": "FetchPush-v4",
    "fetch-pick-place": "FetchPickAndPlace-v4",
}


def rounded(estimate: Any) -> dict[str, Any]:
    """An estimate, to four digits."""
    return {
        "value": float(f"{estimate.value:.4g}"),
        "low": float(f"{estimate.low:.4g}"),
        "high": float(f"{estimate.high:.4g}"),
        "n": estimate.n,
    }


def expert(t: Task) -> dict[str, Any]:
    """Success, return, length and speed of a task's expert."""
    assert t.expert is not None
    t.make().close()  # imports and compiled files are not what is measured
    begun = time.process_time()
    clean = rollouts(t.make, t.expert(), SEEDS, ENDORSE)
    seconds = time.process_time() - begun
    noisy = rollouts(t.make, t.expert(), SEEDS, ENDORSE, NoisyExecution(NOISE, t.action))
    return {
        "success": rounded(wilson(sum(bool(e.success) for e in clean), len(clean))),
        "return": rounded(bootstrap([e.total_reward for e in clean])),
        "steps": round(statistics.mean(len(e) for e in clean), 1),
        "success_with_noise": rounded(wilson(sum(bool(e.success) for e in noisy), len(noisy))),
        "steps_per_cpu_second": round(sum(map(len, clean)) / seconds),
    }


def paced(env: DoorEnv, steps: int = 250) -> float:
    """Steps a CPU second under random actions, resets included."""
    random = np.random.default_rng(0)
    begun, done = time.process_time(), 0
    while done < steps:
        env.reset(seed=done)
        over = False
        while not over and done < steps:
            _, _, terminated, truncated, _ = env.step(random.uniform(-1, 1, env.action.width))
            over, done = terminated or truncated, done + 1
    return steps / (time.process_time() - begun)


def against_the_original(name: str, id: str, repeats: int = 7) -> dict[str, Any]:
    """Our Fetch environment and Gymnasium-Robotics', as `gymnasium.make` gives it, timed in turns."""
    import gymnasium

    ours, theirs = task(name).make(), adapt(gymnasium.make(id))
    rounds = [(paced(ours), paced(theirs)) for _ in range(repeats)]
    return {
        "steps_per_cpu_second": round(statistics.median(a for a, _ in rounds)),
        "gymnasium_robotics": round(statistics.median(b for _, b in rounds)),
        "ratio": round(statistics.median(a / b for a, b in rounds), 2),
    }


def processes(t: Task, episodes: int = 200, repeats: int = 5) -> dict[str, Any]:
    """Wall seconds of rollouts in one process, in two just started, and in two that were running."""
    assert t.expert is not None
    policy, seeds = t.expert(), range(episodes)

    def timed(run: Callable[[], Any]) -> float:
        begun = time.perf_counter()
        run()
        return time.perf_counter() - begun

    walls: dict[str, list[float]] = {"one": [], "two_started": [], "two_running": []}
    env = t.make()
    for _ in range(repeats):
        walls["one"].append(timed(lambda: [rollout(env, policy, s, ENDORSE) for s in seeds]))
        with Workers(2) as pool:
            for name in ("two_started", "two_running"):
                walls[name].append(timed(lambda p=pool: rollouts(t.make, policy, seeds, ENDORSE, workers=p)))
    return {"episodes": episodes} | {k: round(min(v), 2) for k, v in walls.items()}


def scripted() -> list[str]:
    """The tasks with a scripted expert; trained ones have a table of their own (`trained_experts.py`)."""
    experts = {name: task(name).expert for name in tasks()}
    return [n for n, e in experts.items() if e is not None and not isinstance(e(), TrainedExpert)]


def main() -> None:
    """Measures, and prints the record."""
    out = arguments(__doc__ or "").parse_args().json_out
    record: dict[str, Any] = {"seeds": [SEEDS.start, SEEDS.stop - 1], "noise": NOISE}
    record["experts"] = {name: expert(task(name)) for name in scripted()}
    record["fetch"] = {name: against_the_original(name, id) for name, id in ORIGINALS.items()}
    record["wall_seconds"] = {"fetch-pick-place": processes(task("fetch-pick-place"))}
    emit(record, out)


if __name__ == "__main__":
    main()
