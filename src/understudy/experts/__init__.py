"""Scripted controllers, experts from elsewhere, and the ways an expert can speak. No torch on import."""

from understudy.experts.advice import ENDORSE, SILENT, Endorse, NoisyExecution, PolicyExpert, Silent
from understudy.experts.anywhere import as_expert, as_policy
from understudy.experts.gates import Always, Gate, Gated, Never
from understudy.experts.mpc import CEM, MPC, MPPI
from understudy.experts.queue import QuestionQueue, QueueExpert, Timeout
from understudy.experts.sb3 import ObsNorm, load_sb3
from understudy.experts.trained import TrainedExpert
from understudy.experts.watch import Watchful

__all__ = [
    "CEM",
    "ENDORSE",
    "MPC",
    "MPPI",
    "SILENT",
    "Always",
    "Endorse",
    "Gate",
    "Gated",
    "Never",
    "NoisyExecution",
    "ObsNorm",
    "PolicyExpert",
    "QuestionQueue",
    "QueueExpert",
    "Silent",
    "Timeout",
    "TrainedExpert",
    "Watchful",
    "as_expert",
    "as_policy",
    "load_sb3",
]
