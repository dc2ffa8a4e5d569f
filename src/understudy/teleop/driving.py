"""Who drives, in each mode: what is done in a step, what is a label, and what the others think meanwhile.

Shapes: A action width.
"""

from __future__ import annotations

from typing import final

import numpy as np

from understudy.envs.spaces import ActionSpec
from understudy.episode import EXPERT, POLICY, Array, Obs
from understudy.roles import Policy
from understudy.teleop.controls import Controls
from understudy.teleop.input import Input
from understudy.teleop.pilots import Pilot
from understudy.teleop.tape import Turn

__all__ = ["Driving", "disagreement", "needs_operator", "needs_pilot", "records"]


def needs_pilot(mode: str) -> bool:
    """Whether a mode is one in which a policy takes part."""
    return mode != "record"


def needs_operator(mode: str) -> bool:
    """Whether the operator drives when an episode of a mode begins."""
    return mode in ("record", "shadow")


def records(mode: str) -> bool:
    """Whether episodes of a mode are kept."""
    return mode != "watch"


def disagreement(a: Array, b: Array, spec: ActionSpec) -> float:
    """How far two actions [A] are apart: the root mean square over dimensions, in half ranges.

    Of choices it is 0 or 1.

    >>> disagreement(np.array([1.0, 0.0]), np.array([-1.0, 0.0]), ActionSpec.box([-1, -1], [1, 1]))
    1.4142135623730951
    """
    if spec.n is not None:
        return float(a[0] != b[0])
    half = np.maximum((spec.high.astype(np.float64) - spec.low) / 2.0, np.finfo(np.float32).tiny)
    return float(np.sqrt(np.mean(((a.astype(np.float64) - b) / half) ** 2)))


@final
class Driving:
    """The roles in one session.

    Attributes:
        operator: whether the operator drives now.
        moved: whether he has moved anything since he took the controls.
        doubt, apart: the pilot's doubt, and how far it is from the operator, in the last step; None unknown.
    """

    def __init__(self, controls: Controls, pilot: Pilot | None, expert: Policy | None) -> None:
        self.controls, self.pilot, self.expert = controls, pilot, expert
        self.spec = controls.spec
        self.begin("record", 0)

    def begin(self, mode: str, seed: int) -> None:
        """Starts an episode."""
        self.mode, self.operator, self.moved = mode, needs_operator(mode), False
        self.doubt: float | None = None
        self.apart: float | None = None
        self.controls.begin()
        if needs_pilot(mode) and self.pilot is not None:
            self.pilot.reset(seed)
        if mode == "shadow" and self.expert is not None:
            self.expert.reset(seed)

    def take(self, executed: Array | None) -> None:
        """The operator drives from the next step on, from where things are after `executed` [A]."""
        self.operator, self.moved = True, False
        self.controls.begin(executed, anchored=True)

    def hand(self) -> None:
        """Somebody else drives from the next step on."""
        self.operator = False

    def turn(self, obs: Obs, input: Input | None, speed: float) -> Turn | None:
        """What is done now; None where the world waits for the operator."""
        mine = self.controls.action(input, obs, speed) if self.operator else None
        self.moved = self.moved or mine is not None
        if self.operator and mine is None and (self.controls.turns or not self._under_way()):
            return None
        mine = self.controls.hold() if mine is None and self.operator else mine
        if self.mode == "record":
            assert mine is not None
            return Turn(mine, mine, None)
        return self._shadowed(obs, mine) if self.mode == "shadow" else self._piloted(obs, mine)

    def _under_way(self) -> bool:
        """Whether the world goes on without him: in episodes that he begins, from his first motion."""
        return self.moved or not needs_operator(self.mode)

    def _piloted(self, obs: Obs, mine: Array | None) -> Turn:
        assert self.pilot is not None
        if mine is None:
            proposed = self.spec.settle(self.pilot.act(obs))
            self.doubt = self.pilot.doubt(obs)
            return Turn(proposed, None, POLICY)
        self.pilot.watch(obs)
        self.doubt = self.pilot.doubt(obs)
        # Until he moves, he looks: a robot that waits for a person's reaction is nothing to learn.
        return Turn(mine, mine if self.moved else None, EXPERT)

    def _shadowed(self, obs: Obs, mine: Array | None) -> Turn:
        assert self.pilot is not None
        proposed = self.spec.settle(self.pilot.act(obs))
        self.doubt = self.pilot.doubt(obs)
        if mine is None:
            assert self.expert is not None
            mine = self.spec.settle(self.expert.act(obs))
        self.apart = disagreement(proposed, mine, self.spec)
        return Turn(mine, mine, None)

    @property
    def unsure(self) -> bool:
        """Whether the pilot's doubt is above its threshold."""
        if self.pilot is None or self.doubt is None or (limit := self.pilot.threshold) is None:
            return False
        return self.doubt > limit
