"""A person at a queue: questions and answers between threads, silence, stopping, and the terminal."""

from __future__ import annotations

import io
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from understudy.envs import ActionSpec, task
from understudy.episode import EXPERT, POLICY, Episode
from understudy.experts import Gate, Gated, QuestionQueue, QueueExpert, Timeout
from understudy.experts.pendulum import PendulumExpert
from understudy.experts.queue import (
    AGREE,
    GO_ON,
    HAND_BACK,
    STOP,
    Answer,
    Question,
    QueueClosed,
    Stopped,
    act,
    go_on,
    take_over,
)
from understudy.experts.terminal import Keyboard, answer_of, ask_in_terminal
from understudy.roles import Expert
from understudy.rollout import RolloutError, rollout, rollouts

PENDULUM = task("pendulum")
SPEC = PENDULUM.action
OBS = {"state": np.array([1.0, 0.0, 0.0], np.float32)}
PROPOSED = np.array([0.5], np.float32)
Person = Callable[[Question], Answer]


@contextmanager
def answered(person: Person, timeout: Timeout | None = None) -> Iterator[tuple[QueueExpert, list[Question]]]:
    """An expert whose questions a second thread answers, and what it was asked."""
    queue, asked = QuestionQueue(), []

    def sit() -> None:
        for question in queue:
            asked.append(question)
            queue.answer(question.id, person(question))

    thread = threading.Thread(target=sit)
    thread.start()
    try:
        yield QueueExpert(queue, SPEC, timeout), asked
    finally:
        queue.close()
        thread.join(10)
        assert not thread.is_alive()


def run(expert: QueueExpert, steps: int, *, gated: bool = False, seed: int = 0) -> Episode:
    stands_by: Any = Gated(expert, expert) if gated else expert
    more = (stands_by, stands_by) if gated else (stands_by,)
    return rollout(PENDULUM.make(), PendulumExpert(), seed, *more, max_steps=steps)


def test_answers_from_another_thread_are_executed_and_are_labels() -> None:
    says = [act([1.0]), AGREE, GO_ON, act([9.0]), take_over([-1.0]), HAND_BACK]
    with answered(lambda q: says[q.step]) as (expert, asked):
        episode = run(expert, 6, seed=11)
    own = [float(q.proposed[0]) for q in asked]
    assert episode.action[:, 0].tolist() == pytest.approx([1.0, own[1], own[2], 2.0, -1.0, own[5]])
    assert episode.labelled.tolist() == [True, True, False, True, True, False]
    assert [(q.episode, q.step, q.seed) for q in asked] == [(0, i, 11) for i in range(6)]
    assert np.array_equal(np.stack([q.obs["state"] for q in asked]), episode.obs["state"][:-1])


def test_a_question_keeps_what_was_seen_whatever_the_environment_does_next() -> None:
    obs = {"state": np.zeros(3)}

    def disturb(question: Question) -> Answer:
        obs["state"] += 1.0
        return act(question.obs["state"][:1])

    with answered(disturb) as (expert, _):
        expert.reset(0)
        assert np.asarray(expert.advise(obs, PROPOSED)).tolist() == [0.0]


def test_before_a_gate_the_person_is_asked_once_a_step_and_says_who_drives() -> None:
    says = [AGREE, act([1.0]), AGREE, HAND_BACK, take_over(), act([-1.0]), GO_ON, AGREE]
    with answered(lambda q: says[q.step]) as (expert, asked):
        assert isinstance(expert, Gate)
        assert isinstance(expert, Expert)
        episode = run(expert, 8, gated=True)
    assert len(asked) == 8
    drives = [False, True, True, False, True, True, False, False]
    assert episode.control is not None
    assert episode.control.tolist() == [EXPERT if d else POLICY for d in drives]
    assert episode.labelled.tolist() == drives
    assert [q.held for q in asked] == [False, *drives[:-1]]
    own = np.stack([q.proposed for q in asked])
    assert episode.action[[1, 5], 0].tolist() == [1.0, -1.0]
    assert np.array_equal(episode.action[[0, 2, 3, 4, 6, 7]], own[[0, 2, 3, 4, 6, 7]])


def test_go_on_for_some_steps_asks_again_after_them_and_ends_with_the_episode() -> None:
    with answered(lambda q: go_on(3) if q.episode == 0 else go_on(None)) as (expert, asked):
        for seed in range(3):
            run(expert, 8, seed=seed)
    assert [(q.episode, q.step) for q in asked] == [(0, 0), (0, 3), (0, 6), (1, 0), (2, 0)]


def test_silence_means_what_the_caller_chose() -> None:
    queue = QuestionQueue()
    expert = QueueExpert(queue, SPEC, Timeout(0.01, "go on"))
    episode = run(expert, 3, gated=True)
    assert not episode.labelled.any()
    expert = QueueExpert(queue, SPEC, Timeout(0.01, "stop"))
    with pytest.raises(Stopped, match=r"nobody answered within 0.01 s in step 0"):
        run(expert, 3)
    with pytest.raises(ValueError, match="timeout is 0 s"):
        Timeout(0, "stop")
    with pytest.raises(ValueError, match="then 'wait'"):
        Timeout(1, "wait")  # type: ignore[arg-type]


def test_an_answer_that_comes_too_late_is_refused() -> None:
    queue = QuestionQueue()
    expert = QueueExpert(queue, SPEC, Timeout(0.01, "go on"))
    expert.reset(0)
    with ThreadPoolExecutor(1) as pool:
        shown = pool.submit(queue.get, 1)
        assert expert.advise(OBS, PROPOSED) is None
        question = shown.result(10)
    if question is not None:  # the question may have gone before it was looked at
        assert not queue.open(question.id)
    with pytest.raises(ValueError, match="question 0 does not wait for an answer"):
        queue.answer(0, AGREE)


def test_an_answer_that_does_not_fit_is_refused_and_the_question_stays() -> None:
    def clumsy(question: Question) -> Answer:
        for wrong, why in (([1.0, 2.0], "1 numbers are needed"), ([np.nan], "finite")):
            with pytest.raises(ValueError, match=why):
                queue.answer(question.id, act(wrong))
        with pytest.raises(TypeError, match="numbers are needed"):
            queue.answer(question.id, act(["left"]))
        assert queue.open(question.id)
        return act([1.5])

    with answered(clumsy) as (expert, _):
        queue = expert.queue
        assert run(expert, 1).action.tolist() == [[1.5]]
    for kind, action, steps, why in (
        ("shrug", None, 1, "an answer is 'shrug'"),
        ("act", None, 1, "'act' needs an action"),
        ("agree", np.zeros(1), 1, "'agree' takes no action"),
        ("go on", None, 0, "steps is 0"),
    ):
        with pytest.raises(ValueError, match=why):
            Answer(kind, action, steps)  # type: ignore[arg-type]


def test_a_closed_queue_stops_who_waits_and_who_asks_afterwards() -> None:
    queue = QuestionQueue()
    expert = QueueExpert(queue, SPEC, None)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(run, expert, 3)
        assert queue.get(10) is not None
        queue.close()
        with pytest.raises(QueueClosed):
            waiting.result(10)
    with pytest.raises(QueueClosed):
        run(expert, 3)
    with pytest.raises(QueueClosed):
        queue.get()
    assert list(queue) == []
    queue.close()


def test_stopping_in_the_middle_leaves_the_episodes_before_as_they_are() -> None:
    kept: list[Episode] = []
    with (
        answered(lambda q: STOP if (q.episode, q.step) == (2, 5) else act([0.1])) as (expert, _),
        pytest.raises(RolloutError, match="seed 2: stopped by the person in step 5") as caught,
    ):
        rollouts(PENDULUM.make, PendulumExpert(), range(4), expert, max_steps=9, progress=kept.append)
    assert isinstance(caught.value.__cause__, Stopped)
    with answered(lambda q: act([0.1])) as (expert, _):
        whole = rollouts(PENDULUM.make, PendulumExpert(), range(2), expert, max_steps=9)
    assert kept == whole


def test_several_robots_can_wait_at_one_queue() -> None:
    queue = QuestionQueue()
    with ThreadPoolExecutor(8) as pool:
        robots = [pool.submit(run, QueueExpert(queue, SPEC, None), 5, seed=i) for i in range(8)]
        for _ in range(40):
            question = queue.get(10)
            assert question is not None
            queue.answer(question.id, act([question.seed / 10]))
        episodes = [r.result(10) for r in robots]
    for i, episode in enumerate(episodes):
        assert np.allclose(episode.label, i / 10)
    assert queue.get(0.001) is None


def test_a_person_does_not_travel_to_another_process() -> None:
    with pytest.raises(TypeError, match="use one worker"):
        pickle.dumps(QueueExpert(QuestionQueue(), SPEC, None))


@pytest.mark.parametrize(
    ("line", "kind", "action", "steps"),
    [
        ("", "agree", None, 1),
        ("  0.5 ", "act", [0.5], 1),
        ("1,-2e-1", "act", [1.0, -0.2], 1),
        ("g", "go on", None, 1),
        ("G 20", "go on", None, 20),
        ("g all", "go on", None, None),
        ("t", "take over", None, 1),
        ("t 1 2", "take over", [1.0, 2.0], 1),
        ("h", "hand back", None, 1),
        ("q", "stop", None, 1),
    ],
)
def test_a_typed_line_is_an_answer(line: str, kind: str, action: Any, steps: int | None) -> None:
    answer = answer_of(line)
    assert (answer.kind, answer.steps) == (kind, steps)
    assert action is None if answer.action is None else answer.action.tolist() == action


@pytest.mark.parametrize("line", ["left", "g many", "g 1 2", "q now", "t left", "1 two", "g -1", "g 0"])
def test_a_line_that_says_nothing_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"is not understood|is no number of steps|steps is 0"):
        answer_of(line)


class Typist:
    """Types these lines, one a question, and then walks away."""

    def __init__(self, *lines: str) -> None:
        self.lines = list(lines)

    def __call__(self, wanted: Callable[[], bool]) -> str | None:
        if not self.lines:
            raise EOFError
        return self.lines.pop(0)


def at_terminal(read: Any, steps: int, timeout: Timeout | None = None) -> tuple[Episode | Exception, str]:
    queue, screen = QuestionQueue(), io.StringIO()
    console = Console(file=screen, width=120)
    thread = threading.Thread(target=ask_in_terminal, args=(queue, console, read))
    thread.start()
    try:
        result: Episode | Exception = run(QueueExpert(queue, SPEC, timeout), steps)
    except Stopped as e:
        result = e
    queue.close()
    thread.join(10)
    assert not thread.is_alive()
    return result, screen.getvalue()


def test_the_terminal_shows_names_and_proposals_and_takes_numbers() -> None:
    episode, screen = at_terminal(Typist("1.5", "up", "0.1 0.2", "", "g", "t -1"), 4)
    assert isinstance(episode, Episode)
    assert episode.labelled.tolist() == [True, True, False, True]
    assert episode.action[[0, 3], 0].tolist() == [1.5, -1.0]
    for words in (
        "episode 0, step 3: the policy drives",
        "state",
        "proposed",
        "[-2.] to [2.]",
        "[steps | all]",
    ):
        assert words in screen
    assert "'up' is not understood; once more" in screen
    assert "1 numbers are needed; once more" in screen


def test_the_end_of_the_input_stops_the_robot() -> None:
    stopped, _ = at_terminal(Typist("", ""), 5)
    assert isinstance(stopped, QueueClosed)


def test_the_terminal_gives_up_a_question_that_nobody_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is typed: the keyboard is let go of when time is up, and the typed line is for the next."""
    there, here = os.pipe()
    with os.fdopen(there) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        episode, screen = at_terminal(Keyboard(), 2, Timeout(0.02, "go on"))
        assert isinstance(episode, Episode)
        assert not episode.labelled.any()
        assert "too late" in screen
        os.write(here, b"1.0\n0.5\nq\n")
        stopped, _ = at_terminal(Keyboard(), 5)
        assert isinstance(stopped, Stopped)
        assert "in step 2" in str(stopped)
        os.close(here)
        ended, _ = at_terminal(Keyboard(), 5)
        assert isinstance(ended, QueueClosed)


def test_discrete_choices_are_whole_numbers_that_exist() -> None:
    queue = QuestionQueue()
    expert = QueueExpert(queue, ActionSpec.discrete(3), None)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(expert.advise, OBS, np.array([1]))
        question = queue.get(10)
        assert question is not None
        for wrong in ([3], [0.5]):
            with pytest.raises(ValueError, match="not one of the choices"):
                queue.answer(question.id, act(wrong))
        queue.answer(question.id, act([2.0]))
        said = waiting.result(10)
    assert said is not None
    assert said.tolist() == [2]
    assert said.dtype == np.int64
