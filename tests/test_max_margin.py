"""Maximum-margin planning: the minimum is one, with a certificate, and the expert wins by a margin."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from understudy.irl.max_margin import fit_max_margin, off_actions, off_states, simplex_maximum
from understudy.tabular import (
    Demonstrations,
    TabularMDP,
    Trajectories,
    hard_plan,
    occupancy,
    sample,
    soft_plan,
)
from understudy.tabular.worlds import gridworld, random_mdp, routes, street_grid


def tiny(discount: float = 0.9) -> TabularMDP:
    """3 states, 2 actions, 3 decisions: 512 deterministic policies."""
    rng = np.random.default_rng(0)
    return TabularMDP.make(
        rng.dirichlet(np.ones(3), (3, 2)),
        initial=rng.dirichlet(np.ones(3)),
        discount=discount,
        horizon=3,
        features=rng.normal(size=(3, 2, 2)),
    )


def every_policy(mdp: TabularMDP) -> np.ndarray:
    """[n, S, A], the occupancies of all deterministic policies, other ones at each time."""
    assert mdp.horizon is not None
    steps = mdp.horizon * mdp.states
    visits = []
    for choice in product(range(mdp.actions), repeat=steps):
        policy = np.eye(mdp.actions)[np.array(choice).reshape(mdp.horizon, mdp.states)]
        if (policy.astype(bool) <= mdp.available).all():
            visits.append(occupancy(mdp, policy))
    return np.array(visits)


# --- the quadratic program


@pytest.mark.parametrize("kind", ["plain", "the same twice", "flat"])
def test_the_maximum_over_mixtures_meets_its_conditions(kind: str) -> None:
    """No share could be moved to where the slope is greater, up to rounding."""
    rng = np.random.default_rng(0)
    for _ in range(100):
        n, k = rng.integers(2, 14), rng.integers(1, 8)
        rows, linear = rng.normal(size=(n, k)), rng.normal(size=n) * rng.choice([1e-3, 1.0, 100.0])
        if kind != "plain":
            rows[n // 2 :] = rows[: n - n // 2]
        if kind == "the same twice":
            linear[n // 2 :] = linear[: n - n // 2]
        alpha = simplex_maximum(rows @ rows.T, linear, np.eye(n)[0])
        slope = linear - rows @ (rows.T @ alpha)
        assert (alpha >= 0).all()
        assert alpha.sum() == pytest.approx(1.0, abs=1e-12)
        assert slope.max() - alpha @ slope <= 1e-10 * max(1.0, float(np.abs(linear).max()))


def test_a_straight_maximum_is_at_a_corner() -> None:
    start = np.array([0.2, 0.5, 0.3])
    assert simplex_maximum(np.zeros((3, 3)), np.array([1.0, 3.0, 2.0]), start) == pytest.approx([0, 1, 0])


# --- the algorithm


@pytest.mark.parametrize("regularisation", [1.0, 0.01])
@pytest.mark.parametrize("expert", ["sure", "unsure"])
def test_the_minimum_is_that_over_all_policies_counted(expert: str, regularisation: float) -> None:
    from scipy.optimize import LinearConstraint, minimize

    mdp = tiny()
    reward = mdp.linear([1.0, -0.5])
    plan = hard_plan(mdp, reward) if expert == "sure" else soft_plan(mdp, reward, 0.5)
    data = Demonstrations.exact(mdp, plan.policy)
    loss = off_actions(data) if expert == "sure" else np.array([[0.0, 1.0], [0.3, 0.0], [0.0, 0.7]])
    found = fit_max_margin(mdp, data, loss=loss, regularisation=regularisation, tolerance=1e-9)
    visits = every_policy(mdp)
    assert len(visits) == 512
    slopes = np.array([mdp.counts(x) for x in visits]) - mdp.counts(data.visits)
    offsets = (visits * loss).sum((1, 2))

    def objective(theta: np.ndarray) -> float:
        return regularisation / 2 * float(theta @ theta) + float((slopes @ theta + offsets).max())

    assert found.converged
    assert found.objective == pytest.approx(objective(found.weights), abs=1e-10)
    assert found.objective >= 0
    best = minimize(
        lambda z: regularisation / 2 * (z[:2] @ z[:2]) + z[2],
        np.append(found.weights + 0.3, objective(found.weights + 0.3)),
        jac=lambda z: np.append(regularisation * z[:2], 1.0),
        constraints=LinearConstraint(np.column_stack([-slopes, np.ones(512)]), offsets, np.inf),
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 300},
    )
    assert found.objective == pytest.approx(float(best.fun), abs=1e-7)
    for shift in np.random.default_rng(0).normal(size=(50, 2)) * 0.1:
        assert objective(found.weights + shift) >= found.objective - 1e-9


@pytest.mark.parametrize("horizon", [8, None])
@pytest.mark.parametrize("width", [4, 12])
def test_the_gap_closes_and_the_bound_is_below(horizon: int | None, width: int) -> None:
    mdp = random_mdp(20, 3, branching=3, seed=1, discount=0.9, horizon=horizon, width=width)
    assert mdp.reward is not None
    data = Demonstrations.exact(mdp, soft_plan(mdp, mdp.reward, 3.0).policy)
    loss = np.random.default_rng(0).uniform(size=(20, 3))
    found = fit_max_margin(mdp, data, loss=loss, regularisation=0.1)
    assert found.converged
    assert -1e-9 < found.gap <= 1e-6
    assert found.objective >= (loss * data.visits).sum() - 1e-9, "the expert is one of the policies"
    visits = occupancy(mdp, hard_plan(mdp, found.reward + loss).policy)
    hinge = float(found.weights @ (mdp.counts(visits) - mdp.counts(data.visits)) + (loss * visits).sum())
    assert found.slack == pytest.approx(hinge, abs=1e-9)
    assert found.objective == pytest.approx(hinge + 0.05 * found.weights @ found.weights, abs=1e-9)
    early = fit_max_margin(mdp, data, loss=loss, regularisation=0.1, cuts=3)
    assert not early.converged
    assert early.bound <= found.objective + 1e-9 <= early.objective + 2e-9


def test_a_separable_expert_wins_by_its_loss() -> None:
    """A sure way through a grid without chance: with little regularisation no margin is missed."""
    mdp = gridworld(2, 2, slip=0.0, discount=1.0, horizon=2, rewards={(0, 1): 1.0}, initial=(0, 0))
    path = Trajectories.of([[0, 1, 1]], [[1, 0]])  # right, then up against the border
    data = Demonstrations.of(mdp, path)
    loss = off_actions(data)
    found = fit_max_margin(mdp, data, loss=loss, regularisation=1e-3)
    # The border is up and right: which of them was done in the last step no state feature says, and to do the
    # other there is a loss of 1.
    assert found.slack == pytest.approx(1.0, abs=1e-6)
    states = fit_max_margin(mdp, data, loss=off_states(data), regularisation=1e-3)
    assert states.slack == pytest.approx(0.0, abs=1e-6)
    assert mdp.counts(occupancy(mdp, states.policy)) == pytest.approx(mdp.counts(data.visits))
    for choice in product(range(4), repeat=4):
        visits = occupancy(mdp, np.eye(4)[list(choice)])
        for fit, price in ((found, loss), (states, off_states(data))):
            ahead = fit.weights @ (mdp.counts(data.visits) - mdp.counts(visits))
            assert ahead >= (price * visits).sum() - fit.slack - 1e-9


def test_it_knows_roads_that_end_and_crossings_of_few_roads() -> None:
    mdp = routes(street_grid(4, 4, seed=0), goal=15, start=0, horizon=40)
    assert mdp.reward is not None
    data = Demonstrations.exact(mdp, hard_plan(mdp, mdp.reward).policy)
    found = fit_max_margin(mdp, data, loss=off_actions(data), regularisation=0.01)
    assert found.converged
    assert (found.policy[:, ~mdp.available] == 0).all()
    # Without chance and with an expert who is the best for some weights, his way is the best for these too.
    assert mdp.counts(occupancy(mdp, found.policy)) == pytest.approx(mdp.counts(data.visits), abs=1e-9)


def test_lucky_demonstrations_show_as_a_negative_slack() -> None:
    mdp = random_mdp(20, 3, branching=4, seed=2, discount=1.0, horizon=6, width=8)
    assert mdp.reward is not None
    few = sample(mdp, soft_plan(mdp, mdp.reward).policy, 3, seed=0)
    found = fit_max_margin(mdp, few, loss=off_actions(Demonstrations.of(mdp, few)), regularisation=0.01)
    assert found.converged
    assert found.slack < 0


def test_losses_are_off_the_experts_path() -> None:
    mdp = tiny()
    data = Demonstrations.of(mdp, Trajectories.of([[0, 1, 0, 1]], [[1, 0, 1]]))
    assert off_states(data).tolist() == [[0, 0], [0, 0], [1, 1]]
    assert off_actions(data).tolist() == [[1, 0], [0, 1], [1, 1]]


def test_arguments_out_of_range_are_refused() -> None:
    mdp = tiny()
    data = Demonstrations.exact(mdp, soft_plan(mdp, np.zeros((3, 2))).policy)
    with pytest.raises(ValueError, match="loss holds -1"):
        fit_max_margin(mdp, data, loss=-np.ones((3, 2)), regularisation=1.0)
    with pytest.raises(ValueError, match="regularisation is 0"):
        fit_max_margin(mdp, data, loss=np.ones((3, 2)), regularisation=0.0)
    with pytest.raises(ValueError, match="a reward is"):
        fit_max_margin(mdp, data, loss=np.ones(7), regularisation=1.0)
    cut = Demonstrations.of(mdp, Trajectories.of([[0, 1]], [[1]]))
    with pytest.raises(ValueError, match="lie behind where they were cut"):
        fit_max_margin(mdp, cut, loss=off_states(cut), regularisation=1.0)


def test_a_loss_that_is_zero_everywhere_has_the_rewards_at_zero() -> None:
    """No other policy is worse, so no margin is asked for; the search comes to its end all the same."""
    mdp = gridworld(3, 3, slip=0.1, discount=0.9, rewards={(2, 2): 1.0})
    policy = soft_plan(mdp, np.zeros((mdp.states, mdp.actions))).policy
    demonstrations = Demonstrations.exact(mdp, policy)
    loss = off_actions(demonstrations)
    assert not loss.any()
    fit = fit_max_margin(mdp, demonstrations, loss=loss, regularisation=1.0)
    assert fit.converged
    np.testing.assert_allclose(fit.weights, 0, atol=1e-6)
