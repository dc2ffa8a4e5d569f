"""What the command line shows of tasks, datasets and comparisons. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from understudy import formats, storage
from understudy.dataset import Dataset
from understudy.envs import MissingExtra, Task, task, worlds
from understudy.envs import tasks as task_names
from understudy.episode import Array
from understudy.evaluate import Report, compare
from understudy.quality import Inspection, inspect
from understudy.replay import Replayed, replay
from understudy.report.data import Source, Survey, headline, is_image, short, task_of, write_data_page
from understudy.report.facts import load_json, printable

__all__ = ["comparison", "inspection", "tasks"]

_ROWS = 60  # dimensions in the table of a terminal


def tasks(console: Console) -> dict[str, Any]:
    """The built-in tasks, and then the worlds, as a table and as JSON."""
    table = Table("task", "what to do", "observations", "actions", "steps", "expert", "success")
    listed: list[dict[str, Any]] = []
    for name in (*task_names(), *worlds()):
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


def _bounds(data: Dataset, known: Task | None) -> tuple[Array, Array] | None:
    """Of the actions, where the task has finite ones that fit."""
    if known is None or not known.action.bounded:
        return None
    spec = known.action
    return (spec.low, spec.high) if data.schema["action"] == ("float32", spec.low.shape) else None


def _angles(data: Dataset, known: Task | None) -> dict[str, tuple[int, ...]] | None:
    """The observed angles, where the task names them and the observations are the task's own."""
    if known is None:
        return None
    same = {k for k, (_, shape) in data.schema.items() if known.obs.get(k) == shape}
    return {k: dims for k, dims in known.angles.items() if k in same}


def _opened(path: Path) -> tuple[Dataset, Source]:
    """A dataset of any layout, and what is known of it beside its episodes."""
    layout = formats.recognise(path)
    names: dict[str, tuple[str, ...]] = {}
    if layout == "lerobot":
        about = storage.info(path)
        data = storage.read(path)
        fps: float | None = about.fps
        robot = about.robot_type
        names = _names(path, data)
    else:
        data, robot = formats.read(path, layout), None
        rates = {facts.get("dataset.fps", facts.get("fps")) for facts in data.facts}
        said = rates.pop() if len(rates) == 1 else None
        fps = float(said) if isinstance(said, int | float) else None
    name = path.resolve().name
    bounds = _bounds(data, task_of(data))
    return data, Source(name, formats.layout(layout).ABOUT, fps, robot, bounds, names)


def _names(folder: Path, data: Dataset) -> dict[str, tuple[str, ...]]:
    """What a LeRobot folder calls the dimensions of each vector, where there are as many names."""
    features = load_json(folder / "meta" / "info.json")["features"]
    found = {}
    for key, (_, shape) in data.schema.items():
        told = features.get(key if key == "action" else f"observation.{key}", {}).get("names")
        if isinstance(told, dict) and len(told) == 1:
            (told,) = told.values()  # as in {"motors": [...]}
        if isinstance(told, list) and (len(told),) == shape and all(isinstance(n, str) for n in told):
            found[key] = tuple(told)
    return found


def inspection(path: Path, console: Console, page: Path | None, replayed: int = 0) -> dict[str, Any]:
    """What is in a dataset of any layout and what is wrong with it: in words, and as a page if one is wanted.

    The first `replayed` episodes are played again in simulation, where their task is known.

    Raises:
        DataError: when it cannot be read.
        ValueError: when it is empty, the page cannot be written there, or there is nothing to play it in.
    """
    data, source = _opened(path)
    again = _replayed(data, replayed) if replayed else []
    found = inspect(data, bounds=source.bounds, angles=_angles(data, task_of(data)))
    survey = Survey(data, found, source)
    console.print(f"[bold]{_plain(headline(survey).striptags())}[/]", soft_wrap=True)
    lines = [*found.lines(worst=False), *_recording(data, source)]  # the worst have a line each below
    if survey.supervision.noted_steps:
        lines.append(f"controls: {survey.supervision}")
    for line in lines:
        console.print(_plain(line), soft_wrap=True)
    _dimensions(found, console)
    for i, why in survey.first:
        console.print(f"[magenta]look at[/] episode {i}: {_plain('; '.join(why))}", soft_wrap=True)
    _findings(found, console)
    for outcome in again:
        console.print(f"played again: {_plain(str(outcome))}", soft_wrap=True)
    result: dict[str, Any] = {"data": str(path), **found.summary()}
    if survey.supervision.noted_steps:
        result["supervision"] = survey.supervision.summary()
    if again:
        result["replay"] = [outcome.summary() for outcome in again]
    if page is not None:
        write_data_page(data, found, source, page)
        console.print(f"wrote {page}", markup=False)
    return result | {"page": None if page is None else str(page)}


def _replayed(data: Dataset, count: int) -> list[Replayed]:
    """The first `count` episodes played again, of all that there are."""
    if count < 0:
        raise ValueError(f"replay is {count}; it must be a number of episodes")
    if (known := task_of(data)) is None:
        raise ValueError("to play demonstrations again takes a built-in task, the same for all: see `tasks`")
    return replay(data, known, range(min(count, len(data))))


def _plain(text: str) -> str:
    """Text from the data as it may stand in a terminal: one line, without codes that steer it."""
    return escape(" ".join(printable(text).split()))


def _recording(data: Dataset, source: Source) -> list[str]:
    """How it was recorded, a line each."""
    lines = [f"layout: {source.layout}"]
    if source.fps and source.fps != 1:
        lines.append(f"rate: {source.fps:g} Hz, {data.steps / source.fps:.0f} s of motion")
    if source.robot:
        lines.append(f"robot: {short(source.robot)}")
    cameras = {k: shape for k, (kind, shape) in data.schema.items() if is_image((kind, shape))}
    if cameras:
        lines.append(f"cameras: {', '.join(f'{short(k)} {s[1]}×{s[0]}' for k, s in cameras.items())}")
    return lines


def _dimensions(found: Inspection, console: Console) -> None:
    table = Table("dimension", "min", "mean", "max", "std", "remark")
    rows = found.rows()
    for row in rows[:_ROWS]:
        table.add_row(*(_plain(cell) for cell in row))
    console.print(table)
    if len(rows) > _ROWS:
        console.print(f"{len(rows) - _ROWS} more dimensions are in the page and in --json")


def _findings(found: Inspection, console: Console) -> None:
    colours = {"error": "red", "warning": "yellow", "info": "cyan"}
    for f in found.findings:
        console.print(
            f"[{colours[f.severity]}]{f.severity}[/] {_plain(f.evidence)}\n  {_plain(f.advice)}",
            soft_wrap=True,
        )
    if not found.findings:
        console.print("nothing suspicious found")


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
