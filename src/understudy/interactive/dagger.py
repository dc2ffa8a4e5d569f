"""DAgger (Ross et al. 2011): the expert labels every state that is visited, whoever drove there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

import numpy as np

from understudy.episode import Array
from understudy.interactive.base import Interactive, State
from understudy.roles import Expert
from understudy.rollout import Arbiter

__all__ = ["Config", "Method", "Mixture"]


@dataclass(frozen=True)
class Config:
    """With what probability β the expert drives a step of round i = 0, 1, ..., of n."""

    beta: Literal["indicator", "linear", "exponential", "constant"] = "indicator"
    """indicator: he drives the first round and no other (the parameter-free schedule of the paper). linear:
    1 - i / n. exponential: p^i. constant: p, which does not fall to 0 as the guarantee asks."""
    p: float = 0.5
    """Of the exponential and the constant schedule."""

    def __post_init__(self) -> None:
        if self.beta not in ("indicator", "linear", "exponential", "constant"):
            raise ValueError(f"beta is {self.beta!r}; it must be indicator, linear, exponential or constant")
        if not 0.0 <= self.p <= 1.0:
            raise ValueError(f"p is {self.p}; a probability lies in [0, 1]")

    def schedule(self, i: int, rounds: int) -> float:
        """β of round i."""
        return {
            "indicator": float(i == 0),
            "linear": max(0.0, 1.0 - i / rounds),
            "exponential": self.p**i,
            "constant": self.p,
        }[self.beta]


@final
class Mixture:
    """The arbiter of DAgger: at each step the expert drives with probability β (paper, section 3.3).

    Where the expert has nothing to say, the policy drives.
    """

    def __init__(self, beta: float) -> None:
        if not 0.0 <= beta <= 1.0:
            raise ValueError(f"beta is {beta}; a probability lies in [0, 1]")
        self.beta = float(beta)
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Starts an episode's coins."""
        self._random = np.random.default_rng([seed, 0xC011])  # not the numbers the environment starts from

    def __call__(self, proposed: Array, advice: Array | None) -> Array:
        """What is executed, [A]."""
        drives = self._random.random() < self.beta
        return advice if drives and advice is not None else proposed


@final
class Method(Interactive):
    """DAgger (Ross et al. 2011, algorithm 3.1).

    Demonstrations given at the start stand before the first round. Without them, the expert must drive the
    first round alone: β(0) = 1, as in the paper.

    Args:
        expert: labels; he is asked at every step.
        config: the schedule.
        rounds: n, for the linear schedule.
        schedule: round i to β, in place of the named one.
    """

    def __init__(
        self, expert: Expert, config: Config, rounds: int, schedule: Callable[[int], float] | None = None
    ) -> None:
        self.expert, self.config, self.rounds, self.schedule = expert, config, rounds, schedule

    def beta(self, i: int) -> float:
        """The probability that the expert drives a step of round i."""
        return self.config.schedule(i, self.rounds) if self.schedule is None else float(self.schedule(i))

    def supervisor(self, state: State) -> tuple[Expert, Arbiter]:
        beta = self.beta(state.round)
        if state.agent is None and beta < 1.0:
            raise ValueError(
                f"beta of the first round is {beta} and there is no policy yet; give demonstrations to start "
                "with, or a schedule that begins at 1"
            )
        return self.expert, Mixture(beta)

    def adapt(self, state: State) -> dict[str, float]:
        return {"beta": self.beta(state.round)} if state.round < self.rounds else {}
