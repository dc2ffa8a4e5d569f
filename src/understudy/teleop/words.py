"""What can be said to a session: the words, and what belongs to each. Messages come from strangers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

__all__ = ["MODES", "WORDS", "checked"]

MODES = ("record", "correct", "label", "watch", "shadow")
_TEXT = {"operator": 100, "instruction": 500}  # the most letters
_EPISODES = 10_000  # the most of one evaluation


def _number(what: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{what} is {_brief(value)}; it must be a number in [{low:g}, {high:g}]")
    return float(value)


def _whole(what: str, value: Any, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ValueError(f"{what} is {_brief(value)}; it must be a whole number in 1..{most}")
    return value


def _brief(value: Any) -> str:
    return repr(value)[:60]


def _text(what: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if not isinstance(value, str) or len(value) > _TEXT[what]:
            raise ValueError(f"{what} is {_brief(value)}; it must be text of at most {_TEXT[what]} letters")
        clean = " ".join("".join(c if c.isprintable() else " " for c in value).split())
        if not clean:
            raise ValueError(f"{what} is {_brief(value)}; it must say something")
        return clean

    return check


def _mode(value: Any) -> str:
    if value not in MODES:
        raise ValueError(f"there is no mode {_brief(value)}; there are {', '.join(MODES)}")
    return str(value)


def _on(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"guard is {_brief(value)}; it must be true or false")
    return value


def _action(value: Any) -> list[float] | None:
    if value is None:
        return None
    listed = value.tolist() if callable(getattr(value, "tolist", None)) else value
    if not isinstance(listed, list | tuple) or not 1 <= len(listed) <= 64:
        raise ValueError(f"an answer's action is {_brief(value)}; it must be a list of numbers, or None")
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and isfinite(v) for v in listed):
        raise ValueError(f"an answer's action is {_brief(value)}; every number must be finite")
    return [float(v) for v in listed]


def _pilot(value: Any) -> Any:
    if not all(callable(getattr(value, verb, None)) for verb in ("reset", "act", "watch", "doubt")):
        raise ValueError(f"{type(value).__name__} is no pilot: it needs reset, act, watch and doubt")
    return value


_Check = Callable[[Any], Any]
# Word -> argument -> how it is checked. Arguments that may be left out are in _OPTIONAL.
WORDS: Mapping[str, Mapping[str, _Check]] = {
    **{word: {} for word in ("start", "end", "discard", "again", "success", "failure", "save")},
    **{word: {} for word in ("take", "hand", "pause", "resume", "skip")},
    "mode": {"name": _mode},
    "speed": {"value": lambda v: _number("speed", v, 0.0, 1.0)},
    "operator": {"name": _text("operator")},
    "instruction": {"text": _text("instruction")},
    "answer": {"action": _action},
    "every": {"k": lambda v: _whole("k", v, 1000)},
    "guard": {"on": _on},
    "evaluate": {"n": lambda v: _whole("n", v, _EPISODES)},
    "pilot": {"pilot": _pilot},
}
_OPTIONAL = {("answer", "action")}


def checked(what: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a command in their proper form.

    Raises:
        ValueError: for an unknown word, an argument that is missing or unknown, or a value out of its range.
    """
    if what not in WORDS:
        raise ValueError(f"there is no command {_brief(what)}; there are {', '.join(WORDS)}")
    known = WORDS[what]
    if strange := sorted(str(k)[:30] for k in args.keys() - known.keys()):
        raise ValueError(f"command {what!r} takes no {strange[0]!r}")
    missing = [k for k in known if k not in args and (what, k) not in _OPTIONAL]
    if missing:
        raise ValueError(f"command {what!r} needs {missing[0]!r}")
    return {k: check(args[k]) for k, check in known.items() if k in args}
