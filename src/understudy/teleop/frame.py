"""What a control step shows: poses of the scene, and where in the session it belongs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from understudy.episode import Obs

__all__ = ["Frame", "pictures_of"]


@dataclass(frozen=True, eq=False)
class Frame:
    """One moment of a session.

    Args:
        poses: [n, 7] float32, x y z qx qy qz qw of every body that moves; n is 0 where nothing can be drawn.
        frame: counts control steps of the session. episode: counts resets.
        ack: seq of the newest input that the step knew.
        sim: seconds of the world since the reset.
        reset: whether the world was reset since the last frame.
        success: whether the task is done now.
        operator: whether the operator drives. recording: whether the step went into an episode to be kept.
        pictures: camera -> [H, W, 3] uint8.
    """

    poses: NDArray[np.float32]
    frame: int
    episode: int
    ack: int
    sim: float
    reset: bool
    success: bool
    operator: bool
    recording: bool
    pictures: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)


def pictures_of(obs: Obs) -> dict[str, NDArray[np.uint8]]:
    """The cameras among observations: uint8 [H, W, 3]."""
    return {k: v for k, v in obs.items() if v.dtype == np.uint8 and v.ndim == 3 and v.shape[2] == 3}
