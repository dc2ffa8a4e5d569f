"""Finding the weights: L-BFGS for the way, Newton's method in a trust region for the last digits.

Everything here is about a penalised likelihood of weights whose features have been scaled to a largest
absolute value of 1, so that one step size and one tolerance suit all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import diags_array, eye_array

from understudy.irl.likelihood import Likelihood, Point
from understudy.irl.trust_region import dense_step, product_step

__all__ = ["DENSE", "Basis", "Climb", "Penalised", "basis", "climb", "climb_sparse", "loose_basis"]

Floats: TypeAlias = NDArray[np.float64]

DENSE = 300  # weights, up to which the matrix of second derivatives is formed
_WAY, _MEMORY = 40, 20  # iterations of L-BFGS before Newton's method takes over, and how many it remembers
_CLOSE = 1e-3  # the slope from which Newton's method needs a few steps
_FAR = 1e4  # nats: a reward of this size leaves nothing to chance; the weights are on their way to infinity
_RUNNING = 0.1  # nats: a last step that would change the reward by this much is no last step
_FLAT = 1e-8  # the slope from which steps that do not become small are counted
_AGAIN = 3  # further steps that may show whether it was
_LEAP = 100.0  # nats, the longest step of Newton's method where a search along it follows


@dataclass(frozen=True, eq=False)
class Penalised:
    """The likelihood less ½ Σ q (θ - m)² and Σ l1 |θ|; all [K], in scaled weights, a demonstration."""

    likelihood: Likelihood
    mean: Floats
    precision: Floats
    l1: Floats

    def smooth(self, point: Point) -> tuple[float, Floats]:
        """Value and gradient, without the absolute values."""
        off = point.weights - self.mean
        pull = self.precision * off
        return point.value - 0.5 * float(pull @ off), point.gradient - pull

    def slope(self, point: Point) -> Floats:
        """[K], the gradient; where l1 > 0 the subgradient of smallest size. Zero at the maximum."""
        g, weights = self.smooth(point)[1], point.weights
        at_zero = np.sign(g) * np.maximum(np.abs(g) - self.l1, 0)
        return np.where(weights == 0, at_zero, g - self.l1 * np.sign(weights))

    def value(self, point: Point) -> float:
        """With the absolute values."""
        return self.smooth(point)[0] - float(self.l1 @ np.abs(point.weights))

    def information(self, point: Point) -> Floats:
        """[K, K], minus the second derivatives of the smooth part."""
        return self.likelihood.information(point) + np.diag(self.precision)

    def products(self, point: Point) -> Callable[[Floats], Floats]:
        """The same as a product with a vector."""
        times = self.likelihood.curvature(point)
        return lambda v: times(v) + self.precision * v

    def rounding(self, point: Point) -> float:
        """Differences of values below this mean nothing."""
        return 1e-14 * (1 + abs(float(self.likelihood.target @ point.weights)) + abs(point.value))


@dataclass(frozen=True, eq=False)
class Basis:
    """Coordinates x [R] of the weights that demonstrations can tell apart: a step is directions @ x.

    Attributes:
        directions: [K, R], dense or sparse; at right angles to `flat`, so that what demonstrations happen to
            differ by along it (the luck of the dynamics) moves nothing.
        flat: [K, K - R], orthonormal: along these no policy changes, whatever the weights.
        dense: whether Newton's method forms the second derivatives, or multiplies with them.
    """

    directions: Any
    flat: Floats
    dense: bool

    def seen(self, gradient: Floats) -> Floats:
        """The part of a gradient that some reward can change."""
        return gradient - self.flat @ (self.flat.T @ gradient)


def basis(information: Floats, steps: float) -> Basis:
    """The directions along which a matrix of curvature [K, K] is not zero, scaled to a curvature of 1.

    Args:
        information: not negative, `Likelihood.support` and what penalties add.
        steps: the (discounted) length of a demonstration, which says how large rounding may be.
    """
    own = np.diag(information)
    felt = own > 1e-20 * max(steps, 1.0) ** 3
    scale = 1 / np.sqrt(own[felt])
    values, vectors = np.linalg.eigh(information[np.ix_(felt, felt)] * np.outer(scale, scale))
    kept = values > 1e-11 * max(1.0, float(values.max(initial=0)))
    many, lost = len(own), int((~kept).sum())
    directions, flat = np.zeros((many, int(kept.sum()))), np.zeros((many, lost + int((~felt).sum())))
    directions[felt] = scale[:, None] * vectors[:, kept] / np.sqrt(values[kept])
    flat[felt, :lost] = scale[:, None] * vectors[:, ~kept]
    flat[~felt, lost:] = np.eye(int((~felt).sum()))
    flat = np.linalg.qr(flat)[0]
    return Basis(directions - flat @ (flat.T @ directions), flat, dense=True)


def loose_basis(problem: Penalised, point: Point) -> Basis:
    """For many weights: each on its own scale, by how much its feature differs between single steps."""
    phi, visits = problem.likelihood.features, point.visits.ravel()
    squared = phi.multiply(phi) if hasattr(phi, "multiply") else phi * phi
    spread = np.asarray(squared.T @ np.abs(visits)) + problem.precision
    scale = np.where(spread > 0, 1 / np.sqrt(np.where(spread > 0, spread, 1)), 1.0)
    return Basis(diags_array(scale).tocsr(), np.zeros((len(scale), 0)), dense=False)


@dataclass
class Climb:
    """On the way to the maximum.

    Attributes:
        iterations: so far, at most `limit`. report: is told of every one.
        last: nats, by how much the last step changed the reward at most; infinite before the first.
        running: [K], the last step where it would not settle; None where all is well.
    """

    problem: Penalised
    point: Point
    tolerance: float
    limit: int
    report: Callable[[int, Point, float], None]
    iterations: int = 0
    last: float = np.inf
    running: Floats | None = None

    def note(self, point: Point, space: Basis) -> float:
        """Takes a step; returns the slope's largest entry."""
        self.last = float(np.abs(point.plan.reward - self.point.plan.reward).max())
        self.point, self.iterations = point, self.iterations + 1
        steepest = self.steepest(space)
        self.report(self.iterations, point, steepest)
        return steepest

    def steepest(self, space: Basis) -> float:
        """The largest entry of the slope that some reward can change."""
        return float(np.abs(space.seen(self.problem.slope(self.point))).max(initial=0))

    @property
    def far(self) -> bool:
        """Whether the reward has grown beyond all reason."""
        return float(np.abs(self.point.plan.reward).max()) > _FAR


class _Beyond(Exception):
    """A search along a line left all reason."""


def _bound(point: Point) -> None:
    """Ends a search that doubles and doubles, where the likelihood grows without bound."""
    if float(np.abs(point.plan.reward).max()) > 100 * _FAR:
        raise _Beyond


def climb(state: Climb, space: Basis) -> None:
    """To the maximum of a penalised likelihood without absolute values."""
    if not space.directions.shape[1]:
        state.last = 0.0  # no policy depends on any weight
        return
    _way(state, space, state.tolerance if not space.dense else max(_CLOSE, state.tolerance))
    _newton(state, space)


def _way(state: Climb, space: Basis, until: float) -> None:
    """L-BFGS (Liu and Nocedal 1989), until the slope is small, or it is time for Newton's method."""
    problem, origin, tried = state.problem, state.point.weights, state.point
    limit = state.limit if not space.dense else min(state.limit, _WAY)
    if state.steepest(space) <= until or limit <= state.iterations:
        return

    def loss(x: Floats) -> tuple[float, Floats]:
        nonlocal tried
        tried = problem.likelihood.at(origin + space.directions @ x)
        value, gradient = problem.smooth(tried)
        _bound(tried)
        return -value, -(space.directions.T @ gradient)

    def after(x: Floats) -> None:
        if state.note(tried, space) <= until or state.far:
            raise StopIteration

    x = np.zeros(space.directions.shape[1])
    options = {"maxiter": limit, "maxfun": 10 * limit, "maxcor": _MEMORY, "ftol": 0.0, "gtol": 0.0}
    try:
        minimize(loss, x, jac=True, method="L-BFGS-B", callback=after, options=options)
    except _Beyond:
        state.note(tried, space)


def _newton(state: Climb, space: Basis) -> None:
    """Newton's method in a trust region, in coordinates of the basis (Nocedal and Wright 2006, chapter 4).

    It goes on below the tolerance while its steps still change the reward: where the likelihood has no
    maximum the slope vanishes too, but every step goes on to the next.
    """
    problem, radius, again = state.problem, 1.0, 0
    steepest = state.steepest(space)
    while state.iterations < state.limit and not (steepest <= state.tolerance and state.last <= _RUNNING):
        if again > _AGAIN or state.far:
            break
        again += steepest <= min(state.tolerance, _FLAT)
        point = state.point
        value, gradient = problem.smooth(point)
        slope = np.asarray(space.directions.T @ gradient)
        step, expected = _step(problem, point, space, slope, radius)
        size = float(np.linalg.norm(step))
        move = np.asarray(space.directions @ step)
        there = problem.likelihood.at(point.weights + move)
        gained, after = problem.smooth(there)
        gained -= value
        if expected < 100 * problem.rounding(point):  # the values cannot tell; the slopes can
            good = np.linalg.norm(space.directions.T @ after) < np.linalg.norm(slope)
            ratio = 1.0 if good else 0.0
        else:
            ratio = gained / expected
        if ratio > 1e-3:
            steepest, state.running = state.note(there, space), move
        if ratio > 0.75:
            radius = max(radius, 3 * size)
        elif ratio < 0.25:
            radius = size / 4
            if radius < 1e-12 * (1 + float(np.linalg.norm(point.weights))):
                break
    if steepest <= state.tolerance and state.last <= _RUNNING:
        state.running = None


def _step(
    problem: Penalised, point: Point, space: Basis, slope: Floats, radius: float
) -> tuple[Floats, float]:
    """The step [R] of greatest expected gain within a radius, and that gain."""
    way = space.directions
    if space.dense:
        return dense_step(way.T @ problem.information(point) @ way, slope, radius)
    multiply = problem.products(point)
    return product_step(lambda x: np.asarray(way.T @ multiply(np.asarray(way @ x))), slope, radius)


def climb_sparse(state: Climb, dense: bool) -> None:
    """To the maximum with absolute values: L-BFGS on both signs apart, then Newton's method on what is not 0.

    The weights that are 0 are so exactly, and their gradients lie within l1.
    """
    everything = Basis(eye_array(len(state.point.weights)), np.zeros((len(state.point.weights), 0)), dense)
    _signed_way(state, everything)
    steepest = state.steepest(everything)
    while state.iterations < state.limit and steepest > state.tolerance and not state.far:
        problem, point = state.problem, state.point
        slope = problem.slope(point)
        sign = np.where(point.weights != 0, np.sign(point.weights), np.sign(slope))
        free = np.flatnonzero((point.weights != 0) | (slope != 0))
        space = replace(everything, directions=eye_array(len(sign)).tocsc()[:, free].tocsr())
        step, _ = _step(problem, point, space, slope[free], _LEAP)
        move, share = np.asarray(space.directions @ step), 1.0
        while True:
            moved = point.weights + share * move
            moved[moved * sign < 0] = 0  # a sign changes by way of 0
            there = problem.likelihood.at(moved)
            gained = problem.value(there) - problem.value(point)
            less = np.abs(problem.slope(there)).max() < steepest
            if gained > problem.rounding(point) or (less and gained > -problem.rounding(point)):
                break
            share /= 4
            if share < 1e-9:
                return
        steepest = state.note(there, everything)


def _signed_way(state: Climb, space: Basis) -> None:
    """L-BFGS-B on the positive and the negative part of each weight (Byrd et al. 1995)."""
    problem, start = state.problem, state.point.weights
    many, tried = len(start), state.point
    if state.steepest(space) <= state.tolerance or state.limit < 1:
        return

    def loss(x: Floats) -> tuple[float, Floats]:
        nonlocal tried
        tried = problem.likelihood.at(x[:many] - x[many:])
        value, gradient = problem.smooth(tried)
        cost = float(problem.l1 @ (x[:many] + x[many:]))
        _bound(tried)
        return cost - value, np.concatenate([problem.l1 - gradient, problem.l1 + gradient])

    def after(x: Floats) -> None:
        until = _CLOSE if space.dense else state.tolerance
        if state.note(tried, space) <= until or state.far:
            raise StopIteration

    x = np.concatenate([np.maximum(start, 0), np.maximum(-start, 0)])
    limit = state.limit if not space.dense else min(state.limit, 2 * _WAY)
    options = {"maxiter": limit, "maxfun": 10 * limit, "maxcor": _MEMORY, "ftol": 0.0, "gtol": 0.0}
    bounds = [(0, None)] * (2 * many)
    try:
        minimize(loss, x, jac=True, method="L-BFGS-B", callback=after, bounds=bounds, options=options)
    except _Beyond:
        state.note(tried, space)
