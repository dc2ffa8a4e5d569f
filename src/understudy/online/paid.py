"""Demonstrations as experience: what was done, and what the task paid for it."""

from __future__ import annotations

import numpy as np

from understudy.agent import Agent
from understudy.dataset import Dataset
from understudy.learn.replay import Transitions
from understudy.online.base import Setting
from understudy.online.start import transitions

__all__ = ["own_reward", "paid_demonstrations"]


def own_reward(setting: Setting, method: str) -> None:
    """Refuses a given reward: what the demonstrations were paid, or the hand-over, is in the task's own.

    Raises:
        ValueError: when there is one.
    """
    if setting.given is not None:
        raise ValueError(f"{method} practises for the task's own reward; leave --reward out")


def paid_demonstrations(agent: Agent, data: Dataset, first: Dataset) -> Transitions:
    """Every step of the demonstrations as the agent sees it, with the task's rewards and ends.

    Args:
        data: the demonstrations.
        first: uniformly random steps in the same task.

    Raises:
        ValueError: when no demonstration was ever paid anything, though the task pays for random steps: the
            rewards were not recorded, and learned from they would be a false experience.
    """
    rows = transitions(agent, data)
    paid = any(np.asarray(episode.reward).any() for episode in first)
    if paid and not bool(rows.reward.any()):
        raise ValueError(
            "the demonstrations' rewards are all 0, but the task's are not; record them with their rewards"
        )
    return rows
