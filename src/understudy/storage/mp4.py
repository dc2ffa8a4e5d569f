"""What an MP4 file claims, held against its bytes before a demuxer believes it (ISO/IEC 14496-12).

A demuxer makes an index of as many samples as the file says there are, and follows its edits, so a file of a
few hundred bytes can ask for gigabytes. Here only the boxes that recorders write are let through, and only
tables that lie within their boxes.
"""

from __future__ import annotations

from typing import IO

__all__ = ["check_mp4"]

_MAX_MOOV = 256 << 20  # bytes
_MAX_TRACKS, _MAX_EDITS = 4, 8
_INSIDE = {
    "": {"ftyp", "moov", "mdat", "udta"},
    "moov": {"mvhd", "trak", "udta", "iods", "meta"},
    "trak": {"tkhd", "edts", "mdia", "udta", "tref"},
    "edts": {"elst"},
    "mdia": {"mdhd", "hdlr", "minf", "elng"},
    "minf": {"vmhd", "smhd", "nmhd", "hdlr", "dinf", "stbl", "gmhd"},
    "stbl": {"stsd", "stts", "stss", "stsc", "stsz", "stco", "co64", "ctts", "sgpd", "sbgp", "sdtp", "cslg"},
}
_PADDING = {"free", "skip", "wide"}
_ENTRY = {"stts": 8, "ctts": 8, "stsc": 12, "stss": 4, "stco": 4, "co64": 8}  # bytes of a table's entry


def check_mp4(file: IO[bytes], size: int) -> None:
    """Reads the boxes of an open file of so many bytes.

    Raises:
        ValueError: when it is no MP4 file, is cut short, or claims more than it can hold.
    """
    at, seen = 0, set[str]()
    while at < size:
        file.seek(at)
        length, kind, head = _head(file.read(16), size - at)
        if kind not in _INSIDE[""] | _PADDING or (kind in seen and kind != "mdat" and kind not in _PADDING):
            raise ValueError(f"it has a box {kind!r} where none belongs")
        seen.add(kind)
        if kind == "moov":
            if length > _MAX_MOOV:
                raise ValueError(f"its index claims {length} bytes")
            file.seek(at + head)
            _walk(memoryview(file.read(length - head)), "moov", size)
        at += length
    if not seen >= {"ftyp", "moov", "mdat"}:
        raise ValueError("it is no complete MP4 file")


def _head(data: bytes | memoryview, left: int) -> tuple[int, str, int]:
    """Bytes of a box, its kind, and bytes of its header."""
    length, kind, head = int.from_bytes(data[:4]), bytes(data[4:8]).decode("latin-1"), 8
    if length == 1:
        length, head = int.from_bytes(data[8:16]), 16
    if len(data) < head or not head <= length <= left:
        raise ValueError(f"its box {kind!r} claims {length} bytes where {left} are left")
    return length, kind, head


def _walk(data: memoryview, inside: str, size: int) -> None:
    """Holds the boxes inside a box against their bytes and the size of the file."""
    at = tracks = 0
    while at < len(data):
        length, kind, head = _head(data[at : at + 16], len(data) - at)
        if kind not in _INSIDE[inside] | _PADDING:
            raise ValueError(f"it has a box {kind!r} where none belongs")
        tracks += kind == "trak"
        if tracks > _MAX_TRACKS:
            raise ValueError(f"it has more than {_MAX_TRACKS} tracks")
        body = data[at + head : at + length]
        if kind in _INSIDE:
            _walk(body, kind, size)
        else:
            _table(body, kind, size)
        at += length


def _table(body: memoryview, kind: str, size: int) -> None:
    """Holds a table's number of entries against its bytes; a sample has at least one byte of the file."""
    count = int.from_bytes(body[4:8])
    if kind == "stsz":
        count, each = int.from_bytes(body[8:12]), int.from_bytes(body[4:8])
        if count > size or count * each > size or (not each and 12 + 4 * count > len(body)):
            raise ValueError(f"it claims {count} samples in {size} bytes")
    elif kind == "elst" and count > _MAX_EDITS:
        raise ValueError(f"it claims {count} edits of its timeline")
    elif kind in _ENTRY:
        if 8 + _ENTRY[kind] * count > len(body):
            raise ValueError(f"its table {kind!r} claims {count} entries in {len(body)} bytes")
        if kind in ("stts", "ctts"):
            samples = sum(int.from_bytes(body[8 + 8 * i : 12 + 8 * i]) for i in range(count))
            if samples > size:
                raise ValueError(f"its table {kind!r} claims {samples} samples in {size} bytes")
