"""What is marked on a timeline: standing still, commands at a limit, frozen values, holes, and who drove."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from understudy.dataset import Dataset
from understudy.episode import EXPERT, RECOVERY, Array, Episode, Mask
from understudy.numerics import longest_run, runs
from understudy.quality import MEASURES
from understudy.quality.measures import edges_of, measure, saturated, span_of

__all__ = ["DRIVERS", "KINDS", "Moments", "moments"]

KINDS = {
    "paused": "hardly moves",
    "limit": "a command at its limit",
    "frozen": "a frozen value",
    "gap": "a hole in the recording",
}
DRIVERS = {"expert": "the expert drives", "recovery": "the expert, on the way back"}
_STILL = 0.02  # of a brisk step, as for the measure "paused"
_GAP = 1.5  # times the median time between two observations, as for the measure "gaps"


@dataclass(frozen=True, eq=False)
class Moments:
    """Masks [T] of one episode by the names of `KINDS`, and of `DRIVERS`; `frozen` has the dims of each key
    that froze."""

    masks: dict[str, Mask]
    drivers: dict[str, Mask]
    frozen: dict[str, tuple[int, ...]]


def moments(
    data: Dataset, episodes: Sequence[Episode], vectors: Sequence[str], bounds: tuple[Array, Array] | None
) -> list[Moments]:
    """Of every episode, as its measures count them; limits only of the actions that are often at theirs.

    Args:
        vectors: the observations that are numbers. bounds: of the actions, where they are known.
    """
    discrete = data.schema["action"][0] == "int64"
    spans = {key: span_of(data.chunks(key)) for key in (*vectors, "action")}
    edges = None if discrete else edges_of(spans["action"], bounds)
    measured = [measure(e, vectors, spans, edges) for e in episodes]
    still = _STILL * float(np.quantile(np.concatenate([m.motion for m in measured]), 0.9))
    often = saturated(np.concatenate([m.held for m in measured])) > 0 if edges else np.zeros(1, np.bool_)
    paused = [m.motion <= still if vectors else np.zeros(len(m.motion), np.bool_) for m in measured]
    frozen = {key: _frozen([e.obs[key] for e in episodes], paused) for key in vectors}
    out = []
    for i, (e, m) in enumerate(zip(episodes, measured, strict=True)):
        none = np.zeros(len(e), np.bool_)
        limit: Mask = np.any(m.held[:, often], axis=1) if often.any() else none
        where = {key: dims[i] for key, dims in frozen.items() if dims[i]}
        cold = np.logical_or.reduce(
            [none, *(_longest(e.obs[k], d) for k, dims in where.items() for d in dims)]
        )
        masks = {"paused": paused[i], "limit": limit, "frozen": cold, "gap": _gaps(e)}
        out.append(Moments(masks, _drivers(e), where))
    return out


def _drivers(e: Episode) -> dict[str, Mask]:
    """[T] each, where the expert holds the controls, as far as that was noted."""
    control = np.zeros(len(e), np.uint8) if e.control is None else e.control
    return {"expert": control == EXPERT, "recovery": control == RECOVERY}


def _frozen(states: Sequence[Array], paused: Sequence[Mask]) -> list[tuple[int, ...]]:
    """The dims of an observation that froze in each episode, for longer than is usual, while others moved."""
    moving = [~p for p in paused]
    # [E, D], steps
    rested = np.stack([longest_run(_still(s)[m]) for s, m in zip(states, moving, strict=True)])
    steps = np.array([max(1, int(m.sum())) for m in moving])
    beyond = (rested - np.median(rested, axis=0)) / steps[:, None]
    return [tuple(np.flatnonzero(row >= MEASURES["frozen"].matters).tolist()) for row in beyond]


def _still(states: Array) -> Mask:
    """[T, D], what did not change in a step."""
    rows = states.reshape(len(states), -1)
    unchanged: Mask = rows[1:] == rows[:-1]
    return unchanged


def _longest(states: Array, dim: int) -> Mask:
    """[T], the longest stretch in which one dim did not change."""
    unchanged = _still(states)[:, dim]
    found = runs(unchanged)
    a, b = found[np.argmax(found[:, 1] - found[:, 0])]
    mask = np.zeros(len(unchanged), np.bool_)
    mask[a:b] = True
    return mask


def _gaps(e: Episode) -> Mask:
    """[T], the steps that took much longer than is usual in the episode."""
    if e.time is None:
        return np.zeros(len(e), np.bool_)
    spent = np.diff(e.time)
    usual = float(np.median(spent))
    wide: Mask = (spent > _GAP * usual) & (usual > 0)
    return wide
