"""One page that looks on: it gets the newest of everything, and what it was too slow for is left out."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from understudy.studio.wire import as_reset

__all__ = ["Bucket", "Socket", "Viewer"]

_ANSWERS = 16


class Socket(Protocol):
    """Where a viewer's messages go; each call returns when there is room for more."""

    async def send_bytes(self, data: bytes) -> None:
        """Sends a binary message."""
        ...

    async def send_str(self, data: str) -> None:
        """Sends a text message."""
        ...


class Bucket:
    """A bound on a rate: `rate` a second on average, `burst` at once. Times are seconds of any one clock."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate, self._burst = rate, float(burst)
        self._left, self._at = float(burst), float("-inf")

    def takes(self, now: float) -> bool:
        """Whether one more is within the bound; if so it is counted."""
        since = min(now - self._at, self._burst / self._rate)
        self._left = min(self._burst, self._left + max(0.0, since) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Viewer:
    """What one page has still to be sent: one frame, one state, one picture of each camera, a few answers.

    Nothing queues: a newer frame takes the place of the one before, so a slow page delays nobody and costs no
    memory. Everything here happens in the event loop's thread.

    Args:
        key: of the browser (see `understudy.studio.access`).

    Attributes:
        sent, dropped: frames. notice: a line for this page alone, and until when it is shown.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        self.sent = self.dropped = 0
        self.notice: tuple[str, float] | None = None
        self._frame: bytes | None = None
        self._reset = False
        self._state: str | None = None
        self._pictures: dict[str, bytes] = {}
        self._answers: deque[str] = deque(maxlen=_ANSWERS)
        self._news = asyncio.Event()

    def offer_frame(self, packet: bytes, *, reset: bool) -> None:
        """The newest frame; that there was a reset is remembered where the frame that said so is not."""
        if self._frame is not None:
            self.dropped += 1
        self._frame, self._reset = packet, self._reset or reset
        self._news.set()

    def offer_state(self, text: str) -> None:
        """The newest state."""
        self._state = text
        self._news.set()

    def offer_picture(self, camera: str, packet: bytes) -> None:
        """The newest picture of a camera."""
        self._pictures[camera] = packet
        self._news.set()

    def answer(self, text: str) -> None:
        """A short answer; where a page does not read them, the oldest go."""
        self._answers.append(text)
        self._news.set()

    async def pump(self, socket: Socket) -> None:
        """Sends what there is, for ever; ends when the socket refuses."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._answers:
                await socket.send_str(self._answers.popleft())
            if (state := self._state) is not None:
                self._state = None
                await socket.send_str(state)
            if (packet := self._frame) is not None:
                packet = as_reset(packet) if self._reset else packet
                self._frame, self._reset = None, False
                await socket.send_bytes(packet)
                self.sent += 1
            while self._pictures:
                await socket.send_bytes(self._pictures.pop(next(iter(self._pictures))))
