"""Playing demonstrations back: what was recorded comes back to the last bit, what was altered does not."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from understudy.dataset import Dataset
from understudy.envs import Task, task
from understudy.experts import ENDORSE
from understudy.replay import replay
from understudy.rollout import rollouts


def recorded(name: str, seeds: range = range(3)) -> tuple[Task, Dataset]:
    t = task(name)
    assert t.expert is not None
    return t, Dataset(rollouts(t.make, t.expert(), seeds, ENDORSE))


@pytest.mark.parametrize("name", ["pendulum", "reacher", "fetch-push"])
def test_what_was_recorded_comes_back_bit_for_bit(name: str) -> None:
    t, data = recorded(name)
    found = replay(data, t, [2, 0])
    assert [(r.index, r.seed) for r in found] == [(2, 2), (0, 0)]
    for r in found:
        assert r.faithful
        assert (r.deviation, r.parted) == (0.0, None)
        assert set(r.deviations.values()) == {0.0}
        assert (r.steps, r.success) == (len(data[r.index]), data[r.index].success)
        assert "comes back" in str(r)
        assert json.loads(json.dumps(r.summary()))["faithful"] is True


def test_discrete_actions_and_registered_environments_are_played_too() -> None:
    from understudy.baselines import RandomPolicy

    t = task("CartPole-v1")
    data = Dataset(rollouts(t.make, RandomPolicy(t.action), range(2), ENDORSE))
    assert all(r.faithful for r in replay(data, t, range(2)))


def test_late_actions_part_from_the_recording() -> None:
    t, data = recorded("reacher")
    late = [replace(e, action=e.action[np.maximum(np.arange(len(e)) - 1, 0)]) for e in data]
    [r] = replay(Dataset(late), t, [1])
    assert not r.faithful
    # The first two actions are the same one; the second state is the first that can differ.
    assert r.parted == 2
    assert r.deviation > 0.1
    assert "parts from the recording at state 2" in str(r)


def test_what_is_executed_counts_and_not_the_label() -> None:
    t, data = recorded("pendulum", range(1))
    relabelled = Dataset([replace(data[0], label=-data[0].action)])
    assert replay(relabelled, t, [0])[0].faithful


def test_another_start_and_another_outcome_are_told() -> None:
    t, data = recorded("pendulum", range(1))
    moved = replace(data[0], meta=dict(data[0].meta) | {"seed": 7})
    [r] = replay(Dataset([moved]), t, [0])
    assert r.parted == 0
    lied = replace(data[0], success=not data[0].success)
    [r] = replay(Dataset([lied]), t, [0])
    assert (r.parted, r.faithful) == (None, False)
    assert "succeeds where the recording fails" in str(r)


def test_the_task_may_end_earlier() -> None:
    t, data = recorded("fetch-push", range(1))
    e = data[0]
    obs = {k: np.concatenate([v, np.repeat(v[-1:], 4, 0)]) for k, v in e.obs.items()}
    rows = np.append(np.arange(len(e)), np.full(4, len(e) - 1))
    longer = replace(e, obs=obs, action=e.action[rows], label=e.action[rows], labelled=e.labelled[rows],
                     reward=e.reward[rows])  # fmt: skip
    [r] = replay(Dataset([longer]), t, [0])
    assert (r.steps, r.recorded_steps, r.parted) == (len(e), len(e) + 4, None)
    assert not r.faithful
    assert f"ends after {len(e)} of {len(e) + 4} steps" in str(r)


def test_what_cannot_be_replayed_is_refused() -> None:
    t, data = recorded("pendulum", range(1))
    e = data[0]

    def meta(**facts: object) -> Dataset:
        return Dataset([replace(e, meta={k: v for k, v in (dict(e.meta) | facts).items() if v is not None})])

    for wrong, words in (
        (meta(task="reacher"), "is of task 'reacher'"),
        (meta(task=None), "does not say what task"),
        (meta(seed=None), "no seed"),
        (meta(seed="0"), "no seed"),
        (Dataset([replace(e, action=np.zeros((len(e), 2)), label=np.zeros((len(e), 2)))]), "width 2"),
        (Dataset([replace(e, obs={"other": e.obs["state"]})]), "nothing that was recorded can be compared"),
    ):
        with pytest.raises(ValueError, match=words):
            replay(wrong, t, [0])
    with pytest.raises(IndexError, match="no episode 1"):
        replay(data, t, [1])
    with pytest.raises(ValueError, match="tolerance is 0"):
        replay(data, t, [0], tolerance=0)
    assert replay(data, t, []) == []
