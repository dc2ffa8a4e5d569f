"""Soft actor-critic: its gradients are automatic differentiation's, and it finds what theory says it must."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from understudy.agent import Agent, Columns, Normalizer, load
from understudy.heads import Gaussian, GaussianHead
from understudy.learn.actor import Actor
from understudy.learn.critics import Critic, Critics, Points, Unit
from understudy.learn.lessons import Facts, Slopes, SoftBellman
from understudy.learn.perceptrons import Norm, Perceptrons
from understudy.learn.renorm import Renorm
from understudy.learn.replay import Replay, Transitions
from understudy.learn.sac import SAC, Config
from understudy.nets import MLP
from understudy.nets.mlp import Activation
from understudy.runtime import tuned
from understudy.serial import read_tree, write_tree

MEMBERS, ROWS, INPUTS, HIDDEN = 2, 12, 5, (7, 6)


def an_agent(
    obs: int = 3, action: int = 2, hidden: Sequence[int] = (16, 16), activation: Activation = "relu"
) -> Agent:
    """Statistics that change nothing, so that normalised is raw."""
    torch.manual_seed(0)
    seen = Normalizer(Columns((obs,)), torch.zeros(obs), torch.ones(obs))
    acted = Normalizer(Columns((action,), "range"), torch.zeros(action), torch.ones(action))
    return Agent({"state": seen}, acted, MLP(tuple(hidden), activation), Gaussian("state", True), 1, 1)


def nets(
    norm: Norm, activation: Activation, inputs: int = INPUTS
) -> tuple[Perceptrons, list[tuple[nn.Parameter, nn.Parameter]]]:
    generator = torch.Generator().manual_seed(1)
    widths = (inputs, *HIDDEN, 1)
    layers = []
    for i, o in pairwise(widths):
        pair = torch.randn(MEMBERS, o, i, generator=generator), torch.randn(MEMBERS, o, generator=generator)
        layers.append(tuple(nn.Parameter(x.double() / math.sqrt(i)) for x in pair))
        for p in layers[-1]:
            p.grad = torch.zeros_like(p)
    renorms = [Renorm(inputs), *(Renorm(MEMBERS, h) for h in HIDDEN)] if norm == "batch" else []
    for r in renorms:
        r.double()
        r.mean.normal_(generator=generator)
        r.var.uniform_(0.5, 2, generator=generator)
    return Perceptrons(layers, activation, norm, renorms), layers


def by_the_book(
    x: Tensor,
    layers: Sequence[tuple[Tensor, Tensor]],
    activation: Activation,
    norm: Norm,
    renorms: Sequence[Renorm],
    training: bool,
) -> Tensor:
    """[N, I] to [M, N, P] for automatic differentiation."""

    def normed(z: Tensor, layer: int) -> Tensor:
        if norm == "layer":
            return F.layer_norm(z, z.shape[-1:])
        if norm == "none":
            return z
        own = renorms[layer]
        if not training:
            return (z - own.mean) / (own.var + 1e-5).sqrt()
        return (z - z.mean(-2, keepdim=True)) / (z.var(-2, correction=0, keepdim=True) + 1e-5).sqrt()

    f = {"relu": torch.relu, "tanh": torch.tanh, "gelu": F.gelu, "silu": F.silu}[activation]
    x = normed(x, 0) if norm == "batch" else x
    x = x.expand(len(layers[0][0]), *x.shape)
    for i, (weight, bias) in enumerate(layers[:-1]):
        x = f(normed(x @ weight.mT, i + 1) + bias[:, None])
    return x @ layers[-1][0].mT + layers[-1][1][:, None]


CASES = [("none", a) for a in ("relu", "tanh", "gelu", "silu")] + [("layer", "relu"), ("batch", "relu")]


@pytest.mark.parametrize(("norm", "activation"), CASES)
def test_the_gradient_of_the_weights_is_automatic_differentiations(
    norm: Norm, activation: Activation
) -> None:
    mine, layers = nets(norm, activation)
    x, grad = torch.randn(ROWS, INPUTS).double(), torch.randn(MEMBERS, ROWS, 1).double()
    with torch.no_grad():
        passed = mine.forward(x)
        mine.backward(passed, grad)
    out = by_the_book(x, layers, activation, norm, mine.renorms, training=True)
    torch.testing.assert_close(passed.out, out.detach(), rtol=1e-10, atol=1e-10)
    flat = [p for pair in layers for p in pair]
    expected = torch.autograd.grad((out * grad).sum(), flat)
    for p, e in zip(flat, expected, strict=True):
        torch.testing.assert_close(p.grad, e, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("norm", "activation"), CASES)
def test_the_gradient_of_the_inputs_is_automatic_differentiations(norm: Norm, activation: Activation) -> None:
    mine, layers = nets(norm, activation)
    x, rows = torch.randn(ROWS, INPUTS).double().requires_grad_(), torch.tensor([7, 0, 3])
    grad = torch.randn(3, 1).double()
    with torch.no_grad():
        found = mine.input_gradient(mine.forward(x, training=False), 1, rows, grad, 2)
    out = by_the_book(x, layers, activation, norm, mine.renorms, training=False)
    (expected,) = torch.autograd.grad((out[1, rows] * grad).sum(), x)
    torch.testing.assert_close(found, expected[rows, 2:], rtol=1e-9, atol=1e-10)


def the_density(agent: Agent, obs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Drawn actions [N, A] and their log densities [N], by PyTorch's own distributions."""
    assert isinstance(agent.head, GaussianHead)
    mean, log_std = (x[:, 0] for x in agent.head.parts(agent.trunk({"state": obs[:, None]})))
    normal = torch.distributions.Normal(mean, log_std.exp())
    squashed = torch.distributions.TransformedDistribution(normal, [torch.distributions.TanhTransform(1)])
    action = (mean + log_std.exp() * noise).tanh()
    return action, squashed.log_prob(action).sum(1)


@pytest.mark.parametrize("cloned", [0, 2, 5])
@pytest.mark.parametrize(("activation", "hidden"), [("relu", (16, 16)), ("silu", (16,)), ("tanh", ())])
def test_the_actors_gradient_is_automatic_differentiations(
    activation: Activation, hidden: tuple[int, ...], cloned: int
) -> None:
    agent, alpha = an_agent(activation=activation, hidden=hidden), 0.3
    actor = Actor(agent)
    obs, noise, slope = torch.randn(9, 3), torch.randn(9, 2), torch.randn(9, 2)
    with torch.no_grad():
        drawn = actor.draw(obs, noise)
        here, shown = drawn.rows(slice(4, None)), torch.rand(cloned, 2) - 0.5
        pull = Actor.towards(here, shown, 0.7) if cloned else None
        actor.climb(here, slope[4:], alpha, 0.0, pull)
    found = [p.grad.clone() for p in agent.parameters() if p.grad is not None]
    action, log_prob = the_density(agent, obs, noise)
    torch.testing.assert_close(drawn.action, action.detach())
    torch.testing.assert_close(drawn.log_prob, log_prob.detach(), rtol=1e-4, atol=1e-4)
    one = actor.draw_one(obs[2], noise[2])
    torch.testing.assert_close(one, action[2].detach())
    loss = (alpha * log_prob - (slope * action).sum(1))[4:].mean()
    mode = the_density(agent, obs, torch.zeros_like(noise))[0][4 : 4 + cloned]
    loss = loss + 0.7 * (mode - shown).square().sum() / 5
    expected = torch.autograd.grad(loss, [p for p in agent.parameters() if p.grad is not None])
    for f, e in zip(found, expected, strict=True):
        torch.testing.assert_close(f, e, rtol=1e-4, atol=1e-6)


def points(seed: int = 0, here: bool = False) -> Points:
    """Eight transitions, two of which end the task."""
    g = torch.Generator().manual_seed(seed)
    rows, following, elsewhere = torch.randn(3, 8, 5, generator=g)
    reward, after, bonus = torch.randn(3, 8, generator=g)
    scale = 0.9 * torch.tensor([1.0, 0, 1, 1, 0, 1, 1, 1])
    said = (elsewhere, bonus) if here else (None, None)
    return Points(rows, following, after, *said, reward, scale)


def by_hand(critics: Critics, x: Tensor) -> Tensor:
    """Q_m of each row, [M, B], in the critics' unit, for automatic differentiation."""
    layers = list(zip(critics._net.weights, critics._net.biases, strict=True))
    return critics.unit * by_the_book(x, layers, "relu", critics.norm, (), True)[..., 0]


@pytest.mark.parametrize(
    ("critic", "members", "unit"), [("plain", 2, 1.0), ("layernorm", 2, 1.0), ("layernorm", 3, 4.0)]
)
def test_the_critics_follow_the_bellman_error_and_targets_the_critics(
    critic: Critic, members: int, unit: float
) -> None:
    """One step at rate zero leaves the gradient of the loss written in the paper; then Polyak."""
    torch.manual_seed(0)
    critics, p, draws = Critics(3, 2, (16, 16), critic, members), points(), torch.Generator()
    critics._unit.value, critics._unit._square = unit, unit**2
    parameters = list(critics._net.parameters())
    with torch.no_grad():
        error = critics.fit(p, SoftBellman(), 0.0, draws)
    found = [p.grad.clone() for p in parameters if p.grad is not None]
    q, after = (by_hand(critics, x) for x in (p.rows, p.following))
    # The slow copies have just begun: they are the critics.
    y = p.reward + p.scale * (after.min(0).values.detach() + p.following_bonus)
    loss = (q - y).square().mean(1).sum()
    for f, e in zip(found, torch.autograd.grad(loss, parameters), strict=True):
        torch.testing.assert_close(f, e, rtol=1e-4, atol=1e-4)
    assert error.loss == pytest.approx(float(loss.detach()) / members, rel=1e-5)
    assert error.value == pytest.approx(float(q[0].detach().mean()), abs=1e-5)
    before = critics._flat.clone()
    with torch.no_grad():
        critics.fit(p, SoftBellman(), 0.1, draws)
        critics.follow(0.25)
    assert critics._flat_slow is not None
    torch.testing.assert_close(critics._flat_slow, 0.75 * before + 0.25 * critics._flat)


@dataclass(frozen=True)
class Everything:
    """A lesson that weighs Q, V and V' each with a square, for autograd to differentiate likewise."""

    through: bool
    asks_here = True

    @staticmethod
    def loss(q: Tensor, here: Tensor, after: Tensor, facts: Facts) -> Tensor:
        part = facts.reward * q.square() + (here - 1).square()
        return (part + (facts.scale * after - q).square()).mean(1).sum()

    def __call__(self, facts: Facts) -> Slopes:
        assert facts.here is not None
        with torch.enable_grad():
            leaves = [x.clone().requires_grad_() for x in (facts.q, facts.here, facts.after)]
            loss = self.loss(*leaves, facts)
            q, here, after = torch.autograd.grad(loss, leaves)
        return Slopes(float(loss), q, here, after if self.through else None, facts.after, {"told": 1.0})


@pytest.mark.parametrize("through", [True, False])
def test_a_lesson_reaches_the_weights_through_every_value_it_asks_for(through: bool) -> None:
    torch.manual_seed(0)
    critics, p, lesson = Critics(3, 2, (16, 16), "layernorm"), points(here=True), Everything(through)
    critics._unit.value, critics._unit._square = 2.0, 4.0
    with torch.no_grad():
        critics.follow(1.0)
        found = critics.fit(p, lesson, 0.0, torch.Generator())
    assert found.told == {"told": 1.0}
    assert p.here is not None
    assert p.here_bonus is not None
    q, here, after = (by_hand(critics, x) for x in (p.rows, p.here, p.following))
    if not through:
        after = after.min(0).values.detach().expand(2, -1)
    facts = Facts(q, None, after, p.reward, p.scale)
    loss = lesson.loss(q, here + p.here_bonus, after + p.following_bonus, facts)
    parameters = list(critics._net.parameters())
    for w, e in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        torch.testing.assert_close(w.grad, e, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("critic", ["layernorm", "crossq"])
@pytest.mark.parametrize("ratio", [2.0, 0.5])
def test_a_new_unit_changes_no_value_and_no_later_gradient(critic: Critic, ratio: float) -> None:
    """To the bit: the last layer is measured anew by exact products, and with it the optimiser's moments."""
    torch.manual_seed(0)
    one, other = (Critics(3, 2, (16, 16), critic) for _ in range(2))
    lesson, draws, rows = SoftBellman(), torch.Generator(), torch.randn(20, 5)
    with torch.no_grad():
        for _ in range(3):
            one.fit(points(1), lesson, 1e-2, draws)
        other.load_state_dict(one.state_dict())
        one._unit.value = other._unit.value = 8.0
        before, (value, slope) = one.values(rows), one.best(rows)
        other._unit.value *= ratio
        other._measure(ratio)
        assert torch.equal(other.values(rows), before)
        assert torch.equal(other.best(rows)[0], value)
        assert torch.equal(other.best(rows)[1], slope)
        for c in (one, other):
            c._unit._square = c.unit**2  # no further change
            c.fit(points(2), lesson, 0.0, draws)
    hidden = [list(c._net.parameters())[:2] for c in (one, other)]
    for a, b in zip(*hidden, strict=True):
        assert torch.equal(a.grad, b.grad)  # type: ignore[arg-type]
    for a, b in zip(one._net.last, other._net.last, strict=True):
        assert torch.equal(a.grad * ratio, b.grad)  # type: ignore[operator, arg-type]
        at = slice(a.storage_offset(), a.storage_offset() + a.numel())
        assert torch.equal(one._adam.first[at] * ratio, other._adam.first[at])
        assert torch.equal(one._adam.second[at] * ratio**2, other._adam.second[at])


def test_the_unit_follows_the_targets_both_ways_and_stays_where_they_are_small() -> None:
    unit = Unit()
    assert {unit.follow(torch.randn(64) * 1.5) for _ in range(500)} == {1.0}
    changed = [unit.follow(torch.full((4,), -300.0)) for _ in range(1000)]
    assert unit.value == 256 or unit.value == 512
    assert math.prod(changed) == unit.value
    again = Unit()
    again.load_state_dict(unit.state_dict())
    assert again.state_dict() == unit.state_dict()
    assert {unit.follow(torch.zeros(4)) for _ in range(3000)} == {1.0, 0.5}
    assert unit.value == 1
    for wrong, rule in (
        ({"value": 3.0, "square": 1.0}, "power of two"), ({"value": 0.5, "square": 1.0}, "power of two"),
        ({"value": 2.0, "square": -1.0}, "mean square"), ({"value": 2.0}, "has"),
        ({"value": math.inf, "square": 1.0}, "power of two"), ({"value": 2.0, "square": math.nan}, "mean"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=rule):
            unit.load_state_dict(wrong)


@pytest.mark.parametrize(("critic", "unit"), [("plain", 1.0), ("layernorm", 2.0), ("crossq", 2.0)])
def test_critics_behind_a_norm_have_a_unit(critic: Critic, unit: float) -> None:
    critics, large = Critics(3, 2, (8,), critic), points()._replace(reward=torch.full((8,), 500.0))
    with torch.no_grad():
        critics.fit(large, SoftBellman(), 1e-3, torch.Generator())
    assert critics.unit == unit  # one step of the running mean square, to 50², and one change at a time


def test_values_of_hundreds_are_soon_reached_in_their_own_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that pays -40 a step is worth -400. Always in units of one, a normed critic is far off then."""
    n, found = 256, []
    action = 2 * torch.rand(n, 1, generator=torch.Generator().manual_seed(0)) - 1
    replay = filled(torch.ones(n, 1), action, torch.full((n,), -40.0), torch.ones(n, 1), torch.zeros(n))
    config = Config(discount=0.9, temperature=1e-3, hidden=(32, 32), learning_rate=1e-3, polyak=0.1)
    for _ in range(2):
        sac = SAC(an_agent(1, 1, (8,)), config)
        trained(sac, replay, 700, batch=32)
        found.append(float(sac.values(torch.ones(1, 1), torch.zeros(1, 1)).mean()))
        monkeypatch.setattr(Unit, "follow", lambda *_: 1.0)
    assert found[0] == pytest.approx(-400, rel=0.05)
    assert found[1] > -200


def test_of_an_ensemble_some_give_the_target_and_all_are_climbed() -> None:
    torch.manual_seed(0)
    critics, p = Critics(3, 2, (16,), "layernorm", 5, 2), points()
    rows, q = p.rows.clone().requires_grad_(), critics.values(p.following)
    draws, seen = torch.Generator().manual_seed(0), set()
    for _ in range(30):
        found = critics._least(p.following, None, draws)
        pairs = [c for c in combinations(range(5), 2) if torch.allclose(found[0], q[list(c)].amin(0))]
        assert pairs, "the least of no two critics"
        assert torch.equal(found[0], found[4])
        seen.add(pairs[0])
    assert len(seen) > 5
    with torch.no_grad():
        value, slope = critics.best(rows)
    mean = by_hand(critics, rows).mean(0)
    torch.testing.assert_close(value, mean.detach())
    (expected,) = torch.autograd.grad(mean.sum(), rows)
    torch.testing.assert_close(slope, expected[:, 3:], rtol=1e-4, atol=1e-6)


def test_the_least_critic_is_climbed() -> None:
    torch.manual_seed(0)
    critics, rows = Critics(3, 2, (16,), "layernorm"), torch.randn(20, 5).requires_grad_()
    with torch.no_grad():
        value, slope = critics.best(rows)
        alone, _ = critics.best(rows[:1])
        assert float(alone) == pytest.approx(float(value[0]), abs=1e-5)
    layers = list(zip(critics._net.weights, critics._net.biases, strict=True))
    q = by_the_book(rows, layers, "relu", "layer", (), False)[..., 0]
    assert 0 < int((q[0] < q[1]).sum()) < 20  # both have their turn
    (expected,) = torch.autograd.grad(q.min(0).values.sum(), rows)
    torch.testing.assert_close(value, q.min(0).values.detach())
    torch.testing.assert_close(slope, expected[:, 3:], rtol=1e-4, atol=1e-6)


def filled(obs: Tensor, action: Tensor, reward: Tensor, next_obs: Tensor, terminated: Tensor) -> Replay:
    replay = Replay(len(reward), obs.shape[1], action.shape[1])
    replay.add(obs, action, reward, next_obs, terminated)
    return replay


def trained(sac: SAC, replay: Replay, updates: int, batch: int = 64) -> list[dict[str, float]]:
    draws = torch.Generator().manual_seed(0)
    with tuned():
        return [sac.update(replay.sample(batch, draws)) for _ in range(updates)]


@pytest.mark.parametrize("critic", ["plain", "layernorm", "crossq"])
def test_what_ran_out_of_time_goes_on_and_what_ended_does_not(critic: Critic) -> None:
    """A loop that pays 1 a step is worth 1/(1 - γ) = 5; a step that pays 1 and ends the task is worth 1."""
    n = 512
    which = torch.arange(n) % 2
    obs, action = (
        F.one_hot(which, 2).float(),
        2 * torch.rand(n, 1, generator=torch.Generator().manual_seed(0)) - 1,
    )
    replay = filled(obs, action, torch.ones(n), obs, which.float())
    config = Config(
        discount=0.8, temperature=1e-3, entropy_in_target=False, critic=critic, hidden=(32, 32),
        learning_rate=3e-3, polyak=0.05,
    )  # fmt: skip
    sac = SAC(an_agent(2, 1), config)
    trained(sac, replay, 600)
    q = sac.values(torch.eye(2), torch.zeros(2, 1))
    # Within 5 % of the range of values; a batch norm in use is not quite the one it learned with.
    assert q[:, 0].numpy() == pytest.approx(5.0, abs=0.2)
    assert q[:, 1].numpy() == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("alpha", [0.1, 1.0])
def test_one_step_has_the_soft_optimal_policy(alpha: float) -> None:
    """π ∝ exp(r/α): the reward α log N(atanh a; 0.4, 0.5²)/(1 - a²) is best served by that very density."""
    mean, std, n = 0.4, 0.5, 4096
    u = 1.2 * torch.randn(n, 1, generator=torch.Generator().manual_seed(0)).clamp(-2, 2)
    action = u.tanh()
    reward = alpha * (-0.5 * ((u - mean) / std).square() - torch.log(1 - action.square()))[:, 0]
    obs = torch.ones(n, 1)
    replay = filled(obs, action, reward, obs, torch.ones(n))
    agent = an_agent(1, 1)
    trained(SAC(agent, Config(temperature=alpha, hidden=(32, 32), learning_rate=3e-3)), replay, 1000)
    assert isinstance(agent.head, GaussianHead)
    with torch.no_grad():
        found, log_std = agent.head.parts(agent.trunk({"state": torch.ones(1, 1, 1)}))
    assert float(found) == pytest.approx(mean, abs=0.05)
    assert float(log_std.exp()) == pytest.approx(std, rel=0.1)


def test_a_tuned_temperature_holds_the_entropy_at_its_target() -> None:
    n = 2048
    action = 2 * torch.rand(n, 1, generator=torch.Generator().manual_seed(0)) - 1
    replay = filled(torch.ones(n, 1), action, -5 * action[:, 0].square(), torch.ones(n, 1), torch.ones(n))
    sac = SAC(an_agent(1, 1), Config(target_entropy=-0.5, hidden=(32, 32), learning_rate=3e-3))
    told = trained(sac, replay, 1500)
    last = told[-300:]
    assert sum(t["entropy"] for t in last) / len(last) == pytest.approx(-0.5, abs=0.05)
    # At temperature α the best density is near N(0, α/10), of entropy ½ log(2πe α/10) = -0.5: α = 0.215.
    assert sac.temperature == pytest.approx(0.215, rel=0.25)


@pytest.mark.parametrize("temperature_in", ["reward", "value"])
def test_a_temperature_in_units_of_value_does_not_mind_the_scale_of_rewards(
    temperature_in: Literal["reward", "value"],
) -> None:
    """Where -k a² is paid, the best density has variance α/2k: in units of value it is one for all k."""
    n, spreads = 2048, []
    action = 2 * torch.rand(n, 1, generator=torch.Generator().manual_seed(0)) - 1
    for scale in (1.0, 32.0):
        reward = scale * (-5 * action[:, 0].square() - 1)
        replay = filled(torch.ones(n, 1), action, reward, torch.ones(n, 1), torch.ones(n))
        config = Config(temperature=0.1, temperature_in=temperature_in, hidden=(32, 32), learning_rate=3e-3)
        sac = SAC(agent := an_agent(1, 1), config)
        trained(sac, replay, 1500)
        assert isinstance(agent.head, GaussianHead)
        with torch.no_grad():
            spreads.append(float(agent.head.parts(agent.trunk({"state": torch.ones(1, 1, 1)}))[1].exp()))
        size = scale * (1 + 5 / 3) if temperature_in == "value" else 1.0
        assert sac.temperature == pytest.approx(0.1 * size, rel=0.1)
    ratio = spreads[0] / spreads[1]
    assert ratio < 1.15 if temperature_in == "value" else ratio > 2


def test_entropy_counts_in_the_target_only_where_it_should() -> None:
    """In a loop that pays nothing, what is worth something is the entropy of the steps to come."""
    n = 256
    action = 2 * torch.rand(n, 1, generator=torch.Generator().manual_seed(0)) - 1
    replay = filled(torch.ones(n, 1), action, torch.zeros(n), torch.ones(n, 1), torch.zeros(n))
    found = {}
    for counted in (True, False):
        config = Config(
            discount=0.5,
            temperature=0.5,
            entropy_in_target=counted,
            hidden=(32,),
            learning_rate=3e-3,
            polyak=0.1,
        )
        sac = SAC(an_agent(1, 1), config)
        entropy = trained(sac, replay, 600)[-1]["entropy"]
        found[counted] = float(sac.values(torch.ones(1, 1), torch.zeros(1, 1)).mean())
    # The most random action in (-1, 1) has log 2 nats; Q = γ (α H + Q) is α H where γ is a half.
    assert entropy == pytest.approx(math.log(2), abs=0.05)
    assert found[True] == pytest.approx(0.5 * math.log(2), abs=0.03)
    assert found[False] == pytest.approx(0.0, abs=0.01)


def same(a: Any, b: Any) -> bool:
    """Whether two trees are equal to the bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else bool(a == b)


def a_batch(n: int, seed: int) -> Transitions:
    g = torch.Generator().manual_seed(seed)
    obs, following = torch.randn(2, n, 3, generator=g)
    action = 2 * torch.rand(n, 2, generator=g) - 1
    return Transitions(
        obs, action, torch.randn(n, generator=g), following, (torch.rand(n, generator=g) < 0.1).float()
    )


@pytest.mark.parametrize("critic", ["plain", "layernorm", "crossq"])
def test_a_resumed_learner_goes_on_to_the_same_bits(critic: Critic, tmp_path: Path) -> None:
    config = Config(critic=critic, hidden=(16, 16), actor_every=2)
    whole, first, second = (SAC(an_agent(), config) for _ in range(3))
    for i in range(7):
        whole.update(a_batch(32, i))
    for i in range(3):
        first.update(a_batch(32, i))
    write_tree(tmp_path / "state", first.state_dict())
    second.load_state_dict(read_tree(tmp_path / "state"))
    for i in range(3, 7):
        second.update(a_batch(32, i))
    obs = torch.randn(5, 3)
    assert torch.equal(whole.explore(obs), second.explore(obs))
    assert same(whole.state_dict(), second.state_dict())
    with pytest.raises(ValueError, match="the state was saved with"):
        SAC(an_agent(), replace(config, polyak=0.5)).load_state_dict(whole.state_dict())
    with pytest.raises(ValueError, match="it must be"):
        SAC(an_agent(hidden=(8, 16)), config).load_state_dict(whole.state_dict())


def test_the_actor_learns_in_its_turn_and_the_agent_is_the_actor(tmp_path: Path) -> None:
    agent = an_agent()
    sac = SAC(agent, Config(hidden=(16, 16), actor_every=3))
    weights = []
    for i in range(6):
        sac.update(a_batch(32, i))
        weights.append(agent.head.out.weight.detach().clone())  # type: ignore[union-attr]
    same = [torch.equal(a, b) for a, b in pairwise(weights)]
    assert same == [True, True, False, True, True]
    agent.save(tmp_path / "agent")
    obs = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    assert np.array_equal(load(tmp_path / "agent").act(obs), agent.act(obs))
    drawn, _ = the_density(agent, torch.from_numpy(obs), torch.zeros(4, 2))
    np.testing.assert_allclose(agent.act(obs), drawn.detach().numpy(), atol=1e-6)


@pytest.mark.parametrize("hidden", [(16, 16), ()])
def test_densities_are_those_of_the_head(hidden: tuple[int, ...]) -> None:
    agent = an_agent(hidden=hidden)
    sac, obs, noise = SAC(agent, Config(hidden=(16,))), torch.randn(6, 3), torch.randn(6, 2)
    action, expected = the_density(agent, obs, noise)
    torch.testing.assert_close(sac.log_prob(obs, action.detach()), expected.detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"discount": 1.0}, {"temperature": 0.0}, {"first_temperature": -1.0}, {"critic": "triple"},
        {"hidden": ()}, {"learning_rate": 0.0}, {"polyak": 0.0}, {"actor_every": 0}, {"seed": -1},
        {"critics": 0}, {"critics": 3, "target_critics": 4},
        {"target_entropy": math.inf}, {"temperature_in": "nats"},
        {"temperature": 1.0, "target_entropy": -1.0},
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(reversed(wrong)))):
        Config(**wrong)  # type: ignore[arg-type]


def test_agents_that_are_no_actors_are_refused() -> None:
    good = an_agent()
    parts = dict(good.obs_normalizers), good.action_normalizer

    def built(trunk: MLP, head: Gaussian, history: int = 1) -> Agent:
        return Agent(*parts, trunk, head, history, 1)

    for agent, rule in (
        (built(MLP((4,), dropout=0.5), Gaussian("state", True)), "MLP without dropout"),
        (built(MLP((4,)), Gaussian("global", True)), "squash=True, std='state'"),
        (built(MLP((4,)), Gaussian("state", False)), "squash=True, std='state'"),
        (built(MLP((4,)), Gaussian("state", True), 2), "history 2"),
    ):
        with pytest.raises(ValueError, match=rule):
            SAC(agent, Config())


def test_two_learners_of_one_agent_are_refused() -> None:
    agent = an_agent()
    first = SAC(agent, Config(hidden=(16,)))
    SAC(agent, Config(hidden=(16,)))
    with pytest.raises(RuntimeError, match="have moved"):
        first.update(a_batch(8, 0))


def test_renormalisation_corrects_towards_the_running_averages_once_they_are_warm() -> None:
    own, x = Renorm(4), torch.randn(64, 4) * 2 + 1
    own.mean.fill_(0.5)
    own.var.fill_(3.0)
    own.passes.fill_(100_000)
    with torch.no_grad():
        found, kept = own.forward(x, training=True)
    # Within the limits of r and d, what comes out is what the running averages give.
    torch.testing.assert_close(found, (x - 0.5) / math.sqrt(3.0 + 1e-5))
    assert torch.allclose(own.mean, 0.99 * torch.tensor(0.5) + 0.01 * x.mean(0))
    y, grad = x.clone().requires_grad_(), torch.randn(64, 4)
    rstd = (x.var(0, correction=0) + 1e-5).rsqrt()
    scale = ((3.0 + 1e-5) ** -0.5 / rstd).detach()
    normed = (y - y.mean(0)) * (y.var(0, correction=0) + 1e-5).rsqrt() * scale
    (expected,) = torch.autograd.grad((normed * grad).sum(), y)
    torch.testing.assert_close(Renorm.backward(grad, kept), expected, rtol=1e-4, atol=1e-5)
