"""The causal likelihood of demonstrations under a linear reward, with its exact first and second derivatives.

Shapes: S states, A actions, K features, H decisions. Inside, rows of actions come first ([A·S, ...]), as the
MDP's own matrices have them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from understudy.tabular import (
    Demonstrations,
    Plan,
    TabularMDP,
    Trajectories,
    expected_successors,
    occupancy,
    soft_plan,
)
from understudy.tabular.planning import Solver, solver

__all__ = ["Likelihood", "Objective", "Point", "Tangent", "reached", "scaled", "tangents"]

Floats: TypeAlias = NDArray[np.float64]
Objective: TypeAlias = Literal["features", "choices"]


@dataclass(frozen=True, eq=False)
class Point:
    """The likelihood at one place.

    Attributes:
        weights: [K]. plan: the soft-optimal plan for them.
        visits: [S, A], what its policy visits over the demonstrations' starts and time steps.
        value: log-likelihood, in nats a demonstration. gradient: [K], demonstrated less planned features.
    """

    weights: Floats
    plan: Plan
    visits: Floats
    value: float
    gradient: Floats


@dataclass(frozen=True, eq=False)
class Tangent:
    """The derivative by the weights of what is ahead at one time, [K] numbers a place.

    Attributes:
        time: of the decision; 0 without a horizon, where all times are alike.
        step: [A, S, K], of Q; arrive: [S, K], of V one step later; now: [S, K], of V.
    """

    time: int
    step: Floats
    arrive: Floats
    now: Floats


class Likelihood:
    """The discounted causal log-likelihood of demonstrations, L(θ), a demonstration (Ziebart 2010).

    - Of "features", the dual form of maximum causal entropy: L(θ) = θ·μ_demo - E[V_θ(s_0)] over the
      demonstrations' own starts. ∇L = μ_demo - μ_θ, over the same discount, time steps and starts on both
      sides. It is concave, but for cut demonstrations: one cut off at time T adds γ^T V_T(s_T), what it still
      had ahead.
    - Of "choices": L(θ) = E_demo[Σ_t γ^t log π_t(a_t | s_t)], the same but for the luck of the dynamics. The
      two differ by γ^t (V(s_t) - E[V(s_t) | s_{t-1}, a_{t-1}]), which is 0 without chance, and on average.
      The states that followed are then no evidence for a reward, as indeed they are none, and the gradient
      is the demonstrated less the expected features of each choice, Σ_t γ^t (∇Q_t(s_t, a_t) - ∇V_t(s_t)).
      So are models of discrete choice fitted (Rust 1987). It need not be concave under chance.

    -∇²L = Σ_t E[x xᵀ], x = ∇Q_t(s, a) - ∇V_t(s), over what is reached: exact, and from one pass.

    Args:
        features: [S·A, K], in the place of the MDP's.

    Attributes:
        cuts: [H + 1, S] (one row without a horizon) or None, what is taken off the planned passage at each
            time, so that the rest is comparable with the demonstrations.
    """

    def __init__(
        self,
        mdp: TabularMDP,
        demonstrations: Demonstrations,
        features: Any,
        objective: Objective = "features",
    ) -> None:
        self.mdp, self.demonstrations, self.features = mdp, demonstrations, features
        self.objective: Objective = objective
        self.target: Floats = np.asarray(features.T @ demonstrations.visits.ravel())
        self.evaluations = 0
        self._value: Floats | None = None  # of the last plan: where the next one starts
        self.cuts, self._visited = demonstrations.cuts, None
        if objective == "choices" and demonstrations.trajectories is not None:
            self.cuts = expected_successors(mdp, demonstrations).cuts
            self._visited = _departures(mdp, demonstrations.trajectories)
        self._compared = replace(demonstrations, cuts=self.cuts)

    def at(self, weights: Floats) -> Point:
        """One backward and one forward pass."""
        reward = np.asarray(self.features @ weights).reshape(self.mdp.available.shape)
        plan = soft_plan(self.mdp, reward, start=self._value if self.mdp.horizon is None else None)
        if self.mdp.horizon is None:
            self._value = plan.value
        visits = self._compared.occupancy(self.mdp, plan.policy)
        self.evaluations += 1
        value = float(self.target @ weights) - self._compared.baseline(plan.value)
        return Point(weights, plan, visits, value, self.target - np.asarray(self.features.T @ visits.ravel()))

    def information(self, point: Point) -> Floats:
        """[K, K], -∇²L, by a tangent pass over all weights at once."""
        return self._advantages(point, reached(self.mdp, point.plan, self.demonstrations.starts, self.cuts))

    def support(self) -> Floats:
        """[K, K], not negative, and zero along those directions only on which L does not depend at all.

        A soft policy gives every action some chance. So it does not change along a direction only where the
        feature advantages are zero on all that is reached, and then that is so at all weights. These are 0.
        """
        point = self.at(np.zeros(len(self.target)))
        if self._visited is not None:
            return self._advantages(point, self._visited)
        return self._advantages(point, reached(self.mdp, point.plan, self.demonstrations.starts))

    def _advantages(self, point: Point, mass: Floats) -> Floats:
        """[K, K], the second moments of the feature advantages over a mass [H, S]."""
        policy = _by_time(point.plan)
        total = np.zeros((len(point.weights),) * 2)
        for tangent in tangents(self.mdp, point.plan, self.features):
            t = tangent.time
            advantage = (tangent.step - tangent.now).reshape(-1, total.shape[0])
            weight = (policy[t].T * mass[t]).reshape(-1, 1)
            total += advantage.T @ (weight * advantage)
        return total

    def curvature(self, point: Point) -> Callable[[Floats], Floats]:
        """v [K] -> -∇²L v, by one tangent and one adjoint pass: for many weights, linear in the nonzeros."""
        mdp, plan = self.mdp, point.plan
        policy, mass = _by_time(plan), reached(mdp, plan, self.demonstrations.starts, self.cuts)
        factors = solver(mdp, policy[0].T) if mdp.horizon is None else None

        def times(v: Floats) -> Floats:
            direction = np.asarray(self.features @ v)[:, None]
            advantage = {t.time: (t.step - t.now)[..., 0] for t in tangents(mdp, plan, direction, factors)}
            total, lands = np.zeros((mdp.actions, mdp.states)), np.zeros(mdp.states)
            for t in range(len(policy)):
                change = policy[t].T * (mass[t] * advantage[t] + lands)
                total += change
                lands = mdp.discount * np.asarray(mdp.backward @ change.ravel())
            if factors is not None:
                total += policy[0].T * factors.solve_transposed(lands)
            return np.asarray(self.features.T @ np.ascontiguousarray(total.T).ravel())

        return times


def tangents(mdp: TabularMDP, plan: Plan, features: Any, factors: Solver | None = None) -> Iterator[Tangent]:
    """∇Q and ∇V of a soft plan by the weights of a linear reward, the last decision first.

    ∇V(s) = Σ_a π(a|s) ∇Q(s, a), ∇Q(s, a) = φ(s, a) + γ E[∇V(s')]: the features that are ahead.

    Args:
        features: [S·A, K]. factors: of I - γ P_π, where they are there already, without a horizon.
    """
    a, s = mdp.actions, mdp.states
    width = features.shape[1]
    phi = features.toarray() if issparse(features) else features
    phi = np.ascontiguousarray(phi.reshape(s, a, width).transpose(1, 0, 2))
    policy = _by_time(plan)
    if mdp.horizon is None:
        weight = policy[0].T
        arrive = np.asarray((factors or solver(mdp, weight)).solve((weight[:, :, None] * phi).sum(0)))
        step = phi + mdp.discount * (mdp.forward @ arrive).reshape(phi.shape)
        yield Tangent(0, step, arrive, arrive)
        return
    arrive = np.zeros((s, width))
    for t in range(mdp.horizon - 1, -1, -1):
        step = (mdp.forward @ arrive).reshape(phi.shape)
        step *= mdp.discount
        step += phi
        now = np.einsum("as,ask->sk", policy[t].T, step)
        yield Tangent(t, step, arrive, now)
        arrive = now


def reached(
    mdp: TabularMDP, plan: Plan, start: Floats, cuts: Floats | None = None, discount: float | None = None
) -> Floats:
    """[H, S], γ^t Pr(s_t = s) under a plan; [1, S], its sum over t, without a horizon.

    Args:
        cuts: as `occupancy` takes them. discount: the MDP's unless given.
    """
    gamma = mdp.discount if discount is None else discount
    if mdp.horizon is None:
        if gamma == mdp.discount:
            return np.asarray(occupancy(mdp, plan.policy, start, cuts).sum(1)[None])
        shorter = mdp.with_(discount=gamma)
        return np.asarray(occupancy(shorter, plan.policy, start, cuts).sum(1)[None])
    mass, policy = np.empty((mdp.horizon, mdp.states)), _by_time(plan)
    arriving = np.asarray(start, np.float64)
    for t in range(mdp.horizon):
        mass[t] = arriving if cuts is None else arriving - cuts[t]
        arriving = gamma * (mdp.backward @ (policy[t].T * mass[t]).ravel())
    return mass


def _departures(mdp: TabularMDP, trajectories: Trajectories) -> Floats:
    """[H, S] (one row without a horizon), the discounted decisions of a trajectory at each time and state."""
    _, when, state, _ = trajectories.steps()
    made = np.zeros((1 if mdp.horizon is None else mdp.horizon, mdp.states))
    row = np.zeros_like(when) if mdp.horizon is None else when
    np.add.at(made, (row, state), mdp.discount**when / len(trajectories))
    return made


def scaled(features: Any) -> tuple[Any, Floats]:
    """Features [S·A, K] with a largest absolute value of 1, and what they were divided by [K]."""
    if issparse(features):
        largest = np.asarray(abs(features).max(0).todense()).ravel()
    else:
        largest = np.abs(features).max(0)
    scale = np.where(largest > 0, largest, 1.0)
    return (features.multiply(1 / scale).tocsr() if issparse(features) else features / scale), scale


def _by_time(plan: Plan) -> Floats:
    """[H, S, A], or [1, S, A] without a horizon."""
    return plan.policy if plan.policy.ndim == 3 else plan.policy[None]
