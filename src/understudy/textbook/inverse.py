"""Maximum entropy inverse reinforcement learning with the chapter's signatures.

Where the chapter's own definitions do not do what their descriptions say, these do:

- `train_step` compares the mean REWARD of the states on both sides, not the reward of the mean state. The
  latter does not depend on where states lie around their mean, is not the gradient of any likelihood, and
  grows without bound. Features print and add up as the mean state, and carry the states they came from.
- A reward that tells two fixed sets of states apart would grow for ever: its square is penalised, which
  bounds it.
- The network sees normalised states, in units of the demonstrations that came first. They stay: a reward
  must not change its units while it is trained.
- Environments with four and with five values from `step` both work, as do `reset`s with an `info`.
- The chapter's program never calls `train_step`; its reward is that of random weights. Here the first
  `get_reward` after `compute_expert_features` learns from the demonstrations alone, and says so: see
  `understudy.textbook.passive`.
- A reward that nothing was ever learned for is refused.

Learning a reward where acting is possible, with a soft policy inside, is `understudy.online.maxent_irl`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from understudy.rollout import rollout
from understudy.textbook.passive import PassiveReward, Walk
from understudy.textbook.roles import Acts, Says, World

__all__ = ["Features", "MaxEntIRL", "RewardNetwork"]

_STATES, _EPOCHS, _BATCH, _RATE = 8192, 10, 256, 7e-3  # of a network that imitates a known reward


class RewardNetwork(nn.Module):
    """A multilayer perceptron from a state, or a state and an action, to a reward.

    Args:
        state_dim: S. action_dim: A.
        hidden_dims: widths of the hidden layers, with ReLU.
        state_only: whether the reward is of the state alone; then actions are not looked at.

    Attributes:
        shift, scale: [S], states are normalised by them; 0 and 1 until somebody sets them.

    Raises:
        ValueError: when the reward should be of actions and there are none.
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        state_dim: int,
        action_dim: int = 0,
        hidden_dims: Sequence[int] = (64, 64),
        state_only: bool = True,
    ) -> None:
        super().__init__()
        if not state_only and action_dim < 1:
            raise ValueError(f"action_dim is {action_dim}; a reward of states and actions needs at least 1")
        self.state_dim, self.action_dim, self.state_only = state_dim, action_dim, state_only
        widths = [state_dim if state_only else state_dim + action_dim, *hidden_dims]
        layers = [m for i, o in zip(widths, hidden_dims, strict=False) for m in (nn.Linear(i, o), nn.ReLU())]
        self.network = nn.Sequential(*layers, nn.Linear(widths[-1], 1))
        self.register_buffer("shift", torch.zeros(state_dim))
        self.register_buffer("scale", torch.ones(state_dim))

    def forward(self, state: Tensor, action: Tensor | None = None) -> Tensor:
        """Rewards [..., 1] of states [..., S], and of actions [..., A] where they count.

        Raises:
            ValueError: when an action is missing, or a shape does not fit.
        """
        if state.shape[-1:] != (self.state_dim,):
            raise ValueError(f"state has shape {list(state.shape)}; it must be [..., {self.state_dim}]")
        seen = (state - self.shift) / self.scale
        if not self.state_only:
            if action is None:
                raise ValueError("this reward is of states and actions; give the action too")
            if action.shape != (*state.shape[:-1], self.action_dim):
                wanted = [*state.shape[:-1], self.action_dim]
                raise ValueError(f"action has shape {list(action.shape)}; it must be {wanted}")
            seen = torch.cat([seen, action], dim=-1)
        return cast(Tensor, self.network(seen))


@final
class Features(Tensor):
    """The mean state [S], an ordinary tensor, with the states [N, S] that it is the mean of.

    `to` takes the states along. Whatever else is computed from it is an ordinary tensor without them.
    """

    states: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def of(states: Tensor) -> Features:
        """The features of states [N, S]."""
        mean = states.mean(0).as_subclass(Features)
        mean.states = states
        return mean

    def to(self, *args: Any, **kwargs: Any) -> Features:
        """As of any tensor, the states too."""
        return Features.of(self.states.to(*args, **kwargs))


class MaxEntIRL:
    """A reward under which demonstrations are likely, as those of a maximum entropy policy.

    Args:
        state_dim: S. action_dim: A.
        hidden_dims: widths of the reward network's hidden layers.
        lr: learning rate of Adam.
        device: of the reward network.
        penalty: λ > 0 of the squared reward in `train_step`, which bounds it to ±2/λ.
        seed: of first weights and of everything that is drawn.

    Attributes:
        reward_net: the RewardNetwork, of raw states.

    Raises:
        ValueError: when the penalty is not positive.
    """

    def __init__(
        self,
        state_dim: int,
        action_dim: int,
        hidden_dims: Sequence[int] = (64, 64),
        lr: float = 1e-3,
        device: str = "cpu",
        *,
        penalty: float = 0.1,
        seed: int = 0,
    ) -> None:
        if not 0 < penalty < float("inf"):
            raise ValueError(
                f"penalty is {penalty}; it must be positive and finite, or the reward has no bound"
            )
        self.device, self.state_dim, self.action_dim = torch.device(device), state_dim, action_dim
        self.hidden_dims, self.penalty, self.seed = tuple(hidden_dims), penalty, seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.reward_net = RewardNetwork(state_dim, action_dim, hidden_dims).to(self.device)
        self.optimizer = torch.optim.Adam(self.reward_net.parameters(), lr=lr)
        self._seeds = np.random.default_rng(seed)
        self._shown: list[NDArray[Any]] = []  # demonstrations that nothing was learned from yet
        self._measured = self._learned = False

    def compute_expert_features(self, demonstrations: Sequence[NDArray[Any]]) -> Features:
        """The mean of all demonstrated states, with the states themselves.

        The first demonstrations set the units of the states. As long as `train_step` has not been called,
        the next `get_reward` learns from those given last.

        Args:
            demonstrations: state trajectories, each [T, S]; T may differ.

        Raises:
            ValueError: when there are none, or one has another shape or a value that is not finite.
        """
        if not len(demonstrations):
            raise ValueError("demonstrations is empty; at least one is needed")
        trajectories = [np.asarray(d, np.float64) for d in demonstrations]
        for number, t in enumerate(trajectories):
            if t.ndim != 2 or t.shape[1] != self.state_dim or not len(t):
                wanted = f"[T, {self.state_dim}] with T >= 1"
                raise ValueError(f"demonstration {number} has shape {list(t.shape)}; it must be {wanted}")
            if not np.isfinite(t).all():
                raise ValueError(f"demonstration {number} has a value that is not finite")
        if not self._learned:
            self._shown = trajectories
        return self._features(np.concatenate(trajectories))

    def compute_policy_features(
        self, env: Any, policy: Says, n_trajectories: int = 50, max_steps: int = 200
    ) -> Features:
        """The mean of all states that a policy comes to, with the states themselves.

        Args:
            env: `reset()` gives a state or (state, info); `step(action)` gives four values or five.
            policy: has `get_action(state)`.
            n_trajectories: episodes. max_steps: of an episode at most.

        Raises:
            ValueError: when a number is below 1, or a state or an action has another shape.
        """
        for name, count in {"n_trajectories": n_trajectories, "max_steps": max_steps}.items():
            if count < 1:
                raise ValueError(f"{name} is {count}; it must be at least 1")
        world, acts = World(env, self.state_dim), Acts(policy, self.action_dim)
        seeds = self._seeds.integers(2**31, size=n_trajectories)
        episodes = [rollout(world, acts, int(s), max_steps=max_steps) for s in seeds]
        return self._features(np.concatenate([e.obs["state"][:-1] for e in episodes]))

    def train_step(self, expert_features: Tensor, policy_features: Tensor) -> float:
        """One step of Adam on E_policy r - E_demonstrations r + λ/4 (E_policy r² + E_demonstrations r²).

        The difference is the gradient of the maximum entropy likelihood, a step, where the policy is the soft
        optimal one of the reward as it is now: take new policy features as the policy follows. For two sets
        that stay as they are, with densities p and q, the optimum is 2 (q - p) / (λ (q + p)).

        Returns:
            The loss before the step.

        Raises:
            ValueError: when features are bare means, from which the states cannot be told.
        """
        sides = []
        for name, features in (("expert_features", expert_features), ("policy_features", policy_features)):
            if not isinstance(features, Features):
                raise ValueError(
                    f"{name} is a bare tensor; give what compute_{name} returned, which carries the states: "
                    "the reward of a mean state is not the mean reward"
                )
            sides.append(features.states)
        if not self._measured:
            self._measure(sides[0])
        expert, policy = (self.reward_net(s.to(self.device)) for s in sides)
        square = expert.square().mean() + policy.square().mean()
        loss: Tensor = policy.mean() - expert.mean() + self.penalty / 4 * square
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self._shown, self._learned = [], True
        return float(loss.detach())

    def get_reward(self, state: NDArray[Any]) -> float:
        """The reward of a state [S]; learned from the demonstrations alone where nothing was learned yet.

        Raises:
            RuntimeError: when there is nothing to learn from.
            ValueError: when the state has another shape, or the demonstrations say nothing about noise.
        """
        if self._shown:
            self._learn_from(self._shown)
        if not self._learned:
            raise RuntimeError("get_reward needs demonstrations; call compute_expert_features first")
        seen = torch.as_tensor(np.asarray(state, np.float32), device=self.device)
        if seen.shape != (self.state_dim,):
            raise ValueError(f"state has shape {list(seen.shape)}; it must be [{self.state_dim}]")
        with torch.no_grad():
            return float(self.reward_net(seen))

    def _features(self, states: NDArray[Any]) -> Features:
        return Features.of(torch.as_tensor(states, dtype=torch.float32).to(self.device))

    def _measure(self, states: Tensor) -> None:
        """States are seen in units of these from now on; a constant dimension passes through."""
        spread = states.std(0, correction=0)
        self.reward_net.shift.copy_(states.mean(0))
        self.reward_net.scale.copy_(torch.where(spread > 1e-6 * states.abs().amax(0), spread, 1.0))
        self._measured = True

    def _learn_from(self, trajectories: Sequence[NDArray[Any]]) -> None:
        """The reward relative to a random walk, which needs no environment, into the network."""
        walk = Walk(trajectories)
        source = PassiveReward(walk, self.hidden_dims, self.seed)
        gain = source.fit()
        if not self._measured:
            self._measure(torch.as_tensor(np.concatenate(trajectories), dtype=torch.float32))
        states = walk.around(_STATES, self.seed)
        self._imitate(walk.raw(states), source.reward(states))
        self._shown, self._learned = [], True
        print(
            f"Reward learned from demonstrations alone ({len(trajectories)}): {len(walk.after)} transitions "
            f"against a random walk, {gain:.2f} nats a transition"
        )

    def _imitate(self, states: Tensor, rewards: Tensor) -> None:
        """Trains the network on known rewards [N] of states [N, S], by least squares."""
        states, rewards = states.to(self.device), rewards.to(self.device)[:, None]
        shift, scale = rewards.mean(), rewards.std().clamp_min(1e-6)
        target = (rewards - shift) / scale
        net, random = self.reward_net, torch.Generator().manual_seed(self.seed)
        steps = _EPOCHS * (len(states) // _BATCH)
        optimizer = torch.optim.Adam(net.parameters(), _RATE, fused=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            rows = torch.randint(len(states), (_BATCH,), generator=random)
            loss = (net(states[rows]) - target[rows]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        last = cast(nn.Linear, net.network[-1])
        with torch.no_grad():  # into nats
            last.weight.mul_(scale)
            last.bias.mul_(scale).add_(shift)
