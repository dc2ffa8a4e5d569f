"""The library's view in a browser: the built page over real folders."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from chromium import CHROMIUM, browsing
from library_samples import corrected, filmed, pushes, walk, walks

pytest.importorskip("mujoco")
pytest.importorskip("aiohttp")
pytest.importorskip("playwright")

from aiohttp import web

from understudy import storage
from understudy.studio.library import Library
from understudy.studio.library_routes import add_routes

if CHROMIUM is None:
    pytest.skip("there is no chromium here", allow_module_level=True)

ASSETS = files("understudy.studio") / "assets"
KINDS = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml", "html": "text/html"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Served:
    """A library behind the built page, in a thread; where nothing is driven the page shows the data alone."""

    def __init__(self, library: Library) -> None:
        self.port, self._ready = 0, threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(library,), daemon=True)
        self._thread.start()
        assert self._ready.wait(20)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(20)

    def _run(self, library: Library) -> None:
        self._loop.run_until_complete(self._serve(library))
        self._loop.close()

    async def _serve(self, library: Library) -> None:
        self._ended = asyncio.Event()
        app = web.Application()
        app.router.add_get("/", self._file)
        app.router.add_get("/assets/{name}", self._file)
        app.router.add_get("/ws", self._greet)
        add_routes(app, library)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._ended.wait()
        await runner.cleanup()

    async def _file(self, request: web.Request) -> web.Response:
        name = request.match_info.get("name", "index.html")
        kind = KINDS[name.rpartition(".")[2]]
        body = (ASSETS / name).read_bytes()
        return web.Response(body=body, content_type=kind, headers={"Content-Security-Policy": POLICY})

    async def _greet(self, request: web.Request) -> web.WebSocketResponse:
        link = web.WebSocketResponse()
        await link.prepare(request)
        await link.send_str(json.dumps({"t": "hello", "version": 1, "task": None, "data": True, "modes": []}))
        async for _ in link:
            pass
        return link


browser = pytest.fixture(scope="module", name="browser")(browsing)


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a folder's page; what a script of it complains of is an error."""
    ends: list[Callable[[], None]] = []
    wrong: list[str] = []

    def go(folder: Path, *runs: Path, wide: int = 1440, high: int = 900, scheme: str = "light") -> Any:
        served = Served(Library(folder, runs=runs))
        context = browser.new_context(viewport={"width": wide, "height": high}, color_scheme=scheme)
        ends.extend([served.close, context.close])
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda e: wrong.append(str(e)))
        page.on("console", lambda m: wrong.append(m.text) if "Content Security" in m.text else None)
        page.goto(f"http://127.0.0.1:{served.port}/#data")
        page.wait_for_selector(".lib-row b")
        return page

    yield go
    for end in reversed(ends):
        end()
    assert wrong == []


def until(page: Any, condition: str, arg: Any = None) -> None:
    """Waits until an expression is true, asked from outside: the page itself may not evaluate text."""
    for _ in range(400):
        if page.evaluate(condition, arg):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never: {condition}")


def show(page: Any, index: int) -> None:
    page.click(f".lib-row:has-text('Episode {index}')")
    page.wait_for_selector(f".lib-detail h2:text-is('Episode {index}')")


def told(page: Any, words: str) -> None:
    until(page, "w => document.querySelector('.lib-words').textContent.includes(w)", arg=words)


def test_the_scrubber_shows_the_numbers_of_the_step(opened: Callable[..., Any], tmp_path: Path) -> None:
    storage.write(tmp_path / "d", [walk(1), corrected(2)], fps=10)
    page = opened(tmp_path / "d")
    page.focus(".lib-rows")
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    page.wait_for_selector(".lib-detail h2:text-is('Episode 1')")
    assert "2 takeovers" in page.inner_text(".lib-about")
    page.focus(".tl-cursor")
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    assert page.get_attribute(".tl-cursor", "aria-valuenow") == "6"
    assert page.inner_text(".lib-where") == "step 6 of 20 · 0.6 s"
    action = float(corrected(2).action[6, 0])
    shown = page.locator(".tl-row:has(.tl-title:text-is('action')) .tl-value").first
    assert float(shown.inner_text()) == pytest.approx(action, rel=1e-3)
    page.keyboard.press("End")
    assert page.input_value(".lib-scrub") == "20"
    until(page, "document.querySelector('.tl-value').textContent === '–'")  # no action is left
    page.wait_for_selector(".lib-note:has-text('No scene')")  # nothing moves down any more
    curves = page.locator(".tl-curves").first
    curves.click(position={"x": curves.bounding_box()["width"] / 2, "y": 5})
    until(page, "document.querySelector('.tl-cursor').getAttribute('aria-valuenow') === '10'")
    page.click("[aria-label=Play]")
    until(page, "Number(document.querySelector('.tl-cursor').getAttribute('aria-valuenow')) > 12")


def test_trim_and_undo_land_on_disk(opened: Callable[..., Any], tmp_path: Path) -> None:
    folder = walks(tmp_path / "d", 3)
    before = list(storage.read(folder))
    page = opened(folder)
    show(page, 1)
    page.click("text=Trim…")
    page.focus(".tl-handle-start")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    page.focus(".tl-handle-stop")
    page.keyboard.press("PageDown")
    assert "16 of 30 steps stay" in page.inner_text("[aria-label=Trim] .lib-hint")
    page.select_option("[aria-label=Trim] select", "false")
    page.click("[aria-label=Trim] [type=submit]")
    told(page, "kept as d.before")
    now = list(storage.read(folder))
    assert (now[1].action == before[1].action[4:20]).all()
    assert now[1].success is False
    assert (now[0], now[2]) == (before[0], before[2])
    until(page, "document.querySelector('.lib-about').textContent.includes('16 steps')")
    page.click(".lib-undo")
    told(page, "Taken back")
    assert list(storage.read(folder)) == before


def test_delete_asks_first_and_relabel_stays_text(opened: Callable[..., Any], tmp_path: Path) -> None:
    folder = walks(tmp_path / "d", 3)
    page = opened(folder)
    show(page, 2)
    page.click("text=Relabel…")
    script = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    page.fill("[aria-label=Relabel] input >> nth=0", script)
    page.fill("[aria-label=Relabel] input >> nth=1", script)
    page.click("[aria-label=Relabel] [type=submit]")
    told(page, "operator, instruction set")
    assert storage.read(folder)[2].meta["operator"] == script
    until(page, "w => document.querySelector('.lib-instruction').textContent === w", arg=script)
    assert page.locator("img[src=x], main script").count() == 0
    assert page.title() != "owned"
    page.focus(".lib-rows")
    page.keyboard.press("Delete")
    page.keyboard.press("Escape")
    page.wait_for_selector(".lib-ask", state="detached")
    assert storage.info(folder).episodes == 3
    page.focus(".lib-rows")
    page.keyboard.press("Home")
    page.keyboard.press("Delete")
    page.wait_for_selector(".lib-ask:has-text('Delete episode')")
    page.click(".lib-ask [value=yes]")
    told(page, "deleted")
    assert storage.info(folder).episodes == 2
    page.click(".lib-undo")
    told(page, "Taken back")
    assert storage.info(folder).episodes == 3


def test_an_edit_of_what_has_changed_says_so(opened: Callable[..., Any], tmp_path: Path) -> None:
    folder = walks(tmp_path / "d", 3)
    page = opened(folder)
    show(page, 0)
    page.route("**/api/data/episodes*", lambda route: route.abort())  # the page hears nothing of the change
    storage.append(folder, [walk(8)])
    page.click("text=Delete…")
    page.click(".lib-ask [value=yes]")
    page.wait_for_selector(".lib-bar.lib-bad")
    assert storage.info(folder).episodes == 4
    page.unroute("**/api/data/episodes*")
    page.wait_for_selector(".lib-row:has-text('Episode 3')")  # what was recorded meanwhile appears


def test_scene_cameras_and_another_episode_beside(opened: Callable[..., Any], tmp_path: Path) -> None:
    push = pushes(tmp_path / "push", 2)
    run = tmp_path / "run"
    tried = list(storage.read(push))
    storage.write(run / "evaluations" / "policy" / "episodes", tried[::-1], fps=25)
    page = opened(push, run)
    with page.expect_response(lambda r: "scene.bin" in r.url and r.status == 200):
        show(page, 1)
    until(page, "document.querySelector('.lib-note').textContent === ''")
    assert page.locator(".lib-canvas").is_visible()
    page.select_option("[aria-label='Compare with']", label="run: policy")
    page.wait_for_selector("text=Both began in the same state.")
    assert page.input_value("[aria-label='Episode to compare with']") == "0"
    page.select_option(".lib-source", index=1)
    show(page, 0)
    assert page.locator(".lib-tools").is_hidden()
    storage.write(tmp_path / "films", [filmed(1)], fps=10)
    page = opened(tmp_path / "films")
    show(page, 0)
    until(page, "[...document.images].length === 2 && [...document.images].every(i => i.naturalWidth)")
    page.wait_for_selector(".lib-note:has-text('No scene')")


CONTRAST = """() => {
  const light = (c) => { const [r, g, b] = c.map((v) => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b; };
  const parts = (c) => c.match(/[\\d.]+/g).map(Number);
  const behind = (n) => { for (; n; n = n.parentElement) { const c = parts(getComputedStyle(n).backgroundColor);
    if (c.length < 4 || c[3] > .99) return c.slice(0, 3); } return [255, 255, 255]; };
  const poor = [];
  for (const n of document.querySelectorAll('.lib *')) {
    if (![...n.childNodes].some((c) => c.nodeType === 3 && c.data.trim()) || !n.offsetParent || n.disabled || n.tagName === 'OPTION') continue;
    const [a, b] = [light(parts(getComputedStyle(n).color).slice(0, 3)), light(behind(n))].sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) poor.push(n.className + ': ' + n.textContent.slice(0, 30));
  }
  return poor;
}"""  # noqa: E501


@pytest.mark.parametrize(("wide", "high", "scheme"), [(1440, 900, "dark"), (390, 844, "light")])
def test_it_fits_and_can_be_read(
    opened: Callable[..., Any], tmp_path: Path, wide: int, high: int, scheme: str
) -> None:
    long = "a-very-long-name-without-a-single-space-" * 4
    storage.write(tmp_path / "d", [corrected(1), walk(2, operator=long, instruction=long), walk(3)], fps=10)
    page = opened(tmp_path / "d", wide=wide, high=high, scheme=scheme)
    for state in ("list", "episode"):
        if state == "episode":
            show(page, 1)
            page.wait_for_selector(".lib-flags li, .lib-note:has-text('No scene')")
            page.click("text=Trim…")
        over = "[document.documentElement.scrollWidth - innerWidth, ...['.lib-side', '.lib-main'].map(s => {"
        over += " const n = document.querySelector(s); return n.scrollWidth - n.clientWidth })]"
        assert max(page.evaluate(over)) <= 0, state
        assert page.evaluate(CONTRAST) == []
    if wide == 390:
        assert page.locator(".lib-side").is_hidden()
        page.click(".lib-back")
        assert page.locator(".lib-rows").is_visible()
