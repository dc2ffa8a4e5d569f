"""What every trunk is: normalised observations in, tokens out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Protocol

from torch import Tensor, nn

__all__ = ["Trunk", "TrunkConfig"]


class Trunk(nn.Module, ABC):
    """Turns observations into tokens, which any head reads.

    Attributes:
        width: F, the size of one token.
    """

    width: int

    @abstractmethod
    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        """Normalised observations, name -> [B, K, ...], to tokens [B, N, F]."""


class TrunkConfig(Protocol):
    """A frozen dataclass that says how a trunk is built; its fields are its JSON."""

    kind: ClassVar[str]

    def build(self, shapes: Mapping[str, tuple[int, ...]], history: int) -> Trunk:
        """A trunk with fresh weights for normalised observations, name -> shape of one step."""
        ...
