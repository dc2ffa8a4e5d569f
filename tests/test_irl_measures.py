"""What is lost with a learned reward, how policies differ, and STARC: exact on MDPs made by hand."""

from __future__ import annotations

from math import inf, log

import numpy as np
import pytest

from understudy.irl.epic import Coverage, TrivialReward, epic_distance
from understudy.irl.measures import (
    ValueDifference,
    expected_value_difference,
    feature_gap,
    policy_divergence,
    random_policy,
    value_difference,
)
from understudy.irl.starc import starc_distance
from understudy.tabular import TabularMDP, hard_plan, occupancy, sample, soft_plan


def fork(p: float = 1.0, horizon: int | None = 3, discount: float = 0.9) -> TabularMDP:
    """Left pays 1 and stays, right goes to the end with probability p and pays 2 once."""
    moves = np.zeros((2, 2, 2))
    moves[0, 0, 0] = 1
    moves[0, 1] = 1 - p, p
    return TabularMDP.make(
        moves,
        initial=[1.0, 0.0],
        discount=discount,
        horizon=horizon,
        reward=np.array([[1.0, 2.0], [0.0, 0.0]]),
        features=np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]]),
        terminal=np.array([False, True]),
        name="fork",
    )


def random_mdp(seed: int, horizon: int | None, states: int = 6, actions: int = 3) -> TabularMDP:
    """Some actions missing, one state terminal."""
    random = np.random.default_rng(seed)
    moves = random.dirichlet(np.full(states, 0.4), (states, actions))
    has = random.random((states, actions)) < 0.8
    has[:, 0] = True
    ends = np.zeros(states, bool)
    ends[-1] = True
    moves[~has | ends[:, None]] = 0
    return TabularMDP.make(
        moves,
        initial=random.dirichlet(np.ones(states)),
        discount=0.9,
        horizon=horizon,
        features=random.normal(size=(states, actions, 4)),
        reward=random.normal(size=(states, actions)),
        terminal=ends,
    )


def test_what_is_lost_on_the_fork_by_hand() -> None:
    world = fork()
    # Best: 1 + .9 and then 2 with the last decision: 1 + .9 + .81 * 2. Leaving at once pays 2.
    wrong = np.array([[0.0, 1.0], [0.0, 0.0]])  # likes to leave: does it at once, since later is worth less
    lost = expected_value_difference(world, wrong, temperature=0.0)
    assert lost.best == pytest.approx(1 + 0.9 + 0.81 * 2, abs=1e-12)
    assert lost.reached == pytest.approx(2.0, abs=1e-12)
    # Chance: each time half leave. Mass 1, .5, .25 earning 1.5 each decision.
    assert lost.random == pytest.approx(1.5 * (1 + 0.9 / 2 + 0.81 / 4), abs=1e-12)
    assert lost.normalised == pytest.approx((3.52 - 2) / (3.52 - 2.47875), abs=1e-12)
    assert expected_value_difference(world, world.reward, temperature=0.0).difference == 0


def test_a_changed_world_is_another_mdp() -> None:
    calm, windy = fork(1.0, None), fork(0.25, None)
    learned = np.array([1.0, 2.0])  # weights of the features, which are the true ones here
    assert expected_value_difference(windy, windy.linear(learned), temperature=0.0).difference == 0
    # In the calm world staying for ever pays 10. In the windy one leaving pays 2 each time it fails:
    # 2 / (1 - .9 * .75) = 6.15 by itself, or 10 by staying.
    greedy_for_leaving = np.array([[0.0, 1.0], [0.0, 0.0]])
    assert value_difference(calm, greedy_for_leaving, temperature=0.0).difference == pytest.approx(8.0)
    assert value_difference(windy, greedy_for_leaving, temperature=0.0).difference == pytest.approx(
        10 - 2 / (1 - 0.9 * 0.75)
    )


@pytest.mark.parametrize("horizon", [None, 1, 7])
@pytest.mark.parametrize("seed", range(5))
def test_soft_losses_are_the_divergence_of_the_policies_and_hard_ones_are_not_negative(
    seed: int, horizon: int | None
) -> None:
    world, random = random_mdp(seed, horizon), np.random.default_rng(seed + 50)
    learned = np.where(world.available, random.normal(size=world.available.shape), 0.0)
    for temperature in (0.3, 1.0, 2.5):
        lost = expected_value_difference(world, learned, temperature=temperature)
        best = soft_plan(world, world.reward, temperature).policy
        found = soft_plan(world, learned, temperature).policy
        kl = policy_divergence(world, found, best).kl  # on the states of the learned policy
        assert lost.difference == pytest.approx(temperature * kl, rel=1e-9)
        assert lost.best >= lost.random - 1e-12
    hard = expected_value_difference(world, learned, temperature=0.0)
    assert hard.best == pytest.approx(hard_plan(world, world.reward).start_value, abs=1e-12)
    assert hard.difference >= -1e-12
    assert expected_value_difference(world, 7 * world.reward, temperature=0.0).difference == pytest.approx(0)


def test_the_expected_value_is_what_trajectories_earn() -> None:
    world = random_mdp(3, 7)
    learned = -world.reward
    exact = expected_value_difference(world, learned, temperature=0.0).reached
    drawn = sample(world, hard_plan(world, learned).policy, 20_000, seed=0)
    who, when, state, action = drawn.steps()
    returns = np.zeros(len(drawn))
    np.add.at(returns, who, world.discount**when * world.reward[state, action])
    error = returns.std() / np.sqrt(len(returns))
    assert abs(returns.mean() - exact) < 4.5 * error  # by chance once in 150 000


def test_where_chance_is_optimal_there_is_no_share() -> None:
    world = fork().with_(reward=np.zeros((2, 2)))
    assert expected_value_difference(world, np.ones((2, 2)), temperature=0.0).normalised is None
    assert ValueDifference(3.0, 2.0, 1.0, 0.0).normalised == pytest.approx(0.5)


def test_a_divergence_by_hand() -> None:
    world = fork(horizon=2)
    expert, policy = np.array([[0.5, 0.5], [0, 0]]), np.array([[0.25, 0.75], [0, 0]])
    d = policy_divergence(world, expert, policy)
    once = 0.5 * log(2) + 0.5 * log(2 / 3)
    assert d.kl == pytest.approx(once * (1 + 0.9 * 0.5), abs=1e-14)
    assert d.decisions == pytest.approx(1.45)
    assert d.per_decision == pytest.approx(once)
    assert (d.total_variation, d.worst) == (pytest.approx(0.25), pytest.approx(0.25))
    same = policy_divergence(world, expert, np.broadcast_to(expert, (2, 2, 2)))
    assert (same.kl, same.total_variation, same.worst) == (0, 0, 0)


def test_a_policy_that_never_does_what_the_expert_does_is_infinitely_far() -> None:
    world = fork()
    leaves, stays = np.array([[0, 1.0], [0, 0]]), np.array([[1.0, 0], [0, 0]])
    assert policy_divergence(world, leaves, stays).kl == inf
    assert policy_divergence(world, leaves, stays).total_variation == 1.0


def test_only_states_that_the_expert_visits_count() -> None:
    moves = np.zeros((2, 2, 2))
    moves[:, :, 0] = 1  # back to state 0 from everywhere; nobody is ever in state 1
    world = TabularMDP.make(moves, initial=[1.0, 0.0], discount=0.5, horizon=None)
    a, b = np.full((2, 2), 0.5), np.array([[0.5, 0.5], [1.0, 0.0]])
    d = policy_divergence(world, a, b)
    assert (d.kl, d.worst, d.decisions) == (0.0, 0.0, pytest.approx(2.0))


@pytest.mark.parametrize("horizon", [None, 6])
def test_the_feature_gap_is_the_difference_of_expected_sums(horizon: int | None) -> None:
    world = random_mdp(11, horizon)
    one, two = (soft_plan(world, r).policy for r in (world.reward, -world.reward))
    gap = feature_gap(world, occupancy(world, one), occupancy(world, two))
    weights = np.array([1.0, -2.0, 0.5, 3.0])
    reward = world.linear(weights)
    a, b = (value_difference(world, p, temperature=0.0, truth=reward).reached for p in (one, two))
    assert gap @ weights == pytest.approx(b - a, abs=1e-12)


def test_the_random_policy_takes_what_there_is() -> None:
    world = random_mdp(2, 5)
    policy = random_policy(world)
    np.testing.assert_allclose(policy.sum(1), ~world.terminal)
    assert (policy[~world.available] == 0).all()


# STARC


@pytest.mark.parametrize("horizon", [None, 5])
@pytest.mark.parametrize("seed", range(10))
def test_expected_shaping_is_no_distance_for_starc(seed: int, horizon: int | None) -> None:
    world, random = random_mdp(seed, horizon), np.random.default_rng(seed)
    potential = np.where(world.terminal, 0.0, random.normal(size=world.states))
    ahead = (world.transition @ potential).reshape(world.available.shape)
    shaping = np.where(world.available, world.discount * ahead - potential[:, None], 0.0)
    other = 3.7 * (world.reward + shaping * (horizon is None))
    assert starc_distance(world, world.reward, other) <= 1e-8
    assert starc_distance(world, world.reward, -other) == pytest.approx(1.0, abs=1e-12)
    if horizon is None:  # EPIC takes rewards of steps as they stand, which its docstring says
        assert epic_distance(world.reward, other, 0.9, Coverage.uniform(6, 3)) > 0.01
    else:  # there the potential is still there when the time is over, so it does change what is best
        assert starc_distance(world, world.reward, world.reward + shaping) > 1e-3


@pytest.mark.parametrize("seed", range(10))
def test_starc_is_a_pseudometric(seed: int) -> None:
    world, random = random_mdp(seed, None), np.random.default_rng(seed)
    a, b, c = random.normal(size=(3, world.states, world.actions))
    assert starc_distance(world, a, c) <= starc_distance(world, a, b) + starc_distance(world, b, c) + 1e-12
    assert starc_distance(world, a, b) == pytest.approx(starc_distance(world, b, a), abs=1e-12)


def test_a_small_starc_distance_loses_little_and_none_loses_nothing() -> None:
    world = random_mdp(4, None)
    noise = np.random.default_rng(0).normal(size=world.available.shape)
    near = [
        starc_distance(world, world.reward, world.reward + e * noise) for e in (0.0, 1e-3, 1e-2, 1e-1, 1.0)
    ]
    assert near == sorted(near)
    assert near[0] == 0


def test_a_reward_under_which_all_is_worth_the_same_is_refused() -> None:
    world = random_mdp(0, None)
    nothing = np.zeros(world.available.shape)
    with pytest.raises(TrivialReward, match="second reward all policies"):
        starc_distance(world, world.reward, nothing)


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda w: expected_value_difference(w, w.reward, temperature=-1.0), "temperature is -1"),
        (
            lambda w: expected_value_difference(w.with_(reward=None), w.reward, temperature=0),
            "no true reward",
        ),
        (lambda w: expected_value_difference(w, w.reward[:2], temperature=0), "a reward for"),
        (lambda w: value_difference(w, np.ones((2, 3)), temperature=0), "a policy for"),
        (lambda w: policy_divergence(w, random_policy(w), np.ones((9, 6, 3))), "a policy for"),
        (lambda w: starc_distance(w, w.reward[:3], w.reward), "a reward is"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(call, rule: str) -> None:
    with pytest.raises(ValueError, match=rule) as caught:
        call(random_mdp(0, 4))
    assert "\n" not in str(caught.value)
