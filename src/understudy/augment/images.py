"""Augmentations of pictures. All frames of a window are changed alike, each camera by draws of its own.

Images are [B, K, H, W, C], uint8 or floats in [0, 1]; what comes out has the same shape and dtype.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from understudy.augment.base import Tensors, uniform, windows_like

__all__ = ["Colour", "Crop", "Cutout", "Shift"]

_LUMA = (0.299, 0.587, 0.114)  # how bright red, green and blue are (ITU-R BT.601)


def _pictures(batch: Tensors, keys: tuple[str, ...] | None) -> Iterator[tuple[str, Tensor]]:
    """The named observations, or all images.

    Raises:
        ValueError: when one is no image, or there is none.
    """
    images = [k for k, x in sorted(batch.obs.items()) if x.ndim == 5]
    if wrong := sorted(set(keys or ()) - set(images)):
        raise ValueError(f"obs {wrong[0]!r} is no image; the images are {images}")
    if not images:
        raise ValueError(f"none of the observations {sorted(batch.obs)} is an image")
    yield from ((k, batch.obs[k]) for k in (keys or images))


def _like(x: Tensor, original: Tensor) -> Tensor:
    """Floats in the range of `original`, as its dtype."""
    if original.dtype == torch.uint8:
        return x.clamp(0, 255).round().to(torch.uint8)
    return x.clamp(0, 1).to(original.dtype)


@dataclass(frozen=True)
class Shift:
    """Moves pictures by a few pixels; the border repeats (DrQ: Kostrikov, Yarats and Fergus 2021).

    Args:
        pixels: the most in each direction; DrQ takes 4 of 84.
        keys: which images; None: all.
    """

    pixels: int
    keys: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.pixels < 0:
            raise ValueError(f"a shift is {self.pixels} pixels; it must be at least 0")

    def __call__(self, batch: Tensors, generator: torch.Generator) -> Tensors:
        """The batch with shifted pictures."""
        obs, p = dict(batch.obs), self.pixels
        for key, x in _pictures(batch, self.keys):
            high, wide = x.shape[2:4]
            by = torch.randint(0, 2 * p + 1, (len(x), 2), generator=generator, device=x.device)
            rows = torch.arange(-p, high + p, device=x.device).clamp(0, high - 1)
            columns = torch.arange(-p, wide + p, device=x.device).clamp(0, wide - 1)
            padded = x.index_select(2, rows).index_select(3, columns)
            # One slice a window is several times as fast as one gather of all pixels.
            obs[key] = torch.stack(
                [one[:, y : y + high, z : z + wide] for one, (y, z) in zip(padded, by.tolist(), strict=True)]
            )
        return batch._replace(obs=obs)


@dataclass(frozen=True)
class Crop:
    """Cuts a rectangle out of each picture and scales it back to full size (bilinear).

    Args:
        least: the smallest side that is left, as a share of the picture's, in (0, 1]; each side's share is
            drawn evenly from [least, 1], its place evenly from where it fits.
        keys: which images; None: all.
    """

    least: float
    keys: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.least <= 1:
            raise ValueError(f"a crop leaves {self.least} of a side at least; it must lie in (0, 1]")

    def __call__(self, batch: Tensors, generator: torch.Generator) -> Tensors:
        """The batch with cropped pictures."""
        obs = dict(batch.obs)
        for key, x in _pictures(batch, self.keys):
            b, k, high, wide, c = x.shape
            wide_share, high_share = (uniform(batch, generator, self.least, 1.0) for _ in range(2))
            theta = torch.zeros(b, 2, 3, device=x.device)
            for axis, share in enumerate((wide_share, high_share)):
                theta[:, axis, axis] = share
                theta[:, axis, 2] = (1 - share) * uniform(batch, generator, -1.0, 1.0)
            grid = F.affine_grid(theta, [b, 1, high, wide], align_corners=False)
            frames = x.permute(0, 1, 4, 2, 3).reshape(b, k * c, high, wide).to(torch.float32)
            cut = F.grid_sample(frames, grid, padding_mode="border", align_corners=False)
            obs[key] = _like(cut.reshape(b, k, c, high, wide).permute(0, 1, 3, 4, 2), x)
        return batch._replace(obs=obs)


@dataclass(frozen=True)
class Colour:
    """Changes brightness, contrast and saturation, in that order.

    Each factor is drawn evenly from [1 − x, 1 + x]. Brightness multiplies; contrast scales the distance from
    the mean grey of all frames of the window; saturation that from each pixel's own grey, where C is 3.

    Args:
        brightness, contrast, saturation: x, in [0, 1].
        keys: which images; None: all.
    """

    brightness: float
    contrast: float
    saturation: float
    keys: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must lie in [0, 1]")

    def __call__(self, batch: Tensors, generator: torch.Generator) -> Tensors:
        """The batch with other colours."""
        obs = dict(batch.obs)
        for key, x in _pictures(batch, self.keys):
            amounts = (self.brightness, self.contrast, self.saturation)
            light, contrast, colour = (
                windows_like(uniform(batch, generator, 1 - a, 1 + a), x) for a in amounts
            )
            y = (x.to(torch.float32) * light).clamp_(0, 255 if x.dtype == torch.uint8 else 1)
            grey = _grey(y)
            mean = grey.mean((1, 2, 3, 4), keepdim=True)
            if x.shape[-1] != 3:
                colour = torch.ones_like(colour)
            # Contrast, mean + c (y − mean), and saturation, grey + s (y − grey), are one linear map.
            rest = contrast * (1 - colour) * grey + (1 - contrast) * mean
            obs[key] = _like(torch.addcmul(rest, y, contrast * colour), x)
        return batch._replace(obs=obs)


def _grey(x: Tensor) -> Tensor:
    """[..., 1] of [..., C]."""
    if x.shape[-1] != 3:
        return x.mean(-1, keepdim=True)
    return x @ torch.tensor(_LUMA, device=x.device)[:, None]


@dataclass(frozen=True)
class Cutout:
    """Covers a square with the window's mean colour (DeVries and Taylor 2017), centred anywhere.

    Args:
        pixels: the square's side, at least 1.
        keys: which images; None: all.
    """

    pixels: int
    keys: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.pixels < 1:
            raise ValueError(f"a cutout is {self.pixels} pixels wide; it must be at least 1")

    def __call__(self, batch: Tensors, generator: torch.Generator) -> Tensors:
        """The batch with covered pictures."""
        obs = dict(batch.obs)
        for key, x in _pictures(batch, self.keys):
            inside = []
            for side in x.shape[2:4]:
                first = (uniform(batch, generator, 0.0, float(side)) - self.pixels / 2).ceil()[:, None]
                at = torch.arange(side, device=x.device)
                inside.append((at >= first) & (at < first + self.pixels))
            covered = (inside[0][:, :, None] & inside[1][:, None, :])[:, None, :, :, None]
            mean = x.to(torch.float32).mean((1, 2, 3), keepdim=True)
            obs[key] = torch.where(covered, _like(mean, x), x)
        return batch._replace(obs=obs)
