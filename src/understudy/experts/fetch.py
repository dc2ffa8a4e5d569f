"""Controllers for the Fetch tasks: waypoints in the space of the hand.

Every action is a function of the present observation alone, continuous wherever the task allows it: no hidden
phase, so a policy that sees what the controller saw can learn what it did.
"""

from __future__ import annotations

from typing import final

import numpy as np

from understudy.episode import Array, Obs

__all__ = ["FetchPickAndPlace", "FetchPush", "FetchReach"]

_REACH = 0.033  # metres the hand moves in one step at action 1


def _ramp(x: float, a: float, b: float) -> float:
    """0 below a, 1 above b, straight between them."""
    return min(max((x - a) / (b - a), 0.0), 1.0)


def _action(move: Array, fingers: float) -> Array:
    """The action [4] that brings the hand by `move` [3], in metres, in one step if it can."""
    return np.append(np.clip(move / _REACH, -1.0, 1.0), fingers).astype(np.float32)


@final
class FetchReach:
    """Straight to the goal."""

    name = "fetch-reach expert"

    def reset(self, seed: int) -> None: ...

    def act(self, obs: Obs) -> Array:
        """The action [4]."""
        return _action(obs["desired_goal"] - obs["achieved_goal"], 0.0)


@final
class FetchPush:
    """Over the block to its far side, down, and push along the line to the goal.

    "Along" and "side" are the hand's place relative to the block, on that line and off it. In a corridor
    behind the block the hand pushes and steers back onto the line; outside of it, it travels at a height.
    """

    name = "fetch-push expert"

    def reset(self, seed: int) -> None: ...

    def act(self, obs: Obs) -> Array:
        """The action [4]."""
        s, goal = obs["state"].astype(np.float64), obs["desired_goal"].astype(np.float64)
        hand, block = s[0:3], s[3:6]
        line = (goal - block)[:2]
        line /= np.linalg.norm(line) + 1e-9
        r = (hand - block)[:2]
        along = float(r @ line)
        side = r - along * line
        travelling = _ramp(float(np.hypot(np.linalg.norm(side), max(0.0, along + 0.035))), 0.012, 0.03)
        low = goal[2] - 0.01
        up = float(hand[2] - low)
        clear = max(_ramp(up, 0.035, 0.06), _ramp(float(np.linalg.norm(r)), 0.09, 0.12))
        travel = clear * (block[:2] - 0.09 * line - hand[:2])
        push = (1.0 - _ramp(up, 0.015, 0.035)) * 0.035 * line - side
        xy = travelling * travel + (1.0 - travelling) * push
        return _action(np.append(xy, low + 0.10 * travelling - hand[2]), 0.0)


@final
class FetchPickAndPlace:
    """Over the block, down, close, carry.

    The hand comes down through a funnel over the block, so it is never low beside it; the fingers close as
    the block gets between them, and "held" grows from 0 to 1 as they meet it, which turns coming into
    carrying. Carrying is gentler, so that it is proportional to the way that is left for most of that way.
    """

    name = "fetch-pick-place expert"

    def reset(self, seed: int) -> None: ...

    def act(self, obs: Obs) -> Array:
        """The action [4]."""
        s, goal = obs["state"].astype(np.float64), obs["desired_goal"].astype(np.float64)
        block, rel, fingers = s[3:6], s[6:9], s[9:11]
        away, gap = float(np.linalg.norm(rel)), float(fingers.sum())
        held = (1.0 - _ramp(away, 0.03, 0.045)) * (1.0 - _ramp(gap, 0.052, 0.06))
        height = 0.08 * _ramp(float(np.linalg.norm(rel[:2])), 0.01, 0.03)
        come = np.clip(15.0 * (rel + np.array([0.0, 0.0, height])), -1.0, 1.0)
        carry = np.clip(5.0 * (goal - block), -1.0, 1.0)
        grip = 2.0 * (1.0 - held) * _ramp(away, 0.015, 0.03) - 1.0
        return np.append(held * carry + (1.0 - held) * come, grip).astype(np.float32)
