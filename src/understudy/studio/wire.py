"""Messages between the page and the server: packed for the one, checked to the last number from the other.

What a page sends is hostile until it has been through `read_message`: text of at most 64 KiB, strict JSON of
bounded depth, finite numbers within bounds, words of bounded length, and no field that is not known.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from understudy.teleop import Frame, Input

__all__ = [
    "LARGEST",
    "TEXT",
    "VERSION",
    "Ask",
    "Do",
    "Malformed",
    "Message",
    "Ping",
    "Release",
    "as_json",
    "as_reset",
    "pack_frame",
    "pack_picture",
    "read_json",
    "read_message",
    "text_of",
]

VERSION = 1  # of the messages; the page refuses another
LARGEST = 64 << 10  # bytes of a message or of a request's body
TEXT = 500  # characters of an instruction or a name
_DEPTH, _ITEMS, _DIGITS = 4, 64, 25
_KEYS, _AXES, _TOUCH = 32, 32, 4
_REACH = 1000.0  # metres from the origin, for a dragged target
# Gamepads report more than 1: the resting position of a hat on one axis is 9/7 or 23/7.
_AXIS = 10.0
_HEAD = struct.Struct("<BBHIIIdd")
_SUCCESS, _OPERATOR, _RECORDING = 1, 2, 4
_CODE = re.compile(r"[A-Za-z0-9]{1,32}")  # what KeyboardEvent.code looks like
_WORD = re.compile(r"[a-z_]{1,32}")
_IN_FIELDS = {"t", "seq", "keys", "axes", "buttons", "target", "touch"}


class Malformed(ValueError):
    """A message breaks a rule; the text names the field and the rule, never more than a line."""


@dataclass(frozen=True)
class Do:
    """A command to the session, with its arguments."""

    what: str
    args: Mapping[str, Any]


@dataclass(frozen=True)
class Ping:
    """The page asks for the time that its messages take; `at` comes back as it was."""

    at: float


@dataclass(frozen=True)
class Ask:
    """The page asks for the controls."""


@dataclass(frozen=True)
class Release:
    """The page gives the controls up."""


Message = Input | Do | Ping | Ask | Release


def pack_frame(frame: Frame, *, time: float) -> bytes:
    """The packet of one frame: a head of 32 bytes and the poses [n, 7] float32, little endian.

    Head: u8 type (1, or 2 after a reset), u8 flags (1 success, 2 the operator drives, 4 recording), u16 n,
    u32 frame, u32 episode, u32 ack, f64 simulated seconds, f64 the server's seconds.
    """
    flags = _SUCCESS * frame.success | _OPERATOR * frame.operator | _RECORDING * frame.recording
    poses = frame.poses.astype("<f4", copy=False)
    head = _HEAD.pack(2 if frame.reset else 1, flags, len(poses), *_counts(frame), frame.sim, time)
    return head + poses.tobytes()


def as_reset(packet: bytes) -> bytes:
    """The same poses, marked as coming after a reset: for a viewer that was too slow to see the first."""
    return b"\x02" + packet[1:]


def pack_picture(frame: Frame, camera: str, jpeg: bytes, *, time: float) -> bytes:
    """The packet of one camera's picture: the head with type 3 and n = bytes of the name, name, JPEG."""
    name = camera.encode()
    return _HEAD.pack(3, 0, len(name), *_counts(frame), frame.sim, time) + name + jpeg


def _counts(frame: Frame) -> tuple[int, int, int]:
    return frame.frame & 0xFFFFFFFF, frame.episode & 0xFFFFFFFF, frame.ack & 0xFFFFFFFF


def as_json(message: Mapping[str, Any]) -> str:
    """One message as JSON text; what is not a finite number goes as null, for JSON has no word for it."""
    try:
        return json.dumps(message, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return json.dumps(_finite(message), allow_nan=False, separators=(",", ":"))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, list | tuple) else value


def read_json(text: str | bytes) -> Any:
    """Strict JSON: no NaN or Infinity, no number of more than 25 characters, no key twice, depth 4 at most.

    Raises:
        Malformed: when it is longer than 64 KiB, is not UTF-8 or not JSON, or breaks one of these rules.
    """
    if len(text) > LARGEST:
        raise Malformed(f"a message has {len(text)} bytes; {LARGEST} is the most")
    try:
        found = json.loads(
            text,
            parse_constant=_no_constant,
            parse_int=_whole,
            parse_float=_real,
            object_pairs_hook=_once,
        )
    except Malformed:
        raise
    except RecursionError:
        raise Malformed(f"JSON is nested deeper than {_DEPTH}") from None
    except ValueError as wrong:  # JSONDecodeError and UnicodeDecodeError, which quote what they were given
        raise Malformed(f"not JSON: {type(wrong).__name__}") from None
    _shallow(found, _DEPTH)
    return found


def _no_constant(word: str) -> NoReturn:
    raise Malformed(f"JSON knows no number {word}")


def _whole(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise Malformed(f"a number has {len(digits)} characters; {_DIGITS} is the most")
    return int(digits)


def _real(digits: str) -> float:
    if len(digits) > _DIGITS:
        raise Malformed(f"a number has {len(digits)} characters; {_DIGITS} is the most")
    value = float(digits)
    if not math.isfinite(value):
        raise Malformed(f"{digits} is too large a number")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("an object has a key twice")
    return found


def _shallow(value: Any, depth: int) -> None:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if inner and depth == 0:
        raise Malformed(f"JSON is nested deeper than {_DEPTH}")
    for part in inner:
        _shallow(part, depth - 1)


def read_message(text: str | bytes, received: float) -> Message:
    """One message of a page, checked.

    Args:
        text: as it came. received: when, in the clock of the session; it is kept with an input.

    Raises:
        Malformed: when it is no such message, or any part of it is out of bounds.
    """
    found = read_json(text)
    if not isinstance(found, dict):
        raise Malformed("a message is a JSON object")
    match found.get("t"):
        case "in":
            return _input(found, received)
        case "do":
            return _do(found)
        case "ping":
            _only(found, {"t", "at"})
            return Ping(_number(found.get("at"), "at", 1e15))
        case "control":
            _only(found, {"t"})
            return Ask()
        case "yield":
            _only(found, {"t"})
            return Release()
    raise Malformed('"t" is one of in, do, ping, control, yield')


def _input(found: Mapping[str, Any], received: float) -> Input:
    _only(found, _IN_FIELDS)
    seq = found.get("seq")
    if isinstance(seq, bool) or not isinstance(seq, int) or not 0 <= seq < 2**32:
        raise Malformed('"seq" is a whole number of 32 bits')
    keys = found.get("keys", [])
    if not isinstance(keys, list) or len(keys) > _KEYS:
        raise Malformed(f'"keys" is a list of {_KEYS} at most')
    if not all(isinstance(k, str) and _CODE.fullmatch(k) for k in keys):
        raise Malformed('"keys" has what is no KeyboardEvent.code')
    target = found.get("target")
    return Input(
        seq=seq,
        keys=frozenset(keys),
        axes=_unit(found.get("axes", []), "axes"),
        buttons=_unit(found.get("buttons", []), "buttons"),
        target=None if target is None else _point(target),
        touch=_unit(found.get("touch", []), "touch", _TOUCH),
        received=received,
    )


def _unit(values: Any, name: str, most: int = _AXES) -> tuple[float, ...]:
    """Numbers clipped to [-1, 1]."""
    if not isinstance(values, list) or len(values) > most:
        raise Malformed(f'"{name}" is a list of {most} numbers at most')
    return tuple(min(1.0, max(-1.0, _number(v, name, _AXIS))) for v in values)


def _point(values: Any) -> tuple[float, float, float]:
    if not isinstance(values, list) or len(values) != 3:
        raise Malformed('"target" is three numbers or null')
    x, y, z = (_number(v, "target", _REACH) for v in values)
    return x, y, z


def _number(value: Any, name: str, largest: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Malformed(f'"{name}" has what is no number')
    if not -largest <= value <= largest:
        raise Malformed(f'"{name}" has a number beyond ±{largest:g}')
    return float(value)


def _do(found: Mapping[str, Any]) -> Do:
    what = found.get("what")
    if not isinstance(what, str) or not _WORD.fullmatch(what):
        raise Malformed('"what" is a word of small letters')
    args = {k: v for k, v in found.items() if k not in ("t", "what")}
    if len(args) > 8 or not all(_WORD.fullmatch(k) for k in args):
        raise Malformed("a command has 8 arguments at most, named by words of small letters")
    return Do(what, {k: _argument(v, k) for k, v in args.items()})


def _argument(value: Any, name: str) -> Any:
    """Text of one line, a number, true, false, null, or a list of numbers."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return text_of(value, name)
    if isinstance(value, list):
        if len(value) > _ITEMS:
            raise Malformed(f'"{name}" is a list of {_ITEMS} numbers at most')
        return [_number(v, name, 1e9) for v in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 10**9:
        return value
    return _number(value, name, 1e9)


def text_of(value: str, name: str) -> str:
    """One line of text, 500 characters at most, that can be stored and shown as it is.

    Raises:
        Malformed: when it is longer, or has control characters or halves of surrogate pairs.
    """
    if len(value) > TEXT:
        raise Malformed(f'"{name}" has {len(value)} characters; {TEXT} is the most')
    if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) <= 0xDFFF for c in value):
        raise Malformed(f'"{name}" has a control character')
    return value


def _only(found: Mapping[str, Any], known: set[str]) -> None:
    if unknown := found.keys() - known:
        raise Malformed(f"a message {found['t']!r} has no field {min(unknown)[:32]!r}")
