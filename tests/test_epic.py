"""EPIC: its invariances exactly, its metric, and its samples against the exact one."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from scipy.sparse import csr_array

from understudy.irl.epic import Coverage, TrivialReward, canonical, epic_distance
from understudy.irl.sampled_epic import Steps, sampled_epic_distance

SHAPES = ("s", "sa", "sas")


def reward(random: np.random.Generator, kind: str, states: int, actions: int) -> np.ndarray:
    return random.normal(
        size={"s": (states,), "sa": (states, actions), "sas": (states, actions, states)}[kind]
    )


def whole(r: np.ndarray, states: int, actions: int) -> np.ndarray:
    """[S, A, S'] of a reward of any shape."""
    r = r[:, None] if r.ndim == 1 else r
    return np.broadcast_to(r if r.ndim == 3 else r[:, :, None], (states, actions, states))


def shaped(r: np.ndarray, potential: np.ndarray, discount: float) -> np.ndarray:
    return r + discount * potential - potential[:, None, None]


def coverages(random: np.random.Generator, states: int, actions: int) -> list[Coverage]:
    own = Coverage(random.dirichlet(np.ones(states)), random.dirichlet(np.ones(actions), states))
    moves = csr_array(random.dirichlet(np.full(states, 0.3), states * actions))
    along = Coverage.along(moves, random.random((states, actions)))
    return [Coverage.uniform(states, actions), own, along]


@pytest.mark.parametrize("case", range(40))
def test_scale_shift_and_shaping_are_no_distance(case: int) -> None:
    random = np.random.default_rng(case)
    states, actions = int(random.integers(2, 9)), int(random.integers(1, 5))
    discount = float(random.choice([0.5, 0.9, 0.99, 1.0]))
    for cover in coverages(random, states, actions):
        r = whole(reward(random, SHAPES[case % 3], states, actions), states, actions)
        potential = random.normal(scale=10 ** random.uniform(-2, 2), size=states)
        other = 10 ** random.uniform(-3, 3) * shaped(r, potential, discount) + random.normal(scale=5)
        assert epic_distance(r, other, discount, cover) <= 1e-8
        assert epic_distance(r, -other, discount, cover) == pytest.approx(1.0, abs=1e-12)


def test_the_canonical_form_is_its_definition() -> None:
    random = np.random.default_rng(0)
    states, actions, g = 4, 3, 0.8
    cover = coverages(random, states, actions)[1]
    for kind in SHAPES:
        given = reward(random, kind, states, actions)
        r = whole(given, states, actions)
        steps = np.einsum("san,n->sa", r, cover.state)
        mean = (steps * cover.action).sum(1)
        by_hand = np.empty_like(r)
        for s, a, n in np.ndindex(r.shape):
            by_hand[s, a, n] = r[s, a, n] + g * mean[n] - mean[s] - g * (cover.state * mean).sum()
        np.testing.assert_allclose(canonical(given, g, cover), by_hand, atol=1e-12)


@pytest.mark.parametrize("case", range(12))
def test_the_distance_is_that_of_the_correlation_however_it_is_computed(case: int) -> None:
    random = np.random.default_rng(100 + case)
    states, actions, g = 6, 3, 0.9
    a, b = (reward(random, SHAPES[i % 3], states, actions) for i in (case, case // 3))
    for cover in coverages(random, states, actions):
        x, y = (canonical(r, g, cover).ravel() for r in (a, b))
        w = (cover.state[:, None] * cover.action)[:, :, None] * cover.state
        w = w.ravel() if cover.joint is None else cover.joint.toarray().ravel()
        rho = np.cov(x, y, aweights=w)[0, 1] / sqrt(np.prod(np.diag(np.cov(x, y, aweights=w))))
        assert epic_distance(a, b, g, cover) == pytest.approx(sqrt((1 - rho) / 2), abs=1e-9)
        assert epic_distance(whole(a, states, actions), b, g, cover) == pytest.approx(
            epic_distance(a, b, g, cover), abs=1e-12
        )


def test_blocks_of_transitions_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    a, b = reward(random, "sas", 9, 2), reward(random, "sas", 9, 2)
    listed = coverages(random, 9, 2)
    before = [epic_distance(a, b, 0.9, c) for c in listed]
    monkeypatch.setattr("understudy.irl.epic._ENTRIES", 40)  # two states at a time
    assert [epic_distance(a, b, 0.9, c) for c in listed] == pytest.approx(before, abs=1e-14)


@pytest.mark.parametrize("case", range(30))
def test_it_is_a_pseudometric(case: int) -> None:
    random = np.random.default_rng(200 + case)
    cover = coverages(random, 5, 2)[case % 3]
    a, b, c = (reward(random, kind, 5, 2) for kind in SHAPES)
    b = b + a[:, None]  # so that some are near one another
    ab, bc, ac = (
        epic_distance(a, b, 0.9, cover),
        epic_distance(b, c, 0.9, cover),
        epic_distance(a, c, 0.9, cover),
    )
    assert ac <= ab + bc + 1e-12
    assert ab == pytest.approx(epic_distance(b, a, 0.9, cover), abs=1e-12)
    assert 0 <= ab <= 1


def test_large_rewards_of_steps_take_no_table_of_transitions() -> None:
    states = 40_000  # a table [S, A, S'] would be 51 GB
    r = np.arange(4.0 * states).reshape(states, 4) % 7
    assert epic_distance(r, 3 * r + 1, 0.99, Coverage.uniform(states, 4)) <= 1e-8


def test_a_trivial_reward_is_refused_by_name() -> None:
    cover, some = Coverage.uniform(3, 2), np.arange(3.0)
    only_shaping = shaped(np.zeros((3, 2, 3)), np.array([1.0, 5.0, -2.0]), 0.9)
    for nothing in (np.full(3, 4.2), only_shaping):
        with pytest.raises(TrivialReward, match="second reward is constant up to shaping"):
            epic_distance(some, nothing, 0.9, cover)
        with pytest.raises(TrivialReward, match="first reward"):
            epic_distance(nothing, some, 0.9, cover)


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda: Coverage(np.array([0.5, 0.6]), np.full((2, 2), 0.5)), "state sums to 1 only within 0.1"),
        (lambda: Coverage(np.array([0.5, 0.5]), np.array([[1.5, -0.5], [0.5, 0.5]])), "action has a weight"),
        (lambda: Coverage(np.ones(1), np.full((2, 2), 0.5)), "state has shape"),
        (lambda: Coverage(np.ones(1), np.ones((1, 1)), csr_array((2, 2))), "joint has shape"),
        (lambda: Coverage.uniform(0, 2), "there are 0 states"),
        (lambda: Coverage.along(csr_array((4, 2)), np.ones((2, 2))), "at least one that leads anywhere"),
        (lambda: Coverage.along(csr_array((4, 3)), np.ones((2, 2))), "they do not fit"),
        (lambda: epic_distance(np.ones(4), np.ones(4), 0.9, Coverage.uniform(3, 2)), "a reward has shape"),
        (lambda: epic_distance(np.full(3, np.nan), np.ones(3), 0.9, Coverage.uniform(3, 2)), "not finite"),
        (lambda: epic_distance(np.ones(3), np.ones(3), 1.1, Coverage.uniform(3, 2)), "discount is 1.1"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(call, rule: str) -> None:
    with pytest.raises(ValueError, match=rule) as caught:
        call()
    assert "\n" not in str(caught.value)


# By samples. Observations and actions are numbers of states, so that a table can stand for a function.


def looked_up(table: np.ndarray):
    def asked(obs: np.ndarray, action: np.ndarray, after: np.ndarray) -> np.ndarray:
        return table[obs[:, 0].astype(int), action[:, 0].astype(int), after[:, 0].astype(int)]

    return asked


def grid(*sizes: int) -> list[np.ndarray]:
    return [x.reshape(-1, 1).astype(float) for x in np.meshgrid(*map(np.arange, sizes), indexing="ij")]


def test_samples_of_everything_are_the_exact_distance() -> None:
    random = np.random.default_rng(7)
    a, b = reward(random, "sas", 5, 3), reward(random, "sas", 5, 3)
    steps, pairs = Steps(*grid(5, 3, 5)), grid(3, 5)
    exact = epic_distance(a, b, 0.9, Coverage.uniform(5, 3))
    found = sampled_epic_distance(looked_up(a), looked_up(b), steps, *pairs, 0.9, seed=0)
    assert found.value == pytest.approx(exact, abs=1e-12)


def test_few_samples_are_near_and_the_interval_holds_the_exact_distance() -> None:
    random = np.random.default_rng(8)
    a, b = reward(random, "sas", 5, 3), reward(random, "sas", 5, 3)
    exact = epic_distance(a, b, 0.9, Coverage.uniform(5, 3))
    pairs = grid(3, 5)
    held = 0
    for _ in range(40):  # binomial(40, .95): fewer than 32 has a chance below 1e-4
        draw = [random.integers(n, size=(150, 1)).astype(float) for n in (5, 3, 5)]
        found = sampled_epic_distance(looked_up(a), looked_up(b), Steps(*draw), *pairs, 0.9, seed=1)
        held += found.low <= exact <= found.high
    assert held >= 32


def test_invariances_of_continuous_rewards_hold_for_any_sample() -> None:
    random = np.random.default_rng(9)
    obs, action, after = (random.normal(size=(300, n)) for n in (3, 2, 3))
    pairs = random.normal(size=(50, 2)), random.normal(size=(50, 3))

    def r(s: np.ndarray, a: np.ndarray, n: np.ndarray) -> np.ndarray:
        return np.sin(s[:, 0]) + (a**2).sum(1) - s[:, 1] * n[:, 2]

    def potential(s: np.ndarray) -> np.ndarray:
        return np.cos(s).sum(1) * 4

    def other(s: np.ndarray, a: np.ndarray, n: np.ndarray) -> np.ndarray:
        return 3 * r(s, a, n) - 7 + 0.97 * potential(n) - potential(s)

    steps = Steps(obs, action, after)
    assert sampled_epic_distance(r, other, steps, *pairs, 0.97, seed=0).high <= 1e-8
    opposite = sampled_epic_distance(r, lambda *x: -other(*x), steps, *pairs, 0.97, seed=0)
    assert opposite.low == pytest.approx(1.0, abs=1e-12)


def test_asking_in_parts_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(10)
    a, b = reward(random, "sas", 4, 2), reward(random, "sas", 4, 2)
    steps, pairs = Steps(*grid(4, 2, 4)), grid(2, 4)
    before = sampled_epic_distance(looked_up(a), looked_up(b), steps, *pairs, 0.9, seed=0)
    monkeypatch.setattr("understudy.irl.sampled_epic._POINTS", 9)
    after = sampled_epic_distance(looked_up(a), looked_up(b), steps, *pairs, 0.9, seed=0)
    assert after.value == pytest.approx(before.value, abs=1e-14)


@pytest.mark.parametrize(
    ("said", "rule"),
    [
        (lambda s, a, n: np.zeros((len(s), 1)), "has shape"),
        (lambda s, a, n: np.full(len(s), np.inf), "not finite"),
        (lambda s, a, n: np.zeros(len(s)), "constant up to shaping"),
    ],
)
def test_a_reward_function_that_says_nonsense_is_refused(said, rule: str) -> None:
    steps, pairs = Steps(*grid(4, 2, 4)), grid(2, 4)
    with pytest.raises(ValueError, match=rule):
        sampled_epic_distance(said, looked_up(np.arange(32.0).reshape(4, 2, 4)), steps, *pairs, 0.9, seed=0)


def test_samples_that_do_not_fit_are_refused() -> None:
    r = looked_up(np.arange(32.0).reshape(4, 2, 4))
    steps, (actions, after) = Steps(*grid(4, 2, 4)), grid(2, 4)
    with pytest.raises(ValueError, match="do not fit"):
        sampled_epic_distance(r, r, steps, actions[:-1], after, 0.9, seed=0)
    with pytest.raises(ValueError, match="steps have shapes"):
        sampled_epic_distance(
            r, r, Steps(steps.obs, steps.action[1:], steps.next_obs), actions, after, 0.9, seed=0
        )
    with pytest.raises(ValueError, match="rows of numbers"):
        sampled_epic_distance(
            r, r, Steps(steps.obs[:, 0], steps.action, steps.next_obs), actions, after, 0.9, seed=0
        )
