"""The gradient of an ensemble of multilayer perceptrons, without a tape and without a loop over members.

As `fused`, for stacked weights. A layer of all members is one batched product, the first even a plain one,
since all see the same. The batch is the last dimension of everything: so the members' outputs lie end to end,
and no product is narrower than the batch. The result is that of automatic differentiation to rounding; a test
holds every activation to it.

Shapes: M members, B batch, P = H × A numbers that the head gives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from understudy.agent import Agent
from understudy.dataset import Batch
from understudy.episode import Array
from understudy.heads import MembersHead
from understudy.learn.fused import placed, written_out
from understudy.nets import EnsembleTrunk

__all__ = ["Stacked", "clip_members"]


class Stacked:
    """Loss and gradient of an agent whose trunk is an `EnsembleTrunk` and whose head is a `MembersHead`.

    Every member's gradient is that of its own mean loss, as if it were trained alone.

    Args:
        agent: whose parameters have their `.grad` in place.
        batch: B, the size of every batch.
    """

    def __init__(self, agent: Agent, batch: int) -> None:
        trunk, head = agent.trunk, agent.head
        assert isinstance(trunk, EnsembleTrunk)
        assert isinstance(head, MembersHead)
        self._head = head
        stacks = (*trunk.stacks, head.out)
        self._input = torch.empty(stacks[0].weight.shape[2], batch)
        seen = self._input.numpy().reshape(agent.history, -1, batch).transpose(2, 0, 1)
        self._encoders = placed(agent, trunk.keys, seen)
        self._encode_action = agent.action_normalizer.encoder()
        activation = written_out(trunk.config.activation)
        if trunk.config.activation == "tanh":
            activation = (_tanh, *activation[1:])
        self._layers: list[_Layer] = []
        for stack in stacks:
            below = self._layers[-1] if self._layers else None
            own = activation if stack is not head.out else None
            self._layers.append(_Layer(stack.weight, stack.bias, self._input, below, own))

    @staticmethod
    def suits(agent: Agent) -> bool:
        """Whether this is exact for `agent`."""
        trained = all(p.requires_grad and p.device.type == "cpu" for p in agent.parameters())
        return type(agent.trunk) is EnsembleTrunk and type(agent.head) is MembersHead and trained

    @torch.no_grad()
    def __call__(
        self, batch: Batch, share: Array, jitter: float = 0.0, rng: np.random.Generator | None = None
    ) -> float:
        """A raw batch to the members' mean loss; the gradients are left in `.grad`.

        `share` [M, B] is how much each window counts for each member. `jitter` is the standard deviation of
        noise from `rng` on normalised observations, the same for all members.
        """
        for key, encode, place in self._encoders:
            encode(batch.obs[key], out=place)
        if rng is not None:
            noise = rng.standard_normal(tuple(self._input.shape), np.float32)
            self._input.add_(torch.from_numpy(noise), alpha=jitter)
        for layer in self._layers:
            layer.forward()
        last = self._layers[-1]
        action = self._encode_action(batch.action)
        loss, by_params = self._head.member_gradient(last.given.numpy(), action, batch.mask, share)
        last.grad.numpy()[...] = by_params
        for layer in reversed(self._layers):
            layer.backward()
        return loss


def _tanh(x: Tensor, out: Tensor) -> None:
    """By NumPy, which takes four fifths of PyTorch's time for what is a quarter of a step."""
    np.tanh(x.numpy(), out=out.numpy())


class _Layer:
    """One linear layer of all members and the activation behind it; `given` is what it gave, [M, out, B].

    Args:
        weight: [M, out, in].
        bias: [M × out].
        seen: [in, B], what the first layer sees.
        below: the layer before it; None for the first.
        activation: from `written_out`; None for the last.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        seen: Tensor,
        below: _Layer | None,
        activation: tuple[Callable[..., Any], Callable[..., Any], bool] | None,
    ) -> None:
        assert weight.grad is not None
        assert bias.grad is not None
        members, outputs, inputs = weight.shape
        batch = seen.shape[1]
        self._below, self._activation = below, activation
        self.given, self.grad = torch.empty(2, members, outputs, batch)
        keeps = activation is not None and activation[2]
        self._before = torch.empty_like(self.given) if keeps else self.given
        self._bias_grad, self._grad_rows = bias.grad, self.grad.view(-1, batch)
        self._weight, self._weight_grad = weight.detach(), weight.grad
        self._bias, self._out = bias.detach().view(members, outputs, 1), self._before
        self._x, self._g = seen if below is None else below.given, self.grad
        self._scratch = None
        if below is None:  # members side by side are the rows of one matrix
            flat = (members * outputs, -1)
            self._weight, self._weight_grad = self._weight.view(flat), self._weight_grad.view(flat)
            self._bias, self._out, self._g = (t.view(flat) for t in (self._bias, self._out, self._g))
            # A product whose last dimension is a dozen wide is slower than its transpose.
            if inputs < min(members * outputs, 64):
                self._scratch = torch.empty(inputs, members * outputs)
        self._product = torch.addmm if below is None else torch.baddbmm

    def forward(self) -> None:
        """y = W x + b, and the activation."""
        self._product(self._bias, self._weight, self._x, out=self._out)
        if self._activation is not None:
            self._activation[0](self._before, out=self.given)

    def backward(self) -> None:
        """From the gradient of what it gave, in `grad`: those of W, of b and of the layer below."""
        if self._activation is not None:
            self._activation[1](self.grad, self._before, grad_input=self.grad)
        torch.sum(self._grad_rows, 1, out=self._bias_grad)
        if self._below is not None:
            torch.bmm(self._g, self._x.mT, out=self._weight_grad)
            torch.bmm(self._weight.mT, self._g, out=self._below.grad)
        elif self._scratch is None:
            torch.mm(self._g, self._x.t(), out=self._weight_grad)
        else:
            torch.mm(self._x, self._g.t(), out=self._scratch)
            np.copyto(self._weight_grad.numpy(), self._scratch.numpy().T)


def clip_members(agent: Agent, most: float) -> None:
    """Scales each member's gradient to a Euclidean norm of at most `most`, as if it were trained alone."""
    assert isinstance(agent.head, MembersHead)
    members = agent.head.config.members
    grads = [p.grad.view(members, -1) for p in agent.parameters() if p.grad is not None]
    square = sum((g.square().sum(1) for g in grads), torch.zeros(members))
    scale = (most / (square.sqrt() + 1e-6)).clamp(max=1.0)[:, None]
    for g in grads:
        g.mul_(scale)
