"""Random MDPs: no structure for a method to lean on."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from understudy.tabular.mdp import TabularMDP
from understudy.tabular.worlds.grid import count

__all__ = ["random_mdp"]

_FEATURE_STD = 2.0


def random_mdp(
    states: int,
    actions: int,
    *,
    branching: int | tuple[int, int],
    seed: int,
    discount: float,
    horizon: int | None = None,
    width: int | None = None,
) -> TabularMDP:
    """An MDP drawn at random: every action leads to few states, with evenly distributed probabilities.

    Successors are distinct; probabilities are from Dirichlet(1, ..., 1); episodes begin in as many states as
    an action at most leads to, in the same way. The reward of a step is linear in the features
    of its state, with weights from N(0, 1). The random MDPs of `seals` are of this family, with
    branching=(1, b), from other random numbers.

    Args:
        branching: how many successors an action has, or (least, most), evenly drawn.
        seed: of transitions, features and reward, drawn from streams of their own: another width or horizon
            leaves the transitions as they are.
        width: K features from N(0, 4); None: one indicator a state.

    Raises:
        ValueError: when an argument breaks its rule.
    """
    states, actions = count("states", states, 1), count("actions", actions, 1)
    least, most = branching if isinstance(branching, tuple) else (branching, branching)
    least, most = count("branching", least, 1), count("branching", most, 1)
    if not least <= most <= states:
        raise ValueError(f"branching is ({least}, {most}); it must be ordered, and at most {states} states")
    streams = np.random.SeedSequence(seed).spawn(3)
    chances, features, weights = (np.random.default_rng(stream) for stream in streams)
    sizes = chances.integers(least, most + 1, states * actions)
    successors = np.concatenate([chances.choice(states, n, replace=False) for n in sizes])
    ends = np.concatenate([[0], np.cumsum(sizes)])
    raw = chances.standard_exponential(len(successors))
    data = raw / np.repeat(np.add.reduceat(raw, ends[:-1]), sizes)
    initial = np.zeros(states)
    initial[chances.choice(states, most, replace=False)] = chances.dirichlet(np.ones(most))
    theta = weights.normal(size=states if width is None else count("width", width, 1))
    phi = None if width is None else features.normal(0.0, _FEATURE_STD, (states, width))
    return TabularMDP.make(
        csr_array((data, successors, ends), shape=(states * actions, states)),
        initial=initial,
        discount=discount,
        horizon=horizon,
        features=None if phi is None else np.repeat(phi, actions, axis=0),
        reward=theta if phi is None else phi @ theta,
        name=f"random MDP of {states} states",
        feature_names=() if width is None else tuple(f"feature {k}" for k in range(width)),
        state_names=tuple(f"state {s}" for s in range(states)),
        action_names=tuple(f"action {a}" for a in range(actions)),
    )
