"""What `understudy convert` does and shows."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from understudy import formats
from understudy.episode import Episode
from understudy.formats.options import from_words

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["convert_files", "described"]


def described(words: Sequence[str] = ()) -> str:
    """Every format in words: what it is, and its options with their defaults; of those named, also what the
    options mean."""
    lines = []
    for name in formats.names():
        module = formats.layout(name)
        lines.append(f"{name}: {module.ABOUT}.")
        for kind in (module.Reading, module.Writing):
            given = ", ".join(f"{f.name}={_plain(f.default)}" for f in dataclasses.fields(kind))
            if given:
                lines.append(f"  {kind.__name__.lower()}: {given}")
            if given and name in words:
                meaning = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")[2]
                lines.append(textwrap.indent(meaning, "  "))
    return "\n".join(lines)


def _plain(default: object) -> str:
    return ",".join(map(str, default)) if isinstance(default, tuple) else str(default)


def convert_files(
    src: Path,
    dst: Path,
    to: str,
    source: str | None,
    reading: Sequence[str],
    writing: Sequence[str],
    console: Console,
) -> dict[str, Any]:
    """Converts, shows how far it is, and says what was done and what was left out.

    Raises:
        ValueError: when a format or an option does not exist, else as `formats.convert`.
    """
    target = formats.layout(to)
    name = formats.recognise(src) if source is None else source
    options = {
        "reading": from_words(formats.layout(name).Reading, reading),
        "writing": from_words(target.Writing, writing),
    }
    with _progress(console) as progress:
        done = formats.convert(src, dst, to, source=name, progress=progress, **options)
    console.print(
        f"wrote {dst}: {done.episodes} episodes, {done.steps} steps, from {done.source} to {done.target}",
        markup=False,
    )
    if done.dropped:
        console.print(f"frames dropped by whoever recorded or resampled them: {done.dropped}")
    for text, times in done.notes.items():
        console.print(f"note: {text}" + (f" ({times} times)" if times > 1 else ""), markup=False)
    return {
        "data": str(src),
        "out": str(dst),
        "from": done.source,
        "to": done.target,
        "episodes": done.episodes,
        "steps": done.steps,
        "dropped_frames": done.dropped,
        "notes": done.notes,
    }


@contextlib.contextmanager
def _progress(console: Console) -> Iterator[Callable[[Episode], None]]:
    """Counts episodes and steps on a terminal, and nowhere else."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    text = TextColumn("{task.completed:.0f} episodes, {task.fields[steps]} steps")
    hidden = not console.is_terminal
    bar = Progress(
        SpinnerColumn(), text, TimeElapsedColumn(), console=console, transient=True, disable=hidden
    )
    with bar:
        task = bar.add_task("", total=None, steps=0)
        steps = 0

        def count(e: Episode) -> None:
            nonlocal steps
            steps += len(e)
            bar.update(task, advance=1, steps=steps)

        yield count
