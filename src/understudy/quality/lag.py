"""By how many steps actions and their effects are apart: of the set, and of each episode against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from understudy.episode import Episode
from understudy.quality.measures import Floats
from understudy.quality.values import Values

__all__ = ["Lags", "lags"]

_FIT = 20_000  # steps at most, on which what actions do is fitted
_REACH = (4, 10)  # steps: the smallest and largest lag that is looked for
_SHORT = 12  # steps of the median episode, below which no lag is looked for
_LEAST = 6  # steps that must overlap for a correlation
_LITTLE = 0.05  # of the change of state: what explains less may be chance
_BLUNT = 0.4  # of what the best lag explains: others may explain so much, on average, for it to stand out
_SURE = 0.4  # standard errors of a correlation, about 1/sqrt(T), that another lag must be better by


@dataclass(frozen=True)
class Lags:
    """How actions are shifted against their effects.

    `usual`: the set's own lag in steps, at which actions explain the share `explained` of the change of state
    that the state itself does not foretell. `lag` [E]: of each episode against that, positive where its
    actions were recorded too late; 0 where no other lag explains clearly more, NaN where it is too short.
    `gain` [E]: how much higher the correlation is at the best lag than at the usual one.
    """

    usual: int
    explained: float
    lag: Floats
    gain: Floats


@dataclass(frozen=True)
class _Steps:
    """One episode as states [T, D + 1] with a one, changes of state [T, D] and actions [T, A], all scaled."""

    base: Floats
    change: Floats
    action: Floats


def lags(episodes: Sequence[Episode], values: Values, seed: int = 0) -> Lags | None:
    """Finds the lag between actions and their effects, for the set and for each episode.

    The change of state that the state itself does not foretell (least squares) is explained by what the state
    does not foretell of the action k steps before, for each k up to a fifth of the median length, 4 to 10;
    the k that explains most is the usual lag. Each episode's changes are then correlated with what that map
    makes of its own actions, at every k; a parabola through the peak gives fractions of a step. The maps are
    fitted on 20 000 steps of episodes drawn by `seed`.

    A lag at the end of that range counts as not found. None where actions are discrete or explain nothing,
    episodes are of fewer than 12 steps, or no lag stands out: where actions follow smoothly from the state,
    as a linear controller's do, any lag explains as much.
    """
    length = np.median([len(e) for e in episodes])
    if length < _SHORT or values.choices or not values.action_std.any() or not values.std.any():
        return None
    reach = int(np.clip(length // 5, *_REACH))
    shifts = range(-reach, reach + 1)
    drawn: list[_Steps] = []
    for i in np.random.default_rng(seed).permutation(len(episodes)):
        if drawn and sum(len(d.base) for d in drawn) + len(episodes[i]) > _FIT:
            break
        drawn.append(_steps(episodes[i], values))
    spread: Floats = np.sqrt(np.concatenate([d.change for d in drawn]).var(0))
    moves = spread > 1e-9
    if not moves.any():
        return None
    # Rare jolts, as of a block that is let go, would otherwise decide.
    capped = [np.clip(d.change[:, moves] / spread[moves], -4, 4) for d in drawn]
    foretold = _solve(np.concatenate([d.base for d in drawn]), np.concatenate(capped))
    # A policy answers to what it sees, so an action shares with the change before it whatever the state shows
    # of that: no lag, but what the state of its own step foretells of it.
    habit = _solve(np.concatenate([d.base for d in drawn]), np.concatenate([d.action for d in drawn]))
    known = [
        _Steps(d.base, c - d.base @ foretold, d.action - d.base @ habit)
        for d, c in zip(drawn, capped, strict=True)
    ]
    fits = [_fit(known, k) for k in shifts]
    shares = np.array([share for share, _ in fits])
    best = int(np.argmax(shares))
    share, effect = fits[best]
    others = shares[np.abs(np.arange(len(shares)) - best) > 1]
    at_the_end = best in (0, len(shares) - 1)  # it may be beyond, or there is none
    if at_the_end or share < _LITTLE or np.maximum(others, 0).mean() > _BLUNT * share:
        return None
    found = []
    for e in episodes:
        s = _steps(e, values)
        surprise = np.clip(s.change[:, moves] / spread[moves], -4, 4) - s.base @ foretold
        found.append(_peak(surprise, (s.action - s.base @ habit) @ effect, shifts, best))
    lag, gain = np.array(found, np.float64).T
    return Lags(shifts[best], share, lag, gain)


def _steps(e: Episode, values: Values) -> _Steps:
    some, moves = values.std > 0, values.action_std > 0
    states = (values.states(e)[:, some] - values.mean[some]) / values.std[some]
    acted = (e.action - values.action_mean)[:, moves] / values.action_std[moves]
    return _Steps(np.hstack([states[:-1], np.ones((len(e), 1))]), np.diff(states, axis=0), acted)


def _solve(a: Floats, b: Floats) -> Floats:
    return np.asarray(np.linalg.lstsq(a, b, rcond=1e-6)[0], np.float64)


def _shifted(steps: int, shift: int) -> tuple[slice, slice]:
    """Changes, and the actions `shift` steps before them, as far as both exist."""
    start, stop = max(0, shift), min(steps, steps + shift)
    return slice(start, stop), slice(start - shift, stop - shift)


def _fit(known: Sequence[_Steps], shift: int) -> tuple[float, Floats]:
    """The share of the changes' variance that actions explain at that shift, and the map between them."""
    parts = []
    for s in known:
        if len(s.base) > abs(shift):
            at, before = _shifted(len(s.base), shift)
            parts.append((s.base[at], s.change[at], s.action[before]))
    if not parts:
        return 0.0, np.zeros((known[0].action.shape[1], known[0].change.shape[1]))
    base, change, action = (np.concatenate(p) for p in zip(*parts, strict=True))
    action = action - base @ _solve(base, action)  # what the state does not foretell of the actions either
    effect = _solve(action, change)
    left, whole = ((change - action @ effect) ** 2).sum(0), (change**2).sum(0)
    some = whole > 0
    return float(np.mean(1 - left[some] / whole[some])) if some.any() else 0.0, effect


def _peak(change: Floats, expected: Floats, shifts: range, usual: int) -> tuple[float, float]:
    """An episode's lag against the usual one, 0 where unsure, and by how much its correlation is better."""
    corr = np.full(len(shifts), -1.0)
    for j, k in enumerate(shifts):
        at, before = _shifted(len(change), k)
        if at.stop - at.start < _LEAST:
            continue
        x, y = expected[before] - expected[before].mean(0), change[at] - change[at].mean(0)
        size = np.sqrt((x**2).sum() * (y**2).sum())
        corr[j] = (x * y).sum() / size if size > 0 else 0.0
    if corr[usual] == -1.0:
        return np.nan, np.nan
    top = int(np.argmax(corr))
    gain = float(corr[top] - corr[usual])
    if gain * len(change) ** 0.5 < _SURE or top in (0, len(corr) - 1):
        return 0.0, gain
    bend = 0.0
    if min(corr[top - 1], corr[top + 1]) > -1:
        curve = corr[top - 1] - 2 * corr[top] + corr[top + 1]
        bend = 0.5 * (corr[top - 1] - corr[top + 1]) / curve if curve < 0 else 0.0
    # An action that was recorded too late is found fewer steps before its effect.
    return float(usual - top - bend), gain
