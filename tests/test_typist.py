"""The scripted person: only keys, late, coarse, the same for the same seed; he takes over and hands back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from understudy import storage
from understudy.dataset import Dataset
from understudy.envs import task
from understudy.episode import EXPERT, POLICY, Array, Obs
from understudy.teleop import ExpertPilot, Input, Session, controls_for, patient
from understudy.teleop.typist import Habits, Seen, Shift, Typist, Worry

SPEED = 0.3


class Wants:
    """Wants the same all the time, until told otherwise."""

    def __init__(self, wish: list[float]) -> None:
        self.wish = wish

    def reset(self, seed: int) -> None: ...

    def act(self, obs: Obs) -> Array:
        return np.array(self.wish, np.float32)


class Steady:
    """The script at a person's pace."""

    name = "steady"

    def __init__(self, expert: Any) -> None:
        self.expert = expert

    def reset(self, seed: int) -> None:
        self.expert.reset(seed)

    def act(self, obs: Obs) -> Array:
        action: Array = SPEED * self.expert.act(obs)
        return action


class Lazy:
    """A policy that stands still."""

    name = "lazy"

    def reset(self, seed: int) -> None: ...

    def act(self, obs: Obs) -> Array:
        return np.zeros(4, np.float32)


def views(typist: Typist, intent: Wants, wishes: list[list[float]], every: float = 0.04) -> list[Any]:
    """The keys that are down at each of some moments at which something else is wished for."""
    down = []
    for i, wish in enumerate(wishes):
        intent.wish = wish
        typist.watch({"state": np.full(3, float(i))}, i * every)
        down.append(typist.keys(i * every))
    return down


def test_he_reads_what_keys_do_off_the_page_and_they_do_it() -> None:
    controls = controls_for(task("fetch-push"))
    intent = Wants([1.0, -1.0, 0.0, 0.0])
    typist = Typist(controls, intent, Habits(reaction=0.0))
    typist.watch({}, 0.0)
    action = controls.action(Input(keys=typist.keys(0.0)), {"state": np.zeros(25)}, SPEED)
    assert action is not None
    assert np.allclose(action, [SPEED, -SPEED, 0.0, 0.0])


def test_keys_go_down_above_one_wish_and_up_below_a_lower_one() -> None:
    intent = Wants([])
    typist = Typist(controls_for(task("fetch-push")), intent, Habits(0.0, press=0.5, release=0.2, slip=0.0))
    wishes = [[x, 0.0, 0.0, 0.0] for x in (0.1, 0.45, 0.55, 0.3, 0.21, 0.19, 0.3, -0.6)]
    down = ["".join(sorted(k)) for k in views(typist, intent, wishes)]
    assert down == ["", "", "KeyW", "KeyW", "KeyW", "", "", "KeyS"]


def test_he_reacts_late_and_slips_later() -> None:
    intent = Wants([])
    wishes = [[1.0, 0.0, 0.0, 0.0]] * 4 + [[0.0] * 4] * 6
    controls = controls_for(task("fetch-push"))

    def pressed(habits: Habits) -> str:
        typist = Typist(controls, intent, habits)
        return "".join("W" if k else "." for k in views(typist, intent, wishes))

    assert pressed(Habits(0.0, slip=0.0)) == "WWWW......"
    # What he saw at a step, he acts on two steps later, having slept through the first two.
    late = pressed(Habits(0.08, slip=0.0))
    assert late.startswith("..W")
    assert pressed(Habits(0.0, slip=1.0, late=0.4)).count("W") > 4


def test_fingers_are_changed_over_once_and_not_fluttered() -> None:
    controls = controls_for(task("fetch-pick-place"))
    typist = Typist(controls, Wants([0.0, 0.0, 0.0, -1.0]), Habits(0.0))
    taps = 0
    before: frozenset[str] = frozenset()
    for i in range(20):
        typist.watch({"state": np.full(25, float(i))}, i / 30)
        keys = typist.keys(i / 30)
        pressed = keys - before
        controls.action(Input(keys=keys, pressed=pressed), {"state": np.zeros(25)}, SPEED)
        taps, before = taps + len(pressed), keys
    assert taps == 1
    assert controls.hold()[3] == -1.0


def test_habits_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="release < press"):
        Habits(press=0.1, release=0.2)
    with pytest.raises(ValueError, match="out of their ranges"):
        Habits(slip=1.5)


def test_worry_is_about_the_way_that_is_not_made() -> None:
    worry, wishes = Worry(pace=0.04), np.tile([1.0, 0.0, 0.0], (5, 1))
    path = np.linspace([0.0, 0.0, 0.0], [0.1, 0.0, 0.0], 5)
    assert not worry.justified(path, wishes, 1.0)
    assert worry.justified(path[::-1], wishes, 1.0)  # away
    assert worry.justified(0 * path, wishes, 1.0)  # stuck
    assert worry.justified(path[:, [1, 0, 2]], wishes, 1.0)  # aside
    assert not worry.justified(0 * path, 0.01 * wishes, 1.0)  # there is nothing to do


def shift(
    folder: Path, name: str, seed: int, pilot: Any = None, habits: Habits | None = None
) -> tuple[Session, Shift]:
    which = task(name)
    assert which.expert is not None
    window, controls = Seen(patient(which, 8.0)), controls_for(which)
    session = Session(
        window, which, controls, folder,
        operator="typist", pilot=pilot, clock=lambda: 0.0, seed=seed, seconds=8.0, countdown=0.0,
    )  # fmt: skip
    session.do("speed", value=SPEED)
    return session, Shift(session, window, Typist(controls, which.expert(), habits), seed=seed)


def worked(folder: Path, name: str, mode: str, episodes: int, seed: int, pilot: Any = None) -> Dataset:
    session, person = shift(folder, name, seed, pilot)
    try:
        person.work(mode, episodes)
    finally:
        session.close()
    return storage.read(folder)


def test_he_records_reaching_by_keys_alone_and_the_same_for_the_same_seed(tmp_path: Path) -> None:
    one, two = (worked(tmp_path / x, "fetch-reach", "record", 2, 7) for x in "ab")
    assert one.successes == (True, True)
    assert all(np.array_equal(a.action, b.action) for a, b in zip(one, two, strict=True))
    for episode in one:
        assert np.isin(np.abs(episode.action[:, :3]), np.float32([0.0, SPEED])).all()
        assert episode.action[0].any()  # it begins with a motion
        assert episode.control is None
        assert episode.labelled.all()
    other = worked(tmp_path / "c", "fetch-reach", "record", 1, 8)
    assert not np.array_equal(one[0].action[:5], other[0].action[:5])


def test_he_pushes_the_block(tmp_path: Path) -> None:
    data = worked(tmp_path / "a", "fetch-push", "record", 3, 11)
    assert data.successes == (True, True, True)
    assert max(map(len, data)) > 50  # a person is slower than the task's own limit


def test_he_picks_the_block_up_when_he_types_finely(tmp_path: Path) -> None:
    session, person = shift(
        tmp_path / "a", "fetch-pick-place", 3_100_000, None, Habits(press=0.2, release=0.05)
    )
    try:
        session.do("speed", value=0.2)
        person.work("record", 2)
    finally:
        session.close()
    data = storage.read(tmp_path / "a")
    assert data.successes == (True, True)
    assert all(set(np.unique(e.action[:, 3])) == {-1.0, 1.0} for e in data)  # the fingers closed on it


def test_he_takes_over_from_a_policy_that_gets_nowhere_and_hands_back(tmp_path: Path) -> None:
    pilot = ExpertPilot(Lazy())
    session, person = shift(tmp_path / "a", "fetch-push", 5, pilot)
    try:
        takeovers = person.work("correct", 2)
    finally:
        session.close()
    data = storage.read(tmp_path / "a")
    assert takeovers >= 2
    handed = 0
    for episode in data:
        assert episode.control is not None
        assert episode.control[0] == POLICY
        assert not (episode.labelled & (episode.control == POLICY)).any()
        assert not episode.action[episode.control == POLICY].any()
        assert (episode.label[episode.labelled] == episode.action[episode.labelled]).all()
        handed += int((np.diff(episode.control.astype(int)) == POLICY - EXPERT).sum())
    assert handed
    assert any(e.labelled.any() for e in data)


def test_he_lets_a_policy_that_gets_on_alone(tmp_path: Path) -> None:
    which = task("fetch-push")
    assert which.expert is not None
    session, person = shift(tmp_path / "a", "fetch-push", 5, ExpertPilot(Steady(which.expert())))
    try:
        assert person.work("correct", 3) == 0
    finally:
        session.close()
    assert not any(e.labelled.any() for e in storage.read(tmp_path / "a"))
