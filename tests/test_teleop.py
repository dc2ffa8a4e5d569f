"""A person at the controls of a session: phases, the dead man's handle, recording, saving, the loop."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from teleop_bench import FPS, LINE, Bench, Line, Script
from understudy.envs import task
from understudy.quality import inspect
from understudy.storage import DataError, Writer, read, write
from understudy.teleop import FIRST_SEED, MODES, PHASES, Loop, Session, controls_for, paced, patient
from understudy.teleop import keeping as keeping_module
from understudy.teleop.keeping import Keeper, fresh
from understudy.teleop.phases import TABLE, WHY
from understudy.teleop.words import WORDS


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "data")
    yield made
    made.session.close()


def record(bench: Bench, steps: int = 5) -> dict[str, Any]:
    """Drives to the right for so many steps, and ends there."""
    bench.do("start")
    bench.tick(steps, "KeyD")
    return bench.do("end")


# -- recording ---------------------------------------------------------------------------------------------


def test_recording_leaves_the_simulation_as_it_is_without_it(tmp_path: Path) -> None:
    which = task("fetch-pick-place")
    bench = Bench(tmp_path / "data", which, patient(which, 60.0), seconds=12.0)
    keys = ["KeyW", "KeyA KeyE", "KeyS", "KeyQ", "", "Space KeyD", "KeyD KeyW", "KeyA"]
    bench.do("start")
    for i in range(300):
        bench.tick(1, keys[i // 7 % len(keys)] or ("KeyE" if i == 0 else ""))
    assert (bench.phase, bench.state["step"]) == ("review", 300)
    bench.do("save")
    bench.settle()
    (episode,) = read(tmp_path / "data")
    plain = patient(which, 60.0)
    obs, _ = plain.reset(seed=int(episode.meta["seed"]))
    for t, action in enumerate(episode.action):
        assert all(np.array_equal(obs[k], episode.obs[k][t]) for k in obs), f"step {t}"
        obs, *_ = plain.step(action)
    assert all(np.array_equal(obs[k], episode.obs[k][300]) for k in obs)
    assert np.abs(np.diff(episode.obs["state"][:, :3], axis=0)).max() > 0.005, "nothing moved"
    bench.session.close()
    plain.close()


def test_an_episode_begins_with_the_first_motion_and_holds_the_facts(bench: Bench, tmp_path: Path) -> None:
    bench.do("start")
    bench.tick(30)
    assert (bench.phase, bench.state["step"], bench.env.asked) == ("ready", 0, [])
    bench.tick(3, "KeyD")
    bench.tick(2)
    bench.do("success", "save")
    bench.settle()
    assert [bench.state[k] for k in ("phase", "saved", "discarded")] == ["idle", 1, 0]
    (episode,) = read(tmp_path / "data")
    assert episode.action[:, 0].tolist() == [0.5, 0.5, 0.5, 0.0, 0.0]
    assert episode.labelled.all()
    assert np.array_equal(episode.label, episode.action)
    assert episode.control is None
    assert episode.time is not None
    assert np.allclose(np.diff(episode.time), 1 / FPS)
    assert episode.success is True
    assert episode.meta["task_success"] == 0
    facts = {k: v for k, v in episode.meta.items() if k != "started"}
    assert facts == {
        "task": "line", "operator": "Ann", "instruction": "go to the right", "source": "teleop", "speed": 0.5,
        "seed": FIRST_SEED, "mode": "record", "task_success": 0, "success_by": "operator",
    }  # fmt: skip


def test_a_task_that_stays_done_ends_the_episode_and_its_word_stands_where_nobody_marks(
    bench: Bench, tmp_path: Path
) -> None:
    bench.do("start")
    bench.tick(20, "KeyD")  # x = 1
    assert bench.phase == "running"
    bench.tick(FPS // 2 - 1, "KeyD")
    assert (bench.phase, bench.state["success"]) == ("running", True)
    bench.tick(1, "KeyD")
    assert (bench.phase, bench.state["mark"]) == ("review", None)
    bench.do("save")
    bench.settle()
    (episode,) = read(tmp_path / "data")
    assert len(episode) == 30
    assert episode.success is True
    assert episode.meta["success_by"] == "task"


def test_the_longest_time_ends_an_episode_and_the_world_then_rests(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "data", seconds=0.5)
    bench.do("start")
    bench.tick(30, "KeyA")
    assert bench.phase == "review"
    assert len(bench.env.asked) == bench.state["step"] == 10
    bench.session.close()


def test_the_world_counts_down_after_a_reset_and_start_skips_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "data", countdown=1.0)
    bench.do("start")
    assert bench.phase == "countdown"
    assert bench.state["countdown"] == pytest.approx(1.0, abs=0.06)
    bench.tick(FPS - 1, "KeyD")
    assert bench.phase == "countdown"
    assert not bench.env.asked
    bench.tick(2, "KeyD")
    assert bench.phase == "running"
    bench.do("discard", "start", "start")
    assert bench.phase == "ready"
    bench.session.close()


def test_saved_episodes_have_seeds_of_their_own_and_nothing_is_wrong_with_their_labels(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "data"
    for seeds in ([0, 1], [2, 3]):
        bench = Bench(folder)
        for _ in seeds:
            record(bench)
            bench.do("start")  # keeps it, and begins the next
            bench.settle()
        assert bench.state["saved"] == 2
        bench.session.close()
    data = read(folder)
    assert [e.meta["seed"] for e in data] == [FIRST_SEED + i for i in range(4)]
    findings = inspect(data, bounds=(LINE.action.low, LINE.action.high)).findings
    assert not [f for f in findings if "label" in f.kind or f.severity == "error"]
    assert all(e.labelled.all() for e in data)


def test_recording_again_has_the_same_seed_and_discarding_a_new_one(bench: Bench) -> None:
    record(bench)
    bench.do("again")
    assert (bench.phase, bench.env.seed, bench.state["discarded"]) == ("ready", FIRST_SEED, 1)
    bench.tick(3, "KeyD")
    bench.do("discard")
    assert (bench.phase, bench.state["discarded"]) == ("idle", 2)
    bench.do("start")
    assert bench.env.seed == FIRST_SEED + 1
    bench.do("end")  # nothing was driven: nothing to look at, and the seed is as good as new
    assert (bench.phase, bench.state["discarded"]) == ("idle", 2)
    bench.do("start")
    assert bench.env.seed == FIRST_SEED + 1


def test_seeds_of_evaluation_are_never_recorded() -> None:
    seeds = fresh(999_999)
    assert [next(seeds) for _ in range(3)] == [999_999, 3_000_000, 3_000_001]
    for wrong in (-1, 1_000_000, 2_999_999):
        with pytest.raises(ValueError, match="kept for evaluation"):
            next(fresh(wrong))


def test_pausing_stops_the_world_and_its_time(bench: Bench) -> None:
    bench.do("start")
    bench.tick(3, "KeyD")
    bench.do("pause")
    bench.tick(50, "KeyD")
    assert (bench.phase, len(bench.env.asked)) == ("paused", 3)
    bench.do("resume")
    bench.tick(2, "KeyD")
    tape = bench.session._course.tape
    assert tape is not None
    assert len(tape) == 6
    assert np.allclose(np.diff(tape._time), 1 / FPS), "the time it stood still is no time of the world"


def test_where_actions_are_choices_the_world_waits_for_each(tmp_path: Path) -> None:
    from understudy.teleop import Input

    which = task("slip-road")
    bench = Bench(tmp_path / "data", which, which.make(), pilot=Script())
    bench.do("start")
    bench.tick(5)
    assert bench.state["step"] == 0
    bench.tick(3, "Digit1")  # held down it is one press
    bench.tick(4)
    assert (bench.phase, bench.state["step"]) == ("running", 1)
    bench.session.put(Input(99, frozenset({"Digit3"}), received=bench.now))
    bench.silent(2)
    bench.do("end", "save")
    bench.settle()
    assert read(tmp_path / "data")[0].action.tolist() == [[0], [2]]
    bench.session.close()


@pytest.mark.parametrize("name", ["pendulum", "reacher", "point-maze", "lunar-lander-continuous"])
def test_other_tasks_are_recorded_in_their_own_time(name: str, tmp_path: Path) -> None:
    which = task(name)
    bench = Bench(tmp_path / "data", which, patient(which, 60.0))
    key = next(b["keys"][0] for b in bench.session.controls.bindings if b["device"] == "keyboard")
    bench.do("start")
    frame = bench.tick(4, key)
    assert len(frame.poses) > 0
    assert np.isfinite(frame.poses).all()
    bench.do("end", "save")
    bench.settle()
    (episode,) = read(tmp_path / "data")
    assert len(episode) == 4
    assert episode.time is not None
    assert np.allclose(np.diff(episode.time), 1 / (which.fps or 10))
    bench.session.close()


def test_people_have_more_time_only_where_the_limit_is_not_the_task() -> None:
    assert patient(task("fetch-push"), 30.0).horizon == 751
    assert patient(task("fetch-push"), 0.5).horizon == 50
    assert patient(task("pendulum"), 30.0).horizon == 200


# -- every word in every phase -----------------------------------------------------------------------------


def bring(phase: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A session in that phase."""
    mode = "label" if phase == "asking" else "correct" if phase in ("running", "paused") else "record"
    bench = Bench(tmp_path / "data", pilot=Script(), countdown=5.0 if phase == "countdown" else 0.0)
    bench.do("mode", name=mode)
    if phase == "error":
        bench.session.fail("the sky fell")
    elif phase != "idle":
        bench.do("start")
    if phase == "paused":
        bench.do("pause")
    if phase in ("review", "saving"):
        bench.tick(3, "KeyD")
        bench.do("end")
    if phase == "saving":
        monkeypatch.setattr(Keeper, "finished", lambda self: False)
        bench.do("save")
    assert bench.phase == phase
    return bench


ARGS: dict[str, dict[str, Any]] = {
    "mode": {"name": "watch"}, "speed": {"value": 0.3}, "operator": {"name": "Bob"},
    "instruction": {"text": "left"}, "every": {"k": 2}, "guard": {"on": True}, "evaluate": {"n": 2},
    "pilot": {"pilot": Script("other")},
}  # fmt: skip
SETTINGS = ("speed", "operator", "instruction", "every", "guard", "pilot")


def chosen(state: dict[str, Any]) -> dict[str, bool]:
    """Of each setting, whether it is as `ARGS` has it."""
    new = {"speed": 0.3, "operator": "Bob", "instruction": "left", "every": 2, "guard": True}
    told = state["message"] is not None and "other drives from" in state["message"]["text"]
    return {k: state[k] == v for k, v in new.items()} | {"pilot": told}


AFTER = {  # word -> phase before -> phase after; where a phase is missing, the word is answered
    "start": {
        "idle": "ready", "error": "ready", "countdown": "ready", "paused": "running", "review": "saving",
    },
    "end": {"countdown": "idle", "ready": "idle", "running": "review", "paused": "review", "asking": "idle"},
    "discard": dict.fromkeys(("countdown", "ready", "running", "paused", "asking", "review"), "idle"),
    "again": {
        "countdown": "countdown", "ready": "ready", "running": "running", "paused": "running",
        "asking": "asking", "review": "ready",
    },
    "success": {"running": "review", "paused": "review", "asking": "idle", "review": "review"},
    "failure": {"running": "review", "paused": "review", "asking": "idle", "review": "review"},
    "save": {"review": "saving"},
    "take": {"running": "running", "paused": "running"},
    "hand": {"running": "running", "paused": "running"},
    "pause": {"running": "paused"},
    "resume": {"paused": "running"},
    "answer": {"asking": "running"},
    "skip": {"asking": "running"},
    "mode": {"idle": "idle", "error": "idle", "countdown": "idle", "ready": "idle"},
}  # fmt: skip


@pytest.mark.parametrize("phase", PHASES)
def test_every_word_in_every_phase_acts_or_is_answered(
    phase: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for word in WORDS:
        with monkeypatch.context() as patch:
            bench = bring(phase, tmp_path / word, patch)
            before = bench.state
            state = bench.do(word, **ARGS.get(word, {}))
            if word in SETTINGS:
                assert state["phase"] == phase
                assert chosen(state)[word] != chosen(before)[word], word
            elif phase in AFTER.get(word, {}):
                assert (word, state["phase"]) == (word, AFTER[word][phase])
            else:
                assert (state["phase"], state["message"]["level"]) == (phase, "warn"), (word, phase)
            if phase != "saving":
                bench.settle()
        bench.session.close()


def test_the_table_speaks_of_words_and_phases_that_there_are() -> None:
    assert TABLE.keys() == WORDS.keys()
    assert all(phases.keys() <= set(PHASES) for phases in TABLE.values())
    assert {w for w, phases in TABLE.items() if set(phases) != set(PHASES)} == WHY.keys()


@pytest.mark.parametrize(
    ("word", "args", "rule"),
    [
        ("jump", {}, "no command 'jump'"),
        ("start", {"now": 1}, "takes no 'now'"),
        ("mode", {}, "needs 'name'"),
        ("mode", {"name": "<script>"}, "no mode '<script>'"),
        ("speed", {"value": 1.5}, r"in \[0, 1\]"),
        ("speed", {"value": float("nan")}, r"in \[0, 1\]"),
        ("speed", {"value": True}, "must be a number"),
        ("operator", {"name": " \n"}, "must say something"),
        ("operator", {"name": "x" * 101}, "at most 100"),
        ("instruction", {"text": 3}, "must be text"),
        ("every", {"k": 0}, "whole number"),
        ("evaluate", {"n": 10**9}, "whole number"),
        ("guard", {"on": 1}, "true or false"),
        ("answer", {"action": [float("inf")]}, "finite"),
        ("answer", {"action": "north"}, "list of numbers"),
        ("pilot", {"pilot": object()}, "no pilot"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(
    bench: Bench, word: str, args: dict[str, Any], rule: str
) -> None:
    with pytest.raises(ValueError, match=rule) as caught:
        bench.session.do(word, **args)
    assert "\n" not in str(caught.value)
    assert bench.do("operator", name="a\x00b\n<b>")["operator"] == "a b <b>"


def test_commands_that_nobody_fetches_do_not_pile_up(bench: Bench) -> None:
    for _ in range(256):
        bench.session.do("every", k=3)
    with pytest.raises(ValueError, match="wait already"):
        bench.session.do("every", k=4)
    bench.tick()
    assert bench.state["every"] == 3


# -- the dead man's handle ---------------------------------------------------------------------------------


def test_silence_of_a_third_of_a_second_is_no_motion_and_of_two_seconds_a_pause(bench: Bench) -> None:
    bench.do("start")
    bench.tick(4, "KeyD")
    bench.silent(5)  # 0.25 s: still held
    assert bench.env.asked == [0.5] * 9
    bench.silent(5)
    assert bench.env.asked[9:] == [0.5] + [0.0] * 4  # 0.3 s exactly is still fresh
    bench.silent(40)
    assert bench.phase == "paused"
    assert bench.state["message"]["level"] == "warn"
    stood = len(bench.env.asked)
    bench.tick(5, "KeyD")
    assert len(bench.env.asked) == stood, "nothing moves again by itself"


def test_keys_that_are_let_go_and_a_blurred_page_move_nothing(bench: Bench) -> None:
    bench.do("start")
    bench.tick(2, "KeyD")
    bench.tick(2)
    assert bench.env.asked == [0.5, 0.5, 0.0, 0.0]


def test_a_lost_link_pauses_at_the_next_tick_and_calls_off_what_has_not_begun(bench: Bench) -> None:
    bench.do("start")
    bench.session.lost()
    bench.silent()
    assert bench.phase == "idle"
    bench.do("start")
    bench.tick(2, "KeyD")
    bench.session.lost()
    bench.silent()
    assert bench.phase == "paused"
    assert bench.env.asked == [0.5, 0.5]
    assert bench.do("end")["phase"] == "review"


def test_a_tap_between_two_ticks_still_moves_one_step(bench: Bench) -> None:
    from understudy.teleop import Input

    bench.do("start")
    bench.session.put(Input(7, frozenset({"KeyD"}), received=bench.now))
    bench.session.put(Input(8, frozenset(), received=bench.now))
    assert bench.session.tick(bench.now + 0.05).ack == 8
    bench.now += 0.05
    bench.tick(2)
    assert bench.env.asked == [0.5, 0.0, 0.0]


# -- what goes wrong ---------------------------------------------------------------------------------------


def test_a_full_disk_keeps_the_episode_and_saving_again_works(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(bench)
    bench.do("save")
    bench.settle()

    def full(self: Writer, *_: Any) -> None:
        raise DataError("cannot write into data: No space left on device")

    record(bench, 7)
    with monkeypatch.context() as patch:
        patch.setattr(Writer, "add", full)
        bench.do("start")
        state = bench.settle()
        assert (state["phase"], state["saved"]) == ("review", 1)
        assert state["message"]["level"] == "error"
        assert "No space left" in state["message"]["text"]
    assert len(read(tmp_path / "data")) == 1
    bench.do("save")
    assert bench.settle()["saved"] == 2
    assert bench.phase == "idle"
    assert [len(e) for e in read(tmp_path / "data")] == [5, 7]
    assert [last["index"] for last in bench.state["last"]] == [0, 1]


def test_somebody_else_may_edit_the_dataset_between_episodes(bench: Bench, tmp_path: Path) -> None:
    record(bench)
    bench.do("save")
    bench.settle()
    with Writer(tmp_path / "data", append=True) as other:
        record(bench)
        bench.do("save")
        assert bench.settle()["message"]["level"] == "error"
        assert other.episodes == 1
    bench.do("save")
    assert bench.settle()["saved"] == 2


def test_an_episode_is_on_disk_before_it_counts(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    real = Writer.add

    def slow(self: Writer, episode: Any) -> None:
        gate.wait(10)
        real(self, episode)

    monkeypatch.setattr(Writer, "add", slow)
    record(bench)
    bench.do("save")
    bench.tick(20)
    assert (bench.phase, bench.state["saved"]) == ("saving", 0), "and ticks go on meanwhile"
    gate.set()
    assert bench.settle()["saved"] == 1 == len(read(tmp_path / "data"))


def test_closing_saves_what_waits_for_a_decision_and_says_where_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path / "data")
    record(bench)
    bench.session.close()
    bench.session.close()
    assert len(read(tmp_path / "data")) == 1
    bench = Bench(tmp_path / "data")
    record(bench)
    monkeypatch.setattr(keeping_module, "Writer", lambda *_, **__: (_ for _ in ()).throw(DataError("full")))
    with pytest.raises(DataError, match="full"):
        bench.session.close()


def test_a_world_that_breaks_leaves_the_episode_to_be_kept_and_the_session_alive(bench: Bench) -> None:
    bench.env.breaks_at = 3
    bench.do("start")
    bench.tick(10, "KeyD")
    assert bench.phase == "review"
    assert "the belt broke" in bench.state["message"]["text"]
    bench.do("save")
    assert bench.settle()["saved"] == 1
    bench.env.breaks_at = 0
    bench.do("start")
    bench.tick(1, "KeyD")
    assert bench.phase == "error"
    assert bench.state["message"]["level"] == "error"
    bench.env.breaks_at = None
    bench.do("start")
    bench.tick(1, "KeyD")
    assert bench.phase == "running"


def test_a_session_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither a folder"):
        Bench(None)
    with pytest.raises(ValueError, match="other actions"):
        Session(Line(), LINE, controls_for(task("pendulum")), tmp_path / "x", operator="Ann")
    with pytest.raises(ValueError, match="seconds is 0"):
        Bench(tmp_path / "x", seconds=0)
    bench = Bench(tmp_path / "data")
    assert bench.session.modes == ("record",)
    for mode in MODES[1:]:
        assert "needs a policy" in bench.do("mode", name=mode)["message"]["text"]
    watching = Bench(None, pilot=Script())
    assert watching.session.modes == ("watch",)
    assert "needs a folder" in watching.do("mode", name="record")["message"]["text"]
    assert json.dumps(watching.state)


def test_a_folder_of_another_task_is_refused_when_saving_and_the_episode_stays(tmp_path: Path) -> None:
    from understudy.rollout import rollout

    pendulum = task("pendulum")
    assert pendulum.expert is not None
    write(tmp_path / "data", [rollout(pendulum.make(), pendulum.expert(), 0, max_steps=3)], fps=20)
    bench = Bench(tmp_path / "data")
    record(bench)
    bench.do("save")
    assert bench.settle()["phase"] == "review"
    assert "alike" in bench.state["message"]["text"]
    bench.do("discard")
    bench.session.close()


# -- real time ---------------------------------------------------------------------------------------------


def test_rates_above_sixty_take_whole_numbers_of_steps_a_tick() -> None:
    assert [paced(f) for f in (20, 60, 61, 125)] == [(20, 1), (60, 1), (30.5, 2), (125 / 3, 3)]


def test_a_fast_world_takes_its_steps_in_each_tick_at_their_own_times(tmp_path: Path) -> None:
    from dataclasses import replace

    bench = Bench(tmp_path / "data", replace(LINE, fps=125))
    bench.do("start")
    bench.tick(4, "KeyD")
    tape = bench.session._course.tape
    assert tape is not None
    assert len(tape) == 12
    assert np.allclose(np.diff(tape._time), 1 / 125)
    bench.session.close()


def test_the_loop_keeps_its_deadlines_and_never_bursts(bench: Bench) -> None:
    clock, waits, frames = [0.0], list[float](), list[float]()

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        clock[0] += seconds
        return len(frames) >= 8

    def on_frame(frame: Any) -> None:
        frames.append(round(clock[0], 6))
        clock[0] += 0.52 if len(frames) == 3 else 0.01  # the third takes ten periods

    loop = Loop(bench.session, on_frame, clock=lambda: clock[0], wait=wait)
    loop.run()
    assert frames == pytest.approx([0.0, 0.05, 0.10, 0.62, 0.65, 0.70, 0.75, 0.80])
    assert loop.missed == 9
    assert loop.ticks == 8
    assert loop.error == ""


def test_what_breaks_in_the_loop_is_the_state_from_then_on(bench: Bench) -> None:
    def on_frame(frame: Any) -> None:
        raise OSError("nobody listens")

    loop = Loop(bench.session, on_frame)
    loop.run()
    assert loop.error == "OSError: nobody listens"
    assert bench.phase == "error"
    assert "nobody listens" in bench.state["message"]["text"]


def test_inputs_and_commands_from_many_threads_lose_nothing(bench: Bench) -> None:
    from understudy.teleop import Input

    frames: list[Any] = []
    loop = Loop(bench.session, frames.append)
    loop.start()
    errors: list[BaseException] = []

    def hammer(k: int) -> None:
        try:
            for i in range(200):
                bench.session.put(Input(i, frozenset({"KeyD"}), received=bench.now))
                if i % 20 == 0:
                    bench.session.do("every", k=k + 1)
                json.dumps(bench.session.state())
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=hammer, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    loop.stop()
    loop.stop()
    assert not errors
    assert loop.error == ""
    assert bench.session.tick(bench.now).ack == 199
    assert bench.state["every"] in (1, 2, 3, 4)
