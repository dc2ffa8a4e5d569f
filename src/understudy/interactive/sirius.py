"""Sirius (Liu et al. 2023): the human drives when he wants; all is learned from, and his part counts more."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from understudy.agent import Agent
from understudy.dataset import Dataset
from understudy.episode import POLICY, Array, Episode
from understudy.experts.gates import Gate, Gated
from understudy.interactive.base import Interactive, State
from understudy.interactive.doubtgate import unit
from understudy.interactive.watched import Watched
from understudy.roles import Expert
from understudy.rollout import Arbiter

__all__ = ["DEMONSTRATION", "INTERVENTION", "PRE", "ROBOT", "Config", "Method", "classes", "shares"]

# The paper's classes of samples: demonstrations, what the robot did well enough to be let alone, what it did
# right before somebody had to take over, and what the human did then.
DEMONSTRATION, ROBOT, PRE, INTERVENTION = 0, 1, 2, 3
_CLASSES: Final = 4


@dataclass(frozen=True)
class Config(Watched):
    """How the classes of samples are weighted, and when the scripted human takes over and hands back."""

    before: int = 15
    """Steps before an intervention that count as its causes and are not learned (the paper's 15)."""
    share: float = 0.5
    """Of the drawn samples that are interventions (the paper's half)."""
    failures: bool = False
    """Learn what the robot did by itself from episodes that failed, too. The paper has none: there the human
    sees to it that every episode succeeds."""

    def __post_init__(self) -> None:
        if self.before < 0:
            raise ValueError(f"before is {self.before}; a number of steps is not negative")
        if not 0.0 < self.share < 1.0:
            raise ValueError(f"share is {self.share}; it must lie strictly between 0 and 1")
        self.watchful(1.0)  # its rules are theirs


def classes(data: Dataset, before: int) -> NDArray[np.uint8]:
    """[windows], the class of each labelled step of all episodes, in the order of `Dataset.windows`.

    An episode is a demonstration unless it was collected in a round (it says so in its meta) and somebody
    noted who drove.
    """
    parts = [np.zeros(0, np.uint8)]
    for e in data:
        if e.control is None or "round" not in e.meta:
            parts.append(np.full(int(e.labelled.sum()), DEMONSTRATION, np.uint8))
        else:
            parts.append(_of(e.control, before)[e.labelled])
    return np.concatenate(parts)


def _of(control: Array, before: int) -> NDArray[np.uint8]:
    """[T], the class of each step of a collected episode."""
    human = control != POLICY
    steps = np.arange(len(human))
    # The first human step at or after each one; beyond the end where there is none.
    ahead = np.minimum.accumulate(np.where(human, steps, len(human) + before + 1)[::-1])[::-1]
    made = np.full(len(human), ROBOT, np.uint8)
    made[ahead - steps <= before] = PRE
    made[human] = INTERVENTION
    return made


def shares(found: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """[4], P*: the class distribution that training draws from, given the one in the data, P [4].

    P*(intervention) = share, P*(demonstration) = P(demonstration), P*(pre-intervention) = 0, and the robot
    has what is left (the paper's reweighting scheme). Where nothing is left, demonstrations make room; what
    an empty class would have had goes to the others in proportion.
    """
    wanted = np.zeros(_CLASSES)
    wanted[INTERVENTION] = share if found[INTERVENTION] > 0 else 0.0
    wanted[DEMONSTRATION] = min(found[DEMONSTRATION], 1.0 - wanted[INTERVENTION])
    wanted[ROBOT] = 1.0 - wanted.sum() if found[ROBOT] > 0 else 0.0
    return wanted / wanted.sum() if wanted.sum() > 0 else found


@final
class Method(Interactive):
    """Intervention-weighted training.

    The robot works, and a human who watches takes over when he wants and hands back when he wants. Whole
    episodes are kept: what the robot did while nobody minded is its own label. A window of class c is drawn
    in proportion to P*(c) / P(c), which in expectation is the paper's weighted loss; see `shares` for P*.

    The class of a window is that of its first step; with a horizon beyond 1 the actions further ahead may be
    of another one. Not taken from the paper: its management of a limited memory, and the ResNet policies.

    Args:
        expert: the human, or who stands in for him.
        config: weights, and the scripted human's habits.
        rounds: not needed by this method.
        gate: who decides when he drives. Left out, it is the expert himself where he is one who can take over
            (a person), else a script that watches in place of a human.
    """

    def __init__(self, expert: Expert, config: Config, rounds: int, gate: Gate | None = None) -> None:
        self.expert, self.config, self.gate = expert, config, gate

    def supervisor(self, state: State) -> tuple[Expert, Arbiter]:
        stands_by = Gated(self.expert, self._gate(state.driver()))
        return stands_by, stands_by

    def _gate(self, agent: Agent) -> Gate:
        if self.gate is not None:
            return self.gate
        if isinstance(self.expert, Gate):  # a person, who takes over himself
            return self.expert
        return self.config.watchful(unit(agent))

    def kept(self, episode: Episode) -> Episode:
        """The whole episode, with what the robot did as its own label where nobody drove."""
        if episode.success is False and not self.config.failures:
            return episode
        label = np.where(episode.labelled[:, None], episode.label, episode.action)
        return replace(episode, label=label, labelled=np.ones(len(episode), np.bool_))

    def weights(self, data: Dataset) -> NDArray[np.float64] | None:
        """[windows], P*(c) / P(c) of each window's class; their mean is 1."""
        c = classes(data, self.config.before)
        found = np.bincount(c, minlength=_CLASSES) / max(1, len(c))
        ratio = np.divide(shares(found, self.config.share), found, out=np.zeros(_CLASSES), where=found > 0)
        return ratio[c]
