"""Where a learner meets an environment: it acts, remembers and learns; `train` holds the clock.

Shapes: B batch, O width of the flat normalised observation (see `start`), A of the action.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from understudy.agent import Agent, Chunked
from understudy.envs.door import DoorEnv, says_success
from understudy.episode import Array
from understudy.evaluate import evaluate
from understudy.learn.replay import Replay, Transitions
from understudy.learn.sac import stream
from understudy.online.start import FIRST_SEED, RUN_SEEDS, Flat

__all__ = ["Finished", "OffPolicy", "Practice", "Reward", "shortfall"]

Reward: TypeAlias = Callable[[Transitions], Tensor]
"""Transitions to rewards [B], asked anew for every batch."""


class Finished(NamedTuple):
    """An episode of practice."""

    step: int  # environment steps of the practice when it ended
    total_reward: float  # the environment's own
    length: int
    success: bool | None


class OffPolicy(Protocol):
    """A learner that acts, and learns from transitions whoever made them: `SAC`, `AWAC`.

    `obs` is O and `action` A, the widths that it takes and gives.
    """

    obs: int
    action: int

    @property
    def agent(self) -> Agent:
        """The agent to evaluate and to save."""
        ...

    def explore(self, obs: Tensor) -> Tensor:
        """Observations [O] or [N, O] to drawn actions, [A] or [N, A]."""
        ...

    def update(self, batch: Transitions) -> dict[str, float]:
        """One lesson from a batch, and what there is to tell about it."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that continues to the same bits."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there."""
        ...


class Practice:
    """One environment, one learner and what they lived through; `train` drives it as it does any learner.

    Every episode has a seed of its own. On a resumption the running episode is played again from its seed
    with the actions that were taken: an environment that repeats itself leads to the same bits.

    Args:
        make_env: makes the environment.
        sac: the learner; it acts by draws from its policy.
        seed: of the episodes' seeds and of what is drawn from the replay.
        start: transitions that are in the replay from the beginning.
        capacity: of the replay.
        batch: B, of each update.
        updates: after each step of the environment, or each n-th one.
        every: n, for `updates`.
        reward: None for the environment's own, or what is asked for the rewards of every batch instead.
        lesson: None for updates on batches from the replay, or what an update is instead, and what it tells.

    Raises:
        ValueError: when a number is out of its range, or the learner does not fit the environment.
    """

    def __init__(
        self,
        make_env: Callable[[], DoorEnv],
        sac: OffPolicy,
        *,
        seed: int,
        start: Transitions | None = None,
        capacity: int = 1_000_000,
        batch: int = 256,
        updates: int = 1,
        every: int = 1,
        reward: Reward | None = None,
        lesson: Callable[[], dict[str, float]] | None = None,
    ) -> None:
        if batch < 1 or updates < 0 or every < 1 or seed < 0:
            raise ValueError(
                f"batch {batch}, updates {updates}, every {every} or seed {seed} is out of its range"
            )
        self.sac, self.replay = sac, Replay(capacity, sac.obs, sac.action)
        self._batch, self._updates, self._every = batch, updates, every
        self._reward, self._seed, self._lesson = reward, seed, lesson or self.update
        self._env, self._flat = make_env(), Flat(sac.agent)
        if self._env.action.width != sac.action:
            raise ValueError(
                f"{self._env.name} takes {self._env.action.width} actions, the agent gives {sac.action}"
            )
        if start is not None:
            self.replay.add(*start)
        self._draws = stream(seed, 2)
        self.finished: list[Finished] = []
        self.steps = 0
        self._begin()

    @property
    def agent(self) -> Agent:
        """The learner's agent."""
        return self.sac.agent

    def step(self) -> dict[str, float]:
        """One step of the environment, and the updates that follow it.

        Returns:
            reward and ended (1 at the end of an episode) of the step, by the environment; and what the last
            update told.
        """
        told = self._live()
        if self.steps % self._every == 0:
            for _ in range(self._updates):
                told |= self._lesson()
        return told

    def update(self) -> dict[str, float]:
        """One update on a batch from the replay, without a step of the environment."""
        batch = self.replay.sample(self._batch, self._draws)
        if self._reward is not None:
            batch = batch._replace(reward=self._reward(batch).detach())
        return self.sac.update(batch)

    def _begin(self) -> None:
        """Starts the next episode."""
        obs, _ = self._env.reset(seed=FIRST_SEED + self._seed * RUN_SEEDS + len(self.finished))
        self._obs, self._taken, self._paid = self._flat.obs(obs), list[Array](), 0.0
        self._success: bool | None = None

    def _live(self) -> dict[str, float]:
        action = self.sac.explore(torch.from_numpy(self._obs)).numpy()
        before = self._obs
        reward, terminated, over = self._do(self._flat.raw_action(action))
        self.replay.add(before, action, reward, self._obs, float(terminated))
        self.steps += 1
        if over:
            self.finished.append(Finished(self.steps, self._paid, len(self._taken), self._success))
            self._begin()
        return {"reward": reward, "ended": float(over)}

    def _do(self, action: Array) -> tuple[float, bool, bool]:
        """One raw action: the reward, whether the task ended, and whether the episode did."""
        obs, reward, terminated, truncated, info = self._env.step(action)
        self._obs = self._flat.obs(obs)
        self._taken.append(action)
        self._paid += reward
        said = says_success(info)
        self._success = self._success if said is None else said
        return float(reward), bool(terminated), bool(terminated or truncated)

    def close(self) -> None:
        """Frees what the environment holds."""
        self._env.close()

    def state_dict(self) -> dict[str, Any]:
        """The learner, the replay and where the running episode stands: a tree for `serial.write_tree`."""
        finished = [[f.step, f.total_reward, f.length, f.success] for f in self.finished]
        taken = np.stack(self._taken) if self._taken else np.zeros((0, self.sac.action), np.float32)
        return {
            "sac": self.sac.state_dict(),
            "replay": self.replay.state_dict(),
            "draws": self._draws.get_state(),
            "settings": [self._seed, self._batch, self._updates, self._every],
            "steps": self.steps,
            "finished": finished,
            "taken": torch.from_numpy(taken),
            "obs": torch.from_numpy(self._obs),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there; the running episode is played again.

        Raises:
            ValueError: when the state belongs to another practice, or the environment does not repeat itself.
        """
        settings = [self._seed, self._batch, self._updates, self._every]
        if state["settings"] != settings:
            raise ValueError(
                f"the state was saved with seed, batch, updates and every {state['settings']}, this has "
                f"{settings}"
            )
        self.sac.load_state_dict(state["sac"])
        self.replay.load_state_dict(state["replay"])
        self._draws.set_state(state["draws"])
        self.steps = int(state["steps"])
        self.finished = [Finished(*f) for f in state["finished"]]
        self._begin()
        for action in state["taken"].numpy():
            self._do(action)
        if not np.array_equal(self._obs, state["obs"].numpy()):
            raise ValueError(
                f"{self._env.name} does not repeat itself, so the practice cannot go on from here"
            )


def shortfall(make_env: Callable[[], DoorEnv], seeds: Iterable[int]) -> Callable[[Agent], float]:
    """A validation for `train`: minus the mean return of the agent's mode over episodes on these seeds."""
    listed = tuple(seeds)

    def validate(agent: Agent) -> float:
        return -evaluate(Chunked(agent), make_env, listed).mean_return.value

    return validate
