"""Words on a command line to the expert they mean."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np

from understudy.agent import Chunked, load
from understudy.envs import Task
from understudy.experts.anywhere import as_expert
from understudy.experts.sb3 import load_sb3
from understudy.experts.terminal import terminal_expert
from understudy.roles import Expert, Policy
from understudy.runs import open_run, policy_of

__all__ = ["HELP", "expert_from"]

HELP = (
    "'task' (the task's own), a run or agent folder, a Stable-Baselines3 .zip, 'module:attribute' (imported "
    "and run), or 'terminal' (you)"
)


def expert_from(words: str, which: Task) -> Expert:
    """The expert that these words name, on this task.

    - "task": the task's own scripted expert.
    - A folder: a run (`understudy train`) or a saved agent, which acts as `evaluate` lets it act.
    - A file that ends in .zip: a policy that Stable-Baselines3 saved; nothing in it is unpickled.
    - "module:attribute": an expert, a policy, a function of the observation, or anything else that
      `as_expert` takes; a class is made without arguments. The module is imported, and so its code runs; it
      is looked for among the installed ones and then in the current folder. "module:object.attribute" goes
      deeper.
    - "terminal": a person at this terminal, who can also hold a gate.

    A folder and a file are tried once on observations of the task's shapes, so that one for another task is
    refused before anything is begun.

    Raises:
        ValueError: when the words name nothing, or nothing that fits the task; one line.
    """
    if words == "task":
        if which.expert is None:
            raise ValueError(f"task {which.name!r} has no expert of its own; an expert is {HELP}")
        return as_expert(which.expert())
    if words == "terminal":
        return terminal_expert(which.action)
    path = Path(words)
    if path.is_dir():
        return as_expert(_fits(_agent(path), words, which))
    if path.suffix == ".zip" and path.is_file():
        return as_expert(_fits(load_sb3(path, which.action), words, which))
    module, colon, attribute = words.partition(":")
    if colon and all(part.isidentifier() for part in [*module.split("."), *attribute.split(".")]):
        return _imported(module, attribute)
    raise ValueError(f"expert {words!r} is no file or folder here, nor any other expert: it is {HELP}")


def _agent(folder: Path) -> Policy:
    if (folder / "run.json").is_file():
        run = open_run(folder)
        if run["data"].get("converted"):
            raise ValueError(
                f"{folder} learned from converted actions, which no task takes; it cannot be an expert"
            )
        return policy_of(folder, run)
    try:
        return Chunked(load(folder))
    except FileNotFoundError:
        raise ValueError(f"{folder} is neither a run nor a saved agent") from None


def _fits(policy: Policy, words: str, which: Task) -> Policy:
    """The policy, once it has answered an observation of the task's shapes with an action of the task."""
    try:
        obs = {
            k: np.zeros(shape, np.uint8 if len(shape) == 3 else np.float32) for k, shape in which.obs.items()
        }
        policy.reset(0)
        which.action.settle(policy.act(obs))
    except ValueError as e:
        raise ValueError(f"expert {words} does not fit task {which.name}: {e}") from None
    policy.reset(0)
    return policy


def _imported(module: str, attribute: str) -> Expert:
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # for good: worker processes, which inherit the path, need the module too
    try:
        thing: Any = importlib.import_module(module)
    except ModuleNotFoundError as e:
        if e.name is None or not f"{module}.".startswith(f"{e.name}."):
            raise  # the module is there, and misses another
        raise ValueError(f"there is no module {e.name!r}, here or among the installed ones") from None
    for part in attribute.split("."):
        if not hasattr(thing, part):
            raise ValueError(f"module {module!r} has no {attribute!r}")
        thing = getattr(thing, part)
    if isinstance(thing, type):
        try:
            thing = thing()
        except TypeError as e:
            raise ValueError(
                f"{module}:{attribute} is a class that cannot be made without arguments: {e}"
            ) from None
    try:
        return as_expert(thing)
    except TypeError as e:
        raise ValueError(f"{module}:{attribute}: {e}") from None
