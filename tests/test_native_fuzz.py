"""Hostile native folders: an error in one line or the truth; no crash, no hang, no flood, nothing outside.

Each case is a folder with one thing wrong with it, read (and some repaired) in a process of its own, whose
time and memory are measured. The tests run a part; benchmarks/native_fuzz.py as many as one wants.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from understudy import storage
from understudy.episode import Episode

SAMPLE = Path(__file__).parent / "data" / "lerobot_v3_video"
SECONDS, BYTES = 5.0, 1 << 30  # what a case may take
HUGE: tuple[Any, ...] = (-1, 0, 1, 2**31, 2**40, 2**62, -(2**62), 7)
ODD: tuple[Any, ...] = (*HUGE, None, True, "", "x", "../../x", [], {}, [1, 2], {"a": 1}, 1.5, 1e308, "\ud800")


def episode(number: int, steps: int, pictures: bool) -> Episode:
    rng = np.random.default_rng(number)
    obs: dict[str, Any] = {"state": rng.standard_normal((steps + 1, 3)).astype(np.float32)}
    obs["grid"] = rng.standard_normal((steps + 1, 2, 2)).astype(np.float32)
    if pictures:
        obs["front"] = rng.integers(0, 256, (steps + 1, 6, 5, 3), dtype=np.uint8)
    action = rng.standard_normal((steps, 2)).astype(np.float32)
    label = action if number % 2 else action + 1
    time_ = np.cumsum(rng.random(steps + 1)) if number % 2 else None
    meta = {"task": "push", "seed": number}
    return Episode(obs, action, label, rng.random(steps) < 0.8, rng.random(steps), False, True, meta, time_)


def healthy(where: Path) -> dict[str, Path]:
    """Folders with nothing wrong: recorded, with pictures, compacted, and LeRobot's own (its video aside)."""
    for name, pictures in (("recorded", False), ("pictures", True), ("compacted", False)):
        with storage.Writer(where / name) as writer:
            for i in range(4):
                writer.add(episode(i, 8 + i, pictures))
    storage.compact(where / "compacted")
    shutil.copytree(SAMPLE, where / "lerobot", ignore=shutil.ignore_patterns("videos"))
    return {p.name: p for p in where.iterdir()}


# ---------------------------------------------------------------------------------------------- what is done


def one(chance: random.Random, folder: Path, pattern: str) -> Path:
    return chance.choice(sorted(p for p in folder.rglob(pattern) if p.is_file()))


def flip(chance: random.Random, folder: Path) -> None:
    path = one(chance, folder, "[!.]*")
    bad = bytearray(path.read_bytes())
    for _ in range(chance.choice((1, 1, 3, 40))):
        bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
    path.write_bytes(bad)


def flip_structure(chance: random.Random, folder: Path) -> None:
    """In the footer, where sizes and places are, or in the first page's header."""
    path = one(chance, folder, "*.parquet")
    bad = bytearray(path.read_bytes())
    footer = int.from_bytes(bad[-8:-4], "little")
    low, high = chance.choice(((len(bad) - 8 - footer, len(bad)), (4, 40)))
    for _ in range(chance.randrange(1, 4)):
        bad[chance.randrange(max(0, low), min(high, len(bad)))] = chance.randrange(256)
    path.write_bytes(bad)


def truncate(chance: random.Random, folder: Path) -> None:
    path = one(chance, folder, "[!.]*")
    path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size)])


def splice(chance: random.Random, folder: Path) -> None:
    path = one(chance, folder, "[!.]*")
    bad = bytearray(path.read_bytes())
    at = chance.randrange(len(bad))
    bad[at : at + chance.randrange(64)] = chance.randbytes(chance.randrange(64))
    path.write_bytes(bad)


def swap_files(chance: random.Random, folder: Path) -> None:
    a, b = one(chance, folder, "*.parquet"), one(chance, folder, "[!.]*")
    x, y = a.read_bytes(), b.read_bytes()
    a.write_bytes(y)
    b.write_bytes(x)


def remove(chance: random.Random, folder: Path) -> None:
    path = one(chance, folder, "[!.]*")
    path.unlink()
    if chance.random() < 0.3:
        path.mkdir()


def swap_columns(chance: random.Random, folder: Path) -> None:
    path = one(chance, folder, "*.parquet")
    table = pq.read_table(path)
    i, j = chance.randrange(table.num_columns), chance.randrange(table.num_columns)
    names = list(table.column_names)
    names[i], names[j] = names[j], names[i]
    table = table.rename_columns(names)
    if chance.random() < 0.3:
        table = table.remove_column(j)
    pq.write_table(table, path, row_group_size=chance.choice((1, 3, 1000)))


def other_type(chance: random.Random, folder: Path) -> None:
    path = one(chance, folder, "*.parquet")
    table = pq.read_table(path)
    i, n = chance.randrange(table.num_columns), len(table)
    column = chance.choice(
        (
            pa.nulls(n, table.schema.field(i).type),
            pa.array(["../../etc/passwd"] * n),
            pa.array([float("nan")] * n),
            pa.array([[1.0] * k for k in range(n)], pa.list_(pa.float32())),
            pa.array([[[0.0]] * 2] * n),
            pa.array([2**62 - k for k in range(n)]),
            pa.array([b"\x80\x04." * 9] * n),  # as a pickle begins
            pa.array([True] * n),
            pa.nulls(n),
            table.column(i).take(pa.array(np.arange(n)[::-1].copy())),
        )
    )
    pq.write_table(table.set_column(i, table.field(i).name, column), path)


def rows_lie(chance: random.Random, folder: Path) -> None:
    path = one(chance, folder / "meta" / "episodes", "*.parquet")
    table = pq.read_table(path)
    numbers = [f.name for f in table.schema if f.type == pa.int64()]
    texts = [f.name for f in table.schema if f.type == pa.string()]
    at = chance.randrange(len(table))
    if texts and chance.random() < 0.4:
        name = chance.choice(texts)
        said: Any = chance.choice(ODD)
        if name == "understudy/plain" and chance.random() < 0.8:
            said = json.loads(table[name][at].as_py() or "{}")
            said = {k: chance.choice((*HUGE, v, v + 4)) for k, v in said.items()} or said
        new = chance.choice((json.dumps(said), "[" * 10**5, '{"a": ' * 10**5, "", "\0", None))
    else:
        name, new = chance.choice(numbers), chance.choice(HUGE)
    values = table[name].to_pylist()
    values[at] = new
    i = table.column_names.index(name)
    pq.write_table(table.set_column(i, table.field(i), pa.array(values, table.field(i).type)), path)


def lists_lie(chance: random.Random, folder: Path) -> None:
    path = one(chance, folder / "meta" / "episodes", "*.parquet")
    table = pq.read_table(path)
    names = [f.name for f in table.schema if pa.types.is_list(f.type) and "stats/" not in f.name]
    name = chance.choice(names)
    i, values = table.column_names.index(name), table[name].to_pylist()
    at = chance.randrange(len(values))
    values[at] = chance.choice(([], None, (values[at] or []) * 2, (values[at] or [])[1:], [None] * 9))
    pq.write_table(table.set_column(i, table.field(i), pa.array(values, table.field(i).type)), path)


def info_lies(chance: random.Random, folder: Path) -> None:
    path = folder / "meta" / "info.json"
    said = json.loads(path.read_text())
    feature = said["features"][chance.choice(list(said["features"]))]
    match chance.randrange(7):
        case 0:
            said[chance.choice(list(said))] = chance.choice(ODD)
        case 1:
            feature[chance.choice(("dtype", "shape"))] = chance.choice(ODD)
        case 2:
            feature["shape"] = [
                chance.choice((1, 2, 10**4, 2**31, 2**62)) for _ in range(chance.randrange(9))
            ]
        case 3:
            feature["dtype"] = chance.choice(
                ("float64", "int64", "uint8", "image", "video", "string", "bool")
            )
        case 4:
            key = chance.choice(("data_path", "video_path"))
            said[key] = chance.choice(
                ("../../{chunk_index}", "/etc/passwd", "{0.__class__}", "{chunk_index:9999999}")
            )
        case 5:
            name = chance.choice(
                ("observation.../../x", "observation.images./etc/passwd", "observation.\0", ".")
            )
            said["features"][name] = chance.choice((feature, {"dtype": "video", "shape": [6, 5, 3]}))
        case _:
            path.write_text(
                chance.choice(("[" * 10**6, "{" * 10**6, '{"a":' * 10**5, "9" * 10**6, "NaN", "\ud7ff"))
            )
            return
    path.write_text(json.dumps(said))


def link(chance: random.Random, folder: Path) -> None:
    outside = folder.parent / "outside"
    paths = [p for p in sorted(folder.rglob("*")) if not p.name.startswith(".")]
    path = chance.choice(paths)
    moved = outside / path.name
    match chance.randrange(4):
        case 0:
            shutil.move(path, moved)
            path.symlink_to(moved)
        case 1:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            path.symlink_to(path.name)  # to itself
        case 2:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            path.symlink_to("/dev/zero")
        case _:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            os.mkfifo(path)


def sparse(chance: random.Random, folder: Path) -> None:
    path = one(chance, folder, "[!.]*")
    content = path.read_bytes()
    with open(path, "r+b") as file:
        file.truncate(1 << 37)
        if chance.random() < 0.5:
            file.seek(-len(content), os.SEEK_END)
            file.write(content)


def bomb(chance: random.Random, folder: Path) -> None:
    """A column that unfolds into far more than the file; the footer may say less than the pages."""
    path = one(chance, folder, "*.parquet")
    table = pq.read_table(path)
    n, many = len(table), chance.choice((10**5, 10**6, 10**7))
    many = max(1, many // n)
    lists = pa.ListArray.from_arrays(
        pa.array(np.arange(n + 1, dtype=np.int32) * many), pa.array(np.zeros(n * many, np.float32))
    )
    some = "x" * 10**5
    kinds: tuple[tuple[Callable[[], pa.Array], dict[str, Any]], ...] = (
        (lambda: lists, {"compression": "gzip"}),
        (lambda: lists, {"compression": "zstd", "use_dictionary": False}),
        (lambda: pa.array([some] * n), {"compression": "zstd"}),
        (lambda: pa.array([[some] * min(many, 1000 // n)] * n), {"compression": "zstd"}),
        (lambda: pa.nulls(n, pa.list_(pa.float32())), {}),
        (lambda: pa.array([some] * n), {"use_dictionary": False, "column_encoding": "DELTA_BYTE_ARRAY"}),
    )
    make, options = chance.choice(kinds)
    i = chance.randrange(table.num_columns)
    name = chance.choice((table.column_names[i], "more"))
    if "column_encoding" in options:
        options["column_encoding"] = {name: options["column_encoding"]}
    new = table.set_column(i, name, make())
    pq.write_table(new.replace_schema_metadata(), path, write_statistics=False, **options)
    if chance.random() < 0.7:
        footer_says(path, chance.choice((0, 1, n, 7 * n)), [n * many, n * min(many, 1000 // n), n])


def footer_says(path: Path, values: int, instead_of: list[int]) -> None:
    """Puts other numbers of values into the footer, and leaves the pages as they are."""
    content = path.read_bytes()
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    footer = content[start:]
    for old in instead_of:
        was = varint(2 * old)
        footer = footer.replace(b"\x16" + was, b"\x16" + varint(2 * values, len(was)))
    path.write_bytes(content[:start] + footer)


def varint(value: int, width: int = 1) -> bytes:
    out = bytearray()
    while value > 0x7F or len(out) + 1 < width:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value & 0x7F])


def picture_bomb(chance: random.Random, folder: Path) -> None:
    """A PNG that says it is larger than what was declared, or that is no PNG."""
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", chance.choice(((9000, 9000), (5, 7), (6, 5)))).save(out, chance.choice(("PNG", "GIF")))
    paths = [p for p in sorted(folder.rglob("data/*/*.parquet")) if b"images" in p.read_bytes()]
    if not paths:
        return flip(chance, folder)
    path = chance.choice(paths)
    table = pq.read_table(path)
    i = next(i for i, f in enumerate(table.schema) if pa.types.is_struct(f.type))
    cell = {"bytes": out.getvalue(), "path": "/etc/passwd"}
    blobs = chance.choice(([cell] * len(table), [{"bytes": None, "path": "/etc/passwd"}] * len(table)))
    pq.write_table(table.set_column(i, table.field(i), pa.array(blobs, table.field(i).type)), path)
    return None


MUTATIONS: tuple[Callable[[random.Random, Path], None], ...] = (
    flip,
    flip_structure,
    flip_structure,
    truncate,
    splice,
    swap_files,
    remove,
    swap_columns,
    other_type,
    rows_lie,
    rows_lie,
    lists_lie,
    info_lies,
    info_lies,
    link,
    sparse,
    bomb,
    bomb,
    picture_bomb,
)


# ------------------------------------------------------------------------------------------------- measuring


def snapshot(folder: Path) -> dict[str, Any]:
    return {
        str(p): (os.readlink(p) if p.is_symlink() else p.stat().st_mtime_ns if p.is_file() else None)
        for p in sorted(folder.rglob("*"))
    }


def attempt(folder: Path, truth: str | None, repair: bool) -> str:
    """In the child: reads, and says what came of it."""
    before = snapshot(folder.parent / "outside")
    said = "read"
    try:
        storage.info(folder)
        for images in ("auto", "disk"):
            data = storage.read(folder, video="skip", images=images)
            found = data.fingerprint()
            if truth is not None and found != truth:
                return "WRONG: other values than were recorded"
        if sum(1 for _ in storage.stream(folder, video="skip")) != len(data):
            return "WRONG: the stream has other episodes"
    except storage.DataError as e:
        said = "refused"
        if "\n" in str(e) or len(str(e)) > 1000:
            return f"WRONG: {e!r} is not one line"
    if repair:
        try:
            storage.repair(folder)
        except storage.DataError as e:
            if "\n" in str(e):
                return f"WRONG: {e!r} is not one line"
    if snapshot(folder.parent / "outside") != before:
        return "WRONG: something outside was changed"
    return said


def case(seed: int, folders: dict[str, Path], truths: dict[str, str]) -> dict[str, Any]:
    """One mutation, read in a process of its own: what came of it, and what it took."""
    chance = random.Random(seed)
    name = chance.choice(sorted(folders))
    mutate = MUTATIONS[seed % len(MUTATIONS)]
    with tempfile.TemporaryDirectory() as there:
        (Path(there) / "outside").mkdir()
        folder = Path(there) / "d"
        shutil.copytree(folders[name], folder)
        mutate(chance, folder)
        ready, done = os.pipe()
        if (child := os.fork()) == 0:
            os.close(ready)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            signal.alarm(60)  # what waits for ever; what works for ever, the next line ends
            resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
            resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
            try:
                said = attempt(folder, truths.get(name), repair=seed % 3 == 0)
            except BaseException as e:
                said = f"WRONG: {type(e).__name__}: {str(e)[:200]}"
            os.write(done, said.encode("utf-8", "replace"))
            os._exit(0)
        os.close(done)
        said = b""
        while part := os.read(ready, 4096):
            said += part
        os.close(ready)
        _, status, used = os.wait4(child, 0)
    outcome = said.decode() if status == 0 else f"WRONG: ended by signal {status & 127}"
    memory = used.ru_maxrss << 10
    cpu = used.ru_utime + used.ru_stime
    if outcome[:5] != "WRONG" and cpu > SECONDS:  # of its own time: a busy machine hangs nobody
        outcome = f"WRONG: took {cpu:.1f} s"
    if outcome[:5] != "WRONG" and memory > BYTES:
        outcome = f"WRONG: took {memory >> 20} MiB"
    return {
        "seed": seed,
        "what": f"{mutate.__name__} of {name}",
        "outcome": outcome,
        "cpu": cpu,
        "bytes": memory,
    }


def prepared(where: Path) -> tuple[dict[str, Path], dict[str, str]]:
    folders = healthy(where)
    truths = {n: storage.read(f, video="skip").fingerprint() for n, f in folders.items() if n != "lerobot"}
    return folders, truths


@pytest.fixture(scope="module")
def cases() -> list[dict[str, Any]]:
    """Two cases of each mutation, from a small process: what is forked off the tests has all their memory."""
    code = f"import json, test_native_fuzz as fuzz; print(json.dumps(fuzz.first({2 * len(MUTATIONS)})))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("part", range(len(MUTATIONS)), ids=lambda i: f"{i}-{MUTATIONS[i].__name__}")
def test_a_hostile_folder_is_refused_or_read_rightly(cases, part) -> None:
    mine = cases[part :: len(MUTATIONS)]
    assert len(mine) == 2
    assert all(c["what"].startswith(MUTATIONS[part].__name__) for c in mine)
    assert not [c for c in mine if c["outcome"].startswith("WRONG")]


def first(count: int, start: int = 0) -> list[dict[str, Any]]:
    """The cases with these seeds."""
    with tempfile.TemporaryDirectory() as where:
        folders, truths = prepared(Path(where))
        return [case(seed, folders, truths) for seed in range(start, start + count)]


def campaign(start: int, count: int) -> dict[str, Any]:
    """Many cases, and what came of them."""
    cases = first(count, start)
    wrong = [c for c in cases if c["outcome"].startswith("WRONG")]
    return {
        "outcomes": dict(Counter(c["outcome"].split(":")[0] for c in cases)),
        "mutations": dict(Counter(c["what"].split()[0] for c in cases)),
        "longest_cpu_seconds": round(max(c["cpu"] for c in cases), 2),
        "most_memory_mib": max(c["bytes"] for c in cases) >> 20,
        "wrong": wrong[:40],
    }
