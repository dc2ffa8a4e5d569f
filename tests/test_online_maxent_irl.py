"""Maximum-entropy IRL with a soft policy inside: time, ends of tasks, resumption, and a known answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from irl_once import LINEAR, TRUTH, actor, demonstrations, make_once, theta
from understudy.dataset import Dataset
from understudy.envs import task
from understudy.episode import Episode
from understudy.learn.replay import Transitions
from understudy.learn.sac import SAC
from understudy.learn.sac import Config as SACConfig
from understudy.online import actor as new_actor
from understudy.online import transitions
from understudy.online.base import Practising, Setting
from understudy.online.maxent_irl import LEARNER, READING, Config, MaxEntIRL, build, paid_by
from understudy.online.occupancy import Occupancy, expected
from understudy.online.reward_steps import RewardSteps
from understudy.record import demonstrate
from understudy.rewards import RewardConfig, RewardNet
from understudy.runtime import tuned
from understudy.serial import read_tree, write_tree
from walk import Walk, make_walk

SMALL = SACConfig(temperature=0.5, hidden=(8,), discount=0.9)


@pytest.fixture(scope="module")
def demos() -> Dataset:
    rng = np.random.default_rng(0)
    made = []
    for n, ended in ((2, True), (7, False), (4, True)):
        e = Episode.demonstration(rng.normal(size=(n + 1, 1)), rng.uniform(-0.9, 0.9, (n, 1)))
        made.append(Episode(dict(e.obs), e.action, e.label, e.labelled, e.reward, ended, None, {}))
    return Dataset(made)


def learner(demos: Dataset, config: Config, reads: Any = "state-action") -> MaxEntIRL:
    agent = new_actor(Walk.action, demos, hidden=(8,))
    reward = RewardNet.of(agent, RewardConfig(reads, reward_hidden=(8,)), 0)
    return MaxEntIRL(make_walk, demos, SAC(agent, SMALL), reward, config, seed=0, batch=8)


# ── time and the end of the task ─────────────────────────────────────────────────────────────────────────


def test_discounted_expectation_is_the_sum_by_hand(demos: Dataset) -> None:
    """(1 - γ) / E Σ_episodes (Σ_t γ^t r_t + [ended] γ^T / (1 - γ) r_end), term by term."""
    agent = new_actor(Walk.action, demos, hidden=(8,))
    reward, gamma = RewardNet.of(agent, RewardConfig("transition", reward_hidden=(8,)), 0), 0.9
    with torch.no_grad():
        reward.end.fill_(-0.7)
    want = 0.0
    for e in demos:
        now, then = ({k: v[part] for k, v in e.obs.items()} for part in (slice(None, -1), slice(1, None)))
        for t, r in enumerate(reward.values(now, e.action, then)):
            want += gamma**t * float(r)
        want += gamma ** len(e) / (1 - gamma) * -0.7 * e.terminated
    want *= (1 - gamma) / len(demos)
    occupancy = Occupancy.of([len(e) for e in demos], [e.terminated for e in demos], gamma)
    rows, weight = occupancy.draw(1000, torch.Generator())
    assert rows.tolist() == list(range(13))
    steps = Transitions(*(x[rows] for x in transitions(agent, demos)))
    assert float(expected(reward, steps, weight, occupancy.after).detach()) == pytest.approx(want, rel=1e-5)


def test_weights_of_episodes_that_end_are_a_distribution() -> None:
    occupancy = Occupancy.of([3, 1, 8], [True, True, True], 0.8)
    assert float(occupancy.weight.sum()) + occupancy.after == pytest.approx(1.0, rel=1e-6)
    cut = Occupancy.of([3], [False], 0.8)
    assert cut.after == 0.0
    assert cut.weight.tolist() == pytest.approx([0.2, 0.16, 0.128])


def test_drawn_rows_estimate_the_same_expectation() -> None:
    occupancy = Occupancy.of([40, 30], [False, True], 0.95)
    value = torch.arange(70).double().cos()
    exact = float(occupancy.weight.double() @ value)
    rows, weight = occupancy.draw(60, torch.Generator().manual_seed(0))
    assert len(rows) == 60
    many = [occupancy.draw(60, torch.Generator().manual_seed(i)) for i in range(1000)]
    found = np.array([float(w.double() @ value[r]) for r, w in many])
    # Five standard errors of 1000 estimates: a false alarm in two million.
    assert abs(found.mean() - exact) < 5 * found.std() / 1000**0.5
    assert float(weight.sum()) == pytest.approx(float(occupancy.weight.sum()), rel=1e-5)


@pytest.mark.parametrize("past", [0.0, 0.4])
def test_one_step_of_the_reward_has_the_gradient_of_both_sides(demos: Dataset, past: float) -> None:
    """E_demo[∂r] - E_π[∂r], from the rows of the policy's last whole episodes, and a share of all others."""
    config = Config(
        recent=2,
        reward_batch=10_000,
        reward_every=10_000,
        reward_slope=0.0,
        reward_past=past,
        reward_memory=None,
    )
    irl = learner(demos, config, "transition")
    while len(irl.practice.finished) < 3 or len(irl.practice.replay) == irl.practice.finished[-1].step:
        irl.step()
    last = irl.practice.finished[-2:]
    lengths = [f.length for f in last]
    rows = torch.cat([torch.arange(f.step - f.length, f.step) for f in last])
    lived = irl.practice.replay.take(rows)
    ended = [bool(irl.practice.replay.take(torch.tensor([f.step - 1])).terminated) for f in last]
    policy, expert = (
        Occupancy.of(lengths, ended, 0.9),
        Occupancy.of([len(e) for e in demos], [e.terminated for e in demos], 0.9),
    )
    its = expected(irl.reward, lived, policy.weight, policy.after)
    his = expected(irl.reward, transitions(irl.agent, demos), expert.weight, expert.after)
    draws = torch.Generator()
    draws.set_state(irl._draws.get_state())
    before = irl.reward(irl.practice.replay.sample(10_000, draws)).mean() * policy.weight.sum()
    want = its - his
    parameters = list(irl.reward.parameters())
    mixed = (1 - past) * its + past * before - his
    gradient = torch.cat(
        [g.flatten() for g in torch.autograd.grad(mixed, parameters, materialize_grads=True)]
    )
    told = irl._learn()
    assert told["loss"] == pytest.approx(float(want.detach()), rel=1e-5)
    assert told["reward_gradient"] == pytest.approx(float(gradient.norm()), rel=1e-5)


def test_a_prior_pulls_weights_and_a_reward_that_tells_nothing_fades(demos: Dataset) -> None:
    agent = new_actor(Walk.action, demos, hidden=(8,))
    reward = RewardNet.of(agent, RewardConfig(reward_hidden=(8,)), 0)
    steps = RewardSteps(reward, rate=1e-2, prior=1.0, memory=0.9)
    for _ in range(1000):
        steps.descend(0.0 * reward.end)
    assert max(float(p.detach().abs().max()) for p in reward.parameters()) < 0.02
    kept, moved = (list(r.parameters())[1] for r in (steps.reward, steps.trained))
    assert not torch.equal(kept, moved)


def test_a_constant_in_the_reward_changes_no_preference(demos: Dataset) -> None:
    """A shift by c adds c to (1 - γ) E Σ γ^t r of every distribution over endless episodes."""
    agent = new_actor(Walk.action, demos, hidden=(8,))
    reward = RewardNet.of(agent, RewardConfig("transition", reward_hidden=(8,)), 0)
    ended = Occupancy.of([2, 7, 4], [True] * 3, 0.9)
    steps = transitions(agent, demos)
    before = float(expected(reward, steps, ended.weight, ended.after).detach())
    RewardSteps(reward, rate=1e-2, prior=0.0, memory=None).shift(0.75)
    after = float(expected(reward, steps, ended.weight, ended.after).detach())
    assert after == pytest.approx(before + 0.75, abs=1e-5)


# ── the loop ─────────────────────────────────────────────────────────────────────────────────────────────


def test_rewards_in_the_replay_are_those_of_the_moment(demos: Dataset) -> None:
    irl = learner(demos, Config())
    for _ in range(30):
        irl.step()
    assert torch.equal(irl.practice.replay.take(torch.arange(30)).reward, torch.zeros(30))
    batch = irl.practice.replay.take(torch.arange(30))
    pay = paid_by(irl._reward.trained, 0.9)
    before = pay(batch)
    with torch.no_grad():
        irl._reward.trained.out.bias += 1.0
    assert torch.allclose(pay(batch), before + 1.0, atol=1e-5)


@pytest.mark.parametrize(("slope", "past"), [(0.0, 0.0), (0.1, 0.5)])
def test_a_resumed_run_is_the_same_to_the_bit(
    demos: Dataset, slope: float, past: float, tmp_path: Path
) -> None:
    config = Config(
        reward_slope=slope, reward_past=past, recent=2, reward_batch=5, reward_fall=60, reward_memory=0.9
    )
    straight = learner(demos, config)
    for _ in range(60):
        told = straight.step()
    first = learner(demos, config)
    for _ in range(37):
        first.step()
    write_tree(tmp_path / "state", first.state_dict())
    second = learner(demos, config)
    second.load_state_dict(read_tree(tmp_path / "state"))
    for _ in range(23):
        again = second.step()
    assert again == told
    assert "loss" in told
    for a, b in ((straight.reward, second.reward), (straight.agent, second.agent)):
        pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
        assert all(torch.equal(x, y) for x, y in pairs)
    with pytest.raises(ValueError, match="config"):
        learner(demos, Config()).load_state_dict(first.state_dict())
    with pytest.raises(ValueError, match="demonstrations"):
        learner(demos[:2], config).load_state_dict(first.state_dict())


def test_a_tuned_temperature_and_other_units_are_refused(demos: Dataset) -> None:
    agent = new_actor(Walk.action, demos, hidden=(8,))
    reward = RewardNet.of(agent, RewardConfig(), 0)
    with pytest.raises(ValueError, match="temperature is None"):
        MaxEntIRL(make_walk, demos, SAC(agent, SACConfig(hidden=(8,))), reward, Config(), seed=0)
    other = RewardNet.of(new_actor(Walk.action, demos[:1], hidden=(8,)), RewardConfig(), 0)
    with pytest.raises(ValueError, match="differently"):
        MaxEntIRL(make_walk, demos, SAC(agent, SMALL), other, Config(), seed=0)
    for wrong in ({"recent": 0}, {"reward_rate": 0.0}, {"reward_memory": 1.0}, {"reward_prior": -1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Config(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("reads", ["state-action", "transition"])
def test_actions_are_drawn_anew_unless_their_consequences_count(demos: Dataset, reads: Any) -> None:
    irl = learner(demos, Config(recent=2, reward_batch=10_000), reads)
    while len(irl.practice.finished) < 2:
        irl.step()
    lived, _ = irl._recent()
    stored = irl.practice.replay.take(irl._index(irl._rows))
    assert torch.equal(lived.obs, stored.obs)
    assert torch.equal(lived.action, stored.action) == (reads == "transition")


def test_a_given_reward_goes_on_from_where_it_was_with_another_policy() -> None:
    pendulum = task("pendulum")
    setting = Setting(pendulum, demonstrate(pendulum, range(1)), Practising(uniform=50), LEARNER, READING)
    first = build(setting, Config())
    with torch.no_grad():
        first.reward.out.bias.fill_(7.0)
    given = replace(setting, given=first.reward, learner=replace(LEARNER, seed=5))
    second = build(given, Config())
    assert second.reward.out.bias.item() == 7.0
    before, after = (next(iter(b.agent.parameters())) for b in (first, second))
    assert not torch.equal(before, after)
    second.reward.check_units(second.agent)
    first.close()
    second.close()


def test_it_is_built_for_a_task_and_its_demonstrations() -> None:
    pendulum = task("pendulum")
    setting = Setting(pendulum, demonstrate(pendulum, range(1)), Practising(uniform=50), LEARNER, READING)
    irl = build(setting, Config())
    assert len(irl.practice.replay) == 50
    assert irl.step().keys() >= {"reward", "critic_loss"}
    irl.reward.check_units(irl.agent)
    irl.close()
    with pytest.raises(ValueError, match="learns from demonstrations"):
        build(replace(setting, data=None), Config())
    with pytest.raises(ValueError, match="temperature is None"):
        build(replace(setting, learner=replace(LEARNER, temperature=None)), Config())


# ── the known answer ─────────────────────────────────────────────────────────────────────────────────────


def test_one_step_problem_is_solved_within_two_percent() -> None:
    """A reward that moves more and more slowly behind the policy, and the average of its weights."""
    agent = actor((32, 32), "state")
    sac = SAC(
        agent, SACConfig(temperature=1.0, hidden=(32, 32), learning_rate=3e-3, critic="plain", polyak=0.02)
    )
    reward, steps = RewardNet.of(agent, LINEAR, seed=0), 3000
    config = Config(
        reward_rate=0.2, reward_every=2, reward_batch=400, recent=256, reward_fall=steps, reward_slope=0.0,
        reward_memory=0.99,
    )  # fmt: skip
    irl = MaxEntIRL(make_once, demonstrations(400), sac, reward, config, seed=0, batch=64)
    with tuned():
        for _ in range(steps):
            irl.step()
    assert theta(irl.reward) == pytest.approx(TRUTH, rel=0.02)
