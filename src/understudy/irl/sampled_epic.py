"""EPIC by samples, for rewards that are functions of continuous observations and actions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from understudy.irl.epic import Block, half_gap
from understudy.numerics import Estimate

__all__ = ["RewardFunction", "Steps", "sampled_epic_distance"]

Floats: TypeAlias = NDArray[np.float64]
RewardFunction: TypeAlias = Callable[[Floats, Floats, Floats], ArrayLike]
"""r(obs [B, O], action [B, A], next_obs [B, O]) -> [B]."""

_POINTS = 1 << 16  # transitions that a reward is asked about at once
_RESAMPLES = 1000
_DRAWS = 1 << 18  # numbers drawn at once


class Steps(NamedTuple):
    """Transitions drawn from a coverage distribution: obs [N, O], action [N, A], next_obs [N, O]."""

    obs: Floats
    action: Floats
    next_obs: Floats


def sampled_epic_distance(
    first: RewardFunction,
    second: RewardFunction,
    steps: Steps,
    actions: ArrayLike,
    next_obs: ArrayLike,
    discount: float,
    *,
    seed: int,
) -> Estimate:
    """The EPIC distance of two reward functions over `steps`, with its interval.

    E r(s, A, S') in the canonical form is the mean over the pairs of `actions` and `next_obs`, the same pairs
    for every s, so scaling, shifts and shaping cancel exactly and not only in the limit (Gleave et al. 2021,
    section 5). It takes 2 N M evaluations of each reward.

    The interval is the 95 % percentile bootstrap over the N steps. It does not hold the error of the M pairs,
    which more pairs make smaller.

    Args:
        steps: what is compared, N transitions.
        actions: [M, A] and next_obs [M, O]: pairs (A, S') from the coverage's marginals.
        discount: g, in [0, 1].
        seed: of the bootstrap.

    Raises:
        ValueError: when shapes do not fit, a reward is not [B] and finite, or the discount is not in [0, 1].
        TrivialReward: when a canonical form is constant over the steps.
    """
    if not 0.0 <= discount <= 1.0:
        raise ValueError(f"discount is {discount}; it must lie in [0, 1]")
    obs, action, after = (_rows(n, x) for n, x in zip(Steps._fields, steps, strict=True))
    pairs = _rows("actions", actions), _rows("next_obs", next_obs)
    shapes = [x.shape for x in (obs, action, after)]
    if obs.shape != after.shape or len(action) != len(obs) or len(obs) < 2:
        raise ValueError(f"steps have shapes {shapes}; [N, O], [N, A] and [N, O] with N > 1 are needed")
    if (
        len(pairs[0]) != len(pairs[1])
        or pairs[0].shape[1:] != action.shape[1:]
        or pairs[1].shape[1:] != obs.shape[1:]
    ):
        raise ValueError(f"pairs have shapes {pairs[0].shape} and {pairs[1].shape}; they do not fit {shapes}")

    def canonical(reward: RewardFunction) -> Floats:
        # The last term of the form, E r(S, A, S'), is the same for all steps: a correlation does not see it.
        here, there = _mean(reward, obs, *pairs), _mean(reward, after, *pairs)
        return _asked(reward, obs, action, after) + discount * there - here

    x, y = canonical(first), canonical(second)
    value = half_gap(_all(x, y))
    drawn, n = _resampled(x, y, np.random.default_rng(seed)), len(x)
    low, high = (float(q) for q in np.quantile(drawn, [0.025, 0.975]))
    return Estimate(value, low, high, n, "percentile bootstrap 95 %")


def _rows(name: str, values: ArrayLike) -> Floats:
    x = np.asarray(values, np.float64)
    if x.ndim != 2 or not x.size:
        raise ValueError(f"{name} has shape {x.shape}; rows of numbers are needed")
    return x


def _asked(reward: RewardFunction, obs: Floats, action: Floats, after: Floats) -> Floats:
    """[B]: what the reward says, in parts of bounded size."""
    said = [
        np.asarray(reward(obs[i : i + _POINTS], action[i : i + _POINTS], after[i : i + _POINTS]), np.float64)
        for i in range(0, len(obs), _POINTS)
    ]
    wanted = [(min(_POINTS, len(obs) - i),) for i in range(0, len(obs), _POINTS)]
    if [s.shape for s in said] != wanted:
        raise ValueError(
            f"a reward of {wanted[0][0]} transitions has shape {said[0].shape}; {wanted[0]} is needed"
        )
    whole = np.concatenate(said)
    if not np.isfinite(whole).all():
        raise ValueError("a reward says something that is not finite")
    return whole


def _mean(reward: RewardFunction, obs: Floats, actions: Floats, next_obs: Floats) -> Floats:
    """[N]: E r(s, A, S') over the pairs, for every row of `obs`."""
    pairs = len(actions)
    step = max(1, _POINTS // pairs)
    found = []
    for start in range(0, len(obs), step):
        some = obs[start : start + step]
        here = np.repeat(some, pairs, 0)
        said = _asked(reward, here, np.tile(actions, (len(some), 1)), np.tile(next_obs, (len(some), 1)))
        found.append(said.reshape(len(some), pairs).mean(1))
    return np.concatenate(found)


def _all(x: Floats, y: Floats) -> Callable[[], Iterator[Block]]:
    weights = np.full(len(x), 1 / len(x))
    return lambda: iter([(x, y, weights)])


def _resampled(x: Floats, y: Floats, random: np.random.Generator) -> Floats:
    """The distance on steps drawn anew, many times; of few steps all drawn can be one, which has none."""
    n, step = len(x), max(1, _DRAWS // len(x))
    found = []
    for at in range(0, _RESAMPLES, step):
        rows = random.integers(n, size=(min(step, _RESAMPLES - at), n))
        a, b = x[rows], y[rows]
        a -= a.mean(1, keepdims=True)
        b -= b.mean(1, keepdims=True)
        spread = np.sqrt((a**2).mean(1)), np.sqrt((b**2).mean(1))
        kept = (spread[0] > 0) & (spread[1] > 0)
        gaps = a[kept] / spread[0][kept, None] - b[kept] / spread[1][kept, None]
        found.append(np.minimum(0.5 * np.sqrt((gaps**2).mean(1)), 1.0))
    return np.concatenate(found)
