"""Statistics of 10 million frames of 14 numbers in one pass: moments, extremes and quantiles.

    python benchmarks/dataset_statistics.py --json-out benchmarks/results/dataset_statistics.json

As a dataset in memory gives its rows (`Dataset.chunks`), and as recording gives them, an episode of 1,000
steps at a time. CPU time on one thread. How far the answers are off is measured beside it: the moments
against float64 over all rows, the quantiles by their rank among all rows.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np

from common import arguments, emit, significant
from understudy.storage.statistics import QUANTILES, Numbers

WIDTH = 14


def measured(rows: np.ndarray, piece: int) -> tuple[dict[str, Any], Numbers, dict[str, Any]]:
    """The time for taking all rows in, so many at once; the statistics; what they say."""
    numbers = Numbers((WIDTH,), rows.dtype)
    wall, cpu = time.perf_counter(), time.process_time()
    for at in range(0, len(rows), piece):
        numbers.add(rows[at : at + piece])
    said = numbers.summary()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"cpu": significant(cpu), "wall": significant(wall)}, numbers, said


def main() -> None:
    """Measures, and prints the record."""
    parser = arguments(__doc__)
    parser.add_argument("--frames", type=int, default=10_000_000)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((args.frames, WIDTH), dtype=np.float32)
    rows[:, ::3] **= 3  # heavy tails
    rows[:, 1] += 1e3  # far from zero
    found: dict[str, Any] = {}
    for name, piece in (("pieces of 65,536 rows", 1 << 16), ("episodes of 1,000 steps", 1000)):
        found[name], numbers, said = measured(rows, piece)
        found[name] |= {"rank_error_bound": significant(numbers.sketch.error / len(rows))}
        found[name] |= off(rows, said)
        print(f"{name}: {found[name]}", file=sys.stderr)
    chunks = found["pieces of 65,536 rows"]
    chunks |= {"target": "<= 3", "met": chunks["cpu"] <= 3}
    emit(
        {
            "unit": "seconds",
            "setting": {"frames": args.frames, "width": WIDTH, "dtype": "float32", "threads": 1},
            "versions": {"numpy": np.__version__},
            "one_pass": found,
        },
        args.json_out,
    )


def off(rows: np.ndarray, said: dict[str, Any]) -> dict[str, float]:
    """The largest errors: of mean and std in parts of the std, of quantiles in parts of the rows."""
    rank = moment = 0.0
    for d in range(0, WIDTH, 5):
        column = rows[:, d].astype(np.float64)
        std = column.std()
        moment = max(moment, abs(said["mean"][d] - column.mean()) / std, abs(said["std"][d] / std - 1))
        for name, q in QUANTILES.items():
            rank = max(rank, abs(float((column <= said[name][d]).mean()) - q))
    return {"moment_error": significant(moment), "rank_error": significant(rank)}


if __name__ == "__main__":
    main()
