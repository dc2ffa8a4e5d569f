"""Learning with an expert at hand: DAgger and its human-gated family, one file a method."""

from understudy.interactive.base import Interactive, State
from understudy.interactive.rounds import Rounds, Taught, teach

__all__ = ["Interactive", "Rounds", "State", "Taught", "teach"]
