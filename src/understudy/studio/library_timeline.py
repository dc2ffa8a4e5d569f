"""An episode along its steps: smallest and largest value of each bin, so that no spike is lost. NumPy only.

Shapes: T steps; S = min(rows, bins) bins of a column of D values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.episode import Array, Episode

__all__ = ["MOST_BINS", "at_step", "binned", "pictures", "timeline"]

MOST_BINS = 2000
_DIMS = 64  # values of one column that are drawn
_ALL_DIMS = 160  # of all columns together


def pictures(episode: Episode) -> list[str]:
    """The names of its cameras: uint8 observations [T + 1, H, W, 1 to 4]."""
    return [
        k for k, v in episode.obs.items() if v.ndim == 4 and v.dtype == np.uint8 and 1 <= v.shape[-1] <= 4
    ]


def binned(column: Array, bins: int, valid: NDArray[np.bool_] | None = None) -> tuple[Array, Array]:
    """The smallest and the largest value in each bin, each [S, D] float64; NaN where no row is valid."""
    rows = column.reshape(len(column), -1).astype(np.float64)
    if valid is not None:
        rows = np.where(valid[:, None], rows, np.nan)
    start = _starts(len(rows), bins)
    return np.fmin.reduceat(rows, start, axis=0), np.fmax.reduceat(rows, start, axis=0)


def timeline(episode: Episode, bins: int) -> dict[str, Any]:
    """All columns of an episode over at most `bins` bins each, ready for JSON.

    Observations have T + 1 rows and the others T. `labels` are where the operator spoke and said something
    else than what was executed. `labelled` and `control` are the largest value of each bin.

    Raises:
        ValueError: when `bins` is not within 1 and `MOST_BINS`.
    """
    if not 1 <= bins <= MOST_BINS:
        raise ValueError(f"bins is {bins}; it must lie between 1 and {MOST_BINS}")
    steps, left, series = len(episode), _ALL_DIMS, []
    columns: list[tuple[str, str, Array, NDArray[np.bool_] | None]] = [
        ("action", "action", episode.action, None)
    ]
    if _differs(episode):
        columns.append(("label", "label", episode.label, episode.labelled))
    if episode.reward.any():
        columns.append(("reward", "reward", episode.reward[:, None], None))
    seen = set(pictures(episode))
    columns += [
        ("observation", k, v, None) for k, v in episode.obs.items() if k not in seen and v.dtype.kind == "f"
    ]
    for kind, name, column, valid in columns:
        width = int(np.prod(column.shape[1:]))
        shown = min(width, _DIMS, left)
        left -= shown
        low, high = binned(column.reshape(len(column), -1)[:, :shown], bins, valid)
        exact = len(column) <= bins
        series.append(
            {
                "kind": kind,
                "name": name,
                "dims": width,
                "rows": len(column),
                "low": _lines(low),
                "high": None if exact else _lines(high),
            }
        )
    return {
        "steps": steps,
        "series": series,
        "labelled": _most(episode.labelled, bins),
        "control": None if episode.control is None else _most(episode.control, bins),
        "bins": min(steps, bins),
    }


def at_step(episode: Episode, step: int) -> dict[str, Any]:
    """Every number of one step as it was recorded; the last state has neither action nor reward.

    Raises:
        IndexError: when there is no such step.
    """
    steps = len(episode)
    if not 0 <= step <= steps:
        raise IndexError(f"there is no step {step}; the episode has {steps}")
    seen = set(pictures(episode))
    acted = step < steps
    spoke = acted and bool(episode.labelled[step])
    return {
        "step": step,
        "time": None if episode.time is None else float(episode.time[step]),
        "obs": {
            k: _numbers(v[step]) for k, v in episode.obs.items() if k not in seen and v.dtype.kind == "f"
        },
        "action": _numbers(episode.action[step]) if acted else None,
        "label": _numbers(episode.label[step]) if spoke else None,
        "reward": float(episode.reward[step]) if acted else None,
        "control": int(episode.control[step]) if acted and episode.control is not None else None,
    }


def _starts(rows: int, bins: int) -> NDArray[np.intp]:
    """The first row of each bin; bins are as even as can be, and none is empty."""
    count = min(rows, bins)
    return np.arange(count) * rows // count


def _most(column: Array, bins: int) -> list[int]:
    return [int(x) for x in np.maximum.reduceat(column.astype(np.int64), _starts(len(column), bins))]


def _differs(episode: Episode) -> bool:
    spoke = episode.labelled
    return episode.label is not episode.action and not np.array_equal(
        episode.label[spoke], episode.action[spoke]
    )


def _lines(values: Array) -> list[list[float | None]]:
    """One list a dimension, with seven digits, which is what float32 holds; None where there is nothing."""
    return [[None if x != x else float(f"{x:.7g}") for x in line] for line in values.T.tolist()]


def _numbers(row: Array) -> list[float]:
    """At most `_DIMS` of the values, flat."""
    return [float(x) for x in np.asarray(row).reshape(-1)[:_DIMS]]
