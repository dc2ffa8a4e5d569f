"""Where things moved: a place that a task declares or a name betrays, or else principal components."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from understudy.dataset import Dataset
from understudy.episode import Episode
from understudy.report.facts import printable
from understudy.report.motion import Look, View, look
from understudy.report.svg import percent

__all__ = ["Components", "Scene", "scene"]

Floats = NDArray[np.float64]
_ROWS = 20_000  # states that the components are computed from
_PLACE = re.compile(r"(^|[._/ ])(\w*_)?(pos|position|xyz|xy)$", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Components:
    """The two largest principal components of all low-dimensional observations, each in units of its spread.

    mean, scale: [D]. axes: [D, 2]. share: of the variance, [2].
    """

    keys: tuple[str, ...]
    mean: Floats
    scale: Floats
    axes: Floats
    share: Floats
    unit: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the axes."""
        return ("component 1", "component 2")

    def path(self, episode: Episode) -> Floats:
        """[T + 1, 2]."""
        path: Floats = (_states(episode, self.keys) - self.mean) / self.scale @ self.axes
        return path

    def target(self, episode: Episode) -> Floats | None:
        """None: a goal is not known to be among the components."""
        return None

    def distance(self, episode: Episode) -> float:
        """Not a number: there is no goal to be away from."""
        return math.nan


@dataclass(frozen=True)
class Scene:
    """A view that is known to fit the data, and what it shows, in words."""

    view: Look | Components
    note: str


def scene(view: View | None, data: Dataset) -> Scene | None:
    """The task's view, else a position by its name, else principal components; None where all is pictures."""
    schema = data.schema
    wide = {k: s[0] for k, (kind, s) in schema.items() if k != "action" and len(s) == 1 and kind == "float32"}
    declared = look(view, schema)
    if declared is not None and (not declared.guessed or declared.key == "achieved_goal"):
        return Scene(declared, _told(declared))
    for key in sorted(wide):
        if wide[key] in (2, 3) and _PLACE.search(key):
            axes = ("x", "y", "z")[: wide[key]]
            place = Look(key, tuple(range(wide[key])), axes, "", None, True)
            return Scene(place, f"obs[“{printable(key)}”], taken for a position because of its name")
    keys = tuple(sorted(k for k, (kind, _) in schema.items() if kind == "float32" and k != "action"))
    if not keys:
        return None
    found = _components(data, keys)
    if found is not None:
        one, two = (percent(float(s)) for s in found.share)
        return Scene(
            found,
            f"no task says what to plot, so these are the two largest principal components of all "
            f"{len(found.mean)} observed values, each in units of its spread; they hold {one} and {two} "
            f"of the variance",
        )
    return None if declared is None else Scene(declared, _told(declared))


def _told(view: Look) -> str:
    text = f"obs[“{printable(view.key)}”]"
    text += f", going to obs[“{printable(view.goal)}”]" if view.goal else ""
    return text + ("; no task says what to plot, so this is a guess" if view.guessed else "")


def _states(episode: Episode, keys: Sequence[str]) -> Floats:
    rows = len(episode) + 1
    return np.concatenate([episode.obs[k].reshape(rows, -1).astype(np.float64) for k in keys], axis=1)


def _components(data: Dataset, keys: tuple[str, ...]) -> Components | None:
    """None where fewer than two values move."""
    stride = max(1, -(-data.steps // _ROWS))
    states = np.concatenate([_states(e, keys)[::stride] for e in data])
    mean, spread = states.mean(0), states.std(0)
    moving = spread > 1e-9 * np.maximum(np.abs(mean), 1.0)
    if moving.sum() < 2:
        return None
    scale = np.where(moving, spread, np.inf)  # what never moves adds nothing
    # The eigenvectors of the correlation matrix: [D, D], however many states there are.
    scaled = (states - mean) / scale
    values, vectors = np.linalg.eigh(scaled.T @ scaled / len(scaled))
    axes = vectors[:, ::-1][:, :2]
    axes = axes * np.where(axes[np.abs(axes).argmax(0), [0, 1]] < 0, -1.0, 1.0)  # one sign on every machine
    return Components(keys, mean, scale, axes, values[::-1][:2] / moving.sum())
