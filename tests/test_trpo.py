"""TRPO: the Fisher matrix against automatic differentiation, its system against a dense one, the limit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from test_ppo import HEADS, OBS, A, agent, density, lived
from understudy.agent import Agent
from understudy.heads import Gaussian
from understudy.heads.gaussian import GaussianHead
from understudy.learn.gaussian_policy import GaussianPolicy
from understudy.learn.ppo import PPO
from understudy.learn.ppo import Config as PPOConfig
from understudy.learn.rollouts import Rollout
from understudy.learn.trpo import TRPO, Config, conjugate_gradient

ROWS = 30


def taped(made: Agent, obs: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log spread before any squashing, [B, A] each, with a tape."""
    assert isinstance(made.head, GaussianHead)
    mean, log_std = made.head.parts(made.trunk.forward({"state": obs[:, None]}))
    return mean[:, 0], log_std[:, 0]


def divergence(made: Agent, obs: Tensor) -> Tensor:
    """Mean KL(old || new) with the old distribution held: its Hessian here is the Fisher matrix."""
    new = torch.distributions.Normal(*_spread(*taped(made, obs)))
    with torch.no_grad():
        old = torch.distributions.Normal(*_spread(*taped(made, obs)))
    return torch.distributions.kl_divergence(old, new).sum(1).mean()


def _spread(mean: Tensor, log_std: Tensor) -> tuple[Tensor, Tensor]:
    return mean, log_std.exp()


@pytest.mark.parametrize("activation", ["relu", "tanh", "silu"])
@pytest.mark.parametrize("head", HEADS)
def test_a_fisher_product_is_the_second_derivative_of_the_divergence(head: Gaussian, activation: Any) -> None:
    made = agent(head, activation)
    policy = GaussianPolicy(made)
    rng = torch.Generator().manual_seed(0)
    obs, direction = torch.randn(ROWS, OBS, generator=rng), torch.zeros_like(policy.flat)
    own = policy._parameters
    for p in own:  # what lies between the parameters stays zero
        policy._part(direction, p).copy_(torch.randn(p.shape, generator=rng))
    with torch.no_grad():
        found = policy.fisher(policy.normal(obs), direction)
    first = torch.autograd.grad(divergence(made, obs), own, create_graph=True)
    along = sum((g * policy._part(direction, p)).sum() for g, p in zip(first, own, strict=True))
    assert isinstance(along, Tensor)
    for p, want in zip(own, torch.autograd.grad(along, own), strict=True):
        assert torch.allclose(policy._part(found, p), want, rtol=1e-3, atol=1e-5)


def test_the_fisher_matrix_is_the_mean_of_the_scores_squares() -> None:
    """On 20,000 draws of one state, E[∂ log π ∂ log πᵀ] along a direction, within 5 standard errors."""
    made = agent(Gaussian(std="state"))
    learner = TRPO(made, Config())
    policy, n = learner._policy, 20_000
    rng = torch.Generator().manual_seed(1)
    obs = torch.randn(1, OBS, generator=rng).expand(n, OBS)
    action, _ = learner.explore(obs)
    own = policy._parameters
    direction = torch.zeros_like(policy.flat)
    for p in own:
        policy._part(direction, p).copy_(torch.randn(p.shape, generator=rng))
    with torch.no_grad():
        normal = policy.normal(obs[:1])
        want = float(direction @ policy.fisher(normal, direction))
        by_mean, by_log_std = policy.tangent(normal, direction)
    z = ((action.double().numpy() - normal.mean) / np.exp(normal.log_std)).astype(np.float64)
    scores = (z / np.exp(normal.log_std) * by_mean + (z * z - 1) * by_log_std).sum(1) ** 2
    assert abs(scores.mean() - want) < 5 * scores.std() / n**0.5
    # The score used above is the derivative of the density itself.
    at = density(made, obs[:1], action[:1])
    grads = torch.autograd.grad(at.sum(), own)
    along = sum((g * policy._part(direction, p)).sum().item() for g, p in zip(grads, own, strict=True))
    assert along**2 == pytest.approx(scores[0], rel=1e-2)


def test_conjugate_gradients_solve_the_dense_system() -> None:
    rng = torch.Generator().manual_seed(0)
    root = torch.randn(12, 12, generator=rng)
    matrix, b = root @ root.T + torch.eye(12), torch.randn(12, generator=rng)
    found = conjugate_gradient(lambda v: matrix @ v, b, 30)
    assert torch.allclose(found, torch.linalg.solve(matrix, b), atol=1e-3)
    few = conjugate_gradient(lambda v: matrix @ v, b, 2)
    assert not torch.allclose(few, found, atol=1e-2)
    assert conjugate_gradient(lambda v: matrix @ v, torch.zeros(12), 5).abs().max() == 0


def test_the_natural_gradient_is_that_of_the_dense_fisher_matrix() -> None:
    made = agent(Gaussian(std="global"))
    policy = GaussianPolicy(made)
    obs = torch.randn(ROWS, OBS, generator=torch.Generator().manual_seed(2))
    n = len(policy.flat)
    with torch.no_grad():
        normal = policy.normal(obs)
        dense = torch.stack([policy.fisher(normal, e) for e in torch.eye(n)])
        g = dense @ torch.randn(n, generator=torch.Generator().manual_seed(3))
        found = conjugate_gradient(lambda v: policy.fisher(normal, v).add_(v, alpha=0.1), g, 200)
    assert torch.allclose(dense, dense.T, atol=1e-4)
    assert torch.linalg.eigvalsh(dense.double()).min() > -1e-4
    want = torch.linalg.solve(dense.double() + 0.1 * torch.eye(n), g.double())
    assert torch.allclose(found.double(), want, rtol=1e-3, atol=1e-3)


def paid_by_the_first_action(learner: Any, seed: int = 0) -> Rollout:
    return lived(learner, steps=32, envs=8, seed=seed)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("limit", [1e-3, 0.03])
def test_a_lesson_keeps_to_the_limit_and_its_objective_grows(head: Gaussian, limit: float) -> None:
    made = agent(head)
    learner = TRPO(made, Config(hidden=(8,), kl_limit=limit, discount=0.0))
    rollout = paid_by_the_first_action(learner)
    obs = rollout.obs.flatten(0, 1)
    with torch.no_grad():
        old = torch.distributions.Normal(*_spread(*taped(made, obs)))
        told = learner.learn(rollout)
        new = torch.distributions.Normal(*_spread(*taped(made, obs)))
        moved = float(torch.distributions.kl_divergence(old, new).sum(1).mean())
    assert told["kl"] == pytest.approx(moved, rel=1e-2)
    assert limit / 10 < moved <= limit * 1.001
    assert told["policy_loss"] < 0  # normalised advantages sum to zero: the objective was 0
    assert told["policy_step"] > 0


def test_where_nothing_is_better_the_policy_stays() -> None:
    learner = TRPO(agent(), Config(hidden=(8,)))
    rollout = paid_by_the_first_action(learner)
    before = learner._policy.flat.clone()
    told = learner.learn(rollout._replace(reward=torch.zeros_like(rollout.reward)))
    assert told["kl"] == told["policy_step"] == 0
    assert torch.equal(learner._policy.flat, before)


@pytest.mark.parametrize("head", HEADS)
def test_actions_that_pay_are_taken_more_often(head: Gaussian) -> None:
    """As PPO's; the threshold is more than three standard errors of the difference."""
    learner = TRPO(agent(head), Config(hidden=(8,), kl_limit=0.03, discount=0.0))
    first = float(learner.explore(torch.zeros(256, OBS))[0][:, 0].mean())
    for seed in range(8):
        learner.learn(paid_by_the_first_action(learner, seed))
    assert float(learner.explore(torch.zeros(256, OBS))[0][:, 0].mean()) > first + 0.3


def test_a_resumed_learner_goes_on_to_the_same_bits() -> None:
    whole, begun = (TRPO(agent(), Config(hidden=(8,), seed=4)) for _ in range(2))
    for learner in (whole, begun):
        learner.learn(paid_by_the_first_action(learner))
    resumed = TRPO(agent(), Config(hidden=(8,), seed=4))
    resumed.load_state_dict(begun.state_dict())
    told = [learner.learn(paid_by_the_first_action(learner, 1)) for learner in (whole, resumed)]
    assert told[0] == told[1]
    assert torch.equal(whole._policy.flat, resumed._policy.flat)
    with pytest.raises(ValueError, match="the state was saved with"):
        resumed.load_state_dict(PPO(agent(), PPOConfig()).state_dict())
    assert whole.action == A


@pytest.mark.parametrize(
    ("field", "value"),
    [("kl_limit", 0.0), ("damping", 0.0), ("cg_steps", 0), ("search_steps", 0), ("discount", 1.0),
     ("trace", -0.1), ("epochs", 0), ("minibatch", 0), ("value_rate", 0.0), ("gradient_norm", 0.0),
     ("hidden", (0,)), ("seed", -1)],
)  # fmt: skip
def test_settings_out_of_range_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{field} is "):
        Config(**{field: value})
