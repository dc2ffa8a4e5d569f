"""A dataset as the page looks at it: episodes, what was measured on each, and which ones to look at first."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from understudy.dataset import Dataset
from understudy.envs import Task
from understudy.episode import Array, Episode
from understudy.quality import Column, Inspection, Worst
from understudy.report.data.gauges import Gauge, gauges, standing_out
from understudy.report.data.moments import Moments, moments
from understudy.report.facts import printable
from understudy.report.motion import outcome
from understudy.report.strips import known_task
from understudy.supervision import Supervision

__all__ = ["Source", "Survey", "is_image", "short", "task_of"]

Floats = NDArray[np.float64]
_HUES = ("r0", "r2", "r3", "r4")  # of operators; r1 looks like what is to be looked at first
_OTHERS = "r5"  # of the operators beyond
_FIRST = 6  # episodes to look at first that are named and shown step by step
_MINUS = re.compile(r"(?<![\w.])-(?=\d)")  # before a number rather than within a word
_SHORT = 40  # characters of a name that stands in a chart or a table


@dataclass(frozen=True)
class Source:
    """Where a dataset comes from, as far as anybody says.

    Args:
        name: what the page calls it, such as its folder's name.
        layout: how it is stored, in words.
        fps: nominal steps a second; None where nobody says.
        robot: the robot's type.
        bounds: low and high of the actions, [A] each, where they are known.
        names: key -> what its dimensions are called, as many as it has; keys without names are left out.
    """

    name: str
    layout: str = ""
    fps: float | None = None
    robot: str | None = None
    bounds: tuple[Array, Array] | None = None
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def is_image(entry: tuple[str, tuple[int, ...]]) -> bool:
    """Whether an observation of that (dtype, shape) is a picture: uint8 [H, W, 1 to 4]."""
    return entry[0] == "uint8" and len(entry[1]) == 3 and 1 <= entry[1][2] <= 4


def task_of(data: Dataset) -> Task | None:
    """The built-in task that all episodes are of; None for any other, and where its packages are missing."""
    names = {str(facts.get("task")) for facts in data.facts}
    return known_task(names.pop()) if len(names) == 1 else None


def short(text: str) -> str:
    """A name from the data, fit to stand in a chart: without control characters, at most 40 long."""
    shown = " ".join(printable(text).split())
    return shown if len(shown) <= _SHORT else shown[: _SHORT - 1] + "…"


@dataclass(frozen=True, eq=False)
class Survey:
    """What every section of the page draws from; computed once, in the order in which it is asked for."""

    data: Dataset
    found: Inspection
    source: Source

    @cached_property
    def schema(self) -> Mapping[str, tuple[str, tuple[int, ...]]]:
        """Name -> (dtype, shape of one step)."""
        return self.data.schema

    @cached_property
    def episodes(self) -> list[Episode]:
        """Every episode; their arrays are views."""
        return list(self.data)

    @cached_property
    def task(self) -> Task | None:
        """The built-in task that all episodes are of; None for any other."""
        return task_of(self.data)

    @cached_property
    def vectors(self) -> list[str]:
        """The observations that are numbers rather than pictures."""
        return [k for k, (kind, _) in self.schema.items() if k != "action" and kind == "float32"]

    @cached_property
    def cameras(self) -> list[str]:
        """The observations that are pictures."""
        return [k for k, entry in self.schema.items() if is_image(entry)]

    @cached_property
    def columns(self) -> dict[str, list[Column]]:
        """The inspected dimensions of each key, which come key after key; those of a picture are one."""
        rest = iter(self.found.columns)
        return {
            key: [next(rest) for _ in range(1 if kind == "uint8" else int(np.prod(shape)))]
            for key, (kind, shape) in self.schema.items()
        }

    @cached_property
    def gauges(self) -> tuple[Gauge, ...]:
        """What was measured on each episode."""
        return gauges(self.found)

    @cached_property
    def moments(self) -> list[Moments]:
        """What is marked on each episode's timeline."""
        return moments(self.data, self.episodes, self.vectors, self.source.bounds)

    @cached_property
    def supervision(self) -> Supervision:
        """Who held the controls, over all episodes."""
        return Supervision.of(self.episodes)

    @cached_property
    def outcomes(self) -> list[str]:
        """The class that draws each episode: "success", "failure" or "rollout" where nobody says."""
        return [outcome(s) for s in self.data.successes]

    @cached_property
    def operators(self) -> list[str]:
        """Who recorded each episode, as it is shown; "" where nobody says."""
        return [short(str(facts.get("operator", ""))) for facts in self.data.facts]

    @cached_property
    def hands(self) -> dict[str, str]:
        """Operator -> the class that colours it, the busiest first."""
        busiest = [name for name, _ in Counter(self.operators).most_common()]
        hues = dict(zip(busiest, _HUES, strict=False))
        return {name: hues.get(name, _OTHERS) for name in busiest}

    @cached_property
    def legend(self) -> dict[str, str]:
        """The class of a colour -> whom it stands for."""
        names: dict[str, list[str]] = {}
        for who, hue in self.hands.items():
            names.setdefault(hue, []).append(who or "not said")
        return {hue: who[0] if len(who) == 1 else f"{len(who)} others" for hue, who in names.items()}

    @cached_property
    def worst(self) -> list[Worst]:
        """The episodes that stand out, the worst first."""
        return standing_out(self.found, self.gauges)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """The episodes to look at first, then the others as they were recorded."""
        first = (w.index for w in (*self.worst, *self.found.worst))
        return tuple(dict.fromkeys((*first, *range(len(self.data)))))

    @cached_property
    def first(self) -> tuple[tuple[int, tuple[str, ...]], ...]:
        """The few worst episodes, which are named at the top, with the reasons."""
        return tuple(
            (w.index, tuple(_MINUS.sub("−", printable(r)) for r in w.reasons)) for w in self.worst[:_FIRST]
        )

    @cached_property
    def _oddity(self) -> Floats:
        """[E], how far each is from the medians over all measures; failures are never ordinary."""
        off = np.zeros(len(self.data))
        for g in self.gauges:
            if not g.alike:
                away = np.abs(g.values - g.common)
                off += np.nan_to_num(np.minimum(away / max(float(np.nanmean(away)), 1e-12), 10.0))
        lost: Floats = np.array([1e6 * (o == "failure") for o in self.outcomes])
        return off + lost

    @cached_property
    def chosen(self) -> tuple[tuple[int, tuple[str, ...]], ...]:
        """The episodes that are shown step by step: the first ones, and the most ordinary one beside them."""
        ordinary = int(np.argmin(self._oddity))
        if any(i == ordinary for i, _ in self.first):
            return self.first
        return (*self.first, (ordinary, ("nothing about it stands out: this is what the others look like",)))

    def label(self, key: str, dim: int) -> str:
        """One dimension: its name where it has one, else its number in brackets."""
        names = self.source.names.get(key)
        return f"[{dim}]" if names is None else short(names[dim])

    def says(self, index: int) -> str:
        """One episode in a line."""
        e = self.episodes[index]
        won = {"success": "success", "failure": "failure", "rollout": "outcome not said"}[
            self.outcomes[index]
        ]
        by = f", by {self.operators[index]}" if self.operators[index] else ""
        return f"episode {index}: {len(e)} steps, {won}{by}"
