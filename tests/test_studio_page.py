"""The studio's page: what keys, pads and fingers send, what each phase offers, what it bears from outside."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from chromium import browsing
from studio_played import (
    BINDINGS,
    HEAD,
    KEYED,
    STATE,
    Played,
    drawn,
    held,
    phase,
    seated,
    serving,
    shows,
    staying,
    until,
    visiting,
)

scene = pytest.fixture(scope="module", name="scene")(drawn)
browser = pytest.fixture(scope="module", name="browser")(browsing)
played = pytest.fixture(name="played")(serving)
opened = pytest.fixture(name="opened")(visiting)
stayed = pytest.fixture(scope="module", name="stayed")(staying)
at = pytest.fixture(name="at")(seated)

# ---- keys


def test_a_held_key_is_sent_until_it_is_let_go(at: tuple[Any, Played]) -> None:
    page, played = at
    phase(page, played, phase="running")
    page.keyboard.down("w")
    until(lambda: held(played) == ["KeyW"])
    began = len(played.inputs)
    for _ in range(3):
        page.keyboard.down("w")  # the keyboard repeats
    until(lambda: len(played.inputs) > began + 3)
    assert all(one["keys"] == ["KeyW"] for one in played.inputs[began:])
    page.keyboard.down("ArrowDown")
    until(lambda: sorted(held(played)) == ["ArrowDown", "KeyW"])
    assert page.locator(".strip kbd.down").all_inner_texts() == ["W", "S"]
    page.keyboard.up("w")
    page.keyboard.up("ArrowDown")
    until(lambda: held(played) == [])
    seqs = [one["seq"] for one in played.inputs]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))


@pytest.mark.parametrize(
    "leaving",
    [
        "window.dispatchEvent(new Event('blur'))",
        "window.dispatchEvent(new Event('pagehide'))",
        "document.getElementById('help-button').click()",
        "document.getElementById('speed').blur(); location.hash = '#data'",
    ],
    ids=["blur", "pagehide", "help", "data"],
)
def test_what_is_held_is_let_go_when_the_page_is_left(
    opened: Callable[..., Any], played: Played, leaving: str
) -> None:
    played.hello["data"] = True
    page = opened()
    page.route("**/api/**", lambda route: route.fulfill(json={"sources": []}))
    phase(page, played, phase="running")
    page.keyboard.down("w")
    until(lambda: held(played) == ["KeyW"])
    page.evaluate(leaving)
    until(lambda: held(played) == [])


def test_a_hidden_page_sends_nothing(opened: Callable[..., Any], played: Played) -> None:
    page = opened()
    page.evaluate(
        """() => { window.sent = []; const send = WebSocket.prototype.send;
        WebSocket.prototype.send = function (text) { sent.push(JSON.parse(text)); send.call(this, text); };
        window.hide = (hidden) => {
          Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});
          document.dispatchEvent(new Event('visibilitychange')); }; }"""
    )
    phase(page, played, phase="running")
    page.keyboard.down("w")
    until(lambda: held(played) == ["KeyW"])
    last = page.evaluate("() => { hide(true); return sent.filter((one) => one.t === 'in'); }")
    assert last[-1]["keys"] == []
    page.wait_for_timeout(200)
    assert page.evaluate("sent.filter((one) => one.t === 'in').length") == len(last)
    page.evaluate("hide(false)")
    until(lambda: page.evaluate("sent.filter((one) => one.t === 'in').length") > len(last))
    assert held(played) == []


def test_while_driving_space_presses_no_button_and_arrows_move_nothing(
    at: tuple[Any, Played],
) -> None:
    page, played = at
    phase(page, played, phase="running")
    page.focus("[data-what=discard]")
    page.keyboard.press("Space")
    page.focus("#speed")
    before = page.input_value("#speed")
    page.keyboard.down("ArrowUp")
    until(lambda: held(played) == ["ArrowUp"])
    page.keyboard.up("ArrowUp")
    assert page.input_value("#speed") == before
    assert any(one["keys"] == ["Space"] for one in played.inputs)
    assert played.words == []
    # Between episodes the same keys work the page as everywhere.
    phase(page, played, phase="review")
    page.focus("[data-what=discard]")
    page.keyboard.press("Space")
    until(lambda: played.words == ["discard"])


def test_a_mouse_click_leaves_the_keys_to_the_robot(at: tuple[Any, Played]) -> None:
    page, played = at
    page.click("[data-what=start]")
    until(lambda: played.words == ["start"])
    assert page.evaluate("document.activeElement.tagName") == "CANVAS"


def test_text_is_typed_without_driving_and_the_stage_takes_the_keys_back(
    at: tuple[Any, Played],
) -> None:
    page, played = at
    page.fill("#operator", "")
    page.locator("#operator").press_sequentially("wsyn w")
    until(lambda: "operator" in played.words)
    assert played.orders[-1]["name"] == "wsyn w"
    assert set(played.words) == {"operator"}
    assert all(one["keys"] == [] for one in played.inputs)
    phase(page, played, phase="countdown", countdown=1.0)
    assert page.evaluate("document.activeElement.tagName") == "CANVAS"
    assert page.is_disabled("#operator")


def test_a_shortcut_of_the_browser_drives_nothing(at: tuple[Any, Played]) -> None:
    page, played = at
    phase(page, played, phase="running")
    began = len(played.inputs)
    page.keyboard.press("Control+KeyS")
    until(lambda: len(played.inputs) > began + 2)
    assert all(one["keys"] == [] for one in played.inputs[began:])


# ---- phases


def test_every_step_has_its_key_and_its_words(at: tuple[Any, Played]) -> None:
    page, played = at
    for state, key, words in KEYED:
        played.orders.clear()
        phase(page, played, **(STATE | state))
        page.keyboard.press(key)
        if words:
            until(lambda words=words: played.words == words)
        else:
            page.keyboard.press("-")
            until(lambda: played.words == ["speed"])
        primary = page.locator(".now .primary")
        assert primary.count() == (state["phase"] not in ("ready", "saving")), state


def test_the_words_are_the_sessions_own(at: tuple[Any, Played]) -> None:
    from understudy.teleop.words import checked

    page, played = at
    phase(page, played, **(STATE | {"phase": "idle", "pilot": "bc", "saved": 1}))
    page.click("input[value=watch]")
    page.fill("#rollouts", "7")
    page.click("button:text-is('Evaluate')")
    page.fill("#instruction", "put it there")
    page.click("text=Train on the corrections now")
    page.keyboard.press("=")
    until(lambda: {"mode", "evaluate", "instruction", "train", "speed"} <= set(played.words))
    for one in played.orders:
        if one["t"] == "do" and one["what"] != "train":  # which is the server's
            checked(one["what"], {k: v for k, v in one.items() if k not in ("t", "what")})


def test_the_policys_side_is_shown(at: tuple[Any, Played]) -> None:
    page, played = at
    doubt = {"value": 0.4, "threshold": 0.3}
    phase(page, played, phase="running", mode="correct", driver="policy", pilot="bc", doubt=doubt)
    assert page.inner_text(".driver") == "Policy drives"
    assert page.inner_text(".doubt .reading") == "0.40, above its limit of 0.30"
    played.say(driver="operator", doubt={"value": 0.1, "threshold": 0.3})
    shows(page, ".driver", "You drive")
    assert "below" in page.inner_text(".doubt .reading")
    page.click(".switch")
    until(lambda: played.orders[-1] == {"t": "do", "what": "guard", "on": True})
    found = {"n": 50, "done": 20, "successes": 13, "low": 0.43, "high": 0.82, "running": True}
    phase(page, played, phase="running", mode="watch", evaluation=found)
    text = "13 of 20 succeeded: 65\u00a0%, 95 % interval 43\u00a0% to 82\u00a0%, 30 to go"
    shows(page, ".evaluation .reading", text)
    training = {"phase": "training", "step": 5, "steps": 20, "round": 2, "message": "loss 0.1"}
    played.say(training=training)
    shows(page, ".training .reading", "Round 2: step 5 of 20, loss 0.1")
    question = {"proposed": [0.5, -0.5, 0, 1], "held": [0, 0, 0, 0], "step": 3}
    phase(page, played, phase="asking", mode="label", question=question, training=None)
    assert page.locator(".acts [role=meter]").count() == 8


# ---- what comes from outside


def test_text_from_outside_stays_text(opened: Callable[..., Any], played: Played) -> None:
    evil = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    last = [{"index": 1, "steps": 3, "success": True, "mark": None, "operator": evil, "seconds": 1.0}]
    played.hello |= {
        "task": evil,
        "cameras": [evil],
        "bindings": [{"keys": ["KeyW"], "label": evil, "dim": 0, "sign": 1}],
    }
    page = opened()
    phase(
        page, played, phase="running", operator=evil, instruction=evil, pilot=evil, last=last,
        message={"level": "error", "text": evil}, robot={"name": evil, "stopped": evil},
        training={"phase": "failed", "message": evil, "round": 1, "step": 0, "steps": 0},
    )  # fmt: skip
    page.keyboard.press("?")
    page.wait_for_selector("#help[open]")
    assert page.inner_text("#task") == evil
    assert evil in page.inner_text(".message")
    assert evil in page.inner_text(".stopped")
    assert page.locator("img[src=x]").count() == 0
    assert page.locator("body script").count() == 0
    assert "owned" not in page.title().replace(evil, "")


BROKEN: list[Mapping[str, Any] | str | bytes] = [
    {"t": "state"},
    {"t": "state", "phase": None, "controller": True},
    {
        "t": "state",
        "phase": "made up",
        "controller": True,
        "last": 7,
        "doubt": [],
        "robot": "x",
        "message": 1,
    },
    {
        "t": "state",
        "phase": "running",
        "mode": 3,
        "step": "many",
        "seconds": None,
        "evaluation": {},
        "training": {},
    },
    {"t": "state", "phase": "asking", "mode": "label", "question": {"proposed": [None, "x", 1e999]}},
    {"t": "state", "phase": "review", "mode": "record", "last": [None, 3, {"index": "x"}, {}]},
    {"t": "strange"},
    "[]",
    "null",
    "no JSON",
    b"",
    b"\x01" * 31,
    HEAD.pack(1, 0, 9, 1, 1, 1, 0.0, 0.0),
    HEAD.pack(3, 0, 900, 1, 1, 1, 0.0, 0.0),
    HEAD.pack(77, 0, 0, 1, 1, 1, 0.0, 0.0),
]


def test_a_strange_message_breaks_nothing(at: tuple[Any, Played]) -> None:
    page, played = at
    for message in BROKEN:
        played.send(message)
    phase(page, played, phase="running", step=321)
    shows(page, ".facts", "321")


def test_a_lost_link_is_told_and_comes_back(opened: Callable[..., Any], played: Played) -> None:
    page = opened()
    phase(page, played, phase="running")
    page.keyboard.down("w")
    until(lambda: held(played) == ["KeyW"])
    played.answering = False
    played.cut()
    page.wait_for_selector("#banner:not([hidden])")
    text = page.inner_text("#banner")
    assert "The robot has stopped" in text
    assert "saved episodes are on disk" in text
    shows(page, "#banner", "Open the address")
    assert page.locator(".now button").count() == 0
    assert page.inner_text("#link-word") == "Not connected"
    began = len(played.inputs)
    page.focus("#banner button")
    played.answering = True
    page.evaluate("document.querySelector('#banner button').click()")  # it may come back by itself meanwhile
    page.wait_for_selector("#banner", state="hidden")
    until(lambda: len(played.inputs) > began)
    assert all(one["keys"] == [] for one in played.inputs[began:])  # what was held then is not held now
    shows(page, "#delay", "ms")


def test_a_page_of_another_version_says_so(browser: Any, played: Played) -> None:
    played.hello["version"] = 2
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{played.port}/")
    page.wait_for_selector("#banner:not([hidden])")
    assert "version 2" in page.inner_text("#banner")
    page.close()


def test_a_viewer_sends_no_input_and_can_ask_for_the_controls(
    opened: Callable[..., Any], played: Played
) -> None:
    played.hello["viewer"] = True
    played.state |= {"controller": False, "viewers": 2, "phase": "running"}
    page = opened()
    page.keyboard.press("w")
    page.keyboard.press("Enter")
    assert page.locator(".now button").count() == 0
    page.click("text=Take the controls")
    until(lambda: {"t": "control"} in played.orders)
    assert played.inputs == []
    assert played.words == []
    played.say(controller=True)
    page.click("text=Let somebody else drive")
    until(lambda: {"t": "yield"} in played.orders)


# ---- other devices


def test_a_gamepad_is_read_and_named(browser: Any, opened: Callable[..., Any], played: Played) -> None:
    page = opened()
    page.evaluate(
        """() => { const pad = {connected: true, id: 'Xbox Pad (STANDARD GAMEPAD Vendor: 045e Product: 02fd)',
        axes: [0, -0.51234567, 0, 0], buttons: [{value: 1}, {value: 0}]};
        navigator.getGamepads = () => [null, pad]; }"""
    )
    phase(page, played, phase="running")
    until(lambda: played.inputs and played.inputs[-1]["axes"] == [0, -0.512, 0, 0])
    assert played.inputs[-1]["buttons"] == [1, 0]
    shows(page, ".strip .pad", "Gamepad: Xbox Pad")


def test_two_fingers_drive_at_once(opened: Callable[..., Any], played: Played) -> None:
    page = opened(390, 844, has_touch=True, is_mobile=True)
    phase(page, played, phase="running")
    boxes = {
        name: page.locator(name).bounding_box()
        for name in (".stick >> nth=0", ".stick >> nth=1", "button:text-is('Close')")
    }
    level, height, close = ((b["x"] + b["width"] / 2, b["y"] + b["height"] / 2) for b in boxes.values())
    cdp = page.context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[int, tuple[float, float]]) -> None:
        at = [{"x": x, "y": y, "id": i} for i, (x, y) in points]
        cdp.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})

    up = (height[0], height[1] - 23)
    touch("touchStart", (0, level))
    touch("touchStart", (0, level), (1, height))
    touch("touchMove", (0, (level[0] + 23, level[1])), (1, up))
    until(lambda: played.inputs and played.inputs[-1]["touch"] == [0.5, 0, 0.5, 0])
    touch("touchEnd")
    until(lambda: played.inputs[-1]["touch"] == [])
    touch("touchStart", (0, close))
    until(lambda: played.inputs[-1]["touch"] == [0, 0, 0, -1])
    page.evaluate("window.dispatchEvent(new Event('blur'))")
    until(lambda: played.inputs[-1]["touch"] == [])


def test_help_names_every_key_and_closes_by_escape(at: tuple[Any, Played]) -> None:
    page, played = at
    phase(page, played, phase="running")
    page.keyboard.press("F1")
    page.wait_for_selector("#help[open]")
    text = page.inner_text("#help")
    assert all(one["label"] in text for one in BINDINGS)
    assert "left stick ↑" in text
    page.keyboard.press("w")
    page.keyboard.press("Escape")
    page.wait_for_selector("#help:not([open])", state="attached")
    assert played.words == []
    assert all(one["keys"] == [] for one in played.inputs)


def test_the_delay_is_from_an_input_to_the_first_frame_that_used_it(tmp_path: Path) -> None:
    node, source = shutil.which("node"), Path(__file__).parent.parent / "web" / "src" / "wire.js"
    if node is None or not source.is_file():
        pytest.skip("there is no node, or the page's sources are not here")
    script = tmp_path / "delay.mjs"
    script.write_text(
        f"""import {{ Latency }} from {json.dumps(source.as_uri())};
        const meter = new Latency(3);
        const none = meter.summary();
        for (let seq = 1; seq <= 5; seq++) meter.send(seq, 100 * seq);
        meter.acknowledge(1, 130);
        meter.acknowledge(1, 190); // a second frame of the same input
        meter.acknowledge(3, 350); // the second input was overtaken
        const two = meter.times.slice();
        meter.acknowledge(2, 400);
        meter.acknowledge(4, 410);
        meter.acknowledge(5, 600);
        console.log(JSON.stringify([none, two, meter.times, meter.summary()]));"""
    )
    told = subprocess.run([node, script], capture_output=True, text=True, check=True)
    assert json.loads(told.stdout) == [None, [30, 50], [50, 10, 100], {"median": 50, "p95": 100}]
