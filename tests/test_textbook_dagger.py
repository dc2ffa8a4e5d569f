"""The chapter's second program, and what its DAgger and HG-DAgger promise."""

from __future__ import annotations

from itertools import pairwise

import gymnasium
import numpy as np
import pytest
import torch

from understudy.dataset import Dataset
from understudy.textbook import BehavioralCloning, DAgger, Demonstration, Expert, HGDAgger

LINE = "=" * 50


class LinearExpert(Expert):
    """As in the chapter: a = W s."""

    def __init__(self, state_dim: int, action_dim: int) -> None:
        self.weights = np.random.randn(action_dim, state_dim) * 0.5  # noqa: NPY002

    def get_action(self, state):
        return self.weights @ state


class SimpleEnv:
    """As in the chapter: a random walk that no action steers, four values from step, an end at random."""

    def __init__(self, state_dim: int = 10, action_dim: int = 4) -> None:
        self.state_dim, self.action_dim, self.state = state_dim, action_dim, None

    def reset(self):
        self.state = np.random.randn(self.state_dim)  # noqa: NPY002
        return self.state

    def step(self, action):
        self.state = self.state + 0.1 * np.random.randn(self.state_dim)  # noqa: NPY002
        return self.state, -np.linalg.norm(action), np.random.random() < 0.01, {}  # noqa: NPY002


class Track:
    """A point on a line: s' = s + a / 10, for 20 steps. Remembers what was executed; reuses its buffer."""

    def __init__(self, length: int = 20) -> None:
        self.length, self.executed, self.seeds = length, [], []
        self._state = np.zeros(1)

    def reset(self, *, seed: int | None = None):
        self.seeds.append(seed)
        self._left = self.length
        self._state[:] = np.random.default_rng(seed).uniform(-1, 1)
        return self._state, {}

    def step(self, action):
        self.executed.append(float(action[0]))
        self._state += np.asarray(action) / 10
        self._left -= 1
        return self._state, -abs(float(self._state[0])), False, self._left == 0, {}


class Homing(Expert):
    """a = -s."""

    asked = 0

    def get_action(self, state):
        self.asked += 1
        return -np.asarray(state)


class Fixed:
    """A policy that always does the same, and remembers how it was trained."""

    def __init__(self, action: float) -> None:
        self.action, self.trainings = action, []

    def get_action(self, state):
        return np.array([self.action])

    def train(self, demonstrations, n_epochs):
        self.trainings.append(([np.array(d.states) for d in demonstrations], n_epochs))


def second_program(seed: int) -> tuple[DAgger, dict, float]:
    """The chapter's second program, and its policy's squared error on fresh states over the power there."""
    np.random.seed(seed)  # noqa: NPY002, the program draws from there
    torch.manual_seed(seed)
    expert, env = LinearExpert(10, 4), SimpleEnv(10, 4)
    bc = BehavioralCloning(state_dim=10, action_dim=4, hidden_dims=[64, 64])
    dagger = DAgger(policy=bc, expert=expert, state_dim=10, action_dim=4, beta_schedule="linear")
    stats = dagger.train(env=env, n_iterations=5, rollouts_per_iter=3, epochs_per_iter=5)
    fresh = []
    for _ in range(20):
        fresh.append(env.reset())
        while not (step := env.step(np.zeros(4)))[2]:
            fresh.append(step[0])
    states = np.array(fresh)
    wanted = states @ expert.weights.T
    error = np.sum((bc.get_action(states) - wanted) ** 2) / np.sum(wanted**2)
    return dagger, stats, float(error)


def test_the_second_program_learns_its_expert(capsys) -> None:
    """Error on fresh states below a quarter of the expert's power: median of seeds 0 to 4."""
    errors = []
    for seed in range(5):
        dagger, stats, error = second_program(seed)
        errors.append(error)
        assert set(stats) == {"rewards", "dataset_size", "policy_rewards"}
        assert [len(v) for v in stats.values()] == [5, 5, 5]
        assert stats["dataset_size"][-1] == len(dagger.all_states) == len(dagger.all_actions)
        assert all(a < b for a, b in pairwise(stats["dataset_size"]))
        said = capsys.readouterr().out
        assert said.startswith(f"DAgger Training\n{LINE}\n")
        size = stats["dataset_size"][-1]
        assert f"Iter 5: β=0.20, Reward={stats['rewards'][-1]:.2f}, Policy Reward=" in said
        assert said.rstrip().endswith(f"Dataset={size}")
    assert np.median(errors) < 0.25


def trained(output_type: str = "deterministic") -> BehavioralCloning:
    """A policy that has learned a = -s from a few states."""
    torch.manual_seed(0)
    states = np.linspace(-1, 1, 40)[:, None]
    cloner = BehavioralCloning(1, 1, hidden_dims=[16], output_type=output_type)
    cloner.train([Demonstration(states, -states)], n_epochs=2, val_split=0)
    return cloner


def test_the_expert_labels_every_state_whoever_drove() -> None:
    env, expert = Track(), Homing()
    dagger = DAgger(Fixed(0.5), expert, 1, 1)
    states, labels, reward = dagger.collect_rollout(env, 0.0)
    assert len(states) == len(labels) == expert.asked == 20
    assert env.executed == [0.5] * 20
    np.testing.assert_allclose(labels, -np.array(states), rtol=1e-6)
    np.testing.assert_allclose(np.diff(np.ravel(states)), 0.05, atol=1e-6)  # copies, not one buffer
    visited = [*np.ravel(states)[1:], states[-1][0] + 0.05]
    assert reward == pytest.approx(-np.abs(visited).sum(), rel=1e-5)
    env.executed.clear()
    states, labels, _ = dagger.collect_rollout(env, 1.0)
    np.testing.assert_allclose(env.executed, np.ravel(labels), rtol=1e-6)


def test_the_coin_falls_for_the_expert_with_probability_beta() -> None:
    """2000 steps at β = 0.3: the share lies within five standard errors, 0.051."""
    env = Track(length=2000)
    dagger = DAgger(Fixed(7.0), Homing(), 1, 1)
    dagger.collect_rollout(env, 0.3, max_steps=2000)
    assert len(env.executed) == 2000
    assert abs(np.mean(np.array(env.executed) != 7.0) - 0.3) < 0.051


def test_the_schedules() -> None:
    def betas(schedule, n: int = 4) -> list[float]:
        return [DAgger(Fixed(0), Homing(), 1, 1, schedule).get_beta(i, n) for i in range(n)]

    assert betas("linear") == [1.0, 0.75, 0.5, 0.25]
    assert betas("exponential") == [1.0, 0.5, 0.25, 0.125]
    assert betas("constant") == [0.5] * 4
    assert betas("indicator") == [1.0, 0.0, 0.0, 0.0]
    assert betas(lambda i: 1 / (1 + i)) == [1.0, 1 / 2, 1 / 3, 1 / 4]
    with pytest.raises(ValueError, match="beta is 'cosine'"):
        betas("cosine")
    with pytest.raises(ValueError, match=r"beta of iteration 1 is 2\.0"):
        betas(lambda i: 2.0 * i)


def test_a_run_repeats_and_evaluation_meets_other_starts(capsys) -> None:
    def run(seed: int) -> tuple[DAgger, dict, Track]:
        torch.manual_seed(0)
        env = Track()
        dagger = DAgger(BehavioralCloning(1, 1, hidden_dims=[16]), Homing(), 1, 1, seed=seed)
        return dagger, dagger.train(env, 3, 2, 2), env

    (a, first, env), (b, again, _), (c, _, _) = run(3), run(3), run(4)
    assert first == again
    np.testing.assert_array_equal(a.all_states, b.all_states)
    assert not np.array_equal(a.all_states[0], c.all_states[0])
    collected = [env.seeds[7 * i + j] for i in range(3) for j in range(2)]
    evaluated = [env.seeds[7 * i + 2 : 7 * i + 7] for i in range(3)]
    assert len({*collected}) == 6
    assert evaluated[0] == evaluated[1] == evaluated[2]
    assert not {*collected} & {*evaluated[0]}


def test_gymnasium_and_its_time_limit() -> None:
    class Still(Expert):
        def get_action(self, state):
            return np.zeros(1)

    with gymnasium.make("Pendulum-v1", max_episode_steps=30) as env:
        dagger = DAgger(Fixed(0.0), Still(), 3, 1)
        states, _, _ = dagger.collect_rollout(env, 0.5)
        assert len(states) == 30
        assert len(dagger.collect_rollout(env, 0.5, max_steps=10)[0]) == 10


def test_a_policy_that_was_never_trained_does_not_act() -> None:
    env, torn = Track(), BehavioralCloning(1, 1, hidden_dims=[16])
    dagger = DAgger(torn, Homing(), 1, 1, "constant")
    with pytest.raises(
        ValueError, match=r"has not been trained yet and the expert drives with probability 0\.5"
    ):
        dagger.train(env, 1, 1, 1)
    with pytest.raises(ValueError, match="has not been trained yet"):
        dagger.evaluate_policy(env)
    assert env.executed == []
    demo = Demonstration(np.linspace(-1, 1, 31)[:, None], -np.linspace(-1, 1, 30)[:, None])
    stats = dagger.train(env, 1, 1, 1, initial_demonstrations=[demo])
    assert stats["dataset_size"] == [50]
    np.testing.assert_array_equal(np.ravel(dagger.all_states[:30]), np.ravel(demo.states[:30]))


def test_each_rollout_is_a_demonstration_and_any_learner_will_do(capsys) -> None:
    env, policy = Track(), Fixed(0.2)
    dagger = DAgger(policy, Homing(), 1, 1, "indicator")
    dagger.train(env, n_iterations=2, rollouts_per_iter=3, epochs_per_iter=4)
    assert [([len(s) for s in parts], n) for parts, n in policy.trainings] == [([20] * 3, 4), ([20] * 6, 4)]
    np.testing.assert_array_equal(np.concatenate(policy.trainings[-1][0]), dagger.all_states)


def test_what_does_not_fit_is_refused() -> None:
    class Wide(Expert):
        def get_action(self, state):
            return np.zeros(3)

    class Three(Track):
        def step(self, action):
            return super().step(action)[:3]

    with pytest.raises(ValueError, match=r"Wide gave an action of shape \[3\]; action_dim is 1"):
        DAgger(Fixed(0), Wide(), 1, 1).collect_rollout(Track(), 0.5)
    with pytest.raises(ValueError, match=r"state has shape \[1\]; state_dim is 2"):
        DAgger(Fixed(0), Homing(), 2, 1).collect_rollout(Track(), 0.5)
    with pytest.raises(ValueError, match="step gave 3 values"):
        DAgger(Fixed(0), Homing(), 1, 1).collect_rollout(Three(), 0.5)
    for name in ("n_iterations", "rollouts_per_iter", "epochs_per_iter"):
        with pytest.raises(ValueError, match=f"{name} is 0"):
            DAgger(Fixed(0), Homing(), 1, 1).train(Track(), **{name: 0})
    with pytest.raises(ValueError, match="n_episodes is 0"):
        DAgger(Fixed(0), Homing(), 1, 1).evaluate_policy(Track(), 0)
    with pytest.raises(ValueError, match=r"beta is 1\.5"):
        DAgger(Fixed(0), Homing(), 1, 1).collect_rollout(Track(), 1.5)


@pytest.mark.parametrize("output_type", ["deterministic", "gaussian", "mixture"])
def test_new_statistics_leave_what_the_policy_does(output_type: str) -> None:
    """Trained on one region, then given the units of another: the same actions come out, to rounding."""
    random = np.random.default_rng(0)
    torch.manual_seed(0)
    states = random.standard_normal((200, 3)) * [1, 5, 0.2] + [0, 3, -1]
    cloner = BehavioralCloning(3, 2, hidden_dims=[32], output_type=output_type)
    demo = Demonstration(states, states[:, :2] * 4 + 1)
    cloner.train([demo], n_epochs=3, val_split=0)
    before = cloner.get_action(states)
    other = random.standard_normal((100, 3)) * [3, 1, 2] + 10
    cloner._in_units_of(Dataset([Demonstration(other, other[:, 1:] * 0.3 - 7).episode()]))
    assert cloner.agent is not None
    assert float(cloner.agent.obs[0].shift[0]) > 5
    np.testing.assert_allclose(cloner.get_action(states), before, rtol=1e-3, atol=1e-3)


def test_human_gated_keeps_the_segments_of_control_only() -> None:
    class Right(HGDAgger):
        def should_intervene(self, state):
            return bool(state[0] > 0)

    env, expert = Track(), Homing()
    gated = Right(Fixed(0.5), expert, 1, 1)
    states, labels, reward = gated.collect_rollout(env, beta=0.0)
    executed = np.array(env.executed)
    held = executed != 0.5
    assert 0 < len(states) == held.sum() == expert.asked < 20
    assert min(s[0] for s in states) > 0
    np.testing.assert_allclose(executed[held], np.ravel(labels), rtol=1e-6)
    np.testing.assert_allclose(np.ravel(labels), -np.ravel(states), rtol=1e-6)
    assert gated.intervention_rates == [held.mean()]
    assert reward < 0


def test_human_gated_begins_with_the_expert_and_trains_on_what_it_was_told(capsys) -> None:
    torch.manual_seed(0)
    policy = BehavioralCloning(1, 1, hidden_dims=[16], output_type="gaussian")
    gated = HGDAgger(policy, Homing(), 1, 1, intervention_threshold=1e9)
    stats = gated.train(Track(), n_iterations=3, rollouts_per_iter=2, epochs_per_iter=2)
    assert gated.intervention_rates == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    assert stats["dataset_size"] == [40, 40, 40]
    assert "Iter 2: expert drove 0 %" in capsys.readouterr().out
    gated.intervention_threshold = 0.0
    assert len(gated.collect_rollout(Track(), 0.0)[0]) == 20


@pytest.mark.parametrize("output_type", ["gaussian", "mixture"])
@pytest.mark.parametrize("unit", [1.0, 1000.0])
def test_uncertainty_is_in_units_of_the_actions(output_type: str, unit: float) -> None:
    """Noise of 1 right of zero and 0.1 left of it: the right is doubted, whatever the unit of actions."""
    random = np.random.default_rng(0)
    torch.manual_seed(0)
    states = random.uniform(-1, 1, (2000, 1))
    noise = random.standard_normal((2000, 1)) * np.where(states > 0, 1.0, 0.1)
    policy = BehavioralCloning(1, 1, hidden_dims=[32], output_type=output_type)
    policy.train([Demonstration(states, unit * noise)], n_epochs=30, val_split=0)
    gated = HGDAgger(policy, Homing(), 1, 1)
    right, left = (gated.uncertainty(np.array([s])) for s in (0.7, -0.7))
    assert 1.0 < right < 1.8, "the noise there is √2 of the spread of all actions"
    assert left < 0.4
    assert gated.should_intervene(np.array([0.7]))
    assert not gated.should_intervene(np.array([-0.7]))


def test_a_gate_of_dice_is_refused() -> None:
    with pytest.raises(ValueError, match="'deterministic' and predicts no spread"):
        HGDAgger(trained(), Homing(), 1, 1)
    with pytest.raises(ValueError, match="'Fixed' and predicts no spread"):
        HGDAgger(Fixed(0.0), Homing(), 1, 1)
    with pytest.raises(ValueError, match="intervention_threshold is -1"):
        HGDAgger(trained("gaussian"), Homing(), 1, 1, intervention_threshold=-1)
