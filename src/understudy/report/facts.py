"""JSON from files that nobody vouches for: read within bounds, and asked for by type."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

__all__ = ["get", "load_json", "load_lines", "number_in", "text_in"]

_LARGEST = 64 << 20  # bytes of one JSON file
_LINES = 200_000
T = TypeVar("T")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as wrong:
        why = "it is nested too deeply" if isinstance(wrong, RecursionError) else wrong
        raise ValueError(f"{where} is not readable JSON: {why}") from None


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:  # the size is asked of what was opened: a link may change in between
            if (size := os.fstat(file.fileno()).st_size) > _LARGEST:
                raise ValueError(f"{path} has {size} bytes; at most {_LARGEST} are read")
            return file.read(_LARGEST + 1).decode()
    except OSError as wrong:
        raise ValueError(f"{path} cannot be read: {wrong.strerror or wrong}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None


def load_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        ValueError: when the file is missing, too large, not UTF-8, or not JSON (NaN and Infinity are not).
    """
    return _parse(_text(path), str(path))


def load_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file with one JSON object a line. An unfinished last line (a run still going) is left out.

    Raises:
        ValueError: as `load_json`, or when a line is no object.
    """
    lines = _text(path).split("\n")
    if len(lines) > _LINES:
        raise ValueError(f"{path} has {len(lines)} lines; at most {_LINES} are read")
    out = []
    for i, line in enumerate(lines[:-1]):  # after the last newline: nothing, or what is still being written
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
    if not isinstance(at, kind) or (isinstance(at, bool) and kind is not bool):
        raise ValueError(f"{where}: {path} is {_short(at)}; {kind.__name__} is needed")
    return at


def number_in(facts: Mapping[str, Any], path: str, where: str = "run.json") -> float | None:
    """The finite number at a dotted path, None where there is none; ValueError for anything else."""
    whole = get(facts, path, object, where)
    if whole is None:
        return None
    if isinstance(whole, bool) or not isinstance(whole, int | float):
        raise ValueError(f"{where}: {path} is {_short(whole)}; a number is needed")
    try:
        value = float(whole)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise ValueError(f"{where}: {path} is not finite")
    return value


def text_in(facts: Mapping[str, Any], path: str, where: str = "run.json") -> str | None:
    """The text at a dotted path, None where there is none; ValueError for anything else."""
    return get(facts, path, str, where)


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
