"""Gymnasium's Pendulum: pump energy until upright is near, then hold it there."""

from __future__ import annotations

from typing import final

import numpy as np

from understudy.episode import Array, Obs

__all__ = ["PendulumExpert"]

# Gymnasium's pendulum: m = l = 1, g = 10, so θ'' = 15 sin θ + 3 u, in steps of 0.05 s, with |u| <= 2.
_DT, _FALL, _PUSH, _TORQUE = 0.05, 15.0, 3.0, 2.0
_NEAR = 0.6  # rad


def _lqr() -> Array:
    """The gain [2] of the discrete linear-quadratic regulator at upright, for the task's own cost.

    The environment steps speed before angle, and its cost is θ² + 0.1 θ'² + 0.001 u² a step.
    """
    a = np.array([[1.0 + _FALL * _DT**2, _DT], [_FALL * _DT, 1.0]])
    b = np.array([[_PUSH * _DT**2], [_PUSH * _DT]])
    p = q = np.diag([1.0, 0.1])
    gain = np.zeros((1, 2))
    for _ in range(500):  # Riccati's equation, by its own iteration
        gain = np.linalg.solve(0.001 + b.T @ p @ b, b.T @ p @ a)
        p = q + a.T @ p @ (a - b @ gain)
    return np.asarray(gain[0])


@final
class PendulumExpert:
    """Energy shaping (Åström and Furuta 2000, eq. 8, unsaturated) far from upright, LQR near it."""

    name = "pendulum expert"

    def __init__(self) -> None:
        self._gain = _lqr()

    def reset(self, seed: int) -> None: ...

    def act(self, obs: Obs) -> Array:
        """The torque [1], in N m."""
        cos, sin, speed = (float(v) for v in obs["state"])
        angle = np.arctan2(sin, cos)
        if abs(angle) < _NEAR:
            torque = -float(self._gain @ (angle, speed))
        else:
            missing = _FALL / _PUSH * (1.0 - cos) - speed**2 / (2.0 * _PUSH)  # energy below standing upright
            torque = 3.0 * missing * speed
        return np.clip([torque], -_TORQUE, _TORQUE).astype(np.float32)
