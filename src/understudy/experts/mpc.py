"""Model-predictive control by sampling: whoever can simulate a task in NumPy has an expert for it.

Shapes: N sampled plans; H steps of a plan; S state width; A action width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, final

import numpy as np

from understudy.episode import Array, Obs
from understudy.experts.advice import Bounded

__all__ = ["CEM", "MPC", "MPPI", "pendulum_mpc"]

Step: TypeAlias = Callable[[Array, Array], Array]
"""(states [N, S], actions [N, A]) -> the states [N, S] one control step later."""
Cost: TypeAlias = Callable[[Array, Array], Array]
"""(states [N, S], actions [N, A]) -> what doing that there costs, [N]."""
Price: TypeAlias = Callable[[Array], Array]
"""(plans [N, H, A]) -> what each costs in all, [N]; infinite where the model broke down."""


class Planner(Protocol):
    """Improves a plan by trying others around it."""

    def improve(self, plan: Array, half: Array, price: Price, random: np.random.Generator) -> Array:
        """A better plan [H, A]; `half` [A] is half the range of each action, `price` clips to the bounds."""
        ...


@final
@dataclass(frozen=True)
class MPPI:
    """Model-predictive path integral control (Williams et al. 2017, "Information theoretic MPC", Alg. 2).

    With u the plan and ε_k the disturbances: u ← u + Σ w_k ε_k, w_k ∝ exp(-(S_k - min S) / λ). Here the
    price of control is whatever `cost` says (their α = 1), disturbances are those left after clipping, and
    the undisturbed plan is one of the samples, so that a good plan is not lost to noise.

    Args:
        samples: N, how many plans are tried.
        noise: standard deviation of the disturbances, in units of half the action range.
        temperature: λ, in units of cost; the smaller, the more the best sample alone counts.
        rounds: how often the plan is improved in one control step.

    Raises:
        ValueError: when a number is out of its range.
    """

    samples: int
    noise: float
    temperature: float
    rounds: int = 1

    def __post_init__(self) -> None:
        _check(self.samples, self.noise, self.rounds)
        if not 0 < self.temperature < np.inf:
            raise ValueError(f"temperature is {self.temperature}; it must be greater than 0 and finite")

    def improve(self, plan: Array, half: Array, price: Price, random: np.random.Generator) -> Array:
        """See `Planner`."""
        for _ in range(self.rounds):
            tried = _around(plan, self.noise * half, self.samples, random)
            cost = price(tried)
            weight = np.exp(-(cost - cost.min()) / self.temperature)
            plan = np.tensordot(weight / weight.sum(), tried, 1)
        return plan


@final
@dataclass(frozen=True)
class CEM:
    """The cross-entropy method (Rubinstein 1999; for planning, Kobilarov 2012).

    Plans are drawn from a normal distribution with its own mean and spread for every step and dimension,
    which is fitted to the best of them, and again.

    Args:
        samples: N, how many plans are tried in a round.
        noise: the first standard deviation, in units of half the action range.
        elites: how many of the best the next distribution is fitted to.
        rounds: how often.

    Raises:
        ValueError: when a number is out of its range.
    """

    samples: int
    noise: float
    elites: int
    rounds: int

    def __post_init__(self) -> None:
        _check(self.samples, self.noise, self.rounds)
        if not 2 <= self.elites <= self.samples:
            raise ValueError(f"elites is {self.elites}; it must lie in [2, {self.samples}], the samples")

    def improve(self, plan: Array, half: Array, price: Price, random: np.random.Generator) -> Array:
        """See `Planner`."""
        spread = self.noise * half
        for _ in range(self.rounds):
            tried = _around(plan, spread, self.samples, random)
            best = tried[np.argpartition(price(tried), self.elites - 1)[: self.elites]]
            plan, spread = best.mean(0), best.std(0)
        return plan


def _check(samples: int, noise: float, rounds: int) -> None:
    if samples < 2 or rounds < 1:
        raise ValueError(f"samples is {samples} and rounds {rounds}; at least 2 and 1 are needed")
    if not 0 < noise < np.inf:
        raise ValueError(f"noise is {noise}; it must be greater than 0 and finite")


def _around(plan: Array, spread: Array, samples: int, random: np.random.Generator) -> Array:
    """The plan itself and others around it, [N, H, A]."""
    noise = random.standard_normal((samples, *plan.shape))
    noise[0] = 0.0
    return np.asarray(plan + noise * spread)


@final
class MPC:
    """A Policy that plans ahead through a model at every step, and does the first action of its plan.

    The plan of the last step, moved on by one, is where planning goes on. As an expert
    (`PolicyExpert(MPC(...))`) it answers wherever the robot has got to, because it starts from the state that
    it is shown and not from where it wanted to be. Every choice follows from the episode's seed. It can be
    pickled where `step`, `cost`, `final` and `state_of` can: functions of a module, not lambdas.

    Args:
        step: the model.
        cost: of one step. The first state of a plan is the present one.
        spec: the actions; continuous, with finite bounds (`understudy.envs.ActionSpec`).
        state_of: the model's state [S] for an observation.
        horizon: H >= 1, how many control steps it looks ahead.
        planner: how plans are improved: MPPI or CEM.
        final: what it costs to end a plan in states [N, S], [N]; None for nothing.

    Raises:
        ValueError: when the horizon is not positive or the bounds are not finite.
        TypeError: for discrete actions.
    """

    name = "MPC"

    def __init__(
        self,
        step: Step,
        cost: Cost,
        spec: Bounded,
        state_of: Callable[[Obs], Array],
        horizon: int,
        planner: Planner,
        final: Callable[[Array], Array] | None = None,
    ) -> None:
        if spec.n is not None:
            raise TypeError("plans are of continuous actions; these are discrete")
        if not (np.isfinite(spec.low).all() and np.isfinite(spec.high).all()):
            raise ValueError(f"action bounds are {spec.low} and {spec.high}; plans need finite ones")
        if horizon < 1:
            raise ValueError(f"horizon is {horizon}; a plan has at least one step")
        self.step, self.cost, self.final, self.state_of = step, cost, final, state_of
        self.spec, self.horizon, self.planner = spec, horizon, planner
        self._low, self._high = (np.asarray(b, np.float64) for b in (spec.low, spec.high))
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Forgets the plan; every random choice of the episode follows from `seed`."""
        # Salted: the environment draws its start from the same seed, and must not share its numbers.
        self._random = np.random.default_rng([seed, 0x3BC])
        middle = (self._low + self._high) / 2.0
        self._plan: Array = np.tile(middle, (self.horizon, 1))

    def act(self, obs: Obs) -> Array:
        """The action [A], float32.

        Raises:
            ValueError: when the model or the cost gives another shape than it should, or every plan breaks
                down.
        """
        state = np.asarray(self.state_of(obs), np.float64)
        if state.ndim != 1:
            raise ValueError(f"state_of gave shape {list(state.shape)}; a state is [S]")

        def price(plans: Array) -> Array:
            np.clip(plans, self._low, self._high, out=plans)  # what is kept of a plan is what was tried
            return self._price(state, plans)

        half = (self._high - self._low) / 2.0
        plan = np.clip(self.planner.improve(self._plan, half, price, self._random), self._low, self._high)
        self._plan = np.concatenate([plan[1:], plan[-1:]])
        return np.asarray(plan[0], np.float32)

    def _price(self, state: Array, plans: Array) -> Array:
        """What plans [N, H, A] cost from a state on, [N]."""
        count = len(plans)
        states, total = np.repeat(state[None], count, 0), np.zeros(count)
        with np.errstate(all="ignore"):  # a plan may leave what the model can follow: it is then dear
            for t in range(self.horizon):
                total += _shaped(self.cost(states, plans[:, t]), (count,), "cost")
                states = _shaped(self.step(states, plans[:, t]), (count, state.size), "step")
            if self.final is not None:
                total += _shaped(self.final(states), (count,), "final")
        total[~np.isfinite(total)] = np.inf
        if not np.isfinite(total.min()):
            raise ValueError(
                f"no plan from state {state} has a finite cost; the model or the cost breaks down"
            )
        return total


def _shaped(value: Any, shape: tuple[int, ...], name: str) -> Array:
    x = np.asarray(value, np.float64)
    if x.shape != shape:
        raise ValueError(
            f"{name} gave shape {list(x.shape)} for {shape[0]} samples; it must be {list(shape)}"
        )
    return x


def pendulum_mpc(spec: Bounded, horizon: int = 25, planner: Planner | None = None) -> MPC:
    """MPC of Gymnasium's pendulum (task "pendulum") through its true dynamics: an example, and an expert.

    Args:
        spec: the task's actions.
        horizon: control steps of 0.05 s.
        planner: MPPI with 128 samples by default.
    """
    planner = planner or MPPI(samples=128, noise=0.5, temperature=0.5)
    return MPC(pendulum_step, pendulum_cost, spec, pendulum_state, horizon, planner, pendulum_final)


def pendulum_state(obs: Obs) -> Array:
    """(cos θ, sin θ, θ') to (θ, θ'), [2]."""
    cos, sin, speed = obs["state"]
    return np.array([np.arctan2(sin, cos), speed])


def pendulum_step(states: Array, actions: Array) -> Array:
    """θ'' = 15 sin θ + 3 u with |θ'| <= 8, in one step of 0.05 s; θ = 0 is upright."""
    angle, speed = states[:, 0], states[:, 1]
    speed = np.clip(speed + (15.0 * np.sin(angle) + 3.0 * actions[:, 0]) * 0.05, -8.0, 8.0)
    return np.stack([angle + 0.05 * speed, speed], 1)


def pendulum_cost(states: Array, actions: Array) -> Array:
    """The task's own cost: θ² + 0.1 θ'² + 0.001 u², with θ in [-π, π)."""
    angle = (states[:, 0] + np.pi) % (2.0 * np.pi) - np.pi
    return np.asarray(angle**2 + 0.1 * states[:, 1] ** 2 + 0.001 * actions[:, 0] ** 2)


def pendulum_final(states: Array) -> Array:
    """The cost of where a plan ends, as if it would stay there for another half a second."""
    return 10.0 * pendulum_cost(states, np.zeros((len(states), 1)))
