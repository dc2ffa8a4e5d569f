"""Live evaluation: a policy drives episode after episode, and its rate of success is shown as it grows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, final

from understudy.episode import Episode
from understudy.evaluate import FIRST_SEED, VALIDATION_SEED, fresh_seeds
from understudy.numerics import Estimate, wilson

__all__ = ["Trial"]


@final
class Trial:
    """The outcome of every seed of an evaluation while it runs, and what a page shows of it.

    The seeds are those of `evaluate`, one after another: run to the end with the task's own limit, it counts
    what `evaluate` counts. An episode that is broken off counts for nothing.

    Args:
        n: episodes.
        avoid: demonstrations and corrections; none may be on a seed that is evaluated.
        start: the first seed.

    Raises:
        ValueError: when there is no episode, a demonstration was recorded on one of the seeds, or one of them
            is kept for validation.
    """

    def __init__(self, n: int, avoid: Iterable[Episode] = (), start: int = FIRST_SEED) -> None:
        seeds = fresh_seeds(n, avoid, start)
        if start < VALIDATION_SEED + n and start + n > VALIDATION_SEED:
            raise ValueError(
                f"seeds {start} to {start + n - 1} reach those from {VALIDATION_SEED}, which are looked at "
                "while learning"
            )
        self.seeds = seeds
        self.outcomes: dict[int, bool | None] = {}
        self._stopped = False

    @property
    def seed(self) -> int | None:
        """Of the next episode; None when all are done."""
        return self.seeds[len(self.outcomes)] if len(self.outcomes) < len(self.seeds) else None

    @property
    def running(self) -> bool:
        """Whether episodes are still to come."""
        return not self._stopped and self.seed is not None

    def add(self, success: bool | None) -> None:
        """The episode on `seed` is over: whether it was a success, None where nobody can say.

        Raises:
            ValueError: when the evaluation is over already.
        """
        if (seed := self.seed) is None or self._stopped:
            raise ValueError(f"the evaluation is over after {len(self.outcomes)} episodes; begin another one")
        self.outcomes[seed] = success

    def stop(self) -> None:
        """No more episodes; what was counted stays."""
        self._stopped = True

    @property
    def rate(self) -> Estimate | None:
        """With Wilson's interval, over the episodes that say whether they succeeded; None before the first.

        The interval is that of so many episodes, planned from the start: who stops as soon as he likes what
        he sees has less confidence in it than it says.
        """
        said = [o for o in self.outcomes.values() if o is not None]
        return wilson(sum(said), len(said)) if said else None

    def state(self) -> dict[str, Any]:
        """n, done, successes, low and high (None before the first outcome) and running, ready for JSON."""
        rate = self.rate
        return {
            "n": len(self.seeds),
            "done": len(self.outcomes),
            "successes": sum(bool(o) for o in self.outcomes.values()),
            "low": None if rate is None else rate.low,
            "high": None if rate is None else rate.high,
            "running": self.running,
        }
