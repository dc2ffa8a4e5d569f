"""Learning by acting: a maximum-entropy learner in an environment, and rewards from demonstrations."""

from understudy.online.practice import Finished, Practice, Reward, shortfall
from understudy.online.start import Flat, actor, transitions, uniform

__all__ = ["Finished", "Flat", "Practice", "Reward", "actor", "shortfall", "transitions", "uniform"]
