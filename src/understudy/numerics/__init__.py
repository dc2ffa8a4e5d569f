"""Pure functions on numbers: intervals, tests of a difference, bootstrap, measures of paths and motion.

NumPy; SciPy is imported where a function first needs it.
"""

from __future__ import annotations

from understudy.numerics.estimate import Estimate
from understudy.numerics.information import auroc, ksg, robust_z
from understudy.numerics.means import bootstrap, iqm, paired_bootstrap
from understudy.numerics.motion import (
    dimensionless_jerk,
    log_dimensionless_jerk,
    longest_run,
    noise_level,
    path_ratio,
    runs,
    spectral_arc_length,
)
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
from understudy.numerics.unpaired import fisher, newcombe

__all__ = [
    "Estimate",
    "Tracking",
    "auroc",
    "bootstrap",
    "clopper_pearson",
    "detectable_difference",
    "dimensionless_jerk",
    "episodes_for_half_width",
    "episodes_to_tell_apart",
    "fisher",
    "iqm",
    "jeffreys",
    "ksg",
    "log_dimensionless_jerk",
    "longest_run",
    "mcnemar",
    "newcombe",
    "noise_level",
    "paired_bootstrap",
    "path_length",
    "path_ratio",
    "robust_z",
    "runs",
    "spectral_arc_length",
    "tango",
    "tracking",
    "wilson",
]
