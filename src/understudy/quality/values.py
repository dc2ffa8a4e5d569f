"""What is seen and done as plain numbers: one row a state, one row an action, and their scales."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from understudy.dataset import Dataset
from understudy.episode import Episode, Mask
from understudy.quality.measures import Floats, Span, span_of

__all__ = ["Dims", "Values", "low_dimensional", "meant", "scales_of", "values_of"]

Dims: TypeAlias = Mapping[str, Sequence[int]]
"""Observation name -> some of its dimensions, counted in a flattened row."""

_SMOOTH = 0.5  # a value whose root-mean-square step is below so many of its stds moves, rather than jumps
_WIDTH = 1024  # values of an observation, beyond which it is an image of floats
_CHOICES = 256  # discrete actions beyond so many are no choices


@dataclass(frozen=True)
class Values:
    """The low-dimensional values of a dataset: D of a state, A of an action.

    `lively` marks values that change in most episodes, `motion` those that count as movement, which are
    divided by `unit`. Angles are cosine and sine here, so that nothing jumps at ±π. `choices` is 0 for
    continuous actions; discrete ones are a row of zeros with a one.
    """

    keys: tuple[str, ...]
    angles: Mapping[str, tuple[int, ...]]
    mean: Floats
    std: Floats
    lively: Mask
    motion: Mask
    unit: Floats
    choices: int
    action_mean: Floats
    action_std: Floats

    def states(self, e: Episode) -> Floats:
        """[T + 1, D], in raw units."""
        return _states(e, self.keys, self.angles)

    def moved(self, states: Floats) -> Floats:
        """[T + 1, M], of the movement alone: as it is where it was named, in stds where it was not."""
        return states[:, self.motion] / self.unit

    def scaled(self, states: Floats) -> Floats:
        """[..., D'], what varies at all, in stds from the mean and no more than 4 of them."""
        some = self.std > 0
        return np.clip((states[..., some] - self.mean[some]) / self.std[some], -4, 4)

    def actions(self, e: Episode) -> Floats:
        """[T, A], what the demonstrator meant: the label where there is one, otherwise what was executed."""
        return meant(e, self.choices)

    def scaled_actions(self, actions: Floats) -> Floats:
        """[..., A], in stds from the mean; a choice differs from another by sqrt(2)."""
        if self.choices:
            return actions
        some = self.action_std > 0
        scaled: Floats = (actions[..., some] - self.action_mean[some]) / self.action_std[some]
        return scaled


def low_dimensional(schema: Mapping[str, tuple[str, tuple[int, ...]]]) -> list[str]:
    """The observations that are numbers: no images, neither of bytes nor of floats."""
    numbers = ((k, shape) for k, (kind, shape) in schema.items() if k != "action" and kind == "float32")
    return [k for k, shape in numbers if prod(shape) <= _WIDTH]


def meant(e: Episode, choices: int = 0) -> Floats:
    """[T, A] as float64; with `choices`, one column for each."""
    said = e.action if e.labelled.all() and e.label is e.action else _heeded(e)
    wide: Floats = (said == np.arange(choices) if choices else said).astype(np.float64)
    return wide


def _heeded(e: Episode) -> NDArray[Any]:
    return np.where(e.labelled[:, None], e.label, e.action)


def _states(e: Episode, keys: Sequence[str], angles: Mapping[str, tuple[int, ...]]) -> Floats:
    parts = []
    for key in keys:
        flat = np.asarray(e.obs[key]).reshape(len(e) + 1, -1).astype(np.float64)
        if turns := list(angles.get(key, ())):
            parts.append(np.sin(flat[:, turns]))
            flat[:, turns] = np.cos(flat[:, turns])
        parts.append(flat)
    return np.concatenate(parts, axis=1)


def _named(keys: Sequence[str], spans: Mapping[str, Span], angles: Dims) -> list[tuple[str, int]]:
    """Of every column of `_states`, where it comes from."""
    out: list[tuple[str, int]] = []
    for key in keys:
        out += [(key, int(d)) for d in angles.get(key, ())]
        out += [(key, d) for d in range(len(spans[key].low))]
    return out


def _check(keys: Sequence[str], spans: Mapping[str, Span], dims: Dims) -> None:
    for key, listed in dims.items():
        if key not in keys:
            raise KeyError(f"no low-dimensional observation {key!r}; there are {sorted(keys)}")
        if wrong := [d for d in listed if not 0 <= d < len(spans[key].low)]:
            raise ValueError(f"{key!r} has {len(spans[key].low)} dimensions, so no dimension {wrong[0]}")


def scales_of(data: Dataset, angles: Dims | None) -> tuple[list[Episode], Values]:
    """A dataset's episodes, and the scales of its values.

    Raises:
        ValueError: when there is nothing but images; else as `values_of`.
    """
    keys, episodes = low_dimensional(data.schema), list(data)
    spans = {k: span_of(data.chunks(k)) for k in (*keys, "action")}
    values = values_of(episodes, keys, spans, angles=angles)
    if values is None:
        raise ValueError("there is nothing but images; low-dimensional observations are needed")
    return episodes, values


def values_of(
    episodes: Sequence[Episode],
    keys: Sequence[str],
    spans: Mapping[str, Span],
    *,
    motion: Dims | None = None,
    angles: Dims | None = None,
) -> Values | None:
    """The scales of a dataset's values, in one pass; None where it has nothing but images.

    Args:
        keys: the low-dimensional observations.
        motion: what counts as movement. None: every value that changes in most episodes, takes more than
            three values, and whose steps are small beside its spread (rms step below half a std).

    Raises:
        KeyError: when `motion` or `angles` names an observation that is not there.
        ValueError: when a dimension is not there.
    """
    _check(keys, spans, motion or {})
    _check(keys, spans, angles or {})
    if not keys:
        return None
    turns = {k: tuple(int(d) for d in v) for k, v in (angles or {}).items()}
    names = _named(keys, spans, turns)
    total = squares = steps = changed = np.zeros(len(names))
    first = _states(episodes[0], keys, turns)[0]
    count = 0
    for e in episodes:
        x = _states(e, keys, turns) - first  # about the first state, so that squares stay small
        moves = np.diff(x, axis=0)
        total, squares, count = total + x.sum(0), squares + (x**2).sum(0), count + len(x)
        steps, changed = steps + (moves**2).sum(0), changed + moves.any(0)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    std[std <= 1e-7 * np.maximum(np.abs(first + mean), 1e-30)] = 0.0
    lively = (changed > len(episodes) / 2) & (std > 0)
    switch = np.array([spans[k].switch[d] and d not in turns.get(k, ()) for k, d in names])
    smooth = steps <= _SMOOTH**2 * std**2 * (count - len(episodes))
    moving = lively & smooth & ~switch
    unit = std[moving]
    if motion is not None:
        moving = np.array([d in {int(i) for i in motion.get(k, ())} for k, d in names]) & (std > 0)
        unit = np.ones(int(moving.sum()))
    choices, mean_a, std_a = _action_scale(episodes, spans["action"])
    return Values(
        tuple(keys), turns, first + mean, std, lively, moving, unit, choices, mean_a, std_a
    )  # fmt: skip


def _action_scale(episodes: Sequence[Episode], span: Span) -> tuple[int, Floats, Floats]:
    """How many choices there are (0: continuous), and the mean and std of the actions."""
    if episodes[0].action.dtype == np.int64:
        low, high = int(span.low[0]), int(span.high[0])
        choices = high + 1 if low >= 0 and high < _CHOICES else 0
        if choices:
            return choices, np.zeros(choices), np.ones(choices)
    count = sum(map(len, episodes))
    mean: Floats = np.sum([meant(e).sum(0) for e in episodes], axis=0) / count
    std: Floats = np.sqrt(np.sum([((meant(e) - mean) ** 2).sum(0) for e in episodes], axis=0) / count)
    std[std <= 1e-7 * np.maximum(np.abs(mean), 1e-30)] = 0.0
    return 0, mean, std
