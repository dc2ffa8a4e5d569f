"""ACT HDF5: what we write has ACT's names and comes back exactly; files of ACT and its forks open."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from understudy import formats
from understudy.episode import Episode
from understudy.formats import act
from understudy.formats.notes import collected
from understudy.storage import DataError

h5py = pytest.importorskip("h5py")
SIMULATED = act.Writing(sim="yes")


def episodes(*, velocity: bool = True) -> list[Episode]:
    """Three of unequal lengths that differ in everything an episode can differ in."""
    rng = np.random.default_rng(0)
    made = []
    for i, steps in enumerate((4, 1, 6)):
        obs = {
            "top": rng.integers(0, 256, (steps + 1, 6, 5, 3), dtype=np.uint8),
            "state": rng.standard_normal((steps + 1, 3)),
            "a/wrench": rng.standard_normal((steps + 1, 2, 3)),
        }
        if velocity:
            obs["qvel"] = rng.standard_normal((steps + 1, 3))
        action = rng.standard_normal((steps, 3)).astype(np.float32)
        label = action if i == 0 else action[::-1] / 2
        labelled = np.arange(steps) % 2 == 0 if i == 2 else np.ones(steps, bool)
        time = None if i == 1 else np.cumsum(rng.random(steps + 1))
        meta = {"task": "fold", "operator": "ann", "seed": i, "dropped_frames": i}
        reward = rng.standard_normal(steps) * (0.0 if i == 1 else 1.0)
        said = (i == 0, (True, None, False)[i], meta, time, np.arange(steps) % 3 if i else None)
        made.append(Episode(obs, action, label, labelled, reward, *said))
    return made


def sample(folder: Path) -> Path:
    """A small valid folder, for the fuzz test."""
    path = folder / "small"
    formats.write(path, episodes()[:2], "act", act.Writing(sim="yes", compress=True))
    return path


@pytest.mark.parametrize("velocity", [False, True])
@pytest.mark.parametrize("compress", [False, True])
def test_a_round_trip_is_exact(tmp_path: Path, velocity: bool, compress: bool) -> None:
    given = episodes(velocity=velocity)
    path = tmp_path / "a"
    with collected() as notes:
        formats.write(path, given, "act", act.Writing(sim="no", compress=compress))
    assert any("qvel" in n for n in notes) is not velocity
    assert any("differ in length" in n for n in notes)
    back = list(formats.stream(path, guard=False))
    assert back == given
    assert [list(e.obs) for e in back] == [list(e.obs) for e in given]


def test_discrete_actions_come_back_as_such(tmp_path: Path) -> None:
    given = [Episode.demonstration(np.zeros((4, 2)), np.array([0, 3, 1]))]
    formats.write(tmp_path / "a", given, "act", SIMULATED)
    assert list(formats.stream(tmp_path / "a", guard=False)) == given


def test_acts_names_are_there(tmp_path: Path) -> None:
    given = episodes()
    formats.write(tmp_path / "a", given, "act", SIMULATED)
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [f"episode_{i}.hdf5" for i in range(3)]
    for i, e in enumerate(given):
        with h5py.File(tmp_path / "a" / f"episode_{i}.hdf5") as file:
            assert file.attrs["sim"]
            assert np.array_equal(file["action"], e.action)
            assert np.array_equal(file["observations/qpos"], e.obs["state"][:-1])
            assert np.array_equal(file["observations/qvel"], e.obs["qvel"][:-1])
            assert np.array_equal(file["observations/images/top"], e.obs["top"][:-1])
            assert file["action"].dtype == file["observations/qpos"].dtype == np.float32


def test_what_matters_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Say sim=yes or sim=no"):
        formats.write(tmp_path / "a", episodes(), "act")
    two = Episode.demonstration({"left": np.zeros((3, 2)), "right": np.zeros((3, 2))}, np.zeros((2, 1)))
    with pytest.raises(DataError, match="Say qpos=NAME, one of left, right"):
        formats.write(tmp_path / "a", [two], "act", SIMULATED)
    with pytest.raises(DataError, match="no observation 'nose' of joints; there are left, right"):
        formats.write(tmp_path / "a", [two], "act", act.Writing(sim="yes", qpos="left", qvel="nose"))
    assert not list(tmp_path.iterdir())
    formats.write(tmp_path / "a", [two], "act", act.Writing(sim="yes", qpos="right", qvel="left"))
    assert list(formats.stream(tmp_path / "a", guard=False)) == [two]


def aloha(path: Path, steps: int, number: int, *, packed: bool = False) -> None:
    """As ALOHA's recorder writes it, or a fork that packs its images."""
    from PIL import Image

    y, x = np.mgrid[:24, :32].astype(np.uint8)
    image = np.stack([np.stack([x * 7, y * 9, x * 0 + 10 * t], -1) for t in range(steps)])
    path.mkdir(exist_ok=True)
    with h5py.File(path / f"episode_{number}.hdf5", "w") as file:
        file.attrs["sim"] = False
        file["action"] = np.full((steps, 14), number, np.float32)
        file["observations/qpos"] = np.arange(steps * 14.0).reshape(steps, 14).astype(np.float32)
        file["observations/qvel"] = np.zeros((steps, 14), np.float32)
        file["base_action"] = np.zeros((steps, 2))
        if not packed:
            file["observations/images/top"] = image
            return
        file.attrs["compress"] = True
        blobs = []
        for one in image:
            out = io.BytesIO()
            Image.fromarray(one[..., ::-1]).save(out, "JPEG", quality=95)  # as OpenCV would take it
            blobs.append(np.frombuffer(out.getvalue(), np.uint8))
        rows = np.zeros((steps, max(map(len, blobs))), np.uint8)
        for row, blob in zip(rows, blobs, strict=True):
            row[: len(blob)] = blob
        file["observations/images/top"] = rows
        file["compress_len"] = np.array([[len(b) for b in blobs]])


def test_alohas_folder_opens_in_the_order_of_the_numbers(tmp_path: Path) -> None:
    for number, steps in ((10, 3), (2, 5)):
        aloha(tmp_path / "a", steps, number)
    with collected() as notes:
        data = formats.read(tmp_path / "a", options=act.Reading(task="fold", velocities=False))
    assert [e.meta for e in data] == [{"episode": i, "sim": 0, "task": "fold"} for i in (2, 10)]
    assert [len(e) for e in data] == [5, 3]
    assert sorted(data[0].obs) == ["qpos", "top"]
    assert data[0].action[0, 0] == 2
    assert np.array_equal(data[0].obs["top"][-1], data[0].obs["top"][-2])
    assert data[0].success is None
    assert notes == {"left out 'base_action'": 2}
    one = formats.read(tmp_path / "a" / "episode_10.hdf5", guard=False)
    assert len(one[0]) == 3
    with pytest.raises(DataError, match="no camera 'left'; there are top"):
        formats.read(tmp_path / "a", options=act.Reading(cameras=("left",)), guard=False)


def test_packed_images_come_out_as_they_went_in(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    aloha(tmp_path / "plain", 3, 0)
    aloha(tmp_path / "packed", 3, 0, packed=True)
    plain = formats.read(tmp_path / "plain", guard=False)[0].obs["top"].astype(int)
    packed = formats.read(tmp_path / "packed")[0].obs["top"].astype(int)
    assert packed.shape == plain.shape
    assert np.abs(packed - plain).mean() < 4  # the codec's error; channels exchanged would make it 80


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    aloha(tmp_path / "a", 3, 0)
    aloha(tmp_path / "b", 3, 1)
    (tmp_path / "a" / "episode_1.hdf5").symlink_to(tmp_path / "b" / "episode_1.hdf5")
    with pytest.raises(DataError, match="link that leads out"):
        formats.read(tmp_path / "a")
