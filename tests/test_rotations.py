"""Rotations: every form to every other and back, the conventions by known answers, poses as a group."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from understudy.numerics import rotations as rot

QUARTER = np.array([0.0, 0.0, np.pi / 2])  # x to y, y to -x


def spread(n: int = 300, seed: int = 0) -> NDArray[Any]:
    """Rotation matrices [N, 3, 3]: anywhere, and within 1e-9 to 1e-3 of no turn and of half a turn."""
    rng = np.random.default_rng(seed)
    axis = rng.normal(size=(n, 3))
    axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
    away = 10.0 ** rng.uniform(-9, -3, n)
    angle = np.select(
        [np.arange(n) % 3 == 0, np.arange(n) % 3 == 1], [away, np.pi - away], rng.uniform(0, np.pi, n)
    )
    return exponential(axis * angle[:, None])


def exponential(r: NDArray[Any]) -> NDArray[Any]:
    """Rodrigues' formula, written without any of the code that is tested."""
    angle = np.linalg.norm(r, axis=-1)[:, None, None]
    k = np.zeros((len(r), 3, 3))
    axis = r / angle[:, 0]
    k[:, 2, 1], k[:, 0, 2], k[:, 1, 0] = axis.T
    k -= k.transpose(0, 2, 1)
    return np.eye(3) + np.sin(angle) * k + 2 * np.sin(angle / 2) ** 2 * (k @ k)


@pytest.mark.parametrize("form", rot.FORMS)
def test_each_form_comes_back(form: str) -> None:
    m = spread()
    written = rot.convert(m, "matrix", form)
    assert written.shape == (len(m), *rot.shape_of(form))
    assert written.dtype == np.float64
    back = rot.convert(written, form, "matrix")
    np.testing.assert_allclose(back, m, atol=1e-6 if form.startswith("euler") else 1e-11)
    assert rot.angle_between(back, m).max() < 1e-6


@pytest.mark.parametrize(
    "form", [f for f in rot.FORMS if not f.startswith("euler")] + ["euler_xyz", "euler_ZXZ"]
)
def test_float32_stays_float32_and_is_accurate(form: str) -> None:
    m = spread()
    written = rot.convert(m.astype(np.float32), "matrix", form)
    back = rot.convert(written, form, "matrix")
    assert written.dtype == back.dtype == np.float32
    assert rot.angle_between(back, m).max() < 5e-7


def test_between_any_two_forms() -> None:
    forms = ["matrix", "xyzw", "wxyz", "axis_angle", "6d", "6d_rows", "euler_xyz", "euler_ZYX", "euler_ZXZ"]
    m = spread(60)
    for a, b in itertools.permutations(forms, 2):
        there = rot.convert(rot.convert(m, "matrix", a), a, b)
        assert rot.angle_between(rot.convert(there, b, "matrix"), m).max() < 1e-6, (a, b)


def test_conventions_by_known_answers() -> None:
    m = rot.convert(QUARTER, "axis_angle", "matrix")
    np.testing.assert_allclose(m @ [1, 0, 0], [0, 1, 0], atol=1e-15)  # active, right-handed
    half = np.sqrt(0.5)
    np.testing.assert_allclose(rot.convert(m, "matrix", "xyzw"), [0, 0, half, half], atol=1e-15)
    np.testing.assert_allclose(rot.convert(m, "matrix", "wxyz"), [half, 0, 0, half], atol=1e-15)
    np.testing.assert_allclose(rot.convert(m, "matrix", "6d"), [0, 1, 0, -1, 0, 0], atol=1e-15)
    np.testing.assert_allclose(rot.convert(m, "matrix", "6d_rows"), [0, -1, 0, 1, 0, 0], atol=1e-15)


def axis_turn(letter: str, angle: float) -> NDArray[Any]:
    return exponential(np.eye(3)[["xyz".index(letter)]] * angle)[0]


@pytest.mark.parametrize("form", [f for f in rot.FORMS if f.startswith("euler")])
def test_euler_sequences_are_products_of_turns_about_axes(form: str) -> None:
    angles, word = (0.3, -0.4, 1.1), form[6:]
    turns = [axis_turn(letter.lower(), a) for letter, a in zip(word, angles, strict=True)]
    if word.islower():  # fixed axes: the first turn is done first
        turns = turns[::-1]
    np.testing.assert_allclose(
        rot.convert(angles, form, "matrix"), turns[0] @ turns[1] @ turns[2], atol=1e-14
    )


def test_gimbal_lock_is_quiet_and_still_the_same_rotation() -> None:
    for form, angles in (("euler_xyz", [0.3, np.pi / 2, 0.5]), ("euler_ZXZ", [0.3, 0.0, 0.5])):
        m = rot.convert(angles, form, "matrix")
        locked = rot.convert(m, "matrix", form)
        assert locked[2] == 0.0
        assert rot.angle_between(rot.convert(locked, form, "matrix"), m) < 1e-7


def test_the_axis_of_half_a_turn() -> None:
    r = rot.convert(np.diag([1.0, -1.0, -1.0]), "matrix", "axis_angle")
    np.testing.assert_allclose(np.abs(r), [np.pi, 0, 0], atol=1e-12)
    assert (rot.convert(np.eye(3), "matrix", "axis_angle") == 0).all()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=8, max_size=8))
def test_quaternions_of_any_length_and_sign_are_one_rotation(numbers: list[float]) -> None:
    q = np.array(numbers).reshape(2, 4) + np.array([0.0, 0.0, 0.0, 7.0])
    m = rot.convert(q, "xyzw", "matrix")
    np.testing.assert_allclose(m, rot.convert(-2.5 * q, "xyzw", "matrix"), atol=1e-12)
    canonical = rot.convert(-q, "xyzw", "wxyz")
    assert (canonical[:, 0] > 0).all()
    np.testing.assert_allclose(np.linalg.norm(canonical, axis=-1), 1, atol=1e-12)
    np.testing.assert_allclose(rot.convert(canonical[:, [1, 2, 3, 0]], "xyzw", "matrix"), m, atol=1e-12)


def test_a_quaternion_without_w_takes_the_sign_of_the_next() -> None:
    assert rot.convert([0.0, -1.0, 0.0, 0.0], "wxyz", "wxyz").tolist()[1] == 1.0


def test_6d_is_read_by_gram_and_schmidt() -> None:
    m = rot.convert([2.0, 0, 0, 5.0, 3.0, 0], "6d", "matrix")
    np.testing.assert_allclose(m, np.eye(3), atol=1e-15)


@pytest.mark.parametrize(
    ("x", "form", "words"),
    [
        ([0.0] * 4, "xyzw", "no rotation"),
        ([1.0, 0, 0, 2.0, 0, 0], "6d", "two directions"),
        ([0.0] * 6, "6d_rows", "two directions"),
        (np.diag([1.0, 1.0, -1.0]), "matrix", "determinant"),
        ([1.0, 2.0], "xyzw", r"must end in \(4,\)"),
        ([np.nan, 0, 0], "axis_angle", "not finite"),
        ([0.0] * 4, "quat", "rotation form is 'quat'"),
        ([0.0] * 3, "euler_xxy", "rotation form"),
        ([0.0] * 3, "euler_xYz", "rotation form"),
    ],
)
def test_what_is_no_rotation_is_refused(x: Any, form: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        rot.convert(x, form, "matrix")


def test_any_number_of_batch_dimensions() -> None:
    m = spread(12).reshape(2, 3, 2, 3, 3)
    for form in rot.FORMS:
        x = rot.convert(m, "matrix", form)
        assert x.shape == (2, 3, 2, *rot.shape_of(form))
        np.testing.assert_array_equal(x[1, 2, 0], rot.convert(m[1, 2, 0], "matrix", form))
        assert rot.convert(x[:0], form, "xyzw").shape == (0, 3, 2, 4)


def test_quaternions_are_continuous_along_a_trajectory() -> None:
    turn = np.linspace(0, 6 * np.pi, 200)
    q = rot.convert(turn[:, None] * [0.6, 0.0, 0.8], "axis_angle", "xyzw")
    assert np.abs(np.diff(q, axis=0)).max() > 1  # canonical signs jump
    smooth = rot.continuous(q)
    assert np.linalg.norm(np.diff(smooth, axis=0), axis=-1).max() < 0.05
    np.testing.assert_array_equal(np.abs(smooth), np.abs(q))
    np.testing.assert_array_equal(rot.continuous(q, previous=-q[0]), -smooth)
    assert rot.continuous(q.astype(np.float32)).dtype == np.float32
    with pytest.raises(ValueError, match=r"must be \[T, 4\]"):
        rot.continuous(q[:, :3])


def test_angles_are_exact_near_zero_and_near_pi() -> None:
    for angle in (0.0, 1e-9, 1e-4, 1.0, np.pi - 1e-9, np.pi):
        m = axis_turn("y", angle) if angle else np.eye(3)
        assert rot.angle_between(np.eye(3), m) == pytest.approx(angle, abs=1e-15, rel=1e-12)


def poses(n: int, seed: int) -> rot.Pose:
    return rot.Pose(np.random.default_rng(seed).normal(size=(n, 3)), spread(n, seed))


def test_poses_are_a_group() -> None:
    a, b, c = poses(50, 1), poses(50, 2), poses(50, 3)
    point = np.random.default_rng(4).normal(size=(50, 3))

    def moved(p: rot.Pose, x: NDArray[Any]) -> NDArray[Any]:
        return np.einsum("nij,nj->ni", p.matrix, x) + p.position

    np.testing.assert_allclose(moved(rot.compose(a, b), point), moved(a, moved(b, point)), atol=1e-12)
    for left, right in (
        (rot.compose(rot.compose(a, b), c), rot.compose(a, rot.compose(b, c))),
        (rot.compose(a, rot.relative(a, b)), b),
        (rot.relative(a, b), rot.compose(rot.inverse(a), b)),
        (rot.compose(a, rot.inverse(a)), rot.Pose(np.zeros((50, 3)), np.broadcast_to(np.eye(3), (50, 3, 3)))),
    ):
        np.testing.assert_allclose(left.position, right.position, atol=1e-12)
        np.testing.assert_allclose(left.matrix, right.matrix, atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 7, 64, 100])
def test_products_along_a_trajectory(n: int) -> None:
    m = spread(n, 5)
    left, right = rot.accumulate(m, left=True), rot.accumulate(m, left=False)
    a = b = np.eye(3)
    for i in range(n):
        a, b = m[i] @ a, b @ m[i]
        np.testing.assert_allclose(left[i], a, atol=1e-12)
        np.testing.assert_allclose(right[i], b, atol=1e-12)
