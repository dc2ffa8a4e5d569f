"""The policy's own doubt, and its distance from the expert, along an episode; and a gate that doubt holds.

Shapes: B batch, K history, T steps of an episode, A action width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from understudy.agent import Agent, doubt
from understudy.dataset import Dataset
from understudy.episode import Array, Episode, Obs
from understudy.heads import GaussianHead, MembersHead
from understudy.interactive.base import State

__all__ = [
    "Recall",
    "UncertaintyGate",
    "acts",
    "distance",
    "distances",
    "doubts",
    "last_round",
    "uncertainty",
    "unit",
]

_BATCH = 4096  # windows at once


def uncertainty(agent: Agent, obs: Mapping[str, ArrayLike]) -> NDArray[np.float64]:
    """How unsure a policy is of the action it would take, in normalised units; what `Agent.act` takes.

    An ensemble's doubt ‖diag C‖₂, with C the covariance of its members' actions (Kelly et al.
    2019); of a Gaussian head, its standard deviation averaged over the action's dimensions.

    Returns:
        [] for one observation, [B] for a batch.

    Raises:
        TypeError: when the head says nothing about that: it has neither members nor a spread that depends on
            the observation.
    """
    if isinstance(agent.head, MembersHead):
        return np.asarray(doubt(agent, obs), np.float64)
    head = _spread_of(agent)
    checked, single = agent.windows(obs)
    with torch.inference_mode():
        _, log_std = head.parts(agent.tokens({k: torch.from_numpy(x) for k, x in checked.items()}))
    spread: NDArray[np.float64] = log_std[:, 0].exp().mean(-1).numpy().astype(np.float64)
    return spread[0] if single else spread


def _spread_of(agent: Agent) -> GaussianHead:
    """The head of an agent without members, if its spread depends on what it sees."""
    if not isinstance(agent.head, GaussianHead) or agent.head.config.std != "state":
        raise TypeError(
            f"this {agent.head_config.kind} head does not say how unsure it is; take an ensemble (members), "
            "or a Gaussian with std 'state'"
        )
    return agent.head


def doubts(agent: Agent, episode: Episode) -> NDArray[np.float64]:
    """[T + 1], the policy's uncertainty in every state of an episode, the last included.

    With a history of K > 1 the first observation stands in for those before it, as in `Chunked`.
    """
    return np.concatenate([uncertainty(agent, seen) for seen in _seen(agent, episode)])


def acts(agent: Agent, episode: Episode) -> Array:
    """[T + 1, A], what the policy would do in every state of an episode, the last included."""
    return np.concatenate([agent.act(seen) for seen in _seen(agent, episode)])


def distances(agent: Agent, episode: Episode) -> NDArray[np.float64]:
    """[T], ‖(proposed - label) / unit(agent)‖₂ in every state; NaN where the expert said nothing."""
    proposed = acts(agent, episode)[:-1]
    return np.where(episode.labelled, distance(proposed, episode.label, unit(agent)), np.nan)


def _seen(agent: Agent, episode: Episode) -> Iterator[dict[str, Array]]:
    """All T + 1 windows of an episode, name -> [B, K, ...] ([B, ...] where K = 1), a batch at a time."""
    count = len(episode) + 1
    for at in range(0, count, _BATCH):
        rows = np.arange(at, min(at + _BATCH, count))
        if agent.history > 1:
            rows = np.maximum(rows[:, None] + np.arange(1 - agent.history, 1), 0)
        # Gathered through a flat list of rows, which pictures take too.
        flat = {k: np.asarray(v.take(rows.ravel(), 0)) for k, v in episode.obs.items()}
        yield {k: v.reshape(*rows.shape, *v.shape[1:]) for k, v in flat.items()}


def distance(proposed: Array, advice: Array, unit: NDArray[np.float64]) -> NDArray[np.float64]:
    """[...], ‖(proposed - advice) / unit‖₂ of actions [..., A]."""
    apart = np.asarray(proposed, np.float64) - np.asarray(advice, np.float64)
    return np.asarray(np.linalg.norm(apart / unit, axis=-1))


def unit(agent: Agent) -> NDArray[np.float64]:
    """[A], what a distance of 1 between two actions is in each dimension, in raw units.

    The scale of the agent's own normaliser: with "standard", the standard deviation of training actions.

    Raises:
        ValueError: for actions relative to the pose at a chunk's start, whose scale is not that of what
            is executed.
    """
    if agent.frame is not None:
        raise ValueError("distances between actions need a fixed unit; these are relative to a chunk's start")
    scale: NDArray[np.float64] = agent.action_normalizer.scale.numpy().astype(np.float64)
    return scale


def last_round(state: State) -> Dataset:
    """The episodes of the round that is over, which `state.drove` drove; none before the first."""
    return state.data.select(
        i
        for i, facts in enumerate(state.data.facts)
        if i >= state.start and facts.get("round") == state.round - 1
    )


@final
class Recall:
    """The last K observations of an episode, as an agent with that history takes them."""

    def __init__(self, history: int) -> None:
        self.history = history
        self._past: list[dict[str, Array]] = []

    def reset(self) -> None:
        """Forgets the episode."""
        self._past = []

    def __call__(self, obs: Obs) -> Obs:
        """name -> [K, ...] up to this observation; with K = 1, the observation itself."""
        if self.history == 1:
            return obs
        # Copied: an environment may write its next observation into the same array.
        now = {k: np.array(v) for k, v in obs.items()}
        self._past = [*(self._past or [now] * self.history)[1:], now]
        return {k: np.stack([o[k] for o in self._past]) for k in now}


@final
class UncertaintyGate:
    """A gate held by the policy itself: the expert drives where it is unsure.

    He takes over above `threshold` and hands back at `release` or below.

    Args:
        agent: who drives; see `uncertainty`.
        threshold: in the units of `uncertainty`.
        release: at most the threshold; None is the threshold itself, which leaves no hysteresis: a policy
            whose doubt hovers there changes drivers at every step.

    Raises:
        ValueError: when a number is out of its range.
        TypeError: when the agent does not say how unsure it is.
    """

    def __init__(self, agent: Agent, threshold: float, release: float | None = None) -> None:
        low = threshold if release is None else release
        if not 0 <= low <= threshold < np.inf:
            raise ValueError(
                f"release is {low} and threshold {threshold}; 0 <= release <= threshold is needed"
            )
        if not isinstance(agent.head, MembersHead):
            _spread_of(agent)
        self.agent, self.threshold, self.release = agent, float(threshold), float(low)
        self._recall = Recall(agent.history)

    def reset(self, seed: int) -> None:
        """Starts an episode."""
        self._recall.reset()

    def takes(self, obs: Obs, proposed: Array, held: bool, ask: Callable[[], Array]) -> bool:
        """Whether the expert drives this step; he is not asked."""
        unsure = float(uncertainty(self.agent, self._recall(obs)))
        return unsure > (self.release if held else self.threshold)
