"""The scripted human of the human-gated methods, as flags: when he takes over and when he hands back."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.typing import ArrayLike

from understudy.experts.watch import Watchful

__all__ = ["Watched"]


@dataclass(frozen=True, kw_only=True)
class Watched:
    """When a script that watches in place of a human takes over and hands back.

    Distances are in standard deviations of training actions.
    """

    takeover: float = 0.75
    """He takes over where what the policy proposes is farther than this from what he would do ..."""
    patience: int = 2
    """... for so many steps in a row."""
    handback: float = 0.4
    """He hands back where it is at most so far ..."""
    calm: int = 3
    """... for so many steps in a row."""

    def watchful(self, scale: ArrayLike, reaction: int = 0) -> Watchful:
        """The script, with `scale` as the unit of distances, `reaction` steps late.

        Raises:
            ValueError: when a number is out of its range.
        """
        return Watchful(
            self.takeover, self.handback, scale, patience=self.patience, calm=self.calm, reaction=reaction
        )
