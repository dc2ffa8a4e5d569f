"""Faults put into sound demonstrations on purpose, to check that what claims to see them does see them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from understudy.dataset import Dataset
from understudy.episode import Array, Episode
from understudy.quality.measures import Floats
from understudy.quality.values import low_dimensional

__all__ = ["FAULTS", "inject"]

_NOISE = 0.2  # half ranges of each action
_SENSOR = 0.05  # stds of each value
_MOVES = 1e-2  # stds of a value, from which it moves in an episode
_LATE = 2  # steps
_CUT = (0.3, 0.6)  # of the path, after which a demonstration is cut short
_LIMIT = 0.5  # of the half range of each action
_JITTER, _CLOCK = 0.15, 0.01  # std of a time step in steps: of a bad clock, and of a sound one
_RATE = 30.0  # frames a second, where a dataset has no measured time


@dataclass(frozen=True)
class _Scale:
    """Of the dataset: the range of each action [A], and the std of each low-dimensional observation."""

    low: Floats
    high: Floats
    std: Mapping[str, Floats]


Fault: TypeAlias = Callable[[Episode, _Scale, np.random.Generator], Episode]


def inject(
    data: Dataset, fault: str, *, share: float = 0.3, seed: int = 0
) -> tuple[Dataset, NDArray[np.bool_]]:
    """The dataset with a fault in a share of its episodes, drawn by `seed`, and which those are, [E].

    For "jitter" and "gaps", episodes without measured time get a clock first: 30 steps a second, uneven by
    1 %.

    Raises:
        KeyError: when there is no such fault in `FAULTS`.
        ValueError: when the share is not in [0, 1], the dataset is empty or all images, or its actions are
            discrete and the fault is not.

    >>> t = np.linspace(0, 1, 21)[:, None]
    >>> data = Dataset([Episode.demonstration(t * i, t[1:] * i) for i in range(1, 11)])
    >>> worse, bad = inject(data, "truncation")
    >>> int(bad.sum()), bool((worse.lengths[bad] < 20).all()), bool((worse.lengths[~bad] == 20).all())
    (3, True, True)
    """
    if fault not in FAULTS:
        raise KeyError(f"there is no fault {fault!r}; there are {', '.join(FAULTS)}")
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; it must lie in [0, 1]")
    if not len(data):
        raise ValueError("the dataset is empty; there is nothing to put a fault into")
    if fault in ("noise", "clipping") and data.schema["action"][0] == "int64":
        raise ValueError(f"{fault} is a fault of continuous actions; these are discrete")
    rng = np.random.default_rng(seed)
    bad = np.zeros(len(data), np.bool_)
    bad[rng.choice(len(data), round(share * len(data)), replace=False)] = True
    episodes = list(data)
    if fault in ("jitter", "gaps"):
        episodes = [_timed(e, rng) for e in episodes]
    scale = _scale(data)
    return Dataset(FAULTS[fault](e, scale, rng) if b else e for e, b in zip(episodes, bad, strict=True)), bad


def _scale(data: Dataset) -> _Scale:
    keys = low_dimensional(data.schema)
    if not keys:
        raise ValueError("the dataset is all images; these faults are of numbers")
    action = np.concatenate([e.action for e in data]).astype(np.float64)
    std = {k: np.concatenate([e.obs[k] for e in data]).std(0, dtype=np.float64) for k in keys}
    return _Scale(action.min(0), action.max(0), std)


def _timed(e: Episode, rng: np.random.Generator) -> Episode:
    if e.time is not None:
        return e
    steps = np.maximum(1 + _CLOCK * rng.normal(size=len(e)), 0.0) / _RATE
    return replace(e, time=np.concatenate([[0.0], np.cumsum(steps)]))


def _acting(e: Episode, action: Array) -> Episode:
    """Another action, done and meant."""
    return replace(e, action=action, label=action)


def _seeing(e: Episode, changed: Mapping[str, Array]) -> Episode:
    return replace(e, obs=dict(e.obs) | dict(changed))


def _noise(e: Episode, s: _Scale, rng: np.random.Generator) -> Episode:
    shaken = e.action + _NOISE * (s.high - s.low) / 2 * rng.normal(size=e.action.shape)
    return _acting(e, np.clip(shaken, s.low, s.high))


def _sensor_noise(e: Episode, s: _Scale, rng: np.random.Generator) -> Episode:
    return _seeing(e, {k: e.obs[k] + _SENSOR * d * rng.normal(size=e.obs[k].shape) for k, d in s.std.items()})


def _lag(e: Episode, s: _Scale, rng: np.random.Generator) -> Episode:
    late = np.maximum(np.arange(len(e)) - _LATE, 0)
    return _acting(e, e.action[late])


def _path(e: Episode, s: _Scale) -> Floats:
    """[T], which share of its path lies behind it after each step."""
    moved = np.zeros(len(e))
    for k, d in s.std.items():
        step = np.diff(e.obs[k].astype(np.float64), axis=0) / np.where(d > 0, d, 1.0)
        moved += (step.reshape(len(e), -1) ** 2).sum(1)
    way = np.cumsum(np.sqrt(moved))
    return way / way[-1] if way[-1] > 0 else np.arange(1, len(e) + 1) / len(e)


def _rows(e: Episode, steps: NDArray[Any], states: NDArray[Any]) -> Episode:
    """These steps and these states; the rewards and who held the controls go with the steps."""
    return replace(
        e,
        obs={k: np.asarray(v[states]) for k, v in e.obs.items()},
        action=e.action[steps],
        label=e.label[steps],
        labelled=e.labelled[steps],
        reward=e.reward[steps],
        time=None,
        control=None if e.control is None else e.control[steps],
    )


def _pauses(e: Episode, s: _Scale, rng: np.random.Generator) -> Episode:
    at = int(np.searchsorted(_path(e, s), rng.uniform(0.2, 0.8)))
    held = max(5, len(e) // 10)
    steps = np.insert(np.arange(len(e)), at, np.full(held, at))
    return _rows(e, steps, np.insert(np.arange(len(e) + 1), at, np.full(held, at)))


def _truncation(e: Episode, s: _Scale, rng: np.random.Generator) -> Episode:
    stop = max(2, int(np.searchsorted(_path(e, s), rng.uniform(*_CUT))))
    cut = _rows(e, np.arange(len(e))[:stop], np.arange(len(e) + 1)[: stop + 1])
    return replace(cut, terminated=False, success=None)


def _clipping(e: Episode, s: _Scale, rng: np.random.Generator) -> Episode:
    middle, half = (s.low + s.high) / 2, _LIMIT * (s.high - s.low) / 2
    return _acting(e, np.clip(e.action, middle - half, middle + half))


def _stuck(e: Episode, s: _Scale, rng: np.random.Generator) -> Episode:
    spread = {k: np.ptp(e.obs[k].reshape(len(e) + 1, -1), axis=0) for k in s.std}
    moving = [(k, d) for k in s.std for d in np.flatnonzero(spread[k] > _MOVES * s.std[k].ravel())]
    if not moving:
        return e
    key, dim = moving[rng.integers(len(moving))]
    seen = np.array(e.obs[key])
    flat = seen.reshape(len(seen), -1)
    at = int(np.searchsorted(_path(e, s), rng.uniform(0.1, 0.5)))
    flat[at:, dim] = flat[at, dim]
    return _seeing(e, {key: seen})


def _jitter(e: Episode, s: _Scale, rng: np.random.Generator) -> Episode:
    steps = np.diff(_clock(e)) * np.exp(_JITTER * rng.normal(size=len(e)))
    return replace(e, time=np.concatenate([[0.0], np.cumsum(steps)]))


def _gaps(e: Episode, s: _Scale, rng: np.random.Generator) -> Episode:
    steps = np.diff(_clock(e))
    steps[rng.integers(len(e), size=2)] *= 3
    return replace(e, time=np.concatenate([[0.0], np.cumsum(steps)]))


def _clock(e: Episode) -> Floats:
    """Its measured time, or the nominal one."""
    return np.arange(len(e) + 1) / _RATE if e.time is None else e.time


_TABLE: dict[str, Fault] = {
    "noise": _noise,
    "sensor-noise": _sensor_noise,
    "lag": _lag,
    "pauses": _pauses,
    "truncation": _truncation,
    "clipping": _clipping,
    "stuck": _stuck,
    "jitter": _jitter,
    "gaps": _gaps,
}

FAULTS: Mapping[str, Fault] = MappingProxyType(_TABLE)
"""Name -> what spoils an episode.

noise: white noise of 0.2 half ranges on the actions. sensor-noise: of 0.05 stds on every observed value.
lag: actions are recorded 2 steps late. pauses: it stands still for a tenth of its steps, 5 at least, on its
way. truncation: it ends after 30 to 60 % of its path. clipping: actions beyond half their range are cut off.
stuck: one value freezes after 10 to 50 % of the path. jitter: time steps vary by 15 %. gaps: two steps take
three times as long.
"""
