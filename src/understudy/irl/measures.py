"""How good a recovered reward or policy is: value lost, in this world or a changed one, and what is imitated.

All expectations are exact, over the MDP's own beginning, discount and time steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from understudy.numerics import Estimate
from understudy.numerics.estimate import normal_quantile, percent
from understudy.tabular import TabularMDP, Trajectories, hard_plan, occupancy, soft_plan

__all__ = [
    "Divergence",
    "ValueDifference",
    "expected_value_difference",
    "feature_gap",
    "held_out_likelihood",
    "policy_divergence",
    "random_policy",
    "value_difference",
]

Floats: TypeAlias = NDArray[np.float64]

_NO_GAP = 1e-12  # relative: what chance and the optimum earn is the same up to rounding


@dataclass(frozen=True)
class ValueDifference:
    """What a policy loses of a reward, beside what there was to lose.

    Attributes:
        best: what the optimal policy earns. reached: what the policy at hand earns.
        random: what the uniformly random policy earns.
        temperature: of the entropy that counts as earned; 0: rewards alone.
    """

    best: float
    reached: float
    random: float
    temperature: float

    @property
    def difference(self) -> float:
        """best - reached; not negative but for rounding."""
        return self.best - self.reached

    @property
    def normalised(self) -> float | None:
        """The difference as a share of best - random: 0 is optimal, 1 as good as chance, more is worse.

        None where chance is optimal, so that nothing can be lost or won.
        """
        gap = self.best - self.random
        size = max(abs(self.best), abs(self.random))
        return self.difference / gap if gap > _NO_GAP * size else None


def expected_value_difference(
    mdp: TabularMDP, learned: Floats, *, temperature: float, truth: Floats | None = None
) -> ValueDifference:
    """J(π*_r; r) - J(π*_r̂; r): what is lost by planning with the learned reward r̂ instead of the true r.

    Levine, Popović and Koltun 2011. `mdp` may be another world than the one that r̂ was learned in: with a
    linear reward r̂ there is `mdp.linear(weights)`.

    Args:
        learned: [S, A], r̂ in this world.
        temperature: 0: both policies are greedy, and J is the expected sum of rewards. τ > 0: both are
            soft-optimal at τ, and J counts τ × entropy, without which a soft policy is optimal for nothing;
            the difference is then τ × the divergence of the two policies on the states of the second.
        truth: [S, A], r; the MDP's own unless given.

    Raises:
        ValueError: when there is no true reward, a reward does not fit, or the temperature is negative.
    """
    _check_temperature(temperature)
    policy = _optimal(mdp, learned, temperature)
    return value_difference(mdp, policy, temperature=temperature, truth=truth)


def value_difference(
    mdp: TabularMDP, policy: Floats, *, temperature: float, truth: Floats | None = None
) -> ValueDifference:
    """What any policy, [S, A] or [H, S, A], loses of the true reward; arguments as of the function above."""
    _check_temperature(temperature)
    reward = mdp.reward if truth is None else np.asarray(truth, np.float64)
    if reward is None:
        raise ValueError(f"{mdp.name} has no true reward, so nobody can say what is lost of it")
    best = hard_plan(mdp, reward) if temperature == 0 else soft_plan(mdp, reward, temperature)
    earned = np.where(mdp.available, reward, 0.0)
    return ValueDifference(
        best.start_value,
        _earned(mdp, policy, earned, temperature),
        _earned(mdp, random_policy(mdp), earned, temperature),
        temperature,
    )


def _check_temperature(temperature: float) -> None:
    if not 0 <= temperature < inf:
        raise ValueError(f"temperature is {temperature}; it is 0 for greedy policies, or positive")


def _optimal(mdp: TabularMDP, reward: Floats, temperature: float) -> Floats:
    plan = hard_plan(mdp, reward) if temperature == 0 else soft_plan(mdp, reward, temperature)
    return plan.policy


def random_policy(mdp: TabularMDP) -> Floats:
    """[S, A]: every action that a state has is as likely as the others; nothing in terminal states."""
    return np.asarray(mdp.available / np.maximum(mdp.available.sum(1, keepdims=True), 1))


def _earned(mdp: TabularMDP, policy: Floats, reward: Floats, temperature: float) -> float:
    """E Σ_t γ^t (r + τ H(π))."""
    total = 0.0
    for mass, step in _along(mdp, policy):
        gain = (step * reward).sum(1)
        if temperature:
            gain -= temperature * (step * np.log(np.where(step > 0, step, 1.0))).sum(1)
        total += float(mass @ gain)
    return total


def _along(mdp: TabularMDP, policy: Floats, *others: Floats) -> Iterator[tuple[Floats, ...]]:
    """For every time, or once without a horizon: γ^t Pr(s_t = s) [S], and the policies [S, A] there."""
    for p in (policy, *others):
        shapes = [(mdp.states, mdp.actions), (mdp.horizon, mdp.states, mdp.actions)]
        if p.shape not in shapes[: 1 if mdp.horizon is None else 2]:
            raise ValueError(f"a policy for {mdp.name} has shape {list(p.shape)}")
    if mdp.horizon is None:
        yield occupancy(mdp, policy).sum(1), policy, *others
        return
    mass = mdp.initial
    for t in range(mdp.horizon):
        now = [p if p.ndim == 2 else p[t] for p in (policy, *others)]
        # Nothing is done in terminal states: what arrives there leaves the sums.
        yield np.where(mdp.terminal, 0.0, mass), *now
        mass = mdp.discount * (mdp.backward @ (now[0].T * mass).ravel())


@dataclass(frozen=True)
class Divergence:
    """How a policy differs from the expert's on the states that the expert visits.

    Attributes:
        kl: Σ_t γ^t E KL(π_E(·|s_t) || π(·|s_t)), in nats an episode: what the expert's actions cost in
            log-likelihood; infinite where the expert does what the policy never does.
        decisions: Σ_t γ^t over the decisions of an episode, so that kl / decisions is per decision.
        total_variation: ½ Σ_a |π_E - π|, mean over the expert's decisions. worst: its largest value anywhere
            that the expert can be.
    """

    kl: float
    decisions: float
    total_variation: float
    worst: float

    @property
    def per_decision(self) -> float:
        """kl / decisions, in nats."""
        return self.kl / self.decisions if self.decisions else 0.0


def policy_divergence(mdp: TabularMDP, expert: Floats, policy: Floats) -> Divergence:
    """Compares policies, each [S, A] or [H, S, A], on the discounted occupancy of the first.

    Raises:
        ValueError: when a shape does not fit.
    """
    kl = decisions = apart = worst = 0.0
    for mass, theirs, ours in _along(mdp, expert, policy):
        does = theirs > 0
        with np.errstate(divide="ignore", invalid="ignore"):
            cost = np.where(does, theirs * (np.log(theirs) - np.log(ours)), 0.0).sum(1)
        gap = 0.5 * np.abs(theirs - ours).sum(1)
        seen = mass > 0
        kl += float(mass[seen] @ cost[seen])
        apart += float(mass @ gap)
        decisions += float(mass.sum())
        worst = max(worst, float(gap[seen].max(initial=0.0)))
    # Rounding can leave a divergence of 0 at -1e-16.
    return Divergence(max(kl, 0.0), decisions, apart / decisions if decisions else 0.0, worst)


def feature_gap(mdp: TabularMDP, expert: Floats, policy: Floats) -> Floats:
    """[K]: what the policy's visits [S, A] count in features, less what the expert's count.

    0 for MaxEnt at its optimum; of demonstrations, within what chance leaves of as many trajectories.
    """
    return mdp.counts(policy) - mdp.counts(expert)


def held_out_likelihood(
    mdp: TabularMDP, policy: Floats, trajectories: Trajectories, *, level: float = 0.95
) -> Estimate:
    """Mean log π(a|s) of decisions that nothing was fitted to, in nats; every decision counts the same.

    The interval is normal, with the error by trajectory: decisions of one are not independent. The value must
    be finite: a policy that never does what was done has no such mean.

    Raises:
        ValueError: when a trajectory cannot have happened, or the policy never does what was done.
    """
    trajectories.check(mdp)
    who, when, state, action = trajectories.steps()
    chance = policy[state, action] if policy.ndim == 2 else policy[when, state, action]
    if not (chance > 0).all():
        at = int(np.argmin(chance > 0))
        raise ValueError(f"the policy never does action {action[at]} in state {state[at]}, which was done")
    each, n = np.log(chance), len(trajectories)
    mean = float(each.mean())
    if n == 1:
        return Estimate(mean, -inf, inf, 1, "none")
    off = np.bincount(who, each - mean, minlength=n)
    half = normal_quantile(level) * float(np.sqrt((off**2).sum() * n / (n - 1)) / len(each))
    return Estimate(mean, mean - half, mean + half, n, f"normal by trajectory {percent(level)}")
