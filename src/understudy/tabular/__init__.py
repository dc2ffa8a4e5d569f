"""Finite MDPs: what exact inverse RL plans in, without torch."""

from understudy.tabular.mdp import TabularMDP, arrivals
from understudy.tabular.planning import (
    Plan,
    expected_return,
    hard_plan,
    log_policy,
    occupancy,
    policy_value,
    soft_plan,
)
from understudy.tabular.trajectories import Demonstrations, Trajectories, expected_successors, sample

__all__ = [
    "Demonstrations",
    "Plan",
    "TabularMDP",
    "Trajectories",
    "arrivals",
    "expected_return",
    "expected_successors",
    "hard_plan",
    "log_policy",
    "occupancy",
    "policy_value",
    "sample",
    "soft_plan",
]
