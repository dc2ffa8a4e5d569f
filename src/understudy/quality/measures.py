"""Measuring columns over a whole dataset, and single episodes against them. NumPy only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from understudy.dataset import Dataset
from understudy.episode import Array, Episode, Mask

__all__ = ["Edges", "Floats", "Measured", "Span", "edges_of", "measure", "rows_of", "saturated", "span_of"]

Floats: TypeAlias = NDArray[np.float64]
Edges: TypeAlias = tuple[Floats, Floats]  # [A] each

_HELD_STEPS, _HELD_SHARE, _HELD_ALWAYS = 10, 0.02, 0.9
_IMAGES = 4096  # of a camera that are looked at
_SWITCH = 3  # a dimension with at most so many values is a switch, whose extremes mean nothing


@dataclass(frozen=True)
class Span:
    """Range, mean and std of each value of a column, [D] each; an image is one value, over its pixels.

    `switch` marks values that take at most three different ones.
    """

    low: Floats
    high: Floats
    mean: Floats
    std: Floats
    switch: Mask


def span_of(chunks: Iterable[Array]) -> Span:
    """One pass over a column's rows [n, ...], in float64 (Chan, Golub and LeVeque 1983, equation 2.1)."""
    count, mean, spread = 0, np.zeros(1), np.zeros(1)
    low, high = np.full(1, np.inf), np.full(1, -np.inf)
    values: list[set[float]] = []
    for chunk in chunks:
        rows = chunk.reshape(-1, 1) if chunk.dtype == np.uint8 else chunk.reshape(len(chunk), -1)
        low, high = np.minimum(low, rows.min(0)), np.maximum(high, rows.max(0))
        values = values or [set() for _ in range(rows.shape[1])]
        for seen, column in zip(values, rows.T, strict=True):
            for part in (column[:100], column):  # the first rows settle it nearly always
                if len(seen) <= _SWITCH:
                    seen.update(np.unique(part)[: _SWITCH + 1].tolist())
        wide = rows.astype(np.float64)
        here = wide.mean(0)
        step, total = here - mean, count + len(wide)
        spread = spread + ((wide - here) ** 2).sum(0) + step**2 * (count * len(wide) / total)
        mean, count = mean + step * (len(wide) / total), total
    switch = np.array([len(seen) <= _SWITCH for seen in values])
    return Span(low, high, np.clip(mean, low, high), np.sqrt(spread / count), switch)


def rows_of(data: Dataset, key: str) -> Iterator[Array]:
    """A column's rows in pieces: all of them where they are few or numbers, else 4096 images evenly spaced.

    Images may have to be decoded, which takes longer than anything else that is measured.
    """
    kind, _ = data.schema[key]
    if key == "action" or kind != "uint8" or data.steps + len(data) <= _IMAGES:
        yield from data.chunks(key)
        return
    rows = np.linspace(0, data.steps + len(data) - 1, _IMAGES).astype(np.int64)
    ends = np.cumsum(data.lengths + 1)
    for i, part in enumerate(np.split(rows, np.searchsorted(rows, ends[:-1]))):
        if len(part):
            column = data[i].obs[key]
            yield column[part - (ends[i] - len(column))]


def edges_of(span: Span, bounds: tuple[ArrayLike, ArrayLike] | None) -> Edges:
    """At and beyond which an action is saturated: its bounds, or else the extremes that occur.

    Raises:
        ValueError: when the bounds do not fit the actions.
    """
    low, high = span.low, span.high
    if bounds is not None:
        try:
            low, high = (np.broadcast_to(np.asarray(b, np.float64), span.low.shape) for b in bounds)
        except ValueError:
            raise ValueError(f"the bounds do not fit actions of width {len(span.low)}") from None
        if not (low < high).all():
            raise ValueError("the low bounds must be below the high ones")
        low, high = low + 1e-6 * (high - low), high - 1e-6 * (high - low)
    return np.where(span.switch, -np.inf, low), np.where(span.switch, np.inf, high)


def saturated(held: Mask) -> Floats:
    """[A], the share of all steps [N, A] at an edge, where it is large enough to mean a thing, else 0.

    Extremes occur once or twice in any data, so it takes 10 steps and 2 % of all. What is hardly ever
    anywhere else, 90 % and more, is a switch such as a gripper.
    """
    share: Floats = held.mean(0)
    much = (held.sum(0) >= _HELD_STEPS) & (share >= _HELD_SHARE) & (share < _HELD_ALWAYS)
    return np.where(much, share, 0.0)


@dataclass(frozen=True)
class Measured:
    """One episode, measured.

    `motion` [T] is the largest move of any observed value, in units of its range. `held` [T, A] marks actions
    at an edge, and has no rows without edges. `still` [D] marks, by observation, what never changes in the
    episode.
    """

    motion: Floats
    held: Mask
    still: Mapping[str, Mask]


def measure(e: Episode, moving: Sequence[str], spans: Mapping[str, Span], edges: Edges | None) -> Measured:
    """Measures an episode; `moving` names its low-dimensional observations."""
    motion = np.zeros(len(e))
    still: dict[str, Mask] = {}
    for key in moving:
        width = spans[key].high - spans[key].low
        states = e.obs[key].reshape(len(e) + 1, -1).astype(np.float64)
        moved = np.abs(np.diff(states, axis=0)) / np.where(width > 0, width, 1.0)
        motion = np.maximum(motion, moved.max(1))
        still[key] = np.logical_not(moved.any(0))
    held = np.zeros((0, e.action.shape[1]), np.bool_)
    if edges is not None:
        held = (e.action <= edges[0]) | (e.action >= edges[1])
    return Measured(motion, held, still)
