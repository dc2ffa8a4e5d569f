"""Trees of numbers, names and tensors as one safetensors file, and small JSON files. Reading runs no code.

A tree is a mapping from names to JSON scalars, lists, mappings and tensors. The tensors lie in the file
under their path ("optimiser/first"); everything else is JSON in the header.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

__all__ = [
    "CorruptFile",
    "check_kept",
    "from_spec",
    "of_version",
    "parse",
    "read_described",
    "read_json",
    "read_tree",
    "spec",
    "write_described",
    "write_json",
    "write_tree",
]

_FORMAT = "understudy-tree-1"
_TENSOR = "$tensor"  # {"$tensor": path} stands for a tensor in the header's JSON
_LARGEST_JSON = 64 << 20
_T = TypeVar("_T")


class CorruptFile(ValueError):
    """A file that is damaged, or is not what it says it is."""


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, which takes its place when all is written: whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        yield temporary
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the new name itself must reach the disk
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_json(path: str | Path, value: Any) -> None:
    """Writes `value` as indented JSON, atomically. NaN and infinities are refused: they are not JSON."""
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    with _replacing(Path(path)) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _decode(raw: bytes | str, path: Path) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0]
        raise CorruptFile(f"{path} does not hold valid JSON: {reason}") from None


def read_json(path: str | Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        CorruptFile: when it is not one JSON object of at most 64 MiB.
    """
    path = Path(path)
    if path.stat().st_size > _LARGEST_JSON:
        raise CorruptFile(
            f"{path} has {path.stat().st_size} bytes; a description has at most {_LARGEST_JSON}"
        )
    value = _decode(path.read_bytes(), path)
    if not isinstance(value, dict):
        raise CorruptFile(f"{path} holds a JSON {type(value).__name__}; it must hold an object")
    return value


def _split(node: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """The tree as JSON, its tensors moved to `tensors` under their paths."""
    if isinstance(node, Tensor):
        if path in tensors:
            raise ValueError(f"two tensors would be named {path!r}; rename one of them")
        tensors[path] = node.detach().cpu().contiguous()
        return {_TENSOR: path}
    if isinstance(node, Mapping):
        for key in node:
            if not isinstance(key, str) or key.startswith("$"):
                raise ValueError(f"name {key!r} at {path!r} must be a string that does not begin with '$'")
        return {k: _split(v, f"{path}/{k}" if path else k, tensors) for k, v in node.items()}
    if isinstance(node, list | tuple):
        return [_split(v, f"{path}/{i}", tensors) for i, v in enumerate(node)]
    if node is None or isinstance(node, bool | int | float | str):
        return node
    raise TypeError(
        f"{path!r} is {type(node).__name__}; a tree holds JSON scalars, lists, mappings and tensors"
    )


def _joined(node: Any, tensors: dict[str, Tensor], path: Path) -> Any:
    if isinstance(node, list):
        return [_joined(v, tensors, path) for v in node]
    if not isinstance(node, dict):
        return node
    if _TENSOR not in node:
        return {k: _joined(v, tensors, path) for k, v in node.items()}
    name = node[_TENSOR]
    if len(node) != 1 or not isinstance(name, str) or name not in tensors:
        raise CorruptFile(f"{path} names a tensor {name!r} that it does not hold")
    return tensors.pop(name)


def write_tree(path: str | Path, tree: Mapping[str, Any]) -> None:
    """Writes a tree as one safetensors file, atomically; floats and tensors come back bit for bit.

    Raises:
        TypeError: for a value that is neither JSON nor a tensor.
        ValueError: for a name that is not a string or begins with "$".
    """
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_split(tree, "", tensors))
    # Two names for one memory would be refused by the format's writer, so each gets its own.
    seen: set[int] = set()
    for name, tensor in tensors.items():
        if tensor.data_ptr() in seen:
            tensors[name] = tensor.clone()
        seen.add(tensor.data_ptr())
    with _replacing(Path(path)) as temporary:
        safetensors.torch.save_file(tensors, temporary, {"format": _FORMAT, "tree": text})


def read_tree(path: str | Path) -> dict[str, Any]:
    """The tree in a file written by `write_tree`, its tensors in memory of their own.

    Raises:
        CorruptFile: for anything but such a file; what is allocated is bounded by the file's own size.
    """
    path = Path(path)
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    if len(raw) < 8 or size > min(len(raw) - 8, _LARGEST_JSON):
        raise CorruptFile(f"{path} is not a whole safetensors file ({len(raw)} bytes)")
    header = _decode(raw[8 : 8 + size], path)
    about = header.get("__metadata__") if isinstance(header, dict) else None
    if (
        not isinstance(about, dict)
        or about.get("format") != _FORMAT
        or not isinstance(about.get("tree"), str)
    ):
        raise CorruptFile(f"{path} is not a file of the form {_FORMAT!r}")
    try:
        # Cloned, because products of matrices may differ in the last bit with where in memory these begin:
        # memory of PyTorch's own is always aligned alike.
        tensors = {k: v.clone() for k, v in safetensors.torch.load(raw).items()}
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError, OverflowError) as error:
        raise CorruptFile(f"{path} is damaged: {str(error).splitlines()[0]}") from None
    try:
        tree = _joined(_decode(about["tree"], path), tensors, path)
    except RecursionError:
        raise CorruptFile(f"{path} is nested too deeply") from None
    if not isinstance(tree, dict) or tensors:
        raise CorruptFile(f"{path} holds tensors that its tree does not name: {sorted(tensors)[:3]}")
    return tree


def spec(config: Any) -> dict[str, Any]:
    """A dataclass with a `kind` as JSON: its kind and its fields. `from_spec` is the way back."""
    return {"kind": config.kind, **asdict(config)}


def from_spec(kinds: Mapping[str, type[Any]], value: object, what: str) -> Any:
    """The dataclass that `spec` described, if its kind is in the table: a file cannot name anything else.

    Raises:
        ValueError: when the kind is unknown, or a field is.
    """
    kind = value.get("kind") if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or not isinstance(kind, str) or kind not in kinds:
        raise ValueError(f"{what} is of kind {kind!r}; this version knows {sorted(kinds)}")
    return parse(kinds[kind], {k: v for k, v in value.items() if k != "kind"}, what)


def check_kept(state: Mapping[str, Any], settings: Mapping[str, Any], parts: Iterable[str]) -> None:
    """Refuses a learner's saved state that has other parts or other settings than it has now.

    Args:
        state: as it was saved, settings and parts side by side.
        settings: as they are now. parts: names of everything else in the state.

    Raises:
        ValueError: naming what differs.
    """
    if state.keys() != (names := {*settings, *parts}):
        raise ValueError(f"the state has {sorted(state)}; it must have {sorted(names)}")
    for name, value in settings.items():
        if state[name] != value:
            raise ValueError(f"the state was saved with {name} {state[name]}, this has {value}")


def parse(kind: type[_T], value: object, what: str) -> _T:
    """A dataclass from JSON, every field checked against its annotation.

    Lists become tuples. Fields with a default may be missing; unknown ones may not be there.

    Raises:
        ValueError: naming `what`, the field, the value and the type it should have.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"{what} is {value!r}; it must be an object")
    assert is_dataclass(kind)
    hints = typing.get_type_hints(kind)
    known = {f.name: f for f in fields(kind) if f.init}
    if extra := sorted(value.keys() - known.keys()):
        raise ValueError(f"{what} has no field {extra[0]!r}; it has {sorted(known)}")
    for name, f in known.items():
        if name not in value and f.default is MISSING and f.default_factory is MISSING:
            raise ValueError(f"{what} lacks the field {name!r}")
    made = kind(**{k: _checked(hints[k], v, f"{what}.{k}") for k, v in value.items()})
    return typing.cast(_T, made)


def _checked(hint: Any, value: Any, what: str) -> Any:
    """`value` as the annotation `hint` wants it, lists as tuples and integers as floats where it says so."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    good = False
    if is_dataclass(hint) and isinstance(hint, type):
        return parse(hint, value, what)
    if origin is Literal:
        good = any(value == choice and type(value) is type(choice) for choice in inner)
    elif origin in (typing.Union, types.UnionType):
        for option in inner:
            with suppress(ValueError):
                return _checked(option, value, what)
    elif origin is tuple:
        repeats = inner[-1] is Ellipsis
        if isinstance(value, list | tuple) and (repeats or len(inner) == len(value)):
            each = inner[:1] * len(value) if repeats else inner
            return tuple(
                _checked(h, v, f"{what}[{i}]") for i, (h, v) in enumerate(zip(each, value, strict=True))
            )
    elif hint is float:
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300:
            return float(value)
    else:
        good = type(value) is hint
    if not good:
        raise ValueError(
            f"{what} is {value!r}; it must be {getattr(hint, '__name__', hint) if origin is None else hint}"
        )
    return value


def write_described(description: Path, weights: Path, value: Mapping[str, Any], state: Any) -> None:
    """Writes tensors, and a description that says which file of tensors it belongs to."""
    write_tree(weights, state)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    write_json(description, {**value, "sha256": digest})


def read_described(
    description: Path, weights: Path, build: Callable[[dict[str, Any], Mapping[str, Any]], _T]
) -> _T:
    """What `build` makes of a description and its tensors, as `write_described` wrote them.

    Raises:
        FileNotFoundError: when one of the two files is missing.
        CorruptFile: when a file is damaged, the two do not belong together, or `build` raises a ValueError.
    """
    value = read_json(description)
    digest = value.pop("sha256", None)
    state = read_tree(weights)
    if digest != hashlib.sha256(weights.read_bytes()).hexdigest():
        raise CorruptFile(f"{weights} is not the file that {description.name} was written with")
    try:
        return build(value, state)
    except ValueError as error:
        raise CorruptFile(f"{description}: {error}") from None


def of_version(value: dict[str, Any], form: str, version: int) -> dict[str, Any]:
    """A description less its format and version.

    Raises:
        ValueError: when these are others.
    """
    d = dict(value)
    if (said := (d.pop("format", None), d.pop("version", None))) != (form, version):
        raise ValueError(
            f"format is {said[0]!r}, version {said[1]!r}; this reads {form!r}, version {version}"
        )
    return d
