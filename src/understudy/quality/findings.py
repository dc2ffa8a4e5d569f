"""From measures to findings: how bad, the evidence, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from understudy.quality.measures import Floats, Measured, Span
from understudy.quality.types import EpisodeQuality, Finding

__all__ = ["about_amount", "about_columns", "about_pauses", "about_stuck", "about_twins"]

_FEW = 10  # episodes
_ODD_LENGTH = 3.0  # times longer or shorter than the median
_OFTEN = 0.25  # of the steps at an extreme, from which saturation is more than a note
_PAUSED = 0.3  # of an episode's steps, from which its pauses are named
_STUCK_STEPS = 10  # that an episode has at least, for a value to count as stuck in it
_STUCK_SHARE = 0.2  # of the episodes at most: what is still in more of them is meant to be


def _list(episodes: Sequence[int]) -> str:
    shown = ", ".join(map(str, episodes[:5]))
    return f"episode{'s' * (len(episodes) > 1)} {shown}{', …' if len(episodes) > 5 else ''}"


def _names(key: str, dims: Sequence[int]) -> str:
    shown = ", ".join(f"{key}[{d}]" for d in dims[:5])
    return f"{shown}{f' and {len(dims) - 5} more' if len(dims) > 5 else ''}"


def about_amount(episodes: Sequence[EpisodeQuality], labelled: float) -> Iterator[Finding]:
    """Too few, failed, unlabelled, or of odd lengths."""
    if labelled == 0:
        yield Finding("error", "unlabelled", "no step is labelled", "Ask an expert for labels")
    elif labelled < 1:
        yield Finding(
            "info",
            "partly-labelled",
            f"{labelled:.1%} of the steps are labelled",
            "Cloning learns from these alone",
        )
    if len(episodes) < _FEW:
        yield Finding(
            "warning",
            "few",
            f"there are {len(episodes)} episodes",
            "Record more, from varied starts; a handful shows neither the task's variety nor ways back",
        )
    failed = tuple(e.index for e in episodes if e.success is False)
    if failed:
        yield Finding(
            "warning",
            "failures",
            f"{len(failed)} of {len(episodes)} episodes failed: {_list(failed)}",
            "Leave them out of cloning, which copies failures as well",
            failed,
        )
    median = float(np.median([e.steps for e in episodes]))
    odd = tuple(e.index for e in episodes if not median / _ODD_LENGTH <= e.steps <= median * _ODD_LENGTH)
    if odd:
        yield Finding(
            "warning",
            "odd-lengths",
            f"{len(odd)} episodes are more than {_ODD_LENGTH:g} times longer or shorter than the median "
            f"of {median:g} steps: {_list(odd)}",
            "Look at them: recordings cut short, and waits before or after the task, look like this",
            odd,
        )


def about_columns(spans: Mapping[str, Span], saturated: Floats) -> Iterator[Finding]:
    """Dimensions that never change, and actions at their limits: [A], in which share of the steps."""
    for key, span in spans.items():
        flat = np.flatnonzero(span.low == span.high).tolist()
        if flat and key == "action":
            yield Finding(
                "warning",
                "constant-action",
                f"{_names(key, flat)} never changes",
                "Check units and wiring, or leave the dimension out: there is nothing to learn in it",
            )
        elif flat:
            yield Finding(
                "info",
                "constant-observation",
                f"{_names(key, flat)} never changes",
                "Check that this is meant; normalisation keeps such values harmless",
            )
    dims = np.flatnonzero(saturated).tolist()
    if dims:
        shown = ", ".join(f"action[{d}] {saturated[d]:.1%}" for d in dims[:5])
        yield Finding(
            "warning" if max(saturated) >= _OFTEN else "info",
            "saturated",
            f"actions stand at their extremes in this share of the steps: {shown}{', …' * (len(dims) > 5)}",
            "Check whether commands were clipped: what was meant beyond a limit is lost",
        )


def about_twins(measured: Sequence[Measured]) -> Iterator[Finding]:
    """Episodes that are equal bit for bit."""
    groups: dict[bytes, list[int]] = {}
    for i, m in enumerate(measured):
        groups.setdefault(m.digest, []).append(i)
    twins = [g for g in groups.values() if len(g) > 1]
    if twins:
        surplus = tuple(i for g in twins for i in g[1:])
        shown = "; ".join(" = ".join(map(str, g[:4])) for g in twins[:3]) + "; …" * (len(twins) > 3)
        yield Finding(
            "warning",
            "duplicates",
            f"{len(surplus)} episodes repeat another one bit for bit: {shown}",
            "Remove them: they count double in training, and land on both sides of a split",
            surplus,
        )


def about_stuck(measured: Sequence[Measured], spans: Mapping[str, Span]) -> Iterator[Finding]:
    """Values that freeze for a whole episode although they move in nearly all others."""
    long = [i for i, m in enumerate(measured) if len(m.motion) >= _STUCK_STEPS]
    for key in measured[0].still if long else ():
        still = np.stack([measured[i].still[key] for i in long]) & (spans[key].low < spans[key].high)
        seldom = still.mean(0) <= _STUCK_SHARE
        dims = np.flatnonzero(still.any(0) & seldom).tolist()
        if dims:
            where = tuple(i for i, row in zip(long, still[:, dims], strict=True) if row.any())
            yield Finding(
                "warning",
                "stuck",
                f"{_names(key, dims)} does not change in {_list(where)}, though it does in the others",
                "Check the sensor and its connection; if the reading is true, nothing is wrong",
                where,
            )


def about_pauses(episodes: Sequence[EpisodeQuality]) -> Iterator[Finding]:
    """Episodes that stand still for long."""
    paused = tuple(e.index for e in episodes if e.measures.get("paused", 0.0) >= _PAUSED)
    if paused:
        worst = max(paused, key=lambda i: episodes[i].measures["paused"])
        yield Finding(
            # What most episodes do is the task's nature rather than a slip.
            "warning" if 2 * len(paused) <= len(episodes) else "info",
            "pauses",
            f"{len(paused)} episodes hardly move in {_PAUSED:.0%} or more of their steps: {_list(paused)} "
            f"(most: episode {worst}, {episodes[worst].measures['paused']:.0%})",
            "Trim the waits, unless holding still is the task: a policy shown both may learn to stay",
            paused,
        )
