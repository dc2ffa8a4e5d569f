"""Measured time: how even the steps are, where it was interrupted, and which frames were lost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from understudy.episode import Episode
from understudy.quality.measures import Floats

__all__ = ["timing"]

_COUNT, _LONG = 2**53, 1e6  # frames, and medians: nobody has lost more, or waited longer
_GAP = 1.5  # medians: a frame is missing where a step is longer


def timing(episodes: Sequence[Episode]) -> dict[str, Floats]:
    """Jitter, gaps and dropped frames, each [E]; NaN where nobody measured.

    Gaps are steps longer than 1.5 medians; jitter is the std of all other steps, in medians, so that one gap
    is not jitter as well.
    """
    names = ("jitter", "gaps", "longest_gap", "dropped_frames")
    out = {k: np.full(len(episodes), np.nan) for k in names}
    for i, e in enumerate(episodes):
        lost = e.meta.get("dropped_frames")
        if isinstance(lost, int | float) and 0 <= lost < _COUNT:  # a stranger's file may say anything
            out["dropped_frames"][i] = lost
        if e.time is None or len(e) < 2:
            continue
        with np.errstate(over="ignore"):
            steps = np.diff(e.time)
        usual = float(np.median(steps)) if np.isfinite(steps).all() else 0.0
        if usual == 0:
            continue
        gap = steps > _GAP * usual
        out["jitter"][i] = steps[~gap].std() / usual
        out["gaps"][i] = gap.sum()
        out["longest_gap"][i] = min(steps.max() / usual, _LONG)
    return out
