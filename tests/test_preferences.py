"""Preferences in words, and what one is worth in another: verdicts, directions, and coverage of ratios."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from scipy.sparse import csr_array

from understudy.irl.preferences import Weights, feature_ranges
from understudy.irl.tradeoffs import fieller, trade_off, trade_offs
from understudy.numerics import wilson
from understudy.tabular import TabularMDP

Z = 1.959963984540054
NAMES = ("kilometres", "toll", "sun", "bias")


def weights(values, errors, **more) -> Weights:
    k = len(values)
    more.setdefault("ranges", np.ones(k))
    covariance = None if errors is None else np.diag(np.square(errors))
    return Weights(NAMES[:k], np.array(values, float), n=50, covariance=covariance, **more)


def test_sentences_say_sign_unit_and_interval_largest_effect_first() -> None:
    told = weights(
        [-0.41, 1.0, 0.002],
        [0.02, 0.2, 0.001 * 2],
        ranges=np.array([10.0, 1.0, 1.0]),
        units={"kilometres": "km"},
        phrases={"kilometres": ("prefers longer paths", "prefers shorter paths")},
    )
    assert told.sentences() == [
        ("negative", "prefers shorter paths: −0.410 per km, 95 % interval [−0.449, −0.371]"),
        ("positive", "prefers toll: 1.00, 95 % interval [0.61, 1.39]"),
        (
            "indifferent",
            "indifferent to sun: 0.0020, 95 % interval [−0.0019, 0.0059]; it holds 0 and nothing large",
        ),
    ]


@pytest.mark.parametrize(
    ("value", "error", "verdict"),
    [(1.0, 0.4, "positive"), (-1.0, 0.4, "negative"), (1.0, 0.6, "unclear"), (0.01, 0.03, "indifferent")],
)
def test_verdicts_follow_from_the_interval(value: float, error: float, verdict: str) -> None:
    found = {p.name: p for p in weights([5.0, value], [0.1, error]).preferences()}
    assert found["toll"].verdict == verdict


def test_a_weight_without_an_interval_says_so() -> None:
    (_, line), *_ = weights([2.0, -1.0], None).sentences()
    assert line == "prefers kilometres: 2, without an interval"
    assert weights([0.0], None).preferences()[0].verdict == "indifferent"


def test_intervals_are_of_the_estimates_own_distribution() -> None:
    normal, t = weights([1.0], [0.5]), weights([1.0], [0.5], degrees=4)
    assert normal.estimates()[0].high == pytest.approx(1 + 0.5 * Z)
    assert t.estimates()[0].high == pytest.approx(1 + 0.5 * 2.7764451051977987)  # tables of Student's t
    draws = np.random.default_rng(0).normal(size=(999, 1))
    found = Weights(("a",), np.zeros(1), np.ones(1), 9, draws=draws).estimates()[0]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])))


def test_many_unclear_weights_are_one_sentence() -> None:
    names = tuple(f"cell {i}" for i in range(30))
    values = np.linspace(-0.1, 0.1, 30)
    values[7] = 5.0
    found = Weights(names, values, np.ones(30), 10, covariance=np.eye(30) * 0.25)
    kinds, lines = zip(*found.sentences(), strict=True)
    assert kinds == ("positive", "unclear")
    assert lines[1].startswith("no preference shown about cell 0, cell 29, ")
    assert lines[1].endswith("and 25 others: each interval holds 0")


def test_only_so_many_sentences_and_how_many_more() -> None:
    k = 20
    found = Weights(
        tuple(f"f{i}" for i in range(k)), np.arange(1.0, k + 1), np.ones(k), 5, covariance=np.eye(k) * 1e-4
    )
    lines = found.sentences(most=3)
    assert [kind for kind, _ in lines] == ["positive", "positive", "positive", "more"]
    assert lines[0][1].startswith("prefers f19")
    assert lines[-1][1] == "17 more preferences with smaller effects"


def test_what_is_not_identified_is_told_apart() -> None:
    one = weights([1.0, 2.0, 3.0, 4.0], [0.1] * 4, unidentified=np.eye(4)[:, 3:])
    found = {p.name: p.verdict for p in one.preferences()}
    assert found == {"sun": "positive", "toll": "positive", "kilometres": "positive", "bias": "unidentified"}
    assert one.sentences()[-1] == ("unidentified", "not identified: bias")
    every = weights([1.0, 2.0, 3.0, 6.0], [0.1] * 4, unidentified=np.full((4, 1), 0.5))
    assert every.sentences()[-1][1] == "not identified: the sum of all 4 features"
    np.testing.assert_allclose(every.told(), [-2, -1, 0, 3])  # relative to their mean
    some = np.zeros((4, 1))
    some[[0, 2], 0] = sqrt(0.5)
    assert (
        weights([1, 2, 3, 4], None, unidentified=some).sentences()[-1][1]
        == "not identified: the sum of kilometres and sun"
    )
    two = weights([1, 2, 3, 4], None, unidentified=np.eye(4)[:, [3, 1]])
    assert [line for kind, line in two.sentences() if kind == "unidentified"] == [
        "not identified: toll and bias"
    ]
    mixed = np.array([[0.8], [-0.6], [0.0], [0.0]])
    assert (
        weights([1, 2, 3, 4], None, unidentified=mixed).sentences()[-1][1]
        == "not identified: +0.80 kilometres −0.60 toll …"
    )


def test_projection_does_not_change_what_rewards_distinguish() -> None:
    random = np.random.default_rng(1)
    scale = random.uniform(0.5, 3.0, 4)
    flat = np.linalg.qr(random.normal(size=(4, 1)))[0]
    w = Weights(
        NAMES, random.normal(size=4), np.ones(4), 5, covariance=np.eye(4), unidentified=flat, scale=scale
    )
    moved = Weights(
        NAMES,
        w.values + 7 * flat[:, 0] / scale,
        np.ones(4),
        5,
        covariance=np.eye(4),
        unidentified=flat,
        scale=scale,
    )
    np.testing.assert_allclose(w.told(), moved.told(), atol=1e-12)
    np.testing.assert_allclose(flat[:, 0] @ (w.told() * scale), 0, atol=1e-12)
    again = Weights(NAMES, w.told(), np.ones(4), 5, covariance=w.spread(), unidentified=flat, scale=scale)
    np.testing.assert_allclose(again.told(), w.told(), atol=1e-12)
    np.testing.assert_allclose(again.spread(), w.spread(), atol=1e-12)


def test_ranges_are_over_steps_that_exist() -> None:
    moves = np.zeros((2, 2, 2))
    moves[0, 0, 1] = moves[0, 1, 0] = 1
    phi = np.array([[[1.0, 0.0], [4.0, 0.0]], [[9.0, 9.0], [9.0, 9.0]]])  # nothing is done in the last state
    args = {"initial": [1.0, 0.0], "discount": 0.9, "horizon": None, "terminal": np.array([False, True])}
    dense = TabularMDP.make(moves, features=phi, **args)
    sparse = TabularMDP.make(moves, features=csr_array(phi.reshape(4, 2)), **args)
    for world in (dense, sparse):
        np.testing.assert_array_equal(feature_ranges(world), [3.0, 0.0])


@pytest.mark.parametrize(
    ("more", "rule"),
    [
        ({"covariance": np.eye(3)}, "covariance has shape"),
        ({"unidentified": np.ones((3, 1))}, "unidentified has shape"),
        ({"draws": np.ones((5, 3))}, "draws has shape"),
        ({"covariance": np.full((2, 2), np.nan)}, "not finite"),
        ({"level": 1.0}, "level is 1"),
    ],
)
def test_what_does_not_fit_is_refused(more, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        Weights(("a", "b"), np.zeros(2), np.ones(2), 5, **more)


# Ratios


@pytest.mark.parametrize("mean", [(1.0, 4.0), (3.0, 1.0), (0.5, 0.6), (-2.0, 0.2), (0.0, 3.0)])
def test_fieller_covers_the_true_ratio(mean: tuple[float, float]) -> None:
    """20 000 normal pairs each; the Wilson interval of the coverage, at 99.9 %, holds 95 %."""
    covariance = np.array([[0.3, 0.15], [0.15, 0.4]])
    drawn = np.random.default_rng(5).multivariate_normal(mean, covariance, 20_000)
    truth = mean[0] / mean[1]
    held = sum(fieller(a, b, 0.3, 0.4, 0.15, quantile=Z).holds(truth) for a, b in drawn)
    rate = wilson(held, 20_000, level=0.999)
    assert rate.low <= 0.95 <= rate.high


def test_fieller_by_hand() -> None:
    found = fieller(2.0, 4.0, 0.04, 0.0, 0.0, quantile=2.0)  # b is known: an interval of a, divided by it
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.4, 0.6))
    assert found.text() == "0.5 [0.4, 0.6]"
    ends = fieller(2.0, 4.0, 0.3, 0.4, 0.1, quantile=1.5)
    for x in (ends.low, ends.high):  # the ends are where the test just rejects
        assert abs(2 - x * 4) == pytest.approx(1.5 * sqrt(0.3 - 2 * x * 0.1 + x * x * 0.4))


def test_a_weight_that_may_be_0_bounds_no_ratio() -> None:
    outside = fieller(5.0, 0.5, 0.1, 1.0, 0.0, quantile=2.0)
    assert outside.kind == "outside"
    assert outside.holds(outside.value)
    assert not outside.holds((outside.low + outside.high) / 2)
    everything = fieller(0.1, 0.1, 1.0, 1.0, 0.0, quantile=2.0)
    assert everything.kind == "everything"
    assert everything.holds(-1e9)
    assert "no interval bounds it" in everything.text()


def test_trade_offs_are_in_the_unit_that_is_known_best() -> None:
    w = weights([-2.0, -1.0, 0.5, 0.0], [0.1, 0.2, 0.1, 1.0], units={"kilometres": "km"})
    lines = trade_offs(w)
    assert [line.split(" [")[0] for line in lines] == [
        "1 toll counts as much as 0.5",
        "1 sun makes up for 0.25",
    ]
    assert all(line.endswith("km") for line in lines)
    ratio = trade_off(w, "toll", "kilometres")
    same = fieller(-1.0, -2.0, 0.2**2, 0.1**2, 0.0, quantile=Z)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((same.value, same.low, same.high))
    assert trade_offs(weights([-2.0, -1.0], None)) == []
    assert trade_offs(weights([-2.0, -1.0], [0.1, 0.1])) == []  # nothing to count in


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda: fieller(1, 0, 1, 1, 0, quantile=2), "ratio to a weight of 0"),
        (lambda: fieller(1, 1, 1, 1, 2, quantile=2), "make no covariance"),
        (lambda: trade_off(weights([1.0, 2.0], [1, 1]), "rain", "toll"), "none of the features"),
        (lambda: trade_off(weights([1.0, 2.0], None), "toll", "kilometres"), "without errors"),
        (
            lambda: trade_off(
                weights([1.0, 2.0], [1, 1], unidentified=np.eye(2)[:, :1]), "toll", "kilometres"
            ),
            "'kilometres' is not identified",
        ),
    ],
)
def test_a_ratio_that_means_nothing_is_refused(call, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        call()
