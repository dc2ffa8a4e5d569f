"""Proximal policy optimisation (Schulman et al. 2017): epochs on one rollout, held by a clipped ratio.

Shapes: B rows, A width of the action.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from understudy.agent import Agent
from understudy.episode import Array
from understudy.learn.gaussian_policy import Normal
from understudy.learn.on_policy import Lesson, OnPolicy
from understudy.learn.optim import Adam
from understudy.learn.values import clipped, portions

__all__ = ["PPO", "Config"]


@dataclass(frozen=True)
class Config:
    """How it learns.

    Args:
        discount: γ in [0, 1).
        trace: λ in [0, 1] of the advantage estimates.
        clip: ε, by which share the ratio to the old policy may leave 1 before it stops to pay.
        epochs: passes over each rollout, of policy and values.
        minibatch: rows in one gradient step, about: an epoch is cut into equal parts.
        learning_rate: Adam's, of the policy.
        value_rate: Adam's, of the values.
        gradient_norm: the largest Euclidean norm of a gradient, the policy's and the values' each.
        target_kl: None, or the mean KL divergence from the old policy, estimated on a minibatch, above which
            the policy rests until the next rollout.
        entropy_bonus: the worth of a nat of the policy's entropy, in standard deviations of the advantage.
        hidden: widths of the value net's layers, and of a fresh policy's.
        seed: of the value net's first weights and of all that is drawn.
    """

    discount: float = 0.99
    trace: float = 0.95
    clip: float = 0.2
    epochs: int = 10
    minibatch: int = 256
    learning_rate: float = 3e-4
    value_rate: float = 1e-3
    gradient_norm: float = 0.5
    target_kl: float | None = None
    entropy_bonus: float = 0.0
    hidden: tuple[int, ...] = (64, 64)
    seed: int = 0

    def __post_init__(self) -> None:
        rules = {
            "discount": 0 <= self.discount < 1,
            "trace": 0 <= self.trace <= 1,
            "clip": 0 < self.clip < 1,
            "epochs": self.epochs >= 1,
            "minibatch": self.minibatch >= 1,
            "learning_rate": 0 < self.learning_rate < math.inf,
            "value_rate": 0 < self.value_rate < math.inf,
            "gradient_norm": self.gradient_norm > 0,
            "target_kl": self.target_kl is None or 0 < self.target_kl < math.inf,
            "entropy_bonus": 0 <= self.entropy_bonus < math.inf,
            "hidden": 1 <= len(self.hidden) <= 100 and all(1 <= w <= 1 << 20 for w in self.hidden),
            "seed": self.seed >= 0,
        }
        if broken := [name for name, kept in rules.items() if not kept]:
            raise ValueError(f"{broken[0]} is {getattr(self, broken[0])!r}, which is out of its range")


@final
class PPO(OnPolicy):
    """Maximises E min(ρ Â, clip(ρ, 1 - ε, 1 + ε) Â), ρ = π(a|s) / π_old(a|s) (equation 7), with Adam.

    Advantages are normalised once over the rollout, not in each minibatch: a few rows say little of their
    spread. Values are not clipped.

    `pace` is the share of the learning rate at which the policy moves, 1 at first. It is the caller's to set
    before a lesson: 0 leaves the policy as it is while the values learn, and what lies between is a ramp.

    Args:
        agent: see `gaussian_policy.GaussianPolicy`.
        config: the settings.

    Raises:
        ValueError: when the agent is another.
    """

    def __init__(self, agent: Agent, config: Config = Config()) -> None:
        super().__init__(agent, config)
        self.config, self.pace = config, 1.0
        self._adam = Adam(self._policy.flat, self._policy.grad, 0, 0.0)

    def _improve(self, lesson: Lesson) -> dict[str, float]:
        """Epochs of minibatches.

        Returns:
            Nothing at pace 0. Else policy_loss, minus the objective; kl, an estimate of the divergence from
            the old policy; clipped, the share of rows whose ratio was; each the mean over the minibatches.
            policy_steps: how many there were.
        """
        if not self.pace:
            return {}
        c, told = self.config, list[tuple[float, float, float]]()
        # One matrix, so that a minibatch is one gather.
        arrays = (lesson.u, lesson.edge[:, None], lesson.log_prob[:, None], lesson.advantage[:, None])
        packed = torch.cat((lesson.obs, torch.from_numpy(np.concatenate(arrays, 1))), 1)
        for rows in portions(len(packed), c.epochs, c.minibatch, self._draws):
            told.append(self._descend(packed.index_select(0, rows)))
            if c.target_kl is not None and told[-1][1] > c.target_kl:
                break
        loss, kl, share = np.mean(told, 0).tolist()
        return {"policy_loss": loss, "kl": kl, "clipped": share, "policy_steps": float(len(told))}

    def _descend(self, part: Tensor) -> tuple[float, float, float]:
        """One step on some rows (obs, u, edge, log π_old, Â): loss, divergence, clipped share before it."""
        c, policy, n = self.config, self._policy, len(part)
        seen = part.numpy()[:, self.obs :]
        u, edge, old, advantage = seen[:, : self.action], seen[:, -3], seen[:, -2], seen[:, -1]
        normal = policy.normal(part[:, : self.obs])
        inverse = np.exp(-normal.log_std)
        z = (u - normal.mean) * inverse
        log_ratio = normal.log_prob(z, edge) - old
        ratio = np.exp(log_ratio)
        free, held = ratio * advantage, ratio.clip(1 - c.clip, 1 + c.clip) * advantage
        # Where the clipped term is the smaller one it is constant: no gradient. ∂ρ = ρ ∂ log π elsewhere.
        weight = (free * (free <= held) / -n)[:, None]
        by_mean, by_log_std = weight * z * inverse, weight * (z * z - 1)
        if c.entropy_bonus:
            by_mean, by_log_std = self._spread(normal, by_mean, by_log_std)
        policy.backward(normal, by_mean, by_log_std)
        clipped(policy.grad, c.gradient_norm)
        self._adam.step(c.learning_rate * self.pace)
        # Schulman's estimate of KL(old || new) from draws of the old, ρ - 1 - log ρ, is never negative.
        gap = ratio - 1
        share = np.count_nonzero(np.abs(gap) > c.clip) / n
        return -float(np.minimum(free, held).mean()), float((gap - log_ratio).mean()), share

    def _spread(self, normal: Normal, by_mean: Array, by_log_std: Array) -> tuple[Array, Array]:
        """Adds the gradient of minus the entropy bonus.

        H = Σ log σ + const, and squashed also E log (1 - tanh² u), whose gradient is taken at one draw of
        u = μ + σ ε: without it, a bonus would push the actions to their bounds, where there is least entropy.
        """
        scale = self.config.entropy_bonus / len(normal.mean)
        if not self._policy.squashed:
            return by_mean, by_log_std - scale
        noise = torch.randn(normal.mean.shape, generator=self._noise).numpy()
        reach = np.exp(normal.log_std) * noise
        inward = 2 * np.tanh(normal.mean + reach)
        return by_mean + scale * inward, by_log_std + scale * (inward * reach - 1)

    def _own_state(self) -> dict[str, Any]:
        return {"adam": self._adam.state_dict()}

    def _load_own_state(self, state: Mapping[str, Any]) -> None:
        self._adam.load_state_dict(state["adam"])
