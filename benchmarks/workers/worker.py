"""The child's side of a benchmark: runs steps when told to, and answers with the CPU time they took.

Standard library only, as it runs in each contender's own environment. The parent writes one request a line,
``{"run": name, "steps": n}``; the child answers one line, ``{"cpu": seconds, "wall": seconds}``.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

_ANSWERS = os.fdopen(
    int(sys.argv[2]), "w"
)  # a pipe of its own: what a library prints must not get between our lines
if hasattr(
    os, "sched_setaffinity"
):  # before any thread is started: a pool that sees one core does not hand work around
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def spec() -> dict[str, Any]:
    """What the parent asks for: sizes, batch, learning rate, the data's path."""
    given: dict[str, Any] = json.loads(sys.argv[1])
    return given


def versions(*names: str) -> dict[str, str]:
    """Distribution name -> version, and Python's."""
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def latency(act: Callable[[Any], Any], inputs: Sequence[Any], n: int) -> dict[str, float]:
    """Microseconds a call, over n calls: median and 99th percentile of the wall time, median of the CPU time.

    The clocks around the call add about half a microsecond to the latter.
    """
    walls, cpus, many = [], [], len(inputs)
    for i in range(n):
        x = inputs[i % many]
        cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
        act(x)
        walls.append(time.perf_counter_ns() - wall)
        cpus.append(time.thread_time_ns() - cpu)
    walls.sort()
    cpus.sort()
    return {"median": walls[n // 2] / 1e3, "p99": walls[n * 99 // 100] / 1e3, "cpu": cpus[n // 2] / 1e3}


def serve(runs: Mapping[str, Callable[[int], Any]], packages: Mapping[str, str], **facts: Any) -> None:
    """Answers requests until standard input closes.

    Args:
        runs: name -> a function that does n steps and returns when the last is done, and its result.
        packages: versions, for the record.
        facts: whatever else the record should say.
    """
    _say({"versions": dict(packages), **facts})
    for line in sys.stdin:
        request = json.loads(line)
        run, steps = runs[request["run"]], int(request["steps"])
        gc.collect()
        wall, cpu = time.perf_counter(), time.process_time()
        result = run(steps)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        _say({"cpu": cpu, "wall": wall, "result": result})


def _say(answer: Mapping[str, Any]) -> None:
    _ANSWERS.write(json.dumps(answer) + "\n")
    _ANSWERS.flush()
