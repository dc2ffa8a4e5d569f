"""What the command line shows of tasks, datasets and comparisons. No torch."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from understudy import storage
from understudy.dataset import Dataset
from understudy.envs import MissingExtra, task
from understudy.envs import tasks as task_names
from understudy.episode import Array
from understudy.evaluate import Report, compare
from understudy.quality import inspect

__all__ = ["comparison", "inspection", "tasks"]


def tasks(console: Console) -> dict[str, Any]:
    """The built-in tasks as a table and as JSON."""
    table = Table("task", "what to do", "observations", "actions", "steps", "expert", "success")
    listed: list[dict[str, Any]] = []
    for name in task_names():
        try:
            t = task(name)
        except MissingExtra as missing:
            table.add_row(name, escape(str(missing)))
            listed.append({"name": name, "missing": str(missing)})
            continue
        sizes = ", ".join(f"{k} {'×'.join(map(str, s))}" for k, s in t.obs.items())
        actions = f"{t.action.n} choices" if t.action.n else str(t.action.width)
        has = "yes" if t.expert else "no"
        table.add_row(name, t.summary, sizes, actions, str(t.horizon), has, t.success or "–")
        listed.append(
            {
                "name": name,
                "summary": t.summary,
                "obs": {k: list(s) for k, s in t.obs.items()},
                "action": {"width": t.action.width, "choices": t.action.n},
                "horizon": t.horizon,
                "expert": t.expert is not None,
                "success": t.success,
            }
        )
    console.print(table)
    console.print("Any registered Gymnasium id works too, without an expert.")
    return {"tasks": listed}


def _bounds(data: Dataset) -> tuple[Array, Array] | None:
    """Of the actions, where all episodes are of one built-in task that has finite ones."""
    names = {str(facts.get("task")) for facts in data.facts}
    if len(names) != 1 or (name := names.pop()) not in task_names():
        return None
    with contextlib.suppress(MissingExtra):
        spec = task(name).action
        if spec.bounded and data.schema["action"] == ("float32", spec.low.shape):
            return spec.low, spec.high
    return None


def inspection(folder: Path, console: Console) -> dict[str, Any]:
    """What is in a dataset and what is wrong with it."""
    data = storage.read(folder)
    found = inspect(data, bounds=_bounds(data))
    for line in found.lines():
        console.print(line, markup=False)
    table = Table("dimension", "min", "mean", "max", "std", "remark")
    for row in found.rows():
        table.add_row(*(escape(cell) for cell in row))
    console.print(table)
    colours = {"error": "red", "warning": "yellow", "info": "cyan"}
    for f in found.findings:
        console.print(f"[{colours[f.severity]}]{f.severity}[/] {escape(f.evidence)}\n  {escape(f.advice)}")
    if not found.findings:
        console.print("nothing suspicious found")
    return {"data": str(folder), **found.summary()}


def _evaluated(run: Path) -> Report:
    file = run / "evaluations" / "policy" / "report.json"
    if not file.is_file():
        raise ValueError(f"{run} has no evaluation; make one with `understudy evaluate {run}`")
    return Report.from_json(file.read_text(encoding="utf-8"))


def comparison(first: Path, second: Path, console: Console) -> dict[str, Any]:
    """Which of two evaluated runs is better, seed by seed."""
    from dataclasses import replace

    a, b = replace(_evaluated(first), policy=first.name), replace(_evaluated(second), policy=second.name)
    difference = compare(a, b)
    for report in (a, b):
        console.print(str(report), markup=False)
    console.print(str(difference), markup=False)
    summary = difference.summary()
    return {"return": summary.pop("mean_return"), **summary}
