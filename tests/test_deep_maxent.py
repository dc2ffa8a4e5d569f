"""Deep MaxEnt: exact gradients through planning, a linear network is linear MaxEnt, resuming, new worlds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from understudy.irl import fit_maxent
from understudy.learn.deep_maxent import Config, DeepMaxEnt, fit_deep
from understudy.nets import MLP
from understudy.serial import read_tree, write_tree
from understudy.tabular import (
    Demonstrations,
    TabularMDP,
    Trajectories,
    expected_successors,
    hard_plan,
    log_policy,
    occupancy,
    sample,
    soft_plan,
)
from understudy.tabular.worlds import objectworld

NET = MLP((7, 5), "tanh")


def world(horizon: int | None, discount: float, seed: int = 0) -> TabularMDP:
    """12 states, 3 actions of which some are missing, one terminal state, features of states and actions."""
    rng = np.random.default_rng(seed)
    s, a, k = 12, 3, 4
    transition = rng.dirichlet(np.full(s, 0.4), (s, a))
    terminal, available = np.zeros(s, bool), rng.random((s, a)) < 0.8
    terminal[s - 1], available[:, 0] = True, True
    available[s - 1] = False
    transition[~available] = 0
    return TabularMDP.make(
        transition, initial=rng.dirichlet(np.ones(s)), discount=discount, horizon=horizon, terminal=terminal,
        available=available, features=rng.normal(size=(s, a, k)) * [1, 10, 0.1, 1] + 5,
        reward=rng.normal(size=(s, a)),
    )  # fmt: skip


def shown(mdp: TabularMDP, n: int = 20, seed: int = 1) -> Demonstrations:
    """Demonstrations of the soft expert, cut off after 5 steps."""
    assert mdp.reward is not None
    return Demonstrations.of(mdp, sample(mdp, soft_plan(mdp, mdp.reward).policy, n, seed, steps=5))


def decided(mdp: TabularMDP, reward: np.ndarray[Any, Any], trajectories: Trajectories) -> float:
    """Σ γ^t log π_t(a_t | s_t) / Σ γ^t, straight from its definition."""
    _, when, state, action = trajectories.steps()
    logs = log_policy(soft_plan(mdp, reward))
    chosen = logs[state, action] if logs.ndim == 2 else logs[when, state, action]
    weight = mdp.discount**when
    return float(weight @ chosen / weight.sum())


@pytest.mark.parametrize(
    ("horizon", "discount"), [(8, 1.0), *((h, g) for h in (None, 8) for g in (0.99, 0.9, 0.7))]
)
def test_the_gradient_in_all_weights_is_that_of_the_log_likelihood(
    horizon: int | None, discount: float
) -> None:
    mdp = world(horizon, discount)
    demonstrations = shown(mdp)
    fit = DeepMaxEnt(mdp, demonstrations, NET, Config(weight_decay=0.01))
    fit.step()  # away from the start, where rewards are near 0
    value, grads = fit.objective()
    penalty = 0.005 * sum(float((p.detach() ** 2).sum()) for p in fit.net.parameters() if p.ndim > 1)
    assert demonstrations.trajectories is not None
    assert value == pytest.approx(penalty - decided(mdp, fit.reward, demonstrations.trajectories), rel=1e-12)
    assert fit.log_likelihood(demonstrations) == pytest.approx(penalty - value, rel=1e-12)
    rng, step = np.random.default_rng(2), 1e-5
    for _ in range(5):  # central differences along random directions of all weights together
        along = [torch.from_numpy(rng.normal(size=p.shape)) for p in fit.net.parameters()]
        sides = []
        for sign in (1, -1):
            with torch.no_grad():
                for p, d in zip(fit.net.parameters(), along, strict=True):
                    p.add_(d, alpha=sign * step)
            sides.append(fit.objective()[0])
            with torch.no_grad():
                for p, d in zip(fit.net.parameters(), along, strict=True):
                    p.sub_(d, alpha=sign * step)
        exact = sum(float((g * d).sum()) for g, d in zip(grads, along, strict=True))
        size = sum(float((g**2).sum()) for g in grads) ** 0.5 * sum(float((d**2).sum()) for d in along) ** 0.5
        assert abs((sides[0] - sides[1]) / (2 * step) - exact) < 1e-6 * max(abs(exact), 0.1 * size)


@pytest.mark.parametrize("horizon", [None, 8])
def test_a_linear_network_on_exact_demonstrations_is_maxent(horizon: int | None) -> None:
    mdp = world(horizon, 0.9)
    expert = soft_plan(mdp, mdp.linear([0.5, -0.1, 3.0, 1.0])).policy
    demonstrations = Demonstrations.exact(mdp, expert)
    config = Config(weight_decay=0.0, tolerance=1e-10)
    fit = DeepMaxEnt(mdp, demonstrations, MLP(()), config).fit(100)
    assert fit.converged
    visits = occupancy(mdp, fit.policy)
    assert mdp.counts(visits) == pytest.approx(mdp.counts(demonstrations.visits), rel=1e-7)
    assert fit.policy == pytest.approx(expert, abs=1e-6)


@pytest.mark.parametrize("horizon", [None, 8])
def test_a_linear_network_is_the_linear_method_on_sampled_demonstrations_too(horizon: int | None) -> None:
    mdp = world(horizon, 0.9)
    demonstrations = shown(mdp, n=200)
    config = Config(weight_decay=0.0, tolerance=1e-10)
    fit = DeepMaxEnt(mdp, demonstrations, MLP(()), config).fit(100)
    constant = np.hstack([np.asarray(mdp.features), np.ones((mdp.states * mdp.actions, 1))])  # its bias
    linear = fit_maxent(mdp.with_(features=constant), demonstrations, objective="choices")
    assert linear.converged
    assert fit.log_likelihood(demonstrations) == pytest.approx(linear.log_likelihood, rel=1e-9)
    assert fit.policy == pytest.approx(linear.policy, abs=1e-6)


@pytest.mark.parametrize("horizon", [None, 8])
def test_a_deep_network_finds_the_policy_where_the_reward_is_not_linear(horizon: int | None) -> None:
    """From exact demonstrations: occupancies meet, and a linear reward cannot make them."""
    mdp = world(horizon, 0.9)
    assert mdp.reward is not None
    demonstrations = Demonstrations.exact(mdp, soft_plan(mdp, mdp.reward).policy)
    config = Config(weight_decay=0.0, tolerance=1e-7)
    far, near = (
        np.abs(
            occupancy(mdp, DeepMaxEnt(mdp, demonstrations, net, config).fit(100).policy)
            - demonstrations.visits
        ).max()
        for net in (MLP(()), MLP((32,), "tanh"))
    )
    assert near < 1e-5
    assert far > 1e-2


@pytest.mark.parametrize("horizon", [None, 8])
def test_expected_successors_change_nothing_on_average_and_leave_exact_ones_alone(
    horizon: int | None,
) -> None:
    mdp = world(horizon, 0.9)
    assert mdp.reward is not None
    policy = soft_plan(mdp, mdp.reward).policy
    exact = Demonstrations.exact(mdp, policy)
    assert expected_successors(mdp, exact) is exact
    # A policy visits what its own demonstrations do, whatever chance did to them, once their successors are
    # expected and its choices are theirs.
    one = Trajectories.of([[0, 3, 5]], [[0, 0]])
    expected = expected_successors(mdp, Demonstrations.of(mdp, one))
    same = np.zeros((mdp.states, mdp.actions))
    same[:, 0] = mdp.available[:, 0]
    assert expected.occupancy(mdp, same) == pytest.approx(expected.visits, abs=1e-12)


def test_no_reward_can_pay_for_luck() -> None:
    """One move that slipped: a likelihood with the successors that came about would grow without bound."""
    stay, slip = [1.0, 0.0, 0.0], [0.9, 0.1, 0.0]
    transition = np.array([[slip, stay], [[0, 1, 0.0]] * 2, [[0, 0, 1.0]] * 2])
    mdp = TabularMDP.make(transition, initial=[1, 0, 0], discount=0.9, horizon=None)
    lucky = Demonstrations.of(mdp, Trajectories.of([[0, 1]], [[0]]))
    expected = expected_successors(mdp, lucky)
    values = []
    for size in (1.0, 10.0, 100.0):
        plan = soft_plan(mdp, np.array([[0, 0], [size, size], [0, 0.0]]))
        raw, fair = ((d.visits * plan.reward).sum() - d.baseline(plan.value) for d in (lucky, expected))
        values.append((raw, fair))
    assert values[2][0] > 5 * values[1][0] > 25 * values[0][0] > 0
    assert all(fair <= 0 for _, fair in values)


def small() -> tuple[TabularMDP, Demonstrations, Demonstrations]:
    mdp = objectworld(8, seed=3, objects=6)
    assert mdp.reward is not None
    expert = hard_plan(mdp, mdp.reward).policy
    made = sample(mdp, expert, 40, 4, steps=8)
    training, held = made.select(np.arange(30)), made.select(np.arange(30, 40))
    return mdp, Demonstrations.of(mdp, training), Demonstrations.of(mdp, held)


def test_it_goes_on_bit_for_bit_from_a_file(tmp_path: Path) -> None:
    mdp, training, held = small()
    whole = DeepMaxEnt(mdp, training, NET, Config(iterations=3), held)
    for _ in range(4):
        whole.step()
    half = DeepMaxEnt(mdp, training, NET, Config(iterations=3), held)
    write_tree(tmp_path / "fresh.safetensors", half.state_dict())
    for _ in range(2):
        half.step()
    write_tree(tmp_path / "half.safetensors", half.state_dict())
    again = DeepMaxEnt(mdp, training, NET, Config(iterations=3, seed=9), held)
    again.load_state_dict(read_tree(tmp_path / "half.safetensors"))
    for _ in range(2):
        again.step()
    assert np.array_equal(whole.reward, again.reward)
    assert whole.score == again.score
    assert whole.evaluations == again.evaluations
    again.load_state_dict(read_tree(tmp_path / "fresh.safetensors"))
    for _ in range(4):
        again.step()
    assert np.array_equal(whole.reward, again.reward)


def test_the_best_weights_are_kept_and_seeds_decide() -> None:
    mdp, training, held = small()
    told: list[float] = []
    config = Config(weight_decay=0.0, patience=2)
    fit = DeepMaxEnt(mdp, training, NET, config, held).fit(30, lambda found: told.append(found["validation"]))
    assert fit.done
    assert len(told) < 30
    assert told[-1] < max(told)
    assert fit.score == max(told)
    assert fit.log_likelihood(held) == pytest.approx(max(told), rel=1e-9)
    same = DeepMaxEnt(mdp, training, NET, config, held).fit(30)
    assert np.array_equal(fit.reward, same.reward)
    other = DeepMaxEnt(mdp, training, NET, Config(weight_decay=0.0, patience=2, seed=1), held).fit(30)
    assert not np.array_equal(fit.reward, other.reward)
    assert fit.step()["validation"] > min(told)  # from the best weights on


def test_weight_decay_is_chosen_by_held_out_likelihood() -> None:
    mdp, training, held = small()
    decays = (10.0, 1e-2)
    chosen = fit_deep(mdp, training, held, NET, Config(), decays=decays, steps=5)
    scores = [DeepMaxEnt(mdp, training, NET, Config(d), held).fit(5).score for d in decays]
    assert scores[0] < scores[1] == chosen.score
    assert chosen.config.weight_decay == 1e-2
    with pytest.raises(ValueError, match="no weight decays"):
        fit_deep(mdp, training, held, NET, Config(), decays=(), steps=5)


def test_the_reward_applies_to_new_worlds_of_the_same_features() -> None:
    mdp, training, held = small()
    fit = DeepMaxEnt(mdp, training, NET, Config(), held).fit(3)
    assert np.array_equal(fit.reward_on(mdp), fit.reward)
    other = objectworld(12, seed=5, objects=10)
    reward = fit.reward_on(other)
    assert reward.shape == (144, 5)
    assert (reward == reward[:, :1]).all()  # features of the state alone: so is the reward
    one = np.asarray(other.features).reshape(144, 5, -1)[7, 2]
    assert reward[7, 2] == pytest.approx(fit.net.of(one[None])[0], rel=1e-12)
    with pytest.raises(ValueError, match="has 32 features"):
        fit.reward_on(objectworld(8, seed=3, objects=6, features="discrete"))


def test_features_are_scaled_inside() -> None:
    mdp, training, held = small()
    big = mdp.with_(features=np.asarray(mdp.features) * 1000 - 5e4)
    fits = [DeepMaxEnt(m, training, NET, Config(), held).fit(2) for m in (mdp, big)]
    assert fits[0].reward == pytest.approx(fits[1].reward, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Config(weight_decay=-1.0), "weight_decay is -1.0"),
        (lambda: Config(tolerance=float("nan")), "tolerance is nan"),
        (lambda: Config(iterations=0), "iterations is 0"),
        (lambda: DeepMaxEnt(*small()[:2], MLP((4,), dropout=0.1), Config()), "dropout is 0.1"),
    ],
)
def test_wrong_settings_are_refused(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
