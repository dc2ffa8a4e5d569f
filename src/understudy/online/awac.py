"""Advantage-weighted actor-critic (Nair et al. 2020): offline on the demonstrations' rewards, then by acting.

The first `offline` steps of the run are updates on the demonstrations alone; each step after them is one of
the environment, whose transitions join the demonstrations in the replay.

From the paper it departs in two things: the weights are capped (see `learn.awac`), and the critics may be
layer-normed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from understudy.agent import Agent
from understudy.learn.awac import AWAC
from understudy.learn.awac import Config as LearnerConfig
from understudy.online.base import Practising, Setting
from understudy.online.cloned import NETWORK, gaussian
from understudy.online.paid import own_reward, paid_demonstrations
from understudy.online.practice import Practice

__all__ = ["LEARNER", "NETWORK", "PLAN", "STEPS", "Config", "Offline", "build"]

EXAMPLE = "--task fetch-push --data demos"
LEARNER = LearnerConfig()
PLAN = Practising()
STEPS = 60_000  # the offline ones among them


@dataclass(frozen=True)
class Config:
    """What comes before acting; the rest is `learn.awac.Config`."""

    offline: int = 10_000
    """Updates on the demonstrations alone, each a step of the run."""
    capacity: int = 1_000_000
    """Transitions in the replay, the demonstrations among them; then the oldest leave."""

    def __post_init__(self) -> None:
        if self.offline < 0 or self.capacity < 1:
            raise ValueError(f"offline {self.offline} or capacity {self.capacity} is out of its range")


class Offline:
    """Updates on what a practice's replay begins with, then the practice itself.

    Args:
        practice: whose replay holds the demonstrations.
        steps: updates before the first step of the environment.
    """

    def __init__(self, practice: Practice, steps: int) -> None:
        self.practice, self._steps, self._done = practice, steps, 0

    @property
    def agent(self) -> Agent:
        """The agent to evaluate and to save."""
        return self.practice.agent

    def step(self) -> dict[str, float]:
        """An update, or a step of the environment with its updates; what it told."""
        if self._done == self._steps:
            return self.practice.step()
        self._done += 1
        return self.practice.update()

    def close(self) -> None:
        """Frees what the environment holds."""
        self.practice.close()

    def state_dict(self) -> dict[str, Any]:
        """The practice, and how far the offline part is: a tree for `serial.write_tree`."""
        return {"offline": [self._done, self._steps], "practice": self.practice.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there to the same bits.

        Raises:
            ValueError: when the state belongs to another learner, or the environment does not repeat itself.
        """
        done, steps = state["offline"]
        if steps != self._steps or not 0 <= done <= steps:
            raise ValueError(f"the state has {done} of {steps} offline steps, this has {self._steps} in all")
        self.practice.load_state_dict(state["practice"])
        self._done = int(done)


def build(setting: Setting, config: Config) -> Offline:
    """The learner for a task and its demonstrations.

    Raises:
        ValueError: when a reward is given, there are no demonstrations, or they have no rewards though the
            task has.
        TypeError: when the learner's settings are not AWAC's.
    """
    own_reward(setting, "awac")
    data, learner = setting.demonstrations("awac"), setting.learner
    if not isinstance(learner, LearnerConfig):
        raise TypeError(f"the setting has a {type(learner).__qualname__}; awac wants AWAC's Config")
    agent, first = gaussian(setting, learner.log_std_floor)
    plan = setting.practising
    practice = Practice(
        setting.task.make, AWAC(agent, learner), seed=learner.seed,
        start=paid_demonstrations(agent, data, first), capacity=config.capacity, batch=plan.batch,
        updates=plan.updates, every=plan.every,
    )  # fmt: skip
    return Offline(practice, config.offline)
