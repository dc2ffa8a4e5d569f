"""Would the expert do something else here? A classifier that says so before he is asked.

SafeDAgger and LazyDAgger both have it; they differ in when he hands back. Shapes: N states, K history, A
action width.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from understudy.agent import Agent, Columns, Normalizer
from understudy.agent.files import from_description
from understudy.dataset import Dataset
from understudy.episode import Array, Episode, Obs
from understudy.heads import Categorical
from understudy.interactive.base import State
from understudy.interactive.doubtgate import unit
from understudy.learn import bc
from understudy.nets import MLP
from understudy.runtime import tuned

__all__ = ["Discrepancy", "Safety", "cross_fitted", "either", "frozen", "thawed"]

_HIDDEN = (128, 128)
_BATCH = 4096  # states at once


@final
class Discrepancy:
    """‖a - a*‖², in the policy's normalised action units; of discrete choices, 1 where they differ, else 0.

    One threshold fits actions of any unit so: each dimension counts by its spread in the training data.

    Raises:
        ValueError: when the agent's own units are of actions relative to a pose, which two actions alone
            do not give.
    """

    def __init__(self, agent: Agent) -> None:
        self.discrete, self.scale = agent.head.discrete, unit(agent)

    def __call__(self, action: Array, advice: Array) -> NDArray[np.float64]:
        """[...] from two actions [..., A] in raw units."""
        apart = np.subtract(action, advice, dtype=np.float64)
        if self.discrete:
            differ: NDArray[np.float64] = (apart != 0).any(-1).astype(np.float64)
            return differ
        size: NDArray[np.float64] = np.square(apart / self.scale).sum(-1)
        return size


def cross_fitted(
    agent: Agent, data: Dataset, steps: int, seed: int
) -> tuple[dict[str, Array], NDArray[np.float64]]:
    """Every labelled state, and how far a policy that has not seen its episode is from the label there.

    A policy is nearer to the labels that it was fitted to than to any it will meet, so its own discrepancies
    there would call nearly every state safe. The papers hold a part of the data out; here none is lost: two
    policies like `agent`, each trained on half of the episodes, are measured on the other half. They have
    seen less than `agent`, so they err on the side of asking too often.

    Args:
        agent: what the two are like: normalisers, network and head.
        data: its labelled states.
        steps: of training each of the two.

    Returns:
        name -> [N, ...], the states; and their discrepancies [N].

    Raises:
        ValueError: when fewer than two episodes have a label.
    """
    spoke = [i for i, e in enumerate(data) if e.labelled.any()]
    if len(spoke) < 2:
        raise ValueError(f"{len(spoke)} episodes have labels; at least 2 are needed, to hold one out")
    order = np.random.default_rng([seed, 0x5AFE]).permutation(spoke)
    halves = data.select(np.sort(order[0::2])), data.select(np.sort(order[1::2]))
    found: list[tuple[Obs, NDArray[np.float64]]] = []
    for known, other in (halves, halves[::-1]):
        policy = _trained(_fresh(agent, seed), known, steps, seed)
        windows, apart = other.windows(agent.history), Discrepancy(agent)
        for at in range(0, len(windows), _BATCH):
            batch = windows.batch(np.arange(at, min(at + _BATCH, len(windows))))
            gap = apart(policy.chunks(batch.obs)[:, 0], batch.action[:, 0])
            found.append(({k: v[:, -1] for k, v in batch.obs.items()}, gap))
    seen = {k: np.concatenate([obs[k] for obs, _ in found]) for k in found[0][0]}
    return seen, np.concatenate([gap for _, gap in found])


def _fresh(agent: Agent, seed: int) -> Agent:
    """One like `agent` with new weights."""
    low, high = agent.low, agent.high
    bounds = None if low is None or high is None else (low.numpy(), high.numpy())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Agent(
            deepcopy(agent.obs_normalizers), deepcopy(agent.action_normalizer), agent.trunk_config,
            agent.head_config, agent.history, agent.horizon, bounds, agent.frame,
        )  # fmt: skip


def _trained(agent: Agent, data: Dataset, steps: int, seed: int) -> Agent:
    """`agent`, after behavioural cloning of `data`."""
    with tuned():
        learner = bc.Learner(agent, data, bc.Config(decay=steps, seed=seed))
        for _ in range(steps):
            learner.step()
    return agent


@final
class Safety:
    """The safety classifier of SafeDAgger: 1 where ‖π(s) - π*(s)‖² > τ (Zhang and Cho 2017, equation 1).

    An agent with two choices, of which it takes one on seeing a state. It learns from `cross_fitted`
    discrepancies of all labelled states, both classes weighing the same, and is fitted anew after every
    round. Where `threshold` is None, τ is found in the first fit, as the quantile above which a share of
    `unsafe` of the discrepancies lies, and then stays: so fewer states are unsafe as the policy gets better.

    Args:
        threshold: τ, or None. Discrete choices need none: any other choice than the expert's is unsafe.
        unsafe: in (0, 1).
        fit_steps: of training the classifier, and each of the two policies of `cross_fitted`.
    """

    def __init__(self, threshold: float | None, unsafe: float, fit_steps: int) -> None:
        if threshold is not None and not 0 < threshold < np.inf:
            raise ValueError(f"threshold is {threshold}; it must be positive and finite")
        if not 0 < unsafe < 1:
            raise ValueError(f"unsafe is {unsafe}; it is a share, in (0, 1)")
        if fit_steps < 1:
            raise ValueError(f"fit_steps is {fit_steps}; it must be at least 1")
        self.threshold, self.unsafe, self.fit_steps = threshold, unsafe, fit_steps
        self.classifier: Agent | None = None

    def fit(self, state: State) -> dict[str, float]:
        """Fits τ, the first time, and the classifier; says τ and the share of labelled states above it."""
        agent = state.driver()
        seen, gap = cross_fitted(agent, state.data, self.fit_steps, state.seed + state.round)
        if self.threshold is None:
            self.threshold = 0.5 if agent.head.discrete else float(np.quantile(gap, 1 - self.unsafe))
        above = gap > self.threshold
        self.classifier = classified(agent, seen, above, self.fit_steps, state.seed + state.round)
        return {"threshold": self.threshold, "unsafe": float(above.mean())}

    def fitted(self) -> tuple[float, Agent]:
        """τ and the classifier.

        Raises:
            ValueError: before the first `fit`.
        """
        if self.threshold is None or self.classifier is None:
            raise ValueError("the safety classifier has not been fitted yet; call adapt first")
        return self.threshold, self.classifier

    def state_dict(self) -> dict[str, Any]:
        """A tree for `serial.write_tree`."""
        kept = None if self.classifier is None else frozen(self.classifier)
        return {"threshold": self.threshold, "classifier": kept}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from there."""
        if state.keys() != {"threshold", "classifier"}:
            raise ValueError(f"a safety classifier's state has threshold and classifier, not {sorted(state)}")
        self.threshold = None if state["threshold"] is None else float(state["threshold"])
        self.classifier = None if state["classifier"] is None else thawed(state["classifier"])


def classified(agent: Agent, seen: Obs, above: NDArray[np.bool_], steps: int, seed: int) -> Agent:
    """A classifier of states: `act` gives 1 where they are like those that are `above` [N], else 0.

    Args:
        agent: whose normalisers of observations are taken.
        seen: name -> [N, ...].
    """
    size = len(above)
    rows, rare = np.arange(size), np.flatnonzero(above == (above.mean() < 0.5))
    if 0 < len(rare) < size:  # repeated until both classes are equally many
        rows = np.concatenate([np.setdiff1d(rows, rare), np.resize(rare, size - len(rare))])
    made = either(agent.obs_normalizers, _HIDDEN, seed)
    states = {k: v[rows] for k, v in seen.items()}
    one = Episode.demonstration(states, above[rows].astype(np.int64))
    return _trained(made, Dataset([one]), steps, seed)


def either(obs: Mapping[str, Normalizer], hidden: tuple[int, ...], seed: int) -> Agent:
    """An agent with two choices, 0 and 1, of fresh weights, that sees what these normalisers are of."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        choice = Normalizer(Columns((1,), "identity", discrete=True), torch.zeros(1), torch.ones(1))
        return Agent(deepcopy(dict(obs)), choice, MLP(hidden, "gelu"), Categorical(2), 1, 1)


def frozen(agent: Agent) -> dict[str, Any]:
    """An agent as a tree for `serial.write_tree`; `thawed` is the way back."""
    return {"agent": agent.description, "tensors": dict(agent.state_dict())}


def thawed(tree: Mapping[str, Any]) -> Agent:
    """The agent in such a tree, equal to the last bit."""
    return from_description(tree["agent"], tree["tensors"])
