"""The frames worth labelling: where a policy disagrees most, spread over episodes and apart in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from understudy.dataset import Dataset
from understudy.shadow.measure import Shadow

__all__ = ["chosen_frames", "worth_labelling"]


def chosen_frames(shadow: Shadow, frames: int, *, apart: int = 5, each: int = 3) -> dict[int, list[int]]:
    """Episode number -> steps in order: the largest disagreements, spread over episodes and apart in time.

    Frames are taken from the largest disagreement down. One is passed over where its episode has `each`
    already, or has one fewer than `apart` steps away: neighbours say the same twice. Where policy and expert
    agree there is nothing to learn, however few are found.

    Args:
        frames: how many, at most.

    Raises:
        ValueError: when a number is below 1.
    """
    if min(frames, apart, each) < 1:
        raise ValueError(f"frames {frames}, apart {apart} and each {each} must all be at least 1")
    d = [np.nan_to_num(x, nan=0.0) for x in shadow.disagreement]
    owner = np.repeat(np.arange(len(d)), [len(x) for x in d])
    step = np.concatenate([np.arange(len(x)) for x in d])
    size = np.concatenate(d)
    taken: dict[int, list[int]] = {}
    count = 0
    for k in np.argsort(-size, kind="stable"):
        if count == frames or size[k] <= 0:
            break
        i, t = int(owner[k]), int(step[k])
        mine = taken.get(i, [])
        if len(mine) < each and all(abs(t - other) >= apart for other in mine):
            taken[i] = sorted([*mine, t])
            count += 1
    return dict(sorted(taken.items()))


def worth_labelling(shadow: Shadow, frames: Mapping[int, Sequence[int]]) -> Dataset:
    """Those episodes, whole, labelled with what the expert would do at those frames and nowhere else.

    Whole, so that a policy with a history sees what came before a frame. Empty where no frame is named.
    """
    chosen = []
    for i, steps in frames.items():
        e = shadow.data[i]
        chosen.append(replace(e, labelled=e.labelled & np.isin(np.arange(len(e)), list(steps))))
    return Dataset(chosen)
