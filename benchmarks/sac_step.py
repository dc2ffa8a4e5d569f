"""One update of soft actor-critic, drawing the batch included: ours and Stable-Baselines3's.

    python benchmarks/sac_step.py --json-out benchmarks/results/sac_step.json

Both have the same sizes: 17 observations, 6 actions, twin critics and an actor of [256, 256] ReLU units,
batch 256, a tuned temperature, slow target critics followed in every update. The ratio that has a target
compares our "plain" critics with it, the same work; "layernorm" (our default), "crossq" and an actor that
learns in every second update are beside it. `explore` is the time of one drawn action for one observation.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from common import emit, launch, launch_peer, missing, ratio, time_in_turns, timed_arguments

SPEC = {"obs": 17, "action": 6, "hidden": [256, 256], "batch": 256, "lr": 3e-4, "rows": 20_000}
OURS = ("plain", "layernorm", "layernorm, actor every 2nd", "crossq")
TARGET = ">= 1.5"


def main() -> None:
    """Measures, and prints the record."""
    args = timed_arguments(__doc__, seconds=1.5, repeats=7).parse_args()
    out: dict[str, Any] = {"updates": {}, "explore": {}, "ratios": {}, "untargeted": {}}
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(launch("understudy", "understudy_sac.py", SPEC))
        turns, asked = {name: (ours, name) for name in OURS}, {"understudy": (ours, "explore")}
        peer = launch_peer("stable-baselines3", "sb3_sac.py", SPEC, "imitation")
        if peer is not None:
            stack.enter_context(peer)
            turns = {"stable-baselines3": (peer, "updates")} | turns
            asked["stable-baselines3"] = (peer, "explore")
            out["stable-baselines3"] = peer.facts
        else:
            out["stable-baselines3"] = missing("imitation", None)
        timings = time_in_turns(turns, seconds=args.seconds, repeats=args.repeats)
        answers = time_in_turns(asked, seconds=args.seconds / 4, repeats=args.repeats)
        out["understudy"] = ours.facts
    for name, t in timings.items():
        out["updates"][name] = t.record()
        print(f"{name}: {t.record()['cpu_ms']} ms an update", file=sys.stderr)
    out["explore"] = {name: t.record() for name, t in answers.items()}
    if (theirs := timings.get("stable-baselines3")) is not None:
        out["ratios"]["stable-baselines3/plain"] = ratio(theirs, timings["plain"], TARGET)
        for name in OURS[1:]:
            found = ratio(theirs, timings[name], ">= 0")
            out["untargeted"][f"stable-baselines3/{name}"] = {k: found[k] for k in ("median", "low", "high")}
    emit({"unit": "CPU milliseconds", "setting": SPEC | {"threads": 1}} | out, args.json_out)


if __name__ == "__main__":
    main()
