"""One observation to what every member of an ensemble would do, without a tensor library's calls."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from understudy.agent.normalize import Normalizer
from understudy.agent.single import ACTIVATIONS
from understudy.episode import Array
from understudy.heads import Head, MembersHead
from understudy.nets import EnsembleTrunk, Trunk

__all__ = ["SingleEnsemble"]


class SingleEnsemble:
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
        self._lie = [(p, p.data_ptr()) for s in stacks for p in (s.weight, s.bias)]
        pairs = [(s.weight.detach().numpy(), s.bias.detach().numpy()) for s in stacks]
        weight, bias = pairs[0]
        # All members see the same: their first layers are the rows of one matrix.
        self._first = weight.reshape(-1, weight.shape[-1]), bias
        self._rest = [(w, b.reshape(len(w), -1)[..., None]) for w, b in pairs[1:]]
        self._members, self._shape = len(weight), (len(weight), *head.shape)
        self._activation = ACTIVATIONS[trunk.config.activation]
        self._inputs = [(k, obs[k].encoder()) for k in trunk.keys]
        self._decode = action.decoder()
        self._bounds = None if bounds is None else (bounds[0].numpy(), bounds[1].numpy())

    @classmethod
    def of(
        cls,
        obs: Mapping[str, Normalizer],
        action: Normalizer,
        trunk: Trunk,
        head: Head,
        bounds: tuple[Tensor, Tensor] | None,
    ) -> SingleEnsemble | None:
        """One that stands in for these, or None where it cannot."""
        here = all(p.device.type == "cpu" for m in (trunk, head) for p in m.parameters())
        if not here or not isinstance(trunk, EnsembleTrunk) or not isinstance(head, MembersHead):
            return None
        return cls(obs, action, trunk, head, bounds)

    @property
    def current(self) -> bool:
        """Whether the weights are where they were."""
        return all(p.data_ptr() == place for p, place in self._lie)

    def members(self, obs: Mapping[str, Array]) -> Array:
        """Raw observations, name -> [1, K, d], to each member's normalised actions [M, H, A]."""
        with np.errstate(over="ignore", invalid="ignore"):  # as tensors do; the caller looks at the result
            parts = [encode(obs[k]) for k, encode in self._inputs]
            x = (parts[0] if len(parts) == 1 else np.concatenate(parts, -1)).ravel()
            weight, bias = self._first
            x = weight.dot(x)
            x += bias
            for weight, bias in self._rest:
                x = self._activation(x)
                x = np.matmul(weight, x.reshape(self._members, -1, 1))
                x += bias
            out: Array = x.reshape(self._shape)
            return out

    def __call__(self, obs: Mapping[str, Array]) -> Array:
        """Raw observations, name -> [1, K, d], to raw actions [H, A]: the mean of the members."""
        members = self.members(obs)
        with np.errstate(over="ignore", invalid="ignore"):
            action = self._decode(np.add.reduce(members) / np.float32(self._members))
            if self._bounds is None:
                return action
            clipped: Array = np.minimum(np.maximum(action, self._bounds[0]), self._bounds[1])
            return clipped
