"""What a learner says of itself: each fault gives its finding with numbers, a healthy run gives none."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from holding import ARRIVE, HOLD, UNHELD, Endless, demonstrations, imitated, slow
from understudy.dataset import Dataset
from understudy.episode import Episode
from understudy.online import checkup
from understudy.online.adversarial import Lessons
from understudy.online.base import Collecting, Setting
from understudy.online.diagnosis import Facts, Standing, diagnose, expert_return, standing
from understudy.quality.types import Finding
from understudy.rewards import RewardConfig
from understudy.serial import read_json
from understudy.train import Budget, train

FACTS = Facts(
    episodes=10, steps=2000, expert_return=-100.0, beginner_return=-1100.0, expert_length=200.0,
    expert_ended=0.0, discount=0.99, actions=2, form="logit",
)  # fmt: skip


def rows(n: int = 9, **told: Any) -> list[dict[str, float]]:
    """n lines; what is told is a number, or a function of how far the run is, from 0 to 1."""
    at = [i / (n - 1) for i in range(n)]
    return [
        {"step": float(i), **{k: float(v(x) if callable(v) else v) for k, v in told.items()}}
        for i, x in enumerate(at)
    ]


LOST = {"validation": 1000.0}
FOUND: dict[str, tuple[dict[str, Any], Facts, tuple[str, ...]]] = {
    "saturated": (
        LOST | {"d_expert": 0.995, "d_policy": 0.99, "d_gap": 9.1},
        FACTS,
        ("99.5%", "99.0%", "9.1 apart", "stands at -1000", "demonstrations: -100"),
    ),
    "guessing": (
        LOST | {"d_expert": 0.52, "d_policy": 0.49, "d_gap": 0.01},
        FACTS,
        ("52.0%", "49.0%", "-1000"),
    ),
    "reward-sign": (
        LOST | {"ended": 1 / 200, "d_expert": 0.8, "d_policy": 0.8},
        replace(FACTS, form="survival", expert_ended=1.0, expert_length=30.0),
        ("'survival' pays for every further step", "last 200 steps", "last 30", "100%"),
    ),
    "few-demonstrations": (
        LOST | {"d_expert": 0.96, "d_held": 0.31, "d_policy": 0.9},
        replace(FACTS, episodes=1, steps=50),
        ("96%", "31% of held-out", "1 demonstration of 50 steps"),
    ),
    "diverging": (
        LOST | {"q": lambda x: 10 ** (8 * x), "reward_expert": 1.0, "reward_policy": -2.0},
        FACTS,
        ("and growing", "(200)"),
    ),
    "entropy-collapsed": (LOST | {"entropy": -9.0}, FACTS, ("-4.50 nats",)),
    "temperature-floor": (
        LOST | {"temperature": lambda x: 10 ** (-5 * x), "entropy": -2.0},
        FACTS,
        ("from 1 to 1e-05",),
    ),
    "clipped": (
        LOST | {"d_expert": 0.9, "d_policy": 0.9},
        replace(FACTS, leaks=(Finding("warning", "clipped", "25.0% of the steps", "Add noise"),)),
        ("25.0% of the steps", "right in 90.0%"),
    ),
}


@pytest.mark.parametrize("kind", FOUND)
def test_each_fault_gives_its_finding_with_its_numbers(kind: str) -> None:
    told, facts, words = FOUND[kind]
    found = diagnose(rows(**told), facts)
    assert [f.kind for f in found] == [kind]
    for word in words:
        assert word in found[0].evidence
    assert found[0].advice
    assert "\n" not in str(found[0])


@pytest.mark.parametrize("kind", FOUND)
def test_the_same_numbers_are_no_fault_where_the_task_is_learned(kind: str) -> None:
    told, facts, _ = FOUND[kind]
    learned = told | {"validation": lambda x: 1100 - 1000 * min(1.0, 2 * x)}
    assert diagnose(rows(**learned), facts) == []


def test_a_healthy_run_gives_nothing() -> None:
    told = {
        "validation": lambda x: 1100 - 950 * x, "d_expert": lambda x: 0.95 - 0.3 * x, "d_held": 0.62,
        "d_policy": lambda x: 0.95 - 0.3 * x, "d_gap": lambda x: 6 - 5 * x, "ended": 1 / 200,
        "q": lambda x: 30 * x, "reward_expert": 1.0, "reward_policy": -1.0, "entropy": -1.9,
        "temperature": lambda x: 1 - 0.9 * x, "reward": -3.0,
    }  # fmt: skip
    assert diagnose(rows(**told), FACTS) == []


NEAR = {
    "saturated: still gaining": (FOUND["saturated"][0] | {"validation": lambda x: 1100 - 600 * x}, FACTS),
    "any: still gaining": (
        FOUND["clipped"][0] | {"validation": lambda x: 1100 - 600 * x},
        FOUND["clipped"][1],
    ),
    "saturated: logits close": (FOUND["saturated"][0] | {"d_gap": 2.0}, FACTS),
    "saturated: the policy fools it": (FOUND["saturated"][0] | {"d_policy": 0.6, "d_expert": 0.99}, FACTS),
    "guessing: only at the end": (
        LOST | {"d_expert": lambda x: 0.9 - 0.4 * x, "d_policy": lambda x: 0.9 - 0.4 * x},
        FACTS,
    ),
    "guessing: demonstrations end, and the absorbing state outweighs the rows": (
        LOST | {"d_expert": 0.01, "d_policy": 0.99},
        replace(FACTS, expert_ended=0.5),
    ),
    "guessing: the policy's episodes end": (
        LOST | {"d_expert": 0.99, "d_policy": 0.01, "ended": 1 / 50},
        FACTS,
    ),
    "sign: lives as long as the demonstrations": (
        FOUND["reward-sign"][0] | {"ended": 1 / 32},
        FOUND["reward-sign"][1],
    ),
    "sign: the logit has none": (FOUND["reward-sign"][0], replace(FOUND["reward-sign"][1], form="logit")),
    "few: held-out ones are taken alike": (LOST | {"d_expert": 0.9, "d_held": 0.8, "d_policy": 0.8}, FACTS),
    "diverging: large but worth it": (LOST | {"q": -500.0, "reward": -6.0}, FACTS),
    "leak: the discriminator does not win": (
        LOST | {"d_expert": 0.6, "d_policy": 0.6},
        FOUND["clipped"][1],
    ),
    "temperature: fixed": (LOST | {"temperature": 1e-6, "entropy": -1.0}, FACTS),
}


@pytest.mark.parametrize("name", NEAR)
def test_what_only_resembles_a_fault_gives_nothing(name: str) -> None:
    told, facts = NEAR[name]
    assert diagnose(rows(**told), facts) == []


def test_an_early_end_is_a_matter_of_sign_too() -> None:
    facts = replace(FACTS, form="termination")
    (found,) = diagnose(rows(**LOST, ended=1 / 12), facts)
    assert "'termination' charges" in found.evidence
    assert "last 12 steps where the demonstrations' last 200" in found.evidence


def test_few_rows_are_named_where_none_were_held_out() -> None:
    told = LOST | {"d_expert": 0.95, "d_policy": 0.9}
    (found,) = diagnose(rows(**told), replace(FACTS, episodes=2, steps=40))
    assert (found.kind, "2 demonstrations of 40 steps" in found.evidence) == ("few-demonstrations", True)
    assert diagnose(rows(**told), FACTS) == []


def test_several_causes_come_with_the_gravest_first() -> None:
    told = FOUND["saturated"][0] | FOUND["few-demonstrations"][0] | {"d_expert": 0.99, "d_policy": 0.99}
    facts = FOUND["clipped"][1]
    assert [f.kind for f in diagnose(rows(**told), facts)] == ["saturated", "clipped", "few-demonstrations"]


def test_how_far_a_run_came_is_a_share_of_the_way_from_random_to_the_demonstrations() -> None:
    told = rows(validation=lambda x: 1100 - 800 * x)
    late, middle = (
        np.mean([1100 - 800 * i / 8 for i in (6, 7, 8)]),
        np.mean([1100 - 800 * i / 8 for i in (3, 4, 5)]),
    )
    stands = standing(told, FACTS)
    assert stands.returned == pytest.approx(-late)
    assert stands.share == pytest.approx((1100 - late) / 1000)
    assert stands.progress == pytest.approx((middle - late) / 1000)
    assert standing(told, replace(FACTS, beginner_return=None)).share == pytest.approx((1100 - late) / 1000)


def test_what_is_not_known_is_not_judged() -> None:
    nothing = Standing(None, None, None, None)
    assert standing(rows(q=1.0), FACTS) == nothing
    assert standing(rows(**LOST), replace(FACTS, expert_return=None)).share is None
    assert standing(rows(**LOST), replace(FACTS, expert_return=-1200.0)).share is None
    assert diagnose([], FACTS) == []
    assert diagnose(rows(**LOST), FACTS) == []
    unknown = replace(FACTS, expert_return=None)
    (found,) = diagnose(rows(**FOUND["saturated"][0]), unknown)
    assert "the return is not known" in found.evidence


def test_demonstrations_without_rewards_have_no_return() -> None:
    def one(reward: float) -> Episode:
        return Episode.demonstration({"s": np.zeros((4, 1))}, np.zeros((3, 1)), np.full(3, reward))

    assert expert_return(Dataset([one(-1.0), one(-3.0)])) == -6.0
    assert expert_return(Dataset([one(0.0), one(0.0)])) is None


# ── where it is told ─────────────────────────────────────────────────────────────────────────────────────


def test_a_run_is_told_its_diagnosis_and_keeps_it(tmp_path: Path) -> None:
    plan, said = Collecting(uniform=100, validation_episodes=1), StringIO()
    setting = Setting(HOLD, demonstrations(HOLD, clipped=True), plan, slow(1e-4), RewardConfig())
    console = Console(file=said, width=80)
    looked = checkup.before(setting, console, judged=True)
    assert "the demonstrations: warning: up to 100.0% of the demonstrations' steps" in said.getvalue()
    lost = rows(validation=9.0, d_expert=0.9, d_policy=0.9)
    plain = checkup.after(tmp_path, setting, looked, lost, console)
    assert [f["kind"] for f in plain] == ["clipped"]
    assert "the way from random actions to the demonstrations" in said.getvalue()
    kept = read_json(tmp_path / "diagnosis.json")
    assert kept["findings"] == plain
    assert kept["audit"]["clipped"] == {"action[0]": 1.0}
    assert kept["facts"]["expert_return"] == pytest.approx(expert_return(demonstrations(HOLD, clipped=True)))
    assert kept["standing"]["returned"] == -9.0


def test_what_only_a_discriminator_goes_by_is_said_of_no_other_method(tmp_path: Path) -> None:
    said, plan = StringIO(), Collecting(uniform=100, validation_episodes=1)
    setting = Setting(HOLD, demonstrations(HOLD, clipped=True), plan, slow(1e-4), RewardConfig())
    looked = checkup.before(setting, Console(file=said, width=80), judged=False)
    assert looked is not None
    assert "clipped" in {f.kind for f in looked.findings}
    assert not said.getvalue()
    assert checkup.after(tmp_path, setting, looked, rows(validation=9.0), Console(quiet=True)) == []


def test_without_demonstrations_there_is_nothing_to_say(tmp_path: Path) -> None:
    setting = Setting(HOLD, None, Collecting(), slow(1e-4), RewardConfig())
    console = Console(quiet=True)
    assert checkup.before(setting, console, judged=True) is None
    assert checkup.after(tmp_path, setting, None, rows(**LOST), console) == []
    assert not list(tmp_path.iterdir())


def test_what_is_told_now_and_then_is_averaged_over_the_steps_that_told_it() -> None:
    class Sparse:
        agent, at = None, 0

        def step(self) -> dict[str, float]:
            self.at += 1
            return {"often": float(self.at)} | ({"rarely": 6.0} if self.at % 3 == 0 else {})

    (line,) = train(Sparse(), Budget(steps=10, validate_every=10)).metrics  # type: ignore[arg-type]
    assert (line["often"], line["rarely"]) == (5.5, 6.0)


# ── real runs ────────────────────────────────────────────────────────────────────────────────────────────


def kinds(task: Any, data: Dataset, steps: int, **how: Any) -> tuple[set[str], Standing]:
    outcome, facts = imitated(task, data, steps, **how)
    return {f.kind for f in diagnose(outcome.metrics, facts)}, standing(outcome.metrics, facts)


@pytest.mark.parametrize("task", [HOLD, ARRIVE], ids=lambda t: t.name)
def test_a_run_that_learns_its_task_has_nothing_to_report(task: Any) -> None:
    found, stands = kinds(task, demonstrations(task), 4000)
    assert found == set()
    assert stands.share is not None
    assert stands.share > 0.7


def test_broken_a_discriminator_that_learns_far_faster_than_the_policy() -> None:
    data = demonstrations(HOLD)
    found, stands = kinds(HOLD, data, 2000, judge=UNHELD, lessons=Lessons(d_steps=60), learner=slow(1e-5))
    assert found == {"saturated"}
    assert stands.fails


def test_broken_a_reward_that_pays_for_living_where_it_is_right_to_end() -> None:
    def forget(made: Any) -> None:
        made.judge = Endless(made.judge)

    found, stands = kinds(ARRIVE, demonstrations(ARRIVE), 4000, form="survival", change=forget)
    assert found == {"reward-sign"}
    assert stands.share is not None
    assert stands.share < 0.0  # worse than random actions: it keeps away from the goal


def test_broken_too_few_demonstrations() -> None:
    data, lessons = demonstrations(HOLD, 2), Lessons(d_steps=30, held_out=0.5)
    found, stands = kinds(HOLD, data, 2000, judge=UNHELD, lessons=lessons, learner=slow(2e-5))
    assert "few-demonstrations" in found
    assert stands.fails


def test_broken_clipped_actions_that_the_discriminator_goes_by() -> None:
    data = demonstrations(HOLD, clipped=True)
    found, stands = kinds(HOLD, data, 2000, judge=UNHELD, lessons=Lessons(d_steps=30), learner=slow(2e-5))
    assert "clipped" in found
    assert "few-demonstrations" not in found
    assert stands.fails


def test_broken_demonstrations_in_another_normalisation() -> None:
    data = Dataset(
        [
            Episode.demonstration({"state": 4 * np.array(e.obs["state"]) + 2}, e.action, e.reward)
            for e in demonstrations(HOLD)
        ]
    )
    found, stands = kinds(HOLD, data, 2000, learner=slow(1e-4))
    assert "other-beginnings" in found
    assert stands.fails
