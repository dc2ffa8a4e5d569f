"""Gymnasium's continuous LunarLander: lean against the drift, come down inside a cone over the pad."""

from __future__ import annotations

from typing import final

import numpy as np

from understudy.episode import Array, Obs

__all__ = ["LunarLanderExpert"]


@final
class LunarLanderExpert:
    """Two proportional-derivative laws: one for the tilt, one for the height.

    The tilt that is aimed at grows with the distance from the pad and with the drift away from it; the height
    that is aimed at is proportional to the distance, so the descent follows a cone. On the ground the tilt is
    left alone, and the fall is braked harder. The gains were found by search over seeds 1000 to 2149.
    """

    name = "lunar-lander expert"

    def reset(self, seed: int) -> None: ...

    def act(self, obs: Obs) -> Array:
        """The throttles [2] of the main engine and of the side engines."""
        x, y, vx, vy, angle, spin, left, right = (float(v) for v in obs["state"])
        lean = float(np.clip(0.45 * x + 1.05 * vx, -0.75, 0.75))
        main = 8.5 * (0.65 * abs(x) - y) - 9.0 * vy - 1.3
        side = 9.5 * (angle - lean) + 15.6 * spin
        if left or right:
            main, side = -10.0 * vy - 0.5, 0.0
        return np.clip([main, side], -1.0, 1.0).astype(np.float32)
