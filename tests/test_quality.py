"""Inspecting demonstrations: numbers are right, faults are found where they were put, and nowhere else."""

from __future__ import annotations

import json

import numpy as np
import pytest

from understudy.dataset import Dataset
from understudy.episode import Episode
from understudy.quality import inspect


def episode(number: int, steps: int = 40, **changes: object) -> Episode:
    """A smooth reach towards a goal, different for every number."""
    rng = np.random.default_rng(number)
    t = np.linspace(0, 1, steps + 1)[:, None]
    start, goal = rng.uniform(-1, 1, (2, 3))
    state = start + (goal - start) * (3 * t**2 - 2 * t**3)
    obs = {"state": state, "goal": np.repeat(goal[None], steps + 1, 0)}
    given = {
        "reward": np.ones(steps),
        "success": True,
        "meta": {"task": "reach", "operator": "ann"},
    } | changes
    obs = given.pop("obs", obs)
    action = given.pop("action", np.diff(state, axis=0))
    return Episode.demonstration(obs, action, **given)


def good(count: int = 20) -> list[Episode]:
    return [episode(i) for i in range(count)]


def kinds(episodes: list[Episode], **options: object) -> dict[str, tuple[int, ...]]:
    return {f.kind: f.episodes for f in inspect(Dataset(episodes), **options).findings}


def test_good_demonstrations_have_no_findings() -> None:
    assert kinds(good()) == {}


def test_the_summary_counts_and_measures() -> None:
    episodes = [*good(9), episode(9, 20, success=False, meta={"operator": "bob"}), episode(10, success=None)]
    found = inspect(Dataset(episodes))
    said = found.summary()
    assert said["episodes"] == 11
    assert said["steps"] == 10 * 40 + 20
    assert said["lengths"] == {"min": 20, "median": 40.0, "max": 40}
    assert said["success"] == {"known": 10, "share": 0.9}
    assert said["facts"] == {"task": {"reach": 10}, "operator": {"ann": 10, "bob": 1}}
    assert found.labelled == 1.0
    assert found.episodes[3].measures["return"] == 40.0
    assert json.loads(found.to_json())["findings"][0]["kind"] == "failures"
    text = "\n".join(found.lines())
    assert "11 episodes, 420 steps: 20 to 40 steps each, median 40" in text
    assert "9 of the 10 episodes that say" in text
    assert "bob (1)" in text


def test_columns_have_the_moments_of_all_values() -> None:
    episodes = good(5)
    found = {c.name: c for c in inspect(Dataset(episodes)).columns}
    assert list(found)[:3] == ["state[0]", "state[1]", "state[2]"]
    x = np.concatenate([e.obs["state"][:, 1] for e in episodes]).astype(np.float64)
    c = found["state[1]"]
    assert (c.low, c.high) == (x.min(), x.max())
    assert (c.mean, c.std) == (pytest.approx(x.mean(), rel=1e-12), pytest.approx(x.std(), rel=1e-12))
    a = np.concatenate([e.action[:, 2] for e in episodes]).astype(np.float64)
    assert found["action[2]"].std == pytest.approx(a.std(), rel=1e-12)


def test_pictures_and_discrete_actions_are_measured_too() -> None:
    rng = np.random.default_rng(0)
    seen = rng.integers(0, 256, (13, 31, 4, 4, 3), dtype=np.uint8)
    chosen = rng.integers(0, 5, (13, 30))
    found = inspect(
        Dataset([Episode.demonstration({"cam": s}, a) for s, a in zip(seen, chosen, strict=True)])
    )
    names = {c.name: c for c in found.columns}
    assert set(names) == {"cam", "action"}
    assert names["cam"].mean == pytest.approx(seen.mean(), rel=1e-12)
    assert names["action"].high == 4
    assert set(found.episodes[0].measures) == {"length", "return", "labelled"}
    assert found.findings == ()
    assert len(found.rows()) == 2
    assert all(len(row) == 6 for row in found.rows())


def test_duplicates_are_named() -> None:
    episodes = [*good(10), episode(4), episode(4), episode(7)]
    assert kinds(episodes) == {"duplicates": (10, 11, 12)}
    [finding] = inspect(Dataset(episodes)).findings
    assert "4 = 10 = 11; 7 = 12" in finding.evidence


def test_clipped_actions_are_found_with_and_without_bounds() -> None:
    loud = [np.diff(episode(i).obs["state"], axis=0) for i in range(20)]
    limit = float(np.quantile(np.abs(np.concatenate(loud)[:, 1]), 0.8))
    clipped = [a.copy() for a in loud]
    for a in clipped:
        a[:, 1] = np.clip(a[:, 1], -limit, limit)
    episodes = [episode(i, action=a) for i, a in enumerate(clipped)]
    for options in ({}, {"bounds": ([-9, -limit, -9], [9, limit, 9])}):
        found = inspect(Dataset(episodes), **options)
        share = float((np.abs(np.concatenate(clipped)[:, 1]) >= np.float32(limit)).mean())
        [mine] = found.findings
        assert (mine.kind, mine.severity) == ("saturated", "info")
        assert f"steps: action[1] {share:.1%}" in mine.evidence
        row = next(r for r in found.rows() if r[0] == "action[1]")
        assert row[5] == f"{share:.0%} at its extremes"
    assert "saturated" not in kinds(episodes, bounds=(-9, 9))
    with pytest.raises(ValueError, match="do not fit actions of width 3"):
        inspect(Dataset(episodes), bounds=([-1, -1], [1, 1]))
    with pytest.raises(ValueError, match="low bounds must be below"):
        inspect(Dataset(episodes), bounds=(1, -1))


def test_a_gripper_that_opens_and_closes_is_a_switch_and_not_saturated() -> None:
    episodes = []
    for e in good():
        grip = np.where(np.arange(len(e)) < 20, -1.0, 1.0)[:, None]
        episodes.append(Episode.demonstration(e.obs, np.hstack([e.action, grip]), e.reward, success=True))
    found = inspect(Dataset(episodes))
    assert found.findings == ()
    assert found.rows()[-1][5] == "switch"


def test_a_frozen_sensor_is_found_and_a_goal_is_not_one() -> None:
    episodes = good()
    for i in (3, 11):
        seen = {k: np.array(v) for k, v in episodes[i].obs.items()}
        seen["state"][:, 2] = seen["state"][0, 2]
        episodes[i] = episode(i, obs=seen)
    assert kinds(episodes) == {"stuck": (3, 11)}
    [finding] = inspect(Dataset(episodes)).findings
    assert "state[2] does not change in episodes 3, 11" in finding.evidence


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_pauses_are_found_in_any_units(scale) -> None:
    episodes = []
    for i in range(20):
        state = episode(i).obs["state"] * scale
        if i == 5:
            state = np.concatenate([np.repeat(state[:20], 1, 0), np.repeat(state[20:21], 60, 0), state[21:]])
        episodes.append(Episode.demonstration(state, np.diff(state, axis=0)))
    found = inspect(Dataset(episodes))
    assert {f.kind: f.episodes for f in found.findings} == {"pauses": (5,)}
    assert found.episodes[5].measures["paused"] == pytest.approx(59 / 99, abs=0.05)
    assert found.episodes[4].measures["paused"] < 0.15


def test_few_failed_odd_and_unlabelled_episodes_are_named() -> None:
    assert set(kinds(good(5))) == {"few"}
    failed = [*good(12), episode(12, success=False), episode(13, success=False)]
    assert kinds(failed) == {"failures": (12, 13)}
    assert kinds([*good(12), episode(12, 200), episode(13, 5)])["odd-lengths"] == (12, 13)
    e = episode(0)
    silent = [Episode(x.obs, x.action, x.label, np.zeros(len(x), bool), x.reward) for x in good()]
    assert inspect(Dataset(silent)).findings[0].severity == "error"
    half = Episode(e.obs, e.action, e.label, np.arange(len(e)) < 20, e.reward)
    found = inspect(Dataset([*good()[1:], half]))
    assert [f.kind for f in found.findings] == ["partly-labelled"]
    assert found.labelled == pytest.approx(19.5 / 20)


def test_constant_dimensions_are_named_and_actions_matter_more() -> None:
    episodes = []
    for e in good():
        seen = {"state": np.hstack([e.obs["state"], np.ones((len(e) + 1, 1))])}
        episodes.append(Episode.demonstration(seen, np.hstack([e.action, np.zeros((len(e), 1))])))
    found = inspect(Dataset(episodes))
    assert [(f.severity, f.kind) for f in found.findings] == [
        ("warning", "constant-action"),
        ("info", "constant-observation"),
    ]
    assert "action[3] never changes" in found.findings[0].evidence


def test_an_empty_dataset_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to inspect"):
        inspect(Dataset())
