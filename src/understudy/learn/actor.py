"""An agent as an actor: drawn actions and their densities, and the gradient of a soft value, without a tape.

Shapes: N rows, O width of the flat normalised observation, A of the action.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from understudy.agent import Agent
from understudy.agent.single import ACTIVATIONS
from understudy.heads.gaussian import GaussianHead
from understudy.learn.optim import Adam, flatten
from understudy.learn.perceptrons import Pass, Perceptrons
from understudy.nets import MLPTrunk

__all__ = ["Actor", "Drawn"]

_LOG_2PI = math.log(2 * math.pi)
_LOG_4 = 2 * math.log(2)


class Drawn(NamedTuple):
    """Actions that were drawn, and what the way back needs."""

    action: Tensor  # [N, A] in (-1, 1)
    log_prob: Tensor  # [N]
    reach: Tensor  # [N, A], σ ε
    bend: Tensor  # [N, A], tanh of the raw spread
    passed: Pass

    def rows(self, which: slice) -> Drawn:
        """Some of them."""
        action, log_prob, reach, bend, passed = self
        return Drawn(action[which], log_prob[which], reach[which], bend[which], passed.rows(which))


class Actor:
    """The tanh-Gaussian policy of an agent, and its optimiser.

    Args:
        agent: as `SAC` wants it.

    Raises:
        ValueError: when it is another.
    """

    def __init__(self, agent: Agent) -> None:
        trunk, head = agent.trunk, agent.head
        if not isinstance(trunk, MLPTrunk) or trunk.dropout:
            raise ValueError(f"the trunk is {agent.trunk_config}; an actor's is an MLP without dropout")
        if not isinstance(head, GaussianHead) or not head.bounded or head.config.std != "state":
            raise ValueError(
                f"the head is {agent.head_config}; an actor's is Gaussian(squash=True, std='state')"
            )
        if (agent.history, agent.horizon) != (1, 1):
            raise ValueError(
                f"the agent has history {agent.history} and horizon {agent.horizon}; an actor has 1 and 1"
            )
        linear = (*trunk.linear, head.out)
        self.obs, self.action = linear[0].in_features, agent.actions
        self._agent, self._log_std = agent, head.log_std
        self._flat, grad, matrices = flatten(p for m in linear for p in m.parameters())
        self._first = next(p for p in agent.parameters() if p.data_ptr() == self._flat.data_ptr())
        self._adam = Adam(self._flat, grad, matrices, 0.0)
        self._net = Perceptrons([(m.weight, m.bias) for m in linear], trunk.config.activation)
        # For one observation. In memory of PyTorch's own, aligned alike in every run, so that results repeat.
        self._seen = torch.empty(self.obs).numpy()
        self._arrays = [
            (m.weight.detach().numpy(), m.bias.detach().numpy(), torch.empty(m.out_features).numpy())
            for m in linear
        ]
        self._activation = ACTIVATIONS[trunk.config.activation]

    def tokens(self, obs: Tensor) -> Tensor:
        """Flat normalised observations [N, O] to the head's tokens [N, 1, F]."""
        last = self._net.forward(obs).last
        return last[:, None] if last.ndim == 2 else last.transpose(0, 1)

    def draw(self, obs: Tensor, noise: Tensor) -> Drawn:
        """a = tanh(μ + σ ε) for observations [N, O] and noise ε [N, A], with log π(a)."""
        passed = self._net.forward(obs)
        mean, raw = passed.out[0].chunk(2, 1)
        bend = raw.tanh()
        log_std = bend * self._log_std.half + self._log_std.middle
        reach = log_std.exp() * noise
        u = mean + reach
        edge = _LOG_4 - 2 * (u + torch.nn.functional.softplus(-2 * u))
        log_prob = (-0.5 * (noise.square() + _LOG_2PI) - log_std - edge).sum(1)
        return Drawn(u.tanh(), log_prob, reach, bend, passed)

    def draw_one(self, obs: Tensor, noise: Tensor) -> Tensor:
        """As `draw`, for one observation [O] and ε [A]: the action [A], in a fifth of the time."""
        x = self._seen
        x[:] = obs.numpy()
        for i, (weight, bias, out) in enumerate(self._arrays):
            np.dot(weight, self._activation(x) if i else x, out=out)
            x = np.add(out, bias, out=out)
        mean, raw = x.reshape(2, -1)
        log_std, _ = self._log_std.with_slope(raw)
        return torch.from_numpy(np.tanh(mean + np.exp(log_std) * noise.numpy()))

    @staticmethod
    def towards(drawn: Drawn, action: Tensor, weight: float) -> Tensor:
        """[N, A], the gradient by μ of weight |tanh μ - a|² in the first rows, those that have an action a.

        Args:
            action: [K, A] in (-1, 1), K at most N.
        """
        k, grad = len(action), torch.zeros_like(drawn.action)
        mode = drawn.passed.out[0, :k, : action.shape[1]].tanh()
        grad[:k] = 2 * weight * (mode - action) * (1 - mode.square())
        return grad

    def climb(
        self, drawn: Drawn, slope: Tensor, alpha: float, rate: float, pull: Tensor | None = None
    ) -> None:
        """One Adam step on mean (α log π(a) - Q(a)), with a = tanh(μ + σ ε) at fixed ε.

        With log(1 - a²) in the density, ∂/∂u = 2 α a - (1 - a²) ∂Q/∂a, then ∂/∂μ is that, and ∂/∂ log σ is
        that times σ ε, less α.

        Args:
            slope: [N, A], ∂Q/∂a.
            pull: [N, A], a gradient by μ to go down besides, such as `towards` gives.

        Raises:
            RuntimeError: when the agent's weights have moved, as a second learner moves them.
        """
        if self._first.data_ptr() != self._flat.data_ptr():
            raise RuntimeError("the agent's weights have moved to other memory; make a new learner for it")
        a = drawn.action
        by_u = 2 * alpha * a - (1 - a * a) * slope
        by_log_std = by_u * drawn.reach - alpha
        by_raw = by_log_std * (self._log_std.half * (1 - drawn.bend.square()))
        grad = torch.cat((by_u if pull is None else by_u + pull, by_raw), 1).div_(len(a))
        self._net.backward(drawn.passed, grad[None])
        self._adam.step(rate)

    def state_dict(self) -> dict[str, Any]:
        """The agent's tensors and the optimiser's moments."""
        return {"agent": self._agent.state_dict(), "adam": self._adam.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there."""
        self._agent.restore(state["agent"])
        self._adam.load_state_dict(state["adam"])
