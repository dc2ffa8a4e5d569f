"""robomimic HDF5: samples of its own tools open, what we write comes back exactly, conventions are kept."""

from __future__ import annotations

import collections
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from understudy import formats
from understudy.episode import EXPERT, POLICY, Episode
from understudy.formats import guard, robomimic
from understudy.formats.notes import collected
from understudy.storage import DataError

h5py = pytest.importorskip("h5py")
SAMPLE = Path(__file__).parent / "data" / "robomimic_5_demos.hdf5"


def episodes(*, images: bool = True, scale: float = 1.0) -> list[Episode]:
    """Three that differ in everything an episode can differ in."""
    rng = np.random.default_rng(0)
    made = []
    for i, steps in enumerate((4, 1, 6)):
        obs = {"z/wide": rng.standard_normal((steps + 1, 2, 3)), "eef": rng.standard_normal((steps + 1, 3))}
        if images:
            obs["front"] = rng.integers(0, 256, (steps + 1, 6, 5, 3), dtype=np.uint8)
        action = (rng.uniform(-1, 1, (steps, 2)) * scale).astype(np.float32)
        label = action if i == 0 else action[::-1] / 2
        labelled = np.arange(steps) % 2 == 0 if i == 2 else np.ones(steps, bool)
        time = None if i == 1 else np.cumsum(rng.random(steps + 1))
        meta = {
            "task": "stack",
            "operator": "ann",
            "seed": i,
            "noise": 0.1,
            "mask": ("train", "", "b,train")[i],
        }
        success = (True, None, False)[i]
        reward = rng.standard_normal(steps)
        control = np.arange(steps) % 3 if i else None
        made.append(Episode(obs, action, label, labelled, reward, i == 0, success, meta, time, control))
    return made


def sample(folder: Path) -> Path:
    """A small valid file, for the fuzz test."""
    path = folder / "small.hdf5"
    formats.write(path, episodes(), "robomimic", robomimic.Writing(compress=True))
    return path


@pytest.mark.parametrize("images", [False, True])
def test_a_round_trip_is_exact(tmp_path: Path, images: bool) -> None:
    given = episodes(images=images)
    path = tmp_path / "a.hdf5"
    formats.write(path, given, "robomimic", robomimic.Writing(compress=images))
    with collected() as notes:
        back = list(formats.stream(path, guard=False))
    assert back == given
    assert [list(e.obs) for e in back] == [list(e.obs) for e in given]
    assert not notes


def test_discrete_actions_come_back_as_such(tmp_path: Path) -> None:
    given = [Episode.demonstration(np.zeros((4, 2)), np.array([0, 3, 1]))]
    with pytest.raises(DataError, match=r"action is 3 at step 1, dimension 0 of episode 0"):
        formats.write(tmp_path / "a.hdf5", given, "robomimic")
    assert not list(tmp_path.iterdir())
    formats.write(tmp_path / "a.hdf5", given, "robomimic", robomimic.Writing(out_of_range="keep"))
    assert list(formats.stream(tmp_path / "a.hdf5", guard=False)) == given


def test_what_a_float64_cannot_hold_is_refused(tmp_path: Path) -> None:
    keep = robomimic.Writing(out_of_range="keep")
    for least in (-(2**63), 2**53 + 1):
        given = [Episode.demonstration(np.zeros((3, 1)), np.array([0, least]))]
        with pytest.raises(DataError, match="beyond ±2\\^53"):
            formats.write(tmp_path / "a.hdf5", given, "robomimic", keep)
        with pytest.raises(DataError, match="out_of_range=keep"):
            formats.write(tmp_path / "a.hdf5", given, "robomimic")


def test_robomimics_own_file_opens() -> None:
    data = formats.read(SAMPLE)
    with h5py.File(SAMPLE) as file:
        assert len(data) == 5
        for i, e in enumerate(data):
            demo = file[f"data/demo_{i}"]
            assert np.array_equal(e.action, demo["actions"][()].astype(np.float32))
            assert np.array_equal(e.reward, demo["rewards"][()].astype(np.float32))
            for key in demo["obs"]:
                assert np.array_equal(e.obs[key][:-1], demo["obs"][key][()].astype(np.float32))
                assert np.array_equal(e.obs[key][-1], demo["next_obs"][key][-1].astype(np.float32))
            assert json.loads(str(e.meta["env_args"]))["type"] == 2
            assert (e.meta["task"], e.meta["demo"]) == ("Synthetic", f"demo_{i}")
    assert [e.meta["mask"] for e in data] == ["train", "valid", "train", "train", "train"]


def test_filter_keys_select_and_are_written_back(tmp_path: Path) -> None:
    data = formats.read(SAMPLE, options=robomimic.Reading(mask="valid"), guard=False)
    assert [e.meta["demo"] for e in data] == ["demo_1"]
    with pytest.raises(DataError, match=r"no filter key 'test'; there are train, valid"):
        formats.read(SAMPLE, options=robomimic.Reading(mask="test"), guard=False)
    formats.write(tmp_path / "a.hdf5", formats.read(SAMPLE, guard=False), "robomimic")
    with h5py.File(SAMPLE) as a, h5py.File(tmp_path / "a.hdf5") as b:
        for key in ("train", "valid"):
            assert a["mask"][key][()].tolist() == b["mask"][key][()].tolist()
        assert json.loads(a["data"].attrs["env_args"]) == json.loads(b["data"].attrs["env_args"])
        assert a["data"].attrs["total"] == b["data"].attrs["total"]
        for demo in a["data"]:
            for name in ("actions", "rewards", "dones"):
                assert np.abs(a["data"][demo][name][()] - b["data"][demo][name][()]).max() < 1e-7


def test_filter_keys_that_another_tool_changed_are_the_ones_that_count(tmp_path: Path) -> None:
    given = episodes(images=False)
    formats.write(tmp_path / "a.hdf5", given, "robomimic")
    with h5py.File(tmp_path / "a.hdf5", "r+") as file:
        del file["mask/b"]
        file["mask/test"] = np.array([b"demo_1"])
    back = list(formats.stream(tmp_path / "a.hdf5", guard=False))
    assert [e.meta.get("mask") for e in back] == ["train", "test", "train"]
    assert back[0] == given[0]


def test_what_robomimic_looks_for_is_there(tmp_path: Path) -> None:
    given = episodes(images=False)
    formats.write(tmp_path / "a.hdf5", given, "robomimic")
    with h5py.File(tmp_path / "a.hdf5") as file:
        assert file["data"].attrs["total"] == 11
        assert json.loads(file["data"].attrs["env_args"])["env_name"] == "stack"
        assert [b.decode() for b in file["mask/train"][()]] == ["demo_0", "demo_2"]
        assert [b.decode() for b in file["mask/b"][()]] == ["demo_2"]
        for i, e in enumerate(given):
            demo = file[f"data/demo_{i}"]
            assert demo.attrs["num_samples"] == len(e)
            assert demo["actions"].dtype == demo["obs/eef"].dtype == np.float64
            assert demo["dones"].dtype == np.int64
            assert demo["dones"][()].tolist() == [0] * (len(e) - 1) + [1]
            assert np.array_equal(demo["obs/eef"][1:], demo["next_obs/eef"][:-1])


def test_images_are_not_written_twice_unless_asked(tmp_path: Path) -> None:
    for next_obs, twice in (("auto", False), ("yes", True), ("no", False)):
        path = tmp_path / f"{next_obs}.hdf5"
        formats.write(path, episodes(), "robomimic", robomimic.Writing(next_obs=next_obs))
        with h5py.File(path) as file:
            assert ("next_obs" in file["data/demo_0"]) is twice
            assert file["data/demo_0/obs/front"].dtype == np.uint8
        assert list(formats.stream(path, guard=False)) == episodes()


def foreign(path: Path, dones: list[int], rewards: list[float], **extra: object) -> Path:
    """As another tool writes it: demonstrations out of order, no next_obs, other actions beside."""
    n = len(dones)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = '{"env_name": "Lift", "type": 1, "env_kwargs": {}}'
        for i in (10, 2):
            demo = data.create_group(f"demo_{i}")
            demo.attrs["num_samples"] = extra.get("num_samples", n)
            demo.attrs["model_file"] = "<mujoco/>"
            demo["actions"] = np.full((n, 2), i / 100)
            demo["actions_abs"] = np.full((n, 2), float(i))
            demo["action_dict/abs_pos"] = np.arange(3.0 * n).reshape(n, 3)
            demo["action_dict/gripper"] = np.ones(n, np.float32)
            demo["states"] = np.arange(n * 4.0).reshape(n, 4)
            demo["dones"], demo["rewards"] = np.array(dones), np.array(rewards)
            demo["obs/pos"] = np.arange(n * 3.0).reshape(n, 3)
            demo["obs/depth"] = np.ones((n, 4, 4, 1), np.float32)
            demo["obs/rgb"] = np.full((n, 4, 4, 3), 7, np.uint8)
    return path


def test_another_tools_file_is_read_by_its_conventions(tmp_path: Path) -> None:
    path = foreign(tmp_path / "a.hdf5", [0, 0, 1], [0, 0, 1])
    with collected() as notes:
        data = formats.read(path)
    assert [e.meta["demo"] for e in data] == ["demo_2", "demo_10"]
    first = data[0]
    assert first.obs["rgb"].dtype == np.uint8
    assert first.obs["depth"].shape == (4, 4, 4, 1)
    assert np.array_equal(first.obs["pos"][-1], first.obs["pos"][-2])
    assert {"left out 'actions_abs' of the demonstrations", "left out 'states' of the demonstrations"} <= set(
        notes
    )
    assert "left out the simulator's model (model_file)" in notes
    absolute = formats.read(path, options=robomimic.Reading(action="actions_abs", states=True), guard=False)
    assert absolute[0].action.tolist() == [[2, 2]] * 3
    assert absolute[0].obs["states"].shape == (4, 4)
    parts = robomimic.Reading(action="action_dict/abs_pos+action_dict/gripper", obs=("pos",))
    joined = formats.read(path, options=parts, guard=False)[0]
    assert joined.action.tolist() == [[0, 1, 2, 1], [3, 4, 5, 1], [6, 7, 8, 1]]
    assert list(joined.obs) == ["pos"]
    with pytest.raises(DataError, match=r"demo_2 has no action 'rel'; it has .*actions_abs"):
        formats.read(path, options=robomimic.Reading(action="rel"), guard=False)


@pytest.mark.parametrize(
    ("mode", "dones", "rewards", "terminated", "success"),
    [
        (0, [0, 0, 1], [0, 0, 0], True, True),
        (0, [0, 1, 0], [0, 0, 0], False, True),
        (0, [0, 0, 0], [0, 0, 0], False, False),
        (1, [0, 0, 1], [0, 0, 1], False, True),
        (2, [0, 0, 1], [0, 0, 1], True, True),
        (2, [0, 1, 1], [0, 1, 0], False, True),
        (2, [0, 0, 1], [0, 0, 0.5], False, None),
    ],
)
def test_dones_mean_what_done_mode_says(
    tmp_path: Path, mode: int, dones: list[int], rewards: list[float], terminated: bool, success: bool | None
) -> None:
    path = foreign(tmp_path / "a.hdf5", dones, rewards)
    e = next(formats.stream(path, options=robomimic.Reading(done_mode=mode), guard=False))
    assert (e.terminated, e.success) == (terminated, success)


def test_who_held_the_controls_is_read_where_sirius_noted_it(tmp_path: Path) -> None:
    path = foreign(tmp_path / "a.hdf5", [0, 0, 0, 1], [0, 0, 0, 1])
    plain = next(formats.stream(path, guard=False))
    for modes, want in (
        ([-1.0] * 4, [EXPERT] * 4),
        ([0, 1, 1, 0], [POLICY, EXPERT, EXPERT, POLICY]),
        ([2, 2, 2, 2], [POLICY] * 4),
        ([0, -10, 1, 1], None),  # not what Sirius writes
    ):
        with h5py.File(path, "r+") as file:
            file["data/demo_2"].pop("action_modes", None)
            file["data/demo_2/action_modes"] = np.array(modes)
        with collected() as notes:
            e = next(formats.stream(path, guard=False))
        assert e == replace(plain, control=want)
        assert ("left out 'action_modes'" in str(notes)) == (want is None)
    with h5py.File(path, "r+") as file:
        del file["data/demo_2/action_modes"]
        file["data/demo_2/action_modes"] = np.zeros(3)
    with pytest.raises(DataError, match="with 4 actions it must be 4 whole numbers"):
        list(formats.stream(path, guard=False))


def test_an_instruction_is_the_task_and_is_written_back(tmp_path: Path) -> None:
    path = foreign(tmp_path / "a.hdf5", [0, 1], [0, 1])
    with h5py.File(path, "r+") as file:
        file["data/demo_2"].attrs["ep_meta"] = '{"lang": "open the drawer"}'
        file["data/demo_2"].attrs["camera_info"] = '{"agentview": []}'
        file["data/demo_10"].attrs["ep_meta"] = "no JSON"
        file.create_dataset("mask/train", data=["demo_2"])  # texts of any length, as h5py writes them
    data = formats.read(path, guard=False)
    assert [e.meta["task"] for e in data] == ["open the drawer", "Lift"]
    assert [e.meta.get("mask") for e in data] == ["train", None]
    formats.write(tmp_path / "b.hdf5", data, "robomimic")
    with h5py.File(tmp_path / "b.hdf5") as file:
        assert file["data/demo_0"].attrs["ep_meta"] == '{"lang": "open the drawer"}'
        assert file["data/demo_0"].attrs["camera_info"] == '{"agentview": []}'
    assert list(formats.stream(tmp_path / "b.hdf5", guard=False)) == list(data)


def test_one_demonstration_under_many_names_is_no_endless_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "may_unfold", lambda size: (20 << 20) + 100 * size)
    path = tmp_path / "a.hdf5"
    still = Episode.demonstration({"front": np.zeros((101, 128, 128, 3), np.uint8)}, np.zeros((100, 1)))
    formats.write(path, [still], "robomimic", robomimic.Writing(compress=True))
    with h5py.File(path, "r+") as file:
        for i in range(1, 1000):
            file[f"data/demo_{i}"] = file["data/demo_0"]
    assert path.stat().st_size < 200_000  # for 5 GB of images
    read = formats.stream(path)
    assert next(read) == still
    with pytest.raises(DataError, match=r"MiB unpacked|stopped after"):
        collections.deque(read, maxlen=0)


def test_contradictions_are_refused(tmp_path: Path) -> None:
    path = foreign(tmp_path / "a.hdf5", [0, 1], [0, 1], num_samples=3)
    with pytest.raises(DataError, match="demo_2 says num_samples 3 but has 2 actions"):
        formats.read(path, guard=False)
    with pytest.raises(DataError, match="done_mode is 7"):
        formats.read(path, options=robomimic.Reading(done_mode=7), guard=False)
    with pytest.raises(DataError, match="env_args is '\\[1'; it must be a JSON object"):
        formats.write(tmp_path / "b", episodes(), "robomimic", robomimic.Writing(env_args="[1"))
    with h5py.File(tmp_path / "c.hdf5", "w") as file:
        file["x"] = 1
    with pytest.raises(DataError, match="no group /data"):
        formats.read(tmp_path / "c.hdf5", guard=False)
