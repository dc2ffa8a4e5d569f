"""The studio under load: one page that drives at 30 Hz, five that look on, for ten minutes.

    python benchmarks/studio_load.py --json-out benchmarks/results/studio_load.json

The server is a process of its own, started as a user starts it, on fetch-push; the pages are raw WebSockets
in this process, on the same machine and its one monotonic clock. "Input to command" is from sending an input
until the step that used it, or a newer one, is done; "input to frame" goes on until the page that drives has
that step's frame; "delivery" is the difference. A control period is 40 ms and an input comes at any time of
it, so that 20 ms of either are waiting on average. Growth of memory is the slope of resident size over time,
without the first fifth; in a minute that is the warming up.
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import numpy as np

from common import arguments, emit, environment, significant

RATE, VIEWERS = 30.0, 5
TARGETS = {"p95_ms": 50.0, "cores": 0.5, "growth_mib_per_hour": 10.0}
TICKS = os.sysconf("SC_CLK_TCK")
KEYS = ("KeyW", "KeyA", "KeyS", "KeyD")


@dataclass
class Page:
    """What one page saw."""

    frames: int = 0
    first: int | None = None
    last: int = 0
    to_step: list[float] = field(default_factory=list)
    to_frame: list[float] = field(default_factory=list)
    sent: dict[int, float] = field(default_factory=dict)
    states: int = 0

    def take(self, packet: bytes, now: float) -> None:
        """A frame; the first with an input's number, or a later one's, ends its time."""
        frame, _, ack, _, stepped = struct.unpack_from("<IIIdd", packet, 4)
        self.frames += 1
        self.first = frame if self.first is None else self.first
        self.last = max(self.last, frame)
        for seq in [s for s in self.sent if s <= ack]:
            sent = self.sent.pop(seq)
            self.to_step.append(1e3 * (stepped - sent))
            self.to_frame.append(1e3 * (now - sent))

    def dropped(self) -> int:
        """Frames that the session made while the page looked on, and that it did not get."""
        return 0 if self.first is None else self.last - self.first + 1 - self.frames


def main() -> None:
    """Measures, and prints the record."""
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="of load")
    parser.add_argument("--task", default="fetch-push", help="what is driven")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        record = asyncio.run(measured(args.task, args.seconds, Path(folder)))
    emit(record, args.json_out)


async def measured(task: str, seconds: float, folder: Path) -> dict[str, Any]:
    """The whole run: start, load, end."""
    words = ["studio", "--task", task, "--out", str(folder / "recorded"), "--no-open", "--share", "--json"]
    server = subprocess.Popen(
        [sys.executable, "-m", "understudy.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert server.stderr is not None
    try:
        url = next(line.strip() for line in server.stderr if "token=" in line)
        found = await load(url, server.pid, seconds)
    finally:
        server.terminate()
        _, err = server.communicate(timeout=60)
    if server.returncode:
        raise RuntimeError(f"the server ended with status {server.returncode}: {err}")
    return {"setting": {"task": task, "seconds": seconds, "inputs_hz": RATE, "viewers": VIEWERS}, **found}


async def load(url: str, pid: int, seconds: float) -> dict[str, Any]:
    """Opens the pages, drives and looks on, and measures the server meanwhile."""
    parts = urlsplit(url)
    token = parse_qs(parts.query)["token"][0]
    base = f"http://{parts.netloc}"
    pages = [Page() for _ in range(1 + VIEWERS)]
    ended = asyncio.Event()
    tasks = [
        asyncio.create_task(look(base, token, page, ended, drives=i == 0)) for i, page in enumerate(pages)
    ]
    await asyncio.sleep(1.0)
    began, cpu = time.monotonic(), cpu_seconds(pid)
    memory: list[tuple[float, float]] = []
    while (now := time.monotonic() - began) < seconds:
        memory.append((now, resident(pid)))
        await asyncio.sleep(min(max(1.0, seconds / 120), seconds - now))
    memory.append((seconds, resident(pid)))
    share = (cpu_seconds(pid) - cpu) / (time.monotonic() - began)
    ended.set()
    await asyncio.gather(*tasks)
    return summary(pages, memory, share, seconds)


async def look(base: str, token: str, page: Page, ended: asyncio.Event, *, drives: bool) -> None:
    """One page, with a browser of its own."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
        async with browser.get(f"{base}/", params={"token": token}) as answer:
            answer.raise_for_status()
        if not drives:
            await asyncio.sleep(0.5)  # the first to come drives
        async with browser.ws_connect(f"{base}/ws", origin=base, max_msg_size=0) as link:
            driving = asyncio.create_task(drive(link, page)) if drives else None
            reading = asyncio.create_task(read(link, page))
            await ended.wait()
            for task in (driving, reading):
                if task is not None:
                    task.cancel()
            await asyncio.gather(*(t for t in (driving, reading) if t), return_exceptions=True)


async def read(link: aiohttp.ClientWebSocketResponse, page: Page) -> None:
    """Everything the server says."""
    async for message in link:
        if message.type is aiohttp.WSMsgType.BINARY:
            page.take(message.data, time.monotonic())
        else:
            page.states += 1


async def drive(link: aiohttp.ClientWebSocketResponse, page: Page) -> None:
    """Keys that change twice a second, said 30 times a second; each half minute another episode is begun."""
    began, seq = time.monotonic(), 0
    while True:
        seq += 1
        if seq % int(30 * RATE) == 1:
            for what in ("discard", "start"):
                await link.send_str(json.dumps({"t": "do", "what": what}))
        keys = [KEYS[int(2 * (time.monotonic() - began)) % len(KEYS)]]
        page.sent[seq] = time.monotonic()
        await link.send_str(json.dumps({"t": "in", "seq": seq, "keys": keys, "axes": [], "buttons": []}))
        await asyncio.sleep(max(0.0, began + seq / RATE - time.monotonic()))


def summary(
    pages: list[Page], memory: list[tuple[float, float]], share: float, seconds: float
) -> dict[str, Any]:
    """The figures, and whether they keep the targets."""
    driver = pages[0]
    kept = [m for m in memory if m[0] >= seconds / 5]
    slope = float(np.polyfit(*np.array(kept).T, 1)[0]) * 3600 if len(kept) > 2 else float("nan")
    minutes = [round(min(memory, key=lambda m: abs(m[0] - t))[1], 1) for t in np.arange(0, seconds + 1, 60)]
    command = percentiles(driver.to_step)
    found = {"p95_ms": command["p95"], "cores": significant(share), "growth_mib_per_hour": significant(slope)}
    return {
        "input_to_command_ms": command,
        "input_to_frame_ms": percentiles(driver.to_frame),
        "delivery_ms": percentiles([b - a for a, b in zip(driver.to_step, driver.to_frame, strict=True)]),
        "server_cores": significant(share),
        "memory_mib": {
            "start": memory[0][1],
            "each_minute": minutes,
            "end": memory[-1][1],
            "growth_per_hour": significant(slope),
        },
        "viewers": [viewed(page, seconds) for page in pages],
        "machine_load": [round(x, 1) for x in os.getloadavg()],
        "targets": {k: {"at most": v, "found": found[k], "met": found[k] <= v} for k, v in TARGETS.items()},
    }


def percentiles(times: list[float]) -> dict[str, float]:
    """Of milliseconds: the median, the 95th and the 99th percentile, and how many there are."""
    p50, p95, p99 = (significant(float(q)) for q in np.percentile(times, (50, 95, 99)))
    return {"p50": p50, "p95": p95, "p99": p99, "n": len(times)}


def viewed(page: Page, seconds: float) -> Mapping[str, float]:
    """Frames and states of one page."""
    return {
        "frames": page.frames,
        "hz": significant(page.frames / seconds),
        "dropped": page.dropped(),
        "states": page.states,
    }


def cpu_seconds(pid: int) -> float:
    """User and system time of the process, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident(pid: int) -> float:
    """MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 2)


if __name__ == "__main__":
    main()
