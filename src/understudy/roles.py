"""Who takes part: environments, policies and experts. No torch: a robot's own computer records with this."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from understudy.episode import Array, Obs

__all__ = ["Env", "Expert", "Policy"]


@runtime_checkable
class Env(Protocol):
    """Gymnasium's interface, with observations that are always flat mappings of arrays in raw units."""

    def reset(self, *, seed: int) -> tuple[Obs, Mapping[str, Any]]:
        """Starts an episode: the first observation and information about it."""
        ...

    def step(self, action: Array) -> tuple[Obs, float, bool, bool, Mapping[str, Any]]:
        """One control step: observation, reward, terminated (the task ended), truncated (time ran out), info.

        `info["success"]`, where present, says whether the task is done.
        """
        ...


@runtime_checkable
class Policy(Protocol):
    """Acts: learned, scripted, replayed, human or remote."""

    def reset(self, seed: int) -> None:
        """Starts an episode; every random choice of the episode follows from `seed`."""
        ...

    def act(self, obs: Obs) -> Array:
        """The action [A] for one observation, both in the environment's own units."""
        ...


@runtime_checkable
class Expert(Protocol):
    """Advises."""

    def reset(self, seed: int) -> None:
        """Starts an episode."""
        ...

    def advise(self, obs: Obs, proposed: Array) -> Array | None:
        """What should be done instead of `proposed` [A]; None means "go on", and gives no label."""
        ...
