""" "Train on them now": a round of learning in another process, while the session goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, final

from understudy import storage
from understudy.runs import open_run
from understudy.studio.lesson import Lesson, drop, lessons, losses
from understudy.studio.pilots import RunPilot, open_pilot
from understudy.studio.recipe import FIRST, Recipe, recipe_of

__all__ = ["Teaching", "rounds_folder"]

_PATIENCE = 10.0  # seconds in which a child may write its checkpoint
_TAIL = 4096  # bytes; a line of metrics has some hundred


def rounds_folder(run: Path) -> Path:
    """Where the rounds after a run go: beside it, or, where it is itself such a round, beside that."""
    run = run.resolve()
    return run.parent if run.parent.name.endswith("-rounds") else run.with_name(f"{run.name}-rounds")


@final
class Teaching:
    """Rounds of HG-DAgger (Kelly et al. 2019) with the person at the page as the expert.

    Every round trains on the run's own demonstrations and on everything that was recorded since, from new
    weights, with the run's network, budget and seed; it makes a new run folder and overwrites none. Without
    a run, what was recorded are the demonstrations, and the first round is the first policy.

    At most one round is under way. It is a process of lowest priority: where this one ends, however it ends,
    that one keeps a checkpoint and stops, and `begin` goes on with it. Every method is thread-safe.

    Args:
        recorded: the dataset that the session records into.
        run: whose policy drives; None where there is none yet.
        recipe: of a first policy; a run brings its own.

    Raises:
        ValueError: when the run cannot learn from corrections, or both a run and a recipe are given.
    """

    def __init__(self, recorded: Path, run: Path | None = None, recipe: Recipe = FIRST) -> None:
        if run is not None and recipe is not FIRST:
            raise ValueError(f"{run} brings its own recipe; leave the other out")
        self.rounds = rounds_folder(recorded if run is None else run)
        self._recipe = recipe if run is None else recipe_of(run)
        self._sources = (recorded.resolve(),) if run is None else _sources(run, recorded)
        self._recorded = recorded
        self._start = None if run is None else run.resolve()
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._now: Lesson | None = None  # under way, or the one that was told of last
        self._phase, self._message = "idle", ""
        self._handed = {x.number for x in lessons(self.rounds) if x.done}
        self._find()

    def _find(self) -> None:
        """What an earlier session left."""
        found = lessons(self.rounds)
        if not found:
            return
        self._now = found[-1]
        if self._now.done:
            self._phase = "done"
            self._message = f"round {self._now.number} is there: {self._now.message or 'finished'}"
        elif self._now.ended == "failed":
            self._phase, self._message = "failed", self._now.message
        else:
            self._phase = "interrupted"
            self._message = f"round {self._now.number} was interrupted; train again to go on with it"

    @property
    def newest(self) -> Path | None:
        """The run folder of the newest finished round."""
        done = [x.run for x in lessons(self.rounds) if x.done]
        return done[-1] if done else None

    def begin(self) -> int:
        """Starts a round, or goes on with one that was interrupted; its number.

        Raises:
            ValueError: when one is under way, or nothing is recorded yet.
        """
        with self._lock:
            self._look()
            if self._child is not None and self._now is not None:
                raise ValueError(f"round {self._now.number} is under way; wait for it, or cancel it")
            lesson = self._next()
            self._child, self._now = _started(lesson), lesson
            self._phase, self._message = "training", "reading what was recorded"
            return lesson.number

    def _next(self) -> Lesson:
        """What is learned now."""
        before = lessons(self.rounds)
        if before and not before[-1].done:
            if before[-1].ended != "failed":
                return before[-1]
            drop(before.pop())
        try:
            count = storage.info(self._recorded).episodes
        except (storage.DataError, OSError):
            count = 0
        if not count:
            raise ValueError(
                f"nothing is recorded in {self._recorded} yet, so there is nothing to learn from"
            )
        number = before[-1].number + 1 if before else 1
        return Lesson(self.rounds, number, self._sources, self._recipe, self._start).save()

    def state(self) -> dict[str, Any] | None:
        """Phase, step, steps, round and message, ready for JSON; None where nothing was ever trained.

        The phase is "training", "done", "failed", "interrupted" or "cancelled".
        """
        with self._lock:
            self._look()
            if self._now is None:
                return None
            steps, line = self._now.recipe.budget.steps, {}
            if self._phase == "training" and (line := _last(self._now.run / "metrics.jsonl")):
                self._message = losses(line)
            step = steps if self._phase == "done" else int(line.get("step", 0))
            what = {"phase": self._phase, "step": step, "steps": steps, "round": self._now.number}
            return {**what, "message": self._message}

    def _look(self) -> None:
        """Notes the end of the child, if it has ended."""
        if self._child is None or self._now is None or (code := self._child.poll()) is None:
            return
        self._release()
        self._now = Lesson.read(self._now.file)
        self._phase, self._message = self._now.ended or "failed", self._now.message
        if not self._now.ended:
            self._phase = "failed" if code > 0 else "interrupted"
            self._message = f"the training process ended with status {code}; see {self._now.log}"

    def take(self) -> RunPilot | None:
        """The policy of a round that has finished since the last call, ready to drive; else None.

        It takes a second or so: the weights are read, and the threshold of its doubt is found.
        """
        with self._lock:
            self._look()
            new = [x for x in lessons(self.rounds) if x.number not in self._handed and x.done]
            self._handed |= {x.number for x in new}
        if not new:
            return None
        pilot = open_pilot(new[-1].run)
        _ = pilot.threshold
        return pilot

    def cancel(self) -> None:
        """Ends the round that is under way, and drops what it has done.

        Raises:
            ValueError: when none is.
        """
        with self._lock:
            self._look()
            if self._child is None or self._now is None:
                raise ValueError("no round is under way, so there is nothing to cancel")
            self._stop()
            if self._now.done:  # it was quicker
                self._phase, self._message = "done", Lesson.read(self._now.file).message
                return
            drop(self._now)
            self._phase, self._message = "cancelled", f"round {self._now.number} was cancelled"

    def close(self) -> None:
        """Stops the round that is under way; it keeps a checkpoint, and `begin` goes on with it later."""
        with self._lock:
            self._look()
            if self._child is not None:
                self._stop()
                self._phase = "interrupted"

    def _stop(self) -> None:
        assert self._child is not None
        self._child.terminate()
        try:
            self._child.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._child.kill()
        self._release()

    def _release(self) -> None:
        assert self._child is not None
        self._child.wait()
        if self._child.stdin is not None:
            self._child.stdin.close()
        self._child = None


def _sources(run: Path, recorded: Path) -> tuple[Path, ...]:
    """The datasets of the run's rounds and demonstrations, and what was recorded, each folder once."""
    described = open_run(run)
    found: list[Path] = []
    if "path" in described["data"]:
        found.append((run / str(described["data"]["path"])).resolve())
        if not found[0].exists():
            raise ValueError(f"the demonstrations of {run} are not at {found[0]} any more")
    if "interactive" in described:
        found.append((run / "collected").resolve())
    return tuple(dict.fromkeys([*(f for f in found if f.exists()), recorded.resolve()]))


def _started(lesson: Lesson) -> subprocess.Popen[bytes]:
    """The child; it holds the other end of a pipe, whose end tells it that this process is gone."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    with lesson.log.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "understudy.studio.training_child", str(lesson.file)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={**os.environ, **one},
            start_new_session=True,  # Ctrl-C is for the server, which then stops the child in order
        )


def _last(file: Path) -> dict[str, Any]:
    """The last whole line of a file of JSON lines that somebody writes to; {} where there is none."""
    try:
        with file.open("rb") as f:
            f.seek(max(0, f.seek(0, os.SEEK_END) - _TAIL))
            lines = f.read().splitlines()
    except OSError:
        return {}
    for raw in reversed(lines):
        try:
            line = json.loads(raw)
        except ValueError:  # half written
            continue
        if isinstance(line, dict):
            return line
    return {}
