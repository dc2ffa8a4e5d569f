"""The slip road's map, and the expert who drives with it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
from numpy.typing import NDArray

from understudy.episode import Array, Mask, Obs

__all__ = ["RETURN", "ROAD", "Road", "SlipRoadExpert"]

RETURN = 2  # R, the one action that leads back; 0 and 1 are the two lanes
_SALT = 0x511B


@dataclass(frozen=True)
class Road:
    """A family of roads, one a seed: what is signposted at each step, and where the sign is blank.

    At step t the right lane is z mod 2, with z uniform in 0..K-1. The sign shows z, or, with probability 2ε,
    nothing: then whoever does not know the road is wrong half of the time, so ε is the smallest error a step
    that can be learned, from however much data.

    Args:
        horizon: T, steps.
        epsilon: ε in [0, 1/2].
        contexts: K, even, so that both lanes are equally likely.

    Raises:
        ValueError: when a number is out of its range.
    """

    horizon: int = 64
    epsilon: float = 0.004
    contexts: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.horizon <= 1 << 20:
            raise ValueError(f"horizon is {self.horizon}; it must lie in [1, 2^20]")
        if not 0.0 <= self.epsilon <= 0.5:
            raise ValueError(f"epsilon is {self.epsilon}; it must lie in [0, 0.5]")
        if not 2 <= self.contexts <= 1 << 16 or self.contexts % 2:
            raise ValueError(f"contexts is {self.contexts}; it must be even and lie in [2, 2^16]")

    @property
    def blank(self) -> int:
        """The symbol of a blank sign; a context is its own symbol."""
        return self.contexts

    @property
    def off(self) -> int:
        """The symbol of having left the road."""
        return self.contexts + 1

    def drawn(self, seed: int) -> tuple[NDArray[np.int64], Mask]:
        """One road: the contexts z [T + 1], and where the sign is blank [T + 1]."""
        return _drawn(self, seed)


ROAD = Road()  # of the task `slip-road`


@lru_cache(maxsize=64)
def _drawn(road: Road, seed: int) -> tuple[NDArray[np.int64], Mask]:
    random = np.random.default_rng([seed, _SALT])
    z = random.integers(road.contexts, size=road.horizon + 1)
    blank = random.random(road.horizon + 1) < 2 * road.epsilon
    for column in (z, blank):
        column.flags.writeable = False
    return z, blank


@final
class SlipRoadExpert:
    """Takes the right lane always, and R wherever he finds the car off the road.

    He drives with the map: the road of an episode follows from its seed, which `reset` tells him as it tells
    the environment. So he is right at a blank sign too. A policy gets the same observation, but no map: the
    milestone says where on the road it is, which on a road never seen before tells nothing about the lane.
    """

    name = "slip-road expert"

    def __init__(self, road: Road = ROAD) -> None:
        self.road = road
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Opens the map of this episode's road."""
        self._z, _ = self.road.drawn(seed)

    def act(self, obs: Obs) -> Array:
        """The action [1]: 0, 1 or R."""
        if obs["sign"][self.road.off] > 0.5:
            return np.array([RETURN])
        step = round(float(obs["milestone"][0]) * self.road.horizon)
        return np.array([self._z[min(max(step, 0), self.road.horizon)] % 2])
