"""Objectworld: value lost by deep MaxEnt, linear MaxEnt and cloning, here, in new worlds and in wind.

    python benchmarks/irl_objectworld.py --out benchmarks/results/irl_objectworld.json

The study `understudy study objectworld --full`, run by run in one file: what the file holds is not run again,
and it is rewritten after every run. A run is one world and one number of demonstrations, which all methods
see. Summaries are over the worlds of which all runs are there; intervals are Student's over worlds, and
differences are between methods on the same world and the same demonstrations.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from understudy.provenance import provenance
from understudy.study.objectworld import FULL, summarised
from understudy.study.recovery import Plan, measure


def settings(plan: Plan) -> dict[str, Any]:
    """What all runs of a file share, as JSON holds it; worlds and numbers of demonstrations may be added."""
    drawn: dict[str, Any] = json.loads(json.dumps(plan.shared()))
    return {k: v for k, v in drawn.items() if k != "seeds"}


def held(out: Path, plan: Plan) -> list[dict[str, Any]]:
    """The runs in the file.

    Raises:
        ValueError: when they were made with other settings.
    """
    if not out.exists():
        return []
    found = json.loads(out.read_text())
    if found["settings"] != settings(plan):
        raise ValueError(f"{out} holds runs with other settings; name another file")
    runs: list[dict[str, Any]] = found["runs"]
    return runs


def record(plan: Plan, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The whole file: settings, summaries over the worlds that are done, and all runs."""
    asked = set(plan.demonstrations)
    numbers: dict[int, set[int]] = {}
    for run in runs:
        numbers.setdefault(run["seed"], set()).add(run["n"])
    done = sorted(seed for seed, found in numbers.items() if asked <= found)
    of_these = [run for run in runs if run["seed"] in done and run["n"] in asked]
    return {
        "benchmark": "irl_objectworld",
        "command": " ".join(["python", "benchmarks/irl_objectworld.py", *sys.argv[1:]]),
        "provenance": provenance(),
        "settings": settings(plan),
        "seeds": done,
        **(summarised(of_these) if len(done) > 1 else {}),
        "runs": sorted(runs, key=lambda run: (run["seed"], run["n"])),
    }


def write(out: Path, found: dict[str, Any]) -> None:
    """Replaces the file at once, so that it is whole whenever this is broken off."""
    temporary = out.with_suffix(".tmp")
    temporary.write_text(json.dumps(found, indent=1) + "\n")
    temporary.replace(out)


def main() -> None:
    """Runs what is missing, world by world."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=FULL.seeds)
    parser.add_argument("--size", type=int, default=FULL.size)
    parser.add_argument("--objects", type=int, default=FULL.objects)
    parser.add_argument("--demonstrations", type=int, nargs="+", default=list(FULL.demonstrations))
    parser.add_argument("--steps", type=int, default=FULL.steps)
    given = vars(parser.parse_args())
    torch.set_num_threads(1)
    out: Path = given.pop("out")
    plan = replace(FULL, **given | {"demonstrations": tuple(given["demonstrations"])})
    runs = held(out, plan)
    there = {(run["seed"], run["n"]) for run in runs}
    for seed in range(plan.seeds):
        for n in plan.demonstrations:
            if (seed, n) not in there:
                runs.append(measure(plan, seed, n))
                lost = {k: round(m["lost"]["same"], 3) for k, m in runs[-1]["methods"].items()}
                print(f"world {seed}, {n} demonstrations: {lost}", file=sys.stderr, flush=True)
                write(out, record(plan, runs))
    write(out, record(plan, runs))  # also where nothing was missing: other worlds may have been asked for


if __name__ == "__main__":
    main()
