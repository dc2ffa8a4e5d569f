"""A recovered reward as one self-contained HTML page: what is preferred, what is done, how good it is."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from markupsafe import Markup

from understudy.irl.measures import ValueDifference
from understudy.irl.preferences import Preference, Weights
from understudy.irl.tradeoffs import trade_offs
from understudy.report.charts import axis_row, interval_row
from understudy.report.facts import printable
from understudy.report.reward_pictures import (
    Measure,
    Recovered,
    policies,
    policies_note,
    reward_group,
    save_reward_figure,
    visit_group,
)
from understudy.report.svg import Axis, number, percent
from understudy.report.template import content_policy, environment, save, text_of

__all__ = ["Measure", "Recovered", "plain_text", "render_rewards", "save_reward_figure", "write_reward_page"]

_THIN = "\u202f"
_FOREST = 16  # weights with intervals that are drawn


def plain_text(text: str) -> str:
    """As `printable`, but the thin spaces of our own numbers stay."""
    return _THIN.join(map(printable, text.split(_THIN)))


def write_reward_page(found: Recovered, target: Path) -> Path:
    """Writes the page; it appears whole or not at all.

    Raises:
        ValueError: when `target` is a folder.
    """
    if target.is_dir():
        raise ValueError(f"{target} is a folder; the page is one file, such as {target / 'reward.html'}")
    save(target, render_rewards(found))
    return target


def render_rewards(found: Recovered) -> str:
    """The whole page as text."""
    style = text_of("report.css") + text_of("rewards.css")
    forest, forest_note = _forest(found.weights)
    return environment().get_template("rewards.html").render(
        title=f"{plain_text(found.mdp.name)}: {found.method}",
        world=plain_text(found.mdp.name),
        headline=_headline(found),
        verdict=_verdict(found),
        warnings=[plain_text(w) for w in found.warnings],
        facts=_facts(found),
        words=_words(found.weights),
        no_words=found.silence,
        trades=[] if found.weights is None else [plain_text(t) for t in trade_offs(found.weights)],
        forest=forest,
        forest_note=forest_note,
        reward=reward_group(found),
        visits=visit_group(found),
        policies=policies(found),
        policies_note=policies_note(found),
        measures=[tuple(map(plain_text, (m.name, m.value, m.meaning))) for m in found.measures],
        data=[(plain_text(k), plain_text(v)) for k, v in found.data],
        provenance=[(plain_text(k), plain_text(v)) for k, v in found.provenance],
        style=Markup(style),
        policy=content_policy(style, ""),
    )  # fmt: skip


def _headline(found: Recovered) -> Markup:
    share = found.lost.normalised if found.lost is not None else None
    if share is None:
        return Markup("{}: what the demonstrations say about the expert’s reward").format(found.method)
    if share <= 1e-9:
        return Markup("{} loses <em>nothing</em> of what there was to lose").format(found.method)
    return Markup("{} loses <em>{}</em> of what there was to lose").format(found.method, percent(share))


def _verdict(found: Recovered) -> str:
    if found.lost is None:
        return "Nobody knows the true reward here, so the policy is held against the demonstrations alone."
    lost = found.lost
    kind = "greedy" if lost.temperature == 0 else f"soft-optimal, at temperature {number(lost.temperature)},"
    return (
        f"The policy that is {kind} under the learned reward earns {_clean(lost, lost.reached)} of the true "
        f"one, the best earns {_clean(lost, lost.best)}, random actions earn {_clean(lost, lost.random)}."
    )


def _clean(lost: ValueDifference, value: float) -> str:
    """A number, and 0 for what is only rounding beside the largest of them."""
    largest = max(abs(lost.best), abs(lost.random))
    return number(0.0 if abs(value) <= 1e-9 * largest else value, 4)


def _facts(found: Recovered) -> list[tuple[str, str, str]]:
    mdp = found.mdp
    steps = "without end" if mdp.horizon is None else f"{number(mdp.horizon)} decisions"
    facts = [
        ("states", number(mdp.states, 9), f"{number(int(mdp.available.sum()), 9)} steps"),
        ("features", number(mdp.width, 9), "of every step"),
        ("discount", number(mdp.discount, 4), steps),
    ]
    return [*((plain_text(m.name), plain_text(m.value), "") for m in found.measures if m.head), *facts]


def _words(weights: Weights | None) -> list[tuple[str, str]]:
    """(verdict, sentence) of each."""
    if weights is None:
        return []
    return [(kind, plain_text(f"{line[:1].upper()}{line[1:]}.")) for kind, line in weights.sentences()]


def _forest(weights: Weights | None) -> tuple[dict[str, Any] | None, str]:
    """The weights with their intervals, as rows of the page's table of estimates, in effects of one step."""
    if weights is None:
        return None, ""
    ranges = dict(zip(weights.names, weights.ranges, strict=True))
    listed = [
        p for p in weights.preferences() if p.known and isfinite(p.weight.low) and isfinite(p.weight.high)
    ]
    if not listed:
        return None, ""
    shown = listed[:_FOREST]
    axis = Axis.over([0.0, *(e * ranges[p.name] for p in shown for e in (p.weight.low, p.weight.high))])
    marks = axis.ticks(5)
    rows = [_forest_row(p, float(ranges[p.name]), axis, marks) for p in shown]
    more = (
        f" Of {number(len(listed), 9)} weights, those with the largest effects."
        if len(listed) > _FOREST
        else ""
    )
    note = f"Weight times range, with {shown[0].weight.method} intervals; the numbers are the weights.{more}"
    title = {"title": "Weights and their intervals", "note": ""}
    return {**title, "rows": rows, "scale": axis_row(axis, marks, number)}, note


def _forest_row(p: Preference, scale: float, axis: Axis, marks: Sequence[float]) -> dict[str, Any]:
    w = p.weight
    kind = p.verdict if p.verdict in ("positive", "negative") else "baseline"
    says = w.text().replace("-", "−") + (f" per {p.unit}" if p.unit else "")
    mark = interval_row(
        w.value * scale,
        w.low * scale,
        w.high * scale,
        axis,
        marks,
        kind=kind,
        bar=False,
        label=f"{p.name}: {says}",
    )
    return {
        "who": plain_text(p.name),
        "mark": mark,
        "says": says,
        "n": "",
        "kind": "failure" if kind == "baseline" else "policy",
    }
