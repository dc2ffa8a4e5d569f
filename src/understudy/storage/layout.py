"""Names and shapes of a LeRobotDataset v3.0, and how an episode's parts map onto them. No files.

Our own facts stand in columns of meta/episodes whose names begin with ``understudy/``, which LeRobot passes
over.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

from understudy.episode import Episode
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
    "meta_file",
]

_VERSION = "v3.0"
CHUNK = 1000  # files in one folder
EXTRA = "understudy/"  # begins the names of our own columns
NOTE = b"understudy"  # the key of our note in the Parquet metadata of a file of episode rows
INFO, STATS, TASKS = "meta/info.json", "meta/stats.json", "meta/tasks.parquet"
SKETCH = (
    "meta/understudy.safetensors"  # what stats.json is continued from; a cache, rebuilt where it does not fit
)
_DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_SHARE = _DATA_PATH.removeprefix("data/")
_NUMBERS = (
    "float16",
    "float32",
    "float64",
    "bool",
    *(f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)),
)
MAX_FPS = 1_000_000
_MAX_VALUES = 2**28  # of one feature in one step


def data_file(number: int) -> str:
    """The place of the data file with this number, counted across chunks."""
    return "data/" + _SHARE.format(chunk_index=number // CHUNK, file_index=number % CHUNK)


def meta_file(number: int) -> str:
    """The place of the file of episode rows with this number, counted across chunks."""
    return "meta/episodes/" + _SHARE.format(chunk_index=number // CHUNK, file_index=number % CHUNK)


@dataclass(frozen=True)
class Feature:
    """One declared column: its name there, its dtype as LeRobot calls it, and the shape of one step."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def image(self) -> bool:
        return self.dtype == "image"

    @property
    def kind(self) -> str:
        """The dtype in memory: uint8 for images, else float32."""
        return "uint8" if self.image or (self.dtype == "uint8" and len(self.shape) >= 2) else "float32"

    @property
    def width(self) -> int:
        """Values in one step."""
        return math.prod(self.shape)

    @property
    def stats_shape(self) -> tuple[int, ...]:
        """The shape of a statistic: one a channel for images, one for other uint8 arrays, else as a step."""
        if self.image:
            return (self.shape[2], 1, 1)
        return (1,) * len(self.shape) if self.kind == "uint8" else self.shape

    def declared(self) -> dict[str, Any]:
        """The entry in info.json."""
        names = ["height", "width", "channels"] if self.image else None
        return {"dtype": self.dtype, "shape": list(self.shape), "names": names}


REWARD, DONE, SUCCESS = (
    Feature("next.reward", "float32", (1,)),
    Feature("next.done", "bool", (1,)),
    Feature("next.success", "bool", (1,)),
)
BOOKKEEPING = (
    Feature("timestamp", "float32", (1,)),
    Feature("frame_index", "int64", (1,)),
    Feature("episode_index", "int64", (1,)),
    Feature("index", "int64", (1,)),
    Feature("task_index", "int64", (1,)),
)


def _feature_of(key: str, dtype: str, shape: tuple[int, ...]) -> Feature:
    """The column of an observation: uint8 [H, W, 1 to 4] is an image. A slash would part LeRobot's names."""
    if math.prod(shape) == 0:
        raise DataError(f"observation {key!r} has shape {list(shape)}; without values it cannot be stored")
    if len(shape) > 5:
        raise DataError(
            f"observation {key!r} has shape {list(shape)}; the layout has at most 5 dimensions a step"
        )
    image = dtype == "uint8" and len(shape) == 3 and shape[2] <= 4
    name = ("observation.images." if image else "observation.") + key.replace("/", ".")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise DataError(f"observation {key!r} has a name that is not text") from None
    return Feature(name, "image" if image else dtype, shape)


def _key_of(feature: Feature) -> str:
    """An observation's name from its column's."""
    name = feature.name.removeprefix("observation.")
    return name.removeprefix("images.") if feature.dtype in ("image", "video") else name


@dataclass(frozen=True)
class Layout:
    """What one dataset's columns are. `obs` maps the observations' names to their columns.

    `skipped` names the features that do not become part of an episode; `videos` those that could, once videos
    are read.
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
    def of(cls, episode: Episode, fps: int | None, robot_type: str | None) -> Layout:
        """The layout of a dataset that begins with this episode, which says the fps where nobody else does.

        next.success is declared if this first episode knows whether it succeeded; what each later one knows
        is kept apart, so nothing is lost.
        """
        if fps is None:
            noted = episode.meta.get("fps", 1)
            whole = isinstance(noted, int | float) and 1 <= noted <= MAX_FPS and float(noted).is_integer()
            fps = int(noted) if whole else 1
        obs = {k: _feature_of(k, str(v.dtype), v.shape[1:]) for k, v in episode.obs.items()}
        by_name: dict[str, str] = {}
        for key, feature in obs.items():
            if other := by_name.get(feature.name):
                raise DataError(
                    f"observations {other!r} and {key!r} would both be stored as {feature.name!r}"
                )
            by_name[feature.name] = key
        action = Feature("action", str(episode.action.dtype), episode.action.shape[1:])
        success = episode.success is not None
        return cls(MappingProxyType(obs), action, True, success, fps, robot_type)

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
        features = {name: _parse_feature(name, entry) for name, entry in declared.items()}
        obs: dict[str, Feature] = {}
        skipped, videos = [], []
        for name, feature in features.items():
            if feature.dtype == "video":
                videos.append(name)
            elif name.startswith("observation.") and feature.dtype in (*_NUMBERS, "image"):
                key = renamed.get(name, _key_of(feature))
                if key in obs:
                    raise DataError(f"features {obs[key].name!r} and {name!r} are both observation {key!r}")
                if name in renamed and _feature_of(key, feature.kind, feature.shape).name != name:
                    raise DataError(f"feature {name!r} cannot be observation {key!r}")
                obs[key] = feature
            elif name not in ("action", *(f.name for f in (REWARD, DONE, SUCCESS, *BOOKKEEPING))):
                skipped.append(name)
        action = features.get("action")
        if action is None or action.dtype not in _NUMBERS or len(action.shape) != 1:
            raise DataError(
                f"{INFO} declares no 'action' of shape [A]; without it there is nothing to imitate"
            )
        reward, success = features.get(REWARD.name), features.get(SUCCESS.name)
        return cls(
            MappingProxyType(obs),
            action,
            reward is not None and reward.dtype in _NUMBERS and reward.shape == (1,),
            success is not None and success.dtype == "bool" and success.shape == (1,),
            int(fps),
            robot_type if isinstance(robot_type, str) else None,
            tuple(skipped),
            tuple(videos),
        )

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
        return {f.name: key for key, f in self.obs.items() if _key_of(f) != key}

    @property
    def signals(self) -> tuple[Feature, ...]:
        """The columns with statistics."""
        return (*self.obs.values(), self.action, *([REWARD] if self.reward else []))

    @property
    def features(self) -> tuple[Feature, ...]:
        """All columns of a data file, in order."""
        return (*self.signals, DONE, *([SUCCESS] if self.success else []), *BOOKKEEPING)

    @cached_property
    def _declared(self) -> str:
        """The features of info.json as text: the same for every episode, and most of the file."""
        text = json.dumps({f.name: f.declared() for f in self.features}, indent=4)
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
            "video_path": None,
        }
        text = json.dumps(head, indent=4).removesuffix("\n}")
        return f'{text},\n    "features": {self._declared}\n}}\n'.encode()


def _parse_feature(name: str, entry: object) -> Feature:
    dtype, shape = (entry.get("dtype"), entry.get("shape")) if isinstance(entry, dict) else (None, None)
    whole = isinstance(shape, list) and all(isinstance(n, int) and not isinstance(n, bool) for n in shape)
    if not isinstance(dtype, str) or not isinstance(shape, list) or not whole:
        raise DataError(f"{INFO} declares feature {name!r} without a dtype and a shape")
    if len(shape) > 8 or min(shape, default=1) < 1 or math.prod(shape) > _MAX_VALUES:
        raise DataError(
            f"{INFO} declares feature {name!r} with shape {str(shape)[:80]}; no step can have that"
        )
    if dtype == "image" and len(shape) != 3:
        raise DataError(
            f"{INFO} declares image {name!r} with shape {shape}; it must be [height, width, channels]"
        )
    return Feature(name, dtype, tuple(shape) or (1,))
