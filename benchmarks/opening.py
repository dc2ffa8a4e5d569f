"""Opening a dataset of 1,000 episodes recorded one by one: everything read, checked and ready for batches.

    python benchmarks/opening.py --json-out benchmarks/results/opening.json

"read" is `storage.read`: every value of every file in memory and held against its checksum, so that any
episode or batch is at hand; "info" is what the metadata alone tells; "batch" adds the index of windows and a
first batch of 64 with 100 actions ahead. In processes that have imported the library, files in the system's
cache, one thread: CPU time is what a quiet machine takes, wall time stands beside it. Three folders: as
recorded, as `storage.compact` leaves it, and without what we note of where numbers lie, as of other tools.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import arguments, emit, launch, launch_peer, missing, significant
from recording import episodes
from understudy import storage

EPISODES, STEPS = 1000, 200
TARGET = "<= 0.3"


def without_notes(folder: Path) -> None:
    """Takes our own columns out of the episode rows."""
    import pyarrow.parquet as pq

    for path in sorted(folder.glob("meta/episodes/*/*.parquet")):
        table = pq.read_table(path)
        ours = [n for n in table.column_names if n.startswith("understudy/")]
        pq.write_table(table.drop_columns(ours).replace_schema_metadata(), path)


def main() -> None:
    """Measures, and prints the record."""
    parser = arguments(__doc__)
    parser.add_argument("--repeats", type=int, default=7, help="rounds")
    args = parser.parse_args()
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as where:
        folders = {name: Path(where) / name for name in ("recorded", "compacted", "without notes")}
        with storage.Writer(folders["recorded"], fps=50) as writer:
            for e in episodes(EPISODES, STEPS):
                writer.add(e)
        for name in ("compacted", "without notes"):
            shutil.copytree(folders["recorded"], folders[name])
        storage.compact(folders["compacted"])
        without_notes(folders["without notes"])
        for name, folder in folders.items():
            with launch("ours", "understudy_opening.py", {"folder": str(folder)}) as process:
                process.run("read", 1)
                times: dict[str, list[dict[str, Any]]] = {run: [] for run in ("info", "read", "batch")}
                for _ in range(args.repeats):
                    for run, those in times.items():
                        those.append(process.run(run, 1))
                versions = process.facts["versions"]
            found[name] = {run: summary(those) for run, those in times.items()}
            print(f"{name}: {found[name]}", file=sys.stderr)
        peer = lerobot(folders["recorded"])
    read = found["recorded"]["read"]
    read |= {"target": TARGET, "met": read["median"] <= float(TARGET.split()[1])}
    record = {
        "unit": "seconds of CPU time",
        "setting": {"episodes": EPISODES, "steps": STEPS, "state": 14, "action": 14, "rounds": args.repeats},
        "versions": versions,
        "folders": found,
        "lerobot": peer,
    }
    emit(record, args.json_out)


def summary(those: list[dict[str, Any]]) -> dict[str, Any]:
    """Median, least and most of the CPU times, and the median of the wall times."""
    cpus = [t["cpu"] for t in those]
    out = {"median": statistics.median(cpus), "low": min(cpus), "high": max(cpus)}
    out["wall"] = statistics.median(t["wall"] for t in those)
    return {k: significant(v) for k, v in out.items()}


def lerobot(folder: Path) -> dict[str, Any]:
    """LeRobot's dataset object over the same folder: the first time, when it makes its cache, and again."""
    process = launch_peer("lerobot", "lerobot_windows.py", {"folder": str(folder), "horizon": 1}, "lerobot")
    if process is None:
        return missing("lerobot", None)
    with process as peer:
        return {
            "first_wall": significant(peer.facts["opened"]),
            "again": significant(peer.run("open", 1)["cpu"]),
            "versions": peer.facts["versions"],
        }


if __name__ == "__main__":
    main()
