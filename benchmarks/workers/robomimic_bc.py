"""robomimic's BC, configured and fed as its train script does: HDF5 in memory, its loader, its epoch."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import robomimic.utils.obs_utils as obs_utils
import robomimic.utils.train_utils as train_utils
import torch
from robomimic.algo import RolloutPolicy, algo_factory
from robomimic.config import config_factory
from torch.utils.data import DataLoader
from worker import latency, serve, spec, versions

ASK = spec()


def to_hdf5(source: Path, target: Path) -> tuple[dict[str, list[int]], int]:
    """Writes the demonstrations in robomimic's layout: the shapes of observations, and the action's width."""
    with np.load(source) as file, h5py.File(target, "w") as out:
        seen = {k.removeprefix("obs."): file[k] for k in file.files if k.startswith("obs.")}
        action, length = file["action"], file["length"]
        ends = np.cumsum(length)
        out.create_group("data").attrs["total"] = len(action)
        for i, (end, n) in enumerate(zip(ends, length, strict=True)):
            demo = out.create_group(f"data/demo_{i}")
            demo.attrs["num_samples"] = n
            for k, v in seen.items():
                demo[f"obs/{k}"] = v[end - n + i : end + i]
            demo["actions"] = action[end - n : end]
            demo["rewards"] = np.zeros(n, np.float32)
            demo["dones"] = np.eye(1, n, n - 1, dtype=np.int64)[0]
    return {k: [v.shape[1]] for k, v in seen.items()}, action.shape[1]


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    path = Path(ASK["folder"]) / "demonstrations.hdf5"
    shapes, width = to_hdf5(Path(ASK["data"]), path)
    config = config_factory("bc")
    with config.unlocked():
        config.train.data = str(path)
        config.train.batch_size = ASK["batch"]
        config.train.seq_length = ASK["horizon"]
        config.algo.actor_layer_dims = tuple(ASK["hidden"])
        config.algo.gmm.enabled = ASK["components"] > 0
        config.algo.gmm.num_modes = ASK["components"]
        config.algo.optim_params.policy.learning_rate.initial = ASK["lr"]
        config.observation.modalities.obs.low_dim = list(shapes)
    config.lock()
    obs_utils.initialize_obs_utils_with_config(config)
    model = algo_factory("bc", config, shapes, width, torch.device("cpu"))
    data, _ = train_utils.load_data_for_training(config, obs_keys=list(shapes))
    loader = DataLoader(
        dataset=data,
        sampler=data.get_dataset_sampler(),
        batch_size=config.train.batch_size,
        shuffle=True,
        num_workers=config.train.num_data_workers,
        drop_last=True,
    )

    def train(steps: int) -> None:
        train_utils.run_epoch(model, loader, epoch=1, num_steps=steps)

    def load(steps: int) -> None:
        batches = iter(loader)
        for _ in range(steps):
            if next(batches, None) is None:
                batches = iter(loader)
                next(batches)

    def act(n: int) -> dict[str, float]:
        policy = RolloutPolicy(model)
        policy.start_episode()
        return latency(policy, inputs, n)

    with np.load(ASK["data"]) as file:
        inputs = [{k: file[f"obs.{k}"][i] for k in shapes} for i in range(256)]
    count = sum(p.numel() for p in model.nets.parameters())
    packages = versions("robomimic", "torch", "numpy", "h5py")
    serve({"step": train, "load": load, "act": act}, packages, parameters=count)


main()
