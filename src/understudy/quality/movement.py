"""How each demonstration moves: straight or not, smooth or not, with halts, noise and frozen values."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import numpy as np

from understudy.episode import Episode, Mask
from understudy.numerics import (
    log_dimensionless_jerk,
    longest_run,
    noise_level,
    path_ratio,
    runs,
    spectral_arc_length,
)
from understudy.quality.measures import Floats, Measured
from understudy.quality.values import Values

__all__ = ["halts", "movement"]

_HALT = 3  # steps, from which a halt is one
_USUAL = 0.8  # of the episodes: what a value does in more than the rest of them is meant to be
_ENDS = 0.02  # of the motion, at either end
_LEAST = 0.003  # stds: below it, differences are rounding and the movement itself rather than noise
_JUDGED = 5  # states, from which noise is told from motion


def movement(episodes: Sequence[Episode], values: Values, moving: Sequence[Mask]) -> dict[str, Floats]:
    """Path ratio, jerk, spectral arc, sensor noise and frozen values, each [E]; NaN where there are none.

    Args:
        moving: [T] of each episode, the steps that are no pause. A value that rests while all rest is not
            frozen, and time that passes then does not count.
    """
    rows = [_one(values, values.states(e), m) for e, m in zip(episodes, moving, strict=True)]
    out = {k: np.array([r[k] for r in rows]) for k in ("path_ratio", "jerk", "spectral_arc")}
    frozen = np.stack([r["held"] for r in rows])  # [E, D], steps
    steps = np.array([max(1, int(m.sum())) for m in moving])
    # What rests long in many episodes, such as a block before it is touched, may rest that long.
    out["frozen"] = np.maximum(frozen - np.quantile(frozen, _USUAL, axis=0), 0).max(1, initial=0) / steps
    noise = np.stack([r["noise"] for r in rows])  # [E, D], in stds
    judged = ~np.isnan(noise).any(1)
    out["state_noise"] = np.full(len(rows), np.nan)
    if judged.any() and noise.shape[1]:
        usual = np.median(noise[judged], axis=0)
        out["state_noise"][judged] = np.exp(np.log((noise[judged] + _LEAST) / (usual + _LEAST)).mean(1))
    return out


def _one(values: Values, states: Floats, moving: Mask) -> dict[str, Floats | float]:
    path = values.moved(states)
    out: dict[str, Floats | float] = dict.fromkeys(("path_ratio", "jerk", "spectral_arc"), np.nan)
    still = np.diff(states[:, values.std > 0], axis=0)[moving] == 0
    out["held"] = longest_run(still).astype(np.float64)
    lively = states[:, values.lively] / values.std[values.lively]
    enough = len(states) >= _JUDGED
    out["noise"] = noise_level(lively, 3) if enough else np.full(lively.shape[1], np.nan)
    speed = np.sqrt((np.diff(path, axis=0) ** 2).sum(1))
    if enough and speed.any():
        ratio, jerk = path_ratio(path), log_dimensionless_jerk(path)
        out["path_ratio"] = ratio if isfinite(ratio) else np.nan  # it comes back to its start
        out["jerk"] = jerk if isfinite(jerk) else np.nan  # its speed never changes
        out["spectral_arc"] = spectral_arc_length(speed)
    return out


def halts(measured: Sequence[Measured], still: float) -> dict[str, Floats]:
    """The number of halts on the way, and the steps of the longest, each [E].

    A halt is a run of three steps or more with no motion above `still`. Where less than 2 % of all motion
    came before, it has not begun; where less than 2 % comes after, it has arrived.
    """
    count, longest = np.zeros(len(measured)), np.zeros(len(measured))
    for i, m in enumerate(measured):
        found = runs(m.motion <= still)
        gone = np.concatenate([[0.0], np.cumsum(m.motion)])
        inner = found[(gone[found[:, 0]] > _ENDS * gone[-1]) & (gone[found[:, 1]] < (1 - _ENDS) * gone[-1])]
        lasted = inner[:, 1] - inner[:, 0]
        count[i], longest[i] = (lasted >= _HALT).sum(), lasted[lasted >= _HALT].max(initial=0)
    return {"pauses": count, "longest_pause": longest}
