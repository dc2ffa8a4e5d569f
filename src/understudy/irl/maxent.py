"""Maximum causal entropy inverse RL with linear rewards, exact (Ziebart, Bagnell and Dey 2010).

The expert is taken to choose with π_t(a|s) = exp(Q_t(s, a) - V_t(s)) under a reward φ(s, a)·θ. The weights of
greatest likelihood are those under which planning and demonstrations agree on how much of each feature they
collect; `Likelihood` says what is maximised.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from understudy.irl.ascent import DENSE, Climb, Penalised, basis, climb, climb_sparse, loose_basis
from understudy.irl.bayesian import GaussianPrior
from understudy.irl.likelihood import Likelihood, Objective, Point, scaled
from understudy.tabular import Demonstrations, Plan, TabularMDP, Trajectories, log_policy

__all__ = ["Fit", "HeldOut", "Progress", "fit_maxent"]

Floats: TypeAlias = NDArray[np.float64]

_BULK = 2_000_000  # numbers in a tangent [A, S, K], beyond which second derivatives are only multiplied with


class Progress(NamedTuple):
    """What is told of each iteration: its number, the value in nats a demonstration, and the slope left."""

    iteration: int
    value: float
    slope: float


class HeldOut(NamedTuple):
    """Mean log π_t(a|s) in nats a decision, its standard error by trajectory, and how many decisions."""

    log_likelihood: float
    error: float
    decisions: int


@dataclass(frozen=True, eq=False)
class Fit:
    """A reward from demonstrations.

    Attributes:
        weights: [K]. reward: [S, A], φ(s, a)·θ.
        plan: the soft-optimal plan for it.
        feature_gap: [K], demonstrated less planned features, Σ_t γ^t φ over the same starts and time steps.
        gradient_norm: the largest slope of what was maximised, in units of each feature's largest absolute
            value, along directions in which rewards can be told apart.
        log_likelihood: what was maximised, without penalties, in nats a (discounted) decision.
        iterations: of the search. evaluations: backward and forward passes.
        converged: whether the slope is within the tolerance and the weights have settled. why: in words.
        precision: [K], of the prior and l2, as what is maximised a demonstration has it. l1: likewise.
        objective: as it was given.
    """

    mdp: TabularMDP
    demonstrations: Demonstrations
    weights: Floats
    reward: Floats
    plan: Plan
    feature_gap: Floats
    gradient_norm: float
    log_likelihood: float
    iterations: int
    evaluations: int
    converged: bool
    why: str
    precision: Floats
    l1: float
    objective: Objective

    @property
    def policy(self) -> Floats:
        """[S, A] without a horizon, else [H, S, A]."""
        return self.plan.policy

    @property
    def names(self) -> tuple[str, ...]:
        """Of the features; by number where they have none."""
        return self.mdp.feature_names or tuple(f"feature {k}" for k in range(self.mdp.width))

    def held_out(self, trajectories: Trajectories) -> HeldOut:
        """How well it foresees decisions that it was not fitted to; every decision counts the same.

        Raises:
            ValueError: when a trajectory cannot have happened in this MDP.
        """
        trajectories.check(self.mdp)
        who, when, state, action = trajectories.steps()
        logs = log_policy(self.plan)
        each = logs[state, action] if logs.ndim == 2 else logs[when, state, action]
        n, mean = len(trajectories), float(each.mean())
        off = np.bincount(who, each - mean, minlength=n)  # trajectories are independent, decisions are not
        error = float(np.sqrt((off**2).sum() * n / (n - 1)) / len(each)) if n > 1 else np.inf
        return HeldOut(mean, error, len(each))


def fit_maxent(
    mdp: TabularMDP,
    demonstrations: Demonstrations | Trajectories,
    *,
    objective: Objective = "choices",
    prior: GaussianPrior | None = None,
    l1: float = 0.0,
    l2: float = 0.0,
    tolerance: float = 1e-8,
    start: ArrayLike | None = None,
    iterations: int = 1000,
    progress: Callable[[Progress], None] | None = None,
) -> Fit:
    """The linear reward under which the demonstrations are most likely.

    Maximises, a demonstration: L(θ) - ½ l2 |θ|² - l1 |θ|₁ - ½ Σ ((θ - m)/σ)²/n, the last with a prior and n
    demonstrations. L-BFGS, then Newton's method with exact second derivatives.

    Weights that no demonstration can tell apart (potential-based shaping; features never reached) stay at
    the start along those directions, unless a penalty says more; `standard_errors` names them. Where the
    dynamics are chancy, demonstrations may differ from every policy along such a direction: this is the luck
    of the dynamics, no reward explains it, and it stays in `feature_gap`.

    Args:
        demonstrations: trajectories, or their counts, or those of a policy (`Demonstrations.exact`).
        objective: "features" makes the policy collect the demonstrated features, the classical dual. Under
            chance a few hundred demonstrations may be luckier than any policy is, and it has no maximum.
            "choices" takes the likelihood of the actions alone, to which the luck of the dynamics is no
            evidence: under chance its errors are smaller, and no luck leaves it without a maximum. The two
            are the same without chance, and for exact demonstrations; counts without their trajectories can
            only be matched as features.
        l1: makes weights exactly 0. l2: penalties in nats a demonstration, of the weights as returned.
        tolerance: of the slope, in units of each feature's largest absolute value.
        prior: normal beliefs N(m, σ²) about the weights before any demonstration.
        start: [K], 0 unless given.
        iterations: at most.
        progress: is called at every iteration.

    Raises:
        ValueError: when the demonstrations do not fit the MDP or an argument is out of its range.
    """
    demo = (
        Demonstrations.of(mdp, demonstrations) if isinstance(demonstrations, Trajectories) else demonstrations
    )
    _check(mdp, demo, l1, l2, tolerance, iterations)
    if objective not in get_args(Objective):
        raise ValueError(f"objective is {objective!r}; it is one of {', '.join(get_args(Objective))}")
    features, scale = scaled(mdp.features)
    likelihood = Likelihood(mdp, demo, features, objective)
    precision, mean = _penalty(mdp, demo, prior, l2)
    problem = Penalised(likelihood, mean * scale, precision / scale**2, np.full(mdp.width, l1) / scale)
    first = np.zeros(mdp.width) if start is None else _vector("start", start, mdp.width)

    def report(iteration: int, point: Point, slope: float) -> None:
        if progress is not None:
            progress(Progress(iteration, problem.value(point), slope))

    state = Climb(problem, likelihood.at(first * scale), tolerance, iterations, report)
    slope = _search(state, first)
    converged, why = _verdict(state, slope, mdp)
    point = state.point
    return Fit(
        mdp=mdp,
        demonstrations=demo,
        weights=point.weights / scale,
        reward=point.plan.reward,
        plan=point.plan,
        feature_gap=mdp.counts(demo.visits - demo.occupancy(mdp, point.plan.policy)),
        gradient_norm=slope,
        log_likelihood=point.value / float(demo.visits.sum()),
        iterations=state.iterations,
        evaluations=likelihood.evaluations,
        converged=converged,
        why=why,
        precision=precision,
        l1=l1,
        objective=objective,
    )


def _search(state: Climb, first: Floats) -> float:
    """Climbs, and returns the slope that is left."""
    problem = state.problem
    dense = len(first) <= DENSE and state.point.visits.size * len(first) <= _BULK
    if problem.l1.any():
        climb_sparse(state, dense)
        return float(np.abs(problem.slope(state.point)).max())
    if dense:
        steps = float(problem.likelihood.demonstrations.visits.sum())
        space = basis(problem.likelihood.support() + np.diag(problem.precision), steps)
    else:
        space = loose_basis(problem, problem.likelihood.at(np.zeros(len(first))))
    climb(state, space)
    return state.steepest(space)


def _verdict(state: Climb, slope: float, mdp: TabularMDP) -> tuple[bool, str]:
    """Whether the search came to a maximum, and in words."""
    if slope <= state.tolerance and state.running is None and not state.far:
        return True, f"the slope is {slope:.1e}"
    likelihood = state.problem.likelihood
    sampled = likelihood.demonstrations.trajectories is not None and (mdp.transition.data < 1).any()
    lucky = "; or they were luckier than any policy can be: give l2, a prior or objective='choices'"
    advice = lucky if sampled and likelihood.objective == "features" else "; give l2 or a prior"
    if state.far or slope <= state.tolerance:
        names = mdp.feature_names or tuple(f"feature {k}" for k in range(mdp.width))
        moved = np.abs(state.point.weights if state.running is None else state.running)
        worst = [names[k] for k in np.argsort(-moved)[:3] if moved[k] > 0.3 * moved.max()]
        return False, (
            f"no maximum: the weights run off to infinity ({', '.join(worst)}), where the demonstrations "
            f"leave no choice to chance{advice}"
        )
    if state.iterations >= state.limit:
        return False, f"stopped after {state.iterations} iterations with a slope of {slope:.1e}"
    return False, f"no step improves on a slope of {slope:.1e}, which {state.tolerance:.1e} bounds{advice}"


def _check(
    mdp: TabularMDP, demo: Demonstrations, l1: float, l2: float, tolerance: float, iterations: int
) -> None:
    if demo.visits.shape != mdp.available.shape or demo.starts.shape != (mdp.states,):
        raise ValueError(
            f"the demonstrations count {list(demo.visits.shape)} states × actions; {mdp.name} has "
            f"{list(mdp.available.shape)}"
        )
    for name, value in (("l1", l1), ("l2", l2)):
        if not 0 <= value < np.inf:
            raise ValueError(f"{name} is {value}; it must be at least 0 and finite")
    if not 0 < tolerance < np.inf:
        raise ValueError(f"tolerance is {tolerance}; it must be positive")
    if iterations < 1:
        raise ValueError(f"iterations is {iterations}; it must be at least 1")


def _penalty(
    mdp: TabularMDP, demo: Demonstrations, prior: GaussianPrior | None, l2: float
) -> tuple[Floats, Floats]:
    """[K] precisions and [K] means of the sum of both quadratic penalties."""
    precision = np.full(mdp.width, float(l2))
    if prior is None:
        return precision, np.zeros(mdp.width)
    if demo.trajectories is None:
        raise ValueError("exact demonstrations are infinitely many and outweigh any prior; give l2 instead")
    mean = _vector("the prior's mean", prior.mean, mdp.width)
    own = 1 / _vector("the prior's scale", prior.scale, mdp.width) ** 2 / len(demo.trajectories)
    return precision + own, own * mean / (precision + own)


def _vector(name: str, given: ArrayLike, width: int) -> Floats:
    value = np.asarray(given, np.float64)
    if value.shape not in ((), (width,)):
        raise ValueError(f"{name} is {list(value.shape)}; it is one number or [{width}]")
    if not np.isfinite(value).all():
        raise ValueError(f"{name} holds values that are not finite")
    return np.broadcast_to(value, (width,)).copy()
