"""How likely the policy is to succeed from here: Q(s, a), learned from which episodes did.

Shapes: N states, K history, B batch, T steps of an episode, A action width.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from understudy.agent import Agent
from understudy.dataset import Dataset
from understudy.episode import Array, Episode, Obs
from understudy.heads import CategoricalHead
from understudy.interactive.doubtgate import acts
from understudy.interactive.safety import either
from understudy.learn.optim import Adam, flatten
from understudy.runtime import tuned

__all__ = ["Critic", "Risk", "Transitions", "fitted"]

_HIDDEN = (64, 64)
_ACTION = "(action)"  # how it is called among what the critic sees
_DISCOUNT, _BATCH, _POSITIVE, _RATE, _MEMORY = 0.9999, 256, 0.1, 1e-3, 0.9


@final
class Risk:
    """Q(s, a) in [0, 1]: the chance that the policy, having done a in s, ends in success (discounted a hair).

    Args:
        network: an agent with two choices, failure and success, that sees the state and the action.
    """

    def __init__(self, network: Agent) -> None:
        self.network = network

    def __call__(self, obs: Obs, action: Array) -> NDArray[np.float64]:
        """[] for one state and action [A], [N] for N of each."""
        checked, single = self.network.windows({**obs, _ACTION: action})
        with torch.inference_mode():
            chance = _log_chances(self.network, {k: torch.from_numpy(v) for k, v in checked.items()})[1]
        value: NDArray[np.float64] = chance.exp().numpy().astype(np.float64)
        return value[0] if single else value

    def along(self, agent: Agent, episode: Episode) -> NDArray[np.float64]:
        """[T], Q(s, π(s)) in the states of an episode, for the policy `agent`."""
        return self({k: np.asarray(v[:-1]) for k, v in episode.obs.items()}, acts(agent, episode)[:-1])


class Transitions(NamedTuple):
    """What a critic learns from: N steps of episodes that are known to have succeeded or failed."""

    obs: Mapping[str, Array]  # each [N, ...], and the executed action among them
    after: Mapping[str, Array]  # each [N, ...], what came of it, and what the policy would do there
    last: NDArray[np.bool_]  # [N], whether the episode ended with this step
    success: NDArray[np.bool_]  # [N], whether it ended so in success

    @classmethod
    def of(cls, data: Dataset, agent: Agent) -> Transitions | None:
        """Those of `data` for the policy `agent`; None where no success or no failure is known."""
        known = [e for e in data if e.success is not None]
        if len({e.success for e in known}) < 2:  # nothing tells the one from the other yet
            return None
        then = np.concatenate([acts(agent, e)[1:] for e in known])
        obs = {k: np.concatenate([np.asarray(e.obs[k][:-1]) for e in known]) for k in known[0].obs}
        after = {k: np.concatenate([np.asarray(e.obs[k][1:]) for e in known]) for k in known[0].obs}
        last = np.concatenate([np.arange(len(e)) == len(e) - 1 for e in known])
        won = np.concatenate([np.full(len(e), e.success) for e in known])
        done = np.concatenate([e.action for e in known])
        return cls({**obs, _ACTION: done}, {**after, _ACTION: then}, last, last & won)


@final
class Critic:
    """Learns Q by one-step temporal differences (Hoque et al. 2021b, section IV-B).

    The target is 1 at the last step of a success, 0 at that of a failure, and γ Q'(s', π(s')) elsewhere, with
    γ = 0.9999 and Q' a slow copy of Q that is made with it, so that the two never come from different fits.
    A tenth of every batch are last steps of successes, which are rare. In place of the paper's squared error,
    cross-entropy: its minimum is the same mean, and its gradient does not vanish near 0 and 1.

    Args:
        network: Q, as `Risk` has it.
        data: what it learns from.
        seed: of the batches.
    """

    def __init__(self, network: Agent, data: Transitions, seed: int) -> None:
        self.network, self.target = network, deepcopy(network)
        self._data, self._random = data, np.random.default_rng([seed, 0x715C])
        self._won, self._rest = np.flatnonzero(data.success), np.flatnonzero(~data.success)
        self._flat, grad, matrices = flatten(network.parameters())
        self._slow = flatten(self.target.parameters())[0]
        self._adam, self._grad = Adam(self._flat, grad, matrices, 0.0), grad

    def step(self) -> float:
        """One step on one batch: its loss."""
        rows = self._drawn()
        last = torch.from_numpy(self._data.last[rows])
        won = torch.from_numpy(self._data.success[rows].astype(np.float32))
        with torch.no_grad():
            ahead = _log_chances(self.target, _tensors(self._data.after, rows))[1].exp()
            chance = torch.where(last, won, _DISCOUNT * ahead)
        failure, success = _log_chances(self.network, _tensors(self._data.obs, rows))
        loss = -(chance * success + (1 - chance) * failure).mean()
        self._grad.zero_()
        loss.backward()  # type: ignore[no-untyped-call]
        self._adam.step(_RATE)
        self._slow.lerp_(self._flat, 1 - _MEMORY)
        return float(loss.detach())

    def _drawn(self) -> NDArray[np.int64]:
        """The rows of a batch."""
        share = round(_POSITIVE * _BATCH)
        won, rest = self._random.choice(self._won, share), self._random.choice(self._rest, _BATCH - share)
        return np.concatenate([won, rest])


def fitted(agent: Agent, data: Dataset, steps: int, seed: int) -> Risk | None:
    """Q of the policy `agent`, from fresh weights; None where no success or no failure is known."""
    found = Transitions.of(data, agent)
    if found is None:
        return None
    network = either({**agent.obs_normalizers, _ACTION: agent.action_normalizer}, _HIDDEN, seed)
    critic = Critic(network, found, seed)
    with tuned():
        for _ in range(steps):
            critic.step()
    return Risk(network)


def _tensors(columns: Mapping[str, Array], rows: NDArray[np.int64]) -> dict[str, Tensor]:
    """name -> [B, 1, ...]."""
    return {k: torch.from_numpy(v[rows][:, None]) for k, v in columns.items()}


def _log_chances(network: Agent, seen: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """log (1 - Q) and log Q, each [B]."""
    head, tokens = network.head, network.tokens(seen)
    assert isinstance(head, CategoricalHead)
    choice = torch.ones(len(tokens), 1, 1, dtype=torch.int64)
    return head.log_prob(tokens, 0 * choice), head.log_prob(tokens, choice)
