"""Inspecting a dataset: what is measured, in order, and what becomes of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from understudy.dataset import Dataset
from understudy.episode import Episode
from understudy.quality import findings as f
from understudy.quality.commands import commands
from understudy.quality.lag import Lags, lags
from understudy.quality.measures import (
    Floats,
    Measured,
    Span,
    edges_of,
    measure,
    rows_of,
    saturated,
    span_of,
)
from understudy.quality.movement import halts, movement
from understudy.quality.neighbours import coverage, neighbours, sample
from understudy.quality.origins import about_balance, about_operators, about_starts, compared
from understudy.quality.outliers import about_outliers, outlying, ranked
from understudy.quality.ranking import information
from understudy.quality.table import MEASURES
from understudy.quality.timing import timing
from understudy.quality.twins import nearest_twin, twins
from understudy.quality.types import SEVERITIES, Column, EpisodeQuality, Finding, Inspection
from understudy.quality.values import Dims, Values, low_dimensional, values_of

__all__ = ["inspect"]

_STILL = 0.02  # of the dataset's brisk motion, its 90 % quantile, up to which a step is a pause
_FACTS = ("task", "operator", "source")
_COMPARED = 3  # episodes, from which they can be compared with one another


@dataclass(frozen=True)
class _Findings:
    """What was measured on the whole set, for findings to be made of."""

    data: Dataset
    episodes: Sequence[Episode]
    spans: dict[str, Span]
    measured: Sequence[Measured]
    values: Values | None
    held: Floats  # [A], the share of steps at the limits
    measures: dict[str, Floats]
    lags: Lags | None
    near: tuple[Floats, NDArray[np.intp]] | None
    twins: list[list[int]]


def inspect(
    data: Dataset,
    *,
    bounds: tuple[ArrayLike, ArrayLike] | None = None,
    motion: Dims | None = None,
    angles: Dims | None = None,
    seed: int = 0,
) -> Inspection:
    """Measures a dataset and says what is wrong with it, and which episodes to look at first.

    Without bounds an action counts as saturated where it repeats the smallest or largest value that occurs. A
    step is a pause where no low-dimensional observation moves by 2 % of what it takes to be among the
    briskest tenth, each in units of its range; this depends neither on units nor on the sampling rate.

    Time grows with the number of values, and as E log E with that of episodes: comparisons of episodes use
    8192 states in all, the lag is fitted on 20 000 steps, and of each camera 4096 images are looked at, all
    evenly spaced or drawn by `seed`. Measures and their directions are in `quality.MEASURES`.

    Args:
        bounds: low and high of the actions, each broadcast to [A], where they are known.
        motion: observation name -> dims whose path is judged for straightness and smoothness. None: all
            values that change in most episodes, take more than three values and move in steps that are small
            beside their spread, each in its stds.
        angles: observation name -> dims that are angles in radians, which jump at ±π.

    Raises:
        KeyError: when `motion` or `angles` names an observation that is not there.
        ValueError: when the dataset is empty, or bounds or dimensions do not fit.
    """
    if not len(data):
        raise ValueError("the dataset is empty; there is nothing to inspect")
    schema, episodes = data.schema, list(data)
    spans = {key: span_of(rows_of(data, key)) for key in schema}
    edges = None if schema["action"][0] == "int64" else edges_of(spans["action"], bounds)
    keys = low_dimensional(schema)
    measured = [measure(e, keys, spans, edges) for e in episodes]
    values = values_of(episodes, keys, spans, motion=motion, angles=angles)
    held = (
        np.zeros(schema["action"][1][0])
        if edges is None
        else saturated(np.concatenate([m.held for m in measured]))
    )
    still = _STILL * float(np.quantile(np.concatenate([m.motion for m in measured]), 0.9)) if keys else -1.0
    moving = [m.motion > still for m in measured]
    measures = _basic(episodes, measured, still) | timing(episodes)
    if edges is not None:
        measures |= commands(episodes, spans["action"], moving)
    lag = near = None
    if values is not None and values.std.any():
        measures |= movement(episodes, values, moving)
        if (lag := lags(episodes, values, seed)) is not None:
            measures["lag"] = np.abs(lag.lag)
        if len(episodes) >= _COMPARED:
            near = nearest_twin(episodes, values)
            measures |= _compared(episodes, values, seed) | {"nearest": near[0]}
    known = {k: measures[k] for k in MEASURES if k in measures and not np.isnan(measures[k]).all()}
    return _report(
        _Findings(data, episodes, spans, measured, values, held, known, lag, near, twins(episodes))
    )


def _basic(episodes: Sequence[Episode], measured: Sequence[Measured], still: float) -> dict[str, Floats]:
    """Length, return, shares of labelled, standing and saturated steps, and halts, each [E].

    A step whose motion is no more than `still` is a pause; a negative one says that nobody can see motion.
    """
    out = {
        "length": np.array([float(len(e)) for e in episodes]),
        "return": np.array([e.total_reward for e in episodes]),
        "labelled": np.array([e.labelled.mean() for e in episodes]),
    }
    if still >= 0:
        out["paused"] = np.array([(m.motion <= still).mean() for m in measured])
        out |= halts(measured, still)
    if len(measured[0].held):
        out["saturated"] = np.array([m.held.any(1).mean() for m in measured])
    return out


def _compared(episodes: Sequence[Episode], values: Values, seed: int) -> dict[str, Floats]:
    """What is measured of each episode against the others, each [E]."""
    count, drawn = len(episodes), sample(episodes, values, seed=seed)
    out = neighbours(drawn, count) | {"coverage": coverage(drawn, count)}
    return out | {"information": information(drawn, count, seed)}


def _report(m: _Findings) -> Inspection:
    far = outlying(m.measures, [i for i, e in enumerate(m.episodes) if e.success])
    facts = _facts(m.episodes)
    operators = compared(m.episodes, m.measures.get("jerk"))
    rows = [EpisodeQuality(i, len(e), e.success, _measures(m.measures, i)) for i, e in enumerate(m.episodes)]
    labelled = float((m.measures["labelled"] * m.measures["length"]).sum() / m.data.steps)
    found = [
        *f.about_amount(rows, labelled),
        *_of_columns(m),
        *_of_episodes(m, far),
        *about_operators(operators),
        *about_balance(facts),
    ]
    failed = [i for i, e in enumerate(m.episodes) if e.success is False]
    repeated = {i: g[0] for g in m.twins for i in g[1:]}
    schema = m.data.schema
    return Inspection(
        tuple(rows),
        m.data.steps,
        labelled,
        facts,
        tuple(c for key in schema for c in _columns(key, schema[key][1], m.spans[key], m.held)),
        tuple(sorted(found, key=lambda x: SEVERITIES.index(x.severity))),
        ranked(m.measures, far, failed, repeated),
        operators,
    )


def _measures(measures: dict[str, Floats], i: int) -> dict[str, float]:
    return {k: float(x[i]) for k, x in measures.items() if np.isfinite(x[i])}


def _of_columns(m: _Findings) -> Iterator[Finding]:
    yield from f.about_columns(m.spans, m.held)
    if m.values is not None:
        yield from about_starts(m.episodes, m.values)
    if m.lags is not None:
        yield from f.about_lag(m.lags)
    yield from f.about_time(m.measures, m.data.steps)


def _of_episodes(m: _Findings, far: dict[str, Floats]) -> Iterator[Finding]:
    yield from f.about_twins(m.twins)
    if m.near is not None:
        near, other = m.near
        yield from f.about_near_twins(near, other.tolist(), m.twins, [len(e) for e in m.episodes])
    stuck = list(f.about_stuck(m.measured, m.spans))
    yield from stuck
    pauses = list(f.about_pauses(m.measures, far))
    yield from pauses
    halted = [i for p in pauses for i in p.episodes if p.kind == "pauses"]
    said = {"frozen": [i for s in stuck for i in s.episodes], "spectral_arc": halted, "jerk": halted}
    yield from about_outliers(m.measures, far, said)


def _facts(episodes: Sequence[Episode]) -> dict[str, dict[str, int]]:
    counts = {k: Counter(str(e.meta[k]) for e in episodes if k in e.meta) for k in _FACTS}
    return {k: dict(c.most_common()) for k, c in counts.items() if c}


def _columns(key: str, shape: tuple[int, ...], span: Span, at_edges: Floats) -> list[Column]:
    """The rows of the table for one observation or the action."""
    out = []
    for i in range(len(span.low)):
        at = ", ".join(str(int(n)) for n in np.unravel_index(i, shape))
        share = float(at_edges[i]) if key == "action" else 0.0
        remark = "constant" if span.low[i] == span.high[i] else "switch" if span.switch[i] else ""
        remark = f"{share:.0%} at its extremes" if share else remark
        low, high, mean, std = (float(x[i]) for x in (span.low, span.high, span.mean, span.std))
        out.append(Column(key if len(span.low) == 1 else f"{key}[{at}]", low, high, mean, std, remark))
    return out
