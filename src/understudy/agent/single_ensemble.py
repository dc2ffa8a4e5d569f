"""One observation to what every member of an ensemble would do, without a tensor library's calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import numpy as np
from torch import Tensor

from understudy.agent.normalize import Normalizer
from understudy.agent.single import Quick, Single
from understudy.episode import Array
from understudy.heads import Head, MembersHead, Readout
from understudy.nets import EnsembleTrunk, MLPTrunk, Trunk

__all__ = ["SingleEnsemble", "quick"]


@final
class SingleEnsemble(Quick):
    """As `Single`, of an agent that is an ensemble: each layer is one batched product of stacked weights."""

    def __init__(
        self,
        obs: Mapping[str, Normalizer],
        action: Normalizer,
        trunk: EnsembleTrunk,
        head: MembersHead,
        bounds: tuple[Tensor, Tensor] | None,
    ) -> None:
        stacks = (*trunk.stacks, head.out)
        lie = [p for s in stacks for p in (s.weight, s.bias)]
        super().__init__(obs, action, trunk.keys, trunk.config.activation, lie, bounds)
        pairs = [(s.weight.detach().numpy(), s.bias.detach().numpy()) for s in stacks]
        weight, bias = pairs[0]
        # All members see the same: their first layers are the rows of one matrix.
        self._first = weight.reshape(-1, weight.shape[-1]), bias
        self._rest = [(w, b.reshape(len(w), -1)[..., None]) for w, b in pairs[1:]]
        self._members, self._shape = len(weight), (len(weight), *head.shape)

    def members(self, obs: Mapping[str, Array]) -> Array:
        """Raw observations, name -> [1, K, d], to each member's normalised actions [M, H, A]."""
        with np.errstate(over="ignore", invalid="ignore"):  # as tensors do; the caller looks at the result
            weight, bias = self._first
            x = weight.dot(self._seen(obs))
            x += bias
            for weight, bias in self._rest:
                x = self._activation(x)
                x = np.matmul(weight, x.reshape(self._members, -1, 1))
                x += bias
            out: Array = x.reshape(self._shape)
            return out

    def normalised(self, obs: Mapping[str, Array]) -> Array:
        """Raw observations, name -> [1, K, d], to normalised actions [H, A]: the mean of the members."""
        mean: Array = np.add.reduce(self.members(obs)) / np.float32(self._members)
        return mean


def quick(
    obs: Mapping[str, Normalizer],
    action: Normalizer,
    trunk: Trunk,
    head: Head,
    bounds: tuple[Tensor, Tensor] | None,
) -> Single | SingleEnsemble | None:
    """What stands in for an agent of these parts, or None where nothing can."""
    if not all(p.device.type == "cpu" for m in (trunk, head) for p in m.parameters()):
        return None
    if isinstance(trunk, MLPTrunk) and isinstance(head, Readout):
        return Single(obs, action, trunk, head, bounds)
    if isinstance(trunk, EnsembleTrunk) and isinstance(head, MembersHead):
        return SingleEnsemble(obs, action, trunk, head, bounds)
    return None
