"""A learner whose agent is a moving average: a policy that practises changes from update to update.

The last weights of a learning policy are one draw of many; their average over the last updates is steadier
(Polyak and Juditsky 1992), and what is learned, and how, is the same to the bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, final

import torch

from understudy.agent import Agent
from understudy.agent.agent import check_state
from understudy.learn import Learner

__all__ = ["Averaged"]


@final
class Averaged:
    """Steps as the learner does; its agent has weights that follow the learner's after each step.

    Args:
        learner: what is followed. It acts and learns with weights of its own.
        memory: in (0, 1): the share of the average that stays in a step. Young averages forget faster.

    Raises:
        ValueError: when the memory is out of its range.
    """

    def __init__(self, learner: Learner, memory: float) -> None:
        if not 0 < memory < 1:
            raise ValueError(f"ema is {memory}; it must be in (0, 1)")
        self.learner, self.memory, self._followed = learner, memory, 0
        self._agent = deepcopy(learner.agent)

    @property
    def agent(self) -> Agent:
        """The average: the agent to evaluate and to save."""
        return self._agent

    def step(self) -> Mapping[str, float]:
        """The learner's step, and what it told."""
        told = self.learner.step()
        self._followed += 1
        share = 1 - min(self.memory, self._followed / (self._followed + 9))
        with torch.no_grad():
            for mine, its in zip(self._agent.parameters(), self.learner.agent.parameters(), strict=True):
                mine.lerp_(its, share)
        return told

    def state_dict(self) -> dict[str, Any]:
        """The learner's state beside the average and the number of steps it has followed."""
        average = {"followed": self._followed, "agent": self._agent.state_dict()}
        return {"learner": self.learner.state_dict(), "average": average}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there.

        Raises:
            ValueError: when the average is another agent's.
        """
        self.learner.load_state_dict(state["learner"])
        check_state(self._agent.state_dict(), state["average"]["agent"])
        self._agent.load_state_dict(dict(state["average"]["agent"]))
        self._followed = int(state["average"]["followed"])
