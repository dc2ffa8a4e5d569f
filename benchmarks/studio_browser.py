"""The study of `studio_operator.py` with all in its place: the command, the page in Chromium, real time.

    python benchmarks/studio_browser.py --out benchmarks/results/studio_browser.json

`understudy studio` runs as a user starts it. The same scripted person sits before its page: he sees the poses
that the page sees, presses keys of the browser's keyboard, and uses the page's own buttons and shortcuts to
start, keep, take over, hand back and train. Nothing reaches the session but what the page sends. A seed takes
ten minutes or more of real time, whatever the computer; so there are few. What the rounds taught is measured
as there: the same fresh seeds, the time limit of recording, and the task's own of 50 steps.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from common import ROOT
from studio_operator import (
    DEMONSTRATIONS,
    EPISODES,
    ROUNDS,
    SECONDS,
    SPEED,
    measured,
    options,
    study,
)
from understudy import storage
from understudy.envs import Task
from understudy.episode import Obs
from understudy.supervision import Supervision
from understudy.teleop import controls_for
from understudy.teleop.typist import Habits, Onlooker, Typist, Worry

sys.path.insert(0, str(ROOT / "tests"))
from chromium import launched
from studio_person import Person, Studio

_BEAT = 25  # ms between two looks


class AtThePage:
    """The scripted person of `understudy.teleop.typist`, before a page."""

    def __init__(self, person: Person, which: Task, seed: int) -> None:
        assert which.expert is not None
        self.person = person
        self.typist = Typist(controls_for(which), which.expert(), Habits())
        self.rng = np.random.default_rng([seed, 0x0B5E])
        self.block = self._block()

    def _block(self) -> int:
        """Which body it is: of those at the height of a block on the table, the one nearest the middle."""
        poses, head = self.person.poses, self.person.head
        lying = [i for i in range(len(poses)) if abs(float(poses[i, 2]) - _TABLE[2]) < 0.003]
        others = [i for i in lying if i not in (head["hand"], head["goal"])]
        return min(others, key=lambda i: float(np.linalg.norm(poses[i, :2] - _TABLE[:2])))

    def see(self) -> Obs:
        """What the script needs to know, from the poses on the page."""
        hand, goal = self.person.hand, self.person.goal
        block = self.person.poses[self.block, :3].astype(np.float64)
        state = np.zeros(25, np.float32)
        state[0:3], state[3:6] = hand, block
        return {"state": state, "achieved_goal": block, "desired_goal": goal}

    def episode(self, mode: str) -> int:
        """One episode, kept; how often he took over."""
        person = self.person
        before = person.state["saved"]
        person.page.keyboard.press("Enter")
        person.comes("ready", "running", "review", seconds=60)  # some blocks lie at the goal
        self.typist.reset(int(self.rng.integers(2**31)))
        onlooker = Onlooker(Worry(), self.rng)
        while person.phase in ("ready", "running", "countdown"):
            person.page.wait_for_timeout(_BEAT)
            now, drives = time.monotonic(), person.state["driver"] == "operator"
            obs = self.see()
            self.typist.watch(obs, now)
            self.person.hold(self.typist.keys(now) if drives else frozenset())
            if mode != "correct" or self.typist.wish is None:
                continue
            word = onlooker.word(now, obs["state"][:3].astype(np.float64), self.typist.wish[:3])
            if word == "take":
                person.page.keyboard.press("t")
            elif word == "hand":
                self.person.hold(frozenset())
                self.typist.let_go()
                person.page.keyboard.press("h")
        self.person.hold(frozenset())
        person.comes("review")
        person.page.keyboard.press("Enter")
        person.until(lambda: person.state["saved"] == before + 1, what="the episode is saved")
        return onlooker.takeovers

    def train(self) -> None:
        """Presses "train on them now", and waits until the new policy is at the controls."""
        person = self.person
        before = person.state["pilot"]
        person.page.locator(".training button", has_text="Train").first.click()
        person.until(lambda: (person.state["training"] or {}).get("phase") == "training", 60, "it trains")
        person.until(
            lambda: (person.state["training"] or {}).get("phase") != "training", 600, "it has trained"
        )
        assert person.state["training"]["phase"] == "done", person.state["training"]
        person.until(lambda: person.state["pilot"] not in (None, before), 60, "the new policy is there")


_TABLE = np.array([1.3, 0.75, 0.425])  # metres, the middle of where blocks lie


def one(which: Task, seed: int, test: int, console: Console) -> dict[str, Any]:
    """Everything for one seed."""
    from playwright.sync_api import sync_playwright

    points: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place, sync_playwright() as p:
        folder = Path(place)
        first = str(3_000_000 + 100_000 * (seed + 1))
        words = ("--task", which.name, "--out", "recorded", "--seconds", str(SECONDS), "--seed", first)
        with Studio(*words, "--operator", "typist", folder=folder) as studio:
            browser = launched(p)
            page = browser.new_page(viewport={"width": 900, "height": 600})
            person = Person(page, studio.url)
            while person.state["speed"] < SPEED - 1e-6:
                before = person.state["speed"]
                page.keyboard.press("=")
                person.until(lambda before=before: person.state["speed"] > before, what="it is faster")
            at = AtThePage(person, which, seed)
            for number in range(ROUNDS + 1):
                mode, episodes = ("correct", EPISODES) if number else ("record", DEMONSTRATIONS)
                if number == 1:
                    page.locator("input[name=mode][value=correct]").click()
                    person.until(lambda: person.state["mode"] == "correct", what="the mode is correct")
                    page.locator(".stage canvas").focus()
                taken = sum(at.episode(mode) for _ in range(episodes))
                at.train()
                page.locator(".stage canvas").focus()
                data = storage.read(folder / "recorded")
                new = data[len(data) - episodes :]
                points.append({
                    "episodes": len(data),
                    "labelled": int(sum(e.labelled.sum() for e in data)),
                    "takeovers": taken,
                    "supervision": Supervision.of(new).summary(),
                    "recorded_successes": sum(bool(e.success) for e in new),
                })  # fmt: skip
                console.print(f"seed {seed}, round {number}: {points[-1]}")
            assert person.trouble == [], person.trouble
            browser.close()
            assert studio.end() == 0
        for point, run in zip(
            points, sorted((folder / "recorded-rounds").glob("[0-9][0-9][0-9]")), strict=True
        ):
            said = point["steps_to_success"] = measured(run, which, test)
            console.print(f"seed {seed}: {sum(s > 0 for s in said)} of {test}")
    return {"points": points}


def main() -> None:
    """Runs what the file lacks."""
    given = options(__doc__, 2)
    study("studio_browser", one, given.out, range(given.first, given.first + given.seeds), given.test)


if __name__ == "__main__":
    main()
