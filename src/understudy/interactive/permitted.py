"""The permitted set {s: doubt(s) <= τ} of a policy, and what speaks for it: failures from inside and outside.

Kelly et al. (2019) estimate from the interventions of HG-DAgger where the policy may be left alone, and show
that it fails less when it starts there than when it starts elsewhere. Shapes: B batch, N starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import index
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from understudy.agent import Agent, Chunked, load
from understudy.envs import ActionSpec
from understudy.episode import Array, Episode
from understudy.experts import NoisyExecution
from understudy.interactive.doubtgate import doubts, uncertainty
from understudy.interactive.folder import log_of
from understudy.numerics import Estimate, auroc, fisher, newcombe, wilson
from understudy.roles import Env
from understudy.rollout import Workers, rollouts
from understudy.runs import open_run

__all__ = ["PermittedSet", "Pushed", "Validation", "permitted_set", "validate"]

_ALPHA = 0.05
_PERSISTENCE = 0.9  # pushes that last some ten steps, and so add up


@final
@dataclass(frozen=True)
class PermittedSet:
    """The states in which a policy may be left alone: {s: doubt(s) <= τ} (Kelly et al. 2019).

    Args:
        agent: the policy.
        tau: the largest doubt; HG-DAgger finds it (`interactive.hg_dagger.Method.tau`).

    Raises:
        ValueError: when tau is negative or not a number.
    """

    agent: Agent
    tau: float

    def __post_init__(self) -> None:
        if not self.tau >= 0:
            raise ValueError(f"tau is {self.tau}; a doubt is at least 0")

    def contains(self, obs: Mapping[str, ArrayLike]) -> NDArray[np.bool_]:
        """Whether states lie in it: [] for one observation, [B] for a batch; what `Agent.act` takes.

        Raises:
            TypeError: when the agent does not say how unsure it is.
        """
        return np.asarray(uncertainty(self.agent, obs) <= self.tau)

    def along(self, episode: Episode) -> NDArray[np.bool_]:
        """[T + 1], whether each state of an episode lies in it."""
        return doubts(self.agent, episode) <= self.tau


def permitted_set(run: str | Path) -> PermittedSet:
    """The permitted set that a run of HG-DAgger found: the policy it kept, and the τ of that round.

    Raises:
        ValueError: when the folder holds no finished run of HG-DAgger, or one that found no τ.
        OSError: when a file of it is missing.
    """
    folder = Path(run)
    described = open_run(folder)
    kept = dict(described.get("interactive") or {}).get("selected_round")
    if described["algorithm"] != "hg_dagger" or not isinstance(kept, int):
        raise ValueError(f"{run} is no finished run of hg_dagger, so it found no permitted set")
    tau = next((x["method"].get("tau") for x in log_of(folder) if x["round"] == kept), None)
    if not isinstance(tau, float):
        raise ValueError(f"{run} keeps the policy of round {kept}, before which nobody had taken over")
    return PermittedSet(load(folder / "agent"), tau)


@final
class Pushed:
    """An arbiter that pushes a policy off its way in the first steps of an episode, then leaves it alone.

    How hard is drawn uniformly from [0, strength] for each episode; the push itself is the noise of
    `NoisyExecution` that stays. All of it follows from the episode's seed.

    Args:
        strength: the largest σ, in units of half the action range.
        steps: k >= 1, how many steps are pushed.
        spec: the environment's actions; continuous, with finite bounds.

    Raises:
        ValueError: when a number is out of its range, or the bounds are not finite.
        TypeError: for discrete actions.
    """

    def __init__(self, strength: float, steps: int, spec: ActionSpec) -> None:
        if not 0 < strength < np.inf or steps < 1:
            raise ValueError(f"strength {strength} and steps {steps} must be positive")
        self.strength, self.steps, self.spec = float(strength), steps, spec
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Starts an episode."""
        # Salted: the environment draws its start from the same seed, and must not share its numbers.
        sigma = self.strength * np.random.default_rng([seed, 0x9054]).random()
        self._noise = NoisyExecution(sigma, self.spec, persistence=_PERSISTENCE)
        self._noise.reset(seed)
        self._left = self.steps

    def __call__(self, proposed: Array, advice: Array | None) -> Array:
        """What is executed, [A]."""
        if self._left == 0:
            return proposed
        self._left -= 1
        return self._noise(proposed, advice)


@dataclass(frozen=True)
class Validation:
    """How a policy fared from starts inside and outside its permitted set.

    Args:
        tau: the largest doubt inside.
        doubt: [N], the doubt at each start.
        failed: [N], whether the rest of the episode failed.
        over: episodes that ended before the policy was left alone; they say nothing.
    """

    tau: float
    doubt: NDArray[np.float64]
    failed: NDArray[np.bool_]
    over: int

    def __post_init__(self) -> None:
        if self.doubt.shape != self.failed.shape or self.doubt.ndim != 1:
            raise ValueError(f"doubt {self.doubt.shape} and failed {self.failed.shape} must both be [N]")
        inside = int((self.doubt <= self.tau).sum())
        if not 0 < inside < len(self.doubt):
            where, how = ("inside", "harder") if inside else ("outside", "less hard")
            raise ValueError(
                f"all {len(self.doubt)} starts lie {where} the permitted set (tau {self.tau:.3g}); push {how}"
            )

    @property
    def _counts(self) -> tuple[int, int, int, int]:
        """Failures and starts outside, failures and starts inside."""
        out = self.doubt > self.tau
        return int(self.failed[out].sum()), int(out.sum()), int(self.failed[~out].sum()), int((~out).sum())

    @property
    def outside(self) -> Estimate:
        """The failure rate from starts outside, with Wilson's interval."""
        return wilson(*self._counts[:2])

    @property
    def inside(self) -> Estimate:
        """The failure rate from starts inside, with Wilson's interval."""
        return wilson(*self._counts[2:])

    @property
    def difference(self) -> Estimate:
        """The rate outside minus that inside, with Newcombe's interval."""
        return newcombe(*self._counts)

    @property
    def p(self) -> float:
        """Of Fisher's exact test that the two rates are equal."""
        return fisher(*self._counts)

    @property
    def spearman(self) -> float | None:
        """The rank correlation of doubt and failure over all starts; None where all end alike.

        A start either fails or does not, so even a doubt that sorts them perfectly stays below 1: `auroc`
        does not have that ceiling.
        """
        if self.failed.all() or not self.failed.any() or np.ptp(self.doubt) == 0:
            return None
        from scipy.stats import rankdata

        return float(np.corrcoef(rankdata(self.doubt), self.failed)[0, 1])

    @property
    def auroc(self) -> float | None:
        """The probability that a start that fails has more doubt than one that does not; None as above."""
        return None if self.spearman is None else auroc(self.doubt, self.failed)

    def __str__(self) -> str:
        """The verdict in words."""
        less = self.p <= _ALPHA and self.difference.value > 0
        verdict = "fail less often" if less else "were not shown to fail less often"
        rank = "" if self.spearman is None else f", Spearman {self.spearman:.2f}, AUROC {self.auroc:.2f}"
        return (
            f"Starts inside the permitted set (doubt <= {self.tau:.3g}) {verdict} than starts outside: "
            f"{self.inside} of {self.inside.n} against {self.outside} of {self.outside.n}, difference "
            f"{self.difference.text(signed=True)}, Fisher p = {self.p:.2g}{rank}."
        )

    def summary(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "tau": self.tau,
            "inside": self.inside.summary(),
            "outside": self.outside.summary(),
            "difference": self.difference.summary(),
            "p": self.p,
            "spearman": self.spearman,
            "auroc": self.auroc,
            "over": self.over,
            "verdict": str(self),
        }


def validate(
    permitted: PermittedSet,
    make_env: Callable[[], Env],
    seeds: Iterable[int],
    *,
    strength: float = 1.0,
    steps: int = 5,
    failed: Callable[[Episode, int], bool] | None = None,
    workers: int | Workers = 1,
    max_steps: int | None = None,
) -> Validation:
    """Leaves a policy alone in states inside and outside its permitted set, and counts what fails.

    Environments can be put into no state at will, so each start is a state that the policy is pushed into:
    for the first `steps` steps of an episode its actions are disturbed, as hard as the seed says (`Pushed`),
    and where that ends the policy is on its own. Every start is at the same step, so all have the same time
    left, and what tells them apart is the state alone.

    Args:
        permitted: the policy and its threshold.
        make_env: makes the environment; its actions are continuous and bounded.
        seeds: one start each, none negative; seeds that no training episode was recorded on.
        strength: of the pushes, at most, in units of half the action range.
        steps: k, how long they last.
        failed: (episode, k) -> whether it failed, for environments that do not say; otherwise an episode
            failed where it was no success.
        workers: how many processes, or open ones; the result does not depend on it.
        max_steps: truncates an episode after that many steps, besides the environment's own limit.

    Raises:
        ValueError: when the environment says nothing of success and `failed` does not either, all episodes
            end before the policy is left alone, or all starts lie on one side.
        TypeError: when actions are discrete, or the agent does not say how unsure it is.
    """
    listed = [index(s) for s in seeds]
    env: Any = make_env()
    try:
        arbiter = Pushed(strength, steps, env.action)
    finally:
        if callable(close := getattr(env, "close", None)):
            close()
    policy = Chunked(permitted.agent)
    episodes = rollouts(make_env, policy, listed, arbiter=arbiter, workers=workers, max_steps=max_steps)
    begun = [e for e in episodes if len(e) > steps]
    if not begun:
        raise ValueError(f"all {len(episodes)} episodes are over within {steps} steps; push for fewer steps")
    return Validation(
        permitted.tau,
        np.array([doubts(permitted.agent, e)[steps] for e in begun]),
        np.array([_failed(e) if failed is None else bool(failed(e, steps)) for e in begun]),
        len(episodes) - len(begun),
    )


def _failed(episode: Episode) -> bool:
    if episode.success is None:
        raise ValueError(
            "the environment does not say whether an episode succeeded; give `failed`, which does"
        )
    return not episode.success
