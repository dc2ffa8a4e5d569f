"""A trained network in new units: statistics are refreshed, and what it does stays what it did."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from understudy.agent import Agent
from understudy.agent.normalize import Normalizer
from understudy.heads import DeterministicHead, GaussianHead, MixtureHead
from understudy.nets import MLPTrunk

__all__ = ["moved"]


@torch.no_grad()
def moved(before: Agent, after: Agent) -> None:
    """Changes the network of `before`, in place, so that it acts the same under the units of `after`.

    Both see one observation of one name and predict one action. With z = (x - m) / s before and (x - m') / s'
    after, the first layer's W z + b is W (s' / s) z' + b + W (m' - m) / s; the rows of the last layer that
    give actions likewise. Spreads of a Gaussian or a mixture stay as they were in normalised units.
    """
    trunk, head = cast(MLPTrunk, before.trunk), before.head
    assert isinstance(head, DeterministicHead | GaussianHead | MixtureHead)
    first = trunk.linear[0] if trunk.linear else head.out
    shift, scale = _change(cast(Normalizer, before.obs[0]), cast(Normalizer, after.obs[0]))
    first.bias.add_(first.weight @ shift)
    first.weight.mul_(scale)
    shift, scale = _change(before.action_normalizer, after.action_normalizer)
    rows = _actions(head, before.actions)
    times = (rows.stop - rows.start) // before.actions  # the components of a mixture
    head.out.bias[rows] = (head.out.bias[rows] - shift.repeat(times)) / scale.repeat(times)
    head.out.weight[rows] = head.out.weight[rows] / scale.repeat(times)[:, None]


def _change(before: Normalizer, after: Normalizer) -> tuple[Tensor, Tensor]:
    """(shift, scale) with z = z' · scale + shift, z in the units before and z' in those after."""
    return (after.shift - before.shift) / before.scale, after.scale / before.scale


def _actions(head: nn.Module, actions: int) -> slice:
    """The rows of the last layer that give actions, not spreads or weights."""
    if isinstance(head, MixtureHead):
        m = head.config.components
        return slice(m, m + m * actions)
    return slice(0, actions)
