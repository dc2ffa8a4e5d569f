"""Maximum causal entropy IRL: its likelihood against enumeration and differences, and its fits."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import exp, log

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import chi2

from understudy import irl
from understudy.irl import Fit, standard_errors
from understudy.irl.bayesian import GaussianPrior
from understudy.irl.likelihood import Likelihood, Objective
from understudy.irl.maxent import Progress
from understudy.irl.trust_region import dense_step, product_step
from understudy.tabular import (
    Demonstrations,
    TabularMDP,
    Trajectories,
    expected_return,
    hard_plan,
    occupancy,
    sample,
    soft_plan,
)

fit_maxent = partial(irl.fit_maxent, objective="features")  # the dual, unless a test says otherwise

Floats = NDArray[np.float64]
DISCOUNTS = [
    pytest.param(discount, horizon, id=f"{discount}-{horizon}")
    for discount in (1.0, 0.99, 0.9, 0.7)
    for horizon in (8, None)
    if horizon or discount < 1  # without end the sum needs a discount
]
TRUTH = np.array([1.0, -0.8, 0.5, 0.3])


def world(
    discount: float = 0.9,
    horizon: int | None = 8,
    *,
    seed: int = 0,
    states: int = 6,
    chance: bool = True,
    ends: bool = True,
) -> TabularMDP:
    """Random, three actions, four features; the last state is terminal, and state 1 has no action 2."""
    rng = np.random.default_rng(seed)
    transition = np.zeros((states, 3, states))
    for s in range(states - ends):
        for a in range(3):
            to = rng.choice(states, 3 if chance else 1, replace=False)
            transition[s, a, to] = rng.dirichlet(np.ones(len(to)))
    transition[1, 2] = 0
    initial = np.array([0.5, 0.3, 0.2] + [0.0] * (states - 3))
    return TabularMDP.make(
        transition,
        initial=initial,
        discount=discount,
        horizon=horizon,
        features=rng.normal(size=(states, 3, 4)),
        terminal=(np.arange(states) == states - 1) & ends,
        feature_names=("a", "b", "c", "d"),
    )


def expert(mdp: TabularMDP, weights: Floats = TRUTH) -> Floats:
    return soft_plan(mdp, mdp.linear(weights)).policy


def recorded(mdp: TabularMDP, n: int, seed: int = 0, steps: int | None = None) -> Trajectories:
    return sample(mdp, expert(mdp), n, seed, steps=steps)


def likelihood(
    mdp: TabularMDP, demonstrations: Demonstrations, objective: Objective = "features"
) -> Likelihood:
    return Likelihood(mdp, demonstrations, mdp.features, objective)


def differences(function, at: Floats, step: float = 0.02) -> Floats:
    """Central differences of order 8: what they leave out is of the order step^8."""
    rows = []
    for direction in np.eye(len(at)) * step:
        parts = ((1, 4 / 5), (2, -1 / 5), (3, 4 / 105), (4, -1 / 280))
        rows.append(sum(c * (function(at + k * direction) - function(at - k * direction)) for k, c in parts))
    return np.array(rows) / step


def distance(a: Floats, b: Floats) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max())


# ── the likelihood ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("objective", ["features", "choices"])
@pytest.mark.parametrize("kind", ["exact", "sampled", "cut"])
@pytest.mark.parametrize(("discount", "horizon"), DISCOUNTS)
def test_the_gradient_is_the_derivative_of_the_log_likelihood(
    discount: float, horizon: int | None, kind: str, objective: Objective
) -> None:
    mdp = world(discount, horizon)
    if kind == "exact":
        demo = Demonstrations.exact(mdp, expert(mdp))
    else:
        demo = Demonstrations.of(mdp, recorded(mdp, 40, steps=4 if kind == "cut" else (horizon or 999)))
        assert (demo.cuts is not None) == (kind == "cut")
    of, at = likelihood(mdp, demo, objective), np.array([0.3, 0.4, -0.6, 0.9])
    assert distance(of.at(at).gradient, differences(lambda w: of.at(w).value, at)) < 1e-8


def paths(mdp: TabularMDP, policy: Floats, s: int, t: int) -> Iterator[tuple[float, list[tuple[int, int]]]]:
    """All that can happen from s at t on: its probability, and the states and actions."""
    if t == mdp.horizon or mdp.terminal[s]:
        yield 1.0, []
        return
    onward = mdp.transition.toarray().reshape(mdp.states, mdp.actions, mdp.states)
    for a in range(mdp.actions):
        for after in np.flatnonzero(onward[s, a]):
            for chance, rest in paths(mdp, policy, int(after), t + 1):
                yield policy[t, s, a] * onward[s, a, after] * chance, [(s, a), *rest]


def ahead(mdp: TabularMDP, reward: Floats, s: int, t: int) -> tuple[float, dict[int, float]]:
    """V and Q of one state at one time by plain recursion, as the definition has it."""
    if t == mdp.horizon or mdp.terminal[s]:
        return 0.0, {}
    onward = mdp.transition.toarray().reshape(mdp.states, mdp.actions, mdp.states)
    q = {
        a: reward[s, a]
        + mdp.discount
        * sum(onward[s, a, n] * ahead(mdp, reward, n, t + 1)[0] for n in np.flatnonzero(onward[s, a]))
        for a in range(mdp.actions)
        if mdp.available[s, a]
    }
    return log(sum(exp(x) for x in q.values())), q


@pytest.mark.parametrize("discount", [1.0, 0.9])
def test_the_likelihood_is_that_of_all_trajectories_one_by_one(discount: float) -> None:
    mdp = world(discount, 3, states=4)
    policy, weights = expert(mdp), np.array([0.3, 0.4, -0.6, 0.9])
    reward = mdp.linear(weights)
    logs = {}
    for t in range(3):
        for s in range(3):
            value, q = ahead(mdp, reward, s, t)
            logs |= {(t, s, a): x - value for a, x in q.items()}
    total = mass = 0.0
    for s in np.flatnonzero(mdp.initial):
        for chance, steps in paths(mdp, policy, int(s), 0):
            chance *= mdp.initial[s]
            mass += chance
            total += chance * sum(discount**t * logs[t, s, a] for t, (s, a) in enumerate(steps))
    assert mass == pytest.approx(1, abs=1e-12)
    found = likelihood(mdp, Demonstrations.exact(mdp, policy)).at(weights)
    assert found.value == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("objective", ["features", "choices"])
@pytest.mark.parametrize(("discount", "horizon"), DISCOUNTS)
def test_the_second_derivatives_are_exact(discount: float, horizon: int | None, objective: Objective) -> None:
    mdp = world(discount, horizon)
    at, v = np.array([0.3, 0.4, -0.6, 0.9]), np.array([1.0, -2.0, 0.5, 0.1])
    for demo in (
        Demonstrations.exact(mdp, expert(mdp)),
        Demonstrations.of(mdp, recorded(mdp, 20, steps=5)),
    ):
        of = likelihood(mdp, demo, objective)
        information = of.information(of.at(at))
        assert distance(-information, differences(lambda w, of=of: of.at(w).gradient, at)) < 1e-8
        np.testing.assert_allclose(of.curvature(of.at(at))(v), information @ v, rtol=1e-10)


@pytest.mark.parametrize(("discount", "horizon"), DISCOUNTS)
@pytest.mark.parametrize("steps", [3, 8])
def test_the_likelihood_of_choices_is_the_sum_of_their_logarithms(
    discount: float, horizon: int | None, steps: int
) -> None:
    """Cut short or not: decisions that were not seen do not count."""
    mdp, weights = world(discount, horizon), np.array([0.3, 0.4, -0.6, 0.9])
    demo = Demonstrations.of(mdp, recorded(mdp, 30, steps=steps))
    assert demo.trajectories is not None
    plan = soft_plan(mdp, mdp.linear(weights))
    _, when, state, action = demo.trajectories.steps()
    each = plan.policy[state, action] if horizon is None else plan.policy[when, state, action]
    found = likelihood(mdp, demo, "choices").at(weights).value
    assert found == pytest.approx(float((discount**when * np.log(each)).sum() / 30), rel=1e-11)


def test_both_objectives_are_one_without_chance_and_for_exact_demonstrations() -> None:
    at = np.array([0.3, 0.4, -0.6, 0.9])
    sure, chancy = world(0.9, None, chance=False), world(0.9, 8)
    for mdp, demo in (
        (sure, Demonstrations.of(sure, recorded(sure, 20, steps=5))),
        (chancy, Demonstrations.exact(chancy, expert(chancy))),
    ):
        one, other = (likelihood(mdp, demo, kind).at(at) for kind in ("features", "choices"))
        assert one.value == pytest.approx(other.value, rel=1e-11)
        np.testing.assert_allclose(one.gradient, other.gradient, atol=1e-11)


@pytest.mark.parametrize("horizon", [8, None])
def test_the_likelihood_of_whole_demonstrations_is_concave_everywhere(horizon: int | None) -> None:
    mdp, rng = world(0.9, horizon), np.random.default_rng(0)
    of = likelihood(mdp, Demonstrations.exact(mdp, expert(mdp)))
    for size in (0.1, 1, 10, 100):
        values = np.linalg.eigvalsh(of.information(of.at(size * rng.normal(size=4))))
        assert values.min() > -1e-12 * values.max()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("discount", [1.0, 0.9])
def test_planning_without_the_discount_or_counting_a_step_too_many_would_be_seen(
    discount: float, seed: int
) -> None:
    """The two faults of the most used implementation are 10⁵ times what the gradient's test allows."""
    mdp, at = world(discount, 8, seed=seed, ends=False), np.array([0.3, 0.4, -0.6, 0.9])
    demo = Demonstrations.exact(mdp, expert(mdp))
    truth = differences(lambda w: likelihood(mdp, demo).at(w).value, at)
    undiscounted = soft_plan(mdp.with_(discount=1.0), mdp.linear(at)).policy
    wrong = distance(mdp.counts(demo.visits - occupancy(mdp, undiscounted)), truth)
    assert wrong < 1e-8 if discount == 1 else wrong > 1e-3
    policy = soft_plan(mdp, mdp.linear(at)).policy
    longer = occupancy(mdp.with_(horizon=9), np.concatenate([policy, policy[-1:]]))
    assert distance(mdp.counts(demo.visits - longer), truth) > 1e-2


# ── fits ───────────────────────────────────────────────────────────────────────────────────────────────────


def variation(mdp: TabularMDP, a: Floats, b: Floats) -> float:
    """The largest total variation between two policies, over all states and times that can be reached."""
    if mdp.horizon is None:
        there = occupancy(mdp, a).sum(1) > 0
        return float(np.abs(a - b)[there].sum(1).max() / 2)
    mass, worst = mdp.initial, 0.0
    for t in range(mdp.horizon):
        there = (mass > 0) & ~mdp.terminal
        worst = max(worst, float(np.abs(a[t] - b[t])[there].sum(1).max() / 2))
        mass = np.ravel(mass[:, None] * a[t]) @ mdp.transition
    return worst


@pytest.mark.parametrize(("discount", "horizon"), DISCOUNTS)
def test_exact_demonstrations_give_back_their_policy(discount: float, horizon: int | None) -> None:
    mdp = world(discount, horizon)
    policy = expert(mdp)
    fit = fit_maxent(mdp, Demonstrations.exact(mdp, policy))
    assert fit.converged
    assert fit.gradient_norm <= 1e-8
    assert np.abs(occupancy(mdp, fit.policy) - occupancy(mdp, policy)).max() < 1e-7
    assert variation(mdp, fit.policy, policy) < 1e-6
    np.testing.assert_allclose(fit.weights, TRUTH, atol=1e-6)
    np.testing.assert_allclose(fit.reward, mdp.linear(fit.weights), atol=1e-12)


@pytest.mark.parametrize("horizon", [8, None])
def test_one_indicator_a_state_gives_back_the_policy_though_weights_are_not_unique(
    horizon: int | None,
) -> None:
    mdp = world(0.9, horizon).with_(features=None, feature_names=())
    policy = expert(mdp, np.random.default_rng(1).normal(size=6))
    fit = fit_maxent(mdp, Demonstrations.exact(mdp, policy))
    assert fit.converged
    assert np.abs(occupancy(mdp, fit.policy) - occupancy(mdp, policy)).max() < 1e-7
    assert variation(mdp, fit.policy, policy) < 1e-6


def test_features_of_very_different_size_are_no_harder() -> None:
    mdp = world(0.9, 8)
    units = np.array([1e5, 1.0, 1e-5, 1e-2])
    odd = mdp.with_(features=mdp.features * units)
    demo = recorded(mdp, 100)
    plain, fit = fit_maxent(mdp, demo), fit_maxent(odd, demo)
    assert fit.converged
    assert fit.iterations == plain.iterations
    np.testing.assert_allclose(fit.weights * units, plain.weights, rtol=1e-6)
    np.testing.assert_allclose(fit.feature_gap / units, plain.feature_gap, atol=1e-8)


def test_a_feature_with_a_large_offset_and_one_that_is_nearly_another_are_found_too() -> None:
    mdp = world(1.0, 8, seed=3)
    flat = mdp.features.reshape(-1, 4).copy()
    flat[:, 3] = flat[:, 2] + 1e-3 * flat[:, 3]
    flat[:, 1] += 1000
    hard = mdp.with_(features=flat, horizon=6)
    weights = np.array([0.5, -0.4, 2.0, -1.5])
    fit = fit_maxent(hard, Demonstrations.exact(hard, expert(hard, weights)))
    assert fit.converged
    np.testing.assert_allclose(fit.weights, weights, atol=1e-4)


def test_the_start_does_not_matter_and_progress_is_told() -> None:
    mdp, told = world(), []
    demo = recorded(mdp, 50)
    fit = fit_maxent(mdp, demo, progress=told.append)
    again = fit_maxent(mdp, demo, start=[3.0, 3.0, -3.0, 3.0])
    np.testing.assert_allclose(again.weights, fit.weights, atol=1e-6)
    assert [p.iteration for p in told] == list(range(1, fit.iterations + 1))
    assert all(isinstance(p, Progress) for p in told)
    assert told[-1].slope == fit.gradient_norm
    assert told[-1].value == max(p.value for p in told)


def test_a_limit_of_iterations_is_kept_and_said() -> None:
    mdp = world()
    fit = fit_maxent(mdp, recorded(mdp, 50), iterations=2)
    assert fit.iterations == 2
    assert not fit.converged
    assert "stopped after 2 iterations" in fit.why


@pytest.mark.parametrize("horizon", [8, None])
def test_an_expert_who_leaves_nothing_to_chance_has_no_finite_reward(horizon: int | None) -> None:
    mdp = world(0.9, horizon, chance=False)
    best = Demonstrations.exact(mdp, hard_plan(mdp, mdp.linear(TRUTH)).policy)
    fit = fit_maxent(mdp, best)
    assert not fit.converged
    assert "run off to infinity" in fit.why
    assert "luckier" not in fit.why
    held = fit_maxent(mdp, best, l2=0.01)
    assert held.converged
    assert expected_return(mdp, held.policy, mdp.linear(TRUTH)) > 0.9 * expected_return(
        mdp, hard_plan(mdp, mdp.linear(TRUTH)).policy, mdp.linear(TRUTH)
    )


def test_a_state_that_nobody_visited_is_named_as_what_runs_off() -> None:
    mdp = world(1.0, 4).with_(features=None, feature_names=tuple("uvwxyz"))
    policy = expert(mdp, np.zeros(6)).copy()
    seen = sample(mdp, policy, 400, 0)
    keep = seen.select(~(seen.states == 4).any(1))
    fit = fit_maxent(mdp, keep)
    assert not fit.converged
    assert "(y" in fit.why


def test_more_weights_than_second_derivatives_are_formed_for() -> None:
    """A 20 × 20 grid with an indicator a cell: products with the second derivatives take their place."""
    mdp = grid(20, 30)
    weights = np.random.default_rng(0).normal(size=400) / 2
    policy = soft_plan(mdp, mdp.linear(weights)).policy
    fit = fit_maxent(mdp, Demonstrations.exact(mdp, policy), l2=1e-4)
    assert fit.converged
    np.testing.assert_allclose(fit.feature_gap, 1e-4 * fit.weights, atol=1e-8)
    free = fit_maxent(mdp, Demonstrations.exact(mdp, policy), tolerance=1e-6)
    assert free.converged
    assert np.abs(occupancy(mdp, free.policy) - occupancy(mdp, policy)).max() < 1e-5


@pytest.mark.parametrize("horizon", [8, None])
def test_products_with_the_second_derivatives_lead_where_the_matrix_does(
    horizon: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    mdp = world(0.9, horizon)
    best = Demonstrations.exact(mdp, hard_plan(mdp, mdp.linear(TRUTH)).policy)
    seen = recorded(mdp, 300, steps=horizon or 100)

    def fits() -> list[Fit]:
        return [
            fit_maxent(mdp, seen, objective="choices", tolerance=1e-13),
            fit_maxent(mdp, seen, objective="choices", l2=0.02),
            fit_maxent(mdp, seen, objective="choices", l1=0.02),
            fit_maxent(mdp, best),
        ]

    dense = fits()
    monkeypatch.setattr("understudy.irl.maxent.DENSE", 0)
    products = fits()
    for one, other in zip(dense[:3], products[:3], strict=True):
        assert one.converged
        assert other.converged
        np.testing.assert_allclose(other.weights, one.weights, atol=1e-6)
    assert not dense[3].converged
    assert not products[3].converged


def grid(side: int, horizon: int, discount: float = 0.95, features: object = None) -> TabularMDP:
    """Four moves, of which one in five goes another way; sparse."""
    rows, cols, values = [], [], []
    moves = ((0, 1), (1, 0), (0, -1), (-1, 0))
    for s in range(side * side):
        r, c = divmod(s, side)
        to = [min(max(r + i, 0), side - 1) * side + min(max(c + j, 0), side - 1) for i, j in moves]
        for a in range(4):
            rows += [4 * s + a] * 4
            cols += to
            values += [0.05 + 0.8 * (a == b) for b in range(4)]
    transition = csr_array((values, (rows, cols)), shape=(4 * side * side, side * side))
    initial = np.full(side * side, 1 / side**2)
    return TabularMDP.make(transition, initial=initial, discount=discount, horizon=horizon, features=features)


def test_a_big_sparse_world() -> None:
    side = 60
    places = np.indices((side, side)).reshape(2, -1).T / side
    features = np.column_stack([places, np.exp(-20 * ((places - 0.7) ** 2).sum(1))])
    mdp = grid(side, 60, features=features)
    policy = soft_plan(mdp, mdp.linear([0.5, -0.3, 2.0])).policy
    fit = fit_maxent(mdp, Demonstrations.exact(mdp, policy))
    assert fit.converged
    np.testing.assert_allclose(fit.weights, [0.5, -0.3, 2.0], atol=1e-5)


def test_steps_gain_most_within_their_radius() -> None:
    """Against the best of many points on the sphere, and inside where the maximum lies there."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    slope = rng.normal(size=3)
    sphere = rng.normal(size=(200_000, 3))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    for values in ((1.0, 2.0, 3.0), (-1.0, 0.5, 2.0), (1e-12, 1.0, 2.0)):
        curvature = turn @ np.diag(values) @ turn.T
        for radius in (0.1, 1.0, 100.0):
            points = radius * sphere
            best = float((points @ slope - 0.5 * ((points @ curvature) * points).sum(1)).max())
            step, gain = dense_step(curvature, slope, radius)
            assert np.linalg.norm(step) <= radius * 1.02
            assert gain == pytest.approx(slope @ step - 0.5 * step @ curvature @ step, rel=1e-9)
            assert gain >= best - 0.02 * abs(best)
            other, gained = product_step(lambda x, c=curvature: c @ x, slope, radius)
            assert np.linalg.norm(other) <= radius * 1.0001
            assert gained == pytest.approx(slope @ other - 0.5 * other @ curvature @ other, rel=1e-9)
            assert 0 < gained <= gain * 1.03
    np.testing.assert_allclose(
        dense_step(np.diag([1.0, 2.0, 4.0]), slope, 10.0)[0], slope / [1, 2, 4], rtol=1e-12
    )


# ── penalties ──────────────────────────────────────────────────────────────────────────────────────────────


def slopes(mdp: TabularMDP, fit: Fit) -> Floats:
    """The likelihood's gradient at a fit's weights, computed apart."""
    return likelihood(mdp, fit.demonstrations).at(fit.weights).gradient


def test_l2_pulls_as_hard_as_the_demonstrations_push() -> None:
    mdp = world()
    fit = fit_maxent(mdp, recorded(mdp, 50), l2=0.3)
    np.testing.assert_allclose(slopes(mdp, fit), 0.3 * fit.weights, atol=1e-7)


def test_a_prior_weighs_as_one_against_the_number_of_demonstrations() -> None:
    mdp, mean, scale = world(), np.array([0.0, 1.0, 2.0, -1.0]), np.array([1.0, 0.5, 2.0, 0.1])
    demo = recorded(mdp, 25)
    fit = fit_maxent(mdp, demo, prior=GaussianPrior(scale, mean))
    np.testing.assert_allclose(25 * slopes(mdp, fit), (fit.weights - mean) / scale**2, atol=1e-6)
    sure = fit_maxent(mdp, demo, prior=GaussianPrior(1e-5, mean))
    np.testing.assert_allclose(sure.weights, mean, atol=1e-6)
    both = fit_maxent(mdp, demo, prior=GaussianPrior(scale, mean), l2=0.2)
    pull = (both.weights - mean) / scale**2 / 25 + 0.2 * both.weights
    np.testing.assert_allclose(slopes(mdp, both), pull, atol=1e-7)


@pytest.mark.parametrize("l1", [0.02, 0.1, 0.3])
def test_l1_makes_weights_exactly_zero_and_is_optimal(l1: float) -> None:
    mdp = wide()
    fit = fit_maxent(mdp, sample(mdp, expert(mdp, np.r_[1.5, -1.5, np.zeros(18)]), 600, 0), l1=l1)
    assert fit.converged, fit.why
    g, zero = slopes(mdp, fit), fit.weights == 0
    assert 0 < zero.sum() < 20
    assert np.abs(g[zero]).max() <= l1
    np.testing.assert_allclose(g[~zero], l1 * np.sign(fit.weights[~zero]), atol=1e-7)


def wide() -> TabularMDP:
    """Twenty features of which two matter."""
    mdp, rng = world(0.95, 8, states=12), np.random.default_rng(5)
    return mdp.with_(features=rng.normal(size=(12, 3, 20)), feature_names=())


def test_l1_has_a_size_from_which_all_weights_are_zero() -> None:
    mdp = world()
    demo = recorded(mdp, 50)
    most = float(np.abs(likelihood(mdp, Demonstrations.of(mdp, demo)).at(np.zeros(4)).gradient).max())
    assert not fit_maxent(mdp, demo, l1=most * 1.0001).weights.any()
    assert np.count_nonzero(fit_maxent(mdp, demo, l1=most * 0.999).weights) == 1


def test_l1_is_in_units_of_the_weights_as_returned() -> None:
    mdp, units = world(), np.array([10.0, 1.0, 0.5, 2.0])
    fit = fit_maxent(mdp.with_(features=mdp.features * units), recorded(mdp, 50), l1=0.05, l2=0.01)
    g = slopes(mdp.with_(features=mdp.features * units), fit)
    on = fit.weights != 0
    assert on.any()
    np.testing.assert_allclose(g[on], (0.05 * np.sign(fit.weights) + 0.01 * fit.weights)[on], atol=1e-6)


# ── demonstrations ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("horizon", [8, None])
def test_cutting_demonstrations_off_does_not_bias_the_weights(horizon: int | None) -> None:
    """Seeds 0 and 1; the truth within the ellipsoid of level 1 - 1e-5; without the correction far outside."""
    mdp = world(0.9, horizon, seed=2)
    n = 3000
    short, long = recorded(mdp, n, 0, steps=3), recorded(mdp, n, 1, steps=horizon or 80)
    wide = np.full((n, long.actions.shape[1] - 3), -1)
    both = Trajectories(
        np.concatenate([np.concatenate([short.states, wide], 1), long.states]),
        np.concatenate([np.concatenate([short.actions, wide], 1), long.actions]),
    )
    fit = fit_maxent(mdp, both)
    assert fit.converged
    covariance = standard_errors(fit).covariance
    limit = float(chi2.isf(1e-5, 4))
    off = fit.weights - TRUTH
    assert off @ np.linalg.solve(covariance, off) < limit
    demo = fit.demonstrations
    assert demo.cuts is not None
    naive = fit_maxent(mdp, Demonstrations(demo.visits, demo.starts, None, None), l2=1e-6).weights - TRUTH
    assert naive @ np.linalg.solve(covariance, naive) > 10 * limit


def test_luck_that_no_reward_explains_stays_in_the_gap_and_out_of_the_policy() -> None:
    """An indicator for each state and action can express shaping, along which samples differ by chance."""
    mdp = world(0.9, None)
    every = mdp.with_(features=np.eye(18), feature_names=())
    policy = expert(mdp, TRUTH / 4)
    fit = fit_maxent(every, sample(mdp, policy, 4000, 0, steps=200))
    assert fit.converged, fit.why
    assert np.abs(fit.feature_gap).max() > 1e-4
    assert fit.gradient_norm <= 1e-8
    assert variation(mdp, fit.policy, policy) < 0.1


def test_demonstrations_luckier_than_any_policy_have_a_likelihood_of_choices_all_the_same() -> None:
    """No policy collects what they did: rare actions leave no room for the luck of the frequent ones."""
    mdp = world(0.9, None)
    every = mdp.with_(features=np.eye(18), feature_names=())
    seen = recorded(mdp, 4000, steps=200)
    asked = fit_maxent(every, seen)
    assert not asked.converged
    assert "luckier" in asked.why
    fit = fit_maxent(every, seen, objective="choices")
    assert fit.converged, fit.why
    assert variation(mdp, fit.policy, expert(mdp)) < 0.05


def test_held_out_likelihood_is_the_mean_over_decisions_with_an_error_by_trajectory() -> None:
    mdp = world(0.9, 8, chance=False)
    fit = fit_maxent(mdp, recorded(mdp, 60))
    test = recorded(mdp, 30, seed=9)
    found = fit.held_out(test)
    sums, counts = np.zeros(30), np.zeros(30)
    for who, t, s, a in zip(*test.steps(), strict=True):
        sums[who] += np.log(fit.policy[t, s, a])
        counts[who] += 1
    assert found.decisions == counts.sum()
    assert found.log_likelihood == pytest.approx(sums.sum() / counts.sum(), rel=1e-12)
    rest = sums - counts * found.log_likelihood
    assert found.error == pytest.approx(np.sqrt(rest @ rest * 30 / 29) / counts.sum(), rel=1e-12)
    blank = fit_maxent(mdp, recorded(mdp, 60), l1=1e6)
    one = Trajectories(
        np.array([[0, int(np.flatnonzero(mdp.transition[[0]].toarray())[0])]]), np.array([[0]])
    )
    assert blank.held_out(one).log_likelihood == pytest.approx(
        float(np.log(soft_plan(mdp, np.zeros((6, 3))).policy[0, 0, 0]))
    )
    assert blank.held_out(one).error == np.inf


def test_without_chance_and_discount_both_likelihoods_are_one() -> None:
    mdp = world(1.0, 8, chance=False)
    demo = recorded(mdp, 60)
    fit = fit_maxent(mdp, demo)
    assert fit.log_likelihood == pytest.approx(fit.held_out(demo).log_likelihood, rel=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"l1": -1.0}, "l1 is -1.0"),
        ({"l2": float("nan")}, "l2 is nan"),
        ({"tolerance": 0.0}, "tolerance is 0.0"),
        ({"iterations": 0}, "iterations is 0"),
        ({"objective": "dual"}, "objective is 'dual'"),
        ({"start": [0.0]}, r"start is \[1\]"),
        ({"start": [0.0, 0.0, 0.0, float("nan")]}, "start holds"),
        ({"prior": GaussianPrior(np.ones(3))}, r"scale is \[3\]"),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict[str, object], message: str) -> None:
    mdp = world()
    with pytest.raises(ValueError, match=message):
        fit_maxent(mdp, recorded(mdp, 5), **change)  # type: ignore[arg-type]


def test_demonstrations_of_another_world_are_refused() -> None:
    small, large = world(), world(states=7)
    with pytest.raises(ValueError, match="7, 3"):
        fit_maxent(large, Demonstrations.exact(small, expert(small)))
    with pytest.raises(ValueError, match="outweigh any prior"):
        fit_maxent(small, Demonstrations.exact(small, expert(small)), prior=GaussianPrior(1.0))


def test_what_chance_led_to_is_no_evidence_unless_it_is_asked_for() -> None:
    demo = recorded(world(), 50)
    said, unsaid = (irl.fit_maxent(world(), demo, **o) for o in ({"objective": "choices"}, {}))  # type: ignore[arg-type]
    np.testing.assert_array_equal(said.weights, unsaid.weights)
    assert np.abs(fit_maxent(world(), demo).weights - unsaid.weights).max() > 1e-3
