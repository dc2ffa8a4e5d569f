"""Reading video: one frame at a time out of MP4 files, decoded when it is asked for.

The frame of step i of an episode is the one whose time in the file is within 0.1 ms of from + i / fps
(LeRobotDataset v3.0). Several episodes may lie end to end in one file.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, final

from understudy.episode import Array

__all__ = ["POOL", "TOLERANCE", "Reader", "need_av"]

TOLERANCE = 1e-4  # seconds, as LeRobot has it
_CODECS = frozenset({"h264", "hevc", "av1", "libdav1d", "libaom-av1", "vp9", "libvpx-vp9"})
_MOST = 2048  # frames that are decoded for one; keyframes are two frames apart in what LeRobot and we write
_OPEN, _OPEN_BYTES = 256, 128 << 20  # files that are kept open, and the memory their decoders may take


def need_av() -> Any:
    """PyAV, which reads and writes video.

    Raises:
        ImportError: when it is not installed.
    """
    try:
        import av
    except ImportError:
        raise ImportError(
            "video needs PyAV: pip install 'understudy[video]' (read with video='skip' to leave it out)"
        ) from None
    return av


@final
class Reader:
    """One open MP4 file, which remembers where it is: frames asked for in order are decoded once.

    Raises:
        ValueError, or whatever the demuxer raises: when the file is damaged, or is not of this size [H, W].
    """

    def __init__(self, path: str, size: tuple[int, int], fps: float) -> None:
        av = need_av()
        height, width = size
        # A stream may change its size as it goes; its decoder refuses what goes beyond what was declared.
        limit = {"max_pixels": str((width + 64) * (height + 64))}
        options = limit | {"protocol_whitelist": "file", "max_streams": "4"}
        self._box = av.open(path, format="mp4", options=options, metadata_errors="replace")
        try:
            if len(self._box.streams.video) != 1:
                raise ValueError(f"it has {len(self._box.streams.video)} video streams, not one")
            self._stream = self._box.streams.video[0]
            if (context := self._stream.codec_context) is None:
                raise ValueError("its codec is unknown")
            if (context.height, context.width) != size:
                raise ValueError(f"it is {context.width}x{context.height}, declared is {width}x{height}")
            if context.name not in _CODECS:
                raise ValueError(f"its codec {context.name!r} is not one that is read")
            context.thread_count = 1
            context.options = limit
        except BaseException:
            self._box.close()
            raise
        self._size, self._fps = size, fps
        self._frames: Iterator[Any] = iter(())
        self._last: Any = None
        self._gap = 2  # the most frames that were decoded after a seek: up to here decoding on costs no more

    @property
    def nbytes(self) -> int:
        """About what it takes: eight pictures at 12 bits a pixel, and what does not depend on them."""
        return 500_000 + 8 * self._size[0] * self._size[1] * 3 // 2

    def close(self) -> None:
        self._box.close()

    def at(self, seconds: float) -> Array:
        """The picture [H, W, 3] at this time."""
        here = None if self._last is None else self._last.time
        if here is not None and abs(here - seconds) <= TOLERANCE:
            return self._picture()
        seek = here is None or not here < seconds < here + (self._gap + 0.5) / self._fps
        if seek:
            self._seek(seconds)
        for decoded in range(1, _MOST):
            time = self._last.time
            if time is not None and abs(time - seconds) <= TOLERANCE:
                self._gap = max(self._gap, decoded) if seek else self._gap
                return self._picture()
            if time is None or time > seconds:
                break
            self._next()
        self._last = None
        raise ValueError(f"it has no frame at {seconds:.4f} s")

    def _seek(self, seconds: float) -> None:
        """Goes to a keyframe at or before this time; with reordered frames the demuxer may land behind it."""
        for back in (0.0, 1.0, 1e9):
            offset = int((max(0.0, seconds - back) + TOLERANCE) / self._stream.time_base)
            self._box.seek(offset, stream=self._stream)
            self._frames = self._box.decode(self._stream)
            self._next()
            time = self._last.time
            if time is None or time <= seconds + TOLERANCE or back > seconds:
                return

    def _next(self) -> None:
        self._last = None
        self._last = next(self._frames, None)
        if self._last is None:
            raise ValueError("it ends too soon")

    def _picture(self) -> Array:
        frame = self._last
        if (frame.height, frame.width) != self._size:
            raise ValueError(f"a frame of it is {frame.width}x{frame.height}, declared is {self._size[::-1]}")
        if frame.is_corrupt:
            raise ValueError("the frame is corrupt")
        out: Array = frame.to_ndarray(format="rgb24", threads=1)
        return out


class _Pool:
    """Readers that are open and idle. One in use is taken out, so that threads never share one."""

    def __init__(self) -> None:
        self._forget()
        if hasattr(os, "register_at_fork"):  # a child would share the place in the file with its parent
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        # Freeing a decoder waits for its threads, which a forked process lacks: it must never happen there.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(getattr(self, "_idle", None)))
        self._lock = threading.Lock()
        self._idle: OrderedDict[Any, Reader] = OrderedDict()
        self._bytes = 0

    def take(self, key: Any) -> Reader | None:
        with self._lock:
            return self._drop(key) if key in self._idle else None

    def give(self, key: Any, reader: Reader) -> None:
        with self._lock:
            out = [self._drop(key)] if key in self._idle else []
            self._idle[key] = reader
            self._bytes += reader.nbytes
            while len(self._idle) > _OPEN or self._bytes > _OPEN_BYTES:
                out.append(self._drop(next(iter(self._idle))))
        for old in out:
            old.close()

    def _drop(self, key: Any) -> Reader:
        reader = self._idle.pop(key)
        self._bytes -= reader.nbytes
        return reader


POOL = _Pool()
