"""Runs every benchmark, writes benchmarks/results/<name>.json, and prints the targets and what was reached.

    python benchmarks/run.py [name ...]

Peers that are not installed (`make peers`) are left out, and said to be.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from common import ROOT

NAMES = (
    "bc_step",
    "bc_gmm_step",
    "act_latency",
    "ensemble_step",
    "memory",
    "recording",
    "opening",
    "dataset_statistics",
    "windows",
    "camera_recording",
    "quality",
    "dagger_round",
    "irl_tabular",
    "sac_step",
)
FOLDER = ROOT / "benchmarks"


def targets(record: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str, float, bool]]:
    """Every target in a record: where, the target, what was reached, and whether that meets it."""
    if not isinstance(record, dict):
        return
    if "target" in record:
        reached = next(float(v) for v in record.values() if isinstance(v, float | int))
        yield " ".join(path), record["target"], reached, record["met"]
    for key, value in record.items():
        yield from targets(value, path if key in ("ratios", "verdict", "batches", "nets") else (*path, key))


def main() -> int:
    """The number of benchmarks that did not run through."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(NAMES)}; default: all")
    chosen = parser.parse_args().names or NAMES
    if unknown := set(chosen) - set(NAMES):
        parser.error(f"there is no benchmark {min(unknown)!r}; there are {', '.join(NAMES)}")
    failed, lines = 0, []
    for name in chosen:
        out = FOLDER / "results" / f"{name}.json"
        out.parent.mkdir(exist_ok=True)
        print(f"── {name}", file=sys.stderr)
        command = [sys.executable, str(FOLDER / f"{name}.py"), "--json-out", str(out)]
        if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
            failed += 1
            lines.append(f"{name:<12} failed")
            continue
        for where, target, reached, met in targets(json.loads(out.read_text())):
            lines.append(f"{name:<12} {where:<28} {reached:>8.3g}  {target:<9} {'met' if met else 'MISSED'}")
    print("\n".join(lines))
    return failed


if __name__ == "__main__":
    raise SystemExit(main())
