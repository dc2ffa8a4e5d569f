"""AIRL's f = g + γ h' - h: gradients, ends of tasks, densities at bounds, and what g means."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from understudy.agent import Agent, Columns, Normalizer
from understudy.heads import Gaussian
from understudy.learn.airl import Config, Shaped, executed_log_prob
from understudy.learn.penalties import between
from understudy.learn.replay import Transitions
from understudy.nets import MLP
from understudy.rewards import RewardConfig, RewardNet
from understudy.serial import read_tree, write_tree
from understudy.tabular import TabularMDP, log_policy, occupancy, soft_plan

OBS, ACTION, GAMMA = 3, 2, 0.9


def unit(width: int) -> Normalizer:
    return Normalizer(Columns((width,), "standard"), torch.zeros(width), torch.ones(width))


def reward(obs: int = OBS, action: int = ACTION, seed: int = 0, **config: Any) -> RewardNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        wide = RewardConfig(**{"reads": "state-action", "reward_hidden": (8,)} | config)
        made = RewardNet({"state": unit(obs)}, unit(action), wide)
        with torch.no_grad():
            made.out.weight.normal_()
    return made


def shaped(seed: int = 0, penalty: float = 0.3, **config: Any) -> Shaped:
    made = Shaped(
        reward(seed=seed, **config),
        Config(f_penalty=penalty, potential_hidden=(6,)),
        discount=GAMMA,
        seed=seed,
    )
    with torch.no_grad():
        made.potential.out.weight.normal_(generator=torch.Generator().manual_seed(seed))
        made.potential.out.bias.fill_(0.4)
        made.reward.end.fill_(-0.7)
    return made


def steps(n: int, seed: int, ended: int = 0) -> Transitions:
    g = torch.Generator().manual_seed(seed)
    draw = lambda width: torch.randn(n, width, generator=g)  # noqa: E731
    ends = torch.zeros(n)
    ends[:ended] = 1
    return Transitions(draw(OBS), draw(ACTION).clamp(-1, 1), torch.zeros(n), draw(OBS), ends)


# ── f and its gradient ────────────────────────────────────────────────────────────────────────────────────


def test_f_is_the_shaped_reward_and_ends_where_h_is_zero() -> None:
    made, rows = shaped(), steps(6, 1, ended=2)
    h = made.potential
    with torch.no_grad():
        g, now, then = made.reward.logit(rows), h.score(rows.obs), h.score(rows.next_obs)
    want = g + GAMMA * then - now
    want[:2] = g[:2] - now[:2]
    torch.testing.assert_close(made.f(rows), want)
    paid = made.relabel(rows).reward
    want[:2] += GAMMA / (1 - GAMMA) * -0.7  # the absorbing state's f, at every later step
    torch.testing.assert_close(paid, want)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("penalty", [0.0, 0.3])
@pytest.mark.parametrize("bound", [None, 2.0])
def test_a_step_has_the_gradient_of_the_cross_entropy(activation: Any, penalty: float, bound: Any) -> None:
    """By automatic differentiation of what the docstring says, absorbing visits and penalties included."""
    made = shaped(penalty=penalty, reward_activation=activation, bound=bound)
    expert, policy = steps(7, 1, ended=1), steps(5, 2, ended=2)
    his, its = torch.linspace(-1, 2, 7), torch.linspace(1, -2, 5)
    draws = torch.Generator()
    draws.set_state(made._draws.get_state())
    g, h = made.reward, made.potential
    parameters = [*g.parameters(), *h.parameters()]
    loss, later = torch.zeros(()), GAMMA / (1 - GAMMA)
    f_all = []
    for rows, density, label in ((expert, his, 1.0), (policy, its, 0.0)):
        ahead = GAMMA * (1 - rows.terminated) * h.score(rows.next_obs)
        f = g.logit(rows) + ahead - h.score(rows.obs)
        f_all.append(f.detach())
        sign = 1 - 2 * label
        visits = later * rows.terminated.mean()
        total = 1 + visits
        loss = loss + F.softplus(sign * (f - density)).mean() / total
        loss = loss + F.softplus(sign * g.absorbing_logit) * visits / total
    shares = [1 - 1 / (1 + later * float(rows.terminated.mean())) for rows in (expert, policy)]
    middle = torch.cat(f_all).mean()
    told = made_penalty = torch.zeros(())
    for net, read in ((g, g.inputs), (h, lambda t: t.obs)):
        lines = between(read(expert), read(policy), draws).requires_grad_(True)
        (slope,) = torch.autograd.grad(net.score(lines).sum(), lines, create_graph=True)
        made_penalty = made_penalty + slope.square().sum(1).mean()
    end = sum(shares) / 2 * (g.absorbing_logit - middle).square()
    want = torch.autograd.grad(loss + penalty * (made_penalty + end), parameters, allow_unused=True)
    told = made.step(expert, policy, expert_density=his, policy_density=its)
    for p, w in zip(parameters, want, strict=True):
        assert p.grad is not None
        torch.testing.assert_close(p.grad, torch.zeros_like(p) if w is None else w, rtol=2e-4, atol=2e-6)
    assert told["d_loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
    assert told["penalty"] == pytest.approx(float(made_penalty.detach()) if penalty else 0.0, rel=1e-4)


def test_a_resumed_f_goes_on_to_the_same_bits(tmp_path: Any) -> None:
    rows = [(steps(9, i, ended=1), steps(8, 50 + i)) for i in range(6)]

    def go(made: Shaped, part: slice) -> None:
        for e, p in rows[part]:
            made.step(e, p, expert_density=e.obs[:, 0], policy_density=p.obs[:, 0])

    whole, first, second = shaped(), shaped(), shaped(seed=4)
    go(whole, slice(None))
    go(first, slice(3))
    write_tree(tmp_path / "f", first.state_dict())
    second.load_state_dict(read_tree(tmp_path / "f"))
    go(second, slice(3, None))
    for a, b in zip(whole.reward.parameters(), second.reward.parameters(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(whole.f(rows[0][0]), second.f(rows[0][0]))


def test_what_f_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="h alone"):
        Shaped(reward(reads="next-state"), discount=0.9, seed=0)
    with pytest.raises(ValueError, match="form is 'survival'"):
        Shaped(reward(form="survival"), discount=0.9, seed=0)
    with pytest.raises(ValueError, match="discount is 1"):
        Shaped(reward(), discount=1.0, seed=0)
    other = Shaped(reward(), Config(f_rate=1e-2), discount=0.9, seed=0)
    with pytest.raises(ValueError, match="saved with config"):
        Shaped(reward(), discount=0.9, seed=0).load_state_dict(other.state_dict())


# ── the density of what was executed ──────────────────────────────────────────────────────────────────────


def agent(squash: bool = False) -> Agent:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = Gaussian("state", squash=squash)
        action = Normalizer(Columns((1,), "range"), torch.zeros(1), torch.ones(1))
        made = Agent({"state": unit(OBS)}, action, MLP((8,)), head, 1, 1, ([-1.0], [1.0]))
        torch.nn.init.normal_(made.head.out.weight)
    return made


def test_outcomes_inside_and_at_the_bounds_have_probability_one() -> None:
    made = agent()
    a = torch.linspace(-1, 1, 20_001)[1:-1]
    for o in torch.randn(5, OBS, generator=torch.Generator().manual_seed(1)):
        many = executed_log_prob(made, o.expand(len(a), -1), a[:, None]).double().exp()
        bounds = executed_log_prob(made, o.expand(2, -1), torch.tensor([[-1.0], [1.0]])).double().exp()
        assert float(torch.trapezoid(many, a.double()) + bounds.sum()) == pytest.approx(1.0, abs=1e-3)


def test_inside_the_bounds_it_is_the_heads_own_density() -> None:
    made, g = agent(), torch.Generator().manual_seed(2)
    obs, action = torch.randn(9, OBS, generator=g), torch.linspace(-0.9, 0.9, 9)[:, None]
    x = torch.relu(F.linear(obs, made.trunk.linear[0].weight, made.trunk.linear[0].bias))
    want = made.head.log_prob(x[:, None], action[:, None])
    torch.testing.assert_close(executed_log_prob(made, obs, action), want.detach(), rtol=1e-4, atol=1e-4)


def test_a_squashed_policy_has_no_probability_at_its_bounds_and_is_refused() -> None:
    with pytest.raises(ValueError, match="plain Gaussian head"):
        executed_log_prob(agent(squash=True), torch.zeros(1, OBS), torch.zeros(1, 1))


def test_an_action_at_the_bound_is_no_more_surprising_than_all_beyond_it() -> None:
    """However certain a policy, log π of an expert's action at the bound is finite, and at most 0."""
    made = agent()
    at = executed_log_prob(
        made, torch.randn(50, OBS, generator=torch.Generator().manual_seed(3)), torch.ones(50, 1)
    )
    assert bool(torch.isfinite(at).all())
    assert float(at.max()) <= 0


# ── what g and f mean ─────────────────────────────────────────────────────────────────────────────────────


def test_shaping_leaves_the_soft_optimal_policy_as_it_is() -> None:
    """g and f = g + γ h' - h are two rewards with one policy, termination (h = 0 behind it) included."""
    rng, s, a = np.random.default_rng(0), 6, 3
    transition = rng.dirichlet(np.ones(s), (s, a))
    ends = np.arange(s) == s - 1
    mdp = TabularMDP.make(
        transition, initial=np.ones(s) / s, discount=GAMMA, horizon=None, terminal=ends,
    )  # fmt: skip
    made = Shaped(reward(s, a), Config(potential_hidden=(8,)), discount=GAMMA, seed=0)
    with torch.no_grad():
        made.potential.out.weight.normal_(generator=torch.Generator().manual_seed(1))
        made.potential.out.bias.fill_(3.0)
    i, j, k = (torch.from_numpy(x.ravel()) for x in np.meshgrid(*map(np.arange, (s, a, s)), indexing="ij"))
    hot = lambda index, n: F.one_hot(index, n).float()  # noqa: E731
    rows = Transitions(hot(i, s), hot(j, a), torch.zeros(len(i)), hot(k, s), (k == s - 1).float())
    f = made.f(rows).double().numpy().reshape(s, a, s)
    with torch.no_grad():
        g = made.reward.logit(rows).double().numpy().reshape(s, a, s)
    policies = [soft_plan(mdp, mdp.expected(r)).policy for r in (g, f)]
    assert np.abs(mdp.expected(f) - mdp.expected(g)).max() > 0.5
    np.testing.assert_allclose(*policies, atol=1e-6)


def test_f_finds_the_experts_log_density() -> None:
    """One decision: the expert draws from N(0.3, 0.5²), the policy from N(0, 1), whose density is given.

    With that taken off, f is log N(0.3, 0.5²) itself, constant included, within 0.1 over ±2 deviations.
    """
    n = 400
    x = torch.from_numpy(_normal_quantiles(n)).float()
    blank = torch.zeros(n, 1)
    rows = [Transitions(blank, a[:, None], blank[:, 0], blank, blank[:, 0]) for a in (0.3 + 0.5 * x, x)]
    log_pi = [-0.5 * (r.action[:, 0].square() + math.log(2 * math.pi)) for r in rows]
    made = Shaped(
        reward(1, 1, features="quadratic", reward_hidden=()),
        Config(f_rate=0.03, f_penalty=0.0, potential_hidden=()), discount=0.5, seed=0,
    )  # fmt: skip
    for _ in range(500):
        told = made.step(*rows, expert_density=log_pi[0], policy_density=log_pi[1])
    a = torch.linspace(-0.7, 1.3, 41)
    bulk = Transitions(*(v[:41] for v in rows[0]))._replace(action=a[:, None])
    want = -0.5 * ((a - 0.3) / 0.5).square() - math.log(0.5) - 0.5 * math.log(2 * math.pi)
    assert float((made.f(bulk) - want).abs().max()) < 0.1
    assert told["d_gap"] > 0.5


def _normal_quantiles(n: int) -> Any:
    from scipy.stats import norm

    return norm.ppf((np.arange(n) + 0.5) / n)


def chain(states: int) -> tuple[TabularMDP, Any]:
    """Left, stay and right on a line without chance, and a reward of states alone."""
    transition = np.zeros((states, 3, states))
    for s in range(states):
        for a, by in enumerate((-1, 0, 1)):
            transition[s, a, min(max(s + by, 0), states - 1)] = 1
    truth = np.array([0.2, -1.0, 0.5, -0.3, 1.0, -0.6, 0.4])[:states]
    mdp = TabularMDP.make(
        transition, initial=np.ones(states) / states, discount=GAMMA, horizon=None, reward=truth
    )
    return mdp, truth


def shown(mdp: TabularMDP, visits: Any, n: int) -> tuple[Transitions, Tensor]:
    """About n rows in proportion to visits [S, A], and which pair each one is."""
    share = (visits / visits.sum()).ravel()
    index = torch.from_numpy(np.repeat(np.arange(share.size), np.round(share * n).astype(int)))
    s, a = index // mdp.actions, index % mdp.actions
    then = torch.from_numpy(mdp.transition.toarray().argmax(1))[index]
    blank = torch.zeros(len(index))
    now, after = (F.one_hot(x, mdp.states).float() for x in (s, then))
    return Transitions(now, F.one_hot(a, mdp.actions).float(), blank, after, blank), index


def test_on_a_chain_the_states_own_reward_comes_back_up_to_a_constant() -> None:
    """Deterministic steps, a soft-optimal expert, g of states alone (Fu et al., theorem 5.1).

    The policy is the exact soft-optimal one for f after each few steps; both sides' rows are exact shares.
    """
    mdp, truth = chain(7)
    expert = soft_plan(mdp, mdp.expected(truth))
    his, _ = shown(mdp, occupancy(mdp, expert), 1000)
    made = Shaped(
        reward(7, 3, reads="state", reward_hidden=(), reward_activation="relu"),
        Config(f_rate=0.05, f_penalty=0.0, potential_hidden=()), discount=GAMMA, seed=0,
    )  # fmt: skip
    pairs, _ = shown(mdp, np.ones((7, 3)), 21)
    for _ in range(200):
        plan = soft_plan(mdp, made.f(pairs).double().numpy().reshape(7, 3))
        log_pi = torch.from_numpy(log_policy(plan)).float().ravel()
        its, which = shown(mdp, occupancy(mdp, plan), 1000)
        own = (his.obs.argmax(1) * 3) + his.action.argmax(1)
        for _ in range(5):
            made.step(his, its, expert_density=log_pi[own], policy_density=log_pi[which])
    with torch.no_grad():
        g = made.reward.score(torch.eye(7)).numpy()
    assert np.corrcoef(g, truth)[0, 1] > 0.99
    np.testing.assert_allclose(g - g.mean(), truth - truth.mean(), atol=0.1)
