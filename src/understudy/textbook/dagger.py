"""DAgger and its human-gated form with the chapter's signatures.

Where the chapter's own definitions do not do what their descriptions say, these do:

- The mixing coin has a generator of its own, and environments that take a seed are given one: a run repeats.
- Environments with four and with five values from `step` both work; an episode ends when either says so.
- Each rollout is a demonstration of its own, and nothing is held out: what DAgger promises is for the policy
  that is best on all data so far.
- A policy that has not been trained never acts: demonstrations are learned first, and without any the expert
  drives the first iteration, or it is refused.
- The uncertainty of HG-DAgger is that of the state as the network sees it, in units of the actions' spread.
- A gate that would be thrown by dice is refused: an intervention at random is no judgement.

The reward of the chapter's example shows nothing about learning: it punishes the size of the action, and an
episode ends at random. What shows learning there is the squared error to the expert on fresh states.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from understudy.episode import Episode
from understudy.experts import ENDORSE, PolicyExpert
from understudy.experts.gates import Gated
from understudy.interactive.dagger import Config, Mixture
from understudy.rollout import rollout
from understudy.textbook.cloning import BCPolicy, BehavioralCloning, Demonstration
from understudy.textbook.roles import Acts, Asks, Learns, World, labelled

__all__ = ["DAgger", "Expert", "HGDAgger"]

_STEPS = 1000  # of an episode at most
_COLLECT, _EVALUATE = 0, 1  # streams of seeds


class Expert(ABC):
    """Who is asked what should be done."""

    @abstractmethod
    def get_action(self, state: NDArray[Any]) -> NDArray[Any]:
        """The action [A] for a state [S]."""


class DAgger:
    """Dataset aggregation (Ross et al. 2011): the expert labels the states that the policy comes to.

    Args:
        policy: a `BehavioralCloning`, or anything with `train(demonstrations, n_epochs=...)` and
            `get_action(state)`.
        expert: is asked in every state.
        state_dim: S. action_dim: A.
        beta_schedule: "linear" (1 - i/n), "exponential" (½ to the power i), "constant" (½, which never falls
            to 0 as the guarantee asks), "indicator" (1, then 0), or a function of the iteration i, from 0.
        seed: of the coin and of environments that take a seed. First weights are PyTorch's, by its own seed.

    Attributes:
        all_states: each [S]. all_actions: each [A], what the expert said there. Demonstrations come first.

    Raises:
        ValueError: when the schedule has another name.
    """

    def __init__(
        self,
        policy: Learns,
        expert: Expert,
        state_dim: int,
        action_dim: int,
        beta_schedule: str | Callable[[int], float] = "linear",
        *,
        seed: int = 0,
    ) -> None:
        if isinstance(beta_schedule, str):
            Config(beta_schedule)  # type: ignore[arg-type] # refuses another name
        self.policy, self.expert, self.beta_schedule = policy, expert, beta_schedule
        self.state_dim, self.action_dim, self.seed = state_dim, action_dim, seed
        self.all_states: list[NDArray[Any]] = []
        self.all_actions: list[NDArray[Any]] = []
        self._ends: list[int] = []  # of each demonstration and rollout among them
        self._seeds = np.random.default_rng([seed, _COLLECT])

    def get_beta(self, iteration: int, max_iterations: int) -> float:
        """The probability in [0, 1] that the expert drives a step of this iteration, the first being 0."""
        if callable(self.beta_schedule):
            beta = float(self.beta_schedule(iteration))
        else:
            beta = Config(self.beta_schedule).schedule(iteration, max_iterations)  # type: ignore[arg-type]
        if not 0.0 <= beta <= 1.0:
            raise ValueError(f"beta of iteration {iteration} is {beta}; a probability lies in [0, 1]")
        return beta

    def collect_rollout(
        self, env: Any, beta: float, max_steps: int = _STEPS
    ) -> tuple[list[NDArray[Any]], list[NDArray[Any]], float]:
        """One episode, in which the expert drives each step with probability `beta`.

        Returns:
            The states visited, each [S], what the expert said in each, [A], whoever drove, and the reward.

        Raises:
            ValueError: when the policy would have to drive and has not been trained.
        """
        return labelled(self._mixed(env, beta, max_steps))

    def train(
        self,
        env: Any,
        n_iterations: int = 100,
        rollouts_per_iter: int = 10,
        epochs_per_iter: int = 10,
        initial_demonstrations: Sequence[Any] | None = None,
    ) -> dict[str, list[Any]]:
        """Collects, aggregates, trains on all so far and measures, again and again.

        Args:
            env: `reset()` gives a state or (state, info); `step(action)` gives four values or five.
            initial_demonstrations: of the expert, learned before the first iteration.

        Returns:
            One entry an iteration: rewards (mean of its rollouts), dataset_size (labelled states so far) and
            policy_rewards (mean of episodes without the expert).

        Raises:
            ValueError: when a number is below 1, an action or a state does not fit, or a policy would have to
                drive that has not been trained.
        """
        _at_least_one(
            n_iterations=n_iterations, rollouts_per_iter=rollouts_per_iter, epochs_per_iter=epochs_per_iter
        )
        stats: dict[str, list[Any]] = {"rewards": [], "dataset_size": [], "policy_rewards": []}
        print("DAgger Training")
        print("=" * 50)
        if initial_demonstrations:
            self._begin(initial_demonstrations, epochs_per_iter)
        for iteration in range(n_iterations):
            beta, rewards = self.get_beta(iteration, n_iterations), []
            for _ in range(rollouts_per_iter):
                states, actions, reward = self.collect_rollout(env, beta)
                self._add(states, actions)
                rewards.append(reward)
            self._fit(epochs_per_iter)
            stats["rewards"].append(float(np.mean(rewards)))
            stats["dataset_size"].append(len(self.all_states))
            stats["policy_rewards"].append(self.evaluate_policy(env))
            print(
                f"Iter {iteration + 1}: {self._gate(beta, rollouts_per_iter)}, "
                f"Reward={stats['rewards'][-1]:.2f}, Policy Reward={stats['policy_rewards'][-1]:.2f}, "
                f"Dataset={len(self.all_states)}"
            )
        return stats

    def evaluate_policy(self, env: Any, n_episodes: int = 5) -> float:
        """The mean reward of episodes that the policy drives alone.

        Environments that take a seed get the same ones every time, and none that was collected on.
        """
        _at_least_one(n_episodes=n_episodes)
        self._must_be_trained()
        seeds = np.random.default_rng([self.seed, _EVALUATE])
        world, acts = World(env, self.state_dim), Acts(self.policy, self.action_dim)
        episodes = (rollout(world, acts, _draw(seeds), max_steps=_STEPS) for _ in range(n_episodes))
        return float(np.mean([e.reward.sum(dtype=np.float64) for e in episodes]))

    def _begin(self, demonstrations: Sequence[Any], epochs: int) -> None:
        """Learns what the expert showed before anybody else drove."""
        for demo in demonstrations:
            acted = len(demo.actions)  # states may have one more, after the last action
            self._add(list(np.asarray(demo.states)[:acted]), list(np.asarray(demo.actions)))
        self._fit(epochs)

    def _gate(self, beta: float, rollouts: int) -> str:
        """Who drove, in words."""
        return f"β={beta:.2f}"

    def _mixed(self, env: Any, beta: float, max_steps: int) -> Episode:
        mixture = Mixture(beta)
        if beta >= 1:
            return self._by_expert(env, max_steps)
        self._must_be_trained(f"the expert drives with probability {beta} only")
        teacher = PolicyExpert(Acts(self.expert, self.action_dim))
        world, acts = World(env, self.state_dim), Acts(self.policy, self.action_dim)
        return rollout(world, acts, _draw(self._seeds), teacher, mixture, max_steps=max_steps)

    def _by_expert(self, env: Any, max_steps: int) -> Episode:
        """An episode of the expert alone: the policy is not asked, and need not have been trained."""
        world, acts = World(env, self.state_dim), Acts(self.expert, self.action_dim)
        return rollout(world, acts, _draw(self._seeds), ENDORSE, max_steps=max_steps)

    @property
    def _untrained(self) -> bool:
        return isinstance(self.policy, BehavioralCloning) and self.policy.agent is None

    def _must_be_trained(self, why: str = "it would drive alone") -> None:
        if self._untrained:
            raise ValueError(
                f"the policy has not been trained yet and {why}; give initial_demonstrations, or a schedule "
                "that begins at 1"
            )

    def _add(self, states: Sequence[NDArray[Any]], actions: Sequence[NDArray[Any]]) -> None:
        self.all_states.extend(states)
        self.all_actions.extend(actions)
        self._ends.append(len(self.all_states))

    def _fit(self, epochs: int) -> None:
        """Trains on all so far, one demonstration a rollout; of segments of control, the states labelled."""
        if not self.all_states:
            raise ValueError("nothing has been labelled yet, so there is nothing to learn from")
        states, actions = np.array(self.all_states), np.array(self.all_actions)
        cuts = [end for end in self._ends if 0 < end < len(states)]
        parts = zip(np.split(states, cuts), np.split(actions, cuts), strict=True)
        demos = [Demonstration(s, a) for s, a in parts if len(s)]
        if isinstance(self.policy, BehavioralCloning):
            self.policy.train(demos, n_epochs=epochs, val_split=0.0)
        else:
            self.policy.train(demos, n_epochs=epochs)


class HGDAgger(DAgger):
    """Human-gated DAgger (Kelly et al. 2019): a gate calls the expert to the controls; only there he labels.

    As long as the policy has not been trained, the expert drives. `get_beta` plays no part. Who holds the
    gate is `should_intervene`: override it to ask a person, a classifier or an ensemble.

    The spread that a Gaussian or a mixture predicts is that of the expert's actions where there were any; far
    from them it may be small as well. The doubt of an ensemble, which Kelly et al. use, is in
    `understudy.interactive`.

    Args:
        intervention_threshold: of the predicted standard deviation, mean over action dimensions, in units of
            the standard deviation of the actions trained on.

    Attributes:
        intervention_rates: of each rollout, the share of its steps that the expert drove.

    Raises:
        ValueError: when the policy predicts no spread and `should_intervene` is not overridden.
    """

    def __init__(self, *args: Any, intervention_threshold: float = 0.5, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not intervention_threshold >= 0 or math.isinf(intervention_threshold):
            raise ValueError(
                f"intervention_threshold is {intervention_threshold}; it must be finite and >= 0"
            )
        self.intervention_threshold = intervention_threshold
        self.intervention_rates: list[float] = []
        if type(self).should_intervene is HGDAgger.should_intervene and not self._spreads:
            kind = getattr(self.policy, "output_type", type(self.policy).__name__)
            raise ValueError(
                f"the policy is {kind!r} and predicts no spread to judge by; take output_type 'gaussian' or "
                "'mixture', or override should_intervene"
            )

    @property
    def _spreads(self) -> bool:
        return isinstance(self.policy, BehavioralCloning) and self.policy.output_type != "deterministic"

    def uncertainty(self, state: NDArray[Any]) -> float:
        """The predicted standard deviation in a state [S], mean over dimensions, in the actions' own spreads.

        That of a mixture includes the distance between its components.
        """
        assert isinstance(self.policy, BehavioralCloning)
        assert self.policy.agent is not None
        seen = torch.as_tensor(np.asarray(state, np.float32))[None, None]
        with torch.inference_mode():
            encoded = self.policy.agent.normalised({"state": seen})["state"][:, 0]
            return float(_spread(self.policy.policy, encoded).mean())

    def should_intervene(self, state: NDArray[Any]) -> bool:
        """Whether the expert drives in this state [S]: where the uncertainty is above the threshold."""
        return self.uncertainty(state) > self.intervention_threshold

    def collect_rollout(
        self, env: Any, beta: float, max_steps: int = _STEPS
    ) -> tuple[list[NDArray[Any]], list[NDArray[Any]], float]:
        """One episode; the states and labels of the steps that the expert drove, and its whole reward.

        `beta` is not used: the gate decides.
        """
        if self._untrained:
            episode = self._by_expert(env, max_steps)
        else:
            gated = Gated(PolicyExpert(Acts(self.expert, self.action_dim)), Asks(self.should_intervene))
            world, acts = World(env, self.state_dim), Acts(self.policy, self.action_dim)
            episode = rollout(world, acts, _draw(self._seeds), gated, gated, max_steps=max_steps)
        self.intervention_rates.append(float(episode.labelled.mean()))
        return labelled(episode)

    def _gate(self, beta: float, rollouts: int) -> str:
        return f"expert drove {100 * float(np.mean(self.intervention_rates[-rollouts:])):.0f} %"


def _spread(policy: BCPolicy, states: torch.Tensor) -> torch.Tensor:
    """[B, A], the standard deviation of the predicted distribution, from normalised states [B, S]."""
    parts = policy(states)
    if policy.output_type == "gaussian":
        return torch.as_tensor(parts[1].exp())
    weights, means, log_stds = parts
    weights = weights[..., None]
    mean = (weights * means).sum(1, keepdim=True)
    return torch.as_tensor((weights * (log_stds.mul(2).exp() + (means - mean).square())).sum(1).sqrt())


def _draw(seeds: np.random.Generator) -> int:
    return int(seeds.integers(2**31))


def _at_least_one(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} is {count}; it must be at least 1")
