"""Success against horizon on a real task: how many goals in a row, for cloning and for DAgger.

Both learn from as many labelled states, and both are measured on the same long relays; one evaluation says
how often the first 1, 2, ..., L goals were reached.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import log
from typing import Any

import numpy as np

from understudy.agent import Agent, Chunked
from understudy.dataset import Dataset
from understudy.envs import Task, task
from understudy.envs.relay import legs_of, relay
from understudy.episode import Array, Episode
from understudy.experts import ENDORSE, PolicyExpert
from understudy.interactive import Rounds, dagger, teach
from understudy.learn import bc
from understudy.numerics import wilson
from understudy.roles import Policy
from understudy.rollout import Workers, rollouts
from understudy.runs import Network, fit
from understudy.train import Budget

__all__ = ["Relays", "leg_by_leg", "relays_report", "run_relay", "trimmed"]

METHODS = ("start", "bc", "dagger")


@dataclass(frozen=True)
class Relays:
    """One task's relays.

    Args:
        legs: L, goals in a row. demonstrations: relays of the expert that both methods start from.
        rounds, episodes: of DAgger behind them. BC gets more demonstrations instead, cut to as many labels.
        validation: relays on which the best policy of DAgger's sequence is chosen; nothing is labelled there.
        measured: fresh relays, the same for every policy. seeds: training runs.
    """

    task: str = "fetch-push"
    legs: int = 8
    demonstrations: int = 20
    rounds: int = 4
    episodes: int = 5
    validation: int = 20
    measured: int = 100
    seeds: int = 3
    steps: int = 3000
    hidden: tuple[int, ...] = (128, 128)


def trimmed(episodes: Sequence[Episode], labels: int) -> Dataset:
    """The first so many labelled states of `episodes`; what comes after them is left out.

    Raises:
        ValueError: when there are fewer.
    """
    kept: list[Episode] = []
    left = labels
    for episode in episodes:
        if left <= 0:
            break
        n = int(episode.labelled.sum())
        if n > left:
            mask = episode.labelled & (episode.labelled.cumsum() <= left)
            episode = replace(episode, labelled=mask)
        kept.append(episode)
        left -= n
    if left > 0:
        raise ValueError(f"{labels} labelled states were asked for; there are {labels - left}")
    return Dataset(kept)


def run_relay(plan: Relays, seed: int, workers: Workers) -> dict[str, Any]:
    """One training run of each method: legs done on fresh relays, errors, and how many labels it took."""
    which = relay(task(plan.task), plan.legs)
    settings: dict[str, Any] = {
        "config": bc.Config(decay=plan.steps, weight_decay=1e-3, seed=seed),
        "network": Network(hidden=plan.hidden),
        "budget": Budget(steps=plan.steps),
    }
    first = 10_000_000 + 10_000 * seed
    demos = _shown(which, range(first, first + plan.demonstrations), workers)
    taught = teach(
        dagger.Method(PolicyExpert(_expert(which)), dagger.Config(), plan.rounds, schedule=lambda _: 0.0),
        which,
        start=Dataset(demos),
        plan=Rounds(plan.rounds, plan.episodes, validation_episodes=plan.validation, first_seed=first + 5000),
        workers=workers,
        **settings,
    )
    labels = {"start": sum(map(len, demos)), "dagger": sum(int(e.labelled.sum()) for e in taught.data)}
    labels["bc"] = labels["dagger"]
    while sum(map(len, demos)) < labels["bc"]:
        demos += _shown(which, range(first + len(demos), first + len(demos) + 5), workers)
    cloned, outcome = fit(trimmed(demos, labels["bc"]), validation=0.0, which=which, **settings)
    agents = {"start": taught.agents[0], "bc": cloned, "dagger": taught.agent}
    fresh = range(2_500_000, 2_500_000 + plan.measured)
    shown = _shown(which, fresh[:20], workers)
    return {
        "labels": labels,
        "expert": [legs_of(e) for e in demos],
        "rounds": [[legs_of(e) for e in taught.data if e.meta.get("round") == i] for i in range(plan.rounds)],
        "selected": taught.selected,
        "lost": _lost(taught.data[plan.demonstrations :]),
        "loss": {
            "start": taught.log[0]["loss"],
            "bc": outcome.metrics[-1]["loss"],
            "dagger": taught.log[taught.selected]["loss"],
        },
        **_measured(which, {k: a for k, a in agents.items() if a is not None}, fresh, shown, workers),
    }


def _lost(collected: Sequence[Episode]) -> float:
    """The share of the steps that were spent in legs which were then not finished."""
    in_vain = sum(0 if e.success else int((np.cumsum(e.reward[::-1] == 0) == 0).sum()) for e in collected)
    return in_vain / sum(map(len, collected))


def _expert(which: Task) -> Policy:
    if which.expert is None:
        raise ValueError(f"task {which.name!r} has no expert to learn from")
    return which.expert()


def _shown(which: Task, seeds: range, workers: Workers) -> list[Episode]:
    """The expert's own relays."""
    return rollouts(which.make, _expert(which), seeds, ENDORSE, workers=workers)


def _policy_drives(proposed: Array, advice: Array | None) -> Array:
    return proposed


def _measured(
    which: Task, agents: Mapping[str, Agent], seeds: range, shown: Sequence[Episode], workers: Workers
) -> dict[str, Any]:
    """Legs done, and how far each policy is from the expert: on the expert's states, and on its own.

    Errors are root mean squares over states and action dimensions, in the actions' units (bounds ±1). While
    a policy is measured the expert says what he would do, and nothing is learned from that.
    """
    states = {k: np.concatenate([e.obs[k][:-1] for e in shown]) for k in shown[0].obs}
    wanted = np.concatenate([e.label for e in shown])
    legs: dict[str, list[int]] = {}
    errors: dict[str, dict[str, float]] = {}
    beside = PolicyExpert(_expert(which))
    for name, agent in agents.items():
        own = rollouts(which.make, Chunked(agent), seeds, beside, _policy_drives, workers=workers)
        legs[name] = [legs_of(e) for e in own]
        did = np.concatenate([e.action - e.label for e in own])
        errors[name] = {"expert": _rms(agent.act(states) - wanted), "own": _rms(did)}
    return {"legs": legs, "errors": errors}


def _rms(x: Array) -> float:
    return float(np.sqrt(np.mean(x.astype(np.float64) ** 2)))


def leg_by_leg(legs: Sequence[int], most: int) -> dict[str, Any]:
    """What relays say: success of k legs in a row, success of leg k once there, and whether it is geometric.

    If every leg succeeded with the same probability q, whatever came before, k in a row would have q^k. q is
    then best estimated as legs done over legs begun; the likelihood-ratio statistic against a probability for
    each leg is χ² with L - 1 degrees of freedom (fewer where some legs were never begun).

    Args:
        legs: of each relay, how many it did.
    """
    done = np.asarray(legs)
    reached = np.array([(done >= k).sum() for k in range(most + 1)])
    begun, won = reached[:-1], reached[1:]
    some = begun > 0
    total, fair = int(begun.sum()), int(won.sum()) / int(begun.sum())
    statistic = 2.0 * float(
        sum(_gain(int(k), int(n), fair) for k, n in zip(won[some], begun[some], strict=True))
    )
    freedom = int(some.sum()) - 1
    return {
        "in_a_row": [wilson(int(w), len(done)).summary() for w in won],
        "leg": [wilson(int(w), int(n)).summary() if n else None for w, n in zip(won, begun, strict=True)],
        "geometric": {
            "per_leg": wilson(int(won.sum()), total).summary(),
            "statistic": statistic,
            "degrees": freedom,
            "p": _tail(statistic, freedom),
        },
    }


def _gain(k: int, n: int, q: float) -> float:
    """log likelihood of k of n under its own rate, less that under q."""
    total = 0.0
    for count, rate, fair in ((k, k / n, q), (n - k, 1 - k / n, 1 - q)):
        if count:
            total += count * log(rate / fair)
    return total


def _tail(statistic: float, freedom: int) -> float:
    if freedom < 1:
        return 1.0
    from scipy.special import gammaincc

    return float(gammaincc(freedom / 2, max(0.0, statistic) / 2))


def relays_report(plan: Relays, pieces: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """All seeds together, and each for itself."""
    found: dict[str, Any] = {}
    for name in METHODS:
        by_seed = [list(p["legs"][name]) for p in pieces]
        shares = [[float((np.array(one) >= k).mean()) for k in range(1, plan.legs + 1)] for one in by_seed]
        found[name] = leg_by_leg([n for one in by_seed for n in one], plan.legs) | {
            "by_seed": shares,
            "labels": [p["labels"][name] for p in pieces],
            "loss": [p["loss"][name] for p in pieces],
            "errors": {where: [p["errors"][name][where] for p in pieces] for where in ("expert", "own")},
        }
    shown = [n for p in pieces for n in p["expert"]]
    expert = {"relays": len(shown), "done": sum(n == plan.legs for n in shown)}
    noted = {key: [p[key] for p in pieces] for key in ("rounds", "selected", "lost")}
    return {"methods": found, "expert": expert, **noted}
