"""Hamiltonian Monte Carlo for small posteriors, and what says whether its chains agree.

Shapes: C chains that move together, N draws each, D dimensions. Positions should be scaled so that the
    target's covariance is near the identity; the masses are then all 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil, exp, log, pi, sqrt
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Chains", "Density", "effective_sample_size", "hmc", "leapfrog", "split_r_hat"]

Floats: TypeAlias = NDArray[np.float64]
Density: TypeAlias = "Callable[[Floats], tuple[Floats, Floats]]"
"""[C, D] -> log density [C] (up to a constant; -inf where there is none) and its gradient [C, D]."""

R_HAT = 1.05  # above, chains are not called converged
_ACCEPT = 0.8  # aimed at by the step size; Hoffman and Gelman (2014) find 0.6 to 0.9 equally good
_TIME = pi / 2  # of a trajectory: a quarter period of a standard normal, after which draws are independent
_STEPS = 64  # at most in a trajectory
_LOST = 1000.0  # an energy error beyond which the integrator has diverged


@dataclass(frozen=True, eq=False)
class Chains:
    """Draws [C, N, D], and how the sampler did.

    Attributes:
        r_hat: [D], split R-hat; 1 where chains agree. ess: [D], effective sample size of the mean.
        accepted: the mean probability of acceptance after the warm-up. step: the size that it ended with.
        divergences: trajectories after the warm-up whose energy was lost.
    """

    draws: Floats
    r_hat: Floats
    ess: Floats
    accepted: float
    step: float
    divergences: int

    def mapped(self, draws: Floats) -> Chains:
        """The same chains in other coordinates [C, N, D'], where R-hat and sample sizes are counted anew."""
        return replace(self, draws=draws, r_hat=split_r_hat(draws), ess=effective_sample_size(draws))

    @property
    def converged(self) -> bool:
        """Whether every R-hat is at most 1.05 and no trajectory diverged."""
        return bool((self.r_hat <= R_HAT).all()) and self.divergences == 0


def leapfrog(
    density: Density, position: Floats, momentum: Floats, gradient: Floats, step: float, steps: int
) -> tuple[Floats, Floats, Floats, Floats]:
    """Follows the Hamiltonian flow for `steps` steps (Neal 2011, section 2.3): reversible, volume kept.

    Returns:
        Position, momentum and gradient [C, D], and log density [C], at the end.
    """
    momentum = momentum + step / 2 * gradient
    for i in range(steps):
        position = position + step * momentum
        value, gradient = density(position)
        momentum = momentum + (step if i < steps - 1 else step / 2) * gradient
    return position, momentum, gradient, value


def hmc(density: Density, start: Floats, *, warm_up: int, draws: int, seed: int) -> Chains:
    """`draws` draws a chain, after `warm_up` trajectories that set the step size by dual averaging.

    All chains share one step size and one trajectory length, which is drawn anew each time from 0.5 to 1.5
    of a quarter period so that no dimension comes back to where it was. The warm-up averages as Hoffman and
    Gelman (2014, algorithm 5).

    Args:
        start: [C, D]; spread them wider than the target, so that R-hat can tell.

    Raises:
        ValueError: when there are too few chains or draws, or a start has no density.
    """
    if start.ndim != 2 or len(start) < 2 or draws < 4 or warm_up < 1:
        raise ValueError(
            f"start is {list(start.shape)}, draws {draws}, warm_up {warm_up}; R-hat needs 2 chains, 4 draws "
            "and a warm-up"
        )
    rng = np.random.default_rng(seed)
    position, (value, gradient) = np.array(start, np.float64), density(start)
    if not np.isfinite(value).all():
        raise ValueError(f"chain {int(np.argmin(np.isfinite(value)))} starts where there is no density")
    kept = np.empty((draws, *start.shape))
    averaging, step = _DualAveraging(), 0.1
    chances: list[float] = []
    lost = 0
    for i in range(warm_up + draws):
        momentum = rng.normal(size=start.shape)
        time = _TIME * rng.uniform(0.5, 1.5)
        steps = min(ceil(time / step), _STEPS)
        new, speed, slope, level = leapfrog(density, position, momentum, gradient, step, steps)
        with np.errstate(invalid="ignore", over="ignore"):
            gain = level - value + ((momentum**2).sum(1) - (speed**2).sum(1)) / 2
        gain = np.where(np.isfinite(gain), gain, -np.inf)
        chance = np.exp(np.minimum(gain, 0.0))
        taken = rng.random(len(start)) < chance
        position = np.where(taken[:, None], new, position)
        gradient = np.where(taken[:, None], slope, gradient)
        value = np.where(taken, level, value)
        if i < warm_up:
            step = averaging.update(float(chance.mean()), last=i == warm_up - 1)
        else:
            kept[i - warm_up] = position
            chances.append(float(chance.mean()))
            lost += int((gain < -_LOST).sum())
    chains = np.ascontiguousarray(kept.transpose(1, 0, 2))
    return Chains(
        chains, split_r_hat(chains), effective_sample_size(chains), float(np.mean(chances)), step, lost
    )


class _DualAveraging:
    """The step size whose acceptance comes to the target, with the paper's constants."""

    def __init__(self) -> None:
        self.count, self.error, self.mean = 0, 0.0, 0.0

    def update(self, chance: float, last: bool) -> float:
        """The next step size to try; the averaged one when it is the last."""
        self.count += 1
        self.error += (_ACCEPT - chance - self.error) / (self.count + 10)
        size = -sqrt(self.count) / 0.05 * self.error
        share = self.count**-0.75
        self.mean = share * size + (1 - share) * self.mean
        return exp(max(self.mean if last else size, log(1e-6)))


def _split(draws: Floats) -> Floats:
    """[2 C, N / 2, D]: each chain's halves as chains, so that a drift shows."""
    half = draws.shape[1] // 2
    return np.concatenate([draws[:, :half], draws[:, -half:]])


def split_r_hat(draws: Floats) -> Floats:
    """[D] of draws [C, N, D]: split R-hat (Gelman et al. 2013, Bayesian Data Analysis, equation 11.4).

    The square root of the variance over all half-chains by the mean variance within one; infinite where
    chains stand still in different places.
    """
    x = _split(draws)
    n = x.shape[1]
    within = x.var(1, ddof=1).mean(0)
    between = x.mean(1).var(0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where((within == 0) & (between == 0), 0.0, between / within)
    return np.asarray(np.sqrt((n - 1) / n + ratio))


def effective_sample_size(draws: Floats) -> Floats:
    """[D] of draws [C, N, D]: how many independent draws would know the mean as well.

    From the autocorrelation of the half-chains, summed until a sum of two neighbours turns negative, and made
    monotone (Geyer 1992; Gelman et al. 2013, section 11.5). Not more than 2 C N, for chains that swing to
    and fro.
    """
    x = _split(draws)
    chains, n, dims = x.shape
    centred = x - x.mean(1, keepdims=True)
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(centred, size, axis=1)) ** 2
    covariance = np.fft.irfft(spectrum, size, axis=1)[:, :n].mean(0) / n  # [n, D]
    within = x.var(1, ddof=1).mean(0)
    total = (n - 1) / n * within + x.mean(1).var(0, ddof=1)
    out = np.empty(dims)
    for d in range(dims):
        if total[d] == 0:
            out[d] = 1.0
            continue
        rho = 1 - (within[d] - covariance[:, d] * n / (n - 1)) / total[d]
        rho[0] = 1.0
        pairs = rho[: n // 2 * 2].reshape(-1, 2).sum(1)
        stop = int(np.argmax(pairs < 0)) if (pairs < 0).any() else len(pairs)
        time = 2 * float(np.minimum.accumulate(pairs[:stop]).sum()) - 1
        out[d] = chains * n / max(time, 0.5)
    return out
