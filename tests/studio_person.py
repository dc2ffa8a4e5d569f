"""A person at the real page: a studio in a process of its own, Chromium before it, hands on keys and mouse.

The person sees what the page sees: the poses and states that come over its own socket.
"""

from __future__ import annotations

import json
import math
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Person", "Studio"]

_HEAD = struct.Struct("<BBHIIIdd")
_FIELD = math.radians(45)  # what the page's camera sees from bottom to top
_NARROW = 1.3  # width over height below which it steps back
_HANDLE = 0.75  # size of the handles in the scene
# The Fetch hand's keys: dimension -> (more, less).
_KEYS = (("w", "s"), ("a", "d"), ("e", "q"))

_HEAD_OF_SCENE = """async () => {
  const bytes = await (await fetch('/scene.bin')).arrayBuffer(), view = new DataView(bytes);
  return new TextDecoder().decode(new Uint8Array(bytes, 8, view.getUint32(4, true)));
}"""


class Studio:
    """`understudy studio` in a process of its own."""

    def __init__(self, *words: str, folder: Path) -> None:
        self.log = (folder / "studio.log").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "understudy", "studio", "--no-open", *words],
            cwd=folder, stdout=subprocess.PIPE, stderr=self.log, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "MUJOCO_GL": "disabled"},
        )  # fmt: skip
        assert self.process.stdout is not None
        self.url = ""
        for line in self.process.stdout:
            if line.startswith("http://"):
                self.url = line.strip()
                break
        assert self.url, Path(self.log.name).read_text()

    def end(self) -> int:
        """Ctrl-C, and the exit code."""
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=30)
        return self.process.returncode

    def __enter__(self) -> Studio:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        self.log.close()


class Person:
    """Sits before a page of the studio."""

    def __init__(self, page: Any, url: str) -> None:
        self.page, self.state = page, dict[str, Any]()
        self.poses: NDArray[np.float32] = np.zeros((0, 7), np.float32)
        self.held: frozenset[str] = frozenset()
        self.trouble: list[str] = []
        self.refused: list[tuple[int, str]] = []
        page.on("websocket", lambda link: link.on("framereceived", self._hear))
        page.on("pageerror", lambda e: self.trouble.append(str(e)))
        page.on("response", lambda r: self.refused.append((r.status, r.url)) if r.status >= 400 else None)
        page.goto(url)
        page.wait_for_selector(".stage canvas")
        self.head = json.loads(page.evaluate(_HEAD_OF_SCENE))
        self.until(lambda: bool(self.state) and len(self.poses) > 0, what="the session is heard")

    def _hear(self, payload: str | bytes) -> None:
        if isinstance(payload, str):
            said = json.loads(payload)
            if said.get("t") == "state":
                self.state = said
        elif payload[0] in (1, 2):
            n = _HEAD.unpack_from(payload)[2]
            self.poses = np.frombuffer(payload, "<f4", 7 * n, _HEAD.size).reshape(n, 7)

    @property
    def hand(self) -> NDArray[np.float64]:
        return self.poses[self.head["hand"], :3].astype(np.float64)

    @property
    def goal(self) -> NDArray[np.float64]:
        return self.poses[self.head["goal"], :3].astype(np.float64)

    @property
    def phase(self) -> str:
        return str(self.state.get("phase"))

    def until(self, true: Callable[[], object], seconds: float = 30.0, what: str = "") -> None:
        """Waits, hearing what the page hears."""
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, f"{what or 'it'} did not come true: {self.state}"
            self.page.wait_for_timeout(20)

    def comes(self, *phases: str, seconds: float = 30.0) -> None:
        """Waits for a phase."""
        self.until(lambda: self.phase in phases, seconds, f"phase {' or '.join(phases)}")

    def press(self, label: str) -> None:
        """Clicks the button with that label."""
        self.page.get_by_role("button", name=label).first.click()

    # -- keys ----------------------------------------------------------------------------------------

    def steer(
        self, target: Callable[[], NDArray[np.float64]], there: Callable[[], object], seconds: float = 40
    ) -> None:
        """Holds the keys that lead the hand to a target until something is true; then lets go."""
        end = time.monotonic() + seconds
        try:
            while not there():
                assert time.monotonic() < end, f"not there: {self.hand}, {target()}, {self.state}"
                self.hold(frozenset(self._keys(target() - self.hand)))
                self.page.wait_for_timeout(30)
        finally:
            self.hold(frozenset())

    def hold(self, keys: frozenset[str]) -> None:
        """Has these keys down and no others."""
        for key in self.held - keys:
            self.page.keyboard.up(key)
        for key in keys - self.held:
            self.page.keyboard.down(key)
        self.held = keys

    @staticmethod
    def _keys(way: NDArray[np.float64]) -> Iterator[str]:
        for (more, less), far in zip(_KEYS, way, strict=True):
            if abs(far) > 0.015:
                yield more if far > 0 else less

    # -- mouse ---------------------------------------------------------------------------------------

    def drag(self, axis: int, by: float) -> None:
        """Drags the hand's handle along one axis of the world by metres, slowly."""
        along = np.eye(3)[axis]
        box = self.page.locator(".stage canvas").bounding_box()
        eye, at = self._eye(box)
        size = _HANDLE / 4 * np.linalg.norm(at - eye) * min(1.9 * math.tan(_FIELD / 2), 7)
        grip = self.hand + 0.4 * size * along
        x, y = self._seen(grip, box)
        self.page.mouse.move(x, y)
        self.page.wait_for_timeout(150)  # the handle must notice the mouse first
        target = self.hand[axis] + by
        self.page.mouse.down()
        for part in np.linspace(0, 1, 6)[1:]:
            self.page.mouse.move(*self._seen(grip + part * by * along, box))
            self.page.wait_for_timeout(40)
        done = lambda: abs(self.hand[axis] - target) < 0.015 or self.phase == "review"  # noqa: E731
        self.until(done, 20, "the hand follows the mouse")
        self.page.mouse.up()

    def _eye(self, box: dict[str, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where the camera stands, and what of the handle it looks at."""
        c = self.head["camera"]
        azimuth, elevation = math.radians(c["azimuth"]), math.radians(c["elevation"])
        level = math.cos(elevation)
        ahead = np.array([level * math.cos(azimuth), level * math.sin(azimuth), math.sin(elevation)])
        far = c["distance"] * max(1, _NARROW / (box["width"] / box["height"]))
        return np.array(c["target"]) - far * ahead, self.hand

    def _seen(self, place: NDArray[np.float64], box: dict[str, float]) -> tuple[float, float]:
        """Where on the page a place of the world is drawn."""
        eye, _ = self._eye(box)
        ahead = np.array(self.head["camera"]["target"]) - eye
        ahead /= np.linalg.norm(ahead)
        right = np.cross(ahead, [0, 0, 1])
        right /= np.linalg.norm(right)
        up = np.cross(right, ahead)
        way = place - eye
        scale = box["height"] / 2 / math.tan(_FIELD / 2) / (way @ ahead)
        middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        return middle[0] + scale * (way @ right), middle[1] - scale * (way @ up)
