"""The gradient of a multilayer perceptron with a linear readout, without a tape.

Automatic differentiation spends more time on bookkeeping than a small network on arithmetic. Here the chain
rule is written out: each product is one call that writes where its result belongs, temporaries are made once,
and every gradient lands in the `.grad` of its parameter. The result is that of automatic differentiation to
rounding; a test holds every head and activation to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from understudy.agent import Agent
from understudy.dataset import Batch
from understudy.episode import Array
from understudy.heads import Readout
from understudy.nets import MLPTrunk

__all__ = ["Fused", "written_out"]

_aten: Any = torch.ops.aten
_FROM_AFTER: Mapping[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "relu": (
        lambda x, out: torch.clamp_min(x, 0.0, out=out),
        partial(_aten.threshold_backward.grad_input, threshold=0.0),
    ),
    "tanh": (torch.tanh, _aten.tanh_backward.grad_input),
}
_FROM_BEFORE: Mapping[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "silu": (_aten.silu.out, _aten.silu_backward.grad_input),
    "gelu": (_aten.gelu.out, _aten.gelu_backward.grad_input),
}


def written_out(activation: str) -> tuple[Callable[..., Any], Callable[..., Any], bool]:
    """forward(x, out=), backward(grad, y, grad_input=), and whether y is the value before the activation.

    It is the one behind it where the derivative can be had from that.
    """
    before = activation in _FROM_BEFORE
    return *(_FROM_BEFORE if before else _FROM_AFTER)[activation], before


def placed(agent: Agent, keys: Sequence[str], seen: Array) -> list[tuple[str, Callable[..., Array], Array]]:
    """Each observation's name, its encoder, and the columns of `seen` [..., in] that it fills."""
    found, at = [], 0
    for key in keys:
        normalizer = agent.obs_normalizers[key]
        width = normalizer.columns.encoded[0]
        found.append((key, normalizer.encoder(), seen[..., at : at + width]))
        at += width
    return found


class Fused:
    """Loss and gradient of an agent whose trunk is a multilayer perceptron and whose head is a `Readout`.

    What goes into a product lies in memory that is aligned alike in every run: results repeat to the bit.

    Args:
        agent: whose parameters have their `.grad` in place.
        batch: B, the size of every batch.
    """

    def __init__(self, agent: Agent, batch: int) -> None:
        trunk, head = agent.trunk, agent.head
        assert isinstance(trunk, MLPTrunk)
        assert isinstance(head, Readout)
        linear = (*trunk.linear, head.out)
        self._head, self._layers = head, [_Product(layer, batch) for layer in linear]
        self._input = torch.empty(batch, linear[0].in_features)
        seen = self._input.numpy().reshape(batch, agent.history, -1)
        self._encoders = placed(agent, trunk.keys, seen)
        self._encode_action = agent.action_normalizer.encoder()
        self._forward, self._backward, self._keeps = written_out(trunk.config.activation)
        widths = [layer.out_features for layer in trunk.linear]
        self._after = [torch.empty(batch, w) for w in widths]
        self._before = [torch.empty(batch, w) for w in widths] if self._keeps else self._after
        self._grads = [torch.empty(batch, w) for w in widths]
        # Each column in one piece: the few outputs are long vectors, to the product and to the head.
        self._params, self._by_params = torch.empty(2, head.out.out_features, batch)

    @staticmethod
    def suits(agent: Agent) -> bool:
        """Whether this is exact for `agent`."""
        trunk = agent.trunk
        trained = all(p.requires_grad and p.device.type == "cpu" for p in agent.parameters())
        return type(trunk) is MLPTrunk and not trunk.dropout and isinstance(agent.head, Readout) and trained

    @torch.no_grad()
    def __call__(self, batch: Batch, jitter: float = 0.0, rng: np.random.Generator | None = None) -> float:
        """A raw batch to its mean loss; the gradients are left in `.grad`.

        `jitter` is the standard deviation of noise from `rng` on normalised observations.
        """
        for key, encode, place in self._encoders:
            encode(batch.obs[key], out=place)
        if rng is not None:
            noise = rng.standard_normal(tuple(self._input.shape), np.float32)
            self._input.add_(torch.from_numpy(noise), alpha=jitter)
        inputs = [self._input]
        *hidden, last = self._layers
        for layer, before, after in zip(hidden, self._before, self._after, strict=True):
            layer.forward(inputs[-1], before)
            self._forward(before, out=after)
            inputs.append(after)
        last.forward(inputs[-1], self._params.t())
        action = self._encode_action(batch.action)
        loss, by_params = self._head.gradient(self._params.numpy(), action, batch.mask)
        self._by_params.numpy()[...] = by_params
        grad = self._by_params.t()
        last.backward(inputs[-1], grad)
        for i in reversed(range(len(hidden))):
            grad = torch.mm(grad, self._layers[i + 1].weight, out=self._grads[i])
            known = self._before[i] if self._keeps else self._after[i]
            self._backward(grad, known, grad_input=grad)
            hidden[i].backward(inputs[i], grad)
        return loss


class _Product:
    """One linear layer: y = x Wᵀ + b, and the gradient of W and b."""

    def __init__(self, layer: nn.Linear, batch: int) -> None:
        assert layer.weight.grad is not None
        assert layer.bias.grad is not None
        self.weight, self._bias = layer.weight.detach(), layer.bias.detach()
        self._turned = self.weight.t()
        self._weight_grad, self._bias_grad = layer.weight.grad, layer.bias.grad
        # A product whose last dimension is a dozen wide runs at a tenth of the speed of its transpose.
        narrow = layer.in_features < min(layer.out_features, 64)
        self._scratch = torch.empty(layer.in_features, layer.out_features) if narrow else None

    def forward(self, x: Tensor, out: Tensor) -> None:
        """[B, in] to [B, out], into `out`."""
        torch.addmm(self._bias, x, self._turned, out=out)

    def backward(self, x: Tensor, grad: Tensor) -> None:
        """From the layer's input and the gradient of its output."""
        torch.sum(grad, 0, out=self._bias_grad)
        if self._scratch is None:
            torch.mm(grad.t(), x, out=self._weight_grad)
        else:
            self._weight_grad.copy_(torch.mm(x.t(), grad, out=self._scratch).t())
