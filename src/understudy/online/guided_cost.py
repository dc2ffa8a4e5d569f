"""Guided cost learning (Finn, Levine and Abbeel 2016), with weights that are what they claim to be.

The model is p_θ(τ) = p(τ) exp(Σ_t r_θ) / Z, p(τ) being the environment's own chances. The gradient of the
mean log-likelihood of the demonstrations is

    E_demo[Σ_t ∂r] - Σ_i w_i Σ_t ∂r(τ_i),    w_i ∝ exp(Σ_t r_θ(τ_i)) / q(τ_i),    Σ_i w_i = 1,

over samples from every policy that has driven, and the demonstrations themselves. q is the density of the
mixture of all those policies and of a density fitted to the demonstrations, each by its share of the samples.
Without the weights the gradient would not depend on θ, and nothing would ever stop it.

**How far it reaches.** A weight is a product over the steps of an episode: its logarithm's variance grows
with their number, and the effective sample size falls exponentially. It is the exact method for one-step
decisions and for whole movements as one action, and workable for tens of steps with a sampler close to the
model. For episodes of hundreds of steps use `online.maxent_irl`, which needs no weights. Where fewer than a
tenth of the samples are effective, nothing is learned here: the sampler is improved first, and when that does
not help the training stops and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from understudy.agent import Agent, Chunked
from understudy.dataset import Dataset
from understudy.envs.door import DoorEnv
from understudy.heads import Gaussian
from understudy.learn.sac import Config as SACConfig
from understudy.nets import MLP
from understudy.online.base import Setting
from understudy.online.importance import WeightCollapse, effective, log_mixture, normalised, tempered
from understudy.online.paths import Paths, joined, log_density, paths_of, returns
from understudy.online.reward_steps import RewardSteps, half_cosine
from understudy.online.samplers import Practised, Refit, Sampler, demonstrator
from understudy.rewards import RewardNet
from understudy.rollout import rollout

__all__ = ["LEARNER", "STEPS", "Config", "GuidedCost", "WeightCollapse", "build"]

LEARNER = SACConfig(temperature=1.0, hidden=(64, 64), learning_rate=1e-3)
STEPS = 100  # rounds
_CLONING = 1000  # steps of the density of the demonstrations


@dataclass(frozen=True)
class Config:
    """How the reward is learned; what drives is a `Sampler`'s matter."""

    episodes: int = 20
    """Drawn from the sampler in each round."""
    rounds_kept: int = 10
    """Whose samples, and whose policies in the mixture, are remembered besides the demonstrations."""
    reward_steps: int = 10
    """Gradient steps of the reward in a round, with the weights computed anew for each."""
    reward_rate: float = 1e-2
    """Adam's learning rate."""
    reward_fall: int | None = None
    """Rounds over which that rate falls to zero along half a cosine; None keeps it."""
    reward_prior: float = 0.0
    """λ of λ/2 |θ|² on the reward's weights: a Gaussian prior of variance 1/λ."""
    reward_memory: float | None = None
    """None, or in (0, 1): the reward to keep is a moving average of the weights over gradient steps."""
    least_effective: float = 0.1
    """The share of the samples that must be effective for a gradient step."""
    improvements: int = 10
    """Of the sampler, tried in one round before the training stops."""
    sampler: Literal["practise", "refit"] = "practise"
    """What `build` lets drive: soft actor-critic at temperature 1 on the reward as it is, or a density fitted
    to the weighted samples, which suits one decision an episode."""
    sampler_steps: int = 500
    """Of each improvement that `build`'s sampler makes: steps of the environment, or of Adam."""

    def __post_init__(self) -> None:
        rules = {
            "episodes": self.episodes >= 2,
            "rounds_kept": self.rounds_kept >= 1,
            "reward_steps": self.reward_steps >= 1,
            "reward_rate": 0 < self.reward_rate < float("inf"),
            "reward_fall": self.reward_fall is None or self.reward_fall >= 1,
            "reward_prior": 0 <= self.reward_prior < float("inf"),
            "reward_memory": self.reward_memory is None or 0 < self.reward_memory < 1,
            "least_effective": 0 < self.least_effective < 1,
            "improvements": self.improvements >= 0,
            "sampler": self.sampler in ("practise", "refit"),
            "sampler_steps": self.sampler_steps >= 1,
        }
        if broken := [name for name, kept in rules.items() if not kept]:
            raise ValueError(f"{broken[0]} is {getattr(self, broken[0])!r}, which is out of its range")


class GuidedCost:
    """Learns a reward from demonstrations by importance sampling; the caller owns time.

    A `step` is one round: episodes are drawn, the reward climbs the likelihood, the sampler follows.

    Args:
        env: behind the door (`envs.adapt`).
        data: demonstrations.
        reward: trained in place.
        sampler: proposes episodes; its agent must see the reward's units.
        demonstrator: a density of the demonstrations' actions; `demonstrator` fits one.
        config: how the reward is learned.
        seed: of the episodes that are drawn.

    Raises:
        ValueError: when reward and agent differ in units.
        TypeError: when the head of an agent has no density.
    """

    def __init__(
        self,
        env: DoorEnv,
        data: Dataset,
        reward: RewardNet,
        sampler: Sampler,
        demonstrator: Agent,
        config: Config,
        seed: int,
    ) -> None:
        reward.check_units(sampler.agent)
        self.config, self._env, self._sampler = config, env, sampler
        self._steps = RewardSteps(reward, config.reward_rate, config.reward_prior, config.reward_memory)
        self._demos = paths_of(data, reward, env.horizon)
        self._scratch = deepcopy(sampler.agent)
        self._fitted = demonstrator
        self._pool: list[Paths] = [self._demos]  # of the demonstrator, then of each policy that is remembered
        self._policies: list[dict[str, Tensor]] = []
        self._logs = log_density(demonstrator, self._demos)[None]  # [K, N], of all paths under all proposals
        self._seed, self._drawn, self._rounds = seed * 1_000_003, 0, 0

    @property
    def agent(self) -> Agent:
        """The sampler's: near the model p_θ where it can express it."""
        return self._sampler.agent

    @property
    def reward(self) -> RewardNet:
        """The reward to keep: the moving average of the weights where there is one."""
        return self._steps.reward

    def step(self) -> dict[str, float]:
        """One round: samples, gradient steps, and an improvement of the sampler.

        "effective" is the share of the samples that are effective at the end, "objective" the mean
        log-likelihood of the demonstrations but for a constant, "refreshes" how often the sampler had to be
        improved first.

        Raises:
            WeightCollapse: a ValueError, when the samples stay too few that are effective.
        """
        self._draw()
        told, refreshes = {}, 0
        while self._effective(self._log_weights()) < self.config.least_effective:
            if refreshes == self.config.improvements:
                raise WeightCollapse(self._complaint())
            told = self._improve()
            self._draw()
            refreshes += 1
        told |= self._climb()
        told |= self._improve()
        self._rounds += 1
        share = self._effective(self._log_weights())
        return {
            **told,
            "effective": share,
            "samples": float(self._logs.shape[1]),
            "refreshes": float(refreshes),
        }

    def _climb(self) -> dict[str, float]:
        """Gradient steps of the reward, as long as enough samples are effective."""
        everything, done, objective = joined(self._pool), 0, 0.0
        log_q = self._log_proposal()
        for _ in range(self.config.reward_steps):
            paid = returns(self._steps.trained, everything)
            if self._effective(paid.detach() - log_q) < self.config.least_effective:
                break
            # The demonstrations are the first of all samples. The gradient of log Σ exp(R - log q) is
            # Σ w ∂R with the self-normalised weights.
            likelihood = paid[: self._demos.episodes].mean() - torch.logsumexp(paid - log_q, 0)
            self._steps.descend(-likelihood, self._fall())
            objective = float(likelihood.detach()) + float(torch.tensor(len(log_q)).double().log())
            done += 1
        return {"objective": objective, "loss": -objective, "updates": float(done)}

    def _fall(self) -> float:
        """The share of the learning rate in this round."""
        fall = self.config.reward_fall
        return 1.0 if fall is None else half_cosine(self._rounds / fall)

    def _draw(self) -> None:
        """Adds a round of episodes of the sampler's present policy; the oldest leaves."""
        policy = Chunked(self.agent, noise=1.0)
        first = self._seed + self._drawn
        seeds = range(first, first + self.config.episodes)
        new = paths_of((rollout(self._env, policy, s) for s in seeds), self._steps.trained, self._env.horizon)
        self._drawn += self.config.episodes
        if len(self._policies) == self.config.rounds_kept:
            a = self._demos.episodes
            b = a + self._pool[1].episodes
            kept = torch.cat((self._logs[:, :a], self._logs[:, b:]), 1)
            self._logs = torch.cat((kept[:1], kept[2:]))
            del self._pool[1], self._policies[0]
        agent = self.agent
        row = torch.cat([log_density(agent, p) for p in self._pool])
        self._policies.append({k: v.clone() for k, v in agent.state_dict().items()})
        self._logs = torch.cat((self._logs, row[None]))
        block = [log_density(self._fitted, new)]
        for weights in self._policies:
            self._scratch.load_state_dict(weights)
            block.append(log_density(self._scratch, new))
        self._logs = torch.cat((self._logs, torch.stack(block)), 1)
        self._pool.append(new)

    def _log_proposal(self) -> Tensor:
        """[N], the log density of the mixture at every sample."""
        return log_mixture(self._logs, torch.tensor([p.episodes for p in self._pool]))

    def _log_weights(self) -> Tensor:
        """[N], Σ_t r - log q, not normalised."""
        with torch.no_grad():
            return returns(self._steps.trained, joined(self._pool)) - self._log_proposal()

    def _effective(self, log_weight: Tensor) -> float:
        return effective(log_weight) / len(log_weight)

    def _improve(self) -> dict[str, float]:
        """The sampler follows the model, part of the way where the weights are too unequal."""
        log_weight = self._log_weights()
        flat = tempered(log_weight, self.config.least_effective * len(log_weight))
        return dict(self._sampler.improve(self._steps.trained, joined(self._pool), normalised(flat)))

    def _complaint(self) -> str:
        share = self._effective(self._log_weights())
        return (
            f"{share:.1%} of {self._logs.shape[1]} samples are effective after {self.config.improvements} "
            f"improvements of the sampler, and {self.config.least_effective:.0%} are needed: take shorter "
            "episodes, a bounded or slower reward, or online.maxent_irl, which needs no weights"
        )

    def state_dict(self) -> dict[str, Any]:
        """All that a later run needs to continue to the same bits: a tree for `serial.write_tree`."""
        return {
            "config": asdict(self.config),
            "rounds": self._rounds,
            "drawn": self._drawn,
            "seed": self._seed,
            "reward": self._steps.state_dict(),
            "sampler": self._sampler.state_dict(),
            "demonstrator": self._fitted.state_dict(),
            "policies": self._policies,
            "pool": [p.fields() for p in self._pool[1:]],
            "logs": self._logs,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there to the same bits as if there had been no interruption.

        Raises:
            ValueError: when the state belongs to other settings or demonstrations.
        """
        mine = self.state_dict()
        if state.keys() != mine.keys():
            raise ValueError(f"the state has {sorted(state)}; it must have {sorted(mine)}")
        for name in ("config", "seed"):
            if state[name] != mine[name]:
                raise ValueError(f"the state was saved with {name} {state[name]}, this has {mine[name]}")
        pool = [self._demos, *(Paths(**p) for p in state["pool"])]
        if state["logs"].shape != (len(pool), sum(p.episodes for p in pool)):
            raise ValueError(f"the state has densities {list(state['logs'].shape)} for other demonstrations")
        self._steps.load_state_dict(state["reward"])
        self._sampler.load_state_dict(state["sampler"])
        self._fitted.restore(state["demonstrator"])
        self._policies, self._pool, self._logs = list(state["policies"]), pool, state["logs"]
        self._rounds, self._drawn = state["rounds"], state["drawn"]


def build(setting: Setting, config: Config) -> GuidedCost:
    """The learner for a task and its demonstrations; one step of it is a round.

    Raises:
        ValueError: when there are no demonstrations, or the temperature of a sampler that practises is not 1.
    """
    data, seed, make = setting.demonstrations("guided-cost"), setting.learner.seed, setting.task.make
    sac, start = setting.soft()
    reward = RewardNet.of(sac.agent, setting.reading, seed)
    steps, batch = config.sampler_steps, setting.practising.batch
    sampler: Sampler = (
        Refit(sac.agent, steps)
        if config.sampler == "refit"
        else Practised(make, sac, reward, steps=steps, seed=seed, start=start, batch=batch)
    )
    plain = Agent.build(data, MLP(setting.sac.hidden), Gaussian(), angles=setting.task.angles, seed=seed)
    return GuidedCost(make(), data, reward, sampler, demonstrator(plain, data, _CLONING, seed), config, seed)
