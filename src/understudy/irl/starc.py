"""STARC: the distance of rewards that sees through shaping where chance moves, given the world's dynamics."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from understudy.irl.epic import TrivialReward
from understudy.irl.measures import random_policy
from understudy.tabular import TabularMDP, policy_value

__all__ = ["levelled", "starc_distance"]

Floats: TypeAlias = NDArray[np.float64]

_FLAT = 1e-12  # a norm this small against the reward's own size is rounding


def levelled(mdp: TabularMDP, reward: Floats) -> Iterator[Floats]:
    """[S, A]: r(s, a) + g E V(s') - V(s), V the value of the uniformly random policy.

    It is that policy's advantage, and the same for r and for r + g E p(s') - p(s), where p is 0 in terminal
    states (and, with a horizon, when it is over). Skalse et al. 2024, "STARC: a general framework for
    quantifying differences between reward functions", value-adjusted levelling.

    Args:
        reward: [S, A].

    Yields:
        One table without a horizon, else one for every time, from the last decision to the first.
    """
    uniform = random_policy(mdp)
    earned = np.where(mdp.available, np.asarray(reward, np.float64), 0.0)
    value = policy_value(mdp, uniform, earned) if mdp.horizon is None else np.zeros(mdp.states)
    for _ in range(1 if mdp.horizon is None else mdp.horizon):
        ahead = (mdp.forward @ value).reshape(mdp.actions, mdp.states).T
        q = earned + mdp.discount * ahead
        value = (uniform * q).sum(1)
        yield np.where(mdp.available, q - value[:, None], 0.0)


def starc_distance(mdp: TabularMDP, first: Floats, second: Floats) -> float:
    """Half the distance of two levelled rewards, each divided by its norm: 0 to 1.

    0 exactly where the rewards rank all policies alike, whatever chance does: scale, shift and shaping are no
    distance, nor is it one to which outcome of a step a reward is given. 1 for opposite rewards. The norm is
    the root of the sum of squares over all steps that exist (and all times), each counting as much.

    Args:
        first, second: [S, A].

    Raises:
        ValueError: when a reward does not fit.
        TrivialReward: when under a reward all policies are worth the same.
    """
    rewards = [np.asarray(r, np.float64) for r in (first, second)]
    for r in rewards:
        if r.shape != mdp.available.shape or not np.isfinite(r).all():
            raise ValueError(
                f"a reward is {list(r.shape)}; it must be finite and {list(mdp.available.shape)}"
            )
    norms = []
    for which, r in zip(("first", "second"), rewards, strict=True):
        norm = sqrt(sum(float((step**2).sum()) for step in levelled(mdp, r)))
        if norm <= _FLAT * float(np.abs(r).max()) * (mdp.horizon or 1 / (1 - mdp.discount)):
            raise TrivialReward(f"under the {which} reward all policies of {mdp.name} are worth the same")
        norms.append(norm)
    pairs = zip(levelled(mdp, rewards[0]), levelled(mdp, rewards[1]), strict=True)
    square = sum(float(((x / norms[0] - y / norms[1]) ** 2).sum()) for x, y in pairs)
    return min(1.0, 0.5 * sqrt(square))
