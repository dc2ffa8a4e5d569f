"""A scene: what a page needs to draw a simulated world, geometry once and then the poses of its bodies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from understudy.scene.blob import Blob, Camera

__all__ = ["Poses", "Scene"]

Poses: TypeAlias = NDArray[np.float32]
"""[n, 7]: x y z in metres, then the quaternion x y z w, of each moving body."""


@final
class Scene:
    """One world, to be drawn.

    Args:
        blob: what there is. read: the poses of now; it must leave the world as it is.
        names: of the moving bodies, in the order of their poses.
        hand: the row that a person drags; goal: the row of where to go; follow: the row that the camera keeps
            in sight. None where there is no such thing.

    Attributes:
        blob: the bytes described in `understudy.scene.blob`. head: what they say besides the arrays.
        bodies: n, how many of them move.
    """

    def __init__(
        self,
        name: str,
        blob: Blob,
        read: Callable[[], Poses],
        *,
        names: list[str],
        camera: Camera,
        hand: int | None = None,
        goal: int | None = None,
        follow: int | None = None,
    ) -> None:
        self.bodies = len(names)
        self.head: dict[str, Any] = {
            "version": 1, "task": name, "bodies": self.bodies, "names": names, "hand": hand, "goal": goal,
            "follow": follow, "camera": asdict(camera),
        }  # fmt: skip
        self.blob = blob.packed(self.head)
        self._read = read

    def poses(self) -> Poses:
        """Where every moving body is now, [n, 7]; also right after a reset. It never touches the world."""
        return self._read()
