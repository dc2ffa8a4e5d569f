"""Edits from a page: delete, trim and relabel in place, each on the version that the page saw, with undo.

The dataset before an edit is kept beside it as ``NAME.before``. What an edit was asked for on is compared
under the writer's lock, so that no recording and no second page can come between.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from understudy import storage
from understudy.editing import Edited, selected, trimmed, with_fact
from understudy.editing.folders import replace_with
from understudy.episode import Episode
from understudy.storage import DataError
from understudy.storage.files import Lock, exchange
from understudy.studio.library_scene import TRIMMED
from understudy.studio.library_shelf import INSTRUCTION, OPERATOR, known_name, version_of

__all__ = ["Busy", "Edits", "Stale"]

_OUTCOMES = (True, False, None)
_LONGEST = {"operator": OPERATOR, "instruction": INSTRUCTION}  # characters
_MOST = 100_000  # episodes in one edit


class Busy(ValueError):
    """The folder cannot be edited now; the message says why."""


class Stale(ValueError):
    """The folder is not what the edit was asked for on."""


@dataclass(frozen=True)
class _Done:
    """An edit that can be taken back: what the folder was after it, and where the dataset before it is."""

    version: str
    kept: Path
    words: str


@final
class Edits:
    """Changes one folder, one edit at a time. Threads may share it.

    Args:
        busy: why the folder must not be edited now; "" where it may.

    All raise:
        Busy: when the folder is being recorded into or edited.
        Stale: when it has changed since `version`.
        ValueError, IndexError: when what is asked does not fit; nothing is changed then.
        DataError: when the folder is damaged or cannot be written; it is as it was then.
    """

    def __init__(self, folder: Path, busy: Callable[[], str]) -> None:
        self._folder, self._busy = folder, busy
        self._one = threading.Lock()
        self._done: list[_Done] = []

    def undoable(self, version: str) -> str | None:
        """What `undo` would take back at this version, in words."""
        return self._done[-1].words if self._done and self._done[-1].version == version else None

    def delete(self, version: str, episodes: Iterable[int]) -> dict[str, Any]:
        """Leaves episodes out; the others are numbered anew."""
        gone = set(self._these(episodes))
        count = storage.info(self._folder).episodes
        left = [i for i in range(count) if i not in gone]
        if not left:
            raise ValueError(f"all {count} episodes would be deleted; a dataset needs at least one")
        return self._edit(version, lambda them: selected(them, left), f"{_named(gone)} deleted")

    def trim(self, version: str, episode: int, start: int, stop: int, success: object) -> dict[str, Any]:
        """Leaves only the steps [start, stop) of an episode. `success`: "keep", True, False or None."""
        (number,) = self._these([episode])
        if success != "keep" and not any(success is known for known in _OUTCOMES):
            raise ValueError(f"success is {success!r}; it must be 'keep', true, false or null")
        if start < 0 or stop < 0:
            raise ValueError(f"steps {start}:{stop} begin or end before the episode; they are counted from 0")

        def cut(i: int, e: Episode) -> Episode:
            if i != number:
                return e
            short = trimmed(e, start, stop)
            short = short if success == "keep" else _judged(short, success)
            # Without its first steps its seed does not lead there any more; whoever draws it must know.
            return with_fact(short, TRIMMED, start + _trimmed(e)) if start else short

        return self._edit(version, _each(cut), f"episode {number} trimmed to steps {start} to {stop}")

    def relabel(self, version: str, episodes: Iterable[int], facts: Mapping[str, object]) -> dict[str, Any]:
        """Sets "success" (true, false or null), "operator" or "instruction" of episodes.

        The instruction is the fact "instruction" of an episode whose "task" names a task that is built in,
        and else that "task" itself.
        """
        chosen = set(self._these(episodes))
        said = {name: _fact(name, value) for name, value in facts.items()}
        if not said:
            raise ValueError("nothing is set; say success, operator or instruction")

        def told(i: int, e: Episode) -> Episode:
            if i not in chosen:
                return e
            for name, value in said.items():
                e = _judged(e, value) if name == "success" else with_fact(e, _key(e, name), value)
            return e

        return self._edit(version, _each(told), f"{_named(chosen)}: {', '.join(said)} set")

    def undo(self, version: str) -> dict[str, Any]:
        """Goes back to the dataset before the last edit made here; what that edit made is removed.

        It works as long as nothing else has changed the folder since, and the dataset before is still there.
        """
        with self._alone():
            if not self._done:
                raise ValueError("there is no edit of this session to take back")
            done = self._done[-1]
            lock = Lock(self._folder)
            try:
                if version_of(self._folder) != version or done.version != version:
                    raise Stale("the dataset has changed since that edit, so it cannot be taken back")
                if not version_of(done.kept):
                    raise DataError(
                        f"{done.kept.name} is not there any more, so the edit cannot be taken back"
                    )
                second = Lock(done.kept)
                try:
                    exchange(done.kept, self._folder)
                    self._done.pop()
                    left = _removed(done.kept)
                finally:
                    second.release()
            except OSError as e:
                raise DataError(f"cannot take the edit back: {e.strerror or e}") from e
            finally:
                lock.release()
            return {
                "version": version_of(self._folder),
                "words": f"taken back: {done.words}{left}",
                "kept": None,
            }

    def _edit(
        self, version: str, change: Callable[[Iterable[Episode]], Iterable[Episode]], words: str
    ) -> dict[str, Any]:
        with self._alone():
            self._check(version)

            def episodes() -> Iterable[Episode]:
                self._check(version)  # under the writer's lock, which `replace_with` holds by now
                return change(storage.stream(self._folder))

            made = replace_with(self._folder, episodes, storage.info(self._folder), keep=True)
            return self._note(made, words)

    def _note(self, made: Edited, words: str) -> dict[str, Any]:
        assert made.kept is not None
        after = version_of(self._folder)
        self._done.append(_Done(after, made.kept, words))
        return {
            "version": after,
            "words": words,
            "episodes": made.episodes,
            "steps": made.steps,
            "kept": made.kept.name,
            "left_out": list(made.left_out),
        }

    def _alone(self) -> _Alone:
        return _Alone(self._one, self._busy)

    def _check(self, version: str) -> None:
        if version_of(self._folder) != version:
            raise Stale("the dataset has changed since this page read it; look again before editing")

    def _these(self, episodes: Iterable[int]) -> list[int]:
        numbers = sorted(set(episodes))
        count = storage.info(self._folder).episodes
        if not 1 <= len(numbers) <= _MOST:
            raise ValueError(f"{len(numbers)} episodes are named; it must be 1 to {_MOST}")
        for i in (numbers[0], numbers[-1]):
            if not 0 <= i < count:
                raise IndexError(f"there is no episode {i}; there are {count}")
        return numbers


@final
class _Alone:
    """One edit at a time, and none while somebody records."""

    def __init__(self, lock: threading.Lock, busy: Callable[[], str]) -> None:
        self._lock, self._busy = lock, busy

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise Busy("another edit is under way; wait until it is done")
        try:
            if why := self._busy():
                raise Busy(why)
        except BaseException:
            self._lock.release()
            raise

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _each(change: Callable[[int, Episode], Episode]) -> Callable[[Iterable[Episode]], Iterable[Episode]]:
    return lambda them: (change(i, e) for i, e in enumerate(them))


def _named(episodes: Iterable[int]) -> str:
    numbers = sorted(episodes)
    shown = ", ".join(map(str, numbers[:5])) + (", …" if len(numbers) > 5 else "")
    return f"episode{'s' if len(numbers) > 1 else ''} {shown}"


def _removed(folder: Path) -> str:
    """Removes what an edit made that was taken back; in words, where it could not be."""
    try:
        shutil.rmtree(folder)
    except OSError as e:
        return f"; what it made could not be removed and is in {folder.name} ({e.strerror or e})"
    return ""


def _judged(episode: Episode, success: Any) -> Episode:
    """The episode with an outcome that a person gave; where it says whose word that is, it is his now."""
    told = replace(episode, success=success)
    return with_fact(told, "success_by", "operator") if "success_by" in told.meta else told


def _trimmed(episode: Episode) -> int:
    """How many steps were cut off its start before."""
    before = episode.meta.get(TRIMMED, 0)
    return before if isinstance(before, int) else 0


def _key(episode: Episode, name: str) -> str:
    """The fact that holds it."""
    task = str(episode.meta.get("task", ""))
    return "task" if name == "instruction" and task and not known_name(task) else name


def _fact(name: str, value: object) -> Any:
    if name == "success":
        if not any(value is known for known in _OUTCOMES):
            raise ValueError(f"success is {value!r}; it must be true, false or null")
        return value
    if name not in _LONGEST:
        raise ValueError(f"{name[:40]!r} cannot be set; success, operator and instruction can")
    if not isinstance(value, str):
        raise TypeError(f"{name} is {type(value).__name__}; it must be text")
    text = value.strip()
    if len(text) > _LONGEST[name] or not text.isprintable():
        raise ValueError(
            f"{name} must be one line of at most {_LONGEST[name]} characters that can be printed"
        )
    return text
