"""Who drives besides the operator: a policy that also says how unsure it is, and a scripted one."""

from __future__ import annotations

from typing import Protocol, final

from understudy.episode import Array, Obs
from understudy.roles import Policy
from understudy.rollout import name_of

__all__ = ["ExpertPilot", "Pilot"]


class Pilot(Protocol):
    """A policy that is watched, and that others may drive beside.

    Every observation of an episode goes to one of `act` and `watch`, in order; one whose action was not
    executed after all (the operator took over) goes to both. After steps that it only watched, `act` begins
    anew: it plays no rest of a chunk of actions from before, and it has seen what happened meanwhile. So
    nothing jumps when the controls are handed back.

    Attributes:
        name: what a page calls it. threshold: from what doubt on a person should look; None: nobody knows.
    """

    name: str

    @property
    def threshold(self) -> float | None:
        """From what doubt on a person should look; None where nothing says."""
        ...

    def reset(self, seed: int) -> None:
        """Starts an episode; every random choice of it follows from `seed`."""
        ...

    def act(self, obs: Obs) -> Array:
        """[A], what it does now."""
        ...

    def watch(self, obs: Obs) -> None:
        """Sees a step in which somebody else drives."""
        ...

    def doubt(self, obs: Obs) -> float | None:
        """How unsure it is in this step, whoever drives it; None: it does not say."""
        ...


@final
class ExpertPilot:
    """A scripted policy as a pilot: each action follows from the observation alone, and it never doubts."""

    threshold = None

    def __init__(self, policy: Policy) -> None:
        self.policy, self.name = policy, name_of(policy)

    def reset(self, seed: int) -> None:
        """Starts an episode."""
        self.policy.reset(seed)

    def act(self, obs: Obs) -> Array:
        """[A], what the script does."""
        return self.policy.act(obs)

    def watch(self, obs: Obs) -> None:
        """It needs to see nothing."""

    def doubt(self, obs: Obs) -> None:
        """Scripts know no doubt."""
        return None
