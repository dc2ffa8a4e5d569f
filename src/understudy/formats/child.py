"""The process in which files from strangers are read: little memory, little time, nothing to write to.

It is started by `guard`, takes one request after another as a line of JSON on standard input, and answers
with frames (`wire`) on standard output. What crashes, hangs or eats memory here takes nobody with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from understudy.formats._confine import confine
from understudy.formats.notes import collected
from understudy.formats.options import from_json
from understudy.formats.wire import arrays_of, header_of, pack
from understudy.storage.files import DataError, guarded

_LINE = 1 << 20


def main() -> None:
    """Answers requests until standard input ends."""
    out = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # a library that prints must not break the frames
    confine()
    while line := sys.stdin.buffer.readline(_LINE):
        with contextlib.suppress(BrokenPipeError):
            _answer(json.loads(line), out)


def _answer(request: Mapping[str, Any], out: int) -> None:
    module = import_module(request["module"])
    for name in getattr(module, "NEEDS", ()):
        import_module(name)
    _limit(request["memory"], request["seconds"])
    _send(out, pack({"kind": "ready"}))
    last: dict[str, Any] = {"kind": "end"}
    with collected() as notes:
        try:
            options = from_json(module.Reading, request["options"])
            with guarded(request["path"]):
                for episode in module.episodes(Path(request["path"]), options):
                    _send(out, pack(header_of(episode)))
                    for part in arrays_of(episode):
                        _send(out, part)
        except DataError as e:
            short = isinstance(e.__cause__, MemoryError)
            last = {"kind": "memory" if short else "error", "message": " ".join(str(e).split())}
        last["notes"] = notes
        _send(out, pack(last))


def _send(out: int, data: bytes | memoryview) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(out, left) :]


def _limit(memory: int, seconds: float) -> None:
    """From here on so many bytes more than now, so many seconds of processor time, no byte to any file."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    until = int(used.ru_utime + used.ru_stime + seconds) + 1
    for which, soft in (
        (resource.RLIMIT_AS, _address_space() + memory),
        (resource.RLIMIT_CPU, until),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(which)[1]
        with contextlib.suppress(ValueError, OSError):  # not every system has every limit
            resource.setrlimit(which, (soft, hard))


def _address_space() -> int:
    """Bytes of address space that this process has now."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux, where the limit means little anyway
        return 1 << 40


if __name__ == "__main__":
    main()
