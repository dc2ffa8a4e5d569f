"""How many values a Parquet file claims to hold, read off its footer before Parquet's reader believes it.

A footer is a struct in Thrift's compact protocol: field headers with a type in the low and a step of the
field's number in the high four bits, numbers as variable-length integers, length-prefixed strings. Arrow's own
view of a column's metadata is no substitute: asked about a damaged footer from Python, it ends the process.
"""

from __future__ import annotations

__all__ = ["claimed_values"]

_BINARY, _LIST, _SET, _MAP, _STRUCT, _DOUBLE = 8, 9, 10, 11, 12, 7
# FileMetaData.row_groups -> RowGroup.columns -> ColumnChunk.meta_data -> ColumnMetaData.num_values
_PATH = (4, 1, 3, 5)
_DEPTH = 32


def claimed_values(content: bytes) -> int:
    """The sum of num_values over all columns of all row groups; `content` ends with the file's footer.

    Raises:
        ValueError: when the footer is cut short or malformed.
    """
    size = int.from_bytes(content[-8:-4], "little")
    if content[-4:] != b"PAR1" or size > len(content) - 8:
        raise ValueError("it has no footer")
    walk = _Walk(content[-8 - size : -8])
    try:
        walk.struct(0, 0)
    except IndexError:
        raise ValueError("its footer is cut short") from None
    return walk.values


class _Walk:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.values = 0

    def integer(self) -> int:
        """A variable-length integer, unsigned."""
        data, at = self.data, self.at
        byte = data[at]
        at += 1
        value, shift = byte & 0x7F, 7
        while byte & 0x80:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if shift > 70:
                raise ValueError("its footer holds a number without end")
        self.at = at
        return value

    def struct(self, level: int, depth: int) -> None:
        """A struct; `level` is how far down the path it is, or -1 off the path."""
        if depth > _DEPTH:
            raise ValueError("its footer is nested too deep")
        data, number, wanted = self.data, 0, _PATH[level] if level >= 0 else -1
        while header := data[self.at]:
            self.at += 1
            kind, step = header & 15, header >> 4
            number = number + step if step else self._signed()
            if number != wanted:
                self.skip(kind, -1, depth)
            elif level == len(_PATH) - 1:
                self.values += self._signed()
            else:
                self.skip(kind, level + 1, depth)
        self.at += 1

    def _signed(self) -> int:
        value = self.integer()
        return (value >> 1) ^ -(value & 1)

    def skip(self, kind: int, level: int, depth: int) -> None:
        """A value of some type; structs within it are at this level of the path."""
        if kind <= 2:  # a flag in a struct is its own value
            return
        if kind <= 6:
            if kind == 3:
                self.at += 1
            else:
                self.integer()
        elif kind == _BINARY:
            size = self.integer()
            self.at += size
        elif kind == _STRUCT:
            self.struct(level, depth + 1)
        elif kind in (_LIST, _SET):
            header = self.data[self.at]
            self.at += 1
            count = header >> 4 if header < 0xF0 else self.integer()
            self._items(header & 15, count, level, depth)
        elif kind == _DOUBLE:
            self.at += 8
        elif kind == _MAP:
            if count := self.integer():
                kinds = self.data[self.at]
                self.at += 1
                for _ in range(count):
                    self._items(kinds >> 4, 1, level, depth)
                    self._items(kinds & 15, 1, level, depth)
        else:
            raise ValueError("its footer has a field of no known type")

    def _items(self, kind: int, count: int, level: int, depth: int) -> None:
        if kind <= 3:  # in a list, a flag takes a byte
            self.at += count
            return
        for _ in range(count):
            self.skip(kind, level, depth + 1)
            if self.at > len(self.data):
                raise ValueError("its footer is cut short")
