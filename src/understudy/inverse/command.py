"""The command `irl`: demonstrations in a finite world, a method, and what the reward it finds is worth.

DIR/reward.json    the reward, its weights with intervals, words, measures and provenance
DIR/reward.html    the same as a page that opens offline
DIR/reward.svg     the map of the reward alone, where states are cells or roads
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from understudy.inverse.files import read_trajectories
from understudy.inverse.judge import Case, judged, lines
from understudy.inverse.methods import METHODS, Found, Settings, fit
from understudy.irl.measures import ValueDifference
from understudy.irl.tradeoffs import trade_offs
from understudy.provenance import provenance
from understudy.report.rewards import Measure, Recovered, plain_text, save_reward_figure, write_reward_page
from understudy.report.svg import number
from understudy.serial import write_json
from understudy.tabular import Demonstrations, TabularMDP, Trajectories, hard_plan, sample, soft_plan
from understudy.tabular.worlds import street_grid, world

__all__ = ["Task", "options_of", "recover"]

Floats: TypeAlias = NDArray[np.float64]

_CUT = 1e-3  # discounted share of an episode without end that may lie behind where it is cut off
_HELD = 20  # demonstrations, at the least, that are drawn besides to measure likelihood on
_SHARE = 0.2  # of given trajectories that are held out


@dataclass(frozen=True)
class Task:
    """What is learned from.

    Args:
        world: its name. options: of the world. changed: options that differ in the world to transfer to.
        demonstrations: how many are drawn, where no file is given.
        expert: "soft": chooses with exp(Q / temperature); "optimal": the best actions, equally good alike.
        temperature: of the soft expert, whose entropy then counts in what a policy is worth.
        steps: after which a demonstration is cut off; None: at the horizon, or where less than a thousandth
            of the discounted steps lie ahead.
        trajectories: a file to learn from in place of a simulated expert.
        seed: of demonstrations, samplers and networks.
    """

    world: str
    options: Mapping[str, Any]
    changed: Mapping[str, Any]
    demonstrations: int
    expert: Literal["soft", "optimal"]
    temperature: float
    steps: int | None
    trajectories: Path | None
    seed: int


@dataclass(frozen=True, eq=False)
class _Shown:
    """Demonstrations, those held out, who gave them where that is known, and what to say of them."""

    fitted: Trajectories
    held_out: Trajectories | None
    expert: Floats | None
    source: str


def options_of(words: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE words as options: numbers, true, false, none, and text.

    Raises:
        ValueError: when a word has no name, or one is said twice.
    """
    found: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name.isidentifier():
            raise ValueError(f"{word!r} is no option; an option is NAME=VALUE")
        if name in found:
            raise ValueError(f"the option {name!r} is said twice")
        found[name] = _value(text)
    return found


def _value(text: str) -> Any:
    named = {"true": True, "false": False, "none": None}
    if text.lower() in named:
        return named[text.lower()]
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        return value
    return text


def recover(
    task: Task, out: Path, *, method: str, settings: Settings, console: Console | None = None
) -> dict[str, Any]:
    """Learns a reward, measures it, and writes numbers and page.

    Raises:
        ValueError: when `out` is a file, or something asked for does not fit; KeyError: for an unknown world.
    """
    console = console or Console(quiet=True)
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; the command writes a folder")
    mdp = world(task.world, **task.options)
    changed = world(task.world, **{**task.options, **task.changed}) if task.changed else None
    shown = _shown(mdp, task)
    found = fit(method, mdp, shown.fitted, settings, task.seed)
    demonstrations = Demonstrations.of(mdp, shown.fitted)
    temperature = task.temperature if task.expert == "soft" and task.trajectories is None else 0.0
    case = Case(mdp, found, demonstrations, shown.held_out, changed, shown.expert, temperature)
    measures = judged(case)
    result = _result(task, case, measures, shown, method)
    table = lines(measures, ", ".join(f"{k}={v}" for k, v in task.changed.items()))
    recovered = _page(task, case, measures, table, result, method)
    page = write_reward_page(recovered, out / "reward.html")
    write_json(out / "reward.json", result)
    figure = save_reward_figure(recovered, out / "reward.svg")
    _say(result, table, console)
    console.print(f"wrote {page}", markup=False)
    brief = {k: v for k, v in result.items() if k not in ("reward", "provenance")}
    files = {"page": str(page), "numbers": str(out / "reward.json"), "figure": figure and str(figure)}
    return {**files, **brief}


def _shown(mdp: TabularMDP, task: Task) -> _Shown:
    if task.trajectories is not None:
        given = read_trajectories(task.trajectories)
        given.check(mdp)
        order = np.random.default_rng(task.seed).permutation(len(given))
        held = round(_SHARE * len(given))
        rest = None if held == 0 else given.select(order[:held])
        return _Shown(given.select(order[held:]), rest, None, f"the file {task.trajectories.name}")
    if task.demonstrations < 1:
        raise ValueError(f"demonstrations is {task.demonstrations}; at least one is needed")
    if mdp.reward is None:
        raise ValueError(f"{mdp.name} has no true reward, so there is no expert to draw from")
    if task.expert == "soft":
        expert = soft_plan(mdp, mdp.reward, task.temperature).policy
        source = f"simulated: soft-optimal at temperature {number(task.temperature)}"
    else:
        expert = hard_plan(mdp, mdp.reward).policy
        source = "simulated: optimal"
    steps = task.steps
    if steps is None and mdp.horizon is None:
        steps = ceil(log(_CUT) / log(mdp.discount))
    n = task.demonstrations
    held = max(_HELD, n // 4)
    drawn = sample(mdp, expert, n + held, task.seed, steps)
    return _Shown(drawn.select(np.arange(n)), drawn.select(np.arange(n, n + held)), expert, source)


def _result(
    task: Task, case: Case, measures: Mapping[str, Any], shown: _Shown, method: str
) -> dict[str, Any]:
    mdp, found = case.mdp, case.found
    weights = found.weights
    return {
        "format": "understudy-reward",
        "version": 1,
        "world": {
            "name": task.world,
            "options": dict(task.options),
            "changed": dict(task.changed),
            "states": mdp.states,
            "actions": mdp.actions,
            "features": mdp.width,
            "discount": mdp.discount,
            "horizon": mdp.horizon,
        },
        "method": method,
        "settings": dict(found.settings),
        "converged": found.converged,
        "data": {
            "source": shown.source,
            "demonstrations": len(shown.fitted),
            "decisions": shown.fitted.decisions,
            "held_out": 0 if shown.held_out is None else len(shown.held_out),
            "seed": task.seed,
        },
        "words": [] if weights is None else [line for _, line in weights.sentences()],
        "trade_offs": [] if weights is None else trade_offs(weights),
        "weights": _weights(found),
        "unidentified": _unidentified(found),
        "measures": measures,
        "warnings": list(found.warnings),
        "provenance": provenance(),
        "reward": found.reward.tolist(),
    }


def _weights(found: Found) -> list[dict[str, Any]] | None:
    """Each weight as fitted, as far as it is identified with its interval, and what that says."""
    if found.weights is None:
        return None
    raw = dict(zip(found.weights.names, found.weights.values.tolist(), strict=True))
    return [
        {
            "feature": p.name,
            "fitted": raw[p.name],
            **{k: v for k, v in p.weight.summary().items() if k != "n"},
            "effect": p.effect,
            "verdict": p.verdict,
        }
        for p in found.weights.preferences()
    ]


def _unidentified(found: Found) -> list[list[float]]:
    """[U][K], in weights times their features' largest values; at most 100 directions."""
    weights = found.weights
    if weights is None or weights.unidentified is None:
        return []
    listed: list[list[float]] = weights.unidentified.T[:100].tolist()
    return listed


def _say(result: Mapping[str, Any], table: Sequence[Measure], console: Console) -> None:
    """The words, the measures and the warnings."""
    data = result["data"]
    console.print(
        f"{METHODS[result['method']].title} from {data['demonstrations']} demonstrations "
        f"({data['decisions']} decisions; {data['source']})",
        markup=False,
    )
    for line in [*result["words"], *result["trade_offs"]]:
        console.print(f"  {plain_text(line)}", markup=False, soft_wrap=True)
    shown = Table("measure", "value", "what it says")
    for m in table:
        shown.add_row(*(escape(plain_text(text)) for text in (m.name, m.value, m.meaning)))
    console.print(shown)
    for line in result["warnings"]:
        console.print(f"[yellow]warning[/] {escape(plain_text(line))}", soft_wrap=True)


# ── the page ───────────────────────────────────────────────────────────────────────────────────────────────


def _page(
    task: Task,
    case: Case,
    measures: Mapping[str, Any],
    table: Sequence[Measure],
    result: Mapping[str, Any],
    method: str,
) -> Recovered:
    mdp, found = case.mdp, case.found
    lost = measures["here"] and measures["here"]["greedy"]
    return Recovered(
        mdp=mdp,
        method=METHODS[method].title,
        learned=found.reward,
        policy=found.policy,
        shown=case.demonstrations.visits,
        visits=case.demonstrations.occupancy(mdp, found.policy),
        weights=found.weights,
        lost=ValueDifference(*(lost[k] for k in ("best", "reached", "random", "temperature")))
        if lost
        else None,
        measures=table,
        data=_data_rows(task, result),
        provenance=_provenance_rows(result["provenance"]),
        silence=found.silence,
        expert=case.expert,
        warnings=found.warnings,
        places=_places(task, mdp),
    )


def _data_rows(task: Task, result: Mapping[str, Any]) -> list[tuple[str, str]]:
    data, place = result["data"], result["world"]
    options = ", ".join(f"{k}={v}" for k, v in task.options.items()) or "as it comes"
    rows = [
        ("demonstrations", f"{number(data['demonstrations'], 9)}, {number(data['decisions'], 9)} decisions"),
        ("from", data["source"]),
        ("held out", f"{number(data['held_out'], 9)} more, for the likelihood alone"),
        ("world", f"{task.world}, {options}"),
        ("changed world", ", ".join(f"{k}={v}" for k, v in place["changed"].items())),
        ("method", ", ".join(f"{k} {_said(v)}" for k, v in result["settings"].items() if v is not None)),
        ("seed", str(data["seed"])),
    ]
    return [(k, v) for k, v in rows if v]


def _said(value: Any) -> str:
    return number(value) if isinstance(value, float) else str(value)


def _provenance_rows(made: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [("made with", str(made.get("command") or "")), ("made on", str(made.get("date") or ""))]
    rows += [(k, str(made[k])) for k in ("revision", "system", "cpu", "cores", "python") if made.get(k)]
    rows.append(("packages", ", ".join(f"{k} {v}" for k, v in (made.get("versions") or {}).items())))
    return [(k, v) for k, v in rows if v]


def _places(task: Task, mdp: TabularMDP) -> Floats | None:
    """[S, 2, 2]: where the roads of `routes` begin and end; None in other worlds."""
    if task.world != "routes":
        return None
    plan = {
        k: v for k, v in task.options.items() if k in ("rows", "cols", "seed", "spacing", "closed", "toll")
    }
    town = street_grid(**{"rows": 6, "cols": 6, "seed": 0, "closed": 0.1, **plan})
    if town.names != mdp.state_names:
        return None  # another town than the world's
    return np.stack([town.places[town.tail], town.places[town.head]], axis=1)
