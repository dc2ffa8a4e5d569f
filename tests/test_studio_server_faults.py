"""What breaks, and what is left of it: links, disks, robots and the studio itself. Saved episodes stay."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

pytest.importorskip("aiohttp")
import aiohttp

from studio_rig import Clock, Page, Rig, served
from teleop_bench import FPS, LINE
from understudy import storage
from understudy.envs import task
from understudy.robots import RemoteRobot, RobotEnv
from understudy.storage import Writer
from understudy.teleop import Loop, Session, controls_for

KEY = "KeyD"  # of the first action, in each of the tasks here


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 100))


class Desk:
    """A studio around a session on a line, where time passes when a test says so."""

    def __init__(self, rig: Rig, session: Session) -> None:
        self.rig, self.session = rig, session

    async def pass_(self, steps: int = 1) -> None:
        """So many control periods."""
        for _ in range(steps):
            self.rig.clock.now += 1 / FPS
            self.rig.hub.on_frame(self.session.tick(self.rig.clock.now))
            await asyncio.sleep(0)

    async def until(self, **wanted: Any) -> None:
        """Periods until the session's state is so; what saves does so in a thread of its own."""
        for _ in range(500):
            await self.pass_()
            if all(self.session.state()[k] == v for k, v in wanted.items()):
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"{wanted} never came; it is {self.session.state()}")

    async def drive(self, page: Page, steps: int, seq: int = 1) -> None:
        """An episode under way: so many periods with a key held down."""
        for n in range(steps):
            await page.input(seq + n, KEY)
            await self.heard(page)
            await self.pass_()

    async def heard(self, page: Page) -> None:
        """Everything that the page has said has arrived."""
        await page.say({"t": "ping", "at": 0})
        await page.until(lambda m: isinstance(m, dict) and m["t"] == "pong")

    async def do(self, page: Page, what: str, **args: Any) -> None:
        """A command, heard and acted upon."""
        await page.say({"t": "do", "what": what, **args})
        await self.heard(page)
        await self.pass_()


@asynccontextmanager
async def desk(folder: Path) -> AsyncIterator[tuple[Desk, aiohttp.ClientSession]]:
    clock = Clock()
    session = Session(LINE.make, LINE, controls_for(LINE), folder, operator="Ann", clock=clock, countdown=0.0)
    try:
        async with served(session, clock=clock) as rig, rig.browser() as browser:
            yield Desk(rig, session), browser
    finally:
        session.close()


def test_a_link_cut_mid_episode_stops_the_world_and_the_episode_goes_on_with_the_next(tmp_path: Path) -> None:
    async def work() -> None:
        async with desk(tmp_path / "data") as (d, browser):
            async with d.rig.page(browser) as page:
                await d.do(page, "start")
                await d.drive(page, 5)
                assert d.session.state()["phase"] == "running"
                page.link._response.connection.transport.abort()
                while d.rig.hub.viewers:
                    await asyncio.sleep(0.01)
            before = d.session.state()["step"]
            await d.pass_(10)
            state = d.session.state()
            assert (state["phase"], state["step"]) == ("paused", before)
            async with d.rig.page(browser) as page:
                seen = await page.state(phase="paused", controller=True)
                assert "not heard" in seen["message"]["text"]
                await page.input(49, KEY)
                await d.do(page, "resume")
                await d.drive(page, 4, seq=50)
                await d.do(page, "success")
                await d.do(page, "save")
                await d.until(saved=1)
        episodes = storage.read(tmp_path / "data")
        assert len(episodes) == 1
        assert len(episodes[0]) == before + 1 + 4
        assert (np.diff(episodes[0].obs["state"][:, 0]) > 0).all()  # no step was taken while nobody drove

    run(work)


def test_a_full_disk_is_said_and_the_episode_is_saved_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        async with desk(tmp_path / "data") as (d, browser), d.rig.page(browser) as page:
            await d.do(page, "start")
            await d.drive(page, 5)
            await d.do(page, "success")
            with monkeypatch.context() as full:
                full.setattr(Writer, "add", _no_space)
                await d.do(page, "save")
                await d.until(phase="review")
            seen = await page.until(_is_error)
            assert (seen["phase"], seen["saved"]) == ("review", 0)
            assert "No space left" in seen["message"]["text"]
            await d.do(page, "save")
            await d.until(saved=1)
            assert (await page.state(saved=1))["last"][0]["steps"] == 5
        assert len(storage.read(tmp_path / "data")) == 1

    run(work)


def _no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def process(*words: str) -> Iterator[subprocess.Popen[str]]:
    """`understudy` in a process of its own; killed at the end where it still runs."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    child = subprocess.Popen(
        [sys.executable, "-m", "understudy.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **one},
    )
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.communicate()


def test_a_robot_whose_process_dies_is_said_to_be_lost(tmp_path: Path) -> None:
    which = task("pendulum")

    async def work(env: RobotEnv, robot: subprocess.Popen[str]) -> None:
        session = Session(env, which, controls_for(which), tmp_path / "data", operator="Ann", countdown=0.0)
        async with served(session, clock=time.monotonic) as rig, rig.browser() as browser:
            loop = Loop(session, rig.hub.on_frame)
            loop.start()
            async with rig.page(browser) as page:
                await page.say({"t": "do", "what": "start"})
                pushing = asyncio.create_task(_push(page))
                await page.state(phase="running")
                robot.kill()
                seen = await page.until(
                    lambda m: (
                        isinstance(m, dict)
                        and m["t"] == "state"
                        and (m["message"] or {}).get("level") == "error"
                    )
                )
                assert seen["robot"]["stopped"]
                assert seen["phase"] in ("review", "error", "idle")
                pushing.cancel()
            await asyncio.to_thread(loop.stop)
            assert loop.error == ""
        session.close()

    with process("robot", "pendulum", "--port", "0") as robot:
        assert robot.stdout is not None
        where = json.loads(robot.stdout.readline())
        env = RobotEnv(RemoteRobot(f"{where['host']}:{where['port']}", where["token"]))
        run(lambda: work(env, robot))


def _is_error(message: Any) -> bool:
    return isinstance(message, dict) and (message.get("message") or {}).get("level") == "error"


async def _push(page: Page) -> None:
    seq = 0
    while True:
        seq += 1
        await page.input(seq, KEY)
        await asyncio.sleep(1 / 30)


@asynccontextmanager
async def studio(folder: Path) -> AsyncIterator[tuple[subprocess.Popen[str], Page]]:
    """`understudy studio` as a user starts it, and a page that has entered by the printed address."""
    with process("studio", "--task", "point-maze", "--out", str(folder), "--no-open", "--json") as child:
        assert child.stderr is not None
        url = await asyncio.to_thread(_address, child)
        base = "http://" + urlsplit(url).netloc
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
            async with browser.get(url) as answer:
                assert answer.status == 200
            async with browser.ws_connect(base + "/ws", headers={"Origin": base}) as link:
                yield child, Page(link)


def _is_under_way(message: Any) -> bool:
    return isinstance(message, dict) and message.get("phase") == "running" and message["step"] >= 3


def _address(child: subprocess.Popen[str]) -> str:
    assert child.stderr is not None
    for line in child.stderr:
        if "token=" in line:
            return line.strip()
    raise AssertionError("the studio ended before it was there")


async def record(page: Page, *, save: bool) -> None:
    """An episode, to its review or to the disk."""
    await page.say({"t": "do", "what": "start"})
    pushing = asyncio.create_task(_push(page))
    await page.until(_is_under_way)
    pushing.cancel()
    await page.say({"t": "do", "what": "success"})
    await page.state(phase="review")
    if save:
        await page.say({"t": "do", "what": "save"})
        await page.state(phase="idle")


def test_killed_while_recording_it_leaves_every_saved_episode(tmp_path: Path) -> None:
    async def work() -> None:
        async with studio(tmp_path / "data") as (child, page):
            for n in (1, 2):
                await record(page, save=True)
                await page.state(saved=n)
            await page.say({"t": "do", "what": "start"})
            pushing = asyncio.create_task(_push(page))
            await page.state(phase="running")
            child.send_signal(signal.SIGKILL)
            assert await asyncio.to_thread(child.wait, 20) == -signal.SIGKILL
            pushing.cancel()
            await page.ended()
        episodes = storage.read(tmp_path / "data")
        assert [e.meta["operator"] for e in episodes] == ["unnamed", "unnamed"]
        assert len({e.meta["seed"] for e in episodes}) == 2

    run(work)


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_ended_by_hand_it_says_what_became_of_the_episode(tmp_path: Path, kind: signal.Signals) -> None:
    review = kind is signal.SIGTERM

    async def work() -> None:
        async with studio(tmp_path / "data") as (child, page):
            await record(page, save=not review)
            if not review:
                await page.say({"t": "do", "what": "start"})
                pushing = asyncio.create_task(_push(page))
                await page.until(_is_under_way)
                pushing.cancel()
            child.send_signal(kind)
            assert await page.ended() == (1001, "The studio was ended.")
            out, err = await asyncio.to_thread(child.communicate, timeout=30)
            assert child.returncode == 0, err
            assert json.loads(out)["saved"] == 1
            assert "1 episode saved" in err
            assert ("is dropped" in err) is not review
        assert len(storage.read(tmp_path / "data")) == 1

    run(work)
