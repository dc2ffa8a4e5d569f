"""From what an operator holds to an action: keys, gamepad, touch and a dragged target, for every task.

Shapes: A action width.
"""

from __future__ import annotations

from typing import Any, Protocol, final

import numpy as np

from understudy.envs.registry import Task
from understudy.envs.spaces import ActionSpec
from understudy.episode import Array, Obs
from understudy.teleop.input import Input
from understudy.teleop.layouts import Drag, Grip, Layout, bindings_of, bound, layout_of

__all__ = ["BoxControls", "ChoiceControls", "Controls", "controls_for", "curved"]

_DEAD = 0.12  # of a stick's way, where it rests
_CUBIC = 0.6  # the share of x³ in a stick's curve: fine near the middle, full at the end
_DIGITS = 10  # choices that have a key


def curved(x: float) -> float:
    """A stick's position in [-1, 1] as a command: nothing in the dead zone, then 0.4 x + 0.6 x³ of the rest.

    >>> curved(0.1), curved(1.0), curved(-1.0)
    (0.0, 1.0, -1.0)
    """
    if abs(x) <= _DEAD:
        return 0.0
    y = (min(abs(x), 1.0) - _DEAD) / (1.0 - _DEAD)
    return float(np.copysign((1.0 - _CUBIC) * y + _CUBIC * y**3, x))


class Controls(Protocol):
    """What an operator's devices do in a task.

    Attributes:
        spec: the actions they make. labels: [A], what each dimension is called.
        bindings: what the page shows, one entry a control: "device" (keyboard, gamepad, touch or drag),
            "keys", their "names", "label", "dim" of the action and "sign" of its motion.
        speed: the share of the full action that suits a person at first.
        turns: whether the world waits for each choice, because none of them means "do nothing".
    """

    spec: ActionSpec
    labels: tuple[str, ...]
    bindings: list[dict[str, Any]]
    speed: float
    turns: bool

    def begin(self, executed: Array | None = None, *, anchored: bool = False) -> None:
        """The operator takes the controls: of a new episode, or after an action [A] that somebody else did.

        What stays as it was put (fingers) stays as that action had it.

        Args:
            anchored: a target that is being dragged already is meant relative to where the hand is now, so
                that it does not jump there; else it is where it is.
        """
        ...

    def action(self, input: Input | None, obs: Obs, speed: float) -> Array | None:
        """[A], what he commands with `speed` in [0, 1] as the most; None where he moves nothing."""
        ...

    def hold(self) -> Array:
        """[A], no motion, with the fingers as he left them."""
        ...


def controls_for(task: Task) -> Controls:
    """The controls of a task.

    Raises:
        ValueError: when its actions have no bounds, more than eight dimensions, or more than ten choices.
    """
    if task.action.n is not None:
        return ChoiceControls(task.name, task.action)
    return BoxControls(layout_of(task.name, task.action), task.action)


@final
class BoxControls:
    """Controls of continuous actions; zero, or the bound next to it, is rest."""

    turns = False

    def __init__(self, layout: Layout, spec: ActionSpec) -> None:
        self.spec, self.labels, self.speed = spec, layout.names, layout.speed
        self.bindings = bindings_of(layout)
        self._layout = layout
        self._rest = np.clip(np.zeros(spec.width), spec.low, spec.high).astype(np.float64)
        self.begin()

    def begin(self, executed: Array | None = None, *, anchored: bool = False) -> None:
        """See `Controls.begin`."""
        grip = self._layout.grip
        self._grip = 0.0 if grip is None else grip.start
        if grip is not None and executed is not None:
            self._grip = grip.open if executed[grip.dim] > (grip.open + grip.closed) / 2 else grip.closed
        self._let_go = not anchored  # whether a target, when one comes, is where it is
        self._offset: Array | None = None

    def hold(self) -> Array:
        """See `Controls.hold`."""
        return self._settled(self._rest.copy())

    def action(self, input: Input | None, obs: Obs, speed: float) -> Array | None:
        """See `Controls.action`."""
        if input is None:
            self._let_go, self._offset = True, None
            return None
        changed = self._fingers(input)
        push = np.array([self._push(input, i) for i in range(len(self._layout.axes))])
        out, moved = self._rest.copy(), bool(push.any())
        for axis, x in zip(self._layout.axes, push, strict=True):
            end = self.spec.high if x > 0 else self.spec.low
            out[axis.dim] += abs(x) * speed * (end[axis.dim] - self._rest[axis.dim])
        if self._layout.drag is not None:
            towards = self._dragged(self._layout.drag, input, obs, speed)
            if towards is not None and not moved:
                out[list(self._layout.drag.dims)], moved = towards, True
        return self._settled(out) if moved or changed else None

    def _push(self, input: Input, which: int) -> float:
        """How far one dimension is pushed by all devices together, in [-1, 1]."""
        axis = self._layout.axes[which]
        x = float(any(k in input.keys for k in axis.more)) - float(any(k in input.keys for k in axis.less))
        for place, values, curve in ((axis.pad, input.axes, curved), (axis.touch, input.touch, float)):
            if place is not None and place[0] < len(values):
                x += place[1] * curve(values[place[0]])
        return min(max(x, -1.0), 1.0) if x > 0 or axis.less else 0.0

    def _fingers(self, input: Input) -> bool:
        """Whether the fingers' command changes."""
        grip = self._layout.grip
        if grip is None:
            return False
        before, self._grip = self._grip, _asked(grip, self._grip, input)
        return self._grip != before

    def _dragged(self, drag: Drag, input: Input, obs: Obs, speed: float) -> Array | None:
        """[D], along the straight line to the target, no faster than `speed`; None where he does not drag."""
        if input.target is None:
            self._let_go, self._offset = True, None
            return None
        hand = np.asarray(drag.hand(obs), np.float64)
        target = np.asarray(input.target)[: len(hand)]
        if self._offset is None:  # held since before he took over: from here on it is meant from this place
            self._offset = np.zeros(len(hand)) if self._let_go else hand - target
            self._let_go = False
        way = target + self._offset - hand
        if np.linalg.norm(way) < drag.near or speed == 0.0:
            return None
        push = way / drag.step if drag.brake is None else way / drag.step - drag.brake(obs)
        return push * min(1.0, speed / max(float(np.linalg.norm(push)), 1e-9))

    def _settled(self, action: Array) -> Array:
        if self._layout.grip is not None:
            action[self._layout.grip.dim] = self._grip
        return self.spec.settle(action)


def _asked(grip: Grip, now: float, input: Input) -> float:
    """What the fingers' command becomes."""
    if any(k in input.pressed for k in grip.keys):
        return grip.closed if now == grip.open else grip.open
    if grip.touch < len(input.touch) and abs(wish := input.touch[grip.touch]) > 0.5:
        return grip.open if wish > 0 else grip.closed
    return now


@final
class ChoiceControls:
    """Controls of discrete choices: a number key is one step, and the world waits for it."""

    turns = True
    speed = 1.0

    def __init__(self, name: str, spec: ActionSpec) -> None:
        assert spec.n is not None
        if spec.n > _DIGITS:
            raise ValueError(f"{name}: there are {spec.n} choices; number keys reach {_DIGITS}")
        words = _CHOICES.get(name, ())
        said = words if len(words) == spec.n else tuple(f"choice {i}" for i in range(spec.n))
        self.spec: ActionSpec = spec
        self.labels: tuple[str, ...] = ("choice",)
        self._keys = [(f"Digit{(i + 1) % 10}", f"Numpad{(i + 1) % 10}") for i in range(spec.n)]
        self.bindings = [
            bound("keyboard", keys, [f"{(i + 1) % 10}"], said[i], 0, 0) for i, keys in enumerate(self._keys)
        ]
        self.bindings += [
            bound("gamepad", (f"Pad{i}",), [f"button {i + 1}"], said[i], 0, 0) for i in range(spec.n)
        ]

    def begin(self, executed: Array | None = None, *, anchored: bool = False) -> None:
        """See `Controls.begin`."""

    def hold(self) -> Array:
        """The first choice; a session never does it by itself, since the world waits."""
        return self.spec.settle([0])

    def action(self, input: Input | None, obs: Obs, speed: float) -> Array | None:
        """[1], the choice whose key went down since the last step."""
        for i, keys in enumerate(self._keys):
            if input is not None and not input.pressed.isdisjoint((*keys, f"Pad{i}")):
                return self.spec.settle([i])
        return None


_CHOICES = {"slip-road": ("left lane", "right lane", "back to the road")}
