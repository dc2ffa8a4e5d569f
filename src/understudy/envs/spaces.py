"""What goes into an environment and what comes out, read off Gymnasium's spaces without importing Gymnasium.

A space is known by the name of its class, so the old `gym` package's spaces are understood too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from understudy.episode import Array, as_obs

__all__ = ["ActionSpec", "Column", "Reader", "action_spec", "by_example", "for_space", "parts"]


@dataclass(frozen=True, eq=False)
class ActionSpec:
    """What actions an environment takes.

    Args:
        low, high: [A], the bounds in the environment's units; infinite where there is none.
        n: the number of discrete choices 0..n-1, then A = 1; None for continuous actions.

    Raises:
        ValueError: when the bounds are not two vectors of one width with low <= high.

    >>> spec = ActionSpec.box([-1, 0], [1, 2])
    >>> spec.width, spec.settle([5.0, 1.0]).tolist()
    (2, [1.0, 1.0])
    """

    low: Array
    high: Array
    n: int | None = None
    shape: tuple[int, ...] = ()  # as the environment wants it; [A] inside the library
    start: int = 0  # the environment's name of choice 0

    def __post_init__(self) -> None:
        low, high = (np.array(b, np.float32).reshape(-1) for b in (self.low, self.high))
        if low.shape != high.shape or not low.size or not (low <= high).all():
            raise ValueError(f"action bounds are {low} and {high}; they must be [A] with low <= high")
        if self.n is not None and (self.n < 1 or low.size != 1):
            raise ValueError(
                f"there are {self.n} choices of width {low.size}; at least 1 of width 1 is needed"
            )
        for bound, name in ((low, "low"), (high, "high")):
            bound.flags.writeable = False
            object.__setattr__(self, name, bound)
        object.__setattr__(self, "shape", tuple(self.shape) or low.shape)

    @classmethod
    def box(cls, low: ArrayLike, high: ArrayLike) -> ActionSpec:
        """Continuous actions between two bounds [A]."""
        return cls(np.atleast_1d(np.asarray(low)), np.atleast_1d(np.asarray(high)))

    @classmethod
    def unbounded(cls, width: int) -> ActionSpec:
        """Continuous actions [width] without bounds."""
        return cls(np.full(width, -np.inf), np.full(width, np.inf))

    @classmethod
    def discrete(cls, n: int, start: int = 0) -> ActionSpec:
        """One of n choices; `start` is the environment's name of choice 0."""
        return cls(np.zeros(1), np.full(1, n - 1.0), n, start=start)

    @property
    def width(self) -> int:
        """A, the width of one action."""
        return int(self.low.size)

    @property
    def bounded(self) -> bool:
        """Whether every dimension has finite bounds."""
        return bool(np.isfinite(self.low).all() and np.isfinite(self.high).all())

    def settle(self, action: ArrayLike) -> Array:
        """The action [A] that is really executed: float32 clipped to the bounds, or an int64 choice.

        Raises:
            ValueError: for a wrong width, a value that is not finite, or a choice that does not exist.
        """
        a = np.asarray(action)
        if a.dtype.kind not in "fiub":
            raise TypeError(f"an action has dtype {a.dtype}; numbers are needed")
        if a.size != self.width:
            raise ValueError(f"an action has shape {a.shape}; {self.width} numbers are needed")
        a = a.reshape(-1)
        if self.n is not None:
            choice = a.astype(np.int64) if np.isfinite(a).all() else np.full(1, -1)
            if choice[0] != a[0] or not 0 <= choice[0] < self.n:
                raise ValueError(f"action {a[0]} is not one of the choices 0..{self.n - 1}")
            return choice
        out = a.astype(np.float32)
        if not np.isfinite(out).all():
            at = int(np.flatnonzero(~np.isfinite(out))[0])
            raise ValueError(f"an action is {a[at]} in dimension {at}; every value must be finite in float32")
        np.minimum(out, self.high, out=out)
        return np.maximum(out, self.low, out=out)

    def unwrap(self, settled: Array) -> Any:
        """The same action as the environment itself wants it: an int, or an array of its own shape."""
        return int(settled[0]) + self.start if self.n is not None else settled.reshape(self.shape)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ActionSpec):
            return NotImplemented
        mine, its = ((s.n, s.shape, s.start, s.low.tolist(), s.high.tolist()) for s in (self, other))
        return mine == its

    def __hash__(self) -> int:
        return hash((self.n, self.shape, self.start, self.low.tobytes(), self.high.tobytes()))

    def __reduce__(self) -> tuple[Any, ...]:
        return ActionSpec, (self.low, self.high, self.n, self.shape, self.start)


@dataclass(frozen=True)
class Column:
    """How one observation is read: its shape and dtype inside the library, and the way there."""

    shape: tuple[int, ...]
    dtype: type[np.floating[Any]] | type[np.integer[Any]]
    read: Callable[[Any], Array]


Reader: TypeAlias = Mapping[str, Column]


def _kind(space: object) -> str:
    known = {"Box", "Discrete", "MultiDiscrete", "MultiBinary", "Dict"}
    return next((c.__name__ for c in type(space).__mro__ if c.__name__ in known), type(space).__name__)


def action_spec(space: Any) -> ActionSpec:
    """The ActionSpec of a Box or Discrete action space.

    Raises:
        TypeError: for any other space, or a Box of integers.
    """
    kind = _kind(space)
    if kind == "Discrete":
        return ActionSpec.discrete(int(space.n), int(getattr(space, "start", 0)))
    if kind == "Box" and np.dtype(space.dtype).kind == "f":
        return ActionSpec(space.low, space.high, shape=tuple(space.shape))
    what = f"a Box of {space.dtype}" if kind == "Box" else kind
    raise TypeError(f"actions are {what}; the library knows Box (floating point) and Discrete actions")


def _numbers(shape: tuple[int, ...]) -> Column:
    inside = shape or (1,)

    def read(value: Any) -> Array:
        x = np.asarray(value)
        if x.dtype.kind in "iu" and x.size and np.abs(x.astype(np.float64)).max() > 2**24:
            raise ValueError("an observation holds integers beyond ±2^24, which float32 cannot hold exactly")
        x = x.astype(
            np.float32
        )  # never the environment's own array: some go on writing to what they returned
        if x.shape == shape:
            return x.reshape(inside)
        raise ValueError(f"an observation has shape {list(x.shape)}; {list(shape)} was announced")

    return Column(inside, np.float32, read)


def _image(shape: tuple[int, ...]) -> Column:
    inside = shape if len(shape) >= 3 else (*shape, 1)

    def read(value: Any) -> Array:
        x = np.array(value)
        if x.dtype == np.uint8 and x.shape == shape:
            return x.reshape(inside)
        raise ValueError(f"an image is {x.dtype}{list(x.shape)}; uint8{list(shape)} was announced")

    return Column(inside, np.uint8, read)


def _choice(n: int, start: int) -> Column:
    def read(value: Any) -> Array:
        if not 0 <= (i := int(value) - start) < n:
            raise ValueError(f"an observation is {value}; it was announced to be in {start}..{start + n - 1}")
        x = np.zeros(n, np.float32)
        x[i] = 1.0
        return x

    return Column((n,), np.float32, read)


def _choices(sizes: tuple[int, ...]) -> Column:
    parts = [_choice(n, 0) for n in sizes]

    def read(value: Any) -> Array:
        each = np.asarray(value).reshape(-1)
        return np.concatenate([p.read(v) for p, v in zip(parts, each, strict=True)])

    return Column((sum(sizes),), np.float32, read)


def _column(space: Any) -> Column:
    kind = _kind(space)
    if kind == "Discrete":
        return _choice(int(space.n), int(getattr(space, "start", 0)))
    if kind == "MultiDiscrete":
        return _choices(tuple(int(n) for n in np.asarray(space.nvec).reshape(-1)))
    if kind in ("Box", "MultiBinary"):
        shape = tuple(int(n) for n in space.shape)
        return _image(shape) if space.dtype == np.uint8 and len(shape) in (2, 3) else _numbers(shape)
    raise TypeError(
        f"an observation is {kind}; the library knows Box, Discrete, MultiDiscrete, MultiBinary and Dict"
    )


def _spaces(space: Any) -> Any:
    return {k: _spaces(v) for k, v in space.spaces.items()} if _kind(space) == "Dict" else space


def parts(space: Any) -> dict[str, Any]:
    """The spaces inside a space, by the names that their observations get."""
    return as_obs(_spaces(space))


def for_space(space: Any) -> Reader:
    """One column for each observation that a space announces, named as `as_obs` names them.

    Raises:
        TypeError: for a space that holds anything but numbers of a fixed shape.
    """
    return {name: _column(part) for name, part in parts(space).items()}


def by_example(obs: Mapping[str, Any]) -> Reader:
    """One column for each array of a first observation, where nothing announced them."""

    def like(name: str, value: Any) -> Column:
        x = np.asarray(value)
        if x.dtype.kind not in "fiub":
            raise TypeError(f"observation {name!r} has dtype {x.dtype}; numbers are needed")
        return _image(x.shape) if x.dtype == np.uint8 and x.ndim == 3 else _numbers(x.shape)

    return {name: like(name, value) for name, value in obs.items()}
