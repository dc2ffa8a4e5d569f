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
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pyarrow as pa

from understudy.episode import Episode, Meta
from understudy.storage.capture import Take, Target
from understudy.storage.decoding import need_av
from understudy.storage.files import Commit, DataError, Lock
from understudy.storage.layout import (
    INFO,
    MAX_FPS,
    SKETCH,
    STATS,
    TASKS,
    Layout,
    data_file,
    filmed,
    fps_of,
    meta_file,
)
from understudy.storage.plain import PlainFile
from understudy.storage.recovery import State, previous, put, recover, refuse
from understudy.storage.summary import Statistics
from understudy.storage.tables import data_table, episode_rows, task_of, tasks_table, write_table
from understudy.storage.video import Clip, VideoOptions, stage_videos

__all__ = ["Writer"]

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
        video: whether pictures of three channels are stored as video, H.264 with its loss, and how; else as
            PNG, bit for bit. None means as the dataset has them; for a new dataset, PNG.

    Attributes:
        repaired: what opening the folder finished or dropped after a crash, in words; else empty.

    Raises:
        DataError: when the folder is being written by another process, holds something else, is damaged, or
            has another fps or robot_type, or video where PNG is asked for, or the other way round.
        ImportError: when there is video to write, and PyAV is not installed.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        append: bool = False,
        fps: int | None = None,
        robot_type: str | None = None,
        video: VideoOptions | bool | None = None,
    ) -> None:
        if fps is not None and (isinstance(fps, bool) or not isinstance(fps, int) or not 1 <= fps <= MAX_FPS):
            raise ValueError(f"fps is {fps!r}; it must be a whole number of steps a second")
        self._folder = Path(folder)
        self._fps, self._robot_type, self._video = fps, robot_type, video
        self._take: Take | None = None
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
        layout = self._state.layout
        if self._video if layout is None else layout.videos:
            need_av()
        if layout is None:
            return
        films = [f.video for f in layout.obs.values() if filmed(f.kind, f.shape)]
        if self._video is not None and films and any(films) != bool(self._video):
            form = "video, not PNG" if any(films) else "PNG, not video"
            raise DataError(f"{self._folder} has its pictures as {form}; a dataset has one form")
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

    def record(self, meta: Meta | None = None, *, demonstration: bool = True) -> Take:
        """Begins to record an episode live, step by step; see `Take`. One at a time.

        Raises:
            DataError: when the writer is closed, or another episode is being recorded.
        """
        self._refuse()
        self._heal()
        layout, known = self._state.layout, meta or {}
        fps = layout.fps if layout is not None else self._fps or fps_of(known)
        video = self._options if (self._video if layout is None else layout.videos) else None
        target = Target(self._folder, self._state.episodes, fps, video, layout, self._commit_take)
        self._take = Take(target, known, demonstration=demonstration)
        return self._take

    def _commit_take(self, episode: Episode, taken: Mapping[str, tuple[Path, Clip]]) -> None:
        self._commit([episode], taken)

    @property
    def _options(self) -> VideoOptions:
        return self._video if isinstance(self._video, VideoOptions) else VideoOptions()

    def _refuse(self) -> None:
        if not self._open:
            raise DataError(f"{self._folder} is closed for writing")
        if self._take is not None and self._take.open:
            raise DataError(f"an episode is being recorded into {self._folder}; finish or discard it first")

    def _heal(self) -> None:
        """Reads the state again where a commit failed."""
        if self._broken:
            self._state, repaired = recover(self._folder)
            self.repaired += tuple(repaired)
            self._broken = False

    def _commit(self, group: list[Episode], taken: Mapping[str, tuple[Path, Clip]] | None = None) -> None:
        self._refuse()
        for episode in group:
            if not isinstance(episode, Episode):
                raise TypeError(f"{type(episode).__name__} cannot be recorded; an Episode is needed")
        layout = self._ready(group[0])
        for i, episode in enumerate(group):
            layout.check(episode, self._state.episodes + i)
        self._broken = True
        try:
            self._write(layout, group, taken or {})
        except OSError as e:
            raise DataError(
                f"cannot write into {self._folder}: {e.strerror or e}; "
                f"the {self._state.episodes} episodes committed before are safe"
            ) from e
        self._broken = False

    def _ready(self, first: Episode) -> Layout:
        """The layout; reads the state again where a commit failed, and begins the dataset where it is new."""
        self._heal()
        state = self._state
        if state.layout is None:
            layout = Layout.of(first, self._fps, self._robot_type, video=bool(self._video))
            # info.json first: whatever else a crash leaves, the folder is known as a dataset from here on.
            with Commit(self._folder) as commit:
                commit.stage(INFO, put(layout.info(0, 0, 0)))
                commit.finish()
            state.layout, state.statistics = layout, Statistics(layout)
        return state.layout

    def _write(self, layout: Layout, group: list[Episode], taken: Mapping[str, tuple[Path, Clip]]) -> None:
        state = self._state
        assert state.statistics is not None
        texts = [task_of(e) for e in group]
        tasks = list(dict.fromkeys([*state.tasks, *texts]))
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
            clips = [
                stage_videos(commit, layout, e, state.episodes + i, self._options, taken)
                for i, e in enumerate(group)
            ]
            seen = [{name: clip.seen for name, clip in c.items()} for c in clips]
            stats = [state.statistics.add(e, pictures) for e, pictures in zip(group, seen, strict=True)]
            episodes, frames = state.statistics.episodes, state.statistics.frames
            plain = PlainFile(layout)
            size = commit.stage(data_file(state.data), partial(plain.write, tables=steps()))
            place = {"number": state.episodes, "start": state.frames, "data": state.data}
            rows = episode_rows(
                layout, group, stats, clips, **place, size=size, plain=plain.notes, rows=rows_number
            )
            rows = rows if tail is None else _behind(tail, rows)
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
        """Brings stats.json up to date and lets other writers in; doing so twice is harmless. An episode that
        is still being recorded is discarded.

        Raises:
            DataError: when stats.json cannot be written; the episodes are safe.
        """
        if not self._open:
            return
        if self._take is not None:
            self._take.discard()
        self._open = False
        try:
            self._heal()
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


def _behind(tail: pa.Table, rows: pa.Table) -> pa.Table:
    """Rows behind those that a file has already."""
    if tail.column_names == rows.column_names and tail.schema != rows.schema:
        tail = tail.cast(rows.schema)
    # An older writer's rows may lack a column, which is then empty there.
    return pa.concat_tables([rows.slice(0, 0), tail, rows], promote_options="default").combine_chunks()


def _stage_statistics(commit: Commit, statistics: Statistics) -> None:
    # stats.json first: the saved sketch tells the next session how far stats.json goes.
    commit.stage(STATS, put(json.dumps(statistics.summary(), indent=4).encode()))
    commit.stage(SKETCH, statistics.save)


def _keep_previous(folder: Path, rows: str) -> None:
    """A second name for the newest rows, which outlives their replacement; costs no copy."""
    newest, kept = folder / rows, folder / previous(rows)
    second = kept.with_name(kept.name + ".tmp")
    with contextlib.suppress(OSError):  # not every file system has second names; this is a convenience
        second.unlink(missing_ok=True)  # of an attempt that failed
        os.link(newest, second)
        os.replace(second, kept)
    with contextlib.suppress(OSError):
        second.unlink()  # renaming one name of a file to another name of the same file does nothing
