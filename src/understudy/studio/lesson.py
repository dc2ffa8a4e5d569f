"""One round of learning from what was recorded, as files: what is asked for, and what comes of it.

ROUNDS/NNN.json    what is asked for, and how it ended
ROUNDS/NNN-data/   the episodes it learns from, as they were when it began
ROUNDS/NNN/        the run, like any other: `understudy evaluate ROUNDS/NNN`
ROUNDS/NNN.log     what the training process printed

HG-DAgger (Kelly et al. 2019) with a person at the controls: demonstrations, and of every later episode the
steps that he drove, train a policy anew with the network, the budget and the seed that the run had before.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self, final

from rich.console import Console

from understudy import formats, storage
from understudy.agent import load
from understudy.augment import Wish
from understudy.dataset import Dataset
from understudy.episode import Episode
from understudy.interactive.doubtgate import doubts
from understudy.interactive.hg_dagger import takeovers, threshold
from understudy.runs import fit_run, open_run
from understudy.serial import parse, read_json, write_json
from understudy.studio.recipe import Recipe

__all__ = ["Lesson", "NothingNew", "drop", "gathered", "learn", "lessons", "losses"]

_FORMAT, _VERSION = "understudy-lesson", 1
_LOOKS = 40  # lines of metrics in a training at least, so that a page has something to show


class NothingNew(ValueError):
    """There is nothing to learn from that the round before has not learned from."""


@final
@dataclass(frozen=True)
class Lesson:
    """What one round is asked to learn from, and how; `file` is ROUNDS/NNN.json.

    Args:
        number: of the round, from 1.
        sources: datasets; an episode that is in two of them counts once.
        recipe: how it learns.
        start: the run whose policy drove before there were rounds; None where there was none.
        ended: "" while it runs, "done", "failed" or "interrupted".
        message: what came of it, in one line.
    """

    rounds: Path
    number: int
    sources: tuple[Path, ...]
    recipe: Recipe
    start: Path | None = None
    ended: str = ""
    message: str = ""

    @property
    def run(self) -> Path:
        """Where the run is made."""
        return self.rounds / f"{self.number:03d}"

    @property
    def file(self) -> Path:
        """What is asked for."""
        return self.rounds / f"{self.number:03d}.json"

    @property
    def data(self) -> Path:
        """What it learns from."""
        return self.rounds / f"{self.number:03d}-data"

    @property
    def log(self) -> Path:
        """What the process printed."""
        return self.rounds / f"{self.number:03d}.log"

    @property
    def done(self) -> bool:
        """Whether the policy is there."""
        try:
            return "agent" in open_run(self.run)
        except (ValueError, OSError):
            return False

    def save(self) -> Self:
        """Writes the file, whole or not at all."""
        head = {"format": _FORMAT, "version": _VERSION, "round": self.number}
        # Relative, so that all can be moved together and no machine's paths travel.
        sources = [os.path.relpath(s, self.rounds) for s in self.sources]
        start = None if self.start is None else os.path.relpath(self.start, self.rounds)
        outcome = {"ended": self.ended, "message": self.message}
        what = {"sources": sources, "start": start, "recipe": asdict(self.recipe)}
        write_json(self.file, {**head, **what, **outcome})
        return self

    @classmethod
    def read(cls, file: Path) -> Self:
        """What `save` wrote.

        Raises:
            ValueError: when the file is none of these.
        """
        value = read_json(file)
        if (value.get("format"), value.get("version")) != (_FORMAT, _VERSION):
            raise ValueError(f"{file} is not a version {_VERSION} lesson of understudy")
        number, sources = value.get("round"), value.get("sources")
        if not isinstance(number, int) or file.name != f"{number:03d}.json" or not isinstance(sources, list):
            raise ValueError(f"{file} says round {number!r} and sources {sources!r}, which do not fit")
        where = tuple((file.parent / str(s)).resolve() for s in sources)
        recipe = parse(Recipe, value.get("recipe"), "recipe")
        start = None if value.get("start") is None else (file.parent / str(value["start"])).resolve()
        outcome = (str(value.get("ended", "")), str(value.get("message", "")))
        return cls(file.parent, number, where, recipe, start, *outcome)


def lessons(rounds: Path) -> list[Lesson]:
    """Every round of a folder, the oldest first."""
    return [Lesson.read(f) for f in sorted(rounds.glob("[0-9][0-9][0-9].json"))]


def learn(lesson: Lesson) -> Lesson:
    """Gathers the episodes and trains on them; goes on where an interrupted round stopped.

    Returns:
        The lesson with its end, which is also on disk.
    """
    try:
        ended, message = _learned(lesson)
    except (ValueError, KeyError, TypeError, OSError) as wrong:
        ended, message = "failed", (str(wrong) or type(wrong).__name__).splitlines()[0]
    return replace(lesson, ended=ended, message=message).save()


def _learned(lesson: Lesson) -> tuple[str, str]:
    resume = (lesson.run / "checkpoint" / "state.safetensors").exists()
    if not (lesson.run / "run.json").exists():
        _clear(lesson)
        data = Dataset(gathered(lesson.sources, lesson.recipe.successes_only))
        _check(lesson, data)
        storage.write(lesson.data, data, fps=_fps(lesson.sources))
    elif not resume:
        _remove(lesson.run)  # begun, and not a step taken
    recipe = lesson.recipe
    budget = recipe.budget
    if budget.patience is None:  # which counts looks; else looking more often changes nothing
        budget = replace(budget, validate_every=min(budget.validate_every, max(1, budget.steps // _LOOKS)))
    result = fit_run(
        algorithm="bc",
        data=lesson.data,
        out=lesson.run,
        config=recipe.config,
        network=recipe.network,
        budget=budget,
        schedule="constant",  # the recipe says itself how the learning rate falls
        validation=recipe.validation,
        augment=tuple(Wish.parse(w) for w in recipe.augment),
        resume=resume,
        console=Console(quiet=True),
    )
    if result["stopped"] == "interrupted":
        return "interrupted", f"stopped at step {result['steps']} of {budget.steps}"
    data = formats.read(lesson.data)
    _note_takeovers(lesson, data)
    return "done", f"{_counted(data)}; {losses(result)}"


def _note_takeovers(lesson: Lesson, data: Dataset) -> None:
    """Writes HG-DAgger's threshold into run.json, where anybody has taken over yet.

    It is found as `interactive.hg_dagger` finds it, from the doubt at each takeover of the policy that it
    happened to; an episode says which that was.
    """
    before = [x.run for x in lessons(lesson.rounds) if x.number < lesson.number and x.done]
    start = [] if lesson.start is None else [lesson.start]
    log: list[float] = []
    for drove in dict.fromkeys([*start, *before]):  # which may have begun from one of the rounds
        agent = load(drove / "agent")
        try:
            for episode in data:
                if episode.control is not None and episode.meta.get("policy") == drove.name:
                    log += doubts(agent, episode)[:-1][takeovers(episode)].tolist()
        except TypeError:
            return  # that policy did not say how unsure it was
    if log:
        run = open_run(lesson.run) | {"takeovers": {"tau": threshold(log), "logged": len(log)}}
        write_json(lesson.run / "run.json", run)


def losses(line: Mapping[str, Any]) -> str:
    """What a line of metrics says of the loss."""
    if "validation" in line:
        return f"held-out loss {line['validation']:.3g}"
    return f"loss {line['loss']:.3g}, nothing held out" if "loss" in line else "no loss yet"


def gathered(sources: Iterable[Path], successes_only: bool) -> Iterator[Episode]:
    """Every episode with a labelled step, each once."""
    seen = set[str]()
    for source in sources:
        for episode in formats.read(source):
            # Where nobody drove, nobody taught. Who drove taught also where the episode failed later.
            if not episode.labelled.any() or (
                successes_only and episode.control is None and episode.success is False
            ):
                continue
            if (mark := Dataset([episode]).fingerprint()) not in seen:
                seen.add(mark)
                yield episode


def _check(lesson: Lesson, data: Dataset) -> None:
    if not len(data):
        raise NothingNew("nothing that could be learned from is recorded: nobody has driven yet")
    before = [x.run for x in lessons(lesson.rounds) if x.number < lesson.number and x.done]
    last = before[-1] if before else lesson.start
    if last is not None and open_run(last)["data"]["fingerprint"] == data.fingerprint():
        raise NothingNew(f"nobody has driven since {last.name} was trained; take over, then train again")


def _counted(data: Dataset) -> str:
    """How much there is, in words."""
    taught = [e for e in data if e.control is not None]
    words = f"{len(data) - len(taught)} demonstrations"
    said = sum(int(e.labelled.sum()) for e in taught)
    return f"{words} and {len(taught)} corrected episodes ({said} labelled steps)" if taught else words


def _fps(sources: Iterable[Path]) -> int | None:
    """The rate of the first source that is a dataset of our own."""
    for source in sources:
        try:
            return storage.info(source).fps
        except (storage.DataError, OSError):
            continue
    return None


def _clear(lesson: Lesson) -> None:
    """Removes what an earlier start of this very round left before it began to train."""
    for folder in (lesson.data, lesson.run):
        _remove(folder)


def drop(lesson: Lesson) -> None:
    """Removes a round that has no policy, with everything of it.

    Raises:
        ValueError: when it has one: that stays.
    """
    if lesson.done:
        raise ValueError(f"round {lesson.number} is finished, and is kept")
    _clear(lesson)
    for file in (lesson.log, lesson.file):
        file.unlink(missing_ok=True)


def _remove(folder: Path) -> None:
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
