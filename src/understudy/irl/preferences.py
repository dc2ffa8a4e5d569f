"""What the expert prefers, in words: the weights of a reward with intervals, the largest effects first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse

from understudy.numerics.estimate import Estimate, normal_quantile, percent
from understudy.tabular import TabularMDP

__all__ = ["Phrases", "Preference", "Weights", "feature_ranges"]

Floats: TypeAlias = NDArray[np.float64]
Phrases: TypeAlias = Mapping[str, tuple[str, str]]
"""Feature -> what a positive and a negative weight mean: ("prefers longer ways", "prefers shorter ways")."""

_HALF = 0.5  # share of a weight, squared, in directions that nothing is known of: beyond it, it is not known
_SLIGHT = 0.1  # of the largest effect: an interval around 0 within this is indifference, not ignorance
_PURE = 0.98  # of a direction, squared: it is one feature, or one sum of features


def feature_ranges(mdp: TabularMDP) -> Floats:
    """[K]: the largest less the smallest value of each feature over all steps that exist.

    A weight times it is what the feature can make of a difference in a single step.
    """
    rows = np.flatnonzero(mdp.available.ravel())
    if issparse(mdp.features):
        chosen: Any = mdp.features[rows]
        return np.asarray(chosen.max(0).toarray() - chosen.min(0).toarray(), np.float64).ravel()
    return np.asarray(np.ptp(mdp.features[rows], axis=0), np.float64)


@dataclass(frozen=True, eq=False)
class Weights:
    """The weights of a linear reward as a fit found them, and what it takes to speak about them.

    Args:
        names: K features. values: [K].
        ranges: [K], see `feature_ranges`.
        n: how many trajectories (or decisions) they rest on.
        covariance: [K, K] of the estimates, None where nothing is known of their errors.
        draws: [M, K] from a posterior: intervals are then its quantiles.
        unidentified: [K, U], orthonormal: directions in which weights times `scale` could be moved and no
            policy would change. Weights are told without their part in these, which means relative to their
            mean where there is one weight a state.
        scale: [K], positive; 1 unless given.
        degrees: of freedom of Student's t, from which intervals then are; normal ones unless given.
        units: feature -> what it is counted in, such as "km". phrases: see `Phrases`.
        level: of the intervals; every one for itself.

    Raises:
        ValueError: when a shape does not fit, or a value or variance is not finite.
    """

    names: tuple[str, ...]
    values: Floats
    ranges: Floats
    n: int
    covariance: Floats | None = None
    draws: Floats | None = None
    unidentified: Floats | None = None
    scale: Floats | None = None
    degrees: float | None = None
    units: Mapping[str, str] = field(default_factory=dict)
    phrases: Phrases = field(default_factory=dict)
    level: float = 0.95

    def __post_init__(self) -> None:
        k = len(self.names)
        wanted: Mapping[str, tuple[ArrayLike | None, tuple[int, ...]]] = {
            "values": (self.values, (k,)),
            "ranges": (self.ranges, (k,)),
            "covariance": (self.covariance, (k, k)),
            "draws": (self.draws, (0 if self.draws is None else len(self.draws), k)),
            "scale": (self.scale, (k,)),
            "unidentified": (self.unidentified, (k, self.hidden)),
        }
        for name, (given, shape) in wanted.items():
            if given is None:
                continue
            if np.shape(given) != shape:
                raise ValueError(f"{name} has shape {list(np.shape(given))}; {list(shape)} is needed")
            if not np.isfinite(np.asarray(given)).all():
                raise ValueError(f"{name} holds values that are not finite")
        normal_quantile(self.level)

    @property
    def quantile(self) -> float:
        """How many standard errors an interval reaches to each side."""
        if self.degrees is None:
            return normal_quantile(self.level)
        from scipy.special import stdtrit

        return float(stdtrit(self.degrees, 0.5 + self.level / 2))

    @property
    def hidden(self) -> int:
        """U: in how many directions nothing is known."""
        return 0 if self.unidentified is None or self.unidentified.size == 0 else self.unidentified.shape[-1]

    @cached_property
    def _projection(self) -> Floats | None:
        if not self.hidden or self.unidentified is None:
            return None
        kept = np.eye(len(self.names)) - self.unidentified @ self.unidentified.T
        return kept if self.scale is None else kept * self.scale / self.scale[:, None]

    def told(self) -> Floats:
        """[K]: the weights without their part in directions that are not identified."""
        return self.values if self._projection is None else self._projection @ self.values

    def spread(self) -> Floats | None:
        """[K, K]: the covariance of `told`."""
        found = self.covariance
        if found is None and self.draws is not None:
            found = np.atleast_2d(np.cov(self.draws, rowvar=False))
        if found is None or self._projection is None:
            return found
        return self._projection @ found @ self._projection.T

    def known(self) -> NDArray[np.bool_]:
        """[K]: weights of which at least half (squared) lies in identified directions."""
        if not self.hidden or self.unidentified is None:
            return np.ones(len(self.names), np.bool_)
        return np.asarray((self.unidentified**2).sum(1) <= _HALF)

    def estimates(self) -> list[Estimate]:
        """Each weight with its interval; the ends are infinite where nothing is known of the errors."""
        values, spread = self.told(), self.spread()
        label = f"{percent(self.level)}"
        if self.draws is not None:
            moved = self.draws if self._projection is None else self.draws @ self._projection.T
            ends = np.quantile(moved, [(1 - self.level) / 2, (1 + self.level) / 2], axis=0)
            method = f"posterior quantiles {label}"
        elif spread is not None:
            half = self.quantile * np.sqrt(np.maximum(np.diag(spread), 0.0))
            kind = "normal" if self.degrees is None else "Student's t"
            ends, method = np.stack([values - half, values + half]), f"{kind} {label}"
        else:
            ends, method = np.stack([np.full(len(values), -np.inf), np.full(len(values), np.inf)]), "none"
        return [
            Estimate(float(v), float(low), float(high), self.n, method)
            for v, low, high in zip(values, *ends, strict=True)
        ]

    def preferences(self) -> list[Preference]:
        """One of each feature, those that can make the largest difference in one step first."""
        effects = self.told() * self.ranges
        known = self.known()
        largest = float(np.abs(effects[known]).max(initial=0.0))
        found = [
            Preference(name, e, float(effect), bool(k), largest, self.units.get(name, ""), self._phrase(name))
            for name, e, effect, k in zip(self.names, self.estimates(), effects, known, strict=True)
        ]
        return sorted(found, key=lambda p: (not p.known, -abs(p.effect)))

    def _phrase(self, name: str) -> tuple[str, str]:
        return self.phrases.get(name, (f"prefers {name}", f"avoids {name}"))

    def sentences(self, most: int = 12) -> list[tuple[str, str]]:
        """(verdict, sentence): preferences that are sure, then what is not, at most so many of each kind."""
        listed = [p for p in self.preferences() if p.known]
        sure = [p for p in listed if p.verdict not in ("unclear", "indifferent")]
        told = [(p.verdict, p.sentence()) for p in sure[:most]]
        if len(sure) > most:
            told.append(("more", f"{len(sure) - most} more preferences with smaller effects"))
        rest = [p for p in listed if p.verdict in ("unclear", "indifferent")]
        if len(rest) <= most // 3:
            told += [(p.verdict, p.sentence()) for p in rest]
        else:
            names = _listed([p.name for p in rest])
            told.append(("unclear", f"no preference shown about {names}: each interval holds 0"))
        return told + [("unidentified", f"not identified: {line}") for line in self._hidden_lines(most)]

    def _hidden_lines(self, most: int) -> list[str]:
        """The directions that are not identified: single features in one line, others in one each."""
        if self.unidentified is None:
            return []
        columns = list(self.unidentified.T)
        alone = [i for d in columns if d[i := int(np.argmax(np.abs(d)))] ** 2 >= _PURE]
        mixed = [d for d in columns if (d**2).max() < _PURE]
        lines = [_direction(d, self.names) for d in mixed[:most]]
        if len(mixed) > most:
            lines.append(f"{len(mixed) - most} more directions")
        return [*([_listed([self.names[i] for i in sorted(alone)])] if alone else []), *lines]


@dataclass(frozen=True)
class Preference:
    """One feature's weight, and what it means.

    Attributes:
        effect: weight × range. largest: the largest effect of all features, absolute.
        known: whether the demonstrations say anything of it.
        phrase: what a positive and what a negative weight mean.
    """

    name: str
    weight: Estimate
    effect: float
    known: bool
    largest: float
    unit: str
    phrase: tuple[str, str]

    @property
    def verdict(self) -> str:
        """ "positive", "negative", "indifferent", "unclear" (the interval holds 0) or "unidentified".

        Indifferent: the interval holds 0, and neither end is an effect above a tenth of the largest one. Of a
        weight without an interval only the sign can be told.
        """
        w = self.weight
        if not self.known:
            return "unidentified"
        sure = w.low > 0 or w.high < 0 or not (isfinite(w.low) and isfinite(w.high))
        if sure and w.value != 0:
            return "positive" if w.value > 0 else "negative"
        if w.value == 0 and self.effect == 0:
            return "indifferent"
        reach = max(-w.low, w.high) * abs(self.effect / w.value) if w.value else 0.0
        return "indifferent" if reach <= _SLIGHT * self.largest else "unclear"

    def amount(self) -> str:
        """The weight with its unit and interval: −0.41 per km, 95 % interval [−0.45, −0.37]."""
        per = f" per {self.unit}" if self.unit else ""
        w = self.weight
        if not (isfinite(w.low) and isfinite(w.high)):
            return f"{_minus(f'{w.value:.3g}')}{per}, without an interval"
        value, ends = _minus(w.text()).split(" ", 1)
        level = " ".join(w.method.split()[-2:])
        return f"{value}{per}, {level} interval {ends}"

    def sentence(self) -> str:
        """What the expert prefers, in words."""
        match self.verdict:
            case "positive":
                return f"{self.phrase[0]}: {self.amount()}"
            case "negative":
                return f"{self.phrase[1]}: {self.amount()}"
            case "indifferent":
                return f"indifferent to {self.name}: {self.amount()}; it holds 0 and nothing large"
            case "unclear":
                return f"no preference shown about {self.name}: {self.amount()}; it holds 0"
            case _:
                return f"not identified: {self.name}"


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _direction(direction: Floats, names: tuple[str, ...]) -> str:
    """A direction of weight space in words: the sum of some features, or its largest terms."""
    order = np.argsort(-np.abs(direction), kind="stable")
    for count in range(2, len(names) + 1):
        part = direction[order[:count]]
        if part @ part < _PURE:
            continue
        if np.abs(part).min() >= 0.9 * np.abs(part).max() and (np.sign(part) == np.sign(part[0])).all():
            if count == len(names):
                return f"the sum of all {count} features"
            return f"the sum of {_listed([names[i] for i in sorted(order[:count])])}"
        break
    top = [i for i in order[:4] if abs(direction[i]) > 1e-6]
    signed = [f"{direction[i]:+.2f} {names[i]}" for i in top]
    return _minus(" ".join(signed)) + (" …" if len(direction) > len(top) else "")


def _listed(names: list[str]) -> str:
    shown = names if len(names) <= 5 else [*names[:4], f"{len(names) - 4} others"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
