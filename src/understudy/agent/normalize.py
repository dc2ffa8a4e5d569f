"""Raw units to numbers near one, and back. The statistics travel with the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from understudy.dataset import Dataset
from understudy.episode import Array

__all__ = ["Columns", "Kind", "Moments", "Normalizer"]

Kind = Literal["standard", "range", "quantile", "identity"]
_KINDS = ("standard", "range", "quantile", "identity")
_FLOOR = 1e-6  # a spread below this, relative to max(1, |mean|), is rounding and not signal
_BLOCK = 64 << 20  # bytes of columns held at once for quantiles


@dataclass(frozen=True)
class Columns:
    """What one column of a dataset holds, and how it is normalised.

    Args:
        shape: of one step, in raw units.
        kind: "standard" maps mean and standard deviation to 0 and 1; "range" minimum and maximum, and
            "quantile" the 1st and 99th percentile, to -1 and 1 (nothing is clipped); "identity" leaves all.
        image: whether the column is uint8 [H, W, C]; it is divided by 255, and C channels have statistics.
        discrete: whether it holds int64 choices, which are never touched.
        angles: dimensions in radians, replaced by sine and cosine (all sines, then all cosines, last).
        quaternions: (first dimension, "wxyz" | "xyzw") of unit quaternions. q and -q are one rotation:
            the sign is chosen so that the first nonzero of w, x, y, z is positive. They are not scaled.
    """

    shape: tuple[int, ...]
    kind: Kind = "standard"
    image: bool = False
    discrete: bool = False
    angles: tuple[int, ...] = ()
    quaternions: tuple[tuple[int, Literal["wxyz", "xyzw"]], ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ValueError(f"normaliser is {self.kind!r}; it must be one of {list(_KINDS)}")
        if not self.shape or min(self.shape) < 1:
            raise ValueError(f"shape is {self.shape}; it must have at least one dimension, none empty")
        named = [*self.angles, *(d for q, _ in self.quaternions for d in range(q, q + 4))]
        if named and len(self.shape) != 1:
            raise ValueError(
                f"angles and quaternions are named in a column of shape {self.shape}; it must be a vector"
            )
        if named and (min(named) < 0 or max(named) >= self.shape[0]):
            raise ValueError(
                f"angles {self.angles} and quaternions {self.quaternions} must lie in width {self.shape[0]}"
            )
        if len(set(named)) != len(named):
            raise ValueError(
                f"angles {self.angles} and quaternions {self.quaternions} name a dimension twice"
            )
        if any(order not in ("wxyz", "xyzw") for _, order in self.quaternions):
            raise ValueError(f"quaternions are {self.quaternions}; the order must be 'wxyz' or 'xyzw'")
        if self.discrete and self.kind != "identity":
            raise ValueError(f"normaliser is {self.kind!r} for discrete choices; it must be 'identity'")

    @property
    def encoded(self) -> tuple[int, ...]:
        """The shape of one step after normalisation."""
        return (self.shape[0] + len(self.angles),) if self.angles else self.shape

    @property
    def statistics(self) -> tuple[int, ...]:
        """The shape of the statistics: one for each channel of an image, else one for each number."""
        return self.shape[-1:] if self.image else self.shape


class Rows(Protocol):
    """What has columns to take statistics of: a Dataset, or what stands in for one."""

    def chunks(self, key: str) -> Iterator[Array]:
        """The rows of one column, in pieces of bounded size."""
        ...


class Moments(NamedTuple):
    """Statistics of rows, each [D], in float64; merged exactly from pieces."""

    rows: int
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]  # sum of squared deviations from the mean
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def of(cls, pieces: Iterable[Array]) -> Moments:
        """One pass over pieces [n, D] (Chan, Golub and LeVeque 1983, equation 2.1).

        Raises:
            ValueError: when there are no rows.
        """
        total: Moments | None = None
        for piece in pieces:
            wide = piece.astype(np.float64)
            mean = wide.mean(0)
            low, high = wide.min(0), wide.max(0)
            wide -= mean
            part = cls(len(wide), mean, np.einsum("nd,nd->d", wide, wide), low, high)
            total = part if total is None else total.merged(part)
        if total is None:
            raise ValueError("there are no rows to take statistics of")
        return total

    def merged(self, other: Moments) -> Moments:
        """The statistics of both sets of rows together."""
        n = self.rows + other.rows
        delta = other.mean - self.mean
        return Moments(
            n,
            self.mean + delta * (other.rows / n),
            self.squares + other.squares + delta**2 * (self.rows * other.rows / n),
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
        )


def _rows(data: Rows, name: str, columns: Columns) -> Iterator[Array]:
    """The column in pieces [n, D]; images pixel by pixel in [0, 1]."""
    for piece in data.chunks(name):
        if not columns.image:
            yield piece.reshape(len(piece), -1)
            continue
        for at in range(0, len(piece), 64):
            yield piece[at : at + 64].reshape(-1, columns.shape[-1]) / np.float32(255)


def _quantiles(data: Rows, name: str, columns: Columns, rows: int, width: int) -> Array:
    """[2, D], the 1st and 99th percentile, a few dimensions at a time so that no second copy is made."""
    out = np.empty((2, width))
    step = max(1, _BLOCK // (4 * rows))
    for at in range(0, width, step):
        block = np.concatenate([p[:, at : at + step] for p in _rows(data, name, columns)])
        out[:, at : at + step] = np.quantile(block, (0.01, 0.99), axis=0, overwrite_input=True)
    return out


class Normalizer(nn.Module):
    """z = (x - shift) / scale, and back; angles and quaternions as named in `columns`.

    A constant dimension is shifted and not scaled, so it comes back exactly and nothing explodes when it
    moves one day.

    Args:
        columns: what the column holds.
        shift: [*columns.statistics].
        scale: likewise, positive.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, columns: Columns, shift: Tensor, scale: Tensor) -> None:
        super().__init__()
        if shift.shape != columns.statistics or scale.shape != columns.statistics:
            raise ValueError(
                f"shift {list(shift.shape)} and scale {list(scale.shape)} must be {list(columns.statistics)}"
            )
        self.columns = columns
        self.register_buffer("shift", shift)
        self.register_buffer("scale", scale)
        angles = set(columns.angles)
        self._kept = [d for d in range(columns.shape[-1]) if d not in angles]
        self._plain = columns.kind == "identity" and not columns.image

    @classmethod
    def fit(cls, data: Rows, name: str, columns: Columns) -> Normalizer:
        """Statistics of one column of `data`: an observation's name, or "label" for the expert's actions."""
        size = columns.statistics
        shift, scale = np.zeros(size), np.ones(size)
        if columns.kind != "identity":
            m = Moments.of(_rows(data, name, columns))
            std = np.sqrt(m.squares / m.rows)
            low, high = m.low, m.high
            if columns.kind == "quantile":
                inner = _quantiles(data, name, columns, m.rows, len(m.mean))
                # A gripper that is open 99 % of the time has equal percentiles but is no constant.
                spread = inner[1] > inner[0]
                low, high = np.where(spread, inner[0], low), np.where(spread, inner[1], high)
            middle, half = (low + high) / 2, (high - low) / 2
            centre, width = (m.mean, std) if columns.kind == "standard" else (middle, half)
            constant = width <= _FLOOR * np.maximum(1.0, np.abs(m.mean))
            shift, scale = centre.reshape(size), np.where(constant, 1.0, width).reshape(size)
            alone = [*columns.angles, *(d for q, _ in columns.quaternions for d in range(q, q + 4))]
            if alone:
                shift[alone], scale[alone] = 0.0, 1.0
        return cls(
            columns, torch.as_tensor(shift, dtype=torch.float32), torch.as_tensor(scale, dtype=torch.float32)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Raw [..., *shape] to normalised [..., *encoded]."""
        if x.dtype == torch.uint8:
            x = x.to(torch.float32) / 255
        c = self.columns
        if not c.angles and not c.quaternions:
            return x if self._plain else (x - self.shift) / self.scale
        z = (x - self.shift) / self.scale
        for first, order in c.quaternions:
            z[..., first : first + 4] *= _sign(x[..., first : first + 4], order)
        if not c.angles:
            return z
        turn = x[..., list(c.angles)]
        return torch.cat((z[..., self._kept], turn.sin(), turn.cos()), -1)

    def inverse(self, z: Tensor) -> Tensor:
        """Normalised to raw, for columns without angles and quaternions."""
        return z if self._plain else z * self.scale + self.shift

    def encoder(self) -> Callable[..., Array]:
        """`forward` for arrays, as encode(x, out=None), without the cost of a tensor library's calls.

        It reads the statistics where they lie now; its results are those of `forward` to the bit.
        """
        c = self.columns
        plain, shift, scale = self._plain, self.shift.numpy(), self.scale.numpy()
        if not plain and not (c.image or c.angles or c.quaternions):
            return lambda x, out=None: np.divide(out := np.subtract(x, shift, out=out), scale, out=out)

        def encode(x: Array, out: Array | None = None) -> Array:
            # A tensor must be able to own what it is made of, and an episode's arrays are sealed.
            own = x if plain or x.flags.writeable else x.copy()
            z: Array = own if plain else self.forward(torch.from_numpy(own)).numpy()
            if out is None:
                return z
            out[...] = z
            return out

        return encode

    def decoder(self) -> Callable[[Array], Array]:
        """`inverse` for arrays, likewise."""
        if self._plain:
            return lambda z: z
        shift, scale = self.shift.numpy(), self.scale.numpy()
        return lambda z: z * scale + shift

    def log_volume(self) -> Tensor:
        """[], Σ log scale: what a log density loses on the way from normalised to raw units."""
        return self.scale.log().sum()


def _sign(q: Tensor, order: str) -> Tensor:
    """[..., 1], ±1: the sign of the first nonzero of w, x, y, z."""
    wxyz = q if order == "wxyz" else q[..., [3, 0, 1, 2]]
    sign = torch.zeros_like(wxyz[..., :1])
    for part in wxyz.sign().unbind(-1):
        part = part[..., None]
        sign = torch.where(sign == 0, part, sign)
    return torch.where(sign == 0, torch.ones_like(sign), sign)


def columns_of(
    data: Dataset,
    kind: Kind,
    angles: Mapping[str, tuple[int, ...]],
    quaternions: Mapping[str, tuple[tuple[int, Literal["wxyz", "xyzw"]], ...]],
) -> dict[str, Columns]:
    """How each observation of `data` is normalised, names sorted.

    Raises:
        ValueError: when angles or quaternions name an observation that is not there.
    """
    schema = {k: v for k, v in data.schema.items() if k != "action"}
    for what, named in (("angles", angles), ("quaternions", quaternions)):
        if unknown := sorted(named.keys() - schema.keys()):
            raise ValueError(f"{what} name obs {unknown[0]!r}; there are {sorted(schema)}")
    return {
        key: Columns(
            shape,
            kind,
            image=dtype == "uint8",
            angles=tuple(int(d) for d in angles.get(key, ())),
            quaternions=tuple((int(d), order) for d, order in quaternions.get(key, ())),
        )
        for key, (dtype, shape) in sorted(schema.items())
    }
