"""The plainest way for a person to be the expert: questions and answers in a terminal."""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Callable
from typing import TypeAlias, final

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from understudy.episode import Array
from understudy.experts.advice import Bounded
from understudy.experts.queue import (
    AGREE,
    HAND_BACK,
    STOP,
    Answer,
    Question,
    QuestionQueue,
    QueueExpert,
    Timeout,
    act,
    go_on,
    take_over,
)

__all__ = ["Keyboard", "answer_of", "ask_in_terminal", "terminal_expert"]

Read: TypeAlias = Callable[[Callable[[], bool]], "str | None"]
"""(whether an answer is still wanted) -> a line, or None once it is not. EOFError where the input ends."""

_HELP = (
    "Enter: that is right · numbers: do this instead · g [steps | all]: go on by yourself · "
    "t [numbers]: I take over · h: I hand back · q: stop"
)


def answer_of(line: str) -> Answer:
    """What a line of text says.

    Empty: "agree". Numbers, separated by blanks or commas: "act". "g", "g 20" and "g all": "go on" for one
    step, for 20, for the rest of the episode. "t", with numbers or without: "take over". "h": "hand back".
    "q": "stop".

    Raises:
        ValueError: when it says none of these.

    >>> answer_of("0.5, -1").action.tolist(), answer_of("g 20").steps
    ([0.5, -1.0], 20)
    """
    words = line.replace(",", " ").split()
    if not words:
        return AGREE
    key, rest = words[0].lower(), words[1:]
    if key == "g" and len(rest) <= 1:
        return go_on(None if rest == ["all"] else _whole(rest[0]) if rest else 1)
    if key == "t":
        return take_over(_numbers(rest) if rest else None)
    if key in ("h", "q") and not rest:
        return HAND_BACK if key == "h" else STOP
    return act(_numbers(words))


def _whole(word: str) -> int:
    if not (word.isascii() and word.isdigit()):
        raise ValueError(f"{word!r} is no number of steps")
    return int(word)


def _numbers(words: list[str]) -> Array:
    try:
        return np.array([float(w) for w in words])
    except ValueError:
        raise ValueError(f"{' '.join(words)!r} is not understood") from None


@final
class Keyboard:
    """Lines that a person types, read so that a question that nobody waits for any more is given up."""

    def __init__(self) -> None:
        self._typed = ""

    def __call__(self, wanted: Callable[[], bool]) -> str | None:
        """A line without its end, or None when none is wanted any more.

        Raises:
            EOFError: when no line will ever come.
        """
        if os.name != "posix":  # no way to look whether something was typed without waiting for it
            return input()
        handle = sys.stdin.fileno()
        while "\n" not in self._typed:
            if not wanted():
                return None
            if select.select([handle], [], [], 0.1)[0]:
                # Not through sys.stdin: what its buffer has taken in, select does not see.
                if not (more := os.read(handle, 4096)):
                    raise EOFError
                self._typed += more.decode(errors="replace")
        line, _, self._typed = self._typed.partition("\n")
        return line


def ask_in_terminal(queue: QuestionQueue, console: Console | None = None, read: Read | None = None) -> None:
    """Shows every question of the queue and takes the answers, until the queue is closed.

    To be run in a thread of its own. At the end of the input the queue is closed, which stops the robot.

    Args:
        read: where the lines come from; the keyboard by default.
    """
    console, read = console or Console(stderr=True), read or Keyboard()
    told = False
    for question in queue:
        if not told:
            console.print(Text(_HELP, style="dim"))
        told = True
        _show(console, question)
        try:
            _settle(queue, question, console, read)
        except EOFError:
            queue.close()


def _settle(queue: QuestionQueue, question: Question, console: Console, read: Read) -> None:
    """Asks until the answer fits, or nobody waits for it any more."""
    while queue.open(question.id):
        if (line := read(lambda: queue.open(question.id))) is None:
            break
        try:
            queue.answer(question.id, answer_of(line))
            return
        except (ValueError, TypeError) as e:
            console.print(Text(f"{e}; once more", style="red"), Text(_HELP, style="dim"), sep="\n")
    console.print("too late: the question does not wait any more", style="yellow")


def _show(console: Console, question: Question) -> None:
    """What the robot sees, by name, and what it would do."""
    driver = "you drive" if question.held else "the policy drives"
    console.print(Text(f"episode {question.episode}, step {question.step}: {driver}"))
    table = Table(box=None, show_header=False)
    for name, value in question.obs.items():
        table.add_row(Text(name), Text(_brief(value)))
    table.add_row("proposed", Text(_brief(question.proposed)), style="bold")
    spec = question.spec
    allowed = f"0 to {spec.n - 1}" if spec.n is not None else f"{_brief(spec.low)} to {_brief(spec.high)}"
    table.add_row("allowed", Text(allowed), style="dim")
    console.print(table)


def _brief(value: Array) -> str:
    x = np.asarray(value)
    if x.ndim > 2 or x.size > 100:
        return f"{x.dtype}{list(x.shape)}"
    return np.array2string(x, precision=3, suppress_small=True)


def terminal_expert(
    spec: Bounded, timeout: Timeout | None = None, console: Console | None = None, read: Read | None = None
) -> QueueExpert:
    """A person at this terminal, as expert and gate; the thread that asks him is started here.

    Args:
        spec: what actions there are. timeout: what silence means; None waits for as long as it takes.
    """
    queue = QuestionQueue()
    threading.Thread(
        target=ask_in_terminal, args=(queue, console, read), name="questions", daemon=True
    ).start()
    return QueueExpert(queue, spec, timeout)
