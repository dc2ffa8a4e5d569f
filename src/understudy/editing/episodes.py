"""Changes to episodes, each giving a new one; what a change does not name stays as it is, to the last bit.

Shapes: T steps of an episode, so T + 1 states. Pictures that are `Frames` stay on disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Literal, TypeAlias

from understudy.episode import Episode
from understudy.frames import view

__all__ = ["Success", "renamed", "selected", "trimmed", "with_fact", "without"]

Success: TypeAlias = bool | Literal["keep"] | None


def selected(episodes: Iterable[Episode], indices: Iterable[int]) -> Iterator[Episode]:
    """The episodes with these numbers, in the order of the stream.

    Raises:
        ValueError: when the stream ends before one of them.
    """
    wanted, last = set(indices), -1
    for last, episode in enumerate(episodes):
        if last in wanted:
            wanted.discard(last)
            yield episode
    if wanted:
        raise ValueError(f"there is no episode {min(wanted)}; there are {last + 1}, counted from 0")


def trimmed(
    episode: Episode, start: int = 0, stop: int | None = None, *, success: Success = "keep"
) -> Episode:
    """The steps [start, stop) with the states around them: the state after the last kept action stays.

    Negative numbers count from the end, as in a slice. Where the end is cut off `terminated` becomes False:
    what ended the task is no longer in it. `success` is a fact about the whole demonstration, and stays
    unless another value is given; a demonstration that is cut before its goal is reached should say False.
    Measured times keep the recorder's clock, and facts (among them dropped_frames) stay those of the
    recording.

    Raises:
        ValueError: when no step is left, or `start` or `stop` lies outside the episode.
    """
    steps = len(episode)
    first, end = start, steps if stop is None else stop
    first, end = (n + steps if n < 0 else n for n in (first, end))
    if not 0 <= first < end <= steps:
        said = f"{start}:{'' if stop is None else stop}"
        raise ValueError(f"steps {said} of an episode with {steps} steps do not leave any; 0:{steps} is all")
    acts, states = slice(first, end), slice(first, end + 1)
    action = episode.action[acts]
    return replace(
        episode,
        obs={k: view(v, first, end + 1) for k, v in episode.obs.items()},
        action=action,
        label=action if episode.label is episode.action else episode.label[acts],
        labelled=episode.labelled[acts],
        reward=episode.reward[acts],
        terminated=episode.terminated and end == steps,
        success=episode.success if success == "keep" else success,
        time=None if episode.time is None else episode.time[states],
        control=None if episode.control is None else episode.control[acts],
    )


def renamed(episode: Episode, names: Mapping[str, str]) -> Episode:
    """The episode with observations under new names, in the same order. `names`: old -> new.

    Raises:
        KeyError: when there is no observation of an old name.
        ValueError: when two observations would have one name.
    """
    _known(episode, names)
    obs = {names.get(k, k): v for k, v in episode.obs.items()}
    if len(obs) < len(episode.obs):
        twice = [names.get(k, k) for k in episode.obs]
        clash = next(n for n in twice if twice.count(n) > 1)
        raise ValueError(f"two observations would be named {clash!r}; there are {_list(episode)}")
    return replace(episode, obs=obs)


def without(episode: Episode, names: Iterable[str]) -> Episode:
    """The episode without the observations of these names.

    Raises:
        KeyError: when there is none of a name.
        ValueError: when no observation would be left.
    """
    gone = set(names)
    _known(episode, gone)
    obs = {k: v for k, v in episode.obs.items() if k not in gone}
    if not obs:
        raise ValueError("no observation would be left; an episode needs at least one")
    return replace(episode, obs=obs)


def with_fact(episode: Episode, name: str, value: str | int | float) -> Episode:
    """The episode with one fact of its meta set."""
    return replace(episode, meta={**episode.meta, name: value})


def _known(episode: Episode, names: Iterable[str]) -> None:
    for name in names:
        if name not in episode.obs:
            raise KeyError(f"there is no observation {name!r}; there are {_list(episode)}")


def _list(episode: Episode) -> str:
    return ", ".join(repr(k) for k in episode.obs)
