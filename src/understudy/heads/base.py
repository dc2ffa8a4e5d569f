"""What every head is: tokens in, actions out; and the few lines that heads share.

Shapes: B batch, N tokens, F features, H horizon, A action width, P numbers that describe a sample's chunk.
Actions are in the agent's normalised units here.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Density", "Head", "HeadConfig", "LogStd", "Readout"]

Array: TypeAlias = NDArray[Any]
Mask: TypeAlias = NDArray[np.bool_]
LOG_2PI = math.log(2 * math.pi)


class Head(nn.Module, ABC):
    """Turns tokens into a chunk of H actions.

    Attributes:
        discrete: whether actions are int64 choices of width 1.
        bounded: whether only actions in (-1, 1) can be expressed, so that the normaliser must map them there.
    """

    discrete: ClassVar[bool] = False
    bounded: bool = False

    @abstractmethod
    def loss(self, tokens: Tensor, action: Tensor, mask: Tensor) -> Tensor:
        """Tokens [B, N, F], action [B, H, A], mask [B, H] (bool, no row all False) to a loss [B].

        The loss of a sample is the mean over its valid steps of a sum over action dimensions. What lies in
        masked entries of `action` changes nothing.
        """

    @abstractmethod
    def sample(self, tokens: Tensor, generator: torch.Generator | None, noise: float = 1.0) -> Tensor:
        """[B, H, A] drawn; `noise` scales the spread within a mode, and 0 removes it."""

    @abstractmethod
    def mode(self, tokens: Tensor) -> Tensor:
        """[B, H, A], the action to take when nothing should be left to chance."""


class Density(Head, ABC):
    """A head whose actions have a probability that can be computed."""

    @abstractmethod
    def log_prob(self, tokens: Tensor, action: Tensor) -> Tensor:
        """[B], the joint log density (log mass where discrete) of the whole chunk [B, H, A]."""


@runtime_checkable
class Readout(Protocol):
    """A head that is a linear map of the pooled tokens and a loss on the result.

    The gradient of that loss is known in closed form, so training can do without a tape. That, and the
    mode of a single observation, are NumPy's work: on a few thousand numbers each of its calls costs a
    third of a tensor library's.
    """

    out: nn.Linear

    def answer(self, params: Array) -> Array:
        """The mode [H, A] for one observation, from the linear map's result [P]."""
        ...

    def gradient(self, params: Array, action: Array, mask: Mask) -> tuple[float, Array]:
        """The mean loss of a batch, and its gradient with respect to `params`, both [P, B].

        `action` is [B, H, A] and `mask` [B, H]. The gradient of parameters other than `out` is written
        into their `.grad`, which must be there.
        """
        ...


class HeadConfig(Protocol):
    """A frozen dataclass that says how a head is built; its fields are its JSON."""

    kind: ClassVar[str]

    @property
    def bounded(self) -> bool:
        """Whether only actions in (-1, 1) can be expressed."""
        ...

    def build(self, width: int, horizon: int, actions: int) -> Head:
        """A head with fresh weights for tokens of `width` F and chunks [H, A]."""
        ...


def readout(width: int, out: int) -> nn.Linear:
    """A linear map, orthogonal with gain 0.01: near zero, so that the first prediction is the mean action."""
    layer = nn.Linear(width, out)
    if layer.weight.device.type != "meta":  # a description has shapes and no numbers
        nn.init.orthogonal_(layer.weight, 0.01)
    nn.init.zeros_(layer.bias)
    return layer


def read(out: nn.Linear, tokens: Tensor) -> Tensor:
    """[B, N, F] to [B, P]: the linear map of the mean token."""
    token = tokens[:, 0] if tokens.shape[1] == 1 else tokens.mean(1)
    return F.linear(token, out.weight, out.bias)


def silenced(action: Tensor, mask: Tensor) -> Tensor:
    """[B, H, A] with masked entries at zero. A single step is always labelled: there is nothing to mask."""
    return action if action.shape[1] == 1 else action.masked_fill(~mask[..., None], 0)


def masked_mean(per_step: Tensor, mask: Tensor) -> Tensor:
    """[..., H] to [...], the mean over valid steps; `mask` is as long or broadcast."""
    if per_step.shape[-1] == 1:
        return per_step[..., 0]
    return (per_step * mask).sum(-1) / mask.sum(-1)


def batch_last(action: Array, mask: Mask) -> tuple[Array, Array | float]:
    """Actions [B, H, A] as [H, A, B], masked ones zero, and the weight of each step in a batch's mean loss.

    Weights are [H, 1, B], one in sum over H and B; one number where all steps weigh the same. With the
    batch last, each of the few numbers that describe a distribution is one long row in memory.
    """
    turned = np.ascontiguousarray(action.transpose(1, 2, 0))
    if len(turned) == 1:
        return turned, 1.0 / len(mask)
    valid = mask.T[:, None].astype(np.float32)
    turned[~mask.T[:, None].repeat(turned.shape[1], 1)] = 0
    return turned, valid / (valid.sum(0) * np.float32(len(mask)))


class LogStd:
    """Any number to a log standard deviation in (low, high): low + (high - low)/2 × (tanh(raw) + 1).

    Smooth, so that a gradient is left at the bounds, where a clamp has none. The lower bound is the floor
    of the loss: -log density per dimension is never below low + 0.919.
    """

    def __init__(self, low: float, high: float) -> None:
        self.middle, self.half = (low + high) / 2, (high - low) / 2

    def __call__(self, raw: Tensor) -> Tensor:
        return raw.tanh() * self.half + self.middle

    def with_slope(self, raw: Array) -> tuple[Array, Array]:
        """The log standard deviation, and its derivative half × (1 - tanh² raw)."""
        t = np.tanh(raw)
        return t * self.half + self.middle, (1 - t * t) * self.half

    def inverse(self, log_std: float) -> float:
        """The raw number that gives `log_std`."""
        return math.atanh((log_std - self.middle) / self.half)


def check_bounds(bounds: tuple[float, float]) -> None:
    """Refuses bounds of a log standard deviation that do not hold 0, where training starts."""
    if not -20.0 <= bounds[0] < 0.0 < bounds[1] <= 20.0:
        raise ValueError(f"log_std is {bounds}; it must be (low, high) with -20 <= low < 0 < high <= 20")
