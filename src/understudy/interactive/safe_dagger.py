"""SafeDAgger (Zhang and Cho 2017): the expert drives where a classifier says that the policy would err."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

from understudy.agent import Agent
from understudy.episode import Array, Obs
from understudy.experts.gates import Gated
from understudy.interactive.base import Interactive, State
from understudy.interactive.safety import Safety
from understudy.roles import Expert
from understudy.rollout import Arbiter

__all__ = ["Config", "Method", "WhereUnsafe"]


@dataclass(frozen=True)
class Config:
    """When a state is unsafe."""

    threshold: float | None = None
    """τ: a state is unsafe where the policy's squared distance to the expert's action is larger, in units of
    the actions' standard deviations. None: found in the demonstrations by `unsafe`."""
    unsafe: float = 0.5
    """Without a threshold: the share of the demonstrated states that a policy which has not seen them gets
    wrong, which sets τ. The median: with fewer, demonstrations being few, it soon asks no more and its policy
    stays as it is."""
    fit_steps: int = 1000
    """Of training the classifier after each round, and each of the two policies that are held out for it."""

    def __post_init__(self) -> None:
        Safety(self.threshold, self.unsafe, self.fit_steps)  # its rules are theirs


@final
class WhereUnsafe:
    """The gate of SafeDAgger: the expert drives where the classifier says so, step by step.

    Nothing holds him at the controls or away from them: where the classifier wavers, so do they.
    """

    def __init__(self, classifier: Agent) -> None:
        self.classifier = classifier

    def reset(self, seed: int) -> None: ...

    def takes(self, obs: Obs, proposed: Array, held: bool, ask: Callable[[], Array]) -> bool:
        """Whether the expert drives this step; he is not asked."""
        return bool(self.classifier.act(obs)[0] == 1)


@final
class Method(Interactive):
    """SafeDAgger (Zhang and Cho 2017, algorithms 1 and 2).

    Only unsafe states are labelled. The classifier learns from discrepancies of policies that have not seen
    the state's episode, in place of the paper's separate set D_safe: no label is spent on it alone.

    Args:
        expert: drives and labels in unsafe states.
    """

    def __init__(self, expert: Expert, config: Config, rounds: int) -> None:
        self.expert, self.rounds = expert, rounds
        self.safety = Safety(config.threshold, config.unsafe, config.fit_steps)

    def adapt(self, state: State) -> dict[str, float]:
        return self.safety.fit(state) if state.round < self.rounds else {}

    def supervisor(self, state: State) -> tuple[Expert, Arbiter]:
        state.driver()
        gated = Gated(self.expert, WhereUnsafe(self.safety.fitted()[1]))
        return gated, gated

    def state_dict(self) -> dict[str, Any]:
        return self.safety.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.safety.load_state_dict(state)
