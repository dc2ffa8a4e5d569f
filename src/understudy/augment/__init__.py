"""Augmentations of training batches: small frozen objects in a list, off wherever anything is measured."""

from understudy.augment.base import Augmentation, Tensors, augmented
from understudy.augment.images import Colour, Crop, Cutout, Shift
from understudy.augment.states import Mirror, Noise, Turn
from understudy.augment.warp import TimeWarp
from understudy.augment.wishes import Wish

__all__ = [
    "Augmentation",
    "Colour",
    "Crop",
    "Cutout",
    "Mirror",
    "Noise",
    "Shift",
    "Tensors",
    "TimeWarp",
    "Turn",
    "Wish",
    "augmented",
]
