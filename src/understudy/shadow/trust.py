"""When could a policy be trusted, and what is that worth? Agreement, its evidence, and what came of it.

Shapes: E episodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from understudy.episode import Mask
from understudy.evaluate import Report
from understudy.numerics import Estimate, auroc, longest_run, paired_bootstrap, tango, wilson
from understudy.shadow.measure import Floats, Shadow

__all__ = ["ENOUGH", "Readiness", "Trust", "agrees", "evidence", "readiness", "trust"]

ENOUGH = 20.0  # evidence: a policy that is not above the level is called ready once in so many times at most
_AHEAD = 100_000  # episodes
_MOST = 700.0  # of the logarithm of evidence: beyond it no float holds it, and nobody needs it


def agrees(shadow: Shadow, tolerance: float, lapse: int) -> Mask:
    """[C], for each episode in which anything is compared: whether a disagreement above `tolerance` never
    lasts longer than `lapse` steps.

    A step late in closing the fingers is a lapse; going elsewhere for five is another opinion. Steps that
    are not compared interrupt nothing and count for nothing.

    Raises:
        ValueError: when a number is negative, or not finite.
    """
    if not 0 <= tolerance < np.inf or lapse < 0:
        raise ValueError(f"tolerance {tolerance} and lapse {lapse} must be finite and not negative")
    seen = [d[np.isfinite(d)] for d in shadow.disagreement]
    runs = [longest_run(d > tolerance) for d in seen if len(d)]
    return np.array([int(r) <= lapse for r in runs], np.bool_)


def evidence(success: ArrayLike, level: float) -> Floats:
    """[n], after each trial, the evidence E_n against a success rate of at most `level`.

    E_n = ∫ Π_i (p/q)^x_i ((1-p)/(1-q))^(1-x_i) dp / (1-q) over p in (q, 1), q the level: a mixture of
    likelihood ratios. Under any rate of at most q it passes 1/α at any time with a probability of at most α
    (Ville's inequality; a test by betting, Waudby-Smith & Ramdas 2024). So one may look after every episode
    and stop when it does, which an interval made for one look does not allow.

    >>> evidence([True] * 43, 0.9)[[0, 41, 42]].round(2).tolist()
    [1.06, 19.22, 20.89]
    """
    from scipy.special import betaincc, betaln

    if not 0.0 < level < 1.0:
        raise ValueError(f"level is {level}; it must lie strictly between 0 and 1")
    won = np.cumsum(np.asarray(success, np.bool_)).astype(np.float64)
    lost = np.arange(1, len(won) + 1) - won
    with np.errstate(divide="ignore"):  # no evidence at all is -inf here
        mass = betaln(1 + won, 1 + lost) + np.log(betaincc(1 + won, 1 + lost, level))
    size = mass - log(1 - level) - won * log(level) - lost * log(1 - level)
    result: Floats = np.exp(np.minimum(size, _MOST))
    return result


@final
@dataclass(frozen=True)
class Readiness:
    """How far a policy agrees with the expert on the expert's states, against what is asked of it.

    Args:
        tolerance, lapse, level: what was asked: episodes that agree (see `agrees`), at a rate of `level`.
        episodes: the share that agree, with Wilson's interval (for one look, at the end).
        steps: the share of steps within tolerance; bootstrap over episodes.
        ever: the share of episodes with a step beyond tolerance at all, with Wilson's interval.
        proven_after: the episodes after which the evidence for `level` was enough, looking after each one
            with an error of 5 % in all; None where it never was.
        missing: so many more episodes would be enough if they agree as often as these; None where they do
            not agree often enough, however many there are, and 0 where it is proven.
    """

    tolerance: float
    lapse: int
    level: float
    episodes: Estimate
    steps: Estimate
    ever: Estimate
    proven_after: int | None
    missing: int | None

    @property
    def ready(self) -> bool:
        """Whether the rate is shown to be above the level."""
        return self.proven_after is not None

    def __str__(self) -> str:
        """Two sentences, the second of them a warning."""
        if self.ready:
            when = f"a rate above {self.level:g} is shown after {self.proven_after} episodes"
        elif self.missing is None:
            when = f"a rate above {self.level:g} is not shown, and at this rate never will be"
        else:
            when = (
                f"a rate above {self.level:g} is not shown; at this rate it takes about {self.missing} more "
                "episodes"
            )
        return (
            f"within tolerance in {self.episodes} of {self.episodes.n} episodes and {self.steps} of the "
            f"steps: {when}\n"
            f"this is agreement where the expert leads: {self.ever} of the episodes have a step beyond "
            "tolerance, and what such a step leads to when nobody corrects it was not seen"
        )

    def summary(self) -> dict[str, Any]:
        """Ready for JSON."""
        found = {k: getattr(self, k) for k in ("tolerance", "lapse", "level", "proven_after", "missing")}
        found |= {k: getattr(self, k).summary() for k in ("episodes", "steps", "ever")}
        return found | {"ready": self.ready}


def readiness(shadow: Shadow, *, tolerance: float, lapse: int, level: float) -> Readiness:
    """Whether the policy agrees with the expert often enough.

    Args:
        tolerance: the largest disagreement that is none. lapse: see `agrees`.
        level: the share of episodes that must agree.
    """
    yes = agrees(shadow, tolerance, lapse)
    proof = evidence(yes, level)
    enough = np.flatnonzero(proof >= ENOUGH)
    inside = shadow.beyond(tolerance)
    steps = Estimate(1 - inside.value, 1 - inside.high, 1 - inside.low, inside.n, inside.method)
    clean = agrees(shadow, tolerance, 0)
    return Readiness(
        tolerance,
        lapse,
        level,
        wilson(int(yes.sum()), len(yes)),
        steps,
        wilson(int((~clean).sum()), len(clean)),
        int(enough[0]) + 1 if len(enough) else None,
        0 if len(enough) else _missing(int(yes.sum()), len(yes), level),
    )


def _missing(won: int, n: int, level: float) -> int | None:
    """How many more trials at the rate so far give enough evidence; None where none do."""
    if won / n <= level:
        return None
    more = 1
    while more < _AHEAD and _after(won, n, more, level) < ENOUGH:
        more *= 2
    low = more // 2
    while more - low > 1:
        middle = (low + more) // 2
        low, more = (low, middle) if _after(won, n, middle, level) >= ENOUGH else (middle, more)
    return more if more < _AHEAD else None


def _after(won: int, n: int, more: int, level: float) -> float:
    """The evidence after so many more trials at the rate so far."""
    k = round(won * (n + more) / n)
    return float(evidence(np.arange(n + more) < k, level)[-1])


@final
@dataclass(frozen=True)
class Trust:
    """What agreement in the shadow was worth when the policy drove: the same seeds, side by side.

    Args:
        agreed: the share of episodes that agreed in the shadow (Wilson).
        success: the share that succeeded when the policy drove (Wilson).
        gap: agreed - success over the same episodes (Tango).
        success_if_agreed, success_if_not: success where the shadow agreed and where not (Wilson); None where
            there are no such episodes.
        warns: how well an episode's mean disagreement in the shadow tells failures from successes: the
            probability that a failure has the larger one (AUROC); None where all ended alike.
        drift: the mean disagreement on the policy's own states minus that on the expert's, by seed (paired
            bootstrap); None where the policy's drive was not seen step by step.
    """

    agreed: Estimate
    success: Estimate
    gap: Estimate
    success_if_agreed: Estimate | None
    success_if_not: Estimate | None
    warns: float | None
    drift: Estimate | None

    def __str__(self) -> str:
        """Both numbers, and what follows."""
        n = self.success.n
        if self.gap.low > 0:
            said = "the shadow promised more than the policy kept: do not read agreement as success"
        elif self.gap.high < 0:
            said = (
                "the policy did better alone than its agreement says: the tolerance is stricter than the task"
            )
        else:
            said = f"no difference is shown between the two over {n} episodes"
        lines = [f"agreed in the shadow {self.agreed}, succeeded alone {self.success}: {said}"]
        if self.success_if_agreed is not None and self.success_if_not is not None:
            lines.append(
                f"success where the shadow agreed {self.success_if_agreed}, where not {self.success_if_not}"
            )
        if self.warns is not None:
            lines.append(
                f"a failure had shown more disagreement than a success with probability {self.warns:.2f} "
                "(0.5: the shadow gave no warning)"
            )
        if self.drift is not None:
            lines.append(
                f"disagreement on its own states minus on the expert's: {self.drift.text(signed=True)}"
            )
        return "\n".join(lines)

    def summary(self) -> dict[str, Any]:
        """Ready for JSON."""
        names = ("agreed", "success", "gap", "success_if_agreed", "success_if_not", "drift")
        found = {k: None if (e := getattr(self, k)) is None else e.summary() for k in names}
        return found | {"warns": self.warns}


def trust(shadow: Shadow, alone: Report | Shadow, *, tolerance: float, lapse: int) -> Trust:
    """Compares what the shadow promised with what the policy did when it drove on the same seeds.

    Args:
        shadow: the expert drove (live, so that episodes have seeds).
        alone: the policy drove: an evaluation, or a shadow with the policy as its driver, which also says
            how much they disagree on the policy's own states.

    Raises:
        ValueError: when they share no seed whose success is known.
    """
    won = _won(alone)
    compared = [i for i, d in enumerate(shadow.disagreement) if np.isfinite(d).any()]
    seeds = [shadow.data.facts[i].get("seed") for i in compared]
    pairs = [(k, int(s)) for k, s in enumerate(seeds) if s is not None and won.get(int(s)) is not None]
    if not pairs:
        raise ValueError("the shadow and the policy's own drive share no seed whose success is known")
    yes = agrees(shadow, tolerance, lapse)[[k for k, _ in pairs]]
    did = np.array([won[s] for _, s in pairs], np.bool_)
    worry = np.array([float(np.nanmean(shadow.disagreement[compared[k]])) for k, _ in pairs])
    return Trust(
        wilson(int(yes.sum()), len(yes)),
        wilson(int(did.sum()), len(did)),
        tango(int((yes & ~did).sum()), int((did & ~yes).sum()), len(did)),
        _given(did, yes),
        _given(did, ~yes),
        auroc(worry, ~did) if 0 < did.sum() < len(did) else None,
        _drift(alone, [s for _, s in pairs], worry) if isinstance(alone, Shadow) else None,
    )


def _given(did: Mask, where: Mask) -> Estimate | None:
    return wilson(int(did[where].sum()), int(where.sum())) if where.any() else None


def _won(alone: Report | Shadow) -> dict[int, bool | None]:
    """Seed to success."""
    if isinstance(alone, Report):
        return {o.seed: o.success for o in alone.outcomes}
    return {
        int(f["seed"]): won
        for f, won in zip(alone.data.facts, alone.data.successes, strict=True)
        if "seed" in f
    }


def _drift(own: Shadow, seeds: list[int], worry: NDArray[np.float64]) -> Estimate:
    """Mean disagreement of each episode on the policy's own states minus that on the expert's."""
    at = {int(f["seed"]): i for i, f in enumerate(own.data.facts) if "seed" in f}
    there = np.array([float(np.nanmean(own.disagreement[at[s]])) for s in seeds])
    return paired_bootstrap(there, worry)
