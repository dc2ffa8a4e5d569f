"""The desk at which words become deeds: every command in every phase acts, or is answered with a message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, final

import numpy as np

from understudy.envs.registry import Task
from understudy.episode import Array
from understudy.robots import RobotStopped
from understudy.storage import DataError
from understudy.teleop.course import Course
from understudy.teleop.driving import Driving, needs_pilot, records
from understudy.teleop.input import Command, Input
from understudy.teleop.keeping import recorded
from understudy.teleop.phases import WHY, handler
from understudy.teleop.pilots import Pilot
from understudy.teleop.settings import Settings
from understudy.teleop.trial import Trial
from understudy.teleop.words import MODES

__all__ = ["Desk"]


@final
class Desk:
    """Commands, and what follows from them when their time has come.

    Attributes:
        message: the last thing to say: {"level": "info", "warn" or "error", "text"}, or None.
        trial: the evaluation under way, or the last one; None where there was none.
    """

    def __init__(
        self, task: Task, course: Course, driving: Driving, settings: Settings, seeds: Iterator[int]
    ) -> None:
        self.task, self.course, self.driving, self.settings = task, course, driving, settings
        self.message: dict[str, str] | None = None
        self.trial: Trial | None = None
        self.held_now: Array | None = None  # what would be the answer, while something is being asked
        self._seeds = seeds
        self._seed: int | None = None  # one that was shown already, and nobody recorded
        self._next = False  # whether an episode begins when the saving is over
        self._waiting: Pilot | None = None  # who drives from the next episode on
        self._drove: str | None = None  # the policy of this episode, whoever was swapped in since

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes that there are a folder and a pilot for."""
        kept, piloted = self.course.keeper is not None, self.driving.pilot is not None
        return tuple(m for m in MODES if (kept or not records(m)) and (piloted or not needs_pilot(m)))

    def say(self, text: str, level: str = "info") -> None:
        """Leaves one line for the page."""
        self.message = {"level": level, "text": " ".join(text.split())}

    def do(self, command: Command, now: float, input: Input | None) -> None:
        """Acts, or answers."""
        self.message = None
        what = handler(command.what, self.course.phase)
        if what is None:
            self.say(WHY[command.what].format(phase=self.course.phase), "warn")
            return
        try:
            getattr(self, f"_{what}")(now=now, input=input, **command.args)
        except ValueError as e:  # an answer of another width, seeds that were recorded already
            if isinstance(e, RobotStopped) or self.course.phase == "error":
                raise
            self.say(str(e), "warn")

    # -- episodes --------------------------------------------------------------------------------------

    def shown(self) -> int:
        """The seed of the next episode; the same until something is driven in it."""
        if self._seed is None:
            self._seed = next(self._seeds)
        return self._seed

    def _begin(self, now: float, **_: Any) -> None:
        if self.settings.mode not in self.modes:
            self.say(self._lacking(self.settings.mode), "warn")
            return
        self._start(self.shown(), now)

    def _start(self, seed: int, now: float) -> None:
        if not self._evaluating:  # which is of one policy
            self._swap()
        pilot = self.driving.pilot if needs_pilot(self.settings.mode) else None
        self._drove = None if pilot is None else pilot.name
        longest = max(1, round(self.course.limits.seconds * self.course.world.fps))
        if self.settings.mode == "watch":
            longest = self.task.horizon
        self.course.begin(self.settings.mode, seed, now, longest)

    @property
    def _evaluating(self) -> bool:
        return self.trial is not None and self.trial.running

    def _swap(self) -> None:
        if self._waiting is not None:
            self.driving.pilot, self._waiting = self._waiting, None

    def _go(self, now: float, **_: Any) -> None:
        self.course.go(now)

    def _call_off(self, **_: Any) -> None:
        self.course.drop()
        self.end_trial()

    def _finish(self, **_: Any) -> None:
        self.course.finish()
        self.end_trial()

    def _drop(self, **_: Any) -> None:
        self._spend()
        self.course.drop()
        self.end_trial()

    def _repeat(self, now: float, **_: Any) -> None:
        seed = self.course.seed
        self.course.drop()
        self._start(seed, now)

    def _spend(self) -> None:
        """The seed of the present episode is not begun with again."""
        if self._seed == self.course.seed:
            self._seed = None

    def _succeed(self, **_: Any) -> None:
        self._mark(True)

    def _fail(self, **_: Any) -> None:
        self._mark(False)

    def _mark(self, mark: bool) -> None:
        if not records(self.course.mode):
            self.say(f"nothing is recorded in mode {self.course.mode}, so there is nothing to mark", "warn")
            return
        self.course.mark = mark
        if self.course.phase != "review":
            self.course.finish()

    # -- keeping ---------------------------------------------------------------------------------------

    def _keep(self, **_: Any) -> None:
        self._next = False
        self.course.keep(self.settings.facts(self._drove))

    def _keep_and_begin(self, **_: Any) -> None:
        self._keep()
        self._next = True

    def saved(self, now: float) -> None:
        """Looks whether the saving is over, and goes on with what was to follow."""
        error = self.course.settled()
        if error is None:
            return
        if error:
            self.say(f"{error}; the episode is still here: save it again", "error")
            self._next = False
            return
        self._spend()
        self.say(f"saved as episode {self.course.newest[-1]['index']}")
        if self._next:
            self._next = False
            self._begin(now)

    # -- while it runs ---------------------------------------------------------------------------------

    def _take(self, now: float, **_: Any) -> None:
        if self._two_drivers():
            self._go_on(now)
            self.course.take()

    def _hand(self, now: float, **_: Any) -> None:
        if self._two_drivers():
            self._go_on(now)
            self.driving.hand()

    def _go_on(self, now: float) -> None:
        if self.course.phase == "paused":
            self.course.resume(now)

    def _two_drivers(self) -> bool:
        mode = self.course.mode
        if mode == "correct" or (mode == "shadow" and self.driving.expert is not None):
            return True
        self.say(f"in mode {mode} the controls stay where they are", "warn")
        return False

    def _pause(self, now: float, **_: Any) -> None:
        self.course.pause(now)

    def _resume(self, now: float, **_: Any) -> None:
        self.course.resume(now)

    def _answer(self, input: Input | None, action: list[float] | None = None, **_: Any) -> None:
        held = self.held(input) if action is None else self.driving.spec.settle(np.array(action, np.float64))
        self.course.answer(held)

    def held(self, input: Input | None) -> Array:
        """[A], what the operator's devices say to do in the state that is being asked about."""
        controls = self.driving.controls
        held = controls.action(input, self.course.world.obs, self.settings.speed)
        return controls.hold() if held is None else held

    def preview(self, input: Input | None) -> None:
        """Shows what the answer would be now."""
        self.held_now = self.held(input)

    def _skip(self, **_: Any) -> None:
        self.course.answer(None)

    def alarm(self) -> None:
        """The guard paused the policy."""
        self.say("the policy is unsure of what to do here: take over, or let it go on", "warn")

    # -- evaluation ------------------------------------------------------------------------------------

    def _evaluate(self, now: float, n: int, **_: Any) -> None:
        if self.settings.mode != "watch":
            self.say("an evaluation is watched: choose mode watch first", "warn")
            return
        self._swap()
        keeper = self.course.keeper
        self.trial = Trial(n, recorded(None if keeper is None else keeper.folder))
        self._trial_goes_on(now)

    def _trial_goes_on(self, now: float) -> None:
        assert self.trial is not None
        if (seed := self.trial.seed) is None:
            return
        self._start(seed, now)
        self.course.go(now)  # nobody has to get ready for it

    def watched(self, now: float) -> None:
        """An episode that is only watched has ended by itself."""
        if self.trial is None or not self._evaluating:
            said = self.course.world.success
            self.say("done" if said is None else "done: success" if said else "done: no success")
            self._spend()
            return
        self.trial.add(self.course.world.success)
        self._trial_goes_on(now)

    def end_trial(self) -> None:
        """The evaluation under way ends with the episodes that it has."""
        if self.trial is not None:
            self.trial.stop()

    def close(self) -> None:
        """Finishes a saving, and saves what waits for a decision: a person made it, and nobody dropped it.

        Raises:
            DataError: when it cannot be saved.
        """
        if self.course.phase == "review":
            self._keep()
        if self.course.phase == "saving" and (error := self.course.waited()):
            raise DataError(error)

    # -- settings --------------------------------------------------------------------------------------

    def _mode(self, name: str, **_: Any) -> None:
        if name not in self.modes:
            self.say(self._lacking(name), "warn")
            return
        if self.course.phase != "idle":
            self.course.drop()
        self.settings.mode = name

    def _lacking(self, mode: str) -> str:
        if self.course.keeper is None and records(mode):
            return f"mode {mode} needs a folder to record into"
        return f"mode {mode} needs a policy"

    def _speed(self, value: float, **_: Any) -> None:
        self.settings.speed = value

    def _operator(self, name: str, **_: Any) -> None:
        self.settings.operator = name

    def _instruction(self, text: str, **_: Any) -> None:
        self.settings.instruction = text

    def _every(self, k: int, **_: Any) -> None:
        self.course.every = k

    def _guard(self, on: bool, **_: Any) -> None:
        self.course.guard = on

    def _pilot(self, pilot: Pilot, **_: Any) -> None:
        self._waiting = pilot
        if self.course.phase in ("idle", "review", "error"):
            self._swap()
            self.say(f"{pilot.name} drives from now on")
        else:
            when = "once the evaluation is over" if self._evaluating else "from the next episode on"
            self.say(f"{pilot.name} drives {when}")
