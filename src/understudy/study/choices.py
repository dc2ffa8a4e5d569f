"""Cloning in finite MDPs: what was done most in each state, or a classifier that carries over to new states.

The rivals of a learned reward in the study `objectworld`. Both answer with one policy [S, A] that takes the
likeliest action, equally likely ones alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from math import inf
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from understudy.irl.measures import random_policy
from understudy.learn.deep_maxent import Config, Reward
from understudy.nets import MLP
from understudy.tabular import TabularMDP, Trajectories

__all__ = ["Classifier", "clone_table", "context", "fit_classifier"]

Floats: TypeAlias = NDArray[np.float64]


def clone_table(mdp: TabularMDP, trajectories: Trajectories) -> Floats:
    """[S, A]: the action shown most often in each state; at random where none was shown."""
    return _likeliest(mdp, _counts(mdp, trajectories))


def context(mdp: TabularMDP) -> Floats:
    """[S·A, 2K]: the features where one is, and how they are expected to change with each action.

    Distances in one's own cell do not tell a direction; how they change with a move does. Expectations are
    under the dynamics of `mdp`, so a classifier hears of other dynamics all that a planner hears in one step.

    Raises:
        ValueError: when the features of a state differ between its actions.
    """
    full = mdp.features if isinstance(mdp.features, np.ndarray) else mdp.features.toarray()
    each = full.reshape(mdp.states, mdp.actions, -1)
    here = each[np.arange(mdp.states), mdp.available.argmax(1)]
    if not (each == here[:, None])[mdp.available].all():
        raise ValueError(f"the features of {mdp.name} are not those of states alone")
    own = np.repeat(here, mdp.actions, 0)
    return np.concatenate([own, np.asarray(mdp.transition @ here) - own], 1)


@dataclass(frozen=True, eq=False)
class Classifier:
    """π(a|s) ∝ exp f(context of s and a), one network f for all actions: a conditional logit (McFadden 1974).

    Attributes:
        score: held-out log-likelihood, nats a decision. weight_decay: the one chosen by it.
    """

    net: Reward
    score: float
    weight_decay: float

    def policy(self, mdp: TabularMDP) -> Floats:
        """[S, A], the likeliest action, in any world with such features."""
        values = self.net.of(context(mdp)).reshape(mdp.available.shape)
        return _likeliest(mdp, np.where(mdp.available, values, -inf))


def fit_classifier(
    mdp: TabularMDP,
    training: Trajectories,
    validation: Trajectories,
    net: MLP,
    config: Config,
    *,
    decays: Sequence[float],
    steps: int,
) -> Classifier:
    """Fits as `fit_deep` does: L-BFGS on all weights, held-out likelihood choosing decay and moment.

    Raises:
        ValueError: when there is nothing to choose from, or a trajectory cannot have happened.
    """
    if not decays or steps < 1:
        raise ValueError(f"there are {len(decays)} weight decays and {steps} steps; at least one of each")
    tried = [
        _fit(mdp, training, validation, net, replace(config, weight_decay=decay), steps) for decay in decays
    ]
    return max(tried, key=lambda fit: fit.score)


def _fit(
    mdp: TabularMDP, training: Trajectories, validation: Trajectories, net: MLP, config: Config, steps: int
) -> Classifier:
    """With one weight decay, until held-out decisions have not become likelier for too long."""
    seen, counts = context(mdp), [_counts(mdp, t) for t in (training, validation)]
    at = np.flatnonzero((counts[0] + counts[1]).any(1))
    rows = torch.from_numpy(seen.reshape(mdp.states, mdp.actions, -1)[at]).flatten(0, 1)
    shown, held = (torch.from_numpy(c[at]) for c in counts)
    missing = torch.from_numpy(~mdp.available[at])
    model = Reward(seen[mdp.available.ravel()], net, config.seed)
    parameters = [p for p in model.parameters() if p.numel()]
    optimiser = torch.optim.LBFGS(
        parameters,
        max_iter=config.iterations,
        history_size=config.memory,
        tolerance_grad=config.tolerance,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def likelihood(counts: Tensor) -> Tensor:
        logs = torch.log_softmax(model(rows).reshape(missing.shape).masked_fill(missing, -inf), 1)
        return (counts * logs.masked_fill(missing, 0.0)).sum() / counts.sum()

    def closure() -> float:
        squares = torch.stack([(p**2).sum() for p in parameters if p.ndim > 1]).sum()
        loss = config.weight_decay / 2 * squares - likelihood(shown)
        for p, g in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            p.grad = g
        return float(loss.detach())

    best, since = Classifier(deepcopy(model), -inf, config.weight_decay), 0
    for _ in range(steps):
        optimiser.step(closure)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            score = float(likelihood(held))
        since += 1
        if score > best.score:
            best, since = Classifier(deepcopy(model), score, config.weight_decay), 0
        if since >= config.patience:
            break
    return best


def _counts(mdp: TabularMDP, trajectories: Trajectories) -> Floats:
    """[S, A], how often what was done."""
    trajectories.check(mdp)
    _, _, state, action = trajectories.steps()
    cells = np.bincount(state * mdp.actions + action, minlength=mdp.states * mdp.actions)
    return cells.reshape(mdp.available.shape).astype(np.float64)


def _likeliest(mdp: TabularMDP, values: Floats) -> Floats:
    """[S, A], the actions of the largest value, alike; available ones where all are equal."""
    top = values.max(1, keepdims=True)
    best = (values == top) & mdp.available
    anything = random_policy(mdp)
    some = best.any(1, keepdims=True)
    return np.where(some, best / np.maximum(best.sum(1, keepdims=True), 1), anything)
