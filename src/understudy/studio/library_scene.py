"""The scene of a recorded episode, made again in simulation so that it can be scrubbed."""

from __future__ import annotations

import struct
import threading
from collections import OrderedDict
from typing import Any, final

from understudy.envs import Task
from understudy.episode import Episode
from understudy.scene import NotDrawn, Replayed, replayed
from understudy.studio.library_shelf import known

__all__ = ["TRIMMED", "NotDrawn", "Stage", "packed"]

TRIMMED = "trimmed_start"  # the fact that says how many steps were cut off an episode's start
_STEPS = 5000  # of an episode that is simulated again: a minute and more of a processor beyond
_HELD = 8  # episodes whose poses and geometry stay in memory


def packed(made: Replayed) -> bytes:
    """The poses as a page takes them: u32 frames, u32 bodies, then float32 [T + 1, n, 7], little endian."""
    frames, bodies, _ = made.poses.shape
    return struct.pack("<II", frames, bodies) + made.poses.astype("<f4").tobytes()


@final
class Stage:
    """Episodes simulated again, one at a time, the newest of them held. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: OrderedDict[tuple[Any, ...], Replayed] = OrderedDict()

    def played(self, key: tuple[Any, ...], episode: Episode) -> Replayed:
        """The episode with its scene and poses; `key` says which episode of which version it is.

        Raises:
            NotDrawn: where the task is not at hand or draws nothing, or the start cannot be made again.
        """
        task = _task_of(episode)
        with self._lock:
            if key not in self._held:
                self._held[key] = replayed(task, episode)
                while len(self._held) > _HELD:
                    self._held.popitem(last=False)
            self._held.move_to_end(key)
            return self._held[key]


def _task_of(episode: Episode) -> Task:
    name = str(episode.meta.get("task", ""))
    if (task := known(name)) is None:
        raise NotDrawn(
            f"{name[:60]!r} is no task that is built in here, so there is nothing to simulate it in"
            if name
            else "the episode does not say what task it is of, so there is nothing to simulate it in"
        )
    if cut := episode.meta.get(TRIMMED):
        raise NotDrawn(f"its first {cut} steps were cut off, so its start cannot be made again")
    if len(episode) > _STEPS:
        raise NotDrawn(f"the episode has {len(episode)} steps; up to {_STEPS} are simulated again")
    return task
