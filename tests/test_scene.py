"""Scenes: reading poses leaves the world alone, and what is sent is what the model holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from understudy.envs import Task, adapt, task, tasks, worlds
from understudy.experts.slip_road import SlipRoadExpert
from understudy.rollout import rollout
from understudy.scene import NotDrawn, Player, Scene, replayed, scene_of

mujoco = pytest.importorskip("mujoco")
pytest.importorskip("gymnasium_robotics")

XML = """
<mujoco>
  <asset>
    <texture name="checks" type="2d" builtin="checker" rgb1="1 0 0" rgb2="0 0 1" width="1024" height="2048"/>
    <texture name="around" type="cube" builtin="flat" rgb1="0 1 0" rgb2="0 1 0" width="8" height="48"/>
    <material name="red" rgba="1 0 0 1"/>
    <material name="tiled" texture="checks" texrepeat="3 5"/>
    <material name="wrapped" texture="around" texuniform="true"/>
    <mesh name="wedge" vertex="0 0 0  1 0 0  0 1 0  0 0 1"/>
  </asset>
  <worldbody>
    <geom name="ground" type="plane" size="2 4 1" material="tiled"/>
    <geom name="own" type="box" size=".1 .2 .3" material="red" rgba="0 0 1 1"/>
    <geom name="material" type="box" size=".1 .2 .3" material="red"/>
    <geom name="neither" type="sphere" size=".1"/>
    <geom name="unseen" type="sphere" size=".1" rgba="1 1 1 0"/>
    <geom name="collision" type="sphere" size=".1" group="3"/>
    <site name="mark" type="sphere" size=".05" rgba="1 1 0 1"/>
    <body name="slab" pos="1 2 3"><geom type="capsule" size=".1 .4"/></body>
    <body name="torso" pos="0 0 1"><freejoint/><geom type="mesh" mesh="wedge" material="wrapped"/></body>
  </worldbody>
</mujoco>
"""


class Told:
    """What a page reads from a scene: the head, and arrays by their place."""

    def __init__(self, blob: bytes) -> None:
        assert blob[:4] == b"MJS1"
        length = int.from_bytes(blob[4:8], "little")
        assert length % 4 == 0, "arrays start at a multiple of 4"
        self.head = json.loads(blob[8 : 8 + length])
        self.rest = blob[8 + length :]

    def array(self, place: list[int], kind: str) -> np.ndarray[Any, Any]:
        at, length = place
        assert at % 4 == 0
        assert at + length <= len(self.rest)
        return np.frombuffer(self.rest[at : at + length], kind)

    def corners(self, mesh: dict[str, Any]) -> tuple[Any, Any]:
        """(place, normal) of every triangle's corners, [F, 3, 3] each."""
        n = mesh["count"]
        places = np.cumsum(self.array(mesh["places"], "<u2").reshape(3, n), axis=1, dtype=np.uint16).T
        low, high = np.array(mesh["low"]), np.array(mesh["high"])
        vertices = low + places / 65535 * (high - low)
        normals = self.array(mesh["normals"], "i1").reshape(3, n).T / 127
        kind = np.uint32 if n > 65535 else np.uint16
        faces = np.cumsum(self.array(mesh["faces"], np.dtype(kind).str), dtype=kind).reshape(-1, 3)
        return vertices[faces], normals[faces]


def scene(env: Any) -> Scene:
    found = scene_of(env)
    assert found is not None
    return found


def made_of(xml: str) -> tuple[Any, Any]:
    model = mujoco.MjModel.from_xml_string(xml)
    return model, mujoco.MjData(model)


@pytest.fixture
def small() -> tuple[Scene, Any, Any]:
    model, data = made_of(XML)
    return scene(SimpleNamespace(model=model, data=data)), model, data


@pytest.mark.parametrize("name", ["fetch-push", "fetch-pick-place", "half-cheetah"])
def test_reading_poses_leaves_the_simulation_as_it_is_to_the_last_bit(name: str) -> None:
    # Open fingers matter: where they are held closed, the environment itself brings its poses up to date.
    which = task(name)
    random = np.random.default_rng(4)
    actions = random.uniform(-1, 1, (300, which.action.width)).astype(np.float32)

    def observed(look: bool) -> list[dict[str, Any]]:
        env = which.make()
        drawn = scene(env)
        seen = [env.reset(seed=3)[0]]
        for action in actions:
            if look:
                drawn.poses()
            seen.append(env.step(action)[0])
            if look:
                drawn.poses()
        env.close()
        return [{k: np.array(v) for k, v in o.items()} for o in seen]

    plain, looked = observed(False), observed(True)
    for step, (a, b) in enumerate(zip(plain, looked, strict=True)):
        for key in a:
            assert np.array_equal(a[key], b[key]), f"{key} differs at step {step}"
    assert not np.array_equal(plain[0]["state"], plain[-1]["state"]), "something happened meanwhile"


def test_poses_are_those_of_the_bodies_now_and_not_a_substep_ago() -> None:
    env = task("fetch-pick-place").make()
    drawn = scene(env)
    env.reset(seed=1)
    for _ in range(5):
        obs, *_ = env.step(np.array([1.0, -0.5, -1.0, 1.0], np.float32))
    poses = drawn.poses()
    raw: Any = env.raw  # type: ignore[attr-defined]
    mujoco.mj_forward(raw.model, raw.data)  # only now: it disturbs
    for row, name in enumerate(drawn.head["names"][:-2]):
        body = raw.data.body(name)
        assert np.allclose(poses[row, :3], body.xpos, atol=1e-6), name
        assert np.allclose(poses[row, [6, 3, 4, 5]], body.xquat, atol=1e-6), name
    assert np.allclose(poses[drawn.head["hand"], :3], raw.data.site("robot0:grip").xpos, atol=1e-6)
    assert np.allclose(poses[drawn.head["goal"], :3], obs["desired_goal"], atol=1e-6)
    env.close()


@pytest.mark.parametrize("name", [*tasks(), *worlds()])
def test_every_task_can_be_drawn(name: str) -> None:
    which = task(name)
    env = which.make()
    drawn = scene(env)
    told = Told(drawn.blob)
    before = drawn.poses()  # the page may ask before the first reset
    env.reset(seed=5)
    first = drawn.poses()
    for _ in range(4):
        env.step(np.array([1]) if which.action.n else np.asarray(which.action.high) * 0.9)
    last = drawn.poses()
    env.close()
    for poses in (before, first, last):
        assert poses.shape == (drawn.bodies, 7)
        assert poses.dtype == np.float32
        assert np.isfinite(poses).all()
        assert np.allclose(np.linalg.norm(poses[:, 3:], axis=1), 1, atol=1e-5), "quaternions turn"
    assert not np.array_equal(first, last), "something moves"
    assert told.head["bodies"] == drawn.bodies == len(told.head["names"])
    assert {s["body"] for s in told.head["shapes"]} <= set(range(-1, drawn.bodies))
    for row in ("hand", "goal", "follow"):
        assert told.head[row] is None or 0 <= told.head[row] < drawn.bodies
    assert len(drawn.blob) < 1_000_000


def test_meshes_come_back_to_a_part_in_65535_and_face_as_they_did() -> None:
    env = task("fetch-reach").make()
    drawn = scene(env)
    model: Any = env.raw.model  # type: ignore[attr-defined]
    told = Told(drawn.blob)
    shapes = [s for s in told.head["shapes"] if s["kind"] == "mesh"]
    geoms = [g for g in range(model.ngeom) if model.geom_type[g] == 7]
    assert len(shapes) == len(geoms) == 15
    for shape, geom in zip(shapes, geoms, strict=True):
        i = model.geom_dataid[geom]
        rows = slice(model.mesh_faceadr[i], model.mesh_faceadr[i] + model.mesh_facenum[i])
        wanted = model.mesh_vert[model.mesh_vertadr[i] + model.mesh_face[rows]]
        facing = model.mesh_normal[model.mesh_normaladr[i] + model.mesh_facenormal[rows]]
        mesh = told.head["meshes"][shape["mesh"]]
        corners, normals = told.corners(mesh)
        steps = (np.array(mesh["high"]) - mesh["low"]) / 65535
        assert np.abs(corners - wanted).max(axis=(0, 1)) == pytest.approx(0, abs=float(steps.max()))
        assert np.abs(normals - facing).max() <= 0.5 / 127 + 1e-6
    env.close()


def test_a_shape_has_its_own_colour_or_else_its_materials(small: tuple[Scene, Any, Any]) -> None:
    shapes = Told(small[0].blob).head["shapes"]
    colours = [s["rgba"] for s in shapes if s["body"] < 0]
    assert colours == [[1, 1, 1, 1], [0, 0, 1, 1], [1, 0, 0, 1], [0.5, 0.5, 0.5, 1], [1, 1, 0, 1]]
    assert [s["kind"] for s in shapes if s["body"] < 0] == ["plane", "box", "box", "sphere", "sphere"]


def test_textures_are_sent_thinned_with_how_they_are_laid(small: tuple[Scene, Any, Any]) -> None:
    told = Told(small[0].blob)
    flat, cube = told.head["textures"]
    assert (flat["cube"], flat["width"], flat["height"]) == (False, 256, 512)
    assert (cube["cube"], cube["width"], cube["height"]) == (True, 8, 48)
    assert (told.array(cube["pixels"], "u1").reshape(-1, 3) == [0, 255, 0]).all()
    assert {tuple(p) for p in told.array(flat["pixels"], "u1").reshape(-1, 3)} == {(255, 0, 0), (0, 0, 255)}
    plane, wedge = (next(s for s in told.head["shapes"] if s["kind"] == k) for k in ("plane", "mesh"))
    # The ground has no end where something runs, and its texture is told by the metre: 3 times over 4 m.
    assert plane["size"][:2] == [0, 0]
    assert plane["repeat"] == [0.75, 0.625]
    assert plane["uniform"]
    assert wedge["texture"] == 1
    assert wedge["uniform"]


def test_what_runs_freely_is_followed(small: tuple[Scene, Any, Any]) -> None:
    drawn, _, data = small
    assert drawn.head["names"][drawn.head["follow"]] == "torso"
    data.qpos[:3] = 7.0, 8.0, 9.0
    assert drawn.poses()[drawn.head["follow"], :3].tolist() == [7, 8, 9]
    assert scene(task("fetch-reach").make()).head["follow"] is None


def test_a_body_that_an_environment_puts_elsewhere_at_a_reset_is_seen_there(
    small: tuple[Scene, Any, Any],
) -> None:
    drawn, model, _ = small
    row = drawn.head["names"].index("slab")
    assert drawn.poses()[row, :3].tolist() == [1, 2, 3]
    model.body_pos[model.body("slab").id] = 4.0, 5.0, 6.0
    assert drawn.poses()[row, :3].tolist() == [4, 5, 6]


def test_the_model_is_found_behind_any_wrapper() -> None:
    import gymnasium

    model, data = made_of(XML)
    inner = SimpleNamespace(model=model, data=data)
    physics = SimpleNamespace(model=SimpleNamespace(_model=model), data=SimpleNamespace(_data=data))
    raw = gymnasium.make("Hopper-v5", disable_env_checker=True)
    for env in (
        SimpleNamespace(env=SimpleNamespace(raw=inner)),
        SimpleNamespace(robot=SimpleNamespace(env=inner)),
        SimpleNamespace(unwrapped=SimpleNamespace(physics=physics)),
        adapt(raw),
        SimpleNamespace(env=adapt(raw)),
    ):
        assert scene(env).bodies >= 2
    raw.close()
    looped = SimpleNamespace()
    looped.env = looped
    assert scene_of(looped) is None  # type: ignore[arg-type]


def test_what_nobody_has_drawn_is_none() -> None:
    env = task("CartPole-v1").make()
    assert scene_of(env) is None
    env.close()


def test_it_needs_neither_opengl_nor_torch() -> None:
    code = (
        "import sys; from understudy.envs import task; from understudy.scene import scene_of\n"
        "e = task('fetch-reach').make(); s = scene_of(e); e.reset(seed=0); s.poses()\n"
        "assert 'torch' not in sys.modules and not any('OpenGL' in m for m in sys.modules)"
    )
    env = os.environ | {"MUJOCO_GL": "disabled"}
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=env, check=True, timeout=100)


# Worlds drawn by hand


def test_the_pendulum_stands_up_at_angle_zero_and_leans_as_its_observation_says() -> None:
    env = task("pendulum").make()
    drawn = scene(env)
    obs, _ = env.reset(seed=2)
    for _ in range(30):
        obs, *_ = env.step(np.array([2.0], np.float32))
        up, side = obs["state"][:2]
        x, y, z, w = drawn.poses()[0, 3:].astype(np.float64)
        # Where the rod's end, one metre up its own axis, has turned to.
        assert np.allclose([2 * (x * z + w * y), 1 - 2 * (x * x + y * y)], [-side, up], atol=1e-5)
    env.close()


def test_the_point_and_its_goal_are_where_the_maze_has_them() -> None:
    for name in ("point-maze", "point-maze-moved"):
        env = task(name).make()
        drawn = scene(env)
        obs, _ = env.reset(seed=2)
        assert np.allclose(drawn.poses()[drawn.head["hand"], :2], obs["state"][:2])
        assert np.allclose(drawn.poses()[drawn.head["goal"], :2], [0.0, 0.8])
        env.close()


def test_the_landers_ground_covers_every_piece_and_nothing_beyond() -> None:
    pytest.importorskip("Box2D")
    env = task("lunar-lander-continuous").make()
    drawn = scene(env)
    seen = []
    for seed in (1, 2):
        env.reset(seed=seed)
        poses = drawn.poses()[3:].astype(np.float64)
        ends = []
        for x, _, z, *turn in poses:
            angle = -2 * np.arctan2(turn[1], turn[3])
            along = np.array([np.cos(angle), np.sin(angle)])
            middle = np.array([x, z])
            ends.append((middle - along, middle + along))  # a plank is 2 long
        for i in range(10):
            (start, near), (far, stop) = ends[2 * i], ends[2 * i + 1]
            assert start[0] == pytest.approx(2 * i, abs=1e-4)
            assert stop[0] == pytest.approx(2 * i + 2, abs=1e-4)
            assert far[0] <= near[0] + 1e-4, "the two planks meet"
            if i:
                assert np.allclose(start, ends[2 * i - 1][1], atol=1e-4), "pieces join"
        seen.append(poses)
    assert not np.allclose(seen[0], seen[1]), "another reset lays other ground"
    env.close()


def test_the_car_is_on_the_road_as_long_as_it_does_not_slip() -> None:
    env = task("slip-road").make()
    drawn, expert = scene(env), SlipRoadExpert()
    obs, _ = env.reset(seed=0)
    expert.reset(0)
    for step in range(1, 5):
        obs, *_ = env.step(expert.act(obs))
        car = drawn.poses()[0]
        assert car[0] == step
        assert abs(car[1]) == 0.5
    env.step(np.array([2]))  # R is wrong on the road
    assert abs(drawn.poses()[0, 1]) > 1.0
    assert drawn.poses()[2, 2] < -10, "no sign is lit beside the road"


# Recorded episodes, played again


@pytest.fixture(scope="module")
def reached() -> tuple[Task, Any]:
    which = task("fetch-reach")
    env = which.make()
    assert which.expert is not None
    episode = rollout(env, which.expert(), 7)
    env.close()
    return which, episode


def test_a_recorded_episode_comes_back_with_a_pose_for_every_state(reached: tuple[Task, Any]) -> None:
    which, episode = reached
    again = replayed(which, episode)
    assert again.faithful
    assert again.deviation == 0.0
    assert again.poses.shape == (len(episode) + 1, again.scene.bodies, 7)
    hand = again.poses[:, again.scene.head["hand"], :3]
    assert np.allclose(hand, episode.obs["achieved_goal"], atol=1e-3)  # observed up to a substep earlier


def test_an_episode_that_does_not_come_back_is_not_faithful(reached: tuple[Task, Any]) -> None:
    which, episode = reached
    other = replace(episode, meta={**episode.meta, "seed": 8})
    assert not replayed(which, other).faithful
    altered = replace(episode, action=episode.action * np.float32(0.9))
    again = replayed(which, altered)
    assert not again.faithful
    assert again.deviation > 0.01


def test_steps_after_the_tasks_own_end_are_played_too(reached: tuple[Task, Any]) -> None:
    which, episode = reached
    env = which.make()
    obs = [env.reset(seed=7)[0]]
    actions = np.concatenate([episode.action, np.full((30, 4), 0.1, np.float32)])
    for action in actions:
        obs.append(env.step(action)[0])
    env.close()
    t = len(actions)
    longer = replace(
        episode, obs={k: np.stack([o[k] for o in obs]) for k in obs[0]}, action=actions, label=actions,
        labelled=np.ones(t, np.bool_), reward=np.zeros(t), control=None, time=None,
    )  # fmt: skip
    again = replayed(which, longer)
    assert again.faithful
    assert len(again.poses) == t + 1


@pytest.mark.parametrize(
    ("meta", "rule"), [({"seed": -1}, "no seed"), ({"seed": "7"}, "no seed"), ({}, "no seed")]
)
def test_without_a_seed_nothing_can_be_played(reached: tuple[Task, Any], meta: Any, rule: str) -> None:
    which, episode = reached
    with pytest.raises(NotDrawn, match=rule):
        replayed(which, replace(episode, meta=meta))


def test_another_tasks_episode_is_refused_in_one_line(reached: tuple[Task, Any]) -> None:
    _, episode = reached
    with pytest.raises(NotDrawn, match="its actions are not those of task 'pendulum'"):
        replayed(task("pendulum"), episode)
    with pytest.raises(NotDrawn, match="none of the observations of task 'fetch-push'"):
        replayed(task("fetch-push"), replace(episode, obs={"state": episode.obs["state"]}))
    with pytest.raises(NotDrawn, match="nobody has drawn the task 'CartPole-v1'"):
        Player(task("CartPole-v1"))


def test_a_world_that_ends_before_its_recording_is_refused() -> None:
    which = task("point-maze")
    assert which.expert is not None
    episode = rollout(which.make(), which.expert(), 1)
    twice = {k: np.concatenate([v, v[1:]]) for k, v in episode.obs.items()}
    action = np.concatenate([episode.action] * 2)
    t = len(action)
    longer = replace(
        episode, obs=twice, action=action, label=action, labelled=np.ones(t, np.bool_), reward=np.zeros(t),
        control=None, time=None,
    )  # fmt: skip
    with pytest.raises(NotDrawn, match="cannot be executed again beyond step 100"):
        replayed(which, longer)
