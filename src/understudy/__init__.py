"""Imitation learning for robots: demonstrations in, a measured policy out.

The public names, each loaded when it is first used: a robot's own computer that records and measures never
loads torch.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

_HOME = {
    # what is recorded
    "Episode": "episode",
    "Batch": "dataset",
    "Dataset": "dataset",
    "read": "formats",
    "write": "storage",
    "convert": "formats",
    # who takes part
    "Env": "roles",
    "Expert": "roles",
    "Policy": "roles",
    "adapt": "envs",
    "check": "envs",
    "task": "envs",
    "tasks": "envs",
    "rollout": "rollout",
    "rollouts": "rollout",
    # what is learned
    "Agent": "agent",
    "Chunked": "agent",
    "load": "agent",
    "Budget": "train",
    "train": "train",
    # how good it is
    "Report": "evaluate",
    "compare": "evaluate",
    "evaluate": "evaluate",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'understudy' has no attribute {name!r}")
    value = getattr(import_module(f"understudy.{_HOME[name]}"), name)
    globals()[name] = value
    return value


class _Package(ModuleType):
    """Three functions share their module's name. Importing a module binds its name here and would hide
    the function from then on; here the public name stays what it is."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
