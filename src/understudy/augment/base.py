"""What an augmentation is, and how a list of them is applied to a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

__all__ = ["Augmentation", "Tensors", "augmented"]

_SALT = 0xA06  # the order of the data and the learner's own noise are drawn from the same seed


class Tensors(NamedTuple):
    """A batch of windows in raw units, on one device."""

    obs: Mapping[str, Tensor]  # each [B, K, ...], oldest first; images [B, K, H, W, C], uint8 or in [0, 1]
    action: Tensor  # [B, H, A]
    mask: Tensor  # [B, H], True where the action counts


class Augmentation(Protocol):
    """Changes a batch of training windows in a way that the task does not mind.

    It leaves the batch that it is given as it was, keeps shapes, dtypes and device, and draws from
    `generator` alone. Where the mask is False the action may become anything.
    """

    def __call__(self, batch: Tensors, generator: torch.Generator) -> Tensors:
        """The changed batch."""
        ...


def augmented(batch: Tensors, augmentations: Sequence[Augmentation], seed: int, step: int) -> Tensors:
    """All of them in turn, each with a generator that follows from (seed, step, place in the list).

    So nothing has to be remembered to go on from any step, and one more leaves those before it as they were.
    """
    for place, change in enumerate(augmentations):
        words = np.random.SeedSequence((seed, step, place, _SALT)).generate_state(1, np.uint64)
        generator = torch.Generator(device=batch.action.device).manual_seed(int(words[0] >> 1))
        batch = change(batch, generator)
    return batch


def uniform(batch: Tensors, generator: torch.Generator, low: float, high: float) -> Tensor:
    """[B], one number for each window."""
    count, device = len(batch.action), batch.action.device
    return low + (high - low) * torch.rand(count, generator=generator, device=device)


def windows_like(values: Tensor, x: Tensor) -> Tensor:
    """[B] as [B, 1, ...], to go with `x` [B, ...]."""
    return values.reshape(-1, *(1,) * (x.ndim - 1))
