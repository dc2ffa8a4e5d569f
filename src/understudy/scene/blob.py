"""What the page is sent once: shapes, meshes and textures as one block of bytes, "MJS1".

The block is `b"MJS1"`, the length of the head as little-endian uint32, the head as JSON (padded with spaces
to a multiple of 4), then arrays, each of which the head names as [offset, length in bytes] from the end of
the head. Lengths are metres, quaternions x y z w, colours red green blue alpha in [0, 1], and the camera's
angles degrees in MuJoCo's sense. Nothing in it is compressed; it is made to compress well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

__all__ = ["STILL", "Blob", "Camera", "Kind", "Mesh", "Shape", "Texture", "Triple"]

Kind: TypeAlias = Literal["plane", "box", "sphere", "ellipsoid", "capsule", "cylinder", "mesh"]
Triple: TypeAlias = tuple[float, float, float]
STILL = -1  # the body of what never moves
_MAGIC = b"MJS1"


@dataclass(frozen=True)
class Camera:
    """Where the picture is first seen from: a point, and how far away, in which direction."""

    target: Triple
    distance: float
    azimuth: float
    elevation: float


@dataclass(frozen=True)
class Shape:
    """One thing to draw, in the frame of its body.

    Args:
        size: half sizes, as MuJoCo has them: radius first; a plane of size 0 has no end.
        body: its row among the poses; STILL where it never moves.
        mesh, texture: index of it, where there is one.
        repeat: how often the texture is laid over the shape, or over one metre where it is `uniform`.
    """

    kind: Kind
    size: Triple
    rgba: tuple[float, float, float, float]
    pos: Triple = (0.0, 0.0, 0.0)
    quat: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 1.0)
    body: int = STILL
    mesh: int | None = None
    texture: int | None = None
    repeat: tuple[float, float] = (1.0, 1.0)
    uniform: bool = False


@dataclass(frozen=True)
class Mesh:
    """Triangles: vertices [V, 3], their normals [V, 3], texture coordinates [V, 2] if any, indices [F, 3]."""

    vertices: NDArray[np.float32]
    normals: NDArray[np.float32]
    uv: NDArray[np.float32] | None
    faces: NDArray[np.int64]


@dataclass(frozen=True)
class Texture:
    """Pixels uint8 [height, width, 3]; of a cube, [6 · width, width, 3], faces +x −x +y −y +z −z."""

    pixels: NDArray[np.uint8]
    cube: bool


@final
@dataclass
class Blob:
    """Gathers what is to be drawn, and packs it."""

    shapes: list[Shape] = field(default_factory=list)
    meshes: list[Mesh] = field(default_factory=list)
    textures: list[Texture] = field(default_factory=list)

    def packed(self, head: Mapping[str, Any]) -> bytes:
        """Everything as bytes, with `head` beside it."""
        parts: list[bytes] = []
        meshes = [_mesh(m, parts) for m in self.meshes]
        textures = [
            {"cube": t.cube, "width": t.pixels.shape[1], "height": t.pixels.shape[0],
             "pixels": _stored(t.pixels, parts)}
            for t in self.textures
        ]  # fmt: skip
        shapes = [_shape(s) for s in self.shapes]
        whole = {**head, "shapes": shapes, "meshes": meshes, "textures": textures}
        text = json.dumps(whole, separators=(",", ":"), allow_nan=False).encode()
        text += b" " * (-len(text) % 4)
        return b"".join([_MAGIC, len(text).to_bytes(4, "little"), text, *parts])


def _stored(array: NDArray[Any], parts: list[bytes]) -> list[int]:
    """Appends the array, padded to 4 bytes; where it is."""
    raw = np.ascontiguousarray(array).tobytes()
    at = sum(map(len, parts))
    parts.append(raw + b"\0" * (-len(raw) % 4))
    return [at, len(raw)]


def _mesh(m: Mesh, parts: list[bytes]) -> dict[str, Any]:
    """Vertices in steps of 1 / 65535 of the mesh's box, normals in steps of 1 / 127.

    That is 30 µm on a part of 2 m, in half of the bytes. Vertices are put in the order in which triangles ask
    for them, and indices and vertices are kept as differences from the one before: that halves them again,
    once they are compressed.
    """
    _, first, back = np.unique(m.faces.ravel(), return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    used = m.faces.ravel()[first[order]]
    faces = np.argsort(order, kind="stable")[back].astype(np.int64)
    vertices, normals = m.vertices[used].astype(np.float64), m.normals[used]
    low, high = vertices.min(0), vertices.max(0)
    span = np.where(high > low, high - low, 1.0)
    places = np.rint((vertices - low) / span * 65535).astype(np.int64)
    facing = np.clip(np.rint(normals * 127), -127, 127).astype(np.int8)
    return {
        "count": len(used),
        "low": [float(f"{v:.7g}") for v in low],
        "high": [float(f"{v:.7g}") for v in low + span],
        "places": _stored(_differences(places.T).astype("<u2"), parts),
        "normals": _stored(facing.T, parts),
        "uv": None if m.uv is None else _stored(m.uv[used].astype("<f4"), parts),
        "faces": _stored(_differences(faces[None]).astype("<u4" if len(used) > 65535 else "<u2"), parts),
    }


def _differences(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each value less the one before it in its row; the page adds them up again, modulo its width."""
    return np.diff(rows, axis=1, prepend=0)


def _shape(s: Shape) -> dict[str, Any]:
    """As the page reads it; what is as usual is left out."""
    out: dict[str, Any] = {"kind": s.kind, "body": s.body, "size": _rounded(s.size), "rgba": _rounded(s.rgba)}
    out |= {"pos": _rounded(s.pos), "quat": _rounded(s.quat)}
    if s.mesh is not None:
        out["mesh"] = s.mesh
    if s.texture is not None:
        out |= {"texture": s.texture, "repeat": _rounded(s.repeat), "uniform": s.uniform}
    return out


def _rounded(values: Sequence[float]) -> list[float]:
    return [float(f"{float(v):.7g}") for v in values]
