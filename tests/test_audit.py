"""An audit names the column and the number of every mark that tells demonstrations, and no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from understudy.dataset import Dataset
from understudy.envs import ActionSpec, Task, adapt
from understudy.episode import Array, Episode
from understudy.numerics import Estimate
from understudy.online.audit import Audit, audit, told_apart
from understudy.online.leaks import clipped

LIMIT = 20


class Drift:
    """Two numbers that actions and noise move, from a start that the seed draws; and one that never moves."""

    action = ActionSpec.box([-2.0, -1.0], [2.0, 1.0])

    def reset(self, *, seed: int) -> Any:
        self.rng = np.random.default_rng(seed)
        self.at = self.rng.normal(0.0, 0.5, 2)
        return self._seen()

    def step(self, action: Any) -> Any:
        self.at = 0.9 * self.at + 0.1 * np.asarray(action, np.float64) + self.rng.normal(0, 0.05, 2)
        return self._seen(), 1.0, False, False, {}

    def _seen(self) -> dict[str, Array]:
        return {"place": self.at.astype(np.float32), "unit": np.ones(1, np.float32)}


def make_drift() -> Any:
    return adapt(Drift(), horizon=LIMIT)


TASK = Task("drift", "a drift", make_drift, LIMIT, {"place": (2,), "unit": (1,)}, Drift.action)


def lived(seed: int) -> Episode:
    """An expert who holds the place near zero, never at a bound."""
    env, rng = make_drift(), np.random.default_rng([seed, 1])
    obs, _ = env.reset(seed=seed)
    seen, done = [obs], []
    for _ in range(LIMIT):
        action = np.clip(-0.8 * obs["place"] + rng.normal(0, 0.2, 2), [-1.9, -0.9], [1.9, 0.9])
        obs, *_ = env.step(action.astype(np.float32))
        seen.append(obs)
        done.append(action)
    columns = {k: np.stack([o[k] for o in seen]) for k in seen[0]}
    return Episode.demonstration(columns, np.stack(done))


@pytest.fixture(scope="module")
def demos() -> Dataset:
    return Dataset([lived(s) for s in range(12)])


def changed(data: Dataset, change: Callable[[Array, Array, int], tuple[Array, Array]]) -> Dataset:
    """`change` gets place [T + 1, 2], action [T, 2] and the episode's number."""
    made = []
    for i, e in enumerate(data):
        place, action = change(np.array(e.obs["place"]), np.array(e.action), i)
        made.append(Episode.demonstration({"place": place, "unit": np.array(e.obs["unit"])}, action))
    return Dataset(made)


def only(found: Audit, kind: str) -> str:
    assert [f.kind for f in found.findings] == [kind]
    return str(found.findings[0])


def test_honest_demonstrations_are_found_clean(demos: Dataset) -> None:
    found = audit(demos, TASK)
    assert found.findings == ()
    assert (found.episodes, found.steps) == (12, 12 * LIMIT)
    assert found.clipped == {"action[0]": 0.0, "action[1]": 0.0}
    assert found.halves is not None
    assert found.halves.low < 0.53
    assert found.halves.n == 12
    assert len(found.lines()) == 1
    assert "12 unseen episodes" in found.lines()[0]
    assert found.summary()["findings"] == []


def test_actions_exactly_at_a_bound_are_counted(demos: Dataset) -> None:
    def clip(place: Array, action: Array, i: int) -> tuple[Array, Array]:
        action[:5, 1] = [1.0, -1.0, 1.0, 1.0, -1.0]
        return place, action

    found = audit(changed(demos, clip), TASK)
    assert "25.0% of the demonstrations' steps have action[1] exactly at a bound" in only(found, "clipped")
    assert found.clipped == {"action[0]": 0.0, "action[1]": 0.25}
    rows = np.array([[-2.0, 0.0], [0.0, 0.999], [2.5, -1.0]], np.float32)
    assert clipped(rows, Drift.action.low, Drift.action.high).tolist() == pytest.approx([2 / 3, 1 / 3])


def test_actions_clipped_for_another_task_are_named(demos: Dataset) -> None:
    def clip(place: Array, action: Array, i: int) -> tuple[Array, Array]:
        action[:, 0] = np.clip(2 * action[:, 0], -0.5, 0.5)
        return place, action

    said = only(audit(changed(demos, clip), TASK), "other-bounds")
    assert "action[0] at ±0.5" in said
    assert "up to 2" in said


@pytest.mark.parametrize("rounded", [lambda x: np.round(x, 3), lambda x: x.astype(np.float16)])
def test_values_of_less_precision_are_named(demos: Dataset, rounded: Callable[[Array], Array]) -> None:
    def coarse(place: Array, action: Array, i: int) -> tuple[Array, Array]:
        place[:, 1] = rounded(place[:, 1])
        return place, action

    said = only(audit(changed(demos, coarse), TASK), "float-width")
    assert "100% of the demonstrations' values of place[1]" in said
    assert "place[0]" not in said


def test_a_clock_is_named(demos: Dataset) -> None:
    def clock(place: Array, action: Array, i: int) -> tuple[Array, Array]:
        place[:, 0] = place[0, 0] + 0.05 * np.arange(len(place))
        return place, action

    said = only(audit(changed(demos, clock), TASK), "time-like")
    assert "place[0]" in said
    assert "by 0.05 a step" in said


def test_what_stands_still_in_the_demonstrations_alone_is_named(demos: Dataset) -> None:
    def still(place: Array, action: Array, i: int) -> tuple[Array, Array]:
        place[:, 1] = 0.03
        return place, action

    found = audit(changed(demos, still), TASK)
    said = {f.kind: str(f) for f in found.findings}
    assert "changes place[1] (0.03)" in said["constant"]
    assert said.keys() == {"constant", "other-beginnings"}  # their beginnings do not vary either


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 3.0), (10.0, 0.0), (0.05, 0.0)])
def test_another_normalisation_is_named(demos: Dataset, scale: float, shift: float) -> None:
    def other(place: Array, action: Array, i: int) -> tuple[Array, Array]:
        place[:, 0] = scale * place[:, 0] + shift
        return place, action

    said = only(audit(changed(demos, other), TASK), "other-beginnings")
    assert "12 demonstrations are not those of 32 resets of the task in place[0]" in said


def test_halves_of_two_kinds_are_told_apart(demos: Dataset) -> None:
    def other(place: Array, action: Array, i: int) -> tuple[Array, Array]:
        if i >= 6:
            action[:, 1] = 0.4 * action[:, 1] + 0.4
        return place, action

    found = audit(changed(demos, other), TASK)
    assert "first half" in only(found, "halves-differ")
    assert found.halves is not None
    assert found.halves.low > 0.6


def test_a_classifier_is_fair_where_there_is_nothing_to_tell() -> None:
    """80 pairs of groups from one law: were it not fair, their mean accuracy (SD of a mean about 0.01) would
    leave 0.5 by more than five of its standard errors, which happens once in a million otherwise."""
    right = []
    for seed in range(80):
        rng = np.random.default_rng(seed)
        rows = [rng.normal(size=(10, 2)) + rng.normal(size=2) for _ in range(8)]
        right.append(told_apart(rows[:4], rows[4:], seed).value)
    error = np.std(right) / len(right) ** 0.5
    assert error < 0.03
    assert abs(np.mean(right) - 0.5) < 5 * error


def test_few_episodes_say_that_they_are_few(demos: Dataset) -> None:
    found = audit(demos.select(range(3)), TASK)
    assert found.halves is None
    assert "3 demonstrations are too few" in found.lines()[0]
    with pytest.raises(ValueError, match="both need two"):
        told_apart([np.zeros((3, 1))], [np.zeros((3, 1))] * 2)


def test_the_words_hold_the_interval_within_what_a_share_can_be() -> None:
    found = Audit(4, 40, Estimate(0.9, 0.7, 1.1, 4, "bootstrap 95 %"), {}, ())
    assert "90 % [70, 100]" in found.lines()[0]


def test_the_same_is_found_again(demos: Dataset) -> None:
    assert audit(demos, TASK, seed=4).summary() == audit(demos, TASK, seed=4).summary()


def test_what_does_not_fit_is_refused_in_a_line(demos: Dataset) -> None:
    wider = replace(TASK, obs={"place": (3,), "unit": (1,)})
    for data, which, words in (
        (Dataset([]), TASK, "no demonstrations"),
        (demos, wider, r"obs\['place'\] is \(2,\) in the demonstrations and \(3,\) in drift"),
        (demos, replace(TASK, action=ActionSpec.box([-1.0], [1.0])), "drift takes 1 numbers"),
    ):
        with pytest.raises(ValueError, match=words):
            audit(data, which)
