"""The measures: what each one is, in which unit, which way is worse, and which fault it claims to see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

__all__ = ["MEASURES", "Measure"]


@dataclass(frozen=True)
class Measure:
    """One number of an episode.

    Args:
        title: for axes and tables. unit: "" for pure numbers.
        worse: the side on which trouble lies; None where neither is bad in itself.
        about: one line in words.
        sees: the faults (`quality.FAULTS`) that it claims to tell from sound demonstrations, with an area
            under the ROC curve above 0.9: a test and a benchmark hold it to that.
        matters: the least distance from the set's median that is worth naming, in its unit; a factor where
            the measure is a `ratio`, which is positive and compared on a logarithmic scale.
        advice: what to do about an episode that is far out on the worse side; "" where another finding says.
        warns: whether that is more than information.
    """

    title: str
    unit: str
    worse: Literal["high", "low"] | None
    about: str
    sees: tuple[str, ...] = ()
    matters: float = 0.0
    advice: str = ""
    ratio: bool = False
    warns: bool = True


_LOOK = "Look at them; what only they do may be a slip, or the only lesson of its kind"
_CLOCK = "Check the recorder's load and its clock; policies take steps to be equally long"
_SHIFT = "Check how observations and actions are matched in time; shift the actions, or leave these out"

_TABLE = {
    "length": Measure("length", "steps", None, "how many actions it has"),
    "return": Measure("return", "", None, "the undiscounted sum of its rewards"),
    "labelled": Measure("labelled", "share of steps", None, "where the expert said what to do"),
    "path_ratio": Measure(
        "path / straight line", "", "high",
        "how much longer its path is than the straight line between its ends", (), 3.0,
        _LOOK, ratio=True, warns=False,
    ),
    "jerk": Measure(
        "smoothness (LDLJ)", "", "low",
        "log dimensionless jerk, -ln of (T^5/L^2) times the squared jerk; a smooth reach has -6.6",
        (), 5.0, _LOOK, warns=False,
    ),
    "spectral_arc": Measure(
        "smoothness (SPARC)", "", "low",
        "spectral arc length of the speed; a smooth reach has -1.4", ("pauses",), 2.0, _LOOK, warns=False,
    ),
    "paused": Measure("standing still", "share of steps", None, "all steps that hardly move, the end too"),
    "pauses": Measure(
        "pauses", "", "high", "halts of 3 steps or more on the way, its start and end left out",
        ("pauses",), 2.0,
    ),
    "longest_pause": Measure(
        "longest pause", "steps", "high", "the longest halt on the way, its start and end left out",
        ("pauses",), 5.0,
    ),
    "state_noise": Measure(
        "sensor noise", "times the usual", "high",
        "third differences of what was seen, against those of the set", ("sensor-noise",), 2.0,
        "Check the sensors and their wiring; a policy trained on this learns to act on noise", ratio=True,
    ),
    "action_noise": Measure(
        "action noise", "std", "high",
        "second differences of the actions, as the std of white noise", ("noise",), 0.15,
        "Leave them out, or smooth the actions: a shaking hand is imitated as well",
    ),
    "saturated": Measure("saturated actions", "share of steps", None, "some action is at the set's limits"),
    "clipped": Measure(
        "clipped actions", "share of steps", "high",
        "some action stands at this episode's own limit, while the others go further", ("clipping",), 0.1,
        "Check the limits and gains that were set while these were recorded",
    ),
    "frozen": Measure(
        "frozen values", "share of moving steps", "high",
        "the longest time a value froze while others moved, beyond what is usual for it", ("stuck",), 0.5,
        "Check the sensor and its connection; if the reading is true, nothing is wrong",
    ),
    "lag": Measure(
        "lag", "steps", "high",
        "how far actions and their effects are shifted against the set's usual lag", ("lag",), 0.75, _SHIFT,
    ),
    "disagreement": Measure(
        "disagreement", "std", "high",
        "how far its actions are from the others' at the nearest states, where episodes meet",
        ("noise",), 0.3,
        _LOOK, warns=False,
    ),
    "information": Measure(
        "information", "nats", "low",
        "its share in the mutual information of state and action: a signal to rank by", (), 0.5,
        _LOOK, warns=False,
    ),
    "novelty": Measure("novelty", "std", None, "mean distance of its states to the nearest of the others"),
    "coverage": Measure("coverage", "share of cells", None, "of the set's state cells, those that it visits"),
    "unfinished": Measure(
        "unfinished", "share of the way", "high",
        "how much of their way lay ahead of the others where this one stops", ("truncation",), 0.25,
        "Leave them out, or record them to the end: stopping halfway is imitated as well",
    ),
    "nearest": Measure("nearest twin", "std", None, "distance to the demonstration that is most like it"),
    "jitter": Measure(
        "jitter", "median steps", "high", "how uneven its time steps are, gaps left out",
        ("jitter",), 0.05, _CLOCK,
    ),
    "gaps": Measure(
        "gaps", "", "high", "time steps longer than 1.5 times the median", ("gaps",), 1.0, _CLOCK
    ),
    "longest_gap": Measure(
        "longest gap", "median steps", "high", "its longest time step", ("gaps",), 0.5
    ),
    "dropped_frames": Measure(
        "dropped frames", "", "high", "frames that were lost while recording", (), 1.0, _CLOCK
    ),
}  # fmt: skip

MEASURES: Mapping[str, Measure] = MappingProxyType(_TABLE)
"""Name -> what it is. An episode has those that apply: no jitter without measured times, no lag of images."""
