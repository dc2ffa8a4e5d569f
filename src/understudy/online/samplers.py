"""What proposes episodes in guided cost learning: a density that is refitted, or a policy that practises."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, Protocol

import torch
from torch import Tensor

from understudy.agent import Agent
from understudy.dataset import Dataset
from understudy.envs.door import DoorEnv
from understudy.learn import bc
from understudy.learn.optim import Adam, flatten
from understudy.learn.replay import Transitions
from understudy.learn.sac import SAC
from understudy.online.maxent_irl import paid_by
from understudy.online.paths import Paths
from understudy.online.practice import Practice
from understudy.rewards import RewardNet

__all__ = ["Practised", "Refit", "Sampler", "demonstrator"]


class Sampler(Protocol):
    """What proposes episodes, and learns to propose more likely ones."""

    @property
    def agent(self) -> Agent:
        """Drives, by draws from its density."""
        ...

    def improve(self, reward: RewardNet, paths: Paths, weights: Tensor) -> Mapping[str, float]:
        """Comes closer to p_θ, of which `paths` with `weights` [N] are samples; what there is to tell."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to continue to the same bits."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there."""
        ...


class Refit:
    """Fits the agent's density to the weighted samples by maximum likelihood: min_q KL(p_θ || q).

    Exact where the density's family holds the model's: a Gaussian for one-step and whole-movement problems.
    It only learns from what has been sampled; long episodes want `Practised`.

    Args:
        agent: what is trained in place; its head must have a density.
        steps: of Adam, each on all samples.
        rate: Adam's learning rate.
    """

    def __init__(self, agent: Agent, steps: int = 50, rate: float = 1e-2) -> None:
        if steps < 1 or not 0 < rate < float("inf"):
            raise ValueError(f"steps is {steps} and rate {rate}; both must be positive")
        self._agent, self._steps, self._rate = agent, steps, rate
        trained = [p for p in agent.parameters() if p.requires_grad]
        self._flat, self._grad, matrices = flatten(trained)
        self._adam = Adam(self._flat, self._grad, matrices, 0.0)

    @property
    def agent(self) -> Agent:
        """Drives."""
        return self._agent

    def improve(self, reward: RewardNet, paths: Paths, weights: Tensor) -> dict[str, float]:
        """Some steps down -Σ_i w_i Σ_t log π(a_t | s_t)."""
        each = weights[paths.path].float()
        loss = torch.zeros(())
        for _ in range(self._steps):
            self._grad.zero_()
            loss = -(each * self._agent.log_prob(paths.seen, paths.acted)).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            self._adam.step(self._rate)
        return {"sampler_loss": float(loss.detach())}

    def state_dict(self) -> dict[str, Any]:
        """Weights and moments."""
        return {"weights": self._agent.state_dict(), "adam": self._adam.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there."""
        self._agent.restore(state["weights"])
        self._adam.load_state_dict(state["adam"])


def demonstrator(agent: Agent, data: Dataset, steps: int, seed: int) -> Agent:
    """A density fitted to the demonstrations by behaviour cloning, for `GuidedCost`: a copy of `agent`.

    A squashed head gives actions at the very edge of the box, where experts with limited motors like to be,
    densities without limit; a plain Gaussian one does not.
    """
    learner = bc.Learner(
        deepcopy(agent), data, bc.Config(batch=1024, decay=steps, learning_rate=1e-2, seed=seed)
    )
    for _ in range(steps):
        learner.step()
    return learner.agent


class Practised:
    """Steps of soft actor-critic on the reward as it is, for `GuidedCost` on problems of more than one step.

    The soft-optimal policy at temperature 1 is the policy of p_θ where nothing is left to chance and nothing
    is discounted; a discount below one, which the critics need, makes it a proposal near it. The weights make
    up for that.

    Args:
        make_env: makes the environment it practises in.
        sac: the learner, at temperature 1.
        reward: that of the `GuidedCost` it is for.
        steps: of the environment in each improvement.
        seed: of practice.
        start: transitions to begin the replay with.
        batch: of the learner's updates.

    Raises:
        ValueError: when the temperature is not 1, or reward and agent differ in units.
    """

    def __init__(
        self,
        make_env: Callable[[], DoorEnv],
        sac: SAC,
        reward: RewardNet,
        *,
        steps: int,
        seed: int,
        start: Transitions | None = None,
        batch: int = 256,
    ) -> None:
        if sac.config.temperature != 1.0:
            raise ValueError(f"temperature is {sac.config.temperature}; the model p ∝ exp(Σ r) has 1")
        if steps < 1:
            raise ValueError(f"steps is {steps}; it must be at least 1")
        reward.check_units(sac.agent)
        self._reward, self._steps = reward, steps
        paid = paid_by(reward, sac.config.discount)
        self.practice = Practice(make_env, sac, seed=seed, start=start, batch=batch, reward=paid)

    @property
    def agent(self) -> Agent:
        """Drives."""
        return self.practice.agent

    def improve(self, reward: RewardNet, paths: Paths, weights: Tensor) -> dict[str, float]:
        """Practises; what has been sampled is not needed.

        Raises:
            ValueError: when `reward` is not the one that pays in practice.
        """
        if reward is not self._reward:
            raise ValueError("the sampler practises for another reward; give both the same object")
        told: Mapping[str, float] = {}
        for _ in range(self._steps):
            told = self.practice.step()
        return dict(told)

    def state_dict(self) -> dict[str, Any]:
        """The practice's."""
        return self.practice.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there."""
        self.practice.load_state_dict(state)
