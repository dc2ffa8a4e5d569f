"""Several multilayer perceptrons computed together: one token from each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from understudy.nets.base import Trunk
from understudy.nets.mlp import MLP, Activation, first_gain, function, side_by_side, vector_widths

__all__ = ["EnsembleTrunk", "MLPEnsemble", "Stack", "check_members"]


def check_members(members: int) -> None:
    """Refuses a number of members that is out of its range."""
    if not 1 <= members <= 1000:
        raise ValueError(f"members is {members}; it must lie in [1, 1000]")


@dataclass(frozen=True)
class MLPEnsemble:
    """How an ensemble of multilayer perceptrons is built; `heads.Members` reads it.

    Args:
        members: how many there are, alike but for their weights.
        hidden: widths of the layers of each.
        activation: the function behind each layer.
    """

    members: int = 5
    hidden: tuple[int, ...] = (256, 256)
    activation: Activation = "relu"
    kind: ClassVar[str] = "mlp_ensemble"

    def __post_init__(self) -> None:
        check_members(self.members)
        MLP(self.hidden, self.activation)  # its rules are theirs

    def build(self, shapes: Mapping[str, tuple[int, ...]], history: int) -> EnsembleTrunk:
        """A trunk with fresh weights, each member's drawn by itself.

        Raises:
            ValueError: when an observation is not a vector.
        """
        return EnsembleTrunk(vector_widths(shapes, self.kind), history, self)


class Stack(nn.Module):
    """One linear layer of every member: y_m = W_m x_m + b_m, in one batched product.

    Shapes: M members, B batch. `weight` is [M, out, in], orthogonal in each member; `bias` is [M × out], the
    first member's first. It has one dimension because it is what tells biases from the matrices that decay.
    """

    def __init__(self, members: int, inputs: int, outputs: int, gain: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(members * outputs))
        if self.weight.device.type != "meta":  # a description has shapes and no numbers
            for own in self.weight.detach():
                nn.init.orthogonal_(own, gain)

    def forward(self, x: Tensor) -> Tensor:
        """What each member sees, [M, B, in], to [M, B, out]."""
        return torch.baddbmm(self.bias.view(len(self.weight), 1, -1), x, self.weight.mT)

    def shared(self, x: Tensor) -> Tensor:
        """What all members see, [B, in], to [M, B, out]: one wide product."""
        y = F.linear(x, self.weight.flatten(0, 1), self.bias)
        return y.view(len(x), len(self.weight), -1).transpose(0, 1)


class EnsembleTrunk(Trunk):
    """M multilayer perceptrons that share nothing but what they see; N = M tokens, one from each.

    Each has the first weights of an `MLPTrunk`, drawn by itself: members that began alike and saw the same
    would stay alike, and never doubt.
    """

    def __init__(self, inputs: Mapping[str, int], history: int, config: MLPEnsemble) -> None:
        super().__init__()
        self.config = config
        self.keys = tuple(sorted(inputs))
        self.activation = function(config.activation)
        widths = (history * sum(inputs.values()), *config.hidden)
        self.width = widths[-1]
        gain = first_gain(config.activation)
        self.stacks = tuple(Stack(config.members, i, o, gain) for i, o in pairwise(widths))
        self.layers = nn.ModuleList(self.stacks)

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        x = side_by_side(obs, self.keys)
        if not self.stacks:
            return x[:, None].expand(-1, self.config.members, -1)
        y = self.activation(self.stacks[0].shared(x))
        for stack in self.stacks[1:]:
            y = self.activation(stack(y))
        return y.transpose(0, 1)
