"""The declared columns of a LeRobotDataset v3.0, and which of them an observation becomes. No files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from understudy.storage.files import DataError

__all__ = [
    "BOOKKEEPING",
    "DONE",
    "INFO",
    "NUMBERS",
    "REWARD",
    "SUCCESS",
    "Feature",
    "feature_of",
    "filmed",
    "key_of",
    "parse_feature",
    "readable",
]

INFO = "meta/info.json"
NUMBERS = (
    "float16",
    "float32",
    "float64",
    "bool",
    *(f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)),
)
_MAX_VALUES = 2**28  # of one feature in one step
_MAX_SIDE = 8192  # pixels of a video


@dataclass(frozen=True)
class Feature:
    """One declared column: its name there, its dtype as LeRobot calls it, and the shape of one step.

    A video has no column in the data files: its pictures lie in files of their own.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def image(self) -> bool:
        return self.dtype == "image"

    @property
    def video(self) -> bool:
        return self.dtype == "video"

    @property
    def camera(self) -> bool:
        """Whether a step of it is a picture [H, W, C], as an image or in a video."""
        return self.image or self.video

    @property
    def kind(self) -> str:
        """The dtype in memory: uint8 for images, else float32."""
        return "uint8" if self.camera or (self.dtype == "uint8" and len(self.shape) >= 2) else "float32"

    @property
    def width(self) -> int:
        """Values in one step."""
        return math.prod(self.shape)

    @property
    def stats_shape(self) -> tuple[int, ...]:
        """The shape of a statistic: one a channel for images, one for other uint8 arrays, else as a step."""
        if self.camera:
            return (self.shape[2], 1, 1)
        return (1,) * len(self.shape) if self.kind == "uint8" else self.shape

    def declared(self, fps: int) -> dict[str, Any]:
        """The entry in info.json."""
        names = ["height", "width", "channels"] if self.camera else None
        entry = {"dtype": self.dtype, "shape": list(self.shape), "names": names}
        return entry | {"info": _video_info(self.shape, fps)} if self.video else entry


def _video_info(shape: tuple[int, ...], fps: int) -> dict[str, Any]:
    """What info.json says of a video that we write, as LeRobot has it."""
    return {
        "video.height": shape[0],
        "video.width": shape[1],
        "video.codec": "h264",
        "video.pix_fmt": "yuv420p",
        "video.is_depth_map": False,
        "video.fps": fps,
        "video.channels": 3,
        "has_audio": False,
    }


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


def filmed(dtype: str, shape: tuple[int, ...]) -> bool:
    """Whether an observation is what a video can hold: pictures of red, green and blue."""
    return dtype == "uint8" and len(shape) == 3 and shape[2] == 3


def feature_of(key: str, dtype: str, shape: tuple[int, ...], *, video: bool = False) -> Feature:
    """The column of an observation: uint8 [H, W, 1 to 4] is an image, or a video where `video` is said and
    it has 3 channels. A slash would part LeRobot's names.

    Raises:
        DataError: when the layout has no place for it.
    """
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
    if not (video and filmed(dtype, shape)):
        return Feature(name, "image" if image else dtype, shape)
    if shape[0] % 2 or shape[1] % 2:
        raise DataError(
            f"observation {key!r} is {shape[1]}x{shape[0]} pixels; video needs even sizes: crop it, or "
            "record without video"
        )
    return Feature(name, "video", shape)


def key_of(feature: Feature) -> str:
    """An observation's name from its column's."""
    name = feature.name.removeprefix("observation.")
    return name.removeprefix("images.") if feature.camera else name


def readable(feature: Feature, entry: Mapping[str, Any]) -> bool:
    """Whether a feature can be an observation: numbers, images, and video that shows colours, not depth."""
    if not feature.video:
        return feature.dtype in (*NUMBERS, "image")
    said = entry.get("info")
    depth = isinstance(said, dict) and (said.get("is_depth_map") or said.get("video.is_depth_map"))
    return feature.shape[2] == 3 and not depth


def parse_feature(name: str, entry: object) -> Feature:
    dtype, shape = (entry.get("dtype"), entry.get("shape")) if isinstance(entry, dict) else (None, None)
    whole = isinstance(shape, list) and all(isinstance(n, int) and not isinstance(n, bool) for n in shape)
    if not isinstance(dtype, str) or not isinstance(shape, list) or not whole:
        raise DataError(f"{INFO} declares feature {name!r} without a dtype and a shape")
    if len(shape) > 8 or min(shape, default=1) < 1 or math.prod(shape) > _MAX_VALUES:
        raise DataError(
            f"{INFO} declares feature {name!r} with shape {str(shape)[:80]}; no step can have that"
        )
    if dtype in ("image", "video") and len(shape) != 3:
        raise DataError(
            f"{INFO} declares {dtype} {name!r} with shape {shape}; it must be [height, width, channels]"
        )
    if dtype == "video" and (max(shape) > _MAX_SIDE or "/" in name or name in (".", "..")):
        raise DataError(f"{INFO} declares video {name[:80]!r} with shape {shape}; no camera has that")
    return Feature(name, dtype, tuple(shape) or (1,))
