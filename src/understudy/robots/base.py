"""What a robot is to the rest of the library, and what it says when it does not do as it was told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from understudy.envs.spaces import ActionSpec
from understudy.episode import Array, Obs

__all__ = ["TIMEOUT", "Reading", "Refused", "Robot", "RobotLost", "SafeRobot"]

TIMEOUT = 0.1  # seconds without a command, after which a robot stops


class Refused(ValueError):
    """A robot does not carry a command out, and holds still; the line names limit, value and bound."""


class RobotLost(ValueError):
    """A robot cannot be reached any more; the line says since when or why."""


@dataclass(frozen=True)
class Reading:
    """What a robot measured at one moment.

    Args:
        obs: observation name -> array of one step.
        time: seconds on the robot's own clock, which never goes back; when `obs` was measured.
        success: whether the task is done; None where nobody can say.
        stopped: why the robot does not move, in words; "" where it does as it is told.
        pose: how its bodies lie, for whoever draws it (`understudy.robots.twin`); {} where it does not say.
    """

    obs: Obs
    time: float
    success: bool | None = None
    stopped: str = ""
    pose: Mapping[str, Array] = field(default_factory=dict)


@runtime_checkable
class Robot(Protocol):
    """What its owner writes: three methods, and how to let go of it. `Guarded` adds what makes it safe.

    Attributes:
        name: the task that is done with it, or its own name.
        action: what commands it takes; 0 in every dimension must mean "hold still".
        obs: observation name -> shape of one step.
        rate: control steps in a second.
    """

    name: str
    action: ActionSpec
    rate: float

    @property
    def obs(self) -> Mapping[str, tuple[int, ...]]:
        """Observation name -> shape of one step."""
        ...

    def observe(self) -> Reading:
        """The newest reading."""
        ...

    def command(self, action: Array) -> None:
        """Carries out `action` [A] until the next command. It hands it over and returns at once.

        Raises:
            Refused: when the robot does not; then it holds still.
        """
        ...

    def stop(self) -> None:
        """Brings the robot to rest, at once. It may be called at any time, from any thread, twice."""
        ...

    def close(self) -> None:
        """Lets go of the robot."""
        ...


@runtime_checkable
class SafeRobot(Robot, Protocol):
    """A robot that keeps its limits and stops by itself where commands stay away.

    Attributes:
        resets: whether `reset` brings the world back to a start; else people do, and `reset` only resumes.
        why_stopped: as in `Reading.stopped`, now.
    """

    resets: bool

    @property
    def why_stopped(self) -> str:
        """Why the robot does not move, "" where it does as it is told."""
        ...

    def stop(self, why: str = ...) -> None:
        """Brings the robot to rest until `resume` or `reset`; `why` is what readings say then."""
        ...

    def reset(self, seed: int) -> Reading:
        """A new start, at rest; the watchdog waits for the first command. Gives the first reading."""
        ...

    def resume(self) -> None:
        """Lets a stopped robot take commands again; it stays at rest until the first one.

        Raises:
            Refused: when only a reset helps.
        """
        ...

    def wait(self, after: float, timeout: float) -> Reading | None:
        """The first reading later than `after` (its own time), None where none comes in `timeout` seconds."""
        ...
