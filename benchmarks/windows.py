"""Batches of windows: 64 frames with 100 actions ahead each, 14 joints; ours and LeRobot's.

    python benchmarks/windows.py --json-out benchmarks/results/windows.json

One dataset, recorded by us; LeRobot opens it as its training script does, with `delta_timestamps` and a
DataLoader in the same process. A step is a shuffled batch; frames are the windows in it.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import (
    emit,
    launch,
    launch_peer,
    missing,
    ratio,
    significant,
    time_in_turns,
    timed_arguments,
)
from recording import episodes
from understudy import storage

SPEC = {"batch": 64, "horizon": 100}
EPISODES, STEPS = 50, 400


def main() -> None:
    """Measures, and prints the record."""
    args = timed_arguments(__doc__, seconds=1.0, repeats=5).parse_args()
    with tempfile.TemporaryDirectory() as where, contextlib.ExitStack() as stack:
        folder = Path(where) / "data"
        storage.write(folder, episodes(EPISODES, STEPS), fps=50)
        spec = SPEC | {"folder": str(folder)}
        there = {"ours": stack.enter_context(launch("ours", "understudy_windows.py", spec))}
        if (peer := launch_peer("lerobot", "lerobot_windows.py", spec, "lerobot")) is not None:
            there["lerobot"] = stack.enter_context(peer)
        turns = {name: (c, "step") for name, c in there.items()}
        timings = time_in_turns(turns, seconds=args.seconds, repeats=args.repeats, warm_up=3)
        contenders: dict[str, Any] = {}
        for name, c in there.items():
            rate = significant(1e3 * SPEC["batch"] / timings[name].record()["cpu_ms"])
            contenders[name] = timings[name].record() | {"frames_a_second": rate} | c.facts
            print(f"{name}: {rate} frames/s", file=sys.stderr)
    record: dict[str, Any] = {
        "unit": "CPU milliseconds a batch",
        "setting": SPEC | {"state": 14, "action": 14, "frames_of_data": EPISODES * STEPS, "workers": 0},
        "contenders": contenders,
        "ratios": {},
    }
    if "lerobot" in timings:
        record["ratios"]["lerobot/ours"] = ratio(timings["lerobot"], timings["ours"], ">= 100")
    else:
        contenders["lerobot"] = missing("lerobot", None)
    emit(record, args.json_out)


if __name__ == "__main__":
    main()
