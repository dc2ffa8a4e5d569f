"""Which key, stick and button does what, for each task: plain data, which the page shows as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from understudy.envs.spaces import ActionSpec
from understudy.episode import Array, Obs

__all__ = ["MOST", "Axis", "Drag", "Grip", "Layout", "layout_of", "named"]

MOST = 8  # dimensions of an action that have keys

# Keys by where they are on the keyboard, for as many dimensions as an action has: (more, less).
_PAIRS = (
    ("KeyD", "KeyA"),
    ("KeyW", "KeyS"),
    ("KeyE", "KeyQ"),
    ("KeyL", "KeyJ"),
    ("KeyI", "KeyK"),
    ("KeyO", "KeyU"),
    ("ArrowRight", "ArrowLeft"),
    ("ArrowUp", "ArrowDown"),
)
_FORTH, _BACK = ("KeyW", "ArrowUp"), ("KeyS", "ArrowDown")
_LEFT, _RIGHT = ("KeyA", "ArrowLeft"), ("KeyD", "ArrowRight")
_NAMES = {
    "ArrowUp": "↑",
    "ArrowDown": "↓",
    "ArrowLeft": "←",
    "ArrowRight": "→",
    "PageUp": "Page Up",
    "PageDown": "Page Down",
    "Pad0": "A / cross",
}
_STICKS = ("left stick →", "left stick ↑", "right stick →", "right stick ↑")
_TOUCHES = ("stick →", "stick ↑", "slider ↑")
_STEP = 0.033  # metres the Fetch hand moves in one step at action 1
_NEAR = 0.002  # metres from its target, where a dragged hand rests


def named(code: str) -> str:
    """A key's name as it is printed on it."""
    return _NAMES.get(code) or code.removeprefix("Key").removeprefix("Digit").removeprefix("Numpad")


@dataclass(frozen=True)
class Axis:
    """One dimension of an action, and what moves it.

    Args:
        dim: of the action. more, less: the keys of either direction.
        words: what the two directions do.
        pad: axis of the gamepad in the standard layout, and the sign with which it counts; None without one.
        touch: likewise, of `Input.touch`.
    """

    dim: int
    more: tuple[str, ...]
    less: tuple[str, ...]
    words: tuple[str, str]
    pad: tuple[int, int] | None = None
    touch: tuple[int, int] | None = None


@dataclass(frozen=True)
class Grip:
    """A dimension that stays where it was put: fingers.

    Args:
        dim: of the action. open, closed: its two values. start: its value when an episode begins.
        keys: each press changes between the two.
        touch: place in `Input.touch`, where 1 opens and -1 closes.
    """

    dim: int
    open: float
    closed: float
    start: float
    keys: tuple[str, ...]
    touch: int


Place = Callable[[Obs], Array]


@dataclass(frozen=True)
class Drag:
    """A servo towards a place that is dragged.

    Args:
        hand: observation -> [D], where the hand is along x, y, ..., in metres of the scene.
        dims: the D dimensions of the action that move it there.
        step: metres from the target at which the action is 1, and nearer less. near: where it rests.
        brake: observation -> [D], what is taken off the action because the hand moves by itself.
    """

    hand: Place
    dims: tuple[int, ...]
    step: float
    near: float
    brake: Place | None = None


@dataclass(frozen=True)
class Layout:
    """All controls of a task with continuous actions.

    Args:
        names: of the dimensions of an action [A].
        speed: the share of the full action that a key gives at first, in (0, 1].
    """

    axes: tuple[Axis, ...]
    names: tuple[str, ...]
    speed: float
    grip: Grip | None = None
    drag: Drag | None = None


def layout_of(name: str, spec: ActionSpec) -> Layout:
    """The controls of a task.

    Raises:
        ValueError: when its actions have no bounds, or more than eight dimensions.
    """
    if not spec.bounded:
        raise ValueError(f"{name}: actions without bounds cannot be driven by hand; a key has no size there")
    if spec.width > MOST:
        raise ValueError(f"{name}: an action has {spec.width} dimensions; keys reach {MOST}")
    if name.startswith("fetch-") and spec.width == 4:
        return _fetch(fingers=name == "fetch-pick-place")
    if name in _KNOWN and spec.width == len(_KNOWN[name].names):
        return _KNOWN[name]
    return _any(spec)


def _fetch(*, fingers: bool) -> Layout:
    """The hand along x (away from the robot), y (to its left) and z.

    A full action is 1.25 m/s, which nobody can steer: a key gives a fifth of it at first.
    """
    axes = (
        Axis(0, _FORTH, _BACK, ("away from the robot", "to the robot"), (1, -1), (1, 1)),
        Axis(1, _LEFT, _RIGHT, ("to its left", "to its right"), (0, -1), (0, -1)),
        Axis(2, ("KeyE", "PageUp"), ("KeyQ", "PageDown"), ("up", "down"), (3, -1), (2, 1)),
    )
    # Where the fingers are blocked their command does nothing, and 0 is what the scripts give.
    grip = Grip(3, 1.0, -1.0, 1.0, ("Space", "Pad0"), 3) if fingers else None
    drag = Drag(_fetch_hand, (0, 1, 2), _STEP, _NEAR)
    return Layout(axes, ("x", "y", "z", "fingers"), 0.2, grip, drag)


def _fetch_hand(obs: Obs) -> Array:
    return np.asarray(obs["state"][0:3], np.float64)


def _any(spec: ActionSpec) -> Layout:
    axes = []
    for i in range(spec.width):
        pad = (i, -1 if i % 2 else 1) if i < len(_STICKS) else None  # a stick's y grows downwards
        touch = (i, 1) if i < len(_TOUCHES) else None
        more, less = _PAIRS[i]
        axes.append(Axis(i, (more,), (less,), (f"action {i} up", f"action {i} down"), pad, touch))
    return Layout(tuple(axes), tuple(f"action {i}" for i in range(spec.width)), 0.5)


_KNOWN = {
    "pendulum": Layout(
        (Axis(0, _LEFT, _RIGHT, ("turn left", "turn right"), (0, -1), (0, -1)),),
        ("torque",),
        1.0,
    ),
    "reacher": Layout(
        (
            Axis(0, _LEFT, _RIGHT, ("shoulder left", "shoulder right"), (0, -1), (0, -1)),
            Axis(1, ("KeyQ",), ("KeyE",), ("elbow left", "elbow right"), (2, -1), (2, -1)),
        ),
        ("shoulder", "elbow"),
        0.1,
    ),
    "lunar-lander-continuous": Layout(
        (
            Axis(0, _FORTH, (), ("main engine", ""), (1, -1), (1, 1)),
            Axis(1, _RIGHT, _LEFT, ("turn right", "turn left"), (0, 1), (0, 1)),
        ),
        ("main engine", "side engines"),
        1.0,
    ),
    **dict.fromkeys(
        ("point-maze", "point-maze-moved"),
        Layout(
            (
                Axis(0, _RIGHT, _LEFT, ("right", "left"), (0, 1), (0, 1)),
                Axis(1, _FORTH, _BACK, ("up", "down"), (1, -1), (1, 1)),
            ),
            ("x", "y"),
            1.0,
            drag=Drag(lambda obs: obs["state"][:2], (0, 1), 0.2, 0.02, lambda obs: 0.5 * obs["state"][2:]),
        ),
    ),
}  # fmt: skip


def bindings_of(layout: Layout) -> list[dict[str, Any]]:
    """What the page shows: for each control its keys, their names, what it does and on which device."""
    out: list[dict[str, Any]] = []
    for axis in layout.axes:
        for keys, words, sign in ((axis.more, axis.words[0], 1), (axis.less, axis.words[1], -1)):
            if keys:
                out.append(bound("keyboard", keys, [named(k) for k in keys], words, axis.dim, sign))
        both = " / ".join(w for w in axis.words if w)
        if axis.pad is not None:
            out.append(
                bound("gamepad", (f"Axis{axis.pad[0]}",), [_STICKS[axis.pad[0]]], both, axis.dim, axis.pad[1])
            )
        if axis.touch is not None:
            at, sign = axis.touch
            out.append(bound("touch", (f"Touch{at}",), [_TOUCHES[at]], both, axis.dim, sign))
    if (grip := layout.grip) is not None:
        words = "open or close the fingers"
        out.append(bound("keyboard", grip.keys[:1], [named(k) for k in grip.keys[:1]], words, grip.dim, 0))
        out.append(bound("gamepad", grip.keys[1:], [named(k) for k in grip.keys[1:]], words, grip.dim, 0))
        out.append(bound("touch", (f"Touch{grip.touch}",), ["fingers"], words, grip.dim, 1))
    if layout.drag is not None:
        out.append(bound("drag", (), [], "drag the hand to where it should go", -1, 0))
    return out


def bound(
    device: str, keys: tuple[str, ...], names: list[str], label: str, dim: int, sign: int
) -> dict[str, Any]:
    """One line of `bindings`: `dim` of the action (-1: several), `sign` of its motion (0: it switches)."""
    return {"device": device, "keys": list(keys), "names": names, "label": label, "dim": dim, "sign": sign}
