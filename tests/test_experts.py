"""The scripted experts do their tasks from the observation alone; noise never reaches what is taught."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from understudy.envs import ActionSpec, task, tasks
from understudy.experts import ENDORSE, SILENT, NoisyExecution, PolicyExpert, TrainedExpert
from understudy.numerics import wilson
from understudy.rollout import rollout, rollouts

BOX = ActionSpec.box([-1.0, 0.0], [1.0, 4.0])
# The lower bound of the 95 % interval from seeds 0 to 29: at most one failure passes.
SEEDS, LEAST = range(30), 0.82
RETURNS = {"pendulum": -180.0, "lunar-lander-continuous": 270.0, "reacher": -4.5}
WITH_EXPERT = [name for name in tasks() if task(name).expert is not None]
# What trained ones reach stands in their files, and tests/test_trained_experts.py holds them to it.
SCRIPTED = [name for name in WITH_EXPERT if not isinstance(task(name).expert(), TrainedExpert)]


@pytest.mark.parametrize("name", SCRIPTED)
def test_an_expert_does_its_task(name: str) -> None:
    t = task(name)
    assert t.expert is not None
    episodes = rollouts(t.make, t.expert(), SEEDS, ENDORSE)
    done = sum(bool(e.success) for e in episodes)
    assert wilson(done, len(episodes)).low > LEAST, f"{done} of {len(episodes)}"
    if name in RETURNS:
        assert np.mean([e.total_reward for e in episodes]) > RETURNS[name]


@pytest.mark.parametrize("name", WITH_EXPERT)
def test_an_expert_decides_from_the_observation_alone(name: str) -> None:
    t = task(name)
    assert t.expert is not None
    used = t.expert()
    episode = rollout(t.make(), used, 5, ENDORSE, max_steps=40)
    for step in np.random.default_rng(0).permutation(len(episode))[:10]:
        fresh = t.expert()
        fresh.reset(99)
        obs = {k: v[step] for k, v in episode.obs.items()}
        assert np.array_equal(fresh.act(obs), episode.label[step])
        assert np.array_equal(used.act(obs), episode.label[step])


@pytest.mark.parametrize("name", WITH_EXPERT)
def test_an_expert_stays_inside_the_bounds_and_travels(name: str) -> None:
    t = task(name)
    assert t.expert is not None
    expert = pickle.loads(pickle.dumps(t.expert()))
    random = np.random.default_rng(0)
    for _ in range(100):
        obs = {k: random.normal(size=shape).astype(np.float32) for k, shape in t.obs.items()}
        action = expert.act(obs)
        assert np.isfinite(action).all()
        assert (action >= t.action.low).all()
        assert (action <= t.action.high).all()


@pytest.mark.parametrize("name", ["fetch-reach", "fetch-push", "fetch-pick-place"])
def test_the_fetch_experts_act_smoothly_in_the_observation(name: str) -> None:
    """A micrometre in what is seen moves no action by a jump: there is no hidden switch to be learned."""
    t = task(name)
    assert t.expert is not None
    expert, random = t.expert(), np.random.default_rng(1)
    states = [rollout(t.make(), expert, s, ENDORSE) for s in range(3)]
    worst = []
    for e in states:
        for step in range(len(e)):
            obs = {k: v[step].astype(np.float64) for k, v in e.obs.items()}
            nudge = {k: 1e-6 * random.standard_normal(v.shape) for k, v in obs.items()}
            moved = expert.act({k: v + nudge[k] for k, v in obs.items()})
            worst.append(np.abs(moved - expert.act(obs)).max())
    # The steepest slope is the fingers', some 200 a metre.
    assert max(worst) < 2e-3


def test_the_silent_never_speak_and_the_endorsing_always_agree() -> None:
    proposed = np.array([0.5, 1.0], np.float32)
    assert SILENT.advise({}, proposed) is None
    assert ENDORSE.advise({}, proposed) is proposed


def test_a_policy_expert_asks_its_policy() -> None:
    class Sums:
        def reset(self, seed: int) -> None:
            self.seed = seed

        def act(self, obs: dict[str, np.ndarray]) -> np.ndarray:
            return obs["state"] + self.seed

    expert = PolicyExpert(Sums())
    expert.reset(3)
    assert expert.advise({"state": np.ones(1)}, np.zeros(1)).tolist() == [4.0]


def noise(sigma: object, seed: int = 0, n: int = 4000, **kwargs: float) -> np.ndarray:
    arbiter = NoisyExecution(sigma, ActionSpec.box([-100, -100], [100, 100]), **kwargs)
    arbiter.reset(seed)
    clean = np.array([1.0, -1.0], np.float32)
    return np.stack([arbiter(clean, None) - clean for _ in range(n)])


def test_noise_is_gaussian_in_units_of_half_the_range() -> None:
    drawn = noise([0.02, 0.05])
    z = drawn / [2.0, 5.0]
    # 4000 draws: a mean beyond 5 standard errors, or a variance beyond 5 of its own, has odds below 1e-5.
    assert (np.abs(z.mean(0)) < 5 / np.sqrt(4000)).all()
    assert (np.abs(z.var(0) - 1) < 5 * np.sqrt(2 / 4000)).all()
    assert abs(np.corrcoef(z.T)[0, 1]) < 5 / np.sqrt(4000)
    assert abs(np.corrcoef(z[1:, 0], z[:-1, 0])[0, 1]) < 5 / np.sqrt(4000)


def test_persistent_noise_keeps_its_size_and_stays_a_while() -> None:
    z = noise(0.01, persistence=0.9) / 1.0
    assert np.corrcoef(z[1:, 0], z[:-1, 0])[0, 1] == pytest.approx(0.9, abs=0.05)
    assert z.std() == pytest.approx(1.0, abs=0.2)


def test_a_probability_leaves_the_other_steps_alone() -> None:
    hit = (noise(0.01, probability=0.25) != 0).any(1)
    assert hit.mean() == pytest.approx(0.25, abs=5 * np.sqrt(0.25 * 0.75 / 4000))
    assert not noise(0.0).any()


def test_noise_follows_from_the_seed_and_differs_from_the_environments_numbers() -> None:
    assert np.array_equal(noise(0.1, seed=5, n=50), noise(0.1, seed=5, n=50))
    assert not np.array_equal(noise(0.1, seed=5, n=50), noise(0.1, seed=6, n=50))
    assert not np.isin(np.random.default_rng(5).standard_normal(100), noise(0.1, seed=5, n=50) / 10.0).any()


def test_noise_disturbs_the_advice_where_there_is_one_and_stays_inside_the_bounds() -> None:
    arbiter = NoisyExecution(0.0, BOX)
    assert arbiter(np.zeros(2, np.float32), np.array([0.5, 3.0], np.float32)).tolist() == [0.5, 3.0]
    loud = NoisyExecution(50.0, BOX)
    done = np.stack([loud(np.zeros(2, np.float32), None) for _ in range(50)])
    assert (done >= BOX.low).all()
    assert (done <= BOX.high).all()
    assert {*done[:, 0].tolist()} == {-1.0, 1.0}


def test_labels_stay_clean_under_noise() -> None:
    t = task("fetch-push")
    assert t.expert is not None
    episode = rollout(t.make(), t.expert(), 0, ENDORSE, NoisyExecution(0.2, t.action))
    expert = t.expert()
    for step in range(len(episode)):
        clean = expert.act({k: v[step] for k, v in episode.obs.items()})
        assert np.array_equal(episode.label[step], clean)
    assert episode.labelled.all()
    assert not np.array_equal(episode.action, episode.label)
    assert np.abs(episode.action).max() <= 1.0
    # The environment executed the disturbed actions: playing them again gives the same states.
    env = t.make()
    env.reset(seed=0)
    for step, action in enumerate(episode.action):
        obs, *_ = env.step(action)
        assert np.array_equal(obs["state"], episode.obs["state"][step + 1])


@pytest.mark.parametrize(
    ("sigma", "kwargs", "say"),
    [
        (-0.1, {}, "noise is -0.1"),
        (np.nan, {}, "noise is nan"),
        ([0.1, 0.1, 0.1], {}, "one for each of 2"),
        (0.1, {"probability": 1.5}, "probability 1.5"),
        (0.1, {"persistence": 1.0}, "persistence 1.0"),
    ],
)
def test_noise_out_of_range_is_refused(sigma: object, kwargs: dict[str, float], say: str) -> None:
    with pytest.raises(ValueError, match=say):
        NoisyExecution(sigma, BOX, **kwargs)


def test_noise_needs_continuous_bounded_actions() -> None:
    with pytest.raises(TypeError, match="discrete"):
        NoisyExecution(0.1, ActionSpec.discrete(3))
    with pytest.raises(ValueError, match="infinite"):
        NoisyExecution(0.1, ActionSpec.unbounded(2))


def test_the_docs_quote_the_committed_figures() -> None:
    root = Path(__file__).parents[1]
    record = json.loads((root / "benchmarks" / "results" / "experts.json").read_text())
    rows = [
        line
        for line in (root / "docs" / "environments.md").read_text().splitlines()
        if line.startswith("| `")
    ]
    assert [*record["experts"]] == SCRIPTED
    assert len(rows) == len(SCRIPTED)
    for row, (name, e) in zip(rows, record["experts"].items(), strict=True):
        rate, total = (
            f"{x['value']:{f}} [{x['low']:{f}}, {x['high']:{f}}]"
            for x, f in ((e["success"], ".2f"), (e["return"], ".1f"))
        )
        noisy, speed = f"{e['success_with_noise']['value']:.2f}", f"{e['steps_per_cpu_second']}"
        cells = [c.strip() for c in row.strip("|").split("|")]
        assert [cells[0], *cells[3:]] == [f"`{name}`", rate, total, f"{e['steps']:g}", noisy, speed]
