"""Environments: the door they come in by, the checker, and the tasks by name. Simulators load when they are made."""

from understudy.envs.adapt import Adapted, DoorEnv, UnseededWarning, adapt
from understudy.envs.registry import MissingExtra, Task, UnknownTask, View, task, tasks
from understudy.envs.spaces import ActionSpec

__all__ = [
    "ActionSpec",
    "Adapted",
    "DoorEnv",
    "MissingExtra",
    "Task",
    "UnknownTask",
    "UnseededWarning",
    "View",
    "adapt",
    "task",
    "tasks",
]
