"""Multilayer perceptrons side by side, their gradients written out, for learners that take them apart.

A critic's update asks for the gradient of its weights, an actor's for that of the critic's inputs and of its
own weights: never for all of it. Written out, each asks for what it needs, and no tape is kept. The result is
that of automatic differentiation to rounding; a test holds every norm and activation to it.

Shapes: M networks, N rows, I inputs, H units of a layer, P outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from understudy.learn.fused import written_out
from understudy.learn.renorm import Renorm
from understudy.nets.mlp import Activation

__all__ = ["Norm", "Pass", "Perceptrons"]

Norm: TypeAlias = Literal["none", "layer", "batch"]
_EPSILON = 1e-5
_aten: Any = torch.ops.aten


class _Kept(NamedTuple):
    """What the way back through one hidden layer needs."""

    x: Tensor  # [M, N, I], what the layer saw; [N, I] where all networks see the same
    known: Tensor  # [M, N, H], the value behind the activation, or before it where the derivative needs that
    normed: tuple[Tensor, ...]  # what the norm keeps of its own; empty without one


class Pass(NamedTuple):
    """One way through: the outputs [M, N, P] and what the way back needs."""

    out: Tensor
    layers: tuple[_Kept, ...]
    last: Tensor  # what the last layer saw: [M, N, H], or [N, I] where there is no other

    def rows(self, which: slice) -> Pass:
        """Some rows of it; of nets without batch norms."""
        kept = tuple(
            _Kept(k.x[..., which, :], k.known[:, which], tuple(t[:, which] for t in k.normed))
            for k in self.layers
        )
        return Pass(self.out[:, which], kept, self.last[..., which, :])


class Perceptrons:
    """M networks y = W_L f(norm(W_l x) + b_l) + b_L: a view of parameters that somebody else owns.

    The shift stands behind the norm. A gain there would say nothing that the next layer's weights do not.

    Args:
        layers: (weight, bias) of each layer, [M, H, I] and [M, H], or [H, I] and [H] where M = 1, with
            `.grad` in place.
        activation: of the hidden layers.
        norm: "layer" normalises each row's units (Ba, Kiros and Hinton 2016), "batch" each unit over the
            rows; "none" neither.
        renorms: the state of the batch norms, of the input and of each hidden layer; empty for other norms.
    """

    def __init__(
        self,
        layers: Sequence[tuple[Tensor, Tensor]],
        activation: Activation = "relu",
        norm: Norm = "none",
        renorms: Sequence[Renorm] = (),
    ) -> None:
        stacked = [(w if w.ndim == 3 else w[None], b.view(-1, 1, b.shape[-1])) for w, b in layers]
        self._weights = [w.detach() for w, _ in stacked]
        self._biases = [b.detach() for _, b in stacked]
        self._activate, self._deactivate, self._before = written_out(activation)
        self.norm, self.renorms = norm, tuple(renorms)
        self._parameters = layers

    def forward(self, x: Tensor, *, training: bool = True) -> Pass:
        """[N, I] to the outputs. `training`: whether batch norms use the rows' statistics or their own."""
        kept: list[_Kept] = []
        if self.renorms:
            x, _ = self.renorms[0].forward(x, training)
        *hidden, last = zip(self._weights, self._biases, strict=True)
        for i, (weight, bias) in enumerate(hidden):
            y, normed = self._normed(_product(x, weight), i, training)
            y = y + bias if self.renorms else y.add_(bias)  # a batch norm keeps its result
            known = self._activate(y, out=torch.empty_like(y) if self._before else y)
            kept.append(_Kept(x, y if self._before else known, normed))
            x = known
        return Pass(_product(x, last[0]).add_(last[1]), tuple(kept), x)

    def _normed(self, z: Tensor, layer: int, training: bool) -> tuple[Tensor, tuple[Tensor, ...]]:
        if self.norm == "none":
            return z, ()
        if self.norm == "layer":
            n, mean, rstd = torch.native_layer_norm(z, z.shape[-1:], None, None, _EPSILON)
            return n, (z, mean, rstd)
        return self.renorms[layer + 1].forward(z, training)

    def _unnormed(self, grad: Tensor, normed: tuple[Tensor, ...]) -> Tensor:
        if self.norm == "none":
            return grad
        if self.norm == "layer":
            z, mean, rstd = normed
            only = (True, False, False)
            back = _aten.native_layer_norm_backward
            found: Tensor = back(grad, z, z.shape[-1:], mean, rstd, None, None, only)[0]
            return found
        return Renorm.backward(grad, normed)

    def backward(self, passed: Pass, grad: Tensor) -> None:
        """From the gradient of the outputs [M, N, P]: those of all weights and biases, into their `.grad`."""
        weight, bias = self._parameters[-1]
        _fill(weight, bias, grad, passed.last)
        for i in reversed(range(len(passed.layers))):
            kept = passed.layers[i]
            grad = torch.bmm(grad, self._weights[i + 1])
            self._deactivate(grad, kept.known, grad_input=grad)
            weight, bias = self._parameters[i]
            assert bias.grad is not None
            torch.sum(grad, 1, out=bias.grad.view(grad.shape[0], -1))
            grad = self._unnormed(grad, kept.normed)
            _fill(weight, None, grad, kept.x)

    def input_gradient(self, passed: Pass, network: int, rows: Tensor, grad: Tensor, first: int) -> Tensor:
        """[n, I - first], of Σ_n grad_n y(x_n) by the inputs from number `first` on, for some of the rows.

        Args:
            passed: a forward pass; one that is not training where the norm is "batch".
            network: which of the M.
            rows: [n], which of the N.
            grad: [n, P], the outputs' gradients.
        """
        for i in reversed(range(len(passed.layers))):
            kept = passed.layers[i]
            grad = torch.mm(grad, self._weights[i + 1][network])
            self._deactivate(grad, kept.known[network].index_select(0, rows), grad_input=grad)
            normed = tuple(t[network] for t in kept.normed)
            if self.norm == "layer":  # what a batch norm keeps here belongs to all rows alike
                normed = tuple(t.index_select(0, rows) for t in normed)
            grad = self._unnormed(grad, normed)
        grad = torch.mm(grad, self._weights[0][network, :, first:])
        return grad * self.renorms[0].slope[0, first:] if self.renorms else grad


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """[M, N, I], or [N, I] for all alike, by [M, H, I] to [M, N, H]."""
    return torch.bmm(x if x.ndim == 3 else x.expand(len(weight), *x.shape), weight.mT)


def _fill(weight: Tensor, bias: Tensor | None, grad: Tensor, x: Tensor) -> None:
    """The gradients of one layer from those of its outputs [M, N, H] and from what it saw."""
    assert weight.grad is not None
    members, _, units = grad.shape
    into = weight.grad.view(members, units, -1)
    if bias is not None:
        assert bias.grad is not None
        torch.sum(grad, 1, out=bias.grad.view(members, units))
    seen = x if x.ndim == 3 else x.expand(members, *x.shape)
    # A product whose last dimension is a dozen wide runs at a tenth of the speed of its transpose.
    if seen.shape[2] < min(units, 64):
        into.copy_(torch.bmm(seen.mT, grad).mT)
    else:
        torch.bmm(grad.mT, seen, out=into)
