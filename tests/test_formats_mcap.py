"""ROS 2 bags: exact round trips, bags of others at one rate, and hostile ones."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from understudy import formats
from understudy.episode import Episode
from understudy.formats import mcap
from understudy.formats._ticks import lost, ticks
from understudy.formats.mcap import Reading, Writing
from understudy.formats.notes import collected
from understudy.storage import DataError

pytest.importorskip("mcap")
pytest.importorskip("mcap_ros2")
from mcap.reader import make_reader
from mcap.records import Chunk
from mcap.writer import CompressionType
from mcap.writer import Writer as PlainWriter
from mcap_ros2.decoder import DecoderFactory
from mcap_ros2.writer import Writer as BagWriter

import formats_samples as samples

HEADER = "MSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id"
TIME = "MSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec"
POSE = "MSG: geometry_msgs/Pose\nPoint position\nQuaternion orientation"
POINT = "MSG: geometry_msgs/Point\nfloat64 x\nfloat64 y\nfloat64 z"
QUATERNION = "MSG: geometry_msgs/Quaternion\nfloat64 x 0\nfloat64 y 0\nfloat64 z 0\nfloat64 w 1"
LAYOUT = "MSG: std_msgs/MultiArrayLayout\nMultiArrayDimension[] dim\nuint32 data_offset"
DIMENSION = "MSG: std_msgs/MultiArrayDimension\nstring label   # of it\nuint32 size\nuint32 stride"
TYPES = {
    "sensor_msgs/msg/JointState": (
        "std_msgs/Header header\nstring[] name\nfloat64[] position\nfloat64[] velocity\nfloat64[] effort",
        HEADER,
        TIME,
    ),
    "geometry_msgs/msg/PoseStamped": (
        "std_msgs/Header header\nPose pose",
        HEADER,
        TIME,
        POSE,
        POINT,
        QUATERNION,
    ),
    "geometry_msgs/msg/Twist": (
        "# in free space\nVector3  linear\nVector3  angular",
        "MSG: geometry_msgs/Vector3\nfloat64 x\nfloat64 y\nfloat64 z",
    ),
    "std_msgs/msg/Float64MultiArray": ("MultiArrayLayout  layout\nfloat64[]  data", LAYOUT, DIMENSION),
    "std_msgs/msg/Float32MultiArray": ("MultiArrayLayout  layout\nfloat32[]  data", LAYOUT, DIMENSION),
    "std_msgs/msg/Bool": ("bool data",),
    "std_msgs/msg/Int32": ("int32 data",),
    "std_msgs/msg/String": ("string data",),
    "sensor_msgs/msg/Image": (
        "std_msgs/Header header\nuint32 height\nuint32 width\nstring encoding\nuint8 is_bigendian\n"
        "uint32 step\nuint8[] data",
        HEADER,
        TIME,
    ),
    "sensor_msgs/msg/CompressedImage": ("std_msgs/Header header\nstring format\nuint8[] data", HEADER, TIME),
    "my_msgs/msg/Odd": ("uint8 IDLE=0\nuint8 MODE_A = 1 # first\nOther[2] parts\nstring<=5 word\nint16[3] n",
                        "MSG: my_msgs/Other\nfloat32 a 0.5\nbool b"),
}  # fmt: skip


def stamped(t: float) -> dict[str, Any]:
    return {"stamp": {"sec": int(t), "nanosec": round((t - int(t)) * 1e9)}, "frame_id": "base"}


class Recorder:
    """Writes a bag of whatever is logged, in the order of the times."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.path, self._options = path, options
        self._logged: list[tuple[float, str, str, Any]] = []

    def log(self, t: float, topic: str, type: str, message: Any) -> None:
        self._logged.append((t, topic, type, message))

    def save(self, *, sort: bool = True) -> Path:
        self.path.parent.mkdir(exist_ok=True, parents=True)
        with open(self.path, "wb") as file:
            writer = BagWriter(file, **self._options)
            types = sorted({m[2] for m in self._logged})
            lines = "\n" + "=" * 80 + "\n"
            schemas = {t: writer.register_msgdef(t, lines.join(TYPES[t])) for t in types}
            logged = sorted(self._logged, key=lambda m: m[0]) if sort else self._logged
            for t, topic, type, message in logged:
                writer.write_message(topic, schemas[type], message, round(t * 1e9), round(t * 1e9))
            writer.finish()
        return self.path


def joints(position: list[float], t: float = 0.0, names: tuple[str, ...] = ("a", "b")) -> dict[str, Any]:
    return {"header": stamped(t), "name": list(names), "position": position, "velocity": [], "effort": []}


def floats(*values: float) -> dict[str, Any]:
    return {"layout": {"dim": [], "data_offset": 0}, "data": list(values)}


ARM = {"observations": ("state=/joints.position",), "action": "/command", "rate": 10.0}


def arm(path: Path, begin: float = 100.0) -> Recorder:
    """Joints at 50 Hz that say the time, commands at 20 Hz that say the time of giving them."""
    bag = Recorder(path)
    for i in range(101):
        bag.log(
            begin + i / 50, "/joints", "sensor_msgs/msg/JointState", joints([i / 50, -i / 50], begin + i / 50)
        )
    for i in range(40):
        t = 0.005 + i / 20
        bag.log(begin + t, "/command", "std_msgs/msg/Float64MultiArray", floats(t))
    return bag


def read(path: Path, **options: Any) -> list[Episode]:
    return list(mcap.episodes(path, Reading(**options)))


def write(path: Path, episodes: list[Episode], **options: Any) -> Path:
    mcap.write(path, episodes, Writing(**options))
    return path


# ------------------------------------------------------------------------------------------- round trips


@pytest.mark.parametrize("compression", ["zstd", "lz4", "none"])
@pytest.mark.parametrize("discrete", [False, True])
def test_everything_comes_back_to_the_last_bit(tmp_path: Path, compression: str, discrete: bool) -> None:
    given = samples.sample_episodes(12, discrete=discrete)
    path = write(tmp_path / "bags", given, compression=compression)
    assert formats.recognise(path) == "mcap"
    back = read(path)
    assert back == given  # in order: episode_000010 comes after episode_000009
    for a, b in zip(given, back, strict=True):
        assert [v.tobytes() for v in a.obs.values()] == [b.obs[k].tobytes() for k in a.obs]


def test_one_bag_holds_one_episode(tmp_path: Path) -> None:
    given = samples.sample_episodes(2)
    assert read(write(tmp_path / "a.mcap", given[:1])) == given[:1]
    with pytest.raises(DataError, match="name a folder for several"):
        write(tmp_path / "b.mcap", given)
    with pytest.raises(DataError, match="no episodes"):
        write(tmp_path / "c", [])
    with pytest.raises(DataError, match="fps is -1"):
        write(tmp_path / "c", given, fps=-1.0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mcap"]
    with pytest.raises(DataError, match="there already"):
        write(tmp_path / "a.mcap", given[:1])


def test_its_own_packages_read_what_we_write(tmp_path: Path) -> None:
    (given,) = samples.sample_episodes(1)
    path = write(tmp_path / "a.mcap", [given])
    found: dict[str, list[Any]] = {}
    with open(path, "rb") as file:
        for _, channel, m, decoded in make_reader(file, True, [DecoderFactory()]).iter_decoded_messages():
            found.setdefault(channel.topic, []).append((m.log_time, decoded))
    state = np.array([m.data for _, m in found["/observation/state"]])
    assert np.array_equal(state, given.obs["state"].astype(np.float64))
    assert np.array_equal([m.data for _, m in found["/action"]], given.action.astype(np.float64))
    pictures = found["/observation/camera_front__"]
    assert [bytes(m.data) for _, m in pictures] == [p.tobytes() for p in given.obs["camera/front é"]]
    assert {(m.encoding, m.height, m.width, m.step) for _, m in pictures} == {("rgb8", 8, 6, 18)}
    assert [t for t, _ in pictures] == [round(t * 1e9) for t in given.time.tolist()]
    assert pictures[1][1].header.stamp.sec == int(given.time[1])


def test_read_as_somebody_elses_our_bags_give_the_same_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    given = Episode.demonstration(rng.random((21, 3)), rng.random((20, 2)), rng.random(20), meta={"fps": 7})
    path = write(tmp_path / "a.mcap", [given])
    (back,) = read(
        path,
        observations=("state=/observation/state.data",),
        action="/action.data",
        reward="/reward",
        rate=7.0,
    )
    assert np.array_equal(back.obs["state"], given.obs["state"])
    assert np.array_equal(back.action, given.action)
    assert len(back) == 20
    assert back.meta["dropped_frames"] == 0


# --------------------------------------------------------------------------------------- bags of others


def test_without_a_mapping_the_topics_are_told(tmp_path: Path) -> None:
    path = arm(tmp_path / "a.mcap").save()
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value) == (
        f"{path} needs a mapping: observations=name=/topic.field, action=/topic.field and rate=steps a "
        "second; it has /command (std_msgs/msg/Float64MultiArray, 40 messages, 20.0 Hz), "
        "/joints (sensor_msgs/msg/JointState, 101 messages, 50.0 Hz)"
    )
    command, state = mcap.topics(path)
    assert (command.name, command.type, command.count) == ("/command", "std_msgs/msg/Float64MultiArray", 40)
    assert (state.first, state.last, state.rate) == (100.0, 102.0, pytest.approx(50.0))


def test_the_state_is_the_latest_and_the_action_what_comes_next(tmp_path: Path) -> None:
    (e,) = read(arm(tmp_path / "a.mcap").save(), **ARM)
    assert len(e) == 20
    at = np.arange(21) / 10
    assert np.allclose(
        e.obs["state"], np.stack([at, -at], 1), atol=1e-6
    )  # every fifth message falls on a tick
    assert np.allclose(
        e.action[:, 0], at[:-1] + 0.005
    )  # the first command after the tick, not the one before
    assert np.allclose(e.time, 100 + at)
    assert e.meta["fps"] == 10
    assert e.meta["resampled"] == (
        "10 Hz on log time; /joints: 101 messages, 80 unused, 0 repeated, 0 missing; "
        "/command: 40 messages, 20 unused, 0 repeated, 0 missing"
    )
    assert "gaps" not in e.meta
    assert "started" not in e.meta  # the clock was never set


def test_a_faster_rate_repeats_and_says_so(tmp_path: Path) -> None:
    (e,) = read(arm(tmp_path / "a.mcap", 1.7e9).save(), **(ARM | {"rate": 100.0}))
    assert len(e) == 200
    assert np.array_equal(e.obs["state"][0:200:2], e.obs["state"][1:200:2])
    assert "/joints: 101 messages, 0 unused, 100 repeated, 0 missing" in e.meta["resampled"]
    assert (e.action[1:5] == e.action[1]).all()  # in force until the next one
    assert e.meta["started"] == "2023-11-14T22:13:20+00:00"


def test_what_a_recorder_lost_is_counted_and_long_silence_told(tmp_path: Path) -> None:
    bag = arm(tmp_path / "a.mcap")
    bag._logged = [m for m in bag._logged if not (m[1] == "/joints" and 100.51 < m[0] < 101.99)]
    with collected() as notes:
        (e,) = read(bag.save(), **ARM)
    assert e.meta["dropped_frames"] == 74
    assert e.meta["gaps"] == "/joints: 1.500 s from 0.500 s"
    assert set(notes) == {
        "/joints has messages that are unused; meta['resampled'] says how many",
        "/joints has messages that are repeated; meta['resampled'] says how many",
        "/joints has messages that are missing; meta['resampled'] says how many",
        "/command has messages that are unused; meta['resampled'] says how many",
        "topics were silent for long; meta['gaps'] says which and when",
    }
    assert (np.diff(e.time) >= 0).all()
    assert np.allclose(e.time[5:20], 100.5)  # measured then, however late it is used
    assert "gaps" not in read(bag.path, **ARM, gap=2.0)[0].meta


def test_a_topic_that_speaks_once_is_held_and_not_missed(tmp_path: Path) -> None:
    bag = arm(tmp_path / "a.mcap")
    bag.log(99.0, "/goal", "std_msgs/msg/Float64MultiArray", floats(7))
    (e,) = read(bag.save(), **(ARM | {"observations": (*ARM["observations"], "goal=/goal")}))
    assert len(e) == 20
    assert (e.obs["goal"] == 7).all()
    assert e.meta["dropped_frames"] == 0
    assert "gaps" not in e.meta
    assert "/goal: 1 messages, 0 unused, 20 repeated, 0 missing" in e.meta["resampled"]


def test_commands_before_the_first_state_and_states_before_the_first_command(tmp_path: Path) -> None:
    bag = Recorder(tmp_path / "a.mcap")
    for i in range(11):
        bag.log(5 + i, "/joints", "sensor_msgs/msg/JointState", joints([i, 0.0]))
    bag.log(1, "/command", "std_msgs/msg/Float64MultiArray", floats(-1.0))
    (held,) = read(bag.save(), **(ARM | {"rate": 1.0}))
    assert held.action[:, 0].tolist() == [-1.0] * 10
    bag._logged[-1] = (8.2, *bag._logged[-1][1:])
    (late,) = read(bag.save(), **(ARM | {"rate": 1.0}))
    assert late.obs["state"][:, 0].tolist() == [3, 4, 5, 6, 7, 8, 9]  # from the command on, at 8.2, 9.2, ...


def test_many_kinds_of_messages(tmp_path: Path) -> None:
    bag = Recorder(tmp_path / "a.mcap")
    for i in range(4):
        t, pose = (
            10.0 + i,
            {"position": {"x": i, "y": 2, "z": 3}, "orientation": {"x": 0, "y": 0, "z": 0, "w": 1}},
        )
        bag.log(t, "/pose", "geometry_msgs/msg/PoseStamped", {"header": stamped(t), "pose": pose})
        twist = {"linear": {"x": 1, "y": 2, "z": 3}, "angular": {"x": 4, "y": 5, "z": i}}
        bag.log(t, "/twist", "geometry_msgs/msg/Twist", twist)
        bag.log(t, "/f32", "std_msgs/msg/Float32MultiArray", floats(0.1, i))
        bag.log(t, "/flag", "std_msgs/msg/Bool", {"data": i > 1})
        odd = {"parts": [{"a": i, "b": True}, {"a": 9, "b": False}], "word": "hello", "n": [7, 8, 9]}
        bag.log(t, "/odd", "my_msgs/msg/Odd", odd)
        bag.log(t, "/paid", "std_msgs/msg/Float64MultiArray", floats(i))
    bag.log(12.5, "/paid", "std_msgs/msg/Float64MultiArray", floats(10))
    observations = (
        "pose=/pose.pose",
        "x=/pose.pose.position.x",
        "mixed=/f32.data[1]",
        "mixed=/flag",
        "odd=/odd",
        "part=/odd.parts[0].a",
        "tail=/odd.n[1:]",
        "both=/odd.n[0:2]",
    )
    action = "/twist.linear + /twist.angular.z"
    (e,) = read(
        bag.save(), observations=observations, action=action, rate=1.0, reward="/paid", success="/flag"
    )
    assert e.obs["pose"][3].tolist() == [3, 2, 3, 0, 0, 0, 1]
    assert e.obs["x"][:, 0].tolist() == [0, 1, 2, 3]
    assert e.obs["mixed"].tolist() == [[0, 0], [1, 0], [2, 1], [3, 1]]
    assert e.obs["odd"][2].tolist() == [2, 1, 9, 0, 7, 8, 9]
    assert e.obs["part"][:, 0].tolist() == [0, 1, 2, 3]
    assert e.obs["tail"][0].tolist() == [8, 9]
    assert e.obs["both"][0].tolist() == [7, 8]
    assert e.action.tolist() == [[1, 2, 3, 0], [1, 2, 3, 1], [1, 2, 3, 2]]
    assert e.reward.tolist() == [1, 2, 13]
    assert e.success is True


def test_joints_keep_their_order_whatever_a_message_says(tmp_path: Path) -> None:
    bag = Recorder(tmp_path / "a.mcap")
    for i in range(4):
        names = ("a", "b") if i % 2 == 0 else ("b", "a")
        bag.log(
            i,
            "/joints",
            "sensor_msgs/msg/JointState",
            joints([1.0, 2.0] if i % 2 == 0 else [2.0, 1.0], names=names),
        )
        bag.log(i, "/command", "std_msgs/msg/Float64MultiArray", floats(0))
    options = ARM | {"rate": 1.0}
    assert (read(bag.save(), **options)[0].obs["state"] == [1, 2]).all()
    bag.log(4, "/joints", "sensor_msgs/msg/JointState", joints([1.0, 2.0], names=("a", "c")))
    with pytest.raises(DataError, match="changes its joints from a, b to a, c"):
        read(bag.save(), **options)


def test_header_time_is_when_it_was_measured(tmp_path: Path) -> None:
    bag = Recorder(tmp_path / "a.mcap")
    for i in range(5):  # logged 0.3 s after it was measured
        bag.log(10 + i + 0.3, "/joints", "sensor_msgs/msg/JointState", joints([float(i), 0.0], 10.0 + i))
        bag.log(10 + i + 0.1, "/command", "std_msgs/msg/Float64MultiArray", floats(i))
    (logged,) = read(bag.save(), **(ARM | {"rate": 1.0}))
    (measured,) = read(bag.path, **(ARM | {"rate": 1.0}), clock="header")
    assert logged.action[:, 0].tolist() == [1, 2, 3, 4]  # seen at 10.3, so 11.1's command is the answer
    assert measured.action[:, 0].tolist() == [0, 1, 2, 3]
    assert measured.time.tolist() == [10, 11, 12, 13, 14]


def test_messages_out_of_order_are_sorted(tmp_path: Path) -> None:
    bag = arm(tmp_path / "a.mcap")
    (want,) = read(bag.save(), **ARM)
    np.random.default_rng(0).shuffle(bag._logged)
    with collected() as notes:
        assert read(bag.save(sort=False), **ARM) == [want]
    assert {n for n in notes if "older than those before" in n}


def picture(encoding: str, pixels: np.ndarray, pad: int = 0, big: bool = False) -> dict[str, Any]:
    rows = pixels.reshape(len(pixels), -1).view(np.uint8)
    rows = np.concatenate([rows, np.full((len(rows), pad), 99, np.uint8)], 1)
    message = {
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "encoding": encoding,
        "is_bigendian": int(big),
    }
    return message | {"header": stamped(0), "step": rows.shape[1], "data": rows.tobytes()}


def shown(folder: Path, *messages: dict[str, Any], type: str = "Image") -> np.ndarray:
    bag = Recorder(folder / "pictures.mcap")
    for i, message in enumerate(messages):
        bag.log(i, "/camera", f"sensor_msgs/msg/{type}", message)
        bag.log(i, "/command", "std_msgs/msg/Float64MultiArray", floats(0))
    (e,) = read(bag.save(), observations=("front=/camera",), action="/command", rate=1.0)
    return e.obs["front"]


def test_pictures_in_their_encodings(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    assert np.array_equal(shown(tmp_path, *(picture("rgb8", p) for p in rgb)), rgb)
    assert np.array_equal(shown(tmp_path, *(picture("bgr8", p, pad=3) for p in rgb)), rgb[..., ::-1])
    grey = np.ascontiguousarray(rgb[..., :1])
    assert np.array_equal(shown(tmp_path, *(picture("mono8", p) for p in grey)), grey)
    four = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 4), dtype=np.uint8)
    assert np.array_equal(shown(tmp_path, *(picture("bgra8", p) for p in four)), four[..., [2, 1, 0, 3]])
    depth = np.array([[[[1000], [65535]]]] * 2, np.uint16)
    for big in (False, True):
        there = depth.astype(">u2" if big else "<u2")
        found = shown(tmp_path, *(picture("16UC1", p, big=big) for p in there))
        assert found.dtype == np.float32
        assert np.array_equal(found, depth)
    with pytest.raises(DataError, match="images in 'bayer_rggb8'; known are rgb8, bgr8"):
        shown(tmp_path, *(picture("bayer_rggb8", p) for p in grey))


def compressed(pixels: np.ndarray, kind: str) -> dict[str, Any]:
    with io.BytesIO() as file:
        Image.fromarray(pixels).save(file, kind, **({"quality": 95} if kind == "jpeg" else {}))
        return {"header": stamped(0), "format": f"rgb8; {kind} compressed bgr8", "data": file.getvalue()}


def test_compressed_pictures(tmp_path: Path) -> None:
    smooth = np.stack([np.add.outer(np.arange(32), np.arange(24)) * 2 + 20 * i for i in range(3)], -1).astype(
        np.uint8
    )
    png = shown(tmp_path, compressed(smooth, "png"), compressed(smooth, "png"), type="CompressedImage")
    assert np.array_equal(png, [smooth, smooth])
    jpeg = shown(tmp_path, compressed(smooth, "jpeg"), compressed(smooth, "jpeg"), type="CompressedImage")
    assert np.abs(jpeg[0].astype(int) - smooth).max() < 8
    bad = compressed(smooth, "png")
    for change, said in (
        ({"format": "16UC1; compressedDepth png"}, "compressedDepth"),
        ({"data": bad["data"][:60]}, "no jpeg or png, or is damaged"),
        ({"data": b"GIF89a" + bytes(100)}, "no jpeg or png"),
    ):
        with pytest.raises(DataError, match=said):
            shown(tmp_path, bad | change, bad | change, type="CompressedImage")


def test_a_small_picture_that_claims_to_be_huge(tmp_path: Path) -> None:
    message = compressed(np.zeros((8, 8, 3), np.uint8), "png")
    at = message["data"].index(b"IHDR") + 4
    huge = message["data"][:at] + struct.pack(">II", 30_000, 30_000) + message["data"][at + 8 :]
    with pytest.raises(DataError, match=r"30000x30000|damaged"):
        shown(tmp_path, message | {"data": huge}, message | {"data": huge}, type="CompressedImage")
    raw = picture("rgb8", np.zeros((2, 2, 3), np.uint8))
    for change in ({"height": 2**31}, {"step": 3}, {"data": b""}, {"height": 3}, {"width": 0}):
        with pytest.raises(DataError, match="image"):
            shown(tmp_path, raw | change, raw | change)


def test_a_topic_tells_the_episodes_of_one_bag_apart(tmp_path: Path) -> None:
    bag = arm(tmp_path / "a.mcap")
    for i in range(101):
        bag.log(
            100 + i / 50,
            "/camera",
            "sensor_msgs/msg/Image",
            picture("mono8", np.full((2, 2, 1), i, np.uint8)),
        )
    for t, number in ((100.0, 0), (100.2, 3), (100.3, 3), (100.8, 0), (101.0, 4), (101.5, 5)):
        bag.log(t, "/number", "std_msgs/msg/Int32", {"data": number})
    options = ARM | {"observations": (*ARM["observations"], "front=/camera"), "episode": "/number"}
    episodes = read(bag.save(), **options)
    assert [len(e) for e in episodes] == [5, 4, 5]
    assert [round(float(e.time[0]), 3) for e in episodes] == [100.2, 101.0, 101.5]
    for e in episodes:  # a picture shows the number of its message
        assert np.array_equal(e.obs["front"][:, 0, 0, 0], np.rint((e.time - 100) * 50))
        assert np.allclose(e.action[:, 0], e.time[:-1] - 100 + 0.005)
    bag._logged = [m if m[1] != "/number" else (*m[:3], {"data": 0}) for m in bag._logged]
    with pytest.raises(DataError, match="is 0 all the time"):
        read(bag.save(), **options)


def test_folders_of_bags_and_bags_in_pieces(tmp_path: Path) -> None:
    for i, begin in enumerate((100.0, 200.0, 300.0)):
        arm(tmp_path / "set" / f"run_{i * 5}.mcap", begin).save()
    assert [float(e.time[0]) for e in read(tmp_path / "set", **ARM)] == [100, 200, 300]
    whole = arm(tmp_path / "whole.mcap")
    (want,) = read(whole.save(), **ARM)
    folder, logged = tmp_path / "rosbag", sorted(whole._logged, key=lambda m: m[0])
    for i in (0, 1):
        piece = Recorder(folder / f"rosbag_{i}.mcap")
        piece._logged = logged[:70] if i == 0 else logged[70:]
        piece.save()
    assert len(read(folder, **ARM)) == 2
    (folder / "metadata.yaml").write_text("rosbag2_bagfile_information: {}\n")
    (back,) = read(folder, **ARM)
    assert {**back.meta, "bag": ""} == {**want.meta, "bag": ""}
    assert np.array_equal(back.obs["state"], want.obs["state"])
    assert [e.meta["bag"] for e in read(tmp_path, **ARM)] == ["whole.mcap", "rosbag_0.mcap", "run_0.mcap"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"observations": ("/joints.position",)}, "must be written name=/topic.field"),
        ({"observations": ("s=/nothing",)}, "/nothing has no messages; there are /command, /joints"),
        ({"observations": ("s=/joints.colour",)}, "no field 'colour'; there are header, name, position"),
        ({"observations": ("s=/joints.__class__",)}, "'__class__' is no field"),
        ({"observations": ("s=/joints.position.imag",)}, "no field 'imag'"),
        ({"observations": ("s=/joints.position[7]",)}, "has no element 7"),
        ({"observations": ("s=/joints.position[x]",)}, "is no field"),
        ({"observations": ("s=/joints.position[]",)}, "has no index"),
        ({"observations": ("s=/joints.velocity",)}, "holds no numbers"),
        ({"observations": ("s=/joints.name",)}, "holds no numbers"),
        ({"action": "+"}, "names no topic"),
        ({"rate": -1.0}, "rate is -1.0; it must be positive"),
        ({"rate": float("nan")}, "rate is nan"),
        ({"rate": 1e9}, "10000 at most"),
        ({"gap": 0.0}, "gap is 0.0"),
        ({"rate": 0.3}, "no step at 0.3 Hz"),
        ({"reward": "/joints.position"}, "is not one number, which reward must be"),
        ({"rate": 0.0}, "needs a mapping"),
    ],
)
def test_mappings_that_do_not_fit(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError) as error:
        read(arm(tmp_path / "a.mcap").save(), **(ARM | options))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_pictures_are_observations_of_their_own(tmp_path: Path) -> None:
    bag = arm(tmp_path / "a.mcap")
    bag.log(100, "/camera", "sensor_msgs/msg/Image", picture("mono8", np.zeros((2, 2, 1), np.uint8)))
    for options in ({"action": "/camera"}, {"observations": ("s=/joints.position", "s=/camera")}):
        with pytest.raises(DataError, match="only be an observation of their own"):
            read(bag.save(), **(ARM | options))


def test_ticks_are_exact_and_lost_messages_counted() -> None:
    times = np.arange(0, 10**10, 20_000_000)
    grid = ticks({"a": times}, {"b": times}, 30.0, 0, 10**10)
    assert np.abs(grid.ticks - np.arange(len(grid.ticks)) * 1e9 / 30).max() <= 0.5  # no drift over 10 s
    assert (times[grid.states["a"]] <= grid.ticks).all()
    assert (np.append(times, 2**62)[grid.states["a"] + 1] > grid.ticks).all()
    after = times[grid.actions["b"]]
    assert (
        (after >= grid.ticks[:-1]) & (after < grid.ticks[1:]) & (after - 20_000_000 < grid.ticks[:-1])
    ).all()
    rng = np.random.default_rng(0)
    kept = np.sort(rng.choice(len(times), 400, replace=False))
    kept[[0, -1]] = 0, len(times) - 1
    jittered = np.sort(times[kept] + rng.integers(-4_000_000, 4_000_000, len(kept)))
    assert lost(jittered) == len(times) - len(kept)
    assert lost(times[:1]) == lost(times) == 0
    assert lost(np.cumsum(rng.exponential(1e9, 300)).astype(np.int64)) == 0  # it speaks when it has news


# ------------------------------------------------------------------------------------------- hostile bags


def hostile(
    path: Path, type: str, definition: str, data: bytes, encoding: str = "cdr", language: str = "ros2msg"
) -> Path:
    with open(path, "wb") as file:
        writer = PlainWriter(file, compression=CompressionType.NONE)
        writer.start("ros2")
        schema = writer.register_schema(type, language, definition.encode())
        channel = writer.register_channel("/x", encoding, schema)
        for i in range(3):
            writer.add_message(channel, i * 10**9, data, i * 10**9)
        writer.finish()
    return path


@pytest.mark.parametrize(
    ("definition", "data", "said"),
    [
        # Its parser would take exponential time over this constant's name; constants are not needed.
        ("int32 " + "A" * 60 + "_=3\nfloat64 x", bytes(12), ""),
        ("B[] b\n===\nMSG: a/B\nuint8[4] y", b"\0\1\0\0\xff\xff\xff\xff", "shorter than its definition"),
        ("B[9999] b\n===\nMSG: a/B\nC[9999] c\n===\nMSG: a/C\nuint8[1] d", bytes(20), "shorter than its"),
        ("float64[2000000000] x", bytes(20), "100000 elements are the most"),
        ("a/A again", bytes(20), "recursion"),
        ("a/B b", bytes(20), "not found"),
        ("float64 __class__", bytes(20), "which is no field"),
        ("float64", bytes(20), "which is no field"),
        ("float64[] x", b"\0\1\0\0\xff\xff\xff\xff", "cannot be read"),
        ("string x", b"\0\1\0\0\xff\xff\xff\xff", "shorter than its definition"),
        ("wstring x", bytes(20), "not implemented"),
        ("float64 x", b"", "cannot be read"),
        ("float64 x", b"\0\1\0\0" + struct.pack("<d", float("nan")), "must be finite"),
        ("float64 x\n" + "# " + "x" * (1 << 20), bytes(12), "are the most"),
    ],
)
def test_definitions_are_not_trusted(tmp_path: Path, definition: str, data: bytes, said: str) -> None:
    path = hostile(tmp_path / "a.mcap", "a/msg/A", definition, data)
    options = {"observations": ("s=/x",), "action": "/x", "rate": 1.0}
    if not said:
        assert read(path, **options)[0].obs["s"].tolist() == [[0.0]] * 3
        return
    with pytest.raises(DataError) as error:
        read(path, **options)
    assert said in str(error.value)


def test_other_encodings_are_refused_by_name(tmp_path: Path) -> None:
    options = {"observations": ("s=/x",), "action": "/x", "rate": 1.0}
    path = hostile(tmp_path / "a.mcap", "a/msg/A", "{}", b"{}", "json", "jsonschema")
    with pytest.raises(
        DataError, match="/x is json with a definition in jsonschema; read are cdr with ros2msg"
    ):
        read(path, **options)
    path = hostile(tmp_path / "b.mcap", "a/msg/A", "module a {};", bytes(12), "cdr", "ros2idl")
    with pytest.raises(DataError, match="a definition in ros2idl"):
        read(path, **options)


def test_a_bag_that_is_cut_short_is_refused_or_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    bag = arm(path)
    bag._options = {"chunk_size": 1000}
    (whole,) = read(bag.save(), **ARM)
    cut = path.read_bytes()[: path.stat().st_size // 3]
    path.write_bytes(cut)
    with pytest.raises(DataError, match="ends in the middle of a record"):
        read(path, **ARM)
    with collected() as notes:
        (part,) = read(path, **ARM, cut_short=True)
    assert any("in the middle of a record" in n for n in notes)
    assert 3 < len(part) < len(whole)
    assert np.array_equal(part.obs["state"], whole.obs["state"][: len(part) + 1])


def test_chunks_are_held_against_what_they_declare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = samples.sample_episodes(1)
    write_chunk = Chunk.write
    for compression in ("zstd", "lz4", "none"):
        for change in (
            {"uncompressed_size": 2**62},
            {"uncompressed_size": 3},
            {"compression": "bogus"},
            {"uncompressed_crc": 1},
        ):

            def lie(self: Chunk, stream: Any, change: dict[str, Any] = change) -> None:
                for name, value in change.items():
                    setattr(self, name, value)
                write_chunk(self, stream)

            with monkeypatch.context() as patch:
                patch.setattr(Chunk, "write", lie)
                path = write(
                    tmp_path / f"{compression}{min(change)}{min(change.values(), default=0)}.mcap",
                    given,
                    compression=compression,
                )
            with pytest.raises(DataError, match=r"claims|unpack|compressed with|crc|cannot be read"):
                read(path)


def test_a_chunk_that_unfolds_without_end(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mcap", samples.sample_episodes(1), compression="zstd")
    import zstandard

    bomb = zstandard.ZstdCompressor(level=3, write_content_size=False).compress(bytes(1 << 26))
    for declared in (1 << 26, 1 << 40):  # the one it has, and one that no memory has
        record = struct.pack("<QQQI", 0, 1, declared, 0) + struct.pack("<I4sQ", 4, b"zstd", len(bomb)) + bomb
        content = path.read_bytes()
        head = 8 + 9 + int.from_bytes(content[9:17], "little")
        other = tmp_path / f"{declared}.mcap"
        chunks = (b"\x06" + struct.pack("<Q", len(record)) + record) * 8
        other.write_bytes(content[:head] + chunks + content[head:])
        with pytest.raises(DataError, match=r"claims|kind 0"):
            read(other)


def test_what_our_metadata_says_is_checked(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mcap", samples.sample_episodes(1), compression="none")
    for old, new in (
        (b'"role": "action"', b'"role": "acting"'),
        (b'"dtype": "float32"', b'"dtype": "object0"'),
        (b'"topic": "/action"', b'"topic": "/actiom"'),
        (b'"terminated": true', b'"terminated": 1234'),
        (b'"extras": ["time"]', b'"extras": ["timy"]'),
    ):
        other = tmp_path / "b.mcap"
        assert path.read_bytes().count(old) == 1 or b"dtype" in old
        other.write_bytes(path.read_bytes().replace(old, new))
        with pytest.raises(DataError):
            read(other)


def test_links_are_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "bags", samples.sample_episodes(1))
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a.mcap").symlink_to(tmp_path / "bags" / "episode_000000.mcap")
    assert not mcap.recognises(tmp_path / "there")
    with pytest.raises(DataError, match="holds no bags"):
        read(tmp_path / "there")
