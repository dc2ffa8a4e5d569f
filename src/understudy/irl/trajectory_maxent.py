"""Maximum-entropy IRL over whole trajectories (Ziebart, Maas, Bagnell and Dey 2008, equation 4).

    p(τ | s_0) = exp(Σ_t γ^t θ·φ(s_t, a_t)) Π_t P(s_{t+1} | s_t, a_t) / Z(s_0)

One normaliser for all paths that begin alike. Under chance the model is therefore free to prefer lucky
outcomes as it prefers actions: it takes log-sum-exp over both, and is risk-seeking. Where every action has
one outcome and γ = 1 it is the causal model (`understudy.irl.fit_maxent`) to the last digit; elsewhere it is
not, and the causal one is right for an expert who chooses actions and not what comes of them. With γ < 1
rewards are discounted here and the entropy of a path is not, so the two differ then without chance too.

φ(s, a) are the expected features of a step, as everywhere in the library: a reward on the state arrived at
that should make a path lucky belongs to that state's own steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from understudy.irl.paths import PathModel, path_information, path_likelihood, path_model
from understudy.tabular.mdp import TabularMDP
from understudy.tabular.planning import occupancy
from understudy.tabular.trajectories import Demonstrations, Trajectories

__all__ = ["TrajectoryFit", "fit_trajectory_maxent"]

Floats: TypeAlias = NDArray[np.float64]

_SETTLED = 0.1  # nats: a step that would change the reward by more is not the last one
_CLOSE = 0.1  # the slope from which Newton's method needs a few steps
_NEWTON = 40  # of them at most
_DENSE, _ENTRIES = 300, 2 * 10**7  # weights, and features of all steps: more, and L-BFGS works alone


@dataclass(frozen=True, eq=False)
class TrajectoryFit:
    """What maximum likelihood over paths found.

    Attributes:
        weights: [K]. reward: [S, A]. policy: [H, S, A], of the path model.
        model: of the reward.
        demonstrated: [K], the demonstrations' mean discounted features.
        path_features: [K], those of the path distribution; without a penalty they equal the demonstrated
            ones.
        policy_features: [K], those that `policy` really has; under chance they are others.
        log_likelihood: of a trajectory given its start, on average, in nats, without the log-probabilities of
            the outcomes that happened, which no weight changes.
        gradient_norm: the largest partial derivative at the weights.
        running: whether Newton's step would still change the reward by more than 0.1 nats: there is no
            maximum then, slope and curvature vanish together. Not looked for where L-BFGS works alone.
        converged: whether the norm is at most the tolerance, and nothing runs away.
        iterations: of the search.
    """

    weights: Floats
    reward: Floats
    policy: Floats
    model: PathModel
    demonstrated: Floats
    path_features: Floats
    policy_features: Floats
    log_likelihood: float
    gradient_norm: float
    running: bool
    converged: bool
    iterations: int


def fit_trajectory_maxent(
    mdp: TabularMDP,
    demonstrations: Demonstrations | Trajectories,
    *,
    l2: float = 0.0,
    tolerance: float = 1e-8,
    iterations: int = 1000,
) -> TrajectoryFit:
    """The weights under which the demonstrated paths are likeliest.

    L-BFGS, then Newton's method with exact second derivatives; with more than 300 weights, or 20 million
    entries of features, L-BFGS alone, which may stop short of the tolerance and then has not converged.

    Args:
        l2: λ of a penalty λ/2 |θ|² on the mean log-likelihood of a trajectory. Without one there is no finite
            answer where the demonstrations leave no doubt, as when they never vary: the result is then
            `running`, and has not converged however small the gradient is.
        tolerance: the largest partial derivative that counts as none.

    Raises:
        ValueError: without a horizon, and when an argument is out of range.
    """
    if not (0 <= l2 < np.inf and tolerance > 0 and iterations >= 1):
        raise ValueError(
            f"l2 is {l2}, tolerance {tolerance}, iterations {iterations}; they need l2 >= 0, "
            "tolerance > 0, iterations >= 1"
        )
    if isinstance(demonstrations, Trajectories):
        demonstrations = Demonstrations.of(mdp, demonstrations)
    problem = _Problem(mdp, demonstrations, l2)
    weights, taken = problem.way(_CLOSE if problem.dense else tolerance, iterations)
    for _ in range(min(_NEWTON, iterations - taken) if problem.dense else 0):
        better = problem.newton(weights, tolerance)
        if better is None:
            break
        weights, taken = better, taken + 1
    loss, slope = problem(weights)
    norm = float(np.abs(slope).max())
    last = mdp.linear(problem.step(weights, slope) if problem.dense else np.zeros(mdp.width))
    running = float(np.abs(last).max()) > _SETTLED
    model = path_model(mdp, mdp.linear(weights))
    starts, cuts = demonstrations.starts, demonstrations.cuts
    return TrajectoryFit(
        weights=weights,
        reward=model.reward,
        policy=model.policy,
        model=model,
        demonstrated=mdp.counts(demonstrations.visits),
        path_features=mdp.counts(model.occupancy(starts, cuts)),
        policy_features=mdp.counts(occupancy(mdp, model.policy, starts, cuts)),
        log_likelihood=l2 / 2 * float(weights @ weights) - loss,
        gradient_norm=norm,
        running=running,
        converged=norm <= tolerance and not running,
        iterations=taken,
    )


@dataclass(frozen=True, eq=False)
class _Problem:
    """The penalised likelihood, with its sign turned: [K] -> loss and slope [K]."""

    mdp: TabularMDP
    demonstrations: Demonstrations
    l2: float

    @property
    def dense(self) -> bool:
        """Whether second derivatives are formed."""
        rows, width = self.mdp.features.shape
        return bool(width <= _DENSE and rows * width <= _ENTRIES)

    def __call__(self, theta: Floats) -> tuple[float, Floats]:
        value, gradient = path_likelihood(self.mdp, self.demonstrations, theta)
        return self.l2 / 2 * float(theta @ theta) - value, self.l2 * theta - gradient

    def way(self, tolerance: float, iterations: int) -> tuple[Floats, int]:
        """From 0 by L-BFGS until the slope is small; the weights, and the number of iterations."""
        from scipy.optimize import minimize

        options = {"gtol": tolerance, "ftol": 0.0, "maxiter": iterations, "maxcor": 20}
        found = minimize(self, np.zeros(self.mdp.width), jac=True, method="L-BFGS-B", options=options)
        return np.asarray(found.x, np.float64), int(found.nit)

    def step(self, theta: Floats, slope: Floats) -> Floats:
        """Newton's step downhill, [K]; 0 along directions in which no reward differs."""
        bend = path_information(self.mdp, self.demonstrations, theta) + self.l2 * np.eye(len(theta))
        size, axes = np.linalg.eigh(bend)
        kept = np.abs(size) > 1e-12 * np.abs(size).max()
        return np.asarray(-axes[:, kept] @ ((axes.T @ slope)[kept] / np.abs(size[kept])))

    def newton(self, theta: Floats, tolerance: float) -> Floats | None:
        """One step, halved until it gains; None where the slope is small enough, or nothing gains."""
        loss, slope = self(theta)
        if np.abs(slope).max() <= tolerance:
            return None
        step = self.step(theta, slope)
        for share in 0.5 ** np.arange(20.0):
            there, after = self(theta + share * step)
            rounding = 1e-13 * (1 + abs(loss))  # below, only the slopes can tell
            less = np.linalg.norm(after) < np.linalg.norm(slope)
            if there < loss - rounding or (less and there < loss + rounding):
                return np.asarray(theta + share * step)
        return None
