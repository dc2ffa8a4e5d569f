"""What the page of a recovered reward is made from, and its pictures: rewards, visits, policies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from understudy.irl.measures import ValueDifference
from understudy.irl.preferences import Weights
from understudy.report.reward_maps import Layer, arrows, bars, cells, layers_of, on_arrival, per_state, roads
from understudy.report.svg import number, tag
from understudy.report.template import save, text_of
from understudy.tabular import TabularMDP

__all__ = [
    "Group",
    "Measure",
    "Recovered",
    "policies",
    "policies_note",
    "reward_group",
    "reward_layers",
    "save_reward_figure",
    "visit_group",
]

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Measure:
    """A line of the table of measures, in words; `head`: it also stands under the headline."""

    name: str
    value: str
    meaning: str
    head: bool = False


@dataclass(frozen=True, eq=False)
class Recovered:
    """A reward that was recovered from demonstrations, and all that the page says of it.

    Args:
        method: in words, such as "Maximum causal entropy IRL".
        learned: [S, A], the reward. policy: [S, A] or [H, S, A], what it was fitted to do.
        shown: [S, A], discounted counts of the demonstrations. visits: [S, A], of the policy.
        weights: of a linear reward; None where it is not linear.
        lost: with the learned reward in this world; None where nobody knows the true one.
        expert: the policy that demonstrated, where it is known.
        data, provenance: (name, value) rows. warnings: sentences.
        places: [S, 2, 2], where states are roads: from where to where, east and north.
        silence: why there are no words, where there are no weights.
    """

    mdp: TabularMDP
    method: str
    learned: Floats
    policy: Floats
    shown: Floats
    visits: Floats
    weights: Weights | None
    lost: ValueDifference | None
    measures: Sequence[Measure]
    data: Sequence[tuple[str, str]]
    provenance: Sequence[tuple[str, str]]
    expert: Floats | None = None
    warnings: Sequence[str] = ()
    places: Floats | None = None
    silence: str = ""


@dataclass(frozen=True, eq=False)
class Group:
    """Pictures side by side on one scale, or one table of bars."""

    title: str
    note: str
    low: str
    high: str
    ramp: str
    blank: bool = False
    maps: Sequence[tuple[str, Markup]] = ()
    heads: Sequence[str] = ()
    rows: Sequence[tuple[str, list[tuple[Markup, str]]]] = field(default_factory=list)


def reward_layers(found: Recovered) -> tuple[list[Layer], str]:
    """True, learned and their difference over states on one scale, and what is drawn, in words."""
    mdp = found.mdp
    rewards = [r for r in (mdp.reward, found.learned) if r is not None]
    still = found.places is None and all(_of_states(mdp, r) for r in rewards)
    values = [per_state(mdp, r) if still else on_arrival(mdp, r) for r in rewards]
    what = "Of being in a state" if still else "Mean of the steps that lead to a state"
    spreads = [float(np.nanstd(v)) for v in values]
    if len(values) == 2 and min(spreads) > 1e-12:
        true, learned = ((v - np.nanmean(v)) / s for v, s in zip(values, spreads, strict=True))
        named = [("True reward", true), ("Learned reward", learned), ("Learned less true", learned - true)]
        note = f"{what}, in standard deviations over states from their mean: shift and scale are left out."
        return layers_of(named), note
    names = ["True reward", "Learned reward"][-len(values) :]
    return layers_of(list(zip(names, values, strict=True))), f"{what}, as it stands."


def save_reward_figure(found: Recovered, target: Path) -> Path | None:
    """The maps of the reward side by side as an SVG file of its own, with its colours for light and dark.

    None, and nothing is written, where states are neither cells nor roads.
    """
    layers, _ = reward_layers(found)
    group = _drawn(found, layers, "Rewards", "")
    if not group.maps:
        return None
    side, gap, top = 260, 24, 34
    width = len(group.maps) * (side + gap) - gap + 16
    parts = []
    for i, (name, drawn) in enumerate(group.maps):
        x = 8 + i * (side + gap)
        parts.append(tag("text", name, x=x, y=22, class_="name"))
        parts.append(tag("svg", drawn, x=x, y=top, width=side, height=side))
    scale = f"{group.low} to {group.high}, below 0 in orange and above in blue"
    parts.append(tag("text", scale, x=8, y=top + side + 24))
    height = top + side + 36
    paper = tag("rect", width="100%", height="100%", class_="ground")
    whole = tag(
        "svg", tag("style", Markup(_figure_style())), paper, *parts, xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height}", width=width, height=height,
    )  # fmt: skip
    save(target, str(whole) + "\n")
    return target


def _figure_style() -> str:
    """The page's own rules that a map needs."""
    sheet, own = text_of("report.css"), text_of("rewards.css")
    colours = sheet[sheet.index(":root {") : sheet.index("@media print")]
    wanted = ("svg ", ".ground", ".over", ".road", ".pixels", ".frame")
    lines = [line for text in (sheet, own) for line in text.splitlines() if line.startswith(wanted)]
    return colours + "\n".join(lines)


def _of_states(mdp: TabularMDP, reward: Floats) -> bool:
    """Whether every action of a state has the same reward."""
    high = np.where(mdp.available, reward, -np.inf).max(1)
    low = np.where(mdp.available, reward, np.inf).min(1)
    return bool((high - low <= 1e-9 * max(1.0, float(np.abs(reward).max())))[mdp.available.any(1)].all())


def reward_group(found: Recovered) -> Group:
    layers, note = reward_layers(found)
    return _drawn(found, layers, "Rewards", note)


def visit_group(found: Recovered) -> Group:
    mdp = found.mdp
    named = [("Demonstrations", found.shown), ("Learned policy", found.visits)]
    layers = layers_of([(n, _done(mdp, v)) for n, v in named], amounts=True)
    note = "Expected discounted visits in an episode; colour grows with their square root."
    if mdp.shape is None and found.places is None:
        note = "Expected discounted visits in an episode; bars grow with their square root."
    return _drawn(found, layers, "Visits", note)


def _done(mdp: TabularMDP, visits: Floats) -> Floats:
    """[S], how often something is done in a state; NaN where nothing ever is."""
    return np.where(mdp.available.any(1), visits.sum(1), np.nan)


def _drawn(found: Recovered, layers: Sequence[Layer], title: str, note: str) -> Group:
    mdp, (low, high) = found.mdp, layers[0].ends()
    ramp = "root" if layers[0].amounts else "both"
    if found.places is not None:
        places = found.places
        maps = [(layer.name, roads(layer, places, mdp.state_names)) for layer in layers]
        return Group(title, note, low, high, ramp, maps=maps)
    if mdp.shape is not None:
        shape, names = mdp.shape, mdp.state_names
        maps = [(layer.name, cells(layer, shape, names)) for layer in layers]
        return Group(title, note, low, high, ramp, bool(np.isnan(layers[0].values).any()), maps)
    rows = bars(layers, lambda s: mdp.state_names[s] if mdp.state_names else f"state {s}")
    most = (
        f" The {len(rows)} states with the largest values of {number(mdp.states, 9)}."
        if len(rows) < mdp.states
        else ""
    )
    return Group(title, note + most, low, high, ramp, heads=[layer.name for layer in layers], rows=rows)


def policies(found: Recovered) -> list[tuple[str, Markup]]:
    """Arrows over the visits, of the expert and of the learned policy."""
    mdp = found.mdp
    if mdp.shape is None:
        return []
    named = [("Expert", found.expert, found.shown), ("Learned", found.policy, found.visits)]
    there = [(n, p, v) for n, p, v in named if p is not None]
    layers = layers_of([(n, _done(mdp, v)) for n, _, v in there], amounts=True)
    drawn = []
    for layer, (name, policy, _) in zip(layers, there, strict=True):
        over = arrows(mdp, policy if policy.ndim == 2 else policy[0])
        if over is None:
            return []
        pale = Layer(name, layer.values, 4 * layer.most, amounts=True)
        drawn.append((name, cells(pale, mdp.shape, mdp.state_names, over)))
    return drawn


def policies_note(found: Recovered) -> str:
    first = " of the first decision" if found.policy.ndim == 3 else ""
    return (
        f"Probabilities{first}: an arrow is as long as its action is likely, and one below 6 % is left out."
    )
