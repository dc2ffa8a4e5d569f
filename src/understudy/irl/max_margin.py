"""Maximum-margin planning (Ratliff, Bagnell and Zinkevich 2006): the expert beats what differs by a margin.

    J(θ) = λ/2 |θ|² + max_x [θ·Fx + l·x] - θ·μ_E

over the occupancies x [S·A] of all policies: the paper's regularised objective with q = 1 and one example,
the mean demonstration. The loss l [S·A] says how bad a step is that the expert does not make: the worse, the
larger the margin asked for.

The paper descends along subgradients. Here the maximum is built from cutting planes, one plan each, and the
quadratic program over them is solved exactly: its value bounds J from below, so that what is returned comes
with a certificate of how far from the minimum it can be.

Shapes: n cuts, K features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from understudy.irl.apprenticeship import whole
from understudy.tabular.mdp import TabularMDP
from understudy.tabular.planning import hard_plan, occupancy
from understudy.tabular.trajectories import Demonstrations, Trajectories

__all__ = ["MarginFit", "fit_max_margin", "off_actions", "off_states", "simplex_maximum"]

Floats: TypeAlias = NDArray[np.float64]

_FLAT = 1e-12  # relative: curvature below which a direction counts as straight


@dataclass(frozen=True, eq=False)
class MarginFit:
    """What maximum-margin planning found.

    Attributes:
        weights: [K]. reward: [S, A]. policy: [S, A] or [H, S, A], the best for the reward, equally good
            actions sharing.
        objective: J at the weights. bound: what J cannot come below. gap: their difference.
        slack: max_x [θ·Fx + l·x] - θ·μ_E, by how much the margin is missed; 0 where the expert beats every
            policy by its loss. Negative where the demonstrations have features that no policy has, as few
            demonstrations under chance do: the fit then values their luck, the more the smaller λ is.
        converged: whether the gap is at most the tolerance. cuts: how many plans it took.
    """

    weights: Floats
    reward: Floats
    policy: Floats
    objective: float
    bound: float
    gap: float
    slack: float
    converged: bool
    cuts: int


def fit_max_margin(
    mdp: TabularMDP,
    demonstrations: Demonstrations | Trajectories,
    *,
    loss: ArrayLike,
    regularisation: float,
    tolerance: float = 1e-6,
    cuts: int = 1000,
) -> MarginFit:
    """The weights of least J, by cutting planes until the duality gap is at most `tolerance`.

    Args:
        loss: [S, A], of a step, not negative; `off_actions` and `off_states` make the usual ones.
        regularisation: λ > 0, the price of large weights, in the units of loss per squared weight.
        cuts: at most so many plans.

    Raises:
        ValueError: when an argument is out of range, or demonstrations were cut before 99 % of their
            (discounted) steps.
    """
    if isinstance(demonstrations, Trajectories):
        demonstrations = Demonstrations.of(mdp, demonstrations)
    price = mdp.expected(loss)
    if not (price >= 0).all():
        raise ValueError(f"loss holds {price.min():.6g}; what differs from the expert is never rewarded")
    if not (0 < regularisation < np.inf and tolerance > 0 and cuts >= 1):
        raise ValueError(
            f"regularisation is {regularisation}, tolerance {tolerance}, cuts {cuts}; they need "
            "regularisation > 0, tolerance > 0, cuts >= 1"
        )
    world, expert = whole(mdp, demonstrations), mdp.counts(demonstrations.visits)
    theta = best = np.zeros(mdp.width)
    planes = _Planes(regularisation, np.empty((0, mdp.width)), np.empty(0), np.empty(0))
    objective, slack, bound = np.inf, np.inf, -np.inf
    for _ in range(cuts):
        visits = occupancy(world, hard_plan(world, mdp.linear(theta) + price).policy)
        planes.add(mdp.counts(visits) - expert, float((price * visits).sum()))
        missed = float(planes.slopes[-1] @ theta) + float(planes.offsets[-1])
        value = regularisation / 2 * float(theta @ theta) + missed
        if value < objective:
            best, objective, slack = theta, value, missed
        theta, lower = planes.minimum()
        bound = max(bound, lower)
        if objective - bound <= tolerance:
            break
    reward = mdp.linear(best)
    return MarginFit(
        weights=best,
        reward=reward,
        policy=hard_plan(mdp, reward).policy,
        objective=objective,
        bound=bound,
        gap=objective - bound,
        slack=slack,
        converged=objective - bound <= tolerance,
        cuts=len(planes.offsets),
    )


@dataclass
class _Planes:
    """Policies as planes below the maximum: its value is at least slopes @ θ + offsets, [n, K] and [n].

    `mixture` [n] is the solution of the dual problem over the planes so far, from which the next one starts.
    """

    regularisation: float
    slopes: Floats
    offsets: Floats
    mixture: Floats

    def add(self, slope: Floats, offset: float) -> None:
        self.slopes, self.offsets = np.vstack([self.slopes, slope]), np.append(self.offsets, offset)
        self.mixture = np.append(self.mixture, float(len(self.offsets) == 1))

    def minimum(self) -> tuple[Floats, float]:
        """θ [K] of the least λ/2 |θ|² + max of the planes, and the dual value, which no J comes below."""
        curvature = self.slopes @ self.slopes.T / self.regularisation
        self.mixture = simplex_maximum(curvature, self.offsets, self.mixture)
        theta = -self.mixture @ self.slopes / self.regularisation
        dual = float(self.mixture @ self.offsets) - self.regularisation / 2 * float(theta @ theta)
        return theta, dual


def off_states(demonstrations: Demonstrations) -> Floats:
    """[S, A], 1 in states where no demonstration came, 0 elsewhere: the Hamming loss of the paper."""
    never = demonstrations.visits.sum(1, keepdims=True) == 0
    return np.where(np.broadcast_to(never, demonstrations.visits.shape), 1.0, 0.0)


def off_actions(demonstrations: Demonstrations) -> Floats:
    """[S, A], 1 for steps that no demonstration made, 0 for the others."""
    return np.where(demonstrations.visits == 0, 1.0, 0.0)


def simplex_maximum(curvature: Floats, linear: Floats, start: Floats) -> Floats:
    """[n], what maximises b·α - α·Hα/2 over α >= 0, Σ α = 1, by an active set.

    Newton's step among the shares in use, cut off where one of them comes to zero, until none of the others
    would gain (Wolfe 1976, for the nearest point in a polytope). Directions without curvature are followed to
    the border.

    Args:
        curvature: H [n, n], positive semidefinite. linear: b [n]. start: α [n] that is allowed.
    """
    alpha = start.copy()
    scale = max(float(np.abs(curvature).max()), float(np.abs(linear).max()), 1e-300)
    for _ in range(100 + 10 * len(alpha)):
        slope = linear - curvature @ alpha
        new = int(np.argmax(slope))
        if slope[new] - alpha @ slope <= 1e-14 * scale:
            break
        active = alpha > 0
        active[new] = True
        while not _settle(curvature, linear, alpha, active):
            pass
    return alpha


def _settle(curvature: Floats, linear: Floats, alpha: Floats, active: NDArray[np.bool_]) -> bool:
    """One step among the active shares, in place; False when it was cut off and has dropped a share."""
    use = np.flatnonzero(active)
    if len(use) == 1:
        return True  # it has all there is to share
    pull = curvature[use] @ alpha
    slope = linear[use] - pull
    block = curvature[np.ix_(use, use)]
    block = block - block.mean(0) - block.mean(1)[:, None] + block.mean()  # on directions that sum to 0
    bend, axes = np.linalg.eigh(block)
    along = axes.T @ (slope - slope.mean())
    flat = bend <= _FLAT * max(float(np.abs(curvature).max()), 1e-300)
    straight = np.where(flat, along, 0.0)
    size = max(float(np.abs(linear).max()), float(np.abs(pull).max()), 1e-300)
    endless = bool(np.abs(straight).max() > 1e-9 * size)
    move = axes @ (straight if endless else np.where(flat, 0.0, along / np.where(flat, 1.0, bend)))
    down = move < 0
    limit = float((alpha[use][down] / -move[down]).min()) if down.any() else np.inf
    if not endless and limit > 1:
        alpha[use] += move
        return True
    if not down.any():
        return True  # rounding is all that is left
    alpha[use] = np.maximum(alpha[use] + limit * move, 0.0)
    gone = use[down][np.argmin(alpha[use][down])]
    alpha[gone] = 0.0
    active[gone] = False
    alpha /= alpha.sum()
    return False
