"""Mutated and hostile files for every reader: an error or a correct read, whatever the file.

A small part, always the same, of `benchmarks/fuzz_formats.py`, which does thousands.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from understudy import formats
from understudy.storage import DataError

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "fuzz_formats.py"
FILES = 12  # of each format


def _benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_formats", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


if not BENCHMARK.exists():
    pytest.skip("the benchmarks are not installed with the tests", allow_module_level=True)
fuzz = _benchmark()


def _needs(name: str) -> None:
    for package in getattr(formats.layout(name), "NEEDS", ()):
        pytest.importorskip(package)


@pytest.mark.parametrize("name", formats.names())
def test_damaged_files_are_refused_or_read(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _needs(name)
    monkeypatch.setattr(fuzz, "SECONDS", 120.0)  # the benchmark measures time; a test must not
    samples = fuzz.samples(name)
    assert samples, f"there is no small file of format {name!r} to damage"
    for title, make in samples.items():
        hand_made = name == "robomimic"  # ACT's and Minari's HDF5 are opened by the same lines
        tally = fuzz.fuzz(name, title, make, FILES, 1, tmp_path / title, hand_made=hand_made)
        assert not tally.broken
        assert tally.errors + tally.reads >= FILES
        assert tally.errors > FILES // 4, "the mutations should damage something"
        if getattr(formats.layout(name), "GUARD", True):  # else it may fit into memory that is there
            assert tally.megabytes > 10, "the memory was not measured"


@pytest.mark.parametrize("how", fuzz.BYTES_OF_A_FILE, ids=lambda f: f.__name__)
def test_every_mutation_changes_something(how: Callable[..., Any]) -> None:
    text = (json.dumps({"x": [1, 2, 3.5], "y": "words"}) * 20).encode()
    changed = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        for content in (text, rng.bytes(500)):
            data = bytearray(content)
            how(data, rng)
            changed += data != content
    assert changed >= 15


def test_the_harness_sees_a_broken_promise(tmp_path: Path) -> None:
    class Bad:
        def prepare(self) -> None: ...

        def megabytes(self) -> float:
            return 2000.0

        def read(self, path: Path) -> None:
            if path.name == "raise":
                raise KeyError("x")
            if path.name == "lines":
                raise DataError("a\nb")

    tally = fuzz.Tally("x")
    for name in ("raise", "lines", "read"):
        fuzz.one(Bad(), tally, tmp_path / name, name, True if name == "read" else None)
    assert tally.broken == [
        "raise: KeyError: 'x'",
        "raise: 2000 MB",
        "lines: an error of more than one line",
        "lines: 2000 MB",
        "read: 2000 MB",
        "read: was read",
    ]
    (tmp_path / "a").touch()
    before = fuzz._outside(tmp_path)
    (tmp_path / "b").touch()
    fuzz._compare(tally, "wrote", before, fuzz._outside(tmp_path))
    assert tally.broken[-1] == "wrote: something outside was changed"
