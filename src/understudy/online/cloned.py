"""A policy cloned from the demonstrations inside a method, which improves it by acting from there.

Its density is a plain normal one: behind a tanh, actions at the very edge of their range, where experts with
limited motors like to be, would have densities without limit. Its spread is one number for each action
dimension: predicted from the observation it collapses onto few demonstrations. And the spread has a floor: a
policy that is nearly certain of everything tries nothing, and no reinforcement can improve it.
"""

from __future__ import annotations

from copy import deepcopy

import torch

from understudy.agent import Agent
from understudy.dataset import Dataset
from understudy.heads import Gaussian
from understudy.learn import bc
from understudy.nets import MLP
from understudy.online.base import Setting
from understudy.runs import Network

__all__ = ["NETWORK", "Cloning", "gaussian"]

NETWORK = Network(head="gaussian", std="global", activation="gelu")
"""What run.json says of such a policy, but for its widths."""

_BATCH, _RATE, _DECAY, _CLIP = 256, 1e-3, 1e-4, 10.0
_CEILING = 0.5  # of the log-std: a spread of 1.6, where the bounds are 2 apart


def gaussian(setting: Setting, floor: float) -> tuple[Agent, Dataset]:
    """An agent with fresh weights and a plain Gaussian head, and the uniformly random steps behind its units.

    It sees and acts in the units of `Setting.actor`: the bounds of actions are -1 and 1. What leaves it is
    clipped to them.

    Args:
        floor: of the log standard deviation, in these units; its ceiling is 0.5.

    Raises:
        ValueError: when the floor is not below 0, or the task's actions have no bounds.
    """
    if not -20 <= floor < 0:
        raise ValueError(f"the floor of the log-std is {floor}; it must lie in [-20, 0)")
    units, first = setting.actor()
    spec, hidden = setting.task.action, setting.learner.hidden
    head = Gaussian("global", log_std=(floor, _CEILING))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setting.learner.seed)
        trunk, obs = MLP(hidden, NETWORK.activation), deepcopy(units.obs_normalizers)
        agent = Agent(obs, deepcopy(units.action_normalizer), trunk, head, 1, 1, (spec.low, spec.high))
    return agent, first


class Cloning:
    """Behaviour cloning of a copy, whose weights `into` takes over in place: their home does not move.

    Args:
        agent: whose copy is trained.
        data: demonstrations.
        steps: gradient steps in all, over which the learning rate falls to zero.
        seed: of the order of the data.

    Raises:
        ValueError: when there is no step to take.
    """

    def __init__(self, agent: Agent, data: Dataset, steps: int, seed: int) -> None:
        if steps < 1:
            raise ValueError(f"cloning takes {steps} steps; at least one is needed")
        config = bc.Config(
            batch=_BATCH, learning_rate=_RATE, decay=steps, weight_decay=_DECAY, seed=seed, clip=_CLIP
        )
        self.learner = bc.Learner(deepcopy(agent), data, config)
        self._steps = steps

    def whole(self) -> Agent:
        """All steps at once, and the agent."""
        for _ in range(self._steps):
            self.learner.step()
        return self.learner.agent

    def into(self, agent: Agent) -> None:
        """Copies the weights into an equal agent's own memory."""
        agent.restore({k: v.clone() for k, v in self.learner.agent.state_dict().items()})
