"""One training step of an ensemble of 5, loading included, against a step of one member; its answers' time.

    python benchmarks/ensemble_step.py --json-out benchmarks/results/ensemble_step.json

Everyone's batch is 64, every member's too. "one" is a single network, "ensemble" five of them in one batched
computation on bootstrap resamples, "separate" five learners in a loop, each with batches of its own, and
"vmap" the ensemble by `torch.func.vmap`, on observations that were normalised beforehand. The ratio that has
a target is ensemble/one. It is bounded from below by arithmetic: five members are five times the products and
the activations. Where a step of one member is mostly calls, as in small nets, they are shared; where it is
mostly arithmetic, as with [256, 256], there is nothing to share. `act` and `doubt` are the ensemble's answers
to one observation.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from act_latency import latencies
from common import Timing, demonstrations, emit, launch, ratio, significant, time_in_turns, timed_arguments

MEMBERS, BATCH, TARGET = 5, 64, "<= 2"
NETS = {  # imitation's DAgger trains [32, 32] with tanh where nothing else is said
    "[32, 32] tanh": ([32, 32], "tanh"),
    "[64, 64] tanh": ([64, 64], "tanh"),
    "[64, 64] gelu": ([64, 64], "gelu"),
    "[256, 256] gelu": ([256, 256], "gelu"),
}
STEPS, ANSWERS = ("one", "ensemble", "separate", "vmap"), ("act", "doubt")


def measure(hidden: list[int], activation: str, folder: Path, seconds: float, repeats: int) -> dict[str, Any]:
    """CPU milliseconds a step, ratios to one member, and microseconds an answer, of one net."""
    data = demonstrations(folder, widths={"state": 11}, action=3, episodes=500, length=100)
    spec = {"data": str(data), "members": MEMBERS, "batch": BATCH, "lr": 1e-3}
    with launch("ensemble", "ensemble.py", spec | {"hidden": hidden, "activation": activation}) as worker:
        turns = {name: (worker, name) for name in STEPS}
        timings = time_in_turns(turns, seconds=seconds, repeats=repeats)
        asked = {name: (worker, name) for name in ANSWERS}
        answers = time_in_turns(asked, seconds=seconds / 4, repeats=repeats)
        facts = worker.facts
    one = timings["one"]
    return {
        "steps": {name: t.record() for name, t in timings.items()},
        "answers": {name: latencies(t) for name, t in answers.items()},
        "ratios": {"ensemble/one": ratio(timings["ensemble"], one, TARGET)},
        "untargeted": {f"{name}/one": rounds(timings[name], one) for name in ("separate", "vmap")},
        **facts,
    }


def rounds(above: Timing, below: Timing) -> dict[str, float]:
    """As `ratio`, of what has no target."""
    found = ratio(above, below, ">= 0")
    return {k: significant(found[k]) for k in ("median", "low", "high")}


def main() -> None:
    """Measures, and prints the record."""
    args = timed_arguments(__doc__, seconds=0.5, repeats=9).parse_args()
    nets: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (hidden, activation) in NETS.items():
            found = nets[name] = measure(hidden, activation, Path(folder), args.seconds, args.repeats)
            told = {k: v["median"] for k, v in (found["ratios"] | found["untargeted"]).items()}
            print(f"{name}: {told}, {found['answers']['doubt']['median_us']} µs a doubt", file=sys.stderr)
    setting = {
        "obs": 11,
        "action": 3,
        "members": MEMBERS,
        "batch": BATCH,
        "steps_of_data": 50_000,
        "threads": 1,
    }
    emit({"unit": "CPU milliseconds a step", "setting": setting, "nets": nets}, args.json_out)


if __name__ == "__main__":
    main()
