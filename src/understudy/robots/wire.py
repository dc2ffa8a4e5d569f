"""What travels between a robot's process and who drives it: frames of a JSON head and raw arrays.

A frame is two little-endian uint32, the bytes of its head and of its body; a head, one JSON object in UTF-8;
and a body, the arrays that the head lists, little-endian, one after the other. Both sides hold the lengths
against bounds before they read on, and nothing is unpickled.

The robot's side opens with `who` {version, nonce}. The other side answers `hello` {version, role, proof},
where proof is HMAC-SHA256(token, nonce + " " + role) in hex, so the token itself never travels. Then comes
`robot` {name, rate, action, arrays, resets}, and from then on `reading` {time, success, stopped, arrays} for
every control step, whose arrays are named "obs NAME" and "pose NAME", or `beat` where those are rare, and
`bye` {why} before a connection is closed. The other side sends `command` with a body of float32 [A],
`reset` {seed}, `resume` and `stop` {why}, each with an `id` that comes back in `done` or `refused` {why},
and `beat`.
"""

from __future__ import annotations

import hmac
import json
import math
import struct
from collections.abc import Mapping
from typing import Any, TypeVar, final

import numpy as np

from understudy.envs.spaces import ActionSpec
from understudy.episode import Array
from understudy.robots.base import Reading

__all__ = [
    "LENGTHS",
    "MAX_BODY",
    "MAX_HEAD",
    "VERSION",
    "Malformed",
    "action_from",
    "action_words",
    "arrays_of",
    "frame",
    "head_of",
    "lengths",
    "named",
    "number",
    "proof",
    "reading_frame",
    "reading_from",
    "shapes_from",
    "text",
]

_T = TypeVar("_T")
VERSION = 1
LENGTHS = struct.Struct("<II")
MAX_HEAD = 1 << 14  # bytes of a head
MAX_BODY = 1 << 26  # bytes of a body: four cameras of 2048 x 2048 pixels, and some
_KINDS = {"float32": "<f4", "uint8": "|u1", "float64": "<f8"}
_AXES, _NAMES, _WORDS = 4, 256, 500


@final
class Malformed(ValueError):
    """What came is no frame of this protocol; the connection is closed."""


def frame(head: Mapping[str, Any], body: bytes = b"") -> bytes:
    """The bytes of a frame."""
    words = json.dumps(head, allow_nan=False, separators=(",", ":")).encode()
    if len(words) > MAX_HEAD or len(body) > MAX_BODY:
        raise ValueError(f"a frame of {len(words)} + {len(body)} bytes; {MAX_HEAD} + {MAX_BODY} are the most")
    return LENGTHS.pack(len(words), len(body)) + words + body


def lengths(raw: bytes, most: int) -> tuple[int, int]:
    """The lengths of a frame's head and body.

    Raises:
        Malformed: when the head is longer than allowed, or the body than `most` bytes.
    """
    head, body = LENGTHS.unpack(raw)
    if not 2 <= head <= MAX_HEAD:
        raise Malformed(f"a head of {head} bytes; {MAX_HEAD} are the most")
    if body > most:
        raise Malformed(f"a body of {body} bytes; {most} are the most here")
    return head, body


def head_of(raw: bytes) -> dict[str, Any]:
    """A frame's head, a JSON object with a text `t`.

    Raises:
        Malformed: when it is not.
    """
    try:
        head = json.loads(raw, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Malformed("a head is not JSON") from None
    if not isinstance(head, dict) or not isinstance(head.get("t"), str):
        raise Malformed("a head is not an object that says what it is")
    return head


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def text(head: Mapping[str, Any], key: str, most: int = _WORDS) -> str:
    """A printable text of the head, on one line.

    Raises:
        Malformed: when there is none, or it is longer than `most` characters.
    """
    value = head.get(key)
    if not isinstance(value, str) or len(value) > most:
        raise Malformed(f"{key} is not a text of at most {most} characters")
    return "".join(c if c.isprintable() else " " for c in value)


def number(head: Mapping[str, Any], key: str) -> float:
    """A finite number of the head.

    Raises:
        Malformed: when there is none.
    """
    value = head.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Malformed(f"{key} is not a finite number")
    return float(value)


def proof(token: str, nonce: str, role: str) -> str:
    """What shows that one knows the token, for this connection alone."""
    return hmac.new(token.encode(), f"{nonce} {role}".encode(), "sha256").hexdigest()


def action_words(spec: ActionSpec) -> dict[str, Any]:
    """What actions a robot takes, as JSON; a bound that does not exist is null."""
    low, high = ([float(v) if np.isfinite(v) else None for v in b] for b in (spec.low, spec.high))
    return {"low": low, "high": high}


def action_from(value: object) -> ActionSpec:
    """The same as an object.

    Raises:
        Malformed: when it is none.
    """
    match value:
        case {"low": list(low), "high": list(high)} if len(low) <= _NAMES:
            try:
                return ActionSpec.box(
                    [-math.inf if v is None else float(v) for v in low],
                    [math.inf if v is None else float(v) for v in high],
                )
            except (TypeError, ValueError) as e:
                raise Malformed(f"the robot's actions cannot be: {e}") from None
    raise Malformed("the robot does not say what actions it takes")


def shapes_from(value: object) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the arrays of a reading, as announced.

    Raises:
        Malformed: when it is something else, or more than fits a frame.
    """
    if not isinstance(value, dict) or not 1 <= len(value) <= _NAMES:
        raise Malformed("the robot does not say what it observes")
    shapes = {str(k): _shape(v) for k, v in value.items()}
    if 8 * sum(math.prod(s) for s in shapes.values()) > MAX_BODY:
        raise Malformed("the robot's observations are larger than a frame")
    return shapes


def _shape(value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= _AXES:
        raise Malformed(f"a shape has 1 to {_AXES} axes")
    if not all(type(n) is int and 0 < n <= MAX_BODY for n in value):
        raise Malformed("the axes of a shape are whole numbers from 1")
    return tuple(value)


def arrays_of(reading: Reading) -> dict[str, Array]:
    """What a reading sends: pictures (uint8) as they are, the pose as float64, everything else as float32."""
    seen = {
        f"obs {k}": np.ascontiguousarray(v, "|u1" if v.dtype == np.uint8 else "<f4")
        for k, v in reading.obs.items()
    }
    return seen | {f"pose {k}": np.ascontiguousarray(v, "<f8") for k, v in reading.pose.items()}


def reading_frame(reading: Reading) -> bytes:
    """A reading as a frame."""
    arrays = arrays_of(reading)
    head = {
        "t": "reading",
        "time": reading.time,
        "success": None if reading.success is None else bool(reading.success),
        "stopped": reading.stopped[:_WORDS],
        "arrays": [[k, a.dtype.name, list(a.shape)] for k, a in arrays.items()],
    }
    return frame(head, b"".join(a.tobytes() for a in arrays.values()))


def reading_from(head: Mapping[str, Any], body: bytes, shapes: Mapping[str, tuple[int, ...]]) -> Reading:
    """The reading of a frame.

    Raises:
        Malformed: when it does not hold exactly the arrays that the robot announced.
    """
    listed, at, found = head.get("arrays"), 0, dict[str, Array]()
    for entry in listed if isinstance(listed, list) else []:
        match entry:
            case [str(name), str(kind), list(shape)] if kind in _KINDS and shapes.get(name) == tuple(shape):
                size = math.prod(shape) * np.dtype(_KINDS[kind]).itemsize
                if at + size > len(body):
                    raise Malformed("a reading is shorter than it says")
                found[name] = np.frombuffer(body[at : at + size], _KINDS[kind]).reshape(shape)
                at += size
            case _:
                raise Malformed("a reading holds an array that was not announced")
    if found.keys() != shapes.keys() or at != len(body):
        raise Malformed("a reading does not hold what was announced")
    success = head.get("success")
    if success is not None and not isinstance(success, bool):
        raise Malformed("success is neither true, false nor null")
    obs, pose = named(found, "obs "), named(found, "pose ")
    return Reading(obs, number(head, "time"), success, text(head, "stopped"), pose)


def named(arrays: Mapping[str, _T], kind: str) -> dict[str, _T]:
    """Those of one kind, "obs " or "pose ", by their own names."""
    return {k.removeprefix(kind): v for k, v in arrays.items() if k.startswith(kind)}
