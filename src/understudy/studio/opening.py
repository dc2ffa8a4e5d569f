"""What `understudy studio` opens: a task, a dataset or a run's policy."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from understudy import storage
from understudy.envs import Task
from understudy.envs import task as find_task
from understudy.envs.door import DoorEnv
from understudy.robots import RemoteRobot, RobotEnv
from understudy.robots.tokens import VARIABLE, token_from
from understudy.roles import Policy
from understudy.studio.library import Library
from understudy.studio.library_shelf import known
from understudy.studio.room import Room, Teacher
from understudy.teleop import MODES, Session, controls_for, patient

if TYPE_CHECKING:  # what learns needs torch, which takes a while to load; driving and looking do not
    from understudy.studio.pilots import RunPilot

__all__ = ["Opening", "opened"]


@final
@dataclass(frozen=True)
class Opening:
    """What to open: one of `task`, `data` and `policy`, and how.

    Args:
        task: a task's name; its episodes go into `out`, by default TASK-demonstrations.
        data: a dataset, to be looked at, and recorded into where its task is known here.
        policy: a run, whose policy drives; corrections go into `out`, by default RUN-corrections.
        robot: "HOST:PORT" of a robot of that task, in place of the simulation.
        robot_token: a file with the robot's secret, else the environment variable UNDERSTUDY_ROBOT_TOKEN.
        out: the dataset to record into, new or not.
        operator: the person's name. instruction: the task in words; None is the task's own line.
        seed: of the first episode; None is the first that is kept for what is driven by hand.
        seconds: of the longest episode.
        mode: record, correct, label, watch or shadow; None is correct with a policy, else record.
    """

    task: str | None = None
    data: Path | None = None
    policy: Path | None = None
    robot: str | None = None
    robot_token: Path | None = None
    out: Path | None = None
    operator: str = "unnamed"
    instruction: str | None = None
    seed: int | None = None
    seconds: float = 60.0
    mode: str | None = None

    def __post_init__(self) -> None:
        named = [n for n in ("task", "data", "policy") if getattr(self, n) is not None]
        if len(named) != 1:
            given = " and ".join(f"--{n}" for n in named) or "none of them"
            raise ValueError(f"the studio opens one of --task, --data and --policy, not {given}")
        if self.data is not None and self.out is not None:
            raise ValueError("--data is recorded into itself; leave --out out")
        if self.mode is not None and self.mode not in MODES:
            raise ValueError(f"there is no mode {self.mode!r}; there are {', '.join(MODES)}")


def opened(asked: Opening, clock: Callable[[], float] = time.monotonic) -> Room:
    """Opens it.

    Raises:
        ValueError: when something cannot be opened, or does not fit the rest.
    """
    pilot = None if asked.policy is None else _pilot(asked.policy)
    which = _task(asked, pilot)
    folder = _folder(asked)
    if which is None:
        if asked.robot is not None or asked.mode is not None:
            raise ValueError(f"{asked.data} is of no task that is known here, so that nothing can be driven")
        return Room(None, folder, Library(folder), Teacher(folder, None))
    teacher, why = Teacher(folder, asked.policy), ""
    if asked.policy is not None:
        try:
            teacher.load()
        except ValueError as e:
            why = str(e)
    session = _session(asked, which, pilot, folder, clock)
    runs: Sequence[Path] = () if asked.policy is None else (asked.policy,)
    library = Library(folder, runs=runs, busy=partial(_busy, session))
    return Room(session, folder, library, teacher, why)


def _pilot(run: Path) -> RunPilot:
    from understudy.studio.pilots import open_pilot

    pilot = open_pilot(run)
    _ = pilot.threshold  # found now, since finding it reads the training data
    return pilot


def _busy(session: Session) -> str:
    return "an episode is being saved" if session.state()["phase"] == "saving" else ""


def _task(asked: Opening, pilot: RunPilot | None) -> Task | None:
    """The task to drive; None where a dataset names none that is known."""
    if asked.task is not None:
        return find_task(asked.task)
    if pilot is not None:
        if pilot.task is None:
            raise ValueError(f"{asked.policy} names no task, for its data named none")
        if ":" in pilot.task:  # Gymnasium would import the module that a file names
            raise ValueError(f"{asked.policy} names the task {pilot.task[:60]!r}; it may not name a module")
        return find_task(pilot.task)
    assert asked.data is not None
    named = {str(facts["task"]) for facts in storage.read(asked.data).facts if "task" in facts}
    return known(named.pop()) if len(named) == 1 else None


def _folder(asked: Opening) -> Path:
    if asked.data is not None:
        return asked.data
    if asked.out is not None:
        return asked.out
    return Path(f"{asked.task}-demonstrations") if asked.policy is None else _beside(asked.policy)


def _beside(run: Path) -> Path:
    run = run.resolve()
    return run.with_name(f"{run.name}-corrections")


def _session(
    asked: Opening, which: Task, pilot: RunPilot | None, folder: Path, clock: Callable[[], float]
) -> Session:
    """The session, in the mode that was asked for."""
    given: dict[str, Any] = {} if asked.seed is None else {"seed": asked.seed}
    env = patient(which, asked.seconds) if asked.robot is None else _robot(asked, which)
    try:
        session = Session(
            env,
            which,
            controls_for(which),
            folder,
            pilot=pilot,
            expert=_expert(which),
            clock=clock,
            operator=asked.operator,
            instruction=asked.instruction,
            seconds=asked.seconds,
            **given,
        )
        mode = asked.mode or ("record" if pilot is None else "correct")
        if mode not in session.modes:
            raise ValueError(f"mode {mode} needs a policy; there are {', '.join(session.modes)}")
        session.do("mode", name=mode)
    except BaseException:
        env.close()
        raise
    return session


def _expert(which: Task) -> Policy | None:
    """The task's own expert, for shadow mode; None where there is none, or his packages are missing."""
    if which.expert is None:
        return None
    with contextlib.suppress(ImportError):
        return which.expert()
    return None


def _robot(asked: Opening, which: Task) -> DoorEnv:
    """The robot at the address, checked to be one of that task."""
    assert asked.robot is not None
    token = token_from(asked.robot_token)
    if token is None:
        raise ValueError(f"a robot wants its secret: --robot-token FILE, or the variable {VARIABLE}")
    env = RobotEnv(RemoteRobot(asked.robot, token), twin=which)
    if env.action != which.action or dict(env.obs) != dict(which.obs):
        env.close()
        raise ValueError(f"the robot at {asked.robot} has other actions or observations than {which.name}")
    return env
