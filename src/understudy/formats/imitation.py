"""The demonstrations of `imitation`: a folder of Hugging Face `datasets`, a row a trajectory.

    obs       list [T + 1, ...]
    acts      list [T, ...]
    infos     list [T] of text: what jsonpickle makes of the environment's infos
    terminal  bool
    rews      list [T], where recorded

Read with pyarrow alone: jsonpickle runs code, so infos are read as plain JSON or not at all. The npz files of
its older versions are read too. What the layout has no place for stands beside, in `understudy.arrow`.
"""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from understudy.episode import Array, Episode
from understudy.formats._facts import Facts, as_rows, located, nonempty, rebuilt
from understudy.formats._npy import StoredRows
from understudy.formats._trajectories import OURS, Trajectories
from understudy.formats._zips import Zip
from understudy.formats.notes import note
from understudy.formats.placing import new_folder
from understudy.storage.files import DataError, Root, guarded, may_unfold

__all__ = ["Reading", "Writing", "episodes", "recognises", "write"]

ABOUT = "imitation's trajectories, a Hugging Face datasets folder or an npz of its older versions"
NEEDS = ("pyarrow",)

_NEEDED = {"obs", "acts", "terminal"}
_OLD = {"obs.npy", "acts.npy", "indices.npy", "terminal.npy"}
_JSON = 16 << 20  # bytes
_DTYPES = {"float32", "float64", "int64", "uint8", "bool"}


@dataclass(frozen=True)
class Reading:
    """How trajectories become episodes.

    Attributes:
        observation: the name of the one observation, where the file does not name several.
        success: the key of a trajectory's last info that says whether the task was done.
    """

    observation: str = "state"
    success: str = "is_success"


@dataclass(frozen=True)
class Writing:
    """How episodes become trajectories, which have one observation.

    Attributes:
        observations: the names of what is put together into `obs`: low-dimensional ones side by side, or one
            image. None named means all low-dimensional ones, or the only one there is. The rest goes into our
            own file beside.
    """

    observations: tuple[str, ...] = ()


def recognises(path: Path) -> bool:
    """Whether it is a `datasets` folder with obs, acts and terminal, or an npz with these and indices."""
    with contextlib.suppress(Exception):
        if path.is_dir():
            about, state = path / "dataset_info.json", path / "state.json"
            if about.is_file() and state.is_file() and about.stat().st_size <= _JSON:
                return set(json.loads(about.read_bytes())["features"]) >= _NEEDED
        elif path.suffix == ".npz" and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return set(archive.namelist()) >= _OLD
    return False


def episodes(path: Path, options: Reading) -> Iterator[Episode]:
    """The trajectories in turn. Integer actions of no width are discrete.

    Raises:
        DataError: when the folder or file is damaged, hostile or not of this layout.
    """
    if not path.is_dir():
        yield from _old(path, options)
        return
    root = Root(path)
    ours = _rows(root, OURS) if (path / OURS).exists() else None
    plan = _plan(root) if ours is not None else _Plan((), ())
    count = 0
    for name in _files(root):
        for row in _rows(root, name):
            with located(path, f"trajectory {count}"):
                if ours is None:
                    episode = _foreign(row, options)
                else:
                    if (beside := next(ours, None)) is None:
                        raise DataError(f"{OURS} tells of fewer trajectories")
                    episode = _own(row, beside, plan)
            yield episode
            count += 1


def _files(root: Root) -> list[str]:
    """The data files of the folder, in order."""
    with guarded(root.folder / "state.json"):
        state = json.loads(root.bytes("state.json", _JSON))
        if state.get("_indices_data_files"):
            raise ValueError("it is a selection by indices; save a flattened copy first")
        return [str(f["filename"]) for f in state["_data_files"]]


def _rows(root: Root, name: str) -> Iterator[Mapping[str, Any]]:
    """The rows of an Arrow stream, each a mapping from column to pyarrow scalar."""
    import pyarrow as pa

    path, size = root.path(name), root.size(name)
    with guarded(root.folder / name), pa.memory_map(path) as file, pa.ipc.open_stream(file) as stream:
        seen = 0
        for batch in stream:
            batch.validate(full=True)
            seen += batch.nbytes
            if seen > may_unfold(size):
                raise ValueError(f"it claims {seen} bytes in {size} bytes")
            for i in range(batch.num_rows):
                yield {k: batch.column(j)[i] for j, k in enumerate(batch.schema.names)}


def _foreign(row: Mapping[str, Any], options: Reading) -> Episode:
    """A trajectory that `imitation` saved."""
    if missing := _NEEDED - row.keys():
        raise DataError(
            f"column {min(missing)!r} is missing; imitation's datasets have obs, acts and terminal"
        )
    obs = {k or options.observation: as_rows(v) for k, v in _observed(row["obs"]).items()}
    action = _action(_dense(row["acts"], "acts"))
    paid = _dense(row["rews"], "rews") if "rews" in row else None
    done = _last_success(row["infos"], options.success) if "infos" in row else None
    return _demonstration(obs, action, paid, bool(row["terminal"].as_py()), done)


def _demonstration(
    obs: Mapping[str, Array], action: Array, paid: Array | None, terminal: bool, success: bool | None
) -> Episode:
    if any(len(v) != len(action) + 1 for v in obs.values()):
        raise DataError("obs must have one row more than acts")
    return Episode.demonstration(obs, action, paid, terminated=terminal, success=success)


def _observed(scalar: Any) -> dict[str, Array]:
    """Observations by name; "" is the name of one that has none."""
    import pyarrow as pa

    kind = scalar.type
    if pa.types.is_struct(kind):  # an array of rows for each name
        return {f.name: _dense(scalar[f.name], f"obs.{f.name}") for f in kind}
    if pa.types.is_list(kind) and pa.types.is_struct(kind.value_type) and scalar.is_valid:  # a struct a row
        rows = scalar.values
        return {f.name: _regular(rows.field(i), f"obs.{f.name}") for i, f in enumerate(kind.value_type)}
    return {"": _dense(scalar, "obs")}


def _dense(scalar: Any, what: str) -> Array:
    """A list of lists of one shape as an array."""
    import pyarrow as pa

    kind = scalar.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise DataError(f"{what} is {kind}; a list of numbers is needed"[:200])
    if not scalar.is_valid:
        raise DataError(f"{what} is missing")
    return _regular(scalar.values, what)


def _regular(values: Any, what: str) -> Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    shape = [len(values)]
    while pa.types.is_nested(values.type):
        if values.null_count or not len(values) or pa.types.is_struct(values.type):
            raise DataError(f"{what} has rows that are empty or hold no numbers")
        lengths = pc.unique(pc.list_value_length(values))
        if len(lengths) != 1 or not lengths[0].as_py():
            raise DataError(f"{what} has rows of unequal length")
        shape.append(lengths[0].as_py())
        values = values.flatten()
    if values.null_count or not (
        pa.types.is_primitive(values.type) and not pa.types.is_temporal(values.type)
    ):
        raise DataError(f"{what} holds {values.type} or gaps; numbers are needed"[:200])
    flat: Array = values.to_numpy(zero_copy_only=False)
    return flat.reshape(shape)


def _action(acts: Array) -> Array:
    """[T] integers are one discrete choice, everything else is continuous."""
    acts = as_rows(acts) if acts.dtype.kind in "iu" and acts.ndim == 1 else as_rows(acts).astype(np.float64)
    return acts.reshape(len(acts), -1)


def _last_success(infos: Any, key: str) -> bool | None:
    """Whether the last info says that the task was done; None where it does not say so in plain JSON."""
    texts = infos.as_py() or []
    for _ in range(sum('"py/' in t for t in texts)):
        note("an info that is not plain JSON was left out")
    if not texts or '"py/' in texts[-1]:
        return None
    last = json.loads(texts[-1])
    said = last.get(key) if isinstance(last, dict) else None
    return bool(said) if isinstance(said, bool | int | float) else None


def _old(path: Path, options: Reading) -> Iterator[Episode]:
    """The npz layout of older versions; its infos are pickled and therefore not read."""
    with Zip(path) as archive:
        ends, terminal = (StoredRows(archive, n).all() for n in ("indices", "terminal"))
        names = ["obs", "acts", *(["rews"] if "rews.npy" in archive.names() else [])]
        columns = {n: StoredRows(archive, n) for n in names}
        if "infos.npy" in archive.names():
            note("infos are pickled and were left out")
        total = len(columns["acts"])
        with guarded(path):
            stops = [*(int(n) for n in ends), total]
            lengths = np.diff([0, *stops])
            if ends.dtype.kind not in "iu" or ends.ndim != 1 or (lengths < 1).any():
                raise ValueError("indices must be integers that grow from trajectory to trajectory")
            if terminal.shape != lengths.shape or len(columns["obs"]) != total + len(lengths):
                raise ValueError("obs, acts, indices and terminal do not fit together")
        for i, steps in enumerate(int(n) for n in lengths):
            with located(path, f"trajectory {i}"):
                obs = {options.observation: as_rows(columns["obs"].take(steps + 1))}
                paid = columns["rews"].take(steps) if "rews" in columns else None
                action = _action(columns["acts"].take(steps))
                episode = _demonstration(obs, action, paid, bool(terminal[i]), None)
            yield episode


@dataclass(frozen=True)
class _Plan:
    """What our file says of the observations: which stand in `obs` side by side, and all in order."""

    inside: tuple[tuple[str, tuple[int, ...]], ...]
    order: tuple[str, ...]


def _plan(root: Root) -> _Plan:
    import pyarrow as pa

    with guarded(root.folder / OURS), pa.OSFile(root.path(OURS)) as file, pa.ipc.open_stream(file) as stream:
        said = json.loads((stream.schema.metadata or {})[b"understudy"])
        inside = tuple((str(k), tuple(int(n) for n in shape)) for k, shape in said["observations"])
        return _Plan(inside, tuple(str(k) for k in said["order"]))


def _own(row: Mapping[str, Any], beside: Mapping[str, Any], plan: _Plan) -> Episode:
    """A trajectory that we wrote, with what stands in our own file."""
    seen, action = _dense(row["obs"], "obs"), _action(_dense(row["acts"], "acts"))
    flat = seen.reshape(len(seen), -1)
    if flat.shape[1] != sum(prod(shape) for _, shape in plan.inside):
        raise DataError(f"obs has width {flat.shape[1]}, which is not what {OURS} says")
    obs: dict[str, Array] = {}
    for key, shape in plan.inside:
        width = prod(shape)
        obs[key], flat = flat[:, :width].reshape(len(seen), *shape), flat[:, width:]
    extras: dict[str, Array] = {}
    for entry in beside["arrays"].as_py():
        array = _unpacked(entry)
        name = str(entry["name"])
        (obs if name.startswith("obs ") else extras)[name.removeprefix("obs ")] = array
    return rebuilt(
        {k: obs[k] for k in plan.order},
        action,
        _dense(row["rews"], "rews"),
        Facts.parse(beside["facts"].as_py()),
        extras,
    )


def _unpacked(entry: Mapping[str, Any]) -> Array:
    """An array of our own file."""
    dtype, shape, data = entry["dtype"], tuple(entry["shape"]), entry["data"]
    if dtype not in _DTYPES or any(n < 0 for n in shape):
        raise DataError(f"{OURS} holds an array {dtype}{list(shape)}"[:200])
    if dtype == "bool":
        flags: Array = np.frombuffer(data, np.uint8) != 0
        return flags.reshape(shape)
    flat: Array = np.frombuffer(data, np.dtype(dtype).newbyteorder("<"))
    return flat.reshape(shape)


def write(path: Path, episodes: Iterable[Episode], options: Writing) -> None:
    """A new folder, as `imitation.data.serialize.save` makes it.

    Raises:
        DataError: when the place is taken, there are no episodes, they are not alike, their observations do
            not go into one, or writing fails.
    """
    with new_folder(path) as folder:
        trajectories = None
        for e in nonempty(episodes):
            if trajectories is None:
                trajectories = Trajectories(folder, e, options.observations)
            trajectories.add(e)
        if trajectories is not None:
            trajectories.close()
