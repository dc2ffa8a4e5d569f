"""Actions keep their meaning through every conversion, and the conventions are those of known controllers."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from understudy import storage
from understudy.actions import (
    META,
    RECORDED,
    ActionSpace,
    Conversion,
    Delta,
    Effector,
    Field,
    convert,
    converted,
)
from understudy.agent import load
from understudy.cli import main
from understudy.dataset import Dataset
from understudy.episode import Episode
from understudy.numerics import rotations as rot

Rows = NDArray[Any]


def path(rng: np.random.Generator, steps: int, scale: float) -> tuple[Rows, Rows]:
    """A wandering pose: positions [steps, 3] and matrices [steps, 3, 3]."""
    turns = rot.convert(rng.normal(0, scale, (steps, 3)), "axis_angle", "matrix")
    start = rot.convert(rng.normal(0, 2, 3), "axis_angle", "matrix")
    return rng.normal(0, scale, (steps, 3)).cumsum(0), rot.accumulate(turns, left=True) @ start


def hand(
    form: str = "xyzw", seen: str = "wxyz", *, steps: int = 40, seed: int = 0, labels: bool = False
) -> tuple[Dataset, ActionSpace]:
    """A hand with a gripper: action [fingers, position, rotation, lamp], the pose in two observations."""
    rng = np.random.default_rng(seed)
    episodes = []
    for _ in range(3):
        p, m = path(rng, steps + 1, 0.05)
        shaken = rot.convert(rng.normal(0, 0.1, (2, steps, 3)), "axis_angle", "matrix") @ m[:-1]
        rotation = rot.convert(shaken, "matrix", form).reshape(2, steps, -1)
        target = p[:-1] + rng.normal(0, 0.02, (2, steps, 3))
        tools = rng.normal(size=(2, steps, 2))
        action, label = np.concatenate([tools[..., :1], target, rotation, tools[..., 1:]], -1)
        seen_rotation = rot.convert(m, "matrix", seen).reshape(steps + 1, -1)
        obs = {"pos": np.concatenate([np.zeros((steps + 1, 1)), p], 1), "turn": seen_rotation}
        if labels:
            labelled = rng.random(steps) < 0.6
            label[~labelled] = 0  # no rotation: what is not labelled must not be read
            episodes.append(Episode(obs, action, label, labelled, np.zeros(steps), meta={"operator": "ann"}))
        else:
            episodes.append(Episode.demonstration(obs, action))
    n = rotation.shape[-1]
    arm = Effector(
        Field(1, 4),
        Field(4, 4 + n, form),
        Field(1, 4, key="pos"),
        Field(0, seen_rotation.shape[-1], seen, "turn"),
    )
    return Dataset(episodes), ActionSpace(5 + n, (arm,))


def as_matrix(values: Rows, space: ActionSpace) -> Rows:
    field = space.effectors[0].rotation
    assert field is not None
    assert field.form is not None
    x = values[:, field.columns]
    return rot.convert(x.reshape(-1, *rot.shape_of(field.form)), field.form, "matrix")


def assert_same_targets(a: Rows, b: Rows, at: ActionSpace, bt: ActionSpace) -> None:
    np.testing.assert_allclose(a[:, 1:4], b[:, 1:4], atol=1e-6, rtol=0)
    assert rot.angle_between(as_matrix(a, at), as_matrix(b, bt)).max() < 1e-6
    np.testing.assert_array_equal(a[:, [0, -1]], b[:, [0, -1]])  # fingers and lamp are untouched


DELTAS = [Delta(r, f) for r in ("measured", "previous") for f in ("world", "body")]  # type: ignore[arg-type]


@pytest.mark.parametrize("delta", DELTAS, ids=lambda d: f"{d.reference}-{d.frame}")
@pytest.mark.parametrize("form", ["axis_angle", "xyzw", "6d", "matrix", "euler_XYZ"])
@pytest.mark.parametrize("labels", [False, True])
def test_there_and_back(delta: Delta, form: str, labels: bool) -> None:
    data, space = hand(labels=labels)
    there = convert(data, delta, form=form, source=space)
    back = convert(there, None, form="xyzw")  # without a word about what the actions were
    for e, d, b in zip(data, there, back, strict=True):
        assert d.action.shape[1] == space.with_form(form).width
        assert ActionSpace.of(d.meta) == space.to(delta, form)
        assert ActionSpace.of(b.meta) == space
        assert_same_targets(e.action, b.action, space, space)
        told = e.labelled
        assert_same_targets(e.label[told], b.label[told], space, space)
        assert (d.label is d.action) == (not labels)
        for k in e.obs:
            np.testing.assert_array_equal(d.obs[k], e.obs[k])
        assert {k: v for k, v in b.meta.items() if k not in (META, RECORDED)} == dict(e.meta)
        assert b.meta[RECORDED] == space.text()
    assert converted(there.facts)
    assert not converted(back.facts)
    assert not converted(data.facts)


def test_a_long_episode_does_not_drift() -> None:
    data, space = hand(steps=1000)
    delta = Delta("previous", "body")
    back = convert(convert(data, delta, form="axis_angle", source=space), None, form="xyzw")
    for e, b in zip(data, back, strict=True):
        assert_same_targets(e.action, b.action, space, space)


def test_measured_world_deltas_are_what_an_operational_space_controller_takes() -> None:
    """robosuite: goal = p + 0.05 a, and R_goal = exp(0.5 a) R, both from the measured pose."""
    data, space = hand()
    osc = Delta("measured", "world", position_scale=0.05, rotation_scale=0.5)
    made = convert(data, osc, form="axis_angle", source=space)
    for e, d in zip(data, made, strict=True):
        p, m = e.obs["pos"][:-1, 1:4], rot.convert(e.obs["turn"][:-1], "wxyz", "matrix")
        np.testing.assert_allclose(p + 0.05 * d.action[:, 1:4], e.action[:, 1:4], atol=1e-6)
        goal = rot.convert(0.5 * d.action[:, 4:7], "axis_angle", "matrix") @ m
        assert rot.angle_between(goal, as_matrix(e.action, space)).max() < 1e-6
    back = convert(made, None, form="xyzw")
    for e, b in zip(data, back, strict=True):
        assert_same_targets(e.action, b.action, space, space)


def test_body_deltas_are_given_in_the_hands_own_frame() -> None:
    """A hand that is turned by 90° about z and goes along the world's y goes along its own x."""
    quarter = [0.0, 0.0, np.pi / 2]
    obs = {"p": np.zeros((2, 3)), "r": np.tile(quarter, (2, 1))}
    both = rot.convert([0, 0.1, 0], "axis_angle", "matrix") @ rot.convert(quarter, "axis_angle", "matrix")
    action = np.concatenate([[0, 1, 0], rot.convert(both, "matrix", "axis_angle")])
    arm = Effector(
        Field(0, 3), Field(3, 6, "axis_angle"), Field(0, 3, key="p"), Field(0, 3, "axis_angle", key="r")
    )
    data = Dataset([Episode.demonstration(obs, action[None])])
    space = ActionSpace(6, (arm,))
    body = convert(data, Delta("measured", "body"), source=space)[0].action[0]
    np.testing.assert_allclose(body, [1, 0, 0, 0.1, 0, 0], atol=1e-6)
    world = convert(data, Delta("measured", "world"), source=space)[0].action[0]
    np.testing.assert_allclose(world, [0, 1, 0, 0, 0.1, 0], atol=1e-6)


def test_deltas_from_the_previous_target_do_not_look_at_the_measured_pose() -> None:
    data, space = hand()
    moved = Dataset(
        replace(e, obs={k: np.concatenate([v[:1], v[1:][::-1]]) for k, v in e.obs.items()}) for e in data
    )
    for reference, same in (("previous", True), ("measured", False)):
        delta = Delta(reference, "world")  # type: ignore[arg-type]
        a, b = (convert(d, delta, source=space)[0].action for d in (data, moved))
        assert np.array_equal(a, b) == same


def test_from_one_kind_of_delta_to_another() -> None:
    data, space = hand()
    first = convert(data, Delta("measured", "world"), form="6d", source=space)
    second = convert(first, Delta("previous", "body"), form="euler_xyz")
    direct = convert(data, Delta("previous", "body"), form="euler_xyz", source=space)
    for a, b in zip(second, direct, strict=True):
        np.testing.assert_allclose(a.action, b.action, atol=2e-6)


def test_only_the_form_changes() -> None:
    data, space = hand("axis_angle")
    bare = ActionSpace(space.width, (Effector(space.effectors[0].position, space.effectors[0].rotation),))
    made = convert(data, None, form="6d", source=bare)  # absolute: no pose is needed
    assert made.schema["action"] == ("float32", (11,))
    for e, d in zip(data, made, strict=True):
        assert_same_targets(e.action, d.action, space, space.with_form("6d"))
    same = convert(made, None, form="axis_angle")
    for e, b in zip(data, same, strict=True):
        assert_same_targets(e.action, b.action, space, space)
    delta = Delta("measured", "world", position_scale=0.05)
    small = convert(data, delta, source=space)
    turned = convert(small, delta, form="wxyz")
    for a, b in zip(small, turned, strict=True):
        np.testing.assert_allclose(a.action[:, :4], b.action[:, :4], rtol=1e-6)
        np.testing.assert_allclose(
            rot.convert(a.action[:, 4:7], "axis_angle", "wxyz"), b.action[:, 4:8], atol=1e-6
        )


def test_absolute_quaternions_keep_their_sign_along_an_episode() -> None:
    turns = np.linspace(0, 4 * np.pi, 80)[:, None] * [0.0, 0.0, 1.0]
    action = np.concatenate([np.zeros((80, 3)), rot.convert(turns, "axis_angle", "axis_angle")], 1)
    data = Dataset([Episode.demonstration(np.zeros((81, 1)), action)])
    space = ActionSpace(6, (Effector(Field(0, 3), Field(3, 6, "axis_angle")),))
    q = convert(data, None, form="xyzw", source=space)[0].action[:, 3:]
    assert np.linalg.norm(np.diff(q, axis=0), axis=1).max() < 0.1


def test_joints_are_positions_of_any_width() -> None:
    rng = np.random.default_rng(0)
    qpos, action = rng.normal(size=(2, 31, 16)).astype(np.float32)
    data = Dataset([Episode.demonstration({"qpos": qpos}, action[:30, :14])])
    space = ActionSpace(
        14,
        (
            Effector(Field(0, 6), seen_position=Field(0, 6, key="qpos")),
            Effector(Field(7, 13), seen_position=Field(8, 14, key="qpos")),
        ),
    )
    assert space.others == (6, 13)
    made = convert(data, Delta("measured", "world"), source=space)
    np.testing.assert_allclose(made[0].action[:, 7:13], action[:30, 7:13] - qpos[:30, 8:14], atol=1e-6)
    np.testing.assert_array_equal(made[0].action[:, [6, 13]], action[:30, [6, 13]])
    np.testing.assert_allclose(convert(made, None)[0].action, action[:30, :14], atol=1e-6)
    with pytest.raises(ValueError, match="no body frame"):
        space.to(Delta("measured", "body"))


def test_two_hands_with_forms_of_different_width_keep_apart() -> None:
    left = Effector(Field(0, 3), Field(3, 7, "xyzw"))
    right = Effector(Field(8, 11), Field(11, 15, "wxyz"))
    space = ActionSpace(16, (left, right))
    wide = space.with_form("6d")
    assert wide.width == 20
    assert wide.others == (9, 19)
    assert [str(f) for f in wide.fields] == ["0:3", "3:9=6d", "10:13", "13:19=6d"]
    assert [str(f) for f in wide.with_form("axis_angle").fields] == [
        "0:3", "3:6=axis_angle", "7:10", "10:13=axis_angle",
    ]  # fmt: skip


# ── clipping and counting ─────────────────────────────────────────────────────────────────────────────


def test_what_is_clipped_is_counted_and_what_is_not_comes_back() -> None:
    data, space = hand()
    tight = Delta("measured", "world", position_scale=0.02, rotation_scale=0.1)
    free = Conversion(tight, form="axis_angle", source=space)
    whole = Dataset(free.stream(data))
    wide = np.concatenate([np.abs(e.action) > 1 for e in whole])
    wide[:, [0, -1]] = False  # fingers are nobody's delta
    np.testing.assert_array_equal(free.beyond, wide.sum(0))
    assert free.beyond.sum() > 10
    assert free.steps == data.steps
    clipping = Conversion(replace(tight, clip=True), form="axis_angle", source=space)
    cut = Dataset(clipping.stream(data))
    np.testing.assert_array_equal(clipping.beyond, free.beyond)
    for a, b in zip(whole, cut, strict=True):
        np.testing.assert_array_equal(np.clip(a.action[:, 1:-1], -1, 1), b.action[:, 1:-1])
        np.testing.assert_array_equal(a.action[:, [0, -1]], b.action[:, [0, -1]])
    for e, b in zip(data, convert(whole, None, form="xyzw"), strict=True):
        assert_same_targets(e.action, b.action, space, space)


def test_labels_beyond_are_counted_too() -> None:
    obs = {"p": np.zeros((3, 1))}
    label = np.array([[0.1], [5.0]])
    e = Episode(obs, np.array([[0.1], [0.2]]), label, np.array([True, True]), np.zeros(2))
    space = ActionSpace(1, (Effector(Field(0, 1), seen_position=Field(0, 1, key="p")),))
    conversion = Conversion(Delta("measured", "world"), source=space)
    conversion(e)
    assert conversion.beyond.tolist() == [1]


# ── the description ───────────────────────────────────────────────────────────────────────────────────


def test_a_space_travels_as_text() -> None:
    _, space = hand()
    for s in (space, space.to(Delta("measured", "world", 0.05, 0.5, True), "axis_angle")):
        assert ActionSpace.parse(s.text()) == s
    assert ActionSpace.of({}) is None


@pytest.mark.parametrize(
    "text",
    [
        "", "null", "[]", "7", '{"width": 3}', '{"width": 3, "effectors": []}',
        '{"width": 3, "effectors": 5}',
        '{"width": 3, "effectors": [{"position": {"start": 0, "stop": 9}}]}',
        '{"width": 3, "effectors": [{"position": {"start": 0, "stop": 3, "colour": 1}}]}',
        '{"width": 3, "effectors": [{"position": {"start": 0, "stop": 1e9}}]}',
        '{"width": 99999999999, "effectors": [{"position": {"start": 0, "stop": 3}}]}',
        '{"width": 3, "effectors": [{"position": {"start": 0, "stop": 3}}], "delta": {"reference": "x"}}',
        '{"width": 3, "effectors": [{"position": {"start": 0, "stop": 3}}], "delta": "measured"}',
        '{"width": 9, "effectors": [{"rotation": {"start": 0, "stop": 3, "form": ["xyzw"]}}]}',
        '{"width": 3, "effectors": [{"position": {"start": 0, "stop": 3, "key": ["p"]}}]}',
        '{"width": 1, "effectors": [{"position": {"start": 0, "stop": 1}, "seen_position": {"start": 0, '
        '"stop": 1, "key": "p"}}], "delta": {"reference": "measured", "frame": "world", "clip": "no"}}',
        "[" * 5000 + "]" * 5000,
    ],
)  # fmt: skip
def test_a_damaged_description_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match="no action space") as caught:
        ActionSpace.parse(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_contradictions_are_refused() -> None:
    place, turn = Field(0, 3), Field(3, 7, "xyzw")
    with pytest.raises(ValueError, match="takes 4"):
        Field(3, 6, "xyzw")
    with pytest.raises(ValueError, match="START < STOP"):
        Field(3, 3)
    with pytest.raises(ValueError, match="neither"):
        Effector()
    with pytest.raises(ValueError, match="overlap"):
        ActionSpace(7, (Effector(place, Field(2, 6, "xyzw")),))
    with pytest.raises(ValueError, match="outside"):
        ActionSpace(6, (Effector(place, turn),))
    with pytest.raises(ValueError, match="holds the pose"):
        ActionSpace(7, (Effector(place, turn),), Delta("measured", "world"))
    with pytest.raises(ValueError, match="only a rotation vector"):
        hand()[1].to(Delta("measured", "world", rotation_scale=0.5))
    with pytest.raises(ValueError, match="clip needs"):
        Delta("previous", "world", clip=True)
    with pytest.raises(ValueError, match="must be columns of an observation"):
        Effector(place, seen_position=Field(0, 3))
    with pytest.raises(ValueError, match="differ in width"):
        Effector(place, seen_position=Field(0, 2, key="p"))
    with pytest.raises(ValueError, match="must be positive"):
        Delta("measured", "world", position_scale=0.0)


def test_data_that_is_not_what_is_said_is_refused() -> None:
    data, space = hand()
    arm = space.effectors[0]
    with pytest.raises(ValueError, match="does not say"):
        convert(data, None)
    with pytest.raises(ValueError, match="9 wide; the action space says 10"):
        convert(data, None, source=replace(space, width=10))
    swapped = ActionSpace(space.width, (replace(arm, rotation=Field(1, 5, "xyzw"), position=Field(5, 8)),))
    with pytest.raises(ValueError, match="no rotation in that form"):
        convert(data, None, source=swapped)
    lost = ActionSpace(space.width, (replace(arm, seen_position=Field(0, 3, key="arm")),))
    with pytest.raises(KeyError, match="no observation 'arm'"):
        convert(data, Delta("measured", "world"), source=lost)
    said = convert(data, Delta("measured", "world"), source=space)
    with pytest.raises(ValueError, match="says itself"):
        convert(said, None, source=space)
    assert json.loads(str(said[0].meta[META]))["delta"]["reference"] == "measured"
    clicks = Dataset([Episode.demonstration(np.zeros((3, 1)), np.zeros(2, np.int64))])
    with pytest.raises(ValueError, match="discrete"):
        convert(clicks, None, source=ActionSpace(1, (Effector(Field(0, 1)),)))


# ── the command line ──────────────────────────────────────────────────────────────────────────────────


FLAGS = ["--from", "absolute", "--position", "1:4", "--rotation", "4:8=xyzw", "--pose", "pos[1:4],turn=wxyz"]
MEASURED = ["--reference", "measured", "--frame", "world"]


def test_the_verb_there_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, space = hand(labels=True)
    source, there, back = (str(tmp_path / n) for n in ("source", "there", "back"))
    storage.write(source, data)
    scales = ["--position-scale", "0.02", "--rotation-scale", "0.1"]
    args = [
        "actions",
        source,
        there,
        "--to",
        "delta",
        "--form",
        "axis_angle",
        *FLAGS,
        *MEASURED,
        *scales,
        "--json",
    ]
    assert main(args) == 0
    told = json.loads(capsys.readouterr().out)
    delta = storage.read(there)
    assert ActionSpace.of(delta[0].meta) == space.to(Delta("measured", "world", 0.02, 0.1), "axis_angle")
    assert (told["episodes"], told["steps"], told["clipped"]) == (3, 120, False)
    conversion = Conversion(Delta("measured", "world", 0.02, 0.1), form="axis_angle", source=space)
    assert all(a == b for a, b in zip(map(conversion, storage.read(source)), delta, strict=True))
    assert told["beyond"] == conversion.beyond.tolist()
    assert main(["actions", there, back, "--to", "absolute", "--form", "xyzw"]) == 0
    assert "absolute" in capsys.readouterr().out
    for e, b in zip(data, storage.read(back), strict=True):
        assert_same_targets(e.action, b.action, space, space)
        assert np.array_equal(e.labelled, b.labelled)
        assert_same_targets(e.label[e.labelled], b.label[e.labelled], space, space)


def test_the_verb_says_what_was_clipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, _ = hand()
    storage.write(tmp_path / "source", data)
    args = [
        str(tmp_path / "source"),
        str(tmp_path / "cut"),
        "--to",
        "delta",
        "--form",
        "axis_angle",
        "--clip",
    ]
    assert main(["actions", *args, *FLAGS, *MEASURED, "--position-scale", "0.02"]) == 0
    assert re.search(
        r"1:4: largest value 1; beyond ±1 in [1-9]\d* of 120 steps, clipped", capsys.readouterr().out
    )


def test_the_verb_on_data_that_is_deltas_already(tmp_path: Path) -> None:
    """robomimic's actions: deltas of an operational space controller, and nothing in the file says so."""
    data, space = hand("axis_angle")
    osc = Delta("measured", "world", position_scale=0.05, rotation_scale=0.5)
    bare = Dataset(replace(e, meta={}) for e in convert(data, osc, source=space))
    storage.write(tmp_path / "source", bare)
    flags = [
        "--from",
        "delta",
        "--position",
        "1:4",
        "--rotation",
        "4:7=axis_angle",
        "--pose",
        "pos[1:4],turn=wxyz",
    ]
    scales = ["--position-scale", "0.05", "--rotation-scale", "0.5"]
    args = [str(tmp_path / "source"), str(tmp_path / "out"), "--to", "absolute", *flags, *MEASURED, *scales]
    assert main(["actions", *args]) == 0
    for e, b in zip(data, storage.read(tmp_path / "out"), strict=True):
        assert_same_targets(e.action, b.action, space, space)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--to", "absolute"], "does not say what its actions mean"),
        (["--to", "delta", *FLAGS], "a delta needs a reference"),
        (["--to", "delta", *FLAGS, "--frame", "world"], "needs both"),
        (["--to", "absolute", *FLAGS, *MEASURED], "none is named"),
        (["--to", "absolute", *FLAGS[2:]], "not whether they are absolute"),
        (["--to", "absolute", "--from", "absolute"], "name their position or rotation"),
        (["--to", "delta", *FLAGS[:6], *MEASURED], "observation holds the pose"),
        (["--to", "delta", *FLAGS[:7], "arm", *MEASURED], "no vector observation 'arm'"),
        (["--to", "delta", *FLAGS[:7], "pos[1:9]", *MEASURED], "lies outside"),
        (["--to", "delta", *FLAGS[:7], "pos=xyzw", *MEASURED], None),
        (["--to", "delta", *FLAGS[:7], "turn=axis_angle", *MEASURED], "name its columns"),
        (["--to", "delta", *FLAGS[:7], "pos,turn", *MEASURED], "names two positions"),
        (["--to", "delta", *FLAGS[:7], "pos[1:4],turn=wxyz", "turn=wxyz", *MEASURED], "2 entries, others 1"),
        (["--to", "absolute", *FLAGS[:3], "zero:4", *FLAGS[4:]], "START:STOP"),
        (["--to", "absolute", *FLAGS[:3], "1:99", *FLAGS[4:6]], "outside of an action"),
        (["--to", "absolute", *FLAGS[:5], "4:8=quat"], "rotation form is 'quat'"),
        (["--to", "absolute", *FLAGS[:5], "4:8"], "START:STOP=FORM"),
        (["--to", "absolute", *FLAGS[:5], "3:7=xyzw"], "overlap"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(
    flags: list[str], words: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage.write(tmp_path / "source", hand(steps=3)[0])
    assert main(["actions", str(tmp_path / "source"), str(tmp_path / "out"), *flags]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert words is None or words in said
    assert not (tmp_path / "out").exists()


def test_a_policy_of_converted_actions_is_kept_from_an_environment_that_takes_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    obs = {
        "state": rng.normal(size=(9, 10)),
        "achieved_goal": np.ones((9, 3)),
        "desired_goal": np.ones((9, 3)),
    }
    meta = {"task": "fetch-reach", "seed": 1}
    data = Dataset([Episode.demonstration(obs, rng.uniform(-1, 1, (8, 4)), success=True, meta=meta)] * 2)
    storage.write(tmp_path / "data", data)
    flags = [
        "--from",
        "delta",
        "--position",
        "0:3",
        "--pose",
        "state[0:3]",
        *MEASURED,
        "--position-scale",
        "0.05",
    ]
    far, run = str(tmp_path / "far"), str(tmp_path / "run")
    assert main(["actions", str(tmp_path / "data"), far, "--to", "absolute", *flags]) == 0
    train = ["train", "bc", "--data", far, "--steps", "3"]
    assert main([*train, "--out", str(tmp_path / "no"), "--augment", "mirror"]) == 2
    assert "these were converted" in capsys.readouterr().err
    assert main([*train, "--out", run]) == 0
    agent = load(tmp_path / "run" / "agent")
    assert agent.low is None  # the bounds of the environment's own actions are not those of positions
    assert main(["evaluate", run, "--episodes", "1"]) == 2
    assert "converted actions" in capsys.readouterr().err
