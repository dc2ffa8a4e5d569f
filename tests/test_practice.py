"""Acting and learning: what is remembered is what happened; a resumed practice goes on to the same bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from understudy.agent import Agent, load
from understudy.baselines import RandomPolicy
from understudy.dataset import Dataset
from understudy.envs import ActionSpec, adapt, task
from understudy.envs.door import DoorEnv
from understudy.learn.replay import Transitions
from understudy.learn.sac import SAC, Config
from understudy.online import Flat, Practice, actor, shortfall, transitions, uniform
from understudy.online.base import Practising, Setting
from understudy.online.start import FIRST_SEED, RUN_SEEDS
from understudy.rewards import RewardConfig, RewardNet
from understudy.rollout import rollout
from understudy.serial import read_tree, write_tree
from understudy.train import Budget, train

PENDULUM = task("pendulum")
SMALL = Config(hidden=(16, 16), seed=3)


class Slide:
    """A point on a line: it ends (terminated) beyond 3, and pays what the action is. Two observations."""

    def __init__(self, drift: float = 0.5) -> None:
        self.action, self.drift = ActionSpec.box([-1.0], [3.0]), drift

    def reset(self, *, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
        self.x = np.random.default_rng(seed).uniform(-1, 1)
        return self._seen(), {}

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        self.x += self.drift + 0.1 * float(action[0])
        done = self.x > 3
        return self._seen(), float(action[0]), done, False, {"success": True} if done else {}

    def _seen(self) -> dict[str, Any]:
        return {"b": np.array([self.x], np.float32), "a": np.array([10 * self.x, 1.0], np.float32)}


def slide(limit: int = 4) -> DoorEnv:
    return adapt(Slide(), horizon=limit)


def slides(steps: int = 60) -> Dataset:
    env = slide()
    return Dataset([rollout(env, RandomPolicy(env.action), s) for s in range(steps // 4)])


def begun(seed: int = 0, **how: Any) -> Practice:
    data = slides()
    agent = actor(slide().action, data, hidden=(16, 16), seed=1)
    return Practice(slide, SAC(agent, SMALL), seed=seed, start=transitions(agent, data), batch=16, **how)


def test_the_bounds_of_the_task_are_one_to_the_agent() -> None:
    agent = actor(slide().action, slides(), hidden=(8,))
    ends = torch.tensor([[-1.0], [3.0], [1.0]])
    assert agent.action_normalizer.forward(ends)[:, 0].tolist() == [-1.0, 1.0, 0.0]
    assert agent.action_normalizer.inverse(torch.tensor([[1.0]])).tolist() == [[3.0]]
    seen = agent.obs_normalizers
    assert list(seen) == ["a", "b"]  # a trunk reads them in the order of their names
    assert seen["a"].scale[1] == 1.0  # the constant is left alone
    still = Dataset([slides()[0]])
    tiny = {
        k: v[:1].repeat(len(v), 0) + 1e-4 * np.arange(len(v), dtype=np.float32)[:, None]
        for k, v in still[0].obs.items()
    }
    data = Dataset.from_columns(tiny, still[0].action, [len(still[0])])
    assert actor(slide().action, data).obs_normalizers["b"].scale.item() == pytest.approx(0.01)


def test_an_actor_can_see_observations_as_they_are() -> None:
    plan = Practising(uniform=40, observations="raw")
    setting = Setting(PENDULUM, None, plan, Config(hidden=(8,)), RewardConfig())
    agent, first = setting.actor()
    seen = transitions(agent, first).obs.numpy()
    assert np.array_equal(seen, np.concatenate([e.obs["state"][:-1] for e in first]))
    usual, _ = replace(setting, plan=Practising(uniform=40)).actor()
    assert not np.array_equal(seen, transitions(usual, first).obs.numpy())
    given = RewardNet.of(usual, RewardConfig(reward_hidden=(4,)), 0)
    with pytest.raises(ValueError, match="a given reward has units of its own"):
        replace(setting, given=given).actor()
    with pytest.raises(ValueError, match="must be standard or raw"):
        Practising(observations="scaled")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "spec", [ActionSpec.unbounded(2), ActionSpec.discrete(3), ActionSpec.box([0, 1], [1, 1])]
)
def test_actions_that_an_actor_cannot_take_are_refused(spec: ActionSpec) -> None:
    with pytest.raises(ValueError, match="finite bounds, low below high"):
        actor(spec, slides())


def test_uniform_steps_are_as_many_as_asked_for_and_keep_to_their_seeds() -> None:
    data = uniform(PENDULUM, 450, seed=2)
    assert data.lengths.tolist() == [200, 200, 50]
    seeds = [m["seed"] for m in data.facts]
    assert seeds == [FIRST_SEED + 2 * RUN_SEEDS + RUN_SEEDS // 2 + i for i in range(3)]
    assert data.fingerprint() == uniform(PENDULUM, 450, seed=2).fingerprint()
    actions = np.concatenate(list(data.chunks("action")))
    assert -2 <= actions.min() < -1.9 < 1.9 < actions.max() <= 2
    with pytest.raises(ValueError, match="at least one"):
        uniform(PENDULUM, 0, seed=0)


def test_transitions_are_the_steps_of_the_episodes_as_the_agent_sees_them() -> None:
    data = slides()
    agent = actor(slide().action, data, hidden=(8,))
    rows, flat = transitions(agent, data), Flat(agent)
    assert len(rows.reward) == data.steps
    at = 0
    for e in data:
        for t in range(len(e)):
            now, then = (flat.obs({k: v[i] for k, v in e.obs.items()}) for i in (t, t + 1))
            assert np.array_equal(rows.obs[at], now)
            assert np.array_equal(rows.next_obs[at], then)
            assert rows.action[at].item() == pytest.approx((e.action[t, 0] - 1) / 2)
            assert rows.reward[at].item() == pytest.approx(e.reward[t])
            assert rows.terminated[at].item() == (e.terminated and t == len(e) - 1)
            at += 1
    ended = [e.terminated for e in data]
    assert any(ended)
    assert not all(ended)  # those that ran out of time are no terminations


def test_what_is_remembered_is_what_happened() -> None:
    practice = begun()
    start, steps = len(practice.replay), 40
    told = [practice.step() for _ in range(steps)]
    rows = practice.replay.take(torch.arange(start, start + steps))
    over = [t["ended"] == 1 for t in told]
    for i in range(steps - 1):
        assert over[i] != torch.equal(rows.next_obs[i], rows.obs[i + 1])
    assert rows.reward.tolist() == pytest.approx([t["reward"] for t in told])
    assert rows.action.abs().max() < 1
    assert rows.reward.tolist() == pytest.approx((2 * rows.action[:, 0] + 1).tolist(), abs=1e-6)
    ended = practice.finished
    assert [f.step for f in ended] == [i + 1 for i, o in enumerate(over) if o]
    assert sum(f.length for f in ended) == ended[-1].step
    assert sum(f.total_reward for f in ended) == pytest.approx(
        float(rows.reward[: ended[-1].step].sum()), abs=1e-4
    )
    last = [bool(rows.terminated[f.step - 1]) for f in ended]
    assert [f.success is True for f in ended] == last
    assert {True, False} == set(last)
    assert all(f.length == 4 for f, end in zip(ended, last, strict=True) if not end)
    assert rows.terminated[~torch.tensor(over)].sum() == 0


def test_the_reward_may_be_somebody_elses() -> None:
    paid: list[int] = []

    def three(batch: Transitions) -> torch.Tensor:
        paid.append(len(batch.reward))
        return torch.full_like(batch.reward, 3.0, requires_grad=True)

    practice = begun(reward=three, updates=2)
    practice.sac = SAC(
        practice.agent, Config(discount=0.0, temperature=0.01, hidden=(16,), learning_rate=1e-2)
    )
    for _ in range(100):
        practice.step()
    assert paid == [16] * 200
    rows = practice.replay.take(torch.arange(20))
    assert practice.sac.values(rows.obs, rows.action).numpy() == pytest.approx(3.0, abs=0.3)
    assert rows.reward.std() > 0.1  # what is stored is what the environment paid


def same(a: Any, b: Any) -> bool:
    """Whether two trees are equal to the bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else bool(a == b)


@pytest.mark.parametrize("steps", [4, 6])  # at the start of an episode, and in the midst of one
def test_a_resumed_practice_goes_on_to_the_same_bits(steps: int, tmp_path: Path) -> None:
    whole, first = begun(), begun()
    for _ in range(14):
        whole.step()
    for _ in range(steps):
        first.step()
    write_tree(tmp_path / "state", first.state_dict())
    second = begun()
    second.step()
    second.load_state_dict(read_tree(tmp_path / "state"))
    for _ in range(14 - steps):
        second.step()
    assert same(whole.state_dict(), second.state_dict())
    with pytest.raises(ValueError, match="seed, batch, updates and every"):
        begun(seed=1).load_state_dict(read_tree(tmp_path / "state"))


def test_an_environment_that_does_not_repeat_itself_cannot_be_resumed(tmp_path: Path) -> None:
    practice = begun()
    for _ in range(6):
        practice.step()
    other = begun()
    other._env = adapt(Slide(drift=0.6), horizon=4)
    with pytest.raises(ValueError, match="does not repeat itself"):
        other.load_state_dict(practice.state_dict())


def test_train_drives_it_and_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    def practice() -> Practice:
        data = uniform(PENDULUM, 100, seed=0)
        agent = actor(PENDULUM.action, data, hidden=(8,), seed=0)
        return Practice(PENDULUM.make, SAC(agent, SMALL), seed=0, start=transitions(agent, data), batch=8)

    validate = shortfall(PENDULUM.make, [2_000_000])
    whole = practice()
    expected = train(whole, Budget(steps=60, validate_every=30), validate=validate)
    train(practice(), Budget(steps=30, validate_every=30), validate=validate, run=tmp_path)
    again = practice()
    found = train(again, Budget(steps=60, validate_every=30), validate=validate, run=tmp_path, resume=True)
    told = [{k: v for k, v in m.items() if k != "seconds"} for m in expected.metrics]
    assert told == [{k: v for k, v in m.items() if k != "seconds"} for m in found.metrics]
    assert -2000 < -told[-1]["validation"] < 0
    assert whole.steps == again.steps == 60
    again.agent.save(tmp_path / "agent")
    seen = PENDULUM.make().reset(seed=0)[0]["state"]
    assert np.array_equal(load(tmp_path / "agent").act(seen), whole.agent.act(seen))


def test_what_does_not_fit_is_refused() -> None:
    agent: Agent = actor(PENDULUM.action, uniform(PENDULUM, 10, 0), hidden=(8,))
    for wrong in ({"batch": 0}, {"updates": -1}, {"seed": -1}):
        with pytest.raises(ValueError, match="out of its range"):
            Practice(PENDULUM.make, SAC(agent, SMALL), **({"seed": 0} | wrong))
    two = task("reacher")
    with pytest.raises(ValueError, match="takes 2 actions, the agent gives 1"):
        Practice(two.make, SAC(agent, SMALL), seed=0)
    with pytest.raises(ValueError, match="no episodes"):
        transitions(agent, Dataset())
