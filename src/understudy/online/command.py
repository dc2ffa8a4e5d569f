"""`understudy train sac` and its relatives: learning by acting, into a run folder with the learned reward."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console

from understudy import formats
from understudy.dataset import Dataset
from understudy.envs import Task
from understudy.envs import task as find_task
from understudy.evaluate import VALIDATION_SEED, fresh_seeds
from understudy.learn import sac
from understudy.online import checkup
from understudy.online.averaged import Averaged
from understudy.online.base import Collecting, Correcting, Practising, Rewarding, Setting
from understudy.online.practice import shortfall
from understudy.rewards import RewardConfig, RewardNet, load_reward
from understudy.runs import (
    Network,
    about,
    describe_run,
    keep_base,
    nothing_else_asked,
    open_run,
    save_run,
    task_of,
    went_on,
)
from understudy.serial import parse, write_json
from understudy.train import Budget, Outcome, train

__all__ = ["defaults", "practise_run"]

_OWN = "online"  # what run.json calls the part that other runs do not have
_STEPS = 20_000  # of the environment
_NETWORK = Network(head="gaussian", std="state", activation="relu")  # of the actor that a setting gives


def defaults(algorithm: str) -> tuple[Any, Practising | Collecting, Any, RewardConfig, Budget]:
    """What is done where nothing is said: method, plan, learner, reading and budget, as the method has it."""
    module = import_module(f"understudy.online.{algorithm}")
    learner, steps = getattr(module, "LEARNER", sac.Config()), getattr(module, "STEPS", _STEPS)
    reading = getattr(module, "READING", RewardConfig())
    plan = getattr(module, "PLAN", Practising())
    # A validation is some thousand steps itself: no more than twenty in a long run.
    return module.Config(), plan, learner, reading, Budget(steps=steps, validate_every=max(1000, steps // 20))


def practise_run(
    *,
    algorithm: str,
    out: Path,
    task: str | None,
    data: Path | None,
    reward: Path | None,
    method: Any,
    plan: Practising | Collecting,
    learner: Any,
    reading: RewardConfig,
    budget: Budget,
    resume: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Learns by acting, into a run folder; with `resume`, goes on where it was interrupted.

    Args:
        algorithm: a module of `understudy.online`.
        data: demonstrations, for methods that learn from them.
        reward: a run with a reward, which then takes the place of the environment's own.
        method: the algorithm's own Config.

    A run may be resumed to more steps than it was begun with, ended or not: nothing that is learned here
    looks ahead to its end, so it then is, to the bit, the run that was given them at once.

    Raises:
        ValueError: when the folder, the data or the reward is not what it should be.
    """
    console = console or Console(quiet=True)
    asked = (method, plan, learner, reading, budget)
    before: Mapping[str, Any] = {}
    if resume:
        before = open_run(out)
        if before["algorithm"] != algorithm or _OWN not in before:
            raise ValueError(f"{out} was begun with {before['algorithm']}, not {algorithm}")
        own = _longer(_kept(before, asked), budget, defaults(algorithm)[-1])
        method, plan, learner, reading, budget = own
        nothing_else_asked(out, asked, own, defaults(algorithm))
        data, reward, task = (
            _same(out, "data", data, before[_OWN]["data"]),
            _same(out, "reward", reward, before[_OWN]["reward"]),
            before["task"],
        )
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} exists and is not empty; choose another folder, or --resume the run in it")
    episodes = None if data is None else formats.read(data)
    which = _task(task, episodes, data)
    setting = Setting(which, episodes, plan, learner, reading, None if reward is None else reward_of(reward))
    made = import_module(f"understudy.online.{algorithm}").build(setting, method)
    run = _description(out, algorithm, setting, method, budget, data, reward)
    if resume and run["data"] != before["data"]:
        raise ValueError(f"{data} is not the data that {out} was begun with")
    if resume:
        went_on(run, before)
    else:
        write_json(out / "run.json", run)
    quiet = Console(quiet=True) if resume else console
    looked = checkup.before(setting, quiet, judged=isinstance(made, Rewarding))
    seeds = fresh_seeds(plan.validation_episodes, episodes or (), VALIDATION_SEED)
    kept = made if plan.ema is None else Averaged(made, plan.ema)
    outcome = train(
        kept,
        budget,
        run=out,
        validate=shortfall((made.task if isinstance(made, Correcting) else which).make, seeds),
        resume=resume,
        progress=console.is_terminal,
    )
    if outcome.stopped == "interrupted":
        console.print(f"interrupted at step {outcome.steps} of {budget.steps}; go on with --resume")
        return {"run": str(out), "stopped": "interrupted", "steps": outcome.steps, "exit_status": 130}
    if isinstance(made, Rewarding):
        made.reward.save(out / "reward")
    if isinstance(made, Correcting):
        keep_base(out, run, made.base)
    save_run(out, run, kept.agent, outcome)
    told = _told(out, run, outcome, isinstance(made, Rewarding), console)
    return told | {"diagnosis": checkup.after(out, setting, looked, outcome.metrics, console)}


def reward_of(folder: Path) -> RewardNet:
    """The reward that a run learned, or that lies in a folder itself.

    Raises:
        ValueError: when there is none.
    """
    for place in (folder / "reward", folder):
        if (place / "reward.json").is_file():
            return load_reward(place)
    raise ValueError(f"{folder} has no reward; `understudy train maxent-irl` learns one")


def _description(
    out: Path,
    algorithm: str,
    setting: Setting,
    method: Any,
    budget: Budget,
    data: Path | None,
    reward: Path | None,
) -> dict[str, Any]:
    """What run.json says before anything has been learned."""
    facts: dict[str, Any] = {"episodes": 0, "steps": 0}
    if data is not None and setting.data is not None:
        facts = about(data, out, setting.data, setting.data.fingerprint())
    known = getattr(import_module(f"understudy.online.{algorithm}"), "NETWORK", _NETWORK)
    raw = setting.plan.observations == "raw"
    network = replace(
        known, hidden=setting.learner.hidden, normalizer="identity" if raw else known.normalizer
    )
    run = describe_run(
        setting.task.name, facts, algorithm=algorithm, config=setting.learner, network=network, budget=budget
    )
    run[_OWN] = {
        "method": asdict(method),
        "plan": asdict(setting.plan),
        "reading": asdict(setting.reading),
        "data": None if data is None else os.path.relpath(data, out),
        "reward": None if reward is None else os.path.relpath(reward, out),
    }
    return run


def _task(name: str | None, data: Dataset | None, where: Path | None) -> Task:
    made_for = None if data is None else task_of(data)
    if name is None and made_for is None:
        raise ValueError("no task is named, and no data that names one; there is nowhere to act")
    if name is not None and made_for not in (None, name):
        raise ValueError(f"{where} was recorded on {made_for}, not on {name}")
    return find_task(str(name or made_for))


def _kept(run: Mapping[str, Any], asked: tuple[Any, ...]) -> tuple[Any, ...]:
    """The settings that a resumed run was begun with."""
    own = run[_OWN]
    said = (own["method"], own["plan"], run["config"], own["reading"], run["budget"])
    names = ("method", "plan", "learner", "reading", "budget")
    return tuple(parse(type(a), s, n) for a, s, n in zip(asked, said, names, strict=True))


def _longer(own: tuple[Any, ...], asked: Budget, usual: Budget) -> tuple[Any, ...]:
    """A run's own settings, with the steps that are asked for where they are more and not just usual."""
    *others, budget = own
    more = asked.steps != usual.steps and asked.steps > budget.steps
    return (*others, replace(budget, steps=asked.steps) if more else budget)


def _same(out: Path, name: str, given: Path | None, kept: str | None) -> Path | None:
    """Where a resumed run's data or reward lies; another one is refused."""
    own = None if kept is None else out / kept
    if given is not None and (own is None or own.resolve() != given.resolve()):
        raise ValueError(f"{out} was begun with other {name} than {given}; leave --{name} out")
    return own


def _told(
    out: Path, run: Mapping[str, Any], outcome: Outcome, rewarding: bool, console: Console
) -> dict[str, Any]:
    last = outcome.metrics[-1] if outcome.metrics else {}
    words = f"mean return {-last['validation']:.4g} on the validation seeds" if "validation" in last else ""
    also = f"; its reward is in {out / 'reward'}" if rewarding else ""
    console.print(
        f"trained {run['algorithm'].replace('_', '-')} on {run['task']} for {outcome.steps} steps in "
        f"{outcome.seconds:.1f} s: {words}; kept the {outcome.selected} weights, in {out}{also}",
        soft_wrap=True,
    )
    names = ("task", "algorithm", "agent", "seconds", "cpu_seconds")
    return {
        "run": str(out),
        "stopped": outcome.stopped,
        "steps": outcome.steps,
        "reward_folder": str(out / "reward") if rewarding else None,
        **{k: run[k] for k in names},
        **last,
    }
