"""The report page: what it shows equals what was measured, nothing in it is trusted, nothing is fetched."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from understudy import storage
from understudy.dataset import Dataset
from understudy.episode import Episode
from understudy.evaluate import Outcome, Report, compare
from understudy.numerics import tracking, wilson
from understudy.provenance import provenance
from understudy.report import strips, write_report
from understudy.report.folder import load_run
from understudy.report.motion import Look, look, paths, viewer
from understudy.report.svg import percent

# Run folders that look like real ones: a block carried to a goal, sometimes dropped on the way.

HORIZON = 50


def carry(seed: int, skill: float, dims: int = 3) -> Episode:
    """One episode: start and goal follow from the seed alone, so that policies meet the same situations."""
    place = np.random.default_rng(seed)
    start = np.array([1.34, 0.75, 0.425])[:dims] + place.uniform(-0.15, 0.15, 3)[:dims] * [1, 1, 0][:dims]
    high = place.random() < 0.5
    goal = np.array([1.34, 0.75, 0.425])[:dims] + place.uniform(-0.15, 0.15, 3)[:dims] * [1, 1, 0][:dims]
    if dims == 3 and high:
        goal[2] += place.uniform(0.05, 0.45)
    luck = np.random.default_rng([seed, int(1000 * skill)])
    hard = 0.5 if start[0] > 1.42 else 1.0
    won = bool(luck.random() < skill * hard ** (1 - skill))
    steps = int(luck.integers(15, 26)) if won else HORIZON
    reach = 1.0 if won else luck.uniform(0.2, 0.8)
    share = np.minimum(np.linspace(0, 1.15, steps + 1), 1.0)[:, None] ** 1.5 * reach
    path = start + share * (goal - start)
    if dims == 3:
        path[:, 2] += 0.12 * np.sin(np.pi * np.minimum(share[:, 0], 1.0)) * (1.0 if won else 0.5)
    path[1:] += np.cumsum(luck.normal(0, 0.0012, path[1:].shape), axis=0)
    if not won and dims == 3:
        drop = steps // 2
        path[drop:, 2] = np.maximum(0.425, path[drop, 2] - 0.03 * np.arange(steps + 1 - drop))
    action = np.clip(np.diff(path, axis=0, append=path[-1:])[:steps] * 30, -1, 1)
    action = np.concatenate([action, np.sign(luck.normal(size=(steps, 1)))], axis=1)
    obs = {
        "achieved_goal": path,
        "desired_goal": np.repeat(goal[None], steps + 1, 0),
        "state": np.concatenate([path, luck.normal(0, 0.1, (steps + 1, 2))], axis=1),
    }
    reward = np.full(steps, -1.0)
    facts: dict[str, str | int | float] = {"seed": seed, "task": "fetch-pick-place", "operator": "expert"}
    return Episode.demonstration(obs, action, reward, terminated=won, success=won, meta=facts)


def report_of(
    name: str,
    episodes: Sequence[Episode],
    reference: Sequence[Episode] | None,
    task: str = "fetch-pick-place",
) -> Report:
    outcomes = []
    for i, e in enumerate(episodes):
        path, goal = e.obs["achieved_goal"], e.obs["desired_goal"]
        off = None if reference is None else tracking(path, reference[i].obs["achieved_goal"])
        outcomes.append(
            Outcome(
                seed=int(e.meta["seed"]),
                success=e.success,
                total_reward=e.total_reward,
                steps=len(e),
                terminated=e.terminated,
                start=float(path[0].sum()),
                tracking=off,
                goal_distance=float(np.linalg.norm(path[-1] - goal[-1])),
            )
        )
    return Report(name, task, tuple(outcomes), "m", 12.5, 12.0, provenance(["understudy", "evaluate", "run"]))


def write_evaluation(run: Path, report: Report, episodes: Sequence[Episode] | None) -> None:
    folder = run / "evaluations" / report.policy
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(report.to_json())
    if episodes is not None:
        storage.write(folder / "episodes", Dataset(episodes))


def metrics(count: int = 60, every: int = 100) -> list[dict[str, float]]:
    rng = np.random.default_rng(0)
    lines = []
    for i in range(1, count + 1):
        loss = 0.4 * np.exp(-i / 9) + 0.012
        line = {
            "step": i * every,
            "loss": float(loss * rng.lognormal(0, 0.06)),
            "seconds": round(0.21 * i, 3),
        }
        line["learning_rate"] = float(5e-4 * (1 + np.cos(np.pi * i / count)))
        if i % 2 == 0:
            line["validation"] = float(loss * 1.1 + 0.004 + 0.0001 * i)
        lines.append(line)
    return lines


def make_run(
    folder: Path,
    *,
    demos: int = 100,
    fresh: int = 200,
    skill: float = 0.9,
    dims: int = 3,
    task: str = "fetch-pick-place",
    curve: bool = True,
    baselines: Sequence[str] = ("expert", "nearest-neighbour", "zero"),
) -> dict[str, Any]:
    """Writes a whole run folder, and its demonstrations beside it; returns what run.json says."""
    data_folder = folder.parent / f"{folder.name}-demonstrations"
    data = Dataset(carry(seed, 0.97, dims) for seed in range(demos))
    folder.mkdir(parents=True)
    storage.write(data_folder, data)
    seeds = range(1_000_000, 1_000_000 + fresh)
    expert = [carry(s, 0.97, dims) for s in seeds]
    ours = [carry(s, skill, dims) for s in seeds]
    write_evaluation(folder, report_of("policy", ours, expert, task), ours)
    levels = {"nearest-neighbour": 0.45, "zero": 0.0}
    for name in baselines:
        episodes = expert if name == "expert" else [carry(s, levels[name], dims) for s in seeds]
        reference = None if name == "expert" else expert
        write_evaluation(folder, report_of(name, episodes, reference, task), None)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(m) + "\n" for m in metrics()))
    if curve:
        points = [(10, 0.07), (25, 0.66), (50, 0.9), (demos, skill)]
        listed = [
            {"episodes": n, "steps": 20 * n, "success": wilson(round(r * fresh), fresh).summary()}
            for n, r in points
        ]
        (folder / "curve.json").write_text(json.dumps(listed))
    run = {
        "format": "understudy-run",
        "version": 1,
        "algorithm": "bc",
        "task": task,
        "config": {"batch": 256, "learning_rate": 1e-3, "weight_decay": 1e-3, "clip": 10.0},
        "network": {"head": "auto", "hidden": [256, 256]},
        "data": {
            "path": os.path.relpath(data_folder, folder),
            "fingerprint": data.fingerprint(),
            "episodes": len(data),
            "steps": data.steps,
            "success": sum(map(bool, data.successes)) / len(data),
        },
        "agent": {
            "parameters": 74_244,
            "trunk": {"name": "mlp", "hidden": [256, 256]},
            "head": {"name": "deterministic"},
            "history": 1,
            "horizon": 1,
            "selected": "best",
            "selected_step": 4200,
        },
        "seconds": 12.61,
        "cpu_seconds": 12.34,
        "provenance": provenance(["understudy", "train", "bc", "--data", "demonstrations", "--out", "run"]),
    }
    (folder / "run.json").write_text(json.dumps(run))
    return run


class Page(HTMLParser):
    """What a browser would see: elements, their attributes, the text, and what scripts hold."""

    VOID = frozenset({"meta", "br", "img", "input", "col", "link", "hr"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.stack: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.styles: list[str] = []
        self.words: list[str] = []
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

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

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


def page_of(*runs: Path, out: Path | None = None, films: bool = False) -> Page:
    target = out or runs[0].parent / "report.html"
    return Page(write_report(runs, target, films=films).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of ordinary size; tests that change it copy it first."""
    folder = tmp_path_factory.mktemp("one") / "clone"
    make_run(folder, demos=100, fresh=200)
    return folder


@pytest.fixture(scope="module")
def spare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small run and its demonstrations, to be copied."""
    folder = tmp_path_factory.mktemp("spare")
    make_run(folder / "small", demos=8, fresh=20, skill=0.7)
    return folder


@pytest.fixture(scope="module")
def page(one: Path) -> Page:
    return page_of(one)


@pytest.fixture
def small(spare: Path, tmp_path: Path) -> Path:
    """A small run to spoil."""
    shutil.copytree(spare, tmp_path / "work")
    return tmp_path / "work" / "small"


def reports(run: Path) -> dict[str, Report]:
    return {
        p.parent.name: Report.from_json(p.read_text()) for p in (run / "evaluations").glob("*/report.json")
    }


# What it shows


def test_counts_rates_and_intervals_are_those_measured(one: Path, page: Page) -> None:
    cell = (
        r'class="who">(?:<span[^>]*></span>)?([^<]*)</th>.*?class="says">([^<]*)</td><td class="n">([^<]*)<'
    )
    tables = re.findall(r'<table class="estimates.*?</table>', page.html, re.S)
    success, returns = ({w: (s, n) for w, s, n in re.findall(cell, t, re.S)} for t in tables[:2])
    for name, report in reports(one).items():
        who = {"policy": "the policy", "nearest-neighbour": "nearest neighbour"}.get(name, name)
        rate, mean = report.success_rate, report.mean_return
        assert rate is not None
        hits = sum(o.success is True for o in report.outcomes)
        low, high = percent(rate.low)[:-2], percent(rate.high)[:-2]
        assert success[who] == (f"{percent(rate.value)} [{low}, {high}]", f"{hits} of {len(report.outcomes)}")
        if mean.low < mean.high:
            assert returns[who] == (str(mean).replace("-", "−"), f"n = {mean.n}")
    assert len(success) == len(returns) == len(reports(one))
    assert "1000000 to 1000199" in page.text


def test_the_headline_says_what_was_learned_from_what_and_how_well(one: Path, page: Page) -> None:
    hits = sum(o.success is True for o in reports(one)["policy"].outcomes)
    heading = re.search(r"<h1>(.*?)</h1>", page.html, re.S)
    assert heading is not None
    said = re.sub(r"<.*?>", "", heading[1])
    assert said.startswith("Behavioural cloning from 100 demonstrations of fetch-pick-place succeeds in ")
    assert f"{hits} of 200 fresh episodes" in said


def test_the_verdict_is_that_of_the_paired_comparison(one: Path, page: Page) -> None:
    found = reports(one)
    d = compare(found["policy"], found["expert"])
    assert d.success is not None
    assert d.p is not None
    assert d.p < 0.05
    assert "the policy succeeds less often than the expert" in page.text
    assert f"{d.only_a} seeds only the policy solved, {d.only_b} only the expert" in page.text
    value, low, high = (
        f"{100 * x:+.1f}".replace("-", "−") for x in (d.success.value, d.success.low, d.success.high)
    )
    assert f"{value} [{low}, {high}]" in page.text


def test_every_failed_seed_is_in_the_table_and_can_be_found_in_the_viewer(one: Path, page: Page) -> None:
    report = reports(one)["policy"]
    failed = [o.seed for o in report.outcomes if o.success is False]
    assert len(failed) > 5
    rows = re.findall(r'<tr class="failed">(.*?)</tr>', page.html, re.S)
    assert [int(re.search(r'data-value="(\d+)"', row)[1]) for row in rows] == failed  # type: ignore[index]
    drawn = {p[1]: p[0] for p in json.loads(data_blocks(page)[0])["paths"]}
    assert all(drawn[f"seed {s}"] == "failure" for s in failed)
    first = report.outcomes[0]
    assert f'data-value="{first.total_reward:.9g}"' in page.html
    assert first.tracking is not None
    assert f'data-value="{first.tracking.rmse:.9g}"' in page.html
    assert f'data-value="{first.goal_distance:.9g}"' in page.html


def test_the_table_of_episodes_has_a_cell_for_every_head(page: Page) -> None:
    table = re.search(r'<table class="episodes".*?</table>', page.html, re.S)
    assert table is not None
    heads = table[0].count('<th scope="col"')
    rows = re.findall(r"<tr[^>]*>(?:<td.*?)</tr>", table[0], re.S)
    assert len(rows) == 200
    assert {row.count("<td ") for row in rows} == {heads}


def test_a_planted_weakness_is_named(tmp_path: Path) -> None:
    run = tmp_path / "weak"
    make_run(run, demos=5, fresh=60, skill=1.0, baselines=())
    spoiled = []
    for e in storage.read(run / "evaluations" / "policy" / "episodes"):
        bad = bool(e.obs["desired_goal"][-1, 0] > 1.42)
        spoiled.append(
            Episode(dict(e.obs), e.action, e.label, e.labelled, e.reward, e.terminated, not bad, e.meta)
        )
    shutil.rmtree(run / "evaluations")
    write_evaluation(run, report_of("policy", spoiled, None), spoiled)
    rows = re.findall(
        r'<th scope="row" class="who">(goal, x: [^<]*)</th>.*?class="n">([^<]*)<', page_of(run).html, re.S
    )
    assert len(rows) == 3, "the three thirds of the goal's x are shown first"
    lost = [int(n.split(" of ")[0]) for _, n in rows]
    assert lost[0] == 0
    assert lost[2] == max(lost)


def test_every_metric_and_the_kept_weights_are_drawn(page: Page) -> None:
    assert "Loss while training" in page.html
    assert "Learning rate" in page.text
    assert "kept: lowest validation at step 4\u202f200" in page.html


def test_provenance_is_shown(one: Path, page: Page) -> None:
    run = json.loads((one / "run.json").read_text())
    assert run["data"]["fingerprint"] in page.text
    assert "understudy train bc --data demonstrations --out run" in page.text
    assert f"numpy {run['provenance']['versions']['numpy']}" in page.text
    assert '"learning_rate": 0.001' in page.text


def test_several_runs_are_compared_pair_by_pair(small: Path) -> None:
    other = small.parent / "weaker"
    make_run(other, demos=3, fresh=20, skill=0.3, curve=False, baselines=())
    both = page_of(small, other)
    d = compare(reports(small)["policy"], reports(other)["policy"])
    assert d.only_a > d.only_b
    assert f"{d.only_a} : {d.only_b}" in both.text
    assert len(both.all("canvas")) == 2
    assert "small succeeds in" in both.text
    assert "weaker in" in both.text
    ids = [a["id"] for _, a in both.elements if "id" in a]
    assert len(ids) == len(set(ids))


def test_runs_on_other_seeds_are_shown_without_a_comparison(small: Path) -> None:
    other = small.parent / "fewer"
    make_run(other, demos=3, fresh=15, baselines=())
    text = page_of(small, other).text
    assert "No comparison seed by seed: 5 seeds have no partner" in text
    assert "Not all were measured on the same seeds" in text


# The viewer's numbers


def data_blocks(page: Page) -> list[str]:
    return [text for attrs, text in page.scripts if attrs.get("type") == "application/json"]


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_viewers_paths_are_the_episodes_up_to_quantisation(dims: int) -> None:
    episodes = [carry(s, 0.6, 3) for s in range(12)]
    view = Look("achieved_goal", tuple(range(dims)), ("x", "y", "z")[:dims], "m", "desired_goal")
    drawn = paths(view, Dataset(episodes[:4]), list(enumerate(episodes[4:])))
    spec = viewer(view, drawn, "paths")
    numbers = np.frombuffer(base64.b64decode(spec["data"]), "<u2").reshape(-1, dims)
    low, high = np.array(spec["low"]), np.array(spec["high"])
    values = low + numbers / 65535 * (high - low)
    at = 0
    for (kind, _, steps, count, has_goal, distance), e in zip(spec["paths"], episodes, strict=True):
        where = np.floor(np.arange(count) * steps / (count - 1) + 0.5).astype(int)
        assert (kind == "demo") == (at == 0 or e in episodes[:4])
        assert steps == len(e)
        assert where[-1] == steps
        truth = e.obs["achieved_goal"][where][:, :dims]
        # half a level of quantisation, and the six digits in which the box is written
        np.testing.assert_allclose(values[at : at + count], truth, rtol=0, atol=(high - low).max() * 2e-5)
        at += count
        assert has_goal == 1
        np.testing.assert_allclose(values[at], e.obs["desired_goal"][-1, :dims], rtol=0, atol=2e-5)
        at += 1
        gap = e.obs["achieved_goal"][-1, :dims].astype(float) - e.obs["desired_goal"][-1, :dims]
        assert distance == pytest.approx(np.linalg.norm(gap), rel=1e-3)
    assert at == len(values)


def test_no_failure_is_left_out_while_a_success_is_drawn() -> None:
    episodes = [carry(s, 0.5, 3) for s in range(600)]
    view = Look("achieved_goal", (0, 1, 2), ("x", "y", "z"), "m", "desired_goal")
    drawn = paths(view, None, list(enumerate(episodes)))
    lost = sum(e.success is False for e in episodes)
    assert lost < len(drawn) < 600
    assert sum(p.kind == "failure" for p in drawn) == lost
    assert sum(len(p.points) for p in drawn) <= 40_000


def test_a_view_that_does_not_fit_the_data_is_replaced_by_a_guess() -> None:
    wrong = Look("state", (0, 9), ("a", "b"), "m", None)
    assert look(wrong, {"state": ("float32", (3,))}) == Look("state", (0,), ("state[0]",), "", None, True)
    goal = {"achieved_goal": ("float32", (2,)), "desired_goal": ("float32", (2,)), "state": ("float32", (9,))}
    assert look(None, goal) == Look("achieved_goal", (0, 1), ("x", "y"), "", "desired_goal", True)
    assert look(None, {"camera": ("uint8", (8, 8, 3))}) is None


# One file, closed to the world


def test_the_page_fetches_nothing_and_its_policy_forbids_it(page: Page) -> None:
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    rules = {r.split(" ", 1)[0]: r.split(" ", 1)[1] for r in policy.split("; ")}
    style = page.styles[0]
    script = next(text for attrs, text in page.scripts if not attrs)

    def digest(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    assert rules == {
        "default-src": "'none'",
        "style-src": digest(style),
        "script-src": digest(script),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert len(page.styles) == 1
    assert sum(not attrs for attrs, _ in page.scripts) == 1
    assert {a.get("type") for a, _ in page.scripts} == {None, "application/json"}
    for tag, attrs in page.elements:
        assert tag not in {"link", "iframe", "object", "embed", "base", "form"}
        assert not any(k.startswith("on") or k == "style" for k in attrs), f"{tag} {attrs}"
        for name in ("src", "href", "xlink:href", "srcset", "action", "poster"):
            assert (attrs.get(name) or "#").startswith(("#", "data:image/")), f"{tag} {attrs}"
    assert "@import" not in style
    assert "url(" not in style
    assert not re.search(r"https?://|//[a-z]+\.[a-z]", page.html)
    assert not re.search(
        r"\b(fetch|XMLHttpRequest|WebSocket|eval|Function|innerHTML|insertAdjacentHTML)\b", script
    )


def test_the_page_is_small_and_the_same_every_time(one: Path, page: Page, tmp_path: Path) -> None:
    assert len(page.html.encode()) < 1_000_000
    assert page_of(one, out=tmp_path / "again.html").html == page.html


def test_links_lead_to_sections_and_pictures_have_words(page: Page) -> None:
    ids = {a["id"] for _, a in page.elements if "id" in a}
    links = [a["href"] for a in page.all("a")]
    assert {link[1:] for link in links if link} <= ids
    figures = [a for a in page.all("svg") if a.get("role") == "img"]
    assert len(figures) > 20
    assert all(a.get("aria-label") for a in figures)
    assert all(a.get("tabindex") == "0" and a.get("aria-label") for a in page.all("canvas"))
    assert page.all("html") == [{"lang": "en"}]
    assert all(a.get("alt") for a in page.all("img"))
    assert "<noscript><svg" in page.html


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_script_is_javascript(tmp_path: Path, page: Page) -> None:
    file = tmp_path / "page.js"
    file.write_text(next(text for attrs, text in page.scripts if not attrs))
    subprocess.run(["node", "--check", str(file)], check=True, timeout=60)


def test_no_file_of_the_page_can_end_its_element() -> None:
    folder = files("understudy.report").joinpath("templates")
    for name in ("viewer.js", "controls.js", "report.css"):
        assert not re.search(r"</(script|style)|<!--", folder.joinpath(name).read_text("utf-8"), re.I)


EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>'\"&"


def test_text_from_files_is_shown_as_text_and_never_runs(tmp_path: Path) -> None:
    calm, evil = tmp_path / "calm", tmp_path / "evil"
    make_run(calm, demos=3, fresh=8, dims=2, task="plain task")
    run = make_run(evil, demos=3, fresh=8, dims=2, task=EVIL)
    (evil / "evaluations" / "zero").rename(evil / "evaluations" / "<b>zero<b>")
    run["algorithm"] = EVIL
    run["config"] = {EVIL: EVIL, "line": "\u2028\u202e</pre>"}
    run["provenance"]["command"] = EVIL
    run["provenance"]["versions"] = {EVIL: EVIL}
    data = Dataset(
        Episode(
            dict(e.obs), e.action, e.label, e.labelled, e.reward, True, True, {"operator": EVIL, "task": EVIL}
        )
        for e in (carry(s, 1.0, 2) for s in range(3))
    )
    shutil.rmtree(tmp_path / "evil-demonstrations")
    storage.write(tmp_path / "evil-demonstrations", data)
    (evil / "run.json").write_text(json.dumps(run))
    lines = [{"step": i, "loss": 1.0 / i, EVIL: 1.0} for i in range(1, 4)]
    (evil / "metrics.jsonl").write_text("".join(json.dumps(m) + "\n" for m in lines))
    bad, good = page_of(evil), page_of(calm)
    assert "</script><script>alert(1)" in bad.text, "it stands there to be read"
    assert len(bad.scripts) == len(good.scripts)
    assert not bad.all("img")
    assert not bad.all("b") or len(bad.all("b")) == len(good.all("b"))
    assert not any(k.startswith("on") for _, attrs in bad.elements for k in attrs)
    assert "\u202e" not in bad.html
    assert "\u2028" not in bad.html


def test_observation_names_cannot_leave_the_viewers_json(tmp_path: Path) -> None:
    run = tmp_path / "named"
    make_run(run, demos=3, fresh=4, baselines=())
    shutil.rmtree(run / "evaluations" / "policy")
    evil = [
        Episode.demonstration({"</script>": e.obs["state"]}, e.action, success=True, meta=dict(e.meta))
        for e in (carry(s, 1.0, 3) for s in range(4))
    ]
    outcomes = tuple(Outcome(s, True, 0.0, len(e), True, 0.0) for s, e in enumerate(evil))
    write_evaluation(run, Report("policy", "</script>", outcomes, "</m>", 1.0, None, {}), evil)
    found = page_of(run)
    blocks = data_blocks(found)
    assert len(blocks) == 1
    assert json.loads(blocks[0])["labels"] == ["</script>[0]"]
    assert "<" not in blocks[0]


def test_a_task_name_from_a_file_imports_no_module(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (small.parent / "trap_module.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(small.parent))
    for file in (small / "run.json", small / "evaluations" / "policy" / "report.json"):
        file.write_text(file.read_text().replace("fetch-pick-place", "trap_module:Env-v0"))
    assert "only built-in tasks can be drawn again" in page_of(small, films=True).text
    assert "trap_module" not in sys.modules


# What is missing is said; what is broken is refused


def without(*names: str) -> Callable[[Path], None]:
    def spoil(run: Path) -> None:
        for name in names:
            path = run / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return spoil


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without("curve.json"), "Only one number of demonstrations was tried"),
        (without("metrics.jsonl"), "There is no record of the training"),
        (without("evaluations"), "has not been evaluated"),
        (without("evaluations/policy/episodes"), "The rollouts themselves were not kept"),
        (without("../small-demonstrations"), "The demonstrations are not there any more"),
        (without("evaluations/expert"), "The expert was not measured on these seeds"),
        (
            without("curve.json", "metrics.jsonl", "evaluations", "../small-demonstrations"),
            "has not been measured yet",
        ),
    ],
    ids=["curve", "metrics", "evaluations", "rollouts", "demonstrations", "expert", "everything"],
)
def test_what_is_missing_is_said_in_its_place(small: Path, spoil: Callable[[Path], None], said: str) -> None:
    spoil(small)
    assert said in page_of(small).text


def test_a_run_of_json_alone_has_a_page(tmp_path: Path) -> None:
    run = tmp_path / "bare"
    run.mkdir()
    (run / "run.json").write_text('{"format": "understudy-run", "version": 1}')
    assert "An unnamed algorithm from demonstrations" in page_of(run).text


def test_demonstrations_that_changed_since_are_pointed_out(small: Path) -> None:
    storage.append(small.parent / "small-demonstrations", [carry(99, 0.9, 3)])
    assert "has changed since this policy was trained" in page_of(small).text


def test_damaged_demonstrations_do_not_cost_the_report(small: Path) -> None:
    (small.parent / "small-demonstrations" / "meta" / "info.json").write_text("{")
    text = page_of(small).text
    assert "The demonstrations cannot be read" in text
    assert str(small.parent) not in text


def test_without_success_the_return_is_what_counts(tmp_path: Path) -> None:
    run = tmp_path / "unsaid"
    make_run(run, demos=4, fresh=12, curve=False, baselines=())
    shutil.rmtree(run / "evaluations")
    for name, bonus in (("policy", 0.0), ("expert", 5.0)):
        rng = np.random.default_rng(0)
        told = [
            Episode(
                dict(e.obs), e.action, e.label, e.labelled, rng.normal(bonus, 1, len(e)), False, None, e.meta
            )
            for e in (carry(s, 0.9, 3) for s in range(12))
        ]
        write_evaluation(run, report_of(name, told, None), told if name == "policy" else None)
    e = reports(run)["policy"].mean_return
    (run / "curve.json").write_text(
        json.dumps([{"episodes": n, "success": None, "return": e.summary()} for n in (2, 4)])
    )
    found = page_of(run)
    assert f"reaches a mean return of {str(e).replace('-', '−')} over 12 fresh episodes" in found.text
    assert "Nobody says whether an episode of this task succeeded" in found.text
    assert "the policy’s return is lower" in found.text
    assert "Return against number of demonstrations" in found.html


def test_pictures_in_observations_are_left_aside(tmp_path: Path) -> None:
    run = tmp_path / "seen"
    make_run(run, demos=3, fresh=4, baselines=(), curve=False)
    shutil.rmtree(tmp_path / "seen-demonstrations")
    frames = np.zeros((6, 16, 16, 3), np.uint8)
    films = [Episode.demonstration({"camera": frames}, np.ones((5, 2)), success=True) for _ in range(3)]
    storage.write(tmp_path / "seen-demonstrations", Dataset(films))
    loaded = load_run(run, "seen")
    assert loaded.demos is not None
    assert set(loaded.demos[0].obs) == {"step"}
    assert page_of(run).all("canvas"), (
        "the rollouts are drawn, without demonstrations they cannot be laid over"
    )


def rewritten(name: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    def spoil(run: Path) -> None:
        (run / name).write_text(change((run / name).read_text()))

    return spoil


def fewer_episodes(run: Path) -> None:
    folder = run / "evaluations" / "policy" / "episodes"
    data = storage.read(folder)
    shutil.rmtree(folder)
    storage.write(folder, data[:-1])


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (without("run.json"), "it has no run.json"),
        (rewritten("run.json", lambda t: t[: len(t) // 2]), "not readable JSON"),
        (rewritten("run.json", lambda t: "[]"), "an object is needed"),
        (rewritten("run.json", lambda t: "[" * 100_000), "nested too deeply"),
        (rewritten("run.json", lambda t: t.replace("understudy-run", "other")), "is of format 'other'"),
        (rewritten("run.json", lambda t: t.replace('"version": 1', '"version": 2', 1)), "version 2"),
        (rewritten("run.json", lambda t: t.replace("12.61", "NaN")), "NaN is not a JSON number"),
        (rewritten("run.json", lambda t: t.replace("12.61", '"long"')), "seconds is 'long'"),
        (rewritten("run.json", lambda t: t.replace('"task": "', '"task": 5, "x": "', 1)), "task is 5"),
        (rewritten("metrics.jsonl", lambda t: "3\n" + t), "line 1 is int"),
        (rewritten("metrics.jsonl", lambda t: '{"loss": 1.0}\n' + t), "line 1 has no step"),
        (rewritten("curve.json", lambda t: '{"a": 1}'), "must be a list of objects"),
        (rewritten("curve.json", lambda t: t.replace('"value"', '"worth"')), "needs at least a value"),
        (rewritten("curve.json", lambda t: t.replace('"episodes": 10', '"episodes": 0')), "episodes is 0"),
        (rewritten("evaluations/policy/report.json", lambda t: t[:500]), "not JSON"),
        (fewer_episodes, "has 19 episodes, its report.json 20"),
    ],
)  # fmt: skip
def test_a_broken_run_is_refused_in_one_line(small: Path, spoil: Callable[[Path], None], rule: str) -> None:
    spoil(small)
    with pytest.raises(ValueError) as refused:
        write_report([small], small.parent / "report.html", films=False)
    assert rule in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (small.parent / "report.html").exists()


def test_a_line_of_metrics_that_is_still_being_written_is_left_out(small: Path) -> None:
    with (small / "metrics.jsonl").open("a") as file:
        file.write('{"step": 99')
    assert load_run(small, "small").metrics[-1]["step"] == 6000


def test_arguments_are_checked(small: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="0 runs are given"):
        write_report([], tmp_path / "x.html")
    with pytest.raises(ValueError, match="named twice"):
        write_report([small, small.parent / "." / "small"], tmp_path / "x.html")
    with pytest.raises(ValueError, match="is not a run"):
        write_report([tmp_path / "nothing"], tmp_path / "x.html")
    with pytest.raises(ValueError, match="is a folder"):
        write_report([small], tmp_path)


def test_a_report_that_cannot_be_finished_leaves_the_old_one(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = small.parent / "out" / "report.html"
    target.parent.mkdir()
    target.write_text("old")

    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        write_report([small], target, films=False)
    assert [p.name for p in target.parent.iterdir()] == ["report.html"]
    assert target.read_text() == "old"


# Film strips


def test_pictures_of_a_success_and_a_failure_are_inside_the_page(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    asked = []

    def film(which: Any, seed: int, actions: Any, count: int, size: int) -> list[Any]:
        asked.append((which.name, seed, len(actions)))
        return [np.full((size, size, 3), 20 * i, np.uint8) for i in range(count)]

    monkeypatch.setattr(strips, "film", film)
    found = page_of(small, films=True)
    won = {o.seed: o.success for o in reports(small)["policy"].outcomes}
    assert sorted(won[seed] for _, seed, _ in asked) == [False, True]
    pictures = [a["src"] for a in found.all("img")]
    assert len(pictures) == 16
    head = "data:image/jpeg;base64,"
    for i, source in enumerate(pictures):
        assert source is not None
        assert source.startswith(head)
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(source[len(head) :]))))
        assert abs(int(picture.mean()) - 20 * (i % 8)) <= 2


def test_where_nothing_can_be_drawn_a_sentence_says_why(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def film(*_: object) -> list[Any]:
        raise ValueError("no OpenGL here: neither EGL nor OSMesa works")

    monkeypatch.setattr(strips, "film", film)
    assert "No pictures: no OpenGL here: neither EGL nor OSMesa works." in page_of(small, films=True).text
