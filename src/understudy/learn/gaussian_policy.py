"""An agent as a normal distribution over actions, with the gradients of whatever is asked of it, no tape.

Policy gradients need ∂ log π of actions that were taken, a natural gradient the product of the Fisher matrix
and a vector. Both follow from the mean μ and the log spread log σ of the variable u before any squashing, and
from the chain rule through a perceptron, which is written out.

What has a few numbers a row is NumPy's work: its calls cost a third of a tensor library's.

Shapes: N rows, O width of the flat normalised observation, A of the action, P all parameters.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from understudy.agent import Agent
from understudy.episode import Array
from understudy.heads.gaussian import GaussianHead
from understudy.learn.optim import flatten
from understudy.learn.perceptron import Passed, Perceptron
from understudy.nets import MLPTrunk

__all__ = ["GaussianPolicy", "Normal"]

_LOG_2PI = math.log(2 * math.pi)
_EDGE = np.float32(1 - 1e-6)  # as the head: a squashed action at ±1 would need an infinite pre-image


class Normal(NamedTuple):
    """The distribution of u after each observation, and what the way back needs; float32."""

    mean: Array  # [N, A]
    log_std: Array  # [N, A], or [1, A] where one spread serves all
    bend: Array  # likewise, tanh of the raw spread
    passed: Passed

    def log_prob(self, z: Array, edge: Array) -> Array:
        """[N], the log density of actions: z [N, A] is (u - μ) / σ, edge [N] that of `latent`."""
        density: Array = -(0.5 * (z * z + _LOG_2PI) + self.log_std).sum(1) - edge
        return density

    def kl(self, old: Normal) -> Array:
        """[N], KL(old || this). Squashing both alike does not change it."""
        ratio = np.exp(2 * (old.log_std - self.log_std))
        gap = (old.mean - self.mean) * np.exp(-self.log_std)
        found: Array = (self.log_std - old.log_std + 0.5 * (ratio + gap * gap - 1)).sum(1)
        return found


class GaussianPolicy:
    """The policy of an agent whose head is Gaussian: squashed or not, its spread global or of the state.

    Args:
        agent: with an MLP trunk without dropout, a Gaussian head, and one step of history and of horizon. It
            takes a buffer of this policy's as the home of its weights.

    Raises:
        ValueError: when the agent is not that.
    """

    def __init__(self, agent: Agent) -> None:
        trunk, head = agent.trunk, agent.head
        if not isinstance(trunk, MLPTrunk) or trunk.dropout:
            raise ValueError(
                f"the trunk is {agent.trunk_config}; a policy gradient's is an MLP without dropout"
            )
        if not isinstance(head, GaussianHead):
            raise ValueError(f"the head is {agent.head_config}; a policy gradient's is Gaussian")
        if (agent.history, agent.horizon) != (1, 1) or agent.frame is not None:
            raise ValueError(
                f"the agent has history {agent.history}, horizon {agent.horizon} and frame {agent.frame}; a "
                "policy gradient's has 1, 1 and None"
            )
        linear = (*trunk.linear, head.out)
        self.obs, self.action, self.squashed = linear[0].in_features, agent.actions, head.bounded
        self._parameters = [p for m in linear for p in m.parameters()]
        self._global = head.raw is not None
        if head.raw is not None:
            self._parameters.append(head.raw)
        self.flat, self.grad, _ = flatten(self._parameters)
        self._home = [(p, p.data_ptr()) for p in self._parameters]
        self._net = Perceptron(linear, trunk.config.activation)
        self._log_std = head.log_std
        if head.raw is not None:
            assert head.raw.grad is not None
            self._raw, self._by_raw = head.raw.detach().numpy()[None], head.raw.grad.numpy()

    def check_home(self) -> None:
        """Refuses an agent whose weights have moved, as a second learner moves them.

        Raises:
            RuntimeError: when they have.
        """
        if any(p.data_ptr() != home for p, home in self._home):
            raise RuntimeError("the agent's weights have moved to other memory; make a new learner for it")

    def normal(self, obs: Tensor) -> Normal:
        """The distribution after flat normalised observations [N, O]."""
        passed = self._net.forward(obs)
        mean: Array = passed.out.numpy()
        if self._global:
            raw = self._raw
        else:
            mean, raw = mean[:, : self.action], mean[:, self.action :]
        bend = np.tanh(raw)
        return Normal(mean, bend * self._log_std.half + self._log_std.middle, bend, passed)

    def latent(self, action: Array) -> tuple[Array, Array]:
        """Normalised actions [N, A] as u [N, A] before any squashing, and the edge [N].

        The edge is Σ log (1 - tanh² u), which their density loses; 0 without squashing. Actions at ±1 and
        beyond count as just inside.
        """
        if not self.squashed:
            return action, np.zeros(len(action), np.float32)
        u = np.arctanh(action.clip(-_EDGE, _EDGE))
        return u, (2 * (math.log(2) - u - np.logaddexp(np.float32(0), -2 * u))).sum(1)

    def draw(self, obs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions [N, A] for observations [N, O] and standard normal noise [N, A], and their log density [N].

        The density is computed from the action, as it will be again when the action is learned from: in
        float32, tanh cannot be undone exactly.
        """
        normal = self.normal(obs)
        u = normal.mean + np.exp(normal.log_std) * noise.numpy()
        action = np.tanh(u) if self.squashed else u
        return torch.from_numpy(action), torch.from_numpy(self.log_prob(normal, action))

    def log_prob(self, normal: Normal, action: Array) -> Array:
        """[N], the log density of normalised actions [N, A]."""
        u, edge = self.latent(action)
        return normal.log_prob((u - normal.mean) * np.exp(-normal.log_std), edge)

    def backward(self, normal: Normal, by_mean: Array, by_log_std: Array) -> None:
        """From the gradients by μ and log σ, each [N, A]: that by all parameters, into `grad`."""
        by_raw = by_log_std * (self._log_std.half * (1 - normal.bend * normal.bend))
        grad = torch.empty_like(normal.passed.out)
        into = grad.numpy()
        into[:, : self.action] = by_mean
        if self._global:
            by_raw.sum(0, out=self._by_raw)
        else:
            into[:, self.action :] = by_raw
        self._net.backward(normal.passed, grad)

    def tangent(self, normal: Normal, direction: Tensor) -> tuple[Array, Array]:
        """How μ and log σ move, [N, A] and as `log_std`, when the parameters move along `direction` [P]."""
        parts = [self._part(direction, p) for p in self._parameters]
        moves = list(zip(parts[0::2], parts[1::2], strict=False))  # but a global spread, which is the last
        moved: Array = self._net.tangent(normal.passed, moves).numpy()
        slope = self._log_std.half * (1 - normal.bend * normal.bend)
        if self._global:
            return moved, parts[-1].numpy()[None] * slope
        return moved[:, : self.action], moved[:, self.action :] * slope

    def fisher(self, normal: Normal, direction: Tensor) -> Tensor:
        """[P], the Fisher matrix of the rows' mean times `direction`.

        F = E[J_μᵀ diag(1/σ²) J_μ + 2 J_σᵀ J_σ], with J the Jacobians of μ and log σ: the second derivative
        of KL at equal parameters. `grad` is overwritten.
        """
        by_mean, by_log_std = self.tangent(normal, direction)
        rows = len(by_mean)
        spread = np.broadcast_to((2 / rows) * by_log_std, by_mean.shape)
        self.backward(normal, by_mean * np.exp(-2 * normal.log_std) / rows, spread)
        return self.grad.clone()

    def _part(self, vector: Tensor, parameter: nn.Parameter) -> Tensor:
        """The entries of a vector [P] that belong to one parameter, in its shape."""
        at = (parameter.data_ptr() - self.flat.data_ptr()) // 4
        return vector[at : at + parameter.numel()].view_as(parameter)
