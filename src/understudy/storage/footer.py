"""How many values a Parquet file claims to hold, read off its footer before Parquet's reader believes it.

A footer is a struct in Thrift's compact protocol: field headers with a type in the low and a step of the
field's number in the high four bits, numbers as variable-length integers, length-prefixed strings. Arrow's
own view of a column is no substitute: asked about a damaged footer from Python, it ends the process.
"""

from __future__ import annotations

__all__ = ["claimed_values"]

_BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 3, 7, 8, 9, 10, 11, 12
# FileMetaData.row_groups -> RowGroup.columns -> ColumnChunk.meta_data -> ColumnMetaData.num_values
_PATH = (4, 1, 3, 5)
_OFF_PATH = -1
_DEPTH = 32


def claimed_values(content: bytes) -> int:
    """The sum of num_values over all columns of all row groups; `content` ends with the file's footer.

    Raises:
        ValueError: when the footer is cut short or malformed.
    """
    size = int.from_bytes(content[-8:-4], "little")
    if content[-4:] != b"PAR1" or size > len(content) - 8:
        raise ValueError("it has no footer")
    values: list[int] = []
    try:
        _struct(content[-8 - size : -8], 0, 0, 0, values)
    except IndexError:
        raise ValueError("its footer is cut short") from None
    return sum(values)


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


def _struct(data: bytes, at: int, level: int, depth: int, values: list[int]) -> int:
    """Walks a struct, `level` steps down the path or off it; where it ends."""
    if depth > _DEPTH:
        raise ValueError("its footer is nested too deep")
    wanted, number = _PATH[level] if level >= 0 else 0, 0
    while header := data[at]:
        at += 1
        kind = header & 15
        if header >> 4:
            number += header >> 4
        else:
            signed, at = _integer(data, at)
            number = signed >> 1 ^ -(signed & 1)
        if number == wanted and level == len(_PATH) - 1:
            signed, at = _integer(data, at)
            values.append(signed >> 1)
        elif _BYTE < kind < _DOUBLE:  # a number; most of what there is
            while data[at] & 0x80:
                at += 1
            at += 1
        else:
            below = level + 1 if number == wanted else _OFF_PATH
            at = _other(data, at, kind, below, depth, values)
    return at + 1


def _other(data: bytes, at: int, kind: int, level: int, depth: int, values: list[int]) -> int:
    """Walks a field that is no number; structs in it are at this level of the path; where it ends."""
    if kind == _BINARY:
        size, at = _integer(data, at)
        return at + size
    if kind in (_LIST, _SET):
        header, at = data[at], at + 1
        count = header >> 4
        if count == 15:
            count, at = _integer(data, at)
        return _items(data, at, header & 15, count, level, depth, values)
    if kind == _STRUCT:
        return _struct(data, at, level, depth + 1, values)
    if kind == _MAP:
        count, at = _integer(data, at)
        kinds, at = (data[at], at + 1) if count else (0, at)
        for _ in range(count):
            at = _items(data, at, kinds >> 4, 1, _OFF_PATH, depth, values)
            at = _items(data, at, kinds & 15, 1, _OFF_PATH, depth, values)
        return at
    if kind < _BYTE:  # a flag, told by its type alone
        return at
    if kind in (_BYTE, _DOUBLE):
        return at + (1 if kind == _BYTE else 8)
    raise ValueError("its footer has a field of no known type")


def _items(data: bytes, at: int, kind: int, count: int, level: int, depth: int, values: list[int]) -> int:
    """Walks values of one type without field headers; where they end."""
    if kind <= _BYTE:
        return at + count
    for _ in range(count):
        if _BYTE < kind < _DOUBLE:
            at = _integer(data, at)[1]
        else:
            at = _other(data, at, kind, level, depth + 1, values)
            if at > len(data):
                raise ValueError("its footer is cut short")
    return at
