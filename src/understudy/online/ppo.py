"""Reinforcement learning by proximal policy optimisation, on the task's reward or a learned one.

A learned reward is named by --reward RUN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from understudy.agent import Agent
from understudy.learn.on_policy import OnPolicy
from understudy.learn.ppo import PPO
from understudy.learn.ppo import Config as LearnerConfig
from understudy.online.base import Collecting, Setting
from understudy.online.collect import Collect, paying

__all__ = ["LEARNER", "PLAN", "STEPS", "Config", "build", "with_learner"]

EXAMPLE = "--task pendulum"
# For tasks whose rewards follow soon. Where they take hundreds of steps to come, 0.99 looks that far.
LEARNER = LearnerConfig(discount=0.95, minibatch=512, learning_rate=1e-3)
PLAN = Collecting()
STEPS = 100_000  # of all environments together


@dataclass(frozen=True)
class Config:
    """No settings of its own: how it learns is `learn.ppo.Config`, how it lives `Collecting`."""


def build(setting: Setting, config: Config) -> Collect:
    """The learner in its environments."""
    return with_learner(setting, PPO)


def with_learner(setting: Setting, kind: Callable[[Agent, Any], OnPolicy]) -> Collect:
    """A learner of that kind, with the setting's settings, in its environments."""
    agent, _ = setting.actor()
    return Collect(
        setting.task.make,
        kind(agent, setting.learner),
        setting.collecting,
        seed=setting.learner.seed,
        reward=paying(setting.given, setting.learner.discount),
    )
