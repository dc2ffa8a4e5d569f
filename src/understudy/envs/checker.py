"""Is this environment what it says it is? Plays a few episodes and reports what would spoil learning."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from understudy.envs.door import Adapted, DoorEnv, UnseededWarning, adapt
from understudy.envs.spaces import ActionSpec, parts
from understudy.episode import Array, as_obs

__all__ = ["Finding", "check"]

Severity: TypeAlias = Literal["error", "warning", "info"]
_ORDER: tuple[Severity, ...] = ("error", "warning", "info")


@dataclass(frozen=True)
class Finding:
    """One thing that the checker noticed: how bad it is, what it is, and what to do about it."""

    severity: Severity
    message: str
    advice: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.message}. {self.advice}."


def check(
    env: object,
    seed: int = 0,
    *,
    action: ActionSpec | None = None,
    horizon: int | None = None,
    steps: int = 1000,
) -> list[Finding]:
    """What is wrong with an environment, the worst first; nothing but "info" where it is sound.

    Five episodes with random actions are played, three of them from the same seed: on a real robot, it moves.
    `action` and `horizon` are as for `adapt`; an episode is left off after `steps` steps.

    It checks that observations are as announced and finite, the same seed gives the same trajectory to the
    last bit and others give others, actions matter and have sane bounds, rewards are finite, episodes end, a
    time limit is a truncation, and what was returned is not written to afterwards. It reports dimensions that
    never change, and whether anything is said about success.
    """
    spy: _Spy = type(type(env).__name__, (_Spy,), {})(env)  # so that errors name the environment's class
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnseededWarning)  # it becomes a finding
        try:
            door = adapt(spy, action=action, horizon=horizon)
        except (ValueError, TypeError) as e:
            return [Finding("error", str(e), "Nothing else can be checked before that")]
        limit = min(steps, door.horizon or steps)
        plan = [(seed, 0), (seed + 1, 1), (seed, 0), (seed, 2), (seed + 2, 3)]
        runs = [_play(door, spy, s, a, limit) for s, a in plan]
    found = [*_broken(runs), *_unseeded(door), *_bounds(door.action), *_as_announced(spy), *_numbers(runs)]
    if not any(r.error for r in runs):
        found += [*_seeds(runs), *_ends(runs, limit, door.horizon), *_success(runs), *_still(runs)]
    found += _rewritten(spy)
    return sorted(dict.fromkeys(found), key=lambda f: _ORDER.index(f.severity))


@dataclass
class _Run:
    """One episode as it went."""

    obs: list[Mapping[str, Array]] = field(default_factory=list)
    reward: list[float] = field(default_factory=list)
    terminated: bool = False
    truncated: bool = False
    success: bool = False
    error: str = ""

    def stacked(self) -> dict[str, Array]:
        return {k: np.stack([o[k] for o in self.obs]) for k in self.obs[0]}


class _Spy:
    """Passes everything on, and remembers what was returned: the very arrays, and what they held then."""

    def __init__(self, env: Any) -> None:
        self.env = env
        self.seen: list[tuple[int, dict[str, Any], dict[str, Array]]] = []
        if callable(getattr(env, "reset", None)):
            self.reset = self._watched(env.reset)
        if callable(getattr(env, "step", None)):
            self.step = self._watched(env.step)

    def __getattr__(self, name: str) -> Any:
        if name in ("env", "reset", "step"):
            raise AttributeError(name)
        return getattr(self.env, name)

    def _watched(self, verb: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(verb)  # the door reads the signature of reset
        def call(*args: Any, **kwargs: Any) -> Any:
            out = verb(*args, **kwargs)
            more = isinstance(out, tuple) and (
                len(out) > 2 or (len(out) == 2 and isinstance(out[1], Mapping))
            )
            self._note(out[0] if more else out)
            return out

        return call

    def _note(self, obs: object) -> None:
        if len(self.seen) < 256:
            flat = as_obs(obs)
            self.seen.append((len(self.seen), flat, {k: np.array(v) for k, v in flat.items()}))


def _actions(spec: ActionSpec, seed: int) -> Iterator[Array]:
    random = np.random.default_rng([seed, 0xC4EC])
    low, high = np.clip(spec.low, -1e3, 1e3), np.clip(spec.high, -1e3, 1e3)
    while True:
        if spec.n is not None:
            yield random.integers(spec.n, size=1)
        elif spec.bounded:
            yield random.uniform(low, high).astype(np.float32)
        else:
            yield spec.settle(random.standard_normal(spec.width))


def _play(door: DoorEnv, spy: _Spy, seed: int, actions: int, limit: int) -> _Run:
    run = _Run()
    verb = "reset"
    try:
        obs, _ = door.reset(seed=seed)
        run.obs.append({k: np.array(v) for k, v in obs.items()})
        verb = "step"
        for action, _ in zip(_actions(door.action, actions), range(limit), strict=False):
            obs, reward, run.terminated, run.truncated, info = door.step(action)
            run.obs.append({k: np.array(v) for k, v in obs.items()})
            run.reward.append(reward)
            run.success = run.success or "success" in info
            if run.terminated or run.truncated:
                break
    except Exception as e:  # whatever a stranger's code raises is a finding
        run.error = f"{verb} raised {type(e).__name__}: {str(e).splitlines()[0] if str(e) else 'no message'}"
    return run


def _broken(runs: list[_Run]) -> Iterator[Finding]:
    for run in runs:
        if run.error:
            yield Finding("error", run.error, "Make it work for any action inside its bounds")


def _unseeded(door: DoorEnv) -> Iterator[Finding]:
    if isinstance(door, Adapted) and not door.seeded:
        yield Finding("warning", "reset takes no seed", "Give reset a `seed` argument, and draw all from it")


def _bounds(spec: ActionSpec) -> Iterator[Finding]:
    if spec.n is not None:
        return
    for i, (low, high) in enumerate(zip(spec.low.tolist(), spec.high.tolist(), strict=True)):
        name = f"action dimension {i}"
        if low == high:
            yield Finding("warning", f"{name} can only be {low:g}", "Leave it out, or widen its bounds")
        elif np.isfinite(low) != np.isfinite(high):
            yield Finding("warning", f"{name} has one bound of two ({low:g}, {high:g})", "Give it both")
        elif np.isfinite(low) and high - low > 1e6:
            yield Finding(
                "warning", f"{name} is bounded by {low:g} and {high:g}", "Give the bounds that the robot has"
            )
    if np.isinf(spec.low).all() and np.isinf(spec.high).all():
        yield Finding("info", "actions have no bounds", "Noise in units of the action range needs them")


def _as_announced(spy: _Spy) -> Iterator[Finding]:
    """Observations against their spaces, where there are any: dtype and bounds. Shapes raise."""
    if (space := getattr(spy.env, "observation_space", None)) is None:
        return
    for name, part in parts(space).items():
        low, high, dtype = (getattr(part, k, None) for k in ("low", "high", "dtype"))
        values = [then[name] for _, _, then in spy.seen if name in then]
        if low is None or not values:
            continue
        if (have := values[0].dtype) != dtype:
            yield Finding(
                "info", f"observation {name!r} is {have}, announced as {dtype}", "It is converted at the door"
            )
        if any(v.shape == np.shape(low) and ((v < low) | (v > high)).any() for v in values):
            yield Finding(
                "warning",
                f"observation {name!r} leaves the bounds of its space",
                "Correct the bounds, or what is returned",
            )


def _numbers(runs: list[_Run]) -> Iterator[Finding]:
    for run in runs:
        for step, obs in enumerate(run.obs):
            for name, x in obs.items():
                if not np.isfinite(x).all():
                    at = f"at step {step}" if step else "after reset"
                    yield Finding("error", f"observation {name!r} is not finite {at}", "Return numbers only")
        for step, reward in enumerate(run.reward):
            if not np.isfinite(reward):
                yield Finding("error", f"the reward is {reward} at step {step}", "Return a finite number")


def _equal(a: _Run, b: _Run) -> bool:
    x, y = a.stacked(), b.stacked()
    ends = (a.terminated, a.truncated) == (b.terminated, b.truncated)
    return ends and a.reward == b.reward and all(np.array_equal(x[k], y[k], equal_nan=True) for k in x)


def _seeds(runs: list[_Run]) -> Iterator[Finding]:
    first, other, again, moved, _ = runs
    if not _equal(first, again):
        parted = next(
            (i for i, (x, y) in enumerate(zip(first.obs, again.obs, strict=False)) if _differ(x, y)), None
        )
        where = "in its reward or its end" if parted is None else f"from state {parted} on"
        yield Finding(
            "error",
            f"the same seed and actions gave another trajectory ({where}) after an episode in between",
            "Draw everything from the seed, and let reset clear all that an episode leaves behind",
        )
    elif not _differ(first.obs[0], other.obs[0]) and not _differ(first.obs[0], runs[4].obs[0]):
        yield Finding(
            "warning",
            "different seeds start alike",
            "Draw the start from the seed, or nothing is generalised",
        )
    if len(first.obs) > 1 and not any(_differ(x, y) for x, y in zip(first.obs, moved.obs, strict=False)):
        yield Finding("warning", "actions change nothing that is observed", "Let step use them")


def _differ(a: Mapping[str, Array], b: Mapping[str, Array]) -> bool:
    return any(not np.array_equal(a[k], b[k], equal_nan=True) for k in a)


def _ends(runs: list[_Run], limit: int, horizon: int | None) -> Iterator[Finding]:
    lengths = [len(r.reward) for r in runs]
    if any(r.terminated and r.truncated for r in runs):
        yield Finding(
            "warning",
            "an episode ended as terminated and truncated at once",
            "Say truncated only where the time ran out and the task had not ended",
        )
    if not any(r.terminated or r.truncated for r in runs):
        if horizon is None:
            yield Finding(
                "warning",
                f"no episode ended within {limit} steps",
                "Give it a limit: adapt(env, horizon=...)",
            )
        elif limit >= horizon:
            yield Finding(
                "error", f"no episode ended at its limit of {horizon} steps", "Return truncated=True there"
            )
    elif all(r.terminated for r in runs) and len(set(lengths)) == 1 and lengths[0] > 1:
        yield Finding(
            "warning",
            f"every episode was terminated at step {lengths[0]} exactly, which looks like a time limit",
            "Report a time limit as truncated, or, with one `done`, as info['TimeLimit.truncated']",
        )


def _success(runs: list[_Run]) -> Iterator[Finding]:
    if not any(r.success for r in runs):
        yield Finding(
            "info", "nothing is said about success", "Put a bool into info['success'] to have it measured"
        )


def _still(runs: list[_Run]) -> Iterator[Finding]:
    seen = [r.stacked() for r in runs]
    for name in seen[0]:
        x = np.concatenate([s[name] for s in seen])
        if x.dtype == np.uint8:
            continue
        still = np.flatnonzero((x == x[0]).reshape(len(x), -1).all(0)).tolist()
        if still:
            dims = ", ".join(map(str, still[:8])) + (", …" if len(still) > 8 else "")
            yield Finding(
                "info",
                f"observation {name!r} never changes in dimension {dims}",
                "It teaches nothing, and may be left out",
            )


def _rewritten(spy: _Spy) -> Iterator[Finding]:
    """Arrays that were written to after they were returned: who kept one without a copy has a false past."""
    for _, kept, then in spy.seen:
        for name, before in then.items():
            if isinstance(kept[name], np.ndarray) and not np.array_equal(kept[name], before, equal_nan=True):
                yield Finding(
                    "warning",
                    f"observation {name!r} is written to after it was returned",
                    "Return a copy; this library makes one, other code may not",
                )
                return
