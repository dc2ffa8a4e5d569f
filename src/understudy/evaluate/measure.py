"""Running a policy on fixed seeds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isclose
from operator import index
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from understudy.dataset import Dataset
from understudy.episode import Episode
from understudy.evaluate import reading
from understudy.evaluate.outcome import Outcome
from understudy.evaluate.report import Report
from understudy.numerics import Tracking, tracking
from understudy.provenance import provenance
from understudy.roles import Env, Policy
from understudy.rollout import Workers, name_of, rollouts

if TYPE_CHECKING:
    from understudy.envs import View

__all__ = ["FIRST_SEED", "VALIDATION_SEED", "alike", "evaluate", "fresh_seeds"]

FIRST_SEED = 1_000_000  # of every evaluation; demonstrations are recorded from 0 upwards
VALIDATION_SEED = 2_000_000  # of what is looked at while learning


def fresh_seeds(n: int, avoid: Iterable[Episode] = (), start: int = FIRST_SEED) -> tuple[int, ...]:
    """The seeds start, start + 1, ..., n of them: the same for every policy, so that any two can be paired.

    Args:
        avoid: the demonstrations; the seeds in their `meta` must not be among these.
        start: far from where recording starts.

    Raises:
        ValueError: when n < 1, start < 0, or a demonstration was recorded on one of the seeds. They are not
            skipped silently: two policies with different demonstrations would get different lists.

    >>> fresh_seeds(3)
    (1000000, 1000001, 1000002)
    """
    if index(n) < 1 or index(start) < 0:
        raise ValueError(f"{n} seeds from {start}: at least one is needed, and none may be negative")
    seeds = range(start, start + n)
    metas = avoid.facts if isinstance(avoid, Dataset) else [e.meta for e in avoid]
    if seen := sorted({s for m in metas if isinstance(s := m.get("seed"), int) and s in seeds}):
        raise ValueError(
            f"{len(seen)} of the {n} seeds from {start} were recorded as demonstrations ({_some(seen)}); "
            "a policy is measured on seeds it has not seen, so start elsewhere"
        )
    return tuple(seeds)


def _some(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds[:5])) + (", ..." if len(seeds) > 5 else "")


def evaluate(
    policy: Policy,
    make_env: Callable[[], Env],
    seeds: Iterable[int],
    *,
    name: str | None = None,
    view: View | None = None,
    reference: Mapping[int, Episode] | Iterable[Episode] | None = None,
    max_steps: int | None = None,
    workers: int | Workers = 1,
    progress: Callable[[Episode], None] | None = None,
) -> Report:
    """Runs a policy once on every seed and says how it went, in the order of the seeds.

    Args:
        make_env: makes the environment; its `name` is the report's task.
        seeds: each once. `fresh_seeds` gives a list that no demonstration was recorded on.
        name: of the policy; its own `name` or its class's when left out.
        view: which part of an observation is a position, its unit and its goal (`task(...).view`).
        reference: episodes to track, by seed or with "seed" in their `meta`: an expert's on the same seeds.
            A seed without a reference gets no tracking error.
        max_steps: truncates an episode after that many steps, besides the environment's own limit.
        workers: how many processes, or open ones; the numbers do not depend on it.
        progress: called with every episode, in the order of the seeds.

    Raises:
        ValueError: when a seed appears twice or is negative; a reference comes without a view, shares no seed
            or starts from another state; or the view does not fit the observations.
        understudy.rollout.RolloutError: when an episode fails, naming its seed.
    """
    listed = [index(s) for s in seeds]
    if not listed or min(listed) < 0 or len(set(listed)) < len(listed):
        raise ValueError(
            f"{len(listed)} seeds are given; at least one is needed, each once, and none negative"
        )
    called = reading.line("name", name_of(policy) if name is None else name)
    against = _by_seed(reference, listed)
    if against and view is None:
        raise ValueError("a reference needs a view, which says what part of an observation to compare")
    outcomes: list[Outcome] = []

    def saw(episode: Episode) -> None:
        # At once, so that a view that does not fit is known after one episode and not after all of them.
        seed = listed[len(outcomes)]
        outcomes.append(_outcome(seed, episode, view, against.get(seed)))
        if progress is not None:
            progress(episode)

    alone = (workers.count if isinstance(workers, Workers) else workers) == 1
    wall, cpu = time.perf_counter(), time.process_time()
    meta = {"policy": called}
    episodes = rollouts(
        make_env, policy, listed, workers=workers, meta=meta, max_steps=max_steps, progress=saw
    )
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Report(
        policy=called,
        task=str(episodes[0].meta.get("task", "")),
        outcomes=tuple(outcomes),
        unit="" if view is None else view.unit,
        seconds=wall,
        cpu_seconds=cpu if alone else None,
        provenance=provenance(),
        episodes=tuple(episodes),
    )


def alike(a: float, b: float) -> bool:
    """Whether two episodes start from one state, up to how floats differ between processors."""
    return isclose(a, b, rel_tol=1e-4, abs_tol=1e-4)


def _by_seed(
    reference: Mapping[int, Episode] | Iterable[Episode] | None, seeds: list[int]
) -> Mapping[int, Episode]:
    if reference is None:
        return {}
    made: dict[int, Episode] = {}
    if isinstance(reference, Mapping):
        made |= reference
    else:
        for i, episode in enumerate(reference):
            seed = episode.meta.get("seed")
            if not isinstance(seed, int):
                raise ValueError(f"reference {i} has seed {seed!r} in its meta; a whole number is needed")
            if made.setdefault(seed, episode) is not episode:
                raise ValueError(f"there are two references for seed {seed}; one is needed")
    if not made.keys() & set(seeds):
        raise ValueError(f"no reference has any of the {len(seeds)} seeds ({_some(seeds)})")
    return made


def _outcome(seed: int, episode: Episode, view: View | None, reference: Episode | None) -> Outcome:
    start = _start(episode)
    off: Tracking | None = None
    distance: float | None = None
    if view is not None:
        path = _path(episode, view)
        if reference is not None:
            if not alike(start, _start(reference)):
                raise ValueError(
                    f"seed {seed}: the reference starts from another state than the episode; "
                    "they come from different tasks, or the environment does not follow its seed"
                )
            off = tracking(path, _path(reference, view))
        distance = _distance(path[-1], episode, view)
    return Outcome(
        seed=seed,
        success=episode.success,
        total_reward=episode.total_reward,
        steps=len(episode),
        terminated=episode.terminated,
        start=start,
        tracking=off,
        goal_distance=distance,
    )


def _start(episode: Episode) -> float:
    """The first observation's component along one fixed direction: equal starts give equal numbers."""
    vectors = {k: v[0] for k, v in episode.obs.items() if v.dtype != np.uint8}
    first = vectors or {k: v[0] for k, v in episode.obs.items()}  # pictures only where there is nothing else
    x = np.concatenate([first[k].ravel().astype(np.float64) for k in sorted(first)])
    return float((x * np.cos(np.arange(1.0, len(x) + 1))).sum())


def _path(episode: Episode, view: View) -> NDArray[np.float64]:
    """[T + 1, D], the positions that the view names."""
    states = episode.obs.get(view.key)
    if states is None or states.ndim != 2 or max(view.dims) >= states.shape[1]:
        raise _unfit(episode, view.key, view)
    return states[:, list(view.dims)].astype(np.float64)


def _distance(last: NDArray[np.float64], episode: Episode, view: View) -> float | None:
    """From the last position to the goal, which is all of its observation or the same dimensions of it."""
    if view.goal is None:
        return None
    goal = episode.obs.get(view.goal)
    if goal is None or goal.ndim != 2:
        raise _unfit(episode, view.goal, view)
    if goal.shape[1] != len(view.dims):
        if max(view.dims) >= goal.shape[1]:
            raise _unfit(episode, view.goal, view)
        goal = goal[:, list(view.dims)]
    return float(np.linalg.norm(last - goal[-1].astype(np.float64)))


def _unfit(episode: Episode, key: str, view: View) -> ValueError:
    have = {k: v.shape[1:] for k, v in episode.obs.items()}
    return ValueError(f"the view takes dimensions {view.dims} of {key!r}; the observations are {have}")
