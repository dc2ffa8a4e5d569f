"""A camera being recorded: its pictures are encoded by a thread of their own while the robot goes on."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from pathlib import Path
from typing import Any, final

import numpy as np

from understudy.episode import Array
from understudy.storage.files import DataError
from understudy.storage.video import Clip, Encoder, VideoOptions

__all__ = ["Camera"]

_WAITING = 128 << 20  # bytes of one camera's pictures that wait for its encoder at most


@final
class Camera:
    """One camera's pictures on their way into a file, encoded by a thread of their own.

    Where the encoder falls behind by more than the queue holds, a picture is dropped, counted, and the one
    before it stands in its place.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], fps: int, options: VideoOptions) -> None:
        self.path, self.dropped = path, 0
        self.error: BaseException | None = None
        self._queue: deque[list[Any]] = deque()  # [picture, how many times it stands]
        self._limit = max(2, _WAITING // int(np.prod(shape)))
        self._more = threading.Condition()
        self._over = False
        self._clip: Clip | None = None
        self._thread = threading.Thread(
            target=self._encode, args=(shape, fps, options), name=f"encode {path.name}", daemon=True
        )
        self._thread.start()

    def put(self, picture: Array, *, wait: bool = False) -> None:
        """Takes a picture [H, W, 3] in, copied. Without `wait` it never blocks."""
        with self._more:
            if self.error is not None:
                raise self._failed()
            if wait:
                self._more.wait_for(lambda: len(self._queue) < self._limit or self.error is not None)
            full = len(self._queue) >= self._limit
            if full:
                self._queue[-1][1] += 1
                self.dropped += 1
        if not full:  # nobody else adds, so there is still room
            kept = [np.array(picture, order="C"), 1]
            with self._more:
                self._queue.append(kept)
                self._more.notify_all()

    def _encode(self, shape: tuple[int, ...], fps: int, options: VideoOptions) -> None:
        encoder = None
        try:
            encoder = Encoder(self.path, shape, fps, options)
            while (item := self._next()) is not None:
                encoder.add(*item)
            if self._over and self.error is None:
                self._clip = encoder.finish()
        except BaseException as e:  # raised in the thread that records, at its next step
            with self._more:
                self.error = e
                self._queue.clear()
                self._more.notify_all()
        finally:
            if encoder is not None and self._clip is None:
                with contextlib.suppress(Exception):
                    encoder.abandon()

    def _next(self) -> tuple[Array, int] | None:
        with self._more:
            self._more.wait_for(lambda: self._queue or self._over)
            if not self._queue:
                return None
            picture, times = self._queue.popleft()
            self._more.notify_all()
            return picture, times

    def finish(self) -> Clip:
        """Waits until all is encoded; the file is complete then."""
        with self._more:
            self._over = True
            self._more.notify_all()
        self._thread.join()
        if self._clip is None:
            raise self._failed()
        return self._clip

    def _failed(self) -> DataError:
        said = getattr(self.error, "strerror", None) or self.error
        error = DataError(f"cannot record {self.path.parent.parent.name}: {said}")
        error.__cause__ = self.error
        return error

    def abandon(self) -> None:
        """Stops encoding and removes the file."""
        with self._more:
            self._queue.clear()
            self.error = self.error or InterruptedError("the episode was discarded")
            self._over = True
            self._more.notify_all()
        self._thread.join()
        with contextlib.suppress(OSError):
            self.path.unlink()
