"""The studio's page in a browser, against a server that plays the session as the test says."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from typing import Any

import numpy as np
import pytest

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def bound(device: str, keys: str, names: str, label: str, dim: int, sign: int) -> dict[str, Any]:
    """One control, as the server tells it."""
    listed = {"keys": keys.split(), "names": names.split(",")}
    return {"device": device, **listed, "label": label, "dim": dim, "sign": sign}


BINDINGS = [
    bound("keyboard", "KeyW ArrowUp", "W,↑", "up", 1, 1),
    bound("keyboard", "KeyS ArrowDown", "S,↓", "down", 1, -1),
    bound("keyboard", "Space", "Space", "open or close", 3, 0),
    bound("gamepad", "Axis1", "left stick ↑", "up / down", 1, -1),
    bound("touch", "Touch0", "stick →", "right / left", 0, 1),
    bound("touch", "Touch1", "stick ↑", "up / down", 1, 1),
    bound("touch", "Touch2", "slider ↑", "raise", 2, 1),
    bound("touch", "Touch3", "fingers", "open or close", 3, 1),
]
STATE: dict[str, Any] = {
    "t": "state", "mode": "record", "modes": ["record", "correct", "label", "watch", "shadow"],
    "phase": "idle", "countdown": 0.0, "step": 0, "seconds": 0.0, "driver": "operator", "success": None,
    "mark": None, "episode": 1, "saved": 0, "discarded": 0, "operator": "Ada", "last": [],
    "instruction": "reach the goal", "speed": 0.2, "guard": False, "every": 1, "pilot": None, "doubt": None,
    "disagreement": None, "question": None, "training": None, "evaluation": None, "robot": None,
    "message": None, "controller": True, "viewers": 1,
}  # fmt: skip
CAMERA = base64.b64decode(
    "/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAP//////////////////////////////////////////////////////////////////"
    "////////////////////////////////////wgALCAABAAEBAREA/8QAFBABAAAAAAAAAAAAAAAAAAAAAP/aAAgBAQABPxA="
)  # one grey pixel
_STEPS = itertools.count(1000)
HEAD = struct.Struct("<BBHIIIdd")


class Played:
    """A server that speaks the studio's messages and does nothing of itself: the test says what the state is.

    Attributes:
        inputs, orders: what the page sent, decoded, in order.
    """

    def __init__(
        self, scene: bytes, poses: Callable[[], Any], hello: Mapping[str, Any] | None = None
    ) -> None:
        pytest.importorskip("aiohttp", reason="the studio's packages are not installed")
        self.scene, self.poses = scene, poses
        self.hello = {
            "t": "hello", "version": 1, "task": "point-maze", "bindings": BINDINGS, "modes": STATE["modes"],
            "viewer": False, "cameras": [], "obs": {}, "data": False,
            "action": {"low": [-1] * 4, "high": [1] * 4, "labels": ["x", "y", "z", "fingers"]},
        } | dict(hello or {})  # fmt: skip
        self.state = dict(STATE)
        self.inputs: list[dict[str, Any]] = []
        self.orders: list[dict[str, Any]] = []
        self.pictures: dict[str, bytes] = {}
        self.answering = True
        self._sockets: set[Any] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def _run(self) -> None:
        from aiohttp import web

        async def begin() -> None:
            app = web.Application()
            app.router.add_get("/", self._file)
            app.router.add_get("/assets/{name}", self._file)
            app.router.add_get("/scene.bin", self._geometry)
            app.router.add_get("/ws", self._link)
            self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await self._runner.setup()
            site = web.TCPSite(self._runner, "127.0.0.1", 0)
            await site.start()
            self.port = self._runner.addresses[0][1]
            self._ready.set()

        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(begin())
        self._loop.run_forever()

    async def _file(self, request: Any) -> Any:
        from aiohttp import web

        name = request.match_info.get("name", "index.html")
        path = files("understudy.studio") / "assets" / name
        kinds = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
        headers = {
            "Content-Security-Policy": POLICY,
            "Content-Type": kinds.get(name.rpartition(".")[2], "text/plain"),
        }
        return web.Response(body=path.read_bytes(), headers=headers)

    async def _geometry(self, request: Any) -> Any:
        from aiohttp import web

        return web.Response(body=self.scene, status=200 if self.answering else 401)

    async def _link(self, request: Any) -> Any:
        from aiohttp import web

        if not self.answering:
            raise web.HTTPUnauthorized
        link = web.WebSocketResponse(compress=False)
        await link.prepare(request)
        await link.send_str(json.dumps(self.hello))
        self._sockets.add(link)
        stream = asyncio.create_task(self._stream(link))
        try:
            async for message in link:
                said = json.loads(message.data)
                (self.inputs if said["t"] == "in" else self.orders).append(said)
        finally:
            self._sockets.discard(link)
            stream.cancel()
            await asyncio.gather(stream, return_exceptions=True)
        return link

    async def _stream(self, link: Any) -> None:
        frame = 0
        while not link.closed:
            poses = np.asarray(self.poses(), "<f4")
            ack = self.inputs[-1]["seq"] if self.inputs else 0
            kind = 2 if frame == 0 else 1
            await link.send_bytes(
                HEAD.pack(kind, 0, len(poses), frame, 1, ack, frame / 10, 0.0) + poses.tobytes()
            )
            for name, jpeg in self.pictures.items():
                head = HEAD.pack(3, 0, len(name.encode()), frame, 1, ack, 0.0, 0.0)
                await link.send_bytes(head + name.encode() + jpeg)
            if frame % 3 == 0:
                await link.send_str(json.dumps(self.state))
            frame += 1
            await asyncio.sleep(0.1)

    def say(self, **changes: Any) -> None:
        """Sends the state with these changes to every page."""
        self.state = self.state | changes
        self.send(self.state)

    def send(self, message: Mapping[str, Any] | str | bytes) -> None:
        """Sends one message as it is."""

        async def all_of_them() -> None:
            for link in list(self._sockets):
                if isinstance(message, bytes):
                    await link.send_bytes(message)
                else:
                    await link.send_str(message if isinstance(message, str) else json.dumps(message))

        asyncio.run_coroutine_threadsafe(all_of_them(), self._loop).result(5)

    def cut(self) -> None:
        """Ends every link, without a word."""

        async def all_of_them() -> None:
            for link in list(self._sockets):
                link._req.transport.abort()

        asyncio.run_coroutine_threadsafe(all_of_them(), self._loop).result(5)

    def close(self) -> None:
        """Ends the server."""
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    @property
    def words(self) -> list[str]:
        """The commands that came, less the pings."""
        return [one["what"] for one in self.orders if one["t"] == "do"]


# A state, a key, and the words that the key makes of it.
KEYED = [
    ({"phase": "idle"}, "Enter", ["start"]),
    ({"phase": "countdown", "countdown": 2.0}, "Enter", ["start"]),
    ({"phase": "ready"}, "Delete", ["discard"]),
    ({"phase": "running"}, "Enter", ["end"]),
    ({"phase": "running"}, "y", ["success"]),
    ({"phase": "running"}, "r", ["again"]),
    ({"phase": "running"}, "p", ["pause"]),
    ({"phase": "running"}, "Escape", ["pause"]),
    ({"phase": "paused"}, "p", ["resume"]),
    ({"phase": "paused"}, "Enter", ["resume"]),
    ({"phase": "review"}, "Enter", ["save"]),
    ({"phase": "review"}, "n", ["failure"]),
    ({"phase": "review"}, "Backspace", ["discard"]),
    ({"phase": "running", "mode": "correct", "driver": "policy"}, "t", ["take"]),
    ({"phase": "running", "mode": "correct", "driver": "operator"}, "h", ["hand"]),
    ({"phase": "paused", "mode": "correct", "driver": "policy"}, "t", ["take", "resume"]),
    ({"phase": "asking", "mode": "label"}, "Enter", ["answer"]),
    ({"phase": "asking", "mode": "label"}, "x", ["skip"]),
    ({"phase": "error"}, "Enter", ["start"]),
    ({"phase": "saving"}, "Enter", []),
]


def drawn() -> tuple[bytes, Callable[[], Any]]:
    """A world's geometry and its poses."""
    from understudy.envs import task
    from understudy.scene import scene_of

    env = task("point-maze").make()
    env.reset(seed=1)
    found = scene_of(env)
    assert found is not None
    return found.blob, found.poses


def serving(scene: tuple[bytes, Callable[[], Any]]) -> Iterator[Played]:
    """A server that plays the session."""
    server = Played(*scene)
    yield server
    server.close()


def visiting(browser: Any, played: Played) -> Iterator[Callable[..., Any]]:
    """Opens the page anew; at the end no page may have said an error."""
    contexts, wrong = [], []

    def visit(width: int = 900, height: int = 620, **options: Any) -> Any:
        page = _page(browser, played, wrong, viewport={"width": width, "height": height}, **options)
        contexts.append(page.context)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert not wrong, wrong


def staying(browser: Any, scene: tuple[bytes, Callable[[], Any]]) -> Iterator[tuple[Any, Played, list[str]]]:
    """One page and its server, for all tests that leave both as they were, and what errors it said."""
    server, wrong = Played(*scene), []
    page = _page(browser, server, wrong, viewport={"width": 900, "height": 620})
    yield page, server, wrong
    page.context.close()
    server.close()


def seated(stayed: tuple[Any, Played, list[str]]) -> Iterator[tuple[Any, Played]]:
    """That page and its server, between two episodes; the page may say no error."""
    page, server, wrong = stayed
    page.keyboard.press("Escape")
    page.evaluate(
        "dispatchEvent(new Event('blur')); dispatchEvent(new Event('focus')); document.activeElement.blur()"
    )
    phase(page, server, **STATE)
    until(lambda: server.inputs and held(server) == [])
    server.inputs.clear()
    server.orders.clear()
    until(lambda: server.inputs)
    yield page, server
    assert not wrong, wrong


def _page(browser: Any, server: Played, wrong: list[str], **options: Any) -> Any:
    context = browser.new_context(**options)
    context.set_default_timeout(15000)
    page = context.new_page()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda line: wrong.append(line.text) if _bad(line) else None)
    page.goto(f"http://127.0.0.1:{server.port}/")
    page.wait_for_selector(f"#live[data-phase={server.state['phase']}]")
    return page


def _bad(line: Any) -> bool:
    # Software drawing complains of its own slowness, and a link that is down is told as a failed request.
    return (
        line.type == "error"
        and "ERR_" not in line.text
        and "WebSocket" not in line.text
        and "401" not in line.text
    )


def until(holds: Callable[[], Any], seconds: float = 15.0) -> Any:
    """Waits until something holds, and gives it back."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, "it never came to hold"
        time.sleep(0.01)
    return found


def phase(page: Any, server: Played, **state: Any) -> None:
    """Brings the page into a phase; the step says that it is this state which is shown."""
    step = state["step"] = state.get("step") or next(_STEPS)
    server.say(**state)
    page.wait_for_selector(f"#live[data-phase={state['phase']}]")
    until(lambda: f"Step{step}" in (page.locator(".facts").text_content() or ""))


def held(server: Played) -> list[str]:
    """The keys that the page said last."""
    return server.inputs[-1]["keys"] if server.inputs else []


def shows(page: Any, selector: str, text: str) -> None:
    """Waits until an element shows that text; the page's own policy keeps tests from running text in it."""
    until(lambda: text in (page.locator(selector).text_content() or ""))
