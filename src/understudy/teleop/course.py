"""The course of one episode after another: reset, drive, review, keep. It knows no page and no words.

Every method is called from the thread that ticks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, final

from understudy.episode import Array, Episode
from understudy.teleop.driving import Driving, needs_operator, records
from understudy.teleop.input import Input
from understudy.teleop.keeping import Keeper, entry
from understudy.teleop.tape import Tape, Turn
from understudy.teleop.world import World

__all__ = ["Course", "Limits"]

_NEWEST = 5


@final
class Limits:
    """How long things take, in seconds: the longest episode, and the countdown after a reset."""

    def __init__(self, seconds: float, countdown: float) -> None:
        if not 0 < seconds <= 86_400 or not 0 <= countdown <= 600:
            raise ValueError(
                f"seconds is {seconds} and countdown {countdown}; they must lie in (0, 86400] and [0, 600]"
            )
        self.seconds, self.countdown = seconds, countdown


@final
class Course:
    """Where the episode under way stands.

    Attributes:
        phase: one of `phases.PHASES`. mark: what the operator says of the episode; None where nothing.
        saved, discarded: episodes. newest: facts of the last five saved, newest last.
        begins_at: when the countdown ends. question: in label mode, the turn that waits for an answer.
    """

    def __init__(self, world: World, driving: Driving, keeper: Keeper | None, limits: Limits) -> None:
        self.world, self.driving, self.keeper, self.limits = world, driving, keeper, limits
        self.phase, self.mode, self.seed = "idle", "record", -1
        self.mark: bool | None = None
        self.tape: Tape | None = None
        self.pending: Turn | None = None
        self.question: Turn | None = None
        self.begins_at = 0.0
        self.saved = self.discarded = 0
        self.newest: deque[dict[str, Any]] = deque(maxlen=_NEWEST)
        self.every, self._warned, self.guard = 1, False, False
        self._facts: dict[str, str | int | float] = {}
        self._saving: Episode | None = None
        self._stood, self._since = 0.0, 0.0  # seconds paused so far, and since when
        self.longest = 0

    def begin(self, mode: str, seed: int, now: float, longest: int) -> None:
        """Resets, and counts down; an episode has at most `longest` steps."""
        self.mode, self.seed, self.longest = mode, seed, longest
        self.phase, self.tape = "error", None  # until the reset has come through
        first = self.world.reset(seed, now)
        self.driving.begin(mode, seed)
        self.tape = Tape(self.world.obs, first)
        self.mark, self.pending, self.question = None, None, None
        self._warned, self._stood = False, 0.0
        self._facts = {"started": datetime.now(UTC).isoformat(timespec="milliseconds")}
        self.phase, self.begins_at = "countdown", now + self.limits.countdown

    def look(self) -> None:
        """Sees what a robot sees while nobody drives it; an episode begins with the newest."""
        if self.world.robot is None or self.phase not in ("idle", "countdown", "ready"):
            return
        time = self.world.look()
        if self.phase != "idle":
            self.tape = Tape(self.world.obs, time)

    def go(self, now: float) -> None:
        """The countdown is over."""
        self.phase = "ready" if needs_operator(self.mode) else "running"

    def step(self, now: float, input: Input | None, speed: float) -> bool:
        """One control step that begins `now`, where the world does not wait; whether anything was done."""
        assert self.tape is not None
        turn, self.pending = self.pending, None
        if turn is None:
            turn = self.driving.turn(self.world.obs, input, speed)
            if turn is None:
                return False
            if self._held_up(turn, now):
                return False
        if self.phase == "ready":
            self.phase = "running"
        if self.world.robot is None:
            self.tape.begin(now - self._stood)
        obs, reward, time = self.world.step(turn.action, now - self._stood + 1.0 / self.world.fps)
        self.tape.add(turn, obs, reward, time)
        if self.world.over or self.world.steps >= self.longest:
            self.finish()
        return True

    def _held_up(self, turn: Turn, now: float) -> bool:
        """Whether the step waits for the operator: he is asked, or the policy doubts and somebody guards."""
        assert self.tape is not None
        if self.mode == "label" and len(self.tape) % self.every == 0:
            self.question, self.phase = turn, "asking"
            self.driving.controls.begin(turn.action)
            self.world.stop()
            return True
        unsure = self.driving.unsure and not self.driving.operator
        alarmed = self.guard and unsure and not self._warned and self.mode == "correct"
        self._warned = unsure and (alarmed or self._warned)
        if alarmed:
            self.pending = turn
            self.pause(now)
        return alarmed

    def answer(self, label: Array | None) -> None:
        """The question is answered, or (None) passed over; the pilot goes on."""
        assert self.question is not None
        self.pending = self.question._replace(label=label)
        self.world.resume()
        self.question, self.phase = None, "running"

    def take(self) -> None:
        """The operator drives from the next step on; what the pilot was about to do is not done."""
        assert self.tape is not None
        self.pending = None
        self.driving.take(self.tape.executed)

    def pause(self, now: float) -> None:
        """The world stands still, and a robot stops."""
        self.phase, self._since = "paused", now
        self.world.stop()

    def resume(self, now: float) -> None:
        """And goes on, from the present pose."""
        assert self.tape is not None
        self.world.resume()
        self.phase = "running"
        if self.world.robot is None:
            self._stood += now - self._since
        if self.driving.operator:
            self.driving.controls.begin(self.tape.executed, anchored=True)

    def finish(self) -> None:
        """The episode is over: to be looked at, where it is to be kept and there is anything."""
        self.world.stop()
        self.pending = self.question = None
        kept = records(self.mode) and self.tape is not None and len(self.tape) > 0
        self.phase = "review" if kept else "idle"

    def drop(self) -> None:
        """The episode is not kept."""
        self.world.stop()
        self.discarded += self.tape is not None and len(self.tape) > 0 and records(self.mode)
        self.tape, self.pending, self.question, self.mark = None, None, None, None
        self.phase = "idle"

    def episode(self, facts: Mapping[str, str | int | float]) -> Episode:
        """The episode as it is kept; the operator's mark stands before the task's word."""
        assert self.tape is not None
        task = self.world.success
        said: dict[str, str | int | float] = {}
        if task is not None:
            said["task_success"] = int(task)
        if self.mark is not None or task is not None:
            said["success_by"] = "operator" if self.mark is not None else "task"
        meta = {**facts, "seed": self.seed, "mode": self.mode, **said, **self._facts}
        success = task if self.mark is None else self.mark
        return self.tape.episode(terminated=self.world.terminated, success=success, meta=meta)

    def keep(self, facts: Mapping[str, str | int | float]) -> None:
        """Begins to save the episode."""
        assert self.keeper is not None
        self._saving = self.episode(facts)
        self.keeper.begin(self._saving)
        self.phase = "saving"

    def settled(self) -> str | None:
        """Looks whether the saving is over: None while it is not, "" when it is, else why it failed."""
        assert self.keeper is not None
        return self.waited() if self.keeper.finished() else None

    def waited(self) -> str:
        """Waits for the end of the saving: "" when the episode is on disk, else why it is not."""
        assert self.keeper is not None
        assert self._saving is not None
        assert self.tape is not None
        index, error = self.keeper.outcome()
        if index is None:
            self.phase = "review"
            return error or "the episode was not saved"
        self.saved += 1
        self.newest.append(entry(index, self._saving, self.mark, self.tape.seconds))
        self._saving = self.tape = self.mark = None
        self.phase = "idle"
        return ""
