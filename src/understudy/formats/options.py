"""Options of a format: between its dataclass, ``key=value`` words and JSON."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

__all__ = ["from_json", "from_words", "to_json"]


def from_words(kind: type, words: Sequence[str]) -> Any:
    """The options from words such as ``done=success`` or ``cameras=front,wrist``.

    Raises:
        ValueError: for an unknown name, a word without "=", or a value that does not fit.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Reading:
    ...     fps: int = 10
    ...     cameras: tuple[str, ...] = ()
    >>> from_words(Reading, ["fps=20", "cameras=front,wrist"])
    Reading(fps=20, cameras=('front', 'wrist'))
    """
    hints = typing.get_type_hints(kind)
    names = [f.name for f in dataclasses.fields(kind)]
    given: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or name not in names:
            choices = f"there are {', '.join(names)}" if names else "it has none"
            raise ValueError(f"no {kind.__name__.lower()} option {word!r}; write name=value, {choices}")
        given[name] = _value(name, text, hints[name])
    return kind(**given)


def _value(name: str, text: str, hint: Any) -> Any:
    """One value from its text, as its annotation says."""
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if text not in inside:
            raise ValueError(f"{name} is {text!r}; it must be one of {', '.join(map(str, inside))}")
        return text
    if origin in (types.UnionType, typing.Union):
        if text in ("none", "None") and type(None) in inside:
            return None
        (hint,) = (i for i in inside if i is not type(None))
        return _value(name, text, hint)
    if origin is tuple:
        return tuple(_value(name, t.strip(), inside[0]) for t in text.split(",") if t.strip())
    if hint is bool:
        if text.lower() not in ("true", "false", "yes", "no"):
            raise ValueError(f"{name} is {text!r}; it must be true or false")
        return text.lower() in ("true", "yes")
    try:
        return hint(text)
    except ValueError:
        raise ValueError(f"{name} is {text!r}; it must be of type {hint.__name__}") from None


def to_json(options: Any) -> dict[str, Any]:
    """The options as what JSON can hold."""
    return dataclasses.asdict(options)


def from_json(kind: type, given: Mapping[str, Any]) -> Any:
    """The options back: JSON has lists only, the dataclass has tuples."""
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()})
