"""Experts from anywhere: a function, or an object of another library, becomes an `Expert` or a `Policy`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, cast, final

import numpy as np

from understudy.episode import EXPERT, Array, Obs
from understudy.experts.advice import PolicyExpert
from understudy.roles import Expert, Policy

__all__ = ["Actor", "Adviser", "Takes", "as_expert", "as_policy"]

Takes: TypeAlias = Literal["mapping", "array", "auto"]

_FORMS = ("advise", "act", "predict", "get_action")  # in the order in which they are looked for
_TRIED: tuple[Takes, Takes] = ("array", "mapping")
_SAYS = "advise(obs, proposed), act(obs), predict(obs), get_action(state), or a function of the observation"


def as_expert(thing: Any, takes: Takes = "auto") -> Expert:
    """An expert made of `thing`, which may be

    - an `Expert`, which is returned as it is;
    - a `Policy`, or anything with `act(obs)`;
    - an object with `predict(obs, deterministic=True)`, which answers an action or (action, memory), as
      Stable-Baselines3's models do; what it remembers is handed back to it until the episode ends;
    - an object with `get_action(state)`;
    - a function of the observation.

    The first of these that fits is used. An answer None means "go on", and gives no label. `reset(seed)`,
    `reset()` and no `reset` at all are understood. The expert can be pickled where `thing` can.

    Args:
        takes: the form in which `thing` wants an observation: the library's own "mapping" from names to
            arrays, or the bare "array" of the only observation. With "auto", where the only observation is
            named "state", the array is tried at the first call and then, if that raises, the mapping; what
            went well is kept. Anywhere else "auto" is the mapping. Objects with `advise` or `act` always get
            the mapping.

    Raises:
        TypeError: when `thing` has none of these forms, is a class, or has a `reset` that wants something
            other than a seed.
        ValueError: when `takes` is none of the three.
    """
    form = _form(thing, takes)
    plain = _reset_form(thing) == "positional"
    if form == "advise":
        return cast(Expert, thing) if plain else Adviser(thing)
    return PolicyExpert(thing) if form == "act" and plain else Adviser(thing, takes)


def as_policy(thing: Any, takes: Takes = "auto") -> Policy:
    """A policy made of `thing`: as `as_expert`, but what only advises cannot act, nor can it answer None.

    Raises:
        TypeError: as `as_expert`, and for an object that has only `advise`.
        ValueError: when `takes` is none of the three.
    """
    form = _form(thing, takes)
    if form == "advise" and not callable(getattr(thing, "act", None)):
        raise TypeError(f"{name_of(thing)} only advises; a policy must act by itself")
    acts = form == "act" or form == "advise"
    return cast(Policy, thing) if acts and _reset_form(thing) == "positional" else Actor(thing, takes)


def name_of(thing: Any) -> str:
    """What to call it: its own `name`, a function's name, or its class's."""
    for name in (getattr(thing, "name", None), getattr(thing, "__name__", None)):
        if isinstance(name, str) and name:
            return name
    return type(thing).__name__


def _form(thing: Any, takes: Takes) -> str:
    if takes not in ("mapping", "array", "auto"):
        raise ValueError(f"takes is {takes!r}; it must be 'mapping', 'array' or 'auto'")
    if isinstance(thing, type):
        raise TypeError(f"{thing.__name__} is a class; give an object of it")
    found = next((f for f in _FORMS if callable(getattr(thing, f, None))), None)
    if found is None and not callable(thing):
        raise TypeError(f"{name_of(thing)} is no expert: it has none of {_SAYS}")
    return found or "call"


def _reset_form(thing: Any) -> Literal["none", "bare", "named", "positional"]:
    """How it wants to be reset: "positional" is the library's own way.

    Raises:
        TypeError: when it wants something that nobody has.
    """
    if not callable(reset := getattr(thing, "reset", None)):
        return "none"
    try:
        wants = inspect.signature(reset).parameters.values()
    except ValueError:  # compiled, and without a signature
        return "bare"
    placed = [p for p in wants if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = [p for p in wants if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    own = any(callable(getattr(thing, f, None)) for f in ("advise", "act"))
    first = placed[:1]
    if first and needed in ([], first) and (first[0].name == "seed" or (own and needed)):
        return "positional"
    if any(p.name == "seed" for p in wants):
        needed = [p for p in needed if p.name != "seed"]
        if not needed:
            return "named"
    if needed:
        raise TypeError(
            f"{name_of(thing)} has a reset that wants {needed[0].name!r}; an expert is reset with a seed or "
            "with nothing"
        )
    return "bare"


class _Source:
    """Whoever is asked, in the form in which he wants to be asked."""

    def __init__(self, thing: Any, takes: Takes) -> None:
        self.thing, self.takes = thing, takes
        self.form, self._reset = _form(thing, takes), _reset_form(thing)
        self._settled = takes != "auto"
        self._memory: Any = None
        self._deterministic = self.form == "predict" and _accepts(thing.predict, "deterministic")

    def reset(self, seed: int) -> None:
        self._memory = None
        if self._reset == "positional":
            self.thing.reset(seed)
        elif self._reset == "named":
            self.thing.reset(seed=seed)
        elif self._reset == "bare":
            self.thing.reset()

    def answer(self, obs: Obs) -> Array | None:
        """[A], or None."""
        if self.form == "act":
            return _numbers(self.thing.act(obs))
        if self._settled:
            return self._ask(obs, self.takes)
        if obs.keys() != {"state"}:
            return self._ask(obs, "mapping")
        return self._first(obs)

    def _first(self, obs: Obs) -> Array | None:
        """The first answer, by which it is known from then on what he takes."""
        failed: list[str] = []
        for takes in _TRIED:
            try:
                answer = self._ask(obs, takes)
            except Exception as e:
                failed.append(
                    f"{type(e).__name__}: {str(e).splitlines()[0] if str(e) else 'no reason given'}"
                )
                continue
            self.takes, self._settled = takes, True
            return answer
        shape = list(np.shape(obs["state"]))
        raise TypeError(
            f"{name_of(self.thing)} takes neither the bare array {shape} ({failed[0]}) nor the mapping "
            f"{{'state': {shape}}} ({failed[1]}); say with `takes` which of them it should be"
        )

    def _ask(self, obs: Obs, takes: Takes) -> Array | None:
        given: Any = self._alone(obs) if takes == "array" else self._named(obs)
        if self.form == "call":
            return _numbers(self.thing(given))
        if self.form == "get_action":
            return _numbers(self.thing.get_action(given))
        more: dict[str, Any] = {"deterministic": True} if self._deterministic else {}
        if self._memory is not None:
            more |= {"state": self._memory, "episode_start": np.zeros(1, np.bool_)}
        answer = self.thing.predict(given, **more)
        if isinstance(answer, tuple):
            answer, self._memory = answer
        return _numbers(answer)

    def _alone(self, obs: Obs) -> Array:
        if len(obs) != 1:
            raise ValueError(
                f"{name_of(self.thing)} takes a bare array, but there are {len(obs)} observations: "
                f"{sorted(obs)}"
            )
        return next(iter(obs.values()))

    def _named(self, obs: Obs) -> Mapping[str, Any]:
        """The observations, by the names that he announces, where he does."""
        inside = getattr(getattr(self.thing, "observation_space", None), "spaces", None)
        if not isinstance(inside, Mapping):
            return obs
        ours = {k: "state" if k == "observation" else str(k) for k in inside}
        if missing := sorted(set(ours.values()) - obs.keys()):
            raise ValueError(
                f"{name_of(self.thing)} wants observation {missing[0]!r}; there are {sorted(obs)}"
            )
        return {k: obs[name] for k, name in ours.items()}


def _accepts(function: Any, name: str) -> bool:
    try:
        wants = inspect.signature(function).parameters.values()
    except ValueError:
        return False
    return any(p.name == name or p.kind is p.VAR_KEYWORD for p in wants)


def _numbers(answer: Any) -> Array | None:
    """An answer as an array; a tensor's numbers, wherever it lies."""
    if answer is None:
        return None
    return np.asarray(answer.detach().cpu() if hasattr(answer, "detach") else answer)


@final
class Adviser:
    """An `Expert` made of something that is none by itself; `as_expert` makes it."""

    def __init__(self, thing: Any, takes: Takes = "auto") -> None:
        self._source, self.name = _Source(thing, takes), name_of(thing)

    @property
    def control(self) -> int:
        """In what capacity it drives, where it says so (`understudy.episode.RECOVERY`)."""
        return int(getattr(self._source.thing, "control", EXPERT))

    def reset(self, seed: int) -> None:
        """Starts an episode."""
        self._source.reset(seed)

    def advise(self, obs: Obs, proposed: Array) -> Array | None:
        """[A], or None where it has nothing to say."""
        if self._source.form == "advise":
            return _numbers(self._source.thing.advise(obs, proposed))
        return self._source.answer(obs)


@final
class Actor:
    """A `Policy` made of something that is none by itself; `as_policy` makes it."""

    def __init__(self, thing: Any, takes: Takes = "auto") -> None:
        self._source, self.name = _Source(thing, takes), name_of(thing)

    def reset(self, seed: int) -> None:
        """Starts an episode."""
        self._source.reset(seed)

    def act(self, obs: Obs) -> Array:
        """[A].

        Raises:
            TypeError: when there is no answer, which only an expert may leave out.
        """
        if self._source.form == "advise":
            answer = _numbers(self._source.thing.act(obs))
        else:
            answer = self._source.answer(obs)
        if answer is None:
            raise TypeError(f"{self.name} gave no action; a policy must act at every step")
        return answer
