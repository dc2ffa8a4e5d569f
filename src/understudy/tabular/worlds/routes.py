"""Driving on a road map: which way does one take, and what does that say one prefers?"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from understudy.tabular.mdp import TabularMDP
from understudy.tabular.worlds.grid import count
from understudy.tabular.worlds.roads import TURNS, RoadMap

__all__ = ["PREFERENCES", "ROAD_FEATURES", "routes"]

ROAD_FEATURES = ("kilometres", "minutes", "highway kilometres", "toll", *TURNS)

# A driver who prefers short and quick ways and highways, avoids tolls, and dislikes turning, left above all.
PREFERENCES: Mapping[str, float] = {
    "kilometres": -1.0,
    "minutes": -0.3,
    "highway kilometres": 0.2,
    "toll": -1.5,
    "straight on": -0.2,
    "left turn": -1.0,
    "right turn": -0.4,
    "hard turn": -1.2,
    "U-turn": -4.0,
}


def routes(
    road_map: RoadMap,
    *,
    goal: int,
    preferences: Mapping[str, float] = PREFERENCES,
    start: int | None = None,
    discount: float = 1.0,
    horizon: int | None = None,
) -> TabularMDP:
    """Driving to a junction (after Ziebart, Maas, Bagnell and Dey 2008): a state is the road one is on.

    An action is the road to take at its end, the a-th of those that leave there in the order of the map, so
    that states have different numbers of actions. Nothing is left to chance. A step counts the features of
    the road taken and of the turn into it; roads that end at the goal are terminal.

    Args:
        goal: the junction to reach.
        preferences: the weights of the true reward by feature; those not named are 0.
        start: the road one begins on; None: all roads that do not end at the goal alike.
        horizon: decisions. None with a discount of 1 takes as many as make arriving the best one can do from
            every road: no way that does not arrive costs less. None with a smaller discount is without end.

    Raises:
        ValueError: when the goal or the start is not on the map or a road leads to no way to the goal, when a
            preference names no feature, or when a step earns a reward that is not negative (then the best way
            is to drive on for ever).
    """
    if not 0 <= count("goal", goal, 0) < road_map.junctions:
        raise ValueError(f"goal is {goal}; the map has the junctions 0 to {road_map.junctions - 1}")
    before, exit_, after = road_map.following
    phi = _features(road_map, after, road_map.turns(before, after))
    earned = phi @ _weights(preferences)
    ends = road_map.head == goal
    cost = _cost_to_goal(road_map, before, after, earned, ends)
    if horizon is None and discount == 1.0:
        horizon = 1 + ceil(cost.max() / -earned[~ends[before]].max())
    actions = int(exit_.max()) + 1
    reward = np.zeros((road_map.roads, actions))
    reward[before, exit_] = earned
    features = np.zeros((road_map.roads, actions, len(ROAD_FEATURES)))
    features[before, exit_] = phi
    step = csr_array(
        (np.ones(len(after)), (before * actions + exit_, after)),
        shape=(road_map.roads * actions, road_map.roads),
    )
    return TabularMDP.make(
        step,
        initial=_initial(road_map, ends, start),
        discount=discount,
        horizon=horizon,
        features=features,
        reward=reward,
        terminal=ends,
        name=f"routes to junction {goal}",
        feature_names=ROAD_FEATURES,
        state_names=road_map.names,
        action_names=tuple(f"exit {a}" for a in range(actions)),
    )


def _features(road_map: RoadMap, after: NDArray[np.int64], turns: NDArray[np.int64]) -> NDArray[np.float64]:
    """[M, K] of every pair of a road and the next one."""
    length = road_map.kilometres[after]
    highway = np.array([kind == "highway" for kind in road_map.kinds])[after]
    columns = [length, 60.0 * length / road_map.speed[after], length * highway, road_map.toll[after]]
    return np.concatenate([np.stack(columns, axis=1), np.eye(len(TURNS))[turns]], axis=1)


def _weights(preferences: Mapping[str, float]) -> NDArray[np.float64]:
    for name in preferences:
        if name not in ROAD_FEATURES:
            raise ValueError(f"there is no road feature {name!r}; there are {', '.join(ROAD_FEATURES)}")
    return np.array([float(preferences.get(name, 0.0)) for name in ROAD_FEATURES])


def _cost_to_goal(
    road_map: RoadMap,
    before: NDArray[np.int64],
    after: NDArray[np.int64],
    earned: NDArray[np.float64],
    ends: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """[E], the least that arriving costs from each road on."""
    if not ends.any():
        raise ValueError("no road ends at the goal")
    lasting = ~ends[before]
    if not (earned[lasting] < 0).all():
        worst = np.flatnonzero(lasting & ~(earned < 0))[0]
        raise ValueError(
            f"taking {road_map.names[after[worst]]} from {road_map.names[before[worst]]} earns "
            f"{earned[worst]:.3g}; every step must cost something, or driving for ever is best"
        )
    back = csr_array((-earned[lasting], (after[lasting], before[lasting])), shape=(road_map.roads,) * 2)
    cost = np.asarray(dijkstra(back, indices=np.flatnonzero(ends), min_only=True))
    if not np.isfinite(cost).all():
        raise ValueError(f"there is no way from {road_map.names[np.argmax(~np.isfinite(cost))]} to the goal")
    return cost


def _initial(road_map: RoadMap, ends: NDArray[np.bool_], start: int | None) -> NDArray[np.float64]:
    if start is None:
        return np.asarray(~ends / (~ends).sum())
    if count("start", start, 0) >= road_map.roads or ends[start]:
        raise ValueError(
            f"start is {start}; it must be one of {road_map.roads} roads, and not end at the goal"
        )
    return np.eye(1, road_map.roads, start).ravel()
