"""What a dataset folder holds, by its metadata: info.json and the rows of meta/episodes, which must agree."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from understudy.episode import Meta
from understudy.storage.files import DataError, Root, guarded
from understudy.storage.layout import CHUNK, EXTRA, INFO, NOTE, TASKS, Layout

__all__ = ["Folder", "Info", "read_rows", "row_files"]

_MAX_JSON = 16 << 20
_COUNTS = (
    "episode_index",
    "length",
    "dataset_from_index",
    "dataset_to_index",
    "data/chunk_index",
    "data/file_index",
)


@dataclass(frozen=True)
class Info:
    """What a dataset folder holds, from its metadata alone.

    `schema` is that of the Dataset it reads as: name -> (dtype, shape of one step), for each observation and
    for "action". `skipped` names the features that reading leaves out, `videos` those that are video.
    """

    episodes: int
    steps: int
    fps: int
    robot_type: str | None
    tasks: tuple[str, ...]
    schema: Mapping[str, tuple[str, tuple[int, ...]]]
    skipped: tuple[str, ...]
    videos: tuple[str, ...]


def row_files(root: Root) -> list[str]:
    """The files of episode rows, in order."""
    folders = [f"meta/episodes/{c}" for c in root.names("meta/episodes") if c.startswith("chunk-")]
    return [f"{folder}/{n}" for folder in folders for n in root.names(folder) if n.endswith(".parquet")]


def read_rows(root: Root, name: str, *, stats: bool = False) -> pa.Table:
    """One file of episode rows, with or without each episode's statistics."""
    file = root.parquet(name, unread=None if stats else b"stats/")
    with guarded(root.folder / name):
        wanted = [c for c in file.schema_arrow.names if stats or not c.startswith("stats/")]
        table = file.read(columns=wanted, use_threads=False)
        for column in _COUNTS:
            if column not in table.column_names or table.schema.field(column).type != pa.int64():
                raise ValueError(f"no column {column!r} of whole numbers")
            if table[column].null_count:
                raise ValueError(f"gaps in column {column!r}")
    return table


def _note(table: pa.Table) -> dict[str, str] | None:
    """Column -> observation as our writer notes it in a file of episode rows; None in another tool's file."""
    if (noted := (table.schema.metadata or {}).get(NOTE)) is None:
        return None
    said = json.loads(noted)
    if said["version"] != 1:
        raise DataError(f"the folder was written by a newer understudy (layout {said['version']!r})")
    return {str(k): str(v) for k, v in said["keys"].items()}


class Folder:
    """An open dataset folder: its layout, and one row for each committed episode.

    Attributes:
        said: info.json.
        native: whether all episode rows are our writer's.
        rows: the episode rows without statistics; None where there are none.
        length: [E], steps of each episode.
        file: [E], the number of the data file that holds it.
        size: [E], the bytes of that file when our writer wrote it, or -1.

    Raises:
        DataError: when the folder is no dataset, is damaged, or contradicts itself.
    """

    def __init__(self, folder: str | os.PathLike[str], *, counted: bool = True) -> None:
        """`counted` says whether info.json must agree on how many episodes there are."""
        self.root = Root(folder)
        self.where = self.root.folder
        if not os.path.lexists(self.where / INFO):
            raise DataError(f"{self.where} is not a dataset: it has no {INFO}")
        with guarded(self.where / INFO):
            self.said = json.loads(self.root.bytes(INFO, _MAX_JSON))
            if not isinstance(self.said, dict):
                raise ValueError("it holds no object")
        # The rows are read after info.json: what was committed in between is whole, there is just more of it.
        tables = [read_rows(self.root, name) for name in row_files(self.root)]
        with guarded(self.where / "meta"):
            notes = [_note(t) for t in tables]
            self.native = None not in notes
            self.layout = Layout.parse(self.said, next((n for n in notes if n is not None), {}))
            bare = [t.replace_schema_metadata() for t in tables]
            self.rows = pa.concat_tables(bare, promote_options="default") if bare else None
            self.length, self.file = self._numbers()
            self.size = self._sizes()
            if counted:
                self._count()

    def _numbers(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if self.rows is None:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        index, length, start, stop, chunk, file = (self.rows[c].to_numpy() for c in _COUNTS)
        if (index != np.arange(len(index))).any():
            raise DataError(f"{self.where}/meta/episodes does not number its episodes 0, 1, 2, …")
        if (odd := (length < 1) | (length >= 2**31)).any():
            i = int(np.argmax(odd))
            raise DataError(f"{self.where}/meta/episodes says that episode {i} has {length[i]} steps")
        if (stop - start != length).any() or (start != np.cumsum(length) - length).any():
            raise DataError(f"{self.where}/meta/episodes has rows that do not follow one another")
        if (chunk < 0).any() or (file < 0).any() or (file >= CHUNK).any() or (chunk > 10**6).any():
            raise DataError(f"{self.where}/meta/episodes points to data files that cannot be")
        number = chunk * CHUNK + file
        if len(np.unique(number)) != 1 + np.count_nonzero(np.diff(number)):
            raise DataError(f"{self.where}/meta/episodes scatters the episodes of a data file")
        return length, number

    def _sizes(self) -> NDArray[np.int64]:
        noted = self.column("bytes", 0, len(self.length))
        if noted is None:
            return np.full(len(self.length), -1)
        sizes: NDArray[np.int64] = noted.fill_null(-1).to_numpy()
        return sizes

    def _count(self) -> None:
        length = self.length
        episodes, frames = self.said.get("total_episodes"), self.said.get("total_frames")
        if not isinstance(episodes, int) or not isinstance(frames, int) or episodes < 0:
            raise DataError(f"{self.where / INFO} has no counts of episodes and frames")
        # Our writer's info.json follows the rows, so it may lack episodes that a crash kept it from counting.
        if episodes > len(length) or (episodes < len(length) and not self.native):
            raise DataError(
                f"{self.where / INFO} counts {episodes} episodes, meta/episodes has {len(length)}"
            )
        if (sum_ := int(length[:episodes].sum())) != frames:
            raise DataError(f"{self.where / INFO} counts {frames} frames, its episodes have {sum_}")

    def runs(self) -> list[tuple[int, int]]:
        """The episodes [a, b) of each data file, in order."""
        edges = [0, *(np.flatnonzero(np.diff(self.file)) + 1).tolist(), len(self.file)]
        return [(a, b) for a, b in itertools.pairwise(edges) if b > a]

    @property
    def action_kind(self) -> str:
        """The dtype of actions in memory: int64 where they are one discrete choice."""
        action = self.layout.action
        return "int64" if "int" in action.dtype and action.shape == (1,) else "float32"

    def tasks(self) -> tuple[str, ...]:
        """The task texts, by their index; none where the folder has no list of them."""
        if not os.path.lexists(self.where / TASKS):
            return ()
        file = self.root.parquet(TASKS)
        with guarded(self.where / TASKS):
            table = file.read(use_threads=False)
            texts = table["task" if "task" in table.column_names else "__index_level_0__"].to_pylist()
            index = table["task_index"].to_pylist()
            if sorted(index) != list(range(len(index))) or not all(isinstance(t, str) for t in texts):
                raise ValueError("it does not number its tasks 0, 1, 2, …")
        return tuple(text for _, text in sorted(zip(index, texts, strict=True)))

    def info(self) -> Info:
        """What there is, without opening a data file."""
        layout = self.layout
        schema = {k: (f.kind, f.shape) for k, f in layout.obs.items()}
        return Info(
            len(self.length),
            int(self.length.sum()),
            layout.fps,
            layout.robot_type,
            self.tasks(),
            schema | {"action": (self.action_kind, layout.action.shape)},
            layout.skipped,
            layout.videos,
        )

    def column(self, name: str, a: int, b: int) -> pa.ChunkedArray | None:
        """Our own column of the rows [a, b), or None where no row has it."""
        if self.rows is None or EXTRA + name not in self.rows.column_names:
            return None
        return self.rows[EXTRA + name].slice(a, b - a)

    def facts(self, a: int, b: int) -> list[Meta]:
        """The facts about the episodes [a, b): ours where they were noted, else the task's text."""
        assert self.rows is not None
        noted = self.column("meta", a, b)
        texts = self.rows["tasks"].slice(a, b - a) if "tasks" in self.rows.column_names else None
        out: list[Meta] = []
        for i in range(b - a):
            said = None if noted is None else noted[i].as_py()
            if said is not None:
                facts = json.loads(said)
                if not isinstance(facts, dict) or not all(
                    isinstance(v, str | int | float) for v in facts.values()
                ):
                    raise DataError(
                        f"{self.where}: the facts about episode {a + i} are not str, int or float"
                    )
            else:
                named = (texts[i].as_py() or []) if texts is not None else []
                facts = {"task": "; ".join(map(str, named))} if any(named) else {}
            out.append(facts)
        return out
