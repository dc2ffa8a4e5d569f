"""SafeDAgger and LazyDAgger: who drives when, what is labelled, and what the safety classifier knows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from understudy.agent import Agent, Chunked
from understudy.dataset import Dataset
from understudy.envs import Task, task
from understudy.episode import EXPERT, Episode
from understudy.experts import PolicyExpert
from understudy.experts.gates import Gate
from understudy.heads import Categorical, Deterministic
from understudy.interactive import lazy_dagger, safe_dagger
from understudy.interactive.base import State
from understudy.interactive.safety import Discrepancy, Safety, classified, cross_fitted
from understudy.learn import bc
from understudy.nets import MLP
from understudy.numerics import wilson
from understudy.record import demonstrate
from understudy.rollout import rollouts
from understudy.serial import read_tree, write_tree
from understudy.supervision import Supervision

NET = MLP((16, 16), "tanh")


class Says:
    """A classifier that calls states unsafe whose number is in a list."""

    def __init__(self, unsafe: list[int]) -> None:
        self.unsafe = unsafe

    def act(self, obs: Any) -> Any:
        return np.array([int(int(obs["state"][0]) in self.unsafe)])


def driven(gate: Gate, proposed: list[float], wanted: list[float]) -> tuple[list[bool], int]:
    """Who drives in states 0, 1, 2, ..., and how often the expert was asked."""
    asked = 0

    def ask() -> Any:
        nonlocal asked
        asked += 1
        return np.array([wanted[i]])

    held, drove = False, []
    gate.reset(0)
    for i in range(len(proposed)):
        held = gate.takes({"state": np.array([float(i)])}, np.array([proposed[i]]), held, ask)
        drove.append(held)
    return drove, asked


def agent_of(data: Dataset, steps: int = 0, seed: int = 0) -> Agent:
    agent = Agent.build(data, NET, Deterministic(), seed=seed)
    learner = bc.Learner(agent, data, bc.Config(seed=seed))
    for _ in range(steps):
        learner.step()
    return agent


def state_of(data: Dataset, agent: Agent | None, i: int = 0, which: Task | None = None) -> State:
    return State(i, data, len(data), agent, None, which, 0)


def episodes(n: int, steps: int, seed: int, scale: float = 1.0, noise: float = 0.0) -> Dataset:
    """Random states [2]; the label is scale × (x₀, x₁²), with noise."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(n):
        x = rng.uniform(-1, 1, (steps + 1, 2))
        a = np.stack([x[:-1, 0], x[:-1, 1] ** 2], 1) + noise * rng.standard_normal((steps, 2))
        made.append(Episode.demonstration(x, scale * a))
    return Dataset(made)


def test_safe_drives_exactly_where_the_classifier_says_so_and_asks_nobody() -> None:
    gate: Any = safe_dagger.WhereUnsafe(Says([1, 2, 4]))  # type: ignore[arg-type]
    drove, asked = driven(gate, [0.0] * 6, [9.0] * 6)
    assert drove == [False, True, True, False, True, False]
    assert asked == 0


def test_lazy_takes_over_on_a_prediction_and_hands_back_on_the_truth() -> None:
    data = episodes(1, 50, 0)
    apart = Discrepancy(agent_of(data))
    apart.scale = np.array([1.0])
    gate: Any = lazy_dagger.UntilAgreed(Says([1, 4]), apart, below=0.25)  # type: ignore[arg-type]
    # Squared distances in states 0 to 6: he comes in state 1; 1 and .36 keep him, .16 lets him go; in state 4
    # he comes again and stays to the end, since at β_R itself he does not hand back.
    drove, asked = driven(gate, [0.0] * 7, [5.0, 5.0, 1.0, 0.4, 9.0, 0.5, 0.6])
    assert drove == [False, True, True, False, True, True, True]
    assert asked == 4  # in states 2, 3, 5 and 6: before he drives, he is not asked


def test_a_discrepancy_does_not_know_the_unit_of_the_actions() -> None:
    one, thousand = (Discrepancy(agent_of(episodes(2, 40, 0, s))) for s in (1.0, 1000.0))
    a, b = np.array([[0.3, 0.2], [1.0, -1.0]]), np.array([[0.1, 0.2], [0.0, 0.0]])
    np.testing.assert_allclose(one(a, b), thousand(1000 * a, 1000 * b), rtol=1e-4)
    std = np.concatenate([e.label for e in episodes(2, 40, 0)]).std(0)
    np.testing.assert_allclose(one(a, b), (((a - b) / std) ** 2).sum(1), rtol=1e-4)


def test_discrete_choices_differ_or_do_not() -> None:
    e = Episode.demonstration(np.zeros((4, 1)), np.array([0, 2, 1]))
    apart = Discrepancy(Agent.build(Dataset([e]), NET, Categorical(3)))
    assert apart(np.array([[2], [1]]), np.array([[0], [1]])).tolist() == [1.0, 0.0]


def test_held_out_policies_show_the_noise_that_a_fitted_one_has_learned_by_heart() -> None:
    # Labels are pure noise of variance 1 a dimension: nobody who has not seen them comes nearer than that.
    rng = np.random.default_rng(0)
    data = Dataset(
        Episode.demonstration(rng.uniform(-1, 1, (21, 8)), rng.standard_normal((20, 2))) for _ in range(4)
    )
    big = Agent.build(data, MLP((128, 128), "gelu"), Deterministic())
    learner = bc.Learner(big, data)
    for _ in range(300):
        learner.step()
    w = data.windows()
    batch = w.batch(np.arange(len(w)))
    fitted = Discrepancy(big)(big.act({k: v[:, 0] for k, v in batch.obs.items()}), batch.action[:, 0])
    seen, gap = cross_fitted(big, data, 300, 0)
    assert len(gap) == 80
    assert fitted.mean() < 0.2
    assert gap.mean() > 1.5
    # Every state is there once, beside its own discrepancy.
    assert sorted(map(tuple, seen["state"])) == sorted(map(tuple, batch.obs["state"][:, 0]))


def test_discrepancies_lie_beside_their_states() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (8, 41, 2))
    coin = rng.choice([-1.0, 1.0], (8, 40, 1))  # nobody can know it where x₀ > .5; elsewhere the label is 0
    data = Dataset(
        Episode.demonstration(s, np.where(s[:-1, :1] > 0.5, c, 0.0)) for s, c in zip(x, coin, strict=True)
    )
    seen, gap = cross_fitted(agent_of(data), data, 200, 0)
    hard = seen["state"][:, 0] > 0.5
    assert np.median(gap[hard]) > 10 * np.median(gap[~hard])


def test_one_labelled_episode_holds_nothing_out() -> None:
    e = episodes(2, 10, 0)
    silent = replace(e[1], labelled=np.zeros(10, np.bool_))
    with pytest.raises(ValueError, match="1 episodes have labels; at least 2 are needed"):
        cross_fitted(agent_of(e), Dataset([e[0], silent]), 1, 0)


def test_the_classifier_tells_rare_states_on_fresh_ones() -> None:
    # Unsafe are 6 % of the states. With n = 2000 fresh states, both kinds of error are held below 10 % by the
    # bound of a 95 % Wilson interval.
    rng = np.random.default_rng(0)
    data = episodes(2, 10, 0)

    def drawn(n: int) -> tuple[dict[str, Any], Any]:
        x = rng.uniform(-1, 1, (n, 2)).astype(np.float32)
        return {"state": x}, x[:, 0] + x[:, 1] > 1.3

    seen, unsafe = drawn(2000)
    classifier = classified(agent_of(data), seen, unsafe, 300, 0)
    fresh, truth = drawn(2000)
    said = classifier.act(fresh)[:, 0] == 1
    assert 0.03 < truth.mean() < 0.1
    for kind in (truth, ~truth):
        assert wilson(int((said == truth)[kind].sum()), int(kind.sum())).low > 0.9


@pytest.mark.parametrize("all_of_them", [True, False])
def test_where_all_states_are_alike_the_classifier_says_so_everywhere(all_of_them: bool) -> None:
    data = episodes(2, 20, 0)
    seen = {"state": np.concatenate([e.obs["state"][:-1] for e in data])}
    classifier = classified(agent_of(data), seen, np.full(40, all_of_them), 100, 0)
    assert (classifier.act(seen)[:, 0] == int(all_of_them)).all()


def test_the_threshold_is_found_once_and_the_unsafe_share_falls_as_the_policy_learns() -> None:
    safety = Safety(None, unsafe=0.25, fit_steps=300)
    few, many = episodes(2, 15, 0), episodes(20, 20, 0)
    first = safety.fit(state_of(few, agent_of(few)))
    assert first["unsafe"] == pytest.approx(0.25, abs=0.02)
    later = safety.fit(state_of(many, agent_of(many), 1))
    assert later["threshold"] == first["threshold"]
    assert later["unsafe"] < 0.5 * first["unsafe"]


def test_what_was_found_survives_the_disk(tmp_path: Path) -> None:
    data = episodes(4, 20, 0)
    agent = agent_of(data, 50)
    for module in (safe_dagger, lazy_dagger):
        mine, other = (
            module.Method(PolicyExpert(task("fetch-reach").expert()), module.Config(fit_steps=60), 3)  # type: ignore[misc]
            for _ in range(2)
        )
        with pytest.raises(ValueError, match="not been fitted"):
            mine.supervisor(state_of(data, agent))
        mine.adapt(state_of(data, agent))
        write_tree(tmp_path / "state", mine.state_dict())
        other.load_state_dict(read_tree(tmp_path / "state"))
        assert other.safety.threshold == mine.safety.threshold
        seen = {"state": np.random.default_rng(1).uniform(-2, 2, (200, 2)).astype(np.float32)}
        said = [m.safety.fitted()[1].act(seen) for m in (mine, other)]
        assert 0 < said[0].sum() < 200
        np.testing.assert_array_equal(*said)
        # And both find the same in the round that follows.
        more = state_of(data + episodes(2, 20, 5), agent, 1)
        assert mine.adapt(more) == other.adapt(more)
        assert mine.adapt(replace(more, round=3)) == {}  # nothing is collected after the last
        with pytest.raises(ValueError, match="threshold and classifier"):
            other.load_state_dict({})


@pytest.fixture(scope="module")
def swung() -> dict[str, list[Episode]]:
    """Both methods in the same 12 episodes of the pendulum, beside one policy, with one classifier."""
    which = task("pendulum")
    demos = demonstrate(which, range(6))
    agent = agent_of(demos, 200)
    state = state_of(demos, agent, 0, which)
    assert which.expert is not None
    expert = PolicyExpert(which.expert())
    lazy = lazy_dagger.Method(expert, lazy_dagger.Config(fit_steps=150, unsafe=0.5), 2)
    lazy.adapt(state)
    safe = safe_dagger.Method(expert, safe_dagger.Config(fit_steps=150, unsafe=0.5), 2)
    safe.load_state_dict(lazy.state_dict())
    seeds = range(500, 512)
    return {
        name: rollouts(which.make, Chunked(agent), seeds, *m.supervisor(state))
        for name, m in (("safe", safe), ("lazy", lazy))
    }


def test_hysteresis_halves_the_switches(swung: Any) -> None:
    # Per episode, twice Lazy's switches less Safe's, over n = 12 paired episodes: the upper end of a 95 %
    # bootstrap interval of its mean is below zero, and no success is lost.
    each = {
        name: np.array([Supervision.of([e]).context_switches for e in found]) for name, found in swung.items()
    }
    over = 2 * each["lazy"] - each["safe"]
    means = np.random.default_rng(0).choice(over, (4000, len(over))).mean(1)
    assert np.quantile(means, 0.975) < 0
    assert sum(bool(e.success) for e in swung["lazy"]) >= sum(bool(e.success) for e in swung["safe"])


def test_labels_are_kept_where_the_expert_drives_and_nowhere_else(swung: Any) -> None:
    for found in swung.values():
        for e in found:
            np.testing.assert_array_equal(e.labelled, e.control == EXPERT)
        assert 0 < sum(int(e.labelled.sum()) for e in found) < sum(map(len, found))


def test_lazy_disturbs_what_is_executed_and_not_what_is_taught(swung: Any) -> None:
    which = task("pendulum")
    assert which.expert is not None
    expert = which.expert()
    for name, disturbed in (("safe", False), ("lazy", True)):
        for e in swung[name]:
            expert.reset(0)
            wanted = np.stack([expert.act({k: v[i] for k, v in e.obs.items()}) for i in range(len(e))])
            np.testing.assert_array_equal(e.label[e.labelled], wanted[e.labelled])
            assert bool((e.action != e.label)[e.labelled].any()) == disturbed
            np.testing.assert_array_equal(e.action[~e.labelled], e.label[~e.labelled])


def test_without_bounds_the_range_of_the_labels_stands_in_for_them() -> None:
    data = episodes(4, 50, 0)
    lazy = lazy_dagger.Method(PolicyExpert(Chunked(agent_of(data))), lazy_dagger.Config(fit_steps=20), 2)
    state = state_of(data, agent_of(data))
    lazy.adapt(state)
    disturb = lazy.supervisor(state)[0].disturb  # type: ignore[attr-defined]
    every = np.concatenate([e.label for e in data])
    np.testing.assert_array_equal(disturb.spec.low, every.min(0))
    np.testing.assert_array_equal(disturb.spec.high, every.max(0))


def test_choices_cannot_be_disturbed() -> None:
    e = Episode.demonstration(np.zeros((4, 1)), np.array([0, 2, 1]))
    data = Dataset([e, e])
    agent = Agent.build(data, NET, Categorical(3))
    for noise, fine in ((0.0, True), (0.1, False)):
        lazy = lazy_dagger.Method(
            PolicyExpert(Chunked(agent)), lazy_dagger.Config(fit_steps=5, noise=noise), 2
        )
        state = state_of(data, agent)
        assert lazy.adapt(state)["threshold"] == 0.5
        if fine:
            lazy.supervisor(state)
            continue
        with pytest.raises(ValueError, match=r"noise is 0\.1, but actions are discrete choices; set it to 0"):
            lazy.supervisor(state)


@pytest.mark.parametrize("module", [safe_dagger, lazy_dagger])
def test_without_a_policy_nobody_can_be_unsafe(module: Any) -> None:
    method = module.Method(PolicyExpert(Chunked(agent_of(episodes(2, 5, 0)))), module.Config(), 2)
    with pytest.raises(ValueError, match="give demonstrations"):
        method.adapt(state_of(Dataset(), None))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"threshold": 0.0}, "threshold is 0.0"),
        ({"unsafe": 1.0}, "unsafe is 1.0"),
        ({"fit_steps": 0}, "fit_steps is 0"),
        ({"hand_back": 1.5}, "hand_back is 1.5"),
        ({"hand_back": 0.0}, "hand_back is 0.0"),
        ({"noise": -1.0}, "noise is -1.0"),
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        lazy_dagger.Config(**wrong)
    if next(iter(wrong)) in ("threshold", "unsafe", "fit_steps"):
        with pytest.raises(ValueError, match=said):
            safe_dagger.Config(**wrong)
