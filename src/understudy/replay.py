"""Demonstrations played back: do the recorded actions, from the recorded seed, lead where they led? No torch.

Where they do, the recording holds all it takes; where not, actions were altered, dropped or shifted in time,
or the task is not the one they were recorded in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.baselines import Replay
from understudy.dataset import Dataset
from understudy.envs import Task
from understudy.episode import Episode
from understudy.rollout import rollout

__all__ = ["Replayed", "replay"]

_TOLERANCE = 1e-3  # stds: float32 keeps seven digits, and simulators are deterministic
_WIDTH = 1024  # values of an observation, beyond which it is an image


@dataclass(frozen=True)
class Replayed:
    """What became of one episode's actions when they were executed again.

    Args:
        index: of the episode in the dataset. seed: it was reset with.
        steps: that were executed. recorded_steps: that there are; more, where the task ended earlier.
        deviation: the largest difference of any state from the recorded one, in stds of the dataset's values.
        deviations: the same for each observation, in its own units.
        parted: the first state that deviates by more than the tolerance; None where none does. 0 is the
            start: then the recorded seed is another one's, or the task's reset has changed.
        success: of the replay. recorded_success: that the episode says. None where nobody said.
        tolerance: in stds.
    """

    index: int
    seed: int
    steps: int
    recorded_steps: int
    deviation: float
    deviations: Mapping[str, float]
    parted: int | None
    success: bool | None
    recorded_success: bool | None
    tolerance: float

    @property
    def faithful(self) -> bool:
        """Whether states, length and success all came back."""
        same = self.recorded_success is None or self.success == self.recorded_success
        return self.parted is None and self.steps == self.recorded_steps and same

    def __str__(self) -> str:
        if self.faithful:
            return f"episode {self.index} (seed {self.seed}) comes back to within {self.deviation:.2g} stds"
        told = []
        if self.parted is not None:
            told.append(
                f"parts from the recording at state {self.parted} and gets {self.deviation:.2g} stds away"
            )
        if self.steps != self.recorded_steps:
            told.append(f"ends after {self.steps} of {self.recorded_steps} steps")
        if self.recorded_success is not None and self.success != self.recorded_success:
            words = {True: "succeeds", False: "fails", None: "says nothing of success"}
            told.append(f"{words[self.success]} where the recording {words[self.recorded_success]}")
        return f"episode {self.index} (seed {self.seed}) {', '.join(told)}"

    def summary(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "deviations": dict(self.deviations), "faithful": self.faithful}


def replay(
    data: Dataset, task: Task, episodes: Iterable[int], *, tolerance: float = _TOLERANCE
) -> list[Replayed]:
    """Executes the recorded actions of these episodes again, each from its own seed, without looking.

    What was executed is played, not what was labelled. States are compared where both have them; images and
    observations that the task does not give are left out.

    Args:
        task: the one that the episodes were recorded in.
        tolerance: stds of the dataset's values up to which a state counts as the recorded one.

    Raises:
        IndexError: when there is no such episode.
        ValueError: when an episode was recorded in another task or has no seed in its meta, its actions do
            not fit the task, there is nothing to compare, or the tolerance is not positive.
    """
    if not tolerance > 0:
        raise ValueError(f"tolerance is {tolerance}; it must be positive")
    listed = [int(i) for i in episodes]
    for i in listed:
        if not 0 <= i < len(data):
            raise IndexError(f"there is no episode {i}; there are {len(data)}")
        _check(i, data[i], task)
    if not listed:
        return []
    units = {k: _std(data, k) for k, shape in task.obs.items() if _compared(data, k, shape)}
    if not units:
        raise ValueError(f"nothing that was recorded can be compared with what task {task.name!r} shows")
    env = task.make()
    try:
        return [_one(i, data[i], _again(env, data[i]), units, tolerance) for i in listed]
    finally:
        env.close()


def _check(index: int, e: Episode, task: Task) -> None:
    name, seed = e.meta.get("task"), e.meta.get("seed")
    if name != task.name:
        said = "does not say what task it is of" if name is None else f"is of task {name!r}"
        raise ValueError(f"episode {index} {said}; it cannot be replayed in {task.name!r}")
    if not isinstance(seed, int) or seed < 0:
        raise ValueError(f"episode {index} has no seed in its meta, so its start cannot be made again")
    discrete, width = task.action.n is not None, task.action.width
    if e.action.shape[1] != width or (e.action.dtype == np.int64) is not discrete:
        takes = "choices" if discrete else f"floats of width {width}"
        raise ValueError(
            f"episode {index} has {e.action.dtype} actions of width {e.action.shape[1]}; "
            f"task {name!r} takes {takes}"
        )


def _compared(data: Dataset, key: str, shape: tuple[int, ...]) -> bool:
    return data.schema.get(key) == ("float32", tuple(shape)) and prod(shape) <= _WIDTH


def _std(data: Dataset, key: str) -> NDArray[np.float64]:
    """[D] of the dataset's values, 1 where they never change."""
    count, total, squares = 0, 0.0, 0.0
    first = None
    for rows in data.chunks(key):
        x = rows.reshape(len(rows), -1).astype(np.float64)
        first = x[0] if first is None else first
        x -= first
        count, total, squares = count + len(x), total + x.sum(0), squares + (x**2).sum(0)
    std = np.sqrt(np.maximum(squares / count - (total / count) ** 2, 0.0))
    return np.where(std > 0, std, 1.0)


def _again(env: Any, e: Episode) -> Episode:
    """The episode that its actions make of its seed."""
    return rollout(env, Replay([e]), int(e.meta["seed"]), max_steps=len(e))


def _one(
    index: int, e: Episode, again: Episode, units: Mapping[str, NDArray[np.float64]], tolerance: float
) -> Replayed:
    states = min(len(e), len(again)) + 1
    far = np.zeros(states)
    raw: dict[str, float] = {}
    for key, unit in units.items():
        gap = np.abs(again.obs[key][:states].astype(np.float64) - e.obs[key][:states]).reshape(states, -1)
        raw[key] = float(gap.max())
        far = np.maximum(far, (gap / unit).max(1))
    apart = np.flatnonzero(far > tolerance)
    return Replayed(
        index,
        int(e.meta["seed"]),
        len(again),
        len(e),
        float(far.max()),
        raw,
        int(apart[0]) if len(apart) else None,
        again.success,
        e.success,
        tolerance,
    )
