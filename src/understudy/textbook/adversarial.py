"""Generative adversarial imitation learning with the chapter's signatures.

Where the chapter's own definitions do not do what their descriptions say, these do:

- The diagram pays -log D and the code -log(1 - D). D being the probability of an expert, the first pays for
  not looking like one. This pays the second, as the chapter's code and its words do.
- The policy, which the chapter leaves out, is there and is trained: `train` has PPO play against the
  discriminator, and `get_action` acts.
- Everything is computed from the logit. log(σ(l) + 1e-8) has no gradient where the discriminator is sure, and
  no reward above 18.4.
- The slope of the discriminator is penalised: else that of an expert without noise is a cliff, on whose flat
  sides a policy learns nothing.
- The network sees normalised states and actions, in units of the first expert's data. They stay.
- The policy's actions are held against the expert's as they were executed: a draw from beyond the bounds of
  the environment would give the policy away.
- A reward above zero at every step makes any long life good. The end of a task is therefore paid like the
  absorbing state behind it, whose logit is learned, and a time limit is no end.
- A reward that nothing was ever learned for is refused.

The library's own is `understudy.online.gail`, with more ways to pay and to learn, in runs that resume.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from understudy.agent import Agent, Columns, Normalizer
from understudy.agent.normalize import Moments
from understudy.envs import ActionSpec, adapt
from understudy.envs.door import DoorEnv
from understudy.heads import Gaussian
from understudy.learn import discriminator, ppo
from understudy.learn.discriminator import Discriminator
from understudy.learn.replay import Transitions
from understudy.learn.rollouts import Rollout
from understudy.learn.sac import stream
from understudy.nets import MLP
from understudy.online.base import Collecting
from understudy.online.collect import Collect
from understudy.rewards import RewardConfig, RewardNet
from understudy.textbook.cloning import Demonstration

__all__ = ["GAIL", "Judge"]

_DISCOUNT = 0.95  # of the policy: a reward that moves is worth planning for by twenty steps, not a hundred
_BATCH, _PACE = 256, 16  # rows of each side in a step; rows of a rollout from one step to the next
_SLOPE = 0.1  # weight of the penalty
_FLOOR = 1e-2  # of a scale: what the expert hardly moves, a beginner may
_SPREAD = (-3.0, 0.5)  # bounds of the policy's log standard deviation, in units of the expert's actions


@final
class Judge(nn.Module):
    """D(s, a): rows of raw states and actions side by side, [B, S + A], to probabilities [B, 1]."""

    def __init__(self, net: RewardNet) -> None:
        super().__init__()
        self.net = net

    def logit(self, state: Tensor, action: Tensor) -> Tensor:
        """[B], log D - log(1 - D)."""
        return self.net.logit(self.rows(state, action))

    def rows(self, state: Tensor, action: Tensor) -> Transitions:
        """Raw states [B, S] and actions [B, A] in the network's units."""
        obs = self.net.obs_normalizers["state"].forward(state)
        none = torch.zeros(len(obs))
        return Transitions(obs, self.net.action_normalizer.forward(action), none, obs, none)

    def forward(self, state_action: Tensor) -> Tensor:
        """[B, 1], the probability that an expert did it."""
        width = self.net.width
        return self.logit(state_action[:, :width], state_action[:, width:]).sigmoid()[:, None]


class GAIL:
    """A policy and a discriminator that play against each other.

    Args:
        state_dim: S. action_dim: A.
        hidden_dims: widths of the hidden layers of the discriminator, the policy and its values.
        lr_discriminator: learning rate of Adam. lr_policy: likewise, of PPO.
        device: "cpu" only: networks of this size learn fastest there, by gradients that are written out.
        seed: of first weights and of everything that is drawn.

    Attributes:
        discriminator: the Judge, a module from [B, S + A] to D [B, 1].
        policy: the agent that `train` trains, in the environment's units.

    Raises:
        ValueError: for another device.
    """

    def __init__(
        self,
        state_dim: int,
        action_dim: int,
        hidden_dims: Sequence[int] = (256, 256),
        lr_discriminator: float = 3e-4,
        lr_policy: float = 3e-4,
        device: str = "cpu",
        *,
        seed: int = 0,
    ) -> None:
        if torch.device(device).type != "cpu":
            raise ValueError(f"device is {device!r}; GAIL learns on the cpu")
        self.state_dim, self.action_dim, self.seed = state_dim, action_dim, seed
        hidden = tuple(hidden_dims)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.policy = Agent(
                {"state": _plain(state_dim)}, _plain(action_dim), MLP(hidden, "tanh"),
                Gaussian("global", log_std=_SPREAD), 1, 1,
            )  # fmt: skip
        reads = RewardConfig("state-action", reward_hidden=hidden, reward_activation="relu", form="survival")
        net = RewardNet.of(self.policy, reads, seed)
        own = discriminator.Config(d_rate=lr_discriminator, penalty=_SLOPE, penalty_kind="zero", noise=0.0)
        self._learner = Discriminator(net, own, discount=_DISCOUNT, seed=seed)
        self.discriminator = Judge(net)
        config = ppo.Config(discount=_DISCOUNT, learning_rate=lr_policy, hidden=hidden, seed=seed)
        self._player = ppo.PPO(self.policy, config)
        self._draws, self._games = stream(seed, 7), 0
        self._measured = self._learned = False

    def update_discriminator(
        self,
        expert_states: NDArray[Any],
        expert_actions: NDArray[Any],
        policy_states: NDArray[Any],
        policy_actions: NDArray[Any],
    ) -> float:
        """One step of Adam on -E_expert log D - E_policy log(1 - D), and the penalty on the slope.

        The first call sets the units of states and actions: those of the expert.

        Args:
            expert_states: [N, S]. expert_actions: [N, A].
            policy_states: [M, S]. policy_actions: [M, A].

        Returns:
            The loss before the step, without the penalty; 2 log 2 = 1.39 is that of a blind discriminator.

        Raises:
            ValueError: when a shape does not fit, or a value is not finite.
        """
        expert = self._pairs(expert_states, expert_actions, "expert")
        policy = self._pairs(policy_states, policy_actions, "policy")
        if not self._measured:
            self._measure(*expert)
        return self._step(self.discriminator.rows(*expert), self.discriminator.rows(*policy))

    def get_reward(self, state: NDArray[Any], action: NDArray[Any]) -> float:
        """-log(1 - D(s, a)) = log(1 + e^l) of a state [S] and an action [A]: high where an expert would be.

        Raises:
            RuntimeError: when nothing was learned yet.
            ValueError: when a shape does not fit.
        """
        if not self._learned:
            raise RuntimeError("get_reward needs a discriminator that has learned; call train first")
        s, a = (torch.as_tensor(np.asarray(x, np.float32)) for x in (state, action))
        if s.shape != (self.state_dim,) or a.shape != (self.action_dim,):
            raise ValueError(
                f"state {list(s.shape)} and action {list(a.shape)} must be [{self.state_dim}] and "
                f"[{self.action_dim}]"
            )
        with torch.no_grad():
            return float(self.discriminator.net.forward(self.discriminator.rows(s[None], a[None])))

    def get_action(self, state: NDArray[Any]) -> NDArray[np.float32]:
        """What the policy does in a state [S], [A]: the mode."""
        return cast(NDArray[np.float32], self.policy.act({"state": np.asarray(state, np.float32)}))

    def train(
        self,
        env: Any,
        demonstrations: Sequence[Demonstration],
        n_iterations: int = 50,
        steps_per_iteration: int = 2048,
    ) -> dict[str, list[float]]:
        """Plays: a rollout of the policy, steps of the discriminator on it, and a lesson of the policy.

        Called again, it goes on.

        Args:
            env: of Gymnasium's kind or the old one; it is not closed. It is reset with seeds where it takes
                some.
            demonstrations: with actions.
            n_iterations: rollouts. steps_per_iteration: of each.

        Returns:
            "returns": of each iteration, the mean return by the environment's own reward of the episodes that
            ended in it, nan where none did; and "losses", the discriminator's last.

        Raises:
            ValueError: when a number is below 1, there are no demonstrations, or the environment has other
                states or actions.
        """
        for name, count in {"n_iterations": n_iterations, "steps_per_iteration": steps_per_iteration}.items():
            if count < 1:
                raise ValueError(f"{name} is {count}; it must be at least 1")
        if not demonstrations:
            raise ValueError("demonstrations is empty; at least one is needed")
        episodes = [d.episode() for d in demonstrations]
        states = np.concatenate([e.obs["state"][:-1] for e in episodes])
        expert = self._pairs(states, np.concatenate([e.action for e in episodes]), "expert")
        if not self._measured:
            self._measure(*expert)
        door, returns = self._door(env), list[float]()
        game = _Game(self, door, self.discriminator.rows(*expert))
        plan = Collecting(uniform=1, envs=1, rollout=steps_per_iteration)
        collect = Collect(lambda: door, self._player, plan, seed=self.seed + self._games, reward=game.pay)
        self._games += 1
        for _ in range(n_iterations):
            before = len(collect.finished)
            for _ in range(steps_per_iteration):
                collect.step()
            ended = [f.total_reward for f in collect.finished[before:]]
            returns.append(float(np.mean(ended)) if ended else float("nan"))
        return {"returns": returns, "losses": game.losses}

    def _step(self, expert: Transitions, policy: Transitions) -> float:
        self._learned = True
        return self._learner.step(expert, policy)["d_loss"]

    def _door(self, env: Any) -> DoorEnv:
        """The environment as the library knows it."""
        silent = getattr(env, "action_space", None) is None and not isinstance(
            getattr(env, "action", None), ActionSpec
        )
        door = adapt(env, action=ActionSpec.unbounded(self.action_dim) if silent else None)
        if dict(door.obs) != {"state": (self.state_dim,)} or door.action.width != self.action_dim:
            raise ValueError(
                f"the environment has {dict(door.obs)} and {door.action.width} actions; GAIL was made for "
                f"{self.state_dim} and {self.action_dim}"
            )
        if door.action.n is not None:
            raise ValueError("the environment's actions are choices; GAIL's policy is for continuous ones")
        return door

    def _pairs(self, states: Any, actions: Any, whose: str) -> tuple[Tensor, Tensor]:
        """Checked rows [N, S] and [N, A] in raw units."""
        s, a = np.asarray(states, np.float32), np.asarray(actions, np.float32)
        if s.ndim != 2 or s.shape[1] != self.state_dim or a.shape != (len(s), self.action_dim) or not len(s):
            raise ValueError(
                f"{whose} states {list(s.shape)} and actions {list(a.shape)} must be [N, {self.state_dim}] "
                f"and [N, {self.action_dim}] with N >= 1"
            )
        if not (np.isfinite(s).all() and np.isfinite(a).all()):
            raise ValueError(f"the {whose} has a state or an action that is not finite")
        return torch.from_numpy(s), torch.from_numpy(a)

    def _measure(self, states: Tensor, actions: Tensor) -> None:
        """States and actions are seen in units of these from now on, by everybody."""
        nets = (self.policy, self.discriminator.net)
        for rows, mine in (
            (states, [n.obs_normalizers["state"] for n in nets]),
            (actions, [n.action_normalizer for n in nets]),
        ):
            moments = Moments.of([rows.numpy()])
            spread = np.sqrt(moments.squares / moments.rows).clip(min=_FLOOR)
            for normalizer in mine:
                normalizer.shift.copy_(torch.as_tensor(moments.mean))
                normalizer.scale.copy_(torch.as_tensor(spread))
        self._measured = True


class _Game:
    """Pays rollouts by the discriminator, which learns from each before."""

    def __init__(self, gail: GAIL, env: DoorEnv, expert: Transitions) -> None:
        self._gail, self._expert, self.losses = gail, expert, list[float]()
        decode = gail.discriminator.net.action_normalizer
        low, high = (torch.from_numpy(np.array(b)) for b in (env.action.low, env.action.high))
        self._low, self._high = decode.forward(low), decode.forward(high)

    def pay(self, rollout: Rollout) -> tuple[Tensor, Mapping[str, float]]:
        """Rewards [T, 1]; and nothing to tell."""
        gail, lived = self._gail, rollout.flat()
        lived = lived._replace(action=lived.action.clamp(self._low, self._high))
        n = len(lived.reward)
        loss = 0.0
        for _ in range(max(1, n // _PACE)):
            loss = gail._step(self._drawn(self._expert), self._drawn(lived))
        self.losses.append(loss)
        paid = gail.discriminator.net.relabel(lived, _DISCOUNT).reward
        return paid.view(rollout.reward.shape), {}

    def _drawn(self, rows: Transitions) -> Transitions:
        index = torch.randint(len(rows.reward), (_BATCH,), generator=self._gail._draws)
        return Transitions(*(x[index] for x in rows))


def _plain(width: int) -> Normalizer:
    """A normaliser that somebody will set."""
    return Normalizer(Columns((width,), "standard"), torch.zeros(width), torch.ones(width))
