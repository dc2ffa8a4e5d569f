"""Reinforcement learning by trust region policy optimisation, on the task's reward or a learned one.

A learned reward is named by --reward RUN.
"""

from __future__ import annotations

from dataclasses import dataclass

from understudy.learn.trpo import TRPO
from understudy.learn.trpo import Config as LearnerConfig
from understudy.online.base import Collecting, Setting
from understudy.online.collect import Collect
from understudy.online.ppo import with_learner

__all__ = ["LEARNER", "PLAN", "STEPS", "Config", "build"]

EXAMPLE = "--task pendulum"
# For tasks whose rewards follow soon. Where they take hundreds of steps to come, 0.99 looks that far.
LEARNER = LearnerConfig(discount=0.95, minibatch=512, kl_limit=0.02)
PLAN = Collecting()
STEPS = 100_000  # of all environments together


@dataclass(frozen=True)
class Config:
    """No settings of its own: how it learns is `learn.trpo.Config`, how it lives `Collecting`."""


def build(setting: Setting, config: Config) -> Collect:
    """The learner in its environments."""
    return with_learner(setting, TRPO)
