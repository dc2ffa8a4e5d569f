"""What on-policy learners have in common: a policy, values, and advantages from a rollout of that policy.

Shapes: T steps, N environments, B rows, O width of the flat normalised observation, A of the action.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import Field, fields
from typing import Any, ClassVar, NamedTuple, Protocol, final

import torch
from torch import Tensor

from understudy.agent import Agent
from understudy.episode import Array
from understudy.learn.gaussian_policy import GaussianPolicy
from understudy.learn.rollouts import Rollout, gae
from understudy.learn.sac import stream
from understudy.learn.values import Values

__all__ = ["Lesson", "OnPolicy", "Settings"]


class Settings(Protocol):
    """What every on-policy learner's Config says; each is a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def discount(self) -> float:
        """γ."""
        ...

    @property
    def trace(self) -> float:
        """λ of `gae`."""
        ...

    @property
    def epochs(self) -> int:
        """Passes over a rollout, the values' at least."""
        ...

    @property
    def minibatch(self) -> int:
        """Rows in one gradient step."""
        ...

    @property
    def value_rate(self) -> float:
        """Adam's learning rate of the values."""
        ...

    @property
    def gradient_norm(self) -> float:
        """The largest Euclidean norm of a gradient."""
        ...

    @property
    def hidden(self) -> tuple[int, ...]:
        """Widths of the value net's layers."""
        ...

    @property
    def seed(self) -> int:
        """Of the value net's first weights and of all that is drawn."""
        ...


class Lesson(NamedTuple):
    """Steps of the old policy, and what the new one's step needs of each; float32."""

    obs: Tensor  # [B, O]
    u: Array  # [B, A], the actions that were drawn, before any squashing
    edge: Array  # [B], see `GaussianPolicy.latent`
    log_prob: Array  # [B], of the policy that drew them
    advantage: Array  # [B], over the whole rollout of mean 0 and standard deviation 1


class OnPolicy(ABC):
    """Trains `agent` in place, from rollouts of its own; how the policy moves is the subclass's.

    The value net is another net than the policy's, so neither holds the other back. Densities are of
    normalised actions as they were drawn. Where an unsquashed action lies outside the task's bounds the
    environment gets the clipped one: to the learner, clipping is a part of the environment.

    Args:
        agent: see `GaussianPolicy`.
        config: the settings.

    Raises:
        ValueError: when the agent is another.
    """

    def __init__(self, agent: Agent, config: Settings) -> None:
        self._settings, self._agent, self._policy = config, agent, GaussianPolicy(agent)
        self.obs, self.action = self._policy.obs, self._policy.action
        first = stream(config.seed, 0).initial_seed()
        self._values = Values(self.obs, config.hidden, config.value_rate, config.gradient_norm, first)
        self._noise, self._draws = stream(config.seed, 1), stream(config.seed, 2)

    @abstractmethod
    def _improve(self, lesson: Lesson) -> dict[str, float]:
        """Moves the policy towards larger advantages; what there is to tell of it."""

    @abstractmethod
    def _own_state(self) -> dict[str, Any]:
        """What the subclass must remember beside all this."""

    @abstractmethod
    def _load_own_state(self, state: Mapping[str, Any]) -> None:
        """Continues from there."""

    @property
    @final
    def agent(self) -> Agent:
        """The agent to evaluate and to save: it acts by its mode."""
        return self._agent

    @property
    @final
    def discount(self) -> float:
        """γ."""
        return self._settings.discount

    @final
    @torch.no_grad()
    def explore(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised observations [N, O] to drawn actions [N, A], and their log density [N]."""
        return self._policy.draw(obs, torch.randn(len(obs), self.action, generator=self._noise))

    @final
    @torch.no_grad()
    def log_prob(self, obs: Tensor, action: Tensor) -> Tensor:
        """log π(a|s), [B], of normalised actions [B, A] after normalised observations [B, O]."""
        return torch.from_numpy(self._policy.log_prob(self._policy.normal(obs), action.numpy()))

    @final
    @torch.no_grad()
    def values(self, obs: Tensor) -> Tensor:
        """V(s), [N], in units of reward, for normalised observations [N, O]."""
        return self._values(obs)

    @final
    @torch.no_grad()
    def learn(self, rollout: Rollout) -> dict[str, float]:
        """One lesson from steps that this policy has just taken: the policy's, then the values'.

        Returns:
            entropy: of the policy on the rollout, in nats, estimated by its own actions. What `_improve`
            tells, and what `learn_values` does.
        """
        self._policy.check_home()
        advantage, returns = self._estimate(rollout)
        rows = rollout.flat()
        spread = (advantage - advantage.mean()) / (advantage.std(correction=0) + 1e-8)
        latent = self._policy.latent(rows.action.numpy())
        old = rollout.log_prob.flatten().numpy()
        told = self._improve(Lesson(rows.obs, *latent, old, spread.flatten().numpy()))
        told["entropy"] = -float(old.mean())
        return told | self._learn_values(rows.obs, advantage, returns)

    @final
    @torch.no_grad()
    def learn_values(self, rollout: Rollout) -> dict[str, float]:
        """A lesson for the values alone; the policy stays as it is. So a critic can be warmed up.

        Returns:
            value_loss: the mean squared error, halved, in units of the returns' spread. explained: 1 - the
            variance of the error that V made before the lesson, over that of the returns (0 where all
            returns are equal).
        """
        return self._learn_values(rollout.flat().obs, *self._estimate(rollout))

    def _estimate(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """Advantages and returns, each [T, N]."""
        shape, c = rollout.reward.shape, self._settings
        value, following = (
            self._values(x.flatten(0, 1)).view(shape) for x in (rollout.obs, rollout.next_obs)
        )
        ends = (rollout.terminated, rollout.over)
        return gae(rollout.reward, value, following, *ends, c.discount, c.trace)

    def _learn_values(self, obs: Tensor, advantage: Tensor, returns: Tensor) -> dict[str, float]:
        c, varying = self._settings, float(returns.var(correction=0))
        explained = 1 - float(advantage.var(correction=0)) / varying if varying > 0 else 0.0
        loss = self._values.fit(obs, returns.flatten(), c.epochs, c.minibatch, self._draws)
        return {"value_loss": loss, "explained": explained}

    @final
    def state_dict(self) -> dict[str, Any]:
        """All that continues to the same bits: a tree for `serial.write_tree`."""
        return {
            "config": self._config(),
            "agent": self._agent.state_dict(),
            "values": self._values.state_dict(),
            "noise": self._noise.get_state(),
            "draws": self._draws.get_state(),
            "own": self._own_state(),
        }

    @final
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there to the same bits as if there had been no interruption.

        Raises:
            ValueError: when the state belongs to other settings or another agent.
        """
        names = {"config", "agent", "values", "noise", "draws", "own"}
        if state.keys() != names:
            raise ValueError(f"the state of an on-policy learner has {sorted(names)}, not {sorted(state)}")
        if state["config"] != (mine := self._config()):
            raise ValueError(f"the state was saved with {state['config']}, this learner has {mine}")
        self._agent.restore(state["agent"])
        self._values.load_state_dict(state["values"])
        self._noise.set_state(state["noise"])
        self._draws.set_state(state["draws"])
        self._load_own_state(state["own"])

    def _config(self) -> dict[str, Any]:
        return {f.name: getattr(self._settings, f.name) for f in fields(self._settings)} | {
            "hidden": list(self._settings.hidden)
        }
