"""Behaviour cloning, then PPO on the task's own reward: better than the demonstrator, without a fall between.

The first `cloning` steps of the run are gradient steps of behaviour cloning; each step after them is one of
the environment. The hand-over is PIRLNav's (Ramrakhya et al. 2023): for `critic_warmup` steps the cloned
policy acts and only the values learn from what it is paid, since the advantages of a critic that knows
nothing would undo in one lesson what was cloned; then the policy's learning rate rises to its own over `ramp`
steps. The policy's spread has a floor, so that a clone of near-certain demonstrations still tries something.

Deviations: PPO's minibatches instead of distributed rollouts; the values are a net of their own; where
`kl_penalty` is set, every step is paid less by β log π(a|s)/π_clone(a|s), which holds the policy near the
clone where the reward says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from understudy.agent import Agent
from understudy.dataset import Dataset
from understudy.learn.gaussian_policy import GaussianPolicy
from understudy.learn.ppo import PPO
from understudy.learn.ppo import Config as LearnerConfig
from understudy.learn.rollouts import Rollout
from understudy.online.base import Collecting, Setting
from understudy.online.cloned import NETWORK, Cloning, gaussian
from understudy.online.collect import Collect
from understudy.online.paid import own_reward

__all__ = ["LEARNER", "NETWORK", "PLAN", "STEPS", "CloneThenPPO", "Config", "build"]

EXAMPLE = "--task fetch-push --data demos"
LEARNER = LearnerConfig(discount=0.98, learning_rate=1e-4, target_kl=0.03, hidden=(256, 256))
PLAN = Collecting()
STEPS = 200_000  # the cloning ones among them


@dataclass(frozen=True)
class Config:
    """What comes before reinforcement, and how it takes over; PPO's settings are `learn.ppo.Config`."""

    cloning: int = 5000
    """Gradient steps of behaviour cloning, each a step of the run."""
    log_std_floor: float = -2.0
    """Of the policy's log standard deviation, in halves of the actions' range."""
    critic_warmup: int = 8192
    """Steps of the environment in which the values learn and the policy stays as it was cloned."""
    ramp: int = 16_384
    """Steps of the environment after them over which the policy's learning rate rises from 0 to its own."""
    kl_penalty: float = 0.0
    """β of β log π(a|s)/π_clone(a|s), in units of reward, that every step is paid less."""

    def __post_init__(self) -> None:
        rules = {
            "cloning": self.cloning >= 1,
            "log_std_floor": -20 <= self.log_std_floor < 0,
            "critic_warmup": self.critic_warmup >= 0,
            "ramp": self.ramp >= 0,
            "kl_penalty": 0 <= self.kl_penalty < float("inf"),
        }
        if broken := [name for name, kept in rules.items() if not kept]:
            raise ValueError(f"{broken[0]} is {getattr(self, broken[0])!r}, which is out of its range")

    def pace(self, lived: int) -> float:
        """The share of the policy's learning rate after so many steps of the environment."""
        since = lived - self.critic_warmup
        return float(since >= 0) if not self.ramp else min(max(since / self.ramp, 0.0), 1.0)


class CloneThenPPO:
    """Clones, then practises; the caller owns time.

    Args:
        setting: where, from what and how; the learner is PPO's settings.
        data: demonstrations.
        config: how one takes over from the other.
    """

    def __init__(self, setting: Setting, data: Dataset, config: Config) -> None:
        self.config, seed = config, setting.learner.seed
        agent, _ = gaussian(setting, config.log_std_floor)
        self._cloning = Cloning(agent, data, config.cloning, seed)
        self._cloned = 0  # steps
        self.ppo = PPO(agent, setting.learner)
        self._clone = deepcopy(agent)  # what was cloned, from the hand-over on
        self._clone_density = GaussianPolicy(self._clone)
        self.collect = Collect(
            setting.task.make, self.ppo, setting.collecting, seed=seed,
            reward=self._paid if config.kl_penalty else None,
        )  # fmt: skip

    @property
    def agent(self) -> Agent:
        """The agent to evaluate and to save: the clone, then what became of it."""
        return self.ppo.agent if self._cloned == self.config.cloning else self._cloning.learner.agent

    def step(self) -> dict[str, float]:
        """A gradient step of cloning, or a step of one environment and the lesson where it is due.

        Returns:
            loss of the cloning; then what `Collect.step` tells, and pace, the share of the learning rate.
        """
        if self._cloned < self.config.cloning:
            return self._imitate()
        # A lesson is of the rollout before it: it ends with the step that is taken now.
        self.ppo.pace = self.config.pace(self.collect.steps + 1)
        return self.collect.step() | {"pace": self.ppo.pace}

    def _imitate(self) -> dict[str, float]:
        told = {"loss": self._cloning.learner.step()["loss"]}
        self._cloned += 1
        if self._cloned == self.config.cloning:
            self._cloning.into(self.ppo.agent)
            self._cloning.into(self._clone)
        return told

    @torch.no_grad()
    def _paid(self, lived: Rollout) -> tuple[Tensor, Mapping[str, float]]:
        """The task's rewards, less what it costs to leave the clone."""
        rows, shape = lived.flat(), lived.reward.shape
        density = self._clone_density
        clone = density.log_prob(density.normal(rows.obs), rows.action.numpy())
        gap = lived.log_prob - torch.from_numpy(clone).view(shape)
        return lived.reward - self.config.kl_penalty * gap, {"kl_clone": float(gap.mean())}

    def close(self) -> None:
        """Frees what the environments hold."""
        self.collect.close()

    def state_dict(self) -> dict[str, Any]:
        """All that a later run needs to continue to the same bits: a tree for `serial.write_tree`."""
        cloning = self._cloned < self.config.cloning
        return {
            "config": asdict(self.config),
            "cloned": self._cloned,
            "cloning": self._cloning.learner.state_dict() if cloning else {},
            "clone": self._clone.state_dict(),
            "collect": self.collect.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there to the same bits as if there had been no interruption.

        Raises:
            ValueError: when the state belongs to other settings, demonstrations or environments.
        """
        if state["config"] != (mine := asdict(self.config)):
            raise ValueError(f"the state was saved with {state['config']}, this has {mine}")
        cloned = int(state["cloned"])
        if cloned < self.config.cloning:
            self._cloning.learner.load_state_dict(state["cloning"])
        self._clone.restore(state["clone"])
        self.collect.load_state_dict(state["collect"])
        self._cloned = cloned


def build(setting: Setting, config: Config) -> CloneThenPPO:
    """The learner for a task and its demonstrations.

    Raises:
        ValueError: when a reward is given, or there are no demonstrations.
        TypeError: when the learner's settings are not PPO's.
    """
    own_reward(setting, "bc-rl")
    if not isinstance(setting.learner, LearnerConfig):
        raise TypeError(f"the setting has a {type(setting.learner).__qualname__}; bc-rl wants PPO's Config")
    return CloneThenPPO(setting, setting.demonstrations("bc-rl"), config)
