"""What is in these demonstrations, and what is wrong with them? NumPy and SciPy only.

`inspect` measures every dimension and every episode, and turns what it measured into findings. A measure is a
named number of an episode (`MEASURES` says what each one is); a finding says how bad something is, the
evidence, and what to do. `rank` orders demonstrations by what they teach, `distance` says how far others are
from them, and `inject` puts faults into them, to see what is seen.
"""

from __future__ import annotations

from understudy.quality.faults import FAULTS, inject
from understudy.quality.inspection import inspect
from understudy.quality.neighbours import distance
from understudy.quality.ranking import rank
from understudy.quality.table import MEASURES, Measure
from understudy.quality.types import Column, EpisodeQuality, Finding, Inspection, Worst

__all__ = [
    "FAULTS",
    "MEASURES",
    "Column",
    "EpisodeQuality",
    "Finding",
    "Inspection",
    "Measure",
    "Worst",
    "distance",
    "inject",
    "inspect",
    "rank",
]
