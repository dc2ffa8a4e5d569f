"""Reinforcement learning by soft actor-critic, on the task's own reward or a learned one (--reward RUN)."""

from __future__ import annotations

from dataclasses import dataclass

from understudy.online.base import Setting
from understudy.online.maxent_irl import paid_by
from understudy.online.practice import Practice

__all__ = ["Config", "build"]

EXAMPLE = "--task pendulum"


@dataclass(frozen=True)
class Config:
    """What is remembered; the rest is `learn.sac.Config`."""

    capacity: int = 1_000_000
    """Transitions in the replay; then the oldest leave."""

    def __post_init__(self) -> None:
        if self.capacity < 1:
            raise ValueError(f"capacity is {self.capacity}; it must be at least 1")


def build(setting: Setting, config: Config) -> Practice:
    """The learner in its environment."""
    learner, start = setting.soft()
    given = setting.given
    return Practice(
        setting.task.make,
        learner,
        seed=setting.learner.seed,
        start=start,
        capacity=config.capacity,
        batch=setting.practising.batch,
        updates=setting.practising.updates,
        every=setting.practising.every,
        reward=None if given is None else paid_by(given.requires_grad_(False), setting.learner.discount),
    )
