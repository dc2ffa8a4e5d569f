"""Ours: GAIL and AIRL by PPO on the pendulum, whole runs, and the last policy measured."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from worker import serve, spec, versions

from understudy.agent import Agent, Chunked
from understudy.dataset import Dataset
from understudy.envs import task
from understudy.episode import Episode
from understudy.evaluate import evaluate
from understudy.online import airl, gail
from understudy.online.base import Setting
from understudy.runtime import tuned

ASK = spec()
MODULES: dict[str, Any] = {"gail": gail, "airl": airl}
LAST: list[Agent] = []


def demonstrations(seed: int) -> Dataset:
    """The steps that were made for this seed; each episode ran out of time."""
    with np.load(ASK["demonstrations"].format(seed=seed), allow_pickle=False) as f:
        pairs = zip(f["obs"], f["action"], strict=True)
        return Dataset([Episode.demonstration(obs, action) for obs, action in pairs])


def train(name: str, seed: int) -> dict[str, Any]:
    """A run with the method's own settings: the steps that it took, and what it told last."""
    module = MODULES[name]
    own = replace(module.LEARNER, seed=seed)
    plan = replace(module.PLAN, envs=ASK["envs"], rollout=ASK["rollout"])
    setting = Setting(task("pendulum"), demonstrations(seed), plan, own, module.READING)
    learner, told = module.build(setting, module.Config()), dict[str, float]()
    for _ in range(ASK["steps"]):
        told = learner.step()
    learner.close()
    LAST[:] = [learner.agent]
    return {"steps": learner.collect.steps, "told": told}


def returns(_: int) -> list[float]:
    """The return of the last run's policy, by its mode, on every seed."""
    found = evaluate(Chunked(LAST[0]), task("pendulum").make, ASK["seeds"])
    return [float(o.total_reward) for o in found.outcomes]


def main() -> None:
    with tuned():
        runs = {name: partial(train, name) for name in MODULES}
        serve(runs | {"returns": returns}, versions("torch", "numpy", "gymnasium"))


main()
