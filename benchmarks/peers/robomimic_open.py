"""A dataset that we write opens in robomimic 0.3 with equal numbers, and robomimic trains on it.

Run with our own Python: it writes two files (low-dimensional with next_obs, with images without), and asks
robomimic's SequenceDataset, in its environment `.peers/robomimic`, for every step, and its BC to train.

    .venv/bin/python benchmarks/peers/robomimic_open.py
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

PEER = Path(__file__).parents[2] / ".peers" / "robomimic" / "bin" / "python"


def record(folder: Path) -> list[int]:
    """Writes the files, and what must be found in them as arrays; gives back the lengths."""
    from understudy import formats
    from understudy.episode import Episode

    rng = np.random.default_rng(0)
    lengths = [20 + 3 * i for i in range(12)]  # demo_10 comes before demo_2 where names are sorted as text

    def episode(i: int, *, image: bool) -> Episode:
        steps = lengths[i]
        obs = {"eef": rng.standard_normal((steps + 1, 3)), "object": rng.standard_normal((steps + 1, 10))}
        if image:
            obs["front"] = rng.integers(0, 256, (steps + 1, 32, 32, 3), dtype=np.uint8)
        action = rng.uniform(-1, 1, (steps, 7)).astype(np.float32)
        meta = {"task": "stack", "mask": "valid" if i % 4 == 3 else "train", "seed": i}
        return Episode(obs, action, action, np.ones(steps, bool), rng.random(steps), True, i % 2 == 0, meta)

    for name, image in (("low_dim", False), ("image", True)):
        episodes = [episode(i, image=image) for i in range(len(lengths))]
        formats.write(folder / f"{name}.hdf5", episodes, "robomimic")
        columns = {f"obs {k}": [e.obs[k][:-1] for e in episodes] for k in episodes[0].obs}
        columns |= {f"next_obs {k}": [e.obs[k][1:] for e in episodes] for k in episodes[0].obs}
        columns |= {"actions": [e.action for e in episodes], "rewards": [e.reward for e in episodes]}
        joined: dict[str, Any] = {k: np.concatenate(v) for k, v in columns.items()}
        np.savez(folder / f"{name}.npz", **joined)
    return lengths


def compare(path: Path, lengths: list[int]) -> dict[str, Any]:
    """Inside robomimic's environment: reads every step, in both filter keys together and apart."""
    import robomimic
    import robomimic.utils.file_utils as files
    import robomimic.utils.obs_utils as observations
    from robomimic.utils.dataset import SequenceDataset

    want = np.load(path.with_suffix(".npz"))
    keys = sorted(k.split()[1] for k in want.files if k.startswith("obs "))
    images = [k for k in keys if want[f"obs {k}"].ndim == 4]
    kinds = {"low_dim": [k for k in keys if k not in images], "rgb": images}
    observations.initialize_obs_utils_with_obs_specs([{"obs": kinds}])
    environment = files.get_env_metadata_from_dataset(str(path))
    shapes = files.get_shape_metadata_from_dataset(str(path), all_obs_keys=keys)

    def dataset(mask: str | None) -> Any:
        columns = ("actions", "rewards", "dones")
        how = {"frame_stack": 1, "seq_length": 1, "load_next_obs": not images, "filter_by_attribute": mask}
        return SequenceDataset(str(path), keys, columns, **how)

    data = dataset(None)
    if len(data) != sum(lengths) or data.n_demos != len(lengths):
        raise SystemExit(f"{path.name}: robomimic sees {len(data)} steps, {data.n_demos} demonstrations")
    ends = set(np.cumsum(lengths) - 1)
    off = dict.fromkeys((k for k in want.files if not (images and k.startswith("next_obs"))), 0.0)
    for i in range(len(data)):
        item = data[i]
        if bool(item["dones"][0]) != (i in ends):
            raise SystemExit(f"{path.name}: dones of step {i} is wrong")
        for key in off:
            *group, name = key.split()
            theirs = item[group[0]][name][0] if group else item[name][0]
            off[key] = max(off[key], float(np.abs(theirs - want[key][i]).max()))
    parts = {m: dataset(m).n_demos for m in ("train", "valid")}
    return {
        "file": path.name,
        "robomimic": robomimic.__version__,
        "steps": len(data),
        "demonstrations": parts,
        "environment": environment["env_name"],
        "action width": shapes["ac_dim"],
        "loss": None if images else train(dataset("train"), keys, shapes),
        "largest difference": off,
    }


def train(data: Any, keys: list[str], shapes: dict[str, Any]) -> list[float]:
    """The loss of robomimic's BC before and after 100 updates."""
    import torch
    from robomimic.algo import algo_factory
    from robomimic.config import config_factory

    torch.manual_seed(0)
    config = config_factory("bc")
    with config.values_unlocked():
        config.observation.modalities.obs.low_dim = keys
    model = algo_factory("bc", config, shapes["all_shapes"], shapes["ac_dim"], torch.device("cpu"))
    model.set_train()
    losses = []
    loader = torch.utils.data.DataLoader(data, batch_size=64, shuffle=True)
    while len(losses) < 100:
        for batch in loader:
            batch = model.postprocess_batch_for_training(model.process_batch_for_training(batch), None)
            losses.append(float(model.train_on_batch(batch, epoch=0)["losses"]["action_loss"]))
    return [losses[0], losses[-1]]


def main() -> None:
    if len(sys.argv) == 3:
        print(json.dumps(compare(Path(sys.argv[1]), json.loads(sys.argv[2]))))
        return
    if not PEER.exists():
        print(json.dumps({"skipped": f"{PEER} is not there; `make peers` sets it up"}))
        return
    with tempfile.TemporaryDirectory() as folder:
        lengths = record(Path(folder))
        for name in ("low_dim", "image"):
            command = [str(PEER), __file__, f"{folder}/{name}.hdf5", json.dumps(lengths)]
            env = os.environ | {"OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, env=env, capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr[-2000:])
            found = json.loads(done.stdout.splitlines()[-1])
            print(json.dumps(found))
            if any(found["largest difference"].values()):
                sys.exit(f"{name}: robomimic reads other numbers than we wrote")
            if found["loss"] and not found["loss"][1] < found["loss"][0]:
                sys.exit(f"{name}: robomimic does not learn from it")
    print("equal: every value of every step, and it trains")


if __name__ == "__main__":
    main()
