"""A recorder killed with SIGKILL at 200 random instants: what is lost.

    python benchmarks/crash.py --json-out benchmarks/results/crash.json

After each kill the folder is opened as it lies, and every episode in it is compared, bit for bit, with what
was recorded. "lost" are episodes that the recorder had been told are committed and that are not there or
differ; "in flight" are kills after which one more was there than it had been told. The next recorder begins
by repairing what the kill left.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from common import WORKERS, arguments, emit, environment

sys.path.insert(0, str(WORKERS))

from killed_recorder import episode

from understudy import storage


def main() -> None:
    """Kills, and prints the record."""
    parser = arguments(__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the instants")
    args = parser.parse_args()
    found: Counter[str] = Counter()
    left: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where) / "data"
        command = [sys.executable, str(WORKERS / "killed_recorder.py"), str(folder), str(args.seed)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, **pipes, env=environment()) as killer:
            committed = 0
            for i in range(args.kills):
                killer.stdin.write("once\n")
                killer.stdin.flush()
                told = max(committed, int(killer.stdout.readline()))
                committed = check(folder, told, found)
                found["kills"] += 1
                left.update(dict.fromkeys(kinds(folder), 1))
                if i % 20 == 19:
                    print(f"{i + 1} kills: {dict(found)}", file=sys.stderr)
            killer.stdin.close()
        last = storage.repair(folder)
        found["episodes"] = len(storage.read(folder))
    record = {
        "unit": "kills",
        "setting": {"seed": args.seed, "steps": "20 to 49", "camera": "16x12 PNG"},
        "found": dict(found),
        "left_by_a_kill": dict(left),
        "last_repair": list(last),
        "verdict": {"lost": float(found["lost"]), "target": "<= 0", "met": found["lost"] == 0},
    }
    emit(record, args.json_out)


def check(folder: Path, told: int, found: Counter[str]) -> int:
    """Opens the folder as it lies and compares; how many episodes are in it."""
    if not (folder / "meta" / "info.json").exists():
        found["killed before there was a dataset"] += 1
        found["lost"] += told
        return 0
    try:
        data = list(storage.read(folder))
    except storage.DataError as e:
        if told or "no episodes yet" not in str(e):
            found["not opened"] += 1
            found["lost"] += told
        return 0
    found["opened"] += 1
    found["in flight, and there"] += len(data) == told + 1
    found["lost"] += max(0, told - len(data)) + (len(data) > told + 1)
    found["lost"] += sum(e != episode(i) for i, e in enumerate(data))
    return len(data)


def kinds(folder: Path) -> set[str]:
    """What kinds of files a kill left that are no part of the dataset."""
    files = {p.name for p in folder.rglob("*") if p.is_file()}
    out = {"unfinished files"} if any(n.startswith(".") and n.endswith(".tmp") for n in files) else set()
    data = sum(1 for _ in (folder / "data").rglob("file-*.parquet"))
    if (folder / "meta" / "info.json").exists() and data > storage.info(folder).episodes:
        out.add("a data file without rows")
    return out or {"nothing"}


if __name__ == "__main__":
    main()
