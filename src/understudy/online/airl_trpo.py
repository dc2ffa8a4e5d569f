"""Adversarial inverse reinforcement learning (AIRL) with trust region steps, as its paper has it.

All but the policy's step is `online.airl`.
"""

from __future__ import annotations

from understudy.learn import trpo
from understudy.online import airl
from understudy.online.adversarial import Adversarial
from understudy.online.airl import READING, STEPS, Config
from understudy.online.base import Collecting, Setting
from understudy.online.cloned import NETWORK

__all__ = ["LEARNER", "NETWORK", "PLAN", "READING", "STEPS", "Config", "build"]

EXAMPLE = "--task pendulum --data demos"
LEARNER = trpo.Config(discount=0.95, kl_limit=0.02)
PLAN = Collecting()


def build(setting: Setting, config: Config) -> Adversarial:
    """The learner for a task and its demonstrations.

    Raises:
        ValueError: when there are no demonstrations, or g reads what it may not.
    """
    return airl.with_learner(setting, config, "airl-trpo", trpo.TRPO)
