"""How the studio's page looks: contrast, no overlap on any screen, and everything reached by keys alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from chromium import browsing
from studio_played import CAMERA, KEYED, STATE, Played, drawn, phase, serving, until, visiting

scene = pytest.fixture(scope="module", name="scene")(drawn)
browser = pytest.fixture(scope="module", name="browser")(browsing)
played = pytest.fixture(name="played")(serving)
opened = pytest.fixture(name="opened")(visiting)

# ---- what the sources say


def tokens(sheet: str) -> dict[str, dict[str, str]]:
    """The colours of either theme, from the sheet's own names."""
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", part)) for part in sheet.split("@media")[:2]
    )
    return {"light": light, "dark": light | dark}


def contrast(one: str, other: str) -> float:
    """WCAG 2's ratio of the luminances of two colours #rrggbb."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


TEXT = ("ink", "soft", "muted", "accent", "accent-ink", "failure", "record", "warn", "bad")
PAIRS = [
    *((text, ground) for text in TEXT for ground in ("paper", "raised", "backdrop")),
    *(("on-accent", "accent"), ("on-accent", "accent-ink"), ("accent-ink", "accent-soft")),
    *(("bad", "bad-soft"), ("ink", "bad-soft"), ("ink", "warn-soft"), ("paper", "ink")),
]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out_from_every_ground(theme: str) -> None:
    colours = tokens((files("understudy.studio") / "assets" / "studio.css").read_text())[theme]
    poor = {pair: contrast(*(colours[name] for name in pair)) for pair in PAIRS}
    assert {pair: ratio for pair, ratio in poor.items() if ratio < 4.5} == {}
    frames = {
        ground: contrast(colours["edge"], colours[ground]) for ground in ("paper", "raised", "backdrop")
    }
    assert {ground: ratio for ground, ratio in frames.items() if ratio < 3} == {}


def test_contrast_is_that_of_the_rule() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


def test_no_source_makes_markup_of_text() -> None:
    source = Path(__file__).parent.parent / "web" / "src"
    if not source.is_dir():
        pytest.skip("the page's sources are not here")
    scripts = sorted(source.glob("*.js"))
    assert len(scripts) > 10
    ways = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser"
    )
    assert [p.name for p in scripts if ways.search(p.read_text())] == []
    page = (source / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=|https?://(?!www\.w3\.org)", page)


# ---- layout

SIZES = [(1440, 900), (1024, 600), (390, 844)]
APART = (
    "stage panel, stage sticks, panel sticks, bar live, badges home, scene cameras, scene strip, "
    "first actions, first marks, hint first"
)
LAYOUT = """(pairs) => {
  const faults = [];
  const seen = (s) => [...document.querySelectorAll(s)].filter((e) => e.offsetParent);
  const box = (name) => seen('.' + name)[0]?.getBoundingClientRect();
  const over = (a, b, low, high) => Math.min(a[high], b[high]) - Math.max(a[low], b[low]) > 1;
  if (document.documentElement.scrollWidth > innerWidth) faults.push('the page scrolls sideways');
  for (const e of seen('.panel, .stage, .bar, .now, .actions, .marks, .facts, button'))
    if (e.scrollWidth > e.clientWidth + 1) faults.push('too wide: ' + e.className + e.textContent);
  for (const e of seen('.now button, .sticks button, .stick')) {
    const r = e.getBoundingClientRect(), inside = r.left >= 0 && r.right <= innerWidth;
    if (!inside || r.top < 0 || r.bottom > innerHeight) faults.push('off the screen: ' + e.textContent);
  }
  for (const [a, b] of pairs) {
    const [p, q] = [box(a), box(b)];
    if (p && q && over(p, q, 'left', 'right') && over(p, q, 'top', 'bottom')) faults.push(a + ' over ' + b);
  }
  const scene = box('scene');
  if (scene.width * scene.height < 0.25 * innerWidth * innerHeight) faults.push('the scene is small');
  return faults;
}"""
FOCUS = """() => {
  const e = document.activeElement, ring = (x) => getComputedStyle(x).outlineStyle !== 'none';
  return [e.dataset.what || e.id || e.name || e.tagName, ring(e) || ring(e.nextElementSibling ?? e)];
}"""


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_nothing_overlaps_or_leaves_the_screen(
    opened: Callable[..., Any], played: Played, width: int, height: int
) -> None:
    played.hello["cameras"] = ["wrist", "a camera with a very long name indeed"]
    played.pictures = {"wrist": CAMERA}
    phone = width < 500
    page = opened(width, height, has_touch=phone, is_mobile=phone)
    last = [
        {"index": i, "steps": 80, "success": True, "mark": None, "operator": "A " * 40, "seconds": 8.0}
        for i in range(5)
    ]
    for state, _, _ in KEYED:
        phase(
            page,
            played,
            **(STATE | state | {"last": last, "doubt": {"value": 1.0, "threshold": 0.3}, "pilot": "bc"}),
        )
        assert page.evaluate(LAYOUT, [pair.split() for pair in APART.split(", ")]) == [], state


def test_a_camera_shows_its_newest_picture_and_keeps_no_other(
    opened: Callable[..., Any], played: Played
) -> None:
    played.hello["cameras"] = ["wrist"]
    page = opened()
    page.evaluate(
        """() => { window.made = 0; window.freed = 0;
        const [make, free] = [URL.createObjectURL, URL.revokeObjectURL];
        URL.createObjectURL = (b) => { window.made++; return make.call(URL, b); };
        URL.revokeObjectURL = (a) => { window.freed++; free.call(URL, a); }; }"""
    )
    played.pictures = {"wrist": CAMERA, "unknown": CAMERA}
    until(lambda: page.evaluate("made > 5 && made - freed <= 2"))
    assert page.locator(".cameras img").count() == 1


def test_who_wants_less_motion_sees_none(opened: Callable[..., Any], played: Played) -> None:
    page = opened(reduced_motion="reduce")
    phase(page, played, phase="running")
    assert page.evaluate("getComputedStyle(document.querySelector('.recording i')).animationName") == "none"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("idle", {"CANVAS", "start", "mode", "speed", "operator", "instruction", "rollouts"}),
        ("review", {"CANVAS", "save", "success", "failure", "discard", "again", "speed", "operator"}),
    ],
)
def test_keys_alone_reach_everything(
    opened: Callable[..., Any], played: Played, name: str, wanted: set[str]
) -> None:
    page = opened()
    phase(page, played, phase=name, saved=1, pilot="bc")
    page.focus("#help-button")
    reached = {}
    for _ in range(14):
        page.keyboard.press("Tab")
        at, ringed = page.evaluate(FOCUS)
        reached[at] = ringed
    assert wanted - reached.keys() == set()
    assert [at for at, ringed in reached.items() if not ringed and at != "BODY"] == []
