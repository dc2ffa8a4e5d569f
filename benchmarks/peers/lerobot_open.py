"""A dataset that we record opens in LeRobot 0.4.4 with equal numbers.

Run with our own Python: it records several sessions (state, a matrix, two cameras, task texts, one that a
crash cut off, one dataset compacted), and asks LeRobot, in its environment `.peers/lerobot`, for every frame.

    .venv/bin/python benchmarks/peers/lerobot_open.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

PEER = Path(__file__).parents[2] / ".peers" / "lerobot" / "bin" / "python"


def record(folder: Path) -> dict[str, Any]:
    """Writes the datasets, and what must be found in them as arrays; gives back the facts to compare."""
    from understudy import storage
    from understudy.episode import Episode

    rng = np.random.default_rng(0)

    def episode(i: int) -> Episode:
        steps = 20 + 3 * i
        obs = {
            "state": rng.standard_normal((steps + 1, 6)),
            "matrix": rng.standard_normal((steps + 1, 2, 3)),
            "width": rng.standard_normal((steps + 1, 1)),
            "front": rng.integers(0, 256, (steps + 1, 48, 64, 3), dtype=np.uint8),
            "wrist": rng.integers(0, 256, (steps + 1, 32, 32, 3), dtype=np.uint8),
        }
        action = rng.standard_normal((steps, 6)).astype(np.float32)
        label = action + 1 if i % 2 else action
        meta = {"task": ("pick up the cube", "push the cube")[i % 2], "operator": "ann", "seed": i}
        return Episode(
            obs, action, label, np.ones(steps, bool), rng.random(steps), i % 3 == 0, i % 2 == 0, meta
        )

    episodes = [episode(i) for i in range(8)]
    for name in ("recorded", "compacted"):
        with storage.Writer(folder / name, fps=30, robot_type="arm") as writer:
            for e in episodes[:4]:
                writer.add(e)
        storage.append(folder / name, episodes[4:])
    storage.compact(folder / "compacted")
    # What a crash between data and rows leaves: surplus rows behind the last committed episode.
    data = folder / "recorded" / "data" / "chunk-000"
    (data / "file-005.parquet").write_bytes((data / "file-003.parquet").read_bytes())
    columns = {f"observation.{k}": [e.obs[k][:-1] for e in episodes] for k in ("state", "matrix", "width")}
    columns |= {f"observation.images.{k}": [e.obs[k][:-1] for e in episodes] for k in ("front", "wrist")}
    columns |= {"action": [e.action for e in episodes], "next.reward": [e.reward for e in episodes]}
    joined = {k: np.concatenate(v) for k, v in columns.items()}
    np.savez(folder / "want.npz", **joined)
    return {"lengths": [len(e) for e in episodes], "tasks": [e.meta["task"] for e in episodes]}


def compare(folder: Path, name: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Inside LeRobot's environment: reads every frame and compares."""
    import torch

    library = torch.library.Library("torchvision", "DEF")  # its operators do not load beside a CPU torch
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import lerobot
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    data = LeRobotDataset(f"local/{name}", root=folder / name)
    want = np.load(folder / "want.npz")
    lengths, off = facts["lengths"], dict.fromkeys(want.files, 0.0)
    if len(data) != sum(lengths) or data.meta.total_episodes != len(lengths):
        raise SystemExit(f"{name}: LeRobot sees {len(data)} frames, {data.meta.total_episodes} episodes")
    if [e["length"] for e in data.meta.episodes] != lengths:
        raise SystemExit(f"{name}: LeRobot sees other lengths")
    index = 0
    for episode, length in enumerate(lengths):
        for step in range(length):
            item = data[index]
            place = (int(item["episode_index"]), int(item["frame_index"]), int(item["index"]))
            if place != (episode, step, index) or item["task"] != facts["tasks"][episode]:
                raise SystemExit(f"{name}: frame {index} is {place}, {item['task']!r}")
            if bool(item["next.done"]) != (step == length - 1):
                raise SystemExit(f"{name}: next.done of frame {index} is wrong")
            for key in want.files:
                ours, theirs = want[key][index], item[key].numpy()
                if "images" in key:  # channels first, in [0, 1]
                    theirs = np.rint(theirs.transpose(1, 2, 0) * 255)
                ours = ours.reshape(theirs.shape).astype(np.float64)
                off[key] = max(off[key], float(np.abs(theirs - ours).max()))
            index += 1
    stats = {k: np.ravel(v["mean"]) for k, v in data.meta.stats.items() if k in want.files}
    for key, mean in stats.items():
        of = want[key].astype(np.float64)
        of = of.mean((0, 1, 2)) / 255 if "images" in key else of.mean(0)
        off[f"{key} mean"] = float(np.abs(mean - np.ravel(of)).max())
    return {"dataset": name, "lerobot": lerobot.__version__, "frames": index, "largest difference": off}


def main() -> None:
    if len(sys.argv) == 4:
        print(json.dumps(compare(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))))
        return
    if not PEER.exists():
        print(json.dumps({"skipped": f"{PEER} is not there; `make peers` sets it up"}))
        return
    with tempfile.TemporaryDirectory() as folder:
        facts = record(Path(folder))
        env = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": f"{folder}/cache", "OMP_NUM_THREADS": "1"}
        for name in ("recorded", "compacted"):
            command = [str(PEER), __file__, folder, name, json.dumps(facts)]
            done = subprocess.run(command, env=env, capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr[-2000:])
            found = json.loads(done.stdout.splitlines()[-1])
            print(json.dumps(found))
            exact = {k: v for k, v in found["largest difference"].items() if not k.endswith("mean")}
            means = {k: v for k, v in found["largest difference"].items() if k.endswith("mean")}
            if any(exact.values()) or any(v > 1e-9 for v in means.values()):
                sys.exit(f"{name}: LeRobot reads other numbers than we recorded")
    print("equal: every value of every frame, and the statistics")


if __name__ == "__main__":
    main()
