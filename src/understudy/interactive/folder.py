"""What rounds leave on disk: every collected episode at once, every policy when its round is complete.

RUN/collected/          the episodes of all rounds, a dataset
RUN/rounds/NNN/agent/   the policy after NNN rounds
RUN/rounds/NNN/method   what the method found then
RUN/rounds.jsonl        one line a round; a round whose line is there is finished
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from understudy import storage
from understudy.agent import Agent, load
from understudy.dataset import Dataset
from understudy.episode import Episode
from understudy.serial import read_tree, write_tree
from understudy.storage import Writer

__all__ = ["Folder", "log_of"]

_FORMAT, _VERSION = "understudy-rounds", 1


class Folder:
    """The disk's side of the rounds; without a path, nothing is kept.

    Raises:
        ValueError: when a run stands there and is not to be resumed, or none does and it is.
    """

    def __init__(self, path: Path | str | None, *, resume: bool = False) -> None:
        self.path = path = None if path is None else Path(path)
        self.collected = Dataset()
        self._lines: list[dict[str, Any]] = []
        self._writer: Writer | None = None
        if path is None:
            if resume:
                raise ValueError("there is nothing to resume without a folder; give `run`")
            return
        if not resume:
            if any((path / name).exists() for name in ("collected", "rounds", "rounds.jsonl")):
                raise ValueError(f"{path} holds rounds already; choose another folder, or resume them")
            return
        if (path / "rounds.jsonl").exists():
            self._lines = log_of(path)
        for i, line in enumerate(self._lines):
            if line.get("round") != i:
                raise ValueError(f"{path / 'rounds.jsonl'}: line {i + 1} is not of round {i}")
        if (path / "collected").exists():
            Writer(path / "collected", append=True).close()  # heals what a kill has left
            if storage.info(path / "collected").episodes:
                self.collected = storage.read(path / "collected")

    @property
    def finished(self) -> int:
        """How many policies are complete."""
        return len(self._lines)

    def _round(self, i: int) -> Path:
        assert self.path is not None
        return self.path / "rounds" / f"{i:03d}"

    def round(self, i: int) -> tuple[dict[str, Any], Agent | None, dict[str, Any]]:
        """The log's line, the policy and what the method found, after i rounds."""
        place = self._round(i)
        agent = load(place / "agent") if (place / "agent").exists() else None
        tree = read_tree(place / "method.safetensors")
        if not isinstance(tree, dict) or (tree.get("format"), tree.get("version")) != (_FORMAT, _VERSION):
            raise ValueError(f"{place} is not a version {_VERSION} round of understudy")
        return self._lines[i], agent, dict(tree["found"])

    def add(self, episode: Episode, fps: int | None) -> None:
        """Keeps an episode, on disk before this returns."""
        if self.path is None:
            return
        if self._writer is None:
            there = (self.path / "collected").exists()
            self._writer = Writer(self.path / "collected", append=there, fps=fps)
        self._writer.add(episode)

    def close(self) -> None:
        """Lets go of the dataset, so that others may write into it."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def training(self, i: int) -> tuple[Path | None, bool]:
        """Where the training after i rounds keeps its checkpoints, and whether one is there."""
        if self.path is None:
            return None, False
        place = self._round(i)
        return place, (place / "checkpoint" / "state.safetensors").exists()

    def finish(self, i: int, line: Mapping[str, Any], agent: Agent | None, found: Mapping[str, Any]) -> None:
        """Keeps what came of round i; its line in the log is written last."""
        if self.path is None:
            return
        self.close()
        place = self._round(i)
        place.mkdir(parents=True, exist_ok=True)
        if agent is not None:
            agent.save(place / "agent")
        tree = {"format": _FORMAT, "version": _VERSION, "found": dict(found)}
        write_tree(place / "method.safetensors", tree)
        self._lines.append(dict(line))
        temporary = self.path / "rounds.tmp"
        with temporary.open("w") as out:
            out.writelines(json.dumps(x, allow_nan=False) + "\n" for x in self._lines)
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, self.path / "rounds.jsonl")
        shutil.rmtree(place / "checkpoint", ignore_errors=True)


def log_of(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's log, one a finished round."""
    return [json.loads(line) for line in (run / "rounds.jsonl").read_text().splitlines()]
