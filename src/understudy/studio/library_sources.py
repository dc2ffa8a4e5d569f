"""Where episodes lie that belong together: a dataset, a run's data, and what was tried in its evaluations."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from understudy.report.facts import load_json
from understudy.storage.layout import INFO

__all__ = ["Source", "sources_of"]

_MOST = 64  # evaluations of a run that are listed


@dataclass(frozen=True)
class Source:
    """A dataset folder to look at.

    Args:
        id: names it to the page; looked up in a table, and never made into a path.
        kind: "demonstrations", "corrections" or "rollouts".
        editable: whether episodes may be deleted, trimmed and relabelled. Only of the folder that was asked
            for: what an evaluation counted, and what a run learned from, must stay what it was.
    """

    id: str
    name: str
    kind: str
    folder: Path
    editable: bool


def sources_of(folder: Path, runs: Sequence[Path] = ()) -> dict[str, Source]:
    """The sources by id, the folder's own first; a folder where nothing was recorded yet is one, too."""
    found: dict[str, Source] = {}
    if not _is_run(folder):
        found["data"] = Source("data", folder.resolve().name, "demonstrations", folder, True)
    for number, run in enumerate((*([folder] if _is_run(folder) else []), *runs)):
        for part in _of_run(run, f"run{number}"):
            if not any(_same(part.folder, s.folder) for s in found.values()):
                found[part.id] = part
    return found


def _is_run(folder: Path) -> bool:
    return not os.path.lexists(folder / INFO) and (
        (folder / "run.json").is_file() or (folder / "evaluations").is_dir()
    )


def _of_run(run: Path, prefix: str) -> list[Source]:
    name = run.resolve().name
    parts = []
    if (learned := _learned_from(run)) is not None:
        parts.append(Source(f"{prefix}.data", learned.resolve().name, "demonstrations", learned, False))
    if os.path.lexists(run / "collected" / INFO):
        parts.append(
            Source(f"{prefix}.collected", f"{name}: collected", "corrections", run / "collected", False)
        )
    tried = run / "evaluations"
    names = (
        sorted(e.name for e in os.scandir(tried) if e.is_dir(follow_symlinks=False)) if tried.is_dir() else []
    )
    for i, policy in enumerate([n for n in names if os.path.lexists(tried / n / "episodes" / INFO)][:_MOST]):
        parts.append(
            Source(f"{prefix}.tried{i}", f"{name}: {policy}", "rollouts", tried / policy / "episodes", False)
        )
    return parts


def _learned_from(run: Path) -> Path | None:
    """The dataset that run.json names, where it is one of the layout that is read here."""
    try:
        said = load_json(run / "run.json")["data"]["path"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not isinstance(said, str) or "\0" in said:
        return None
    where = Path(os.path.normpath(run / said))
    return where if os.path.lexists(where / INFO) else None


def _same(a: Path, b: Path) -> bool:
    return os.path.realpath(a) == os.path.realpath(b)
