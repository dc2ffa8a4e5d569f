"""Film strips: pictures of one success and one failure, or a sentence that says why there are none."""

from __future__ import annotations

import base64
import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from understudy.envs import MissingExtra, Task, UnknownTask, film, task, tasks
from understudy.episode import Array, Episode
from understudy.provenance import portable
from understudy.report.facts import printable
from understudy.report.folder import Run

__all__ = ["Frame", "Strip", "known_task", "strips"]

_FRAMES, _HEIGHT = 8, 200


@dataclass(frozen=True)
class Frame:
    """One picture as a data URI, and what it shows."""

    uri: str
    step: int
    alt: str


@dataclass(frozen=True)
class Strip:
    """Pictures of one episode."""

    title: str
    frames: tuple[Frame, ...]


def known_task(name: str) -> Task | None:
    """The built-in task of that name; None for any other.

    A name from a file is never handed to Gymnasium: "module:id" would import a module that a stranger chose.
    """
    if name not in tasks():
        return None
    try:
        return task(name)
    except (UnknownTask, MissingExtra):
        return None


def strips(run: Run) -> tuple[list[Strip], str]:
    """A success and a failure of the policy, and why something is missing ("" where nothing is)."""
    which = known_task(run.task)
    tried = run.tried()
    if not tried:
        return [], "There are no rollouts to take pictures of."
    if which is None:
        return [], "No pictures: only built-in tasks can be drawn again from what was recorded."
    kinds: list[tuple[str, bool | None]] = [("success", True), ("failure", False)]
    if all(e.success is None for _, e in tried):
        kinds = [("an episode", None)]
    picked = {word: found for word, won in kinds if (found := _typical(tried, won)) is not None}
    try:
        with ThreadPoolExecutor(2) as pool:  # each film is drawn in a process of its own
            films = list(
                pool.map(lambda x: film(which, x[0], x[1].action, _FRAMES, _HEIGHT), picked.values())
            )
    except ValueError as wrong:  # FilmError is one
        return [], f"No pictures: {printable(portable(str(wrong)))}."
    out = [
        _strip(word, *found, pictures) for (word, found), pictures in zip(picked.items(), films, strict=True)
    ]
    return out, " ".join(f"There was no {word} to show." for word, _ in kinds if word not in picked)


def _typical(tried: list[tuple[int, Episode]], won: bool | None) -> tuple[int, Episode] | None:
    """The episode of median length among those that ended so."""
    found = sorted((x for x in tried if x[1].success is won), key=lambda x: len(x[1]))
    return found[len(found) // 2] if found else None


def _strip(word: str, seed: int, episode: Episode, pictures: list[Array]) -> Strip:
    steps = np.linspace(0, len(episode), _FRAMES).round().astype(int)
    steps = np.unique(steps)[: len(pictures)]
    frames = [
        Frame(_jpeg(picture), int(step), f"seed {seed} at step {int(step)}")
        for step, picture in zip(steps, pictures, strict=False)
    ]
    return Strip(f"{word.capitalize()}: seed {seed}, {len(episode)} steps", tuple(frames))


def _jpeg(picture: Array) -> str:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=80, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
