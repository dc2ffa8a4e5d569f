"""Which episodes stand out, in which measures, and which of them to look at first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import log

import numpy as np

from understudy.numerics import robust_z
from understudy.quality.measures import Floats
from understudy.quality.table import MEASURES
from understudy.quality.types import Finding, Worst

__all__ = ["FAR", "about_outliers", "outlying", "ranked"]

_AGREED = 0.7  # stds: a mean of all actions would be 1 away
_LEAST = 10  # episodes, from which one can stand out
FAR = 5.0 * (1 - 1e-9)  # robust stds that stand out, up to rounding
_NOTABLE = 2.5  # robust stds, from which an episode is worth a look
_MOST = 20.0  # robust stds, beyond which further is not worse
_FAILED, _REPEATED = 10.0, 10.0  # robust stds that a failure and a repetition count as


def outlying(measures: Mapping[str, Floats], done: Sequence[int] = ()) -> dict[str, Floats]:
    """Measure -> [E] how many robust stds an episode is out on the worse side; 0 on the other.

    The std is that of the better half, and at least a fifth of what matters, so that 5 stds always matter.
    Only measures with a worse side and a value for ten episodes have outliers. Episodes in `done`, which are
    known to have succeeded, are not unfinished, wherever they stop; and where neighbours hardly agree in the
    median episode, nobody's disagreement stands out.
    """
    out = {}
    for name, x in measures.items():
        m, known = MEASURES[name], ~np.isnan(x)
        if m.worse is None or known.sum() < _LEAST:
            continue
        if name == "disagreement" and np.median(x[known]) > _AGREED:
            continue
        z = np.zeros(len(x))
        scaled, matters = (np.log(x[known]), log(m.matters)) if m.ratio else (x[known], m.matters)
        z[known] = robust_z(scaled, m.worse, matters / FAR)
        if name == "unfinished":
            z[list(done)] = 0.0
        out[name] = np.minimum(z, _MOST)
    return out


def _shown(x: float) -> str:
    return f"{x:.3g}"


def about_outliers(
    measures: Mapping[str, Floats], far: Mapping[str, Floats], without: Mapping[str, Sequence[int]]
) -> Iterator[Finding]:
    """One finding a measure; `without` names what other findings have said already.

    A measure of something wrong warns; one that only compares is for information.
    """
    for name, z in far.items():
        m = MEASURES[name]
        said = without.get(name, ())
        where = [int(i) for i in np.argsort(-z, kind="stable") if z[i] >= FAR and i not in said]
        if not where or not m.advice:
            continue
        listed = tuple(sorted(where))
        unit = f" {m.unit}" if m.unit else ""
        x = measures[name]
        few = ", ".join(map(str, listed[:5])) + (", …" if len(listed) > 5 else "")
        yield Finding(
            "warning" if m.warns else "info",
            name,
            f"{m.title} stands out in {len(listed)} of {len(x)} episodes: {few} (most in {where[0]}: "
            f"{_shown(x[where[0]])} against a median of {_shown(float(np.nanmedian(x)))}{unit})",
            m.advice,
            listed,
        )


def ranked(
    measures: Mapping[str, Floats],
    far: Mapping[str, Floats],
    failed: Sequence[int],
    repeated: Mapping[int, int],
) -> tuple[Worst, ...]:
    """The episodes that stand out or failed or repeat another, worst first.

    The score is the sum, over all reasons, of the robust stds by which an episode is out, 20 at most each.
    Measures of something wrong count from 2.5 stds on, those that only compare from 5.
    """
    reasons: dict[int, list[tuple[float, str]]] = {}
    for i in failed:
        reasons.setdefault(i, []).append((_FAILED, "failed"))
    for i, other in repeated.items():
        reasons.setdefault(i, []).append((_REPEATED, f"repeats episode {other}"))
    for name, z in far.items():
        m = MEASURES[name]
        usual = float(np.nanmedian(measures[name]))
        for i in np.flatnonzero(z >= (_NOTABLE if m.warns else FAR)).tolist():
            unit = f" {m.unit}" if m.unit else ""
            said = f"{m.title} {_shown(measures[name][i])}{unit}, usually {_shown(usual)}"
            reasons.setdefault(i, []).append((float(z[i]), said))
    out = []
    for i, why in reasons.items():
        why.sort(key=lambda w: -w[0])
        out.append(Worst(i, sum(z for z, _ in why), tuple(said for _, said in why)))
    return tuple(sorted(out, key=lambda w: (-w.score, w.index)))
