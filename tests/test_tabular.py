"""Finite MDPs and planning in them, against sums over all trajectories and against simulation."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.special import logsumexp

from understudy.tabular import (
    Demonstrations,
    TabularMDP,
    Trajectories,
    arrivals,
    expected_return,
    hard_plan,
    log_policy,
    occupancy,
    policy_value,
    sample,
    soft_plan,
)


def world(
    s: int = 6, a: int = 3, *, horizon: int | None = 4, discount: float = 0.9, seed: int = 0, **more: Any
) -> TabularMDP:
    rng = np.random.default_rng(seed)
    return TabularMDP.make(
        rng.dirichlet(np.ones(s), (s, a)),
        initial=rng.dirichlet(np.ones(s)),
        discount=discount,
        horizon=horizon,
        features=rng.normal(size=(s, a, 4)),
        reward=rng.normal(size=(s, a)),
        **more,
    )


def sparse_world(s: int, *, horizon: int | None, discount: float, seed: int = 3) -> TabularMDP:
    """Three successors each; the last state ends episodes, and half of the second actions do not exist."""
    rng = np.random.default_rng(seed)
    rows = np.repeat(np.arange(s * 3), 3)
    p = csr_array(
        (rng.dirichlet(np.ones(3), s * 3).ravel(), (rows, rng.integers(0, s, 9 * s))), shape=(3 * s, s)
    )
    available = np.ones((s, 3), np.bool_)
    available[::2, 1] = False
    ends = np.arange(s) == s - 1
    first = np.where(ends, 0.0, 1.0)
    return TabularMDP.make(
        p,
        initial=first / first.sum(),
        discount=discount,
        horizon=horizon,
        terminal=ends,
        available=available,
        reward=rng.normal(size=(s, 3)),
    )


def simple_soft(mdp: TabularMDP, r: Any, sweeps: int) -> tuple[list[Any], list[Any]]:
    """The textbook's backward pass, written out again in other shapes."""
    p = mdp.transition.toarray().reshape(mdp.states, mdp.actions, mdp.states)
    values, policies = [np.zeros(mdp.states)], []
    for _ in range(sweeps):
        q = np.where(mdp.available, r + mdp.discount * p @ values[0], -np.inf)
        q[mdp.terminal] = 0
        v = np.where(mdp.terminal, 0, logsumexp(q, axis=1))
        policies.insert(0, np.where(mdp.terminal[:, None], 0, np.exp(q - v[:, None])))
        values.insert(0, v)
    return values, policies


@pytest.mark.parametrize("discount", [1.0, 0.9])
@pytest.mark.parametrize("temperature", [1.0, 0.25])
def test_the_soft_plan_is_the_textbooks(discount: float, temperature: float) -> None:
    for mdp in (world(discount=discount), sparse_world(40, horizon=4, discount=discount)):
        assert mdp.reward is not None
        plan = soft_plan(mdp, mdp.reward, temperature)
        values, policies = simple_soft(mdp, mdp.reward / temperature, 4)
        np.testing.assert_allclose(plan.value, temperature * np.stack(values), atol=1e-12)
        np.testing.assert_allclose(plan.policy, np.stack(policies), atol=1e-12)


@pytest.mark.parametrize("discount", [0.7, 0.99])
def test_without_a_horizon_the_soft_value_solves_its_equation(discount: float) -> None:
    for mdp in (world(horizon=None, discount=discount), sparse_world(700, horizon=None, discount=discount)):
        assert mdp.reward is not None
        plan = soft_plan(mdp, mdp.reward * 5)
        q = mdp.reward * 5 + discount * (mdp.transition @ plan.value).reshape(mdp.states, mdp.actions)
        v = np.where(mdp.terminal, 0, logsumexp(np.where(mdp.available, q, -np.inf), axis=1))
        np.testing.assert_allclose(plan.value, v, rtol=0, atol=1e-11)
        again = soft_plan(mdp, mdp.reward * 5, start=plan.value + 1)
        np.testing.assert_allclose(again.value, plan.value, atol=1e-11)
        np.testing.assert_allclose(plan.policy.sum(1), ~mdp.terminal, atol=1e-13)


def test_the_log_of_a_policy_is_exact_where_the_policy_is_zero() -> None:
    mdp = world(horizon=None)
    assert mdp.reward is not None
    plan = soft_plan(mdp, mdp.reward, temperature=1e-3)
    assert (plan.policy == 0).any()
    logs = log_policy(plan)
    assert np.isfinite(logs).all()
    assert logs.min() < -745  # the logarithm of the smallest double
    np.testing.assert_allclose(np.exp(logs), plan.policy, atol=1e-12)
    with pytest.raises(ValueError, match="hard plan"):
        log_policy(hard_plan(mdp, mdp.reward))
    ends = sparse_world(12, horizon=3, discount=1.0)
    assert ends.reward is not None
    soft = soft_plan(ends, ends.reward)
    np.testing.assert_allclose(np.exp(log_policy(soft)), soft.policy, atol=1e-14)


@pytest.mark.parametrize("discount", [1.0, 0.8])
def test_occupancy_and_value_are_sums_over_all_trajectories(discount: float) -> None:
    mdp = world(3, 2, horizon=3, discount=discount, seed=1)
    p, pi = mdp.transition.toarray().reshape(3, 2, 3), soft_plan(mdp, mdp.reward).policy  # type: ignore[arg-type]
    visits, earned = np.zeros((3, 2)), 0.0
    assert mdp.reward is not None
    for path in product(range(3), range(2), repeat=3):
        s, a = path[::2], path[1::2]
        chance = mdp.initial[s[0]]
        for t in range(3):
            chance *= pi[t, s[t], a[t]] * (p[s[t], a[t], s[t + 1]] if t < 2 else 1)
        for t in range(3):
            visits[s[t], a[t]] += chance * discount**t
            earned += chance * discount**t * mdp.reward[s[t], a[t]]
    np.testing.assert_allclose(occupancy(mdp, pi), visits, atol=1e-14)
    assert expected_return(mdp, pi) == pytest.approx(earned, abs=1e-14)


@pytest.mark.parametrize("horizon", [7, None])
@pytest.mark.parametrize("states", [30, 700])
def test_occupancy_and_value_agree_and_nothing_is_done_at_the_end(horizon: int | None, states: int) -> None:
    mdp = sparse_world(states, horizon=horizon, discount=0.95)
    assert mdp.reward is not None
    policy = soft_plan(mdp, mdp.reward).policy
    visits = occupancy(mdp, policy)
    assert (visits[mdp.terminal] == 0).all()
    assert (visits[~mdp.available] == 0).all()
    assert (visits * mdp.reward).sum() == pytest.approx(mdp.initial @ policy_value(mdp, policy, mdp.reward))
    always = policy if policy.ndim == 2 else policy[0]
    visits = occupancy(mdp, always)
    assert (visits * mdp.reward).sum() == pytest.approx(expected_return(mdp, always), abs=1e-10)


@pytest.mark.parametrize("horizon", [5, None])
def test_the_hard_plan_beats_every_other_and_shares_ties(horizon: int | None) -> None:
    mdp = world(4, 3, horizon=horizon, discount=0.9, seed=4)
    assert mdp.reward is not None
    best = hard_plan(mdp, mdp.reward)
    for choice in product(range(3), repeat=4):
        policy = np.eye(3)[list(choice)]
        assert (
            policy_value(mdp, policy, mdp.reward)
            <= (best.value if horizon is None else best.value[0]) + 1e-12
        ).all()
    np.testing.assert_allclose(
        policy_value(mdp, best.policy, mdp.reward), best.value if horizon is None else best.value[0]
    )
    tied = hard_plan(mdp, np.zeros((4, 3)))
    np.testing.assert_allclose(tied.policy, 1 / 3)
    cold = soft_plan(mdp, mdp.reward, temperature=1e-4)
    np.testing.assert_allclose(cold.policy, best.policy, atol=1e-6)


def test_trajectories_have_the_frequencies_of_the_occupancy() -> None:
    """n = 20,000; each mean within 5 of its standard errors: a false alarm in 1 of 10,000 runs or so."""
    for mdp in (world(horizon=5), sparse_world(9, horizon=6, discount=0.9)):
        assert mdp.reward is not None
        policy = soft_plan(mdp, mdp.reward).policy
        found = Demonstrations.of(mdp, sample(mdp, policy, 20_000, seed=7))
        want = occupancy(mdp, policy)
        assert found.cuts is None
        spread = np.sqrt(np.maximum(want, 1e-4) * 5 / 20_000)  # a state can be seen five times in one
        assert (np.abs(found.visits - want) < 5 * spread).all()
        assert (np.abs(found.starts - mdp.initial) < 5 * np.sqrt(1 / 20_000)).all()


@pytest.mark.parametrize("horizon", [6, None])
def test_what_was_cut_off_counts_on_neither_side(horizon: int | None) -> None:
    """n = 40,000 trajectories cut after three decisions, against the exact occupancy of three decisions."""
    mdp = sparse_world(9, horizon=horizon, discount=0.9)
    assert mdp.reward is not None
    policy = soft_plan(mdp, mdp.reward).policy
    cut = Demonstrations.of(mdp, sample(mdp, policy, 40_000, seed=1, steps=3))
    short = mdp.with_(horizon=3)
    first = occupancy(short, policy if policy.ndim == 2 else policy[:3])
    assert np.abs(cut.occupancy(mdp, policy) - first).max() < 0.02
    assert np.abs(cut.visits - first).max() < 0.02
    # What was earned before the cut, and what is worth the rest, make up the value of the start.
    if horizon is None:
        values = policy_value(mdp, policy, mdp.reward)
    else:
        rest = (policy_value(mdp.with_(horizon=6 - t), policy[t:], mdp.reward) for t in range(6))
        values = np.stack([*rest, np.zeros(9)])
    assert cut.baseline(values) == pytest.approx((cut.visits * mdp.reward).sum(), abs=0.02)
    whole = soft_plan(mdp, mdp.reward)
    exact = Demonstrations.exact(mdp, policy)
    np.testing.assert_array_equal(exact.occupancy(mdp, policy), exact.visits)
    assert exact.baseline(whole.value) == pytest.approx(whole.start_value)


def test_features_and_rewards_come_in_every_usual_shape() -> None:
    mdp = world(4, 2)
    rng = np.random.default_rng(0)
    p, phi = mdp.transition.toarray().reshape(4, 2, 4), rng.normal(size=(4, 3))
    np.testing.assert_allclose(arrivals(phi, p), (p @ phi).reshape(8, 3))
    np.testing.assert_allclose(arrivals(csr_array(phi), p).toarray(), (p @ phi).reshape(8, 3))
    assert mdp.with_(features=phi).linear([1, 2, 3])[:, 1] == pytest.approx(phi @ [1, 2, 3])
    over = rng.normal(size=(4, 2, 4))
    np.testing.assert_allclose(mdp.expected(over), (p * over).sum(2))
    np.testing.assert_allclose(mdp.expected(phi[:, 0]), np.repeat(phi[:, :1], 2, 1))
    visits = rng.random((4, 2))
    hot = TabularMDP.make(p, initial=mdp.initial, discount=1, horizon=2)
    np.testing.assert_allclose(hot.counts(visits), visits.sum(1))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"discount": 0}, "discount is 0"),
        ({"discount": 1, "horizon": None}, "without a horizon"),
        ({"horizon": 0}, "horizon is 0"),
        ({"initial": np.ones(6)}, "initial sums to 6"),
        ({"transition": np.ones((6, 3, 6))}, "state 0, action 0 sum to 6"),
        ({"transition": np.ones((5, 3, 6))}, r"transition is \[15, 6\]|with 6 states"),
        ({"features": np.ones((7, 2))}, r"features is \[7, 2\]"),
        ({"features": np.full((6, 2), np.nan)}, "not finite"),
        ({"reward": np.ones(7)}, r"not \[7\]"),
        ({"reward": np.full(6, np.inf)}, "not finite"),
        ({"shape": (2, 2)}, "6 states"),
        ({"state_names": ("a",)}, "state_names has 1"),
        ({"available": np.zeros((6, 3), np.bool_)}, "state 0 has no action"),
        ({"terminal": np.zeros(6)}, "terminal is float64"),
    ],
)
def test_what_is_no_mdp_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        world().with_(**changes)


@pytest.mark.parametrize(
    ("states", "actions", "words"),
    [
        ([[0, 1, -1]], [[0, -1, -1]], r"states is \[1, 3\]"),
        ([[0, 1, 2]], [[-1, 0]], "trajectory 0 has a gap"),
        ([[0, 1, -1], [0, 1, 2]], [[0, 1], [0, 1]], "trajectory 0"),
        ([[0, -1, -1]], [[-1, -1]], "no action"),
        ([[0.0, 1.0]], [[0]], "whole numbers"),
        ([[0, 9]], [[0]], "leaves the 9 states"),
        ([[0, 1]], [[1]], "cannot lead"),
        ([[0] * 8], [[0] * 7], "horizon"),
    ],
)
def test_impossible_trajectories_are_refused(states: Any, actions: Any, words: str) -> None:
    mdp = sparse_world(9, horizon=6, discount=0.9)
    with pytest.raises(ValueError, match=words):
        Demonstrations.of(mdp, Trajectories.of(states, actions))


def test_a_step_that_cannot_happen_is_refused() -> None:
    mdp = sparse_world(9, horizon=6, discount=0.9)
    nowhere = int(np.flatnonzero(mdp.transition[[0]].toarray()[0] == 0)[0])
    with pytest.raises(ValueError, match=f"action 0 in state 0 cannot lead to state {nowhere}"):
        Demonstrations.of(mdp, Trajectories.of([[0, nowhere]], [[0]]))


def test_a_reward_that_does_not_fit_is_refused() -> None:
    mdp = world()
    for wrong, words in ((np.ones(6), "not \\[6\\]"), (np.full((6, 3), np.nan), "not finite")):
        with pytest.raises(ValueError, match=words):
            soft_plan(mdp, wrong)
    with pytest.raises(ValueError, match="temperature"):
        soft_plan(mdp, np.ones((6, 3)), 0)
    with pytest.raises(ValueError, match="policy for"):
        occupancy(mdp, np.ones((2, 6, 3)))
    with pytest.raises(ValueError, match="no horizon"):
        sample(world(horizon=None), np.ones((6, 3)) / 3, 5, seed=0)
