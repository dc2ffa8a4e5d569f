"""Mutated and hand-made hostile files for every reader of `understudy.formats`.

Each is read as a user's file would be, through the guard: an error or a correct read, no crash of ours, no
stall over 5 s, no memory over 1 GB, nothing written outside, nothing executed.

    .venv/bin/python benchmarks/fuzz_formats.py --n 2000 [--format robomimic ...] [--seed 0]

A line for each format on standard error, the record last on standard output; the exit status is 1 where a
promise was broken.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from understudy import formats, storage
from understudy.episode import Episode
from understudy.formats.guard import Guard
from understudy.storage import DataError

TESTS = Path(__file__).parents[1] / "tests"
SECONDS, BYTES = 5.0, 1_000_000_000
_SERVES = 200  # files that one child reads, so that what its libraries leak does not add up
_CANARY = "canary"
_EXTREME = (0, -1, 1, 2**31 - 1, -(2**31), 2**32 - 1, 2**40, 2**62, 2**63 - 1, -(2**63))


@dataclass
class Tally:
    """What became of one format's files."""

    format: str
    errors: int = 0
    reads: int = 0
    crashed: int = 0
    stopped: int = 0
    seconds: float = 0.0
    slowest: tuple[float, str] = (0.0, "")
    megabytes: float = 0.0
    broken: list[str] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        return {
            "format": self.format,
            "files": self.errors + self.reads,
            "refused": self.errors,
            "read": self.reads,
            "of the refused, crashed the child": self.crashed,
            "of the refused, stopped by the clock": self.stopped,
            "slowest_s": round(self.slowest[0], 2),
            "slowest": self.slowest[1],
            "peak_MB_of_the_child": round(self.megabytes),
            "seconds": round(self.seconds, 1),
            "broken": self.broken[:20],
        }


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"fuzz_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def native(folder: Path) -> Path:
    """A small sample of the native layout."""
    rng = np.random.default_rng(0)
    path = folder / "small"
    made = []
    for steps in (3, 5):
        obs = {
            "state": rng.standard_normal((steps + 1, 2)),
            "front": rng.integers(0, 256, (steps + 1, 4, 5, 3), dtype=np.uint8),
        }
        action = rng.standard_normal((steps, 2))
        made.append(
            Episode(obs, action, -action, np.ones(steps, bool), rng.random(steps), meta={"task": "x"})
        )
    storage.write(path, made)
    return path


def samples(name: str) -> dict[str, Callable[[Path], Path]]:
    """What makes small valid files of a format, by title: a format may come in several forms."""
    if name == "lerobot":
        return {name: native}
    shared = vars(_module(TESTS / "formats_samples.py"))
    found = {k.removeprefix("sample_"): v for k, v in shared.items() if k.startswith("sample_")}
    if forms := {k: v for k, v in found.items() if k == name or k.startswith(f"{name}_")}:
        return forms
    own = TESTS / f"test_formats_{name}.py"
    make = getattr(_module(own), "sample", None) if own.exists() else None
    return {} if make is None else {name: make}


# --- mutations: each changes the files below a path in place ------------------------------------------------


def _files(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def flip(data: bytearray, rng: np.random.Generator) -> None:
    """Some single bits."""
    for _ in range(int(rng.integers(1, 17))):
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))


def scribble(data: bytearray, rng: np.random.Generator) -> None:
    """A run of random bytes."""
    at, size = int(rng.integers(len(data))), int(rng.integers(1, 65))
    data[at : at + size] = rng.bytes(min(size, len(data) - at))


def extreme(data: bytearray, rng: np.random.Generator) -> None:
    """Some numbers that a file may hold replaced by the largest, smallest or least likely."""
    for _ in range(int(rng.integers(1, 4))):
        width = int(rng.choice([2, 4, 8]))
        value = _EXTREME[int(rng.integers(len(_EXTREME)))] % 256**width
        if (room := len(data) - width) > 0:
            at = int(rng.integers(room)) // width * width
            data[at : at + width] = value.to_bytes(width, "little")


def cut(data: bytearray, rng: np.random.Generator) -> None:
    """The end is missing."""
    del data[int(rng.integers(len(data))) :]


def grow(data: bytearray, rng: np.random.Generator) -> None:
    """Something more behind the end."""
    data += rng.bytes(int(rng.integers(1, 4096)))


def exchange(data: bytearray, rng: np.random.Generator) -> None:
    """Two stretches in each other's place."""
    size = max(1, min(len(data) // 2, int(rng.choice([8, 64, 512, 4096]))))
    a, b = (int(i) for i in rng.integers(0, len(data) - size + 1, 2))
    data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]


def reword(data: bytearray, rng: np.random.Generator) -> None:
    """In text, a number or a quoted word replaced by a nasty one; elsewhere, bits."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return flip(data, rng)
    places = [m.span() for m in re.finditer(r'-?\d+(\.\d+)?|"[^"]*"', text)]
    if not places:
        return flip(data, rng)
    a, b = places[int(rng.integers(len(places)))]
    nasty = [
        "-1",
        "0",
        "1e308",
        "99999999999999999999",
        "null",
        "NaN",
        "[]",
        "{}",
        '"../../canary/x"',
        '"/etc/passwd"',
    ]
    nasty += ["[" * 100_000, '"\\u0000"', '"|O"', "true", "1073741824"]
    data[:] = (text[:a] + str(rng.choice(nasty)) + text[b:]).encode()


BYTES_OF_A_FILE = (flip, scribble, extreme, cut, grow, exchange, reword)


def misplace(path: Path, rng: np.random.Generator) -> None:
    """Something else where a file of the folder was: nothing, a link, a folder, a pipe, another file."""
    files = _files(path)
    file, other = (files[int(i)] for i in rng.integers(0, len(files), 2))
    match int(rng.integers(7)):
        case 0:
            file.unlink()
        case 1:
            file.unlink()
            file.symlink_to(path.parents[1] / _CANARY / "secret")
        case 2:
            file.unlink()
            file.symlink_to(file.name)
        case 3:
            file.unlink()
            file.mkdir()
        case 4:
            file.unlink()
            os.mkfifo(file)
        case 5:
            file.write_bytes(other.read_bytes())
        case _:
            shutil.move(file, file.with_name(file.name + "x"))


def mutate(path: Path, rng: np.random.Generator) -> str:
    """Damages what lies at a path; gives the damage's name."""
    if path.is_dir() and rng.random() < 0.15:
        misplace(path, rng)
        return "misplace"
    files = [f for f in _files(path) if f.stat().st_size]
    sizes = np.sqrt([f.stat().st_size for f in files])
    file = files[int(rng.choice(len(files), p=sizes / sizes.sum()))]
    how = BYTES_OF_A_FILE[int(rng.integers(len(BYTES_OF_A_FILE)))]
    data = bytearray(file.read_bytes())
    how(data, rng)
    file.write_bytes(data)
    return how.__name__


# --- hand-made HDF5: whatever it can point at, claim or pack ------------------------------------------------

PLACES = {"robomimic": ("", "data/demo_0/actions"), "act": ("episode_0.hdf5", "action")}
PLACES |= {"minari": ("data/main_data.hdf5", "episode_0/actions")}


def hostile_hdf5(name: str, sample: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """Copies of a sample with one dataset replaced by something hostile."""
    import h5py

    outside = folder.parent / _CANARY / "other.hdf5"
    with h5py.File(outside, "w") as file:
        file["x"] = np.zeros((4, 2))
    (folder.parent / _CANARY / "raw").write_bytes(bytes(64))
    for title, make in HOSTILE.items():
        path = folder / title / sample.name
        path.parent.mkdir()
        (shutil.copytree if sample.is_dir() else shutil.copy)(sample, path)
        inside, dataset = PLACES[name]
        with h5py.File(path / inside if inside else path, "r+", libver="latest") as file:
            parent = file[dataset].parent
            del file[dataset]
            make(parent, dataset.rsplit("/")[-1], outside)
        yield title, path


def _virtual(group: Any, name: str, outside: Path) -> None:
    import h5py

    layout = h5py.VirtualLayout((4, 2), "f8")
    layout[:] = h5py.VirtualSource(os.path.relpath(outside, Path(group.file.filename).parent), "x", (4, 2))
    group.create_virtual_dataset(name, layout)


def _bomb(group: Any, name: str, outside: Path) -> None:
    import zlib

    made = group.create_dataset(name, (1 << 14, 1 << 14), "f8", chunks=(1 << 7, 1 << 14), compression="gzip")
    chunk = made.chunks[0] * made.chunks[1] * 8
    packed = zlib.compress(bytes(chunk), 9)
    for row in range(0, 1 << 14, made.chunks[0]):
        made.id.write_direct_chunk((row, 0), packed)


def _deep(group: Any, name: str, outside: Path) -> None:
    for _ in range(3000):
        group = group.create_group(name)


def _many(group: Any, name: str, outside: Path) -> None:
    for i in range(3000):
        group[f"{name}{i}"] = group
    group[name] = np.zeros((4, 2))


def _references(group: Any, name: str, outside: Path) -> None:
    import h5py

    group.create_dataset(name, data=np.array([group.ref] * 4, h5py.ref_dtype), dtype=h5py.ref_dtype)


def _plugin(group: Any, name: str, outside: Path) -> None:
    import h5py

    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_chunk((4, 2))
    made.set_filter(32008, h5py.h5z.FLAG_OPTIONAL, (0, 0))
    space = h5py.h5s.create_simple((4, 2))
    h5py.h5d.create(group.id, name.encode(), h5py.h5t.IEEE_F64LE, space, made)


def _vlen(group: Any, name: str, outside: Path) -> None:
    import h5py

    made = group.create_dataset(name, (4,), h5py.vlen_dtype(np.float64))
    made[0] = np.zeros(1000)


def _link(target: Callable[[Any, Path], Any]) -> Callable[[Any, str, Path], None]:
    def make(group: Any, name: str, outside: Path) -> None:
        group[name] = target(group, outside)

    return make


def _soft(group: Any, outside: Path) -> Any:
    import h5py

    return h5py.SoftLink("/no/such/place")


def _external(group: Any, outside: Path) -> Any:
    import h5py

    return h5py.ExternalLink(os.path.relpath(outside, Path(group.file.filename).parent), "/x")


def _absolute(group: Any, outside: Path) -> Any:
    import h5py

    return h5py.ExternalLink(str(outside), "/x")


def _elsewhere(group: Any, name: str, outside: Path) -> None:
    group.create_dataset(name, (4, 2), "f8", external=[(str(outside.parent / "raw"), 0, 64)])


def _loop(group: Any, name: str, outside: Path) -> None:
    group[name] = group.file["/"]


HOSTILE: dict[str, Callable[[Any, str, Path], None]] = {
    "soft link": _link(_soft),
    "external link": _link(_external),
    "external link, absolute": _link(_absolute),
    "external storage": _elsewhere,
    "virtual dataset": _virtual,
    "huge shape": lambda g, n, o: g.create_dataset(n, (1 << 40, 1 << 20), "f8", chunks=(1, 64)) and None,
    "huge chunk": lambda g, n, o: g.create_dataset(n, (1 << 28, 2), "f4", chunks=(1 << 28, 1)) and None,
    "wide": lambda g, n, o: g.create_dataset(n, (1, 1 << 27), "f8", chunks=(1, 1 << 20)) and None,
    "bomb": _bomb,
    "objects": lambda g, n, o: g.create_dataset(n, data=np.void(b"cos\nsystem\n(S'touch x'\ntR.")) and None,
    "texts": lambda g, n, o: g.create_dataset(n, data=["a" * 1000] * 4) and None,
    "compound": lambda g, n, o: g.create_dataset(n, (4,), np.dtype([("a", "f8"), ("b", "i4")])) and None,
    "references": _references,
    "ragged": _vlen,
    "plugin": _plugin,
    "deep": _deep,
    "many links to one group": _many,
    "a group above itself": _loop,
    "nothing": lambda g, n, o: None,
    "scalar": lambda g, n, o: g.create_dataset(n, data=1.0) and None,
    "empty": lambda g, n, o: g.create_dataset(n, (0, 2), "f8") and None,
    "null": lambda g, n, o: g.create_dataset(n, data=_null()) and None,
    "not finite": lambda g, n, o: g.create_dataset(n, data=np.full((4, 2), np.nan)) and None,
}
READABLE = {"many links to one group"}  # the sample is whole in these


def _null() -> Any:
    import h5py

    return h5py.Empty("f8")


# --- the run ----------------------------------------------------------------------------------------------


class Reader:
    """Reads files as `formats.stream` does, with one child for many of them."""

    def __init__(self, name: str, sample: Path) -> None:
        self._module, self._sample = formats.layout(name), sample
        self._guarded = getattr(self._module, "GUARD", True)
        self._child: Guard | None = None
        self._served = 0
        self._before = 0.0
        if not self._guarded:  # read in this process: what counts is what is added to it
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")  # the peak begins again from here
            self._before = self.megabytes()

    def read(self, path: Path) -> None:
        """Every episode of a file, after `prepare`."""
        if not self._guarded:
            for _ in formats.stream(path, self._module.__name__.rpartition(".")[2]):
                pass
            return
        assert self._child is not None
        for _ in self._child.episodes(self._module.__name__, path, {}):
            pass

    def prepare(self) -> None:
        """Starts what is not part of reading one file; a new child has read the undamaged sample first."""
        if not self._guarded:
            return
        if self._child is not None and self._child.alive and self._served < _SERVES:
            self._served += 1
            return
        self.close()
        self._child, self._served = Guard(), 0
        if not list(self._child.episodes(self._module.__name__, self._sample, {})):
            raise AssertionError(f"{self._sample} holds no episodes")

    def megabytes(self) -> float:
        """The most memory the reading process has had so far; if it is this one, added to what it had."""
        pid = self._child.pid if self._child is not None else os.getpid()
        try:
            text = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return 0.0
        peak = re.search(r"VmHWM:\s+(\d+) kB", text)
        return int(peak[1]) / 1000 - self._before if peak else 0.0

    def close(self) -> None:
        if self._child is not None:
            self._child.close()


def one(reader: Reader, tally: Tally, path: Path, what: str, must_fail: bool | None) -> None:
    """Reads one file and notes what became of it."""
    reader.prepare()
    begun = time.monotonic()
    refused = None
    try:
        reader.read(path)
        tally.reads += 1
    except DataError as e:
        refused = str(e)
        tally.errors += 1
        tally.crashed += "made its reader crash" in refused
        tally.stopped += "was stopped after" in refused
        if "\n" in refused:
            tally.broken.append(f"{what}: an error of more than one line")
    except Exception as e:  # a promise is broken by whatever else comes out
        tally.errors += 1
        tally.broken.append(f"{what}: {type(e).__name__}: {e}"[:300])
    took = time.monotonic() - begun
    tally.seconds += took
    tally.slowest = max(tally.slowest, (took, what))
    tally.megabytes = max(tally.megabytes, reader.megabytes())
    if took > SECONDS:
        tally.broken.append(f"{what}: {took:.1f} s")
    if tally.megabytes > BYTES / 1e6:
        tally.broken.append(f"{what}: {tally.megabytes:.0f} MB")
    if must_fail is not None and must_fail != (refused is not None):
        tally.broken.append(f"{what}: {'was read' if must_fail else f'was refused ({refused})'}")


def _outside(folder: Path) -> list[tuple[str, int, int]]:
    """Everything in a folder, with sizes and times of change."""
    return sorted((str(p), p.lstat().st_size, p.lstat().st_mtime_ns) for p in folder.rglob("*"))


def fuzz(
    name: str,
    title: str,
    make: Callable[[Path], Path],
    n: int,
    seed: int,
    folder: Path,
    *,
    hand_made: bool = True,
) -> Tally:
    """Reads `n` mutated files of a format; what breaks a promise stays there.

    Args:
        title: the form of the format that `make` makes.
        folder: a folder to work in, not there yet.
        hand_made: whether to read the hand-made hostile files too, where there are some.
    """
    tally = Tally(title)
    canary, work = folder / _CANARY, folder / "work"
    for made in (canary, work, folder / "sample", folder / "made"):
        made.mkdir(parents=True)
    (canary / "secret").write_text("1 2 3")
    sample = make(folder / "sample")
    reader = Reader(name, sample)
    try:
        hostile = hostile_hdf5(name, sample, folder / "made") if hand_made and name in PLACES else ()
        for what, path in hostile:
            before = _outside(canary)
            one(reader, tally, path, what, what not in READABLE)
            _compare(tally, what, before, _outside(canary))
        before = _outside(canary)
        for i in range(n):
            rng = np.random.default_rng((seed, i))
            path = work / sample.name
            (shutil.copytree if sample.is_dir() else shutil.copy)(sample, path)
            what = f"{i} {mutate(path, rng)}"
            broken = len(tally.broken)
            one(reader, tally, path, what, None)
            _compare(tally, what, before, _outside(canary))
            if extra := [p.name for p in work.iterdir() if p != path]:
                tally.broken.append(f"{what}: left {extra}")
            if len(tally.broken) > broken and os.path.lexists(path):
                shutil.move(path, folder / f"broken-{i}-{sample.name}")
            shutil.rmtree(work)
            work.mkdir()
    finally:
        reader.close()
    return tally


def _compare(tally: Tally, title: str, before: Any, after: Any) -> None:
    if before != after:
        tally.broken.append(f"{title}: something outside was changed")


def main() -> int:
    from common import arguments, emit  # here, for the tests, which load this file from elsewhere

    parser = arguments(__doc__)
    parser.add_argument("--n", type=int, default=2000, help="mutated files of each format")
    parser.add_argument("--format", action="append", help="one format; again for more; default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a new folder, in which what breaks a promise is kept")
    given = parser.parse_args()
    rows, broken = [], 0
    with tempfile.TemporaryDirectory() as scratch:
        for name in given.format or formats.names():
            for title, make in samples(name).items():
                tally = fuzz(name, title, make, given.n, given.seed, (given.keep or Path(scratch)) / title)
                rows.append(tally.row())
                broken += len(tally.broken)
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000
    record = {
        "unit": "files; seconds of wall time, MB of the process that reads",
        "setting": {"mutated": given.n, "seed": given.seed},
        "formats": rows,
        "peak_MB_of_any_child": round(peak),
        "verdict": {"broken": broken, "target": "<= 0", "met": broken == 0},
    }
    emit(record, given.json_out)
    return min(broken, 1)


if __name__ == "__main__":
    sys.exit(main())
