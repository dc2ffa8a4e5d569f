"""Bayesian IRL (Ramachandran and Amir 2007): not one reward but how likely each is, given what was done.

    p(θ | decisions) ∝ p(θ) Π π_θ(a_t | s_t),   π_θ = the soft policy of reward φ(s, a)·θ at temperature τ

The paper's likelihood of an action is a Boltzmann choice between optimal values; here it is the choice of the
maximum-causal-entropy policy, whose values know that later choices are made the same way, and whose gradient
is exact. τ says how consistently the expert chooses: only θ/τ is in the likelihood, and the prior fixes the
scale, so τ is stated and not learned. Every decision counts once, whatever its discount: the discount is the
expert's, not the observer's.

Weights are held as θ_k = F_k^{-1}(Φ(u_k)), F_k the prior's distribution and Φ the normal one: whatever the
prior, u is standard normal under it, without bounds or corners.

Shapes: K features, C weight vectors at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from understudy.irl.decisions import Decisions
from understudy.irl.hmc import Chains, hmc
from understudy.irl.priors import GaussianPrior, LaplacePrior, Prior, UniformPrior
from understudy.tabular.mdp import TabularMDP
from understudy.tabular.planning import soft_plan
from understudy.tabular.trajectories import Trajectories

__all__ = [
    "GaussianPrior",
    "LaplacePrior",
    "Posterior",
    "Prior",
    "UniformPrior",
    "hmc_posterior",
    "laplace_posterior",
]

Floats: TypeAlias = NDArray[np.float64]

_FLAT = 0.25  # least curvature by which the sampler scales: to 2 prior standard deviations
_FAR = 50.0  # prior standard deviations: density below e^-1250, where nothing is evaluated
_NEWTON = 8  # steps at most, after L-BFGS
_STEP = 1e-4  # of the differences of the gradient that make the Hessian


@dataclass(frozen=True, eq=False)
class Posterior:
    """Draws from the posterior of the weights, and what they say.

    Attributes:
        samples: [N, K]. mode: [K], the weights at the greatest density of u (the usual mode under a Gaussian
            prior; in other coordinates a mode is another point).
        temperature: τ of the likelihood. decisions: how many there were.
        chains: of the sampler, over all its draws; None for Laplace's approximation, which is not checked.
        reward: [S, A], of the mean weights: the reward whose policy loses least on average (theorem 3 of the
            paper). policy: its soft policy at τ.
    """

    mdp: TabularMDP
    samples: Floats
    mode: Floats
    temperature: float
    decisions: int
    chains: Chains | None

    @property
    def weights(self) -> Floats:
        """[K], the posterior mean."""
        return np.asarray(self.samples.mean(0))

    @property
    def covariance(self) -> Floats:
        """[K, K], of the posterior."""
        return np.atleast_2d(np.cov(self.samples, rowvar=False))

    @property
    def positive(self) -> Floats:
        """[K], the probability that a weight is positive, by the share of draws."""
        return np.asarray((self.samples > 0).mean(0))

    @property
    def converged(self) -> bool:
        """Whether the sampler's chains agree (R-hat at most 1.05, nothing diverged); False without chains."""
        return self.chains is not None and self.chains.converged

    def interval(self, level: float = 0.95) -> Floats:
        """[K, 2], between equal tails."""
        if not 0 < level < 1:
            raise ValueError(f"level is {level}; it must lie in (0, 1)")
        return np.asarray(np.quantile(self.samples, [(1 - level) / 2, (1 + level) / 2], axis=0).T)

    @cached_property
    def reward(self) -> Floats:
        return self.mdp.linear(self.weights)

    @cached_property
    def policy(self) -> Floats:
        return soft_plan(self.mdp, self.reward, self.temperature).policy


# ── the posterior, in the coordinates u where the prior is standard normal ─────────────────────────────────


class _Target:
    """log p(u | decisions) [C] up to a constant, and its gradient [C, K]."""

    def __init__(
        self, mdp: TabularMDP, trajectories: Trajectories | None, prior: Prior, temperature: float
    ) -> None:
        self.prior, self.likelihood = prior, Decisions(mdp, trajectories, temperature)
        try:
            shape = prior.weights(np.zeros((2, mdp.width))).shape
        except ValueError as error:  # NumPy's, of arrays that do not broadcast
            raise ValueError(
                f"the prior is not over {mdp.width} weights, as {mdp.name} has features"
            ) from error
        if shape != (2, mdp.width):
            raise ValueError(f"the prior is over {shape[-1]} weights; {mdp.name} has {mdp.width} features")

    def __call__(self, u: Floats) -> tuple[Floats, Floats]:
        near = (np.abs(u) < _FAR).all(1)  # False also where u is not a number
        if not near.all():
            value, gradient = np.full(len(u), -np.inf), np.zeros(u.shape)
            if near.any():
                value[near], gradient[near] = self(u[near])
            return value, gradient
        value, gradient = self.likelihood(self.prior.weights(u))
        return value - (u**2).sum(1) / 2, gradient * self.prior.slope(u) - u

    def hessian(self, u: Floats) -> Floats:
        """[K, K] of the log density at u [K], by central differences of the exact gradient."""
        step = _STEP * np.eye(len(u))
        _, gradient = self(np.concatenate([u + step, u - step]))
        rows = (gradient[: len(u)] - gradient[len(u) :]) / (2 * _STEP)
        return np.asarray((rows + rows.T) / 2)

    def mode(self, width: int) -> tuple[Floats, Floats]:
        """u [K] at the top of the hill above the prior's centre, and the curvature there [K, K]."""
        from scipy.optimize import minimize

        def loss(u: Floats) -> tuple[float, Floats]:
            value, gradient = self(u[None])
            return -float(value[0]), -gradient[0]

        found = minimize(loss, np.zeros(width), jac=True, method="L-BFGS-B", options={"gtol": 1e-6})
        u = np.asarray(found.x, np.float64)
        slope, bend = self(u[None])[1][0], -self.hessian(u)
        for _ in range(_NEWTON):
            if np.linalg.eigvalsh(bend)[0] <= 0:
                break
            there = u + np.linalg.solve(bend, slope)
            after = self(there[None])[1][0]
            if not np.linalg.norm(after) < 0.5 * np.linalg.norm(slope):
                break
            u, slope, bend = there, after, -self.hessian(there)
        return u, bend


def laplace_posterior(
    mdp: TabularMDP,
    trajectories: Trajectories | None,
    *,
    prior: Prior,
    temperature: float,
    seed: int,
    draws: int = 4000,
) -> Posterior:
    """Laplace's approximation: normal in u around its mode, with the curvature there. Fast and unchecked.

    Good where there is much data; `hmc_posterior` says whether it was good enough.

    Args:
        trajectories: whose decisions count; None before anything was seen.
        temperature: τ > 0. draws: from the normal, from which all that the result says is computed.

    Raises:
        ValueError: when a trajectory cannot have happened, and when the posterior bends upwards at its mode.
    """
    target = _Target(mdp, trajectories, prior, temperature)
    mode, bend = target.mode(mdp.width)
    if draws < 2 or np.linalg.eigvalsh(bend)[0] <= 0:
        raise ValueError(
            f"Laplace's approximation needs 2 draws, not {draws}, and a peak at the mode; try hmc_posterior"
        )
    z = np.random.default_rng(seed).normal(size=(draws, mdp.width))
    spread = np.linalg.inv(np.linalg.cholesky(bend))  # bend^-1 = spread^T spread
    samples = prior.weights(mode + z @ spread)
    return Posterior(mdp, samples, prior.weights(mode[None])[0], temperature, target.likelihood.number, None)


def hmc_posterior(
    mdp: TabularMDP,
    trajectories: Trajectories | None,
    *,
    prior: Prior,
    temperature: float,
    seed: int,
    chains: int = 4,
    warm_up: int = 300,
    draws: int = 500,
) -> Posterior:
    """The posterior by Hamiltonian Monte Carlo, in coordinates scaled by Laplace's approximation.

    Chains start at the mode with twice its spread. Look at `converged`, and at `chains.ess` before an
    interval.

    Args:
        trajectories: whose decisions count; None before anything was seen.
        temperature: τ > 0. warm_up, draws: trajectories of each chain.

    Raises:
        ValueError: when a trajectory cannot have happened, or there are fewer than 2 chains or 4 draws.
    """
    target = _Target(mdp, trajectories, prior, temperature)
    mode, bend = target.mode(mdp.width)
    size, axes = np.linalg.eigh(bend)
    scale = axes.T / np.sqrt(np.maximum(size, _FLAT))[:, None]  # u = mode + x @ scale

    def density(x: Floats) -> tuple[Floats, Floats]:
        value, gradient = target(mode + x @ scale)
        return value, gradient @ scale.T

    start = 2 * np.random.default_rng((seed, 1)).normal(size=(chains, mdp.width))
    found = hmc(density, start, warm_up=warm_up, draws=draws, seed=seed)
    weights = prior.weights(mode + found.draws @ scale)
    return Posterior(
        mdp,
        weights.reshape(-1, mdp.width),
        prior.weights(mode[None])[0],
        temperature,
        target.likelihood.number,
        found.mapped(weights),
    )
