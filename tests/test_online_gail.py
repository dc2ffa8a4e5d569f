"""GAIL on policy: what it learns from, what it pays, ends of tasks, resumption, and a known answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from understudy.agent import Columns, Normalizer
from understudy.dataset import Dataset
from understudy.envs import task
from understudy.episode import Episode
from understudy.learn import discriminator, trpo
from understudy.learn.discriminator import Discriminator
from understudy.learn.replay import Transitions
from understudy.online import gail, gail_trpo
from understudy.online.adversarial import Adversarial, Lessons
from understudy.online.base import Collecting, Setting
from understudy.rewards import RewardConfig, RewardNet
from understudy.serial import read_tree, write_tree
from understudy.tabular import TabularMDP, occupancy, soft_plan
from walk import Walk, make_walk

PLAN = Collecting(uniform=20, envs=2, rollout=6)
READING = RewardConfig("state-action", reward_hidden=(8,), reward_activation="relu")
LESSONS = Lessons(d_steps=2, d_batch=8)


def walked(n: int, seed: int) -> Episode:
    rng = np.random.default_rng(seed)
    obs, action = rng.normal(size=(n + 1, 1)), rng.uniform(-0.9, 0.9, (n, 1))
    return Episode.demonstration(obs.astype(np.float32), action.astype(np.float32), terminated=n < 7)


def setting(module: Any = gail, episodes: int = 3, **changes: Any) -> Setting:
    data = Dataset([walked(n, i) for i, n in enumerate((2, 7, 4, 5, 3, 6, 2, 7, 4, 5)[:episodes])])
    which = replace(
        task("pendulum"), name="walk", make=make_walk, action=Walk.action, obs={"state": (1,)}, angles={}
    )
    learner = replace(module.LEARNER, hidden=(8,), epochs=2, minibatch=8, discount=0.9)
    return replace(Setting(which, data, PLAN, learner, READING), **changes)


def config(**changes: Any) -> gail.Config:
    return replace(gail.Config(), lessons=replace(LESSONS, **changes))


def gone(learner: Adversarial, steps: int) -> dict[str, float]:
    told: dict[str, float] = {}
    for _ in range(steps):
        told = learner.step()
    return told


# ── the loop ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_rollout_is_paid_by_the_discriminator_that_has_just_learned_from_it() -> None:
    """The logit, and behind a termination γ/(1 - γ) of the absorbing state's; the actions as executed."""
    learner = gail.build(setting(), config())
    seen: list[Any] = []
    pay = learner.collect._reward
    assert pay is not None

    def watched(rollout: Any) -> Any:
        before = {k: v.clone() for k, v in learner.reward.state_dict().items()}
        seen.append((rollout, *pay(rollout), before))
        return seen[-1][1:3]

    learner.collect._reward = watched
    gone(learner, 3 * 12)
    learner.close()
    rollout, paid, told, before = seen[-1]
    after = learner.reward.state_dict()
    assert any(not torch.equal(after[k], before[k]) for k in before)  # it learned before it paid
    rows = rollout.flat()
    with torch.no_grad():
        want = learner.reward.logit(rows._replace(action=rows.action.clamp(-1, 1)))
        want = want + 0.9 / 0.1 * learner.reward.end * rows.terminated
    torch.testing.assert_close(paid.flatten(), want)
    assert any(bool((r.action.abs() > 1).any()) for r, *_ in seen)  # so the clamp was needed
    assert sum(float(r.terminated.sum()) for r, *_ in seen) > 0
    assert told["reward_policy"] == pytest.approx(float(want.mean()), rel=1e-5)


def test_what_is_told_is_there_and_held_out_demonstrations_are_asked_about() -> None:
    learner = gail.build(setting(episodes=10), config(held_out=0.2))
    told = gone(learner, 12)
    learner.close()
    names = {"d_loss", "d_expert", "d_policy", "d_gap", "penalty", "d_held", "reward_expert", "reward_policy"}
    assert names <= told.keys()
    assert told["d_held"] == learner.judge.called_expert(learner._demos.held)
    none = gail.build(setting(), config(held_out=0.0))
    assert "d_held" not in gone(none, 12)
    none.close()


def test_rows_of_earlier_rollouts_are_kept_as_long_as_asked() -> None:
    learner = gail.build(setting(), config(d_past=2))
    gone(learner, 3 * 12)
    learner.close()
    assert [len(p.reward) for p in learner._past] == [12, 12]
    assert learner.state_dict()["past"]


def test_cloning_comes_first_where_it_is_asked_for() -> None:
    plain, cloned = (gail.build(setting(), config(bc_steps=n)) for n in (0, 3))
    pairs = zip(plain.agent.parameters(), cloned.agent.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)
    gone(cloned, 12)  # its weights are where the learner looks for them
    for made in (plain, cloned):
        made.close()


def test_states_alone_can_be_imitated() -> None:
    reading = replace(READING, reads="next-state")
    learner = gail.build(setting(reading=reading), config())
    gone(learner, 12)
    learner.close()
    rows = learner._demos.rows
    other = rows._replace(action=-rows.action)
    assert torch.equal(learner.judge.pay(rows), learner.judge.pay(other))


@pytest.mark.parametrize("module", [gail, gail_trpo])
def test_a_resumed_run_goes_on_to_the_same_bits(module: Any, tmp_path: Path) -> None:
    whole, first, second = (module.build(setting(module), config(d_past=2)) for _ in range(3))
    want = gone(whole, 70)
    gone(first, 41)  # in the middle of a rollout, with two behind it
    write_tree(tmp_path / "state", first.state_dict())
    second.load_state_dict(read_tree(tmp_path / "state"))
    assert gone(second, 29) == want
    for a, b in zip(whole.agent.parameters(), second.agent.parameters(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(whole.reward.parameters(), second.reward.parameters(), strict=True):
        assert torch.equal(a, b)
    other = module.build(setting(module), config(d_past=2, d_steps=3))
    with pytest.raises(ValueError, match="saved with lessons"):
        other.load_state_dict(first.state_dict())
    for made in (whole, first, second, other):
        made.close()


def test_trust_region_steps_are_those_of_trpo() -> None:
    learner = gail_trpo.build(setting(gail_trpo), config())
    assert isinstance(learner.collect.learner, trpo.TRPO)
    learner.close()


def test_what_it_cannot_do_is_refused() -> None:
    with pytest.raises(ValueError, match="gail learns from demonstrations"):
        gail.build(setting(data=None), config())
    with pytest.raises(ValueError, match="d_steps is 0"):
        Lessons(d_steps=0)
    with pytest.raises(ValueError, match="spread_floor is 1"):
        Lessons(spread_floor=1.0)


# ── known answers ────────────────────────────────────────────────────────────────────────────────────────


def test_adversarial_imitation_ends_at_the_experts_occupancy() -> None:
    """Six states, three actions: L1 distance of occupancies under 0.02 (before: over 0.5).

    A step of the policy in GAIL's saddle point is mirror descent: the logits add up to a reward, whose exact
    soft-optimal policy acts. The discriminator is linear in indicators of state-action pairs; both sides'
    rows are exact shares.
    """
    rng, s, a, gamma = np.random.default_rng(0), 6, 3, 0.9
    mdp = TabularMDP.make(
        rng.dirichlet(np.full(s, 0.5), (s, a)), initial=np.ones(s) / s, discount=gamma, horizon=None
    )
    expert = occupancy(mdp, soft_plan(mdp, rng.normal(size=(s, a)), 0.3)).ravel() * (1 - gamma)
    unit = {w: Normalizer(Columns((w,), "standard"), torch.zeros(w), torch.ones(w)) for w in (s * a, 1)}
    linear = RewardConfig("state", reward_hidden=(), reward_activation="relu")
    reward = RewardNet({"pair": unit[s * a]}, unit[1], linear)
    own = discriminator.Config(d_rate=0.1, penalty_kind="none", noise=0.0)
    judge = Discriminator(reward, own, discount=gamma, seed=0)

    def rows(share: Any) -> Transitions:
        index = torch.from_numpy(np.repeat(np.arange(s * a), np.round(share * 2000).astype(int)))
        blank = torch.zeros(len(index))
        hot = F.one_hot(index, s * a).float()
        return Transitions(hot, blank[:, None], blank, hot, blank)

    total, gaps, shown = np.zeros((s, a)), [], rows(expert)
    for _ in range(60):
        policy = occupancy(mdp, soft_plan(mdp, total)).ravel() * (1 - gamma)
        gaps.append(float(np.abs(policy - expert).sum()))
        lived = rows(policy)
        for _ in range(10):
            judge.step(shown, lived)
        with torch.no_grad():
            total = total + 0.5 * reward.score(torch.eye(s * a)).double().numpy().reshape(s, a)
    assert gaps[0] > 0.5
    assert max(gaps[-5:]) < 0.02
