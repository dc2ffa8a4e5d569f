"""Files: what is written comes back to the bit, and what is damaged or hostile is refused in one line."""

from __future__ import annotations

import json
import math
import pickle
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from understudy import serial
from understudy.serial import (
    CorruptFile,
    from_spec,
    parse,
    read_json,
    read_tree,
    spec,
    write_json,
    write_tree,
)

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        same = isinstance(b, Tensor) and a.dtype == b.dtype and a.shape == b.shape
        return same and bool((a == b).all())
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list) and len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and a == b


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    return (torch.arange(math.prod(shape)) % 7 - 3).abs().reshape(shape).to(draw(st.sampled_from(DTYPES)))


names = st.text("abc.é 0", min_size=1, max_size=4)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
nodes = st.recursive(
    scalars | tensors(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(names, nodes, max_size=4))
def test_a_tree_comes_back_to_the_bit(tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("tree") / "t.safetensors"
    write_tree(path, tree)
    assert equal(tree, read_tree(path))


def test_tensors_that_share_memory_are_written_apart(tmp_path: Path) -> None:
    flat = torch.arange(10.0)
    tree = {"all": flat, "front": flat[:4], "same": flat, "every second": flat[::2]}
    write_tree(tmp_path / "t", tree)
    back = read_tree(tmp_path / "t")
    assert equal(tree, back)
    back["all"][0] = 9
    assert back["front"][0] == 0
    assert back["same"][0] == 0


@pytest.mark.parametrize("bad", [{"a": object()}, {"a": {1, 2}}, {"x": [torch.ones(1), b"bytes"]}])
def test_what_is_no_tree_is_refused(tmp_path: Path, bad: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="a tree holds JSON scalars"):
        write_tree(tmp_path / "t", bad)
    assert not list(tmp_path.iterdir())


def test_two_tensors_of_one_path_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two tensors would be named 'a/b'"):
        write_tree(tmp_path / "t", {"a/b": torch.ones(1), "a": {"b": torch.ones(1)}})


@pytest.mark.parametrize("name", [3, "$tensor"])
def test_names_are_strings_without_a_dollar(tmp_path: Path, name: Any) -> None:
    with pytest.raises(ValueError, match="must be a string that does not begin"):
        write_tree(tmp_path / "t", {name: 1})


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t"
    write_tree(path, {"a": 1})
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(serial.os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        write_tree(path, {"a": torch.ones(1000)})
    with pytest.raises(OSError, match="disk full"):
        write_json(path, {})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["t"]


def refused(path: Path, raw: bytes) -> None:
    path.write_bytes(raw)
    with pytest.raises(CorruptFile) as caught:
        read_tree(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t"
    write_tree(path, {"step": 3, "weights": {"w": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2)}})
    raw = path.read_bytes()
    for n in range(len(raw)):
        refused(path, raw[:n])


def test_a_flipped_bit_never_escapes_as_another_error(tmp_path: Path) -> None:
    path = tmp_path / "t"
    write_tree(path, {"step": 3, "w": torch.arange(6.0)})
    raw = bytearray(path.read_bytes())
    for at in range(len(raw)):
        for bit in (0, 3, 6):
            raw[at] ^= 1 << bit
            path.write_bytes(raw)
            with suppress(CorruptFile):
                read_tree(path)
            raw[at] ^= 1 << bit


def made(header: Any, data: bytes = b"", tree: Any = None, raw: str | None = None) -> bytes:
    """A file as a stranger could write it; `tree` as JSON, or `raw` for what is not even that."""
    if tree is not None or raw is not None:
        about = {"format": "understudy-tree-1", "tree": json.dumps(tree) if raw is None else raw}
        header = {"__metadata__": about, **header}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("a pickle was run",)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        pickle.dumps(Harmful()),
        struct.pack("<Q", 2**63) + b"{}",
        made({}),
        made([]),
        made({"__metadata__": {"format": "other", "tree": "{}"}}),
        made({}, tree=[1, 2]),
        made({}, tree={"a": {"$tensor": "nothing"}}),
        made({}, tree={"a": {"$tensor": 3}}),
        made({}, raw="[" * 100_000),
        made({}, raw="{"),
        made({}, raw="1" * 5000),
        made(
            {"w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}},
            tree={"w": {"$tensor": "w"}},
        ),
        made(
            {"w": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 0]}}, tree={"w": {"$tensor": "w"}}
        ),
        made({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4, tree={}),
        made(
            {"w": {"dtype": "Q7", "shape": [1], "data_offsets": [0, 4]}},
            b"\0" * 4,
            tree={"w": {"$tensor": "w"}},
        ),
        made({"w": 3}, tree={"w": {"$tensor": "w"}}),
    ],
    ids=range(17),
)
def test_hostile_files_are_refused_in_one_line(tmp_path: Path, raw: bytes) -> None:
    refused(tmp_path / "t", raw)


def test_json_comes_back_and_is_an_object_of_finite_numbers(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.json"
    write_json(path, {"name": "é", "x": [1, 2.5, None, True]})
    assert read_json(path) == {"name": "é", "x": [1, 2.5, None, True]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"x": math.nan})
    assert read_json(path)["name"] == "é"
    for raw in (b"[1]", b"{", b"\xff", b"[" * 100_000):
        path.write_bytes(raw)
        with pytest.raises(CorruptFile) as caught:
            read_json(path)
        assert "\n" not in str(caught.value)


@dataclass(frozen=True)
class Some:
    width: int
    rate: float = 0.5
    name: Literal["a", "b"] = "a"
    limit: int | None = None
    pairs: tuple[tuple[int, str], ...] = ()
    kind: ClassVar[str] = "some"


def test_a_dataclass_comes_back_from_json() -> None:
    for one in (Some(3), Some(1, 2.0, "b", 7, ((1, "x"), (2, "y")))):
        assert from_spec({"some": Some}, json.loads(json.dumps(spec(one))), "it") == one
    assert parse(Some, {"width": 1, "rate": 2}, "some").rate == 2.0


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "some is []; it must be an object"),
        ({}, "some lacks the field 'width'"),
        ({"width": 1, "extra": 2}, "some has no field 'extra'"),
        ({"width": True}, "some.width is True; it must be int"),
        ({"width": 1.0}, "some.width is 1.0; it must be int"),
        ({"width": 1, "rate": "x"}, "some.rate is 'x'; it must be float"),
        ({"width": 1, "rate": 10**400}, "it must be float"),
        ({"width": 1, "name": "c"}, "some.name is 'c'"),
        ({"width": 1, "limit": "x"}, "some.limit is 'x'"),
        ({"width": 1, "pairs": [[1, 2]]}, "some.pairs[0][1] is 2; it must be str"),
        ({"width": 1, "pairs": [[1]]}, "some.pairs[0] is [1]"),
        ({"width": 1, "pairs": "ab"}, "some.pairs is 'ab'"),
    ],
)
def test_a_field_that_does_not_fit_is_named(value: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(Some, value, "some")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [None, {}, {"kind": "os.system"}, {"kind": ["some"]}, {"kind": 3}])
def test_a_kind_that_is_not_in_the_table_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="this version knows"):
        from_spec({"some": Some}, value, "it")
