"""One self-contained HTML page about runs: it opens offline, loads nothing and trusts no text in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from understudy.report.folder import load_run, names
from understudy.report.page import render
from understudy.report.template import save

__all__ = ["write_report"]


def write_report(runs: Sequence[Path], out: Path, *, title: str | None = None, films: bool = True) -> Path:
    """Writes one page about one run, or about several side by side.

    What a run lacks (an evaluation, the demonstrations, a curve) is said in a sentence in its place. The
    file appears whole or not at all.

    Args:
        runs: their folders, each with a run.json; at least one, at most 12, none twice.
        out: the HTML file to write; its folder is made where it is missing.
        title: of the browser's tab; made from the task and the algorithm when left out.
        films: whether to play episodes again for the 3-D replay and for pictures, which takes seconds and a
            task that can.

    Returns:
        The path of the file.

    Raises:
        ValueError: in one line, when a folder is no run, a file in it is damaged, or `out` is a folder.
    """
    listed = [Path(r) for r in runs]
    if not 1 <= len(listed) <= 12:
        raise ValueError(f"{len(listed)} runs are given; a report shows 1 to 12")
    target = Path(out)
    if target.is_dir():
        raise ValueError(f"{target} is a folder; a report is one file, such as {target / 'report.html'}")
    loaded = [load_run(folder, name) for folder, name in zip(listed, names(listed), strict=True)]
    save(target, render(loaded, title=title, films=films))
    return target
