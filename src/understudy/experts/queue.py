"""An expert who is a person: each question waits in a queue until another thread answers it.

The robot's thread asks and waits; whoever shows questions to the person (a terminal, a window, a web page)
takes them out of the queue and answers them, from any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NoReturn, TypeAlias, final, get_args

import numpy as np
from numpy.typing import ArrayLike

from understudy.episode import Array, Obs
from understudy.experts.advice import Bounded

__all__ = [
    "AGREE",
    "GO_ON",
    "HAND_BACK",
    "STOP",
    "Answer",
    "Question",
    "QuestionQueue",
    "QueueClosed",
    "QueueExpert",
    "Stopped",
    "Timeout",
    "act",
    "go_on",
    "take_over",
]

Kind: TypeAlias = Literal["act", "agree", "go on", "take over", "hand back", "stop"]


class Stopped(ValueError):
    """The person, or his silence, stopped the robot in the middle of an episode, which is not kept."""


class QueueClosed(Stopped):
    """Nobody answers any more."""


@dataclass(frozen=True, eq=False)
class Question:
    """What would you do here?

    Args:
        id: to answer it by; of this queue alone.
        episode, step: both from 0. seed: of the episode.
        obs: what the robot sees, raw units. proposed: [A], what it would do.
        held: whether the person held the controls in the step before.
        spec: what actions there are.
    """

    id: int
    episode: int
    step: int
    seed: int
    obs: Obs
    proposed: Array
    held: bool
    spec: Bounded


@dataclass(frozen=True, eq=False)
class Answer:
    """What a person says; the functions and constants of this module make it.

    Args:
        kind: "act": do `action`. "agree": what is proposed is right, and it is his label. "go on": the robot
            is on its own, without a label, for `steps` steps. "take over": he holds the controls from here
            on, doing `action` or, where that is None, what is proposed. "hand back": the robot has the
            controls again, without a label. "stop": the episode ends here and is not kept.
        steps: None for the rest of the episode.

    Raises:
        ValueError: for another kind, an action where there can be none, none where there must be one, or
            steps that are not at least 1.
    """

    kind: Kind
    action: Array | None = None
    steps: int | None = 1

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"an answer is {self.kind!r}; it must be one of {', '.join(get_args(Kind))}")
        if self.kind == "act" and self.action is None:
            raise ValueError("answer 'act' needs an action")
        if self.kind not in ("act", "take over") and self.action is not None:
            raise ValueError(f"answer {self.kind!r} takes no action")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps is {self.steps}; it must be at least 1")


AGREE, HAND_BACK, STOP, GO_ON = Answer("agree"), Answer("hand back"), Answer("stop"), Answer("go on")


def act(action: ArrayLike) -> Answer:
    """Do this instead, [A]. Before a gate it also takes the controls."""
    return Answer("act", np.asarray(action))


def take_over(action: ArrayLike | None = None) -> Answer:
    """I hold the controls now; without an action [A], what is proposed is what I do."""
    return Answer("take over", None if action is None else np.asarray(action))


def go_on(steps: int | None) -> Answer:
    """Go on by yourself for so many steps, or (None) to the end of the episode, without asking again."""
    return Answer("go on", None, steps)


@dataclass(frozen=True)
class Timeout:
    """What it means when nobody answers in time; whoever makes the expert decides.

    Args:
        seconds: how long a question waits.
        then: "stop" raises `Stopped`: a robot that must not move unwatched. "go on" lets the policy act, and
            have the controls, without a label: a person who speaks only when he sees a reason to.
    """

    seconds: float
    then: Literal["stop", "go on"]

    def __post_init__(self) -> None:
        if not 0 < self.seconds < float("inf") or self.then not in ("stop", "go on"):
            raise ValueError(
                f"timeout is {self.seconds} s, then {self.then!r}; it must be greater than 0, then 'stop' or "
                "'go on'"
            )


class _Slot:
    def __init__(self, question: Question) -> None:
        self.question, self.shown = question, False
        self.answer: Answer | None = None


@final
class QuestionQueue:
    """Questions on their way to a person, and answers on their way back. Every method is thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._slots: dict[int, _Slot] = {}
        self._asked, self._closed = 0, False

    def ask(self, make: Callable[[int], Question], seconds: float | None = None) -> Answer | None:
        """Puts the question that `make` makes of its id, and waits: the answer, or None when time is up.

        Raises:
            QueueClosed: when the queue is closed, before or while waiting.
        """
        with self._changed:
            number, self._asked = self._asked, self._asked + 1
            slot = self._slots[number] = _Slot(make(number))
            self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: self._closed or slot.answer is not None, seconds)
                if slot.answer is None and self._closed:
                    raise QueueClosed("nobody answers any more: the queue of questions is closed")
                return slot.answer
            finally:  # also when the robot's thread is interrupted: late answers are refused
                del self._slots[number]

    def get(self, seconds: float | None = None) -> Question | None:
        """The next question that nobody has seen, or None when time is up. Each is given out once.

        Raises:
            QueueClosed: when the queue is closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._unseen() is not None, seconds)
            if self._closed:
                raise QueueClosed("the queue of questions is closed")
            if (slot := self._unseen()) is None:
                return None
            slot.shown = True
            return slot.question

    def _unseen(self) -> _Slot | None:
        return next((s for s in self._slots.values() if not s.shown), None)

    def __iter__(self) -> Iterator[Question]:
        """Every question as it comes, until the queue is closed."""
        while True:
            try:
                question = self.get()
            except QueueClosed:
                return
            assert question is not None
            yield question

    def open(self, id: int) -> bool:
        """Whether a question still waits for its answer."""
        with self._changed:
            return not self._closed and id in self._slots and self._slots[id].answer is None

    def answer(self, id: int, answer: Answer) -> None:
        """Answers a question.

        Raises:
            ValueError: when it does not wait any more, or the action does not fit; then it goes on waiting.
            TypeError: when the action is not made of numbers.
        """
        with self._changed:
            if self._closed or id not in self._slots or self._slots[id].answer is not None:
                raise ValueError(f"question {id} does not wait for an answer (any more)")
            slot = self._slots[id]
            if answer.action is not None:
                answer = Answer(answer.kind, slot.question.spec.settle(answer.action), answer.steps)
            slot.answer = answer
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody answers any more: who waits, and who asks from here on, is stopped. Twice is once."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


@final
class QueueExpert:
    """A person at a queue as an `Expert`, and as a gate: `Gated(person, person)` asks once a step.

    As an expert he is asked at every step (DAgger). As a gate he also says who drives: an action or "take
    over" takes the controls, "agree" leaves them where they are, "go on" and "hand back" give them away.

    Args:
        queue: where the questions go.
        spec: what actions there are, against which answers are checked before they reach the robot.
        timeout: what it means when nobody answers in time; None waits for as long as it takes.
    """

    name = "a person"

    def __init__(self, queue: QuestionQueue, spec: Bounded, timeout: Timeout | None) -> None:
        self.queue, self.spec, self.timeout = queue, spec, timeout
        self._episode = -1
        self.reset(0)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a person answers in this process only; use one worker")

    def reset(self, seed: int) -> None:
        """Starts an episode. It counts from its first step on, so resetting twice is resetting once."""
        self._seed, self._step = seed, -1
        self._alone: int | None = 0  # steps for which he let the robot go on; None to the end
        self._heard: Answer | None = None

    def takes(self, obs: Obs, proposed: Array, held: bool, ask: Callable[[], Array]) -> bool:
        """Whether he drives this step; what he said of it is what `advise` answers.

        Raises:
            Stopped: when he says so, when the queue is closed, or when time is up and that means to stop.
        """
        self._heard = self._listen(obs, proposed, held)
        return self._heard.kind in ("act", "take over") or (held and self._heard.kind == "agree")

    def advise(self, obs: Obs, proposed: Array) -> Array | None:
        """What he would do, [A]; None where he lets the robot go on by itself.

        Raises:
            Stopped: as `takes`.
        """
        answer, self._heard = self._heard or self._listen(obs, proposed, held=False), None
        if answer.kind in ("go on", "hand back"):
            return None
        return proposed if answer.action is None else answer.action

    def _listen(self, obs: Obs, proposed: Array, held: bool) -> Answer:
        self._episode += self._step < 0
        self._step += 1
        if self._alone is None or self._alone > 0:
            self._alone = None if self._alone is None else self._alone - 1
            return GO_ON
        # Copies: the environment may write into its arrays while the person is thinking.
        seen = MappingProxyType({k: np.array(v) for k, v in obs.items()})
        here = (self._episode, self._step, self._seed, seen, np.array(proposed), held, self.spec)
        limit = self.timeout
        answer = self.queue.ask(lambda id: Question(id, *here), None if limit is None else limit.seconds)
        if answer is None and limit is not None and limit.then == "stop":
            raise Stopped(f"nobody answered within {limit.seconds:g} s in step {self._step}")
        answer = answer or GO_ON
        if answer.kind == "stop":
            raise Stopped(f"stopped by the person in step {self._step}")
        if answer.kind == "go on":
            self._alone = None if answer.steps is None else answer.steps - 1
        return answer
