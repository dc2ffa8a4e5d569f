"""The Parquet tables of a dataset: steps, rows of meta/episodes, tasks."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from understudy.episode import Array, Episode, Meta
from understudy.storage.columns import data_schema, to_arrow
from understudy.storage.files import DataError
from understudy.storage.layout import CHUNK, EXTRA, NOTE, Layout

__all__ = ["checksum", "data_table", "episode_rows", "task_of", "tasks_table", "write_table"]

# No dictionaries: measurements hardly repeat, and a file then unfolds to little more than its size. Checksums
# let a reader tell a flipped bit from a measurement. Only what LeRobot filters by needs minima and maxima.
_OPTIONS: Mapping[str, Any] = {"use_dictionary": False, "write_page_checksum": True, "compression": "snappy"}


def write_table(file: IO[bytes], tables: Iterable[pa.Table], *, filtered: Sequence[str] = ()) -> None:
    """Writes tables of one schema into a Parquet file, a row group each."""
    stats = list(filtered) or False
    writer = None
    for table in tables:
        writer = writer or pq.ParquetWriter(file, table.schema, write_statistics=stats, **_OPTIONS)
        writer.write_table(table, row_group_size=len(table))
    if writer is not None:
        writer.close()


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
    columns = {f.name: episode.obs[key][:-1] for key, f in layout.obs.items()} | own
    features = layout.features
    return pa.table([to_arrow(f, columns[f.name]) for f in features], schema=data_schema(features))


def episode_rows(
    layout: Layout,
    episodes: Sequence[Episode],
    stats: Sequence[Mapping[str, Mapping[str, Any]]],
    *,
    number: int,
    start: int,
    data: int,
    size: int,
    rows: int,
) -> pa.Table:
    """The rows of meta/episodes for consecutive episodes in one data file.

    Args:
        stats: of each episode: feature -> statistic -> value.
        number: of the first episode; start: its first global row.
        data: the number of the data file, and its size in bytes.
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
    for feature in layout.signals:
        nested = pa.float64()
        for _ in feature.stats_shape:
            nested = pa.list_(nested)
        for name in stats[0][feature.name]:
            kind = pa.list_(pa.int64()) if name == "count" else nested
            columns[f"stats/{feature.name}/{name}"] = pa.array([s[feature.name][name] for s in stats], kind)
    columns["meta/episodes/chunk_index"] = whole(rows // CHUNK)
    columns["meta/episodes/file_index"] = whole(rows % CHUNK)
    columns |= {EXTRA + name: column for name, column in _extra(layout, episodes).items()}
    columns[EXTRA + "bytes"] = whole(size)
    note = json.dumps({"version": 1, "keys": layout.renamed()})
    return pa.table(columns).replace_schema_metadata({NOTE: note})


def _extra(layout: Layout, episodes: Sequence[Episode]) -> dict[str, pa.Array]:
    """What an episode has beyond LeRobot's layout; the label is null where it is the action, bit for bit."""
    value = pa.int64() if layout.action.dtype == "int64" else pa.float32()
    labels = [None if _same(e.label, e.action) else e.label.reshape(-1) for e in episodes]
    spoken = [None if e.labelled.all() else e.labelled for e in episodes]
    finals = {
        f"final/{f.name}": to_arrow(f, np.stack([e.obs[key][-1] for e in episodes]))
        for key, f in layout.obs.items()
    }
    return {
        "meta": pa.array([json.dumps(dict(e.meta)) for e in episodes], pa.string()),
        "success": pa.array([e.success for e in episodes], pa.bool_()),
        "terminated": pa.array([e.terminated for e in episodes], pa.bool_()),
        "crc32": pa.array([_crc(e) for e in episodes], pa.int64()),
        "label": pa.array(labels, pa.list_(value)),
        "labelled": pa.array(spoken, pa.list_(pa.bool_())),
        "time": pa.array([e.time for e in episodes], pa.list_(pa.float64())),
        **finals,
    }


def _crc(e: Episode) -> int:
    return checksum(e.obs, e.action, e.label, e.labelled, e.reward, e.terminated, e.success, e.meta, e.time)


def _same(a: Array, b: Array) -> bool:
    return a is b or a.tobytes() == b.tobytes()


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
) -> int:
    """CRC-32 of all that an episode is, names included, to hold what is read against what was recorded."""
    facts = [sorted(obs), terminated, success, json.dumps(dict(meta), sort_keys=True)]
    crc = zlib.crc32(repr(facts).encode())
    for part in (*(obs[k] for k in sorted(obs)), action, label, labelled, reward):
        crc = zlib.crc32(part.data, crc)
    return crc if time is None else zlib.crc32(time.data, crc)


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
