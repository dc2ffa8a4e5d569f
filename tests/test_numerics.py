"""Known answers, exact enumeration where that is possible, and one simulation with its budget stated."""

from __future__ import annotations

import itertools
from math import comb, inf, log10, sqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr, stdtrit
from scipy.stats import binomtest, trim_mean

from understudy.numerics import (
    Estimate,
    bootstrap,
    clopper_pearson,
    detectable_difference,
    episodes_for_half_width,
    episodes_to_tell_apart,
    iqm,
    jeffreys,
    mcnemar,
    paired_bootstrap,
    path_length,
    tango,
    tracking,
    wilson,
)

Z = 1.959963984540054


# --- one rate


@pytest.mark.parametrize(
    ("k", "n", "by_wilson", "by_clopper_pearson", "by_jeffreys"),
    [
        (18, 20, (0.699, 0.972), (0.683, 0.988), (0.716, 0.979)),
        (45, 50, (0.786, 0.957), (0.782, 0.967), (0.795, 0.961)),
        (50, 50, (0.929, 1.0), (0.929, 1.0), (0.951, 1.0)),
        (438, 500, (0.844, 0.902), (0.844, 0.904), (0.845, 0.903)),
    ],
)
def test_intervals_of_a_rate_have_the_published_ends(k, n, by_wilson, by_clopper_pearson, by_jeffreys):
    for method, ends in ((wilson, by_wilson), (clopper_pearson, by_clopper_pearson), (jeffreys, by_jeffreys)):
        e = method(k, n)
        assert (round(e.low, 3), round(e.high, 3)) == ends
        assert (e.value, e.n) == (k / n, n)


def coverage(ends, n: int, grid: np.ndarray) -> np.ndarray:
    """The exact probability, for each p of the grid, that the interval of k ~ binomial(n, p) holds p."""
    low, high = np.array([ends(k, n) for k in range(n + 1)]).T
    k = np.arange(n + 1)
    ways = np.array([float(comb(n, int(i))) for i in k])
    p = grid[:, None]
    return (ways * p**k * (1 - p) ** (n - k) * ((low <= p) & (p <= high))).sum(1)


def wald(k: int, n: int) -> tuple[float, float]:
    """What is never used, kept here to show why."""
    p = k / n
    return p - Z * sqrt(p * (1 - p) / n), p + Z * sqrt(p * (1 - p) / n)


@pytest.mark.parametrize(
    ("method", "least", "mean"),
    [(wilson, 0.922, 0.948), (clopper_pearson, 0.960, 0.970), (jeffreys, 0.926, 0.948), (wald, 0.635, 0.910)],
)
def test_coverage_at_50_episodes_by_enumeration(method, least, mean):
    def ends(k: int, n: int) -> tuple[float, float]:
        found = method(k, n)
        return (found.low, found.high) if isinstance(found, Estimate) else found

    covered = coverage(ends, 50, np.linspace(0.02, 0.98, 49))
    assert (round(covered.min(), 3), round(covered.mean(), 3)) == (least, mean)


def test_wilson_at_its_worst_between_the_points_of_a_coarse_grid_still_covers_89_percent():
    for n in (20, 50, 200):
        ends = [(e.low, e.high) for e in (wilson(k, n) for k in range(n + 1))]
        covered = coverage(lambda k, _, ends=ends: ends[k], n, np.linspace(0.02, 0.98, 9601))
        assert covered.min() >= 0.89
        assert covered.mean() >= 0.95


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_clopper_pearson_covers_at_least_its_level_for_every_rate(level):
    for n in (1, 2, 5, 17, 40):
        ends = [(e.low, e.high) for e in (clopper_pearson(k, n, level) for k in range(n + 1))]
        just_inside = [x + d for pair in ends for x in pair for d in (-1e-9, 1e-9) if 0 < x + d < 1]
        grid = np.array([*np.linspace(0.001, 0.999, 499), *just_inside])
        assert coverage(lambda k, _, ends=ends: ends[k], n, grid).min() >= level - 1e-9


@given(n=st.integers(1, 2000), share=st.floats(0, 1), level=st.floats(0.5, 0.999))
def test_wilson_ends_are_where_the_score_test_stops_rejecting(n, share, level):
    k = round(share * n)
    e = wilson(k, n, level)
    z = -_probit((1 - level) / 2)
    for end in {e.low, e.high} - {0.0, 1.0}:
        assert abs(k / n - end) == pytest.approx(z * sqrt(end * (1 - end) / n), rel=1e-6, abs=1e-12)
    assert e.low <= e.value <= e.high
    assert (e.low == 0) == (k == 0)
    assert (e.high == 1) == (k == n)


def _probit(p: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(p))


@pytest.mark.parametrize("method", [wilson, clopper_pearson, jeffreys])
def test_intervals_mirror_when_success_and_failure_swap_and_narrow_with_more_trials(method):
    for k, n in ((0, 7), (3, 11), (20, 20), (9, 200)):
        e, m = method(k, n), method(n - k, n)
        assert (e.low, e.high) == pytest.approx((1 - m.high, 1 - m.low), abs=1e-12)
        more = method(4 * k, 4 * n)
        assert more.high - more.low < e.high - e.low


@pytest.mark.parametrize("method", [wilson, clopper_pearson, jeffreys])
def test_impossible_counts_are_refused(method):
    for k, n in ((1, 0), (-1, 5), (6, 5)):
        with pytest.raises(ValueError, match="trials"):
            method(k, n)
    with pytest.raises(TypeError):
        method(2.5, 5)
    with pytest.raises(ValueError, match="level is 1"):
        method(2, 5, 1)


# --- pairs


def test_mcnemar_is_the_two_sided_binomial_test():
    for b, c in itertools.product(range(26), repeat=2):
        expected = binomtest(b, b + c, 0.5).pvalue if b + c else 1.0
        assert mcnemar(b, c) == pytest.approx(expected, rel=1e-12)
    assert mcnemar(1400, 1600) == pytest.approx(binomtest(1400, 3000, 0.5).pvalue, rel=1e-9)
    assert mcnemar(0, 1100) == 2.0**-1099  # where 2^1100 is no float


def test_mcnemar_never_errs_more_often_than_it_says():
    for n in range(1, 120):
        p = np.array([mcnemar(b, n - b) for b in range(n + 1)])
        chance = np.array([comb(n, b) / 2**n for b in range(n + 1)])
        for alpha in (0.01, 0.05, 0.2):
            assert chance[p <= alpha].sum() <= alpha * (1 + 1e-12)


def test_tango_known_answers():
    # Airway hyper-responsiveness before and after transplantation: Fagerland, Lydersen & Laake (2014).
    e = tango(1, 7, 21)
    assert (round(e.value, 3), round(e.low, 3), round(e.high, 3)) == (-0.286, -0.517, -0.026)
    # Without discordant pairs the ends are ± z² / (n + z²).
    e = tango(0, 0, 200)
    assert (e.low, e.high) == pytest.approx((-(Z**2) / (200 + Z**2), Z**2 / (200 + Z**2)), abs=1e-12)
    assert tango(0, 9, 9).low == -1.0
    assert tango(9, 0, 9).high == 1.0


def test_tango_agrees_with_the_score_test_and_is_antisymmetric():
    for n in (1, 2, 9, 40):
        for b, c in itertools.product(range(n + 1), repeat=2):
            if b + c > n:
                continue
            e, swapped = tango(b, c, n), tango(c, b, n)
            assert (e.low, e.high) == pytest.approx((-swapped.high, -swapped.low), abs=1e-9)
            assert -1 <= e.low <= e.value <= e.high <= 1
            rejects = (b - c) ** 2 > Z**2 * (b + c)
            assert (e.low > 0 or e.high < 0) == rejects


@pytest.mark.parametrize(("n", "least", "mean"), [(20, 0.935, 0.955), (50, 0.935, 0.948)])
def test_tango_covers_by_enumeration_of_all_outcomes(n, least, mean):
    outcomes = [(b, c) for b in range(n + 1) for c in range(n + 1 - b)]
    low, high = np.array([(e.low, e.high) for e in (tango(b, c, n) for b, c in outcomes)]).T
    b, c = np.array(outcomes).T
    ways = np.array([float(comb(n, int(i)) * comb(n - int(i), int(j))) for i, j in outcomes])
    covered = []
    for p, q in itertools.product(np.linspace(0.01, 0.49, 13), repeat=2):
        chance = ways * p**b * q**c * (1 - p - q) ** (n - b - c)
        assert chance.sum() == pytest.approx(1)
        covered.append(chance[(low <= p - q + 1e-9) & (p - q - 1e-9 <= high)].sum())
    assert min(covered) >= least
    assert np.mean(covered) >= mean


@pytest.mark.parametrize("counts", [(-1, 0, 5), (0, -1, 5), (3, 3, 5), (0, 0, 0)])
def test_impossible_pairs_are_refused(counts):
    with pytest.raises(ValueError, match="pairs"):
        tango(*counts)


def test_negative_discordant_counts_are_refused():
    with pytest.raises(ValueError, match="negative"):
        mcnemar(-1, 3)


def power(n: int, delta: float, discordant: float) -> float:
    """By enumeration of all (b, c): how often the exact test finds delta."""
    p, q = (discordant + delta) / 2, (discordant - delta) / 2
    total = 0.0
    for b in range(n + 1):
        for c in range(n + 1 - b):
            if mcnemar(b, c) <= 0.05:
                total += comb(n, b) * comb(n - b, c) * p**b * q**c * (1 - p - q) ** (n - b - c)
    return total


@pytest.mark.parametrize(("n", "discordant"), [(25, 0.5), (40, 0.3)])
def test_detectable_difference_is_found_four_times_out_of_five(n, discordant):
    delta = detectable_difference(n, discordant)
    assert 0 < delta < discordant
    assert power(n, delta, discordant) == pytest.approx(0.8, abs=1e-9)
    assert power(n, 0.98 * delta, discordant) < 0.8


def test_detectable_difference_when_all_disagreement_falls_on_one_side():
    delta = detectable_difference(40, 0.0)
    assert power(40, delta, delta) == pytest.approx(0.8, abs=1e-9)
    assert detectable_difference(5, 0.5) == inf  # five coins never give p <= 0.05
    assert detectable_difference(6, 0.5) < 1
    found = [detectable_difference(n, 0.2) for n in (30, 100, 1000)]
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("bad", [{"pairs": 0}, {"discordant": 1.5}, {"power": 1.0}, {"level": 0.0}])
def test_detectable_difference_refuses_the_impossible(bad):
    with pytest.raises(ValueError):
        detectable_difference(**({"pairs": 10, "discordant": 0.2} | bad))


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.93, 1.0])
@pytest.mark.parametrize("half_width", [0.01, 0.05, 0.1, 0.3])
def test_episodes_for_a_half_width_are_just_enough(rate, half_width):
    def width(n: int) -> float:
        return Z * sqrt(rate * (1 - rate) / n + Z**2 / (4 * n * n)) / (1 + Z**2 / n)

    n = episodes_for_half_width(half_width, rate)
    assert width(n) <= half_width + 1e-9
    assert n == 1 or width(n - 1) > half_width - 1e-9


def test_episodes_to_tell_two_policies_apart():
    assert [episodes_to_tell_apart(0.70, p) for p in (0.75, 0.80, 0.90)] == [1251, 294, 62]
    assert episodes_to_tell_apart(0.8, 0.7) == 294
    with pytest.raises(ValueError, match="no difference"):
        episodes_to_tell_apart(0.7, 0.7)
    with pytest.raises(ValueError, match="half_width"):
        episodes_for_half_width(0.0)


# --- means


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
def test_iqm_is_the_25_percent_trimmed_mean(values):
    assert iqm(values) == pytest.approx(trim_mean(values, 0.25), rel=1e-12, abs=1e-9)


def test_iqm_of_rows_and_its_robustness():
    x = np.array([[1.0, 2.0, 3.0, 4.0], [5.0, -1e9, 7.0, 1e9]])
    np.testing.assert_array_equal(iqm(x), [2.5, 6.0])


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=2, max_size=12), st.randoms())
def test_bootstrap_depends_on_the_values_and_the_seed_but_not_on_their_order(values, shuffler):
    e = bootstrap(values)
    shuffled = list(values)
    shuffler.shuffle(shuffled)
    assert bootstrap(shuffled) == e
    assert min(values) <= e.low <= e.high <= max(values)


def test_bootstrap_of_one_value_of_equal_values_and_of_another_seed():
    assert (bootstrap([3.5]).low, bootstrap([3.5]).high) == (-inf, inf)
    e = bootstrap([0.1] * 7)
    assert (e.value, e.low, e.high, e.n) == (0.1, 0.1, 0.1, 7)
    x = np.random.default_rng(0).normal(size=30)
    first, second = bootstrap(x), bootstrap(x, seed=1)
    assert first != second
    assert abs(first.low - second.low) < 0.05 * (first.high - first.low)
    wide = bootstrap(x, level=0.99)
    assert wide.low < first.low < first.value < first.high < wide.high


def test_bootstrap_moves_and_scales_with_its_values():
    x = np.random.default_rng(1).exponential(size=25)
    e, moved = bootstrap(x), bootstrap(4.0 * x + 16.0)
    ends = (4 * e.value + 16, 4 * e.low + 16, 4 * e.high + 16)
    assert (moved.value, moved.low, moved.high) == pytest.approx(ends, rel=1e-12)


@pytest.mark.parametrize("n", [5, 12, 60])
def test_bootstrap_ends_are_the_expanded_percentiles(n):
    x = np.random.default_rng(n).normal(size=n)
    e = bootstrap(x)
    draws = 200_000  # other resamples than the function's own
    means = x[np.random.default_rng(99).integers(n, size=(draws, n))].mean(1)
    tail = ndtr(sqrt(n / (n - 1)) * stdtrit(n - 1, 0.025))
    # Both are random: 10 000 and 200 000 draws. Five standard errors: a false alarm in a million.
    allowed = 5 * sqrt(tail * (1 - tail) * (1 / 10_000 + 1 / draws))
    assert (means <= e.low).mean() == pytest.approx(tail, abs=allowed)
    assert (means >= e.high).mean() == pytest.approx(tail, abs=allowed)


def test_bootstrap_covers():
    # 600 Gaussian samples of 20 values, one seed fixed before the first look. Asserted on the 99.9 % interval
    # of the coverage: a false alarm in a thousand at most, if the true coverage lies in [0.93, 0.97].
    rng = np.random.default_rng(2024)
    samples = rng.normal(3.0, 2.0, size=(600, 20))
    hits = sum(e.low <= 3.0 <= e.high for e in map(bootstrap, samples))
    e = clopper_pearson(hits, len(samples), 0.999)
    assert e.high >= 0.93
    assert e.low <= 0.97
    assert e.value > 0.90


def test_paired_bootstrap_cancels_what_the_pairs_share():
    rng = np.random.default_rng(3)
    hard = rng.normal(0, 50, size=40)
    a, b = hard + 1.0 + rng.normal(0, 0.5, 40), hard + rng.normal(0, 0.5, 40)
    e = paired_bootstrap(a, b)
    assert e == bootstrap(a - b)
    assert e.low > 0
    alone = bootstrap(a)
    assert (e.high - e.low) < 0.1 * (alone.high - alone.low)
    flipped = paired_bootstrap(b, a)
    assert flipped.value == pytest.approx(-e.value)
    with pytest.raises(ValueError, match="40 values against 39"):
        paired_bootstrap(a, b[:-1])


@pytest.mark.parametrize("values", [[], [[1.0]], [1.0, np.nan], [np.inf]])
def test_means_of_nothing_or_of_no_numbers_are_refused(values):
    with pytest.raises(ValueError, match="values"):
        bootstrap(values)


def test_memory_of_the_bootstrap_does_not_grow_with_n():
    x = np.random.default_rng(5).normal(size=4000)  # 10 000 x 4000 draws at once would be 320 MB
    e = bootstrap(x)
    standard = x.std(ddof=1) / sqrt(4000)
    assert (e.high - e.low) == pytest.approx(2 * Z * standard, rel=0.05)


# --- paths


def test_tracking_known_answers():
    path = np.cumsum(np.random.default_rng(0).normal(size=(30, 3)), 0)
    same = tracking(path, path)
    assert (same.rmse, same.max_deviation, same.common) == (0.0, 0.0, 1.0)
    off = tracking(path + np.array([3.0, 0.0, 4.0]), path)
    assert (off.rmse, off.max_deviation) == pytest.approx((5.0, 5.0))
    one = path.copy()
    one[7] += [0.0, 6.0, 0.0]
    bump = tracking(one, path)
    assert (bump.rmse, bump.max_deviation) == pytest.approx((6 / sqrt(30), 6.0))


@given(
    st.integers(1, 12), st.integers(1, 12), st.integers(1, 3), st.integers(0, 2**32 - 1), st.floats(-100, 100)
)
def test_tracking_is_symmetric_does_not_depend_on_the_origin_and_rmse_is_below_the_maximum(t, s, d, seed, by):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(t, d)), rng.normal(size=(s, d))
    here = tracking(x, y)
    assert tracking(y, x) == here
    moved = tracking(x + by, y + by)
    assert (moved.rmse, moved.max_deviation) == pytest.approx((here.rmse, here.max_deviation), abs=1e-9)
    assert here.rmse <= here.max_deviation
    assert here.common == min(t, s) / max(t, s)


def test_a_policy_that_ends_early_is_not_rewarded():
    reference = np.linspace([0.0, 0.0], [1.0, 0.0], 101)
    off_by_a_bit = tracking(reference + np.array([0.0, 0.05]), reference)
    gave_up = tracking(reference[:3], reference)
    assert gave_up.common == 3 / 101
    assert gave_up.rmse > 10 * off_by_a_bit.rmse
    assert gave_up.max_deviation == pytest.approx(0.98)
    # One that is simply done sooner, and stays where the reference ends, is charged for the way only.
    sooner = tracking(reference[::2], reference)
    assert sooner.max_deviation == pytest.approx(0.5)


def test_path_length():
    assert path_length([[1.0, 2.0]]) == 0.0
    angle = np.linspace(0, np.pi, 2001)
    assert path_length(np.stack([np.cos(angle), np.sin(angle)], 1)) == pytest.approx(np.pi, rel=1e-6)
    corner = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 2.0]])
    assert path_length(corner) == path_length(np.repeat(corner, 3, 0)) == 3.0


@pytest.mark.parametrize(
    ("path", "reference", "says"),
    [
        (np.zeros(3), np.zeros((3, 1)), r"path has shape \(3,\)"),
        (np.zeros((3, 2)), np.zeros((0, 2)), r"reference has shape \(0, 2\)"),
        (np.zeros((3, 2)), np.zeros((3, 3)), "2 dimensions and the reference 3"),
        (np.array([[0.0], [np.nan]]), np.zeros((3, 1)), "not finite at step 1"),
    ],
)
def test_paths_that_cannot_be_compared_are_refused(path, reference, says):
    with pytest.raises(ValueError, match=says):
        tracking(path, reference)


# --- the documentation


def test_the_numbers_of_the_documentation():
    page = (Path(__file__).parents[1] / "docs" / "evaluation.md").read_text()

    def short(x: float) -> str:
        return f"{x:.3f}".removeprefix("0")

    for n in (20, 50, 100, 200, 500, 1000):
        rates = [wilson(round(p * n), n) for p in (0.5, 0.9)]
        cells = [(e.high - e.low) / 2 for e in rates]
        cells += [detectable_difference(n, d) for d in (0.1, 0.2, 0.3)]
        assert f"| {n} | {' | '.join(map(short, cells))} |" in page
    assert f"covers {short(coverage(wald, 50, np.array([0.02]))[0])} of the time" in page
    assert f"Wilson says [{short(wilson(50, 50).low)}, 1]" in page
    below = np.cumsum([comb(50, k) * 0.7**k * 0.3 ** (50 - k) for k in range(51)]) ** 20
    best = (50 - below[:-1].sum()) / 50
    assert f"each run 50 times, reads {best:.2f}.".replace("0.", ".") in page


# --- an estimate


@given(st.floats(-1e6, 1e6), st.floats(1e-5, 1e5), st.floats(1e-5, 1e5))
def test_an_estimate_shows_no_more_digits_than_its_interval_bears(value, below, above):
    e = Estimate(value, value - below, value + above, 10, "by hand")
    shown = str(e).split()[0]
    width = (value + above) - (value - below)
    places = len(shown.partition(".")[2])
    assert abs(float(shown) - value) <= 0.5 * 10.0**-places + 1e-9
    if width < 1:
        assert 10.0 ** (1 - places) <= width * (1 + 1e-9)
        assert places >= -log10(width)


def test_an_estimate_in_words_and_in_json():
    e = Estimate(0.93, 0.886, 0.958, 200, "Wilson 95 %")
    assert str(e) == "0.930 [0.886, 0.958]"
    assert Estimate(0.04, -0.02, 0.1, 9, "").text(signed=True) == "+0.04 [-0.02, +0.10]"
    assert Estimate(-0.001, -0.002, 2.0, 9, "").text(signed=True) == "+0.0 [+0.0, +2.0]"
    assert str(bootstrap([2.0])) == "2 [no interval from 1]"
    assert bootstrap([2.0]).summary()["low"] is None
    assert e.summary() == {"value": 0.93, "low": 0.886, "high": 0.958, "n": 200, "method": "Wilson 95 %"}


@pytest.mark.parametrize("bad", [(np.nan, 0, 1, 5), (0.5, 1.0, 0.0, 5), (0.5, np.nan, 1, 5), (0.5, 0, 1, 0)])
def test_an_impossible_estimate_is_refused(bad):
    with pytest.raises(ValueError):
        Estimate(*bad, "by hand")
