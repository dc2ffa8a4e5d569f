"""The page about a dataset: it shows what was recorded and measured, trusts no text, and stays small."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from understudy import formats, storage
from understudy.cli import main
from understudy.dataset import Dataset
from understudy.episode import EXPERT, RECOVERY, Episode
from understudy.frames import Frames
from understudy.numerics import wilson
from understudy.quality import MEASURES, EpisodeQuality, Inspection, inspect
from understudy.report.data import Source, write_data_page
from understudy.report.data.closeup import _thin
from understudy.report.data.compare import _told_apart
from understudy.report.data.dims import groups
from understudy.report.data.gauges import gauges, standing_out
from understudy.report.data.ledger import ledger
from understudy.report.data.space import Components, scene
from understudy.report.data.survey import Survey, short
from understudy.report.motion import Look
from understudy.report.svg import number, percent

RNG = np.random.default_rng(0)
STEPS = 30


def reach(seed: int, *, steps: int = STEPS, noise: float = 0.02, pause: int = 0, **facts: Any) -> Episode:
    """A hand moves to a goal under a proportional controller; `pause` steps of rest in the middle."""
    rng = np.random.default_rng(seed)
    hand, goal = rng.uniform(-1, 1, 3), rng.uniform(-1, 1, 3)
    states, actions = [hand], []
    for t in range(steps):
        rest = steps // 2 <= t < steps // 2 + pause
        action = np.zeros(3) if rest else np.clip(2 * (goal - hand) + noise * rng.normal(size=3), -1, 1)
        hand = hand + 0.1 * action
        states.append(hand)
        actions.append(action)
    obs = {
        "hand_pos": np.stack(states),
        "state": np.hstack([np.stack(states), np.tile(goal, (steps + 1, 1))]),
    }
    known: dict[str, Any] = {"task": "reach out", "operator": "ann"} | facts
    success = known.pop("success", True)
    time = known.pop("time", None)
    reward = -np.linalg.norm(np.stack(states)[1:] - goal, axis=1)
    return Episode.demonstration(obs, np.stack(actions), reward, success=success, meta=known, time=time)


def recording(count: int = 24) -> Dataset:
    """Two operators; episode 3 shakes, 7 rests, 11 failed, 15 has a hole in its time."""
    listed = []
    for i in range(count):
        time = np.arange(STEPS + 1) / 20 + np.random.default_rng(i).uniform(0, 0.001, STEPS + 1)
        facts: dict[str, Any] = {"operator": "bo" if i % 3 == 0 else "ann", "time": time}
        facts |= {"started": f"2026-03-0{1 + i // 12}T10:00:00Z"}
        facts |= {3: {"noise": 1.0}, 7: {"pause": 10}, 11: {"success": False}}.get(i, {})
        if i == 15:
            facts["time"] = time + 0.7 * (np.arange(STEPS + 1) > 18)
        listed.append(reach(i, **facts))
    return Dataset(listed)


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, text, scripts and styles."""

    VOID = frozenset({"meta", "br", "img", "input", "col", "link", "hr"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html, self.stack, self.words = html, [], []  # type: ignore[var-annotated]
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.styles: list[str] = []
        self.feed(html)
        self.close()
        assert not self.stack, f"never closed: {self.stack}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"{tag} names an attribute twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.stack.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif self.stack and self.stack[-1] == "style":
            self.styles.append(data)
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [a for t, a in self.elements if t == tag]


def page_of(data: Dataset, out: Path, found: Inspection | None = None, **source: Any) -> Page:
    about = Source(**({"name": "reaches", "layout": "a layout", "fps": 20.0} | source))
    path = write_data_page(data, found or inspect(data, bounds=about.bounds), about, out / "page.html")
    return Page(path.read_text(encoding="utf-8"))


def surveyed(data: Dataset, **source: Any) -> Survey:
    about = Source(**({"name": "reaches", "fps": 20.0} | source))
    return Survey(data, inspect(data, bounds=about.bounds), about)


def repeated(count: int) -> tuple[Dataset, Inspection]:
    """Twenty short episodes over and over, by nine operators, and what an inspection of them might say."""
    few = [reach(i, steps=12, operator=f"op {i % 9}", success=i % 11 > 0) for i in range(20)]
    data = Dataset(few[i % 20] for i in range(count))
    quality = inspect(Dataset(few))
    rows = tuple(replace(quality.episodes[i % 20], index=i) for i in range(count))
    return data, replace(quality, episodes=rows, steps=data.steps)


BOUNDS = (-np.ones(3, np.float32), np.ones(3, np.float32))


@pytest.fixture(scope="module")
def data() -> Dataset:
    return recording()


@pytest.fixture(scope="module")
def found(data: Dataset) -> Inspection:
    return inspect(data, bounds=BOUNDS)


@pytest.fixture(scope="module")
def page(data: Dataset, found: Inspection, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page_of(data, tmp_path_factory.mktemp("page"), found, bounds=BOUNDS, robot="arm")


# What was done, by whom, how well


def test_the_head_says_what_was_done_by_whom_and_how_well(data: Dataset, page: Page) -> None:
    heading = re.search(r"<h1>(.*?)</h1>", page.html, re.S)
    assert heading is not None
    said = re.sub(r"<.*?>", "", heading[1])
    assert said == "24 demonstrations of “reach out”, recorded by ann and bo: 23 of 24 succeeded."
    facts = dict(re.findall(r"<dt>([^<]*)</dt><dd[^>]*>([^<]*)<", page.html))
    e = wilson(23, 24)
    assert facts["success"] == percent(e.value)
    assert f"[{percent(e.low)[:-2]}, {percent(e.high)[:-2]}]" in page.html
    assert (facts["episodes"], facts["steps"], facts["robot"]) == ("24", number(data.steps), "arm")
    assert facts["rate"] == "20 Hz"
    assert "2026-03-01 to 2026-03-02" in page.text
    assert data.fingerprint() in page.text


def test_a_built_in_task_is_explained_and_its_expert_is_called_one(tmp_path: Path) -> None:
    named = Dataset(replace(reach(i), meta={"task": "fetch-reach", "operator": "expert"}) for i in range(3))
    text = page_of(named, tmp_path).text
    assert "3 demonstrations of fetch-reach, recorded by the scripted expert: all succeeded" in text
    assert "move the hand of a Fetch robot to a point in the air" in text
    several = Dataset(replace(e, meta={"task": f"t{i}"}) for i, e in enumerate(named))
    assert "3 demonstrations of “t0”, “t1” and “t2”: all succeeded" in page_of(several, tmp_path).text


def test_the_worst_are_named_first_with_reasons_and_links(found: Inspection, page: Page) -> None:
    worst = [w.index for w in standing_out(found, gauges(found))]
    assert {3, 7, 11, 15} <= set(worst), "the planted faults are among them"
    first = worst[:6]
    box = re.search(r'<ol class="first">(.*?)</ol>', page.html, re.S)
    assert box is not None
    assert [int(i) for i in re.findall(r'href="#c(\d+)"', box[1])] == first
    call = re.search(r'<p class="call warning">(.*?)</p>', page.html, re.S)
    assert call is not None
    assert [int(i) for i in re.findall(r'href="#e(\d+)"', call[1])] == first
    for w in standing_out(found, gauges(found))[:6]:
        for reason in w.reasons[:5]:
            assert reason.replace(" -", " −") in page.text.replace("(-", "(−")


def test_every_finding_is_shown_with_its_advice(found: Inspection, page: Page) -> None:
    assert len(page.all("article")) >= len(found.findings) > 2
    for f in found.findings:
        assert f"{f.evidence.rstrip('…')}" in page.text
        assert f"{f.advice}." in page.text
    assert "…." not in page.text


def test_nothing_to_say_is_said(tmp_path: Path) -> None:
    calm = Dataset(reach(i) for i in range(12))
    found = replace(inspect(calm), findings=(), worst=())
    page = page_of(calm, tmp_path, found)
    assert "Fit to train on" in page.text
    assert "No demonstration stands out" in page.text
    assert "Nothing suspicious was found in the dataset as a whole" in page.text


def test_an_error_means_not_fit_to_train_on(tmp_path: Path) -> None:
    silent = [replace(reach(i), labelled=np.zeros(STEPS, np.bool_)) for i in range(3)]
    assert "Not fit to train on as it is: no step is labelled" in page_of(Dataset(silent), tmp_path).text


# The table and the measures


def test_the_table_holds_every_measure_of_every_episode_worst_first(
    data: Dataset, found: Inspection, page: Page
) -> None:
    rows = re.findall(r'<tr id="e(\d+)"[^>]*>(.*?)</tr>', page.html, re.S)
    worst = [w.index for w in standing_out(found, gauges(found))]
    worst += [w.index for w in found.worst if w.index not in worst]
    assert [int(i) for i, _ in rows] == [*worst, *(i for i in range(len(data)) if i not in worst)]
    heads = re.findall(r'<button type="button" title="[^"]*">([^<]*)</button>', page.html)
    constant = page.text.split("The same in every episode: ")[1]
    for name in {k for e in found.episodes for k in e.measures} - {"length"}:
        title = MEASURES[name].title
        if title not in heads:
            assert title in constant
            continue
        at = heads.index(title)
        for i, row in rows:
            cells = re.findall(r'<td data-value="([^"]*)"', row)
            assert len(cells) == len(heads)
            value = found.episodes[int(i)].measures.get(name)
            assert cells[at] == ("" if value is None else f"{value:.7g}")


def test_values_are_coloured_where_the_inspection_says_that_they_stand_out(data: Dataset) -> None:
    survey = surveyed(data, bounds=BOUNDS)
    coloured = {line.index for line in ledger(survey).lines if any(" z" in kind for kind, _ in line.cells)}
    outliers = {f.kind: f.episodes for f in survey.found.findings if "stands out in" in f.evidence}
    assert len(outliers) > 2
    for g in survey.gauges:
        assert set(outliers.get(g.name, ())) <= set(np.flatnonzero(g.level).tolist())
    assert {3, 7, 15} <= coloured


def test_a_measure_that_the_table_does_not_know_is_shown_too(data: Dataset, tmp_path: Path) -> None:
    found = inspect(data)
    extra = tuple(
        EpisodeQuality(e.index, e.steps, e.success, dict(e.measures) | {"shine_level": float(e.index)})
        for e in found.episodes
    )
    page = page_of(data, tmp_path, replace(found, episodes=extra))
    assert ">shine level</button>" in page.html
    assert "<h4>shine level</h4>" in page.html


def test_the_longest_table_is_cut_and_says_so(tmp_path: Path) -> None:
    data, found = repeated(600)
    table = ledger(Survey(data, found, Source("many")))
    assert len(table.lines) + table.left_out == 600
    assert len(table.lines) <= 500
    page = page_of(data, tmp_path, found)
    assert f"{number(table.left_out)} more episodes, further down in rank, are left out" in page.text


def test_ticks_of_a_narrow_axis_are_told_apart() -> None:
    for ticks, share, said in (
        ([0.998, 0.9985, 0.999], False, ["0.998", "0.9985", "0.999"]),
        ([0.02, 0.025, 0.03], True, ["2\u202f%", "2.5\u202f%", "3\u202f%"]),
        ([1.0, 2.0], False, ["1", "2"]),
    ):
        assert list(map(_told_apart(ticks, share=share), ticks)) == said


def test_operators_are_compared(data: Dataset, page: Page) -> None:
    table = re.search(r'<table class="medians">(.*?)</table>', page.html, re.S)
    assert table is not None
    rows = re.findall(r"</span>([^<]*)</th>(.*?)</tr>", table[1], re.S)
    assert [(who, re.findall(r">([^<]*)</td>", cells)[0]) for who, cells in rows] == [
        ("ann", "16"),
        ("bo", "8"),
    ]
    assert "15 of 16" in page.html


def test_one_operator_is_compared_with_nobody(tmp_path: Path) -> None:
    page = page_of(Dataset(reach(i) for i in range(12)), tmp_path)
    assert "Operators" not in re.findall(r"<h2>(.*?)</h2>", page.html)
    assert len(viewer_json(page)["colourings"]) == 1


# Moments, dimensions, lanes


def test_marks_stand_where_it_happened_and_agree_with_the_measures(data: Dataset) -> None:
    survey = surveyed(data, bounds=BOUNDS)
    for i, (m, e) in enumerate(zip(survey.moments, survey.found.episodes, strict=True)):
        assert m.masks["paused"].mean() == pytest.approx(e.measures["paused"])
        assert m.masks["gap"].sum() == e.measures["gaps"]
        assert set(m.masks) == {"paused", "limit", "frozen", "gap"}
        assert bool(m.frozen) == m.masks["frozen"].any() == (e.measures["frozen"] >= 0.3)
        assert all(len(mask) == len(data[i]) for mask in m.masks.values())
    assert survey.moments[7].masks["paused"][STEPS // 2 : STEPS // 2 + 10].all()
    assert np.flatnonzero(survey.moments[15].masks["gap"]).tolist() == [18]
    at_limit = (np.abs(data[0].action) >= 1 - 1e-5).any(1)
    assert at_limit.any()
    assert (survey.moments[0].masks["limit"] == at_limit).all()


def test_who_drove_is_drawn_where_somebody_noted_it(data: Dataset, page: Page, tmp_path: Path) -> None:
    held = np.zeros(STEPS, int)
    held[5:8], held[8:12] = RECOVERY, EXPERT
    episodes = [replace(e, control=held) if i == 7 else e for i, e in enumerate(data)]
    survey = surveyed(Dataset(episodes))
    for i, m in enumerate(survey.moments):
        assert np.flatnonzero(m.drivers["recovery"]).tolist() == ([5, 6, 7] if i == 7 else [])
        assert np.flatnonzero(m.drivers["expert"]).tolist() == ([8, 9, 10, 11] if i == 7 else [])
    drawn = page_of(survey.data, tmp_path, survey.found)
    strips = [a for a in drawn.all("rect") if str(a.get("class")).startswith("driver ")]
    # Episode 7 is shown step by step, in four charts. Both strips stand where they should on its clock.
    clock = (survey.episodes[7].time - survey.episodes[7].time[0]) / np.ptp(survey.episodes[7].time) * 100
    want = {"driver recovery": clock[[5, 8]], "driver expert": clock[[8, 12]]}
    assert [a["class"] for a in strips] == ["driver expert", "driver recovery"] * 4
    for a in strips:
        left, right = want[str(a["class"])]
        assert float(str(a["x"])) == pytest.approx(left, abs=0.01)
        assert float(str(a["width"])) == pytest.approx(right - left, abs=0.02)
    edges = {a["class"]: a["d"] for a in drawn.all("path") if str(a.get("class")).startswith("driver ")}
    high = 100 / (1.14 * STEPS)
    for who, (a, b) in {"driver recovery": (5, 8), "driver expert": (8, 12)}.items():
        assert edges[who] == f"M7.73 {100 - a * high:.1f}h.18V{100 - b * high:.1f}h-.18z"
    assert "the expert, on the way back in 3 steps" in drawn.text
    assert "driven by the expert 23 % interventions: 1 an episode" in drawn.text.replace("\u202f", " ")
    assert not [a for _, a in page.elements if "driver" in str(a.get("class"))]
    assert "expert drives" not in page.text


def test_a_frozen_value_is_marked_and_drawn(tmp_path: Path) -> None:
    episodes = [reach(i) for i in range(14)]
    states = np.array(episodes[5].obs["state"])
    states[6:, 1] = states[6, 1]
    episodes[5] = replace(episodes[5], obs={"hand_pos": episodes[5].obs["hand_pos"], "state": states})
    data = Dataset(episodes)
    survey = surveyed(data)
    assert [dict(m.frozen) for m in survey.moments] == [{"state": (1,)} if i == 5 else {} for i in range(14)]
    assert np.flatnonzero(survey.moments[5].masks["frozen"]).tolist() == list(range(6, STEPS))
    text = page_of(data, tmp_path, survey.found).text
    assert "Frozen: [1]." in text
    assert "a frozen value" in text


def test_distributions_show_the_quantiles_and_the_limits(data: Dataset) -> None:
    shown = {r.name: r for g in groups(surveyed(data, bounds=BOUNDS)) for r in g.rows}
    assert len(shown) == 3 + 3 + 6
    actions = np.concatenate([e.action for e in data])
    for d in range(3):
        row = shown[f"action[{d}]"]
        assert row.median == number(round(float(np.median(actions[:, d])), 2) + 0.0)
        assert str(row.mark).count('class="bound"') == 2
        assert f"limits {number(-1)} and 1" in str(row.mark)
    assert "bound" not in str(shown["state[0]"].mark)


def test_a_histogram_has_the_counts(tmp_path: Path) -> None:
    values = np.repeat([0.0, 1.0, 2.0], [10, 40, 20])[:, None]
    one = Episode.demonstration(np.concatenate([values, values[-1:]]), np.zeros((70, 1)), success=True)
    group = next(g for g in groups(surveyed(Dataset([one, one]))) if g.key == "state")
    path = re.search(r' d="([^"]*)" class="hist"', str(group.rows[0].mark))
    assert path is not None
    heights = [100 - int(v) for v in re.findall(r"V(\d+)", path[1])]
    assert sorted(set(heights)) == [0, round(100 * 10 / 40), round(100 * 21 / 40), 100]


def test_what_never_changes_is_marked_and_many_dimensions_are_cut(tmp_path: Path) -> None:
    wide = RNG.normal(size=(3, 9, 90))
    wide[:, :, 5] = 3.0
    data = Dataset(Episode.demonstration({"joints": s}, s[:-1, :2]) for s in wide)
    page = page_of(data, tmp_path)
    table = re.findall(r"<tr[^>]*><th scope=\"row\">joints\[\d+\]</th>", page.html)
    assert len(table) == 64
    assert table[5].startswith('<tr class="constant">')
    assert "26 more dimensions are left out" in page.text


def test_a_thinned_line_keeps_its_extremes() -> None:
    line = RNG.normal(size=5000)
    kept = _thin(line)
    assert kept == sorted(set(kept))
    assert len(kept) <= 302
    assert {0, 4999, int(line.argmin()), int(line.argmax())} <= set(kept)
    assert _thin(line[:40]) == list(range(40))


def test_lanes_are_over_measured_time_where_there_is_one(data: Dataset, page: Page, tmp_path: Path) -> None:
    assert "seconds, measured" in page.html
    bare = Dataset(replace(e, time=None) for e in data)
    nominal = page_of(bare, tmp_path).html
    assert "seconds, measured" not in nominal
    assert ">seconds</text>" in nominal
    counted = page_of(bare, tmp_path, fps=None).html
    assert ">seconds</text>" not in counted


# Trajectories


def viewer_json(page: Page) -> dict[str, Any]:
    [text] = [text for attrs, text in page.scripts if attrs.get("type") == "application/json"]
    value: dict[str, Any] = json.loads(text)
    return value


def test_the_viewers_paths_are_the_episodes(data: Dataset, found: Inspection, page: Page) -> None:
    spec = viewer_json(page)
    low, high = np.array(spec["low"]), np.array(spec["high"])
    points = np.frombuffer(base64.b64decode(spec["data"]), "<u2").reshape(-1, 3)
    values = low + points / 65535 * (high - low)
    assert len(spec["paths"]) == len(data)
    at = 0
    for (_, name, steps, count, goal, _), e in zip(spec["paths"], data, strict=True):
        assert (steps, goal) == (len(e), 0)
        where = np.floor(np.arange(count) * steps / (count - 1) + 0.5).astype(int)
        off = np.abs(values[at : at + count] - e.obs["hand_pos"][where]).max()
        assert off <= (high - low).max() / 65535, name
        at += count
    outcome, operator = spec["colourings"]
    first = {w.index for w in standing_out(found, gauges(found))[:6]}
    told = ["worst" if i in first else "success" if e.success else "failure" for i, e in enumerate(data)]
    assert outcome["kinds"] == told
    assert operator["kinds"] == ["r2" if e.meta["operator"] == "bo" else "r0" for e in data]
    assert operator["words"]["r0"] == ["ann", "ann"]
    assert "taken for a position because of its name" in page.text


def test_without_a_place_the_largest_principal_components_are_drawn() -> None:
    rng = np.random.default_rng(1)
    mixing = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    hidden = [rng.normal(size=(41, 6)) * [5, 3, 0.1, 0.1, 0.1, 0] for _ in range(8)]
    data = Dataset(Episode.demonstration({"joints": h @ mixing}, h[:-1, :1]) for h in hidden)
    found = scene(None, data)
    assert found is not None
    assert isinstance(found.view, Components)
    assert "two largest principal components of all 6 observed values" in found.note
    states = np.concatenate([e.obs["joints"] for e in data]).astype(np.float64)
    values = np.linalg.eigvalsh(np.corrcoef(states.T))[::-1]
    np.testing.assert_allclose(found.view.share, values[:2] / 6, rtol=1e-6)
    paths = np.concatenate([found.view.path(e) for e in data])
    np.testing.assert_allclose(paths.var(0), values[:2], rtol=1e-4)
    np.testing.assert_allclose(paths.mean(0), 0, atol=1e-4)
    axes = found.view.axes
    assert (axes[np.abs(axes).argmax(0), [0, 1]] > 0).all(), "one sign on every machine"


@pytest.mark.parametrize(
    ("obs", "key"),
    [
        ({"robot0_eef_pos": 3, "joints": 7}, "robot0_eef_pos"),
        ({"achieved_goal": 3, "desired_goal": 3, "x_pos": 3}, "achieved_goal"),
        ({"compose": 3, "deposit": 2, "joints": 7}, None),
        ({"position": 4, "joints": 2}, None),
    ],
)
def test_a_position_is_known_by_its_name_and_width(obs: dict[str, int], key: str | None) -> None:
    episode = Episode.demonstration({k: RNG.normal(size=(9, w)) for k, w in obs.items()}, np.ones((8, 1)))
    found = scene(None, Dataset([episode]))
    assert found is not None
    assert (found.view.key if isinstance(found.view, Look) else None) == key


# Pictures


class Counted(Frames):
    """Grey pictures whose shade is their number, and how many were ever decoded."""

    def __init__(self, count: int) -> None:
        super().__init__((count, 48, 64, 3))
        self.decoded = 0

    def fill(self, rows: np.ndarray[Any, Any], out: np.ndarray[Any, Any]) -> None:
        self.decoded += len(rows)
        out[:] = rows[:, None, None, None].astype(np.uint8) * 5


def test_few_pictures_are_decoded_and_they_are_the_right_ones(tmp_path: Path) -> None:
    from PIL import Image

    films = [Counted(STEPS + 1) for _ in range(30)]
    data = Dataset(replace(reach(i), obs={**reach(i).obs, "front": f}) for i, f in enumerate(films))
    found = inspect(data)
    for f in films:
        f.decoded = 0
    page = page_of(data, tmp_path, replace(found, worst=()))
    images = page.all("img")
    assert len(images) == 7
    assert sum(f.decoded for f in films) <= 7 + 24
    steps = [int(s) for s in re.findall(r"<figcaption>step (\d+)</figcaption>", page.html)]
    assert (steps[0], steps[-1]) == (0, STEPS)
    for a, step in zip(images, steps, strict=True):
        uri = a["src"] or ""
        picture = Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))))
        assert picture.size == (64, 48)
        assert np.asarray(picture).mean() == pytest.approx(5 * step, abs=2)
        assert "front" in (a["alt"] or "")
    assert "pixels of 24 pictures" in page.text


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pictures_of_any_channels_are_shown_within_a_bound(tmp_path: Path, channels: int) -> None:
    loud = RNG.integers(0, 256, (6, 300, 400, channels), np.uint8)
    cameras = {f"camera {k}": loud for k in range(4)}
    data = Dataset(Episode.demonstration(cameras, np.ones((5, 1)), success=True) for _ in range(2))
    page = page_of(data, tmp_path)
    assert page.all("img")
    assert "1 more camera is not shown" in page.text
    assert len(page.html) < 3_000_000
    assert "Nothing but pictures was observed" in page.text


# Hostile text, and what the page promises


EVIL = "</script></style></title><script>alert(1)</script><img src=x onerror=alert(2)>'\"&\u202e\u2028\x00"


def test_text_from_the_data_is_shown_as_text_and_never_runs(tmp_path: Path) -> None:
    calm = Dataset(reach(i, operator=f"o{i % 2}") for i in range(12))
    bad = Dataset(
        replace(
            e,
            obs={EVIL + "pos": e.obs["hand_pos"], "x" * 3000: e.obs["state"]},
            meta={"task": EVIL + "t" * 9000, "operator": f"{EVIL}{i % 2}" + "o" * 9000, "started": EVIL},
        )
        for i, e in enumerate(calm)
    )
    evil, good = page_of(bad, tmp_path, name=EVIL, robot=EVIL, layout=EVIL), page_of(calm, tmp_path)
    assert "</script></style></title><script>alert" in evil.text, "it stands there to be read"
    assert len(evil.scripts) == len(good.scripts)
    assert not evil.all("img")
    assert not any(k.startswith("on") or k == "style" for _, attrs in evil.elements for k in attrs)
    assert not any(c in evil.html for c in "\u202e\u2028\x00")
    assert "o" * 100 not in evil.html
    assert len(evil.html) < 500_000
    blocks = [text for attrs, text in evil.scripts if attrs]
    assert all("<" not in text for text in blocks)


def test_long_names_are_shortened() -> None:
    assert short("a" * 41) == "a" * 39 + "…"
    assert short(" a\n b\u202e ") == "a b\ufffd"


def test_the_page_fetches_nothing_and_its_policy_forbids_it(page: Page) -> None:
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv"))
    rules = dict(r.split(" ", 1) for r in (policy or "").split("; "))

    def digest(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    script = next(text for attrs, text in page.scripts if not attrs)
    assert rules == {
        "default-src": "'none'", "style-src": digest(page.styles[0]), "script-src": digest(script),
        "img-src": "data:", "base-uri": "'none'", "form-action": "'none'",
    }  # fmt: skip
    assert len(page.styles) == 1
    for tag, attrs in page.elements:
        assert tag not in {"link", "iframe", "object", "embed", "base", "form"}
        assert not any(k.startswith("on") or k == "style" for k in attrs), f"{tag} {attrs}"
        for name in ("src", "href", "xlink:href", "srcset", "action"):
            assert (attrs.get(name) or "#").startswith(("#", "data:image/")), f"{tag} {attrs}"
    assert "url(" not in page.styles[0]
    assert "@import" not in page.styles[0]
    assert not re.search(r"https?://", page.html)


def test_links_lead_somewhere_and_charts_have_words(page: Page) -> None:
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert {(a["href"] or "")[1:] for a in page.all("a")} <= set(ids)
    figures = [a for a in page.all("svg") if a.get("role") == "img"]
    assert len(figures) > 30
    assert all(a.get("aria-label") for a in figures)
    assert page.all("html") == [{"lang": "en"}]
    assert "<noscript><svg" in page.html


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_script_is_javascript(tmp_path: Path, page: Page) -> None:
    file = tmp_path / "page.js"
    file.write_text(next(text for attrs, text in page.scripts if not attrs))
    subprocess.run(["node", "--check", str(file)], check=True, timeout=60)


def test_a_thousand_episodes_make_a_small_page_that_says_what_it_leaves_out(tmp_path: Path) -> None:
    data, found = repeated(1000)
    page = page_of(data, tmp_path, found)
    assert len(page.html.encode()) < 3_000_000
    assert "360 of 1 000 episodes are drawn" in page.text
    assert "400 of 1 000 episodes are marked" in page.text
    assert "5 others" in page.text


@pytest.mark.parametrize(
    "episodes",
    [
        [Episode.demonstration(np.zeros((2, 1)), np.zeros((1, 1)))],
        [Episode.demonstration(np.zeros((2, 1)), np.array([[1]]), success=False)] * 2,
        [Episode.demonstration(np.ones((4, 2, 3)), np.ones((3, 2)), time=np.zeros(4))] * 3,
        [Episode.demonstration({"depth": np.zeros((4, 8, 8), np.uint8)}, np.ones((3, 1)))],
        [Episode.demonstration(1e-30 * np.arange(8.0).reshape(4, 2), 1e18 * np.arange(3.0))] * 4,
    ],
    ids=["one step", "choices", "nothing moves", "no camera, no numbers", "tiny and huge"],
)
def test_the_least_data_has_a_page(episodes: Sequence[Episode], tmp_path: Path) -> None:
    text = page_of(Dataset(episodes), tmp_path, fps=None).text
    assert f"{len(episodes)} demonstration" in text


# Writing it


def test_arguments_are_checked_and_a_page_appears_whole_or_not_at_all(
    data: Dataset, found: Inspection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="is a folder; the page is one file"):
        write_data_page(data, found, Source("x"), tmp_path)
    with pytest.raises(ValueError, match="the inspection is of 24 episodes with 720 steps"):
        write_data_page(data[:3], found, Source("x"), tmp_path / "a.html")
    old = tmp_path / "old.html"
    old.write_text("the old one")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("understudy.report.template.os.replace", full)
    with pytest.raises(OSError, match="No space"):
        write_data_page(data, found, Source("x"), old)
    assert [p.name for p in tmp_path.iterdir()] == ["old.html"]
    assert old.read_text() == "the old one"


def test_inspect_prints_and_writes_the_page(
    data: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    storage.write("reaches", data, fps=20, robot_type="arm")
    assert main(["inspect", "reaches", "--out", "deep/page.html"]) == 0
    out = capsys.readouterr().out
    said = "24 demonstrations of “reach out”, recorded by ann and bo: 23 of 24 succeeded."
    assert out.startswith(said)
    for said in ("24 episodes", "operator: ann (16), bo (8)", "rate: 20 Hz", "robot: arm", "look at episode"):
        assert said in out
    page = Page(Path("deep/page.html").read_text())
    assert "inspection of reaches" in page.text
    assert main(["inspect", "reaches", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["page"] == "inspection.html"
    assert Path("inspection.html").is_file()
    assert said["episodes"] == 24
    assert {3, 7, 11, 15} <= {w["index"] for w in said["worst"]}
    assert main(["inspect", "reaches", "--no-page", "--out", "none.html", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["page"] is None
    assert not Path("none.html").exists()
    assert main(["inspect", "reaches", "--out", "deep"]) == 2
    assert "is a folder" in capsys.readouterr().err


def test_inspect_says_who_drove(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    episodes = [reach(i, steps=10) for i in range(4)]
    storage.write(tmp_path / "plain", Dataset(episodes))
    held = [0, 1, 1, 0, 0, 2, 1, 1, 0, 0]
    episodes[1:3] = [replace(e, control=c) for e, c in zip(episodes[1:3], (held, [0] * 10), strict=True)]
    storage.write(tmp_path / "watched", Dataset(episodes))
    assert main(["inspect", str(tmp_path / "watched"), "--no-page"]) == 0
    line = "controls: policy 75.0%, expert 20.0%, recovery 5.0% of the steps (2 of 4 episodes say); "
    assert line + "interventions: 1 an episode, 2.5 steps long\n" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path / "watched"), "--no-page", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["supervision"]["interventions"] == 2
    assert main(["inspect", str(tmp_path / "plain"), "--no-page"]) == 0
    assert "controls" not in capsys.readouterr().out
    assert main(["inspect", str(tmp_path / "plain"), "--no-page", "--json"]) == 0
    assert "supervision" not in json.loads(capsys.readouterr().out)


def test_text_from_the_data_cannot_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    evil = "\x1b]0;owned\x07\x1b[2J[red]a\nlook at episode 7"
    obs = reach(0).obs
    named = [replace(reach(0), obs={"\x1b[2Jkey": obs["state"]}, meta={"operator": evil, "task": evil})] * 6
    storage.write("named", Dataset(named), fps=20, robot_type=evil)
    assert main(["inspect", "named", "--no-page"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "[red]a look at episode 7" in out, "it stands there to be read"
    assert "\nlook at episode 7" not in out


def test_the_names_that_a_lerobot_folder_gives_its_joints_are_shown(tmp_path: Path) -> None:
    samples = Path(__file__).parent / "data" / "lerobot_v3_video"
    assert main(["inspect", str(samples), "--out", str(tmp_path / "p.html")]) == 0
    html = (tmp_path / "p.html").read_text()
    assert html.count("<small>shoulder_pan.pos</small>") == 2, "of the state and of the action"
    assert '<li class="key r5"><i></i>gripper.pos</li>' in html
    storage.write(tmp_path / "bad", Dataset([reach(0)]), fps=20)
    info = tmp_path / "bad" / "meta" / "info.json"
    said = json.loads(info.read_text())
    for names in ({"motors": ["x", "y", "<z>"]}, ["one"], {"a": 1, "b": 2}, [1, 2, 3]):
        said["features"]["action"]["names"] = names
        info.write_text(json.dumps(said))
        assert main(["inspect", str(tmp_path / "bad"), "--out", str(tmp_path / "p.html")]) == 0
        fits = isinstance(names, dict) and "motors" in names
        assert ("<small>&lt;z&gt;</small>" in (tmp_path / "p.html").read_text()) == fits


def test_other_layouts_are_inspected_too(
    data: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    formats.write(tmp_path / "reaches.hdf5", data[:12], "robomimic")
    assert main(["inspect", str(tmp_path / "reaches.hdf5"), "--out", str(tmp_path / "p.html"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["episodes"] == 12
    assert formats.layout("robomimic").ABOUT in Page((tmp_path / "p.html").read_text()).text
