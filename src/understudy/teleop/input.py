"""What an operator's devices say, and the box in which it waits for the next control step."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any, final

from understudy.teleop.words import checked

__all__ = ["STALE", "Command", "Inbox", "Input"]

STALE = 0.3  # seconds after which a page that says nothing is taken to hold nothing
_KEYS, _AXES, _NAME = 32, 32, 32  # keys down at once, axes or buttons of a pad, letters of a key's name
_PRESSED = 0.5  # of a button's way
_WAITING = 256  # commands that wait for one control step


@final
@dataclass(frozen=True)
class Input:
    """What is held down and pushed at one moment.

    Args:
        seq: the sender's count, which comes back as `Frame.ack`.
        keys: codes of the keys that are down (KeyboardEvent.code).
        axes, buttons: of the gamepad, in [-1, 1] and [0, 1], in the order of the standard layout.
        target: where the hand is dragged to, in metres of the scene; None where nobody drags.
        touch: stick to the right, stick up, slider up and fingers (1 opens, -1 closes), in [-1, 1]; empty
            where nobody touches.
        received: when it came, in seconds of the session's clock.
        pressed: keys and buttons ("Pad0", ...) that went down since the last control step, also where they
            are up again. The inbox fills it in.

    Raises:
        ValueError: when a number is not finite or out of its range, or there are more than there can be.
    """

    seq: int = 0
    keys: frozenset[str] = frozenset()
    axes: tuple[float, ...] = ()
    buttons: tuple[float, ...] = ()
    target: tuple[float, float, float] | None = None
    touch: tuple[float, ...] = ()
    received: float = 0.0
    pressed: frozenset[str] = field(default=frozenset(), compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.seq < 2**32:
            raise ValueError(f"seq is {self.seq}; it must lie in [0, 2^32)")
        if len(self.keys) > _KEYS or any(not 0 < len(k) <= _NAME for k in self.keys):
            raise ValueError(f"{len(self.keys)} keys are down; at most {_KEYS}, of {_NAME} letters, can be")
        for name, values, most in (
            ("axes", self.axes, _AXES),
            ("buttons", self.buttons, _AXES),
            ("touch", self.touch, _AXES),
        ):
            if len(values) > most or not all(-1.0 <= v <= 1.0 for v in values):
                raise ValueError(f"{name} are {values[:8]}; at most {most} numbers in [-1, 1] can be")
        if self.target is not None and not (
            len(self.target) == 3 and all(isfinite(v) and abs(v) < 1e6 for v in self.target)
        ):
            raise ValueError(f"target is {self.target}; it must be three finite numbers of metres, or None")

    @property
    def down(self) -> frozenset[str]:
        """Keys and buttons that are held."""
        return self.keys | {f"Pad{i}" for i, v in enumerate(self.buttons) if v > _PRESSED}


@dataclass(frozen=True)
class Command:
    """One thing that the operator, or the program, wants done: a word and what belongs to it."""

    what: str
    args: Mapping[str, Any]


@final
class Inbox:
    """Where inputs and commands wait for the next control step. Every method is thread-safe.

    Of inputs the newest wins, but a key that was only tapped between two steps still counts for the next.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: Input | None = None
        self._pressed: frozenset[str] = frozenset()
        self._commands: deque[Command] = deque()

    def put(self, input: Input) -> None:
        """Replaces what was held."""
        with self._lock:
            before = frozenset() if self._newest is None else self._newest.down
            self._pressed |= input.down - before
            self._newest = input

    def empty(self) -> None:
        """Nobody holds anything any more."""
        with self._lock:
            self._newest, self._pressed = None, frozenset()

    def take(self, now: float) -> tuple[Input | None, int]:
        """What is held now, and the seq of the newest input; None where nothing was heard for 0.3 s."""
        with self._lock:
            newest, pressed = self._newest, self._pressed
            self._pressed = frozenset()
        if newest is None:
            return None, 0
        if now - newest.received > STALE:
            return None, newest.seq
        taps = frozenset(k for k in pressed if not k.startswith("Pad"))
        return replace(newest, keys=newest.keys | taps, pressed=pressed), newest.seq

    def do(self, what: str, args: Mapping[str, Any]) -> None:
        """Queues a command.

        Raises:
            ValueError: when there is no such command, its arguments do not fit, or too many wait already.
        """
        command = Command(what, checked(what, args))
        with self._lock:
            if len(self._commands) >= _WAITING:
                raise ValueError(f"{_WAITING} commands wait already; {what!r} came too soon")
            self._commands.append(command)

    def commands(self) -> list[Command]:
        """Everything that was queued, in its order."""
        with self._lock:
            out = list(self._commands)
            self._commands.clear()
        return out
