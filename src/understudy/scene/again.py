"""A recorded episode played again from its seed, so that it can be drawn: poses need not be recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self, final

import numpy as np
from numpy.typing import NDArray

from understudy.envs import Task
from understudy.episode import Episode, Obs
from understudy.scene.finding import scene_of
from understudy.scene.scene import Scene

__all__ = ["NotDrawn", "Player", "Replayed", "replayed"]

_TOLERANCE = 1e-3  # of the spread of an observation: float32 keeps seven digits


class NotDrawn(ValueError):
    """The episode cannot be drawn; the message says why, in one line."""


@dataclass(frozen=True)
class Replayed:
    """The poses of an episode, worked out again.

    Args:
        scene: what they are poses of. poses: [T + 1, n, 7].
        deviation: the largest difference of any observation from the recorded one, in spreads (standard
            deviations) of that value over the episode; in its own unit where it never changed.
    """

    scene: Scene
    poses: NDArray[np.float32]
    deviation: float

    @property
    def faithful(self) -> bool:
        """Whether what was observed came back; otherwise the poses are those of another episode."""
        return self.deviation <= _TOLERANCE


@final
class Player:
    """Plays recorded episodes of one task again, in a world of its own; close it, or use it with `with`.

    Raises:
        NotDrawn: when the task cannot be drawn.
        ValueError: when it cannot be made, such as for want of a simulator.
    """

    def __init__(self, task: Task) -> None:
        self.task, self.env = task, task.make()
        scene = scene_of(self.env)
        if scene is None:
            self.env.close()
            raise NotDrawn(f"nobody has drawn the task {task.name!r}")
        self.scene = scene

    def play(self, episode: Episode) -> Replayed:
        """Executes the recorded actions again from the recorded seed.

        All of them are executed, whether or not the task would have ended before: whoever recorded went on.

        Raises:
            NotDrawn: when the episode has no seed, its actions or observations are not the task's, or the
                world ends before the recording does.
        """
        seed = episode.meta.get("seed")
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise NotDrawn("the episode has no seed in its meta, so its start cannot be made again")
        obs, _ = self.env.reset(seed=seed)
        names = self._shared(episode)
        poses, seen = [self.scene.poses()], [obs]
        for step, action in enumerate(episode.action):
            try:
                obs, *_ = self.env.step(action)
            except ValueError as wrong:
                raise NotDrawn(f"it cannot be executed again beyond step {step}: {wrong}") from None
            poses.append(self.scene.poses())
            seen.append(obs)
        return Replayed(self.scene, np.stack(poses), max(_apart(episode, seen, k) for k in names))

    def close(self) -> None:
        """Frees the world."""
        self.env.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _shared(self, episode: Episode) -> list[str]:
        """The observations that can be compared."""
        task = self.task
        width, discrete = task.action.width, task.action.n is not None
        if episode.action.shape[1:] != (width,) or (episode.action.dtype == np.int64) is not discrete:
            raise NotDrawn(f"its actions are not those of task {task.name!r}")
        obs = episode.obs
        if names := [k for k in task.obs if k in obs and obs[k].shape[1:] == tuple(task.obs[k])]:
            return names
        raise NotDrawn(f"it has none of the observations of task {task.name!r}")


def replayed(task: Task, episode: Episode) -> Replayed:
    """One episode, played again by a `Player`; it raises what that raises."""
    with Player(task) as player:
        return player.play(episode)


def _apart(episode: Episode, seen: list[Obs], key: str) -> float:
    """The largest difference of one observation from the recorded one, in its spreads."""
    then = np.asarray(episode.obs[key], np.float64)
    now = np.stack([np.asarray(o[key], np.float64) for o in seen])
    with np.errstate(invalid="ignore", over="ignore"):  # a recording may hold anything
        spread = then.std(axis=0)
        gap = np.abs(now - then).max(axis=0) / np.where(spread > 0, spread, 1.0)
    return float(np.nan_to_num(gap, nan=np.inf).max(initial=0.0))
