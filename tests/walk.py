"""A walk on a line, for learners that act: short episodes, some of which end and some of which run out."""

from __future__ import annotations

from typing import Any

import numpy as np

from understudy.envs import ActionSpec, adapt


class Walk:
    """A step on a line is what is done; the task ends beyond 0.8, and time after seven steps."""

    action = ActionSpec.box([-1.0], [1.0])

    def reset(self, seed: int | None = None) -> Any:
        self._at = np.zeros(1, np.float32)
        return self._at

    def step(self, action: Any) -> Any:
        self._at = self._at + 0.3 * np.asarray(action, np.float32)
        return self._at, 0.0, bool(self._at[0] > 0.8), False, {}


def make_walk() -> Any:
    return adapt(Walk(), horizon=7)
