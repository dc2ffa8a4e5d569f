"""Robots: three methods, and around them what keeps people and things safe.

Write a class with `observe`, `command` and `stop` (and `close`), and four attributes:

    class Arm:
        name = "our-arm"
        action = ActionSpec.box([-1.0] * 4, [1.0] * 4)  # 0 must mean "hold still"
        obs = {"state": (7,)}
        rate = 25.0  # control steps in a second

        def observe(self) -> Reading: ...  # Reading({"state": joints}, time.monotonic())
        def command(self, action): ...     # carried out until the next command
        def stop(self): ...                # at once, from any thread
        def close(self): ...

`Guarded(Arm(), limits)` refuses what breaks a limit and stops the robot 0.1 s after the last command.
`RobotEnv(robot)` makes an environment of it, for rollouts, recordings and sessions. Beside the robot,
`serve(Guarded(Arm(), limits), port=7777, token=token)` lets another process or computer drive it through
`RemoteRobot("host:7777", token)`; limits and watchdog stay on the robot's side, where a lost link finds them.
Where that process itself dies, only the robot's own controller can stop it: give it a timeout, too.

`SimulatedRobot(task("fetch-push"))` is a task of the registry that moves by the clock, as a robot does;
`understudy robot fetch-push --port 7777` serves it.
"""

from understudy.robots.base import TIMEOUT, Reading, Refused, Robot, RobotLost, SafeRobot
from understudy.robots.env import RobotEnv, RobotStopped
from understudy.robots.guarded import Guarded
from understudy.robots.limits import Box, Limits, Speed, Step
from understudy.robots.limits_file import read_limits
from understudy.robots.remote import RemoteRobot
from understudy.robots.safety import ManualClock, Watchdog
from understudy.robots.server import serve
from understudy.robots.simulated import SimulatedRobot

__all__ = [
    "TIMEOUT",
    "Box",
    "Guarded",
    "Limits",
    "ManualClock",
    "Reading",
    "Refused",
    "RemoteRobot",
    "Robot",
    "RobotEnv",
    "RobotLost",
    "RobotStopped",
    "SafeRobot",
    "SimulatedRobot",
    "Speed",
    "Step",
    "Watchdog",
    "read_limits",
    "serve",
]
