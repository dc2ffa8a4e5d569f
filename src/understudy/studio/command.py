"""`understudy studio`: a session, its server and the terminal they were started in."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import webbrowser
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from rich.console import Console

from understudy.studio.access import Access, is_loopback, names_of

if TYPE_CHECKING:
    from aiohttp import web

    from understudy.studio.hub import Hub
    from understudy.studio.opening import Opening
    from understudy.studio.room import Room

__all__ = ["Serving", "opening", "studio"]

_POLL = 0.5  # seconds between looks at the training
_FAREWELL = 2.0  # seconds that open requests have at the end
_SOMEWHERE = ("192.0.2.1", 9)  # an address of no machine; asking for the way there sends nothing
_OPEN_TO_OTHERS = (
    "anybody who can reach {host} and has this address drives the robot and sees the data; it is plain http, "
    "which others on the network can read along, and in which Firefox gives no gamepad"
)


@final
@dataclass(frozen=True)
class Serving:
    """Where the studio is served, and to whom.

    Args:
        host, port: where it listens; port 0 takes a free one.
        browser: whether a browser is opened.
        share: whether the address admits more than one browser.
    """

    host: str = "127.0.0.1"
    port: int = 0
    browser: bool = True
    share: bool = False


def opening(**asked: Any) -> Opening:
    """What to open (see `understudy.studio.opening.Opening`).

    Raises:
        ImportError: when the extra's packages are missing. ValueError: when the words contradict each other.
    """
    _need_packages()
    from understudy.studio.opening import Opening

    return Opening(**asked)


def studio(asked: Opening, serving: Serving, console: Console) -> dict[str, Any]:
    """Serves until Ctrl-C or SIGTERM; then the robot is stopped, and what is under way is kept or named.

    Raises:
        ValueError: when something cannot be opened. OSError: when the port is taken.
    """
    from understudy.studio.opening import opened

    with _listening(serving) as listener:
        room = opened(asked)
        try:
            asyncio.run(_serve(room, serving, listener, console))
        finally:
            told = _ended(room)
    console.print(told.pop("words"), soft_wrap=True, markup=False)
    return told


def _need_packages() -> None:
    try:
        import aiohttp  # noqa: F401
        import simplejpeg  # noqa: F401
    except ImportError as e:
        raise ImportError(
            f'the studio needs packages that are not installed ({e.name}): pip install "understudy[studio]"'
        ) from None


@contextlib.contextmanager
def _listening(serving: Serving) -> Iterator[socket.socket]:
    """The socket, bound before anything is loaded: a port that is taken is said at once."""
    if not 0 <= serving.port < 65536:
        raise ValueError(f"port is {serving.port}; it must lie between 0 and 65535")
    family = socket.AF_INET6 if ":" in serving.host else socket.AF_INET
    try:
        listener = socket.create_server((serving.host, serving.port), family=family, backlog=64)
    except OSError as e:
        raise OSError(f"cannot listen at {serving.host}:{serving.port}: {e.strerror or e}") from None
    with listener:
        yield listener


async def _serve(room: Room, serving: Serving, listener: socket.socket, console: Console) -> None:
    from aiohttp import web

    port = listener.getsockname()[1]

    def say(words: str) -> None:
        console.print(words, soft_wrap=True, markup=False)

    def used(token: str) -> None:
        say("somebody opened the address again, in another browser; a fresh one is")
        say(_address(serving, port, token))

    access = _access(serving)
    runner = web.AppRunner(_app(room, access, port, used), access_log=None, shutdown_timeout=_FAREWELL)
    await runner.setup()
    try:
        ended = _signals()
        await web.SockSite(runner, listener).start()
        for words in _greeting(room, serving):
            say(words)
        say(_address(serving, port, access.token))
        if serving.browser and _has_screen():
            await asyncio.to_thread(webbrowser.open, _address(serving, port, access.token))
        await ended.wait()
    finally:
        await runner.cleanup()


def _address(serving: Serving, port: int, token: str) -> str:
    return f"http://{_shown(serving.host)}:{port}/?token={token}"


def _app(room: Room, access: Access, port: int, used: Callable[[str], None]) -> web.Application:
    """The server around what was opened, with the library's routes."""
    from understudy.studio.hub import Hub
    from understudy.studio.library_routes import add_routes
    from understudy.studio.server import build_app

    hub = Hub(room.live, room.hello, commands=_commands(room))
    app = build_app(hub, access, room.scene, cookie=f"understudy_{port}", used=used)
    add_routes(app, room.library)
    app.cleanup_ctx.append(_driven(room, hub))
    return app


def _access(serving: Serving) -> Access:
    name = socket.gethostname()
    names = names_of(serving.host, (name, f"{name}.local"))
    return Access(names, numbers=not is_loopback(serving.host), share=serving.share)


def _commands(room: Room) -> dict[str, Callable[[], object]]:
    """What the page can ask for besides the session's words."""
    return {} if room.session is None else {"train": room.teacher.begin, "cancel": room.teacher.cancel}


def _driven(room: Room, hub: Hub) -> Callable[[web.Application], AsyncIterator[None]]:
    """Runs the session's loop, and looks for new policies, while the server runs."""

    async def driven(app: web.Application) -> AsyncIterator[None]:
        if room.session is None:
            yield
            return
        from understudy.teleop import Loop

        loop = Loop(room.session, hub.on_frame)
        loop.start()
        lessons = asyncio.create_task(_follow(room))
        yield
        lessons.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await lessons
        await asyncio.to_thread(loop.stop)

    return driven


async def _follow(room: Room) -> None:
    """Shows how the training goes, and lets a policy drive as soon as it is there."""
    teacher, session = room.teacher, room.session
    assert session is not None
    while True:
        session.training = await asyncio.to_thread(teacher.state)
        try:
            pilot = await asyncio.to_thread(teacher.take)
            if pilot is not None:
                session.do("pilot", pilot=pilot)
        except (
            ValueError,
            OSError,
        ) as wrong:  # the new run cannot be opened; driving goes on
            session.training = {**(session.training or {}), "phase": "failed", "message": str(wrong)}
            await asyncio.sleep(10 * _POLL)
        await asyncio.sleep(_POLL)


def _signals() -> asyncio.Event:
    """Set by Ctrl-C or SIGTERM; a second one ends the process as ever."""
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    kinds = (signal.SIGINT, signal.SIGTERM)

    def end() -> None:
        ended.set()
        for kind in kinds:
            loop.remove_signal_handler(kind)

    for kind in kinds:
        loop.add_signal_handler(kind, end)
    return ended


def _greeting(room: Room, serving: Serving) -> Iterator[str]:
    session = room.session
    if session is None:
        yield f"{room.folder}: to look at; its task is not known here, so that nothing can be driven"
    else:
        robot = session.state()["robot"]
        what = session.task.name if robot is None else f"the robot {robot['name']}"
        yield f"{what}, recorded into {room.folder}"
    if room.why:
        yield f"no training from here: {room.why}"
    if not is_loopback(serving.host):
        yield _OPEN_TO_OTHERS.format(host=serving.host)


def _shown(host: str) -> str:
    """The host as others can ask for it; for "all addresses", the one on the way out of this machine."""
    if host in ("0.0.0.0", "::", ""):
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(_SOMEWHERE)
            return str(probe.getsockname()[0])
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _has_screen() -> bool:
    if not sys.platform.startswith("linux"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _ended(room: Room) -> dict[str, Any]:
    """Lets go of everything, and says what became of the episodes."""
    room.teacher.close()
    session = room.session
    if session is None:
        return {"words": "ended", "data": str(room.folder), "saved": 0, "discarded": 0}
    before, lost = session.state(), ""
    try:
        session.close()
    except ValueError as wrong:
        lost = f"; the episode in review could not be saved: {wrong}"
    saved = before["saved"] + (before["phase"] in ("review", "saving") and not lost)
    if before["recorded"] and before["step"] and before["phase"] in ("running", "paused", "asking"):
        lost = f"; the episode under way ({before['step']} steps) was not finished, and is dropped"
    words = f"ended: {saved} episode{'s' if saved != 1 else ''} saved into {room.folder}{lost}"
    told = {"words": words, "data": str(room.folder), "saved": saved, "discarded": before["discarded"]}
    return told | ({"exit_status": 1} if "could not be saved" in lost else {})
