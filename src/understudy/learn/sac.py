"""Soft actor-critic (Haarnoja et al. 2018): the best policy where randomness itself is worth something.

It maximises E Σ_t γ^t (r_t + α H(π(.|s_t))). At a fixed temperature α its policy is π ∝ exp(Q/α), which is
what maximum-entropy inverse reinforcement learning assumes of a demonstrator; a tuned one holds the policy's
mean entropy at a target instead.

Shapes: B batch, N rows, O width of the flat normalised observation, A of the action.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from understudy.agent import Agent
from understudy.heads.gaussian import GaussianHead
from understudy.learn.actor import Actor, Drawn
from understudy.learn.critics import Critic, Critics, Points
from understudy.learn.lessons import EVALUATION, Lesson
from understudy.learn.replay import Transitions

__all__ = ["SAC", "Config", "stream"]

_LEAST_SIZE = 1e-3  # of values, so that a temperature in units of them never vanishes


@dataclass(frozen=True)
class Config:
    """How it learns.

    Args:
        discount: γ in [0, 1).
        temperature: α, the worth of a nat of entropy in units of reward; None tunes it to `target_entropy`.
        first_temperature: where a tuned temperature starts.
        target_entropy: in nats, of the action in (-1, 1)^A; None is -A. Of a tuned temperature only.
        temperature_in: what α counts in: units of "reward", or of "value", the running mean of |Q|. Where
            what is paid is itself learned, values grow faster than a temperature is tuned.
        entropy_in_target: whether the critics count the entropy of later steps as reward. Without it they
            value rewards alone, and the actor alone is paid for being random.
        critic: "plain", "layernorm" or "crossq"; see `critics.Critics`.
        critics: how many.
        target_critics: of how many, drawn anew in each update, a next state's value is the least; None is
            all. Where some are drawn, the actor climbs the mean of all, as in REDQ and RLPD.
        hidden: widths of the critics' layers.
        learning_rate: Adam's, of critics, actor and temperature.
        polyak: by which share targets follow the critics in each update; CrossQ has no targets.
        actor_every: the actor and the temperature learn in each n-th update only.
        seed: of the critics' first weights and of all noise.
    """

    discount: float = 0.99
    temperature: float | None = None
    first_temperature: float = 1.0
    target_entropy: float | None = None
    temperature_in: Literal["reward", "value"] = "reward"
    entropy_in_target: bool = True
    critic: Critic = "layernorm"
    critics: int = 2
    target_critics: int | None = None
    hidden: tuple[int, ...] = (256, 256)
    learning_rate: float = 3e-4
    polyak: float = 0.005
    actor_every: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        rules = {
            "discount": 0 <= self.discount < 1,
            "temperature": self.temperature is None or 0 < self.temperature < math.inf,
            "first_temperature": 0 < self.first_temperature < math.inf,
            "target_entropy": self.target_entropy is None or math.isfinite(self.target_entropy),
            "temperature_in": self.temperature_in in ("reward", "value"),
            "critic": self.critic in ("plain", "layernorm", "crossq"),
            "critics": 1 <= self.critics <= 1000,
            "target_critics": self.target_critics is None or 1 <= self.target_critics <= self.critics,
            "hidden": 1 <= len(self.hidden) <= 100 and all(1 <= w <= 1 << 20 for w in self.hidden),
            "learning_rate": 0 < self.learning_rate < math.inf,
            "polyak": 0 < self.polyak <= 1,
            "actor_every": self.actor_every >= 1,
            "seed": self.seed >= 0,
        }
        if broken := [name for name, kept in rules.items() if not kept]:
            raise ValueError(f"{broken[0]} is {getattr(self, broken[0])!r}, which is out of its range")
        if self.temperature is not None and self.target_entropy is not None:
            raise ValueError(
                f"target_entropy is {self.target_entropy}, but temperature is fixed at {self.temperature}"
            )


class SAC:
    """Trains `agent` in place, from transitions that the caller gives it.

    Critics, two unless asked otherwise (Fujimoto et al. 2018), a tanh-Gaussian actor, and Adam for each. What
    the critics learn is a lesson. By the default one, the target of a transition is
    y = r + γ (1 - terminated) (min_m Q_m(s', a') - α log π(a'|s')), a' ~ π(.|s'): an end by time limit
    is not a termination, so what would have followed counts. The reward is what stands in the batch: the
    environment's own, or a learned one computed just before.

    Densities are of normalised actions, in (-1, 1)^A.

    Args:
        agent: with an MLP trunk without dropout, a Gaussian head with `squash` and `std="state"`, and one
            step of history and of horizon. It takes a buffer of this learner's as the home of its weights.
        config: how it learns.
        lesson: what the critics learn; `lessons.SoftBellman` evaluates the policy. Inverse methods that never
            write a reward down give another functional of the values (`online.iq`, `online.lsiq`).

    Raises:
        ValueError: when the agent is not that.
    """

    def __init__(self, agent: Agent, config: Config = Config(), lesson: Lesson = EVALUATION) -> None:
        self.config, self._agent, self._lesson = config, agent, lesson
        self._actor = Actor(agent)
        self.obs, self.action = self._actor.obs, self._actor.action
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(config.seed, 0).initial_seed())
            self._critics = Critics(
                self.obs, self.action, config.hidden, config.critic, config.critics, config.target_critics
            )
        self._noise = stream(config.seed, 1)
        self._temperature = Temperature(config, self.action)
        self._updates, self._told = 0, dict[str, float]()

    @property
    def agent(self) -> Agent:
        """The agent to evaluate and to save: it acts by its mode, tanh of the mean."""
        return self._agent

    @property
    def temperature(self) -> float:
        """α now, in units of reward."""
        return self._temperature.value

    @torch.no_grad()
    def explore(self, obs: Tensor) -> Tensor:
        """Normalised observations [O] or [N, O] to actions drawn from the policy, [A] or [N, A]."""
        if obs.ndim == 1:
            return self._actor.draw_one(obs, torch.randn(self.action, generator=self._noise))
        return self._actor.draw(obs, torch.randn(len(obs), self.action, generator=self._noise)).action

    @torch.no_grad()
    def values(self, obs: Tensor, action: Tensor) -> Tensor:
        """Q_m(s, a) of each critic, [M, B], for normalised observations [B, O] and actions [B, A]."""
        return self._critics.values(torch.cat((obs, action), 1))

    @torch.no_grad()
    def log_prob(self, obs: Tensor, action: Tensor) -> Tensor:
        """log π(a|s), [B], of normalised actions [B, A] in (-1, 1) after normalised observations [B, O]."""
        agent = self._agent
        assert isinstance(agent.head, GaussianHead)
        return agent.head.log_prob(self._actor.tokens(obs), action[:, None])

    @torch.no_grad()
    def update(self, batch: Transitions, cloned: int = 0, weight: float = 0.0) -> dict[str, float]:
        """One gradient step of the critics and, when it is their turn, of actor and temperature.

        Args:
            batch: transitions.
            cloned: the first so many are demonstrations. To what the actor loses by the critics it adds, in
                each of them, `weight` times the critics' mean |Q| times |tanh μ(s) - a|².
            weight: see `cloned`; relative to |Q| it means the same whatever rewards are (Fujimoto and
                Gu 2021).

        Returns:
            critic_loss, q (the mean value of the batch's actions), temperature; of the actor's last step,
            actor_loss and entropy (the policy's, on the batch); and what the lesson tells.
        """
        config, alpha, n = self.config, self.temperature, len(batch.reward)
        turn = self._updates % config.actor_every == 0
        here = turn or self._lesson.asks_here
        seen = torch.cat((batch.next_obs, batch.obs)) if here else batch.next_obs
        drawn = self._actor.draw(seen, torch.randn(len(seen), self.action, generator=self._noise))
        found = self._critics.fit(
            self._points(batch, drawn, alpha), self._lesson, config.learning_rate, self._noise
        )
        if turn:
            value, slope = self._critics.best(torch.cat((batch.obs, drawn.action[n:]), 1))
            here_drawn, pull = drawn.rows(slice(n, None)), None
            if cloned and weight:
                pull = self._actor.towards(here_drawn, batch.action[:cloned], weight * found.size)
            self._actor.climb(here_drawn, slope, alpha, config.learning_rate, pull)
            log_prob = float(drawn.log_prob[n:].mean())
            self._told = {"actor_loss": alpha * log_prob - float(value.mean()), "entropy": -log_prob}
            self._temperature.step(-log_prob, config.learning_rate)
        self._critics.follow(config.polyak)
        self._temperature.see(found.size)
        self._updates += 1
        told = {"critic_loss": found.loss, "q": found.value, "temperature": self.temperature}
        return told | self._told | dict(found.told)

    def _points(self, batch: Transitions, drawn: Drawn, alpha: float) -> Points:
        """Where the critics are asked. Actions were drawn behind the next states and, after these, here."""
        n = len(batch.reward)
        bonus = drawn.log_prob * (-alpha if self.config.entropy_in_target else 0.0)
        asked = self._lesson.asks_here
        return Points(
            rows=torch.cat((batch.obs, batch.action), 1),
            following=torch.cat((batch.next_obs, drawn.action[:n]), 1),
            following_bonus=bonus[:n],
            here=torch.cat((batch.obs, drawn.action[n:]), 1) if asked else None,
            here_bonus=bonus[n:] if asked else None,
            reward=batch.reward,
            scale=self.config.discount * (1 - batch.terminated),
        )

    def state_dict(self) -> dict[str, Any]:
        """All that continues to the same bits: a tree for `serial.write_tree`."""
        return {
            "updates": self._updates,
            "told": dict(self._told),
            "lesson": repr(self._lesson),
            "config": asdict(self.config) | {"hidden": list(self.config.hidden)},
            "actor": self._actor.state_dict(),
            "critics": self._critics.state_dict(),
            "temperature": self._temperature.state_dict(),
            "noise": self._noise.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there to the same bits as if there had been no interruption.

        Raises:
            ValueError: when the state belongs to other settings or another agent.
        """
        mine = self.state_dict()
        if state.keys() != mine.keys():
            raise ValueError(f"a SAC's state has {sorted(mine)}, not {sorted(state)}")
        for name in ("config", "lesson"):
            if state[name] != mine[name]:
                raise ValueError(f"the state was saved with {state[name]}, this learner has {mine[name]}")
        if type(state["updates"]) is not int or state["updates"] < 0:
            raise ValueError(f"updates is {state['updates']!r}; it must be a number of updates")
        self._actor.load_state_dict(state["actor"])
        self._critics.load_state_dict(state["critics"])
        self._temperature.load_state_dict(state["temperature"])
        self._noise.set_state(state["noise"])
        self._updates, self._told = state["updates"], dict(state["told"])


def stream(seed: int, number: int) -> torch.Generator:
    """One of a seed's streams of random numbers. Two generators with one seed would draw the same bits."""
    state = np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> 1))


class Temperature:
    """α: fixed, or moved until the policy's entropy is the target (Haarnoja et al. 2018b, equation 18).

    Adam on log α with the gradient H(π) - target: where the policy is more random than asked, randomness
    loses worth.
    """

    def __init__(self, config: Config, action: int) -> None:
        self._tuned = config.temperature is None
        first = config.first_temperature if config.temperature is None else config.temperature
        self._target = -float(action) if config.target_entropy is None else config.target_entropy
        self._log, self._first, self._second, self._count = math.log(first), 0.0, 0.0, 0
        self._relative, self._size = config.temperature_in == "value", 1.0

    @property
    def value(self) -> float:
        """α now, in units of reward."""
        return math.exp(self._log) * self._size

    def see(self, size: float) -> None:
        """Takes in the mean |Q| of an update: of a hundred of them, where α counts in it."""
        if self._relative:
            self._size = max(self._size + 0.01 * (size - self._size), _LEAST_SIZE)

    def step(self, entropy: float, rate: float) -> None:
        """One step of Adam; nothing where α is fixed."""
        if not self._tuned:
            return
        grad = entropy - self._target
        self._count += 1
        self._first += 0.1 * (grad - self._first)
        self._second += 0.001 * (grad * grad - self._second)
        first = self._first / (1 - 0.9**self._count)
        second = self._second / (1 - 0.999**self._count)
        self._log -= rate * first / (math.sqrt(second) + 1e-8)

    def state_dict(self) -> dict[str, float]:
        """log α, Adam's moments and the size of values."""
        moments = {"first": self._first, "second": self._second, "count": self._count}
        return {"log": self._log, **moments, "size": self._size}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there."""
        self._log, self._first = float(state["log"]), float(state["first"])
        self._second, self._count = float(state["second"]), int(state["count"])
        self._size = float(state["size"])
