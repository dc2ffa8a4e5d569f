"""An episode while it is driven.

Shapes: T steps, so T + 1 states; A action width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, final

import numpy as np

from understudy.episode import Array, Episode, Meta, Obs

__all__ = ["Tape", "Turn"]


class Turn(NamedTuple):
    """What is done in one step: the action [A], what the operator says [A], and who holds the controls."""

    action: Array
    label: Array | None
    control: int | None


@final
class Tape:
    """Steps as they come; `episode` makes of them what is kept.

    Args:
        obs: the first observation. time: when it was measured, in seconds.
    """

    def __init__(self, obs: Obs, time: float) -> None:
        self._obs = [_copied(obs)]
        self._turns: list[Turn] = []
        self._reward: list[float] = []
        self._time = [time]

    def __len__(self) -> int:
        return len(self._turns)

    @property
    def seconds(self) -> float:
        """From the first observation to the last."""
        return self._time[-1] - self._time[0]

    @property
    def labelled(self) -> int:
        """Steps that have a label."""
        return sum(t.label is not None for t in self._turns)

    @property
    def executed(self) -> Array | None:
        """[A], the last action; None before the first."""
        return self._turns[-1].action if self._turns else None

    def begin(self, time: float) -> None:
        """The first observation is still true at `time`: nothing has moved."""
        if not self._turns:
            self._time[0] = time

    def add(self, turn: Turn, obs: Obs, reward: float, time: float) -> None:
        """A step, and the observation after it, measured at `time`."""
        self._turns.append(turn)
        self._obs.append(_copied(obs))
        self._reward.append(reward)
        self._time.append(max(time, self._time[-1]))

    def episode(self, *, terminated: bool, success: bool | None, meta: Meta) -> Episode:
        """What is kept. Where nobody spoke, the executed action stands in the label's place, unlabelled."""
        action = np.stack([t.action for t in self._turns])
        said = [t.action if t.label is None else t.label for t in self._turns]
        control = [t.control for t in self._turns]
        label = np.stack(said)
        noted = [c for c in control if c is not None]
        return Episode(
            {k: np.stack([o[k] for o in self._obs]) for k in self._obs[0]},
            action,
            action if np.array_equal(action, label) else label,
            np.array([t.label is not None for t in self._turns]),
            np.array(self._reward, np.float64),
            terminated,
            success,
            meta,
            np.array(self._time, np.float64),
            np.array(noted, np.uint8) if len(noted) == len(control) else None,
        )


def _copied(obs: Mapping[str, Any]) -> dict[str, Array]:
    return {k: np.array(v) for k, v in obs.items()}
