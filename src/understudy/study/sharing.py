"""When cloning is linear in T: the slip road without blank signs, from a fixed number of demonstrations.

Now a class of tables holds the right policy, and errors come from too little data alone. One table for all
steps learns from n T labels and errs ~1/(n T) a step; a table for each step learns from n and errs ~1/n.
By T²/2 errors, the first costs ~T and the second ~T² (Foster, Block and Misra 2024).

Contexts are rare by degrees: p_k ∝ q^k, so at every size N of the data about as many contexts have a
probability near 1/N, and what is still unseen has a probability of about 1/N whatever N is. That is the
worst that a class of tables can meet, and here it meets it at every N at once.

Shapes: R learners, T steps, K contexts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from understudy.episode import Array

__all__ = ["Rare", "chain_cost", "per_step", "predicted", "shared"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rare:
    """The probabilities of contexts.

    Args:
        ratio: q in (0, 1), of one context's probability to that of the one before.
        contexts: K; the last must be too rare to matter.
    """

    ratio: float = 0.8
    contexts: int = 96

    def __post_init__(self) -> None:
        if not 0.0 < self.ratio < 1.0 or self.contexts < 2:
            raise ValueError(
                f"ratio is {self.ratio} and contexts {self.contexts}; 0 < ratio < 1 and 2 contexts are needed"
            )

    @property
    def probability(self) -> Floats:
        """[K], p_k ∝ q^k."""
        raw = np.exp(np.log(self.ratio) * np.arange(self.contexts, dtype=np.float64))
        shares: Floats = raw / raw.sum()
        return shares


def chain_cost(error: Floats) -> Floats:
    """[...], the exact cost of policies that err with probability error[..., t] at step t and never return.

    Σ_{t<T} [1 - Π_{s<t} (1 - e_s)], from errors [..., T].
    """
    kept = np.cumprod(1.0 - error, axis=-1)
    cost: Floats = (1.0 - kept[..., :-1]).sum(-1)
    return cost


def _error(world: Rare, counts: Array) -> Floats:
    """[...], the probability that a table of counts [..., K] takes the wrong lane.

    A context that was seen is known for ever, since the expert is never wrong. At one never seen, the table
    takes the lane that it has seen most.
    """
    lane = np.arange(world.contexts) % 2
    odd = counts[..., lane == 1].sum(-1) > counts[..., lane == 0].sum(-1)
    wrong = (counts == 0) & (lane != odd[..., None])
    error: Floats = wrong @ world.probability
    return error


def shared(
    world: Rare, horizon: int, demonstrations: int, learners: int, random: np.random.Generator
) -> Floats:
    """[R], the exact costs of policies that have one table for all steps."""
    counts = random.multinomial(demonstrations * horizon, world.probability, size=learners)
    return chain_cost(np.repeat(_error(world, counts)[:, None], horizon, axis=1))


def per_step(
    world: Rare, horizon: int, demonstrations: int, learners: int, random: np.random.Generator
) -> Floats:
    """[R], the exact costs of policies that have a table of their own for every step."""
    costs = [
        chain_cost(_error(world, random.multinomial(demonstrations, world.probability, size=horizon)))
        for _ in range(learners)  # one at a time: counts are [T, K]
    ]
    return np.array(costs)


def predicted(world: Rare, labels: int) -> float:
    """The expected probability of the wrong lane after so many labels: Σ over odd k of p_k (1 - p_k)^N.

    The lane of contexts never seen is taken to be that of the even ones, which are more likely.
    """
    p = world.probability[1::2]
    return float((p * (1.0 - p) ** labels).sum())
