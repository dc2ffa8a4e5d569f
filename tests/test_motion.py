"""Measures of motion and information: closed forms, invariances, and brute force where that is possible."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.numerics import (
    auroc,
    dimensionless_jerk,
    ksg,
    log_dimensionless_jerk,
    longest_run,
    noise_level,
    path_ratio,
    robust_z,
    runs,
    spectral_arc_length,
)


def reach(steps: int, dims: int = 1) -> np.ndarray:
    """[steps + 1, dims], minimum jerk from rest to rest (Flash and Hogan 1985)."""
    t = np.linspace(0, 1, steps + 1)[:, None]
    return (10 * t**3 - 15 * t**4 + 6 * t**5) * np.arange(1, dims + 1)


# --- jerk: the integral of the squared third derivative of 10 t^3 - 15 t^4 + 6 t^5 over [0, 1] is 720


def test_jerk_of_a_minimum_jerk_reach_is_the_closed_form() -> None:
    assert dimensionless_jerk(reach(2000, 3)) == pytest.approx(-720, rel=1e-4)
    assert log_dimensionless_jerk(reach(2000)) == pytest.approx(-log(720), abs=1e-4)


def test_jerk_converges_with_the_square_of_the_step() -> None:
    errors = [abs(dimensionless_jerk(reach(n)) + 720) for n in (100, 200, 400)]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.1)


def test_jerk_of_a_cubic_is_exact_on_any_grid() -> None:
    # Constant jerk 12: its square integrates to 144, and differences of a cubic have no error.
    for steps in (3, 4, 17):
        t = np.linspace(0, 1, steps + 1)[:, None]
        assert dimensionless_jerk(3 * t**2 - 2 * t**3) == pytest.approx(-144, rel=1e-9)


def test_velocities_give_the_jerk_of_their_positions() -> None:
    t = np.linspace(0, 1, 1001)[:, None]
    velocity = 30 * t**2 * (1 - t) ** 2
    assert dimensionless_jerk(velocity, "velocity") == pytest.approx(-720, rel=1e-3)


@given(st.integers(4, 60), st.integers(1, 4), st.floats(1e-3, 1e3), st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_smoothness_is_free_of_units_and_place(steps: int, dims: int, unit: float, seed: int) -> None:
    path = np.random.default_rng(seed).normal(size=(steps + 1, dims)).cumsum(0)
    moved = unit * path + 5 * unit
    assert dimensionless_jerk(moved) == pytest.approx(dimensionless_jerk(path), rel=1e-6)
    assert path_ratio(moved) == pytest.approx(path_ratio(path), rel=1e-6)
    speed = np.linalg.norm(np.diff(path, axis=0), axis=1)
    assert spectral_arc_length(unit * speed) == pytest.approx(spectral_arc_length(speed), rel=1e-6)


def test_smoothness_is_free_of_the_unit_of_time() -> None:
    v = np.abs(np.diff(reach(200)[:, 0]))
    assert spectral_arc_length(v, rate=10.0) == pytest.approx(spectral_arc_length(v, rate=1000.0), rel=1e-9)
    # Twice as many samples of the same movement, which is half as fast by the sample.
    fine = np.abs(np.diff(reach(400)[:, 0]))
    assert spectral_arc_length(fine) == pytest.approx(spectral_arc_length(v), rel=0.01)
    assert dimensionless_jerk(reach(400)) == pytest.approx(dimensionless_jerk(reach(200)), rel=0.01)


def test_what_is_less_smooth_scores_less() -> None:
    rng = np.random.default_rng(0)
    path = reach(200)
    shaken = path + 0.003 * rng.normal(size=path.shape)
    halting = np.concatenate([path[:100], np.repeat(path[100:101], 60, 0), path[100:]])
    for worse in (shaken, halting):
        assert log_dimensionless_jerk(worse) < log_dimensionless_jerk(path) - 1
        speeds = (np.abs(np.diff(x[:, 0])) for x in (worse, path))
        assert spectral_arc_length(next(speeds)) < spectral_arc_length(next(speeds)) - 0.3


def test_a_cutoff_ends_the_spectrum() -> None:
    v = np.abs(np.random.default_rng(0).normal(size=256))
    assert spectral_arc_length(v, rate=100.0, cutoff=5.0) > spectral_arc_length(v, rate=100.0)
    assert spectral_arc_length(v, rate=100.0, cutoff=50.0) == spectral_arc_length(v, rate=100.0)


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing moves"):
        dimensionless_jerk(np.ones((9, 2)))
    with pytest.raises(ValueError, match=r"T > 3"):
        dimensionless_jerk(np.ones((3, 2)))
    with pytest.raises(ValueError, match="nothing moves"):
        spectral_arc_length(np.zeros(8))
    with pytest.raises(ValueError, match=r"\[T\]"):
        spectral_arc_length(np.zeros((8, 1)))
    with pytest.raises(ValueError, match="order 2"):
        noise_level(np.zeros((2, 1)))


def test_a_path_that_returns_has_no_finite_ratio() -> None:
    assert path_ratio([[0.0], [1.0], [0.0]]) == np.inf
    assert path_ratio([[2.0], [2.0]]) == 1.0
    assert path_ratio(reach(50, 3)) == pytest.approx(1.0)


# --- noise: n = 20000 samples, the median's relative error is about 1 / sqrt(n), the bound 5 of those


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_noise_level_is_the_std_of_white_noise_on_a_slow_signal(order: int) -> None:
    rng = np.random.default_rng(order)
    t = np.linspace(0, 3, 20000)
    noisy = np.stack([np.sin(t), t], 1) + np.array([0.5, 2.0]) * rng.normal(size=(20000, 2))
    assert noise_level(noisy, order) == pytest.approx([0.5, 2.0], rel=5 / 20000**0.5)


def test_jumps_are_not_noise() -> None:
    steps = (np.arange(1000) // 100 % 2).astype(float)[:, None]
    assert noise_level(steps, 2)[0] == 0


# --- runs


@given(st.lists(st.booleans(), max_size=40))
def test_runs_are_those_that_counting_finds(mask: list[bool]) -> None:
    found, at = [], 0
    while at < len(mask):
        end = at
        while end < len(mask) and mask[end]:
            end += 1
        if end > at:
            found.append([at, end])
        at = end + 1
    assert runs(mask).tolist() == found
    assert longest_run(np.array(mask, bool)) == max((b - a for a, b in found), default=0)


# --- information


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.9])
def test_ksg_finds_the_information_of_a_normal_pair(rho: float) -> None:
    # n = 2000: over seeds 0 to 11 the estimator's std is below 0.025 and its bias below 0.01; 3 stds.
    x, y = np.random.default_rng(7).normal(size=(2, 2000, 1))
    z = rho * x + (1 - rho**2) ** 0.5 * y
    given_ = ksg(x, z)
    assert given_.shape == (2000,)
    assert given_.mean() == pytest.approx(-0.5 * log(1 - rho**2), abs=0.075)


def test_ksg_counts_as_brute_force_does() -> None:
    from scipy.special import digamma

    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(300, 2)), rng.normal(size=(300, 1))
    dx, dy = (np.abs(a[:, None] - a).max(-1) for a in (x, y))
    out = ksg(x, y, k=3)
    for i in (0, 17, 299):
        others = np.arange(300) != i
        reach_ = np.sort(np.maximum(dx[i], dy[i])[others])[2]
        counts = [(d[i][others] < reach_).sum() for d in (dx, dy)]
        assert out[i] == pytest.approx(digamma(3) + digamma(300) - sum(digamma(n + 1) for n in counts))
    with pytest.raises(ValueError, match="N > k"):
        ksg(x[:3], y[:3], k=3)


# --- outliers and ranking


def test_robust_z_is_a_normal_z_and_half_may_be_bad() -> None:
    # n = 20000: the median and the MAD are within 2 % of their limits.
    x = np.random.default_rng(0).normal(3.0, 2.0, 20000)
    assert robust_z(np.append(x, 13.0))[-1] == pytest.approx(5.0, rel=0.03)
    bad = np.concatenate([x[:100], np.full(70, 60.0)])
    assert (robust_z(bad, "high")[100:] > 10).all()
    assert robust_z(bad, "low").max() < 5
    assert (robust_z(-bad, "low") == robust_z(bad, "high")).all()


def test_robust_z_has_a_floor() -> None:
    x = [1.0] * 9 + [1.001]
    assert robust_z(x, "high").max() == np.inf
    assert robust_z(x, "high", floor=0.1).max() == pytest.approx(0.01)
    assert robust_z([], "high").shape == (0,)


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=12), st.lists(st.integers(0, 5), min_size=1, max_size=12)
)
def test_auroc_is_the_share_of_pairs_in_order(bad: list[int], good: list[int]) -> None:
    pairs = [(a > b) + (a == b) / 2 for a in bad for b in good]
    label = [True] * len(bad) + [False] * len(good)
    assert auroc([*bad, *good], label) == pytest.approx(sum(pairs) / len(pairs))


def test_auroc_needs_both_kinds() -> None:
    with pytest.raises(ValueError, match="some of either kind"):
        auroc([1.0, 2.0], [True, True])
    with pytest.raises(ValueError, match="not a number"):
        auroc([1.0, np.nan], [True, False])
