"""Writing video: one complete MP4 file of one camera's pictures (H.264, a keyframe every 2 frames)."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import final

import numpy as np

from understudy.episode import Array, Episode
from understudy.frames import Frames, Spans, pieces
from understudy.storage.clips import Clips, crc_of
from understudy.storage.decoding import TOLERANCE, need_av
from understudy.storage.files import Commit
from understudy.storage.layout import Feature, Layout, video_file
from understudy.storage.mp4 import check_mp4
from understudy.storage.statistics import Histogram
from understudy.storage.summary import SAMPLED, THINNED

__all__ = ["Clip", "Encoder", "VideoOptions", "film", "histogram", "stage_videos"]

_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
_KEYFRAMES = 2  # a keyframe every so many frames: any frame is at most two decoded ones away


@dataclass(frozen=True)
class VideoOptions:
    """How cameras are encoded: H.264 in yuv420p, colour at half the resolution, a keyframe every 2 frames.

    Args:
        crf: x264's constant rate factor, 0 (best) to 51; 6 more halve the size.
        preset: x264's name for how long it tries. From "ultrafast" to "veryfast" an encoder takes about
            twice the time and files are up to six times smaller; at one rate factor they look alike. A
            recorder that must keep up with cameras wants the former.

    Raises:
        ValueError: when either is none of x264's.
    """

    crf: int = 23
    preset: str = "ultrafast"

    def __post_init__(self) -> None:
        if not isinstance(self.crf, int) or not 0 <= self.crf <= 51:
            raise ValueError(f"crf is {self.crf!r}; it must be a whole number in 0 to 51")
        if self.preset not in _PRESETS:
            raise ValueError(f"preset is {self.preset!r}; it must be one of {', '.join(_PRESETS)}")


@dataclass(frozen=True)
class Clip:
    """A finished video: its frames, bytes and their CRC-32, and the statistics of its sampled frames."""

    frames: int
    size: int
    crc: int
    seen: Histogram


@final
class Encoder:
    """Writes pictures [H, W, 3], H and W even, into a file, one a 1/fps of a second. One thread."""

    def __init__(self, path: Path, shape: tuple[int, ...], fps: int, options: VideoOptions) -> None:
        self._av, self._path, self.frames = need_av(), path, 0
        height, width = shape[:2]
        self._box = self._av.open(str(path), "w", format="mp4")
        settings = {"crf": str(options.crf), "preset": options.preset, "g": str(_KEYFRAMES), "bf": "0"}
        self._stream = self._box.add_stream("libx264", rate=fps, options=settings)
        self._stream.height, self._stream.width, self._stream.pix_fmt = height, width, "yuv420p"
        self._stream.codec_context.thread_count = 1
        self._stream.time_base = self._stream.codec_context.time_base = Fraction(1, fps)
        self.seen = histogram(shape)

    def add(self, picture: Array, times: int = 1) -> None:
        """Encodes a picture, `times` times over."""
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame = frame.reformat(format="yuv420p", threads=1)
        for _ in range(times):
            if self.frames % SAMPLED == 0:
                self.seen.add(picture[None][THINNED])
            frame.pts, frame.time_base = self.frames, self._stream.codec_context.time_base
            self._box.mux(self._stream.encode(frame))
            self.frames += 1

    def finish(self) -> Clip:
        """Writes the file's end; it is complete then, though not yet synced."""
        self._box.mux(self._stream.encode(None))
        self._box.close()
        return _clip(self._path, self.frames, self.seen)

    def abandon(self) -> None:
        """Lets go of the file, which is not complete."""
        self._box.close()


def histogram(shape: tuple[int, ...]) -> Histogram:
    """Empty statistics of a camera's pictures."""
    return Histogram((shape[2], 1, 1), channels=shape[2], image=True)


def film(path: Path, column: Array | Frames, fps: int, options: VideoOptions) -> Clip:
    """Writes an episode's pictures [T + 1, H, W, 3] as one file.

    Pictures that are H.264 video already are not encoded again, where they begin with a keyframe: the file
    then holds their very packets.
    """
    if (copied := _copy(path, column, fps)) is not None:
        return copied
    encoder = Encoder(path, column.shape[1:], fps, options)
    try:
        for piece in pieces(column, 32):
            for picture in piece:
                encoder.add(picture)
        return encoder.finish()
    except BaseException:
        encoder.abandon()
        raise


def _copy(path: Path, column: Array | Frames, fps: int) -> Clip | None:
    """The packets of a clip in a file of their own; None where it must be encoded."""
    source = column
    a, b = 0, len(column)
    if isinstance(column, Spans) and len(column.source) == 1:
        source, a = column.sources[0], int(column.start[0])
        b = a + len(column)
    if not isinstance(source, Clips) or source.fps != fps or (found := source.clip(a, b)) is None:
        return None
    av = need_av()
    with av.open(found[0], format="mp4") as there, av.open(str(path), "w", format="mp4") as here:
        old = there.streams.video[0]
        if old.codec_context.name != "h264" or old.codec_context.pix_fmt != "yuv420p":
            return None
        new = here.add_stream_from_template(old)
        there.seek(int((found[1] + TOLERANCE) / old.time_base), stream=old)
        count = 0
        for packet in there.demux(old):
            time = None if packet.pts is None else float(packet.pts * packet.time_base) - found[1]
            if time is None or packet.pts != packet.dts or abs(time - count / fps) > TOLERANCE:
                return None  # it begins before the clip, or has reordered or missing frames
            packet.pts = packet.dts = round(count / fps / packet.time_base)
            packet.stream = new
            here.mux(packet)
            count += 1
            if count == b - a:
                break
        if count < b - a:
            return None
    seen = histogram(column.shape[1:])
    for i in range(0, len(column), SAMPLED):
        seen.add(column[i : i + 1][THINNED])
    return _clip(path, count, seen)


def _clip(path: Path, frames: int, seen: Histogram) -> Clip:
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            check_mp4(file, size)  # a muxer may pass over a write that failed; its file is incomplete then
        except ValueError as e:
            raise OSError(errno.EIO, f"the video {path.name} was not written whole: {e}") from e
    return Clip(frames, size, crc_of(str(path)), seen)


def stage_videos(
    commit: Commit,
    layout: Layout,
    episode: Episode,
    number: int,
    options: VideoOptions,
    taken: Mapping[str, tuple[Path, Clip]],
) -> dict[str, Clip]:
    """Stages the videos of the episode with this number: feature -> its video.

    `taken` are those that were recorded already, by feature: where they lie until now, and what they are.
    """

    def make(feature: Feature, column: Array, path: Path) -> Clip:
        if (there := taken.get(feature.name)) is None:
            return film(path, column, layout.fps, options)
        os.replace(there[0], path)
        return there[1]

    return {
        f.name: commit.stage_at(video_file(f.name, number), partial(make, f, episode.obs[key]))
        for key, f in layout.obs.items()
        if f.video
    }
