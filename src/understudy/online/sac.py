"""Reinforcement learning by soft actor-critic, on the task's own reward or a learned one (--reward RUN)."""

from __future__ import annotations

from dataclasses import dataclass

from understudy.learn.sac import Config as LearnerConfig
from understudy.online.base import Setting
from understudy.online.maxent_irl import paid_by
from understudy.online.practice import Practice, Reward

__all__ = ["LEARNER", "Config", "build"]

EXAMPLE = "--task pendulum"
# Tasks' own rewards may sum to hundreds, to which the last layer behind a norm climbs only slowly.
LEARNER = LearnerConfig(critic="plain")


@dataclass(frozen=True)
class Config:
    """What is remembered; the rest is `learn.sac.Config`."""

    capacity: int = 1_000_000
    """Transitions in the replay; then the oldest leave."""
    reward_scale: float = 1.0
    """What rewards are multiplied by before they are learned from."""

    def __post_init__(self) -> None:
        if not 0 < self.reward_scale < float("inf"):
            raise ValueError(f"reward_scale is {self.reward_scale}; it must be a positive number")
        if self.capacity < 1:
            raise ValueError(f"capacity is {self.capacity}; it must be at least 1")


def build(setting: Setting, config: Config) -> Practice:
    """The learner in its environment."""
    learner, start = setting.soft()
    return Practice(
        setting.task.make,
        learner,
        seed=setting.learner.seed,
        start=start,
        capacity=config.capacity,
        batch=setting.practising.batch,
        updates=setting.practising.updates,
        every=setting.practising.every,
        reward=_pay(setting, config.reward_scale),
    )


def _pay(setting: Setting, scale: float) -> Reward | None:
    """The given reward or the environment's, scaled; None where the latter counts as it is."""
    given = setting.given
    if given is None:
        return None if scale == 1 else lambda batch: batch.reward * scale
    paid = paid_by(given.requires_grad_(False), setting.sac.discount)
    return lambda batch: paid(batch) * scale
