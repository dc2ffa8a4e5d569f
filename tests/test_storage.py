"""The native dataset: nothing is lost, nothing changes by a bit, nothing hostile gets through."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy import storage
from understudy.dataset import Dataset
from understudy.episode import Episode
from understudy.storage import DataError, Writer
from understudy.storage.files import Commit
from understudy.storage.footer import claimed_values, unfolds_to
from understudy.storage.statistics import QUANTILES, Histogram, Numbers, Sketch

SAMPLE = Path(__file__).parent / "data" / "lerobot_v3_video"


def episode(number: int, steps: int | None = None, **changes: object) -> Episode:
    """An episode that follows from its number: the same one in every process."""
    rng = np.random.default_rng(number)
    steps = steps or 3 + number % 7
    given = {
        "obs": {"state": rng.standard_normal((steps + 1, 4)), "goal": rng.standard_normal((steps + 1, 1))},
        "action": rng.standard_normal((steps, 2)).astype(np.float32),
        "labelled": np.ones(steps, bool),
        "reward": rng.standard_normal(steps),
        "terminated": number % 2 == 0,
        "success": (True, False, None)[number % 3],
        "meta": {"task": f"task {number % 2}", "seed": number},
        "control": np.arange(steps) % 3 if number % 4 == 3 else None,
    } | changes
    return Episode(**({"label": given["action"]} | given))


def pictures(number: int, steps: int = 4) -> Episode:
    rng = np.random.default_rng(number)

    def draw(*shape: int) -> np.ndarray:
        return rng.integers(0, 256, (steps + 1, *shape), dtype=np.uint8)

    obs = {"front": draw(6, 5, 3), "depth": draw(4, 4, 1), "raw": draw(3, 4)}
    obs["state"] = np.zeros((steps + 1, 2))
    return episode(number, steps, obs=obs)


def files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))


def info(folder: Path) -> dict:
    return json.loads((folder / "meta" / "info.json").read_text())


def change_info(folder: Path, **changes: object) -> None:
    (folder / "meta" / "info.json").write_text(json.dumps(info(folder) | changes))


def recorded(folder: Path, count: int = 4, make=episode) -> list[Episode]:
    episodes = [make(i) for i in range(count)]
    with Writer(folder) as writer:
        for e in episodes:
            writer.add(e)
    return episodes


# --------------------------------------------------------------------------------------------- round trips

keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
facts = st.dictionaries(
    st.text(max_size=6),
    st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=9)),
    max_size=4,
)
shapes = st.one_of(
    st.tuples(st.just("float32"), st.lists(st.integers(1, 3), min_size=1, max_size=3)),
    st.tuples(st.just("uint8"), st.lists(st.integers(1, 5), min_size=2, max_size=4)),
)


@st.composite
def datasets(draw) -> list[Episode]:
    schema = draw(st.dictionaries(keys, shapes, min_size=1, max_size=3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    discrete, width = draw(st.booleans()), draw(st.integers(1, 3))
    special = draw(st.lists(finite, min_size=1, max_size=4))

    def column(rows: int, kind: str, shape: list[int]) -> np.ndarray:
        if kind == "uint8":
            return rng.integers(0, 256, (rows, *shape), dtype=np.uint8)
        return rng.choice(np.array([*special, -0.0, 1.5], np.float32), (rows, *shape))

    out = []
    for steps in draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)):
        if discrete:
            action, label = (rng.integers(-(2**62), 2**62, (steps, 1)) for _ in range(2))
        else:
            action, label = column(steps, "float32", [width]), column(steps, "float32", [width])
        out.append(
            Episode(
                {k: column(steps + 1, kind, shape) for k, (kind, shape) in schema.items()},
                action,
                draw(st.sampled_from([action, label, action.copy()])),
                np.ones(steps, bool) if draw(st.booleans()) else rng.random(steps) < 0.5,
                column(steps, "float32", []),
                draw(st.booleans()),
                draw(st.sampled_from([None, True, False])),
                draw(facts),
                control=draw(st.sampled_from([None, rng.integers(0, 3, steps)])),
            )
        )
    return out


def bits(e: Episode) -> list[object]:
    arrays = [*(e.obs[k] for k in sorted(e.obs)), e.action, e.label, e.labelled, e.reward]
    arrays += [] if e.control is None else [e.control]
    types = {k: type(v) for k, v in e.meta.items()}
    flat = [(str(x.dtype), x.shape, x.tobytes()) for x in arrays]
    return [sorted(e.obs), flat, e.terminated, e.success, dict(e.meta), types]


@settings(deadline=None, max_examples=35)
@given(datasets(), st.booleans())
def test_everything_is_read_back_bit_for_bit(tmp_path_factory, episodes, at_once) -> None:
    folder = tmp_path_factory.mktemp("d") / "data"
    names = [k.replace("/", ".") for k in episodes[0].obs]
    if len(set(names)) < len(names):
        return  # refused; see below
    if at_once:
        storage.write(folder, Dataset(episodes))
    else:
        with Writer(folder) as writer:
            for e in episodes:
                writer.add(e)
    assert not list(folder.rglob("*.tmp"))
    back = storage.read(folder)
    assert [bits(e) for e in back] == [bits(e) for e in episodes]
    assert [bits(e) for e in storage.stream(folder)] == [bits(e) for e in episodes]
    assert storage.info(folder).schema == Dataset(episodes).schema
    shutil.rmtree(folder)


def test_sessions_and_groups_add_up(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("understudy.storage.writer._TAIL_ROWS", 3)
    monkeypatch.setattr("understudy.storage.writer._GROUP_EPISODES", 4)
    monkeypatch.setattr("understudy.storage.layout.CHUNK", 5)
    for module in ("folder", "tables", "recovery", "compaction"):
        monkeypatch.setattr(f"understudy.storage.{module}.CHUNK", 5)
    episodes = [episode(i) for i in range(30)]
    folder = tmp_path / "d"
    storage.write(folder, episodes[:9], fps=50, robot_type="arm")
    with Writer(folder, append=True) as writer:
        for e in episodes[9:20]:
            writer.add(e)
        assert (writer.episodes, writer.steps) == (20, sum(map(len, episodes[:20])))
    assert storage.append(folder, episodes[20:]) == ()
    assert list(storage.read(folder)) == episodes
    there = storage.info(folder)
    assert (there.episodes, there.fps, there.robot_type, there.tasks) == (30, 50, "arm", ("task 0", "task 1"))
    assert (folder / "data" / "chunk-002").is_dir()
    assert storage.repair(folder) == ()


def test_pictures_are_png_and_exact(tmp_path) -> None:
    episodes = recorded(tmp_path / "d", 3, pictures)
    assert list(storage.read(tmp_path / "d")) == episodes
    table = pq.read_table(tmp_path / "d" / "data" / "chunk-000" / "file-001.parquet")
    cell = table["observation.images.front"][2].as_py()
    assert cell["bytes"].startswith(b"\x89PNG")
    assert cell["path"] == "frame-000002.png"


# ------------------------------------------------------------------------------------------------- layout


def test_the_layout_is_lerobots(tmp_path) -> None:
    folder = tmp_path / "d"
    with Writer(folder, fps=20) as writer:
        for i in (1, 0, 2):
            writer.add(episode(i))
    said = info(folder)
    assert said["total_episodes"] == 3
    assert said["total_frames"] == 4 + 3 + 5
    assert said["splits"] == {"train": "0:3"}
    names = ["observation.state", "observation.goal", "action", "next.reward", "next.done", "next.success"]
    names += ["timestamp", "frame_index", "episode_index", "index", "task_index"]
    assert list(said["features"]) == names
    assert said["features"]["observation.state"] == {"dtype": "float32", "shape": [4], "names": None}
    file = pq.ParquetFile(folder / "data" / "chunk-000" / "file-002.parquet")
    assert file.num_row_groups == 1
    table = file.read()
    assert table.column_names == names
    assert table["index"].to_pylist() == [7, 8, 9, 10, 11]
    assert table["episode_index"].to_pylist() == [2] * 5
    assert table["frame_index"].to_pylist() == [0, 1, 2, 3, 4]
    assert table["timestamp"].to_numpy().tolist() == (np.arange(5) / 20).astype(np.float32).tolist()
    assert table["next.done"].to_pylist() == [False] * 4 + [True]
    assert table.schema.field("action").type == pa.list_(pa.float32(), 2)
    assert table.schema.field("observation.goal").type == pa.float32()
    hf = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert hf["action"] == {"feature": {"dtype": "float32", "_type": "Value"}, "length": 2, "_type": "List"}
    assert hf["index"] == {"dtype": "int64", "_type": "Value"}
    rows = pq.read_table(folder / "meta" / "episodes").to_pylist()
    assert [r["tasks"] for r in rows] == [["task 1"], ["task 0"], ["task 0"]]
    assert [(r["dataset_from_index"], r["dataset_to_index"]) for r in rows] == [(0, 4), (4, 7), (7, 12)]
    assert [(r["data/chunk_index"], r["data/file_index"]) for r in rows] == [(0, 0), (0, 1), (0, 2)]
    tasks = pq.read_table(folder / "meta" / "tasks.parquet")
    assert tasks.to_pylist() == [{"task_index": 0, "task": "task 1"}, {"task_index": 1, "task": "task 0"}]
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]


def test_labels_cost_nothing_where_they_are_the_action(tmp_path) -> None:
    other = episode(1)
    storage.write(tmp_path / "d", [episode(0), episode(1, label=other.action + 1)])
    rows = pq.read_table(tmp_path / "d" / "meta" / "episodes")
    assert [r is None for r in rows["understudy/label"].to_pylist()] == [True, False]


def test_a_dataset_of_lerobots_own_opens_without_its_video(tmp_path) -> None:
    data = storage.read(SAMPLE, video="skip")
    assert (len(data), data.steps) == (3, 125)
    table = pq.read_table(SAMPLE / "data")
    action = np.array(table["action"].to_pylist(), np.float32)
    assert np.array_equal(np.concatenate([e.action for e in data]), action)
    assert np.array_equal(data[0].obs["state"][-1], data[0].obs["state"][-2])  # none was recorded
    assert data[0].meta["task"] == "pick up the red cube"
    assert data[0].success is None
    there = storage.info(SAMPLE)
    assert there.videos == ("observation.images.front",)
    assert there.skipped == ()
    copy = tmp_path / "copy"
    shutil.copytree(SAMPLE, copy)
    with pytest.raises(DataError, match="written by another tool"):
        storage.append(copy, [data[0]])
    storage.write(tmp_path / "native", data, fps=there.fps)
    assert list(storage.read(tmp_path / "native")) == list(data)


def test_episodes_of_others_may_share_files_and_row_groups(tmp_path) -> None:
    """LeRobot's own writer puts many episodes in a file; a row group may hold several, or a part of one."""
    episodes = [episode(i) for i in range(6)]
    storage.write(tmp_path / "d", episodes)
    file = tmp_path / "d" / "data" / "chunk-000" / "file-000.parquet"
    table = pq.read_table(file)
    for size in (1, 4, 1000):
        pq.write_table(table, file, row_group_size=size)
        assert list(storage.read(tmp_path / "d")) == episodes


def test_columns_that_are_only_like_ours_are_converted(tmp_path) -> None:
    data = [episode(0), episode(1)]
    storage.write(tmp_path / "d", data)
    file = tmp_path / "d" / "data" / "chunk-000" / "file-000.parquet"
    table = pq.read_table(file)
    at = table.column_names.index("observation.state")
    lists = pa.array([[float(v) for v in row] for row in table["observation.state"].to_pylist()])
    pq.write_table(table.set_column(at, "observation.state", lists), file)
    assert list(storage.read(tmp_path / "d")) == data


# --------------------------------------------------------------------------------------------- statistics


def test_statistics_are_those_of_all_steps_across_sessions(tmp_path) -> None:
    episodes = [episode(i, steps=5 + i) for i in range(12)]
    for e in episodes:
        storage.append(tmp_path / "d", [e])
    said = json.loads((tmp_path / "d" / "meta" / "stats.json").read_text())
    assert set(said) == {"observation.state", "observation.goal", "action", "next.reward"}
    state = np.concatenate([e.obs["state"][:-1] for e in episodes]).astype(np.float64)
    want = {"min": state.min(0), "max": state.max(0), "mean": state.mean(0), "std": state.std(0)}
    want |= {name: np.quantile(state, q, axis=0) for name, q in QUANTILES.items()}
    assert said["observation.state"]["count"] == [len(state)]
    for name, value in want.items():
        np.testing.assert_allclose(said["observation.state"][name], value, rtol=1e-12, atol=1e-12)
    rows = pq.read_table(tmp_path / "d" / "meta" / "episodes").to_pylist()
    own = episodes[3].action.astype(np.float64)
    assert rows[3]["stats/action/count"] == [len(own)]
    assert "stats/action/q90" not in rows[3]  # LeRobot would average it over episodes
    np.testing.assert_allclose(rows[3]["stats/action/std"], own.std(0), rtol=1e-12)


def test_image_statistics_are_exact_in_unit_range(tmp_path) -> None:
    episodes = recorded(tmp_path / "d", 3, pictures)
    said = json.loads((tmp_path / "d" / "meta" / "stats.json").read_text())["observation.images.front"]
    pixels = np.concatenate([e.obs["front"][:-1] for e in episodes]).reshape(-1, 3) / 255
    assert np.shape(said["mean"]) == (3, 1, 1)
    assert said["count"] == [12]
    np.testing.assert_allclose(np.ravel(said["std"]), pixels.std(0), rtol=1e-12)
    for name, q in QUANTILES.items():
        np.testing.assert_allclose(np.ravel(said[name]), np.quantile(pixels, q, axis=0), rtol=1e-12)


def test_statistics_are_made_anew_where_their_cache_does_not_fit(tmp_path) -> None:
    episodes = recorded(tmp_path / "d", 5)
    stats = tmp_path / "d" / "meta" / "stats.json"
    before, cache = stats.read_text(), tmp_path / "d" / "meta" / "understudy.safetensors"
    for spoil in (cache.unlink, lambda: cache.write_bytes(b"nonsense"), stats.unlink):
        spoil()
        storage.repair(tmp_path / "d")
        after = json.loads(stats.read_text())
        for name, of in json.loads(before).items():
            np.testing.assert_allclose(after[name]["mean"], of["mean"], rtol=1e-12)
            assert after[name]["q50"] == of["q50"]
    assert list(storage.read(tmp_path / "d")) == episodes


@pytest.mark.parametrize("pieces", [50, 700, 70_000])
def test_a_sketch_keeps_its_promise(pieces) -> None:
    """The guaranteed bound holds for every rank, and the moments are exact, whatever the pieces."""
    rng = np.random.default_rng(0)
    x = np.stack([rng.standard_normal(150_000), np.linspace(-3, 9, 150_000), rng.random(150_000) ** 8], 1)
    x = x.astype(np.float32)
    numbers = Numbers((3,), x.dtype)
    for at in range(0, len(x), pieces):
        numbers.add(x[at : at + pieces])
    assert 0 < numbers.sketch.error < 0.003 * len(x)
    qs = np.linspace(0.001, 0.999, 199)
    found = numbers.sketch.quantiles(qs)
    for d in range(3):
        column = np.sort(x[:, d])
        below = np.searchsorted(column, found[:, d], "left")
        above = np.searchsorted(column, found[:, d], "right")
        off = np.maximum(below - qs * len(x), qs * len(x) - above)
        slack = 2 ** len(numbers.sketch._levels)  # interpolation between neighbouring items
        assert off.max() <= numbers.sketch.error + slack
    summary = numbers.summary()
    np.testing.assert_allclose(summary["mean"], x.astype(np.float64).mean(0), rtol=1e-12)
    np.testing.assert_allclose(summary["std"], x.astype(np.float64).std(0), rtol=1e-12)
    again = Numbers((3,), x.dtype)
    again.load(numbers.state())
    assert again.summary() == summary


def test_moments_survive_a_large_offset() -> None:
    x = (np.random.default_rng(1).standard_normal((10_000, 1)) * 1e-2 + 5e3).astype(np.float32)
    numbers = Numbers((1,), x.dtype)
    for at in range(0, len(x), 100):
        numbers.add(x[at : at + 100])
    assert numbers.summary()["std"] == pytest.approx([x.astype(np.float64).std()], rel=1e-9)


def test_a_state_that_does_not_add_up_is_refused() -> None:
    sketch = Sketch(2, np.dtype(np.float32))
    sketch.add(np.zeros((2, 10), np.float32))
    with pytest.raises(ValueError, match="does not add up"):
        Sketch(2, np.dtype(np.float32)).load(sketch.state() | {"sketch": np.array([11.0, 0, 0])})
    with pytest.raises(ValueError, match="another shape"):
        Sketch(3, np.dtype(np.float32)).load(sketch.state())
    with pytest.raises(ValueError, match="another shape"):
        Histogram((3, 1, 1), channels=3, image=True).load(
            Histogram((1, 1, 1), channels=1, image=True).state()
        )


# ------------------------------------------------------------------------------------------------- crashes


class Crash(BaseException):
    """The power goes."""


@pytest.mark.parametrize("first", [0, 2], ids=["new", "appending"])
def test_at_every_step_of_a_commit_the_folder_holds_what_was_committed(tmp_path, monkeypatch, first) -> None:
    """Dies before the k-th rename or sync for every k, leaving everything as it lies."""
    folder, real = tmp_path / "d", {"replace": os.replace, "fsync": os.fsync}
    for k in range(60):
        shutil.rmtree(folder, ignore_errors=True)
        before = [episode(i) for i in range(first)]
        if before:
            storage.write(folder, before)
        left = k

        def dying(name: str, *args: object) -> None:
            nonlocal left
            if left == 0:
                raise Crash
            left -= 1
            real[name](*args)

        writer = Writer(folder, append=True)
        with monkeypatch.context() as patch:
            patch.setattr(Commit, "__exit__", lambda commit, *_: commit._close())  # the dead clear nothing up
            for name in real:
                patch.setattr(os, name, lambda *args, name=name: dying(name, *args))
            try:
                writer.add(episode(first))
            except Crash:
                died = True
            else:
                died = False
        writer._lock.release()  # as the kernel does
        able = [*before, episode(first)]
        if not died:
            assert list(storage.read(folder)) == able
            assert k > 12
            break
        seen = list(storage.read(folder)) if (folder / "meta" / "info.json").exists() and first else before
        assert seen in (before, able)
        storage.append(folder, [episode(9)])
        assert list(storage.read(folder)) in ([*before, episode(9)], [*able, episode(9)])
        assert not [p for p in folder.rglob("*") if p.name.endswith(".tmp")]
        assert storage.repair(folder) == ()
        stats = json.loads((folder / "meta" / "stats.json").read_text())
        assert stats["action"]["count"] == [info(folder)["total_frames"]]
    else:
        raise AssertionError("the commit never ended")


KILLER = """
import os, random, signal, sys, time
sys.path.insert(0, sys.argv[2])
from test_storage import episode
from understudy.storage import Writer
chance = random.Random(5)
for _ in range(int(sys.argv[3])):
    ready, acked = os.pipe()
    if (child := os.fork()) == 0:
        with Writer(sys.argv[1], append=True) as writer:
            while True:
                writer.add(episode(writer.episodes, steps=20))
                os.write(acked, b"%d " % writer.episodes)
    os.close(acked)
    words, enough = b"", chance.randrange(5)
    while words.count(b" ") < enough:
        words += os.read(ready, 1 << 16)
    time.sleep(chance.uniform(0, 0.03))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while part := os.read(ready, 1 << 16):
        words += part
    os.close(ready)
    print((words.split() or [b"0"])[-1].decode(), flush=True)
    sys.stdin.readline()
"""


def test_sigkill_at_random_instants_loses_nothing_committed(tmp_path) -> None:
    folder, rounds = tmp_path / "d", 20
    command = [sys.executable, "-c", KILLER, str(folder), str(Path(__file__).parent), str(rounds)]
    committed = 0
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as killer:
        for _ in range(rounds):
            acked = int(killer.stdout.readline())
            committed = max(committed, acked)
            if committed:
                back = storage.read(folder)
                assert committed <= len(back) <= committed + 1
                for i, e in enumerate(back):
                    assert e == episode(i, steps=20)
                committed = len(back)
            killer.stdin.write("\n")
            killer.stdin.flush()
    assert killer.returncode == 0
    assert committed >= rounds
    storage.repair(folder)
    assert len(storage.read(folder)) in (committed, committed + 1)


@pytest.mark.parametrize("call", [1, 2, 3, 5])
def test_a_full_disk_fails_the_episode_and_nothing_else(tmp_path, monkeypatch, call) -> None:
    folder = tmp_path / "d"
    episodes = [episode(i) for i in range(4)]
    with Writer(folder) as writer:
        writer.add(episodes[0])
        writer.add(episodes[1])
        count, real = 0, os.fsync

        def full(handle: int) -> None:
            nonlocal count
            count += 1
            if count == call:
                raise OSError(28, "No space left on device")
            real(handle)

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(DataError, match=r"No space left on device; the 2 episodes .* are safe"):
            writer.add(episodes[2])
        monkeypatch.undo()
        seen = list(storage.read(folder))
        assert seen in (episodes[:2], episodes[:3])
        writer.add(episodes[3])
    assert list(storage.read(folder)) == [*seen, episodes[3]]
    assert storage.repair(folder) == ()


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_whichever_call_finds_the_disk_full_nothing_is_lost(tmp_path, monkeypatch, call) -> None:
    """The k-th write, sync or rename fails, for every k."""
    before, left = [episode(0), episode(1)], 0

    def full() -> None:
        nonlocal left
        left -= 1
        if left == -1:
            raise OSError(28, "No space left on device")

    class Full(io.FileIO):
        def write(self, data: object) -> int:
            full()
            return super().write(data)

    def opening(name: str, mode: str = "r", **more: object) -> object:
        return io.BufferedWriter(Full(name, "w")) if mode == "wb" else open(name, mode, **more)

    def calling(real):
        return lambda *args, **more: (full(), real(*args, **more))[1]

    for k in range(60):
        folder = tmp_path / str(k)
        storage.write(folder, before)
        with Writer(folder, append=True) as writer:
            left = k
            with monkeypatch.context() as patch:
                if call == "write":
                    patch.setattr("understudy.storage.files.open", opening, raising=False)
                else:
                    patch.setattr(os, call, calling(getattr(os, call)))
                said = ""
                try:
                    writer.add(episode(2))
                except DataError as e:
                    said = str(e)
            assert not said or "No space left on device; the 2 episodes committed before are safe" in said
            assert not [p for p in folder.rglob("*") if p.name.endswith(".tmp")]
            seen = list(storage.read(folder))
            whole = [*before, episode(2)]
            assert seen == before if said and call == "write" else seen in (before, whole)
            assert said or seen == whole
            writer.add(episode(3))
        assert list(storage.read(folder)) == [*seen, episode(3)]
        assert storage.repair(folder) == ()
        if left >= 0:  # it was never full
            assert seen == whole
            assert k > 4
            return
    raise AssertionError("the commit never ended")


def test_a_full_device_really(tmp_path) -> None:
    """The kernel refuses writes beyond a file size: a disk that fills up in the middle of a file."""
    code = """
import resource, signal, sys
sys.path.insert(0, sys.argv[2])
from test_storage import episode
from understudy import storage
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with storage.Writer(sys.argv[1]) as writer:
    writer.add(episode(0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    try:
        writer.add(episode(1, steps=5000))
    except storage.DataError as e:
        print(e)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    writer.add(episode(2))
"""
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path / "d"), str(Path(__file__).parent)]
    out = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    assert "File too large; the 1 episodes committed before are safe" in out
    assert list(storage.read(tmp_path / "d")) == [episode(0), episode(2)]


def test_a_last_data_file_cut_short_is_named_and_repaired(tmp_path) -> None:
    episodes = recorded(tmp_path / "d", 4)
    last = tmp_path / "d" / "data" / "chunk-000" / "file-003.parquet"
    content = last.read_bytes()
    for size in (0, 3, len(content) // 2, len(content) - 1):
        last.write_bytes(content[:size])
        with pytest.raises(DataError, match=r"file-003.parquet"):
            storage.read(tmp_path / "d")
    said = storage.repair(tmp_path / "d")
    assert any("dropped episode 3" in line for line in said)
    assert (last.parent / ".file-003.parquet.damaged").exists()
    assert list(storage.read(tmp_path / "d")) == episodes[:3]
    storage.append(tmp_path / "d", [episode(7)])
    assert list(storage.read(tmp_path / "d")) == [*episodes[:3], episode(7)]
    stats = json.loads((tmp_path / "d" / "meta" / "stats.json").read_text())
    assert stats["action"]["count"] == [sum(map(len, [*episodes[:3], episode(7)]))]


def test_last_rows_cut_short_go_back_one_generation(tmp_path) -> None:
    episodes = recorded(tmp_path / "d", 4)
    rows = tmp_path / "d" / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    rows.write_bytes(rows.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"meta/episodes/chunk-000/file-000.parquet"):
        storage.read(tmp_path / "d")
    said = storage.repair(tmp_path / "d")
    assert any("generation before was restored" in line for line in said)
    assert list(storage.read(tmp_path / "d")) == episodes[:3]
    kept = tmp_path / "d" / "data" / "chunk-000" / ".file-003.parquet.damaged"
    assert kept.exists()  # it was committed once, so it is not deleted


def test_other_damage_is_never_repaired_by_dropping(tmp_path) -> None:
    recorded(tmp_path / "d", 4)
    last = tmp_path / "d" / "data" / "chunk-000" / "file-003.parquet"
    content = last.read_bytes()
    at = content.find(episode(3).action.tobytes())
    last.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    with pytest.raises(DataError, match=r"file-003|episode 3"):
        storage.read(tmp_path / "d")
    storage.repair(tmp_path / "d")
    assert storage.info(tmp_path / "d").episodes == 4
    last.unlink()
    with pytest.raises(DataError, match=r"file-003.parquet cannot be opened: No such file"):
        storage.repair(tmp_path / "d")


def test_one_writer_at_a_time(tmp_path) -> None:
    with Writer(tmp_path / "d") as writer:
        writer.add(episode(0))
        with pytest.raises(DataError, match=f"being written by process {os.getpid()}; one writer at a time"):
            Writer(tmp_path / "d", append=True)
        assert list(storage.read(tmp_path / "d")) == [episode(0)]  # readers may
    storage.append(tmp_path / "d", [episode(1)])
    with pytest.raises(DataError, match="closed"):
        writer.add(episode(2))


# ------------------------------------------------------------------------------------- refusals and repairs


def test_a_writer_refuses_what_does_not_belong(tmp_path) -> None:
    folder = tmp_path / "d"
    recorded(folder, 1)
    with pytest.raises(DataError, match="already holds 1 episodes; append"):
        Writer(folder)
    with pytest.raises(DataError, match="has fps 1, not 30"):
        Writer(folder, append=True, fps=30)
    with Writer(folder, append=True) as writer:
        with pytest.raises(DataError, match=r"'action' as float32\[3\], the dataset as float32\[2\]"):
            writer.add(episode(1, steps=4, action=np.zeros((4, 3))))
        with pytest.raises(DataError, match="'goal' as absent"):
            writer.add(episode(1, steps=4, obs={"state": np.zeros((5, 4))}))
        with pytest.raises(TypeError, match="dict cannot be recorded"):
            writer.add({})
        writer.add(episode(1))
    assert list(storage.read(folder)) == [episode(0), episode(1)]
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="not empty and holds no dataset"):
        Writer(tmp_path / "notes", append=True)
    with pytest.raises(DataError, match="is not a folder"):
        Writer(tmp_path / "notes" / "thesis.txt")
    for fps in (0, 2.5, True):
        with pytest.raises(ValueError, match="fps"):
            Writer(tmp_path / "new", fps=fps)
    for obs, message in (
        ({"a/b": np.zeros((2, 1)), "a.b": np.zeros((2, 1))}, "would both be stored as 'observation.a.b'"),
        ({"a": np.zeros((2, 0))}, "without values"),
        ({"\ud800": np.zeros((2, 1))}, "not text"),
    ):
        with pytest.raises(DataError, match=message):
            storage.write(tmp_path / "new", [episode(0, 1, obs=obs)])
    with pytest.raises(DataError, match="no episodes to write"):
        storage.write(tmp_path / "new", [])


def spoil_rows(folder: Path, column: str, values: list) -> None:
    file = folder / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    table = pq.read_table(file)
    at = table.column_names.index(column)
    pq.write_table(table.set_column(at, table.field(at), pa.array(values, table.field(at).type)), file)


def spoil_control(folder: Path, column: pa.Array) -> None:
    file = folder / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    table = pq.read_table(file)
    at = table.column_names.index("understudy/control")
    pq.write_table(table.set_column(at, "understudy/control", column), file)


def spoil_data(folder: Path, column: str, change) -> None:
    file = folder / "data" / "chunk-000" / "file-001.parquet"
    table = pq.read_table(file)
    new = change(table[column].to_pylist())
    at = table.column_names.index(column)
    pq.write_table(table.remove_column(at) if new is None else table.set_column(at, column, new), file)


def with_nan(rows: list) -> pa.Array:
    rows[2][1] = float("nan")
    return pa.array(rows, pa.list_(pa.float32(), 4))


def link(path: Path, to: Path) -> None:
    path.rename(to)
    path.symlink_to(to)


def fifo(path: Path, make=os.mkfifo) -> None:
    path.unlink()
    make(path)


def feature(folder: Path, name: str, **changes: object) -> None:
    features = info(folder)["features"]
    features[name] = features.get(name, {}) | changes
    change_info(folder, features=features)


def without(rows: list) -> pa.Array:
    return pa.array([None, *rows[1:]], pa.float32())


def wide(rows: list) -> pa.Array:
    return pa.array([[0.0] * 3] * len(rows), pa.list_(pa.float32(), 3))


BROKEN = {
    "no folder": (lambda d: shutil.rmtree(d), "no folder"),
    "a file": (lambda d: (shutil.rmtree(d), d.write_text("")), "is not a folder"),
    "not a dataset": (lambda d: (d / "meta/info.json").unlink(), "it has no meta/info.json"),
    "no json": (lambda d: (d / "meta/info.json").write_text("{"), "info.json cannot be read"),
    "deep json": (lambda d: (d / "meta/info.json").write_text("[" * 10**5), "info.json cannot be read"),
    "a list": (lambda d: (d / "meta/info.json").write_text("[]"), "holds no object"),
    "an old version": (lambda d: change_info(d, codebase_version="v2.1"), "only v3.0 is read"),
    "no features": (lambda d: change_info(d, features=None), "declares no features"),
    "a path out": (lambda d: change_info(d, data_path="../../{chunk_index}.parquet"), "says data_path"),
    "a format trick": (lambda d: change_info(d, data_path="{chunk_index.__class__}"), "says data_path"),
    "fps zero": (lambda d: change_info(d, fps=0), "says fps 0"),
    "episodes miscounted": (lambda d: change_info(d, total_episodes=5), "counts 5 episodes, .* has 3"),
    "frames miscounted": (lambda d: change_info(d, total_frames=5), "counts 5 frames"),
    "no counts": (lambda d: change_info(d, total_frames="many"), "no counts"),
    "a huge shape": (lambda d: feature(d, "action", shape=[2**40]), "no step can have that"),
    "a large shape": (lambda d: feature(d, "action", shape=[10**8]), "declares .* bytes of data in"),
    "a shape of shapes": (lambda d: feature(d, "action", shape=[9] * 10**5), "no step can have that"),
    "a negative shape": (lambda d: feature(d, "action", shape=[-2]), "no step can have that"),
    "no shape": (lambda d: feature(d, "action", shape="wide"), "without a dtype and a shape"),
    "another shape": (lambda d: feature(d, "observation.state", shape=[2, 2]), "[0-9 ]+ values|is stored as"),
    "a feature too many": (
        lambda d: feature(d, "observation.more", dtype="float32", shape=[1], names=None),
        "'observation.more' is not in it",
    ),
    "no action": (lambda d: feature(d, "action", dtype="string"), "declares no 'action'"),
    "rows gone": (lambda d: shutil.rmtree(d / "meta/episodes"), "counts 3 episodes, meta/episodes has 0"),
    "a data file gone": (lambda d: (d / "data/chunk-000/file-001.parquet").unlink(), "001.parquet cannot"),
    "another episode's file": (
        lambda d: shutil.copy(d / "data/chunk-000/file-000.parquet", d / "data/chunk-000/file-001.parquet"),
        r"file-001.parquet has 3 rows, meta/episodes counts 4",
    ),
    "wrong numbers": (lambda d: spoil_rows(d, "episode_index", [0, 2, 1]), "does not number"),
    "wrong lengths": (lambda d: spoil_rows(d, "length", [3, 5, 4]), "do not follow"),
    "a huge length": (lambda d: spoil_rows(d, "length", [3, 2**60, 4]), "says that episode 1 has"),
    "no length": (lambda d: spoil_rows(d, "length", [3, None, 4]), "gaps in column 'length'"),
    "a file out of range": (lambda d: spoil_rows(d, "data/file_index", [0, -1, 2]), "cannot be"),
    "facts of facts": (lambda d: spoil_rows(d, "understudy/meta", ['{"a": [1]}'] * 3), "not str, int or"),
    "a success changed": (lambda d: spoil_rows(d, "understudy/success", [False] * 3), "checksum differs"),
    "a control changed": (lambda d: spoil_control(d, pa.array([[0] * 3, [1] * 4, [0] * 5])), "checksum diff"),
    "gaps in control": (lambda d: spoil_control(d, pa.array([[0, None, 0], None, None])), "cannot be read"),
    "words for control": (lambda d: spoil_control(d, pa.array(["a", "b", "c"])), "cannot be read"),
    "a nan": (
        lambda d: spoil_data(d, "observation.state", with_nan),
        r"'observation.state' is nan at episode 1, step 2, dimension 1",
    ),
    "two widths": (lambda d: spoil_data(d, "action", wide), r"file-001.*'action' has 3 values where \[2\]"),
    "words": (lambda d: spoil_data(d, "action", lambda r: pa.array(["a"] * len(r))), "stored as string"),
    "gaps": (
        lambda d: spoil_data(d, "action", lambda r: pa.nulls(len(r), pa.float32())),
        "'action' has gaps",
    ),
    "more gaps": (lambda d: spoil_data(d, "next.reward", without), "'next.reward' has gaps"),
    "a column gone": (lambda d: spoil_data(d, "action", lambda r: None), "feature 'action' is not in it"),
    "rows of another": (
        lambda d: spoil_data(d, "episode_index", lambda r: pa.array([7] * len(r))),
        "not marked as those of episodes? 1",
    ),
    "a value changed": (
        lambda d: spoil_data(d, "next.reward", lambda r: pa.array([0.0] * len(r), pa.float32())),
        "episode 1 .* is not what was recorded",
    ),
    "a link out": (
        lambda d: link(d / "data/chunk-000/file-001.parquet", d.parent / "out.parquet"),
        "leads out of the dataset's folder",
    ),
    "a linked folder": (lambda d: link(d / "data/chunk-000", d.parent / "out"), "leads out of"),
    "linked metadata": (lambda d: link(d / "meta", d.parent / "meta"), "leads out of"),
    "a pipe": (lambda d: fifo(d / "data/chunk-000/file-001.parquet"), "not a regular file"),
    "a folder for a file": (
        lambda d: fifo(d / "data/chunk-000/file-001.parquet", os.mkdir),
        "not a regular file",
    ),
}


@pytest.fixture(scope="module")
def healthy(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("healthy") / "d"
    recorded(folder, 3)
    return folder


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_folder_is_refused_in_one_line(tmp_path, healthy, case) -> None:
    folder = tmp_path / "d"
    shutil.copytree(healthy, folder)
    spoil, message = BROKEN[case]
    spoil(folder)
    with pytest.raises(DataError, match=message) as caught:
        storage.read(folder)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_link_within_the_folder_is_followed(tmp_path, healthy) -> None:
    folder = tmp_path / "d"
    shutil.copytree(healthy, folder)
    link(folder / "data/chunk-000/file-001.parquet", folder / "data/elsewhere")
    assert len(storage.read(folder)) == 3
    (tmp_path / "same").symlink_to(folder)
    assert len(storage.read(tmp_path / "same")) == 3


def test_data_changed_on_purpose_is_read_on_demand(tmp_path, healthy) -> None:
    folder = tmp_path / "d"
    shutil.copytree(healthy, folder)
    spoil_data(folder, "next.reward", lambda r: pa.array([0.0] * len(r), pa.float32()))
    assert storage.read(folder, verify=False)[1].total_reward == 0


def test_nothing_outside_is_written_through_links(tmp_path, healthy) -> None:
    folder, outside = tmp_path / "d", tmp_path / "outside"
    shutil.copytree(healthy, folder)
    shutil.move(folder / "data" / "chunk-000", outside)
    (outside / "file-777.parquet").write_text("precious")
    (outside / ".file-001.parquet.tmp").write_text("precious")
    (folder / "data" / "chunk-000").symlink_to(outside)
    with pytest.raises(DataError, match="leads out of"):
        storage.repair(folder)
    assert (outside / "file-777.parquet").exists()
    assert (outside / ".file-001.parquet.tmp").exists()


def bomb(rows: int, many: int) -> pa.Array:
    """Lists of so many zeros, which Parquet stores in next to nothing."""
    ends = pa.array(np.arange(rows + 1, dtype=np.int32) * many)
    return pa.ListArray.from_arrays(ends, pa.array(np.zeros(rows * many, np.float32)))


def footer_says(path: Path, old: int, new: int) -> None:
    """Puts another number of values into the footer, and leaves the pages as they are."""

    def varint(value: int, width: int) -> bytes:
        return bytes([value >> 7 * i & 0x7F | 0x80 * (i < width - 1) for i in range(width)])

    content = path.read_bytes()
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    width = -(-(2 * old).bit_length() // 7)
    was, now = (b"\x16" + varint(2 * n, width) for n in (old, new))
    assert was in content[start:]
    path.write_bytes(content[:start] + content[start:].replace(was, now))


def test_a_small_file_cannot_unfold_into_a_large_one(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("understudy.storage.files.may_unfold", lambda size: (1 << 20) + 10 * size)
    recorded(tmp_path / "d", 2)
    file = tmp_path / "d" / "data" / "chunk-000" / "file-001.parquet"
    good = pq.read_table(file)
    at, rows = good.column_names.index("action"), len(good)
    texts = ["x" * 10**5] * rows
    for column, options, message in (
        (bomb(rows, 10**6), {}, r"claim to hold over \d+ bytes of values"),
        (
            bomb(rows, 10**6),
            {"use_dictionary": False, "compression": "zstd"},
            r"claim to hold over \d+ bytes",
        ),
        (pa.array([texts] * rows), {"compression": "zstd"}, r"claim to hold over \d+ bytes"),
        (
            pa.array(texts),
            {"use_dictionary": False, "column_encoding": {"action": "DELTA_BYTE_ARRAY"}},
            "packed as differences",
        ),
    ):
        pq.write_table(good.set_column(at, "action", column), file, write_statistics=False, **options)
        assert file.stat().st_size < 100_000
        with pytest.raises(DataError, match=message):
            storage.read(tmp_path / "d")
    pq.write_table(good.set_column(at, "action", bomb(rows, 10**6)), file, write_statistics=False)
    footer_says(file, rows * 10**6, 2 * rows)  # what the footer says looks harmless
    with pytest.raises(DataError, match="more values than the footer says"):
        storage.read(tmp_path / "d")


def test_what_a_file_unfolds_into_is_not_underestimated(tmp_path) -> None:
    storage.write(tmp_path / "d", [pictures(0), pictures(1)])
    for path in [*files(tmp_path / "d"), *files(SAMPLE)]:
        if path.suffix == ".parquet":
            content = path.read_bytes()
            found = unfolds_to(lambda at, n, c=content: c[at : at + n], len(content), 1 << 40)
            assert pq.read_table(path).nbytes < found < 40 * len(content) + 10**5
            for at in range(4, len(content), 397):  # no byte makes it do anything but answer or refuse
                bad = content[:at] + bytes([content[at] ^ 0x7F]) + content[at + 1 :]
                with contextlib.suppress(ValueError):
                    unfolds_to(lambda a, n, c=bad: c[a : a + n], len(bad), 1 << 40)


# ------------------------------------------------------------------------------------ reading by the notes


@pytest.mark.parametrize("how", ["one by one", "at once", "compacted"])
def test_numbers_are_read_where_the_notes_say(tmp_path, monkeypatch, how) -> None:
    episodes, folder = [episode(i) for i in range(6)], tmp_path / "d"
    storage.write(folder, episodes) if how == "at once" else recorded(folder, 6)
    if how == "compacted":
        storage.compact(folder)

    def not_needed(opened: object, runs: list, into: object) -> None:
        assert not runs

    with monkeypatch.context() as patch:
        patch.setattr("understudy.storage.reader.fill_all", not_needed)
        assert list(storage.read(folder)) == episodes
    monkeypatch.setattr("understudy.storage.reader.fill_plain", lambda opened, runs, into: runs)
    assert list(storage.read(folder)) == episodes  # what the notes save is time, nothing else


def test_notes_that_lie_are_not_believed(tmp_path) -> None:
    episodes, folder = recorded(tmp_path / "d", 3), tmp_path / "d"
    rows = folder / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    table = pq.read_table(rows)
    good = json.loads(table["understudy/plain"][1].as_py())
    assert set(good) == {"observation.state", "observation.goal", "action", "next.reward"}
    for lie in (
        json.dumps(good | {"action": good["next.reward"]}),
        json.dumps(good | {"action": 10**9}),
        json.dumps(good | {"action": -5}),
        json.dumps(good | {"action": 2**70}),
        json.dumps(good | {"action": None}),
        json.dumps({}),
        "[" * 10**5,
        "7",
        "",
    ):
        spoil_rows(folder, "understudy/plain", [None, lie, None])
        assert list(storage.read(folder)) == episodes
    spoil_rows(folder, "understudy/plain", [None, json.dumps(good | {"action": good["next.reward"]}), None])
    spoil_rows(folder, "understudy/crc32", [None] * 3)  # nothing to hold it against
    assert list(storage.read(folder)) == episodes


def test_files_of_both_releases_of_lerobot_open(tmp_path) -> None:
    """0.4 leaves the tasks' texts in pandas' unnamed index, 0.6 names it; neither has columns of ours."""
    episodes = recorded(tmp_path / "d", 3)
    rows = tmp_path / "d" / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    table = pq.read_table(rows)
    ours = [name for name in table.column_names if name.startswith("understudy/")]
    pq.write_table(table.drop_columns(ours).replace_schema_metadata(), rows)
    for column in ("__index_level_0__", "task"):
        tasks = pa.table({"task_index": [1, 0], column: ["task 1", "task 0"]})
        pq.write_table(tasks, tmp_path / "d" / "meta" / "tasks.parquet")
        data = storage.read(tmp_path / "d")
        assert storage.info(tmp_path / "d").tasks == ("task 0", "task 1")
        assert [f["task"] for f in data.facts] == ["task 0", "task 1", "task 0"]
        assert all(np.array_equal(a.action, b.action) for a, b in zip(data, episodes, strict=True))
        assert [e.success for e in data] == [True, False, False]  # by next.success: nobody said unknown


def test_mutated_files_give_an_error_or_the_truth(tmp_path) -> None:
    with Writer(tmp_path / "d") as writer:
        writer.add(pictures(0))
        writer.extend([pictures(1), pictures(2)])
    want = storage.read(tmp_path / "d").fingerprint()
    chance = random.Random(7)
    names = [p for p in files(tmp_path / "d") if p.suffix in (".parquet", ".json") and p.name != "stats.json"]
    refused = 0
    for _ in range(200):
        path = chance.choice(names)
        good = path.read_bytes()
        bad = bytearray(good)
        match chance.randrange(4):
            case 0:
                del bad[chance.randrange(len(bad)) :]
            case 1:
                for _ in range(chance.randrange(1, 4)):
                    bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
            case 2:
                bad[len(bad) - chance.randrange(1, min(len(bad), 4000))] = chance.randrange(256)
            case 3:
                at = chance.randrange(len(bad))
                bad[at : at + chance.randrange(1, 9)] = chance.randbytes(chance.randrange(9))
        path.write_bytes(bad)
        found = said = None
        try:
            found = storage.read(tmp_path / "d").fingerprint()
        except DataError as e:
            said = str(e)
            refused += 1
        assert found == want or (said and "\n" not in said)
        path.write_bytes(good)
    assert refused > 100


# ------------------------------------------------------------------------------------- compacting, frugality


def test_compacting_merges_files_and_changes_nothing(tmp_path) -> None:
    episodes = recorded(tmp_path / "d", 12)
    stats = (tmp_path / "d" / "meta" / "stats.json").read_bytes()
    assert storage.compact(tmp_path / "d") == (12, 1)
    assert list(storage.read(tmp_path / "d")) == episodes
    assert len(list((tmp_path / "d").rglob("file-*.parquet"))) == 2
    assert (tmp_path / "d" / "meta" / "stats.json").read_bytes() == stats
    assert [p.name for p in tmp_path.iterdir()] == ["d"]
    assert storage.compact(tmp_path / "d") == (1, 1)
    assert storage.append(tmp_path / "d", [episode(12)]) == ()
    assert list(storage.read(tmp_path / "d")) == [*episodes, episode(12)]
    (tmp_path / "d" / "notes.txt").write_text("mine")
    storage.append(tmp_path / "d", [episode(13)])
    with pytest.raises(DataError, match=r"also holds notes.txt"):
        storage.compact(tmp_path / "d")


def test_a_compaction_that_fails_leaves_the_folder_as_it_was(tmp_path, monkeypatch) -> None:
    episodes = recorded(tmp_path / "d", 5)

    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("understudy.storage.compaction.exchange", refuse)
    with pytest.raises(DataError, match="it is as it was"):
        storage.compact(tmp_path / "d")
    assert list(storage.read(tmp_path / "d")) == episodes
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


def test_reading_holds_the_data_once(tmp_path) -> None:
    rng = np.random.default_rng(0)
    episodes = [
        episode(i, 5000, obs={"state": rng.standard_normal((5001, 50)).astype(np.float32)}) for i in range(20)
    ]
    storage.write(tmp_path / "d", episodes)
    size = sum(e.obs["state"].nbytes + e.action.nbytes for e in episodes)
    del episodes
    tracemalloc.start()
    data = storage.read(tmp_path / "d")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert data.steps == 100_000
    assert peak < 1.35 * size


def test_what_a_footer_claims_is_read_without_believing_it(tmp_path) -> None:
    storage.write(tmp_path / "d", [pictures(0), pictures(1)])
    for path in [*files(tmp_path / "d"), *files(SAMPLE)]:
        if path.suffix == ".parquet":
            content, meta = path.read_bytes(), pq.ParquetFile(path).metadata
            groups = [meta.row_group(i) for i in range(meta.num_row_groups)]
            want = sum(g.column(j).num_values for g in groups for j in range(meta.num_columns))
            assert claimed_values(content) == want
    for at in range(8, 300):
        with pytest.raises(ValueError, match="footer"):
            claimed_values(content[:-8][-at + 1 :] + at.to_bytes(4, "little") + b"PAR1")
    for nonsense in (b"\x00", b"\x19\xfc" + b"\xff" * 12, b"\x1c" * 99, b"\x16" + b"\xff" * 40):
        footer = nonsense + len(nonsense).to_bytes(4, "little") + b"PAR1"
        if nonsense == b"\x00":
            assert claimed_values(footer) == 0
            continue
        with pytest.raises(ValueError, match="footer"):
            claimed_values(footer)
