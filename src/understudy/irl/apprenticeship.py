"""Apprenticeship learning via inverse RL (Abbeel and Ng 2004): a mixture of policies that does as the expert.

Each round takes the direction w from the best mixture so far to the expert's feature expectations, plans for
the reward w·φ, and adds the plan to the mixture. With ||w|| <= 1 no reward that is linear in the features
can tell mixture and expert apart by more than the margin t = ||μ_E - μ||. The reward itself is a tool here
and not a finding: the mixture is not optimal for it.

Shapes: n policies, K features, H steps (no such axis where policies are stationary).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from understudy.tabular.mdp import TabularMDP
from understudy.tabular.planning import hard_plan, occupancy
from understudy.tabular.trajectories import Demonstrations, Trajectories

__all__ = ["Apprentice", "learn_apprentice", "mixed_policy", "nearest", "unseen"]

Floats: TypeAlias = NDArray[np.float64]

_UNSEEN = 0.01  # of the discounted time steps that may lie behind the ends of trajectories that were cut
_ROUNDING = 1e-12  # relative to the largest feature expectation: what no further policy can improve


@dataclass(frozen=True, eq=False)
class Apprentice:
    """What apprenticeship learning made.

    Attributes:
        policies: n, each [S, A] or [H, S, A], in the order they were found.
        mixture: [n], how likely each is drawn at the start of an episode: its feature expectations are the
            point nearest to the expert's that any mixture of them has.
        policy: one policy that visits what the mixture visits, step by step.
        features: [n, K], the policies' feature expectations. expert: [K], the demonstrations'.
        margins: t^(1), t^(2), ...: the distance from the expert before each round and at the end.
        margin: the distance of the returned mixture. bound: what no policy at all can come below.
        best: which policy comes nearest to the expert alone.
        weights: [K], of length 1, for which policy `best` was planned; 0 for the first, which was not
            planned.
        reward: [S, A], of these weights.
        converged: whether the margin is at most the tolerance. exhausted: whether it is above, but no other
            policy comes nearer: the demonstrations are not those of a policy here, as when they are few.
    """

    policies: tuple[Floats, ...]
    mixture: Floats
    policy: Floats
    features: Floats
    expert: Floats
    margins: Floats
    margin: float
    bound: float
    best: int
    weights: Floats
    reward: Floats
    converged: bool
    exhausted: bool


def learn_apprentice(
    mdp: TabularMDP,
    demonstrations: Demonstrations | Trajectories,
    *,
    method: Literal["projection", "max-margin"],
    tolerance: float,
    rounds: int = 200,
) -> Apprentice:
    """Finds policies until a mixture of them has the expert's feature expectations within `tolerance`.

    The first policy takes any action alike. "projection" (section 3.1) steps from its point towards the
    newest policy's, as far as brings it nearest; "max-margin" (section 3, steps 2 and 3) goes from the
    nearest point of all mixtures so far, solved exactly, and needs fewer rounds. Both return the nearest
    mixture in the end.

    Args:
        tolerance: ε, on the Euclidean distance of (discounted) feature expectations. The paper bounds
            features by 1; ε is in the units that the features have.
        rounds: at most so many plans.

    Raises:
        ValueError: when an argument is out of range, or demonstrations were cut before 99 % of their
            (discounted) steps.
    """
    if method not in ("projection", "max-margin"):
        raise ValueError(f"method is {method!r}; it must be 'projection' or 'max-margin'")
    if not (tolerance > 0 and rounds >= 1):
        raise ValueError(
            f"tolerance is {tolerance} and rounds {rounds}; they need tolerance > 0, rounds >= 1"
        )
    if isinstance(demonstrations, Trajectories):
        demonstrations = Demonstrations.of(mdp, demonstrations)
    world, expert = whole(mdp, demonstrations), mdp.counts(demonstrations.visits)
    policies = [world.available / np.maximum(world.available.sum(1, keepdims=True), 1)]
    features = [mdp.counts(occupancy(world, policies[0]))]
    directions, margins, bound, exhausted = [np.zeros(mdp.width)], [], 0.0, False
    point = features[0]
    while (distance := float(np.linalg.norm(expert - point))) > tolerance and len(policies) <= rounds:
        margins.append(distance)
        w = (expert - point) / distance
        policy = hard_plan(world, mdp.linear(w)).policy
        reached = mdp.counts(occupancy(world, policy))
        bound = max(bound, float(w @ (expert - reached)))
        exhausted = float(w @ (reached - point)) <= _ROUNDING * max(1.0, float(np.abs(reached).max()))
        if exhausted:
            break
        policies.append(policy)
        features.append(reached)
        directions.append(w)
        if method == "projection":
            along = reached - point
            point = point + min(float(along @ (expert - point)) / float(along @ along), 1.0) * along
        else:
            point = nearest(np.array(features), expert) @ np.array(features)
    margins.append(distance)
    found = _Found(tuple(policies), np.array(features), expert, np.array(margins), bound)
    return _apprentice(world, found, directions, tolerance, exhausted)


class _Found(NamedTuple):
    """What a search ends with; fields as in `Apprentice`."""

    policies: tuple[Floats, ...]
    features: Floats
    expert: Floats
    margins: Floats
    bound: float


def _apprentice(
    mdp: TabularMDP, found: _Found, directions: list[Floats], tolerance: float, exhausted: bool
) -> Apprentice:
    """The nearest mixture of what was found, and the nearest single policy."""
    mixture = nearest(found.features, found.expert)
    best = int(np.argmin(np.linalg.norm(found.features - found.expert, axis=1)))
    margin = float(np.linalg.norm(found.expert - mixture @ found.features))
    return Apprentice(
        **found._asdict(),
        mixture=mixture,
        policy=mixed_policy(mdp, found.policies, mixture),
        margin=margin,
        best=best,
        weights=directions[best],
        reward=mdp.linear(directions[best]),
        converged=margin <= tolerance,
        exhausted=exhausted and margin > tolerance,
    )


def nearest(points: Floats, target: Floats) -> Floats:
    """[n], the mixture of points [n, K] nearest to a target [K]: least squares on the simplex, exactly.

    With rows a_i = target - point_i, x >= 0 that minimises ||Σ x_i a_i||² + (Σ x_i - 1)² is s·λ, with λ the
    mixture sought and s = 1 / (1 + distance²): nonnegative least squares (Lawson and Hanson 1974) solves it.

    >>> nearest(np.array([[0.0, 0.0], [2.0, 0.0], [9.0, 9.0]]), np.array([1.0, -3.0])).round(12).tolist()
    [0.5, 0.5, 0.0]
    """
    from scipy.optimize import nnls

    gaps = target - points
    scale = float(np.abs(gaps).max())
    if scale == 0:
        return np.asarray(np.eye(len(points))[0])
    rows = np.vstack([gaps.T / scale, np.ones(len(points))])
    x, _ = nnls(rows, np.append(np.zeros(points.shape[1]), 1.0), maxiter=30 * rows.size)
    return np.asarray(x / x.sum())


def mixed_policy(mdp: TabularMDP, policies: Sequence[Floats], mixture: Floats) -> Floats:
    """One policy, [S, A] or [H, S, A], with the occupancy of a mixture that is drawn once an episode.

    π_t(a | s) = Σ_i λ_i x_i,t(s, a) / Σ_i λ_i x_i,t(s), x_i,t what policy i visits at t. Where none comes,
    all actions alike.
    """
    alike = mdp.available / np.maximum(mdp.available.sum(1, keepdims=True), 1)
    used = [(p, float(share)) for p, share in zip(policies, mixture, strict=True) if share > 0]
    if mdp.horizon is None:
        # The linear solve may leave rounding below zero where nobody comes.
        return _conditional(sum((s * occupancy(mdp, p) for p, s in used), np.zeros(alike.shape)), alike)
    mass = [share * mdp.initial for _, share in used]
    out = np.empty((mdp.horizon, *alike.shape))
    for t in range(mdp.horizon):
        done = [m[:, None] * (p if p.ndim == 2 else p[t]) for m, (p, _) in zip(mass, used, strict=True)]
        out[t] = _conditional(sum(done, np.zeros(alike.shape)), alike)
        mass = [mdp.transition.T @ d.ravel() for d in done]
    return out


def _conditional(visits: Floats, otherwise: Floats) -> Floats:
    visits = np.maximum(visits, 0.0)
    total = visits.sum(1, keepdims=True)
    return np.where(total > 0, visits / np.where(total > 0, total, 1.0), otherwise)


def unseen(mdp: TabularMDP, demonstrations: Demonstrations) -> float:
    """The share of the (discounted) time steps that may lie behind where demonstrations were cut off."""
    if demonstrations.cuts is None:
        return 0.0
    if mdp.horizon is None:
        ahead = demonstrations.cuts.sum() / (1 - mdp.discount)
    else:
        left = np.arange(mdp.horizon, -1, -1)
        each = np.array([(mdp.discount ** np.arange(n)).sum() for n in left])
        ahead = each @ demonstrations.cuts.sum(1)
    return float(ahead / (ahead + demonstrations.visits.sum()))


def whole(mdp: TabularMDP, demonstrations: Demonstrations) -> TabularMDP:
    """The MDP begun where the demonstrations begin; refuses demonstrations that were cut off early.

    Raises:
        ValueError: when more than 1 % of the discounted steps were not seen: no policy has such features.
    """
    if (share := unseen(mdp, demonstrations)) > _UNSEEN:
        raise ValueError(
            f"{100 * share:.3g} % of the demonstrations' discounted steps lie behind where they were cut; "
            f"feature expectations need less than {100 * _UNSEEN:g} %: record longer ones"
        )
    return replace(mdp, initial=demonstrations.starts)
