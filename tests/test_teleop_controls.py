"""What keys, sticks, touch and a dragged target do in each task."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from teleop_bench import SPEC, Line
from understudy.envs import ActionSpec, Task, task, tasks, worlds
from understudy.teleop import Input, controls_for
from understudy.teleop.controls import Controls, curved
from understudy.teleop.input import Inbox

NONE = {"state": np.zeros(25, np.float32)}


def act(controls: Controls, speed: float = 1.0, obs: Any = NONE, **held: Any) -> list[float] | None:
    keys = frozenset(held.pop("keys", "").split())
    held["pressed"] = frozenset(held.pop("pressed", "").split())
    made = controls.action(Input(keys=keys, **held), obs, speed)
    return None if made is None else [float(x) for x in made]


def box(width: int, low: float = -1.0, high: float = 1.0) -> Task:
    return Task("some-arm", "move", Line, 10, {"state": (2,)}, ActionSpec.box([low] * width, [high] * width))


def test_keys_move_the_fetch_hand_in_the_robots_frame() -> None:
    controls = controls_for(task("fetch-push"))
    assert controls.speed == 0.2
    assert controls.labels == ("x", "y", "z", "fingers")
    for key, dim, sign in (("W", 0, 1), ("S", 0, -1), ("A", 1, 1), ("D", 1, -1), ("E", 2, 1), ("Q", 2, -1)):
        want = [0.0] * 4
        want[dim] = sign * 0.5
        assert act(controls, 0.5, keys=f"Key{key}") == want
    assert act(controls, 0.2, keys="KeyW KeyE ArrowLeft") == pytest.approx([0.2, 0.2, 0.2, 0.0])
    assert act(controls, keys="KeyW KeyS") is None, "what cancels out moves nothing"
    assert act(controls) is None
    assert act(controls, keys="KeyZ") is None
    assert controls.hold().tolist() == [0, 0, 0, 0]


def test_fingers_change_with_each_press_and_stay() -> None:
    controls = controls_for(task("fetch-pick-place"))
    assert controls.hold().tolist() == [0, 0, 0, 1]
    assert act(controls, keys="Space", pressed="Space") == [0, 0, 0, -1]
    assert act(controls, keys="Space") is None, "held is not pressed again"
    assert act(controls, keys="KeyW") == [1, 0, 0, -1]
    assert controls.hold().tolist() == [0, 0, 0, -1]
    assert act(controls, pressed="Pad0") == [0, 0, 0, 1]
    assert act(controls, touch=(0.0, 0.0, 0.0, -1.0)) == [0, 0, 0, -1]
    assert act(controls, touch=(0.0, 0.0, 0.0, 0.2)) is None
    controls.begin(np.array([0.3, 0.0, 0.0, 0.7]))
    assert controls.hold().tolist() == [0, 0, 0, 1], "as whoever drove before had them"
    controls.begin(np.array([0.3, 0.0, 0.0, -0.2]))
    assert controls.hold().tolist() == [0, 0, 0, -1]


def test_sticks_rest_in_the_dead_zone_and_are_fine_in_the_middle() -> None:
    assert [curved(x) for x in (0.0, 0.12, -0.12, 1.0, -1.0)] == [0.0, 0.0, 0.0, 1.0, -1.0]
    xs = np.linspace(0.13, 1.0, 50)
    ys = np.array([curved(float(x)) for x in xs])
    assert (np.diff(ys) > 0).all()
    assert (ys[:-1] < xs[:-1]).all()
    assert ys[0] < 0.01
    controls = controls_for(task("fetch-push"))
    assert act(controls, 0.2, axes=(0.0, -1.0, 0.0, 0.0)) == pytest.approx([0.2, 0, 0, 0])
    assert act(controls, 0.2, axes=(1.0, 0.05, 0.0, 1.0)) == pytest.approx([0, -0.2, -0.2, 0])
    assert act(controls, axes=(0.1, -0.1, 0.05, 0.1)) is None
    assert act(controls, 0.2, touch=(0.5, 1.0, -1.0, 0.0)) == pytest.approx([0.2, -0.1, -0.2, 0])
    assert act(controls, axes=(0.0, -1.0), keys="KeyW") == [1, 0, 0, 0], "two devices are not twice as fast"


def test_a_dragged_hand_goes_straight_no_faster_than_the_speed_and_rests_at_the_target() -> None:
    controls = controls_for(task("fetch-reach"))
    obs = {"state": np.array([1.0, 0.5, 0.5] + [0.0] * 7, np.float32)}
    far = act(controls, 0.2, obs, target=(1.3, 0.9, 0.5))
    assert far == pytest.approx([0.12, 0.16, 0.0, 0.0])
    near = act(controls, 0.2, obs, target=(1.0033, 0.5, 0.5))
    assert near == pytest.approx([0.1, 0, 0, 0], abs=1e-5)
    assert act(controls, 0.2, obs, target=(1.001, 0.5, 0.5)) is None
    assert act(controls, 0.2, obs, target=(1.3, 0.9, 0.5), keys="KeyE") == pytest.approx([0, 0, 0.2, 0])
    controls.begin(anchored=True)
    assert act(controls, 0.2, obs, target=(1.3, 0.9, 0.5)) is None, "it is meant relative to the hand"
    assert act(controls, 0.2, obs, target=(1.3, 0.9, 0.6)) == pytest.approx([0, 0, 0.2, 0])
    act(controls, 0.2, obs)
    assert act(controls, 0.2, obs, target=(1.3, 0.9, 0.5)) == pytest.approx([0.12, 0.16, 0.0, 0.0])


def test_a_dragged_point_comes_to_rest_at_its_target() -> None:
    which = task("point-maze")
    env, controls = which.make(), controls_for(which)
    obs, _ = env.reset(seed=0)
    for _ in range(60):
        made = controls.action(Input(target=(-0.3, -0.3, 0.7)), obs, 1.0)
        obs, *_ = env.step(controls.hold() if made is None else made)
    assert np.abs(obs["state"] - [-0.3, -0.3, 0.0, 0.0]).max() < 0.03


def test_every_task_of_the_registry_can_be_driven_and_says_how() -> None:
    for name in (*tasks(), *worlds()):
        which = task(name)
        controls = controls_for(which)
        assert len(controls.labels) == which.action.width
        assert 0 < controls.speed <= 1
        lines = json.loads(json.dumps(controls.bindings))
        assert all(set(b) == {"device", "keys", "names", "label", "dim", "sign"} for b in lines)
        keyboard = [b for b in lines if b["device"] == "keyboard"]
        held = [k for b in keyboard for k in b["keys"]]
        assert len(set(held)) == len(held) > 0, "one key, one meaning"
        moved = set()
        for line in keyboard:
            controls.begin()
            made = controls.action(
                Input(keys=frozenset(line["keys"]), pressed=frozenset(line["keys"])), NONE, 1.0
            )
            assert made is not None
            assert np.array_equal(made, which.action.settle(made))
            if line["sign"]:
                rest = controls.hold()
                assert np.sign(made[line["dim"]] - rest[line["dim"]]) == line["sign"], (name, line)
                moved.add(line["dim"])
        idle = {3} if name.startswith("fetch-") else set()
        assert controls.turns or moved == set(range(which.action.width)) - idle, name


def test_generic_actions_have_a_key_pair_a_dimension_up_to_eight() -> None:
    controls = controls_for(box(8, -2.0, 4.0))
    assert controls.hold().tolist() == [0.0] * 8
    assert act(controls, 0.5, keys="KeyD KeyS ArrowUp") == [2.0, -1.0, 0, 0, 0, 0, 0, 2.0]
    assert act(controls_for(box(2, 1.0, 3.0)), 0.5, keys="KeyD") == [2.0, 1.0], "rest is the bound next to 0"
    with pytest.raises(ValueError, match="keys reach 8"):
        controls_for(box(9))
    with pytest.raises(ValueError, match="without bounds"):
        controls_for(Task("x", "y", Line, 1, {"state": (2,)}, ActionSpec.unbounded(2)))
    with pytest.raises(ValueError, match="number keys reach 10"):
        controls_for(Task("x", "y", Line, 1, {"state": (2,)}, ActionSpec.discrete(11)))


def test_choices_are_one_step_a_press() -> None:
    controls = controls_for(task("slip-road"))
    assert controls.turns
    assert act(controls, keys="Digit3", pressed="Digit3") == [2]
    assert act(controls, keys="Digit3") is None
    assert act(controls, pressed="Pad1") == [1]
    assert act(controls, pressed="Digit4") is None


def test_the_inbox_keeps_the_newest_input_and_what_was_only_tapped() -> None:
    inbox = Inbox()
    assert inbox.take(0.0) == (None, 0)
    inbox.put(Input(1, frozenset({"Space"}), buttons=(1.0,), received=0.0))
    inbox.put(Input(2, frozenset(), buttons=(0.0,), received=0.1))
    heard, ack = inbox.take(0.2)
    assert ack == 2
    assert heard is not None
    assert heard.keys == {"Space"}
    assert heard.pressed == {"Space", "Pad0"}
    heard, _ = inbox.take(0.2)
    assert heard is not None
    assert not heard.keys
    assert not heard.pressed
    assert inbox.take(0.41) == (None, 2), "what is older than 0.3 s is not held any more"
    inbox.empty()
    assert inbox.take(0.1) == (None, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"seq": -1},
        {"seq": 2**32},
        {"keys": frozenset(map(str, range(99)))},
        {"keys": frozenset({"x" * 99})},
        {"axes": (1.1,)},
        {"axes": (float("nan"),)},
        {"buttons": (0.0,) * 99},
        {"touch": (2.0,)},
        {"target": (0.0, float("inf"), 0.0)},
    ],
)
def test_inputs_that_no_device_gives_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))) as caught:
        Input(**wrong)
    assert "\n" not in str(caught.value)


def test_controls_follow_the_bounds_and_not_the_name_alone() -> None:
    assert controls_for(Task("pendulum", "", Line, 1, {"state": (2,)}, SPEC)).labels == ("torque",)
    assert len(controls_for(Task("pendulum", "", Line, 1, {"state": (2,)}, box(3).action)).labels) == 3
