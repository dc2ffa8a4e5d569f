"""What was measured on each episode, by the table of measures: values, and how far out each one stands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from understudy.quality import MEASURES, Inspection, Measure, Worst
from understudy.quality.outliers import FAR, outlying
from understudy.report.svg import number, percent

__all__ = ["LEVELS", "Gauge", "gauges", "standing_out"]

Floats = NDArray[np.float64]
LEVELS = (FAR, 8.0, 14.0)  # robust stds out: what stands out at all, and how far


@dataclass(frozen=True, eq=False)
class Gauge:
    """One measure over all episodes: values [E], nan where an episode lacks it.

    `level` [E] is how far out each stands on the bad side, 0 to 3; 0 everywhere where neither side is bad.
    """

    name: str
    measure: Measure
    values: Floats
    level: NDArray[np.int64]

    @property
    def share(self) -> bool:
        """Whether it is a share in [0, 1]."""
        return self.measure.unit.startswith("share")

    def says(self, value: float) -> str:
        """A value as text, without its unit."""
        return percent(value) if self.share else number(value)

    @property
    def bad(self) -> str:
        """Which side is bad, in words; "" where neither is."""
        return {"high": "high is bad", "low": "low is bad", None: ""}[self.measure.worse]

    @property
    def alike(self) -> bool:
        """Whether all episodes have the same value."""
        kept = self.values[np.isfinite(self.values)]
        return bool(len(kept) == 0 or np.ptp(kept) <= 1e-9 * max(1.0, float(np.abs(kept).max())))

    @property
    def common(self) -> float:
        """The median of the episodes that have it; nan where none does."""
        kept = self.values[np.isfinite(self.values)]
        return float(np.median(kept)) if len(kept) else math.nan


def gauges(found: Inspection) -> tuple[Gauge, ...]:
    """In the order of the table; a measure that it does not know comes last, as a number without a side."""
    names = dict.fromkeys(name for e in found.episodes for name in e.measures)
    ordered = [n for n in MEASURES if n in names] + [n for n in names if n not in MEASURES]
    values = {n: np.array([e.measures.get(n, np.nan) for e in found.episodes], np.float64) for n in ordered}
    done = [i for i, e in enumerate(found.episodes) if e.success]
    far = outlying({n: v for n, v in values.items() if n in MEASURES}, done)
    none = np.zeros(len(found.episodes))
    return tuple(
        Gauge(
            n,
            MEASURES.get(n) or Measure(n.replace("_", " "), "", None, ""),
            v,
            np.digitize(far.get(n, none), LEVELS),
        )
        for n, v in values.items()
    )


def standing_out(found: Inspection, measured: Sequence[Gauge]) -> list[Worst]:
    """The worst episodes that one should look at: failed, named by a warning, or out in a measure."""
    named = {i for f in found.findings if f.severity != "info" for i in f.episodes}
    named |= {e.index for e in found.episodes if e.success is False}
    named |= {int(i) for g in measured for i in np.flatnonzero(g.level)}
    return [w for w in found.worst if w.index in named]
