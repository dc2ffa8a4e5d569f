"""Robots hold still where they are refused, stop where commands stay away, and are environments to others."""

from __future__ import annotations

import pickle
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gliding import Arm, Glide, glide
from understudy.envs import ActionSpec, Task, task
from understudy.envs.door import is_door_env
from understudy.robots import (
    Box,
    Guarded,
    Limits,
    ManualClock,
    Reading,
    Refused,
    Robot,
    RobotEnv,
    RobotLost,
    RobotStopped,
    SafeRobot,
    SimulatedRobot,
    Speed,
)
from understudy.robots.twin import Twin, pose_of
from understudy.rollout import rollout

OBS = {"state": (2,)}
HAND = Box("hand", "state", (0, 1), (-1.0, -1.0), (1.0, 1.0), (0, 1), 0.1)


def stepped(of: Task, **kwargs: Any) -> SimulatedRobot:
    return SimulatedRobot(of, clock=ManualClock(), **kwargs)


def tick(robot: SafeRobot) -> Reading:
    reading = robot.wait(-1.0, 0.0)
    assert reading is not None
    return reading


def test_a_simulated_robot_moves_exactly_as_its_task_and_knows_no_time_limit() -> None:
    push, rng = task("fetch-push"), np.random.default_rng(0)
    robot, env = stepped(push), push.make()
    obs, _ = env.reset(seed=7)
    first = robot.reset(7)
    assert {k: v.tobytes() for k, v in first.obs.items()} == {k: v.tobytes() for k, v in obs.items()}
    for step in range(120):
        action = rng.uniform(-0.3, 0.3, 4).astype(np.float32)
        robot.command(action)
        reading, (obs, *_) = tick(robot), env.step(action)
        assert {k: v.tobytes() for k, v in reading.obs.items()} == {k: v.tobytes() for k, v in obs.items()}
        assert reading.time == pytest.approx((step + 1) / 25)
        assert (reading.success, reading.stopped) == (False, "")
    robot.close()
    env.close()


def test_it_holds_the_last_command_and_then_nothing() -> None:
    robot = stepped(glide(rate=25), timeout=0.1)
    robot.command(np.array([1.0, 0.0]))
    seen = [tick(robot) for _ in range(5)]  # after 0.04, 0.08, 0.12 ... s
    assert [round(float(r.obs["state"][0]), 6) for r in seen] == [0.1, 0.2, 0.2, 0.2, 0.2]
    assert [r.stopped for r in seen] == ["", "", *["no command for 0.1 s"] * 3]
    with pytest.raises(Refused, match="resume or reset"):
        robot.command(np.array([1.0, 0.0]))
    robot.resume()
    assert tick(robot).obs["state"][0] == pytest.approx(0.2)  # nothing moves by itself
    robot.command(np.array([1.0, 0.0]))
    assert tick(robot).obs["state"][0] == pytest.approx(0.3)


def test_a_refused_command_holds_it_still_and_the_next_one_moves_it() -> None:
    robot = stepped(glide(rate=50), limits=Limits(speeds=(Speed("point", (0, 1), 1.0, 0.75),)))
    robot.command(np.array([0.5, 0.0]))
    assert tick(robot).obs["state"].tolist() == pytest.approx([0.05, 0.0])
    for _ in range(20):  # a refused command is a sign of life: the watchdog is content
        with pytest.raises(Refused, match=r"speed: the point would move at 1, above its bound 0\.75"):
            robot.command(np.array([1.0, 0.0]))
        assert tick(robot).obs["state"].tolist() == pytest.approx([0.05, 0.0])
    robot.command(np.array([0.5, 0.0]))
    assert tick(robot).obs["state"].tolist() == pytest.approx([0.1, 0.0])


def test_a_command_that_is_held_does_not_carry_it_out_of_its_box() -> None:
    wall = Box("point", "state", (0,), (-1.0,), (0.35,), (0,), 0.1)
    for beyond, ends in (("refuse", 0.3), ("clip", 0.35)):
        box = replace(wall, beyond=beyond)  # type: ignore[arg-type]
        robot = stepped(glide(), limits=Limits((box,)), timeout=5.0)
        robot.command(np.array([1.0, 0.5]))
        places = [tick(robot).obs["state"].tolist() for _ in range(6)]
        assert [x for x, _ in places] == pytest.approx([0.1, 0.2, 0.3, ends, ends, ends])
        assert places[2][1] == pytest.approx(0.15)  # in other directions, a clipped command goes on
        assert places[-1][1] == pytest.approx(0.3 if beyond == "clip" else 0.15)
        assert robot.why_stopped == ""


def test_the_world_stands_still_until_the_first_command() -> None:
    robot = stepped(task("pendulum"))
    first = robot.reset(3)
    later = [tick(robot) for _ in range(50)]
    assert all(r.obs["state"].tobytes() == first.obs["state"].tobytes() for r in later)
    assert later[-1].time == pytest.approx(2.5)
    robot.command(np.zeros(1))
    assert tick(robot).obs["state"].tobytes() != first.obs["state"].tobytes()


def test_a_task_that_is_judged_at_its_end_is_judged_as_it_stands() -> None:
    pendulum = task("pendulum")
    robot = stepped(pendulum)
    expert = pendulum.expert
    assert expert is not None
    policy, reading = expert(), robot.reset(1)
    policy.reset(1)
    said = []
    for _ in range(260):
        robot.command(policy.act(reading.obs))
        reading = tick(robot)
        said.append(reading.success)
    assert said[:19] == [False] * 19  # it wants 20 steps upright
    assert said[-60:] == [True] * 60  # and beyond the 200 steps of its time limit


@pytest.mark.parametrize(
    ("push", "why"), [(-1.0, "the task has failed for good"), (1.0, "the simulation failed: a joint broke")]
)
def test_where_the_task_or_the_simulation_fails_only_a_reset_helps(push: float, why: str) -> None:
    robot = stepped(glide())
    for _ in range(11):
        robot.command(np.array([0.0, push]))
        reading = tick(robot)
    assert reading.stopped == robot.why_stopped == why
    with pytest.raises(Refused, match="only a reset helps"):
        robot.resume()
    assert tick(robot).stopped == why
    assert robot.reset(0).stopped == ""
    robot.command(np.array([1.0, 0.0]))
    assert tick(robot).stopped == ""


def test_what_cannot_be_a_robot_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="point-maze does not say how many control steps a second has"):
        SimulatedRobot(task("point-maze"))
    with pytest.raises(ValueError, match="one of 3 choices is no way to hold still"):
        SimulatedRobot(task("slip-road"), rate=10)
    with pytest.raises(ValueError, match="glide runs at 50 control steps a second, not 10"):
        SimulatedRobot(glide(), rate=10)
    with pytest.raises(ValueError, match="rate is 0; it must be above 0"):
        SimulatedRobot(task("point-maze"), rate=0)
    upward = Task("up", "", Glide, 5, OBS, ActionSpec.box([0.5, 0.5], [1, 1]), fps=10)
    with pytest.raises(ValueError, match="0 must mean 'hold still'"):
        SimulatedRobot(upward)


def test_by_the_wall_clock_it_moves_by_itself_and_ends_when_closed() -> None:
    robot = SimulatedRobot(glide(rate=200), timeout=30.0)
    assert isinstance(robot, SafeRobot)
    robot.command(np.array([0.5, 0.0]))
    first = robot.wait(robot.observe().time, 10.0)
    assert first is not None
    second = robot.wait(first.time, 10.0)
    assert second is not None
    assert second.time > first.time
    assert second.obs["state"][0] > first.obs["state"][0]
    robot.stop("enough")
    assert robot.observe().stopped == "enough"
    robot.close()
    robot.close()
    with pytest.raises(RobotLost, match="glide is closed"):
        robot.command(np.zeros(2))
    assert not [t for t in threading.enumerate() if t.name == "robot glide"]


def watched(limits: Limits | None = None, timeout: float = 0.5) -> tuple[Arm, Guarded, ManualClock]:
    clock = ManualClock()
    arm = Arm(clock)
    assert isinstance(arm, Robot)
    return arm, Guarded(arm, limits, timeout=timeout, clock=clock), clock


def test_a_guarded_robot_gets_what_is_admitted_and_0_where_it_is_not() -> None:
    arm, robot, _ = watched(Limits((HAND,)))
    robot.command(np.array([0.25, 0.0]))
    with pytest.raises(Refused, match="bounds"):
        robot.command(np.array([2.0, 0.0]))
    with pytest.raises(Refused, match="which it never takes"):
        robot.command(np.array([0.0, 0.5]))
    arm.at[0] = 2.0
    robot.look()
    with pytest.raises(Refused, match="place"):
        robot.command(np.array([0.25, 0.0]))
    assert arm.told == [[0.25, 0.0], *[[0.0, 0.0]] * 3]
    assert arm.stops == 0


def test_each_reading_is_held_against_the_boxes() -> None:
    arm, robot, _ = watched(Limits((HAND, Box("cable", "state", (1,), (-0.5,), (0.5,)))))
    robot.command(np.array([1.0, 0.0]))
    for place in ((0.5, 0.0), (0.95, 0.0), (1.05, 0.0)):
        arm.at[:] = place
        robot.look()
    assert arm.told == [[1.0, 0.0], [0.0, 0.0]]  # 0.95 + 0.1 would be outside
    robot.command(np.array([-1.0, 0.0]))
    arm.at[:] = (0.0, 0.75)
    robot.look()
    assert arm.told[2:] == [[-1.0, 0.0], [0.0, 0.0]]
    with pytest.raises(Refused, match=r"the cable is at 0\.75 in state\[1\], above its bound 0\.5"):
        robot.command(np.array([-1.0, 0.0]))


def test_the_watchdog_stops_it_once_and_resume_lets_it_go_on() -> None:
    arm, robot, _ = watched(timeout=0.35)  # its rate is 10 a second
    robot.command(np.array([1.0, 0.0]))
    assert [tick(robot).stopped for _ in range(6)] == ["", "", "", *["no command for 0.35 s"] * 3]
    assert arm.stops == 1
    with pytest.raises(Refused, match=r"no command for 0\.35 s; resume or reset"):
        robot.command(np.array([1.0, 0.0]))
    robot.resume()
    robot.command(np.array([1.0, 0.0]))
    assert arm.told == [[1.0, 0.0]] * 2


def test_an_old_reading_judges_nothing() -> None:
    arm, robot, clock = watched()
    robot.command(np.zeros(2))
    clock.sleep(0.51)
    robot.resume()
    with pytest.raises(Refused, match=r"stopped: the last reading is 0\.51 s old"):
        robot.command(np.array([1.0, 0.0]))
    assert arm.stops == 1
    assert [1.0, 0.0] not in arm.told


@pytest.mark.parametrize("what", ["observe", "command"])
def test_an_error_of_the_driver_stops_it_and_is_said_in_a_line(what: str) -> None:
    arm, robot, _ = watched()
    arm.fails = {what}
    if what == "observe":
        robot.look()
    else:
        with pytest.raises(Refused, match="stopped: the command failed"):
            robot.command(np.zeros(2))
    assert f"no {what}: the bus is down" in robot.why_stopped
    assert arm.stops == 1


def test_a_robot_that_does_not_take_the_command_0_is_stopped() -> None:
    arm, robot, _ = watched()
    arm.fails = {"command"}
    with pytest.raises(Refused, match="bounds: dimension 0 is 2, above its bound 1"):
        robot.command(np.array([2.0, 0.0]))
    assert robot.why_stopped == "it did not take the command 0: no command: the bus is down"
    assert arm.stops == 1


def test_a_stop_that_fails_is_said_and_tried_again() -> None:
    arm, robot, _ = watched()
    arm.fails = {"stop"}
    robot.stop("the door is open")
    assert robot.why_stopped == "the door is open; but stop() failed: no stop: the bus is down"
    robot.watch()
    assert arm.stops == 0
    arm.fails = set()
    robot.watch()
    robot.watch()
    assert arm.stops == 1


def test_a_robot_that_stopped_by_itself_is_stopped_here_too() -> None:
    arm, robot, _ = watched()
    arm.stopped = "emergency stop"
    assert tick(robot).stopped == "emergency stop"
    with pytest.raises(Refused, match="emergency stop"):
        robot.command(np.zeros(2))
    arm.stopped = ""
    tick(robot)
    assert robot.why_stopped == "emergency stop"  # until somebody says that it may go on
    assert robot.reset(0).stopped == ""


def test_a_reading_that_was_not_announced_stops_it() -> None:
    arm, robot, _ = watched()
    arm.at = np.zeros(3, np.float32)
    robot.look()
    assert "a reading holds {'state': (3,)}; the robot announced {'state': (2,)}" in robot.why_stopped


def test_a_reset_is_the_robots_own_where_it_has_one() -> None:
    class Homing(Arm):
        def reset(self, seed: int) -> None:
            self.told.append(f"home {seed}")

    clock = ManualClock()
    arm = Homing(clock)
    robot = Guarded(arm, clock=clock)
    assert robot.resets
    robot.reset(4)
    assert arm.told == ["home 4"]
    assert arm.stops == 1  # nothing of what was before goes on
    assert not watched()[1].resets


def test_a_camera_that_hangs_does_not_keep_the_watchdog_from_stopping() -> None:
    stopped, hang, hanging = threading.Event(), threading.Event(), threading.Event()

    class Hanging(Arm):
        def observe(self) -> Reading:
            if hang.is_set():
                hanging.set()
                stopped.wait(20.0)
            return super().observe()

        def stop(self) -> None:
            stopped.set()

    robot = Guarded(Hanging(), timeout=0.5)
    robot.command(np.zeros(2))
    hang.set()
    assert hanging.wait(20.0)
    assert stopped.wait(10.0)
    robot.close()
    robot.close()


class Push:
    """Always the same action."""

    name = "push"

    def __init__(self, *action: float) -> None:
        self.action = np.array(action, np.float32)

    def reset(self, seed: int) -> None: ...

    def act(self, obs: Any) -> Any:
        return self.action


def test_a_rollout_on_a_robot_is_that_of_its_task_with_times() -> None:
    reach = task("fetch-reach")
    assert reach.expert is not None
    env = RobotEnv(stepped(reach))
    assert is_door_env(env)
    there, here = rollout(env, reach.expert(), 3), rollout(reach.make(), reach.expert(), 3)
    assert here.time is None
    assert there.time is not None
    assert there.time.tolist() == pytest.approx([0.04 * i for i in range(len(here) + 1)])
    assert all(there.obs[k].tobytes() == here.obs[k].tobytes() for k in here.obs)
    assert there.action.tobytes() == here.action.tobytes()
    assert (there.success, there.terminated) == (here.success, here.terminated) == (True, True)
    assert dict(there.meta) == dict(here.meta)
    env.close()


def test_a_time_in_the_info_of_another_environment_is_its_own_affair() -> None:
    class Timed(Glide):
        def step(self, action: Any) -> Any:
            obs, reward, terminated, _, info = super().step(action)
            return obs, reward, terminated, False, {**info, "time": 7.0}

    episode = rollout(Timed(), Push(0.5, 0.0), 0, max_steps=3)
    assert episode.time is None
    assert episode == rollout(Glide(), Push(0.5, 0.0), 0, max_steps=3)


def test_a_refusal_ends_a_rollout_and_loses_nothing_of_it() -> None:
    wall = Box("point", "state", (0,), (-1.0,), (0.35,), (0,), 0.1)
    env = RobotEnv(stepped(glide(), limits=Limits((wall,))))
    with pytest.raises(RobotStopped, match=r"place: the point would go to 0\.4 in state") as stop:
        rollout(env, Push(1.0, 0.0), 0, meta={"operator": "me"})
    assert stop.value.cause == "refused"
    episode = stop.value.episode
    assert episode is not None
    assert episode.obs["state"][:, 0].tolist() == pytest.approx([0, 0.1, 0.2, 0.3])
    assert episode.time is not None
    assert episode.time.tolist() == pytest.approx([0, 0.02, 0.04, 0.06])
    assert (episode.success, episode.terminated, episode.meta["operator"]) == (False, False, "me")
    obs, _, _, _, info = env.step(np.array([-1.0, 0.0]))  # the robot takes the next one that keeps its limits
    assert obs["state"][0] == pytest.approx(0.2)
    assert info["stopped"] == ""


def test_a_rollout_that_is_stopped_before_its_first_step_has_no_episode() -> None:
    robot = stepped(glide(), limits=Limits(speeds=(Speed("point", (0, 1), 1.0, 0.5),)))
    with pytest.raises(RobotStopped) as stop:
        rollout(RobotEnv(robot), Push(1.0, 0.0), 0)
    assert stop.value.episode is None
    again = pickle.loads(pickle.dumps(stop.value))
    assert (str(again), again.cause) == (str(stop.value), "refused")


def test_a_stopped_robot_takes_no_step_until_it_is_resumed() -> None:
    robot = stepped(glide())
    env = RobotEnv(robot)
    env.reset(seed=0)
    env.step(np.array([1.0, 0.0]))
    env.stop()
    with pytest.raises(RobotStopped, match="stopped by hand") as stop:
        env.step(np.array([1.0, 0.0]))
    assert stop.value.cause == "stopped"
    env.resume()
    assert env.step(np.array([1.0, 0.0]))[0]["state"][0] == pytest.approx(0.2)
    robot.stop("the door is open")
    assert env.reset(seed=2)[0]["state"][0] == pytest.approx(0.02)
    for _ in range(10):
        env.step(np.array([0.0, -1.0]))
    with pytest.raises(RobotStopped, match="failed for good"):
        env.step(np.array([0.0, -1.0]))
    with pytest.raises(RobotStopped, match="only a reset helps"):
        env.resume()


def test_an_episode_on_a_robot_ends_at_success_or_where_it_is_told_to() -> None:
    env = RobotEnv(stepped(glide()), horizon=3)
    assert len(rollout(env, Push(0.5, 0.0), 0)) == 3
    assert rollout(env, Push(0.5, 0.0), 0).terminated is False
    done = rollout(RobotEnv(stepped(glide())), Push(1.0, 0.0), 5)
    assert (len(done), done.terminated, done.success) == (10, True, True)
    with pytest.raises(ValueError, match="horizon is 0"):
        RobotEnv(stepped(glide()), horizon=0)


def test_a_bare_robot_becomes_a_guarded_environment() -> None:
    arm = Arm()
    env = RobotEnv(arm, horizon=2)
    assert isinstance(env.robot, Guarded)
    env.robot.stop("before the episode")
    arm.rate = env.robot.rate = 100.0
    obs, info = env.reset(seed=0)
    assert obs["state"].tolist() == [0.0, 0.0]
    assert set(info) == {"time", "stopped"}
    env.close()
    assert arm.told[-1] == "closed"
    with pytest.raises(RobotStopped, match="arm is closed") as stop:
        env.step(np.zeros(2))
    assert stop.value.cause == "lost"


def test_a_twin_takes_the_pose_on_and_refuses_that_of_another_world() -> None:
    push = task("fetch-push")
    robot, twin = stepped(push), Twin(push)
    robot.reset(9)
    robot.command(np.array([0.5, 0.5, 0.0, 0.0]))
    reading = tick(robot)
    assert set(reading.pose) == {"qpos", "mocap_pos", "mocap_quat", "goal"}
    twin.show(reading.pose)
    assert twin.raw.data.qpos.tobytes() == robot.raw.data.qpos.tobytes()
    assert twin.raw.goal.tobytes() == robot.raw.goal.tobytes()
    other = stepped(task("fetch-reach"))
    with pytest.raises(ValueError, match="its task's world has"):
        twin.show(other.observe().pose)
    with pytest.raises(ValueError, match="the world of glide has no joints"):
        Twin(glide())
    undrawn = RobotEnv(stepped(glide()), twin=glide())  # it sends no pose, so there is nothing to take on
    assert isinstance(undrawn.raw, Glide)
    assert pose_of(Glide()) == {}
    for closing in (robot, other, twin):
        closing.close()
