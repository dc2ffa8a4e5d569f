"""The Parquet tables of a dataset: steps, rows of meta/episodes, tasks."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from understudy.episode import Array, Episode, Meta
from understudy.frames import pieces
from understudy.storage.columns import data_schema, to_arrow
from understudy.storage.files import DataError
from understudy.storage.layout import CHUNK, EXTRA, NOTE, Layout
from understudy.storage.video import Clip

__all__ = ["checksum", "data_table", "episode_rows", "same_bits", "task_of", "tasks_table", "write_table"]

# No dictionaries: measurements hardly repeat, and a file then unfolds to little more than its size. Checksums
# let a reader tell a flipped bit from a measurement. Only what LeRobot filters by needs minima and maxima.
_OPTIONS: Mapping[str, Any] = {"use_dictionary": False, "write_page_checksum": True, "compression": "snappy"}


def write_table(
    file: IO[bytes], tables: Iterable[pa.Table], *, filtered: Sequence[str] = (), unpacked: Sequence[str] = ()
) -> Any:
    """Writes tables of one schema into a Parquet file, a row group each.

    All columns are packed; if `unpacked` names some, neither those are nor pictures, which PNG has packed.
    Gives back the file's Parquet metadata, or None where there was no table.
    """
    stats = list(filtered) or False
    writer = None
    for table in tables:
        if writer is None:
            options = {**_OPTIONS}
            if unpacked:
                packing = {_leaf(f): "none" if f.name in unpacked else "snappy" for f in table.schema}
                options["compression"] = packing
            writer = pq.ParquetWriter(file, table.schema, write_statistics=stats, **options)
        writer.write_table(table, row_group_size=len(table))
    if writer is None:
        return None
    writer.close()
    return writer.writer.metadata


def _leaf(field: pa.Field) -> str:
    """The path of a column's values in Parquet's terms."""
    path, kind = field.name, field.type
    while pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        path, kind = path + ".list.element", kind.value_type
    return str(path)


def task_of(episode: Episode) -> str:
    """The text of an episode's task, empty where its facts name none."""
    text = str(episode.meta.get("task", ""))
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError(f"the task {text!r} is not text that can be stored") from None
    return text


def data_table(layout: Layout, episode: Episode, *, number: int, start: int, task: int) -> pa.Table:
    """The steps of an episode with its number, the global row of its first step, and its task's number."""
    steps = len(episode)
    done = np.zeros(steps, np.bool_)
    done[-1] = True
    frame = np.arange(steps, dtype=np.int64)
    own: dict[str, Array] = {
        "action": episode.action,
        "next.reward": episode.reward,
        "next.done": done,
        "next.success": done if episode.success else np.zeros(steps, np.bool_),
        "timestamp": (frame / layout.fps).astype(np.float32),
        "frame_index": frame,
        "episode_index": np.full(steps, number, np.int64),
        "index": start + frame,
        "task_index": np.full(steps, task, np.int64),
    }
    columns = {f.name: episode.obs[key][:-1] for key, f in layout.stored.items()} | own
    features = layout.columns
    return pa.table([to_arrow(f, columns[f.name]) for f in features], schema=data_schema(features))


def episode_rows(
    layout: Layout,
    episodes: Sequence[Episode],
    stats: Sequence[Mapping[str, Mapping[str, Any]]],
    clips: Sequence[Mapping[str, Clip]],
    *,
    number: int,
    start: int,
    data: int,
    size: int,
    plain: Sequence[str | None],
    rows: int,
) -> pa.Table:
    """The rows of meta/episodes for consecutive episodes in one data file.

    Args:
        stats: of each episode: feature -> statistic -> value; clips: of each: feature -> its video.
        number: of the first episode; start: its first global row.
        data: the number of the data file; size: its bytes; plain: [E], where in it
            each episode's numbers lie, where that is noted.
        rows: the number of the file that these rows go to.
    """
    count = len(episodes)
    length = np.array([len(e) for e in episodes], np.int64)
    stop = start + np.cumsum(length)

    def whole(value: Any) -> pa.Array:
        return pa.array(np.broadcast_to(np.asarray(value, np.int64), count))

    columns = {
        "episode_index": whole(number + np.arange(count)),
        "tasks": pa.array([[task_of(e)] for e in episodes], pa.list_(pa.string())),
        "length": whole(length),
        "data/chunk_index": whole(data // CHUNK),
        "data/file_index": whole(data % CHUNK),
        "dataset_from_index": whole(stop - length),
        "dataset_to_index": whole(stop),
    }
    columns |= _video_columns(layout, length, clips, number)
    columns |= _stats_columns(layout, stats)
    columns["meta/episodes/chunk_index"] = whole(rows // CHUNK)
    columns["meta/episodes/file_index"] = whole(rows % CHUNK)
    columns |= {EXTRA + name: column for name, column in _extra(layout, episodes).items()}
    columns[EXTRA + "bytes"] = whole(size)
    columns[EXTRA + "plain"] = pa.array(plain, pa.string())
    note = json.dumps({"version": 1, "keys": layout.renamed()})
    return pa.table(columns).replace_schema_metadata({NOTE: note})


def _video_columns(
    layout: Layout, length: NDArray[np.int64], clips: Sequence[Mapping[str, Clip]], number: int
) -> dict[str, pa.Array]:
    """Where each episode's videos lie, a file each, and what we note of them."""
    columns: dict[str, pa.Array] = {}
    numbers = number + np.arange(len(length))
    for name in layout.videos:
        where = f"videos/{name}/"
        columns[where + "chunk_index"] = pa.array(numbers // CHUNK, pa.int64())
        columns[where + "file_index"] = pa.array(numbers % CHUNK, pa.int64())
        columns[where + "from_timestamp"] = pa.array(np.zeros(len(length)))
        columns[where + "to_timestamp"] = pa.array(length / layout.fps)
        for fact in ("frames", "size", "crc"):
            noted = [getattr(c[name], fact) for c in clips]
            columns[f"{EXTRA}video/{name}/{fact}"] = pa.array(noted, pa.int64())
    return columns


def _stats_columns(layout: Layout, stats: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, pa.Array]:
    """Each episode's statistics."""
    columns: dict[str, pa.Array] = {}
    for feature in layout.signals:
        nested = pa.float64()
        for _ in feature.stats_shape:
            nested = pa.list_(nested)
        for name in stats[0][feature.name]:
            kind = pa.list_(pa.int64()) if name == "count" else nested
            columns[f"stats/{feature.name}/{name}"] = pa.array([s[feature.name][name] for s in stats], kind)
    return columns


def _extra(layout: Layout, episodes: Sequence[Episode]) -> dict[str, pa.Array]:
    """What an episode has beyond LeRobot's layout; the label is null where it is the action, bit for bit."""
    value = pa.int64() if layout.action.dtype == "int64" else pa.float32()
    labels = [None if same_bits(e.label, e.action) else e.label.reshape(-1) for e in episodes]
    spoken = [None if e.labelled.all() else e.labelled for e in episodes]
    finals = {
        f"final/{f.name}": to_arrow(f, np.stack([e.obs[key][-1] for e in episodes]))
        for key, f in layout.stored.items()
    }
    if any(f.image for f in layout.obs.values()):  # what is read without its pictures can be checked too
        finals["crc32_numbers"] = pa.array([_crc(layout, e, images=False) for e in episodes], pa.int64())
    return {
        "meta": pa.array([json.dumps(dict(e.meta)) for e in episodes], pa.string()),
        "success": pa.array([e.success for e in episodes], pa.bool_()),
        "terminated": pa.array([e.terminated for e in episodes], pa.bool_()),
        "crc32": pa.array([_crc(layout, e) for e in episodes], pa.int64()),
        "label": pa.array(labels, pa.list_(value)),
        "labelled": pa.array(spoken, pa.list_(pa.bool_())),
        "time": pa.array([e.time for e in episodes], pa.list_(pa.float64())),
        "control": pa.array([e.control for e in episodes], pa.list_(pa.uint8())),
        **finals,
    }


def _crc(layout: Layout, e: Episode, *, images: bool = True) -> int:
    obs = {k: e.obs[k] for k, f in layout.stored.items() if images or not f.image}
    own = (e.terminated, e.success, e.meta, e.time, e.control)
    return checksum(obs, e.action, e.label, e.labelled, e.reward, *own)


def same_bits(a: Array, b: Array) -> bool:
    """Whether two arrays are the same byte for byte: unlike ``==`` it tells -0.0 from 0.0."""
    return a is b or (a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())


def checksum(
    obs: Mapping[str, Array],
    action: Array,
    label: Array,
    labelled: Array,
    reward: Array,
    terminated: bool,
    success: bool | None,
    meta: Meta,
    time: Array | None,
    control: Array | None,
) -> int:
    """CRC-32 of all that an episode is, names included, to hold what is read against what was recorded."""
    facts = [sorted(obs), terminated, success, json.dumps(dict(meta), sort_keys=True)]
    crc = zlib.crc32(repr(facts).encode())
    for part in (*(obs[k] for k in sorted(obs)), action, label, labelled, reward):
        for piece in pieces(part):
            crc = zlib.crc32(piece.data, crc)
    crc = crc if time is None else zlib.crc32(time.data, crc)
    return crc if control is None else zlib.crc32(control.data, zlib.crc32(b"control", crc))


def tasks_table(tasks: Sequence[str]) -> pa.Table:
    """meta/tasks.parquet, in which pandas finds the texts as its index, as LeRobot expects."""
    column = {"field_name": "task", "name": "task", "pandas_type": "unicode", "numpy_type": "object"}
    number = {"field_name": "task_index", "name": "task_index", "pandas_type": "int64", "numpy_type": "int64"}
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [number | {"metadata": None}, column | {"metadata": None}],
        "pandas_version": "2.0.0",
    }
    table = pa.table(
        {"task_index": pa.array(range(len(tasks)), pa.int64()), "task": pa.array(tasks, pa.string())}
    )
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})
