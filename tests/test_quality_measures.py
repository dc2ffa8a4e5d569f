"""Measures of demonstrations: exact on made-up data, and as good as they claim on recorded ones."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from understudy.dataset import Dataset
from understudy.envs import task
from understudy.episode import Episode
from understudy.experts import ENDORSE
from understudy.numerics import auroc
from understudy.quality import FAULTS, MEASURES, Inspection, distance, inject, inspect, rank
from understudy.rollout import rollouts

RNG = np.random.default_rng


def driven(number: int, steps: int = 60, late: int = 0, **more: object) -> Episode:
    """A point pushed about by random but smooth velocities, recorded `late` steps after they act."""
    rng = RNG(number)
    push = np.convolve(rng.normal(size=steps + 20), np.ones(3) / 3, "valid")[:steps]
    state = np.concatenate([[0.0], np.cumsum(push)])[:, None] + rng.normal()
    return Episode.demonstration(state, np.roll(push, late)[:, None], **more)


def values(found: Inspection, name: str) -> np.ndarray:
    return np.array([e.measures.get(name, np.nan) for e in found.episodes])


def kinds(found: Inspection) -> dict[str, tuple[int, ...]]:
    return {f.kind: f.episodes for f in found.findings}


# --- the table


def test_every_measure_is_in_the_table_and_every_fault_is_seen() -> None:
    seen = {fault for m in MEASURES.values() for fault in m.sees}
    assert seen == set(FAULTS)
    data = Dataset([driven(i, time=np.arange(61.0), meta={"dropped_frames": 0}) for i in range(12)])
    assert set(inspect(data).episodes[0].measures) == set(MEASURES)
    for m in MEASURES.values():
        assert m.worse or not (m.sees or m.advice), "what has no worse side sees nothing"


# --- lag


@pytest.mark.parametrize("late", [-2, -1, 1, 3])
def test_the_lag_is_the_number_of_steps_that_was_put_in(late: int) -> None:
    found = inspect(Dataset([driven(i, late=late if i in (3, 8) else 0) for i in range(20)]))
    lag = values(found, "lag")
    assert lag[[3, 8]] == pytest.approx([abs(late)] * 2, abs=0.3)
    assert np.delete(lag, [3, 8]).max() == 0
    assert kinds(found)["lag"] == (3, 8)
    assert "stands out in 2 of 20 episodes: 3, 8" in next(str(f) for f in found.findings if f.kind == "lag")


@pytest.mark.parametrize(("late", "kind"), [(2, "late-actions"), (-2, "delay"), (0, None)])
def test_a_lag_of_the_whole_set_is_told_and_is_no_episodes_fault(late: int, kind: str | None) -> None:
    found = inspect(Dataset([driven(i, late=late) for i in range(20)]))
    assert values(found, "lag").max() == 0
    assert (kind in kinds(found)) if kind else not {"late-actions", "delay", "lag"} & set(kinds(found))


def test_no_lag_is_claimed_where_actions_follow_smoothly_from_states() -> None:
    # A linear controller on slow states: any shift of its actions explains as much as any other.
    slow = [np.cumsum(np.cumsum(RNG(i).normal(size=(81, 1)), 0), 0) / 100 for i in range(12)]
    found = inspect(Dataset([Episode.demonstration(s, -s[:-1]) for s in slow]))
    assert np.isnan(values(found, "lag")).all()


def reaches(late: dict[int, int]) -> Dataset:
    """Pucks under a damped spring, pushed with a little noise: most of a push follows from the state."""
    rng = RNG(0)
    place, speed = rng.uniform(-1, 1, (20, 2)), np.zeros((20, 2))
    states, pushes = [np.hstack([place, speed])], []
    for _ in range(50):
        pushes.append(-2 * place - 2 * speed + rng.normal(0, 0.05, (20, 2)))
        speed = speed + pushes[-1] / 25
        place = place + speed / 25
        states.append(np.hstack([place, speed]))
    seen, acted = np.stack(states, 1), np.stack(pushes, 1)
    return Dataset(
        Episode.demonstration(s, np.roll(a, late.get(i, 0), 0))
        for i, (s, a) in enumerate(zip(seen, acted, strict=True))
    )


@pytest.mark.parametrize("late", [{}, {3: 2}, {3: 4}, {3: -3, 7: 1}])
def test_what_the_state_foretells_of_actions_is_taken_for_no_lag(late: dict[int, int]) -> None:
    lag = values(inspect(reaches(late)), "lag")
    assert np.flatnonzero(lag).tolist() == sorted(late)
    assert [round(float(lag[i])) for i in late] == [abs(k) for k in late.values()]


@pytest.mark.parametrize("walks", [False, True])
def test_answering_to_noise_in_what_is_seen_is_not_acting_late(walks: bool) -> None:
    # The actions do nothing here, but hold the noise of the state they answer to, as the change before does.
    gain = RNG(1).normal(size=(4, 2))
    seen = [RNG(i).normal(size=(81, 4)) for i in range(20)]
    seen = [s.cumsum(0) for s in seen] if walks else seen
    acted = [s[:-1] @ gain + RNG(i).normal(0, 0.02, (80, 2)) for i, s in enumerate(seen)]
    found = inspect(Dataset(map(Episode.demonstration, seen, acted)))
    assert not {"late-actions", "delay", "lag"} & set(kinds(found))


def test_no_lag_is_looked_for_in_a_few_steps() -> None:
    found = inspect(Dataset([driven(i, 11, late=2) for i in range(20)]))
    assert np.isnan(values(found, "lag")).all()
    assert "late-actions" not in kinds(found)


# --- time


def test_jitter_gaps_and_dropped_frames_are_counted() -> None:
    even = np.arange(61) * 0.02
    wide = even.copy()
    wide[30:] += 0.04  # one step of three
    jittery = np.concatenate([[0.0], np.cumsum(0.02 * np.where(np.arange(60) % 2, 0.9, 1.1))])
    times = [even] * 10 + [wide, jittery, None]
    lost = [{"dropped_frames": 7} if i == 4 else {} for i in range(13)]
    episodes = [driven(i, time=t, meta=m) for i, (t, m) in enumerate(zip(times, lost, strict=True))]
    found = inspect(Dataset(episodes))
    assert values(found, "gaps").tolist()[:12] == [0] * 10 + [1, 0]
    assert values(found, "longest_gap")[[0, 10]] == pytest.approx([1, 3])
    assert values(found, "jitter")[[0, 10, 11]] == pytest.approx([0, 0, 0.1], abs=1e-6)
    assert "jitter" not in found.episodes[12].measures
    assert found.episodes[4].measures["dropped_frames"] == 7
    said = kinds(found)
    assert (said["gaps"], said["jitter"], said["dropped"]) == ((10,), (11,), (4,))
    assert "7 frames were lost while recording, 0.89% of all, in episode 4" in str(found.findings)


def test_a_clock_that_is_bad_everywhere_is_told_of_the_set() -> None:
    times = [np.cumsum(RNG(i).uniform(0.2, 1.4, 61)) for i in range(12)]
    found = inspect(Dataset([driven(i, time=t) for i, t in enumerate(times)]))
    assert "uneven-time" in kinds(found)


@pytest.mark.parametrize("lost", [10**400, float("inf"), float("nan"), -3, "many"])
def test_what_a_file_claims_of_its_frames_is_not_believed_blindly(lost: object) -> None:
    wild = np.concatenate([[-1e308], np.arange(59.0), [1e308]])
    found = inspect(Dataset([driven(i, meta={"dropped_frames": lost}, time=wild) for i in range(12)]))
    assert "dropped_frames" not in found.episodes[0].measures
    assert "dropped" not in kinds(found)
    assert found.episodes[0].measures["gaps"] == 2
    assert json.loads(found.to_json())


# --- movement


def test_pauses_are_counted_on_the_way_and_not_at_its_ends() -> None:
    x = np.concatenate(
        [[0] * 9, np.arange(20), [20] * 7, np.arange(20, 40), [40] * 4, np.arange(40, 50), [49] * 9]
    )
    steady = [np.arange(len(x)) + 0.0 * i for i in range(11)]
    found = inspect(Dataset([Episode.demonstration(s * 1.0, np.diff(s * 1.0)) for s in (*steady, x)]))
    last = found.episodes[11].measures
    # From 19 to 20 it moves, and then 7 states of 20 and the first of the next ramp make 7 steps of rest.
    assert (last["pauses"], last["longest_pause"]) == (2, 7)
    assert kinds(found)["pauses"] == (11,)


def test_a_value_that_freezes_for_a_part_is_found() -> None:
    episodes = [driven(i) for i in range(15)]
    both = [np.hstack([e.obs["state"], np.cos(e.obs["state"] + i)]) for i, e in enumerate(episodes)]
    both[6][10:58, 1] = both[6][10, 1]
    found = inspect(
        Dataset([Episode.demonstration(s, e.action) for s, e in zip(both, episodes, strict=True)])
    )
    assert found.episodes[6].measures["frozen"] == pytest.approx(47 / 60, abs=0.1)
    assert kinds(found)["frozen"] == (6,)


def test_motion_can_be_named_and_is_then_measured_as_it_is() -> None:
    def walk(i: int) -> Episode:
        way = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]])
        points = np.concatenate([np.linspace(way[k], way[k + 1], 10)[k:] for k in range(2)])
        noise = RNG(i).normal(size=(len(points), 1))
        return Episode.demonstration({"hand": points, "noise": noise}, np.diff(points, axis=0))

    data = Dataset([walk(i) for i in range(4)])
    found = inspect(data, motion={"hand": (0, 1)})
    assert values(found, "path_ratio") == pytest.approx([1.4] * 4)
    with pytest.raises(KeyError, match="no low-dimensional observation 'foot'"):
        inspect(data, motion={"foot": (0,)})
    with pytest.raises(ValueError, match="no dimension 2"):
        inspect(data, motion={"hand": (2,)})


def test_an_angle_that_wraps_is_not_a_jump_once_it_is_named() -> None:
    reach = np.linspace(0, 1, 61) ** 2 * (3 - 2 * np.linspace(0, 1, 61))
    turning = [3 * reach + RNG(i).uniform(0, 6) for i in range(12)]
    wrapped = [(t + np.pi) % (2 * np.pi) - np.pi for t in turning]
    jumps = np.array([np.abs(np.diff(w)).max() > 3 for w in wrapped])
    assert 2 < jumps.sum() < 10
    data = Dataset([Episode.demonstration(w, np.ones(60)) for w in wrapped])
    blind, told = (values(inspect(data, angles=a), "jerk") for a in ({}, {"state": (0,)}))
    assert blind[jumps].max() < blind[~jumps].min() - 5, "a jump is a jolt"
    assert np.ptp(told) < 2


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_no_measure_depends_on_units(unit: float) -> None:
    def scaled(by: float) -> Dataset:
        episodes = [driven(i, late=2 * (i == 2), time=np.arange(61) ** 1.01 * by) for i in range(14)]
        state, action = [e.obs["state"] * by for e in episodes], [e.action * by for e in episodes]
        return Dataset(
            replace(e, obs={"state": s}, action=a, label=a)
            for e, s, a in zip(episodes, state, action, strict=True)
        )

    one, other = inspect(scaled(1.0)), inspect(scaled(unit))
    for name in set(MEASURES) - {"dropped_frames"}:
        assert values(other, name) == pytest.approx(values(one, name), rel=2e-3, abs=2e-3), name


# --- others


def test_disagreement_and_information_tell_who_acts_at_random() -> None:
    def act(i: int, noise: float) -> Episode:
        rng = RNG(i)
        s = rng.uniform(-1, 1, (80, 2)).cumsum(0)
        return Episode.demonstration(s, np.tanh(s[:-1]) + noise * rng.normal(size=(79, 2)))

    data = Dataset([act(i, 1.0 if i in (1, 9) else 0.0) for i in range(15)])
    found = inspect(data)
    bad = np.isin(np.arange(15), (1, 9))
    assert values(found, "disagreement")[bad].min() > 2 * values(found, "disagreement")[~bad].max()
    assert rank(data)[bad].max() < rank(data)[~bad].min()
    assert rank(data, chunk=3)[bad].max() < rank(data, chunk=3)[~bad].min()
    assert {w.index for w in found.worst[:2]} == {1, 9}
    assert (rank(data) == rank(data)).all()
    with pytest.raises(ValueError, match="chunk is 0"):
        rank(data, chunk=0)
    with pytest.raises(ValueError, match="nothing to rank"):
        rank(Dataset())


def test_discrete_choices_disagree_too() -> None:
    def choose(i: int, wrong: bool) -> Episode:
        s = RNG(i).uniform(-1, 1, (80, 1)).cumsum(0)
        c = (s[:-1] > 0).astype(np.int64)
        return Episode.demonstration(s, 1 - c if wrong else c)

    found = inspect(Dataset([choose(i, i == 5) for i in range(12)]))
    assert int(np.argmax(values(found, "disagreement"))) == 5
    assert kinds(found)["disagreement"] == (5,)


def test_what_the_demonstrator_meant_is_judged_and_not_the_noise_put_on_top() -> None:
    episodes = [driven(i) for i in range(12)]
    noisy = [replace(e, action=e.action + RNG(i).normal(size=e.action.shape)) for i, e in enumerate(episodes)]
    clean, put_on = inspect(Dataset(episodes)), inspect(Dataset(noisy))
    span = [np.concatenate([e.action for e in x]).std() for x in (episodes, noisy)]
    assert values(put_on, "action_noise") * span[1] == pytest.approx(values(clean, "action_noise") * span[0])


def test_success_settles_whether_something_is_unfinished() -> None:
    def go(i: int, to: int, success: bool | None) -> Episode:
        s = np.linspace(0, 10, 41)[: to + 1, None] + 0.1 * RNG(i).normal()
        return Episode.demonstration(s, np.diff(s, axis=0), success=success)

    for success, expected in ((None, (4,)), (True, None)):
        found = inspect(Dataset([go(i, 20 if i == 4 else 40, success) for i in range(20)]))
        assert found.episodes[4].measures["unfinished"] == pytest.approx(0.5, abs=0.06)
        assert kinds(found).get("unfinished") == expected


def test_near_twins_are_named_with_their_pair() -> None:
    episodes = [driven(i) for i in range(14)]
    copied = episodes[3].obs["state"] + 1e-4
    found = inspect(Dataset([*episodes, Episode.demonstration(copied, episodes[3].action)]))
    [finding] = [f for f in found.findings if f.kind == "near-duplicates"]
    assert finding.episodes == (3, 14)
    assert "3 ~ 14" in finding.evidence
    assert "duplicates" not in kinds(found)


def test_pictures_are_compared_only_where_the_rest_is_equal() -> None:
    frames = RNG(0).integers(0, 255, (61, 4, 4, 3), dtype=np.uint8)
    other = 255 - frames
    e = [driven(0), driven(1)]
    seen = [
        {"state": e[i].obs["state"], "cam": f} for i, f in ((0, frames), (0, other), (1, frames), (0, frames))
    ]
    found = inspect(
        Dataset([Episode.demonstration(o, e[i].action) for o, i in zip(seen, (0, 0, 1, 0), strict=True)])
    )
    assert kinds(found)["duplicates"] == (3,)


def test_of_many_pictures_some_are_looked_at() -> None:
    frames = np.broadcast_to(np.arange(5000)[:, None, None, None] % 250, (5000, 1, 1, 1)).astype(np.uint8)
    parts = np.split(frames, [1000, 3001])
    found = inspect(Dataset([Episode.demonstration({"cam": p}, np.ones(len(p) - 1)) for p in parts]))
    [column] = [c for c in found.columns if c.name == "cam"]
    assert (column.low, column.high) == (0, 249)
    assert column.mean == pytest.approx(frames.mean(), rel=0.01)


def test_distance_is_one_among_themselves_and_grows_with_the_way() -> None:
    data = Dataset([driven(i) for i in range(20)])
    more = Dataset([driven(i) for i in range(20, 30)])
    far = Dataset([replace(e, obs={"state": e.obs["state"] + 60}) for e in more])
    assert 0.3 < np.median(distance(data, more)) < 3
    assert distance(data, far).min() > 20
    with pytest.raises(ValueError, match="at least 3 and 1"):
        distance(data[:2], more)
    with pytest.raises(ValueError, match="differ from the others"):
        distance(data, Dataset([Episode.demonstration(np.zeros((4, 2)), np.zeros(3))]))


# --- origins


def test_operators_are_compared_with_intervals() -> None:
    who = ["ann"] * 12 + ["bob"] * 12 + ["eve"]
    episodes = [
        driven(i, 60 if w == "ann" else 90, success=w == "ann", meta={"operator": w})
        for i, w in enumerate(who)
    ]
    found = inspect(Dataset(episodes))
    assert set(found.operators) == {"ann", "bob"}
    assert found.operators["ann"]["success"].value == 1.0
    assert found.operators["bob"]["length"].value == 90
    assert {"operators-success", "operators-length"} <= set(kinds(found))
    assert found.summary()["operators"]["bob"]["success"]["n"] == 12
    assert any(line.startswith("operator ann: success 1.0") for line in found.lines())
    assert "imbalance" in kinds(found)
    alike = inspect(Dataset([replace(e, meta={"operator": "ab"[i % 2]}) for i, e in enumerate(episodes)]))
    assert not {"operators-success", "operators-length", "imbalance"} & set(kinds(alike))


def test_one_start_for_all_is_told() -> None:
    centred = [driven(i) for i in range(12)]
    same = [replace(e, obs={"state": e.obs["state"] - e.obs["state"][0]}) for e in centred]
    assert "one-start" in kinds(inspect(Dataset(same)))
    assert "one-start" not in kinds(inspect(Dataset(centred)))


# --- faults


def test_a_fault_touches_what_it_says_and_nothing_else() -> None:
    data = Dataset([driven(i, meta={"seed": i}) for i in range(20)])
    for fault in FAULTS:
        worse, bad = inject(data, fault, seed=3)
        again, same = inject(data, fault, seed=3)
        assert bad.sum() == 6
        assert (bad == same).all()
        assert all(a == b for a, b in zip(worse, again, strict=True))
        for e, was, touched in zip(worse, data, bad, strict=True):
            assert dict(e.meta) == dict(was.meta)
            assert touched or replace(e, time=None) == was
        changed = [e != was for e, was, touched in zip(worse, data, bad, strict=True) if touched]
        assert sum(changed) >= 5, f"{fault}: an action that never leaves half the range has nothing to clip"
    with pytest.raises(KeyError, match="there is no fault 'rust'"):
        inject(data, "rust")
    with pytest.raises(ValueError, match="share is 2"):
        inject(data, "noise", share=2)


# --- as good as they claim: 100 recorded demonstrations, 30 % of them spoilt, of two tasks


@cache
def demonstrations(name: str) -> Dataset:
    t = task(name)
    assert t.expert is not None
    return Dataset(rollouts(t.make, t.expert(), range(100), ENDORSE, max_steps=80))


CLAIMS = [
    *(("fetch-pick-place", fault) for fault in FAULTS),
    # The rest is of arrays alone, whatever the task; benchmarks/quality.py has them all, on five seeds.
    *(("pendulum", fault) for fault in ("noise", "sensor-noise", "lag", "pauses", "truncation")),
]


@pytest.mark.parametrize(("name", "fault"), CLAIMS)
def test_each_measure_sees_what_it_claims_to_see(name: str, fault: str) -> None:
    worse, bad = inject(demonstrations(name), fault, seed=0)
    found = inspect(worse)
    for measure, m in MEASURES.items():
        if fault in m.sees:
            x = values(found, measure)
            x = np.where(np.isnan(x), np.nanmedian(x), x)  # too short to be measured: nothing is claimed
            assert auroc(x if m.worse == "high" else -x, bad) > 0.9, measure
    first = [w.index for w in found.worst[: bad.sum()]]
    assert bad[first].sum() >= 0.8 * bad.sum(), "the spoilt ones are those to look at first"


@pytest.mark.parametrize("name", ["pendulum", "fetch-pick-place"])
def test_sound_demonstrations_raise_no_alarm(name: str) -> None:
    # Some Fetch episodes start solved and last one step, which is odd indeed; a swing-up is often flat out.
    warned = {f.kind for f in inspect(demonstrations(name)).findings if f.severity != "info"}
    assert warned <= {"odd-lengths", "saturated"}
