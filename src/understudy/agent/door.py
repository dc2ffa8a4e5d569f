"""What comes in from an environment, checked and in one form."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import ArrayLike

from understudy.actions import ChunkFrame
from understudy.actions.space import seen_keys
from understudy.agent.normalize import Columns
from understudy.episode import Array, as_obs

__all__ = ["check_frame", "check_members", "windows"]


def windows(
    obs: Mapping[str, ArrayLike] | ArrayLike, columns: Mapping[str, Columns], history: int
) -> tuple[dict[str, Array], bool]:
    """Checked arrays, name -> [B, K, *shape], and whether it was a single window (so B = 1).

    Args:
        obs: a mapping, or a bare array where `columns` has one name; with K = 1 each is [*shape] or
            [B, *shape], else [K, *shape] or [B, K, *shape].
        columns: what is known of each observation.
        history: K.

    Raises:
        ValueError: for a name, shape, dtype or value that does not belong.
    """
    if not isinstance(obs, Mapping):
        if len(columns) > 1:
            raise ValueError(f"obs is a bare array, but the agent knows several: {sorted(columns)}")
        obs = dict.fromkeys(columns, obs)
    elif obs.keys() != columns.keys():
        obs = as_obs(obs)
        if obs.keys() != columns.keys():
            raise ValueError(f"obs has {sorted(obs)}; the agent knows {sorted(columns)}")
    pairs = {k: _window(k, np.asarray(obs[k]), c, history) for k, c in columns.items()}
    sizes = {(len(x), single) for x, single in pairs.values()}
    if len(sizes) > 1:
        raise ValueError(f"obs has batches of {[len(x) for x, _ in pairs.values()]}; they must be equal")
    return {k: x for k, (x, _) in pairs.items()}, sizes.pop()[1]


def _window(key: str, x: Array, columns: Columns, history: int) -> tuple[Array, bool]:
    """One checked array [B, K, *shape], and whether it was a single window."""
    if columns.image != (x.dtype == np.uint8) or x.dtype.kind not in "fiub":
        want = "uint8" if columns.image else "a number, not uint8,"
        raise ValueError(f"obs[{key!r}] has dtype {x.dtype}; it must be {want} as in training")
    window = columns.shape if history == 1 else (history, *columns.shape)
    single = x.shape == window
    if not single and (x.shape[1:] != window or not len(x)):
        raise ValueError(
            f"obs[{key!r}] has shape {list(x.shape)}; it must be {list(window)}, or a batch of it"
        )
    if not columns.image:
        if x.dtype != np.float32:
            with np.errstate(over="ignore"):
                x = x.astype(np.float32)
        if not np.isfinite(x).all():
            raise ValueError(f"obs[{key!r}] holds a value that is not finite in float32")
    if not (x.flags.writeable and x.flags.c_contiguous):
        x = x.copy()  # a tensor must be able to own it
    return x.reshape(-1, history, *columns.shape), single


def check_frame(frame: ChunkFrame, columns: Columns, obs: Collection[str], *, bounded: bool) -> None:
    """Refuses actions and observations that cannot be relative to a chunk's start.

    Raises:
        ValueError: naming what is wrong.
    """
    if bounded or columns.discrete or columns.shape != (frame.relative.width,):
        kind = f"{'bounded, ' * bounded}{'discrete, ' * columns.discrete}of shape {list(columns.shape)}"
        raise ValueError(
            f"relative actions are continuous, unbounded and {frame.relative.width} wide; these are {kind}"
        )
    if missing := sorted(seen_keys(frame.space) - set(obs)):
        raise ValueError(f"the pose is in obs {missing[0]!r}, which the agent does not see: {sorted(obs)}")


def check_members(trunk: object, head: object) -> None:
    """Refuses a trunk and a head that are not ensembles of equally many members.

    Raises:
        ValueError: naming both.
    """
    has, reads = (getattr(config, "members", 1) for config in (trunk, head))
    if has != reads:
        raise ValueError(f"the trunk has members {has} and the head {reads}; they must have equally many")
