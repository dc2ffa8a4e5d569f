"""Our DAgger on the pendulum: whole runs of rounds, everything on disk, and the last policy measured."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from worker import serve, spec, versions

from understudy.agent import Chunked
from understudy.envs import task
from understudy.evaluate import evaluate
from understudy.experts import PolicyExpert
from understudy.interactive import Rounds, Taught, dagger, teach
from understudy.learn import bc
from understudy.runs import Network

ASK = spec()
TASK = task("pendulum")
LAST: list[Taught] = []


def rounds(seed: int) -> list[int]:
    """A run of all rounds with that seed: [labelled states, gradient steps]."""
    assert TASK.expert is not None
    folder = Path(ASK["folder"]) / "ours"
    shutil.rmtree(folder, ignore_errors=True)
    plan = Rounds(
        rounds=ASK["rounds"],
        episodes=ASK["episodes"],
        retrain="warm",
        epochs=ASK["epochs"],
        validation_episodes=0,
        select="last",
        first_seed=10_000_000 + seed * ASK["rounds"] * ASK["episodes"],
    )
    made = teach(
        dagger.Method(PolicyExpert(TASK.expert()), dagger.Config("linear"), ASK["rounds"]),
        TASK,
        plan=plan,
        network=Network(hidden=tuple(ASK["hidden"]), activation="tanh"),
        config=bc.Config(batch=ASK["batch"], learning_rate=ASK["lr"], seed=seed),
        run=folder,
    )
    LAST[:] = [made]
    passes = (ASK["epochs"] * (i * ASK["steps"] // ASK["batch"]) for i in range(1, ASK["rounds"] + 1))
    return [made.log[-1]["labelled"], sum(passes)]


def returns(_: int) -> dict[str, list[float]]:
    """The return of the last run's policy, and of the expert, on every seed."""
    assert TASK.expert is not None
    both = {"policy": Chunked(LAST[0].agent, 1), "expert": TASK.expert()}
    found = {k: evaluate(p, TASK.make, ASK["seeds"]).outcomes for k, p in both.items()}
    return {k: [o.total_reward for o in outcomes] for k, outcomes in found.items()}


torch.set_num_threads(1)
serve({"rounds": rounds, "returns": returns}, versions("gymnasium", "torch", "numpy"))
