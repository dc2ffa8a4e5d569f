"""Scripted controllers, and the ways an expert can speak. NumPy only."""

from understudy.experts.advice import ENDORSE, SILENT, Endorse, NoisyExecution, PolicyExpert, Silent
from understudy.experts.gates import Always, Gate, Gated, Never

__all__ = [
    "ENDORSE",
    "SILENT",
    "Always",
    "Endorse",
    "Gate",
    "Gated",
    "Never",
    "NoisyExecution",
    "PolicyExpert",
    "Silent",
]
