"""Data files in which numbers lie as they do in memory, so that reading an episode is one read a column.

Nearly all the time for reading a thousand small Parquet files goes into finding out what is in each. So the
numbers of our data files are not packed, and the row of an episode in meta/episodes notes where in its file
they lie. What is read by such a note is held against the episode's checksum; where it differs, and where
there is no note, the file is read as Parquet.
"""

from __future__ import annotations

import json
import os
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any, final

import pyarrow as pa

from understudy.episode import Array
from understudy.storage.folder import Folder
from understudy.storage.layout import REWARD, Layout, data_file
from understudy.storage.tables import write_table

if TYPE_CHECKING:
    from understudy.storage.filling import Columns

__all__ = ["PlainFile", "fill_plain"]

_KINDS = {"float32": 4, "int64": 8}
_LITTLE = sys.byteorder == "little"  # as Parquet is


@final
class PlainFile:
    """A data file being written, a row group an episode.

    Attributes:
        notes: [E], where each episode's numbers lie, as JSON; None where they lie in pieces.
    """

    def __init__(self, layout: Layout) -> None:
        signals = (*layout.stored.values(), layout.action, *([REWARD] if layout.reward else []))
        self._widths = {f.name: f.width * _KINDS[f.dtype] for f in signals if f.dtype in _KINDS}
        self.notes: list[str | None] = []

    def write(self, file: IO[bytes], tables: Iterable[pa.Table]) -> None:
        """Writes the steps of episodes, a table each."""
        seen: list[tuple[int, dict[str, int]]] = []

        def passing() -> Iterator[pa.Table]:
            for table in tables:
                names = [name for name in self._widths if name in table.column_names]
                seen.append((len(table), {name: zlib.crc32(_values(table[name]).data) for name in names}))
                yield table

        meta = write_table(file, passing(), filtered=("episode_index",), unpacked=tuple(self._widths))
        file.flush()
        with open(file.name, "rb", buffering=0) as back:
            self.notes = [self._note(back, meta, i, *what) for i, what in enumerate(seen)]

    def _note(
        self, file: IO[bytes], meta: Any, group: int, steps: int, sums: Mapping[str, int]
    ) -> str | None:
        row_group, at = meta.row_group(group), {}
        for j in range(meta.num_columns):
            name = meta.schema.column(j).path.removesuffix(".list.element")
            if name in sums:
                column, size = row_group.column(j), steps * self._widths[name]
                at[name] = column.data_page_offset + column.total_compressed_size - size
                if at[name] < 0 or zlib.crc32(os.pread(file.fileno(), size, at[name])) != sums[name]:
                    return None
        return json.dumps(at) if len(at) == len(sums) else None


def _values(column: pa.ChunkedArray) -> Array:
    """The numbers of a column, one after another."""
    flat = column.combine_chunks()
    flat = flat.chunk(0) if isinstance(flat, pa.ChunkedArray) else flat
    while not pa.types.is_primitive(flat.type):
        flat = flat.flatten()
    values: Array = flat.to_numpy(zero_copy_only=False)
    return values


def fill_plain(opened: Folder, runs: list[tuple[int, int]], into: Columns) -> list[tuple[int, int]]:
    """Fills in the files that notes let us read; gives back the runs of episodes that are left.

    Nothing that it reads may be believed before it is held against the checksums.
    """
    first, last = into.base, into.base + len(into.first)
    noted, layout = opened.column("plain", first, last), opened.layout
    whole = into.obs.keys() == layout.stored.keys()
    sums = opened.column("crc32" if whole else "crc32_numbers", first, last)
    fits = all(layout.obs[k].dtype == "float32" for k in into.obs)
    fits = fits and layout.action.dtype == str(into.action.dtype) and _LITTLE
    if noted is None or sums is None or sums.null_count or not fits:
        return runs
    notes = noted.to_pylist()
    return [(a, b) for a, b in runs if not _fill(opened, a, b, notes[a - first : b - first], into)]


def _fill(opened: Folder, a: int, b: int, notes: list[str | None], into: Columns) -> bool:
    """Whether all episodes of one data file could be read by their notes."""
    if None in notes:
        return False
    names = {opened.layout.obs[key].name: column for key, column in into.obs.items()}
    acts = {"action": into.action} | ({REWARD.name: into.reward} if opened.layout.reward else {})
    try:
        with open(opened.root.path(data_file(int(opened.file[a]))), "rb", buffering=0) as file:
            handle = file.fileno()
            if os.fstat(handle).st_size != opened.size[a]:
                return False
            for i, note in enumerate(notes, start=a - into.base):
                at = json.loads(note or "")
                start, steps = int(into.first[i]), int(opened.length[i + into.base])
                for name, column in names.items():
                    part = column[start + i : start + i + steps]
                    if os.preadv(handle, [part.data], at[name]) != part.nbytes:
                        return False
                for name, column in acts.items():
                    part = column[start : start + steps]
                    if os.preadv(handle, [part.data], at[name]) != part.nbytes:
                        return False
    except (ValueError, KeyError, TypeError, OSError, OverflowError, RecursionError):
        return False  # whatever it is, reading it as Parquet tells
    return True
