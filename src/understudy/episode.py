"""What happened in one run, from reset to end. NumPy only.

Shapes: T steps, so T + 1 states; A action width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from understudy.frames import equal, join, lazy, view

__all__ = [
    "EXPERT",
    "POLICY",
    "RECOVERY",
    "Array",
    "Episode",
    "Mask",
    "Meta",
    "Obs",
    "as_obs",
    "controls_of",
    "times_of",
]

Array: TypeAlias = NDArray[Any]
Mask: TypeAlias = NDArray[np.bool_]
Obs: TypeAlias = Mapping[str, Array]  # one step, raw units; always a mapping, never a bare array
Meta: TypeAlias = Mapping[str, str | int | float]

# Who held the controls in a step: the policy, the expert, or the expert on the way back to where the robot
# knows what to do, which is a lesson of its own (RaC, Hu et al. 2025).
POLICY, EXPERT, RECOVERY = 0, 1, 2

_EXACT = 2**24  # float32 holds every integer up to here
_CHUNK = 1 << 16  # rows


def as_obs(obs: object) -> dict[str, Any]:
    """The one form of an observation: a flat mapping from names to arrays.

    A bare array becomes ``{"state": array}``; the key ``"observation"`` of a mapping (Gymnasium's goal
    environments) becomes ``"state"``; nested mappings are joined with a dot.

    >>> sorted(as_obs({"observation": 1.0, "camera": {"front": 2.0}}))
    ['camera.front', 'state']
    """
    if not isinstance(obs, Mapping):
        return {"state": obs}
    flat: dict[str, Any] = {}
    for key, value in obs.items():
        name = "state" if key == "observation" else str(key)
        parts = (
            {f"{name}.{k}": v for k, v in as_obs(value).items()}
            if isinstance(value, Mapping)
            else {name: value}
        )
        if clash := flat.keys() & parts.keys():
            raise ValueError(f"two observations would be named {min(clash)!r}; rename one of them")
        flat |= parts
    return flat


def _frozen(x: Array) -> Array:
    """A contiguous array that nobody can write to: a copy, unless it is already one."""
    if lazy(x):  # nobody can write to those
        return cast(Array, x)
    if x.flags.writeable or not x.flags.c_contiguous:
        x = np.array(x, order="C")
        x.flags.writeable = False
    return x


def _where(bad: Mask) -> str:
    """The first true entry, in words: the step, and the dimension where there is one."""
    step, *dims = (int(i) for i in np.argwhere(bad)[0])
    return f"step {step}" + (f", dimension {dims[0] if len(dims) == 1 else tuple(dims)}" if dims else "")


def numbers(name: str, value: ArrayLike, *, integers: bool) -> Array:
    """One column in its canonical form: float32, or uint8 for images, or int64 where `integers` may stay.

    Frames stay what they are.
    """
    if lazy(value):
        return cast(Array, value)
    x = np.asarray(value)
    if x.dtype.kind not in "fiub":
        raise TypeError(f"{name} has dtype {x.dtype}; numbers are needed")
    if x.dtype == np.uint8 and x.ndim >= 3:
        return x
    if x.dtype.kind in "iu" and integers:
        return x.astype(np.int64, copy=False)
    if x.dtype.kind in "iu" and x.size and (x.max() > _EXACT or x.min() < -_EXACT):
        raise ValueError(
            f"{name} holds integers beyond ±2^24, which float32 cannot hold exactly; rescale them"
        )
    with np.errstate(over="ignore"):
        y: Array = x.astype(np.float32, copy=False)
    # In pieces, since a mask of the whole column is a quarter of it.
    if not all(np.isfinite(y[i : i + _CHUNK]).all() for i in range(0, len(y), _CHUNK)):
        finite = np.isfinite(y)
        at = tuple(np.argwhere(~finite)[0])
        raise ValueError(f"{name} is {x[at]} at {_where(~finite)}; every value must be finite in float32")
    return y


def times_of(time: ArrayLike, steps: int) -> Array:
    """Measured times in their canonical form: float64, which holds microseconds of the Unix clock."""
    t = np.asarray(time)
    if t.dtype.kind not in "fiu" or t.shape != (steps + 1,):
        raise ValueError(
            f"time is {t.dtype}{list(t.shape)}; with {steps} actions it must be {steps + 1} numbers of "
            "seconds, one an observation"
        )
    t = _frozen(t.astype(np.float64, copy=False))
    if not np.isfinite(t).all():
        raise ValueError(f"time is {t[~np.isfinite(t)][0]} at {_where(~np.isfinite(t))}; it must be finite")
    if (back := np.diff(t) < 0).any():
        i = int(np.argmax(back))
        raise ValueError(f"time goes back from {t[i]} to {t[i + 1]} at step {i + 1}; it may only grow")
    return t


def controls_of(control: ArrayLike, steps: int) -> Array:
    """Who held the controls, in its canonical form: uint8, one of POLICY, EXPERT and RECOVERY a step."""
    c = np.asarray(control)
    if c.dtype.kind not in "iub" or c.shape != (steps,):
        raise ValueError(
            f"control is {c.dtype}{list(c.shape)}; with {steps} actions it must be {steps} whole numbers"
        )
    if (strange := (c < POLICY) | (c > RECOVERY)).any():
        raise ValueError(
            f"control is {c[strange][0]} at {_where(strange)}; it must be 0 (policy), 1 (expert) or 2 "
            "(recovery)"
        )
    return _frozen(c.astype(np.uint8, copy=False))


@dataclass(frozen=True, eq=False)
class Episode:
    """One run from reset to end, never changed after it is made.

    Floats are kept as float32, images as uint8, discrete actions as int64 of width 1. A time limit is a
    truncation: `terminated` is true only where the task itself ended.

    Args:
        obs: name -> [T + 1, ...]; the state after the last action is kept. Pictures may be `Frames`, which
            are decoded when asked for: index them, or `take`, but do not make one array of them all.
        action: [T, A], what was executed.
        label: [T, A], what the expert says should have been executed; rows without a label are ignored.
        labelled: [T], where the expert spoke.
        reward: [T].
        terminated: whether the task ended the episode.
        success: whether the task was done; None where nobody can say.
        meta: facts such as task, operator, seed and source.
        time: [T + 1] seconds, when each observation was measured on the recorder's own clock, never
            decreasing; None where nobody measured.
        control: [T] who held the controls: POLICY, EXPERT or RECOVERY; None where nobody noted it.

    Raises:
        ValueError: when lengths disagree, a value is not finite, or there are no steps.
        TypeError: when an array does not hold numbers, or meta holds anything but str, int and float.

    >>> e = Episode.demonstration(np.zeros((4, 2)), np.ones((3, 1)))
    >>> len(e), e.obs["state"].shape, bool(e.labelled.all())
    (3, (4, 2), True)
    """

    obs: Mapping[str, Array]
    action: Array
    label: Array
    labelled: Mask
    reward: Array
    terminated: bool = False
    success: bool | None = None
    meta: Meta = field(default_factory=dict)
    time: Array | None = None
    control: Array | None = None

    def __post_init__(self) -> None:
        action = numbers("action", self.action, integers=True)
        if action.ndim != 2 or len(action) == 0 or action.shape[1] == 0:
            raise ValueError(f"action has shape {action.shape}; it must be [T, A] with T >= 1 and A >= 1")
        if action.dtype == np.int64 and action.shape[1] != 1:
            raise ValueError(
                f"action has integer dtype and width {action.shape[1]}; integers mean one discrete choice of "
                "width 1, continuous actions are floats"
            )
        action = _frozen(action)
        shared = self.label is self.action
        label = action if shared else _frozen(numbers("label", self.label, integers=True))
        if label.shape != action.shape or label.dtype != action.dtype:
            raise ValueError(
                f"label is {label.dtype}{list(label.shape)} but action is "
                f"{action.dtype}{list(action.shape)}; they must be alike"
            )
        labelled = _frozen(np.asarray(self.labelled, dtype=np.bool_))
        reward = _frozen(numbers("reward", self.reward, integers=False))
        steps = len(action)
        for name, column in (("labelled", labelled), ("reward", reward)):
            if column.shape != (steps,):
                raise ValueError(
                    f"{name} has shape {column.shape}; with {steps} actions it must be ({steps},)"
                )
        if not self.obs:
            raise ValueError("obs is empty; an episode needs at least one observation")
        obs: dict[str, Array] = {}
        for key, value in self.obs.items():
            if not isinstance(key, str) or not key:
                raise TypeError(f"observation name {key!r} must be a non-empty string")
            column = numbers(f"obs[{key!r}]", value, integers=False)
            if column.ndim < 2:
                raise ValueError(
                    f"obs[{key!r}] has shape {column.shape}; it must be [T + 1, ...] with a width"
                )
            if len(column) != steps + 1:
                raise ValueError(
                    f"obs[{key!r}] has {len(column)} states for {steps} actions; it must have {steps + 1}, "
                    "the last one being the state after the last action"
                )
            obs[key] = _frozen(column)
        for name_, fact in self.meta.items():
            if not isinstance(name_, str) or not isinstance(fact, str | int | float):
                raise TypeError(f"meta[{name_!r}] is {type(fact).__name__}; facts are str, int or float")
        put = object.__setattr__
        put(self, "time", None if self.time is None else times_of(self.time, steps))
        put(self, "control", None if self.control is None else controls_of(self.control, steps))
        put(self, "obs", MappingProxyType(obs))
        put(self, "action", action)
        put(self, "label", label)
        put(self, "labelled", labelled)
        put(self, "reward", reward)
        put(self, "terminated", bool(self.terminated))
        put(self, "success", None if self.success is None else bool(self.success))
        put(self, "meta", MappingProxyType(dict(self.meta)))

    def __len__(self) -> int:
        return len(self.action)

    def __eq__(self, other: object) -> bool:
        """Equal to the last bit in every field."""
        if not isinstance(other, Episode):
            return NotImplemented
        pairs = [(self.action, other.action), (self.label, other.label), (self.labelled, other.labelled)]
        pairs += [(self.reward, other.reward)]
        for mine, its in ((self.time, other.time), (self.control, other.control)):
            if (mine is None) != (its is None):
                return False
            if mine is not None and its is not None:
                pairs += [(mine, its)]
        if self.obs.keys() != other.obs.keys():
            return False
        pairs += [(self.obs[k], other.obs[k]) for k in self.obs]
        return (
            (self.terminated, self.success) == (other.terminated, other.success)
            and dict(self.meta) == dict(other.meta)
            and all(equal(a, b) for a, b in pairs)
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # A mapping proxy does not travel between processes; its contents do.
        label = self.action if self.label is self.action else self.label
        outcome = (self.reward, self.terminated, self.success, dict(self.meta))
        rest = (self.labelled, *outcome, self.time, self.control)
        return _rebuild, (dict(self.obs), self.action, None if label is self.action else label, *rest)

    @property
    def total_reward(self) -> float:
        """The undiscounted return, summed in float64."""
        return float(self.reward.sum(dtype=np.float64))

    @classmethod
    def demonstration(
        cls,
        obs: Mapping[str, ArrayLike] | ArrayLike,
        action: ArrayLike,
        reward: ArrayLike | None = None,
        *,
        terminated: bool = False,
        success: bool | None = None,
        meta: Meta | None = None,
        time: ArrayLike | None = None,
    ) -> Episode:
        """An episode in which the expert did everything: every executed action is its own label.

        `obs` may be a bare array, and `action` one number a step. Without rewards they are zero. Where the
        state after the last action was not recorded (as many states as actions), the last state stands in
        for it: no window starts there, so nothing is learned from the repetition.
        """
        acted = np.asarray(action)
        acted = acted[:, None] if acted.ndim == 1 else acted
        steps = len(acted)
        states = {k: cast(Array, v) if lazy(v) else np.asarray(v) for k, v in as_obs(obs).items()}
        states = {k: v[:, None] if v.ndim == 1 else v for k, v in states.items()}
        states = {k: _one_more(v) if 0 < len(v) == steps else v for k, v in states.items()}
        paid = np.zeros(steps, np.float32) if reward is None else np.asarray(reward)
        spoke, when = np.ones(steps, np.bool_), None if time is None else np.asarray(time)
        return cls(states, acted, acted, spoke, paid, terminated, success, meta or {}, when)


def _one_more(column: Array) -> Array:
    """The rows of a column with the last one twice."""
    if lazy(column):
        return cast(Array, join([column, view(cast(Array, column), len(column) - 1, len(column))]))
    return np.concatenate([column, column[-1:]])


def _rebuild(obs: dict[str, Array], action: Array, label: Array | None, *rest: Any) -> Episode:
    return Episode(obs, action, action if label is None else label, *rest)
