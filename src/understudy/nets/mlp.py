"""The multilayer perceptron: one token from all observations of the history."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from understudy.nets.base import Trunk

__all__ = ["MLP", "MLPTrunk", "first_gain", "function", "side_by_side", "vector_widths"]

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
        return MLPTrunk(vector_widths(shapes, self.kind), history, self)


def vector_widths(shapes: Mapping[str, tuple[int, ...]], kind: str) -> dict[str, int]:
    """Name -> width, of observations that a trunk of this kind can read.

    Raises:
        ValueError: when an observation is not a vector.
    """
    for key, shape in shapes.items():
        if len(shape) != 1:
            raise ValueError(f"obs[{key!r}] has shape {list(shape)}; the {kind} trunk reads vectors only")
    return {k: s[0] for k, s in shapes.items()}


def side_by_side(obs: Mapping[str, Tensor], keys: Sequence[str]) -> Tensor:
    """Name -> [B, K, d] to [B, K × sum of d], the steps of the history in turn."""
    parts = [obs[k] for k in keys]
    return (parts[0] if len(parts) == 1 else torch.cat(parts, -1)).flatten(1)


def function(activation: Activation) -> Callable[[Tensor], Tensor]:
    """The function of that name."""
    return _FUNCTIONS[activation]


def first_gain(activation: Activation) -> float:
    """By what orthogonal weights are scaled so that a layer keeps the scale of the signal."""
    return 5 / 3 if activation == "tanh" else math.sqrt(2)


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
        self.activation = function(config.activation)
        widths = (history * sum(inputs.values()), *config.hidden)
        self.width = widths[-1]
        self.linear = tuple(nn.Linear(i, o) for i, o in pairwise(widths))
        self.layers = nn.ModuleList(self.linear)
        gain = first_gain(config.activation)
        for layer in self.linear:
            if layer.weight.device.type != "meta":  # a description has shapes and no numbers
                nn.init.orthogonal_(layer.weight, gain)
            nn.init.zeros_(layer.bias)

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        x = side_by_side(obs, self.keys)
        for layer in self.linear:
            x = self.activation(F.linear(x, layer.weight, layer.bias))
            if self.dropout and self.training:
                x = F.dropout(x, self.dropout)
        return x[:, None]
