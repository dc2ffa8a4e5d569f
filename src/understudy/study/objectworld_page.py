"""The page of the study `objectworld`, from its numbers alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np
from markupsafe import Markup

from understudy.report.charts import Point
from understudy.report.reward_maps import Layer, cells
from understudy.report.svg import number
from understudy.report.template import content_policy, environment, text_of
from understudy.study.figures import Series, against_demonstrations
from understudy.study.page import provenance_rows
from understudy.study.recovery import METHODS, WORLDS

__all__ = ["render"]

Found = Mapping[str, Any]
_HUES = {
    "deep": "r0",
    "linear": "r5",
    "linear_discrete": "r2",
    "cloning_features": "r1",
    "cloning_table": "r3",
}
_ASIDE = 1.05  # points beside one another, so that intervals can be seen


def render(result: Found) -> str:
    """The whole page as text, from what objectworld.json holds."""
    sheets = [
        *map(text_of, ("report.css", "rewards.css")),
        *map(_own, ("compounding.css", "objectworld.css")),
    ]
    style, plan = "".join(sheets), result["plan"]
    last = {key: rows[-1] for key, rows in result["differences"].items()}
    shown = {
        "deep less linear MaxEnt, thresholds": last["same: linear_discrete"],
        "deep less cloning, new placement": last["placement: cloning_features"],
        "deep less cloning, in the wind": last["wind: cloning_features"],
    }
    return environment().from_string(_own("objectworld.html")).render(
        title="Objectworld: learned rewards beside cloned policies",
        headline=_headline(result),
        facts=[(k, _signed(e["value"]), f"95\u202f%: {_interval(e, _signed)}") for k, e in shown.items()],
        plan=plan | {"most": result["demonstrations"][-1]},
        keys=[Series(name, _HUES[key], (), ()) for key, name in METHODS.items()],
        worlds=[_world(result, key, name) for key, name in WORLDS.items()],
        pictures=_pictures(result),
        seed=result["pictures"]["seed"],
        falls=[(WORLDS[w], _interval_of(e, _signed)) for w, e in result["falls"].items()],
        unaware=_interval_of(result["unaware"]),
        provenance=provenance_rows(result["provenance"]),
        style=Markup(style),
        policy=content_policy(style, ""),
    )  # fmt: skip


def _headline(result: Found) -> str:
    """What the intervals show of the two questions asked."""
    less = result["differences"]
    linear = all(_under(e) for m in ("linear", "linear_discrete") for e in less[f"same: {m}"])
    cloning = all(_under(less[f"wind: {m}"][-1]) for m in ("cloning_features", "cloning_table"))
    if linear and cloning:
        return "A deep reward loses less than a linear one, and in the wind less than a cloned policy"
    if linear:
        return "A deep reward loses less than a linear one"
    if cloning:
        return "In the wind a learned reward loses less than a cloned policy"
    return "Learned rewards beside cloned policies: no clear order at this size"


def _under(e: Found) -> bool:
    return e["high"] is not None and e["high"] < 0


def _over(e: Found) -> bool:
    return e["low"] is not None and e["low"] > 0


def _signed(x: float) -> str:
    return f"{x:+z.2f}".replace("-", "−")


def _plain(x: float) -> str:
    return f"{x:z.2f}".replace("-", "−")


def _interval(e: Found, text: Any = _plain) -> str:
    return "no interval" if e["low"] is None else f"[{text(e['low'])}, {text(e['high'])}]"


def _interval_of(e: Found, text: Any = _plain) -> str:
    return f"{text(e['value'])} {_interval(e, text)}"


def _less(e: Found) -> str:
    return f"{_interval_of(e, _signed)}, {e['wins']} of {e['n']}"


def _world(result: Found, world: str, name: str) -> dict[str, Any]:
    """Chart and table of one world."""
    numbers, values = result["demonstrations"], result["values"]
    series = [
        _series(label, _HUES[key], numbers, values[key][world], _ASIDE ** (i - 2))
        for i, (key, label) in enumerate(METHODS.items())
    ]
    rows = [(label, [_interval_of(e) for e in values[key][world]]) for key, label in METHODS.items()]
    less = {METHODS[m]: result["differences"][f"{world}: {m}"] for m in METHODS if m != "deep"}
    every = [e for found in less.values() for e in found]
    chance = result["chance"][world]
    return {
        "name": name,
        "chart": against_demonstrations(series, f"Value lost, {name}", numbers, "value lost"),
        "heads": [number(n) for n in numbers],
        "rows": rows,
        "less": [(label, [_less(e) for e in found]) for label, found in less.items()],
        "counted": (sum(map(_under, every)), sum(map(_over, every)), len(every)),
        "chance": _interval_of(chance),
    }


def _pictures(result: Found) -> list[tuple[str, Markup]]:
    """The true reward and the learned ones, over the cells of one world."""
    shape, rewards = (result["plan"]["size"],) * 2, result["pictures"]["rewards"]
    names = {"true": "the true reward"} | {key: METHODS[key] for key in ("deep", "linear_discrete", "linear")}
    return [
        (name, cells(Layer(f"Reward of each cell, {name}", np.asarray(rewards[key], float), 1.0), shape))
        for key, name in names.items()
    ]


def _series(name: str, hue: str, numbers: Sequence[int], rows: Sequence[Found], aside: float) -> Series:
    points = []
    for n, e in zip(numbers, rows, strict=True):
        low, high = (e["value"] if e[k] is None else e[k] for k in ("low", "high"))
        points.append(Point(n * aside, e["value"], low, high, f"{name}, {n}: {_interval_of(e)}"))
    return Series(name, hue, points, [(p.x, p.value) for p in points])


def _own(name: str) -> str:
    return files("understudy.study").joinpath(name).read_text("utf-8").replace("\r\n", "\n")
