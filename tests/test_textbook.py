"""The chapter's first program, and the corrections of its faults."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from understudy.textbook import BCPolicy, BehavioralCloning, Demonstration, DemonstrationDataset

OUTPUTS = ["deterministic", "gaussian", "mixture"]


def linear(episodes: int = 50, steps: int = 100, seed: int = 0, noise: float = 0.1):
    """Demonstrations of a = W s + 3 + noise, W standard normal [4, 10]; and the noiseless expert."""
    random = np.random.default_rng(seed)
    weights = random.standard_normal((4, 10))

    def expert(states: np.ndarray) -> np.ndarray:
        return states @ weights.T + 3.0

    demos = []
    for _ in range(episodes):
        states = random.standard_normal((steps, 10))
        actions = expert(states) + noise * random.standard_normal((steps, 4))
        demos.append(Demonstration(states=states, actions=actions))
    return demos, expert, random


@pytest.mark.parametrize("output_type", OUTPUTS)
def test_the_first_program_runs_with_its_definitions_imported(output_type: str, capsys) -> None:
    """Every demonstration of that program has an expert of its own, so there is nothing to learn."""
    np.random.seed(0)  # noqa: NPY002, as the program does
    demonstrations = []
    for _ in range(20):
        expert_weights = np.random.randn(4, 10)  # noqa: NPY002
        states = np.random.randn(100, 10)  # noqa: NPY002
        actions = states @ expert_weights.T + 0.1 * np.random.randn(100, 4)  # noqa: NPY002
        demonstrations.append(Demonstration(states=states, actions=actions))
    cloner = BehavioralCloning(
        state_dim=10, action_dim=4, lr=1e-3, hidden_dims=[256, 256], output_type=output_type
    )
    stats = cloner.train(demonstrations, n_epochs=12, batch_size=64)
    assert set(stats) == {"train_losses", "val_losses", "best_val_loss"}
    assert stats["best_val_loss"] == min(stats["val_losses"])
    assert 1 <= len(stats["train_losses"]) == len(stats["val_losses"]) <= 12
    assert cloner.get_action(np.random.randn(10)).shape == (4,)  # noqa: NPY002
    assert "Epoch 10" in capsys.readouterr().out or len(stats["train_losses"]) < 10


@pytest.mark.parametrize("output_type", OUTPUTS)
def test_actions_come_back_in_raw_units(output_type: str) -> None:
    """A linear expert with offset 3: squared error against it without noise, on fresh states, below 0.02.

    The expert's variance is about 10 a dimension; forgetting to undo the normalisation costs 16.
    """
    torch.manual_seed(0)
    demos, expert, random = linear()
    cloner = BehavioralCloning(10, 4, output_type=output_type)
    cloner.train(demos, n_epochs=50)
    states = random.standard_normal((1000, 10))
    error = np.mean((cloner.get_action(states) - expert(states)) ** 2)
    assert error < 0.02
    np.testing.assert_allclose(
        cloner.get_action(states[0]), cloner.get_action(states)[0], rtol=1e-4, atol=1e-4
    )


def test_without_validation_the_weights_that_act_are_the_trained_ones() -> None:
    torch.manual_seed(0)
    demos, expert, random = linear(episodes=20)
    cloner = BehavioralCloning(10, 4)
    cloner.train(demos, n_epochs=15, val_split=0)
    states = random.standard_normal((100, 10))
    one_by_one = np.stack([cloner.get_action(s) for s in states])
    assert np.mean((one_by_one - expert(states)) ** 2) < 0.2
    np.testing.assert_allclose(one_by_one, cloner.get_action(states), rtol=1e-4, atol=1e-4)


def test_the_best_weights_are_the_best_ones() -> None:
    torch.manual_seed(0)
    demos, _, _ = linear(episodes=6, steps=20)
    cloner = BehavioralCloning(10, 4, lr=1e-2)
    stats = cloner.train(demos, n_epochs=60, batch_size=16, val_split=0.2, early_stopping=15)
    assert np.argmin(stats["val_losses"]) < len(stats["val_losses"]) - 1, (
        "no overfitting: the test shows nothing"
    )
    _, held = None, None
    from understudy.textbook.cloning import _dataset

    held = _dataset(demos).split(1 / 6, seed=0)[0]
    states = torch.tensor(np.concatenate([e.obs["state"][:-1] for e in held]))
    actions = torch.tensor(np.concatenate([e.action for e in held]))
    agent = cloner.agent
    assert agent is not None
    with torch.no_grad():
        loss = cloner.compute_loss(agent.obs[0](states), agent.action(actions))
    assert float(loss) == pytest.approx(stats["best_val_loss"], rel=1e-4)


def test_validation_holds_out_whole_demonstrations() -> None:
    demos, _, _ = linear(episodes=1)
    with pytest.raises(ValueError, match="holds out whole demonstrations"):
        BehavioralCloning(10, 4).train(demos, n_epochs=1)
    stats = BehavioralCloning(10, 4).train(demos, n_epochs=2, val_split=0)
    assert stats["val_losses"] == []
    assert stats["best_val_loss"] == np.inf


def test_what_does_not_fit_is_refused() -> None:
    demos, _, _ = linear(episodes=2)
    with pytest.raises(ValueError, match="this learner has"):
        BehavioralCloning(9, 4).train(demos)
    with pytest.raises(ValueError, match="output_type is 'gauss'"):
        BCPolicy(10, 4, output_type="gauss")
    with pytest.raises(ValueError, match="activation"):
        BCPolicy(10, 4, activation="sigmoid")
    with pytest.raises(ValueError, match="device"):
        BehavioralCloning(10, 4, device="cuda")
    with pytest.raises(RuntimeError, match="call train first"):
        BehavioralCloning(10, 4).get_action(np.zeros(10))
    with pytest.raises(ValueError, match="nan"):
        DemonstrationDataset([Demonstration(np.full((3, 2), np.nan), np.zeros((3, 1)))])


def test_the_dataset_of_pairs_normalises_and_survives_constants() -> None:
    states = np.c_[np.linspace(-3, 5, 50), np.full(50, 7.0)]
    actions = np.linspace(0, 1, 50)[:, None]
    pairs = DemonstrationDataset(
        [Demonstration(states[:30], actions[:30]), Demonstration(states[30:], actions[30:])]
    )
    assert len(pairs) == 50
    state, action = pairs[3]
    assert state.shape == (2,)
    assert action.shape == (1,)
    assert torch.all(pairs.states[:, 1] == 0)
    back = pairs.states.numpy() * pairs.state_std + pairs.state_mean
    np.testing.assert_allclose(back, states, atol=1e-5)
    raw = DemonstrationDataset([Demonstration(states, actions)], normalize=False)
    np.testing.assert_array_equal(raw.states.numpy(), states.astype(np.float32))


@pytest.mark.parametrize("output_type", OUTPUTS)
def test_the_policy_network_has_the_chapters_outputs(output_type: str) -> None:
    torch.manual_seed(0)
    policy = BCPolicy(6, 3, [32], "tanh", output_type)
    states = torch.randn(5, 6)
    out = policy(states)
    shapes = [tuple(x.shape) for x in out] if isinstance(out, tuple) else [tuple(out.shape)]
    expected = {
        "deterministic": [(5, 3)],
        "gaussian": [(5, 3)] * 2,
        "mixture": [(5, 5), (5, 5, 3), (5, 5, 3)],
    }
    assert shapes == expected[output_type]
    assert policy.get_action(states).shape == (5, 3)
    assert policy.get_action(states, deterministic=False).shape == (5, 3)
    same = torch.equal(policy.get_action(states, False), policy.get_action(states, False))
    assert same == (output_type == "deterministic")
    if output_type == "mixture":
        torch.testing.assert_close(out[0].sum(1), torch.ones(5))
