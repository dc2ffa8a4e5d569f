"""A reward from states alone: inverse optimal control relative to passive dynamics.

Linearly solvable control (Todorov 2009; its inverse: Dvijotham and Todorov 2010, OptV). Left alone, a state
moves by the passive dynamics p₀(s'|s). Who steers pays for how far his dynamics u are from those, and gets
r(s) for being in s. The best steering is the maximum-entropy one relative to p₀:

    u(s'|s) = p₀(s'|s) exp V(s') / Z(s),    Z(s) = E_{p₀(.|s)} exp V(s'),    V(s) = r(s) + log Z(s) - c,

with V the value and c the average reward a step; in problems that end, c is 0. So demonstrated transitions
have the log-likelihood Σ V(s'ₙ) - log Z(sₙ), concave in V and in need of no simulator, and
r(s) = V(s) - log Z(s) up to the constant c.

Passive dynamics here are a random walk, s' ~ N(s, Σ). Σ is half the second moment of the change of the
increments from step to step: steering is much the same in two steps that follow each other and cancels, what
is left is noise. To first order in the gain of a linear controller this is Σ itself, and not the smaller
covariance of the steered steps. Where states carry momentum a random walk is a poor picture of what would
happen unsteered; a learner that has the environment does not need one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["PassiveReward", "Walk"]

_RIDGE = 1e-4  # of the mean variance, added to all: a dimension that never moves has none
_STILL = 1e-12  # of a state's variance: less is rounding
_STEPS, _BATCH, _PAIRS = 200, 128, 2
_RATE, _DECAY = 3e-3, 1e-2
_JUDGED = 8192  # transitions at most, that the gain is told of


@final
class Walk:
    """Demonstrated transitions in units of the states' spread, and the random walk that they would be.

    Attributes:
        shift, scale: [S], mean and standard deviation of all states; a constant has scale 1.
        before, after: [N, S], normalised. root: [S, S], lower, Σ = root rootᵀ in normalised units.

    Raises:
        ValueError: when no trajectory has three states, or nothing ever moves.
    """

    def __init__(self, trajectories: Sequence[NDArray[Any]]) -> None:
        states = np.concatenate(trajectories).astype(np.float64)
        self.shift, spread = states.mean(0), states.std(0)
        self.scale = np.where(spread > 1e-6 * np.abs(states).max(0), spread, 1.0)
        parts = [(np.asarray(t, np.float64) - self.shift) / self.scale for t in trajectories]
        changes = np.concatenate([np.diff(t, n=2, axis=0) for t in parts if len(t) > 2] or [parts[0][:0]])
        if not len(changes):
            raise ValueError("a reward from states alone needs a demonstration of at least three states")
        covariance = changes.T @ changes / (2 * len(changes))
        if not (mean := np.trace(covariance) / len(covariance)) > _STILL:
            raise ValueError(
                "the demonstrated states never change their course; there is no noise to measure by"
            )
        root = np.linalg.cholesky(covariance + _RIDGE * mean * np.eye(len(covariance)))
        self.root = torch.as_tensor(root, dtype=torch.float32)
        self.before = _float(np.concatenate([t[:-1] for t in parts]))
        self.after = _float(np.concatenate([t[1:] for t in parts]))

    def around(self, n: int, seed: int) -> Tensor:
        """Normalised states [n, S]: half demonstrated, half at random, about as far out as those go."""
        random = torch.Generator().manual_seed(seed)
        shown = torch.cat([self.before, self.after])
        there = shown[torch.randint(len(shown), (n // 2,), generator=random)]
        anywhere = torch.randn(n - n // 2, shown.shape[1], generator=random)
        radius = shown.norm(dim=1).max() / shown.shape[1] ** 0.5
        return torch.cat([there, radius * torch.rand(len(anywhere), 1, generator=random).square() * anywhere])

    def raw(self, z: Tensor) -> Tensor:
        """Normalised states [N, S] in their own units."""
        return z * _float(self.scale) + _float(self.shift)


@final
class PassiveReward(nn.Module):
    """V as a concave quadratic and a network, fitted to demonstrated transitions; gives r = V - log Z.

    The quadratic begins as the solution for linear steering, and is what decides far from the data: the
    network grows no faster than linearly, so that Z is finite and unknown states are not the best ones.

    Args:
        walk: what is fitted to.
        hidden: widths of the network's hidden layers.
        seed: of first weights, batches and draws.
    """

    def __init__(self, walk: Walk, hidden: Sequence[int], seed: int) -> None:
        super().__init__()
        self.walk, width = walk, walk.root.shape[0]
        self._random = torch.Generator().manual_seed(seed)
        self._variance = float(walk.root.square().sum() / width)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            widths = [width, *hidden]
            layers = [m for i, o in pairwise(widths) for m in (nn.Linear(i, o), nn.SiLU())]
            self.network = nn.Sequential(*layers, nn.Linear(widths[-1], 1))
        nn.init.zeros_(self.network[-1].weight)  # type: ignore[arg-type]
        curve, slope = self._linear()
        self.curve, self.slope = nn.Parameter(curve), nn.Parameter(slope)

    def _linear(self) -> tuple[Tensor, Tensor]:
        """The quadratic of linear steering, s' - s = a - G s by least squares: Σ∇²V = -G (I - G)⁻¹.

        G is made symmetric where noise is white, as that of any V is, and its gains are kept in [0, 0.95].
        """
        walk, root = self.walk, self.walk.root.double()
        ones = torch.cat([walk.before, torch.ones(len(walk.before), 1)], 1).double()
        drift = torch.linalg.lstsq(ones, (walk.after - walk.before).double(), driver="gelsd").solution.T
        white = torch.linalg.solve(root, torch.cat([-drift[:, :-1] @ root, drift[:, -1:]], 1))
        gains, axes = torch.linalg.eigh((white[:, :-1] + white[:, :-1].T) / 2)
        gains = gains.clamp(0.0, 0.95)
        along = axes.T @ torch.linalg.inv(root)  # [S, S], states along the axes, in white units
        curve = (self._variance * gains / (1 - gains)).sqrt()[:, None] * along
        slope = self._variance * along.T @ ((axes.T @ white[:, -1]) / (1 - gains))
        return curve.float(), slope.float()

    def value(self, z: Tensor) -> Tensor:
        """V of normalised states [..., S], in nats, as [...].

        The parts are of the size of one step; over the variance of the noise they become nats.
        """
        bowl: Tensor = (z @ self.slope) - 0.5 * (z @ self.curve.T).square().sum(-1)
        out: Tensor = (bowl + self.network(z).squeeze(-1)) / self._variance
        return out

    def _steer(self, z: Tensor) -> Tensor:
        """Σ ∇V [N, S] at normalised states [N, S], without a graph."""
        with torch.enable_grad():
            at = z.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(self.value(at).sum(), at)
        return gradient @ self.walk.root @ self.walk.root.T

    def log_partition(self, z: Tensor, towards: Tensor, pairs: int) -> Tensor:
        """log Z [N] at normalised states [N, S] from 2 · `pairs` draws of the walk displaced by `towards`.

        E_{N(0,Σ)} exp V(s + ε) = E_{N(0,Σ)} exp(V(s + δ + ε) - δᵀΣ⁻¹ε - ½ δᵀΣ⁻¹δ) for any δ (Cameron and
        Martin 1944); with δ = Σ ∇V(s + δ) the terms of first order cancel, and draws in pairs ± ε cancel odd
        ones. Without it, most draws miss where exp V is.
        """
        draws = torch.randn(pairs, *z.shape, generator=self._random)
        draws = torch.cat([draws, -draws])
        white = torch.linalg.solve_triangular(self.walk.root, towards.T, upper=False).T
        exponent = self.value(z + towards + draws @ self.walk.root.T) - (draws * white).sum(-1)
        mean = torch.logsumexp(exponent, 0) - math.log(2 * pairs)
        out: Tensor = mean - 0.5 * white.square().sum(-1)
        return out

    def fit(self, steps: int = _STEPS) -> float:
        """Ascends the likelihood; the gain in nats a transition over no steering at all (V = 0)."""
        walk, n = self.walk, len(self.walk.after)
        some = slice(None, None, math.ceil(n / _JUDGED))
        optimizer = torch.optim.AdamW(self.parameters(), _RATE, weight_decay=_DECAY, fused=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            rows = torch.randint(n, (min(n, _BATCH),), generator=self._random)
            before, after = walk.before[rows], walk.after[rows]
            gain = self._gain(before, after)
            optimizer.zero_grad()
            (-self._variance * gain.mean()).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            return float(self._gain(walk.before[some], walk.after[some]).mean())

    def _gain(self, before: Tensor, after: Tensor) -> Tensor:
        """[N], log u(s'|s) - log p₀(s'|s) = V(s') - log Z(s) of transitions."""
        return self.value(after) - self.log_partition(before, self._steer(after), _PAIRS)

    @torch.no_grad()
    def reward(self, z: Tensor, pairs: int = 4 * _PAIRS) -> Tensor:
        """r = V - log Z, in nats a step, [N] at normalised states [N, S]."""
        towards = torch.zeros_like(z)
        for _ in range(5):
            towards = 0.5 * (towards + self._steer(z + towards))
        return self.value(z) - self.log_partition(z, towards, pairs)


def _float(x: NDArray[Any]) -> Tensor:
    return torch.as_tensor(x, dtype=torch.float32)
