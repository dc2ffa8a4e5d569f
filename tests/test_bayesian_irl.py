"""The posterior over rewards: exact gradients, a sampler that samples, ranks that are uniform."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from understudy.irl.bayesian import hmc_posterior, laplace_posterior
from understudy.irl.decisions import Decisions
from understudy.irl.hmc import effective_sample_size, hmc, leapfrog, split_r_hat
from understudy.irl.priors import GaussianPrior, LaplacePrior, Prior, UniformPrior
from understudy.tabular import TabularMDP, Trajectories, log_policy, sample, soft_plan

PRIORS: list[Prior] = [GaussianPrior(1.0), UniformPrior(-2.0, 2.0), LaplacePrior(0.7)]
Floats = NDArray[np.float64]


def small(
    *, horizon: int | None, discount: float = 0.9, states: int = 5, width: int = 2, seed: int = 0
) -> TabularMDP:
    """The last state ends it, and one action is missing; features are of (s, a)."""
    rng = np.random.default_rng(seed)
    transition = rng.dirichlet(np.full(states, 0.5), (states, 3))
    transition[-1] = 0
    transition[0, 2] = 0
    return TabularMDP.make(
        transition,
        initial=np.full(states, 1 / states),
        discount=discount,
        horizon=horizon,
        features=rng.normal(size=(states, 3, width)),
        terminal=np.arange(states) == states - 1,
    )


def decisions(mdp: TabularMDP, weights: list[float], n: int, seed: int, temperature: float) -> Trajectories:
    return sample(mdp, soft_plan(mdp, mdp.linear(weights), temperature).policy, n, seed, mdp.horizon or 5)


# --- the likelihood


@pytest.mark.parametrize("horizon", [5, None])
@pytest.mark.parametrize("discount", [0.5, 0.95])
def test_the_likelihood_is_that_of_the_planned_policy(horizon: int | None, discount: float) -> None:
    mdp = small(horizon=horizon, discount=discount)
    data = decisions(mdp, [1.0, -1.0], 12, 0, 0.7)
    weights = np.random.default_rng(1).normal(size=(3, 2))
    value, _ = Decisions(mdp, data, 0.7)(weights)
    _, when, state, action = data.steps()
    for theta, found in zip(weights, value, strict=True):
        logs = log_policy(soft_plan(mdp, mdp.linear(theta), 0.7))
        made = logs[state, action] if horizon is None else logs[when, state, action]
        assert found == pytest.approx(made.sum(), abs=1e-10)


@pytest.mark.parametrize("states", [5, 210])  # full matrices for all at once, and factors in turn
@pytest.mark.parametrize("horizon", [5, None])
def test_the_likelihoods_gradient_is_its_slope(horizon: int | None, states: int) -> None:
    mdp = small(horizon=horizon, states=states)
    data = decisions(mdp, [1.0, -1.0], 12, 0, 0.7)
    target = Decisions(mdp, data, 0.7)
    theta, step = np.array([[0.4, -0.9], [-1.5, 0.2]]), 1e-5
    gradient = target(theta)[1]
    for k in range(2):
        up, down = (target(theta + s * np.eye(2)[k])[0] for s in (step, -step))
        np.testing.assert_allclose(gradient[:, k], (up - down) / (2 * step), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("horizon", [5, None])
def test_many_weights_take_turns_and_come_to_the_same(
    horizon: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    mdp = small(horizon=horizon)
    data = decisions(mdp, [1.0, -1.0], 12, 0, 0.7)
    theta = np.random.default_rng(0).normal(size=(7, 2))
    value, gradient = Decisions(mdp, data, 0.7)(theta)
    monkeypatch.setattr("understudy.irl.decisions._ENTRIES", 200)
    again = Decisions(mdp, data, 0.7)(theta)
    np.testing.assert_allclose(again[0], value, rtol=1e-12)
    np.testing.assert_allclose(again[1], gradient, atol=1e-10)


@pytest.mark.parametrize("prior", PRIORS, ids=lambda p: type(p).__name__)
def test_weights_follow_their_prior(prior: Prior) -> None:
    """θ(u) has the prior's quantiles, and its slope is its derivative, at Laplace's kink too."""
    from scipy.stats import laplace, norm, uniform

    exact = {GaussianPrior: norm(), UniformPrior: uniform(-2, 4), LaplacePrior: laplace(scale=0.7)}[
        type(prior)
    ]
    u = np.linspace(-6, 6, 25)[:, None]
    np.testing.assert_allclose(exact.cdf(prior.weights(u)), norm.cdf(u), atol=1e-12)
    slope = (prior.weights(u + 1e-6) - prior.weights(u - 1e-6)) / 2e-6
    np.testing.assert_allclose(prior.slope(u), slope, rtol=1e-5, atol=1e-9)


def test_each_weight_may_have_a_prior_of_its_own() -> None:
    u = np.array([[1.0, -1.0]])
    assert GaussianPrior([1.0, 2.0], [0.0, 5.0]).weights(u).tolist() == [[1.0, 3.0]]
    assert UniformPrior([0.0, -1.0], 1.0).weights(0 * u).tolist() == [[0.5, 0.0]]
    wide, narrow = LaplacePrior([2.0, 1.0]), LaplacePrior(1.0)
    np.testing.assert_allclose(wide.weights(u), narrow.weights(u) * [2, 1])
    np.testing.assert_allclose(wide.slope(u), narrow.slope(u) * [2, 1])


# --- the sampler

MIX = np.array([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [-0.3, 0.2, 0.5]])
CENTRE = np.array([1.0, -2.0, 0.5])


def normal(x: Floats) -> tuple[Floats, Floats]:
    slope = -(x - CENTRE) @ np.linalg.inv(MIX @ MIX.T)
    return ((x - CENTRE) * slope).sum(1) / 2, slope


def test_the_leapfrog_is_reversible_and_of_second_order() -> None:
    rng = np.random.default_rng(0)
    x, p = CENTRE + rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
    value, slope = normal(x)
    there = leapfrog(normal, x, p, slope, 0.1, 15)
    back = leapfrog(normal, there[0], -there[1], there[2], 0.1, 15)
    np.testing.assert_allclose(back[0], x, atol=1e-12)
    np.testing.assert_allclose(-back[1], p, atol=1e-12)

    def lost(step: float, steps: int) -> Floats:
        _, speed, _, level = leapfrog(normal, x, p, slope, step, steps)
        return np.abs(level - value + ((p**2).sum(1) - (speed**2).sum(1)) / 2)

    assert lost(0.01, 150).max() < 1e-3
    np.testing.assert_allclose(lost(0.01, 150) / lost(0.005, 300), 4.0, rtol=0.05)


def test_a_normal_is_sampled_as_it_is() -> None:
    """9 moments within 4 standard errors each: a false alarm in 1,700 seeds."""
    start = CENTRE + 3 * np.random.default_rng(0).normal(size=(4, 3))
    chains = hmc(normal, start, warm_up=300, draws=1000, seed=0)
    assert chains.converged
    assert 0.6 < chains.accepted < 0.95
    off = chains.draws - CENTRE
    moments = np.concatenate([off, (off[..., :, None] * off[..., None, :])[..., *np.triu_indices(3)]], -1)
    truth = np.concatenate([np.zeros(3), (MIX @ MIX.T)[np.triu_indices(3)]])
    error = moments.std((0, 1)) / np.sqrt(effective_sample_size(moments))
    assert (error < 0.1).all()
    assert (np.abs(moments.mean((0, 1)) - truth) <= 4 * error).all()


def test_chains_in_two_places_have_not_converged() -> None:
    def wells(x: Floats) -> tuple[Floats, Floats]:
        side = np.sign(x)
        return -((x - 40 * side) ** 2).sum(1) / 2, -(x - 40 * side)

    chains = hmc(wells, np.array([[-40.0], [-39.0], [40.0], [41.0]]), warm_up=100, draws=100, seed=0)
    assert chains.r_hat[0] > 1.05
    assert chains.ess[0] < 10
    assert not chains.converged


def test_a_trajectory_that_loses_its_energy_is_counted_and_not_taken() -> None:
    def funnel(x: Floats) -> tuple[Floats, Floats]:
        """Neal's funnel: no step size suits both its mouth and its neck."""
        v, y = x[:, 0], x[:, 1:]
        spread = np.exp(np.clip(-v, -600, 600))
        value = -(v**2) / 18 - (y**2).sum(1) * spread / 2 - v * y.shape[1] / 2
        pull = -v / 9 + (y**2).sum(1) * spread / 2 - y.shape[1] / 2
        return value, np.concatenate([pull[:, None], -y * spread[:, None]], 1)

    with np.errstate(all="ignore"):
        chains = hmc(funnel, np.random.default_rng(0).normal(size=(4, 10)), warm_up=100, draws=300, seed=0)
    assert np.isfinite(chains.draws).all()
    assert not chains.converged


def test_split_r_hat_and_effective_sample_size_of_known_chains() -> None:
    rng = np.random.default_rng(0)
    free = rng.normal(size=(4, 2000, 2))
    np.testing.assert_allclose(split_r_hat(free), 1.0, atol=0.01)
    np.testing.assert_allclose(effective_sample_size(free), 8000, rtol=0.25)  # ± 3 %, with a long lower tail
    slow = np.zeros((4, 4000, 1))
    for t in range(1, 4000):  # autocorrelation .8: (1 - .8) / (1 + .8) of the draws count
        slow[:, t] = 0.8 * slow[:, t - 1] + rng.normal(size=(4, 1))
    np.testing.assert_allclose(effective_sample_size(slow), 16000 / 9, rtol=0.2)
    drift = free[:, :, :1] + np.linspace(0, 3, 2000)[:, None]
    assert split_r_hat(drift)[0] > 1.2
    assert split_r_hat(np.stack([np.zeros((9, 1)), np.ones((9, 1))]))[0] == np.inf


# --- the posterior


@pytest.mark.parametrize("prior", PRIORS, ids=lambda p: type(p).__name__)
def test_before_anything_is_seen_the_posterior_is_the_prior(prior: Prior) -> None:
    """Means, variances and P(θ > 0) within 4.5 standard errors: a false alarm in 8,000 seeds a prior."""
    mdp = small(horizon=3)
    found = hmc_posterior(mdp, None, prior=prior, temperature=1.0, seed=0, warm_up=150, draws=500)
    assert found.chains is not None
    assert found.converged
    assert found.decisions == 0
    grid = prior.weights(np.linspace(-8, 8, 20001)[:, None])[:, 0]
    share = np.exp(-(np.linspace(-8, 8, 20001) ** 2) / 2)
    variance = float((grid**2 * share).sum() / share.sum())
    draws = found.chains.draws
    for what, truth in ((draws, 0.0), (draws**2, variance), ((draws > 0).astype(float), 0.5)):
        error = what.std((0, 1)) / np.sqrt(effective_sample_size(what))
        assert (np.abs(what.mean((0, 1)) - truth) <= 4.5 * error).all()


@cache
def much_data() -> tuple[TabularMDP, Trajectories]:
    mdp = small(horizon=5, width=3)
    return mdp, decisions(mdp, [1.0, -0.5, 0.3], 800, 1, 0.7)


def test_laplace_and_hmc_agree_where_there_is_much_data() -> None:
    mdp, data = much_data()
    quick = laplace_posterior(mdp, data, prior=GaussianPrior(1.0), temperature=0.7, seed=0)
    slow = hmc_posterior(mdp, data, prior=GaussianPrior(1.0), temperature=0.7, seed=0, warm_up=150, draws=300)
    assert slow.converged
    assert not quick.converged, "nothing has checked it"
    spread = np.sqrt(np.diag(slow.covariance))
    assert (np.abs(quick.weights - slow.weights) < 0.25 * spread).all()
    np.testing.assert_allclose(np.sqrt(np.diag(quick.covariance)), spread, rtol=0.12)
    np.testing.assert_allclose(quick.mode, slow.mode, atol=1e-12)
    # Within 4 posterior deviations of the truth, and far from the prior: a false alarm in 5,000 data sets.
    assert (np.abs(slow.weights - [1.0, -0.5, 0.3]) < 4 * spread).all()
    assert (spread < 0.15).all()
    assert slow.positive == pytest.approx([1.0, 0.0, 1.0], abs=0.05)
    ends = slow.interval(0.9)
    share = ((slow.samples > ends[:, 0]) & (slow.samples < ends[:, 1])).mean(0)
    np.testing.assert_allclose(share, 0.9, atol=0.01)
    np.testing.assert_allclose(slow.policy, soft_plan(mdp, mdp.linear(slow.weights), 0.7).policy, atol=1e-14)


def test_the_mode_is_where_the_gradient_vanishes() -> None:
    mdp, data = much_data()
    mode = laplace_posterior(mdp, data, prior=GaussianPrior(0.5), temperature=0.7, seed=0).mode
    slope = Decisions(mdp, data, 0.7)(mode[None])[1][0] - mode / 0.25
    np.testing.assert_allclose(slope, 0, atol=1e-7)


def test_only_weights_over_temperature_are_in_the_likelihood() -> None:
    mdp = small(horizon=4)
    data = decisions(mdp, [1.0, -1.0], 10, 0, 1.0)
    one = hmc_posterior(mdp, data, prior=GaussianPrior(1.0), temperature=1.0, seed=3, warm_up=20, draws=20)
    two = hmc_posterior(mdp, data, prior=GaussianPrior(2.0), temperature=2.0, seed=3, warm_up=20, draws=20)
    np.testing.assert_allclose(two.samples, 2 * one.samples, atol=1e-9)
    np.testing.assert_allclose(two.policy, one.policy, atol=1e-9)


def test_without_a_horizon_the_sampler_draws_the_same_posterior_as_a_grid() -> None:
    """Mean and variance of one weight within 4.5 standard errors of quadrature: 1 false alarm in 70,000."""
    mdp = small(horizon=None, width=1)
    data = decisions(mdp, [0.8], 15, 0, 0.7)
    found = hmc_posterior(
        mdp, data, prior=UniformPrior(-2.0, 2.0), temperature=0.7, seed=0, warm_up=100, draws=250
    )
    assert found.chains is not None
    assert found.converged
    grid = np.linspace(-2, 2, 401)[:, None]
    logs = Decisions(mdp, data, 0.7)(grid)[0]
    density = np.exp(logs - logs.max())
    mean = float(density @ grid[:, 0] / density.sum())
    variance = float(density @ (grid[:, 0] - mean) ** 2 / density.sum())
    draws = found.chains.draws
    for what, truth in ((draws, mean), ((draws - mean) ** 2, variance)):
        error = what.std() / np.sqrt(effective_sample_size(what)[0])
        assert abs(what.mean() - truth) <= 4.5 * error


def test_the_truth_has_every_rank_among_the_draws_alike() -> None:
    """Simulation-based calibration (Talts et al. 2018): 80 data sets from weights from the prior.

    Ranks of each of 2 weights among 39 draws in 8 bins: chi-squared with 7 degrees of freedom is over 26.0
    once in 2,000, so that one right sampler in 1,000 fails. Temperatures wrong by 2 give 70 to 148.
    """
    mdp = small(horizon=3, states=4, width=2, discount=1.0)
    ranks = np.array([_rank(mdp, seed, 0.7) for seed in range(80)])
    for k in range(2):
        bins = np.bincount(ranks[:, k] // 5, minlength=8)
        assert ((bins - 10) ** 2 / 10).sum() < 26.0, bins


def _rank(mdp: TabularMDP, seed: int, assumed: float) -> NDArray[np.int64]:
    truth = np.random.default_rng((7, seed)).normal(size=2)
    data = decisions_of(mdp, truth, seed)
    found = hmc_posterior(
        mdp, data, prior=GaussianPrior(1.0), temperature=assumed, seed=seed, chains=3, warm_up=60, draws=52
    )
    assert found.chains is not None
    apart = found.chains.draws[:, ::4].reshape(-1, 2)  # 3 chains of 13: 39 draws, hardly correlated
    return np.asarray((apart < truth).sum(0))


def decisions_of(mdp: TabularMDP, truth: Floats, seed: int) -> Trajectories:
    return sample(mdp, soft_plan(mdp, mdp.linear(truth), 0.7).policy, 60, seed)


def test_what_it_cannot_do_it_says() -> None:
    mdp = small(horizon=4)
    impossible = Trajectories.of([[0, 1]], [[2]])
    with pytest.raises(ValueError, match="action 2 in state 0 cannot lead"):
        laplace_posterior(mdp, impossible, prior=GaussianPrior(1.0), temperature=1.0, seed=0)
    with pytest.raises(ValueError, match="temperature is 0"):
        laplace_posterior(mdp, None, prior=GaussianPrior(1.0), temperature=0.0, seed=0)
    with pytest.raises(ValueError, match="the prior is not over 2 weights"):
        laplace_posterior(mdp, None, prior=GaussianPrior([1.0, 1.0, 1.0]), temperature=1.0, seed=0)
    with pytest.raises(ValueError, match="it must be positive"):
        UniformPrior(1.0, 1.0)
    with pytest.raises(ValueError, match="R-hat needs 2 chains"):
        hmc_posterior(mdp, None, prior=GaussianPrior(1.0), temperature=1.0, seed=0, chains=1)
    found = laplace_posterior(mdp, None, prior=GaussianPrior(1.0), temperature=1.0, seed=0)
    with pytest.raises(ValueError, match="level is 1"):
        found.interval(1.0)
