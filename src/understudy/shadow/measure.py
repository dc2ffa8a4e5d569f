"""Disagreement of a policy with an expert, step by step, while one of them drives and the other looks on.

Shapes: E episodes; T steps of one; A action width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, TypeAlias, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from understudy.dataset import Dataset
from understudy.episode import EXPERT, Array, Episode, Obs
from understudy.experts import PolicyExpert
from understudy.numerics import Estimate, bootstrap
from understudy.roles import Env, Expert, Policy
from understudy.rollout import Workers, name_of, rollouts

__all__ = ["Driver", "Floats", "Shadow", "scale_of", "shadow", "shadow_data"]

Driver: TypeAlias = Literal["expert", "policy", "recorded"]
Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Shadow:
    """What the policy would have done beside what the expert would have.

    Args:
        data: E episodes as they went; `label` is the expert's action, `labelled` where the two are compared.
        proposed: the policy's actions, one [T, A] an episode.
        scale: [A], what a disagreement of 1 is in each dimension, in raw units.
        driver: who drove: the "expert", the "policy" itself, or whoever did when it was "recorded".
        policy, task: their names; "" where nobody says.

    Raises:
        ValueError: when the shapes do not fit, or the scale is not positive and finite.
    """

    data: Dataset
    proposed: tuple[Array, ...]
    scale: Floats
    driver: Driver
    policy: str = ""
    task: str = ""

    def __post_init__(self) -> None:
        if not len(self.data) or len(self.proposed) != len(self.data):
            raise ValueError(
                f"there are {len(self.data)} episodes and proposals for {len(self.proposed)}; as many of "
                "both are needed, and at least one"
            )
        for i, (e, p) in enumerate(zip(self.data, self.proposed, strict=True)):
            if p.shape != e.label.shape:
                raise ValueError(
                    f"episode {i}: proposals are {list(p.shape)} and the expert's actions "
                    f"{list(e.label.shape)}; they must be alike"
                )
        width = self.proposed[0].shape[1]
        scale = np.asarray(self.scale, np.float64)
        if scale.shape != (width,) or not (np.isfinite(scale).all() and (scale > 0).all()):
            raise ValueError(f"scale is {scale.tolist()}; it must be {width} positive numbers")
        object.__setattr__(self, "scale", scale)
        if not any(e.labelled.any() for e in self.data):
            raise ValueError("no step has an action of the expert, so there is nothing to compare with")

    @property
    def discrete(self) -> bool:
        """Whether actions are choices: they agree or do not."""
        return self.proposed[0].dtype.kind in "iu" and self.data.schema["action"][0] == "int64"

    @cached_property
    def off(self) -> tuple[Floats, ...]:
        """E of [T, A], (proposed - expert's) / scale; not a number where nothing is compared."""
        found = []
        for e, p in zip(self.data, self.proposed, strict=True):
            z = (np.asarray(p, np.float64) - e.label) / self.scale
            z = (z != 0).astype(np.float64) if self.discrete else z
            z[~e.labelled] = np.nan
            found.append(z)
        return tuple(found)

    @cached_property
    def disagreement(self) -> tuple[Floats, ...]:
        """E of [T], d = √(mean over dimensions of `off`²): 1 is as far as the scale in every dimension.

        With the standard deviation of the expert's actions for a scale, whoever always does the mean action
        has a root mean square of 1. Choices have 0 where they agree, else 1.
        """
        return tuple(np.sqrt((z**2).mean(1)) for z in self.off)

    @property
    def by_dimension(self) -> Floats:
        """[A], the root mean square of `off` over all compared steps."""
        result: Floats = np.sqrt(np.nanmean(np.concatenate(self.off) ** 2, axis=0))
        return result

    @cached_property
    def mean(self) -> Estimate:
        """Disagreement averaged over each episode and then over episodes, with the bootstrap interval."""
        return bootstrap([float(np.nanmean(d)) for d in self.disagreement if np.isfinite(d).any()])

    def beyond(self, tolerance: float) -> Estimate:
        """The share of steps with a disagreement above `tolerance`; bootstrap over episodes."""
        kept = [d[np.isfinite(d)] for d in self.disagreement if np.isfinite(d).any()]
        return bootstrap([float((d > tolerance).mean()) for d in kept])


def scale_of(data: Iterable[Episode]) -> Floats:
    """[A], the standard deviation of the expert's actions; 1 where he always does the same.

    Discrete choices have no scale: 1.

    Raises:
        ValueError: when nothing is labelled.
    """
    said = [e.label[e.labelled] for e in data]
    if not sum(map(len, said)):
        raise ValueError("no step has an action of the expert, so there is nothing to take a scale of")
    actions = np.concatenate(said)
    if actions.dtype == np.int64:
        return np.ones(1)
    wide = actions.astype(np.float64)
    spread = wide.std(0)
    constant = spread <= 1e-6 * np.maximum(1.0, np.abs(wide.mean(0)))
    return np.where(constant, 1.0, spread)


@final
class _Beside:
    """The expert drives, and the policy says what it would do: a policy and an expert with roles exchanged.

    As a policy it does what the expert wants (what the policy proposes where he has no objection); as an
    expert it says what the policy proposed. So an episode's label is the proposal, in any process.
    """

    def __init__(self, policy: Policy, expert: Expert) -> None:
        self.policy, self.expert = policy, expert
        self.name = name_of(expert.policy if isinstance(expert, PolicyExpert) else expert)
        self._proposed: Array | None = None

    def reset(self, seed: int) -> None:
        """Starts an episode of both."""
        self.policy.reset(seed)
        self.expert.reset(seed)
        self._proposed = None

    def act(self, obs: Obs) -> Array:
        self._proposed = np.atleast_1d(np.asarray(self.policy.act(obs)))
        advice = self.expert.advise(obs, self._proposed)
        return self._proposed if advice is None else advice

    def advise(self, obs: Obs, proposed: Array) -> Array | None:
        return self._proposed


def _proposal(proposed: Array, advice: Array | None) -> Array:
    """The arbiter of whoever drives as the policy: what is proposed is executed."""
    return proposed


def shadow(
    policy: Policy,
    expert: Expert,
    make_env: Callable[[], Env],
    seeds: Iterable[int],
    *,
    scale: ArrayLike | None = None,
    driver: Literal["expert", "policy"] = "expert",
    workers: int | Workers = 1,
    progress: Callable[[Episode], None] | None = None,
) -> Shadow:
    """Runs both side by side, one episode a seed, and executes only what the driver wants.

    With the expert at the controls this is shadow mode: nothing that the policy proposes has consequences.
    With the policy at the controls the expert looks on: the same question, on the policy's own states.
    Where the expert has nothing to say he agrees.

    Args:
        scale: one number or [A]; the standard deviation of the expert's actions in these episodes when left
            out.

    Raises:
        ValueError: for an unknown driver.
        understudy.rollout.RolloutError: when an episode fails, naming its seed.
    """
    if driver not in ("expert", "policy"):
        raise ValueError(f"driver is {driver!r}; it must be 'expert' or 'policy'")
    if driver == "policy":
        found = rollouts(make_env, policy, seeds, expert, _proposal, workers=workers, progress=progress)
        episodes = [replace(e, labelled=np.ones(len(e), np.bool_)) for e in found]
        proposed = tuple(e.action for e in episodes)
    else:
        both = _Beside(policy, expert)
        found = rollouts(make_env, both, seeds, both, _proposal, workers=workers, progress=progress)
        proposed = tuple(e.label for e in found)
        drove = [np.full(len(e), EXPERT, np.uint8) for e in found]
        episodes = [replace(e, label=e.action, control=c) for e, c in zip(found, drove, strict=True)]
    data = Dataset(episodes)
    task = str(episodes[0].meta.get("task", "")) if episodes else ""
    return Shadow(data, proposed, _scale(scale, data), driver, name_of(policy), task)


def shadow_data(policy: Policy, data: Dataset, *, scale: ArrayLike | None = None, seed: int = 0) -> Shadow:
    """The same question about recorded episodes: what would the policy have done at each of their states?

    The policy sees the observations of each episode in order, from its reset on, so one with a history or
    with chunks of actions is asked as it would act. Steps without a label are seen but not compared.

    Args:
        scale: as of `shadow`.
        seed: of the policy's own choices; episode i is reset with seed + i.

    Raises:
        ValueError: when nothing is labelled.
    """
    if not len(data):
        raise ValueError("the dataset is empty; there is nothing to look at")
    proposed = []
    for i, e in enumerate(data):
        policy.reset(seed + i)
        acts = [policy.act({k: np.asarray(v[t]) for k, v in e.obs.items()}) for t in range(len(e))]
        proposed.append(np.stack([np.atleast_1d(np.asarray(a)) for a in acts]).astype(e.label.dtype))
    tasks = {str(f.get("task", "")) for f in data.facts}
    task = tasks.pop() if len(tasks) == 1 else ""
    return Shadow(data, tuple(proposed), _scale(scale, data), "recorded", name_of(policy), task)


def _scale(scale: ArrayLike | None, data: Dataset) -> Floats:
    if scale is None:
        return scale_of(data)
    width = data.schema["action"][1][0]
    return np.broadcast_to(np.asarray(scale, np.float64), (width,)).copy()
