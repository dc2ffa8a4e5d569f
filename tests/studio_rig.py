"""A studio on a free port with a clock of its own, a session that remembers what it was told, and pages."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import numpy as np
from aiohttp import web
from aiohttp.test_utils import TestServer

from understudy.studio.access import Access, names_of
from understudy.studio.hub import Hub
from understudy.studio.server import build_app
from understudy.teleop import Frame, Input

SCENE = b"MJS1" + bytes(10_000)
HELLO = {
    "version": 1,
    "task": "<b>task</b>",
    "data": False,
    "bindings": [],
    "modes": ["record"],
    "cameras": [],
}


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Fake:
    """A session that only remembers."""

    inputs: list[Input] = field(default_factory=list)
    done: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    losses: int = 0
    said: dict[str, Any] = field(default_factory=lambda: {"phase": "idle", "message": None, "step": 0})

    def put(self, input: Input) -> None:
        self.inputs.append(input)

    def do(self, what: str, **args: Any) -> None:
        if what == "impossible":
            raise ValueError("there is no command 'impossible'")
        self.done.append((what, args))
        if what == "instruction":
            self.said = self.said | {"instruction": args["text"]}

    def lost(self) -> None:
        self.losses += 1

    def state(self) -> Mapping[str, Any]:
        return self.said


def frame(number: int = 1, *, reset: bool = False, ack: int = 0, bodies: int = 2, **more: Any) -> Frame:
    poses = np.full((bodies, 7), number, np.float32)
    return Frame(poses, number, 1, ack, number / 25, reset, False, False, False, **more)


class Page:
    """One page's link, and what came over it."""

    def __init__(self, link: aiohttp.ClientWebSocketResponse) -> None:
        self.hello: dict[str, Any] = {}
        self.link = link

    async def say(self, message: Mapping[str, Any]) -> None:
        await self.link.send_str(json.dumps(message))

    async def input(self, seq: int = 1, *keys: str) -> None:
        await self.say({"t": "in", "seq": seq, "keys": list(keys), "axes": [], "buttons": [], "target": None})

    async def next(self) -> Any:
        """The next message: a mapping, bytes, or how the link ended."""
        got = await asyncio.wait_for(self.link.receive(), 20)
        if got.type is aiohttp.WSMsgType.TEXT:
            return json.loads(got.data)
        return got.data if got.type is aiohttp.WSMsgType.BINARY else got

    async def until(self, wanted: Callable[[Any], bool]) -> Any:
        """The next message that is wanted; the others are read and forgotten."""
        while True:
            got = await self.next()
            if isinstance(got, aiohttp.WSMessage):
                raise AssertionError(f"the link ended: {got}")
            if wanted(got):
                return got

    async def state(self, **wanted: Any) -> dict[str, Any]:
        """The next state with these values."""
        found: dict[str, Any] = await self.until(
            lambda m: (
                isinstance(m, dict) and m["t"] == "state" and all(m.get(k) == v for k, v in wanted.items())
            )
        )
        return found

    async def ended(self) -> tuple[int | None, str]:
        """Reads to the end: the closing code and its reason."""
        while True:
            got = await self.next()
            if isinstance(got, aiohttp.WSMessage):
                if got.type is aiohttp.WSMsgType.CLOSE:  # the server's own word, however the line then ends
                    return int(got.data), str(got.extra or "")
                return self.link.close_code, ""


@dataclass
class Rig:
    """A server, what is behind it, and how to reach it."""

    base: str
    access: Access
    hub: Hub
    clock: Any
    renewed: list[str]

    @asynccontextmanager
    async def browser(self, *, enter: bool = True) -> AsyncIterator[aiohttp.ClientSession]:
        """A browser, with its cookie unless told otherwise."""
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
            if enter:
                async with session.get(f"{self.base}/", params={"token": self.access.token}) as answer:
                    assert answer.status == 200, answer.status
            yield session

    @asynccontextmanager
    async def page(self, browser: aiohttp.ClientSession, **headers: str) -> AsyncIterator[Page]:
        """A page of it: its link, past the greeting."""
        async with browser.ws_connect(
            f"{self.base}/ws", headers={"Origin": self.base} | headers, max_msg_size=0
        ) as link:
            page = Page(link)
            page.hello = await page.until(lambda m: isinstance(m, dict) and m["t"] == "hello")
            yield page

    @asynccontextmanager
    async def silent(self, browser: aiohttp.ClientSession) -> AsyncIterator[None]:
        """A page that answers no ping."""
        async with browser.ws_connect(f"{self.base}/ws", headers={"Origin": self.base}, autoping=False):
            yield


@asynccontextmanager
async def served(
    session: Any,
    *,
    share: bool = False,
    scene: bytes | None = SCENE,
    clock: Callable[[], float] | None = None,
    commands: Mapping[str, Callable[[], object]] | None = None,
    routes: Callable[[web.Application], None] = lambda app: None,
) -> AsyncIterator[Rig]:
    """A studio around a session."""
    clock, renewed = clock or Clock(), list[str]()
    hub = Hub(session, HELLO, commands=commands, clock=clock)
    access = Access(names_of("127.0.0.1"), share=share)
    app = build_app(hub, access, scene, cookie="understudy_test", used=renewed.append)
    routes(app)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    try:
        yield Rig(f"http://127.0.0.1:{server.port}", access, hub, clock, renewed)
    finally:
        await server.close()
