"""Where things moved: paths taken from episodes, thinned and quantised for the page's viewer."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from understudy.dataset import Dataset
from understudy.episode import Episode
from understudy.report.facts import printable
from understudy.report.spreads import traces
from understudy.report.svg import number, tag

__all__ = [
    "Drawable",
    "Look",
    "Route",
    "View",
    "look",
    "outcome",
    "paths",
    "route",
    "spread",
    "still",
    "viewer",
]

Floats = NDArray[np.float64]
_POINTS = 36_000  # points of one viewer, all paths together: 6 bytes each before base64
_PATHS = 360  # paths of one viewer
_LEVELS = 65_535


class View(Protocol):
    """What a task says is worth plotting: obs[key][..., dims], in `unit`, on its way to obs[goal]."""

    @property
    def key(self) -> str: ...
    @property
    def dims(self) -> tuple[int, ...]: ...
    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def unit(self) -> str: ...
    @property
    def goal(self) -> str | None: ...


class Drawable(Protocol):
    """What the viewer needs to know of a view: a place for every state, and perhaps where it should end."""

    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def unit(self) -> str: ...
    def path(self, episode: Episode) -> Floats: ...
    def target(self, episode: Episode) -> Floats | None: ...
    def distance(self, episode: Episode) -> float: ...


@dataclass(frozen=True)
class Look:
    """A view that is known to fit the data; `guessed` where no task said what to plot."""

    key: str
    dims: tuple[int, ...]
    labels: tuple[str, ...]
    unit: str
    goal: str | None
    guessed: bool = False

    def path(self, episode: Episode) -> Floats:
        """[T + 1, D]."""
        return np.asarray(episode.obs[self.key][:, list(self.dims)], np.float64)

    def target(self, episode: Episode) -> Floats | None:
        """[D], where the path should end: the goal seen with the last state."""
        if self.goal is None:
            return None
        aim = np.asarray(episode.obs[self.goal][-1], np.float64)
        return aim if len(aim) == len(self.dims) else aim[list(self.dims)]

    def distance(self, episode: Episode) -> float:
        """How far from the goal the episode ended, in `unit`; nan without a goal."""
        aim = self.target(episode)
        return math.nan if aim is None else float(np.linalg.norm(self.path(episode)[-1] - aim))


def look(view: View | None, schema: Mapping[str, tuple[str, tuple[int, ...]]]) -> Look | None:
    """The task's view where it fits these observations, else a guess, else None.

    The guess is `achieved_goal` on its way to `desired_goal` where both are there and 1 to 3 wide, else the
    first coordinate of the first vector.
    """
    wide = {k: shape[0] for k, (_, shape) in schema.items() if len(shape) == 1 and k != "action"}
    if view is not None and 1 <= len(view.dims) <= 3 and max(view.dims) < wide.get(view.key, 0):
        fits = view.goal in wide and (wide[view.goal] == len(view.dims) or wide[view.goal] > max(view.dims))
        labels = tuple(view.labels) if len(view.labels) == len(view.dims) else _axes(len(view.dims))
        return Look(view.key, tuple(view.dims), labels, view.unit, view.goal if fits else None)
    reached = wide.get("achieved_goal", 0)
    if 1 <= reached <= 3 and wide.get("desired_goal") == reached:
        return Look("achieved_goal", tuple(range(reached)), _axes(reached), "", "desired_goal", True)
    for key in sorted(wide, key=lambda k: k != "state"):
        return Look(key, (0,), (printable(f"{key}[0]"),), "", None, True)
    return None


def _axes(count: int) -> tuple[str, ...]:
    return ("x", "y", "z")[:count]


def outcome(success: bool | None) -> str:
    """The class that draws an episode: "success", "failure", or "rollout" where nobody can say."""
    return "rollout" if success is None else "success" if success else "failure"


@dataclass(frozen=True)
class Route:
    """One episode's path: points [n, D] at steps [n], drawn as its kind: "demo", "success", "failure", …"""

    kind: str
    name: str
    steps: int
    points: Floats
    at: NDArray[np.int64]
    goal: Floats | None
    distance: float


def paths(
    view: Look, demos: Dataset | None, rollouts: Iterable[tuple[int, Episode]], share: int = 1
) -> list[Route]:
    """Paths of demonstrations, then of rollouts (seed, episode): failures are kept before successes.

    `share` is how many viewers share the page: its size stays the same however many there are.
    """
    tried = list(rollouts)
    rank = sorted(range(len(tried)), key=lambda i: (tried[i][1].success is not False, i))
    most = max(_PATHS // share, 60)
    room = most if demos is None else max(most - len(demos), 2 * most // 3)
    kept = sorted(rank[:room])
    shown = [] if demos is None else demos.select(spread(len(demos), most - len(kept)))
    each = int(np.clip(_POINTS // share // max(len(shown) + len(kept), 1), 6, 120))
    out = [
        route(view, e, "demo", f"demonstration {e.meta.get('seed', i)}", each) for i, e in enumerate(shown)
    ]
    return out + [
        route(view, tried[i][1], outcome(tried[i][1].success), f"seed {tried[i][0]}", each) for i in kept
    ]


def spread(count: int, most: int) -> list[int]:
    """At most `most` of the numbers below `count`, evenly."""
    return sorted(set(np.linspace(0, count - 1, min(count, max(most, 0))).round().astype(int).tolist()))


def route(view: Drawable, e: Episode, kind: str, name: str, each: int) -> Route:
    """The path of an episode, at most `each` of its states."""
    n = min(each, len(e) + 1)
    at = np.floor(np.arange(n) * len(e) / (n - 1) + 0.5).astype(np.int64)  # the viewer computes these again
    return Route(kind, name, len(e), view.path(e)[at], at, view.target(e), view.distance(e))


def viewer(view: Drawable, drawn: Sequence[Route], title: str) -> dict[str, Any]:
    """What the viewer in the page reads: JSON, with the points as base64 of little-endian uint16.

    Points are in units of (high - low) / 65535 above low, path after path; a path's goal follows its points.
    One-dimensional views get the step as their first coordinate.
    """
    low, high = _box(view, drawn)
    flat = []
    for p in drawn:
        rows = p.points if p.goal is None else np.vstack([p.points, p.goal])
        share = (rows - low) / (high - low)
        flat.append(np.clip(np.rint(share * _LEVELS), 0, _LEVELS).astype("<u2").ravel())
    data = base64.b64encode(np.concatenate(flat).tobytes()).decode() if flat else ""
    return {
        "title": title,
        "labels": list(view.labels),
        "unit": view.unit,
        "low": low.tolist(),
        "high": high.tolist(),
        "paths": [
            [
                p.kind,
                p.name,
                p.steps,
                len(p.points),
                int(p.goal is not None),
                None if math.isnan(p.distance) else float(f"{p.distance:.4g}"),
            ]
            for p in drawn
        ],
        "data": data,
    }


def _box(view: Drawable, drawn: Sequence[Route]) -> tuple[Floats, Floats]:
    """The corners [D] of everything, with six digits as the page gets them, and never flat."""
    rows = [p.points for p in drawn] + [p.goal[None] for p in drawn if p.goal is not None]
    every = np.vstack(rows)
    low, high = every.min(0), every.max(0)
    wide = float((high - low).max()) or 1.0
    thin = (high - low) < 0.02 * wide
    middle = (low + high) / 2
    low, high = np.where(thin, middle - 0.01 * wide, low), np.where(thin, middle + 0.01 * wide, high)
    return np.array([float(f"{v:.6g}") for v in low]), np.array([float(f"{v:.6g}") for v in high])


def still(view: Drawable, drawn: Sequence[Route], title: str, most: int = 120) -> Markup:
    """The same picture without a script: one projection, thinned further."""
    step = math.ceil(len(drawn) / most)
    shown = [p for i, p in enumerate(drawn) if p.kind in ("failure", "worst") or i % step == 0]
    if len(view.labels) == 1:
        groups: dict[str, list[Floats]] = {}
        for p in shown:
            line = np.interp(np.arange(p.steps + 1), p.at, p.points[:, 0])
            groups.setdefault(p.kind, []).append(line)
        return traces(groups, title, f"{view.labels[0]} {view.unit}".strip())
    low, high = _box(view, drawn)
    flat = [_project(p.points[:: max(1, len(p.points) // 24)] - (low + high) / 2) for p in shown]
    every = np.vstack(flat)
    corner, size = every.min(0), np.ptp(every, axis=0)
    scale = _STILL / max(float(size[0]), float(size[1]) / 0.6, 1e-12)
    lines = []
    for p, line in zip(shown, flat, strict=True):
        x, y = ((line - corner) * scale).T
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x + 8, size[1] * scale - y + 8, strict=True))
        lines.append(tag("polyline", points=points, class_=f"trace {p.kind}"))
    span = " × ".join(number(float(v)) for v in high - low)
    words = f"{len(shown)} paths within {span} {view.unit}".strip()
    box = f"0 0 {size[0] * scale + 16:.0f} {size[1] * scale + 16:.0f}"
    return tag(
        "svg", tag("title", title), tag("desc", words), *lines, viewBox=box, class_="still", role="img",
        aria_label=f"{title}. {words}",
    )  # fmt: skip


_STILL = 900.0  # pixels that the still picture is wide, at most


def _project(points: Floats) -> Floats:
    """[n, 2 or 3] -> [n, 2]: as it is, or seen from above and to the side, as the viewer starts."""
    if points.shape[1] == 2:
        return points
    yaw, pitch = math.radians(-52.0), math.radians(24.0)
    side = points[:, 0] * math.cos(yaw) - points[:, 1] * math.sin(yaw)
    deep = points[:, 0] * math.sin(yaw) + points[:, 1] * math.cos(yaw)
    return np.stack([side, points[:, 2] * math.cos(pitch) + deep * math.sin(pitch)], axis=1)
