"""LazyDAgger (Hoque et al. 2021): SafeDAgger whose expert stays until the policy agrees with him."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from understudy.agent import Agent
from understudy.envs import ActionSpec
from understudy.episode import Array, Obs
from understudy.experts import NoisyExecution
from understudy.experts.gates import Gated
from understudy.interactive.base import Interactive, State
from understudy.interactive.safety import Discrepancy, Safety
from understudy.roles import Expert
from understudy.rollout import Arbiter

__all__ = ["Config", "Method", "UntilAgreed"]


@dataclass(frozen=True)
class Config:
    """When the expert takes over, and when he hands back."""

    threshold: float | None = None
    """β_H: he takes over where the classifier predicts that the policy's squared distance to his action
    is larger, in units of the actions' standard deviations. None: found in the demonstrations by `unsafe`."""
    unsafe: float = 0.2
    """Without a threshold: the share of the demonstrated states that a policy which has not seen them gets
    wrong, which sets β_H."""
    hand_back: float = 0.01
    """β_R / β_H in (0, 1]: he hands back where the true squared distance is below β_R. The paper's ratio
    is 0.1. A policy that has learned from few demonstrations agrees by chance, and is soon taken over again:
    the smaller the ratio, the fewer the switches and the more the labels."""
    noise: float = 0.1
    """Of what is executed while he drives, in half action ranges; his labels stay clean. 0 for none."""
    fit_steps: int = 1000
    """Of training the classifier after each round, and each of the two policies that are held out for it."""

    def __post_init__(self) -> None:
        Safety(self.threshold, self.unsafe, self.fit_steps)  # its rules are theirs
        if not 0 < self.hand_back <= 1:
            raise ValueError(f"hand_back is {self.hand_back}; β_R / β_H lies in (0, 1]")
        if not 0 <= self.noise < np.inf:
            raise ValueError(f"noise is {self.noise}; it must be at least 0 and finite")


@final
class UntilAgreed:
    """The gate of LazyDAgger: in on a prediction, out on the truth.

    Args:
        classifier: predicts where the policy errs.
        distance: of the policy's action and the expert's.
        below: β_R; he is asked for the comparison only while he drives.
    """

    def __init__(self, classifier: Agent, distance: Discrepancy, below: float) -> None:
        self.classifier, self.distance, self.below = classifier, distance, below

    def reset(self, seed: int) -> None: ...

    def takes(self, obs: Obs, proposed: Array, held: bool, ask: Callable[[], Array]) -> bool:
        """Whether the expert drives this step."""
        if held:
            return float(self.distance(proposed, ask())) >= self.below
        return bool(self.classifier.act(obs)[0] == 1)


@final
class Method(Interactive):
    """LazyDAgger (Hoque et al. 2021, algorithm 1).

    Args:
        expert: drives, disturbed by noise, and labels while he does.
    """

    def __init__(self, expert: Expert, config: Config, rounds: int) -> None:
        self.expert, self.config, self.rounds = expert, config, rounds
        self.safety = Safety(config.threshold, config.unsafe, config.fit_steps)

    def adapt(self, state: State) -> dict[str, float]:
        return self.safety.fit(state) if state.round < self.rounds else {}

    def supervisor(self, state: State) -> tuple[Expert, Arbiter]:
        threshold, classifier = self.safety.fitted()
        below = self.config.hand_back * threshold
        gate = UntilAgreed(classifier, Discrepancy(state.driver()), below)
        gated = Gated(self.expert, gate, disturb=self._disturb(state))
        return gated, gated

    def _disturb(self, state: State) -> NoisyExecution | None:
        if not self.config.noise:
            return None
        if state.driver().head.discrete:
            raise ValueError(f"noise is {self.config.noise}, but actions are discrete choices; set it to 0")
        return NoisyExecution(self.config.noise, _bounds(state))

    def state_dict(self) -> dict[str, Any]:
        return self.safety.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.safety.load_state_dict(state)


def _bounds(state: State) -> ActionSpec:
    """The task's bounds; where it has none, the range of the labels stands in for them."""
    if state.task is not None and state.task.action.bounded:
        return state.task.action
    low, high = zip(*((part.min(0), part.max(0)) for part in state.data.chunks("label")), strict=True)
    return ActionSpec.box(np.min(low, 0), np.max(high, 0))
