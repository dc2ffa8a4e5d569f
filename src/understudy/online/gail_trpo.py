"""Generative adversarial imitation (GAIL) with trust region steps, as its paper has it.

All but the policy's step is `online.gail`.
"""

from __future__ import annotations

from understudy.learn import trpo
from understudy.online import gail
from understudy.online.adversarial import Adversarial
from understudy.online.base import Collecting, Setting
from understudy.online.cloned import NETWORK
from understudy.online.gail import READING, STEPS, Config

__all__ = ["LEARNER", "NETWORK", "PLAN", "READING", "STEPS", "Config", "build"]

EXAMPLE = "--task pendulum --data demos"
LEARNER = trpo.Config(discount=0.95, kl_limit=0.02)
PLAN = Collecting()


def build(setting: Setting, config: Config) -> Adversarial:
    """The learner for a task and its demonstrations.

    Raises:
        ValueError: when there are no demonstrations.
    """
    return gail.with_learner(setting, config, "gail-trpo", trpo.TRPO)
