"""Our reader, opening one folder again and again."""

from __future__ import annotations

import numpy as np
from worker import serve, spec, versions

from understudy import storage

ASK = spec()


def read(times: int) -> int:
    return sum(storage.read(ASK["folder"]).steps for _ in range(times))


def info(times: int) -> int:
    return sum(storage.info(ASK["folder"]).steps for _ in range(times))


def batch(times: int) -> list[int]:
    """Reads, indexes and draws one batch of 64."""
    for _ in range(times):
        windows = storage.read(ASK["folder"]).windows(horizon=100)
        drawn = windows.batch(np.random.default_rng(0).integers(len(windows), size=64))
    return list(drawn.action.shape)


if __name__ == "__main__":
    serve({"info": info, "read": read, "batch": batch}, versions("numpy", "pyarrow"))
