"""The slip road does what its two formulas say, to the last digit, and behaves like any task."""

from __future__ import annotations

import pickle
from functools import partial
from itertools import pairwise

import numpy as np
import pytest

from understudy.envs import check, cloning_cost, dagger_cost, task, tasks, worlds
from understudy.envs.slip_road import SlipRoad
from understudy.experts import ENDORSE, Gated, Never, PolicyExpert
from understudy.experts.slip_road import RETURN, Road, SlipRoadExpert
from understudy.record import demonstrate
from understudy.rollout import rollout, rollouts

TABLE = {  # T: (cloning, DAgger), to the digits that are published
    16: ("0.47", "0.060"),
    32: ("1.91", "0.124"),
    64: ("7.44", "0.251"),
    128: ("27.7", "0.506"),
    256: ("95.6", "1.02"),
}


def chain(road: Road, act: dict[int, int]) -> float:
    """The expected cost of a policy from symbols to actions, by dynamic programming over all of the chain.

    The states are every (context, blank or not) on the road, and being off it.
    """
    seen = [(z, blank) for z in range(road.contexts) for blank in (False, True)]
    share = {s: (2 * road.epsilon if s[1] else 1 - 2 * road.epsilon) / road.contexts for s in seen}
    value_road = dict.fromkeys(seen, 0.0)
    value_off = 0.0
    for _ in range(road.horizon):
        arriving = sum(share[s] * value_road[s] for s in seen)
        off = 1.0 + (arriving if act[road.off] == RETURN else value_off)
        value_road = {
            (z, blank): arriving if act[road.blank if blank else z] == z % 2 else value_off
            for z, blank in seen
        }
        value_off = off
    return sum(share[s] * value_road[s] for s in seen)


def learned(road: Road, off: int, blank: int = 0) -> dict[int, int]:
    return {z: z % 2 for z in range(road.contexts)} | {road.blank: blank, road.off: off}


def proposes(proposed: np.ndarray, advice: np.ndarray | None) -> np.ndarray:
    """The policy drives, whatever the expert says."""
    return proposed


class Table:
    """A policy that looks its action up."""

    def __init__(self, act: dict[int, int]) -> None:
        self.action = act

    def reset(self, seed: int) -> None: ...

    def act(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        return np.array([self.action[int(obs["sign"].argmax())]])


@pytest.mark.parametrize("horizon", [1, 2, 3, 17, 64])
@pytest.mark.parametrize("epsilon", [0.0, 0.004, 0.1, 0.5])
@pytest.mark.parametrize("blank", [0, 1])
def test_the_exact_costs_are_those_of_dynamic_programming(horizon: int, epsilon: float, blank: int) -> None:
    road = Road(horizon, epsilon, contexts=4)
    stays = chain(road, learned(road, off=0, blank=blank))
    returns = chain(road, learned(road, off=RETURN, blank=blank))
    assert cloning_cost(horizon, epsilon) == pytest.approx(stays, abs=1e-12)
    assert dagger_cost(horizon, epsilon) == pytest.approx(returns, abs=1e-12)


def test_the_published_table_comes_out_to_its_digits() -> None:
    for horizon, texts in TABLE.items():
        for law, text in zip((cloning_cost, dagger_cost), texts, strict=True):
            digits = len(text.split(".")[1])
            assert f"{law(horizon, 0.004):.{digits}f}" == text


def test_the_exact_slopes_are_near_two_and_one() -> None:
    x = np.log([*TABLE])
    slopes = [
        np.polyfit(x, np.log([law(t, 0.004) for t in TABLE]), 1)[0] for law in (cloning_cost, dagger_cost)
    ]
    assert 1.9 < slopes[0] < 1.94
    assert 1.0 < slopes[1] < 1.03


def test_costs_are_bounded_by_what_is_proved() -> None:
    for t in TABLE:
        assert cloning_cost(t, 0.004) <= t**2 * 0.004
        assert dagger_cost(t, 0.004) <= t * 0.004


@pytest.mark.parametrize(("horizon", "epsilon"), [(-1, 0.1), (3, -0.1), (3, 1.1)])
def test_costs_refuse_what_is_no_probability(horizon: int, epsilon: float) -> None:
    for law in (cloning_cost, dagger_cost):
        with pytest.raises(ValueError, match="epsilon"):
            law(horizon, epsilon)


@pytest.mark.parametrize(
    ("numbers", "say"),
    [
        ((0,), "horizon is 0"),
        ((8, 0.6), "epsilon is 0.6"),
        ((8, 0.1, 3), "contexts is 3"),
        ((8, 0.1, 0), "even"),
    ],
)
def test_a_road_out_of_range_is_refused(numbers: tuple[float, ...], say: str) -> None:
    with pytest.raises(ValueError, match=say):
        Road(*numbers)


def test_the_world_is_a_task_that_the_checker_has_nothing_against() -> None:
    assert "slip-road" in worlds()
    assert not set(worlds()) & set(tasks())
    which = task("slip-road")
    env = pickle.loads(pickle.dumps(which.make))()
    assert (env.name, env.horizon, dict(env.obs), env.action) == (
        which.name, which.horizon, dict(which.obs), which.action,
    )  # fmt: skip
    assert [f for f in check(env) if f.severity != "info"] == []


def test_the_expert_knows_blank_signs_and_is_never_off() -> None:
    road = Road(horizon=200, epsilon=0.25)
    episodes = rollouts(partial(SlipRoad, road), SlipRoadExpert(road), range(20), ENDORSE)
    signs = np.concatenate([e.obs["sign"] for e in episodes])
    assert all(e.success and not e.reward.any() for e in episodes)
    assert not signs[:, road.off].any()
    # Half of the signs are blank; 4020 of them: five standard errors are 0.04.
    assert signs[:, road.blank].mean() == pytest.approx(0.5, abs=0.04)
    labels = np.concatenate([e.label[e.obs["sign"][:-1, road.blank] == 1, 0] for e in episodes])
    assert labels.mean() == pytest.approx(0.5, abs=0.06)  # and there the lane cannot be guessed: 2000 labels


def test_the_expert_needs_nothing_but_the_seed_and_what_is_seen_now() -> None:
    """Any order, any step left out: he reads off the milestone where he is, so a gate may ask him rarely."""
    road = Road(horizon=40, epsilon=0.3)
    episode = rollout(
        SlipRoad(road), Table(learned(road, off=0)), 7, PolicyExpert(SlipRoadExpert(road)), proposes
    )
    fresh = SlipRoadExpert(road)
    fresh.reset(7)
    for step in np.random.default_rng(0).permutation(len(episode)):
        assert np.array_equal(fresh.act({k: v[step] for k, v in episode.obs.items()}), episode.label[step])
    gated = Gated(PolicyExpert(SlipRoadExpert(road)), Never(), labels="all")
    assert np.array_equal(
        rollout(SlipRoad(road), Table(learned(road, off=0)), 7, gated, gated).label, episode.label
    )


def test_off_the_road_only_the_way_back_leads_back() -> None:
    road = Road(horizon=6, epsilon=0.0)
    for off, after in ((0, [1, 1, 1, 1, 1]), (1, [1, 1, 1, 1, 1]), (RETURN, [1, 0, 1, 0, 1])):
        wrong = {z: 1 - z % 2 for z in range(road.contexts)} | {road.blank: 0, road.off: off}
        episode = rollout(SlipRoad(road), Table(wrong), 0, PolicyExpert(SlipRoadExpert(road)), proposes)
        assert (-episode.reward).tolist() == [0, *after]
        assert episode.obs["sign"][1:, road.off].tolist() == [*after, 0 if off == RETURN else 1]
        assert episode.success is (off == RETURN)
        assert {*episode.label[episode.obs["sign"][:-1, road.off] == 1, 0].tolist()} == {RETURN}


def test_taking_the_way_back_while_on_the_road_leaves_it() -> None:
    env = SlipRoad(Road(horizon=2, epsilon=0.0))
    env.reset(seed=0)
    assert env.step(np.array([RETURN]))[0]["sign"][env.road.off] == 1
    with pytest.raises(ValueError, match="choices"):
        env.step(np.array([3]))
    env.step(np.array([0]))
    with pytest.raises(ValueError, match="the episode ended after 2 steps"):
        env.step(np.array([0]))


def test_milestones_count_the_steps_and_roads_follow_from_seeds() -> None:
    road = Road(horizon=64)
    env = SlipRoad(road)
    runs = [rollout(env, SlipRoadExpert(road), seed) for seed in (1, 2, 1)]
    assert np.array_equal(runs[0].obs["milestone"][:, 0] * 64, np.arange(65))
    assert runs[0] == runs[2]
    assert not np.array_equal(runs[0].obs["sign"], runs[1].obs["sign"])


def test_driving_costs_what_the_formulas_say() -> None:
    """600 roads of 32 steps at ε = 0.02; the bound is 4 standard errors, odds below 1 in 10 000."""
    road = Road(horizon=32, epsilon=0.02)
    for off, law in ((0, cloning_cost), (RETURN, dagger_cost)):
        episodes = rollouts(partial(SlipRoad, road), Table(learned(road, off)), range(600))
        costs = np.array([-e.total_reward for e in episodes])
        assert abs(costs.mean() - law(32, 0.02)) < 4 * costs.std() / np.sqrt(len(costs))


def test_recording_works_as_on_any_task() -> None:
    data = demonstrate(task("slip-road"), range(3))
    assert [len(e) for e in data] == [64] * 3
    assert all(data.successes)
    assert all(b > a for a, b in pairwise(data[0].obs["milestone"][:, 0]))
