"""One self-contained HTML page about a dataset: what was done, by whom, how well, what to look at first."""

from __future__ import annotations

from pathlib import Path

from understudy.dataset import Dataset
from understudy.quality import Inspection
from understudy.report.data.head import headline
from understudy.report.data.page import render
from understudy.report.data.survey import Source, Survey, is_image, short, task_of
from understudy.report.template import save

__all__ = ["Source", "Survey", "headline", "is_image", "short", "task_of", "write_data_page"]


def write_data_page(data: Dataset, found: Inspection, source: Source, out: Path) -> Path:
    """Writes the page of an inspected dataset. It opens offline, loads nothing and trusts no text in it.

    What would make the page large is thinned, and each place says so: it stays below 3 MB. The file appears
    whole or not at all.

    Args:
        data: the dataset, in memory or with pictures that are decoded on demand: only a few are.
        found: what `quality.inspect` says of it.
        source: where it comes from.
        out: the HTML file to write; its folder is made where it is missing.

    Returns:
        The path of the file.

    Raises:
        ValueError: when the inspection is of another dataset, or `out` is a folder.
    """
    target = Path(out)
    if target.is_dir():
        raise ValueError(f"{target} is a folder; the page is one file, such as {target / 'inspection.html'}")
    if len(found.episodes) != len(data) or found.steps != data.steps:
        raise ValueError(
            f"the inspection is of {len(found.episodes)} episodes with {found.steps} steps, the dataset has "
            f"{len(data)} with {data.steps}"
        )
    save(target, render(Survey(data, found, source)))
    return target
