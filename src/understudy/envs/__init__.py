"""Environments: the door they come in by, the checker, and the tasks by name. Simulators load late."""

from understudy.envs.checker import Finding, check
from understudy.envs.door import Adapted, DoorEnv, UnseededWarning, adapt
from understudy.envs.filming import FilmError, film, render_available
from understudy.envs.registry import MissingExtra, Task, UnknownTask, View, task, tasks, worlds
from understudy.envs.slip_road import SlipRoad, cloning_cost, dagger_cost
from understudy.envs.spaces import ActionSpec
from understudy.envs.symmetry import Flips, Reflection, Turning, Turns

__all__ = [
    "ActionSpec",
    "Adapted",
    "DoorEnv",
    "FilmError",
    "Finding",
    "Flips",
    "MissingExtra",
    "Reflection",
    "SlipRoad",
    "Task",
    "Turning",
    "Turns",
    "UnknownTask",
    "UnseededWarning",
    "View",
    "adapt",
    "check",
    "cloning_cost",
    "dagger_cost",
    "film",
    "render_available",
    "task",
    "tasks",
    "worlds",
]
