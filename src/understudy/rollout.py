"""The only loops in which a policy meets an environment: one episode, and many in several processes.

Shapes: T steps of an episode; A action width.
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from understudy.envs.door import says_success
from understudy.envs.spaces import ActionSpec
from understudy.episode import EXPERT, POLICY, Array, Episode, Meta, Obs
from understudy.experts.advice import SILENT, Endorse, Silent
from understudy.roles import Env, Expert, Policy
from understudy.workers import ItemError, Workers

__all__ = ["Arbiter", "Interrupted", "RolloutError", "Workers", "defer", "rollout", "rollouts"]

Arbiter: TypeAlias = Callable[[Array, Array | None], Array]
"""(proposed [A], advice [A] or None) -> executed [A]. One with `reset(seed)` is reset with each episode."""

MakeEnv: TypeAlias = Callable[[], Env]
Progress: TypeAlias = Callable[[Episode], None]


class RolloutError(ValueError):
    """An episode could not be finished; the message names its seed."""


class Interrupted(ValueError):
    """An environment cannot go on in the middle of an episode: a robot has stopped.

    Attributes:
        episode: set by the rollout that it interrupts: what was recorded until then; None where nothing was.
    """

    episode: Episode | None = None


def defer(proposed: Array, advice: Array | None) -> Array:
    """Whoever holds the override executes: the advice where there is one, else what was proposed."""
    return proposed if advice is None else advice


def rollout(
    env: Env,
    policy: Policy,
    seed: int,
    expert: Expert = SILENT,
    arbiter: Arbiter = defer,
    *,
    meta: Meta | None = None,
    max_steps: int | None = None,
) -> Episode:
    """Runs one episode and keeps both what was done and what the expert said.

    Each step the policy proposes, the expert advises or is silent, and the arbiter decides. What is recorded
    as `action` is what the environment executed, after clipping to its bounds; `label` is the advice, and
    `labelled` is true only where the expert spoke. Environment, policy, expert and arbiter are all reset with
    `seed`. `success` is the last thing `info["success"]` said, None where it never said anything. `meta`
    gets the task's and the policy's name and the seed, and then whatever the caller adds.

    Where an expert stands by (any but SILENT and ENDORSE), `control` says who drove each step: the expert
    where his advice was executed, as it is or disturbed, and the policy where its proposal was. An expert
    with an attribute `control` says himself in what capacity he drives (EXPERT or RECOVERY).

    An environment with a true attribute `measured` says in `info["time"]` when each observation was measured,
    and `time` keeps it.

    Args:
        max_steps: truncates the episode after that many steps, besides the environment's own limit.

    Raises:
        ValueError: when an action is not finite or does not fit, naming the step and the value.
        Interrupted: when the environment cannot go on; its `episode` is what there is until then.
        TypeError: when the environment has not been through `understudy.envs.adapt`.
    """
    if max_steps is not None and max_steps < 1:
        raise ValueError(f"max_steps is {max_steps}; an episode has at least one step")
    spec = _spec(env)
    obs, info = env.reset(seed=seed)
    _check_obs(obs, env)
    policy.reset(seed)
    expert.reset(seed)
    if callable(fresh := getattr(arbiter, "reset", None)):
        fresh(seed)
    names = {"task": getattr(env, "name", None), "policy": name_of(policy)}
    facts = {k: v for k, v in names.items() if v} | {"seed": int(seed)} | dict(meta or {})
    notes = _Notes([_copy(obs)], [info["time"]] if getattr(env, "measured", False) else None)
    alone = isinstance(expert, Silent | Endorse)
    success: bool | None = None
    terminated = truncated = False
    while not (terminated or truncated):
        step = len(notes.done)
        proposed = _settle(spec, policy.act(obs), policy, step, obs)
        advice = expert.advise(obs, proposed)
        if advice is not None and advice is not proposed:
            advice = _settle(spec, advice, expert, step, obs)
        action = arbiter(proposed, advice)
        if action is not proposed and action is not advice:
            action = _settle(spec, action, arbiter, step, obs)
        try:
            obs, reward, terminated, truncated, info = env.step(action)
        except Interrupted as e:
            e.episode = notes.episode(False, success, facts, alone) if step else None
            raise
        driver = _driver(expert, proposed, advice, action)
        notes.step(obs, action, advice, driver, reward, info)
        now = says_success(info)
        success = success if now is None else now
        truncated = truncated or step + 1 == max_steps
    return notes.episode(bool(terminated), success, facts, alone)


@dataclass
class _Notes:
    """What a rollout writes down: states and, where the environment measures it, their times; then steps."""

    seen: list[dict[str, Array]]
    time: list[float] | None
    done: list[Array] = field(default_factory=list)
    said: list[Array] = field(default_factory=list)
    spoke: list[bool] = field(default_factory=list)
    drove: list[int] = field(default_factory=list)
    paid: list[float] = field(default_factory=list)

    def step(
        self,
        obs: Obs,
        action: Array,
        advice: Array | None,
        driver: int,
        reward: float,
        info: Mapping[str, Any],
    ) -> None:
        """One step, after it was taken."""
        self.seen.append(_copy(obs))
        self.done.append(action)
        self.said.append(action if advice is None else advice)
        self.spoke.append(advice is not None)
        self.drove.append(driver)
        self.paid.append(reward)
        if self.time is not None:
            self.time.append(info["time"])

    def episode(self, terminated: bool, success: bool | None, facts: Meta, alone: bool) -> Episode:
        """All of it. `alone`: nobody stood by, so it goes without saying who drove."""
        executed, label = np.stack(self.done), np.stack(self.said)
        return Episode(
            {k: np.stack([o[k] for o in self.seen]) for k in self.seen[0]},
            executed,
            executed if np.array_equal(executed, label) else label,
            np.array(self.spoke, np.bool_),
            np.array(self.paid, np.float64),
            terminated,
            success,
            facts,
            None if self.time is None else np.array(self.time, np.float64),
            None if alone else np.array(self.drove, np.uint8),
        )


def _driver(expert: Expert, proposed: Array, advice: Array | None, action: Array) -> int:
    """Who holds the controls, told by whose action it is; a disturbed one is the expert's where he spoke."""
    if advice is None or (action is proposed and action is not advice):
        return POLICY
    return int(getattr(expert, "control", EXPERT))


def name_of(policy: object) -> str:
    """A policy's `name` where it has one, else its class's."""
    name = getattr(policy, "name", None)
    return name if isinstance(name, str) and name else type(policy).__name__


def _spec(env: Env) -> ActionSpec | None:
    spec = getattr(env, "action", None)
    if isinstance(spec, ActionSpec):
        return spec
    if hasattr(env, "action_space"):
        raise TypeError(f"{type(env).__name__} is not adapted yet; roll out adapt(env) from understudy.envs")
    return None


def _check_obs(obs: object, env: Env) -> None:
    if not isinstance(obs, Mapping):
        raise TypeError(
            f"{type(env).__name__} returned an observation of type {type(obs).__name__}, not a mapping; "
            "roll out adapt(env) from understudy.envs"
        )


def _copy(obs: Obs) -> dict[str, Array]:
    return {k: np.array(v) for k, v in obs.items()}


def _settle(spec: ActionSpec | None, action: Any, who: object, step: int, obs: Obs) -> Array:
    """What would be executed of `action`; an error says who asked for it, when, and on seeing what."""
    try:
        if spec is None:  # nobody said what fits: anything finite does
            a = np.atleast_1d(np.asarray(action))
            if a.dtype.kind in "iu":
                return a.astype(np.int64)
            spec = ActionSpec.unbounded(max(1, a.size))
        return spec.settle(action)
    except (ValueError, TypeError) as e:
        blind = [k for k, v in obs.items() if not np.isfinite(v).all()]
        why = f" (it saw a value that is not finite in observation {blind[0]!r})" if blind else ""
        raise type(e)(f"step {step}, {name_of(who)}: {e}{why}") from None


@dataclass(frozen=True)
class _Job:
    """What to do for every seed."""

    make_env: MakeEnv
    key: object
    policy: Policy
    expert: Expert
    arbiter: Arbiter
    meta: dict[str, str | int | float]
    max_steps: int | None

    def __call__(self, item: int, kept: dict[object, Any]) -> Episode:
        if self.key not in kept:
            kept[self.key] = self.make_env()
        roles = (self.policy, item, self.expert, self.arbiter)
        return rollout(kept[self.key], *roles, meta=self.meta, max_steps=self.max_steps)


def rollouts(
    make_env: MakeEnv,
    policy: Policy,
    seeds: Iterable[int],
    expert: Expert = SILENT,
    arbiter: Arbiter = defer,
    *,
    workers: int | Workers = 1,
    meta: Meta | None = None,
    max_steps: int | None = None,
    progress: Progress | None = None,
) -> list[Episode]:
    """One episode a seed, in the order of `seeds`; the same to the last bit for any number of workers.

    That holds wherever an episode follows from its seed alone: what `policy`, `expert` and `arbiter` do may
    depend on `reset(seed)` and on what they see, not on the episodes before.

    Args:
        make_env: makes the environment, once in each process.
        workers: 1 runs in this process. More start that many processes, which costs a few seconds; it pays
            where an episode is slow (`docs/environments.md` has figures). Open `Workers` are lent instead,
            and keep their environments from call to call; a script that uses more than one needs the usual
            `if __name__ == "__main__":`, because workers import it to know its classes.
        progress: called with every episode, in the order of `seeds`.

    Raises:
        RolloutError: when an episode fails, naming its seed (the first of them in the order of `seeds`).
    """
    listed = [int(s) for s in seeds]
    job = _Job(make_env, _key(make_env), policy, expert, arbiter, dict(meta or {}), max_steps)
    episodes: list[Episode] = []
    pool = workers if isinstance(workers, Workers) else Workers(min(workers, max(1, len(listed))))
    with contextlib.nullcontext() if pool is workers else pool:
        try:
            with contextlib.closing(pool.map(job, listed)) as found:
                for episode in found:
                    episodes.append(episode)
                    if progress is not None:
                        progress(episode)
        except ItemError as e:
            raise RolloutError(f"seed {listed[e.index]}: {e.error}") from e.error
    return episodes


def _key(make_env: MakeEnv) -> object:
    """Equal for makers of equal environments, as far as anybody can tell."""
    try:
        return pickle.dumps(make_env)
    except Exception:  # a closure: it is itself, and stays in this process
        return make_env
