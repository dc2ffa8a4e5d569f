"""Plain arrays, npz and CSV: exact round trips, files of others, and hostile ones."""

from __future__ import annotations

import csv
import io
import json
import pickle
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

import formats_samples as samples
from understudy import formats
from understudy.episode import Episode
from understudy.formats import arrays
from understudy.formats.arrays import Reading, Writing
from understudy.formats.notes import collected
from understudy.storage import DataError


def read(path: Path, **options: Any) -> list[Episode]:
    return list(arrays.episodes(path, Reading(**options)))


def write(path: Path, episodes: list[Episode], **options: Any) -> Path:
    arrays.write(path, episodes, Writing(**options))
    return path


def npz(path: Path, **columns: Any) -> Path:
    np.savez(path, **columns)
    return path


def table(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


# ------------------------------------------------------------------------------------------- round trips


@pytest.mark.parametrize(
    ("name", "kind"), [("a.npz", "auto"), ("a", "auto"), ("a", "npz"), ("a.csv", "auto"), ("a", "csv")]
)
@pytest.mark.parametrize("discrete", [False, True])
def test_everything_comes_back_to_the_last_bit(tmp_path: Path, name: str, kind: str, discrete: bool) -> None:
    pictures = "csv" not in (name[-3:], kind)
    given = samples.sample_episodes(12, pictures=pictures, discrete=discrete)
    path = write(tmp_path / name, given, kind=kind)
    assert formats.recognise(path) == "arrays"
    back = read(path)
    assert back == given  # in order: episode_000010 comes after episode_000009
    for a, b in zip(given, back, strict=True):
        assert list(a.obs) == list(b.obs)
        assert [v.tobytes() for v in a.obs.values()] == [v.tobytes() for v in b.obs.values()]
        assert a.action.dtype == b.action.dtype


@settings(max_examples=30, deadline=None)
@drawn(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=40))
def test_nine_digits_are_enough_for_every_float32(
    tmp_path_factory: pytest.TempPathFactory, x: list[float]
) -> None:
    column = np.array(x, np.float32)[:, None]
    e = Episode.demonstration({"s": column}, column[1:], column[1:, 0])
    (back,) = read(write(tmp_path_factory.mktemp("csv") / "a.csv", [e]))
    assert back.obs["s"].tobytes() == column.tobytes()
    assert back.action.tobytes() == e.action.tobytes()
    assert back.reward.tobytes() == e.reward.tobytes()


def test_numpy_opens_what_we_write(tmp_path: Path) -> None:
    given = samples.sample_episodes()
    for packed in (True, False):
        with np.load(write(tmp_path / f"{packed}.npz", given, packed=packed)) as file:
            assert file["episode_ends"].tolist() == [4, 9, 15]
            assert np.array_equal(file["action"], np.concatenate([e.action for e in given]))
            assert np.array_equal(file["obs.state"], np.concatenate([e.obs["state"] for e in given]))
            assert file["obs.raw"].dtype == np.uint8


def test_a_table_can_be_read_by_anything(tmp_path: Path) -> None:
    given = samples.sample_episodes(pictures=False, discrete=True)
    with open(write(tmp_path / "a.csv", given), newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["episode"] for r in rows] == ["0"] * 5 + ["1"] * 6 + ["2"] * 7
    assert rows[0]["action"] == str(given[0].action[0, 0])
    assert rows[4]["action"] == ""
    assert np.float32(rows[4]["keypoint.3.1"]) == given[0].obs["keypoint"][4, 3, 1]
    assert (rows[3]["terminated"], rows[3]["success"], rows[8]["success"]) == ("1", "1", "")
    assert json.loads(rows[0]["understudy"])["meta"]["operator"] == "ann é"


def test_equal_data_make_equal_files(tmp_path: Path) -> None:
    given = samples.sample_episodes()
    first, second = (write(tmp_path / f"{i}.npz", given) for i in range(2))
    assert first.read_bytes() == second.read_bytes()


def test_names_that_mean_something_else_are_kept_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = (
        "reward",
        "time",
        "episode",
        "observations",
        "obs.x",
        "actions",
        "label",
        "success",
        "a,b",
        "c.d",
        "terminals",
    )
    one = Episode.demonstration({n: rng.random((4, 2)) for n in names}, rng.random((3, 1)))
    for name in ("a.npz", "a.csv"):
        (back,) = read(write(tmp_path / name, [one]))
        assert back == one
    for bad in ("a.0", "a\nb"):
        with pytest.raises(DataError, match="rename it"):
            write(tmp_path / "b.csv", [Episode.demonstration({bad: np.ones((2, 1))}, np.ones((1, 1)))])
    tricky = Episode.demonstration({"../../x": np.ones((2, 1)), "/etc/x": np.ones((2, 1))}, np.ones((1, 1)))
    path = write(tmp_path / "c.npz", [tricky])
    assert read(path) == [tricky]
    with zipfile.ZipFile(path) as archive:  # so that it can be extracted by anything
        assert not [n for n in archive.namelist() if "/" in n]


def test_writing_refuses_what_the_layout_cannot_hold(tmp_path: Path) -> None:
    given = samples.sample_episodes()
    for bad, said in (
        (("a.csv", {}), "holds images"),
        (("a", {"kind": "csv"}), "holds images"),
        (("a.npz", {"kind": "csv"}), "but csv was asked for"),
    ):
        with pytest.raises(DataError, match=said):
            write(tmp_path / bad[0], given, **bad[1])
    for name in ("a.csv", "a.npz", "a"):
        with pytest.raises(DataError, match="no episodes"):
            write(tmp_path / name, [])
    mixed = [given[0], *samples.sample_episodes(1, pictures=False)]
    with pytest.raises(DataError, match="episode 1 has"):
        write(tmp_path / "a.npz", mixed)
    assert list(tmp_path.iterdir()) == []
    path = write(tmp_path / "a.npz", given)
    with pytest.raises(DataError, match="there already"):
        write(path, given)
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


# ----------------------------------------------------------------------------------------- npz of others


def test_concatenated_arrays(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    action, state, goal = rng.random((7, 2)), rng.random((7, 3)), rng.random(7)
    reward, end = np.arange(7), np.array([0, 0, 1, 0, 0, 0, 0], bool)
    columns = {"actions": action, "observations": state, "goal": goal, "rewards": reward, "terminals": end}
    for ends in ({"episode_ends": np.array([3, 7])}, {"lengths": np.array([3, 4], np.uint8)}):
        first, second = read(npz(tmp_path / "a.npz", **columns, **ends, success=np.array([1, 0])))
        assert (len(first), len(second)) == (3, 4)
        assert np.array_equal(first.obs["state"], np.float32(state)[[0, 1, 2, 2]])
        assert second.obs["goal"].shape == (5, 1)
        assert second.reward.tolist() == [3, 4, 5, 6]
        assert (first.terminated, second.terminated) == (True, False)
        assert (first.success, second.success) == (True, False)


def test_an_archive_without_ends_is_one_episode(tmp_path: Path) -> None:
    x = np.arange(4.0)
    path = npz(
        tmp_path / "a.npz", action=np.array([1, 2, 3]), x=x, time=x * 2, success=np.True_, label=[3, 2, 1]
    )
    (e,) = read(path)
    assert e.action.dtype == np.int64
    assert e.obs["x"][:, 0].tolist() == x.tolist()  # with the state after the last action
    assert e.time.tolist() == [0, 2, 4, 6]
    assert e.success is True
    assert e.label[:, 0].tolist() == [3, 2, 1]
    (e,) = read(npz(tmp_path / "b.npz", action=np.ones(3), x=x[:3], time=x[:3]))
    assert e.time.tolist() == [0, 1, 2, 2]
    assert e.action.dtype == np.float32
    with collected() as notes:
        (e,) = read(npz(tmp_path / "c.npz", action=np.ones(3), x=x, version=np.array(7), other=np.ones(9)))
    assert e.obs.keys() == {"x"}
    assert set(notes) == {
        "version was left out: it has not a row a step",
        "other was left out: it has not a row a step",
    }


def test_options_name_arrays(tmp_path: Path) -> None:
    path = npz(
        tmp_path / "a.npz", u=np.ones((3, 1)), r=np.arange(3), q=np.zeros((4, 2)), action=np.full((3, 1), 9.0)
    )
    (e,) = read(path, action="u", reward="r", observations=("q",))
    assert e.action.tolist() == [[1], [1], [1]]
    assert e.reward.tolist() == [0, 1, 2]
    assert e.obs.keys() == {"q"}
    for options in ({"action": "no"}, {"reward": "no"}, {"observations": ("no",)}):
        with pytest.raises(DataError, match="has no 'no'"):
            read(path, **options)
    with pytest.raises(DataError, match="has no 'action'; it has x"):
        read(npz(tmp_path / "b.npz", x=np.ones(3)))
    with pytest.raises(DataError, match="both 'action' and 'actions'"):
        read(npz(tmp_path / "c.npz", x=np.ones(3), action=np.ones(3), actions=np.ones(3)))
    with pytest.raises(DataError, match="would be named 'state'"):
        read(npz(tmp_path / "d.npz", action=np.ones(3), state=np.ones(3), observations=np.ones(3)))


def test_orders_of_memory_and_of_bytes(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((6, 3, 4))
    path = npz(
        tmp_path / "a.npz",
        f=np.asfortranarray(x),
        b=x.astype(">f8"),
        h=x.astype(np.float16),
        flag=x > 0.5,
        action=np.ones(6),
        lengths=[2, 4],
    )
    both = read(path)
    for key, want in (("f", x), ("b", x), ("h", x.astype(np.float16)), ("flag", x > 0.5)):
        found = np.concatenate([e.obs[key][:-1] for e in both])
        assert np.array_equal(found, want.astype(np.float32))


# --------------------------------------------------------------------------------------- tables of others


def test_a_plain_table(tmp_path: Path) -> None:
    path = table(
        tmp_path / "a.csv",
        "\ufeffaction.0, action.1,speed,arm.1,arm.0,reward,episode,time,success,reward.0",
        "0.5,1e-3,1,4,3,1,a,10.5,,9",
        "1,2,2,6,5,-1,a,11.5,true,9",
        "",
        "7,8,3,0,0,0,b,1,FALSE,9",
        ",,4,0,0,,b,2,,9",
    )
    assert formats.recognise(path) == "arrays"
    first, second = read(path)
    assert first.action.tolist() == [[0.5, np.float32(1e-3)], [1, 2]]
    assert first.obs["speed"].tolist() == [[1], [2], [2]]
    assert first.obs["arm"].tolist() == [[3, 4], [5, 6], [5, 6]]
    assert first.reward.tolist() == [1, -1]
    assert first.obs["reward"].tolist() == [[9]] * 3  # a single number has no index
    assert first.time.tolist() == [10.5, 11.5, 11.5]
    assert (first.success, second.success, first.terminated) == (True, False, False)
    assert second.obs["speed"].tolist() == [[3], [4]]
    assert second.time.tolist() == [1, 2]


def test_actions_without_an_index_are_discrete_if_they_are_whole(tmp_path: Path) -> None:
    (e,) = read(table(tmp_path / "a.csv", "action,x", "3,1", "-1,1"))
    assert e.action.dtype == np.int64
    assert e.action.tolist() == [[3], [-1]]
    (e,) = read(table(tmp_path / "b.csv", "action,x", "3,1", "0.5,1"))
    assert e.action.dtype == np.float32
    (e,) = read(table(tmp_path / "c.csv", "action.0,x", "3,1", "1,1"))
    assert e.action.dtype == np.float32
    with pytest.raises(DataError, match="whole numbers in one episode and fractions in another"):
        read(table(tmp_path / "d.csv", "episode,action,x", "0,3,1", "1,0.5,1"))


def test_labels_only_where_the_expert_spoke(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", "action.0,label.0,x", "1,,5", "2,7,5", "3,,5")
    (e,) = read(path)
    assert e.labelled.tolist() == [False, True, False]
    assert e.label[:, 0].tolist() == [1, 7, 3]


def test_options_name_columns(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", "cmd.0,cmd.1,pay,text,x,y", "1,2,3,hello,5,6")
    assert not arrays.recognises(path)
    (e,) = read(path, action="cmd", reward="pay", observations=("x",))
    assert e.action.tolist() == [[1, 2]]
    assert e.reward.tolist() == [3]
    assert e.obs.keys() == {"x"}
    with pytest.raises(DataError, match=r"line 2.*column 'text' is 'hello'; a number is needed"):
        read(path, action="cmd")
    for options in ({"observations": ("z",)}, {"observations": ("x",), "reward": "z"}):
        with pytest.raises(DataError, match=r"a\.csv: no column is 'z'; the header has cmd\.0"):
            read(path, action="cmd", **options)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "is empty|no column"),
        (["1,2,3", "4,5,6"], "no column is 'action'"),
        (["action.0"], "no column is 'an observation'"),
        (["action.0,x", "1"], "line 2 .*1 cells; the header has 2"),
        (["action.0,x", "1,2,3"], "3 cells"),
        (["action.0,x", "one,2"], "'action.0' is 'one'; a number is needed"),
        (["action.0,x", "1,"], "'x' is ''; a number is needed"),
        (["action.0,x", "1,nan"], "must be finite"),
        (["action.0,x", "1,1e60"], "must be finite"),
        (["action.0,x", ",2", "1,2"], "must be an episode's last"),
        (["action.0,x", ",2"], "has no actions"),
        (["action.0,action.2,x", "1,2,3"], "must be numbered from 0"),
        (["action.0,action.00,x", "1,2,3"], "two columns are"),
        (["action.0,action,x", "1,2,3"], "must be numbered from 0"),
        (["action.0,x,x", "1,2,3"], "twice"),
        (["action.0,x.0,x.0.0", "1,2,3"], "must be numbered from 0"),
        (["action.0,x.999999.999999", "1,2"], "must be numbered from 0"),
        (["action.0,reward,rewards,x", "1,2,3,4"], "two columns are 'reward'"),
        (["action.0,episode,x", "1,a,1", "1,b,1", "1,a,1"], "rows must be together"),
        (["action.0,time,x", "1,2,1", "1,1,1"], "time goes back"),
        (["action.0,time,x", "1,2,1", "1,,1"], "cannot be read"),
        (["action.0,success,x", "1,maybe,1"], "cannot be read"),
        (["action.0,reward,x", "1,lots,1"], "cannot be read"),
        (["action,x", "99999999999999999999999,1"], None),
        (["action,x", "9999999999999999999,1"], "cannot be read"),
        (["action.0,understudy,x", "1,{},1"], "not of the form"),
        (["action.0,understudy,x", f"1,{'[' * 10_000},1"], "cannot be read"),
        (['action.0,x', '1,"2'], "cannot be read"),
        (["action.0," + "x" * 5000, "1,2"], "too long names"),
        (["action.0," + ".1" * 4_000, "1,2"], "too long names"),
    ],
)  # fmt: skip
def test_tables_that_cannot_be(tmp_path: Path, lines: list[str], said: str | None) -> None:
    path = table(tmp_path / "a.csv", *lines)
    if said is None:
        assert read(path)[0].action.dtype == np.float32  # no int64, so it is no choice
        return
    with pytest.raises(DataError, match=said) as error:
        read(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_one_long_number_among_many_takes_no_memory(tmp_path: Path) -> None:
    long = "1" + "0" * 30 + "." + "0" * 100_000
    path = table(tmp_path / "a.csv", "action.0,x", *["1,2"] * 2000, f"{long},3")
    tracemalloc.start()
    (e,) = read(path)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()
    assert e.action[-1, 0] == np.float32(1e30)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"action.0,x\n\xff\xfe,1\n")
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "a.csv")
    limit = csv.field_size_limit()
    (tmp_path / "b.csv").write_bytes(b"action.0,x\n1,1\n" + b"1" * (limit + 10) + b",1\n")
    with pytest.raises(DataError):
        read(tmp_path / "b.csv")
    assert csv.field_size_limit() == limit


# ----------------------------------------------------------------------------------------- hostile archives


class Trap:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.place,))


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    trap = np.array([Trap(marker)] * 3, object)
    for columns in ({"action": trap, "x": np.ones(3)}, {"action": np.ones(3), "x": trap}):
        path = npz(tmp_path / "a.npz", **columns)
        with pytest.raises(DataError, match=r"is object\[3\]; plain numbers are needed"):
            read(path)
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("action.npy", pickle.dumps(Trap(marker)))
        archive.writestr("x.npy", pickle.dumps(Trap(marker)))
    with pytest.raises(DataError, match="magic"):
        read(tmp_path / "b.npz")
    (tmp_path / "c.npz").write_bytes(pickle.dumps(Trap(marker)))
    with pytest.raises(DataError, match="not a zip file"):
        read(tmp_path / "c.npz")
    assert not marker.exists()
    good = npz(tmp_path / "d.npz", action=np.ones(3), x=np.ones(3), info=trap)
    assert len(read(good, observations=("x",))[0]) == 3  # what is not asked for is not opened


def header(text: str, content: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    size = len(text).to_bytes(2 if version == b"\x01\x00" else 4, "little")
    return b"\x93NUMPY" + version + size + text.encode() + content


def described(shape: str, descr: str = "'<f8'", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (header(described("(1000000000000,)"), bytes(24)), "declares 8000000000000 bytes"),
        (header(described("(3, 0)")), "no values in it"),
        (header(described("(-3,)"), bytes(24)), "declares|cannot be read"),
        (header(described("(2,)"), bytes(24)), "declares 16 bytes"),
        (header(described("(3,)", "'|O'"), bytes(24)), "object"),
        (header(described("(3,)", "[('a', '<f8')]"), bytes(24)), "plain numbers"),
        (header(described("(3,)", "'<U2'"), bytes(24)), "plain numbers"),
        (header(described("(3,)", "'<M8[s]'"), bytes(24)), "plain numbers"),
        (header(described("(3,)", "'<c8'"), bytes(24)), "plain numbers"),
        (header(described("(1,) * 10**9"), bytes(24)), "cannot be read"),
        (header(described("__import__('os').system('true')"), bytes(24)), "cannot be read"),
        (header("(" * 60_000 + ")" * 4_000), "cannot be read"),
        (header(described("(3,)") + " " * 20_000, bytes(24)), "cannot be read"),
        (header(described("(3,)"), bytes(24), b"\x03\x00"), "version"),
        (header(described("(3,)"), bytes(24))[:40], "cannot be read"),
        (b"", "cannot be read"),
    ],
)
def test_headers_that_lie(tmp_path: Path, member: bytes, said: str) -> None:
    good = io.BytesIO()
    np.save(good, np.ones(3))
    for bad in ("action", "x"):
        path = tmp_path / f"{bad}.npz"
        with zipfile.ZipFile(path, "w") as archive:
            for name in ("action", "x"):
                archive.writestr(f"{name}.npy", member if name == bad else good.getvalue())
        with pytest.raises(DataError, match=said) as error:
            read(path)
        assert "\n" not in str(error.value)


def test_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, action=np.zeros(1 << 20), x=np.zeros(1 << 20))
    size = ((1 << 23) + 128).to_bytes(4, "little")
    content = path.read_bytes()
    assert content.count(size) >= 2
    path.write_bytes(content.replace(size, (2**32 - 2).to_bytes(4, "little")))
    tracemalloc.start()
    with pytest.raises(DataError, match="claims"):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_members_that_overlap_or_come_twice(tmp_path: Path) -> None:
    path = samples.sample_arrays(tmp_path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("action.npy", b"x")
    with pytest.raises(DataError, match="twice"):
        read(path)
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("action.npy", bytes(1000))
        info = archive.getinfo("action.npy")
        for i in range(20):
            other = zipfile.ZipInfo(f"x{i}.npy")
            other.header_offset, other.compress_size, other.file_size = info.header_offset, 1000, 1000
            other.CRC = info.CRC
            archive.filelist.append(other)
        archive._didModify = True
    with pytest.raises(DataError, match="overlap"):
        read(tmp_path / "b.npz")


def test_a_bit_flipped_in_an_archive_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", samples.sample_episodes(), packed=False)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        inside = archive.getinfo("obs.state.npy").header_offset + 250
    content[inside] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match="CRC"):
        read(path)


def test_facts_of_ours_are_checked(tmp_path: Path) -> None:
    path = samples.sample_arrays(tmp_path)
    with np.load(path) as file:
        columns = dict(file)
    good = json.loads(columns["understudy"].tobytes())
    for wrong in (
        {"episodes": good["episodes"][:2]},
        {"episodes": [good["episodes"][0] | {"meta": 3}] * 3},
        {"episodes": [good["episodes"][0] | {"extras": ["label", "labelled", "time"]}] * 3},
        {},
    ):
        said = np.frombuffer(json.dumps(wrong).encode(), np.uint8)
        with pytest.raises(DataError):
            read(npz(tmp_path / "b.npz", **(columns | {"understudy": said})))
    del columns["time"]
    with pytest.raises(DataError, match="has no 'time', of which 'understudy' tells"):
        read(npz(tmp_path / "b.npz", **columns))


def test_ends_that_cannot_be(tmp_path: Path) -> None:
    x = {"action": np.ones(6), "x": np.ones(6)}
    for ends in ([6, 3], [3], [3, 7], [0, 6], [-1, 6], [3.0, 6.0], [[3, 6]], [], [2**62, -(2**62) + 6]):
        with pytest.raises(DataError, match="end"):
            read(npz(tmp_path / "a.npz", **x, episode_ends=np.array(ends)))
    with pytest.raises(DataError, match="both 'episode_ends' and 'lengths'"):
        read(npz(tmp_path / "a.npz", **x, episode_ends=[6], lengths=[6]))


def test_folders_hold_nothing_else_and_links_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", samples.sample_episodes())
    (folder / "notes.txt").touch()
    assert not arrays.recognises(folder)
    (folder / "notes.txt").unlink()
    (folder / "episode_000001.npz").rename(tmp_path / "outside.npz")
    (folder / "episode_000001.npz").symlink_to(tmp_path / "outside.npz")
    with pytest.raises(DataError, match="leads out"):
        read(folder)
    with pytest.raises(DataError, match=r"neither in \.npz nor in \.csv"):
        read(table(tmp_path / "a.txt", "action.0,x", "1,2"))
