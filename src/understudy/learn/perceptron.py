"""One multilayer perceptron, its gradients and its tangents written out, for small nets and small batches.

`perceptrons.Perceptrons` has several side by side, with norms; what it does for one of them takes twice the
calls, and on nets of 64 units the calls are what costs. Results are those of automatic differentiation to
rounding; a test holds every activation to it.

Shapes: N rows, I inputs, H units of a layer, P outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from understudy.learn.fused import written_out
from understudy.nets.mlp import Activation

__all__ = ["Passed", "Perceptron"]


class Passed(NamedTuple):
    """One way through, and what the way back needs."""

    out: Tensor  # [N, P]
    seen: tuple[Tensor, ...]  # what each layer saw
    known: tuple[
        Tensor, ...
    ]  # of each hidden layer: the value behind the activation, or before it (silu, gelu)


class Perceptron:
    """y = W_L f(... f(W_1 x + b_1) ...) + b_L: a view of layers that somebody else owns.

    Args:
        layers: whose parameters have `.grad` in place. They must not move to other memory.
        activation: f.
    """

    def __init__(self, layers: Sequence[nn.Linear], activation: Activation) -> None:
        self._layers = [_Layer(layer) for layer in layers]
        self._activate, self._deactivate, self._before = written_out(activation)

    def forward(self, x: Tensor) -> Passed:
        """[N, I] to the outputs."""
        seen, known = [x], list[Tensor]()
        *hidden, last = self._layers
        for layer in hidden:
            z = torch.addmm(layer.bias, x, layer.turned)
            x = self._activate(z, out=torch.empty_like(z) if self._before else z)
            known.append(z)  # where the activation has overwritten it, that is the value behind it
            seen.append(x)
        return Passed(torch.addmm(last.bias, x, last.turned), tuple(seen), tuple(known))

    def backward(self, passed: Passed, grad: Tensor) -> None:
        """From the gradient of the outputs [N, P]: those of all weights and biases, into their `.grad`."""
        for i in reversed(range(len(self._layers))):
            self._layers[i].fill(grad, passed.seen[i])
            if i:
                grad = torch.mm(grad, self._layers[i].weight)
                self._deactivate(grad, passed.known[i - 1], grad_input=grad)

    def tangent(self, passed: Passed, moves: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """[N, P], how the outputs move when each layer's weight and bias move by these; the inputs stay."""
        moved: Tensor | None = None  # of what the layer sees
        for i, (layer, (weight, bias)) in enumerate(zip(self._layers, moves, strict=True)):
            change = torch.addmm(bias, passed.seen[i], weight.T)
            if moved is not None:
                change.addmm_(moved, layer.turned)
            if i == len(self._layers) - 1:
                return change
            moved = self._deactivate(change, passed.known[i], grad_input=change)
        raise AssertionError("a perceptron has at least one layer")


class _Layer:
    """One linear map, and where its gradient goes."""

    def __init__(self, layer: nn.Linear) -> None:
        assert layer.weight.grad is not None
        assert layer.bias.grad is not None
        self.weight, self.bias = layer.weight.detach(), layer.bias.detach()
        self.turned = self.weight.T
        self._by_weight, self._by_bias = layer.weight.grad, layer.bias.grad
        # A product whose last dimension is a dozen wide runs at a tenth of the speed of its transpose.
        self._narrow = layer.in_features < min(layer.out_features, 64)

    def fill(self, grad: Tensor, x: Tensor) -> None:
        """The gradients from those of the outputs [N, H] and from what was seen [N, I]."""
        torch.sum(grad, 0, out=self._by_bias)
        if self._narrow:
            self._by_weight.copy_(torch.mm(x.T, grad).T)
        else:
            torch.mm(grad.T, x, out=self._by_weight)
