"""AIRL by acting: densities of the policy as it is, what is paid, the reward that is left, resumption."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from test_online_gail import LESSONS, PLAN, READING, Walk, gone, make_walk, walked
from understudy.dataset import Dataset
from understudy.envs import Task
from understudy.learn.airl import executed_log_prob
from understudy.learn.replay import Transitions
from understudy.online import airl, airl_sac, airl_trpo
from understudy.online.base import Practising, Setting
from understudy.rewards import load_reward
from understudy.serial import read_tree, write_tree


def setting(module: Any = airl, **changes: Any) -> Setting:
    data = Dataset([walked(n, i) for i, n in enumerate((2, 7, 4))])
    which = Task("walk", "a line", make_walk, 7, {"state": (1,)}, Walk.action)
    small: dict[str, Any] = {"hidden": (8,), "discount": 0.9}
    if module is not airl_sac:
        small |= {"epochs": 2, "minibatch": 8}
    plan = Practising(uniform=20, batch=8) if module is airl_sac else PLAN
    return replace(Setting(which, data, plan, replace(module.LEARNER, **small), READING), **changes)


def config(module: Any = airl) -> Any:
    own = module.Config()
    if module is airl_sac:
        return replace(own, f_batch=8, recent_steps=30)
    return replace(own, lessons=LESSONS)


def test_a_rollout_is_paid_f_less_log_pi_of_what_was_executed() -> None:
    learner = airl.build(setting(), config())
    seen: list[Any] = []
    pay = learner.collect._reward
    assert pay is not None

    def watched(rollout: Any) -> Any:
        density = executed_log_prob(
            learner.agent, rollout.obs.flatten(0, 1), rollout.action.flatten(0, 1).clamp(-1, 1)
        )
        seen.append((rollout, pay(rollout), density))
        return seen[-1][1]

    learner.collect._reward = watched
    gone(learner, 3 * 12)
    learner.close()
    rollout, (paid, told), density = seen[-1]
    rows = rollout.flat()
    rows = rows._replace(action=rows.action.clamp(-1, 1))
    shaped: Any = learner.judge
    f = shaped._shaped.f(rows) + 0.9 / 0.1 * learner.reward.absorbing.detach() * rows.terminated
    torch.testing.assert_close(paid.flatten(), f - density)
    assert any(bool((r.action.abs() > 1).any()) for r, *_ in seen)
    assert {"d_loss", "d_expert", "d_policy", "d_gap", "reward_expert", "reward_policy"} <= told.keys()


def test_both_sides_densities_are_those_of_the_policy_as_it_is() -> None:
    """The logit of a row moves when the policy does, though f stays."""
    learner = airl.build(setting(), config())
    rows = learner._demos.rows
    before, held = learner.judge.pay(rows), learner.judge.called_expert(rows)
    with torch.no_grad():
        for p in learner.agent.head.parameters():
            p.add_(0.5)
    after = learner.judge.pay(rows)
    density = executed_log_prob(learner.agent, rows.obs, rows.action)
    shaped: Any = learner.judge
    torch.testing.assert_close(after, shaped._shaped.relabel(rows).reward - density)
    assert not torch.allclose(before, after)
    assert 0 <= held <= 1
    learner.close()


@pytest.mark.parametrize("module", [airl, airl_trpo, airl_sac])
def test_a_resumed_run_goes_on_to_the_same_bits(module: Any, tmp_path: Path) -> None:
    whole, first, second = (module.build(setting(module), config(module)) for _ in range(3))
    want = gone(whole, 43)
    gone(first, 29)
    write_tree(tmp_path / "state", first.state_dict())
    second.load_state_dict(read_tree(tmp_path / "state"))
    assert gone(second, 14) == want
    for a, b in zip(whole.agent.parameters(), second.agent.parameters(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(whole.reward.parameters(), second.reward.parameters(), strict=True):
        assert torch.equal(a, b)
    for made in (whole, first, second):
        made.close()


@pytest.mark.parametrize("reads", ["state", "state-action"])
def test_the_reward_that_is_left_is_g(reads: Any, tmp_path: Path) -> None:
    """Without shaping and density; of states alone it knows no action. Saved and loaded it pays the same."""
    learner = airl.build(setting(reading=replace(READING, reads=reads)), config())
    gone(learner, 12)
    learner.close()
    learner.reward.save(tmp_path / "reward")
    kept, rows = load_reward(tmp_path / "reward"), learner._demos.rows
    assert torch.equal(kept.forward(rows), learner.reward.forward(rows))
    other = Transitions(rows.obs, -rows.action, rows.reward, rows.next_obs + 1, rows.terminated)
    assert torch.equal(kept.forward(rows), kept.forward(other)) == (reads == "state")


def test_a_soft_actor_critic_is_paid_f_alone() -> None:
    """Its own objective has the entropy; actions at the bound are kept off it, for f and the density."""
    learner = airl_sac.build(setting(airl_sac), config(airl_sac))
    told = gone(learner, 30)
    paid: Any = learner.practice._reward
    rows = learner._demos.rows._replace(action=torch.ones_like(learner._demos.rows.action))
    near = rows._replace(action=torch.full_like(rows.action, 0.99))
    want = learner._shaped.f(near) + 0.9 / 0.1 * learner.reward.absorbing.detach() * rows.terminated
    torch.testing.assert_close(paid(rows), want)
    assert {"d_loss", "d_held", "reward_expert", "reward_policy", "critic_loss"} <= told.keys() | {"d_held"}
    learner.close()


def test_entropy_is_not_counted_twice() -> None:
    with pytest.raises(ValueError, match="entropy_bonus is"):
        airl.build(setting(learner=replace(airl.LEARNER, entropy_bonus=0.1)), config())
    for temperature in (None, 0.5):
        learner = replace(setting(airl_sac).learner, temperature=temperature)
        with pytest.raises(ValueError, match="it must be 1"):
            airl_sac.build(setting(airl_sac, learner=learner), config(airl_sac))


def test_what_g_may_not_read_is_refused() -> None:
    with pytest.raises(ValueError, match="h alone"):
        airl.build(setting(reading=replace(READING, reads="transition")), config())
    with pytest.raises(ValueError, match="airl learns from demonstrations"):
        airl.build(setting(data=None), config())
