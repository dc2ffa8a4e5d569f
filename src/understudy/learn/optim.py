"""Adam over one flat buffer: all parameters are one vector, so a step is one kernel, not one a tensor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Adam", "flatten"]

_ALIGN = 16  # float32 numbers in 64 bytes, one line of the cache


def flatten(parameters: Iterable[nn.Parameter]) -> tuple[Tensor, Tensor, int]:
    """Moves parameters and their gradients into two vectors, matrices before biases.

    Every parameter and its `.grad` become views of these, each beginning at a multiple of 64 bytes; what
    lies between is zero and stays so. Returns the vectors, and the number of entries at the front that
    belong to tensors of two or more dimensions.
    """
    listed = sorted(parameters, key=lambda p: p.ndim < 2)  # stable: the order within each group is kept
    rooms = [-(-p.numel() // _ALIGN) * _ALIGN for p in listed]
    flat, grad = torch.zeros(sum(rooms)), torch.zeros(sum(rooms))
    at = 0
    for p, room in zip(listed, rooms, strict=True):
        flat[at : at + p.numel()] = p.detach().flatten()
        p.data = flat[at : at + p.numel()].view_as(p)
        p.grad = grad[at : at + p.numel()].view_as(p)
        at += room
    return flat, grad, sum(room for p, room in zip(listed, rooms, strict=True) if p.ndim >= 2)


class Adam:
    """Adam (Kingma & Ba 2015) with decoupled weight decay (Loshchilov & Hutter 2019).

    β = (0.9, 0.999), ε = 1e-8.

    Only matrices decay: pulling a bias or a spread to zero is a prior on the actions, not on complexity.

    Args:
        flat: [n], the parameters.
        grad: [n], their gradients.
        matrices: how many entries at the front decay.
        weight_decay: per unit of learning rate.
    """

    def __init__(self, flat: Tensor, grad: Tensor, matrices: int, weight_decay: float) -> None:
        self.first, self.second = torch.zeros_like(flat), torch.zeros_like(flat)
        self.count = torch.zeros(())
        self._parts = [
            ([flat[s]], [grad[s]], [self.first[s]], [self.second[s]], decay)
            for s, decay in ((slice(matrices), weight_decay), (slice(matrices, None), 0.0))
            if weight_decay
        ] or [([flat], [grad], [self.first], [self.second], 0.0)]

    def step(self, rate: float) -> None:
        """One step with learning rate `rate`."""
        self.count += 1
        for flat, grad, first, second, decay in self._parts:
            torch._fused_adamw_(
                flat, grad, first, second, [], [self.count],
                lr=rate, beta1=0.9, beta2=0.999, weight_decay=decay, eps=1e-8, amsgrad=False, maximize=False,
            )  # fmt: skip

    def state_dict(self) -> dict[str, Tensor]:
        """The moments and the number of steps."""
        return {"first": self.first, "second": self.second, "count": self.count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there.

        Raises:
            ValueError: when a moment is missing or has another shape.
        """
        mine = self.state_dict()
        if state.keys() != mine.keys() or any(
            getattr(state[k], "shape", None) != v.shape for k, v in mine.items()
        ):
            raise ValueError(
                f"the optimiser's state must hold {sorted(mine)} for {self.first.numel()} parameters"
            )
        for k, v in mine.items():
            v.copy_(state[k])
