"""Rewards as objects: units, gradients, the end of the task, and files from strangers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from understudy import heads, nets
from understudy.agent import Agent
from understudy.dataset import Dataset
from understudy.episode import Episode
from understudy.rewards import RewardConfig, RewardNet, load_reward
from understudy.serial import CorruptFile, read_tree, write_tree


class Steps(NamedTuple):
    obs: Tensor
    action: Tensor
    reward: Tensor
    next_obs: Tensor
    terminated: Tensor


@pytest.fixture(scope="module")
def agent() -> Agent:
    rng = np.random.default_rng(0)
    episodes = [
        Episode.demonstration(
            {"b": 3 * rng.normal(size=(8, 2)) + 5, "a": rng.normal(size=(8, 1))}, rng.normal(size=(7, 2))
        )
        for _ in range(4)
    ]
    return Agent.build(Dataset(episodes), nets.MLP((8,)), heads.Gaussian(squash=True))


def steps(n: int, seed: int = 0, ended: bool = False) -> Steps:
    g = torch.Generator().manual_seed(seed)
    obs, action, after = (torch.randn(n, w, generator=g) for w in (3, 2, 3))
    terminated = torch.zeros(n)
    terminated[-1] = float(ended)
    return Steps(obs, action, torch.full((n,), 7.0), after, terminated)


EVERY = [
    RewardConfig(reads, features, hidden, bound=bound)
    for reads in ("state", "state-action", "transition", "next-state")
    for features, hidden, bound in (("inputs", (8, 8), 2.0), ("quadratic", (), None))
]


@pytest.mark.parametrize("config", EVERY)
def test_saved_and_loaded_it_is_the_same_to_the_bit(
    agent: Agent, config: RewardConfig, tmp_path: Path
) -> None:
    reward = RewardNet.of(agent, config, seed=3)
    reward.save(tmp_path)
    back = load_reward(tmp_path)
    batch = steps(9)
    assert back.config == config
    assert torch.equal(back(batch), reward(batch))
    obs = {"a": np.ones((2, 1)), "b": np.zeros((2, 2))}
    again = back.values(obs, np.ones((2, 2)), obs)
    assert np.array_equal(again, reward.values(obs, np.ones((2, 2)), obs))
    assert all(p.requires_grad for p in back.parameters())
    assert not any("shift" in name for name, _ in back.named_parameters())


@pytest.mark.parametrize("config", EVERY)
def test_raw_units_are_those_of_the_replay(agent: Agent, config: RewardConfig) -> None:
    """`values` of raw numbers is `forward` of what the agent's own normalisers make of them."""
    reward = RewardNet.of(agent, config, seed=1)
    rng = np.random.default_rng(1)
    obs, then = ({"b": rng.normal(size=(5, 2)), "a": rng.normal(size=(5, 1))} for _ in range(2))
    action = rng.normal(size=(5, 2))
    seen, after = (
        torch.cat([agent.obs_normalizers[k](torch.tensor(o[k], dtype=torch.float32)) for k in "ab"], 1)
        for o in (obs, then)
    )
    acted = agent.action_normalizer(torch.tensor(action, dtype=torch.float32))
    batch = Steps(seen, acted, torch.zeros(5), after, torch.zeros(5))
    assert np.allclose(reward.values(obs, action, then), reward(batch).detach().numpy(), atol=1e-6)
    one = reward.values({k: v[0] for k, v in obs.items()}, action[0], {k: v[0] for k, v in then.items()})
    assert one.shape == (1,)


@pytest.mark.parametrize("config", EVERY)
def test_what_is_not_read_changes_nothing(agent: Agent, config: RewardConfig) -> None:
    reward, a, b = RewardNet.of(agent, config, seed=0), steps(6, 0), steps(6, 1)
    first = reward(a)
    moved = {
        "action": not torch.equal(first, reward(a._replace(action=b.action))),
        "next": not torch.equal(first, reward(a._replace(next_obs=b.next_obs))),
    }
    assert moved == {
        "action": config.reads in ("state-action", "transition"),
        "next": config.reads in ("transition", "next-state"),
    }
    assert torch.equal(first, reward(a._replace(reward=b.reward + 1)))


def test_a_linear_reward_is_its_features_times_its_weights(agent: Agent) -> None:
    reward = RewardNet.of(agent, RewardConfig("state", "quadratic", ()), seed=0)
    x = steps(4).obs.double()
    products = [x[:, i] * x[:, j] for i in range(3) for j in range(i, 3)]
    features = torch.cat((x, torch.stack(products, 1)), 1)
    weight, bias = reward.out.weight[0].double(), reward.out.bias.double()
    assert torch.allclose(reward(steps(4)).double(), features @ weight + bias, atol=1e-6)


def test_a_bound_holds(agent: Agent) -> None:
    reward = RewardNet.of(agent, RewardConfig(bound=0.5), seed=0)
    with torch.no_grad():
        reward.out.weight.mul_(1e4)
        reward.end.fill_(-1e4)
    paid = reward(steps(50)).detach()
    assert bool((paid.abs() <= 0.5).all())
    assert float(paid.abs().max()) > 0.49
    assert float(reward.absorbing.detach()) == -0.5


def test_the_end_of_the_task_is_worth_the_absorbing_state_forever(agent: Agent) -> None:
    """r + γ/(1-γ) r_end is the sum over all later steps, and a time limit adds nothing."""
    reward = RewardNet.of(agent, RewardConfig("state-action"), seed=0)
    with torch.no_grad():
        reward.end.fill_(-0.3)
    batch, gamma = steps(5, ended=True), 0.9
    paid = reward.relabel(batch, gamma)
    later = -0.3 * sum(gamma**k for k in range(1, 400))
    want = reward(batch).detach() + torch.tensor([0, 0, 0, 0, later])
    assert torch.allclose(paid.reward, want, atol=1e-5)
    assert not paid.reward.requires_grad
    assert torch.equal(batch.reward, torch.full((5,), 7.0))
    with pytest.raises(ValueError, match="discount is 1"):
        reward.relabel(batch, 1.0)
    assert torch.equal(reward.relabel(steps(5), 1.0).reward, reward(steps(5)).detach())


def test_the_slope_is_the_squared_gradient_by_the_inputs(agent: Agent) -> None:
    reward = RewardNet.of(agent, RewardConfig("state-action", "quadratic", (8,)), seed=0).double()
    batch = Steps(*(x.double() for x in steps(3)))
    slope, h = reward.slope(batch), 1e-6
    for i in range(3):
        found = 0.0
        for part, width in (("obs", 3), ("action", 2)):
            for d in range(width):
                up, down = (getattr(batch, part).clone() for _ in range(2))
                up[i, d] += h
                down[i, d] -= h
                moved = reward(batch._replace(**{part: up})) - reward(batch._replace(**{part: down}))
                found += float(moved[i].detach() / (2 * h)) ** 2
        assert found == pytest.approx(float(slope[i].detach()), rel=1e-5)
    slope.sum().backward()  # type: ignore[no-untyped-call]
    assert reward.out.weight.grad is not None


def test_units_that_differ_are_refused(agent: Agent) -> None:
    reward = RewardNet.of(agent, RewardConfig(), seed=0)
    reward.check_units(agent)
    other = RewardNet.of(agent, RewardConfig(), seed=0)
    other.obs_normalizers["b"].shift += 1.0
    with pytest.raises(ValueError, match="'b' differently"):
        other.check_units(agent)


def test_what_does_not_fit_is_refused(agent: Agent) -> None:
    reward = RewardNet.of(agent, RewardConfig("transition"), seed=0)
    obs = {"a": np.ones((2, 1)), "b": np.zeros((2, 2))}
    with pytest.raises(ValueError, match="action must be 2 × 2"):
        reward.values(obs)
    with pytest.raises(ValueError, match="next_obs must be 2"):
        reward.values(obs, np.ones((2, 2)))
    with pytest.raises(ValueError, match="the agent knows"):
        reward.values({"a": obs["a"]}, np.ones((2, 2)), obs)
    for wrong in ({"reads": "pixels"}, {"bound": 0.0}, {"reward_hidden": (0,)}, {"features": "cubic"}):
        with pytest.raises(ValueError):
            RewardConfig(**wrong)  # type: ignore[arg-type]


def spoil_description(folder: Path, **changes: object) -> None:
    path = folder / "reward.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_hostile_files_are_refused(agent: Agent, tmp_path: Path) -> None:
    reward = RewardNet.of(agent, RewardConfig(), seed=0)

    def fresh(name: str) -> Path:
        reward.save(tmp_path / name)
        return tmp_path / name

    wide = {"reads": "state", "features": "quadratic", "reward_hidden": [1 << 20, 1 << 20]}
    huge = {"a": {"shape": [1 << 40]}, "b": {"shape": [2]}}
    for i, changes in enumerate(
        (
            {"format": "understudy-agent"},
            {"version": 2},
            {"reward": {"reads": "os.system"}},
            {"reward": {"evil": 1}},
            {"reward": wide},
            {"obs": huge},
            {"obs": {}},
            {"obs": []},
            {"action": {"shape": [2, 2]}},
            {"more": 1},
            {"sha256": "0" * 64},
        )
    ):
        folder = fresh(f"description-{i}")
        spoil_description(folder, **changes)
        with pytest.raises(CorruptFile) as error:
            load_reward(folder)
        assert "\n" not in str(error.value)
    folder = fresh("weights")
    data = bytearray((folder / "reward.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "reward.safetensors").write_bytes(bytes(data))
    with pytest.raises(CorruptFile, match="not the file"):
        load_reward(folder)
    for bad in (float("nan"), None):
        state = dict(reward.state_dict())
        if bad is None:
            del state["end"]
        else:
            state["end"] = torch.tensor(bad)
        with pytest.raises(ValueError, match="end"):
            reward.restore(state)
    with pytest.raises(FileNotFoundError):
        load_reward(tmp_path / "nowhere")


def test_a_reward_of_other_weights_under_its_own_hash_is_refused(agent: Agent, tmp_path: Path) -> None:
    """A tensor of another shape, the hash being right: the description decides what may be there."""
    import hashlib

    reward = RewardNet.of(agent, RewardConfig(), seed=0)
    reward.save(tmp_path)
    path = tmp_path / "reward.safetensors"
    write_tree(path, {**read_tree(path), "end": torch.zeros(3)})
    spoil_description(tmp_path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(CorruptFile, match="'end' is"):
        load_reward(tmp_path)
