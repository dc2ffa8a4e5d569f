"""The door: whatever can be reset and stepped becomes an `Env` with one form of observation, action and info.

Two kinds of thing come in: a Gymnasium environment, whose spaces say what it is, and anybody's own object
with `reset` and `step`. What comes out is always the same:

- observations are flat mappings of float32 arrays, uint8 images [H, W, C] and one-hot float32 for choices,
  all of them copies that the environment cannot write to any more;
- continuous actions are float32 [A] inside the bounds, discrete ones int64 [1];
- `terminated` and `truncated` are apart, also where the environment has one `done`;
- `info["success"]` is a bool wherever the environment says anything of the kind.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from typing import Any, Protocol, TypeGuard

import numpy as np

from understudy.envs.spaces import ActionSpec, Reader, action_spec, by_example, for_space
from understudy.episode import Array, Obs, as_obs
from understudy.roles import Env

__all__ = ["Adapted", "DoorEnv", "UnseededWarning", "adapt", "says_success"]


class UnseededWarning(UserWarning):
    """An environment takes no seed, so its episodes cannot be repeated."""


class DoorEnv(Env, Protocol):
    """An `Env` that also says what goes in and what comes out."""

    name: str
    action: ActionSpec
    horizon: int | None

    @property
    def obs(self) -> Mapping[str, tuple[int, ...]]:
        """Observation name -> shape of one step."""
        ...

    def close(self) -> None:
        """Frees what the environment holds."""
        ...


def is_door_env(env: object) -> TypeGuard[DoorEnv]:
    """Whether `env` has been through the door already."""
    # Not by asking for `obs`: that may reset a robot.
    return isinstance(getattr(env, "action", None), ActionSpec) and all(
        hasattr(env, k) for k in ("horizon", "name", "reset", "step")
    )


def adapt(env: object, *, action: ActionSpec | None = None, horizon: int | None = None) -> DoorEnv:
    """Takes an environment in at the door. What has been through it already comes back as it is.

    Args:
        env: a Gymnasium environment (spaces Box, Dict, Discrete, MultiDiscrete, MultiBinary; actions Box or
            Discrete), or any object with `reset` (with or without `seed`, returning the observation or
            `(observation, info)`) and `step` (returning five values, or the old four, where `done` is a
            termination unless `info["TimeLimit.truncated"]` or `info["truncated"]` says otherwise).
        action: what actions the object takes; needed where its `action_space`, its `action` (an ActionSpec)
            or its `action_dim` (a width, without bounds) does not say.
        horizon: truncates an episode after that many steps, where the environment has no limit of its own.

    An action outside its bounds is clipped to them here, and the clipped action is what the environment gets
    and what a rollout records. A discrete choice that does not exist is an error: nothing near it is meant.

    Raises:
        TypeError: when the object cannot be an environment, or a space has no place in the library.
        ValueError: when its actions are not described, or horizon is not positive.
    """
    if is_door_env(env):
        if action is not None or horizon is not None:
            raise ValueError("the environment is adapted already; give action and horizon the first time")
        return env
    return Adapted(env, action=action, horizon=horizon)


class Adapted:
    """An environment behind the door (see `adapt`). `raw` is what was taken in.

    Attributes:
        name: the Gymnasium id, or the class's name.
        action: the actions it takes.
        obs: name -> shape of one step. Where the environment has no observation space, asking for it before
            the first reset resets it once with seed 0.
        horizon: the most steps of an episode, None where nobody said.
    """

    def __init__(self, env: object, *, action: ActionSpec | None = None, horizon: int | None = None) -> None:
        for verb in ("reset", "step"):
            if not callable(getattr(env, verb, None)):
                raise TypeError(f"{type(env).__name__} has no {verb}(); an environment needs reset and step")
        if getattr(env, "num_envs", 1) != 1 or hasattr(env, "single_action_space"):
            raise TypeError(f"{type(env).__name__} is a vector of environments; adapt one of them")
        if horizon is not None and horizon < 1:
            raise ValueError(f"horizon is {horizon}; an episode has at least one step")
        self.raw: Any = env
        spec = getattr(env, "spec", None)
        self.name: str = getattr(spec, "id", None) or type(env).__name__
        self.action: ActionSpec = _actions(env, action)
        own = getattr(spec, "max_episode_steps", None)
        self._limit = horizon
        self.horizon: int | None = min((h for h in (own, horizon) if h is not None), default=None)
        space = getattr(env, "observation_space", None)
        self._reader: Reader | None = None if space is None else for_space(space)
        self._reset = _Reset(env)
        self._steps = 0

    @property
    def obs(self) -> Mapping[str, tuple[int, ...]]:
        """Observation name -> shape of one step."""
        if self._reader is None:
            self.reset(seed=0)
        assert self._reader is not None
        return {k: v.shape for k, v in self._reader.items()}

    @property
    def seeded(self) -> bool:
        """Whether the seed given to reset reaches the environment."""
        return self._reset.how != "none"

    def reset(self, *, seed: int) -> tuple[Obs, Mapping[str, Any]]:
        """Starts an episode: the first observation and information about it."""
        self._steps = 0
        obs, info = self._reset(seed)
        return self._read(obs), _normalised(info)

    def step(self, action: Array) -> tuple[Obs, float, bool, bool, Mapping[str, Any]]:
        """One control step with `action` [A], clipped to its bounds."""
        out = self.raw.step(self.action.unwrap(self.action.settle(action)))
        if not isinstance(out, tuple) or len(out) not in (4, 5):
            what = f"{len(out)} values" if isinstance(out, tuple) else type(out).__name__
            raise TypeError(
                f"{self.name}.step returned {what}; it must return "
                "(obs, reward, terminated, truncated, info) or (obs, reward, done, info)"
            )
        if len(out) == 5:
            obs, reward, terminated, truncated, info = out
            info = _mapping(info)
        else:
            obs, reward, done, info = out
            info = _mapping(info)
            timeout = info.get("TimeLimit.truncated", info.get("truncated", False))
            terminated, truncated = bool(done) and not timeout, bool(done) and bool(timeout)
        self._steps += 1
        if self._limit is not None and self._steps >= self._limit and not terminated:
            truncated = True
        return self._read(obs), float(reward), bool(terminated), bool(truncated), _normalised(info)

    def close(self) -> None:
        """Frees what the environment holds, where it has a way to."""
        close = getattr(self.raw, "close", None)
        if callable(close):
            close()

    def _read(self, obs: object) -> Obs:
        flat = as_obs(obs)
        if self._reader is None:
            self._reader = by_example(flat)
        reader = self._reader
        if flat.keys() != reader.keys():
            raise ValueError(
                f"{self.name} returned observations {sorted(flat)}, but {sorted(reader)} were announced"
            )
        try:
            return {k: reader[k].read(v) for k, v in flat.items()}
        except (ValueError, TypeError) as e:
            raise type(e)(f"{self.name}: {e}") from None


class _Reset:
    """One way to reset with a seed, found once: by argument, by a `seed` method, or not at all."""

    def __init__(self, env: Any) -> None:
        self.env = env
        try:
            parameters = inspect.signature(env.reset).parameters.values()
        except (TypeError, ValueError):  # a compiled function that does not describe itself
            parameters = {}.values()
        named = any(p.name == "seed" and p.kind is not p.VAR_POSITIONAL for p in parameters)
        self.how = "argument" if named or any(p.kind is p.VAR_KEYWORD for p in parameters) else "none"
        if self.how == "none" and callable(getattr(env, "seed", None)):
            self.how = "method"
        self.warned = False

    def __call__(self, seed: int) -> tuple[object, Mapping[str, Any]]:
        if self.how == "argument":
            out = self.env.reset(seed=seed)
        else:
            if self.how == "method":
                self.env.seed(seed)
            elif not self.warned:
                self.warned = True
                warnings.warn(
                    f"{type(self.env).__name__}.reset takes no seed, so its episodes cannot be repeated or "
                    "compared seed by seed; give reset a `seed` argument",
                    UnseededWarning,
                    stacklevel=4,
                )
            out = self.env.reset()
        if isinstance(out, tuple) and len(out) == 2 and isinstance(out[1], Mapping):
            return out[0], out[1]
        return out, {}


def _actions(env: Any, given: ActionSpec | None) -> ActionSpec:
    if given is not None:
        return given
    space = getattr(env, "action_space", None)
    if space is not None and not callable(space):
        return action_spec(space)
    if isinstance(own := getattr(env, "action", None), ActionSpec):
        return own
    width = getattr(env, "action_dim", None)
    if isinstance(width, int | np.integer) and width > 0:
        return ActionSpec.unbounded(int(width))
    raise ValueError(
        f"{type(env).__name__} has neither action_space nor action_dim; say what actions it takes: "
        "adapt(env, action=ActionSpec.box(low, high))"
    )


def _mapping(info: object) -> Mapping[str, Any]:
    return info if isinstance(info, Mapping) else {}


def says_success(info: Mapping[str, Any]) -> bool | None:
    """What info says about success under the names in use ("success", "is_success"), None where it does not.

    A number counts as success from 0.5.
    """
    for name in ("success", "is_success"):
        if (said := info.get(name)) is not None:
            return bool(np.asarray(said, np.float64).reshape(-1)[0] >= 0.5)
    return None


def _normalised(info: Mapping[str, Any]) -> Mapping[str, Any]:
    said = says_success(info)
    return info if said is None else {**info, "success": said}
