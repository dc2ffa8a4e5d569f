"""Whole episodes end to end as tensors, and what must be summed along each of them.

Shapes: N episodes; M steps of all of them together; O observation width; A action width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from understudy.agent import Agent
from understudy.episode import Episode
from understudy.rewards import RewardNet

__all__ = ["Paths", "joined", "log_density", "paths_of", "returns"]


class Paths(NamedTuple):
    """Steps of N episodes, in raw units for densities and in normalised ones for rewards."""

    seen: Mapping[str, Tensor]  # each [M, 1, *shape], raw, where the action was taken
    acted: Tensor  # [M, 1, A], raw
    obs: Tensor  # [M, O]
    action: Tensor  # [M, A]
    next_obs: Tensor  # [M, O]
    terminated: Tensor  # [M], 1 at a step that ended the task
    path: Tensor  # [M], the episode of each step
    left: Tensor  # [N], steps from the end of the task to the horizon; 0 where time ran out

    @property
    def episodes(self) -> int:
        """N."""
        return len(self.left)

    def fields(self) -> dict[str, Any]:
        """A tree for `serial.write_tree`; `Paths(**tree)` is the way back."""
        return self._asdict() | {"seen": dict(self.seen)}


def paths_of(episodes: Iterable[Episode], reward: RewardNet, horizon: int | None) -> Paths:
    """The steps of episodes, in the units of `reward`.

    Args:
        horizon: the most steps of an episode: how long the absorbing state pays after the end of the task.

    Raises:
        ValueError: when there are no episodes, or a task ended and nobody says what the horizon is.
    """
    listed = list(episodes)
    if not listed:
        raise ValueError("there are no episodes; at least one is needed")
    if horizon is None and any(e.terminated for e in listed):
        raise ValueError("a task ended before its time, and the environment has no horizon to count up to")
    lengths = [len(e) for e in listed]
    seen = {k: np.concatenate([e.obs[k][:-1] for e in listed]) for k in reward.obs_normalizers}
    then = {k: np.concatenate([e.obs[k][1:] for e in listed]) for k in reward.obs_normalizers}
    acted = torch.tensor(np.concatenate([e.action for e in listed]))
    ended = torch.zeros(len(acted))
    ended[torch.tensor(lengths).cumsum(0) - 1] = torch.tensor([float(e.terminated) for e in listed])
    left = [(horizon or 0) - n if e.terminated else 0 for e, n in zip(listed, lengths, strict=True)]
    return Paths(
        {k: torch.tensor(v)[:, None] for k, v in seen.items()},
        acted[:, None],
        reward.flat(seen),
        reward.action_normalizer.forward(acted),
        reward.flat(then),
        ended,
        torch.arange(len(listed)).repeat_interleave(torch.tensor(lengths)),
        torch.tensor(left, dtype=torch.float64),
    )


def joined(parts: Sequence[Paths]) -> Paths:
    """All of them, in turn."""
    first = [sum(p.episodes for p in parts[:i]) for i in range(len(parts))]
    moved = [p._replace(path=p.path + at) for p, at in zip(parts, first, strict=True)]
    seen = {k: torch.cat([p.seen[k] for p in parts]) for k in parts[0].seen}
    names = Paths._fields[1:]
    return Paths(seen, **{n: torch.cat([getattr(p, n) for p in moved]) for n in names})


def _sums(each: Tensor, paths: Paths) -> Tensor:
    """[M] to [N], in float64: hundreds of steps are summed, and exponentials taken of the result."""
    return torch.zeros(len(paths.left), dtype=torch.float64).index_add(0, paths.path, each.double())


def returns(reward: RewardNet, paths: Paths) -> Tensor:
    """[N], Σ_t r along each episode up to the horizon, the absorbing state included; differentiable."""
    return _sums(reward(paths), paths) + paths.left * reward.absorbing.double()


def log_density(agent: Agent, paths: Paths) -> Tensor:
    """[N], Σ_t log π(a_t | s_t) per raw unit, without a tape.

    The environment's own chances would be factors of every path's density and of its weight alike: they
    cancel, so nobody needs to know them.
    """
    with torch.no_grad():
        return _sums(agent.log_prob(paths.seen, paths.acted), paths)
