"""Minari: what we write opens in Minari with equal numbers and comes back exactly; its own datasets open."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from understudy import formats
from understudy.episode import Episode
from understudy.formats import minari as ours
from understudy.formats.notes import collected
from understudy.storage import DataError

h5py = pytest.importorskip("h5py")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    minari = pytest.importorskip("minari")
    gymnasium = pytest.importorskip("gymnasium")
    spaces = gymnasium.spaces


def episodes(*, images: bool = True) -> list[Episode]:
    """Three that differ in everything an episode can differ in."""
    rng = np.random.default_rng(0)
    made = []
    for i, steps in enumerate((4, 1, 6)):
        obs = {"z/wide": rng.standard_normal((steps + 1, 2, 3)), "state": rng.standard_normal((steps + 1, 3))}
        obs |= {"observation": rng.standard_normal((steps + 1, 1)), "_index_0": rng.random((steps + 1, 1))}
        if images:
            obs["front"] = rng.integers(0, 256, (steps + 1, 32, 32, 3), dtype=np.uint8)
        action = rng.standard_normal((steps, 2)).astype(np.float32)
        label = action if i == 0 else action[::-1] / 2
        labelled = np.arange(steps) % 2 == 0 if i == 2 else np.ones(steps, bool)
        time = None if i == 1 else np.cumsum(rng.random(steps + 1))
        meta = {"task": "stack", "operator": "ann", "seed": i, "noise": 0.1}
        success = (True, None, False)[i]
        said = (i == 0, success, meta, time, np.arange(steps) % 3 if i else None)
        made.append(Episode(obs, action, label, labelled, rng.standard_normal(steps), *said))
    return made


def sample(folder: Path) -> Path:
    """A small valid folder, for the fuzz test."""
    path = folder / "small-v0"
    formats.write(path, episodes(images=False), "minari")
    return path


def loaded(path: Path) -> Any:
    """The folder in Minari's own hands."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return minari.MinariDataset(path / "data")


@pytest.mark.parametrize("images", [False, True])
def test_a_round_trip_is_exact_and_minari_reads_the_same(tmp_path: Path, images: bool) -> None:
    given = episodes(images=images)
    path = tmp_path / "arm-v3"
    formats.write(path, given, "minari", ours.Writing(author="ann", description="blocks"))
    assert formats.recognise(path) == formats.recognise(path / "data") == "minari"
    back = list(formats.stream(path, guard=False))
    assert back == given
    assert [list(e.obs) for e in back] == [list(e.obs) for e in given]
    dataset = loaded(path)
    assert (dataset.total_episodes, dataset.total_steps, dataset.spec.dataset_id) == (3, 11, "arm-v3")
    assert dataset.storage.metadata["author"] == {"ann"}
    for e, theirs in zip(given, dataset.iterate_episodes(), strict=True):
        for key, column in e.obs.items():
            assert np.array_equal(theirs.observations[key.replace("/", ".")], column)
        assert np.array_equal(theirs.actions, e.action)
        assert np.array_equal(theirs.rewards, e.reward)
        assert theirs.terminations.tolist() == [False] * (len(e) - 1) + [e.terminated]
        assert theirs.truncations.tolist() == [False] * (len(e) - 1) + [not e.terminated]
        first = {k.replace("/", "."): v[0] for k, v in e.obs.items()}
        assert dataset.observation_space.contains(first)


def test_minari_finds_it_by_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    formats.write(tmp_path / "arm-v3", episodes(images=False), "minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert minari.load_dataset("arm-v3").total_steps == 11


def test_discrete_actions_come_back_as_such(tmp_path: Path) -> None:
    given = [Episode.demonstration(np.zeros((4, 2)), np.array([0, 3, 1]))]
    formats.write(tmp_path / "a", given, "minari", ours.Writing(choices=4))
    assert list(formats.stream(tmp_path / "a", guard=False)) == given
    dataset = loaded(tmp_path / "a")
    assert dataset.action_space == spaces.Discrete(4)
    assert next(iter(dataset.iterate_episodes())).actions.tolist() == [0, 3, 1]


def theirs(folder: Path, observation: Any, action: Any, buffers: list[dict[str, Any]], **how: Any) -> Path:
    """A dataset that Minari itself writes."""
    from minari.data_collector import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage

    storage = MinariStorage.new(
        folder / "data", observation_space=observation, action_space=action, data_format="hdf5", **how
    )
    storage.update_metadata({"dataset_id": "made-v0", "minari_version": minari.__version__})
    storage.update_episodes([EpisodeBuffer(id=i, **b) for i, b in enumerate(buffers)])
    return folder


def buffer(observations: Any, actions: Any, steps: int, **more: Any) -> dict[str, Any]:
    last = np.arange(steps) == steps - 1
    ends = {"rewards": np.arange(float(steps)), "terminations": last, "truncations": last & False}
    return {"observations": observations, "actions": actions} | ends | more


def test_minaris_own_nested_observations_open(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    space = spaces.Dict(
        {
            "observation": spaces.Box(-1, 1, (3,), np.float64),
            "goal": spaces.Dict({"at": spaces.Box(-1, 1, (2,)), "kind": spaces.Discrete(4)}),
            "words": spaces.Text(8),
        }
    )
    state, at = np.linspace(0, 1, 12).reshape(4, 3), np.zeros((4, 2), np.float32)
    seen = {"observation": state, "goal": {"at": at, "kind": np.array([1, 2, 3, 0])}, "words": ["a"] * 4}
    infos = {"success": np.array([False, True, False]), "other": np.zeros(3)}
    one = buffer(seen, np.ones((3, 2), np.float32), 3, seed=7, infos=infos)
    path = theirs(tmp_path / "m", space, spaces.Box(-1, 1, (2,)), [one, one])
    with collected() as notes:
        data = formats.read(path)
    e = data[1]
    assert sorted(e.obs) == ["goal.at", "goal.kind", "state"]
    assert np.array_equal(e.obs["state"], state.astype(np.float32))
    assert e.obs["goal.kind"][:, 0].tolist() == [1, 2, 3, 0]
    assert e.reward.tolist() == [0, 1, 2]
    assert (e.terminated, e.success, dict(e.meta)) == (True, True, {"seed": 7})
    assert notes == {"left out the texts in observation 'words'": 2}
    with pytest.raises(DataError, match="the infos have no 'won'"):
        formats.read(path, options=ours.Reading(success="won"), guard=False)


def test_minaris_packed_images_open(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    y, x = np.mgrid[:40, :36].astype(np.uint8)
    image = np.stack([np.stack([x * 5, y * 5, x * 0 + 9 * t], -1) for t in range(4)])
    path = theirs(
        tmp_path / "m",
        spaces.Box(0, 255, (40, 36, 3), np.uint8),
        spaces.Discrete(3),
        [buffer(image, np.array([0, 2, 1]), 3)],
    )
    e = formats.read(path)[0]
    want = next(iter(loaded(path).iterate_episodes())).observations
    assert np.array_equal(e.obs["state"], want)
    assert e.action.dtype == np.int64
    assert e.success is None


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    parts = spaces.Tuple((spaces.Discrete(2), spaces.Box(-1, 1, (2,))))
    one = buffer(np.zeros((3, 2)), (np.array([0, 1]), np.zeros((2, 2))), 2)
    path = theirs(tmp_path / "m", spaces.Box(-1, 1, (2,)), parts, [one])
    with pytest.raises(DataError, match=r"actions are of several parts \(Tuple\)"):
        formats.read(path, guard=False)
    said = json.loads((path / "data" / "metadata.json").read_text())
    (path / "data" / "metadata.json").write_text(json.dumps(said | {"data_format": "arrow"}))
    with pytest.raises(DataError, match="'arrow'; of Minari's storages only hdf5 is read"):
        formats.read(path, guard=False)
    with pytest.raises(DataError, match=r"dataset_id is '\.\./up-v0'"):
        formats.write(tmp_path / "b", episodes(), "minari", ours.Writing(dataset_id="../up-v0"))
    with pytest.raises(DataError, match=r"env_spec is '\{\}', which Gymnasium cannot read"):
        formats.write(tmp_path / "b", episodes(), "minari", ours.Writing(env_spec="{}"))
    assert not (tmp_path / "b").exists()


def test_the_environment_is_named(tmp_path: Path) -> None:
    spec = gymnasium.spec("CartPole-v1").to_json()
    one = Episode.demonstration(np.zeros((3, 4)), np.array([0, 1]), meta={"seed": 5})
    formats.write(tmp_path / "a", [one], "minari", ours.Writing(env_spec=spec, choices=2))
    assert loaded(tmp_path / "a").env_spec.id == "CartPole-v1"
    with h5py.File(tmp_path / "a" / "data" / "main_data.hdf5", "r+") as file:
        for episode in file.values():
            del episode["understudy"]  # as if another tool had written it
    e = formats.read(tmp_path / "a", guard=False)[0]
    assert (e.meta["task"], e.meta["seed"]) == ("CartPole-v1", 5)
    assert json.loads(str(e.meta["env_spec"]))["id"] == "CartPole-v1"
