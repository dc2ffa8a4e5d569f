"""A robot's side of the link: one client commands, others watch; what is lost or wrong stops the robot."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, final

import numpy as np

from understudy.robots import wire
from understudy.robots.base import Reading, Refused, Robot, RobotLost, SafeRobot
from understudy.robots.guarded import guarded
from understudy.robots.tokens import checked_token
from understudy.robots.wire import Malformed

__all__ = ["serve"]

_GREETING = 2.0  # seconds in which a client must have shown the token
_SILENCE = 1.0  # seconds without a word, after which a commanding client is given up
_BEAT = 0.2  # seconds between signs of life, where readings are rarer
_CLIENTS = 16
_CHUNK = 1 << 16  # bytes
_BEHIND = 1 << 20  # bytes that a client may be behind before readings are left out for it


def serve(
    robot: Robot,
    *,
    token: str,
    host: str = "127.0.0.1",
    port: int = 0,
    ready: Callable[[str, int], None] | None = None,
    log: Callable[[str], None] | None = None,
    until: threading.Event | None = None,
) -> dict[str, int]:
    """Serves a robot over TCP until interrupted (Ctrl-C, SIGTERM) or `until` is set; then it stops.

    One client commands at a time, others are refused or watch. The robot is stopped where its commands stay
    away for its timeout, where the connection ends, and where something comes that is no frame. Neither
    readings nor commands are encrypted: another address than this computer's own is for a network that is
    yours alone.

    Args:
        robot: a safe one (`Guarded`, `SimulatedRobot`), which is at rest afterwards; any other gets `Guarded`
            without further limits, and is closed afterwards.
        token: the shared secret, at least 16 characters.
        host, port: the address to listen at; port 0 takes a free one.
        ready: called with the address when clients can come.
        log: called with a line for everything that happens; standard error by default.

    Returns:
        how many commands were carried out and refused, and how many clients commanded.

    Raises:
        ValueError: when the token is too short or the port cannot be one. OSError: when the address is taken.
    """
    if not 0 <= port < 65536:
        raise ValueError(f"port is {port}; it must lie in 0..65535")
    checked_token(token, "token")
    safe = guarded(robot)
    wire.reading_frame(safe.observe())  # fails here, and not when somebody drives, where it fits no frame
    side = _Side(safe, token, log or _to_stderr, until or threading.Event())
    try:
        asyncio.run(side.run(host, port, ready or (lambda _host, _port: None)))
    finally:
        safe.stop("its side has ended")
        if safe is not robot:
            safe.close()
    return side.counts


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@final
class _Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.role = "stranger"
        peer = writer.get_extra_info("peername")
        self.name = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "somebody"
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def hear(self, seconds: float, most: int) -> tuple[dict[str, Any], bytes]:
        """The next frame."""
        async with asyncio.timeout(seconds):
            head, body = wire.lengths(await self.reader.readexactly(wire.LENGTHS.size), most)
            return wire.head_of(await self.reader.readexactly(head)), await self.reader.readexactly(body)

    async def say(self, head: dict[str, Any]) -> None:
        """Sends a frame; a client that does not listen is given up."""
        self.writer.write(wire.frame(head))
        async with asyncio.timeout(_SILENCE):
            await self.writer.drain()

    def push(self, frame: bytes) -> None:
        """Sends a frame unless this client is behind: the newest matters, not every one."""
        if self.writer.transport.get_write_buffer_size() < _BEHIND:
            self.writer.write(frame)


@final
class _Side:
    """The robot, who drives it, and who watches."""

    def __init__(
        self, robot: SafeRobot, token: str, log: Callable[[str], None], until: threading.Event
    ) -> None:
        self.robot, self._token, self._log, self._until = robot, token, log, until
        self.counts = {"commands": 0, "refused": 0, "drivers": 0}
        self._clients: set[_Client] = set()
        self._driver: _Client | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._resetting = False

    async def run(self, host: str, port: int, ready: Callable[[str, int], None]) -> None:
        """Listens until told to end."""
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        if threading.current_thread() is threading.main_thread():
            for name in (signal.SIGINT, signal.SIGTERM):
                with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C comes as an exception there
                    loop.add_signal_handler(name, over.set)
        server = await asyncio.start_server(self._meet, host, port, limit=wire.MAX_HEAD)
        pump = threading.Thread(target=self._pump, args=(loop, over), daemon=True)
        try:
            at = server.sockets[0].getsockname()
            if not _own(at[0]):
                self._log(f"{at[0]} is open to a network: whoever can listen there sees all, unencrypted")
            pump.start()
            ready(at[0], at[1])
            await over.wait()
        finally:
            self._until.set()
            self.robot.stop("its side ends")
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            pump.join(timeout=1.0)

    def _pump(self, loop: asyncio.AbstractEventLoop, over: asyncio.Event) -> None:
        """In its own thread: hands every new reading to all clients."""
        after, why = -np.inf, ""
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            while not self._until.is_set():
                try:
                    reading = self.robot.wait(after, _BEAT)
                except RobotLost as e:
                    self._log(str(e))
                    break
                if reading is not None:
                    after = reading.time
                    if reading.stopped and reading.stopped != why:
                        self._log(f"{reading.time:.3f} stopped: {reading.stopped}")
                    why = reading.stopped
                loop.call_soon_threadsafe(self._spread, reading)
            loop.call_soon_threadsafe(over.set)

    def _spread(self, reading: Reading | None) -> None:
        told = [c for c in self._clients if c.role != "stranger"]
        if not told:
            return
        try:
            frame = wire.frame({"t": "beat"}) if reading is None else wire.reading_frame(reading)
        except (ValueError, TypeError) as e:
            self.robot.stop(f"its reading cannot be sent: {' '.join(str(e).split())}")
            return
        for client in told:
            client.push(frame)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its first byte to its last."""
        client, why = _Client(reader, writer), ""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._clients.add(client)
        try:
            await self._greet(client)
            while True:
                await self._answer(client, *await client.hear(_SILENCE, 4 * self.robot.action.width))
        except Malformed as e:
            why = str(e)
        except TimeoutError:
            why = "no token in time" if client.role == "stranger" else f"silent for {_SILENCE:g} s"
        except (asyncio.IncompleteReadError, ConnectionError):
            why = "the connection was closed"
        except asyncio.CancelledError:
            why = "the robot's side ends"
        finally:
            self._tasks.discard(task)
            self._part(client, why)

    async def _greet(self, client: _Client) -> None:
        if len(self._clients) > _CLIENTS:
            raise Malformed(f"there are {_CLIENTS} clients already")
        nonce = secrets.token_hex(16)
        await client.say({"t": "who", "version": wire.VERSION, "nonce": nonce})
        hello, _ = await client.hear(_GREETING, 0)
        if hello["t"] != "hello" or hello.get("version") != wire.VERSION:
            raise Malformed(f"this robot speaks version {wire.VERSION}")
        role = wire.text(hello, "role")
        given = wire.text(hello, "proof").encode()
        if not hmac.compare_digest(given, wire.proof(self._token, nonce, role).encode()):
            raise Malformed("the token is wrong")
        if role not in ("command", "watch"):
            raise Malformed("a role is command or watch")
        if role == "command" and self._driver is not None:
            raise Malformed(f"{self._driver.name} commands this robot already; one at a time")
        if role == "command":
            self._driver = client
            self.counts["drivers"] += 1
        self._log(f"{client.name} came to {role}")
        robot = self.robot
        first = robot.observe()
        await client.say(
            {
                "t": "robot",
                "name": robot.name,
                "rate": robot.rate,
                "action": wire.action_words(robot.action),
                "arrays": {k: list(a.shape) for k, a in wire.arrays_of(first).items()},
                "resets": robot.resets,
            }
        )
        client.push(wire.reading_frame(first))
        client.role = role

    async def _answer(self, client: _Client, head: dict[str, Any], body: bytes) -> None:
        what = head["t"]
        if what == "beat" and not body:
            return
        if client is not self._driver:
            raise Malformed("who watches does not command")
        reply = self._reply(client, what, wire.number(head, "id"), self._call(what, head, body))
        if what == "reset" and not self._resetting:  # it may take long, and a stop must not wait for it
            self._resetting = True
            task = asyncio.create_task(reply)
            self._tasks.add(task)
            task.add_done_callback(self._forget)
        else:
            await reply

    async def _reply(self, client: _Client, what: str, id: float, call: Callable[[], object]) -> None:
        """Makes the call, and answers."""
        reply: dict[str, Any] = {"t": "done", "id": id}
        try:
            if what == "reset":
                await asyncio.to_thread(call)
            else:
                call()
        except (Refused, RobotLost) as e:
            reply |= {"t": "refused", "why": str(e)[:500]}
        except Exception as e:  # a driver of somebody's robot may raise anything; nobody moves on after it
            failed = f"{what} failed: {' '.join(str(e).split())}"
            self.robot.stop(failed)
            reply |= {"t": "refused", "why": f"stopped: {failed}"[:500]}
        if what == "command":
            self.counts["commands" if reply["t"] == "done" else "refused"] += 1
        with contextlib.suppress(ConnectionError):  # who has gone meanwhile needs no answer
            await client.say(reply)

    def _call(self, what: str, head: dict[str, Any], body: bytes) -> Callable[[], object]:
        """What a frame asks for."""
        robot = self.robot
        if what in ("command", "reset") and self._resetting:
            return _busy
        if what == "command" and len(body) == 4 * robot.action.width:
            # In the loop's own thread: another one would cost every command its delay.
            return partial(robot.command, np.frombuffer(body, "<f4"))
        if what == "reset" and not body:
            seed = wire.number(head, "seed")
            if seed != int(seed) or not 0 <= seed < 2**53:
                raise Malformed("a seed is a whole number from 0")
            return partial(self._reset, int(seed), asyncio.get_running_loop())
        if what == "resume" and not body:
            return robot.resume
        if what == "stop" and not body:
            return partial(robot.stop, wire.text(head, "why"))
        raise Malformed(f"{what[:20]!r} is nothing that a client says so")

    def _reset(self, seed: int, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread of its own. The first reading is sent before the answer."""
        try:
            loop.call_soon_threadsafe(self._spread, self.robot.reset(seed))
        finally:
            self._resetting = False

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # of the answer to who does not listen any more; his connection ends by itself

    def _part(self, client: _Client, why: str) -> None:
        """The end of a connection; where it commanded, the robot stops first."""
        if client is self._driver:
            self._driver = None
            self.robot.stop(f"its client {client.name} is gone: {why}")
        self._clients.discard(client)
        self._log(f"{client.name} left: {why}")
        client.push(wire.frame({"t": "bye", "why": why[:500]}))
        if client.writer.transport.get_write_buffer_size() > _CHUNK:  # it does not listen; nor will it
            client.writer.transport.abort()
        client.writer.close()


def _busy() -> None:
    raise Refused("stopped: being reset; wait for its end before the next command")


def _own(host: str) -> bool:
    """Whether an address is this computer's alone."""
    return ipaddress.ip_address(host.split("%")[0]).is_loopback
