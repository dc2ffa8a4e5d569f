"""Rotations and poses: one set of names, any representation to any other, batched over [..., n].

A rotation is active and turns vectors by `R v`. What each form holds:

- ``matrix``: [..., 3, 3], columns are the turned axes.
- ``xyzw``, ``wxyz``: unit quaternions [..., 4], the scalar w last (SciPy, ROS, robosuite) or first (MuJoCo,
  Eigen's constructor, PyTorch3D). q and −q are one rotation; results have their first nonzero of w, x, y, z
  positive.
- ``axis_angle``: the rotation vector [..., 3], unit axis times angle in radians; results have angles in
  [0, π], and at π either sign of the axis is right.
- ``6d``: [..., 6], the matrix's first two *columns*, one after the other (Zhou et al. 2019, section 4.2). Any
  two vectors that are not parallel are read, by Gram and Schmidt's rule.
- ``6d_rows``: [..., 6], the first two *rows*, as in PyTorch3D, robomimic and Diffusion Policy; it is the
  ``6d`` of the inverse rotation.
- ``euler_xyz``, ``euler_ZYX``, ...: three angles in radians [..., 3], in the order of the letters; lower case
  turns about the fixed axes, upper case about the moving ones, as in SciPy. All 24 sequences. Results have
  the middle angle in [−π/2, π/2], or in [0, π] where first and last letter agree; at the ends of that range
  only a sum of the other two is determined, and the third is set to 0.

Work is done in float64. There and back, float64 is accurate to 1e-11 radians wherever the angle lies in
[0, π], Euler angles to 1e-6 (near gimbal lock); float32 comes back as float32, accurate to 5e-7.
"""

from __future__ import annotations

import itertools
import warnings
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "FORMS",
    "Pose",
    "accumulate",
    "angle_between",
    "compose",
    "continuous",
    "convert",
    "inverse",
    "relative",
    "shape_of",
]

Floats: TypeAlias = NDArray[Any]

_EULER = tuple(
    f"euler_{word if fixed else word.upper()}"
    for fixed in (True, False)
    for word in map("".join, itertools.product("xyz", repeat=3))
    if word[0] != word[1] != word[2]
)
FORMS: tuple[str, ...] = ("matrix", "xyzw", "wxyz", "axis_angle", "6d", "6d_rows", *_EULER)
_MATRICES = ("matrix", "6d", "6d_rows")
_SHAPES: dict[str, tuple[int, ...]] = {
    "matrix": (3, 3),
    "xyzw": (4,),
    "wxyz": (4,),
    "6d": (6,),
    "6d_rows": (6,),
}
_TINY = 1e-8  # lengths below are no direction: quaternions of networks are far from it


class Pose(NamedTuple):
    """Places and orientations; as a transform it takes a point x to `matrix @ x + position`."""

    position: Floats  # [..., 3]
    matrix: Floats  # [..., 3, 3]


def shape_of(form: str) -> tuple[int, ...]:
    """The shape of one rotation in that form.

    Raises:
        ValueError: when there is no such form.

    >>> shape_of("6d"), shape_of("euler_ZYX")
    ((6,), (3,))
    """
    if form not in FORMS:
        raise ValueError(
            f"rotation form is {form!r}; it must be matrix, xyzw, wxyz, axis_angle, 6d, 6d_rows, or euler_ "
            "and three letters such as euler_xyz (fixed axes) or euler_ZYX (moving axes)"
        )
    return _SHAPES.get(form, (3,))


def convert(x: ArrayLike, source: str, to: str) -> Floats:
    """Rotations in one form to the same rotations in another.

    What is not quite a rotation is read as the nearest one by its form's own rule: quaternions are scaled to
    length 1, ``6d`` is orthogonalised, and so are matrices.

    Args:
        x: [..., *shape_of(source)].

    Returns:
        [..., *shape_of(to)], float32 where `x` is float32, else float64.

    Raises:
        ValueError: for an unknown form, a wrong shape, numbers that are not finite, a quaternion of length
            zero, a matrix that mirrors, or two parallel vectors as 6d.

    >>> convert([0.0, 0.0, np.pi / 2], "axis_angle", "wxyz").round(3).tolist()
    [0.707, 0.0, 0.0, 0.707]
    """
    given = np.asarray(x)
    dtype = np.float32 if given.dtype == np.float32 else np.float64
    wide = given.astype(np.float64)
    one, out = shape_of(source), shape_of(to)
    if wide.shape[wide.ndim - len(one) :] != one:
        raise ValueError(f"rotations in form {source!r} have shape {wide.shape}; it must end in {one}")
    if not np.isfinite(wide).all():
        raise ValueError(f"rotations in form {source!r} hold a number that is not finite")
    batch = wide.shape[: wide.ndim - len(one)]
    flat = wide.reshape(-1, *one)
    if not len(flat):
        return np.zeros((*batch, *out), dtype)
    made = _write(_read(flat, source), to)
    return made.reshape(*batch, *out).astype(dtype)


def _read(x: Floats, form: str) -> Any:
    """[N, ...] in a form to N rotations: matrices [N, 3, 3] where the form is a part of one, else SciPy's."""
    from scipy.spatial.transform import Rotation

    if form in _MATRICES:
        return (
            _rigid(x)
            if form == "matrix"
            else _orthogonal(x)
            if form == "6d"
            else _turned_over(_orthogonal(x))
        )
    if form in ("xyzw", "wxyz"):
        length = np.linalg.norm(x, axis=-1)
        if (length < _TINY).any():
            raise ValueError(
                f"quaternion {int(np.argmin(length))} is {x[np.argmin(length)].tolist()}: no rotation"
            )
        return Rotation.from_quat(x if form == "xyzw" else x[:, [1, 2, 3, 0]])
    return Rotation.from_rotvec(x) if form == "axis_angle" else Rotation.from_euler(form[6:], x)


def _rigid(m: Floats) -> Floats:
    """[N, 3, 3], the nearest rotations; those that are rotations already stay as they are."""
    from scipy.spatial.transform import Rotation

    (a, b, c), (d, e, f), (g, h, i) = np.moveaxis(m, 0, -1)
    mirrors = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g) <= 0
    if mirrors.any():
        raise ValueError(f"matrix {int(np.argmax(mirrors))} has no positive determinant: no rotation")
    off = np.abs(_turned_over(m) @ m - np.eye(3)).max((-1, -2)) > 1e-12
    if not off.any():
        return m
    out = m.copy()
    out[off] = Rotation.from_matrix(m[off]).as_matrix()
    return out


def _turned_over(m: Floats) -> Floats:
    return np.swapaxes(m, -1, -2)


def _orthogonal(x: Floats) -> Floats:
    """[N, 6] to matrices whose first column is along the first three numbers (Zhou et al. 2019)."""
    first, second = x[:, :3], x[:, 3:]
    long = np.linalg.norm(first, axis=-1, keepdims=True)
    a = first / np.maximum(long, _TINY)
    b = second - (a * second).sum(-1, keepdims=True) * a
    length = np.linalg.norm(b, axis=-1, keepdims=True)
    least = _TINY * np.maximum(1.0, np.linalg.norm(second, axis=-1, keepdims=True))
    if (flat := ((long < _TINY) | (length < least))[:, 0]).any():
        at = int(np.argmax(flat))
        raise ValueError(f"6d rotation {at} is {x[at].tolist()}: two directions are needed")
    b /= length
    return np.stack([a, b, np.cross(a, b)], -1)


def _write(r: Any, form: str) -> Floats:
    """N rotations, as `_read` gives them, to [N, ...] in a form."""
    from scipy.spatial.transform import Rotation

    if form in _MATRICES:
        m = r if isinstance(r, np.ndarray) else np.asarray(r.as_matrix())
        if form == "matrix":
            return m
        return np.concatenate([m[:, :, 0], m[:, :, 1]] if form == "6d" else [m[:, 0], m[:, 1]], -1)
    if isinstance(r, np.ndarray):
        r = Rotation.from_matrix(r)
    if form in ("xyzw", "wxyz"):
        q = np.asarray(r.as_quat())
        wxyz = q[:, [3, 0, 1, 2]]
        first = np.take_along_axis(wxyz, (np.abs(wxyz) > 1e-15).argmax(-1)[:, None], -1)
        wxyz = np.where(first < 0, -wxyz, wxyz)
        return wxyz if form == "wxyz" else wxyz[:, [1, 2, 3, 0]]
    if form == "axis_angle":
        return np.asarray(r.as_rotvec())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Gimbal lock detected", UserWarning)  # the module says what happens
        return np.asarray(r.as_euler(form[6:]))


def continuous(q: ArrayLike, previous: ArrayLike | None = None) -> Floats:
    """Quaternions [T, 4] along a trajectory with the signs that make each the nearer one to its predecessor.

    Args:
        q: either order of components; rotations stay the same.
        previous: [4], what came before the first; None leaves the first as it is.

    >>> continuous([[1.0, 0.0, 0.0, 0.0], [-0.9, 0.1, 0.0, 0.0]]).tolist()
    [[1.0, 0.0, 0.0, 0.0], [0.9, -0.1, -0.0, -0.0]]
    """
    x = np.asarray(q)
    if x.ndim != 2 or x.shape[1] != 4:
        raise ValueError(f"a trajectory of quaternions has shape {x.shape}; it must be [T, 4]")
    if not len(x):
        return x
    before = np.concatenate([x[:1] if previous is None else np.asarray(previous)[None], x[:-1]])
    turn = np.where((before * x).sum(-1) < 0, -1, 1)
    return (x * np.cumprod(turn)[:, None]).astype(x.dtype, copy=False)


def angle_between(a: ArrayLike, b: ArrayLike) -> Floats:
    """[...], the angle in [0, π] from one matrix [..., 3, 3] to another, accurate near 0 and π."""
    m = np.swapaxes(np.asarray(a, np.float64), -1, -2) @ np.asarray(b, np.float64)
    # |R - Rᵀ| / √8 = sin and (trace - 1) / 2 = cos: neither alone is accurate everywhere.
    skew = np.stack(
        [m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]], -1
    )
    trace = np.trace(m, axis1=-2, axis2=-1)
    return np.asarray(np.arctan2(np.linalg.norm(skew, axis=-1), trace - 1.0))


def compose(a: Pose, b: Pose) -> Pose:
    """`a` after `b`, as transforms: b's pose, given in a's frame, in the frame that a is given in."""
    return Pose(a.position + _turned(a.matrix, b.position), a.matrix @ b.matrix)


def inverse(a: Pose) -> Pose:
    """The transform that undoes `a`."""
    back = np.swapaxes(a.matrix, -1, -2)
    return Pose(-_turned(back, a.position), back)


def relative(base: Pose, target: Pose) -> Pose:
    """`target` in the frame of `base`: inverse(base) after target, so compose(base, that) is target."""
    back = np.swapaxes(base.matrix, -1, -2)
    return Pose(_turned(back, target.position - base.position), back @ target.matrix)


def _turned(matrix: Floats, vector: Floats) -> Floats:
    return (matrix @ vector[..., None])[..., 0]


def accumulate(matrix: Floats, *, left: bool) -> Floats:
    """[T, 3, 3], the products of the first 1, 2, ..., T matrices, in log T passes.

    `left`: each new factor stands to the left of those before (R_t ... R_1), else to the right (R_1 ... R_t).
    """
    out: Floats = np.array(matrix)
    step = 1
    while step < len(out):
        before, after = out[:-step], out[step:]
        out = np.concatenate([out[:step], after @ before if left else before @ after])
        step *= 2
    return out
