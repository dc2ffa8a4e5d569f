"""Readers and writers of the field's layouts, one module each. No torch.

A layout is a module of this package with

    ABOUT: str                                  what it is, in one line
    NEEDS: tuple[str, ...] = ()                 packages it imports, so that a missing one is named at once
    GUARD: bool = True                          whether its reader must run in a child process
    Reading, Writing                            frozen dataclasses of options, each with a default
    recognises(path) -> bool                    cheap, by names and first bytes; never raises
    episodes(path, Reading) -> Iterator         one episode in memory at a time
    write(path, episodes, Writing) -> None      a new file or folder, whole or absent
    read(path, Reading) -> Dataset              where there is a better way than all episodes in turn

and nothing registers it. What a reader or writer leaves out it says with `notes.note`.
"""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Generator, Iterable, Iterator
from contextlib import nullcontext
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from understudy.dataset import Dataset
from understudy.episode import Episode
from understudy.formats import options as _options
from understudy.formats.convert import Conversion, convert
from understudy.formats.guard import Guard
from understudy.storage.files import DataError, guarded

__all__ = ["Conversion", "convert", "layout", "names", "read", "recognise", "stream", "write"]


@cache
def names() -> tuple[str, ...]:
    """The names of all formats, sorted."""
    inside = sorted(m.name for m in pkgutil.iter_modules(__path__))
    return tuple(n for n in inside if hasattr(import_module(f"{__name__}.{n}"), "ABOUT"))


def layout(name: str) -> ModuleType:
    """The module of a format.

    Raises:
        ValueError: when there is none of this name.
    """
    if name not in names():
        raise ValueError(f"no format {name!r}; there are {', '.join(names())}")
    return import_module(f"{__name__}.{name}")


def _ready(name: str) -> ModuleType:
    """The module of a format whose packages are there."""
    module = layout(name)
    for package in getattr(module, "NEEDS", ()):
        if find_spec(package.partition(".")[0]) is None:
            raise ImportError(
                f"format {name!r} needs the package {package}; pip install 'understudy[formats]'"
            )
    return module


def recognise(path: str | os.PathLike[str]) -> str:
    """The name of the format that a file or folder has, by names and first bytes; nothing is parsed.

    Raises:
        DataError: when there is nothing at the path, or it looks like no format or like several.
    """
    where = Path(path)
    if not where.exists():
        raise DataError(f"there is nothing at {where}")
    fits = [n for n in names() if layout(n).recognises(where)]
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise DataError(f"{where} could be {' or '.join(fits)}; say which format it is")
    looked = "; ".join(f"{n}: {layout(n).ABOUT}" for n in names())
    raise DataError(f"{where} is no dataset of a known format; known are {looked}")


def stream(
    path: str | os.PathLike[str], format: str | None = None, options: Any = None, *, guard: bool = True
) -> Generator[Episode, None, None]:
    """The episodes of a file or folder of any format, one in memory at a time.

    Args:
        format: its name; None recognises it.
        options: the format's `Reading`; None means its defaults.
        guard: read in a child process with little memory and time, so that a file which crashes or stalls
            its library does no harm. Say False only for files you wrote yourself: it saves the 0.3 s that a
            process takes to start.

    Raises:
        DataError: when it is not recognised, is damaged, or takes more time or memory than its size allows.
        ImportError: when a package is missing, or the child process does not start.
    """
    name = recognise(path) if format is None else format
    module = _ready(name)
    asked = _checked(module.Reading, options, name)
    where = Path(path)
    if not where.exists():
        raise DataError(f"there is nothing at {where}")
    return _stream(module, where, asked, guard and getattr(module, "GUARD", True))


def _stream(module: ModuleType, path: Path, options: Any, guard: bool) -> Generator[Episode, None, None]:
    some = False
    with Guard() if guard else nullcontext() as child:
        source = (
            _direct(module, path, options)
            if child is None
            else child.episodes(module.__name__, path, _options.to_json(options))
        )
        for episode in source:
            some = True
            yield episode
    if not some:
        raise DataError(f"{path} holds no episodes")


def _direct(module: ModuleType, path: Path, options: Any) -> Iterator[Episode]:
    """The reader's episodes, its exceptions turned into DataError; those of whoever takes them are not."""
    with guarded(path):
        source = iter(module.episodes(path, options))
    while True:
        with guarded(path):
            episode = next(source, None)
        if episode is None:
            return
        yield episode


def read(
    path: str | os.PathLike[str], format: str | None = None, options: Any = None, *, guard: bool = True
) -> Dataset:
    """A file or folder of any format as a Dataset; else as `stream`.

    Only the native layout keeps images on disk; of the others everything comes into memory, so convert a
    large one first.
    """
    name = recognise(path) if format is None else format
    module = _ready(name)
    if (whole := getattr(module, "read", None)) is not None:
        dataset: Dataset = whole(Path(path), _checked(module.Reading, options, name))
        return dataset
    with guarded(path):
        return Dataset(stream(path, name, options, guard=guard))


def write(path: str | os.PathLike[str], data: Iterable[Episode], format: str, options: Any = None) -> None:
    """Writes a Dataset, or any episodes, into a new file or folder of a format. Nothing is overwritten.

    Args:
        options: the format's `Writing`; None means its defaults.

    Raises:
        DataError: when the place is taken, there are no episodes, the format cannot hold them, or writing
            fails; then nothing is left there.
        ImportError: when a package is missing.
    """
    module = _ready(format)
    module.write(Path(path), data, _checked(module.Writing, options, format))


def _checked(kind: type, options: Any, name: str) -> Any:
    if options is not None and not isinstance(options, kind):
        raise TypeError(
            f"options are a {type(options).__name__}; format {name!r} takes {kind.__module__}.{kind.__name__}"
        )
    return kind() if options is None else options
