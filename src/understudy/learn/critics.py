"""What a state and an action are worth: critics side by side, their unit, and what their targets come from.

Shapes: B batch, O width of the observation, A of the action, I = O + A, M critics.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from itertools import pairwise
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from understudy.agent.agent import check_state
from understudy.learn.lessons import Facts, Lesson
from understudy.learn.optim import Adam, flatten
from understudy.learn.perceptrons import Norm, Perceptrons
from understudy.learn.renorm import Renorm

__all__ = ["Critic", "Critics", "Found", "Points"]

Critic: TypeAlias = Literal["plain", "layernorm", "crossq"]
_NORMS: dict[str, Norm] = {"plain": "none", "layernorm": "layer", "crossq": "batch"}
_PACE = 0.01  # of the running mean square of targets: a hundred updates
_LARGEST = 2.0**60  # of the unit: far from where float32 ends


class _Net(nn.Module):
    """The parameters of M critics; each starts as PyTorch's linear layers do, uniform in ±1/√I."""

    def __init__(self, members: int, inputs: int, hidden: tuple[int, ...], norm: Norm) -> None:
        super().__init__()
        sizes = tuple(pairwise((inputs, *hidden, 1)))
        self.weights = nn.ParameterList(_uniform(members, o, i, bound=i**-0.5) for i, o in sizes)
        self.biases = nn.ParameterList(_uniform(members, o, bound=i**-0.5) for i, o in sizes)
        own = [Renorm(inputs), *(Renorm(members, h) for h in hidden)] if norm == "batch" else []
        self.renorms = nn.ModuleList(own)
        if norm != "none":  # behind a norm a shift starts at zero
            for b in list(self.biases)[:-1]:
                nn.init.zeros_(b)

    @property
    def last(self) -> tuple[nn.Parameter, nn.Parameter]:
        """Weight and bias of the last layer."""
        return self.weights[-1], self.biases[-1]

    def view(self, norm: Norm) -> Perceptrons:
        """What computes with these parameters where they lie now."""
        renorms = [r for r in self.renorms if isinstance(r, Renorm)]
        return Perceptrons(list(zip(self.weights, self.biases, strict=True)), "relu", norm, renorms)

    def some(self, norm: Norm, members: Tensor) -> Perceptrons:
        """Some of them, copied, to look at; not for batch norms, whose statistics would stay behind."""
        pairs = zip(self.weights, self.biases, strict=True)
        return Perceptrons([(w.detach()[members], b.detach()[members]) for w, b in pairs], "relu", norm)


def _uniform(*shape: int, bound: float) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))


class Unit:
    """σ: networks say Q / σ, and σ follows the size of what they are led to (van Hasselt et al. 2016).

    A last layer of H inputs starts at ±1/√H and moves by a learning rate a step: to values of hundreds it
    needs thousands where a norm keeps the layers before it from growing instead. In units of σ, values are
    near one whatever rewards are. σ is a power of two: the last layer takes a new one by exact
    products, so values before and after are the same to the bit, and what they converge to is what it was.
    Never under 1: where values are small, nothing is different. PopArt also takes off the mean; a bias in
    units of σ learns that as fast.
    """

    def __init__(self) -> None:
        self.value, self._square = 1.0, 1.0

    def follow(self, target: Tensor) -> float:
        """Takes in a batch of targets, and returns by what σ has changed: 2, 1/2 or mostly 1."""
        self._square += _PACE * (float(target.square().mean()) - self._square)
        size, ratio = math.sqrt(max(self._square, 0.0)), 1.0
        if size > 2 * self.value and self.value < _LARGEST:
            ratio = 2.0
        elif size < self.value / 2 and self.value > 1:
            ratio = 0.5
        self.value *= ratio
        return ratio

    def state_dict(self) -> dict[str, float]:
        """σ and the running mean square of targets."""
        return {"value": self.value, "square": self._square}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there.

        Raises:
            ValueError: when σ is no power of two from 1 on, or the mean square is not a number from 0 on.
        """
        if state.keys() != (mine := self.state_dict()).keys():
            raise ValueError(f"the unit's state has {sorted(mine)}, not {sorted(state)}")
        value, square = float(state["value"]), float(state["square"])
        if not 1 <= value <= _LARGEST or math.frexp(value)[0] != 0.5:
            raise ValueError(f"the critics' unit is {value}; it must be a power of two from 1 on")
        if not 0 <= square < math.inf:
            raise ValueError(f"the targets' mean square is {square}; it must be a number from 0 on")
        self.value, self._square = value, square


class Found(NamedTuple):
    """What a critics' step found."""

    loss: float  # the lesson's, mean over critics
    value: float  # mean Q(s, a) of the first critic
    size: float  # mean |Q(s, a)| of it
    told: Mapping[str, float]  # what the lesson says besides


class Points(NamedTuple):
    """Where critics are asked: B transitions, with actions that the policy has just drawn."""

    rows: Tensor  # [B, I], s and a side by side
    following: Tensor  # [B, I], s' and a draw from π(.|s')
    following_bonus: Tensor  # [B], what V(s') counts besides Q: -α log π of that draw, or 0
    here: Tensor | None  # [B, I], s and a draw from π(.|s), where the lesson asks for V(s)
    here_bonus: Tensor | None  # [B]
    reward: Tensor  # [B]
    scale: Tensor  # [B], the discount, 0 behind a termination


class Critics:
    """Critics, their optimiser and, but for CrossQ, the slow copies that targets come from.

    "plain" is the original, always in units of one. "layernorm" normalises each hidden layer before its
    activation, which keeps the critics from extrapolating without bound (Ball et al. 2023). "crossq" has
    batch renormalisation at the input and in each hidden layer and no slow copies: (s, a) and (s', a') go
    through as one batch, so that the statistics are those of both (Bhatt et al. 2024; here the norms stand
    before the activation). Behind a norm, values are in a unit of their own size; see `Unit`.

    The value of a next state is the least of all critics, as with two of them in clipped double Q-learning
    (Fujimoto et al. 2018), or the least of `drawn` of them, drawn anew for every step (Chen et al. 2021).
    What an actor climbs is the least of all, or, where targets are drawn, the mean of all.

    Args:
        obs: O.
        action: A.
        hidden: widths of the layers.
        critic: which kind.
        members: M.
        drawn: of how many the least is taken; M for all.
    """

    def __init__(
        self,
        obs: int,
        action: int,
        hidden: tuple[int, ...],
        critic: Critic,
        members: int = 2,
        drawn: int | None = None,
    ) -> None:
        self.obs, self.members, self.norm = obs, members, _NORMS[critic]
        self._drawn = members if drawn is None else drawn
        self._net = _Net(members, obs + action, hidden, self.norm)
        self._slow = None if critic == "crossq" else deepcopy(self._net)
        self._flat, grad, matrices = flatten(self._net.parameters())
        self._flat_slow = None if self._slow is None else flatten(self._slow.parameters())[0]
        self._adam = Adam(self._flat, grad, matrices, 0.0)
        self._nets = self._net.view(self.norm)
        self._targets = None if self._slow is None else self._slow.view(self.norm)
        self._unit = Unit()

    @property
    def unit(self) -> float:
        """σ, the size of a value that the networks call 1."""
        return self._unit.value

    def fit(self, points: Points, lesson: Lesson, rate: float, generator: torch.Generator) -> Found:
        """One Adam step on what the lesson says of these points.

        Args:
            points: where.
            lesson: what is learned.
            rate: the learning rate.
            generator: draws the critics of the next states' values, where not all count.
        """
        n, unit = len(points.rows), self.unit
        asked = [points.rows] if points.here is None else [points.rows, points.here]
        joint = self._targets is None or lesson.through
        passed = self._nets.forward(torch.cat((*asked, points.following) if joint else asked))
        said = (passed.out[..., 0] * unit).chunk(len(asked) + joint, 1)
        if lesson.through:
            after = said[-1]
        else:
            after = self._least(points.following, said[-1] if joint else None, generator)
        found = lesson(
            Facts(
                said[0],
                None if points.here_bonus is None else said[1] + points.here_bonus,
                after + points.following_bonus,
                points.reward,
                points.scale,
            )
        )
        grad = torch.zeros_like(passed.out)
        for at, slope in ((0, found.q), (1, found.here), (len(asked), found.after)):
            if slope is not None:
                torch.mul(slope, unit, out=grad[:, at * n : (at + 1) * n, 0])
        self._nets.backward(passed, grad)
        self._adam.step(rate)
        if self.norm != "none":
            self._measure(self._unit.follow(found.toward))
        q = said[0][0]
        return Found(found.loss, float(q.mean()), float(q.abs().mean()), found.told)

    def _least(self, following: Tensor, said: Tensor | None, generator: torch.Generator) -> Tensor:
        """[M, B], the same for all critics: the least value of next states. `said`: by CrossQ's nets."""
        chosen = None
        if self._drawn < self.members:
            chosen = torch.randperm(self.members, generator=generator)[: self._drawn]
        if said is not None:
            q = said if chosen is None else said[chosen]
        else:
            assert self._slow is not None
            assert self._targets is not None
            nets = self._targets if chosen is None else self._slow.some(self.norm, chosen)
            q = nets.forward(following).out[..., 0] * self.unit
        return q.amin(0).expand(self.members, -1)

    def _measure(self, ratio: float) -> None:
        """Has the last layers speak in a unit that is `ratio`, a power of two, times the one before.

        Values stay as they are to the bit. So does the loss, whose gradient by these weights is now `ratio`
        times what it was: so are the optimiser's moments, to go on as if they had always been in this unit.
        """
        if ratio == 1:
            return
        for p in self._net.last:
            at = slice(p.storage_offset(), p.storage_offset() + p.numel())
            self._adam.first[at] *= ratio
            self._adam.second[at] *= ratio * ratio
        for net in (self._net, self._slow):
            for p in () if net is None else net.last:
                p.data.div_(ratio)

    def best(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """What an actor climbs, [B], and its gradient by the action [B, A]; critics are left as they are."""
        passed = self._nets.forward(rows, training=False)
        q = passed.out[..., 0] * self.unit
        if self._drawn < self.members:
            rising = torch.full((len(rows), 1), self.unit / self.members)
            every = torch.arange(len(rows))
            found = [
                self._nets.input_gradient(passed, m, every, rising, self.obs) for m in range(self.members)
            ]
            return q.mean(0), torch.stack(found).sum(0)
        value, least = q.min(0)
        out = torch.empty(len(rows), rows.shape[1] - self.obs)
        for m in range(self.members):
            chosen = (least == m).nonzero()[:, 0]
            rising = torch.full((len(chosen), 1), self.unit)
            out[chosen] = self._nets.input_gradient(passed, m, chosen, rising, self.obs)
        return value, out

    def values(self, rows: Tensor) -> Tensor:
        """Q_m(s, a), [M, B]."""
        return self._nets.forward(rows, training=False).out[..., 0] * self.unit

    def follow(self, share: float) -> None:
        """Moves the slow copies by that share towards the critics (Polyak averaging)."""
        if self._flat_slow is not None:
            self._flat_slow.lerp_(self._flat, share)

    def state_dict(self) -> dict[str, Any]:
        """Weights, moments, the unit and, where there are some, the slow copies."""
        state: dict[str, Any] = {
            "net": self._net.state_dict(),
            "adam": self._adam.state_dict(),
            "unit": self._unit.state_dict(),
        }
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
        self._unit.load_state_dict(state["unit"])
