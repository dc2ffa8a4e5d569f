"""A robot's limits out of a JSON file, so that they lie beside the robot and not in a program.

{"boxes": [{"name": "hand", "key": "achieved_goal", "dims": [0, 1, 2],
            "low": [1.05, 0.4, 0.42], "high": [1.55, 1.1, 0.9], "moves": [0, 1, 2], "reach": 0.05}],
 "speeds": [{"name": "hand", "moves": [0, 1, 2], "per_unit": 1.25, "most": 0.5}],
 "step": {"most": [0.5, 0.5, 0.5, 2.0], "beyond": "clip"},
 "bounds": "refuse"}
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from understudy.robots.limits import Box, Limits, Speed, Step

__all__ = ["read_limits"]

_LARGEST = 1 << 16  # bytes


def read_limits(path: Path) -> Limits:
    """The limits in a file: `boxes`, `speeds`, `step` and `bounds`, each as its class says.

    Raises:
        ValueError: when it holds anything else, or limits that cannot be.
    """
    with path.open("rb") as file:
        text = file.read(_LARGEST + 1)
    if len(text) > _LARGEST:
        raise ValueError(f"{path} is longer than {_LARGEST} bytes; those are not limits")
    try:
        found = _given(json.loads(text), Limits, "a robot's limits")
        parts = {k: found.pop(k, []) for k in ("boxes", "speeds")}
        if not all(isinstance(v, list) for v in parts.values()):
            raise ValueError("boxes and speeds must be lists")
        boxes = tuple(_made(Box, b, "a box") for b in parts["boxes"])
        speeds = tuple(_made(Speed, s, "a speed") for s in parts["speeds"])
        step = found.pop("step", None)
        return Limits(boxes, speeds, None if step is None else _made(Step, step, "step"), **found)
    except (ValueError, TypeError, RecursionError) as e:
        raise ValueError(f"{path}: {' '.join(str(e).split())}") from None


def _given(value: object, kind: Any, what: str) -> dict[str, Any]:
    known = [f.name for f in fields(kind)]
    if not isinstance(value, dict):
        raise ValueError(f"{what} must be an object with {', '.join(known)}")
    if strange := sorted(value.keys() - set(known)):
        raise ValueError(f"{what} has {strange[0]!r}; there are {', '.join(known)}")
    return dict(value)


def _made(kind: Any, value: object, what: str) -> Any:
    given = _given(value, kind, what)
    for name in ("name", "key"):
        if name in given and not isinstance(given[name], str):
            raise ValueError(f"{name} of {what} is {given[name]!r}; it must be text")
    try:
        return kind(**given)
    except TypeError as e:
        raise ValueError(f"{what}: {str(e).split('__init__() ')[-1]}") from None
