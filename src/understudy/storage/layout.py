"""Names and shapes of a LeRobotDataset v3.0, and how an episode's parts map onto them. No files.

Our own facts stand in columns of meta/episodes whose names begin with ``understudy/``, which LeRobot passes
over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

from understudy.episode import Episode, Meta
from understudy.storage.features import (
    BOOKKEEPING,
    DONE,
    INFO,
    NUMBERS,
    REWARD,
    SUCCESS,
    Feature,
    feature_of,
    filmed,
    key_of,
    parse_feature,
    readable,
)
from understudy.storage.files import DataError

__all__ = [
    "BOOKKEEPING",
    "CHUNK",
    "DONE",
    "EXTRA",
    "INFO",
    "MAX_FPS",
    "NOTE",
    "REWARD",
    "SKETCH",
    "STATS",
    "SUCCESS",
    "TASKS",
    "Feature",
    "Layout",
    "data_file",
    "feature_of",
    "filmed",
    "fps_of",
    "meta_file",
    "video_file",
]

_VERSION = "v3.0"
CHUNK = 1000  # files in one folder
EXTRA = "understudy/"  # begins the names of our own columns
NOTE = b"understudy"  # the key of our note in the Parquet metadata of a file of episode rows
STATS, TASKS = "meta/stats.json", "meta/tasks.parquet"
SKETCH = (
    "meta/understudy.safetensors"  # what stats.json is continued from; a cache, rebuilt where it does not fit
)
_DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_SHARE = _DATA_PATH.removeprefix("data/")
_VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
MAX_FPS = 1_000_000


def data_file(number: int) -> str:
    """The place of the data file with this number, counted across chunks."""
    return "data/" + _SHARE.format(chunk_index=number // CHUNK, file_index=number % CHUNK)


def meta_file(number: int) -> str:
    """The place of the file of episode rows with this number, counted across chunks."""
    return "meta/episodes/" + _SHARE.format(chunk_index=number // CHUNK, file_index=number % CHUNK)


def video_file(name: str, number: int) -> str:
    """The place of a camera's video file with this number, counted across chunks; ours has the episode's."""
    return f"videos/{name}/chunk-{number // CHUNK:03d}/file-{number % CHUNK:03d}.mp4"


@dataclass(frozen=True)
class Layout:
    """What one dataset's columns are. `obs` maps the observations' names to their columns.

    `skipped` names the features that do not become part of an episode, `videos` those that are video.
    """

    obs: Mapping[str, Feature]
    action: Feature
    reward: bool
    success: bool
    fps: int
    robot_type: str | None
    skipped: tuple[str, ...] = ()
    videos: tuple[str, ...] = ()

    @classmethod
    def of(cls, episode: Episode, fps: int | None, robot_type: str | None, *, video: bool) -> Layout:
        """The layout of a dataset that begins with this episode, which says the fps where nobody else does.
        With `video`, pictures of three channels become video.

        next.success is declared if this first episode knows whether it succeeded; what each later one knows
        is kept apart, so nothing is lost.
        """
        if fps is None:
            fps = fps_of(episode.meta)
        obs = {k: feature_of(k, str(v.dtype), v.shape[1:], video=video) for k, v in episode.obs.items()}
        by_name: dict[str, str] = {}
        for key, feature in obs.items():
            if other := by_name.get(feature.name):
                raise DataError(
                    f"observations {other!r} and {key!r} would both be stored as {feature.name!r}"
                )
            by_name[feature.name] = key
        action = Feature("action", str(episode.action.dtype), episode.action.shape[1:])
        success = episode.success is not None
        videos = tuple(f.name for f in obs.values() if f.video)
        return cls(MappingProxyType(obs), action, True, success, fps, robot_type, (), videos)

    @classmethod
    def parse(cls, info: Mapping[str, Any], renamed: Mapping[str, str]) -> Layout:
        """The layout declared by info.json. `renamed` maps columns to observations where no rule does.

        Raises:
            DataError: when a declaration is missing, malformed or names another layout.
        """
        if info.get("codebase_version") != _VERSION:
            raise DataError(
                f"{INFO} says codebase_version {info.get('codebase_version')!r}; only {_VERSION} is read"
            )
        # The template is compared, never formatted: whoever wrote it would choose which files are opened.
        if info.get("data_path") != _DATA_PATH:
            raise DataError(f"{INFO} says data_path {info.get('data_path')!r}; the layout has {_DATA_PATH!r}")
        fps = info.get("fps")
        if isinstance(fps, bool) or not isinstance(fps, int | float) or not 1 <= fps <= MAX_FPS:
            raise DataError(f"{INFO} says fps {fps!r}; it must be a number of at least 1")
        robot_type = info.get("robot_type")
        declared = info.get("features")
        if not isinstance(declared, dict):
            raise DataError(f"{INFO} declares no features")
        features = {name: parse_feature(name, entry) for name, entry in declared.items()}
        obs: dict[str, Feature] = {}
        skipped = []
        for name, feature in features.items():
            if name.startswith("observation.") and readable(feature, declared[name]):
                key = renamed.get(name, key_of(feature))
                if key in obs:
                    raise DataError(f"features {obs[key].name!r} and {name!r} are both observation {key!r}")
                if name in renamed and feature_of(key, feature.kind, feature.shape).name != name:
                    raise DataError(f"feature {name!r} cannot be observation {key!r}")
                obs[key] = feature
            elif name not in ("action", *(f.name for f in (REWARD, DONE, SUCCESS, *BOOKKEEPING))):
                skipped.append(name)
        action = features.get("action")
        if action is None or action.dtype not in NUMBERS or len(action.shape) != 1:
            raise DataError(
                f"{INFO} declares no 'action' of shape [A]; without it there is nothing to imitate"
            )
        reward, success = features.get(REWARD.name), features.get(SUCCESS.name)
        videos = tuple(f.name for f in obs.values() if f.video)
        if videos and info.get("video_path") != _VIDEO_PATH:
            raise DataError(
                f"{INFO} says video_path {info.get('video_path')!r}; the layout has {_VIDEO_PATH!r}"
            )
        return cls(
            MappingProxyType(obs),
            action,
            reward is not None and reward.dtype in NUMBERS and reward.shape == (1,),
            success is not None and success.dtype == "bool" and success.shape == (1,),
            int(fps),
            robot_type if isinstance(robot_type, str) else None,
            tuple(skipped),
            videos,
        )

    def without_videos(self) -> Layout:
        """The same with its videos skipped."""
        obs = MappingProxyType({k: f for k, f in self.obs.items() if not f.video})
        return replace(self, obs=obs, skipped=(*self.skipped, *self.videos))

    def check(self, episode: Episode, number: int) -> None:
        """Refuses an episode that does not fit into the columns, by its number."""
        have = {k: (str(v.dtype), v.shape[1:]) for k, v in episode.obs.items()}
        have["action"] = (str(episode.action.dtype), episode.action.shape[1:])
        want = {k: (f.kind, f.shape) for k, f in self.obs.items()}
        want["action"] = (self.action.dtype, self.action.shape)
        if have != want:
            name = min(k for k in have.keys() | want.keys() if have.get(k) != want.get(k))
            here, there = (f"{x[name][0]}{list(x[name][1])}" if name in x else "absent" for x in (have, want))
            raise DataError(
                f"episode {number} has {name!r} as {here}, the dataset as {there}; "
                "all episodes of a dataset must be alike"
            )

    def renamed(self) -> dict[str, str]:
        """Column -> observation, where the column's name alone does not say it."""
        return {f.name: key for key, f in self.obs.items() if key_of(f) != key}

    @property
    def signals(self) -> tuple[Feature, ...]:
        """The columns with statistics."""
        return (*self.obs.values(), self.action, *([REWARD] if self.reward else []))

    @property
    def features(self) -> tuple[Feature, ...]:
        """All features, in order."""
        return (*self.signals, DONE, *([SUCCESS] if self.success else []), *BOOKKEEPING)

    @cached_property
    def stored(self) -> Mapping[str, Feature]:
        """The observations that have a column in the data files, all but video."""
        return MappingProxyType({k: f for k, f in self.obs.items() if not f.video})

    @property
    def columns(self) -> tuple[Feature, ...]:
        """All columns of a data file, in order: the features that are not video."""
        return tuple(f for f in self.features if not f.video)

    @cached_property
    def _declared(self) -> str:
        """The features of info.json as text: the same for every episode, and most of the file."""
        text = json.dumps({f.name: f.declared(self.fps) for f in self.features}, indent=4)
        return text.replace("\n", "\n    ")

    def info(self, episodes: int, frames: int, tasks: int) -> bytes:
        """The contents of info.json."""
        head = {
            "codebase_version": _VERSION,
            "robot_type": self.robot_type,
            "total_episodes": episodes,
            "total_frames": frames,
            "total_tasks": tasks,
            "chunks_size": CHUNK,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": self.fps,
            "splits": {"train": f"0:{episodes}"},
            "data_path": _DATA_PATH,
            "video_path": _VIDEO_PATH if self.videos else None,
        }
        text = json.dumps(head, indent=4).removesuffix("\n}")
        return f'{text},\n    "features": {self._declared}\n}}\n'.encode()


def fps_of(meta: Meta) -> int:
    """The steps a second that an episode's facts name, or 1: timestamps then count steps."""
    noted = meta.get("fps", 1)
    whole = isinstance(noted, int | float) and 1 <= noted <= MAX_FPS and float(noted).is_integer()
    return int(noted) if whole else 1
