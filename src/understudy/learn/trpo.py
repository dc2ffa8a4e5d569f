"""Trust region policy optimisation (Schulman et al. 2015): a natural gradient step, within a limit.

Shapes: B rows, P all parameters of the policy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from understudy.agent import Agent
from understudy.learn.gaussian_policy import Normal
from understudy.learn.on_policy import Lesson, OnPolicy

__all__ = ["TRPO", "Config", "conjugate_gradient"]

_SHRINK = 0.8  # of the step, from one trial of the line search to the next
_CONVERGED = 1e-10  # of the squared residual, relative to that of zero


@dataclass(frozen=True)
class Config:
    """How it learns.

    Args:
        discount: γ in [0, 1).
        trace: λ in [0, 1] of the advantage estimates.
        kl_limit: δ, how far a lesson may move the policy: the mean KL divergence on the rollout's states.
        damping: added to the Fisher matrix's diagonal, so that directions which it does not see stay short.
        cg_steps: of conjugate gradients, at most.
        search_steps: trials of the line search, each 0.8 of the one before; then the policy stays.
        epochs: passes of the values over each rollout.
        minibatch: rows in one gradient step of the values, about: an epoch is cut into equal parts.
        value_rate: Adam's, of the values.
        gradient_norm: the largest Euclidean norm of the values' gradient.
        hidden: widths of the value net's layers, and of a fresh policy's.
        seed: of the value net's first weights and of all that is drawn.
    """

    discount: float = 0.99
    trace: float = 0.95
    kl_limit: float = 0.01
    damping: float = 0.1
    cg_steps: int = 10
    search_steps: int = 10
    epochs: int = 10
    minibatch: int = 256
    value_rate: float = 1e-3
    gradient_norm: float = 0.5
    hidden: tuple[int, ...] = (64, 64)
    seed: int = 0

    def __post_init__(self) -> None:
        rules = {
            "discount": 0 <= self.discount < 1,
            "trace": 0 <= self.trace <= 1,
            "kl_limit": 0 < self.kl_limit < math.inf,
            "damping": 0 < self.damping < math.inf,
            "cg_steps": self.cg_steps >= 1,
            "search_steps": self.search_steps >= 1,
            "epochs": self.epochs >= 1,
            "minibatch": self.minibatch >= 1,
            "value_rate": 0 < self.value_rate < math.inf,
            "gradient_norm": self.gradient_norm > 0,
            "hidden": 1 <= len(self.hidden) <= 100 and all(1 <= w <= 1 << 20 for w in self.hidden),
            "seed": self.seed >= 0,
        }
        if broken := [name for name, kept in rules.items() if not kept]:
            raise ValueError(f"{broken[0]} is {getattr(self, broken[0])!r}, which is out of its range")


@final
class TRPO(OnPolicy):
    """Maximises E ρ Â, ρ = π(a|s) / π_old(a|s), with mean KL(π_old || π) ≤ δ (equation 14).

    The direction s solves (F + damping) s = g, with g the objective's gradient and F the Fisher matrix, by
    conjugate gradients; its length √(2δ / sᵀ(F + damping)s) is where the quadratic model of the divergence
    meets δ (appendix C). A line search then shortens the step until the true divergence keeps to δ and the
    objective has grown; where no trial does, the policy stays as it was. All rows of the rollout count in
    everything; products with F are exact and cost no tape (`gaussian_policy`).

    Args:
        agent: see `gaussian_policy.GaussianPolicy`.
        config: the settings.

    Raises:
        ValueError: when the agent is another.
    """

    def __init__(self, agent: Agent, config: Config = Config()) -> None:
        super().__init__(agent, config)
        self.config = config

    def _improve(self, lesson: Lesson) -> dict[str, float]:
        """One natural step.

        Returns:
            policy_loss, minus the objective after the step; kl, the divergence from the old policy;
            policy_step, which share of the full step was taken, 0 where none would do; gradient, the norm of
            g.
        """
        c, policy = self.config, self._policy
        old = policy.normal(lesson.obs)
        objective, by_mean, by_log_std = _objective(lesson, old)
        policy.backward(old, by_mean, by_log_std)
        g = policy.grad.clone()
        told = {"policy_loss": -objective, "kl": 0.0, "policy_step": 0.0, "gradient": float(g.norm())}

        def product(v: Tensor) -> Tensor:
            return policy.fisher(old, v).add_(v, alpha=c.damping)

        s = conjugate_gradient(product, g, c.cg_steps)
        curvature = float(s @ product(s))
        if not curvature > 0:  # a gradient of zero
            return told
        s.mul_(math.sqrt(2 * c.kl_limit / curvature))
        return told | self._search(lesson, old, objective, s)

    def _search(self, lesson: Lesson, old: Normal, before: float, step: Tensor) -> dict[str, float]:
        """Takes the longest share of `step` that keeps to the limit and makes the objective grow."""
        policy = self._policy
        start = policy.flat.clone()
        for trial in range(self.config.search_steps):
            share = _SHRINK**trial
            policy.flat.copy_(start).add_(step, alpha=share)
            new = policy.normal(lesson.obs)
            kl, (objective, _, _) = float(new.kl(old).mean()), _objective(lesson, new)
            if kl <= self.config.kl_limit and objective > before:
                return {"policy_loss": -objective, "kl": kl, "policy_step": share}
        policy.flat.copy_(start)
        return {}

    def _own_state(self) -> dict[str, Any]:
        return {}

    def _load_own_state(self, state: Mapping[str, Any]) -> None:
        if state:
            raise ValueError(f"the state has {sorted(state)}; TRPO remembers nothing of its own")


def _objective(lesson: Lesson, normal: Normal) -> tuple[float, Any, Any]:
    """Mean ρ Â, and its gradients by μ and log σ, each [B, A]."""
    inverse = np.exp(-normal.log_std)
    z = (lesson.u - normal.mean) * inverse
    gain = np.exp(normal.log_prob(z, lesson.edge) - lesson.log_prob) * lesson.advantage
    weight = (gain / len(gain))[:, None]
    return float(gain.mean(dtype=np.float64)), weight * z * inverse, weight * (z * z - 1)


def conjugate_gradient(product: Callable[[Tensor], Tensor], b: Tensor, steps: int) -> Tensor:
    """x with A x = b, A symmetric and positive definite (Hestenes and Stiefel 1952, known by its products).

    Args:
        product: v [P] to A v.
        b: [P].
        steps: at most; it ends before where the residual is nearly zero.
    """
    x, residual = torch.zeros_like(b), b.clone()
    direction, squared = b.clone(), float(b @ b)
    goal = _CONVERGED * squared
    for _ in range(steps):
        if squared <= goal:
            break
        moved = product(direction)
        length = squared / float(direction @ moved)
        x.add_(direction, alpha=length)
        residual.sub_(moved, alpha=length)
        squared, before = float(residual @ residual), squared
        direction = residual + (squared / before) * direction
    return x
