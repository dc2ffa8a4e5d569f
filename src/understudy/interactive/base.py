"""What every method of the family is: who stands by while episodes are collected, and what is kept.

Collecting, keeping, training, measuring and resuming are written once, in `rounds`; a method says only what
is its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from understudy.agent import Agent
from understudy.dataset import Dataset
from understudy.envs import Task
from understudy.episode import Episode
from understudy.roles import Expert
from understudy.rollout import Arbiter

__all__ = ["Interactive", "State"]


@dataclass(frozen=True)
class State:
    """Where the rounds stand, as a method sees it.

    Args:
        round: the round that is collected next; the first is 0.
        data: the demonstrations given at the start, and behind them every episode collected so far.
        start: how many of the episodes are those demonstrations.
        agent: who drives in this round; None in the first where there are no demonstrations.
        drove: who drove in the round before, so that what happened there can be measured with the policy it
            happened to; None in the first.
        task: what is known of the task; None for a user's own environment.
        seed: of whatever the method draws, besides the episodes' own seeds.
    """

    round: int
    data: Dataset
    start: int
    agent: Agent | None
    drove: Agent | None
    task: Task | None
    seed: int

    @property
    def collected(self) -> Dataset:
        """The episodes of all rounds so far, in order; each has its "round" in its meta."""
        return self.data[self.start :]

    def driver(self) -> Agent:
        """The agent that drives.

        Raises:
            ValueError: when there is none yet.
        """
        if self.agent is None:
            raise ValueError("there is no policy yet that could drive; give demonstrations to start with")
        return self.agent


class Interactive(ABC):
    """A method of learning with an expert at hand.

    What it knows must follow from episodes: these are collected in other processes, and what an object
    notes there stays there.

    Attributes:
        members: how many networks the policy's ensemble must have at least; 1 is a single network.
        one_at_a_time: whether `supervisor` is asked anew before every episode, for methods whose thresholds
            follow each one. Others are asked once a round, and collect in parallel.
    """

    members: ClassVar[int] = 1
    one_at_a_time: ClassVar[bool] = False

    @abstractmethod
    def supervisor(self, state: State) -> tuple[Expert, Arbiter]:
        """Who stands by while episodes are collected, and who decides what is executed."""

    def adapt(self, state: State) -> Mapping[str, float]:
        """Called after each training and before the round's episodes: fits thresholds and classifiers.

        Returns:
            What is to be noted in the log of the rounds.
        """
        return {}

    def kept(self, episode: Episode) -> Episode:
        """What of a collected episode goes into the dataset."""
        return episode

    def weights(self, data: Dataset) -> NDArray[np.float64] | None:
        """[windows], how often each labelled window is drawn in training; None: all alike."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """What `adapt` found, as a tree for `serial.write_tree`."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from there."""
        if state:
            raise ValueError(
                f"{type(self).__module__} keeps nothing between rounds, but was given {sorted(state)}"
            )
