"""What stands before the first update: an actor for a task, and transitions that somebody else has made.

Observations are flat and normalised here: each through the agent's own normaliser, side by side in the order
of their names. Actions are in the agent's normalised units, (-1, 1).

Shapes: T steps, N rows, O width of the flat normalised observation, A of the action.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from understudy.agent import Agent, Columns, Normalizer
from understudy.agent.normalize import Kind, columns_of
from understudy.baselines import RandomPolicy
from understudy.dataset import Dataset
from understudy.envs import ActionSpec, Task
from understudy.episode import Array
from understudy.heads import Gaussian
from understudy.learn.replay import Transitions
from understudy.nets import MLP
from understudy.rollout import rollout

__all__ = ["FIRST_SEED", "RUN_SEEDS", "Flat", "actor", "transitions", "uniform"]

FIRST_SEED = 20_000_000  # of practice: far from demonstrations, validation and evaluation
RUN_SEEDS = 1_000_000  # one run's share of them; its second half is for uniform actions
_FLOOR = 1e-2  # of the scale of an observation: what hardly moves at random may move far later


class Flat:
    """Between an environment's units and an agent's, for arrays."""

    def __init__(self, agent: Agent) -> None:
        self._encoders = [(k, n.encoder()) for k, n in agent.obs_normalizers.items()]  # sorted by name
        self.action = agent.action_normalizer.encoder()
        """Raw actions [..., A] to normalised ones."""
        self.raw_action = agent.action_normalizer.decoder()
        """Normalised actions [..., A] to raw ones."""

    def obs(self, obs: Mapping[str, Array]) -> Array:
        """Raw observations, name -> [..., d], to [..., O]."""
        parts = [encode(obs[k]) for k, encode in self._encoders]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, -1)


def uniform(task: Task, steps: int, seed: int) -> Dataset:
    """Episodes of uniformly random actions, `steps` steps in all: the last one is cut where they end.

    Raises:
        ValueError: when `steps` is not positive, or the task's actions have no bounds.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; at least one is needed")
    policy, env = RandomPolicy(task.action), task.make()
    episodes, left, at = [], steps, FIRST_SEED + seed * RUN_SEEDS + RUN_SEEDS // 2
    try:
        while left:
            episodes.append(rollout(env, policy, at, max_steps=left))
            left, at = left - len(episodes[-1]), at + 1
    finally:
        env.close()
    return Dataset(episodes)


def actor(
    spec: ActionSpec,
    data: Dataset,
    *,
    hidden: tuple[int, ...] = (256, 256),
    angles: Mapping[str, tuple[int, ...]] | None = None,
    kind: Kind = "standard",
    seed: int = 0,
) -> Agent:
    """A tanh-Gaussian agent with fresh weights: the bounds of its actions are -1 and 1 to it.

    Args:
        spec: the task's actions.
        data: whose observations give the mean and standard deviation that normalise them from now on. A
            standard deviation under 0.01 counts as 0.01.
        hidden: widths of its layers.
        angles: observation name -> dimensions that are raw angles (`task.angles`).
        kind: how observations are normalised; "identity" leaves them as they are.
        seed: of the first weights.

    Raises:
        ValueError: when the actions are choices, or have no bounds, or leave none to choose.
    """
    if spec.n is not None or not spec.bounded or not (spec.low < spec.high).all():
        raise ValueError(
            f"the actions lie in {spec.low.tolist()} to {spec.high.tolist()}, choices {spec.n}; the actor "
            "needs continuous ones with finite bounds, low below high"
        )
    obs = {}
    for key, columns in columns_of(data, kind, dict(angles or {}), {}).items():
        obs[key] = Normalizer.fit(data, key, columns)
        obs[key].scale.clamp_(min=_FLOOR)
    low, high = (torch.from_numpy(np.array(b)) for b in (spec.low, spec.high))
    action = Normalizer(Columns((spec.width,), "range"), (low + high) / 2, (high - low) / 2)
    return tanh_gaussian(obs, action, spec, hidden, seed)


def tanh_gaussian(
    obs: dict[str, Normalizer], action: Normalizer, spec: ActionSpec, hidden: tuple[int, ...], seed: int
) -> Agent:
    """The agent that `actor` makes, with fresh weights, in units that somebody else has chosen."""
    head = Gaussian(std="state", squash=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Agent(obs, action, MLP(hidden), head, 1, 1, (spec.low, spec.high))


def transitions(agent: Agent, data: Dataset) -> Transitions:
    """Every step of every episode as the agent sees it: obs [N, O], action [N, A] (what was executed), ...

    The last step of an episode that ran out of time is no termination.

    Raises:
        ValueError: when there are no episodes.
    """
    if not len(data):
        raise ValueError("there are no episodes to take transitions from")
    flat, parts = Flat(agent), list[tuple[Array, ...]]()
    for e in data:
        obs = flat.obs({k: np.asarray(v) for k, v in e.obs.items()})
        ended = np.zeros(len(e), np.float32)
        ended[-1] = e.terminated
        parts.append((obs[:-1], flat.action(e.action), e.reward.astype(np.float32), obs[1:], ended))
    columns = (np.concatenate(p).astype(np.float32) for p in zip(*parts, strict=True))
    return Transitions(*(torch.from_numpy(c) for c in columns))
