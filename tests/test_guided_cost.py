"""Guided cost learning: its weights, its gradient, its refusals, and the problem whose answer is known."""

from __future__ import annotations

import math
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from irl_once import HIGH, LINEAR, LOW, TRUTH, actor, demonstrations, make_once, theta
from understudy import heads, nets
from understudy.agent import Agent
from understudy.dataset import Dataset
from understudy.envs import ActionSpec, adapt, task
from understudy.episode import Episode
from understudy.learn import sac
from understudy.online.base import Practising, Setting
from understudy.online.guided_cost import LEARNER, Config, GuidedCost, WeightCollapse, build
from understudy.online.importance import effective, log_mixture, normalised, tempered
from understudy.online.paths import joined, log_density, paths_of, returns
from understudy.online.samplers import Practised, Refit, demonstrator
from understudy.record import demonstrate
from understudy.rewards import RewardConfig, RewardNet
from understudy.serial import read_tree, write_tree

# ── weights ──────────────────────────────────────────────────────────────────────────────────────────────


def test_equal_weights_are_all_effective_and_one_that_dominates_is_one() -> None:
    for shift in (-1e3, 0.0, 1e3):
        assert effective(torch.full((50,), shift, dtype=torch.float64)) == pytest.approx(50, rel=1e-12)
        one = torch.full((50,), shift, dtype=torch.float64)
        one[7] += 800
        assert effective(one) == pytest.approx(1, rel=1e-12)
    two = torch.tensor([0.0, math.log(3.0)], dtype=torch.float64)  # (1 + 3)² / (1 + 9)
    assert effective(two) == pytest.approx(1.6, rel=1e-12)


def test_the_mixture_weighs_proposals_by_their_samples() -> None:
    g = torch.Generator().manual_seed(0)
    logs = 300 * torch.randn(3, 6, generator=g, dtype=torch.float64)
    found = log_mixture(logs, torch.tensor([1, 2, 3]))
    share = torch.tensor([1, 2, 3]).double()[:, None] / 6
    big = logs.max(0).values
    assert torch.allclose(found, ((logs - big).exp() * share).sum(0).log() + big, rtol=1e-12)
    assert float(normalised(found).sum()) == pytest.approx(1.0, rel=1e-12)
    with pytest.raises(ValueError, match="drawn is"):
        log_mixture(logs, torch.tensor([1, 2, 4]))


def test_tempering_goes_just_as_far_as_it_must() -> None:
    g = torch.Generator().manual_seed(0)
    log_weight = 30 * torch.randn(200, generator=g, dtype=torch.float64)
    assert effective(log_weight) < 20
    assert effective(tempered(log_weight, 20)) == pytest.approx(20, rel=1e-4)
    assert torch.equal(tempered(log_weight, 1.0), log_weight)


# ── sums along paths ─────────────────────────────────────────────────────────────────────────────────────


def walk(n: int, terminated: bool, rng: np.random.Generator) -> Episode:
    e = Episode.demonstration(rng.normal(size=(n + 1, 2)), 0.5 * rng.normal(size=(n, 1)))
    parts = (dict(e.obs), e.action, e.label, e.labelled, e.reward)
    return Episode(*parts, terminated, None, {})


@pytest.fixture(scope="module")
def walks() -> Dataset:
    rng = np.random.default_rng(0)
    return Dataset([walk(3, True, rng), walk(5, False, rng), walk(1, True, rng)])


@pytest.fixture(scope="module")
def walker(walks: Dataset) -> Agent:
    return Agent.build(walks, nets.MLP((8,)), heads.Gaussian(squash=True))


def test_returns_and_densities_are_sums_along_each_path(walks: Dataset, walker: Agent) -> None:
    reward = RewardNet.of(walker, RewardConfig("transition"), seed=0)
    with torch.no_grad():
        reward.end.fill_(0.25)
    paths = joined([paths_of(walks[:2], reward, 5), paths_of(walks[2:], reward, 5)])
    paid, logs = returns(reward, paths).detach(), log_density(walker, paths)
    for i, (e, left) in enumerate(zip(walks, (2, 0, 4), strict=True)):
        now, then = ({k: v[part] for k, v in e.obs.items()} for part in (slice(None, -1), slice(1, None)))
        want = float(reward.values(now, e.action, then).astype(float).sum()) + 0.25 * left
        assert float(paid[i]) == pytest.approx(want, abs=1e-5)
        with torch.no_grad():
            seen = {k: torch.tensor(v)[:, None] for k, v in now.items()}
            each = walker.log_prob(seen, torch.tensor(e.action)[:, None])
        assert float(logs[i]) == pytest.approx(float(each.sum()), abs=1e-4)
    with pytest.raises(ValueError, match="no horizon"):
        paths_of(walks, reward, None)


def test_the_gradient_is_demonstrations_less_weighted_samples(walks: Dataset, walker: Agent) -> None:
    """∂(mean R_demo - log Σ exp(R - log q)) = E_demo[∂R] - Σ w ∂R with w self-normalised."""
    reward = RewardNet.of(walker, RewardConfig("state-action"), seed=0)
    paths = paths_of(walks, reward, 5)
    log_q = log_density(walker, paths)
    parameters = [p for n, p in reward.named_parameters() if n != "end"]

    def gradient(x: Any) -> Any:
        return torch.cat(
            [g.flatten().double() for g in torch.autograd.grad(x, parameters, retain_graph=True)]
        )

    paid = returns(reward, paths)
    found = gradient(paid[:2].mean() - torch.logsumexp(paid - log_q, 0))
    weights = normalised((paid - log_q).detach())
    each = torch.stack([gradient(r) for r in paid])
    want = each[:2].mean(0) - (weights[:, None] * each).sum(0)
    assert torch.allclose(found, want, atol=1e-5)


# ── the known answer ─────────────────────────────────────────────────────────────────────────────────────


def once(seed: int = 0, demos: int = 200, **changes: Any) -> GuidedCost:
    data, agent = demonstrations(demos), actor((), "global")
    plain = Agent.build(data, nets.MLP(()), heads.Gaussian(std="global"))
    settings = {"episodes": 20, "rounds_kept": 3, "reward_steps": 5, "reward_rate": 0.1, **changes}
    reward = RewardNet.of(agent, LINEAR, seed=0)
    fitted = demonstrator(plain, data, steps=100, seed=0)
    return GuidedCost(make_once(), data, reward, Refit(agent, 10, 3e-2), fitted, Config(**settings), seed)


def test_the_density_of_the_demonstrations_is_fitted() -> None:
    data = demonstrations(200)
    plain = Agent.build(data, nets.MLP(()), heads.Gaussian(std="global"))
    fitted = demonstrator(plain, data, steps=300, seed=0)
    x = torch.linspace(-0.5, 1.9, 9)
    found = fitted.log_prob({"state": torch.zeros(9, 1, 1)}, x[:, None, None]).detach()
    want = torch.distributions.Normal(0.7, 0.3).log_prob(x)
    assert torch.allclose(found, want, atol=0.05)
    assert not torch.equal(next(fitted.parameters()), next(plain.parameters()))


def test_one_step_problem_is_solved_within_two_percent() -> None:
    """Sampling error is all that is left: about 0.5 % in one standard deviation with these numbers."""
    irl = once(
        demos=4000, episodes=400, rounds_kept=10, reward_steps=20, reward_rate=0.5, reward_fall=30,
        reward_memory=0.995,
    )  # fmt: skip
    for _ in range(30):
        told = irl.step()
    assert theta(irl.reward) == pytest.approx(TRUTH, rel=0.02)
    assert told["effective"] > 0.5
    with torch.no_grad():
        x = irl.agent.sample({"state": torch.zeros(4000, 1, 1)}, torch.Generator().manual_seed(0)).double()
    assert float(x.mean()) == pytest.approx(0.7, abs=0.03)
    assert float(x.std()) == pytest.approx(0.3, abs=0.03)


def test_without_weights_nothing_stops_the_reward() -> None:
    """Mean features of a fixed sample: the gradient does not know θ, and θ grows with every step for ever."""
    x = torch.tensor(
        demonstrations(200).select(range(200)).windows(1, 1).batch(np.arange(200)).action[:, 0, 0]
    )
    fixed = LOW[0] + (HIGH[0] - LOW[0]) * torch.rand(2000, generator=torch.Generator().manual_seed(0))
    gap = torch.stack((x.mean() - fixed.mean(), x.square().mean() - fixed.square().mean()))
    path = [torch.zeros(2)]
    for _ in range(2000):
        path.append(path[-1] + 0.5 * gap)
    assert torch.allclose(path[2000], 2 * path[1000], rtol=1e-3)
    assert float(path[2000].norm()) > 50 * math.hypot(*TRUTH)


# ── refusal ──────────────────────────────────────────────────────────────────────────────────────────────


def peaked(irl: GuidedCost) -> None:
    """A reward so narrow that hardly a sample is where it is high."""
    with torch.no_grad():
        irl.reward.out.weight.copy_(torch.tensor([[0.0, 0.0, 0.0, 0.0, -4e6]]))


def test_below_a_tenth_it_stops_and_says_why() -> None:
    irl = once(improvements=2)
    peaked(irl)
    before = deepcopy(irl.reward.state_dict())
    with pytest.raises(
        WeightCollapse, match=r"samples are effective after 2 improvements.*10% are needed"
    ) as e:
        irl.step()
    assert "\n" not in str(e.value)
    assert all(torch.equal(v, before[k]) for k, v in irl.reward.state_dict().items())


def test_below_a_tenth_the_sampler_is_improved_first() -> None:
    """The sampler begins far away; it comes closer before the reward moves at all."""
    irl = once(demos=4, episodes=100, improvements=60)
    with torch.no_grad():  # the model: a ~ N(1/3, 1/30²), so x ~ N(1.2, 0.05²); the sampler: the whole box
        irl.reward.out.weight.copy_(torch.tensor([[0.0, 300.0, 0.0, 0.0, -450.0]]))
    told = irl.step()
    assert told["refreshes"] >= 1
    assert told["effective"] >= 0.1
    assert told["updates"] >= 1


@pytest.mark.parametrize(
    "wrong", [{"least_effective": 0.0}, {"episodes": 1}, {"reward_rate": 0.0}, {"reward_memory": 1.0}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Config(**wrong)


# ── resumption ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_resumed_run_is_the_same_to_the_bit(tmp_path: Path) -> None:
    straight = once(reward_memory=0.9, reward_fall=10)
    for _ in range(5):
        straight.step()
    first = once(reward_memory=0.9, reward_fall=10)
    for _ in range(3):
        first.step()
    write_tree(tmp_path / "state", first.state_dict())
    second = once(reward_memory=0.9, reward_fall=10)
    second.load_state_dict(read_tree(tmp_path / "state"))
    for _ in range(2):
        told = second.step()
    assert told["samples"] == 200 + 3 * 20
    for a, b in ((straight.reward, second.reward), (straight.agent, second.agent)):
        assert all(
            torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
        )
    with pytest.raises(ValueError, match="seed"):
        once(seed=1, reward_memory=0.9, reward_fall=10).load_state_dict(first.state_dict())


# ── more than one step ───────────────────────────────────────────────────────────────────────────────────


class Walk:
    """Three steps on a line: what is done is where one is next."""

    action = ActionSpec.box([-1.0], [1.0])

    def reset(self, seed: int | None = None) -> Any:
        return np.zeros(1, np.float32)

    def step(self, action: Any) -> Any:
        return np.array(action, np.float32), 0.0, False, False, {}


def make_walk() -> Any:
    return adapt(Walk(), horizon=3)


def test_a_sampler_that_practises_draws_samples_of_short_episodes() -> None:
    rng = np.random.default_rng(0)
    data = Dataset([Episode.demonstration(np.zeros((4, 1)), rng.normal(0.3, 0.2, (3, 1))) for _ in range(20)])
    from understudy.online import actor as new_actor

    agent = new_actor(ActionSpec.box([-1.0], [1.0]), data, hidden=(16,))
    reward = RewardNet.of(agent, LINEAR, seed=0)
    learner = sac.SAC(agent, sac.Config(temperature=1.0, hidden=(16,), discount=0.9))
    sampler = Practised(make_walk, learner, reward, steps=5, seed=0, batch=16)
    plain = Agent.build(data, nets.MLP(()), heads.Gaussian(std="global"))
    irl = GuidedCost(make_walk(), data, reward, sampler, plain, Config(episodes=10, rounds_kept=2), seed=0)
    before = theta(reward)
    for _ in range(3):
        told = irl.step()
    assert told["samples"] == 40
    assert sampler.practice.steps == 15
    assert theta(reward) != before
    other = sac.SAC(deepcopy(agent), sac.Config(temperature=0.5, hidden=(16,)))
    with pytest.raises(ValueError, match=r"temperature is 0\.5"):
        Practised(make_walk, other, reward, steps=5, seed=0)
    with pytest.raises(ValueError, match="another reward"):
        sampler.improve(deepcopy(reward), paths_of(data, reward, 3), torch.ones(20))


@pytest.mark.parametrize(("sampler", "kind"), [("refit", Refit), ("practise", Practised)])
def test_it_is_built_for_a_task_and_its_demonstrations(sampler: Any, kind: type) -> None:
    pendulum = task("pendulum")
    setting = Setting(pendulum, demonstrate(pendulum, range(2)), Practising(uniform=50), LEARNER, LINEAR)
    irl = build(setting, Config(sampler=sampler, episodes=2, sampler_steps=2))
    assert isinstance(irl._sampler, kind)
    irl.reward.check_units(irl.agent)


def test_two_hundred_steps_are_too_many_for_weights_and_it_says_so() -> None:
    """What the module promises of long episodes: a refusal in one line, not a reward made of noise."""
    pendulum = task("pendulum")
    data = demonstrate(pendulum, range(20))
    setting = Setting(pendulum, data, Practising(uniform=50), LEARNER, LINEAR)
    irl = build(setting, Config(sampler="refit", episodes=5, sampler_steps=2, improvements=2))

    def rounds() -> None:
        for _ in range(3):
            irl.step()

    with pytest.raises(WeightCollapse, match="maxent_irl, which needs no weights"):
        rounds()
