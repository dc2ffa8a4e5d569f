"""Worlds: finite MDPs with a true reward and named features, to try inverse reinforcement learning on.

Each function returns a `TabularMDP`. NumPy and SciPy; Gymnasium only for its own environments.
"""

from __future__ import annotations

from understudy.tabular.worlds.cliff import cliff
from understudy.tabular.worlds.grid import Wind
from understudy.tabular.worlds.gridworld import gridworld, macro_rewards
from understudy.tabular.worlds.objectworld import Thing, binaryworld, objectworld
from understudy.tabular.worlds.random import random_mdp
from understudy.tabular.worlds.registry import UnknownWorld, world, worlds
from understudy.tabular.worlds.roads import TURNS, RoadMap, street_grid
from understudy.tabular.worlds.routes import PREFERENCES, ROAD_FEATURES, routes
from understudy.tabular.worlds.toy_text import from_gymnasium

__all__ = [
    "PREFERENCES",
    "ROAD_FEATURES",
    "TURNS",
    "RoadMap",
    "Thing",
    "UnknownWorld",
    "Wind",
    "binaryworld",
    "cliff",
    "from_gymnasium",
    "gridworld",
    "macro_rewards",
    "objectworld",
    "random_mdp",
    "routes",
    "street_grid",
    "world",
    "worlds",
]
