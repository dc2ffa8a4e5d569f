"""How much a Parquet file may unfold into, read off its own structure before Parquet's reader believes it.

A footer says how many values each column chunk holds and where its pages are; each page says so again in a
header of its own, and what a reader allocates goes by the pages. Both are structs in Thrift's compact
protocol: field headers with a type in the low and a step of the field's number in the high four bits, numbers
as variable-length integers, length-prefixed strings. Arrow's own view of a column is no substitute: asked
about a damaged footer from Python, it ends the process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

__all__ = ["claimed_values", "unfolds_to"]

_BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 3, 7, 8, 9, 10, 11, 12
# FileMetaData.row_groups -> RowGroup.columns -> ColumnChunk.meta_data; its numbers are what is looked for.
_PATH = (4, 1, 3)
_OFF_PATH = -1
_DEPTH = 32
# ColumnMetaData
_TYPE, _NAME, _CODEC, _VALUES, _PACKED, _DATA, _DICTIONARY = 1, 3, 4, 5, 7, 9, 11
_BYTE_ARRAY, _FIXED = 6, 7  # types
_CODECS = {1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}
# PageHeader: type, size unpacked, size packed; the headers of data pages (version 1 and 2) and dictionaries,
# each of which begins with the number of values.
_KIND, _UNPACKED_SIZE, _PACKED_SIZE, _PAGE_1, _PAGE_DICTIONARY, _PAGE_2 = 1, 2, 3, 5, 7, 8
_DELTA_BYTE_ARRAY = 7  # an encoding in which each value may repeat all of the one before it
_HEADER = 512  # bytes that hold nearly every page header, and
_LONGEST = 1 << 16  # bytes that hold every one we accept
_LOOSE = 1 << 20  # bytes for which an upper bound need not be a good one

Chunk: TypeAlias = dict[int, int]
Read: TypeAlias = Callable[[int, int], bytes]


def claimed_values(content: bytes) -> int:
    """The sum of num_values over all columns of all row groups; `content` ends with the file's footer.

    Raises:
        ValueError: when the footer is cut short or malformed.
    """
    return sum(c.get(_VALUES, 0) for c in _chunks(content))


def unfolds_to(read: Read, size: int, most: int, unread: bytes | None = None) -> int:
    """At most so many bytes are what the values of a file take when all of it is read.

    Args:
        read: gives the bytes of the file from an offset on, so many.
        size: of the file.
        most: how many bytes are accepted; beyond, the count ends early.
        unread: how the names of columns begin that nobody will read.

    Raises:
        ValueError: when footer or pages are malformed, contradict each other, or lie outside the file.
    """
    tail = read(max(0, size - 8), 8)
    footer = int.from_bytes(tail[:4], "little") + 8
    content = read(max(0, size - footer), footer)
    total = 0
    for chunk in _chunks(content):
        if unread is not None and _named(content, chunk.get(_NAME, -1)).startswith(unread):
            continue
        total += _unfolded(read, size, chunk)
        if total > most:
            break
    return total


def _named(footer: bytes, at: int) -> bytes:
    """The first part of a column's name, at its place in the footer; empty where it has none."""
    if at < 0 or not footer[at] >> 4:
        return b""
    size, at = _integer(footer, at + 1)
    return footer[at : at + size]


def _unfolded(read: Read, size: int, chunk: Chunk) -> int:
    """The bytes that one column chunk may unfold into, by its pages."""
    values, at = chunk.get(_VALUES, 0), chunk.get(_DATA, -1)
    if 0 < chunk.get(_DICTIONARY, 0) < at:
        at = chunk[_DICTIONARY]
    end = at + chunk.get(_PACKED, 0)
    if not (0 <= at <= end <= size) or values < 0:
        raise ValueError("its footer points outside the file")
    total, seen = 8 * values, 0  # a value, and its place in lists
    while at < end and seen < values:
        header, begin = _page(read, at)
        unpacked, packed = header.get(_UNPACKED_SIZE, -1), header.get(_PACKED_SIZE, -1)
        data = header.get(_PAGE_1) or header.get(_PAGE_2)
        if unpacked < 0 or packed < 0 or begin + packed > end:
            raise ValueError("a page of it does not lie where the footer says")
        total += unpacked
        if data is not None:
            seen += data.get(1, -1) if data.get(1, -1) >= 0 else values + 1
            if seen > values:
                raise ValueError("a page of it holds more values than the footer says")
            if _DELTA_BYTE_ARRAY in (data.get(2) if _PAGE_1 in header else None, data.get(4)):
                raise ValueError("its texts are packed as differences, which is not read")
        elif chunk.get(_TYPE) in (_BYTE_ARRAY, _FIXED):  # a dictionary of texts, each of which may come often
            longest = unpacked
            if values * longest > _LOOSE:
                count = (header.get(_PAGE_DICTIONARY) or {}).get(1, 1)
                fixed = chunk[_TYPE] == _FIXED and count > 0
                content = b"" if fixed else read(begin, packed)
                longest = (
                    -(-unpacked // count) if fixed else _longest(content, unpacked, chunk.get(_CODEC, 0))
                )
            total += values * longest
        at = begin + packed
    return total


def _longest(packed: bytes, unpacked: int, codec: int) -> int:
    """The length of the longest text in a dictionary, in which each follows its length."""
    import pyarrow as pa

    if codec and codec not in _CODECS:
        raise ValueError("its texts are packed in a way that is not read")
    texts = packed if not codec else pa.decompress(packed, unpacked, _CODECS[codec], asbytes=True)
    at = longest = 0
    while at + 4 <= len(texts):
        size = int.from_bytes(texts[at : at + 4], "little")
        longest, at = max(longest, size), at + 4 + size
    return longest


def _page(read: Read, at: int) -> tuple[dict[int, Any], int]:
    """A page's header, and where its contents begin."""
    for length in (_HEADER, _LONGEST):
        try:
            header, end = _fields(read(at, length), 0, 0)
            return header, at + end
        except IndexError:
            continue
    raise ValueError("a page of it has no header")


def _fields(data: bytes, at: int, depth: int) -> tuple[dict[int, Any], int]:
    """The numbers in a struct, and the structs in it likewise; where it ends."""
    found: dict[int, Any] = {}
    number = 0
    if depth > _DEPTH:
        raise ValueError("a page of it is nested too deep")
    while header := data[at]:
        kind = header & 15
        number, at = _number(data, at, number)
        if _BYTE < kind < _DOUBLE:
            signed, at = _integer(data, at)
            found[number] = signed >> 1 ^ -(signed & 1)
        elif kind == _STRUCT:
            found[number], at = _fields(data, at, depth + 1)
        else:
            at = _other(data, at, kind, _OFF_PATH, depth, [])
            if at > len(data):
                raise IndexError
    return found, at + 1


def _chunks(content: bytes) -> list[Chunk]:
    """The numbers in the ColumnMetaData of each column of each row group; the footer ends `content`."""
    size = int.from_bytes(content[-8:-4], "little")
    if content[-4:] != b"PAR1" or size > len(content) - 8:
        raise ValueError("it has no footer")
    chunks: list[Chunk] = []
    try:
        _struct(content[-8 - size : -8], 0, 0, 0, chunks)
    except IndexError:
        raise ValueError("its footer is cut short") from None
    return chunks


def _integer(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned number, and where it ends."""
    value = shift = 0
    while (byte := data[at]) & 0x80:
        value |= (byte & 0x7F) << shift
        shift += 7
        at += 1
        if shift > 63:
            raise ValueError("its footer holds a number without end")
    return value | byte << shift, at + 1


def _number(data: bytes, at: int, before: int) -> tuple[int, int]:
    """The number of the field whose header is here, after the one `before`; where its value begins."""
    step = data[at] >> 4
    if step:
        return before + step, at + 1
    signed, at = _integer(data, at + 1)
    return signed >> 1 ^ -(signed & 1), at


def _struct(data: bytes, at: int, level: int, depth: int, chunks: list[Chunk]) -> int:
    """Walks a struct, `level` steps down the path or off it; where it ends."""
    if depth > _DEPTH:
        raise ValueError("its footer is nested too deep")
    here = level == len(_PATH)
    wanted, number = _PATH[level] if 0 <= level < len(_PATH) else 0, 0
    if here:
        chunks.append({})
    while header := data[at]:
        kind = header & 15
        number, at = _number(data, at, number)
        if _BYTE < kind < _DOUBLE:  # a number; most of what there is
            if here:
                signed, at = _integer(data, at)
                chunks[-1][number] = signed >> 1 ^ -(signed & 1)
                continue
            while data[at] & 0x80:
                at += 1
            at += 1
        else:
            if here and number == _NAME and kind == _LIST:
                chunks[-1][_NAME] = at
            below = level + 1 if number == wanted else _OFF_PATH
            at = _other(data, at, kind, below, depth, chunks)
    return at + 1


def _other(data: bytes, at: int, kind: int, level: int, depth: int, chunks: list[Chunk]) -> int:
    """Walks a field that is no number; structs in it are at this level of the path; where it ends."""
    if kind == _BINARY:
        size, at = _integer(data, at)
        return at + size
    if kind in (_LIST, _SET):
        header, at = data[at], at + 1
        count = header >> 4
        if count == 15:
            count, at = _integer(data, at)
        return _items(data, at, header & 15, count, level, depth, chunks)
    if kind == _STRUCT:
        return _struct(data, at, level, depth + 1, chunks)
    if kind == _MAP:
        count, at = _integer(data, at)
        kinds, at = (data[at], at + 1) if count else (0, at)
        for _ in range(count):
            at = _items(data, at, kinds >> 4, 1, _OFF_PATH, depth, chunks)
            at = _items(data, at, kinds & 15, 1, _OFF_PATH, depth, chunks)
        return at
    if kind < _BYTE:  # a flag, told by its type alone
        return at
    if kind in (_BYTE, _DOUBLE):
        return at + (1 if kind == _BYTE else 8)
    raise ValueError("its footer has a field of no known type")


def _items(data: bytes, at: int, kind: int, count: int, level: int, depth: int, chunks: list[Chunk]) -> int:
    """Walks values of one type without field headers; where they end."""
    if kind <= _BYTE:
        return at + count
    for _ in range(count):
        if _BYTE < kind < _DOUBLE:
            at = _integer(data, at)[1]
        else:
            at = _other(data, at, kind, level, depth + 1, chunks)
            if at > len(data):
                raise ValueError("its footer is cut short")
    return at
