"""The stand-in for a human who watches the policy, takes over when worried and hands back when it is over."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeAlias, final

import numpy as np
from numpy.typing import ArrayLike

from understudy.episode import Array, Obs

__all__ = ["Watchful", "Worried"]

Worried: TypeAlias = Callable[[Obs, Array, Array], bool]
"""(obs, proposed [A], advice [A]) -> whether what is proposed worries somebody who would do `advice`."""


@final
class Watchful:
    """A gate held by whoever watches: HG-DAgger's human (Kelly et al. 2019), as a script.

    At each step the distance is ‖(proposed - advice) / scale‖₂ between what the policy proposes and what the
    watcher would do. He takes over at the `patience`-th step in a row with a distance above `takeover`, and
    hands back at the `calm`-th in a row with one of at most `handback`. Between the two he changes nothing
    and starts counting anew. So one bad step does not bring him in, nor one good step send him away.

    He sees the scene and so is not asked: nothing he thinks while the policy drives is kept as a label.

    Args:
        takeover: in units of `scale`.
        handback: likewise, at most `takeover`.
        scale: one number or [A], all positive: what a distance of 1 is in each dimension, such as the
            standard deviation of training actions, or half the range of actions.
        patience: steps, at least 1.
        calm: steps, at least 1.
        reaction: steps by which he is late: he acts on what he saw so long ago.
        worried: replaces the distance: True counts as above `takeover`, False as at most `handback`.

    Raises:
        ValueError: when a number is out of its range.
    """

    def __init__(
        self,
        takeover: float,
        handback: float,
        scale: ArrayLike,
        *,
        patience: int = 1,
        calm: int = 1,
        reaction: int = 0,
        worried: Worried | None = None,
    ) -> None:
        if not 0 <= handback <= takeover < np.inf:
            raise ValueError(
                f"handback is {handback} and takeover {takeover}; 0 <= handback <= takeover is needed"
            )
        if min(patience, calm) < 1 or reaction < 0:
            raise ValueError(
                f"patience {patience} and calm {calm} must be at least 1 step, reaction {reaction} at least 0"
            )
        unit = np.asarray(scale, np.float64)
        if unit.ndim > 1 or not (np.isfinite(unit).all() and (unit > 0).all()):
            raise ValueError(f"scale is {unit.tolist()}; it must be one positive number, or one a dimension")
        self.takeover, self.handback, self.scale = float(takeover), float(handback), unit
        self.patience, self.calm, self.reaction, self.worried = patience, calm, reaction, worried
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Starts an episode: he has seen nothing yet."""
        self._far = self._near = 0  # so many steps in a row
        self._seen: deque[tuple[bool, bool]] = deque()  # what he has not reacted to yet

    def takes(self, obs: Obs, proposed: Array, held: bool, ask: Callable[[], Array]) -> bool:
        """Whether he drives this step."""
        self._seen.append(self._judged(obs, proposed, ask()))
        if len(self._seen) > self.reaction:
            far, near = self._seen.popleft()
            self._far = self._far + 1 if far else 0
            self._near = self._near + 1 if near else 0
        return self._near < self.calm if held else self._far >= self.patience

    def _judged(self, obs: Obs, proposed: Array, advice: Array) -> tuple[bool, bool]:
        """Whether the step is one to take over at, and whether one to hand back at."""
        if self.worried is not None:
            bad = bool(self.worried(obs, proposed, advice))
            return bad, not bad
        distance = float(np.linalg.norm((np.asarray(proposed, np.float64) - advice) / self.scale))
        return distance > self.takeover, distance <= self.handback
