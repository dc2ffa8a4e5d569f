"""Behaviour cloning: known answers are found, the written-out gradient is exact, runs resume to the bit."""

from __future__ import annotations

import math
from collections import Counter
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from understudy.agent import Agent
from understudy.dataset import Dataset
from understudy.episode import Episode
from understudy.heads import Categorical, Deterministic, Gaussian, Mixture
from understudy.learn import bc
from understudy.learn.fused import Fused
from understudy.learn.optim import Adam, flatten
from understudy.nets import MLP
from understudy.runtime import tuned
from understudy.serial import read_tree, write_tree

HEADS: list[Any] = [
    Deterministic("mse"),
    Deterministic("l1"),
    Deterministic("huber"),
    Gaussian(),
    Gaussian("global"),
    Gaussian(squash=True),
    Mixture(3),
    Categorical(4),
]


def walks(
    seed: int = 0, *, n: int = 8, steps: int = 20, discrete: bool = False, keys: bool = False
) -> Dataset:
    """Episodes of which the expert labelled a part, so that windows have masks."""
    rng = np.random.default_rng(seed)
    episodes = []
    for _ in range(n):
        x = rng.normal(2, 3, (steps + 1, 4)).cumsum(0)
        obs = {"a": x[:, :1], "b.c": x[:, 1:]} if keys else {"state": x}
        a = rng.integers(0, 4, (steps, 1)) if discrete else rng.normal(5, 2, (steps, 2))
        labelled = rng.random(steps) < 0.7
        labelled[0] = True
        episodes.append(Episode(obs, a, a, labelled, np.zeros(steps)))
    return Dataset(episodes)


def made(
    head: Any, *, hidden: tuple[int, ...] = (16, 12), horizon: int = 1, **kwargs: Any
) -> tuple[Agent, Dataset]:
    data = walks(discrete=isinstance(head, Categorical), keys=kwargs.pop("keys", False))
    trunk = MLP(hidden, kwargs.pop("activation", "relu"), kwargs.pop("dropout", 0.0))
    return Agent.build(data, trunk, head, horizon=horizon, **kwargs), data


def shake(agent: Agent, by: float = 0.2) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        for p in agent.parameters():
            p.add_(by * torch.randn_like(p))


# ── known answers ─────────────────────────────────────────────────────────────────────────────────────


def linear_expert(
    rng: np.random.Generator, n: int
) -> tuple[Dataset, NDArray[np.float64], NDArray[np.float64]]:
    """a = K s + 3 + N(0, 0.5²), S = 4, A = 2; states with unlike scales."""
    gain = np.array([[1.0, -2.0, 0.5, 0.0], [0.3, 0.1, -1.0, 2.0]])
    states = rng.normal(0, [1, 2, 0.1, 5], (n, 101, 4)).astype(np.float32)
    actions = states[:, :-1] @ gain.T + 3 + rng.normal(0, 0.5, (n, 100, 2))
    return Dataset([Episode.demonstration(s, a) for s, a in zip(states, actions, strict=True)]), gain, states


@pytest.mark.parametrize(
    "head", [Deterministic(), Gaussian(), Gaussian("global")], ids=["mse", "state", "global"]
)
def test_a_linear_gaussian_expert_is_recovered(head: Any) -> None:
    data, gain, states = linear_expert(np.random.default_rng(0), 50)
    agent = Agent.build(data, MLP(()), head)
    learner = bc.Learner(agent, data, bc.Config(batch=500, learning_rate=0.02, decay=1500))
    for _ in range(1500):
        learner.step()
    x = states[:, :-1].reshape(-1, 4).astype(np.float64)
    spread = 0.5 * np.sqrt(np.diag(np.linalg.inv(x.T @ x)))  # standard error of a row of K by least squares
    learned = (agent.act(np.eye(4)) - agent.act(np.zeros((4, 4)))).T
    # Eight entries: one lies beyond 3 standard errors by chance in 2 % of data sets; this is the first tried.
    assert (np.abs(learned - gain) < 3 * spread).all()
    np.testing.assert_allclose(agent.act(np.zeros(4)), 3.0, atol=4 * 0.5 / math.sqrt(len(x)) * 1.2)
    if isinstance(head, Deterministic):
        return
    fresh, _, _ = linear_expert(np.random.default_rng(1), 200)
    windows = fresh.windows()
    b = windows.batch(np.arange(len(windows)))
    with torch.no_grad():
        nll = -agent.log_prob({"state": torch.from_numpy(b.obs["state"])}, torch.from_numpy(b.action))
    entropy = math.log(2 * math.pi * math.e * 0.25)
    assert nll.double().mean().item() == pytest.approx(entropy, rel=0.01)  # standard error: 0.4 % of it


def test_two_ways_to_act_are_averaged_by_regression_and_kept_by_a_mixture() -> None:
    rng = np.random.default_rng(0)
    data = Dataset(
        [
            Episode.demonstration(rng.normal(size=(101, 2)), rng.choice([-1.0, 1.0], (100, 1)))
            for _ in range(40)
        ]
    )
    config = bc.Config(batch=256, learning_rate=3e-3, decay=800)
    agents = {}
    for name, head in (("mse", Deterministic()), ("mixture", Mixture(5))):
        agents[name] = Agent.build(data, MLP((32, 32)), head)
        learner = bc.Learner(agents[name], data, config)
        for _ in range(800):
            learner.step()
    x = rng.normal(size=(4000, 2)).astype(np.float32)
    assert abs(agents["mse"].act(x).mean()) < 0.05
    obs = {"state": torch.from_numpy(x)[:, None]}
    with torch.no_grad():
        draw = agents["mixture"].sample(obs, torch.Generator().manual_seed(0))[:, 0, 0].numpy()
    assert (np.abs(np.abs(draw) - 1) < 0.1).mean() >= 0.95
    assert 0.45 < (draw > 0).mean() < 0.55
    low = agents["mixture"].act(x)
    assert (np.abs(np.abs(low) - 1) < 0.1).mean() >= 0.95, "its mode is one of the two"


def test_choices_are_learned() -> None:
    rng = np.random.default_rng(0)
    data = Dataset(
        [
            Episode.demonstration(x, (x[:-1, :1] > 0).astype(np.int64) + (x[:-1, 1:] > 0))
            for x in rng.normal(size=(30, 101, 2))
        ]
    )
    agent = Agent.build(data, MLP((32, 32)), Categorical(3))
    learner = bc.Learner(agent, data, bc.Config(batch=256, learning_rate=1e-2))
    for _ in range(300):
        learner.step()
    x = rng.normal(size=(1000, 2))
    assert (agent.act(x)[:, 0] == (x[:, 0] > 0).astype(int) + (x[:, 1] > 0)).mean() > 0.95


# ── the gradient written out ──────────────────────────────────────────────────────────────────────────


def gradients(learner: bc.Learner, batch: Any) -> tuple[float, torch.Tensor]:
    loss = learner._gradient(batch)
    return loss, learner._grad.clone()


@pytest.mark.parametrize("head", HEADS, ids=lambda h: f"{h.kind}-{next(iter(vars(h).values()), '')}")
@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize(
    ("activation", "hidden"),
    [("relu", (16, 12)), ("tanh", (80, 3)), ("silu", (16,)), ("gelu", (5, 70, 6)), ("relu", ())],
)
def test_it_is_that_of_automatic_differentiation(
    head: Any, horizon: int, activation: str, hidden: tuple[int, ...]
) -> None:
    agent, data = made(head, hidden=hidden, horizon=horizon, activation=activation, keys=True, history=2)
    shake(agent)
    learner = bc.Learner(agent, data, bc.Config(batch=32))
    batch = learner._next()
    assert horizon == 1 or not batch.mask.all()
    assert learner._fused is not None
    loss, grad = gradients(learner, batch)
    learner._fused = None
    want_loss, want = gradients(learner, batch)
    assert loss == pytest.approx(want_loss, rel=1e-5)
    assert want.norm() > 0
    for p in agent.parameters():
        assert p.grad is not None
        start = p.grad.storage_offset()
        piece = slice(start, start + p.numel())
        assert (grad[piece] - want[piece]).norm() <= 2e-6 * want.norm()


def test_it_is_used_where_it_is_exact_and_nowhere_else() -> None:
    for kwargs, suits in (({}, True), ({"dropout": 0.1}, False)):
        agent, data = made(Gaussian(), **kwargs)  # type: ignore[arg-type]
        assert Fused.suits(agent) is suits
        assert (bc.Learner(agent, data)._fused is not None) is suits
    agent, data = made(Gaussian())
    next(iter(agent.parameters())).requires_grad_(False)
    frozen = next(iter(agent.parameters())).clone()
    learner = bc.Learner(agent, data)
    assert learner._fused is None
    learner.step()
    assert torch.equal(frozen, next(iter(agent.parameters())))


@pytest.mark.parametrize("head", HEADS, ids=lambda h: f"{h.kind}-{next(iter(vars(h).values()), '')}")
@pytest.mark.parametrize("fused", [True, False])
def test_masked_entries_cannot_matter(head: Any, fused: bool) -> None:
    agent, data = made(head, horizon=4)
    learner = bc.Learner(agent, data, bc.Config(batch=64))
    if not fused:
        learner._fused = None
    batch = learner._next()
    spoiled = batch.action.copy()
    spoiled[~batch.mask] = 3 if agent.head.discrete else 1e3
    assert not np.array_equal(batch.action, spoiled)
    a, b = gradients(learner, batch), gradients(learner, batch._replace(action=spoiled))
    assert a[0] == b[0]
    assert torch.equal(a[1], b[1])


# ── Adam in one buffer ────────────────────────────────────────────────────────────────────────────────


def test_one_buffer_is_pytorch_s_adamw_with_decay_on_matrices_alone() -> None:
    ours, data = made(Gaussian("global"))
    theirs = deepcopy(ours)
    learner = bc.Learner(
        ours, data, bc.Config(batch=32, learning_rate=0.01, weight_decay=0.1, warmup=3, decay=12)
    )
    matrices = [p for p in theirs.parameters() if p.ndim >= 2]
    vectors = [p for p in theirs.parameters() if p.ndim < 2]
    adam = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}], lr=0.01
    )
    for step in range(10):
        batch = bc._tensors(learner._next())
        learner.step()
        for group in adam.param_groups:
            group["lr"] = 0.01 * min(1, (step + 1) / 3) * 0.5 * (1 + math.cos(math.pi * step / 12))
        adam.zero_grad()
        theirs.loss(*batch).mean().backward()
        adam.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-5)


def test_parameters_and_gradients_are_views_of_two_buffers() -> None:
    agent, _ = made(Gaussian("global"))
    before = deepcopy(agent)
    flat, grad, matrices = flatten(agent.parameters())
    for p, q in zip(agent.parameters(), before.parameters(), strict=True):
        assert torch.equal(p, q)
        assert p.grad is not None
        assert p.data_ptr() % 64 == p.grad.data_ptr() % 64 == 0
        assert p.ndim < 2 or p.storage_offset() < matrices
        assert p.ndim >= 2 or p.storage_offset() >= matrices
        p.data.fill_(1.0)
        p.grad.fill_(2.0)
    numbers = sum(p.numel() for p in agent.parameters())
    assert (flat == 1).sum() == (grad == 2).sum() == numbers
    assert (flat == 0).sum() == (grad == 0).sum() == len(flat) - numbers


def test_a_learner_whose_agent_was_taken_over_says_so() -> None:
    agent, data = made(Gaussian())
    first = bc.Learner(agent, data)
    bc.Learner(agent, data).step()
    with pytest.raises(RuntimeError, match="moved to other memory"):
        first.step()


def test_moments_of_another_size_are_refused() -> None:
    adam = Adam(torch.zeros(4), torch.zeros(4), 2, 0.0)
    with pytest.raises(ValueError, match="for 4 parameters"):
        adam.load_state_dict(Adam(torch.zeros(5), torch.zeros(5), 2, 0.0).state_dict())


# ── settings ──────────────────────────────────────────────────────────────────────────────────────────


def test_the_learning_rate_rises_and_falls() -> None:
    config = bc.Config(learning_rate=2.0, warmup=4, decay=10)
    rates = [config.rate(s) for s in range(12)]
    assert rates[0] == 0.5
    assert rates[3] == pytest.approx(2.0 * 0.5 * (1 + math.cos(0.3 * math.pi)))
    assert rates[5] == pytest.approx(1.0)
    assert rates[10] == rates[11] == pytest.approx(0.0)
    assert [bc.Config().rate(s) for s in (0, 10**6)] == [1e-3, 1e-3]


def test_the_gradient_is_clipped_to_its_norm() -> None:
    agent, data = made(Deterministic())
    shake(agent)
    free = bc.Learner(deepcopy(agent), data, bc.Config(batch=32))
    held = bc.Learner(deepcopy(agent), data, bc.Config(batch=32, clip=0.01))
    loose = bc.Learner(deepcopy(agent), data, bc.Config(batch=32, clip=1e6))
    for learner in (free, held, loose):
        learner.step()
    assert free._grad.norm() > 0.02
    assert held._grad.norm().item() == pytest.approx(0.01, rel=1e-3)
    torch.testing.assert_close(held._grad / held._grad.norm(), free._grad / free._grad.norm())
    assert torch.equal(loose._grad, free._grad)


def test_the_average_follows_the_weights_and_is_what_is_evaluated() -> None:
    agent, data = made(Gaussian())
    learner = bc.Learner(agent, data, bc.Config(batch=32, learning_rate=0.01, ema=0.9))
    assert learner.agent is not agent
    want = [p.detach().clone() for p in agent.parameters()]
    for step in range(1, 200):
        learner.step()
        memory = min(0.9, step / (step + 9))
        for w, p in zip(want, agent.parameters(), strict=True):
            w.lerp_(p.detach(), 1 - memory)
    for w, p in zip(want, learner.agent.parameters(), strict=True):
        torch.testing.assert_close(w, p.detach(), rtol=1e-4, atol=1e-6)
    x = data[0].obs["state"][0]
    np.testing.assert_allclose(learner.agent.act(x), learner.agent.act(x[None])[0], rtol=1e-5)
    assert not np.allclose(learner.agent.act(x), agent.act(x))
    plain = bc.Learner(agent, data)
    assert plain.agent is agent


def test_noise_on_observations_changes_training_and_not_validation() -> None:
    losses = {}
    for jitter in (0.0, 0.5):
        agent, data = made(Gaussian())
        shake(agent)
        learner = bc.Learner(agent, data, bc.Config(batch=32, jitter=jitter))
        first = learner.validation_loss(data)
        losses[jitter] = first, learner.step()["loss"]
    assert losses[0.0][0] == losses[0.5][0]
    assert losses[0.0][1] != losses[0.5][1]


@pytest.mark.parametrize(
    "bad",
    [{"batch": 0}, {"learning_rate": 0.0}, {"learning_rate": math.inf}, {"decay": 0}, {"warmup": -1},
     {"weight_decay": -1.0}, {"clip": 0.0}, {"ema": 1.0}, {"ema": 0.0}, {"jitter": math.nan}, {"seed": -1}],
)  # fmt: skip
def test_settings_out_of_range_are_named(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(bad))} is .*out of its range"):
        bc.Config(**bad)


# ── the order of the data ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("batch", [1, 7, 50, 64, 1000])
def test_every_window_is_seen_once_before_any_is_seen_again(batch: int) -> None:
    agent, data = made(Deterministic())
    learner = bc.Learner(agent, data, bc.Config(batch=batch))
    size = len(data.windows())
    drawn: list[int] = []
    learner._windows.batch = lambda index: drawn.extend(index.tolist())  # type: ignore[method-assign, assignment, func-returns-value, return-value]
    while len(drawn) < 3 * size:
        learner._next()
        learner._step += 1
    epochs = [drawn[i * size : (i + 1) * size] for i in range(3)]
    assert all(Counter(e) == Counter(range(size)) for e in epochs)
    assert epochs[0] != epochs[1]


def test_the_loss_of_validation_is_the_mean_over_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, data = made(Gaussian(), horizon=3, dropout=0.3)
    learner = bc.Learner(agent, data)
    windows = data.windows(1, 3)
    with torch.no_grad():
        each = agent.loss(*bc._tensors(windows.batch(np.arange(len(windows)))))
    assert learner.validation_loss(data) == pytest.approx(each.mean().item(), rel=1e-6)
    assert learner.validation_loss(windows) == learner.validation_loss(data)


# ── resuming ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"ema": 0.99, "clip": 1.0, "weight_decay": 0.01, "warmup": 5, "decay": 60},
        {"jitter": 0.1},
        {"dropout": 0.2},
    ],
    ids=["plain", "all", "jitter", "dropout"],
)
@pytest.mark.parametrize("stop", [1, 13, 29])
def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(tmp_path: Path, kwargs: Any, stop: int) -> None:
    dropout = kwargs.get("dropout", 0.0)
    config = bc.Config(batch=32, seed=3, **{k: v for k, v in kwargs.items() if k != "dropout"})

    def learner() -> bc.Learner:
        agent, data = made(Mixture(3), horizon=2, dropout=dropout)
        return bc.Learner(agent, data, config)

    whole = learner()
    losses = [whole.step()["loss"] for _ in range(30)]
    first = learner()
    some = [first.step()["loss"] for _ in range(stop)]
    write_tree(tmp_path / "checkpoint", first.state_dict())
    torch.manual_seed(999)  # nothing may hang on the process's own generator
    second = learner()
    shake(second.agent)
    second.load_state_dict(read_tree(tmp_path / "checkpoint"))
    some += [second.step()["loss"] for _ in range(30 - stop)]
    assert some == losses
    for name, want in whole.agent.state_dict().items():
        assert torch.equal(want, second.agent.state_dict()[name]), name
    x = np.ones((3, 4))
    np.testing.assert_array_equal(whole.agent.act(x), second.agent.act(x))


def test_the_caller_s_generators_are_left_alone() -> None:
    agent, data = made(Gaussian(), dropout=0.2)
    learner = bc.Learner(agent, data, bc.Config(jitter=0.1))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    learner.step()
    learner.validation_loss(data)
    assert torch.equal(before, torch.get_rng_state())
    assert not any(m.training for m in agent.modules())


def test_a_state_of_another_run_is_refused() -> None:
    agent, data = made(Gaussian())
    learner = bc.Learner(agent, data, bc.Config(batch=16))
    state = learner.state_dict()
    other, more = made(Deterministic())
    refused: list[tuple[bc.Learner, Any, str]] = [
        (bc.Learner(deepcopy(agent), data, bc.Config(batch=17)), state, "config"),
        (bc.Learner(deepcopy(agent), data[1:], bc.Config(batch=16)), state, "windows"),
        (bc.Learner(other, more, bc.Config(batch=16)), state, "head.out"),
        (learner, {**state, "extra": 1}, "extra"),
        (learner, {**state, "step": -1}, "step"),
        (learner, {**state, "step": True}, "step"),
        (bc.Learner(deepcopy(agent), data, bc.Config(batch=16, ema=0.9)), state, "average"),
    ]
    for receiver, given, message in refused:
        with pytest.raises(ValueError, match=message) as caught:
            receiver.load_state_dict(given)
        assert "\n" not in str(caught.value)


# ── the machine's settings ────────────────────────────────────────────────────────────────────────────


def test_tuning_restores_what_it_changed_and_keeps_float32_s_accuracy() -> None:
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    a, b = torch.randn(256, 256), torch.randn(256, 256)
    with tuned(1):
        assert torch.get_num_threads() == 1
        exact = a.double() @ b.double()
        assert (a @ b - exact).abs().max() < 2e-6 * exact.abs().max()
    assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == before
    with pytest.raises(RuntimeError, match="as planned"), tuned(1):
        raise RuntimeError("as planned")
    assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == before
    with pytest.raises(ValueError, match="threads is 0"), tuned(0):
        pass
