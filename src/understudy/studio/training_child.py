"""The process that learns while somebody works at the page: `python -m understudy.studio.training_child`.

It is polite (lowest priority, one thread) and does not outlive its parent: where standard input ends, it
keeps a checkpoint and stops, and the round can go on later.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from understudy.storage import DataError
from understudy.storage.files import Lock
from understudy.studio.lesson import Lesson, learn

__all__ = ["main"]


def _with_parent() -> None:
    """Stops this process, politely, when the parent that holds the other end of standard input is gone."""
    while os.read(0, 1):  # not through sys.stdin, which a thread must not hold when the process ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main(file: Path) -> int:
    """Learns what ROUNDS/NNN.json asks for; 0 where that is done."""
    import torch

    torch.set_num_threads(1)
    os.nice(10)
    lesson = Lesson.read(file)
    try:
        lock = Lock(lesson.rounds)
    except DataError as busy:
        print(busy, file=sys.stderr)
        return 1
    threading.Thread(target=_with_parent, daemon=True).start()
    try:
        return 0 if learn(lesson).ended == "done" else 1
    finally:
        lock.release()


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
