"""Symmetries that a task declares: what a reflection or a turn of the world does to observations and actions.

The same code serves NumPy arrays and tensors, so that one declaration is tested against the expert and used
in training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Flips", "Reflection", "Turning", "Turns"]


def _copied(x: Any) -> Any:
    return x.copy() if isinstance(x, np.ndarray) else x.clone()


@dataclass(frozen=True)
class Flips:
    """What a reflection does to one vector [..., D]. Dimensions that are not named stay.

    Args:
        odd: dimensions that change sign: components of velocities and forces across the mirror, and of turns
            and angular velocities (which are axial) along it.
        about: (dimension, c) of places across the mirror, which become 2 c − x.
        swap: pairs of dimensions that change places: left and right.
    """

    odd: tuple[int, ...] = ()
    about: tuple[tuple[int, float], ...] = ()
    swap: tuple[tuple[int, int], ...] = ()

    def __call__(self, x: Any) -> Any:
        """The mirror image of `x` [..., D]; twice gives `x`."""
        out = _copied(x)
        for i, j in self.swap:
            out[..., i], out[..., j] = x[..., j], x[..., i]
        for i in self.odd:
            out[..., i] = -out[..., i]
        for i, centre in self.about:
            out[..., i] = 2 * centre - out[..., i]
        return out


@dataclass(frozen=True)
class Reflection:
    """A mirror in which the task looks the same.

    Args:
        plane: the mirror, in words.
        obs: observation name -> what becomes of it; every observation of the task is named.
        action: what becomes of actions.
    """

    plane: str
    obs: Mapping[str, Flips]
    action: Flips


@dataclass(frozen=True)
class Turns:
    """What a turn by θ does to one vector [..., D]. Dimensions that are not named stay.

    Args:
        places: (x, y) dimensions of points, which turn counter-clockwise about `centre`.
        centre: of the turn.
        free: (x, y) dimensions of vectors without a place: velocities, differences, forces, directions.
        angles: dimensions in radians that grow by θ, wrapped to [−π, π).
    """

    places: tuple[tuple[int, int], ...] = ()
    centre: tuple[float, float] = (0.0, 0.0)
    free: tuple[tuple[int, int], ...] = ()
    angles: tuple[int, ...] = ()

    def __call__(self, x: Any, cos: Any, sin: Any, angle: Any) -> Any:
        """`x` [..., D] turned by `angle` [...], whose cosine and sine are given with it."""
        out = _copied(x)
        points = [(pair, self.centre) for pair in self.places] + [(pair, (0.0, 0.0)) for pair in self.free]
        for (i, j), (cx, cy) in points:
            a, b = x[..., i] - cx, x[..., j] - cy
            out[..., i] = cos * a - sin * b + cx
            out[..., j] = sin * a + cos * b + cy
        for i in self.angles:
            out[..., i] = (x[..., i] + angle + math.pi) % (2 * math.pi) - math.pi
        return out


@dataclass(frozen=True)
class Turning:
    """A vertical axis about which the task may be turned by any angle, and looks the same.

    Args:
        axis: in words.
        obs: observation name -> what becomes of it; every observation of the task is named.
        action: what becomes of actions.
    """

    axis: str
    obs: Mapping[str, Turns]
    action: Turns = field(default_factory=Turns)
