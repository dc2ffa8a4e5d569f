"""Arithmetic of targets: from columns to positions and rotations, differences of poses, and back to columns.

Everything is float64 and batched over [..., n]: a pose has a position [..., 3] (joints: any width) and a
matrix [..., 3, 3], and either may be absent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from understudy.actions.space import ActionSpace, Effector, Field
from understudy.episode import Array
from understudy.numerics import rotations

__all__ = ["Target", "apart", "joined", "measured", "read", "write"]

_TOLERANCE = 1e-2  # how far recorded rotations may be from their form; more means the wrong columns


class Target(NamedTuple):
    """Where something is, or should be, or how far it should go."""

    position: Array | None  # [..., 3], or [..., joints]
    matrix: Array | None  # [..., 3, 3]


def read(values: Array, position: Field | None, rotation: Field | None) -> Target:
    """A target from the columns of `values` [..., A], float64; rotations are not checked."""
    wide = values.astype(np.float64)
    place = None if position is None else wide[..., position.columns]
    return Target(place, None if rotation is None else _matrix(wide, rotation))


def _matrix(values: Array, field: Field) -> Array:
    assert field.form is not None
    return rotations.convert(_shaped(values[..., field.columns], field.form), field.form, "matrix")


def _shaped(values: Array, form: str) -> Array:
    return values.reshape(*values.shape[:-1], *rotations.shape_of(form))


def check(values: Array, field: Field) -> None:
    """Refuses columns that hold no rotations of that form: a quaternion of length 1.3 is something else.

    Raises:
        ValueError: naming the first.
    """
    form = field.form
    if form is None or form == "axis_angle" or form.startswith("euler"):
        return
    x = values[..., field.columns].astype(np.float64).reshape(-1, field.stop - field.start)
    if form in ("xyzw", "wxyz"):
        off = np.abs(np.linalg.norm(x, axis=-1) - 1)
    else:
        back = rotations.convert(_shaped(x, form), form, form)
        off = np.abs(back.reshape(x.shape) - x).max(-1, initial=0)
    if (bad := off > _TOLERANCE).any():
        at = int(np.argmax(bad))
        raise ValueError(
            f"{field} holds {x[at].round(4).tolist()} in row {at}, which is no rotation in that form"
        )


def measured(obs: Mapping[str, Array], e: Effector, *, checked: bool = True) -> Target:
    """The measured pose of an effector, from observations [..., D].

    Args:
        checked: whether rotations are held to their form; what an augmentation has shaken need not be.

    Raises:
        KeyError: when there is no such observation.
        ValueError: when it is too narrow, or holds no rotation.
    """
    parts = []
    for field in (e.seen_position, e.seen_rotation):
        if field is None or field.key is None:
            parts.append(Target(None, None))
            continue
        if field.key not in obs:
            raise KeyError(f"there is no observation {field.key!r} with a pose; there are {sorted(obs)}")
        column = obs[field.key]
        if column.shape[-1] < field.stop:
            raise ValueError(f"the pose {field} lies outside of an observation of width {column.shape[-1]}")
        if checked:
            check(column, field)
        parts.append(read(column, None if field.form else field, field if field.form else None))
    return Target(parts[0].position, parts[1].matrix)


def write(out: Array, target: Target, e: Effector) -> None:
    """A target into the effector's columns of `out` [..., A]."""
    if e.position is not None and target.position is not None:
        out[..., e.position.columns] = target.position
    if e.rotation is not None and target.matrix is not None:
        assert e.rotation.form is not None
        turned = rotations.convert(target.matrix, "matrix", e.rotation.form)
        out[..., e.rotation.columns] = turned.reshape(*out.shape[:-1], -1)


def apart(base: Target, target: Target, frame: str) -> Target:
    """The difference from `base` to `target`: "world": p′ − p and R′ Rᵀ; "body": Rᵀ (p′ − p) and Rᵀ R′."""
    position = matrix = None
    if target.position is not None:
        assert base.position is not None
        position = target.position - base.position
        if frame == "body":
            assert base.matrix is not None
            position = (_back(base.matrix) @ position[..., None])[..., 0]
    if target.matrix is not None:
        assert base.matrix is not None
        back = _back(base.matrix)
        matrix = back @ target.matrix if frame == "body" else target.matrix @ back
    return Target(position, matrix)


def joined(base: Target, delta: Target, frame: str) -> Target:
    """The target that differs by `delta` from `base`: the inverse of `apart`."""
    position = matrix = None
    if delta.position is not None:
        assert base.position is not None
        step = delta.position
        if frame == "body":
            assert base.matrix is not None
            step = (base.matrix @ step[..., None])[..., 0]
        position = base.position + step
    if delta.matrix is not None:
        assert base.matrix is not None
        matrix = base.matrix @ delta.matrix if frame == "body" else delta.matrix @ base.matrix
    return Target(position, matrix)


def _back(matrix: Array) -> Array:
    return np.swapaxes(matrix, -1, -2)


def others(values: Array, source: ActionSpace, to: ActionSpace) -> Array:
    """[..., A'], zeros but for the columns that no effector names, taken over from `values` [..., A]."""
    out = np.zeros((*values.shape[:-1], to.width))
    _copy(out, to.others, values, source.others)
    return out


def _copy(out: Array, to: Sequence[int], values: Array, source: Sequence[int]) -> None:
    out[..., list(to)] = values[..., list(source)]
