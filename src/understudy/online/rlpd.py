"""RLPD (Ball et al. 2023): soft actor-critic whose batches are half demonstrations, half its own experience.

Nothing is pretrained and nothing is imitated: the demonstrations are transitions that were paid by the task,
and half of each batch keeps them in sight however much is lived. Layer-normed critics keep values from
running away where the demonstrations are silent; ten of them, of which the least of two random ones makes a
target, bear many updates on few data.

Deviations: `updates` is 4 where the paper has 20, for a processor's sake (`--updates 20 --actor-every 20` is
theirs); the actor learns once in that many updates, as there. The replay begins with the uniformly random
steps, which are the policy's half until it has lived itself. The paper counts the entropy in the target or
not, task by task; `entropy_in_target` is off here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from understudy.agent import Agent
from understudy.envs.door import DoorEnv
from understudy.learn.replay import Replay, Transitions
from understudy.learn.sac import SAC, stream
from understudy.learn.sac import Config as LearnerConfig
from understudy.online.base import Practising, Setting
from understudy.online.demonstrated import beside
from understudy.online.paid import own_reward, paid_demonstrations
from understudy.online.practice import Practice
from understudy.online.start import transitions

__all__ = ["LEARNER", "PLAN", "RLPD", "STEPS", "Config", "build", "halves"]

EXAMPLE = "--task fetch-push --data demos"
LEARNER = LearnerConfig(
    discount=0.98, critics=10, target_critics=2, entropy_in_target=False, first_temperature=0.1, actor_every=4
)
PLAN = Practising(updates=4, every=1)
STEPS = 50_000  # of the environment


@dataclass(frozen=True)
class Config:
    """What is remembered; the rest is `learn.sac.Config`."""

    capacity: int = 1_000_000
    """Of the learner's own transitions in the replay; then the oldest leave. Demonstrations stay."""

    def __post_init__(self) -> None:
        if self.capacity < 1:
            raise ValueError(f"capacity is {self.capacity}; it must be at least 1")


def halves(demos: Replay, lived: Replay, rows: int, generator: torch.Generator) -> Transitions:
    """`rows` transitions: the first half drawn from the demonstrations, the second from what was lived.

    Raises:
        ValueError: when the rows have no half.
    """
    if rows < 2 or rows % 2:
        raise ValueError(f"batch is {rows}; half of it are demonstrations, so it must be even and positive")
    return beside(demos.sample(rows // 2, generator), lived.sample(rows // 2, generator))


class RLPD:
    """A practice whose updates are on `halves`; the caller owns time.

    Args:
        make_env: makes the environment.
        sac: the learner.
        demos: the demonstrations as the learner sees them.
        plan: how the environment is lived in; half of a batch is of each kind.
        seed: of the episodes and of what is drawn.
        start: transitions to begin the replay with.
        capacity: of the replay.

    Raises:
        ValueError: when the batch has no half.
    """

    def __init__(
        self,
        make_env: Callable[[], DoorEnv],
        sac: SAC,
        demos: Transitions,
        plan: Practising,
        *,
        seed: int,
        start: Transitions,
        capacity: int,
    ) -> None:
        self.practice = Practice(
            make_env, sac, seed=seed, start=start, capacity=capacity, batch=plan.batch,
            updates=plan.updates, every=plan.every, lesson=self.update,
        )  # fmt: skip
        self._sac, self._plan = sac, plan
        self.demos = Replay(len(demos.reward), sac.obs, sac.action)
        self.demos.add(*demos)
        self._draws = stream(seed, 3)
        halves(self.demos, self.demos, plan.batch, torch.Generator())  # one without a half is refused now

    @property
    def agent(self) -> Agent:
        """The agent to evaluate and to save."""
        return self.practice.agent

    def step(self) -> dict[str, float]:
        """One step of the environment, and the updates that follow it; what they told."""
        return self.practice.step()

    def update(self) -> dict[str, float]:
        """One update on a half of each kind."""
        return self._sac.update(halves(self.demos, self.practice.replay, self._plan.batch, self._draws))

    def close(self) -> None:
        """Frees what the environment holds."""
        self.practice.close()

    def state_dict(self) -> dict[str, Any]:
        """The practice and where the draws are: a tree for `serial.write_tree`."""
        return {
            "settings": self._settings(),
            "practice": self.practice.state_dict(),
            "draws": self._draws.get_state(),
        }

    def _settings(self) -> list[int]:
        return [self._plan.batch, self._plan.updates, self._plan.every, len(self.demos)]

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there to the same bits.

        Raises:
            ValueError: when the state belongs to other settings, demonstrations or environments.
        """
        if state["settings"] != (mine := self._settings()):
            raise ValueError(
                f"the state's batch, updates, every and demonstrations are {state['settings']}, this "
                f"has {mine}"
            )
        self.practice.load_state_dict(state["practice"])
        self._draws.set_state(state["draws"])


def build(setting: Setting, config: Config) -> RLPD:
    """The learner for a task and its demonstrations.

    Raises:
        ValueError: when a reward is given, there are no demonstrations, they have no rewards though the task
            has, or the batch is odd.
    """
    own_reward(setting, "rlpd")
    data, plan, seed = setting.demonstrations("rlpd"), setting.practising, setting.sac.seed
    agent, first = setting.actor()
    demos = paid_demonstrations(agent, data, first)
    return RLPD(
        setting.task.make, SAC(agent, setting.sac), demos, plan,
        seed=seed, start=transitions(agent, first), capacity=config.capacity,
    )  # fmt: skip
