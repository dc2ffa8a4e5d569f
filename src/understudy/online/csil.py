"""Coherent soft imitation learning (Watson et al. 2023): a clone says what it would do, and is paid for it.

A policy π_0 cloned from demonstrations is soft-optimal for the reward α (log π_0(a|s) - log p_0(a|s)), p_0 a
prior. Where π_0 is back at the prior, far from all demonstrations, that is zero. A soft actor-critic that
starts as the clone and counts less on randomness than π_0 does then goes where the clone is sure of itself:
it comes back to what was shown. There is no discriminator and no game; what is paid never changes.

It improves a clone that is mostly right and cannot mend one that is not: where a clone is wrong in states
that count as known, being wrong is what is paid. So cloning must work half-way. And it keeps what the clone
can do only where the critics have learned enough before the first step; see `pretraining`.

Deviations from the paper, with their reasons:

- The paper's network returns to its prior by stationary features with a learned spread (HETSTAT). Here the
  clone is the usual network, and π_0 a mixture of it and the prior, weighted by how near the nearest
  demonstrated state is (`coherent.Coherent`). It does what the features are for by construction, with two
  lengths that held-out demonstrations fix; a ReLU network's own spread knows nothing of distance.
- Cloning is by squared error and π_0's density a normal one cut at the bounds, because demonstrated actions
  at their very bounds have no finite density behind a tanh. The actor is a tanh-Gaussian one with the clone's
  mode and spread.
- The reward is not refined by the difference of expert and policy as the game goes on: a mixture bounds
  what a wrong guess of it can do. It is scaled so that demonstrated steps pay 1 in the mean.
- The critic's targets are clipped from below too: nothing can be worth less than the worst reward for ever.
- An end of the task is paid as the demonstrations are, if some of them end, and else as nothing: rewards of
  mostly one sign would otherwise favour a long life or a short one.
- Before the first step critics learn from demonstrations and uniformly random steps while the actor stays
  as it is; the paper evaluates the demonstrations alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from understudy.agent import Agent
from understudy.envs.door import DoorEnv
from understudy.learn.lessons import Facts, Slopes
from understudy.learn.replay import Transitions
from understudy.learn.sac import SAC, stream
from understudy.learn.sac import Config as SACConfig
from understudy.online.base import Practising, Setting
from understudy.online.coherent import Coherent, Prior
from understudy.online.demonstrated import Demonstrated, beside
from understudy.online.practice import Practice
from understudy.online.start import transitions
from understudy.serial import check_kept

__all__ = ["CSIL", "LEARNER", "PLAN", "STEPS", "ClippedBellman", "Config", "build"]

EXAMPLE = "--task pendulum --data demos"
LEARNER = SACConfig(first_temperature=0.02, entropy_in_target=False, actor_every=2)
PLAN = Practising()
STEPS = 20_000  # of the environment


@dataclass(frozen=True)
class Config:
    """The clone, and how it is improved."""

    bc_steps: int = 5000
    """Gradient steps of cloning; twice, for a first clone without some of the steps measures what the second
    one may be trusted with."""
    doubt: float = 0.01
    """In (0, 1): the prior's share in the clone, however well a state is known."""
    reach: float = 1.0
    """How far from demonstrated states the clone is believed, in units of what separates held-out ones."""
    spread_floor: float = 0.05
    """Of the spread of the clone's actions, in half action ranges."""
    expert_share: float = 0.5
    """In [0, 1): the share of demonstrations in each batch."""
    pretraining: int = 3000
    """Updates of the critics alone before the first step."""
    keep_every: int = 1
    """n: of n steps of a demonstration one is known, to test how few it takes."""

    def __post_init__(self) -> None:
        rules = {
            "bc_steps": self.bc_steps >= 1,
            "doubt": 0 < self.doubt < 1,
            "reach": 0 < self.reach < float("inf"),
            "spread_floor": 0 < self.spread_floor < 1,
            "expert_share": 0 <= self.expert_share < 1,
            "pretraining": self.pretraining >= 0,
            "keep_every": self.keep_every >= 1,
        }
        if broken := [name for name, kept in rules.items() if not kept]:
            raise ValueError(f"{broken[0]} is {getattr(self, broken[0])!r}, which is out of its range")

    @property
    def prior(self) -> Prior:
        """How the clone is made."""
        return Prior(self.bc_steps, self.doubt, self.reach, self.spread_floor)


@dataclass
class ClippedBellman:
    """Soft policy evaluation, with targets inside what rewards for ever can be worth."""

    low: float
    high: float
    asks_here = False
    through = False

    def __call__(self, facts: Facts) -> Slopes:
        """The mean squared Bellman error, and its gradient by Q alone."""
        target = (facts.reward + facts.scale * facts.after).clamp(self.low, self.high)
        error = facts.q - target
        return Slopes(
            float(error.square().mean()), error * (2 / error.shape[1]), None, None, target, dict[str, float]()
        )


class CSIL:
    """A soft actor-critic that starts as a clone and is paid by what the clone would do.

    A `step` is one step of the environment and the updates behind it; the first one is preceded by
    `pretraining`. The agent is the clone until then.

    Args:
        make_env: makes the environment.
        demos: demonstrations in the agent's units.
        sac: the policy and its critics; its agent is the clone already.
        coherent: what pays.
        config: how.
        seed: of the episodes and of what is drawn.
        start: transitions to begin the replay with, such as uniformly random ones (`uniform`).
        batch: rows of each update.
        updates: after each step of the environment, or each n-th one.
        every: n, for `updates`.

    Raises:
        ValueError: when a number is out of its range.
    """

    def __init__(
        self,
        make_env: Callable[[], DoorEnv],
        demos: Demonstrated,
        sac: SAC,
        coherent: Coherent,
        config: Config = Config(),
        *,
        seed: int,
        start: Transitions,
        batch: int = 256,
        updates: int = 1,
        every: int = 1,
    ) -> None:
        self.config, self.coherent, self._sac = config, coherent, sac
        self._demos = demos
        self.practice = Practice(
            make_env, sac, seed=seed, start=start, batch=batch, updates=updates, every=every,
            lesson=self.update,
        )  # fmt: skip
        self._experts = round(batch * config.expert_share)
        self._others = batch - self._experts
        self._draws = stream(seed, 9)
        # A step behind the end of the task pays as demonstrations do, in the mean, if some of them end.
        discount, ended = sac.config.discount, float(bool(demos.rows.terminated.any()))
        self._ever = discount / (1 - discount) * ended

    @property
    def agent(self) -> Agent:
        """The policy; it acts by its mode."""
        return self.practice.agent

    def step(self) -> dict[str, float]:
        """One step of the environment, and the updates that follow it.

        What is told is that of `Practice.step` and `SAC.update`; reward_expert and reward_policy, the mean
        pay of the demonstrations and of the others in the last batch; and known, how well the clone knows
        the others' states, from 0 to 1.
        """
        if not self.practice.steps:
            self._prepare()
        return self.practice.step()

    def _prepare(self) -> None:
        """The critics learn what the clone is worth; the actor goes back to it after each update."""
        kept = {k: v.clone() for k, v in self.agent.state_dict().items()}
        for _ in range(self.config.pretraining):
            self.update()
            self.agent.restore(kept)

    def update(self) -> dict[str, float]:
        """One update of critic and actor, on demonstrations and what was lived, paid anew."""
        lived = self.practice.replay.sample(self._others, self._draws)
        mixed = beside(self._demos.draw(self._experts, self._draws), lived) if self._experts else lived
        paid, known = self._paid(mixed)
        told = self._sac.update(mixed._replace(reward=paid))
        told["reward_policy"] = float(paid[self._experts :].mean())
        told["known"] = float(known[self._experts :].mean())
        if self._experts:
            told["reward_expert"] = float(paid[: self._experts].mean())
        return told

    def _paid(self, batch: Transitions) -> tuple[Tensor, Tensor]:
        """[B], with what follows an end for ever after; and how well the states are known, [B]."""
        paid, known = self.coherent.pays(batch.obs, batch.action)
        return paid + batch.terminated * self._ever, known

    def close(self) -> None:
        """Frees what the environment holds."""
        self.practice.close()

    def state_dict(self) -> dict[str, Any]:
        """All that a later run needs to continue to the same bits: a tree for `serial.write_tree`."""
        return {
            **self._settings(),
            "practice": self.practice.state_dict(),
            "coherent": self.coherent.state_dict(),
            "draws": self._draws.get_state(),
        }

    def _settings(self) -> dict[str, Any]:
        return {
            "config": asdict(self.config),
            "demonstrations": self._demos.fingerprint(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there to the same bits as if there had been no interruption.

        Raises:
            ValueError: when the state belongs to other settings, demonstrations or environments.
        """
        check_kept(state, self._settings(), ("practice", "coherent", "draws"))
        self.practice.load_state_dict(state["practice"])
        self.coherent.load_state_dict(state["coherent"])
        self._draws.set_state(state["draws"])


def build(setting: Setting, config: Config) -> CSIL:
    """The learner for a task and its demonstrations; its agent has been cloned from them.

    Raises:
        ValueError: when there are no demonstrations, too few, or a number is out of its range.
    """
    data, seed, plan = setting.demonstrations("csil"), setting.sac.seed, setting.practising
    agent, first = setting.actor()
    demos = Demonstrated(agent, data, keep_every=config.keep_every, seed=seed)
    coherent = Coherent(agent, demos.rows, config.prior, seed)
    low, high = (b / (1 - setting.sac.discount) for b in coherent.bounds)
    sac = SAC(agent, setting.sac, ClippedBellman(low, high))
    return CSIL(
        setting.task.make, demos, sac, coherent, config,
        seed=seed, start=transitions(agent, first), batch=plan.batch, updates=plan.updates, every=plan.every,
    )  # fmt: skip
