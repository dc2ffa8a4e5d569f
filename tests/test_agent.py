"""The agent speaks the environment's units, survives files and processes to the bit, and refuses faults."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import integrate

from understudy.agent import Agent, Chunked, load
from understudy.dataset import Dataset
from understudy.episode import Episode
from understudy.heads import Categorical, Deterministic, Gaussian, Mixture
from understudy.learn import bc
from understudy.nets import MLP
from understudy.serial import CorruptFile, read_tree, write_json, write_tree

HEADS: list[Any] = [
    Deterministic(),
    Gaussian(),
    Gaussian("global", squash=True),
    Mixture(3),
    Categorical(4),
]
SMALL = MLP((16, 16))


def demonstrations(seed: int = 0, *, keys: bool = False, discrete: bool = False, n: int = 6) -> Dataset:
    rng = np.random.default_rng(seed)
    episodes = []
    for _ in range(n):
        x = rng.normal([5, -300, 0.01, 0], [2, 40, 0.001, 1], (21, 4)).astype(np.float32)
        obs: dict[str, NDArray[Any]] = {"state": x}
        if keys:
            obs = {"robot.arm": x[:, :3], "goal": x[:, 3:]}
        action = rng.integers(0, 4, (20, 1)) if discrete else rng.normal([3, -50], [1, 9], (20, 2))
        episodes.append(Episode.demonstration(obs, action))
    return Dataset(episodes)


def shaken(head: Any = None, *, keys: bool = False, seed: int = 0, **kwargs: Any) -> Agent:
    """An agent with weights far from their start."""
    head = Deterministic() if head is None else head
    data = demonstrations(keys=keys, discrete=isinstance(head, Categorical))
    agent = Agent.build(data, kwargs.pop("trunk", SMALL), head, **kwargs)
    torch.manual_seed(seed)
    with torch.no_grad():
        for p in agent.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return agent


def states(n: int, seed: int = 1) -> NDArray[np.float32]:
    return (
        np.random.default_rng(seed).normal([5, -300, 0.01, 0], [2, 40, 0.001, 1], (n, 4)).astype(np.float32)
    )


# ── acting ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("head", HEADS, ids=lambda h: h.kind)
@pytest.mark.parametrize("activation", ["relu", "tanh", "silu", "gelu"])
def test_one_observation_and_a_batch_agree(head: Any, activation: Any) -> None:
    agent = shaken(head, trunk=MLP((16, 16), activation), horizon=3)
    x = states(8)
    batch = agent.act({"state": x})
    assert batch.shape == (8, 1 if agent.head.discrete else 2)
    for one, want in zip(x, batch, strict=True):
        a = agent.act({"state": one})
        assert a.shape == want.shape
        assert a.dtype == want.dtype == (np.int64 if agent.head.discrete else np.float32)
        np.testing.assert_allclose(a, want, rtol=2e-6, atol=1e-5)
    full = agent.mode({"state": torch.from_numpy(x)[:, None]}).detach().numpy()
    np.testing.assert_array_equal(batch, full[:, 0])


def test_names_bare_arrays_and_integers_are_taken_at_the_door() -> None:
    agent = shaken()
    x = states(1)[0]
    want = agent.act({"state": x})
    for obs in (x, {"observation": x}, x.astype(np.float64), {"state": list(map(float, x))}):
        np.testing.assert_array_equal(agent.act(obs), want)
    assert agent.act(np.zeros(4, np.int64)).shape == (2,)
    several = shaken(keys=True)
    nested = {"goal": x[3:], "robot": {"arm": x[:3]}}
    np.testing.assert_array_equal(several.act(nested), several.act({"robot.arm": x[:3], "goal": x[3:]}))


def test_observations_are_left_as_they_are() -> None:
    x = states(1)[0]
    before = x.copy()
    x.flags.writeable = False
    for agent in (shaken(), shaken(trunk=MLP(()), observations="identity", actions="identity")):
        agent.act(x)
        agent.act(x[None])
        a = agent.act(before)
        a += 1
        np.testing.assert_array_equal(before, x)


@pytest.mark.parametrize(
    ("obs", "message"),
    [
        ({}, "obs has []; the agent knows ['state']"),
        ({"state": np.zeros(4), "more": np.zeros(1)}, "obs has ['more', 'state']"),
        ({"state": np.zeros(5)}, "has shape [5]; it must be [4]"),
        ({"state": np.zeros((0, 4))}, "has shape [0, 4]"),
        ({"state": np.zeros((2, 2, 4))}, "has shape [2, 2, 4]"),
        ({"state": [0, 1, np.nan, 0]}, "not finite"),
        ({"state": [0, 1, np.inf, -np.inf]}, "not finite"),
        ({"state": [0, 1, 1e39, 0]}, "not finite in float32"),
        ({"state": ["a", "b", "c", "d"]}, "has dtype"),
        ({"state": np.zeros(4, np.uint8)}, "has dtype uint8"),
        (3.0, "has shape []"),
    ],
)
def test_wrong_observations_are_refused_in_one_line(obs: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        shaken().act(obs)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_action_that_is_not_finite_never_leaves() -> None:
    for x in (np.full(4, 3e38, np.float32), np.full((2, 4), 3e38, np.float32)):
        with pytest.raises(ValueError, match="the action is not finite"):
            shaken().act(x)
    assert shaken(observations="identity").act(np.full(4, 1e37, np.float32)).shape == (2,), (
        "large alone is no fault"
    )


def test_batches_must_be_alike_and_a_bare_array_needs_one_name() -> None:
    agent = shaken(keys=True)
    with pytest.raises(ValueError, match="they must be equal"):
        agent.act({"goal": np.zeros((2, 1)), "robot.arm": np.zeros((3, 3))})
    with pytest.raises(ValueError, match="they must be equal"):
        agent.act({"goal": np.zeros(1), "robot.arm": np.zeros((1, 3))})
    with pytest.raises(ValueError, match="bare array"):
        agent.act(np.zeros(4))


def test_windows_of_a_history_are_oldest_first() -> None:
    agent = shaken(history=3)
    x = states(5)
    with pytest.raises(ValueError, match=r"it must be \[3, 4\]"):
        agent.act(x[0])
    one, many = agent.act(x[:3]), agent.act(np.stack([x[:3], x[1:4]]))
    assert one.shape == (2,)
    np.testing.assert_allclose(one, many[0], rtol=1e-5)
    assert not np.allclose(one, agent.act(x[2::-1]))


def test_images_are_uint8_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    camera = rng.integers(0, 256, (11, 5, 4, 3)).astype(np.uint8)
    data = Dataset([Episode.demonstration({"camera": camera}, rng.normal(size=(10, 1)))])
    with pytest.raises(ValueError, match="reads vectors only"):
        Agent.build(data, SMALL, Deterministic())


def test_bounds_are_kept_where_they_are_given() -> None:
    bounds = (np.array([3.3, -49.0]), np.array([3.6, -46.0]))
    free, held = shaken(), shaken(bounds=bounds)
    x = states(50)
    wild = free.act(x)
    assert (wild < bounds[0]).any()
    assert (wild > bounds[1]).any()
    np.testing.assert_array_equal(held.act(x), wild.clip(*np.float32(bounds)))
    np.testing.assert_allclose([held.act(one) for one in x], held.act(x), rtol=1e-5)
    draw = held.sample({"state": torch.from_numpy(x)[:, None]})[:, 0].detach().numpy()
    assert (draw >= np.float32(bounds[0])).all()
    assert (draw <= np.float32(bounds[1])).all()


def test_acting_follows_training_and_replaced_weights() -> None:
    """The quick way for one observation reads the same weights as the batch, wherever they have moved."""
    agent, x = shaken(), states(2)  # a batch of one would go the quick way too

    def agree() -> None:
        np.testing.assert_allclose(agent.act(x[0]), agent.act(x)[0], rtol=1e-5)

    agree()
    learner = bc.Learner(agent, demonstrations(), bc.Config(batch=32, learning_rate=0.1))
    agree()
    before = agent.act(x[0])
    learner.step()
    agree()
    assert not np.allclose(before, agent.act(x[0]))
    agent.load_state_dict(shaken(seed=5).state_dict(), assign=True)
    agree()
    agent.to(torch.float64).to(torch.float32)
    agree()


# ── density in raw units ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("head", [Gaussian(), Gaussian(squash=True), Mixture(3)], ids=lambda h: h.kind)
def test_the_density_integrates_to_one_over_raw_actions(head: Any) -> None:
    rng = np.random.default_rng(0)
    data = Dataset([Episode.demonstration(rng.normal(size=(201, 2)), rng.normal(40, 7, (200, 1)))])
    agent = Agent.build(data, SMALL, head)
    if isinstance(head, Gaussian) and head.squash:
        a, middle, half = None, float(agent.action_normalizer.shift), float(agent.action_normalizer.scale)
        u = np.linspace(-7.2, 7.2, 4001)
        a, slope = middle + half * np.tanh(u), half * (1 - np.tanh(u) ** 2)
    else:
        a = u = np.linspace(40 - 150, 40 + 150, 8001)
        slope = np.ones_like(u)
    obs = {"state": torch.tensor(rng.normal(size=(1, 1, 2)), dtype=torch.float32).expand(len(a), 1, 2)}
    with torch.no_grad():
        p = agent.log_prob(obs, torch.tensor(a, dtype=torch.float32)[:, None, None]).double().exp().numpy()
    assert integrate.trapezoid(p * slope, u) == pytest.approx(1.0, abs=1e-4)


def test_the_density_of_choices_sums_to_one_and_regression_has_none() -> None:
    agent = shaken(Categorical(4))
    obs = {"state": torch.from_numpy(states(4))[:1, None].expand(4, 1, 4)}
    assert agent.log_prob(obs, torch.arange(4)[:, None, None]).exp().sum().item() == pytest.approx(
        1, abs=1e-6
    )
    with pytest.raises(TypeError, match="deterministic head has no density"):
        shaken().log_prob(obs, torch.zeros(4, 1, 2))


# ── building ──────────────────────────────────────────────────────────────────────────────────────────


def test_the_seed_alone_decides_the_first_weights() -> None:
    data = demonstrations()
    torch.manual_seed(7)
    state = torch.get_rng_state()
    a, b, c = (Agent.build(data, SMALL, Gaussian(), seed=s) for s in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state()), "the caller's generator is left alone"
    x = states(5)
    np.testing.assert_array_equal(a.act(x), b.act(x))
    assert not np.array_equal(a.act(x), c.act(x))


def test_normalisers_are_fitted_to_labels_and_to_what_was_seen() -> None:
    e = demonstrations()[0]
    corrected = Episode(e.obs, e.action, e.action + 100, np.arange(20) < 10, e.reward)
    agent = Agent.build(Dataset([corrected]), SMALL, Deterministic())
    np.testing.assert_allclose(agent.action_normalizer.shift, corrected.label[:10].mean(0), rtol=1e-5)
    np.testing.assert_allclose(agent.obs_normalizers["state"].shift, e.obs["state"].mean(0), rtol=1e-4)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"head": Categorical(4)}, "chooses one number a step"),
        ({"head": Deterministic(), "discrete": True}, "gives continuous actions, but the data has discrete"),
        ({"head": Gaussian(squash=True), "actions": "standard"}, "it must be 'range'"),
        ({"head": Categorical(4), "discrete": True, "actions": "standard"}, "must be 'identity'"),
        ({"history": 0}, "history 0"),
        ({"horizon": 0}, "horizon 0"),
        ({"observations": "none"}, "must be one of"),
        ({"angles": {"pose": (0,)}}, "obs 'pose'"),
        ({"angles": {"state": (4,)}}, "must lie in width 4"),
        ({"bounds": ([0.0, 0.1], [1.0, 0.0])}, "nowhere be above"),
        ({"bounds": ([0.0], [1.0])}, "2 finite numbers"),
        ({"bounds": ([0.0, 0.0], [1.0, math.inf])}, "2 finite numbers"),
        ({"head": Categorical(4), "discrete": True, "bounds": ([0.0], [1.0])}, "have no bounds"),
    ],
)
def test_contradictions_are_named(kwargs: dict[str, Any], message: str) -> None:
    data = demonstrations(discrete=kwargs.pop("discrete", False))
    with pytest.raises(ValueError, match=message) as caught:
        Agent.build(data, SMALL, kwargs.pop("head", Deterministic()), **kwargs)
    assert "\n" not in str(caught.value)


def test_choices_are_not_learned_from_continuous_actions() -> None:
    data = Dataset([Episode.demonstration(np.zeros((5, 2)), np.zeros((4, 1)))])
    with pytest.raises(ValueError, match="gives discrete actions, but the data has continuous ones"):
        Agent.build(data, SMALL, Categorical(4))


# ── files and processes ───────────────────────────────────────────────────────────────────────────────

VARIANTS: list[dict[str, Any]] = [
    *({"head": h} for h in HEADS),
    {"keys": True, "history": 2, "horizon": 3},
    {"observations": "quantile", "actions": "range", "angles": {"state": (0, 3)}},
    {"quaternions": {"state": ((0, "xyzw"),)}, "bounds": ([0.0, -99.0], [9.0, 0.0])},
    {"trunk": MLP((), "tanh"), "observations": "identity"},
]


@pytest.mark.parametrize("kwargs", VARIANTS, ids=range(len(VARIANTS)))
def test_equal_actions_before_and_after(tmp_path: Path, kwargs: dict[str, Any]) -> None:
    agent = shaken(**kwargs)
    bc.Learner(agent, demonstrations(keys=kwargs.get("keys", False), discrete=agent.head.discrete)).step()
    agent.save(tmp_path / "agent")
    x = states(20)
    if kwargs.get("keys"):
        obs = {
            "robot.arm": np.stack([x[:10, :3], x[10:, :3]], 1),
            "goal": np.stack([x[:10, 3:], x[10:, 3:]], 1),
        }
    else:
        obs = {"state": x}
    for other in (load(tmp_path / "agent"), pickle.loads(pickle.dumps(agent)), copy.deepcopy(agent)):
        np.testing.assert_array_equal(agent.act(obs), other.act(obs))
        for i in range(5):
            one = {k: v[i] for k, v in obs.items()}
            np.testing.assert_array_equal(agent.act(one), other.act(one))
        assert other.description == agent.description
        assert not any(m.training for m in other.modules())
        assert all(p.requires_grad for p in other.parameters())


def test_a_pickle_holds_each_number_once() -> None:
    agent = shaken(trunk=MLP((64, 64)))
    bc.Learner(agent, demonstrations())
    size = 4 * sum(v.numel() for v in agent.state_dict().values())
    assert len(pickle.dumps(agent)) < size + 5000


def test_loading_runs_in_a_process_that_never_saw_the_data(tmp_path: Path) -> None:
    agent = shaken(Mixture(3))
    agent.save(tmp_path)
    code = (
        "import sys, numpy as np; from understudy.agent import load\n"
        "print(load(sys.argv[1]).act(np.ones(4)).tobytes().hex())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == agent.act(np.ones(4)).tobytes().hex()


def damaged(tmp_path: Path, change: Any) -> str:
    """The one line that refuses a folder after `change`, which gets the description and the tensors."""
    shaken(bounds=([0.0, -99.0], [9.0, 0.0])).save(tmp_path)
    description, tensors = (
        json.loads((tmp_path / "agent.json").read_text()),
        read_tree(tmp_path / "weights.safetensors"),
    )
    change(description, tensors)
    write_tree(tmp_path / "weights.safetensors", tensors)
    description["sha256"] = hashlib.sha256((tmp_path / "weights.safetensors").read_bytes()).hexdigest()
    write_json(tmp_path / "agent.json", description)
    with pytest.raises(CorruptFile) as caught:
        load(tmp_path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d, t: d.update(version=99), "version 99"),
        (lambda d, t: d.update(format="other"), "'other'"),
        (lambda d, t: d.update(extra=1), "'extra'"),
        (lambda d, t: d.pop("trunk"), "the description has"),
        (lambda d, t: d["trunk"].update(kind="os.system"), "trunk is of kind 'os.system'"),
        (lambda d, t: d["trunk"].update(hidden=["x"]), "trunk.hidden[0] is 'x'"),
        (lambda d, t: d["trunk"].update(hidden=[10**12]), "at most 100 widths"),
        (lambda d, t: d["trunk"].update(hidden=[2**20, 2**20]), "must be torch.float32"),
        (lambda d, t: d["action"].update(shape=[2**62]), "larger than any memory"),
        (lambda d, t: d["head"].update(kind=["deterministic"]), "head is of kind"),
        (lambda d, t: d["head"].update(lambda_=1), "has no field 'lambda_'"),
        (lambda d, t: d.update(history=10**9), "history 1000000000"),
        (lambda d, t: d.update(horizon=2.0), "horizon is 2.0"),
        (lambda d, t: d.update(horizon=2), "must be torch.float32"),
        (lambda d, t: d.update(obs={}), "obs is empty"),
        (lambda d, t: d.update(obs=[]), "obs is []"),
        (lambda d, t: d["obs"]["state"].update(shape=[]), "at least one dimension"),
        (lambda d, t: d["obs"]["state"].update(shape=[-4]), "none empty"),
        (lambda d, t: d["obs"]["state"].update(kind="pickle"), "obs.state.kind is 'pickle'"),
        (lambda d, t: d["obs"].update(more=dict(d["obs"]["state"])), "is missing"),
        (lambda d, t: d.update(bounded=False), "'high' is unknown"),
        (lambda d, t: t.pop("head.out.bias"), "'head.out.bias' is missing"),
        (lambda d, t: t.update(other=torch.ones(1)), "'other' is unknown"),
        (
            lambda d, t: t.update({"head.out.bias": torch.ones(3)}),
            "torch.float32[3]; it must be torch.float32[2]",
        ),
        (lambda d, t: t.update({"head.out.bias": torch.ones(2).double()}), "torch.float64[2]"),
        (lambda d, t: t.update({"head.out.bias": [1.0, 2.0]}), "is list"),
        (lambda d, t: t["head.out.bias"].fill_(math.nan), "not finite"),
        (lambda d, t: t["action.scale"].fill_(0.0), "not positive"),
    ],
)
def test_hostile_folders_are_refused_in_one_line(tmp_path: Path, change: Any, message: str) -> None:
    said = damaged(tmp_path, change)
    assert message in said
    assert "\n" not in said


def test_truncated_swapped_and_missing_files_are_refused(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    shaken().save(a)
    shaken(seed=9).save(b)
    shutil.copy(b / "weights.safetensors", a / "weights.safetensors")
    with pytest.raises(CorruptFile, match=r"is not the file that agent\.json was written with"):
        load(a)
    raw = (a / "weights.safetensors").read_bytes()
    for n in (0, 7, 100, len(raw) // 2, len(raw) - 1):
        (a / "weights.safetensors").write_bytes(raw[:n])
        with pytest.raises(CorruptFile) as caught:
            load(a)
        assert "\n" not in str(caught.value)
    (b / "agent.json").unlink()
    with pytest.raises(FileNotFoundError):
        load(b)


def test_saving_again_replaces(tmp_path: Path) -> None:
    first, second = shaken(), shaken(seed=3)
    first.save(tmp_path)
    second.save(tmp_path)
    x = states(3)
    np.testing.assert_array_equal(load(tmp_path).act(x), second.act(x))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["agent.json", "weights.safetensors"]


# ── playing chunks ────────────────────────────────────────────────────────────────────────────────────


def play(policy: Chunked, x: NDArray[np.float32], seed: int = 0) -> NDArray[np.float32]:
    policy.reset(seed)
    return np.stack([policy.act({"state": s}) for s in x])


def test_history_begins_with_the_first_observation_repeated() -> None:
    agent, x = shaken(history=3), states(6)
    got = play(Chunked(agent), x)
    for t in range(6):
        np.testing.assert_array_equal(got[t], agent.act(x[np.maximum([t - 2, t - 1, t], 0)]))


def test_remembered_observations_are_copies() -> None:
    agent, x = shaken(history=2), states(3)
    policy, shared = Chunked(agent), np.empty(4, np.float32)
    want = play(policy, x)
    policy.reset(0)
    for t in range(3):
        shared[:] = x[t]  # an environment that writes into one array
        np.testing.assert_array_equal(policy.act({"state": shared}), want[t])


@pytest.mark.parametrize("history", [1, 2])
def test_a_chunk_is_played_for_execute_steps(history: int) -> None:
    agent, x = shaken(horizon=4, history=history), states(7)
    got = play(Chunked(agent, execute=3), x)
    for t in range(7):
        asked = t - t % 3
        window = x[np.maximum(np.arange(asked - history + 1, asked + 1), 0)]
        tensor = torch.from_numpy(window)[None]
        np.testing.assert_allclose(
            got[t], agent.mode({"state": tensor})[0, t % 3].detach().numpy(), rtol=1e-5
        )


@pytest.mark.parametrize("m", [0.0, 0.01, 1.0])
def test_ensembling_online_is_the_formula_offline(m: float) -> None:
    agent, x, h = shaken(horizon=4), states(9), 4
    # An action of exactly zero counts like any other.
    with torch.no_grad():
        agent.head.out.bias[:2] = -agent.action_normalizer.shift / agent.action_normalizer.scale
        agent.head.out.weight[:2] = 0
    chunks = np.stack([agent.chunks(agent.windows(s)[0])[0] for s in x]).astype(np.float64)
    assert (chunks[:, 0] == 0).all()
    got = play(Chunked(agent, ensemble=m), x)
    for t in range(9):
        reach = range(max(0, t - h + 1), t + 1)  # oldest first
        w = np.exp(-m * np.arange(len(reach)))
        want = sum(wi * chunks[s, t - s] for wi, s in zip(w, reach, strict=True)) / w.sum()
        np.testing.assert_allclose(got[t], want, rtol=1e-5, atol=1e-6)


def test_constant_chunks_stay_constant_through_ensembling() -> None:
    agent = shaken(horizon=5)
    with torch.no_grad():
        agent.head.out.weight.zero_()
        agent.head.out.bias.copy_(torch.tensor([0.3, -0.7]).repeat(5))
    got = play(Chunked(agent, ensemble=0.1), states(12))
    np.testing.assert_allclose(got, np.repeat(got[:1], 12, 0), rtol=1e-6)


def test_noise_follows_from_the_seed_of_the_episode() -> None:
    agent, x = shaken(Mixture(3)), states(10)
    policy = Chunked(agent, noise=1.0)
    a, b, c = play(policy, x, 1), play(policy, x, 1), play(policy, x, 2)
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)
    torch.manual_seed(0)
    np.testing.assert_array_equal(a, play(Chunked(agent, noise=1.0), x, 1))
    np.testing.assert_array_equal(play(Chunked(agent), x, 1), play(Chunked(agent), x, 2))
    other = pickle.loads(pickle.dumps(policy))
    np.testing.assert_array_equal(a, play(other, x, 1))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"execute": 0}, r"execute is 0; it must lie in \[1, 3\]"),
        ({"execute": 4}, "execute is 4"),
        ({"noise": -1.0}, "noise is -1.0"),
        ({"noise": math.nan}, "noise is nan"),
        ({"ensemble": -0.1}, "ensemble is -0.1"),
        ({"ensemble": 0.1, "execute": 2}, "execute is 2"),
    ],
)
def test_playing_options_that_contradict_are_named(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Chunked(shaken(horizon=3), **kwargs)


def test_choices_are_not_averaged_and_a_policy_takes_one_observation() -> None:
    with pytest.raises(ValueError, match="cannot be averaged"):
        Chunked(shaken(Categorical(4), horizon=2), ensemble=0.1)
    with pytest.raises(ValueError, match="one observation at a time"):
        Chunked(shaken()).act({"state": states(2)})
