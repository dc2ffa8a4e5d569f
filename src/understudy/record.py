"""Recording demonstrations of a task's expert, each episode on disk as soon as it is over. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from understudy.dataset import Dataset
from understudy.envs import Task, task
from understudy.episode import Episode
from understudy.experts import ENDORSE, NoisyExecution
from understudy.numerics import wilson
from understudy.rollout import Workers, defer, rollouts
from understudy.storage import Writer, compact

__all__ = ["demonstrate", "record", "tracked"]


def tracked(console: Console, title: str, total: int) -> Progress:
    """A progress bar for episodes, on the console's own stream; it leaves nothing behind."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    bar.add_task(title, total=total)
    return bar


def demonstrate(
    which: Task,
    seeds: range,
    *,
    noise: float = 0.0,
    workers: int | Workers = 1,
    writer: Writer | None = None,
    console: Console | None = None,
) -> Dataset:
    """Demonstrations of a task's own expert, one a seed, every step labelled with what the expert wants.

    With `noise` σ > 0, what is executed is disturbed by σ half action ranges while the label stays clean, so
    that the demonstrations also show the way back (DART, Laskey et al. 2017).

    Raises:
        ValueError: when the task has no expert.
    """
    if which.expert is None:
        raise ValueError(
            f"task {which.name!r} has no expert to record; tasks with one: see `understudy tasks`"
        )
    bar = tracked(console or Console(quiet=True), f"record {which.name}", len(seeds))

    def keep(episode: Episode) -> None:
        if writer is not None:
            writer.add(episode)
        bar.advance(bar.task_ids[0])

    arbiter = NoisyExecution(noise, which.action) if noise else defer
    facts: dict[str, str | int | float] = {"task": which.name, "operator": "expert", "noise": float(noise)}
    with bar:
        return Dataset(
            rollouts(
                which.make,
                which.expert(),
                seeds,
                ENDORSE,
                arbiter,
                workers=workers,
                meta=facts,
                progress=keep,
            )
        )


def record(
    task_name: str,
    out: Path,
    *,
    episodes: int,
    seed: int = 0,
    noise: float = 0.0,
    workers: int = 1,
    append: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Records into a folder and says what is there. Interrupted, it keeps every finished episode."""
    console = console or Console(quiet=True)
    if episodes < 1:
        raise ValueError(f"episodes is {episodes}; it must be at least 1")
    which = task(task_name)
    with Writer(out, append=append, fps=which.fps) as writer:
        for line in writer.repaired:
            console.print(f"repaired: {line}", markup=False)
        data = demonstrate(
            which, range(seed, seed + episodes), noise=noise, workers=workers, writer=writer, console=console
        )
    compact(out)  # one file an episode is safe to write and slow to read
    said = [won for won in data.successes if won is not None]
    rate = wilson(sum(said), len(said)) if said else None
    outcome = f"the expert succeeded in {sum(said)}" if said else "none says whether it succeeded"
    console.print(
        f"recorded {len(data)} episodes ({data.steps} steps) of {which.name} in {out}; {outcome}",
        soft_wrap=True,
    )
    return {
        "out": str(out),
        "task": which.name,
        "episodes": len(data),
        "steps": data.steps,
        "seeds": [seed, seed + episodes],
        "noise": noise,
        "success": None if rate is None else rate.summary(),
    }
