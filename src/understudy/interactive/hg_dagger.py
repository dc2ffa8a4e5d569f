"""HG-DAgger (Kelly et al. 2019): a human takes over and hands back, and what he drove is learned from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import floor
from typing import Any, ClassVar, Literal, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from understudy.agent import Agent
from understudy.dataset import Dataset
from understudy.episode import POLICY, Episode
from understudy.experts.gates import Gate, Gated
from understudy.interactive.base import Interactive, State
from understudy.interactive.doubtgate import UncertaintyGate, doubts, last_round, unit
from understudy.interactive.watched import Watched
from understudy.numerics import runs
from understudy.roles import Expert
from understudy.rollout import Arbiter

__all__ = ["Config", "Method", "takeovers", "threshold"]


@dataclass(frozen=True)
class Config(Watched):
    """Who holds the gate, and when he opens it. Distances are in standard deviations of training actions."""

    gate: Literal["auto", "watchful", "uncertainty"] = "auto"
    """auto: the expert himself where he can take over (a person), else watchful. watchful: a script that
    watches the policy in place of a human. uncertainty: the policy's own doubt."""
    reaction: int = 0
    """Watchful: steps by which he is late."""
    doubt: float = 0.1
    """Uncertainty: the expert drives where the ensemble's doubt is above this."""

    def __post_init__(self) -> None:
        if self.gate not in ("auto", "watchful", "uncertainty"):
            raise ValueError(f"gate is {self.gate!r}; it must be auto, watchful or uncertainty")
        if not 0.0 <= self.doubt < np.inf:
            raise ValueError(f"doubt is {self.doubt}; it must be at least 0 and finite")
        self.watchful(1.0, self.reaction)  # whose rules the others are


def takeovers(episode: Episode) -> NDArray[np.intp]:
    """[I], the steps at which the controls went from the policy to the expert; step 0 where he began.

    Raises:
        ValueError: when nobody noted who held the controls.
    """
    if episode.control is None:
        raise ValueError("this episode does not say who held the controls, so it has no takeovers to find")
    return runs(episode.control != POLICY)[:, 0]


def threshold(log: ArrayLike) -> float:
    """τ, the mean of the last quarter of the intervention log [I] (Kelly et al. 2019).

    The last in time, not the largest: by then the policy knows most of what it will, and what still makes the
    human take over is what it does not know.

    Raises:
        ValueError: when nothing was logged.

    >>> threshold([9.0, 9.0, 9.0, 9.0, 1.0, 2.0, 3.0, 4.0])
    3.5
    """
    entries = np.asarray(log, np.float64)
    if entries.ndim != 1 or not len(entries):
        raise ValueError("nobody has taken over yet, so the log gives no threshold")
    return float(entries[floor(0.75 * len(entries)) :].mean())


@final
class Method(Interactive):
    """HG-DAgger (Kelly et al. 2019, algorithm 1), with demonstrations to start from.

    The doubt of the ensemble that drove is logged at each takeover, and `tau` follows from the log: the
    permitted set {s: doubt(s) <= tau} is where the policy may be left alone (`interactive.permitted`).

    Args:
        expert: who drives when he has taken over.
        config: the gate.
        rounds: not needed.
        gate: holds the gate in place of the configured one.
    """

    members: ClassVar[int] = 5

    def __init__(self, expert: Expert, config: Config, rounds: int, gate: Gate | None = None) -> None:
        self.expert, self.config, self.gate = expert, config, gate
        self.log: list[float] = []

    @property
    def tau(self) -> float:
        """The largest doubt of the permitted set, as known so far.

        Raises:
            ValueError: when nobody has taken over yet.
        """
        return threshold(self.log)

    def supervisor(self, state: State) -> tuple[Expert, Arbiter]:
        gated = Gated(self.expert, self._gate(state.driver()), labels="held")
        return gated, gated

    def _gate(self, agent: Agent) -> Gate:
        if self.gate is not None:
            return self.gate
        if self.config.gate == "auto" and isinstance(self.expert, Gate):
            return self.expert
        if self.config.gate == "uncertainty":
            return UncertaintyGate(agent, self.config.doubt)
        return self.config.watchful(unit(agent), self.config.reaction)

    def adapt(self, state: State) -> Mapping[str, float]:
        """Logs the doubt at the takeovers of the round before, of the policy they happened to."""
        noted: dict[str, float] = {}
        if state.drove is not None:
            noted, entries = intervention_log(state.drove, last_round(state))
            self.log += entries
        return noted | ({"tau": self.tau} if self.log else {})

    def state_dict(self) -> dict[str, Any]:
        return {"log": list(self.log)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        log = state.get("log")
        if not isinstance(log, list) or not all(isinstance(x, float) and 0 <= x < np.inf for x in log):
            raise ValueError(f"the state of HG-DAgger is a log of doubts, not {sorted(state)}")
        self.log = list(log)


def intervention_log(agent: Agent, episodes: Dataset) -> tuple[dict[str, float], list[float]]:
    """The mean doubt of an agent over all steps of episodes, and its doubt at each takeover, in order."""
    entries: list[float] = []
    total, steps = 0.0, 0
    for episode in episodes:
        unsure = doubts(agent, episode)[:-1]
        entries += unsure[takeovers(episode)].tolist()
        total, steps = total + float(unsure.sum()), steps + len(unsure)
    return ({"doubt": total / steps} if steps else {}), entries
