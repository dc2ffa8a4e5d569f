"""A few pictures of each camera for a few episodes, made small, within a bound on their bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from understudy.episode import Array
from understudy.report.data.survey import Survey, short
from understudy.report.strips import Frame

__all__ = ["Film", "films"]

_FRAMES, _CAMERAS = 7, 3
_SIZE = (240, 160)  # pixels, at most
_BYTES = 1_000_000  # of all pictures of a page, as JPEG


@dataclass(frozen=True)
class Film:
    """Pictures of one camera in one episode, or a sentence in their place."""

    camera: str
    frames: tuple[Frame, ...]
    note: str = ""


def films(survey: Survey, chosen: Sequence[int]) -> dict[int, tuple[Film, ...]]:
    """Of each chosen episode, at most three cameras with seven pictures each, as long as there is room."""
    cameras, left = survey.cameras[:_CAMERAS], _BYTES
    made: dict[int, tuple[Film, ...]] = {}
    for index in chosen:
        strips = []
        for key in cameras:
            film = (
                _film(survey, index, key)
                if left > 0
                else Film(short(key), (), "No pictures: the page is full.")
            )
            left -= sum(len(f.uri) for f in film.frames)
            strips.append(film)
        if more := len(survey.cameras) - len(cameras):
            strips.append(Film("", (), f"{more} more camera{'s are' if more > 1 else ' is'} not shown."))
        made[index] = tuple(strips)
    return made


def _film(survey: Survey, index: int, key: str) -> Film:
    e = survey.episodes[index]
    steps = np.unique(np.linspace(0, len(e), _FRAMES).round().astype(np.int64))
    pictures = e.obs[key].take(steps, axis=0)  # only these are decoded, where they are kept as video
    frames = tuple(
        Frame(_jpeg(picture), int(i), f"{short(key)}, episode {index} at step {i}")
        for i, picture in zip(steps, pictures, strict=True)
    )
    return Film(short(key), frames)


def _jpeg(picture: Array) -> str:
    from PIL import Image

    flat = picture[..., 0] if picture.shape[2] < 3 else picture[..., :3]
    image = Image.fromarray(np.ascontiguousarray(flat))
    image.thumbnail(_SIZE)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=72, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
