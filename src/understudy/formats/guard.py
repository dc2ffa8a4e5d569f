"""Reading through a child process, for files that may crash, stall or swell the library that opens them."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from understudy.episode import Episode
from understudy.formats.notes import note
from understudy.formats.wire import MAX_HEADER, episode_of
from understudy.storage.files import DataError, guarded, may_unfold

__all__ = ["Guard", "Limits"]

_START = 120.0  # seconds for Python and its imports, in which nothing of the file is touched yet
_BASE_SECONDS, _BYTES_A_SECOND = 3.0, 1 << 16  # a busy machine takes several times as long as an idle one
_SILENCE = 300.0
_BASE_MEMORY, _MEMORY_A_BYTE = 640 << 20, 32
_ENTRIES = 1_000_000
_PIPE = 1 << 20
_F_SETPIPE_SZ = 1031


class Limits:
    """What reading a file or folder of so many bytes may cost.

    Attributes:
        silence: seconds without any answer.
        seconds: seconds of waiting in all, and of processor time.
        memory: bytes beyond what the reader's libraries take.
        total: bytes of all episodes together.
    """

    def __init__(self, size: int) -> None:
        self.seconds = _BASE_SECONDS + size / _BYTES_A_SECOND
        self.silence = min(self.seconds, _SILENCE)
        most = max(_BASE_MEMORY, _physical() // 2)
        self.memory = min(_BASE_MEMORY + _MEMORY_A_BYTE * size, most)
        self.total = may_unfold(size)


def _physical() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return 8 << 30


def size_of(path: Path) -> int:
    """Bytes of a file, or of all regular files below a folder; links are not followed.

    Raises:
        DataError: when there is nothing, or a folder has more entries than any dataset.
    """
    with guarded(path):
        if not os.path.isdir(path):
            return os.stat(path).st_size
        total = entries = 0
        for folder, folders, names in os.walk(path):
            entries += len(folders) + len(names)
            if entries > _ENTRIES:
                raise DataError(f"{path} has more than {_ENTRIES} files; no dataset has so many")
            for name in names:
                with contextlib.suppress(OSError):
                    total += os.lstat(os.path.join(folder, name)).st_size
        return total


class Guard:
    """A child process that reads files, one after another, until one of them kills it.

    Attributes:
        pid: the child's process id.
    """

    def __init__(self) -> None:
        if not hasattr(select, "poll"):
            raise DataError("this system has no way to guard a reader; read with guard=False what you trust")
        here = Path(__file__).parents[2]
        kept = {k: os.environ[k] for k in ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH") if k in os.environ}
        paths = [str(here), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        self._process = subprocess.Popen(
            # -P: the folder we happen to stand in must not supply modules.
            [sys.executable, "-P", "-W", "ignore", "-m", "understudy.formats.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches us alone, and we end it
            env=kept | _ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(p for p in paths if p)},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout.fileno()
        self._poll = select.poll()
        self._poll.register(self._out, select.POLLIN | select.POLLHUP)
        self.pid = self._process.pid
        # Seconds: what is left of those allowed in all, and the most between two answers.
        self._patience = self._silence = self._allowed = _START
        with contextlib.suppress(ImportError, OSError):
            import fcntl  # here, so that a system without it can still import this

            fcntl.fcntl(self._out, _F_SETPIPE_SZ, _PIPE)

    @property
    def alive(self) -> bool:
        """Whether it can read another file."""
        return self._process.poll() is None

    def episodes(self, module: str, path: Path, options: Mapping[str, Any]) -> Iterator[Episode]:
        """The episodes of a file; what the reader notes is noted here. Left early, it ends the child.

        Args:
            module: the name of the module that reads it, which the child imports.
            options: the fields of that module's `Reading`.

        Raises:
            DataError: when the file is refused, or reading it crashes, stalls or takes too much memory.
            ImportError: when the child does not start.
        """
        limits = Limits(size_of(path))
        request = {
            "module": module,
            "path": os.path.abspath(path),
            "options": options,
            "memory": limits.memory,
            "seconds": limits.seconds,
        }
        whole = False
        try:
            self._patience = self._silence = self._allowed = _START
            self._ask(path, request)
            self._patience = self._allowed = limits.seconds
            self._silence = limits.silence
            left = limits.total
            while (head := self._head(path))["kind"] == "episode":
                with guarded(path):
                    bound = min(left, limits.memory)
                    episode = episode_of(head, lambda view: self._fill(path, view), bound)
                left -= sum(v.nbytes for v in episode.obs.values()) + episode.action.nbytes
                yield episode
            whole = True
            for text, times in dict(head.get("notes", {})).items():
                note(str(text), int(times))
            _raise(path, head, limits)
        finally:
            if not whole:
                self.close()

    def _ask(self, path: Path, request: Mapping[str, Any]) -> None:
        """Sends a request; comes back when the child is about to touch the file.

        Raises:
            ImportError: when the child does not get so far, which is no fault of the file.
        """
        try:
            self._in.write(json.dumps(request).encode() + b"\n")
            self._in.flush()
            ready = self._head(path)["kind"] == "ready"
        except (OSError, DataError):
            ready = False
        if not ready:
            raise ImportError(f"the process that should read {path} does not start; guard=False says why")

    def _head(self, path: Path) -> dict[str, Any]:
        """The next frame's JSON."""
        size = bytearray(4)
        self._fill(path, memoryview(size))
        if (length := int.from_bytes(size, "big")) > MAX_HEADER:
            raise DataError(f"{path} cannot be read: its reader answers nonsense")
        text = bytearray(length)
        self._fill(path, memoryview(text))
        with guarded(path):
            head = json.loads(text)
            if not isinstance(head, dict) or not isinstance(head.get("kind"), str):
                raise DataError(f"{path} cannot be read: its reader answers nonsense")
        return head

    def _fill(self, path: Path, view: memoryview) -> None:
        """Bytes from the pipe, as many as the view has; only waiting counts against the time allowed."""
        while view:
            begun = time.monotonic()
            ready = self._poll.poll(max(0.0, min(self._patience, self._silence)) * 1000)
            self._patience -= time.monotonic() - begun
            if not ready:
                after = self._allowed if self._patience <= 0 else self._silence
                raise DataError(
                    f"{path} cannot be read: its reader was stopped after {after:.1f} s, the most for data "
                    "of this size; it is damaged or made to stall"
                )
            if not (got := os.readv(self._out, [view])):
                raise self._died(path)
            view = view[got:]

    def _died(self, path: Path) -> DataError:
        self._process.kill()
        status = self._process.wait()
        names = {s.value: s.name for s in signal.Signals}
        how = names.get(-status, f"status {status}")
        return DataError(
            f"{path} cannot be read: it made its reader crash ({how}), which did no harm here; "
            "it is damaged or hostile"
        )

    def close(self) -> None:
        """Ends the child; doing so twice is harmless."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def __enter__(self) -> Guard:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# Threads and arenas take address space, of which the child has little. HDF5 must load no plugins, since a
# file names those it wants; nor may it lock a file in a place where nothing can be written.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "PYTHONDONTWRITEBYTECODE": "1",
    "HDF5_PLUGIN_PRELOAD": "::",
    "HDF5_USE_FILE_LOCKING": "FALSE",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
}


def _raise(path: Path, head: Mapping[str, Any], limits: Limits) -> None:
    match head["kind"]:
        case "end":
            return
        case "memory":
            raise DataError(
                f"{path} cannot be read: it takes more than {limits.memory >> 20} MiB of memory, "
                "the most for a file of its size"
            )
        case _:
            raise DataError(str(head.get("message"))[:1000])
