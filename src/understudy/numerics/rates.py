"""Success rates: intervals for one, the difference of two on the same seeds, the episodes it takes.

k successes in n trials. In pairs, b counts those that only the first got, c those that only the second got.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, inf, sqrt
from operator import index

import numpy as np

from understudy.numerics.estimate import Estimate, normal_quantile, percent

__all__ = [
    "clopper_pearson",
    "detectable_difference",
    "episodes_for_half_width",
    "episodes_to_tell_apart",
    "jeffreys",
    "mcnemar",
    "tango",
    "wilson",
]


def _counts(successes: int, trials: int) -> tuple[int, int]:
    k, n = index(successes), index(trials)
    if n < 1:
        raise ValueError(f"there are {n} trials; a rate needs at least one")
    if not 0 <= k <= n:
        raise ValueError(f"{k} successes in {n} trials; successes must lie in [0, trials]")
    return k, n


def _probability(name: str, p: float) -> float:
    if not 0.0 < p < 1.0:
        raise ValueError(f"{name} is {p}; it must lie strictly between 0 and 1")
    return float(p)


def wilson(successes: int, trials: int, level: float = 0.95) -> Estimate:
    """The score interval of a rate (Wilson 1927): every p that a score test does not reject.

    Its coverage stays near the level, on average over p; use `clopper_pearson` where a guarantee is claimed.

    >>> print(wilson(18, 20))
    0.90 [0.70, 0.97]
    """
    k, n = _counts(successes, trials)
    z2 = normal_quantile(level) ** 2
    p = k / n
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    low = 0.0 if k == 0 else max(0.0, centre - half)  # exactly, not up to rounding
    high = 1.0 if k == n else min(1.0, centre + half)
    return Estimate(p, low, high, n, f"Wilson {percent(level)}")


def clopper_pearson(successes: int, trials: int, level: float = 0.95) -> Estimate:
    """The exact interval of a rate (Clopper & Pearson 1934): covers at least `level` for every p.

    >>> print(clopper_pearson(18, 20))
    0.90 [0.68, 0.99]
    """
    k, n = _counts(successes, trials)
    tail = _tail(level)
    from scipy.special import betaincinv

    low = 0.0 if k == 0 else float(betaincinv(k, n - k + 1, tail))
    high = 1.0 if k == n else float(betaincinv(k + 1, n - k, 1 - tail))
    return Estimate(k / n, low, high, n, f"Clopper-Pearson {percent(level)}")


def jeffreys(successes: int, trials: int, level: float = 0.95) -> Estimate:
    """The equal-tailed posterior interval under Beta(1/2, 1/2); 0 and 1 are kept in at k = 0 and k = n
    (Brown, Cai & DasGupta 2001).

    >>> print(jeffreys(18, 20))
    0.90 [0.72, 0.98]
    """
    k, n = _counts(successes, trials)
    tail = _tail(level)
    from scipy.special import betaincinv

    low = 0.0 if k == 0 else float(betaincinv(k + 0.5, n - k + 0.5, tail))
    high = 1.0 if k == n else float(betaincinv(k + 0.5, n - k + 0.5, 1 - tail))
    return Estimate(k / n, low, high, n, f"Jeffreys {percent(level)}")


def _tail(level: float) -> float:
    return (1 - _probability("level", level)) / 2


def mcnemar(b: int, c: int) -> float:
    """Exact two-sided p-value that b and c differ by chance (McNemar 1947): binomial(b + c, 1/2).

    Pairs in which both succeed or both fail say nothing, so only the discordant ones count.

    >>> mcnemar(10, 2)
    0.03857421875
    """
    b, c = index(b), index(c)
    if b < 0 or c < 0:
        raise ValueError(f"the discordant counts are {b} and {c}; they cannot be negative")
    # Whole numbers up to one division: exact at any size, where a float 2^n would overflow at 1024.
    n, term, tail = b + c, 1, 1
    for i in range(min(b, c)):
        term = term * (n - i) // (i + 1)
        tail += term
    return min(1.0, (2 * tail) / (1 << n))


def tango(b: int, c: int, pairs: int, level: float = 0.95) -> Estimate:
    """The score interval of a difference of two paired rates, p1 - p2 (Tango 1998, Stat. Med. 17).

    All differences that the score test does not reject: it holds zero just where McNemar's chi-square says
    so, never leaves [-1, 1], has a width where no pair is discordant, and needs nothing but b, c and n.
    Wald's interval has none of these properties.

    >>> print(tango(10, 2, 50))
    0.16 [0.03, 0.30]
    """
    b, c, n = index(b), index(c), index(pairs)
    if b < 0 or c < 0 or n < 1 or b + c > n:
        raise ValueError(
            f"{b} and {c} discordant of {n} pairs; both must be >= 0 and together at most the pairs"
        )
    z = normal_quantile(level)
    value = (b - c) / n

    def score(delta: float) -> float:
        """The statistic of H0: p1 - p2 = delta, with p2's discordant share at its likeliest under H0."""
        linear = (2 * n - b + c) * delta - b - c
        share = (sqrt(max(0.0, linear * linear + 8 * n * c * delta * (1 - delta))) - linear) / (4 * n)
        variance = n * (2 * share + delta * (1 - delta))
        gap = b - c - n * delta
        if variance <= 0:
            return 0.0 if gap == 0 else inf if gap > 0 else -inf
        return gap / sqrt(variance)

    low = -1.0 if b == 0 and c == n else _crossing(lambda d: score(d) > z, -1.0, value)
    high = 1.0 if b == n and c == 0 else _crossing(lambda d: score(d) >= -z, value, 1.0)
    return Estimate(value, low, high, n, f"Tango {percent(level)}")


def _crossing(before: Callable[[float], bool], low: float, high: float) -> float:
    """Where a predicate that is true up to some point turns false, to the last bit (bisection)."""
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if before(middle) else (low, middle)
    return middle


def detectable_difference(pairs: int, discordant: float, power: float = 0.8, level: float = 0.95) -> float:
    """The smallest true p1 - p2 that `mcnemar` on so many pairs finds with probability `power`; inf if none.

    Computed from the binomial distributions themselves, not from a normal approximation.

    Args:
        discordant: the share of pairs, in [0, 1], on which the two are expected to differ; where the
            difference is larger than that, all discordant pairs are taken to fall on one side.

    >>> round(detectable_difference(200, 0.2), 3)
    0.091
    """
    n = index(pairs)
    if n < 1:
        raise ValueError(f"there are {n} pairs; at least one is needed")
    if not 0.0 <= discordant <= 1.0:
        raise ValueError(f"discordant is {discordant}; it must lie in [0, 1]")
    _probability("power", power)
    from scipy.special import bdtr

    m = np.arange(n + 1)  # so many pairs are discordant
    critical = _critical(n, 1 - _probability("level", level))  # rejects where min(b, c) <= critical
    able = critical >= 0

    def found(delta: float) -> float:
        share = max(discordant, delta)
        side = (1 + delta / share) / 2
        k, size = critical[able].astype(np.float64), m[able]
        reject = bdtr(k, size, side) + bdtr(k, size, 1 - side)
        return float((_binomial(n, share)[able] * reject).sum())

    if found(1.0) < power:
        return inf
    return _crossing(lambda delta: found(delta) < power, 0.0, 1.0)


def _critical(n: int, alpha: float) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """[n + 1]: the largest k with mcnemar(k, m - k) <= alpha for m = 0..n discordant pairs; -1 if none."""
    from scipy.special import bdtr

    out = np.full(n + 1, -1, np.int64)
    k = -1  # it never falls as m grows, and rises by at most one
    for m in range(n + 1):
        if 2 * bdtr(k + 1, m, 0.5) <= alpha:
            k += 1
        out[m] = k
    return out


def _binomial(n: int, p: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """[n + 1], the probabilities of 0..n successes in n trials."""
    from scipy.special import gammaln, xlog1py, xlogy

    m = np.arange(n + 1)
    ways = gammaln(n + 1) - gammaln(m + 1) - gammaln(n - m + 1)
    out: np.ndarray[tuple[int], np.dtype[np.float64]] = np.exp(ways + xlogy(m, p) + xlog1py(n - m, -p))
    return out


def episodes_for_half_width(half_width: float, rate: float = 0.5, level: float = 0.95) -> int:
    """How many episodes make Wilson's interval no wider than value ± `half_width`, at an observed `rate`.

    At rate 0.5 the interval is widest, so the answer then holds for every rate.

    >>> episodes_for_half_width(0.05), episodes_for_half_width(0.05, rate=0.95)
    (381, 83)
    """
    w, z2 = _probability("half_width", half_width), normal_quantile(level) ** 2
    if not 0.0 <= rate <= 1.0:
        raise ValueError(f"rate is {rate}; it must lie in [0, 1]")
    # Wilson's half-width set to w and squared: w² n² + (2 w² - pq) z² n + (w² - 1/4) z⁴ = 0.
    linear = (2 * w * w - rate * (1 - rate)) * z2
    constant = (w * w - 0.25) * z2 * z2
    root = (sqrt(max(0.0, linear * linear - 4 * w * w * constant)) - linear) / (2 * w * w)
    return max(1, ceil(root - 1e-9))


def episodes_to_tell_apart(p1: float, p2: float, power: float = 0.8, level: float = 0.95) -> int:
    """How many episodes each of two policies needs, on seeds of its own, for a two-sided test to tell their
    true rates apart with probability `power` (Fleiss, Levin & Paik 2003, chapter 4; no continuity
    correction).

    >>> [episodes_to_tell_apart(0.7, p) for p in (0.75, 0.8, 0.9)]
    [1251, 294, 62]
    """
    a, b = _probability("p1", p1), _probability("p2", p2)
    if a == b:
        raise ValueError(f"both rates are {a}; there is no difference to find")
    za, zb = normal_quantile(level), normal_quantile(2 * _probability("power", power) - 1)
    mean = (a + b) / 2
    root = za * sqrt(2 * mean * (1 - mean)) + zb * sqrt(a * (1 - a) + b * (1 - b))
    return ceil((root / (a - b)) ** 2)
