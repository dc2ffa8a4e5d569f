"""The multilayer perceptron: one token from all observations of the history."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from understudy.nets.base import Trunk

__all__ = ["MLP", "MLPTrunk"]

Activation = Literal["relu", "tanh", "gelu", "silu"]
_FUNCTIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "gelu": F.gelu,
    "silu": F.silu,
}


@dataclass(frozen=True)
class MLP:
    """How a multilayer perceptron is built.

    Args:
        hidden: widths of its layers; none at all makes the head linear in the observation.
        activation: the function behind each layer.
        dropout: probability that a hidden unit is dropped in training.
    """

    hidden: tuple[int, ...] = (256, 256)
    activation: Activation = "relu"
    dropout: float = 0.0
    kind: ClassVar[str] = "mlp"

    def __post_init__(self) -> None:
        if len(self.hidden) > 100 or any(not 1 <= w <= 1 << 20 for w in self.hidden):
            raise ValueError(f"hidden is {self.hidden}; it must be at most 100 widths in [1, 2^20]")
        if self.activation not in _FUNCTIONS:
            raise ValueError(f"activation is {self.activation!r}; it must be one of {sorted(_FUNCTIONS)}")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout is {self.dropout}; it must lie in [0, 1)")

    def build(self, shapes: Mapping[str, tuple[int, ...]], history: int) -> MLPTrunk:
        """A trunk with fresh weights.

        Raises:
            ValueError: when an observation is not a vector.
        """
        for key, shape in shapes.items():
            if len(shape) != 1:
                raise ValueError(f"obs[{key!r}] has shape {list(shape)}; the mlp trunk reads vectors only")
        return MLPTrunk({k: s[0] for k, s in shapes.items()}, history, self)


class MLPTrunk(Trunk):
    """Observations side by side in the order of their names, the whole history flattened; N = 1.

    Weights start orthogonal with gain √2 (tanh: 5/3), biases at zero, so that the scale of the signal is
    kept from layer to layer (Saxe et al. 2014; He et al. 2015 for the gain).
    """

    def __init__(self, inputs: Mapping[str, int], history: int, config: MLP) -> None:
        super().__init__()
        self.config = config
        self.keys = tuple(sorted(inputs))
        self.dropout = config.dropout
        self.activation = _FUNCTIONS[config.activation]
        widths = (history * sum(inputs.values()), *config.hidden)
        self.width = widths[-1]
        self.linear = tuple(nn.Linear(i, o) for i, o in pairwise(widths))
        self.layers = nn.ModuleList(self.linear)
        gain = 5 / 3 if config.activation == "tanh" else math.sqrt(2)
        for layer in self.linear:
            if layer.weight.device.type != "meta":  # a description has shapes and no numbers
                nn.init.orthogonal_(layer.weight, gain)
            nn.init.zeros_(layer.bias)

    def flat(self, obs: Mapping[str, Tensor]) -> Tensor:
        """Name -> [B, K, d] to [B, K × sum of d], the steps of the history in turn."""
        parts = [obs[k] for k in self.keys]
        return (parts[0] if len(parts) == 1 else torch.cat(parts, -1)).flatten(1)

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        x = self.flat(obs)
        for layer in self.linear:
            x = self.activation(F.linear(x, layer.weight, layer.bias))
            if self.dropout and self.training:
                x = F.dropout(x, self.dropout)
        return x[:, None]
