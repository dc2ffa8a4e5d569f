"""Rounds of learning beside a session: what they learn from, what they leave, and what survives what."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from understudy import storage
from understudy.agent import load
from understudy.dataset import Dataset
from understudy.episode import EXPERT, POLICY, Episode
from understudy.interactive.doubtgate import doubts
from understudy.interactive.hg_dagger import threshold
from understudy.learn import bc
from understudy.runs import Network, fit, fit_run, open_run
from understudy.serial import read_json, write_json
from understudy.studio.lesson import Lesson, drop, gathered, learn, lessons
from understudy.studio.pilots import open_pilot
from understudy.studio.recipe import Recipe, recipe_of
from understudy.studio.teaching import Teaching, rounds_folder
from understudy.train import Budget

QUICK = Recipe(
    Network(hidden=(8,), members=2),
    bc.Config(batch=16, decay=30),
    Budget(steps=30),
    0.25,
    successes_only=True,
)
LONG = replace(QUICK, budget=Budget(steps=10_000_000))
WAIT = 120.0  # seconds for a process to start on a busy machine, after which the test fails


def shown(seed: int, *, success: bool = True) -> Episode:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(13, 2))
    return Episode.demonstration(x, -0.5 * x[:-1], success=success, meta={"seed": seed})


def corrected(seed: int, driven: slice, *, success: bool = True) -> Episode:
    """An episode in which the operator drove some steps."""
    e = shown(seed, success=success)
    control = np.full(len(e), POLICY)
    control[driven] = EXPERT
    return replace(e, control=control, labelled=control == EXPERT)


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)


def lesson(at: Path, episodes: list[Episode], recipe: Recipe = QUICK, number: int = 1) -> Lesson:
    storage.write(at / "recorded", episodes) if not (at / "recorded").exists() else storage.append(
        at / "recorded", episodes
    )
    (at / "rounds").mkdir(exist_ok=True)
    return Lesson(at / "rounds", number, (at / "recorded",), recipe).save()


# ── what is learned from ─────────────────────────────────────────────────────────────────────────────────


def test_who_drove_teaches_and_who_did_not_does_not(tmp_path: Path) -> None:
    storage.write(tmp_path / "demonstrations", [shown(0), shown(1, success=False)])
    storage.write(
        tmp_path / "recorded",
        [shown(0), corrected(2, slice(0, 0)), corrected(3, slice(4, 9), success=False)],
    )
    sources = (tmp_path / "demonstrations", tmp_path / "recorded")
    strict = [e.meta["seed"] for e in gathered(sources, True)]
    assert strict == [0, 3]  # a failed demonstration is left out, a failed correction is not
    assert [e.meta["seed"] for e in gathered(sources, False)] == [0, 1, 3]


def test_a_round_is_behavioural_cloning_of_all_of_it_to_the_last_bit(tmp_path: Path) -> None:
    episodes = [*(shown(s) for s in range(5)), corrected(9, slice(2, 8))]
    done = learn(lesson(tmp_path, episodes))
    assert done.ended == "done"
    assert "5 demonstrations and 1 corrected episodes (6 labelled steps)" in done.message
    assert "held-out loss" in done.message
    agent, _ = fit(
        Dataset(episodes), config=QUICK.config, network=QUICK.network, budget=QUICK.budget, validation=0.25,
        which=None,
    )  # fmt: skip
    x = {"state": np.random.default_rng(5).normal(size=(7, 2)).astype(np.float32)}
    assert np.array_equal(load(done.run / "agent").act(x), agent.act(x))
    assert open_run(done.run)["data"]["episodes"] == 6
    assert Lesson.read(done.file) == done


def test_only_driven_steps_count(tmp_path: Path) -> None:
    """The labels of the steps that the policy drove are changed, and nothing comes of it."""
    one = corrected(9, slice(2, 8))
    other = replace(one, label=np.where(one.labelled[:, None], one.label, 7.0))
    agents = []
    for i, last in enumerate((one, other)):
        (tmp_path / str(i)).mkdir()
        done = learn(lesson(tmp_path / str(i), [shown(0), shown(1), last], replace(QUICK, validation=0.0)))
        agents.append(load(done.run / "agent"))
    x = {"state": np.random.default_rng(5).normal(size=(7, 2)).astype(np.float32)}
    assert np.array_equal(agents[0].act(x), agents[1].act(x))


def test_nothing_new_is_no_round(tmp_path: Path) -> None:
    learn(lesson(tmp_path, [shown(0), shown(1)]))
    again = Lesson(tmp_path / "rounds", 2, (tmp_path / "recorded",), QUICK).save()
    ended = learn(again)
    assert ended.ended == "failed"
    assert "nobody has driven since 001 was trained" in ended.message
    assert not ended.done
    assert learn(lesson(tmp_path, [shown(2)], number=2)).ended == "done"


def test_a_run_that_nobody_corrected_is_not_trained_again(tmp_path: Path) -> None:
    run = cloned(tmp_path)
    storage.write(tmp_path / "recorded", [corrected(9, slice(0, 0))])
    sources = (tmp_path / "data", tmp_path / "recorded")
    ended = learn(Lesson(tmp_path / "run-rounds", 1, sources, recipe_of(run), run).save())
    assert "nobody has driven since run was trained" in ended.message
    storage.append(tmp_path / "recorded", [corrected(8, slice(2, 5))])
    assert learn(ended).ended == "done"


def test_takeovers_set_the_threshold_as_hg_dagger_finds_it(tmp_path: Path) -> None:
    first = learn(lesson(tmp_path, [shown(s) for s in range(4)]))
    assert "takeovers" not in open_run(first.run)
    taken = [replace(corrected(s, slice(s, s + 4)), meta={"policy": "001", "seed": s}) for s in (5, 6, 7)]
    stranger = replace(corrected(8, slice(1, 3)), meta={"policy": "another", "seed": 8})
    second = learn(lesson(tmp_path, [*taken, stranger], number=2))
    agent = load(first.run / "agent")
    log = [float(doubts(agent, e)[s]) for e, s in zip(taken, (5, 6, 7), strict=True)]
    assert open_run(second.run)["takeovers"] == {"tau": pytest.approx(threshold(log)), "logged": 3}
    pilot = open_pilot(second.run)
    assert pilot.threshold == pytest.approx(log[-1])  # the mean of the last quarter of three
    assert "took over" in pilot.why


def test_a_finished_round_is_never_dropped(tmp_path: Path) -> None:
    done = learn(lesson(tmp_path, [shown(0), shown(1)]))
    with pytest.raises(ValueError, match="round 1 is finished"):
        drop(done)
    begun = Lesson(tmp_path / "rounds", 2, (tmp_path / "recorded",), QUICK).save()
    drop(begun)
    assert [x.number for x in lessons(tmp_path / "rounds")] == [1]


def test_a_job_that_is_none_is_refused(tmp_path: Path) -> None:
    job = lesson(tmp_path, [shown(0)])
    write_json(job.file, read_json(job.file) | {"round": 7})
    with pytest.raises(ValueError, match="do not fit"):
        Lesson.read(job.file)
    write_json(job.file, {"format": "something"})
    with pytest.raises(ValueError, match="not a version 1 lesson"):
        Lesson.read(job.file)


# ── the run's own way of learning ────────────────────────────────────────────────────────────────────────


def cloned(at: Path) -> Path:
    storage.write(at / "data", [shown(s) for s in range(4)])
    fit_run(
        algorithm="bc", data=at / "data", out=at / "run", config=bc.Config(batch=16, seed=3),
        network=Network(hidden=(8,)), budget=Budget(steps=12), validation=0.25,
    )  # fmt: skip
    return at / "run"


def test_a_run_brings_its_own_recipe_and_its_demonstrations(tmp_path: Path) -> None:
    run = cloned(tmp_path)
    recipe = recipe_of(run)
    assert (recipe.network, recipe.budget.steps, recipe.validation) == (Network(hidden=(8,)), 12, 0.25)
    assert recipe.config == bc.Config(batch=16, seed=3, decay=12)  # as the run's cosine had it
    teaching = Teaching(tmp_path / "corrections", run)
    assert teaching.rounds == tmp_path / "run-rounds"
    assert rounds_folder(teaching.rounds / "002") == teaching.rounds
    with pytest.raises(ValueError, match="nothing is recorded"):
        teaching.begin()
    assert teaching.state() is None
    with pytest.raises(ValueError, match="no round is under way"):
        teaching.cancel()


def test_what_cannot_learn_from_corrections_is_refused(tmp_path: Path) -> None:
    run = cloned(tmp_path)
    write_json(run / "run.json", read_json(run / "run.json") | {"algorithm": "sac"})
    with pytest.raises(ValueError, match="does not learn from corrections"):
        Teaching(tmp_path / "corrections", run)
    with pytest.raises(ValueError, match="brings its own recipe"):
        Teaching(tmp_path / "corrections", run, QUICK)


# ── the process beside the session ───────────────────────────────────────────────────────────────────────


def test_rounds_in_the_background_make_policies_to_swap_in(tmp_path: Path) -> None:
    storage.write(tmp_path / "recorded", [shown(s) for s in range(4)])
    teaching = Teaching(tmp_path / "recorded", recipe=QUICK)
    assert teaching.begin() == 1
    with pytest.raises(ValueError, match="round 1 is under way"):
        teaching.begin()
    until(lambda: (teaching.state() or {})["phase"] != "training")
    state = teaching.state()
    assert state is not None
    assert (state["phase"], state["step"], state["steps"], state["round"]) == ("done", 30, 30, 1)
    assert "held-out loss" in state["message"]
    pilot = teaching.take()
    assert pilot is not None
    assert pilot.threshold is not None
    assert pilot.act({"state": np.zeros(2, np.float32)}).shape == (2,)
    assert teaching.take() is None  # handed out once
    later = Teaching(tmp_path / "recorded", recipe=QUICK)  # after a crash, it is found again
    assert later.newest == tmp_path / "recorded-rounds" / "001"
    assert (later.state() or {})["phase"] == "done"


def test_a_server_that_is_killed_takes_the_training_with_it_and_it_goes_on_later(tmp_path: Path) -> None:
    storage.write(tmp_path / "recorded", [shown(s) for s in range(4)])
    server = (
        "import sys, time; from pathlib import Path; from understudy.studio.teaching import Teaching\n"
        "sys.path.insert(0, sys.argv[2]); from test_studio_teaching import LONG\n"
        "teaching = Teaching(Path(sys.argv[1]), recipe=LONG); teaching.begin()\n"
        "while not teaching.state()['step']: time.sleep(0.05)\n"
        "print(teaching._child.pid, flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", server, str(tmp_path / "recorded"), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.kill()
    job = lessons(tmp_path / "recorded-rounds")[0]
    until(lambda: Lesson.read(job.file).ended)  # the child has heard of it, and says so
    assert Lesson.read(job.file).ended == "interrupted"
    until(lambda: not Path(f"/proc/{child}").exists())
    stopped = int(Lesson.read(job.file).message.split()[3])
    teaching = Teaching(tmp_path / "recorded", recipe=LONG)
    state = teaching.state()
    assert state is not None
    assert state["phase"] == "interrupted"
    assert "train again to go on" in state["message"]
    assert teaching.begin() == 1
    until(lambda: (teaching.state() or {})["step"] > stopped)
    teaching.cancel()
    state = teaching.state()
    assert state is not None
    assert state["phase"] == "cancelled"
    assert not lessons(teaching.rounds)
    assert not job.run.exists()
    assert not job.data.exists()
