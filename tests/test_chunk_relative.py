"""Actions relative to a chunk's start: exact both ways, the same wherever the hand is, learned, acted on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from understudy import storage
from understudy.actions import (
    META,
    ActionSpace,
    ChunkFrame,
    ChunkRelative,
    Delta,
    Effector,
    Field,
    convert,
    converted,
)
from understudy.actions.chunks import declared
from understudy.agent import Agent, Chunked, load
from understudy.augment import Noise
from understudy.cli import main
from understudy.dataset import Dataset
from understudy.episode import Array, Episode
from understudy.heads import Deterministic
from understudy.learn import bc
from understudy.nets import MLP
from understudy.numerics import rotations as rot
from understudy.serial import CorruptFile

ARM = Effector(Field(0, 3), Field(3, 7, "xyzw"), Field(0, 3, key="pos"), Field(0, 4, "wxyz", key="turn"))
SPACE = ActionSpace(8, (ARM,))  # and fingers
STEPS = 25


def hands(n: int = 4, seed: int = 0, at: rot.Pose | None = None) -> Dataset:
    """A hand that goes to a goal (seen in its own frame) by a tenth of the way a step, turning as it goes.

    `at`: everything happens in another place of the world.
    """
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(n):
        p, r = rng.uniform(-1, 1, 3), rng.normal(0, 1, 3)
        goal = rng.uniform(-1, 1, 3)
        turn = rot.convert([0.0, 0.02, 0.05], "axis_angle", "matrix")
        pose = rot.Pose(p, rot.convert(r, "axis_angle", "matrix"))
        obs: dict[str, list[Array]] = {"pos": [], "turn": [], "goal": []}
        action = []
        for _ in range(STEPS + 1):
            there = pose if at is None else rot.compose(at, pose)
            obs["pos"].append(there.position)
            obs["turn"].append(rot.convert(there.matrix, "matrix", "wxyz"))
            obs["goal"].append(pose.matrix.T @ (goal - pose.position))
            target = rot.Pose(pose.position + 0.1 * (goal - pose.position), pose.matrix @ turn)
            out = target if at is None else rot.compose(at, target)
            action.append(np.concatenate([out.position, rot.convert(out.matrix, "matrix", "xyzw"), [0.5]]))
            pose = target
        states = {k: np.stack(v) for k, v in obs.items()}
        meta = {META: SPACE.text()}
        labelled = rng.random(STEPS) < 0.8
        labelled[0] = True
        label = np.where(labelled[:, None], action[:-1], 0.0)  # zeros are no quaternion
        made.append(Episode(states, np.stack(action[:-1]), label, labelled, np.zeros(STEPS), meta=meta))
    return Dataset(made)


@pytest.mark.parametrize("frame", ["body", "world"])
@pytest.mark.parametrize("form", [None, "6d", "axis_angle"])
def test_there_and_back(frame: Any, form: str | None) -> None:
    data = hands()
    relative = ChunkRelative(data, 2, 6, ChunkFrame(SPACE, frame, form))
    plain = data.windows(2, 6)
    index = np.arange(len(plain))
    want, got = plain.batch(index), relative.batch(index)
    assert len(relative) == len(plain)
    assert relative.schema["action"] == ("float32", (SPACE.with_form(form or "xyzw").width,))
    assert np.isfinite(got.action).all()
    back = relative.frame.to_absolute(got.obs, got.action)[want.mask]
    absolute = want.action[want.mask]
    np.testing.assert_allclose(back[:, [0, 1, 2, 7]], absolute[:, [0, 1, 2, 7]], atol=1e-6)
    q = (rot.convert(x[:, 3:7], "xyzw", "matrix") for x in (back, absolute))
    assert rot.angle_between(*q).max() < 1e-6


def test_the_first_relative_action_is_the_step_from_the_measured_pose() -> None:
    data = hands()
    batch = ChunkRelative(data, 1, 1, ChunkFrame(SPACE, "body", "axis_angle")).batch(np.arange(20))
    np.testing.assert_allclose(batch.action[:, 0, :3], 0.1 * batch.obs["goal"][:, 0], atol=1e-6)
    np.testing.assert_allclose(batch.action[:, 0, 3:6], np.tile([0.0, 0.02, 0.05], (20, 1)), atol=1e-6)


def test_in_the_hands_own_frame_it_is_the_same_wherever_the_hand_is() -> None:
    elsewhere = rot.Pose(np.array([1.0, -2.0, 0.5]), rot.convert([0.3, -1.0, 2.0], "axis_angle", "matrix"))
    index = np.arange(50)
    frame = ChunkFrame(SPACE, "body", "6d")
    a, b = (ChunkRelative(hands(at=at), 1, 5, frame).batch(index) for at in (None, elsewhere))
    np.testing.assert_allclose(a.action[a.mask], b.action[b.mask], atol=2e-6)
    fixed = ChunkFrame(SPACE, "world", "6d")
    c, d = (ChunkRelative(hands(at=at), 1, 5, fixed).batch(index) for at in (None, elsewhere))
    assert np.abs(c.action[c.mask] - d.action[d.mask]).max() > 0.1


def test_what_is_masked_cannot_matter() -> None:
    data = hands()
    junk = Dataset(replace(e, label=np.where(e.labelled[:, None], e.label, 1e6)) for e in data)
    frame = ChunkFrame(SPACE, "body")
    a, b = (ChunkRelative(d, 1, 5, frame).batch(np.arange(60)) for d in (data, junk))
    np.testing.assert_array_equal(a.action, b.action)


def test_statistics_are_those_of_all_relative_actions_that_count() -> None:
    data = hands()
    frame = ChunkFrame(SPACE, "body", "6d")
    relative = ChunkRelative(data, 1, 7, frame)
    batch = relative.batch(np.arange(len(relative)))
    np.testing.assert_array_equal(np.concatenate(list(relative.chunks("label"))), batch.action[batch.mask])
    agent = Agent.build(data, MLP((8,)), Deterministic(), horizon=7, frame=frame)
    rows = batch.action[batch.mask].astype(np.float64)
    moving = rows.std(0) > 1e-6
    np.testing.assert_allclose(agent.action_normalizer.shift, rows.mean(0), atol=1e-6)
    np.testing.assert_allclose(agent.action_normalizer.scale[moving], rows.std(0)[moving], rtol=1e-4)


def trained(horizon: int, steps: int = 600) -> tuple[Agent, Dataset]:
    data = hands(25)
    agent = Agent.build(
        data, MLP((48, 48), "gelu"), Deterministic(), horizon=horizon, frame=declared(data, "body")
    )
    config = bc.Config(batch=64, learning_rate=3e-3, decay=steps)
    learner = bc.Learner(agent, data, config)
    before = learner.validation_loss(hands(6, seed=9))
    for _ in range(steps):
        learner.step()
    assert learner.validation_loss(hands(6, seed=9)) < 0.1 * before
    return agent, data


def test_learned_saved_loaded_and_acted_on(tmp_path: Path) -> None:
    agent, _ = trained(horizon=4)
    agent.save(tmp_path / "agent")
    policy = Chunked(load(tmp_path / "agent"), execute=4)
    off = []
    for e in hands(5, seed=9):
        policy.reset(0)
        for t in range(8):
            obs = {k: v[t] for k, v in e.obs.items()}
            action = policy.act(obs)
            assert action.shape == (8,)
            off.append(np.abs(action[:3] - e.action[t, :3]).max())
            q = (rot.convert(x[3:7], "xyzw", "matrix") for x in (action, e.action[t]))
            off.append(float(rot.angle_between(*q)))
    assert np.mean(off) < 0.1  # metres and radians; without the pose put back it is more than 0.5
    seen = {k: torch.tensor(v[:1])[:, None] for k, v in e.obs.items()}
    want = agent.frame.to_absolute({k: v.numpy() for k, v in seen.items()}, agent.mode(seen).detach().numpy())  # type: ignore[union-attr]
    np.testing.assert_allclose(agent.chunks({k: v.numpy() for k, v in seen.items()}), want, atol=1e-5)


def test_actions_that_were_recorded_so_are_not_converted() -> None:
    data = hands()
    assert not converted(data.facts)
    assert converted(convert(data, Delta("measured", "body")).facts)


def test_contradictions_are_refused() -> None:
    data = hands()
    with pytest.raises(ValueError, match="made from absolute ones"):
        ChunkFrame(SPACE.to(Delta("measured", "world")), "body")
    with pytest.raises(ValueError, match="'world' or 'body'"):
        ChunkFrame(SPACE, "tool")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="holds the pose"):
        ChunkFrame(ActionSpace(8, (Effector(Field(0, 3)),)), "world")
    with pytest.raises(ValueError, match="9 wide"):
        ChunkRelative(data, 1, 1, ChunkFrame(ActionSpace(9, (ARM,)), "body"))
    silent = Dataset(replace(e, meta={}) for e in data)
    for wrong in (silent, Dataset([data[0], silent[0]])):
        with pytest.raises(ValueError, match="says what its actions mean"):
            declared(wrong, "body")
    frame = ChunkFrame(SPACE, "body")
    with pytest.raises(ValueError, match="bounded"):
        Agent.build(data, MLP((8,)), Deterministic(), frame=frame, bounds=(-np.ones(8), np.ones(8)))
    long = Dataset(replace(e, obs={**e.obs, "turn": 1.5 * e.obs["turn"]}) for e in data)
    with pytest.raises(ValueError, match="no rotation in that form"):
        Agent.build(long, MLP((8,)), Deterministic(), frame=frame)
    blind = Agent.build(data, MLP((8,)), Deterministic())
    normalizers = {"goal": blind.obs_normalizers["goal"]}
    with pytest.raises(ValueError, match="does not see"):
        Agent(normalizers, blind.action_normalizer, MLP((8,)), Deterministic(), 1, 1, frame=frame)


@pytest.mark.parametrize(
    "change",
    [
        {"frame": "up"}, {"form": "quat"}, {"form": ["xyzw"]}, {"space": "{}"}, {"space": 7}, {"form": "6d"},
    ],
)  # fmt: skip
def test_a_damaged_description_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    Agent.build(hands(), MLP((8,)), Deterministic(), frame=ChunkFrame(SPACE, "body")).save(tmp_path)
    description = json.loads((tmp_path / "agent.json").read_text())
    assert ChunkFrame.parse(description["frame"]) == ChunkFrame(SPACE, "body")
    description["frame"] |= change
    (tmp_path / "agent.json").write_text(json.dumps(description))
    with pytest.raises(CorruptFile):
        load(tmp_path)


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage.write(tmp_path / "data", hands())
    args = ["--data", str(tmp_path / "data"), "--steps", "20", "--horizon", "3", "--relative", "body"]
    assert main(["train", "bc", *args, "--out", str(tmp_path / "run")]) == 0
    agent = load(tmp_path / "run" / "agent")
    assert agent.frame == ChunkFrame(SPACE, "body")
    storage.write(tmp_path / "bare", Dataset(replace(e, meta={}) for e in hands()))
    capsys.readouterr()
    args[1] = str(tmp_path / "bare")
    assert main(["train", "bc", *args, "--out", str(tmp_path / "other")]) == 2
    assert "understudy actions" in capsys.readouterr().err


def test_augmentation_comes_before_actions_are_relative() -> None:
    """With noise in the measured pose, what is relative to it still adds up to the demonstrated target."""
    data = hands()
    frame = ChunkFrame(SPACE, "world")
    agent = Agent.build(data, MLP((8,)), Deterministic(), horizon=3, frame=frame)
    noise = Noise({"pos": (0.5, 0.5, 0.5), "turn": (0.1, 0.1, 0.1, 0.1)})
    learner = bc.Learner(agent, data, bc.Config(batch=16), [noise])
    raw = data.windows(1, 3).batch(np.arange(16))
    made = learner._prepared(raw)
    assert np.abs(made.obs["pos"] - raw.obs["pos"]).max() > 0.5
    back = frame.to_absolute(made.obs, made.action)[raw.mask]
    np.testing.assert_allclose(back[:, :3], raw.action[raw.mask][:, :3], atol=1e-6)
    plain = bc.Learner(Agent.build(data, MLP((8,)), Deterministic(), horizon=3, frame=frame), data)
    want = ChunkRelative(data, 1, 3, frame).batch(np.arange(16))
    np.testing.assert_array_equal(plain._prepared(raw).action, want.action)
    with pytest.raises(ValueError, match="not what the agent predicts"):
        plain.validation_loss(data.windows(1, 3))
