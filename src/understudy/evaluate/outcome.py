"""How one episode went, and many of them as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from understudy.evaluate import reading
from understudy.numerics import Tracking

__all__ = ["Outcome", "from_columns", "to_columns"]

_LARGEST = 1e100  # sums and squares of such numbers are still finite


@dataclass(frozen=True)
class Outcome:
    """How one episode went.

    Args:
        seed: of the episode.
        success: whether the task was done; None where nobody can say.
        total_reward: the undiscounted return.
        steps: T >= 1.
        terminated: whether the task ended the episode, rather than a time limit.
        start: one number that tells first observations apart, so that a pair on the same seed can be checked
            to have begun alike.
        tracking: against a reference on the same seed, in the report's unit; None without one.
        goal_distance: from the last state to the goal, in the report's unit; None where there is no goal.

    Raises:
        ValueError: when a number is out of range or is none.
    """

    seed: int
    success: bool | None
    total_reward: float
    steps: int
    terminated: bool
    start: float
    tracking: Tracking | None = None
    goal_distance: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed is {self.seed}; it must lie in [0, 2^63)")
        if self.steps < 1:
            raise ValueError(f"seed {self.seed}: steps is {self.steps}; an episode has at least one")
        off = self.tracking.max_deviation if self.tracking else None
        for name in ("total_reward", "start", "goal_distance", "max_deviation"):
            value = off if name == "max_deviation" else getattr(self, name)
            if value is not None and not abs(value) <= _LARGEST:  # nor NaN
                raise ValueError(f"seed {self.seed}: {name} is {value}; it must lie within ±{_LARGEST:g}")
        if self.goal_distance is not None and self.goal_distance < 0:
            raise ValueError(
                f"seed {self.seed}: goal_distance is {self.goal_distance}; it cannot be negative"
            )


def to_columns(outcomes: Sequence[Outcome]) -> dict[str, list[Any]]:
    """Name -> one entry an episode, ready for JSON."""
    plain = ("seed", "success", "total_reward", "steps", "terminated", "start", "goal_distance")
    columns = {name: [getattr(o, name) for o in outcomes] for name in plain}
    for name in ("rmse", "max_deviation", "common"):
        columns[name] = [None if o.tracking is None else getattr(o.tracking, name) for o in outcomes]
    return columns


def from_columns(columns: reading.Taker) -> tuple[Outcome, ...]:
    """What `to_columns` was given; ValueError in one line for anything else."""
    kinds: dict[str, Any] = {
        "seed": reading.integer,
        "success": reading.optional(reading.boolean),
        "total_reward": reading.real,
        "steps": reading.integer,
        "terminated": reading.boolean,
        "start": reading.real,
        "goal_distance": reading.optional(reading.real),
    }
    kinds |= dict.fromkeys(("rmse", "max_deviation", "common"), reading.optional(reading.real))
    lists = {name: columns(name, reading.listed(kind)) for name, kind in kinds.items()}
    columns.finish()
    if len({len(column) for column in lists.values()}) != 1:
        raise ValueError("the columns of outcomes differ in length; each has one entry an episode")
    made = []
    for values in zip(*lists.values(), strict=True):
        row = dict(zip(lists, values, strict=True))
        off = [row.pop(name) for name in ("rmse", "max_deviation", "common")]
        if (missing := off.count(None)) not in (0, 3):
            raise ValueError(
                f"seed {row['seed']} has {missing} of 3 tracking entries missing; all or none are"
            )
        made.append(Outcome(**row, tracking=None if missing else Tracking(*off)))
    return tuple(made)
