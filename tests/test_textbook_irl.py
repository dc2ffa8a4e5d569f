"""The chapter's third program, and what its maximum entropy inverse RL promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from understudy.textbook import MaxEntIRL, RewardNetwork
from understudy.textbook.inverse import Features
from understudy.textbook.passive import PassiveReward, Walk


def third_program(seed: int) -> tuple[MaxEntIRL, float, float]:
    """As in the chapter, from its demonstrations on; the learner, and what it says of goal and chance."""
    np.random.seed(seed)  # noqa: NPY002, the program draws from there
    state_dim, action_dim = 10, 4
    irl = MaxEntIRL(state_dim=state_dim, action_dim=action_dim, hidden_dims=[64, 64])
    goal_state = np.ones(state_dim) * 0.5
    demonstrations = []
    for _ in range(20):
        trajectory = []
        state = np.random.randn(state_dim)  # noqa: NPY002
        for _step in range(50):
            state = state + 0.1 * (goal_state - state) + 0.01 * np.random.randn(state_dim)  # noqa: NPY002
            trajectory.append(state)
        demonstrations.append(np.array(trajectory))
    print(f"Collected {len(demonstrations)} demonstrations")
    expert_features = irl.compute_expert_features(demonstrations)
    print(f"Expert feature mean: {expert_features.mean().item():.3f}")
    assert expert_features.mean().item() == pytest.approx(np.mean(demonstrations), rel=1e-5)
    goal_reward = irl.get_reward(goal_state)
    random_reward = irl.get_reward(np.random.randn(state_dim))  # noqa: NPY002
    return irl, goal_reward, random_reward


@pytest.mark.parametrize("seed", range(20))
def test_the_third_program_prefers_the_goal(seed: int, capsys) -> None:
    """The goal above a random state in each of 20 seeds; where the reward is best lies near the goal."""
    irl, goal, chance = third_program(seed)
    assert goal > chance
    said = capsys.readouterr().out
    assert said.count("Reward learned from demonstrations alone (20): 980 transitions") == 1
    best = torch.zeros(10, requires_grad=True)
    optimizer = torch.optim.Adam([best], 0.02)
    for _ in range(300):
        optimizer.zero_grad()
        (-irl.reward_net(best)).sum().backward()
        optimizer.step()
    assert np.linalg.norm(best.detach().numpy() - 0.5) < 1.0, "a random state is 3.5 away"


def steered(gain: float, noise: float, n: int, seed: int) -> list[np.ndarray]:
    """Trajectories in the plane that are steered to (1, -1): s' = s + gain (g - s) + noise."""
    random, out = np.random.default_rng(seed), []
    for _ in range(n):
        states = [random.uniform(-3, 3, 2)]
        for _ in range(30):
            pull = gain * (np.array([1.0, -1.0]) - states[-1])
            states.append(states[-1] + pull + noise * random.standard_normal(2))
        out.append(np.array(states))
    return out


@pytest.mark.parametrize(("gain", "noise"), [(0.1, 0.05), (0.3, 0.2)])
def test_the_quadratic_case_gives_its_known_reward(gain: float, noise: float) -> None:
    """Passive noise Σ = σ² I and V = -k/2 |s - g|² steer by κ = k σ² / (1 + k σ²) with noise σ² (1 - κ).

    Then r(s) = -κ²/2 |s - g|² / (σ² (1 - κ)) - log(1 - κ) in two dimensions. Root mean square error on a grid
    within 12 % of the spread there, though noise is estimated, from the increments, to 10 %.
    """
    passive = noise**2 / (1 - gain)
    walk = Walk(steered(gain, noise, 200, seed=0))
    root = walk.root.numpy() * walk.scale[:, None]
    np.testing.assert_allclose(root @ root.T, passive * np.eye(2), atol=0.1 * passive)
    source = PassiveReward(walk, [32], seed=0)
    assert source.fit() > 0
    points = np.stack(np.meshgrid(*[np.linspace(-2, 2, 9)] * 2), -1).reshape(-1, 2)
    z = torch.as_tensor((points - walk.shift) / walk.scale, dtype=torch.float32)
    far = ((points - [1, -1]) ** 2).sum(1)
    known = -(gain**2) / 2 * far / (passive * (1 - gain)) - np.log(1 - gain)
    error = source.reward(z, pairs=64).numpy() - known
    assert np.sqrt(np.mean(error**2)) < 0.12 * known.std()


def test_two_goals_are_found_where_no_quadratic_can_say_both(capsys) -> None:
    """Steered to the nearer of -1 and 1: there it is better than between them, and than one further out."""
    random, shown = np.random.default_rng(0), []
    for _ in range(60):
        states = [random.uniform(-3, 3)]
        for _ in range(40):
            drift = 0.1 * (np.sign(states[-1]) - states[-1])
            states.append(states[-1] + drift + 0.05 * random.standard_normal())
        shown.append(np.array(states)[:, None])
    irl = MaxEntIRL(1, 1, [64, 64])
    irl.compute_expert_features(shown)
    for sign in (-1.0, 1.0):
        goal = irl.get_reward(np.array([sign]))
        assert goal > irl.get_reward(np.zeros(1))
        assert goal > irl.get_reward(np.array([2 * sign])) + 1
        assert irl.get_reward(np.array([2 * sign])) > irl.get_reward(np.array([4 * sign])) + 1


@pytest.mark.parametrize("towards", [(0.0, 0.0), (0.3, -0.2)])
def test_the_partition_is_the_same_wherever_it_is_drawn_from(towards: tuple[float, float]) -> None:
    """V quadratic: log Z = b·s - |Cs|²/2 + wᵀ(Σ⁻¹ + CᵀC)⁻¹w/2 - log|I + Σ CᵀC|/2, w = ∇V(s); 4·10⁴ draws."""
    walk = Walk(steered(0.2, 0.3, 20, seed=1))
    source = PassiveReward(walk, [], seed=0)
    with torch.no_grad():
        source.network[0].bias.zero_()
        source.curve.copy_(torch.tensor([[0.3, 0.2], [0.0, 0.1]]))
        source.slope.copy_(torch.tensor([0.1, -0.2]))
    variance = source._variance
    sigma = (walk.root @ walk.root.T).numpy().astype(np.float64)
    curve, slope = source.curve.detach().numpy(), source.slope.detach().numpy()
    s, h = np.array([0.5, -1.0]), curve.T @ curve / variance
    w = slope / variance - h @ s
    inverse = np.linalg.inv(np.linalg.inv(sigma) + h)
    known = slope @ s / variance - s @ h @ s / 2 + w @ inverse @ w / 2
    known -= np.linalg.slogdet(np.eye(2) + sigma @ h)[1] / 2
    with torch.no_grad():
        found = source.log_partition(
            torch.tensor(s[None], dtype=torch.float32), torch.tensor([towards]), pairs=20_000
        )
    assert float(found) == pytest.approx(known, abs=0.02)


def test_features_are_a_mean_that_carries_its_states() -> None:
    irl = MaxEntIRL(2, 1, [4])
    features = irl.compute_expert_features([np.array([[0.0, 1.0], [2.0, 3.0]]), np.array([[4.0, 8.0]])])
    np.testing.assert_allclose(features.numpy(), [2, 4])
    np.testing.assert_array_equal(features.states, [[0, 1], [2, 3], [4, 8]])
    moved = features.to(torch.float64)
    assert moved.states.dtype == moved.dtype == torch.float64
    assert type(features * 1) is type(features.mean()) is torch.Tensor
    for pair, name in (((features.mean(0), features), "expert"), ((features, features * 1), "policy")):
        with pytest.raises(ValueError, match=f"{name}_features is a bare tensor"):
            irl.train_step(*pair)


def test_rewards_of_fixed_sets_come_to_rest_at_the_known_optimum() -> None:
    """Normals around ±1 with λ = ½: r(s) = 4 tanh(s); within 0.4 where there are states."""
    random = np.random.default_rng(0)
    irl = MaxEntIRL(1, 1, [32], lr=1e-2, penalty=0.5)
    shown = irl.compute_expert_features([random.standard_normal((4000, 1)) + 1])
    other = Features.of(torch.as_tensor(random.standard_normal((4000, 1)) - 1, dtype=torch.float32))
    losses = [irl.train_step(shown, other) for _ in range(600)]
    assert losses[-1] < losses[0]
    for s in (-2.0, -1.0, 0.0, 1.0, 2.0):
        assert irl.get_reward(np.array([s])) == pytest.approx(4 * np.tanh(s), abs=0.4)


def test_a_reward_is_learned_where_the_means_are_equal(capsys) -> None:
    """States close to 0 against states far from it on both sides: the mean states say nothing."""
    random = np.random.default_rng(0)
    irl = MaxEntIRL(1, 1, [32], lr=1e-2)
    near = irl.compute_expert_features([0.2 * random.standard_normal((500, 1))])
    far = Features.of(torch.as_tensor(2 * random.standard_normal((500, 1)), dtype=torch.float32))
    for _ in range(300):
        irl.train_step(near, far)
    middle = irl.get_reward(np.zeros(1))
    assert middle > irl.get_reward(np.array([2.0])) + 5
    assert middle > irl.get_reward(np.array([-2.0])) + 5
    assert capsys.readouterr().out == "", "what was trained is not trained again from demonstrations alone"


def test_the_step_follows_the_difference_of_mean_rewards() -> None:
    """A linear reward: its gradient is the gap of mean states and λ's share, to rounding."""
    irl = MaxEntIRL(2, 1, [], lr=1e-3)
    shown = irl.compute_expert_features([np.array([[0.0, 1.0], [2.0, 3.0]])])
    other = Features.of(torch.tensor([[1.0, -1.0], [0.0, 0.0], [5.0, 2.0]]))
    layer = irl.reward_net.network[0]
    before = layer.weight.detach().clone()
    bias = layer.bias.detach().clone()
    irl.train_step(shown, other)
    z, y = ((f.states - torch.tensor([1.0, 2.0])) for f in (shown, other))
    share = [2 * (x @ before.T + bias) * x for x in (z, y)]
    gradient = y.mean(0) - z.mean(0) + 0.1 / 4 * (share[0].mean(0) + share[1].mean(0))
    torch.testing.assert_close(layer.weight.grad[0], gradient)
    torch.testing.assert_close(layer.weight, before - 1e-3 * gradient.sign(), rtol=0, atol=1e-6)


class Line:
    """s' = s + a for a few steps; four values or five from step, one buffer for all states."""

    def __init__(self, values: int) -> None:
        self._values, self._state = values, np.zeros(1)

    def reset(self, *, seed: int | None = None):
        self._left = 4
        self._state[:] = 0 if seed is None else seed % 7
        return (self._state, {}) if self._values == 5 else self._state

    def step(self, action):
        self._state += action
        self._left -= 1
        ends = self._left == 0
        return (self._state, 0.0, ends, False, {}) if self._values == 5 else (self._state, 0.0, ends, {})


class Forward:
    def get_action(self, state):
        return np.ones(1)


@pytest.mark.parametrize("values", [4, 5])
def test_a_policys_features_are_of_the_states_it_came_to(values: int) -> None:
    def states(n: int, steps: int) -> np.ndarray:
        features = MaxEntIRL(1, 1, [4]).compute_policy_features(Line(values), Forward(), n, steps)
        torch.testing.assert_close(features.states.mean(0), features * 1)
        return features.states.numpy().ravel()

    for n, steps, length in ((1, 200, 4), (3, 2, 2)):
        found = states(n, steps)
        assert len(found) == n * length
        np.testing.assert_array_equal(np.diff(found.reshape(n, length)), 1)
        np.testing.assert_array_equal(found, states(n, steps))
    with pytest.raises(ValueError, match="n_trajectories is 0"):
        states(0, 1)


def test_a_seed_is_a_reward(capsys) -> None:
    shown = steered(0.1, 0.05, 5, seed=2)

    def reward(seed: int) -> float:
        irl = MaxEntIRL(2, 1, [8], seed=seed)
        irl.compute_expert_features(shown)
        return irl.get_reward(np.array([0.3, 0.4]))

    first = reward(0)
    torch.manual_seed(77)
    assert reward(0) == first != reward(1)


def test_a_reward_of_states_and_actions() -> None:
    torch.manual_seed(0)
    network = RewardNetwork(3, 2, hidden_dims=[8], state_only=False)
    state, action = torch.randn(5, 3), torch.randn(5, 2)
    assert network(state, action).shape == (5, 1)
    assert not torch.equal(network(state, action), network(state, action + 1))
    alone = RewardNetwork(3, 2, hidden_dims=[8])
    torch.testing.assert_close(alone(state), alone(state, action))
    assert [tuple(p.shape) for p in RewardNetwork(3).network.parameters()][::2] == [
        (64, 3),
        (64, 64),
        (1, 64),
    ]
    with pytest.raises(ValueError, match="states and actions; give the action too"):
        network(state)
    with pytest.raises(ValueError, match=r"action has shape \[5, 3\]; it must be \[5, 2\]"):
        network(state, state)
    with pytest.raises(ValueError, match=r"state has shape \[5, 2\]; it must be \[\.\.\., 3\]"):
        alone(action)
    with pytest.raises(ValueError, match="action_dim is 0"):
        RewardNetwork(3, state_only=False)


def test_what_does_not_fit_is_refused() -> None:
    irl = MaxEntIRL(2, 1, [4])
    with pytest.raises(RuntimeError, match="needs demonstrations"):
        irl.get_reward(np.zeros(2))
    with pytest.raises(ValueError, match="penalty is 0"):
        MaxEntIRL(2, 1, penalty=0)
    with pytest.raises(ValueError, match="demonstrations is empty"):
        irl.compute_expert_features([])
    with pytest.raises(ValueError, match=r"demonstration 1 has shape \[4, 3\]; it must be \[T, 2\]"):
        irl.compute_expert_features([np.zeros((4, 2)), np.zeros((4, 3))])
    with pytest.raises(ValueError, match="demonstration 0 has a value that is not finite"):
        irl.compute_expert_features([np.full((4, 2), np.nan)])
    irl.compute_expert_features([np.zeros((2, 2))])
    with pytest.raises(ValueError, match="at least three states"):
        irl.get_reward(np.zeros(2))
    irl.compute_expert_features([np.arange(8.0).reshape(4, 2)])
    with pytest.raises(ValueError, match="never change their course"):
        irl.get_reward(np.zeros(2))
