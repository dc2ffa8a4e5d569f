"""JSON from files that nobody vouches for: read within bounds, and asked for by type."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

__all__ = ["get", "load_json", "load_lines", "number_in", "printable", "read_text", "text_in"]

_LARGEST = 64 << 20  # bytes of one file
_LINES = 200_000
_LONGEST = 2000  # characters of one text that is shown
T = TypeVar("T")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError(f"{where} is not readable JSON: it is nested too deeply") from None
    except ValueError as wrong:
        raise ValueError(f"{where} is not readable JSON: {wrong}") from None


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        ValueError: when it cannot be read, is larger than 64 MiB or is not UTF-8.
    """
    try:
        with path.open("rb") as file:  # the size is asked of what was opened: a link may change in between
            if (size := os.fstat(file.fileno()).st_size) > _LARGEST:
                raise ValueError(f"{path} has {size} bytes; at most {_LARGEST} are read")
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise ValueError(f"{path} grows while it is read; at most {_LARGEST} bytes are read")
        return content.decode()
    except OSError as wrong:
        raise ValueError(f"{path} cannot be read: {wrong.strerror or wrong}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None


def load_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        ValueError: as `read_text`, or when it is not JSON (NaN and Infinity are not).
    """
    return _parse(read_text(path), str(path))


def load_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file with one JSON object a line; a last line that is still being written is left out.

    Raises:
        ValueError: as `load_json`, or when a line is no object or there are too many of them.
    """
    *lines, _ = read_text(path).split("\n")  # after the last newline: nothing, or what is being written
    if len(lines) > _LINES:
        raise ValueError(f"{path} has {len(lines)} lines; at most {_LINES} are read")
    out = []
    for i, line in enumerate(lines):
        if line.strip():
            value = _parse(line, f"{path} line {i + 1}")
            if not isinstance(value, dict):
                raise ValueError(f"{path} line {i + 1} is {type(value).__name__}; an object is needed")
            out.append(value)
    return out


def get(facts: Mapping[str, Any], path: str, kind: type[T], where: str = "run.json") -> T | None:
    """The value at a dotted path, None where it or a part of the way is absent or null.

    Raises:
        ValueError: when it is there, but of another kind.

    >>> get({"data": {"episodes": 5}}, "data.episodes", int), get({}, "data.episodes", int)
    (5, None)
    """
    at: Any = facts
    for part in path.split("."):
        at = at.get(part) if isinstance(at, Mapping) else None
    if at is None:
        return None
    if not isinstance(at, kind) or (isinstance(at, bool) and kind is int):
        raise ValueError(f"{where}: {path} is {_short(at)}; {kind.__name__} is needed")
    return at


def number_in(facts: Mapping[str, Any], path: str, where: str = "run.json") -> float | None:
    """The finite number at a dotted path, None where there is none; ValueError for anything else."""
    found: Any = get(facts, path, object, where)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise ValueError(f"{where}: {path} is {_short(found)}; a number is needed")
    if not abs(found) <= 1e100 or not math.isfinite(found):
        raise ValueError(f"{where}: {path} is {_short(found)}; it must lie within ±1e100")
    return float(found)


def text_in(facts: Mapping[str, Any], path: str, where: str = "run.json") -> str | None:
    """The text at a dotted path, fit to be shown, None where there is none; ValueError for anything else."""
    found = get(facts, path, str, where)
    return None if found is None else printable(found)


def printable(text: str) -> str:
    """At most 2000 characters, without those that control or reorder what is shown around them.

    >>> printable("a\\u202eb\\x00c")
    'a�b�c'
    """
    shown = "".join(c if c.isprintable() or c in "\n\t" else "�" for c in text[:_LONGEST])
    return shown + "…" if len(text) > _LONGEST else shown


def _short(value: object) -> str:
    shown = ascii(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
