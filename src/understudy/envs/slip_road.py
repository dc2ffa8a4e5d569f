"""SlipRoad: the smallest world in which cloning pays for its errors with T², and DAgger with T.

On the road, the right lane must be taken at every step; the wrong one leads off it. Off the road only the
action R leads back. The expert is never off, so whoever learns from his demonstrations alone has never seen
the way back (Ross and Bagnell 2010; Ross, Gordon and Bagnell 2011).

Shapes: T steps, K contexts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import numpy as np

from understudy.envs.spaces import ActionSpec
from understudy.episode import Array, Obs
from understudy.experts.slip_road import RETURN, ROAD, Road

__all__ = ["ACTION", "SlipRoad", "cloning_cost", "dagger_cost", "shapes"]

ACTION = ActionSpec.discrete(3)


def shapes(road: Road) -> dict[str, tuple[int, ...]]:
    """Observation name -> shape of one step."""
    return {"sign": (road.contexts + 2,), "milestone": (1,)}


@final
class SlipRoad:
    """One car on roads of one family. Actions: 0 and 1, the lanes, and 2, which is R.

    `sign` [K + 2] is one-hot: the K contexts, then "blank", then "off the road". `milestone` [1] is t / T.
    Each step off the road costs 1 (reward -1). Success is to end on the road.
    """

    name = "slip-road"

    def __init__(self, road: Road = ROAD) -> None:
        self.road = road
        self.action = ACTION
        self.horizon: int | None = road.horizon
        self._symbols = np.eye(road.contexts + 2, dtype=np.float32)
        self._start(0)

    @property
    def obs(self) -> Mapping[str, tuple[int, ...]]:
        """Observation name -> shape of one step."""
        return shapes(self.road)

    def _start(self, seed: int) -> None:
        self._z, self._blank = self.road.drawn(seed)
        self._step, self._off = 0, False

    def reset(self, *, seed: int) -> tuple[Obs, Mapping[str, Any]]:
        """Starts an episode, on the road that follows from the seed."""
        self._start(seed)
        return self._observe(), {}

    def step(self, action: Array) -> tuple[Obs, float, bool, bool, Mapping[str, Any]]:
        """One step. The reward is that of the state in which the action was taken."""
        if self._step >= self.road.horizon:
            raise ValueError(f"the episode ended after {self.road.horizon} steps; reset starts another")
        chosen, reward = int(self.action.settle(action)[0]), -float(self._off)
        right = RETURN if self._off else self._z[self._step] % 2
        self._off = chosen != right
        self._step += 1
        over = self._step == self.road.horizon
        return self._observe(), reward, False, over, {"success": not self._off} if over else {}

    def close(self) -> None:
        """Nothing is held."""

    def _observe(self) -> Obs:
        road, t = self.road, self._step
        symbol = road.off if self._off else road.blank if self._blank[t] else int(self._z[t])
        return {
            "milestone": np.array([t / road.horizon], np.float32),
            "sign": self._symbols[symbol].copy(),
        }


def _checked(horizon: int, epsilon: float) -> None:
    if horizon < 0 or not 0.0 <= epsilon <= 1.0:
        raise ValueError(f"horizon {horizon} must be at least 0 and epsilon {epsilon} lie in [0, 1]")


def cloning_cost(horizon: int, epsilon: float) -> float:
    """J of a clone that errs with probability ε a step and never returns: Σ_{t<T} [1 - (1 - ε)^t] ≈ ε T² / 2.

    It is off the road at step t unless all t choices before were right.

    >>> round(cloning_cost(64, 0.004), 2)
    7.44
    """
    _checked(horizon, epsilon)
    return float((1.0 - (1.0 - epsilon) ** np.arange(horizon)).sum())


def dagger_cost(horizon: int, epsilon: float) -> float:
    """J of a policy that errs as often but always returns: Σ_{t<T} p_t, p_0 = 0, p_{t+1} = (1 - p_t) ε ≈ ε T.

    >>> round(dagger_cost(64, 0.004), 3)
    0.251
    """
    _checked(horizon, epsilon)
    total = off = 0.0
    for _ in range(horizon):
        total += off
        off = (1.0 - off) * epsilon
    return total
