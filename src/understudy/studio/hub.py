"""Between the session's thread and the pages: one packet a frame for all of them, and one page that drives.

The session's loop calls `on_frame` from its thread; everything else happens in the event loop's. A frame that
the event loop had no time for is replaced by the next, so that pages never slow the robot down.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from understudy.studio.seat import Seat
from understudy.studio.viewer import Bucket, Socket, Viewer
from understudy.studio.wire import (
    Ask,
    Do,
    Ping,
    Release,
    as_json,
    pack_frame,
    pack_picture,
    read_message,
)
from understudy.teleop import Frame, Input

__all__ = ["Hub", "Live", "TooMany"]

STATE_PERIOD = 0.2  # seconds between states that nothing but time has changed
PICTURE_PERIOD = 0.1  # seconds between pictures of a camera
NOTICE = 5.0  # seconds for which a page is shown what was refused
RATE, BURST = 120.0, 480  # messages of a page: a second, and at once after a pause
VIEWERS = 32
_QUALITY = 80  # of the JPEG
# What changes with time alone.
_FLOWING = ("step", "seconds", "countdown", "labelled", "doubt", "disagreement")


class TooMany(ValueError):
    """A page sends more than is allowed, or there are too many pages."""


class Live(Protocol):
    """What the hub needs of a session (see `understudy.teleop.Session`). Every method is thread-safe."""

    def put(self, input: Input) -> None:
        """The newest input."""
        ...

    def do(self, what: str, **args: Any) -> None:
        """A command; ValueError where it cannot be."""
        ...

    def lost(self) -> None:
        """Nobody drives any more."""
        ...

    def state(self) -> Mapping[str, Any]:
        """What the pages show, JSON-ready."""
        ...


class Hub:
    """All pages of one session.

    Args:
        session: who is driven and shown.
        hello: what a page is told first, without `t` and `viewer`.
        commands: words that are not the session's, and what they do, beside the event loop; they may raise
            ValueError.
        clock: seconds; the session's own.
    """

    def __init__(
        self,
        session: Live,
        hello: Mapping[str, Any],
        *,
        commands: Mapping[str, Callable[[], object]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session, self._hello, self._clock = session, dict(hello), clock
        self._commands = dict(commands or {})
        self._seat: Seat[Viewer] = Seat()
        self._viewers: list[Viewer] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._lock = threading.Lock()
        self._news: tuple[bytes, Frame, Mapping[str, Any]] | None = None
        self._reset = False  # whether a frame that said so was replaced before it was passed on
        self._pictures: Frame | None = None
        self._told: Mapping[str, Any] = {}
        self._told_at = float("-inf")

    @property
    def viewers(self) -> int:
        """How many pages look on."""
        return len(self._viewers)

    # --- the session's thread

    def on_frame(self, frame: Frame) -> None:
        """Takes a frame of the session's loop, packs it once and wakes the event loop; waits for nobody."""
        if self._loop is None or not self._viewers:
            return
        news = pack_frame(frame, time=self._clock()), frame, self._session.state()
        with self._lock:
            waiting = self._news is not None
            self._reset = frame.reset or (waiting and self._reset)
            self._news = news
        if not waiting:
            self._loop.call_soon_threadsafe(self._publish)

    # --- the event loop's thread

    async def start(self) -> None:
        """Begins to pass on what the session says."""
        self._loop = asyncio.get_running_loop()
        self._tasks = {asyncio.create_task(self._beat()), asyncio.create_task(self._film())}

    async def stop(self) -> None:
        """Ends that; pages that are still open are closed by the server."""
        self._loop = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def join(self, key: str) -> Viewer:
        """A page arrived; it drives where nobody does.

        Raises:
            TooMany: when 32 look on already.
        """
        if len(self._viewers) >= VIEWERS:
            raise TooMany(f"{VIEWERS} pages are open already")
        viewer = Viewer(key)
        self._viewers.append(viewer)
        self._seat.join(viewer, self._clock())
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """A page's link ended; where it drove, the robot stops now."""
        self._viewers.remove(viewer)
        if self._seat.leave(viewer, self._clock()):
            self._session.lost()
        self._tell(self._session.state())

    async def serve(self, viewer: Viewer, socket: Socket) -> None:
        """Sends a page everything, for ever."""
        drives = self._seat.driver is viewer
        await socket.send_str(as_json({"t": "hello", **self._hello, "viewer": not drives}))
        self._tell(self._session.state())
        await viewer.pump(socket)

    def hear(self, viewer: Viewer, text: str | bytes, rate: Bucket) -> None:
        """One message of a page.

        Raises:
            Malformed: when it is none (see `understudy.studio.wire`). TooMany: when it comes too soon.
        """
        now = self._clock()
        if not rate.takes(now):
            raise TooMany(f"more than {RATE:.0f} messages a second")
        message = read_message(text, now)
        match message:
            case Input():
                if self._seat.driver is viewer:
                    self._session.put(message)
            case Ping():
                viewer.answer(as_json({"t": "pong", "at": message.at}))
            case Do():
                self._do(viewer, message)
                self._tell(self._session.state())
            case Ask() | Release():
                self._seated(viewer, message, now)
                self._tell(self._session.state())

    def _do(self, viewer: Viewer, message: Do) -> None:
        if self._seat.driver is not viewer:
            return self._refuse(viewer, "another page has the controls; ask for them first")
        if (command := self._commands.get(message.what)) is not None:
            task = asyncio.create_task(self._beside(viewer, command))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return None
        try:
            self._session.do(message.what, **message.args)
        except (ValueError, KeyError, TypeError) as wrong:
            self._refuse(viewer, _line(wrong))

    async def _beside(self, viewer: Viewer, command: Callable[[], object]) -> None:
        """Does what may take a while in a thread of its own."""
        try:
            await asyncio.to_thread(command)
        except (ValueError, OSError) as wrong:
            self._refuse(viewer, _line(wrong))
        self._tell(self._session.state())

    def _seated(self, viewer: Viewer, message: Ask | Release, now: float) -> None:
        before = self._seat.driver
        if isinstance(message, Release):
            self._seat.release(viewer, now)
        elif not self._seat.ask(viewer, now):
            self._refuse(viewer, "the controls are yours as soon as the other page gives them up")
            if before is not None:
                self._refuse(before, "another page asks for the controls")
        if before is not None and self._seat.driver is not before:
            self._session.lost()

    def _refuse(self, viewer: Viewer, text: str) -> None:
        viewer.notice = (text[:300], self._clock() + NOTICE)

    def _publish(self) -> None:
        with self._lock:
            news, self._news, reset = self._news, None, self._reset
        if news is None:
            return
        packet, frame, state = news
        for viewer in self._viewers:
            viewer.offer_frame(packet, reset=reset)
        if frame.pictures:
            self._pictures = frame
        if self._clock() - self._told_at >= STATE_PERIOD or _settled(state) != _settled(self._told):
            self._tell(state)

    def _tell(self, state: Mapping[str, Any]) -> None:
        """Sends the state to all: written out for who drives, for who does not, and again with a notice."""
        now = self._clock()
        self._told, self._told_at = state, now
        whole = {"t": "state", **state, "viewers": len(self._viewers)}
        texts = [as_json(whole | {"controller": drives}) for drives in (False, True)] if self._viewers else []
        for viewer in self._viewers:
            drives = self._seat.driver is viewer
            if viewer.notice is not None and now < viewer.notice[1]:
                message = {"level": "warn", "text": viewer.notice[0]}
                viewer.offer_state(as_json(whole | {"controller": drives, "message": message}))
            else:
                viewer.notice = None
                viewer.offer_state(texts[drives])

    async def _beat(self) -> None:
        """Says the state when no frame does, and gives a seat away that nobody came back for."""
        while True:
            await asyncio.sleep(STATE_PERIOD)
            now = self._clock()
            seated = self._seat.settle(now)
            if self._viewers and (seated or now - self._told_at >= 2 * STATE_PERIOD):
                self._tell(self._session.state())

    async def _film(self) -> None:
        """Sends the newest pictures ten times a second, encoded in a thread and only while somebody looks."""
        while True:
            await asyncio.sleep(PICTURE_PERIOD)
            frame, self._pictures = self._pictures, None
            if frame is None or not self._viewers:
                continue
            for camera, picture in frame.pictures.items():
                jpeg = await asyncio.to_thread(_jpeg, picture)
                packet = pack_picture(frame, camera, jpeg, time=self._clock())
                for viewer in self._viewers:
                    viewer.offer_picture(camera, packet)


def _line(wrong: Exception) -> str:
    return " ".join(str(wrong.args[0] if wrong.args else wrong).split())


def _settled(state: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in state.items() if k not in _FLOWING}


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    import simplejpeg

    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(picture), _QUALITY, "RGB", "420"))
