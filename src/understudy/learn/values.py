"""What a state is worth to an on-policy learner: a net of its own, whose units follow the returns.

Shapes: N rows, O width of the flat normalised observation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from understudy.agent.agent import check_state
from understudy.heads.base import readout
from understudy.learn.optim import Adam, flatten
from understudy.learn.perceptron import Perceptron
from understudy.nets import MLP

__all__ = ["Values", "clipped", "portions"]

_MEMORY = 0.9  # how much of the returns' moments stays when a rollout adds its own
_SMALLEST = 1e-8  # of the spread of returns, relative to their size


class Values:
    """V(s) = μ + σ v(s), with v a perceptron (ReLU) and μ, σ moving averages of the returns' moments.

    So returns of -1000 or of +5000 need no scale of their own. When μ and σ move, the last layer moves the
    other way, so that V stays what it was (PopArt, van Hasselt et al. 2016, equations 8 to 10). Before the
    first returns V is 0.

    Args:
        obs: O.
        hidden: widths of the layers.
        rate: Adam's.
        norm: the largest Euclidean norm of a gradient; longer ones are shortened to it.
        seed: of the first weights.
    """

    def __init__(self, obs: int, hidden: tuple[int, ...], rate: float, norm: float, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            trunk = MLP(hidden, "relu").build({"obs": (obs,)}, 1)
            self._out = readout(trunk.width, 1)
        linear = (*trunk.linear, self._out)
        self._flat, self._grad, matrices = flatten(p for m in linear for p in m.parameters())
        self._net = Perceptron(linear, "relu")
        self._adam = Adam(self._flat, self._grad, matrices, 0.0)
        self._rate, self._norm = rate, norm
        # Sums of weights, returns and squares, each with weight MEMORY^(rollouts ago).
        self._weight, self._first, self._second = 0.0, 0.0, 0.0

    @property
    def units(self) -> tuple[float, float]:
        """μ and σ now; 0 and 1 before the first returns."""
        if not self._weight:
            return 0.0, 1.0
        mean = self._first / self._weight
        spread = math.sqrt(max(self._second / self._weight - mean * mean, 0.0))
        return mean, max(spread, _SMALLEST * max(1.0, abs(mean)))

    def __call__(self, obs: Tensor) -> Tensor:
        """V of flat normalised observations [N, O], [N], in units of reward."""
        if not self._weight:
            return torch.zeros(len(obs))
        mean, spread = self.units
        return self._net.forward(obs).out[:, 0] * spread + mean

    def fit(self, obs: Tensor, returns: Tensor, epochs: int, size: int, draws: torch.Generator) -> float:
        """Adam on ½ ((returns - μ) / σ - v(s))² over minibatches of about `size` rows, `epochs` times over.

        Returns:
            The mean of that loss over the minibatches, each before its step.
        """
        self._follow(returns)
        mean, spread = self.units
        told = list[Tensor]()
        packed = torch.cat(
            (obs, ((returns - mean) / spread)[:, None]), 1
        )  # so that a minibatch is one gather
        for rows in portions(len(obs), epochs, size, draws):
            part = packed.index_select(0, rows)
            passed = self._net.forward(part[:, :-1])
            error = passed.out - part[:, -1:]
            told.append(error.square().mean())
            self._net.backward(passed, error.div_(len(error)))
            clipped(self._grad, self._norm)
            self._adam.step(self._rate)
        return 0.5 * float(torch.stack(told).mean())

    def _follow(self, returns: Tensor) -> None:
        """Moves the units towards these returns, and the last layer against them."""
        fresh, (mean, spread) = not self._weight, self.units
        wide = returns.double()
        self._weight = _MEMORY * self._weight + 1 - _MEMORY
        self._first = _MEMORY * self._first + (1 - _MEMORY) * float(wide.mean())
        self._second = _MEMORY * self._second + (1 - _MEMORY) * float(wide.square().mean())
        if fresh:  # a net that has learned nothing has nothing to keep
            return
        new_mean, new_spread = self.units
        weight, bias = self._out.weight.detach(), self._out.bias.detach()
        weight.mul_(spread / new_spread)
        bias.mul_(spread).add_(mean - new_mean).div_(new_spread)

    def state_dict(self) -> dict[str, Any]:
        """Weights, the optimiser's moments and the units."""
        moments = [self._weight, self._first, self._second]
        return {"flat": self._flat.clone(), "adam": self._adam.state_dict(), "moments": moments}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there.

        Raises:
            ValueError: when the state belongs to another net.
        """
        check_state({"flat": self._flat}, {"flat": state["flat"]})
        moments = [float(x) for x in state["moments"]]
        if len(moments) != 3 or not all(math.isfinite(x) for x in moments):
            raise ValueError(f"moments are {moments}; they must be three finite numbers")
        self._flat.copy_(state["flat"])
        self._adam.load_state_dict(state["adam"])
        self._weight, self._first, self._second = moments


def portions(rows: int, epochs: int, size: int, draws: torch.Generator) -> Iterator[Tensor]:
    """Minibatches of row numbers: in each epoch every row once, in parts that differ by one row at most."""
    parts = max(1, round(rows / size))
    for _ in range(epochs):
        yield from torch.randperm(rows, generator=draws).tensor_split(parts)


def clipped(grad: Tensor, largest: float) -> float:
    """Shortens a gradient in place to the Euclidean norm `largest`; returns the norm it had."""
    norm = float(torch.linalg.vector_norm(grad))
    if norm > largest:
        grad.mul_(largest / norm)
    return norm
