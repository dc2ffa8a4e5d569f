"""A cloned policy that goes back to the prior where nobody has shown anything, and the reward it implies.

Shapes: N rows, O width of the flat normalised observation, A of the action, K anchors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from understudy.agent import Agent
from understudy.heads.gaussian import GaussianHead
from understudy.learn.optim import Adam, flatten
from understudy.learn.perceptrons import Perceptrons
from understudy.learn.replay import Transitions
from understudy.learn.sac import stream
from understudy.nets import MLPTrunk

__all__ = ["Coherent", "Prior", "clone"]

_BATCH, _RATE, _DECAY = 256, 1e-3, 1e-3
_ANCHORS = 2048  # demonstrated states that a new one is held against
_BLOCKS = 10  # of successive rows, of which every fifth is held out
_FAR = 0.9  # the share of held-out states that count as near
_NORMAL = 1 / math.sqrt(2 * math.pi)


@dataclass(frozen=True)
class Prior:
    """How a clone is made into a policy with doubts.

    Args:
        steps: gradient steps of cloning.
        doubt: in (0, 1), the prior's share in the policy, however well a state is known: it bounds what an
            action may lose, at log doubt.
        reach: how far knowledge reaches, in units of what separates held-out demonstrations from the others.
        floor: of the spread of the clone's actions, in half action ranges: a spread of nearly nothing would
            pay for the exact action and for no other.
    """

    steps: int
    doubt: float
    reach: float
    floor: float


def clone(agent: Agent, obs: Tensor, action: Tensor, steps: int, draws: torch.Generator) -> None:
    """Trains the mode of a copy of a tanh-Gaussian agent, tanh μ(s), by mean squared error.

    By squares and not by likelihood: behind a tanh an action at the very edge of its range has no finite
    likelihood, and motors that are too weak for their task are mostly there. AdamW, its rate falling to zero.

    Args:
        agent: whose weights the copy's replace at the end, in place. obs: [N, O]. action: [N, A].
        draws: the order of the rows.
    """
    copy = deepcopy(agent)
    flat, grad, matrices = flatten(p for m in _linear(copy) for p in m.parameters())
    adam, net = Adam(flat, grad, matrices, _DECAY), _net(copy)
    with torch.no_grad():
        for i in range(steps):
            rows = torch.randint(len(obs), (_BATCH,), generator=draws)
            passed = net.forward(obs[rows])
            mean = passed.out[0, :, : agent.actions].tanh()
            by_mean = (mean - action[rows]) * (1 - mean * mean) * (2 / _BATCH)
            net.backward(passed, torch.cat((by_mean, torch.zeros_like(by_mean)), 1)[None])
            adam.step(_RATE * 0.5 * (1 + math.cos(math.pi * i / steps)))
    agent.restore({k: v.clone() for k, v in copy.state_dict().items()})


def _linear(agent: Agent) -> tuple[nn.Linear, ...]:
    trunk, head = agent.trunk, agent.head
    assert isinstance(trunk, MLPTrunk)
    assert isinstance(head, GaussianHead)
    return (*trunk.linear, head.out)


def _net(agent: Agent) -> Perceptrons:
    """What computes mean and raw spread, [1, N, 2 A], with the agent's weights where they lie."""
    assert isinstance(agent.trunk, MLPTrunk)
    return Perceptrons([(m.weight, m.bias) for m in _linear(agent)], agent.trunk.config.activation)


@torch.no_grad()
def _modes(agent: Agent, obs: Tensor) -> Tensor:
    """[N, A], tanh μ(s)."""
    return _net(agent).forward(obs).out[0, :, : agent.actions].tanh()


class Coherent:
    """π_0(a|s) = (1 - c(s)) p_0 + c(s) N(a; m(s), σ²), and what it pays: log π_0(a|s) - log p_0, in `unit`s.

    p_0 is uniform on (-1, 1)^A. m is the clone's mode; the normal distribution is cut at the bounds. c, how
    well a state is known, is (1 - doubt) exp(-d(s)² / 2ℓ²), with d the distance to the nearest demonstrated
    state. σ and ℓ are measured on blocks of demonstrated steps that a first clone did not learn from: the
    root mean square of its errors, and the distance within which 9 of 10 such states lie.

    Nothing is paid where nothing is known, a demonstrated step is paid 1 in the mean, and a wrong action in a
    known state pays a penalty, log doubt at the most.

    Args:
        agent: a tanh-Gaussian one with fresh weights. It becomes the clone, in place, with spread σ.
        rows: demonstrations in its units.
        prior: how.
        seed: of the order of the rows and of which states are anchors.

    Raises:
        ValueError: when there are too few rows, or the clone knows no more of held-out actions than chance.
    """

    def __init__(self, agent: Agent, rows: Transitions, prior: Prior, seed: int) -> None:
        draws, n = stream(seed, 8), len(rows.reward)
        if n < 2 * _BLOCKS:
            raise ValueError(f"there are {n} demonstrated steps; a clone with doubts takes {2 * _BLOCKS}")
        held = torch.arange(n) * _BLOCKS // n % 5 == 2
        first = deepcopy(agent)
        clone(first, rows.obs[~held], rows.action[~held], prior.steps, draws)
        error = _modes(first, rows.obs[held]) - rows.action[held]
        self.spread = error.square().mean(0).sqrt().clamp(prior.floor, 1.0)
        clone(agent, rows.obs, rows.action, prior.steps, draws)
        self._spread_out(agent)
        self._clone = deepcopy(agent)
        some = torch.randperm(n, generator=draws)
        known = rows.obs[some[~held[some]][:_ANCHORS]]
        far = torch.cdist(rows.obs[held], known).amin(1).quantile(_FAR)
        self.length = prior.reach * max(float(far), 1e-6)
        self.anchors = rows.obs[some[:_ANCHORS]].clone()
        self._doubt, self.unit = prior.doubt, 1.0
        mean = float(self.reward(rows.obs, rows.action).mean())
        if not mean > 0:
            raise ValueError(
                "the clone's density of the demonstrated actions is no higher than that of uniform ones "
                f"(log ratio {mean:.3g}); more demonstrations or more steps of cloning are needed"
            )
        self.unit = 1 / mean

    def _spread_out(self, agent: Agent) -> None:
        """The spread before the tanh is σ in every state."""
        head, n = agent.head, agent.actions
        assert isinstance(head, GaussianHead)
        with torch.no_grad():
            head.out.weight[n:] = 0
            low, high = head.config.log_std
            for i, s in enumerate(self.spread.log().clamp(low + 1e-3, high - 1e-3).tolist()):
                head.out.bias[n + i] = head.log_std.inverse(s)

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the most that a step can be paid."""
        z = torch.erf(2 / (self.spread * math.sqrt(2))) / 2  # the mode at a bound: half of the density is cut
        return self.unit * math.log(self._doubt), self.unit * float(
            (2 * _NORMAL / self.spread / z).log().sum()
        )

    def known(self, obs: Tensor) -> Tensor:
        """c [N] in [0, 1 - doubt], how well states [N, O] are known."""
        far = torch.cdist(obs, self.anchors).amin(1) / self.length
        return (1 - self._doubt) * torch.exp(-0.5 * far * far)

    def reward(self, obs: Tensor, action: Tensor) -> Tensor:
        """What steps pay, [N], for observations [N, O] and actions [N, A]."""
        return self.pays(obs, action)[0]

    @torch.no_grad()
    def pays(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """What steps pay, [N], and how well their states are known, [N]."""
        mode, s = _modes(self._clone, obs), self.spread
        z = (action - mode) / s
        root = s * math.sqrt(2)
        inside = (torch.erf((1 - mode) / root) + torch.erf((1 + mode) / root)) / 2
        ratio = (math.log(2 * _NORMAL) - s.log() - 0.5 * z * z - inside.log()).sum(1)
        known = self.known(obs)
        c = known.clamp(min=1e-30)
        return self.unit * torch.logaddexp(torch.log1p(-c), c.log() + ratio), known

    def state_dict(self) -> dict[str, Any]:
        """All that it pays by: a tree for `serial.write_tree`."""
        return {
            "clone": self._clone.state_dict(),
            "spread": self.spread,
            "anchors": self.anchors,
            "numbers": [self.length, self._doubt, self.unit],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over an equal one's.

        Raises:
            ValueError: when the state is of another shape.
        """
        if state.keys() != (mine := self.state_dict()).keys():
            raise ValueError(f"the state has {sorted(state)}; it must have {sorted(mine)}")
        for name in ("spread", "anchors"):
            if getattr(state[name], "shape", None) != mine[name].shape:
                raise ValueError(f"{name} of the state is not of shape {list(mine[name].shape)}")
        self._clone.restore(state["clone"])
        self.spread, self.anchors = state["spread"].clone(), state["anchors"].clone()
        self.length, self._doubt, self.unit = (float(x) for x in state["numbers"])
