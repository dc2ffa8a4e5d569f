"""Gymnasium's Reacher: inverse kinematics says where to go, a proportional-derivative law how."""

from __future__ import annotations

from typing import final

import numpy as np

from understudy.episode import Array, Obs

__all__ = ["ReacherExpert"]

_UPPER, _FORE = 0.1, 0.11  # metres, shoulder to elbow and elbow to fingertip
_STIFF, _DAMP = 0.35, 0.06  # torque a radian, and a radian a second


@final
class ReacherExpert:
    """Moves both joints to the nearer of the two postures that put the fingertip on the target."""

    name = "reacher expert"

    def reset(self, seed: int) -> None: ...

    def act(self, obs: Obs) -> Array:
        """The torques [2] of shoulder and elbow."""
        s = obs["state"].astype(np.float64)
        shoulder, elbow = np.arctan2(s[2], s[0]), np.arctan2(s[3], s[1])
        target, speed = s[4:6], s[6:8]
        # The law of cosines; a target beyond reach is pointed at.
        bend = np.arccos(np.clip((target @ target - _UPPER**2 - _FORE**2) / (2 * _UPPER * _FORE), -1.0, 1.0))
        error = np.full(2, np.inf)
        for e in (bend, -bend):
            point = np.arctan2(target[1], target[0])
            lift = point - np.arctan2(_FORE * np.sin(e), _UPPER + _FORE * np.cos(e))
            turn = (lift - shoulder + np.pi) % (2 * np.pi) - np.pi  # only the shoulder turns freely
            if max(abs(turn), abs(e - elbow)) < np.abs(error).max():
                error = np.array([turn, e - elbow])
        return np.clip(_STIFF * error - _DAMP * speed, -1.0, 1.0).astype(np.float32)
