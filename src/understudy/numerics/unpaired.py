"""Two success rates from two different samples: the interval of their difference, and the exact test.

k successes in n trials, of either. Measured on the same seeds, `tango` and `mcnemar` see more.
"""

from __future__ import annotations

from math import comb, sqrt

from understudy.numerics.estimate import Estimate, percent
from understudy.numerics.rates import wilson

__all__ = ["fisher", "newcombe"]


def newcombe(k1: int, n1: int, k2: int, n2: int, level: float = 0.95) -> Estimate:
    """The hybrid score interval of p1 - p2 (Newcombe 1998, Stat. Med. 17, 873-890, method 10).

    Made of Wilson's intervals of the two rates, it stays within [-1, 1] and has a width at 0 and n successes.

    Raises:
        ValueError: when there are no trials, or more successes than trials.

    >>> print(newcombe(56, 70, 48, 80))
    0.20 [0.05, 0.33]
    """
    a, b = wilson(k1, n1, level), wilson(k2, n2, level)
    low = sqrt((a.value - a.low) ** 2 + (b.high - b.value) ** 2)
    high = sqrt((a.high - a.value) ** 2 + (b.value - b.low) ** 2)
    value = a.value - b.value
    return Estimate(value, value - low, value + high, n1 + n2, f"Newcombe {percent(level)}")


def fisher(k1: int, n1: int, k2: int, n2: int) -> float:
    """Two-sided p-value that both rates are equal: Fisher's exact test, all tables as unlikely as this one.

    Raises:
        ValueError: when there are no trials, or more successes than trials.

    >>> round(fisher(1, 10, 8, 10), 4)
    0.0055
    """
    for k, n in ((k1, n1), (k2, n2)):
        wilson(k, n)  # whose rules these are
    k = k1 + k2
    # Whole numbers up to one division, so equally likely tables are found equal.
    ways = [comb(n1, i) * comb(n2, k - i) for i in range(max(0, k - n2), min(k, n1) + 1)]
    seen = comb(n1, k1) * comb(n2, k2)
    return sum(w for w in ways if w <= seen) / sum(ways)
