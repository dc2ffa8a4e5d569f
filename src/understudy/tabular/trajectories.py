"""Trajectories in finite MDPs, and what they say: how often was what done."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from understudy.tabular.mdp import TabularMDP
from understudy.tabular.planning import occupancy

__all__ = ["Demonstrations", "Trajectories", "expected_successors", "sample"]

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Trajectories:
    """N trajectories: states [N, T + 1] and actions [N, T]; what lies behind the end of one is -1."""

    states: Integers
    actions: Integers

    @staticmethod
    def of(states: ArrayLike, actions: ArrayLike) -> Trajectories:
        """Checked: whole numbers, one state more than actions, -1 only behind the end.

        Raises:
            ValueError: when they are not that, naming the first trajectory.
        """
        s, a = np.asarray(states), np.asarray(actions)
        if s.dtype.kind not in "iu" or a.dtype.kind not in "iu":
            raise ValueError(f"states and actions are whole numbers, not {s.dtype} and {a.dtype}")
        if s.ndim != 2 or a.ndim != 2 or s.shape != (len(a), a.shape[1] + 1) or not a.size:
            raise ValueError(
                f"states is {list(s.shape)} and actions {list(a.shape)}; they are [N, T + 1] and [N, T]"
            )
        s, a = s.astype(np.int64), a.astype(np.int64)
        there = a >= 0
        steps = there.sum(1)
        before = np.arange(a.shape[1]) < steps[:, None]
        seen = np.arange(s.shape[1]) <= steps[:, None]
        wrong = (there != before).any(1) | ((s >= 0) != seen).any(1) | (a < -1).any(1) | (s < -1).any(1)
        if wrong.any():
            raise ValueError(
                f"trajectory {np.flatnonzero(wrong)[0]} has a gap, or not one state more than actions"
            )
        if not steps.all():
            raise ValueError(f"trajectory {np.flatnonzero(steps == 0)[0]} has no action")
        return Trajectories(s, a)

    def __len__(self) -> int:
        return len(self.actions)

    @cached_property
    def lengths(self) -> Integers:
        """[N], how many actions each has."""
        counted: Integers = (self.actions >= 0).sum(1)
        return counted

    @property
    def decisions(self) -> int:
        """How many actions there are in all."""
        return int(self.lengths.sum())

    @property
    def last(self) -> Integers:
        """[N], the state that each ends in."""
        return self.states[np.arange(len(self)), self.lengths]

    def select(self, which: ArrayLike) -> Trajectories:
        """Some of them, by number or by flags."""
        chosen = np.asarray(which)
        return Trajectories(self.states[chosen], self.actions[chosen])

    def steps(self) -> tuple[Integers, Integers, Integers, Integers]:
        """All decisions, one after another: trajectory, time, state, action, each [decisions]."""
        who, when = np.nonzero(self.actions >= 0)
        return who, when, self.states[who, when], self.actions[who, when]

    def check(self, mdp: TabularMDP) -> None:
        """Refuses what cannot have happened in this MDP, naming the first step that cannot."""
        who, when, state, action = self.steps()
        after = self.states[who, when + 1]
        if state.max() >= mdp.states or after.max() >= mdp.states or action.max() >= mdp.actions:
            raise ValueError(
                f"a trajectory leaves the {mdp.states} states or {mdp.actions} actions of {mdp.name}"
            )
        if mdp.horizon is not None and self.lengths.max() > mdp.horizon:
            raise ValueError(
                f"a trajectory has {self.lengths.max()} decisions; the horizon of {mdp.name} is {mdp.horizon}"
            )
        wrong = ~mdp.available[state, action]
        if not wrong.any():
            keys = np.repeat(np.arange(mdp.states * mdp.actions), np.diff(mdp.transition.indptr)) * mdp.states
            asked = (state * mdp.actions + action) * mdp.states + after
            wrong = ~np.isin(asked, keys + mdp.transition.indices)
        if wrong.any():
            at = np.flatnonzero(wrong)[0]
            raise ValueError(
                f"trajectory {who[at]}, step {when[at]}: action {action[at]} in state {state[at]} cannot "
                f"lead to state {after[at]} in {mdp.name}"
            )


def sample(
    mdp: TabularMDP, policy: Floats, n: int, seed: int, steps: int | None = None, start: Floats | None = None
) -> Trajectories:
    """`n` trajectories of a policy.

    Args:
        policy: [S, A] or [H, S, A].
        steps: after which each is cut off; the horizon unless given, and needed where there is none.
        start: [S], where they begin; the MDP's own beginning unless given.
    """
    steps = mdp.horizon if steps is None else steps
    if steps is None:
        raise ValueError(f"{mdp.name} has no horizon; say after how many steps a trajectory is cut off")
    if n < 1 or steps < 1 or (mdp.horizon is not None and steps > mdp.horizon):
        raise ValueError(f"n is {n} and steps {steps}; both are at least 1, and steps within the horizon")
    rng = np.random.default_rng(seed)
    ends = np.cumsum(mdp.transition.data)
    before = np.concatenate([[0.0], ends])[mdp.transition.indptr]  # [S·A + 1], mass of all rows before
    states, actions = np.full((n, steps + 1), -1, np.int64), np.full((n, steps), -1, np.int64)
    where = np.searchsorted(np.cumsum(mdp.initial if start is None else start), rng.random(n) * (1 - 1e-12))
    states[:, 0] = where
    alive = np.flatnonzero(~mdp.terminal[where])
    for t in range(steps):
        if not len(alive):
            break
        now = where[alive]
        chance = np.cumsum((policy if policy.ndim == 2 else policy[t])[now], 1)
        chosen = (chance <= rng.random(len(alive))[:, None] * chance[:, -1:]).sum(1)
        row = now * mdp.actions + chosen
        drawn = before[row] + rng.random(len(alive)) * (before[row + 1] - before[row])
        at = np.searchsorted(ends, drawn, side="right")
        at = np.clip(at, mdp.transition.indptr[row], mdp.transition.indptr[row + 1] - 1)
        where[alive] = mdp.transition.indices[at]
        actions[alive, t], states[alive, t + 1] = chosen, where[alive]
        alive = alive[~mdp.terminal[where[alive]]]
    return Trajectories(states, actions)


@dataclass(frozen=True, eq=False)
class Demonstrations:
    """What demonstrations say to inverse RL, as means over trajectories.

    Attributes:
        visits: [S, A], Σ_t γ^t of the steps at which a was done in s.
        starts: [S], where they begin: planning is compared with them from there, not from elsewhere.
        cuts: None, or where they were cut off: [H + 1, S] (one row where there is no horizon), γ^T at the
            time T and the state of a trajectory that neither ended nor came to the horizon. What would have
            followed counts on neither side.
        trajectories: those they are from; None where they are exact, of a policy.
    """

    visits: Floats
    starts: Floats
    cuts: Floats | None
    trajectories: Trajectories | None

    @staticmethod
    def of(mdp: TabularMDP, trajectories: Trajectories) -> Demonstrations:
        """Of trajectories, counted with the MDP's discount.

        Raises:
            ValueError: when one of them cannot have happened in this MDP.
        """
        trajectories.check(mdp)
        _, when, state, action = trajectories.steps()
        n = len(trajectories)
        visits = np.zeros((mdp.states, mdp.actions))
        np.add.at(visits, (state, action), mdp.discount**when / n)
        starts = np.bincount(trajectories.states[:, 0], minlength=mdp.states) / n
        return Demonstrations(visits, starts, _cuts(mdp, trajectories), trajectories)

    @staticmethod
    def exact(mdp: TabularMDP, policy: Floats) -> Demonstrations:
        """What infinitely many trajectories of a policy would say."""
        return Demonstrations(occupancy(mdp, policy), mdp.initial, None, None)

    def occupancy(self, mdp: TabularMDP, policy: Floats) -> Floats:
        """[S, A], what a policy visits over the same starts and the same time steps as the demonstrations."""
        return occupancy(mdp, policy, self.starts, self.cuts)

    def baseline(self, value: Floats) -> float:
        """The value V ([S] or [H + 1, S]) at the starts, less what cut trajectories still had ahead."""
        first = value if value.ndim == 1 else value[0]
        ahead = 0.0 if self.cuts is None else float((self.cuts * value).sum())
        return float(self.starts @ first) - ahead


def _cuts(mdp: TabularMDP, trajectories: Trajectories) -> Floats | None:
    steps, last = trajectories.lengths, trajectories.last
    cut = ~mdp.terminal[last]
    if mdp.horizon is not None:
        cut &= steps < mdp.horizon
    if not cut.any():
        return None
    cuts = np.zeros((1 if mdp.horizon is None else mdp.horizon + 1, mdp.states))
    when = np.zeros(int(cut.sum()), np.int64) if mdp.horizon is None else steps[cut]
    np.add.at(cuts, (when, last[cut]), mdp.discount ** steps[cut] / len(trajectories))
    return cuts


def expected_successors(mdp: TabularMDP, demonstrations: Demonstrations) -> Demonstrations:
    """The same decisions, each followed by what it leads to on average and not by what it happened to.

    It makes θ·μ - E[V] the log-likelihood Σ_t γ^t log π_t(a_t | s_t) itself, and its gradient the exact
    difference of visits, over the same time steps. With successors as they happened to be, a reward can pay
    for luck: in a rich class the likelihood of a finite sample then has no maximum. Both agree on average.
    Exact demonstrations are what they are.
    """
    if demonstrations.trajectories is None:
        return demonstrations
    _, when, state, action = demonstrations.trajectories.steps()
    weight = mdp.discount**when / len(demonstrations.trajectories)
    times = 1 if mdp.horizon is None else mdp.horizon
    cuts = np.zeros((times if mdp.horizon is None else times + 1, mdp.states))
    cuts[0] = demonstrations.starts
    for t in range(times):
        now = slice(None) if mdp.horizon is None else when == t
        cell = action[now] * mdp.states + state[now]
        visits = np.bincount(cell, weight[now], mdp.actions * mdp.states)
        cuts[t] -= visits.reshape(mdp.actions, mdp.states).sum(0)
        cuts[0 if mdp.horizon is None else t + 1] += mdp.discount * (mdp.backward @ visits)
    return replace(demonstrations, cuts=cuts)
