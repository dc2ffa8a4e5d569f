"""What it cost to stand by: labelled states, interventions, context switches, effort. NumPy only.

Shapes: T steps of an episode.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from understudy.episode import POLICY, RECOVERY, Episode
from understudy.numerics import Estimate, runs, wilson

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Supervision", "supervision_table"]


@dataclass(frozen=True)
class Supervision:
    """How episodes were supervised; `Supervision.of(episodes)` counts, and what was counted can be added up.

    The expert holds the controls where `Episode.control` is EXPERT or RECOVERY. Episodes in which nobody
    noted who did count for steps, labels and success, and for nothing else: they are not taken for ones
    without an intervention.

    Args:
        episodes, steps: how many there are.
        labelled: states that the expert labelled, which is the cost that counts (Li & Zhang 2024). Where a
            method kept another number of labels than he gave, meta["asked"] says how many he gave.
        noted_episodes, noted_steps: how many of them say who held the controls.
        held: steps in which the expert did.
        recovery: steps of these in which he was on the way back (RaC, Hu et al. 2025).
        interventions: unbroken stretches of expert control, each from a take-over, or from the start, to a
            hand-over or the end.
        context_switches: steps at which control passed from one to the other, in either direction; starting
            and ending are none, nor is going from recovery to correction, both of which are the expert's.
        successes, failures: episodes that say how they ended.
        latency: L, what one context switch costs the expert, in steps.

    Raises:
        ValueError: when a count is negative, or the latency is negative or not finite.

    >>> e = Episode.demonstration(np.zeros((6, 1)), np.zeros(5))
    >>> from dataclasses import replace
    >>> s = Supervision.of([replace(e, control=[0, 1, 1, 0, 1])], latency=10)
    >>> s.interventions, s.context_switches, s.mean_length, s.effort
    (2, 3, 1.5, 33.0)
    """

    episodes: int
    steps: int
    labelled: int
    noted_episodes: int
    noted_steps: int
    held: int
    recovery: int
    interventions: int
    context_switches: int
    successes: int
    failures: int
    latency: float = 0.0

    def __post_init__(self) -> None:
        for f in fields(self):
            if not (isfinite(value := getattr(self, f.name)) and value >= 0):
                raise ValueError(f"{f.name} is {value}; it must be finite and not negative")

    @classmethod
    def of(cls, episodes: Iterable[Episode], latency: float = 0.0) -> Supervision:
        """Counts over episodes, each on its own: nothing is switched between two of them."""
        total = cls(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, float(latency))
        for e in episodes:
            total += _counted(e, float(latency))
        return total

    def __add__(self, more: Supervision) -> Supervision:
        """Both together, such as two rounds.

        Raises:
            ValueError: when they count a switch differently.
        """
        if not isinstance(more, Supervision):
            return NotImplemented
        if self.latency != more.latency:
            raise ValueError(f"latencies are {self.latency} and {more.latency}; efforts add up for one only")
        counts = [f.name for f in fields(self) if f.name != "latency"]
        return replace(self, **{n: getattr(self, n) + getattr(more, n) for n in counts})

    @property
    def share(self) -> float | None:
        """The share of supervised states: steps held of those noted; None where nobody noted any."""
        return self.held / self.noted_steps if self.noted_steps else None

    @property
    def mean_length(self) -> float | None:
        """Steps of an intervention; None without one."""
        return self.held / self.interventions if self.interventions else None

    @property
    def effort(self) -> float:
        """Supervisor effort, in steps: I + L·C, with I the steps held, C the context switches and L what one
        costs, after the burden of LazyDAgger (Hoque et al. 2021), summed here over all episodes. What is
        labelled without driving is not in it, but in `labelled`."""
        return self.held + self.latency * self.context_switches

    @property
    def success(self) -> Estimate | None:
        """The rate of success while supervised, of the episodes that say (Wilson); None where none does."""
        known = self.successes + self.failures
        return wilson(self.successes, known) if known else None

    @property
    def failures_per_100(self) -> Estimate | None:
        """Failures in a hundred episodes, of those that say (Wilson); None where none does."""
        known = self.successes + self.failures
        if not known:
            return None
        rate = wilson(self.failures, known)
        return Estimate(100 * rate.value, 100 * rate.low, 100 * rate.high, rate.n, rate.method)

    def summary(self) -> dict[str, Any]:
        """All counts and what follows from them, ready for JSON."""
        counts = {f.name: getattr(self, f.name) for f in fields(self)}
        derived = {"share": self.share, "mean_length": self.mean_length, "effort": self.effort}
        estimates = {"success": self.success, "failures_per_100": self.failures_per_100}
        return counts | derived | {k: None if e is None else e.summary() for k, e in estimates.items()}

    def __str__(self) -> str:
        """Who drove, in one line."""
        if not self.noted_steps:
            return "nobody noted who held the controls"
        parts = {"policy": self.noted_steps - self.held, "expert": self.held - self.recovery}
        parts |= {"recovery": self.recovery}
        said = ", ".join(f"{who} {n / self.noted_steps:.1%}" for who, n in parts.items())
        some = f" ({self.noted_episodes} of {self.episodes} episodes say)" * (
            self.noted_episodes < self.episodes
        )
        often = f"interventions: {self.interventions / self.noted_episodes:.3g} an episode"
        length = "" if self.mean_length is None else f", {self.mean_length:.3g} steps long"
        return f"{said} of the steps{some}; {often}{length}"


def _counted(e: Episode, latency: float) -> Supervision:
    """One episode."""
    asked = e.meta.get("asked")
    labelled = int(e.labelled.sum())
    labelled = asked if isinstance(asked, int) and asked >= 0 else labelled
    held = np.zeros(0, np.bool_) if e.control is None else e.control != POLICY
    return Supervision(
        1,
        len(e),
        labelled,
        int(e.control is not None),
        len(held),
        int(held.sum()),
        0 if e.control is None else int((e.control == RECOVERY).sum()),
        len(runs(held)),
        int(np.count_nonzero(held[1:] != held[:-1])),
        int(e.success is True),
        int(e.success is False),
        latency,
    )


def supervision_table(rows: Mapping[str, Supervision]) -> Table:
    """A row each, such as one a round, for `rich`; it fits a terminal of 80 columns."""
    from rich.table import Table
    from rich.text import Text

    back = any(s.recovery for s in rows.values())
    names = ["", "states\nlabelled", "inter-\nventions", "mean\nlength", "context\nswitches", "held"]
    names += ["re-\ncovery"] * back + ["effort", "failures\nin 100"]
    made = Table(box=None, padding=(0, 1 if back else 2, 0, 0), pad_edge=False)
    for name in names:
        made.add_column(Text(name), justify="right" if name else "left", no_wrap=bool(name))
    for name, s in rows.items():
        own: list[object] = [s.interventions, _or_dash(s.mean_length, ".1f"), s.context_switches]
        own += [_or_dash(s.share, ".1%"), *[s.recovery] * back, f"{s.effort:g}"]
        own = own if s.noted_steps else ["–"] * len(own)  # nobody knows
        failed = s.failures_per_100
        ends = "–" if failed is None else f"{failed.value:.0f} [{failed.low:.0f}, {failed.high:.0f}]"
        made.add_row(*(Text(str(c)) for c in (name, s.labelled, *own, ends)))
    return made


def _or_dash(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
