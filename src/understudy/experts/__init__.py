"""Scripted controllers, and the ways an expert can speak. NumPy only."""

from understudy.experts.advice import ENDORSE, SILENT, Endorse, NoisyExecution, PolicyExpert, Silent

__all__ = ["ENDORSE", "SILENT", "Endorse", "NoisyExecution", "PolicyExpert", "Silent"]
