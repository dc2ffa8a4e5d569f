"""imitation's trajectories: exact round trips, folders of other writers, and hostile ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import formats_samples as samples
from understudy import formats
from understudy.episode import Episode
from understudy.formats import imitation
from understudy.formats.imitation import Reading, Writing
from understudy.formats.notes import collected
from understudy.storage import DataError

datasets = pytest.importorskip("datasets")


def read(path: Path, **options: Any) -> list[Episode]:
    return list(imitation.episodes(path, Reading(**options)))


def write(path: Path, episodes: list[Episode], **options: Any) -> Path:
    imitation.write(path, episodes, Writing(**options))
    return path


def rows(count: int = 3) -> dict[str, list[Any]]:
    """What `imitation.data.huggingface_utils.trajectories_to_dict` makes."""
    rng = np.random.default_rng(0)
    lengths = [3 + i for i in range(count)]
    return {
        "obs": [rng.standard_normal((n + 1, 2)) for n in lengths],
        "acts": [rng.standard_normal((n, 2)).astype(np.float32) for n in lengths],
        "infos": [["{}"] * (n - 1) + ['{"is_success": true, "a": [1]}'] for n in lengths],
        "terminal": [i % 2 == 0 for i in range(count)],
        "rews": [rng.random(n) for n in lengths],
    }


def saved(path: Path, data: dict[str, list[Any]]) -> Path:
    """As `imitation.data.serialize.save` does."""
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict(data).save_to_disk(str(path))
    return path


# ------------------------------------------------------------------------------------------- round trips


@pytest.mark.parametrize("pictures", [False, True])
@pytest.mark.parametrize("discrete", [False, True])
def test_everything_comes_back_to_the_last_bit(tmp_path: Path, pictures: bool, discrete: bool) -> None:
    given = samples.sample_episodes(5, pictures=pictures, discrete=discrete)
    path = write(tmp_path / "a", given)
    assert formats.recognise(path) == "imitation"
    back = read(path)
    assert back == given
    for a, b in zip(given, back, strict=True):
        assert list(a.obs) == list(b.obs)
        assert [v.tobytes() for v in a.obs.values()] == [v.tobytes() for v in b.obs.values()]


@pytest.mark.parametrize("names", [("state",), ("keypoint", "obs"), ("raw",), ("camera/front é",)])
def test_the_observations_named_are_what_imitation_sees(tmp_path: Path, names: tuple[str, ...]) -> None:
    given = samples.sample_episodes()
    path = write(tmp_path / "a", given, observations=names)
    assert read(path) == given
    seen = datasets.load_from_disk(str(path))
    for i, e in enumerate(given):
        want = e.obs[names[0]]
        if len(names) > 1:
            want = np.concatenate([e.obs[k].reshape(len(e) + 1, -1) for k in names], 1)
        assert np.array_equal(np.array(seen[i]["obs"]), want)


def test_its_own_package_opens_what_we_write(tmp_path: Path) -> None:
    given = samples.sample_episodes(discrete=True)
    seen = datasets.load_from_disk(str(write(tmp_path / "a", given)))
    assert seen.column_names == ["obs", "acts", "infos", "terminal", "rews"]  # what its Trajectory takes
    low = ("state", "keypoint", "obs")
    for i, e in enumerate(given):
        row = seen[i]
        assert np.array_equal(row["obs"], np.concatenate([e.obs[k].reshape(len(e) + 1, -1) for k in low], 1))
        assert row["acts"] == e.action[:, 0].tolist()
        assert np.array_equal(row["rews"], e.reward)
        assert row["terminal"] is e.terminated
        assert len(row["infos"]) == len(e)
    assert [json.loads(seen[i]["infos"][-1]) for i in range(3)] == [
        {"is_success": True},
        {},
        {"is_success": False},
    ]


# --------------------------------------------------------------------------------------- files of others


def test_what_imitation_saves_is_read(tmp_path: Path) -> None:
    data = rows()
    path = saved(tmp_path / "a", data)
    assert formats.recognise(path) == "imitation"
    for i, e in enumerate(read(path)):
        assert e.obs.keys() == {"state"}
        assert np.array_equal(e.obs["state"], data["obs"][i].astype(np.float32))
        assert np.array_equal(e.action, data["acts"][i])
        assert np.array_equal(e.reward, data["rews"][i].astype(np.float32))
        assert e.terminated is (i % 2 == 0)
        assert e.success is True
    assert read(path, observation="joints", success="no")[0].obs.keys() == {"joints"}
    assert read(path, success="no")[0].success is None


def test_discrete_actions_pictures_and_no_rewards(tmp_path: Path) -> None:
    data = rows()
    del data["rews"]
    data["acts"] = [np.arange(len(a)) for a in data["acts"]]
    data["obs"] = [np.full((len(o), 6, 5, 3), i, np.uint8) for i, o in enumerate(data["obs"])]
    for i, e in enumerate(read(saved(tmp_path / "a", data))):
        assert e.action.dtype == np.int64
        assert e.action[:, 0].tolist() == list(range(3 + i))
        assert e.obs["state"].dtype == np.uint8
        assert (e.obs["state"] == i).all()
        assert not e.reward.any()


def test_observations_by_name(tmp_path: Path) -> None:
    data = rows()
    each = [{"arm": o, "grip": o[:, :1] + 1} for o in data["obs"]]
    data["obs"] = each
    for i, e in enumerate(read(saved(tmp_path / "a", data))):
        assert {k: v.shape[1:] for k, v in e.obs.items()} == {"arm": (2,), "grip": (1,)}
        assert np.array_equal(e.obs["arm"], each[i]["arm"].astype(np.float32))
    data["obs"] = [[{"arm": r.tolist(), "grip": r[0]} for r in o["arm"]] for o in each]
    for i, e in enumerate(read(saved(tmp_path / "b", data))):
        assert np.array_equal(e.obs["arm"], each[i]["arm"].astype(np.float32))
        assert e.obs["grip"].shape == (4 + i, 1)


def test_several_files_and_the_order_they_stand_in(tmp_path: Path) -> None:
    datasets.disable_progress_bars()
    path = tmp_path / "a"
    datasets.Dataset.from_dict(rows(7)).save_to_disk(str(path), num_shards=3)
    assert [len(e) for e in read(path)] == [3, 4, 5, 6, 7, 8, 9]


def test_infos_run_no_code(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    evil = json.dumps({"py/reduce": [{"py/function": "os.system"}, {"py/tuple": [f"touch {marker}"]}]})
    data = rows(1)
    data["infos"][0][-2:] = [evil, json.dumps({"is_success": json.loads(evil)})]
    with collected() as notes:
        (e,) = read(saved(tmp_path / "a", data))
    assert e.success is None
    assert notes == {"an info that is not plain JSON was left out": 2}
    assert not marker.exists()


def old(path: Path, **changes: Any) -> Path:
    """The npz of older versions."""
    data = rows()
    arrays = {k: np.concatenate(data[k]) for k in ("obs", "acts", "rews")}
    arrays |= {"indices": np.cumsum([3, 4]), "terminal": np.array(data["terminal"])}
    arrays |= {"infos": np.array([{}] * 12, object)}
    np.savez(path, **{k: v for k, v in (arrays | changes).items() if v is not None})
    return path


def test_the_npz_of_older_versions(tmp_path: Path) -> None:
    path = old(tmp_path / "a.npz")
    assert formats.recognise(path) == "imitation"
    with collected() as notes:
        back = read(path)
    assert list(notes) == ["infos are pickled and were left out"]
    data = rows()
    assert [len(e) for e in back] == [3, 4, 5]
    for i, e in enumerate(back):
        assert np.array_equal(e.obs["state"], data["obs"][i].astype(np.float32))
        assert np.array_equal(e.action, data["acts"][i])
        assert e.terminated is data["terminal"][i]
    assert not read(old(tmp_path / "b.npz", rews=None))[0].reward.any()
    for changes in (
        {"indices": np.array([3.0, 7.0])},
        {"indices": np.array([7, 3])},
        {"indices": np.array([3, 70])},
        {"indices": np.array([3])},
        {"terminal": np.array([True])},
        {"obs": np.zeros((12, 2))},
        {"obs": np.array([object()] * 15)},
        {"acts": np.zeros((12, 0))},
    ):
        with pytest.raises(DataError):
            read(old(tmp_path / "c.npz", **changes))


# ------------------------------------------------------------------------------------------ what is wrong


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"obs": [[[1.0], [2.0]]] * 3}, "one row more"),
        ({"obs": [[[1.0], [2.0, 3.0], [1.0], [1.0]]] * 3}, "unequal length"),
        ({"obs": [["a", "b", "c", "d"]] * 3}, "numbers are needed"),
        ({"obs": [1.0, 2.0, 3.0]}, "a list of numbers is needed"),
        ({"obs": [None, None, None]}, "is needed|is missing"),
        ({"obs": [[]] * 3}, "obs"),
        ({"acts": [[None, 1.0, 2.0]] * 3}, "gaps"),
        ({"acts": [[float("nan")] * 3] * 3}, "must be finite"),
        ({"rews": [[1.0]] * 3}, "reward has shape"),
        ({"terminal": None}, "no dataset of a known format"),
    ],
)
def test_columns_that_cannot_be(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    data = {k: v for k, v in (rows() | change).items() if v is not None}
    with pytest.raises(DataError, match=said) as error:
        formats.read(saved(tmp_path / "a", data), guard=False)
    assert "\n" not in str(error.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return saved(tmp_path / "a", rows())


def test_files_outside_the_folder_are_not_opened(folder: Path, tmp_path: Path) -> None:
    state = json.loads((folder / "state.json").read_text())
    data = folder / state["_data_files"][0]["filename"]
    shutil.move(data, tmp_path / "outside.arrow")
    for name in ("../outside.arrow", str(tmp_path / "outside.arrow"), "x/../../outside.arrow"):
        (folder / "state.json").write_text(json.dumps(state | {"_data_files": [{"filename": name}]}))
        with pytest.raises(DataError, match=r"leads out|cannot be opened"):
            read(folder)
    (folder / "state.json").write_text(json.dumps(state))
    data.symlink_to(tmp_path / "outside.arrow")
    with pytest.raises(DataError, match="leads out"):
        read(folder)
    data.unlink()
    with pytest.raises(DataError, match="cannot be opened"):
        read(folder)


@pytest.mark.parametrize(
    "state",
    ["", "[]", "{}", '{"_data_files": [1]}', '{"_data_files": [], "_indices_data_files": [1]}', "[" * 10_000],
)
def test_states_that_cannot_be(folder: Path, state: str) -> None:
    (folder / "state.json").write_text(state)
    with pytest.raises(DataError, match=r"state\.json cannot be read"):
        read(folder)


def test_a_stream_that_unfolds_to_more_than_it_can_hold(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = json.loads((folder / "state.json").read_text())["_data_files"][0]["filename"]
    flat = pa.ListArray.from_arrays(pa.array([0, 1 << 20], pa.int32()), pa.array(np.zeros(1 << 20)))
    batch = pa.record_batch([flat, flat, pa.array([True])], ["obs", "acts", "terminal"])
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(str(folder / name), batch.schema, options=options) as stream:
        stream.write_batch(batch)
    assert (folder / name).stat().st_size < 1 << 16
    monkeypatch.setattr(imitation, "may_unfold", lambda size: (1 << 20) + size)  # instead of 256 MiB
    with pytest.raises(DataError, match=r"claims \d+ bytes in"):
        read(folder)


def test_our_own_file_is_checked(tmp_path: Path) -> None:
    given = samples.sample_episodes()
    path = write(tmp_path / "a", given)
    good = (path / "understudy.arrow").read_bytes()
    with pa.ipc.open_stream(good) as stream:
        schema, table = stream.schema, stream.read_all()
    rewritten: list[tuple[Any, Any]] = [
        (table.slice(0, 2), schema),
        (table, schema.with_metadata({})),
        (
            table,
            schema.with_metadata({"understudy": '{"observations": [["state", [5]]], "order": ["state"]}'}),
        ),
        (table, schema.with_metadata({"understudy": '{"observations": [], "order": []}'})),
        (table.set_column(0, "facts", pa.array(["{}"] * 3)), schema),
        (table.set_column(0, "facts", pa.array(['{"extras": ["x"]}'] * 3)), schema),
    ]
    for entry in ({"dtype": "object"}, {"shape": [-1, 2]}, {"shape": [2**40, 2**40]}, {"data": b"1"}):
        arrays = [[row | entry for row in rows_] for rows_ in table["arrays"].to_pylist()]
        column = pa.array(arrays, table.schema.field("arrays").type)
        rewritten.append((table.set_column(1, "arrays", column), schema))
    for changed, its_schema in rewritten:
        with pa.ipc.new_stream(str(path / "understudy.arrow"), its_schema) as out:
            out.write_table(changed)
        with pytest.raises(DataError) as error:
            read(path)
        assert "\n" not in str(error.value)
    (path / "understudy.arrow").write_bytes(good)
    assert read(path) == given
    (path / "understudy.arrow").unlink()  # then it is a folder like any other
    assert [e.obs["state"].shape for e in read(path)] == [(5, 12), (6, 12), (7, 12)]


def test_writing_refuses_what_does_not_go_into_one_observation(tmp_path: Path) -> None:
    given = samples.sample_episodes()
    for options in ({"observations": ("state", "raw")}, {"observations": ("nothing",)}):
        with pytest.raises(DataError, match="observation"):
            write(tmp_path / "a", given, **options)
    only = [
        Episode(
            {k: v for k, v in e.obs.items() if v.dtype == np.uint8},
            e.action, e.label, e.labelled, e.reward, e.terminated, e.success, e.meta, e.time,
            e.control,
        )
        for e in given
    ]  # fmt: skip
    with pytest.raises(DataError, match="name it with observations="):
        write(tmp_path / "a", only)
    with pytest.raises(DataError, match="no episodes"):
        write(tmp_path / "a", [])
    assert list(tmp_path.iterdir()) == []
    assert read(write(tmp_path / "a", only, observations=("raw",))) == only
    with pytest.raises(DataError, match="there already"):
        write(tmp_path / "a", only, observations=("raw",))
