"""Recording low-dimensional episodes: frames a second of wall time, each episode synced when it counts.

    python benchmarks/recording.py --json-out benchmarks/results/recording.json

`Writer.add` returns when the episode survives a power cut, so the disk's syncs are in the figure; what one
sync of a small file takes on this disk is measured beside it. The rounds alternate between the lengths.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from common import arguments, emit, significant
from understudy import storage
from understudy.episode import Episode

WIDTH = 14
TARGETS = {200: ">= 5000", 50: None}  # steps an episode -> frames a second


def episodes(count: int, steps: int) -> list[Episode]:
    """Random walks of 14 joints, labelled by what was executed."""
    rng = np.random.default_rng(0)
    out = []
    for i in range(count):
        state = rng.standard_normal((steps + 1, WIDTH)).cumsum(0).astype(np.float32)
        meta = {"task": "follow", "operator": "ann", "seed": i}
        out.append(Episode.demonstration(state, state[1:], success=True, meta=meta))
    return out


def record(folder: Path, some: list[Episode]) -> tuple[float, float]:
    """Wall and CPU seconds for committing all but the first episode."""
    with storage.Writer(folder, fps=50) as writer:
        writer.add(some[0])
        wall, cpu = time.perf_counter(), time.process_time()
        for e in some[1:]:
            writer.add(e)
        return time.perf_counter() - wall, time.process_time() - cpu


def sync_milliseconds(folder: Path, size: int, times: int = 100) -> float:
    """The median time for writing one file of that size and syncing it."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        with open(folder / "probe", "wb") as file:
            file.write(bytes(size))
            file.flush()
            os.fsync(file.fileno())
        took.append(1e3 * (time.perf_counter() - began))
    return statistics.median(took)


def main() -> None:
    """Measures, and prints the record."""
    parser = arguments(__doc__)
    parser.add_argument("--episodes", type=int, default=500, help="of each length in a round")
    parser.add_argument("--repeats", type=int, default=5, help="rounds")
    parser.add_argument("--folder", type=Path, help="where to record; default: the system's temporary folder")
    args = parser.parse_args()
    made = {steps: episodes(args.episodes + 1, steps) for steps in TARGETS}
    walls: dict[int, list[float]] = {steps: [] for steps in TARGETS}
    cpus: dict[int, list[float]] = {steps: [] for steps in TARGETS}
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        probe = sync_milliseconds(Path(folder), 30_000)
        for i in range(args.repeats):
            for steps, some in made.items():
                wall, cpu = record(Path(folder) / f"{steps}-{i}", some)
                walls[steps].append(wall)
                cpus[steps].append(cpu)
                print(f"{steps} steps: {args.episodes * steps / wall:.0f} frames/s", file=sys.stderr)
    lengths: dict[str, Any] = {}
    for steps, target in TARGETS.items():
        rates = [args.episodes * steps / w for w in walls[steps]]
        found: dict[str, Any] = {k: significant(f(rates)) for k, f in _SUMMARY}
        if target is not None:
            found |= {"target": target, "met": found["median"] >= float(target.split()[1])}
        found["wall_ms_an_episode"] = significant(1e3 * statistics.median(walls[steps]) / args.episodes)
        found["cpu_ms_an_episode"] = significant(1e3 * statistics.median(cpus[steps]) / args.episodes)
        lengths[f"{steps} steps"] = found
    setting = {"state": WIDTH, "action": WIDTH, "episodes": args.episodes, "rounds": args.repeats}
    emit(
        {
            "unit": "frames recorded a second of wall time, synced",
            "setting": setting,
            "sync_of_30_kB_ms": significant(probe),
            "episodes_of": lengths,
        },
        args.json_out,
    )


_SUMMARY = (("median", statistics.median), ("low", min), ("high", max))

if __name__ == "__main__":
    main()
