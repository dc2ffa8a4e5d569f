"""What a state and an action are worth: two critics side by side, and what their targets come from.

Shapes: B batch, O width of the observation, A of the action, I = O + A, M = 2 critics.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from itertools import pairwise
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from understudy.agent.agent import check_state
from understudy.learn.optim import Adam, flatten
from understudy.learn.perceptrons import Norm, Perceptrons
from understudy.learn.renorm import Renorm

__all__ = ["Critic", "Critics", "Error"]

Critic: TypeAlias = Literal["plain", "layernorm", "crossq"]
_NORMS: dict[str, Norm] = {"plain": "none", "layernorm": "layer", "crossq": "batch"}
MEMBERS = 2  # clipped double Q-learning (Fujimoto et al. 2018)


class _Net(nn.Module):
    """The parameters of M critics; each starts as PyTorch's linear layers do, uniform in ±1/√I."""

    def __init__(self, inputs: int, hidden: tuple[int, ...], norm: Norm) -> None:
        super().__init__()
        sizes = tuple(pairwise((inputs, *hidden, 1)))
        self.weights = nn.ParameterList(_uniform(MEMBERS, o, i, bound=i**-0.5) for i, o in sizes)
        self.biases = nn.ParameterList(_uniform(MEMBERS, o, bound=i**-0.5) for i, o in sizes)
        own = [Renorm(inputs), *(Renorm(MEMBERS, h) for h in hidden)] if norm == "batch" else []
        self.renorms = nn.ModuleList(own)
        if norm != "none":  # behind a norm a shift starts at zero
            for b in list(self.biases)[:-1]:
                nn.init.zeros_(b)

    def view(self, norm: Norm) -> Perceptrons:
        """What computes with these parameters where they lie now."""
        renorms = [r for r in self.renorms if isinstance(r, Renorm)]
        return Perceptrons(list(zip(self.weights, self.biases, strict=True)), "relu", norm, renorms)


def _uniform(*shape: int, bound: float) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))


class Error(NamedTuple):
    """What a critics' step found."""

    loss: float  # mean over critics and rows of (Q - y)²
    value: float  # mean Q of the first critic


class Critics:
    """Twin critics, their optimiser and, but for CrossQ, the slow copies that targets come from.

    "plain" is the original. "layernorm" normalises each hidden layer before its activation, which keeps
    the critics from extrapolating without bound (Ball et al. 2023). "crossq" has batch renormalisation at
    the input and in each hidden layer and no slow copies: (s, a) and (s', a') go through as one batch, so
    that the statistics are those of both (Bhatt et al. 2024; here the norms stand before the activation).
    """

    def __init__(self, obs: int, action: int, hidden: tuple[int, ...], critic: Critic) -> None:
        self.obs, self.norm = obs, _NORMS[critic]
        self._net = _Net(obs + action, hidden, self.norm)
        self._slow = None if critic == "crossq" else deepcopy(self._net)
        self._flat, grad, matrices = flatten(self._net.parameters())
        self._flat_slow = None if self._slow is None else flatten(self._slow.parameters())[0]
        self._adam = Adam(self._flat, grad, matrices, 0.0)
        self._nets = self._net.view(self.norm)
        self._targets = None if self._slow is None else self._slow.view(self.norm)

    def fit(self, rows: Tensor, following: Tensor, target: Tensor, scale: Tensor, rate: float) -> Error:
        """One Adam step on mean (Q_m(s, a) - y)², with y = target + scale · min_m Q(s', a').

        Args:
            rows: [B, I], s and a side by side. following: [B, I], s' and a' likewise.
            target: [B], what y holds besides. scale: [B], the discount, 0 behind a termination.
            rate: the learning rate.
        """
        n = len(rows)
        if self._targets is None:
            passed = self._nets.forward(torch.cat((rows, following)))
            q, after = passed.out[:, :n, 0], passed.out[:, n:, 0]
        else:
            after = self._targets.forward(following).out[..., 0]
            passed = self._nets.forward(rows)
            q = passed.out[..., 0]
        error = q - (target + scale * torch.minimum(after[0], after[1]))
        grad = torch.zeros_like(passed.out)
        torch.mul(error, 2.0 / n, out=grad[:, :n, 0])
        loss, value = float(error.square().mean()), float(q[0].mean())
        self._nets.backward(passed, grad)
        self._adam.step(rate)
        return Error(loss, value)

    def best(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """min_m Q_m(s, a) [B], and its gradient by the action [B, A]; the critics are left as they are."""
        passed = self._nets.forward(rows, training=False)
        q = passed.out[..., 0]
        least = q[0] <= q[1]
        out = torch.empty(len(rows), rows.shape[1] - self.obs)
        for network, mask in enumerate((least, ~least)):
            chosen = mask.nonzero()[:, 0]
            ones = torch.ones(len(chosen), 1)
            out[chosen] = self._nets.input_gradient(passed, network, chosen, ones, self.obs)
        return torch.minimum(q[0], q[1]), out

    def values(self, rows: Tensor) -> Tensor:
        """Q_m(s, a), [M, B]."""
        return self._nets.forward(rows, training=False).out[..., 0]

    def follow(self, share: float) -> None:
        """Moves the slow copies by that share towards the critics (Polyak averaging)."""
        if self._flat_slow is not None:
            self._flat_slow.lerp_(self._flat, share)

    def state_dict(self) -> dict[str, Any]:
        """Weights, moments and, where there are some, the slow copies."""
        state: dict[str, Any] = {"net": self._net.state_dict(), "adam": self._adam.state_dict()}
        return state if self._slow is None else {**state, "slow": self._slow.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there.

        Raises:
            ValueError: when the state is that of other critics.
        """
        mine = self.state_dict()
        if state.keys() != mine.keys():
            raise ValueError(f"the critics' state has {sorted(mine)}, not {sorted(state)}")
        for name, net in (("net", self._net), ("slow", self._slow)):
            if net is not None:
                check_state(net.state_dict(), state[name])
                net.load_state_dict(dict(state[name]))
        self._adam.load_state_dict(state["adam"])
