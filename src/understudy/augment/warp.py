"""Time-warp: the same motion a little faster or slower."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from understudy.actions import ActionSpace
from understudy.augment.base import Tensors, uniform, windows_like

__all__ = ["TimeWarp"]

Dims = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class TimeWarp:
    """Replays windows at s times the speed, s drawn evenly from [1 − amount, 1 + amount] for each.

    The present stays. Frame −k of the history becomes what was seen at −s k; action j becomes what the old
    actions did between s j and s (j + 1):

    - delta columns: the share of each old step that lies in that time, summed. They scale by s, and all of
      them together go exactly as far as the stretch of the old chunk that they cover.
    - absolute columns: the target at s (j + 1), between the old targets of steps j, which are those at j + 1.
    - columns that no effector names (grippers): the old value at the middle of the new step.

    Vectors are interpolated, and extrapolated by less than amount × K frames where s > 1; images are the
    nearest frame. An action that needs an old one behind the chunk's end, or one that does not count, is
    masked out; a window that would lose all its actions stays as it was.

    Args:
        space: what the actions mean.
        amount: in [0, 1).
        velocities: observation name -> dimensions that scale with speed. Forgetting one teaches the policy
            that speed does not follow from what it sees.
        angles: observation name -> dimensions in radians that jump at ±π.

    Raises:
        ValueError: for rotations that cannot be interpolated: deltas must be axis_angle, absolute ones
            quaternions, 6d or matrices.
    """

    space: ActionSpace
    amount: float
    velocities: Dims = field(default_factory=dict)
    angles: Dims = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.amount < 1:
            raise ValueError(f"the time-warp's amount is {self.amount}; it must lie in [0, 1)")
        absolute = self.space.delta is None
        good = ("xyzw", "wxyz", "6d", "6d_rows", "matrix") if absolute else ("axis_angle",)
        for f in self.space.fields:
            if f.form is not None and f.form not in good:
                raise ValueError(
                    f"time-warp cannot go between {'absolute' if absolute else 'delta'} rotations {f}; "
                    f"convert them to {' or '.join(good)}"
                )

    def __call__(self, batch: Tensors, generator: torch.Generator) -> Tensors:
        """The batch, each window at its own speed.

        Raises:
            ValueError: when actions have another width than the space says, or a chunk is a single action.
        """
        count = batch.action.shape[1]
        if batch.action.shape[2] != self.space.width:
            raise ValueError(
                f"actions are {batch.action.shape[2]} wide; the time-warp's space says {self.space.width}"
            )
        if count < 2:
            raise ValueError("time-warp needs chunks: a single action has no time to be warped")
        speed = uniform(batch, generator, 1 - self.amount, 1 + self.amount).to(torch.float64)
        action, mask = self._chunk(batch, speed)
        kept = mask.any(1)
        speed = torch.where(kept, speed, 1.0)
        obs = {k: self._history(k, x, speed) for k, x in batch.obs.items()}
        return Tensors(
            obs,
            torch.where(windows_like(kept, action), action, batch.action),
            torch.where(kept[:, None], mask, batch.mask),
        )

    def _history(self, key: str, x: Tensor, speed: Tensor) -> Tensor:
        frames = x.shape[1]
        old = (frames - 1) - speed[:, None] * torch.arange(frames - 1, -1, -1, device=x.device)
        if x.ndim > 3 or not x.is_floating_point():
            nearest = old.round().clamp(0, frames - 1).long()
            return x[torch.arange(len(x), device=x.device)[:, None], nearest]
        y = x.clone()
        if frames > 1:
            first = old.floor().clamp(0, frames - 2).long()
            part = (old - first)[..., None].to(x.dtype)
            a, b = _at(x, first), _at(x, first + 1)
            step = b - a
            for i in self.angles.get(key, ()):
                step[..., i] = (step[..., i] + math.pi) % (2 * math.pi) - math.pi
            y = torch.where(part == 0, a, a + part * step)
        for i in self.velocities.get(key, ()):
            y[..., i] = y[..., i] * speed[:, None].to(x.dtype)
        return y

    def _chunk(self, batch: Tensors, speed: Tensor) -> tuple[Tensor, Tensor]:
        """Actions [B, H, A] and mask [B, H] at these speeds."""
        count, device = batch.action.shape[1], batch.action.device
        # What does not count may hold anything, and must not get into sums.
        old = torch.where(batch.mask[..., None], batch.action, 0).to(torch.float64)
        steps = torch.arange(count, device=device)
        start, end = speed[:, None] * steps, speed[:, None] * (steps + 1)
        first, last = start.floor().long(), (end - 1e-9).floor().long()  # of the old actions that are needed
        valid = torch.cumsum(torch.nn.functional.pad(batch.mask.long(), (1, 0)), 1)
        inside = (last + 1).clamp(max=count)
        needed = valid.gather(1, inside) - valid.gather(1, first.clamp(max=count))
        mask = (last < count) & (needed == last + 1 - first)
        out = _at(old, (start + speed[:, None] / 2).floor().long().clamp(max=count - 1))
        for f in self.space.fields:
            part = old[..., f.columns]
            if self.space.delta is not None:
                out[..., f.columns] = _travelled(part, end) - _travelled(part, start)
            else:
                out[..., f.columns] = _between(part, end - 1, batch.mask, f.form)
        return out.to(batch.action.dtype), mask


def _at(x: Tensor, index: Tensor) -> Tensor:
    """[B, N, ...], the entries index [B, N] of x [B, T, ...]."""
    return x[torch.arange(len(x), device=x.device)[:, None], index]


def _travelled(x: Tensor, time: Tensor) -> Tensor:
    """[B, N, D], how far deltas x [B, H, D] have gone at times [B, N], each one evenly in its step."""
    whole = torch.nn.functional.pad(x.cumsum(1), (0, 0, 1, 0))
    at = time.floor().long().clamp(0, x.shape[1] - 1)
    return _at(whole, at) + (time - at)[..., None] * _at(x, at)


def _between(x: Tensor, index: Tensor, mask: Tensor, form: str | None) -> Tensor:
    """[B, N, D], targets x [B, H, D] at fractional indices [B, N], at less than 0 along the first step."""
    first = index.floor().clamp(0, x.shape[1] - 2).long()
    part = (index - first)[..., None]
    a, b = _at(x, first), _at(x, first + 1)
    part = torch.where(_at(mask, first + 1)[..., None], part, 0.0)  # what does not count has no direction
    part = torch.where(_at(mask, first)[..., None], part, 1.0)
    if form in ("xyzw", "wxyz"):
        b = torch.where((a * b).sum(-1, keepdim=True) < 0, -b, b)
    y = torch.where(part == 0, a, a + part * (b - a))
    if form in ("xyzw", "wxyz"):
        y = y / y.norm(dim=-1, keepdim=True).clamp(min=1e-8)
    return y
