"""What the benchmarks share: contenders in processes of their own, timed in turns, and one JSON record.

The rules: one thread on one core; CPU time, since wall time on a busy machine is noise; every contender on
the same data; rounds A B C A B C …, so that a slow minute of the machine meets all alike; a ratio is the
median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "ANCHORS",
    "ROOT",
    "Contender",
    "Timing",
    "arguments",
    "demonstrations",
    "emit",
    "environment",
    "launch",
    "launch_peer",
    "machine",
    "missing",
    "ratio",
    "significant",
    "time_in_turns",
    "timed_arguments",
]

ROOT = Path(__file__).resolve().parent.parent
WORKERS = ROOT / "benchmarks" / "workers"

# CPU ms a step or a call, one thread, of the peers on another machine (AMD EPYC with AVX-512): where a peer
# is not installed here they are quoted, and marked as what they are.
ANCHORS: Mapping[str, Mapping[str, Any]] = {
    "imitation": {"64": 3.34, "1024": 20.8},
    "torch": {"64": [0.47, 0.58], "1024": [6.4, 7.5]},
    "jax": {"64": 0.21, "1024": 2.4},
    "robomimic": {"gmm_step": [18.0, 23.0], "loader_batch_of_100": [1.2, 5.5], "act": 0.37},
}


def environment() -> dict[str, str]:
    """The environment of every contender: one thread, no accelerator, nothing fetched."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    xla = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    fixed = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": xla, "HF_HUB_OFFLINE": "1"}
    return os.environ | one | fixed | {"PYTHONPATH": str(ROOT / "src"), "PYTHONWARNINGS": "ignore"}


@dataclass
class Timing:
    """CPU milliseconds a step of one contender, one figure a round."""

    steps: int
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """Median, smallest and largest, how many steps a round and rounds they rest on, and the last loss."""
        loss = self.results[-1] if self.results else None
        learned = {"loss": significant(loss)} if isinstance(loss, float) else {}
        return {
            "cpu_ms": significant(statistics.median(self.cpu)),
            "low": significant(min(self.cpu)),
            "high": significant(max(self.cpu)),
            "wall_ms": significant(statistics.median(self.wall)),
            "steps": self.steps,
            "repeats": len(self.cpu),
            **learned,
        }


class Contender:
    """A process that runs steps of one library when told to.

    Raises:
        RuntimeError: when the process dies, with the last lines it wrote.
    """

    def __init__(self, name: str, python: Path, script: str, spec: Mapping[str, Any]) -> None:
        self.name = name
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in close()
        answers, child = os.pipe()
        self._process = subprocess.Popen(
            [str(python), str(WORKERS / script), json.dumps(dict(spec)), str(child)],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(),
            pass_fds=(child,),
        )
        os.close(child)
        self._answers = os.fdopen(answers)
        self.facts = self._answer()  # versions and the number of parameters

    def __enter__(self) -> Contender:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, run: str, steps: int) -> dict[str, Any]:
        """Runs that many steps of `run`: {"cpu": seconds, "wall": seconds, "result": …}."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"run": run, "steps": steps}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        if not (line := self._answers.readline()):
            self._process.wait()
            self._log.seek(0)
            tail = "".join(self._log.readlines()[-15:])
            raise RuntimeError(f"{self.name} ended with status {self._process.returncode}:\n{tail}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Ends the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
        self._answers.close()
        self._log.close()


def launch(name: str, script: str, spec: Mapping[str, Any]) -> Contender:
    """A contender in the environment that runs the benchmark: ours, and what needs nothing else."""
    return Contender(name, Path(sys.executable), script, spec)


def launch_peer(name: str, script: str, spec: Mapping[str, Any], peer: str) -> Contender | None:
    """A contender in the environment of `peer`; None where that is not installed."""
    home = ROOT / ".peers" / peer
    if not (home / ".complete").is_file():
        return None
    return Contender(name, home / "bin" / "python", script, spec)


def demonstrations(folder: Path, widths: Mapping[str, int], action: int, episodes: int, length: int) -> Path:
    """Writes a random walk and the actions of a linear expert with noise, float32, and says where.

    The file holds ``obs.<key>`` [episodes × (length + 1), width] for every key and ``obs`` with all of them
    side by side, `action` [episodes × length, A], `length` [episodes], and `acted`: which states have an
    action.
    """
    rng = np.random.default_rng(0)
    states = rng.normal(size=(episodes, length + 1, sum(widths.values()))).cumsum(1) / length**0.5
    gain = rng.normal(size=(states.shape[-1], action)) / states.shape[-1] ** 0.5
    acts = np.tanh(states[:, :-1] @ gain + 0.1 * rng.normal(size=(episodes, length, action)))
    acted = np.ones((episodes, length + 1), np.bool_)
    acted[:, -1] = False
    flat = states.reshape(-1, states.shape[-1]).astype(np.float32)
    parts = np.split(flat, np.cumsum(list(widths.values()))[:-1], axis=1)
    keyed = {f"obs.{k}": np.ascontiguousarray(v) for k, v in zip(widths, parts, strict=True)}
    path = folder / "demonstrations.npz"
    columns: dict[str, Any] = {
        **keyed,
        "obs": flat,
        "action": acts.reshape(-1, action).astype(np.float32),
        "length": np.full(episodes, length),
        "acted": acted.reshape(-1),
    }
    np.savez(path, **columns)
    return path


def missing(peer: str, anchor: Any) -> dict[str, Any]:
    """The record of a peer that is not installed: how to install it, and a figure that is not ours."""
    return {
        "status": f"not installed; `bash benchmarks/peers/setup.sh {peer}` installs it",
        "measured_elsewhere_cpu_ms": anchor,
    }


def time_in_turns(
    contenders: Mapping[str, tuple[Contender, str]], *, seconds: float, repeats: int, warm_up: int = 20
) -> dict[str, Timing]:
    """Runs every contender in turn, `repeats` times, each for about `seconds` of CPU time.

    A warm-up comes first and is not counted; a second one finds how many steps fill the time.

    Args:
        contenders: name -> the process, and which of its runs.
    """
    timings: dict[str, Timing] = {}
    for name, (c, run) in contenders.items():
        c.run(run, warm_up)
        once = c.run(run, warm_up)["cpu"] / warm_up
        timings[name] = Timing(max(warm_up, math.ceil(seconds / max(once, 1e-6))))
    for _ in range(repeats):
        for name, (c, run) in contenders.items():
            t = timings[name]
            answer = c.run(run, t.steps)
            t.cpu.append(1e3 * answer["cpu"] / t.steps)
            t.wall.append(1e3 * answer["wall"] / t.steps)
            t.results.append(answer["result"])
    return timings


def ratio(above: Timing, below: Timing, target: str) -> dict[str, Any]:
    """How many times the CPU time of `below` that of `above` is: the median of the rounds, smallest, largest.

    `target` is what we want of it, such as ">= 6"; whether the median meets it is said beside it.
    """
    rounds = [a / b for a, b in zip(above.cpu, below.cpu, strict=True)]
    middle = statistics.median(rounds)
    sign, bound = target.split()
    met = middle >= float(bound) if sign == ">=" else middle <= float(bound)
    out = {"median": middle, "low": min(rounds), "high": max(rounds)}
    return {k: significant(v) for k, v in out.items()} | {"target": target, "met": met}


def machine() -> dict[str, Any]:
    """The processor, how many cores of it there are, its vector units, and the memory. No names, no paths."""
    model, flags = "unknown", set[str]()
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.is_file() else ():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            model = value.strip()
        elif key.strip() == "flags":
            flags = set(value.split())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    vector = [f for f in ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16") if f in flags]
    return {"cpu": model, "cores": os.cpu_count(), "vector": vector, "memory_gib": round(memory, 1)}


def arguments(doc: str) -> argparse.ArgumentParser:
    """A parser with what every benchmark takes."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--json-out", type=Path, help="also write the record to this file")
    return parser


def timed_arguments(doc: str, *, seconds: float, repeats: int) -> argparse.ArgumentParser:
    """A parser for benchmarks that time steps in rounds."""
    parser = arguments(doc)
    parser.add_argument(
        "--seconds", type=float, default=seconds, help="CPU seconds of a contender in a round"
    )
    parser.add_argument("--repeats", type=int, default=repeats, help="rounds")
    return parser


def emit(record: Mapping[str, Any], out: Path | None) -> None:
    """Prints the record, one JSON object, last on standard output; writes the same to `out`."""
    words = [a for a in sys.argv[1:] if not a.startswith("--json-out")]
    if "--json-out" in sys.argv:
        words.remove(sys.argv[sys.argv.index("--json-out") + 1])
    script = Path(sys.argv[0]).resolve()
    facts = {
        "benchmark": script.stem,
        "command": " ".join(["python", str(script.relative_to(ROOT)), *words]),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
    }
    text = json.dumps(facts | dict(record), indent=1)
    if out is not None:
        out.write_text(text + "\n")
    print(text)


def significant(x: float, n: int = 4) -> float:
    """x to n significant digits: more would be noise."""
    return float(f"{x:.{n}g}")
