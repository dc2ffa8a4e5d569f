"""Advantage-weighted actor-critic (Nair et al. 2020): what did better than usual becomes more likely.

The critics learn Q of the present policy from transitions that anybody has made; the policy then moves by
maximum likelihood to the actions in the data, each weighted by exp(A/λ). It never leaves what it has seen
tried, so it learns from demonstrations alone without being led astray by values that nobody has checked, and
from its own experience afterwards in the same way.

Shapes: B batch, N rows, O width of the flat normalised observation, A of the action.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from understudy.agent import Agent
from understudy.heads.gaussian import GaussianHead
from understudy.learn.critics import Critic, Critics, Points
from understudy.learn.lessons import SoftBellman
from understudy.learn.optim import Adam, flatten
from understudy.learn.perceptrons import Perceptrons
from understudy.learn.replay import Transitions
from understudy.learn.sac import stream
from understudy.nets import MLPTrunk

__all__ = ["AWAC", "Config", "Likelihood"]

_EVALUATION = SoftBellman()  # without the entropy, which nothing here pays for


@dataclass(frozen=True)
class Config:
    """How it learns.

    Args:
        discount: γ in [0, 1).
        advantage_scale: λ > 0, in units of reward: how much better an action must be to count e times as
            much. Large, it is behaviour cloning of all that was lived; small, it trusts the critics.
        advantage_cap: the largest weight, in multiples of the batch's mean weight.
        critic: "plain", "layernorm" or "crossq"; see `critics.Critics`.
        hidden: widths of the critics' layers and of the policy's.
        learning_rate: Adam's, of critics and policy.
        polyak: by which share the critics' slow copies follow in each update.
        log_std_floor: of the policy's log standard deviation, in normalised units.
        seed: of the first weights and of all noise.
    """

    discount: float = 0.99
    advantage_scale: float = 1.0
    advantage_cap: float = 20.0
    critic: Critic = "layernorm"
    hidden: tuple[int, ...] = (256, 256)
    learning_rate: float = 3e-4
    polyak: float = 0.005
    log_std_floor: float = -2.0
    seed: int = 0

    def __post_init__(self) -> None:
        rules = {
            "discount": 0 <= self.discount < 1,
            "advantage_scale": 0 < self.advantage_scale < math.inf,
            "advantage_cap": 1 <= self.advantage_cap < math.inf,
            "critic": self.critic in ("plain", "layernorm", "crossq"),
            "hidden": 1 <= len(self.hidden) <= 100 and all(1 <= w <= 1 << 20 for w in self.hidden),
            "learning_rate": 0 < self.learning_rate < math.inf,
            "polyak": 0 < self.polyak <= 1,
            "log_std_floor": -20 <= self.log_std_floor < 0,
            "seed": self.seed >= 0,
        }
        if broken := [name for name, kept in rules.items() if not kept]:
            raise ValueError(f"{broken[0]} is {getattr(self, broken[0])!r}, which is out of its range")


class Likelihood:
    """A Gaussian policy of global spread, moved by weighted maximum likelihood; gradients written out.

    Args:
        agent: with an MLP trunk without dropout, a Gaussian head with `std="global"` and no squashing, one
            step of history and of horizon. It takes a buffer of this object's as the home of its weights.

    Raises:
        ValueError: when the agent is not that.
    """

    def __init__(self, agent: Agent) -> None:
        trunk, head = agent.trunk, agent.head
        if not isinstance(trunk, MLPTrunk) or trunk.dropout:
            raise ValueError(f"the trunk is {agent.trunk_config}; it must be an MLP without dropout")
        if not isinstance(head, GaussianHead) or head.raw is None or head.bounded:
            raise ValueError(f"the head is {agent.head_config}; it must be Gaussian(std='global')")
        if (agent.history, agent.horizon) != (1, 1):
            raise ValueError(
                f"the agent has history {agent.history} and horizon {agent.horizon}; it must have 1 and 1"
            )
        linear = (*trunk.linear, head.out)
        self.obs, self.action = linear[0].in_features, agent.actions
        self._agent, self._raw, self._spread = agent, head.raw, head.log_std
        parameters = [p for m in linear for p in m.parameters()]
        self._flat, grad, matrices = flatten([*parameters, head.raw])
        self._first = next(p for p in agent.parameters() if p.data_ptr() == self._flat.data_ptr())
        self._adam = Adam(self._flat, grad, matrices, 0.0)
        self._net = Perceptrons([(m.weight, m.bias) for m in linear], trunk.config.activation)

    @property
    def spread(self) -> float:
        """The mean of σ over action dimensions."""
        return float(self._spread(self._raw.detach()).exp().mean())

    def draw(self, obs: Tensor, noise: Tensor) -> Tensor:
        """Observations [N, O] and noise ε [N, A] to actions μ + σ ε, clipped to [-1, 1] as the task does."""
        mean = self._net.forward(obs).out[0]
        return torch.addcmul(mean, self._spread(self._raw.detach()).exp(), noise).clamp_(-1, 1)

    def imitate(self, obs: Tensor, action: Tensor, weight: Tensor, rate: float) -> float:
        """One Adam step on -mean w log π(a|s); returns the loss.

        With z = (a - μ)/σ the gradient of a row is -w z/σ by μ and w (1 - z²) by log σ.

        Args:
            obs: [N, O]. action: [N, A]. weight: [N]. rate: the learning rate.

        Raises:
            RuntimeError: when the agent's weights have moved, as a second learner moves them.
        """
        if self._first.data_ptr() != self._flat.data_ptr():
            raise RuntimeError("the agent's weights have moved to other memory; make a new learner for it")
        passed, raw = self._net.forward(obs), self._raw.detach()
        log_std = self._spread(raw)
        z = (action - passed.out[0]) / log_std.exp()
        share = (weight / len(weight))[:, None]
        self._net.backward(passed, (-share * z / log_std.exp())[None])
        assert self._raw.grad is not None
        slope = self._spread.half * (1 - raw.tanh().square())
        self._raw.grad.copy_((share * (1 - z.square())).sum(0) * slope)
        loss = (share * (0.5 * z.square() + log_std + 0.5 * math.log(2 * math.pi))).sum()
        self._adam.step(rate)
        return float(loss)

    def state_dict(self) -> dict[str, Any]:
        """The agent's tensors and the optimiser's moments."""
        return {"agent": self._agent.state_dict(), "adam": self._adam.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there."""
        self._agent.restore(state["agent"])
        self._adam.load_state_dict(state["adam"])


class AWAC:
    """Trains `agent` in place, from transitions that the caller gives it.

    Twin critics learn y = r + γ (1 - terminated) min_m Q_m(s', a'), a' ~ π(.|s'): an end by time limit is not
    a termination. The policy's step is equation 13 of the paper, with A = min_m Q_m(s, a) - min_m Q_m(s, b),
    b ~ π(.|s), and weights exp(A/λ) that are divided by their mean over the batch, as the authors' own
    code does, and capped: they span so many orders of magnitude that a step could be the best row's alone.

    Args:
        agent: as `Likelihood` wants it.

    Raises:
        ValueError: when the agent is not that.
    """

    def __init__(self, agent: Agent, config: Config = Config()) -> None:
        self.config, self._agent = config, agent
        self._policy = Likelihood(agent)
        self.obs, self.action = self._policy.obs, self._policy.action
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(config.seed, 0).initial_seed())
            self._critics = Critics(self.obs, self.action, config.hidden, config.critic)
        self._noise = stream(config.seed, 1)
        self._updates = 0

    @property
    def agent(self) -> Agent:
        """The agent to evaluate and to save: it acts by its mode, the mean."""
        return self._agent

    @torch.no_grad()
    def explore(self, obs: Tensor) -> Tensor:
        """Normalised observations [O] or [N, O] to actions drawn from the policy, [A] or [N, A]."""
        rows = obs if obs.ndim == 2 else obs[None]
        noise = torch.randn(len(rows), self.action, generator=self._noise)
        action = self._policy.draw(rows, noise)
        return action if obs.ndim == 2 else action[0]

    @torch.no_grad()
    def values(self, obs: Tensor, action: Tensor) -> Tensor:
        """Q(s, a) of both critics, [2, B], for normalised observations [B, O] and actions [B, A]."""
        return self._critics.values(torch.cat((obs, action), 1))

    @torch.no_grad()
    def weights(self, batch: Transitions) -> Tensor:
        """exp(A/λ) of each row over the batch's mean of it, capped, [B]."""
        n, config = len(batch.reward), self.config
        own = self._policy.draw(batch.obs, torch.randn(n, self.action, generator=self._noise))
        rows = torch.cat((torch.cat((batch.obs, batch.action), 1), torch.cat((batch.obs, own), 1)))
        value = self._critics.values(rows).amin(0)
        share = torch.softmax((value[:n] - value[n:]) / config.advantage_scale, 0)
        return (n * share).clamp_(max=config.advantage_cap)

    @torch.no_grad()
    def update(self, batch: Transitions) -> dict[str, float]:
        """One gradient step of the critics and one of the policy.

        Returns:
            critic_loss, q (the mean value of the batch's actions), actor_loss, weight_effective (the share
            of the batch that the weights leave: (Σw)²/(B Σw²)), and spread (the policy's mean σ).
        """
        config, n = self.config, len(batch.reward)
        following = self._policy.draw(batch.next_obs, torch.randn(n, self.action, generator=self._noise))
        points = Points(
            rows=torch.cat((batch.obs, batch.action), 1),
            following=torch.cat((batch.next_obs, following), 1),
            following_bonus=torch.zeros(n),
            here=None, here_bonus=None,
            reward=batch.reward, scale=config.discount * (1 - batch.terminated),
        )  # fmt: skip
        found = self._critics.fit(points, _EVALUATION, config.learning_rate, self._noise)
        weight = self.weights(batch)
        loss = self._policy.imitate(batch.obs, batch.action, weight, config.learning_rate)
        self._critics.follow(config.polyak)
        self._updates += 1
        effective = float(weight.sum().square() / (n * weight.square().sum()))
        told = {"critic_loss": found.loss, "q": found.value, "actor_loss": loss}
        return told | {"weight_effective": effective, "spread": self._policy.spread}

    def state_dict(self) -> dict[str, Any]:
        """All that continues to the same bits: a tree for `serial.write_tree`."""
        return {
            "updates": self._updates,
            "config": asdict(self.config) | {"hidden": list(self.config.hidden)},
            "policy": self._policy.state_dict(),
            "critics": self._critics.state_dict(),
            "noise": self._noise.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there to the same bits as if there had been no interruption.

        Raises:
            ValueError: when the state belongs to other settings or another agent.
        """
        mine = self.state_dict()
        if state.keys() != mine.keys():
            raise ValueError(f"an AWAC's state has {sorted(mine)}, not {sorted(state)}")
        if state["config"] != mine["config"]:
            raise ValueError(f"the state was saved with {state['config']}, this learner has {mine['config']}")
        self._policy.load_state_dict(state["policy"])
        self._critics.load_state_dict(state["critics"])
        self._noise.set_state(state["noise"])
        self._updates = int(state["updates"])
