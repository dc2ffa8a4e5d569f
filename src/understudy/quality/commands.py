"""What the actions of each demonstration are like: noise, and clipping."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from understudy.episode import Episode, Mask
from understudy.numerics import noise_level
from understudy.quality.measures import Floats, Span
from understudy.quality.values import meant

__all__ = ["commands"]

_INSIDE = 0.02  # of the range: a limit so far inside the set's own was not set by it
_HELD = 3  # steps at a limit, from which it is one


def commands(episodes: Sequence[Episode], span: Span, moving: Sequence[Mask]) -> dict[str, Floats]:
    """Noise and clipping of continuous actions, each [E]; NaN where an episode is too short.

    Noise is measured on what the demonstrator meant, in stds of the set's actions, averaged over dimensions
    as a root mean square; clipping on what was executed, where `moving` [T] says that something moves, and
    never at zero: a command that rests is not clipped.
    """
    analogue = ~span.switch & (span.high > span.low)
    noise, clipped = np.full(len(episodes), np.nan), np.zeros(len(episodes))
    if not analogue.any():
        return {}
    low, high, std = span.low[analogue], span.high[analogue], span.std[analogue]
    margin = _INSIDE * (high - low)
    for i, e in enumerate(episodes):
        done = e.action[:, analogue].astype(np.float64)
        if len(e) > _HELD:
            noise[i] = np.sqrt(np.mean((noise_level(meant(e)[:, analogue], 2) / std) ** 2))
        bottom, top = done.min(0), done.max(0)
        at_bottom = (done == bottom) & (bottom > low + margin) & (bottom != 0) & moving[i][:, None]
        at_top = (done == top) & (top < high - margin) & (top != 0) & moving[i][:, None]
        held = at_bottom * (at_bottom.sum(0) >= _HELD) | at_top * (at_top.sum(0) >= _HELD)
        clipped[i] = (held & (bottom < top)).any(1).mean()
    return {"action_noise": noise, "clipped": clipped}
