"""An agent as a Policy: it remembers, plays chunks of actions, and draws from a generator of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from understudy.agent.agent import Agent
from understudy.episode import Array, Obs

__all__ = ["Chunked"]


class Chunked:
    """The Policy around an Agent. Before the first step of an episode its first observation repeats.

    It travels between processes; what it remembers of an episode stays behind.

    Args:
        agent: what is asked.
        execute: how many actions of a chunk are played before the agent is asked again, in [1, H].
        noise: None takes the mode; a number draws, with that share of the spread within a mode: 1 as
            learned, 0 ("low noise") only the choice between modes.
        ensemble: None, or m >= 0: the agent is asked at every step, and the action is the mean over all
            chunks that reach this step, weighted by exp(-m i), i = 0 the oldest (Zhao et al. 2023, 4.2).

    Raises:
        ValueError: when the options contradict one another or the agent.
    """

    def __init__(
        self, agent: Agent, execute: int = 1, noise: float | None = None, ensemble: float | None = None
    ) -> None:
        if not 1 <= execute <= agent.horizon:
            raise ValueError(
                f"execute is {execute}; it must lie in [1, {agent.horizon}], the agent's horizon"
            )
        for name, value in (("noise", noise), ("ensemble", ensemble)):
            if value is not None and not 0 <= value < float("inf"):
                raise ValueError(f"{name} is {value}; it must be at least 0 and finite")
        if ensemble is not None and execute != 1:
            raise ValueError(
                f"execute is {execute}; ensembling asks the agent at every step, so it must be 1"
            )
        if ensemble is not None and agent.head.discrete:
            raise ValueError("discrete choices cannot be averaged; leave ensemble out")
        self.agent, self.execute, self.noise, self.ensemble = agent, execute, noise, ensemble
        self.reset(0)

    def __reduce__(self) -> tuple[Any, ...]:
        return Chunked, (self.agent, self.execute, self.noise, self.ensemble)

    def reset(self, seed: int) -> None:
        """Forgets the last episode; every random choice of the next follows from `seed`."""
        self._generator = torch.Generator().manual_seed(seed)
        self._past: list[dict[str, Array]] = []  # the last K observations
        self._chunks: list[Array] = []  # what is still to be played: one chunk, or all that reach this step

    def act(self, obs: Obs) -> Array:
        """[A], the action for one observation, both in raw units."""
        if self.ensemble is None:
            if not self._chunks:
                self._remember(obs)
                self._chunks = list(self._chunk(obs)[: self.execute])
            elif self.agent.history > 1:
                self._remember(obs)
            return self._chunks.pop(0)
        self._remember(obs)
        self._chunks = [c[1:] for c in self._chunks if len(c) > 1] + [self._chunk(obs)]
        weight = np.exp(-self.ensemble * np.arange(len(self._chunks)))
        first = np.stack([c[0] for c in self._chunks])
        action: Array = (weight @ first / weight.sum()).astype(np.float32)
        return action

    def _remember(self, obs: Obs) -> None:
        if self.agent.history > 1:
            # Copied: an environment may write its next observation into the same array.
            now = {k: np.array(v) for k, v in obs.items()}
            self._past = [*(self._past or [now] * self.agent.history)[1:], now]

    def _chunk(self, obs: Obs) -> Array:
        """[H, A], what the agent says now."""
        if self.agent.history > 1:
            past = self._past
            obs = {k: np.stack([o[k] for o in past]) for k in past[0]}
        checked, single = self.agent.windows(obs)
        if not single:
            raise ValueError("a policy acts on one observation at a time; Agent.act takes batches")
        chunk: Array = self.agent.chunks(checked, self.noise, self._generator)[0]
        return chunk
