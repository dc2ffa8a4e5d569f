"""Recording: an episode is on disk, whole and counted, when `add` returns, whatever happens afterwards.

One commit writes the data file, the newest file of episode rows and info.json under temporary names, syncs
them, and renames them in this order. The rename of the episode rows is the commit point: before it the data
file is surplus, after it the episode is there. That file is rewritten with each episode but never grows
beyond a fixed number of rows, so an episode costs the same however many there are.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa

from understudy.episode import Episode
from understudy.storage.files import Commit, DataError, Lock
from understudy.storage.layout import INFO, MAX_FPS, SKETCH, STATS, TASKS, Layout, data_file, meta_file
from understudy.storage.recovery import State, previous, put, recover, refuse
from understudy.storage.summary import Statistics
from understudy.storage.tables import data_table, episode_rows, task_of, tasks_table, write_table

__all__ = ["Writer", "append", "repair", "write"]

_TAIL_ROWS = 64  # rows, or
_TAIL_BYTES = 256 << 10  # bytes, at which the next file of episode rows is begun
_GROUP_EPISODES = 512  # at most so many episodes, or
_GROUP_BYTES = 64 << 20  # so many bytes, are committed at once where many are at hand
_STALE = 1.02  # stats.json is rewritten when the frames have grown by this factor, and at the end


class Writer:
    """Records episodes into a folder, one writer at a time.

    When `add` returns, the episode survives a kill, a crash and a power cut. At every instant the folder
    opens and holds all committed episodes. stats.json may lag 2 % of the frames behind until `close`.

    Args:
        append: whether the folder may hold episodes already; else it must be new or empty.
        fps: steps a second, a whole number. None means the dataset's own; for a new dataset, meta["fps"] of
            its first episode, or 1 where it has none: timestamps then count steps.
        robot_type: what was driven. None means the dataset's own, or that nobody says.

    Attributes:
        repaired: what opening the folder finished or dropped after a crash, in words; else empty.

    Raises:
        DataError: when the folder is being written by another process, holds something else, is damaged, or
            has another fps or robot_type.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        append: bool = False,
        fps: int | None = None,
        robot_type: str | None = None,
    ) -> None:
        if fps is not None and (isinstance(fps, bool) or not isinstance(fps, int) or not 1 <= fps <= MAX_FPS):
            raise ValueError(f"fps is {fps!r}; it must be a whole number of steps a second")
        self._folder = Path(folder)
        self._fps, self._robot_type = fps, robot_type
        refuse(self._folder, append=append)
        self._lock = Lock(self._folder)
        try:
            self._state, repaired = recover(self._folder)
            self.repaired: tuple[str, ...] = tuple(repaired)
            self._check()
        except BaseException:
            self._lock.release()
            raise
        self._broken = False  # whether a commit failed, so that the state must be read again
        self._open = True

    def _check(self) -> None:
        if (layout := self._state.layout) is None:
            return
        for name, asked, has in (
            ("fps", self._fps, layout.fps),
            ("robot_type", self._robot_type, layout.robot_type),
        ):
            if asked is not None and asked != has:
                raise DataError(f"{self._folder} has {name} {has!r}, not {asked!r}; a dataset has one {name}")

    @property
    def episodes(self) -> int:
        """How many episodes are committed."""
        return self._state.episodes

    @property
    def steps(self) -> int:
        """How many steps they have together."""
        return self._state.frames

    def add(self, episode: Episode) -> None:
        """Commits one episode. When it raises, this one is not in the dataset and the others are untouched.

        Raises:
            DataError: when the episode is not like those before, or cannot be written (a full disk).
        """
        self._commit([episode])

    def extend(self, episodes: Iterable[Episode]) -> None:
        """Commits many episodes, several in one file and one commit. When it raises, whole groups are in.

        Raises:
            DataError: as `add`.
        """
        group: list[Episode] = []
        size = 0
        for episode in episodes:
            group.append(episode)
            size += sum(v.nbytes for v in episode.obs.values()) + episode.action.nbytes
            if len(group) == _GROUP_EPISODES or size >= _GROUP_BYTES:
                self._commit(group)
                group, size = [], 0
        if group:
            self._commit(group)

    def _commit(self, group: list[Episode]) -> None:
        if not self._open:
            raise DataError(f"{self._folder} is closed for writing")
        for episode in group:
            if not isinstance(episode, Episode):
                raise TypeError(f"{type(episode).__name__} cannot be recorded; an Episode is needed")
        layout = self._ready(group[0])
        for i, episode in enumerate(group):
            layout.check(episode, self._state.episodes + i)
        self._broken = True
        try:
            self._write(layout, group)
        except OSError as e:
            raise DataError(
                f"cannot write into {self._folder}: {e.strerror or e}; "
                f"the {self._state.episodes} episodes committed before are safe"
            ) from e
        self._broken = False

    def _ready(self, first: Episode) -> Layout:
        """The layout; reads the state again where a commit failed, and begins the dataset where it is new."""
        if self._broken:
            self._state, repaired = recover(self._folder)
            self.repaired += tuple(repaired)
            self._broken = False
        state = self._state
        if state.layout is None:
            layout = Layout.of(first, self._fps, self._robot_type)
            # info.json first: whatever else a crash leaves, the folder is known as a dataset from here on.
            with Commit(self._folder) as commit:
                commit.stage(INFO, put(layout.info(0, 0, 0)))
                commit.finish()
            state.layout, state.statistics = layout, Statistics(layout)
        return state.layout

    def _write(self, layout: Layout, group: list[Episode]) -> None:
        state = self._state
        assert state.statistics is not None
        texts = [task_of(e) for e in group]
        tasks = list(dict.fromkeys([*state.tasks, *texts]))
        stats = [state.statistics.add(e) for e in group]
        episodes, frames = state.statistics.episodes, state.statistics.frames
        tail = state.tail
        if tail is not None and (len(tail) >= _TAIL_ROWS or tail.nbytes >= _TAIL_BYTES):
            tail = None
        rows_number = state.rows + (tail is not state.tail)

        def steps() -> Iterator[pa.Table]:
            number, start = state.episodes, state.frames
            for episode, text in zip(group, texts, strict=True):
                yield data_table(layout, episode, number=number, start=start, task=tasks.index(text))
                number, start = number + 1, start + len(episode)

        with Commit(self._folder) as commit:
            if len(tasks) > len(state.tasks):
                commit.stage(TASKS, partial(write_table, tables=[tasks_table(tasks)]))
            write_steps = partial(write_table, tables=steps(), filtered=("episode_index",))
            size = commit.stage(data_file(state.data), write_steps)
            place = {"number": state.episodes, "start": state.frames, "data": state.data}
            rows = episode_rows(layout, group, stats, **place, size=size, rows=rows_number)
            if tail is not None:
                if tail.column_names == rows.column_names and tail.schema != rows.schema:
                    tail = tail.cast(rows.schema)
                # An older writer's rows may lack a column, which is then empty there.
                rows = pa.concat_tables([rows.slice(0, 0), tail, rows], promote_options="default")
                rows = rows.combine_chunks()
            commit.stage(meta_file(rows_number), partial(write_table, tables=[rows]))
            due = frames >= state.measured * _STALE
            if due:
                _stage_statistics(commit, state.statistics)
            commit.stage(INFO, put(layout.info(episodes, frames, len(tasks))))
            if tail is not None:
                _keep_previous(self._folder, meta_file(rows_number))
            commit.finish()
        measured = frames if due else state.measured
        self._state = State(
            layout, state.statistics, measured, episodes, frames, tasks, state.data + 1, rows_number, rows
        )

    def close(self) -> None:
        """Brings stats.json up to date and lets other writers in; doing so twice is harmless.

        Raises:
            DataError: when stats.json cannot be written; the episodes are safe.
        """
        if not self._open:
            return
        self._open = False
        try:
            if self._broken:
                self._state, repaired = recover(self._folder)
                self.repaired += tuple(repaired)
            state = self._state
            if state.statistics is not None and state.measured < state.frames:
                with Commit(self._folder) as commit:
                    _stage_statistics(commit, state.statistics)
                    commit.finish()
        except OSError as e:
            raise DataError(
                f"cannot write the statistics of {self._folder}: {e.strerror or e}; its episodes are safe"
            ) from e
        finally:
            self._lock.release()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _stage_statistics(commit: Commit, statistics: Statistics) -> None:
    # stats.json first: the saved sketch tells the next session how far stats.json goes.
    commit.stage(STATS, put(json.dumps(statistics.summary(), indent=4).encode()))
    commit.stage(SKETCH, statistics.save)


def _keep_previous(folder: Path, rows: str) -> None:
    """A second name for the newest rows, which outlives their replacement; costs no copy."""
    newest, kept = folder / rows, folder / previous(rows)
    second = kept.with_name(kept.name + ".tmp")
    with contextlib.suppress(OSError):  # not every file system has second names; this is a convenience
        os.link(newest, second)
        os.replace(second, kept)
        second.unlink()  # renaming one name of a file to another name of the same file does nothing


def write(
    folder: str | os.PathLike[str],
    data: Iterable[Episode],
    *,
    fps: int | None = None,
    robot_type: str | None = None,
) -> None:
    """Writes a Dataset, or any episodes, into a new folder. `fps` and `robot_type` are as for Writer.

    Raises:
        DataError: when the folder holds something, there are no episodes, or writing fails.
    """
    with Writer(folder, fps=fps, robot_type=robot_type) as writer:
        writer.extend(data)
        if not writer.episodes:
            raise DataError(f"there are no episodes to write into {folder}")


def append(folder: str | os.PathLike[str], episodes: Iterable[Episode]) -> tuple[str, ...]:
    """Adds episodes to a dataset, or begins one; gives back what had to be repaired first, in words.

    Raises:
        DataError: as Writer and its `add`.
    """
    with Writer(folder, append=True) as writer:
        writer.extend(episodes)
        return writer.repaired


def repair(folder: str | os.PathLike[str]) -> tuple[str, ...]:
    """Finishes or drops what a crash left in a dataset, and says what it did, if anything.

    Raises:
        DataError: when the folder is no dataset, is being written, or is damaged beyond what a crash leaves.
    """
    if not os.path.lexists(Path(folder) / INFO):
        raise DataError(f"{folder} is not a dataset: it has no {INFO}")
    with Writer(folder, append=True) as writer:
        return writer.repaired
