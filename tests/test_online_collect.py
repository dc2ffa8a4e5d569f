"""Living in several environments: a rollout holds what happened, a resumption goes on to the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from understudy.agent import Agent
from understudy.dataset import Dataset
from understudy.envs import ActionSpec, adapt, task
from understudy.envs.door import DoorEnv
from understudy.heads import Gaussian
from understudy.learn.ppo import PPO
from understudy.learn.ppo import Config as PPOConfig
from understudy.learn.rollouts import Rollout
from understudy.learn.trpo import TRPO
from understudy.learn.trpo import Config as TRPOConfig
from understudy.nets import MLP
from understudy.online import ppo, trpo
from understudy.online.base import Collecting, Setting
from understudy.online.collect import Collect, paying
from understudy.online.start import FIRST_SEED, RUN_SEEDS, Flat
from understudy.rewards import RewardConfig, RewardNet
from understudy.serial import read_tree, write_tree
from understudy.train import Budget, train

PLAN = Collecting(envs=3, rollout=5)
SMALL = PPOConfig(hidden=(8,), minibatch=8, epochs=2, seed=3)


class Slide:
    """A point on a line: it ends (terminated) beyond 3, and pays what the action is."""

    def __init__(self) -> None:
        self.action, self.given, self.seeds = ActionSpec.box([-1.0], [3.0]), list[float](), list[int]()
        self.closed = False

    def reset(self, *, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
        self.seeds.append(seed)
        self.x = np.random.default_rng(seed).uniform(-1, 1)
        return self._seen(), {}

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        self.given.append(float(action[0]))
        self.x += 0.5 + 0.1 * float(action[0])
        done = bool(self.x > 3)
        return self._seen(), float(action[0]), done, False, {"success": True} if done else {}

    def close(self) -> None:
        self.closed = True

    def _seen(self) -> dict[str, Any]:
        return {"b": np.array([self.x], np.float32), "a": np.array([10 * self.x, 1.0], np.float32)}


class Forgetful(Slide):
    """Its episodes do not repeat themselves."""

    def reset(self, *, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
        return super().reset(seed=seed + len(self.seeds))


def agent(head: Gaussian | None = None) -> Agent:
    rng = np.random.default_rng(0)
    obs = {"a": rng.normal(size=(41, 2)).astype(np.float32), "b": rng.normal(size=(41, 1)).astype(np.float32)}
    data = Dataset.from_columns(obs, rng.uniform(-1, 3, (40, 1)).astype(np.float32), [40])
    return Agent.build(data, MLP((8,)), head or Gaussian(squash=True), bounds=([-1.0], [3.0]), seed=1)


def begun(envs: list[DoorEnv] | None = None, world: type[Slide] = Slide, **how: Any) -> Collect:
    made: list[DoorEnv] = [] if envs is None else envs

    def make() -> DoorEnv:
        made.append(adapt(world(), horizon=4))
        return made[-1]

    return Collect(make, PPO(agent(), SMALL), PLAN, seed=2, **how)


def test_a_rollout_is_what_happened() -> None:
    seen: list[Rollout] = []

    def same(rollout: Rollout) -> tuple[Tensor, dict[str, float]]:
        seen.append(rollout)
        return rollout.reward, {"mine": 7.0}

    envs: list[DoorEnv] = []
    collect = begun(envs, reward=same)
    told = [collect.step() for _ in range(2 * 15)]
    assert len(seen) == 2
    raws: list[Slide] = [e.raw for e in envs]  # type: ignore[attr-defined]
    flat, ended = Flat(collect.agent), []
    for i, raw in enumerate(raws):
        rows = [x[:, i] for r in seen for x in [r.action, r.reward, r.obs, r.next_obs, r.terminated, r.over]]
        action, reward, obs, following, terminated, over = (torch.cat(rows[k::6]) for k in range(6))
        assert np.allclose(flat.raw_action(action.numpy())[:, 0], raw.given, atol=1e-6)
        assert reward.tolist() == pytest.approx(raw.given)
        for t in range(9):
            assert bool(over[t]) != torch.equal(following[t], obs[t + 1])
        assert set(over[terminated > 0].tolist()) <= {1.0}
        ended += over.tolist()
        replayed = Slide()  # the first observation is that of the seed, the next that of the action
        first, _ = replayed.reset(seed=raw.seeds[0])
        assert np.array_equal(flat.obs(first), obs[0])
        assert np.array_equal(flat.obs(replayed.step([raw.given[0]])[0]), following[0])
    assert sum(ended) == len(collect.finished) == sum(t["ended"] for t in told)
    assert 0 < sum(float(r.terminated.sum()) for r in seen) < len(collect.finished)
    assert [("mine" in t, "policy_loss" in t) for t in told] == [(False, False)] * 14 + [(True, True)] * 16
    collect.close()
    assert all(raw.closed for raw in raws)


def test_densities_are_those_of_the_policy_that_drew() -> None:
    collect = begun()
    for _ in range(12):
        collect.step()
    rollout = collect.rollout()
    assert rollout.obs.shape == (4, 3, 3)
    rows = rollout.flat()
    log_prob = collect.learner.log_prob(rows.obs, rows.action)
    assert torch.allclose(log_prob, rollout.log_prob.flatten(), atol=1e-5)
    assert len(begun().rollout().reward) == 0


def test_every_episode_has_a_seed_of_its_own_and_episodes_are_counted_as_they_are() -> None:
    envs: list[DoorEnv] = []
    collect = begun(envs)
    rewards: dict[int, list[float]] = {0: [], 1: [], 2: []}
    for i in range(60):
        before = len(collect.finished)
        told = collect.step()
        rewards[i % 3].append(told["reward"])
        if told["ended"]:
            done = collect.finished[before]
            assert done.step == i + 1
            assert done.length == len(rewards[i % 3])
            assert done.total_reward == pytest.approx(sum(rewards[i % 3]))
            rewards[i % 3] = []
    assert {f.success for f in collect.finished} == {None, True}
    seeds = sorted(s for e in envs for s in e.raw.seeds)  # type: ignore[attr-defined]
    first = FIRST_SEED + 2 * RUN_SEEDS
    assert seeds == list(range(first, first + 3 + len(collect.finished)))


def test_an_unsquashed_action_is_remembered_as_drawn_and_executed_inside_the_bounds() -> None:
    envs: list[DoorEnv] = []

    def make() -> DoorEnv:
        envs.append(adapt(Slide(), horizon=4))
        return envs[-1]

    learner = PPO(agent(Gaussian(std="global")), SMALL)
    learner._policy._raw[:] = 3.0  # a spread far beyond the bounds
    collect = Collect(make, learner, PLAN, seed=0)
    for _ in range(12):
        collect.step()
    drawn = Flat(learner.agent).raw_action(collect.rollout().action.numpy())[..., 0]
    given = np.stack([e.raw.given for e in envs], 1)  # type: ignore[attr-defined]
    assert (np.abs(drawn - 1) > 2).any()
    assert given == pytest.approx(drawn.clip(-1, 3))
    rows = collect.rollout().flat()
    assert torch.allclose(learner.log_prob(rows.obs, rows.action), collect.rollout().log_prob.flatten())


@pytest.mark.parametrize("at", [0, 7, 13, 15, 31])
def test_a_resumed_practice_goes_on_to_the_same_bits(at: int, tmp_path: Path) -> None:
    """Before the first step, in the middle of a round and of a rollout, and right after a lesson."""
    whole = begun()
    for _ in range(at):
        whole.step()
    write_tree(tmp_path / "state.safetensors", whole.state_dict())
    resumed = begun()
    resumed.load_state_dict(read_tree(tmp_path / "state.safetensors"))
    assert [whole.step() for _ in range(40)] == [resumed.step() for _ in range(40)]
    assert whole.finished == resumed.finished
    for a, b in zip(whole.agent.state_dict().values(), resumed.agent.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_states_that_do_not_fit_are_refused() -> None:
    collect = begun(world=Forgetful)
    for _ in range(7):
        collect.step()
    with pytest.raises(ValueError, match="does not repeat itself"):
        begun(world=Forgetful).load_state_dict(collect.state_dict())
    other = Collect(lambda: adapt(Slide(), horizon=4), PPO(agent(), SMALL), Collecting(envs=2), seed=2)
    with pytest.raises(ValueError, match="envs and rollout"):
        other.load_state_dict(collect.state_dict())
    state = collect.state_dict()
    with pytest.raises(ValueError, match="does not fit 7 steps"):
        begun().load_state_dict(state | {"rows": state["rows"][1:]})


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="seed is -1"):
        Collect(lambda: adapt(Slide()), PPO(agent(), SMALL), PLAN, seed=-1)
    wide = Slide()
    wide.action = ActionSpec.box([-1, -1], [1, 1])
    with pytest.raises(ValueError, match="takes 2 actions, the agent gives 1"):
        Collect(lambda: adapt(wide), PPO(agent(), SMALL), PLAN, seed=0)
    collect = begun(reward=lambda r: (r.reward.flatten(), {}))
    with pytest.raises(ValueError, match=r"the rewards are \[15\]"):
        [collect.step() for _ in range(15)]


def test_a_given_reward_pays_in_place_of_the_environments() -> None:
    collect = begun()
    reward = RewardNet.of(collect.agent, RewardConfig("state-action", reward_hidden=(8,)), seed=0)
    with torch.no_grad():
        reward.end.fill_(2.0)
    for _ in range(12):
        collect.step()
    rollout = collect.rollout()
    pay = paying(reward, 0.9)
    assert pay is not None
    assert paying(None, 0.9) is None
    paid, _ = pay(rollout)
    with torch.no_grad():
        want = reward.forward(rollout.flat()) + 18 * rollout.terminated.flatten()  # γ / (1 - γ) × 2
    assert rollout.terminated.sum() > 0
    assert torch.allclose(paid.flatten(), want)


@pytest.mark.parametrize(
    ("method", "learner", "kind"), [(ppo, SMALL, PPO), (trpo, TRPOConfig(hidden=(8,), seed=3), TRPO)]
)
def test_the_methods_are_built_and_train_drives_them(method: Any, learner: Any, kind: type) -> None:
    plan = Collecting(uniform=50, envs=2, rollout=8)
    setting = Setting(task("pendulum"), None, plan, learner, RewardConfig())
    made = method.build(setting, method.Config())
    assert type(made.learner) is kind
    outcome = train(made, Budget(steps=40, validate_every=20))
    assert outcome.steps == made.steps == 40
    assert [line["step"] for line in outcome.metrics] == [20, 40]
    assert {"reward", "ended", "kl", "entropy", "value_loss", "explained"} <= set(outcome.metrics[-1])
    made.close()
