"""Maximum entropy over whole paths: exact against every path counted, and how it differs from the causal."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from understudy.irl.maxent import fit_maxent
from understudy.irl.paths import path_information, path_likelihood, path_model
from understudy.irl.trajectory_maxent import fit_trajectory_maxent
from understudy.tabular import Demonstrations, TabularMDP, Trajectories, occupancy, sample, soft_plan


def small(seed: int, *, discount: float, chance: bool = True, horizon: int = 4, ends: int = 1) -> TabularMDP:
    """5 states of which the last may end it, 3 actions of which some are missing, 3 features of (s, a)."""
    rng = np.random.default_rng(seed)
    transition = rng.dirichlet(np.full(5, 0.5), (5, 3))
    if not chance:
        transition = np.eye(5)[rng.integers(5, size=(5, 3))]
    available = rng.random((5, 3)) < 0.7
    available[:, 0] = True
    terminal = np.arange(5) >= 5 - ends
    transition *= (available & ~terminal[:, None])[..., None]
    start = rng.dirichlet(np.ones(5))
    return TabularMDP.make(
        transition,
        initial=start,
        discount=discount,
        horizon=horizon,
        features=rng.normal(size=(5, 3, 3)),
        terminal=terminal,
    )


def every_path(
    mdp: TabularMDP, weights: np.ndarray, start: int, prefix: tuple[int, ...] = ()
) -> tuple[float, np.ndarray]:
    """Of all paths from a state: the sum of their weights, and the mean of their discounted features.

    `prefix` is s_0, a_0, s_1, ... that the path must begin with.
    """
    chance = mdp.transition.toarray().reshape(mdp.states, mdp.actions, mdp.states)
    phi = mdp.features.reshape(mdp.states, mdp.actions, -1)
    total, mean = 0.0, np.zeros(mdp.width)

    def follow(path: tuple[int, ...], weight: float, seen: np.ndarray) -> None:
        nonlocal total, mean
        t, state = len(path) // 2, path[-1]
        if t == mdp.horizon or mdp.terminal[state]:
            if path[: len(prefix)] == prefix:
                total, mean = total + weight, mean + weight * seen
            return
        for a, s in product(np.flatnonzero(mdp.available[state]), range(mdp.states)):
            step = mdp.discount**t * phi[state, a]
            if chance[state, a, s] > 0:
                follow((*path, a, s), weight * chance[state, a, s] * np.exp(step @ weights), seen + step)

    follow((start,), 1.0, np.zeros(mdp.width))
    return total, mean / total


@pytest.mark.parametrize("discount", [1.0, 0.8])
def test_normaliser_and_features_are_those_of_every_path_counted(discount: float) -> None:
    mdp = small(1, discount=discount)
    weights = np.array([0.7, -1.1, 0.4])
    model = path_model(mdp, mdp.linear(weights))
    for start in range(mdp.states):
        total, mean = every_path(mdp, weights, start)
        assert model.value[0, start] == pytest.approx(np.log(total), abs=1e-12)
        begin = np.eye(mdp.states)[start]
        np.testing.assert_allclose(mdp.counts(model.occupancy(begin)), mean, atol=1e-12)


def test_the_likelihood_is_that_of_the_paths_also_where_they_were_cut_off() -> None:
    mdp = small(2, discount=0.9, ends=0, horizon=3)
    weights = np.array([0.3, 0.9, -0.5])
    data = sample(mdp, path_model(mdp, mdp.linear(weights)).policy, 6, seed=0, steps=2)
    demonstrations = Demonstrations.of(mdp, data)
    assert demonstrations.cuts is not None
    value, gradient = path_likelihood(mdp, demonstrations, weights)
    logs, means = [], []
    phi = mdp.features.reshape(5, 3, -1)
    for s, a in zip(data.states, data.actions, strict=True):
        prefix = (int(s[0]), int(a[0]), int(s[1]), int(a[1]), int(s[2]))
        some, ahead = every_path(mdp, weights, prefix[0], prefix)
        total, every = every_path(mdp, weights, prefix[0])
        chances = mdp.transition.toarray().reshape(5, 3, 5)
        logs.append(np.log(some / total) - np.log(chances[s[0], a[0], s[1]] * chances[s[1], a[1], s[2]]))
        means.append(ahead - every)
        assert np.abs(ahead - phi[s[0], a[0]] - 0.9 * phi[s[1], a[1]]).max() > 1e-3  # more follows the cut
    assert value == pytest.approx(np.mean(logs), abs=1e-12)
    np.testing.assert_allclose(gradient, np.mean(means, 0), atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_gradient_and_information_are_slopes(seed: int) -> None:
    mdp = small(seed, discount=[1.0, 0.9][seed % 2], horizon=8)
    weights = np.random.default_rng(seed).normal(size=3)
    demonstrations = Demonstrations.of(
        mdp, sample(mdp, soft_plan(mdp, mdp.linear(-weights)).policy, 9, seed, 5)
    )
    gradient = path_likelihood(mdp, demonstrations, weights)[1]
    bend = path_information(mdp, demonstrations, weights)
    step = 1e-5
    for k in range(3):
        up, down = (path_likelihood(mdp, demonstrations, weights + s * np.eye(3)[k]) for s in (step, -step))
        assert gradient[k] == pytest.approx((up[0] - down[0]) / (2 * step), abs=1e-8)
        np.testing.assert_allclose(bend[k], (down[1] - up[1]) / (2 * step), atol=1e-8)


def test_without_chance_and_discount_it_is_the_causal_model() -> None:
    mdp = small(3, discount=1.0, chance=False, horizon=10)
    reward = mdp.linear([1.0, -2.0, 0.5])
    causal, paths = soft_plan(mdp, reward), path_model(mdp, reward)
    np.testing.assert_allclose(paths.value, causal.value, atol=1e-12)
    np.testing.assert_allclose(paths.policy, causal.policy, atol=1e-12)
    np.testing.assert_allclose(paths.occupancy(), occupancy(mdp, causal.policy), atol=1e-12)
    # With a discount it is not: the entropy of a path is not discounted, that of the causal model is.
    later = mdp.with_(discount=0.8)
    gap = path_model(later, reward).policy[0] - soft_plan(later, reward).policy[0]
    assert np.abs(gap).max() > 0.01


def test_without_chance_and_discount_it_finds_the_weights_that_the_causal_model_finds() -> None:
    mdp = small(4, discount=1.0, chance=False, horizon=8)
    data = sample(mdp, soft_plan(mdp, mdp.linear([1.0, -1.0, 0.5])).policy, 60, seed=0)
    paths, causal = fit_trajectory_maxent(mdp, data, tolerance=1e-10), fit_maxent(mdp, data)
    assert causal.converged
    assert paths.gradient_norm < 1e-8
    np.testing.assert_allclose(paths.weights, causal.weights, atol=1e-7)
    np.testing.assert_allclose(paths.policy, causal.policy, atol=1e-8)
    np.testing.assert_allclose(paths.path_features, paths.policy_features, atol=1e-10)


def gamble(prize: float = 8.0) -> TabularMDP:
    """Action 0 is a ticket that wins with probability .01, action 1 a sure 1; paid in the next state."""
    transition = np.zeros((5, 2, 5))
    transition[0, 0, 1], transition[0, 0, 2], transition[0, 1, 3] = 0.01, 0.99, 1.0
    transition[1:4, 0, 4] = 1.0
    return TabularMDP.make(
        transition,
        initial=np.eye(5)[0],
        discount=1.0,
        horizon=2,
        features=np.eye(5)[:, [1, 3]] * [prize, 1.0],
        terminal=np.arange(5) == 4,
    )


def test_a_gamble_is_taken_for_the_lucky_path_and_not_by_a_causal_expert() -> None:
    mdp = gamble()
    reward = mdp.linear([1.0, 1.0])
    causal, paths = soft_plan(mdp, reward).policy[0, 0, 0], path_model(mdp, reward)
    assert causal == pytest.approx(np.exp(0.08) / (np.exp(0.08) + np.e), abs=1e-12)
    assert causal == pytest.approx(0.285, abs=5e-4)
    ticket = 0.01 * np.exp(8) + 0.99
    assert paths.policy[0, 0, 0] == pytest.approx(ticket / (ticket + np.e), abs=1e-12)
    assert paths.policy[0, 0, 0] == pytest.approx(0.919, abs=5e-4)
    # The model's gambler wins most of the time; who does as it says wins one time in a hundred.
    assert paths.occupancy()[1, 0] > 0.85
    assert occupancy(mdp, paths.policy)[1, 0] == pytest.approx(0.01 * paths.policy[0, 0, 0], abs=1e-12)


def test_it_misreads_a_causal_experts_gamble() -> None:
    mdp = gamble()
    demonstrations = Demonstrations.exact(mdp, soft_plan(mdp, mdp.linear([1.0, 1.0])).policy)
    fit = fit_trajectory_maxent(mdp, demonstrations)
    assert fit.converged
    np.testing.assert_allclose(fit.path_features, fit.demonstrated, atol=1e-8)
    # To win only one time in a hundred is, by luck's own odds, to care nothing for the prize: weight 0 and
    # not 1. The sure thing was preferred by 1 - .08 nats.
    assert fit.weights == pytest.approx([0.0, 0.92], abs=1e-5)


@pytest.mark.parametrize("discount", [1.0, 0.9])
def test_it_finds_the_weights_that_made_the_paths(discount: float) -> None:
    mdp = small(5, discount=discount, horizon=8)
    truth = np.array([0.8, -0.4, 1.2])
    model = path_model(mdp, mdp.linear(truth))
    fit = fit_trajectory_maxent(mdp, Demonstrations(model.occupancy(), mdp.initial, None, None))
    assert fit.converged
    assert fit.gradient_norm <= 1e-8
    np.testing.assert_allclose(fit.weights, truth, atol=1e-6)
    np.testing.assert_allclose(fit.policy, model.policy, atol=1e-6)
    np.testing.assert_allclose(fit.path_features, fit.demonstrated, atol=1e-8)
    assert np.abs(fit.policy_features - fit.demonstrated).max() > 1e-3  # carried out, outcomes are not tilted


def test_weights_that_run_away_have_not_converged_unless_they_are_held() -> None:
    mdp = gamble()
    always = Demonstrations.of(mdp, Trajectories.of([[0, 3, 4]], [[1, 0]]))
    free = fit_trajectory_maxent(mdp, always)
    assert free.running
    assert not free.converged
    held = fit_trajectory_maxent(mdp, always, l2=0.1)
    assert held.converged
    assert not held.running
    np.testing.assert_allclose(held.demonstrated - held.path_features, 0.1 * held.weights, atol=1e-8)


def test_one_weight_that_runs_away_is_seen_beside_one_that_does_not() -> None:
    """In state 0 the expert always does the same, in state 1 two thirds of the time."""
    phi = np.zeros((3, 2, 2))
    phi[0, 0, 0] = phi[1, 0, 1] = 1
    transition = np.zeros((3, 2, 3))
    transition[:2, :, 2] = 1
    mdp = TabularMDP.make(
        transition, initial=[0.5, 0.5, 0], discount=1.0, horizon=1, features=phi, terminal=np.arange(3) == 2
    )
    data = Trajectories.of([[0, 2], [1, 2], [1, 2], [1, 2]], [[0], [0], [0], [1]])
    fit = fit_trajectory_maxent(mdp, data)
    assert fit.weights[1] == pytest.approx(np.log(2), abs=1e-6)
    assert fit.weights[0] > 10
    assert fit.running
    assert not fit.converged


def test_rewards_far_beyond_the_exponents_range_stay_exact() -> None:
    mdp = small(6, discount=1.0, horizon=30)
    model = path_model(mdp, 1e4 * mdp.linear([1.0, -1.0, 1.0]))
    assert np.isfinite(model.value).all()
    live = ~mdp.terminal
    np.testing.assert_allclose(model.policy[:, live].sum(-1), 1.0, atol=1e-12)
    assert (model.policy[:, ~mdp.available] == 0).all()
    assert model.occupancy()[live].sum() <= 30 + 1e-9


def test_what_it_cannot_do_it_says() -> None:
    endless = small(0, discount=0.9).with_(horizon=None)
    with pytest.raises(ValueError, match="no horizon: endless paths have no common normaliser"):
        path_model(endless, endless.linear(np.zeros(3)))
    mdp = small(0, discount=0.9)
    demonstrations = Demonstrations.exact(mdp, soft_plan(mdp, mdp.linear(np.zeros(3))).policy)
    with pytest.raises(ValueError, match="l2 is -1"):
        fit_trajectory_maxent(mdp, demonstrations, l2=-1.0)
