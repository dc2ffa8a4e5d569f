"""Deep MaxEnt inverse RL: a neural reward on a finite MDP, with exact gradients (Wulfmeier et al. 2015).

The reward of a step is a network of its features. Planning says what that reward makes one do; demonstrated
visits less planned ones are the gradient by the reward of each step, and go back through the network.

Shapes: S states, A actions, K features, H decisions, N different rows of features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Self, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from understudy.nets import MLP
from understudy.tabular import Demonstrations, Plan, TabularMDP, expected_successors, soft_plan

__all__ = ["Config", "DeepMaxEnt", "Reward", "fit_deep"]

Floats: TypeAlias = NDArray[np.float64]
Progress: TypeAlias = Callable[[Mapping[str, float]], None]

_LARGEST = 1 << 27  # numbers in a full table of features


@dataclass(frozen=True)
class Config:
    """How a neural reward is fitted.

    Args:
        weight_decay: λ in λ/2 |W|² over the matrices, against nats a decision. Rewards that fit few
            demonstrations too well grow without bound; this is what stops them.
        iterations: of L-BFGS in a step, after each of which held-out demonstrations are looked at.
        memory: how many iterations L-BFGS remembers.
        patience: steps without a better held-out likelihood, after which fitting stops.
        tolerance: the largest entry of the gradient at which it has converged.
        seed: of the first weights.

    Raises:
        ValueError: when a number is out of its range.
    """

    weight_decay: float = 1e-3
    iterations: int = 10
    memory: int = 20
    patience: int = 5
    tolerance: float = 1e-6
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("weight_decay", "tolerance"):
            if not 0 <= (value := getattr(self, name)) < inf:
                raise ValueError(f"{name} is {value}; it must be a number from 0 up")
        for name in ("iterations", "memory", "patience"):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")


@final
class Reward(nn.Module):
    """r(φ): features [N, K] to rewards [N], in float64, the scaling of features inside.

    Args:
        sample: [N, K], whose means and standard deviations scale every feature; a constant one is only
            shifted.

    Raises:
        ValueError: when the network drops units out, which would make exact gradients wrong.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, sample: Floats, net: MLP, seed: int) -> None:
        super().__init__()
        if net.dropout:
            raise ValueError(f"dropout is {net.dropout}; a reward whose gradient is exact has none")
        spread = sample.std(0)
        spread[spread <= 1e-12 * np.abs(sample).max(0)] = 1.0
        self.register_buffer("mean", torch.tensor(sample.mean(0)))
        self.register_buffer("scale", torch.tensor(spread))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.trunk = net.build({"features": (sample.shape[1],)}, 1).double()
            self.last = nn.Linear(self.trunk.width, 1, dtype=torch.float64)
            nn.init.orthogonal_(self.last.weight, 0.01)  # first rewards are near 0: all actions alike
            nn.init.zeros_(self.last.bias)

    def forward(self, features: Tensor) -> Tensor:
        scaled = (features - self.mean) / self.scale
        out: Tensor = self.last(self.trunk({"features": scaled[:, None]})[:, 0])
        return out[:, 0]

    @torch.no_grad()
    def of(self, features: Floats) -> Floats:
        """As `forward`, without gradients."""
        out: Floats = self(torch.from_numpy(np.ascontiguousarray(features))).numpy()
        return out


@final
class DeepMaxEnt:
    """Fits a neural reward by L-BFGS on all weights: exact gradients, full batch, the same for the same seed.

    The objective is the mean log-likelihood of a demonstrated decision, Σ γ^t log π(a_t | s_t) / Σ γ^t under
    the soft-optimal policy of the reward, less λ/2 |W|². From 64 demonstrations of a 32 x 32 objectworld,
    300 evaluations of L-BFGS reach a lower objective than 300 of Adam at a rate of 0.01, for every λ in 1e-2
    to 1e-4 and at the same cost (0.23 against 0.34 at λ = 1e-3).

    Args:
        mdp: the world of the demonstrations; its `features` are the network's input. Those of a step may
            be those of its state alone, and then so is the reward.
        net: hidden=() is a linear reward.
        validation: held-out demonstrations, by whose likelihood the best weights are chosen; without them
            `fit` goes on until it converges, and the last weights are the result.

    Raises:
        ValueError: when features are too many for a full table, or the network has dropout.
    """

    def __init__(
        self,
        mdp: TabularMDP,
        demonstrations: Demonstrations,
        net: MLP,
        config: Config,
        validation: Demonstrations | None = None,
    ) -> None:
        self.mdp, self.config = mdp, config
        self.demonstrations = expected_successors(mdp, demonstrations)
        self.validation = None if validation is None else expected_successors(mdp, validation)
        rows, self._row = _table(mdp)
        self._features = torch.from_numpy(rows)
        self.net = Reward(rows[self._row[mdp.available.ravel()]], net, config.seed)
        self._value: Floats | None = None  # of the last plan, from which the next one starts
        self._best: dict[str, Any] = {"score": -inf, "steps": 0, "net": deepcopy(self.net.state_dict())}
        self.steps, self.evaluations, self.converged = 0, 0, False
        self._parameters = [p for p in self.net.parameters() if p.numel()]
        self._optimiser = torch.optim.LBFGS(
            self._parameters,
            max_iter=config.iterations,
            max_eval=4 * config.iterations,
            history_size=config.memory,
            tolerance_grad=config.tolerance,
            tolerance_change=0.0,
            line_search_fn="strong_wolfe",
        )

    # ── results ────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def reward(self) -> Floats:
        """[S, A], in the world of the demonstrations."""
        return self.reward_on(self.mdp)

    @property
    def policy(self) -> Floats:
        """[S, A], or [H, S, A] with a horizon: soft-optimal for the reward."""
        return soft_plan(self.mdp, self.reward).policy

    def reward_on(self, mdp: TabularMDP) -> Floats:
        """[S, A], the learned reward in another world with the same kind of features.

        Raises:
            ValueError: when it has another number of features.
        """
        if mdp.width != self.mdp.width:
            raise ValueError(
                f"{mdp.name} has {mdp.width} features; this reward was learned on {self.mdp.width}"
            )
        rows, row = _table(mdp)
        return mdp.expected(self.net.of(rows)[row].reshape(mdp.available.shape))

    def log_likelihood(self, demonstrations: Demonstrations) -> float:
        """Nats a decision, Σ γ^t log π(a_t | s_t) / Σ γ^t, of demonstrations in the world of the fit."""
        return _likelihood(expected_successors(self.mdp, demonstrations), soft_plan(self.mdp, self.reward))

    # ── fitting ────────────────────────────────────────────────────────────────────────────────────────────

    def objective(self) -> tuple[float, list[Tensor]]:
        """What is minimised at the weights as they are, and its gradient by each parameter."""
        return self._evaluate()[1:]

    def _evaluate(self) -> tuple[Plan, float, list[Tensor]]:
        """The plan for the weights as they are, and the objective with its gradient."""
        out = self.net(self._features)
        plan = self._plan(out.detach().numpy())
        demo = self.demonstrations
        visits, many = demo.occupancy(self.mdp, plan.policy), demo.visits.sum()
        by_step = np.where(self.mdp.available, visits - demo.visits, 0.0).ravel() / many
        by_row = np.bincount(self._row, by_step, len(out))
        squares = torch.stack([(p**2).sum() for p in self._parameters if p.ndim > 1]).sum()
        penalty = self.config.weight_decay / 2 * squares
        grads = torch.autograd.grad([out, penalty], self._parameters, [torch.from_numpy(by_row), None])
        return plan, float(penalty.detach()) - _likelihood(demo, plan), list(grads)

    def step(self) -> Mapping[str, float]:
        """Some iterations of L-BFGS.

        Returns the objective, the gradient's largest entry, and the log-likelihood of a decision: of the
        demonstrations, and of the held-out ones where there are some ("validation").
        """
        before = torch.cat([p.detach().ravel() for p in self._parameters])
        self._optimiser.step(self._closure)  # type: ignore[no-untyped-call]
        moved = not torch.equal(before, torch.cat([p.detach().ravel() for p in self._parameters]))
        self.steps += 1
        plan, value, grads = self._evaluate()
        steepest = max(float(g.abs().max()) for g in grads)
        self.converged = steepest <= self.config.tolerance or not moved
        found = {"objective": value, "gradient": steepest}
        found["log_likelihood"] = score = _likelihood(self.demonstrations, plan)
        if self.validation is not None:
            found["validation"] = score = _likelihood(self.validation, plan)
        if self.validation is None or score > self._best["score"]:
            self._best = {"score": score, "steps": self.steps, "net": deepcopy(self.net.state_dict())}
        return found

    @property
    def done(self) -> bool:
        """Whether it has converged, or held-out demonstrations were not explained better for too long."""
        return self.converged or self.steps - self._best["steps"] >= self.config.patience

    @property
    def score(self) -> float:
        """The best held-out log-likelihood a decision; without held-out demonstrations the last one."""
        return float(self._best["score"])

    def fit(self, steps: int, progress: Progress | None = None) -> Self:
        """Steps until done, at most so many in all, and then goes back to the best weights.

        A `step` after that begins at those weights, with nothing remembered of the way.
        """
        while self.steps < steps and not self.done:
            found = self.step()
            if progress is not None:
                progress(found)
        if self._best["steps"] != self.steps:
            self.net.load_state_dict(self._best["net"])
            self._optimiser.state.clear()
        return self

    def _closure(self) -> float:
        value, grads = self.objective()
        self.evaluations += 1
        for p, g in zip(self._parameters, grads, strict=True):
            p.grad = g
        return value

    def _plan(self, rewards: Floats) -> Plan:
        reward = self.mdp.expected(rewards[self._row].reshape(self.mdp.available.shape))
        plan = soft_plan(self.mdp, reward, start=self._value if self.mdp.horizon is None else None)
        if self.mdp.horizon is None:
            self._value = plan.value
        return plan

    # ── going on later ─────────────────────────────────────────────────────────────────────────────────────

    def state_dict(self) -> dict[str, Any]:
        """All that a later run needs to go on bit for bit; what `serial.write_tree` can write."""
        memory = self._optimiser.state_dict()["state"].get(0, {})
        state = {
            "net": self.net.state_dict(),
            "optimiser": memory,
            "best": self._best | {"score": None if self._best["score"] == -inf else self._best["score"]},
            "value": None if self._value is None else torch.from_numpy(self._value),
            "steps": self.steps,
            "evaluations": self.evaluations,
            "converged": self.converged,
        }
        return deepcopy(state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from there.

        Raises:
            RuntimeError: when it is of another network. KeyError: when a part is missing.
        """
        state = deepcopy(dict(state))
        self.net.load_state_dict(state["net"])
        groups = self._optimiser.state_dict()["param_groups"]
        memory = {0: state["optimiser"]} if state["optimiser"] else {}
        self._optimiser.load_state_dict({"state": memory, "param_groups": groups})
        score = state["best"]["score"]
        self._best = state["best"] | {"score": -inf if score is None else score}
        self._value = None if state["value"] is None else state["value"].numpy()
        self.steps, self.evaluations = int(state["steps"]), int(state["evaluations"])
        self.converged = bool(state["converged"])


def fit_deep(
    mdp: TabularMDP,
    demonstrations: Demonstrations,
    validation: Demonstrations,
    net: MLP,
    config: Config,
    *,
    decays: Sequence[float],
    steps: int,
) -> DeepMaxEnt:
    """A fit for every weight decay; the one that explains held-out demonstrations best.

    Raises:
        ValueError: when there is no decay to try.
    """
    if not decays:
        raise ValueError("there are no weight decays to choose from; give at least one")
    tried = [
        DeepMaxEnt(mdp, demonstrations, net, replace(config, weight_decay=decay), validation).fit(steps)
        for decay in decays
    ]
    return max(tried, key=lambda fit: fit.score)


def _table(mdp: TabularMDP) -> tuple[Floats, NDArray[np.intp]]:
    """The different rows of features [N, K], and which of them each step has, [S·A]."""
    rows, columns = mdp.features.shape
    if rows * columns > _LARGEST:
        raise ValueError(f"{mdp.name} has {rows} x {columns} features; a network takes at most {_LARGEST}")
    full = mdp.features if isinstance(mdp.features, np.ndarray) else mdp.features.toarray()
    different, which = np.unique(full, axis=0, return_inverse=True)
    return np.ascontiguousarray(different), which.ravel()


def _likelihood(demonstrations: Demonstrations, plan: Plan) -> float:
    """Nats a decision of demonstrations whose successors are expected."""
    visits = demonstrations.visits
    total = float((visits * plan.reward).sum()) - demonstrations.baseline(plan.value)
    return total / float(visits.sum())
