"""How steep a discriminator may be: gradient penalties without double backward, and spectral norms.

Shapes: B rows whose outputs are asked for, N rows whose slopes are, I inputs, H units of a layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from understudy.rewards import RewardNet

__all__ = ["PenaltyKind", "Rectified", "Spectral", "between", "steepness"]

PenaltyKind: TypeAlias = Literal["wgan", "zero", "none"]
_TINY = 1e-12


def steepness(slope: Tensor, kind: PenaltyKind) -> tuple[float, Tensor]:
    """h, the mean penalty of slopes g [N, I], and ∂h/∂g [N, I].

    "wgan" is mean (‖g‖ - 1)² (Gulrajani et al. 2017, equation 3), "zero" is mean ‖g‖² (the R1 penalty of
    Mescheder et al. 2018 without its half), "none" is zero.
    """
    if kind == "none":
        return 0.0, torch.zeros_like(slope)
    if kind == "zero":
        return float(slope.square().sum(1).mean()), slope * (2 / len(slope))
    norm = slope.norm(dim=1, keepdim=True)
    over = norm - 1
    return float(over.square().mean()), slope * (over / norm.clamp_min(_TINY) * (2 / len(slope)))


def between(first: Tensor, second: Tensor, generator: torch.Generator) -> Tensor:
    """[N, I], a random point on the line of each pair of rows; as many as the fewer rows give."""
    n = min(len(first), len(second))
    share = torch.rand(n, 1, generator=generator)
    return torch.lerp(second[:n], first[:n], share)


class Passed(NamedTuple):
    """One way through: outputs [M], and what the way back needs. All M rows side by side."""

    out: Tensor
    seen: list[Tensor]  # [M, I] and [M, H] of each hidden layer behind its activation
    delta: list[Tensor]  # [M, H] of each hidden layer, of the output by what stands before the activation


class Rectified:
    """A network of ReLU layers with one output, y = w_L relu(... relu(W_1 x + b_1) ...) + b_L.

    Its slope g(x) = ∂y/∂x = W_1ᵀ M_1 W_2ᵀ ... M_{L-1} w_L is a product of weights and of masks M that are
    constant almost everywhere. So the gradient of any h(g) by the weights needs no second way back: with
    u = ∂h/∂g, and the tangents t_0 = u, t_i = M_i W_i t_{i-1},

        ∂h/∂W_i = Σ_n δ_i(n) t_{i-1}(n)ᵀ,     δ_i = ∂y/∂(W_i x_{i-1} + b_i),

    which has the shape of the ordinary gradient Σ_n c_n δ_i(n) x_{i-1}(n)ᵀ of Σ_n c_n y(x_n). Both are one
    product, of rows side by side. A test holds it to automatic differentiation.

    Args:
        reward: for which `suits` says so; its parameters have their `.grad` in place.
    """

    def __init__(self, reward: RewardNet) -> None:
        layers = (*reward.trunk.linear, reward.out)
        assert all(p.grad is not None for m in layers for p in (m.weight, m.bias))
        self._weights = [m.weight.detach() for m in layers]
        self._biases = [m.bias.detach() for m in layers]
        self._grads = [(m.weight.grad, m.bias.grad) for m in layers]

    @staticmethod
    def suits(reward: RewardNet) -> bool:
        """Whether this is exact for a reward."""
        c = reward.config
        return c.reward_activation == "relu" and c.features == "inputs" and c.bound is None

    def forward(self, x: Tensor) -> Passed:
        """[M, I] to the outputs and what follows from them."""
        seen, (*hidden, last) = [x], self._weights
        for weight, bias in zip(hidden, self._biases, strict=False):
            seen.append(torch.addmm(bias, seen[-1], weight.t()).relu_())
        out = torch.addmv(self._biases[-1], seen[-1], last[0])
        delta: list[Tensor] = []
        for i in reversed(range(len(hidden))):
            back = torch.mm(delta[0], self._weights[i + 1]) if delta else last.expand(len(x), -1)
            delta.insert(0, torch.ops.aten.threshold_backward(back, seen[i + 1], 0.0))
        return Passed(out, seen, delta)

    def slope(self, passed: Passed, first: int) -> Tensor:
        """g [N, I], of the rows from number `first` on."""
        if not passed.delta:
            return self._weights[0].repeat(len(passed.out) - first, 1)
        return torch.mm(passed.delta[0][first:], self._weights[0])

    def backward(self, passed: Passed, by_out: Tensor, by_slope: Tensor) -> None:
        """Into `.grad`, of a loss with ∂/∂y = by_out [B] in the first rows and ∂/∂g = by_slope [N, I] behind.

        What was passed is used up.
        """
        b = len(by_out)
        tangent = by_slope
        for i, seen in enumerate(passed.seen):
            if i:
                tangent = torch.mm(tangent, self._weights[i - 1].t())
                tangent = torch.ops.aten.threshold_backward(tangent, seen[b:], 0.0)
            mixed = torch.empty_like(seen)
            torch.mul(seen[:b], by_out[:, None], out=mixed[:b])
            mixed[b:] = tangent
            self._fill(i, passed, mixed, by_out)

    def _fill(self, i: int, passed: Passed, mixed: Tensor, by_out: Tensor) -> None:
        """The gradients of layer i from what it saw, times ∂/∂y, and the tangents."""
        weight, bias = self._grads[i]
        assert weight is not None
        assert bias is not None
        if i == len(passed.delta):
            torch.sum(mixed, 0, out=weight[0])
            bias.copy_(by_out.sum())
            return
        delta = passed.delta[i]
        torch.mv(delta[: len(by_out)].t(), by_out, out=bias)
        # A product whose last dimension is a dozen wide runs at a tenth of the speed of its transpose.
        if mixed.shape[1] < min(delta.shape[1], 64):
            weight.copy_(torch.mm(mixed.t(), delta).t())
        else:
            torch.mm(delta.t(), mixed, out=weight)


class Spectral:
    """Holds every matrix of a network to a spectral norm of at most one, by division after each step.

    Behind ReLU or tanh the network then changes by at most one for each unit its inputs move. Miyato et al.
    (2018) divide in the forward pass and differentiate through it; a projection leaves the weights
    themselves what is saved and paid out, and keeps the same set of functions. The norm comes from one power
    iteration for each step, from where the last one ended.

    Args:
        weights: [O, I] each, changed in place.
        generator: of the first directions.
    """

    def __init__(self, weights: Sequence[Tensor], generator: torch.Generator) -> None:
        self._weights = list(weights)
        self._left = [_unit(torch.randn(len(w), generator=generator)) for w in weights]
        for _ in range(20):
            self._iterate()
        self.project()

    def _iterate(self) -> list[Tensor]:
        norms = []
        for i, weight in enumerate(self._weights):
            right = _unit(weight.t() @ self._left[i])
            left = weight @ right
            norms.append(left.norm())
            self._left[i] = _unit(left)
        return norms

    def project(self) -> None:
        """Divides the matrices whose norm is above one."""
        for weight, norm in zip(self._weights, self._iterate(), strict=True):
            weight.div_(norm.clamp_min(1.0))

    def state_dict(self) -> dict[str, Tensor]:
        """The directions."""
        return {str(i): left for i, left in enumerate(self._left)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there.

        Raises:
            ValueError: when the directions are not those of these matrices.
        """
        mine = self.state_dict()
        if state.keys() != mine.keys() or any(state[k].shape != v.shape for k, v in mine.items()):
            raise ValueError(f"the directions must be those of {len(mine)} matrices")
        self._left = [state[k].clone() for k in mine]


def _unit(x: Tensor) -> Tensor:
    return x.div(x.norm().clamp_min(_TINY))
