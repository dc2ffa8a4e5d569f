"""The worlds that rewards are carried to: a maze whose opening has moved, an ant with two legs cut off."""

from __future__ import annotations

import pickle
from functools import partial

import numpy as np
import pytest

from understudy.envs import check, task, tasks, worlds
from understudy.envs.point_maze import HORIZON, PointMaze
from understudy.experts import ENDORSE
from understudy.experts.point_maze import MAZE, MOVED, Maze, PointMazeExpert
from understudy.numerics import wilson
from understudy.rollout import rollout, rollouts

MAZES = {"point-maze": MAZE, "point-maze-moved": MOVED}


def put(maze: Maze, place: tuple[float, float], speed: tuple[float, float] = (0, 0)) -> PointMaze:
    """A maze with the point somewhere, as if it had come there."""
    env = PointMaze(maze)
    env.reset(seed=0)
    env._place, env._speed = np.array(place, float), np.array(speed, float)
    return env


@pytest.mark.parametrize("name", MAZES)
def test_it_is_a_world_that_the_checker_has_nothing_against(name: str) -> None:
    assert name in worlds()
    assert name not in tasks()
    which = task(name)
    env = pickle.loads(pickle.dumps(which.make))()
    assert (env.name, env.horizon, dict(env.obs), env.action) == (
        name, which.horizon, dict(which.obs), which.action,
    )  # fmt: skip
    assert [f for f in check(env) if f.severity != "info"] == []


def test_a_step_is_the_stated_dynamics_and_reward() -> None:
    env = put(MAZE, (0.2, -0.6), (0.5, -0.5))
    obs, reward, terminated, truncated, info = env.step(np.array([1.0, -3.0]))
    speed = 0.8 * np.array([0.5, -0.5]) + 0.2 * np.array([1.0, -1.0])  # clipped
    place = np.array([0.2, -0.6]) + 0.06 * speed
    assert np.allclose(obs["state"], [*place, *speed], atol=1e-6)
    assert reward == pytest.approx(-np.hypot(place[0], place[1] - 0.8) - 0.002)
    assert (terminated, truncated, info) == (False, False, {})


@pytest.mark.parametrize(("x", "through"), [(0.75, True), (0.51, True), (0.49, False), (-0.75, False)])
@pytest.mark.parametrize("up", [True, False])
def test_the_wall_stops_where_it_is_closed_from_both_sides(x: float, through: bool, up: bool) -> None:
    sign = 1 if up else -1
    env = put(MAZE, (x, -0.03 * sign), (0.0, sign))
    obs, *_ = env.step(np.array([0.0, sign]))
    assert (obs["state"][1] * sign > 0) == through
    assert (obs["state"][3] == 0) != through
    again, *_ = env.step(np.array([0.0, sign]))
    assert (again["state"][1] * sign > 0) == through  # leaning on it does not push through


def test_who_slides_along_the_wall_passes_at_the_opening() -> None:
    env = put(MAZE, (0.3, -0.05))
    crossed = next(x for _ in range(HORIZON) if (x := env.step(np.array([0.5, 1.0]))[0]["state"])[1] > 0)
    assert abs(crossed[0] - MAZE.opening) <= MAZE.half + 0.06


def test_nobody_leaves_the_square() -> None:
    env, random = PointMaze(), np.random.default_rng(0)
    for seed in range(5):
        env.reset(seed=seed)
        push = random.uniform(-1, 1, 2)
        for _ in range(HORIZON):
            obs, *_ = env.step(np.sign(push))
            assert np.abs(obs["state"]).max() <= 1.0
        assert not obs["state"][2:].any()  # it rests in a corner


def test_an_episode_follows_from_its_seed_and_has_a_fixed_length() -> None:
    random = np.random.default_rng(0)
    actions = random.uniform(-1, 1, (HORIZON, 2))
    runs = []
    for env in (PointMaze(), PointMaze()):
        first, _ = env.reset(seed=3)
        steps = [env.step(a) for a in actions]
        runs.append([first["state"], *(s[0]["state"] for s in steps)])
        assert [s[2:4] for s in steps] == [(False, False)] * (HORIZON - 1) + [(False, True)]
        assert [("success" in s[4]) for s in steps] == [False] * (HORIZON - 1) + [True]
        with pytest.raises(ValueError, match="ended after 100 steps"):
            env.step(actions[0])
    assert np.array_equal(*runs)
    assert not np.array_equal(PointMaze().reset(seed=4)[0]["state"], runs[0][0])


@pytest.mark.parametrize("maze", MAZES.values(), ids=MAZES)
def test_the_expert_walks_around_the_wall(maze: Maze) -> None:
    """40 seeds: all succeed, so the interval's lower bound is above 0.9. The way takes about 40 steps."""
    episodes = rollouts(partial(PointMaze, maze), PointMazeExpert(maze), range(40), ENDORSE)
    assert wilson(sum(bool(e.success) for e in episodes), 40).low > 0.9
    assert min(e.total_reward for e in episodes) > -60
    for e in episodes:
        above = e.obs["state"][:, 1] > 0
        crossing = int(np.argmax(above))
        assert above[crossing:].all()
        assert abs(e.obs["state"][crossing, 0] - maze.opening) < maze.half


@pytest.mark.parametrize(("own", "other"), [(MAZE, MOVED), (MOVED, MAZE)])
def test_who_does_what_was_done_walks_into_the_moved_wall(own: Maze, other: Maze) -> None:
    episodes = rollouts(partial(PointMaze, other), PointMazeExpert(own), range(5), ENDORSE)
    assert not any(e.success for e in episodes)
    assert max(e.total_reward for e in episodes) < -75  # the expert of the place has about -45


@pytest.mark.parametrize(
    ("numbers", "say"),
    [((0.9,), "0.9 ± 0.25"), ((0.0, 0.0), "have a width"), ((0.5, 0.2, (0.0, -0.5)), "the goal is")],
)
def test_a_maze_out_of_range_is_refused(numbers: tuple[float, ...], say: str) -> None:
    with pytest.raises(ValueError, match=say):
        Maze(*numbers)


def test_the_disabled_ant_has_the_same_observations_and_no_power_in_its_front_legs() -> None:
    whole, lame = task("ant"), task("ant-disabled")
    assert (dict(lame.obs), lame.action, lame.horizon) == (dict(whole.obs), whole.action, whole.horizon)
    assert "ant-disabled" in worlds()
    envs = [pickle.loads(pickle.dumps(t.make))() for t in (whole, lame)]
    assert [e.name for e in envs] == ["ant", "ant-disabled"]
    try:
        for motor in range(8):
            ends = []
            for env in envs:
                still = rollout(env, Holds(np.zeros(8)), 0, max_steps=8)
                pushed = rollout(env, Holds(np.eye(8)[motor]), 0, max_steps=8)
                ends.append(np.abs(still.obs["state"][-1] - pushed.obs["state"][-1]).max())
            model = envs[0].raw.unwrapped.model
            joint = model.joint(model.actuator_trnid[motor, 0]).name
            front = joint in {"hip_1", "ankle_1", "hip_2", "ankle_2"}
            assert ends[0] > 0.01
            assert (ends[1] == 0.0) == front
    finally:
        for env in envs:
            env.close()


class Holds:
    """Gives one action."""

    def __init__(self, action: np.ndarray) -> None:
        self.action = action

    def reset(self, seed: int) -> None: ...

    def act(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        return self.action
