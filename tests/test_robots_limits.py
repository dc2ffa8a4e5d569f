"""Limits refuse, naming the value and the bound, and the watchdog bites on time, neither sooner nor later."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gliding import ACTION, glide
from understudy.robots import (
    Box,
    Limits,
    ManualClock,
    Refused,
    SimulatedRobot,
    Speed,
    Step,
    Watchdog,
    read_limits,
)

HERE = {"state": np.zeros(2, np.float32)}
REST = np.zeros(2)
HAND = Box("hand", "state", (0, 1), (-1.0, -1.0), (1.0, 1.0), (0, 1), 0.1)


def at(*place: float) -> dict[str, Any]:
    return {"state": np.array(place, np.float32)}


@pytest.mark.parametrize(
    ("limits", "action", "obs", "words"),
    [
        (Limits(), [np.nan, 0], HERE, "finite: dimension 0 is nan; every value must be finite in float32"),
        (Limits(), [0, np.inf], HERE, "finite: dimension 1 is inf; every value must be finite in float32"),
        (Limits(bounds="clip"), [0, 1e300], HERE, "finite: dimension 1 is 1e+300; every value must be"),
        (Limits(), [0.0], HERE, "shape: a command is float64[1]; 2 numbers are needed"),
        (Limits(), ["a", "b"], HERE, "shape: a command is <U1[2]; 2 numbers are needed"),
        (Limits(), [0, 1.5], HERE, "bounds: dimension 1 is 1.5, above its bound 1"),
        (Limits(), [-1.25, 0], HERE, "bounds: dimension 0 is -1.25, below its bound -1"),
        (
            Limits((HAND,)),
            [1, 0],
            at(0.95, 0),
            "place: the hand would go to 1.05 in state[0], above its bound 1",
        ),
        (
            Limits((HAND,)),
            [0, -1],
            at(0, -0.95),
            "place: the hand would go to -1.05 in state[1], below its bound",
        ),
        (
            Limits((HAND,)),
            [0.1, 0],
            at(2, 0),
            "place: the hand would go to 2.01 in state[0], above its bound 1",
        ),
        (Limits((HAND,)), [0, 0], at(np.nan, 0), "place: where the hand is, state does not say ([nan, 0.0])"),
        (
            Limits((Box("base", "state", (1,), (0.0,), (1.0,)),)),
            [0, 0],
            at(5, -0.5),
            "place: the base is at -0.5 in state[1], below its bound 0",
        ),
        (
            Limits(speeds=(Speed("hand", (0, 1), 2.0, 1.0),)),
            [0.6, -0.8],
            HERE,
            "speed: the hand would move at 2, above its bound 1",
        ),
        (
            Limits(step=Step((0.5, 0.25))),
            [0.5, -0.5],
            HERE,
            "step: dimension 1 would change by 0.5 from one command to the next, above its bound 0.25",
        ),
    ],
)
def test_a_refusal_names_the_limit_the_value_and_the_bound(
    limits: Limits, action: Any, obs: Any, words: str
) -> None:
    with pytest.raises(Refused) as refused:
        limits.admit(action, ACTION, obs, REST)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_keeps_every_limit_passes_unchanged() -> None:
    limits = Limits((HAND,), (Speed("hand", (0, 1), 2.0, 2.0),), Step((1.0, 1.0)))
    admitted = limits.admit([0.5, -0.25], ACTION, at(0.9, 0), REST)
    assert admitted.dtype == np.float32
    assert admitted.tolist() == [0.5, -0.25]


def test_whoever_is_outside_the_box_may_hold_still_and_come_back() -> None:
    outside = at(1.5, 0)
    for action in ([0.0, 0.0], [-1.0, 0.0], [0.0, 1.0]):
        assert Limits((HAND,)).admit(action, ACTION, outside, REST).tolist() == action


def test_clipping_is_exact_and_happens_only_where_a_limit_says_so() -> None:
    assert Limits(bounds="clip").admit([3, -3], ACTION, HERE, REST).tolist() == [1, -1]
    box = Box("hand", "state", (0, 1), (-1.0, -1.0), (1.0, 1.0), (0, 1), 0.1, "clip")
    assert Limits((box,)).admit([1, 0.5], ACTION, at(0.95, 0), REST) == pytest.approx([0.5, 0.5], abs=1e-6)
    assert Limits((box,)).admit([1, 0.5], ACTION, at(1.5, 0), REST).tolist() == [0, 0.5]
    speed = Limits(speeds=(Speed("hand", (0, 1), 2.0, 1.0, "clip"),))
    assert speed.admit([0.6, -0.8], ACTION, HERE, REST) == pytest.approx([0.3, -0.4])
    step = Limits(step=Step((0.5, 0.25), "clip"))
    assert step.admit([1, -1], ACTION, HERE, np.array([0.25, 0.0])).tolist() == [0.75, -0.25]


def test_what_is_clipped_for_one_limit_must_still_keep_the_others() -> None:
    # At full speed against the wall: braking in time would break the step, so neither is broken.
    box = Box("hand", "state", (0, 1), (-1.0, -1.0), (1.0, 1.0), (0, 1), 0.1, "clip")
    with pytest.raises(Refused, match="step: dimension 0 would change by 1 "):
        Limits((box,), step=Step((0.5, 0.5))).admit([1, 0], ACTION, at(1, 0), np.array([1.0, 0.0]))


@given(
    st.lists(st.floats(-4, 4, width=32), min_size=2, max_size=2),
    st.lists(st.floats(-2, 2, width=32), min_size=2, max_size=2),
    st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=2),
    st.sampled_from(["refuse", "clip"]),
)
def test_nothing_that_breaks_a_limit_ever_passes(
    action: list[float], place: list[float], before: list[float], beyond: Any
) -> None:
    limits = Limits(
        (Box("hand", "state", (0, 1), (-1.0, -1.0), (1.0, 1.0), (0, 1), 0.1, beyond),),
        (Speed("hand", (0, 1), 2.0, 1.5, beyond),),
        Step((0.5, 0.5), beyond),
        beyond,
    )
    try:
        a = limits.admit(action, ACTION, at(*place), np.array(before)).astype(np.float64)
    except Refused:
        return
    to, was = np.array(place) + 0.1 * a, np.array(place)
    assert (np.abs(a) <= 1).all()
    assert 2.0 * np.linalg.norm(a) <= 1.5 + 1e-5
    assert (np.abs(a - before) <= 0.5 + 1e-6).all()
    assert (np.maximum(np.abs(to) - 1, 0) <= np.maximum(np.abs(was) - 1, 0) + 1e-5).all()


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits((Box("hand", "pose", (0,), (0.0,), (1.0,)),)), "reads 'pose'; vectors are state"),
        (Limits((Box("hand", "state", (2,), (0.0,), (1.0,)),)), "reads dimension 2 of state, which has 2"),
        (
            Limits((Box("hand", "state", (0,), (0.0,), (1.0,), (2,), 0.1),)),
            "moves dimension 2; the action has 2",
        ),
        (Limits(speeds=(Speed("hand", (5,), 1.0, 1.0),)), "speed 'hand' moves dimension 5"),
        (Limits(step=Step((1.0,))), "step has 1 bounds; the action has 2 dimensions"),
    ],
)
def test_limits_of_another_robot_are_noticed_before_it_moves(limits: Limits, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SimulatedRobot(glide(), limits=limits, clock=ManualClock())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Box("b", "state", (), (), ()), "must list whole numbers"),
        (lambda: Box("b", "state", (0,), (1.0,), (0.0,)), "low <= high"),
        (lambda: Box("b", "state", (0,), (0.0, 1.0), (1.0,)), "of one length"),
        (lambda: Box("b", "state", (0, 0), (0.0, 0.0), (1.0, 1.0)), "different numbers from 0"),
        (lambda: Box("b", "state", (-1,), (0.0,), (1.0,)), "different numbers from 0"),
        (lambda: Box("b", "state", (0,), (np.nan,), (1.0,)), "must list finite numbers"),
        (lambda: Box("b", "state", (0,), (0.0,), (1.0,), (0,)), "reach of box 'b' is 0.0"),
        (lambda: Box("b", "state", (0,), (0.0,), (1.0,), beyond="clip"), "can neither reach nor clip"),
        (lambda: Speed("s", (0,), 1.0, 0.0), "most of speed 's' is 0.0"),
        (lambda: Step((0.5, -1.0)), "most of step is -1.0"),
        (lambda: Step((True,)), "must list finite numbers"),
        (lambda: Limits(bounds="wrap"), "'wrap'; it must be 'refuse' or 'clip'"),  # type: ignore[arg-type]
        (lambda: Watchdog(0.0), "timeout is 0.0"),
    ],
)
def test_limits_that_cannot_be_are_errors(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_limits_come_out_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "limits.json"
    box = {"name": "hand", "key": "state", "dims": [0, 1], "low": [-1, -1], "high": [1, 1]}
    told = {
        "boxes": [{**box, "moves": [0, 1], "reach": 0.1}],
        "speeds": [{"name": "hand", "moves": [0, 1], "per_unit": 2.0, "most": 1.0, "beyond": "clip"}],
        "step": {"most": [0.5, 0.25]},
        "bounds": "clip",
    }
    file.write_text(json.dumps(told))
    speed = Speed("hand", (0, 1), 2.0, 1.0, "clip")
    assert read_limits(file) == Limits((HAND,), (speed,), Step((0.5, 0.25)), "clip")
    file.write_text("{}")
    assert read_limits(file) == Limits()


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{", '{"box": []}', '{"boxes": {}}', '{"boxes": [1]}', '{"boxes": [{"name": "hand"}]}',
        '{"step": {"most": [NaN]}}', '{"step": {"most": "11"}}', '{"bounds": "none"}',
        '{"step": {"most": [1e999]}}',
        '{"speeds": [{"name": 1, "moves": [0], "per_unit": 1, "most": 1}]}', "[" * 60000,
        '{"step": {"most": [1]}}' + " " * 70000,
    ],
)  # fmt: skip
def test_a_file_that_holds_no_limits_is_one_line_with_its_name(tmp_path: Path, text: str) -> None:
    file = tmp_path / "limits.json"
    file.write_text(text)
    with pytest.raises(ValueError) as wrong:
        read_limits(file)
    assert "limits.json" in str(wrong.value)
    assert "\n" not in str(wrong.value)


def test_the_watchdog_bites_at_its_timeout_and_not_before() -> None:
    clock = ManualClock()
    dog = Watchdog(0.125, clock)
    clock.now = 1000.0
    assert dog.check() == ""  # at rest it waits as long as it takes
    assert dog.left() == 0.125
    dog.feed()
    clock.now += 0.1249
    assert dog.check() == ""
    assert dog.left() == pytest.approx(0.0001)
    dog.feed()
    clock.now += 0.125
    assert dog.left() == 0.0
    assert dog.check() == "no command for 0.125 s"


def test_a_stopped_robot_is_fed_in_vain_until_it_is_resumed() -> None:
    clock = ManualClock()
    dog = Watchdog(0.125, clock)
    dog.feed()
    clock.sleep(0.5)
    for _ in range(2):
        with pytest.raises(Refused, match=r"stopped: no command for 0\.125 s; resume or reset it before"):
            dog.feed()
    dog.resume()
    clock.sleep(5.0)
    assert dog.check() == ""
    dog.feed()
    dog.trip("the door is open")
    dog.trip("another reason")
    assert dog.check() == "the door is open"


def test_after_a_final_stop_only_a_reset_helps() -> None:
    dog = Watchdog(0.125, ManualClock())
    dog.trip("fallen", final=True)
    with pytest.raises(Refused, match="stopped: fallen; only a reset helps"):
        dog.resume()
    with pytest.raises(Refused, match="reset it before"):
        dog.feed()
    dog.reset()
    dog.feed()
