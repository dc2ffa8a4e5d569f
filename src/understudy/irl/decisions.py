"""The likelihood of the decisions that were really made, log π_θ(a_t | s_t), with its exact gradient.

The dual form that maximum-causal-entropy IRL maximises has the same expectation, but puts what happened next
in the place of what could have happened; a posterior needs the probability of the decisions themselves.

Shapes: C weight vectors at once, K features, H decisions ahead (1 for a stationary policy).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from understudy.tabular.mdp import TabularMDP
from understudy.tabular.planning import Solver, solver
from understudy.tabular.trajectories import Trajectories

__all__ = ["Decisions"]

Floats: TypeAlias = NDArray[np.float64]

_ROUNDS = 200  # of soft policy iteration
_SMALL = 200  # states, up to which the equations of all C are solved at once as full matrices
_ENTRIES = 10**7  # of an array; more, and the C take turns


class Decisions:
    """Σ log π_θ(a_t | s_t) of one set of decisions, as a function of the weights.

    π_θ is the soft policy of the reward φ(s, a)·θ at a temperature τ. Every decision counts once, whatever
    its discount: the discount is the expert's, not the observer's.

    The gradient takes one pass forward in time: with g_t(s, a) = n_t(s, a) - n_t(s) π_t(a | s), n_t what was
    done at t, the derivative by r(s, a) is Σ_t y_t(s, a)/τ of y_{t+1} = g_{t+1} + γ π_{t+1} P^T y_t.

    Attributes:
        number: of decisions.

    Raises:
        ValueError: when a trajectory cannot have happened, or τ is not positive.
    """

    def __init__(self, mdp: TabularMDP, trajectories: Trajectories | None, temperature: float) -> None:
        if not 0 < temperature < np.inf:
            raise ValueError(f"temperature is {temperature}; it must be positive")
        self.mdp, self.temperature = mdp, temperature
        self.counts = np.zeros((mdp.horizon or 1, mdp.actions, mdp.states, 1))
        if trajectories is not None:
            trajectories.check(mdp)
            _, when, state, action = trajectories.steps()
            np.add.at(self.counts[..., 0], (when if mdp.horizon else 0 * when, action, state), 1)
        self.number = int(self.counts.sum())
        self.mask = np.where(mdp.available.T | mdp.terminal, 0.0, -np.inf)[:, :, None]
        self.live = ~mdp.terminal[:, None]
        self.value = np.zeros((mdp.states, 0))  # of the last plans without a horizon
        small = mdp.horizon is None and mdp.states <= _SMALL
        self.rows = mdp.transition.toarray().reshape(*mdp.available.shape, -1) if small else None

    def __call__(self, theta: Floats) -> tuple[Floats, Floats]:
        """The log-likelihood [C] of weights [C, K], in nats, and its gradient [C, K]."""
        mdp = self.mdp
        if theta.ndim != 2 or theta.shape[1] != mdp.width:
            raise ValueError(f"weights is {list(theta.shape)}; it must be [C, {mdp.width}]")
        size = self.counts.size + (0 if self.rows is None else mdp.states**2)
        if len(theta) > (most := max(_ENTRIES // size, 1)):
            parts = [self(theta[i : i + most]) for i in range(0, len(theta), most)]
            return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
        earned = np.asarray(mdp.features @ theta.T).reshape(mdp.states, mdp.actions, -1).transpose(1, 0, 2)
        earned = earned * self.live / self.temperature + self.mask  # [A, S, C]
        logs, back = self._finite(earned) if mdp.horizon else self._stationary(earned)
        value = (self.counts * np.where(self.counts > 0, logs, 0.0)).sum((0, 1, 2))
        policy = np.exp(logs) * self.live
        source = self.counts - self.counts.sum(1, keepdims=True) * policy
        visits = back(policy, source).transpose(1, 0, 2).reshape(mdp.states * mdp.actions, -1)
        return value, np.asarray(mdp.features.T @ visits).T / self.temperature

    def _finite(self, earned: Floats) -> tuple[Floats, Callable[[Floats, Floats], Floats]]:
        """log π [H, A, S, C], and what turns g into Σ_t y_t."""
        mdp = self.mdp
        value, logs = np.zeros(earned.shape[1:]), np.empty((len(self.counts), *earned.shape))
        for log_pi in logs[::-1]:
            q = earned + mdp.discount * (mdp.forward @ value).reshape(earned.shape)
            value = _soften(q) * self.live
            np.subtract(q, value, out=log_pi)

        def back(policy: Floats, source: Floats) -> Floats:
            mass, total = np.zeros(earned.shape[1:]), np.zeros(earned.shape)
            for pi, g in zip(policy, source, strict=True):
                y = g + pi * mass
                total += y
                mass = mdp.discount * (mdp.backward @ y.reshape(-1, y.shape[2]))
            return total

        return logs, back

    def _stationary(self, earned: Floats) -> tuple[Floats, Callable[[Floats, Floats], Floats]]:
        """The same without a horizon, H = 1."""
        mdp, gamma = self.mdp, self.mdp.discount
        value = self._fixed_point(earned)
        logs = earned + gamma * (mdp.forward @ value).reshape(earned.shape) - value

        def back(policy: Floats, source: Floats) -> Floats:
            g = source[0]
            landed = gamma * (mdp.backward @ g.reshape(-1, g.shape[2]))
            return np.asarray(g + policy[0] * self._onward(policy[0]).solve_transposed(landed))

        return logs[None], back

    def _fixed_point(self, earned: Floats) -> Floats:
        """V [S, C] = log Σ_a exp(r + γ P V), by Newton's method from where it was last."""
        mdp, last = self.mdp, np.inf
        value = self.value if self.value.shape == earned.shape[1:] else np.zeros(earned.shape[1:])
        for _ in range(_ROUNDS):
            q = earned + mdp.discount * (mdp.forward @ value).reshape(earned.shape)
            new = _soften(q) * self.live
            gap, size = float(np.abs(new - value).max()), max(1.0, float(np.abs(new).max()))
            if gap <= 4e-16 * size or gap >= last:
                self.value = new
                return new  # rounding is all that is left
            last = gap if gap < 1e-9 * size else np.inf
            value = value + self._onward(np.exp(q - new) * self.live).solve(new - value)
        raise ValueError(f"soft policy iteration did not settle in {_ROUNDS} rounds; is the prior too wide?")

    def _onward(self, policy: Floats) -> Solver:
        """(I - γ P_π)^-1 of policies [A, S, C] on columns [S, C]: small worlds at once, large in turn."""
        mdp = self.mdp
        if self.rows is None:
            each = [solver(mdp, np.ascontiguousarray(policy[:, :, c])) for c in range(policy.shape[2])]
            return Solver(
                lambda b: np.stack([s.solve(b[:, c]) for c, s in enumerate(each)], 1),
                lambda b: np.stack([s.solve_transposed(b[:, c]) for c, s in enumerate(each)], 1),
            )
        step = np.eye(mdp.states) - mdp.discount * np.einsum("asc,san->csn", policy, self.rows)
        return Solver(
            lambda b: np.linalg.solve(step, b.T[:, :, None])[:, :, 0].T,
            lambda b: np.linalg.solve(step.transpose(0, 2, 1), b.T[:, :, None])[:, :, 0].T,
        )


def _soften(q: Floats) -> Floats:
    """[S, C], log Σ_a exp q of q [A, S, C]."""
    top = q.max(0)
    return np.asarray(top + np.log(np.exp(q - top).sum(0)))
