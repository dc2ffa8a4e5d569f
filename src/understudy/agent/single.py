"""One observation to one chunk of actions, without the cost of a tensor library's calls.

For a network of a few hundred units most of the time of an answer goes into dispatch, not into arithmetic:
NumPy's calls cost a third. Equal to the tensors' way to float32 rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from understudy.agent.normalize import Normalizer
from understudy.episode import Array
from understudy.heads import Head, Readout
from understudy.nets import MLPTrunk, Trunk

__all__ = ["ACTIVATIONS", "Single"]


def _silu(x: Array) -> Array:
    from scipy.special import expit

    out: Array = x * expit(x)
    return out


def _gelu(x: Array) -> Array:
    from scipy.special import ndtr

    out: Array = x * ndtr(x)
    return out


ACTIVATIONS: Mapping[str, Callable[[Array], Any]] = {
    "relu": lambda x: np.maximum(x, 0, out=x),
    "tanh": lambda x: np.tanh(x, out=x),
    "silu": _silu,
    "gelu": _gelu,
}


class Single:
    """The mode of an agent whose trunk is a multilayer perceptron and whose head is a linear readout.

    It reads the agent's own weights where they lie, so it follows training without being told; `current`
    says whether they still lie there.
    """

    def __init__(
        self,
        obs: Mapping[str, Normalizer],
        action: Normalizer,
        trunk: MLPTrunk,
        head: Readout,
        bounds: tuple[Tensor, Tensor] | None,
    ) -> None:
        linear = (*trunk.linear, head.out)
        self._lie = [(p, p.data_ptr()) for layer in linear for p in (layer.weight, layer.bias)]
        *self._hidden, self._last = [(m.weight.detach().numpy(), m.bias.detach().numpy()) for m in linear]
        self._activation = ACTIVATIONS[trunk.config.activation]
        self._inputs = [(k, obs[k].encoder()) for k in trunk.keys]
        self._answer, self._decode = head.answer, action.decoder()
        self._bounds = None if bounds is None else (bounds[0].numpy(), bounds[1].numpy())

    @classmethod
    def of(
        cls,
        obs: Mapping[str, Normalizer],
        action: Normalizer,
        trunk: Trunk,
        head: Head,
        bounds: tuple[Tensor, Tensor] | None,
    ) -> Single | None:
        """One that stands in for these, or None where it cannot."""
        here = all(p.device.type == "cpu" for m in (trunk, head) for p in m.parameters())
        if not here or not isinstance(trunk, MLPTrunk) or not isinstance(head, Readout):
            return None
        return cls(obs, action, trunk, head, bounds)

    @property
    def current(self) -> bool:
        """Whether the weights are where they were."""
        return all(p.data_ptr() == place for p, place in self._lie)

    def __call__(self, obs: Mapping[str, Array]) -> Array:
        """Raw observations, name -> [1, K, d], to raw actions [H, A]."""
        with np.errstate(over="ignore", invalid="ignore"):  # as tensors do; the caller looks at the result
            parts = [encode(obs[k]) for k, encode in self._inputs]
            x = (parts[0] if len(parts) == 1 else np.concatenate(parts, -1)).ravel()
            for weight, bias in self._hidden:
                x = weight.dot(x)
                x += bias
                x = self._activation(x)
            x = self._last[0].dot(x)
            x += self._last[1]
            action = self._decode(self._answer(x))
            if self._bounds is None:
                return action
            clipped: Array = np.minimum(np.maximum(action, self._bounds[0]), self._bounds[1])
            return clipped
