"""Inspecting a dataset: what is measured, in order, and what becomes of it."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import ArrayLike

from understudy.dataset import Dataset
from understudy.episode import Episode
from understudy.quality.findings import (
    about_amount,
    about_columns,
    about_pauses,
    about_stuck,
    about_twins,
)
from understudy.quality.measures import Floats, Measured, Span, edges_of, measure, saturated, span_of
from understudy.quality.types import SEVERITIES, Column, EpisodeQuality, Inspection

__all__ = ["inspect"]

_STILL = 0.02  # of the dataset's brisk motion, its 90 % quantile, up to which a step is a pause
_FACTS = ("task", "operator", "source")


def inspect(data: Dataset, *, bounds: tuple[ArrayLike, ArrayLike] | None = None) -> Inspection:
    """Measures a dataset and says what is wrong with it.

    Without bounds an action counts as saturated where it repeats the smallest or largest value that occurs. A
    step is a pause where no low-dimensional observation moves by 2 % of what it takes to be among the
    briskest tenth, each in units of its range; this depends neither on units nor on the sampling rate.

    Args:
        bounds: low and high of the actions, each broadcast to [A], where they are known.

    Raises:
        ValueError: when the dataset is empty, or the bounds do not fit its actions.
    """
    if not len(data):
        raise ValueError("the dataset is empty; there is nothing to inspect")
    schema = data.schema
    spans = {key: span_of(data.chunks(key)) for key in schema}
    edges = None if schema["action"][0] == "int64" else edges_of(spans["action"], bounds)
    moving = [k for k in schema if k != "action" and schema[k][0] == "float32"]
    measured = [measure(e, moving, spans, edges) for e in data]
    still = _STILL * float(np.quantile(np.concatenate([m.motion for m in measured]), 0.9)) if moving else None
    episodes = tuple(_rate(i, e, m, still) for i, (e, m) in enumerate(zip(data, measured, strict=True)))
    width = schema["action"][1][0]
    at_edges = np.zeros(width) if edges is None else saturated(np.concatenate([m.held for m in measured]))
    labelled = sum(e.measures["labelled"] * e.steps for e in episodes) / data.steps
    findings = [
        *about_amount(episodes, labelled),
        *about_columns(spans, at_edges),
        *about_twins(measured),
        *about_stuck(measured, spans),
        *about_pauses(episodes),
    ]
    return Inspection(
        episodes,
        data.steps,
        labelled,
        _facts(data),
        tuple(c for key in schema for c in _columns(key, schema[key][1], spans[key], at_edges)),
        tuple(sorted(findings, key=lambda f: SEVERITIES.index(f.severity))),
    )


def _rate(index: int, e: Episode, m: Measured, still: float | None) -> EpisodeQuality:
    measures = {"return": e.total_reward, "labelled": float(e.labelled.mean())}
    if still is not None:
        measures["paused"] = float((m.motion <= still).mean())
    if len(m.held):
        measures["saturated"] = float(m.held.any(1).mean())
    return EpisodeQuality(index, len(e), e.success, measures)


def _facts(data: Dataset) -> dict[str, dict[str, int]]:
    counts = {k: Counter(str(e.meta[k]) for e in data if k in e.meta) for k in _FACTS}
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
