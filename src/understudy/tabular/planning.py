"""Planning in finite MDPs: soft (maximum-entropy) and hard, and what a policy visits and earns.

A reward is [S, A]; a policy [S, A], or [H, S, A] where it depends on how many decisions are left. All time
indices, discounts and horizons are the MDP's, in every function: what one pass counts, the others count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, issparse

from understudy.tabular.mdp import TabularMDP

__all__ = [
    "Plan",
    "Solver",
    "expected_return",
    "hard_plan",
    "log_policy",
    "occupancy",
    "policy_value",
    "soft_plan",
    "solver",
]

Floats: TypeAlias = NDArray[np.float64]

_ROUNDS = 200  # of policy iteration; it converges quadratically, or there is something wrong
_TIE = 1e-10  # relative: actions whose values differ by less are equally good
_KEPT = 64 * 2**20  # bytes of a policy; a larger one is computed again from the values, which is faster than
# to touch that much fresh memory


@dataclass(frozen=True, eq=False)
class Plan:
    """What to do under a reward.

    Attributes:
        value: [S], or [H + 1, S], the (soft) value with all decisions ahead, then one less, ... then none.
        reward: [S, A], what was planned for. temperature: of the entropy; 0 for a hard plan.
        kept: the policy as planned, [A, S] or [H, A, S]; None where it is too large to keep.
    """

    mdp: TabularMDP
    value: Floats
    reward: Floats
    temperature: float
    kept: Floats | None

    @cached_property
    def policy(self) -> Floats:
        """[S, A] without a horizon, else [H, S, A]; zero in terminal states, where nothing is done."""
        if self.kept is not None:
            return _turned(self.kept)
        return _turned(np.stack([self.at(t) for t in range(len(self.value) - 1)]))

    @property
    def start_value(self) -> float:
        """The value where episodes begin, on average."""
        return float(self.mdp.initial @ (self.value if self.value.ndim == 1 else self.value[0]))

    def at(self, t: int) -> Floats:
        """[A, S], the policy at time t; from the values where it was not kept."""
        if self.kept is not None:
            return self.kept if self.kept.ndim == 2 else self.kept[t]
        q = _backed(self.mdp, self._masked, self.value[t + 1], self.temperature)
        q -= self.value[t] / self.temperature
        np.exp(q, out=q)
        q[:, self.mdp.terminal] = 0
        return q

    @cached_property
    def _masked(self) -> Floats:
        return _masked(self.mdp, self.reward) / self.temperature


def _backed(mdp: TabularMDP, earned: Floats, value: Floats, temperature: float = 1.0) -> Floats:
    """Q [A, S] in units of τ, from what is earned in those units and the value [S] of the next state."""
    q: Floats = (mdp.forward @ value).reshape(earned.shape)
    if mdp.discount != temperature:
        q *= mdp.discount / temperature
    q += earned
    return q


def soft_plan(mdp: TabularMDP, reward: Floats, temperature: float = 1.0, start: Floats | None = None) -> Plan:
    """The policy of greatest reward plus τ × causal entropy (Ziebart 2010, chapter 6).

    V(s) = τ log Σ_a exp(Q(s, a)/τ), Q(s, a) = r(s, a) + γ E[V(s')], π(a|s) = exp((Q(s, a) - V(s))/τ).

    Without a horizon V solves its equation by soft policy iteration, which is Newton's method on it.

    Args:
        temperature: τ > 0.
        start: [S], a guess of V without a horizon; the result does not depend on it.

    Raises:
        ValueError: when the reward does not fit, or τ is not positive.
    """
    if not 0 < temperature < np.inf:
        raise ValueError(f"temperature is {temperature}; it must be positive")
    earned = _masked(mdp, reward) / temperature
    if mdp.horizon is None:
        value, kept = _stationary(mdp, earned, start if start is None else start / temperature)
    else:
        value, kept = _finite(mdp, earned, mdp.horizon)
    if temperature != 1:
        value *= temperature
    return Plan(mdp, value, np.asarray(reward, np.float64), temperature, kept)


def _finite(mdp: TabularMDP, earned: Floats, horizon: int) -> tuple[Floats, Floats | None]:
    """Backward in time: values [H + 1, S] and policies [H, A, S], or None for the latter where too large."""
    value = np.zeros((horizon + 1, mdp.states))
    keep = horizon * earned.nbytes <= _KEPT
    policy = np.empty((horizon, *earned.shape)) if keep else None
    ends = np.flatnonzero(mdp.terminal)
    for t in range(horizon - 1, -1, -1):
        q = _backed(mdp, earned, value[t + 1])
        value[t] = _summed(q)[0] if policy is None else _soften(q, policy[t])
        if len(ends):
            value[t, ends] = 0
            if policy is not None:
                policy[t][:, ends] = 0
    return value, policy


def _soften(q: Floats, policy: Floats) -> Floats:
    """log Σ_a exp q [S] of q [A, S], which is spoiled; the probabilities go into `policy`."""
    value, total = _summed(q)
    np.divide(q, total, out=policy)
    return value


def _summed(q: Floats) -> tuple[Floats, Floats]:
    """log Σ_a exp q [S] of q [A, S]; q becomes exp(q - max q), and the second result is its sum."""
    top: Floats = q.max(0)
    q -= top
    np.exp(q, out=q)
    total: Floats = q.sum(0)
    top += np.log(total)
    return top, total


def _stationary(mdp: TabularMDP, earned: Floats, start: Floats | None) -> tuple[Floats, Floats | None]:
    """The fixed point [S] and its policy [A, S]: evaluate the policy with its entropy, soften, repeat."""
    a, s = earned.shape
    policy = np.empty((a, s))
    value = np.zeros(s) if start is None else np.where(mdp.terminal, 0.0, start)
    last = np.inf
    for _ in range(_ROUNDS):
        new = np.where(mdp.terminal, 0.0, _soften(_backed(mdp, earned, value), policy))
        policy[:, mdp.terminal] = 0
        gap = float(np.abs(new - value).max())
        if gap <= 4e-16 * max(1.0, float(np.abs(new).max())) or gap >= last:
            return new, policy  # rounding is all that is left, or what it leaves does not shrink any more
        last = gap if gap < 1e-9 * max(1.0, float(np.abs(new).max())) else np.inf
        # A step of Newton's method: the equation of the softened policy, solved for the change.
        value = value + solver(mdp, policy).solve(new - value)
    raise ValueError(f"soft policy iteration did not settle in {_ROUNDS} rounds; is the reward too large?")


def hard_plan(mdp: TabularMDP, reward: Floats) -> Plan:
    """The policy of greatest reward; actions that are equally good share the probability.

    By backward induction, or without a horizon by policy iteration (Howard 1960).
    """
    earned = _masked(mdp, reward)
    a, s = earned.shape

    def greedy(value: Floats) -> tuple[Floats, Floats]:
        q = _backed(mdp, earned, value)
        top = np.where(mdp.terminal, 0.0, q.max(0))
        best = (q >= top - _TIE * np.maximum(1.0, np.abs(top))) & ~mdp.terminal
        return top, best / np.maximum(best.sum(0), 1)

    if mdp.horizon is not None:
        values, policies = np.zeros((mdp.horizon + 1, s)), np.empty((mdp.horizon, a, s))
        for t in range(mdp.horizon - 1, -1, -1):
            values[t], policies[t] = greedy(values[t + 1])
        return Plan(mdp, values, np.asarray(reward, np.float64), 0.0, policies)
    value = np.zeros(s)
    for _ in range(_ROUNDS):
        _, policy = greedy(value)
        new = solver(mdp, policy).solve((policy * np.where(mdp.available.T, earned, 0.0)).sum(0))
        settled = np.abs(new - value).max() <= 1e-13 * max(1.0, float(np.abs(new).max()))
        value = new
        if settled:
            break
    return Plan(mdp, value, np.asarray(reward, np.float64), 0.0, greedy(value)[1])


def log_policy(plan: Plan) -> Floats:
    """log π of a soft plan, shaped as its policy: from values, so that it is exact where π underflows.

    -inf for actions that a state does not have, and in terminal states.
    """
    if plan.temperature == 0:
        raise ValueError("a hard plan's policy has no logarithm; plan with a temperature")
    mdp = plan.mdp
    earned = _masked(mdp, plan.reward)
    after = plan.value[1:] if plan.value.ndim == 2 else plan.value[None]
    before = plan.value[:-1] if plan.value.ndim == 2 else plan.value[None]
    logs = np.empty((len(after), *earned.shape))
    for out, ahead, now in zip(logs, after, before, strict=True):
        np.subtract(_backed(mdp, earned, ahead), now, out=out)
        out /= plan.temperature
        out[:, mdp.terminal] = -np.inf
    turned = _turned(logs)
    return turned if plan.value.ndim == 2 else turned[0]


def occupancy(
    mdp: TabularMDP, policy: Floats | Plan, start: Floats | None = None, cuts: Floats | None = None
) -> Floats:
    """[S, A], how often a policy does what: Σ_t γ^t Pr(s_t = s, a_t = a), over the MDP's own time steps.

    A plan stands for its policy, and saves the memory of it. Linear in `start` [S] (by default the MDP's),
    which may hold any numbers. `cuts` [H + 1, S] is taken off what arrives at each time, already discounted:
    what was not followed to its end.
    """
    source = mdp.initial if start is None else start
    steps = _steps(mdp, policy)
    if mdp.horizon is None:
        always = steps(0)
        reached = solver(mdp, always).solve_transposed(source if cuts is None else source - cuts.sum(0))
        return np.ascontiguousarray((always * reached).T)
    total, mass = np.zeros((mdp.actions, mdp.states)), np.array(source, np.float64)
    done = np.empty_like(total)
    for t in range(mdp.horizon):
        if cuts is not None:
            mass = mass - cuts[t]
        np.multiply(steps(t), mass, out=done)
        total += done
        mass = mdp.backward @ done.ravel()
        if mdp.discount != 1:
            mass *= mdp.discount
    return np.ascontiguousarray(total.T)


def policy_value(mdp: TabularMDP, policy: Floats | Plan, reward: Floats) -> Floats:
    """[S], what a policy earns from each state on, with all decisions ahead."""
    earned = np.where(mdp.available, np.asarray(reward, np.float64), 0.0).T
    steps, value = _steps(mdp, policy), np.zeros(mdp.states)
    if mdp.horizon is None:
        return solver(mdp, steps(0)).solve((steps(0) * earned).sum(0))
    for t in range(mdp.horizon - 1, -1, -1):
        value = (steps(t) * _backed(mdp, earned, value)).sum(0)
    return value


def expected_return(mdp: TabularMDP, policy: Floats | Plan, reward: Floats | None = None) -> float:
    """What a policy earns where episodes begin, on average; of the true reward unless another is given."""
    earned = mdp.reward if reward is None else reward
    if earned is None:
        raise ValueError(f"{mdp.name} has no true reward; give one")
    return float(mdp.initial @ policy_value(mdp, policy, earned))


# ── equations ──────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Solver:
    """(I - γ P_π) factorised, for any number of right-hand sides [S] or [S, n]."""

    solve: Callable[[Floats], Floats]
    solve_transposed: Callable[[Floats], Floats]


def solver(mdp: TabularMDP, policy: Floats) -> Solver:
    """Solves x = b + γ P_π x and its transpose, for a stationary policy [A, S] (by rows of actions).

    Full LU factors where transitions are kept as a full matrix, in small or dense worlds; sparse ones
    elsewhere, whose cost is that of their fill: near linear on grids and roads, up to cubic where every state
    can reach any other within a few steps.
    """
    s, a = mdp.states, mdp.actions
    if not issparse(mdp.forward):
        from scipy.linalg import lu_factor, lu_solve

        step = np.einsum("as,asn->sn", policy, mdp.forward.reshape(a, s, s))
        step *= -mdp.discount
        step[np.diag_indices(s)] += 1
        factors = lu_factor(step, overwrite_a=True, check_finite=False)
        return Solver(
            lambda b: lu_solve(factors, b, check_finite=False),
            lambda b: lu_solve(factors, b, trans=1, check_finite=False),
        )
    from scipy.sparse.linalg import splu

    starts, rows, place = mdp.pattern
    chances = mdp.transition.data * np.repeat(policy.T.ravel(), np.diff(mdp.transition.indptr))
    data = np.bincount(place, np.concatenate([-mdp.discount * chances, np.ones(s)]), len(rows))
    # Each row of I - γ P_π outweighs its other entries by its diagonal, so the diagonal may always be the
    # pivot, and the order can be chosen for the least fill alone.
    factors = splu(
        csc_array((data, rows, starts), shape=(s, s)),
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
    return Solver(factors.solve, lambda b: factors.solve(b, trans="T"))


def _masked(mdp: TabularMDP, reward: Floats) -> Floats:
    """[A, S], -inf for actions that a state does not have; 0 in terminal states, which are handled apart."""
    given = np.asarray(reward, np.float64)
    if given.shape != (mdp.states, mdp.actions):
        raise ValueError(
            f"a reward for {mdp.name} is [{mdp.states}, {mdp.actions}], not {list(given.shape)}; "
            "`expected` turns other forms into it"
        )
    if not np.isfinite(given).all():
        raise ValueError("the reward holds values that are not finite")
    masked = np.where(mdp.available, given, -np.inf)
    masked[mdp.terminal] = 0
    return np.ascontiguousarray(masked.T)


def _turned(policy: Floats) -> Floats:
    """[..., A, S] as [..., S, A], without a copy."""
    return np.swapaxes(policy, -1, -2)


def _steps(mdp: TabularMDP, policy: Floats | Plan) -> Callable[[int], Floats]:
    """The policy [A, S] of each time."""
    if isinstance(policy, Plan):
        return policy.at
    if policy.shape == (mdp.states, mdp.actions):
        always = np.ascontiguousarray(policy.T)
        return lambda t: always
    if mdp.horizon is None or policy.shape != (mdp.horizon, mdp.states, mdp.actions):
        timed = "" if mdp.horizon is None else f" or [{mdp.horizon}, {mdp.states}, {mdp.actions}]"
        raise ValueError(
            f"a policy for {mdp.name} is [{mdp.states}, {mdp.actions}]{timed}, not {list(policy.shape)}"
        )
    return lambda t: policy[t].T
