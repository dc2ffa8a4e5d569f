"""The methods of the command by name: from demonstrations to a reward, a policy, and weights with errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from math import isfinite
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from understudy.inverse.wording import phrases, units
from understudy.irl.preferences import Weights, feature_ranges
from understudy.tabular import Demonstrations, TabularMDP, Trajectories, hard_plan, soft_plan

__all__ = ["METHODS", "Found", "Method", "Settings", "fit"]

Floats: TypeAlias = NDArray[np.float64]

_STEPS = 100  # of a neural reward's fit, each some iterations of L-BFGS
_VALIDATION = 0.2  # share of the demonstrations by which its steps are chosen


@dataclass(frozen=True)
class Settings:
    """What can be said about a method; None is not said. A method refuses what it does not take."""

    objective: Literal["features", "choices"] | None = None
    l1: float | None = None
    l2: float | None = None
    prior_std: float | None = None
    hidden: tuple[int, ...] | None = None

    def said(self) -> dict[str, Any]:
        """Those that were said."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}


@dataclass(frozen=True, eq=False)
class Found:
    """What a method found.

    Attributes:
        reward: [S, A]. policy: [S, A] or [H, S, A].
        reward_on: the learned reward in another world with the same features.
        likely: whether the policy is a model of the expert's choices, so that decisions have a likelihood.
        weights: None where there are none to speak about, and `silence` says why.
        settings: all that was chosen, defaults included.
        warnings: what the reader must know before believing it.
    """

    reward: Floats
    policy: Floats
    reward_on: Callable[[TabularMDP], Floats]
    likely: bool
    weights: Weights | None
    converged: bool
    settings: Mapping[str, Any]
    warnings: list[str] = field(default_factory=list)
    silence: str = ""

    def policy_on(self, mdp: TabularMDP) -> Floats:
        """What one does with the learned reward in another world: planned as the method plans."""
        reward = self.reward_on(mdp)
        return soft_plan(mdp, reward).policy if self.likely else hard_plan(mdp, reward).policy


@dataclass(frozen=True)
class Method:
    """A method: what it is called, which settings it takes and which it needs, and how it fits."""

    title: str
    run: Callable[[TabularMDP, Trajectories, Settings, int], Found]
    takes: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


def fit(name: str, mdp: TabularMDP, trajectories: Trajectories, settings: Settings, seed: int) -> Found:
    """Fits by the method of that name.

    Raises:
        ValueError: for an unknown method, a setting that it does not take, or without one that it needs.
    """
    if name not in METHODS:
        raise ValueError(f"there is no method {name!r}; there are {', '.join(METHODS)}")
    method, said = METHODS[name], settings.said()
    for one in said:
        if one not in method.takes:
            takes = ", ".join(f"--{t.replace('_', '-')}" for t in method.takes) or "none of these settings"
            raise ValueError(f"{name} does not take --{one.replace('_', '-')}; it takes {takes}")
    for one in method.needs:
        if one not in said:
            raise ValueError(f"{name} needs --{one.replace('_', '-')}: the result depends on it")
    return method.run(mdp, trajectories, settings, seed)


def _linear(mdp: TabularMDP, values: Floats) -> Callable[[TabularMDP], Floats]:
    def on(other: TabularMDP) -> Floats:
        if other.feature_names != mdp.feature_names or other.width != mdp.width:
            raise ValueError(
                f"{other.name} has other features than {mdp.name}: these weights say nothing about it"
            )
        return other.linear(values)

    return on


def _weights(mdp: TabularMDP, values: Floats, n: int, **errors: Any) -> Weights:
    names = mdp.feature_names or tuple(f"feature {k}" for k in range(mdp.width))
    ranges = feature_ranges(mdp)
    return Weights(names, values, ranges, n, units=units(names), phrases=phrases(names), **errors)


def _maxent(mdp: TabularMDP, trajectories: Trajectories, s: Settings, seed: int) -> Found:
    from understudy.irl import fit_maxent, standard_errors
    from understudy.irl.bayesian import GaussianPrior

    l1, l2, objective = s.l1 or 0.0, s.l2 or 0.0, s.objective or "choices"
    prior = None if s.prior_std is None else GaussianPrior(s.prior_std)
    found = fit_maxent(mdp, trajectories, objective=objective, prior=prior, l1=l1, l2=l2)
    errors: dict[str, Any] = {}
    warnings = [] if found.converged else [f"The fit did not converge: {found.why}."]
    if found.converged:
        try:
            e = standard_errors(found)
            errors = {"covariance": e.covariance, "unidentified": e.unknown, "scale": e.scale}
            errors["degrees"] = e.freedom if isfinite(e.freedom) else None
        except ValueError as wrong:
            warnings.append(f"There are no standard errors: {wrong}.")
    if errors and (l2 or prior):
        warnings.append(
            "Weights are pulled towards 0 by a penalty; their intervals do not hold what it pulls."
        )
    return Found(
        found.reward,
        found.policy,
        _linear(mdp, found.weights),
        True,
        _weights(mdp, found.weights, len(trajectories), **errors),
        found.converged,
        {"objective": objective, "l1": l1, "l2": l2, "prior_std": s.prior_std},
        warnings,
    )


def _trajectory_maxent(mdp: TabularMDP, trajectories: Trajectories, s: Settings, seed: int) -> Found:
    from understudy.irl.trajectory_maxent import fit_trajectory_maxent

    l2 = s.l2 or 0.0
    found = fit_trajectory_maxent(mdp, Demonstrations.of(mdp, trajectories), l2=l2)
    warnings = (
        [] if found.converged else ["The fit did not converge; without a penalty there may be no maximum."]
    )
    return Found(
        found.reward,
        found.policy,
        _linear(mdp, found.weights),
        True,
        _weights(mdp, found.weights, len(trajectories)),
        found.converged,
        {"l2": l2},
        warnings,
    )


def _apprenticeship(mdp: TabularMDP, trajectories: Trajectories, s: Settings, seed: int) -> Found:
    from understudy.irl.apprenticeship import learn_apprentice

    found = learn_apprentice(mdp, Demonstrations.of(mdp, trajectories), method="projection", tolerance=1e-6)
    silence = (
        "This method makes a mixture of policies with the expert’s feature counts. Its reward is that of one "
        "of them, a tool and not a finding, so its weights are not put into words."
    )
    warnings = []
    if not found.converged and not found.exhausted:
        warnings.append(f"It stopped at a distance of {found.margin:.3g} from the expert's feature counts.")
    return Found(
        found.reward,
        found.policy,
        _linear(mdp, found.weights),
        False,
        None,
        found.converged or found.exhausted,
        {"variant": "projection", "tolerance": 1e-6},
        warnings,
        silence,
    )


def _max_margin(mdp: TabularMDP, trajectories: Trajectories, s: Settings, seed: int) -> Found:
    from understudy.irl.max_margin import fit_max_margin

    demonstrations = Demonstrations.of(mdp, trajectories)
    most = demonstrations.visits.max(1, keepdims=True)
    loss = mdp.expected(1 - demonstrations.visits / np.where(most > 0, most, 1.0))
    if not loss.any():
        raise ValueError("every action was done as often as the others: no margin tells them apart")
    found = fit_max_margin(mdp, demonstrations, loss=loss, regularisation=s.l2 or 0.0)
    warnings = [] if found.converged else [f"The fit is {found.gap:.3g} away from its certified optimum."]
    return Found(
        found.reward,
        found.policy,
        _linear(mdp, found.weights),
        False,
        _weights(mdp, found.weights, len(trajectories)),
        found.converged,
        {"l2": s.l2, "loss": "1 less how often an action was done against the most frequent one"},
        warnings,
    )


def _bayesian(mdp: TabularMDP, trajectories: Trajectories, s: Settings, seed: int) -> Found:
    from understudy.irl.bayesian import GaussianPrior, hmc_posterior

    prior = GaussianPrior(s.prior_std)
    found = hmc_posterior(mdp, trajectories, prior=prior, temperature=1.0, seed=seed)
    warnings = (
        [] if found.converged else ["The chains of the sampler do not agree: do not trust the intervals."]
    )
    return Found(
        found.reward,
        found.policy,
        _linear(mdp, found.weights),
        True,
        _weights(mdp, found.weights, len(trajectories), draws=found.samples),
        found.converged,
        {"prior_std": s.prior_std, "temperature": 1.0, "draws": len(found.samples)},
        warnings,
    )


def _deep(mdp: TabularMDP, trajectories: Trajectories, s: Settings, seed: int) -> Found:
    from understudy.learn.deep_maxent import Config, DeepMaxEnt
    from understudy.nets import MLP

    n = len(trajectories)
    if n < 5:
        raise ValueError(f"deep-maxent holds out demonstrations to choose its steps by; it needs 5, not {n}")
    order = np.random.default_rng(seed).permutation(n)
    held = max(1, round(_VALIDATION * n))
    some, rest = (Demonstrations.of(mdp, trajectories.select(part)) for part in (order[held:], order[:held]))
    hidden = (32, 32) if s.hidden is None else s.hidden
    config = Config(seed=seed) if s.l2 is None else Config(weight_decay=s.l2, seed=seed)
    found = DeepMaxEnt(mdp, some, MLP(hidden=hidden), config, rest).fit(_STEPS)
    warnings = [] if found.done else [f"The fit had not settled after {_STEPS} steps."]
    return Found(
        found.reward,
        found.policy,
        found.reward_on,
        True,
        None,
        found.done,
        {"hidden": list(hidden), "l2": config.weight_decay, "validation": held},
        warnings,
        "This reward is a network of the features, without weights to put into words: the pictures say it.",
    )


METHODS: Mapping[str, Method] = {
    "maxent": Method("Maximum causal entropy IRL", _maxent, ("objective", "l1", "l2", "prior_std")),
    "trajectory-maxent": Method("Maximum entropy IRL over trajectories", _trajectory_maxent, ("l2",)),
    "apprenticeship": Method("Apprenticeship learning by projection", _apprenticeship),
    "max-margin": Method("Maximum-margin planning", _max_margin, ("l2",), ("l2",)),
    "bayesian": Method("Bayesian IRL", _bayesian, ("prior_std",), ("prior_std",)),
    "deep-maxent": Method("Deep maximum entropy IRL", _deep, ("l2", "hidden")),
}
