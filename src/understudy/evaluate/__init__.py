"""How good is a policy? Episodes on fixed fresh seeds, numbers with intervals, comparisons seed by seed."""

from __future__ import annotations

from understudy.evaluate.compare import Difference, compare
from understudy.evaluate.measure import FIRST_SEED, VALIDATION_SEED, evaluate, fresh_seeds
from understudy.evaluate.outcome import Outcome
from understudy.evaluate.report import Report
from understudy.numerics import Estimate, Tracking

__all__ = [
    "FIRST_SEED",
    "VALIDATION_SEED",
    "Difference",
    "Estimate",
    "Outcome",
    "Report",
    "Tracking",
    "compare",
    "evaluate",
    "fresh_seeds",
]
