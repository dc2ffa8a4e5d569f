"""Live evaluation counts what `evaluate` counts, on the same seeds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from understudy.envs import task
from understudy.episode import Array, Episode, Obs
from understudy.evaluate import FIRST_SEED, VALIDATION_SEED, evaluate
from understudy.numerics import wilson
from understudy.teleop import ExpertPilot, Session, controls_for
from understudy.teleop.trial import Trial


class HalfBlind:
    """Reaches goals on one side of the table, and stands still for the others."""

    name = "half blind"

    def __init__(self, expert: Any) -> None:
        self.expert = expert

    def reset(self, seed: int) -> None:
        self.expert.reset(seed)

    def act(self, obs: Obs) -> Array:
        action: Array = self.expert.act(obs)
        return action if obs["desired_goal"][1] > 0.75 else np.zeros_like(action)


def test_the_running_interval_is_wilsons_over_what_is_known() -> None:
    trial = Trial(5)
    assert trial.state() == {
        "n": 5, "done": 0, "successes": 0, "low": None, "high": None, "running": True
    }  # fmt: skip
    assert trial.rate is None
    for said in (True, None, False, True):
        trial.add(said)
    assert trial.rate == wilson(2, 3)
    state = trial.state()
    assert (state["done"], state["successes"], state["low"]) == (4, 2, wilson(2, 3).low)
    assert trial.seed == FIRST_SEED + 4
    trial.add(True)
    assert not trial.running
    with pytest.raises(ValueError, match="over after 5"):
        trial.add(True)


def test_stopped_early_it_keeps_what_was_counted_and_takes_no_more() -> None:
    trial = Trial(5)
    trial.add(True)
    trial.stop()
    assert trial.state()["running"] is False
    assert trial.state()["done"] == 1
    with pytest.raises(ValueError, match="over after 1"):
        trial.add(False)


def test_no_seed_of_a_demonstration_or_of_validation_is_used() -> None:
    seen = Episode.demonstration(np.zeros((3, 1)), np.zeros((2, 1)), meta={"seed": FIRST_SEED + 3})
    assert len(Trial(3, [seen]).seeds) == 3
    with pytest.raises(ValueError, match="recorded as demonstrations"):
        Trial(4, [seen])
    with pytest.raises(ValueError, match="while learning"):
        Trial(10, start=VALIDATION_SEED - 5)
    with pytest.raises(ValueError, match="while learning"):
        Trial(10, start=VALIDATION_SEED + 5)
    assert Trial(5, start=VALIDATION_SEED - 5).seeds[-1] == VALIDATION_SEED - 1


def test_watched_in_a_session_it_counts_what_evaluate_counts() -> None:
    which = task("fetch-reach")
    assert which.expert is not None
    n = 6
    report = evaluate(HalfBlind(which.expert()), which.make, Trial(n).seeds)
    wanted = [o.success for o in report.outcomes]
    assert True in wanted
    assert False in wanted
    session = Session(
        which.make, which, controls_for(which), None,
        operator="nobody", pilot=ExpertPilot(HalfBlind(which.expert())), clock=lambda: 0.0, countdown=0.0,
    )  # fmt: skip
    try:
        session.do("mode", name="watch")
        session.do("evaluate", n=n)
        states = []
        for i in range(60 * n):
            session.tick(i / session.rate)
            states.append(session.state()["evaluation"])
            if not states[-1]["running"]:
                break
    finally:
        session.close()
    assert states[-1] == {
        "n": n, "done": n, "successes": sum(map(bool, wanted)), "running": False,
        "low": report.success_rate.low, "high": report.success_rate.high,
    }  # fmt: skip
    counts = [s["successes"] for s in {s["done"]: s for s in states}.values()]
    assert counts == [sum(map(bool, wanted[:k])) for k in range(n + 1)]
