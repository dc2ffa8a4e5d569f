"""Pictures on disk: PNG and video read back what was recorded, lazily or not, and damage is noticed."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from understudy import frames, storage
from understudy.dataset import Dataset
from understudy.episode import Episode
from understudy.frames import Frames
from understudy.storage import DataError, VideoOptions
from understudy.storage.mp4 import check_mp4

av = pytest.importorskip("av")
SAMPLE = Path(__file__).parent / "data" / "lerobot_v3_video"
FRONT = "videos/observation.images.front/chunk-000"


def scene(n: int, height: int, width: int, seed: int) -> np.ndarray:
    """[n, H, W, 3]: a gradient and a disc that move, each picture unlike any other."""
    y, x = np.mgrid[:height, :width]
    out = np.empty((n, height, width, 3), np.uint8)
    for i in range(n):
        disc = (y - height / 2) ** 2 + (x - 3 * (i + seed) % width) ** 2 < (height / 5) ** 2
        red, green = x * 100 // width + 5 * i, y * 100 // height + 10 * (seed % 5)
        out[i] = np.stack([red, green, red + green], -1) // 2 + (90 * disc)[..., None]
    return out


def episode(i: int, **other: np.ndarray) -> Episode:
    rng = np.random.default_rng(i)
    steps = 12 + i
    obs = {
        "state": rng.normal(size=(steps + 1, 3)),
        "front": scene(steps + 1, 48, 64, i),
        "wrist": scene(steps + 1, 32, 32, 7 * i),
        **{k: v[: steps + 1] for k, v in other.items()},
    }
    action, label = rng.normal(size=(2, steps, 2))
    time = np.cumsum(rng.random(steps + 1)) + 1e9
    spoke, reward = rng.random(steps) < 0.5, rng.random(steps)
    meta = {"task": "pour", "operator": "ann", "seed": i}
    return Episode(obs, action, label, spoke, reward, True, bool(i % 2), meta, time)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """The lowest of any picture, in dB."""
    error = ((a.astype(np.float64) - b) ** 2).mean((1, 2, 3))
    return float(10 * np.log10(255**2 / error.max()))


def same_but_for_pictures(a: Episode, b: Episode) -> bool:
    def bare(e: Episode) -> Episode:
        numbers = {"state": e.obs["state"]}
        return Episode(
            numbers, e.action, e.label, e.labelled, e.reward, e.terminated, e.success, e.meta, e.time
        )

    return bare(a) == bare(b)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Episode]]:
    """A folder of four episodes with two cameras in video."""
    folder = tmp_path_factory.mktemp("video") / "d"
    episodes = [episode(i) for i in range(4)]
    with storage.Writer(folder, fps=30, robot_type="arm", video=VideoOptions(crf=18)) as writer:
        writer.add(episodes[0])
        writer.extend(episodes[1:])
    return folder, episodes


@pytest.fixture
def copy(recorded: tuple[Path, list[Episode]], tmp_path: Path) -> Path:
    shutil.copytree(recorded[0], tmp_path / "copy")
    return tmp_path / "copy"


def test_numbers_are_kept_to_the_bit_and_pictures_within_the_codec(
    recorded: tuple[Path, list[Episode]],
) -> None:
    folder, episodes = recorded
    data = storage.read(folder)
    assert len(data) == 4
    for have, want in zip(data, episodes, strict=True):
        assert same_but_for_pictures(have, want)
        for key in ("front", "wrist"):
            assert isinstance(have.obs[key], Frames)
            assert have.obs[key].shape == want.obs[key].shape  # the last state too
            assert psnr(np.asarray(have.obs[key]), want.obs[key]) > 30


def test_lazy_is_eager(recorded: tuple[Path, list[Episode]]) -> None:
    folder, _ = recorded
    lazy, eager = storage.read(folder), storage.read(folder, images="memory")
    assert isinstance(eager[0].obs["front"], np.ndarray)
    assert list(lazy) == list(eager)
    assert list(storage.stream(folder)) == list(eager)
    assert lazy.fingerprint() == eager.fingerprint()
    index = np.random.default_rng(0).integers(0, len(lazy.windows()), 40)  # out of order, and twice
    have, want = (d.windows(2).batch(index).obs for d in (lazy, eager))
    assert all(np.array_equal(have[k], want[k]) for k in want)
    for i in range(len(lazy[2].obs["front"]) - 1, -1, -3):  # backwards, each a seek
        assert np.array_equal(lazy[2].obs["front"][i], eager[2].obs["front"][i])


def test_copying_a_dataset_copies_its_packets(recorded: tuple[Path, list[Episode]], tmp_path: Path) -> None:
    folder, _ = recorded
    data = storage.read(folder)
    storage.write(tmp_path / "copy", data.select([3, 1]), fps=30, video=VideoOptions(crf=51))
    assert list(storage.read(tmp_path / "copy")) == [data[3], data[1]]  # no second generation
    cut = data[3]
    odd = Episode(
        {k: frames.view(v, 1, len(v)) for k, v in cut.obs.items()}, cut.action[1:], cut.label[1:],
        cut.labelled[1:], cut.reward[1:],
    )  # fmt: skip
    storage.write(tmp_path / "odd", [odd], fps=30, video=VideoOptions(crf=10))  # begins between keyframes
    have = storage.read(tmp_path / "odd")[0].obs["front"]
    assert psnr(np.asarray(have), np.asarray(odd.obs["front"])) > 35


def test_the_metadata_is_lerobots(recorded: tuple[Path, list[Episode]]) -> None:
    folder, episodes = recorded
    info = json.loads((folder / "meta" / "info.json").read_text())
    assert info["video_path"] == "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
    entry = info["features"]["observation.images.front"]
    assert (entry["dtype"], entry["shape"]) == ("video", [48, 64, 3])
    assert (entry["info"]["video.codec"], entry["info"]["video.fps"]) == ("h264", 30)
    assert storage.info(folder).videos == ("observation.images.front", "observation.images.wrist")
    rows = pq.read_table(folder / "meta" / "episodes")
    place = "videos/observation.images.front/"
    assert rows[place + "file_index"].to_pylist() == [0, 1, 2, 3]
    assert rows[place + "from_timestamp"].to_pylist() == [0.0] * 4
    assert rows[place + "to_timestamp"].to_pylist() == [len(e) / 30 for e in episodes]
    data = pq.read_table(folder / "data")
    assert not [c for c in data.column_names if "images" in c]
    with av.open(str(folder / FRONT / "file-002.mp4")) as file:
        stream = file.streams.video[0]
        packets = [p for p in file.demux(stream) if p.pts is not None]
        assert [float(p.pts * p.time_base) for p in packets] == pytest.approx([i / 30 for i in range(15)])
        assert [p.is_keyframe for p in packets] == [i % 2 == 0 for i in range(15)]


def test_statistics_are_those_of_the_stated_sample(recorded: tuple[Path, list[Episode]]) -> None:
    folder, episodes = recorded
    stats = json.loads((folder / "meta" / "stats.json").read_text())["observation.images.front"]
    sample = np.concatenate([e.obs["front"][::8, ::2, ::2] for e in episodes]) / 255
    assert np.shape(stats["mean"]) == (3, 1, 1)
    assert np.ravel(stats["mean"]) == pytest.approx(sample.mean((0, 1, 2)))
    assert np.ravel(stats["std"]) == pytest.approx(sample.std((0, 1, 2)))
    assert stats["count"] == [len(sample)]
    (folder / "meta" / "understudy.safetensors").rename(folder.parent / "sketch")
    try:
        storage.repair(folder)  # from the video, as nothing else is left
        again = json.loads((folder / "meta" / "stats.json").read_text())["observation.images.front"]
    finally:
        (folder.parent / "sketch").rename(folder / "meta" / "understudy.safetensors")
    assert np.ravel(again["mean"]) == pytest.approx(np.ravel(stats["mean"]), abs=0.01)
    assert again["count"] == stats["count"]


def test_compacting_keeps_videos_and_appending_goes_on(copy: Path) -> None:
    before = storage.read(copy)
    want = list(storage.read(copy, images="memory"))
    storage.append(copy, [episode(9)])
    assert storage.compact(copy)[1] == 1
    after = storage.read(copy)
    assert list(after[:4]) == want
    assert same_but_for_pictures(after[4], episode(9))
    assert list(before) == want  # what was open stays readable: the videos are the same files


def test_one_dataset_has_one_form(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has its pictures as video, not PNG"):
        storage.Writer(copy, append=True, video=False)
    storage.write(tmp_path / "png", [episode(0)])
    with pytest.raises(DataError, match="has its pictures as PNG, not video"):
        storage.Writer(tmp_path / "png", append=True, video=True)
    with pytest.raises(DataError, match="'camera' is 9x8 pixels; video needs even sizes"):
        storage.write(tmp_path / "odd", [episode(0, camera=scene(99, 8, 9, 0))], video=True)
    with pytest.raises(ValueError, match="crf is 52"):
        VideoOptions(crf=52)
    with pytest.raises(ValueError, match="preset is 'warp'"):
        VideoOptions(preset="warp")


def test_other_pictures_stay_png_beside_video(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (40, 6, 7, 1), dtype=np.uint8)
    e = episode(1, depth=grey)
    storage.write(tmp_path / "d", [e], video=True)
    for images in ("disk", "memory", "auto"):
        have = storage.read(tmp_path / "d", images=images)[0]
        assert np.array_equal(np.asarray(have.obs["depth"]), e.obs["depth"])
        assert isinstance(have.obs["depth"], Frames) == (images == "disk")


def png_folder(folder: Path) -> list[Episode]:
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 256, (60, 10, 12, 4), dtype=np.uint8)
    episodes = [episode(i, wide=wide[i:]) for i in range(5)]
    with storage.Writer(folder, fps=10) as writer:
        writer.extend(episodes[:2])
        for e in episodes[2:]:
            writer.add(e)
    return episodes


def test_png_on_disk_is_exact(tmp_path: Path) -> None:
    episodes = png_folder(tmp_path / "d")
    data = storage.read(tmp_path / "d", images="disk")
    assert isinstance(data[0].obs["wide"], Frames)
    assert list(data) == episodes
    assert data.fingerprint() == Dataset(episodes).fingerprint()
    assert storage.read(tmp_path / "d").fingerprint() == data.fingerprint()
    assert isinstance(storage.read(tmp_path / "d")[0].obs["wide"], np.ndarray)  # as little as this
    index = np.random.default_rng(0).integers(0, len(data.windows()), 50)
    have, want = (d.windows(2).batch(index).obs["front"] for d in (data, Dataset(episodes)))
    assert np.array_equal(have, want)


def test_png_of_other_writers_is_read_on_disk_through_the_cache(tmp_path: Path) -> None:
    episodes = png_folder(tmp_path / "d")
    for path in (tmp_path / "d" / "data").rglob("*.parquet"):  # packed, so that no picture lies as it is
        pq.write_table(pq.read_table(path), path, compression="zstd", row_group_size=7)
    data = storage.read(tmp_path / "d", images="disk")
    assert list(data) == episodes


def test_a_file_that_was_replaced_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    png_folder(tmp_path / "d")
    data = storage.read(tmp_path / "d", images="disk")
    storage.compact(tmp_path / "d")
    with pytest.raises(DataError, match=r"file-00\d.parquet (has changed since|cannot be opened)"):
        np.asarray(data[4].obs["front"])


def test_numbers_are_verified_where_pictures_stay_on_disk(tmp_path: Path) -> None:
    png_folder(tmp_path / "d")
    path = sorted((tmp_path / "d" / "data").rglob("*.parquet"))[-1]
    table = pq.read_table(path)
    reward = table["next.reward"].to_numpy().copy()
    reward[3] += 1
    at = table.column_names.index("next.reward")
    pq.write_table(table.set_column(at, table.field(at), [reward]), path)
    with pytest.raises(DataError, match=r"episode 4 .* its checksum differs"):
        storage.read(tmp_path / "d", images="disk")


def test_the_process_keeps_no_more_than_the_limit(recorded: tuple[Path, list[Episode]]) -> None:
    folder, _ = recorded
    data = storage.read(folder)
    limit = frames.CACHE.limit
    picture = 48 * 64 * 3
    try:
        frames.CACHE.limit = 10 * picture
        for i in (0, 2, 4, 6, 8, 3, 5, 7, 1):
            data[1].obs["front"][[i, i + 1]]
            assert 0 < frames.CACHE.nbytes <= 10 * picture
        kept = frames.CACHE.nbytes
        data[2].obs["front"][:]  # larger than what may be kept: nothing else is pushed out for it
        assert frames.CACHE.nbytes == kept
    finally:
        frames.CACHE.limit = limit


def test_frames_travel_to_worker_processes(recorded: tuple[Path, list[Episode]]) -> None:
    folder, _ = recorded
    data = storage.read(folder)
    data[0].obs["front"][0]
    content = pickle.dumps(data)
    assert len(content) < 20_000  # the pictures stay where they are
    assert pickle.loads(content).fingerprint() == data.fingerprint()
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).fingerprint())"
    done = subprocess.run([sys.executable, "-c", code], input=content, capture_output=True, check=True)
    assert done.stdout.decode().strip() == data.fingerprint()


def test_threads_may_share_frames(recorded: tuple[Path, list[Episode]]) -> None:
    folder, _ = recorded
    column = storage.read(folder)[3].obs["front"]
    want = column[:]
    frames.CACHE.limit, limit = 0, frames.CACHE.limit  # each picture is decoded anew
    try:
        with ThreadPoolExecutor(4) as pool:
            rows = [np.random.default_rng(i).integers(0, len(want), 6) for i in range(24)]
            got = list(pool.map(column.take, rows))
    finally:
        frames.CACHE.limit = limit
    assert all(np.array_equal(g, want[r]) for g, r in zip(got, rows, strict=True))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_does_not_disturb_its_parent(recorded: tuple[Path, list[Episode]]) -> None:
    folder, _ = recorded
    data = storage.read(folder)
    want = np.asarray(storage.read(folder, images="memory")[0].obs["front"])
    data[0].obs["front"][4]
    if (child := os.fork()) == 0:
        os._exit(0 if np.array_equal(data[0].obs["front"][7:], want[7:]) else 1)
    assert np.array_equal(data[0].obs["front"][5:], want[5:])
    assert os.waitpid(child, 0)[1] == 0


def test_lerobots_own_dataset_opens_video_included() -> None:
    data = storage.read(SAMPLE)
    assert data.schema["front"] == ("uint8", (64, 64, 3))
    assert data.lengths.tolist() == [40, 55, 30]
    with av.open(str(SAMPLE / FRONT / "file-000.mp4")) as file:  # all three, end to end
        every = np.stack([f.to_ndarray(format="rgb24") for f in file.decode(video=0)])
    start = 0
    for e in data:
        assert np.array_equal(e.obs["front"][:-1], every[start : start + len(e)])
        assert np.array_equal(e.obs["front"][-1], every[start + len(e) - 1])  # none was recorded
        start += len(e)
    assert list(data) == list(storage.read(SAMPLE, images="memory"))
    skipped = storage.read(SAMPLE, video="skip")
    assert set(skipped[0].obs) == {"state"}


def test_damaged_video_is_noticed_and_named(copy: Path) -> None:
    path = copy / FRONT / "file-001.mp4"
    content = path.read_bytes()
    data = storage.read(copy)
    for damage, said in (
        (content[:-1], "bytes, .* were recorded"),
        (content[:900] + bytes([content[900] ^ 16]) + content[901:], "its checksum differs"),
    ):
        path.write_bytes(damage)
        with pytest.raises(DataError, match=rf"file-001.mp4, frame 3 cannot be read \(.*{said}"):
            storage.read(copy)[1].obs["front"][3]
    path.unlink()
    with pytest.raises(DataError, match=r"file-001.mp4 cannot be opened"):
        data[1].obs["front"][3]
    assert len(data[2].obs["front"][:]) == 15  # the others are untouched


def test_video_does_not_lead_out_of_the_folder(copy: Path, tmp_path: Path) -> None:
    path = copy / FRONT / "file-001.mp4"
    path.rename(tmp_path / "elsewhere.mp4")
    path.symlink_to(tmp_path / "elsewhere.mp4")
    with pytest.raises(DataError, match="a link that leads out"):
        storage.read(copy)[1].obs["front"][0]
    info = copy / "meta" / "info.json"
    info.write_text(info.read_text().replace("videos/{video_key}/chunk", "../{video_key}/chunk"))
    with pytest.raises(DataError, match="video_path"):
        storage.read(copy)


@pytest.mark.parametrize(
    ("shape", "said"),
    [([64, 48, 3], "is 64x48, declared is 48x64"), ([9000, 64, 3], "no camera"), ([48, 64], "must be")],
)
def test_declared_sizes_are_held_against_the_video(copy: Path, shape: list[int], said: str) -> None:
    info = copy / "meta" / "info.json"
    content = json.loads(info.read_text())
    content["features"]["observation.images.front"]["shape"] = shape
    info.write_text(json.dumps(content))
    with pytest.raises(DataError, match=said):
        storage.read(copy)[0].obs["front"][0]


def _outcome(folder: Path) -> str:
    try:
        got = storage.read(folder)[0].obs["front"][:]
    except DataError as e:
        said = str(e)
    else:
        assert got.shape == (13, 48, 64, 3)
        return "read"
    assert "file-000.mp4" in said
    assert "\n" not in said
    return "refused"


def test_mutated_videos_are_read_or_refused(copy: Path) -> None:
    """60 mutations of a file without noted checksums: a DataError that names it, or pictures of the right
    shape."""
    rows = copy / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    table = pq.read_table(rows)
    noted = [c for c in table.column_names if c.endswith(("/crc", "/size"))]
    pq.write_table(table.drop_columns(noted), rows)
    path = copy / FRONT / "file-000.mp4"
    content = path.read_bytes()
    moov = content.index(b"moov")
    outcomes = set()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        mutated = bytearray(content)
        if seed % 3 == 0:
            mutated = mutated[: rng.integers(len(content))]
        for at in rng.integers(0 if seed % 3 == 1 else moov, len(content), 3):
            if at < len(mutated):
                mutated[at] = rng.integers(256)
        path.write_bytes(mutated)
        outcomes.add(_outcome(copy))
    assert outcomes == {"read", "refused"}


def test_an_index_that_claims_too_much_is_refused_before_it_is_made(tmp_path: Path, copy: Path) -> None:
    content = (copy / FRONT / "file-000.mp4").read_bytes()

    def check(mutated: bytes) -> None:
        (tmp_path / "x.mp4").write_bytes(mutated)
        with open(tmp_path / "x.mp4", "rb") as file:
            check_mp4(file, len(mutated))

    check(content)
    at = content.index(b"stsz")
    bomb = content[: at + 8] + (1).to_bytes(4) + (2**31).to_bytes(4) + content[at + 16 :]
    with pytest.raises(ValueError, match="claims 2147483648 samples"):
        check(bomb)
    at = content.index(b"stts")
    with pytest.raises(ValueError, match="'stts' claims 4294967295 samples"):
        check(content[: at + 12] + b"\xff" * 4 + content[at + 16 :])
    with pytest.raises(ValueError, match=r"claims \d+ bytes where"):
        check(content[: len(content) // 2])
    with pytest.raises(ValueError, match="'cmov' where none belongs"):
        check(content.replace(b"mvhd", b"cmov", 1))


def test_a_truncated_last_video_is_put_aside_with_its_episode(copy: Path) -> None:
    want = list(storage.read(copy, images="memory"))
    storage.append(copy, [episode(7)])
    last = copy / FRONT / "file-004.mp4"
    last.write_bytes(last.read_bytes()[:100])
    said = storage.repair(copy)
    assert any("dropped episode 4" in line and "file-004.mp4" in line for line in said)
    assert list(storage.read(copy)) == want
    assert (copy / FRONT / ".file-004.mp4.damaged").exists()
    storage.append(copy, [episode(8)])
    assert same_but_for_pictures(storage.read(copy)[4], episode(8))


def test_where_av_is_missing_the_rest_can_be_read(
    recorded: tuple[Path, list[Episode]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder, episodes = recorded
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r"pip install 'understudy\[video\]'.*video='skip'"):
        storage.read(folder)
    assert same_but_for_pictures(storage.read(folder, video="skip")[3], episodes[3])
    with pytest.raises(ImportError, match=r"understudy\[video\]"):
        storage.Writer(tmp_path / "new", video=True)
    storage.write(tmp_path / "png", episodes[:1])  # which needs no PyAV
