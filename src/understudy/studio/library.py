"""The library: what was recorded and tried, looked at while it grows. Values are ready for JSON; no server.

Indices are those of the episodes in their folder, and sources are looked up by id: nothing that a page says
becomes a path.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, final

import numpy as np

from understudy.numerics import wilson
from understudy.scene import Replayed
from understudy.studio.library_edits import Edits
from understudy.studio.library_flags import Flags, Measured
from understudy.studio.library_scene import Stage
from understudy.studio.library_shelf import INSTRUCTION, OPERATOR, Contents, Row, Shelf, cut, known
from understudy.studio.library_sources import Source, sources_of
from understudy.studio.library_timeline import at_step, pictures, timeline

__all__ = ["SORTS", "Library"]

SORTS = ("index", "worst", "steps", "operator")
MOST_ROWS = 500  # of the list in one answer
_OUTCOMES = {"yes": True, "no": False, "unknown": None}
_OPERATORS = 200  # to choose from
_FACTS = 100  # of an episode that are shown
_QUALITY = 85  # of JPEG


def _free() -> str:
    return ""


@final
class Library:
    """A dataset folder or a run, with what belongs to it. Threads may share it.

    Args:
        folder: a dataset, one that does not exist yet, or a run.
        runs: runs whose data and evaluations are to be compared with it.
        busy: why the folder must not be edited now, such as that it is being recorded into; "" where it may.

    All raise KeyError for an unknown source, IndexError for an episode or step that is not there, ValueError
    for a value that does not fit, and DataError where a folder is damaged.
    """

    def __init__(self, folder: Path, *, runs: Sequence[Path] = (), busy: Callable[[], str] = _free) -> None:
        self._folder, self._runs, self._busy = folder, tuple(runs), busy
        self._stage = Stage()
        self._lock = threading.Lock()
        self._shelves: dict[Path, tuple[Shelf, Flags]] = {}
        self._listed: dict[str, tuple[Contents, Measured | None, list[dict[str, Any]]]] = {}
        self.edits = Edits(folder, busy)

    def sources(self) -> list[dict[str, Any]]:
        """What can be looked at, with the success rate of each and its Wilson interval."""
        return [self._about(s) for s in self._sources().values()]

    def source(self, id_: str) -> Source:
        """The source of that id."""
        found = self._sources()
        if id_ not in found:
            raise KeyError(f"there is no source {id_[:40]!r}; there are {', '.join(found)}")
        return found[id_]

    def episodes(
        self,
        source: str,
        *,
        sort: str = "index",
        descending: bool = False,
        success: str = "",
        operator: str | None = None,
        flag: str = "",
        start: int = 0,
        count: int = 200,
    ) -> dict[str, Any]:
        """A page of the list: the rows [start, start + count) of those that fit, and what one may filter by.

        Flags follow when the inspection is done: until then `measuring` is true and rows have none.
        """
        if sort not in SORTS:
            raise ValueError(f"sort is {sort[:40]!r}; it must be one of {', '.join(SORTS)}")
        if success not in ("", *_OUTCOMES):
            raise ValueError(f"success is {success[:40]!r}; it must be one of {', '.join(_OUTCOMES)}")
        if not 1 <= count <= MOST_ROWS:
            raise ValueError(f"count is {count}; it must lie between 1 and {MOST_ROWS}")
        about = self.source(source)
        contents, measured = self._measured(source)
        rows = self._rows(source, contents, measured)
        fits = [
            r
            for r in rows
            if (not success or r["success"] is _OUTCOMES[success])
            and (operator is None or r["operator"] == operator)
            and (not flag or any(f["kind"] == flag for f in r["flags"]))
        ]
        fits = _sorted(fits, sort, descending, measured)
        return {
            "source": source,
            "version": contents.version,
            "total": len(rows),
            "matching": len(fits),
            "start": start,
            "rows": fits[start : start + count],
            "operators": sorted({r["operator"] for r in rows})[:_OPERATORS],
            "kinds": sorted({f["kind"] for r in rows for f in r["flags"]}),
            "measuring": measured is None and bool(rows),
            "trouble": measured.error if measured is not None else "",
            "whole": list(measured.whole) if measured is not None else [],
            "editable": about.editable,
            "busy": self._busy() if about.editable else "",
            "undo": self.edits.undoable(contents.version) if about.editable else None,
        }

    def episode(self, source: str, index: int) -> dict[str, Any]:
        """One episode: its row, facts, cameras and the names of its task's values."""
        shelf, flags = self._shelf(source)
        contents, episode = shelf.episode(index)
        measured = flags.at(contents.version)
        task = known(str(episode.meta.get("task", "")))
        return {
            "source": source,
            "version": contents.version,
            **_row(contents.rows[index], measured),
            "measuring": measured is None,
            "terminated": episode.terminated,
            "return": episode.total_reward,
            "cameras": pictures(episode),
            "facts": {
                cut(k, OPERATOR): cut(v, INSTRUCTION) for k, v in sorted(episode.meta.items())[:_FACTS]
            },
            "rate": contents.opened.layout.fps if contents.opened is not None else 1,
            "summary": "" if task is None else task.summary,
        }

    def timeline(self, source: str, index: int, bins: int) -> dict[str, Any]:
        """Its columns, downsampled so that spikes stay; see `library_timeline.timeline`."""
        contents, episode = self._shelf(source)[0].episode(index)
        return {"version": contents.version, **timeline(episode, bins)}

    def step(self, source: str, index: int, step: int) -> dict[str, Any]:
        """Exact values at one step."""
        contents, episode = self._shelf(source)[0].episode(index)
        return {"version": contents.version, **at_step(episode, step)}

    def picture(self, source: str, index: int, step: int, camera: str) -> bytes:
        """What a camera saw at a step, as JPEG."""
        import simplejpeg

        _, episode = self._shelf(source)[0].episode(index)
        if camera not in pictures(episode):
            raise KeyError(
                f"there is no camera {camera[:40]!r}; there are {', '.join(pictures(episode)) or 'none'}"
            )
        if not 0 <= step <= len(episode):
            raise IndexError(f"there is no step {step}; the episode has {len(episode)}")
        image = np.asarray(episode.obs[camera][step])
        colours = 3 if image.shape[-1] >= 3 else 1
        image = np.ascontiguousarray(image[..., :colours])
        jpeg: bytes = simplejpeg.encode_jpeg(image, _QUALITY, "RGB" if colours == 3 else "GRAY")
        return jpeg

    def played(self, source: str, index: int) -> Replayed:
        """The episode simulated again, with its scene. Raises NotDrawn, in words, where it cannot be."""
        contents, episode = self._shelf(source)[0].episode(index)
        return self._stage.played((source, contents.version, index), episode)

    def pair(self, source: str, index: int, other: str) -> dict[str, Any]:
        """The episode of another source that began as this one did: of the same task, with the same seed.

        `same_start` is false where there is none; then it is the first one.
        """
        rows = self._shelf(source)[0].contents().rows
        if not 0 <= index < len(rows):
            raise IndexError(f"there is no episode {index}; there are {len(rows)}")
        mine, theirs = rows[index], self._shelf(other)[0].contents().rows
        if not theirs:
            raise IndexError(f"source {other[:40]!r} holds no episodes yet")
        same = [
            r.index for r in theirs if mine.seed is not None and (r.task, r.seed) == (mine.task, mine.seed)
        ]
        same = [i for i in same if (other, i) != (source, index)] or same
        return {"source": other, "index": same[0] if same else theirs[0].index, "same_start": bool(same)}

    def _sources(self) -> dict[str, Source]:
        return sources_of(self._folder, self._runs)

    def _shelf(self, source: str) -> tuple[Shelf, Flags]:
        folder = self.source(source).folder
        with self._lock:
            if folder not in self._shelves:
                self._shelves[folder] = Shelf(folder), Flags(folder)
            return self._shelves[folder]

    def _measured(self, source: str) -> tuple[Contents, Measured | None]:
        shelf, flags = self._shelf(source)
        contents = shelf.contents()
        return contents, flags.at(contents.version)

    def _rows(self, source: str, contents: Contents, measured: Measured | None) -> list[dict[str, Any]]:
        """The whole list, made once for each version and once more when its flags are there."""
        with self._lock:
            listed = self._listed.get(source)
        if listed is None or listed[0] is not contents or listed[1] is not measured:
            listed = contents, measured, [_row(r, measured) for r in contents.rows]
            with self._lock:
                self._listed[source] = listed
        return listed[2]

    def _about(self, source: Source) -> dict[str, Any]:
        rows = self._shelf(source.id)[0].contents().rows
        said = [r.success for r in rows if r.success is not None]
        rate = wilson(sum(said), len(said)) if said else None
        return {
            "id": source.id,
            "name": source.name,
            "kind": source.kind,
            "editable": source.editable,
            "episodes": len(rows),
            "tasks": sorted({r.task for r in rows if r.task})[:8],
            "success": None if rate is None else {**rate.summary(), "successes": sum(said)},
        }


def _row(row: Row, measured: Measured | None) -> dict[str, Any]:
    told = asdict(row) | {"flags": [] if measured is None else measured.episodes.get(row.index, [])}
    if row.success is None and measured is not None and row.index < len(measured.success):
        told["success"] = measured.success[row.index]
    return told


def _sorted(
    rows: list[dict[str, Any]], sort: str, descending: bool, measured: Measured | None
) -> list[dict[str, Any]]:
    if sort == "worst":
        place = {i: n for n, i in enumerate(measured.worst if measured is not None else ())}
        rows = sorted(rows, key=lambda r: (place.get(r["index"], len(place)), r["index"]))
    elif sort != "index":
        rows = sorted(rows, key=lambda r: (r[sort], r["index"]))
    return rows[::-1] if descending else rows
