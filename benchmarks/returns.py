"""What contenders reach over training, run by run into one file: what the benchmarks of returns share.

A run has a task, a contender, a seed and a curve: steps -> mean return by the policy's mode. Runs that are in
the file already are not repeated, and the first seed of all comes before the second of any.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from common import ROOT, Contender, arguments, emit, missing, significant
from understudy.numerics import bootstrap

__all__ = ["PEER", "Run", "curve", "grown", "options", "peers_packages", "summary"]

PEER = ROOT / ".peers" / "imitation"
EPISODES = 20  # of a measurement, all on the same fresh seeds
Run: TypeAlias = dict[str, Any]


def options(
    description: str | None, tasks: Collection[str], default: Sequence[str], who: Sequence[str]
) -> Any:
    """The flags that such a benchmark has."""
    parser: argparse.ArgumentParser = arguments(description)
    parser.add_argument("--seeds", type=int, default=5, help="0, 1, ...")
    parser.add_argument("--tasks", nargs="+", choices=tasks, default=list(default))
    parser.add_argument("--contenders", nargs="+", choices=who, default=list(who))
    return parser.parse_args()


def peers_packages() -> str:
    """Where the peer's packages are."""
    return str(next(PEER.glob("lib/python3*/site-packages")))


def curve(worker: Contender, parts: Sequence[int], begun: int = 0) -> tuple[dict[str, float], float]:
    """Practises part by part and measures behind each: steps -> mean return, and the CPU seconds of practice.

    Args:
        parts: steps of each part.
        begun: steps that have been taken before.
    """
    cpu, done, found = 0.0, begun, dict[str, float]()
    for part in parts:
        cpu, done = cpu + worker.run("practise", part)["cpu"], done + part
        found[str(done)] = significant(float(np.mean(worker.run("measure", EPISODES)["result"])), 5)
    return found, cpu


def summary(runs: Sequence[Run], speed: str | None = None) -> dict[str, Any]:
    """Task -> contender -> the mean return after all steps, with the bootstrap's interval over seeds.

    Args:
        speed: a figure of each run whose median stands beside it.
    """
    out: dict[str, Any] = {}
    for r in runs:
        mine = [x for x in runs if (x["task"], x["contender"]) == (r["task"], r["contender"])]
        last = [float(list(x["curve"].values())[-1]) for x in mine]
        found: dict[str, Any] = {"value": significant(float(np.mean(last)))}
        if len(last) > 1:
            e = bootstrap(np.array(last))
            found |= {"low": significant(e.low), "high": significant(e.high)}
        each = {str(x["seed"]): value for x, value in zip(mine, last, strict=True)}
        found |= {"n": len(last), "seeds": each}
        if speed is not None:
            found[speed] = significant(float(np.median([x[speed] for x in mine])))
        out.setdefault(r["task"], {})[r["contender"]] = found
    return out


def grown(
    args: Any,
    runs: list[Run],
    run: Callable[[str, str, int], Run],
    setting: Mapping[str, Any],
    speed: str | None = None,
) -> None:
    """Does what is missing among `runs`, rewrites the file after each, and prints the record.

    Without the peer's environment its runs are left out, and the record says so.
    """
    out: Path | None = args.json_out
    setting, contenders = dict(setting), list(args.contenders)
    if not (PEER / ".complete").is_file():
        setting["stable-baselines3"] = missing("imitation", None)
        contenders = [c for c in contenders if not c.startswith("stable")]

    def told() -> dict[str, Any]:
        return {"setting": setting, "summary": summary(runs, speed), "runs": runs}

    known = {(r["contender"], r["task"], r["seed"]) for r in runs}
    for job in ((c, t, s) for t in args.tasks for s in range(args.seeds) for c in contenders):
        if job not in known:
            runs.append(run(*job))
            print(f"{job}: {runs[-1]['curve']}", file=sys.stderr)
            if out is not None:
                emit(told(), out)
    emit(told(), out)
