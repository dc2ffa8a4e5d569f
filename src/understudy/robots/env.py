"""A robot as an environment, so that rollouts, recordings and sessions drive it like any other."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, final

from understudy.envs.registry import Task
from understudy.envs.spaces import ActionSpec
from understudy.episode import Array, Obs
from understudy.robots.base import Reading, Refused, Robot, RobotLost, SafeRobot
from understudy.robots.guarded import guarded
from understudy.robots.twin import Twin
from understudy.rollout import Interrupted

__all__ = ["RobotEnv", "RobotStopped"]

Cause: TypeAlias = Literal["refused", "stopped", "lost"]
_SILENCE = 1.0  # seconds without a reading, or three periods where those are longer


@final
class RobotStopped(Interrupted):
    """A robot did not take a step. `episode`, after a rollout, is what was recorded until then.

    Attributes:
        cause: "refused": a limit was broken; the robot holds still and takes the next command that keeps it.
            "stopped": it takes commands again after `RobotEnv.resume` or a reset. "lost": it cannot be
            reached any more.
    """

    def __init__(self, why: str, cause: Cause) -> None:
        super().__init__(why, cause)
        self.cause: Cause = cause

    def __str__(self) -> str:
        return str(self.args[0])


@final
class RobotEnv:
    """A `DoorEnv` around a robot, paced by the robot: `step` commands and waits for the next reading.

    `info` holds `time`, the measured seconds of the observation on the robot's clock, `stopped`, and
    `success` where the robot says it. A rollout keeps the times in `Episode.time`. The episode ends
    (terminated) at success. A robot pays no reward: it is 0. Between `reset` and the first step the robot
    waits as long as it takes; from then on its watchdog wants a command every 0.1 s, unless it was made with
    another timeout.

    Args:
        robot: any; one that is not safe yet gets `Guarded`, with no limits but its action's bounds.
        horizon: truncates an episode after so many steps; a robot itself has no time limit.
        twin: the robot's task, where it is in another process and is to be drawn in this one: `raw` is then a
            simulation that takes on the pose that the robot sends. A robot that sends none is not drawn.
    """

    measured = True  # info["time"] is when the observation was measured; a rollout asks for this

    def __init__(self, robot: Robot, horizon: int | None = None, *, twin: Task | None = None) -> None:
        if horizon is not None and horizon < 1:
            raise ValueError(f"horizon is {horizon}; an episode has at least one step")
        self.robot: SafeRobot = guarded(robot)
        self.name: str = robot.name
        self.action: ActionSpec = robot.action
        self.horizon = horizon
        self._twin = Twin(twin) if twin is not None and self.robot.observe().pose else None
        self._steps = 0
        self._time = 0.0

    @property
    def obs(self) -> Mapping[str, tuple[int, ...]]:
        """Observation name -> shape of one step."""
        return self.robot.obs

    @property
    def rate(self) -> float:
        """Control steps in a second."""
        return self.robot.rate

    @property
    def raw(self) -> Any:
        """What can be drawn: the twin, the simulator behind a robot of this process, or else the robot."""
        if self._twin is not None:
            return self._twin.raw
        return getattr(self.robot, "raw", self.robot)

    def reset(self, *, seed: int) -> tuple[Obs, Mapping[str, Any]]:
        """Starts an episode: resets the robot where it can be, else resumes it and takes it as it stands.

        Raises:
            RobotStopped: when it stays stopped, or is lost.
        """
        self._steps = 0
        try:
            reading = self.robot.reset(seed)
        except (Refused, RobotLost) as e:
            raise RobotStopped(str(e), self._cause(e)) from e
        if reading.stopped:
            raise RobotStopped(reading.stopped, "stopped")
        self._keep(reading)
        return reading.obs, _info(reading)

    def step(self, action: Array) -> tuple[Obs, float, bool, bool, Mapping[str, Any]]:
        """One control step with `action` [A], clipped to its bounds.

        Raises:
            RobotStopped: when the robot refuses, stops or is lost; the step does not count.
        """
        settled = self.action.settle(action)
        try:
            self.robot.command(settled)
            reading = self._next()
        except (Refused, RobotLost) as e:
            raise RobotStopped(str(e), self._cause(e)) from e
        if reading.stopped:
            raise RobotStopped(reading.stopped, "stopped")
        self._steps += 1
        self._keep(reading)
        done = reading.success is True
        late = self.horizon is not None and self._steps >= self.horizon
        return reading.obs, 0.0, done, late and not done, _info(reading)

    def resume(self) -> None:
        """Lets a stopped robot take commands again; nothing moves before the next step.

        Raises:
            RobotStopped: when only a reset helps, or the robot is lost.
        """
        try:
            self.robot.resume()
        except (Refused, RobotLost) as e:
            raise RobotStopped(str(e), self._cause(e)) from e

    def stop(self) -> None:
        """Brings the robot to rest, until `resume` or `reset`. A robot that is lost stops by itself."""
        self.robot.stop()

    def close(self) -> None:
        """Lets go of the robot, which stops."""
        self.robot.close()
        if self._twin is not None:
            self._twin.close()

    def _keep(self, reading: Reading) -> None:
        self._time = reading.time
        if self._twin is not None:
            self._twin.show(reading.pose)

    def _next(self) -> Reading:
        """The first reading after the command, and no sooner than most of a period after the one before."""
        period = 1.0 / self.rate
        # The command is carried out in the step after the reading that is there now.
        after = max(self.robot.observe().time, self._time + 0.5 * period)
        end = time.monotonic() + (patience := max(_SILENCE, 3 * period))
        while (left := end - time.monotonic()) > 0:
            if (reading := self.robot.wait(after, left)) is not None:
                return reading
        raise RobotLost(f"{self.name}: no reading for {patience:g} s")

    def _cause(self, error: ValueError) -> Cause:
        if isinstance(error, RobotLost):
            return "lost"
        try:
            return "stopped" if self.robot.why_stopped else "refused"
        except RobotLost:
            return "lost"


def _info(reading: Reading) -> Mapping[str, Any]:
    said = {} if reading.success is None else {"success": reading.success}
    return {"time": reading.time, "stopped": reading.stopped, **said}
