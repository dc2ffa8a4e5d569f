"""Records episodes in a process that is killed at a random instant, again and again, when told to.

    python killed_recorder.py FOLDER SEED

Each line on standard input is one life; the answer is how many episodes the recorder had been told are safe.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np

from understudy import storage
from understudy.episode import Episode


def episode(number: int) -> Episode:
    """The same in every process: state, a camera, labels that are not the actions, measured times."""
    rng = np.random.default_rng(number)
    steps = 20 + number % 30
    obs = {
        "state": rng.standard_normal((steps + 1, 14)),
        "front": rng.integers(0, 256, (steps + 1, 12, 16, 3), dtype=np.uint8),
    }
    action = rng.standard_normal((steps, 14)).astype(np.float32)
    label = action if number % 2 else action + 1
    meta = {"task": f"task {number % 3}", "seed": number}
    when = np.cumsum(rng.random(steps + 1))
    return Episode(
        obs, action, label, rng.random(steps) < 0.9, rng.random(steps), False, number % 5 > 0, meta, when
    )


def live(folder: Path, chance: random.Random) -> int:
    """One recorder's life: how many episodes it had been told are committed when it was killed."""
    ready, told = os.pipe()
    if (child := os.fork()) == 0:
        with storage.Writer(folder, append=True) as writer:
            while True:
                writer.add(episode(writer.episodes))
                os.write(told, b"%d " % writer.episodes)
    os.close(told)
    words, enough = b"", chance.randrange(6)
    while words.count(b" ") < enough:
        words += os.read(ready, 1 << 16)
    time.sleep(chance.uniform(0, 0.05))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while part := os.read(ready, 1 << 16):
        words += part
    os.close(ready)
    return int((words.split() or [b"0"])[-1])


if __name__ == "__main__":
    draw = random.Random(int(sys.argv[2]))
    for _ in sys.stdin:
        print(live(Path(sys.argv[1]), draw), flush=True)
