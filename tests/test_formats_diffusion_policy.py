"""diffusion_policy's replay buffers: exact round trips, stores of other writers, and hostile ones."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import formats_samples as samples
from understudy import formats
from understudy.episode import Episode
from understudy.formats import diffusion_policy
from understudy.formats.diffusion_policy import Reading, Writing
from understudy.formats.notes import collected
from understudy.storage import DataError

numcodecs = pytest.importorskip("numcodecs")
zarr = pytest.importorskip("zarr")


def read(path: Path, **options: Any) -> list[Episode]:
    return list(diffusion_policy.episodes(path, Reading(**options)))


def write(path: Path, episodes: list[Episode], **options: Any) -> Path:
    diffusion_policy.write(path, episodes, Writing(**options))
    return path


def foreign(path: Path, ends: list[int], **arrays: np.ndarray) -> Path:
    """A store of format 2 as the zarr package writes it, with nothing of ours."""
    root = zarr.open_group(str(path), mode="w", zarr_format=2)
    data, meta = root.create_group("data"), root.create_group("meta")
    for name, x in arrays.items():
        chunks = (min(7, len(x)), *(max(1, -(-n // 2)) for n in x.shape[1:]))
        data.create_array(name, data=x, chunks=chunks, compressors=numcodecs.Blosc("zstd"))
    meta.create_array("episode_ends", data=np.array(ends, np.int64))
    return path


def change(path: Path, array: str, **changes: Any) -> None:
    place = path / array / ".zarray"
    place.write_text(json.dumps(json.loads(place.read_text()) | changes))


def sums(path: Path) -> Iterator[tuple[str, int]]:
    return ((str(p), p.stat().st_size) for p in sorted(path.rglob("*")))


# ------------------------------------------------------------------------------------------- round trips


@pytest.mark.parametrize("name", ["a.zarr", "a.zarr.zip"])
@pytest.mark.parametrize("compression", ["blosc", "none"])
@pytest.mark.parametrize("discrete", [False, True])
def test_everything_comes_back_to_the_last_bit(
    tmp_path: Path, name: str, compression: str, discrete: bool
) -> None:
    given = samples.sample_episodes(5, discrete=discrete)
    path = write(tmp_path / name, given, compression=compression)
    assert formats.recognise(path) == "diffusion_policy"
    back = read(path)
    assert back == given
    for a, b in zip(given, back, strict=True):
        assert list(a.obs) == list(b.obs)
        assert [v.tobytes() for v in a.obs.values()] == [b.obs[k].tobytes() for k in a.obs]  # -0.0 too
        assert b.action.dtype == a.action.dtype


def test_long_episodes_cross_chunks(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    given = [
        Episode.demonstration(
            {"img": rng.integers(0, 256, (n + 1, 64, 64, 3), dtype=np.uint8)}, np.ones((n, 2))
        )
        for n in (130, 3, 85, 86)  # a chunk holds 85 of these pictures
    ]
    assert read(write(tmp_path / "a.zarr", given)) == given


def test_equal_data_make_equal_archives(tmp_path: Path) -> None:
    given = samples.sample_episodes()
    first, second = (write(tmp_path / f"{i}.zarr.zip", given) for i in range(2))
    assert first.read_bytes() == second.read_bytes()


def test_its_own_package_opens_what_we_write(tmp_path: Path) -> None:
    given = samples.sample_episodes()
    for path in (write(tmp_path / "a.zarr", given), write(tmp_path / "a.zarr.zip", given)):
        store = zarr.storage.ZipStore(path) if path.suffix == ".zip" else str(path)
        root = zarr.open_group(store, mode="r")
        ends = root["meta/episode_ends"][:]
        assert ends.tolist() == [4, 9, 15]
        # What its ReplayBuffer asserts when it opens a store.
        assert all(v.shape[0] == ends[-1] for _, v in root["data"].arrays())
        assert [k for k, _ in root["data"].groups()] == [k for k, _ in root["meta"].groups()] == []
        for key, name in (("state", "state"), ("camera/front é", "camera%2Ffront %C3%A9")):
            want = np.concatenate([e.obs[key][:-1] for e in given])
            found = root[f"data/{name}"][:]
            assert found.dtype == want.dtype
            assert np.array_equal(found, want)
        assert np.array_equal(root["data/action"][:], np.concatenate([e.action for e in given]))
        if path.suffix == ".zip":
            store.close()


# --------------------------------------------------------------------------------------- files of others


def push_t() -> tuple[list[int], dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    arrays = {
        "action": rng.random((20, 2)).astype(np.float32),
        "img": rng.integers(0, 256, (20, 12, 10, 3)).astype(np.float32),
        "keypoint": rng.random((20, 9, 2)).astype(np.float32),
        "n_contacts": np.arange(20.0, dtype=np.float32)[:, None],
        "state": rng.random((20, 5)),
    }
    return [8, 11, 20], arrays


def test_push_t_is_read_by_its_conventions(tmp_path: Path) -> None:
    ends, arrays = push_t()
    path = foreign(tmp_path / "pusht.zarr", ends, **arrays)
    assert formats.recognise(path) == "diffusion_policy"
    with collected() as notes:
        episodes = read(path)
    assert [len(e) for e in episodes] == [8, 3, 9]
    assert list(notes) == ["the state after the last action is not stored; the last state stands in for it"]
    start = 0
    for e, end in zip(episodes, ends, strict=True):
        assert e.obs.keys() == {"img", "keypoint", "n_contacts", "state"}
        assert e.obs["img"].dtype == np.uint8
        assert e.obs["keypoint"].shape == (len(e) + 1, 9, 2)
        for key in e.obs:
            assert np.array_equal(e.obs[key][:-1], arrays[key][start:end].astype(e.obs[key].dtype))
            assert np.array_equal(e.obs[key][-1], e.obs[key][-2])
        assert np.array_equal(e.action, arrays["action"][start:end])
        assert not e.reward.any()
        assert e.success is None
        start = end


def test_options_choose_keys(tmp_path: Path) -> None:
    ends, arrays = push_t()
    path = foreign(tmp_path / "a.zarr", ends, **arrays)
    (first, *_) = read(path, action="state", observations=("keypoint",), reward="n_contacts")
    assert first.obs.keys() == {"keypoint"}
    assert first.action.shape == (8, 5)
    assert first.reward.tolist() == list(range(8))
    for options in ({"action": "nothing"}, {"observations": ("no",)}, {"reward": "none"}):
        with pytest.raises(DataError, match=r"has no data/no.*; there are action, img, keypoint"):
            read(path, **options)


def test_float_images_become_exact_or_stay(tmp_path: Path) -> None:
    ends, arrays = push_t()
    arrays["img"][15, 0, 0, 0] = 0.5  # in the last episode
    path = foreign(tmp_path / "a.zarr", ends, **arrays)
    with pytest.raises(DataError, match="float_images='keep'"):
        read(path)
    assert read(path, float_images="keep")[2].obs["img"][4, 0, 0, 0] == 0.5
    arrays["img"][0, 0, 0, 0] = 0.25  # now the first one says that they are no pictures
    path = foreign(tmp_path / "b.zarr", ends, **arrays)
    assert read(path)[0].obs["img"].dtype == np.float32
    with pytest.raises(DataError, match="not whole numbers"):
        read(path, float_images="uint8")


def test_integer_actions_of_width_one_are_discrete(tmp_path: Path) -> None:
    path = foreign(tmp_path / "a.zarr", [3], action=np.array([1, 5, 2]), state=np.zeros(3))
    (e,) = read(path)
    assert e.action.dtype == np.int64
    assert e.action.tolist() == [[1], [5], [2]]
    assert e.obs["state"].shape == (4, 1)
    wide = foreign(tmp_path / "b.zarr", [3], action=np.arange(6).reshape(3, 2), state=np.zeros(3))
    assert read(wide)[0].action.dtype == np.float32


@pytest.mark.parametrize(
    "codec",
    [
        numcodecs.Blosc("lz4", shuffle=0),
        numcodecs.Blosc("blosclz"),
        numcodecs.Zstd(),
        numcodecs.LZ4(),
        numcodecs.Zlib(),
        numcodecs.GZip(),
        numcodecs.BZ2(),
        numcodecs.LZMA(),
        None,
    ],
    ids=str,
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_codecs_and_orders(tmp_path: Path, codec: Any, order: str) -> None:
    rng = np.random.default_rng(0)
    want = rng.random((11, 3, 4)).astype(np.float32)
    path = foreign(tmp_path / "a.zarr", [4, 11], action=np.ones((11, 1)))
    array = zarr.open_group(str(path), mode="a")["data"].create_array(
        "x", shape=want.shape, dtype=want.dtype, chunks=(3, 2, 3), compressors=codec, order=order
    )
    array[:] = want
    assert np.array_equal(np.concatenate([e.obs["x"][:-1] for e in read(path)]), want)


def test_chunks_in_folders_big_endians_and_absent_chunks(tmp_path: Path) -> None:
    path = foreign(tmp_path / "a.zarr", [4], action=np.ones((4, 1)))
    made = path / "data" / "x"
    (made / "0").mkdir(parents=True)
    said = {"zarr_format": 2, "shape": [4, 3], "chunks": [2, 2], "dtype": ">f4", "compressor": None}
    said |= {"fill_value": 7.5, "order": "C", "filters": None, "dimension_separator": "/"}
    (made / ".zarray").write_text(json.dumps(said))
    (made / "0" / "0").write_bytes(np.arange(4, dtype=">f4").tobytes())
    (e,) = read(path)
    assert e.obs["x"][:4].tolist() == [[0, 1, 7.5], [2, 3, 7.5], [7.5] * 3, [7.5] * 3]


# ------------------------------------------------------------------------------------------ what is wrong


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return foreign(tmp_path / "a.zarr", [4, 9], action=np.ones((9, 2)), state=np.ones((9, 3)))


@pytest.mark.parametrize(
    ("array", "changes", "said"),
    [
        ("data/state", {"dtype": "|O"}, "holds no plain numbers"),
        ("data/state", {"dtype": "<U8"}, "holds no plain numbers"),
        ("data/state", {"dtype": [["a", "<f4"]]}, "holds no plain numbers"),
        ("data/state", {"filters": [{"id": "pickle"}]}, "arrays with filters are not read"),
        ("data/state", {"compressor": {"id": "pickle"}}, "compressor 'pickle'"),
        ("data/state", {"compressor": {"id": "vlen-utf8"}}, "compressor 'vlen-utf8'"),
        ("data/state", {"zarr_format": 3}, "zarr format 3"),
        ("data/state", {"shape": [9, -3]}, "is no shape"),
        ("data/state", {"shape": [9, 2**40]}, "claims"),
        ("data/state", {"shape": [9, 0]}, "holds no values"),
        ("data/state", {"shape": [9]}, "but chunks"),
        ("data/state", {"shape": []}, "but chunks"),
        ("data/state", {"chunks": [0, 3]}, "holds no values"),
        ("data/state", {"chunks": [2**30, 2**10]}, "claims"),
        ("data/state", {"shape": [9, 2**20], "chunks": [1, 1]}, "of which"),
        ("data/state", {"order": "Z"}, "order 'Z'"),
        ("data/state", {"dimension_separator": "/../"}, "separator '/../'"),
        ("data/state", {"shape": [8, 3]}, "has 8 rows, but the last episode ends at 9"),
        ("data/action", {"fill_value": "x"}, "cannot be read"),
        ("meta/episode_ends", {"dtype": "<f8"}, "must be .E. integers"),
        ("meta/episode_ends", {"shape": [0]}, "must be .E. integers"),
    ],
)
def test_descriptions_that_cannot_be(store: Path, array: str, changes: dict[str, Any], said: str) -> None:
    change(store, array, **changes)
    with pytest.raises(DataError, match=said) as error:
        read(store)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("ends", [[9, 4], [0, 9], [-4, 9], [4, 4, 9], [4, 10]])
def test_ends_must_grow_up_to_the_rows(tmp_path: Path, ends: list[int]) -> None:
    path = foreign(tmp_path / "a.zarr", ends, action=np.ones((9, 2)), state=np.ones((9, 3)))
    with pytest.raises(DataError, match=r"must grow|ends at 10"):
        read(path)


def test_a_chunk_must_unpack_to_what_is_declared(store: Path) -> None:
    place = store / "data" / "state" / "0.0"
    bomb = numcodecs.Blosc("zstd").encode(np.zeros(1 << 26, np.uint8))
    for content in (bomb, bomb[:20], b"", place.read_bytes()[:-1], b"\xff" * 40):
        place.write_bytes(content)
        with pytest.raises(DataError, match=r"state/0\.0 cannot be read"):
            read(store)


@pytest.mark.parametrize("codec", ["zlib", "gzip", "bz2", "lzma", "zstd", "lz4"])
def test_bombs_of_every_codec_are_not_unpacked(store: Path, codec: str) -> None:
    change(store, "data/state", compressor={"id": codec})
    packed = numcodecs.get_codec({"id": codec}).encode(np.zeros(1 << 22, np.uint8))
    for name in ("0.0", "0.1", "1.0", "1.1"):
        (store / "data" / "state" / name).write_bytes(packed[: 1 << 16])
    with pytest.raises(DataError, match="cannot be read"):
        read(store)


def test_many_arrays_together_may_not_claim_more_than_their_bytes(store: Path) -> None:
    for i in range(4):
        shutil.copytree(store / "data" / "state", store / "data" / f"more{i}")
        for chunk in (store / "data" / f"more{i}").glob("[0-9]*"):
            chunk.unlink()
        change(store, f"data/more{i}", shape=[9, 1 << 20], chunks=[9, 1 << 20], dtype="<f8")
    with pytest.raises(DataError, match=r"a\.zarr claims"):
        read(store)


def test_links_that_lead_out_are_refused(store: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    shutil.copytree(store / "data" / "state", outside)
    shutil.rmtree(store / "data" / "state")
    for there in (outside, "../data", ".."):
        (store / "data" / "state").symlink_to(there)
        with pytest.raises(DataError, match="is a link to a folder"):
            read(store)
        (store / "data" / "state").unlink()
    shutil.copytree(outside, store / "data" / "state")
    (store / "data" / "state" / "0.0").unlink()
    (store / "data" / "state" / "0.0").symlink_to("/etc/hostname")
    with pytest.raises(DataError, match="leads out"):
        read(store)


def test_a_pipe_in_place_of_a_chunk_does_not_stall(store: Path) -> None:
    (store / "data" / "state" / "0.0").unlink()
    os.mkfifo(store / "data" / "state" / "0.0")
    read(store)  # no regular file, so it counts as absent: the fill value


def test_archives_are_never_extracted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = samples.sample_diffusion_policy(tmp_path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../evil", b"x")
        archive.writestr("/tmp/evil", b"x")
        archive.writestr("data/../../../evil/.zarray", b"{}")
    monkeypatch.chdir(tmp_path)
    before = list(sums(tmp_path))
    assert read(path) == samples.sample_episodes()
    assert list(sums(tmp_path)) == before


@pytest.mark.parametrize("twice", ["data/state/.zarray", "meta/episode_ends/.zarray"])
def test_a_member_named_twice_is_refused(tmp_path: Path, twice: str) -> None:
    path = samples.sample_diffusion_policy(tmp_path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(twice, b"{}")
    with pytest.raises(DataError, match="names a member twice"):
        read(path)


def test_zip_bombs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("meta/episode_ends/.zarray", b"{}")
        for i in range(9):
            archive.writestr(f"data/state/{i}", bytes(54321))
    size = (54321).to_bytes(4, "little")
    assert path.read_bytes().count(size) == 18  # before each member, and in the directory
    path.write_bytes(path.read_bytes().replace(size, (2**31 - 1).to_bytes(4, "little")))
    with pytest.raises(DataError, match="claims"):
        read(path)


def test_facts_of_ours_are_checked(tmp_path: Path) -> None:
    path = samples.sample_diffusion_policy_folder(tmp_path)
    place = path / "understudy" / ".zattrs"
    good = json.loads(place.read_text())
    for wrong in (
        {"episodes": good["episodes"][:2]},
        {"episodes": [good["episodes"][0] | {"success": "maybe"}] * 3},
        {"episodes": [good["episodes"][0] | {"extras": ["../action"]}] * 3},
        {"episodes": [good["episodes"][0] | {"extras": ["label"]}] * 3},
        {"episodes": [good["episodes"][0] | {"meta": {"a": [1]}}] * 3},
        {},
        [],
    ):
        place.write_text(json.dumps(wrong))
        with pytest.raises((DataError, KeyError, TypeError)) as error:
            read(path)
        assert isinstance(error.value, DataError)
    place.write_text("[" * 100_000)
    with pytest.raises(DataError):
        read(path)


def test_writing_refuses_what_the_layout_cannot_hold(tmp_path: Path) -> None:
    one = Episode.demonstration({"action": np.ones((3, 1)), "x": np.ones((3, 1))}, np.ones((2, 1)))
    with pytest.raises(DataError, match="rename it"):
        write(tmp_path / "a.zarr", [one])
    with pytest.raises(DataError, match="no episodes"):
        write(tmp_path / "a.zarr", [])
    other = Episode.demonstration(np.ones((3, 2)), np.ones((2, 1)))
    with pytest.raises(DataError, match=r"episode 1 has obs\['state'\]"):
        write(tmp_path / "a.zarr.zip", [Episode.demonstration(np.ones((3, 1)), np.ones((2, 1))), other])
    assert list(tmp_path.iterdir()) == []
    path = write(tmp_path / "a.zarr", [other])
    with pytest.raises(DataError, match="there already"):
        write(path, [other])
    assert read(path) == [other]
