"""What was measured: the outcome of every episode, and the estimates that follow from them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite
from typing import TYPE_CHECKING, Any

from understudy.episode import Episode
from understudy.evaluate import reading
from understudy.evaluate.outcome import Outcome, from_columns, to_columns
from understudy.numerics import Estimate, bootstrap, wilson
from understudy.provenance import Provenance

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Report"]

FORMAT, VERSION = "understudy-report", 1


@dataclass(frozen=True)
class Report:
    """What a policy did on a list of seeds, episode by episode; every estimate is computed from that.

    Equality is of what was measured: `episodes` does not take part.

    Args:
        policy, task: names; an environment without a name has task "".
        outcomes: one an episode, in the order of the seeds.
        unit: of tracking and goal distance; "" without a view.
        seconds: wall time of all episodes together.
        cpu_seconds: processor time; None where other processes did the work.
        provenance: see `understudy.provenance.provenance`.
        episodes: what happened, step by step; not written by `to_json`.

    Raises:
        ValueError: when there is no outcome, a seed appears twice, a name cannot be printed on one line, a
            time is negative or not finite, or the provenance holds what JSON cannot.
    """

    policy: str
    task: str
    outcomes: tuple[Outcome, ...]
    unit: str
    seconds: float
    cpu_seconds: float | None
    provenance: Provenance
    episodes: tuple[Episode, ...] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("policy", "task", "unit"):
            reading.string(name, getattr(self, name))
        own = reading.facts("provenance", self.provenance)  # a copy, so that nobody else can change it
        object.__setattr__(self, "provenance", own)
        if not self.outcomes:
            raise ValueError("there are no outcomes; a report needs at least one episode")
        if repeated := _repeated(self.seeds):
            raise ValueError(f"seed {repeated[0]} appears twice; an episode counted twice is no evidence")
        for name, value in (("seconds", self.seconds), ("cpu_seconds", self.cpu_seconds)):
            if value is not None and not (isfinite(value) and value >= 0):
                raise ValueError(f"{name} is {value}; it must be finite and not negative")
        if self.episodes is not None and len(self.episodes) != len(self.outcomes):
            raise ValueError(f"{len(self.episodes)} episodes and {len(self.outcomes)} outcomes must match")

    @property
    def seeds(self) -> tuple[int, ...]:
        """[E], one an episode."""
        return tuple(o.seed for o in self.outcomes)

    @property
    def returns(self) -> tuple[float, ...]:
        """[E], the undiscounted returns."""
        return tuple(o.total_reward for o in self.outcomes)

    @cached_property
    def success_rate(self) -> Estimate | None:
        """With Wilson's interval; over the episodes that say whether they succeeded, None where none does."""
        said = [o.success for o in self.outcomes if o.success is not None]
        return wilson(sum(said), len(said)) if said else None

    @cached_property
    def mean_return(self) -> Estimate:
        """With its bootstrap interval."""
        return bootstrap(self.returns)

    @cached_property
    def mean_steps(self) -> Estimate:
        """The length of an episode, with its bootstrap interval."""
        return bootstrap([o.steps for o in self.outcomes])

    @cached_property
    def tracking_rmse(self) -> Estimate | None:
        """Of the episodes with a reference: the mean of their root mean squared distances; None without."""
        return _mean(o.tracking.rmse for o in self.outcomes if o.tracking)

    @cached_property
    def max_deviation(self) -> Estimate | None:
        """Of the episodes with a reference: the mean of their largest distances; None without."""
        return _mean(o.tracking.max_deviation for o in self.outcomes if o.tracking)

    @cached_property
    def goal_distance(self) -> Estimate | None:
        """The mean distance from the last state to the goal; None where there is no goal."""
        return _mean(o.goal_distance for o in self.outcomes if o.goal_distance is not None)

    def summary(self) -> dict[str, Any]:
        """The estimates, ready for JSON: {"value", "low", "high", "n", "method"} each, or None."""
        names = (
            "success_rate",
            "mean_return",
            "mean_steps",
            "tracking_rmse",
            "max_deviation",
            "goal_distance",
        )
        estimates = {n: None if (e := getattr(self, n)) is None else e.summary() for n in names}
        about = {"policy": self.policy, "task": self.task, "episodes": len(self.outcomes), "unit": self.unit}
        return about | estimates | {"seconds": self.seconds, "cpu_seconds": self.cpu_seconds}

    def __str__(self) -> str:
        """One or two lines."""
        where = f" on {self.task}" if self.task else ""
        e, rate = len(self.outcomes), self.success_rate
        if rate is None:
            said = f"{e} episodes, none says whether it succeeded"
        else:
            said = f"success {rate} ({round(rate.value * rate.n)} of {rate.n} episodes, {rate.method})"
            said += f"; {e - rate.n} more do not say" if rate.n < e else ""
        lines = [f"{self.policy}{where}: {said}; return {self.mean_return}"]
        far = []
        if self.tracking_rmse is not None:
            off = f"{self.tracking_rmse} {self.unit}".rstrip()
            far.append(f"tracking error {off} RMS against {self.tracking_rmse.n} references")
        if self.goal_distance is not None:
            far.append(f"final distance to the goal {self.goal_distance} {self.unit}".rstrip())
        return "\n  ".join([*lines, *(["; ".join(far)] if far else [])])

    def table(self) -> Table:
        """One row an episode, for `rich`."""
        from rich.table import Table
        from rich.text import Text

        near = any(o.goal_distance is not None for o in self.outcomes)
        tracked = any(o.tracking for o in self.outcomes)
        made = Table(title=Text(f"{self.policy}{' on ' + self.task if self.task else ''}"))
        made.caption = Text(f"distances in {self.unit}") if self.unit and (near or tracked) else None
        names = ["seed", "success", "return", "steps", "ended by"]
        names += ["RMSE", "max dev."] if tracked else []
        names += ["to goal"] if near else []
        for name in names:
            made.add_column(Text(name), justify="left" if name == "ended by" else "right")
        for o in self.outcomes:
            row = [str(o.seed), {None: "-", True: "yes", False: "no"}[o.success], f"{o.total_reward:.4g}"]
            row += [str(o.steps), "task" if o.terminated else "time limit"]
            if tracked:
                off = o.tracking
                row += [f"{off.rmse:.4g}", f"{off.max_deviation:.4g}"] if off else ["-", "-"]
            if near:
                row.append("-" if o.goal_distance is None else f"{o.goal_distance:.4g}")
            made.add_row(*row)
        return made

    def to_json(self) -> str:
        """Everything but the episodes; `from_json` gives the same report to the last bit.

        "summary" is there for who reads the file: `from_json` computes it anew from the outcomes.
        """
        body = {
            "format": FORMAT,
            "version": VERSION,
            "policy": self.policy,
            "task": self.task,
            "unit": self.unit,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "provenance": self.provenance,
            "summary": self.summary(),
            "outcomes": to_columns(self.outcomes),
        }
        lines = (f"{json.dumps(k)}: {json.dumps(v, allow_nan=False)}" for k, v in body.items())
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @classmethod
    def from_json(cls, text: str) -> Report:
        """The report that `to_json` wrote.

        Raises:
            ValueError: in one line, when the text is anything else, however hostile.
        """
        body = reading.parse(text)
        reading.expect(body, "format", FORMAT)
        reading.expect(body, "version", VERSION)
        body.pop("summary", None)
        take = reading.Taker("the report", body)
        columns = reading.Taker("outcomes", take("outcomes", reading.mapping))
        made = cls(
            policy=take("policy", reading.string),
            task=take("task", reading.string),
            outcomes=from_columns(columns),
            unit=take("unit", reading.string),
            seconds=take("seconds", reading.real),
            cpu_seconds=take("cpu_seconds", reading.optional(reading.real)),
            provenance=take("provenance", reading.facts),
        )
        take.finish()
        return made


def _mean(values: Iterable[float]) -> Estimate | None:
    listed = list(values)
    return bootstrap(listed) if listed else None


def _repeated(seeds: Iterable[int]) -> list[int]:
    seen: set[int] = set()
    return [s for s in seeds if s in seen or seen.add(s)]  # type: ignore[func-returns-value]
