"""The driver's side of the link: a robot in another process, or on another computer, as a `Robot` here."""

from __future__ import annotations

import contextlib
import math
import selectors
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any, final

import numpy as np

from understudy.episode import Array
from understudy.robots import wire
from understudy.robots.base import Reading, Refused, RobotLost
from understudy.robots.tokens import checked_token
from understudy.robots.wire import Malformed

__all__ = ["RemoteRobot"]

_SILENCE = 0.8  # seconds without a word from the robot's side, after which it is lost
_BEAT = 0.2  # seconds between our signs of life
_RESET = 60.0  # seconds that a reset may take; meanwhile readings go on
_CHUNK = 1 << 16


@final
class RemoteRobot:
    """A robot that `serve` or `understudy robot` serves at an address. Limits and watchdog are on its side.

    A thread receives its readings; `observe` gives the newest at once. Where the process at the other end
    dies or falls silent, everything here raises `RobotLost` within a second, and the robot stops by itself.
    It may be stopped from any thread, also while another one waits for a reset.

    Args:
        address: "HOST:PORT".
        token: the secret that its side was started with.
        watch: only look on; several may.
        timeout: seconds for connecting and for an answer.

    Raises:
        ValueError: when the address or the token cannot be one.
        RobotLost: when nobody answers there, or the client is refused; the line says why.
    """

    def __init__(self, address: str, token: str, *, watch: bool = False, timeout: float = 1.0) -> None:
        host, port = _split(address)
        self.address, self._timeout, self._watch = address, timeout, watch
        token = checked_token(token, "token")
        try:
            self._socket = socket.create_connection((host, port), timeout=timeout)
        except OSError as e:
            raise RobotLost(f"no robot answers at {address}: {e.strerror or e}") from None
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = bytearray()
        self._news = threading.Condition()
        self._sending = threading.Lock()
        self._lost, self._id, self._closed = "", 0, False
        self._answers: dict[float, dict[str, Any] | None] = {}  # to each question that waits
        self._most = 0  # bytes of the largest body that may come
        try:
            self._introduce(token, "watch" if watch else "command")
        except BaseException:
            self._socket.close()
            raise
        self._thread = threading.Thread(target=self._listen, name=f"robot at {address}", daemon=True)
        self._thread.start()

    @property
    def why_stopped(self) -> str:
        """Why it does not move, by its last reading; "" where it does as it is told."""
        return self.observe().stopped

    def observe(self) -> Reading:
        """The newest reading that has arrived.

        Raises:
            RobotLost: when the robot cannot be reached any more.
        """
        with self._news:
            self._need()
            return self._reading

    def command(self, action: Array) -> None:
        """Has `action` [A] carried out, and waits for the answer.

        Raises:
            Refused: by a limit, or because the robot is stopped.
            RobotLost: when it cannot be reached any more.
        """
        self._ask({"t": "command"}, np.ascontiguousarray(action, "<f4").tobytes())

    def stop(self, why: str = "stopped by hand") -> None:
        """To rest, until `resume` or `reset`. A robot that cannot be reached has stopped by itself."""
        if self._watch:
            raise Refused("this connection only watches")
        with contextlib.suppress(RobotLost):
            self._ask({"t": "stop", "why": why[:200]})

    def resume(self) -> None:
        """Takes commands again.

        Raises:
            Refused: when only a reset helps.
            RobotLost: when it cannot be reached any more.
        """
        self._ask({"t": "resume"})

    def reset(self, seed: int) -> Reading:
        """A new start, at rest.

        Raises:
            Refused: when the robot cannot.
            RobotLost: when it cannot be reached any more, or takes more than a minute.
        """
        self._ask({"t": "reset", "seed": int(seed)}, patience=_RESET)
        return self.observe()

    def wait(self, after: float, timeout: float) -> Reading | None:
        """The first reading later than `after`, None where there is none within `timeout` seconds.

        Raises:
            RobotLost: when the robot cannot be reached any more.
        """
        with self._news:
            self._news.wait_for(lambda: self._lost or self._reading.time > after, timeout)
            self._need()
            return self._reading if self._reading.time > after else None

    def close(self) -> None:
        """Leaves; the robot stops. Doing so twice is harmless."""
        self._closed = True
        self._lose("it was closed here")
        self._hang_up()
        self._thread.join(timeout=1.0)

    def _introduce(self, token: str, role: str) -> None:
        end = time.monotonic() + self._timeout
        who, _ = self._frame(end)
        if who["t"] != "who" or who.get("version") != wire.VERSION:
            raise self._gone(f"does not speak version {wire.VERSION} of a robot's protocol", who)
        said = wire.proof(token, wire.text(who, "nonce"), role)
        self._send(wire.frame({"t": "hello", "version": wire.VERSION, "role": role, "proof": said}))
        robot, _ = self._frame(end)
        if robot["t"] != "robot":
            raise self._gone("does not say what it is", robot)
        self._describe(robot)
        head, body = self._frame(end)
        self._reading = wire.reading_from(head, body, self._arrays)

    def _describe(self, robot: Mapping[str, Any]) -> None:
        self.name = wire.text(robot, "name")
        self.rate = wire.number(robot, "rate")
        if not 0 < self.rate <= 1000:
            raise Malformed(f"its rate is {self.rate:g}")
        self.action = wire.action_from(robot.get("action"))
        self._arrays = wire.shapes_from(robot.get("arrays"))
        self.obs: Mapping[str, tuple[int, ...]] = wire.named(self._arrays, "obs ")
        self.resets = robot.get("resets") is True
        self._most = 8 * sum(math.prod(shape) for shape in self._arrays.values())

    def _gone(self, what: str, head: Mapping[str, Any]) -> RobotLost:
        said = wire.text(head, "why") if head["t"] == "bye" else what
        return RobotLost(f"the robot at {self.address}: {said}")

    def _frame(self, end: float) -> tuple[dict[str, Any], bytes]:
        """The next frame of the greeting, before the thread listens."""
        while (found := self._cut()) is None:
            self._socket.settimeout(max(0.01, end - time.monotonic()))
            try:
                chunk = self._socket.recv(_CHUNK)
            except OSError as e:
                raise RobotLost(f"the robot at {self.address} does not answer: {e.strerror or e}") from None
            if not chunk:
                raise RobotLost(f"the robot at {self.address} closed the connection")
            self._received += chunk
        self._socket.settimeout(self._timeout)
        return found

    def _cut(self) -> tuple[dict[str, Any], bytes] | None:
        """The first frame of what was received, where it is complete."""
        start = wire.LENGTHS.size
        if len(self._received) < start:
            return None
        head, body = wire.lengths(bytes(self._received[:start]), self._most)
        if len(self._received) < start + head + body:
            return None
        found = bytes(self._received[: start + head + body])
        del self._received[: start + head + body]
        return wire.head_of(found[start : start + head]), found[start + head :]

    def _send(self, frame: bytes) -> None:
        try:
            with self._sending:
                self._socket.sendall(frame)
        except OSError as e:
            self._lose(f"the connection broke: {e.strerror or e}")
            self._need()

    def _ask(self, head: dict[str, Any], body: bytes = b"", patience: float | None = None) -> None:
        """Sends a request and waits for its answer."""
        if self._watch:
            raise Refused("this connection only watches")
        with self._news:
            self._need()
            self._id += 1
            mine = self._id
            self._answers[mine] = None
        try:
            self._send(wire.frame({**head, "id": mine}, body))
            with self._news:
                self._news.wait_for(lambda: self._lost or self._answers[mine], patience or self._timeout)
                self._need()
                answer = self._answers[mine]
        finally:
            del self._answers[mine]
        if answer is None:
            raise RobotLost(f"the robot at {self.address} did not answer {head['t']}")
        if answer["t"] == "refused":
            raise Refused(wire.text(answer, "why"))

    def _need(self) -> None:
        if self._lost:
            raise RobotLost(f"the robot at {self.address} is lost: {self._lost}")

    def _lose(self, why: str) -> None:
        with self._news:
            self._lost = self._lost or why
            self._news.notify_all()

    def _listen(self) -> None:
        """In its own thread: takes in what comes, and shows that we are here."""
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._socket, selectors.EVENT_READ)
                self._follow(selector)
        except Malformed as e:
            self._lose(f"it sent what it should not: {e}")
        except RobotLost as e:
            self._lose(str(e))
        except OSError as e:
            self._lose(f"the connection broke: {e.strerror or e}")
        finally:
            self._hang_up()
            with self._sending:
                self._socket.close()

    def _hang_up(self) -> None:
        """So that the robot's side sees the end at once, whoever still holds this object."""
        with contextlib.suppress(OSError):  # the other end was first
            self._socket.shutdown(socket.SHUT_RDWR)

    def _follow(self, selector: selectors.BaseSelector) -> None:
        heard = beaten = time.monotonic()
        while not self._closed:
            while (found := self._cut()) is not None:
                self._take(*found)
            if (now := time.monotonic()) - beaten >= _BEAT:
                self._send(wire.frame({"t": "beat"}))
                beaten = now
            if selector.select(timeout=_BEAT / 2):
                chunk = self._socket.recv(_CHUNK)
                if not chunk:
                    self._lose("its side closed the connection")
                    return
                self._received += chunk
                heard = time.monotonic()
            elif time.monotonic() - heard > _SILENCE:
                self._lose(f"silent for {_SILENCE:g} s")
                return

    def _take(self, head: dict[str, Any], body: bytes) -> None:
        with self._news:
            if head["t"] == "reading":
                reading = wire.reading_from(head, body, self._arrays)
                if reading.time >= self._reading.time:  # a reset may overtake an older one
                    self._reading = reading
            elif head["t"] in ("done", "refused"):
                if (asked := wire.number(head, "id")) in self._answers:
                    self._answers[asked] = head
            elif head["t"] == "bye":
                raise RobotLost(f"it said: {wire.text(head, 'why')}")
            elif head["t"] != "beat":
                raise Malformed(f"a frame {head['t'][:20]!r}")
            self._news.notify_all()


def _split(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{address!r} is no address of a robot; one is HOST:PORT")
    return host.strip("[]"), int(port)
