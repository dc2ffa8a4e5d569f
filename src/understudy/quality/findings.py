"""From measures to findings: how bad, the evidence, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from understudy.quality.lag import Lags
from understudy.quality.measures import Floats, Measured, Span
from understudy.quality.outliers import FAR
from understudy.quality.types import EpisodeQuality, Finding

__all__ = [
    "about_amount",
    "about_columns",
    "about_lag",
    "about_near_twins",
    "about_pauses",
    "about_stuck",
    "about_time",
    "about_twins",
]

_FEW = 10  # episodes
_ODD_LENGTH = 3.0  # times longer or shorter than the median
_OFTEN = 0.25  # of the steps at an extreme, from which saturation is more than a note
_PAUSED = 0.3  # of an episode's steps, from which its pauses are named
_NEAR, _NEAR_STDS = 0.05, 0.05  # of the median distance to the nearest, and in stds: a near twin
_NEAR_STEPS = 5  # of an episode at least, for its likeness to another to mean anything
_UNEVEN = 0.25  # steps, from which a set's clock is bad
_LOST = 0.01  # of the frames, from which losing them is more than a note
_EXPLAINED = 0.1  # of the change of state that actions explain at least, for their lag to mean anything
_TRIM = "Trim the waits, unless holding still is the task: a policy shown both may learn to stay"
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


def about_twins(twins: Sequence[Sequence[int]]) -> Iterator[Finding]:
    """Episodes that are equal bit for bit, in groups."""
    if twins:
        surplus = tuple(sorted(i for g in twins for i in g[1:]))
        shown = "; ".join(" = ".join(map(str, g[:4])) for g in twins[:3]) + "; …" * (len(twins) > 3)
        yield Finding(
            "warning",
            "duplicates",
            f"{len(surplus)} {'episode repeats' if len(surplus) == 1 else 'episodes repeat'} another one bit "
            f"for bit: {shown}",
            "Remove them: they count double in training, and land on both sides of a split",
            surplus,
        )


def about_near_twins(
    near: Floats, other: Sequence[int], twins: Sequence[Sequence[int]], lengths: Sequence[int]
) -> Iterator[Finding]:
    """Episodes that follow another one almost exactly, [E] stds away from it, and are not its equal."""
    equal = {i for g in twins for i in g}
    close = _NEAR * float(np.median(near))
    found = [
        i
        for i in range(len(near))
        if near[i] <= min(close, _NEAR_STDS) and i not in equal and lengths[i] >= _NEAR_STEPS
    ]
    if found and close > 0:
        shown = "; ".join(f"{i} ~ {other[i]}" for i in found[:4]) + "; …" * (len(found) > 4)
        yield Finding(
            "info",
            "near-duplicates",
            f"{len(found)} episodes follow another one within {close:.2g} stds all the way: {shown}",
            "Check that they were recorded twice, not copied and altered; keep them on one side of a split",
            tuple(found),
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


def about_pauses(measures: Mapping[str, Floats], far: Mapping[str, Floats]) -> Iterator[Finding]:
    """Episodes that halt on their way as others do not, or stand still for long."""
    if "paused" not in measures:
        return
    odd = [far[k] >= FAR for k in ("pauses", "longest_pause") if k in far]
    halted = tuple(np.flatnonzero(np.any(odd, axis=0)).tolist()) if odd else ()
    share = measures["paused"]
    paused = tuple(i for i in np.flatnonzero(share >= _PAUSED).tolist() if i not in halted)
    if halted:
        longest = measures["longest_pause"]
        worst = max(halted, key=lambda i: longest[i])
        yield Finding(
            "warning",
            "pauses",
            f"{len(halted)} episodes halt on their way as the others do not: {_list(halted)} (longest: "
            f"episode {worst}, {longest[worst]:g} steps)",
            _TRIM,
            halted,
        )
    if paused:
        worst = max(paused, key=lambda i: share[i])
        yield Finding(
            # What most episodes do is the task's nature rather than a slip.
            "warning" if 2 * len(paused) <= len(share) else "info",
            "standing",
            f"{len(paused)} episodes hardly move in {_PAUSED:.0%} or more of their steps: {_list(paused)} "
            f"(most: episode {worst}, {share[worst]:.0%})",
            _TRIM,
            paused,
        )


def about_time(measures: Mapping[str, Floats], steps: int) -> Iterator[Finding]:
    """Clocks that are uneven in most episodes, and lost frames, whatever is usual in the set."""
    jitter, lost = measures.get("jitter"), measures.get("dropped_frames")
    if jitter is not None and (usual := float(np.nanmedian(jitter))) > _UNEVEN:
        yield Finding(
            "warning",
            "uneven-time",
            f"time steps vary by {usual:.0%} in the median episode",
            "Check the recorder's load, or resample to one rate; policies take steps to be equally long",
        )
    if lost is not None and (total := int(np.nansum(lost))) > 0:
        where = tuple(np.flatnonzero(np.nan_to_num(lost) > 0).tolist())
        share = total / (steps + total)
        yield Finding(
            "warning" if share > _LOST else "info",
            "dropped",
            f"{total} frames were lost while recording, {share:.2%} of all, in {_list(where)}",
            "Record at a lower rate or resolution, or on a faster disk",
            where,
        )


def about_lag(lags: Lags) -> Iterator[Finding]:
    """Actions that in the whole set come at another time than right before their effects."""
    if lags.explained < _EXPLAINED or lags.usual == 0:
        return
    if lags.usual < 0:
        yield Finding(
            "warning",
            "late-actions",
            f"actions explain best what was seen {-lags.usual} steps before them (they explain "
            f"{lags.explained:.0%} of the change)",
            "They seem to be recorded too late, and a policy would act late: shift them against the "
            "observations",
        )
    else:
        yield Finding(
            "info",
            "delay",
            f"actions take effect after {lags.usual} steps (they explain {lags.explained:.0%} of the change)",
            "Give the policy a history or chunks of at least that many steps",
        )
