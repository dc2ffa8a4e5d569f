"""Augmentations of vectors: sensor noise, and the mirrors and turns that a task declares."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from understudy.augment.base import Tensors, uniform, windows_like
from understudy.dataset import Dataset
from understudy.envs.symmetry import Reflection, Turning

__all__ = ["Mirror", "Noise", "Turn"]


@dataclass(frozen=True)
class Noise:
    """Gaussian noise in vector observations, drawn anew for each number of each frame.

    Quaternions and the like leave their unit sphere by as much.

    Args:
        spread: observation name -> the noise's standard deviation in each dimension, in raw units.

    Raises:
        ValueError: when a spread is negative or not finite.
    """

    spread: Mapping[str, tuple[float, ...]]

    def __post_init__(self) -> None:
        for key, spread in self.spread.items():
            if not all(0 <= s < math.inf for s in spread):
                raise ValueError(f"the noise of obs {key!r} is {spread}; each must be at least 0 and finite")

    @classmethod
    def fit(cls, data: Dataset, share: float, keys: Sequence[str] | None = None) -> Noise:
        """Noise of `share` of each dimension's standard deviation in `data`, in all vectors or in `keys`.

        Raises:
            ValueError: when a key is no vector observation, or none is left.
        """
        vectors = [k for k, (t, s) in data.schema.items() if k != "action" and t != "uint8" and len(s) == 1]
        wanted = vectors if keys is None else list(keys)
        if wrong := sorted(set(wanted) - set(vectors)):
            raise ValueError(f"noise is for vectors; obs {wrong[0]!r} is none of {vectors}")
        if not wanted:
            raise ValueError("noise is for vectors, and no observation is one")
        return cls({k: tuple((share * _deviation(data, k)).tolist()) for k in sorted(wanted)})

    def __call__(self, batch: Tensors, generator: torch.Generator) -> Tensors:
        """The batch with noise in its observations."""
        obs = dict(batch.obs)
        for key, spread in self.spread.items():
            if key not in obs or obs[key].shape[2:] != (len(spread),):
                raise ValueError(f"the noise of obs {key!r} has {len(spread)} dimensions; the batch differs")
            x = obs[key]
            noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
            obs[key] = x + noise * torch.tensor(spread, device=x.device, dtype=x.dtype)
        return batch._replace(obs=obs)


def _deviation(data: Dataset, key: str) -> np.ndarray:
    """[D], the standard deviation of a column, in one pass with the first row as origin."""
    rows, total, squares, origin = 0, np.zeros(1), np.zeros(1), None
    for piece in data.chunks(key):
        wide = piece.astype(np.float64)
        origin = wide[0] if origin is None else origin
        wide -= origin
        rows, total, squares = rows + len(wide), total + wide.sum(0), squares + np.square(wide).sum(0)
    return np.sqrt(np.maximum(squares / rows - np.square(total / rows), 0))


def _all_named(declared: Mapping[str, object], batch: Tensors, what: str) -> None:
    if unknown := sorted(batch.obs.keys() - declared.keys()):
        raise ValueError(
            f"{what} does not say what becomes of obs {unknown[0]!r}; it knows {sorted(declared)}"
        )
    if not batch.action.is_floating_point():
        raise ValueError(f"{what} turns continuous actions; these are discrete")


@dataclass(frozen=True)
class Mirror:
    """Shows windows in the mirror of a declared reflection, observations and actions alike.

    Args:
        reflection: an entry of `Task.symmetries`.
        probability: how often; a window is mirrored as a whole.
    """

    reflection: Reflection
    probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"the probability of a mirror is {self.probability}; it must lie in [0, 1]")

    def __call__(self, batch: Tensors, generator: torch.Generator) -> Tensors:
        """The batch, some of its windows mirrored."""
        r = self.reflection
        _all_named(r.obs, batch, "the reflection")
        flip = uniform(batch, generator, 0.0, 1.0) < self.probability
        obs = {k: torch.where(windows_like(flip, x), r.obs[k](x), x) for k, x in batch.obs.items()}
        action = torch.where(windows_like(flip, batch.action), r.action(batch.action), batch.action)
        return Tensors(obs, action, batch.mask)


@dataclass(frozen=True)
class Turn:
    """Turns windows about a declared vertical axis, observations and actions alike, each by its own angle.

    Args:
        turning: an entry of `Task.symmetries`.
        degrees: the largest angle; drawn evenly from both sides.
    """

    turning: Turning
    degrees: float

    def __post_init__(self) -> None:
        if not 0 <= self.degrees <= 180:
            raise ValueError(f"the largest turn is {self.degrees} degrees; it must lie in [0, 180]")

    def __call__(self, batch: Tensors, generator: torch.Generator) -> Tensors:
        """The batch, each window turned as a whole."""
        t = self.turning
        _all_named(t.obs, batch, "the turn")
        most = math.radians(self.degrees)
        angle = uniform(batch, generator, -most, most)[:, None]
        turn = angle.cos(), angle.sin(), angle
        obs = {k: t.obs[k](x, *turn) for k, x in batch.obs.items()}
        return Tensors(obs, t.action(batch.action, *turn), batch.mask)
