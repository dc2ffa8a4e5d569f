"""The worlds by name, for command lines: strings and numbers in, an MDP out."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from understudy.tabular.mdp import TabularMDP
from understudy.tabular.worlds.cliff import cliff
from understudy.tabular.worlds.grid import Wind
from understudy.tabular.worlds.gridworld import gridworld
from understudy.tabular.worlds.objectworld import binaryworld, objectworld
from understudy.tabular.worlds.random import random_mdp
from understudy.tabular.worlds.roads import street_grid
from understudy.tabular.worlds.routes import routes
from understudy.tabular.worlds.toy_text import from_gymnasium

__all__ = ["UnknownWorld", "world", "worlds"]


class UnknownWorld(KeyError):
    """No world has that name; the message gives the nearest ones."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class _World:
    build: Callable[..., TabularMDP]
    defaults: dict[str, Any] = field(default_factory=dict)

    @property
    def options(self) -> tuple[str, ...]:
        """What can be said about it; what it says of Gymnasium's own options, Gymnasium checks."""
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        return tuple(p.name for p in inspect.signature(self.build).parameters.values() if p.kind in kinds)

    @property
    def open(self) -> bool:
        """Whether there are options that only the thing behind it knows."""
        parameters = inspect.signature(self.build).parameters.values()
        return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)


def _routes(
    rows: int = 6,
    cols: int = 6,
    *,
    seed: int = 0,
    goal: int | None = None,
    start: int | None = None,
    spacing: float = 1.0,
    closed: float = 0.1,
    toll: float = 0.5,
    discount: float = 1.0,
    horizon: int | None = None,
) -> TabularMDP:
    """`routes` on a `street_grid`, to its last junction unless told otherwise."""
    town = street_grid(rows, cols, seed=seed, spacing=spacing, closed=closed, toll=toll)
    to = town.junctions - 1 if goal is None else goal
    return routes(town, goal=to, start=start, discount=discount, horizon=horizon)


def _gymnasium(prefix: str) -> Callable[..., TabularMDP]:
    """`from_gymnasium` with the newest version of an id."""

    def build(*, discount: float, horizon: Any = None, **make_kwargs: Any) -> TabularMDP:
        import gymnasium

        ids = [i for i in gymnasium.registry if i.rpartition("-v")[0] == prefix]
        if not ids:
            raise ValueError(f"this version of Gymnasium has no {prefix}")
        newest = max(ids, key=lambda i: int(i.rpartition("-v")[2]))
        return from_gymnasium(newest, discount=discount, horizon=horizon, **make_kwargs)

    return build


_WORLDS = {
    "gridworld": _World(gridworld, {"rows": 5, "cols": 5, "slip": 0.3, "discount": 0.9}),
    "cliff": _World(cliff, {"discount": 1.0, "horizon": 40}),
    "objectworld": _World(objectworld, {"seed": 0}),
    "binaryworld": _World(binaryworld, {"seed": 0}),
    "random": _World(random_mdp, {"states": 16, "actions": 3, "branching": 4, "seed": 0, "discount": 0.9}),
    "routes": _World(_routes),
    "frozen-lake": _World(_gymnasium("FrozenLake"), {"discount": 0.99}),
    "cliff-walking": _World(_gymnasium("CliffWalking"), {"discount": 0.99}),
    "taxi": _World(_gymnasium("Taxi"), {"discount": 0.99}),
}


def worlds() -> tuple[str, ...]:
    """The names that `world` knows."""
    return tuple(_WORLDS)


def world(name: str, **options: Any) -> TabularMDP:
    """The world of that name, with the options of the function that builds it: `world("gridworld", rows=8)`.

    A wind may be written as direction and probability: `wind="up:0.3"`. What is not said has a default; seeds
    are 0. For Gymnasium's worlds, further options go to `gymnasium.make`, and the id is the newest version.

    >>> world("cliff", horizon=20).shape
    (4, 7)

    Raises:
        UnknownWorld: when there is none, naming the nearest.
        ValueError: when it has no such option, or a value breaks a rule.
    """
    if name not in _WORLDS:
        near = difflib.get_close_matches(name.lower(), _WORLDS, n=3, cutoff=0.4)
        say = f"; did you mean {' or '.join(near)}?" if near else f"; there are {', '.join(_WORLDS)}"
        raise UnknownWorld(f"there is no world {name!r}{say}")
    made = _WORLDS[name]
    for option in options:
        if option not in made.options and not made.open:
            raise ValueError(f"the world {name!r} has no option {option!r}; it has {', '.join(made.options)}")
    given = {**made.defaults, **options}
    if isinstance(given.get("wind"), str):
        given["wind"] = _wind(given["wind"])
    return made.build(**given)


def _wind(text: str) -> Wind:
    """A wind from "up:0.3"."""
    direction, _, probability = text.partition(":")
    try:
        return Wind(direction, float(probability))
    except ValueError as error:
        raise ValueError(
            f"wind is {text!r}; it is a direction and a probability, as in up:0.3 ({error})"
        ) from None
