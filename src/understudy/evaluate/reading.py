"""Reading JSON that a stranger may have written: whatever is wrong is one ValueError in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import isfinite
from typing import Any, NoReturn, TypeVar

from understudy.provenance import Provenance

__all__ = [
    "Taker",
    "boolean",
    "expect",
    "facts",
    "integer",
    "line",
    "listed",
    "mapping",
    "optional",
    "parse",
    "real",
    "string",
]

T = TypeVar("T")

_TEXT = 1 << 26  # characters; a million episodes take about that
_LINE = 4000
_FACTS = 100


def parse(text: str) -> dict[str, Any]:
    """The object that a JSON text holds: no NaN, no name twice, no depth that exhausts the stack."""
    if len(text) > _TEXT:
        raise ValueError(f"the text has {len(text)} characters; at most {_TEXT} are read")
    try:
        body = json.loads(text, parse_int=_digits, parse_constant=_constant, object_pairs_hook=_unique)
    except json.JSONDecodeError as e:
        raise ValueError(f"not JSON: {e.msg} at line {e.lineno}, column {e.colno}") from None
    except RecursionError:
        raise ValueError("not a report: brackets are nested too deeply") from None
    return mapping("the text", body)


def expect(body: dict[str, Any], name: str, value: str | int) -> None:
    """Takes a field that must have one value; says so where it has another, or is not there."""
    found = body.pop(name, None)
    if type(found) is not type(value) or found != value:
        raise ValueError(f"{name} is {_short(found)}; only {value!r} is understood")


class Taker:
    """Takes fields out of a mapping, each with the function that says what it must be."""

    def __init__(self, name: str, body: dict[str, Any]) -> None:
        self.name, self.body = name, dict(body)

    def __call__(self, key: str, kind: Callable[[str, Any], T]) -> T:
        if key not in self.body:
            raise ValueError(f"{self.name} has no {key!r}")
        return kind(key, self.body.pop(key))

    def finish(self) -> None:
        """Nothing may be left that was not understood."""
        if self.body:
            raise ValueError(f"{self.name} has {_short(min(self.body))}, which is not understood")


def _digits(text: str) -> int:
    if len(text) > 20:  # 64 bits and a sign; converting takes time that grows with the square
        raise ValueError(f"a whole number has {len(text)} digits; at most 63 bits are read")
    return int(text)


def _constant(name: str) -> NoReturn:
    raise ValueError(f"a number is {name}; every number must be finite")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("an object names a field twice")
    return made


def _short(value: object) -> str:
    shown = (
        ascii(value)
        if isinstance(value, str | int | float | bool | None)
        else f"of type {type(value).__name__}"
    )
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _wrong(name: str, value: object, need: str) -> ValueError:
    return ValueError(f"{name} is {_short(value)}; {need} is needed")


def line(name: str, value: str) -> str:
    """A text that can be printed on one line without changing the terminal it is printed on."""
    if len(value) > _LINE or not value.isprintable():
        raise _wrong(name, value, f"one line of printable text, at most {_LINE} characters,")
    return value


def string(name: str, value: Any) -> str:
    """A printable text."""
    if not isinstance(value, str):
        raise _wrong(name, value, "a text")
    return line(name, value)


def mapping(name: str, value: Any) -> dict[str, Any]:
    """An object."""
    if not isinstance(value, dict):
        raise _wrong(name, value, "an object")
    return value


def boolean(name: str, value: Any) -> bool:
    """true or false, and no number."""
    if not isinstance(value, bool):
        raise _wrong(name, value, "true or false")
    return value


def integer(name: str, value: Any) -> int:
    """A whole number of at most 63 bits."""
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise _wrong(name, value, "a whole number of at most 63 bits")
    return value


def real(name: str, value: Any) -> float:
    """A finite number."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = float(integer(name, value))
    if not isinstance(value, float) or not isfinite(value):
        raise _wrong(name, value, "a finite number")
    return value


def optional(kind: Callable[[str, Any], T]) -> Callable[[str, Any], T | None]:
    """null, or what `kind` says."""
    return lambda name, value: None if value is None else kind(name, value)


def listed(kind: Callable[[str, Any], T]) -> Callable[[str, Any], list[T]]:
    """A list of what `kind` says."""

    def read(name: str, value: Any) -> list[T]:
        if not isinstance(value, list):
            raise _wrong(name, value, "a list")
        return [kind(f"{name}[{i}]", v) for i, v in enumerate(value)]

    return read


def facts(name: str, value: Any) -> Provenance:
    """Names to texts, numbers, null, or names to texts."""
    body = mapping(name, value)
    if len(body) > _FACTS:
        raise ValueError(f"{name} has {len(body)} entries; at most {_FACTS} are read")
    made: Provenance = {}
    for key, fact in body.items():
        at = f"{name}.{line(f'a name in {name}', key)}"
        if isinstance(fact, dict):
            if len(fact) > _FACTS:
                raise ValueError(f"{at} has {len(fact)} entries; at most {_FACTS} are read")
            made[key] = {line(f"a name in {at}", k): string(f"{at}.{k}", v) for k, v in fact.items()}
        elif isinstance(fact, str):
            made[key] = line(at, fact)
        elif isinstance(fact, int) and not isinstance(fact, bool):
            made[key] = integer(at, fact)
        else:
            made[key] = None if fact is None else real(at, fact)
    return made
