"""Demonstrations as an online learner sees them: thinned, some held out, and drawn into its batches.

Shapes: N rows, O width of the flat normalised observation, A of the action.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from understudy.agent import Agent
from understudy.dataset import Dataset
from understudy.episode import Mask
from understudy.learn.replay import Transitions
from understudy.online.start import transitions

__all__ = ["Demonstrated", "beside"]

_STREAM = 5  # of the seed, for what is kept and what is held out


class Demonstrated:
    """Demonstrations as transitions in memory: `rows` to learn from and `held`, which nobody learns from.

    Whole episodes are held out where the share asked for makes at least one. Of fewer demonstrations single
    rows are, at random: these have neighbours among those that are learned from, and so show less.

    Args:
        agent: in whose units the rows are.
        data: demonstrations.
        keep_every: n; of n successive steps one is known, from a random one of the first n on in each
            episode. The field's test of how few demonstrations a method can do with (Ho and Ermon 2016 keep
            one in 20). Held-out rows come from what is kept.
        held_out: the share to hold out, in [0, 1).
        seed: of what is kept and held out.

    Raises:
        ValueError: when a number is out of its range, or nothing is left to learn from.
    """

    def __init__(
        self, agent: Agent, data: Dataset, *, keep_every: int = 1, held_out: float = 0.0, seed: int
    ) -> None:
        if keep_every < 1 or not 0 <= held_out < 1:
            raise ValueError(
                f"keep_every is {keep_every} and held_out {held_out}; they must be at least 1 and in [0, 1)"
            )
        rng = np.random.default_rng((seed, _STREAM))
        kept = _kept([len(e) for e in data], keep_every, rng)
        learned = _learned(kept, held_out, rng)
        self._data, self._masks = data, learned
        known, mine = np.concatenate(kept), np.concatenate(learned)
        if not mine.any():
            raise ValueError(
                f"nothing is left of {len(known)} steps to learn from with keep_every {keep_every} and "
                f"held_out {held_out}"
            )
        both = transitions(agent, data)
        self.rows, self.held = (
            Transitions(*(x[torch.from_numpy(np.flatnonzero(m))] for x in both))
            for m in (mine, known & ~mine)
        )

    def __len__(self) -> int:
        return len(self.rows.reward)

    def draw(self, n: int, generator: torch.Generator) -> Transitions:
        """n of the rows, uniformly, with replacement."""
        index = torch.randint(len(self), (n,), generator=generator)
        return Transitions(*(x.index_select(0, index) for x in self.rows))

    @property
    def labelled(self) -> bool:
        """Whether an expert spoke in any step that is learned from."""
        return any((m & e.labelled).any() for e, m in zip(self._data, self._masks, strict=True))

    def dataset(self) -> Dataset:
        """The episodes with labels where they are learned from and nowhere else, for behaviour cloning."""
        pairs = zip(self._data, self._masks, strict=True)
        return Dataset([replace(e, labelled=m & e.labelled) for e, m in pairs if m.any()])

    def fingerprint(self) -> list[Any]:
        """Numbers of rows and the sum of what they hold: what a resumed run compares."""
        sums = [float(x.double().sum()) for x in self.rows]
        return [len(self), len(self.held.reward), *sums]


def beside(first: Transitions, second: Transitions) -> Transitions:
    """The rows of both, one after the other."""
    return Transitions(*(torch.cat(pair) for pair in zip(first, second, strict=True)))


def _kept(lengths: list[int], every: int, rng: np.random.Generator) -> list[Mask]:
    masks = [np.zeros(n, np.bool_) for n in lengths]
    for mask in masks:
        mask[int(rng.integers(every)) :: every] = True
    return masks


def _learned(kept: list[Mask], held_out: float, rng: np.random.Generator) -> list[Mask]:
    episodes = round(held_out * len(kept))
    if 1 <= episodes < len(kept):
        out = set(rng.permutation(len(kept))[:episodes].tolist())
        return [np.zeros_like(m) if i in out else m for i, m in enumerate(kept)]
    flat = np.concatenate(kept)
    rows = rng.permutation(np.flatnonzero(flat))
    flat[rows[: int(held_out * len(rows))]] = False
    return np.split(flat, np.cumsum([len(m) for m in kept])[:-1])
