"""Who recorded what, and from where: operators compared, and what the set has too much of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from understudy.episode import Episode
from understudy.numerics import Estimate, bootstrap, wilson
from understudy.quality.measures import Floats
from understudy.quality.types import Finding
from understudy.quality.values import Values

__all__ = ["about_balance", "about_operators", "about_starts", "compared"]

_EPISODES, _OPERATORS = 5, 20  # the fewest of an operator who is compared; the most who are
_MUCH = 10  # times as many episodes of one value as of another
_SAME_START = 1e-3  # stds
_WORDS = {"success": "succeed", "length": "take as many steps", "jerk": "move as smoothly"}


def compared(episodes: Sequence[Episode], jerk: Floats | None) -> dict[str, dict[str, Estimate]]:
    """Operator -> success (Wilson), length and jerk (bootstrap of the mean), each with its 95 % interval.

    Only operators with five episodes and more, the twenty with most, and none where there is only one.
    """
    groups: dict[str, list[int]] = {}
    for i, e in enumerate(episodes):
        if "operator" in e.meta:
            groups.setdefault(str(e.meta["operator"]), []).append(i)
    shown = sorted((k for k in groups if len(groups[k]) >= _EPISODES), key=lambda k: (-len(groups[k]), k))
    if len(shown) < 2:
        return {}
    out: dict[str, dict[str, Estimate]] = {}
    for name in shown[:_OPERATORS]:
        rows = groups[name]
        said = [won for i in rows if (won := episodes[i].success) is not None]
        out[name] = {"success": wilson(sum(said), len(said))} if said else {}
        out[name]["length"] = bootstrap([float(len(episodes[i])) for i in rows])
        smooth = [] if jerk is None else [float(jerk[i]) for i in rows if not np.isnan(jerk[i])]
        if len(smooth) >= _EPISODES:
            out[name]["jerk"] = bootstrap(smooth)
    return out


def about_operators(operators: Mapping[str, Mapping[str, Estimate]]) -> Iterator[Finding]:
    """Where the intervals of two operators do not overlap: a difference that chance would hardly make."""
    for what, words in _WORDS.items():
        known = {k: m[what] for k, m in operators.items() if what in m}
        apart = [(a, b) for a, b in combinations(known, 2) if _disjoint(known[a], known[b])]
        if apart:
            a, b = max(apart, key=lambda p: abs(known[p[0]].value - known[p[1]].value))
            yield Finding(
                "info",
                f"operators-{what}",
                f"operators do not {words}: {a} {known[a]}, {b} {known[b]}",
                "Look at both; a policy trained on all imitates the mixture",
            )


def _disjoint(a: Estimate, b: Estimate) -> bool:
    return a.low > b.high or b.low > a.high


def about_balance(facts: Mapping[str, Mapping[str, int]]) -> Iterator[Finding]:
    """Tasks or operators of which there are ten times as many episodes as of another."""
    for fact, counts in facts.items():
        most, least = max(counts, key=lambda k: counts[k]), min(counts, key=lambda k: counts[k])
        if len(counts) > 1 and counts[most] >= _MUCH * counts[least]:
            yield Finding(
                "info",
                "imbalance",
                f"{counts[most]} episodes are of {fact} {most}, and {counts[least]} of {least}",
                "Record more of the rare ones, or weight them: a policy learns what it sees most",
            )


def about_starts(episodes: Sequence[Episode], values: Values) -> Iterator[Finding]:
    """All beginning in one state."""
    starts = np.stack([values.scaled(values.states(e)[:1])[0] for e in episodes])
    if len(episodes) > 1 and starts.shape[1] and (np.ptp(starts, axis=0) <= _SAME_START).all():
        yield Finding(
            "info",
            "one-start",
            f"all {len(episodes)} episodes begin in the same state",
            "Vary the start: from elsewhere, a policy has nothing to go by",
        )
