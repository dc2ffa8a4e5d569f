"""What a recovered reward is worth: its measures as numbers for JSON, and in words for a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from understudy.inverse.methods import Found
from understudy.irl.epic import Coverage, TrivialReward, epic_distance
from understudy.irl.measures import (
    ValueDifference,
    expected_value_difference,
    feature_gap,
    held_out_likelihood,
    policy_divergence,
    random_policy,
    value_difference,
)
from understudy.irl.starc import starc_distance
from understudy.report.rewards import Measure
from understudy.report.svg import number, percent
from understudy.tabular import Demonstrations, TabularMDP, Trajectories

__all__ = ["Case", "cloned", "judged", "lines"]

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Case:
    """What is judged, and by what.

    Args:
        changed: another world with the same features, None where transfer is not asked for.
        held_out: trajectories that nothing was fitted to, None where there are too few.
        expert: the policy that demonstrated, None where only its trajectories are known.
        temperature: of the expert, whose entropy counts in what a policy earns; 0: rewards alone.
    """

    mdp: TabularMDP
    found: Found
    demonstrations: Demonstrations
    held_out: Trajectories | None
    changed: TabularMDP | None
    expert: Floats | None
    temperature: float


def cloned(demonstrations: Demonstrations, mdp: TabularMDP) -> Floats:
    """[S, A]: what was done in a state, as often as it was; any action alike where nothing was."""
    visits = demonstrations.visits
    total = visits.sum(1, keepdims=True)
    return np.where(total > 0, visits / np.where(total > 0, total, 1.0), random_policy(mdp))


def judged(case: Case) -> dict[str, Any]:
    """All measures, ready for JSON; None for what cannot be measured here."""
    mdp, found = case.mdp, case.found
    demonstrated = mdp.counts(case.demonstrations.visits)
    planned = case.demonstrations.occupancy(mdp, found.policy)
    gap = feature_gap(mdp, case.demonstrations.visits, planned)
    worst = int(np.argmax(np.abs(gap)))
    names = mdp.feature_names or tuple(f"feature {k}" for k in range(mdp.width))
    measures: dict[str, Any] = {
        "feature_gap": {
            "largest": float(gap[worst]),
            "feature": names[worst],
            "demonstrated": float(demonstrated[worst]),
        },
        "held_out": _held_out(case),
        "divergence": None,
        "epic": None,
        "starc": None,
        "here": None,
        "changed": None,
    }
    if case.expert is not None:
        d = policy_divergence(mdp, case.expert, found.policy)
        measures["divergence"] = {
            "kl": d.kl if isfinite(d.kl) else None,
            "per_decision": d.per_decision if isfinite(d.kl) else None,
            "total_variation": d.total_variation,
            "worst": d.worst,
        }
    if mdp.reward is not None:
        reward, cover = mdp.reward, _coverage(mdp)
        measures["epic"] = _distance(lambda: epic_distance(reward, found.reward, mdp.discount, cover))
        measures["starc"] = _distance(lambda: starc_distance(mdp, reward, found.reward))
        measures["here"] = _values(case, mdp, found.reward, found.policy)
    if case.changed is not None and case.changed.reward is not None:
        there = case.changed
        measures["changed"] = _values(case, there, found.reward_on(there), found.policy_on(there))
        if _fits(found.policy, mdp, there):
            measures["changed"]["carried_over"] = _plain(there, found.policy, case.temperature)
    return measures


def _fits(policy: Floats, mdp: TabularMDP, there: TabularMDP) -> bool:
    """Whether a policy of one world can be carried out in another."""
    same = mdp.horizon == there.horizon or (policy.ndim == 2 and mdp.horizon is None)
    return same and np.array_equal(mdp.available, there.available)


def _values(case: Case, mdp: TabularMDP, reward: Floats, policy: Floats) -> dict[str, Any]:
    """What is lost by planning greedily with the reward, by the method's own policy, and by cloning."""
    values = {
        "greedy": _summary(expected_value_difference(mdp, reward, temperature=0.0)),
        "policy": _plain(mdp, policy, case.temperature),
    }
    if np.array_equal(case.mdp.available, mdp.available):
        values["cloned"] = _plain(mdp, cloned(case.demonstrations, mdp), case.temperature)
    return values


def _plain(mdp: TabularMDP, policy: Floats, temperature: float) -> dict[str, Any]:
    return _summary(value_difference(mdp, policy, temperature=temperature))


def _summary(v: ValueDifference) -> dict[str, Any]:
    return {
        "best": v.best,
        "reached": v.reached,
        "random": v.random,
        "difference": v.difference,
        "normalised": v.normalised,
        "temperature": v.temperature,
    }


def _held_out(case: Case) -> dict[str, Any] | None:
    if case.held_out is None or not case.found.likely:
        return None
    try:
        return held_out_likelihood(case.mdp, case.found.policy, case.held_out).summary()
    except ValueError as wrong:  # a probability that is 0, or so small that it is rounded to it
        return {"value": None, "low": None, "high": None, "n": len(case.held_out), "method": str(wrong)}


def _coverage(mdp: TabularMDP) -> Coverage:
    """Every state in which something is done alike, and every action that it has."""
    lasting = ~mdp.terminal
    action = np.where(lasting[:, None], random_policy(mdp), 1 / mdp.actions)
    return Coverage(lasting / lasting.sum(), action)


def _distance(measure: Callable[[], float]) -> float | None:
    try:
        return measure()
    except TrivialReward:
        return None


def lines(measures: Mapping[str, Any], changed: str) -> list[Measure]:
    """The measures in words, the most telling first.

    Args:
        changed: what is different in the changed world, such as "wind=up:0.3".
    """
    told: list[Measure] = []
    if here := measures["here"]:
        told += _worlds_lines(here, "", "in this world")
    if there := measures["changed"]:
        told += _worlds_lines(there, ", changed world", f"with {changed}")
    for key, name, meaning in (
        ("epic", "EPIC distance", "learned to true reward, up to scale, shift and shaping; 0 to 1"),
        ("starc", "STARC distance", "the same, through chance too: 0 where both rank all policies alike"),
    ):
        if measures["here"] is not None:
            value = measures[key]
            said = "none: a reward is constant" if value is None else number(value)
            told.append(Measure(name, said, meaning, head=key == "starc"))
    if d := measures["divergence"]:
        kl = "infinite" if d["per_decision"] is None else f"{number(d['per_decision'])} nats"
        told.append(Measure("KL(expert || learned)", kl, "a decision, on the expert’s own states"))
        apart = f"a decision on average; {number(d['worst'])} at most"
        told.append(Measure("total variation", number(d["total_variation"]), apart))
    if h := measures["held_out"]:
        ends = "" if h["low"] is None else f" [{number(h['low'])}, {number(h['high'])}]"
        value, meaning = "none", h["method"]
        if h["value"] is not None:
            value, meaning = f"{number(h['value'])}{ends}", "nats a decision, 95 % interval"
        told.append(Measure("held-out likelihood", value, meaning))
    gap = measures["feature_gap"]
    meaning = f"of {gap['feature']}, of which demonstrations count {number(gap['demonstrated'])} an episode"
    return [*told, Measure("largest feature gap", number(gap["largest"]), meaning)]


def _worlds_lines(found: Mapping[str, Any], suffix: str, where: str) -> Sequence[Measure]:
    names = {
        "greedy": ("value lost, planning greedily", f"with the learned reward {where}"),
        "policy": ("value lost by the fitted policy", f"planned as the method plans, {where}"),
        "carried_over": ("value lost by the old policy", f"carried over unchanged, {where}"),
        "cloned": ("value lost by cloning", f"what was shown, any action alike where nothing was, {where}"),
    }
    told = []
    for key, (name, meaning) in names.items():
        if (v := found.get(key)) is None:
            continue
        # Where entropy counts, chance is worth much: a share of what it leaves would say little.
        soft = v["temperature"] > 0
        value = number(v["difference"]) if soft or v["normalised"] is None else _share(v["normalised"])
        entropy = f", entropy at temperature {number(v['temperature'])} included" if soft else ""
        earned = f"earns {number(v['reached'], 4)}, the best {number(v['best'], 4)}{entropy}"
        told.append(Measure(f"{name}{suffix}", value, f"{meaning}: {earned}", head=key == "greedy"))
    return told


def _share(share: float) -> str:
    """A share that may exceed 1; 0 where only rounding is left."""
    if abs(share) < 1e-9:
        return percent(0.0)
    return percent(share) if share <= 1 else f"{100 * share:.0f}\u202f%"
