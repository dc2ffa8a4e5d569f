"""Trajectories from a file that nobody vouches for: JSON, or npz without objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.report.facts import load_json
from understudy.tabular import Trajectories

__all__ = ["read_trajectories"]

_MOST = 20_000_000  # numbers of both arrays together, padding included


def read_trajectories(path: Path) -> Trajectories:
    """States [N, T + 1] and actions [N, T], -1 behind the end of each.

    JSON: {"states": [[...], ...], "actions": [[...], ...]}, where lists may also be as long as their
    trajectory. npz: arrays `states` and `actions` of whole numbers.

    Raises:
        ValueError: when the file cannot be read, is neither, or holds anything else.
    """
    if not path.is_file():
        raise ValueError(f"{path} is no file; trajectories are one .json or .npz")
    if path.suffix == ".json":
        states, actions = _from_json(path)
    elif path.suffix == ".npz":
        states, actions = _from_npz(path)
    else:
        raise ValueError(f"{path} ends in {path.suffix!r}; trajectories are a .json or an .npz")
    try:
        return Trajectories.of(states, actions)
    except ValueError as wrong:
        raise ValueError(f"{path}: {wrong}") from None


def _from_json(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    found = load_json(path)
    if not isinstance(found, dict) or not {"states", "actions"} <= found.keys():
        raise ValueError(f"{path} must be an object with states and actions")
    states, actions = (_padded(path, name, found[name]) for name in ("states", "actions"))
    if len(states) == len(actions) and states.shape[1] <= actions.shape[1]:
        raise ValueError(f"{path}: a trajectory has one state more than actions")
    wide = actions.shape[1] + 1
    if len(states) != len(actions) or states.shape[1] != wide:
        shapes = f"{list(states.shape)} and {list(actions.shape)}"
        raise ValueError(f"{path}: states and actions are {shapes}; they are [N, T + 1] and [N, T]")
    return states, actions


def _padded(path: Path, name: str, rows: Any) -> NDArray[np.int64]:
    """Lists of whole numbers as one table; what is missing at the end of a row is -1."""
    if not isinstance(rows, list) or not rows or not all(isinstance(row, list) for row in rows):
        raise ValueError(f"{path}: {name} must be a list of lists")
    width = max(map(len, rows))
    if len(rows) * width > _MOST:
        raise ValueError(f"{path}: {name} are {len(rows)} × {width} numbers; {_MOST} are the most")
    table = np.full((len(rows), width), -1, np.int64)
    for i, row in enumerate(rows):
        if not all(type(x) is int and -1 <= x < 2**31 for x in row):
            raise ValueError(f"{path}: {name}[{i}] must hold whole numbers from -1 on")
        table[i, : len(row)] = row
    return table


def _from_npz(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    from understudy.formats._npy import StoredRows  # here, because few trajectories are files
    from understudy.formats._zips import Zip

    with Zip(path) as archive:
        names = archive.names()
        for wanted in ("states.npy", "actions.npy"):
            if wanted not in names:
                raise ValueError(f"{path} has no array {wanted.removesuffix('.npy')!r}")
        stored = [StoredRows(archive, name) for name in ("states", "actions")]
        for array, name in zip(stored, ("states", "actions"), strict=True):
            if array.dtype.kind not in "iu" or len(array.shape) != 2:
                raise ValueError(f"{path}: {name} is {array.dtype}{list(array.shape)}; whole numbers, [N, T]")
        if sum(int(np.prod(array.shape, dtype=object)) for array in stored) > _MOST:
            raise ValueError(f"{path} holds more than {_MOST} numbers")
        states, actions = (array.all() for array in stored)
    for name, x in (("states", states), ("actions", actions)):
        if x.size and (int(x.max()) >= 2**31 or int(x.min()) < -1):
            raise ValueError(f"{path}: {name} must hold whole numbers from -1 on, below 2^31")
    return states.astype(np.int64), actions.astype(np.int64)
