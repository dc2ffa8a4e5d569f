"""Pure functions on numbers: intervals, tests of a difference, bootstrap, measures of paths.

NumPy; SciPy is imported where a function first needs it.
"""

from __future__ import annotations

from understudy.numerics.estimate import Estimate
from understudy.numerics.means import bootstrap, iqm, paired_bootstrap
from understudy.numerics.paths import Tracking, path_length, tracking
from understudy.numerics.rates import (
    clopper_pearson,
    detectable_difference,
    episodes_for_half_width,
    episodes_to_tell_apart,
    jeffreys,
    mcnemar,
    tango,
    wilson,
)

__all__ = [
    "Estimate",
    "Tracking",
    "bootstrap",
    "clopper_pearson",
    "detectable_difference",
    "episodes_for_half_width",
    "episodes_to_tell_apart",
    "iqm",
    "jeffreys",
    "mcnemar",
    "paired_bootstrap",
    "path_length",
    "tango",
    "tracking",
    "wilson",
]
