"""Rewards and policies from the same demonstrations of objectworld, and what they lose of the true reward."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from understudy.irl import fit_maxent
from understudy.irl.measures import expected_value_difference, value_difference
from understudy.learn.deep_maxent import Config, fit_deep
from understudy.nets import MLP
from understudy.study.choices import clone_table, fit_classifier
from understudy.tabular import Demonstrations, TabularMDP, Trajectories, hard_plan, sample
from understudy.tabular.worlds import Wind, objectworld

__all__ = ["METHODS", "WORLDS", "Plan", "measure", "pictured", "worlds"]

Floats: TypeAlias = NDArray[np.float64]
# A reward or a policy [S, A] in any of the worlds, and how it was chosen.
Learned: TypeAlias = tuple[Callable[[TabularMDP], Floats], dict[str, Any]]

METHODS: Mapping[str, str] = {
    "deep": "deep MaxEnt",
    "linear": "linear MaxEnt, distances",
    "linear_discrete": "linear MaxEnt, thresholds",
    "cloning_features": "cloning by features",
    "cloning_table": "cloning by state",
}
WORLDS: Mapping[str, str] = {
    "same": "the world of the demonstrations",
    "placement": "objects placed anew",
    "wind": "the same objects, a wind",
}
_HELD_OUT = 4  # one trajectory in so many
_PLACED_ANEW = 10_000  # added to a world's seed


@dataclass(frozen=True)
class Plan:
    """What the study does, by the settings of Levine et al. 2011 and Wulfmeier et al. 2015.

    Args:
        size: cells a side. objects: in it, of two inner and two outer colours.
        demonstrations: how many there are, in turn, the first ones of the same sequence; each of `length`
            steps of the optimal policy, from anywhere. A quarter of them is held out to choose weight decay
            and when to stop.
        seeds: worlds, each with a placement and demonstrations of its own.
        slip: chance of another move than the chosen one. wind: in the changed world, chance of being blown
            one cell to the right at every step.
        hidden: of the networks of deep MaxEnt and of cloning. decays: to choose from, for every method
            with weights. steps: of ten iterations of L-BFGS, at most.
    """

    size: int = 32
    objects: int = 50
    demonstrations: tuple[int, ...] = (8, 16, 32, 64, 128, 256)
    length: int = 8
    seeds: int = 8
    slip: float = 0.3
    wind: float = 0.5
    discount: float = 0.9
    hidden: tuple[int, ...] = (32, 32)
    decays: tuple[float, ...] = (1e-1, 1e-2, 1e-3, 1e-4)
    steps: int = 30

    def __post_init__(self) -> None:
        if not self.demonstrations or min(self.demonstrations) < _HELD_OUT:
            raise ValueError(
                f"demonstrations are {self.demonstrations}; at least {_HELD_OUT}, so that one is held out"
            )
        if self.seeds < 2:
            raise ValueError(f"seeds is {self.seeds}; an interval needs at least 2")

    def shared(self) -> dict[str, Any]:
        """What two runs must have in common to be compared; the longest sequence decides what is drawn."""
        return asdict(replace(self, demonstrations=(max(self.demonstrations),), seeds=2))


def worlds(plan: Plan, seed: int, features: str) -> dict[str, TabularMDP]:
    """The three worlds of a seed, by the names of `WORLDS`."""
    same: dict[str, Any] = {"objects": plan.objects, "slip": plan.slip, "discount": plan.discount}
    make = partial(objectworld, plan.size, features=features, **same)
    return {
        "same": make(seed=seed),
        "placement": make(seed=seed + _PLACED_ANEW),
        "wind": make(seed=seed, wind=Wind("right", plan.wind)),
    }


def measure(plan: Plan, seed: int, n: int) -> dict[str, Any]:
    """All methods on the same `n` demonstrations: method -> world -> value lost, and how each was chosen."""
    near, marked = worlds(plan, seed, "continuous"), worlds(plan, seed, "discrete")
    expert, shown = _shown(near["same"], plan, seed, n)
    found = {}
    for name in METHODS:
        began = time.process_time()
        some = marked if name == "linear_discrete" else near
        learned, chosen = _LEARN[name](some["same"], shown, plan, seed)
        value = expected_value_difference if name in _REWARDS else value_difference
        lost = {w: value(mdp, learned(mdp), temperature=0.0).difference for w, mdp in some.items()}
        found[name] = {"lost": lost, **chosen, "cpu_seconds": round(time.process_time() - began, 2)}
    known = {name: value_difference(w, expert, temperature=0.0) for name, w in near.items()}
    return {
        "seed": seed,
        "n": n,
        "methods": found,
        "optimal": {name: v.best for name, v in known.items()},
        "chance": {name: v.best - v.random for name, v in known.items()},
        "expert_unaware": known["wind"].difference,  # of a wind: what perfect cloning would lose
    }


def pictured(plan: Plan, seed: int, n: int) -> dict[str, Any]:
    """The true reward of each cell and the learned ones, for pictures: from 0 up to scale and shift.

    Policies do not tell rewards apart that differ by a positive factor or a constant. So each is shifted to
    0 on average over the cells that truly earn nothing, and divided by its 95th percentile in size.
    """
    pictures = {}
    for name, features in (("deep", "continuous"), ("linear", "continuous"), ("linear_discrete", "discrete")):
        mdp = worlds(plan, seed, features)["same"]
        assert mdp.reward is not None
        truth = mdp.reward[:, 0]
        learned, _ = _LEARN[name](mdp, _shown(mdp, plan, seed, n)[1], plan, seed)
        for key, reward in (("true", truth), (name, learned(mdp)[:, 0])):
            level = reward - reward[truth == 0].mean() if (truth == 0).any() else reward
            size = float(np.quantile(np.abs(level), 0.95)) or 1.0
            pictures[key] = np.round(level / size, 3).tolist()
    return {"seed": seed, "n": n, "rewards": pictures}


def _shown(mdp: TabularMDP, plan: Plan, seed: int, n: int) -> tuple[Floats, Trajectories]:
    """The expert's policy, and its first `n` demonstrations."""
    assert mdp.reward is not None
    expert = hard_plan(mdp, mdp.reward).policy
    drawn = sample(mdp, expert, max(plan.demonstrations), seed, steps=plan.length)
    return expert, drawn.select(np.arange(n))


def _split(trajectories: Trajectories) -> tuple[Trajectories, Trajectories]:
    """For training, and held out."""
    held = np.arange(len(trajectories)) % _HELD_OUT == _HELD_OUT - 1
    return trajectories.select(~held), trajectories.select(held)


def _deep(mdp: TabularMDP, shown: Trajectories, plan: Plan, seed: int) -> Learned:
    net = MLP(plan.hidden, "tanh")
    training, held = (Demonstrations.of(mdp, t) for t in _split(shown))
    fit = fit_deep(mdp, training, held, net, Config(seed=seed), decays=plan.decays, steps=plan.steps)
    return fit.reward_on, {"decay": fit.config.weight_decay, "held_out": fit.score}


def _linear(mdp: TabularMDP, shown: Trajectories, plan: Plan, seed: int) -> Learned:
    """On features scaled as the networks scale them; the same decays, in the same units."""
    full = np.asarray(mdp.features)
    spread = np.where(full.std(0) > 0, full.std(0), 1.0)
    scaled = mdp.with_(features=(full - full.mean(0)) / spread)
    training, held = _split(shown)
    steps = float(Demonstrations.of(mdp, training).visits.sum())
    tried = [
        fit_maxent(scaled, training, objective="choices", l2=decay * steps, tolerance=1e-6)
        for decay in plan.decays
    ]
    scores = [fit.held_out(held).log_likelihood for fit in tried]
    best = int(np.argmax(scores))
    weights = tried[best].weights / spread
    chosen = {"decay": plan.decays[best], "held_out": scores[best], "converged": tried[best].converged}
    return lambda world: world.linear(weights), chosen


def _cloning_features(mdp: TabularMDP, shown: Trajectories, plan: Plan, seed: int) -> Learned:
    net, (training, held) = MLP(plan.hidden, "tanh"), _split(shown)
    fit = fit_classifier(mdp, training, held, net, Config(seed=seed), decays=plan.decays, steps=plan.steps)
    return fit.policy, {"decay": fit.weight_decay, "held_out": fit.score}


def _cloning_table(mdp: TabularMDP, shown: Trajectories, plan: Plan, seed: int) -> Learned:
    """From all demonstrations, as nothing is chosen; in a new placement states mean nothing."""
    policy = clone_table(mdp, shown)
    return lambda world: policy, {}


_REWARDS = ("deep", "linear", "linear_discrete")  # the others learn policies
_LEARN: Mapping[str, Callable[[TabularMDP, Trajectories, Plan, int], Learned]] = {
    "deep": _deep,
    "linear": _linear,
    "linear_discrete": _linear,
    "cloning_features": _cloning_features,
    "cloning_table": _cloning_table,
}
