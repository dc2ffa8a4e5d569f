"""One observation to one action: `Agent.act` of an MLP [256, 256], NumPy in and out, one thread, eager mode.

    python benchmarks/act_latency.py --json-out benchmarks/results/act_latency.json

Every call is timed by itself: the median and the 99th percentile of the wall time (the latter is the
machine's more than ours where other work runs beside), and the median of the CPU time. Normalisation,
checks and conversions are included in ours. For comparison: Stable-Baselines3's `predict` on imitation's
policy, robomimic's RolloutPolicy, and the three linear maps in plain PyTorch under inference_mode, with
normalisation and without checks.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import (
    ANCHORS,
    Contender,
    Timing,
    demonstrations,
    emit,
    launch,
    launch_peer,
    missing,
    time_in_turns,
    timed_arguments,
)

TARGET_US = 60.0
SPEC = {
    "hidden": [256, 256],
    "activation": "relu",
    "head": "gaussian",
    "log_std": [-5.0, 2.0],
    "components": 0,
}
SPEC |= {"history": 1, "horizon": 1, "batch": 64, "lr": 1e-3}
CONTENDERS = {
    "ours": ("understudy_bc.py", None),
    "torch": ("torch_bc.py", None),
    "imitation": ("imitation_bc.py", "imitation"),
    "robomimic": ("robomimic_bc.py", "robomimic"),
}


def main() -> None:
    """Measures, and prints the record."""
    args = timed_arguments(__doc__, seconds=0.5, repeats=7).parse_args()
    out: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        data = demonstrations(Path(folder), {"state": 11}, action=3, episodes=50, length=100)
        there: list[Contender] = []
        for name, (script, peer) in CONTENDERS.items():
            spec = SPEC | {"data": str(data), "folder": folder}
            c = launch_peer(name, script, spec, peer) if peer else launch(name, script, spec)
            if c is None:
                out[name] = missing(name, ANCHORS[name].get("act"))
            else:
                there.append(stack.enter_context(c))
        turns = {c.name: (c, "act") for c in there}
        timings = time_in_turns(turns, seconds=args.seconds, repeats=args.repeats)
        for c in there:
            out[c.name] = latencies(timings[c.name]) | c.facts
            print(f"{c.name}: {out[c.name]['median_us']} µs, p99 {out[c.name]['p99_us']} µs", file=sys.stderr)
    median = out["ours"]["median_us"]
    record = {
        "unit": "microseconds a call",
        "setting": {"obs": 11, "action": 3, "hidden": [256, 256], "threads": 1, "mode": "eager"},
        "contenders": out,
        "verdict": {"ours_median_us": median, "target": f"< {TARGET_US:g}", "met": median < TARGET_US},
    }
    emit(record, args.json_out)


def latencies(t: Timing) -> dict[str, Any]:
    """Medians over the rounds, and the smallest and largest of the rounds' medians."""
    medians = [r["median"] for r in t.results]
    return {
        "median_us": round(statistics.median(medians), 1),
        "low": round(min(medians), 1),
        "high": round(max(medians), 1),
        "p99_us": round(statistics.median(r["p99"] for r in t.results), 1),
        "cpu_us": round(statistics.median(r["cpu"] for r in t.results), 1),
        "calls": t.steps,
        "repeats": len(medians),
    }


if __name__ == "__main__":
    main()
