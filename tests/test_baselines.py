"""The policies that a learned policy must beat: exact where they are exact, uniform where they are random."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from understudy.baselines import NearestNeighbour, RandomPolicy, Replay, ZeroPolicy, baseline_policies
from understudy.dataset import Dataset
from understudy.envs import ActionSpec
from understudy.episode import Episode
from understudy.roles import Policy

SPEC = ActionSpec.box([-1.0, 0.5, -3.0], [1.0, 2.0, -1.0])


def episode(rng: np.random.Generator, steps: int = 12, width: int = 4) -> Episode:
    states = {
        "state": rng.normal(size=(steps + 1, width)),
        "goal": np.tile(rng.normal(size=2), (steps + 1, 1)),
    }
    return Episode.demonstration(states, rng.uniform(-1, 1, size=(steps, 3)))


@pytest.fixture
def data() -> Dataset:
    rng = np.random.default_rng(0)
    return Dataset(episode(rng, steps) for steps in (12, 7, 9, 15))


def at(e: Episode, step: int) -> dict[str, np.ndarray]:
    return {k: v[step] for k, v in e.obs.items()}


# --- random


def test_random_is_uniform_within_the_bounds_and_follows_from_the_seed():
    policy = RandomPolicy(SPEC)
    policy.reset(3)
    drawn = np.array([policy.act({}) for _ in range(4000)])
    assert drawn.dtype == np.float32
    assert (drawn >= SPEC.low).all()
    assert (drawn <= SPEC.high).all()
    unit = np.sort((drawn - SPEC.low) / (SPEC.high - SPEC.low), 0)
    # Kolmogorov-Smirnov, per dimension: 1.95 / sqrt(n) is passed by chance once in a thousand.
    gap = np.abs(unit - (np.arange(4000) / 4000)[:, None]).max(0)
    assert (gap < 1.95 / np.sqrt(4000)).all()
    policy.reset(3)
    np.testing.assert_array_equal([policy.act({}) for _ in range(50)], drawn[:50])
    policy.reset(4)
    assert not np.array_equal(policy.act({}), drawn[0])


def test_random_does_not_draw_what_an_environment_draws_from_the_same_seed():
    policy = RandomPolicy(ActionSpec.box([0.0], [1.0]))
    policy.reset(7)
    drawn = [float(policy.act({})[0]) for _ in range(20)]
    assert not np.allclose(drawn, np.random.default_rng(7).random(20), atol=1e-3)


def test_random_choices_are_all_taken_equally_often():
    policy = RandomPolicy(ActionSpec.discrete(4))
    policy.reset(0)
    drawn = np.array([policy.act({}) for _ in range(4000)])
    assert drawn.dtype == np.int64
    assert drawn.shape == (4000, 1)
    counts = np.bincount(drawn[:, 0], minlength=5)
    assert counts[4] == 0
    # Chi-square with 3 degrees of freedom: 16.3 is passed by chance once in a thousand.
    assert ((counts[:4] - 1000) ** 2 / 1000).sum() < 16.3


def test_random_needs_bounds():
    with pytest.raises(ValueError, match="finite"):
        RandomPolicy(ActionSpec.unbounded(2))


# --- zero


def test_zero_is_zero_clipped_into_the_bounds_and_choice_zero():
    policy = ZeroPolicy(SPEC)
    policy.reset(0)
    first = policy.act({})
    np.testing.assert_array_equal(first, np.array([0.0, 0.5, -1.0], np.float32))
    first += 1  # what is handed out belongs to the caller
    np.testing.assert_array_equal(policy.act({}), np.array([0.0, 0.5, -1.0], np.float32))
    np.testing.assert_array_equal(ZeroPolicy(ActionSpec.unbounded(2)).act({}), [0.0, 0.0])
    choice = ZeroPolicy(ActionSpec.discrete(3)).act({})
    assert choice.tolist() == [0]
    assert choice.dtype == np.int64


# --- replay


def test_replay_plays_the_demonstration_that_starts_nearest_with_closed_eyes_and_then_holds(data):
    policy = Replay(data)
    rng = np.random.default_rng(1)
    for i, e in enumerate(data):
        policy.reset(i)
        near = {k: v + 1e-3 * rng.normal(size=v.shape) for k, v in at(e, 0).items()}
        played = [policy.act(near)]
        played += [
            policy.act({k: rng.normal(size=v.shape) for k, v in near.items()}) for _ in range(len(e) + 4)
        ]
        np.testing.assert_array_equal(played[: len(e)], e.action)
        np.testing.assert_array_equal(played[len(e) :], np.tile(e.action[-1], (5, 1)))


def test_replay_plays_what_was_executed_and_not_what_was_advised():
    rng = np.random.default_rng(2)
    action = rng.normal(size=(5, 1))
    noisy = Episode({"state": rng.normal(size=(6, 2))}, action, -action, np.ones(5, bool), np.zeros(5))
    policy = Replay([noisy])
    np.testing.assert_array_equal([policy.act(at(noisy, t)) for t in range(5)], noisy.action)
    neighbour = NearestNeighbour(Dataset([noisy]))
    np.testing.assert_array_equal([neighbour.act(at(noisy, t)) for t in range(5)], noisy.label)


def test_replay_measures_distance_in_standard_deviations():
    # In raw units the first demonstration is nearer; the second dimension, in millimetres, says otherwise.
    starts = np.array([[0.0, 0.001], [30.0, 0.009], [-30.0, 0.005], [60.0, 0.003]])
    demos = [
        Episode.demonstration(np.stack([s, s]), np.full((1, 1), i, np.float32)) for i, s in enumerate(starts)
    ]
    policy = Replay(demos)
    assert policy.act({"state": np.array([10.0, 0.009])}).tolist() == [1.0]


def test_nothing_to_replay_is_refused():
    with pytest.raises(ValueError, match="no demonstrations"):
        Replay([])


# --- nearest neighbour


def test_nearest_neighbour_knows_every_demonstrated_state(data):
    policy = NearestNeighbour(data)
    for e in data:
        for step in range(len(e)):
            np.testing.assert_array_equal(policy.act(at(e, step)), e.label[step])


@pytest.mark.parametrize("k", [1, 3, 10_000])
def test_nearest_neighbour_equals_a_search_by_hand(data, k):
    states = np.concatenate([np.concatenate([e.obs["goal"], e.obs["state"]], 1)[:-1] for e in data])
    labels = np.concatenate([e.label for e in data])
    policy = NearestNeighbour(data, k)
    rng = np.random.default_rng(5)
    for _ in range(20):
        obs = {"state": rng.normal(size=4).astype(np.float32), "goal": rng.normal(size=2).astype(np.float32)}
        gap = (states - np.concatenate([obs["goal"], obs["state"]])) / states.std(0, dtype=np.float64)
        nearest = np.argsort((gap**2).sum(1))[:k]
        np.testing.assert_allclose(policy.act(obs), labels[nearest].mean(0), rtol=1e-5, atol=1e-6)


def test_nearest_neighbour_takes_the_most_frequent_choice_and_the_nearest_among_equals():
    states = np.array([[0.0], [1.0], [1.1], [5.0], [5.5], [9.0]])
    choices = np.array([2, 0, 0, 1, 2])
    data = Dataset([Episode.demonstration(states, choices)])
    assert NearestNeighbour(data, 3).act({"state": np.array([0.1])}).tolist() == [0]
    assert NearestNeighbour(data, 2).act({"state": np.array([5.1])}).tolist() == [1]
    assert NearestNeighbour(data).act({"state": np.array([5.1])}).dtype == np.int64


def test_steps_without_a_label_are_not_remembered():
    states = np.arange(5.0)[:, None]
    e = Episode(
        {"state": states}, np.zeros((4, 1)), np.arange(4.0)[:, None], [True, False, False, True], np.zeros(4)
    )
    policy = NearestNeighbour(Dataset([e]))
    assert [policy.act({"state": np.array([x])}).tolist() for x in (0.9, 1.1, 2.0)] == [[0.0], [0.0], [3.0]]
    silent = Episode({"state": states}, np.zeros((4, 1)), np.zeros((4, 1)), np.zeros(4, bool), np.zeros(4))
    with pytest.raises(ValueError, match="labelled"):
        NearestNeighbour(Dataset([silent]))


def test_a_dimension_that_never_changes_decides_nothing():
    rng = np.random.default_rng(6)
    moving = rng.normal(size=(21, 2))
    still = np.full((21, 1), 1.34, np.float32)
    still[::2] = np.nextafter(np.float32(1.34), np.float32(2))  # constant, but for rounding
    e = Episode.demonstration(np.concatenate([moving, still], 1), rng.normal(size=(20, 1)))
    policy = NearestNeighbour(Dataset([e]))
    for step in range(20):
        # Seen through another constant, the same neighbour is found.
        np.testing.assert_array_equal(
            policy.act({"state": np.append(e.obs["state"][step, :2], 7.0)}), e.label[step]
        )
    frozen = Dataset([Episode.demonstration(np.ones((3, 2)), np.arange(2.0))])
    assert NearestNeighbour(frozen).act({"state": np.ones(2)}).tolist() == [0.0]


def test_pictures_are_compared_as_block_averages():
    rng = np.random.default_rng(7)
    coarse = rng.integers(0, 200, size=(9, 8, 8, 3))
    pictures = np.kron(coarse, np.ones((1, 3, 2, 1))).astype(np.uint8)  # 24 x 16 pixels
    e = Episode.demonstration({"camera": pictures}, np.arange(8.0))
    policy = NearestNeighbour(Dataset([e]))
    for step in range(8):
        noisy = pictures[step] + rng.integers(0, 9, size=pictures[step].shape)
        assert policy.act({"camera": noisy.astype(np.uint8)}).tolist() == [float(step)]
    tiny = Episode.demonstration(
        {"camera": rng.integers(0, 255, size=(4, 5, 3, 1), dtype=np.uint8)}, np.arange(3.0)
    )
    assert NearestNeighbour(Dataset([tiny])).act({"camera": tiny.obs["camera"][2]}).tolist() == [2.0]


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr("understudy.baselines._NUMBERS", 100)
    states = np.arange(1001.0)[:, None]
    policy = NearestNeighbour(Dataset([Episode.demonstration(states, states[:-1])]))
    kept = {float(policy.act({"state": np.array([x])})[0]) for x in np.arange(1000.0)}
    assert kept == set(np.arange(0.0, 1000.0, 10.0))


def test_an_observation_of_another_task_is_refused(data):
    for policy in (NearestNeighbour(data), Replay(data)):
        with pytest.raises(ValueError, match="no 'goal'"):
            policy.act({"state": np.zeros(4)})
        with pytest.raises(ValueError, match="5 numbers, the demonstrations 6"):
            policy.act({"state": np.zeros(3), "goal": np.zeros(2)})
    with pytest.raises(ValueError, match="k is 0"):
        NearestNeighbour(data, 0)


# --- all


def test_every_baseline_has_its_name_travels_and_is_deterministic(data):
    expert = ZeroPolicy(SPEC)
    named = baseline_policies(data, SPEC, expert)
    assert list(named) == ["expert", "random", "zero", "replay", "nearest-neighbour"]
    assert named["expert"] is expert
    seen = [at(data[0], t) for t in range(6)]
    for name, policy in named.items():
        assert isinstance(policy, Policy)
        assert name in ("expert", policy.name)
        runs = []
        for p in (policy, pickle.loads(pickle.dumps(policy)), policy):
            p.reset(11)
            runs.append(np.array([p.act(obs) for obs in seen]))
            assert runs[-1].shape == (6, 3)
        np.testing.assert_array_equal(runs[0], runs[1])
        np.testing.assert_array_equal(runs[0], runs[2])


def test_no_random_baseline_where_actions_have_no_bounds(data):
    assert list(baseline_policies(data, ActionSpec.unbounded(3))) == ["zero", "replay", "nearest-neighbour"]
    assert list(baseline_policies(None, ActionSpec.unbounded(3))) == ["zero"]
