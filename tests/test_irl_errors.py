"""Standard errors of inverse RL: against enumeration, against simulation, and what cannot be known."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm
from scipy.stats import t as student

from understudy import irl
from understudy.irl import Fit, standard_errors
from understudy.irl.bayesian import GaussianPrior
from understudy.irl.errors import Kind, expected_spread, scores
from understudy.irl.likelihood import Likelihood, Objective
from understudy.numerics import clopper_pearson
from understudy.tabular import Demonstrations, TabularMDP, Trajectories, sample, soft_plan

fit_maxent = partial(irl.fit_maxent, objective="features")  # the dual, unless a test says otherwise

Floats = NDArray[np.float64]
TRUTH = np.array([0.8, -0.5, 0.4])
KINDS: tuple[Kind, ...] = ("sandwich", "model")
OBJECTIVES: tuple[Objective, ...] = ("features", "choices")


def world(
    discount: float = 0.9, horizon: int | None = 4, *, chance: bool = True, width: int = 3
) -> TabularMDP:
    """Five states of which the last is terminal, two actions."""
    rng = np.random.default_rng(0)
    transition = np.zeros((5, 2, 5))
    for s in range(4):
        for a in range(2):
            to = rng.choice(5, 2 if chance else 1, replace=False)
            transition[s, a, to] = rng.dirichlet(np.ones(len(to)))
    return TabularMDP.make(
        transition,
        initial=[0.4, 0.3, 0.2, 0.1, 0.0],
        discount=discount,
        horizon=horizon,
        features=rng.normal(size=(5, 2, width)),
        terminal=np.arange(5) == 4,
        feature_names=tuple("abcdefgh"[:width]),
    )


def recorded(mdp: TabularMDP, n: int, seed: int = 0, steps: int | None = None) -> Trajectories:
    return sample(mdp, soft_plan(mdp, mdp.linear(TRUTH)).policy, n, seed, steps=steps)


def everything(mdp: TabularMDP, policy: Floats) -> tuple[Trajectories, Floats]:
    """All trajectories that can happen, and their probabilities."""
    assert mdp.horizon is not None
    onward = mdp.transition.toarray().reshape(mdp.states, mdp.actions, mdp.states)
    open_, done = [(float(p), [s], []) for s, p in enumerate(mdp.initial) if p], []
    for t in range(mdp.horizon):
        longer = []
        for p, states, actions in open_:
            s = states[-1]
            for a in range(mdp.actions):
                for after in np.flatnonzero(onward[s, a]):
                    q = p * policy[t, s, a] * onward[s, a, after]
                    row = (float(q), [*states, int(after)], [*actions, a])
                    (done if mdp.terminal[after] else longer).append(row)
        open_ = longer
    rows = done + open_
    size = mdp.horizon
    states = np.array([r[1] + [-1] * (size + 1 - len(r[1])) for r in rows])
    actions = np.array([r[2] + [-1] * (size - len(r[2])) for r in rows])
    return Trajectories.of(states, actions), np.array([r[0] for r in rows])


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(("discount", "chance"), [(1.0, False), (0.8, False), (1.0, True), (0.8, True)])
def test_the_expected_spread_of_scores_is_that_over_all_trajectories(
    discount: float, chance: bool, objective: Objective
) -> None:
    mdp = world(discount, chance=chance)
    plan = soft_plan(mdp, mdp.linear(TRUTH))
    every, p = everything(mdp, plan.policy)
    assert p.sum() == pytest.approx(1, abs=1e-12)
    of = Likelihood(mdp, Demonstrations.exact(mdp, plan.policy), mdp.features, objective)
    point = of.at(TRUTH)
    each = scores(of, point, every)
    np.testing.assert_allclose(p @ each, 0, atol=1e-12)
    spread = each.T @ (p[:, None] * each)
    np.testing.assert_allclose(expected_spread(of, point), spread, rtol=1e-9, atol=1e-12)
    plain = discount == 1 and (not chance or objective == "choices")
    assert np.allclose(spread, of.information(point), rtol=1e-9) == plain  # elsewhere H⁻¹/n is wrong


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("horizon", [6, None])
@pytest.mark.parametrize("steps", [3, 6])
def test_the_scores_sum_to_the_gradient(horizon: int | None, steps: int, objective: Objective) -> None:
    """Cut demonstrations among them."""
    mdp = world(0.9, horizon)
    seen = recorded(mdp, 50, steps=steps)
    of = Likelihood(mdp, Demonstrations.of(mdp, seen), mdp.features, objective)
    point = of.at(np.array([0.1, -0.2, 0.3]))
    np.testing.assert_allclose(scores(of, point, seen).mean(0), point.gradient, atol=1e-12)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_models_covariance_is_made_of_it(objective: Objective) -> None:
    mdp = world()
    fit = fit_maxent(mdp, recorded(mdp, 200), objective=objective)
    of = Likelihood(mdp, fit.demonstrations, mdp.features, objective)
    point = of.at(fit.weights)
    inverse = np.linalg.inv(of.information(point))
    expected = inverse @ expected_spread(of, point) @ inverse / 200
    np.testing.assert_allclose(standard_errors(fit, kind="model").covariance, expected, rtol=1e-8)


def test_the_sandwich_is_what_its_name_says() -> None:
    mdp = world()
    fit = fit_maxent(mdp, recorded(mdp, 200))
    of = Likelihood(mdp, fit.demonstrations, mdp.features)
    point = of.at(fit.weights)
    assert fit.demonstrations.trajectories is not None
    spread = np.cov(scores(of, point, fit.demonstrations.trajectories).T)
    inverse = np.linalg.inv(of.information(point))
    np.testing.assert_allclose(
        standard_errors(fit).covariance, inverse @ spread @ inverse / 197 * 199 / 200, rtol=1e-8
    )


def test_errors_are_in_the_units_of_the_weights() -> None:
    mdp, units = world(), np.array([1e4, 1.0, 1e-4])
    odd = mdp.with_(features=mdp.features * units)
    seen = recorded(mdp, 100)
    for kind in KINDS:
        plain, other = (standard_errors(fit_maxent(m, seen), kind=kind).errors for m in (mdp, odd))
        np.testing.assert_allclose(other * units, plain, rtol=1e-6)


def test_intervals_are_students() -> None:
    mdp = world()
    fit = fit_maxent(mdp, recorded(mdp, 12))
    errors = standard_errors(fit)
    found = errors.interval("b", 0.9)
    assert found.value == errors.weights[1]
    assert found.high - found.value == pytest.approx(student.ppf(0.95, 9) * errors.errors[1], rel=1e-9)
    assert errors.intervals(0.9)[1] == found
    assert "90 %" in found.method
    model = standard_errors(fit, kind="model")
    found = model.interval("b", 0.9)
    assert found.high - found.value == pytest.approx(norm.ppf(0.95) * model.errors[1], rel=1e-9)
    with pytest.raises(ValueError, match="level is 1"):
        errors.interval(0, 1.0)
    with pytest.raises(ValueError, match=r"parts is \[2\]"):
        errors.combination([1.0, 1.0])
    with pytest.raises(ValueError, match="no feature is named 'z'"):
        errors.interval("z")


# ── what cannot be known ───────────────────────────────────────────────────────────────────────────────────


def doubled(mdp: TabularMDP) -> TabularMDP:
    """Features a and b, then one of each half: the halves always add up to 1. And one that is never met."""
    phi = np.asarray(mdp.features)
    half = (np.arange(10) % 3 == 0).astype(float)
    unreached = np.zeros(10)
    unreached[8:] = 1.0
    return mdp.with_(
        features=np.column_stack([phi[:, :2], half, 1 - half, unreached]),
        feature_names=("a", "b", "paved", "unpaved", "never"),
    )


def endless(discount: float = 0.9) -> TabularMDP:
    """As `world`, but nothing ends: the fifth state cannot be reached at all."""
    mdp = world(discount, 6)
    dense = mdp.transition.toarray().reshape(5, 2, 5)
    dense[:4, :, 0] += dense[:4, :, 4]
    dense[:, :, 4] = 0
    dense[4, :, 4] = 1
    return doubled(mdp.with_(transition=dense, terminal=np.zeros(5, bool), available=np.ones((5, 2), bool)))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_weights_that_change_no_policy_are_named_and_their_differences_are_known(
    objective: Objective,
) -> None:
    mdp = endless()
    policy = soft_plan(mdp, mdp.linear([0.8, -0.5, 0.3, 0.0, 0.0])).policy
    fit = fit_maxent(mdp, sample(mdp, policy, 300, 0), objective=objective)
    assert fit.converged, fit.why
    errors = standard_errors(fit)
    assert errors.unidentified == ("paved", "unpaved", "never")
    assert np.isinf(errors.errors[2:]).all()
    assert np.isfinite(errors.errors[:2]).all()
    assert errors.unknown.shape == (5, 2)
    assert np.isinf(errors.interval("paved").high)
    assert np.isinf(errors.combination([0, 0, 1, 1, 0]).high)
    difference = errors.combination([0, 0, 1, -1, 0])
    one = mdp.with_(features=np.asarray(mdp.features)[:, :3], feature_names=("a", "b", "paved"))
    alone = standard_errors(fit_maxent(one, sample(mdp, policy, 300, 0), objective=objective))
    assert difference.value == pytest.approx(alone.weights[2], abs=1e-6)
    assert difference.high - difference.low == pytest.approx(
        alone.interval(2).high - alone.interval(2).low, rel=1e-5
    )


def test_the_weights_move_along_unknown_directions_without_changing_a_policy() -> None:
    mdp = endless()
    policy = soft_plan(mdp, mdp.linear([0.8, -0.5, 0.3, 0.0, 0.0])).policy
    fit = fit_maxent(mdp, sample(mdp, policy, 300, 0))
    errors = standard_errors(fit)
    for direction in errors.unknown.T / errors.scale:
        moved = soft_plan(mdp, mdp.linear(fit.weights + 5 * direction)).policy
        np.testing.assert_allclose(moved[:, :4], fit.policy[:, :4], atol=1e-10)


def test_a_penalty_does_not_make_known_what_demonstrations_cannot_know() -> None:
    mdp = endless()
    policy = soft_plan(mdp, mdp.linear([0.8, -0.5, 0.3, 0.0, 0.0])).policy
    fit = fit_maxent(mdp, sample(mdp, policy, 300, 0), l2=0.01)
    assert standard_errors(fit).unidentified == ("paved", "unpaved", "never")


@pytest.mark.parametrize("kind", KINDS)
def test_a_prior_that_is_sure_leaves_no_error(kind: Kind) -> None:
    mdp, seen = world(), recorded(world(), 50)
    free = standard_errors(fit_maxent(mdp, seen), kind=kind)
    loose = standard_errors(fit_maxent(mdp, seen, prior=GaussianPrior(1e4)), kind=kind)
    np.testing.assert_allclose(loose.errors, free.errors, rtol=1e-5)
    assert standard_errors(fit_maxent(mdp, seen, prior=GaussianPrior(1e-3)), kind=kind).errors.max() < 1e-3


# ── coverage ───────────────────────────────────────────────────────────────────────────────────────────────


def covered(fits: list[Fit], kind: Kind) -> int:
    return sum(
        interval.low <= truth <= interval.high
        for fit in fits
        for interval, truth in zip(standard_errors(fit, kind=kind).intervals(), TRUTH, strict=True)
    )


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_intervals_cover_the_true_weights(objective: Objective) -> None:
    """150 datasets of 80 demonstrations, seeds 0 to 149: false alarm 1e-6 by the number of the 450 intervals.

    The three weights of a dataset are dependent, so that the number is taken to vary as if there were 150.
    """
    mdp = world(0.9, 6)
    fits = [fit_maxent(mdp, recorded(mdp, 80, seed), objective=objective) for seed in range(150)]
    assert all(fit.converged for fit in fits)
    for kind in KINDS:
        rate = covered(fits, kind) / 450
        assert abs(rate - 0.95) < norm.isf(5e-7) * np.sqrt(0.95 * 0.05 / 150)


def test_the_plain_inverse_would_not_cover_where_dynamics_are_chancy() -> None:
    """H⁻¹/n beside the sandwich, of the same 150 datasets: the upper bound of its coverage is below 0.93."""
    mdp = lottery()
    inside = 0
    for seed in range(150):
        fit = fit_maxent(mdp, sample(mdp, soft_plan(mdp, mdp.linear([0.5])).policy, 60, seed))
        of = Likelihood(mdp, fit.demonstrations, mdp.features)
        plain = 1 / np.sqrt(of.information(of.at(fit.weights))[0, 0] * 60)
        inside += bool(abs(fit.weights[0] - 0.5) < 1.96 * plain)
    assert clopper_pearson(inside, 150, 0.999).high < 0.93


def lottery() -> TabularMDP:
    """A choice that matters a little, and luck that matters much: where one lands has the same feature."""
    transition = np.zeros((4, 2, 4))
    transition[0, 0, [1, 2]] = 0.8, 0.2
    transition[0, 1, [1, 2]] = 0.2, 0.8
    transition[1:3, :, 3] = 1
    features = np.zeros((4, 2, 1))
    features[1] = 1
    return TabularMDP.make(
        transition, initial=[1.0, 0, 0, 0], discount=1.0, horizon=2, features=features,
        terminal=[False, False, False, True],
    )  # fmt: skip


def test_choices_are_more_precise_than_features_where_luck_plays() -> None:
    """The ratio of the errors that the model expects: all of the dynamics' luck is noise to "features"."""
    mdp = lottery()
    seen = sample(mdp, soft_plan(mdp, mdp.linear([0.5])).policy, 2000, 0)
    features, choices = (
        standard_errors(fit_maxent(mdp, seen, objective=o), kind="model").errors[0] for o in OBJECTIVES
    )
    assert features > 1.5 * choices


# ── refusals ───────────────────────────────────────────────────────────────────────────────────────────────


def test_what_has_no_standard_error_is_refused() -> None:
    mdp = world(0.9, None)
    seen = recorded(mdp, 40, steps=200)
    with pytest.raises(ValueError, match="exact demonstrations"):
        standard_errors(fit_maxent(mdp, Demonstrations.exact(mdp, soft_plan(mdp, mdp.linear(TRUTH)).policy)))
    with pytest.raises(ValueError, match="did not converge"):
        standard_errors(fit_maxent(mdp, seen, iterations=1))
    with pytest.raises(ValueError, match="l1"):
        standard_errors(fit_maxent(mdp, seen, l1=0.01))
    with pytest.raises(ValueError, match="kind is 'bootstrap'"):
        standard_errors(fit_maxent(mdp, seen), kind="bootstrap")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="two at least"):
        standard_errors(fit_maxent(mdp, seen.select([0]), l2=1.0))
    some = fit_maxent(mdp, recorded(mdp, 1000, steps=200))
    few = replace(some, demonstrations=Demonstrations.of(mdp, seen.select(range(3))))
    with pytest.raises(ValueError, match="3 demonstrations for 3 weights"):
        standard_errors(few)
    cut = fit_maxent(mdp, recorded(mdp, 400, steps=2), objective="choices")
    assert np.isfinite(standard_errors(cut).errors).all()
    with pytest.raises(ValueError, match="cut off"):
        standard_errors(cut, kind="model")
