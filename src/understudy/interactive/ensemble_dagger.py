"""EnsembleDAgger (Menda et al. 2019): the ensemble drives where it agrees with the expert and with itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from understudy.agent import Agent
from understudy.episode import Array, Episode, Obs
from understudy.experts.gates import Gated
from understudy.interactive.base import Interactive, State
from understudy.interactive.doubtgate import (
    Recall,
    distance,
    distances,
    doubts,
    last_round,
    uncertainty,
    unit,
)
from understudy.roles import Expert
from understudy.rollout import Arbiter

__all__ = ["Config", "EnsembleGate", "Method", "calibrated"]


@dataclass(frozen=True)
class Config:
    """Where the ensemble may drive. Units are those of normalised actions."""

    tau: float = 0.75
    """The largest discrepancy ‖ā - a*‖ between its mean action and the expert's."""
    chi: float | None = None
    """The largest doubt ‖diag C‖, C the covariance of the members' actions. Unset, it is refitted after every
    round, to the states of that round, which the ensemble had not been trained on: the doubt that a share
    `sure` of those had in which its discrepancy was at most tau. Until there are such states, the discrepancy
    alone decides."""
    sure: float = 0.9
    """That share."""

    def __post_init__(self) -> None:
        for name, value in (("tau", self.tau), ("chi", self.chi)):
            if value is not None and not 0.0 <= value < np.inf:
                raise ValueError(f"{name} is {value}; it must be at least 0 and finite")
        if not 0.0 < self.sure <= 1.0:
            raise ValueError(f"sure is {self.sure}; it must lie in (0, 1]")


@final
class EnsembleGate:
    """The decision rule: the expert drives where the discrepancy is above τ or the doubt above χ.

    He is asked at every step, and hands back as soon as neither is (Menda et al. 2019, the decision rule;
    their τ bounds the square of this discrepancy).

    Args:
        agent: the ensemble that drives.
        tau: in units of `unit(agent)`.
        chi: of `uncertainty(agent)`; infinite where the discrepancy alone decides.

    Raises:
        ValueError: when a threshold is negative or not a number.
    """

    def __init__(self, agent: Agent, tau: float, chi: float) -> None:
        if not (tau >= 0 and chi >= 0):
            raise ValueError(f"tau is {tau} and chi {chi}; both must be at least 0")
        self.agent, self.tau, self.chi, self.unit = agent, float(tau), float(chi), unit(agent)
        self._recall = Recall(agent.history)

    def reset(self, seed: int) -> None:
        """Starts an episode."""
        self._recall.reset()

    def takes(self, obs: Obs, proposed: Array, held: bool, ask: Callable[[], Array]) -> bool:
        """Whether the expert drives this step."""
        seen = self._recall(obs)
        if float(distance(proposed, ask(), self.unit)) > self.tau:
            return True
        return self.chi < np.inf and float(uncertainty(self.agent, seen)) > self.chi


def calibrated(agent: Agent, episodes: Iterable[Episode], tau: float, sure: float) -> float:
    """χ, from states that an ensemble was not trained on: a quantile of its doubt where it was right.

    Args:
        episodes: labelled by the expert, and collected while this agent drove.
        tau: right is a discrepancy of at most this.
        sure: the share of those states that χ leaves to the ensemble.

    Returns:
        Infinity where it was right nowhere, or no state is labelled.
    """
    right = [doubts(agent, e)[:-1][distances(agent, e) <= tau] for e in episodes]
    known = np.concatenate([np.empty(0), *right])
    return float(np.quantile(known, sure)) if len(known) else np.inf


@final
class Method(Interactive):
    """EnsembleDAgger: the expert labels every state, and drives where the ensemble must not.

    Args:
        expert: asked at every step.
        config: the thresholds.
        rounds: not needed.
    """

    members: ClassVar[int] = 5

    def __init__(self, expert: Expert, config: Config, rounds: int) -> None:
        self.expert, self.config = expert, config
        self.chi = np.inf if config.chi is None else config.chi

    def supervisor(self, state: State) -> tuple[Expert, Arbiter]:
        gate = EnsembleGate(state.driver(), self.config.tau, self.chi)
        gated = Gated(self.expert, gate, labels="all")
        return gated, gated

    def adapt(self, state: State) -> Mapping[str, float]:
        if self.config.chi is None and state.drove is not None:
            self.chi = calibrated(state.drove, last_round(state), self.config.tau, self.config.sure)
        noted = {"tau": self.config.tau}
        return noted | ({"chi": self.chi} if self.chi < np.inf else {})

    def state_dict(self) -> dict[str, Any]:
        return {"chi": self.chi if self.chi < np.inf else None}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        chi = state.get("chi")
        if "chi" not in state or not (chi is None or (isinstance(chi, float) and 0 <= chi < np.inf)):
            raise ValueError(f"the state of EnsembleDAgger is its chi, not {dict(state)}")
        self.chi = np.inf if chi is None else chi
