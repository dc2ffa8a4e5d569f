"""Looks at demonstrations before anything is learned: what would a discriminator win by, if not by skill?

Two questions. Do the demonstrations hold marks that the environment does not (`leaks`)? And are they of one
piece: a classifier that is trained on episodes of their first and of their second half, in the order in which
they were recorded, must not tell other episodes of these halves apart. It should be right in 50 % of their
steps; where the interval leaves 47 to 53 % behind, something changed while they were recorded (a camera, a
version, a person), and a discriminator will take the one half for the expert and the other for nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from understudy.dataset import Dataset
from understudy.envs import Task
from understudy.episode import Array, Obs
from understudy.numerics import Estimate, bootstrap
from understudy.online.leaks import LEAKS, Side, Sides, clipped, side_of
from understudy.online.start import FIRST_SEED, uniform
from understudy.quality.types import Finding

__all__ = ["Audit", "audit", "halves", "plain", "told_apart"]

_EPISODES = 200  # of the demonstrations that are looked at, evenly spread
_ROWS = 2048  # of each half that a classifier learns from
_PRODUCTS = 40  # columns, beyond which a classifier sees squares and no products of two
_RIDGE = 1e-2  # of the variance of a column
_FAIR = 0.53  # of the steps: a classifier of halves that is right more often has something to go by


def plain(finding: Finding) -> dict[str, str]:
    """A finding as plain values, for JSON. It is about all episodes, and so names none."""
    f = finding
    return {"severity": f.severity, "kind": f.kind, "evidence": f.evidence, "advice": f.advice}


@dataclass(frozen=True)
class Audit:
    """What was found in demonstrations before learning from them.

    Args:
        episodes, steps: how many there are.
        halves: the share of steps that a classifier of their two halves gets right on episodes that it has
            not seen; None where there are fewer than four episodes.
        clipped: action column -> the share of steps at which it stands exactly at a bound.
        findings: what a discriminator could win by; none where all is well.
    """

    episodes: int
    steps: int
    halves: Estimate | None
    clipped: Mapping[str, float]
    findings: tuple[Finding, ...]

    def lines(self) -> list[str]:
        """All of it in words, a line each."""
        if self.halves is None:
            first = f"{self.episodes} demonstrations are too few to ask whether they are of one piece"
        else:
            value, low, high = (100 * min(max(x, 0.0), 1.0) for x in _ends(self.halves))
            first = (
                f"first and second half of the demonstrations: a classifier is right in {value:.0f} % "
                f"[{low:.0f}, {high:.0f}] of the steps of {self.halves.n} unseen episodes (fair: 50)"
            )
        return [first, *map(str, self.findings)]

    def summary(self) -> dict[str, Any]:
        """All of it as plain values, for JSON."""
        return {
            "episodes": self.episodes,
            "steps": self.steps,
            "halves": None if self.halves is None else self.halves.summary(),
            "clipped": dict(self.clipped),
            "findings": [plain(f) for f in self.findings],
        }


def audit(data: Dataset, task: Task, *, steps: int = 300, resets: int = 32, seed: int = 0) -> Audit:
    """Looks at demonstrations beside the task they are for.

    Args:
        data: demonstrations with continuous actions. Of more than 200 episodes, 200 are looked at.
        task: where they will be learned from; it is reset `resets` times and lived in for `steps` uniformly
            random steps.
        seed: of these, and of what a classifier learns from.

    Raises:
        ValueError: without a demonstration, when observations or actions are of another shape than the
            task's, or the task's actions have no bounds.
    """
    if not len(data):
        raise ValueError("there are no demonstrations to look at")
    sides = _sides(data, task, steps, resets, seed)
    both = halves(sides.expert, seed)
    findings = [f for about in LEAKS for f in about(sides)]
    if both is not None and both.low > _FAIR:
        findings.append(_uneven(both))
    share = clipped(sides.expert.actions, sides.low, sides.high)
    named = {name: float(x) for name, x in zip(sides.actions, share, strict=True)}
    return Audit(len(data), data.steps, both, named, tuple(findings))


def _sides(data: Dataset, task: Task, steps: int, resets: int, seed: int) -> Sides:
    widths = {k: prod(shape) for k, shape in sorted(task.obs.items())}
    for key, shape in task.obs.items():
        if key not in data.schema or data.schema[key][1] != shape:
            held = data.schema[key][1] if key in data.schema else "nothing"
            raise ValueError(f"obs[{key!r}] is {held} in the demonstrations and {shape} in {task.name}")
    kind, shape = data.schema["action"]
    if kind != "float32" or shape != (task.action.width,):
        raise ValueError(
            f"the demonstrations' actions are {kind} {shape}; {task.name} takes {task.action.width} numbers"
        )
    chosen = np.unique(np.linspace(0, len(data) - 1, min(len(data), _EPISODES)).round().astype(int))
    expert = side_of([data[int(i)] for i in chosen], widths)
    beginner = side_of(list(uniform(task, steps, seed)), widths)
    return Sides(
        expert, beginner, _resets(task, widths, resets, seed),
        [f"{k}[{i}]" for k, w in widths.items() for i in range(w)],
        [f"action[{i}]" for i in range(task.action.width)],
        task.action.low, task.action.high,
    )  # fmt: skip


def _resets(task: Task, widths: Mapping[str, int], n: int, seed: int) -> Array:
    """[n, O], first observations."""
    env = task.make()

    def flat(obs: Obs) -> Array:
        return np.concatenate([np.asarray(obs[k], np.float32).reshape(w) for k, w in widths.items()])

    try:
        return np.stack([flat(env.reset(seed=FIRST_SEED + seed + i)[0]) for i in range(n)])
    finally:
        env.close()


def _ends(e: Estimate) -> tuple[float, float, float]:
    return e.value, e.low, e.high


def _uneven(both: Estimate) -> Finding:
    return Finding(
        "warning",
        "halves-differ",
        f"a classifier tells the first half of the demonstrations from the second in {both.value:.0%} of the "
        f"steps of {both.n} unseen episodes (at least {both.low:.0%}; fair would be 50 %)",
        "Something changed while they were recorded; look at what, or learn from one part",
    )


def halves(side: Side, seed: int = 0) -> Estimate | None:
    """The share of steps of unseen episodes whose half a classifier gets right; None for fewer than four."""
    rows = [np.concatenate((o[:-1], a), 1) for o, a in zip(side.obs, side.action, strict=True)]
    n = len(rows) // 2
    return None if n < 2 else told_apart(rows[:n], rows[-n:], seed)


def told_apart(first: Sequence[Array], second: Sequence[Array], seed: int = 0) -> Estimate:
    """How well two groups of episodes are told apart step by step, on episodes that were not learned from.

    Twice, a small classifier learns from every other episode of both groups and judges those between. Each
    episode counts once, as the share of its steps that is judged rightly: steps of one episode are alike, so
    they are no independent observations, and the interval is over episodes.

    Args:
        first, second: episodes [T, D]; at least two in each group.
        seed: of the rows that a classifier learns from, where there are too many.

    Raises:
        ValueError: when a group has fewer than two episodes.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError(f"the groups have {len(first)} and {len(second)} episodes; both need two")
    right = list[float]()
    for turn in (0, 1):
        score = _classifier(first[turn::2], second[turn::2], seed + turn)
        right += [float((score(x) > 0).mean()) for x in first[1 - turn :: 2]]
        right += [float((score(x) <= 0).mean()) for x in second[1 - turn :: 2]]
    return bootstrap(right)


def _classifier(first: Sequence[Array], second: Sequence[Array], seed: int) -> Callable[[Array], Array]:
    """A function from rows [N, D] to scores [N], above zero for the first; both groups weigh the same.

    Ridge regression of ±1 on the rows and their products: in closed form, and it sees means, spreads and
    correlations.
    """
    rng = np.random.default_rng(seed)
    groups = [np.concatenate(g).astype(np.float64) for g in (first, second)]
    groups = [x[rng.permutation(len(x))[:_ROWS]] for x in groups]
    every = np.concatenate(groups)
    mean, std = every.mean(0), np.maximum(every.std(0), 1e-6)

    def features(x: Array) -> Array:
        scaled = np.clip((x - mean) / std, -5, 5)
        wide = scaled.shape[1] > _PRODUCTS
        i, j = (np.arange(scaled.shape[1]),) * 2 if wide else np.triu_indices(scaled.shape[1])
        return np.concatenate((np.ones((len(x), 1)), scaled, scaled[:, i] * scaled[:, j]), 1)

    weight = np.repeat([0.5 / len(x) for x in groups], [len(x) for x in groups])[:, None]
    sign, seen = np.repeat([1.0, -1.0], [len(x) for x in groups]), features(every)
    gram = seen.T @ (weight * seen) + _RIDGE * np.eye(seen.shape[1])
    fitted = np.linalg.solve(gram, seen.T @ (weight[:, 0] * sign))

    def score(x: Array) -> Array:
        scores: Array = features(x) @ fitted
        return scores

    return score
