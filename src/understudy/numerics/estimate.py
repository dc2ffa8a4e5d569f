"""A number with its interval."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, isfinite, isnan, log10
from statistics import NormalDist

__all__ = ["Estimate", "normal_quantile", "percent"]


@dataclass(frozen=True)
class Estimate:
    """A value, the interval around it, how many observations it rests on, and the method with its level.

    The ends are infinite where the observations say nothing about the spread (one number alone).

    Raises:
        ValueError: when value is not finite, low > high, or n < 1.

    >>> print(Estimate(0.9, 0.699, 0.972, 20, "Wilson 95 %"))
    0.90 [0.70, 0.97]
    """

    value: float
    low: float
    high: float
    n: int
    method: str

    def __post_init__(self) -> None:
        if not isfinite(self.value):
            raise ValueError(f"value is {self.value}; an estimate is a finite number")
        if isnan(self.low) or isnan(self.high) or self.low > self.high:
            raise ValueError(f"the interval is [{self.low}, {self.high}]; low <= high is needed")
        if self.n < 1:
            raise ValueError(f"n is {self.n}; an estimate rests on at least one observation")

    def __str__(self) -> str:
        """No more digits than the interval bears: its width shows two."""
        return self.text()

    def text(self, *, signed: bool = False) -> str:
        """As `str`, with a plus sign before positive numbers where `signed`: for differences."""
        width = self.high - self.low
        if not isfinite(width):
            return f"{self.value:{'+' if signed else ''}.4g} [no interval from {self.n}]"
        places = 3 if width <= 0 else min(12, max(0, 1 - floor(log10(width))))
        form = f"{'+' if signed else ''}z.{places}f"  # z: what rounds to zero has no minus sign
        return f"{self.value:{form}} [{self.low:{form}}, {self.high:{form}}]"

    def summary(self) -> dict[str, float | int | str | None]:
        """Ready for JSON; an infinite end is None."""
        low, high = (x if isfinite(x) else None for x in (self.low, self.high))
        return {"value": self.value, "low": low, "high": high, "n": self.n, "method": self.method}


def normal_quantile(level: float) -> float:
    """z with P(|Z| <= z) = level for a standard normal Z; ValueError unless 0 < level < 1."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"level is {level}; it must lie strictly between 0 and 1")
    return NormalDist().inv_cdf(0.5 + level / 2)


def percent(level: float) -> str:
    """0.95 -> "95 %"."""
    return f"{100 * level:g} %"
