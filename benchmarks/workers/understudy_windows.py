"""Our windows over a dataset: shuffled batches, an epoch after the other."""

from __future__ import annotations

import math

import numpy as np
from worker import serve, spec, versions

from understudy import storage

ASK = spec()


def main() -> None:
    windows = storage.read(ASK["folder"]).windows(horizon=ASK["horizon"])
    rng, size = np.random.default_rng(0), ASK["batch"]
    order = rng.permutation(len(windows))
    at = 0

    def step(times: int) -> None:
        nonlocal order, at
        total = 0.0
        for _ in range(times):
            if at + size > len(order):
                order, at = rng.permutation(len(windows)), 0
            batch = windows.batch(order[at : at + size])
            at += size
            total += float(batch.action[0, 0, 0]) + float(batch.obs["state"][0, 0, 0])
        assert batch.action.shape == (size, ASK["horizon"], 14)
        assert math.isfinite(total)  # every batch was looked at

    serve({"step": step}, versions("numpy"), frames=len(windows))


if __name__ == "__main__":
    main()
