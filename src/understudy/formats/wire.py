"""Episodes over a pipe between two processes, as a JSON header and raw array bytes. Nothing is unpickled.

A frame is four bytes of length, so many bytes of JSON, and the arrays that the JSON declares, in order. The
receiver holds every length against a bound before it allocates anything.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from understudy.episode import Array, Episode
from understudy.formats._facts import pieces
from understudy.storage.files import DataError

__all__ = ["MAX_HEADER", "arrays_of", "episode_of", "header_of", "pack"]

MAX_HEADER = 16 << 20  # bytes; an episode's facts may hold long texts, such as a simulator's model
_DTYPES = {"float32", "float64", "int64", "uint8", "bool"}
_AXES = 8


def pack(header: Mapping[str, Any]) -> bytes:
    """The bytes of a frame's head, length first."""
    text = json.dumps(header).encode()
    if len(text) > MAX_HEADER:
        raise DataError(f"an episode's facts take {len(text)} bytes; {MAX_HEADER} are the most")
    return len(text).to_bytes(4, "big") + text


def header_of(episode: Episode) -> dict[str, Any]:
    """What an episode's frame says before its arrays."""
    return {
        "kind": "episode",
        "arrays": [[name, str(x.dtype), list(x.shape)] for name, x in _columns(episode)],
        "terminated": episode.terminated,
        "success": episode.success,
        "meta": dict(episode.meta),
    }


def _columns(episode: Episode) -> Iterator[tuple[str, Array]]:
    yield "action", episode.action
    if episode.label is not episode.action:
        yield "label", episode.label
    yield "labelled", episode.labelled
    yield "reward", episode.reward
    if episode.time is not None:
        yield "time", episode.time
    if episode.control is not None:
        yield "control", episode.control
    for key, column in episode.obs.items():
        yield f"obs {key}", column


def arrays_of(episode: Episode) -> Iterator[memoryview]:
    """The bytes of its arrays in the order of the header; a lazy column is decoded piece by piece."""
    for _, column in _columns(episode):
        for piece in pieces(column):
            if piece.size:
                yield piece.reshape(-1).view(np.uint8).data


def episode_of(header: Mapping[str, Any], fill: Callable[[memoryview], None], limit: int) -> Episode:
    """The episode of a frame, whose arrays `fill` brings in turn.

    Raises:
        DataError: when the header does not describe an episode, or one of more than `limit` bytes.
    """
    listed = header.get("arrays")
    if not isinstance(listed, list) or len(listed) > 100_000:
        raise DataError("the reader's answer lists no arrays")
    declared = [_declared(entry) for entry in listed]
    total = sum(n for *_, n in declared)
    if total > limit:
        raise DataError(f"one episode takes {total >> 20} MiB unpacked; {limit >> 20} are the most here")
    arrays: dict[str, Array] = {}
    for name, dtype, shape, size in declared:
        raw = np.empty(size, np.uint8)
        if size:
            fill(raw.data)
        x = (raw != 0) if dtype == "bool" else raw.view(dtype)  # a bool that is neither 0 nor 1 harms NumPy
        arrays[name] = x.reshape(shape)
        arrays[name].flags.writeable = raw.flags.writeable = False  # so that the episode takes no copy
    seen = {k.removeprefix("obs "): v for k, v in arrays.items() if k.startswith("obs ")}
    rest = {k: arrays.get(k) for k in ("action", "labelled", "reward")}
    if any(v is None for v in rest.values()):
        raise DataError("the reader's answer lacks an array")
    action, facts = arrays["action"], header.get("meta")
    return Episode(
        seen,
        action,
        arrays.get("label", action),
        arrays["labelled"],
        arrays["reward"],
        bool(header.get("terminated")),
        header.get("success"),
        facts if isinstance(facts, dict) else {},
        arrays.get("time"),
        arrays.get("control"),
    )


def _declared(entry: object) -> tuple[str, str, tuple[int, ...], int]:
    match entry:
        case [str(name), str(dtype), list(shape)] if dtype in _DTYPES and len(shape) <= _AXES:
            if all(type(n) is int and n >= 0 for n in shape):
                return name, dtype, tuple(shape), math.prod(shape) * np.dtype(dtype).itemsize
    raise DataError("the reader's answer describes an array that cannot be")
