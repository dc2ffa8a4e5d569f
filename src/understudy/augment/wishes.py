"""Augmentations by name and amount, as a command line or a file has them, before the data is at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from understudy.augment.base import Augmentation
from understudy.augment.images import Colour, Crop, Cutout, Shift
from understudy.augment.states import Mirror, Noise, Turn
from understudy.dataset import Dataset
from understudy.envs.symmetry import Reflection, Turning

__all__ = ["KINDS", "Wish"]

Symmetries = Sequence[Reflection | Turning]


class _Kind(NamedTuple):
    amount: str  # in words
    make: Callable[[float, Dataset, Symmetries], list[Augmentation]]
    usual: float | None = None  # where none is given; None: one must be
    whole: bool = False


def _mirrors(probability: float, data: Dataset, symmetries: Symmetries) -> list[Augmentation]:
    found = [s for s in symmetries if isinstance(s, Reflection)]
    if not found:
        raise ValueError("the task declares no mirror in which it looks the same; leave mirror out")
    return [Mirror(s, probability) for s in found]


def _turns(degrees: float, data: Dataset, symmetries: Symmetries) -> list[Augmentation]:
    found = [s for s in symmetries if isinstance(s, Turning)]
    if not found:
        raise ValueError("the task declares no axis that it can be turned about; leave rotation out")
    return [Turn(s, degrees) for s in found]


KINDS: Mapping[str, _Kind] = {
    "noise": _Kind("share of each observation's standard deviation", lambda x, d, s: [Noise.fit(d, x)]),
    "mirror": _Kind("probability", _mirrors, 0.5),
    "rotation": _Kind("largest angle in degrees", _turns),
    "shift": _Kind("pixels", lambda x, d, s: [Shift(int(x))], whole=True),
    "crop": _Kind("smallest share of a side that is left", lambda x, d, s: [Crop(x)]),
    "colour": _Kind("brightness, contrast and saturation", lambda x, d, s: [Colour(x, x, x)]),
    "cutout": _Kind("pixels", lambda x, d, s: [Cutout(int(x))], whole=True),
}


@dataclass(frozen=True)
class Wish:
    """One augmentation, as NAME:AMOUNT.

    >>> Wish.parse("noise:0.02"), str(Wish.parse("mirror"))
    (Wish(name='noise', amount=0.02), 'mirror:0.5')
    """

    name: str
    amount: float

    @classmethod
    def parse(cls, text: str) -> Wish:
        """From NAME:AMOUNT, or NAME alone where there is a usual amount.

        Raises:
            ValueError: when there is no such augmentation, or the amount is no number it could take.
        """
        name, _, said = text.partition(":")
        if name not in KINDS:
            raise ValueError(
                f"augmentation is {text!r}; it must be NAME:AMOUNT, with one of {', '.join(KINDS)}"
            )
        kind = KINDS[name]
        if not said and kind.usual is None:
            raise ValueError(f"augmentation {name!r} needs an amount, the {kind.amount}: {name}:AMOUNT")
        try:
            amount = float(said) if said else float(kind.usual or 0)
        except ValueError:
            raise ValueError(
                f"augmentation is {text!r}; its amount ({kind.amount}) must be a number"
            ) from None
        if kind.whole and not amount.is_integer():
            raise ValueError(f"augmentation is {text!r}; its amount ({kind.amount}) must be a whole number")
        return cls(name, amount)

    def __str__(self) -> str:
        amount = int(self.amount) if self.amount.is_integer() else self.amount
        return f"{self.name}:{amount}"

    def build(self, data: Dataset, symmetries: Symmetries) -> list[Augmentation]:
        """The augmentations for this training data and a task with these symmetries.

        Raises:
            ValueError: when they do not fit: no image, no declared symmetry, an amount out of its range.
        """
        made = KINDS[self.name].make(self.amount, data, symmetries)
        pictures = any(t == "uint8" for t, _ in data.schema.values())
        if self.name in ("shift", "crop", "colour", "cutout") and not pictures:
            raise ValueError(f"augmentation {self} is for pictures, and no observation is one")
        return made
