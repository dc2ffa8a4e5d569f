"""A session whose world is a robot: it stops where nobody holds it, and says why it does not move."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from teleop_bench import Bench
from understudy.envs import task
from understudy.episode import Array, Obs
from understudy.robots import Box, Limits, ManualClock, RobotEnv, SimulatedRobot
from understudy.storage import read
from understudy.teleop import ExpertPilot

REACH = task("fetch-reach")


class Upwards:
    """A policy that goes up, slowly."""

    def reset(self, seed: int) -> None: ...

    def act(self, obs: Obs) -> Array:
        return np.array([0.0, 0.0, 0.1, 0.0], np.float32)


@pytest.fixture
def robot() -> SimulatedRobot:
    return SimulatedRobot(REACH, clock=ManualClock())


@pytest.fixture
def bench(robot: SimulatedRobot, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "data", REACH, RobotEnv(robot), pilot=ExpertPilot(Upwards()))
    yield made
    made.session.close()


def test_a_robot_is_recorded_with_the_times_that_it_measured(bench: Bench, tmp_path: Path) -> None:
    bench.do("start")
    bench.tick(10, "KeyE")
    bench.do("end", "save")
    bench.settle()
    (episode,) = read(tmp_path / "data")
    assert len(episode) == 10
    assert episode.time is not None
    assert np.allclose(np.diff(episode.time), 0.04)
    assert episode.obs["state"][-1, 2] > episode.obs["state"][0, 2] + 0.01
    assert bench.state["robot"] == {"name": "fetch-reach", "stopped": "stopped by hand"}


def test_a_lost_link_stops_the_robot_at_once_and_resuming_is_for_a_person(
    bench: Bench, robot: SimulatedRobot
) -> None:
    bench.do("start")
    bench.tick(3, "KeyE")
    assert robot.why_stopped == ""
    bench.session.lost()
    assert robot.why_stopped != "", "without waiting for a tick"
    bench.silent()
    assert bench.phase == "paused"
    assert bench.state["robot"]["stopped"] == robot.why_stopped
    bench.tick(5, "KeyE")
    assert bench.phase == "paused"
    bench.do("resume")
    bench.tick(2, "KeyE")
    assert (bench.phase, robot.why_stopped) == ("running", "")


def test_a_silent_page_stops_the_robot_after_a_third_of_a_second_also_where_the_policy_drives(
    bench: Bench, robot: SimulatedRobot
) -> None:
    bench.do("mode", name="correct")
    bench.do("start")
    bench.silent(6)
    assert bench.phase == "running"
    bench.silent(4)
    assert bench.phase == "paused"
    assert robot.why_stopped != ""


def test_a_link_lost_in_the_middle_of_a_step_is_a_pause_and_not_the_end(
    bench: Bench, robot: SimulatedRobot, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.do("start")
    bench.tick(3, "KeyE")
    real = robot.command

    def cut(action: Array) -> None:
        real(action)
        bench.session.lost()

    with monkeypatch.context() as patch:
        patch.setattr(robot, "command", cut)
        bench.tick(1, "KeyE")
    bench.silent()
    assert (bench.phase, bench.state["step"]) == ("paused", 3)


def test_opening_the_page_does_not_move_the_robot(
    robot: SimulatedRobot, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(robot, "reset", lambda seed: asked.append("reset"))
    monkeypatch.setattr(robot, "command", lambda action: asked.append("command"))
    bench = Bench(None, REACH, RobotEnv(robot), pilot=ExpertPilot(Upwards()))
    frame = bench.tick(3, "KeyE")
    assert len(frame.poses) > 0
    assert bench.state["robot"] == {"name": "fetch-reach", "stopped": ""}
    assert asked == []
    robot.close()


def test_a_robot_that_stops_by_itself_is_a_pause_unless_only_a_reset_helps(
    bench: Bench, robot: SimulatedRobot
) -> None:
    bench.do("start")
    bench.tick(3, "KeyE")
    robot.stop("the emergency stop was pressed")
    bench.tick(2, "KeyE")
    assert (bench.phase, bench.state["step"]) == ("paused", 3)
    assert "the emergency stop was pressed" in bench.state["message"]["text"]
    bench.do("resume")
    bench.tick(2, "KeyE")
    assert (bench.phase, bench.state["step"]) == ("running", 6)
    robot._safety.stop("the arm is broken", final=True)
    bench.tick(1, "KeyE")
    bench.do("resume")
    assert bench.phase == "review"
    assert "only a reset helps" in bench.state["message"]["text"]
    bench.do("again")
    bench.tick(2, "KeyE")
    assert bench.phase == "running"


def test_pausing_stops_the_robot_and_taking_over_goes_on(bench: Bench, robot: SimulatedRobot) -> None:
    bench.do("mode", name="correct")
    bench.do("start", "pause")
    assert (bench.phase, robot.why_stopped) == ("paused", "stopped by hand")
    bench.do("take")
    bench.tick(2, "KeyE")
    assert (bench.phase, bench.state["driver"], robot.why_stopped) == ("running", "operator", "")


def test_a_limit_is_shown_and_a_person_steers_away_from_it(tmp_path: Path) -> None:
    up = float(REACH.make().reset(seed=3_000_000)[0]["state"][2])
    ceiling = Box("hand", "state", (2,), (0.0,), (up + 0.02,), moves=(2,), reach=0.033)
    limits = Limits(boxes=(ceiling,))
    env = RobotEnv(SimulatedRobot(REACH, limits=limits, clock=ManualClock()))
    bench = Bench(tmp_path / "data", REACH, env)
    bench.do("start")
    bench.tick(20, "KeyE")
    assert (bench.phase, bench.state["message"]["level"]) == ("running", "warn")
    assert "refuses" in bench.state["message"]["text"]
    stood = bench.state["step"]
    bench.tick(3, "KeyE")
    assert bench.state["step"] == stood, "a refused step is not recorded"
    bench.tick(3, "KeyQ")
    assert bench.state["step"] > stood
    bench.session.close()


def test_a_dead_robot_leaves_the_episode_to_be_kept(
    bench: Bench, robot: SimulatedRobot, tmp_path: Path
) -> None:
    bench.do("start")
    bench.tick(4, "KeyE")
    robot.close()
    bench.tick(1, "KeyE")
    assert bench.phase == "review"
    assert "closed" in bench.state["message"]["text"]
    bench.do("save")
    assert bench.settle()["saved"] == 1
    assert len(read(tmp_path / "data")[0]) == 4
    bench.do("start")
    bench.tick(2, "KeyE")
    assert bench.phase == "error"
    assert bench.state["message"]["level"] == "error"
