"""Policies and people in turns: corrections, labels, shadows, watching and live evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from teleop_bench import LINE, Bench, Script
from understudy.envs import task
from understudy.episode import EXPERT, POLICY, Array, Episode, Obs
from understudy.evaluate import evaluate
from understudy.interactive.hg_dagger import takeovers
from understudy.quality import inspect
from understudy.storage import read
from understudy.teleop import ExpertPilot, patient
from understudy.teleop.driving import disagreement


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "data", pilot=Script())
    yield made
    made.session.close()


def kept(bench: Bench) -> Episode:
    """Saves what is in review and reads it back."""
    bench.do("save")
    assert bench.settle()["phase"] == "idle", bench.state["message"]
    assert bench.session.folder is not None
    return read(bench.session.folder)[-1]


# -- corrections -------------------------------------------------------------------------------------------


def test_a_person_takes_over_and_hands_back_and_only_what_he_drove_is_a_label(bench: Bench) -> None:
    bench.do("mode", name="correct")
    bench.do("start")  # the pilot drives at once: 1 step
    bench.tick(2)
    assert bench.state["driver"] == "policy"
    bench.session.do("take")
    bench.tick(2)  # he looks
    assert bench.state["driver"] == "operator"
    bench.tick(3, "KeyA")
    bench.session.do("hand")
    bench.tick(2, "KeyA")  # what he still holds is nobody's command any more
    bench.session.do("take")
    bench.tick(1, "KeyD")
    bench.session.do("end")
    bench.tick()
    episode = kept(bench)
    assert episode.action[:, 0].tolist() == pytest.approx(
        [0.2, 0.2, 0.2, 0.0, 0.0, -0.5, -0.5, -0.5, 0.2, 0.2, 0.5]
    )
    assert episode.control is not None
    assert episode.control.tolist() == [POLICY] * 3 + [EXPERT] * 5 + [POLICY] * 2 + [EXPERT]
    assert episode.labelled.tolist() == [False] * 5 + [True] * 3 + [False] * 2 + [True]
    assert np.array_equal(episode.label[episode.labelled], episode.action[episode.labelled])
    assert takeovers(episode).tolist() == [3, 10]
    assert episode.meta["policy"] == "script"
    assert episode.meta["mode"] == "correct"
    found = inspect(read(bench.session.folder or Path())).findings
    assert not [f for f in found if "label" in f.kind and f.severity == "error"]


def test_the_pilot_sees_each_step_once_and_begins_its_chunk_anew_when_handed_back(bench: Bench) -> None:
    pilot = bench.session._driving.pilot
    assert isinstance(pilot, Script)
    bench.do("mode", name="correct")
    bench.do("start")
    bench.tick(1)
    bench.session.do("take")
    bench.tick(3)
    bench.session.do("hand")
    bench.tick(2)
    assert pilot.calls == [
        ("act", 0),
        ("act", 1),
        ("watch", 2),
        ("watch", 3),
        ("watch", 4),
        ("act", 5),
        ("act", 6),
    ]
    # Played on, its first chunk would have gone 0.2, -0.4 here.
    assert bench.env.asked[-2:] == pytest.approx([0.2, 0.2])


def test_controls_change_hands_without_a_jump_of_hand_or_fingers(tmp_path: Path) -> None:
    """The hand is never sent farther in a step than the operator's speed allows, from where it is."""
    which = task("fetch-pick-place")
    assert which.expert is not None
    bench = Bench(tmp_path / "data", which, patient(which, 60.0), pilot=ExpertPilot(which.expert()))
    bench.do("mode", name="correct")
    bench.do("start")
    far = (1.0, 0.4, 0.9)  # held since before he took over, half a metre away
    bench.tick(12, target=far)
    executed = bench.session._course.tape
    assert executed is not None
    bench.session.do("take")
    bench.tick(1, target=far)
    assert bench.state["driver"] == "operator"
    before, after = executed._turns[-2].action, executed._turns[-1].action
    assert after[:3].tolist() == [0, 0, 0], "the target is where the hand is"
    assert after[3] == np.sign(before[3]), "and the fingers stay"
    bench.tick(2, target=(far[0], far[1], far[2] + 0.05))  # from here on it leads
    assert executed._turns[-1].action[2] == pytest.approx(0.2, abs=1e-3)
    assert executed._turns[-1].label is not None
    bench.tick(1)
    bench.tick(1, target=far)  # taken hold of anew: it means that place
    assert np.linalg.norm(executed._turns[-1].action[:3]) == pytest.approx(0.2)
    bench.session.do("hand")
    bench.tick(2, target=far)
    places = np.stack([o["state"][:3] for o in executed._obs])
    assert np.linalg.norm(np.diff(places, axis=0), axis=1).max() < 0.06
    bench.session.close()


def test_doubt_is_shown_and_the_guard_pauses_the_policy_once_each_time_it_rises(tmp_path: Path) -> None:
    doubts = [0.1, 0.2, 0.9, 0.8, 0.1, 0.7, 0.1]
    bench = Bench(tmp_path / "data", pilot=Script(doubts=doubts))
    bench.do("mode", name="correct")
    bench.do("guard", on=True)
    bench.do("start")
    assert bench.state["doubt"] == {"value": 0.1, "threshold": 0.5}
    bench.tick(3)
    assert (bench.phase, len(bench.env.asked)) == ("paused", 2), "the doubtful step is not done"
    assert "unsure" in bench.state["message"]["text"]
    bench.do("resume")  # he lets it go on
    bench.tick(2)
    assert bench.phase == "running"
    assert len(bench.env.asked) == 5
    bench.tick(1)
    assert bench.phase == "paused"
    assert len(bench.env.asked) == 5
    bench.session.do("take")
    bench.tick(2, "KeyD")
    assert bench.phase == "running"
    assert bench.env.asked[5:] == [0.5, 0.5]
    bench.session.close()


def test_a_new_policy_waits_for_the_next_episode_and_facts_name_the_one_that_drove(bench: Bench) -> None:
    bench.do("mode", name="correct")
    bench.do("start")
    bench.do("pilot", pilot=Script("better"))
    assert bench.state["pilot"] == "script"
    bench.do("end")
    bench.do("pilot", pilot=Script("best"))
    assert kept(bench).meta["policy"] == "script"
    bench.do("start", "end")
    assert kept(bench).meta["policy"] == "best"


def test_in_modes_with_one_driver_nobody_hands_over(bench: Bench) -> None:
    for mode in ("label", "watch"):
        bench.do("mode", name=mode)
        bench.do("start", "skip") if mode == "label" else bench.do("start")
        assert "stay where they are" in bench.do("take")["message"]["text"]
        bench.do("end", "discard")


# -- labels ------------------------------------------------------------------------------------------------


def test_every_kth_state_is_asked_about_and_only_answers_are_labels(bench: Bench) -> None:
    bench.do("mode", name="label")
    bench.do("every", k=2)
    bench.do("start")
    asked = bench.state["question"]
    assert bench.phase == "asking"
    assert asked["step"] == 0
    assert asked["proposed"] == pytest.approx([0.2])
    assert asked["held"] == [0.0]
    bench.tick(5, "KeyA")
    assert bench.state["question"]["held"] == [-0.5]
    assert not bench.env.asked
    bench.session.do("answer")  # what is held
    bench.tick(3, "KeyA")
    assert bench.phase == "asking"
    assert bench.state["question"]["step"] == 2
    bench.session.do("skip")
    bench.tick(3)
    bench.session.do("answer", action=[1.0, 2.0])
    bench.tick()
    assert bench.phase == "asking"
    assert bench.state["message"]["level"] == "warn"
    bench.session.do("answer", action=[9.0])
    bench.tick(1)
    bench.do("end")
    episode = kept(bench)
    assert episode.action[:, 0].tolist() == pytest.approx([0.2, 0.2, 0.2, -0.4, 0.2, 0.2][: len(episode)])
    assert episode.labelled.tolist() == [True, False, False, False, True, False][: len(episode)]
    assert episode.label[[0, 4], 0].tolist() == [-0.5, 1.0]
    assert episode.control is not None
    assert not episode.control.any()


# -- shadows -----------------------------------------------------------------------------------------------


def test_in_the_shadow_the_policy_proposes_and_the_operator_drives(bench: Bench) -> None:
    bench.do("mode", name="shadow")
    bench.do("start")
    bench.tick(5)
    assert bench.phase == "ready"
    assert bench.state["disagreement"] is None
    bench.tick(3, "KeyA")
    assert bench.state["disagreement"] == pytest.approx(0.7)
    bench.do("end")
    episode = kept(bench)
    assert episode.action[:, 0].tolist() == [-0.5] * 3
    assert episode.labelled.all()
    assert episode.control is None


def test_an_expert_may_drive_in_the_operators_place(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "data", pilot=Script(), expert=Script("expert"))
    bench.do("mode", name="shadow")
    bench.do("start", "hand")
    bench.tick(2)
    assert bench.state["driver"] == "policy"
    assert bench.state["disagreement"] == 0.0
    bench.session.do("take")
    bench.tick(1, "KeyA")
    assert bench.state["disagreement"] == pytest.approx(0.1)
    bench.session.close()


def test_disagreement_is_in_half_ranges() -> None:
    spec = task("pendulum").action
    assert disagreement(np.array([2.0]), np.array([-2.0]), spec) == 2.0
    choice = task("slip-road").action
    assert [disagreement(np.array([0]), np.array([k]), choice) for k in (0, 1)] == [0.0, 1.0]


# -- watching ----------------------------------------------------------------------------------------------


def test_watching_records_nothing_and_ends_with_the_tasks_own_limit(bench: Bench, tmp_path: Path) -> None:
    bench.do("mode", name="watch")
    bench.do("start")
    bench.silent(LINE.horizon + 5)
    assert bench.phase == "idle"
    assert len(bench.env.asked) == LINE.horizon
    assert "no success" in bench.state["message"]["text"]
    assert not (tmp_path / "data").exists()
    assert bench.state["discarded"] == 0
    assert "nothing is recorded" in bench.do("start", "success")["message"]["text"]


class Slow:
    """The way of the script, so slowly that time runs out on the longer ones."""

    def reset(self, seed: int) -> None: ...

    def act(self, obs: Obs) -> Array:
        return np.append(0.12 * (obs["desired_goal"] - obs["achieved_goal"]), 0.0)


def test_a_live_evaluation_counts_what_evaluate_counts(tmp_path: Path) -> None:
    which = task("fetch-reach")
    bench = Bench(None, which, patient(which, 60.0), pilot=ExpertPilot(Slow()))
    bench.do("evaluate", n=6)
    assert bench.state["evaluation"]["running"]
    assert bench.phase == "running"
    for _ in range(6 * which.horizon):
        if not bench.state["evaluation"]["running"]:
            break
        bench.tick()
    shown = bench.state["evaluation"]
    report = evaluate(Slow(), which.make, range(1_000_000, 1_000_006))
    won = {o.seed: o.success for o in report.outcomes}
    assert bench.phase == "idle"
    assert (shown["n"], shown["done"]) == (6, 6)
    assert bench.session._desk.trial is not None
    assert bench.session._desk.trial.outcomes == won
    assert 0 < shown["successes"] == sum(map(bool, won.values())) < 6
    bench.do("evaluate", n=3)
    bench.do("end")
    assert bench.phase == "idle"
    assert not bench.state["evaluation"]["running"]
    bench.session.close()


def test_an_evaluation_is_of_one_policy(bench: Bench) -> None:
    bench.do("mode", name="watch")
    bench.do("evaluate", n=2)
    better = Script("better")
    assert "once the evaluation is over" in bench.do("pilot", pilot=better)["message"]["text"]
    bench.tick(2 * LINE.horizon)
    assert bench.state["evaluation"]["done"] == 2
    assert (bench.phase, better.calls) == ("idle", [])
    assert bench.do("start")["pilot"] == "better"


def test_an_evaluation_is_watched(bench: Bench) -> None:
    bench.do("mode", name="correct")
    assert "choose mode watch" in bench.do("evaluate", n=3)["message"]["text"]
