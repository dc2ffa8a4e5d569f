"""The distribution over whole paths that a reward makes, its likelihood and the derivatives, exact.

    p(τ | s_0) = exp(Σ_t γ^t θ·φ(s_t, a_t)) Π_t P(s_{t+1} | s_t, a_t) / Z(s_0)

`understudy.irl.trajectory_maxent` says what it is good for. All messages are in log space.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from understudy.tabular.mdp import TabularMDP
from understudy.tabular.trajectories import Demonstrations

__all__ = ["PathModel", "path_information", "path_likelihood", "path_model"]

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PathModel:
    """The distribution over paths that a reward makes.

    Attributes:
        reward: [S, A].
        policy: [H, S, A], the probability that a path which is in s at time t goes on with a.
        value: [H + 1, S], log of the sum of exp(reward to come) over all ways on, weighted by their chance.
        onward: [H, S, A], log E[exp value(t + 1, s')]: what each action leads to, lucky outcomes foremost.
    """

    mdp: TabularMDP
    reward: Floats
    policy: Floats
    value: Floats
    onward: Floats

    def occupancy(self, start: Floats | None = None, cuts: Floats | None = None) -> Floats:
        """[S, A], Σ_t γ^t Pr(s_t = s, a_t = a) under the path distribution, in which outcomes are tilted too.

        `start` and `cuts` are as in `understudy.tabular.occupancy`; with the MDP's own dynamics that function
        says what `policy` visits when it is carried out.
        """
        discounts = self.mdp.discount ** np.arange(len(self.policy), dtype=np.float64)
        return np.asarray(np.einsum("t,ts,tsa->sa", discounts, self.masses(start, cuts), self.policy))

    def masses(self, start: Floats | None = None, cuts: Floats | None = None) -> Floats:
        """[H, S], Pr(s_t = s) under the path distribution, not discounted."""
        mdp, outcomes = self.mdp, _Outcomes(self.mdp)
        out = np.empty(self.policy.shape[:2])
        mass = np.array(mdp.initial if start is None else start)
        gone = np.zeros_like(self.value) if cuts is None else _undiscounted(cuts, mdp.discount)
        for t in range(len(out)):
            out[t] = mass - gone[t]
            tilted = outcomes.tilted(self.value[t + 1], self.onward[t])
            mass = tilted.T @ (out[t][:, None] * self.policy[t]).ravel()
        return out


class _Outcomes:
    """All (s, a) -> s' that can happen, by rows, and messages along them in log space."""

    def __init__(self, mdp: TabularMDP) -> None:
        matrix = mdp.transition
        counts = np.diff(matrix.indptr)
        self.rows = np.flatnonzero(counts)
        self.counts, self.starts = counts[self.rows], matrix.indptr[:-1][self.rows]
        self.log_p, self.to, self.indptr = np.log(matrix.data), matrix.indices, matrix.indptr
        self.shape = mdp.available.shape

    def soften(self, value: Floats) -> Floats:
        """[S, A], log E[exp V(s')] of V [S]; -inf where nothing can be done."""
        message = self.log_p + value[self.to]
        top = np.maximum.reduceat(message, self.starts)
        np.exp(message - np.repeat(top, self.counts), out=message)
        out = np.full(self.shape[0] * self.shape[1], -np.inf)
        out[self.rows] = top + np.log(np.add.reduceat(message, self.starts))
        return out.reshape(self.shape)

    def tilted(self, value: Floats, onward: Floats) -> csr_array:
        """[S·A, S], P(s' | s, a) exp V(s') / E[exp V(s')]: by their luck, as `soften` has weighed it."""
        tilt = self.log_p + value[self.to] - np.repeat(onward.ravel()[self.rows], self.counts)
        return csr_array((np.exp(tilt), self.to, self.indptr), shape=(onward.size, self.shape[0]))


def _undiscounted(cuts: Floats, discount: float) -> Floats:
    """[H + 1, S], the shares of trajectories that were cut off, of shares times γ^t."""
    when, where = np.nonzero(cuts)
    out = np.zeros_like(cuts)
    out[when, where] = cuts[when, where] / discount**when
    return out


def path_model(mdp: TabularMDP, reward: ArrayLike) -> PathModel:
    """Backward in time, in log space: Q_t = γ^t r + log E[exp V_{t+1}], V_t = log Σ_a exp Q_t.

    Takes O(H (S A + nonzeros of the transitions)) time.

    Args:
        reward: [S, A], of a step.

    Raises:
        ValueError: without a horizon, when the reward does not fit, or is not finite.
    """
    if mdp.horizon is None:
        raise ValueError(
            f"{mdp.name} has no horizon: endless paths have no common normaliser; give one, or use fit_maxent"
        )
    given = mdp.expected(reward)
    outcomes, states = _Outcomes(mdp), mdp.states
    value = np.zeros((mdp.horizon + 1, states))
    onward, policy = (np.empty((mdp.horizon, *given.shape)) for _ in range(2))
    ends = mdp.terminal
    for t in range(mdp.horizon - 1, -1, -1):
        onward[t] = outcomes.soften(value[t + 1])
        q = mdp.discount**t * given + onward[t]
        q[ends] = 0.0
        top = q.max(1)
        weight = np.exp(q - top[:, None])
        total = weight.sum(1)
        policy[t] = weight / total[:, None]
        value[t] = top + np.log(total)
        policy[t, ends], value[t, ends] = 0.0, 0.0
    return PathModel(mdp, given, policy, value, onward)


def path_likelihood(
    mdp: TabularMDP, demonstrations: Demonstrations, weights: ArrayLike
) -> tuple[float, Floats]:
    """The mean log-likelihood of a trajectory given its start, and its exact gradient [K].

    The gradient is the demonstrated features less those of the path distribution. The likelihood is concave,
    but for demonstrations that were cut off: the paths that a cut one could have become count together.
    """
    model = path_model(mdp, mdp.linear(weights))
    seen = mdp.counts(demonstrations.visits)
    expected = mdp.counts(model.occupancy(demonstrations.starts, demonstrations.cuts))
    ahead = 0.0
    if demonstrations.cuts is not None:
        ahead = float((_undiscounted(demonstrations.cuts, mdp.discount) * model.value).sum())
    value = float(seen @ np.asarray(weights, np.float64)) - float(demonstrations.starts @ model.value[0])
    return value + ahead, seen - expected


def path_information(mdp: TabularMDP, demonstrations: Demonstrations, weights: ArrayLike) -> Floats:
    """[K, K], minus the second derivatives of `path_likelihood`: the covariance of the features of a path.

    With dQ and dV the derivatives of Q and V by the weights, it is the sum over time of the covariances of dQ
    among actions and of dV among outcomes, by the law of total variance. Takes O(H S A K²) time and keeps
    [S·A, K] numbers.
    """
    model = path_model(mdp, mdp.linear(weights))
    phi = mdp.features.toarray() if isinstance(mdp.features, csr_array) else mdp.features
    outcomes, masses = _Outcomes(mdp), model.masses(demonstrations.starts, demonstrations.cuts)
    total, ahead = np.zeros((mdp.width, mdp.width)), np.zeros((mdp.states, mdp.width))
    for t in range(len(masses) - 1, -1, -1):
        tilted = outcomes.tilted(model.value[t + 1], model.onward[t])
        arrive = tilted @ ahead  # E[dV]
        step = mdp.discount**t * phi + arrive  # dQ
        chance = model.policy[t].reshape(-1, 1)
        now = (chance * step).reshape(mdp.states, mdp.actions, -1).sum(1)  # dV
        weight = np.repeat(masses[t], mdp.actions)[:, None] * chance
        step -= np.repeat(now, mdp.actions, 0)
        landed = (tilted.T @ weight[:, 0])[:, None]
        total += step.T @ (weight * step) + ahead.T @ (landed * ahead) - arrive.T @ (weight * arrive)
        ahead = now
    return total
