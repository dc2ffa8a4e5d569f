"""Recording: an episode is on disk, whole and counted, when `add` returns, whatever happens afterwards.

One commit writes the data file, the newest file of episode rows and info.json under temporary names, syncs them,
and renames them in this order. The rename of the episode rows is the commit point: before it the data file is
surplus, after it the episode is there. That file is rewritten with each episode but never grows beyond a fixed
number of rows, so an episode costs the same however many there are.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from understudy.dataset import Dataset
from understudy.episode import Episode
from understudy.storage.files import Commit, DataError, Lock
from understudy.storage.layout import INFO, SKETCH, STATS, TASKS, Layout, data_file, meta_file
from understudy.storage.recovery import State, previous, put_json, recover
from understudy.storage.summary import Statistics
from understudy.storage.tables import data_table, episode_rows, task_of, tasks_table, write_table

__all__ = ["Writer", "append", "repair", "write"]

_TAIL_ROWS = 32  # rows, or
_TAIL_BYTES = 256 << 10  # bytes, at which the next file of episode rows is begun
_GROUP_EPISODES = 512  # at most so many episodes, or
_GROUP_BYTES = 64 << 20  # so many bytes, are committed at once where many are at hand
_STALE = 1.02  # stats.json is rewritten when the frames have grown by this factor, and at the end


class Writer:
    """Records episodes into a folder, one writer at a time.

    When `add` returns, the episode survives a kill, a crash and a power cut. At every instant the folder opens and
    holds all committed episodes. stats.json may lag 2 % of the frames behind until `close`.

    Args:
        append: whether the folder may hold episodes already; else it must be new or empty.
        fps: steps a second, a whole number. None means the dataset's own; for a new dataset, the first episode's
            meta["fps"], or 1 where it has none: timestamps then count steps.
        robot_type: what was driven. None means the dataset's own, or that nobody says.

    Attributes:
        repaired: what opening the folder finished or dropped after a crash, in words; empty when nothing was wrong.

    Raises:
        DataError: when the folder is being written by another process, holds something else, is damaged, or has
            another fps or robot_type.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        append: bool = False,
        fps: int | None = None,
        robot_type: str | None = None,
    ) -> None:
        if fps is not None and (isinstance(fps, bool) or not isinstance(fps, int) or fps < 1):
            raise ValueError(f"fps is {fps!r}; it must be a whole number of steps a second")
        self._folder = Path(folder)
        self._fps, self._robot_type = fps, robot_type
        _refuse_strangers(self._folder)
        self._lock = Lock(self._folder)
        try:
            self._state, repaired = recover(self._folder)
            self.repaired: tuple[str, ...] = tuple(repaired)
            self._check(append)
        except BaseException:
            self._lock.release()
            raise
        self._stale = bool(repaired)  # whether stats.json is behind
        self._broken = False  # whether a commit failed, so that the state must be read again
        self._open = True

    def _check(self, append: bool) -> None:
        layout = self._state.layout
        if layout is None:
            return
        if not append:
            raise DataError(
                f"{self._folder} already holds {self._state.episodes} episodes; append to it, or choose another folder"
            )
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
        """Commits one episode. When it raises, the episode is not in the dataset and the others are untouched.

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
            _alike(layout, episode, self._state.episodes + i)
        self._broken = True
        try:
            self._write(layout, group)
        except OSError as e:
            raise DataError(
                f"cannot write into {self._folder}: {e.strerror or e}; the {self._state.episodes} episodes committed "
                "before are safe"
            ) from e
        self._broken = False

    def _ready(self, first: Episode) -> Layout:
        """The layout, after reading the state again where a commit failed and beginning the dataset where it is new."""
        if self._broken:
            self._state, repaired = recover(self._folder)
            self.repaired += tuple(repaired)
            self._broken = False
        state = self._state
        if state.layout is None:
            layout = Layout.of(first, self._fps or _fps_of(first), self._robot_type)
            # info.json first: from here on the folder is known as a dataset, whatever else a crash leaves in it.
            with Commit(self._folder) as commit:
                commit.stage(INFO, put_json(layout.info(0, 0, 0)))
                commit.finish()
            state.layout, state.statistics = layout, Statistics(layout)
        return state.layout

    def _write(self, layout: Layout, group: list[Episode]) -> None:
        state = self._state
        assert state.statistics is not None
        texts = [task_of(e) for e in group]
        tasks = list(dict.fromkeys([*state.tasks, *texts]))
        stats = [state.statistics.add(e) for e in group]
        full = state.tail is not None and (len(state.tail) >= _TAIL_ROWS or state.tail.nbytes >= _TAIL_BYTES)
        rows_number = state.rows + full
        rows = episode_rows(
            layout,
            group,
            stats,
            number=state.episodes,
            start=state.frames,
            data=state.data,
            rows=rows_number,
        )
        if state.tail is not None and not full:
            rows = pa.concat_tables([state.tail.cast(rows.schema), rows]).combine_chunks()

        def steps() -> Iterable[pa.Table]:
            number, start = state.episodes, state.frames
            for episode, text in zip(group, texts, strict=True):
                yield data_table(layout, episode, number=number, start=start, task=tasks.index(text))
                number, start = number + 1, start + len(episode)

        episodes, frames = state.statistics.episodes, state.statistics.frames
        with Commit(self._folder) as commit:
            if len(tasks) > len(state.tasks):
                commit.stage(TASKS, lambda file: write_table(file, [tasks_table(tasks)]))
            commit.stage(data_file(state.data), lambda file: write_table(file, steps(), filtered=("episode_index",)))
            commit.stage(meta_file(rows_number), lambda file: write_table(file, [rows]))
            due = frames >= self._measured * _STALE
            if due:
                self._stage_statistics(commit, state.statistics)
            commit.stage(INFO, put_json(layout.info(episodes, frames, len(tasks))))
            if state.tail is not None and not full:
                _keep_previous(self._folder / meta_file(rows_number), self._folder / previous(meta_file(rows_number)))
            commit.finish()
        if due:
            self._measured = frames
        self._state = State(
            layout, state.statistics, episodes, frames, tasks, state.data + 1, rows_number, rows
        )
