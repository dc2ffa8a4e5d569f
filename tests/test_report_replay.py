"""The 3-D replay of a report: what is packed comes back, and the page draws it by itself."""

from __future__ import annotations

import base64
import gzip
import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chromium import browsing
from understudy.dataset import Dataset
from understudy.envs import Task, task
from understudy.episode import Episode
from understudy.evaluate import Outcome, Report
from understudy.provenance import provenance
from understudy.report.folder import Run
from understudy.report.page import render
from understudy.report.replay3d import Stage, chosen, packed, stage
from understudy.rollout import rollout
from understudy.scene import replayed

pytest.importorskip("mujoco")
pytest.importorskip("gymnasium_robotics")

WEB = Path(__file__).parent.parent / "web" / "src"
RANDOM = np.random.default_rng(5)


def unpacked(spec: dict[str, Any]) -> list[np.ndarray[Any, Any]]:
    """What the page makes of it, worked out once more: the poses [F, n, 7] of each clip."""
    planes = np.frombuffer(gzip.decompress(base64.b64decode(spec["data"])), np.uint8).astype(np.int64)
    low, high = np.array(spec["low"]), np.array(spec["high"])
    half, at, out = len(planes) // 2, 0, []
    flat = planes[:half] | planes[half:] << 8
    for count in (clip["frames"] for pair in spec["episodes"] for clip in pair):
        size = count * spec["bodies"] * 7
        rows = np.cumsum(flat[at : at + size].reshape(-1, count), axis=1).T.reshape(count, -1, 7) & 0xFFFF
        turns = (rows[..., 3:] + 32768) % 65536 - 32768
        out.append(np.concatenate([low + rows[..., :3] / 65535 * (high - low), turns / 32767], axis=2))
        at += size
    assert at == half
    return out


def spec_of(clips: Sequence[Any]) -> dict[str, Any]:
    low, high, data = packed(clips)
    about = [[{"frames": len(c), "steps": len(c) - 1, "name": "", "outcome": ""}] for c in clips]
    return {"low": low, "high": high, "data": data, "bodies": clips[0].shape[1], "episodes": about}


def moving(frames: int, bodies: int) -> Any:
    places = RANDOM.normal(size=(frames, bodies, 3)).cumsum(0)
    turns = RANDOM.normal(size=(frames, bodies, 4))
    turns /= np.linalg.norm(turns, axis=-1, keepdims=True)
    return np.concatenate([places, turns], axis=2).astype(np.float32)


def test_poses_come_back_to_half_a_step_of_sixteen_bits() -> None:
    clips = [moving(31, 3), moving(1, 3), moving(240, 3)]
    clips[2][:, 1] = clips[2][0, 1]  # one body stands still
    spec = spec_of(clips)
    span = np.array(spec["high"]) - spec["low"]
    for clip, again in zip(clips, unpacked(spec), strict=True):
        assert again.shape == clip.shape
        assert (np.abs(again[..., :3] - clip[..., :3]) <= 0.5001 * span / 65535 + 1e-6).all()
        same = (again[..., 3:] * clip[..., 3:]).sum(-1)
        assert np.allclose(np.abs(same), 1, atol=1e-4), "q and -q turn alike"


def test_turns_never_go_the_long_way_round() -> None:
    half = np.linspace(0, 2 * np.pi, 50)  # one turn and a half about z, with the sign of q chosen at random
    clip = np.zeros((50, 1, 7))
    clip[:, 0, 5], clip[:, 0, 6] = np.sin(half), np.cos(half)
    clip[:, 0, 3:] *= RANDOM.choice([-1, 1], 50)[:, None]
    (again,) = unpacked(spec_of([clip.astype(np.float32)]))
    assert ((again[1:, 0, 3:] * again[:-1, 0, 3:]).sum(-1) > 0).all()


def test_bodies_that_stand_still_cost_next_to_nothing() -> None:
    still = np.repeat(moving(1, 20), 200, axis=0)
    assert len(packed([still])[2]) < 1200  # of 112 000 bytes


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_page_reads_what_was_packed(tmp_path: Path) -> None:
    spec = spec_of([moving(17, 2), moving(5, 2)])
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    script = f"""
    import {{ clips, inflated }} from "{(WEB / "replay-clips.js").as_uri()}";
    import {{ readFileSync }} from "node:fs";
    const spec = JSON.parse(readFileSync("spec.json", "utf8"));
    const found = clips(spec, await inflated(spec.data));
    console.log(JSON.stringify(found.map(([clip]) => clip.frames.map((f) => [...f]))));
    """
    if not WEB.is_dir():
        pytest.skip("the page's sources are not beside the tests")
    (tmp_path / "read.mjs").write_text(script)
    told = subprocess.run(
        ["node", "read.mjs"], cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60
    ).stdout
    for mine, theirs in zip(unpacked(spec), json.loads(told), strict=True):
        assert np.allclose(np.array(theirs).reshape(mine.shape), mine, atol=1e-6)


def short(success: bool | None, steps: int = 4) -> Episode:
    return Episode.demonstration(
        {"state": np.zeros((steps + 1, 1))}, np.zeros((steps, 1)), success=success, meta={}
    )


def test_failures_are_shown_first_and_others_are_not_crowded_out() -> None:
    mixed = [(i, short(i % 2 == 0)) for i in range(40)]
    assert [s for s, _ in chosen(mixed)] == [1, 3, 5, 7, 9, 11, 13, 15, 0, 2, 4, 6]
    assert [s for s, _ in chosen(mixed, 3)] == [1, 3, 0]
    lost = [(i, short(False)) for i in range(20)]
    assert len(chosen(lost)) == 12
    assert [s for s, _ in chosen([(i, short(None)) for i in range(3)])] == [0, 1, 2]


def test_long_episodes_are_fewer_and_the_first_is_always_there() -> None:
    assert len(chosen([(i, short(True, 2500)) for i in range(9)])) == 2
    assert len(chosen([(i, short(True, 9000)) for i in range(9)])) == 1


# From an environment


class Hesitant:
    """Does what the expert does, at a twentieth of the pace."""

    name = "hesitant"

    def __init__(self, which: Task) -> None:
        assert which.expert is not None
        self.expert = which.expert()

    def reset(self, seed: int) -> None:
        self.expert.reset(seed)

    def act(self, obs: Any) -> Any:
        return self.expert.act(obs) * np.float32(0.05)


@pytest.fixture(scope="module")
def which() -> Task:
    return task("fetch-reach")


@pytest.fixture(scope="module")
def tried(which: Task) -> list[tuple[int, Episode]]:
    env = which.make()
    found = [(seed, rollout(env, Hesitant(which), seed, max_steps=12)) for seed in (3, 4, 5)]
    env.close()
    return found


def spec_in(made: Stage) -> dict[str, Any]:
    assert made.json is not None
    spec: dict[str, Any] = json.loads(str(made.json))
    return spec


def test_a_replay_holds_the_poses_of_policy_and_expert(which: Task, tried: list[tuple[int, Episode]]) -> None:
    made = stage("replay-0", which, tried, expert=True)
    spec = spec_in(made)
    assert len(made.names) == len(spec["episodes"]) == 3
    assert made.expert
    assert made.note == ""
    clips = iter(unpacked(spec))
    for (seed, episode), pair in zip(chosen(tried), spec["episodes"], strict=True):
        policy, expert = next(clips), next(clips)
        again = replayed(which, replace(episode, meta={**episode.meta, "seed": seed})).poses
        assert np.abs(policy[..., :3] - again[..., :3]).max() < 1e-4
        assert [pair[0]["steps"], pair[0]["frames"]] == [len(episode), len(episode) + 1]
        assert pair[1]["outcome"] == "success"
        assert np.abs(policy[0] - expert[0]).max() < 1e-4, "both begin alike"
    name, geometry = made.scene
    assert spec["scene"] == name
    assert gzip.decompress(base64.b64decode(json.loads(str(geometry)))).startswith(b"MJS1")
    assert len(made.json or "") + len(geometry) < 600_000


def test_an_episode_that_does_not_come_back_is_left_out_and_counted(
    which: Task, tried: list[tuple[int, Episode]]
) -> None:
    other = [(3, tried[0][1]), (9, tried[1][1])]
    made = stage("replay-0", which, other, expert=False)
    assert [name.split(",")[0] for name in made.names] == ["seed 3"]
    assert "Left out: 1 episode whose actions, played again, did not lead to what was recorded." in made.note
    assert not made.expert
    gone = stage("replay-0", which, other[1:], expert=False)
    assert gone.json is None
    assert (
        gone.absent
        == "No 3-D replay: no episode came to what was recorded when its actions were played again."
    )


def test_where_nothing_can_be_shown_one_sentence_says_why(
    which: Task, tried: list[tuple[int, Episode]]
) -> None:
    for made, why in (
        (stage("r", which, [], expert=True), "There are no rollouts to play again."),
        (stage("r", None, tried, expert=True), "only built-in tasks can be played again"),
        (stage("r", task("pendulum"), tried, expert=True), "its actions are not those of task 'pendulum'"),
        (stage("r", task("CartPole-v1"), tried, expert=True), "nobody has drawn the task 'CartPole-v1'"),
        (stage("r", which, [(3, short(True, 4))], expert=True), "actions are not those"),
    ):
        assert made.json is None
        assert why in made.absent
        assert made.absent.endswith(".")
        assert "\n" not in made.absent


def test_a_long_clip_is_thinned() -> None:
    hopper = task("hopper")
    env = hopper.make()
    episode = rollout(env, Still(hopper), 1, max_steps=300)
    env.close()
    frames = spec_in(stage("r", hopper, [(1, episode)], expert=False))["episodes"][0][0]["frames"]
    assert frames == min(len(episode) + 1, 240)


class Still:
    """Does nothing."""

    name = "still"

    def __init__(self, which: Task) -> None:
        self.width = which.action.width

    def reset(self, seed: int) -> None: ...

    def act(self, obs: Any) -> Any:
        return np.zeros(self.width, np.float32)


# In the page


def run_of(name: str, which: Task, tried: Sequence[tuple[int, Episode]]) -> Run:
    outcomes = tuple(Outcome(s, e.success, e.total_reward, len(e), e.terminated, 0.0) for s, e in tried)
    report = Report("policy", which.name, outcomes, "m", 1.0, None, provenance(["understudy"]))
    facts = {"task": which.name, "algorithm": "bc"}
    return Run(Path(name), name, facts, evaluations={"policy": report}, rollouts=Dataset(e for _, e in tried))


@pytest.fixture(scope="module")
def page(which: Task, tried: list[tuple[int, Episode]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    patch = pytest.MonkeyPatch()
    patch.setattr("understudy.report.page.strips", lambda run: ([], "No pictures."))
    text = render([run_of("one", which, tried)], title=None, films=True)
    both = render([run_of("one", which, tried), run_of("two", which, tried)], title=None, films=True)
    patch.undo()
    folder = tmp_path_factory.mktemp("pages")
    (folder / "both.html").write_text(both, encoding="utf-8")
    (folder / "report.html").write_text(text, encoding="utf-8")
    return folder / "report.html"


def test_the_page_is_whole_and_of_bounded_size(page: Path) -> None:
    text = page.read_text("utf-8")
    assert len(text) < 1_500_000
    assert text.count('data-replay="replay-0"') == 1
    assert "The 3-D replay needs JavaScript" in text
    both = page.with_name("both.html").read_text("utf-8")
    assert both.count('data-replay="replay-') == 2
    assert both.count('id="scene-') == 1, "runs of one task share their geometry"
    assert len(both) < len(text) + 100_000


def test_a_page_without_a_replay_carries_no_script_for_it(
    which: Task, tried: list[tuple[int, Episode]]
) -> None:
    text = render([run_of("one", which, tried)], title=None, films=False)
    assert "data-replay" not in text
    assert len(text) < 300_000


browser = pytest.fixture(scope="module", name="browser")(browsing)


def shot(tab: Any) -> Any:
    """The canvas as the eye sees it, once it has settled, [H, W, 3]."""
    import io

    from PIL import Image

    tab.wait_for_timeout(700)
    raw = tab.locator(".replay canvas").screenshot()
    return np.asarray(Image.open(io.BytesIO(raw)).convert("RGB"), np.int64)


def told(tab: Any, step: str) -> None:
    """Waits until the clock says so."""
    tab.locator(".replay output", has_text=step).wait_for(timeout=60_000)


def test_the_replay_draws_plays_and_scrubs_from_a_file_without_a_network(page: Path, browser: Any) -> None:
    context = browser.new_context(viewport={"width": 700, "height": 700}, offline=True)
    tab = context.new_page()
    errors: list[str] = []
    asked: list[str] = []
    tab.on("pageerror", lambda e: errors.append(str(e)))
    tab.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    tab.on("request", lambda r: asked.append(r.url))
    tab.goto(page.as_uri())
    tab.locator("figure.replay").scroll_into_view_if_needed()
    slider = tab.locator(".replay input[type=range]")
    told(tab, "step 0 of 12")
    first = shot(tab)
    assert len(np.unique(first.reshape(-1, 3), axis=0)) > 50, "there is a picture"
    slider.focus()
    tab.keyboard.press("End")
    told(tab, "step 12 of 12")
    moved = shot(tab)
    assert (np.abs(moved - first).sum(-1) > 30).mean() > 0.002, "the arm is elsewhere"
    tab.locator(".replay .ghost").check()
    beside = shot(tab)
    assert (np.abs(beside - moved).sum(-1) > 30).mean() > 0.002, "the expert stands beside it"
    tab.locator(".replay .ghost").uncheck()
    tab.keyboard.press("Tab")
    slider.focus()
    tab.keyboard.press("Home")
    assert (np.abs(shot(tab) - first).sum(-1) > 30).mean() < 0.0005, "back where it was"
    tab.locator(".replay canvas").focus()
    for _ in range(4):
        tab.keyboard.press("Shift+ArrowRight")
    assert (np.abs(shot(tab) - first).sum(-1) > 30).mean() > 0.02, "the picture turns"
    tab.locator(".replay .play").click()
    told(tab, "step 12 of 12")
    assert errors == []
    assert asked == [page.as_uri()]
    context.close()


# The view itself, by way of the page that holds one

GRIP = "() => document.querySelector('figure.replay').replay.view.handle.grip.position.toArray()"
HAND = """() => {  // where the handle's middle is on the screen
  const { view } = document.querySelector("figure.replay").replay;
  const at = view.handle.grip.position.clone().project(view.camera);
  const box = view.canvas.getBoundingClientRect();
  return [box.left + (at.x + 1) / 2 * box.width, box.top + (1 - at.y) / 2 * box.height];
}"""


@pytest.fixture
def tab(page: Path, browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 600, "height": 640})
    opened = context.new_page()
    opened.goto(page.as_uri())
    opened.locator("figure.replay").scroll_into_view_if_needed()
    told(opened, "step 0 of 12")
    yield opened
    context.close()


def test_the_hand_is_dragged_and_let_go(tab: Any) -> None:
    tab.evaluate("""() => {
      window.dragged = [];
      const { replay } = document.querySelector("figure.replay");
      replay.view.onDrag((...to) => window.dragged.push(to));
      replay.draw();
    }""")
    tab.wait_for_timeout(500)
    x, y = tab.evaluate(HAND)
    start = tab.evaluate(
        "() => document.querySelector('figure.replay').replay.view.handle.grip.position.toArray()"
    )
    tab.mouse.move(x, y - 30)  # on the arrow that points up
    tab.wait_for_timeout(100)
    tab.mouse.down()
    for dy in (45, 60, 75):
        tab.mouse.move(x, y - dy)
        tab.wait_for_timeout(100)
    tab.mouse.up()
    *moves, last = tab.evaluate("() => window.dragged")
    assert last == [None], "let go"
    assert len(moves) >= 2
    assert moves[-1][2] > start[2] + 0.02, "upwards"
    assert np.allclose(moves[-1][:2], start[:2], atol=1e-6), "along the arrow and nowhere else"
    again = tab.evaluate(
        "() => document.querySelector('figure.replay').replay.view.handle.grip.position.toArray()"
    )
    assert np.allclose(again, start), "the handle is back at the hand, which nobody moved"


def test_poses_are_joined_unless_they_jump(tab: Any) -> None:
    places = tab.evaluate("""async () => {
      const { view } = document.querySelector("figure.replay").replay;
      const from = view.shown.slice(), to = from.slice(), row = 7 * view.head.hand, found = [];
      to[row] = from[row] + 1;
      const shown = () => view.shown[row] - from[row];
      const wait = (ms) => new Promise((done) => setTimeout(done, ms));
      view.setPoses(from, 0); view.render();
      await wait(120);
      view.setPoses(from, 40); view.render();
      await wait(120);
      view.setPoses(to, 80); view.render();
      found.push(shown());            // only just begun
      await wait(400); view.render();
      found.push(shown());            // there
      view.setPoses(from, 0); view.render();
      found.push(shown());            // time went back: a reset shows at once
      view.setPoses(to); view.render();
      found.push(shown());            // without a time, too
      return found;
    }""")
    assert 0 <= places[0] < 0.9
    assert np.allclose(places[1:], [1, 0, 1], atol=1e-5)


def test_a_lost_drawing_context_comes_back(tab: Any) -> None:
    before = shot(tab)
    lost = tab.evaluate("""async () => {
      const { view } = document.querySelector("figure.replay").replay;
      const loss = view.renderer.getContext().getExtension("WEBGL_lose_context");
      const heard = (name) => new Promise((done) => view.canvas.addEventListener(name, done, { once: true }));
      const gone = heard("webglcontextlost");
      loss.loseContext();
      await gone;
      await new Promise((done) => setTimeout(done, 100));
      const drew = view.render();
      const back = heard("webglcontextrestored");
      loss.restoreContext();
      await back;
      return [drew, view.lost];
    }""")
    assert lost == [False, False]
    assert (np.abs(shot(tab) - before).sum(-1) > 30).mean() < 0.001


def test_bytes_that_are_no_scene_are_refused(tab: Any) -> None:
    said = tab.evaluate("""async () => {
      const { view } = document.querySelector("figure.replay").replay;
      const head = (text) => {
        const json = new TextEncoder().encode(text), out = new Uint8Array(8 + json.length);
        out.set([77, 74, 83, 49]);
        new DataView(out.buffer).setUint32(4, json.length, true);
        out.set(json, 8);
        return out.buffer;
      };
      const box = { low: [0, 0, 0], high: [1, 1, 1] };
      const mesh = { count: 3, places: [0, 18], normals: [0, 9], faces: [0, 6], ...box };
      const cut = JSON.stringify({ meshes: [mesh], textures: [] }), found = [];
      const short = head("{}").slice(0, 9);
      for (const bytes of [new ArrayBuffer(0), new ArrayBuffer(64), short, head("nothing"), head(cut)])
        found.push(await view.load(bytes).then(() => "taken", (error) => error.message));
      return [found, view.head.bodies];
    }""")
    assert said[0][:3] == ["this is no scene", "this is no scene", "the scene is cut short"]
    assert "taken" not in said[0]
    assert said[1] == 20, "what was there before stays"


def test_without_webgl_the_page_says_so(page: Path, browser: Any) -> None:
    context = browser.new_context(viewport={"width": 700, "height": 700})
    tab = context.new_page()
    tab.add_init_script("HTMLCanvasElement.prototype.getContext = () => null;")
    tab.goto(page.as_uri())
    tab.locator("figure.replay").scroll_into_view_if_needed()
    said = tab.locator(
        ".replay .wait", has_text="The 3-D replay cannot be shown: this browser has no WebGL 2."
    )
    said.wait_for(timeout=30_000)
    assert tab.locator(".replay .play").is_disabled()
    context.close()


def test_without_a_script_no_dead_control_is_shown(page: Path, browser: Any) -> None:
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(page.as_uri())
    assert tab.get_by_text("Made by playing the recorded actions again").is_visible()
    for dead in ("canvas", ".play", "select.episode"):
        assert not tab.locator(f".replay {dead}").is_visible()
    context.close()
