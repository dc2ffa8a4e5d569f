"""What a learner has lived through: transitions in a ring, drawn at random.

Shapes: B batch, N rows, O width of the flat normalised observation, A of the action.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

__all__ = ["Replay", "Transitions"]

_LARGEST = 64 << 30  # bytes


class Transitions(NamedTuple):
    """Steps of control, each float32, observations and actions in the agent's normalised units.

    `terminated` is 1 where the task itself ended the episode, so that nothing follows. An episode that ran
    out of time has 0 there: its last state has a future, which the learner estimates.
    """

    obs: Tensor  # [B, O]
    action: Tensor  # [B, A]
    reward: Tensor  # [B]
    next_obs: Tensor  # [B, O]
    terminated: Tensor  # [B]


class Replay:
    """A ring of the newest `capacity` transitions (Lin 1992); a row is drawn uniformly, with replacement.

    A transition is one row of one matrix, so a batch is one gather. Memory is claimed from the system as rows
    arrive.

    Args:
        capacity: the most transitions that are kept.
        obs: O.
        action: A.

    Raises:
        ValueError: when one of them is not positive, or the ring would be larger than 64 GiB.
    """

    def __init__(self, capacity: int, obs: int, action: int) -> None:
        if min(capacity, obs, action) < 1:
            raise ValueError(f"capacity {capacity}, obs {obs} and action {action} must each be at least 1")
        self.capacity, self.obs, self.action = capacity, obs, action
        width = 2 * obs + action + 2
        if 4 * capacity * width > _LARGEST:
            raise ValueError(f"{capacity} transitions of {width} numbers are more than 64 GiB; keep fewer")
        self._rows = torch.empty(capacity, width)
        self._array = self._rows.numpy()
        self._columns = (obs, action, 1, obs, 1)
        self._ends = tuple(int(e) for e in np.cumsum((0, *self._columns)))
        self._at = self._filled = 0

    def __len__(self) -> int:
        return self._filled

    def add(
        self,
        obs: ArrayLike | Tensor,
        action: ArrayLike | Tensor,
        reward: ArrayLike | Tensor,
        next_obs: ArrayLike | Tensor,
        terminated: ArrayLike | Tensor,
    ) -> None:
        """One transition ([O], [A], a number, [O], a number), or rows of them with [N, ...] each.

        More rows than the ring holds leave the last of them. `add(*transitions)` takes `Transitions`.

        Raises:
            ValueError: when a shape does not fit.
        """
        parts = [np.asarray(x, np.float32) for x in (obs, action, reward, next_obs, terminated)]
        rows = parts[2].shape[:1]
        for i, (x, width) in enumerate(zip(parts, self._columns, strict=True)):
            if x.shape[: len(rows)] != rows or x.size != width * (rows[0] if rows else 1):
                raise ValueError(f"a part of the transition has shape {list(x.shape)}, not {[*rows, width]}")
            parts[i] = x.reshape(*rows, width)
        n = rows[0] if rows else 1
        where: Any = self._at
        if rows:
            where = (self._at + np.arange(max(0, n - self.capacity), n)) % self.capacity
            parts = [x[-self.capacity :] for x in parts]
        for x, first, end in zip(parts, self._ends, self._ends[1:], strict=False):
            self._array[where, first:end] = x
        self._at = (self._at + n) % self.capacity
        self._filled = min(self._filled + n, self.capacity)

    def sample(self, n: int, generator: torch.Generator) -> Transitions:
        """n rows drawn from `generator`, in memory of their own.

        Raises:
            ValueError: when there is nothing to draw from.
        """
        if not self._filled:
            raise ValueError("there is nothing to draw from yet; add transitions first")
        return self._split(self._rows.index_select(0, torch.randint(self._filled, (n,), generator=generator)))

    def take(self, index: Tensor) -> Transitions:
        """The rows with these numbers [B] in the order of their arrival: 0 the oldest, -1 the newest.

        Raises:
            IndexError: when there is no such row.
        """
        n = self._filled
        if len(index) and not -n <= int(index.min()) <= int(index.max()) < n:
            raise IndexError(f"rows {int(index.min())} to {int(index.max())} are asked of {n}")
        first = self._at if self._filled == self.capacity else 0
        return self._split(self._rows.index_select(0, (first + index % n) % self.capacity))

    def _split(self, rows: Tensor) -> Transitions:
        ends = zip(self._ends, self._ends[1:], strict=False)
        obs, action, reward, next_obs, terminated = (rows[:, first:end] for first, end in ends)
        return Transitions(obs, action, reward[:, 0], next_obs, terminated[:, 0])

    def state_dict(self) -> dict[str, Any]:
        """All rows, and where the next one goes: a tree for `serial.write_tree`."""
        sizes = {"capacity": self.capacity, "obs": self.obs, "action": self.action}
        return {**sizes, "at": self._at, "rows": self._rows[: self._filled].clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over the rows of an equal ring, in their places.

        Raises:
            ValueError: when the state belongs to a ring of another size, or is not one.
        """
        mine = {"capacity": self.capacity, "obs": self.obs, "action": self.action}
        if state.keys() != {*mine, "at", "rows"}:
            raise ValueError(f"a replay's state has {sorted([*mine, 'at', 'rows'])}, not {sorted(state)}")
        for name, value in mine.items():
            if state[name] != value:
                raise ValueError(f"the state was saved with {name} {state[name]}, this replay has {value}")
        rows, at = state["rows"], state["at"]
        if not isinstance(rows, Tensor) or rows.ndim != 2 or rows.shape[1] != self._rows.shape[1]:
            raise ValueError(f"rows must be a tensor [N, {self._rows.shape[1]}]")
        n = len(rows)
        if n > self.capacity or type(at) is not int or at != (n if n < self.capacity else at) % self.capacity:
            raise ValueError(f"{n} rows and position {at!r} are not those of a ring of {self.capacity}")
        self._rows[:n] = rows
        self._at, self._filled = at, n
