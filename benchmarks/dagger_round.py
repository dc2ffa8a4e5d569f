"""DAgger on the pendulum, whole rounds: ours against `imitation`'s SimpleDAggerTrainer.

    python benchmarks/dagger_round.py --json-out benchmarks/results/dagger_round.json

Alike on both sides: the scripted expert, β from 1 to 0 in a straight line, the number of rounds, the steps
collected in each, the labels, four passes over all data after each round, the batch, the learning rate of
Adam, the hidden layers (tanh units), weights kept from round to round. Ours falls to zero over each training,
as it does unless told otherwise.

All that a round costs is in its time: collecting, writing to disk, aggregating, training. Nothing is measured
meanwhile: the evaluation episodes that `imitation` runs within its training unless told not to are left out.
The heads are each side's default: ours is a regression, theirs a Gaussian with one spread, and a value
network that cloning does not need. `imitation` collects its episodes side by side, in one batch, which is its
fastest way; ours runs one after the other in one process.

Every seed is a run of each, in turns; the policy after the last round is then measured on the same fresh
episodes. The times are CPU time a round.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import tempfile
from typing import Any

import numpy as np

from common import Contender, Timing, arguments, emit, launch, launch_peer, missing, ratio, significant
from understudy.evaluate import fresh_seeds
from understudy.numerics import bootstrap

EPISODES, LENGTH, EPOCHS, BATCH = 8, 200, 4, 32
NETS = {"32x32": [32, 32], "256x256": [256, 256]}  # the first is the default of `imitation`
TARGET = ">= 5"
CONTENDERS = {  # name -> its script, and the environment it runs in
    "ours": ("understudy_dagger.py", None),
    "imitation": ("imitation_dagger.py", "imitation"),
}


def asked(hidden: list[int], rounds: int, fresh: int) -> dict[str, Any]:
    """What every contender is told."""
    steps = EPISODES * LENGTH
    return {
        "hidden": hidden,
        "rounds": rounds,
        "episodes": EPISODES,
        "steps": steps,
        "epochs": EPOCHS,
        "batch": BATCH,
        "lr": 1e-3,
        "gradient_steps": sum(EPOCHS * (steps * i // BATCH) for i in range(1, rounds + 1)),
        "seeds": list(fresh_seeds(fresh)),
    }


def measure(spec: dict[str, Any], seeds: int) -> dict[str, Any]:
    """CPU seconds a round of every contender, its ratio to ours, and what its policies are worth."""
    out: dict[str, Any] = {"contenders": {}, "ratios": {}}
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        there: list[Contender] = []
        for name, (script, peer) in CONTENDERS.items():
            own = spec | {"folder": f"{folder}/{name}"}
            c = launch_peer(name, script, own, peer) if peer else launch(name, script, own)
            if c is None:
                out["contenders"][name] = missing(peer or "", None)
            else:
                there.append(stack.enter_context(c))
        timings = {c.name: Timing(spec["rounds"]) for c in there}
        scores: dict[str, list[list[float]]] = {c.name: [] for c in there}
        expert: dict[str, list[float]] = {}
        for seed in range(seeds):
            for c in there:
                turn(c, seed, spec, timings[c.name])
                found = c.run("returns", 0)["result"]
                scores[c.name].append(found["policy"])
                expert[c.name] = found["expert"]
                print(f"{c.name}, seed {seed}: {timings[c.name].cpu[-1]:.0f} ms", file=sys.stderr)
        for c in there:
            np.testing.assert_allclose(expert[c.name], expert["ours"], rtol=1e-3, atol=0.5)
            out["contenders"][c.name] = record(timings[c.name], scores[c.name]) | c.facts
    out["expert_return"] = bootstrap(expert["ours"]).summary()
    if "imitation" in timings:
        out["ratios"]["imitation/ours"] = ratio(timings["imitation"], timings["ours"], TARGET)
        out["ratios"]["return, ours - imitation"] = better(scores["ours"], scores["imitation"])
    return out


def turn(c: Contender, seed: int, spec: dict[str, Any], timing: Timing) -> None:
    """One run of all rounds, timed; the work must be what was agreed."""
    answer = c.run("rounds", seed)
    agreed = [spec["rounds"] * spec["steps"], spec["gradient_steps"]]
    if answer["result"] != agreed:
        raise RuntimeError(f"{c.name} did {answer['result']} labels and gradient steps, not {agreed}")
    timing.cpu.append(1e3 * answer["cpu"] / spec["rounds"])
    timing.wall.append(1e3 * answer["wall"] / spec["rounds"])


def record(timing: Timing, scores: list[list[float]]) -> dict[str, Any]:
    """The times, each seed's mean return, and the mean over all with its interval."""
    each = [significant(statistics.fmean(s)) for s in scores]
    return timing.record() | {"return": over_seeds(scores), "returns": each}


def over_seeds(scores: list[list[float]]) -> dict[str, Any]:
    """Mean over training seeds and episodes [runs, episodes]; fresh episodes are resampled together."""
    return bootstrap(np.mean(scores, axis=0)).summary()


def better(ours: list[list[float]], theirs: list[list[float]]) -> dict[str, Any]:
    """Our mean return minus theirs on the same fresh episodes; met where it is not shown to be worse."""
    gap = bootstrap(np.mean(ours, axis=0) - np.mean(theirs, axis=0))
    return gap.summary() | {"target": ">= 0", "met": gap.high >= 0}


def main() -> None:
    """Measures, and prints the record."""
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="rounds of a run")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each")
    parser.add_argument("--fresh", type=int, default=100, help="episodes that a policy is measured on")
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS), help="of these networks")
    args = parser.parse_args()
    parsed = {name: NETS[name] for name in args.nets}
    nets = {name: measure(asked(h, args.rounds, args.fresh), args.seeds) for name, h in parsed.items()}
    setting = {k: v for k, v in asked([], args.rounds, args.fresh).items() if k not in ("hidden", "seeds")}
    setting |= {"task": "Pendulum-v1", "seeds": args.seeds, "fresh": args.fresh, "threads": 1}
    emit({"unit": "CPU milliseconds a round", "setting": setting, "nets": nets}, args.json_out)


if __name__ == "__main__":
    main()
