"""PPO: densities and gradients against automatic differentiation, values in any units, resumption."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from understudy.agent import Agent
from understudy.dataset import Dataset
from understudy.heads import Deterministic, Gaussian
from understudy.heads.gaussian import GaussianHead
from understudy.learn.perceptron import Perceptron
from understudy.learn.ppo import PPO, Config
from understudy.learn.rollouts import Rollout
from understudy.learn.values import Values, portions
from understudy.nets import MLP

OBS, A = 4, 2
HEADS = [Gaussian(std=s, squash=q) for s in ("state", "global") for q in (True, False)]
SMALL = Config(hidden=(16,), minibatch=16, epochs=2, seed=3)


def data(steps: int = 40) -> Dataset:
    rng = np.random.default_rng(0)
    obs = {"state": rng.normal(size=(steps + 1, OBS)).astype(np.float32)}
    return Dataset.from_columns(obs, rng.uniform(-1, 1, (steps, A)).astype(np.float32), [steps])


def agent(head: Any = HEADS[0], activation: Any = "tanh", **how: Any) -> Agent:
    made = Agent.build(data(), MLP((16, 8), activation, **how), head, seed=1)
    with torch.no_grad():  # away from the start, where everything is nearly zero
        for p in made.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    return made


def density(made: Agent, obs: Tensor, action: Tensor) -> Tensor:
    """log π by trunk and head, with a tape."""
    assert isinstance(made.head, GaussianHead)
    return made.head.log_prob(made.trunk.forward({"state": obs[:, None]}), action[:, None])


def lived(learner: PPO, steps: int = 12, envs: int = 4, seed: int = 0) -> Rollout:
    """A rollout on random observations; an action pays its first dimension. Some episodes end."""
    rng = torch.Generator().manual_seed(seed)
    obs = torch.randn(steps, envs, OBS, generator=rng)
    action, log_prob = learner.explore(obs.flatten(0, 1))
    action = action.view(steps, envs, A)
    over = (torch.rand(steps, envs, generator=rng) < 0.3).float()
    following = torch.randn(steps, envs, OBS, generator=rng)
    terminated = over * (torch.rand(steps, envs, generator=rng) < 0.5)
    return Rollout(
        obs, action, log_prob.view(steps, envs), action[..., 0].clone(), following, terminated, over
    )


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "silu"])
def test_the_perceptrons_gradients_are_those_of_a_tape(activation: Any) -> None:
    torch.manual_seed(0)
    sizes = ((3, 7), (7, 70), (70, 5))
    layers = [nn.Linear(i, o) for i, o in sizes]
    functions: dict[str, Any] = {
        "relu": torch.relu,
        "tanh": torch.tanh,
        "gelu": nn.functional.gelu,
        "silu": nn.functional.silu,
    }

    def taped(x: Tensor) -> Tensor:
        for layer in layers[:-1]:
            x = functions[activation](layer(x))
        out: Tensor = layers[-1](x)
        return out

    x, by = torch.randn(11, 3), torch.randn(11, 5)
    parameters = [p for m in layers for p in m.parameters()]
    want = torch.autograd.grad((taped(x) * by).sum(), parameters)
    for p in parameters:
        p.grad = torch.full_like(p, torch.nan)
    with torch.no_grad():
        net = Perceptron(layers, activation)
        passed = net.forward(x)
        net.backward(passed, by)
        assert torch.allclose(passed.out, taped(x), atol=1e-6)
        for p, w in zip(parameters, want, strict=True):
            assert p.grad is not None
            assert torch.allclose(p.grad, w, atol=2e-5)
        moves = [(torch.randn_like(m.weight), torch.randn_like(m.bias)) for m in layers]
        moved = net.tangent(passed, moves)
    # ⟨by, J v⟩ = ⟨Jᵀ by, v⟩: the tangent and the gradient are each other's transposes.
    pairs = zip(want, (v for move in moves for v in move), strict=True)
    assert float((moved * by).sum()) == pytest.approx(sum(float((w * v).sum()) for w, v in pairs), rel=1e-4)


@pytest.mark.parametrize("head", HEADS)
def test_a_drawn_action_has_the_heads_density(head: Gaussian) -> None:
    made = agent(head)
    learner = PPO(made, SMALL)
    obs = torch.randn(64, OBS, generator=torch.Generator().manual_seed(0))
    action, log_prob = learner.explore(obs)
    with torch.no_grad():
        want = density(made, obs, action)
    assert torch.allclose(log_prob, want, atol=1e-4)
    assert torch.equal(learner.log_prob(obs, action), log_prob)
    assert (action.abs() < 1).all() == head.squash
    edge = torch.ones(64, A)
    with torch.no_grad():
        assert torch.allclose(learner.log_prob(obs, edge), density(made, obs, edge), rtol=1e-3)
    assert learner.log_prob(obs, edge).isfinite().all()


def test_draws_follow_the_distribution() -> None:
    """Mean and spread of 20,000 draws of one observation; 5 standard errors, a false alarm in 10^6 runs."""
    learner = PPO(agent(Gaussian(std="state", squash=True)), SMALL)
    n = 20_000
    obs = torch.ones(n, OBS)
    action, _ = learner.explore(obs)
    with torch.no_grad():
        head = learner.agent.head
        assert isinstance(head, GaussianHead)
        mean, log_std = head.parts(learner.agent.trunk({"state": torch.ones(1, 1, OBS)}))
    u, std = action.double().atanh(), log_std[0, 0].exp()
    assert ((u.mean(0) - mean[0, 0]).abs() < 5 * std / n**0.5).all()
    assert ((u.std(0) - std).abs() < 5 * std / (2 * n) ** 0.5).all()


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("bonus", [0.0, 0.3])
def test_a_step_descends_the_gradient_of_the_papers_objective(head: Gaussian, bonus: float) -> None:
    made = agent(head)
    learner = PPO(made, Config(hidden=(8,), entropy_bonus=bonus, gradient_norm=1e9, learning_rate=1e-20))
    rng = torch.Generator().manual_seed(5)
    obs, n = torch.randn(60, OBS, generator=rng), 60
    action, log_prob = learner.explore(obs)
    old = log_prob + 0.4 * torch.randn(n, generator=rng)  # ratios on both sides of the clip
    advantage = torch.randn(n, generator=rng)
    u, edge = learner._policy.latent(action.numpy())
    arrays = (u, edge[:, None], old.numpy()[:, None], advantage.numpy()[:, None])
    state = learner._noise.get_state()
    with torch.no_grad():
        told = learner._descend(torch.cat((obs, torch.from_numpy(np.concatenate(arrays, 1))), 1))
    found = learner._policy.grad.clone()

    learner._noise.set_state(state)
    ratio = (density(made, obs, action) - old).exp()
    objective = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).mean()
    share = ((ratio - 1).abs() > 0.2).float().mean()
    assert 0.1 < share < 0.9
    if bonus:
        assert isinstance(made.head, GaussianHead)
        mean, log_std = made.head.parts(made.trunk.forward({"state": obs[:, None]}))
        entropy = log_std.sum(-1).mean()
        if head.squash:
            v = mean[:, 0] + log_std[:, 0].exp() * torch.randn(n, A, generator=learner._noise)
            entropy = entropy + (1 - v.tanh().square()).log().sum(1).mean()
        loss = -objective - bonus * entropy
    else:
        loss = -objective
    wanted = torch.autograd.grad(loss, learner._policy._parameters)
    for p, w in zip(learner._policy._parameters, wanted, strict=True):
        assert torch.allclose(learner._policy._part(found, p), w, atol=2e-5)
    assert told[0] == pytest.approx(-objective.item(), abs=1e-5)
    assert told[2] == pytest.approx(share.item())
    assert told[1] == pytest.approx((ratio - 1 - ratio.log()).mean().item(), rel=1e-3)


@pytest.mark.parametrize("scale", [1.0, -5000.0, 1e-3])
def test_values_learn_returns_of_any_size(scale: float) -> None:
    rng = torch.Generator().manual_seed(0)
    obs = torch.randn(512, 2, generator=rng)
    returns = scale * (3 + obs[:, 0] - 0.5 * obs[:, 1])
    with torch.no_grad():
        values = Values(2, (32,), 3e-3, 10.0, seed=0)
        assert values(obs).abs().max() == 0
        for _ in range(10):
            values.fit(obs, returns, epochs=5, size=64, draws=rng)
        error = (values(obs) - returns).square().mean() / returns.var()
    assert error < 0.01


def test_new_units_leave_the_values_as_they_were() -> None:
    rng = torch.Generator().manual_seed(0)
    obs = torch.randn(64, 2, generator=rng)
    with torch.no_grad():
        values = Values(2, (8,), 1e-3, 1.0, seed=0)
        values.fit(obs, obs[:, 0], epochs=20, size=64, draws=rng)
        before, units = values(obs), values.units
        values._follow(torch.full((64,), -700.0))
        assert values.units[0] < units[0] - 10
        assert torch.allclose(values(obs), before, atol=1e-3)


def test_in_each_epoch_every_row_is_seen_once() -> None:
    draws = torch.Generator().manual_seed(0)
    parts = list(portions(103, 2, 20, draws))
    assert [len(p) for p in parts[:5]] == [21, 21, 21, 20, 20]
    assert len(parts) == 10
    for epoch in (parts[:5], parts[5:]):
        assert sorted(torch.cat(epoch).tolist()) == list(range(103))
    assert torch.cat(parts[:5]).tolist() != torch.cat(parts[5:]).tolist()
    assert len(list(portions(3, 1, 20, draws))) == 1


def test_a_lesson_repeats_itself_and_a_resumed_learner_goes_on_to_the_same_bits() -> None:
    config = Config(hidden=(16,), minibatch=16, epochs=2, seed=3, entropy_bonus=0.01)
    whole, begun = (PPO(agent(), config) for _ in range(2))
    for learner in (whole, begun):
        learner.learn(lived(learner))
    resumed = PPO(agent(), config)
    resumed.load_state_dict(begun.state_dict())
    told = [learner.learn(lived(learner, seed=1)) for learner in (whole, resumed)]
    assert told[0] == told[1]
    for a, b in zip(whole.agent.state_dict().values(), resumed.agent.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    obs = torch.ones(3, OBS)
    assert torch.equal(whole.values(obs), resumed.values(obs))
    assert torch.equal(whole.explore(obs)[0], resumed.explore(obs)[0])


def test_a_critic_can_be_warmed_up_without_moving_the_policy() -> None:
    learner = PPO(agent(), Config(hidden=(16,), minibatch=16, epochs=2, discount=0.0))
    rollout = lived(learner, steps=40)
    rollout = rollout._replace(reward=rollout.obs[..., 0] - 700)
    before = {k: v.clone() for k, v in learner.agent.state_dict().items()}
    first = learner.learn_values(rollout)
    for _ in range(20):
        last = learner.learn_values(rollout)
    assert all(torch.equal(v, before[k]) for k, v in learner.agent.state_dict().items())
    assert last["value_loss"] < 0.5 * first["value_loss"]
    assert last["explained"] > 0.5 > first["explained"]
    learner.learn(rollout)
    assert not all(torch.equal(v, before[k]) for k, v in learner.agent.state_dict().items())


def test_the_policy_rests_where_it_has_moved_too_far() -> None:
    told = []
    for limit in (None, 1e-4):
        config = Config(hidden=(8,), minibatch=16, epochs=5, learning_rate=3e-2, target_kl=limit)
        learner = PPO(agent(), config)
        told.append(learner.learn(lived(learner)))
    assert told[0]["policy_steps"] == 15
    assert 2 <= told[1]["policy_steps"] < 15


@pytest.mark.parametrize("head", HEADS)
def test_actions_that_pay_are_taken_more_often(head: Gaussian) -> None:
    """A bandit that pays the first dimension; 256 draws before and after, the spread at most about one.

    The threshold is more than four standard errors of the difference of their means.
    """
    learner = PPO(agent(head), Config(hidden=(8,), minibatch=64, learning_rate=1e-2, discount=0.0))
    first = float(learner.explore(torch.zeros(256, OBS))[0][:, 0].mean())
    for seed in range(8):
        learner.learn(lived(learner, steps=32, envs=8, seed=seed))
    assert float(learner.explore(torch.zeros(256, OBS))[0][:, 0].mean()) > first + 0.4


def test_other_agents_are_refused() -> None:
    with pytest.raises(ValueError, match="is Gaussian"):
        PPO(agent(Deterministic()), SMALL)
    with pytest.raises(ValueError, match="without dropout"):
        PPO(agent(dropout=0.1), SMALL)
    with pytest.raises(ValueError, match="history 2"):
        PPO(Agent.build(data(), MLP((8,)), HEADS[0], history=2), SMALL)
    made = agent()
    first = PPO(made, SMALL)
    second = PPO(made, SMALL)
    with pytest.raises(RuntimeError, match="have moved"):
        first.learn(lived(second))


def test_a_state_of_other_settings_is_refused() -> None:
    state = PPO(agent(), SMALL).state_dict()
    with pytest.raises(ValueError, match="the state was saved with"):
        PPO(agent(), Config(hidden=(16,))).load_state_dict(state)
    with pytest.raises(ValueError, match="on-policy learner has"):
        PPO(agent(), SMALL).load_state_dict({"config": state["config"]})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("discount", 1.0), ("trace", 1.1), ("clip", 1.0), ("epochs", 0), ("minibatch", 0), ("hidden", ()),
        ("learning_rate", 0.0), ("value_rate", 0.0), ("gradient_norm", 0.0), ("target_kl", 0.0),
        ("entropy_bonus", -1.0), ("seed", -1),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{field} is "):
        Config(**{field: value})
