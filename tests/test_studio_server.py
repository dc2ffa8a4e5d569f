"""Pages and the session: one packet for all, the newest for the slow, one page that drives."""

from __future__ import annotations

import asyncio
import gc
import threading
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

pytest.importorskip("aiohttp")
import aiohttp

from studio_rig import Clock, Fake, Page, Rig, frame, served
from understudy.studio import hub as hubs
from understudy.studio.hub import Hub
from understudy.studio.room import Nobody
from understudy.studio.viewer import Bucket, Viewer


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 60))


class Open:
    """A socket that takes everything and forgets it."""

    count = 0

    async def send_bytes(self, data: bytes) -> None:
        self.count += 1

    async def send_str(self, data: str) -> None:
        self.count += 1


class Quiet(Fake):
    """A session that forgets, too."""

    def put(self, input: Any) -> None: ...


@asynccontextmanager
async def two_pages(session: Any) -> AsyncIterator[tuple[Rig, aiohttp.ClientSession, Page, Page]]:
    """A studio with two browsers that have a page each: the rig, the first browser, and the pages."""
    async with (
        served(session, share=True) as rig,
        rig.browser() as one,
        rig.browser() as other,
        rig.page(one) as a,
        rig.page(other) as b,
    ):
        yield rig, one, a, b


class Stuck:
    """A socket that takes nothing until it is told to."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.sent: list[Any] = []

    async def send_bytes(self, data: bytes) -> None:
        await self.opened.wait()
        self.sent.append(data)

    async def send_str(self, data: str) -> None:
        await self.opened.wait()
        self.sent.append(data)


def test_a_slow_page_gets_the_newest_and_holds_no_more_than_one_of_each() -> None:
    async def work() -> None:
        viewer, socket = Viewer("key"), Stuck()
        pump = asyncio.create_task(viewer.pump(socket))
        for n in range(1000):
            viewer.offer_frame(bytes([1, n % 256]), reset=n == 500)
            viewer.offer_state(str(n))
            viewer.offer_picture("hand", bytes([3, n % 256]))
            viewer.answer(str(n))
            if n == 0:
                await asyncio.sleep(0)
        socket.opened.set()
        await asyncio.sleep(0.01)
        pump.cancel()
        frames = [m for m in socket.sent if isinstance(m, bytes) and m[0] < 3]
        assert frames == [bytes([2, 999 % 256])]  # and the reset between them is not lost
        assert [m for m in socket.sent if isinstance(m, bytes) and m[0] == 3] == [bytes([3, 999 % 256])]
        assert "999" in socket.sent
        assert len(socket.sent) < 25
        assert (viewer.sent, viewer.dropped) == (1, 999)

    run(work)


def test_a_busy_event_loop_gets_the_newest_frame_and_the_session_never_waits() -> None:
    async def work() -> None:
        hub = Hub(Fake(), {}, clock=Clock())
        await hub.start()
        viewer = hub.join("key")

        def session() -> None:
            for n in range(100):
                hub.on_frame(frame(n, reset=n == 3))

        thread = threading.Thread(target=session)
        thread.start()
        thread.join()  # the event loop stood still meanwhile
        socket = Stuck()
        socket.opened.set()
        pump = asyncio.create_task(viewer.pump(socket))
        await asyncio.sleep(0.01)
        pump.cancel()
        packets = [m for m in socket.sent if isinstance(m, bytes)]
        assert len(packets) == 1
        assert packets[0][0] == 2
        assert int.from_bytes(packets[0][4:8], "little") == 99
        await hub.stop()

    run(work)


def test_all_pages_get_the_very_same_packet() -> None:
    async def work() -> None:
        async with two_pages(Fake()) as (rig, _, a, b):
            assert (await a.state(viewers=2))["phase"] == "idle"
            rig.hub.on_frame(frame(7, ack=3))
            first, second = [await p.until(lambda m: isinstance(m, bytes)) for p in (a, b)]
            assert first == second
            assert int.from_bytes(first[12:16], "little") == 3
            np.testing.assert_array_equal(np.frombuffer(first[32:], "<f4"), np.full(14, 7.0))

    run(work)


def test_a_page_that_reads_nothing_delays_nobody_and_fills_no_buffer() -> None:
    async def work() -> None:
        async with two_pages(Fake()) as (rig, _, a, b):
            a.link._response.connection.transport.pause_reading()
            for n in range(1, 151):
                rig.hub.on_frame(frame(n, bodies=8000))
                packet = await b.until(lambda m: isinstance(m, bytes))
                assert int.from_bytes(packet[4:8], "little") == n
            slow, quick = rig.hub._viewers
            assert (quick.sent, quick.dropped) == (150, 0)
            assert slow.dropped > 0
            assert slow.sent * len(packet) < 16 << 20  # what the kernel's buffers hold, on both sides
            assert slow.sent + slow.dropped >= 148
            a.link._response.connection.transport.abort()

    run(work)


def test_frames_inputs_and_commands_leave_nothing_behind() -> None:
    async def work() -> None:
        clock = Clock()
        hub = Hub(Quiet(), {}, clock=clock)
        await hub.start()
        viewers, socket = [hub.join(str(n)) for n in range(6)], Open()
        pumps = [asyncio.create_task(hub.serve(v, socket)) for v in viewers]
        rate = Bucket(1e9, 10**9)

        async def minutes(frames: int) -> int:
            for n in range(frames):
                clock.now += 0.04
                hub.hear(viewers[0], f'{{"t":"in","seq":{n},"keys":["KeyW"]}}', rate)
                hub.hear(viewers[n % 6], '{"t":"do","what":"impossible"}', rate)
                hub.on_frame(frame(n, reset=n % 50 == 0))
                await asyncio.sleep(0)
            await asyncio.sleep(0.01)
            gc.collect()
            held = tracemalloc.take_snapshot().filter_traces(ours)
            return sum(trace.size for trace in held.traces)

        # Only what this test and the studio under it allocate: other tests' leavings are not theirs.
        ours = [tracemalloc.Filter(True, of, all_frames=True) for of in ("*understudy*", __file__)]
        tracemalloc.start(8)
        try:
            first = await minutes(300)
            grown = await minutes(900) - first
        finally:
            tracemalloc.stop()
        assert socket.count > 1200
        assert grown < 20_000  # bytes; every frame kept, once, would be 105 000
        for pump in pumps:
            pump.cancel()
        await hub.stop()

    run(work)


def test_nothing_is_packed_while_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        monkeypatch.setattr(hubs, "pack_frame", lambda *_, **__: pytest.fail("packed for nobody"))
        async with served(Fake()) as rig:
            rig.hub.on_frame(frame())

    run(work)


def test_the_first_page_drives_and_the_others_look_on_until_it_yields() -> None:
    async def work() -> None:
        session = Fake()
        async with two_pages(session) as (rig, _, a, b):
            assert (a.hello["viewer"], b.hello["viewer"]) == (False, True)
            await b.input(1, "KeyW")
            await b.say({"t": "do", "what": "start"})
            refused = await b.state(message={"level": "warn", "text": NOT_YOURS})
            assert refused["controller"] is False
            assert (session.inputs, session.done) == ([], [])
            await b.say({"t": "control"})
            assert "asks for the controls" in (await _told(a))["message"]["text"]
            assert "as soon as" in (await _told(b))["message"]["text"]
            await a.input(5, "KeyS")
            await a.say({"t": "yield"})
            assert (await b.state(controller=True))["viewers"] == 2
            await a.state(controller=False)
            assert session.losses == 1  # whoever held a key holds it no more
            await b.input(9, "KeyW")
            await b.say({"t": "do", "what": "speed", "value": 0.5})
            await b.say({"t": "ping", "at": 1.5})
            assert (await b.until(lambda m: isinstance(m, dict) and m["t"] == "pong"))["at"] == 1.5
            assert [i.seq for i in session.inputs] == [5, 9]
            assert session.inputs[1].received == rig.clock.now
            assert session.done == [("speed", {"value": 0.5})]

    run(work)


NOT_YOURS = "another page has the controls; ask for them first"


async def _told(page: Any) -> dict[str, Any]:
    found: dict[str, Any] = await page.until(
        lambda m: (
            isinstance(m, dict) and m["t"] == "state" and m["message"] and m["message"]["text"] != NOT_YOURS
        )
    )
    return found


def test_a_cut_link_stops_the_robot_at_once_and_the_controls_wait_for_its_browser() -> None:
    async def work() -> None:
        session = Fake()
        async with two_pages(session) as (rig, one, a, b):
            a.link._response.connection.transport.abort()  # no farewell, as a cable that is pulled
            await b.state(viewers=1)
            assert session.losses == 1
            await b.say({"t": "control"})
            assert (await _told(b))["controller"] is False
            async with rig.page(one) as again:
                assert again.hello["viewer"] is False
                await again.state(controller=True)
            await b.state(viewers=1)
            assert session.losses == 2
            rig.clock.now += 11
            await b.state(controller=True)  # nobody came back

    run(work)


def test_a_page_that_falls_silent_is_gone_by_its_ping(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        session = Fake()
        monkeypatch.setattr("understudy.studio.server.HEARTBEAT", 0.2)
        async with served(session) as rig, rig.browser() as one, rig.silent(one):
            while session.losses == 0:
                await asyncio.sleep(0.02)
            assert rig.hub.viewers == 0

    run(work)


def test_what_the_session_refuses_is_shown_to_who_asked_for_a_while() -> None:
    async def work() -> None:
        async with served(Fake()) as rig, rig.browser() as one, rig.page(one) as page:
            await page.say({"t": "do", "what": "impossible"})
            text = "there is no command 'impossible'"
            await page.state(message={"level": "warn", "text": text})
            rig.clock.now += 6
            await page.state(message=None)

    run(work)


def test_a_command_of_the_program_runs_beside_the_event_loop_and_its_refusal_is_shown() -> None:
    async def work() -> None:
        threads = list[threading.Thread]()

        def train() -> None:
            threads.append(threading.current_thread())
            if len(threads) == 2:
                raise ValueError("round 1 is under way")

        session = Fake()
        async with (
            served(session, commands={"train": train}) as rig,
            rig.browser() as one,
            rig.page(one) as page,
        ):
            await page.say({"t": "do", "what": "train"})
            await page.say({"t": "do", "what": "train"})
            await page.state(message={"level": "warn", "text": "round 1 is under way"})
            assert threading.main_thread() not in threads
            assert session.done == []

    run(work)


def test_pictures_come_as_jpeg_with_their_cameras_name(monkeypatch: pytest.MonkeyPatch) -> None:
    simplejpeg = pytest.importorskip("simplejpeg")
    monkeypatch.setattr(hubs, "PICTURE_PERIOD", 0.01)
    picture = np.zeros((16, 24, 3), np.uint8)
    picture[:, 12:] = (255, 0, 0)

    async def work() -> None:
        async with served(Fake()) as rig, rig.browser() as one, rig.page(one) as page:
            rig.hub.on_frame(frame(4, pictures={"hand": picture}))
            packet = await page.until(lambda m: isinstance(m, bytes) and m[0] == 3)
            n = int.from_bytes(packet[2:4], "little")
            assert packet[32 : 32 + n] == b"hand"
            seen = simplejpeg.decode_jpeg(packet[32 + n :])
            assert np.abs(seen.astype(int) - picture)[:, [2, 20]].max() < 40

    run(work)


def test_only_so_many_pages_are_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        monkeypatch.setattr(hubs, "VIEWERS", 1)
        async with served(Fake()) as rig, rig.browser() as one, rig.page(one):
            async with one.ws_connect(f"{rig.base}/ws", headers={"Origin": rig.base}) as link:
                got = await link.receive()
                assert (got.data, "open already" in str(got.extra)) == (1013, True)
            assert rig.hub.viewers == 1

    run(work)


def test_where_nothing_can_be_driven_the_page_is_told() -> None:
    async def work() -> None:
        async with served(Nobody(), scene=None) as rig, rig.browser() as one, rig.page(one) as page:
            await page.say({"t": "do", "what": "start"})
            told = await _told(page)
            assert "nothing to drive" in told["message"]["text"]
            async with one.get(f"{rig.base}/scene.bin") as answer:
                assert answer.status == 404

    run(work)


def test_a_studio_that_ends_says_so_to_its_pages() -> None:
    async def work() -> None:
        ends: list[tuple[int | None, str]] = []

        async def watch(rig: Rig, ready: asyncio.Event) -> None:
            async with rig.browser() as one, rig.page(one) as page:
                ready.set()
                ends.append(await page.ended())

        async with served(Fake()) as rig:
            ready = asyncio.Event()
            watching = asyncio.create_task(watch(rig, ready))
            await ready.wait()
        await watching
        assert ends == [(1001, "The studio was ended.")]

    run(work)
