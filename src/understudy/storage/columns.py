"""Columns between NumPy and Arrow: numbers as (nested) lists, images as PNG. Bit for bit both ways."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from understudy.episode import Array
from understudy.storage.files import DataError
from understudy.storage.layout import Feature

__all__ = ["arrow_type", "data_schema", "decode_png", "fill", "png_column", "to_arrow"]

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_MAX_BYTES = 2**31 - 1  # Arrow's lists and strings count with 32 bits
_EXACT = 2**24  # float32 holds every integer up to here


def arrow_type(feature: Feature) -> pa.DataType:
    """How LeRobot stores a feature: a scalar for [1], a fixed list for [n], lists of lists beyond."""
    if feature.image:
        return pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    kind = {"float16": "halffloat", "float32": "float", "float64": "double"}.get(feature.dtype, feature.dtype)
    value = pa.type_for_alias(kind)
    if feature.shape == (1,):
        return value
    if len(feature.shape) == 1:
        return pa.list_(value, feature.shape[0])
    for _ in feature.shape:
        value = pa.list_(value)
    return value


def _hugging_face(feature: Feature) -> dict[str, Any]:
    if feature.image:
        return {"_type": "Image"}
    value = {"dtype": feature.dtype, "_type": "Value"}
    if feature.shape == (1,):
        return value
    if len(feature.shape) == 1:
        return {"feature": value, "length": feature.shape[0], "_type": "List"}
    rank = len(feature.shape)
    return {"shape": list(feature.shape), "dtype": feature.dtype, "_type": f"Array{rank}D"}


@lru_cache(maxsize=16)  # the same for every episode of a dataset
def data_schema(features: tuple[Feature, ...]) -> pa.Schema:
    """The schema of a data file, with what the `datasets` library wants to find beside it."""
    info = {"info": {"features": {f.name: _hugging_face(f) for f in features}}}
    fields = [pa.field(f.name, arrow_type(f)) for f in features]
    return pa.schema(fields, metadata={"huggingface": json.dumps(info)})


def _encode_png(picture: Array) -> bytes:
    """A uint8 [H, W, C] picture with 1 to 4 channels as PNG."""
    from PIL import Image

    flat = np.ascontiguousarray(picture if picture.shape[2] > 1 else picture[..., 0])
    out = io.BytesIO()
    # Level 1: a third of the default's time for a tenth more bytes.
    Image.fromarray(flat).save(out, "PNG", compress_level=1)
    return out.getvalue()


def decode_png(data: bytes | None, feature: Feature, out: Array) -> None:
    """Decodes into out [H, W, C], after holding size and kind against the declaration."""
    from PIL import Image

    if data is None:
        raise ValueError(f"{feature.name!r} lacks a picture")
    height, width, channels = feature.shape
    with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
        if picture.size != (width, height) or picture.mode != _MODES.get(channels):
            raise ValueError(
                f"{feature.name!r} holds a {picture.size[1]}x{picture.size[0]} {picture.mode} picture, "
                f"declared is {list(feature.shape)}"
            )
        out[...] = np.asarray(picture).reshape(feature.shape)


def to_arrow(feature: Feature, rows: Array) -> pa.Array:
    """The column of an array [T, *shape]."""
    if feature.image:
        blobs = [_encode_png(row) for row in rows]
        _bounded(feature, sum(map(len, blobs)))
        paths = [f"frame-{i:06d}.png" for i in range(len(blobs))]
        return pa.StructArray.from_arrays(
            [pa.array(blobs, pa.binary()), pa.array(paths, pa.string())], ["bytes", "path"]
        )
    _bounded(feature, rows.size)
    column = pa.array(np.ascontiguousarray(rows).reshape(-1))
    if feature.shape == (1,):
        return column
    if len(feature.shape) == 1:
        return pa.FixedSizeListArray.from_arrays(column, feature.shape[0])
    for size in reversed(feature.shape):
        ends = np.arange(0, len(column) + 1, size, dtype=np.int32)
        column = pa.ListArray.from_arrays(ends, column)
    return column


def _bounded(feature: Feature, count: int) -> None:
    if count > _MAX_BYTES:
        raise DataError(f"{feature.name!r} of one episode is too large for one file; split the episode")


def fill(
    feature: Feature,
    column: pa.ChunkedArray,
    out: Array,
    at: slice | NDArray[np.int64],
    place: Callable[[int], str],
) -> None:
    """Writes a column's n rows into out[at], converted to out's dtype; place(i) says in words where row i
    stands.

    Raises:
        ValueError: when the column is not of the declared shape, has gaps, or holds what out cannot hold.
    """
    chunk = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if feature.image:
        pictures = out[at] if isinstance(at, slice) else [out[i] for i in at]
        for blob, picture in zip(png_column(feature, chunk), pictures, strict=True):
            decode_png(blob.as_py(), feature, picture)
        return
    values = _numbers(feature, chunk)
    if values.dtype != out.dtype:
        wide = values.dtype.kind in "iu" and values.dtype.itemsize > 2 and out.dtype == np.float32
        if wide and values.size and (values.max() > _EXACT or values.min() < -_EXACT):
            raise ValueError(
                f"{feature.name!r} holds integers beyond ±2^24, which float32 cannot hold exactly"
            )
        with np.errstate(over="ignore"):
            values = values.astype(out.dtype)
    if out.dtype == np.float32 and not (good := np.isfinite(values)).all():
        row, *dims = (int(i) for i in np.argwhere(~good)[0])
        where = f", dimension {dims[0] if len(dims) == 1 else tuple(dims)}" if dims else ""
        bad = values[(row, *dims)]
        raise ValueError(f"{feature.name!r} is {bad} at {place(row)}{where}; every value must be finite")
    out[at] = values.reshape(len(values), *out.shape[1:])


def png_column(feature: Feature, chunk: pa.Array) -> pa.Array:
    """The bytes of a column of PNG, bare or in LeRobot's struct.

    Raises:
        ValueError: when it is none.
    """
    blobs = chunk
    if pa.types.is_struct(chunk.type):
        if chunk.type.get_field_index("bytes") < 0:
            raise ValueError(f"{feature.name!r} holds no PNG bytes; pictures in other files are not read")
        blobs = chunk.field("bytes")
    if not (pa.types.is_binary(blobs.type) or pa.types.is_large_binary(blobs.type)):
        raise ValueError(f"{feature.name!r} is stored as {blobs.type}; pictures must be PNG bytes")
    return blobs


def _numbers(feature: Feature, chunk: pa.Array) -> Array:
    """The values [n, *shape] of a column, without a copy where their type allows."""
    rows, stored = len(chunk), chunk.type
    widths = list(feature.shape) if feature.shape != (1,) else []
    for width in widths:
        kind = chunk.type
        if chunk.null_count:
            raise ValueError(f"{feature.name!r} has gaps")
        if pa.types.is_fixed_size_list(kind):
            sizes, first = np.array([kind.list_size]), chunk.offset * kind.list_size
        elif (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and len(chunk):
            offsets = chunk.offsets.to_numpy()
            sizes, first = np.diff(offsets), int(offsets[0])
        else:
            raise ValueError(
                f"{feature.name!r} is stored as {stored}; {list(feature.shape)} was declared a step"
            )
        if wrong := sizes[sizes != width][:1].tolist():
            raise ValueError(
                f"{feature.name!r} has {wrong[0]} values where {list(feature.shape)} was declared a step"
            )
        chunk = chunk.values.slice(first, len(chunk) * width)
    if chunk.null_count:
        raise ValueError(f"{feature.name!r} has gaps")
    kind = chunk.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise ValueError(f"{feature.name!r} is stored as {stored}; {list(feature.shape)} was declared a step")
    if len(chunk) != rows * feature.width:
        raise ValueError(f"{feature.name!r} is shorter than it says")
    values: Array = chunk.to_numpy(zero_copy_only=False)
    return values.reshape(rows, *widths)
