"""One step of behavioural cloning, 11 -> [256, 256] -> Gaussian of 3, loading included: ours and three more.

    python benchmarks/bc_step.py --json-out benchmarks/results/bc_step.json

All learn from the same 50,000 steps. `imitation` runs as documented, which means its own policy: tanh
units, a global log-std, and a value network that behavioural cloning does not need. PyTorch (autograd,
fused Adam) and JAX (one jitted step) compute our loss: the network gives a mean and a log-std in (-5, 2)
for each action dimension. "products" times the step's matrix products alone, in PyTorch: what no library
that computes in float32 gets under on this processor, and so what bounds every ratio.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import (
    ANCHORS,
    Contender,
    demonstrations,
    emit,
    launch,
    launch_peer,
    missing,
    ratio,
    time_in_turns,
    timed_arguments,
)

SPEC = {"hidden": [256, 256], "activation": "relu", "log_std": [-5.0, 2.0], "lr": 1e-3}
CONTENDERS = {  # name -> its script, and the environment it runs in
    "ours": ("understudy_bc.py", None),
    "imitation": ("imitation_bc.py", "imitation"),
    "torch": ("torch_bc.py", None),
    "jax": ("jax_bc.py", "jax"),
}
TARGETS = {
    64: {("imitation", "ours"): ">= 6", ("ours", "jax"): "<= 2"},
    1024: {("imitation", "ours"): ">= 8", ("ours", "jax"): "<= 1.15"},
}


def measure(batch: int, folder: Path, seconds: float, repeats: int) -> dict[str, Any]:
    """CPU milliseconds a step of every contender that is installed, and the ratios."""
    data = demonstrations(folder, widths={"state": 11}, action=3, episodes=500, length=100)
    spec = SPEC | {"data": str(data), "folder": str(folder), "batch": batch, "head": "gaussian"}
    out: dict[str, Any] = {"contenders": {}, "ratios": {}}
    with contextlib.ExitStack() as stack:
        there: list[Contender] = []
        for name, (script, peer) in CONTENDERS.items():
            c = launch_peer(name, script, spec, peer) if peer else launch(name, script, spec)
            if c is None:
                out["contenders"][name] = missing(name, ANCHORS[name][str(batch)])
                print(f"batch {batch}: {name} is {out['contenders'][name]['status']}", file=sys.stderr)
            else:
                there.append(stack.enter_context(c))
        turns = {c.name: (c, "step") for c in there}
        turns["products"] = (next(c for c in there if c.name == "torch"), "products")
        timings = time_in_turns(turns, seconds=seconds, repeats=repeats)
        for c in there:
            out["contenders"][c.name] = timings[c.name].record() | c.facts
            print(f"batch {batch}: {c.name} {timings[c.name].record()['cpu_ms']} ms a step", file=sys.stderr)
    out["products"] = timings["products"].record()
    for (above, below), target in TARGETS[batch].items():
        if above in timings and below in timings:
            out["ratios"][f"{above}/{below}"] = ratio(timings[above], timings[below], target)
    return out


def main() -> None:
    """Measures, and prints the record."""
    args = timed_arguments(__doc__, seconds=1.0, repeats=7).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        batches = {
            str(batch): measure(batch, Path(folder), args.seconds, args.repeats) for batch in sorted(TARGETS)
        }
    setting = SPEC | {"obs": 11, "action": 3, "steps_of_data": 50_000, "optimizer": "Adam", "threads": 1}
    emit({"unit": "CPU milliseconds a step", "setting": setting, "batches": batches}, args.json_out)


if __name__ == "__main__":
    main()
