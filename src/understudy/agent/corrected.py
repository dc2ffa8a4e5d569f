"""A policy that stands, and an agent that corrects what it says: together one Policy."""

from __future__ import annotations

import numpy as np

from understudy.agent.agent import Agent
from understudy.agent.chunked import Chunked
from understudy.episode import Array, Obs

__all__ = ["BASE_ACTION", "Corrected"]

BASE_ACTION = "base_action"  # the observation that holds what the base would do, [A] in raw units


class Corrected:
    """Acts by a base policy plus a correction: a = π_b(s) + π_r(s, π_b(s)), both in raw units.

    The base may play chunks, draw or remember; the correction is asked at every step, so it closes the loop
    that an open-loop chunk leaves open. It reaches only as far as the range of its own actions. What leaves
    is clipped to the base's bounds, where it has some.

    Args:
        base: proposes.
        agent: corrects; besides the base's observations it sees "base_action" [A].

    Raises:
        ValueError: when the two differ in actions or observations.
    """

    def __init__(self, base: Chunked, agent: Agent) -> None:
        known, wanted = set(base.agent.obs_normalizers), set(agent.obs_normalizers)
        if wanted != known | {BASE_ACTION} or agent.history != 1 or agent.actions != base.agent.actions:
            raise ValueError(
                f"the correction sees {sorted(wanted)} and gives {agent.actions} actions; for this base it "
                f"must see {sorted(known | {BASE_ACTION})}, one step of them, and give {base.agent.actions}"
            )
        self.base, self.agent = base, agent

    def reset(self, seed: int) -> None:
        """Starts an episode; every random choice of the base follows from `seed`."""
        self.base.reset(seed)

    def act(self, obs: Obs) -> Array:
        """[A], the corrected action for one observation, both in raw units."""
        proposed = self.base.act(obs)
        action: Array = proposed + self.agent.act({**obs, BASE_ACTION: proposed})
        low, high = self.base.agent.low, self.base.agent.high
        if low is not None and high is not None:
            action = np.clip(action, low.numpy(), high.numpy())
        return action
