"""The chapter's environments, policies and experts in the roles that the library's one loop knows."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, final

import numpy as np
from numpy.typing import NDArray

from understudy.episode import Array, Episode, Obs

__all__ = ["Acts", "Asks", "Learns", "Says", "World", "labelled"]


class Says(Protocol):
    """Who has an answer to a state [S]: the action [A]."""

    def get_action(self, state: NDArray[Any]) -> NDArray[Any]: ...


class Learns(Says, Protocol):
    """Who can also be trained."""

    def train(self, demonstrations: Sequence[Any], n_epochs: int) -> Any: ...


def labelled(episode: Episode) -> tuple[list[NDArray[Any]], list[NDArray[Any]], float]:
    """States and labels of the steps in which the expert spoke, and the reward of all."""
    spoke = episode.labelled
    states, labels = episode.obs["state"][:-1][spoke], episode.label[spoke]
    return list(states), list(labels), float(episode.reward.sum(dtype=np.float64))


@final
class World:
    """An environment of the old kind or of Gymnasium's as the library's: five values, a seed, a mapping."""

    def __init__(self, env: Any, width: int) -> None:
        self._env, self._width = env, width
        self._seeded = "seed" in inspect.signature(env.reset).parameters

    def _obs(self, state: Any) -> Obs:
        seen = np.asarray(state)
        if seen.shape != (self._width,):
            raise ValueError(
                f"the environment's state has shape {list(seen.shape)}; state_dim is {self._width}"
            )
        return {"state": seen}

    def reset(self, *, seed: int) -> tuple[Obs, Mapping[str, Any]]:
        found = self._env.reset(seed=seed) if self._seeded else self._env.reset()
        both = isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], Mapping)
        return self._obs(found[0] if both else found), {}

    def step(self, action: Array) -> tuple[Obs, float, bool, bool, Mapping[str, Any]]:
        found = self._env.step(action)
        if len(found) == 5:
            state, reward, terminated, truncated, info = found
        elif len(found) == 4:
            state, reward, done, info = found
            truncated = bool(done) and bool(info.get("TimeLimit.truncated", False))
            terminated = bool(done) and not truncated
        else:
            raise ValueError(f"step gave {len(found)} values; four (with done) or five are needed")
        return self._obs(state), float(reward), bool(terminated), bool(truncated), info


@final
class Acts:
    """Whoever has `get_action`, as a policy."""

    def __init__(self, who: Says, width: int) -> None:
        self._who, self._width, self.name = who, width, type(who).__name__

    def reset(self, seed: int) -> None: ...

    def act(self, obs: Obs) -> Array:
        action = np.asarray(self._who.get_action(obs["state"]))
        if action.shape != (self._width,):
            raise ValueError(
                f"{self.name} gave an action of shape {list(action.shape)}; action_dim is {self._width}"
            )
        return action


@final
class Asks:
    """A gate that one function of the state holds."""

    def __init__(self, wants: Callable[[NDArray[Any]], bool]) -> None:
        self._wants = wants

    def reset(self, seed: int) -> None: ...

    def takes(self, obs: Obs, proposed: Array, held: bool, ask: Callable[[], Array]) -> bool:
        return bool(self._wants(obs["state"]))
