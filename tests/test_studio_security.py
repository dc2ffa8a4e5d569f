"""Who comes in, from where, and with how much; everything else is refused."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import struct
from collections.abc import Awaitable, Callable

import pytest

pytest.importorskip("aiohttp")
from aiohttp import WSMsgType, web

from studio_rig import SCENE, Fake, Rig, served
from understudy.studio.assets import assets

PATHS = ("/", "/scene.bin", "/assets/studio.css", "/ws", "/api/data/sources", "/nothing")
SECRET = "build-backend"  # stands in files around the page's, and in none of them


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 60))


async def raw(rig: Rig, request: str, body: bytes = b"") -> tuple[int, str, bytes]:
    """The answer to bytes as they are, which no client has put in order: status, head, body."""
    port = int(rig.base.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.replace("\n", "\r\n").encode() + body)
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)).decode()
    found = re.search(r"(?i)content-length: (\d+)", head)
    rest = await reader.readexactly(int(found.group(1))) if found else b""
    writer.close()
    await writer.wait_closed()
    return int(head.split()[1]), head, rest


def key_of(rig: Rig) -> str:
    key = rig.access.admit(rig.access.token)
    assert key is not None
    return key


def test_without_a_token_there_is_nothing() -> None:
    async def work() -> None:
        async with served(Fake()) as rig, rig.browser(enter=False) as stranger:
            for path in PATHS:
                async with stranger.get(rig.base + path) as answer:
                    assert answer.status == 401
                    assert b"MJS1" not in await answer.read()
                    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            stranger.cookie_jar.update_cookies({"understudy_test": "x" * 43})
            async with stranger.get(rig.base + "/scene.bin") as answer:
                assert answer.status == 401
            async with stranger.get(rig.base + "/", params={"token": "wrong"}) as answer:
                assert answer.status == 401
                assert "Set-Cookie" not in answer.headers
            assert rig.renewed == []

    run(work)


def test_the_link_is_good_once_and_then_for_the_browser_that_used_it() -> None:
    async def work() -> None:
        async with served(Fake()) as rig, rig.browser(enter=False) as one, rig.browser(enter=False) as other:
            link = {"token": rig.access.token}
            async with one.get(rig.base + "/", params=link, allow_redirects=False) as answer:
                assert (answer.status, answer.headers["Location"]) == (303, "/")
                cookie = answer.headers["Set-Cookie"]
                assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
                assert rig.access.token not in cookie
                assert answer.headers["Cache-Control"] == "no-store"
            for _ in range(2):
                async with one.get(rig.base + "/", params=link) as answer:
                    assert (answer.status, str(answer.url)) == (200, rig.base + "/")
            async with other.get(rig.base + "/", params=link) as answer:
                assert answer.status == 401
                assert "used before" in await answer.text()
            assert rig.renewed == [rig.access.token]
            async with other.get(rig.base + "/", params=link) as answer:
                assert answer.status == 401
            assert len(rig.renewed) == 1  # an old link makes no noise twice
            async with other.get(rig.base + "/", params={"token": rig.renewed[0]}) as answer:
                assert answer.status == 200

    run(work)


def test_from_another_sites_page_the_cookie_is_brought_by_a_page_of_our_own() -> None:
    async def work() -> None:
        async with served(Fake()) as rig, rig.browser(enter=False) as one:
            link = {"token": rig.access.token}
            async with one.get(
                rig.base + "/", params=link, headers={"Sec-Fetch-Site": "cross-site"}
            ) as answer:
                text = await answer.text()
                assert (answer.status, "Set-Cookie" in answer.headers) == (200, True)
                assert 'http-equiv="refresh"' in text
                assert link["token"] not in text

    run(work)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "", "127.0.0.1.evil.example", "x@127.0.0.1"]
)
def test_a_name_that_was_rebound_to_this_address_gets_nothing(host: str) -> None:
    async def work() -> None:
        async with served(Fake()) as rig:
            token, key = rig.access.token, key_of(rig)
            for path in ("/", f"/?token={token}", "/scene.bin", "/ws"):
                lines = (
                    f"GET {path} HTTP/1.1\nHost: {host}\nAuthorization: Bearer {key}\nConnection: close\n\n"
                )
                status, _, body = await raw(rig, lines)
                assert status in (400, 403)
                assert b"MJS1" not in body

    run(work)


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:{port}", "http://127.0.0.1:1"]
)
def test_a_page_of_another_server_opens_no_link_and_changes_nothing(origin: str) -> None:
    changed = []

    async def change(request: web.Request) -> web.Response:
        changed.append(request.headers.get("Origin"))
        return web.Response()

    async def work() -> None:
        async with served(Fake(), routes=lambda app: _post(app, change)) as rig, rig.browser() as one:
            foreign = {"Origin": origin.format(port=rig.base.rpartition(":")[2])}
            for headers in (foreign, {}):  # browsers always say an origin; who says none is no browser
                async with one.get(rig.base + "/ws", headers=headers) as answer:
                    assert answer.status == 403
                async with one.post(rig.base + "/api/change", headers=headers) as answer:
                    assert answer.status == 403
            assert changed == []
            async with one.post(rig.base + "/api/change", headers={"Origin": rig.base}) as answer:
                assert answer.status == 200
            assert len(changed) == 1

    run(work)


def _post(app: web.Application, change: Callable[[web.Request], Awaitable[web.Response]]) -> None:
    app.router.add_post("/api/change", change)


def test_a_program_shows_its_key_and_needs_no_origin() -> None:
    async def work() -> None:
        async with served(Fake()) as rig, rig.browser(enter=False) as program:
            bearer = {"Authorization": f"Bearer {key_of(rig)}"}
            async with program.ws_connect(rig.base + "/ws", headers=bearer) as link:
                assert (await link.receive_json())["t"] == "hello"
            async with program.get(
                rig.base + "/ws", headers=bearer | {"Origin": "http://evil.example"}
            ) as answer:
                assert answer.status == 403

    run(work)


@pytest.mark.parametrize(
    "path",
    [
        "/../pyproject.toml", "/assets/../server.py", "/assets/../../../../pyproject.toml",
        "/assets/%2e%2e/server.py", "/assets/..%2fserver.py", "/assets/%252e%252e%252fserver.py",
        "/assets/....//server.py", "/assets//etc/passwd", "//etc/passwd", "/assets/..%5cserver.py",
        "/assets/%00", "/assets/index.html%00.css", "/assets/", "/assets/%c0%ae%c0%ae/server.py",
        "http://127.0.0.1/../../etc/passwd", "/api/data/../../../pyproject.toml",
    ],
)  # fmt: skip
def test_a_path_leads_nowhere_but_to_what_there_is(path: str) -> None:
    async def work() -> None:
        async with served(Fake()) as rig:
            host = rig.base.removeprefix("http://")
            head = f"Host: {host}\nAuthorization: Bearer {key_of(rig)}\nConnection: close\n\n"
            status, _, body = await raw(rig, f"GET {path} HTTP/1.1\n{head}")
            assert status in (400, 404)
            assert SECRET.encode() not in body
            assert b"root:" not in body
            assert b"import" not in body

    run(work)


def test_a_message_of_100_mb_is_refused_before_it_is_read() -> None:
    async def work() -> None:
        async with served(Fake()) as rig:
            port = int(rig.base.rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(
                f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key_of(rig)}\r\n"
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
            )
            assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
            size, sent = 100 << 20, 0
            writer.write(b"\x81\xff" + struct.pack(">Q", size) + bytes(4))
            with contextlib.suppress(ConnectionError):
                while sent < size:
                    writer.write(bytes(1 << 16))
                    sent += 1 << 16
                    await asyncio.wait_for(writer.drain(), 20)
                    await asyncio.sleep(0)
            assert sent < 32 << 20  # the kernel's buffers hold some megabytes; the server reads them no more
            assert rig.hub.viewers == 0
            writer.close()

    run(work)


@pytest.mark.parametrize(
    ("kind", "data", "code"),
    [
        (WSMsgType.TEXT, b"x" * (1 << 17), 1009),
        (WSMsgType.TEXT, b"{", 1008),
        (WSMsgType.TEXT, b'{"t":"in","seq":NaN}', 1008),
        (WSMsgType.TEXT, b'{"t":"in","seq":1,"target":[0,0,1e300]}', 1008),
        (WSMsgType.TEXT, b"[" * 60_000, 1008),
        (WSMsgType.TEXT, b"\xff\xfe", 1007),
        (WSMsgType.BINARY, os.urandom(64), 1008),
        (WSMsgType.BINARY, b"", 1008),
    ],
)
def test_a_malformed_message_ends_the_link_with_a_reason(kind: WSMsgType, data: bytes, code: int) -> None:
    async def work() -> None:
        session = Fake()
        async with served(session) as rig, rig.browser() as one, rig.page(one) as page:
            await page.link.send_frame(data, kind)
            assert (await page.ended())[0] == code
            while rig.hub.viewers:
                await asyncio.sleep(0.01)
            assert (session.inputs, session.losses) == ([], 1)
            async with rig.page(one) as again:  # and the studio is as well as before
                await again.input(1)
                await again.say({"t": "ping", "at": 1})
                await again.until(lambda m: isinstance(m, dict) and m["t"] == "pong")
                assert len(session.inputs) == 1

    run(work)


def test_too_many_messages_end_the_link() -> None:
    async def work() -> None:
        session = Fake()
        async with served(session) as rig, rig.browser() as one, rig.page(one) as page:
            for n in range(500):
                await page.input(n)
            code, reason = await page.ended()
            assert (code, "messages a second" in reason) == (1008, True)
            assert len(session.inputs) == 480

    run(work)


def test_a_large_body_is_refused() -> None:
    async def work() -> None:
        async def take(request: web.Request) -> web.Response:
            return web.Response(text=str(len(await request.read())))

        async with served(Fake(), routes=lambda app: _post(app, take)) as rig:
            port = rig.base.rpartition(":")[2]
            head = f"POST /api/change HTTP/1.1\nHost: 127.0.0.1:{port}\nAuthorization: Bearer {key_of(rig)}\n"
            status, _, _ = await raw(rig, f"{head}Content-Length: 104857600\nConnection: close\n\n")
            assert status == 413
            chunk = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
            status, _, _ = await raw(
                rig, f"{head}Transfer-Encoding: chunked\nConnection: close\n\n", chunk * 20 + b"0\r\n\r\n"
            )
            assert status == 413

    run(work)


def test_a_script_comes_back_as_the_text_it_is() -> None:
    words = "<script>alert(1)</script><img src=x onerror=alert(2)>"

    async def work() -> None:
        async with served(Fake()) as rig, rig.browser() as one, rig.page(one) as page:
            assert page.hello["task"] == "<b>task</b>"
            await page.say({"t": "do", "what": "instruction", "text": words})
            assert (await page.state(instruction=words))["t"] == "state"
            async with one.get(rig.base + "/") as answer:
                assert "alert(1)" not in await answer.text()
            async with one.get(rig.base + "/<script>alert(1)</script>") as answer:
                assert answer.status == 404
                assert answer.content_type != "text/html"

    run(work)


def test_the_page_may_load_and_run_nothing_but_its_own_files() -> None:
    async def work() -> None:
        async with served(Fake()) as rig, rig.browser() as one:
            async with one.get(rig.base + "/") as answer:
                page, headers = await answer.text(), answer.headers
            policy = dict(p.split(" ", 1) for p in headers["Content-Security-Policy"].split("; "))
            assert policy["default-src"] == "'none'"
            assert policy["script-src"] == policy["style-src"] == "'self'"
            assert "unsafe" not in headers["Content-Security-Policy"]
            assert {policy[k] for k in ("base-uri", "form-action", "frame-ancestors")} == {"'none'"}
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "no-referrer"
            assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", page)
            links = re.findall(r'(?:src|href)="([^"#]+)"', page)
            assert links
            for link in links:
                async with one.get(f"{rig.base}/{link}") as answer:
                    assert answer.status == 200, link
                    assert "immutable" in answer.headers["Cache-Control"]

    run(work)


def test_files_are_kept_by_their_version_and_the_scene_by_its_tag() -> None:
    async def work() -> None:
        async with served(Fake()) as rig, rig.browser() as one:
            style = assets()["studio.css"]
            async with one.get(rig.base + "/assets/studio.css", params={"v": "older"}) as answer:
                assert answer.headers["Cache-Control"] == "no-cache"
                assert await answer.read() == style.body
            for path, tag in (("/assets/studio.css", style.tag), ("/scene.bin", None)):
                async with one.get(rig.base + path) as answer:
                    found = answer.headers["ETag"]
                    assert tag is None or found == f'"{tag}"'
                async with one.get(rig.base + path, headers={"If-None-Match": found}) as answer:
                    assert (answer.status, await answer.read()) == (304, b"")
            async with one.get(rig.base + "/scene.bin") as answer:
                assert answer.headers["Content-Encoding"] == "gzip"
                assert await answer.read() == SCENE
            async with one.get(rig.base + "/scene.bin", headers={"Accept-Encoding": "identity"}) as answer:
                assert "Content-Encoding" not in answer.headers
                assert await answer.read() == SCENE
            async with one.head(rig.base + "/scene.bin") as answer:
                assert answer.status == 200

    run(work)


def test_what_is_served_are_the_files_on_the_list() -> None:
    names = set(assets())
    assert names == {"index.html", "studio.css", "library.css", "studio.min.js", "icon.svg", "LICENSES.txt"}
    assert all(a.body for a in assets().values())
