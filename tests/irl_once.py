"""The one-step problem with a known answer: an expert who draws x from N(0.7, 0.3²), so p ∝ exp(θ·(x, x²)).

θ = (μ/σ², -1/2σ²) = (7.778, -5.556). The action is x, in a box of five standard deviations to either side;
the observation says nothing. Demonstrations are quantiles with exactly that mean and variance, so no error of
theirs enters.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.stats import norm

from understudy import heads, nets
from understudy.agent import Agent, Columns, Normalizer
from understudy.dataset import Dataset
from understudy.envs import ActionSpec, adapt
from understudy.envs.door import DoorEnv
from understudy.episode import Episode
from understudy.rewards import RewardConfig, RewardNet

MEAN, STD, HALF = 0.7, 0.3, 1.5
LOW, HIGH = [MEAN - HALF], [MEAN + HALF]
TRUTH = (MEAN / STD**2, -0.5 / STD**2)
LINEAR = RewardConfig("state-action", "quadratic", ())


class Once:
    """One decision, and the task is over."""

    action = ActionSpec.box(LOW, HIGH)

    def reset(self, seed: int | None = None) -> Any:
        return np.zeros(1, np.float32)

    def step(self, action: Any) -> Any:
        return np.zeros(1, np.float32), 0.0, True, False, {}


def make_once() -> DoorEnv:
    return adapt(Once(), horizon=1)


def quantiles(n: int) -> Any:
    """[n] with mean 0.7 and standard deviation 0.3 exactly."""
    x = norm.ppf((np.arange(n) + 0.5) / n)
    return (x - x.mean()) / x.std() * STD + MEAN


def demonstrations(n: int) -> Dataset:
    def one(x: float) -> Episode:
        action = np.array([[x]], np.float32)
        blank = np.zeros((2, 1), np.float32)
        return Episode({"state": blank}, action, action, np.ones(1, np.bool_), np.zeros(1), True, None, {})

    return Dataset([one(x) for x in quantiles(n)])


def actor(hidden: tuple[int, ...], std: Any) -> Agent:
    obs = {"state": Normalizer(Columns((1,)), torch.zeros(1), torch.ones(1))}
    action = Normalizer(Columns((1,), "range"), torch.tensor([MEAN]), torch.tensor([HALF]))
    head = heads.Gaussian(squash=True, std=std)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Agent(obs, action, nets.MLP(hidden), head, 1, 1, (LOW, HIGH))


def theta(reward: RewardNet) -> tuple[float, float]:
    """The weights of x and x². The features are s, a, s², sa, a² with a = (x - MEAN) / HALF."""
    w = reward.out.weight[0].detach().double()
    square = float(w[4]) / HALF**2
    return float(w[1]) / HALF - 2 * MEAN * square, square
