"""The one training loop: time, logging, checkpoints, validation, stopping.

A learner knows only how to take a step. Everything that depends on the clock, the disk or the person at the
keyboard is here, once, for every algorithm.
"""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from understudy.agent import Agent
from understudy.learn import Learner
from understudy.runtime import tuned
from understudy.serial import read_tree, write_tree

__all__ = ["Budget", "Outcome", "train"]

_FORMAT = "understudy-checkpoint"
_VERSION = 1


@dataclass(frozen=True)
class Budget:
    """How long to train, and when to look."""

    steps: int = 10_000
    """Gradient steps in all."""
    validate_every: int = 500
    """Steps between two validations (and two lines of metrics)."""
    patience: int | None = None
    """Stop after this many validations without a better one, and restore the best weights. None: train to the
    end and keep the last weights; validation loss is a poor judge of success (Mandlekar et al. 2021)."""
    checkpoint_seconds: float = 30.0
    """Seconds between two checkpoints on disk; one is also written at the end and on an interruption."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.validate_every < 1:
            raise ValueError(
                f"steps {self.steps} and validate_every {self.validate_every} must be at least 1"
            )
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience is {self.patience}; it must be at least 1, or None")
        if not self.checkpoint_seconds > 0:
            raise ValueError(f"checkpoint_seconds is {self.checkpoint_seconds}; it must be positive")


@dataclass(frozen=True)
class Outcome:
    """How training ended."""

    steps: int  # taken in all, earlier parts of a resumed run included
    stopped: Literal["steps", "patience", "interrupted"]
    selected: Literal["last", "best"]  # which weights the agent holds now
    selected_step: int
    best: float | None  # the lowest validation value, None without validation
    metrics: tuple[Mapping[str, float], ...]  # one line a validation
    seconds: float  # wall time of all parts together
    cpu_seconds: float


@dataclass
class _Progress:
    """What the loop itself must remember, beside the learner."""

    step: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    best: float = math.inf
    best_step: int = 0
    best_weights: dict[str, torch.Tensor] | None = None
    worse: int = 0  # validations since the best
    sums: dict[str, float] = field(default_factory=dict)  # of each value since the last line of metrics
    counts: dict[str, int] = field(default_factory=dict)  # how often each of them was told since then


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Turns the first Ctrl-C (or SIGTERM) into a wish that the loop asks for; a second one ends at once."""
    wished = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield wished.is_set  # signals reach the main thread alone
        return
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

    def wish(number: int, frame: FrameType | None) -> None:
        if wished.is_set():
            raise KeyboardInterrupt
        wished.set()

    for s in before:
        signal.signal(s, wish)
    try:
        yield wished.is_set
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


def _save(path: Path, learner: Learner, p: _Progress, metrics: list[dict[str, float]]) -> None:
    loop: dict[str, Any] = {k: v for k, v in vars(p).items() if k not in ("best_weights", "best")}
    loop["best"] = None if math.isinf(p.best) else p.best  # JSON has no infinity
    tree = {"format": _FORMAT, "version": _VERSION, "learner": learner.state_dict(), "loop": loop}
    write_tree(path, tree | {"metrics": metrics, "best_weights": p.best_weights or {}})


def _resume(path: Path, learner: Learner) -> tuple[_Progress, list[dict[str, float]]]:
    tree = read_tree(path)
    if not isinstance(tree, dict) or tree.get("format") != _FORMAT or tree.get("version") != _VERSION:
        raise ValueError(f"{path} is not a version {_VERSION} checkpoint of understudy")
    try:
        loop, weights, metrics = dict(tree["loop"]), dict(tree["best_weights"]), list(tree["metrics"])
        if "since" in loop:  # a checkpoint from when every value was taken to be told in every step
            loop["counts"] = dict.fromkeys(loop["sums"], loop.pop("since"))
        best = math.inf if loop["best"] is None else float(loop["best"])
        progress = _Progress(**loop | {"best": best, "best_weights": weights or None})
        learner.load_state_dict(tree["learner"])
    except (KeyError, TypeError) as wrong:
        raise ValueError(f"{path} does not fit this run: {wrong}") from wrong
    return progress, metrics


def _write_metrics(path: Path, metrics: list[dict[str, float]]) -> None:
    """Rewrites the file: after a resumption no line may stand that the checkpoint does not know."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(json.dumps(line) + "\n" for line in metrics))
    os.replace(temporary, path)


def train(
    learner: Learner,
    budget: Budget | None = None,
    *,
    run: Path | str | None = None,
    validate: Callable[[Agent], float] | None = None,
    resume: bool = False,
    progress: bool = False,
    threads: int = 1,
) -> Outcome:
    """Takes steps until the budget is spent, patience runs out or somebody interrupts.

    Args:
        learner: the algorithm; its agent is trained in place.
        budget: how long, and when to look.
        run: a folder for `checkpoint/state.safetensors` and `metrics.jsonl`; None keeps everything in memory.
        validate: a number for the present agent, lower is better; it must not draw from the learner's state.
        resume: continue from the checkpoint in `run`, bit for bit like an uninterrupted run.
        progress: show a progress bar on standard error.
        threads: for torch; small networks gain nothing from a second one.

    Returns:
        The outcome. With `patience`, the learner's agent then holds the weights of the best validation; else
        the last ones. The checkpoint always holds the last, so that training can go on.

    Raises:
        ValueError: for patience without validation, a loss that is not finite, or another run's checkpoint.
        FileNotFoundError: to resume where no checkpoint is.
    """
    budget = budget or Budget()
    if budget.patience is not None and validate is None:
        raise ValueError("patience needs validation: give `validate`, or patience None")
    folder = None if run is None else Path(run)
    state, metrics = _Progress(), list[dict[str, float]]()
    checkpoint = None if folder is None else folder / "checkpoint" / "state.safetensors"
    if resume:
        if checkpoint is None or not checkpoint.exists():
            raise FileNotFoundError(f"no checkpoint to resume from at {checkpoint or 'run=None'}")
        state, metrics = _resume(checkpoint, learner)
    if folder is not None and checkpoint is not None:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        _write_metrics(folder / "metrics.jsonl", metrics)

    wall, cpu, saved = (
        time.monotonic() - state.seconds,
        time.process_time() - state.cpu_seconds,
        time.monotonic(),
    )
    stopped: Literal["steps", "patience", "interrupted"] = "steps"

    def clock() -> None:
        state.seconds, state.cpu_seconds = time.monotonic() - wall, time.process_time() - cpu

    def look() -> None:
        """One line of metrics, with a validation where there is one."""
        # Over the steps that told it: a lesson of every hundredth step is not a hundredth of a lesson.
        told = {k: v / state.counts[k] for k, v in state.sums.items()}
        line: dict[str, float] = {"step": state.step} | told | {"step": state.step}
        if not all(math.isfinite(v) for v in line.values()):
            bad = next(k for k, v in line.items() if not math.isfinite(v))
            raise ValueError(
                f"{bad} is {line[bad]} at step {state.step}; training has diverged: lower the learning rate, "
                "or clip the gradient"
            )
        if validate is not None:
            line["validation"] = value = float(validate(learner.agent))
            if value < state.best:
                weights = {k: v.detach().clone() for k, v in learner.agent.state_dict().items()}
                keep = weights if budget.patience is not None else None
                state.best, state.best_step, state.best_weights, state.worse = value, state.step, keep, 0
            else:
                state.worse += 1
        clock()
        line["seconds"] = round(state.seconds, 3)
        metrics.append(line)
        if folder is not None:
            with (folder / "metrics.jsonl").open("a") as out:
                out.write(json.dumps(line) + "\n")
        state.sums, state.counts = {}, {}

    with tuned(threads), _interruptible() as interrupted, _bar(progress, budget.steps, state.step) as show:
        while state.step < budget.steps and not _out_of_patience(state, budget):
            for name, value in learner.step().items():
                state.sums[name] = state.sums.get(name, 0.0) + value
                state.counts[name] = state.counts.get(name, 0) + 1
            state.step += 1
            if state.step % budget.validate_every == 0 or state.step == budget.steps:
                look()
            if state.step % 50 == 0:
                show(state.step, metrics[-1] if metrics else {})
            if interrupted():
                stopped = "interrupted"
                break
            if checkpoint is not None and time.monotonic() - saved >= budget.checkpoint_seconds:
                clock()
                _save(checkpoint, learner, state, metrics)
                saved = time.monotonic()
        clock()
        if checkpoint is not None:
            _save(checkpoint, learner, state, metrics)
    if stopped != "interrupted" and _out_of_patience(state, budget):
        stopped = "patience"
    selected: Literal["last", "best"] = "last"
    if budget.patience is not None and state.best_weights is not None and stopped != "interrupted":
        learner.agent.load_state_dict(state.best_weights)
        selected = "best"
    return Outcome(
        steps=state.step,
        stopped=stopped,
        selected=selected,
        selected_step=state.best_step if selected == "best" else state.step,
        best=None if math.isinf(state.best) else state.best,
        metrics=tuple(metrics),
        seconds=state.seconds,
        cpu_seconds=state.cpu_seconds,
    )


def _out_of_patience(state: _Progress, budget: Budget) -> bool:
    return budget.patience is not None and state.worse >= budget.patience


@contextmanager
def _bar(wanted: bool, total: int, done: int) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    if not wanted:
        yield lambda step, line: None
        return
    columns = (TextColumn("train"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total, completed=done)

        def show(step: int, line: Mapping[str, float]) -> None:
            words = [f"{k} {line[k]:.4g}" for k in ("loss", "validation") if k in line]
            bar.update(task, completed=step, description="  ".join(words))

        yield show
