"""Maximum-entropy inverse reinforcement learning with a soft policy inside, in one loop (Zeng et al. 2022).

The demonstrator is taken to maximise E Σ_t γ^t (r_θ + α H(π)), so that π_θ ∝ exp(Q_θ/α) with soft values Q_θ.
The gradient of the demonstrations' log-likelihood, times α, is then

    E_demo[Σ_t γ^t ∂r_θ] - E_{π_θ}[Σ_t γ^t ∂r_θ],

with the same discount, the same steps and the same end of the task on both sides. π_θ need not be found anew
for each θ: an update of a soft actor-critic for every step of the environment, and a small step of the reward
behind it, follow each other to the fixed point (two time scales, the reward being the slower one).

What is exact here and what is not:

- The temperature is fixed. A tuned one would change the model with every update.
- The policy's side comes from its own last few whole episodes, drawn with weight γ^t. Their states are
  on-policy but for the updates since, at most `recent` episodes of them: a lag that shrinks with the steps of
  both. Rows of the whole replay would be a mixture of all policies that ever were, which is another
  expectation altogether. Where the reward reads actions (and not what they led to), these are drawn anew from
  the policy as it is, so that they do not lag at all; on a one-step problem that is all there is.
- Rewards in the replay are never stored: each batch is paid by the reward as it is then.
- A time limit cuts both sides after the same steps, and the learner bootstraps there. An end of the task
  goes on in an absorbing state whose reward is learned too.
- A constant means nothing in a reward that is paid for ever: without a bound, it is moved so that the
  expert's mean stays near zero.
- For expressive networks the likelihood has no finite maximum: a nearly deterministic expert would want
  rewards without limit. A prior, a bound (`RewardConfig.bound`) or a penalty on the slope is part of the
  model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from understudy.agent import Agent
from understudy.dataset import Dataset
from understudy.envs.door import DoorEnv
from understudy.learn.replay import Transitions
from understudy.learn.sac import SAC
from understudy.learn.sac import Config as SACConfig
from understudy.online.base import Setting
from understudy.online.occupancy import Occupancy, expected
from understudy.online.practice import Practice, Reward
from understudy.online.reward_steps import RewardSteps, half_cosine
from understudy.online.start import transitions
from understudy.rewards import RewardConfig, RewardNet
from understudy.serial import check_kept

__all__ = ["LEARNER", "READING", "STEPS", "Config", "MaxEntIRL", "build", "paid_by"]

LEARNER = SACConfig(discount=0.97, temperature=0.02, hidden=(64, 64), learning_rate=1e-3)
READING = RewardConfig("state-action")
STEPS = 12_000  # of the environment
# The share of the expert's mean reward that is taken off in each step of the reward. That mean says nothing,
# but a critic that begins at zero would first have to climb to it, times 1 / (1 - γ).
_CENTRING = 0.01


@dataclass(frozen=True)
class Config:
    """How the reward is learned; the soft policy's settings are `learn.sac.Config`."""

    reward_rate: float = 1e-3
    """Adam's learning rate."""
    reward_every: int = 2
    """Steps of the environment from one gradient step of the reward to the next."""
    reward_batch: int = 512
    """Steps drawn from the demonstrations, and as many from the policy's episodes; all, where there are no
    more."""
    recent: int = 10
    """The policy's last episodes that stand for it."""
    reward_fall: int | None = None
    """Steps of the environment over which the rate falls to zero along half a cosine; None keeps it."""
    reward_prior: float = 0.0
    """λ of λ/2 |θ|² on the reward's weights: a Gaussian prior of variance 1/λ."""
    reward_slope: float = 2.0
    """λ of λ E|∂r/∂x|², on random points between demonstrations and policy: how steep a reward is likely to
    be, and so its scale. 0 for linear rewards, whose scale the temperature alone should set."""
    reward_past: float = 0.0
    """In [0, 1): this share of the policy's side comes from all it ever did, the random start included. Then
    the reward says less exactly what the last policy does, and goes on to say that what was given up was
    worse: without it a network forgets, and a policy that starts anew may be lost where nobody goes now."""
    reward_memory: float | None = 0.999
    """None, or in (0, 1): the reward to keep is a moving average of the weights over gradient steps."""

    def __post_init__(self) -> None:
        rules = {
            "reward_rate": 0 < self.reward_rate < float("inf"),
            "reward_every": self.reward_every >= 1,
            "reward_batch": self.reward_batch >= 1,
            "recent": self.recent >= 1,
            "reward_fall": self.reward_fall is None or self.reward_fall >= 1,
            "reward_prior": 0 <= self.reward_prior < float("inf"),
            "reward_slope": 0 <= self.reward_slope < float("inf"),
            "reward_past": 0 <= self.reward_past < 1,
            "reward_memory": self.reward_memory is None or 0 < self.reward_memory < 1,
        }
        if broken := [name for name, kept in rules.items() if not kept]:
            raise ValueError(f"{broken[0]} is {getattr(self, broken[0])!r}, which is out of its range")


def paid_by(reward: RewardNet, discount: float) -> Reward:
    """For `Practice`: rewards by a network as it is at the moment, ends of the task valued at `discount`."""
    return lambda batch: reward.relabel(batch, discount).reward


class MaxEntIRL:
    """Learns a reward, and the policy that is soft-optimal for it; the caller owns time.

    A `step` is one step of the environment, the learner's updates behind it and, when it is its turn, one
    gradient step of the reward.

    Args:
        make_env: makes the environment.
        data: demonstrations.
        sac: the soft policy, at a fixed temperature. Its agent must see the reward's units.
        reward: trained in place.
        config: how the reward is learned.
        seed: of the episodes and of what is drawn.
        start: transitions to begin the replay with, such as uniformly random ones (`uniform`).
        batch: of the learner's updates.
        updates: of the learner after each step of the environment, or each n-th one.
        every: n, for `updates`.

    Raises:
        ValueError: when the temperature is tuned, or reward and agent differ in units.
    """

    def __init__(
        self,
        make_env: Callable[[], DoorEnv],
        data: Dataset,
        sac: SAC,
        reward: RewardNet,
        config: Config = Config(),
        *,
        seed: int,
        start: Transitions | None = None,
        batch: int = 256,
        updates: int = 1,
        every: int = 1,
    ) -> None:
        if sac.config.temperature is None:
            raise ValueError("temperature is None, so tuned: the model changes with it; give it a number")
        reward.check_units(sac.agent)
        self.config, self._discount = config, sac.config.discount
        self._reward = RewardSteps(reward, config.reward_rate, config.reward_prior, config.reward_memory)
        self._demos = transitions(sac.agent, data)
        lengths = [len(e) for e in data]
        self._expert = Occupancy.of(lengths, [e.terminated for e in data], self._discount)
        self.practice = Practice(
            make_env, sac, seed=seed, start=start, batch=batch, updates=updates, every=every,
            reward=paid_by(reward, self._discount),
        )  # fmt: skip
        self._draws = torch.Generator().manual_seed(seed)
        self._known = -1  # how many finished episodes the two below know of
        self._rows, self._policy = torch.empty(0, dtype=torch.int64), Occupancy(torch.empty(0), 0.0)

    @property
    def agent(self) -> Agent:
        """The soft policy; it acts by its mode."""
        return self.practice.agent

    @property
    def reward(self) -> RewardNet:
        """The reward to keep: the moving average of the weights where there is one."""
        return self._reward.reward

    def step(self) -> dict[str, float]:
        """One step of the environment, and what is learned from it.

        What is told is that of `Practice.step`, and of a gradient step of the reward: "reward_expert" and
        "reward_policy", (1 - γ) E Σ γ^t r of each side, "loss", the policy's less the expert's, and
        "reward_gradient", the norm of its gradient. None of these comes before the first whole episode.
        """
        told = self.practice.step()
        if self.practice.finished and self.practice.steps % self.config.reward_every == 0:
            told |= self._learn()
        return told

    def _learn(self) -> dict[str, float]:
        """One gradient step of the reward."""
        rows, demo_weight = self._expert.draw(self.config.reward_batch, self._draws)
        demos = Transitions(*(x[rows] for x in self._demos))
        lived, weight = self._recent()
        reward = self._reward.trained
        expert = expected(reward, demos, demo_weight, self._expert.after)
        policy = expected(reward, lived, weight, self._policy.after)
        loss = policy - expert
        if past := self.config.reward_past:
            before = self.practice.replay.sample(self.config.reward_batch, self._draws)
            elsewhere = float(weight.sum()) * reward.forward(before).mean()
            loss = loss + past * (elsewhere - policy)
        if self.config.reward_slope:
            loss = loss + self.config.reward_slope * reward.slope(self._between(demos, lived)).mean()
        fall = self.config.reward_fall
        share = 1.0 if fall is None else half_cosine(self.practice.steps / fall)
        norm = self._reward.descend(loss, share)
        if reward.config.bound is None:
            total = float(demo_weight.sum()) + self._expert.after
            self._reward.shift(-_CENTRING * float(expert.detach()) / total)
        return {
            "reward_expert": float(expert.detach()),
            "reward_policy": float(policy.detach()),
            "loss": float((policy - expert).detach()),
            "reward_gradient": norm,
        }

    def _recent(self) -> tuple[Transitions, Tensor]:
        """Steps of the policy's last whole episodes, and their weights."""
        practice = self.practice
        if self._known != len(practice.finished):
            last = practice.finished[-self.config.recent :]
            self._rows = torch.cat([torch.arange(f.step - f.length, f.step) for f in last])
            ends = torch.tensor([f.step - 1 for f in last])
            ended = practice.replay.take(self._index(ends)).terminated.bool().tolist()
            self._policy = Occupancy.of([f.length for f in last], ended, self._discount)
            self._known = len(practice.finished)
        drawn, weight = self._policy.draw(self.config.reward_batch, self._draws)
        lived = practice.replay.take(self._index(self._rows[drawn]))
        if self._reward.trained.config.reads == "state-action":
            lived = lived._replace(action=practice.sac.explore(lived.obs))
        return lived, weight

    def _index(self, steps: Tensor) -> Tensor:
        """Rows of the replay, counted from the oldest, of steps of the practice, counted from the first."""
        return steps + (len(self.practice.replay) - self.practice.steps)

    def _between(self, demos: Transitions, lived: Transitions) -> Transitions:
        """Random points on the lines between pairs of both (Gulrajani et al. 2017), as many as fewer give."""
        n = min(len(demos.reward), len(lived.reward))
        share = torch.rand(n, 1, generator=self._draws)
        pairs = zip(demos[:2] + demos[3:4], lived[:2] + lived[3:4], strict=True)
        obs, action, next_obs = (share * a[:n] + (1 - share) * b[:n] for a, b in pairs)
        return Transitions(obs, action, demos.reward[:n], next_obs, demos.terminated[:n])

    def close(self) -> None:
        """Frees what the environment holds."""
        self.practice.close()

    def state_dict(self) -> dict[str, Any]:
        """All that a later run needs to continue to the same bits: a tree for `serial.write_tree`."""
        return {
            "config": asdict(self.config),
            "demonstrations": len(self._demos.reward),
            "reward": self._reward.state_dict(),
            "practice": self.practice.state_dict(),
            "draws": self._draws.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there to the same bits as if there had been no interruption.

        Raises:
            ValueError: when the state belongs to other settings, demonstrations or environments.
        """
        mine = {"config": asdict(self.config), "demonstrations": len(self._demos.reward)}
        check_kept(state, mine, ("reward", "practice", "draws"))
        self._reward.load_state_dict(state["reward"])
        self.practice.load_state_dict(state["practice"])
        self._draws.set_state(state["draws"])
        self._known = -1


def build(setting: Setting, config: Config) -> MaxEntIRL:
    """The learner for a task and its demonstrations.

    Raises:
        ValueError: when there are no demonstrations, or the temperature is tuned.
    """
    data = setting.demonstrations("maxent-irl")
    sac, start = setting.soft()
    # A given reward goes on from where it is, with a policy that starts from nothing: what it forgot of the
    # places that its last policy left long ago, it learns again.
    reward = setting.given or RewardNet.of(sac.agent, setting.reading, setting.learner.seed)
    plan = setting.practising
    return MaxEntIRL(
        setting.task.make, data, sac, reward, config,
        seed=setting.learner.seed, start=start, batch=plan.batch, updates=plan.updates,
        every=plan.every,
    )  # fmt: skip
