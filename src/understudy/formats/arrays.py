"""Plain arrays: npz archives and CSV tables, one file for everything or a folder with a file an episode.

An npz holds N steps of E episodes end to end; without `episode_ends` or `lengths` it is one episode:

    action                [N, A], or [N] whole numbers, which are one discrete choice
    reward                [N], optional
    episode_ends          [E] where each ends, cumulative; or lengths [E]
    terminated, success   [E] or [N], optional; of [N] the last step of an episode counts
    time                  [N] or [N + E] seconds, optional
    label, labelled       [N, A], [N], optional
    control               [N] who held the controls: 0 the policy, 1 the expert, 2 the expert on the way back;
                          optional, and only in files that understudy wrote, or where `control` names it
    obs.<key>, or <key>   [N, ...] or [N + E, ...]: with or without the state after the last action

`actions`, `rewards`, `observations` and `terminals` are understood too; `observations` and `obs` are called
"state". A CSV has the same names in its header, one column a number: `state.0`, `state.1`, `action.0`,
`reward`, `success`, and `keypoint.8.1` where there are two axes; `episode` tells episodes apart, rows of one
being together. A last row without an action is the state after the last one. `action` without an index is one
discrete choice where all its values are whole numbers. Images go into npz only.

Both are written so that they come back exactly: in CSV nine digits a float32, in either the facts as JSON,
under the name `understudy`. Objects in npz are refused; nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import csv
import re
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from understudy.episode import Episode
from understudy.formats import _csv
from understudy.formats._facts import nonempty
from understudy.formats._npz import Archive, archive
from understudy.formats.placing import new_file, new_folder
from understudy.storage.files import DataError, Root, guarded

__all__ = ["Reading", "Writing", "episodes", "recognises", "write"]

ABOUT = "plain arrays, npz or CSV, one file or a folder with a file an episode"

_ENDINGS = (".npz", ".csv")
_HEAD = 1 << 20  # bytes of a table that are looked at for its header
_ELSEWHERE = ({"obs.npy", "acts.npy", "indices.npy", "terminal.npy"},)  # what `imitation` once wrote


@dataclass(frozen=True)
class Reading:
    """Names in files that do not use the usual ones.

    Attributes:
        action: the array or column that is the action.
        reward: the one that is the reward.
        control: the one that says who held the controls; none named means the one that understudy wrote.
        observations: the ones that are observations, as the file names them; none named means all others.
    """

    action: str = ""
    reward: str = ""
    control: str = ""
    observations: tuple[str, ...] = ()


@dataclass(frozen=True)
class Writing:
    """How arrays are written.

    Attributes:
        kind: "auto" goes by the path's ending: one .npz or .csv file, or else a folder of npz files. Another
            kind makes a folder of such files.
        packed: whether npz files are compressed.
    """

    kind: Literal["auto", "npz", "csv"] = "auto"
    packed: bool = True


def recognises(path: Path) -> bool:
    """Whether it is an npz or a CSV with actions, or a folder of nothing else."""
    with contextlib.suppress(Exception):
        if path.is_file():
            return _looks(path)
        there = [p for p in path.iterdir() if not p.name.startswith(".")]
        return bool(there) and all(p.suffix in _ENDINGS and p.is_file() for p in there) and _looks(min(there))
    return False


def _looks(path: Path) -> bool:
    if path.suffix == ".npz":
        with zipfile.ZipFile(path) as file:
            names = set(file.namelist())
        return bool(names & {"action.npy", "actions.npy"}) and not any(other <= names for other in _ELSEWHERE)
    if path.suffix == ".csv":
        with open(path, encoding="utf-8-sig", newline="") as table:
            names = set(next(csv.reader([table.readline(_HEAD)])))
        return any(re.fullmatch(r"actions?(\.[0-9]+)*", n.strip()) for n in names)
    return False


def episodes(path: Path, options: Reading) -> Iterator[Episode]:
    """The episodes of a file, or of all files of a folder in the order of the numbers in their names.

    Raises:
        DataError: when a file is damaged, hostile or not as described above.
    """
    if not path.is_dir():
        yield from _file(path, options)
        return
    root = Root(path)
    names = [n for n in root.names("") if Path(n).suffix in _ENDINGS and not n.startswith(".")]
    for name in sorted(names, key=_numbered):
        yield from _file(Path(root.path(name)), options)


def _numbered(name: str) -> list[tuple[int, str]]:
    """Sorts episode_2 before episode_10."""
    return [(int(p[:18]), "") if p.isdecimal() else (-1, p) for p in re.split(r"([0-9]+)", name)]


def _file(path: Path, options: Reading) -> Iterator[Episode]:
    if path.suffix == ".csv":
        names = _csv.Names(options.action, options.reward, options.control, options.observations)
        with guarded(path):
            table = open(path, encoding="utf-8-sig", newline="")  # noqa: SIM115  closed below
        with table:
            yield from _csv.read(table, path, names)
    elif path.suffix == ".npz":
        with archive(path, options.action, options.reward, options.control, options.observations) as opened:
            yield from opened.episodes()
    else:
        raise DataError(f"{path} ends neither in .npz nor in .csv")


def write(path: Path, episodes: Iterable[Episode], options: Writing) -> None:
    """A new file where the path ends in .npz or .csv, else a new folder with a file an episode.

    Raises:
        DataError: when the place is taken, there are no episodes, they are not alike, an observation has no
            place in a CSV, or writing fails.
    """
    packing = zipfile.ZIP_DEFLATED if options.packed else zipfile.ZIP_STORED
    one = path.suffix in _ENDINGS
    if one and options.kind not in ("auto", path.suffix[1:]):
        raise DataError(f"{path} ends in {path.suffix}, but {options.kind} was asked for")
    if one:
        with new_file(path) as place:
            (_table if path.suffix == ".csv" else _archive)(place, nonempty(episodes), packing)
        return
    ending = "csv" if options.kind == "csv" else "npz"
    with new_folder(path) as folder:
        for i, e in enumerate(nonempty(episodes)):
            (_table if ending == "csv" else _archive)(
                folder / f"episode_{i:06d}.{ending}", iter((e,)), packing
            )


def _table(place: Path, episodes: Iterator[Episode], _packing: int) -> None:
    with open(place, "w", encoding="utf-8", newline="") as file:
        table = None
        for e in episodes:
            table = _csv.Table(file, e) if table is None else table
            table.add(e)


def _archive(place: Path, episodes: Iterator[Episode], packing: int) -> None:
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".") as spare:
        made = Archive(Path(spare))
        for e in episodes:
            made.add(e)
        made.save(place, packing)
