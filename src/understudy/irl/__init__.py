"""Inverse RL in finite MDPs: rewards from demonstrations, and what they are worth. NumPy and SciPy only."""

from __future__ import annotations

from understudy.irl.apprenticeship import Apprentice, learn_apprentice
from understudy.irl.bayesian import (
    GaussianPrior,
    LaplacePrior,
    Posterior,
    Prior,
    UniformPrior,
    hmc_posterior,
    laplace_posterior,
)
from understudy.irl.epic import Coverage, TrivialReward, canonical, epic_distance
from understudy.irl.errors import WeightErrors, standard_errors
from understudy.irl.hmc import Chains
from understudy.irl.max_margin import MarginFit, fit_max_margin, off_actions, off_states
from understudy.irl.maxent import Fit, HeldOut, Progress, fit_maxent
from understudy.irl.measures import (
    Divergence,
    ValueDifference,
    expected_value_difference,
    feature_gap,
    held_out_likelihood,
    policy_divergence,
    value_difference,
)
from understudy.irl.paths import PathModel, path_model
from understudy.irl.preferences import Preference, Weights, feature_ranges
from understudy.irl.sampled_epic import Steps, sampled_epic_distance
from understudy.irl.starc import starc_distance
from understudy.irl.tradeoffs import Ratio, fieller, trade_off, trade_offs
from understudy.irl.trajectory_maxent import TrajectoryFit, fit_trajectory_maxent

__all__ = [
    "Apprentice",
    "Chains",
    "Coverage",
    "Divergence",
    "Fit",
    "GaussianPrior",
    "HeldOut",
    "LaplacePrior",
    "MarginFit",
    "PathModel",
    "Posterior",
    "Preference",
    "Prior",
    "Progress",
    "Ratio",
    "Steps",
    "TrajectoryFit",
    "TrivialReward",
    "UniformPrior",
    "ValueDifference",
    "WeightErrors",
    "Weights",
    "canonical",
    "epic_distance",
    "expected_value_difference",
    "feature_gap",
    "feature_ranges",
    "fieller",
    "fit_max_margin",
    "fit_maxent",
    "fit_trajectory_maxent",
    "held_out_likelihood",
    "hmc_posterior",
    "laplace_posterior",
    "learn_apprentice",
    "off_actions",
    "off_states",
    "path_model",
    "policy_divergence",
    "sampled_epic_distance",
    "standard_errors",
    "starc_distance",
    "trade_off",
    "trade_offs",
    "value_difference",
]
