"""Is one policy better than another? Answered on the same seeds, pair by pair."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import isfinite
from typing import Any

from understudy.evaluate.measure import alike
from understudy.evaluate.report import Report
from understudy.numerics import Estimate, detectable_difference, mcnemar, paired_bootstrap, tango, wilson

__all__ = ["Difference", "compare"]

_ALPHA = 0.05


@dataclass(frozen=True)
class Difference:
    """What two reports on the same seeds say about a minus b.

    Args:
        a, b: the names of the policies.
        task: which they share.
        seeds: [E], in ascending order.
        both, only_a, only_b, neither: pairs by who succeeded, of those in which both say.
        success: the rate of a minus that of b, with Tango's interval; None where no pair says.
        p: of McNemar's exact test that the rates are equal; None likewise.
        detectable: a true difference in success of this size would have been found with probability 0.8, even
            if the policies disagree on as many pairs as these data allow (Wilson's upper limit); infinite
            where so few pairs can hardly show any difference; None where no pair says.
        mean_return: of a minus that of b, with the paired bootstrap interval.
    """

    a: str
    b: str
    task: str
    seeds: tuple[int, ...]
    both: int
    only_a: int
    only_b: int
    neither: int
    success: Estimate | None
    p: float | None
    detectable: float | None
    mean_return: Estimate

    def __str__(self) -> str:
        """The verdict in words: success where the pairs say, then the return."""
        where = f" on {self.task}" if self.task else ""
        return " ".join([*self._about_success(where), self._about_return(where)])

    def _about_success(self, where: str) -> list[str]:
        if self.success is None or self.p is None or self.detectable is None:
            return []
        numbers = (
            f"{self.success.text(signed=True)}, McNemar p = {self.p:.2g}, {self.success.n} pairs "
            f"({self.only_a} only {self.a}, {self.only_b} only {self.b})"
        )
        if self.p <= _ALPHA:
            more = "more" if self.only_a > self.only_b else "less"
            return [f"{self.a} succeeds {more} often than {self.b}{where}: {numbers}."]
        if isfinite(self.detectable):
            missed = f"a true difference below {self.detectable:.2f} could have been missed"
        else:
            missed = "so few pairs could have missed any difference"
        return [f"No difference in success shown between {self.a} and {self.b}{where}: {numbers}; {missed}."]

    def _about_return(self, where: str) -> str:
        numbers = f"{self.mean_return.text(signed=True)}, {self.mean_return.n} pairs"
        if not isfinite(self.mean_return.high) or self.mean_return.low <= 0 <= self.mean_return.high:
            return f"No difference in return shown between {self.a} and {self.b}{where}: {numbers}."
        more = "higher" if self.mean_return.value > 0 else "lower"
        return f"{self.a} has the {more} return{where}: {numbers}."

    def summary(self) -> dict[str, Any]:
        """Ready for JSON; an infinite `detectable` is None."""
        able = self.detectable is not None and isfinite(self.detectable)
        return {
            "a": self.a,
            "b": self.b,
            "task": self.task,
            "pairs": len(self.seeds),
            "both": self.both,
            "only_a": self.only_a,
            "only_b": self.only_b,
            "neither": self.neither,
            "success": None if self.success is None else self.success.summary(),
            "p": self.p,
            "detectable": self.detectable if able else None,
            "mean_return": self.mean_return.summary(),
            "verdict": str(self),
            "seeds": list(self.seeds),
        }

    def to_json(self) -> str:
        """`summary` as JSON, on one line."""
        return json.dumps(self.summary(), allow_nan=False)


def compare(a: Report, b: Report) -> Difference:
    """a minus b, on the seeds that both were measured on: what makes a seed easy or hard cancels.

    Raises:
        ValueError: when the tasks or the seeds differ, or a seed did not start both from one state.
    """
    if a.task != b.task:
        raise ValueError(
            f"{a.policy} was measured on {a.task!r} and {b.policy} on {b.task!r}; one task is needed"
        )
    first, second = ({o.seed: o for o in r.outcomes} for r in (a, b))
    if alone := sorted(first.keys() ^ second.keys()):
        shown = ", ".join(f"{s} only in {'a' if s in first else 'b'}" for s in alone[:5])
        more = ", ..." if len(alone) > 5 else ""
        raise ValueError(f"{len(alone)} seeds have no partner ({shown}{more}); both need the same seeds")
    seeds = tuple(sorted(first))
    if apart := [s for s in seeds if not alike(first[s].start, second[s].start)]:
        shown = ", ".join(map(str, apart[:5])) + (", ..." if len(apart) > 5 else "")
        raise ValueError(
            f"{len(apart)} seeds started the two policies from different states ({shown}), so they are "
            "no pairs: the tasks differ, or the environment does not follow its seed"
        )
    said = [(first[s].success, second[s].success) for s in seeds]
    both, only_a, only_b, neither = (
        said.count(w) for w in ((True, True), (True, False), (False, True), (False, False))
    )
    pairs = both + only_a + only_b + neither
    names = (a.policy, b.policy) if a.policy != b.policy else (f"{a.policy} (a)", f"{b.policy} (b)")
    return Difference(
        a=names[0],
        b=names[1],
        task=a.task,
        seeds=seeds,
        both=both,
        only_a=only_a,
        only_b=only_b,
        neither=neither,
        success=tango(only_a, only_b, pairs) if pairs else None,
        p=mcnemar(only_a, only_b) if pairs else None,
        detectable=detectable_difference(pairs, wilson(only_a + only_b, pairs).high) if pairs else None,
        mean_return=paired_bootstrap(
            [first[s].total_reward for s in seeds], [second[s].total_reward for s in seeds]
        ),
    )
