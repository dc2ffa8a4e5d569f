"""LeRobot's dataset with chunks of actions ahead, and its loader, as its training script makes them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import understudy_peer_torchvision  # noqa: F401 - before lerobot
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from worker import serve, spec, versions

ASK = spec()


def opened() -> Any:
    fps = 50
    ahead = {"action": [i / fps for i in range(ASK["horizon"])]} if ASK["horizon"] > 1 else None
    return LeRobotDataset("local/data", root=Path(ASK["folder"]), delta_timestamps=ahead)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    began = time.perf_counter()
    data = opened()
    first = time.perf_counter() - began
    size = ASK.get("batch", 64)
    loader = torch.utils.data.DataLoader(data, batch_size=size, shuffle=True, num_workers=0, drop_last=True)

    def forever() -> Iterator[Any]:
        while True:
            yield from loader

    batches = forever()

    def step(times: int) -> None:
        total = 0.0
        for _ in range(times):
            batch = next(batches)
            total += float(batch["action"].flatten()[0]) + float(batch["observation.state"][0, 0])
        assert batch["action"].shape == (size, ASK["horizon"], 14)
        assert math.isfinite(total)  # every batch was looked at

    def again(times: int) -> int:
        return sum(len(opened()) for _ in range(times))

    serve(
        {"step": step, "open": again},
        versions("lerobot", "torch", "datasets"),
        opened=first,
        frames=len(data),
    )


if __name__ == "__main__":
    main()
