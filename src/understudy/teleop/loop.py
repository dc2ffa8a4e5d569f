"""Ticks in real time, in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import final

from understudy.teleop.frame import Frame
from understudy.teleop.session import Session

__all__ = ["Loop"]


@final
class Loop:
    """Runs a session's ticks at its rate, by absolute deadlines, in a thread of its own.

    After a stall it goes on from now: periods that were missed are counted and not made up for, since two
    control steps at once would be a jump. An exception, of the session or of `on_frame`, ends the loop and is
    the session's state from then on (phase "error").

    Args:
        on_frame: called with every frame, in the loop's thread.
        clock: the session's, in seconds.
        wait: waits for so many seconds, or until told to stop; gives whether it was. Tests put theirs here.

    Attributes:
        missed: periods in which nothing was done. ticks: those in which something was.
        error: why the loop ended by itself; "" where it did not.
    """

    def __init__(
        self,
        session: Session,
        on_frame: Callable[[Frame], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self.session, self._on_frame, self._clock = session, on_frame, clock
        self._stop = threading.Event()
        self._wait = self._stop.wait if wait is None else wait
        self.missed = self.ticks = 0
        self.error = ""
        self._thread = threading.Thread(target=self.run, name="control", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def run(self) -> None:
        """Ticks until told to stop, in this thread."""
        period, due = 1.0 / self.session.rate, self._clock()
        try:
            while not self._stop.is_set() and not self._wait(max(0.0, due - self._clock())):
                self._on_frame(self.session.tick(self._clock()))
                self.ticks += 1
                due += period
                if (late := self._clock() - due) > 0.0:
                    whole = int(late / period)
                    self.missed += whole
                    due += whole * period
        except Exception as e:
            self.error = f"{type(e).__name__}: {e}"
            self.session.fail(self.error)

    def stop(self) -> None:
        """Ends the loop, and waits for the tick under way. Twice is once."""
        self._stop.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()
