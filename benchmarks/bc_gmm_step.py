"""A mixture of 5 Gaussians on [1024, 1024], batch 100, ours and robomimic's, loading included and alone.

    python benchmarks/bc_gmm_step.py --json-out benchmarks/results/bc_gmm_step.json

Observations have the widths of robomimic's Can task: four keys, 23 numbers; actions have 7. The other part
compares what assembles a batch of 100 windows, of 1 step and of 10: one plain gather a column
(`numpy.take`, no care for the ends of episodes and no mask), our `Windows.batch` (which pads and masks),
robomimic's loader (which pads).
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import (
    ANCHORS,
    demonstrations,
    emit,
    launch,
    launch_peer,
    missing,
    ratio,
    time_in_turns,
    timed_arguments,
)

WIDTHS = {"robot0_eef_pos": 3, "robot0_eef_quat": 4, "robot0_gripper_qpos": 2, "object": 14}
SPEC = {"hidden": [1024, 1024], "activation": "relu", "head": "mixture", "components": 5}
SPEC |= {"batch": 100, "lr": 1e-4}


def main() -> None:
    """Measures, and prints the record."""
    args = timed_arguments(__doc__, seconds=1.0, repeats=7).parse_args()
    parts: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = demonstrations(Path(folder), WIDTHS, action=7, episodes=200, length=120)
        for length in (1, 10):
            spec = SPEC | {"data": str(data), "folder": folder, "history": length, "horizon": length}
            parts |= measure(spec, length, args.seconds, args.repeats)
    setting = SPEC | {"obs": WIDTHS, "action": 7, "optimizer": "Adam", "threads": 1}
    emit({"unit": "CPU milliseconds a step or a batch", "setting": setting, **parts}, args.json_out)


def measure(spec: dict[str, Any], length: int, seconds: float, repeats: int) -> dict[str, Any]:
    """The assembly of a batch of windows of this length and, for single steps, the training step."""
    out: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        there = {
            "ours": launch("ours", "understudy_bc.py", spec),
            "robomimic": launch_peer("robomimic", "robomimic_bc.py", spec, "robomimic"),
        }
        present = {k: stack.enter_context(c) for k, c in there.items() if c is not None}
        turns = {k: (c, "load") for k, c in present.items()} | {"gather": (present["ours"], "gather")}
        timings = time_in_turns(turns, seconds=seconds / 4, repeats=repeats)
        out[f"load_{length}"] = {"contenders": {k: t.record() for k, t in timings.items()}}
        ratios = {"ours/gather": ratio(timings["ours"], timings["gather"], "<= 2")}
        if "robomimic" in timings:
            ratios["robomimic/ours"] = ratio(timings["robomimic"], timings["ours"], ">= 1")
        out[f"load_{length}"]["ratios"] = ratios
        if length == 1:
            turns = {k: (c, "step") for k, c in present.items()}
            timings = time_in_turns(turns, seconds=seconds, repeats=repeats)
            records = {k: t.record() | present[k].facts for k, t in timings.items()}
            out["step"] = {"contenders": records, "ratios": {}}
            if "robomimic" in timings:
                against = ratio(timings["robomimic"], timings["ours"], ">= 1.5")
                out["step"]["ratios"] = {"robomimic/ours": against}
    for name, part in out.items():
        if "robomimic" not in present:
            anchor = "gmm_step" if name == "step" else "loader_batch_of_100"
            part["contenders"]["robomimic"] = missing("robomimic", ANCHORS["robomimic"][anchor])
        times = {k: c.get("cpu_ms", c.get("status")) for k, c in part["contenders"].items()}
        print(f"{name}: {times}", file=sys.stderr)
    return out


if __name__ == "__main__":
    main()
