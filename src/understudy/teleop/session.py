"""A session: a person, a world and maybe a policy, one control step at a time.

The core is single-threaded and deterministic: what `tick` does follows from the inputs and commands that came
before it and from the time it is given. Other threads only put things into its inbox and read its state.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

from understudy.envs.door import DoorEnv
from understudy.envs.registry import Task
from understudy.robots import RobotStopped
from understudy.roles import Policy
from understudy.scene import Scene
from understudy.teleop.controls import Controls
from understudy.teleop.course import Course, Limits
from understudy.teleop.desk import Desk
from understudy.teleop.driving import Driving, records
from understudy.teleop.frame import Frame, pictures_of
from understudy.teleop.input import STALE, Inbox, Input
from understudy.teleop.keeping import FIRST_SEED, Keeper, fresh, used
from understudy.teleop.pilots import Pilot
from understudy.teleop.settings import Settings
from understudy.teleop.state import described
from understudy.teleop.words import checked
from understudy.teleop.world import World, paced

__all__ = ["SILENT", "Session"]

SILENT = 2.0  # seconds without a word from the page, after which a simulation pauses; robots stop at STALE


@final
class Session:
    """What runs behind the page.

    Args:
        env: what is driven, or what makes it: `patient(task, seconds)`, or a `RobotEnv`.
        task: what it is; its name, rate and words go into the episodes.
        controls: how the operator drives it.
        folder: of the dataset that episodes go into; None where nothing is recorded.
        operator: the person's name.
        pilot: the policy, for every mode but "record".
        expert: who may drive in place of the operator in shadow mode.
        clock: seconds that never go back; `Input.received` is by the same clock.
        seed: of the first episode; the others follow, without those that the folder holds already.
        instruction: the task in words; the task's own line where left out.
        seconds: of the longest episode. countdown: seconds between a reset and the episode.

    Attributes:
        rate: ticks a second. scene: what can be drawn, None where nothing can.
        training: what the page is told of a training in the background; whoever trains sets it.

    Raises:
        ValueError: when the controls do not fit, a seed is one of those kept for evaluation, or a number is
            out of its range.
        DataError: when the folder holds something else than a dataset.
    """

    def __init__(
        self,
        env: DoorEnv | Callable[[], DoorEnv],
        task: Task,
        controls: Controls,
        folder: Path | None,
        *,
        operator: str,
        pilot: Pilot | None = None,
        expert: Policy | None = None,
        clock: Callable[[], float] = time.monotonic,
        seed: int = FIRST_SEED,
        instruction: str | None = None,
        seconds: float = 60.0,
        countdown: float = 1.0,
    ) -> None:
        if controls.spec != task.action:
            raise ValueError(f"the controls are for other actions than those of {task.name}")
        limits, seeds = Limits(seconds, countdown), fresh(seed, used(folder))
        name = checked("operator", {"name": operator})["name"]
        words = checked("instruction", {"text": instruction or task.summary})["text"]
        self.task, self.controls, self.folder, self._clock = task, controls, folder, clock
        self._world = World(env, task)
        self.rate, self._each = paced(self._world.fps)
        self._driving = Driving(controls, pilot, expert)
        keeper = None if folder is None else Keeper(folder, self._world.whole_fps)
        self._course = Course(self._world, self._driving, keeper, limits)
        settings = Settings(task.name, name, words, controls.speed, "record")
        self._desk = Desk(task, self._course, self._driving, settings, seeds)
        if not self._desk.modes:
            raise ValueError("there is neither a folder to record into nor a policy to watch")
        settings.mode = self._desk.modes[0]
        self._inbox = Inbox()
        self._frames, self._heard, self._lost, self._closed = 0, -1.0, False, False
        self.training: dict[str, Any] | None = None
        self._world.show(self._desk.shown(), clock())
        self._state = self._describe(clock())

    @property
    def scene(self) -> Scene | None:
        """What can be drawn of the world; None where nothing can."""
        return self._world.scene

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes that there are a folder and a policy for."""
        return self._desk.modes

    @property
    def mode(self) -> str:
        """record, correct, label, watch or shadow."""
        return self._desk.settings.mode

    # -- from any thread -------------------------------------------------------------------------------

    def put(self, input: Input) -> None:
        """What the operator holds now; the newest wins."""
        self._inbox.put(input)

    def do(self, what: str, **args: Any) -> None:
        """Queues a command for the next tick, in which it acts or is answered with a message.

        Raises:
            ValueError: for an unknown word, arguments that do not fit, or too many at once.
        """
        self._inbox.do(what, args)

    def lost(self) -> None:
        """The link to the operator is gone: a robot stops now, an episode is paused at the next tick."""
        self._inbox.empty()
        self._lost = True
        self._world.stop()

    def fail(self, why: str) -> None:
        """Whoever runs the ticks cannot go on: everything stands still, and the page is told."""
        self._world.stop()
        self._course.phase = "error"
        self._desk.say(why, "error")
        self._state = self._describe(self._clock())

    def state(self) -> dict[str, Any]:
        """What the page shows besides the scene, as of the last tick; ready for JSON."""
        return dict(self._state)

    # -- from the thread that ticks --------------------------------------------------------------------

    def tick(self, now: float) -> Frame:
        """One control period, `now` in seconds of the clock: hears, acts, steps the world, records.

        What goes wrong with the world, the policy or the operator's wishes raises nothing: everything stands
        still, and the page is told.
        """
        input, ack = self._inbox.take(now)
        self._heard = self._heard if input is None else input.received
        recording = False
        try:
            self._watch_link(now)
            for command in self._inbox.commands():
                self._desk.do(command, now, input)
            recording = self._advance(now, input)
        except RobotStopped as e:
            self._stopped(e, now)
        except Exception as e:  # of anybody's environment or policy: the page must say so, and go on
            self._broken(f"{type(e).__name__}: {e}")
        frame = self._framed(ack, recording)
        self._state = self._describe(now)
        return frame

    def _advance(self, now: float, input: Input | None) -> bool:
        """What the phase does by itself; whether steps were recorded."""
        course = self._course
        if course.phase == "saving":
            self._desk.saved(now)
        course.look()
        if course.phase == "countdown" and now >= course.begins_at:
            course.go(now)
        done, speed = False, self._desk.settings.speed
        for i in range(self._each):
            if course.phase not in ("ready", "running"):
                break
            done |= course.step(now + i / self._world.fps, input, speed)
            if course.phase == "paused":
                self._desk.alarm()
        if course.phase == "asking":
            self._desk.preview(input)
        if done and course.phase == "idle":
            self._desk.watched(now)
        return done and records(course.mode)

    def _watch_link(self, now: float) -> None:
        """Nobody at the page, nothing moves."""
        lost, self._lost = self._lost, False
        course, robot = self._course, self._world.robot is not None
        silent = self._heard >= 0 and now - self._heard > (STALE if robot else SILENT)
        if not (lost or silent) or (course.mode == "watch" and not robot):
            return
        if course.phase == "running" or (lost and course.phase == "paused"):
            if course.phase == "running":
                course.pause(now)
            self._desk.say("the page is not heard any more; everything stands still until it resumes", "warn")
        elif course.phase in ("countdown", "ready") and lost:
            course.drop()
            self._desk.say("the page was lost before the episode began", "warn")

    def _stopped(self, e: RobotStopped, now: float) -> None:
        """A robot did not take a step, which is not recorded."""
        course = self._course
        if course.phase != "running" or e.cause == "lost":
            self._broken(str(e))
        elif e.cause == "stopped":  # it may be resumed, and if not, that says so
            course.pause(now)
            self._desk.say(f"the robot stopped: {e}; resume, or end the episode", "warn")
        else:
            if not self._driving.operator:  # a person sees it and steers away; a policy would go on for ever
                course.pause(now)
            self._desk.say(f"the robot refuses: {e}", "warn")

    def _broken(self, why: str) -> None:
        """Something does not go on: it stands still, and what there is of the episode can be kept."""
        course = self._course
        self._desk.end_trial()
        course.finish()
        if course.phase == "idle":
            course.phase = "error"
        rest = "; what was recorded until then can be kept" if course.phase == "review" else ""
        self._desk.say(f"{why}{rest}", "error")

    def _framed(self, ack: int, recording: bool) -> Frame:
        world, self._frames = self._world, self._frames + 1
        reset, world.fresh = world.fresh, False
        return Frame(
            world.poses(),
            self._frames,
            world.episode,
            ack,
            world.sim,
            reset,
            bool(world.success),
            self._driving.operator,
            recording,
            pictures_of(world.obs),
        )

    def _describe(self, now: float) -> dict[str, Any]:
        return described(self._desk, self._world, now) | {"training": self.training}

    def close(self) -> None:
        """Stops, saves what stands in review, and lets go of the world. Twice is once.

        Raises:
            DataError: when the episode in review cannot be saved.
        """
        if self._closed:
            return
        self._closed = True
        try:
            self._world.stop()
            self._desk.close()
        finally:
            self._world.env.close()
