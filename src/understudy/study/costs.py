"""The slip road's costs against T: measured with tables and with networks, beside what is exact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.agent import Agent, Chunked
from understudy.dataset import Dataset
from understudy.envs import Task, task
from understudy.envs.slip_road import SlipRoad, cloning_cost, dagger_cost, shapes
from understudy.experts import ENDORSE, PolicyExpert
from understudy.experts.slip_road import Road, SlipRoadExpert
from understudy.interactive import Rounds, dagger, teach
from understudy.learn import bc
from understudy.numerics import Estimate
from understudy.rollout import Workers, rollouts
from understudy.runs import Network, fit
from understudy.study import sharing, tabular
from understudy.train import Budget

__all__ = [
    "Control",
    "Networks",
    "Tables",
    "control",
    "exact_slope",
    "networks",
    "networks_report",
    "on_road",
    "tables",
]

Floats = NDArray[np.float64]
EXACT: Mapping[str, Callable[[int, float], float]] = {"bc": cloning_cost, "dagger": dagger_cost}


@dataclass(frozen=True)
class Tables:
    """Tables of counts on the slip road.

    Args:
        learners: R, each with data of its own. rounds, episodes: of DAgger, and how many it drives in each;
            cloning gets rounds × episodes demonstrations, as many labelled states.
        measured: fresh episodes on which each learner is measured.
    """

    horizons: tuple[int, ...] = (16, 32, 64, 128, 256)
    epsilon: float = 0.004
    learners: int = 400
    rounds: int = 10
    episodes: int = 20
    measured: int = 200
    seed: int = 0


@dataclass(frozen=True)
class Networks:
    """The library's own learners on the slip road, as any user would run them. As `Tables`; `seeds` are runs.

    Args:
        states: visited in a round, whatever T is: where few steps make an episode, a round has more of them.
            Being off the road is rare, and a network that has seen no way back has not learned it.
        steps: of gradient descent in each training. hidden: of the network.
    """

    horizons: tuple[int, ...] = (16, 32, 64, 128)
    epsilon: float = 0.004
    seeds: int = 3
    rounds: int = 5
    states: int = 2560
    measured: int = 1000
    steps: int = 600
    hidden: tuple[int, ...] = (64,)


@dataclass(frozen=True)
class Control:
    """A world without blank signs and with rare contexts, from so many demonstrations at every T.

    Args:
        shared: learners with one table for all steps. per_step: learners with a table for each.
    """

    horizons: tuple[int, ...] = (16, 32, 64, 128, 256)
    demonstrations: int = 1200
    shared: int = 4000
    per_step: int = 200
    seed: int = 1


def exact_slope(law: Callable[[int], float], horizons: tuple[int, ...]) -> float:
    """The least-squares slope of log law(T) on log T over the grid."""
    return float(np.polyfit([log(t) for t in horizons], [log(law(t)) for t in horizons], 1)[0])


def _row(found: Estimate, theory: float) -> dict[str, Any]:
    error = tabular.standard_error(found)
    return found.summary() | {
        "standard_error": error,
        "theory": theory,
        "standard_errors_off": (found.value - theory) / error if error else None,
    }


def _report(found: Mapping[str, Mapping[int, Estimate]], law: Callable[[str, int], float]) -> dict[str, Any]:
    """Costs at each T and slopes of each method: measured, and what theory says."""
    horizons = tuple(next(iter(found.values())))
    return {
        "costs": {
            m: {str(t): _row(e, law(m, t)) for t, e in by_horizon.items()} for m, by_horizon in found.items()
        },
        "slopes": {
            m: tabular.loglog_slope(by_horizon).summary() | {"theory": exact_slope(partial(law, m), horizons)}
            for m, by_horizon in found.items()
        },
    }


def tables(plan: Tables) -> dict[str, Any]:
    """Cloning and DAgger with tables of counts; every horizon has a stream of random numbers of its own."""
    found: dict[str, dict[int, Estimate]] = {"bc": {}, "dagger": {}}
    r, n = plan.learners, plan.episodes
    for t in plan.horizons:
        road, random = Road(t, plan.epsilon), np.random.default_rng([plan.seed, t])
        learned = {
            "bc": tabular.clone(road, r, n * plan.rounds, random),
            "dagger": tabular.dagger(road, r, n, plan.rounds, random),
        }
        for method, table in learned.items():
            found[method][t] = tabular.mean(tabular.cost(road, table, plan.measured, random))
    return _report(found, lambda method, t: EXACT[method](t, plan.epsilon))


def control(plan: Control) -> dict[str, Any]:
    """Cloning in a realisable world: one table for all steps, and a table for each."""
    world, n = sharing.Rare(), plan.demonstrations
    found: dict[str, dict[int, Estimate]] = {"shared": {}, "per_step": {}}
    for t in plan.horizons:
        random = np.random.default_rng([plan.seed, t])
        found["shared"][t] = tabular.mean(sharing.shared(world, t, n, plan.shared, random))
        found["per_step"][t] = tabular.mean(sharing.per_step(world, t, n, plan.per_step, random))

    def law(method: str, t: int) -> float:
        return cloning_cost(t, sharing.predicted(world, n * t if method == "shared" else n))

    return _report(found, law)


def on_road(road: Road) -> Task:
    """The task `slip-road` on another family of roads."""
    return replace(
        task("slip-road"),
        make=partial(SlipRoad, road),
        horizon=road.horizon,
        obs=shapes(road),
        success=f"the car is on the road at the end of {road.horizon} steps",
        expert=partial(SlipRoadExpert, road),
    )


def networks(plan: Networks, horizon: int, workers: Workers) -> dict[str, Any]:
    """Costs of all fresh episodes at one T, method -> [seeds][episodes], and what they learned from.

    `bc.Learner` with a categorical head; DAgger by `teach`, β_i = I(i = 0), the last policy.
    """
    road = Road(horizon, plan.epsilon)
    which, episodes = on_road(road), max(1, plan.states // horizon)
    n = plan.rounds * episodes
    network, budget = Network(hidden=plan.hidden), Budget(steps=plan.steps)
    costs: dict[str, list[list[float]]] = {"bc": [], "dagger": []}
    for seed in range(plan.seeds):
        config, first = bc.Config(decay=plan.steps, seed=seed), 10_000_000 + 10_000 * seed
        expert = SlipRoadExpert(road)
        shown = rollouts(which.make, expert, range(first, first + n), ENDORSE, workers=workers)
        settings: dict[str, Any] = {"config": config, "network": network, "budget": budget}
        cloned, _ = fit(Dataset(shown), validation=0.0, which=which, **settings)
        rounds = Rounds(plan.rounds, episodes, validation_episodes=0, select="last", first_seed=first)
        method = dagger.Method(PolicyExpert(expert), dagger.Config(), plan.rounds)
        taught = teach(method, which, plan=rounds, workers=workers, **settings)
        fresh = range(1_000_000 + 1000 * seed, 1_000_000 + 1000 * seed + plan.measured)
        for name, agent in (("bc", cloned), ("dagger", taught.agent)):
            costs[name].append(_costs(which, agent, fresh, workers))
    return {"costs": costs, "labelled": n * horizon}


def _costs(which: Task, agent: Agent, seeds: range, workers: Workers) -> list[float]:
    return [-e.total_reward for e in rollouts(which.make, Chunked(agent), seeds, workers=workers)]


def networks_report(plan: Networks, pieces: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """All horizons together; intervals are over all episodes of all seeds."""
    found = {
        m: {t: tabular.mean(np.array(pieces[t]["costs"][m]).ravel()) for t in plan.horizons}
        for m in ("bc", "dagger")
    }
    return _report(found, lambda method, t: EXACT[method](t, plan.epsilon)) | {
        "labelled": {str(t): pieces[t]["labelled"] for t in plan.horizons}
    }
