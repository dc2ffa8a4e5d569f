"""ROS 2 messages as numbers: fields by path, and images. Definitions come from the bag, untrusted."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from understudy.episode import Array
from understudy.formats._bags import Channel
from understudy.storage.files import DataError

__all__ = ["Source", "aligned", "decoder", "image", "is_image", "joints", "numbers", "stamp"]

_FIELD = re.compile(
    r"(?P<name>[A-Za-z][A-Za-z0-9_]*)(?:\[(?P<a>[0-9]{0,9})(?P<colon>:)?(?P<b>[0-9]{0,9})\])?"
)
_LINE = re.compile(r"(?P<type>[A-Za-z0-9_/<=\[\]]+) +(?P<name>[A-Za-z][A-Za-z0-9_]*)\b(?P<rest>.*)")
_SIZE = re.compile(r"\[([0-9]+)\]")
_TEXT = 1 << 20  # bytes of a definition
_FIXED = 100_000  # elements of an array whose length stands in the definition
_PIXELS = 1 << 26
_LEFT_OUT = ("header", "layout")  # when a message is taken as a whole
_JOINTS = ("position", "velocity", "effort")
# Encoding -> dtype, channels, and the order that brings them to red, green, blue.
_IMAGES: dict[str, tuple[str, int, tuple[int, ...] | None]] = {
    "rgb8": ("u1", 3, None),
    "bgr8": ("u1", 3, (2, 1, 0)),
    "rgba8": ("u1", 4, None),
    "bgra8": ("u1", 4, (2, 1, 0, 3)),
    "mono8": ("u1", 1, None),
    **{f"8UC{n}": ("u1", n, None) for n in (1, 2, 3, 4)},
    "mono16": ("u2", 1, None),
    "16UC1": ("u2", 1, None),
    "32FC1": ("f4", 1, None),
}


@dataclass(frozen=True)
class Source:
    """Where a signal comes from: a topic, and the way to a field of its messages; () takes them whole."""

    text: str
    topic: str
    path: tuple[tuple[str, int | slice | None], ...] = field(compare=False)  # the text says it already

    @classmethod
    def parse(cls, text: str) -> Source:
        """From text such as ``/joint_states.position[0:7]``.

        Raises:
            DataError: when it names no topic, or a field cannot have this name.
        """
        topic, dot, rest = text.strip().partition(".")
        if not re.fullmatch(r"/?[A-Za-z0-9_~/]+", topic):
            raise DataError(f"{text!r} names no topic; write /topic, or /topic.field"[:200])
        path: list[tuple[str, int | slice | None]] = []
        for part in rest.split(".") if dot else []:
            found = _FIELD.fullmatch(part)
            if found is None:
                raise DataError(f"{text!r}: {part!r} is no field; write name, name[3] or name[0:7]"[:200])
            a, b = found["a"], found["b"]
            if a is None:
                path.append((found["name"], None))
            elif found["colon"]:
                path.append((found["name"], slice(int(a) if a else None, int(b) if b else None)))
            elif a:
                path.append((found["name"], int(a)))
            else:
                raise DataError(f"{text!r}: {part!r} has no index"[:200])
        return cls(text, topic, tuple(path))


def decoder(channel: Channel) -> Callable[[bytes], Any]:
    """What turns the bytes of a topic's messages into objects.

    Raises:
        DataError: when they are not CDR with a ros2msg definition.
    """
    if channel.encoding != "cdr" or channel.definition_encoding != "ros2msg":
        raise DataError(
            f"{channel.topic} is {channel.encoding or 'unknown'} with a definition in "
            f"{channel.definition_encoding or 'no language'}; read are cdr with ros2msg"[:300]
        )
    from mcap.records import Schema
    from mcap_ros2.decoder import DecoderFactory

    text = plain_definition(channel.definition).encode()
    schema = Schema(id=1, name=channel.type, encoding="ros2msg", data=text)
    with contextlib.redirect_stderr(io.StringIO()):  # its parser prints what it then raises
        decode: Callable[[bytes], Any] | None = DecoderFactory().decoder_for("cdr", schema)
    if decode is None:
        raise DataError(f"{channel.topic}: no message of type {channel.type} can be decoded"[:200])
    strict = decode  # a name of its own, for the type checker
    return lambda data: strict(_Strict(data))


class _Strict(bytes):
    """The bytes of a message, of which nobody gets less than was asked for: the library would be content with
    that, and fill an array with as many empty elements as the message claims."""

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice) and key.stop is not None and key.stop > len(self):
            raise ValueError("a message is shorter than its definition says")
        return super().__getitem__(key)


def plain_definition(data: bytes) -> str:
    """A message definition without what decoding has no use for: comments, constants, defaults.

    The library's parser matches the names of constants with an expression that takes exponential time.
    """
    if len(data) > _TEXT:
        raise DataError(f"a message definition has {len(data)} bytes; {_TEXT} are the most")
    kept: list[str] = []
    for line in data.decode("utf-8", "replace").splitlines():
        line = line.partition("#")[0].strip().replace("\t", " ")
        if re.fullmatch(r"={3,80}", line) or re.fullmatch(r"MSG: +[A-Za-z0-9_/]{1,200}", line):
            kept.append(line)
        elif line:
            if (found := _LINE.fullmatch(line)) is None:
                raise DataError(f"a message definition has a line {line[:80]!r}, which is no field")
            if found["rest"].lstrip().startswith("="):
                continue
            if any(int(n[:9]) > _FIXED for n in _SIZE.findall(found["type"])):
                raise DataError(
                    f"a message definition declares {line[:80]!r}; {_FIXED} elements are the most"
                )
            kept.append(f"{found['type']} {found['name']}")
    return "\n".join(kept)


def stamp(channel: Channel, data: bytes) -> int | None:
    """Nanoseconds of a message's header, which is its first field; None where its type has none."""
    if not _has_header(channel.definition):
        return None
    if len(data) < 12:
        raise DataError(f"{channel.topic} has a message without its header")
    order: Literal["little", "big"] = "little" if data[1] & 1 else "big"
    return int.from_bytes(data[4:8], order, signed=True) * 10**9 + int.from_bytes(data[8:12], order)


@lru_cache(maxsize=256)
def _has_header(definition: bytes) -> bool:
    fields = plain_definition(definition).splitlines()[:1]
    return fields in (["std_msgs/Header header"], ["std_msgs/msg/Header header"])


def numbers(message: Any, source: Source) -> list[float]:
    """The numbers a source names in a message, in the order of its definition.

    Raises:
        DataError: when there is no such field, or it holds none.
    """
    value = message
    for name, index in source.path:
        if name not in getattr(type(value), "__slots__", ()):
            there = ", ".join(getattr(type(value), "__slots__", ())) or "none"
            raise DataError(f"{source.text!r}: there is no field {name!r}; there are {there}"[:500])
        value = getattr(value, name)
        if index is not None:
            try:
                value = value[index]
            except (TypeError, IndexError) as e:
                raise DataError(f"{source.text!r}: {name!r} has no element {index}") from e
    found: list[float] = []
    _flatten(value, found)
    if not found:
        raise DataError(f"{source.text!r} holds no numbers")
    return found


def _flatten(value: Any, found: list[float]) -> None:
    if isinstance(value, bool | int | float):
        found.append(float(value))
    elif isinstance(value, bytes | list | tuple):
        for v in value:
            _flatten(v, found)
    else:
        for name in getattr(type(value), "__slots__", ()):
            if name not in _LEFT_OUT:
                _flatten(getattr(value, name), found)


def joints(message: Any, source: Source) -> tuple[str, ...] | None:
    """The joint names that the numbers of a JointState belong to, where a source takes all of one field."""
    path = source.path
    if "name" in getattr(type(message), "__slots__", ()) and len(path) == 1 and path[0][1] is None:
        names = message.name
        if path[0][0] in _JOINTS and isinstance(names, list) and len(set(names)) == len(names) > 0:
            return tuple(str(n) for n in names)
    return None


def is_image(channel: Channel, source: Source) -> bool:
    """Whether a source takes whole pictures."""
    package, _, kind = channel.type.partition("/")
    return (
        not source.path and package == "sensor_msgs" and kind.split("/")[-1] in ("Image", "CompressedImage")
    )


def image(message: Any, topic: str) -> Array:
    """The picture in a sensor_msgs/Image or CompressedImage, [H, W, C] in RGB order: uint8, depth float32.

    Raises:
        DataError: for other encodings, and pictures of more than 64 megapixels.
    """
    if hasattr(message, "format"):
        return _compressed(message, topic)
    if message.encoding not in _IMAGES:
        raise DataError(f"{topic} has images in {message.encoding!r}; known are {', '.join(_IMAGES)}"[:300])
    kind, channels, order = _IMAGES[message.encoding]
    dtype = np.dtype(kind).newbyteorder(">" if message.is_bigendian else "<")
    high, wide, step = int(message.height), int(message.width), int(message.step)
    if not 0 < high * wide <= _PIXELS or step < wide * channels * dtype.itemsize:
        raise DataError(f"{topic} has an image of {wide}x{high} in rows of {step} bytes")
    if len(message.data) < high * step:
        raise DataError(f"{topic} has an image whose {len(message.data)} bytes are not {high} rows of {step}")
    rows = np.frombuffer(message.data, np.uint8, high * step).reshape(high, step)
    pixels = np.ascontiguousarray(rows[:, : wide * channels * dtype.itemsize]).view(dtype)
    pixels = pixels.reshape(high, wide, channels)
    if order is not None:
        pixels = pixels[..., list(order)]
    return pixels if kind == "u1" else pixels.astype(np.float32)


def _compressed(message: Any, topic: str) -> Array:
    from PIL import Image

    if "compressedDepth" in message.format:
        raise DataError(f"{topic} has images in {message.format!r}; read are jpeg and png"[:200])
    try:
        with Image.open(io.BytesIO(bytes(message.data)), formats=("JPEG", "PNG")) as picture:
            if picture.width * picture.height > _PIXELS:
                raise DataError(f"{topic} has an image of {picture.width}x{picture.height}")
            mode = picture.mode if picture.mode in ("L", "RGB", "RGBA") else "RGB"
            pixels = np.asarray(picture.convert(mode), np.uint8)
    except (OSError, SyntaxError, Image.DecompressionBombError) as e:
        raise DataError(f"{topic} has an image that is no jpeg or png, or is damaged") from e
    return pixels.reshape(*pixels.shape[:2], -1)


def aligned(names: Sequence[str], first: Sequence[str], topic: str) -> list[int] | None:
    """Where the first message's joints stand among these; None where they stand the same.

    Raises:
        DataError: when they are other joints.
    """
    if tuple(names) == tuple(first):
        return None
    if sorted(names) != sorted(first):
        raise DataError(f"{topic} changes its joints from {', '.join(first)} to {', '.join(names)}"[:500])
    return [list(names).index(n) for n in first]
