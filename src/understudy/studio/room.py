"""What was opened: who is driven, where it is recorded, and who learns from it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from understudy.studio.hub import Live
from understudy.studio.library import Library
from understudy.studio.wire import VERSION
from understudy.teleop import Input, Session

if TYPE_CHECKING:  # what learns needs torch, which takes a while to load; driving and looking do not
    from understudy.studio.pilots import RunPilot
    from understudy.studio.teaching import Teaching

__all__ = ["Nobody", "Room", "Teacher"]


@final
@dataclass(frozen=True)
class Room:
    """What was opened.

    Args:
        session: None where a dataset's task is not known here, so that it can only be looked at.
        folder: where episodes go. library: of that folder.
        teacher: of policies, from what is recorded; `why` says why there is none for this policy.
    """

    session: Session | None
    folder: Path
    library: Library
    teacher: Teacher
    why: str = ""

    @property
    def live(self) -> Live:
        """Who is driven and shown: the session, or nobody."""
        return Nobody() if self.session is None else self.session

    @property
    def scene(self) -> bytes | None:
        """The geometry of what is driven; None where nothing can be drawn."""
        scene = None if self.session is None else self.session.scene
        return None if scene is None else scene.blob

    @property
    def hello(self) -> dict[str, Any]:
        """What a page is told first."""
        return {
            "version": VERSION,
            "data": True,
            **(_ABSENT if self.session is None else _about(self.session)),
        }


@final
class Teacher:
    """A `Teaching` that is there when it is first needed. Every method is thread-safe.

    Args:
        folder: what is recorded. run: whose policy drives; None where there is none yet.
    """

    def __init__(self, folder: Path, run: Path | None) -> None:
        self._folder, self._run = folder, run
        self._lock = threading.Lock()
        self._made: Teaching | None = None

    def load(self) -> Teaching:
        """The teaching itself.

        Raises:
            ValueError: when the run cannot learn from corrections.
        """
        from understudy.studio.teaching import Teaching

        with self._lock:
            if self._made is None:
                self._made = Teaching(self._folder, self._run)
            return self._made

    def begin(self) -> None:
        """Starts a round; ValueError when it cannot be."""
        self.load().begin()

    def cancel(self) -> None:
        """Ends the round under way; ValueError when there is none."""
        self.load().cancel()

    def state(self) -> dict[str, Any] | None:
        """How it goes, ready for JSON; None where nothing was trained."""
        return None if self._made is None else self._made.state()

    def take(self) -> RunPilot | None:
        """A new policy, once."""
        return None if self._made is None else self._made.take()

    def close(self) -> None:
        """Stops the round under way; it can be gone on with later."""
        if self._made is not None:
            self._made.close()


@final
class Nobody:
    """In place of a session where there is nothing to drive."""

    def put(self, input: Input) -> None:
        """Nothing moves."""

    def do(self, what: str, **args: Any) -> None:
        """There is nothing that could be done.

        Raises:
            ValueError: always.
        """
        raise ValueError("there is nothing to drive here; only the data can be looked at")

    def lost(self) -> None:
        """Nobody was there."""

    def state(self) -> dict[str, Any]:
        """Idle for ever."""
        return {"phase": "idle", "mode": None, "modes": [], "driver": None, "message": None}


_ABSENT: dict[str, Any] = {
    "task": None, "bindings": [], "modes": [], "cameras": [], "obs": {}, "action": None
}  # fmt: skip


def _about(session: Session) -> dict[str, Any]:
    which, controls = session.task, session.controls
    spec = controls.spec
    action = {"low": spec.low.tolist(), "high": spec.high.tolist(), "labels": list(controls.labels)}
    return {
        "task": which.name,
        "bindings": controls.bindings,
        "modes": list(session.modes),
        "cameras": [name for name, shape in which.obs.items() if len(shape) == 3 and shape[2] == 3],
        "obs": {name: list(shape) for name, shape in which.obs.items()},
        "action": action,
    }
