"""Apprenticeship learning: a mixture of policies that no linear reward can tell from the expert."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import pytest

from understudy.irl.apprenticeship import learn_apprentice, mixed_policy, nearest, unseen
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
from understudy.tabular.worlds import gridworld, macro_rewards, random_mdp, routes, street_grid

Method = Literal["projection", "max-margin"]
METHODS: tuple[Method, ...] = get_args(Method)


def macro(horizon: int | None = None) -> TabularMDP:
    """8 x 8 slippery cells, 16 macro-cells, as in section 5.1 of the paper but smaller."""
    rewards = macro_rewards(8, 8, 2, seed=1)
    return gridworld(8, 8, slip=0.3 * 3 / 4, discount=0.9, horizon=horizon, rewards=rewards, block=2)


def driven(mdp: TabularMDP) -> np.ndarray:
    """The policy of an expert who is not always sure: no single plan has its features."""
    assert mdp.reward is not None
    return soft_plan(mdp, mdp.reward, 0.02).policy


def expert(mdp: TabularMDP) -> Demonstrations:
    return Demonstrations.exact(mdp, driven(mdp))


# --- the nearest point


def test_the_nearest_mixture_is_nearest() -> None:
    """No vertex lies further along the gap than the mixture: that is what optimal means (Wolfe 1976)."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        n, k = rng.integers(1, 12), rng.integers(1, 8)
        points, target = rng.normal(size=(n, k)), rng.normal(size=k) * rng.choice([0.1, 1.0, 100.0])
        shares = nearest(points, target)
        assert (shares >= 0).all()
        assert shares.sum() == pytest.approx(1.0, abs=1e-12)
        gap = target - shares @ points
        assert ((points - shares @ points) @ gap).max() <= 1e-9 * max(1.0, float(np.abs(target).max())) ** 2


def test_the_nearest_mixture_of_known_points() -> None:
    corners = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    assert nearest(corners, np.array([1.0, -3.0])) == pytest.approx([0.5, 0.5, 0.0])
    assert nearest(corners, np.array([0.5, 0.5])) == pytest.approx([0.5, 0.25, 0.25])
    assert nearest(corners, np.array([9.0, 9.0])) == pytest.approx([0.0, 0.5, 0.5])
    assert nearest(np.ones((1, 2)), np.ones(2)) == pytest.approx([1.0])


# --- the algorithm


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("horizon", [None, 12])
def test_it_comes_to_the_experts_feature_expectations(method: Method, horizon: int | None) -> None:
    mdp = macro(horizon)
    found = learn_apprentice(mdp, expert(mdp), method=method, tolerance=0.01)
    assert found.converged
    assert found.margin <= 0.01
    assert (np.diff(found.margins) <= 1e-12).all(), "each round brings the mixture nearer"
    assert found.margins[0] > 0.5, "the first policy was not the expert's"
    # The policy returned visits what the mixture visits; carried out, it is as near.
    visits = occupancy(mdp, found.policy)
    mixed = sum(share * occupancy(mdp, p) for share, p in zip(found.mixture, found.policies, strict=True))
    np.testing.assert_allclose(visits, mixed, atol=1e-10)
    assert np.linalg.norm(mdp.counts(visits) - found.expert) == pytest.approx(found.margin, abs=1e-9)


def test_it_knows_roads_that_end_and_crossings_of_few_roads() -> None:
    mdp = routes(street_grid(4, 4, seed=0), goal=15, start=0, horizon=40)
    assert mdp.terminal.any()
    assert not mdp.available[~mdp.terminal].all()
    found = learn_apprentice(mdp, expert(mdp), method="max-margin", tolerance=1e-6)
    assert found.converged
    assert (found.policy[:, ~mdp.available] == 0).all()
    np.testing.assert_allclose(mdp.counts(occupancy(mdp, found.policy)), found.expert, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_no_unit_reward_tells_it_from_the_expert_by_more_than_the_margin(method: Method) -> None:
    mdp = macro(12)
    plan = driven(mdp)
    found = learn_apprentice(mdp, expert(mdp), method=method, tolerance=0.3)
    assert found.margin > 1e-3, "stopped early, so that the bound has something to bound"
    rng = np.random.default_rng(0)
    for _ in range(50):
        w = rng.normal(size=16)
        reward = mdp.linear(w / np.linalg.norm(w))
        lost = expected_return(mdp, plan, reward) - expected_return(mdp, found.policy, reward)
        assert abs(lost) <= found.margin + 1e-10
    worst = (found.expert - found.mixture @ found.features) / found.margin
    lost = expected_return(mdp, plan, mdp.linear(worst)) - expected_return(
        mdp, found.policy, mdp.linear(worst)
    )
    assert lost == pytest.approx(found.margin, abs=1e-9)  # and the bound is tight


def test_the_nearest_point_of_all_needs_fewer_rounds_than_projection() -> None:
    mdp = random_mdp(20, 3, branching=4, seed=0, discount=0.9, width=6)
    data = Demonstrations.exact(mdp, soft_plan(mdp, mdp.linear(np.ones(6)), 5.0).policy)
    one, two = (learn_apprentice(mdp, data, method=m, tolerance=1e-8, rounds=60) for m in METHODS)
    assert two.converged
    assert two.margins[-1] <= 1e-8
    assert len(two.policies) < 30
    assert one.margins[-1] > 1e-8, "projection is still on its way"
    assert one.converged, "but the policies it has met hold the expert between them"
    assert one.margin <= 1e-8


def test_the_reward_is_that_of_the_policy_nearest_to_the_expert() -> None:
    mdp = macro()
    data = expert(mdp)
    found = learn_apprentice(mdp, data, method="max-margin", tolerance=0.01)
    gaps = np.linalg.norm(found.features - found.expert, axis=1)
    assert found.best == np.argmin(gaps) > 0
    assert np.linalg.norm(found.weights) == pytest.approx(1.0)
    np.testing.assert_allclose(hard_plan(mdp, found.reward).policy, found.policies[found.best], atol=1e-12)
    np.testing.assert_allclose(found.reward, mdp.linear(found.weights))


def test_an_expert_that_no_policy_can_be_leaves_a_certified_distance() -> None:
    """Few sampled demonstrations under chance have features that no policy has."""
    mdp = macro(12)
    data = Demonstrations.of(mdp, sample(mdp, driven(mdp), 3, seed=0))
    found = learn_apprentice(mdp, data, method="max-margin", tolerance=1e-6)
    assert found.exhausted
    assert not found.converged
    assert found.margin > 0.01
    assert found.bound == pytest.approx(found.margin, abs=1e-8)


def test_rounds_that_run_out_are_no_convergence() -> None:
    mdp = macro()
    found = learn_apprentice(mdp, expert(mdp), method="projection", tolerance=1e-9, rounds=2)
    assert len(found.policies) == 3
    assert not found.converged
    assert not found.exhausted
    assert found.bound <= found.margin


def test_a_first_policy_that_is_the_experts_needs_no_plan() -> None:
    mdp = macro()
    alike = np.full((64, 4), 0.25)
    found = learn_apprentice(mdp, Demonstrations.exact(mdp, alike), method="projection", tolerance=1e-6)
    assert len(found.policies) == 1
    assert found.converged
    assert not found.reward.any()
    np.testing.assert_allclose(found.policy, alike, atol=1e-9)


def test_a_mixture_of_policies_as_one_policy() -> None:
    """Two ways that part at the first step: later steps know from the state which was drawn."""
    transition = np.zeros((4, 2, 4))
    transition[0, 0, 1] = transition[0, 1, 2] = transition[1:3, :, 3] = transition[3, :, 3] = 1
    mdp = TabularMDP.make(transition, initial=np.eye(4)[0], discount=1.0, horizon=2)
    first, second = np.tile([1.0, 0.0], (4, 1)), np.tile([0.0, 1.0], (4, 1))
    policy = mixed_policy(mdp, [first, second], np.array([0.25, 0.75]))
    assert policy.shape == (2, 4, 2)
    assert policy[0, 0] == pytest.approx([0.25, 0.75])
    assert policy[1, 1] == pytest.approx([1.0, 0.0])
    assert policy[1, 2] == pytest.approx([0.0, 1.0])
    assert policy[0, 3] == pytest.approx([0.5, 0.5]), "where neither comes"


# --- what it refuses


def test_demonstrations_cut_off_early_are_refused_with_what_is_missing() -> None:
    mdp = macro()
    policy = driven(mdp)
    short = Demonstrations.of(mdp, sample(mdp, policy, 5, seed=0, steps=10))
    assert unseen(mdp, short) == pytest.approx(0.9**10, abs=1e-12)
    with pytest.raises(ValueError, match=r"34.9 % of the demonstrations"):
        learn_apprentice(mdp, short, method="projection", tolerance=0.1)
    long = Demonstrations.of(mdp, sample(mdp, policy, 5, seed=0, steps=60))
    assert unseen(mdp, long) == pytest.approx(0.9**60, abs=1e-12)
    assert learn_apprentice(mdp, long, method="max-margin", tolerance=5.0).policies
    within = macro(12)
    cut = Demonstrations.of(within, Trajectories.of([[0, 1, 2, 3]], [[1, 1, 1]]))
    assert unseen(within, cut) == pytest.approx((0.9**3 - 0.9**12) / (1 - 0.9**12), abs=1e-12)


def test_arguments_out_of_range_are_refused() -> None:
    mdp = macro()
    with pytest.raises(ValueError, match="method is 'svm'"):
        learn_apprentice(mdp, expert(mdp), method="svm", tolerance=0.1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="tolerance is 0"):
        learn_apprentice(mdp, expert(mdp), method="projection", tolerance=0.0)
