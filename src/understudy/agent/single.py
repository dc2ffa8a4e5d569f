"""One observation to one chunk of actions, without the cost of a tensor library's calls.

For a network of a few hundred units most of the time of an answer goes into dispatch, not into arithmetic:
NumPy's calls cost a third. Equal to the tensors' way to float32 rounding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import numpy as np
from torch import Tensor

from understudy.agent.normalize import Normalizer
from understudy.episode import Array
from understudy.heads import Readout
from understudy.nets import MLPTrunk

__all__ = ["Quick", "Single"]


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


class Quick(ABC):
    """What stands in for an agent that is asked for one observation.

    It reads the agent's own weights where they lie, so it follows training without being told; `current`
    says whether they still lie there.
    """

    def __init__(
        self,
        obs: Mapping[str, Normalizer],
        action: Normalizer,
        keys: Sequence[str],
        activation: str,
        weights: Sequence[Tensor],
        bounds: tuple[Tensor, Tensor] | None,
    ) -> None:
        self._lie = [(p, p.data_ptr()) for p in weights]
        self._activation = ACTIVATIONS[activation]
        self._inputs = [(k, obs[k].encoder()) for k in keys]
        self._decode = action.decoder()
        self._bounds = None if bounds is None else (bounds[0].numpy(), bounds[1].numpy())

    @property
    def current(self) -> bool:
        """Whether the weights are where they were."""
        return all(p.data_ptr() == place for p, place in self._lie)

    @abstractmethod
    def normalised(self, obs: Mapping[str, Array]) -> Array:
        """Raw observations, name -> [1, K, d], to normalised actions [H, A]."""

    def __call__(self, obs: Mapping[str, Array]) -> Array:
        """Raw observations, name -> [1, K, d], to raw actions [H, A]."""
        with np.errstate(over="ignore", invalid="ignore"):  # as tensors do; the caller looks at the result
            action = self._decode(self.normalised(obs))
            if self._bounds is None:
                return action
            clipped: Array = np.minimum(np.maximum(action, self._bounds[0]), self._bounds[1])
            return clipped

    def _seen(self, obs: Mapping[str, Array]) -> Array:
        """What the first layer sees."""
        parts = [encode(obs[k]) for k, encode in self._inputs]
        return (parts[0] if len(parts) == 1 else np.concatenate(parts, -1)).ravel()


@final
class Single(Quick):
    """The mode of an agent whose trunk is a multilayer perceptron and whose head is a linear readout."""

    def __init__(
        self,
        obs: Mapping[str, Normalizer],
        action: Normalizer,
        trunk: MLPTrunk,
        head: Readout,
        bounds: tuple[Tensor, Tensor] | None,
    ) -> None:
        linear = (*trunk.linear, head.out)
        lie = [p for layer in linear for p in (layer.weight, layer.bias)]
        super().__init__(obs, action, trunk.keys, trunk.config.activation, lie, bounds)
        *self._hidden, self._last = [(m.weight.detach().numpy(), m.bias.detach().numpy()) for m in linear]
        self._answer = head.answer

    def normalised(self, obs: Mapping[str, Array]) -> Array:
        """Raw observations, name -> [1, K, d], to normalised actions [H, A]."""
        x = self._seen(obs)
        for weight, bias in self._hidden:
            x = weight.dot(x)
            x += bias
            x = self._activation(x)
        x = self._last[0].dot(x)
        x += self._last[1]
        return self._answer(x)
