"""Ways to speak: never, always, by agreeing, and with noise in what is executed but not in what is taught."""

from __future__ import annotations

from typing import Any, Protocol, final

import numpy as np
from numpy.typing import ArrayLike

from understudy.episode import Array, Obs
from understudy.roles import Policy

__all__ = ["ENDORSE", "SILENT", "Endorse", "NoisyExecution", "PolicyExpert", "Silent"]


class Bounded(Protocol):
    """What has to be known of actions to disturb them: `understudy.envs.ActionSpec` says it."""

    @property
    def low(self) -> Array:
        """[A], the lower bounds."""
        ...

    @property
    def high(self) -> Array:
        """[A], the upper bounds."""
        ...

    @property
    def n(self) -> int | None:
        """The number of discrete choices, None for continuous actions."""
        ...

    def settle(self, action: Any) -> Array:
        """The action clipped to the bounds."""
        ...


@final
class Silent:
    """The expert who never speaks: nothing is labelled."""

    def reset(self, seed: int) -> None: ...

    def advise(self, obs: Obs, proposed: Array) -> None:
        return None


@final
class Endorse:
    """The expert who agrees with whatever is proposed: for recording a policy that *is* the expert.

    The label is the proposed action, without asking the policy twice.
    """

    def reset(self, seed: int) -> None: ...

    def advise(self, obs: Obs, proposed: Array) -> Array:
        return proposed


SILENT = Silent()
ENDORSE = Endorse()


@final
class PolicyExpert:
    """An expert who always advises what `policy` would do: DAgger's expert.

    `policy` must not be the object that also proposes, or its state would advance twice a step.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def reset(self, seed: int) -> None:
        self.policy.reset(seed)

    def advise(self, obs: Obs, proposed: Array) -> Array:
        return np.asarray(self.policy.act(obs))


@final
class NoisyExecution:
    """An arbiter that disturbs what is executed; labels stay clean (DART: Laskey et al. 2017, eq. 1).

    What is executed is a + σ h z, clipped to the bounds, with a the advice (or, where there is none, what was
    proposed), h half the range of each dimension and z standard normal. The demonstrator is thrown off his
    path and shows how to come back, which is what plain demonstrations lack. Every choice follows from the
    episode's seed.

    Args:
        noise: σ >= 0, one number or one a dimension [A], in units of half the action range.
        spec: the environment's actions; continuous, with finite bounds.
        probability: how often a step is disturbed at all.
        persistence: ρ in [0, 1), with z_t = ρ z_{t-1} + sqrt(1 - ρ²) ε_t: noise that stays. DART has 0.

    Raises:
        ValueError: when a number is out of its range, or the bounds are not finite.
        TypeError: for discrete actions.
    """

    def __init__(
        self, noise: ArrayLike, spec: Bounded, *, probability: float = 1.0, persistence: float = 0.0
    ) -> None:
        if spec.n is not None:
            raise TypeError("noise is added to continuous actions; these are discrete")
        width = spec.low.size
        if not (np.isfinite(spec.low).all() and np.isfinite(spec.high).all()):
            raise ValueError("noise is in units of half the action range, which is infinite here")
        sigma = np.asarray(noise, np.float64)
        if sigma.shape not in ((), (width,)) or not (np.isfinite(sigma).all() and (sigma >= 0).all()):
            raise ValueError(f"noise is {sigma}; it must be one number >= 0, or one for each of {width}")
        if not 0.0 <= probability <= 1.0 or not 0.0 <= persistence < 1.0:
            raise ValueError(
                f"probability {probability} must lie in [0, 1] and persistence {persistence} in [0, 1)"
            )
        self.spec = spec
        self.scale = np.broadcast_to(sigma * (spec.high.astype(np.float64) - spec.low) / 2.0, (width,))
        self.probability, self.persistence = probability, persistence
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Starts an episode's noise."""
        # Salted: the environment draws its start from the same seed, and must not share its numbers.
        self.random = np.random.default_rng([seed, 0xDA27])
        self.z = self.random.standard_normal(self.scale.size)

    def __call__(self, proposed: Array, advice: Array | None) -> Array:
        """The disturbed action [A]."""
        clean = proposed if advice is None else advice
        hit = self.random.random() < self.probability
        out = self.spec.settle(clean + hit * self.scale * self.z)
        fresh = self.random.standard_normal(self.scale.size)
        self.z = self.persistence * self.z + np.sqrt(1.0 - self.persistence**2) * fresh
        return out
