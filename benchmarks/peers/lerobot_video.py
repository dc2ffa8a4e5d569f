"""A dataset with state, two cameras in video and task texts opens in LeRobot 0.4.4 with equal numbers.

Run with our own Python: it records live and from arrays, appends and compacts, and asks LeRobot, in its
environment `.peers/lerobot`, for every frame: numbers must be equal, pictures equal to what we decode.
Then the other way round: LeRobot records (H.264 with reordered frames, and AV1; several episodes in a file),
and we read what was filmed, each picture within its codec's error.
LeRobot's own video decoders (torchcodec, torchvision's VideoReader) need builds that are not on every
machine; where neither works, its frames are decoded by the PyAV of its environment from the file and at the
times that its metadata names, with its own tolerance.

    .venv/bin/python benchmarks/peers/lerobot_video.py --json-out benchmarks/results/lerobot_video.json
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
PEER = ROOT / ".peers" / "lerobot" / "bin" / "python"
CAMERAS = ("front", "wrist")


def scene(n: int, height: int, width: int, seed: int) -> np.ndarray:
    """[n, H, W, 3]: a moving gradient with noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    moving = [np.stack([x + 3 * i, y + i, x + y], -1) % 200 for i in range(n)]
    return (np.stack(moving) + rng.integers(0, 12, (n, height, width, 3))).astype(np.uint8)


def record(folder: Path) -> dict[str, Any]:
    """Writes the datasets, and what must be found in them as arrays; gives back the facts to compare."""
    from understudy import storage
    from understudy.episode import Episode

    rng = np.random.default_rng(0)

    def episode(i: int) -> Episode:
        steps = 20 + 3 * i
        obs = {
            "state": rng.standard_normal((steps + 1, 6)),
            "front": scene(steps + 1, 96, 128, i),
            "wrist": scene(steps + 1, 64, 64, i + 50),
        }
        meta = {"task": ("pick up the cube", "push the cube")[i % 2], "operator": "ann", "seed": i}
        return Episode.demonstration(obs, rng.standard_normal((steps, 6)), success=i % 2 == 0, meta=meta)

    episodes = [episode(i) for i in range(6)]
    for name in ("recorded", "compacted"):
        with storage.Writer(folder / name, fps=30, robot_type="arm", video=True) as writer:
            writer.extend(episodes[:2])
            writer.add(episodes[2])
            for e in episodes[3:5]:  # live, as at a robot
                with writer.record(e.meta) as take:
                    for t in range(len(e)):
                        take.step({k: v[t] for k, v in e.obs.items()}, e.action[t])
                    take.finish({k: v[-1] for k, v in e.obs.items()}, success=e.success)
        storage.append(folder / name, episodes[5:])
    storage.compact(folder / "compacted")
    ours = storage.read(folder / "recorded")
    arrays = {"observation.state": np.concatenate([e.obs["state"][:-1] for e in episodes])}
    arrays["action"] = np.concatenate([e.action for e in episodes])
    for key in CAMERAS:
        arrays[f"observation.images.{key}"] = np.concatenate([e.obs[key][:-1] for e in ours])
        sample = [e.obs[key][::8, ::2, ::2].reshape(-1, 3) for e in episodes]  # as we say we sample
        arrays[f"mean {key}"] = np.concatenate(sample).mean(0) / 255
    np.savez(folder / "want.npz", **arrays)
    return {"lengths": [len(e) for e in episodes], "tasks": [e.meta["task"] for e in episodes]}


def pictures(data: Any, key: str, index: int, decoded: dict[Path, Any]) -> tuple[np.ndarray, str]:
    """The picture [H, W, 3] that LeRobot's metadata names for a frame, and how it was decoded."""
    import av

    item = data.hf_dataset[index]
    episode, time = int(item["episode_index"]), float(item["timestamp"])
    path = data.root / data.meta.get_video_file_path(episode, key)
    if path not in decoded:
        with av.open(str(path)) as file:
            frames = list(file.decode(video=0))
        decoded[path] = (
            np.array([f.time for f in frames]),
            [f.to_ndarray(format="rgb24") for f in frames],
        )
    times, frames = decoded[path]
    wanted = data.meta.episodes[episode][f"videos/{key}/from_timestamp"] + time
    nearest = int(np.abs(times - wanted).argmin())
    if abs(times[nearest] - wanted) >= data.tolerance_s:
        raise SystemExit(f"frame {index} of {key} is {abs(times[nearest] - wanted)} s from the nearest")
    return frames[nearest], f"PyAV {av.__version__} of LeRobot's environment"


def compare(folder: Path, name: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Inside LeRobot's environment: reads every frame and compares."""
    import torch

    library = torch.library.Library("torchvision", "DEF")  # its operators do not load beside a CPU torch
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import lerobot
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    data = LeRobotDataset(f"local/{name}", root=folder / name, video_backend="pyav")
    want = np.load(folder / "want.npz")
    lengths, off = facts["lengths"], dict.fromkeys(want.files, 0.0)
    if len(data) != sum(lengths) or [e["length"] for e in data.meta.episodes] != lengths:
        raise SystemExit(f"{name}: LeRobot sees {len(data)} frames and other lengths")
    if sorted(data.meta.video_keys) != [f"observation.images.{k}" for k in CAMERAS]:
        raise SystemExit(f"{name}: LeRobot sees the videos {data.meta.video_keys}")
    try:
        data[0]
        how = "LeRobot's own decoder"
    except (AttributeError, ImportError, RuntimeError):
        how = ""
    decoded: dict[Path, Any] = {}
    for index in range(len(data)):
        item = data[index] if how == "LeRobot's own decoder" else data.hf_dataset[index]
        for key in ("observation.state", "action"):
            off[key] = max(off[key], float(np.abs(item[key].numpy() - want[key][index]).max()))
        task = data.meta.tasks.iloc[int(item["task_index"])].name
        if task != facts["tasks"][int(item["episode_index"])] or int(item["index"]) != index:
            raise SystemExit(f"{name}: frame {index} is of task {task!r}")
        for key in data.meta.video_keys:
            if how == "LeRobot's own decoder":
                theirs = np.rint(item[key].numpy().transpose(1, 2, 0) * 255)
            else:
                theirs, how = pictures(data, key, index, decoded)
            difference = np.abs(theirs.astype(np.float64) - want[key][index]).max()
            off[key] = max(off[key], float(difference))
    for key in CAMERAS:
        mean = np.ravel(data.meta.stats[f"observation.images.{key}"]["mean"])
        off[f"mean {key}"] = float(np.abs(mean - want[f"mean {key}"]).max())
    return {"frames": len(data), "lerobot": lerobot.__version__, "pictures_by": how, "off": off}


def filmed(episode: int) -> np.ndarray:
    """[n, H, W, 3], what LeRobot is to record: no two pictures alike."""
    y, x = np.mgrid[:64, :96]
    return np.stack(
        [np.stack([x + 3 * i, y + i + 20 * episode, x + y], -1) % 200 for i in range(20 + 7 * episode)]
    )


def make(folder: str, codec: str) -> None:
    """Inside LeRobot's environment: records three episodes."""
    import torch

    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    numbers = {"dtype": "float32", "shape": (2,), "names": None}
    camera = {"dtype": "video", "shape": (64, 96, 3), "names": ["height", "width", "channels"]}
    features = {"observation.state": numbers, "action": numbers, "observation.images.front": camera}
    data = LeRobotDataset.create(f"local/{codec}", fps=25, features=features, root=folder, vcodec=codec)
    for episode in range(3):
        for i, picture in enumerate(filmed(episode).astype(np.uint8)):
            row = np.array([episode, i], np.float32)
            data.add_frame(
                {"observation.state": row, "action": -row, "observation.images.front": picture, "task": "x"}
            )
        data.save_episode()
    data.finalize()


def read_theirs(folder: str) -> float:
    """The lowest peak signal-to-noise ratio of any picture that LeRobot recorded and we read, in dB."""
    from understudy import storage

    lowest = np.inf
    for number, episode in enumerate(storage.read(folder)):
        if not np.array_equal(episode.action[:, 1], -np.arange(len(episode), dtype=np.float32)):
            sys.exit(f"{folder}: the actions of episode {number} are not what LeRobot recorded")
        error = (episode.obs["front"][:-1] - filmed(number).astype(np.float64)) ** 2
        lowest = min(lowest, 10 * np.log10(255**2 / error.mean((1, 2, 3)).max()))
    return float(lowest)


def main() -> None:
    if len(sys.argv) == 4 and sys.argv[1] == "make":
        make(sys.argv[2], sys.argv[3])
        return
    if len(sys.argv) == 5 and sys.argv[1] == "compare":
        print(json.dumps(compare(Path(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4]))))
        return
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from common import arguments, emit, environment

    out = arguments(__doc__).parse_args().json_out
    if not PEER.exists():
        print(json.dumps({"skipped": "LeRobot is not installed; `bash benchmarks/peers/setup.sh lerobot`"}))
        return
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        facts = record(Path(folder))
        env = environment() | {"HF_HOME": f"{folder}/cache"}
        env = {k: v for k, v in env.items() if k != "PYTHONPATH"}
        for name in ("recorded", "compacted"):
            command = [str(PEER), __file__, "compare", folder, name, json.dumps(facts)]
            done = subprocess.run(command, env=env, capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr[-2000:])
            results[name] = json.loads(done.stdout.splitlines()[-1])
        theirs = {}
        for codec in ("h264", "libsvtav1"):
            place = f"{folder}/{codec}"
            done = subprocess.run(
                [str(PEER), __file__, "make", place, codec], env=env, capture_output=True, text=True
            )
            if done.returncode:
                sys.exit(done.stderr[-2000:])
            theirs[codec] = {"lowest_psnr_db": round(read_theirs(place), 1)}
    off = [v for r in results.values() for v in r["off"].values()]
    record_ = {
        "command": "python benchmarks/peers/lerobot_video.py",
        "unit": "largest difference over all values of all frames; pictures in levels of 255",
        "datasets": results,
        "recorded_by_lerobot": theirs,
        "verdict": {"largest": max(off), "target": "<= 1e-9", "met": max(off) <= 1e-9},
    }
    emit(record_, out)
    if max(off) > 1e-9:
        sys.exit("LeRobot reads other numbers than we recorded")
    if min(t["lowest_psnr_db"] for t in theirs.values()) < 35:
        sys.exit("we read other pictures than LeRobot recorded")


if __name__ == "__main__":
    main()
