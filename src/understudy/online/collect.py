"""Where an on-policy learner meets its environments: several side by side, and a lesson from their steps.

Shapes: T steps, N environments, O width of the flat normalised observation, A of the action.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from understudy.agent import Agent
from understudy.envs.door import DoorEnv, says_success
from understudy.episode import Array
from understudy.learn.on_policy import OnPolicy
from understudy.learn.rollouts import Rollout
from understudy.online.base import Collecting
from understudy.online.practice import Finished
from understudy.online.start import FIRST_SEED, RUN_SEEDS, Flat
from understudy.rewards import RewardNet

__all__ = ["Collect", "Pay", "paying"]

Pay: TypeAlias = Callable[[Rollout], tuple[Tensor, Mapping[str, float]]]
"""A rollout to its rewards [T, N] and what there is to tell; what learns a reward may learn in here."""


def paying(reward: RewardNet | None, discount: float) -> Pay | None:
    """A given reward, as it is, in place of the environment's own; None for the latter.

    Ends of the task are valued at `discount`.
    """
    if reward is None:
        return None
    fixed = reward.requires_grad_(False)

    def pay(rollout: Rollout) -> tuple[Tensor, Mapping[str, float]]:
        return fixed.relabel(rollout.flat(), discount).reward.view(rollout.reward.shape), {}

    return pay


class _Life:
    """One environment and its running episode."""

    def __init__(self, env: DoorEnv, flat: Flat) -> None:
        self.env, self._flat = env, flat

    def begin(self, seed: int) -> None:
        """Starts an episode."""
        self.seed, self.taken, self.paid = seed, list[Array](), 0.0
        self.success: bool | None = None
        self.obs = self._flat.obs(self.env.reset(seed=seed)[0])

    def do(self, action: Array) -> tuple[float, bool, bool]:
        """One raw action: the reward, whether the task ended, and whether the episode did."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        self.obs = self._flat.obs(obs)
        self.taken.append(action)
        self.paid += reward
        said = says_success(info)
        self.success = self.success if said is None else said
        return float(reward), bool(terminated), bool(terminated or truncated)

    def state_dict(self) -> dict[str, Any]:
        """The seed, what was done since, and where that led."""
        width = self.env.action.width
        taken = np.stack(self.taken) if self.taken else np.zeros((0, width), np.float32)
        return {"seed": self.seed, "taken": torch.from_numpy(taken), "obs": torch.from_numpy(self.obs)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Plays the episode again."""
        self.begin(int(state["seed"]))
        for action in state["taken"].numpy():
            self.do(action)
        if not np.array_equal(self.obs, state["obs"].numpy()):
            raise ValueError(
                f"{self.env.name} does not repeat itself, so the practice cannot go on from here"
            )


class Collect:
    """N environments, one on-policy learner; `train` drives it as it does any learner.

    A step is one of one environment, in turn; the policy looks at all N when it is the first one's. After
    `plan.rollout` steps in each the learner has its lesson. Every episode has a seed of its own, in the order
    in which they begin. On a resumption the running episodes are played again from their seeds with the
    actions that were taken: environments that repeat themselves lead to the same bits.

    Args:
        make_env: makes an environment; it is called N times.
        learner: it acts by draws from its policy.
        plan: how many environments, and how many steps from lesson to lesson.
        seed: of the episodes' seeds.
        reward: None for the environment's own, or what pays every rollout instead, before each lesson.

    Raises:
        ValueError: when the learner does not fit the environment, or the seed is negative.
    """

    def __init__(
        self,
        make_env: Callable[[], DoorEnv],
        learner: OnPolicy,
        plan: Collecting,
        *,
        seed: int,
        reward: Pay | None = None,
    ) -> None:
        if seed < 0:
            raise ValueError(f"seed is {seed}; it must be at least 0")
        self.learner, self.plan, self._reward, self._seed = learner, plan, reward, seed
        self._flat, self._bounds = Flat(learner.agent), _bounds(learner.agent)
        self._lives = [_Life(make_env(), self._flat) for _ in range(plan.envs)]
        env = self._lives[0].env
        if env.action.width != learner.action:
            self.close()
            raise ValueError(f"{env.name} takes {env.action.width} actions, the agent gives {learner.action}")
        self.finished: list[Finished] = []
        self.steps = self._begun = 0
        self._told: dict[str, float] = {}
        # One row a step in the order in which they are taken: obs, action, log π, reward, next obs, two ends.
        self._widths = [learner.obs, learner.action, 1, 1, learner.obs, 1, 1]
        self._rows = torch.zeros(plan.rollout * plan.envs, sum(self._widths))
        self._array = self._rows.numpy()
        # What the policy said when it last looked: obs, action, log π of each environment; and raw actions.
        self._said = torch.zeros(plan.envs, learner.obs + learner.action + 1)
        self._decide()
        for life in self._lives:
            self._begin(life)

    @property
    def agent(self) -> Agent:
        """The learner's agent."""
        return self.learner.agent

    def step(self) -> dict[str, float]:
        """One step of one environment, and the lesson where it was the last one of a rollout.

        Returns:
            reward and ended (1 at the end of an episode) of the step, by the environment; and what the last
            lesson told, the reward's part included.
        """
        at, which = self.steps % len(self._rows), self.steps % len(self._lives)
        if which == 0:
            self._look()
        life, row = self._lives[which], self._array[at]
        seen = self._said.shape[1]
        row[:seen] = self._said_array[which]
        reward, terminated, over = life.do(self._raw[which])
        row[seen] = reward
        row[seen + 1 : -2] = life.obs
        row[-2:] = terminated, over
        self.steps += 1
        if over:
            self.finished.append(Finished(self.steps, life.paid, len(life.taken), life.success))
            self._begin(life)
        if self.steps % len(self._rows) == 0:
            self._told = self._learn()
        return {"reward": reward, "ended": float(over)} | self._told

    def _begin(self, life: _Life) -> None:
        life.begin(FIRST_SEED + self._seed * RUN_SEEDS + self._begun)
        self._begun += 1

    def _look(self) -> None:
        """One pass of the policy for all environments."""
        obs = torch.from_numpy(np.stack([life.obs for life in self._lives]))
        action, log_prob = self.learner.explore(obs)
        self._said = torch.cat((obs, action, log_prob[:, None]), 1)
        self._decide()

    def _decide(self) -> None:
        """The raw actions of what was said, inside the agent's own bounds where it has some."""
        self._said_array = self._said.numpy()
        first = self.learner.obs
        raw = self._flat.raw_action(self._said_array[:, first:-1])
        self._raw = raw if self._bounds is None else raw.clip(*self._bounds)

    def rollout(self) -> Rollout:
        """The steps since the last lesson, or those of it, as [T, N, ...].

        The last round counts where all environments have stepped.
        """
        n = len(self._lives)
        filled = (self.steps - 1) % len(self._rows) + 1 if self.steps else 0
        # A copy: the next steps write over these rows.
        rounds = self._rows[: filled - filled % n].clone().view(-1, n, self._rows.shape[1])
        obs, action, log_prob, reward, next_obs, terminated, over = torch.split(rounds, self._widths, -1)
        ends = (terminated[..., 0], over[..., 0])
        return Rollout(obs, action, log_prob[..., 0], reward[..., 0], next_obs, *ends)

    def _learn(self) -> dict[str, float]:
        lived, told = self.rollout(), dict[str, float]()
        if self._reward is not None:
            paid, said = self._reward(lived)
            if paid.shape != lived.reward.shape:
                raise ValueError(f"the rewards are {list(paid.shape)}, not {list(lived.reward.shape)}")
            lived, told = lived._replace(reward=paid.detach()), dict(said)
        return told | self.learner.learn(lived)

    def close(self) -> None:
        """Frees what the environments hold."""
        for life in self._lives:
            life.env.close()

    def state_dict(self) -> dict[str, Any]:
        """The learner, the rollout so far and where the running episodes stand: for `serial.write_tree`."""
        return {
            "learner": self.learner.state_dict(),
            "settings": self._settings(),
            "steps": self.steps,
            "begun": self._begun,
            "finished": [[f.step, f.total_reward, f.length, f.success] for f in self.finished],
            "told": dict(self._told),
            "rows": self._rows[: self.steps % len(self._rows)].clone(),
            "said": self._said.clone(),
            "lives": [life.state_dict() for life in self._lives],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there; the running episodes are played again.

        Raises:
            ValueError: when the state belongs to another practice, or the environment does not repeat itself.
        """
        if state["settings"] != (mine := self._settings()):
            raise ValueError(
                f"the state was saved with seed, envs and rollout {state['settings']}, this has {mine}"
            )
        rows, steps = state["rows"], int(state["steps"])
        if rows.shape != (steps % len(self._rows), self._rows.shape[1]):
            raise ValueError(f"rows are {list(rows.shape)}, which does not fit {steps} steps")
        self.learner.load_state_dict(state["learner"])
        self.steps, self._begun = steps, int(state["begun"])
        self.finished = [Finished(*f) for f in state["finished"]]
        self._told = dict(state["told"])
        self._rows[: len(rows)] = rows
        self._said.copy_(state["said"])
        self._decide()
        for life, lived in zip(self._lives, state["lives"], strict=True):
            life.load_state_dict(lived)

    def _settings(self) -> list[int]:
        return [self._seed, self.plan.envs, self.plan.rollout]


def _bounds(agent: Agent) -> tuple[Array, Array] | None:
    return None if agent.low is None or agent.high is None else (agent.low.numpy(), agent.high.numpy())
