"""The statistics of a dataset (stats.json), carried on from one session to the next beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from safetensors.numpy import load, save

from understudy.episode import Array, Episode
from understudy.storage.layout import Feature, Layout
from understudy.storage.statistics import Histogram, Numbers

__all__ = ["SAMPLED", "THINNED", "Statistics"]

# Statistics of a video are those of every eighth frame from the first on, of those every second pixel of
# every second row: all pixels of two cameras would take as long as encoding them.
SAMPLED = 8
THINNED = (slice(None), slice(None, None, 2), slice(None, None, 2))


class Statistics:
    """Of every signal over all steps; the state after the last action is not a step and does not count."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._of = {f.name: _blank(f) for f in layout.signals}
        self.episodes = 0
        self.frames = 0

    def add(
        self, episode: Episode, filmed: Mapping[str, Histogram] | None = None
    ) -> dict[str, dict[str, Any]]:
        """Takes in an episode and gives back its own moments: feature -> statistic -> value.

        `filmed` are the statistics of its videos where they were taken as the pictures passed through. Those
        of a video are of a sample of its pixels: every second of every second row of every eighth frame.

        Not its quantiles: LeRobot would average them over episodes, which gives no quantile.
        """
        stored = self._layout.stored
        columns: dict[str, Array] = {f.name: episode.obs[k][:-1] for k, f in stored.items()}
        columns |= {"action": episode.action, "next.reward": episode.reward}
        self.episodes += 1
        self.frames += len(episode)
        found = {name: s.add(columns[name]) for name, s in self._of.items() if name in columns}
        for key, feature in self._layout.obs.items():
            if (total := self._of.get(feature.name)) is None or not feature.video:
                continue
            if filmed is None:
                here = _blank(feature)
                for i in range(0, len(episode) + 1, SAMPLED):
                    here.add(episode.obs[key][i : i + 1][THINNED])
            else:
                here = filmed[feature.name]
            assert isinstance(total, Histogram)
            assert isinstance(here, Histogram)
            found[feature.name] = total.merge(here)
        return found

    def summary(self) -> dict[str, dict[str, Any]]:
        """The contents of stats.json."""
        return {name: stats.summary() for name, stats in self._of.items()}

    def save(self, file: IO[bytes]) -> None:
        """Writes all that `restore` needs."""
        arrays = {f"{name}|{k}": v for name, s in self._of.items() for k, v in s.state().items()}
        arrays["|covers"] = np.array([self.episodes, self.frames])
        file.write(save(arrays))

    def restore(self, content: bytes) -> None:
        """Carries on from what `save` wrote.

        Raises:
            Exception: of any kind when the content is damaged or of another layout; the object is then
            unusable.
        """
        arrays: Mapping[str, Array] = load(content)
        for name, stats in self._of.items():
            stats.load({k.rpartition("|")[2]: v for k, v in arrays.items() if k.rpartition("|")[0] == name})
        self.episodes, self.frames = (int(n) for n in arrays["|covers"])
        counts = {
            s.count if isinstance(s, Numbers) else s.frames
            for name, s in self._of.items()
            if name not in self._layout.videos
        }
        if counts != {self.frames}:
            raise ValueError("the saved statistics do not agree on the number of frames")


def _blank(feature: Feature) -> Numbers | Histogram:
    if feature.kind == "uint8":
        channels = feature.shape[2] if feature.camera else 1
        return Histogram(feature.stats_shape, channels=channels, image=feature.camera)
    return Numbers(feature.shape, np.dtype(feature.dtype))
