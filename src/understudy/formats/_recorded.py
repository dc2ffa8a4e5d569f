"""Episodes of ours as MCAP bags: one bag an episode, a topic a signal, everything as it was.

The n-th message of `/observation/<key>` is the n-th state, of `/action` the n-th action. Numbers are
Float64MultiArray (every float32 fits) or Int64MultiArray, pictures Image; the metadata record `understudy`
says which topic is what.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from understudy.episode import Array, Episode
from understudy.formats import _ros
from understudy.formats._bags import Bag
from understudy.formats._facts import Facts, extras_of, facts_of, located, pieces, rebuilt
from understudy.storage.files import DataError, may_unfold

__all__ = ["NAME", "read", "save"]

NAME = "understudy"
_LAYOUT = """std_msgs/MultiArrayLayout layout
{kind}[] data
===
MSG: std_msgs/MultiArrayLayout
std_msgs/MultiArrayDimension[] dim
uint32 data_offset
===
MSG: std_msgs/MultiArrayDimension
string label
uint32 size
uint32 stride"""
_IMAGE = """std_msgs/Header header
uint32 height
uint32 width
string encoding
uint8 is_bigendian
uint32 step
uint8[] data
===
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
===
MSG: builtin_interfaces/Time
int32 sec
uint32 nanosec"""
_ENCODINGS = {1: "mono8", 2: "8UC2", 3: "rgb8", 4: "8UC4"}
_TYPES = {"float32": "float64", "float64": "float64", "int64": "int64", "uint8": "uint8", "bool": "uint8"}
_SECOND = 10**9
_LAST = 2**63 - 1


def save(path: Path, e: Episode, fps: float, compression: str) -> None:
    """Writes a bag of one episode.

    `fps` spaces the log times of an episode that has no measured ones.
    """
    from mcap.writer import CompressionType
    from mcap_ros2.writer import Writer

    signals = _signals(e)
    said = [{"topic": t, "role": role, "key": key, "dtype": str(x.dtype)} for t, role, key, x in signals]
    with open(path, "wb") as file:
        writer: Any = Writer(file, compression=CompressionType[compression.upper()])
        about = {"version": "1", "facts": facts_of(e).text, "signals": json.dumps(said)}
        writer.add_metadata(NAME, about)
        schemas: dict[str, Any] = {}
        for *_, x in signals:
            name, text = _definition(x)
            if name not in schemas:
                schemas[name] = writer.register_msgdef(name, text)
        times = _times(e, fps)
        rows = [(t, schemas[_definition(x)[0]], _one_by_one(x)) for t, _, _, x in signals]
        for i, time in enumerate(times):
            for topic, schema, values in rows:
                if (value := next(values, None)) is not None:
                    writer.write_message(topic, schema, _message(value, time, topic), time, time, i)
        writer.finish()


def _signals(e: Episode) -> list[tuple[str, str, str, Any]]:
    """(topic, role, key, column) of everything that is written."""
    taken: set[str] = set()
    signals: list[tuple[str, str, str, Any]] = []
    for key, column in e.obs.items():
        name = plain = re.sub(r"^(?=[0-9])|[^A-Za-z0-9_]", "_", key)
        count = 1
        while name in taken:
            count += 1
            name = f"{plain}_{count}"
        taken.add(name)
        signals.append((f"/observation/{name}", "obs", key, column))
    signals += [("/action", "action", "", e.action), ("/reward", "reward", "", e.reward)]
    return signals + [(f"/{k}", k, "", x) for k, x in extras_of(e).items()]


def _is_picture(x: Any) -> bool:
    return x.dtype == np.uint8 and x.ndim == 4 and x.shape[3] in _ENCODINGS and prod(x.shape[1:]) > 0


def _definition(x: Any) -> tuple[str, str]:
    """The message type of a signal, and its definition."""
    if _is_picture(x):
        return "sensor_msgs/msg/Image", _IMAGE
    kind = _TYPES[str(x.dtype)]
    return f"std_msgs/msg/{kind.title().replace('int', 'Int')}MultiArray", _LAYOUT.format(kind=kind)


def _times(e: Episode, fps: float) -> list[int]:
    """[T + 1] log times in nanoseconds: the measured ones where the format can hold them."""
    if e.time is not None and e.time[0] >= 0 and e.time[-1] * _SECOND < _LAST:
        return [round(float(t) * _SECOND) for t in e.time]
    return [round(i * _SECOND / fps) for i in range(len(e) + 1)]


def _one_by_one(column: Any) -> Iterator[Array]:
    for piece in pieces(column):
        yield from piece if piece.ndim > 1 else piece[:, None]


def _message(x: Array, time: int, topic: str) -> dict[str, Any]:
    if x.dtype == np.uint8 and x.ndim == 3 and x.shape[2] in _ENCODINGS and x.size:
        high, wide, channels = x.shape
        stamp = {"sec": min(time // _SECOND, 2**31 - 1), "nanosec": time % _SECOND}
        picture = {"height": high, "width": wide, "encoding": _ENCODINGS[channels], "is_bigendian": 0}
        header = {"stamp": stamp, "frame_id": topic.rpartition("/")[2]}
        return picture | {"header": header, "step": wide * channels, "data": x.tobytes()}
    strides = [prod(x.shape[i:]) for i in range(x.ndim)]
    dim = [{"label": "", "size": n, "stride": s} for n, s in zip(x.shape, strides, strict=True)]
    data = x.tobytes() if x.dtype in (np.uint8, np.bool_) else x.reshape(-1).tolist()
    return {"layout": {"dim": dim, "data_offset": 0}, "data": data}


def read(bag: Bag, said: Mapping[str, str]) -> Episode:
    """The episode that `save` wrote.

    Raises:
        DataError: when its messages are not those the metadata tell of.
    """
    with located(bag):
        facts = Facts.parse(said["facts"])
        signals = {str(s["topic"]): s for s in json.loads(said["signals"])}
        gathered: dict[str, list[Array]] = {topic: [] for topic in signals}
        decoders: dict[tuple[str, bytes], Any] = {}
        left = may_unfold(bag.size)
        for m in bag.messages(signals.__contains__):
            which = (m.channel.type, m.channel.definition)
            if which not in decoders:
                decoders[which] = _ros.decoder(m.channel)
            rows = gathered[m.channel.topic]
            if m.sequence != len(rows):
                raise DataError(f"{m.channel.topic} has message {m.sequence} where {len(rows)} is next")
            rows.append(
                _value(decoders[which](m.data), m.channel.topic, str(signals[m.channel.topic]["dtype"]))
            )
            if (left := left - rows[-1].nbytes) < 0:
                raise DataError("its messages unfold to more than the file can hold")
        obs: dict[str, Array] = {}
        rest: dict[str, Array] = {}
        for topic, rows in gathered.items():
            if not rows:
                raise DataError(f"{topic} has no messages")
            signal = signals[topic]
            into, name = (obs, signal["key"]) if signal["role"] == "obs" else (rest, signal["role"])
            into[str(name)] = np.stack(rows)
        for single in ("reward", "labelled", "time", "control"):
            if single in rest:
                rest[single] = rest[single].reshape(-1)
        return rebuilt(obs, rest.pop("action"), rest.pop("reward"), facts, {k: rest[k] for k in facts.extras})


def _value(message: Any, topic: str, dtype: str) -> Array:
    """One row: a picture, or an array in the shape that its layout gives."""
    if dtype not in _TYPES:
        raise DataError(f"{topic} is said to be {dtype[:50]!r}")
    if hasattr(message, "encoding"):
        return _ros.image(message, topic)
    shape = tuple(int(d.size) for d in message.layout.dim)
    data = message.data
    flat = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else np.array(data)
    return (flat != 0 if dtype == "bool" else flat.astype(dtype)).reshape(shape)
