"""The library over HTTP: what a page may ask for, and what it is told where it may not."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from library_samples import filmed, pushes, walk, walks

pytest.importorskip("mujoco")
pytest.importorskip("aiohttp")

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from understudy import storage
from understudy.studio.library import Library
from understudy.studio.library_routes import add_routes
from understudy.studio.library_shelf import version_of

Client = TestClient[web.Request, web.Application]


def talk(library: Library, ask: Callable[[Client], Awaitable[None]]) -> None:
    async def run() -> None:
        app = web.Application(client_max_size=1 << 20)
        add_routes(app, library)
        async with TestClient(TestServer(app)) as client:
            await ask(client)

    asyncio.run(run())


async def said(client: Client, path: str, status: int = 200) -> Any:
    answer = await client.get(f"/api/data/{path}")
    assert answer.status == status, await answer.text()
    assert answer.content_type == "application/json"
    return await answer.json()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    where = tmp_path_factory.mktemp("library") / "d"
    storage.write(where, [walk(0), walk(1), walk(2)], fps=10)
    return where


def test_the_page_gets_the_list_an_episode_and_its_numbers(folder: Path) -> None:
    async def ask(client: Client) -> None:
        (source,) = (await said(client, "sources"))["sources"]
        assert (source["id"], source["episodes"], source["success"]["successes"]) == ("data", 3, 2)
        listed = await said(client, "episodes?source=data&sort=index&order=down&count=2")
        assert [r["index"] for r in listed["rows"]] == [2, 1]
        assert listed["version"] == version_of(folder)
        episode = await said(client, "episode?source=data&episode=1")
        assert (episode["steps"], episode["operator"], episode["source"]) == (30, "op1", "data")
        line = await said(client, "timeline?source=data&episode=1&bins=10")
        assert [len(d) for d in line["series"][0]["high"]] == [10, 10]
        step = await said(client, "step?source=data&episode=1&step=4")
        assert step["action"] == walk(1).action[4].tolist()
        pair = await said(client, "pair?source=data&episode=1&other=data")
        assert (pair["index"], pair["same_start"]) == (1, True)

    talk(Library(folder), ask)


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("episodes", 400, "lacks 'source'"),
        ("episodes?source=../d", 404, "no source"),
        ("episodes?source=data&sort=__class__", 400, "sort"),
        ("episodes?source=data&order=sideways", 400, "order"),
        ("episodes?source=data&count=100000", 400, "count"),
        ("episodes?source=data&start=-1", 400, "start"),
        ("episodes?source=data&operator=" + "x" * 201, 400, "characters"),
        ("episode?source=data&episode=NaN", 400, "whole number"),
        ("episode?source=data&episode=1e3", 400, "whole number"),
        ("episode?source=data&episode=%D9%A3", 400, "whole number"),
        ("episode?source=data&episode=../1", 400, "whole number"),
        ("episode?source=data&episode=3", 404, "no episode 3"),
        ("episode?source=data&episode=999999999", 404, "no episode"),
        ("episode?source=data&episode=9999999999999999999999", 400, "whole number"),
        ("timeline?source=data&episode=0&bins=0", 400, "bins"),
        ("timeline?source=data&episode=0&bins=999999", 400, "bins"),
        ("step?source=data&episode=0&step=31", 404, "no step 31"),
        ("picture?source=data&episode=0&step=0&camera=..%2F..%2Fx", 404, "no camera"),
        ("picture?source=data&episode=0&step=0&camera=%3Cscript%3E", 404, "no camera '<script>'"),
        ("poses.bin?source=data&episode=0", 422, "no task that is built in"),
        ("scene.bin?source=data&episode=0", 422, "no task that is built in"),
        ("pair?source=data&episode=0&other=etc", 404, "no source"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line_of_json(
    folder: Path, path: str, status: int, words: str
) -> None:
    async def ask(client: Client) -> None:
        error = (await said(client, path, status))["error"]
        assert words in error
        assert "\n" not in error

    talk(Library(folder), ask)


def test_a_script_in_the_data_stays_text_in_json(tmp_path: Path) -> None:
    script = "</script><img src=x onerror=alert(1)>"
    storage.write(tmp_path / "d", [walk(0, operator=script, instruction=script)], fps=10)

    async def ask(client: Client) -> None:
        listed = await said(client, "episodes?source=data")
        assert listed["rows"][0]["operator"] == listed["rows"][0]["instruction"] == script

    talk(Library(tmp_path / "d"), ask)


def test_pictures_and_poses_come_as_bytes(tmp_path: Path) -> None:
    pytest.importorskip("simplejpeg")
    storage.write(tmp_path / "films", [filmed(0)], fps=10)
    pushes(tmp_path / "push", 1)

    async def picture(client: Client) -> None:
        answer = await client.get("/api/data/picture?source=data&episode=0&step=2&camera=front")
        assert (answer.status, answer.content_type) == (200, "image/jpeg")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert (await answer.read()).startswith(b"\xff\xd8\xff")

    async def poses(client: Client) -> None:
        scene = await (await client.get("/api/data/scene.bin?source=data&episode=0")).read()
        answer = await client.get("/api/data/poses.bin?source=data&episode=0")
        raw = await answer.read()
        frames, bodies = np.frombuffer(raw, "<u4", 2).tolist()
        assert scene.startswith(b"MJS1")
        assert len(raw) == 8 + frames * bodies * 28
        assert frames == len(storage.read(tmp_path / "push")[0]) + 1
        assert answer.headers["X-Faithful"] == "1"
        assert float(answer.headers["X-Deviation"]) < 1e-3

    talk(Library(tmp_path / "films"), picture)
    talk(Library(tmp_path / "push"), poses)


def test_edits_land_and_can_be_taken_back(tmp_path: Path) -> None:
    folder = walks(tmp_path / "d", 4)
    before = list(storage.read(folder))

    async def ask(client: Client) -> None:
        async def edit(what: str, **body: Any) -> Any:
            version = (await said(client, "episodes?source=data&count=1"))["version"]
            answer = await client.post(
                f"/api/data/{what}", json={"source": "data", "version": version, **body}
            )
            assert answer.status == 200, await answer.text()
            return await answer.json()

        await edit("delete", episodes=[3])
        await edit("trim", episode=0, start=0, stop=9, success=None)
        done = await edit("relabel", episodes=[1, 2], facts={"success": False})
        assert done["kept"] == "d.before-3"
        assert [len(e) for e in storage.read(folder)] == [9, 30, 30]
        assert [e.success for e in storage.read(folder)] == [None, False, False]
        listed = await said(client, "episodes?source=data")
        assert listed["undo"] == "episodes 1, 2: success set"
        for _ in range(3):
            await edit("undo")
        assert list(storage.read(folder)) == before

    talk(Library(folder), ask)


BAD: list[tuple[str, Any, int]] = [
    ("delete", [], 400),
    ("delete", {"source": "data", "version": "v"}, 400),
    ("delete", {"source": "data", "version": "v", "episodes": [0], "path": "/"}, 400),
    ("delete", {"source": "data", "version": "v", "episodes": 0}, 400),
    ("delete", {"source": "data", "version": "v", "episodes": [True]}, 400),
    ("delete", {"source": "data", "version": "v", "episodes": ["0"]}, 400),
    ("delete", {"source": "data", "version": "v", "episodes": [0.0]}, 400),
    ("delete", {"source": "../d", "version": "v", "episodes": [0]}, 404),
    ("delete", {"source": "data", "version": 1, "episodes": [0]}, 400),
    ("delete", {"source": "data", "version": "v", "episodes": [0]}, 409),
    ("delete", {"source": "data", "version": "v", "episodes": [10**30]}, 404),
    ("trim", {"source": "data", "version": "v", "episode": 0, "start": 0, "stop": 1e3, "success": None}, 400),
    ("trim", {"source": "data", "version": "v", "episode": 0, "start": 0, "stop": 5, "success": "x"}, 400),
    ("relabel", {"source": "data", "version": "v", "episodes": [0], "facts": {"__class__": "x"}}, 400),
    ("undo", {"source": "data", "version": "v"}, 400),
]


@pytest.mark.parametrize(("what", "body", "status"), BAD)
def test_a_bad_edit_changes_nothing(folder: Path, what: str, body: Any, status: int) -> None:
    before = version_of(folder)

    async def ask(client: Client) -> None:
        answer = await client.post(f"/api/data/{what}", json=body)
        assert answer.status == status, await answer.text()
        assert "\n" not in (await answer.json())["error"]

    talk(Library(folder), ask)
    assert version_of(folder) == before


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"source=data", "application/x-www-form-urlencoded", 415),
        (b'{"source": "data"}', "text/plain", 415),
        (b"{", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b'{"source": NaN}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"source": "' + b"x" * (2 << 20) + b'"}', "application/json", 400),
    ],
)
def test_a_body_that_is_no_edit_is_refused(folder: Path, body: bytes, kind: str, status: int) -> None:
    async def ask(client: Client) -> None:
        answer = await client.post("/api/data/delete", data=io.BytesIO(body), headers={"Content-Type": kind})
        assert answer.status == status
        assert json.loads(await answer.text())["error"]

    talk(Library(folder), ask)


def test_stale_busy_and_foreign_are_told_apart(tmp_path: Path) -> None:
    folder = walks(tmp_path / "d", 2)
    storage.write(tmp_path / "run" / "evaluations" / "policy" / "episodes", [walk(0), walk(1)], fps=10)
    busy = ""

    async def ask(client: Client) -> None:
        nonlocal busy
        own = {"source": "data", "version": version_of(folder), "episodes": [0]}
        busy = "an episode is being saved"
        answer = await client.post("/api/data/delete", json=own)
        assert (answer.status, (await answer.json())["error"]) == (423, busy)
        busy = ""
        foreign = await client.post("/api/data/delete", json=own | {"source": "run0.tried0"})
        assert foreign.status == 403
        assert "looked at" in (await foreign.json())["error"]
        storage.append(folder, [walk(5)])
        stale = await client.post("/api/data/delete", json=own)
        assert stale.status == 409
        assert "changed" in (await stale.json())["error"]
        assert storage.info(folder).episodes == 3
        with storage.Writer(folder, append=True):
            now = await client.post("/api/data/delete", json=own | {"version": version_of(folder)})
            assert now.status == 409
            assert "being written" in (await now.json())["error"]

    talk(Library(folder, runs=[tmp_path / "run"], busy=lambda: busy), ask)
