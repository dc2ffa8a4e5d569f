"""How far the weights of inverse RL can be trusted: standard errors, intervals, what cannot be known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array, issparse
from scipy.special import ndtri, stdtrit

from understudy.irl.ascent import DENSE, basis
from understudy.irl.likelihood import Likelihood, Point, reached, scaled, tangents
from understudy.irl.maxent import Fit
from understudy.numerics import Estimate
from understudy.tabular import Trajectories

__all__ = ["Kind", "WeightErrors", "expected_spread", "observed_spread", "scores", "standard_errors"]

Floats: TypeAlias = NDArray[np.float64]
Kind: TypeAlias = Literal["sandwich", "model"]

_PART = 1e-6  # of a direction of length 1, below which it is rounding


@dataclass(frozen=True, eq=False)
class WeightErrors:
    """The uncertainty of fitted weights.

    Attributes:
        weights: [K]. covariance: [K, K], of the part of the weights that can be known.
        unknown: [K, U], orthonormal directions of the weights times `scale` along which no policy changes:
            no number of demonstrations says anything about them.
        scale: [K], the largest absolute value of each feature.
        known: [K], which weights have no part in them, and so an error of their own.
        names: of the features. n: demonstrations. kind: how it was computed.
        freedom: degrees of freedom of Student's t; infinite for the normal distribution.
    """

    weights: Floats
    covariance: Floats
    unknown: Floats
    scale: Floats
    known: NDArray[np.bool_]
    names: tuple[str, ...]
    n: int
    kind: Kind
    freedom: float

    @property
    def errors(self) -> Floats:
        """[K], one standard error of each weight; infinite where it cannot be known."""
        return np.where(self.known, np.sqrt(np.maximum(np.diag(self.covariance), 0)), np.inf)

    @property
    def unidentified(self) -> tuple[str, ...]:
        """The names of the features whose weights cannot be known on their own."""
        return tuple(name for name, known in zip(self.names, self.known, strict=True) if not known)

    def interval(self, feature: int | str, level: float = 0.95) -> Estimate:
        """The interval of one weight: Student's t for the sandwich, normal for the model."""
        if isinstance(feature, str) and feature not in self.names:
            raise ValueError(f"no feature is named {feature!r}")
        k = self.names.index(feature) if isinstance(feature, str) else feature
        return self.combination(np.eye(len(self.weights))[k], level)

    def intervals(self, level: float = 0.95) -> tuple[Estimate, ...]:
        """Of all weights."""
        return tuple(self.interval(k, level) for k in range(len(self.weights)))

    def combination(self, parts: ArrayLike, level: float = 0.95) -> Estimate:
        """The interval of a weighted sum c·θ, c [K]; infinite where demonstrations cannot know it.

        Differences of weights can be known where the weights cannot, as of two kinds of ground when every
        step is on one of them.
        """
        c = np.asarray(parts, np.float64)
        if c.shape != self.weights.shape:
            raise ValueError(f"parts is {list(c.shape)}; there are {len(self.weights)} weights")
        if not 0 < level < 1:
            raise ValueError(f"level is {level}; it must lie between 0 and 1")
        value, method = float(c @ self.weights), f"{self.kind} {100 * level:g} %"
        own: Floats = c / self.scale
        if np.linalg.norm(self.unknown.T @ own) > _PART * np.linalg.norm(own):
            return Estimate(value, -np.inf, np.inf, self.n, method)
        top = 0.5 + level / 2
        quantile = float(ndtri(top) if np.isinf(self.freedom) else stdtrit(self.freedom, top))
        half = quantile * max(float(c @ self.covariance @ c), 0.0) ** 0.5
        return Estimate(value, value - half, value + half, self.n, method)


def standard_errors(fit: Fit, *, kind: Kind = "sandwich") -> WeightErrors:
    """The covariance of fitted weights, H⁻¹ S H⁻¹/n over the directions that can be known.

    H is minus the exact second derivative of what was maximised, for one demonstration; S the covariance of
    one demonstration's score (`scores`).

    - "sandwich" takes S from the demonstrations (Huber 1967). It is the default because S = H, on which the
      simpler H⁻¹/n rests, fails twice: with γ < 1 the objective weighs decisions by γ^t, so that it is not
      the logarithm of a probability (S has γ^2t where H has γ^t); and with chancy dynamics the score of
      "features" holds the luck of the dynamics besides that of the choices. It also holds where the expert
      is not exactly of the assumed kind; the weights are then those of the closest reward. S is widened by
      (n - 1)/(n - R), as R fitted weights make the scores smaller than they were; under a penalty R is the
      trace of H⁻¹ times the demonstrations' part of H.
    - "model" computes S from the fitted policy and the MDP, and needs few demonstrations; it believes both.
      Without discount, and without luck or for "choices", it is H⁻¹/n.

    With l2 or a prior, the intervals are around the weights that the penalty would leave with endless
    demonstrations of this penalty, not around the true ones: what it pulls them away is not in them.

    Raises:
        ValueError: for exact demonstrations; when the fit did not converge; with l1 (an interval after a
            choice of features is not one: fit those that it kept again); for more than 300 features; with no
            more demonstrations than weights ("sandwich"); with cut demonstrations ("model").
    """
    _check(fit, kind)
    trajectories = fit.demonstrations.trajectories
    assert trajectories is not None
    features, scale = scaled(fit.mdp.features)
    likelihood, n = Likelihood(fit.mdp, fit.demonstrations, features, fit.objective), len(trajectories)
    steps = float(fit.demonstrations.visits.sum())
    space = basis(likelihood.support(), steps)
    point = likelihood.at(fit.weights * scale)
    data, penalty = likelihood.information(point), np.diag(fit.precision / scale**2)
    along = np.eye(len(scale)) if fit.precision.any() else space.directions
    inverse = along @ np.linalg.pinv(along.T @ (data + penalty) @ along, hermitian=True) @ along.T
    fitted = max(1.0, float(np.trace(inverse @ data)))  # weights that the demonstrations settle: R, or fewer
    if kind == "model":
        spread = expected_spread(likelihood, point)
    elif n > fitted + 1e-6:  # which is rounded
        spread = observed_spread(likelihood, point, trajectories) * (n - 1) / (n - fitted)
    else:
        raise ValueError(f"{n} demonstrations for {fitted:.3g} weights; the sandwich needs more of them")
    return WeightErrors(
        weights=fit.weights,
        covariance=inverse @ spread @ inverse / n / np.outer(scale, scale),
        unknown=space.flat,
        scale=scale,
        known=np.linalg.norm(space.flat, axis=1) < _PART,
        names=fit.names,
        n=n,
        kind=kind,
        freedom=np.inf if kind == "model" else n - fitted,
    )


def scores(likelihood: Likelihood, point: Point, trajectories: Trajectories) -> Floats:
    """[N, K], the derivative of each demonstration's own likelihood; their mean is the gradient."""
    of = _choices if likelihood.objective == "choices" else _features
    return of(likelihood, point, trajectories)


def _choices(likelihood: Likelihood, point: Point, trajectories: Trajectories) -> Floats:
    """Σ_t γ^t (∇Q_t(s_t, a_t) - ∇V_t(s_t))."""
    mdp, n = likelihood.mdp, len(trajectories)
    who, when, state, action = trajectories.steps()
    total = np.zeros((n, len(point.weights)))
    for tangent in tangents(mdp, point.plan, likelihood.features):
        now = slice(None) if mdp.horizon is None else when == tangent.time
        advantage = (tangent.step - tangent.now)[action[now], state[now]]
        np.add.at(total, who[now], (mdp.discount ** when[now])[:, None] * advantage)
    return total


def _features(likelihood: Likelihood, point: Point, trajectories: Trajectories) -> Floats:
    """Σ_t γ^t φ(s_t, a_t) - ∇V_0(s_0), and γ^T ∇V_T(s_T) where one was cut off."""
    mdp, n = likelihood.mdp, len(trajectories)
    who, when, state, action = trajectories.steps()
    counted = csr_array(
        (mdp.discount**when, (who, state * mdp.actions + action)), shape=(n, mdp.states * mdp.actions)
    )
    product = counted @ likelihood.features
    total = product.toarray() if issparse(product) else np.asarray(product)
    lengths, last = trajectories.lengths, trajectories.last
    ends = np.flatnonzero(~mdp.terminal[last])
    if mdp.horizon is not None:
        ends = ends[lengths[ends] < mdp.horizon]
    for tangent in tangents(mdp, point.plan, likelihood.features):
        cut = ends if mdp.horizon is None else ends[lengths[ends] == tangent.time]
        total[cut] += (mdp.discount ** lengths[cut])[:, None] * tangent.now[last[cut]]
        if tangent.time == 0:
            total -= tangent.now[trajectories.states[:, 0]]
    return total


def observed_spread(likelihood: Likelihood, point: Point, trajectories: Trajectories) -> Floats:
    """[K, K], the covariance of the scores of the demonstrations."""
    each = scores(likelihood, point, trajectories)
    off = each - each.mean(0)
    return np.asarray(off.T @ off / (len(each) - 1))


def expected_spread(likelihood: Likelihood, point: Point) -> Floats:
    """[K, K], the covariance of a score under the policy and the dynamics.

    A score is a sum of γ^t times martingale differences: the advantage of the action in features, and γ times
    how far ∇V where one arrived is from what was to be expected.
    """
    mdp, plan = likelihood.mdp, point.plan
    mass = reached(mdp, plan, likelihood.demonstrations.starts, discount=mdp.discount**2)
    policy = plan.policy if plan.policy.ndim == 3 else plan.policy[None]
    total = np.zeros((len(point.weights),) * 2)
    for tangent in tangents(mdp, plan, likelihood.features):
        weight = policy[tangent.time].T * mass[tangent.time]
        choice = (tangent.step - tangent.now).reshape(-1, len(total))
        total += choice.T @ (weight.reshape(-1, 1) * choice)
        if likelihood.objective == "choices":
            continue
        middle = tangent.arrive.mean(0)  # covariances do not depend on it; rounding does
        onward = np.asarray(mdp.forward @ tangent.arrive) - middle
        arrive = tangent.arrive - middle
        landing = np.asarray(mdp.backward @ weight.ravel())[:, None]
        luck = arrive.T @ (landing * arrive) - onward.T @ (weight.reshape(-1, 1) * onward)
        total += mdp.discount**2 * luck
    return total


def _check(fit: Fit, kind: Kind) -> None:
    if kind not in get_args(Kind):
        raise ValueError(f"kind is {kind!r}; it is one of {', '.join(get_args(Kind))}")
    trajectories = fit.demonstrations.trajectories
    if trajectories is None:
        raise ValueError("exact demonstrations leave no error; standard errors need trajectories")
    if len(trajectories) < 2:
        raise ValueError("one demonstration says nothing about how much they differ; two at least")
    if not fit.converged:
        raise ValueError(f"the fit did not converge, {fit.why}; there are no errors around such weights")
    if fit.l1:
        raise ValueError("after l1 has chosen features no interval is one; fit those that it kept again")
    if len(fit.weights) > DENSE:
        raise ValueError(f"{len(fit.weights)} weights; standard errors are for {DENSE} at most")
    if kind == "model" and fit.demonstrations.cuts is not None:
        raise ValueError(
            "the model's covariance needs whole demonstrations; some were cut off, use 'sandwich'"
        )
