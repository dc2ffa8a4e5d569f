"""The most memory that learning from 1 GB of low-dimensional demonstrations takes, reading included.

    python benchmarks/memory.py --json-out benchmarks/results/memory.json

One process makes the demonstrations and stores them; another reads them, splits off a validation set, fits
the normalisers, takes 200 steps of behavioural cloning and computes the validation loss. Reported is the
peak resident set size of each, in GB (1e9 bytes), as the kernel counts it for the process.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from common import arguments, emit, launch

TARGET_GB = 2.5
SPEC = {"episodes": 2250, "length": 1000, "obs": 100, "action": 11, "hidden": [256, 256], "batch": 256}
STEPS = 200


def main() -> None:
    """Measures, and prints the record."""
    parser = arguments(__doc__)
    parser.add_argument(
        "--folder", type=Path, help="where 1.2 GB may lie for a minute; default: the system's"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        spec = SPEC | {"folder": folder}
        with launch("ours", "understudy_memory.py", spec) as process:
            stored = process.run("store", 1)["result"]
        print(f"{stored['gigabytes']:.2f} GB stored, peak {stored['peak_gb']:.2f} GB", file=sys.stderr)
        disk = sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file()) / 1e9
        with launch("ours", "understudy_memory.py", spec) as process:
            learned = process.run("learn", STEPS)["result"]
            versions = process.facts["versions"]
    most = max(learned["peaks_gb"].values())
    record = {
        "unit": "GB (1e9 bytes) of resident memory, at most so far",
        "setting": SPEC | {"steps": STEPS, "steps_of_data": learned["steps_of_data"]},
        "versions": versions,
        "demonstrations_gb": round(stored["gigabytes"], 3),
        "on_disk_gb": round(disk, 3),
        "storing_peak_gb": round(stored["peak_gb"], 3),
        "learning_peaks_gb": {k: round(v, 3) for k, v in learned["peaks_gb"].items()},
        "verdict": {"peak_gb": round(most, 3), "target": f"< {TARGET_GB}", "met": most < TARGET_GB},
    }
    emit(record, args.json_out)


if __name__ == "__main__":
    main()
