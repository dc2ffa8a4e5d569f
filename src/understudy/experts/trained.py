"""Experts that were trained and not written: small networks that come with the library, one file a task.

A file is safetensors: the network's arrays, and in its header who trained it, how, and what it reaches. It
holds numbers and text and is read as such; nothing in it is run.

Shapes: O width of the observation, A of the action, I and H of a layer's input and output.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np

from understudy.episode import Array, Obs

__all__ = ["WEIGHTS", "DamagedExpert", "Network", "TrainedExpert", "read", "trained", "write"]

WEIGHTS = Path(__file__).with_name("weights")
_FORMAT = "understudy-expert-1"
_LARGEST = 4 << 20  # bytes of a file
_DEEPEST = 8  # layers
_ENDS = ("shift", "scale", "centre", "reach")


class DamagedExpert(ValueError):
    """A file is not the expert that it should be."""


class Network(NamedTuple):
    """What an expert computes: centre + reach · tanh(f((x - shift) / scale)), f with ReLUs between layers."""

    shift: Array  # [O], in the observation's units
    scale: Array  # [O], likewise, positive
    layers: tuple[tuple[Array, Array], ...]  # weights [H, I] and biases [H], first to last
    centre: Array  # [A], in the action's units
    reach: Array  # [A], likewise

    def arrays(self) -> dict[str, Array]:
        """By the names that they have in a file."""
        named = {name: getattr(self, name) for name in _ENDS}
        for i, (weight, bias) in enumerate(self.layers):
            named |= {f"weight{i}": weight, f"bias{i}": bias}
        return named


def write(path: str | Path, network: Network, about: Mapping[str, Any]) -> None:
    """Writes an expert's file; its arrays, float16 or float32, come back bit for bit.

    Args:
        about: what is known of it, as JSON; "task" names the task.

    Raises:
        ValueError: when the network or `about` is not what `read` would take.
    """
    from safetensors.numpy import save

    arrays = {k: np.ascontiguousarray(v) for k, v in network.arrays().items()}
    text = json.dumps(dict(about), allow_nan=False)
    raw = save(arrays, {"format": _FORMAT, "about": text})
    _parsed(raw, str(path))
    Path(path).write_bytes(raw)


def read(path: str | Path) -> tuple[Network, Mapping[str, Any]]:
    """The network in a file, and what is known of it.

    Raises:
        FileNotFoundError: when there is no such file.
        DamagedExpert: when it is damaged, larger than 4 MiB, or does not hold an expert.
    """
    path = Path(path)
    with path.open("rb") as file:
        raw = file.read(_LARGEST + 1)
    return _parsed(raw, str(path))


def _parsed(raw: bytes, path: str) -> tuple[Network, Mapping[str, Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if len(raw) > _LARGEST:
        raise DamagedExpert(f"{path} has more than {_LARGEST} bytes; an expert is smaller")
    about = _about(raw, path)
    try:
        arrays = load(raw)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedExpert(f"{path} is damaged: {str(error).splitlines()[0]}") from None
    return _network(arrays, path), about


def _about(raw: bytes, path: str) -> Mapping[str, Any]:
    """What the header says besides the arrays."""
    size = int.from_bytes(raw[:8], "little")
    if len(raw) < 8 or size > len(raw) - 8:
        raise DamagedExpert(f"{path} is not a whole safetensors file ({len(raw)} bytes)")
    try:
        said = json.loads(raw[8 : 8 + size]).get("__metadata__", {})
        about = json.loads(said["about"]) if said.get("format") == _FORMAT else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        about = None
    if not isinstance(about, dict) or not isinstance(about.get("task"), str):
        raise DamagedExpert(f"{path} is not a file of the form {_FORMAT!r} that names its task")
    return about


def _network(arrays: Mapping[str, Array], path: str) -> Network:
    depth = (len(arrays) - len(_ENDS)) // 2
    names = {*_ENDS, *(f"{part}{i}" for part in ("weight", "bias") for i in range(depth))}
    if not 1 <= depth <= _DEEPEST or names != arrays.keys():
        raise DamagedExpert(
            f"{path} holds {sorted(arrays)[:20]}; an expert has {', '.join(_ENDS)}, weight0, bias0, ..., and "
            f"{_DEEPEST} layers at most"
        )
    for name, array in arrays.items():
        if array.dtype not in (np.float16, np.float32) or not array.size or not np.isfinite(array).all():
            raise DamagedExpert(f"{path}: {name} must be finite numbers, float16 or float32")
    layers = tuple((arrays[f"weight{i}"], arrays[f"bias{i}"]) for i in range(depth))
    found = Network(arrays["shift"], arrays["scale"], layers, arrays["centre"], arrays["reach"])
    width = found.shift.shape
    for i, (weight, bias) in enumerate(layers):
        if len(width) != 1 or weight.shape != (*bias.shape, *width):
            raise DamagedExpert(
                f"{path}: weight{i} has shape {list(weight.shape)} between an input of {list(width)} and a "
                f"bias of {list(bias.shape)}"
            )
        width = bias.shape
    if found.scale.shape != found.shift.shape or not (found.scale > 0).all():
        raise DamagedExpert(f"{path}: scale must be {found.shift.size} positive numbers, as shift has")
    if not found.centre.shape == found.reach.shape == width:
        raise DamagedExpert(f"{path}: centre and reach must have {list(width)} numbers, as the last bias has")
    return found


@final
class TrainedExpert:
    """The deterministic policy of a file of weights.

    It computes in float64 and rounds its actions to float32: products of matrices differ in their last bits
    from machine to machine, and in a body that runs, such a bit is another episode a hundred steps later.

    Args:
        name: of the task; the file is `<name>.safetensors`.
        folder: where it lies.

    Raises:
        FileNotFoundError: when there is no such file.
        DamagedExpert: when it is no expert, or that of another task.
    """

    def __init__(self, name: str, folder: Path = WEIGHTS) -> None:
        self.task, self.folder = name, folder
        network, self.about = read(folder / f"{name}.safetensors")
        if self.about["task"] != name:
            raise DamagedExpert(f"{name}.safetensors holds the expert of {str(self.about['task'])[:80]!r}")
        self.name = f"{name} expert"
        wide = {k: v.astype(np.float64) for k, v in network.arrays().items()}
        # (x - shift) / scale goes into the first layer, once and for all.
        first = wide["weight0"] / wide["scale"]
        wide |= {"weight0": first, "bias0": wide["bias0"] - first @ wide["shift"]}
        self._layers = [(wide[f"weight{i}"], wide[f"bias{i}"]) for i in range(len(network.layers))]
        self._centre, self._reach = wide["centre"], wide["reach"]

    def __reduce__(self) -> tuple[Any, ...]:
        return TrainedExpert, (self.task, self.folder)

    def reset(self, seed: int) -> None: ...

    def act(self, obs: Obs) -> Array:
        """The action [A] for obs["state"] [O], both in the environment's units.

        Raises:
            ValueError: when there is no such observation, or it has another shape.
        """
        x = obs.get("state")
        width = self._layers[0][0].shape[1]
        if x is None or x.shape != (width,):
            seen = {k: v.shape for k, v in obs.items()}
            raise ValueError(f"the {self.name} sees state of shape ({width},); there is {seen}")
        x = x.astype(np.float64)
        for i, (weight, bias) in enumerate(self._layers):
            x = weight.dot(np.maximum(x, 0.0, out=x) if i else x)
            x += bias
        return np.asarray(self._centre + self._reach * np.tanh(x), np.float32)


def trained(name: str) -> Callable[[], TrainedExpert] | None:
    """What makes the expert of a task, None where no file of weights came with the library; it reads none."""
    return partial(TrainedExpert, name) if (WEIGHTS / f"{name}.safetensors").is_file() else None
