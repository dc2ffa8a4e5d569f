"""Success of fetch-push from a keyboard: ten demonstrations, then three rounds of corrections.

    python benchmarks/studio_operator.py --out benchmarks/results/studio_operator.json

A scripted person (`understudy.teleop.typist`) sits at the studio's own session, with no browser between: all
that he does is keys, sent thirty times a second with a reaction time, and all that is learned is what the
session saved. Training is the studio's own too, a process of its own for each round. After the demonstrations
and after every round the policy drives alone on the same fresh seeds, with the time limit that recording has.
How many were done within the task's own 50 steps is counted from the same episodes; it is low, since a
person at a keyboard moves three tenths as fast as the script that the limit was made for. Some blocks lie
at the goal from the start: "standing_still" is what who never moves gets. Intervals are over all episodes
of all seeds together, which share their test seeds; "by_seed" tells the seeds apart. The file is rewritten
after every seed, and seeds that it holds already are not repeated.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any, TypeAlias

from rich.console import Console

from common import machine
from understudy import storage
from understudy.baselines import ZeroPolicy
from understudy.envs import Task, task
from understudy.evaluate import evaluate, fresh_seeds
from understudy.numerics import tango, wilson
from understudy.provenance import provenance
from understudy.runs import open_run, policy_of
from understudy.studio.recipe import FIRST
from understudy.studio.teaching import Teaching
from understudy.supervision import Supervision
from understudy.teleop import FIRST_SEED, Session, controls_for, patient
from understudy.teleop.typist import Habits, Seen, Shift, Typist, Worry

DEMONSTRATIONS, ROUNDS, EPISODES = 10, 3, 15
SECONDS = 12.0  # of the longest episode, in recording and in evaluation
SPEED = 0.3  # of the slider on the page

One: TypeAlias = Callable[[Task, int, int, Console], dict[str, Any]]
"""(task, seed, test episodes, console) -> everything of one seed."""


def at_work(which: Task, folder: Path, seed: int) -> tuple[Session, Shift]:
    """The studio's session, and a person before it."""
    controls, window = controls_for(which), Seen(patient(which, SECONDS))
    assert which.expert is not None
    session = Session(
        window, which, controls, folder,
        operator="typist", clock=lambda: 0.0, seed=FIRST_SEED + 100_000 * (seed + 1), seconds=SECONDS,
        countdown=0.0,
    )  # fmt: skip
    session.do("speed", value=SPEED)
    return session, Shift(session, window, Typist(controls, which.expert(), Habits()), Worry(), seed)


def trained(teaching: Teaching) -> Path:
    """ "Train on them now", to its end."""
    number = teaching.begin()
    while (state := teaching.state()) is not None and state["phase"] == "training":
        time.sleep(0.5)
    if state is None or state["phase"] != "done" or teaching.newest is None:
        raise RuntimeError(f"round {number}: {state}")
    return teaching.newest


def measured(run: Path, which: Task, test: int) -> list[int]:
    """The steps to success on each test seed; 0 where there was none within the limit of recording."""
    assert which.lasting is not None
    assert which.fps is not None
    make = partial(which.lasting, ceil(SECONDS * which.fps))
    report = evaluate(policy_of(run, open_run(run)), make, fresh_seeds(test))
    return [o.steps if o.success else 0 for o in report.outcomes]


def standing(which: Task, test: int) -> dict[str, Any]:
    """What who never moves gets on the test seeds: some blocks lie at the goal already."""
    rate = evaluate(ZeroPolicy(which.action), which.make, fresh_seeds(test)).success_rate
    assert rate is not None
    return rate.summary()


def point(folder: Path, before: int, teaching: Teaching) -> dict[str, Any]:
    """What was recorded since there were `before` episodes, and what was learned from all of them."""
    data = storage.read(folder)
    new = data[before:]
    return {
        "episodes": len(data),
        "labelled": int(sum(e.labelled.sum() for e in data)),
        "supervision": Supervision.of(new).summary(),
        "recorded_steps": [len(e) for e in new],
        "recorded_successes": sum(bool(e.success) for e in new),
        "training": teaching.state(),
    }


def one(which: Task, seed: int, test: int, console: Console) -> dict[str, Any]:
    """Everything for one seed: a point after the demonstrations, and one after each round."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "recorded"
        session, shift = at_work(which, folder, seed)
        teaching = Teaching(folder)
        points: list[dict[str, Any]] = []
        try:
            for number in range(ROUNDS + 1):
                mode, episodes = ("correct", EPISODES) if number else ("record", DEMONSTRATIONS)
                shift.work(mode, episodes)
                run = trained(teaching)
                session.do("pilot", pilot=teaching.take())
                points.append(point(folder, len(points) and points[-1]["episodes"], teaching))
                said = points[-1]["steps_to_success"] = measured(run, which, test)
                console.print(
                    f"seed {seed}, round {number}: {sum(s > 0 for s in said)} of {test}, "
                    f"{sum(0 < s <= which.horizon for s in said)} in time, {points[-1]['labelled']} labelled"
                )
        finally:
            session.close()
            teaching.close()
    return {"points": points}


def table(runs: dict[str, Any], limit: int) -> dict[str, Any]:
    """Success after the demonstrations and each round, over all seeds, and what the rounds changed."""
    if not runs:
        return {}
    columns = list(zip(*(r["points"] for r in runs.values()), strict=True))
    lasts = {"limit of recording": 10**9, f"{limit} steps": limit}
    found: dict[str, Any] = {}
    for name, most in lasts.items():
        won = [[[0 < s <= most for s in p["steps_to_success"]] for p in points] for points in columns]
        flat = [[w for run in column for w in run] for column in won]
        pairs = list(zip(flat[-1], flat[0], strict=True))
        better, worse = (sum(p == wanted for p in pairs) for wanted in ((True, False), (False, True)))
        found[name] = {
            "rounds": [
                wilson(sum(column), len(column)).summary() | {"by_seed": [sum(r) / len(r) for r in runs_]}
                for column, runs_ in zip(flat, won, strict=True)
            ],
            "last_round_minus_demonstrations": tango(better, worse, len(pairs)).summary(),
        }
    labelled = [sum(p["labelled"] for p in points) / len(points) for points in columns]
    return found | {"labelled": labelled}


def study(name: str, one: One, out: Path, seeds: Iterable[int], test: int) -> None:
    """Runs the seeds that the file lacks, and rewrites it after each."""
    console, which = Console(stderr=True), task("fetch-push")
    runs: dict[str, Any] = json.loads(out.read_text())["runs"] if out.exists() else {}
    idle = standing(which, test)
    for seed in seeds:
        if str(seed) in runs:
            continue
        runs[str(seed)] = one(which, seed, test, console)
        head = {
            "benchmark": name,
            "command": f"python benchmarks/{name}.py --out benchmarks/results/{name}.json",
            "machine": machine(), "provenance": provenance(), "task": which.name,
            "demonstrations": DEMONSTRATIONS, "rounds": ROUNDS, "episodes_a_round": EPISODES,
            "speed": SPEED, "limit_steps": ceil(SECONDS * (which.fps or 1)), "habits": vars(Habits()),
            "worry": vars(Worry()), "training_steps": FIRST.budget.steps,
            "test_seeds": [fresh_seeds(test)[0], test],
            "standing_still": idle,
        }  # fmt: skip
        temporary = out.with_suffix(".tmp")
        text = json.dumps(head | {"success": table(runs, which.horizon), "runs": runs}, indent=1)
        temporary.write_text(text + "\n")
        temporary.replace(out)


def options(description: str | None, seeds: int) -> argparse.Namespace:
    """The flags of such a study."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--test", type=int, default=50, help="episodes that each policy is measured on")
    return parser.parse_args()


def main() -> None:
    """Runs what the file lacks."""
    given = options(__doc__, 5)
    study("studio_operator", one, given.out, range(given.first, given.first + given.seeds), given.test)


if __name__ == "__main__":
    main()
