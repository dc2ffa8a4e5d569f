"""Adversarial inverse RL's discriminator (Fu et al. 2018): a reward, a potential, and the policy's density.

    f(s, a, s') = g(s[, a]) + γ h(s') - h(s)        (their equation 4)
    D = exp f / (exp f + π(a|s)),   logit D = f - log π(a|s)

A discriminator that knows π has no need to learn it: what is left for f is log π* at its best, the expert's
advantage, and the potential h takes up what no behaviour can tell of a reward (Ng et al. 1999). So g may read
states alone and still fit, and then means something in another world.

**The end of the task.** Behind a termination lies an absorbing state: h is 0 there and f is g's `absorbing`.
There is one thing to do in it, so that log π is 0. One termination stands for γ/(1 - γ) visits of it, as in
`discriminator.Discriminator`. A time limit is no end.

Shapes: B rows, I inputs of a network, O width of the flat normalised observation, A of the action.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, final

import torch
from torch import Tensor
from torch.nn import functional as F

from understudy.agent import Agent
from understudy.heads.gaussian import GaussianHead
from understudy.learn.optim import Adam, flatten
from understudy.learn.penalties import PenaltyKind, Rectified, between, steepness
from understudy.learn.replay import Transitions
from understudy.learn.sac import stream
from understudy.nets import MLPTrunk
from understudy.rewards import RewardConfig, RewardNet

__all__ = ["Config", "Shaped", "executed_log_prob"]

_FORGETS = 0.01  # of the running shares of terminations


@dataclass(frozen=True)
class Config:
    """How f learns."""

    f_rate: float = 1e-3
    """Adam's learning rate, of g and h."""
    f_penalty: float = 0.01
    """λ of λ E|∂g/∂x|² and λ E|∂h/∂x|², on random points between experts and policy: how steep they may be.
    An expert who is nearly certain has a density without bound, and f would follow it; 0 lets it."""
    potential_hidden: tuple[int, ...] = (64, 64)
    """Widths of h's layers."""

    def __post_init__(self) -> None:
        rules = {
            "f_rate": 0 < self.f_rate < math.inf,
            "f_penalty": 0 <= self.f_penalty < math.inf,
        }
        if broken := [name for name, kept in rules.items() if not kept]:
            raise ValueError(f"{broken[0]} is {getattr(self, broken[0])!r}, which is out of its range")


class _Forward(NamedTuple):
    """A network's outputs, and the way back."""

    out: Tensor  # [B]
    back: Callable[[Tensor], float]  # ∂loss/∂out [B] into `.grad`, with the penalty; what that is before λ


@final
class Shaped:
    """Trains g in place, and h beside it, to tell experts from a policy whose density is known.

    Deviations from the paper: a penalty on the slopes, and the absorbing state.

    Args:
        reward: g, of states or of states and actions.
        config: how.
        discount: γ in [0, 1), of the shaping and of the learner that is paid.
        seed: of h's first weights and of the points between the sides.

    Raises:
        ValueError: when g reads where a step led, or is not paid as it is.
    """

    def __init__(self, reward: RewardNet, config: Config = Config(), *, discount: float, seed: int) -> None:
        if not 0 <= discount < 1:
            raise ValueError(f"discount is {discount}; it must lie in [0, 1)")
        if reward.reads_next:
            raise ValueError(
                f"reads is {reward.config.reads!r}; AIRL's g is of states or of states and actions, and "
                "h alone knows where a step led"
            )
        if reward.config.form != "logit":
            raise ValueError(f"form is {reward.config.form!r}; AIRL pays f - log π, which is 'logit'")
        self.config, self.reward, self.discount = config, reward, discount
        reading = RewardConfig(
            "state", reward_hidden=config.potential_hidden, reward_activation=reward.config.reward_activation
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(seed, 5).initial_seed())
            units = deepcopy(reward.obs_normalizers), deepcopy(reward.action_normalizer)
            self.potential = RewardNet(*units, reading)
        self._flat, self._grad, _ = flatten([*reward.parameters(), *self.potential.parameters()])
        self._adam = Adam(self._flat, self._grad, 0, 0.0)
        self._draws = stream(seed, 6)
        self._later, self._steps, self._ends = discount / (1 - discount), 0, [0.0, 0.0]

    @torch.no_grad()
    def f(self, steps: Transitions) -> Tensor:
        """[B], g + γ h' - h; a termination leads to where h is 0."""
        ahead = self.discount * (1 - steps.terminated) * self.potential.score(steps.next_obs)
        return self.reward.logit(steps) + ahead - self.potential.score(steps.obs)

    @torch.no_grad()
    def relabel(self, steps: Transitions) -> Transitions:
        """The same transitions, paid f; a termination also gets all later steps' γ/(1 - γ) `absorbing`."""
        return steps._replace(reward=self.f(steps) + self._later * self.reward.absorbing * steps.terminated)

    def step(
        self, expert: Transitions, policy: Transitions, *, expert_density: Tensor, policy_density: Tensor
    ) -> dict[str, float]:
        """One gradient step on the cross-entropy of logits f - log π.

        Args:
            expert, policy: rows in normalised units; not necessarily as many of both.
            expert_density, policy_density: [B], log π(a|s) of each, by the policy as it is now.

        Returns:
            As `Discriminator.step`.
        """
        rows, n = Transitions(*(torch.cat(x) for x in zip(expert, policy, strict=True))), len(expert.obs)
        inputs = self.reward.inputs(rows)
        g = self._forward(self.reward, inputs, between(inputs[:n], inputs[n:], self._draws))
        lines = between(expert.obs, policy.obs, self._draws)
        h = self._forward(self.potential, torch.cat((rows.obs, rows.next_obs)), lines)
        with torch.no_grad():
            here, there = h.out.chunk(2)
            ahead = self.discount * (1 - rows.terminated)
            f = g.out + ahead * there - here
            logit = f - torch.cat((expert_density, policy_density))
            label = torch.cat((torch.ones(n), torch.zeros(len(policy.obs))))
            weight, after = self._weights(expert, policy)
            told = _told(logit, n) | {"d_loss": float(torch.dot(weight, F.softplus(logit) - label * logit))}
            by_f = (logit.sigmoid() - label) * weight
        told["penalty"] = g.back(by_f) + h.back(torch.cat((-by_f, ahead * by_f)))
        with torch.no_grad():
            told["d_loss"] += self._learn_end(after, float(f.mean()))
            self._adam.step(self.config.f_rate)
        self._steps += 1
        return told

    def _forward(self, net: RewardNet, x: Tensor, lines: Tensor) -> _Forward:
        """Written out for ReLU layers, by automatic differentiation otherwise."""
        strength = self.config.f_penalty
        kind: PenaltyKind = "zero" if strength else "none"
        n = len(x)
        if Rectified.suits(net):
            fast = Rectified(net)
            with torch.no_grad():
                passed = fast.forward(torch.cat((x, lines)) if strength else x)
                slope = fast.slope(passed, n) if strength else x[:0]

            def back(by_out: Tensor) -> float:
                with torch.no_grad():
                    told, by_slope = steepness(slope, kind)
                    fast.backward(passed, by_out, by_slope * strength)
                return told

            return _Forward(passed.out[:n], back)
        score = net.score(x)

        def taped(by_out: Tensor) -> float:
            for p in net.parameters():
                assert p.grad is not None
                p.grad.zero_()
            loss = torch.dot(by_out, score)
            if not strength:
                loss.backward()  # type: ignore[no-untyped-call]
                return 0.0
            lines.requires_grad_(True)
            (slope,) = torch.autograd.grad(net.score(lines).sum(), lines, create_graph=True)
            penalty = slope.square().sum(1).mean()
            (loss + strength * penalty).backward()  # type: ignore[no-untyped-call]
            return float(penalty.detach())

        return _Forward(score.detach(), taped)

    def _weights(self, *sides: Transitions) -> tuple[Tensor, list[float]]:
        """Each row's weight, and that of each side's visits of the absorbing state in this batch."""
        weight, after = [], []
        for i, steps in enumerate(sides):
            n, ended = len(steps.obs), float(steps.terminated.mean())
            self._ends[i] += max(_FORGETS, 1 / (self._steps + 1)) * (ended - self._ends[i])
            # By the mean of many batches: by its own, a batch without a termination would count for more.
            total = 1 + self._later * self._ends[i]
            weight.append(torch.full((n,), 1 / (n * total)))
            after.append(self._later * ended / total)
        return torch.cat(weight), after

    def _learn_end(self, after: list[float], middle: float) -> float:
        """The absorbing state's part of the gradient; its part of the loss.

        It is no output of a network, so that the penalty on it is λ (g_end - middle)², as if it lay one unit
        away from all rows.
        """
        end, bound = self.reward.end, self.reward.config.bound
        assert end.grad is not None
        logit = self.reward.absorbing_logit
        weight = sum(1 - 1 / (1 + self._later * ended) for ended in self._ends) / 2
        d = torch.sigmoid(logit)
        by = after[0] * (d - 1) + after[1] * d + 2 * self.config.f_penalty * weight * (logit - middle)
        end.grad.copy_(by if bound is None else by * (1 - (logit / bound).square()))
        return float(after[0] * F.softplus(-logit) + after[1] * F.softplus(logit))

    def state_dict(self) -> dict[str, Any]:
        """All that continues to the same bits: a tree for `serial.write_tree`."""
        return {
            "config": asdict(self.config) | {"potential_hidden": list(self.config.potential_hidden)},
            "discount": self.discount,
            "reward": self.reward.state_dict(),
            "potential": self.potential.state_dict(),
            "adam": self._adam.state_dict(),
            "draws": self._draws.get_state(),
            "steps": self._steps,
            "ends": list(self._ends),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there to the same bits as if there had been no interruption.

        Raises:
            ValueError: when the state belongs to other settings or another reward.
        """
        mine = self.state_dict()
        if state.keys() != mine.keys():
            raise ValueError(f"the state of AIRL's networks has {sorted(mine)}, not {sorted(state)}")
        for name in ("config", "discount"):
            if state[name] != mine[name]:
                raise ValueError(f"the state was saved with {name} {state[name]}, this has {mine[name]}")
        self.reward.restore(state["reward"])
        self.potential.restore(state["potential"])
        self._adam.load_state_dict(state["adam"])
        self._draws.set_state(state["draws"])
        self._steps, self._ends = int(state["steps"]), [float(x) for x in state["ends"]]


def _told(logit: Tensor, experts: int) -> dict[str, float]:
    """What is told of logits whose first rows are the experts'."""
    his, its = logit[:experts], logit[experts:]
    right = (his > 0).float().mean(), (its < 0).float().mean()
    return {
        "d_expert": float(right[0]),
        "d_policy": float(right[1]),
        "d_gap": float(his.mean() - its.mean()),
    }


@torch.no_grad()
def executed_log_prob(agent: Agent, obs: Tensor, action: Tensor) -> Tensor:
    """log π(a|s), [B], of what was executed: a density inside the bounds, a probability at them.

    An environment gets actions clipped to their bounds, where experts with limited motors like to be. So what
    lies at a bound and beyond is one outcome, with all the probability that lies there, Φ((μ - b)/σ) at an
    upper bound b (Fujita and Maeda 2018 call this a clipped policy). Expert and policy then differ by what
    they do, and not by how it is written. A squashed density would have no limit at the bound.

    Args:
        agent: with an MLP trunk, a Gaussian head without `squash`, one step of history and of horizon.
        obs: [B, O], flat and normalised.
        action: [B, A], normalised: the bounds are -1 and 1.

    Raises:
        ValueError: when the agent is another.
    """
    trunk, head = agent.trunk, agent.head
    if not isinstance(trunk, MLPTrunk) or not isinstance(head, GaussianHead) or head.bounded:
        raise ValueError(f"the agent has {agent.head_config}; a clipped policy has a plain Gaussian head")
    x = obs
    for layer in trunk.linear:
        x = trunk.activation(F.linear(x, layer.weight, layer.bias))
    mean, log_std = (part[:, 0] for part in head.parts(x[:, None]))
    narrow = (-log_std).exp()
    density = -0.5 * (((action - mean) * narrow).square() + math.log(2 * math.pi)) - log_std
    beyond = torch.special.log_ndtr((action.sign() * mean - 1) * narrow)
    return torch.where(action.abs() >= 1, beyond, density).sum(1)
