"""Policies that a learned policy must beat before it says anything: no learning, or learning by heart.

Each acts on raw observations, is deterministic given `reset(seed)`, and can be pickled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from understudy.dataset import Dataset
from understudy.episode import Array, Episode, Obs
from understudy.roles import Policy

if TYPE_CHECKING:
    from understudy.envs import ActionSpec

__all__ = ["NearestNeighbour", "RandomPolicy", "Replay", "ZeroPolicy", "baseline_policies"]

_STREAM = (
    0x7A3D  # beside the episode's seed: an environment that draws from the same seed draws other numbers
)
_NUMBERS = 1 << 21  # at most this many remembered: 67 000 states of 31 numbers, found in milliseconds
_BLOCKS = 8  # a picture is remembered as 8 x 8 averages a channel


class RandomPolicy:
    """Uniform within the bounds, or a uniform choice.

    Raises:
        ValueError: when a bound is infinite: there is no uniform distribution then.

    >>> from understudy.envs import ActionSpec
    >>> policy = RandomPolicy(ActionSpec.discrete(3))
    >>> policy.reset(0)
    >>> int(policy.act({})[0]) in (0, 1, 2)
    True
    """

    name = "random"

    def __init__(self, action: ActionSpec) -> None:
        if not action.bounded:
            raise ValueError(
                f"the action bounds are {action.low} to {action.high}; uniform needs finite ones"
            )
        self.action = action
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Starts the episode's own stream of numbers."""
        self._rng = np.random.default_rng((seed, _STREAM))

    def act(self, obs: Obs) -> Array:
        """[A], whatever is seen."""
        spec = self.action
        if spec.n is not None:
            return self._rng.integers(spec.n, size=1)
        low, high = spec.low.astype(np.float64), spec.high.astype(np.float64)
        drawn = (low + (high - low) * self._rng.random(low.shape)).astype(np.float32)
        return np.clip(drawn, spec.low, spec.high)


class ZeroPolicy:
    """Does nothing: zeros, clipped into the bounds; choice 0 where actions are choices.

    >>> from understudy.envs import ActionSpec
    >>> ZeroPolicy(ActionSpec.box([-1, 2], [1, 3])).act({}).tolist()
    [0.0, 2.0]
    """

    name = "zero"

    def __init__(self, action: ActionSpec) -> None:
        if action.n is not None:
            self._still: Array = np.zeros(1, np.int64)
        else:
            self._still = np.clip(np.zeros(action.low.shape, np.float32), action.low, action.high)

    def reset(self, seed: int) -> None:
        """Nothing to start."""

    def act(self, obs: Obs) -> Array:
        """[A], the same always."""
        return self._still.copy()


class Replay:
    """Plays a demonstration with closed eyes: the one whose first observation is nearest to this episode's.

    It plays what was executed, from the first action on, and after the end repeats the last action, as
    windows of a dataset do. It shows how far a task goes without feedback. Distances are in units of each
    dimension's standard deviation over the demonstrations' first observations.

    Raises:
        ValueError: when there are no demonstrations.
    """

    name = "replay"

    def __init__(self, demonstrations: Iterable[Episode]) -> None:
        listed = list(demonstrations)
        if not listed:
            raise ValueError("there are no demonstrations; a replay needs at least one")
        self._memory = _Memory({k: np.stack([e.obs[k][0] for e in listed]) for k in listed[0].obs})
        self._actions = tuple(e.action for e in listed)
        self.reset(0)

    def reset(self, seed: int) -> None:
        """The first observation of the episode decides, not the seed."""
        self._playing: Array | None = None
        self._step = 0

    def act(self, obs: Obs) -> Array:
        """[A], the next action of the demonstration chosen at the first step."""
        if self._playing is None:
            self._playing = self._actions[int(self._memory.nearest(obs, 1)[0])]
        action: Array = self._playing[min(self._step, len(self._playing) - 1)]
        self._step += 1
        return action.copy()


class NearestNeighbour:
    """Does what the expert did in the most similar states of the demonstrations: the mean of k labels, or the
    most frequent choice (the nearest first among equals).

    Distances are in units of each dimension's standard deviation over all states. Of more states than
    are remembered (2^21 numbers in all) every other, every third, ... is kept.

    Args:
        k: how many neighbours, at least 1; a smaller memory gives all it has.

    Raises:
        ValueError: when k < 1 or no step is labelled.
    """

    name = "nearest-neighbour"

    def __init__(self, demonstrations: Dataset, k: int = 1) -> None:
        if k < 1:
            raise ValueError(f"k is {k}; at least one neighbour is needed")
        windows = demonstrations.windows()
        width = sum(_width(shape, dtype) for dtype, shape in _observations(demonstrations))
        stride = -(-len(windows) * width // _NUMBERS)
        rows = np.arange(0, len(windows), max(1, stride))
        parts = [windows.batch(part) for part in np.array_split(rows, -(-len(rows) // 512))]
        seen = {key: np.concatenate([_features(p.obs[key][:, 0]) for p in parts]) for key in parts[0].obs}
        self._labels: Array = np.concatenate([p.action[:, 0] for p in parts])
        self._memory = _Memory(seen)
        self._k = min(k, len(rows))

    def reset(self, seed: int) -> None:
        """Nothing to start: every state is looked up by itself."""

    def act(self, obs: Obs) -> Array:
        """[A], from the states most like this one."""
        labels = self._labels[self._memory.nearest(obs, self._k)]
        if labels.dtype == np.int64:
            most, _ = Counter(int(c) for c in labels[:, 0]).most_common(1)[0]
            return np.array([most])
        average: Array = labels.mean(0, dtype=np.float64).astype(np.float32)
        return average


def baseline_policies(
    demonstrations: Dataset | None, action: ActionSpec, expert: Policy | None = None
) -> dict[str, Policy]:
    """What is printed beside every policy: "expert" where there is one, "random" where actions are bounded,
    "zero", and where the demonstrations are at hand "replay" and "nearest-neighbour"."""
    named: dict[str, Policy] = {} if expert is None else {"expert": expert}
    listed: list[Any] = [RandomPolicy(action)] if action.bounded else []
    listed.append(ZeroPolicy(action))
    if demonstrations is not None:
        listed += [Replay(demonstrations), NearestNeighbour(demonstrations)]
    return named | {policy.name: policy for policy in listed}


class _Memory:
    """Observations by similarity: each dimension in units of its own standard deviation."""

    def __init__(self, obs: dict[str, Array]) -> None:
        from scipy.spatial import cKDTree

        self._keys = tuple(sorted(obs))
        rows = np.concatenate([_features(obs[key]) for key in self._keys], 1, dtype=np.float64)
        spread, largest = rows.std(0), np.abs(rows).max(0)
        # What never changes (but for rounding) cannot tell states apart, and would if it were blown up.
        self._kept = spread > 1e-6 * largest
        self._spread = spread[self._kept]
        self._tree = cKDTree(rows[:, self._kept] / self._spread) if self._kept.any() else None

    def nearest(self, obs: Obs, k: int) -> NDArray[np.int64]:
        """[k], row numbers, the nearest first."""
        if missing := set(self._keys) - obs.keys():
            raise ValueError(f"the observation has no {min(missing)!r}, which the demonstrations have")
        if self._tree is None:
            return np.arange(k)
        one = np.concatenate(
            [_features(np.asarray(obs[key])[None])[0] for key in self._keys], dtype=np.float64
        )
        if len(one) != len(self._kept):
            raise ValueError(f"the observation has {len(one)} numbers, the demonstrations {len(self._kept)}")
        found = self._tree.query(one[self._kept] / self._spread, k)[1]
        return np.atleast_1d(found).astype(np.int64)


def _observations(data: Dataset) -> list[tuple[str, tuple[int, ...]]]:
    return [entry for key, entry in data.schema.items() if key != "action"]


def _is_picture(dtype: Any, shape: tuple[int, ...]) -> bool:
    return np.dtype(dtype) == np.uint8 and len(shape) == 3


def _width(shape: tuple[int, ...], dtype: str) -> int:
    if not _is_picture(dtype, shape):
        return int(np.prod(shape))
    return min(_BLOCKS, shape[0]) * min(_BLOCKS, shape[1]) * shape[2]


def _features(rows: Array) -> NDArray[np.float32]:
    """[B, ...] -> [B, F]: numbers as they are, pictures [B, H, W, C] as block averages."""
    if _is_picture(rows.dtype, rows.shape[1:]):
        for axis in (1, 2):
            edges = np.linspace(0, rows.shape[axis], min(_BLOCKS, rows.shape[axis]), endpoint=False).astype(
                int
            )
            sums = np.add.reduceat(rows, edges, axis, dtype=np.float32)
            size = np.diff(np.append(edges, rows.shape[axis])).astype(np.float32)
            rows = sums / size.reshape([-1 if i == axis else 1 for i in range(4)])
    flat: NDArray[np.float32] = rows.reshape(len(rows), -1).astype(np.float32)
    return flat
