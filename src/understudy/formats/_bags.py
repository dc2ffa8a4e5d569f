"""The records of MCAP files from strangers: every length is held against the file before memory is taken."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from understudy.formats.notes import note
from understudy.storage.files import DataError, guarded, may_unfold

__all__ = ["MAGIC", "Bag", "Channel", "Message", "Topic", "natural"]

MAGIC = b"\x89MCAP0\r\n"
_FEW = 100_000  # messages that the smallest file may hold; a larger one, a message a byte
_CUT = "the bag ends in the middle of a record; what comes before it was read"


@dataclass(frozen=True)
class Topic:
    """What a bag holds of one topic: how many messages, and when in seconds the first and the last."""

    name: str
    type: str
    count: int
    first: float
    last: float

    @property
    def rate(self) -> float:
        """Messages a second; 0 where there is only one."""
        return (self.count - 1) / (self.last - self.first) if self.last > self.first else 0.0


@dataclass(frozen=True)
class Channel:
    """A topic as one file declares it."""

    topic: str
    encoding: str
    type: str
    definition_encoding: str
    definition: bytes


@dataclass(frozen=True)
class Message:
    """A message as it was logged; `time` in nanoseconds."""

    channel: Channel
    time: int
    sequence: int
    data: bytes


class _Bounded:
    """A file of which nobody can ask for more than there is: a length is a claim."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left = file, size

    def read(self, size: int) -> bytes:
        if size > self._left:
            from mcap.exceptions import EndOfFile

            raise EndOfFile(f"a record of {size} bytes, where {self._left} are left")
        content = self._file.read(size)
        self._left -= len(content)
        return content


class Bag:
    """One bag: an MCAP file, or the pieces of one in order.

    Args:
        cut_short: read a file that ends in the middle of a record up to there, instead of refusing it.
    """

    def __init__(self, paths: Sequence[Path], *, cut_short: bool = False) -> None:
        self.paths, self._cut_short = tuple(paths), cut_short

    def __str__(self) -> str:
        return str(self.paths[0])

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(p.stat().st_size for p in self.paths)

    def messages(self, wanted: Callable[[str], bool] = lambda _: True) -> Iterator[Message]:
        """The messages of the topics wanted, in the order of the file."""
        from mcap import records

        for path in self.paths:
            schemas: dict[int, records.Schema] = {}
            channels: dict[int, Channel] = {}
            for record in self._records(path):
                if isinstance(record, records.Schema):
                    schemas[record.id] = record
                elif isinstance(record, records.Channel):
                    channels[record.id] = _channel(record, schemas.get(record.schema_id))
                elif isinstance(record, records.Message):
                    if (channel := channels.get(record.channel_id)) is None:
                        raise DataError(f"{path} has a message of a channel it does not declare")
                    if wanted(channel.topic):
                        yield Message(channel, record.log_time, record.sequence, record.data)

    def metadata(self, name: str) -> dict[str, str] | None:
        """The first metadata record of this name."""
        from mcap import records

        for path in self.paths:
            for record in self._records(path, until_messages=True):
                if isinstance(record, records.Metadata) and record.name == name:
                    return dict(record.metadata)
        return None

    def topics(self) -> list[Topic]:
        """What is in it, by topic."""
        found: dict[str, list[Any]] = {}
        for m in self.messages():
            entry = found.setdefault(m.channel.topic, [m.channel.type, 0, m.time, m.time])
            entry[1:] = [entry[1] + 1, min(entry[2], m.time), max(entry[3], m.time)]
        return [Topic(k, t, n, a / 1e9, b / 1e9) for k, (t, n, a, b) in sorted(found.items())]

    def _records(self, path: Path, *, until_messages: bool = False) -> Iterator[Any]:
        """The records of a file, chunks taken apart."""
        from mcap import records
        from mcap.exceptions import EndOfFile
        from mcap.stream_reader import StreamReader

        size = path.stat().st_size
        left, few = may_unfold(size), _FEW + size
        with open(path, "rb") as file:
            source: Any = _Bounded(file, size)
            stream = StreamReader(
                source, emit_chunks=True, validate_crcs=True, record_size_limit=size
            ).records
            while True:
                with guarded(path):
                    try:
                        record = next(stream, None)
                        if isinstance(record, records.Chunk):
                            if until_messages:
                                return
                            left -= _unpack(record, left)
                            inside = _parts(record, few)
                            few -= len(inside)
                        else:
                            inside = [record]
                    except EndOfFile:
                        if not self._cut_short:
                            raise ValueError(
                                "it ends in the middle of a record; see option cut_short"
                            ) from None
                        note(_CUT)
                        return
                if record is None:
                    return
                yield from inside


def _parts(chunk: Any, most: int) -> list[Any]:
    """The records inside an unpacked chunk, at most so many."""
    from mcap import records
    from mcap.opcode import Opcode
    from mcap.stream_reader import get_chunk_data_stream

    stream, size = get_chunk_data_stream(chunk, validate_crc=True)
    parts: list[Any] = []
    while stream.count < size:
        code, length = stream.read1(), stream.read8()
        if code == Opcode.MESSAGE:
            parts.append(records.Message.read(stream, length))
        elif code == Opcode.CHANNEL:
            parts.append(records.Channel.read(stream))
        elif code == Opcode.SCHEMA:
            parts.append(records.Schema.read(stream))
        else:
            raise ValueError(f"a chunk holds a record of kind {code}, which does not belong there")
        if len(parts) > most:
            raise ValueError("a chunk holds more messages than the file has bytes")
    return parts


def _channel(record: Any, schema: Any) -> Channel:
    if schema is None:
        return Channel(record.topic, record.message_encoding, "", "", b"")
    return Channel(record.topic, record.message_encoding, schema.name, schema.encoding, schema.data)


def _unpack(chunk: Any, limit: int) -> int:
    """Unpacks a chunk in place, to no more than it declares, and gives its size."""
    size = chunk.uncompressed_size
    if size > limit:
        raise ValueError(f"a chunk claims {size} bytes, more than the file can hold")
    if chunk.compression == "zstd":
        import zstandard

        if zstandard.frame_content_size(chunk.data) not in (-1, size):
            raise ValueError("a chunk does not unpack to its declared size")
        chunk.data = zstandard.ZstdDecompressor().decompress(chunk.data, max_output_size=size)
    elif chunk.compression == "lz4":
        import lz4.frame

        chunk.data = lz4.frame.LZ4FrameDecompressor().decompress(chunk.data, max_length=size + 1)
    elif chunk.compression:
        raise ValueError(f"a chunk is compressed with {chunk.compression[:50]!r}; known are zstd and lz4")
    if len(chunk.data) != size:
        raise ValueError("a chunk does not unpack to its declared size")
    chunk.compression = ""
    return int(size)


def natural(path: Path) -> list[tuple[int, str]]:
    """Sorts bag_2 before bag_10."""
    parts = re.split(r"([0-9]+)", path.name)
    return [(int(p[:18]), "") if p.isdecimal() else (-1, p) for p in parts]
