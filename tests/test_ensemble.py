"""Ensembles: each member is a network of its own, trained as if alone on its own resample; their doubt."""

from __future__ import annotations

import json
import math
import pickle
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.stats import spearmanr

from test_chunk_relative import SPACE, hands
from understudy.actions import ChunkFrame
from understudy.agent import Agent, Chunked, doubt, load, member_actions
from understudy.augment import Noise
from understudy.dataset import Dataset
from understudy.envs import task
from understudy.episode import Episode
from understudy.heads import Deterministic, Gaussian, Members, MembersHead
from understudy.learn import bc
from understudy.learn.order import Order, resamples, shares
from understudy.learn.stacked import Stacked
from understudy.nets import MLP, MLPEnsemble
from understudy.rollout import rollout
from understudy.runs import Network
from understudy.runtime import tuned
from understudy.serial import from_spec, read_tree, spec, write_tree

M = 3


def walks(seed: int = 0, *, n: int = 6, steps: int = 15) -> Dataset:
    """Episodes of which the expert labelled a part, so that windows have masks."""
    rng = np.random.default_rng(seed)
    episodes = []
    for _ in range(n):
        x = rng.normal(2, 3, (steps + 1, 4)).cumsum(0)
        a = rng.normal(5, 2, (steps, 2))
        labelled = rng.random(steps) < 0.7
        labelled[0] = True
        episodes.append(Episode({"a": x[:, :1], "b.c": x[:, 1:]}, a, a, labelled, np.zeros(steps)))
    return Dataset(episodes)


def made(
    members: int = M,
    hidden: tuple[int, ...] = (16, 12),
    activation: Any = "relu",
    error: Any = "mse",
    **kw: Any,
) -> tuple[Agent, Dataset]:
    data = walks()
    agent = Agent.build(data, MLPEnsemble(members, hidden, activation), Members(members, error), **kw)
    torch.manual_seed(0)
    with torch.no_grad():  # far from the start, so that nothing is zero by accident
        for p in agent.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return agent, data


def alone(agent: Agent, m: int) -> Agent:
    """Member m as an agent of its own: a plain perceptron with its weights."""
    trunk, head = agent.trunk_config, agent.head_config
    assert isinstance(trunk, MLPEnsemble)
    assert isinstance(head, Members)
    own = Agent(
        agent.obs_normalizers,
        agent.action_normalizer,
        MLP(trunk.hidden, trunk.activation),
        Deterministic(head.error),
        agent.history,
        agent.horizon,
        None if agent.low is None or agent.high is None else (agent.low.numpy(), agent.high.numpy()),
    )
    state = {
        k: v.view(trunk.members, -1)[m].view(own.state_dict()[k].shape)
        if k.endswith((".weight", ".bias"))
        else v
        for k, v in agent.state_dict().items()
    }
    own.restore(state)
    return own


def batch_of(data: Dataset, agent: Agent, size: int = 32) -> Any:
    windows = data.windows(agent.history, agent.horizon)
    return windows.batch(np.random.default_rng(1).integers(len(windows), size=size))


def seen_of(data: Dataset, agent: Agent) -> dict[str, Any]:
    """A batch of observations in the form that `act` takes."""
    obs = batch_of(data, agent).obs
    return {k: v[:, 0] if agent.history == 1 else v for k, v in obs.items()}


# ── what an ensemble is ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("members", [1, M])
@pytest.mark.parametrize(
    ("activation", "hidden"),
    [("relu", (16, 12)), ("tanh", (9,)), ("silu", (5, 7, 6)), ("gelu", (8, 8)), ("relu", ())],
)
def test_each_member_is_a_perceptron_of_its_own(
    members: int, activation: Any, hidden: tuple[int, ...]
) -> None:
    agent, data = made(members, hidden, activation, "huber", history=2, horizon=3)
    owns = [alone(agent, m) for m in range(members)]
    batch = batch_of(data, agent)
    assert not batch.mask.all()
    obs, action, mask = bc._tensors(batch)
    with torch.no_grad():
        assert isinstance(agent.head, MembersHead)
        each = agent.head.member_modes(agent.tokens(obs))
        assert each.shape == (32, members, 3, 2)
        for m, own in enumerate(owns):
            torch.testing.assert_close(each[:, m], own.head.mode(own.tokens(obs)))
        losses = torch.stack([own.loss(obs, action, mask) for own in owns], 1)
        torch.testing.assert_close(agent.loss(obs, action, mask), losses.mean(1))
        torch.testing.assert_close(
            agent.mode(obs), torch.stack([own.mode(obs) for own in owns]).mean(0), rtol=1e-5, atol=1e-5
        )
        assert torch.equal(agent.sample(obs), agent.mode(obs))
    for seen in ({k: v[0] for k, v in batch.obs.items()}, batch.obs):  # one window, and a batch
        want = np.stack([own.act(seen) for own in owns], -2)
        np.testing.assert_allclose(member_actions(agent, seen), want, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(agent.act(seen), want.mean(-2), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("error", ["mse", "l1", "huber"])
def test_masked_entries_cannot_matter(error: Any) -> None:
    agent, data = made(error=error, horizon=4)
    obs, action, mask = bc._tensors(batch_of(data, agent))
    spoiled = action.masked_fill(~mask[..., None], 1e3)
    assert not torch.equal(action, spoiled)
    assert torch.equal(agent.loss(obs, action, mask), agent.loss(obs, spoiled, mask))
    learner = bc.Learner(agent, data, bc.Config(batch=32))
    batch = learner._next()
    loss = learner._gradient(batch)
    want = learner._grad.clone()
    assert (
        learner._gradient(batch._replace(action=np.where(batch.mask[..., None], batch.action, 9e3))) == loss
    )
    assert torch.equal(learner._grad, want)


def test_members_begin_orthogonal_and_apart() -> None:
    trunk = MLPEnsemble(4, (64, 64), "relu").build({"a": (9,)}, history=1)
    head = Members(4).build(64, 2, 3)
    for weight, gain in (
        (trunk.stacks[0].weight, 2**0.5),
        (trunk.stacks[1].weight, 2**0.5),
        (head.out.weight, 0.01),
    ):
        for own in weight:
            small = own @ own.T if own.shape[0] < own.shape[1] else own.T @ own
            torch.testing.assert_close(small, gain**2 * torch.eye(len(small)), atol=1e-5, rtol=0)
        apart = (weight[:, None] - weight[None]).flatten(2).norm(dim=2)
        assert (apart + torch.eye(4) > 0.01).all()
    assert not trunk.stacks[0].bias.any()
    assert not head.out.bias.any()


@pytest.mark.parametrize("kwargs", [{}, {"history": 2, "horizon": 3, "bounds": ([4.25, 4.25], [4.5, 4.5])}])
def test_it_is_an_agent_like_any(tmp_path: Path, kwargs: Any) -> None:
    agent, data = made(**kwargs)
    seen = seen_of(data, agent)
    agent.save(tmp_path)
    whole, policy = agent.act(seen), Chunked(agent, agent.horizon)
    assert whole.shape == (32, 2)
    if "bounds" in kwargs:
        assert whole.min() == 4.25
        assert whole.max() == 4.5
    for other in (load(tmp_path), pickle.loads(pickle.dumps(agent)), deepcopy(agent)):
        np.testing.assert_array_equal(other.act(seen), whole)
        np.testing.assert_array_equal(doubt(other, seen), doubt(agent, seen))
        again = Chunked(other, agent.horizon)
        for e in data[:2]:
            for p in (policy, again):
                p.reset(0)
            for t in range(len(e)):
                now = {k: v[t] for k, v in e.obs.items()}
                np.testing.assert_array_equal(policy.act(now), again.act(now))
    for i in range(4):  # the way for one observation is the way for many
        one = {k: v[i] for k, v in seen.items()}
        np.testing.assert_allclose(agent.act(one), whole[i], rtol=1e-5)
    assert from_spec({"mlp_ensemble": MLPEnsemble}, spec(agent.trunk_config), "trunk") == agent.trunk_config


def test_what_does_not_fit_together_is_named(tmp_path: Path) -> None:
    agent, data = made()
    pairs: list[tuple[Any, Any]] = [
        (MLPEnsemble(3), Members(4)),
        (MLP(), Members(3)),
        (MLPEnsemble(3), Gaussian()),
    ]
    for trunk, head in pairs:
        with pytest.raises(ValueError, match=r"members \d and the head \d; they must have equally many"):
            Agent.build(data, trunk, head)
    for make in (lambda: MLPEnsemble(0), lambda: Members(1001)):
        with pytest.raises(ValueError, match=r"members is \d+; it must lie in \[1, 1000\]"):
            make()
    with pytest.raises(ValueError, match="at most 100 widths"):
        MLPEnsemble(2, (0,))
    with pytest.raises(ValueError, match="error is 'l3'"):
        Members(2, "l3")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the mlp_ensemble trunk reads vectors only"):
        MLPEnsemble().build({"camera": (8, 8, 3)}, 1)
    agent.save(tmp_path)
    file = tmp_path / "agent.json"
    said = json.loads(file.read_text())
    for part, change in (
        ("trunk", {"members": 4}),
        ("head", {"members": 10**9}),
        ("trunk", {"hidden": [1 << 20] * 3}),
    ):
        file.write_text(json.dumps({**said, part: {**said[part], **change}}))
        with pytest.raises(ValueError, match=r"agent\.json"):
            load(tmp_path)


# ── training: each member as if alone ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("error", ["mse", "l1", "huber"])
@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize(
    ("activation", "hidden"),
    [("relu", (16, 12)), ("tanh", (80, 3)), ("silu", (16,)), ("gelu", (5, 70, 6)), ("relu", ())],
)
def test_the_gradient_is_that_of_automatic_differentiation(
    error: Any, horizon: int, activation: Any, hidden: tuple[int, ...]
) -> None:
    agent, data = made(M, hidden, activation, error, horizon=horizon, history=2)
    learner = bc.Learner(agent, data, bc.Config(batch=32))
    batch = learner._next()
    assert horizon == 1 or not batch.mask.all()
    assert learner._stacked is not None
    loss, grad = learner._gradient(batch), learner._grad.clone()
    learner._stacked = None
    want_loss, want = learner._gradient(batch), learner._grad
    assert loss == pytest.approx(want_loss, rel=1e-5)
    for p in agent.parameters():
        assert p.grad is not None
        piece = slice(p.grad.storage_offset(), p.grad.storage_offset() + p.numel())
        assert want[piece].norm() > 0
        assert (grad[piece] - want[piece]).norm() <= 2e-6 * want.norm()


def test_the_written_out_gradient_is_used_where_it_is_exact() -> None:
    agent, data = made()
    assert Stacked.suits(agent)
    assert bc.Learner(agent, data)._stacked is not None
    plain = Agent.build(data, MLP((8,)), Deterministic())
    assert not Stacked.suits(plain)
    frozen = agent.trunk.get_parameter("layers.0.weight")
    frozen.requires_grad_(False)
    before, moved = frozen.clone(), agent.head.get_parameter("out.weight").clone()
    learner = bc.Learner(agent, data, bc.Config(batch=32, clip=1.0))
    assert learner._stacked is None
    learner.step()
    assert torch.equal(frozen, before)
    assert not torch.equal(agent.head.get_parameter("out.weight"), moved)


@pytest.mark.parametrize("written_out", [True, False])
def test_members_are_trained_as_if_alone(written_out: bool) -> None:
    """Against one network each, PyTorch's AdamW, the member's own resample and its own clipped gradient."""
    agent, data = made(activation="tanh", error="huber", horizon=2)
    owns = [alone(agent, m) for m in range(M)]
    config = bc.Config(batch=16, learning_rate=0.01, weight_decay=0.1, clip=1.0, seed=5)
    learner = bc.Learner(agent, data, config)
    if not written_out:
        learner._stacked = None
    windows = data.windows(1, 2)
    counts = torch.from_numpy(resamples(M, len(windows), 5))
    order = Order(len(windows), 16, 5)
    adams = []
    for own in owns:
        matrices, vectors = ([p for p in own.parameters() if (p.ndim > 1) is two] for two in (True, False))
        groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
        adams.append(torch.optim.AdamW(groups, lr=0.01))
    clipped = 0
    for step in range(12):
        index = order.index(step)
        obs, action, mask = bc._tensors(windows.batch(index))
        told = learner.step()["loss"]
        losses = []
        for own, adam, count in zip(owns, adams, counts, strict=True):
            loss = (own.loss(obs, action, mask) * count[index]).mean()
            adam.zero_grad()
            loss.backward()
            clipped += int(torch.nn.utils.clip_grad_norm_(own.parameters(), 1.0) > 1)
            adam.step()
            losses.append(loss.item())
        assert told == pytest.approx(np.mean(losses), rel=1e-4)
    assert 0 < clipped < 12 * M
    for m, own in enumerate(owns):
        for p, q in zip(alone(agent, m).parameters(), own.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-3, atol=5e-5)


def test_a_resample_is_as_many_draws_as_there_are_windows() -> None:
    counts = resamples(40, 1000, seed=3)
    assert (counts.sum(1) == 1000).all()
    assert (counts == counts.round()).all()
    assert (counts >= 0).all()
    assert len({row.tobytes() for row in counts}) == 40
    np.testing.assert_array_equal(counts[:2], resamples(2, 1000, seed=3))
    assert not np.array_equal(counts[0], resamples(1, 1000, seed=4)[0])
    # A window is left out with probability (1 - 1/N)^N = .3677: 40,000 entries, standard error below .0025.
    assert abs((counts == 0).mean() - (1 - 1 / 1000) ** 1000) < 0.01
    chance = np.where(np.arange(1000) < 300, 0.0, 1 / 700)
    some = resamples(5, 1000, 3, chance)
    assert (some.sum(1) == 700).all()
    assert not some[:, :300].any()


def test_the_gradient_of_an_epoch_is_that_of_each_member_s_resample() -> None:
    agent, data = made(horizon=2)
    windows = data.windows(1, 2)
    learner = bc.Learner(agent, data, bc.Config(batch=len(windows), seed=2))
    learner._gradient(learner._next())
    for m, count in enumerate(resamples(M, len(windows), 2)):
        own = alone(agent, m)
        drawn = windows.batch(np.repeat(np.arange(len(windows)), count.astype(int)))
        own.loss(*bc._tensors(drawn)).mean().backward()  # type: ignore[no-untyped-call]
        for p, q in zip(agent.parameters(), own.parameters(), strict=True):
            assert p.grad is not None
            assert q.grad is not None
            torch.testing.assert_close(p.grad.view(M, -1)[m].view_as(q), q.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("written_out", [True, False])
def test_windows_that_a_member_did_not_draw_cannot_matter_to_it(written_out: bool) -> None:
    agent, data = made()
    size = len(data.windows())
    learner = bc.Learner(agent, data, bc.Config(batch=size, seed=1))
    if not written_out:
        learner._stacked = None
    batch, absent = learner._next(), resamples(M, size, 1)[0][learner._order.index(0)] == 0
    assert 0.2 < absent.mean() < 0.6
    learner._gradient(batch)
    before = learner._grad.clone()
    action = batch.action.copy()
    action[absent] += 100
    learner._gradient(batch._replace(action=action))
    for p in agent.parameters():
        assert p.grad is not None
        start = p.grad.storage_offset()
        old, new = before[start : start + p.numel()].view(M, -1), p.grad.view(M, -1)
        assert torch.equal(old[0], new[0])
        assert all(not torch.equal(old[m], new[m]) for m in range(1, M))


def test_members_that_begin_alike_do_not_stay_alike() -> None:
    agent, data = made()
    with torch.no_grad():
        for p in agent.parameters():
            p.view(M, -1)[1:] = p.view(M, -1)[:1]
    assert doubt(agent, {k: v[0] for k, v in data[0].obs.items()}) == 0.0
    np.testing.assert_array_equal(doubt(agent, dict(data[0].obs)), 0.0)
    learner = bc.Learner(agent, data, bc.Config(batch=16))
    for _ in range(20):
        learner.step()
    assert np.all(doubt(agent, dict(data[0].obs)) > 1e-6)


@pytest.mark.parametrize(
    "kwargs",
    [{}, {"ema": 0.99, "clip": 1.0, "weight_decay": 0.01, "warmup": 5, "decay": 60}, {"jitter": 0.1}],
    ids=["plain", "all", "jitter"],
)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("members", [1, M])
def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(
    tmp_path: Path, kwargs: Any, weighted: bool, members: int
) -> None:
    def learner() -> bc.Learner:
        agent, data = made(members, horizon=2)
        weights = np.arange(len(data.windows())) ** 2.0 if weighted else None
        augment = [Noise({"a": (0.1,), "b.c": (0.1, 0.2, 0.3)})] if "ema" in kwargs else []
        return bc.Learner(agent, data, bc.Config(batch=32, seed=3, **kwargs), augment, weights)

    whole = learner()
    losses = [whole.step()["loss"] for _ in range(20)]
    first = learner()
    some = [first.step()["loss"] for _ in range(9)]
    write_tree(tmp_path / "checkpoint", first.state_dict())
    second = learner()
    torch.manual_seed(999)
    with torch.no_grad():
        for p in second.agent.parameters():
            p.normal_()
    second.load_state_dict(read_tree(tmp_path / "checkpoint"))
    some += [second.step()["loss"] for _ in range(11)]
    assert some == losses
    for name, want in whole.agent.state_dict().items():
        assert torch.equal(want, second.agent.state_dict()[name]), name


def test_noise_on_observations_changes_training_both_ways() -> None:
    for written_out in (True, False):
        losses = []
        for jitter in (0.0, 0.5):
            agent, data = made()
            learner = bc.Learner(agent, data, bc.Config(batch=32, jitter=jitter))
            if not written_out:
                learner._stacked = None
            losses.append(learner.step()["loss"])
        assert losses[0] != losses[1]


# ── sampling weights ──────────────────────────────────────────────────────────────────────────────────


def test_windows_are_drawn_in_proportion_to_their_weights() -> None:
    weights = np.array([0.0, 1.0, 0.0, 3.0, 6.0, 0.0])
    order = Order(6, 4, seed=1, weights=weights)
    steps = 15_000
    drawn = np.concatenate([order.index(s) for s in range(steps)])
    share = np.bincount(drawn, minlength=6) / len(drawn)
    assert not share[weights == 0].any()
    # Standard errors are below .002; three proportions beyond 4.5 of them by chance: once in 50,000.
    assert (np.abs(share - weights / 10) < 4.5 * np.sqrt(0.25 / len(drawn))).all()
    again = Order(6, 4, 1, 7 * weights)
    np.testing.assert_array_equal(again.index(8_000), drawn[32_000:32_004])
    assert not np.array_equal(drawn[:6], drawn[6:12]) or not np.array_equal(drawn[:6], drawn[12:18])
    assert set(Order(3, 300, 0, [1e308, 1e308, 0]).index(0)) == {0, 1}


def test_without_weights_the_order_is_that_of_the_seed_and_the_epoch() -> None:
    order = Order(10, 4, seed=6)
    drawn = np.concatenate([order.index(s) for s in range(10)])
    want = np.concatenate([np.random.default_rng((6, epoch)).permutation(10) for epoch in range(4)])
    np.testing.assert_array_equal(drawn, want)


def test_weights_change_what_is_learned_and_belong_to_the_state() -> None:
    data = walks()
    size = len(data.windows())
    batches = []

    def learner(weights: NDArray[Any] | None) -> bc.Learner:
        agent = Agent.build(data, MLP((8,)), Deterministic())
        return bc.Learner(agent, data, bc.Config(batch=16), weights=weights)

    only = np.zeros(size)
    only[7] = 2
    one, plain = learner(only), learner(None)
    for x in (one, plain):
        batches.append(x._next())
        x.step()
    assert (batches[0].action == data.windows().batch(np.array([7])).action).all()
    assert len(np.unique(batches[1].action[:, 0, 0])) > 10
    learner(5 * only).load_state_dict(one.state_dict())  # the same in proportion
    for receiver, state, message in (
        (learner(1 - only / 2), one.state_dict(), "sampling"),
        (plain, one.state_dict(), "sampling"),
        (one, plain.state_dict(), "sampling"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            receiver.load_state_dict(state)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(3), r"weights have shape \[3\]; there are \d+ labelled windows"),
        (lambda n: np.ones((n, 1)), "weights have shape"),
        (lambda n: np.full(n, -1.0), "weights hold -1.0; each must be finite and not negative"),
        (lambda n: np.full(n, np.nan), "weights hold nan"),
        (lambda n: np.full(n, np.inf), "weights hold inf"),
        (lambda n: np.zeros(n), "weights are all zero"),
    ],
)
def test_weights_that_are_none_are_named(weights: Any, message: str) -> None:
    agent, data = made()
    given = weights(len(data.windows())) if callable(weights) else weights
    with pytest.raises(ValueError, match=message):
        bc.Learner(agent, data, weights=given)


def test_a_member_s_expected_gradient_is_that_of_its_resample_with_weights_too() -> None:
    chance = np.array([0.0, 0.1, 0.2, 0.3, 0.4])
    counts = resamples(50, 5, 0, chance)
    loss = np.array([9.0, 1.0, 2.0, 3.0, 4.0])
    want = (counts * chance * loss).sum(1) / (counts * chance).sum(
        1
    )  # each drawn window weighted by its chance
    np.testing.assert_allclose((shares(counts, chance) * chance * loss).sum(1), want, rtol=1e-6)
    np.testing.assert_allclose(
        (shares(resamples(9, 5, 0)) * loss).mean(1), (resamples(9, 5, 0) * loss).sum(1) / 5
    )


# ── doubt ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kwargs", [{}, {"history": 2, "horizon": 3}, {"bounds": ([5, 5], [5.001, 5.001])}])
def test_doubt_is_its_formula(kwargs: Any) -> None:
    agent, data = made(5, **kwargs)
    seen = seen_of(data, agent)
    free, _ = made(5, **{k: v for k, v in kwargs.items() if k != "bounds"})
    raw = member_actions(free, seen).astype(np.float64)
    scale = agent.action_normalizer.scale.numpy()
    want = [np.linalg.norm(np.diag(np.cov(each / scale, rowvar=False))) for each in raw]
    got = doubt(agent, seen)
    assert isinstance(got, np.ndarray)
    np.testing.assert_allclose(got, want, rtol=1e-4)
    one = doubt(agent, {k: v[0] for k, v in seen.items()})
    assert isinstance(one, float)
    assert one == pytest.approx(want[0], rel=1e-4)
    if "bounds" in kwargs:
        assert (member_actions(agent, seen) >= 5).all()
        assert (member_actions(agent, seen) <= np.float32(5.001)).all()


def test_doubt_does_not_know_the_unit_of_actions() -> None:
    data = walks()
    in_millimetres = Dataset(
        [Episode(e.obs, 1000 * e.action, 1000 * e.label, e.labelled, e.reward) for e in data]
    )
    doubts = []
    for d in (data, in_millimetres):
        agent = Agent.build(d, MLPEnsemble(M, (16,)), Members(M))
        learner = bc.Learner(agent, d, bc.Config(batch=16))
        for _ in range(30):
            learner.step()
        doubts.append(doubt(agent, dict(data[0].obs)))
    np.testing.assert_allclose(doubts[0], doubts[1], rtol=1e-2)


def test_members_of_one_mind_act_as_the_agent_does_in_any_frame() -> None:
    """Relative actions become absolute ones member by member."""
    poses = hands()
    frame = ChunkFrame(SPACE, "body", "axis_angle")
    agent = Agent.build(poses, MLPEnsemble(M, (8,)), Members(M), horizon=3, frame=frame)
    learner = bc.Learner(agent, poses, bc.Config(batch=16))
    for _ in range(10):
        learner.step()
    with torch.no_grad():
        for p in agent.parameters():
            p.view(M, -1)[1:] = p.view(M, -1)[:1]
    seen = {k: v[:5] for k, v in poses[0].obs.items()}
    each = member_actions(agent, seen)
    assert each.shape == (5, M, 8)
    for m in range(M):
        np.testing.assert_allclose(each[:, m], agent.act(seen), atol=1e-6)
    np.testing.assert_allclose(member_actions(agent, {k: v[0] for k, v in seen.items()}), each[0], atol=1e-6)


def test_one_network_has_no_doubt_and_says_so() -> None:
    data = walks()
    plain = Agent.build(data, MLP((8,)), Deterministic())
    seen = {k: v[0] for k, v in data[0].obs.items()}
    for ask in (doubt, member_actions):
        with pytest.raises(ValueError, match="head is 'deterministic', not 'members'"):
            ask(plain, seen)
    single, _ = made(1)
    assert member_actions(single, seen).shape == (1, 2)
    with pytest.raises(ValueError, match="one member"):
        doubt(single, seen)


def test_a_doubt_that_is_not_finite_is_an_error() -> None:
    agent, data = made(hidden=())
    with torch.no_grad():
        agent.head.get_parameter("out.weight").mul_(1e30)
    far = {k: np.full(v.shape[1:], 3e38) for k, v in data[0].obs.items()}
    for seen in (far, {k: np.stack([v, v]) for k, v in far.items()}):
        for ask in (doubt, member_actions):
            with pytest.raises(ValueError, match="not finite"):
                ask(agent, seen)


def test_answers_follow_training_and_new_weights() -> None:
    agent, data = made()
    seen = {k: v[0] for k, v in data[0].obs.items()}
    before = doubt(agent, seen)
    learner = bc.Learner(agent, data, bc.Config(batch=16, learning_rate=0.05))
    for _ in range(5):
        learner.step()
    assert doubt(agent, seen) != before
    twice = doubt(agent, {k: np.stack([v, v]) for k, v in seen.items()})
    np.testing.assert_allclose(doubt(agent, seen), twice, rtol=1e-4)
    agent.load_state_dict(made()[0].state_dict())
    assert doubt(agent, seen) == before


@pytest.fixture(scope="module")
def pendulum() -> Dataset:
    """Ten swings of the scripted expert, 2,000 steps."""
    which = task("pendulum")
    assert which.expert is not None
    expert = which.expert()
    episodes = [rollout(which.make(), expert, seed) for seed in range(10)]
    return Dataset([Episode.demonstration(e.obs, e.action) for e in episodes])


@pytest.mark.parametrize("seed", range(4))
def test_doubt_rises_with_the_distance_from_the_data(pendulum: Dataset, seed: int) -> None:
    agent = Agent.build(pendulum, MLPEnsemble(5, (64, 64), "gelu"), Members(5), seed=seed)
    learner = bc.Learner(agent, pendulum, bc.Config(batch=64, seed=seed, decay=1000))
    with tuned(1):
        for _ in range(1000):
            learner.step()
    rng = np.random.default_rng(seed)
    data = np.concatenate([e.obs["state"] for e in pendulum])
    # Demonstrated states, each moved by noise of its own size: a hundredth of the data's spread to three.
    size, spread = 10 ** rng.uniform(-2, 0.5, (1000, 1)), data.std(0)
    queries = data[rng.integers(len(data), size=1000)] + size * spread * rng.normal(size=(1000, 3))
    queries = queries.astype(np.float32)
    distance = cKDTree(data / spread).query(queries / spread)[0]
    rank = spearmanr(distance, doubt(agent, queries)).statistic
    # Fisher's interval with Bonett and Wright's variance (2000), one-sided 99.9 %: 1 in 250 for all four.
    low = math.tanh(math.atanh(rank) - 3.09 * math.sqrt((1 + rank**2 / 2) / (1000 - 3)))
    assert low > 0.5


# ── from the settings of a run ────────────────────────────────────────────────────────────────────────


def test_a_run_s_network_can_have_members() -> None:
    data = walks()
    agent = Network(members=4, hidden=(8,), activation="tanh").agent(data, None, 0)
    assert agent.trunk_config == MLPEnsemble(4, (8,), "tanh")
    assert agent.head_config == Members(4)
    assert Network(hidden=(8,)).agent(data, None, 0).trunk_config == MLP((8,), "gelu")
    for network, message in (
        (Network(members=0), "members is 0; it must lie in"),
        (Network(members=3, head="gaussian"), "members is 3 with a gaussian head"),
        (Network(members=3, dropout=0.1), "dropout is 0.1 with members 3"),
    ):
        with pytest.raises(ValueError, match=message):
            network.agent(data, None, 0)
