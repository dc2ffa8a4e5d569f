"""Algorithms, one file each: a frozen Config and a Learner. The caller owns time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from understudy.agent import Agent

__all__ = ["Learner"]


class Learner(Protocol):
    """What every algorithm is to the loop that drives it."""

    @property
    def agent(self) -> Agent:
        """The agent to evaluate and to save, in evaluation mode."""
        ...

    def step(self) -> Mapping[str, float]:
        """One gradient step; what there is to tell about it, "loss" at least."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that a later run needs to continue to the same bits: a tree for `serial.write_tree`."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there."""
        ...
