"""What one feature is worth in another: ratios of weights with Fieller's intervals."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt

from understudy.irl.preferences import Weights

__all__ = ["Ratio", "fieller", "trade_off", "trade_offs"]


@dataclass(frozen=True)
class Ratio:
    """A ratio of two estimates and the set of values that the data does not refute.

    Attributes:
        kind: "interval": [low, high]; "outside": everything but what lies between low and high, since the
            lower weight may be 0; "everything": nothing is refuted.
    """

    value: float
    low: float
    high: float
    kind: str

    def holds(self, value: float) -> bool:
        """Whether a value is in the set."""
        if self.kind == "everything":
            return True
        within = self.low <= value <= self.high
        return within if self.kind == "interval" else not self.low < value < self.high

    def text(self) -> str:
        """0.3 [0.2, 0.4], or that no interval bounds it."""
        if self.kind != "interval":
            return f"{self.value:.3g} (no interval bounds it)".replace("-", "−")
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]".replace("-", "−")


def fieller(a: float, b: float, var_a: float, var_b: float, covariance: float, *, quantile: float) -> Ratio:
    """a / b with the set {x : |a - x b| <= z sd(a - x b)}, exact for normal a and b (Fieller 1954).

    The delta method would give an interval around a / b however near b is to 0, and covers too little there.

    Args:
        quantile: z, of an estimate's error in standard errors; 1.96 for 95 % and a normal one.

    Raises:
        ValueError: when b is 0, a variance is negative, or they make no covariance matrix.
    """
    if b == 0:
        raise ValueError("a ratio to a weight of 0 has no value")
    if var_a < 0 or var_b < 0 or covariance**2 > var_a * var_b * (1 + 1e-9):
        raise ValueError(f"variances {var_a}, {var_b} and covariance {covariance} make no covariance matrix")
    square = quantile**2
    # The set is where A x² - 2 B x + C <= 0.
    top, middle, rest = b * b - square * var_b, a * b - square * covariance, a * a - square * var_a
    under = middle * middle - top * rest
    if top > 0:  # a / b is in the set, so the roots are real but for rounding
        root = sqrt(max(under, 0.0))
        return Ratio(a / b, (middle - root) / top, (middle + root) / top, "interval")
    if top == 0 or under <= 0:
        return Ratio(a / b, -inf, inf, "everything")
    root = sqrt(under)
    return Ratio(a / b, (middle + root) / top, (middle - root) / top, "outside")


def trade_off(weights: Weights, one: str, other: str) -> Ratio:
    """How much of `other` has the same weight as 1 of `one`.

    Raises:
        ValueError: when a name is none of the features, the weights have no errors, or one is not identified.
    """
    for name in (one, other):
        if name not in weights.names:
            raise ValueError(f"{name!r} is none of the features {', '.join(weights.names[:20])}")
    i, j = weights.names.index(one), weights.names.index(other)
    values, spread, known = weights.told(), weights.spread(), weights.known()
    if spread is None:
        raise ValueError("weights without errors have trade-offs without intervals")
    if not (known[i] and known[j]):
        raise ValueError(f"{one if known[j] else other!r} is not identified: it has no trade-off")
    pair = spread[i, i], spread[j, j], spread[i, j]
    return fieller(float(values[i]), float(values[j]), *map(float, pair), quantile=weights.quantile)


def trade_offs(weights: Weights, most: int = 12) -> list[str]:
    """What each feature is worth in the one whose weight is known best, in sentences.

    That one has a unit, or there are none: what nobody counts, nobody trades in. Only of features whose
    interval does not hold 0; none where there are more than `most` features, such as an indicator a state.
    """
    spread = weights.spread()
    listed = [p for p in weights.preferences() if p.verdict in ("positive", "negative")]
    if spread is None or len(weights.names) > most or len(listed) < 2:
        return []
    coins = [p for p in listed if p.unit]
    if not coins:
        return []
    sure = {p.name: abs(p.weight.value) / max(p.weight.high - p.weight.low, 1e-300) for p in coins}
    coin = max(sure, key=lambda name: sure[name])
    unit = weights.units.get(coin, coin)
    told = []
    for p in listed:
        if p.name == coin:
            continue
        ratio = trade_off(weights, p.name, coin)
        mine = weights.units.get(p.name, p.name)
        if ratio.kind != "interval":
            told.append(f"1 {mine} against {unit}: {ratio.text()}")
        elif ratio.value > 0:
            told.append(f"1 {mine} counts as much as {ratio.text()} {unit}")
        else:
            turned = Ratio(-ratio.value, -ratio.high, -ratio.low, ratio.kind)
            told.append(f"1 {mine} makes up for {turned.text()} {unit}")
    return told
