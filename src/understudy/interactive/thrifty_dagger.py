"""ThriftyDAgger (Hoque et al. 2021b): the policy asks where it is lost or at risk, as often as it may."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from understudy.agent import Agent, doubt
from understudy.episode import Array, Obs
from understudy.experts.gates import Gated
from understudy.interactive.base import Interactive, State
from understudy.interactive.doubtgate import Recall, doubts
from understudy.interactive.risk import Risk, fitted
from understudy.interactive.safety import Discrepancy, cross_fitted, frozen, thawed
from understudy.roles import Expert
from understudy.rollout import Arbiter
from understudy.supervision import Supervision

__all__ = ["Config", "Method", "Novel", "Thresholds", "affordable", "calibrated", "rehearsed"]

_FEW = 25  # states; with no more of them, quantiles say nothing
_RECENT = 10  # episodes that are gone through again to set thresholds
_AGREED = 0.1  # of the discrepancies of policies that have not seen a state: below, policy and expert agree
_LEVELS = 60  # of quantiles that are tried
_REPAID = 4  # episodes over which what is overdrawn or unspent is made good


@dataclass(frozen=True)
class Config:
    """How much of the expert's time may be asked for."""

    alpha: float = 0.2
    """The budget: the share of the states of the episodes collected in which the expert drives."""
    risk: bool = True
    """Whether he is also asked for where success is unlikely; without it, novelty alone decides."""
    fit_steps: int = 1000
    """Of training the estimate of success after each round, and each of the two policies that are held out
    to find when the policy and the expert agree."""

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha is {self.alpha}; a share of states lies in (0, 1)")
        if self.fit_steps < 1:
            raise ValueError(f"fit_steps is {self.fit_steps}; it must be at least 1")


class Thresholds(NamedTuple):
    """When the expert takes over and when he hands back; names as in the paper."""

    delta_h: float  # he takes over above this novelty
    eps_h: float  # or below this Q(s, π(s))
    delta_r: float  # he hands back below this squared distance between the policy's action and his
    eps_r: float  # and above this Q


@final
class Novel:
    """The gate of ThriftyDAgger.

    Args:
        agent: the ensemble whose doubt is novelty.
        risk: Q, or None where nobody knows what succeeds.
        at: the thresholds.
    """

    def __init__(self, agent: Agent, risk: Risk | None, at: Thresholds) -> None:
        self.agent, self.risk, self.at = agent, risk, at
        self.distance, self._recall = Discrepancy(agent), Recall(agent.history)

    def reset(self, seed: int) -> None:
        """Starts an episode."""
        self._recall.reset()

    def takes(self, obs: Obs, proposed: Array, held: bool, ask: Callable[[], Array]) -> bool:
        """Whether the expert drives this step; he is asked for a comparison only while he drives."""
        seen = self._recall(obs)
        chance = np.inf if self.risk is None else float(self.risk(obs, proposed))
        if held:
            agreed = float(self.distance(proposed, ask())) < self.at.delta_r
            return not (agreed and chance > self.at.eps_r)
        return float(doubt(self.agent, seen)) > self.at.delta_h or chance < self.at.eps_h


@final
class Method(Interactive):
    """ThriftyDAgger (Hoque et al. 2021b, algorithm 1): novelty, risk, and a budget for interventions.

    The paper calls the expert in the share α of states that are the most novel or the most at risk. An
    intervention that has begun lasts, so that more than α of the states would be supervised. Here α is the
    share that really is: see `calibrated`. The paper's δ_R is the mean discrepancy on the training data,
    which a policy that knows these by heart brings to nearly nothing; here it is a low quantile of the
    discrepancies of policies that have not seen the state (see `cross_fitted`), found before the first round
    and kept. ε_R is the median of Q over the states visited lately. All but δ_R and Q follow from the
    episodes.

    Args:
        expert: drives and labels where he is asked to.
    """

    members: ClassVar[int] = 5
    one_at_a_time: ClassVar[bool] = True

    def __init__(self, expert: Expert, config: Config, rounds: int) -> None:
        self.expert, self.config, self.rounds = expert, config, rounds
        self.risk: Risk | None = None
        self.delta_r: float | None = None

    def adapt(self, state: State) -> dict[str, float]:
        if state.round >= self.rounds:
            return {}
        agent, config, seed = state.driver(), self.config, state.seed + state.round
        if self.delta_r is None:
            gap = cross_fitted(agent, state.data, config.fit_steps, seed)[1]
            self.delta_r = float(np.quantile(gap, _AGREED))
        self.risk = fitted(agent, state.data, config.fit_steps, seed) if config.risk else None
        return {"delta_r": self.delta_r}

    def supervisor(self, state: State) -> tuple[Expert, Arbiter]:
        agent = state.driver()
        gated = Gated(self.expert, Novel(agent, self.risk, self.thresholds(state)))
        return gated, gated

    def thresholds(self, state: State) -> Thresholds:
        """Those for the next episode, from the present novelty and risk of what was visited lately."""
        if self.delta_r is None:
            raise ValueError("the thresholds have not been fitted yet; call adapt first")
        agent, cost = state.driver(), Supervision.of(state.collected)
        few = cost.noted_steps <= _FEW
        recent = state.data[: state.start] if few else state.collected[-_RECENT:]
        novelty = [doubts(agent, e)[:-1] for e in recent]
        # Without an estimate of risk, nothing is ever at risk.
        chance = [np.ones(len(e)) if self.risk is None else self.risk.along(agent, e) for e in recent]
        delta_h, eps_h = calibrated(
            novelty, chance, affordable(self.config.alpha, cost, recent.steps / len(recent)),
            cost.mean_length or 0.25 * recent.steps / len(recent),
        )  # fmt: skip
        eps_r = -np.inf if self.risk is None else float(np.median(np.concatenate(chance)))
        return Thresholds(delta_h, eps_h, self.delta_r, eps_r)

    def state_dict(self) -> dict[str, Any]:
        return {"delta_r": self.delta_r, "risk": None if self.risk is None else frozen(self.risk.network)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state.keys() != {"delta_r", "risk"}:
            raise ValueError(f"ThriftyDAgger's state has delta_r and risk, not {sorted(state)}")
        self.delta_r = None if state["delta_r"] is None else float(state["delta_r"])
        self.risk = None if state["risk"] is None else Risk(thawed(state["risk"]))


def affordable(alpha: float, cost: Supervision, length: float) -> float:
    """The share of the next episodes that may be supervised, so that all together come to `alpha`.

    What was spent too much, or left unspent, is made good over the next `_REPAID` episodes of `length` steps,
    within a quarter of the budget and four times it: the expert is never out of reach. The debt stays bounded
    so, and the share tends to `alpha` as episodes are collected.
    """
    unspent = alpha * cost.noted_steps - cost.held
    return float(np.clip(alpha + unspent / (_REPAID * length), alpha / 4, min(4 * alpha, 1.0)))


def calibrated(
    novelty: Sequence[NDArray[np.float64]],
    chance: Sequence[NDArray[np.float64]],
    share: float,
    length: float,
) -> tuple[float, float]:
    """δ_H and ε_H: quantiles of one level, at which the expert would have driven a given share of the states.

    The paper takes the (1 - α)-quantile of novelty and the α-quantile of Q on states in which the robot
    drove. There are two reasons against it. An intervention, once begun, lasts, so that a share of α would
    begin one and many times that would be supervised; and states above the last threshold are never among
    those in which the robot drove, so that the threshold could only fall. So all visited states count, and
    the level is the highest at which the expert, taking over wherever a threshold is crossed and staying for
    the mean length of an intervention, would have driven no more than `share` of them.

    Args:
        novelty: of each episode, [T_i].
        chance: Q(s, π(s)) likewise.
        share: of the states.
        length: steps of an intervention.

    Returns:
        δ_H and ε_H; where even the lowest level is too much, those that no visited state crosses.
    """
    new, likely = np.concatenate(novelty), np.concatenate(chance)
    for level in np.geomspace(1.0, 1.0 / len(new), _LEVELS):
        delta, eps = float(np.quantile(new, 1 - level)), float(np.quantile(likely, level))
        crossed = [(n > delta) | (q < eps) for n, q in zip(novelty, chance, strict=True)]
        if rehearsed(crossed, length) <= share:
            return delta, eps
    return float(new.max()), float(likely.min())


def rehearsed(crossed: Sequence[NDArray[np.bool_]], length: float) -> float:
    """The share of steps the expert would drive, taking over wherever `crossed` and staying `length` steps.

    Args:
        crossed: of each episode, [T_i].
    """
    stay, held = max(1, round(length)), 0
    for flags in crossed:
        free = 0  # the first step in which the robot drives again
        for step in np.flatnonzero(flags):
            if step >= free:
                free = min(int(step) + stay, len(flags))
                held += free - int(step)
    return held / sum(map(len, crossed))
