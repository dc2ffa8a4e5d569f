"""Where things moved, and where they started: the viewer of all paths, and plans of starts and ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from understudy.report.data.space import Scene
from understudy.report.data.survey import Survey
from understudy.report.motion import Route, route, spread, still, viewer
from understudy.report.spreads import Mark, plan
from understudy.report.svg import Axis, number
from understudy.report.template import embedded

__all__ = ["Motion", "motion"]

Floats = NDArray[np.float64]
_PATHS, _POINTS = 360, 36_000  # of the viewer
_MARKS = 400  # places of one plan
_WORDS = {
    "worst": ["look at first", "to look at first"],
    "success": ["success", "successes"],
    "failure": ["failure", "failures"],
    "rollout": ["outcome not said", "of unknown outcome"],
}


@dataclass(frozen=True)
class Motion:
    """What the section shows: the viewer with its stand-in, the plans, and notes in words."""

    id: str
    title: str
    json: Markup
    still: Markup
    note: str
    marks: str
    plans: tuple[tuple[str, Markup], ...]
    kinds: tuple[tuple[str, str], ...]
    plan_note: str


def motion(survey: Survey, place: Scene | None) -> Motion | None:
    """None where there is nothing but pictures."""
    if place is None:
        return None
    shown = _chosen(survey)
    kinds = _kinds(survey)
    each = int(np.clip(_POINTS // len(shown), 6, 120))
    routes = [route(place.view, survey.episodes[i], kinds[i], f"episode {i}", each) for i in shown]
    title = f"{', '.join(place.view.labels)} of every episode"
    json = viewer(place.view, routes, title) | {"colourings": list(_colourings(survey, shown))}
    note = place.note
    if len(shown) < len(survey.episodes):
        part = f"{number(len(shown))} of {number(len(survey.episodes))} episodes"
        note += f"; {part} are drawn, those to look at first among them"
    drawn = dict.fromkeys(kinds[i] for i in shown)
    plans = tuple(_plans(survey, place, kinds))
    count = len(survey.episodes)
    thinned = f"{_MARKS} of {number(count)} episodes are marked." if plans and count > _MARKS else ""
    return Motion(
        "motion", title, embedded(json), still(place.view, routes, title), note, _marks(routes),
        plans, tuple((k, _WORDS[k][0]) for k in _WORDS if k in drawn), thinned,
    )  # fmt: skip


def _kinds(survey: Survey) -> list[str]:
    """The class that draws each episode: what to look at first stands out from its outcome."""
    first = {i for i, _ in survey.first}
    return ["worst" if i in first else kind for i, kind in enumerate(survey.outcomes)]


def _chosen(survey: Survey, most: int = _PATHS) -> list[int]:
    first = {i for i, _ in survey.first}
    rest = [i for i in range(len(survey.episodes)) if i not in first]
    return sorted([*first, *(rest[k] for k in spread(len(rest), most - len(first)))])


def _colourings(survey: Survey, shown: list[int]) -> Iterator[dict[str, Any]]:
    """Ways to colour the paths, the first of which is on: kinds of paths, and their words."""
    kinds = _kinds(survey)
    yield {"name": "outcome", "kinds": [kinds[i] for i in shown], "words": _WORDS}
    if len(survey.hands) > 1:
        hues = [survey.hands[survey.operators[i]] for i in shown]
        yield {"name": "operator", "kinds": hues, "words": {k: [v, v] for k, v in survey.legend.items()}}


def _marks(routes: list[Route]) -> str:
    kinds = {r.kind for r in routes}
    ends = ["A disc marks the end of an episode"] if kinds != {"failure"} else []
    ends += ["a cross the end of a failure"] * ("failure" in kinds)
    ends += ["a diamond a goal"] * any(r.goal is not None for r in routes)
    return f"{', '.join(ends)}." if ends else ""


def _plans(survey: Survey, place: Scene, kinds: list[str]) -> Iterator[tuple[str, Markup]]:
    """Where episodes start and end and where goals are, on equal scales; what is one place is left out."""
    view, labels = place.view, place.view.labels
    if len(labels) < 2:
        return
    chosen = _chosen(survey, _MARKS)
    paths = [view.path(survey.episodes[i])[[0, -1]] for i in chosen]
    goals = [g for i in chosen if (g := view.target(survey.episodes[i])) is not None]
    sets = [("Where episodes start", np.stack([p[0] for p in paths]))]
    sets += [("Where goals are", np.stack(goals))] if len(goals) == len(chosen) else []
    sets += [("Where episodes end", np.stack([p[1] for p in paths]))]
    every = np.vstack([points for _, points in sets])
    boxes = [Axis.over(every[:, d].tolist(), pad=0.06) for d in range(2)]
    names = tuple(f"{n} ({view.unit})" if view.unit else n for n in labels)
    side = ", from above" if len(labels) == 3 else ""
    for title, points in sets:
        if (np.ptp(points[:, :2], axis=0) < 0.03 * max(a.high - a.low for a in boxes)).all():
            continue  # everywhere the same: there is nothing to see
        marks = [
            Mark(float(x), float(y), kinds[i], survey.says(i))
            for i, (x, y) in zip(chosen, points[:, :2].tolist(), strict=True)
        ]
        yield title + side, plan(marks, title + side, (names[0], names[1]), (boxes[0], boxes[1]))
