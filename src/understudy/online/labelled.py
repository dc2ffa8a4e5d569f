"""Learning from batches that are half demonstrations, half own steps, with a label to say which is which.

The label lies where a reward would: 1 on a demonstrated row, 0 on an own one. What is made of it is the
lesson's business (`learn.lessons`): SQIL takes it for a reward, IQ-Learn and LS-IQ for a side.

Shapes: M critics, B batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from understudy.agent import Agent
from understudy.envs.door import DoorEnv
from understudy.learn.lessons import Facts, Lesson
from understudy.learn.replay import Transitions
from understudy.learn.sac import SAC, stream
from understudy.online.base import Setting
from understudy.online.demonstrated import Demonstrated, beside
from understudy.online.practice import Practice
from understudy.online.start import transitions
from understudy.serial import check_kept

__all__ = ["Labelled", "built", "shares", "told_sides"]

_STREAM = 7  # of the seed, for what is drawn


class Labelled:
    """A practice whose updates are on labelled halves; the caller owns time.

    A `step` is one step of the environment and the updates behind it. The first is preceded by
    `pretraining` updates on demonstrations and the random start, so that the policy's first steps already
    follow the demonstrations.

    Args:
        make_env: makes the environment.
        demos: demonstrations in the agent's units.
        sac: the policy and its critics; its lesson reads the labels.
        seed: of the episodes and of what is drawn.
        start: transitions to begin the replay with, such as uniformly random ones (`uniform`).
        batch: rows of each update, half of either kind.
        updates: after each step of the environment, or each n-th one.
        every: n, for `updates`.
        pretraining: updates before the first step.

    Raises:
        ValueError: when a number is out of its range.
    """

    def __init__(
        self,
        make_env: Callable[[], DoorEnv],
        demos: Demonstrated,
        sac: SAC,
        *,
        seed: int,
        start: Transitions,
        batch: int = 256,
        updates: int = 1,
        every: int = 1,
        pretraining: int = 1000,
    ) -> None:
        if batch < 2 or batch % 2:
            raise ValueError(
                f"batch is {batch}; half of it are demonstrations, so it must be even and positive"
            )
        if pretraining < 0:
            raise ValueError(f"pretraining is {pretraining}; it must be a number of updates")
        self.practice = Practice(
            make_env, sac, seed=seed, start=start, batch=batch, updates=updates, every=every,
            lesson=self.update,
        )  # fmt: skip
        self._demos, self._sac, self._half = demos, sac, batch // 2
        self._pretraining = pretraining
        self._draws = stream(seed, _STREAM)

    @property
    def agent(self) -> Agent:
        """The policy; it acts by its mode."""
        return self.practice.agent

    def step(self) -> dict[str, float]:
        """One step of the environment, and the updates that follow it.

        What is told is that of `Practice.step` and of `SAC.update`, with what the lesson tells.
        """
        if not self.practice.steps:
            for _ in range(self._pretraining):
                self.update()
        return self.practice.step()

    def update(self) -> dict[str, float]:
        """One update on a half of each kind, the demonstrations first."""
        half = torch.ones(self._half)
        experts = self._demos.draw(self._half, self._draws)._replace(reward=half)
        lived = self.practice.replay.sample(self._half, self._draws)._replace(reward=half - 1)
        return self._sac.update(beside(experts, lived))

    def close(self) -> None:
        """Frees what the environment holds."""
        self.practice.close()

    def state_dict(self) -> dict[str, Any]:
        """All that a later run needs to continue to the same bits: a tree for `serial.write_tree`."""
        return {
            **self._settings(),
            "practice": self.practice.state_dict(),
            "draws": self._draws.get_state(),
        }

    def _settings(self) -> dict[str, Any]:
        return {"demonstrations": self._demos.fingerprint(), "pretraining": self._pretraining}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there to the same bits as if there had been no interruption.

        Raises:
            ValueError: when the state belongs to other settings, demonstrations or environments.
        """
        check_kept(state, self._settings(), ("practice", "draws"))
        self.practice.load_state_dict(state["practice"])
        self._draws.set_state(state["draws"])


def built(name: str, setting: Setting, lesson: Lesson, keep_every: int, pretraining: int) -> Labelled:
    """The learner of a method that is a lesson, for a task and its demonstrations.

    Raises:
        ValueError: when there are no demonstrations, or a number is out of its range.
    """
    data, plan, seed = setting.demonstrations(name), setting.practising, setting.sac.seed
    agent, first = setting.actor()
    demos = Demonstrated(agent, data, keep_every=keep_every, seed=seed)
    return Labelled(
        setting.task.make, demos, SAC(agent, setting.sac, lesson),
        seed=seed, start=transitions(agent, first), batch=plan.batch, updates=plan.updates,
        every=plan.every, pretraining=pretraining,
    )  # fmt: skip


def shares(facts: Facts) -> tuple[Tensor, Tensor]:
    """[B] each, weights that turn a sum over rows into the mean over demonstrated, and over own ones."""
    expert = facts.reward
    return expert / expert.sum(), (1 - expert) / (1 - expert).sum()


def told_sides(facts: Facts, discount: float) -> dict[str, float]:
    """reward_expert and reward_policy, the mean reward that the values imply on either side.

    It is Q(s, a) - γ V(s'), or (1 - γ) Q(s, a) where the task ended: what the absorbing state pays for ever.
    """
    rate = torch.where(facts.scale == 0, 1 - discount, 1.0)
    implied = (rate * facts.implied).mean(0)
    expert, own = shares(facts)
    return {
        "reward_expert": float(torch.dot(implied, expert)),
        "reward_policy": float(torch.dot(implied, own)),
    }
