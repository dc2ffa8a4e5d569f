"""The whole studio as a person meets it: the command, the page in Chromium, keys, mouse, what is on disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chromium import browsing
from studio_person import Person, Studio
from understudy import cli, storage
from understudy.dataset import Dataset
from understudy.envs import task
from understudy.episode import EXPERT
from understudy.interactive.hg_dagger import takeovers
from understudy.numerics import runs
from understudy.quality import inspect
from understudy.replay import replay

REACH = task("fetch-reach")
assert REACH.lasting is not None
LASTING = replace(REACH, make=partial(REACH.lasting, 10_000))  # nobody reaches the goal in 50 steps by keys


pytest.importorskip("aiohttp")
browser = pytest.fixture(scope="module", name="browser")(browsing)


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 900, "height": 600})
    made = context.new_page()
    made.set_default_timeout(30_000)
    yield made
    context.close()


def begin(person: Person) -> None:
    person.press("Start ")
    person.comes("ready", "running")


def keep(person: Person) -> None:
    """Keeps the episode in review; the page counts it only when it is on disk."""
    person.comes("review")
    before = person.state["saved"]
    person.press("Keep")
    person.until(lambda: person.state["saved"] == before + 1, what="it is saved")


def test_episodes_by_keys_and_by_mouse_are_recorded_looked_at_trimmed_and_deleted(
    page: Any, tmp_path: Path
) -> None:
    words = ("--task", "fetch-reach", "--out", "reaches", "--operator", "Ann <b>")
    with Studio(*words, folder=tmp_path) as studio:
        person = Person(page, studio.url)
        assert "token" not in page.url
        for _ in range(3):
            begin(person)
            person.steer(lambda: person.goal, lambda: person.phase == "review")
            keep(person)
        begin(person)
        while person.phase != "review":  # the task ends it at the goal
            for axis, far in enumerate(person.goal - person.hand):
                if abs(far) > 0.02 and person.phase in ("ready", "running"):
                    person.drag(axis, far)
        keep(person)
        begin(person)
        page.keyboard.down("e")
        person.until(lambda: person.state["step"] > 5, what="it moves")
        page.keyboard.up("e")
        page.keyboard.press("Delete")
        person.comes("idle")
        assert (person.state["saved"], person.state["discarded"]) == (4, 1)
        recorded = storage.read(tmp_path / "reaches")
        longest = int(np.argmax(recorded[:3].lengths))  # some begin nearly at the goal
        changed(page, longest)
        assert studio.end() == 0
    assert person.trouble == []
    # What was cut at its start cannot be simulated again from its seed (422); the deleted one is gone (404).
    assert {status for status, _ in person.refused} <= {404, 422}, person.refused
    assert len(recorded) == 4
    check(recorded)
    left = storage.read(tmp_path / "reaches")
    assert [len(e) for e in left] == [len(e) - 2 * (i == longest) for i, e in enumerate(recorded[:3])]
    assert np.array_equal(left[longest].obs["state"], recorded[longest].obs["state"][2:])


def changed(page: Any, longest: int) -> None:
    """In the library: two steps off the start of one episode, and the last one deleted."""
    page.get_by_role("link", name="Data").or_(page.get_by_role("button", name="Data")).first.click()
    page.wait_for_selector(".lib-row:has-text('Episode 3')")
    page.click(f".lib-row:has-text('Episode {longest}')")
    page.wait_for_selector(f".lib-detail h2:text-is('Episode {longest}')")
    page.click("text=Trim…")
    page.locator("[aria-label=Trim] input").first.fill("2")
    page.click("[aria-label=Trim] [type=submit]")
    page.wait_for_selector(".lib-undo")
    page.click(".lib-row:has-text('Episode 3')")
    page.wait_for_selector(".lib-detail h2:text-is('Episode 3')")
    page.click("text=Delete…")
    page.click(".lib-ask [value=yes]")
    page.wait_for_selector(".lib-row:has-text('Episode 3')", state="detached")
    assert page.locator(".lib-row b").count() == 3
    assert page.locator(".lib-row:has-text('Ann <b>')").count() == 3


def check(recorded: Dataset) -> None:
    """What a person recorded is a demonstration like any other."""
    for e in recorded:
        assert e.success is True
        assert e.labelled.all()
        assert e.meta["task"] == "fetch-reach"
        assert e.meta["operator"] == "Ann <b>"
        assert np.abs(e.action[0]).max() > 0, "it begins with a motion"
    assert len({e.meta["seed"] for e in recorded}) == 4
    assert all(r.deviation == 0 and r.parted is None for r in replay(recorded, LASTING, range(4)))
    found = inspect(recorded)
    assert not [f for f in found.findings if f.severity == "error"]
    by_key, dragged = np.abs(recorded[0].action[:, :3]), np.abs(recorded[3].action[:, :3])
    assert len(np.unique(by_key[by_key > 0].round(5))) == 1, "a key is on or off"
    assert len(np.unique(dragged[dragged > 0].round(5))) > 1, "a mouse is not"


def test_a_bad_policy_is_taken_over_twice_and_handed_back(page: Any, tmp_path: Path) -> None:
    record = ("record", "fetch-reach", "--episodes", "4", "--workers", "1", "--out", str(tmp_path / "data"))
    assert cli.main([*record]) == 0
    train = ("train", "bc", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "bad"), "--steps", "1")
    assert cli.main([*train, "--members", "2", "--head", "deterministic", "--validation", "0"]) == 0
    with Studio("--policy", "bad", "--out", "lessons", folder=tmp_path) as studio:
        person = Person(page, studio.url)
        assert person.state["mode"] == "correct"
        begin(person)
        person.until(lambda: person.state["step"] > 8, what="the policy drives")
        assert person.state["driver"] == "policy"
        assert person.state["doubt"]["value"] >= 0
        page.keyboard.press("t")
        person.until(lambda: person.state["driver"] == "operator", what="the operator drives")
        first = person.state["step"]
        person.steer(lambda: person.goal, lambda: person.state["step"] > first + 10)
        page.keyboard.press("h")
        person.until(lambda: person.state["driver"] == "policy", what="the policy drives again")
        handed = person.state["step"]
        person.until(lambda: person.state["step"] > handed + 5, what="the policy goes on")
        page.keyboard.press("t")
        person.until(lambda: person.state["driver"] == "operator", what="the operator drives again")
        person.steer(lambda: person.goal, lambda: person.phase == "review")
        keep(person)
        assert studio.end() == 0
    assert person.trouble == []
    (episode,) = storage.read(tmp_path / "lessons")
    assert episode.control is not None
    assert len(takeovers(episode)) == 2
    # What he does is a label from his first motion on: a robot that waits for him is nothing to learn.
    for first, last in runs(episode.control == EXPERT):
        moved = np.abs(episode.action[first:last, :3]).max(1) > 0
        assert np.array_equal(episode.labelled[first:last], np.maximum.accumulate(moved))
    assert not episode.labelled[episode.control != EXPERT].any()
    assert episode.success is True
    assert np.array_equal(episode.label[episode.labelled], episode.action[episode.labelled])
